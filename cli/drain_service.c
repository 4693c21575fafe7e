#include "cli/drain_service.h"

#include "base/error.h"
#include "chief/chief.h"
#include "cli/drain_request.h"

#include <stdio.h>

static mst_status without_chief(mst_status why, struct mst_error *err)
{
    switch (why) {
    case MST_UNAVAILABLE:
        return mst_fail(err, why, "the job to begin");
    case MST_FAILED_PRECONDITION:
        return mst_fail(err, why, "the job is over");
    default:
        return mst_fail(err, why, "this process does not coordinate the job; ask its chief");
    }
}

void mst_drain_serve(struct mst_chief *chief, mst_status why, const char *path, const char *query,
                     struct mst_http_answer *answer)
{
    struct mst_drain_request request;
    struct mst_chief_drain drain;
    struct mst_error err = {""};
    answer->status = mst_drain_request_parse(path, query, &request, &err);
    if (answer->status == MST_OK)
        answer->status =
            chief ? mst_chief_drain(chief, request.ps, request.incarnation, &drain, &err) : without_chief(why, &err);
    if (answer->status != MST_OK) {
        snprintf(answer->text, sizeof answer->text, "%s", err.text);
        return;
    }
    struct mst_drain_answer said = {.incarnation = drain.incarnation, .is_drained = drain.is_drained};
    snprintf(said.waits_for, sizeof said.waits_for, "%s", drain.waits_for);
    answer->is_pending = !drain.is_drained;
    mst_drain_answer_print(request.ps, &said, answer->text, sizeof answer->text);
}
