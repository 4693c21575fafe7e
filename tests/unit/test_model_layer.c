// Single layers: what their keys mean, and what is refused with place, name and class.
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

// A model of an input of shape (4, 3), the layer named "x", a Flatten and a Dense.
static char *text_with(const char *class_name, const char *keys)
{
    char layers[2000];
    snprintf(layers, sizeof layers,
             MODEL_INPUT("[null, 4, 3]") ",{\"class_name\": \"%s\", \"config\": {\"name\": \"x\"%s%s}},"
                                         "{\"class_name\": \"Flatten\", \"config\": {\"name\": \"flat\"}}," MODEL_DENSE(
                                             "last", "2"),
             class_name, keys[0] ? ", " : "", keys);
    return model_text(layers);
}

static void check_layer(const char *class_name, const char *keys, const char *canonical)
{
    char *text = text_with(class_name, keys);
    struct mst_model *model = model_parse_right(text);
    char *got = model_layer_canonical(model, 0);
    assert_string_equal(got, canonical);
    free(got);
    mst_model_free(model);
    free(text);
}

// Keras's defaults where a key is missing, and what each key changes.
static void test_meaning(void **state)
{
    (void)state;
    static const char *const rows[][3] = {
        {"Flatten", "\"data_format\": \"channels_last\"", "{\"class_name\":\"Flatten\",\"name\":\"x\"}"},
        {"Rescaling", "", "{\"class_name\":\"Rescaling\",\"name\":\"x\",\"offset\":0.0,\"scale\":1.0}"},
        {"Rescaling", "\"scale\": 0.5, \"offset\": -1",
         "{\"class_name\":\"Rescaling\",\"name\":\"x\",\"offset\":-1.0,\"scale\":0.5}"},
        {"Activation", "\"activation\": \"tanh\"",
         "{\"activation\":{\"alpha\":0.0,\"name\":\"tanh\"},\"class_name\":\"Activation\",\"name\":\"x\"}"},
        {"Activation",
         "\"activation\": {\"module\": \"builtins\", \"class_name\": \"function\", \"config\": \"elu\", "
         "\"registered_name\": "
         "\"function\"}",
         "{\"activation\":{\"alpha\":1.0,\"name\":\"elu\"},\"class_name\":\"Activation\",\"name\":\"x\"}"},
        {"Activation", "\"activation\": \"leaky_relu\"",
         "{\"activation\":{\"alpha\":0.200000003,\"name\":\"leaky_relu\"},\"class_name\":\"Activation\",\"name\":"
         "\"x\"}"},
        {"LeakyReLU", "",
         "{\"activation\":{\"alpha\":0.300000012,\"name\":\"leaky_relu\"},\"class_name\":\"LeakyReLU\",\"name\":"
         "\"x\"}"},
        {"LeakyReLU", "\"negative_slope\": 0.5",
         "{\"activation\":{\"alpha\":0.5,\"name\":\"leaky_relu\"},\"class_name\":\"LeakyReLU\",\"name\":\"x\"}"},
        {"ReLU", "",
         "{\"activation\":{\"alpha\":0.0,\"max_value\":null,\"name\":\"relu\",\"threshold\":0.0},\"class_name\":"
         "\"ReLU\",\"name\":\"x\"}"},
        {"ReLU", "\"max_value\": null, \"negative_slope\": 0.5, \"threshold\": 1",
         "{\"activation\":{\"alpha\":0.5,\"max_value\":null,\"name\":\"relu\",\"threshold\":1.0},\"class_name\":"
         "\"ReLU\",\"name\":"
         "\"x\"}"},
        {"ReLU", "\"max_value\": 6.0",
         "{\"activation\":{\"alpha\":0.0,\"max_value\":6.0,\"name\":\"relu\",\"threshold\":0.0},\"class_name\":"
         "\"ReLU\",\"name\":"
         "\"x\"}"},
        {"ELU", "", "{\"activation\":{\"alpha\":1.0,\"name\":\"elu\"},\"class_name\":\"ELU\",\"name\":\"x\"}"},
        {"ELU", "\"alpha\": 0.25",
         "{\"activation\":{\"alpha\":0.25,\"name\":\"elu\"},\"class_name\":\"ELU\",\"name\":\"x\"}"},
        {"Softmax", "\"axis\": -1",
         "{\"activation\":{\"alpha\":0.0,\"name\":\"softmax\"},\"class_name\":\"Softmax\",\"name\":\"x\"}"},
        {"Softmax", "\"axis\": 2",
         "{\"activation\":{\"alpha\":0.0,\"name\":\"softmax\"},\"class_name\":\"Softmax\",\"name\":\"x\"}"},
        {"Dropout", "\"rate\": 0.5, \"noise_shape\": null, \"seed\": null",
         "{\"class_name\":\"Dropout\",\"name\":\"x\",\"rate\":0.5,\"seed\":null}"},
        {"Dropout", "\"rate\": 0, \"seed\": 7", "{\"class_name\":\"Dropout\",\"name\":\"x\",\"rate\":0.0,\"seed\":7}"},
    };
    for (size_t i = 0; i < COUNT(rows); i++)
        check_layer(rows[i][0], rows[i][1], rows[i][2]);
}

