// Joining (worker/joining.h) says who we are and where variables live; then what to train is asked for, lease after
// lease. The trainer does the rest.
#include "worker/worker.h"

#include "base/alloc.h"
#include "base/error.h"
#include "base/log.h"
#include "base/metrics.h"
#include "data/prefetch.h"
#include "event/timer.h"
#include "model/input.h"
#include "rpc/peer.h"
#include "wire/worker_numbers.h"
#include "worker/exchange_rpc.h"
#include "worker/joining.h"
#include "worker/trainer.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    REMINDER_MS = 10000,
    ABSENCE_TICK_MS = 250,
    LEASE_CALL_MS = 20000, // the chief answers a question in a tenth of it
    ASK_AGAIN_MS = 20,     // after WAIT: the chief has kept the question already
    PREFETCH_DEPTH = 4,
    EXCHANGE_LEASES = 4, // leases without an answer before a push is sent again over a new connection
};

struct mst_worker {
    struct mst_worker_config config;
    struct mst_dataset *dataset;
    struct mst_batches *batches;
    struct mst_prefetch *prefetch;
    struct mst_device *device;
    struct mst_program *program;
    struct mst_joining *joining;
    struct mst_timer reminder;
    struct mst_timer ask_again;
    struct mst_timer absence; // looks for servers that stay away
    struct mst_layout *layout;
    uint64_t map_term;
    uint64_t map_epoch;
    float **grads;
    struct mst_exchange *exchange;
    struct mst_trainer *trainer;
    size_t n_questions; // to the chief that are not answered
    struct mst_metric *steps_metric;
    struct mst_metric *examples_metric;
    struct mst_metric *staleness_metric;
    _Atomic bool is_ready;
    uint64_t n_steps_reminded;     // when the reminder last came
    _Atomic uint64_t waited_round; // that it waited for then; 0: none, or not for long
    uint64_t waits_ms;             // for the answers to what is under way
    bool is_over;
    bool is_leaving;
    mst_status leave_status;
    char leave_text[256];
};

static void ask(struct mst_worker *worker);

static void end(struct mst_worker *worker, mst_status status, const char *text)
{
    if (worker->is_over)
        return;
    worker->is_over = true;
    mst_timer_stop(&worker->reminder);
    mst_timer_stop(&worker->ask_again);
    mst_timer_stop(&worker->absence);
    mst_joining_stop(worker->joining);
    worker->config.on_end(worker->config.arg, status, text);
}

// ---- events of the trainer ----

static void on_wants_lease(void *arg)
{
    ask(arg);
}

static void on_told(void *arg)
{
    struct mst_worker *worker = arg;
    end(worker, worker->leave_status, worker->leave_text);
}

static void leave(void *arg)
{
    struct mst_worker *worker = arg;
    if (worker->is_over || worker->is_leaving)
        return;
    worker->is_leaving = true;
    if (!worker->trainer || mst_trainer_drain(worker->trainer))
        mst_joining_leave(worker->joining, on_told, worker);
}

void mst_worker_leave(struct mst_worker *worker, mst_status status, const char *text)
{
    worker->leave_status = status;
    snprintf(worker->leave_text, sizeof worker->leave_text, "%s", text);
    mst_loop_post(worker->config.loop, leave, worker);
}

static void on_step(void *arg, uint64_t n_steps, size_t n_examples, uint64_t staleness)
{
    struct mst_worker *worker = arg;
    mst_metric_add(worker->steps_metric, 1);
    mst_metric_add(worker->examples_metric, (int64_t)n_examples);
    mst_metric_observe(worker->staleness_metric, (int64_t)staleness);
    if (worker->waits_ms > 0)
        mst_joining_set_waits(worker->joining, worker->waits_ms = 0);
    mst_joining_set_progress(worker->joining, n_steps);
    if (worker->is_leaving)
        mst_joining_leave(worker->joining, on_told, worker);
    if (n_steps == 1) {
        MST_LOG(INFO, "worker", "first step done", "number=%llu",
                (unsigned long long)mst_joining_number(worker->joining));
        atomic_store_explicit(&worker->is_ready, true, memory_order_relaxed);
    }
}

