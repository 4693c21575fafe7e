// The chief's state from a parameter server or a checkpoint: what decodes must encode to something that decodes to the
// same, and a coordinator that takes it must be able to go on.
#include "chief/chief_state.h"

#include "base/error.h"
#include "muster/status.h"
#include "wire/worker_numbers.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { STATE_MAX = 16 << 20 };

static const struct mst_coordinator_config config = {
    .n_ps = 2, .n_batches = 40, .n_epochs = 5, .lease_ms = 300, .grace_ms = 50, .sleep_ms = 100, .n_sums = 3};

static void go_on(struct mst_coordinator *c)
{
    struct mst_lease_ask ask = {.worker = 0, .number = 1, .seq = 1};
    struct mst_lease_answer answer;
    double values[3] = {0};
    ask.sums = (struct mst_training_sums){.n_values = 3, .values = values};
    mst_chief_state_settle(c, NULL, 0);
    mst_membership_greet(&c->membership, 0, 5, 2000, &ask.number);
    MST_ASSERT(ask.number <= MST_NUMBER_MAX); // which every server takes
    mst_coordinator_ask(c, &ask, 2000, &answer);
    mst_coordinator_tick(c, 3000);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct mst_arena arena;
    struct mst_coordinator c, again;
    struct mst_chief_state state, state_again;
    struct mst_buf first, second;
    mst_arena_init(&arena, 2 * STATE_MAX);
    mst_coordinator_init(&c, &config);
    mst_coordinator_init(&again, &config);
    mst_buf_init(&first, STATE_MAX);
    mst_buf_init(&second, STATE_MAX);
    if (mst_chief_state_decode((struct mst_bytes){data, size}, &arena, &c, 1000, &state, NULL) == MST_OK) {
        mst_status status = mst_chief_state_encode(&state, &c, &first);
        MST_ASSERT(status == MST_OK);
        status = mst_chief_state_decode(mst_buf_view(&first), &arena, &again, 1000, &state_again, NULL);
        MST_ASSERT(status == MST_OK);
        status = mst_chief_state_encode(&state_again, &again, &second);
        MST_ASSERT(status == MST_OK && first.len == second.len);
        MST_ASSERT(first.len == 0 || memcmp(first.data, second.data, first.len) == 0);
        go_on(&c);
    }
    mst_arena_fini(&arena);
    mst_coordinator_fini(&c);
    mst_coordinator_fini(&again);
    mst_buf_fini(&first);
    mst_buf_fini(&second);
    return 0;
}
