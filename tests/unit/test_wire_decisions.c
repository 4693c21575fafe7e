// What a chief tells parameter servers and what they answer, there and back: rounds, its own state, cuts.
#include "messages_sent.h"

static const uint64_t some[] = {3, 1, UINT64_MAX};
static const struct mst_msg_part plan[] = {{0, 7}, {2, 9}};
static const struct mst_msg_close a_close = {.term = 1,
                                             .round = 2,
                                             .attempt = 3,
                                             .n_ins = 2,
                                             .ins = some,
                                             .was = {4, 5, 0, NULL, 2, plan},
                                             .next = {6, 7, 3, some, 1, plan},
                                             .is_over = true,
                                             .n_workers = 3,
                                             .n_units = 1000,
                                             .n_steps = 8,
                                             .n_worker_steps = 3,
                                             .worker_steps = some,
                                             .epoch_sums = {.steps = 1,
                                                            .examples = 2,
                                                            .staleness_sum = 7,
                                                            .staleness_max = 8,
                                                            .n_values = 4,
                                                            .values = values,
                                                            .staleness_counts = {1, 0, 2, 3, 0, 5}},
                                             .total_sums_before = {.steps = 6}};

static void expect_close(const struct mst_msg_close *got)
{
    assert_int_equal(got->term, 1);
    assert_int_equal(got->round, 2);
    assert_int_equal(got->attempt, 3);
    assert_int_equal(got->n_ins, 2);
    assert_memory_equal(got->ins, some, 2 * sizeof some[0]);
    assert_int_equal(got->was.epoch, 4);
    assert_int_equal(got->was.k, 5);
    assert_int_equal(got->was.n_tail, 0);
    assert_int_equal(got->was.n_plan, 2);
    assert_int_equal(got->was.plan[1].worker, 2);
    assert_int_equal(got->was.plan[1].unit, 9);
    assert_int_equal(got->next.n_tail, 3);
    assert_memory_equal(got->next.tail, some, sizeof some);
    assert_true(got->is_over);
    assert_int_equal(got->n_steps, 8);
    assert_int_equal(got->n_worker_steps, 3);
    assert_memory_equal(got->worker_steps, some, sizeof some);
    assert_int_equal(got->n_workers, 3);
    assert_int_equal(got->n_units, 1000);
    expect_sums(&got->epoch_sums);
    assert_int_equal(got->total_sums.n_values, 0);
    assert_int_equal(got->epoch_sums_before.steps, 0);
    assert_int_equal(got->total_sums_before.steps, 6);
}

static void test_rounds(void **state)
{
    (void)state;
    {
        const double scales[] = {0.5, 1};
        const struct mst_msg_round sent = {1, 2, true, a_close, 3, 2, scales, 4, 5};
        SEND(round);
        SAME(group);
        SAME(term);
        SAME(known);
        SAME(has_close);
        SAME(act_round);
        SAME(n_scales);
        SAME(n_wanted);
        assert_memory_equal(got.scales, scales, sizeof scales);
        expect_close(&got.close);
    }
    const struct mst_msg_arrival arrivals[] = {{1, 2, 3, 4.5, true, sums}, {5, 6, 7, 0.25, false, {0}}};
    const struct mst_msg_square_norm norms[] = {{1, UINT64_MAX, 2, false}, {0, 0, 0, true}};
    const struct mst_msg_round_reply sent = {1, 2, 3, 4, 2, arrivals, 2, norms, true};
    SEND(round_reply);
    SAME(has_begun);
    SAME(status);
    SAME(stored_round);
    SAME(stored_attempt);
    SAME(applied_round);
    SAME(n_arrivals);
    SAME(arrivals[0].worker);
    SAME(arrivals[0].number);
    SAME(arrivals[1].unit);
    SAME_REAL(arrivals[1].weight);
    SAME(arrivals[0].has_sums);
    expect_sums(&got.arrivals[0].sums);
    SAME(n_norms);
    SAME(norms[0].group);
    SAME(norms[0].hi);
    SAME(norms[0].lo);
    SAME(norms[1].is_infinite);
}

static void test_rounds_of_replicas(void **state)
{
    (void)state;
    const double scales[] = {0.5, 1};
    const struct mst_msg_square_norm norms[] = {{1, UINT64_MAX, 2, false}};
    {
        const struct mst_msg_op sent = {.kind = MST_OP_CLOSE,
                                        .round = 3,
                                        .attempt = 4,
                                        .n_closes = 1,
                                        .closes = &a_close,
                                        .n_norms = 1,
                                        .norms = norms,
                                        .n_scales = 2,
                                        .scales = scales};
        SEND(op);
        SAME(kind);
        SAME(round);
        SAME(attempt);
        SAME(n_closes);
        expect_close(got.closes);
        SAME(n_norms);
        SAME(norms[0].hi);
        SAME(n_scales);
        assert_memory_equal(got.scales, scales, sizeof scales);
    }
    const struct mst_msg_close closes[] = {a_close, a_close};
    const struct mst_msg_sweep sent = {
        .is_first = true, .n_closes = 2, .closes = closes, .n_norms = 1, .norms = norms, .has_aggregate = true};
    SEND(sweep);
    SAME(n_closes);
    expect_close(&got.closes[0]);
    expect_close(&got.closes[1]);
    SAME(n_norms);
    SAME(norms[0].lo);
    SAME(has_aggregate);
}

static void test_what_a_chief_leaves(void **state)
{
    (void)state;
    {
        const struct mst_msg_state sent = {1, 2, {"a\0b", 3}};
        SEND(state);
        SAME(term);
        SAME(n);
        SAME(data.len);
        assert_memory_equal(got.data.data, "a\0b", 3);
    }
    {
        const struct mst_msg_state_reply sent = {1, 2};
        SEND(state_reply);
        SAME(term);
        SAME(n);
    }
    {
        const struct mst_msg_recall sent = {9};
        SEND(recall);
        SAME(term);
    }
    const struct mst_msg_recall_reply sent = {.term = 1,
                                              .n = 2,
                                              .data = {"xyz", 3},
                                              .has_close = true,
                                              .close = a_close,
                                              .map_term = 4,
                                              .map_epoch = 5,
                                              .is_serving = true,
                                              .roles = {.term = 7, .n = 8},
                                              .is_acting = true};
    SEND(recall_reply);
    SAME(roles.term);
    SAME(roles.n);
    SAME(is_acting);
    SAME(term);
    SAME(n);
    assert_memory_equal(got.data.data, "xyz", 3);
    SAME(has_close);
    expect_close(&got.close);
    SAME(map_term);
    SAME(map_epoch);
    SAME(is_serving);
}

static void test_cuts(void **state)
{
    (void)state;
    const struct mst_msg_client_row rows[] = {{1, 2, 3, 4, 5, 6, false}};
    {
        const struct mst_msg_cut sent = {1, 2, MST_CUT_ADMIT, 1, rows, 3};
        SEND(cut);
        SAME(group);
        SAME(term);
        SAME(id);
        SAME(phase);
        SAME(n_rows);
        SAME(rows[0].offset);
    }
    const struct mst_msg_cut_reply sent = {1, 1, rows, true, true, "why", 7, UINT64_MAX};
    SEND(cut_reply);
    SAME(n_updates);
    SAME(id);
    SAME(n_rows);
    SAME(rows[0].step);
    SAME(is_marked);
    SAME(is_refused);
    SAME_TEXT(text);
    SAME(pause_us);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_rounds),
        CASE(test_rounds_of_replicas),
        CASE(test_what_a_chief_leaves),
        CASE(test_cuts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
