// The largest state is made and measured, so that a field that it gets later counts, too. Sums are not in it: they are
// left out where there is no room.
#include "chief/lease_sizes.h"

#include "base/error.h"
#include "chief/chief_state.h"
#include "wire/worker_numbers.h"

// What each worker adds. Every lease has at least one batch, and one that is torn is given again, seldom twice.
static uint64_t worker_bytes(const struct mst_coordinator_config *config, uint64_t n_planned)
{
    const uint64_t count = 2 * n_planned;
    const uint32_t worker = MST_WORKERS_MAX;
    const uint64_t number = MST_NUMBER_MAX;
    const struct mst_msg_held_lease lease = {count, count, config->n_epochs, config->n_batches, config->n_batches};
    const struct mst_msg_held_lease held[MST_LEASES_PER_WORKER] = {lease, lease};
    const struct mst_msg_lease_holder holder = {worker, number, count, MST_LEASES_PER_WORKER, held, count};
    const struct mst_msg_lease_range range = {config->n_epochs, config->n_batches, config->n_batches};
    const struct mst_msg_lease_range returned[MST_LEASES_PER_WORKER] = {range, range};
    const struct mst_msg_member member = {MST_MEMBER_AWAITED, UINT64_MAX, number};
    const struct mst_msg_pace pace = {.number = number};
    const struct mst_msg_client_row row = {
        .worker = worker, .number = number, .step = count, .lease = count, .offset = config->n_batches};
    return mst_chief_state_bytes(&(struct mst_msg_chief_state){.n_holders = 1,
                                                               .holders = &holder,
                                                               .n_returned = MST_LEASES_PER_WORKER,
                                                               .returned = returned,
                                                               .n_members = 1,
                                                               .members = &member,
                                                               .n_paces = 1,
                                                               .paces = &pace,
                                                               .n_checkpoint_rows = 1,
                                                               .checkpoint_rows = &row});
}

// Epochs are open, besides the one that is given out, as long as leases of them are held or came back.
static uint64_t epochs_bytes(const struct mst_coordinator_config *config, size_t n_workers)
{
    const uint64_t n_batches = config->n_batches;
    const struct mst_msg_epoch_sums sums = {.epoch = config->n_epochs, .n_steps = n_batches};
    const struct mst_msg_chief_state state = {
        .n_open_epochs = 1, .open_epochs = &n_batches, .n_epoch_sums = 1, .epoch_sums = &sums};
    uint64_t n_open = 2 * MST_LEASES_PER_WORKER * n_workers / n_batches + 2;
    return (n_open < config->n_epochs ? n_open : config->n_epochs) * mst_chief_state_bytes(&state);
}

mst_status mst_lease_sizes_check(const struct mst_coordinator_config *config, size_t n_workers, struct mst_error *err)
{
    uint64_t n_planned;
    if (__builtin_mul_overflow(config->n_batches, config->n_epochs, &n_planned) || n_planned > UINT64_MAX / 4)
        n_planned = UINT64_MAX / 4;
    uint64_t n_bytes = mst_chief_state_own_bytes(config->n_ps) + epochs_bytes(config, n_workers) +
                       n_workers * worker_bytes(config, n_planned);
    if (n_bytes <= MST_CHIEF_STATE_MAX)
        return MST_OK;
    return mst_fail(err, MST_INVALID_ARGUMENT,
                    "what a later chief has to know of %zu workers and %zu parameter servers may take %llu bytes, over "
                    "the limit of %u: use fewer workers",
                    n_workers, config->n_ps, (unsigned long long)n_bytes, MST_CHIEF_STATE_MAX);
}
