// What only graphs do in a program: ids outside of a table, averages of a layer that is called twice, memory that is
// used again. Numbers are compared with Keras's in test_golden_graphs.
#include "program_case.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TABLE LAYER("Embedding", "table", ",\"input_dim\":5,\"output_dim\":3") "," LAYER("Flatten", "flat", "")
#define MSE   "{\"loss\":\"mse\"}"

static struct mst_device *device;

static void check_id(enum mst_program_mode mode, int32_t id)
{
    enum mst_dtype dtype = MST_DTYPE_I32;
    struct mst_program_options options = {.mode = mode, .max_batch = 4, .input_dtypes = &dtype};
    struct program_case c;
    struct mst_program_result result;
    struct mst_error err = {0};
    int32_t ids[6] = {0, 4, 1, 1, id, 2};
    float targets[3] = {0};
    char wanted[128];
    program_case_init(&c, device, "[2]", TABLE "," DENSE("last", 1, "linear"), MSE, &options);
    struct mst_program_step step = program_case_step(&c, ids, NULL, 3);
    struct mst_target target = {.values = targets};
    double sums[8] = {0};
    step.targets = &target;
    step.sums = sums;
    step.batch = 7;
    step.params = (const float *const *)c.params;
    step.grads = c.grads;
    snprintf(wanted, sizeof wanted, "example 2 of batch 7 has the id %d; layer 'table' (Embedding) takes 0 to 4",
             (int)id);
    assert_int_equal(mst_program_run(c.program, &step, &result, &err), MST_OUT_OF_RANGE);
    assert_string_equal(err.text, wanted);
    ids[4] = 3;
    assert_int_equal(mst_program_run(c.program, &step, &result, &err), MST_OK);
    program_case_fini(&c);
}

static void test_ids(void **state)
{
    (void)state;
    static const int32_t ids[] = {5, -1, 16777216, INT32_MIN};
    for (size_t i = 0; i < sizeof ids / sizeof *ids; i++) {
        check_id(MST_PROGRAM_TRAIN, ids[i]);
        check_id(MST_PROGRAM_EVAL, ids[i]);
    }
}

// Ids may come as bytes, integers or floats.
static void test_id_dtypes(void **state)
{
    (void)state;
    static const enum mst_dtype dtypes[] = {MST_DTYPE_U8, MST_DTYPE_I32, MST_DTYPE_F32};
    static const uint8_t bytes[4] = {4, 0, 3, 3};
    static const int32_t integers[4] = {4, 0, 3, 3};
    static const float floats[4] = {4, 0, 3, 3};
    const void *const inputs[] = {bytes, integers, floats};
    float first[12];
    for (size_t d = 0; d < 3; d++) {
        struct mst_program_options options = {.mode = MST_PROGRAM_PREDICT, .max_batch = 2, .input_dtypes = &dtypes[d]};
        struct program_case c;
        program_random_restart();
        program_case_init(&c, device, "[2]", TABLE, NULL, &options);
        struct mst_program_step step = program_case_step(&c, inputs[d], NULL, 2);
        step.targets = NULL;
        program_case_run(&c, &step);
        const float *output = mst_program_output(c.program, 0);
        assert_memory_equal(output, c.params[0] + 12, 3 * sizeof(float));
        assert_memory_equal(output + 9, c.params[0] + 9, 3 * sizeof(float));
        if (d == 0)
            memcpy(first, output, sizeof first);
        assert_memory_equal(output, first, sizeof first);
        program_case_fini(&c);
    }
}

static void test_averages_of_a_shared_layer(void **state)
{
    (void)state;
    static const char *const text =
        "{\"class_name\":\"Functional\",\"config\":{\"name\":\"m\",\"layers\":[{\"class_name\":\"InputLayer\","
        "\"config\":{"
        "\"name\":\"a\",\"batch_shape\":[null,3]},\"inbound_nodes\":[]},{\"class_name\":\"BatchNormalization\","
        "\"config\":{"
        "\"name\":\"n\"},\"inbound_nodes\":[[[\"a\",0,0,{}]],[[\"n\",0,0,{}]]]}],\"input_layers\":[[\"a\",0,0]],"
        "\"output_layers\":[[\"n\",1,0]]}}";
    const enum mst_dtype dtype = MST_DTYPE_F32;
    struct mst_program_options options = {.mode = MST_PROGRAM_TRAIN, .max_batch = 4, .input_dtypes = &dtype};
    struct mst_error err = {0};
    struct mst_model *model;
    struct mst_program *program;
    assert_int_equal(mst_model_parse((struct mst_bytes){text, strlen(text)}, "m", &model, &err), MST_OK);
    json_t *json = json_loads(MSE, 0, NULL);
    struct mst_compile compile;
    assert_int_equal(mst_compile_parse(json, "compile", model, &compile, &err), MST_OK);
    json_decref(json);
    assert_int_equal(mst_program_new(model, &compile, device, &options, &program, &err), MST_UNIMPLEMENTED);
    assert_string_equal(err.text,
                        "layer 'n' (BatchNormalization) is called more than once; to train its moving averages "
                        "then is not built yet");
    options.mode = MST_PROGRAM_PREDICT;
    assert_int_equal(mst_program_new(model, NULL, device, &options, &program, &err), MST_OK);
    mst_program_free(program);
    mst_model_free(model);
}

// A prediction through many layers holds two values at a time; training all of them, and two for gradients and targets.
static void test_memory_is_used_again(void **state)
{
    (void)state;
    const enum mst_dtype dtype = MST_DTYPE_F32;
    const size_t value_bytes = 64 * 100 * sizeof(float);
    struct mst_program_options options = {.mode = MST_PROGRAM_PREDICT, .max_batch = 64, .input_dtypes = &dtype};
    struct program_case c;
    char layers[8192] = "";
    for (int i = 0; i < 20; i++)
        snprintf(layers + strlen(layers), sizeof layers - strlen(layers), "%s" LAYER("Dense", "d%d", ",\"units\":100"),
                 i > 0 ? "," : "", i);
    program_case_init(&c, device, "[100]", layers, NULL, &options);
    assert_int_equal(mst_program_arena_bytes(c.program), 2 * value_bytes);
    program_case_fini(&c);
    options.mode = MST_PROGRAM_TRAIN;
    program_case_init(&c, device, "[100]", layers, MSE, &options);
    assert_int_equal(mst_program_arena_bytes(c.program), 22 * value_bytes);
    program_case_fini(&c);
}

int main(void)
{
    struct mst_error err = {0};
    program_random_seed("test_model_program_graph");
    if (mst_device_cpu_new(2, &device, &err) != MST_OK) {
        fprintf(stderr, "%s\n", err.text);
        return 1;
    }
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_ids), cmocka_unit_test(test_id_dtypes),
                                       cmocka_unit_test(test_averages_of_a_shared_layer),
                                       cmocka_unit_test(test_memory_is_used_again)};
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    mst_device_free(device);
    return failed;
}
