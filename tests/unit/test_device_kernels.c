// The loops give the same bits on every instruction set this processor has (MUSTER_ISA lowers what is tried): every
// kernel of every table over the same input, with bit patterns of all kinds, sizes that leave every remainder, and
// any alignment.
#include "base/rng.h"
#include "device/cpu/kernels.h"
#include "device_reference.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// One 64-byte line before and behind an array must stay what it was.
enum { MAX_N = 4099, FENCE = 16, ROOM = MAX_N + 2 * FENCE + 3 };

static const size_t sizes[] = {0, 1, 2, 3, 5, 7, 8, 15, 16, 17, 31, 33, 64, 100, 129, 1000, MAX_N};
enum { N_SIZES = sizeof sizes / sizeof *sizes };

static float x[ROOM];
static float y[ROOM];
static float z[ROOM];
static int32_t ints[ROOM];
static uint8_t bytes[ROOM];

struct result {
    float out[ROOM];
    float more[ROOM];
};
static struct result want;
static struct result got;

// The n floats of an array that begin where this size puts them.
static float *at(float *array, size_t n)
{
    return array + FENCE + n % 3;
}

static void clear(struct result *result)
{
    for (size_t i = 0; i < ROOM; i++)
        result->out[i] = result->more[i] = -12345.5f;
}

static void check(const char *name, enum mst_isa isa)
{
    char text[64];
    snprintf(text, sizeof text, "%s on %s", name, mst_isa_name(isa));
    assert_true(device_same(text, got.out, want.out, ROOM));
    assert_true(device_same(text, got.more, want.more, ROOM));
}

// What is done with one table, for one size; results in *result.
typedef void run_fn(const struct mst_kernels *kernels, size_t which, size_t n, struct result *result);

static void compare(const char *name, run_fn *run, size_t which)
{
    for (size_t s = 0; s < N_SIZES; s++) {
        clear(&want);
        run(mst_kernels_find(MST_ISA_BASE), which, sizes[s], &want);
        for (enum mst_isa isa = MST_ISA_AVX2; isa <= mst_isa_detect(); isa++) {
            clear(&got);
            run(mst_kernels_find(isa), which, sizes[s], &got);
            check(name, isa);
        }
        for (size_t i = 0; i < FENCE; i++) {
            assert_true(want.out[i] == -12345.5f && want.out[ROOM - 1 - i] == -12345.5f);
            assert_true(want.more[i] == -12345.5f && want.more[ROOM - 1 - i] == -12345.5f);
        }
    }
}

static size_t columns_of(size_t n)
{
    return n % 10 == 0 && n > 0 ? 10 : n;
}

static void run_activation(const struct mst_kernels *kernels, size_t which, size_t n, struct result *result)
{
    size_t columns = columns_of(n);
    size_t rows = columns > 0 ? n / columns : 0;
    struct mst_activation activation = mst_activation_default((enum mst_activation_kind)which);
    struct mst_activate forward = {activation, rows, columns, at(x, n), at(result->out, n), 1};
    kernels->forward[which](&forward);
    struct mst_activate_backward backward = {.activation = activation,
                                             .rows = rows,
                                             .columns = columns,
                                             .x = at(x, n),
                                             .y = at(result->out, n),
                                             .dy = at(y, n),
                                             .dx = at(result->more, n)};
    kernels->backward[which](&backward);
}

static void fill_moderate(void)
{
    device_fill(x, ROOM, 8.0f);
    device_fill(y, ROOM, 2.0f);
    device_fill(z, ROOM, 1.0f);
    for (size_t i = 0; i < ROOM; i++) {
        ints[i] = (int32_t)(i * 2654435761u);
        bytes[i] = (uint8_t)ints[i];
    }
}

// Floats of every exponent, infinities and NaN among them.
static void fill_any_bits(uint64_t number)
{
    struct mst_rng_key key = mst_rng_key_of(number, "test_device_kernels", 0);
    for (size_t i = 0; i < ROOM; i++) {
        uint32_t words[4];
        mst_rng_block(key, i, words);
        memcpy(&x[i], &words[0], sizeof x[i]);
        memcpy(&y[i], &words[1], sizeof y[i]);
    }
}

static void test_activations(void **state)
{
    (void)state;
    for (size_t kind = 0; kind < MST_N_ACTIVATIONS; kind++) {
        fill_moderate();
        compare(mst_activation_name((enum mst_activation_kind)kind), run_activation, kind);
        fill_any_bits(kind);
        compare(mst_activation_name((enum mst_activation_kind)kind), run_activation, kind);
    }
}

