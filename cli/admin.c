// The chief decides and remembers nothing for us: the same question is asked until the answer is the last one. A chief
// that is away for a while may be started again, and its successor knows which process is leaving from that itself.
#include "cli/admin.h"

#include "base/clock.h"
#include "base/error.h"
#include "cli/drain_request.h"
#include "cli/http_get.h"
#include "cli/role_addresses.h"
#include "cli/subcommands.h"

#include <poll.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#define LENGTH(array) (sizeof(array) / sizeof(array)[0])

enum {
    ASK_EVERY_MS = 100, // a handover takes less, a refill seconds
    ANSWER_MS = 5000,
    AWAY_MS = 60000, // a chief that was heard and is no more; a pod is back by then
    TIMEOUT_SECONDS = 600,
    TIMEOUT_MAX_SECONDS = 604800,
};

struct drain {
    struct mst_drain_request request;
    struct mst_role_addresses *roles;
    const char *name;  // "ps-1"
    uint64_t heard_ms; // from the chief; 0: never
    char said[512];    // progress, last
};

// What an answer means for who waits.
enum outcome { WAIT, DRAINED, REFUSED };

// Progress: a line when it is another one than before.
MST_PRINTF(2, 3) static void tell(struct drain *drain, const char *format, ...)
{
    char text[sizeof drain->said];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    if (strcmp(text, drain->said) == 0)
        return;
    snprintf(drain->said, sizeof drain->said, "%s", text);
    printf("%s: %s\n", drain->name, text);
    fflush(stdout);
}

static enum outcome take_answer(struct drain *drain, const struct mst_http_get *get, struct mst_error *err)
{
    struct mst_drain_answer answer;
    char sentence[sizeof drain->said - 32];
    drain->heard_ms = mst_clock_monotonic_ms();
    if (get->code == 200 || get->code == 202) {
        if (mst_drain_answer_parse(get->body, &answer, err) != MST_OK)
            return REFUSED;
        drain->request.incarnation = answer.incarnation; // from now on this process is meant
        if (answer.is_drained)
            return DRAINED;
        tell(drain, "leaves; waits for %s", answer.waits_for);
        return WAIT;
    }
    mst_drain_sentence_copy(get->body, sentence, sizeof sentence);
    if (get->code == mst_status_http(MST_UNAVAILABLE)) {
        tell(drain, "waits for %s", sentence);
        return WAIT;
    }
    mst_fail(err, MST_UNKNOWN, "%s", sentence[0] ? sentence : "the chief refused, and did not say why");
    return REFUSED;
}

static enum outcome ask(struct drain *drain, struct mst_error *err)
{
    char path[128];
    mst_drain_request_print(&drain->request, path, sizeof path);
    if (!mst_role_addresses_find(drain->roles)) {
        mst_fail(err, MST_UNAVAILABLE, "no muster local runs in %s", mst_role_addresses_local_dir(drain->roles));
        return REFUSED;
    }
    const struct mst_role_address *chief = mst_role_addresses_chief(drain->roles);
    if (!chief) {
        mst_fail(err, MST_UNAVAILABLE, "there is no chief to ask");
        return REFUSED;
    }
    struct mst_http_get get = {.address = chief->address, .path = path, .is_post = true};
    mst_http_get_all(&get, 1, ANSWER_MS);
    enum outcome outcome = WAIT;
    if (get.code) {
        outcome = take_answer(drain, &get, err);
    } else if (!drain->heard_ms || mst_clock_monotonic_ms() - drain->heard_ms > AWAY_MS) {
        mst_fail(err, MST_UNAVAILABLE, "the chief at %s cannot be asked: %s", chief->address, get.why);
        outcome = REFUSED;
    } else {
        tell(drain, "waits for the chief at %s (%s)", chief->address, get.why);
    }
    mst_http_get_fini(&get);
    return outcome;
}

