// What callbacks decide over many epochs, in which direction a metric gets better, and a CSVLogger's bytes, against
// what Keras's callbacks did with the same numbers (generate_callbacks.py).
#include "base/alloc.h"
#include "base/bytes.h"
#include "chief/callbacks.h"
#include "chief/csv_log.h"
#include "event/loop.h"
#include "golden_file.h"
#include "tfio/disk_file.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct golden *golden;

// Loss and accuracy, all that the traces know.
static void measure_both(struct mst_compile *compile)
{
    memset(compile, 0, sizeof *compile);
    compile->n_metrics = 1;
    compile->metrics[0].kind = MST_METRIC_SPARSE_CATEGORICAL_ACCURACY;
    snprintf(compile->metrics[0].name, sizeof compile->metrics[0].name, "accuracy");
}

static double number(const json_t *config, const char *key, double otherwise)
{
    const json_t *value = json_object_get(config, key);
    return json_is_number(value) ? json_number_value(value) : otherwise;
}

static struct mst_job_callback callback_of(size_t index)
{
    const char *name = json_string_value(golden_case_value(golden, index, "class_name"));
    const json_t *config = golden_case_value(golden, index, "config");
    const char *mode = json_string_value(json_object_get(config, "mode"));
    bool is_plateau = strcmp(name, "ReduceLROnPlateau") == 0;
    bool is_checkpoint = strcmp(name, "ModelCheckpoint") == 0;
    const char *baseline = is_checkpoint ? "initial_value_threshold" : "baseline";
    return (struct mst_job_callback){
        .kind = is_plateau      ? MST_CALLBACK_REDUCE_LR_ON_PLATEAU
                : is_checkpoint ? MST_CALLBACK_MODEL_CHECKPOINT
                                : MST_CALLBACK_EARLY_STOPPING,
        .monitor = (char *)json_string_value(json_object_get(config, "monitor")),
        .mode = !mode                      ? MST_MONITOR_AUTO
                : strcmp(mode, "min") == 0 ? MST_MONITOR_MIN
                                           : MST_MONITOR_MAX,
        .min_delta = number(config, "min_delta", is_plateau ? 1e-4 : 0),
        .patience = (uint64_t)number(config, "patience", is_plateau ? 10 : 0),
        .has_baseline = json_object_get(config, baseline) != NULL,
        .baseline = number(config, baseline, 0),
        .start_from_epoch = (uint64_t)number(config, "start_from_epoch", 0),
        .factor = number(config, "factor", 0.1),
        .min_lr = number(config, "min_lr", 0),
        .cooldown = (uint64_t)number(config, "cooldown", 0),
    };
}

static struct mst_epoch_scores scores_of(const char *monitor, uint64_t epoch, const json_t *value)
{
    struct mst_epoch_scores known = {.epoch = epoch,
                                     .train = {.is_known = true, .n = 2, .values = {1, 0.25}},
                                     .validation = {.is_known = true, .n = 2, .values = {2, 0.125}}};
    struct mst_scores *scores = strncmp(monitor, "val_", 4) == 0 ? &known.validation : &known.train;
    scores->is_known = json_is_number(value);
    scores->values[strstr(monitor, "accuracy") ? 1 : 0] = json_number_value(value);
    return known;
}

// As a job that is resumed: others go on from what these remember.
static void resume(struct mst_callbacks **callbacks, const struct mst_callbacks_config *config)
{
    size_t n = mst_callbacks_n_numbers(*callbacks);
    int64_t *numbers = mst_alloc_array(n, sizeof *numbers);
    mst_callbacks_save(*callbacks, numbers);
    mst_callbacks_free(*callbacks);
    assert_int_equal(mst_callbacks_new(config, callbacks, NULL), MST_OK);
    assert_false(mst_callbacks_restore(*callbacks, numbers, n - 1));
    numbers[0]++;
    assert_false(mst_callbacks_restore(*callbacks, numbers, n)); // of other callbacks
    numbers[0]--;
    assert_true(mst_callbacks_restore(*callbacks, numbers, n));
    free(numbers);
}

