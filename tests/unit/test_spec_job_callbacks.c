// The list of callbacks in a job: defaults, what is read of each class, what is refused and in which words.
#include "base/alloc.h"
#include "spec/job.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static mst_status parse(const char *callbacks, struct mst_job **out, struct mst_error *err)
{
    const struct mst_job_request request = {.path = "a/job.json", .current_dir = "/here"};
    char *text =
        mst_text("{\"name\": \"tiny\", \"model\": \"m\", \"compile\": {\"optimizer\": \"sgd\", \"loss\": "
                 "\"mse\"}, \"data\": {\"train\": {\"features\": \"x\", \"labels\": \"y\"}}, \"callbacks\": %s}",
                 callbacks);
    mst_status status = mst_job_parse(&request, text, strlen(text), out, err);
    free(text);
    return status;
}

static struct mst_job *parse_right(const char *callbacks)
{
    struct mst_job *job;
    struct mst_error err = {0};
    if (parse(callbacks, &job, &err) != MST_OK)
        fail_msg("%s", err.text);
    return job;
}

static void test_defaults_are_those_of_keras(void **state)
{
    (void)state;
    struct mst_job *job = parse_right("[{\"class_name\": \"EarlyStopping\"}, {\"class_name\": \"ReduceLROnPlateau\"}]");
    assert_int_equal(job->n_callbacks, 2);
    const struct mst_job_callback *stopping = &job->callbacks[0], *plateau = &job->callbacks[1];
    assert_int_equal(stopping->kind, MST_CALLBACK_EARLY_STOPPING);
    assert_string_equal(stopping->monitor, "val_loss");
    assert_true(stopping->patience == 0 && stopping->min_delta == 0 && !stopping->has_baseline);
    assert_true(stopping->mode == MST_MONITOR_AUTO && stopping->start_from_epoch == 0 && !stopping->restores_best);
    assert_int_equal(plateau->kind, MST_CALLBACK_REDUCE_LR_ON_PLATEAU);
    assert_string_equal(plateau->monitor, "val_loss");
    assert_true(plateau->factor == 0.1 && plateau->patience == 10 && plateau->min_delta == 1e-4);
    assert_true(plateau->cooldown == 0 && plateau->min_lr == 0);
    mst_job_free(job);
}

static void test_options_are_read(void **state)
{
    (void)state;
    struct mst_job *job = parse_right("[{\"class_name\": \"CSVLogger\", \"config\": {\"filename\": \"l.csv\", "
                                      "\"separator\": \";\", \"append\": true}},"
                                      "{\"class_name\": \"EarlyStopping\", \"config\": {\"monitor\": \"loss\", "
                                      "\"mode\": \"max\", \"baseline\": -2}}]");
    assert_string_equal(job->callbacks[0].path, "/here/a/l.csv");
    assert_true(job->callbacks[0].separator == ';' && job->callbacks[0].appends);
    assert_true(job->callbacks[1].mode == MST_MONITOR_MAX && job->callbacks[1].has_baseline);
    assert_true(job->callbacks[1].baseline == -2);
    // What is printed can be read again as a job, and gives the same.
    char *printed = json_dumps(json_object_get(job->resolved, "callbacks"), 0);
    struct mst_job *again = parse_right(printed);
    assert_true(json_equal(job->resolved, again->resolved));
    free(printed);
    mst_job_free(again);
    mst_job_free(job);
}

static void test_the_best_is_kept(void **state)
{
    (void)state;
    struct mst_job *job = parse_right(
        "[{\"class_name\": \"ModelCheckpoint\", \"config\": {\"filepath\": \"b.keras\", \"save_best_only\": true, "
        "\"initial_value_threshold\": 0.5}}, {\"class_name\": \"EarlyStopping\", \"config\": "
        "{\"restore_best_weights\": true}}]");
    assert_int_equal(job->callbacks[0].kind, MST_CALLBACK_MODEL_CHECKPOINT);
    assert_string_equal(job->callbacks[0].path, "/here/a/b.keras");
    assert_true(job->callbacks[0].has_baseline && job->callbacks[0].baseline == 0.5);
    assert_true(job->callbacks[1].restores_best && !job->callbacks[1].has_baseline);
    mst_job_free(job);
}

static void test_where_files_lie_is_no_part_of_the_hash(void **state)
{
    (void)state;
    static const char *const lists[] = {
        "[{\"class_name\": \"CSVLogger\", \"config\": {\"filename\": \"a\"}}]",
        "[{\"class_name\": \"CSVLogger\", \"config\": {\"filename\": \"b\"}}]",
        "[{\"class_name\": \"CSVLogger\", \"config\": {\"filename\": \"a\", \"append\": true}}]"};
    uint64_t hashes[COUNT(lists)];
    for (size_t i = 0; i < COUNT(lists); i++) {
        struct mst_job *job = parse_right(lists[i]);
        assert_int_equal(mst_job_hash(job, "{}", 2, &hashes[i], NULL), MST_OK);
        mst_job_free(job);
    }
    assert_true(hashes[0] == hashes[1] && hashes[0] != hashes[2]);
}

