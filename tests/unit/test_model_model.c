// Whole models: what Keras 3.15 printed (tests/golden/models), names, shapes and variables, and what is refused.
#include "model/model.h"
#include "model_texts.h"
#include "muster/status.h"
#include "tensor/shape.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define LAYERS_BUILT "the layers built are InputLayer, Flatten, Rescaling, Dense, …"
#define ENOUGH_BYTES 100000

static const char *models_folder;

// The text of a golden model; the caller frees it.
static char *golden(const char *name)
{
    char path[4096], *text = calloc(1, ENOUGH_BYTES);
    snprintf(path, sizeof path, "%s/%s.json", models_folder, name);
    FILE *file = fopen(path, "r");
    if (!file || !text) {
        perror(path);
        abort();
    }
    size_t len = fread(text, 1, ENOUGH_BYTES - 1, file);
    assert_true(len > 0 && len < ENOUGH_BYTES - 1);
    fclose(file);
    return text;
}

static void check_variable(const struct mst_model *model, size_t i, const char *name, const char *shape,
                           const char *initializer)
{
    char text[MST_SHAPE_TEXT_BYTES];
    const struct mst_variable *variable = mst_model_variable(model, i);
    assert_string_equal(variable->name, name);
    assert_string_equal(mst_shape_print(&variable->shape, text, sizeof text), shape);
    assert_string_equal(variable->initializer.class_name, initializer);
}

static void test_every_layer(void **state)
{
    (void)state;
    static const char *const names[] = {"rescaling", "flatten", "first",      "relu",   "leaky",
                                        "elu",       "dropout", "activation", "second", "softmax"};
    char *text = golden("every-layer"), shape[MST_SHAPE_TEXT_BYTES];
    struct mst_model *model = model_parse_right(text);
    assert_string_equal(mst_model_name(model), "every_layer");
    assert_int_equal(mst_model_n_layers(model), COUNT(names));
    for (size_t i = 0; i < COUNT(names); i++)
        assert_string_equal(mst_model_layer_name(model, i), names[i]);
    assert_string_equal(mst_shape_print(mst_model_input_shape(model, 0), shape, sizeof shape), "(4, 3)");
    assert_string_equal(mst_shape_print(mst_model_output_shape(model, 0), shape, sizeof shape), "(5,)");
    assert_int_equal(mst_model_n_variables(model), 3);
    check_variable(model, 0, "first/kernel", "(12, 8)", "GlorotUniform");
    check_variable(model, 1, "first/bias", "(8,)", "Zeros");
    check_variable(model, 2, "second/kernel", "(8, 5)", "HeNormal");
    assert_int_equal(mst_model_variable(model, 2)->layer, 8);
    assert_int_equal(mst_model_variable(model, 0)->n_elements, 96);
    assert_int_equal(mst_model_n_parameters(model), 96 + 8 + 40);
    mst_model_free(model);
    free(text);
}

static void test_other_models_of_keras(void **state)
{
    (void)state;
    char *text = golden("initializers");
    struct mst_model *model = model_parse_right(text);
    static const char *const kernels[] = {"Zeros",           "Constant",        "RandomNormal",    "RandomUniform",
                                          "TruncatedNormal", "VarianceScaling", "GlorotNormal",    "HeUniform",
                                          "LecunNormal",     "LecunUniform",    "VarianceScaling", "Identity"};
    assert_int_equal(mst_model_n_variables(model), 2 * COUNT(kernels));
    for (size_t i = 0; i < COUNT(kernels); i++)
        assert_string_equal(mst_model_variable(model, 2 * i)->initializer.class_name, kernels[i]);
    mst_model_free(model);
    free(text);
    text = golden("activations");
    model = model_parse_right(text);
    assert_int_equal(mst_model_n_layers(model), 8);
    mst_model_free(model);
    free(text);
    text = golden("orthogonal");
    model = model_parse_right(text);
    check_variable(model, 0, "dense/kernel", "(3, 2)", "Orthogonal");
    mst_model_free(model);
    free(text);
    text = golden("built-without-input");
    model = model_parse_right(text);
    check_variable(model, 0, "dense/kernel", "(12, 2)", "GlorotUniform");
    mst_model_free(model);
    free(text);
}

