#include "worker/heartbeat.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/error.h"
#include "event/timer.h"
#include "wire/worker_numbers.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <sys/resource.h>

struct mst_heartbeat {
    struct mst_heartbeat_config config;
    struct mst_peer *peer;
    struct mst_timer timer;
    uint64_t number; // as the chief answered the greeting
    _Atomic uint64_t least_number;
    bool was_up;
    bool is_over;
    bool is_waiting; // for an answer
    _Atomic uint64_t progress;
    _Atomic uint64_t waits_ms;
};

static void lose(struct mst_heartbeat *heartbeat, mst_status status, const char *text)
{
    if (heartbeat->is_over)
        return;
    heartbeat->is_over = true;
    mst_timer_stop(&heartbeat->timer);
    heartbeat->config.events.on_lost(heartbeat->config.events.arg, status, text);
}

static void on_reply(void *arg, const struct mst_reply *reply)
{
    struct mst_heartbeat *heartbeat = arg;
    heartbeat->is_waiting = false;
    if (heartbeat->is_over)
        return;
    if (reply->status == MST_DEADLINE_EXCEEDED) // it stands still, and another one may be in its place
        mst_peer_break(heartbeat->peer, "was given up: no answer to a heartbeat");
    if (reply->status != MST_OK)
        return;
    struct mst_arena arena;
    struct mst_msg_heartbeat_reply answer;
    mst_arena_init(&arena, MST_MSG_ARENA_MAX);
    mst_status status = mst_msg_heartbeat_reply_decode(reply->message->meta, &arena, &answer, NULL);
    bool is_over = status == MST_OK && (answer.job_state == MST_JOB_FINISHED || answer.job_state == MST_JOB_FAILED);
    if (is_over) {
        heartbeat->is_over = true;
        mst_timer_stop(&heartbeat->timer);
        status = answer.job_state == MST_JOB_FINISHED ? MST_OK : (mst_status)answer.status;
        heartbeat->config.events.on_over(heartbeat->config.events.arg, status, answer.text);
    }
    mst_arena_fini(&arena);
}

static void beat(struct mst_heartbeat *heartbeat)
{
    if (heartbeat->is_waiting || !mst_peer_is_up(heartbeat->peer))
        return;
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    struct mst_msg_heartbeat message = {.role = heartbeat->config.identity->role,
                                        .index = heartbeat->config.identity->index,
                                        .incarnation = heartbeat->config.identity->incarnation,
                                        .number = heartbeat->number,
                                        .progress = atomic_load_explicit(&heartbeat->progress, memory_order_relaxed),
                                        .waits_ms = atomic_load_explicit(&heartbeat->waits_ms, memory_order_relaxed),
                                        .cpu_seconds = (double)mst_clock_cpu_ns() * 1e-9,
                                        .max_rss_bytes = (uint64_t)usage.ru_maxrss * 1024};
    struct mst_buf meta;
    mst_buf_init(&meta, MST_FRAME_META_MAX);
    if (mst_msg_heartbeat_encode(&message, &meta) == MST_OK) {
        struct mst_call call = {.method = MST_METHOD_HEARTBEAT,
                                .meta = mst_buf_view(&meta),
                                .deadline_ms = heartbeat->config.lease_ms,
                                .on_reply = on_reply,
                                .arg = heartbeat};
        heartbeat->is_waiting = true;
        mst_peer_call(heartbeat->peer, &call);
    }
    mst_buf_fini(&meta);
}

static void on_tick(void *arg)
{
    struct mst_heartbeat *heartbeat = arg;
    if (heartbeat->was_up && mst_peer_down_ms(heartbeat->peer) > heartbeat->config.absence_ms) {
        char state[128];
        struct mst_error err;
        mst_peer_state(heartbeat->peer, state, sizeof state);
        mst_status status =
            mst_fail(&err, MST_UNAVAILABLE, "the chief (%s) was lost and did not come back within %llu ms: %s",
                     heartbeat->config.chief_address, (unsigned long long)heartbeat->config.absence_ms, state);
        lose(heartbeat, status, err.text);
        return;
    }
    beat(heartbeat);
}

static void on_greet(void *arg, struct mst_peer *peer, struct mst_msg_greeting *greeting)
{
    struct mst_heartbeat *heartbeat = arg;
    (void)peer;
    mst_identity_greet(heartbeat->config.identity, greeting);
}

