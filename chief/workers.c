// What workers ask (evaluators.c: what evaluators ask): to be admitted (greeting), where variables live (MAP), what to
// train (LEASE), a sign of life (HEARTBEAT), and that it cannot go on (FINISH). A question that has no answer yet is
// parked and looked at again whenever something changed; none but MAP and WATCH_ROLES is kept longer than HOLD_MS, so
// that the deadline of who asked never passes unanswered. Those are asked anew then, which takes the older question's
// place.
#include "chief/chief_private.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "wire/worker_numbers.h"

#include <stdlib.h>
#include <string.h>

enum {
    HOLD_MS = 2000,
    GREETING_HOLD_MS = 4000, // a little less than a peer waits for its answer
    RIVAL_LEASES = 2,
    STUCK_LEASES = 16, // without a server's answer; a worker that dials anew does so every 4
};

static void on_lease(void *arg, struct mst_conn *conn, const struct mst_message *message);
static void on_heartbeat(void *arg, struct mst_conn *conn, const struct mst_message *message);
static void on_finish(void *arg, struct mst_conn *conn, const struct mst_message *message);

static const struct mst_handler handlers[] = {
    {MST_METHOD_LEASE, NULL, on_lease},
    {MST_METHOD_MAP, NULL, mst_chief_on_map},
    {MST_METHOD_WATCH_ROLES, NULL, mst_chief_on_watch_roles},
    {MST_METHOD_HEARTBEAT, NULL, on_heartbeat},
    {MST_METHOD_FINISH, NULL, on_finish},
};

static void on_closed(void *arg, struct mst_conn *conn, mst_status status, const char *text);

static const struct mst_service service = {handlers, sizeof handlers / sizeof handlers[0], on_closed};

// ---- parked questions ----

static void free_parked(struct parked *parked)
{
    mst_training_sums_fini(&parked->ask.sums);
    free(parked);
}

// The questions of a connection; method 0: all of them.
static void drop_parked(struct mst_chief *chief, const struct worker_conn *from, uint16_t method)
{
    for (struct parked **at = &chief->parked; *at;) {
        struct parked *parked = *at;
        if (parked->from != from || (method != 0 && parked->method != method)) {
            at = &parked->next;
            continue;
        }
        *at = parked->next;
        free_parked(parked);
    }
}

// A question without a limit: its answer may be hours away.
static bool is_kept(uint16_t method)
{
    return method == MST_METHOD_MAP || method == MST_METHOD_WATCH_ROLES;
}

struct parked *mst_chief_park(struct worker_conn *from, const struct mst_message *message,
                              const struct mst_lease_ask *ask)
{
    if (is_kept(message->method))
        drop_parked(from->chief, from, message->method);
    struct parked *parked = mst_alloc(sizeof *parked);
    *parked = (struct parked){.from = from, .method = message->method, .call = message->call};
    parked->since_ms = mst_clock_monotonic_ms();
    if (ask) {
        parked->ask = *ask;
        mst_training_sums_init(&parked->ask.sums, ask->sums.n_values);
        mst_training_sums_copy(&parked->ask.sums, &ask->sums);
    }
    struct parked **end = &from->chief->parked;
    while (*end)
        end = &(*end)->next;
    *end = parked;
    return parked;
}

static void reply_lease(struct mst_conn *conn, const struct mst_message *message, const struct mst_lease_answer *answer)
{
    static const enum mst_lease_reply_kind kinds[] = {
        [MST_ANSWER_LEASE] = MST_LEASE_REPLY_LEASE,
        [MST_ANSWER_WAIT] = MST_LEASE_REPLY_WAIT,
        [MST_ANSWER_FINISHED] = MST_LEASE_REPLY_WAIT, // the job is over only when the model is written
        [MST_ANSWER_FENCED] = MST_LEASE_REPLY_FENCED,
    };
    struct mst_msg_lease_reply reply = {.kind = kinds[answer->kind],
                                        .lease = answer->lease.id,
                                        .seq = answer->lease.seq,
                                        .epoch = answer->lease.epoch,
                                        .first_batch = answer->lease.first_batch,
                                        .n_batches = answer->lease.n_batches,
                                        .text = answer->why};
    MST_CHIEF_REPLY(conn, message, lease_reply, &reply);
}