// What Keras prints and we lack, by name and place.
static void test_not_built_yet(void **state)
{
    (void)state;
    static const char *const rows[][2] = {
        {"convolution", "layers[1] 'conv' (Conv1D): this layer is not built yet; " LAYERS_BUILT},
        {"recurrent", "layers[1] 'lstm' (LSTM): this layer is not built yet; " LAYERS_BUILT},
        {"constraint",
         "layers[2] 'dense' (Dense).config.bias_constraint is {\"module\":\"keras.constraints\",\"class_name\":"
         "\"NonNeg\",\"config\":{},\"registered_..., which is not built yet; leave it out or null"},
        {"channels-first",
         "layers[1] 'flatten' (Flatten).config.data_format is 'channels_first', which is not built yet; "
         "channels_last is"},
        {"noise-shape",
         "layers[1] 'dropout' (Dropout).config.noise_shape is [null,1,3], which is not built yet; leave it out "
         "or null"},
        {"fixed-batch",
         "layers[0] 'input' (InputLayer).config.batch_shape is [8,3]: a fixed number of examples is not built "
         "yet; use Input(shape) without batch_size"},
        {"any-length",
         "layers[0] 'input' (InputLayer).config.batch_shape[1] is null: inputs of unknown size are not built yet"},
        {"half", "layers[2] 'dense' (Dense).config.dtype is 'mixed_float16', which is not built yet; float32 is"},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        char *text = golden(rows[i][0]);
        model_check_refused(text, MST_UNIMPLEMENTED, rows[i][1]);
        free(text);
    }
    char *text = golden("no-variables");
    model_check_refused(text, MST_INVALID_ARGUMENT, "the model has no variables; there is nothing to train");
    free(text);
}

// Keras 2 prints less, and the shape of the input in the first layer.
static void test_keras_2(void **state)
{
    (void)state;
    struct mst_model *model =
        model_parse_right("{\"class_name\": \"Sequential\", \"config\": {\"name\": \"sequential\", \"layers\": "
                          "[{\"module\": \"keras.layers\", "
                          "\"class_name\": \"InputLayer\", \"config\": {\"batch_input_shape\": [null, 784], \"dtype\": "
                          "\"float32\", \"sparse\": "
                          "false, \"ragged\": false, \"name\": \"dense_input\"}, \"registered_name\": null}, "
                          "{\"class_name\": \"Dense\", \"config\": "
                          "{\"name\": \"dense\", \"trainable\": true, \"dtype\": \"float32\", \"batch_input_shape\": "
                          "[null, 784], \"units\": 10, "
                          "\"activation\": \"softmax\", \"use_bias\": true, \"kernel_initializer\": {\"class_name\": "
                          "\"GlorotUniform\", \"config\": "
                          "{\"seed\": null}}, \"bias_initializer\": {\"class_name\": \"Zeros\", \"config\": {}}, "
                          "\"kernel_regularizer\": null, "
                          "\"bias_regularizer\": null, \"activity_regularizer\": null, \"kernel_constraint\": null, "
                          "\"bias_constraint\": null}}, "
                          "{\"class_name\": \"LeakyReLU\", \"config\": {\"name\": \"leaky\", \"trainable\": true, "
                          "\"dtype\": \"float32\", \"alpha\": "
                          "0.1}}]}, \"keras_version\": \"2.12.0\", \"backend\": \"tensorflow\"}");
    check_variable(model, 0, "dense/kernel", "(784, 10)", "GlorotUniform");
    mst_model_free(model);
}

