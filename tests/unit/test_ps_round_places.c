// What contributions come to: bits against a plain loop, in any order of arrival; norms; who is told, and when.
#include "ps/round_places.h"

#include "base/alloc.h"
#include "base/rng.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { N_WORKERS = 4, KERNEL = 2100, AVERAGE = 7, N = KERNEL + AVERAGE, OTHER = 5 };

struct fixture {
    struct mst_optimizer *optimizer;
    struct mst_bucket *buckets[3]; // trained and an average; one small; one frozen
    struct mst_round_places *rounds;
    float gradients[N_WORKERS][N];
    double weights[N_WORKERS];
};

static struct mst_optimizer *parse_optimizer(const char *clip, double limit)
{
    struct mst_optimizer *optimizer;
    struct mst_error err;
    json_t *json = json_pack("{s:s, s:{s:f}}", "class_name", "Adam", "config", "learning_rate", 0.01);
    if (clip)
        json_object_set_new(json_object_get(json, "config"), clip, json_real(limit));
    assert_int_equal(mst_optimizer_parse(json, "optimizer", &optimizer, &err), MST_OK);
    json_decref(json);
    return optimizer;
}

static struct fixture *make_buckets(const char *clip, double limit)
{
    struct fixture *f = mst_alloc(sizeof *f);
    f->optimizer = parse_optimizer(clip, limit);
    const struct mst_piece first[] = {
        {.variable = 0, .n_rows = 700, .row_floats = 3, .is_whole = true},
        {.variable = 1,
         .n_rows = 7,
         .row_floats = 1,
         .is_whole = true,
         .update = MST_UPDATE_MOVING_AVERAGE,
         .momentum = 0.9},
    };
    const struct mst_piece second[] = {{.variable = 3, .n_rows = OTHER, .row_floats = 1, .is_whole = true}};
    const struct mst_piece third[] = {
        {.variable = 4, .n_rows = 2, .row_floats = 1, .is_whole = true, .update = MST_UPDATE_FROZEN}};
    assert_int_equal(mst_bucket_new(2, first, 2, f->optimizer, &f->buckets[0], NULL), MST_OK);
    assert_int_equal(mst_bucket_new(5, second, 1, f->optimizer, &f->buckets[1], NULL), MST_OK);
    assert_int_equal(mst_bucket_new(9, third, 1, f->optimizer, &f->buckets[2], NULL), MST_OK);
    return f;
}

static mst_status make_places(struct fixture *f, struct mst_error *err)
{
    struct mst_round_places_config config = {
        .buckets = f->buckets, .n_buckets = 3, .optimizer = f->optimizer, .n_workers = N_WORKERS};
    return mst_round_places_new(&config, &f->rounds, err);
}

static struct fixture *make(const char *clip, double limit)
{
    struct fixture *f = make_buckets(clip, limit);
    assert_int_equal(make_places(f, NULL), MST_OK);
    return f;
}

static void release(struct fixture *f)
{
    mst_round_places_free(f->rounds);
    for (size_t i = 0; i < 3; i++)
        mst_bucket_free(f->buckets[i]);
    mst_optimizer_free(f->optimizer);
    free(f);
}

static struct mst_msg_close close_of(uint64_t round, const uint64_t *ins, size_t n_ins)
{
    static const struct mst_msg_part plan[N_WORKERS] = {{0, 0}, {1, 1}, {2, 2}, {3, 3}};
    return (struct mst_msg_close){
        .round = round, .ins = ins, .n_ins = n_ins, .next = {.n_plan = N_WORKERS, .plan = plan}};
}

static void store(struct fixture *f, uint64_t round, const uint64_t *ins, size_t n_ins)
{
    struct mst_msg_close close = close_of(round, ins, n_ins);
    assert_int_equal(mst_round_table_check(&f->rounds->table, &close), MST_ROUND_CLOSE_NEW);
    mst_round_places_store(f->rounds, &close);
}

static void act(struct fixture *f, const double *scales, size_t n_scales)
{
    assert_true(mst_round_table_must_act(&f->rounds->table, f->rounds->table.stored));
    assert_true(mst_round_places_can_act(f->rounds));
    mst_round_places_act(f->rounds, scales, n_scales);
}