static void reply_over(struct mst_chief *chief, struct mst_conn *conn, const struct mst_message *message)
{
    bool ok = chief->end_status == MST_OK;
    struct mst_msg_lease_reply reply = {.kind = ok ? MST_LEASE_REPLY_FINISHED : MST_LEASE_REPLY_FAILED,
                                        .status = (uint32_t)chief->end_status,
                                        .text = chief->end_text};
    MST_CHIEF_REPLY(conn, message, lease_reply, &reply);
}

static void note_lease_given(struct mst_chief *chief)
{
    if (chief->first_lease_ns == 0)
        chief->first_lease_ns = mst_clock_monotonic_ns();
}

// Answers a lease question if there is an answer; false: keep it.
//
// One that depends on what was decided is given when that is stored; *mark is 0 until it is known what that is.
static bool try_lease(struct mst_chief *chief, struct mst_conn *conn, const struct mst_message *message,
                      const struct mst_lease_ask *ask, uint64_t *mark)
{
    if (chief->gives_way)
        return false;
    if (chief->phase >= CHIEF_TELLING) {
        reply_over(chief, conn, message);
        return true;
    }
    if (chief->phase < CHIEF_RUNNING || chief->stop_text)
        return false;
    if (chief->config.job->consistency == MST_CONSISTENCY_SYNCHRONOUS)
        return false; // its part of the rounds is done: it asks whether the job is over
    struct mst_lease_answer answer;
    const struct mst_leases *leases = &chief->coordinator.leases;
    uint64_t next_id = leases->next_id;
    uint64_t n_done = leases->n_done;
    mst_coordinator_ask_again(&chief->coordinator, ask, mst_clock_monotonic_ms(), &answer);
    if (leases->next_id != next_id || leases->n_done != n_done)
        mst_chief_touch(chief);
    if (answer.kind == MST_ANSWER_WAIT || answer.kind == MST_ANSWER_FINISHED)
        return false;
    if (answer.kind == MST_ANSWER_LEASE) {
        *mark = *mark ? *mark : mst_chief_mark(chief);
        if (!mst_chief_is_stored(chief, *mark))
            return false;
    }
    if (answer.kind == MST_ANSWER_LEASE)
        note_lease_given(chief);
    reply_lease(conn, message, &answer);
    return true;
}

static bool try_map(struct mst_chief *chief, struct mst_conn *conn, const struct mst_message *message)
{
    if (chief->gives_way)
        return false;
    if (chief->phase >= CHIEF_TELLING && chief->end_status != MST_OK) {
        mst_conn_reply_error(conn, message, chief->end_status, "%s", chief->end_text);
        return true;
    }
    if (chief->phase < CHIEF_RUNNING)
        return false;
    struct mst_msg_map map = chief->map;
    map.nonce_path = map.nonce = NULL; // for parameter servers only
    map.restore_prefix = NULL;
    if (chief->coordinator.is_synchronous)
        note_lease_given(chief); // it trains from now on
    struct mst_arena arena;
    mst_arena_init(&arena, MST_MSG_ARENA_MAX);
    mst_status status = mst_chief_map_roles(chief, &arena, &map);
    if (status == MST_OK)
        MST_CHIEF_REPLY(conn, message, map, &map);
    else
        mst_conn_reply_error(conn, message, status, "the roles do not fit a frame");
    mst_arena_fini(&arena);
    return true;
}

static void answer_wait(struct mst_conn *conn, const struct mst_message *message)
{
    struct mst_lease_answer wait = {.kind = MST_ANSWER_WAIT};
    reply_lease(conn, message, &wait);
}

