// A job whose rounds would not fit the messages that they are made with is refused when it starts.
#include "chief/round_sizes.h"

#include "base/alloc.h"
#include "chief/chief_state.h"
#include "wire/frame.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct mst_rounds_config rounds_of(size_t n_workers, size_t n_sums, size_t n_clipped)
{
    return (struct mst_rounds_config){.n_ps = 3,
                                      .n_workers = n_workers,
                                      .n_units = 100000,
                                      .n_epochs = 3,
                                      .n_sums = n_sums,
                                      .clip = {.norm = n_clipped ? 1 : 0},
                                      .n_variables = n_clipped};
}

static mst_status check(size_t n_workers, size_t n_sums, size_t n_clipped, struct mst_error *err)
{
    const struct mst_rounds_config config = rounds_of(n_workers, n_sums, n_clipped);
    return mst_round_sizes_check(&config, err);
}

static mst_status check_replicas(size_t n_workers, size_t n_sums, size_t n_clipped, struct mst_error *err)
{
    const struct mst_rounds_config config = rounds_of(n_workers, n_sums, n_clipped);
    return mst_round_sizes_check_replicas(&config, err);
}

static void test_what_is_usual_fits(void **state)
{
    (void)state;
    struct mst_error err;
    assert_int_equal(check(2, 4, 0, &err), MST_OK);
    assert_int_equal(check(1000, 20, 300, &err), MST_OK);
    assert_int_equal(check(8, 1000, 10000, &err), MST_OK);
    assert_int_equal(check_replicas(2, 4, 0, &err), MST_OK);
    assert_int_equal(check_replicas(1000, 20, 300, &err), MST_OK);
    assert_int_equal(check_replicas(8, 1000, 10000, &err), MST_OK);
}

static void test_what_a_backup_does_not_get_is_refused_by_name(void **state)
{
    (void)state;
    struct mst_error err;
    assert_int_equal(check_replicas(20000, 4, 0, &err), MST_INVALID_ARGUMENT);
    assert_non_null(strstr(err.text, "rows of 20000 workers"));
    assert_int_equal(check_replicas(4, MST_SUMS_MAX, 0, &err), MST_INVALID_ARGUMENT);
    assert_non_null(strstr(err.text, "measures"));
    assert_int_equal(check_replicas(4, 4, 50000, &err), MST_INVALID_ARGUMENT);
    assert_non_null(strstr(err.text, "norms of 50001 groups"));
}

static void test_what_the_chief_is_not_told_is_refused_by_name(void **state)
{
    (void)state;
    struct mst_error err;
    assert_int_equal(check(20000, 4, 0, &err), MST_INVALID_ARGUMENT);
    assert_non_null(strstr(err.text, "consistency.workers: a message about a synchronous round of 20000 workers"));
    assert_non_null(strstr(err.text, "or a consistency.staleness above 0"));
    assert_int_equal(check(40, 4000, 0, &err), MST_INVALID_ARGUMENT);
    assert_non_null(strstr(err.text, "4000 sums each (compile.metrics)"));
    assert_int_equal(check(4, 4, 50000, &err), MST_INVALID_ARGUMENT);
    assert_non_null(strstr(err.text, "norms of 50001 groups"));
}

// True if an answer to ROUND fits a frame, in which everything is as long as it can be.
static bool fits(size_t n_workers, size_t n_sums, size_t n_norms)
{
    double *values = mst_alloc_array(n_sums, sizeof *values);
    struct mst_msg_arrival *arrivals = mst_alloc_array(n_workers, sizeof *arrivals);
    struct mst_msg_square_norm *norms = mst_alloc_array(n_norms, sizeof *norms);
    for (size_t w = 0; w < n_workers; w++) {
        arrivals[w] = (struct mst_msg_arrival){UINT32_MAX, UINT64_MAX, UINT64_MAX, 0.5, true, {0}};
        struct mst_training_sums *sums = &arrivals[w].sums;
        sums->steps = sums->examples = sums->staleness_sum = sums->staleness_max = UINT64_MAX;
        for (size_t i = 0; i < MST_STALENESS_BINS; i++)
            sums->staleness_counts[i] = UINT64_MAX;
        sums->n_values = n_sums;
        sums->values = values;
    }
    for (size_t g = 0; g < n_norms; g++)
        norms[g] = (struct mst_msg_square_norm){UINT32_MAX, 1, 1, true};
    const struct mst_msg_round_reply reply = {.status = UINT64_MAX,
                                              .stored_round = UINT64_MAX,
                                              .stored_attempt = UINT64_MAX,
                                              .applied_round = UINT64_MAX,
                                              .n_arrivals = n_workers,
                                              .arrivals = arrivals,
                                              .n_norms = n_norms,
                                              .norms = norms,
                                              .has_begun = true};
    struct mst_buf buf;
    mst_buf_init(&buf, MST_FRAME_META_MAX);
    mst_status status = mst_msg_round_reply_encode(&reply, &buf);
    mst_buf_fini(&buf);
    free(values);
    free(arrivals);
    free(norms);
    return status == MST_OK;
}

