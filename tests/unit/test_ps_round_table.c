// Rounds on a PS, one rule a test: three workers, two parts, rounds begun at 0.
#include "ps/round_table.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum { N_WORKERS = 3, N_PARTS = 2, FIRST = 100 };

static struct mst_round_table table;

// A close that deals unit FIRST + worker to everybody.
static struct mst_msg_close close_of(uint64_t round, const uint64_t *ins, size_t n_ins)
{
    static const struct mst_msg_part plan[N_WORKERS] = {{0, FIRST}, {1, FIRST + 1}, {2, FIRST + 2}};
    return (struct mst_msg_close){
        .term = 1, .round = round, .n_ins = n_ins, .ins = ins, .next = {.epoch = 4, .n_plan = N_WORKERS, .plan = plan}};
}

static void store_and_act(uint64_t round, const uint64_t *ins, size_t n_ins)
{
    struct mst_msg_close close = close_of(round, ins, n_ins);
    assert_int_equal(mst_round_table_check(&table, &close), MST_ROUND_CLOSE_NEW);
    mst_round_table_store(&table, &close);
    assert_true(mst_round_table_must_act(&table, round));
    mst_round_table_act(&table);
}

static int set_up(void **state)
{
    (void)state;
    return mst_round_table_init(&table, N_WORKERS, N_PARTS) == MST_OK ? 0 : -1;
}

static int set_up_begun(void **state)
{
    if (set_up(state) != 0)
        return -1;
    store_and_act(0, NULL, 0);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    mst_round_table_fini(&table);
    return 0;
}

static struct mst_round_push push_of(uint32_t worker, uint64_t number, uint64_t round)
{
    return (struct mst_round_push){
        .worker = worker, .number = number, .round = round, .unit = FIRST + worker, .weight = 8};
}

static enum mst_round_verdict offer(size_t part, uint32_t worker, uint64_t number, uint64_t round)
{
    struct mst_round_push push = push_of(worker, number, round);
    return mst_round_table_offer(&table, part, &push);
}

static enum mst_round_verdict hold(size_t part, uint32_t worker, uint64_t number, uint64_t round)
{
    struct mst_round_push push = push_of(worker, number, round);
    return mst_round_table_hold(&table, part, &push);
}

static void contribute(uint32_t worker, uint64_t round)
{
    for (size_t part = 0; part < N_PARTS; part++)
        assert_int_equal(hold(part, worker, 1, round), MST_ROUND_TAKE);
}

static struct mst_msg_round_reply reply(struct mst_msg_arrival *arrivals)
{
    struct mst_msg_round_reply out;
    mst_round_table_reply(&table, arrivals, &out);
    return out;
}

static void test_nothing_is_taken_before_the_first_close(void **state)
{
    (void)state;
    assert_int_equal(offer(0, 0, 1, 1), MST_ROUND_WAIT);
    assert_false(mst_round_table_is_due(&table, 0));
    store_and_act(41, NULL, 0); // a job that goes on from a checkpoint
    assert_true(mst_round_table_is_due(&table, 41));
    assert_false(mst_round_table_is_due(&table, 42));
    assert_int_equal(offer(0, 0, 1, 42), MST_ROUND_TAKE);
}

static void test_a_ps_that_came_back_takes_the_last_close_without_what_it_names(void **state)
{
    (void)state;
    const uint64_t ins[] = {0, 2};
    store_and_act(7, ins, 2);
    assert_int_equal(table.applied, 7);
}

static void test_a_contribution_is_reported_when_every_part_is_here(void **state)
{
    (void)state;
    struct mst_msg_arrival arrivals[N_WORKERS];
    uint64_t before = reply(arrivals).status;
    double values[] = {1.5, 2.5};
    struct mst_round_push push = push_of(1, 3, 1);
    struct mst_training_sums sums = {.steps = 1, .examples = 8, .n_values = 2, .values = values};
    push.sums = &sums;
    assert_int_equal(mst_round_table_hold(&table, 0, &push), MST_ROUND_TAKE);
    assert_int_equal(reply(arrivals).n_arrivals, 0);
    assert_int_equal(reply(arrivals).status, before);
    assert_int_equal(hold(1, 1, 3, 1), MST_ROUND_TAKE);
    struct mst_msg_round_reply out = reply(arrivals);
    assert_int_equal(out.n_arrivals, 1);
    assert_true(out.status > before);
    assert_int_equal(arrivals[0].worker, 1);
    assert_int_equal(arrivals[0].number, 3);
    assert_int_equal(arrivals[0].unit, FIRST + 1);
    assert_true(arrivals[0].weight == 8 && arrivals[0].has_sums && arrivals[0].sums.values[1] == 2.5);
}

