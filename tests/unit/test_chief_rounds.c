// One rule of rounds a test.
#include "chief/rounds.h"

#include "round_servers.h"

#include "optim/square_norm.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static void test_a_round_closes_with_all_that_are_there(void **state)
{
    (void)state;
    struct mst_rounds_config config = config_of(7, 1);
    start(&config);
    all_live();
    talk();
    assert_over(0, 0);
    contributes(0);
    contributes(2);
    talk();
    assert_over(0, 0);
    arrives(1, 0);
    talk();
    assert_over(0, 0); // not everywhere yet
    arrives(1, 1);
    talk();
    assert_over(1, 3);
    assert_int_equal(mst_rounds_n_steps(&rounds), 1);
    assert_int_equal(unit_of(1), 4);
    assert_int_equal(rounds.total_sums.examples, 30);
}

static void test_it_is_acted_on_when_stored_everywhere(void **state)
{
    (void)state;
    struct mst_rounds_config config = config_of(7, 1);
    start(&config);
    all_live();
    talk();
    for (uint32_t w = 0; w < 3; w++)
        contributes(w);
    report(0);
    report(1);
    assert_true(mst_rounds_advance(&rounds));
    assert_int_equal(rounds.close_round, 1);
    assert_int_equal(rounds.close_term, 7);
    assert_int_equal(mst_rounds_n_steps(&rounds), 0);
    assert_false(mst_rounds_is_quiet(&rounds));
    tell(0);
    report(0);
    assert_false(mst_rounds_advance(&rounds));
    assert_int_equal(rounds.act_round, 0);
    tell(1);
    report(1);
    assert_true(mst_rounds_advance(&rounds));
    assert_int_equal(rounds.act_round, 1);
    tell(0);
    report(0);
    assert_false(mst_rounds_advance(&rounds));
    tell(1);
    report(1);
    assert_true(mst_rounds_advance(&rounds));
    assert_over(1, 3);
    assert_true(mst_rounds_is_quiet(&rounds));
}

static void test_who_never_joined_is_waited_for(void **state)
{
    (void)state;
    struct mst_rounds_config config = config_of(7, 1);
    start(&config);
    mst_rounds_set_worker(&rounds, 0, MST_ROUND_WORKER_LIVE);
    mst_rounds_set_worker(&rounds, 1, MST_ROUND_WORKER_LIVE);
    talk();
    contributes(0);
    contributes(1);
    talk();
    assert_over(0, 0);
    char text[100];
    mst_rounds_awaited(&rounds, text, sizeof text);
    assert_string_equal(text, "worker-2 for round 1");
    mst_rounds_awaited(&rounds, text, 10);
    assert_int_equal(strlen(text), 9);
    mst_rounds_set_worker(&rounds, 2, MST_ROUND_WORKER_GONE);
    talk();
    assert_over(1, 2);
    mst_rounds_awaited(&rounds, text, sizeof text);
    assert_string_equal(text, "worker-0, worker-1 for round 2");
    assert_int_equal(rounds.n_left_out, 1);
}

static uint32_t n_wanted(void)
{
    struct mst_msg_round told;
    mst_rounds_tell(&rounds, 1, &told);
    return told.n_wanted;
}

// A PS does not tell of fewer arrivals than a round can be closed with; when that number changes it has to hear of it.
static void test_servers_are_told_how_many_are_wanted(void **state)
{
    (void)state;
    struct mst_rounds_config config = config_of(6, 1);
    start(&config);
    all_live();
    talk();
    assert_int_equal(n_wanted(), 3);
    uint64_t before = rounds.n_told;
    mst_rounds_set_worker(&rounds, 0, MST_ROUND_WORKER_LIVE);
    assert_int_equal(rounds.n_told, before);
    mst_rounds_set_worker(&rounds, 0, MST_ROUND_WORKER_GONE);
    assert_true(rounds.n_told > before);
    assert_int_equal(n_wanted(), 2);
    rounds.config.n_backup = 1;
    assert_int_equal(n_wanted(), 1);
    mst_rounds_set_worker(&rounds, 1, MST_ROUND_WORKER_GONE);
    assert_int_equal(n_wanted(), 1); // never none, while one is expected
}

