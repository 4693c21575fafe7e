#include "worker/round_session.h"

#include "base/alloc.h"
#include "base/error.h"

#include <stdlib.h>

void mst_round_session_init(struct mst_round_session *s, size_t n_buckets, size_t n_pushed)
{
    MST_ASSERT(n_pushed > 0 && n_pushed <= n_buckets);
    *s = (struct mst_round_session){
        .n_buckets = n_buckets, .n_pushed = n_pushed, .buckets = mst_alloc_array(n_buckets, sizeof *s->buckets)};
}

void mst_round_session_fini(struct mst_round_session *s)
{
    free(s->buckets);
    *s = (struct mst_round_session){0};
}

// The first n buckets have a call under way, which is answered with this round.
static void call_all(struct mst_round_session *s, size_t n, enum mst_round_session_call call, uint64_t wanted)
{
    for (size_t b = 0; b < n; b++) {
        s->buckets[b].call = call;
        s->buckets[b].wanted = wanted;
    }
    s->n_outstanding = n;
}

static void empty(struct mst_round_session *s, uint64_t number)
{
    s->number = number;
    s->turn = (struct mst_msg_turn){0};
    s->push = (struct mst_session_push){0};
    s->n_outstanding = 0;
    for (size_t b = 0; b < s->n_buckets; b++)
        s->buckets[b] = (struct mst_round_session_bucket){0};
}

void mst_round_session_admitted(struct mst_round_session *s, uint64_t number)
{
    if (number <= s->number && s->number != 0)
        return;
    empty(s, number);
    call_all(s, s->n_buckets, MST_ROUND_SESSION_TO_PULL, 0);
}

void mst_round_session_fenced(struct mst_round_session *s)
{
    empty(s, 0);
}

bool mst_round_session_next_pull(struct mst_round_session *s, struct mst_round_session_pull *out)
{
    *out = (struct mst_round_session_pull){0};
    for (size_t b = 0; s->n_outstanding > 0 && b < s->n_buckets; b++)
        if (s->buckets[b].call == MST_ROUND_SESSION_TO_PULL) {
            s->buckets[b].call = MST_ROUND_SESSION_PULLED;
            *out = (struct mst_round_session_pull){s->number, b, s->buckets[b].wanted};
            return true;
        }
    return false;
}

// All calls are answered: what is there, in one round or in several.
static void settle(struct mst_round_session *s)
{
    for (size_t b = 0; b < s->n_pushed; b++)
        if (s->buckets[b].round < s->turn.round) {
            s->buckets[b].call = MST_ROUND_SESSION_TO_PULL;
            s->buckets[b].wanted = s->turn.round;
            s->n_outstanding++;
        }
    if (s->n_outstanding == 0 && !s->turn.has_unit && !s->turn.is_over)
        call_all(s, s->n_pushed, MST_ROUND_SESSION_TO_PULL, s->turn.round + 1);
}

static bool is_expected(const struct mst_round_session *s, const struct mst_round_session_answer *answer)
{
    if (s->number == 0 || answer->number != s->number || answer->bucket >= s->n_buckets)
        return false;
    const struct mst_round_session_bucket *bucket = &s->buckets[answer->bucket];
    if (answer->bucket < s->n_pushed && answer->turn.round < bucket->wanted)
        return false; // of an earlier call
    return answer->step == 0 ? bucket->call == MST_ROUND_SESSION_PULLED
                             : bucket->call == MST_ROUND_SESSION_PUSHED && answer->step == s->push.step;
}

bool mst_round_session_answered(struct mst_round_session *s, const struct mst_round_session_answer *answer)
{
    if (!is_expected(s, answer))
        return false;
    struct mst_round_session_bucket *bucket = &s->buckets[answer->bucket];
    bucket->call = MST_ROUND_SESSION_ANSWERED;
    bucket->round = answer->turn.round;
    // Of frozen buckets no round is ever waited for, so what their PS says of rounds is left to the others.
    bool is_first = s->turn.round == 0 && !s->turn.has_unit && !s->turn.is_over;
    if (answer->bucket < s->n_pushed && (is_first || answer->turn.round > s->turn.round))
        s->turn = answer->turn;
    if (--s->n_outstanding > 0)
        return false;
    settle(s);
    return true;
}

bool mst_round_session_next_unit(const struct mst_round_session *s, struct mst_round_session_unit *out)
{
    *out = (struct mst_round_session_unit){0};
    if (s->number == 0 || s->n_outstanding > 0 || !s->turn.has_unit || s->turn.is_over)
        return false;
    *out = (struct mst_round_session_unit){s->turn.round + 1, s->turn.epoch, s->turn.unit};
    return true;
}

void mst_round_session_push_all(struct mst_round_session *s, struct mst_session_push *out)
{
    MST_ASSERT(s->n_outstanding == 0 && s->turn.has_unit);
    s->push = (struct mst_session_push){s->number, s->turn.round + 1, s->turn.epoch + 1, s->turn.unit + 1};
    call_all(s, s->n_pushed, MST_ROUND_SESSION_PUSHED, s->push.step);
    *out = s->push;
}

bool mst_round_session_is_pushing(const struct mst_round_session *s)
{
    for (size_t b = 0; s->n_outstanding > 0 && b < s->n_pushed; b++)
        if (s->buckets[b].call == MST_ROUND_SESSION_PUSHED)
            return true;
    return false;
}

bool mst_round_session_is_over(const struct mst_round_session *s)
{
    return s->number != 0 && s->n_outstanding == 0 && s->turn.is_over;
}

uint64_t mst_round_session_waits_for(const struct mst_round_session *s)
{
    uint64_t round = 0;
    for (size_t b = 0; s->n_outstanding > 0 && b < s->n_pushed; b++)
        if (s->buckets[b].call != MST_ROUND_SESSION_ANSWERED && s->buckets[b].wanted > round)
            round = s->buckets[b].wanted;
    return round;
}
