// The structs of the coordinator and those of the wire are nearly the same; this copies one into the other and, on the
// way back, believes nothing: what is put together has to be a state that the coordinator can get into by itself.
#include "chief/chief_state.h"

#include "base/alloc.h"
#include "base/error.h"
#include "wire/worker_numbers.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

enum {
    RECONNECT_LEASES = 2,
    CALLBACKS_MAX = 1024,               // numbers that callbacks remember: more than they do
    BESIDE_BYTES = 2 * PATH_MAX + 1024, // of the paths of two checkpoints, and of plain numbers
};

// ---- to bytes ----

static void list_holders(const struct mst_coordinator *c, struct mst_msg_lease_holder *out,
                         struct mst_msg_held_lease *held)
{
    const struct mst_leases *leases = &c->leases;
    for (size_t i = 0; i < leases->n_holders; i++) {
        const struct mst_lease_holder *holder = &leases->holders[i];
        out[i] = (struct mst_msg_lease_holder){.worker = holder->worker,
                                               .number = holder->number,
                                               .last_seq = holder->last_seq,
                                               .n_held = holder->n_held,
                                               .held = held,
                                               .clock = mst_pacing_clock(&c->pacing, holder->worker, holder->number)};
        for (size_t k = 0; k < holder->n_held; k++) {
            const struct mst_lease *lease = &holder->held[k];
            *held++ =
                (struct mst_msg_held_lease){lease->id, lease->seq, lease->epoch, lease->first_batch, lease->n_batches};
        }
    }
}

static void list_returned(const struct mst_leases *leases, struct mst_msg_lease_range *out)
{
    for (size_t i = 0; i < leases->n_ranges; i++)
        out[i] = (struct mst_msg_lease_range){leases->returned[i].epoch, leases->returned[i].first_batch,
                                              leases->returned[i].n_batches};
}

static void list_members(const struct mst_membership *membership, struct mst_msg_member *out)
{
    for (size_t i = 0; i < membership->n_members; i++)
        out[i] = (struct mst_msg_member){(uint32_t)membership->members[i].state, membership->members[i].incarnation,
                                         membership->members[i].number};
}

static void list_sums(const struct mst_coordinator *c, struct mst_msg_epoch_sums *epochs, struct mst_msg_pace *paces)
{
    for (size_t i = 0; i < c->n_epoch_records; i++)
        epochs[i] = (struct mst_msg_epoch_sums){c->epochs[i].epoch, c->epochs[i].n_steps, c->epochs[i].sums};
    for (size_t i = 0; i < c->n_paces; i++)
        paces[i] = (struct mst_msg_pace){c->paces[i].number, c->paces[i].n_steps, c->paces[i].counted};
}

// Numbers alone.
static struct mst_msg_chief_state plain_of(const struct mst_chief_state *state, const struct mst_coordinator *c)
{
    const struct mst_leases *leases = &c->leases;
    return (struct mst_msg_chief_state){.map_term = state->map_term,
                                        .map_epoch = state->map_epoch,
                                        .plan_crc = state->plan_crc,
                                        .n_ps_threads = state->n_ps,
                                        .ps_threads = state->ps_threads,
                                        .restore_prefix = state->restore_prefix,
                                        .n_steps_resumed = state->n_steps_resumed,
                                        .checkpoint = state->checkpoint,
                                        .checkpoint_step = state->checkpoint_step,
                                        .is_finished = state->is_finished,
                                        .n_callbacks = state->n_numbers,
                                        .callbacks = (const uint64_t *)state->numbers,
                                        .last_epoch = {state->last.epoch, state->last.n_steps, state->last.sums},
                                        .trained_ms = state->trained_ms,
                                        .first_step_ms = state->first_step_ms,
                                        .n_lost_updates = state->n_lost_updates,
                                        .evaluated = state->evaluated,
                                        .evaluated_step = state->evaluated_step,
                                        .n_checkpoint_rows = state->n_checkpoint_rows,
                                        .checkpoint_rows = state->checkpoint_rows,
                                        .n_untold = state->n_untold,
                                        .untold = state->untold,
                                        .has_close = state->has_close,
                                        .close = state->close,
                                        .n_setbacks = state->n_setbacks,
                                        .setbacks = state->setbacks,
                                        .order = c->order,
                                        .order_seed = c->order_seed,
                                        .n_batches = leases->n_batches,
                                        .n_epochs = leases->n_epochs,
                                        .is_stopped = leases->is_stopped,
                                        .n_total = leases->n_total,
                                        .n_granted = leases->n_granted,
                                        .n_done = leases->n_done,
                                        .n_torn = leases->n_torn,
                                        .n_epochs_done = leases->n_epochs_done,
                                        .n_open_epochs = leases->n_open_epochs,
                                        .open_epochs = leases->open_epochs,
                                        .next_id = leases->next_id,
                                        .lowest_clock = c->pacing.lowest,
                                        .total = c->total,
                                        .counted = c->is_synchronous ? c->counted : (struct mst_training_sums){0},
                                        .first_epoch = c->first_epoch};
}

