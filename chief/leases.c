#include "chief/leases.h"

#include "base/alloc.h"
#include "base/error.h"

#include <stdlib.h>
#include <string.h>

void mst_leases_init(struct mst_leases *leases, uint64_t n_batches, uint64_t n_epochs, uint64_t max_steps)
{
    MST_ASSERT(n_batches > 0 && n_epochs > 0);
    uint64_t n_total;
    if (__builtin_mul_overflow(n_batches, n_epochs, &n_total))
        n_total = UINT64_MAX;
    if (max_steps && max_steps < n_total)
        n_total = max_steps;
    *leases = (struct mst_leases){
        .n_batches = n_batches, .n_epochs = n_epochs, .n_planned = n_total, .n_total = n_total, .next_id = 1};
}

void mst_leases_fini(struct mst_leases *leases)
{
    free(leases->returned);
    free(leases->holders);
    free(leases->open_epochs);
    *leases = (struct mst_leases){0};
}

static uint64_t epoch_size(const struct mst_leases *leases, uint64_t epoch)
{
    uint64_t before = epoch * leases->n_batches;
    uint64_t left = leases->n_planned - before;
    return left < leases->n_batches ? left : leases->n_batches;
}

static void count_done(struct mst_leases *leases, uint64_t epoch, uint64_t n_batches)
{
    leases->n_done += n_batches;
    size_t at = (size_t)(epoch - leases->n_epochs_done);
    if (at >= leases->n_open_epochs) {
        leases->open_epochs = mst_realloc_array(leases->open_epochs, at + 1, sizeof(uint64_t));
        memset(leases->open_epochs + leases->n_open_epochs, 0, (at + 1 - leases->n_open_epochs) * sizeof(uint64_t));
        leases->n_open_epochs = at + 1;
    }
    leases->open_epochs[at] += n_batches;
    while (leases->n_open_epochs && leases->open_epochs[0] == epoch_size(leases, leases->n_epochs_done)) {
        leases->n_epochs_done++;
        leases->n_open_epochs--;
        memmove(leases->open_epochs, leases->open_epochs + 1, leases->n_open_epochs * sizeof(uint64_t));
    }
}

void mst_leases_skip(struct mst_leases *leases, uint64_t n_steps)
{
    MST_ASSERT(leases->n_granted == 0);
    leases->n_granted = n_steps < leases->n_total ? n_steps : leases->n_total;
    for (uint64_t left = leases->n_granted; left > 0;) {
        uint64_t size = epoch_size(leases, leases->n_epochs_done);
        uint64_t n = left < size ? left : size;
        count_done(leases, leases->n_epochs_done, n);
        left -= n;
    }
}

static struct mst_lease_holder *find_holder(struct mst_leases *leases, uint32_t worker, uint64_t number)
{
    for (size_t i = 0; i < leases->n_holders; i++)
        if (leases->holders[i].worker == worker && leases->holders[i].number == number)
            return &leases->holders[i];
    return NULL;
}

static struct mst_lease_holder *add_holder(struct mst_leases *leases, uint32_t worker, uint64_t number)
{
    leases->holders = mst_realloc_array(leases->holders, leases->n_holders + 1, sizeof *leases->holders);
    struct mst_lease_holder *holder = &leases->holders[leases->n_holders++];
    *holder = (struct mst_lease_holder){.worker = worker, .number = number};
    return holder;
}

static void push_returned(struct mst_leases *leases, struct mst_lease_range range)
{
    leases->returned = mst_realloc_array(leases->returned, leases->n_ranges + 1, sizeof *leases->returned);
    // Sorted by place, so that the oldest epoch is finished first.
    size_t at = leases->n_ranges++;
    while (at > 0 && (leases->returned[at - 1].epoch > range.epoch ||
                      (leases->returned[at - 1].epoch == range.epoch &&
                       leases->returned[at - 1].first_batch > range.first_batch))) {
        leases->returned[at] = leases->returned[at - 1];
        at--;
    }
    leases->returned[at] = range;
}

static bool cut_returned(struct mst_leases *leases, uint64_t want, struct mst_lease *out)
{
    if (leases->n_ranges == 0)
        return false;
    struct mst_lease_range *range = &leases->returned[0];
    out->epoch = range->epoch;
    out->first_batch = range->first_batch;
    out->n_batches = want < range->n_batches ? want : range->n_batches;
    range->first_batch += out->n_batches;
    range->n_batches -= out->n_batches;
    if (range->n_batches == 0) {
        leases->n_ranges--;
        memmove(leases->returned, leases->returned + 1, leases->n_ranges * sizeof *leases->returned);
    }
    return true;
}

