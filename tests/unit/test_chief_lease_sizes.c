// A job whose chief could not leave all that it knows to the next one is refused when it starts.
#include "chief/lease_sizes.h"

#include "base/alloc.h"
#include "chief/chief_state.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { NOW_MS = 1000, N_CALLBACKS = 1000, PATH_BYTES = 4000 };

static struct mst_coordinator_config job_of(uint64_t n_batches, uint64_t n_epochs)
{
    return (struct mst_coordinator_config){
        .n_ps = 3, .n_batches = n_batches, .n_epochs = n_epochs, .lease_ms = 1000, .n_sums = 2};
}

static mst_status check(uint64_t n_batches, uint64_t n_epochs, size_t n_workers, struct mst_error *err)
{
    const struct mst_coordinator_config config = job_of(n_batches, n_epochs);
    return mst_lease_sizes_check(&config, n_workers, err);
}

static void test_what_is_usual_fits(void **state)
{
    (void)state;
    struct mst_error err = {.text = ""};
    assert_int_equal(check(1, 1, 1, &err), MST_OK);
    assert_int_equal(check(1000, 100, 64, &err), MST_OK);
    assert_int_equal(check(100000, 1000, 2000, &err), MST_OK);
    assert_int_equal(check(UINT64_MAX / 8, 1000000, 1000, &err), MST_OK);
}

static void test_too_many_workers_are_refused_by_number(void **state)
{
    (void)state;
    struct mst_error err = {.text = ""};
    assert_int_equal(check(100000, 1000, 10000, &err), MST_INVALID_ARGUMENT);
    assert_non_null(strstr(err.text, "10000 workers and 3 parameter servers"));
    assert_non_null(strstr(err.text, "fewer workers"));
}

// The most workers that a job is let start with.
static size_t most_workers(uint64_t n_batches, uint64_t n_epochs)
{
    size_t fits = 1;
    size_t n_more = 8192;
    for (; n_more > 0; n_more /= 2)
        fits += check(n_batches, n_epochs, fits + n_more, NULL) == MST_OK ? n_more : 0;
    return fits;
}

static void take_leases(struct mst_coordinator *c, uint32_t worker, uint64_t number)
{
    double values[2] = {0};
    struct mst_lease_ask ask = {.worker = worker, .number = number, .sums = {.n_values = 2, .values = values}};
    struct mst_lease_answer answer;
    for (ask.seq = 1; ask.seq <= MST_LEASES_PER_WORKER; ask.seq++) {
        mst_coordinator_ask(c, &ask, NOW_MS, &answer);
        assert_int_equal(answer.kind, MST_ANSWER_LEASE);
    }
}

// All workers of the job are there, in their second life: the leases of their first came back, and others are held.
static void expect_state_fits(uint64_t n_batches, uint64_t n_epochs)
{
    const struct mst_coordinator_config config = job_of(n_batches, n_epochs);
    size_t n_workers = most_workers(n_batches, n_epochs);
    struct mst_coordinator c;
    struct mst_buf buf;
    char path[PATH_BYTES + 1] = "";
    struct mst_msg_client_row *rows = mst_alloc_array(n_workers, sizeof *rows);
    int64_t *numbers = mst_alloc_array(N_CALLBACKS, sizeof *numbers);
    mst_coordinator_init(&c, &config);
    mst_coordinator_skip(&c, n_batches * n_epochs / 2); // numbers of leases and epochs as long as they get
    c.leases.next_id = n_batches * n_epochs;
    mst_membership_begin_again(&c.membership, n_workers, UINT64_C(1800000000000));
    for (uint32_t w = 0; w < n_workers; w++) {
        uint64_t number;
        mst_membership_greet(&c.membership, w, UINT64_MAX - w, NOW_MS, &number);
        take_leases(&c, w, number);
        rows[w] = (struct mst_msg_client_row){
            .worker = w, .number = number, .step = n_batches, .lease = c.leases.next_id, .offset = 4};
    }
    for (uint32_t w = 0; w < n_workers; w++)
        mst_leases_revoke(&c.leases, w, c.membership.members[w].number, NULL, 0);
    assert_int_equal(c.leases.n_ranges, MST_LEASES_PER_WORKER * n_workers);
    uint64_t n_left = c.leases.n_ranges;
    struct mst_lease_range *left = c.leases.returned;
    c.leases.returned = NULL; // they stay, though the next leases would be of them
    c.leases.n_ranges = 0;
    for (uint32_t w = 0; w < n_workers; w++)
        take_leases(&c, w, c.membership.members[w].number);
    free(c.leases.returned);
    c.leases.returned = left;
    c.leases.n_ranges = n_left;
    memset(path, 'x', PATH_BYTES);
    memset(numbers, 0xff, N_CALLBACKS * sizeof *numbers);
    const uint64_t threads[3] = {UINT64_MAX, UINT64_MAX, UINT64_MAX};
    const struct mst_chief_state state = {.n_ps = 3,
                                          .ps_threads = threads,
                                          .restore_prefix = path,
                                          .checkpoint = path,
                                          .n_numbers = N_CALLBACKS,
                                          .numbers = numbers,
                                          .n_checkpoint_rows = n_workers,
                                          .checkpoint_rows = rows};
    mst_buf_init(&buf, MST_CHIEF_STATE_MAX);
    assert_int_equal(mst_chief_state_encode(&state, &c, &buf), MST_OK);
    assert_true(buf.len > MST_CHIEF_STATE_MAX / 2); // so what is refused is no trifle
    mst_buf_fini(&buf);
    mst_coordinator_fini(&c);
    free(numbers);
    free(rows);
}

static void test_the_state_of_leases_that_may_start_fits(void **state)
{
    (void)state;
    expect_state_fits(1000000, 100);
    expect_state_fits(1, 1000000); // an epoch each lease
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_is_usual_fits),
        cmocka_unit_test(test_too_many_workers_are_refused_by_number),
        cmocka_unit_test(test_the_state_of_leases_that_may_start_fits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
