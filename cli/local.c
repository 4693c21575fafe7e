// One loop: children's ends (SIGCHLD), signals, the chief's progress, a few timers. What an end means is decided by
// supervision.c; here it is done. Nothing waits: all processes start at once and find each other by themselves.
#include "cli/local.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "ckpt/checkpoint_list.h"
#include "cli/failure_text.h"
#include "cli/job_context.h"
#include "cli/local_cluster.h"
#include "cli/log_follow.h"
#include "cli/progress_pipe.h"
#include "cli/progress_view.h"
#include "cli/result_text.h"
#include "cli/run_lock.h"
#include "cli/supervision.h"
#include "data/dataset.h"
#include "event/signal.h"
#include "event/timer.h"
#include "model/input.h"
#include "spec/json_source.h"
#include "tfio/disk_file.h"

#include <event2/event.h>
#include <event2/event_struct.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    REDRAW_MS = 250,
    // A worker that lost its chief ends with 138 just before the chief does; who died alone does not notice.
    RESTART_AFTER_MS = 200,
    LEAVE_NAMED_MS = 3000, // after which those that have not left are named, and told to
    LEAVE_MAX_MS = 15000,  // after which they are killed: a role's grace, and the lease for which a chief tells others
};

struct restart {
    struct local *local;
    size_t task;
    struct mst_timer timer;
};

struct local {
    const struct mst_local_options *options;
    uint64_t started_ns;
    struct mst_job_context *context;
    char *logs_dir;
    struct mst_run_lock *lock; // of the output directory
    struct mst_local_cluster *cluster;
    struct mst_supervision supervision; // its tasks have the numbers of the cluster's
    struct restart *restarts;           // by task
    struct mst_log_follow *follows;     // by task, where log lines are JSON; else NULL
    struct mst_loop *loop;
    struct mst_signals signals;
    struct event child_event;
    struct event stop_event;     // Ctrl-Z
    struct event continue_event; // fg
    struct mst_progress_pipe pipe;
    struct mst_progress progress;
    struct mst_progress_view view;
    struct mst_timer redraw;
    struct mst_timer leaving;
    bool is_leaving; // everybody is to leave
    bool is_named;   // those that have not yet were named
};

// ---- what people see ----

static void show(struct local *local)
{
    mst_progress_view_show(&local->view, &local->progress, &local->supervision, mst_clock_monotonic_ms());
}

MST_PRINTF(2, 3) static void say(struct local *local, const char *format, ...)
{
    char text[2048];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    mst_progress_view_say(&local->view, text);
}

// Workers count as up when as many have joined as run.
static void update_states(struct local *local)
{
    struct mst_supervision *supervision = &local->supervision;
    size_t n_running = 0;
    for (size_t i = 0; i < supervision->n_tasks; i++)
        n_running += supervision->tasks[i].role == MST_TASK_WORKER && local->cluster->tasks[i].pid != 0;
    for (size_t i = 0; i < supervision->n_tasks; i++) {
        struct mst_supervised *task = &supervision->tasks[i];
        bool has_joined = task->role == MST_TASK_WORKER
                              ? local->progress.has_figures && local->progress.n_workers >= n_running
                              : local->progress.has_started;
        if (task->state == MST_TASK_STARTING && has_joined)
            task->state = MST_TASK_UP;
    }
}

// True if two reasons differ in numbers alone: in the step, or in which of the servers met it first.
static bool is_same_reason(const char *a, const char *b)
{
    for (;;) {
        a += strspn(a, "0123456789");
        b += strspn(b, "0123456789");
        if (*a != *b)
            return false;
        if (!*a)
            return true;
        a++;
        b++;
    }
}

// The first of a row of failures is told in words, and one that has another reason; the line counts the others.
static void show_failed_checkpoint(struct local *local, const struct mst_progress *before)
{
    const struct mst_progress *now = &local->progress;
    if (now->n_checkpoints_failed <= before->n_checkpoints_failed)
        return;
    if (now->n_checkpoints_failed == 1 || !is_same_reason(now->checkpoint_failure, before->checkpoint_failure))
        say(local, "muster: a checkpoint could not be written, the job goes on: %s", now->checkpoint_failure);
}