static void run_relu(const struct mst_kernels *kernels, size_t which, size_t n, struct result *result)
{
    static const struct mst_activation relus[] = {{MST_ACTIVATION_RELU, 0.25f, INFINITY, 0.0f},
                                                  {MST_ACTIVATION_RELU, 0.0f, 6.0f, 0.5f},
                                                  {MST_ACTIVATION_ELU, -0.5f, INFINITY, 0.0f},
                                                  {MST_ACTIVATION_LEAKY_RELU, -0.5f, INFINITY, 0.0f}};
    const struct mst_activation *relu = &relus[which];
    struct mst_activate forward = {*relu, 1, n, at(x, n), at(result->out, n), 1};
    struct mst_activate_backward backward = {*relu, 1, n, at(x, n), at(result->out, n), at(y, n), at(result->more, n),
                                             1};
    kernels->forward[relu->kind](&forward);
    kernels->backward[relu->kind](&backward);
}

// Of 7 elements each, side by side; and of both kinds.
static void run_across(const struct mst_kernels *kernels, size_t which, size_t n, struct result *result)
{
    struct mst_activation activation =
        mst_activation_default(which == 0 ? MST_ACTIVATION_SOFTMAX : MST_ACTIVATION_LOG_SOFTMAX);
    struct mst_activate forward = {activation, 1, 7, at(x, n), at(result->out, n), n / 7};
    struct mst_activate_backward backward = {activation,          1,    7, NULL, at(result->out, n), at(y, n),
                                             at(result->more, n), n / 7};
    kernels->softmax_across(&forward);
    kernels->softmax_across_backward(&backward);
}

static void test_across(void **state)
{
    (void)state;
    for (size_t which = 0; which < 2; which++) {
        fill_moderate();
        compare("softmax across", run_across, which);
        fill_any_bits(which);
        compare("softmax across", run_across, which);
    }
}

static void test_parameters(void **state)
{
    (void)state;
    fill_moderate();
    for (size_t which = 0; which < 4; which++)
        compare("with parameters", run_relu, which);
}

enum { N_FIRST_LOSSES = 5, N_ALL_LOSSES = N_FIRST_LOSSES + 1 + MST_N_DENSE_LOSSES };

static void run_loss(const struct mst_kernels *kernels, size_t which, size_t n, struct result *result)
{
    size_t columns = columns_of(n);
    size_t rows = columns > 0 ? n / columns : 0;
    struct mst_loss loss = {.input = which % 2 == 0 ? MST_LOSS_LOGITS : MST_LOSS_PROBABILITIES,
                            .rows = rows,
                            .columns = columns,
                            .outputs = at(x, n),
                            .labels = ints,
                            .targets = at(y, n),
                            .grad = at(result->out, n),
                            .grad_scale = 0.3f,
                            .delta = 0.7f};
    int32_t labels[MAX_N];
    for (size_t r = 0; r < rows; r++)
        labels[r] = (int32_t)(r % (columns + 1)); // one of them outside
    loss.labels = labels;
    void (*const kernel[])(const struct mst_loss *, float *) = {kernels->sparse_crossentropy,
                                                                kernels->sparse_crossentropy, kernels->crossentropy,
                                                                kernels->crossentropy, kernels->mean_squared_error};
    if (which < N_FIRST_LOSSES) {
        kernel[which](&loss, at(result->more, n));
        return;
    }
    // The one more is binary cross-entropy, from logits and from probabilities.
    size_t dense = which == N_FIRST_LOSSES ? MST_DENSE_BINARY_CROSSENTROPY : which - N_FIRST_LOSSES - 1;
    loss.input = which == N_FIRST_LOSSES ? MST_LOSS_LOGITS : MST_LOSS_PROBABILITIES;
    kernels->dense_loss[dense](&loss, at(result->more, n));
}

static void test_losses(void **state)
{
    (void)state;
    static const char *const names[] = {"sparse, logits",
                                        "sparse, probabilities",
                                        "dense, logits",
                                        "dense, probabilities",
                                        "squares",
                                        "binary, logits",
                                        "binary, probabilities",
                                        "absolute",
                                        "percentage",
                                        "logarithmic",
                                        "Huber",
                                        "log cosh",
                                        "hinge",
                                        "squared hinge",
                                        "categorical hinge",
                                        "KL divergence",
                                        "Poisson",
                                        "cosine similarity"};
    fill_moderate();
    for (size_t which = 0; which < N_ALL_LOSSES; which++)
        compare(names[which], run_loss, which);
}

