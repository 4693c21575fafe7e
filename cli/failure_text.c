// The sentence comes last, so that it is what stands on the screen when lines above it have scrolled away.
#include "cli/failure_text.h"

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/error.h"
#include "cli/child_process.h"

#include <jansson.h>

#include <stdlib.h>
#include <string.h>

enum {
    LOG_LINES = 10,
    TEXT_MAX_BYTES = 1 << 20,
    WORTH_A_RESTART = 128,
};

static const char said_by_us[] = "muster: ";

// New text: what a line in JSON gives as the reason of the end, or NULL.
static char *reason_in_json(const char *line)
{
    json_t *json = json_loads(line, 0, NULL);
    const char *event = json_string_value(json_object_get(json, "event"));
    const char *reason = json_string_value(json_object_get(json_object_get(json, "fields"), "reason"));
    char *copy = event && reason && strcmp(event, "ended") == 0 ? mst_strdup(reason) : NULL;
    json_decref(json);
    return copy;
}

// New text: the reason that the process gave in the tail's last line, which is cut off from it; else NULL.
static char *take_reason(char *tail)
{
    size_t len = strlen(tail);
    if (len > 0 && tail[len - 1] == '\n')
        tail[--len] = '\0';
    char *line = strrchr(tail, '\n');
    line = line ? line + 1 : tail;
    char *reason = NULL;
    if (strncmp(line, said_by_us, sizeof said_by_us - 1) == 0)
        reason = mst_strdup(line + sizeof said_by_us - 1);
    else if (*line == '{')
        reason = reason_in_json(line);
    if (reason)
        *(line > tail ? line - 1 : line) = '\0';
    return reason;
}

static mst_status print_log(struct mst_buf *out, const struct mst_failure *failure, const char *tail)
{
    if (!*tail)
        return mst_buf_printf(out, "muster: its log %s is empty\n", failure->log_path);
    MST_TRY(mst_buf_printf(out, "muster: the last lines of %s:\n", failure->log_path));
    while (*tail) {
        size_t len = strcspn(tail, "\n");
        MST_TRY(mst_buf_printf(out, "    %.*s\n", (int)len, tail));
        tail += len + (tail[len] == '\n');
    }
    return MST_OK;
}

static mst_status print_sentence(struct mst_buf *out, const struct mst_failure *failure, const char *reason)
{
    char how[96];
    mst_exit_text(failure->wait_status, how, sizeof how);
    MST_TRY(mst_buf_printf(out, "muster: %s %s", failure->name, how));
    bool is_replaceable = failure->role != MST_TASK_CHIEF || WIFSIGNALED(failure->wait_status);
    if (failure->exit_code >= WORTH_A_RESTART && is_replaceable)
        MST_TRY(mst_buf_printf(out, ", once more than --max-restarts %zu a minute allow", failure->max_restarts));
    return mst_buf_printf(out, ", which ends the job%s%s", reason ? ": " : "", reason ? reason : "");
}

char *mst_failure_text(const struct mst_failure *failure)
{
    struct mst_buf text;
    mst_buf_init(&text, TEXT_MAX_BYTES);
    char *tail = mst_log_tail(failure->log_path, LOG_LINES);
    bool is_said = !WIFSIGNALED(failure->wait_status);
    char *reason = is_said ? take_reason(tail) : NULL;
    mst_status status = MST_OK;
    if (!reason || *tail)
        status = print_log(&text, failure, tail);
    if (status == MST_OK)
        status = print_sentence(&text, failure, reason);
    MST_ASSERT(status == MST_OK); // a tail is bounded
    char *copy = mst_strdup((const char *)text.data);
    mst_buf_fini(&text);
    free(reason);
    free(tail);
    return copy;
}
