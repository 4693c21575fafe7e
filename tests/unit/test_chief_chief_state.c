// The chief's state there and back: what comes out is the same coordinator, which goes on as the old one would have;
// and bytes that cannot be are refused.
#include "chief/chief_state.h"

#include "base/alloc.h"
#include "base/rng.h"
#include "muster/status.h"
#include "wire/worker_numbers.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { N_PS = 2, N_SUMS = 3, LEASE_MS = 300, BATCHES = 40, EPOCHS = 5, STATE_MAX = 1 << 20 };

static const struct mst_coordinator_config config = {.n_ps = N_PS,
                                                     .n_batches = BATCHES,
                                                     .n_epochs = EPOCHS,
                                                     .lease_ms = LEASE_MS,
                                                     .grace_ms = 50,
                                                     .sleep_ms = 100000,
                                                     .n_sums = N_SUMS};

struct fixture {
    struct mst_coordinator old;
    struct mst_coordinator new;
    struct mst_buf bytes;
    struct mst_buf again;
    struct mst_arena arena;
};

static int set_up(void **state)
{
    struct fixture *f = *state = mst_alloc(sizeof *f);
    mst_coordinator_init(&f->old, &config);
    mst_coordinator_init(&f->new, &config);
    mst_buf_init(&f->bytes, STATE_MAX);
    mst_buf_init(&f->again, STATE_MAX);
    mst_arena_init(&f->arena, MST_MSG_ARENA_MAX);
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    mst_coordinator_fini(&f->old);
    mst_coordinator_fini(&f->new);
    mst_buf_fini(&f->bytes);
    mst_buf_fini(&f->again);
    mst_arena_fini(&f->arena);
    free(f);
    return 0;
}

static const uint64_t threads[N_PS] = {2, 1};
static const int64_t numbers[] = {-1, INT64_MIN, 7};
static const struct mst_msg_epoch_sums untold[] = {{.epoch = 1, .n_steps = 20}, {.epoch = 2, .n_steps = 30}};
static const struct mst_msg_setback setbacks[N_PS] = {
    {.is_gone = true, .n_steps = 16},
    {.is_open = true, .n_steps = 17, .n_torn = 20, .from_step = 18, .counted_step = 19}};
static const struct mst_msg_client_row checkpoint_rows[] = {
    {.worker = 1, .number = 2, .step = 3, .lease = 4, .offset = 5}};

// What stands beside the coordinator.
static struct mst_chief_state beside(void)
{
    return (struct mst_chief_state){.map_term = 2,
                                    .map_epoch = 1,
                                    .plan_crc = 77,
                                    .n_ps = N_PS,
                                    .ps_threads = threads,
                                    .restore_prefix = "ckpt/model-3",
                                    .n_steps_resumed = 3,
                                    .checkpoint = "ckpt/model-9",
                                    .checkpoint_step = 9,
                                    .is_finished = true,
                                    .n_numbers = 3,
                                    .numbers = numbers,
                                    .trained_ms = 12,
                                    .first_step_ms = 13,
                                    .n_lost_updates = 14,
                                    .evaluated = "[{}]",
                                    .evaluated_step = 15,
                                    .n_checkpoint_rows = 1,
                                    .checkpoint_rows = checkpoint_rows,
                                    .n_untold = 2,
                                    .untold = untold,
                                    .n_setbacks = N_PS,
                                    .setbacks = setbacks};
}

static void encode(struct fixture *f)
{
    struct mst_chief_state state = beside();
    mst_buf_reset(&f->bytes);
    assert_int_equal(mst_chief_state_encode(&state, &f->old, &f->bytes), MST_OK);
}

static mst_status decode(struct fixture *f, struct mst_bytes bytes, struct mst_chief_state *out, struct mst_error *err)
{
    mst_coordinator_fini(&f->new);
    mst_coordinator_init(&f->new, &config);
    return mst_chief_state_decode(bytes, &f->arena, &f->new, 1000, out, err);
}

