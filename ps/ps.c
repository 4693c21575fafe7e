// Greetings, the chief's coming and going, and the end. What the chief asks for is in files of its own:
// chief_calls.c (MAP, STATS), restoring.c (MAP once more), taking_roles.c (ROLES), fencing.c, memory.c (STATE, RECALL),
// round_calls.c, cutting.c, saving.c, part_calls.c.
#include "ps/ps_private.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "wire/worker_numbers.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

enum {
    REMINDER_MS = 10000,
    TRIM_MS = 60000,  // longer than the usual time between two cuts would be memory held for nothing
    RIVAL_LEASES = 2, // for which a second chief asks again
};

static void on_heartbeat(void *arg, struct mst_conn *conn, const struct mst_message *message);
static void on_finish(void *arg, struct mst_conn *conn, const struct mst_message *message);

static const struct mst_handler chief_handlers[] = {
    {MST_METHOD_HEARTBEAT, NULL, on_heartbeat},  {MST_METHOD_MAP, NULL, mst_ps_on_map},
    {MST_METHOD_FENCE, NULL, mst_ps_on_fence},   {MST_METHOD_SAVE, NULL, mst_ps_on_save},
    {MST_METHOD_STATS, NULL, mst_ps_on_stats},   {MST_METHOD_FINISH, NULL, on_finish},
    {MST_METHOD_ROUND, NULL, mst_ps_on_round},   {MST_METHOD_STATE, NULL, mst_ps_on_state},
    {MST_METHOD_RECALL, NULL, mst_ps_on_recall}, {MST_METHOD_CUT, NULL, mst_ps_on_cut},
    {MST_METHOD_ROLES, NULL, mst_ps_on_roles},
};

static void on_control_closed(void *arg, struct mst_conn *conn, mst_status status, const char *text)
{
    struct control_conn *control = arg;
    struct mst_ps *ps = control->ps;
    (void)status;
    if (conn == ps->chief) {
        ps->chief = NULL;
        if (ps->phase != PS_ENDED) {
            MST_LOG(WARN, "ps", "chief lost", "reason=\"%s\" absence_ms=%llu", text,
                    (unsigned long long)ps->config.absence_ms);
            mst_timer_start_once(&ps->chief_lost, ps->config.absence_ms);
        }
    }
    for (struct control_conn **at = &ps->conns; *at; at = &(*at)->next)
        if (*at == control) {
            *at = control->next;
            break;
        }
    free(control);
}

static const struct mst_service chief_service = {chief_handlers, sizeof chief_handlers / sizeof chief_handlers[0],
                                                 on_control_closed};
static const struct mst_service idle_service = {NULL, 0, on_control_closed};

static struct control_conn *add_control(struct mst_ps *ps, struct mst_conn *conn)
{
    static uint64_t next_id; // control loop only
    struct control_conn *control = mst_alloc(sizeof *control);
    *control = (struct control_conn){.next = ps->conns, .ps = ps, .conn = conn, .id = ++next_id};
    ps->conns = control;
    return control;
}

// ---- calls that are answered later ----

struct late_call mst_ps_late_call(const struct control_conn *control, const struct mst_message *message)
{
    return (struct late_call){control->ps, control->id, message->method, message->call};
}

static struct mst_conn *conn_of(const struct late_call *late)
{
    for (struct control_conn *control = late->ps->conns; control; control = control->next)
        if (control->id == late->conn_id)
            return control->conn;
    return NULL;
}

void mst_ps_answer(const struct late_call *late, struct mst_buf *meta)
{
    struct mst_conn *conn = conn_of(late);
    struct mst_message message = {.method = late->method, .call = late->call};
    if (conn)
        mst_conn_reply(conn, &message, mst_buf_view(meta), NULL);
    mst_buf_fini(meta);
}

void mst_ps_answer_with(const struct late_call *late, struct mst_buf *meta, const struct mst_body *body)
{
    struct mst_conn *conn = conn_of(late);
    const struct mst_frame head = {
        .flags = MST_FRAME_REPLY | MST_FRAME_BODY_CRC, .method = late->method, .call = late->call};
    if (conn)
        mst_conn_send(conn, &head, mst_buf_view(meta), body);
    else
        body->release(body->arg);
    mst_buf_fini(meta);
}

