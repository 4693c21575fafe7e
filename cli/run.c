// Puts roles and loops together. The control loop is this thread; the worker's and each of the PS's data loops have one
// of their own. Without TF_CONFIG one process is chief, PS and worker: they talk over loopback like any others, but the
// worker and the PS share one data loop, and pushes are calls.
#include "cli/run.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/cpus.h"
#include "base/error.h"
#include "base/log.h"
#include "base/metrics.h"
#include "base/rng.h"
#include "chief/chief.h"
#include "chief/plan.h"
#include "ckpt/checkpoint_list.h"
#include "cli/direct_exchange.h"
#include "cli/drain_service.h"
#include "cli/find_chief.h"
#include "cli/job_context.h"
#include "event/signal.h"
#include "event/timer.h"
#include "http/http.h"
#include "ps/ps.h"
#include "rpc/resolve.h"
#include "rpc/server.h"
#include "spec/tf_config.h"
#include "worker/evaluator.h"
#include "worker/worker.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { LABEL_TEXT_BYTES = 512, DATA_THREADS_DEFAULT_MAX = 4 }; // a PS's; more have to earn their place in a measurement

struct run {
    const struct mst_run_options *options;
    uint64_t started_ns;
    struct mst_cluster *cluster;
    struct mst_job_context *context;
    struct mst_loop *control;
    struct mst_loop **data_loops; // of the PS; of the worker, if it is in the process, the first
    size_t n_data_loops;
    struct mst_resolver *resolver;
    struct mst_http *http;
    struct mst_signals signals;
    uint64_t incarnation;
    struct mst_identity chief_identity;
    struct mst_identity ps_identity;
    struct mst_identity worker_identity;
    struct mst_identity evaluator_identity;
    const char **ps_addresses;
    size_t n_ps;
    char *own_chief_address; // "127.0.0.1:port": of the chief in this process
    char *own_ps_address;
    struct mst_chief *chief;
    struct mst_ps *ps;
    struct mst_worker *worker;
    struct mst_exchange *direct;
    struct mst_loop *eval_loop; // of the evaluator
    struct mst_evaluator_role *evaluator;
    struct mst_server *idle_port; // workers and evaluators take no calls; they only say so
    struct mst_timer grace;       // after a signal
    struct mst_error leaving;     // what is said then
    bool is_telling;              // the grace was over, and the chief tells so
    bool is_parked;
    bool is_asking; // who coordinates
    char *found_chief_address;
    int signal; // the one that ends us, or 0
    bool is_over;
    mst_status status;
    struct mst_error err;
};

static bool runs_chief(const struct run *run)
{
    return run->cluster->is_chief;
}

static bool runs_ps(const struct run *run)
{
    return run->cluster->role == MST_ROLE_PS || run->cluster->role == MST_ROLE_LOCAL;
}

static bool runs_worker(const struct run *run)
{
    return run->cluster->role == MST_ROLE_WORKER || run->cluster->role == MST_ROLE_LOCAL ||
           (run->cluster->is_chief && run->cluster->chief_trains);
}

// Evaluations during the training that no evaluator role makes are the chief's: on a thread of its own, as if it were
// one.
static bool runs_evaluator(const struct run *run)
{
    const struct mst_job *job = run->context->job;
    bool is_wanted = run->context->eval && (job->eval_every_epoch || job->eval_every_steps);
    return run->cluster->role == MST_ROLE_EVALUATOR ||
           (runs_chief(run) && is_wanted && run->cluster->jobs[MST_ROLE_EVALUATOR].n_tasks == 0);
}

// ---- the end ----

static void finish(struct run *run, mst_status status, const char *text)
{
    if (run->is_over)
        return;
    run->is_over = true;
    run->status = status;
    snprintf(run->err.text, sizeof run->err.text, "%s", text);
    mst_loop_stop(run->control);
}

// Roles end on their own loops; the process ends on the control loop.
struct ended {
    struct run *run;
    bool is_worker;
    mst_status status;
    char text[1024];
};

