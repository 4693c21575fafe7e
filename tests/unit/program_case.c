#include "program_case.h"

#include "base/alloc.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct mst_rng_key key;
static uint64_t n_drawn;

void program_random_seed(const char *name)
{
    const char *given = getenv("MUSTER_TEST_SEED");
    uint64_t seed = given ? strtoull(given, NULL, 10) : 1;
    printf("%s: seed %" PRIu64 " (MUSTER_TEST_SEED)\n", name, seed);
    key = mst_rng_key_of(seed, name, 0);
}

void program_random_restart(void)
{
    n_drawn = 0;
}

uint32_t program_random_word(void)
{
    return mst_rng_word(key, n_drawn++);
}

float program_random_float(float scale)
{
    return scale * (2.0f * mst_rng_unit(program_random_word()) - 1.0f);
}

void program_random_fill(float *out, size_t n, float scale)
{
    for (size_t i = 0; i < n; i++)
        out[i] = program_random_float(scale);
}

struct mst_model *program_model(const char *input, const char *layers)
{
    struct mst_error err = {0};
    struct mst_model *model;
    char *text =
        mst_text("{\"module\":\"keras\",\"class_name\":\"Sequential\",\"config\":{\"name\":\"tested\",\"layers\":["
                 "{\"module\":\"keras.layers\",\"class_name\":\"InputLayer\",\"config\":{\"batch_shape\":"
                 "[null,%s,\"name\":\"input\"},\"registered_name\":null},%s]},\"registered_name\":null}",
                 input + 1, layers);
    struct mst_bytes bytes = {text, strlen(text)};
    if (mst_model_parse(bytes, "model.json", &model, &err) != MST_OK)
        fail_msg("%s\n%s", err.text, text);
    free(text);
    return model;
}

static void load_compile(struct program_case *c, const char *text)
{
    struct mst_error err = {0};
    json_t *json = json_loads(text, 0, NULL);
    assert_non_null(json);
    if (mst_compile_parse(json, "compile", c->model, &c->compile, &err) != MST_OK)
        fail_msg("%s", err.text);
    json_decref(json);
}

void program_case_init(struct program_case *c, struct mst_device *device, const char *input, const char *layers,
                       const char *compile, const struct mst_program_options *options)
{
    struct mst_error err = {0};
    *c = (struct program_case){.model = program_model(input, layers)};
    if (compile != NULL) {
        load_compile(c, compile);
        c->sums = mst_alloc_array(mst_compile_n_sums(&c->compile), sizeof *c->sums);
    }
    if (mst_program_new(c->model, compile != NULL ? &c->compile : NULL, device, options, &c->program, &err) != MST_OK)
        fail_msg("%s", err.text);
    assert_int_equal(mst_shape_count(mst_model_input_shape(c->model, 0), &c->n_features), MST_OK);
    assert_int_equal(mst_shape_count(mst_model_output_shape(c->model, 0), &c->n_outputs), MST_OK);
    c->n_variables = mst_model_n_variables(c->model);
    c->params = mst_alloc_array(c->n_variables + 1, sizeof *c->params);
    c->grads = mst_alloc_array(c->n_variables + 1, sizeof *c->grads);
    for (size_t v = 0; v < c->n_variables; v++) {
        size_t n = mst_model_variable(c->model, v)->n_elements;
        c->params[v] = mst_alloc_array(n, sizeof(float));
        c->grads[v] = mst_alloc_array(n, sizeof(float));
        program_random_fill(c->params[v], n, 0.8f);
        program_random_fill(c->grads[v], n, 1000.0f); // what is not written shows
        c->n_parameters += n;
    }
}

void program_case_fini(struct program_case *c)
{
    mst_program_free(c->program);
    for (size_t v = 0; v < c->n_variables; v++) {
        free(c->params[v]);
        free(c->grads[v]);
    }
    free(c->params);
    free(c->grads);
    free(c->sums);
    mst_model_free(c->model);
    *c = (struct program_case){0};
}

size_t program_variable(const struct program_case *c, const char *name)
{
    for (size_t v = 0; v < c->n_variables; v++)
        if (strcmp(mst_model_variable(c->model, v)->name, name) == 0)
            return v;
    fail_msg("no variable %s", name);
    return 0;
}

struct mst_program_step program_case_step(struct program_case *c, const void *x, const int32_t *labels, size_t n)
{
    size_t at = c->n_steps++ % (sizeof c->steps / sizeof *c->steps);
    c->steps[at].input = x;
    c->steps[at].target = (struct mst_target){.labels = labels};
    return (struct mst_program_step){.inputs = &c->steps[at].input, .targets = &c->steps[at].target, .n_examples = n};
}

struct program_result program_case_run(struct program_case *c, struct mst_program_step *step)
{
    struct mst_error err = {0};
    struct mst_program_result run;
    bool has_sums = step->sums != NULL;
    step->params = (const float *const *)c->params;
    step->grads = c->grads;
    if (!has_sums && c->sums != NULL) {
        step->sums = c->sums;
        memset(c->sums, 0, mst_compile_n_sums(&c->compile) * sizeof *c->sums);
    }
    if (mst_program_run(c->program, step, &run, &err) != MST_OK)
        fail_msg("%s", err.text);
    struct program_result result = {.loss_is_finite = run.loss_is_finite,
                                    .weight = run.weight,
                                    .bad_layer = run.bad_layer,
                                    .bad_layer_name = run.bad_layer_name};
    for (size_t i = 0; step->sums != NULL && i < mst_compile_n_measures(&c->compile); i++)
        *(i == 0 ? &result.loss : &result.metrics[i - 1]) = mst_measure_value(&c->compile, i, step->sums);
    if (!has_sums)
        step->sums = NULL;
    return result;
}
