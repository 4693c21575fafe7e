// Deals against a second, slow account of the rule that knows only sets: what is left of an epoch is a list, and each
// deal takes from it.
#include "chief/deal.h"

#include "base/rng.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { MAX_WORKERS = 5, MAX_UNITS = 40 };

static uint64_t draw(uint64_t *state, uint64_t n)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (*state >> 33) % (n + (n == 0));
}

// The rule, told plainly.
struct naive {
    const struct mst_deal_shape *shape;
    uint64_t epoch;
    uint64_t next_regular; // the number of the next regular round
    uint64_t tail[MAX_UNITS];
    size_t n_tail;
    struct mst_msg_part plan[MAX_WORKERS];
    size_t n_plan;
};

static void naive_regular(struct naive *n)
{
    n->n_plan = 0;
    for (uint32_t w = 0; w < n->shape->n_workers; w++)
        if (n->next_regular * n->shape->n_workers + w < n->shape->n_units)
            n->plan[n->n_plan++] = (struct mst_msg_part){w, n->next_regular * n->shape->n_workers + w};
    n->next_regular++;
}

static void naive_next(struct naive *n, const bool *is_in, const bool *is_living)
{
    for (size_t i = 0; i < n->n_plan; i++)
        if (!is_in[n->plan[i].worker])
            n->tail[n->n_tail++] = n->plan[i].unit;
    n->n_plan = 0;
    if (n->next_regular * n->shape->n_workers < n->shape->n_units) {
        naive_regular(n);
        return;
    }
    for (uint32_t w = 0; w < n->shape->n_workers && n->n_tail > 0; w++)
        if (is_living[w]) {
            n->plan[n->n_plan++] = (struct mst_msg_part){w, n->tail[0]};
            memmove(n->tail, n->tail + 1, --n->n_tail * sizeof n->tail[0]);
        }
    if (n->n_plan > 0)
        return;
    n->epoch++;
    n->next_regular = 0;
    if (n->epoch < n->shape->n_epochs)
        naive_regular(n);
}

static void assert_same(const struct naive *n, const struct mst_deal *deal)
{
    assert_int_equal(deal->epoch, n->epoch);
    assert_int_equal(deal->n_plan, n->n_plan);
    assert_int_equal(deal->n_tail, n->n_tail);
    for (size_t i = 0; i < n->n_plan; i++) {
        assert_int_equal(deal->plan[i].worker, n->plan[i].worker);
        assert_int_equal(deal->plan[i].unit, n->plan[i].unit);
    }
    for (size_t i = 0; i < n->n_tail; i++)
        assert_int_equal(deal->tail[i], n->tail[i]);
}

static void run_random(uint64_t seed)
{
    uint64_t dice = seed;
    struct mst_deal_shape shape = {1 + draw(&dice, MAX_WORKERS), 1 + draw(&dice, MAX_UNITS - MAX_WORKERS),
                                   1 + draw(&dice, 3)};
    struct naive naive = {.shape = &shape};
    unsigned n_used[MAX_UNITS] = {0};
    struct mst_deal deal;
    naive_regular(&naive);
    mst_deal_at(&deal, &shape, 0, 0);
    for (size_t n_rounds = 0; deal.n_plan > 0; n_rounds++) {
        assert_true(n_rounds < 10000);
        assert_same(&naive, &deal);
        bool is_in[MAX_WORKERS] = {0};
        bool is_living[MAX_WORKERS];
        for (size_t w = 0; w < shape.n_workers; w++)
            is_living[w] = draw(&dice, 3) > 0;
        is_living[draw(&dice, shape.n_workers)] = true;
        for (size_t i = 0; i < deal.n_plan; i++) {
            is_in[deal.plan[i].worker] = draw(&dice, 3) > 0;
            n_used[deal.plan[i].unit] += is_in[deal.plan[i].worker];
        }
        struct mst_deal next;
        mst_deal_next(&next, &shape, &deal, is_in, is_living);
        naive_next(&naive, is_in, is_living);
        mst_deal_fini(&deal);
        deal = next;
    }
    assert_same(&naive, &deal);
    assert_int_equal(mst_deal_n_left(&deal, &shape), 0);
    mst_deal_fini(&deal);
    for (uint64_t u = 0; u < shape.n_units; u++)
        assert_int_equal(n_used[u], shape.n_epochs);
}

static void test_like_the_plain_rule(void **state)
{
    (void)state;
    uint64_t first = mst_rng_system() >> 1;
    for (uint64_t seed = first; seed < first + 2000; seed++) {
        printf(seed == first ? "seeds from %llu\n" : "", (unsigned long long)seed);
        run_random(seed);
    }
}

// 3 workers, 7 units; worker 1 is never in: its units come at the end, dealt to the other two.
static void test_what_is_left_out_comes_at_the_end(void **state)
{
    (void)state;
    struct mst_deal_shape shape = {3, 7, 1};
    struct mst_deal deal;
    const bool is_in[3] = {true, false, true};
    mst_deal_at(&deal, &shape, 0, 0);
    static const uint64_t expected[][3] = {{0, 1, 2}, {3, 4, 5}, {6, 99, 99}, {1, 99, 4}};
    static const uint64_t left[] = {7, 5, 3, 2};
    for (size_t r = 0; r < 4; r++) {
        assert_int_equal(mst_deal_n_left(&deal, &shape), left[r]);
        uint64_t got[3] = {99, 99, 99};
        for (size_t i = 0; i < deal.n_plan; i++)
            got[deal.plan[i].worker] = deal.plan[i].unit;
        assert_memory_equal(got, expected[r], sizeof got);
        struct mst_deal next;
        mst_deal_next(&next, &shape, &deal, is_in, is_in);
        mst_deal_fini(&deal);
        deal = next;
    }
    assert_int_equal(deal.n_plan, 0);
    assert_int_equal(deal.epoch, 1);
    mst_deal_fini(&deal);
}