static void there_and_back(struct fixture *f)
{
    struct mst_chief_state state;
    encode(f);
    assert_int_equal(decode(f, mst_buf_view(&f->bytes), &state, NULL), MST_OK);
    mst_buf_reset(&f->again);
    assert_int_equal(mst_chief_state_encode(&state, &f->new, &f->again), MST_OK);
    assert_int_equal(f->again.len, f->bytes.len);
    assert_memory_equal(f->again.data, f->bytes.data, f->bytes.len);
}

static uint64_t greet(struct mst_coordinator *c, uint32_t worker, uint64_t incarnation, uint64_t now_ms)
{
    uint64_t number;
    mst_membership_greet(&c->membership, worker, incarnation, now_ms, &number);
    return number;
}

static struct mst_lease_answer ask(struct mst_coordinator *c, uint32_t worker, uint64_t number, uint64_t seq,
                                   uint64_t done_seq, uint64_t now_ms)
{
    double values[N_SUMS] = {0.5 * (double)done_seq, 1, -2};
    struct mst_lease_ask question = {.worker = worker, .number = number, .seq = seq, .done_seq = done_seq};
    question.sums = (struct mst_training_sums){
        .steps = 4 * done_seq, .examples = 64 * done_seq, .n_values = N_SUMS, .values = values};
    struct mst_lease_answer answer;
    mst_coordinator_ask(c, &question, now_ms, &answer);
    return answer;
}

// Workers 0 and 2 hold leases, of 1 some work was returned.
static void play(struct fixture *f)
{
    for (uint32_t worker = 0; worker < 3; worker++)
        assert_int_equal(greet(&f->old, worker, 100 + worker, 10), 1);
    for (uint32_t worker = 0; worker < 3; worker++)
        for (uint64_t seq = 1; seq <= 2; seq++)
            assert_int_equal(ask(&f->old, worker, 1, seq, 0, 20).kind, MST_ANSWER_LEASE);
    assert_int_equal(ask(&f->old, 0, 1, 3, 1, 40).kind, MST_ANSWER_LEASE);
    mst_membership_leave(&f->old.membership, 1, 1, "it left", 50);
    mst_coordinator_tick(&f->old, 50);
}

static void answer_fences(struct mst_coordinator *c, uint64_t offset, struct mst_leases_revoked *revoked)
{
    struct mst_fence fence;
    for (size_t cursor = 0; mst_membership_next_fence(&c->membership, &cursor, &fence);) {
        struct mst_lease_mark mark = {.lease = 3, .offset = fence.ps == 0 ? offset : offset - 1};
        mst_coordinator_fence_answered(c, &fence, &mark, 1, revoked);
    }
}

static void test_an_empty_one(void **state)
{
    struct fixture *f = *state;
    there_and_back(f);
}

static void test_all_that_stands_beside(void **state)
{
    struct fixture *f = *state;
    struct mst_chief_state got, want = beside();
    encode(f);
    assert_int_equal(decode(f, mst_buf_view(&f->bytes), &got, NULL), MST_OK);
    assert_int_equal(got.map_term, want.map_term);
    assert_int_equal(got.map_epoch, want.map_epoch);
    assert_int_equal(got.plan_crc, want.plan_crc);
    assert_int_equal(got.n_ps, want.n_ps);
    assert_memory_equal(got.ps_threads, threads, sizeof threads);
    assert_string_equal(got.restore_prefix, want.restore_prefix);
    assert_int_equal(got.n_steps_resumed, want.n_steps_resumed);
    assert_string_equal(got.checkpoint, want.checkpoint);
    assert_int_equal(got.checkpoint_step, want.checkpoint_step);
    assert_true(got.is_finished);
    assert_int_equal(got.n_numbers, want.n_numbers);
    assert_memory_equal(got.numbers, numbers, sizeof numbers);
    assert_int_equal(got.trained_ms, want.trained_ms);
    assert_int_equal(got.first_step_ms, want.first_step_ms);
    assert_int_equal(got.n_lost_updates, want.n_lost_updates);
    assert_int_equal(got.n_checkpoint_rows, 1);
    assert_int_equal(got.checkpoint_rows[0].step, 3);
    assert_int_equal(got.n_untold, 2);
    assert_int_equal(got.untold[0].epoch, 1);
    assert_int_equal(got.untold[1].n_steps, 30);
    assert_string_equal(got.evaluated, want.evaluated);
    assert_int_equal(got.evaluated_step, want.evaluated_step);
    assert_int_equal(got.n_setbacks, N_PS);
    assert_true(got.setbacks[0].is_gone);
    assert_false(got.setbacks[0].is_open);
    assert_int_equal(got.setbacks[0].n_steps, 16);
    assert_false(got.setbacks[1].is_gone);
    assert_true(got.setbacks[1].is_open);
    assert_int_equal(got.setbacks[1].n_torn, 20);
    assert_int_equal(got.setbacks[1].from_step, 18);
    assert_int_equal(got.setbacks[1].counted_step, 19);
}

