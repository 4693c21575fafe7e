// Functional models: both dialects of Keras, shared and nested layers, several inputs and outputs; and what a broken
// graph is told.
#include "model/model.h"
#include "model_texts.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

// Tensors in both dialects, an input, and layers with their calls.
#define T3(layer, call)                                                                                                \
    "{\"class_name\":\"__keras_tensor__\",\"config\":{\"keras_history\":[\"" layer "\"," call ",0]}}"
#define NODE3(args) "{\"args\":[" args "],\"kwargs\":{\"mask\":null}}"
#define IN(name, shape)                                                                                                \
    "{\"class_name\":\"InputLayer\",\"config\":{\"name\":\"" name "\",\"batch_shape\":" shape                          \
    ",\"dtype\":\"int32\"},\"name\":\"" name "\",\"inbound_nodes\":[]}"
#define DENSE(name, units, nodes)                                                                                      \
    "{\"class_name\":\"Dense\",\"config\":{\"name\":\"" name "\",\"units\":" units "},\"name\":\"" name                \
    "\",\"inbound_nodes\":[" nodes "]}"
#define FUNCTIONAL(name, layers, inputs, outputs, more)                                                                \
    "{\"class_name\":\"Functional\",\"config\":{\"name\":\"" name "\",\"trainable\":true,\"layers\":[" layers          \
    "],\"input_layers\":" inputs ",\"output_layers\":" outputs "}" more "}"

static char *shape_text(const struct mst_shape *shape)
{
    static char text[MST_SHAPE_TEXT_BYTES];
    return mst_shape_print(shape, text, sizeof text);
}

static void check_names(const struct mst_model *model, const char *const *names, size_t n)
{
    assert_int_equal(mst_model_n_variables(model), n);
    for (size_t v = 0; v < n; v++)
        assert_string_equal(mst_model_variable(model, v)->name, names[v]);
}

// Two towers that share a layer, in the words of Keras 3 and of Keras 2; a dict of inputs comes in the order of keys.
static void test_both_dialects(void **state)
{
    (void)state;
    static const char *const texts[] = {
        FUNCTIONAL("m",
                   IN("b", "[null, 4]") "," IN("a", "[null, 4]") "," DENSE(
                       "d", "3",
                       NODE3(T3("a", "0")) "," NODE3(
                           T3("b", "0"))) "," DENSE("first", "1", NODE3(T3("d", "0"))) "," DENSE("second", "2",
                                                                                                 NODE3(T3("d", "1"))),
                   "{\"b\":[\"b\",0,0],\"a\":[\"a\",0,0]}", "[[\"first\",0,0],[\"second\",0,0]]", ""),
        FUNCTIONAL(
            "m",
            IN("b", "[null, 4]") "," IN("a", "[null, 4]") "," DENSE(
                "d", "3",
                "[[\"a\",0,0,{}]],[[\"b\",0,0,{}]]") "," DENSE("first", "1",
                                                               "[[\"d\",0,0,{}]]") "," DENSE("second", "2",
                                                                                             "[[\"d\",1,0,{"
                                                                                             "\"training\":null}]]"),
            "{\"b\":[\"b\",0,0],\"a\":[\"a\",0,0]}", "[[\"first\",0,0],[\"second\",0,0]]", ""),
    };
    static const char *const names[] = {"d/kernel",   "d/bias",        "first/kernel",
                                        "first/bias", "second/kernel", "second/bias"};
    char *canonical[COUNT(texts)];
    for (size_t i = 0; i < COUNT(texts); i++) {
        struct mst_model *model = model_parse_right(texts[i]);
        check_names(model, names, COUNT(names));
        assert_int_equal(mst_model_n_inputs(model), 2);
        assert_string_equal(mst_model_input_name(model, 0), "a");
        assert_string_equal(mst_model_input_name(model, 1), "b");
        assert_int_equal(mst_model_input_dtype(model, 0), MST_DTYPE_I32);
        assert_int_equal(mst_model_n_outputs(model), 2);
        assert_string_equal(mst_model_output_name(model, 1), "second");
        assert_string_equal(shape_text(mst_model_output_shape(model, 1)), "(2,)");
        canonical[i] = mst_model_canonical_json(model);
        mst_model_free(model);
    }
    assert_string_equal(canonical[0], canonical[1]);
    free(canonical[0]);
    free(canonical[1]);
}