static void on_progress(void *arg, const json_t *event)
{
    struct local *local = arg;
    struct mst_progress before = local->progress;
    mst_progress_take(&local->progress, event);
    show_failed_checkpoint(local, &before);
    if (local->progress.learning_rate[0] && !before.has_started)
        say(local, "muster: %s", local->progress.learning_rate);
    update_states(local);
    show(local);
}

static void on_redraw(void *arg)
{
    struct local *local = arg;
    for (size_t i = 0; local->follows && i < local->cluster->n_tasks; i++)
        mst_log_follow_pump(&local->follows[i]);
    show(local);
}

// ---- leaving ----

static void signal_all(struct local *local, int number)
{
    for (size_t i = 0; i < local->cluster->n_tasks; i++)
        if (local->cluster->tasks[i].pid > 0)
            kill(local->cluster->tasks[i].pid, number);
}

static bool anybody_runs(const struct local *local)
{
    for (size_t i = 0; i < local->cluster->n_tasks; i++)
        if (local->cluster->tasks[i].pid > 0)
            return true;
    return false;
}

static void name_those_left(const struct local *local, char *names, size_t size)
{
    names[0] = '\0';
    size_t used = 0;
    for (size_t i = 0; i < local->cluster->n_tasks && used < size; i++)
        if (local->cluster->tasks[i].pid > 0)
            used +=
                (size_t)snprintf(names + used, size - used, "%s%s", used ? ", " : "", local->cluster->tasks[i].name);
}

static void on_leaving_too_long(void *arg)
{
    struct local *local = arg;
    char names[512];
    name_those_left(local, names, sizeof names);
    if (local->is_named) {
        say(local, "muster: killed %s, still there after %d s", names, LEAVE_MAX_MS / 1000);
        signal_all(local, SIGKILL);
        return;
    }
    local->is_named = true;
    say(local, "muster: waiting for %s to leave; killed in %d s", names, (LEAVE_MAX_MS - LEAVE_NAMED_MS) / 1000);
    if (!local->supervision.signal) // a second signal would end at once who is leaving well
        signal_all(local, SIGTERM);
    mst_timer_start_once(&local->leaving, LEAVE_MAX_MS - LEAVE_NAMED_MS);
}

static void begin_leaving(struct local *local)
{
    if (local->is_leaving)
        return;
    local->is_leaving = true;
    for (size_t i = 0; i < local->cluster->n_tasks; i++)
        mst_timer_stop(&local->restarts[i].timer);
    mst_timer_start_once(&local->leaving, LEAVE_NAMED_MS);
}

static void on_signal(void *arg, int number)
{
    struct local *local = arg;
    if (local->supervision.signal) {
        signal_all(local, SIGKILL); // a second one: at once
        return;
    }
    mst_supervision_stop(&local->supervision, number);
    signal_all(local, number);
    begin_leaving(local);
    if (!anybody_runs(local))
        mst_loop_stop(local->loop); // all that is left of it waits to be started again
}

// ---- Ctrl-Z ----

static void signal_role(struct local *local, bool is_chief, int number)
{
    for (size_t i = 0; i < local->cluster->n_tasks; i++)
        if (local->cluster->tasks[i].pid > 0 && (local->cluster->tasks[i].role == MST_TASK_CHIEF) == is_chief)
            kill(local->cluster->tasks[i].pid, number);
}

static void resume_all(struct local *local)
{
    // The chief last: it finds their heartbeats, and takes nobody for dead who only stood still.
    signal_role(local, false, SIGCONT);
    signal_role(local, true, SIGCONT);
}

// The processes are in groups of their own, so a terminal stops only this one: it stops them, and then itself.
static void on_stop(evutil_socket_t number, short what, void *arg)
{
    (void)number;
    (void)what;
    struct local *local = arg;
    signal_role(local, true, SIGSTOP);
    signal_role(local, false, SIGSTOP);
    mst_progress_view_end(&local->view);
    raise(SIGSTOP);
    resume_all(local);
    show(local);
}

// Also after a stop that was nobody's to catch.
static void on_continue(evutil_socket_t number, short what, void *arg)
{
    (void)number;
    (void)what;
    resume_all(arg);
}

static void catch_signal(struct local *local, struct event *event, int number, event_callback_fn on_event)
{
    int result = event_assign(event, mst_loop_base(local->loop), number, EV_SIGNAL | EV_PERSIST, on_event, local);
    MST_ASSERT(result == 0);
    result = event_add(event, NULL);
    MST_ASSERT(result == 0);
}