static void on_fenced(void *arg, const char *text)
{
    struct mst_worker *worker = arg;
    MST_LOG(WARN, "worker", "fenced", "number=%llu reason=\"%s\"",
            (unsigned long long)mst_joining_number(worker->joining), text);
    worker->n_questions = 0;
    mst_trainer_fenced(worker->trainer);
    if (worker->is_leaving)
        mst_joining_leave(worker->joining, on_told, worker);
    else
        mst_joining_again(worker->joining);
}

struct failure {
    struct mst_worker *worker;
    mst_status status;
    char text[1024];
};

static void on_failure_told(void *arg, const struct mst_reply *reply)
{
    struct failure *failure = arg;
    (void)reply; // told or not: this process is over
    end(failure->worker, failure->status, failure->text);
    free(failure);
}

static void on_failed(void *arg, mst_status status, const char *text)
{
    struct mst_worker *worker = arg;
    if (status == MST_ABORTED) { // another map is served: the job that it joined was begun anew
        end(worker, status, text);
        return;
    }
    struct failure *failure = mst_alloc(sizeof *failure);
    failure->worker = worker;
    failure->status = status;
    snprintf(failure->text, sizeof failure->text, "worker-%u: %s", worker->config.identity->index, text);
    struct mst_msg_finish finish = {.status = (uint32_t)status, .text = failure->text};
    struct mst_buf meta;
    mst_buf_init(&meta, MST_FRAME_META_MAX);
    mst_status encoded = mst_msg_finish_encode(&finish, &meta);
    MST_ASSERT(encoded == MST_OK); // a bounded text
    struct mst_call call = {.method = MST_METHOD_FINISH,
                            .meta = mst_buf_view(&meta),
                            .deadline_ms = worker->config.job->lease_ms,
                            .on_reply = on_failure_told,
                            .arg = failure};
    mst_peer_call(mst_joining_chief(worker->joining), &call);
    mst_buf_fini(&meta);
}

// ---- leases ----

static void take_lease(struct mst_worker *worker, const struct mst_msg_lease_reply *reply)
{
    struct mst_session_lease lease = {.id = reply->lease,
                                      .seq = reply->seq,
                                      .epoch = reply->epoch,
                                      .first_batch = reply->first_batch,
                                      .n_batches = reply->n_batches};
    uint64_t n_units = (mst_batches_n_batches(worker->batches) - 1) / worker->config.job->accumulate_steps + 1;
    if (lease.n_batches == 0 || lease.first_batch >= n_units || lease.n_batches > n_units - lease.first_batch) {
        end(worker, MST_INTERNAL, "the chief gave a lease outside the data: do all processes read the same files?");
        return;
    }
    mst_trainer_lease(worker->trainer, mst_joining_number(worker->joining), &lease);
}

// Unless a newer question is under way: then that one's answer counts.
static void ask_later(struct mst_worker *worker)
{
    if (worker->n_questions == 0)
        mst_timer_start_once(&worker->ask_again, ASK_AGAIN_MS);
}

static void take_answer(struct mst_worker *worker, const struct mst_msg_lease_reply *reply)
{
    switch (reply->kind) {
    case MST_LEASE_REPLY_LEASE:
        take_lease(worker, reply);
        break;
    case MST_LEASE_REPLY_WAIT:
        ask_later(worker);
        break;
    case MST_LEASE_REPLY_FENCED:
        on_fenced(worker, reply->text);
        break;
    case MST_LEASE_REPLY_FINISHED:
        end(worker, MST_OK, "the job is finished");
        break;
    case MST_LEASE_REPLY_FAILED:
    case MST_LEASE_REPLY_KINDS:
        end(worker, reply->status ? (mst_status)reply->status : MST_INTERNAL, reply->text);
        break;
    }
}

