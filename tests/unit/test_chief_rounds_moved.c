// Rounds with replicas: a PS is another process from one moment to the next, and has only what was acknowledged.
#include "chief/rounds.h"

#include "round_servers.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

// Round 1 is closed with all three, and nobody has heard of it yet.
static void close_first(void)
{
    struct mst_rounds_config config = config_of(7, 1);
    start(&config);
    all_live();
    talk();
    for (uint32_t w = 0; w < N_WORKERS; w++)
        contributes(w);
    report(0);
    report(1);
    assert_true(mst_rounds_advance(&rounds));
    assert_int_equal(rounds.close_round, 1);
}

// Its backup speaks for it: it has what was acknowledged, and no contributions.
static void moves(size_t ps)
{
    servers[ps].n_arrivals = 0;
    servers[ps].status = 1;
    mst_rounds_ps_moved(&rounds, ps);
}

// What it contributed to the round that is closed comes again.
static void sends_again(uint32_t worker, size_t ps)
{
    struct fake_ps *server = &servers[ps];
    uint64_t unit = rounds.was.plan[worker].unit;
    struct mst_training_sums sums = {.steps = 1, .examples = 10, .n_values = 1, .values = values[worker]};
    server->arrivals[server->n_arrivals++] = (struct mst_msg_arrival){
        .worker = worker, .number = 1, .unit = unit, .weight = 10, .has_sums = ps == 0, .sums = sums};
    server->status++;
}

// A chief of term 7 follows one that is gone with all but the close.
static void succeed(uint64_t former_term)
{
    struct mst_rounds next;
    struct mst_msg_close close;
    mst_rounds_init(&next, &rounds.config);
    mst_rounds_close(&rounds, &close);
    close.term = former_term;
    assert_int_equal(mst_rounds_restore(&next, &close, MST_ROUNDS_REPEAT, NULL), MST_OK);
    mst_rounds_fini(&rounds);
    rounds = next;
    mst_rounds_set_term(&rounds, 7);
    all_live();
}

static uint32_t n_wanted(size_t ps)
{
    struct mst_msg_round told;
    mst_rounds_tell(&rounds, ps, &told);
    return told.n_wanted;
}

static void test_what_the_one_before_had_is_forgotten(void **state)
{
    (void)state;
    struct mst_rounds_config config = config_of(7, 1);
    start(&config);
    all_live();
    talk();
    contributes(0);
    contributes(1);
    arrives(2, 0);
    talk();
    uint64_t n_told = rounds.n_told;
    moves(0);
    assert_true(rounds.n_told > n_told);
    struct mst_msg_round told;
    mst_rounds_tell(&rounds, 0, &told);
    assert_int_equal(told.known, 0);
    assert_false(mst_rounds_is_quiet(&rounds)); // perhaps it has not applied the last one
    arrives(2, 1);
    talk();
    assert_over(0, 0);
    for (uint32_t w = 0; w < N_WORKERS; w++)
        arrives(w, 0);
    talk();
    assert_over(1, 3);
    assert_int_equal(rounds.total_sums.examples, 30);
}

static void test_what_the_living_sent_comes_again(void **state)
{
    (void)state;
    close_first();
    uint64_t attempt = rounds.close_attempt;
    moves(1);
    talk();
    assert_over(0, 3);
    assert_int_equal(n_wanted(0), 3);
    assert_int_equal(n_wanted(1), 0); // each of them is news
    char text[100];
    mst_rounds_awaited(&rounds, text, sizeof text);
    assert_string_equal(text, "ps-0, ps-1, worker-0, worker-1, worker-2 for round 1");
    for (uint32_t w = 0; w < N_WORKERS; w++)
        sends_again(w, 1);
    talk();
    assert_over(1, 3);
    assert_int_equal(rounds.close_attempt, attempt);
    assert_int_equal(rounds.n_again, 0);
}

static void test_it_is_closed_again_without_what_the_fenced_lost(void **state)
{
    (void)state;
    close_first();
    tell(0); // which has stored the first attempt
    report(0);
    moves(1);
    uint64_t attempt = rounds.close_attempt;
    mst_rounds_set_worker(&rounds, 2, MST_ROUND_WORKER_GONE);
    talk();
    assert_int_equal(rounds.n_again, 0); // the others come first
    sends_again(0, 1);
    talk();
    assert_int_equal(rounds.n_again, 0);
    sends_again(1, 1);
    talk();
    assert_over(1, 2);
    assert_true(rounds.close_attempt > attempt);
    assert_true(servers[0].attempt == rounds.close_attempt && servers[1].attempt == rounds.close_attempt);
    // The close before it has left no trace.
    assert_int_equal(rounds.n_again, 1);
    assert_int_equal(rounds.n_left_out, 1);
    assert_int_equal(rounds.close_steps, 1);
    assert_int_equal(rounds.total_sums.examples, 20);
    assert_int_equal(rounds.worker_steps[0], 1);
    assert_int_equal(rounds.worker_steps[2], 0);
    assert_int_equal(rounds.next.n_tail, 1);
    assert_int_equal(rounds.next.tail[0], 2);
}