static bool is_outdated(const struct mst_heartbeat *heartbeat)
{
    return heartbeat->number < atomic_load_explicit(&heartbeat->least_number, memory_order_relaxed);
}

static void greet_again(struct mst_heartbeat *heartbeat)
{
    mst_peer_retry(heartbeat->peer, "greeting again for a new number");
}

static void on_up(void *arg, struct mst_peer *peer, const struct mst_msg_greeting_reply *reply)
{
    struct mst_heartbeat *heartbeat = arg;
    (void)peer;
    heartbeat->number = reply->number;
    heartbeat->was_up = true;
    heartbeat->is_waiting = false;
    if (is_outdated(heartbeat))
        greet_again(heartbeat);
    else
        beat(heartbeat);
}

static void on_refused(void *arg, struct mst_peer *peer, mst_status status, const char *text)
{
    (void)peer;
    lose(arg, status, text);
}

static const struct mst_peer_events peer_events = {on_greet, on_up, NULL, on_refused};

mst_status mst_heartbeat_new(const struct mst_heartbeat_config *config, struct mst_heartbeat **out,
                             struct mst_error *err)
{
    *out = NULL;
    struct mst_heartbeat *heartbeat = mst_alloc(sizeof *heartbeat);
    heartbeat->config = *config;
    mst_timer_init(&heartbeat->timer, config->loop, on_tick, heartbeat);
    struct mst_peer_config peer = {.name = "chief",
                                   .address = config->chief_address,
                                   .user_timeout_ms = config->lease_ms,
                                   .events = &peer_events,
                                   .arg = heartbeat};
    mst_status status = mst_peer_new(config->loop, config->resolver, &peer, &heartbeat->peer, err);
    if (status != MST_OK) {
        free(heartbeat);
        return status;
    }
    *out = heartbeat;
    return MST_OK;
}

static void start(void *arg)
{
    struct mst_heartbeat *heartbeat = arg;
    mst_peer_start(heartbeat->peer);
    mst_timer_start_periodic(&heartbeat->timer, heartbeat->config.period_ms);
}

void mst_heartbeat_start(struct mst_heartbeat *heartbeat)
{
    mst_loop_post(heartbeat->config.loop, start, heartbeat);
}

static void stop(void *arg)
{
    struct mst_heartbeat *heartbeat = arg;
    heartbeat->is_over = true;
    mst_timer_stop(&heartbeat->timer);
    mst_peer_stop(heartbeat->peer);
}

void mst_heartbeat_stop(struct mst_heartbeat *heartbeat)
{
    mst_loop_post(heartbeat->config.loop, stop, heartbeat);
}

void mst_heartbeat_free(struct mst_heartbeat *heartbeat)
{
    if (!heartbeat)
        return;
    mst_timer_fini(&heartbeat->timer);
    mst_peer_free(heartbeat->peer);
    free(heartbeat);
}

static void beat_now(void *arg)
{
    beat(arg);
}

static void check_number(void *arg)
{
    struct mst_heartbeat *heartbeat = arg;
    if (mst_peer_is_up(heartbeat->peer) && is_outdated(heartbeat))
        greet_again(heartbeat);
}

void mst_heartbeat_set_number(struct mst_heartbeat *heartbeat, uint64_t number)
{
    if (number == MST_NO_NUMBER)
        return;
    // Relaxed: what is posted sees it.
    atomic_store_explicit(&heartbeat->least_number, number, memory_order_relaxed);
    mst_loop_post(heartbeat->config.loop, check_number, heartbeat);
}

void mst_heartbeat_set_progress(struct mst_heartbeat *heartbeat, uint64_t progress)
{
    // Relaxed: the beat wants a recent number, nothing else is read by it.
    uint64_t before = atomic_exchange_explicit(&heartbeat->progress, progress, memory_order_relaxed);
    if (before == 0 && progress > 0)
        mst_loop_post(heartbeat->config.loop, beat_now, heartbeat);
}

void mst_heartbeat_set_waits(struct mst_heartbeat *heartbeat, uint64_t waits_ms)
{
    // Relaxed, as above.
    atomic_store_explicit(&heartbeat->waits_ms, waits_ms, memory_order_relaxed);
}