static void test_broken_texts(void **state)
{
    (void)state;
    static const char *const rows[][2] = {
        {"", "1:1: '[' or '{' expected near end of file"},
        {"\x89HDF",
         "this is no JSON; give what model.to_json() of Keras prints, or the archive of model.save(\"my.keras\")"},
        {"{\"class_name\": \"Sequential\",\n\"config\": }", "2:11: unexpected token near '}'"},
        {"{\"class_name\": 1, \"class_name\": 2}", "1:30: duplicate object key near '\"class_name\"'"},
        {"[]", "model is []; it should be a name or an object with class_name and config"},
        {"{}", "model has no class_name"},
        {"{\"class_name\": \"Sequential\"}", "config.name is missing or longer than 256 bytes"},
        {"{\"class_name\": \"Sequential\", \"config\": {\"name\": \"m\"}}", "config has no layers"},
        {"{\"class_name\": \"Sequential\", \"config\": {\"name\": \"m\", \"layers\": []}}",
         "config.layers should be a list of 1 to 4096 layers"},
        {"{\"class_name\": \"Sequential\", \"config\": {\"name\": \"m\", \"layer\": []}}",
         "config.layer is not a key here; did you mean 'layers'?"},
        {"{\"class_name\": \"Sequential\", \"config\": 7}", "model.config is 7; it should be an object"},
        {"{\"class_name\": 7}", "model.class_name is 7; it should be a text"},
        {"{\"clas_name\": \"Sequential\"}", "model.clas_name is not a key here; did you mean 'class_name'?"},
    };
    for (size_t i = 0; i < COUNT(rows); i++)
        model_check_refused(rows[i][0], MST_INVALID_ARGUMENT, rows[i][1]);
    model_check_refused("{\"class_name\": \"Sequential\", \"module\": \"mine\", \"config\": {}}", MST_UNIMPLEMENTED,
                        "model: 'Sequential' is a class of your own (module 'mine'), which cannot be read from JSON");
    model_check_refused(
        "{\"class_name\": \"Net\", \"registered_name\": \"mine>Net\", \"config\": {}}", MST_UNIMPLEMENTED,
        "model: 'Net' is a class of your own (registered as 'mine>Net'), which cannot be read from JSON");
}

// How layers go together.
static void test_stacks(void **state)
{
    (void)state;
    static const char *const rows[][2] = {
        {MODEL_INPUT("[null, 3]"), "the model has no layer but its InputLayer"},
        {MODEL_DENSE("a", "2"),
         "the shape of the input is not known; begin the model with keras.Input(shape), or build it before "
         "to_json()"},
        {MODEL_INPUT("[null, 3]") "," MODEL_DENSE("a", "2") "," MODEL_DENSE("a", "2"),
         "layers[1] and layers[2] are both named 'a'; names must be unique"},
        {MODEL_INPUT("[null, 3]") "," MODEL_DENSE(
             "a", "2") ",{\"class_name\": \"InputLayer\", \"config\": {\"name\": \"late\", "
                       "\"batch_shape\": [null, 2]}}",
         "layers[2] 'late' is an InputLayer, which can only stand first"},
        {"{\"class_name\": \"InputLayer\", \"config\": {\"name\": \"i\"}}," MODEL_DENSE("a", "2"),
         "layers[0] 'i' (InputLayer) has no batch_shape"},
        {MODEL_INPUT("[null]") "," MODEL_DENSE("a", "2"),
         "layers[1] 'a' (Dense) works on the last axis of its input, but 'input' gives (None,), which has none"},
        {MODEL_INPUT("[null, 28, 28]") ",{\"class_name\": \"Dense\", \"build_config\": {\"input_shape\": [null, 784]}, "
                                       "\"config\": {\"name\": \"a\", \"units\": 2}}",
         "layers[1] 'a' (Dense) was built for inputs of shape (None, 784), but 'input' gives (None, 28, 28)"},
        {MODEL_INPUT("[null, 3]") ",7", "layers[1] is 7; it should be a name or an object with class_name and config"},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        char *text = model_text(rows[i][0]);
        model_check_refused(text, MST_INVALID_ARGUMENT, rows[i][1]);
        free(text);
    }
}