// Dense works on the last axis and keeps the others.
static void test_dense(void **state)
{
    (void)state;
    char shape[MST_SHAPE_TEXT_BYTES];
    char *text = text_with("Dense", "\"units\": 5, \"use_bias\": false, \"activation\": \"relu\"");
    struct mst_model *model = model_parse_right(text);
    assert_string_equal(mst_shape_print(&mst_model_variable(model, 0)->shape, shape, sizeof shape), "(3, 5)");
    assert_string_equal(mst_model_variable(model, 1)->name, "last/kernel");
    assert_string_equal(mst_shape_print(&mst_model_variable(model, 1)->shape, shape, sizeof shape), "(20, 2)");
    char *canonical = model_layer_canonical(model, 0);
    assert_non_null(strstr(canonical, "\"bias_initializer\":null"));
    assert_non_null(strstr(canonical, "\"name\":\"relu\""));
    free(canonical);
    mst_model_free(model);
    free(text);
}

// class, config, sentence
static const char *const refused[][3] = {
    {"Dense", "\"units\": 0", "layers[1] 'x' (Dense).config.units is 0; it should be a whole number of at least 1"},
    {"Dense", "\"units\": \"many\"",
     "layers[1] 'x' (Dense).config.units is \"many\"; it should be a whole number of at least 1"},
    {"Dense", "\"units\": 2.5", "layers[1] 'x' (Dense).config.units is 2.5; it should be a whole number of at least 1"},
    {"Dense", "\"units\": -3", "layers[1] 'x' (Dense).config.units is -3; it should be a whole number of at least 1"},
    {"Dense", "\"units\": true",
     "layers[1] 'x' (Dense).config.units is true; it should be a whole number of at least 1"},
    {"Dense", "", "layers[1] 'x' (Dense).config has no units"},
    {"Dense", "\"units\": 2, \"use_bais\": true",
     "layers[1] 'x' (Dense).config.use_bais is not a key here; did you mean "
     "'use_bias'?"},
    {"Dense", "\"units\": 2, \"use_bias\": 1",
     "layers[1] 'x' (Dense).config.use_bias is 1; it should be true or false"},
    {"Dense", "\"units\": 2, \"activation\": 7",
     "layers[1] 'x' (Dense).config.activation is 7; it should be a name or an object with class_name and config"},
    {"Dropout", "\"rate\": 1", "layers[1] 'x' (Dropout).config.rate is 1; it should be at least 0 and below 1"},
    {"Dropout", "\"rate\": -0.1", "layers[1] 'x' (Dropout).config.rate is -0.1; it should be at least 0 and below 1"},
    {"Dropout", "\"rate\": null", "layers[1] 'x' (Dropout).config.rate is null; it should be a number"},
    {"Dropout", "\"rate\": 0.5, \"seed\": 1.5",
     "layers[1] 'x' (Dropout).config.seed is 1.5; it should be null or a whole number "
     "(a SeedGenerator cannot be shared between processes)"},
    {"ReLU", "\"max_value\": -1",
     "layers[1] 'x' (ReLU).config: max_value -1, negative_slope 0 and threshold 0 should not be "
     "negative"},
    {"ReLU", "\"threshold\": \"low\"", "layers[1] 'x' (ReLU).config.threshold is \"low\"; it should be a number"},
    {"Rescaling", "\"scale\": [1, 2]", "layers[1] 'x' (Rescaling).config.scale is [1,2]; it should be a number"},
    {"Softmax", "\"axis\": [1]", "layers[1] 'x' (Softmax).config.axis is [1]; it should be a number"},
    {"Reshape", "\"target_shape\": [5, -1]",
     "layers[1] 'x' (Reshape): its target_shape does not hold the 12 numbers of (None, 4, 3) that 'input' gives"},
    {"Reshape", "\"target_shape\": [-1, -1]",
     "layers[1] 'x' (Reshape): its target_shape does not hold the 12 numbers of (None, 4, 3) that 'input' gives"},
    {"Reshape", "\"target_shape\": []", "layers[1] 'x' (Reshape).config has no target_shape"},
    {"Permute", "\"dims\": [1, 1]",
     "layers[1] 'x' (Permute): its dims do not put the axes 1 to 2 of (None, 4, 3) in another order"},
    {"RepeatVector", "\"n\": 2",
     "layers[1] 'x' (RepeatVector) repeats vectors n times, but 'input' gives (None, 4, 3) and n is 2"},
    {"BatchNormalization", "\"axis\": 3",
     "layers[1] 'x' (BatchNormalization): axis 3 does not exist in an input of shape (None, 4, 3)"},
    {"BatchNormalization", "\"momentum\": 1.5",
     "layers[1] 'x' (BatchNormalization).config: epsilon 0.001 should not be negative, and momentum 1.5 lie "
     "between "
     "0 and 1"},
    {"Normalization", "\"mean\": 1",
     "layers[1] 'x' (Normalization).config has a mean or a variance; it should have both or none"},
    {"Normalization", "\"mean\": [1, 2], \"variance\": 1",
     "layers[1] 'x' (Normalization).config.mean should be a number or a list of 3 of them"},
    {"Embedding", "\"input_dim\": 3", "layers[1] 'x' (Embedding).config has no output_dim"},
    {"Subtract", "", "layers[1] 'x' (Subtract) is called with 1 inputs; it takes 2"},
    {"Flatten", "\"data_format\": 7", "layers[1] 'x' (Flatten).config.data_format is 7; it should be a text"},
    {"Flatten", "\"trainable\": \"no\"",
     "layers[1] 'x' (Flatten).config.trainable is \"no\"; it should be true or false"},
    {"Flatten", "\"shape\": [3]",
     "layers[1] 'x' (Flatten).config.shape is not a key here; the keys are name, trainable, dtype, "
     "batch_input_shape, activity_regularizer, data_format"},
};

