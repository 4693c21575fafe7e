/** @file
 *  What people read when a process ends a job: the last lines of its log, then one sentence with the reason.
 *
 *      muster: the last lines of run/logs/worker-1.log:
 *          2026-11-24T15:04:05.123456Z info worker/1 worker: joined number=1 epoch=1.1 buckets=2
 *      muster: worker-1 ended with exit code 1, which ends the job: train-labels.gz: label 12 of example 7 …
 *
 *  Thread: any.
 */
#pragma once

#include "cli/supervision.h"

/** All borrowed. */
struct mst_failure {
    const char *name; // "worker-1"
    enum mst_task_role role;
    int wait_status; // of waitpid
    int exit_code;   // what the job ends with
    size_t max_restarts;
    const char *log_path;
};

/** New text of several lines, without the last line end. A process that ended by itself says why in the last line of
 *  its log ("muster: …"): that becomes the end of the sentence. */
char *mst_failure_text(const struct mst_failure *failure);
