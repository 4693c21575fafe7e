// What must hold whatever the network did: a batch is applied at most once on every bucket; at the end every batch of
// every epoch was applied, on all buckets but for the torn ones, and those are as many as the chief counted; what was
// acknowledged was applied; and what workers reported of it was counted once, wholly if none of them was ever fenced.
#include "world_private.h"

#include "base/alloc.h"

#include <stdlib.h>
#include <string.h>

// Another one trains it: what its first worker had done was lost with a server.
static void forget_attempt(struct world *w, uint64_t at)
{
    for (size_t b = 0; b < w->n_pushed; b++)
        if (!w->buckets[b].now.applied[at])
            w->buckets[b].now.ever[at] = w->buckets[b].now.lost[at] = 0;
}

void oracle_applied(struct world *w, size_t bucket, const struct message *push)
{
    uint64_t at = push->batch.epoch * w->n_batches + push->batch.batch;
    struct sim_history *now = &w->buckets[bucket].now;
    if (w->pushers[at][0] != push->worker || w->pushers[at][1] != push->push.number)
        forget_attempt(w, at);
    if (++now->applied[at] > 1)
        world_fail(w, "batch %llu of epoch %llu applied twice on bucket %zu, the second time by worker %u number %llu",
                   (unsigned long long)push->batch.batch, (unsigned long long)push->batch.epoch, bucket, push->worker,
                   (unsigned long long)push->push.number);
    now->ever[at] = 1;
    now->lost[at] = 0;
    w->pushers[at][0] = push->worker;
    w->pushers[at][1] = push->push.number;
}

// ---- servers that die ----

static size_t n_batches(const struct world *w)
{
    return w->n_batches * w->n_epochs;
}

void history_init(const struct world *w, struct sim_history *history)
{
    *history = (struct sim_history){mst_alloc(n_batches(w)), mst_alloc(n_batches(w)), mst_alloc(n_batches(w))};
}

void history_copy(const struct world *w, struct sim_history *to, const struct sim_history *from)
{
    memcpy(to->applied, from->applied, n_batches(w));
    memcpy(to->ever, from->ever, n_batches(w));
    memcpy(to->lost, from->lost, n_batches(w));
}

void history_fini(struct sim_history *history)
{
    free(history->applied);
    free(history->ever);
    free(history->lost);
}

const struct sim_history *history_now(const struct sim_bucket *bucket)
{
    return &bucket->now;
}

const struct sim_history *history_marked(const struct sim_bucket *bucket)
{
    return &bucket->marked;
}

// What its server forgot of this batch's worker, it cannot tell.
static bool may_have_forgotten(const struct world *w, const struct sim_bucket *bucket, uint64_t at)
{
    return w->servers[bucket->ps].forgot[w->pushers[at][0]] >= w->pushers[at][1];
}

uint64_t oracle_count_torn(const struct world *w, const struct sim_history *(*of)(const struct sim_bucket *bucket),
                           const bool *left, uint64_t *known)
{
    uint64_t n_torn = 0;
    *known = 0;
    for (size_t at = 0; at < n_batches(w); at++) {
        size_t n_ever = 0;
        bool is_known = false;
        for (size_t b = 0; b < w->n_pushed && !(left && left[at]); b++) {
            bool is_ever = of(&w->buckets[b])->ever[at] != 0;
            n_ever += is_ever;
            is_known = is_known || (!is_ever && !may_have_forgotten(w, &w->buckets[b], at));
        }
        n_torn += n_ever > 0 && n_ever < w->n_pushed;
        *known += n_ever > 0 && n_ever < w->n_pushed && is_known;
    }
    return n_torn;
}

// Batches that workers hold, of which the chief does not know yet how many are done, and those that are to be trained
// again, for nobody is left who knows of them.
static uint64_t n_open(const struct world *w)
{
    uint64_t n = 0;
    for (size_t i = 0; i < w->chief.leases.n_ranges; i++)
        n += w->chief.leases.returned[i].n_batches;
    for (size_t i = 0; i < w->chief.leases.n_holders; i++)
        for (size_t k = 0; k < w->chief.leases.holders[i].n_held; k++)
            n += w->chief.leases.holders[i].held[k].n_batches;
    return n;
}

