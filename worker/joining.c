// A chain of questions, each answered by an event: where is the chief, who am I (its number, in the answer to the
// greeting), where do variables live. The parameter servers are greeted also where TF_CONFIG names the chief: they are
// there when it is not yet, and the log can say who is missing.
#include "worker/joining.h"

#include "base/alloc.h"
#include "base/error.h"
#include "base/log.h"
#include "event/loop.h"
#include "wire/worker_numbers.h"
#include "worker/heartbeat.h"
#include "worker/role_watch.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    MAP_CALL_MS = 20000,    // the chief keeps the question until it has placed the variables; then it is asked again
    CHIEF_BACKOFF_MS = 250, // a chief that is back gives work within a second
};

struct mst_joining {
    struct mst_joining_config config;
    struct mst_peer **rendezvous; // to PSs, until the map has come; NULL after that
    bool *refused;                // by them
    char *chief_address;
    struct mst_peer *chief;
    struct mst_heartbeat *heartbeat;
    uint64_t number;
    uint64_t fenced; // a number that is out, and the chief shall know it; else 0
    bool has_map;
    struct mst_role_watch role_watch; // idle where there are no replicas
    bool is_over;
    void (*on_told)(void *arg); // of the farewell
    void *told_arg;
};

static void over(struct mst_joining *joining, mst_status status, const char *text)
{
    if (joining->is_over)
        return;
    mst_joining_stop(joining);
    joining->config.events.on_over(joining->config.events.arg, status, text);
}

// ---- events of the heartbeat, from the control loop to ours ----

struct verdict {
    struct mst_joining *joining;
    mst_status status;
    char text[1024];
};

static void on_verdict(void *arg)
{
    struct verdict *verdict = arg;
    over(verdict->joining, verdict->status, verdict->text);
    free(verdict);
}

static void on_heartbeat_verdict(void *arg, mst_status status, const char *text)
{
    struct mst_joining *joining = arg;
    struct verdict *verdict = mst_alloc(sizeof *verdict);
    verdict->joining = joining;
    verdict->status = status;
    snprintf(verdict->text, sizeof verdict->text, "%s", text);
    mst_loop_post_or_drop(joining->config.loop, on_verdict, free, verdict);
}

// ---- the map ----

static void end_rendezvous(struct mst_joining *joining)
{
    for (size_t i = 0; joining->rendezvous && i < joining->config.n_ps; i++)
        mst_peer_free(joining->rendezvous[i]);
    free(joining->rendezvous);
    free(joining->refused);
    joining->rendezvous = NULL;
    joining->refused = NULL;
}

static void ask_map(struct mst_joining *joining);

static void on_map(void *arg, const struct mst_reply *reply)
{
    struct mst_joining *joining = arg;
    if (joining->is_over || joining->has_map)
        return;
    if (reply->status == MST_DEADLINE_EXCEEDED) {
        ask_map(joining);
        return;
    }
    if (reply->status != MST_OK) {
        if (!mst_status_is_retryable(reply->status))
            over(joining, reply->status, reply->text);
        return; // else the link is made again, and on_chief_up asks
    }
    struct mst_arena arena;
    struct mst_msg_map map;
    struct mst_error err;
    mst_arena_init(&arena, MST_MSG_ARENA_MAX);
    mst_status status = mst_msg_map_decode(reply->message->meta, &arena, &map, &err);
    if (status == MST_OK && map.roles.n_groups > 0)
        status = mst_role_watch_take(&joining->role_watch, &map.roles, &err);
    if (status == MST_OK) {
        joining->has_map = true;
        end_rendezvous(joining); // from here on the exchange's links say who is there
        status = joining->config.events.on_map(joining->config.events.arg, &map, &err);
    }
    if (status == MST_OK && map.roles.n_groups > 0 && !joining->is_over)
        mst_role_watch_start(&joining->role_watch, joining->chief);
    mst_arena_fini(&arena);
    if (status != MST_OK)
        over(joining, status, err.text);
}

