// Whom to ask is found out anew each second where it can change (a `muster local` that ends); then all are asked at
// once. On a terminal the table is drawn on its alternate screen, which signals leave before anything else happens.
#include "cli/top.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/error.h"
#include "cli/run_lock.h"
#include "cli/top_view.h"
#include "spec/job.h"
#include "spec/tf_config.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum { REFRESH_MS = 1000, ANSWER_MS = 900, COLUMNS_UNKNOWN = 80, COLUMNS_FILE = 200 };

// Somebody to ask.
struct target {
    char name[64]; // "": it says itself
    char *address;
};

struct top {
    const struct mst_top_options *options;
    struct mst_job *job; // of --job
    struct mst_cluster *cluster;
    struct target *targets;
    size_t n_targets;
    bool is_drawing; // on the alternate screen
};

// The signal that came, 0: none. Only handlers write it.
static volatile sig_atomic_t signal_seen;

static void on_signal(int number)
{
    signal_seen = number;
}

// ---- whom to ask ----

static void add_target(struct top *top, const char *name, char *address)
{
    top->targets = mst_realloc_array(top->targets, top->n_targets + 1, sizeof *top->targets);
    struct target *target = &top->targets[top->n_targets++];
    snprintf(target->name, sizeof target->name, "%s", name);
    target->address = address;
}

static void clear_targets(struct top *top)
{
    for (size_t i = 0; i < top->n_targets; i++)
        free(top->targets[i].address);
    top->n_targets = 0;
}

static mst_status check_addresses(const struct mst_top_options *options, struct mst_error *err)
{
    for (size_t i = 0; i < options->n_addresses; i++) {
        const char *address = options->addresses[i], *colon = strrchr(address, ':');
        const char *port = colon ? colon + 1 : address;
        if (*port == '\0' || port[strspn(port, "0123456789")] != '\0' || strtoul(port, NULL, 10) > UINT16_MAX)
            return mst_fail(err, MST_INVALID_ARGUMENT,
                            "'%s' is no address of a role; write HOST:PORT, or the port alone for this machine",
                            address);
    }
    return MST_OK;
}

static void add_given(struct top *top)
{
    for (size_t i = 0; i < top->options->n_addresses; i++) {
        const char *address = top->options->addresses[i];
        add_target(top, "", strchr(address, ':') ? mst_strdup(address) : mst_text("127.0.0.1:%s", address));
    }
}

// Those that a `muster local` tells; false if none runs.
static bool add_local(struct top *top)
{
    json_t *told = mst_run_lock_read(top->job->output_dir);
    const json_t *roles = json_object_get(told, "roles");
    size_t i;
    const json_t *role;
    json_array_foreach(roles, i, role)
    {
        const char *kind = json_string_value(json_object_get(role, "role"));
        const char *address = json_string_value(json_object_get(role, "http"));
        if (!kind || !address)
            continue;
        char name[64];
        snprintf(name, sizeof name, "%s-%lld", kind, (long long)json_integer_value(json_object_get(role, "index")));
        add_target(top, name, mst_strdup(address));
    }
    json_decref(told);
    return top->n_targets > 0;
}

static void add_cluster(struct top *top)
{
    for (int role = 0; role < MST_N_ROLES; role++)
        for (size_t i = 0; i < top->cluster->jobs[role].n_tasks; i++) {
            const struct mst_task *task = &top->cluster->jobs[role].tasks[i];
            bool is_v6 = strchr(task->host, ':') != NULL;
            char name[64];
            snprintf(name, sizeof name, "%s-%u", mst_role_name((enum mst_role)role), task->index);
            add_target(top, name,
                       mst_text("%s%s%s:%zu", is_v6 ? "[" : "", task->host, is_v6 ? "]" : "", top->options->http_port));
        }
}

static mst_status open_sources(struct top *top, struct mst_error *err)
{
    const struct mst_top_options *options = top->options;
    if (options->n_addresses && options->job)
        return mst_fail(err, MST_INVALID_ARGUMENT, "give addresses or --job, not both");
    if (options->n_sets && !options->job)
        return mst_fail(err, MST_INVALID_ARGUMENT, "--set %s changes a job, but there is no --job", options->sets[0]);
    if (options->job) {
        struct mst_job_request request = {.path = options->job, .sets = options->sets, .n_sets = options->n_sets};
        return mst_job_load(&request, &top->job, err);
    }
    if (options->n_addresses)
        return check_addresses(options, err);
    if (!options->tf_config)
        return mst_fail(err, MST_INVALID_ARGUMENT,
                        "nothing says whom to ask: give --job JOB of a running muster local, or the HTTP addresses of "
                        "roles, or set TF_CONFIG");
    struct mst_cluster_request request = {.tf_config = options->tf_config, .is_onlooker = true};
    MST_TRY(mst_cluster_parse(&request, &top->cluster, err));
    return json_object_size(top->cluster->spec) == 0
               ? mst_fail(err, MST_INVALID_ARGUMENT, "TF_CONFIG names no cluster, so there is nobody to ask")
               : MST_OK;
}

// False: the `muster local` that is looked at has ended, or never was.
static bool find_targets(struct top *top)
{
    clear_targets(top);
    if (top->job)
        return add_local(top);
    if (top->cluster)
        add_cluster(top);
    else
        add_given(top);
    return true;
}

// ---- asking ----