static void test_backup_workers_are_not_waited_for(void **state)
{
    (void)state;
    struct mst_rounds_config config = config_of(6, 1);
    config.n_backup = 1;
    start(&config);
    all_live();
    talk();
    contributes(1);
    talk();
    assert_over(0, 0);
    contributes(2);
    talk();
    assert_over(1, 2); // unit 0 is left out
    contributes(0);
    contributes(1);
    talk();
    assert_over(2, 2); // and unit 5
    assert_int_equal(rounds.next.n_plan, 2);
    assert_int_equal(unit_of(0), 0);
    assert_int_equal(unit_of(1), 5);
    contributes(1);
    talk();
    assert_over(3, 1);
    contributes(0);
    talk();
    assert_over(4, 1);
    assert_true(mst_rounds_is_over(&rounds));
    assert_int_equal(mst_rounds_n_steps(&rounds), 4);
}

static void test_a_round_of_the_fenced_closes_empty(void **state)
{
    (void)state;
    struct mst_rounds_config config = config_of(4, 1); // round 2 is worker 0's alone
    start(&config);
    all_live();
    talk();
    for (uint32_t w = 0; w < 3; w++)
        contributes(w);
    talk();
    mst_rounds_set_worker(&rounds, 0, MST_ROUND_WORKER_GONE);
    talk();
    assert_over(2, 0);
    assert_int_equal(rounds.n_empty, 1);
    assert_int_equal(mst_rounds_n_steps(&rounds), 1);
    assert_int_equal(unit_of(1), 3);
    contributes(1);
    talk();
    assert_true(mst_rounds_is_over(&rounds));
    assert_int_equal(mst_rounds_n_steps(&rounds), 2);
}

static void test_nothing_closes_while_nobody_lives(void **state)
{
    (void)state;
    struct mst_rounds_config config = config_of(7, 1);
    start(&config);
    talk();
    for (uint32_t w = 0; w < 3; w++)
        mst_rounds_set_worker(&rounds, w, MST_ROUND_WORKER_GONE);
    talk();
    assert_over(0, 0);
    mst_rounds_set_worker(&rounds, 1, MST_ROUND_WORKER_LIVE);
    talk();
    assert_over(0, 0);
    contributes(1);
    talk();
    assert_over(1, 1);
}

// What a fenced worker left complete counts.
static void test_a_fence_drops_no_contribution(void **state)
{
    (void)state;
    struct mst_rounds_config config = config_of(7, 1);
    start(&config);
    all_live();
    talk();
    contributes(0);
    contributes(1);
    contributes(2);
    mst_rounds_set_worker(&rounds, 0, MST_ROUND_WORKER_GONE);
    talk();
    assert_over(1, 3);
}

static void test_epochs_and_their_sums(void **state)
{
    (void)state;
    struct mst_rounds_config config = config_of(3, 2);
    start(&config);
    all_live();
    talk();
    struct mst_rounds_epoch epoch;
    assert_false(mst_rounds_take_epoch(&rounds, &epoch));
    assert_int_equal(mst_rounds_n_steps_expected(&rounds), 2);
    for (uint64_t e = 0; e < 2; e++) {
        for (uint32_t w = 0; w < 3; w++)
            contributes(w);
        talk();
        assert_int_equal(mst_rounds_n_epochs_done(&rounds), e + 1);
        assert_true(mst_rounds_take_epoch(&rounds, &epoch));
        assert_int_equal(epoch.epoch, e);
        assert_int_equal(epoch.n_steps, e + 1);
        assert_int_equal(epoch.sums->examples, 30);
        assert_true(epoch.sums->values[0] == 6);
        assert_false(mst_rounds_take_epoch(&rounds, &epoch));
    }
    assert_true(mst_rounds_is_over(&rounds));
    assert_true(rounds.total_sums.values[0] == 12);
}

static void test_steps_end_it_within_an_epoch(void **state)
{
    (void)state;
    struct mst_rounds_config config = config_of(30, 1);
    config.max_steps = 2;
    start(&config);
    all_live();
    talk();
    assert_int_equal(mst_rounds_n_steps_expected(&rounds), 2);
    for (int r = 0; r < 2; r++) {
        for (uint32_t w = 0; w < 3; w++)
            contributes(w);
        talk();
    }
    assert_true(mst_rounds_is_over(&rounds));
    struct mst_rounds_epoch epoch;
    assert_true(mst_rounds_take_epoch(&rounds, &epoch));
    assert_int_equal(epoch.sums->examples, 60);
    assert_int_equal(mst_rounds_n_epochs_done(&rounds), 1);
}

