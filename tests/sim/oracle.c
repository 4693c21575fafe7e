// What must hold whatever the network did: a batch is applied at most once on every bucket; at the end every batch of
// every epoch was applied, on all buckets but for the torn ones, and those are as many as the chief counted; what was
// acknowledged was applied; and what workers reported of it was counted once, wholly if none of them was ever fenced.
#include "world_private.h"

void oracle_applied(struct world *w, size_t bucket, const struct message *push)
{
    uint64_t at = push->batch.epoch * w->n_batches + push->batch.batch;
    if (++w->buckets[bucket].applied[at] > 1)
        world_fail(w, "batch %llu of epoch %llu applied twice on bucket %zu, the second time by worker %u number %llu",
                   (unsigned long long)push->batch.batch, (unsigned long long)push->batch.epoch, bucket, push->worker,
                   (unsigned long long)push->push.number);
}

// ---- bounded staleness ----

static bool holds_lease(const struct world *w, size_t index)
{
    const struct sim_lead *lead = &w->leads[index];
    return lead->given_seq > lead->done_seq &&
           mst_membership_is_acting(&w->chief.membership, (uint32_t)index, lead->number);
}

static uint64_t reported_clock(const struct sim_lead *lead)
{
    return lead->start + lead->n_reported;
}

static uint64_t larger(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

// The clocks by which a joiner starts are those that the chief knows.
static void note_lowest_clock(struct world *w)
{
    uint64_t lowest = UINT64_MAX;
    for (size_t i = 0; i < w->n_workers; i++)
        if (holds_lease(w, i) && reported_clock(&w->leads[i]) < lowest)
            lowest = reported_clock(&w->leads[i]);
    if (lowest != UINT64_MAX)
        w->lowest_clock = lowest;
}

void oracle_asked(struct world *w, const struct mst_lease_ask *ask, const struct mst_lease_answer *answer)
{
    struct sim_lead *lead = &w->leads[ask->worker];
    if (answer->kind == MST_ANSWER_FENCED)
        return;
    if (lead->number != ask->number)
        *lead = (struct sim_lead){.number = ask->number};
    bool held = holds_lease(w, ask->worker);
    lead->n_reported = larger(lead->n_reported, ask->sums.steps);
    note_lowest_clock(w);
    lead->done_seq = larger(lead->done_seq, ask->done_seq);
    if (!held && reported_clock(lead) < w->lowest_clock)
        lead->start = w->lowest_clock - lead->n_reported;
    if (answer->kind == MST_ANSWER_LEASE)
        lead->given_seq = larger(lead->given_seq, answer->lease.seq);
    note_lowest_clock(w);
}

// What is done of its steps: more than the chief knows, unless its process is another by now.
static uint64_t true_clock(const struct world *w, size_t index)
{
    const struct mst_session *session = &w->workers[index].session;
    const struct sim_lead *lead = &w->leads[index];
    if (session->number != lead->number)
        return reported_clock(lead);
    return lead->start + session->step - (session->step > 0 && session->n_outstanding > 0);
}

void oracle_begins(struct world *w, size_t index)
{
    if (w->max_lead == 0 || !holds_lease(w, index) || w->workers[index].session.number != w->leads[index].number)
        return;
    uint64_t clock = w->leads[index].start + w->workers[index].session.step + 1;
    for (size_t i = 0; i < w->n_workers; i++)
        if (holds_lease(w, i) && clock > true_clock(w, i) + w->max_lead)
            world_fail(w, "worker %zu begins step %llu, worker %zu has done %llu, and %llu is the limit", index,
                       (unsigned long long)clock, i, (unsigned long long)true_clock(w, i),
                       (unsigned long long)w->max_lead);
}

// ---- at the end ----

static bool was_any_fenced(const struct world *w)
{
    const struct mst_membership *members = &w->chief.membership;
    for (size_t i = 0; i < members->n_members; i++)
        if (members->members[i].number > 1 ||
            (members->members[i].number && members->members[i].state != MST_MEMBER_LIVE))
            return true;
    return false;
}

static void check_sums(struct world *w)
{
    uint64_t n_reported = w->chief.total.steps;
    if (n_reported > w->n_acknowledged || (!was_any_fenced(w) && n_reported != w->chief.leases.n_total))
        world_fail(w, "%llu steps were reported of %llu acknowledged, of %llu in all", (unsigned long long)n_reported,
                   (unsigned long long)w->n_acknowledged, (unsigned long long)w->chief.leases.n_total);
}

void oracle_check_end(struct world *w)
{
    const struct mst_leases *leases = &w->chief.leases;
    if (w->fault[0])
        return;
    uint64_t n_torn = 0;
    uint64_t n_whole = 0;
    for (uint64_t at = 0; at < w->n_batches * w->n_epochs; at++) {
        size_t n_buckets = 0;
        for (size_t b = 0; b < w->n_pushed; b++)
            n_buckets += w->buckets[b].applied[at];
        n_whole += n_buckets == w->n_pushed;
        n_torn += n_buckets > 0 && n_buckets < w->n_pushed;
        if (n_buckets > 0 && at >= leases->n_total)
            world_fail(w, "batch %llu lies beyond the job's steps and was applied", (unsigned long long)at);
    }
    // A fence may find a batch that its worker had pushed everywhere but one bucket; never one that was pushed nowhere.
    if (n_whole + n_torn != leases->n_total || n_torn != leases->n_torn)
        world_fail(w, "%llu batches: %llu applied, %llu torn, and the chief counted %llu done, %llu torn",
                   (unsigned long long)leases->n_total, (unsigned long long)n_whole, (unsigned long long)n_torn,
                   (unsigned long long)leases->n_done, (unsigned long long)leases->n_torn);
    if (w->n_acknowledged > n_whole)
        world_fail(w, "%llu batches acknowledged, %llu applied", (unsigned long long)w->n_acknowledged,
                   (unsigned long long)n_whole);
    check_sums(w);
}