// A worker that asks anew has more to tell: its older question is over.
static void supersede(struct mst_chief *chief, const struct worker_conn *from)
{
    for (struct parked **at = &chief->parked; *at;) {
        struct parked *parked = *at;
        if (parked->from != from || parked->method != MST_METHOD_LEASE) {
            at = &parked->next;
            continue;
        }
        struct mst_message message = {.method = parked->method, .call = parked->call};
        answer_wait(from->conn, &message);
        *at = parked->next;
        free_parked(parked);
    }
}

static struct mst_role_figures *figures_of(struct mst_chief *chief, uint32_t worker)
{
    if (worker >= chief->n_figures) {
        size_t n = (size_t)worker + 1;
        chief->figures = mst_realloc_array(chief->figures, n, sizeof *chief->figures);
        for (size_t i = chief->n_figures; i < n; i++)
            chief->figures[i] = (struct mst_role_figures){.role = NULL, .index = (uint32_t)i};
        chief->n_figures = n;
    }
    return &chief->figures[worker];
}

static void admit(struct worker_conn *worker, uint64_t number)
{
    struct mst_chief *chief = worker->chief;
    struct worker_conn like = {.worker = worker->worker, .number = number};
    if (worker->number == number)
        return;
    if (number != MST_NO_NUMBER && !mst_chief_has_conn(chief, &like))
        MST_LOG(INFO, "chief", "worker admitted", "worker=%u number=%llu peer=%s", worker->worker,
                (unsigned long long)number, mst_conn_name(worker->conn));
    worker->number = number;
    figures_of(chief, worker->worker)->role = "worker"; // it may train before its first heartbeat comes
}

// Answers a worker's greeting if there is an answer: its number, when that is stored. False: keep it.
static bool try_greeting(struct parked *parked, const struct mst_message *message)
{
    struct worker_conn *from = parked->from;
    struct mst_chief *chief = from->chief;
    uint64_t number = MST_NO_NUMBER;
    if (chief->phase < CHIEF_TELLING) {
        struct mst_membership *members = &chief->coordinator.membership;
        if (!chief->has_map)
            return false; // it is not known yet who is in the job
        size_t n_ever = mst_membership_n_numbers(members);
        if (mst_membership_greet(members, from->worker, parked->incarnation, mst_clock_monotonic_ms(), &number) !=
            MST_GREET_ADMITTED) {
            mst_conn_reply_error(from->conn, message, MST_UNAVAILABLE,
                                 "another process is worker-%u, or was; ask again", from->worker);
            return true;
        }
        if (mst_membership_n_numbers(members) != n_ever)
            mst_chief_touch(chief);
        parked->mark = parked->mark ? parked->mark : mst_chief_mark(chief);
        if (!mst_chief_is_stored(chief, parked->mark))
            return false;
    }
    admit(from, number);
    const struct mst_membership *known = &chief->coordinator.membership;
    bool is_out = parked->had && parked->had != number;
    mst_chief_answer_greeting(chief, from->conn, message, number,
                              is_out ? mst_membership_why_out(known, from->worker, parked->had) : NULL);
    return true;
}

static void greet_later(const struct parked *parked, const struct mst_message *message)
{
    const struct mst_chief *chief = parked->from->chief;
    char who[256];
    mst_chief_links_state(chief, who, sizeof who);
    mst_conn_reply_error(parked->from->conn, message, MST_UNAVAILABLE, "the chief waits for %s",
                         who[0] ? who : "parameter servers");
}

static bool hold_no_longer(const struct parked *parked, struct mst_conn *conn, const struct mst_message *message)
{
    bool is_greeting = parked->method == MST_METHOD_GREETING;
    uint64_t limit_ms = is_greeting ? GREETING_HOLD_MS : HOLD_MS;
    if (is_kept(parked->method) || mst_clock_monotonic_ms() - parked->since_ms < limit_ms)
        return false;
    if (is_greeting)
        greet_later(parked, message);
    else if (parked->method == MST_METHOD_EVALUATE)
        mst_chief_evaluate_later(conn, message);
    else
        answer_wait(conn, message);
    return true;
}