// Field 37 was a bool once, and is in checkpoints.
static void test_a_field_of_before_is_passed_over(void **state)
{
    static const uint8_t field_37[] = {0xa8, 0x02, 0x01};
    struct fixture *f = *state;
    struct mst_chief_state got;
    encode(f);
    assert_int_equal(mst_buf_append(&f->bytes, field_37, sizeof field_37), MST_OK);
    assert_int_equal(decode(f, mst_buf_view(&f->bytes), &got, NULL), MST_OK);
    assert_int_equal(got.n_untold, 2);
}

static void test_the_last_close(void **state)
{
    struct fixture *f = *state;
    struct mst_chief_state got, want = beside();
    uint64_t ins[] = {0, 2};
    want.has_close = true;
    want.close = (struct mst_msg_close){
        .round = 7, .attempt = 2, .n_ins = 2, .ins = ins, .n_steps = 6, .n_workers = 3, .n_units = 5};
    assert_int_equal(mst_chief_state_encode(&want, &f->old, &f->bytes), MST_OK);
    assert_int_equal(decode(f, mst_buf_view(&f->bytes), &got, NULL), MST_OK);
    assert_true(got.has_close);
    assert_int_equal(got.close.round, 7);
    assert_int_equal(got.close.attempt, 2);
    assert_int_equal(got.close.n_ins, 2);
    assert_memory_equal(got.close.ins, ins, sizeof ins);
    assert_int_equal(got.close.n_steps, 6);
}

static void test_it_goes_on_as_before(void **state)
{
    struct fixture *f = *state;
    play(f);
    there_and_back(f);
    // The same question has the same answer, and the next one what the old one would have answered.
    struct mst_lease_answer before = ask(&f->old, 0, 1, 3, 1, 60), after = ask(&f->new, 0, 1, 3, 1, 1010);
    assert_int_equal(after.kind, MST_ANSWER_LEASE);
    assert_memory_equal(&after.lease, &before.lease, sizeof after.lease);
    assert_int_equal(f->new.total.examples, f->old.total.examples);
    // A fence that was not complete is begun again: every PS is asked.
    struct mst_leases_revoked old_revoked = {0}, new_revoked = {0};
    answer_fences(&f->old, 2, &old_revoked);
    answer_fences(&f->new, 2, &new_revoked);
    assert_int_equal(new_revoked.n_done, old_revoked.n_done);
    assert_int_equal(new_revoked.n_torn, 1);
    assert_int_equal(new_revoked.n_returned, old_revoked.n_returned);
    f->old.membership.members[0].silent_at_ms = f->new.membership.members[0].silent_at_ms;
    there_and_back(f);
    // Numbers go on.
    assert_int_equal(greet(&f->new, 1, 555, 1020), 2);
}

static void test_who_was_live_has_two_leases(void **state)
{
    struct fixture *f = *state;
    struct mst_chief_state got;
    uint64_t number;
    assert_int_equal(greet(&f->old, 0, 100, 10), 1);
    encode(f);
    assert_int_equal(decode(f, mst_buf_view(&f->bytes), &got, NULL), MST_OK);
    assert_int_equal(mst_coordinator_tick(&f->new, 1000 + 2 * LEASE_MS - 1), 0);
    assert_int_equal(mst_membership_greet(&f->new.membership, 0, 101, 1000, &number), MST_GREET_BUSY);
    assert_int_equal(greet(&f->new, 0, 100, 1100), 1); // the same process, the same number
    assert_int_equal(decode(f, mst_buf_view(&f->bytes), &got, NULL), MST_OK);
    assert_int_equal(mst_coordinator_tick(&f->new, 1000 + 2 * LEASE_MS), 1);
}

