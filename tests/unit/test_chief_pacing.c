// Who may lead whom by how much: one rule a test, then random jobs against a plain second account of the rule.
#include "chief/pacing.h"

#include "base/rng.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static struct mst_pacing pacing;

static int teardown(void **state)
{
    (void)state;
    mst_pacing_fini(&pacing);
    return 0;
}

static uint64_t allowed(uint32_t worker)
{
    return mst_pacing_allows(&pacing, worker, 1);
}

static void give(uint32_t worker, uint64_t n)
{
    assert_in_range(n, 1, allowed(worker));
    mst_pacing_given(&pacing, worker, 1, n);
}

static void done(uint32_t worker, uint64_t n)
{
    mst_pacing_done(&pacing, worker, 1, n);
}

static void rests(uint32_t worker)
{
    mst_pacing_given(&pacing, worker, 1, 0);
}

static void test_without_a_limit_all_is_allowed(void **state)
{
    (void)state;
    mst_pacing_init(&pacing, 0);
    assert_true(allowed(0) == UINT64_MAX);
    mst_pacing_given(&pacing, 0, 1, 1000);
    mst_pacing_done(&pacing, 0, 1, 1000);
    assert_true(allowed(0) == UINT64_MAX);
    assert_int_equal(pacing.n_runners, 0);
}

static void test_the_fast_waits_for_the_slow(void **state)
{
    (void)state;
    mst_pacing_init(&pacing, 2);
    give(0, 1);
    give(1, 1);
    give(1, 1); // fetched ahead
    assert_int_equal(allowed(1), 0);
    done(1, 2);
    assert_int_equal(allowed(1), 0);
    assert_int_equal(mst_pacing_n_held_back(&pacing), 0);
    char awaited[64];
    mst_pacing_awaited(&pacing, awaited, sizeof awaited);
    assert_string_equal(awaited, "");
    rests(1);
    assert_int_equal(mst_pacing_n_held_back(&pacing), 1);
    mst_pacing_awaited(&pacing, awaited, sizeof awaited);
    assert_string_equal(awaited, "worker-0, 2 steps behind worker-1");
    done(0, 1);
    give(0, 1);
    give(1, 1);
    assert_int_equal(mst_pacing_n_held_back(&pacing), 0);
    assert_int_equal(allowed(1), 0);
}

static void test_with_one_step_there_is_one_lease_at_a_time(void **state)
{
    (void)state;
    mst_pacing_init(&pacing, 1);
    for (int step = 0; step < 3; step++) {
        give(0, 1);
        assert_int_equal(allowed(0), 0); // also when it is alone: who joins starts at its clock
        done(0, 1);
    }
}

static void test_a_joiner_starts_with_the_slowest(void **state)
{
    (void)state;
    mst_pacing_init(&pacing, 3);
    for (int step = 0; step < 10; step++) {
        give(0, 1);
        done(0, 1);
    }
    give(0, 1);
    give(1, 1); // at 10 as well
    give(1, 1);
    give(1, 1);
    assert_int_equal(allowed(1), 0);
    done(1, 3);
    assert_int_equal(allowed(1), 0);
    mst_pacing_forget(&pacing, 1, 1);
    assert_int_equal(mst_pacing_allows(&pacing, 1, 2), 1); // its next incarnation joins anew
}

static void test_who_rests_holds_nobody_back(void **state)
{
    (void)state;
    mst_pacing_init(&pacing, 1);
    give(0, 1);
    give(1, 1);
    done(0, 1);
    rests(0); // nothing was left to give
    assert_int_equal(mst_pacing_n_held_back(&pacing), 0);
    for (int step = 0; step < 5; step++) {
        done(1, 1);
        give(1, 1);
    }
    give(0, 1); // from the others' clock on, not from where it was
    assert_int_equal(allowed(1), 0);
    done(0, 1);
    assert_int_equal(allowed(0), 0);
    rests(0);
    done(1, 1);
    give(1, 1);
    give(0, 1);
}

static void test_the_dead_hold_nobody_back(void **state)
{
    (void)state;
    mst_pacing_init(&pacing, 1);
    give(0, 1);
    give(1, 1);
    done(1, 1);
    assert_int_equal(allowed(1), 0);
    rests(1);
    mst_pacing_forget(&pacing, 0, 1);
    give(1, 1);
}

static void test_leases_are_short_against_the_limit(void **state)
{
    (void)state;
    mst_pacing_init(&pacing, 7);
    assert_int_equal(allowed(0), 1);
    mst_pacing_fini(&pacing);
    mst_pacing_init(&pacing, 8);
    assert_int_equal(allowed(0), 2);
    mst_pacing_fini(&pacing);
    mst_pacing_init(&pacing, 1000);
    assert_int_equal(allowed(0), 250);
}

// ---- random jobs ----

enum { N_WORKERS = 4, N_EVENTS = 4000 };

// The second account: what each worker has begun at most and surely done, as the rule's words say it.
struct account {
    uint64_t number; // 0: it is not there
    uint64_t done;
    uint64_t held;
    bool has_started;
};