// What compile and the data call the tensors of dicts: by their keys, in the order of these.
static void test_keys_are_names(void **state)
{
    (void)state;
    struct mst_model *model = model_parse_right(
        FUNCTIONAL("m",
                   IN("a", "[null, 4]") "," IN("b", "[null, 2]") "," DENSE("c", "3", NODE3(T3("a", "0"))) "," DENSE(
                       "d", "1", NODE3(T3("b", "0"))),
                   "{\"wide\":[\"a\",0,0],\"deep\":[\"b\",0,0]}", "{\"score\":[\"c\",0,0],\"kind\":[\"d\",0,0]}", ""));
    assert_string_equal(mst_model_input_name(model, 0), "deep");
    assert_string_equal(mst_model_input_name(model, 1), "wide");
    assert_string_equal(shape_text(mst_model_input_shape(model, 0)), "(2,)");
    assert_string_equal(mst_model_output_name(model, 0), "kind");
    assert_string_equal(mst_model_output_name(model, 1), "score");
    assert_string_equal(shape_text(mst_model_output_shape(model, 1)), "(3,)");
    mst_model_free(model);
}

#define INNER(nodes)                                                                                                   \
    FUNCTIONAL("inner",                                                                                                \
               IN("x", "[null, 4]") "," DENSE("d", "4", NODE3(T3("x", "0"))) "," DENSE("e", "4", NODE3(T3("d", "0"))), \
               "[\"x\",0,0]", "[\"e\",0,0]", ",\"name\":\"inner\",\"inbound_nodes\":[" nodes "]")

// A model called twice; its own calls are numbered from 1 in output_layers and from 0 among arguments.
static void test_nested_twice(void **state)
{
    (void)state;
    static const char *const names[] = {"inner/d/kernel", "inner/d/bias", "inner/e/kernel",
                                        "inner/e/bias",   "d/kernel",     "d/bias"};
    struct mst_model *model =
        model_parse_right(FUNCTIONAL("m",
                                     IN("a", "[null, 4]") "," INNER(NODE3(T3("a", "0")) "," NODE3(
                                         T3("d", "0"))) "," DENSE("d", "4", NODE3(T3("inner", "0"))),
                                     "[\"a\",0,0]", "[\"inner\",2,0]", ""));
    check_names(model, names, COUNT(names));
    assert_int_equal(mst_model_n_layers(model), 3);
    assert_string_equal(mst_model_layer_name(model, 1), "inner/e");
    assert_string_equal(mst_model_output_name(model, 0), "inner");
    mst_model_free(model);
}

// A shared layer may have been built for one of its other calls.
static void test_built_for_another_call(void **state)
{
    (void)state;
    struct mst_model *model = model_parse_right(
        FUNCTIONAL("m",
                   IN("a", "[null, 3, 4]") ",{\"class_name\":\"Dense\",\"config\":{\"name\":\"d\",\"units\":4},"
                                           "\"build_config\":{\"input_shape\":[null,7,4]},\"inbound_nodes\":[" NODE3(
                                               T3("a", "0")) "]}",
                   "[[\"a\",0,0]]", "[[\"d\",0,0]]", ""));
    assert_string_equal(shape_text(mst_model_output_shape(model, 0)), "(3, 4)");
    mst_model_free(model);
}

static void test_frozen(void **state)
{
    (void)state;
    char *text = model_text(
        MODEL_INPUT("[null, 3]") "," MODEL_DENSE("a", "2") ",{\"class_name\": \"Dense\", \"config\": "
                                                           "{\"name\": \"b\", \"units\": 2, \"trainable\": false}}");
    struct mst_model *model = model_parse_right(text);
    assert_int_equal(mst_model_variable(model, 0)->update, MST_UPDATE_OPTIMIZER);
    assert_int_equal(mst_model_variable(model, 2)->update, MST_UPDATE_FROZEN);
    assert_int_equal(mst_model_variable(model, 3)->update, MST_UPDATE_FROZEN);
    mst_model_free(model);
    free(text);
}