static void test_who_leads_leads_still(void **state)
{
    struct fixture *f = *state;
    struct mst_chief_state got;
    f->old.pacing.limit = 2;
    for (uint32_t worker = 0; worker < 3; worker++)
        assert_int_equal(greet(&f->old, worker, 100 + worker, 10), 1);
    for (uint32_t worker = 0; worker < 3; worker++)
        assert_int_equal(ask(&f->old, worker, 1, 1, 0, 20).kind, MST_ANSWER_LEASE);
    assert_int_equal(ask(&f->old, 0, 1, 2, 1, 30).kind, MST_ANSWER_LEASE);
    assert_int_equal(ask(&f->old, 0, 1, 3, 2, 40).kind, MST_ANSWER_WAIT);
    mst_membership_leave(&f->old.membership, 2, 1, "it left", 50);
    mst_coordinator_tick(&f->old, 50);
    encode(f);
    mst_coordinator_fini(&f->new);
    mst_coordinator_init(&f->new, &config);
    f->new.pacing.limit = 2;
    assert_int_equal(mst_chief_state_decode(mst_buf_view(&f->bytes), &f->arena, &f->new, 1000, &got, NULL), MST_OK);
    assert_int_equal(mst_pacing_clock(&f->new.pacing, 0, 1), 2);
    assert_int_equal(ask(&f->new, 0, 1, 3, 2, 1010).kind, MST_ANSWER_WAIT);
    assert_int_equal(mst_pacing_n_held_back(&f->new.pacing), 1);
    // Worker 2, who is being fenced, holds nobody back.
    assert_int_equal(ask(&f->new, 1, 1, 2, 1, 1020).kind, MST_ANSWER_LEASE);
    assert_int_equal(ask(&f->new, 0, 1, 3, 2, 1030).kind, MST_ANSWER_LEASE);
    assert_int_equal(f->new.pacing.lowest, 1);
    mst_chief_state_settle(&f->new, NULL, 0);
    assert_true(f->new.pacing.lowest == 0 && f->new.pacing.limit == 2 && f->new.pacing.n_runners == 0);
}

static void test_a_stopped_job(void **state)
{
    struct fixture *f = *state;
    play(f);
    mst_coordinator_stop(&f->old);
    there_and_back(f);
    assert_int_equal(f->new.leases.n_total, f->old.leases.n_total);
    assert_int_equal(ask(&f->new, 2, 1, 3, 1, 1010).kind, MST_ANSWER_WAIT);
}

static void test_settled_for_a_checkpoint(void **state)
{
    struct fixture *f = *state;
    play(f);
    there_and_back(f);
    struct mst_lease held = f->new.leases.holders[0].held[0];
    assert_int_equal(f->new.leases.holders[0].worker, 0);
    const struct mst_chief_state_row rows[] = {
        {.worker = 0, .number = 1, .lease = held.id, .offset = 1},
        {.worker = 2, .number = 9, .lease = held.id, .offset = 1}, // of another incarnation: nothing is done
    };
    uint64_t n_done = f->new.leases.n_done, n_granted = f->new.leases.n_granted;
    struct mst_leases_revoked taken = mst_chief_state_settle(&f->new, rows, 2);
    assert_int_equal(taken.n_done, 1);
    assert_int_equal(taken.n_torn, 0);
    assert_int_equal(taken.n_returned, n_granted - n_done - 1);
    assert_int_equal(f->new.leases.n_done, n_done + 1);
    assert_int_equal(f->new.leases.n_holders, 0);
    assert_int_equal(mst_membership_n_live(&f->new.membership), 0);
    assert_int_equal(greet(&f->new, 0, 4711, 2000), 2);
    struct mst_lease_answer answer = ask(&f->new, 0, 2, 1, 0, 2000);
    assert_int_equal(answer.kind, MST_ANSWER_LEASE);
    assert_int_equal(answer.lease.first_batch, held.first_batch + 1); // what is not applied comes first
}