static void test_refused(void **state)
{
    (void)state;
    static const char *const rows[][2] = {
        {"{}", "callbacks is an object ({}), must be a list"},
        {"[1]", "callbacks[0] must be an object {\"class_name\", \"config\"}, not an integer"},
        {"[{}]", "callbacks[0]: class_name is missing, must be one of: EarlyStopping|ReduceLROnPlateau|"},
        {"[{\"class_name\": \"TerminateOnNaN\"}, {\"class_name\": \"TensorBoard\"}]",
         "callbacks[1]: class_name is \"TensorBoard\", must be one of: EarlyStopping|ReduceLROnPlateau|"},
        {"[{\"class_name\": \"EarlyStopping\", \"module\": \"keras\"}]",
         "callbacks[0]: module is not known; known here: class_name, config"},
        {"[{\"class_name\": \"EarlyStopping\", \"config\": null}]", "callbacks[0]: config is null, must be an object"},
        {"[{\"class_name\": \"EarlyStopping\", \"config\": {\"patience\": 1.5}}]",
         "callbacks[0]: config.patience is a number (1.5), must be an integer"},
        {"[{\"class_name\": \"EarlyStopping\", \"config\": {\"mode\": \"least\"}}]",
         "callbacks[0]: config.mode is \"least\", must be one of: auto|min|max"},
        {"[{\"class_name\": \"ReduceLROnPlateau\", \"config\": {\"factor\": 1.0}}]",
         "callbacks[0]: config.factor is 1, must be below 1"},
        {"[{\"class_name\": \"CSVLogger\", \"config\": {\"filename\": \"f\", \"separator\": \"\\n\"}}]",
         "callbacks[0]: config.separator must be one character of ASCII, neither a quotation mark nor a new line"},
        {"[{\"class_name\": \"ModelCheckpoint\", \"config\": {\"filepath\": \"b.keras\"}}]",
         "callbacks[0]: config.save_best_only is missing: Must be true"},
        {"[{\"class_name\": \"ModelCheckpoint\", \"config\": {\"filepath\": \"b.h5\", \"save_best_only\": true}}]",
         "callbacks[0]: config.filepath is \"b.h5\", must end in .keras"},
        {"[{\"class_name\": \"ModelCheckpoint\", \"config\": {\"filepath\": \"b.keras\", \"save_best_only\": true, "
         "\"save_freq\": 10}}]",
         "callbacks[0]: config.save_freq is 10, but the best is looked for at the ends of epochs"},
        {"[{\"class_name\": \"CSVLogger\"}]", "callbacks[0]: config.filename is missing"},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct mst_job *job;
        struct mst_error err = {0};
        assert_int_equal(parse(rows[i][0], &job, &err), MST_INVALID_ARGUMENT);
        assert_null(job);
        char *wanted = mst_text("a/job.json: %s", rows[i][1]);
        if (strncmp(err.text, wanted, strlen(wanted)) != 0)
            fail_msg("%s, not %s", err.text, wanted);
        free(wanted);
    }
    json_t *list = json_array();
    for (size_t i = 0; i <= MST_CALLBACKS_MAX; i++)
        json_array_append_new(list, json_pack("{s:s}", "class_name", "TerminateOnNaN"));
    char *many = json_dumps(list, 0);
    struct mst_job *job;
    struct mst_error err = {0};
    assert_int_equal(parse(many, &job, &err), MST_INVALID_ARGUMENT);
    assert_non_null(strstr(err.text, "callbacks has 33 elements, the limit is 32"));
    free(many);
    json_decref(list);
}

// Of a checkpoint in parts the chief has no weights.
static void test_the_best_epoch_needs_shared_storage(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"[{\"class_name\": \"CSVLogger\", \"config\": {\"filename\": \"l.csv\"}}, {\"class_name\": \"EarlyStopping\", "
         "\"config\": {\"restore_best_weights\": true}}], \"checkpoint\": {\"local\": true}",
         "callbacks[1]: restore_best_weights needs the checkpoint of the best epoch"},
        {"[{\"class_name\": \"ModelCheckpoint\", \"config\": {\"filepath\": \"b.keras\", \"save_best_only\": true}}], "
         "\"checkpoint\": {\"local\": true}",
         "callbacks[0]: ModelCheckpoint needs the checkpoint of the best epoch"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct mst_job *job;
        struct mst_error err = {0};
        assert_int_equal(parse(cases[i][0], &job, &err), MST_INVALID_ARGUMENT);
        assert_non_null(strstr(err.text, cases[i][1]));
        assert_non_null(strstr(err.text, "checkpoint.local"));
    }
    struct mst_job *job = parse_right("[{\"class_name\": \"EarlyStopping\"}], \"checkpoint\": {\"local\": true}");
    assert_string_equal(job->checkpoint_chief_dir, "/here/a/run/ckpt/chief");
    mst_job_free(job);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults_are_those_of_keras),
        cmocka_unit_test(test_options_are_read),
        cmocka_unit_test(test_the_best_is_kept),
        cmocka_unit_test(test_where_files_lie_is_no_part_of_the_hash),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_the_best_epoch_needs_shared_storage),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