// And what was evaluated. All sums, for what workers report is cumulative: what was counted and what it was counted
// into belong together.
static void leave_out_sums(struct mst_msg_chief_state *message, struct mst_msg_epoch_sums *epochs,
                           struct mst_msg_pace *paces)
{
    message->last_epoch.sums = message->total = message->counted = (struct mst_training_sums){0};
    message->n_untold = 0; // without sums there is nothing to tell
    message->evaluated = NULL;
    for (size_t i = 0; i < message->n_epoch_sums; i++)
        epochs[i].sums = (struct mst_training_sums){0};
    for (size_t i = 0; i < message->n_paces; i++)
        paces[i] = (struct mst_msg_pace){.number = paces[i].number};
}

mst_status mst_chief_state_encode(const struct mst_chief_state *state, const struct mst_coordinator *c,
                                  struct mst_buf *out)
{
    const struct mst_leases *leases = &c->leases;
    size_t before = out->len;
    struct mst_msg_chief_state message = plain_of(state, c);
    struct mst_msg_lease_holder *holders = mst_alloc_array(leases->n_holders, sizeof *holders);
    struct mst_msg_held_lease *held = mst_alloc_array(leases->n_holders * MST_LEASES_PER_WORKER, sizeof *held);
    struct mst_msg_lease_range *returned = mst_alloc_array(leases->n_ranges, sizeof *returned);
    struct mst_msg_member *members = mst_alloc_array(c->membership.n_members, sizeof *members);
    struct mst_msg_epoch_sums *epochs = mst_alloc_array(c->n_epoch_records, sizeof *epochs);
    struct mst_msg_pace *paces = mst_alloc_array(c->n_paces, sizeof *paces);
    list_holders(c, holders, held);
    list_returned(leases, returned);
    list_members(&c->membership, members);
    list_sums(c, epochs, paces);
    message.n_holders = leases->n_holders;
    message.holders = holders;
    message.n_returned = leases->n_ranges;
    message.returned = returned;
    message.n_members = c->membership.n_members;
    message.members = members;
    message.n_epoch_sums = c->n_epoch_records;
    message.epoch_sums = epochs;
    message.n_paces = c->n_paces;
    message.paces = paces;
    mst_status status = mst_msg_chief_state_encode(&message, out);
    if (status != MST_OK) {
        out->len = before;
        leave_out_sums(&message, epochs, paces);
        status = mst_msg_chief_state_encode(&message, out);
    }
    free(holders);
    free(held);
    free(returned);
    free(members);
    free(epochs);
    free(paces);
    return status;
}

// ---- what bytes say, checked ----

static uint64_t epoch_size(const struct mst_leases *leases, uint64_t epoch)
{
    uint64_t left = leases->n_planned - epoch * leases->n_batches;
    return left < leases->n_batches ? left : leases->n_batches;
}

static mst_status odd(struct mst_error *err, const char *what)
{
    return mst_fail(err, MST_INVALID_ARGUMENT, "a chief's state is damaged: %s", what);
}

// Epochs that have at least one batch.
static uint64_t n_epochs_planned(const struct mst_leases *leases)
{
    return leases->n_planned / leases->n_batches + (leases->n_planned % leases->n_batches != 0);
}

static bool is_range(const struct mst_leases *leases, uint64_t epoch, uint64_t first, uint64_t n)
{
    return epoch < n_epochs_planned(leases) && n > 0 && first < epoch_size(leases, epoch) &&
           n <= epoch_size(leases, epoch) - first;
}

static mst_status check_clocks(const struct mst_msg_chief_state *m, const struct mst_leases *leases,
                               struct mst_error *err)
{
    uint64_t highest = m->lowest_clock;
    for (size_t i = 0; i < m->n_holders; i++)
        if (m->holders[i].clock > highest)
            highest = m->holders[i].clock;
    return highest <= leases->n_planned ? MST_OK : odd(err, "a worker's clock is beyond the job's steps");
}

