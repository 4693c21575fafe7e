#include "chief/chief_private.h"

#include "base/alloc.h"
#include "base/error.h"
#include "base/log.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PLACE_MS = 600000 }; // initial values of a large model, or reading them from a slow disk

// With replicas it goes without those that are dead.
static bool all_greeted(const struct mst_chief *chief)
{
    size_t n_up = 0;
    for (size_t i = 0; i < chief->config.n_ps; i++) {
        const struct ps_link *link = &chief->links[i];
        bool is_up = link->incarnation != 0 && mst_peer_is_up(link->peer);
        if (!is_up && mst_failover_is_live(&chief->failover, i))
            return false;
        n_up += is_up;
    }
    return n_up > 0;
}

// ---- placing ----

static void lose_ps(struct mst_chief *chief, const struct ps_link *link, const char *why)
{
    struct mst_error err;
    mst_status status =
        mst_fail(&err, MST_UNAVAILABLE, "ps-%u was lost (%s), and nothing replaces it", link->index, why);
    mst_chief_tell(chief, status, err.text);
}

static void on_placed(void *arg, const struct mst_reply *reply)
{
    struct ps_link *link = arg;
    struct mst_chief *chief = link->chief;
    link->is_placing = false;
    if (chief->phase < CHIEF_PLACING || chief->phase >= CHIEF_TELLING)
        return;
    if (reply->status != MST_OK) {
        if (mst_status_is_retryable(reply->status))
            return; // the link broke, or it is still making them: the tick asks again
        mst_chief_tell(chief, reply->status, reply->text);
        return;
    }
    link->is_placed = mst_chief_groups_restored(link);
    if (link->is_placed || mst_failover_is_named(&chief->failover, link->index))
        mst_chief_links_place(chief); // else when roles do that name it, or with the tick
}

static uint64_t *list_refused(const struct mst_membership *members)
{
    uint64_t *refused = mst_alloc_array(members->n_members, sizeof *refused);
    for (size_t i = 0; i < members->n_members; i++)
        refused[i] = mst_membership_refused(members, (uint32_t)i);
    return refused;
}

// One that comes back in the middle of the job gets what the last checkpoint has, and counts on with the others.
static void place(struct ps_link *link)
{
    struct mst_chief *chief = link->chief;
    const struct mst_membership *members = &chief->coordinator.membership;
    struct mst_arena arena;
    struct mst_msg_map map = chief->map;
    float rate;
    mst_arena_init(&arena, MST_MSG_ARENA_MAX);
    if (mst_chief_map_roles(chief, &arena, &map) != MST_OK) {
        mst_arena_fini(&arena);
        return;
    }
    map.ps = link->index;
    map.sets_learning_rate = mst_callbacks_rate(chief->callbacks, &rate);
    map.learning_rate = (double)rate;
    map.restore_prefix = chief->checkpoint ? chief->checkpoint : chief->restore_prefix;
    char *part = NULL;
    if (chief->config.job->checkpoint_local && map.restore_prefix && map.restore_prefix[0])
        map.restore_prefix = part = mst_chief_part_prefix(chief, map.restore_prefix, link->index);
    map.iterations = mst_chief_groups_restoring(link);
    uint64_t *fenced = list_refused(members);
    map.fenced = fenced;
    map.n_fenced = members->n_members;
    map.rows = chief->checkpoint_rows;
    map.n_rows = chief->n_checkpoint_rows;
    free(link->placed_prefix);
    link->placed_prefix = map.restore_prefix && map.restore_prefix[0] ? mst_strdup(map.restore_prefix) : NULL;
    link->is_placing = true;
    MST_CHIEF_CALL(link, MAP, map, &map, PLACE_MS, on_placed, link);
    free(fenced);
    free(part);
    mst_arena_fini(&arena);
}

// Before anybody serves it, what is to be served is stored where every later chief will read it.
void mst_chief_links_place(struct mst_chief *chief)
{
    if (!chief->has_map || chief->phase < CHIEF_PLACING || chief->phase >= CHIEF_TELLING || chief->state_n == 0 ||
        !mst_chief_is_stored(chief, chief->state_n) || !mst_failover_committed(&chief->failover))
        return;
    bool are_all_placed = true;
    for (size_t i = 0; i < chief->config.n_ps; i++) {
        struct ps_link *link = &chief->links[i];
        are_all_placed &= link->is_placed || !mst_failover_is_live(&chief->failover, i);
        if (!link->is_placed && !link->is_placing && chief->state_n >= link->place_mark && mst_peer_is_up(link->peer))
            place(link);
    }
    if (are_all_placed && chief->phase == CHIEF_PLACING)
        mst_chief_set_running(chief);
}