static void check_trace(size_t index, const struct mst_callbacks_config *config)
{
    const struct mst_job_callback *job = config->callbacks;
    struct mst_callbacks *callbacks;
    assert_int_equal(mst_callbacks_new(config, &callbacks, NULL), MST_OK);
    const json_t *trace = golden_case_value(golden, index, "trace"), *after = golden_case_value(golden, index, "after");
    struct mst_callbacks_decision decided = {0};
    float rate = 0.05f;
    for (size_t epoch = 0; epoch < json_array_size(after); epoch++) {
        assert_false(decided.stops);
        struct mst_epoch_scores known = scores_of(job->monitor, epoch, json_array_get(trace, epoch));
        mst_callbacks_epoch(callbacks, &known, rate, &decided);
        rate = decided.rate;
        resume(&callbacks, config);
        struct mst_callback_view view = mst_callbacks_view(callbacks, 0);
        const json_t *wanted = json_array_get(after, epoch);
        assert_int_equal(view.has_best, json_is_number(json_array_get(wanted, 0)));
        assert_true(!view.has_best || view.best == json_number_value(json_array_get(wanted, 0)));
        if (job->kind == MST_CALLBACK_MODEL_CHECKPOINT)
            assert_int_equal(view.has_best && view.best_epoch == epoch, json_is_true(json_array_get(wanted, 3)));
        else
            assert_int_equal(view.wait, json_integer_value(json_array_get(wanted, 1)));
        if (job->kind == MST_CALLBACK_REDUCE_LR_ON_PLATEAU)
            assert_true((double)rate == json_number_value(json_array_get(wanted, 2)));
    }
    assert_int_equal(decided.stops, json_is_true(golden_case_value(golden, index, "stopped")));
    const json_t *best_epoch = golden_case_value(golden, index, "best_epoch");
    if (json_is_integer(best_epoch))
        assert_int_equal(mst_callbacks_view(callbacks, 0).best_epoch, json_integer_value(best_epoch));
    size_t by;
    uint64_t stopped_epoch;
    assert_int_equal(mst_callbacks_stopped(callbacks, &by, &stopped_epoch), decided.stops);
    float kept;
    assert_true(mst_callbacks_rate(callbacks, &kept) ? kept == rate : rate == 0.05f);
    mst_callbacks_free(callbacks);
}

static void test_traces(void **state)
{
    (void)state;
    struct mst_compile *compile = mst_alloc(sizeof *compile);
    measure_both(compile);
    size_t n = 0;
    for (size_t i = 0; i < golden_n_cases(golden); i++) {
        const char *name = golden_case_name(golden, i);
        if (strncmp(name, "csv_", 4) == 0 || strncmp(name, "direction_", 10) == 0)
            continue;
        struct mst_job_callback job = callback_of(i);
        struct mst_callbacks_config config = {
            .callbacks = &job, .n_callbacks = 1, .compile = compile, .is_validated = true};
        print_message("%s\n", name);
        check_trace(i, &config);
        n++;
    }
    assert_true(n >= 60);
    free(compile);
}

static void check_direction(size_t index, const struct mst_compile *compile)
{
    const char *wanted = json_string_value(golden_case_value(golden, index, "direction"));
    struct mst_job_callback job = {.kind = MST_CALLBACK_MODEL_CHECKPOINT,
                                   .monitor = (char *)json_string_value(golden_case_value(golden, index, "monitor"))};
    struct mst_callbacks_config config = {.callbacks = &job, .n_callbacks = 1, .compile = compile};
    struct mst_callbacks *callbacks;
    struct mst_error err;
    mst_status status = mst_callbacks_new(&config, &callbacks, &err);
    if (!wanted) {
        assert_int_equal(status, MST_INVALID_ARGUMENT);
        assert_non_null(strstr(err.text, "callbacks[0]: config.mode auto does not tell"));
        return;
    }
    assert_int_equal(status, MST_OK);
    struct mst_epoch_scores known = {.train = {.is_known = true, .n = 2, .values = {0, 5}}};
    struct mst_callbacks_decision decided;
    mst_callbacks_epoch(callbacks, &known, 0, &decided);
    known.epoch = 1;
    known.train.values[1] = 4;
    mst_callbacks_epoch(callbacks, &known, 0, &decided);
    assert_int_equal(mst_callbacks_view(callbacks, 0).best_epoch, strcmp(wanted, "min") == 0 ? 1 : 0);
    mst_callbacks_free(callbacks);
}