// Batches that are returned or held, in *out; ranges have to lie in their epochs, in order.
static mst_status count_open(const struct mst_msg_chief_state *m, const struct mst_leases *leases, uint64_t *out,
                             struct mst_error *err)
{
    *out = 0;
    for (size_t i = 0; i < m->n_returned; i++) {
        const struct mst_msg_lease_range *range = &m->returned[i];
        if (!is_range(leases, range->epoch, range->first_batch, range->n_batches))
            return odd(err, "a returned range lies outside its epoch");
        *out += range->n_batches;
    }
    for (size_t i = 0; i < m->n_holders; i++) {
        const struct mst_msg_lease_holder *holder = &m->holders[i];
        if (holder->n_held > MST_LEASES_PER_WORKER || holder->worker >= m->n_members || holder->number == 0)
            return odd(err, "a holder of leases is nobody, or holds too many");
        for (size_t k = 0; k < holder->n_held; k++) {
            const struct mst_msg_held_lease *lease = &holder->held[k];
            if (!is_range(leases, lease->epoch, lease->first_batch, lease->n_batches) || lease->id >= m->next_id ||
                lease->seq > holder->last_seq)
                return odd(err, "a lease lies outside its epoch, or was never given");
            *out += lease->n_batches;
        }
        for (size_t k = 0; k < i; k++)
            if (m->holders[k].worker == holder->worker && m->holders[k].number == holder->number)
                return odd(err, "one incarnation holds leases twice");
    }
    return MST_OK;
}

// One that was written before orders were said fits any.
static mst_status check_order(const struct mst_msg_chief_state *m, const struct mst_coordinator *c,
                              struct mst_error *err)
{
    if (m->order == MST_BATCH_ORDER_UNSAID || c->order == MST_BATCH_ORDER_UNSAID)
        return MST_OK;
    if (m->order != (uint32_t)c->order)
        return mst_fail(err, MST_INVALID_ARGUMENT,
                        "a chief's state is of a job that %s its examples, and this one %s: train.shuffle changed, so "
                        "which examples of an epoch are left is not known",
                        m->order == MST_BATCH_ORDER_FILE ? "did not shuffle" : "shuffled",
                        c->order == MST_BATCH_ORDER_FILE ? "does not" : "does");
    if (m->order_seed != c->order_seed)
        return mst_fail(err, MST_INVALID_ARGUMENT,
                        "a chief's state is of a job with seed %llu, this one has %llu: its epochs have another order, "
                        "so which examples of an epoch are left is not known",
                        (unsigned long long)m->order_seed, (unsigned long long)c->order_seed);
    return MST_OK;
}

static mst_status check_counts(const struct mst_msg_chief_state *m, const struct mst_leases *leases,
                               struct mst_error *err)
{
    uint64_t n_epochs = n_epochs_planned(leases);
    if (m->n_batches != leases->n_batches)
        return mst_fail(err, MST_INVALID_ARGUMENT,
                        "a chief's state is of a job with %llu batches an epoch, this one has %llu: the data, "
                        "batch_size or accumulate_steps changed",
                        (unsigned long long)m->n_batches, (unsigned long long)leases->n_batches);
    if (m->n_granted > leases->n_planned)
        return mst_fail(err, MST_INVALID_ARGUMENT,
                        "a chief's state has given out %llu steps, and the job has %llu: it became shorter",
                        (unsigned long long)m->n_granted, (unsigned long long)leases->n_planned);
    if (m->n_epochs_done > n_epochs || m->n_open_epochs > n_epochs - m->n_epochs_done || m->next_id == 0 ||
        m->n_done > m->n_granted || m->n_torn > m->n_done)
        return odd(err, "it has done more than there is");
    uint64_t n_done = m->n_epochs_done * leases->n_batches;
    if (n_done > leases->n_planned)
        n_done = leases->n_planned;
    for (size_t i = 0; i < m->n_open_epochs; i++) {
        if (m->open_epochs[i] > epoch_size(leases, m->n_epochs_done + i))
            return odd(err, "an epoch has more batches done than it has");
        n_done += m->open_epochs[i];
    }
    uint64_t n_open;
    MST_TRY(count_open(m, leases, &n_open, err));
    if (n_done != m->n_done || n_open > m->n_granted - m->n_done ||
        (!m->is_stopped && n_open != m->n_granted - m->n_done) || (m->is_stopped && m->n_total != n_done + n_open))
        return odd(err, "batches are missing, or there twice");
    return MST_OK;
}

