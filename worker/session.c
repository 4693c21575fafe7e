#include "worker/session.h"

#include "base/alloc.h"
#include "base/error.h"

#include <stdlib.h>
#include <string.h>

void mst_session_init(struct mst_session *s, size_t n_buckets, size_t n_pushed)
{
    MST_ASSERT(n_pushed > 0 && n_pushed <= n_buckets);
    *s = (struct mst_session){.n_buckets = n_buckets, .n_pushed = n_pushed, .outstanding = mst_alloc(n_buckets)};
}

void mst_session_fini(struct mst_session *s)
{
    free(s->outstanding);
    *s = (struct mst_session){0};
}

// Answers of the first n buckets; nothing is outstanding of the others.
static void expect(struct mst_session *s, size_t n)
{
    memset(s->outstanding, 1, n);
    s->n_outstanding = n;
}

// Of one process's buckets, under the next number or under none.
static struct mst_session emptied(const struct mst_session *s, uint64_t number)
{
    return (struct mst_session){
        .number = number, .outstanding = s->outstanding, .n_buckets = s->n_buckets, .n_pushed = s->n_pushed};
}

static bool take_answer(struct mst_session *s, size_t bucket)
{
    if (bucket >= s->n_buckets || !s->outstanding[bucket])
        return false;
    s->outstanding[bucket] = 0;
    s->n_outstanding--;
    return true;
}

void mst_session_admitted(struct mst_session *s, uint64_t number)
{
    if (number <= s->number && s->number != 0)
        return;
    *s = emptied(s, number);
    expect(s, s->n_buckets);
}

void mst_session_fenced(struct mst_session *s)
{
    *s = emptied(s, 0);
}

bool mst_session_wants_lease(const struct mst_session *s, struct mst_session_request *out)
{
    *out = (struct mst_session_request){s->number, s->done_seq + s->n_leases + 1, s->done_seq};
    if (s->number == 0 || s->is_finished || s->n_leases == MST_SESSION_LEASES)
        return false;
    return !s->is_asked || s->asked.seq != out->seq || s->asked.done_seq != out->done_seq;
}

void mst_session_asked(struct mst_session *s, const struct mst_session_request *request)
{
    s->is_asked = true;
    s->asked = *request;
}

void mst_session_ask_again(struct mst_session *s)
{
    s->is_asked = false;
}

void mst_session_lease(struct mst_session *s, uint64_t number, const struct mst_session_lease *lease)
{
    if (number != s->number || s->n_leases == MST_SESSION_LEASES || lease->seq != s->done_seq + s->n_leases + 1)
        return;
    s->leases[s->n_leases++] = *lease;
}

void mst_session_finished(struct mst_session *s, uint64_t number)
{
    if (number == s->number && s->n_leases == 0)
        s->is_finished = true;
}

void mst_session_pulled(struct mst_session *s, uint64_t number, size_t bucket)
{
    if (number == s->number && s->step == 0)
        take_answer(s, bucket);
}

bool mst_session_next_batch(const struct mst_session *s, struct mst_session_batch *out)
{
    *out = (struct mst_session_batch){0};
    if (s->number == 0 || s->n_outstanding > 0 || s->n_leases == 0)
        return false;
    *out = (struct mst_session_batch){s->leases[0].epoch, s->leases[0].first_batch + s->n_done};
    return true;
}

bool mst_session_batch_ahead(const struct mst_session *s, size_t ahead, struct mst_session_batch *out)
{
    *out = (struct mst_session_batch){0};
    uint64_t at = s->n_done + ahead;
    for (size_t i = 0; i < s->n_leases; i++) {
        if (at < s->leases[i].n_batches) {
            *out = (struct mst_session_batch){s->leases[i].epoch, s->leases[i].first_batch + at};
            return true;
        }
        at -= s->leases[i].n_batches;
    }
    return false;
}

void mst_session_push_all(struct mst_session *s, struct mst_session_push *out)
{
    MST_ASSERT(s->n_outstanding == 0 && s->n_leases > 0);
    s->step++;
    s->push = (struct mst_session_push){s->number, s->step, s->leases[0].id, s->n_done + 1};
    expect(s, s->n_pushed);
    *out = s->push;
}

bool mst_session_pushed(struct mst_session *s, uint64_t number, uint64_t step, size_t bucket)
{
    if (number != s->number || step != s->step || step == 0 || !take_answer(s, bucket))
        return false;
    if (s->n_outstanding > 0)
        return false;
    s->n_done++;
    if (s->n_done == s->leases[0].n_batches) {
        s->n_done = 0;
        s->done_seq++;
        s->n_leases--;
        memmove(s->leases, s->leases + 1, s->n_leases * sizeof s->leases[0]);
    }
    return true;
}