static void test_directions(void **state)
{
    (void)state;
    size_t n = 0;
    for (size_t i = 0; i < golden_n_cases(golden); i++) {
        if (strncmp(golden_case_name(golden, i), "direction_", 10) != 0)
            continue;
        struct mst_model *model = golden_model(golden, i);
        struct mst_compile *compile = mst_alloc(sizeof *compile);
        *compile = golden_compile(golden, i, model);
        print_message("%s\n", golden_case_name(golden, i));
        check_direction(i, compile);
        free(compile);
        mst_model_free(model);
        n++;
    }
    assert_true(n >= 25);
}

static void write_csv(size_t index, const char *path, const struct mst_compile *compile)
{
    struct mst_loop *work;
    assert_int_equal(mst_loop_new("work", &work, NULL), MST_OK);
    bool is_validated = json_is_true(golden_case_value(golden, index, "validated"));
    const json_t *before = golden_case_value(golden, index, "before"), *rows = golden_case_value(golden, index, "rows");
    struct mst_csv_log_config config = {.path = path,
                                        .separator =
                                            json_string_value(golden_case_value(golden, index, "separator"))[0],
                                        .appends = json_is_string(before),
                                        .is_validated = is_validated,
                                        .has_rate = json_is_true(golden_case_value(golden, index, "rate")),
                                        .compile = compile,
                                        .work = work};
    const char *old = config.appends ? json_string_value(before) : "is emptied";
    assert_int_equal(mst_disk_write(path, (struct mst_bytes){old, strlen(old)}, NULL), MST_OK);
    struct mst_csv_log *log = mst_csv_log_new(&config);
    for (size_t epoch = 0; epoch < json_array_size(rows); epoch++) {
        const json_t *row = json_array_get(rows, epoch);
        struct mst_scores scores = {
            .is_known = true,
            .n = 2,
            .values = {json_number_value(json_array_get(row, 0)), json_number_value(json_array_get(row, 1))}};
        struct mst_epoch_scores known = {.epoch = epoch, .train = scores};
        if (is_validated)
            known.validation = scores;
        mst_csv_log_epoch(log, &known, (double)0.05f);
    }
    mst_loop_free(work); // it never ran: what was posted is written all the same
    mst_csv_log_free(log);
}

static void test_csv(void **state)
{
    (void)state;
    struct mst_compile *compile = mst_alloc(sizeof *compile);
    measure_both(compile);
    size_t n = 0;
    char *path = mst_text("/tmp/muster-callbacks-%d.csv", (int)getpid());
    for (size_t i = 0; i < golden_n_cases(golden); i++) {
        if (strncmp(golden_case_name(golden, i), "csv_", 4) != 0)
            continue;
        write_csv(i, path, compile);
        struct mst_buf got;
        assert_int_equal(mst_disk_read(path, 1 << 16, &got, NULL), MST_OK);
        const char *wanted = json_string_value(golden_case_value(golden, i, "text"));
        print_message("%s\n", golden_case_name(golden, i));
        char *text = mst_text("%.*s", (int)got.len, (const char *)got.data);
        assert_string_equal(text, wanted);
        free(text);
        mst_buf_fini(&got);
        n++;
    }
    assert_int_equal(mst_disk_remove(path, NULL), MST_OK);
    assert_true(n >= 8);
    free(path);
    free(compile);
}

int main(int argc, char **argv)
{
    if (argc > 1)
        golden_folder(argv[1]);
    golden = golden_open("callbacks");
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_traces), cmocka_unit_test(test_directions),
                                       cmocka_unit_test(test_csv)};
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    golden_free(golden);
    return failed;
}