// ---- ends of processes ----

static void show_failure(struct local *local, const struct mst_local_task *task, int wait_status)
{
    struct mst_failure failure = {.name = task->name,
                                  .role = task->role,
                                  .wait_status = wait_status,
                                  .exit_code = local->supervision.failure_code,
                                  .max_restarts = local->supervision.max_restarts,
                                  .log_path = task->log_path};
    char *text = mst_failure_text(&failure);
    const char *sentence = strrchr(text, '\n');
    if (mst_log_is_json()) // the lines above it are printed already
        MST_LOG(ERROR, "local", "job failed", "process=%s exit_code=%d reason=\"%s\"", task->name, failure.exit_code,
                (sentence ? sentence + 1 : text) + strlen("muster: "));
    else
        mst_progress_view_say(&local->view, text);
    free(text);
}

static void on_exited(struct local *local, size_t number, int wait_status)
{
    struct mst_local_task *task = &local->cluster->tasks[number];
    task->pid = 0;
    if (local->follows)
        mst_log_follow_end(&local->follows[number]);
    if (task->role == MST_TASK_CHIEF)
        mst_progress_pipe_drain(&local->pipe);
    char how[96];
    mst_exit_text(wait_status, how, sizeof how);
    switch (mst_supervision_exited(&local->supervision, number, wait_status, mst_clock_monotonic_ms())) {
    case MST_VERDICT_GO_ON:
        break;
    case MST_VERDICT_RESTART:
        say(local, "muster: %s %s; it is started again", task->name, how);
        mst_timer_start_once(&local->restarts[number].timer, RESTART_AFTER_MS);
        break;
    case MST_VERDICT_FINISHED:
        begin_leaving(local);
        break;
    case MST_VERDICT_WITHOUT:
        say(local, "muster: %s %s; the job goes on without it (its log: %s)", task->name, how, task->log_path);
        break;
    case MST_VERDICT_FAILED:
        show_failure(local, task, wait_status);
        signal_all(local, SIGTERM);
        begin_leaving(local);
        break;
    }
}

static void on_restart_due(void *arg)
{
    struct restart *restart = arg;
    struct local *local = restart->local;
    struct mst_error err;
    mst_status status = mst_local_cluster_start(local->cluster, restart->task, &err);
    if (status == MST_OK) {
        local->supervision.tasks[restart->task].state = MST_TASK_STARTING;
        show(local);
        return;
    }
    say(local, "muster: %s cannot be started again: %s", local->cluster->tasks[restart->task].name, err.text);
    mst_timer_start_once(&restart->timer, LEAVE_NAMED_MS); // what is short now may be there later
}

// A child that ended and has not been looked at.
struct ended {
    size_t task;
    int wait_status;
};

// Several may have ended; what looks like a cause is judged before what looks like its consequence.
static void on_children(evutil_socket_t number, short what, void *arg)
{
    (void)number;
    (void)what;
    struct local *local = arg;
    size_t n = 0;
    struct ended *ended = mst_alloc_array(local->cluster->n_tasks, sizeof *ended);
    for (size_t i = 0; i < local->cluster->n_tasks; i++) {
        int wait_status;
        pid_t pid = local->cluster->tasks[i].pid;
        if (pid <= 0 || waitpid(pid, &wait_status, WNOHANG) != pid)
            continue;
        size_t at = n++;
        for (; at > 0 && mst_exit_is_cause(wait_status, ended[at - 1].wait_status); at--)
            ended[at] = ended[at - 1];
        ended[at] = (struct ended){i, wait_status};
    }
    for (size_t i = 0; i < n; i++)
        on_exited(local, ended[i].task, ended[i].wait_status);
    free(ended);
    show(local);
    if (local->is_leaving && !anybody_runs(local))
        mst_loop_stop(local->loop);
}

// ---- before anything starts ----

static mst_status check_data(const struct mst_job_context *context, const char *key,
                             const struct mst_dataset_source *source, struct mst_error *err)
{
    if (!source)
        return MST_OK;
    struct mst_dataset *dataset;
    mst_status status = mst_dataset_open(source, &dataset, err);
    if (status == MST_OK)
        status = mst_input_check(dataset, context->model, &context->compile, err);
    mst_dataset_free(dataset);
    return status == MST_OK ? MST_OK : mst_fail_prefix(err, status, "%s: %s", context->job->file, key);
}