enum other { BIAS_ADD, BIAS_RELU, COLUMN_SUM, CONVERT_F32, CONVERT_U8, CONVERT_I32, DROPOUT, ALL_FINITE, N_OTHERS };

static void run_other(const struct mst_kernels *kernels, size_t which, size_t n, struct result *result)
{
    size_t columns = columns_of(n);
    size_t rows = columns > 0 ? n / columns : 0;
    float *out = at(result->out, n);
    struct mst_convert convert = {.n = n, .scale = 0.37f, .offset = -0.11f, .y = out};
    struct mst_dropout dropout = {n, 0.4f, mst_rng_key_of(1, "kernels", n), 4 * n, at(x, n), out};
    switch ((enum other)which) {
    case BIAS_ADD:
        kernels->bias_add(rows, columns, y, at(x, n), out);
        break;
    case BIAS_RELU:
        memcpy(out, at(x, n), n * sizeof *out);
        kernels->bias_relu(rows, columns, y, out);
        break;
    case COLUMN_SUM:
        kernels->column_sum(rows, columns, columns / 5, columns, at(x, n), out);
        break;
    case CONVERT_F32:
        kernels->convert_f32(&convert, at(x, n));
        break;
    case CONVERT_U8:
        kernels->convert_u8(&convert, bytes + n % 3);
        break;
    case CONVERT_I32:
        kernels->convert_i32(&convert, ints + n % 3);
        break;
    case DROPOUT:
        kernels->dropout(&dropout);
        break;
    case ALL_FINITE:
    case N_OTHERS:
        result->out[FENCE] = kernels->all_finite(n, at(x, n)) ? 1.0f : 0.0f;
        break;
    }
}

static void test_others(void **state)
{
    (void)state;
    static const char *const names[N_OTHERS] = {"bias_add",   "bias_relu",   "column_sum", "convert_f32",
                                                "convert_u8", "convert_i32", "dropout",    "all_finite"};
    for (size_t which = 0; which < N_OTHERS; which++) {
        fill_moderate();
        compare(names[which], run_other, which);
        fill_any_bits(which);
        compare(names[which], run_other, which);
    }
}

enum { N_COPIES = 6 };

// Both ways of writing, dense, across and (the sum) to one element a row.
static void run_copy(const struct mst_kernels *kernels, size_t which, size_t n, struct result *result)
{
    size_t columns = columns_of(n);
    size_t rows = columns > 0 ? n / columns : 0;
    struct mst_copy block = {.write = which % 2 == 0 ? MST_COPY_SET : MST_COPY_ADD,
                             .n_axes = 2,
                             .shape = {rows, columns},
                             .from = {columns, 1},
                             .to = {columns, 1},
                             .x = at(x, n),
                             .y = memcpy(at(result->out, n), at(y, n), n * sizeof(float))};
    if (which / 2 == 1) {
        block.from[0] = 1;
        block.from[1] = rows;
    } else if (which / 2 == 2) {
        block.write = MST_COPY_ADD;
        block.from[1] = which % 2 == 0 ? 1 : rows;
        block.from[0] = which % 2 == 0 ? columns : 1;
        block.to[1] = 0;
    }
    kernels->copy_block(&block);
}

static void run_merge(const struct mst_kernels *kernels, size_t which, size_t n, struct result *result)
{
    size_t step = which / MST_N_MERGES;
    float *out = at(result->out, n);
    float *more = at(result->more, n);
    if (which % MST_N_MERGES == MST_MERGE_AVERAGE) {
        memcpy(more, at(y, n), n * sizeof *more);
        kernels->take_where_equal(n, at(x, n), step & 1, at(x, n), more, out);
        kernels->divide(n, 3.0f, out, out);
        return;
    }
    if (which % MST_N_MERGES == MST_MERGE_PRELU && step < 2) {
        struct mst_prelu_block block = {n, at(x, n), at(z, n), step, at(y, n), out, more};
        kernels->prelu_slopes(&block);
        return;
    }
    kernels->merge[which % MST_N_MERGES](n, at(x, n), step & 1, at(y, n), step >> 1, out);
}

static void test_copies_and_merges(void **state)
{
    (void)state;
    for (size_t which = 0; which < N_COPIES; which++) {
        fill_moderate();
        compare("copy", run_copy, which);
    }
    for (size_t which = 0; which < 4 * (size_t)MST_N_MERGES; which++) {
        fill_moderate();
        compare("merge", run_merge, which);
        fill_any_bits(which);
        compare("merge", run_merge, which);
    }
}