static void test_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(refused); i++) {
        char *text = text_with(refused[i][0], refused[i][1]);
        model_check_refused(text, MST_INVALID_ARGUMENT, refused[i][2]);
        free(text);
    }
}

// class, config, sentence
static const char *const not_built_yet[][3] = {
    {"Dens", "\"units\": 2",
     "layers[1] 'x' (Dens): this layer is not built yet; the layers built are InputLayer, Flatten, …"},
    {"Dense", "\"units\": 2, \"dtype\": \"float64\"",
     "layers[1] 'x' (Dense).config.dtype is 'float64', which is not built yet; float32 is"},
    {"Dense", "\"units\": 2, \"dtype\": {\"class_name\": \"DTypePolicy\", \"config\": {\"name\": \"bfloat16\"}}",
     "layers[1] 'x' (Dense).config.dtype is 'bfloat16', which is not built yet; float32 is"},
    {"Dense", "\"units\": 2, \"lora_rank\": 4",
     "layers[1] 'x' (Dense).config.lora_rank is 4, which is not built yet; leave it out "
     "or null"},
    {"Dense", "\"units\": 2, \"activation\": {\"class_name\": \"PReLU\", \"config\": {\"name\": \"p\"}}",
     "layers[1] 'x' (Dense).config.activation is an object of class 'PReLU', which is not built yet; name a "
     "function, or let "
     "a layer follow"},
    {"Dense", "\"units\": 2, \"kernel_initializer\": {\"module\": \"mine\", \"class_name\": \"Ones\", \"config\": {}}",
     "layers[1] 'x' (Dense).config.kernel_initializer: 'Ones' is a class of your own (module 'mine'), which cannot "
     "be read "
     "from JSON"},
    {"Dropout", "\"rate\": 0.5, \"noise_shape\": [1]",
     "layers[1] 'x' (Dropout).config.noise_shape is [1], which is not built yet; leave it out or null"},
    {"Softmax", "\"axis\": 0", "layers[1] 'x' (Softmax): axis 0 is that of the examples, which is not built yet"},
    {"GlobalAveragePooling1D", "\"keepdims\": true",
     "layers[1] 'x' (GlobalAveragePooling1D).config.keepdims is true, which is not built yet; leave it out or "
     "null"},
    {"BatchNormalization", "\"synchronized\": true",
     "layers[1] 'x' (BatchNormalization).config.synchronized is true, which is not built yet; leave it out or "
     "null"},
    {"BatchNormalization", "\"axis\": [1, 2]",
     "layers[1] 'x' (BatchNormalization) over 2 axes is not built yet; over one is"},
    {"LayerNormalization", "\"axis\": 1",
     "layers[1] 'x' (LayerNormalization) over other axes than the last ones is not built yet"},
    {"Embedding", "\"input_dim\": 3, \"output_dim\": 2, \"mask_zero\": true",
     "layers[1] 'x' (Embedding).config.mask_zero is true, which is not built yet; leave it out or null"},
    {"Embedding", "\"input_dim\": 16777217, \"output_dim\": 2",
     "layers[1] 'x' (Embedding).config.input_dim is 16777217, which is not built yet; 16777216 is the limit"},
    {"Dense", "\"units\": 2, \"kernel_regularizer\": \"orthogonal_regularizer\"",
     "layers[1] 'x' (Dense).config.kernel_regularizer is 'orthogonal_regularizer', which is not built yet; L1, L2 "
     "and L1L2 are"},
    {"TFOpLambda", "\"function\": \"math.log\"",
     "layers[1] 'x' (TFOpLambda).config.function is 'math.log', which is not built yet; +, -, * of tensors or "
     "numbers, / by a number, maximum and minimum of tensors are"},
};