static void on_ended(void *arg)
{
    struct ended *ended = arg;
    struct run *run = ended->run;
    if (!runs_chief(run))
        finish(run, ended->status, ended->text);
    else if (!ended->is_worker)
        finish(run, ended->status, ended->text); // the chief's word, or the PS's in one process
    else if (ended->status != MST_OK)
        mst_chief_fail(run->chief, ended->status, ended->text);
    free(ended);
}

static void post_ended(struct run *run, bool is_worker, mst_status status, const char *text)
{
    struct ended *ended = mst_alloc(sizeof *ended);
    ended->run = run;
    ended->is_worker = is_worker;
    ended->status = status;
    snprintf(ended->text, sizeof ended->text, "%s", text);
    mst_loop_post_or_drop(run->control, on_ended, free, ended);
}

static void on_role_end(void *arg, mst_status status, const char *text)
{
    post_ended(arg, false, status, text);
}

static void on_ps_end(void *arg, mst_status status, const char *text)
{
    struct run *run = arg;
    // With the chief in the process it is the chief that says when all is over.
    if (!run->chief)
        post_ended(run, false, status, text);
}

static void on_worker_end(void *arg, mst_status status, const char *text)
{
    post_ended(arg, true, status, text);
}

static void on_evaluator_end(void *arg, mst_status status, const char *text)
{
    struct run *run = arg;
    if (run->cluster->role == MST_ROLE_EVALUATOR)
        post_ended(run, false, status, text);
    else if (status != MST_OK) // the chief goes on without it
        MST_LOG(WARN, "cli", "no more evaluations", "status=%s reason=\"%s\"", mst_status_name(status), text);
}

// ---- signals ----

static void on_grace_over(void *arg)
{
    struct run *run = arg;
    MST_LOG(WARN, "cli", "grace over", "seconds=%zu", run->options->grace_seconds);
    if (run->chief && !run->is_telling) {
        run->is_telling = true; // which takes one lease at most
        mst_chief_stop_now(run->chief, run->leaving.text);
        return;
    }
    finish(run, MST_UNAVAILABLE, run->leaving.text);
}

// The role leaves well, if it can: then its end comes as on_role_end and the like, else when the grace is over.
static void leave(struct run *run)
{
    const char *text = run->leaving.text;
    mst_timer_start_once(&run->grace, run->options->grace_seconds * 1000);
    if (run->chief)
        mst_chief_stop(run->chief, text);
    else if (run->worker)
        mst_worker_leave(run->worker, MST_UNAVAILABLE, text);
    else if (run->evaluator)
        mst_evaluator_leave(run->evaluator, MST_UNAVAILABLE, text);
    else if (!run->ps || !mst_ps_leave(run->ps, text))
        finish(run, MST_UNAVAILABLE, text);
}

static void on_signal(void *arg, int number)
{
    struct run *run = arg;
    if (run->is_parked) {
        mst_loop_stop(run->control);
        return;
    }
    if (run->signal)
        _exit(128 + number); // a second one ends at once
    run->signal = number;
    mst_fail(&run->leaving, MST_UNAVAILABLE, "%s-%u was told to stop by %s with work left",
             mst_cluster_role_name(run->cluster), run->cluster->index, number == SIGINT ? "SIGINT" : "SIGTERM");
    MST_LOG(WARN, "cli", "told to stop", "signal=%d", number);
    leave(run);
}

// ---- roles ----

static struct mst_identity identity_of(const struct run *run, enum mst_peer_role role, uint32_t index,
                                       const char *address)
{
    return (struct mst_identity){.job_name = run->context->job->name,
                                 .job_hash = run->context->hash,
                                 .role = role,
                                 .index = index,
                                 .address = address ? address : "",
                                 .incarnation = run->incarnation};
}

static mst_status own_port(const struct run *run, uint16_t *out, struct mst_error *err)
{
    *out = 0;
    if (!run->cluster->address)
        return MST_OK;
    char host[256];
    return mst_address_split(run->cluster->address, host, sizeof host, out, err);
}