static mst_status make_folder(const struct mst_job *job, const char *key, const char *path, struct mst_error *err)
{
    mst_status status = mst_disk_make_folders(path, err);
    if (status == MST_OK && access(path, W_OK) != 0)
        status = mst_disk_fail(err, errno, "write to", path);
    if (status != MST_OK)
        return mst_fail_prefix(err, MST_INVALID_ARGUMENT, "%s: %s", job->file, key);
    return MST_OK;
}

// What five processes would find out is found out once.
static mst_status check_job(struct local *local, struct mst_error *err)
{
    const struct mst_local_options *options = local->options;
    struct mst_job_request request = {.path = options->job, .sets = options->sets, .n_sets = options->n_sets};
    MST_TRY(mst_job_context_new(&request, &local->context, err));
    const struct mst_job *job = local->context->job;
    MST_TRY(mst_job_check_ps(job, options->n_ps, err));
    MST_TRY(check_data(local->context, "data.train", local->context->train, err));
    MST_TRY(check_data(local->context, "data.eval", local->context->eval, err));
    MST_TRY(make_folder(job, "checkpoint.dir", job->checkpoint_dir, err));
    local->logs_dir = mst_text("%s/logs", job->output_dir);
    MST_TRY(make_folder(job, "output.dir", job->output_dir, err));
    MST_TRY(mst_run_lock_take(job->output_dir, &local->lock, err));
    return make_folder(job, "output.dir", local->logs_dir, err);
}

// A descriptor below 3 that we are started without would be given to a socket, and lost when a child gets its own.
static void fill_standard_fds(void)
{
    int fd;
    do
        fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    while (fd >= 0 && fd <= STDERR_FILENO);
    if (fd > STDERR_FILENO)
        close(fd);
}

static void follow_logs(struct local *local)
{
    mst_log_set_role("local");
    local->follows = mst_alloc_array(local->cluster->n_tasks, sizeof *local->follows);
    for (size_t i = 0; i < local->cluster->n_tasks; i++)
        mst_log_follow_init(&local->follows[i], local->cluster->tasks[i].name, local->cluster->tasks[i].log_path);
}

static mst_status set_up(struct local *local, struct mst_error *err)
{
    fill_standard_fds();
    MST_TRY(check_job(local, err));
    MST_TRY(mst_local_cluster_new(local->options, local->logs_dir, local->started_ns, &local->cluster, err));
    MST_TRY(mst_loop_new("local", &local->loop, err));
    MST_TRY(mst_progress_pipe_init(&local->pipe, local->loop, on_progress, local, &local->cluster->progress_fd, err));
    mst_signals_init(&local->signals, local->loop, on_signal, local);
    catch_signal(local, &local->child_event, SIGCHLD, on_children);
    catch_signal(local, &local->stop_event, SIGTSTP, on_stop);
    catch_signal(local, &local->continue_event, SIGCONT, on_continue);
    mst_timer_init(&local->redraw, local->loop, on_redraw, local);
    mst_timer_init(&local->leaving, local->loop, on_leaving_too_long, local);
    mst_supervision_init(&local->supervision, local->options->max_restarts);
    local->restarts = mst_alloc_array(local->cluster->n_tasks, sizeof *local->restarts);
    for (size_t i = 0; i < local->cluster->n_tasks; i++) {
        mst_supervision_add(&local->supervision, local->cluster->tasks[i].role);
        local->restarts[i] = (struct restart){.local = local, .task = i};
        mst_timer_init(&local->restarts[i].timer, local->loop, on_restart_due, &local->restarts[i]);
    }
    if (mst_log_is_json())
        follow_logs(local);
    mst_progress_view_init(&local->view, STDERR_FILENO, local->started_ns / 1000000);
    return MST_OK;
}

// For `muster top`, and for whoever else would start here.
static void tell_where(const struct local *local)
{
    json_t *told = json_pack("{s:I, s:s, s:o}", "pid", (json_int_t)getpid(), "job", local->context->job->name, "roles",
                             mst_local_cluster_describe(local->cluster));
    MST_ASSERT(told); // names of jobs are UTF-8, as JSON is
    mst_run_lock_tell(local->lock, told);
    json_decref(told);
}