static void run_drain(struct drain *drain, size_t timeout_seconds, int *exit_code)
{
    struct mst_error err = {""};
    uint64_t until_ms = mst_clock_monotonic_ms() + timeout_seconds * 1000;
    enum outcome outcome;
    while ((outcome = ask(drain, &err)) == WAIT && mst_clock_monotonic_ms() < until_ms)
        poll(NULL, 0, ASK_EVERY_MS);
    if (outcome == DRAINED) {
        tell(drain, "drained: others have what it had, and its process ends");
        return;
    }
    *exit_code = 1;
    if (outcome == WAIT)
        fprintf(stderr, "muster: %s is not drained after %zu s: it %s\n", drain->name, timeout_seconds, drain->said);
    else
        fprintf(stderr, "muster: %s is not drained: %s\n", drain->name, err.text);
}

// ---- the words ----

static const char drain_details[] =
    "The chief lets the others take what this parameter server has, while training goes on: nothing is lost and nobody "
    "starts again. Then its process ends with 143, as after SIGTERM, so that what supervises it starts it again; it "
    "comes "
    "back as a copy. Needs a job with replicas. It begins when redundancy is full, so that servers can be drained one "
    "after the other; until then, and until it is done, it is told what is waited for. Ended early, or after "
    "--timeout, a "
    "drain that began goes on; asked again, it is joined. Exit code: 0 drained, 1 it cannot be, or not in time, and "
    "why, "
    "2 wrong arguments.";
static const char drain_summary[] = "Relieves a parameter server of all it holds, so that it may be stopped.";
static const char *const drain_examples[] = {"muster admin drain ps-1 --job job.json",
                                             "of the muster local that trains it",
                                             "muster admin drain ps-1 --chief 10.0.0.7:8080",
                                             "where 'muster run --http 8080' serves as the chief",
                                             "TF_CONFIG=… muster admin drain ps-1 --timeout 60",
                                             "of the job that TF_CONFIG names",
                                             NULL};

static mst_status drain_command(const struct mst_call *call, int *exit_code, struct mst_error *err)
{
    const char *chief = NULL;
    size_t timeout_seconds = TIMEOUT_SECONDS;
    struct drain drain = {.name = NULL};
    struct mst_text_list sets = {0};
    struct mst_role_addresses_request whom = {
        .tf_config = getenv("TF_CONFIG"), .http_port = 8080, .given_as = "--chief [HOST:]PORT"};
    const struct mst_option options[] = {
        MST_OPTION_TEXT("chief", "[HOST:]PORT", &chief, "the HTTP address of the chief"),
        MST_OPTION_TEXT("job", "JOB", &whom.job, "the job of the muster local that runs it"),
        MST_OPTION_LIST("set", "KEY=VALUE", &sets, "with --job: the same as muster local was given"),
        MST_OPTION_COUNT("http-port", "PORT", &whom.http_port, 1, 65535,
                         "with TF_CONFIG: the HTTP port of the chief (default: 8080)"),
        MST_OPTION_COUNT("timeout", "SECONDS", &timeout_seconds, 1, TIMEOUT_MAX_SECONDS,
                         "how long to wait until it is drained (default: 600)"),
    };
    const struct mst_command command = {.name = "admin drain",
                                        .summary = drain_summary,
                                        .details = drain_details,
                                        .operand = "PS",
                                        .operand_value = &drain.name,
                                        .options = options,
                                        .n_options = LENGTH(options),
                                        .examples = drain_examples};
    bool is_to_run;
    mst_status status = mst_options_read(&command, call, &is_to_run, err);
    if (is_to_run) {
        whom.addresses = &chief;
        whom.n_addresses = chief != NULL;
        whom.sets = sets.items;
        whom.n_sets = sets.n;
        status = mst_drain_task_parse(drain.name, &drain.request.ps, err);
        if (status == MST_OK)
            status = mst_role_addresses_open(&whom, &drain.roles, err);
        if (status == MST_OK)
            run_drain(&drain, timeout_seconds, exit_code);
    }
    mst_role_addresses_free(drain.roles);
    mst_text_list_fini(&sets);
    return status;
}

mst_status mst_admin_command(const struct mst_call *call, int *exit_code, struct mst_error *err)
{
    const struct mst_subcommand rows[] = {{"drain", drain_command, drain_summary, drain_examples}};
    const struct mst_subcommands table = {"admin", "Changes a job that runs.", rows, LENGTH(rows)};
    return mst_subcommands_run(&table, call, exit_code, err);
}
