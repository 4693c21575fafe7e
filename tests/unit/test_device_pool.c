// The pool: every slice is done once, its results are there when the run returns, whatever the number of threads and
// slices and whether helpers still spin or already sleep.
#include "device/cpu/pool.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

enum { MAX_SLICES = 40 };

struct job {
    size_t n_slices;
    uint64_t run;
    uint64_t done[MAX_SLICES]; // each written by one slice, without a lock
    size_t length;             // of the busy work
};

static volatile unsigned sink;

static void work(size_t length)
{
    for (size_t i = 0; i < length; i++)
        sink = (unsigned)i;
}

static void do_slice(void *context, size_t slice, size_t n_slices)
{
    struct job *job = context;
    if (job->n_slices == n_slices && slice < n_slices)
        job->done[slice] += job->run;
    for (volatile size_t i = 0; i < job->length; i++)
        continue;
}

static void check_run(struct mst_pool *pool, size_t n_slices, uint64_t run, size_t length)
{
    struct job job = {.n_slices = n_slices, .run = run, .length = length};
    mst_pool_run(pool, n_slices, do_slice, &job);
    for (size_t i = 0; i < MAX_SLICES; i++)
        assert_int_equal(job.done[i], i < n_slices ? run : 0);
}

static void test_every_slice_once(void **state)
{
    (void)state;
    for (size_t n_threads = 1; n_threads <= 5; n_threads++) {
        struct mst_pool *pool;
        assert_int_equal(mst_pool_new(n_threads, &pool), MST_OK);
        for (uint64_t run = 1; run <= 2000; run++) {
            check_run(pool, run % 7, run, run % 3 * 50);
            if (run % 50 == 0)
                work(300000); // until helpers sleep
        }
        for (uint64_t run = 1; run <= 20; run++)
            check_run(pool, MAX_SLICES, run, 1000);
        mst_pool_free(pool);
    }
}

// A value handed from run to run through memory that only the slices touch: what one wrote the next must see, on
// whatever thread.
struct chain {
    uint64_t values[3];
};

static void move_on(void *context, size_t slice, size_t n_slices)
{
    struct chain *chain = context;
    chain->values[slice] = chain->values[slice] * 3 + slice + n_slices;
}

static void test_runs_follow_each_other(void **state)
{
    (void)state;
    enum { RUNS = 5000 };
    struct mst_pool *pool;
    struct chain chain = {{1, 2, 3}};
    struct chain want = chain;
    assert_int_equal(mst_pool_new(3, &pool), MST_OK);
    for (size_t run = 0; run < RUNS; run++) {
        mst_pool_run(pool, 3, move_on, &chain);
        for (size_t slice = 0; slice < 3; slice++)
            move_on(&want, slice, 3);
    }
    mst_pool_free(pool);
    assert_memory_equal(&chain, &want, sizeof chain);
}

static void test_new_and_free(void **state)
{
    (void)state;
    mst_pool_free(NULL);
    for (size_t i = 0; i < 50; i++) {
        struct mst_pool *pool;
        assert_int_equal(mst_pool_new(1 + i % 4, &pool), MST_OK);
        if (i % 2 == 0)
            check_run(pool, 4, i + 1, 10);
        mst_pool_free(pool);
    }
}

static void check_borders(size_t n, size_t granule, size_t n_slices)
{
    assert_int_equal(mst_slice_begin(n, granule, 0, n_slices), 0);
    assert_int_equal(mst_slice_begin(n, granule, n_slices, n_slices), n);
    for (size_t slice = 1; slice < n_slices; slice++) {
        size_t begin = mst_slice_begin(n, granule, slice, n_slices);
        assert_true(begin >= mst_slice_begin(n, granule, slice - 1, n_slices));
        assert_true(begin == n || begin % granule == 0);
    }
}

static void test_slices_cover_all(void **state)
{
    (void)state;
    static const size_t granules[] = {1, 12, 64};
    for (size_t n = 0; n < 300; n++)
        for (size_t g = 0; g < 3; g++)
            for (size_t n_slices = 1; n_slices <= 5; n_slices++)
                check_borders(n, granules[g], n_slices);
    // No slice is more than a granule from its share; nothing overflows.
    assert_int_equal(mst_slice_begin((size_t)1 << 50, 64, 1, 256), (size_t)1 << 42);
    assert_int_equal(mst_slice_begin(64, 12, 1, 2), 36);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_slice_once),
        cmocka_unit_test(test_runs_follow_each_other),
        cmocka_unit_test(test_new_and_free),
        cmocka_unit_test(test_slices_cover_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