static void on_answer(void *arg, const struct mst_reply *reply)
{
    struct mst_worker *worker = arg;
    if (worker->n_questions > 0)
        worker->n_questions--;
    if (worker->is_over)
        return;
    if (reply->status != MST_OK) {
        // The link broke or the chief is busy: on_chief_up asks again, and so does the timer if the link is still up.
        MST_LOG(DEBUG, "worker", "lease question unanswered", "reason=\"%s\"", reply->text);
        if (reply->status == MST_DEADLINE_EXCEEDED) // no chief keeps one so long: it is dialled again
            mst_peer_break(mst_joining_chief(worker->joining), "was given up: no answer to a question");
        ask_later(worker);
        return;
    }
    struct mst_arena arena;
    struct mst_msg_lease_reply answer;
    struct mst_error err;
    mst_arena_init(&arena, MST_MSG_ARENA_MAX);
    mst_status status = mst_msg_lease_reply_decode(reply->message->meta, &arena, &answer, &err);
    if (status == MST_OK)
        take_answer(worker, &answer);
    else
        end(worker, status, err.text);
    mst_arena_fini(&arena);
}

static void ask(struct mst_worker *worker)
{
    struct mst_session_request request;
    struct mst_training_sums sums;
    if (worker->is_over || !worker->trainer || !mst_peer_is_up(mst_joining_chief(worker->joining)) ||
        !mst_trainer_question(worker->trainer, &request, &sums))
        return;
    struct mst_msg_lease message = {.index = worker->config.identity->index,
                                    .incarnation = worker->config.identity->incarnation,
                                    .number = request.number,
                                    .seq = request.seq,
                                    .done_seq = request.done_seq,
                                    .sums = sums};
    struct mst_buf meta;
    mst_buf_init(&meta, MST_FRAME_META_MAX);
    mst_status status = mst_msg_lease_encode(&message, &meta);
    MST_ASSERT(status == MST_OK); // numbers, at most MST_SUMS_MAX of them
    struct mst_call call = {.method = MST_METHOD_LEASE,
                            .meta = mst_buf_view(&meta),
                            .deadline_ms = LEASE_CALL_MS,
                            .on_reply = on_answer,
                            .arg = worker};
    worker->n_questions++;
    mst_peer_call(mst_joining_chief(worker->joining), &call);
    mst_buf_fini(&meta);
}

static void on_ask_again(void *arg)
{
    struct mst_worker *worker = arg;
    if (worker->trainer && worker->n_questions == 0)
        mst_trainer_ask_again(worker->trainer);
    ask(worker);
}

// ---- the map ----

static mst_status make_grads(struct mst_worker *worker, struct mst_error *err)
{
    size_t n = mst_model_n_variables(worker->config.model);
    worker->grads = mst_alloc_array(n, sizeof(float *));
    for (size_t v = 0; v < n; v++) {
        const struct mst_variable *variable = mst_model_variable(worker->config.model, v);
        size_t bytes = variable->n_elements * sizeof(float);
        void *memory;
        if (variable->update == MST_UPDATE_FROZEN)
            continue;
        if (mst_try_alloc(bytes, &memory) != MST_OK)
            return mst_fail(err, MST_RESOURCE_EXHAUSTED, "no memory for the %zu bytes of a gradient", bytes);
        worker->grads[v] = memory;
    }
    return MST_OK;
}