// Also where the rest is of no use: of a job with other data, or of one in rounds.
static void test_members_of_a_checkpoint(void **state)
{
    struct fixture *f = *state;
    struct mst_membership members;
    play(f);
    uint64_t number = f->old.membership.members[0].number;
    mst_chief_state_settle(&f->old, NULL, 0);
    encode(f);
    mst_membership_init(&members, N_PS, LEASE_MS, 50);
    assert_int_equal(mst_chief_state_members(mst_buf_view(&f->bytes), &f->arena, &members, NULL), MST_OK);
    assert_int_equal(members.n_members, f->old.membership.n_members);
    assert_int_equal(members.members[0].number, number);
    assert_int_equal(members.members[0].state, MST_MEMBER_AWAITED);
    const struct mst_bytes torn = {f->bytes.data, f->bytes.len - 1};
    assert_int_equal(mst_chief_state_members(torn, &f->arena, &members, NULL), MST_INVALID_ARGUMENT);
    mst_membership_fini(&members);
}

static void test_too_many_sums_are_left_out(void **state)
{
    struct fixture *f = *state;
    struct mst_chief_state got, want = beside();
    play(f);
    encode(f);
    struct mst_buf small;
    mst_buf_init(&small, f->bytes.len - 1);
    assert_int_equal(mst_chief_state_encode(&want, &f->old, &small), MST_OK);
    assert_int_equal(decode(f, mst_buf_view(&small), &got, NULL), MST_OK);
    assert_int_equal(f->new.total.examples, 0);
    assert_int_equal(f->new.leases.n_done, f->old.leases.n_done);
    mst_buf_fini(&small);
    mst_buf_init(&small, 40);
    assert_int_equal(mst_chief_state_encode(&want, &f->old, &small), MST_RESOURCE_EXHAUSTED);
    mst_buf_fini(&small);
}

static void test_of_another_job(void **state)
{
    struct fixture *f = *state;
    struct mst_coordinator_config other = config;
    struct mst_chief_state got;
    struct mst_error err;
    play(f);
    encode(f);
    mst_coordinator_fini(&f->new);
    other.n_batches = BATCHES + 1;
    mst_coordinator_init(&f->new, &other);
    assert_int_equal(mst_chief_state_decode(mst_buf_view(&f->bytes), &f->arena, &f->new, 0, &got, &err),
                     MST_INVALID_ARGUMENT);
    assert_non_null(strstr(err.text, "40 batches an epoch, this one has 41"));
    mst_coordinator_fini(&f->new);
    other.n_batches = BATCHES;
    other.n_sums = N_SUMS + 1;
    mst_coordinator_init(&f->new, &other);
    assert_int_equal(mst_chief_state_decode(mst_buf_view(&f->bytes), &f->arena, &f->new, 0, &got, &err),
                     MST_INVALID_ARGUMENT);
    assert_non_null(strstr(err.text, "other measures"));
}

// What is done of an epoch is counted in batches, which are other examples in another order.
static void test_of_another_order(void **state)
{
    struct fixture *f = *state;
    static const struct {
        enum mst_batch_order old, new;
        uint64_t old_seed, new_seed;
        const char *says; // NULL: it fits
    } cases[] = {
        {MST_BATCH_ORDER_SHUFFLED, MST_BATCH_ORDER_SHUFFLED, 7, 7, NULL},
        {MST_BATCH_ORDER_FILE, MST_BATCH_ORDER_FILE, 0, 0, NULL},
        {MST_BATCH_ORDER_UNSAID, MST_BATCH_ORDER_SHUFFLED, 0, 7, NULL},
        {MST_BATCH_ORDER_SHUFFLED, MST_BATCH_ORDER_SHUFFLED, 7, 8, "with seed 7, this one has 8"},
        {MST_BATCH_ORDER_SHUFFLED, MST_BATCH_ORDER_FILE, 7, 0, "shuffled its examples, and this one does not"},
        {MST_BATCH_ORDER_FILE, MST_BATCH_ORDER_SHUFFLED, 0, 7, "did not shuffle its examples, and this one does"},
    };
    play(f);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct mst_coordinator_config other = config;
        struct mst_chief_state got;
        struct mst_error err = {.text = ""};
        mst_status expected = cases[i].says ? MST_INVALID_ARGUMENT : MST_OK;
        f->old.order = cases[i].old;
        f->old.order_seed = cases[i].old_seed;
        encode(f);
        mst_coordinator_fini(&f->new);
        other.order = cases[i].new;
        other.order_seed = cases[i].new_seed;
        mst_coordinator_init(&f->new, &other);
        struct mst_bytes bytes = mst_buf_view(&f->bytes);
        assert_int_equal(mst_chief_state_check_order(bytes, &f->arena, &f->new, &err), expected);
        assert_int_equal(mst_chief_state_decode(bytes, &f->arena, &f->new, 0, &got, &err), expected);
        assert_true(!cases[i].says || strstr(err.text, cases[i].says));
    }
}

