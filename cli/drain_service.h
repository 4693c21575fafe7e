/** @file
 *  What a role answers to `muster admin drain` (cli/drain_request.h).
 *  Thread: the control loop.
 */
#pragma once

#include "http/http.h"

struct mst_chief;

/** Answers a POST. chief: the one in this process; NULL: there is none, and why is UNAVAILABLE before the job,
 *  FAILED_PRECONDITION after it, NOT_FOUND in another role's process. */
void mst_drain_serve(struct mst_chief *chief, mst_status why, const char *path, const char *query,
                     struct mst_http_answer *answer);
