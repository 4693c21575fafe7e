// Gradients of whole random models against finite differences of their loss: layers, activations, losses and shapes
// as they come, dropout with its masks, partial batches.
#include "base/alloc.h"
#include "device/activation.h"
#include "program_case.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { N_MODELS = 144, MAX_BATCH = 9, MAX_TEXT = 4096 };

// The difference of four losses, f'(0) = (8 (f(h) - f(-h)) - (f(2h) - f(-2h))) / 12 h, leaves h^4 / 30 of the fifth
// derivative: 3e-8 of it at h = 0.03. A row's loss is a float behind some layers, wrong by 6e-7, the mean of the rows
// by 3e-7 at worst, and 18 / 12 h multiplies that by 50 (100 at half the width): 3e-5.
//
// Near a kink (relu and its kin) differences say nothing, and a parameter is passed over. A kink of K at a distance d
// within reach of the narrow stencil makes the two widths differ by 7 K d / 12 h, and the second differences f(h) - 2
// f(0) + f(-h), which fall with h^2 where the loss is smooth, by K (1 - 3 d / h) more or less than that. One of the
// two is above 0.09 K, so what passes both at SMOOTH has K < 5e-4, and the narrow stencil is off by less than a third
// of that.
#define STEP      0.03
#define SMOOTH    5e-5
#define TOLERANCE 3e-4

static struct mst_device *device;

struct batch {
    float *x;
    int32_t *labels;
    float *targets;
    const void *input;
    struct mst_target target;
    struct mst_program_step step;
};

static size_t below(size_t n)
{
    return program_random_word() % n;
}

static const char *random_activation(void)
{
    return mst_activation_name((enum mst_activation_kind)below(MST_N_ACTIVATIONS));
}

// Appends one random layer; returns the text's new length.
static size_t add_layer(char *text, size_t at, size_t number, bool is_flat)
{
    size_t room = MAX_TEXT - at;
    switch (below(is_flat ? 6 : 7)) {
    case 0:
        return at +
               (size_t)snprintf(text + at, room, LAYER("Dropout", "l%zu", ",\"rate\":0.%zu") ",", number, below(7));
    case 1:
        return at + (size_t)snprintf(text + at, room,
                                     LAYER("Rescaling", "l%zu", ",\"scale\":1.%zu,\"offset\":0.%zu") ",", number,
                                     below(9), below(9));
    case 2:
        return at + (size_t)snprintf(text + at, room, LAYER("Activation", "l%zu", ",\"activation\":\"%s\"") ",", number,
                                     random_activation());
    case 6:
        return at + (size_t)snprintf(text + at, room, LAYER("Flatten", "l%zu", "") ",", number);
    default:
        return at + (size_t)snprintf(text + at, room,
                                     LAYER("Dense", "l%zu", ",\"units\":%zu,\"activation\":\"%s\",\"use_bias\":%s") ",",
                                     number, 1 + below(6), random_activation(), below(4) ? "true" : "false");
    }
}

// A model that ends in a Dense of n_outputs with this activation.
static void random_layers(char *text, size_t n_outputs, const char *last)
{
    size_t at = 0;
    size_t n = 1 + below(4);
    for (size_t i = 0; i < n; i++)
        at = add_layer(text, at, i, false);
    at += (size_t)snprintf(text + at, MAX_TEXT - at, LAYER("Flatten", "flatten", "") ",");
    snprintf(text + at, MAX_TEXT - at, LAYER("Dense", "last", ",\"units\":%zu,\"activation\":\"%s\""), n_outputs, last);
}

