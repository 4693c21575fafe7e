// Identities: who may talk to whom, and what the refused one reads. And the sums that a cluster adds up.
#include "wire/greeting.h"

#include "muster/status.h"
#include "wire/training_sums.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

static const struct mst_identity self = {
    .job_name = "mnist", .job_hash = 0xabc, .role = MST_PEER_PS, .index = 1, .address = "ps-1:1", .incarnation = 77};
static const struct mst_identity other = {
    .job_name = "mnist", .job_hash = 0xabc, .role = MST_PEER_WORKER, .index = 3, .address = "w-3:1", .incarnation = 99};

static void test_the_same_job_is_accepted(void **state)
{
    (void)state;
    struct mst_msg_greeting greeting;
    mst_identity_greet(&other, &greeting);
    assert_int_equal(greeting.role, MST_PEER_WORKER);
    assert_int_equal(greeting.index, 3);
    assert_int_equal(greeting.incarnation, 99);
    assert_int_equal(greeting.data_thread, MST_GREETING_CONTROL);
    assert_string_equal(greeting.address, "w-3:1");
    assert_int_equal(mst_identity_check(&self, &greeting, NULL), MST_OK);
    struct mst_msg_greeting_reply reply;
    mst_identity_answer(&self, &reply);
    assert_int_equal(reply.version, MST_WIRE_VERSION);
    assert_int_equal(reply.role, MST_PEER_PS);
    assert_int_equal(reply.index, 1);
    assert_int_equal(reply.incarnation, 77);
}

static void expect_refusal(const struct mst_msg_greeting *greeting, const char *const *says, size_t n)
{
    struct mst_error err = {.text = ""};
    assert_int_equal(mst_identity_check(&self, greeting, &err), MST_FAILED_PRECONDITION);
    for (size_t i = 0; i < n; i++)
        if (!strstr(err.text, says[i]))
            fail_msg("\"%s\" does not say \"%s\"", err.text, says[i]);
}

static void test_another_job_names_both(void **state)
{
    (void)state;
    struct mst_msg_greeting greeting;
    mst_identity_greet(&other, &greeting);
    greeting.job_name = "cifar";
    expect_refusal(&greeting, (const char *const[]){"worker-3", "'cifar'", "ps-1", "'mnist'", "same job"}, 5);
    mst_identity_greet(&other, &greeting);
    greeting.job_hash = 0xdef;
    expect_refusal(&greeting, (const char *const[]){"0000000000000def", "0000000000000abc"}, 2);
}

static void test_versions_overlap_or_not(void **state)
{
    (void)state;
    struct mst_msg_greeting greeting;
    mst_identity_greet(&other, &greeting);
    greeting.max_version = 9;
    assert_int_equal(mst_identity_check(&self, &greeting, NULL), MST_OK);
    greeting.min_version = MST_WIRE_VERSION + 1;
    expect_refusal(&greeting, (const char *const[]){"versions 3 to 9", "ps-1 speaks 2", "same muster"}, 3);
    greeting.min_version = greeting.max_version = 0;
    expect_refusal(&greeting, (const char *const[]){"versions 0 to 0"}, 1);
}

static void test_who_is_meant(void **state)
{
    (void)state;
    struct mst_msg_greeting greeting;
    struct mst_error err = {.text = ""};
    mst_identity_greet(&other, &greeting);
    greeting.wanted = 1 + 1;
    assert_int_equal(mst_identity_check(&self, &greeting, NULL), MST_OK);
    greeting.wanted = 0 + 1;
    // Asked again: who has swapped the two addresses may swap them back.
    assert_int_equal(mst_identity_check(&self, &greeting, &err), MST_UNAVAILABLE);
    assert_non_null(strstr(err.text, "ps-1 is at this address and not ps-0"));
    greeting.wanted = 3 + 1;
    assert_int_equal(mst_identity_check(&other, &greeting, &err), MST_UNAVAILABLE);
    assert_non_null(strstr(err.text, "worker-3 is at this address and not ps-3"));
}

static void test_sums_add_up(void **state)
{
    (void)state;
    double first[] = {2.5, 10, 1, 2}, second[] = {0.5, 10, 3};
    struct mst_training_sums a = {1, 10, 5, 9, 4, first, {1}}, b = {2, 20, 7, 4, 3, second, {0, 2}}, sum, growth;
    mst_training_sums_init(&sum, 4);
    mst_training_sums_init(&growth, 4);
    mst_training_sums_add(&sum, &a);
    mst_training_sums_add(&sum, &b); // of one that has measured less
    assert_true(sum.steps == 3 && sum.examples == 30 && sum.staleness_sum == 12 && sum.staleness_max == 9);
    assert_true(sum.values[0] == 3 && sum.values[1] == 20 && sum.values[2] == 4 && sum.values[3] == 2);
    mst_training_sums_add_growth(&growth, &sum, &a); // what was added, but for the maximum
    assert_true(growth.steps == 2 && growth.examples == 20 && growth.staleness_sum == 7 && growth.staleness_max == 9);
    assert_true(growth.staleness_counts[0] == 0 && growth.staleness_counts[1] == 2);
    assert_true(growth.values[0] == 0.5 && growth.values[1] == 10 && growth.values[2] == 3 && growth.values[3] == 0);
    mst_training_sums_copy(&growth, &b);
    assert_true(growth.steps == 2 && growth.staleness_max == 4 && growth.values[2] == 3 && growth.values[3] == 0);
    mst_training_sums_clear(&sum);
    assert_true(sum.steps == 0 && sum.n_values == 4 && sum.values[0] == 0 && sum.values[3] == 0);
    mst_training_sums_fini(&sum);
    mst_training_sums_fini(&growth);
}

static void test_staleness_is_counted_in_bins(void **state)
{
    (void)state;
    // 0, 1, 2, 3-4, 5-8, 9-16, 17-32, 33-64, more
    static const uint64_t stalenesses[] = {0, 1, 2, 3, 4, 5, 8, 9, 16, 17, 32, 33, 64, 65, UINT64_MAX / 2};
    static const uint64_t want[MST_STALENESS_BINS] = {1, 1, 1, 2, 2, 2, 2, 2, 2};
    struct mst_training_sums sums, twice;
    mst_training_sums_init(&sums, 0);
    mst_training_sums_init(&twice, 0);
    for (size_t i = 0; i < sizeof stalenesses / sizeof *stalenesses; i++) {
        mst_training_sums_note_staleness(&sums, stalenesses[i]);
        assert_true(sums.staleness_max == stalenesses[i]);
        assert_true(stalenesses[i] <= mst_staleness_bin_limit(mst_staleness_bin(stalenesses[i])));
    }
    assert_memory_equal(sums.staleness_counts, want, sizeof want);
    assert_true(sums.staleness_sum == 259 + UINT64_MAX / 2);
    mst_training_sums_add(&twice, &sums);
    mst_training_sums_add_growth(&twice, &sums, &sums);
    assert_memory_equal(twice.staleness_counts, want, sizeof want);
    mst_training_sums_fini(&sums);
    mst_training_sums_fini(&twice);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_same_job_is_accepted),
        cmocka_unit_test(test_another_job_names_both),
        cmocka_unit_test(test_versions_overlap_or_not),
        cmocka_unit_test(test_who_is_meant),
        cmocka_unit_test(test_sums_add_up),
        cmocka_unit_test(test_staleness_is_counted_in_bins),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