void mst_ps_answer_error(const struct late_call *late, mst_status status, const char *text)
{
    struct mst_conn *conn = conn_of(late);
    struct mst_message message = {.method = late->method, .call = late->call};
    if (conn)
        mst_conn_reply_error(conn, &message, status, "%s", text);
}

// ---- greetings ----

static void answer_greeting(struct mst_ps *ps, struct mst_conn *conn, const struct mst_message *message)
{
    struct mst_msg_greeting_reply reply;
    mst_identity_answer(ps->config.identity, &reply);
    reply.n_data_threads = (uint32_t)ps->config.n_data_loops;
    reply.chief_known = ps->chief != NULL;
    reply.chief_address = ps->chief_address;
    reply.chief_index = ps->chief_index;
    reply.chief_role = ps->chief_role;
    reply.term = ps->chief_term;
    reply.job_state = ps->is_finished ? MST_JOB_FINISHED : ps->phase == PS_SERVING ? MST_JOB_RUNNING : MST_JOB_WAITING;
    reply.state_text = ps->is_finished           ? "the job is finished"
                       : ps->phase == PS_SERVING ? "serving"
                       : ps->chief               ? "waiting for its shards"
                                                 : "waiting for the chief";
    struct mst_buf meta;
    mst_buf_init(&meta, MST_FRAME_META_MAX);
    mst_status status = mst_msg_greeting_reply_encode(&reply, &meta);
    if (status == MST_OK)
        mst_conn_reply(conn, message, mst_buf_view(&meta), NULL);
    else
        mst_conn_reply_error(conn, message, status, "the greeting could not be answered");
    mst_buf_fini(&meta);
}

static void refuse_greeting(const struct mst_ps *ps, struct mst_conn *conn, const struct mst_message *message,
                            mst_status status, const char *text)
{
    size_t n_unlogged;
    bool is_final = !mst_status_is_retryable(status); // else it says itself what it waits for
    if (is_final && mst_server_tells_refusal(ps->server, &n_unlogged))
        MST_LOG(WARN, "ps", "greeting refused", "peer=%s status=%s reason=\"%s\" unlogged=%zu", mst_conn_name(conn),
                mst_status_name(status), text, n_unlogged);
    mst_conn_reply_error(conn, message, status, "%s", text);
    mst_conn_close_flushed(conn);
}

// It has a term, and another one has claimed a higher one since, or the same one before it.
static bool chief_is_older(const struct mst_ps *ps, const struct mst_msg_greeting *greeting)
{
    return greeting->term != MST_TERM_NEWCOMER &&
           (greeting->term < ps->chief_term ||
            (greeting->term == ps->chief_term && greeting->incarnation != ps->term_incarnation));
}

// Two processes want to be the chief. The one that is followed may just have died: the other asks again for a while.
static void refuse_rival(struct mst_ps *ps, struct mst_conn *conn, const struct mst_message *message,
                         const struct mst_msg_greeting *greeting)
{
    static const char text[] = "another process coordinates this job and is alive; a job has one: name the chief in "
                               "every TF_CONFIG, or start it before worker 0";
    uint64_t now_ms = mst_clock_monotonic_ms();
    if (ps->rival_incarnation != greeting->incarnation) {
        ps->rival_incarnation = greeting->incarnation;
        ps->rival_since_ms = now_ms;
    }
    if (now_ms - ps->rival_since_ms >= RIVAL_LEASES * ps->config.lease_ms) {
        refuse_greeting(ps, conn, message, MST_ALREADY_EXISTS, text);
        return;
    }
    mst_conn_reply_error(conn, message, MST_UNAVAILABLE, text);
    mst_conn_close_flushed(conn);
}

static void follow(struct mst_ps *ps, struct mst_conn *conn, const struct mst_msg_greeting *greeting)
{
    struct mst_conn *before = ps->chief;
    ps->chief = conn;
    ps->chief_heard_ms = mst_clock_monotonic_ms();
    ps->chief_incarnation = greeting->incarnation;
    ps->chief_index = greeting->index;
    ps->chief_role = greeting->role;
    if (greeting->term > ps->chief_term && greeting->term != MST_TERM_NEWCOMER) {
        ps->chief_term = greeting->term; // this server was started again: others know the term
        ps->term_incarnation = greeting->incarnation;
        ps->is_back = true;
    }
    free(ps->chief_address);
    ps->chief_address = mst_strdup(greeting->address);
    mst_timer_stop(&ps->chief_lost);
    if (before && before != conn)
        mst_conn_break(before, "was replaced by another one of the chief");
}

