#include "cli/find_chief.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "event/loop.h"
#include "event/timer.h"
#include "rpc/peer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LOOK_MS = 50, REMINDER_MS = 10000 };

struct search {
    const struct mst_find_chief_config *config;
    struct mst_found_chief *out;
    struct mst_peer **peers;
    struct mst_timer tick;
    uint64_t first_up_ms; // 0: no server was there yet
    uint64_t reminded_ms;
    mst_status status;
    struct mst_error *err;
};

static void on_greet(void *arg, struct mst_peer *peer, struct mst_msg_greeting *greeting)
{
    struct search *search = arg;
    (void)peer;
    mst_identity_greet(search->config->identity, greeting);
}

static void on_up(void *arg, struct mst_peer *peer, const struct mst_msg_greeting_reply *reply)
{
    struct search *search = arg;
    if (search->first_up_ms == 0)
        search->first_up_ms = mst_clock_monotonic_ms();
    search->out->is_finished |= reply->job_state == MST_JOB_FINISHED;
    // Our own address is that of an earlier process of this worker, which coordinated.
    bool is_own = reply->chief_known && strcmp(reply->chief_address, search->config->identity->address) == 0;
    if (reply->chief_known && !is_own && !search->out->address)
        search->out->address = mst_strdup(reply->chief_address);
    mst_peer_retry(peer, "it has not heard of a chief");
}

static void on_refused(void *arg, struct mst_peer *peer, mst_status status, const char *text)
{
    struct search *search = arg;
    (void)peer;
    search->status = mst_fail(search->err, status, "%s", text);
}

static const struct mst_peer_events events = {on_greet, on_up, NULL, on_refused};

static void remind(struct search *search, uint64_t now_ms)
{
    char text[256] = "parameter servers, none of which is there";
    if (now_ms - search->reminded_ms < REMINDER_MS)
        return;
    search->reminded_ms = now_ms;
    for (size_t i = 0; i < search->config->n_ps; i++)
        if (search->peers[i]) {
            char state[128];
            mst_peer_state(search->peers[i], state, sizeof state);
            snprintf(text, sizeof text, "a parameter server: %s (%s)", mst_peer_name(search->peers[i]), state);
        }
    MST_LOG(INFO, "cli", "asking who coordinates", "for=\"%s\"", text);
}

static void on_tick(void *arg)
{
    (void)arg; // wakes the loop, which asks is_done
}

static bool is_done(void *arg)
{
    struct search *search = arg;
    uint64_t now_ms = mst_clock_monotonic_ms();
    remind(search, now_ms);
    return search->status != MST_OK || search->out->address || search->out->is_finished ||
           search->config->is_over(search->config->arg) ||
           (search->first_up_ms && now_ms - search->first_up_ms >= search->config->wait_ms);
}

static mst_status start_peers(struct search *search, struct mst_error *err)
{
    const struct mst_find_chief_config *config = search->config;
    for (size_t i = 0; i < config->n_ps; i++) {
        if (!config->ps_addresses[i])
            continue;
        char name[32];
        snprintf(name, sizeof name, "ps-%zu", i);
        struct mst_peer_config peer = {
            .name = name, .address = config->ps_addresses[i], .events = &events, .arg = search};
        MST_TRY(mst_peer_new(config->loop, config->resolver, &peer, &search->peers[i], err));
        mst_peer_start(search->peers[i]);
    }
    return MST_OK;
}

mst_status mst_find_chief(const struct mst_find_chief_config *config, struct mst_found_chief *out,
                          struct mst_error *err)
{
    *out = (struct mst_found_chief){0};
    struct search search = {.config = config, .out = out, .err = err, .reminded_ms = mst_clock_monotonic_ms()};
    search.peers = mst_alloc_array(config->n_ps, sizeof(struct mst_peer *));
    mst_timer_init(&search.tick, config->loop, on_tick, &search);
    mst_timer_start_periodic(&search.tick, LOOK_MS);
    search.status = start_peers(&search, err);
    if (search.status == MST_OK)
        mst_loop_run_until(config->loop, is_done, &search, UINT64_MAX);
    mst_timer_fini(&search.tick);
    for (size_t i = 0; i < config->n_ps; i++)
        mst_peer_free(search.peers[i]);
    free(search.peers);
    return search.status;
}