static mst_status check_sums(const struct mst_training_sums *sums, size_t n_values, struct mst_error *err)
{
    return sums->n_values == 0 || sums->n_values == n_values ? MST_OK : odd(err, "it is of other measures");
}

static mst_status check_members(const struct mst_msg_chief_state *m, struct mst_error *err)
{
    if (m->n_members > MST_WORKERS_MAX || m->n_paces > m->n_members)
        return odd(err, "it has too many workers");
    for (size_t i = 0; i < m->n_members; i++)
        if (m->members[i].state > MST_MEMBER_AWAITED ||
            (m->members[i].state != MST_MEMBER_ABSENT && m->members[i].number == 0))
            return odd(err, "a member is in no state");
    // The next number of each is one more.
    for (size_t i = 0; i < m->n_members; i++)
        if (m->members[i].number >= MST_NUMBER_MAX)
            return odd(err, "a member has a number that no chief gives");
    if (mst_worker_rows_check(m->checkpoint_rows, m->n_checkpoint_rows, NULL) != MST_OK)
        return odd(err, "a row is of a worker that cannot be");
    return MST_OK;
}

static mst_status check_rest(const struct mst_msg_chief_state *m, const struct mst_coordinator *c,
                             struct mst_error *err)
{
    MST_TRY(check_members(m, err));
    if (m->n_setbacks && m->n_setbacks != m->n_ps_threads)
        return odd(err, "it is of other parameter servers");
    uint64_t n_epochs = n_epochs_planned(&c->leases);
    if ((!c->is_synchronous && m->first_epoch > m->n_epochs_done) || m->first_epoch > n_epochs ||
        m->n_epoch_sums > n_epochs - m->first_epoch)
        return odd(err, "its epochs are not in order");
    MST_TRY(check_sums(&m->total, c->n_sums, err));
    MST_TRY(check_sums(&m->counted, c->n_sums, err));
    MST_TRY(check_sums(&m->last_epoch.sums, c->n_sums, err));
    for (size_t i = 0; i < m->n_untold; i++)
        MST_TRY(check_sums(&m->untold[i].sums, c->n_sums, err));
    for (size_t i = 0; i < m->n_epoch_sums; i++) {
        if (!c->is_synchronous && m->epoch_sums[i].epoch != m->first_epoch + i)
            return odd(err, "its epochs are not in order");
        MST_TRY(check_sums(&m->epoch_sums[i].sums, c->n_sums, err));
    }
    for (size_t i = 0; i < m->n_paces; i++)
        MST_TRY(check_sums(&m->paces[i].counted, c->n_sums, err));
    return MST_OK;
}

// ---- into the coordinator ----

static void take_leases(const struct mst_msg_chief_state *m, struct mst_leases *leases)
{
    leases->is_stopped = m->is_stopped;
    leases->n_total = m->is_stopped ? m->n_total : leases->n_planned;
    leases->n_granted = m->n_granted;
    leases->n_done = m->n_done;
    leases->n_torn = m->n_torn;
    leases->n_epochs_done = m->n_epochs_done;
    leases->next_id = m->next_id;
    leases->n_open_epochs = m->n_open_epochs;
    leases->open_epochs = mst_realloc_array(leases->open_epochs, m->n_open_epochs + 1, sizeof(uint64_t));
    for (size_t i = 0; i < m->n_open_epochs; i++)
        leases->open_epochs[i] = m->open_epochs[i];
    leases->n_ranges = m->n_returned;
    leases->returned = mst_realloc_array(leases->returned, m->n_returned + 1, sizeof *leases->returned);
    for (size_t i = 0; i < m->n_returned; i++)
        leases->returned[i] =
            (struct mst_lease_range){m->returned[i].epoch, m->returned[i].first_batch, m->returned[i].n_batches};
    leases->n_holders = m->n_holders;
    leases->holders = mst_realloc_array(leases->holders, m->n_holders + 1, sizeof *leases->holders);
    for (size_t i = 0; i < m->n_holders; i++) {
        const struct mst_msg_lease_holder *from = &m->holders[i];
        struct mst_lease_holder *to = &leases->holders[i];
        *to = (struct mst_lease_holder){
            .worker = from->worker, .number = from->number, .last_seq = from->last_seq, .n_held = from->n_held};
        for (size_t k = 0; k < from->n_held; k++)
            to->held[k] = (struct mst_lease){from->held[k].id, from->held[k].seq, from->held[k].epoch,
                                             from->held[k].first_batch, from->held[k].n_batches};
    }
}