// What nothing reads is not computed and keeps what it has, but Keras counts its regularizer and trains it by that.
static void test_unread_outputs(void **state)
{
    (void)state;
    static const enum mst_variable_update updates[] = {MST_UPDATE_OPTIMIZER, MST_UPDATE_OPTIMIZER, MST_UPDATE_OPTIMIZER,
                                                       MST_UPDATE_FROZEN};
    struct mst_model *model = model_parse_right(FUNCTIONAL(
        "m",
        IN("a", "[null, 4]") "," FUNCTIONAL(
            "inner",
            IN("x", "[null, 4]") "," DENSE(
                "d", "4",
                NODE3(
                    T3("x",
                       "0"))) ","
                              "{\"class_name\":\"Dense\",\"config\":{\"name\":\"e\",\"units\":2,\"kernel_regularizer\":"
                              "{\"class_name\":\"L2\",\"config\":{\"l2\":0.5}}},\"inbound_nodes\":[" NODE3(
                                  T3("d", "0")) "]}",
            "[\"x\",0,0]", "[[\"d\",0,0],[\"e\",0,0]]",
            ",\"name\":\"inner\",\"inbound_nodes\":[" NODE3(T3("a", "0")) "]"),
        "[\"a\",0,0]", "[\"inner\",1,0]", ""));
    assert_int_equal(mst_model_n_variables(model), COUNT(updates));
    for (size_t v = 0; v < COUNT(updates); v++)
        assert_int_equal(mst_model_variable(model, v)->update, updates[v]);
    mst_model_free(model);
}

#define DROPPED(kwargs)                                                                                                \
    FUNCTIONAL("m",                                                                                                    \
               IN("a", "[null, 4]") "," DENSE(                                                                         \
                   "e", "4", NODE3(T3("a", "0"))) ",{\"class_name\":\"Dropout\",\"config\":{"                          \
                                                  "\"name\":\"d\",\"rate\":0.5},\"inbound_nodes\":[{\"args\":[" T3(    \
                                                      "e", "0") "],\"kwargs\":" kwargs "}]}",                          \
               "[[\"a\",0,0]]", "[[\"d\",0,0]]", "")

// Keras 3 prints `training` for each Dropout of a Functional, and never goes by it.
static void test_training_of_keras_3(void **state)
{
    (void)state;
    static const char *const texts[] = {DROPPED("{}"), DROPPED("{\"training\":false}"), DROPPED("{\"training\":true}")};
    char *canonical[COUNT(texts)];
    for (size_t i = 0; i < COUNT(texts); i++) {
        struct mst_model *model = model_parse_right(texts[i]);
        canonical[i] = mst_model_canonical_json(model);
        assert_string_equal(canonical[i], canonical[0]);
        mst_model_free(model);
    }
    for (size_t i = 0; i < COUNT(texts); i++)
        free(canonical[i]);
    model_check_refused(DROPPED("{\"training\":0.5}"), MST_UNIMPLEMENTED,
                        "layers[2] 'd'.inbound_nodes[0] is called with training=0.5, which is not built yet");
}

#define A_INPUT IN("a", "[null, 4]")
#define ONE_IN  "[[\"a\",0,0]]"