enum { N_NORMS = 12 };

static void run_norm(const struct mst_kernels *kernels, size_t which, size_t n, struct result *result)
{
    mst_norm_fn *const sums[] = {kernels->column_moments, kernels->column_products, kernels->line_moments,
                                 kernels->line_products};
    mst_norm_fn *const maps[] = {kernels->normalize_columns, kernels->column_slopes, kernels->normalize_lines,
                                 kernels->line_slopes};
    size_t columns = columns_of(n);
    size_t lines = columns > 0 ? n / columns : 0;
    struct mst_norm_lines part = {lines,
                                  columns,
                                  at(x, n),
                                  at(y, n),
                                  z,
                                  z + 1,
                                  z + 2,
                                  z + 3,
                                  z + 4,
                                  z + 5,
                                  at(result->more, n),
                                  at(result->out, n),
                                  at(result->out, n)};
    if (which < 4) {
        sums[which](&part);
        return;
    }
    if (which < 8) {
        maps[which - 4](&part);
        return;
    }
    float moments[2 * MAX_N]; // of rows, or of columns
    struct mst_row_norm_backward row = {{(enum mst_row_norm_kind)(which - 8), lines, columns, 1e-3f, at(x, n), z, z + 1,
                                         moments, moments + MAX_N, at(result->out, n)},
                                        at(y, n),
                                        at(result->more, n),
                                        NULL,
                                        NULL};
    kernels->row_norm(&row.forward);
    kernels->row_norm_slopes(&row);
    kernels->row_norm_products(&row, moments, moments + MAX_N);
    for (size_t c = 0; c < columns; c++)
        at(result->out, n)[c] += moments[c] + moments[MAX_N + c];
}

static void run_join(const struct mst_kernels *kernels, size_t which, size_t n, struct result *result)
{
    const struct mst_norm_parts parts = {which + 1, n / (2 * (which + 1)), 7, 3, at(x, n)};
    if (n > 0)
        kernels->join_moments(&parts, at(result->out, n), at(result->more, n));
    if (which % 2 == 1)
        kernels->join_sums(&parts, at(result->out, n), at(result->more, n));
}

static void test_norms(void **state)
{
    (void)state;
    for (size_t which = 0; which < N_NORMS; which++) {
        fill_moderate();
        compare("norm", run_norm, which);
        compare("join", run_join, which);
    }
}

enum { N_TABLE_KERNELS = 6 };

static void run_table(const struct mst_kernels *kernels, size_t which, size_t n, struct result *result)
{
    float *out = at(result->out, n);
    float *more = at(result->more, n);
    struct mst_penalty penalty = {n, 0.1f, 0.01f, at(x, n), memcpy(out, at(y, n), n * sizeof *out)};
    int32_t ids[MAX_N] = {0};
    double sum;
    for (size_t i = 0; i < n; i++)
        ids[i] = (int32_t)(i * 7 % 12) - 1; // some of them outside
    size_t columns = n / 10;
    struct mst_scatter scatter = {MST_COPY_ADD, n > 0 ? 10 : 0, 10, columns, ids, at(x, n), out};
    switch (which) {
    case 0:
        kernels->add_penalty(&penalty);
        break;
    case 1:
        sum = kernels->sum_absolute(n, at(x, n));
        more[0] = n > 0 ? (float)sum : more[0];
        break;
    case 2:
        sum = kernels->sum_squares(n, at(x, n));
        more[0] = n > 0 ? (float)sum : more[0];
        break;
    case 3:
        kernels->scatter_add(&scatter, columns / 3, columns);
        break;
    case 4:
        kernels->ids_from_f32(n, at(x, n), ids);
        for (size_t i = 0; i < n; i++)
            more[i] = (float)ids[i];
        break;
    default:
        result->more[FENCE] = kernels->all_ids_below(n, 12, ids) ? 1.0f : 0.0f;
        break;
    }
}

static void test_tables(void **state)
{
    (void)state;
    for (size_t which = 0; which < N_TABLE_KERNELS; which++) {
        fill_moderate();
        compare("table", run_table, which);
        fill_any_bits(which);
        compare("table", run_table, which);
    }
}

int main(void)
{
    device_seed("test_device_kernels");
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_activations), cmocka_unit_test(test_parameters),
        cmocka_unit_test(test_across),      cmocka_unit_test(test_losses),
        cmocka_unit_test(test_others),      cmocka_unit_test(test_tables),
        cmocka_unit_test(test_norms),       cmocka_unit_test(test_copies_and_merges),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