static void test_stopped_it_ends_with_an_empty_round(void **state)
{
    (void)state;
    struct mst_rounds_config config = config_of(30, 1);
    start(&config);
    all_live();
    talk();
    for (uint32_t w = 0; w < 3; w++)
        contributes(w);
    talk();
    mst_rounds_stop(&rounds);
    assert_int_equal(mst_rounds_n_steps_expected(&rounds), 1);
    talk();
    assert_over(2, 0);
    assert_true(mst_rounds_is_over(&rounds));
    assert_int_equal(mst_rounds_n_steps(&rounds), 1);
    struct mst_rounds_epoch epoch;
    assert_false(mst_rounds_take_epoch(&rounds, &epoch));
}

static void test_a_pause_lets_what_is_closed_be_applied(void **state)
{
    (void)state;
    struct mst_rounds_config config = config_of(30, 1);
    start(&config);
    all_live();
    talk();
    for (uint32_t w = 0; w < 3; w++)
        contributes(w);
    report(0);
    report(1);
    assert_true(mst_rounds_advance(&rounds));
    mst_rounds_pause(&rounds);
    assert_false(mst_rounds_is_quiet(&rounds));
    talk();
    assert_true(mst_rounds_is_quiet(&rounds));
    for (uint32_t w = 0; w < 3; w++)
        contributes(w);
    talk();
    assert_over(1, 3);
    mst_rounds_resume(&rounds);
    talk();
    assert_over(2, 3);
}

static void set_norm(size_t ps, uint32_t group, float x)
{
    struct mst_square_norm norm = {0};
    mst_square_norm_add(&norm, &x, 1);
    struct fake_ps *server = &servers[ps];
    server->norms[server->n_norms++] =
        (struct mst_msg_square_norm){.group = group, .hi = norm.hi, .lo = norm.lo, .is_infinite = norm.is_infinite};
}

static void test_scales_come_from_all_norms(void **state)
{
    (void)state;
    struct mst_rounds_config config = config_of(30, 1);
    config.clip.global_norm = 1;
    start(&config);
    all_live();
    talk();
    for (uint32_t w = 0; w < 3; w++)
        contributes(w);
    set_norm(0, 0, 3);
    set_norm(1, 0, 4);
    set_norm(1, 2, 99); // no such group
    talk();
    assert_over(1, 3);
    struct mst_msg_round told;
    mst_rounds_tell(&rounds, 0, &told);
    assert_int_equal(told.act_round, 1);
    assert_int_equal(told.n_scales, 1);
    assert_true((float)told.scales[0] == 1.0f * (1.0f / 5.0f));
}

static void test_scales_of_each_variable(void **state)
{
    (void)state;
    struct mst_rounds_config config = config_of(30, 1);
    config.clip.norm = 2;
    start(&config);
    all_live();
    talk();
    for (uint32_t w = 0; w < 3; w++)
        contributes(w);
    set_norm(0, 1, 1);
    set_norm(1, 2, 4);
    set_norm(0, 3, INFINITY);
    talk();
    assert_over(1, 3);
    assert_int_equal(rounds.n_scales, 4);
    assert_true(rounds.scales[1] == 1.0);
    assert_true(rounds.scales[2] == 0.5);
    assert_true(isnan(rounds.scales[3]));
    mst_rounds_set_worker(&rounds, 0, MST_ROUND_WORKER_GONE);
    mst_rounds_set_worker(&rounds, 1, MST_ROUND_WORKER_GONE);
    contributes(2);
    talk();
    assert_int_equal(rounds.n_scales, 4);
}