static void adopt_chief(struct mst_ps *ps, struct mst_conn *conn, const struct mst_message *message,
                        const struct mst_msg_greeting *greeting)
{
    bool is_new = greeting->incarnation != ps->chief_incarnation;
    bool is_heard = ps->chief && mst_clock_monotonic_ms() - ps->chief_heard_ms < ps->config.lease_ms;
    if (chief_is_older(ps, greeting)) {
        struct mst_error err;
        mst_status status =
            mst_fail(&err, MST_ALREADY_EXISTS,
                     "another process coordinates this job since: ps-%u follows the chief at %s, whose term is %llu, "
                     "not %llu",
                     ps->config.identity->index, ps->chief_address ? ps->chief_address : "?",
                     (unsigned long long)ps->chief_term, (unsigned long long)greeting->term);
        refuse_greeting(ps, conn, message, status, err.text);
        return;
    }
    if (is_new && ps->phase != PS_WAITING && is_heard) {
        refuse_rival(ps, conn, message, greeting);
        return;
    }
    follow(ps, conn, greeting);
    MST_LOG(INFO, "ps", "chief greeted", "address=%s term=%llu", ps->chief_address,
            (unsigned long long)(greeting->term == MST_TERM_NEWCOMER ? 0 : greeting->term));
    answer_greeting(ps, conn, message);
    mst_conn_set_user_timeout(conn, ps->config.lease_ms);
    mst_service_attach(&chief_service, add_control(ps, conn), conn);
}

struct arrival {
    struct mst_data_thread *thread;
    struct mst_conn *conn;
    uint32_t worker;
    uint64_t number;
    bool is_ps; // worker is its index, number its incarnation
};

static void on_arrival(void *arg)
{
    struct arrival *arrival = arg;
    if (arrival->is_ps)
        mst_data_thread_adopt_ps(arrival->thread, arrival->conn, arrival->worker, arrival->number);
    else
        mst_data_thread_adopt(arrival->thread, arrival->conn, arrival->worker, arrival->number);
    free(arrival);
}

static void drop_arrival(void *arg)
{
    struct arrival *arrival = arg;
    mst_conn_close(arrival->conn);
    free(arrival);
}

static void hand_over(struct mst_ps *ps, struct mst_conn *conn, const struct mst_message *message,
                      const struct mst_msg_greeting *greeting)
{
    size_t asked = (size_t)greeting->data_thread;
    bool is_evaluator = greeting->role == MST_PEER_EVALUATOR;
    if (ps->phase != PS_SERVING) {
        // Started again, and the chief has not said yet what it holds: asked again with a growing pause.
        mst_conn_reply_error(conn, message, MST_UNAVAILABLE, "ps-%u does not hold its shards yet",
                             ps->config.identity->index);
        mst_conn_close_flushed(conn);
        return;
    }
    size_t n_planned = ps->config.n_data_loops;
    if (ps->map.roles.n_groups > 0) // as many as it had when the plan was made
        n_planned = (size_t)ps->map.ps_threads[ps->map.ps];
    struct mst_error err;
    mst_status status = MST_OK;
    if (asked >= n_planned)
        status =
            mst_fail(&err, MST_OUT_OF_RANGE, "ps-%u has %zu data threads, and %s-%u asked for number %zu",
                     ps->config.identity->index, n_planned, mst_peer_role_name(greeting->role), greeting->index, asked);
    else if (greeting->role != MST_PEER_EVALUATOR && greeting->role != MST_PEER_PS)
        status = mst_worker_number_check_if_any(greeting->index, greeting->number, &err);
    if (status != MST_OK) {
        refuse_greeting(ps, conn, message, status, err.text);
        return;
    }
    answer_greeting(ps, conn, message);
    size_t index = mst_ps_thread_of(ps, asked);
    struct arrival *arrival = mst_alloc(sizeof *arrival);
    *arrival = (struct arrival){ps->threads[index], conn, is_evaluator ? MST_NO_WORKER : greeting->index,
                                greeting->number, false};
    if (greeting->role == MST_PEER_PS) {
        arrival->is_ps = true;
        arrival->number = greeting->incarnation;
    }
    mst_conn_detach(conn);
    mst_loop_post_or_drop(ps->config.data_loops[index], on_arrival, drop_arrival, arrival);
}