// Refused by arithmetic, before memory is taken.
static void test_absurd_sizes(void **state)
{
    (void)state;
    static const char *const rows[][2] = {
        {MODEL_INPUT("[null, 3]") "," MODEL_DENSE("a", "1000000000000000"),
         "layers[1] 'a' (Dense): the output of one example has shape (None, 1000000000000000), 4e+15 bytes; "
         "the limit "
         "is 1073741824 bytes"},
        {MODEL_INPUT("[null, 1000000, 1000000, 1000000, 1000000]") "," MODEL_DENSE("a", "1"),
         "layers[0] 'input' (InputLayer): the input of one example has shape (None, 1000000, 1000000, 1000000, "
         "1000000), "
         "4e+24 bytes; the limit is 1073741824 bytes"},
        {MODEL_INPUT("[null, 200000]") "," MODEL_DENSE("a", "200000"),
         "variable 'a/kernel' of shape (200000, 200000) has 160000000000 bytes, which brings the model over its limit "
         "of "
         "68719476736 bytes"},
        {MODEL_INPUT("[null, 120000]") "," MODEL_DENSE("a", "120000") "," MODEL_DENSE("b", "120000"),
         "variable 'b/kernel' of shape (120000, 120000) has 57600000000 bytes, which brings the model over its limit "
         "of "
         "68719476736 bytes"},
        {MODEL_INPUT("[null, 1e16]") "," MODEL_DENSE("a", "1"),
         "layers[0] 'input' (InputLayer).config.batch_shape[1] is 1e16; it should be a whole number of at least 1"},
        {MODEL_INPUT("[null, 1, 1, 1, 1, 1, 1, 1, 1, 1]") "," MODEL_DENSE("a", "1"),
         "layers[0] 'input' (InputLayer).config.batch_shape is [null,1,1,1,1,1,1,1,1,1]; it should be a list like "
         "[null, 28, 28] "
         "of at most 8 sizes"},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        char *text = model_text(rows[i][0]);
        model_check_refused(text, MST_INVALID_ARGUMENT, rows[i][1]);
        free(text);
    }
}

static void test_many_layers(void **state)
{
    (void)state;
    char *layers = NULL;
    size_t len = 0;
    for (size_t n_more = MST_MODEL_MAX_LAYERS - 1; n_more <= MST_MODEL_MAX_LAYERS; n_more++) {
        FILE *out = open_memstream(&layers, &len);
        fputs(MODEL_INPUT("[null, 1]"), out);
        for (size_t i = 0; i < n_more; i++)
            fprintf(out, ",{\"class_name\": \"Dense\", \"config\": {\"name\": \"d%zu\", \"units\": 1}}", i);
        fclose(out);
        char *text = model_text(layers);
        if (n_more < MST_MODEL_MAX_LAYERS)
            mst_model_free(model_parse_right(text));
        else
            model_check_refused(text, MST_INVALID_ARGUMENT, "config.layers should be a list of 1 to 4096 layers");
        free(text);
        free(layers);
    }
}

// The same model in other words has the same canonical text, another has another.
static void test_canonical_text(void **state)
{
    (void)state;
    char *texts[3] = {
        model_text(MODEL_INPUT("[null, 3]") "," MODEL_DENSE("a", "2")),
        model_text(MODEL_INPUT("[null, 3]") ",{\"config\": {\"units\": 2.0, \"name\": \"a\", \"activation\": null, "
                                            "\"use_bias\": true, \"kernel_initializer\": \"glorot_uniform\", "
                                            "\"dtype\": \"float32\"}, \"class_name\": \"Dense\"}"),
        model_text(MODEL_INPUT("[null, 3]") "," MODEL_DENSE("a", "3"))};
    char *canonical[3];
    for (size_t i = 0; i < COUNT(texts); i++) {
        struct mst_model *model = model_parse_right(texts[i]);
        canonical[i] = mst_model_canonical_json(model);
        mst_model_free(model);
        free(texts[i]);
    }
    assert_string_equal(canonical[0], canonical[1]);
    assert_string_not_equal(canonical[0], canonical[2]);
    for (size_t i = 0; i < COUNT(canonical); i++)
        free(canonical[i]);
}

int main(int argc, char **argv)
{
    if (argc != 2)
        return 2;
    models_folder = argv[1];
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_layer),   cmocka_unit_test(test_other_models_of_keras),
        cmocka_unit_test(test_not_built_yet), cmocka_unit_test(test_keras_2),
        cmocka_unit_test(test_broken_texts),  cmocka_unit_test(test_stacks),
        cmocka_unit_test(test_absurd_sizes),  cmocka_unit_test(test_many_layers),
        cmocka_unit_test(test_canonical_text)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