static void begin(struct fixture *f)
{
    store(f, 0, NULL, 0);
    act(f, NULL, 0);
}

static void contribute_to(struct fixture *f, size_t index, uint32_t worker, uint64_t round)
{
    struct mst_round_place *place = &f->rounds->places[index];
    struct mst_round_push push = {
        .worker = worker, .number = 1, .round = round, .unit = worker, .weight = f->weights[worker]};
    assert_int_equal(mst_round_table_offer(&f->rounds->table, place->part, &push), MST_ROUND_TAKE);
    memcpy(place->contributions[worker], f->gradients[worker], mst_bucket_bytes(place->bucket));
    assert_int_equal(mst_round_table_hold(&f->rounds->table, place->part, &push), MST_ROUND_TAKE);
    mst_round_places_contributed(f->rounds, place);
}

static void contribute(struct fixture *f, uint32_t worker, uint64_t round)
{
    contribute_to(f, 0, worker, round);
    contribute_to(f, 1, worker, round);
}

static void draw(struct fixture *f, uint64_t seed)
{
    for (size_t w = 0; w < N_WORKERS; w++) {
        struct mst_rng_key key = mst_rng_key_of(seed, "gradient", w);
        f->weights[w] = (double)(1 + mst_rng_word(key, N) % 64);
        for (size_t i = 0; i < N; i++)
            f->gradients[w][i] = (float)(int32_t)mst_rng_word(key, i) * 0x1p-31f;
    }
}

// As it is defined: one element at a time, in worker order, every operation rounded.
static void reference_mean(const struct fixture *f, const uint64_t *ins, size_t n_ins, float *out)
{
    for (size_t i = 0; i < N; i++) {
        float total = 0;
        float sum = 0;
        for (size_t in = 0; in < n_ins; in++) {
            volatile float product = (float)f->weights[ins[in]] * f->gradients[ins[in]][i];
            volatile float next = in ? product + sum : product;
            sum = next;
            total += (float)f->weights[ins[in]];
        }
        out[i] = n_ins == 1 ? f->gradients[ins[0]][i] : sum / total;
    }
}

// A bucket that is pushed the mean, as one worker would.
static struct mst_bucket *reference_bucket(const struct fixture *f, const float *mean, size_t n_rounds)
{
    struct mst_bucket *bucket;
    const struct mst_bucket *like = f->buckets[0];
    assert_int_equal(mst_bucket_new(2, like->pieces, like->n_pieces, f->optimizer, &bucket, NULL), MST_OK);
    for (uint64_t r = 1; r <= n_rounds; r++) {
        struct mst_gradients gradients = {.staged = mean};
        struct mst_bucket_push push = {.worker = 0, .number = 1, .step = r};
        struct mst_push_result result;
        mst_bucket_push(bucket, &push, &gradients, &result);
        mst_version_unref(result.version);
    }
    return bucket;
}

static void expect_reference(const struct fixture *f, const uint64_t *ins, size_t n_ins)
{
    float mean[N];
    reference_mean(f, ins, n_ins, mean);
    struct mst_bucket *bucket = reference_bucket(f, mean, 1);
    assert_memory_equal(f->buckets[0]->current->floats, bucket->current->floats, sizeof mean);
    assert_memory_equal(f->buckets[0]->slots->slots[0], bucket->slots->slots[0], KERNEL * sizeof(float));
    mst_bucket_free(bucket);
}

// All orders of arrival of four workers.
static void test_any_order_of_arrival_gives_the_same_bits(void **state)
{
    (void)state;
    static const uint64_t all[] = {0, 1, 2, 3};
    for (uint32_t order = 0; order < 256; order++) {
        uint32_t at[] = {order & 3, order >> 2 & 3, order >> 4 & 3, order >> 6 & 3};
        if ((1u << at[0] | 1u << at[1] | 1u << at[2] | 1u << at[3]) != 15)
            continue;
        struct fixture *f = make(NULL, 0);
        draw(f, 7);
        begin(f);
        for (size_t i = 0; i < N_WORKERS; i++)
            contribute(f, at[i], 1);
        store(f, 1, all, N_WORKERS);
        act(f, NULL, 0);
        expect_reference(f, all, N_WORKERS);
        assert_int_equal(f->buckets[0]->current->counter, 1);
        assert_int_equal(f->buckets[0]->n_updates, 1);
        assert_int_equal(f->buckets[2]->current->counter, 1); // the frozen one goes along
        release(f);
    }
}