// ---- up and down ----

static void on_greet(void *arg, struct mst_peer *peer, struct mst_msg_greeting *greeting)
{
    struct ps_link *link = arg;
    (void)peer;
    mst_identity_greet(link->chief->config.identity, greeting);
    greeting->wanted = link->index + 1;
    // Until it has claimed one, it takes nobody's place who has. (It may have ended before it had one to claim.)
    bool has_term = link->chief->phase > CHIEF_RECALLING && link->chief->term > 0;
    greeting->term = has_term ? link->chief->term : MST_TERM_NEWCOMER;
}

// A link that broke stands again. Another incarnation has lost all it held.
static void meet_again(struct ps_link *link, const struct mst_msg_greeting_reply *reply)
{
    struct mst_chief *chief = link->chief;
    if (reply->incarnation != link->incarnation) {
        size_t n_threads = reply->n_data_threads ? reply->n_data_threads : 1;
        if (n_threads < link->n_threads && !mst_chief_has_replicas(chief)) { // (else they share what is planned)
            lose_ps(chief, link, "it was started again with fewer data threads");
            return;
        }
        MST_LOG(WARN, "chief", "parameter server came back empty", "ps=%u steps=%llu", link->index,
                (unsigned long long)mst_chief_steps_done(chief));
        link->incarnation = reply->incarnation;
        mst_chief_groups_emptied(link);
        link->is_placed = false;
        link->stored_n = 0;
        mst_chief_touch(chief); // the last close is known to nobody else, where all come back
        link->place_mark = mst_chief_mark(chief);
    }
    mst_chief_failover_up(link);
    mst_chief_store(chief);
    mst_chief_links_place(chief);
}

static void recall_all(struct mst_chief *chief)
{
    chief->phase = CHIEF_RECALLING;
    mst_failover_begin(&chief->failover, chief->term);
    for (size_t i = 0; i < chief->config.n_ps; i++) {
        chief->links[i].is_recalled = false;
        if (mst_peer_is_up(chief->links[i].peer))
            mst_chief_recall(&chief->links[i]);
    }
}

void mst_chief_try_recall(struct mst_chief *chief)
{
    if (chief->phase == CHIEF_WAITING && all_greeted(chief))
        recall_all(chief);
}

// It came while the others are read. Where not all were there at first, it may have seen a higher term.
static void read_late(struct ps_link *link, const struct mst_msg_greeting_reply *reply)
{
    struct mst_chief *chief = link->chief;
    link->is_recalled = link->is_recalled && reply->incarnation == link->incarnation;
    link->incarnation = reply->incarnation;
    link->n_threads = reply->n_data_threads ? reply->n_data_threads : 1;
    mst_chief_failover_up(link);
    if (link->is_recalled || chief->phase != CHIEF_RECALLING)
        return;
    if (mst_chief_has_replicas(chief) && chief->term <= reply->term) {
        chief->term = reply->term + 1;
        recall_all(chief);
    } else {
        mst_chief_recall(link);
    }
}

static void on_up(void *arg, struct mst_peer *peer, const struct mst_msg_greeting_reply *reply)
{
    struct ps_link *link = arg;
    struct mst_chief *chief = link->chief;
    (void)peer;
    link->is_foreign = false;
    link->is_beating = false;
    link->is_storing = link->is_placing = false;
    chief->has_met_job |= chief->phase <= CHIEF_RECALLING && reply->job_state == MST_JOB_RUNNING;
    if (reply->job_state == MST_JOB_FINISHED) {
        mst_chief_tell(chief, MST_OK, MST_CHIEF_WAS_FINISHED);
        return;
    }
    if (chief->phase >= CHIEF_TELLING) { // it hears how the job ended, and no more
        mst_chief_check_told(chief);
        return;
    }
    if (chief->phase >= CHIEF_PLACING) {
        meet_again(link, reply);
        return;
    }
    if (chief->phase == CHIEF_RECALLING) {
        read_late(link, reply);
        return;
    }
    link->incarnation = reply->incarnation;
    link->n_threads = reply->n_data_threads ? reply->n_data_threads : 1;
    if (chief->term <= reply->term)
        chief->term = reply->term + 1;
    mst_chief_failover_up(link);
    mst_chief_try_recall(chief);
}

static void on_down(void *arg, struct mst_peer *peer, mst_status status, const char *text)
{
    struct ps_link *link = arg;
    if (link->chief->phase >= CHIEF_TELLING) {
        link->is_told = true;
        mst_peer_stop(peer);
        mst_chief_check_told(link->chief);
        return;
    }
    MST_LOG(WARN, "chief", "parameter server lost", "ps=%u status=%s reason=\"%s\"", link->index,
            mst_status_name(status), text);
    mst_chief_failover_down(link);
}

