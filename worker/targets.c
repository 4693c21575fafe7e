// A target is never freed before the end: calls under way and buckets point at it, and there are few. An unused one is
// only an idle link.
#include "worker/targets.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"

#include <stdio.h>
#include <stdlib.h>

enum { LINGER_MS = 10000 };

// ---- the links ----

static void on_greet(void *arg, struct mst_peer *peer, struct mst_msg_greeting *greeting)
{
    const struct mst_target *target = arg;
    (void)peer;
    mst_identity_greet(target->targets->config.identity, greeting);
    greeting->data_thread = (int32_t)target->thread;
    greeting->wanted = target->ps + 1;
}

static void on_up(void *arg, struct mst_peer *peer, const struct mst_msg_greeting_reply *reply)
{
    struct mst_target *target = arg;
    const struct mst_targets_config *config = &target->targets->config;
    (void)peer;
    (void)reply;
    target->is_foreign = false;
    config->events.on_up(config->arg, target);
}

static void on_down(void *arg, struct mst_peer *peer, mst_status status, const char *text)
{
    const struct mst_target *target = arg;
    if (target->use == MST_TARGET_USED)
        MST_LOG(WARN, "worker", "parameter server lost", "peer=%s status=%s reason=\"%s\"", mst_peer_name(peer),
                mst_status_name(status), text);
}

static void on_refused(void *arg, struct mst_peer *peer, mst_status status, const char *text)
{
    struct mst_target *target = arg;
    const struct mst_targets_config *config = &target->targets->config;
    if (target->use != MST_TARGET_USED) // asked again when it is used, and then it counts
        return;
    if (status != MST_FAILED_PRECONDITION) {
        config->events.on_refused(config->arg, status, text);
        return;
    }
    // The chief has let us in, so it is the other process that is none of this job: ours may get its address back.
    if (!target->is_foreign)
        MST_LOG(WARN, "worker", "address of another job", "peer=%s address=%s reason=\"%s\"", mst_peer_name(peer),
                mst_peer_address(peer), text);
    target->is_foreign = true;
    mst_peer_ask_again(peer, text);
}

static const struct mst_peer_events peer_events = {on_greet, on_up, on_down, on_refused};

// ---- which there are ----

static void on_linger(void *arg)
{
    struct mst_targets *targets = arg;
    for (size_t t = 0; t < targets->n; t++)
        if (targets->all[t]->use == MST_TARGET_UNUSED)
            mst_peer_stop(targets->all[t]->peer);
}

void mst_targets_init(struct mst_targets *targets, const struct mst_targets_config *config)
{
    *targets = (struct mst_targets){.config = *config};
    if (targets->config.linger_ms == 0)
        targets->config.linger_ms = LINGER_MS;
    mst_timer_init(&targets->linger, config->loop, on_linger, targets);
}

void mst_targets_fini(struct mst_targets *targets)
{
    for (size_t t = 0; t < targets->n; t++) {
        mst_peer_free(targets->all[t]->peer);
        free(targets->all[t]);
    }
    free(targets->all);
    mst_timer_fini(&targets->linger);
    *targets = (struct mst_targets){0};
}

mst_status mst_targets_find(struct mst_targets *targets, uint32_t ps, uint32_t thread, struct mst_target **out,
                            struct mst_error *err)
{
    const struct mst_targets_config *config = &targets->config;
    *out = NULL;
    for (size_t t = 0; t < targets->n; t++)
        if (targets->all[t]->ps == ps && targets->all[t]->thread == thread) {
            *out = targets->all[t];
            return MST_OK;
        }
    if (ps >= config->n_ps || !config->ps_addresses[ps])
        return mst_fail(err, MST_INVALID_ARGUMENT,
                        "the chief's map uses ps-%u, which TF_CONFIG of this worker does not name", ps);
    struct mst_target *target = mst_alloc(sizeof *target);
    *target = (struct mst_target){.targets = targets, .ps = ps, .thread = thread};
    char name[64];
    snprintf(name, sizeof name, "ps-%u", ps);
    struct mst_peer_config peer = {.name = name,
                                   .address = config->ps_addresses[ps],
                                   .user_timeout_ms = config->user_timeout_ms,
                                   .adds_body_crc = config->adds_body_crc,
                                   .events = &peer_events,
                                   .arg = target};
    mst_status status = mst_peer_new(config->loop, config->resolver, &peer, &target->peer, err);
    if (status != MST_OK) {
        free(target);
        return status;
    }
    targets->all = mst_realloc_array(targets->all, targets->n + 1, sizeof(struct mst_target *));
    targets->all[targets->n++] = target;
    *out = target;
    return MST_OK;
}

// ---- use ----

void mst_targets_begin(struct mst_targets *targets)
{
    for (size_t t = 0; t < targets->n; t++) {
        targets->all[t]->used_before = targets->all[t]->use;
        targets->all[t]->use = MST_TARGET_UNUSED;
    }
}

void mst_targets_use(struct mst_target *target, enum mst_target_use use)
{
    if (target->use < use)
        target->use = use;
}

void mst_targets_end(struct mst_targets *targets)
{
    uint64_t now_ms = mst_clock_monotonic_ms();
    for (size_t t = 0; t < targets->n; t++) {
        struct mst_target *target = targets->all[t];
        if (target->use == MST_TARGET_USED && target->used_before != MST_TARGET_USED)
            target->used_since_ms = now_ms;
        if (target->use == MST_TARGET_UNUSED)
            mst_timer_start_once(&targets->linger, targets->config.linger_ms);
        // Who is named again has come back: a link in the middle of its back-off would let pushes wait for it.
        if (targets->is_started && target->use > target->used_before && !mst_peer_is_up(target->peer))
            mst_target_renew(target);
    }
    if (targets->is_started)
        mst_targets_start(targets);
}

void mst_targets_start(struct mst_targets *targets)
{
    targets->is_started = true;
    for (size_t t = 0; t < targets->n; t++)
        if (targets->all[t]->use != MST_TARGET_UNUSED)
            mst_peer_start(targets->all[t]->peer);
}

void mst_target_renew(struct mst_target *target)
{
    mst_peer_stop(target->peer);
    if (target->use != MST_TARGET_UNUSED)
        mst_peer_start(target->peer);
}

// ---- queries ----

uint64_t mst_targets_absent_ms(const struct mst_targets *targets)
{
    uint64_t longest_ms = 0;
    uint64_t now_ms = mst_clock_monotonic_ms();
    for (size_t t = 0; t < targets->n; t++) {
        const struct mst_target *target = targets->all[t];
        if (target->use != MST_TARGET_USED)
            continue;
        uint64_t down_ms = mst_peer_down_ms(target->peer);
        uint64_t used_ms = now_ms - target->used_since_ms; // before that nobody missed it
        down_ms = down_ms < used_ms ? down_ms : used_ms;
        longest_ms = down_ms > longest_ms ? down_ms : longest_ms;
    }
    return longest_ms;
}

void mst_targets_state(const struct mst_targets *targets, char *out, size_t out_bytes)
{
    size_t used = 0;
    out[0] = '\0';
    for (size_t t = 0; t < targets->n; t++) {
        const struct mst_target *target = targets->all[t];
        if (target->use != MST_TARGET_USED || mst_peer_is_up(target->peer))
            continue;
        char state[128];
        mst_peer_state(target->peer, state, sizeof state);
        int n =
            snprintf(out + used, out_bytes - used, "%s%s (%s)", used ? ", " : "", mst_peer_name(target->peer), state);
        if (n < 0 || (size_t)n >= out_bytes - used)
            return;
        used += (size_t)n;
    }
}