static mst_status make_exchange(struct mst_worker *worker, struct mst_error *err)
{
    const struct mst_job *job = worker->config.job;
    struct mst_exchange_events events = mst_trainer_exchange_events(worker->trainer);
    if (worker->config.make_exchange)
        return worker->config.make_exchange(worker->config.make_arg, worker->layout, worker->grads, &events,
                                            &worker->exchange, err);
    struct mst_exchange_rpc_config config = {.loop = worker->config.loop,
                                             .resolver = worker->config.resolver,
                                             .identity = worker->config.identity,
                                             .model = worker->config.model,
                                             .layout = worker->layout,
                                             .ps_addresses = worker->config.ps_addresses,
                                             .n_ps = worker->config.n_ps,
                                             .grads = worker->grads,
                                             .map_term = worker->map_term,
                                             .map_epoch = worker->map_epoch,
                                             .roles = mst_joining_roles(worker->joining),
                                             .call_ms = EXCHANGE_LEASES * job->lease_ms,
                                             .adds_body_crc = job->adds_checksums,
                                             .events = events};
    if (worker->layout->n_round_workers > 0) { // rounds take what they take, and a PS always reads contributions
        config.call_ms = job->absence_ms;
        config.user_timeout_ms = EXCHANGE_LEASES * job->lease_ms;
    }
    return mst_exchange_rpc_new(&config, &worker->exchange, err);
}

static mst_status take_map(struct mst_worker *worker, const struct mst_msg_map *map, struct mst_error *err)
{
    worker->map_term = map->term;
    worker->map_epoch = map->epoch;
    MST_TRY(mst_layout_new(worker->config.model, map, &worker->layout, err));
    MST_TRY(make_grads(worker, err));
    const struct mst_job *job = worker->config.job;
    struct mst_clip none = {0};
    bool is_synchronous = worker->layout->n_round_workers > 0;
    struct mst_trainer_config config = {.loop = worker->config.loop,
                                        .program = worker->program,
                                        .prefetch = worker->prefetch,
                                        .batches = worker->batches,
                                        .model = worker->config.model,
                                        .layout = worker->layout,
                                        .accumulate_steps = job->accumulate_steps,
                                        .is_synchronous = is_synchronous,
                                        .clip = is_synchronous ? none : mst_optimizer_clip(worker->config.optimizer),
                                        .grads = worker->grads,
                                        .n_sums = mst_compile_n_sums(worker->config.compile),
                                        .events = {on_wants_lease, on_step, on_fenced, on_failed, worker}};
    MST_TRY(mst_trainer_new(&config, &worker->trainer, err));
    MST_TRY(make_exchange(worker, err));
    mst_trainer_set_exchange(worker->trainer, worker->exchange);
    if (mst_joining_number(worker->joining) != MST_NO_NUMBER)
        MST_LOG(INFO, "worker", "joined", "number=%llu epoch=%llu.%llu buckets=%zu",
                (unsigned long long)mst_joining_number(worker->joining), (unsigned long long)map->term,
                (unsigned long long)map->epoch, worker->layout->n_buckets);
    mst_trainer_admitted(worker->trainer, mst_joining_number(worker->joining));
    return MST_OK;
}

static mst_status on_map(void *arg, const struct mst_msg_map *map, struct mst_error *err)
{
    return take_map(arg, map, err);
}

static mst_status on_roles(void *arg, const struct mst_roles *roles, struct mst_error *err)
{
    struct mst_worker *worker = arg;
    return worker->config.make_exchange ? MST_OK : mst_exchange_rpc_set_roles(worker->exchange, roles, err);
}

static void on_admitted(void *arg, uint64_t number)
{
    struct mst_worker *worker = arg;
    worker->n_questions = 0; // those of the old link are forgotten or have failed
    mst_trainer_ask_again(worker->trainer);
    mst_trainer_admitted(worker->trainer, number);
    ask(worker);
}

static void on_over(void *arg, mst_status status, const char *text)
{
    end(arg, status, text);
}

// ---- waiting, said aloud ----

static void describe_wait(const struct mst_worker *worker, char *out, size_t out_bytes)
{
    mst_joining_state(worker->joining, out, out_bytes);
    if (!out[0] && worker->trainer && !worker->config.make_exchange)
        mst_exchange_rpc_state(worker->exchange, out, out_bytes);
}