static mst_status list_ps(struct run *run, struct mst_error *err)
{
    const struct mst_task_list *list = &run->cluster->jobs[MST_ROLE_PS];
    for (size_t i = 0; i < list->n_tasks; i++)
        if (run->n_ps <= list->tasks[i].index)
            run->n_ps = (size_t)list->tasks[i].index + 1;
    run->ps_addresses = mst_alloc_array(run->n_ps ? run->n_ps : 1, sizeof(char *));
    for (size_t i = 0; i < list->n_tasks; i++)
        run->ps_addresses[list->tasks[i].index] = list->tasks[i].address;
    for (size_t i = 0; runs_chief(run) && i < run->n_ps; i++)
        if (!run->ps_addresses[i])
            return mst_fail(err, MST_INVALID_ARGUMENT,
                            "TF_CONFIG: the chief has to know every parameter server, and ps %zu is missing", i);
    if (run->cluster->is_partial)
        return MST_OK; // the chief knows how many there are
    return mst_job_check_ps(run->context->job, run->cluster->role == MST_ROLE_LOCAL ? 1 : run->n_ps, err);
}

static mst_status start_data_loops(struct run *run, struct mst_error *err)
{
    size_t n = 1;
    if (run->cluster->role == MST_ROLE_PS) {
        size_t n_cpus = mst_cpus_usable();
        n = run->options->n_data_threads        ? run->options->n_data_threads
            : n_cpus < DATA_THREADS_DEFAULT_MAX ? n_cpus
                                                : DATA_THREADS_DEFAULT_MAX;
    }
    run->data_loops = mst_alloc_array(n, sizeof(struct mst_loop *));
    for (size_t i = 0; i < n; i++) {
        char name[32];
        snprintf(name, sizeof name, "data-%zu", i);
        MST_TRY(mst_loop_new(name, &run->data_loops[i], err));
        run->n_data_loops++;
    }
    return MST_OK;
}

static mst_status start_ps(struct run *run, struct mst_error *err)
{
    bool is_local = run->cluster->role == MST_ROLE_LOCAL;
    const struct mst_job *job = run->context->job;
    struct mst_ps_config config = {.identity = &run->ps_identity,
                                   .model = run->context->model,
                                   .optimizer = run->context->optimizer,
                                   .control = run->control,
                                   .data_loops = run->data_loops,
                                   .n_data_loops = run->n_data_loops,
                                   .listen_fd = is_local ? -1 : run->options->listen_fd,
                                   .lease_ms = job->lease_ms,
                                   .absence_ms = job->absence_ms,
                                   .adds_body_crc = job->adds_checksums,
                                   .expects_cuts = job->checkpoint_every_steps || job->checkpoint_every_seconds > 0,
                                   .save_bytes_per_second = job->checkpoint_max_bytes_per_second,
                                   .resolver = run->resolver,
                                   .ps_addresses = is_local ? NULL : run->ps_addresses,
                                   .n_ps = is_local ? 0 : run->n_ps,
                                   .on_end = on_ps_end,
                                   .arg = run};
    run->ps_identity = identity_of(run, MST_PEER_PS, is_local ? 0 : run->cluster->index, run->cluster->address);
    MST_TRY(own_port(run, &config.port, err));
    MST_TRY(mst_ps_new(&config, &run->ps, err));
    if (is_local) {
        run->own_ps_address = mst_text("127.0.0.1:%u", mst_ps_port(run->ps));
        run->ps_addresses = mst_realloc_array(run->ps_addresses, 1, sizeof(char *));
        run->ps_addresses[0] = run->own_ps_address;
        run->n_ps = 1;
    }
    return MST_OK;
}

// `master` trains beside the workers, under the index after theirs.
static uint32_t worker_index(const struct run *run)
{
    if (!run->cluster->has_master || !runs_chief(run))
        return run->cluster->role == MST_ROLE_LOCAL ? 0 : run->cluster->index;
    const struct mst_task_list *list = &run->cluster->jobs[MST_ROLE_WORKER];
    return list->n_tasks ? list->tasks[list->n_tasks - 1].index + 1 : 0;
}