static void test_not_built_yet(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(not_built_yet); i++) {
        char *text = text_with(not_built_yet[i][0], not_built_yet[i][1]);
        model_check_refused(text, MST_UNIMPLEMENTED, not_built_yet[i][2]);
        free(text);
    }
    // An activation that does not exist is answered with the list of those that do.
    struct mst_error err = {""};
    struct mst_model *model;
    char *text = text_with("Dense", "\"units\": 2, \"activation\": \"rleu\"");
    assert_int_equal(mst_model_parse((struct mst_bytes){text, strlen(text)}, "m", &model, &err), MST_UNIMPLEMENTED);
    assert_int_equal(
        strncmp(err.text, "m: layers[1] 'x' (Dense).config.activation is 'rleu', which is not built yet; ", 77), 0);
    assert_non_null(strstr(err.text, "linear, relu, leaky_relu"));
    free(text);
}

static void test_names(void **state)
{
    (void)state;
    char layers[1000], name[301], wanted[400];
    memset(name, 'n', 300);
    name[300] = '\0';
    static const char *const rows[] = {"\"a/b\"", "\"\"", "7", "null"};
    static const char *const sentences[] = {
        "layers[1].config.name is 'a/b'; a layer needs a name of 1 to 256 bytes without '/'",
        "layers[1].config.name is ''; a layer needs a name of 1 to 256 bytes without '/'",
        "layers[1] '' (Dense).config.name is 7; it should be a text",
        "layers[1] '' (Dense).config.name is null; it should be a text",
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        snprintf(layers, sizeof layers,
                 MODEL_INPUT("[null, 3]") ",{\"class_name\": \"Dense\", \"config\": {\"units\": 2, \"name\": %s}}",
                 rows[i]);
        char *text = model_text(layers);
        model_check_refused(text, MST_INVALID_ARGUMENT, sentences[i]);
        free(text);
    }
    snprintf(layers, sizeof layers,
             MODEL_INPUT("[null, 3]") ",{\"class_name\": \"Dense\", \"config\": {\"units\": 2, \"name\": \"%s\"}}",
             name);
    char *text = model_text(layers);
    snprintf(wanted, sizeof wanted,
             "layers[1].config.name is '%.64s'; a layer needs a name of 1 to 256 bytes without '/'", name);
    model_check_refused(text, MST_INVALID_ARGUMENT, wanted);
    free(text);
    name[256] = '\0';
    snprintf(layers, sizeof layers,
             MODEL_INPUT("[null, 3]") ",{\"class_name\": \"Dense\", \"config\": {\"units\": 2, \"name\": \"%s\"}}",
             name);
    text = model_text(layers);
    struct mst_model *model = model_parse_right(text);
    assert_int_equal(strlen(mst_model_variable(model, 0)->name), 256 + strlen("/kernel"));
    mst_model_free(model);
    free(text);
}