// A round that is waited for just now is nothing unusual; without any step since the last time it is.
static void describe_round(struct mst_worker *worker, char *out, size_t out_bytes)
{
    uint64_t n_steps = worker->trainer ? mst_trainer_n_steps(worker->trainer) : 0;
    uint64_t round = worker->trainer ? mst_trainer_waits_for(worker->trainer) : 0;
    if (n_steps != worker->n_steps_reminded)
        round = 0;
    worker->n_steps_reminded = n_steps;
    atomic_store_explicit(&worker->waited_round, round, memory_order_relaxed);
    if (!out[0] && round > 0)
        snprintf(out, out_bytes, "round %llu: the chief's log says whose part is missing", (unsigned long long)round);
}

static void on_reminder(void *arg)
{
    struct mst_worker *worker = arg;
    char text[1024];
    describe_wait(worker, text, sizeof text);
    describe_round(worker, text, sizeof text);
    if (text[0])
        MST_LOG(INFO, "worker", "waiting", "for=\"%s\"", text);
}

// By ticks, so that time in which this process does not run is none: its servers could not answer.
static void count_wait(struct mst_worker *worker)
{
    worker->waits_ms = mst_trainer_is_unanswered(worker->trainer) ? worker->waits_ms + ABSENCE_TICK_MS : 0;
    mst_joining_set_waits(worker->joining, worker->waits_ms);
}

// The chief ends the job when a server stays away from it; this is for one that only we cannot reach.
static void on_absence(void *arg)
{
    struct mst_worker *worker = arg;
    if (worker->trainer && !worker->is_over)
        count_wait(worker);
    uint64_t limit_ms = worker->config.job->absence_ms;
    if (!worker->exchange || worker->is_over || mst_exchange_rpc_absent_ms(worker->exchange) <= limit_ms)
        return;
    char who[512];
    struct mst_error err;
    mst_exchange_rpc_state(worker->exchange, who, sizeof who);
    mst_status status = mst_fail(&err, MST_UNAVAILABLE, "%s was lost and did not come back within %llu ms", who,
                                 (unsigned long long)limit_ms);
    end(worker, status, err.text);
}

mst_status mst_worker_ready(const struct mst_worker *worker, struct mst_error *err)
{
    if (atomic_load_explicit(&worker->is_ready, memory_order_relaxed))
        return MST_OK;
    uint64_t round = atomic_load_explicit(&worker->waited_round, memory_order_relaxed);
    char waits[64] = "";
    if (round > 0)
        snprintf(waits, sizeof waits, ": it waits for round %llu", (unsigned long long)round);
    return mst_fail(err, MST_UNAVAILABLE, "worker-%u has not done its first step%s", worker->config.identity->index,
                    waits);
}

// ---- making and freeing ----

static mst_status open_data(struct mst_worker *worker, struct mst_error *err)
{
    const struct mst_job *job = worker->config.job;
    MST_TRY(mst_dataset_open(worker->config.train, &worker->dataset, err));
    MST_TRY(mst_input_check(worker->dataset, worker->config.model, worker->config.compile, err));
    struct mst_batches_options options = {.batch_size = job->batch_size,
                                          .seed = job->seed,
                                          .order = job->train.shuffle ? MST_ORDER_SHUFFLED : MST_ORDER_FILE};
    MST_TRY(mst_batches_new(worker->dataset, &options, &worker->batches, err));
    // Inline: a gather takes microseconds, and a thread for it would only take the core from a PS. Decoding begins at
    // once.
    MST_TRY(mst_prefetch_new(worker->batches, PREFETCH_DEPTH, MST_PREFETCH_INLINE, &worker->prefetch, err));
    return MST_OK;
}