static mst_status start_chief(struct run *run, struct mst_error *err)
{
    bool is_local = run->cluster->role == MST_ROLE_LOCAL;
    struct mst_chief_config config = {
        .identity = &run->chief_identity,
        .job = run->context->job,
        .train = run->context->train,
        .eval = run->context->eval,
        .model_text = mst_buf_view(&run->context->model_text),
        .model = run->context->model,
        .compile = &run->context->compile,
        .optimizer = run->context->optimizer,
        .control = run->control,
        .resolver = run->resolver,
        .ps_addresses = run->ps_addresses,
        .n_ps = run->n_ps,
        .own_worker = runs_worker(run) ? worker_index(run) : UINT32_MAX,
        .n_workers = run->cluster->jobs[MST_ROLE_WORKER].n_tasks + run->cluster->has_master,
        .has_evaluator = run->cluster->jobs[MST_ROLE_EVALUATOR].n_tasks > 0,
        .bucket_max_bytes = is_local ? UINT64_MAX : MST_BUCKET_MAX_BYTES,
        .listen_fd = run->options->listen_fd,
        .progress_fd = run->options->progress_fd,
        .started_ns = run->started_ns,
        // One process is all of its run; of several `muster local` says when they were started first.
        .run_since_ns = is_local || getenv("MUSTER_STARTED_NS") ? run->started_ns : 0,
        .n_threads = run->options->n_threads ? run->options->n_threads : mst_cpus_usable(),
        .grace_ms = run->options->grace_seconds * 1000,
        .on_end = on_role_end,
        .arg = run};
    run->chief_identity = identity_of(run, MST_PEER_CHIEF, run->cluster->index, run->cluster->address);
    MST_TRY(own_port(run, &config.port, err));
    MST_TRY(mst_job_context_initial(run->context, &config.initial, err));
    MST_TRY(mst_chief_new(&config, &run->chief, err));
    run->own_chief_address = mst_text("127.0.0.1:%u", mst_chief_port(run->chief));
    return MST_OK;
}

static mst_status make_direct(void *arg, const struct mst_layout *layout, float *const *grads,
                              const struct mst_exchange_events *events, struct mst_exchange **out,
                              struct mst_error *err)
{
    struct run *run = arg;
    mst_status status = mst_exchange_direct_new(run->ps, layout, grads, events, out, err);
    run->direct = *out;
    return status;
}

static void refuse_caller(void *arg, struct mst_conn *conn, const struct mst_message *message,
                          const struct mst_msg_greeting *greeting)
{
    struct run *run = arg;
    (void)greeting;
    mst_conn_reply_error(conn, message, MST_FAILED_PRECONDITION,
                         "%s-%u takes no calls: greet a parameter server or the chief",
                         mst_cluster_role_name(run->cluster), run->cluster->index);
    mst_conn_close_flushed(conn);
}

// The port of TF_CONFIG is taken also by who takes no calls, so that a second one on it is noticed at once.
static mst_status open_idle_port(struct run *run, struct mst_error *err)
{
    uint16_t port;
    struct mst_server_config config = {.on_greeting = refuse_caller, .arg = run};
    MST_TRY(own_port(run, &port, err));
    MST_TRY(mst_server_new(run->control, &config, &run->idle_port));
    if (run->options->listen_fd >= 0)
        return mst_server_listen_fd(run->idle_port, run->options->listen_fd, err);
    return mst_server_listen(run->idle_port, port, err);
}

static mst_status start_worker(struct run *run, struct mst_error *err)
{
    bool is_local = run->cluster->role == MST_ROLE_LOCAL;
    if (!runs_chief(run))
        MST_TRY(open_idle_port(run, err));
    run->worker_identity = identity_of(run, MST_PEER_WORKER, worker_index(run), run->cluster->address);
    struct mst_worker_config config = {
        .identity = &run->worker_identity,
        .job = run->context->job,
        .train = run->context->train,
        .model = run->context->model,
        .compile = &run->context->compile,
        .optimizer = run->context->optimizer,
        .loop = run->data_loops[0],
        .control = run->control,
        .resolver = run->resolver,
        .chief_address = runs_chief(run) ? run->own_chief_address : run->cluster->chief_address,
        .ps_addresses = run->ps_addresses,
        .n_ps = run->n_ps,
        .n_threads = run->options->n_threads ? run->options->n_threads : mst_cpus_usable(),
        .make_exchange = is_local ? make_direct : NULL,
        .make_arg = run,
        .on_end = on_worker_end,
        .arg = run};
    MST_TRY(mst_worker_new(&config, &run->worker, err));
    mst_worker_start(run->worker);
    return MST_OK;
}