void mst_chief_answer_parked(struct mst_chief *chief)
{
    if (chief->gives_way)
        return;
    for (struct parked **at = &chief->parked; *at;) {
        struct parked *parked = *at;
        struct mst_conn *conn = parked->from->conn;
        struct mst_message message = {.method = parked->method, .call = parked->call};
        bool answered = parked->method == MST_METHOD_MAP           ? try_map(chief, conn, &message)
                        : parked->method == MST_METHOD_EVALUATE    ? mst_chief_try_evaluate(parked->from, &message)
                        : parked->method == MST_METHOD_WATCH_ROLES ? mst_chief_try_roles(chief, parked, &message)
                        : parked->method == MST_METHOD_GREETING
                            ? try_greeting(parked, &message)
                            : try_lease(chief, conn, &message, &parked->ask, &parked->mark);
        if (!answered && !hold_no_longer(parked, conn, &message)) {
            at = &parked->next;
            continue;
        }
        *at = parked->next;
        free_parked(parked);
    }
}

// ---- calls ----

// One that came when the job was over has no number, and only asks how that ended.
static mst_status check_number(const struct worker_conn *from, uint64_t number, struct mst_error *err)
{
    return from->chief->phase >= CHIEF_TELLING ? MST_OK : mst_worker_number_check_if_any(from->worker, number, err);
}

static mst_status read_lease(const struct worker_conn *from, const struct mst_message *message, struct mst_arena *arena,
                             struct mst_msg_lease *lease, struct mst_error *err)
{
    size_t n_sums = from->chief->coordinator.n_sums;
    MST_TRY(mst_msg_lease_decode(message->meta, arena, lease, err));
    if (lease->index != from->worker)
        return mst_fail(err, MST_INVALID_ARGUMENT, "worker-%u asked as worker-%u", from->worker, lease->index);
    if (lease->sums.n_values != n_sums)
        return mst_fail(err, MST_INVALID_ARGUMENT, "worker-%u reports %zu sums, and the job's measures have %zu",
                        from->worker, lease->sums.n_values, n_sums);
    return check_number(from, lease->number, err);
}

static void on_lease(void *arg, struct mst_conn *conn, const struct mst_message *message)
{
    struct worker_conn *from = arg;
    struct mst_chief *chief = from->chief;
    struct mst_arena arena;
    struct mst_msg_lease lease;
    struct mst_error err;
    mst_arena_init(&arena, MST_MSG_ARENA_MAX);
    mst_status status = read_lease(from, message, &arena, &lease, &err);
    if (status != MST_OK) {
        mst_arena_fini(&arena);
        mst_conn_reply_error(conn, message, status, "%s", err.text);
        return;
    }
    struct mst_lease_ask ask = {lease.index, lease.number, lease.seq, lease.done_seq, lease.sums};
    mst_membership_heard(&chief->coordinator.membership, ask.worker, ask.number, mst_clock_monotonic_ms());
    supersede(chief, from);
    uint64_t mark = 0;
    if (!try_lease(chief, conn, message, &ask, &mark))
        mst_chief_park(from, message, &ask)->mark = mark;
    mst_arena_fini(&arena);
    if (chief->phase < CHIEF_TELLING)
        mst_chief_advance(chief);
}

void mst_chief_on_map(void *arg, struct mst_conn *conn, const struct mst_message *message)
{
    struct worker_conn *from = arg;
    if (!try_map(from->chief, conn, message))
        mst_chief_park(from, message, NULL);
}