static mst_status plan_program(struct mst_worker *worker, struct mst_error *err)
{
    MST_TRY(mst_device_cpu_new(worker->config.n_threads, &worker->device, err));
    struct mst_program_options options = {.mode = MST_PROGRAM_TRAIN,
                                          .max_batch = worker->config.job->batch_size,
                                          .input_dtypes = mst_dataset_input_dtypes(worker->dataset),
                                          .seed = worker->config.job->seed};
    MST_TRY(
        mst_program_new(worker->config.model, worker->config.compile, worker->device, &options, &worker->program, err));
    char text[256];
    MST_LOG(INFO, "worker", "device", "is=\"%s\"", mst_device_describe(worker->device, text, sizeof text));
    return MST_OK;
}

static struct mst_metric *make_staleness_metric(void)
{
    int64_t limits[MST_STALENESS_BINS - 1];
    for (size_t i = 0; i + 1 < MST_STALENESS_BINS; i++)
        limits[i] = (int64_t)mst_staleness_bin_limit(i);
    return mst_metric_histogram("muster_worker_staleness", "Updates by others between a step's pull and its push", NULL,
                                limits, MST_STALENESS_BINS - 1);
}

mst_status mst_worker_new(const struct mst_worker_config *config, struct mst_worker **out, struct mst_error *err)
{
    *out = NULL;
    struct mst_worker *worker = mst_alloc(sizeof *worker);
    worker->config = *config;
    mst_timer_init(&worker->reminder, config->loop, on_reminder, worker);
    mst_timer_init(&worker->ask_again, config->loop, on_ask_again, worker);
    mst_timer_init(&worker->absence, config->loop, on_absence, worker);
    struct mst_joining_config joining = {.identity = config->identity,
                                         .loop = config->loop,
                                         .control = config->control,
                                         .resolver = config->resolver,
                                         .chief_address = config->chief_address,
                                         .ps_addresses = config->ps_addresses,
                                         .n_ps = config->make_exchange ? 0 : config->n_ps,
                                         .heartbeat_ms = config->job->heartbeat_ms,
                                         .lease_ms = config->job->lease_ms,
                                         .absence_ms = config->job->absence_ms,
                                         .events = {on_map, on_roles, on_admitted, on_over, worker}};
    worker->joining = mst_joining_new(&joining);
    worker->steps_metric = mst_metric_counter("muster_worker_steps_total", "Steps trained by this process", NULL);
    worker->examples_metric = mst_metric_counter("muster_worker_examples_total", "Examples of those steps", NULL);
    worker->staleness_metric = make_staleness_metric();
    mst_status status = open_data(worker, err);
    if (status == MST_OK)
        status = plan_program(worker, err);
    if (status != MST_OK) {
        mst_worker_free(worker);
        return status;
    }
    *out = worker;
    return MST_OK;
}

void mst_worker_start(struct mst_worker *worker)
{
    mst_timer_start_periodic(&worker->reminder, REMINDER_MS);
    if (!worker->config.make_exchange)
        mst_timer_start_periodic(&worker->absence, ABSENCE_TICK_MS);
    mst_joining_start(worker->joining);
}

void mst_worker_free(struct mst_worker *worker)
{
    if (!worker)
        return;
    mst_timer_fini(&worker->reminder);
    mst_timer_fini(&worker->ask_again);
    mst_timer_fini(&worker->absence);
    mst_joining_free(worker->joining);
    if (!worker->config.make_exchange)
        mst_exchange_rpc_free(worker->exchange);
    mst_trainer_free(worker->trainer);
    for (size_t v = 0; worker->grads && v < mst_model_n_variables(worker->config.model); v++)
        free(worker->grads[v]);
    free(worker->grads);
    mst_layout_free(worker->layout);
    mst_program_free(worker->program);
    mst_device_free(worker->device);
    mst_prefetch_free(worker->prefetch);
    mst_batches_free(worker->batches);
    mst_dataset_free(worker->dataset);
    free(worker);
}