// Every set of workers, though all have come and were added up.
static void test_a_close_may_name_fewer_than_have_come(void **state)
{
    (void)state;
    for (unsigned set = 1; set < 16; set++) {
        struct fixture *f = make(NULL, 0);
        draw(f, set);
        begin(f);
        for (uint32_t w = 0; w < N_WORKERS; w++)
            contribute(f, w, 1);
        uint64_t ins[N_WORKERS];
        size_t n_ins = 0;
        for (uint32_t w = 0; w < N_WORKERS; w++)
            if (set >> w & 1)
                ins[n_ins++] = w;
        store(f, 1, ins, n_ins);
        act(f, NULL, 0);
        expect_reference(f, ins, n_ins);
        release(f);
    }
}

static void test_what_comes_after_the_close_does_not_count(void **state)
{
    (void)state;
    struct fixture *f = make(NULL, 0);
    draw(f, 3);
    begin(f);
    static const uint64_t ins[] = {1, 3};
    contribute(f, 1, 1);
    contribute(f, 3, 1);
    store(f, 1, ins, 2);
    contribute(f, 0, 1);
    contribute(f, 2, 1);
    act(f, NULL, 0);
    expect_reference(f, ins, 2);
    // The next round begins from nothing.
    contribute(f, 0, 2);
    assert_int_equal(f->rounds->places[0].n_added, 1);
    release(f);
}

static void test_an_empty_round_is_no_update(void **state)
{
    (void)state;
    struct fixture *f = make(NULL, 0);
    draw(f, 5);
    begin(f);
    contribute_to(f, 0, 0, 1); // half of one
    store(f, 1, NULL, 0);
    act(f, NULL, 0);
    assert_int_equal(f->buckets[0]->current->counter, 1);
    assert_int_equal(f->buckets[0]->n_updates, 0);
    for (size_t i = 0; i < N; i++)
        assert_true(f->buckets[0]->current->floats[i] == 0);
    release(f);
}

static void test_nothing_weighs_anything(void **state)
{
    (void)state;
    struct fixture *f = make(NULL, 0);
    begin(f);
    contribute(f, 0, 1);
    contribute(f, 1, 1);
    static const uint64_t ins[] = {0, 1};
    store(f, 1, ins, 2);
    act(f, NULL, 0);
    assert_true(f->rounds->places[0].is_finite);
    release(f);
}

static void test_a_gradient_that_is_not_finite_is_noticed(void **state)
{
    (void)state;
    struct fixture *f = make(NULL, 0);
    draw(f, 5);
    f->gradients[1][2] = INFINITY;
    begin(f);
    contribute(f, 0, 1);
    contribute(f, 1, 1);
    static const uint64_t ins[] = {0, 1};
    store(f, 1, ins, 2);
    act(f, NULL, 0);
    assert_false(f->rounds->places[0].is_finite);
    release(f);
}

static double square_sum(const float *x, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += (double)x[i] * (double)x[i];
    return sum;
}

// The norm is of the mean, without the average, over all buckets; the scale reaches the same floats.
static void test_the_global_norm_is_of_what_the_optimizer_updates(void **state)
{
    (void)state;
    static const uint64_t all[] = {0, 1, 2, 3};
    struct fixture *f = make("global_clipnorm", 0.5);
    draw(f, 11);
    begin(f);
    for (uint32_t w = 0; w < N_WORKERS; w++)
        contribute(f, w, 1);
    store(f, 1, all, N_WORKERS);
    struct mst_square_norm norm = {0};
    bool is_here = false;
    mst_round_places_norms(f->rounds, &norm, &is_here);
    float mean[N];
    reference_mean(f, all, N_WORKERS, mean);
    double expected = square_sum(mean, KERNEL) + square_sum(mean, OTHER);
    assert_true(is_here);
    assert_true(fabs(mst_square_norm_value(&norm) - expected) < 1e-12 * expected);
    const double scale = 0.25;
    act(f, &scale, 1);
    for (size_t i = 0; i < KERNEL; i++)
        mean[i] *= 0.25f;
    struct mst_bucket *bucket = reference_bucket(f, mean, 1);
    assert_memory_equal(f->buckets[0]->current->floats, bucket->current->floats, sizeof mean);
    mst_bucket_free(bucket);
    release(f);
}

