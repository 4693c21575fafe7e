// Training and validation scores of an epoch meet, whichever comes first, and are told in order.
#include "chief/epoch_scores.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static const struct mst_scores train = {.is_known = true, .n = 1, .values = {5}};
static const struct mst_scores validation = {.is_known = true, .n = 1, .values = {3}};

static void trained(struct mst_epoch_ledger *ledger, uint64_t epoch, bool awaits_validation)
{
    struct mst_epoch_record record = {.epoch = epoch, .n_steps = 10 * (epoch + 1)};
    mst_training_sums_init(&record.sums, 2);
    record.sums.examples = 100 + epoch;
    mst_epoch_ledger_trained(ledger, &record, &train, awaits_validation);
    mst_training_sums_fini(&record.sums);
}

static void test_told_in_order_when_all_is_known(void **state)
{
    (void)state;
    struct mst_epoch_ledger ledger = {0};
    struct mst_epoch_scores scores;
    assert_false(mst_epoch_ledger_take(&ledger, &scores));
    trained(&ledger, 0, true);
    trained(&ledger, 1, true);
    trained(&ledger, 2, false);
    assert_false(mst_epoch_ledger_take(&ledger, &scores));
    mst_epoch_ledger_validated(&ledger, 1, &validation);
    assert_false(mst_epoch_ledger_take(&ledger, &scores)); // epoch 0 comes first
    mst_epoch_ledger_validated(&ledger, 0, NULL);
    assert_true(mst_epoch_ledger_take(&ledger, &scores));
    assert_true(scores.epoch == 0 && !scores.validation.is_known && scores.train.values[0] == 5);
    assert_true(mst_epoch_ledger_take(&ledger, &scores));
    assert_true(scores.epoch == 1 && scores.validation.is_known && scores.validation.values[0] == 3);
    assert_true(mst_epoch_ledger_take(&ledger, &scores));
    assert_true(scores.epoch == 2 && !scores.validation.is_known);
    assert_false(mst_epoch_ledger_take(&ledger, &scores));
    mst_epoch_ledger_fini(&ledger);
}

static void test_a_validation_that_nobody_awaits_is_ignored(void **state)
{
    (void)state;
    struct mst_epoch_ledger ledger = {0};
    struct mst_epoch_scores scores;
    mst_epoch_ledger_validated(&ledger, 0, &validation);
    trained(&ledger, 0, false);
    mst_epoch_ledger_validated(&ledger, 0, &validation);
    mst_epoch_ledger_validated(&ledger, 7, &validation);
    assert_true(mst_epoch_ledger_take(&ledger, &scores));
    assert_false(scores.validation.is_known);
    trained(&ledger, 1, true);
    mst_epoch_ledger_validated(&ledger, 1, NULL);
    mst_epoch_ledger_validated(&ledger, 1, &validation); // given up already
    assert_true(mst_epoch_ledger_take(&ledger, &scores));
    assert_true(scores.epoch == 1 && !scores.validation.is_known);
    mst_epoch_ledger_fini(&ledger);
}

static void test_at_the_end_none_is_kept_back(void **state)
{
    (void)state;
    struct mst_epoch_ledger ledger = {0};
    struct mst_epoch_scores scores;
    trained(&ledger, 0, true);
    trained(&ledger, 1, true);
    mst_epoch_ledger_validated(&ledger, 1, &validation);
    mst_epoch_ledger_give_up(&ledger);
    assert_true(mst_epoch_ledger_take(&ledger, &scores));
    assert_true(scores.epoch == 0 && scores.train.is_known && !scores.validation.is_known);
    assert_true(mst_epoch_ledger_take(&ledger, &scores));
    assert_true(scores.epoch == 1 && scores.validation.is_known);
    assert_false(mst_epoch_ledger_take(&ledger, &scores));
    mst_epoch_ledger_fini(&ledger);
}

static void test_what_was_measured_is_kept_until_it_is_taken(void **state)
{
    (void)state;
    struct mst_epoch_ledger ledger = {0};
    struct mst_epoch_scores scores;
    trained(&ledger, 4, false);
    trained(&ledger, 5, true);
    assert_int_equal(mst_epoch_ledger_at(&ledger, 0)->epoch, 4);
    assert_true(mst_epoch_ledger_take(&ledger, &scores));
    assert_int_equal(ledger.n, 1);
    assert_int_equal(mst_epoch_ledger_at(&ledger, 0)->epoch, 5);
    assert_int_equal(mst_epoch_ledger_at(&ledger, 0)->n_steps, 60);
    assert_int_equal(mst_epoch_ledger_at(&ledger, 0)->sums.examples, 105);
    assert_int_equal(mst_epoch_ledger_at(&ledger, 0)->sums.n_values, 2);
    mst_epoch_ledger_fini(&ledger);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_told_in_order_when_all_is_known),
        cmocka_unit_test(test_a_validation_that_nobody_awaits_is_ignored),
        cmocka_unit_test(test_at_the_end_none_is_kept_back),
        cmocka_unit_test(test_what_was_measured_is_kept_until_it_is_taken),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