static void on_roles(void *arg, const struct mst_roles *roles)
{
    struct mst_joining *joining = arg;
    struct mst_error err;
    mst_status status = joining->config.events.on_roles(joining->config.events.arg, roles, &err);
    if (status != MST_OK)
        over(joining, status, err.text);
}

static void ask_map(struct mst_joining *joining)
{
    struct mst_call call = {.method = MST_METHOD_MAP, .deadline_ms = MAP_CALL_MS, .on_reply = on_map, .arg = joining};
    mst_peer_call(joining->chief, &call);
}

// ---- the chief ----

static void on_greet(void *arg, struct mst_peer *peer, struct mst_msg_greeting *greeting)
{
    struct mst_joining *joining = arg;
    (void)peer;
    mst_identity_greet(joining->config.identity, greeting);
    greeting->number = joining->fenced;
    greeting->held = joining->number == MST_NO_NUMBER ? 0 : joining->number;
}

static mst_status check_number(const struct mst_joining *joining, uint64_t number, struct mst_error *err)
{
    const struct mst_identity *self = joining->config.identity;
    if (number == MST_NO_NUMBER)
        return MST_OK;
    return self->role == MST_PEER_EVALUATOR ? mst_evaluator_number_check(self->index, number, err)
                                            : mst_worker_number_check(self->index, number, err);
}

static void on_chief_up(void *arg, struct mst_peer *peer, const struct mst_msg_greeting_reply *reply)
{
    struct mst_joining *joining = arg;
    struct mst_error err;
    (void)peer;
    mst_status status = check_number(joining, reply->number, &err);
    if (status != MST_OK) {
        over(joining, status, err.text);
        return;
    }
    uint64_t before = joining->fenced ? joining->fenced : joining->number;
    if (reply->state_text[0] && reply->number != MST_NO_NUMBER)
        MST_LOG(INFO, "worker", "admitted again", "number=%llu before=%llu reason=\"%s\"",
                (unsigned long long)reply->number, (unsigned long long)before, reply->state_text);
    joining->number = reply->number;
    joining->fenced = 0;
    mst_heartbeat_set_number(joining->heartbeat, reply->number);
    if (!joining->has_map) {
        ask_map(joining);
        return;
    }
    mst_role_watch_up(&joining->role_watch);
    joining->config.events.on_admitted(joining->config.events.arg, reply->number);
}

static void on_refused(void *arg, struct mst_peer *peer, mst_status status, const char *text)
{
    (void)peer;
    over(arg, status, text);
}

static const struct mst_peer_events chief_events = {on_greet, on_chief_up, NULL, on_refused};

static mst_status join_chief(struct mst_joining *joining, const char *address, struct mst_error *err)
{
    const struct mst_joining_config *config = &joining->config;
    joining->chief_address = mst_strdup(address);
    struct mst_peer_config peer = {.name = "chief",
                                   .address = joining->chief_address,
                                   .user_timeout_ms = config->lease_ms,
                                   .backoff_max_ms = CHIEF_BACKOFF_MS,
                                   .events = &chief_events,
                                   .arg = joining};
    MST_TRY(mst_peer_new(config->loop, config->resolver, &peer, &joining->chief, err));
    struct mst_heartbeat_config heartbeat = {.loop = config->control,
                                             .resolver = config->resolver,
                                             .identity = config->identity,
                                             .chief_address = joining->chief_address,
                                             .period_ms = config->heartbeat_ms,
                                             .lease_ms = config->lease_ms,
                                             .absence_ms = config->absence_ms,
                                             .events = {on_heartbeat_verdict, on_heartbeat_verdict, joining}};
    MST_TRY(mst_heartbeat_new(&heartbeat, &joining->heartbeat, err));
    mst_peer_start(joining->chief);
    mst_heartbeat_start(joining->heartbeat);
    return MST_OK;
}