static void note_figures(struct mst_chief *chief, const struct mst_msg_heartbeat *heartbeat)
{
    struct mst_role_figures *figures = figures_of(chief, heartbeat->index);
    figures->cpu_seconds = heartbeat->cpu_seconds;
    if (figures->max_rss_bytes < heartbeat->max_rss_bytes)
        figures->max_rss_bytes = heartbeat->max_rss_bytes;
    if (heartbeat->progress > 0 && chief->first_step_ns == 0) {
        chief->first_step_ns = mst_clock_monotonic_ns();
        MST_LOG(INFO, "chief", "first step", "seconds=%.3f",
                (double)(chief->first_step_ns - chief->config.started_ns) * 1e-9);
    }
}

void mst_chief_answer_heartbeat(struct mst_chief *chief, struct mst_conn *conn, const struct mst_message *message)
{
    if (chief->gives_way)
        return;
    bool is_over = chief->phase >= CHIEF_TELLING;
    struct mst_msg_heartbeat_reply reply = {.job_state = chief->phase < CHIEF_RUNNING  ? MST_JOB_WAITING
                                                         : !is_over                    ? MST_JOB_RUNNING
                                                         : chief->end_status == MST_OK ? MST_JOB_FINISHED
                                                                                       : MST_JOB_FAILED,
                                            .status = (uint32_t)chief->end_status,
                                            .text = is_over ? chief->end_text : NULL,
                                            .step = mst_chief_steps_done(chief)};
    MST_CHIEF_REPLY(conn, message, heartbeat_reply, &reply);
}

// A worker is out, by its own word or by what it says: its work goes to others without waiting for a lease.
static void let_go(struct mst_chief *chief, uint32_t worker, uint64_t number, const char *why)
{
    mst_chief_fence(chief, worker, number, why);
    mst_chief_links_tick(chief, mst_clock_monotonic_ms());
}

// It lives, and for so long a server that answers us has not answered it: it does not get through. What it has is for
// others, who may be waiting for it.
static void expel_if_stuck(struct mst_chief *chief, const struct mst_msg_heartbeat *heartbeat)
{
    uint64_t limit_ms = STUCK_LEASES * chief->config.job->lease_ms;
    uint64_t now_ms = mst_clock_monotonic_ms();
    const struct mst_coordinator *c = &chief->coordinator;
    if (now_ms - c->ticked_ms > c->sleep_ms)
        return; // this process did not run: the tick will say so
    if (heartbeat->waits_ms < limit_ms || chief->phase != CHIEF_RUNNING || chief->whole_since_ms == 0 ||
        now_ms - chief->whole_since_ms < limit_ms ||
        !mst_membership_is_acting(&chief->coordinator.membership, heartbeat->index, heartbeat->number))
        return;
    MST_LOG(WARN, "chief", "worker cut off", "worker=%u number=%llu waits_ms=%llu", heartbeat->index,
            (unsigned long long)heartbeat->number, (unsigned long long)heartbeat->waits_ms);
    let_go(chief, heartbeat->index, heartbeat->number, "it had no answer from a parameter server for 16 leases");
}

static void on_heartbeat(void *arg, struct mst_conn *conn, const struct mst_message *message)
{
    struct worker_conn *from = arg;
    struct mst_chief *chief = from->chief;
    struct mst_arena arena;
    struct mst_msg_heartbeat heartbeat;
    struct mst_error err;
    mst_arena_init(&arena, MST_MSG_ARENA_MAX);
    mst_status status = mst_msg_heartbeat_decode(message->meta, &arena, &heartbeat, &err);
    if (status == MST_OK && heartbeat.index != from->worker)
        status = mst_fail(&err, MST_INVALID_ARGUMENT, "worker-%u beat as worker-%u", from->worker, heartbeat.index);
    if (status == MST_OK)
        status = check_number(from, heartbeat.number, &err);
    if (status != MST_OK) {
        mst_conn_reply_error(conn, message, status, "%s", err.text);
    } else {
        mst_membership_heard(&chief->coordinator.membership, heartbeat.index, heartbeat.number,
                             mst_clock_monotonic_ms());
        note_figures(chief, &heartbeat);
        expel_if_stuck(chief, &heartbeat);
        mst_chief_answer_heartbeat(chief, conn, message);
    }
    mst_arena_fini(&arena);
}