// Keras 2's hard_sigmoid has another slope.
static void test_hard_sigmoid_of_keras_2(void **state)
{
    (void)state;
    static const char layers[] = "{\"class_name\": \"InputLayer\", \"config\": {\"%s\": [null, 3], \"name\": \"in\"}},"
                                 "{\"class_name\": \"Dense\", \"config\": {\"name\": \"d\", \"units\": 2, "
                                 "\"activation\": \"hard_sigmoid\"}}";
    char given[400];
    snprintf(given, sizeof given, layers, "batch_shape");
    char *text = model_text(given);
    mst_model_free(model_parse_right(text));
    free(text);
    snprintf(given, sizeof given, layers, "batch_input_shape");
    text = model_text(given);
    model_check_refused(
        text, MST_UNIMPLEMENTED,
        "layers[1] 'd' (Dense) has the activation hard_sigmoid, which in Keras 2 is another function than "
        "in Keras 3; that of Keras 3 is built");
    free(text);
}

// With rms_scaling there is a gamma, whatever scale says, and never a beta.
static void test_rms_scaling(void **state)
{
    (void)state;
    char *text =
        model_text(MODEL_INPUT("[null, 3]") ",{\"class_name\": \"LayerNormalization\", \"config\": {\"name\": \"n\", "
                                            "\"rms_scaling\": true, \"scale\": false, \"center\": true}}");
    struct mst_model *model = model_parse_right(text);
    assert_int_equal(mst_model_n_variables(model), 1);
    assert_string_equal(mst_model_variable(model, 0)->name, "n/gamma");
    mst_model_free(model);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_meaning),
                                       cmocka_unit_test(test_dense),
                                       cmocka_unit_test(test_refused),
                                       cmocka_unit_test(test_not_built_yet),
                                       cmocka_unit_test(test_names),
                                       cmocka_unit_test(test_rms_scaling),
                                       cmocka_unit_test(test_hard_sigmoid_of_keras_2)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
