// The sentence on the effective learning rate, for every kind of job.
#include "chief/effective_rate.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>

#define LESS(n) ": with the same learning rate each example counts " n " times less than where every batch is an update"

static void test_what_an_update_is(void **state)
{
    (void)state;
    static const struct {
        uint64_t batch_size, accumulate_steps;
        size_t n_round_workers;
        const char *text;
    } rows[] = {
        {64, 1, 0,
         "every batch of 64 examples is an update of its own with the whole learning rate, whatever the number of "
         "workers"},
        {64, 1, 1, "every batch of 64 examples is an update of its own with the whole learning rate"},
        {64, 4, 0, "an update is the mean gradient of 4 batches of 64 examples of one worker" LESS("4")},
        {32, 1, 3, "an update is the mean gradient of 3 workers, a batch of 32 examples each" LESS("3")},
        {32, 2, 3, "an update is the mean gradient of 3 workers, 2 batches of 32 examples each" LESS("6")},
        {32, 2, 1, "an update is the mean gradient of 1 worker, 2 batches of 32 examples each" LESS("2")},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char *text = mst_effective_rate_text(rows[i].batch_size, rows[i].accumulate_steps, rows[i].n_round_workers);
        assert_string_equal(text, rows[i].text);
        free(text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_what_an_update_is)};
    return cmocka_run_group_tests_name("chief/effective_rate", tests, NULL, NULL);
}
