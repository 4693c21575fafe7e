// Whom to ask is found out anew each second where it can change (a `muster local` that ends); then all are asked at
// once. On a terminal the table is drawn on its alternate screen, which signals leave before anything else happens.
#include "cli/top.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/error.h"
#include "cli/role_addresses.h"
#include "cli/top_view.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum { REFRESH_MS = 1000, ANSWER_MS = 900, COLUMNS_UNKNOWN = 80, COLUMNS_FILE = 200 };

struct top {
    const struct mst_top_options *options;
    struct mst_role_addresses *roles;
    bool is_drawing; // on the alternate screen
};

// The signal that came, 0: none. Only handlers write it.
static volatile sig_atomic_t signal_seen;

static void on_signal(int number)
{
    signal_seen = number;
}

// ---- asking ----

static struct mst_top_snapshot ask_all(const struct top *top)
{
    struct mst_top_snapshot snapshot = {.at_seconds = (double)mst_clock_monotonic_ns() * 1e-9};
    const struct mst_role_address *items = top->roles->items;
    size_t n = top->roles->n;
    struct mst_http_get *gets = mst_alloc_array(2 * n, sizeof *gets);
    for (size_t i = 0; i < n; i++) {
        gets[2 * i] = (struct mst_http_get){.address = items[i].address, .path = "/metrics"};
        gets[2 * i + 1] = (struct mst_http_get){.address = items[i].address, .path = "/readyz"};
    }
    mst_http_get_all(gets, 2 * n, ANSWER_MS);
    for (size_t i = 0; i < n; i++)
        mst_top_snapshot_add(&snapshot, items[i].name, items[i].address, &gets[2 * i], &gets[2 * i + 1]);
    for (size_t i = 0; i < 2 * n; i++)
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
    if (!mst_role_addresses_find(top->roles))
        return mst_fail(err, MST_UNAVAILABLE, "no muster local runs in %s", mst_role_addresses_local_dir(top->roles));
    const char *terminal = getenv("TERM");
    if (!top->options->is_once && !top->options->is_json && isatty(STDOUT_FILENO) && terminal &&
        strcmp(terminal, "dumb") != 0)
        enter_screen(top);
    struct mst_top_snapshot before = ask_all(top);
    mst_status status = top->is_drawing ? show(top, &before, &before, err) : MST_OK;
    uint64_t next_ms = mst_clock_monotonic_ms() + REFRESH_MS;
    while (status == MST_OK && wait_a_second(top, next_ms)) {
        next_ms += REFRESH_MS;
        is_over = !mst_role_addresses_find(top->roles);
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
        printf("the muster local in %s has ended\n", mst_role_addresses_local_dir(top->roles));
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
    mst_status status = mst_role_addresses_open(&options->whom, &top.roles, err);
    if (status == MST_OK)
        status = run(&top, err);
    if (status == MST_OK && signal_seen == SIGTERM)
        *exit_code_out = 128 + SIGTERM;
    mst_role_addresses_free(top.roles);
    return status;
}
