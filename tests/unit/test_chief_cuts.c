// A cut from the chief's side: whom it tells what, the highest rows, marks of the fenced, refusals, lost servers.
#include "chief/cuts.h"
#include "chief/setback.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static struct mst_cuts cuts;

static int set_up(void **state)
{
    (void)state;
    mst_cuts_init(&cuts, 2);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    mst_cuts_fini(&cuts);
    return 0;
}

// How many servers are to be told something, and what.
static size_t n_to_tell(enum mst_cut_phase phase, struct mst_msg_cut *last)
{
    size_t n = 0;
    size_t ps;
    struct mst_msg_cut message;
    for (size_t cursor = 0; mst_cuts_next(&cuts, &cursor, &ps, &message); n++) {
        *last = message;
        assert_int_equal(message.phase, phase);
    }
    return n;
}

static enum mst_cuts_news answer(size_t ps, const struct mst_msg_client_row *rows, size_t n_rows, bool is_marked)
{
    struct mst_msg_cut_reply reply = {.id = cuts.id, .n_rows = n_rows, .rows = rows, .is_marked = is_marked};
    return mst_cuts_answered(&cuts, ps, &reply);
}

static void test_a_cut_is_the_highest_of_each_worker(void **state)
{
    (void)state;
    struct mst_msg_cut message;
    mst_cuts_begin(&cuts, 4, true);
    assert_int_equal(cuts.id, (uint64_t)4 << 32 | 1);
    assert_int_equal(n_to_tell(MST_CUT_HOLD, &message), 2);
    const struct mst_msg_client_row first[] = {{0, 0, 1, 5, 3, 2, false}, {0, 1, 2, 1, 4, 1, false}};
    const struct mst_msg_client_row second[] = {
        {0, 0, 1, 6, 3, 3, false}, {0, 1, 1, 90, 2, 9, false}, {0, 2, 1, 1, 5, 1, false}};
    assert_int_equal(answer(0, first, 2, false), MST_CUTS_NOTHING);
    assert_int_equal(n_to_tell(MST_CUT_HOLD, &message), 1);
    assert_int_equal(answer(0, second, 3, false), MST_CUTS_NOTHING); // once more: the first answer counts
    assert_int_equal(answer(1, second, 3, false), MST_CUTS_HELD);
    assert_int_equal(n_to_tell(MST_CUT_ADMIT, &message), 2);
    assert_int_equal(message.n_rows, 3);
    assert_int_equal(message.rows[0].step, 6);
    assert_int_equal(message.rows[1].number, 2);
    assert_int_equal(message.rows[1].step, 1);
    assert_int_equal(message.rows[2].worker, 2);
    assert_int_equal(answer(0, NULL, 0, false), MST_CUTS_NOTHING); // of the hold, late
    assert_int_equal(answer(0, NULL, 0, true), MST_CUTS_NOTHING);
    assert_int_equal(answer(1, NULL, 0, true), MST_CUTS_MARKED);
    assert_false(mst_cuts_is_busy(&cuts));
    assert_int_equal(n_to_tell(MST_CUT_HOLD, &message), 0);
}

static void test_between_rounds_nothing_is_held(void **state)
{
    (void)state;
    struct mst_msg_cut message;
    mst_cuts_begin(&cuts, 1, false);
    assert_int_equal(n_to_tell(MST_CUT_ADMIT, &message), 2);
    assert_int_equal(message.n_rows, 0);
    assert_int_equal(answer(1, NULL, 0, true), MST_CUTS_NOTHING);
    assert_int_equal(answer(0, NULL, 0, true), MST_CUTS_MARKED);
    mst_cuts_begin(&cuts, 1, false);
    assert_int_equal(cuts.id, (uint64_t)1 << 32 | 2);
}