// A chief dies when one PS has stored a close and the other has not; the next one repeats it word for word.
static void test_a_new_chief_repeats_the_last_close(void **state)
{
    (void)state;
    struct mst_rounds_config config = config_of(7, 1);
    start(&config);
    all_live();
    talk();
    for (uint32_t w = 0; w < 3; w++)
        contributes(w);
    report(0);
    report(1);
    assert_true(mst_rounds_advance(&rounds));
    tell(0);
    struct mst_rounds next;
    mst_rounds_init(&next, &config);
    struct mst_msg_close close;
    mst_rounds_close(&rounds, &close);
    assert_int_equal(mst_rounds_restore(&next, &close, MST_ROUNDS_REPEAT, NULL), MST_OK);
    mst_rounds_fini(&rounds);
    rounds = next;
    mst_rounds_set_term(&rounds, 7);
    assert_int_equal(rounds.act_round, 0);
    talk();
    assert_over(1, 3);
    assert_int_equal(rounds.total_sums.examples, 30);
    assert_int_equal(unit_of(0), 3);
    all_live();
    for (uint32_t w = 0; w < 3; w++)
        contributes(w);
    talk();
    assert_over(2, 3);
    assert_int_equal(rounds.total_sums.examples, 60);
    for (size_t w = 0; w < 3; w++)
        assert_int_equal(rounds.worker_steps[w], 2);
}

static void test_a_checkpoint_is_gone_on_from(void **state)
{
    (void)state;
    struct mst_rounds_config config = config_of(7, 1);
    start(&config);
    all_live();
    talk();
    for (uint32_t w = 0; w < 3; w++)
        contributes(w);
    talk();
    struct mst_rounds next;
    mst_rounds_init(&next, &config);
    struct mst_msg_close close;
    mst_rounds_close(&rounds, &close);
    assert_int_equal(mst_rounds_restore(&next, &close, MST_ROUNDS_APPLIED, NULL), MST_OK);
    mst_rounds_fini(&rounds);
    rounds = next;
    mst_rounds_set_term(&rounds, 7);
    memset(servers, 0, sizeof servers);
    all_live();
    talk();
    assert_int_equal(servers[0].applied, 1);
    assert_int_equal(rounds.worker_steps[0], 0); // of this run
    assert_over(1, 0);                           // who was in is of no interest any more
    assert_int_equal(mst_rounds_n_steps(&rounds), 1);
    struct mst_rounds_epoch epoch;
    assert_false(mst_rounds_take_epoch(&rounds, &epoch));
    for (uint32_t w = 0; w < 3; w++)
        contributes(w);
    talk();
    assert_over(2, 3);
}

static void test_steps_are_skipped(void **state)
{
    (void)state;
    struct mst_rounds_config config = config_of(7, 2); // three rounds an epoch
    for (uint64_t n = 0; n < 7; n++) {
        start(&config);
        mst_rounds_skip(&rounds, n);
        all_live();
        talk();
        assert_int_equal(servers[1].applied, n);
        assert_int_equal(mst_rounds_n_steps(&rounds), n);
        assert_int_equal(mst_rounds_n_steps_expected(&rounds), 6);
        assert_int_equal(mst_rounds_n_epochs_done(&rounds), n / 3);
        assert_int_equal(mst_rounds_is_over(&rounds), n == 6);
        assert_int_equal(unit_of(0), n == 6 ? UINT64_MAX : n % 3 * 3);
        mst_rounds_fini(&rounds);
    }
}

static void test_a_close_of_another_job_is_refused(void **state)
{
    (void)state;
    struct mst_rounds_config config = config_of(7, 1);
    start(&config);
    uint64_t ins[] = {0, 3};
    struct mst_msg_close close = {.round = 4, .n_ins = 2, .ins = ins, .n_workers = 3, .n_units = 7};
    struct mst_error err;
    assert_int_equal(mst_rounds_restore(&rounds, &close, MST_ROUNDS_REPEAT, &err), MST_INVALID_ARGUMENT);
    assert_string_equal(err.text, "the close of round 4 names workers that a job of 3 has not");
    double many[2] = {0};
    close.n_ins = 0;
    close.total_sums = (struct mst_training_sums){.n_values = 2, .values = many};
    assert_int_equal(mst_rounds_restore(&rounds, &close, MST_ROUNDS_REPEAT, &err), MST_INVALID_ARGUMENT);
    assert_string_equal(err.text, "the close of round 4 has 2 sums, and the job's measures 1");
    close.total_sums.n_values = 0;
    close.n_workers = 2;
    assert_int_equal(mst_rounds_restore(&rounds, &close, MST_ROUNDS_REPEAT, &err), MST_INVALID_ARGUMENT);
    assert_string_equal(err.text,
                        "the close of round 4 is of 2 workers and 7 units an epoch, and this job's are 3 and 7");
    assert_int_equal(rounds.close_round, 0);
}