static void test_each_variable_has_a_norm_and_a_scale(void **state)
{
    (void)state;
    static const uint64_t one[] = {2};
    struct fixture *f = make("clipnorm", 0.5);
    draw(f, 12);
    begin(f);
    contribute(f, 2, 1);
    store(f, 1, one, 1);
    struct mst_square_norm norms[6] = {{0}};
    bool is_here[6] = {0};
    mst_round_places_norms(f->rounds, norms, is_here);
    const bool expected[6] = {[1] = true, [4] = true}; // variables 0 and 3
    assert_memory_equal(is_here, expected, sizeof is_here);
    assert_true(fabs(mst_square_norm_value(&norms[1]) - square_sum(f->gradients[2], KERNEL)) < 1e-9);
    const double scales[] = {1, 0.5, 1, 1, 1, 1};
    act(f, scales, 6);
    float mean[N];
    memcpy(mean, f->gradients[2], sizeof mean);
    for (size_t i = 0; i < KERNEL; i++)
        mean[i] *= 0.5f;
    struct mst_bucket *bucket = reference_bucket(f, mean, 1);
    assert_memory_equal(f->buckets[0]->current->floats, bucket->current->floats, sizeof mean);
    mst_bucket_free(bucket);
    release(f);
}

static void test_a_bucket_remembers_who_was_in(void **state)
{
    (void)state;
    struct fixture *f = make(NULL, 0);
    draw(f, 1);
    begin(f);
    contribute(f, 3, 1);
    static const uint64_t ins[] = {3};
    store(f, 1, ins, 1);
    act(f, NULL, 0);
    const struct mst_client_row *row = mst_client_table_row(&f->buckets[0]->clients, 3);
    assert_non_null(row);
    assert_true(row->number == 1 && row->step == 1 && row->lease == 1 && row->offset == 4);
    release(f);
}

struct told {
    struct mst_round_waiter base;
    unsigned n;
    uint64_t counter;
    struct mst_msg_turn turn;
};

static void on_applied(struct mst_round_waiter *waiter, struct mst_bucket *bucket, const struct mst_msg_turn *turn,
                       bool is_finite)
{
    struct told *told = (struct told *)waiter;
    assert_true(is_finite);
    told->n++;
    told->counter = bucket->current->counter;
    told->turn = *turn;
}

static bool is_this(const void *arg, struct mst_round_waiter *waiter)
{
    return waiter == arg;
}

static void test_whoever_waits_is_told_once_and_not_before(void **state)
{
    (void)state;
    struct fixture *f = make(NULL, 0);
    struct told early = {.base = {.round = 0, .worker = 1, .on_applied = on_applied}};
    struct told next = {.base = {.round = 1, .worker = 2, .on_applied = on_applied}};
    struct told late = {.base = {.round = 2, .worker = 3, .on_applied = on_applied}};
    struct told gone = {.base = {.round = 0, .worker = 0, .on_applied = on_applied}};
    struct mst_round_place *place = mst_round_places_find(f->rounds, 5);
    mst_round_places_wait(place, &early.base);
    mst_round_places_wait(place, &next.base);
    mst_round_places_wait(place, &late.base);
    mst_round_places_wait(place, &gone.base);
    mst_round_places_drop(f->rounds, is_this, &gone.base);
    begin(f);
    assert_int_equal(early.n, 1);
    assert_int_equal(next.n, 0);
    store(f, 1, NULL, 0);
    act(f, NULL, 0);
    assert_int_equal(early.n, 1);
    assert_int_equal(next.n, 1);
    assert_true(next.counter == 1 && next.turn.round == 1 && next.turn.has_unit && next.turn.unit == 2);
    assert_int_equal(late.n, 0);
    assert_int_equal(gone.n, 0);
    assert_ptr_equal(place->waiters, &late.base);
    release(f);
}