// As many workers as fit, and not one more, is what is let start.
static void expect_border(size_t n_sums, size_t n_clipped)
{
    size_t n_norms = n_clipped ? n_clipped + 1 : 0;
    size_t low = 1, high = 1 << 16;
    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        if (fits(middle, n_sums, n_norms))
            low = middle;
        else
            high = middle;
    }
    struct mst_error err;
    if (check(low, n_sums, n_clipped, &err) != MST_OK)
        fail_msg("%s", err.text);
    assert_int_equal(check(high, n_sums, n_clipped, &err), MST_INVALID_ARGUMENT);
}

static void test_the_border_is_that_of_the_answer(void **state)
{
    (void)state;
    expect_border(300, 0);
    expect_border(1000, 0);
    expect_border(20, 2000);
}

static void test_what_a_later_chief_is_not_told_is_refused_by_name(void **state)
{
    (void)state;
    struct mst_error err;
    assert_int_equal(check(2, 16000, 0, &err), MST_INVALID_ARGUMENT);
    assert_non_null(strstr(err.text, "a later chief has to know of synchronous rounds of 2 workers, with 16000 sums"));
    assert_non_null(strstr(err.text, "or a consistency.staleness above 0"));
    assert_int_equal(check(5000, 2, 0, &err), MST_INVALID_ARGUMENT);
    assert_non_null(strstr(err.text, "what a later chief has to know of synchronous rounds of 5000 workers"));
}

// A text of so many bytes.
static char *text_of(size_t n_bytes)
{
    char *text = mst_alloc(n_bytes + 1);
    memset(text, 'x', n_bytes);
    return text;
}

// The state of a chief whose rounds are let start, everything in it as long as it can be.
static void expect_state_fits(size_t n_workers, size_t n_sums)
{
    struct mst_error err;
    const struct mst_rounds_config rounds = rounds_of(n_workers, n_sums, 0);
    const struct mst_coordinator_config config = {.n_ps = rounds.n_ps,
                                                  .n_batches = rounds.n_units,
                                                  .n_epochs = rounds.n_epochs,
                                                  .n_sums = n_sums,
                                                  .n_round_workers = n_workers};
    struct mst_coordinator c;
    struct mst_buf buf;
    if (mst_round_sizes_check(&rounds, &err) != MST_OK)
        fail_msg("%s", err.text);
    mst_coordinator_init(&c, &config);
    for (size_t w = 0; w < n_workers; w++)
        mst_membership_restore(&c.membership, (uint32_t)w, MST_MEMBER_FENCING, UINT64_MAX, UINT64_MAX, 0);
    size_t n_tail = MST_DEAL_TAIL_MAX + n_workers;
    uint64_t *numbers = mst_alloc_array(n_tail, sizeof *numbers);
    struct mst_msg_part *parts = mst_alloc_array(n_workers, sizeof *parts);
    memset(numbers, 0xff, n_tail * sizeof *numbers);
    for (size_t w = 0; w < n_workers; w++)
        parts[w] = (struct mst_msg_part){UINT32_MAX, UINT64_MAX};
    const struct mst_msg_deal deal = {UINT64_MAX, UINT64_MAX, n_tail, numbers, n_workers, parts};
    struct mst_training_sums sums;
    mst_training_sums_init(&sums, n_sums);
    char *path = text_of(4000);
    char *evaluated = text_of(MST_CHIEF_STATE_EVALUATED_MAX);
    const struct mst_chief_state state = {.n_ps = rounds.n_ps,
                                          .ps_threads = numbers,
                                          .restore_prefix = path,
                                          .checkpoint = path,
                                          .n_numbers = 1000,
                                          .numbers = (const int64_t *)numbers,
                                          .evaluated = evaluated,
                                          .has_close = true,
                                          .close = {.n_ins = n_workers,
                                                    .ins = numbers,
                                                    .was = deal,
                                                    .next = deal,
                                                    .epoch_sums = sums,
                                                    .total_sums = sums,
                                                    .n_worker_steps = n_workers,
                                                    .worker_steps = numbers,
                                                    .epoch_sums_before = sums,
                                                    .total_sums_before = sums}};
    mst_buf_init(&buf, MST_CHIEF_STATE_MAX);
    assert_int_equal(mst_chief_state_encode(&state, &c, &buf), MST_OK);
    mst_buf_fini(&buf);
    mst_training_sums_fini(&sums);
    mst_coordinator_fini(&c);
    free(numbers);
    free(parts);
    free(path);
    free(evaluated);
}

static void test_the_state_of_rounds_that_may_start_fits(void **state)
{
    (void)state;
    expect_state_fits(4500, 2);
    expect_state_fits(2, 15000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_is_usual_fits),
        cmocka_unit_test(test_what_a_backup_does_not_get_is_refused_by_name),
        cmocka_unit_test(test_what_the_chief_is_not_told_is_refused_by_name),
        cmocka_unit_test(test_what_a_later_chief_is_not_told_is_refused_by_name),
        cmocka_unit_test(test_the_state_of_rounds_that_may_start_fits),
        cmocka_unit_test(test_the_border_is_that_of_the_answer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
