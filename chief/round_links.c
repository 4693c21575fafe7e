// Rounds over the wire: one ROUND call under way to each group's primary, which answers when it has something new, and
// another one as soon as there is something new to tell it. What comes back goes to the coordinator, which decides.
// Checkpoints, callbacks and the end are looked at between two rounds, while nothing is being applied.
#include "chief/chief_private.h"

#include "base/log.h"
#include "base/metrics.h"

#include <string.h>

enum { AGAIN_MS = 20 }; // after a primary said that it is not ready: it has just become one

static bool is_round_time(const struct mst_chief *chief)
{
    return chief->coordinator.is_synchronous && (chief->phase == CHIEF_RUNNING || chief->phase == CHIEF_CLOSING);
}

static void take_reply(struct ps_group *group, const struct mst_reply *reply)
{
    struct mst_chief *chief = group->chief;
    struct mst_arena arena;
    struct mst_msg_round_reply answer;
    struct mst_error err;
    mst_arena_init(&arena, MST_MSG_ARENA_MAX);
    if (mst_msg_round_reply_decode(reply->message->meta, &arena, &answer, &err) == MST_OK)
        mst_rounds_report(&chief->coordinator.rounds, group->index, &answer);
    else
        MST_LOG(WARN, "chief", "report of a round not read", "group=%u reason=\"%s\"", group->index, err.text);
    mst_arena_fini(&arena);
}

static void on_reply(void *arg, const struct mst_reply *reply)
{
    struct ps_group *group = mst_chief_group_answered(arg);
    if (!group)
        return;
    struct mst_chief *chief = group->chief;
    group->n_round_calls--;
    if (!is_round_time(chief))
        return;
    if (reply->status == MST_OK) {
        take_reply(group, reply);
        mst_chief_rounds_go_on(chief);
        return;
    }
    // What was refused is told again, though a question of before may still be held.
    group->round_told = 0;
    // A broken link, or a silent PS, is seen to elsewhere; the tick asks again. Refused for its term, this chief gives
    // way to the later one.
    if (reply->status == MST_UNAVAILABLE)
        mst_timer_start_once(&chief->round_again, AGAIN_MS);
    else if (reply->status == MST_ABORTED)
        mst_chief_give_way(chief, MST_ALREADY_EXISTS, reply->text);
    else if (!mst_status_is_retryable(reply->status) && reply->status != MST_FAILED_PRECONDITION)
        mst_chief_tell(chief, reply->status, reply->text);
}

static void ask(struct ps_group *group)
{
    struct mst_chief *chief = group->chief;
    struct mst_msg_round round;
    struct mst_buf meta;
    mst_rounds_tell(&chief->coordinator.rounds, group->index, &round);
    round.group = group->index;
    mst_buf_init(&meta, MST_FRAME_META_MAX);
    if (mst_msg_round_encode(&round, &meta) == MST_OK) {
        struct mst_call call = {.method = MST_METHOD_ROUND,
                                .meta = mst_buf_view(&meta),
                                .deadline_ms = chief->config.job->lease_ms,
                                .on_reply = on_reply,
                                .arg = mst_chief_group_ask(group)};
        group->round_told = chief->coordinator.rounds.n_told;
        group->n_round_calls++;
        mst_peer_call(mst_chief_primary(group)->peer, &call);
    } else {
        mst_chief_tell(chief, MST_RESOURCE_EXHAUSTED,
                       "what a round's close says does not fit a message: use fewer workers or measures");
    }
    mst_buf_fini(&meta);
}

static void note_round(struct mst_chief *chief)
{
    const struct mst_rounds *rounds = &chief->coordinator.rounds;
    struct mst_chief_round_metrics *metrics = &chief->round_metrics;
    mst_metric_set(metrics->round, (int64_t)rounds->over_round);
    mst_metric_add(metrics->empty, (int64_t)(rounds->n_empty - metrics->n_empty));
    mst_metric_add(metrics->again, (int64_t)(rounds->n_again - metrics->n_again));
    mst_metric_add(metrics->left_out, (int64_t)(rounds->n_left_out - metrics->n_left_out));
    if (rounds->n_left_out > metrics->n_left_out)
        MST_LOG(DEBUG, "chief", "round closed without some", "round=%llu in=%zu of=%zu",
                (unsigned long long)rounds->close_round, rounds->n_ins, rounds->was.n_plan);
    if (rounds->n_again > metrics->n_again)
        MST_LOG(WARN, "chief", "round closed again",
                "round=%llu in=%zu note=\"contributions of workers that are gone "
                "were lost with a primary; their batches are dealt anew\"",
                (unsigned long long)rounds->close_round, rounds->n_ins);
    metrics->n_empty = rounds->n_empty;
    metrics->n_again = rounds->n_again;
    metrics->n_left_out = rounds->n_left_out;
}