static void test_a_part_is_taken_once(void **state)
{
    (void)state;
    assert_int_equal(hold(0, 1, 1, 1), MST_ROUND_TAKE);
    assert_int_equal(offer(0, 1, 1, 1), MST_ROUND_HAVE);
    assert_int_equal(hold(0, 1, 1, 1), MST_ROUND_HAVE);
    assert_int_equal(offer(1, 1, 1, 1), MST_ROUND_TAKE);
    assert_int_equal(offer(0, 2, 1, 1), MST_ROUND_TAKE);
}

static void test_a_newer_incarnation_completes_what_an_older_began(void **state)
{
    (void)state;
    assert_int_equal(hold(0, 1, 1, 1), MST_ROUND_TAKE);
    mst_round_table_fence(&table, 1, 1);
    assert_int_equal(offer(1, 1, 1, 1), MST_ROUND_REFUSED_FENCED);
    assert_int_equal(hold(0, 1, 2, 1), MST_ROUND_HAVE);
    assert_int_equal(hold(1, 1, 2, 1), MST_ROUND_TAKE);
    assert_true(mst_round_table_has(&table, 1));
}

static void test_an_older_incarnation_is_refused(void **state)
{
    (void)state;
    assert_int_equal(hold(0, 1, 2, 1), MST_ROUND_TAKE);
    assert_int_equal(offer(1, 1, 1, 1), MST_ROUND_REFUSED_NUMBER);
}

static void test_a_fence_takes_nothing_back(void **state)
{
    (void)state;
    contribute(2, 1);
    mst_round_table_fence(&table, 2, 1);
    assert_true(mst_round_table_has(&table, 2));
    const uint64_t ins[] = {2};
    store_and_act(1, ins, 1);
}

static void test_only_what_was_dealt_is_taken(void **state)
{
    (void)state;
    struct mst_round_push push = push_of(0, 1, 1);
    push.unit++;
    assert_int_equal(mst_round_table_offer(&table, 0, &push), MST_ROUND_REFUSED_UNIT);
    assert_int_equal(offer(0, 0, 1, 2), MST_ROUND_REFUSED_EARLY);
}

static void test_what_is_late_is_told_that_the_round_is_over(void **state)
{
    (void)state;
    contribute(0, 1);
    assert_int_equal(hold(0, 1, 1, 1), MST_ROUND_TAKE); // half of it
    const uint64_t ins[] = {0};
    store_and_act(1, ins, 1);
    assert_int_equal(hold(1, 1, 1, 1), MST_ROUND_OVER);
    assert_int_equal(offer(0, 1, 1, 2), MST_ROUND_TAKE); // nothing is left of the half
}

static void test_a_close_is_stored_once_and_acted_on_when_told(void **state)
{
    (void)state;
    const uint64_t ins[] = {0};
    contribute(0, 1);
    struct mst_msg_close close = close_of(1, ins, 1);
    assert_int_equal(mst_round_table_check(&table, &close), MST_ROUND_CLOSE_NEW);
    mst_round_table_store(&table, &close);
    struct mst_msg_arrival arrivals[N_WORKERS];
    assert_int_equal(reply(arrivals).stored_round, 1);
    assert_int_equal(reply(arrivals).applied_round, 0);
    assert_int_equal(mst_round_table_check(&table, &close), MST_ROUND_CLOSE_OLD);
    assert_false(mst_round_table_must_act(&table, 0));
    assert_true(mst_round_table_must_act(&table, 1));
    mst_round_table_act(&table);
    assert_false(mst_round_table_must_act(&table, 1));
    assert_int_equal(mst_round_table_check(&table, &close), MST_ROUND_CLOSE_OLD);
    close.attempt = 1;
    assert_int_equal(mst_round_table_check(&table, &close), MST_ROUND_CLOSE_OLD); // it is applied
    assert_int_equal(reply(arrivals).n_arrivals, 0);
}