static void on_greeting(void *arg, struct mst_conn *conn, const struct mst_message *message,
                        const struct mst_msg_greeting *greeting)
{
    struct mst_ps *ps = arg;
    struct mst_error err;
    mst_status status = mst_identity_check(ps->config.identity, greeting, &err);
    if (status != MST_OK) {
        refuse_greeting(ps, conn, message, status, err.text);
    } else if (greeting->data_thread >= 0) {
        hand_over(ps, conn, message, greeting);
    } else if (greeting->term > 0 && !ps->is_finished) {
        adopt_chief(ps, conn, message, greeting);
    } else {
        answer_greeting(ps, conn, message);
        mst_service_attach(&idle_service, add_control(ps, conn), conn);
    }
}

// ---- the chief's small calls ----

mst_status mst_ps_check_term(const struct mst_ps *ps, uint64_t term, struct mst_error *err)
{
    if (term < ps->chief_term)
        return mst_fail(err, MST_ABORTED, "term %llu is over, ps-%u follows term %llu", (unsigned long long)term,
                        ps->config.identity->index, (unsigned long long)ps->chief_term);
    return MST_OK;
}

static void on_heartbeat(void *arg, struct mst_conn *conn, const struct mst_message *message)
{
    struct mst_arena arena;
    struct mst_msg_heartbeat heartbeat;
    struct mst_error err;
    mst_arena_init(&arena, MST_MSG_ARENA_MAX);
    mst_status status = mst_msg_heartbeat_decode(message->meta, &arena, &heartbeat, &err);
    if (status != MST_OK) {
        mst_conn_reply_error(conn, message, status, "%s", err.text);
    } else {
        struct mst_ps *ps = ((const struct control_conn *)arg)->ps;
        if (conn == ps->chief)
            ps->chief_heard_ms = mst_clock_monotonic_ms();
        struct mst_msg_heartbeat_reply reply = {.job_state = MST_JOB_RUNNING};
        if (heartbeat.sets_learning_rate)
            mst_optimizer_set_learning_rate(ps->config.optimizer, (float)heartbeat.learning_rate);
        if (ps->is_leaving && !mst_ps_has_roles(ps)) // else the chief hears of it with its roles
            reply = (struct mst_msg_heartbeat_reply){
                .job_state = MST_JOB_FAILED, .status = MST_UNAVAILABLE, .text = ps->leaving_text};
        struct mst_buf meta;
        mst_buf_init(&meta, MST_FRAME_META_MAX);
        if (mst_msg_heartbeat_reply_encode(&reply, &meta) == MST_OK)
            mst_conn_reply(conn, message, mst_buf_view(&meta), NULL);
        mst_buf_fini(&meta);
    }
    mst_arena_fini(&arena);
}

static void on_finish(void *arg, struct mst_conn *conn, const struct mst_message *message)
{
    struct control_conn *control = arg;
    struct mst_ps *ps = control->ps;
    struct mst_arena arena;
    struct mst_msg_finish finish;
    struct mst_error err;
    mst_arena_init(&arena, MST_MSG_ARENA_MAX);
    mst_status status = mst_msg_finish_decode(message->meta, &arena, &finish, &err);
    if (status == MST_OK)
        status = mst_ps_check_term(ps, finish.term, &err);
    if (status != MST_OK) {
        mst_conn_reply_error(conn, message, status, "%s", err.text);
    } else {
        struct mst_msg_finish_reply reply = {0};
        struct mst_buf meta;
        mst_buf_init(&meta, MST_FRAME_META_MAX);
        if (mst_msg_finish_reply_encode(&reply, &meta) == MST_OK)
            mst_conn_reply(conn, message, mst_buf_view(&meta), NULL);
        mst_buf_fini(&meta);
        mst_ps_end(ps, (mst_status)finish.status, finish.text);
    }
    mst_arena_fini(&arena);
}

// ---- beginning and end ----