static bool cut_new(struct mst_leases *leases, uint64_t want, struct mst_lease *out)
{
    uint64_t left = leases->n_total - leases->n_granted;
    if (left == 0)
        return false;
    out->epoch = leases->n_granted / leases->n_batches;
    out->first_batch = leases->n_granted % leases->n_batches;
    uint64_t left_of_epoch = leases->n_batches - out->first_batch;
    uint64_t n = want < left_of_epoch ? want : left_of_epoch;
    out->n_batches = n < left ? n : left;
    leases->n_granted += out->n_batches;
    return true;
}

enum mst_lease_kind mst_leases_grant(struct mst_leases *leases, uint32_t worker, uint64_t number, uint64_t seq,
                                     uint64_t want, struct mst_lease *out)
{
    *out = (struct mst_lease){0};
    struct mst_lease_holder *holder = find_holder(leases, worker, number);
    if (!holder)
        holder = add_holder(leases, worker, number);
    if (seq == holder->last_seq && holder->n_held && holder->held[holder->n_held - 1].seq == seq) {
        *out = holder->held[holder->n_held - 1];
        return MST_LEASE_GRANTED;
    }
    if (seq != holder->last_seq + 1)
        return MST_LEASE_REFUSED;
    if (mst_leases_finished(leases))
        return MST_LEASE_FINISHED;
    if (want == 0 || holder->n_held == MST_LEASES_PER_WORKER)
        return MST_LEASE_WAIT;
    if (leases->is_stopped || (!cut_returned(leases, want, out) && !cut_new(leases, want, out)))
        return MST_LEASE_WAIT;
    out->id = leases->next_id++;
    out->seq = seq;
    holder->last_seq = seq;
    holder->held[holder->n_held++] = *out;
    return MST_LEASE_GRANTED;
}

bool mst_leases_complete(struct mst_leases *leases, uint32_t worker, uint64_t number, uint64_t done_seq,
                         struct mst_lease *out)
{
    *out = (struct mst_lease){0};
    struct mst_lease_holder *holder = find_holder(leases, worker, number);
    if (!holder || holder->n_held == 0 || holder->held[0].seq > done_seq)
        return false;
    *out = holder->held[0];
    holder->n_held--;
    memmove(holder->held, holder->held + 1, holder->n_held * sizeof holder->held[0]);
    count_done(leases, out->epoch, out->n_batches);
    return true;
}

// Batches of a lease that a mark says are done.
static uint64_t done_of(const struct mst_lease *lease, struct mst_lease_mark mark)
{
    if (mark.lease > lease->id)
        return lease->n_batches;
    if (mark.lease < lease->id)
        return 0;
    return mark.offset < lease->n_batches ? mark.offset : lease->n_batches;
}

static bool is_before(struct mst_lease_mark a, struct mst_lease_mark b)
{
    return a.lease < b.lease || (a.lease == b.lease && a.offset < b.offset);
}

struct mst_leases_revoked mst_leases_revoke(struct mst_leases *leases, uint32_t worker, uint64_t number,
                                            const struct mst_lease_mark *marks, size_t n_marks)
{
    struct mst_leases_revoked revoked = {0};
    struct mst_lease_holder *holder = find_holder(leases, worker, number);
    if (!holder)
        return revoked;
    struct mst_lease_mark low = {0};
    struct mst_lease_mark high = {0};
    bool has_low = false;
    for (size_t i = 0; i < n_marks; i++) {
        if (!marks[i].is_restored && (!has_low || is_before(marks[i], low))) {
            low = marks[i];
            has_low = true;
        }
        if (i == 0 || is_before(high, marks[i]))
            high = marks[i];
    }
    if (!has_low)
        low = high;
    for (size_t i = 0; i < holder->n_held; i++) {
        const struct mst_lease *lease = &holder->held[i];
        uint64_t done = done_of(lease, high);
        revoked.n_done += done;
        if (done)
            count_done(leases, lease->epoch, done);
        revoked.n_torn += done - done_of(lease, low);
        revoked.n_returned += lease->n_batches - done;
        if (leases->is_stopped)
            leases->n_total -= lease->n_batches - done;
        else if (done < lease->n_batches)
            push_returned(leases,
                          (struct mst_lease_range){lease->epoch, lease->first_batch + done, lease->n_batches - done});
    }
    leases->n_torn += revoked.n_torn;
    *holder = leases->holders[--leases->n_holders];
    return revoked;
}

uint64_t mst_leases_n_held(const struct mst_leases *leases)
{
    uint64_t n = 0;
    for (size_t i = 0; i < leases->n_holders; i++)
        for (size_t k = 0; k < leases->holders[i].n_held; k++)
            n += leases->holders[i].held[k].n_batches;
    return n;
}

void mst_leases_stop(struct mst_leases *leases)
{
    leases->is_stopped = true;
    leases->n_ranges = 0;
    leases->n_total = leases->n_done + mst_leases_n_held(leases);
}

bool mst_leases_finished(const struct mst_leases *leases)
{
    return leases->n_done == leases->n_total;
}