static void test_a_round_waits_for_a_buffer(void **state)
{
    (void)state;
    struct fixture *f = make(NULL, 0);
    draw(f, 2);
    begin(f);
    struct mst_version *held[MST_BUCKET_VERSIONS];
    static const uint64_t ins[] = {0};
    for (uint64_t round = 1; round <= MST_BUCKET_VERSIONS; round++) {
        held[round - 1] = mst_bucket_pull(f->buckets[1], MST_NO_WORKER, 0);
        contribute(f, 0, round);
        store(f, round, ins, 1);
        assert_int_equal(mst_round_places_can_act(f->rounds), round < MST_BUCKET_VERSIONS);
        if (round < MST_BUCKET_VERSIONS)
            act(f, NULL, 0);
    }
    mst_version_unref(held[0]);
    act(f, NULL, 0);
    assert_int_equal(f->buckets[0]->n_updates, MST_BUCKET_VERSIONS); // none was applied alone meanwhile
    for (size_t i = 1; i < MST_BUCKET_VERSIONS; i++)
        mst_version_unref(held[i]);
    release(f);
}

// A follower that stands still holds the means of the rounds that it has not yet; there are no more of them afterwards
// than before.
static void test_means_that_were_held_for_long_are_freed(void **state)
{
    (void)state;
    enum { N_HELD = 6 };
    static const uint64_t ins[] = {1, 2};
    struct fixture *f = make(NULL, 0);
    const struct mst_round_place *place = &f->rounds->places[0];
    struct mst_round_mean *held[N_HELD];
    f->rounds->is_replicated = true;
    begin(f);
    draw(f, 9);
    for (uint64_t round = 1; round <= N_HELD; round++) {
        contribute(f, 1, round);
        contribute(f, 2, round);
        store(f, round, ins, 2);
        held[round - 1] = mst_round_mean_ref(place->stored);
        act(f, NULL, 0);
        assert_int_equal(place->n_free_means, 0);
    }
    for (size_t i = 0; i < N_HELD; i++)
        mst_round_mean_unref(held[i]);
    assert_int_equal(place->n_free_means, MST_ROUND_MEANS_KEPT);
    for (uint64_t round = N_HELD + 1; round <= N_HELD + 2; round++) {
        contribute(f, 1, round);
        contribute(f, 2, round);
        store(f, round, ins, 2);
        act(f, NULL, 0);
    }
    assert_int_equal(place->n_free_means, MST_ROUND_MEANS_KEPT); // one of them was used
    release(f);
}

static void test_memory_that_is_not_there_is_refused_by_name(void **state)
{
    (void)state;
    struct fixture *f = make_buckets(NULL, 0);
    struct mst_error err = {.text = ""};
    assert_int_equal(make_places(f, &err), MST_RESOURCE_EXHAUSTED); // MST_FAIL_NTH is set by main
    assert_null(f->rounds);
    // (N + 5) floats for each of 4 workers and a sum.
    assert_non_null(strstr(err.text, "4 workers"));
    assert_non_null(strstr(err.text, "42240 bytes"));
    release(f);
}

int main(void)
{
    setenv("MST_FAIL_NTH", "12", 1); // the buckets make 7, so it is one of the contributions'
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_memory_that_is_not_there_is_refused_by_name), // first
        cmocka_unit_test(test_any_order_of_arrival_gives_the_same_bits),
        cmocka_unit_test(test_a_close_may_name_fewer_than_have_come),
        cmocka_unit_test(test_what_comes_after_the_close_does_not_count),
        cmocka_unit_test(test_an_empty_round_is_no_update),
        cmocka_unit_test(test_nothing_weighs_anything),
        cmocka_unit_test(test_a_gradient_that_is_not_finite_is_noticed),
        cmocka_unit_test(test_the_global_norm_is_of_what_the_optimizer_updates),
        cmocka_unit_test(test_each_variable_has_a_norm_and_a_scale),
        cmocka_unit_test(test_a_bucket_remembers_who_was_in),
        cmocka_unit_test(test_whoever_waits_is_told_once_and_not_before),
        cmocka_unit_test(test_a_round_waits_for_a_buffer),
        cmocka_unit_test(test_means_that_were_held_for_long_are_freed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
