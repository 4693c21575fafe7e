// The rules are tried in order: what ends the job first decides, for the deaths that follow are its consequences.
#include "cli/supervision.h"

#include "base/alloc.h"
#include "base/error.h"
#include "muster/status.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    RESTART_WINDOW_MS = 60000,
    WORTH_A_RESTART = 128, // the lowest exit code of that kind
};

const char *mst_task_role_name(enum mst_task_role role)
{
    static const char *const names[MST_TASK_ROLES] = {"chief", "ps", "worker", "evaluator"};
    return names[role];
}

void mst_supervision_init(struct mst_supervision *supervision, size_t max_restarts)
{
    *supervision = (struct mst_supervision){.max_restarts = max_restarts};
}

void mst_supervision_fini(struct mst_supervision *supervision)
{
    for (size_t i = 0; i < supervision->n_tasks; i++)
        free(supervision->tasks[i].restarts_ms);
    free(supervision->tasks);
    *supervision = (struct mst_supervision){0};
}

size_t mst_supervision_add(struct mst_supervision *supervision, enum mst_task_role role)
{
    size_t task = supervision->n_tasks++;
    supervision->tasks = mst_realloc_array(supervision->tasks, supervision->n_tasks, sizeof *supervision->tasks);
    supervision->tasks[task] = (struct mst_supervised){.role = role};
    if (supervision->max_restarts > 0)
        supervision->tasks[task].restarts_ms = mst_alloc_array(supervision->max_restarts, sizeof(uint64_t));
    return task;
}

static bool exited_with(int wait_status, int low, int high)
{
    return WIFEXITED(wait_status) && WEXITSTATUS(wait_status) >= low && WEXITSTATUS(wait_status) <= high;
}

static bool take_restart(struct mst_supervision *supervision, struct mst_supervised *task, uint64_t now_ms)
{
    if (supervision->max_restarts == 0)
        return false;
    uint64_t *oldest = &task->restarts_ms[task->n_restarts % supervision->max_restarts];
    if (task->n_restarts >= supervision->max_restarts && now_ms - *oldest < RESTART_WINDOW_MS)
        return false;
    *oldest = now_ms;
    task->n_restarts++;
    return true;
}

static enum mst_verdict fail(struct mst_supervision *supervision, size_t task, int code)
{
    supervision->is_failed = true;
    supervision->culprit = task;
    supervision->failure_code = code;
    return MST_VERDICT_FAILED;
}

enum mst_verdict mst_supervision_exited(struct mst_supervision *supervision, size_t task, int wait_status,
                                        uint64_t now_ms)
{
    MST_ASSERT(task < supervision->n_tasks);
    struct mst_supervised *ended = &supervision->tasks[task];
    bool was_ending = mst_supervision_is_ending(supervision);
    bool is_well = exited_with(wait_status, 0, 0);
    ended->state = is_well || was_ending ? MST_TASK_LEFT : MST_TASK_LOST;
    if (supervision->is_failed)
        return MST_VERDICT_GO_ON;
    if (is_well && ended->role == MST_TASK_CHIEF) {
        supervision->is_finished = true; // also when a signal came meanwhile: no work was left
        return MST_VERDICT_FINISHED;
    }
    supervision->is_told |= is_well && ended->role == MST_TASK_PS;
    if (is_well || supervision->signal)
        return MST_VERDICT_GO_ON;
    if (supervision->is_told && ended->role == MST_TASK_CHIEF && WIFSIGNALED(wait_status)) {
        supervision->is_finished = true;
        return MST_VERDICT_FINISHED;
    }
    bool is_evaluator = ended->role == MST_TASK_EVALUATOR;
    if (!is_evaluator && exited_with(wait_status, 1, WORTH_A_RESTART - 1)) {
        ended->state = MST_TASK_LOST;
        return fail(supervision, task, WEXITSTATUS(wait_status));
    }
    if (supervision->is_finished)
        return MST_VERDICT_GO_ON;
    bool is_permanent = exited_with(wait_status, 1, WORTH_A_RESTART - 1);
    bool is_replaceable = ended->role != MST_TASK_CHIEF || WIFSIGNALED(wait_status);
    if (is_permanent || !is_replaceable || !take_restart(supervision, ended, now_ms))
        return is_evaluator ? MST_VERDICT_WITHOUT : fail(supervision, task, mst_status_exit_code(MST_UNAVAILABLE));
    ended->state = MST_TASK_WAITING;
    return MST_VERDICT_RESTART;
}

void mst_supervision_stop(struct mst_supervision *supervision, int signal)
{
    if (!supervision->signal)
        supervision->signal = signal;
}

bool mst_supervision_is_ending(const struct mst_supervision *supervision)
{
    return supervision->is_finished || supervision->is_failed || supervision->signal;
}

bool mst_exit_is_cause(int a, int b)
{
    bool a_is_consequence = exited_with(a, WORTH_A_RESTART, UINT8_MAX);
    bool b_is_consequence = exited_with(b, WORTH_A_RESTART, UINT8_MAX);
    return !a_is_consequence && b_is_consequence;
}

int mst_supervision_exit_code(const struct mst_supervision *supervision)
{
    if (supervision->is_failed)
        return supervision->failure_code;
    if (supervision->signal && !supervision->is_finished)
        return WORTH_A_RESTART + supervision->signal;
    return 0;
}

void mst_exit_text(int wait_status, char *out, size_t out_bytes)
{
    if (WIFSIGNALED(wait_status))
        snprintf(out, out_bytes, "was killed by signal %d (%s)", WTERMSIG(wait_status),
                 strsignal(WTERMSIG(wait_status)));
    else
        snprintf(out, out_bytes, "ended with exit code %d", WEXITSTATUS(wait_status));
}