// A worker that was told to stop has finished its step: its work goes to others without waiting for a lease.
static void take_leave(const struct worker_conn *from)
{
    struct mst_chief *chief = from->chief;
    if (chief->phase >= CHIEF_TELLING)
        return;
    MST_LOG(INFO, "chief", "worker leaves", "worker=%u number=%llu", from->worker, (unsigned long long)from->number);
    let_go(chief, from->worker, from->number, "it left");
}

// A worker cannot go on, and no other could in its place: bad data, a loss that is not a number. One that is not in the
// job (it is fenced, or was never admitted) says nothing about it.
static void take_failure(const struct worker_conn *from, const struct mst_msg_finish *finish)
{
    struct mst_chief *chief = from->chief;
    if (mst_membership_is_acting(&chief->coordinator.membership, from->worker, from->number))
        mst_chief_tell(chief, finish->status, finish->text);
    else
        MST_LOG(WARN, "chief", "failure ignored", "worker=%u number=%llu status=%s reason=\"%s\"", from->worker,
                (unsigned long long)from->number, mst_status_name(finish->status), finish->text);
}

// A worker leaves (OK), or fails.
static void on_finish(void *arg, struct mst_conn *conn, const struct mst_message *message)
{
    struct worker_conn *from = arg;
    struct mst_arena arena;
    struct mst_msg_finish finish;
    struct mst_error err;
    mst_arena_init(&arena, MST_MSG_ARENA_MAX);
    mst_status status = mst_msg_finish_decode(message->meta, &arena, &finish, &err);
    if (status != MST_OK) {
        mst_conn_reply_error(conn, message, status, "%s", err.text);
    } else {
        struct mst_msg_finish_reply reply = {0};
        MST_CHIEF_REPLY(conn, message, finish_reply, &reply);
        if (finish.status != MST_OK)
            take_failure(from, &finish);
        else
            take_leave(from);
    }
    mst_arena_fini(&arena);
}

// ---- connections ----

bool mst_chief_has_conn(const struct mst_chief *chief, const struct worker_conn *like)
{
    for (const struct worker_conn *conn = chief->workers; conn; conn = conn->next)
        if (conn->is_evaluator == like->is_evaluator && conn->seat == like->seat && conn->worker == like->worker &&
            conn->number == like->number)
            return true;
    return false;
}

struct worker_conn *mst_chief_add_conn(struct mst_chief *chief, struct mst_conn *conn, uint32_t index, uint64_t number)
{
    struct worker_conn *added = mst_alloc(sizeof *added);
    *added = (struct worker_conn){.next = chief->workers, .chief = chief, .conn = conn, .worker = index};
    added->number = number;
    chief->workers = added;
    return added;
}

void mst_chief_remove_conn(struct worker_conn *closed)
{
    struct mst_chief *chief = closed->chief;
    drop_parked(chief, closed, 0);
    for (struct worker_conn **at = &chief->workers; *at; at = &(*at)->next)
        if (*at == closed) {
            *at = closed->next;
            break;
        }
    free(closed);
    mst_chief_check_told(chief);
}

bool mst_chief_is_told(const struct mst_chief *chief, size_t worker)
{
    return worker < chief->n_told && chief->told[worker];
}

static void note_told(struct mst_chief *chief, uint32_t worker)
{
    if (worker >= chief->n_told) {
        size_t n = (size_t)worker + 1;
        chief->told = mst_realloc_array(chief->told, n, sizeof *chief->told);
        memset(chief->told + chief->n_told, 0, (n - chief->n_told) * sizeof *chief->told);
        chief->n_told = n;
    }
    chief->told[worker] = true;
}