void oracle_dies(struct world *w, size_t ps)
{
    struct sim_server *server = &w->servers[ps];
    server->n_deaths++;
    for (size_t at = 0; at < n_batches(w); at++) {
        bool is_anywhere = false, is_missing = false; // … that may come yet
        for (size_t b = 0; b < w->n_pushed; b++) {
            const struct sim_history *now = &w->buckets[b].now;
            is_anywhere |= w->buckets[b].ps == ps && now->applied[at];
            is_missing |= w->buckets[b].ps == ps && !now->applied[at] && !now->lost[at];
        }
        server->n_uneven += is_anywhere && is_missing;
    }
}

void oracle_restored(struct world *w, size_t ps, const struct sim_checkpoint *from)
{
    struct sim_server *server = &w->servers[ps];
    uint64_t most = 0;
    uint64_t least = UINT64_MAX;
    for (size_t b = 0; b < w->n_pushed; b++) {
        struct sim_bucket *bucket = &w->buckets[b];
        uint64_t n_lost = 0;
        for (size_t at = 0; at < n_batches(w) && bucket->ps == ps; at++) {
            unsigned char has = from ? from->buckets[b].applied[at] : 0;
            bool is_lost = bucket->died[at] && !has;
            n_lost += is_lost;
            bucket->now.lost[at] = !has && (is_lost || bucket->now.lost[at]);
            bucket->now.applied[at] = has;
        }
        memset(bucket->died, 0, bucket->ps == ps ? n_batches(w) : 0);
        if (bucket->ps == ps && most < n_lost)
            most = n_lost;
        if (bucket->ps == ps && least > n_lost)
            least = n_lost;
    }
    server->n_lost_max += most; // it may have died again before the chief counted
    server->n_lost_min += least == UINT64_MAX ? 0 : least;
    server->has_pushed = least != UINT64_MAX;
    for (size_t i = 0; i < w->n_workers; i++)
        server->forgot[i] = w->highest_number[i];
}

void oracle_tells(struct world *w, size_t ps)
{
    w->servers[ps].n_open_told = n_open(w);
}

void oracle_counted(struct world *w, size_t ps, uint64_t n_lost)
{
    struct sim_server *server = &w->servers[ps];
    // What the chief does not know of: batches of leases that are not reported, now and when it counted last, and such
    // as were torn. A chief that starts does not know what its predecessor counted.
    uint64_t slack = n_open(w) + server->n_open_told + server->n_open + w->chief.leases.n_torn + w->n_deaths;
    bool is_first = w->chief_boot == 1;
    server->n_open = n_open(w);
    w->n_lost += n_lost;
    if (server->has_pushed &&
        (server->n_lost_max > n_lost + slack || (is_first && n_lost > server->n_lost_min + slack)))
        world_fail(w, "ps %zu lost %llu to %llu updates, and the chief says %llu", ps,
                   (unsigned long long)server->n_lost_min, (unsigned long long)server->n_lost_max,
                   (unsigned long long)n_lost);
    server->n_lost_max = server->n_lost_min = 0;
}

// Batches of the cut that the bucket was marked without.
static uint64_t n_lacking(const struct world *w, const struct sim_bucket *bucket, const bool *left)
{
    uint64_t n = 0;
    for (uint64_t at = 0; at < w->chief.leases.n_total; at++)
        n += !left[at] && !bucket->marked.applied[at];
    return n;
}