static void test_another_number_of_workers_goes_on(void **state)
{
    (void)state;
    struct mst_rounds_config config = config_of(7, 2);
    config.n_workers = 2;
    start(&config);
    mst_rounds_set_worker(&rounds, 0, MST_ROUND_WORKER_LIVE);
    mst_rounds_set_worker(&rounds, 1, MST_ROUND_WORKER_LIVE);
    talk();
    contributes(0);
    contributes(1);
    talk();
    struct mst_msg_close close;
    struct mst_rounds next;
    mst_rounds_close(&rounds, &close);
    config.n_workers = 3;
    mst_rounds_init(&next, &config);
    assert_int_equal(mst_rounds_restore(&next, &close, MST_ROUNDS_APPLIED, NULL), MST_OK);
    mst_rounds_fini(&rounds);
    rounds = next;
    mst_rounds_set_term(&rounds, 7);
    memset(servers, 0, sizeof servers);
    all_live();
    talk();
    assert_over(1, 0);
    // Units 0 and 1 are trained; regular rounds of three go on with 6.
    for (uint32_t w = 0; w < 3; w++)
        assert_int_equal(unit_of(w), 2 + w);
    assert_int_equal(rounds.next.n_tail, 1);
    assert_int_equal(rounds.next.tail[0], 5);
    for (uint32_t w = 0; w < 3; w++)
        contributes(w);
    talk();
    assert_over(2, 3);
    assert_int_equal(unit_of(0), 6);
}

static void test_other_units_are_refused(void **state)
{
    (void)state;
    struct mst_rounds_config config = config_of(7, 4);
    start(&config);
    struct mst_msg_close close = {.round = 9, .n_steps = 4, .n_workers = 3, .n_units = 70, .was = {.epoch = 1}};
    struct mst_error err;
    assert_int_equal(mst_rounds_restore(&rounds, &close, MST_ROUNDS_APPLIED, &err), MST_INVALID_ARGUMENT);
    assert_non_null(strstr(err.text, "70 batches an epoch, this one has 7"));
    assert_int_equal(mst_rounds_n_steps(&rounds), 0);
}

// Of seven units three workers get those from this one on, each once, and then whole epochs.
static void test_units_are_skipped(void **state)
{
    (void)state;
    struct mst_rounds_config config = config_of(7, 3);
    for (uint64_t unit = 0; unit < 7; unit++) {
        start(&config);
        mst_rounds_skip_to(&rounds, 1, unit, 100);
        assert_int_equal(mst_rounds_n_steps(&rounds), 100);
        assert_int_equal(mst_rounds_n_epochs_done(&rounds), 1);
        all_live();
        talk();
        bool has_come[7] = {false};
        while (mst_rounds_n_epochs_done(&rounds) < 2) {
            for (uint32_t w = 0; w < 3; w++) {
                if (unit_of(w) == UINT64_MAX)
                    continue;
                assert_true(unit_of(w) >= unit && !has_come[unit_of(w)]);
                has_come[unit_of(w)] = true;
                contributes(w);
            }
            talk();
        }
        for (uint64_t i = unit; i < 7; i++)
            assert_true(has_come[i]);
        assert_true(unit_of(0) == 0 && unit_of(2) == 2);
        mst_rounds_fini(&rounds);
    }
    start(&config);
    mst_rounds_skip_to(&rounds, 5, 3, 100); // it became shorter
    assert_true(mst_rounds_is_over(&rounds));
}

static void test_a_ps_comes_back_alone(void **state)
{
    (void)state;
    struct mst_rounds_config config = config_of(9, 1);
    start(&config);
    all_live();
    talk();
    for (uint32_t w = 0; w < 3; w++)
        contributes(w);
    report(0);
    report(1);
    assert_true(mst_rounds_advance(&rounds));
    mst_rounds_ps_lost(&rounds, 1);
    assert_true(mst_rounds_is_away(&rounds, 1));
    for (int i = 0; i < 3; i++) {
        tell(0);
        report(0);
        report(1); // of before: ignored
        while (mst_rounds_advance(&rounds))
            ;
    }
    assert_over(1, 3);
    servers[1] = (struct fake_ps){0};
    mst_rounds_ps_back(&rounds, 1);
    assert_false(mst_rounds_is_away(&rounds, 1));
    assert_false(mst_rounds_is_quiet(&rounds));
    talk();
    assert_int_equal(servers[1].applied, 1);
    assert_true(mst_rounds_is_quiet(&rounds));
    for (uint32_t w = 0; w < 3; w++)
        contributes(w);
    talk();
    assert_over(2, 3);
    assert_int_equal(servers[1].applied, 2);
}