static mst_status start_evaluator(struct run *run, struct mst_error *err)
{
    bool is_role = run->cluster->role == MST_ROLE_EVALUATOR;
    if (is_role && run->cluster->address)
        MST_TRY(open_idle_port(run, err));
    MST_TRY(mst_loop_new("evaluator", &run->eval_loop, err));
    run->evaluator_identity =
        identity_of(run, MST_PEER_EVALUATOR, is_role ? run->cluster->index : 0, is_role ? run->cluster->address : "");
    size_t n_threads = run->options->n_threads ? run->options->n_threads : mst_cpus_usable();
    struct mst_evaluator_config config = {
        .identity = &run->evaluator_identity,
        .job = run->context->job,
        .eval = run->context->eval,
        .model = run->context->model,
        .compile = &run->context->compile,
        .loop = run->eval_loop,
        .control = run->control,
        .resolver = run->resolver,
        .chief_address = runs_chief(run) ? run->own_chief_address : run->cluster->chief_address,
        .ps_addresses = run->ps_addresses,
        .n_ps = run->n_ps,
        .n_threads = is_role ? n_threads : 1, // beside the training, as little as may be
        .on_end = on_evaluator_end,
        .arg = run};
    run->evaluator = mst_evaluator_new(&config);
    mst_evaluator_start(run->evaluator);
    return MST_OK;
}

static mst_status is_ready(void *arg, struct mst_error *err)
{
    struct run *run = arg;
    if (run->is_asking)
        return mst_fail(err, MST_UNAVAILABLE, "asking the parameter servers who coordinates");
    if (run->chief)
        MST_TRY(mst_chief_ready(run->chief, err));
    if (run->ps)
        MST_TRY(mst_ps_ready(run->ps, err));
    if (run->worker)
        MST_TRY(mst_worker_ready(run->worker, err));
    return run->cluster->role == MST_ROLE_EVALUATOR && run->evaluator ? mst_evaluator_ready(run->evaluator, err)
                                                                      : MST_OK;
}

// `muster admin`.
static void on_post(void *arg, const char *path, const char *query, struct mst_http_answer *answer)
{
    const struct run *run = arg;
    mst_status why = !runs_chief(run) ? MST_NOT_FOUND : run->is_parked ? MST_FAILED_PRECONDITION : MST_UNAVAILABLE;
    mst_drain_serve(run->chief, why, path, query, answer);
}

// What a job that was cut short can go on from. Every role says it, the chief's death included: the directory knows.
static void name_checkpoint(struct run *run)
{
    const char *dir = run->context->job->checkpoint_chief_dir;
    char *prefix;
    uint64_t step;
    struct mst_error why = run->err;
    mst_status found = mst_checkpoint_newest(dir, NULL, NULL, &prefix, &step, NULL);
    if (found == MST_OK)
        run->status = mst_fail(&run->err, run->status, "%s; last checkpoint: %s, to go on from with checkpoint.resume",
                               why.text, prefix);
    else if (found == MST_NOT_FOUND)
        run->status = mst_fail(&run->err, run->status, "%s; no checkpoint is in %s", why.text, dir);
    free(prefix);
}

// ---- setting up and down ----

static mst_status read_configuration(struct run *run, struct mst_error *err)
{
    const struct mst_run_options *options = run->options;
    struct mst_cluster_request cluster = {.tf_config = getenv("TF_CONFIG"),
                                          .task_type = options->task_type,
                                          .task_index = options->task_index,
                                          .task_index_from = options->task_index_from};
    MST_TRY(mst_cluster_parse(&cluster, &run->cluster, err));
    MST_TRY(mst_cluster_check_runnable(run->cluster, err));
    char role[64];
    snprintf(role, sizeof role, "%s/%u", mst_cluster_role_name(run->cluster), run->cluster->index);
    mst_log_set_role(role);
    struct mst_job_request job = {.path = options->job, .sets = options->sets, .n_sets = options->n_sets};
    MST_TRY(mst_job_context_new(&job, &run->context, err));
    return list_ps(run, err);
}

