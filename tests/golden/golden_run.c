// Everything a case needs is copied, so that no run sees what another wrote.
#include "golden_run.h"

#include "base/alloc.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

static void load_variables(struct golden_run *run, const char *weights)
{
    run->n_variables = mst_model_n_variables(run->model);
    run->params = mst_alloc_array(run->n_variables, sizeof *run->params);
    run->grads = mst_alloc_array(run->n_variables, sizeof *run->grads);
    for (size_t v = 0; v < run->n_variables; v++) {
        const struct mst_variable *variable = mst_model_variable(run->model, v);
        size_t n;
        const float *value = golden_tensor(run->golden, &n, "%s.%s.%s", run->name, weights, variable->name);
        assert_int_equal(n, variable->n_elements);
        run->params[v] = mst_alloc_array(n, sizeof(float));
        run->grads[v] = mst_alloc_array(n, sizeof(float));
        memcpy(run->params[v], value, n * sizeof(float));
        for (size_t i = 0; i < n; i++)
            run->grads[v][i] = -777.0f; // what is not written shows
    }
}

static bool load_features(struct golden_run *run, enum mst_dtype dtype)
{
    size_t n;
    run->raw_bytes = mst_dtype_size_bytes(dtype);
    const float *x = golden_tensor(run->golden, &n, "%s.x", run->name);
    run->n_features = 1;
    const struct mst_shape *shape = mst_model_input_shape(run->model, 0);
    for (size_t axis = 0; axis < shape->rank; axis++)
        run->n_features *= shape->dims[axis];
    run->n_examples = n / run->n_features;
    if (dtype == MST_DTYPE_U8) {
        run->raw = golden_to_uint8(x, n);
    } else if (dtype == MST_DTYPE_I32) {
        uint8_t *bytes = golden_to_uint8(x, n); // whole numbers only
        run->raw = bytes ? golden_to_int32(x, n) : NULL;
        free(bytes);
    } else {
        run->raw = mst_alloc_array(n, sizeof(float));
        memcpy(run->raw, x, n * sizeof(float));
    }
    return run->raw != NULL;
}

static void load_labels(struct golden_run *run)
{
    size_t n;
    const float *y = golden_tensor(run->golden, &n, "%s.y", run->name);
    run->n_outputs = mst_model_output_shape(run->model, 0)->dims[0];
    if (run->compile.losses[0].kind == MST_LOSS_SPARSE_CATEGORICAL_CROSSENTROPY) {
        assert_int_equal(n, run->n_examples);
        run->labels = golden_to_int32(y, n);
    } else {
        assert_int_equal(n, run->n_examples * run->n_outputs);
        run->targets = y;
    }
}

static void load_more_labels(struct golden_run *run, size_t output)
{
    size_t n;
    const float *y = golden_tensor(run->golden, &n, "%s.y%zu", run->name, output);
    size_t n_values = mst_model_output_shape(run->model, output)->dims[0];
    run->more[output].n_values = n_values;
    if (run->compile.losses[output].kind == MST_LOSS_SPARSE_CATEGORICAL_CROSSENTROPY &&
        run->compile.losses[output].is_given) {
        assert_int_equal(n, run->n_examples);
        run->more[output].labels = golden_to_int32(y, n);
    } else {
        assert_int_equal(n, run->n_examples * n_values);
        run->more[output].targets = y;
    }
}

bool golden_run_init(struct golden_run *run, const char *weights, const struct mst_program_options *options)
{
    struct mst_error err = {0};
    run->name = golden_case_name(run->golden, run->index);
    run->model = golden_model(run->golden, run->index);
    run->compile = golden_compile(run->golden, run->index, run->model);
    if (!load_features(run, options->input_dtypes[0])) {
        mst_model_free(run->model);
        return false;
    }
    load_labels(run);
    for (size_t o = 1; o < run->compile.n_outputs; o++)
        load_more_labels(run, o);
    load_variables(run, weights);
    run->sums = mst_alloc_array(mst_compile_n_sums(&run->compile), sizeof *run->sums);
    if (mst_program_new(run->model, &run->compile, run->device, options, &run->program, &err) != MST_OK)
        fail_msg("%s: %s", run->name, err.text);
    return true;
}

void golden_run_fini(struct golden_run *run)
{
    mst_program_free(run->program);
    for (size_t v = 0; v < run->n_variables; v++) {
        free(run->params[v]);
        free(run->grads[v]);
    }
    free(run->params);
    free(run->grads);
    free(run->sums);
    free(run->labels);
    for (size_t o = 1; o < run->compile.n_outputs; o++)
        free(run->more[o].labels);
    free(run->raw);
    mst_model_free(run->model);
}

struct mst_program_step golden_run_step(struct golden_run *run, size_t first, size_t n)
{
    run->input = (const char *)run->raw + first * run->raw_bytes * run->n_features;
    run->target[0] = (struct mst_target){run->labels ? run->labels + first : NULL,
                                         run->targets ? run->targets + first * run->n_outputs : NULL};
    for (size_t o = 1; o < run->compile.n_outputs; o++) {
        const float *targets = run->more[o].targets;
        run->target[o] = (struct mst_target){run->more[o].labels ? run->more[o].labels + first : NULL,
                                             targets ? targets + first * run->more[o].n_values : NULL};
    }
    return (struct mst_program_step){.params = (const float *const *)run->params,
                                     .grads = run->grads,
                                     .inputs = &run->input,
                                     .targets = run->target,
                                     .n_examples = n,
                                     .sums = run->sums};
}

void golden_run_batch(struct golden_run *run, const struct mst_program_step *step)
{
    struct mst_program_result result;
    struct mst_error err = {0};
    if (mst_program_run(run->program, step, &result, &err) != MST_OK)
        fail_msg("%s: %s", run->name, err.text);
    if (!result.loss_is_finite)
        fail_msg("%s: the loss is not finite; first bad: %s", run->name, result.bad_layer_name);
}

void golden_run_restart(struct golden_run *run)
{
    for (size_t i = 0; i < mst_compile_n_sums(&run->compile); i++)
        run->sums[i] = 0;
}

float golden_run_value(const struct golden_run *run, size_t i)
{
    return (float)mst_measure_value(&run->compile, i, run->sums);
}