void mst_chief_rounds_begin(struct mst_chief *chief)
{
    if (!chief->coordinator.is_synchronous)
        return;
    struct mst_rounds *rounds = &chief->coordinator.rounds;
    mst_rounds_set_term(rounds, chief->term);
    for (size_t i = 0; i < chief->config.n_ps; i++) {
        bool is_pushed = false;
        for (size_t p = 0; p < chief->plan->n_pieces; p++)
            is_pushed |=
                chief->plan->pieces[p].ps == i &&
                mst_model_variable(chief->config.model, chief->plan->pieces[p].variable)->update != MST_UPDATE_FROZEN;
        if (!is_pushed)
            mst_rounds_ps_idle(rounds, i);
    }
    chief->round_metrics = (struct mst_chief_round_metrics){
        .round = mst_metric_gauge("muster_chief_round", "Last synchronous round that every PS has applied", NULL),
        .empty = mst_metric_counter("muster_chief_empty_rounds_total",
                                    "Rounds that were closed without any contribution", NULL),
        .again = mst_metric_counter("muster_chief_rounds_closed_again_total",
                                    "Rounds that were closed again without contributions that a failover lost", NULL),
        .left_out = mst_metric_counter("muster_chief_contributions_left_out_total",
                                       "Contributions that were dealt and not waited for", NULL)};
    MST_LOG(INFO, "chief", "synchronous rounds", "workers=%zu backup=%zu round=%llu", rounds->config.n_workers,
            rounds->config.n_backup, (unsigned long long)rounds->close_round);
}

// Also called by what it calls; then the outer call goes on.
void mst_chief_rounds_go_on(struct mst_chief *chief)
{
    if (!is_round_time(chief) || chief->is_deciding)
        return;
    chief->is_deciding = true;
    enum mst_coordinator_news news;
    while (is_round_time(chief) && (news = mst_coordinator_advance(&chief->coordinator)) != MST_COORDINATOR_SAME)
        if (news == MST_COORDINATOR_ROUND_OVER) {
            note_round(chief);
            mst_chief_advance(chief);
        }
    chief->is_deciding = false;
    for (size_t i = 0; is_round_time(chief) && i < chief->config.n_ps; i++) {
        struct ps_group *group = &chief->groups[i];
        if (mst_chief_primary(group) && !mst_rounds_is_away(&chief->coordinator.rounds, i) &&
            (group->n_round_calls == 0 || group->round_told != chief->coordinator.rounds.n_told))
            ask(group);
    }
}

void mst_chief_on_round_again(void *arg)
{
    mst_chief_rounds_go_on(arg);
}

bool mst_chief_rounds_are_quiet(struct mst_chief *chief)
{
    if (!chief->coordinator.is_synchronous)
        return true;
    if (!chief->is_pausing_rounds)
        mst_rounds_pause(&chief->coordinator.rounds);
    chief->is_pausing_rounds = true;
    return mst_rounds_is_quiet(&chief->coordinator.rounds);
}

void mst_chief_rounds_resume(struct mst_chief *chief)
{
    if (chief->is_pausing_rounds)
        mst_rounds_resume(&chief->coordinator.rounds);
    chief->is_pausing_rounds = false;
}

void mst_chief_rate_changed(struct mst_chief *chief)
{
    chief->rate_seq++;
    if (!chief->coordinator.is_synchronous || chief->is_rate_awaited)
        return;
    chief->is_rate_awaited = true;
    mst_rounds_pause(&chief->coordinator.rounds);
}

void mst_chief_rate_heard(struct ps_link *link)
{
    struct mst_chief *chief = link->chief;
    link->rate_heard = link->rate_sent;
    if (!chief->is_rate_awaited)
        return;
    if (link->rate_heard < chief->rate_seq)
        mst_chief_links_beat(chief); // it was under way before the change
    for (size_t i = 0; i < chief->config.n_ps; i++)
        if (chief->links[i].rate_heard < chief->rate_seq && mst_failover_is_live(&chief->failover, i))
            return;
    chief->is_rate_awaited = false;
    mst_rounds_resume(&chief->coordinator.rounds);
    mst_chief_rounds_go_on(chief);
}

// What is waited for, if it is still what was waited for at the last look.
void mst_chief_rounds_state(struct mst_chief *chief, char *out, size_t out_bytes)
{
    const struct mst_rounds *rounds = &chief->coordinator.rounds;
    out[0] = '\0';
    if (chief->coordinator.is_synchronous && chief->round_looked_at == rounds->over_round + 1)
        mst_rounds_awaited(rounds, out, out_bytes);
    chief->round_looked_at = rounds->over_round + 1;
}