// The sums of a round come with bucket 0 alone: the contributions that the others have are not enough to close it.
static void test_a_round_waits_for_the_sums_that_a_ps_lost(void **state)
{
    (void)state;
    struct mst_rounds_config config = config_of(9, 1);
    start(&config);
    all_live();
    talk();
    for (uint32_t w = 0; w < 3; w++)
        contributes(w);
    report(1); // and not 0, which dies before it tells of the sums
    mst_rounds_ps_lost(&rounds, 0);
    servers[0] = (struct fake_ps){0};
    assert_false(mst_rounds_advance(&rounds));
    mst_rounds_ps_back(&rounds, 0);
    talk();
    assert_over(0, 0);
    for (uint32_t w = 0; w < 3; w++)
        arrives(w, 0); // sent once more
    talk();
    assert_over(1, 3);
    assert_int_equal(rounds.total_sums.examples, 30);
}

static void test_a_ps_without_pushed_buckets(void **state)
{
    (void)state;
    struct mst_rounds_config config = config_of(7, 1);
    start(&config);
    mst_rounds_ps_idle(&rounds, 1);
    idle_ps = 1;
    all_live();
    talk();
    for (uint32_t w = 0; w < 3; w++)
        arrives(w, 0);
    report(0);
    assert_true(mst_rounds_advance(&rounds));
    tell(0);
    report(0);
    assert_false(mst_rounds_advance(&rounds)); // it stores the close as the others do
    talk();
    assert_over(1, 3);
    assert_int_equal(servers[1].applied, 1);
}

static void test_nonsense_is_ignored(void **state)
{
    (void)state;
    struct mst_rounds_config config = config_of(7, 1);
    start(&config);
    all_live();
    talk();
    double many[5] = {0};
    struct mst_msg_arrival arrivals[] = {
        {.worker = 3, .unit = 0},
        {.worker = 0, .unit = 5},
        {.worker = 1, .unit = 1, .has_sums = true, .sums = {.n_values = 5, .values = many}},
    };
    struct mst_msg_round_reply reply = {.status = 50, .n_arrivals = 3, .arrivals = arrivals};
    mst_rounds_report(&rounds, 0, &reply);
    mst_rounds_report(&rounds, 1, &reply);
    assert_false(mst_rounds_advance(&rounds));
    reply.status = 51;
    reply.stored_round = 9;
    mst_rounds_report(&rounds, 0, &reply);
    struct mst_msg_round told;
    mst_rounds_tell(&rounds, 0, &told);
    assert_int_equal(told.known, 50);
    mst_rounds_set_worker(&rounds, 99, MST_ROUND_WORKER_LIVE);
}

#define TEST(name) cmocka_unit_test_teardown(name, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_a_round_closes_with_all_that_are_there),
        TEST(test_it_is_acted_on_when_stored_everywhere),
        TEST(test_who_never_joined_is_waited_for),
        TEST(test_servers_are_told_how_many_are_wanted),
        TEST(test_backup_workers_are_not_waited_for),
        TEST(test_a_round_of_the_fenced_closes_empty),
        TEST(test_nothing_closes_while_nobody_lives),
        TEST(test_a_fence_drops_no_contribution),
        TEST(test_epochs_and_their_sums),
        TEST(test_steps_end_it_within_an_epoch),
        TEST(test_stopped_it_ends_with_an_empty_round),
        TEST(test_a_pause_lets_what_is_closed_be_applied),
        TEST(test_scales_come_from_all_norms),
        TEST(test_scales_of_each_variable),
        TEST(test_a_new_chief_repeats_the_last_close),
        TEST(test_a_checkpoint_is_gone_on_from),
        TEST(test_steps_are_skipped),
        TEST(test_a_close_of_another_job_is_refused),
        TEST(test_another_number_of_workers_goes_on),
        TEST(test_other_units_are_refused),
        TEST(test_units_are_skipped),
        TEST(test_a_ps_comes_back_alone),
        TEST(test_a_round_waits_for_the_sums_that_a_ps_lost),
        TEST(test_a_ps_without_pushed_buckets),
        TEST(test_nonsense_is_ignored),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
