// What the tests of the wire's messages share: a message is sent there and back, then compared field by field.
#pragma once

#include "base/arena.h"
#include "base/bytes.h"
#include "wire/frame.h"
#include "wire/messages.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

static struct mst_arena arena;
static struct mst_buf buf;

static int set_up(void **state)
{
    (void)state;
    mst_arena_init(&arena, MST_MSG_ARENA_MAX);
    mst_buf_init(&buf, MST_FRAME_META_MAX);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    mst_arena_fini(&arena);
    mst_buf_fini(&buf);
    return 0;
}

// `got` is what `sent` becomes.
#define SEND(name)                                                                                                     \
    struct mst_msg_##name got;                                                                                         \
    mst_buf_reset(&buf);                                                                                               \
    assert_int_equal(mst_msg_##name##_encode(&sent, &buf), MST_OK);                                                    \
    assert_int_equal(mst_msg_##name##_decode(mst_buf_view(&buf), &arena, &got, NULL), MST_OK)
#define SAME(field)      assert_int_equal(got.field, sent.field)
#define SAME_TEXT(field) assert_string_equal(got.field, sent.field)
#define SAME_REAL(field) assert_true(got.field == sent.field)

#define CASE(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

static double values[] = {0.5, -4, 1e300, 8.25};
static const struct mst_training_sums sums = {.steps = 1,
                                              .examples = 2,
                                              .staleness_sum = 7,
                                              .staleness_max = 8,
                                              .n_values = 4,
                                              .values = values,
                                              .staleness_counts = {1, 0, 2, 3, 0, 5}};

static inline void expect_sums(const struct mst_training_sums *got)
{
    assert_int_equal(got->steps, sums.steps);
    assert_int_equal(got->examples, sums.examples);
    assert_int_equal(got->staleness_sum, sums.staleness_sum);
    assert_int_equal(got->staleness_max, sums.staleness_max);
    assert_memory_equal(got->staleness_counts, sums.staleness_counts, sizeof sums.staleness_counts);
    assert_int_equal(got->n_values, sums.n_values);
    assert_memory_equal(got->values, values, sizeof values);
}