static struct mst_top_snapshot ask_all(const struct top *top)
{
    struct mst_top_snapshot snapshot = {.at_seconds = (double)mst_clock_monotonic_ns() * 1e-9};
    struct mst_http_get *gets = mst_alloc_array(2 * top->n_targets, sizeof *gets);
    for (size_t i = 0; i < top->n_targets; i++) {
        gets[2 * i] = (struct mst_http_get){.address = top->targets[i].address, .path = "/metrics"};
        gets[2 * i + 1] = (struct mst_http_get){.address = top->targets[i].address, .path = "/readyz"};
    }
    mst_http_get_all(gets, 2 * top->n_targets, ANSWER_MS);
    for (size_t i = 0; i < top->n_targets; i++)
        mst_top_snapshot_add(&snapshot, top->targets[i].name, top->targets[i].address, &gets[2 * i], &gets[2 * i + 1]);
    for (size_t i = 0; i < 2 * top->n_targets; i++)
        mst_http_get_fini(&gets[i]);
    free(gets);
    mst_top_snapshot_sort(&snapshot);
    return snapshot;
}

// ---- the terminal ----

static void write_all(const char *text)
{
    fputs(text, stdout);
    fflush(stdout);
}

static void enter_screen(struct top *top)
{
    write_all("\033[?1049h\033[?25l"); // the alternate screen, no cursor
    top->is_drawing = true;
}

static void leave_screen(struct top *top)
{
    if (top->is_drawing)
        write_all("\033[?25h\033[?1049l");
    top->is_drawing = false;
}

static struct mst_top_style style_of(const struct top *top)
{
    struct winsize size;
    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0)
        return (struct mst_top_style){.columns = isatty(STDOUT_FILENO) ? COLUMNS_UNKNOWN : COLUMNS_FILE};
    return (struct mst_top_style){.columns = size.ws_col, .rows = top->is_drawing ? size.ws_row - 1u : 0};
}

static mst_status show(struct top *top, const struct mst_top_snapshot *before, const struct mst_top_snapshot *now,
                       struct mst_error *err)
{
    if (top->options->is_json) {
        json_t *json = mst_top_json(before, now);
        json_dumpf(json, stdout, JSON_COMPACT | JSON_REAL_PRECISION(9));
        fputc('\n', stdout);
        json_decref(json);
    } else if (top->is_drawing) {
        // Made whole first: a terminal that shows half a table flickers.
        struct mst_top_style style = style_of(top);
        char *text = NULL;
        size_t len;
        FILE *memory = open_memstream(&text, &len);
        MST_ASSERT(memory);
        mst_top_print(before, now, &style, memory);
        fclose(memory);
        fputs("\033[H", stdout);
        for (const char *line = text; *line; line = strchr(line, '\n') + 1)
            fprintf(stdout, "%.*s\033[K\n", (int)strcspn(line, "\n"), line);
        fputs("\033[J", stdout);
        free(text);
    } else {
        struct mst_top_style style = style_of(top);
        mst_top_print(before, now, &style, stdout);
    }
    if (fflush(stdout) != 0)
        return mst_fail(err, MST_UNAVAILABLE, "the table cannot be written: %s", strerror(errno));
    return MST_OK;
}

// Ctrl-Z: the shell gets its screen back, and after fg it is ours again.
static void stop_for_a_while(struct top *top)
{
    bool was_drawing = top->is_drawing;
    leave_screen(top);
    raise(SIGSTOP);
    if (was_drawing)
        enter_screen(top);
    signal_seen = 0;
}

// Until the next second has come or a signal that ends it; false: the latter.
static bool wait_a_second(struct top *top, uint64_t until_ms)
{
    for (;;) {
        if (signal_seen == SIGTSTP)
            stop_for_a_while(top);
        uint64_t now_ms = mst_clock_monotonic_ms();
        if (signal_seen || now_ms >= until_ms)
            return !signal_seen;
        poll(NULL, 0, (int)(until_ms - now_ms));
    }
}

static mst_status run(struct top *top, struct mst_error *err)
{
    bool is_over = false;
    if (!find_targets(top))
        return mst_fail(err, MST_UNAVAILABLE, "no muster local runs in %s", top->job->output_dir);
    const char *terminal = getenv("TERM");
    if (!top->options->is_once && !top->options->is_json && isatty(STDOUT_FILENO) && terminal &&
        strcmp(terminal, "dumb") != 0)
        enter_screen(top);
    struct mst_top_snapshot before = ask_all(top);
    mst_status status = top->is_drawing ? show(top, &before, &before, err) : MST_OK;
    uint64_t next_ms = mst_clock_monotonic_ms() + REFRESH_MS;
    while (status == MST_OK && wait_a_second(top, next_ms)) {
        next_ms += REFRESH_MS;
        is_over = !find_targets(top);
        if (is_over)
            break;
        struct mst_top_snapshot now = ask_all(top);
        status = show(top, &before, &now, err);
        mst_top_snapshot_fini(&before);
        before = now;
        if (top->options->is_once)
            break;
    }
    mst_top_snapshot_fini(&before);
    leave_screen(top);
    if (status == MST_OK && is_over && !top->options->is_json)
        printf("the muster local in %s has ended\n", top->job->output_dir);
    return status;
}

mst_status mst_top(const struct mst_top_options *options, int *exit_code_out, struct mst_error *err)
{
    *exit_code_out = 0;
    struct top top = {.options = options};
    struct sigaction action = {.sa_handler = on_signal}; // without SA_RESTART: poll has to end
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGHUP, &action, NULL);
    sigaction(SIGTSTP, &action, NULL);
    mst_status status = open_sources(&top, err);
    if (status == MST_OK)
        status = run(&top, err);
    if (status == MST_OK && signal_seen == SIGTERM)
        *exit_code_out = 128 + SIGTERM;
    clear_targets(&top);
    free(top.targets);
    mst_job_free(top.job);
    mst_cluster_free(top.cluster);
    return status;
}