static struct account accounts[N_WORKERS];
static uint64_t highest_start; // the clock of the slowest, or of the last there was

static uint64_t slowest_holder(void)
{
    uint64_t slowest = UINT64_MAX;
    for (size_t i = 0; i < N_WORKERS; i++)
        if (accounts[i].has_started && accounts[i].done < slowest)
            slowest = accounts[i].done;
    return slowest;
}

static void note_start(void)
{
    uint64_t slowest = slowest_holder();
    if (slowest != UINT64_MAX)
        highest_start = slowest;
}

static void check_lead(uint64_t limit, uint64_t seed)
{
    uint64_t slowest = slowest_holder();
    for (size_t i = 0; i < N_WORKERS; i++) {
        if (!accounts[i].held || accounts[i].done + accounts[i].held <= slowest + limit)
            continue;
        fprintf(stderr, "seed %llu: worker %zu may be at %llu, the slowest is at %llu\n", (unsigned long long)seed, i,
                (unsigned long long)(accounts[i].done + accounts[i].held), (unsigned long long)slowest);
        fail();
    }
}

static void ask(uint32_t worker, uint64_t left, uint64_t want)
{
    struct account *account = &accounts[worker];
    uint64_t slowest = slowest_holder();
    note_start();
    // One that begins takes the clock of the slowest that hold a lease, or of the last that held one.
    uint64_t clock = account->has_started || account->done > highest_start ? account->done : highest_start;
    uint64_t end = (slowest < clock ? slowest : clock) + pacing.limit;
    uint64_t most = pacing.limit < 8 ? 1 : pacing.limit / 4;
    uint64_t room = mst_pacing_allows(&pacing, worker, account->number);
    uint64_t expected = end - (clock + account->held);
    assert_int_equal(room, expected < most ? expected : most);
    uint64_t n = room < want ? room : want;
    if (n > left)
        n = left;
    mst_pacing_given(&pacing, worker, account->number, n);
    account->done = clock;
    account->held += n;
    account->has_started = account->held > 0;
    note_start();
}

static void random_job(uint64_t seed)
{
    struct mst_rng_key key = {{(uint32_t)seed, (uint32_t)(seed >> 32)}, {0, 0}};
    uint32_t dice[4];
    mst_rng_block(key, 0, dice);
    uint64_t limit = 1 + dice[0] % (dice[1] % 2 ? 3 : 40);
    uint64_t last_number = 0;
    mst_pacing_init(&pacing, limit);
    for (uint64_t event = 1; event <= N_EVENTS; event++) {
        mst_rng_block(key, event, dice);
        uint32_t worker = dice[0] % N_WORKERS;
        struct account *account = &accounts[worker];
        if (!account->number) {
            *account = (struct account){.number = ++last_number};
        } else if (dice[1] % 50 == 0) {
            mst_pacing_forget(&pacing, worker, account->number);
            *account = (struct account){0};
        } else if (account->held && dice[1] % 2) {
            uint64_t n = 1 + dice[2] % account->held;
            mst_pacing_done(&pacing, worker, account->number, n);
            account->done += n;
            account->held -= n;
            ask(worker, dice[2] % 10 ? UINT64_MAX : 0, 1 + dice[3] % 8); // sometimes nothing is left to give
        } else {
            ask(worker, UINT64_MAX, 1 + dice[3] % 8);
        }
        check_lead(limit, seed);
        if (slowest_holder() == UINT64_MAX && account->number) { // nobody to wait for
            ask(worker, UINT64_MAX, 1);
            assert_int_equal(account->held, 1);
        }
    }
    mst_pacing_fini(&pacing);
    for (size_t i = 0; i < N_WORKERS; i++)
        accounts[i] = (struct account){0};
    highest_start = 0;
}

static void test_random_jobs_keep_the_limit(void **state)
{
    (void)state;
    const char *given = getenv("MUSTER_TEST_SEED");
    uint64_t first = given ? strtoull(given, NULL, 10) : 1;
    printf("seeds %llu to %llu (MUSTER_TEST_SEED)\n", (unsigned long long)first, (unsigned long long)first + 99);
    for (uint64_t seed = first; seed < first + 100; seed++)
        random_job(seed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_without_a_limit_all_is_allowed, teardown),
        cmocka_unit_test_teardown(test_the_fast_waits_for_the_slow, teardown),
        cmocka_unit_test_teardown(test_with_one_step_there_is_one_lease_at_a_time, teardown),
        cmocka_unit_test_teardown(test_a_joiner_starts_with_the_slowest, teardown),
        cmocka_unit_test_teardown(test_who_rests_holds_nobody_back, teardown),
        cmocka_unit_test_teardown(test_the_dead_hold_nobody_back, teardown),
        cmocka_unit_test_teardown(test_leases_are_short_against_the_limit, teardown),
        cmocka_unit_test_teardown(test_random_jobs_keep_the_limit, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