// ---- the rendezvous at the PSs ----

static void on_rendezvous_up(void *arg, struct mst_peer *peer, const struct mst_msg_greeting_reply *reply)
{
    struct mst_joining *joining = arg;
    for (size_t i = 0; i < joining->config.n_ps; i++)
        if (joining->rendezvous[i] == peer)
            joining->refused[i] = false;
    if (reply->job_state == MST_JOB_FINISHED) {
        over(joining, MST_OK, "the job is finished"); // the chief may be gone
        return;
    }
    if (joining->chief)
        return;
    if (!reply->chief_known) {
        mst_peer_retry(peer, "it has not heard of the chief");
        return;
    }
    struct mst_error err;
    mst_status status = join_chief(joining, reply->chief_address, &err);
    if (status != MST_OK)
        over(joining, status, err.text);
}

// One of many is of another job: perhaps it took the address of one of ours. The others know, and so does the chief.
static void on_rendezvous_refused(void *arg, struct mst_peer *peer, mst_status status, const char *text)
{
    struct mst_joining *joining = arg;
    bool are_all_refused = true;
    for (size_t i = 0; i < joining->config.n_ps; i++) {
        joining->refused[i] |= joining->rendezvous[i] == peer;
        are_all_refused &= joining->refused[i] || !joining->rendezvous[i];
    }
    if (status != MST_FAILED_PRECONDITION || are_all_refused)
        over(joining, status, text);
    else
        mst_peer_ask_again(peer, text);
}

static const struct mst_peer_events rendezvous_events = {on_greet, on_rendezvous_up, NULL, on_rendezvous_refused};

static mst_status start_rendezvous(struct mst_joining *joining, struct mst_error *err)
{
    const struct mst_joining_config *config = &joining->config;
    joining->rendezvous = mst_alloc_array(config->n_ps, sizeof(struct mst_peer *));
    joining->refused = mst_alloc_array(config->n_ps, sizeof(bool));
    for (size_t i = 0; i < config->n_ps; i++) {
        if (!config->ps_addresses[i])
            continue;
        char name[32];
        snprintf(name, sizeof name, "ps-%zu", i);
        struct mst_peer_config peer = {
            .name = name, .address = config->ps_addresses[i], .events = &rendezvous_events, .arg = joining};
        MST_TRY(mst_peer_new(config->loop, config->resolver, &peer, &joining->rendezvous[i], err));
        mst_peer_start(joining->rendezvous[i]);
    }
    return MST_OK;
}

// ---- the farewell ----

static void on_farewell(void *arg, const struct mst_reply *reply)
{
    struct mst_joining *joining = arg;
    (void)reply; // told, or beyond reach
    if (!joining->is_over)
        joining->on_told(joining->told_arg);
}

void mst_joining_leave(struct mst_joining *joining, void (*on_told)(void *arg), void *arg)
{
    if (joining->is_over)
        return;
    if (!joining->chief || !mst_peer_is_up(joining->chief)) {
        on_told(arg);
        return;
    }
    joining->on_told = on_told;
    joining->told_arg = arg;
    struct mst_msg_finish finish = {.status = MST_OK, .text = "it was told to stop"};
    struct mst_buf meta;
    mst_buf_init(&meta, MST_FRAME_META_MAX);
    mst_status encoded = mst_msg_finish_encode(&finish, &meta);
    MST_ASSERT(encoded == MST_OK); // a short text
    struct mst_call call = {.method = MST_METHOD_FINISH,
                            .meta = mst_buf_view(&meta),
                            .deadline_ms = joining->config.lease_ms,
                            .on_reply = on_farewell,
                            .arg = joining};
    mst_peer_call(joining->chief, &call);
    mst_buf_fini(&meta);
}

// ---- queries ----

struct mst_peer *mst_joining_chief(const struct mst_joining *joining)
{
    return joining->chief;
}

