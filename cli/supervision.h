/** @file
 *  What the end of a process means for a cluster on one machine: go on, start it again, or end the job. Pure: it starts
 *  and ends nothing and reads no clock.
 *
 *      mst_supervision_init(&supervision, max_restarts);
 *      size_t chief = mst_supervision_add(&supervision, MST_TASK_CHIEF);
 *      switch (mst_supervision_exited(&supervision, chief, wait_status, now_ms)) { … }
 *      return mst_supervision_exit_code(&supervision);
 *
 *  The rules (README, exit codes): a code of 1 to 127 of anybody but an evaluator ends the job with that code; who is
 *  lost otherwise is started again, so often a minute, then the job ends with 138 (not for an evaluator). A chief that
 *  ends by itself with 128 or more has told everybody that the job is over, so it is; killed, it is started again. When
 *  the chief leaves with 0 the job is finished, and what others do afterwards counts only if it is a code of 1 to 127.
 *  A parameter server leaves with 0 only when it is told so: a chief that is killed then has nothing left to do.
 *  Thread: one at a time.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum mst_task_role { MST_TASK_CHIEF, MST_TASK_PS, MST_TASK_WORKER, MST_TASK_EVALUATOR };
enum { MST_TASK_ROLES = 4 };

enum mst_task_state {
    MST_TASK_STARTING,
    MST_TASK_UP,      // it has joined the job
    MST_TASK_WAITING, // it died and is about to be started again
    MST_TASK_LEFT,    // it ended with 0, or when it was told to
    MST_TASK_LOST,    // it died and stays away
};

enum mst_verdict {
    MST_VERDICT_GO_ON,
    MST_VERDICT_RESTART,  // start this task again
    MST_VERDICT_FINISHED, // the job is done: the others leave by themselves
    MST_VERDICT_WITHOUT,  // this task stays away, and the job goes on without it
    MST_VERDICT_FAILED,   // this task ends the job: tell the others to leave
};

struct mst_supervised {
    enum mst_task_role role;
    enum mst_task_state state;
    uint64_t *restarts_ms; // ring of the times of the last max_restarts ones
    size_t n_restarts;
};

struct mst_supervision {
    struct mst_supervised *tasks;
    size_t n_tasks;
    size_t max_restarts; // of a task in a minute
    bool is_finished;
    bool is_told; // a parameter server was told that it is
    bool is_failed;
    size_t culprit;   // the task that ended the job, if it failed
    int failure_code; // what the job ends with, if it failed
    int signal;       // the one that told us to stop, or 0
};

/** "chief", "ps", "worker", "evaluator". */
const char *mst_task_role_name(enum mst_task_role role);

/** No tasks yet. */
void mst_supervision_init(struct mst_supervision *supervision, size_t max_restarts);
/** Releases what it holds. A zeroed one is fine. */
void mst_supervision_fini(struct mst_supervision *supervision);
/** Adds a task that is starting; returns its number: 0, 1, … */
size_t mst_supervision_add(struct mst_supervision *supervision, enum mst_task_role role);

/** Takes note that a task's process ended with this status of waitpid. */
enum mst_verdict mst_supervision_exited(struct mst_supervision *supervision, size_t task, int wait_status,
                                        uint64_t now_ms);
/** Takes note that a signal told the cluster to stop; from now on nothing is started again. */
void mst_supervision_stop(struct mst_supervision *supervision, int signal);
/** True once everybody is to leave: finished, failed or told to stop. */
bool mst_supervision_is_ending(const struct mst_supervision *supervision);
/** True if a, not b, is more likely the cause when both ended at about the same time: codes of 128 and more are what
 *  processes end with when they lose a peer. Both are statuses of waitpid. */
bool mst_exit_is_cause(int a, int b);

/** The exit code of the whole: 0 finished; the failure's; 130 or 143 after a signal with work left. */
int mst_supervision_exit_code(const struct mst_supervision *supervision);
/** Prints "was killed by signal 9 (Killed)" or "ended with exit code 1". */
void mst_exit_text(int wait_status, char *out, size_t out_bytes);