// Those that were left out, or never were, are zero.
static void take_sums(struct mst_training_sums *to, const struct mst_training_sums *from)
{
    if (from->n_values == to->n_values)
        mst_training_sums_copy(to, from);
    else
        mst_training_sums_clear(to);
}

static void take_epochs(const struct mst_msg_chief_state *m, struct mst_coordinator *c)
{
    c->first_epoch = m->first_epoch;
    c->n_epoch_records = m->n_epoch_sums;
    c->epochs = mst_realloc_array(c->epochs, m->n_epoch_sums + 1, sizeof *c->epochs);
    for (size_t i = 0; i < m->n_epoch_sums; i++) {
        c->epochs[i] = (struct mst_epoch_record){.epoch = m->epoch_sums[i].epoch, .n_steps = m->epoch_sums[i].n_steps};
        mst_training_sums_init(&c->epochs[i].sums, c->n_sums);
        take_sums(&c->epochs[i].sums, &m->epoch_sums[i].sums);
    }
}

static void take_paces(const struct mst_msg_chief_state *m, struct mst_coordinator *c)
{
    c->n_paces = m->n_paces;
    c->paces = mst_realloc_array(c->paces, m->n_paces + 1, sizeof *c->paces);
    for (size_t i = 0; i < m->n_paces; i++) {
        c->paces[i] = (struct mst_worker_pace){.number = m->paces[i].number, .n_steps = m->paces[i].n_steps};
        mst_training_sums_init(&c->paces[i].counted, c->n_sums);
        take_sums(&c->paces[i].counted, &m->paces[i].counted);
    }
}

// What a worker holds is ahead of it. Who is being fenced holds nobody back.
static void take_pacing(const struct mst_msg_chief_state *m, struct mst_pacing *pacing)
{
    pacing->lowest = m->lowest_clock;
    for (size_t i = 0; i < m->n_holders; i++) {
        const struct mst_msg_lease_holder *holder = &m->holders[i];
        const struct mst_msg_member *member = &m->members[holder->worker];
        if (member->state != MST_MEMBER_LIVE || member->number != holder->number)
            continue;
        uint64_t n_ahead = 0;
        for (size_t k = 0; k < holder->n_held; k++)
            n_ahead += holder->held[k].n_batches;
        mst_pacing_restore(pacing, holder->worker, holder->number, holder->clock, n_ahead);
    }
}

static void take_members(const struct mst_msg_chief_state *m, struct mst_membership *membership, uint64_t silent_at_ms)
{
    for (size_t i = 0; i < m->n_members; i++)
        mst_membership_restore(membership, (uint32_t)i, (enum mst_member_state)m->members[i].state,
                               m->members[i].incarnation, m->members[i].number, silent_at_ms);
}

mst_status mst_chief_state_decode(struct mst_bytes bytes, struct mst_arena *arena, struct mst_coordinator *c,
                                  uint64_t now_ms, struct mst_chief_state *out, struct mst_error *err)
{
    *out = (struct mst_chief_state){0};
    struct mst_msg_chief_state m;
    MST_TRY(mst_msg_chief_state_decode(bytes, arena, &m, err));
    MST_TRY(check_counts(&m, &c->leases, err));
    MST_TRY(check_order(&m, c, err));
    MST_TRY(check_clocks(&m, &c->leases, err));
    MST_TRY(check_rest(&m, c, err));
    take_leases(&m, &c->leases);
    take_sums(&c->total, &m.total);
    if (c->is_synchronous)
        take_sums(&c->counted, &m.counted);
    take_epochs(&m, c);
    take_paces(&m, c);
    take_pacing(&m, &c->pacing);
    take_members(&m, &c->membership, now_ms + RECONNECT_LEASES * c->membership.lease_ms);
    *out = (struct mst_chief_state){.map_term = m.map_term,
                                    .map_epoch = m.map_epoch,
                                    .plan_crc = m.plan_crc,
                                    .n_ps = m.n_ps_threads,
                                    .ps_threads = m.ps_threads,
                                    .restore_prefix = m.restore_prefix,
                                    .n_steps_resumed = m.n_steps_resumed,
                                    .checkpoint = m.checkpoint,
                                    .checkpoint_step = m.checkpoint_step,
                                    .is_finished = m.is_finished,
                                    .n_numbers = m.n_callbacks,
                                    .numbers = (const int64_t *)m.callbacks,
                                    .last = {m.last_epoch.epoch, m.last_epoch.n_steps, m.last_epoch.sums},
                                    .trained_ms = m.trained_ms,
                                    .first_step_ms = m.first_step_ms,
                                    .n_lost_updates = m.n_lost_updates,
                                    .evaluated = m.evaluated,
                                    .evaluated_step = m.evaluated_step,
                                    .n_checkpoint_rows = m.n_checkpoint_rows,
                                    .checkpoint_rows = m.checkpoint_rows,
                                    .n_untold = m.n_untold,
                                    .untold = m.untold,
                                    .has_close = m.has_close,
                                    .close = m.close,
                                    .n_setbacks = m.n_setbacks,
                                    .setbacks = m.setbacks};
    return MST_OK;
}