uint64_t mst_joining_number(const struct mst_joining *joining)
{
    return joining->number;
}

const struct mst_roles *mst_joining_roles(const struct mst_joining *joining)
{
    return joining->role_watch.roles.n_ps > 0 ? &joining->role_watch.roles : NULL;
}

void mst_joining_set_progress(struct mst_joining *joining, uint64_t progress)
{
    if (joining->heartbeat)
        mst_heartbeat_set_progress(joining->heartbeat, progress);
}

void mst_joining_set_waits(struct mst_joining *joining, uint64_t waits_ms)
{
    if (joining->heartbeat)
        mst_heartbeat_set_waits(joining->heartbeat, waits_ms);
}

void mst_joining_again(struct mst_joining *joining)
{
    joining->fenced = joining->number == MST_NO_NUMBER ? 0 : joining->number;
    mst_peer_retry(joining->chief, "greeting again for a new number");
}

static void add_waiting(const struct mst_peer *peer, char *out, size_t out_bytes)
{
    if (!peer || mst_peer_is_up(peer))
        return;
    char state[256];
    mst_peer_state(peer, state, sizeof state);
    size_t used = strlen(out);
    snprintf(out + used, out_bytes - used, "%s%s (%s)", used ? ", " : "", mst_peer_name(peer), state);
}

void mst_joining_state(const struct mst_joining *joining, char *out, size_t out_bytes)
{
    out[0] = '\0';
    add_waiting(joining->chief, out, out_bytes);
    for (size_t i = 0; joining->rendezvous && i < joining->config.n_ps; i++)
        add_waiting(joining->rendezvous[i], out, out_bytes);
    // The first time that anybody answers says who coordinates; until then the job may be over as well as not begun.
    bool has_answer = joining->chief && mst_peer_is_up(joining->chief);
    for (size_t i = 0; joining->rendezvous && i < joining->config.n_ps; i++)
        has_answer |= joining->rendezvous[i] && mst_peer_is_up(joining->rendezvous[i]);
    if (out[0] && !joining->has_map && !has_answer) {
        size_t used = strlen(out);
        snprintf(out + used, out_bytes - used, ": start them, or, if the job is over, end this process");
    }
    if (!out[0] && !joining->has_map)
        snprintf(out, out_bytes, "the chief to place the variables: it waits for parameter servers");
}

// ---- making and freeing ----

struct mst_joining *mst_joining_new(const struct mst_joining_config *config)
{
    struct mst_joining *joining = mst_alloc(sizeof *joining);
    joining->config = *config;
    mst_role_watch_init(&joining->role_watch, config->loop, on_roles, joining);
    return joining;
}

void mst_joining_start(struct mst_joining *joining)
{
    struct mst_error err;
    mst_status status = MST_OK;
    if (joining->config.chief_address)
        status = join_chief(joining, joining->config.chief_address, &err);
    if (status == MST_OK)
        status = start_rendezvous(joining, &err);
    if (status != MST_OK)
        over(joining, status, err.text);
}

void mst_joining_stop(struct mst_joining *joining)
{
    if (joining->is_over)
        return;
    joining->is_over = true;
    mst_role_watch_stop(&joining->role_watch);
    if (joining->chief)
        mst_peer_stop(joining->chief);
    if (joining->heartbeat)
        mst_heartbeat_stop(joining->heartbeat);
    for (size_t i = 0; joining->rendezvous && i < joining->config.n_ps; i++)
        if (joining->rendezvous[i])
            mst_peer_stop(joining->rendezvous[i]);
}

void mst_joining_free(struct mst_joining *joining)
{
    if (!joining)
        return;
    mst_role_watch_fini(&joining->role_watch);
    mst_heartbeat_free(joining->heartbeat);
    mst_peer_free(joining->chief);
    end_rendezvous(joining);
    free(joining->chief_address);
    free(joining);
}