// It says whether a loss is known exactly.
static void test_who_has_pushed_since(void **state)
{
    (void)state;
    struct mst_coordinator c;
    struct mst_lease lease;
    mst_coordinator_init(&c, &(struct mst_coordinator_config){
                                 .n_ps = 2, .n_batches = 10, .n_epochs = 1, .lease_ms = 100, .grace_ms = 50});
    assert_true(mst_coordinator_all_pushed(&c, NULL, 0));
    assert_int_equal(mst_leases_grant(&c.leases, 0, 3, 1, 2, &lease), MST_LEASE_GRANTED);
    assert_int_equal(mst_leases_grant(&c.leases, 1, 1, 1, 2, &lease), MST_LEASE_GRANTED);
    struct mst_msg_client_row rows[] = {{.worker = 0, .number = 3, .step = 5}, {.worker = 1, .number = 1, .step = 7}};
    assert_true(mst_coordinator_all_pushed(&c, rows, 2));
    assert_false(mst_coordinator_all_pushed(&c, rows, 1));
    rows[1].is_restored = true;
    assert_false(mst_coordinator_all_pushed(&c, rows, 2));
    rows[1] = (struct mst_msg_client_row){.worker = 1, .number = 1}; // it has only pulled
    assert_false(mst_coordinator_all_pushed(&c, rows, 2));
    assert_true(mst_leases_complete(&c.leases, 1, 1, 1, &lease));
    assert_true(mst_coordinator_all_pushed(&c, rows, 2)); // it holds nothing: all that it did is known
    rows[0].number = 2;
    assert_false(mst_coordinator_all_pushed(&c, rows, 2));
    mst_coordinator_fini(&c);
}

static void test_one_refusal_gives_it_up_everywhere(void **state)
{
    (void)state;
    struct mst_msg_cut message;
    mst_cuts_begin(&cuts, 1, true);
    assert_int_equal(answer(0, NULL, 0, false), MST_CUTS_NOTHING);
    struct mst_msg_cut_reply no = {.id = cuts.id, .is_refused = true, .text = "it is over here"};
    assert_int_equal(mst_cuts_answered(&cuts, 1, &no), MST_CUTS_FAILED);
    assert_string_equal(cuts.why, "ps-1 refused it: it is over here");
    assert_int_equal(n_to_tell(MST_CUT_RESUME, &message), 2);
    assert_int_equal(answer(0, NULL, 0, false), MST_CUTS_NOTHING);
    assert_true(mst_cuts_is_busy(&cuts));
    mst_cuts_ps_lost(&cuts, 1);
    assert_false(mst_cuts_is_busy(&cuts));
    assert_false(mst_cuts_give_up(&cuts, "late"));
}

static void test_answers_of_another_cut_are_nothing(void **state)
{
    (void)state;
    mst_cuts_begin(&cuts, 1, true);
    struct mst_msg_cut_reply old = {.id = cuts.id - 1, .is_refused = true, .text = "over"};
    assert_int_equal(mst_cuts_answered(&cuts, 0, &old), MST_CUTS_NOTHING);
    assert_int_equal(cuts.phase, MST_CUTS_HOLDING);
}

static struct mst_lease grant(struct mst_leases *leases, uint32_t worker, uint64_t number, uint64_t seq)
{
    struct mst_lease lease;
    assert_int_equal(mst_leases_grant(leases, worker, number, seq, 4, &lease), MST_LEASE_GRANTED);
    return lease;
}

// Worker 0 is two batches into its lease everywhere; worker 1 was fenced on its way: three here, one there; worker 2
// has pushed nothing.
static void test_what_the_marks_leave_of_leases(void **state)
{
    (void)state;
    const struct mst_coordinator_config config = {
        .n_ps = 2, .n_batches = 20, .n_epochs = 1, .lease_ms = 300, .grace_ms = 50, .sleep_ms = 100};
    struct mst_coordinator chief;
    mst_coordinator_init(&chief, &config);
    struct mst_lease held[3];
    for (uint32_t w = 0; w < 3; w++) {
        uint64_t number;
        assert_int_equal(mst_membership_greet(&chief.membership, w, 100 + w, 1, &number), MST_GREET_ADMITTED);
        held[w] = grant(&chief.leases, w, number, 1);
    }
    mst_cuts_begin(&cuts, 1, true);
    const struct mst_msg_client_row rows[] = {{0, 0, 1, 2, held[0].id, 2, false}, {0, 1, 1, 3, held[1].id, 3, false}};
    (void)answer(0, rows, 2, false);
    assert_int_equal(answer(1, rows, 2, false), MST_CUTS_HELD);
    assert_int_equal(mst_cuts_keep(&cuts, &chief), MST_OK);
    assert_true(mst_leases_complete(&chief.leases, 0, 1, 1, &held[0])); // later, so not part of it
    const struct mst_msg_client_row less[] = {{7, 1, 1, 1, held[1].id, 1, false}};
    (void)answer(0, NULL, 0, true);
    assert_int_equal(answer(1, less, 1, true), MST_CUTS_MARKED);
    mst_cuts_settle(&cuts, &config, 2);
    assert_int_equal(cuts.n_done, 5);
    struct mst_coordinator resumed;
    struct mst_chief_state beside;
    struct mst_arena arena;
    mst_arena_init(&arena, 1 << 20);
    mst_coordinator_init(&resumed, &config);
    assert_int_equal(mst_chief_state_decode(mst_buf_view(&cuts.state), &arena, &resumed, 3, &beside, NULL), MST_OK);
    assert_int_equal(resumed.leases.n_done, 5);
    assert_int_equal(resumed.leases.n_torn, 2);
    assert_int_equal(resumed.leases.n_holders, 0);
    uint64_t n_left = 0;
    for (uint64_t seq = 1; n_left < 15; seq++) {
        struct mst_lease lease = grant(&resumed.leases, 0, 2, seq);
        n_left += lease.n_batches;
        assert_true(mst_leases_complete(&resumed.leases, 0, 2, seq, &lease));
    }
    assert_int_equal(n_left, 15);
    assert_true(mst_leases_finished(&resumed.leases));
    mst_coordinator_fini(&resumed);
    mst_coordinator_fini(&chief);
    mst_arena_fini(&arena);
}