// ---- how large it can be ----

static uint64_t bytes_of(const struct mst_msg_chief_state *state)
{
    struct mst_buf buf;
    mst_buf_init(&buf, SIZE_MAX / 4);
    mst_status status = mst_msg_chief_state_encode(state, &buf);
    MST_ASSERT(status == MST_OK); // it is given all the room that it takes
    uint64_t n_bytes = buf.len;
    mst_buf_fini(&buf);
    return n_bytes;
}

uint64_t mst_chief_state_bytes(const struct mst_msg_chief_state *parts)
{
    return bytes_of(parts) - bytes_of(&(struct mst_msg_chief_state){0});
}

uint64_t mst_chief_state_own_bytes(size_t n_ps)
{
    size_t n_numbers = n_ps + CALLBACKS_MAX;
    uint64_t *numbers = mst_alloc_array(n_numbers, sizeof *numbers);
    struct mst_msg_setback *setbacks = mst_alloc_array(n_ps, sizeof *setbacks);
    memset(numbers, 0xff, n_numbers * sizeof *numbers);
    for (size_t i = 0; i < n_ps; i++)
        setbacks[i] = (struct mst_msg_setback){true, true, UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX};
    uint64_t n_bytes = mst_chief_state_bytes(&(struct mst_msg_chief_state){.n_ps_threads = n_ps,
                                                                           .ps_threads = numbers,
                                                                           .n_callbacks = CALLBACKS_MAX,
                                                                           .callbacks = numbers,
                                                                           .n_setbacks = n_ps,
                                                                           .setbacks = setbacks});
    free(numbers);
    free(setbacks);
    return n_bytes + BESIDE_BYTES;
}

// ---- for a checkpoint ----

mst_status mst_chief_state_check_order(struct mst_bytes bytes, struct mst_arena *arena, const struct mst_coordinator *c,
                                       struct mst_error *err)
{
    struct mst_msg_chief_state m;
    MST_TRY(mst_msg_chief_state_decode(bytes, arena, &m, err));
    return check_order(&m, c, err);
}

mst_status mst_chief_state_members(struct mst_bytes bytes, struct mst_arena *arena, struct mst_membership *members,
                                   struct mst_error *err)
{
    struct mst_msg_chief_state m;
    MST_TRY(mst_msg_chief_state_decode(bytes, arena, &m, err));
    MST_TRY(check_members(&m, err));
    take_members(&m, members, 0);
    return MST_OK;
}

struct mst_leases_revoked mst_chief_state_settle(struct mst_coordinator *c, const struct mst_chief_state_row *rows,
                                                 size_t n_rows)
{
    struct mst_leases_revoked all = {0};
    struct mst_lease_mark *marks = mst_alloc_array(n_rows + 1, sizeof *marks);
    while (c->leases.n_holders > 0) {
        const struct mst_lease_holder holder = c->leases.holders[0];
        size_t n_marks = 0;
        for (size_t i = 0; i < n_rows; i++)
            if (rows[i].worker == holder.worker) // a row of another number knows nothing of these leases
                marks[n_marks++] = rows[i].number == holder.number
                                       ? (struct mst_lease_mark){.lease = rows[i].lease, .offset = rows[i].offset}
                                       : (struct mst_lease_mark){0};
        struct mst_leases_revoked one = mst_leases_revoke(&c->leases, holder.worker, holder.number, marks, n_marks);
        all.n_done += one.n_done;
        all.n_torn += one.n_torn;
        all.n_returned += one.n_returned;
    }
    free(marks);
    uint64_t limit = c->pacing.limit;
    mst_pacing_fini(&c->pacing);
    mst_pacing_init(&c->pacing, limit); // all start level
    mst_membership_begin_again(&c->membership, 0, 0);
    return all;
}