static void test_broken_graphs(void **state)
{
    (void)state;
    static const char *const rows[][2] = {
        {FUNCTIONAL("m", A_INPUT "," DENSE("d", "4", NODE3(T3("e", "0"))) "," DENSE("e", "4", NODE3(T3("d", "0"))),
                    ONE_IN, "[[\"e\",0,0]]", ""),
         "layers[2] 'e' reads 'd', which reads it in turn: the layers form a circle"},
        {FUNCTIONAL("m", A_INPUT "," DENSE("d", "4", NODE3(T3("a", "0"))) "," DENSE("e", "4", NODE3(T3("a", "0"))),
                    ONE_IN, "[[\"e\",0,0]]", ""),
         "layers[1] 'd' dangles: nothing reads its call 0, and it is no output of the model"},
        {FUNCTIONAL("m", A_INPUT "," DENSE("d", "4", NODE3(T3("b", "0"))), ONE_IN, "[[\"d\",0,0]]", ""),
         "layers[1] 'd'.inbound_nodes[0] names 'b', and the model has no such layer"},
        {FUNCTIONAL("m", A_INPUT "," DENSE("d", "4", NODE3(T3("a", "1"))), ONE_IN, "[[\"d\",0,0]]", ""),
         "layers[1] 'd'.inbound_nodes[0] names tensor 0 of call 1 of 'a', which has 1 calls and 1 tensors each"},
        {FUNCTIONAL("m", A_INPUT "," DENSE("d", "4", NODE3(T3("a", "0") "," T3("a", "0"))), ONE_IN, "[[\"d\",0,0]]",
                    ""),
         "layers[1] 'd' (Dense) is called with 2 inputs; it takes one"},
        {FUNCTIONAL("m", A_INPUT "," DENSE("d", "4", NODE3("")), ONE_IN, "[[\"d\",0,0]]", ""),
         "layers[1] 'd'.inbound_nodes[0] is called without a tensor"},
        {FUNCTIONAL("m", A_INPUT "," DENSE("d", "4", ""), ONE_IN, "[[\"a\",0,0]]", ""),
         "layers[1] 'd' is never called: its inbound_nodes are empty"},
        {FUNCTIONAL("m", A_INPUT "," IN("b", "[null, 4]") "," DENSE("d", "4", NODE3(T3("a", "0"))), ONE_IN,
                    "[[\"d\",0,0]]", ""),
         "layers[1] 'b' (InputLayer) is not among the model's input_layers, so nothing fills it"},
        {FUNCTIONAL("m", A_INPUT "," DENSE("d", "4", NODE3(T3("a", "0"))), "[[\"d\",0,0]]", "[[\"d\",0,0]]", ""),
         "config.input_layers names 'd', which is no InputLayer"},
        {FUNCTIONAL("m", A_INPUT "," DENSE("d", "5", NODE3(T3("a", "0")) "," NODE3(T3("d", "0"))), ONE_IN,
                    "[[\"d\",1,0]]", ""),
         "layers[1] 'd' (Dense) was first called with an input of shape (None, 4), but call 2 gets (None, 5) from 'd', "
         "which does not suit its kernel"},
        {FUNCTIONAL("m", IN("a", "[null, 5]") "," INNER(NODE3(T3("a", "0"))), ONE_IN, "[[\"inner\",1,0]]", ""),
         "layers[1] 'inner' takes inputs of shape (None, 4), but 'a' gives (None, 5)"},
        {FUNCTIONAL("m", A_INPUT "," INNER(NODE3(T3("a", "0") "," T3("a", "0"))), ONE_IN, "[[\"inner\",1,0]]", ""),
         "layers[1] 'inner' is called with 2 inputs; it has 1"},
        {FUNCTIONAL("m", A_INPUT, ONE_IN, ONE_IN, ""), "the model has no layer but its InputLayer"},
        {FUNCTIONAL("m", A_INPUT, "[]", ONE_IN, ""), "config names no input_layers"},
        {"{\"class_name\":\"Functional\",\"config\":{\"name\":\"m\",\"layers\":[" A_INPUT "]}}",
         "config has no input_layers"},
    };
    for (size_t i = 0; i < COUNT(rows); i++)
        model_check_refused(rows[i][0], MST_INVALID_ARGUMENT, rows[i][1]);
    model_check_refused(
        FUNCTIONAL("m", A_INPUT "," DENSE("d", "4", "[[\"a\",0,0,{\"training\":true}]]"), ONE_IN, "[[\"d\",0,0]]", ""),
        MST_UNIMPLEMENTED, "layers[1] 'd'.inbound_nodes[0] is called with training=true, which is not built yet");
    model_check_refused(
        FUNCTIONAL("m", A_INPUT "," DENSE("d", "4", NODE3(T3("a", "0") ",2.5")), ONE_IN, "[[\"d\",0,0]]", ""),
        MST_UNIMPLEMENTED, "layers[1] 'd'.inbound_nodes[0] is called with the number 2.5 in a tensor's place");
}

#define LAYER(class, name, config, nodes)                                                                              \
    "{\"class_name\":\"" class "\",\"config\":{\"name\":\"" name "\"" config "},\"inbound_nodes\":[" nodes "]}"
#define OPERATION(class, name, nodes)                                                                                  \
    "{\"module\":\"keras.src.ops.numpy\",\"class_name\":\"" class "\",\"config\":{\"name\":\"" name                    \
                                                                  "\"},\"inbound_nodes\":[" nodes "]}"