// A server that answers knows that the job is under way, or they all do not: then this chief may be the wrong one.
static bool is_under_way(const struct mst_chief *chief)
{
    return chief->phase > CHIEF_WAITING || chief->term > 1;
}

static bool may_be_under_way(const struct mst_chief *chief)
{
    bool is_open = is_under_way(chief);
    for (size_t i = 0; i < chief->config.n_ps; i++)
        is_open |= !chief->links[i].is_foreign && !mst_peer_is_up(chief->links[i].peer);
    return is_open;
}

static void on_refused(void *arg, struct mst_peer *peer, mst_status status, const char *text)
{
    struct ps_link *link = arg;
    if (status == MST_FAILED_PRECONDITION && link->chief->phase < CHIEF_TELLING) {
        if (!link->is_foreign)
            MST_LOG(WARN, "chief", "address of another job", "ps=%u address=%s reason=\"%s\"", link->index,
                    mst_peer_address(peer), text);
        link->is_foreign = true;
        if (may_be_under_way(link->chief)) {
            mst_peer_ask_again(peer, text);
            return;
        }
    }
    link->is_told = true;
    if (status == MST_ALREADY_EXISTS && link->chief->phase < CHIEF_TELLING)
        mst_chief_give_way(link->chief, MST_ALREADY_EXISTS, text);
    else
        mst_chief_tell(link->chief, status, text);
}

static const struct mst_peer_events peer_events = {on_greet, on_up, on_down, on_refused};

// ---- heartbeats, silence ----

static void on_beat(void *arg, const struct mst_reply *reply)
{
    struct ps_link *link = arg;
    link->is_beating = false;
    struct mst_arena arena;
    struct mst_msg_heartbeat_reply answer;
    mst_arena_init(&arena, MST_MSG_ARENA_MAX);
    if (reply->status == MST_OK &&
        mst_msg_heartbeat_reply_decode(reply->message->meta, &arena, &answer, NULL) == MST_OK &&
        answer.job_state == MST_JOB_FAILED)
        mst_chief_ps_stops(link, answer.text);
    mst_arena_fini(&arena);
    if (reply->status == MST_OK) {
        mst_chief_heard(link);
        mst_chief_rate_heard(link);
    }
    // The connection stands and nobody answers: a stopped process, or a host that is gone. From now on it is away.
    if (reply->status == MST_DEADLINE_EXCEEDED && link->chief->phase < CHIEF_TELLING)
        mst_peer_break(link->peer, "was given up: no answer to a heartbeat");
}

void mst_chief_links_beat(struct mst_chief *chief)
{
    for (size_t i = 0; i < chief->config.n_ps; i++) {
        struct ps_link *link = &chief->links[i];
        if (link->is_beating || !mst_peer_is_up(link->peer))
            continue;
        link->is_beating = true;
        struct mst_msg_heartbeat heartbeat = {.role = MST_PEER_CHIEF,
                                              .incarnation = chief->config.identity->incarnation};
        float rate;
        heartbeat.sets_learning_rate = mst_callbacks_rate(chief->callbacks, &rate);
        heartbeat.learning_rate = (double)rate;
        link->rate_sent = chief->rate_seq;
        MST_CHIEF_CALL(link, HEARTBEAT, heartbeat, &heartbeat, chief->config.job->lease_ms, on_beat, link);
    }
}

void mst_chief_links_tick(struct mst_chief *chief, uint64_t now_ms)
{
    if (!mst_chief_groups_are_whole(chief))
        chief->whole_since_ms = 0;
    else if (chief->whole_since_ms == 0)
        chief->whole_since_ms = now_ms;
    if (chief->phase < CHIEF_RECALLING || chief->phase >= CHIEF_TELLING)
        return;
    for (size_t i = 0; i < chief->config.n_ps; i++) {
        struct ps_link *link = &chief->links[i];
        if (mst_peer_is_up(link->peer) || mst_peer_down_ms(link->peer) <= chief->config.job->absence_ms ||
            !mst_chief_is_awaited(link) || link->incarnation == 0)
            continue;
        char state[128];
        char why[256];
        mst_peer_state(link->peer, state, sizeof state);
        snprintf(why, sizeof why, "%s; it did not come back within cluster.absence_ms, %llu ms", state,
                 (unsigned long long)chief->config.job->absence_ms);
        lose_ps(chief, link, why);
        return;
    }
    mst_chief_store(chief);
    mst_chief_links_place(chief);
    mst_chief_fences_go_on(chief);
}