// Losses, and activations that may stand before them.
static const struct {
    const char *compile;
    const char *last[4];
} losses[] = {
    {"{\"loss\":{\"class_name\":\"SparseCategoricalCrossentropy\",\"config\":{\"from_logits\":true}}}",
     {"linear", "tanh", "softmax", "gelu"}},
    {"{\"loss\":{\"class_name\":\"CategoricalCrossentropy\",\"config\":{\"from_logits\":true}}}",
     {"linear", "silu", "sigmoid", "softsign"}},
    {"{\"loss\":\"sparse_categorical_crossentropy\"}", {"softmax", "sigmoid", "softplus", "softmax"}},
    {"{\"loss\":\"categorical_crossentropy\"}", {"softmax", "sigmoid", "softplus", "squareplus"}},
    {"{\"loss\":\"mse\"}", {"linear", "softmax", "log_softmax", "mish"}},
    {"{\"loss\":\"binary_crossentropy\"}", {"sigmoid", "sigmoid", "softmax", "hard_sigmoid"}},
    {"{\"loss\":{\"class_name\":\"BinaryCrossentropy\",\"config\":{\"from_logits\":true,\"label_smoothing\":0.2}}}",
     {"linear", "tanh", "gelu", "sigmoid"}},
    {"{\"loss\":{\"class_name\":\"CategoricalCrossentropy\",\"config\":{\"label_smoothing\":0.2}}}",
     {"softmax", "softmax", "sigmoid", "softplus"}},
    {"{\"loss\":\"mae\"}", {"linear", "tanh", "softplus", "softmax"}},
    {"{\"loss\":\"msle\"}", {"softplus", "softmax", "sigmoid", "exponential"}},
    {"{\"loss\":{\"class_name\":\"Huber\",\"config\":{\"delta\":0.5}}}", {"linear", "tanh", "softplus", "softmax"}},
    {"{\"loss\":\"log_cosh\"}", {"linear", "tanh", "softplus", "softmax"}},
    {"{\"loss\":\"hinge\"}", {"linear", "tanh", "softplus", "sigmoid"}},
    {"{\"loss\":\"squared_hinge\"}", {"linear", "tanh", "softplus", "sigmoid"}},
    {"{\"loss\":\"categorical_hinge\"}", {"linear", "tanh", "softplus", "sigmoid"}},
    {"{\"loss\":\"kl_divergence\"}", {"softmax", "sigmoid", "softmax", "softmax"}},
    {"{\"loss\":\"poisson\"}", {"softplus", "softplus", "softmax", "softplus"}},
    {"{\"loss\":\"cosine_similarity\"}", {"softmax", "sigmoid", "softplus", "softmax"}},
};

static void batch_new(struct batch *batch, const struct program_case *c, bool is_sparse)
{
    size_t n = 1 + below(MAX_BATCH);
    size_t n_outputs = c->n_outputs;
    batch->x = mst_alloc_array(n * c->n_features, sizeof(float));
    batch->labels = mst_alloc_array(n, sizeof *batch->labels);
    batch->targets = mst_alloc_array(n * n_outputs, sizeof(float));
    program_random_fill(batch->x, n * c->n_features, 1.0f);
    for (size_t r = 0; r < n; r++) {
        float sum = 0;
        batch->labels[r] = (int32_t)below(n_outputs);
        for (size_t j = 0; j < n_outputs; j++)
            sum += batch->targets[r * n_outputs + j] = fabsf(program_random_float(1.0f)) + 0.01f;
        for (size_t j = 0; j < n_outputs; j++)
            batch->targets[r * n_outputs + j] /= sum; // shares, as a cross-entropy's gradient supposes
    }
    batch->input = batch->x;
    batch->target = (struct mst_target){is_sparse ? batch->labels : NULL, is_sparse ? NULL : batch->targets};
    batch->step = (struct mst_program_step){
        .inputs = &batch->input, .targets = &batch->target, .n_examples = n, .epoch = below(3), .batch = below(100)};
}

static void batch_free(struct batch *batch)
{
    free(batch->x);
    free(batch->labels);
    free(batch->targets);
}

static double loss_at(struct program_case *c, struct mst_program_step *step, float *w, double value)
{
    *w = (float)value;
    return program_case_run(c, step).loss;
}

// What four losses around a parameter say of it.
struct differences {
    double slope;
    double bend; // h f''
};