static void test_all_of_it_may_be_lost(void **state)
{
    (void)state;
    close_first();
    moves(0);
    moves(1);
    for (size_t w = 0; w < N_WORKERS; w++)
        mst_rounds_set_worker(&rounds, w, MST_ROUND_WORKER_GONE);
    mst_rounds_stop(&rounds);
    talk();
    assert_over(1, 0);
    assert_int_equal(rounds.n_empty, 1);
    assert_int_equal(rounds.close_steps, 0);
    assert_int_equal(rounds.total_sums.examples, 0);
}

static void test_what_all_have_stored_stays(void **state)
{
    (void)state;
    close_first();
    tell(0);
    tell(1);
    report(0);
    moves(1);
    mst_rounds_set_worker(&rounds, 2, MST_ROUND_WORKER_GONE);
    assert_false(mst_rounds_advance(&rounds)); // it is not known yet what it has
    talk();
    assert_over(1, 3);
    assert_int_equal(rounds.n_again, 0);
}

static void test_what_one_has_applied_stays(void **state)
{
    (void)state;
    close_first();
    tell(0);
    tell(1);
    report(0);
    report(1);
    assert_true(mst_rounds_advance(&rounds));
    tell(0);
    succeed(6);
    mst_rounds_set_worker(&rounds, 2, MST_ROUND_WORKER_GONE);
    moves(1);
    servers[1].stored = 0; // which cannot be: it is believed that somebody acted
    servers[1].attempt = 0;
    report(0);
    report(1);
    assert_false(mst_rounds_advance(&rounds));
    assert_int_equal(rounds.n_again, 0);
}

static void test_a_ps_that_begins_lacks_nothing(void **state)
{
    (void)state;
    close_first();
    succeed(6);
    servers[1] = (struct fake_ps){.status = 1};
    mst_rounds_set_worker(&rounds, 2, MST_ROUND_WORKER_GONE);
    report(0);
    report(1);
    assert_false(mst_rounds_advance(&rounds));
    assert_int_equal(rounds.n_again, 0);
}

static void test_a_new_chief_closes_again_what_it_repeats(void **state)
{
    (void)state;
    close_first();
    uint64_t attempt = rounds.close_attempt;
    tell(0);
    report(0);
    succeed(6);
    moves(1);
    moves(0);
    mst_rounds_set_worker(&rounds, 1, MST_ROUND_WORKER_GONE);
    talk();
    for (size_t ps = 0; ps < N_PS; ps++) {
        sends_again(0, ps);
        sends_again(2, ps);
    }
    talk();
    assert_over(1, 2);
    assert_true(rounds.close_attempt > attempt);
    assert_int_equal(rounds.close_steps, 1);
    assert_int_equal(rounds.total_sums.examples, 20);
    assert_true(rounds.total_sums.values[0] == 1 + 3);
    assert_int_equal(rounds.next.tail[0], 1);
}

// A group is lost with the sums of a round, and a new chief has to close it again.
static void test_what_nobody_measured_is_dealt_anew(void **state)
{
    (void)state;
    close_first();
    succeed(6);
    mst_rounds_ps_lost(&rounds, 0);
    servers[0] = (struct fake_ps){0};
    moves(1);
    mst_rounds_ps_back(&rounds, 0);
    mst_rounds_set_worker(&rounds, 1, MST_ROUND_WORKER_GONE);
    sends_again(0, 1);
    sends_again(2, 1);
    talk();
    assert_over(1, 0);
    assert_int_equal(rounds.n_again, 1);
    assert_int_equal(rounds.close_steps, 0);
    assert_int_equal(rounds.total_sums.examples, 0);
    assert_int_equal(rounds.next.n_tail, 3);
}

// A worker that was admitted anew cannot send again: it would first pull what nobody has any more.
static void test_nobody_is_waited_for_while_a_group_begins_anew(void **state)
{
    (void)state;
    close_first();
    mst_rounds_ps_lost(&rounds, 0);
    servers[0] = (struct fake_ps){0};
    moves(1);
    sends_again(2, 1);
    mst_rounds_ps_back(&rounds, 0);
    talk();
    assert_over(1, 1);
    assert_int_equal(rounds.ins[0], 2);
    assert_int_equal(rounds.n_again, 1);
    assert_int_equal(rounds.total_sums.examples, 10); // this chief had heard of them
    assert_int_equal(rounds.next.n_tail, 2);
}