#define JOINED(layer)                                                                                                  \
    FUNCTIONAL("m", IN("a", "[null, 4, 2]") "," IN("b", "[null, 3]") "," layer, "[[\"a\",0,0],[\"b\",0,0]]",           \
               "[[\"j\",0,0]]", "")
#define BOTH NODE3("[" T3("a", "0") "," T3("b", "0") "]")

// Tensors that do not go together.
static void test_joins(void **state)
{
    (void)state;
    static const char *const rows[][2] = {
        {JOINED(LAYER("Add", "j", "", BOTH)),
         "layers[2] 'j' (Add): 'a' gives (None, 4, 2) and 'b' gives (None, 3), which do not fit together"},
        {JOINED(LAYER("Concatenate", "j", ",\"axis\":1", BOTH)),
         "layers[2] 'j' (Concatenate): 'a' gives (None, 4, 2) and 'b' gives (None, 3); they may differ in axis 1 "
         "alone"},
        {JOINED(LAYER("Dot", "j", ",\"axes\":1", BOTH)),
         "layers[2] 'j' (Dot): 'a' gives (None, 4, 2) and 'b' gives (None, 3), whose axes 1 and 1 differ in size"},
        {JOINED(LAYER("Dot", "j", ",\"axes\":1", NODE3(T3("a", "0")))),
         "layers[2] 'j' (Dot) is called with 1 inputs; it takes two"},
        {JOINED(OPERATION("Add", "j", BOTH)),
         "layers[2] 'j' (Add): 'a' gives (None, 4, 2) and 'b' gives (None, 3), which do not fit together"},
    };
    for (size_t i = 0; i < COUNT(rows); i++)
        model_check_refused(rows[i][0], MST_INVALID_ARGUMENT, rows[i][1]);
    model_check_refused(JOINED(OPERATION("TrueDivide", "j", BOTH)), MST_UNIMPLEMENTED,
                        "layers[2] 'j' (TrueDivide) of two tensors is not built yet; by a number is");
    model_check_refused(JOINED(OPERATION("Maximum", "j", NODE3(T3("a", "0") ",0.5"))), MST_UNIMPLEMENTED,
                        "layers[2] 'j' (Maximum) with the number 0.5 after a tensor is not built yet");
    model_check_refused(JOINED(OPERATION("Log", "j", NODE3(T3("a", "0")))), MST_UNIMPLEMENTED,
                        "layers[2] 'j' (Log): this operation is not built yet; +, -, * of tensors or numbers, / by a "
                        "number, maximum and minimum of tensors are");
}

// Models within models, each called twice by the one around it: 2^n calls written out.
static void test_explosion(void **state)
{
    (void)state;
    char *text = strdup(DENSE("x", "4", "[[\"a\",0,0,{}]],[[\"x\",0,0,{}]]"));
    char last[32] = "x";
    char name[32];
    for (size_t depth = 0; depth < 20; depth++) {
        char *outer = NULL;
        snprintf(name, sizeof name, "m%zu", depth);
        if (asprintf(
                &outer,
                "{\"class_name\":\"Functional\",\"name\":\"%s\",\"inbound_nodes\":[[[\"a\",0,0,{}]],[[\"%s\",1,0,{}]]],"
                "\"config\":{\"name\":\"%s\",\"layers\":[" A_INPUT ",%s],\"input_layers\":[[\"a\",0,0]],"
                "\"output_layers\":[[\"%s\",%d,0]]}}",
                name, name, name, text, last, depth == 0 ? 1 : 2) < 0)
            abort();
        free(text);
        text = outer;
        memcpy(last, name, sizeof last);
        if (depth == 3)
            mst_model_free(model_parse_right(text));
    }
    model_check_refused(text, MST_INVALID_ARGUMENT, "written out, the model calls models more than 16384 times");
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_both_dialects),
                                       cmocka_unit_test(test_keys_are_names),
                                       cmocka_unit_test(test_nested_twice),
                                       cmocka_unit_test(test_frozen),
                                       cmocka_unit_test(test_built_for_another_call),
                                       cmocka_unit_test(test_unread_outputs),
                                       cmocka_unit_test(test_training_of_keras_3),
                                       cmocka_unit_test(test_broken_graphs),
                                       cmocka_unit_test(test_joins),
                                       cmocka_unit_test(test_explosion)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