static struct differences differences_of(struct program_case *c, struct mst_program_step *step, float *w, double h)
{
    double at = (double)*w;
    double l[5];
    for (int k = 0; k < 5; k++)
        l[k] = loss_at(c, step, w, at + h * (double)(k - 2));
    *w = (float)at;
    return (struct differences){(8 * (l[3] - l[1]) - (l[4] - l[0])) / (12 * h), (l[3] - 2 * l[2] + l[1]) / h};
}

struct counts {
    size_t n_checked;
    size_t n_kinked;
    double worst;
    double scale; // of the model at hand: its loss or its largest gradient
    const char *text;
};

static void check_parameter(struct program_case *c, struct mst_program_step *step, float *w, double gradient,
                            struct counts *counts)
{
    struct differences wide = differences_of(c, step, w, STEP);
    struct differences narrow = differences_of(c, step, w, STEP / 2);
    double error = fabs(narrow.slope - gradient) / counts->scale;
    if (!(fabs(wide.slope - narrow.slope) < SMOOTH * counts->scale) ||
        !(fabs(wide.bend - 2 * narrow.bend) < SMOOTH * counts->scale)) {
        counts->n_kinked++;
        return;
    }
    counts->n_checked++;
    counts->worst = fmax(counts->worst, error);
    if (!(error < TOLERANCE))
        fail_msg("gradient %.9g, differences %.9g and %.9g, scale %g\n%s", gradient, wide.slope, narrow.slope,
                 counts->scale, counts->text);
}

// All parameters of one model.
static void check_model(struct program_case *c, struct mst_program_step *step, struct counts *counts)
{
    struct program_result result = program_case_run(c, step);
    if (!result.loss_is_finite)
        return; // an exponential of an exponential
    counts->scale = fmax(1.0, result.loss);
    float **grads = mst_alloc_array(c->n_variables, sizeof *grads);
    for (size_t v = 0; v < c->n_variables; v++) {
        size_t n = mst_model_variable(c->model, v)->n_elements;
        grads[v] = mst_alloc_array(n, sizeof(float));
        memcpy(grads[v], c->grads[v], n * sizeof(float));
        for (size_t i = 0; i < n; i++)
            counts->scale = fmax(counts->scale, fabs((double)grads[v][i]));
    }
    for (size_t v = 0; v < c->n_variables; v++) {
        for (size_t i = 0; i < mst_model_variable(c->model, v)->n_elements; i++)
            check_parameter(c, step, &c->params[v][i], (double)grads[v][i], counts);
        free(grads[v]);
    }
    free(grads);
}

static void test_random_models(void **state)
{
    (void)state;
    static const char *const inputs[] = {"[4]", "[3,2]", "[2,2,3]"};
    const enum mst_dtype float32 = MST_DTYPE_F32;
    const struct mst_program_options options = {
        .mode = MST_PROGRAM_TRAIN, .max_batch = MAX_BATCH, .input_dtypes = &float32, .seed = 11};
    struct counts counts = {0};
    for (size_t m = 0; m < N_MODELS; m++) {
        char text[MAX_TEXT];
        struct program_case c;
        struct batch batch;
        size_t loss = m % (sizeof losses / sizeof *losses);
        random_layers(text, 2 + below(4), losses[loss].last[below(4)]);
        program_case_init(&c, device, inputs[below(3)], text, losses[loss].compile, &options);
        batch_new(&batch, &c, strstr(losses[loss].compile, "parse") != NULL);
        counts.text = text;
        check_model(&c, &batch.step, &counts);
        batch_free(&batch);
        program_case_fini(&c);
    }
    printf("%zu gradients checked, %zu at kinks passed over; largest error %.3g\n", counts.n_checked, counts.n_kinked,
           counts.worst);
    assert_true(counts.n_checked > 2000 && counts.n_kinked < counts.n_checked / 3);
}

int main(void)
{
    struct mst_error err = {0};
    program_random_seed("test_model_program_gradients");
    if (mst_device_cpu_new(2, &device, &err) != MST_OK) {
        fprintf(stderr, "%s\n", err.text);
        return 1;
    }
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_random_models)};
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    mst_device_free(device);
    return failed;
}