// The tail never grows far past its limit, and the regular rounds go on after it.
static void test_a_long_tail_is_dealt_early(void **state)
{
    (void)state;
    struct mst_deal_shape shape = {4, 40000, 1};
    struct mst_deal deal;
    unsigned char *used = calloc(shape.n_units, 1);
    const bool is_in[4] = {true, true, false, true};
    mst_deal_at(&deal, &shape, 0, 0);
    size_t n_early = 0;
    while (deal.n_plan > 0) {
        assert_true(deal.n_tail <= MST_DEAL_TAIL_MAX + shape.n_workers);
        n_early += deal.plan[0].unit != deal.k * shape.n_workers && deal.k + 1 < shape.n_units / shape.n_workers;
        for (size_t i = 0; i < deal.n_plan; i++)
            used[deal.plan[i].unit] = (unsigned char)(used[deal.plan[i].unit] + is_in[deal.plan[i].worker]);
        struct mst_deal next;
        mst_deal_next(&next, &shape, &deal, is_in, is_in);
        mst_deal_fini(&deal);
        deal = next;
    }
    assert_true(n_early > 1000);
    for (uint64_t u = 0; u < shape.n_units; u++)
        assert_int_equal(used[u], 1);
    free(used);
    mst_deal_fini(&deal);
}

// Rounds until n_rounds are over, or the epoch is; who is in follows from the dice.
static void train(struct mst_deal *deal, const struct mst_deal_shape *shape, size_t n_rounds, uint64_t *dice,
                  unsigned *n_used)
{
    const bool is_living[MAX_WORKERS] = {true, true, true, true, true};
    for (size_t r = 0; r < n_rounds && deal->epoch == 0; r++) {
        bool is_in[MAX_WORKERS] = {0};
        for (size_t i = 0; i < deal->n_plan; i++) {
            is_in[deal->plan[i].worker] = draw(dice, 3) > 0;
            n_used[deal->plan[i].unit] += is_in[deal->plan[i].worker];
        }
        struct mst_deal next;
        mst_deal_next(&next, shape, deal, is_in, is_living);
        mst_deal_fini(deal);
        *deal = next;
    }
}

// Between them the workers before and those after train every unit of the epoch once.
static void test_other_workers_go_on(void **state)
{
    (void)state;
    uint64_t first = mst_rng_system() >> 1;
    printf("seeds from %llu\n", (unsigned long long)first);
    for (uint64_t seed = first; seed < first + 2000; seed++) {
        uint64_t dice = seed;
        struct mst_deal_shape before = {1 + draw(&dice, MAX_WORKERS), 1 + draw(&dice, MAX_UNITS), 1};
        struct mst_deal_shape after = {1 + draw(&dice, MAX_WORKERS), before.n_units, 1};
        unsigned n_used[MAX_UNITS] = {0};
        struct mst_deal deal;
        struct mst_deal anew;
        mst_deal_at(&deal, &before, 0, 0);
        train(&deal, &before, draw(&dice, 12), &dice, n_used);
        mst_deal_anew(&anew, &after, &deal, before.n_workers);
        assert_int_equal(mst_deal_n_left(&anew, &after), mst_deal_n_left(&deal, &before));
        train(&anew, &after, 10000, &dice, n_used);
        for (uint64_t u = 0; u < before.n_units; u++)
            assert_int_equal(n_used[u], 1);
        mst_deal_fini(&deal);
        mst_deal_fini(&anew);
    }
}

static void test_a_message_and_back(void **state)
{
    (void)state;
    struct mst_deal_shape shape = {2, 5, 2};
    struct mst_msg_part plan[] = {{0, 1}, {1, 3}};
    uint64_t tail[] = {4, 0};
    struct mst_msg_deal message = {.epoch = 1, .k = 3, .n_tail = 2, .tail = tail, .n_plan = 2, .plan = plan};
    struct mst_deal deal;
    assert_int_equal(mst_deal_read(&deal, &shape, &message, NULL), MST_OK);
    struct mst_msg_deal again = mst_deal_message(&deal);
    assert_int_equal(again.epoch, 1);
    assert_int_equal(again.k, 3);
    assert_int_equal(again.n_tail, 2);
    assert_memory_equal(again.tail, tail, sizeof tail);
    assert_int_equal(again.n_plan, 2);
    assert_int_equal(again.plan[1].unit, 3);
    mst_deal_fini(&deal);

    struct mst_error err;
    struct mst_deal_shape smaller = {1, 5, 2};
    assert_int_equal(mst_deal_read(&deal, &smaller, &message, &err), MST_INVALID_ARGUMENT);
    assert_string_equal(err.text,
                        "a deal of epoch 1 names workers or units that a job of 1 workers and 5 units has not");
    tail[1] = 5;
    assert_int_equal(mst_deal_read(&deal, &shape, &message, NULL), MST_INVALID_ARGUMENT);
    tail[1] = 0;
    message.epoch = 2;
    assert_int_equal(mst_deal_read(&deal, &shape, &message, NULL), MST_INVALID_ARGUMENT);
    assert_null(deal.plan);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_like_the_plain_rule),        cmocka_unit_test(test_what_is_left_out_comes_at_the_end),
        cmocka_unit_test(test_a_long_tail_is_dealt_early), cmocka_unit_test(test_other_workers_go_on),
        cmocka_unit_test(test_a_message_and_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