// The next number would be lower than this one, or one that every server refuses.
static void test_a_number_that_no_chief_gives(void **state)
{
    struct fixture *f = *state;
    struct mst_chief_state got;
    struct mst_error err;
    play(f);
    f->old.membership.members[1].number = MST_NUMBER_MAX - 1;
    encode(f);
    assert_int_equal(decode(f, mst_buf_view(&f->bytes), &got, &err), MST_OK);
    f->old.membership.members[1].number = MST_NUMBER_MAX;
    encode(f);
    assert_int_equal(decode(f, mst_buf_view(&f->bytes), &got, &err), MST_INVALID_ARGUMENT);
    assert_non_null(strstr(err.text, "a number that no chief gives"));
    f->old.membership.members[1].number = MST_NO_NUMBER;
    encode(f);
    assert_int_equal(decode(f, mst_buf_view(&f->bytes), &got, &err), MST_INVALID_ARGUMENT);
}

// Whatever a changed byte makes of it: refused, or a state that there can be.
static void test_damaged_bytes(void **state)
{
    struct fixture *f = *state;
    const char *given = getenv("MUSTER_TEST_SEED");
    uint64_t seed = given ? strtoull(given, NULL, 10) : 1;
    struct mst_rng_key key = {{(uint32_t)seed, 0}, {0, 0}};
    size_t n_refused = 0;
    play(f);
    encode(f);
    for (uint64_t i = 0; i < 2000; i++) {
        uint32_t words[4];
        struct mst_chief_state got;
        mst_rng_block(key, i, words);
        mst_buf_reset(&f->again);
        assert_int_equal(mst_buf_append(&f->again, f->bytes.data, f->bytes.len), MST_OK);
        ((uint8_t *)f->again.data)[words[0] % f->again.len] ^= (uint8_t)(1u << words[1] % 8);
        bool is_taken = decode(f, mst_buf_view(&f->again), &got, NULL) == MST_OK;
        n_refused += !is_taken;
        mst_arena_fini(&f->arena);
        mst_arena_init(&f->arena, MST_MSG_ARENA_MAX);
        if (!is_taken)
            continue;
        const struct mst_leases *leases = &f->new.leases;
        if (leases->n_done > leases->n_granted || leases->n_granted > leases->n_planned)
            fail_msg("seed %llu, change %llu: %llu done of %llu", (unsigned long long)seed, (unsigned long long)i,
                     (unsigned long long)leases->n_done, (unsigned long long)leases->n_granted);
    }
    assert_true(n_refused > 500);
}

#define CASE(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {CASE(test_an_empty_one),
                                       CASE(test_all_that_stands_beside),
                                       CASE(test_a_field_of_before_is_passed_over),
                                       CASE(test_the_last_close),
                                       CASE(test_it_goes_on_as_before),
                                       CASE(test_who_was_live_has_two_leases),
                                       CASE(test_who_leads_leads_still),
                                       CASE(test_a_stopped_job),
                                       CASE(test_settled_for_a_checkpoint),
                                       CASE(test_members_of_a_checkpoint),
                                       CASE(test_too_many_sums_are_left_out),
                                       CASE(test_of_another_job),
                                       CASE(test_of_another_order),
                                       CASE(test_a_number_that_no_chief_gives),
                                       CASE(test_damaged_bytes)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
