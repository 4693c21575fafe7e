// Whether a data set fits a model and its loss: shapes, classes, labels.
#include "model/input.h"

#include "base/alloc.h"
#include "data/dataset.h"
#include "data_files.h"
#include "model/compile.h"
#include "model/model.h"
#include "model_texts.h"
#include "muster/status.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static char *folder, *features_path, *labels_path;

// Two images of 2 x 3 bytes; their labels are 0 and 4.
static int set_up(void **state)
{
    (void)state;
    uint8_t bytes[64];
    const uint8_t labels[] = {0, 4}, pixels[12] = {0};
    folder = data_folder_new();
    features_path = mst_text("%s/x.idx", folder);
    labels_path = mst_text("%s/y.idx", folder);
    data_file_write(features_path, FORM_PLAIN, bytes,
                    data_file_idx(bytes, 0x08, 3, (const uint32_t[]){2, 2, 3}, pixels, sizeof pixels));
    data_file_write(labels_path, FORM_PLAIN, bytes,
                    data_file_idx(bytes, 0x08, 1, (const uint32_t[]){2}, labels, sizeof labels));
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    free(features_path);
    free(labels_path);
    data_folder_free(folder);
    return 0;
}

static mst_status check(const char *input_shape, const char *units, enum mst_loss_kind loss, const char *labels,
                        struct mst_error *err)
{
    char *layers = mst_text("{\"class_name\": \"InputLayer\", \"config\": {\"name\": \"i\", \"batch_shape\": %s}},"
                            "{\"class_name\": \"Flatten\", \"config\": {\"name\": \"f\"}},"
                            "{\"class_name\": \"Dense\", \"config\": {\"name\": \"d\", \"units\": %s}}",
                            input_shape, units);
    char *text = model_text(layers);
    struct mst_model *model = model_parse_right(text);
    struct mst_compile compile = {.n_outputs = 1, .losses = {{.is_given = true, .kind = loss, .weight = 1}}};
    struct mst_dataset *dataset;
    if (data_open_idx(features_path, labels, &dataset, err) != MST_OK)
        fail_msg("%s", err->text);
    mst_status status = mst_input_check(dataset, model, &compile, err);
    mst_dataset_free(dataset);
    mst_model_free(model);
    free(text);
    free(layers);
    return status;
}

static void test_fits(void **state)
{
    (void)state;
    struct mst_error err = {""};
    assert_int_equal(check("[null, 2, 3]", "5", MST_LOSS_SPARSE_CATEGORICAL_CROSSENTROPY, labels_path, &err), MST_OK);
    assert_int_equal(check("[null, 2, 3]", "5", MST_LOSS_CATEGORICAL_CROSSENTROPY, labels_path, &err), MST_OK);
    assert_int_equal(check("[null, 2, 3, 1]", "5", MST_LOSS_CATEGORICAL_CROSSENTROPY, labels_path, &err), MST_OK);
    assert_int_equal(check("[null, 2, 3]", "1", MST_LOSS_MEAN_SQUARED_ERROR, labels_path, &err), MST_OK);
}

static void test_other_shape(void **state)
{
    (void)state;
    static const char *const shapes[][2] = {{"[null, 3, 2]", "(3, 2)"}, {"[null, 6]", "(6,)"}};
    for (size_t i = 0; i < COUNT(shapes); i++) {
        struct mst_error err = {""};
        assert_int_equal(check(shapes[i][0], "5", MST_LOSS_SPARSE_CATEGORICAL_CROSSENTROPY, labels_path, &err),
                         MST_INVALID_ARGUMENT);
        char *wanted =
            mst_text("%s holds examples of shape (2, 3), and the model's InputLayer takes %s: change batch_shape "
                     "or the data, of a CSV file its columns",
                     features_path, shapes[i][1]);
        assert_string_equal(err.text, wanted);
        free(wanted);
    }
}

static void test_label_outside_the_classes(void **state)
{
    (void)state;
    struct mst_error err = {""};
    assert_int_equal(check("[null, 2, 3]", "4", MST_LOSS_SPARSE_CATEGORICAL_CROSSENTROPY, labels_path, &err),
                     MST_OUT_OF_RANGE);
    assert_non_null(strstr(err.text, labels_path));
    assert_non_null(strstr(err.text, "4"));
}

// Two classes with one output; a label is no target for several outputs.
static void test_losses_of_labels(void **state)
{
    (void)state;
    struct mst_error err = {""};
    assert_int_equal(check("[null, 2, 3]", "5", MST_LOSS_BINARY_CROSSENTROPY, labels_path, &err), MST_OK);
    assert_int_equal(check("[null, 2, 3]", "5", MST_LOSS_CATEGORICAL_HINGE, labels_path, &err), MST_OK);
    assert_int_equal(check("[null, 2, 3]", "1", MST_LOSS_POISSON, labels_path, &err), MST_OK);
    assert_int_equal(check("[null, 2, 3]", "1", MST_LOSS_BINARY_CROSSENTROPY, labels_path, &err), MST_OUT_OF_RANGE);
    assert_int_equal(check("[null, 2, 3]", "5", MST_LOSS_POISSON, labels_path, &err), MST_INVALID_ARGUMENT);
    assert_non_null(
        strstr(err.text, "x.idx: Poisson against one label an example needs a model of 1 output, this one has 5"));
}

// Values: as many as the output has, and no classes.
static void test_values(void **state)
{
    (void)state;
    struct mst_error err = {""};
    assert_int_equal(check("[null, 2, 3]", "6", MST_LOSS_MEAN_SQUARED_ERROR, features_path, &err), MST_OK);
    assert_int_equal(check("[null, 2, 3]", "6", MST_LOSS_CATEGORICAL_CROSSENTROPY, features_path, &err), MST_OK);
    assert_int_equal(check("[null, 2, 3]", "5", MST_LOSS_MEAN_SQUARED_ERROR, features_path, &err),
                     MST_INVALID_ARGUMENT);
    assert_non_null(strstr(err.text, "the labels are 6 values an example, and the model's output d has 5"));
    assert_int_equal(check("[null, 2, 3]", "6", MST_LOSS_SPARSE_CATEGORICAL_CROSSENTROPY, features_path, &err),
                     MST_INVALID_ARGUMENT);
    assert_non_null(strstr(err.text, "takes one class of 6"));
}

static void test_no_labels(void **state)
{
    (void)state;
    struct mst_error err = {""};
    assert_int_equal(check("[null, 2, 3]", "1", MST_LOSS_MEAN_SQUARED_ERROR, NULL, &err), MST_FAILED_PRECONDITION);
    assert_non_null(strstr(err.text, "x.idx comes without labels, and the loss needs them"));
    assert_int_equal(check("[null, 2, 3]", "5", MST_LOSS_SPARSE_CATEGORICAL_CROSSENTROPY, NULL, &err),
                     MST_FAILED_PRECONDITION);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_fits, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_other_shape, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_label_outside_the_classes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_losses_of_labels, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_values, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_no_labels, set_up, tear_down)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