// The home has been told what to serve by the chief before, and nothing of rounds.
static void test_nor_by_a_chief_that_finds_it_there(void **state)
{
    (void)state;
    close_first();
    succeed(6);
    servers[0] = (struct fake_ps){.status = 1};
    moves(1);
    sends_again(2, 1);
    report(1);
    assert_false(mst_rounds_advance(&rounds));
    report(0);
    assert_true(mst_rounds_advance(&rounds));
    assert_int_equal(rounds.close_round, 1);
    assert_int_equal(rounds.n_ins, 0);
    assert_int_equal(rounds.n_again, 1);
    assert_int_equal(rounds.total_sums.examples, 0); // nobody knows of them any more
    assert_int_equal(rounds.next.n_tail, 3);
}

// The last words of a primary of the former chief reach its backup after that was asked what it has.
static void test_an_attempt_of_a_former_chief_is_replaced(void **state)
{
    (void)state;
    close_first();
    succeed(6);
    servers[1].stored = 1;
    servers[1].attempt = rounds.close_attempt + 1;
    servers[1].status++;
    talk();
    assert_over(1, 3);
    assert_int_equal(rounds.n_again, 1);
    assert_int_equal(servers[0].attempt, rounds.close_attempt);
    // … and one of the round that this one has not closed yet.
    for (uint32_t w = 0; w < N_WORKERS; w++)
        contributes(w);
    servers[0].stored = 2;
    servers[0].attempt = 6 << 16;
    talk();
    assert_over(2, 3);
    assert_int_equal(rounds.n_again, 1);
    assert_int_equal(servers[0].attempt, 7 << 16);
}

// … and of the round after the one that is repeated, which is over then.
static void test_a_round_that_a_former_chief_went_on_from_is_over(void **state)
{
    (void)state;
    close_first();
    succeed(6);
    for (size_t ps = 0; ps < N_PS; ps++) {
        servers[ps].stored = 2;
        servers[ps].applied = 1;
        servers[ps].attempt = 6 << 16;
        servers[ps].n_arrivals = 0;
        servers[ps].status++;
    }
    talk();
    assert_over(1, 3);
    for (uint32_t w = 0; w < N_WORKERS; w++)
        contributes(w);
    talk();
    assert_over(2, 3);
    assert_int_equal(servers[1].attempt, 7 << 16);
}

static void test_a_pause_lets_it_be_closed_again(void **state)
{
    (void)state;
    close_first();
    moves(1);
    mst_rounds_pause(&rounds);
    mst_rounds_set_worker(&rounds, 2, MST_ROUND_WORKER_GONE);
    sends_again(0, 1);
    sends_again(1, 1);
    talk();
    assert_over(1, 2);
    assert_true(mst_rounds_is_quiet(&rounds));
}

static void test_an_epoch_measures_what_is_in(void **state)
{
    (void)state;
    struct mst_rounds_config config = config_of(3, 2);
    start(&config);
    all_live();
    talk();
    for (int e = 0; e < 2; e++) {
        for (uint32_t w = 0; w < N_WORKERS; w++)
            contributes(w);
        report(0);
        report(1);
        if (e == 1) { // its only regular round is closed twice
            assert_true(mst_rounds_advance(&rounds));
            moves(0);
            mst_rounds_set_worker(&rounds, 0, MST_ROUND_WORKER_GONE);
            sends_again(1, 0);
            sends_again(2, 0);
        }
        talk();
    }
    assert_over(2, 2);
    assert_true(rounds.epoch_sums.values[0] == 2 + 3);
    assert_int_equal(unit_of(1), 0);
    contributes(1);
    talk();
    struct mst_rounds_epoch epoch;
    assert_true(mst_rounds_take_epoch(&rounds, &epoch));
    assert_int_equal(epoch.epoch, 1);
    assert_true(epoch.sums->values[0] == 6);
    assert_true(rounds.total_sums.values[0] == 12);
    assert_int_equal(mst_rounds_n_steps(&rounds), 3);
}

#define TEST(name) cmocka_unit_test_teardown(name, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_what_the_one_before_had_is_forgotten),
        TEST(test_what_the_living_sent_comes_again),
        TEST(test_it_is_closed_again_without_what_the_fenced_lost),
        TEST(test_all_of_it_may_be_lost),
        TEST(test_what_all_have_stored_stays),
        TEST(test_what_one_has_applied_stays),
        TEST(test_a_ps_that_begins_lacks_nothing),
        TEST(test_a_new_chief_closes_again_what_it_repeats),
        TEST(test_what_nobody_measured_is_dealt_anew),
        TEST(test_nobody_is_waited_for_while_a_group_begins_anew),
        TEST(test_nor_by_a_chief_that_finds_it_there),
        TEST(test_an_attempt_of_a_former_chief_is_replaced),
        TEST(test_a_round_that_a_former_chief_went_on_from_is_over),
        TEST(test_a_pause_lets_it_be_closed_again),
        TEST(test_an_epoch_measures_what_is_in),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