static void on_closed(void *arg, struct mst_conn *conn, mst_status status, const char *text)
{
    struct worker_conn *closed = arg;
    struct mst_chief *chief = closed->chief;
    (void)conn;
    struct worker_conn gone = *closed;
    if (chief->phase >= CHIEF_TELLING)
        note_told(chief, gone.worker);
    mst_chief_remove_conn(closed);
    if (chief->phase < CHIEF_TELLING && !mst_chief_has_conn(chief, &gone) &&
        mst_membership_is_acting(&chief->coordinator.membership, gone.worker, gone.number)) {
        MST_LOG(WARN, "chief", "worker lost", "worker=%u number=%llu status=%s reason=\"%s\"", gone.worker,
                (unsigned long long)gone.number, mst_status_name(status), text);
        mst_membership_lost(&chief->coordinator.membership, gone.worker, gone.number, mst_clock_monotonic_ms());
    }
}

void mst_chief_refuse(const struct mst_chief *chief, struct mst_conn *conn, const struct mst_message *message,
                      mst_status status, const char *text)
{
    size_t n_unlogged;
    if (mst_server_tells_refusal(chief->server, &n_unlogged))
        MST_LOG(WARN, "chief", "greeting refused", "peer=%s status=%s reason=\"%s\" unlogged=%zu", mst_conn_name(conn),
                mst_status_name(status), text, n_unlogged);
    mst_conn_reply_error(conn, message, status, "%s", text);
    mst_conn_close_flushed(conn);
}

// The clock at the last tick, without the time in which this process did not run and could declare nobody dead.
static uint64_t awake_ms(const struct mst_coordinator *c)
{
    return (c->ticked_ms ? c->ticked_ms : mst_clock_monotonic_ms()) - c->slept_ms;
}

// Another process holds the index and lives: asked again for a while, then refused for good.
static void refuse_rival(struct mst_chief *chief, struct mst_conn *conn, const struct mst_message *message,
                         const struct mst_msg_greeting *greeting)
{
    uint64_t now_ms = awake_ms(&chief->coordinator);
    if (greeting->index >= chief->n_rivals) {
        size_t n = (size_t)greeting->index + 1;
        chief->rivals = mst_realloc_array(chief->rivals, n, sizeof *chief->rivals);
        memset(chief->rivals + chief->n_rivals, 0, (n - chief->n_rivals) * sizeof *chief->rivals);
        chief->n_rivals = n;
    }
    struct rival *rival = &chief->rivals[greeting->index];
    if (rival->incarnation != greeting->incarnation)
        *rival = (struct rival){greeting->incarnation, now_ms};
    struct mst_error err;
    // Twice the lease: a holder that died without a word is declared dead after one, or, if it died while no chief was
    // there, two leases after this one came.
    uint64_t lease_ms = chief->config.job->lease_ms;
    uint64_t since_ms = rival->since_ms;
    if (chief->is_recalled && since_ms < chief->recalled_ms + 2 * lease_ms)
        since_ms = chief->recalled_ms + 2 * lease_ms;
    bool is_final = now_ms >= since_ms + RIVAL_LEASES * lease_ms;
    mst_status status = is_final ? MST_ALREADY_EXISTS : MST_UNAVAILABLE;
    mst_fail(&err, status, "another process is worker-%u and alive; stop it, or give this one another index",
             greeting->index);
    if (is_final) {
        mst_chief_refuse(chief, conn, message, status, err.text);
        return;
    }
    mst_conn_reply_error(conn, message, status, "%s", err.text);
    mst_conn_close_flushed(conn);
}

void mst_chief_answer_greeting(struct mst_chief *chief, struct mst_conn *conn, const struct mst_message *message,
                               uint64_t number, const char *text)
{
    struct mst_msg_greeting_reply reply;
    mst_identity_answer(chief->config.identity, &reply);
    reply.number = number;
    reply.state_text = text;
    reply.term = chief->term;
    reply.chief_known = true;
    reply.chief_address = chief->config.identity->address;
    MST_CHIEF_REPLY(conn, message, greeting_reply, &reply);
}