static mst_status start_all(struct local *local, struct mst_error *err)
{
    for (size_t i = 0; i < local->cluster->n_tasks; i++) {
        mst_status status = mst_local_cluster_start(local->cluster, i, err);
        if (status == MST_OK)
            continue;
        signal_all(local, SIGKILL);
        for (size_t k = 0; k < i; k++)
            waitpid(local->cluster->tasks[k].pid, NULL, 0);
        return status;
    }
    return MST_OK;
}

// ---- after everything ended ----

static void show_result(struct local *local)
{
    char *path = mst_text("%s/result.json", local->context->job->output_dir);
    json_t *result;
    struct mst_error err;
    if (mst_json_load_file(path, &result, &err) == MST_OK) {
        mst_result_print(result, path, local->logs_dir, stdout);
        json_decref(result);
    } else {
        say(local, "muster: the job is finished, but its result cannot be shown: %s", err.text);
    }
    fflush(stdout);
    free(path);
}

// What the same command would go on from.
static void show_checkpoint(struct local *local)
{
    const struct mst_job *job = local->context->job;
    char *prefix = NULL;
    uint64_t step;
    if (mst_checkpoint_newest(job->checkpoint_chief_dir, NULL, NULL, &prefix, &step, NULL) != MST_OK)
        say(local, "muster: no checkpoint was written");
    else if (job->checkpoint_resume)
        say(local, "muster: last checkpoint: %s; the same command goes on from it", prefix);
    else
        say(local, "muster: last checkpoint: %s; with --set checkpoint.resume=true the same command goes on from it",
            prefix);
    free(prefix);
}

static void show_end(struct local *local, int exit_code)
{
    mst_progress_view_end(&local->view);
    if (exit_code == 0) {
        show_result(local);
        return;
    }
    if (!local->supervision.is_failed)
        say(local, "muster: stopped by %s with work left; logs in %s",
            local->supervision.signal == SIGINT ? "Ctrl-C" : "SIGTERM", local->logs_dir);
    if (exit_code >= 128)
        show_checkpoint(local);
}

static void tear_down(struct local *local)
{
    for (size_t i = 0; local->restarts && i < local->cluster->n_tasks; i++)
        mst_timer_fini(&local->restarts[i].timer);
    for (size_t i = 0; local->follows && i < local->cluster->n_tasks; i++)
        mst_log_follow_fini(&local->follows[i]);
    mst_timer_fini(&local->leaving);
    mst_timer_fini(&local->redraw);
    struct event *caught[] = {&local->child_event, &local->stop_event, &local->continue_event};
    for (size_t i = 0; i < sizeof caught / sizeof *caught; i++)
        if (event_initialized(caught[i]))
            event_del(caught[i]);
    mst_signals_fini(&local->signals);
    mst_progress_pipe_fini(&local->pipe);
    mst_loop_free(local->loop);
    mst_supervision_fini(&local->supervision);
    mst_local_cluster_free(local->cluster);
    mst_run_lock_free(local->lock);
    mst_job_context_free(local->context);
    free(local->restarts);
    free(local->follows);
    free(local->logs_dir);
}

mst_status mst_local(const struct mst_local_options *options, int *exit_code_out, struct mst_error *err)
{
    *exit_code_out = 0;
    struct local local = {.options = options, .started_ns = mst_clock_monotonic_ns(), .pipe = {.fd = -1}};
    mst_status status = set_up(&local, err);
    if (status == MST_OK)
        status = start_all(&local, err);
    if (status == MST_OK) {
        tell_where(&local);
        say(&local, "%s: chief, %zu worker%s, %zu parameter server%s%s; logs in %s", local.context->job->name,
            options->n_workers, options->n_workers == 1 ? "" : "s", options->n_ps, options->n_ps == 1 ? "" : "s",
            options->n_evaluators ? ", evaluator" : "", local.logs_dir);
        show(&local);
        mst_timer_start_periodic(&local.redraw, REDRAW_MS);
        mst_loop_run(local.loop);
        *exit_code_out = mst_supervision_exit_code(&local.supervision);
        show_end(&local, *exit_code_out);
    }
    tear_down(&local);
    return status;
}