static void test_a_higher_attempt_replaces_what_is_not_applied(void **state)
{
    (void)state;
    const uint64_t ins[] = {0, 1};
    contribute(0, 1);
    contribute(1, 1);
    struct mst_msg_close close = close_of(1, ins, 2);
    mst_round_table_store(&table, &close);
    close.attempt = 1;
    close.n_ins = 1;
    assert_int_equal(mst_round_table_check(&table, &close), MST_ROUND_CLOSE_NEW);
    mst_round_table_store(&table, &close);
    assert_int_equal(table.n_ins, 1);
}

static void test_a_close_that_cannot_be_is_refused(void **state)
{
    (void)state;
    const uint64_t absent[] = {0};
    contribute(0, 1);
    contribute(1, 1);
    struct mst_msg_close close = close_of(2, absent, 1);
    assert_int_equal(mst_round_table_check(&table, &close), MST_ROUND_CLOSE_REFUSED);
    const uint64_t twice[] = {0, 0};
    close = close_of(1, twice, 2);
    assert_int_equal(mst_round_table_check(&table, &close), MST_ROUND_CLOSE_REFUSED);
    const uint64_t beyond[] = {0, N_WORKERS};
    close = close_of(1, beyond, 2);
    assert_int_equal(mst_round_table_check(&table, &close), MST_ROUND_CLOSE_REFUSED);
    const struct mst_msg_part stranger = {N_WORKERS, 0};
    close = close_of(1, absent, 1);
    close.next.plan = &stranger;
    close.next.n_plan = 1;
    assert_int_equal(mst_round_table_check(&table, &close), MST_ROUND_CLOSE_REFUSED);
}

static void test_a_close_waits_for_what_it_names(void **state)
{
    (void)state;
    const uint64_t ins[] = {0, 1};
    struct mst_msg_close close = close_of(1, ins, 2);
    contribute(0, 1);
    assert_int_equal(hold(0, 1, 1, 1), MST_ROUND_TAKE);
    assert_int_equal(mst_round_table_check(&table, &close), MST_ROUND_CLOSE_WAITS);
    assert_int_equal(hold(1, 1, 1, 1), MST_ROUND_TAKE);
    assert_int_equal(mst_round_table_check(&table, &close), MST_ROUND_CLOSE_NEW);
}

static void test_a_replica_goes_on_from_closes_without_contributions(void **state)
{
    (void)state;
    const uint64_t ins[] = {0, 1};
    contribute(0, 1);
    assert_int_equal(hold(0, 1, 2, 1), MST_ROUND_TAKE);
    mst_round_table_fence(&table, 2, 1);
    uint64_t status = table.status;
    struct mst_msg_close applied = close_of(1, ins, 2);
    struct mst_msg_close stored = close_of(2, ins, 2);
    stored.attempt = 3;
    mst_round_table_take_closes(&table, &applied, &stored);
    assert_true(table.status > status);
    struct mst_msg_arrival arrivals[N_WORKERS];
    struct mst_msg_round_reply said = reply(arrivals);
    assert_true(said.applied_round == 1 && said.stored_round == 2 && said.stored_attempt == 3 && said.n_arrivals == 0);
    assert_true(mst_round_table_must_act(&table, 2));
    assert_false(mst_round_table_holds(&table, 0, 0));
    assert_int_equal(hold(0, 1, 1, 2), MST_ROUND_REFUSED_NUMBER);
    assert_int_equal(hold(0, 2, 1, 2), MST_ROUND_REFUSED_FENCED);
    stored.attempt = 4;
    assert_int_equal(mst_round_table_check(&table, &stored), MST_ROUND_CLOSE_WAITS);
    contribute(0, 2);
    assert_int_equal(hold(0, 1, 2, 2), MST_ROUND_TAKE);
    assert_int_equal(hold(1, 1, 2, 2), MST_ROUND_TAKE);
    assert_int_equal(mst_round_table_check(&table, &stored), MST_ROUND_CLOSE_NEW);
}

static void test_a_replica_may_not_have_begun(void **state)
{
    (void)state;
    struct mst_msg_close close = close_of(5, NULL, 0);
    contribute(0, 1);
    mst_round_table_take_closes(&table, NULL, &close);
    assert_int_equal(offer(0, 0, 1, 6), MST_ROUND_WAIT);
    assert_true(mst_round_table_must_act(&table, 5));
    mst_round_table_act(&table);
    assert_int_equal(offer(0, 0, 1, 6), MST_ROUND_TAKE);
    uint64_t status = table.status;
    mst_round_table_take_closes(&table, NULL, NULL);
    assert_true(!table.has_begun && !table.has_close && table.status > status);
    assert_int_equal(offer(0, 0, 1, 6), MST_ROUND_WAIT);
}