void mst_chief_link_state(const struct ps_link *link, char *out, size_t out_bytes)
{
    if (!mst_peer_is_up(link->peer))
        mst_peer_state(link->peer, out, out_bytes);
    else if (!link->is_placing)
        snprintf(out, out_bytes, "is here, and gets its shards when the others are");
    else if (link->placed_prefix)
        snprintf(out, out_bytes, "reads its shards from %s", link->placed_prefix);
    else
        snprintf(out, out_bytes, "makes its shards");
}

void mst_chief_add_shortage(const struct mst_chief *chief, char *out, size_t out_bytes)
{
    char why[256];
    size_t used = strlen(out);
    mst_failover_describe_shortage(&chief->failover, why, sizeof why);
    if (used && why[0])
        snprintf(out + used, out_bytes - used, ": %s", why);
}

void mst_chief_links_state(const struct mst_chief *chief, char *out, size_t out_bytes)
{
    size_t used = 0;
    out[0] = '\0';
    for (size_t i = 0; i < chief->config.n_ps; i++) {
        const struct ps_link *link = &chief->links[i];
        char state[192];
        if (mst_peer_is_up(link->peer) ? !link->is_placing || link->is_placed : !mst_chief_is_awaited(link))
            continue; // one that is to be given its shards waits itself, for others or for the chief
        mst_chief_link_state(link, state, sizeof state);
        int n = snprintf(out + used, out_bytes - used, "%sps-%zu (%s)", used ? ", " : "", i, state);
        if (n < 0 || (size_t)n >= out_bytes - used)
            return;
        used += (size_t)n;
    }
    mst_chief_add_shortage(chief, out, out_bytes);
}

// ---- the end ----

static void on_told(void *arg, const struct mst_reply *reply)
{
    struct ps_link *link = arg;
    (void)reply; // told, or beyond reach
    link->is_told = true;
    mst_peer_stop(link->peer);
    mst_chief_check_told(link->chief);
}

bool mst_chief_links_lack(const struct mst_chief *chief)
{
    for (size_t i = 0; i < chief->config.n_ps; i++) {
        const struct ps_link *link = &chief->links[i];
        if (link->incarnation && !link->is_told && !link->is_let_go && !mst_peer_is_up(link->peer))
            return true;
    }
    return false;
}

void mst_chief_links_finish(struct mst_chief *chief)
{
    for (size_t i = 0; i < chief->config.n_ps; i++) {
        struct ps_link *link = &chief->links[i];
        if (!mst_peer_is_up(link->peer)) {
            link->is_told = true;
            mst_peer_stop(link->peer);
            continue;
        }
        struct mst_msg_finish finish = {chief->term, (uint32_t)chief->end_status, chief->end_text};
        MST_CHIEF_CALL(link, FINISH, finish, &finish, chief->config.job->lease_ms, on_told, link);
    }
}

// ---- making and freeing ----

mst_status mst_chief_links_new(struct mst_chief *chief, struct mst_error *err)
{
    mst_chief_groups_new(chief);
    chief->links = mst_alloc_array(chief->config.n_ps, sizeof *chief->links);
    for (size_t i = 0; i < chief->config.n_ps; i++) {
        struct ps_link *link = &chief->links[i];
        link->chief = chief;
        link->index = (uint32_t)i;
        mst_buf_init(&link->memory, MST_FRAME_META_MAX);
        char name[32];
        snprintf(name, sizeof name, "ps-%zu", i);
        struct mst_peer_config config = {.name = name,
                                         .address = chief->config.ps_addresses[i],
                                         .user_timeout_ms = chief->config.job->lease_ms,
                                         .events = &peer_events,
                                         .arg = link,
                                         .on_gone = mst_chief_has_replicas(chief) ? mst_chief_failover_gone : NULL};
        MST_TRY(mst_peer_new(chief->config.control, chief->config.resolver, &config, &link->peer, err));
    }
    return MST_OK;
}

void mst_chief_links_start(struct mst_chief *chief)
{
    for (size_t i = 0; i < chief->config.n_ps; i++)
        mst_peer_start(chief->links[i].peer);
    mst_chief_failover_start(chief);
}

void mst_chief_links_free(struct mst_chief *chief)
{
    for (size_t i = 0; chief->links && i < chief->config.n_ps; i++) {
        mst_peer_free(chief->links[i].peer);
        mst_buf_fini(&chief->links[i].memory);
        free(chief->links[i].placed_prefix);
    }
    free(chief->links);
    chief->links = NULL;
    mst_chief_groups_free(chief);
    mst_chief_failover_free(chief);
}