// A text as a label's value, in quotes (prometheus.io, exposition formats).
static void append_label(char *out, size_t out_bytes, const char *name, const char *text)
{
    size_t used = strlen(out);
    used += (size_t)snprintf(out + used, out_bytes - used, "%s%s=\"", used ? "," : "", name);
    for (const char *at = text; *at && used + 4 < out_bytes; at++) {
        if (*at == '"' || *at == '\\' || *at == '\n')
            out[used++] = '\\';
        out[used++] = *at == '\n' ? 'n' : *at;
    }
    snprintf(out + used, out_bytes - used, "\"");
}

// Who answers at this port.
static void tell_identity(const struct run *run)
{
    char labels[2 * LABEL_TEXT_BYTES] = "";
    char index[16];
    snprintf(index, sizeof index, "%u", run->cluster->index);
    append_label(labels, sizeof labels, "role", mst_cluster_role_name(run->cluster));
    append_label(labels, sizeof labels, "index", index);
    append_label(labels, sizeof labels, "version", MUSTER_VERSION);
    append_label(labels, sizeof labels, "job", run->context->job->name);
    mst_metric_set(mst_metric_gauge("muster_info", "Always 1; its labels say who this is", labels), 1);
}

static bool is_over(void *arg)
{
    return ((const struct run *)arg)->is_over;
}

// Worker 0 of a dynamic job coordinates only if nobody else does.
static mst_status find_chief(struct run *run, struct mst_error *err)
{
    struct mst_cluster *cluster = run->cluster;
    if (cluster->role != MST_ROLE_WORKER || !cluster->is_chief || !cluster->is_partial)
        return MST_OK;
    run->worker_identity = identity_of(run, MST_PEER_WORKER, cluster->index, cluster->address);
    struct mst_find_chief_config config = {.identity = &run->worker_identity,
                                           .loop = run->control,
                                           .resolver = run->resolver,
                                           .ps_addresses = run->ps_addresses,
                                           .n_ps = run->n_ps,
                                           .wait_ms = run->context->job->lease_ms,
                                           .is_over = is_over,
                                           .arg = run};
    struct mst_found_chief found;
    run->is_asking = true;
    mst_status status = mst_find_chief(&config, &found, err);
    run->is_asking = false;
    run->found_chief_address = found.address;
    MST_TRY(status);
    if (found.is_finished)
        finish(run, MST_OK, "the job is finished");
    if (run->is_over) {
        *err = run->err;
        return run->status;
    }
    if (!found.address) {
        MST_LOG(WARN, "cli", "coordinating", "reason=\"no parameter server has heard of a chief\"");
        return MST_OK;
    }
    MST_LOG(INFO, "cli", "coordinator found", "address=%s", found.address);
    cluster->is_chief = cluster->chief_trains = false;
    cluster->chief_address = found.address;
    return MST_OK;
}

static mst_status start_roles(struct run *run, struct mst_error *err)
{
    MST_TRY(mst_loop_new("control", &run->control, err));
    mst_signals_init(&run->signals, run->control, on_signal, run);
    mst_timer_init(&run->grace, run->control, on_grace_over, run);
    MST_TRY(mst_resolver_new(&run->resolver, err));
    tell_identity(run);
    if (run->options->http)
        MST_TRY(mst_http_new(run->control, run->options->http, is_ready, run, &run->http, err));
    if (run->http)
        mst_http_take_posts(run->http, on_post, run);
    MST_TRY(find_chief(run, err));
    if (run->is_over)
        return MST_OK;
    MST_TRY(start_data_loops(run, err));
    if (runs_ps(run))
        MST_TRY(start_ps(run, err));
    if (runs_chief(run))
        MST_TRY(start_chief(run, err));
    if (runs_worker(run))
        MST_TRY(start_worker(run, err));
    if (runs_evaluator(run))
        MST_TRY(start_evaluator(run, err));
    for (size_t i = 0; i < run->n_data_loops; i++)
        MST_TRY(mst_loop_thread_start(run->data_loops[i], err));
    return run->eval_loop ? mst_loop_thread_start(run->eval_loop, err) : MST_OK;
}