void mst_ps_end(struct mst_ps *ps, mst_status status, const char *text)
{
    if (ps->phase == PS_ENDED)
        return;
    ps->phase = PS_ENDED;
    ps->is_finished = status == MST_OK;
    mst_timer_stop(&ps->reminder);
    mst_timer_stop(&ps->trim);
    mst_timer_stop(&ps->chief_lost);
    ps->config.on_end(ps->config.arg, status, text);
}

// It has nothing of a job that has begun, nor does a checkpoint wait for it.
static bool is_without_work(const struct mst_ps *ps)
{
    if (ps->phase == PS_WAITING)
        return !ps->is_back;
    return ps->phase == PS_BUILDING && ps->map.iterations == 0 && ps->map.restore_prefix[0] == '\0';
}

bool mst_ps_leave(struct mst_ps *ps, const char *text)
{
    if (!ps->chief || ps->phase == PS_ENDED || is_without_work(ps))
        return false;
    ps->is_leaving = true;
    snprintf(ps->leaving_text, sizeof ps->leaving_text, "%s", text);
    mst_ps_wants_drain(ps);
    return true;
}

void mst_ps_cancel(struct mst_ps *ps)
{
    // Relaxed: who makes or reads values wants to see it soon, nothing else is read by it.
    atomic_store_explicit(&ps->is_cancelled, true, memory_order_relaxed);
}

static void on_chief_lost(void *arg)
{
    struct mst_ps *ps = arg;
    struct mst_error err;
    unsigned long long limit_ms = ps->config.absence_ms;
    mst_status status =
        ps->chief_address
            ? mst_fail(&err, MST_UNAVAILABLE, "the chief (%s) was lost and did not come back within %llu ms",
                       ps->chief_address, limit_ms)
            : mst_fail(&err, MST_UNAVAILABLE,
                       "no chief greeted this parameter server within %llu ms (cluster.absence_ms): the job is over, "
                       "or its chief was not started",
                       limit_ms);
    mst_ps_end(ps, status, err.text);
}

static void on_reminder(void *arg)
{
    struct mst_ps *ps = arg;
    struct mst_error err;
    if (mst_ps_ready(ps, &err) != MST_OK)
        MST_LOG(INFO, "ps", "waiting", "for=\"%s\"", err.text);
    else if (!ps->chief)
        MST_LOG(INFO, "ps", "waiting", "for=\"the chief (%s) to come back\"", ps->chief_address);
}

static void trim_thread(void *arg)
{
    for (struct mst_holding *holding = mst_data_thread_holdings(arg); holding; holding = holding->next)
        mst_holding_trim(holding);
}

static void on_trim(void *arg)
{
    struct mst_ps *ps = arg;
    for (size_t i = 0; i < ps->config.n_data_loops; i++)
        mst_loop_post(ps->config.data_loops[i], trim_thread, ps->threads[i]);
}

void mst_ps_trim_later(struct mst_ps *ps)
{
    if (ps->phase == PS_SERVING && !ps->config.expects_cuts)
        mst_timer_start_once(&ps->trim, TRIM_MS);
}

mst_status mst_ps_ready(const struct mst_ps *ps, struct mst_error *err)
{
    if (ps->phase == PS_SERVING || ps->phase == PS_ENDED)
        return MST_OK;
    if (ps->phase == PS_BUILDING)
        return ps->map.restore_prefix[0]
                   ? mst_fail(err, MST_UNAVAILABLE, "reading its shards from %s", ps->map.restore_prefix)
                   : mst_fail(err, MST_UNAVAILABLE, "making its shards");
    return mst_fail(err, MST_UNAVAILABLE,
                    ps->chief ? "waiting for the chief to say which shards to hold"
                              : "waiting for the chief, which has not greeted");
}

// Training goes before a checkpoint: the writer's thread takes what it leaves of a processor, a tenth of one at least.
static void be_nice(void *arg)
{
    enum { WRITER_NICE = 10 };
    (void)arg;
    // Linux keeps this for each thread (setpriority(2)); where it is refused the writer is as the others are.
    (void)setpriority(PRIO_PROCESS, (id_t)gettid(), WRITER_NICE);
}

static mst_status start_thread(const char *name, struct mst_loop **out, struct mst_error *err)
{
    MST_TRY(mst_loop_new(name, out, err));
    return mst_loop_thread_start(*out, err);
}

static void end_thread(struct mst_loop *loop)
{
    if (!loop)
        return;
    mst_loop_stop(loop);
    mst_loop_thread_join(loop);
    mst_loop_free(loop);
}