// It is answered at once if it can be; else it is kept like any question.
static void take_greeting(struct mst_chief *chief, struct mst_conn *conn, const struct mst_message *message,
                          const struct mst_msg_greeting *greeting)
{
    struct worker_conn *worker = mst_chief_add_conn(chief, conn, greeting->index, 0);
    mst_service_attach(&service, worker, conn);
    struct parked *parked = mst_chief_park(worker, message, NULL);
    parked->incarnation = greeting->incarnation;
    parked->had = greeting->number ? greeting->number : greeting->held;
    mst_chief_answer_parked(chief);
    if (chief->phase < CHIEF_TELLING)
        mst_chief_store(chief);
}

// It says that this number is out, which a chief before us may have known: then it is a death.
static void note_fenced(struct mst_chief *chief, const struct mst_msg_greeting *greeting)
{
    const struct mst_membership *members = &chief->coordinator.membership;
    if (greeting->number && mst_membership_is_acting(members, greeting->index, greeting->number))
        let_go(chief, greeting->index, greeting->number, "a parameter server had refused it");
}

void mst_chief_on_greeting(void *arg, struct mst_conn *conn, const struct mst_message *message,
                           const struct mst_msg_greeting *greeting)
{
    struct mst_chief *chief = arg;
    struct mst_error err;
    mst_status status = mst_identity_check(chief->config.identity, greeting, &err);
    if (status == MST_OK && chief->gives_way)
        status = mst_fail(&err, MST_UNAVAILABLE, "this chief gives way to another one; ask again");
    if (status == MST_OK && greeting->role == MST_PEER_EVALUATOR) {
        mst_chief_on_evaluator(chief, conn, message, greeting);
        return;
    }
    if (status == MST_OK && greeting->role != MST_PEER_WORKER)
        status = mst_fail(&err, MST_FAILED_PRECONDITION, "%s-%u greeted the chief; only workers and evaluators do",
                          mst_peer_role_name(greeting->role), greeting->index);
    if (status == MST_OK)
        status = mst_worker_number_check_if_any(greeting->index, greeting->number, &err);
    if (status == MST_OK)
        status = mst_worker_number_check_if_any(greeting->index, greeting->held, &err);
    size_t n_places = chief->coordinator.rounds.config.n_workers;
    if (status == MST_OK && chief->coordinator.is_synchronous && greeting->index >= n_places)
        status = mst_fail(&err, MST_FAILED_PRECONDITION,
                          "worker-%u has no place in the synchronous rounds of this job, which are of %zu workers: "
                          "set consistency.workers to more, or give it an index below %zu",
                          greeting->index, n_places, n_places);
    if (status != MST_OK) {
        mst_chief_refuse(chief, conn, message, status, err.text);
        return;
    }
    if (chief->phase >= CHIEF_TELLING) { // nothing is left that it could do twice: it is told how the job ended
        take_greeting(chief, conn, message, greeting);
        return;
    }
    note_fenced(chief, greeting);
    mst_membership_had(&chief->coordinator.membership, greeting->index, greeting->held);
    if (chief->has_map &&
        mst_membership_is_busy(&chief->coordinator.membership, greeting->index, greeting->incarnation))
        refuse_rival(chief, conn, message, greeting);
    else
        take_greeting(chief, conn, message, greeting);
}

size_t mst_chief_n_worker_conns(const struct mst_chief *chief)
{
    size_t n = 0;
    for (const struct worker_conn *conn = chief->workers; conn; conn = conn->next)
        n++;
    return n;
}

void mst_chief_workers_free(struct mst_chief *chief)
{
    while (chief->parked) {
        struct parked *parked = chief->parked;
        chief->parked = parked->next;
        free_parked(parked);
    }
    while (chief->workers) {
        struct worker_conn *worker = chief->workers;
        chief->workers = worker->next;
        mst_conn_close(worker->conn);
        free(worker);
    }
}