static void test_turns_come_from_the_close_that_is_applied(void **state)
{
    (void)state;
    const struct mst_msg_part plan[] = {{1, 55}};
    struct mst_msg_close close = close_of(1, NULL, 0); // an empty round
    close.next = (struct mst_msg_deal){.epoch = 5, .n_plan = 1, .plan = plan};
    struct mst_msg_turn turn;
    mst_round_table_store(&table, &close);
    mst_round_table_turn(&table, 1, &turn);
    assert_int_equal(turn.unit, FIRST + 1);
    mst_round_table_act(&table);
    mst_round_table_turn(&table, 1, &turn);
    assert_true(turn.round == 1 && turn.epoch == 5 && turn.has_unit && turn.unit == 55 && !turn.is_over);
    mst_round_table_turn(&table, 0, &turn);
    assert_false(turn.has_unit);
    mst_round_table_turn(&table, UINT32_MAX, &turn);
    assert_false(turn.has_unit);
}

static void test_after_the_last_round_nobody_has_a_unit(void **state)
{
    (void)state;
    struct mst_msg_close close = close_of(1, NULL, 0);
    close.is_over = true;
    mst_round_table_store(&table, &close);
    mst_round_table_act(&table);
    struct mst_msg_turn turn;
    mst_round_table_turn(&table, 0, &turn);
    assert_true(turn.is_over && !turn.has_unit);
}

static void test_a_join_takes_parts_of_any_incarnation(void **state)
{
    (void)state;
    struct mst_round_push push = push_of(1, 2, 1);
    mst_round_table_join(&table, 0, &push);
    push.number = 1;
    mst_round_table_join(&table, 1, &push);
    mst_round_table_join(&table, 1, &push);
    assert_true(mst_round_table_has(&table, 1));
    assert_int_equal(table.contributions[1].number, 2);
    push = push_of(2, 1, 2);
    mst_round_table_join(&table, 0, &push);
    assert_false(mst_round_table_holds(&table, 0, 2));
}

static void test_a_table_without_parts_takes_any_close(void **state)
{
    (void)state;
    mst_round_table_fini(&table);
    assert_int_equal(mst_round_table_init(&table, N_WORKERS, 0), MST_OK);
    store_and_act(0, NULL, 0);
    const uint64_t ins[] = {0, 1};
    store_and_act(1, ins, 2);
    struct mst_msg_arrival arrivals[N_WORKERS];
    assert_int_equal(reply(arrivals).n_arrivals, 0);
    assert_int_equal(reply(arrivals).applied_round, 1);
}

#define BEGUN(test) cmocka_unit_test_setup_teardown(test, set_up_begun, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_nothing_is_taken_before_the_first_close, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_ps_that_came_back_takes_the_last_close_without_what_it_names, set_up,
                                        tear_down),
        BEGUN(test_a_contribution_is_reported_when_every_part_is_here),
        BEGUN(test_a_part_is_taken_once),
        BEGUN(test_a_newer_incarnation_completes_what_an_older_began),
        BEGUN(test_an_older_incarnation_is_refused),
        BEGUN(test_a_fence_takes_nothing_back),
        BEGUN(test_only_what_was_dealt_is_taken),
        BEGUN(test_what_is_late_is_told_that_the_round_is_over),
        BEGUN(test_a_close_is_stored_once_and_acted_on_when_told),
        BEGUN(test_a_higher_attempt_replaces_what_is_not_applied),
        BEGUN(test_a_close_that_cannot_be_is_refused),
        BEGUN(test_a_close_waits_for_what_it_names),
        BEGUN(test_a_replica_goes_on_from_closes_without_contributions),
        BEGUN(test_a_replica_may_not_have_begun),
        BEGUN(test_turns_come_from_the_close_that_is_applied),
        BEGUN(test_after_the_last_round_nobody_has_a_unit),
        BEGUN(test_a_join_takes_parts_of_any_incarnation),
        BEGUN(test_a_table_without_parts_takes_any_close),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