// Exactly, but for what was torn: that a bucket may lack besides. A server gives one number of updates, that of the
// bucket which has most. So where it dies again, and each time other buckets had their part of a push that was under
// way, one such push is lost a bucket, none of them by all, and not counted.
void oracle_settled(struct world *w, const bool *left)
{
    uint64_t n_known;
    uint64_t n_torn = oracle_count_torn(w, history_marked, left, &n_known); // the chief may know of fewer
    for (size_t ps = 0; ps < w->n_ps && w->run == 1; ps++) { // what a checkpoint lacks was counted before it
        const struct sim_link *link = &w->links[ps];
        uint64_t least = UINT64_MAX;
        for (size_t b = 0; b < w->n_pushed;
             b++) { // of a process that died since, something may be counted that came later
            const struct sim_bucket *bucket = &w->buckets[b];
            if (bucket->ps == ps && bucket->marked_life == link->met && n_lacking(w, bucket, left) < least)
                least = n_lacking(w, bucket, left);
        }
        bool is_known = least != UINT64_MAX && !link->is_back;
        bool is_exact = is_known && !link->setback.is_open;
        uint64_t n_uneven = w->servers[ps].n_deaths > 1 ? w->servers[ps].n_uneven : 0;
        if ((is_known && link->n_said > least) || (is_exact && link->n_said + n_torn + n_uneven < least))
            world_fail(w, "ps %zu lacks %llu updates at cut %llu, %llu are torn, and the chief says %llu", ps,
                       (unsigned long long)least, (unsigned long long)w->cuts.id, (unsigned long long)n_torn,
                       (unsigned long long)link->n_said);
    }
}

void oracle_begun_anew(struct world *w, const struct sim_checkpoint *from)
{
    for (size_t b = 0; b < w->n_buckets; b++) {
        struct sim_bucket *bucket = &w->buckets[b];
        memset(bucket->died, 0, n_batches(w));
        w->servers[bucket->ps].n_lost_max = w->servers[bucket->ps].n_lost_min = 0;
        if (from) {
            history_copy(w, &bucket->now, &from->buckets[b]);
            continue;
        }
        memset(bucket->now.applied, 0, n_batches(w));
        memset(bucket->now.ever, 0, n_batches(w));
        memset(bucket->now.lost, 0, n_batches(w));
    }
    w->n_acknowledged = 0;
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
    if (n_reported > w->n_acknowledged || (!was_any_fenced(w) && w->run == 1 && n_reported != w->chief.leases.n_total))
        world_fail(w, "%llu steps were reported of %llu acknowledged, of %llu in all", (unsigned long long)n_reported,
                   (unsigned long long)w->n_acknowledged, (unsigned long long)w->chief.leases.n_total);
}

// Every batch is on every bucket, but where it is torn, or was lost with a server.
static uint64_t check_presence(struct world *w)
{
    uint64_t n_ever_whole = 0;
    for (uint64_t at = 0; at < n_batches(w); at++) {
        size_t n_ever = 0;
        for (size_t b = 0; b < w->n_pushed; b++) {
            const struct sim_history *now = &w->buckets[b].now;
            n_ever += now->ever[at];
            if (now->ever[at] && !now->applied[at] && !now->lost[at])
                world_fail(w, "batch %llu was applied on bucket %zu and is not there, and no server has lost it",
                           (unsigned long long)at, b);
        }
        n_ever_whole += n_ever == w->n_pushed;
        if ((n_ever > 0) != (at < w->chief.leases.n_total))
            world_fail(w, "batch %llu was trained on %zu buckets, and the job has %llu", (unsigned long long)at, n_ever,
                       (unsigned long long)w->chief.leases.n_total);
    }
    return n_ever_whole;
}

void oracle_check_end(struct world *w)
{
    const struct mst_leases *leases = &w->chief.leases;
    if (w->fault[0])
        return;
    uint64_t n_whole = check_presence(w);
    uint64_t n_known;
    uint64_t n_torn = oracle_count_torn(w, history_now, NULL, &n_known);
    // A fence may find a batch that its worker had pushed everywhere but one bucket; never one that was pushed nowhere.
    if (leases->n_torn > n_torn || leases->n_torn < n_known)
        world_fail(w, "%llu batches: %llu applied, %llu torn, and the chief counted %llu done, %llu torn",
                   (unsigned long long)leases->n_total, (unsigned long long)n_whole, (unsigned long long)n_torn,
                   (unsigned long long)leases->n_done, (unsigned long long)leases->n_torn);
    // What a server lost before its worker reported it may be trained again.
    if (w->n_ps_deaths == 0 && w->n_acknowledged > n_whole)
        world_fail(w, "%llu batches acknowledged, %llu applied", (unsigned long long)w->n_acknowledged,
                   (unsigned long long)n_whole);
    check_sums(w);
}