// Ends what computes and what talks to others, but for a PS: one that is parked tells late-comers that the job is
// finished.
static void stop_work(struct run *run)
{
    if (run->ps)
        mst_ps_cancel(run->ps);
    for (size_t i = 0; i < run->n_data_loops; i++) {
        mst_loop_stop(run->data_loops[i]);
        mst_loop_thread_join(run->data_loops[i]);
    }
    if (run->evaluator)
        mst_evaluator_cancel(run->evaluator);
    if (run->eval_loop) {
        mst_loop_stop(run->eval_loop);
        mst_loop_thread_join(run->eval_loop);
    }
    mst_evaluator_free(run->evaluator);
    mst_exchange_direct_free(run->direct);
    mst_worker_free(run->worker);
    mst_chief_free(run->chief);
    run->evaluator = NULL;
    run->direct = NULL;
    run->worker = NULL;
    run->chief = NULL;
}

// A finished role stays, because who started it would start it again: it sleeps, is alive and ready, until SIGTERM.
static void park(struct run *run)
{
    stop_work(run);
    run->is_parked = true;
    MST_LOG(INFO, "cli", "parked", "until=SIGTERM");
    mst_loop_run(run->control);
}

static void stop_roles(struct run *run)
{
    stop_work(run);
    mst_timer_fini(&run->grace);
    mst_ps_free(run->ps);
    mst_server_free(run->idle_port);
    mst_http_free(run->http);
    mst_resolver_free(run->resolver);
    mst_signals_fini(&run->signals);
    for (size_t i = 0; i < run->n_data_loops; i++)
        mst_loop_free(run->data_loops[i]);
    free(run->data_loops);
    mst_loop_free(run->eval_loop);
    mst_loop_free(run->control);
    mst_job_context_free(run->context);
    mst_cluster_free(run->cluster);
    free(run->ps_addresses);
    free(run->own_chief_address);
    free(run->own_ps_address);
    free(run->found_chief_address);
}

// `muster local` says when the command was given; else it is now.
static uint64_t started_ns(void)
{
    const char *text = getenv("MUSTER_STARTED_NS");
    uint64_t number = text ? strtoull(text, NULL, 10) : 0;
    uint64_t now = mst_clock_monotonic_ns();
    return number > 0 && number < now ? number : now;
}

mst_status mst_run(const struct mst_run_options *options, int *exit_code_out, struct mst_error *err)
{
    *exit_code_out = 0;
    signal(SIGPIPE, SIG_IGN); // a reader of progress lines may go away
    signal(SIGXFSZ, SIG_IGN); // a file over the limit of `ulimit -f` is a failed write, as on a full disk
    struct run run = {.options = options, .started_ns = started_ns(), .incarnation = mst_rng_system()};
    mst_status status = read_configuration(&run, err);
    if (status == MST_OK)
        status = start_roles(&run, err);
    if (status == MST_OK) {
        mst_loop_run(run.control); // (returns at once if it is over)
        if (mst_status_is_retryable(run.status) && !run.signal)
            name_checkpoint(&run);
        if (run.signal)
            mst_signals_fini(&run.signals); // a thread may be busy yet: the next one finds the kernel's own handler
        status = run.status;
        *err = run.err;
        if (status == MST_OK && options->parks && !run.signal)
            park(&run);
    }
    if (status == MST_OK && runs_chief(&run)) {
        stop_work(&run);
        mst_chief_end_forget(run.context->job); // last, for until then a chief may be started again
    }
    if (run.signal && status != MST_OK) {
        *exit_code_out = 128 + run.signal;
        status = MST_OK;
    }
    stop_roles(&run);
    return status;
}