mst_status mst_ps_new(const struct mst_ps_config *config, struct mst_ps **out, struct mst_error *err)
{
    *out = NULL;
    struct mst_ps *ps = mst_alloc(sizeof *ps);
    ps->config = *config;
    ps->roles = mst_ps_roles_new(ps);
    mst_arena_init(&ps->map_arena, MST_MSG_ARENA_MAX);
    mst_buf_init(&ps->memory, MST_FRAME_META_MAX);
    mst_timer_init(&ps->chief_lost, config->control, on_chief_lost, ps);
    mst_timer_init(&ps->reminder, config->control, on_reminder, ps);
    mst_timer_init(&ps->trim, config->control, on_trim, ps);
    struct mst_server_config server = {.on_greeting = on_greeting, .arg = ps};
    mst_status status = mst_server_new(config->control, &server, &ps->server);
    if (status == MST_OK)
        status = config->listen_fd >= 0 ? mst_server_listen_fd(ps->server, config->listen_fd, err)
                                        : mst_server_listen(ps->server, config->port, err);
    if (status == MST_OK)
        status = start_thread("ps-writer", &ps->writer, err);
    if (status == MST_OK)
        status = start_thread("ps-reader", &ps->reader, err);
    if (status != MST_OK) {
        mst_ps_free(ps);
        return status;
    }
    mst_loop_post(ps->writer, be_nice, NULL);
    ps->threads = mst_alloc_array(config->n_data_loops, sizeof(struct mst_data_thread *));
    for (size_t i = 0; i < config->n_data_loops; i++) {
        ps->threads[i] = mst_data_thread_new(config->data_loops[i], (uint32_t)i, config->lease_ms);
        if (config->adds_body_crc)
            mst_data_thread_add_body_crc(ps->threads[i]);
    }
    mst_timer_start_periodic(&ps->reminder, REMINDER_MS);
    if (config->absence_ms) // one that is started again just when the job ends would wait for ever
        mst_timer_start_once(&ps->chief_lost, config->absence_ms);
    MST_LOG(INFO, "ps", "listening", "port=%u data_threads=%zu", mst_server_port(ps->server), config->n_data_loops);
    *out = ps;
    return MST_OK;
}

void mst_ps_free(struct mst_ps *ps)
{
    if (!ps)
        return;
    mst_ps_cancel(ps);
    end_thread(ps->writer);
    end_thread(ps->reader);
    mst_ps_cuts_free(ps);
    // Data threads report to rounds, so those go after them.
    for (size_t i = 0; ps->threads && i < ps->config.n_data_loops; i++)
        mst_data_thread_free(ps->threads[i]);
    free(ps->threads);
    mst_ps_fences_free(ps); // the data threads have forgotten them
    for (size_t g = 0; g < ps->n_groups; g++) {
        if (ps->groups[g].save)
            mst_ps_save_forget(ps->groups[g].save);
        mst_ps_rounds_free(ps->groups[g].rounds);
        free(ps->groups[g].holdings);
    }
    free(ps->groups);
    mst_ps_roles_free(ps->roles);
    while (ps->conns) {
        struct control_conn *control = ps->conns;
        ps->conns = control->next;
        mst_conn_close(control->conn);
        free(control);
    }
    mst_server_free(ps->server);
    mst_timer_fini(&ps->chief_lost);
    mst_timer_fini(&ps->reminder);
    mst_timer_fini(&ps->trim);
    mst_arena_fini(&ps->map_arena);
    mst_buf_fini(&ps->memory);
    free(ps->chief_address);
    free(ps);
}

uint16_t mst_ps_port(const struct mst_ps *ps)
{
    return mst_server_port(ps->server);
}

struct mst_bucket *mst_ps_bucket(struct mst_ps *ps, uint32_t thread, uint32_t bucket)
{
    const struct mst_holding *holding = mst_data_thread_holdings(ps->threads[thread]);
    struct mst_bucket *found = NULL;
    for (; holding && !found; holding = holding->next)
        found = mst_holding_find(holding, bucket);
    return found;
}

struct mst_data_thread *mst_ps_data_thread(struct mst_ps *ps, uint32_t thread)
{
    return thread < ps->config.n_data_loops ? ps->threads[thread] : NULL;
}