// Training was stopped while both hold a lease of four: worker 0 reports its own later, worker 1 is dead and not fenced
// yet. Server 1 is short of two updates, one of each, that nobody had reported when it was lost.
static void test_what_is_done_where_training_was_stopped(void **state)
{
    (void)state;
    const struct mst_coordinator_config config = {
        .n_ps = 2, .n_batches = 20, .n_epochs = 1, .lease_ms = 300, .grace_ms = 50, .sleep_ms = 100};
    struct mst_coordinator chief;
    struct mst_setback setback = {0};
    struct mst_lease held[2];
    mst_coordinator_init(&chief, &config);
    for (uint32_t w = 0; w < 2; w++) {
        uint64_t number;
        assert_int_equal(mst_membership_greet(&chief.membership, w, 100 + w, 1, &number), MST_GREET_ADMITTED);
        held[w] = grant(&chief.leases, w, number, 1);
    }
    mst_setback_emptied(&setback, 0, 0);
    mst_setback_restoring(&setback, 0);
    assert_int_equal(mst_setback_restored(&setback, 0), 0);
    mst_coordinator_stop(&chief);
    mst_cuts_begin(&cuts, 1, true);
    const struct mst_msg_client_row rows[] = {{0, 0, 1, 3, held[0].id, 3, false}, {0, 1, 1, 2, held[1].id, 2, false}};
    (void)answer(0, rows, 2, false);
    assert_int_equal(answer(1, rows, 2, false), MST_CUTS_HELD);
    assert_int_equal(mst_cuts_keep(&cuts, &chief), MST_OK);
    assert_false(cuts.is_settled);
    assert_true(mst_leases_complete(&chief.leases, 0, 1, 1, &held[0])); // later, so not part of it
    (void)answer(0, NULL, 0, true);
    const struct mst_msg_cut_reply short_of_two = {.id = cuts.id, .is_marked = true, .n_updates = 3};
    assert_int_equal(mst_cuts_answered(&cuts, 1, &short_of_two), MST_CUTS_MARKED);
    mst_cuts_settle(&cuts, &config, 2);
    assert_true(cuts.is_settled);
    assert_int_equal(cuts.n_done, 5);
    assert_int_equal(cuts.n_torn, 0);
    assert_int_equal(cuts.state.len, 0); // who goes on with it goes on by the number of steps
    const struct mst_setback_cut said = {cuts.n_done, cuts.n_torn, cuts.n_updates[1]};
    mst_setback_seen(&setback, &said);
    assert_int_equal(mst_setback_committed(&setback, 5), 2);
    mst_cuts_begin(&cuts, 1, true);
    assert_false(cuts.is_settled);
    mst_coordinator_fini(&chief);
}

#define CASE(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_a_cut_is_the_highest_of_each_worker),
        CASE(test_between_rounds_nothing_is_held),
        CASE(test_who_has_pushed_since),
        CASE(test_one_refusal_gives_it_up_everywhere),
        CASE(test_answers_of_another_cut_are_nothing),
        CASE(test_what_the_marks_leave_of_leases),
        CASE(test_what_is_done_where_training_was_stopped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
