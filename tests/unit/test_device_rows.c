// Softmax and the losses: values against double, gradients against finite differences of that, saturated and
// impossible inputs, and the same bits for any number of threads, with and without a gradient.
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

enum loss_kind { SPARSE_LOGITS, SPARSE_PROBABILITIES, DENSE_LOGITS, DENSE_PROBABILITIES, SQUARES, N_LOSSES };

static const char *const loss_names[N_LOSSES] = {"sparse, logits", "sparse, probabilities", "dense, logits",
                                                 "dense, probabilities", "squares"};

// (rows, columns): odd sizes, a row longer than a group, and the last with more than three slices.
static const size_t shapes[][2] = {{1, 1}, {1, 2}, {3, 10}, {7, 16}, {5, 17}, {2, 1000}, {3, 5000}, {6001, 10}};
enum { N_SHAPES = sizeof shapes / sizeof *shapes, LARGE = N_SHAPES - 1, MAX_COLUMNS = 5000 };

// Softmax

static void softmax(size_t n, const float *x, double *y)
{
    double max = -INFINITY;
    double sum = 0;
    for (size_t j = 0; j < n; j++)
        max = fmax(max, (double)x[j]);
    for (size_t j = 0; j < n; j++)
        sum += y[j] = exp((double)x[j] - max);
    for (size_t j = 0; j < n; j++)
        y[j] /= sum;
}

// With y = softmax x: dx = y (dy - Σ dy y), and of its logarithm dx = dy - y Σ dy; both proved by differences below.
static void softmax_gradient(enum mst_activation_kind kind, size_t n, const double *y, const float *dy, double *dx)
{
    double sum = 0;
    for (size_t j = 0; j < n; j++)
        sum += (double)dy[j] * (kind == MST_ACTIVATION_SOFTMAX ? y[j] : 1);
    for (size_t j = 0; j < n; j++)
        dx[j] = kind == MST_ACTIVATION_SOFTMAX ? y[j] * ((double)dy[j] - sum) : (double)dy[j] - y[j] * sum;
}

struct softmax_batch {
    struct mst_activate forward;
    struct mst_activate_backward backward;
    float *x;
    float *y;
    float *dy;
    float *dx;
    size_t n;
};

static struct softmax_batch softmax_batch_new(enum mst_activation_kind kind, size_t rows, size_t columns)
{
    struct softmax_batch b = {.n = rows * columns};
    b.x = device_floats(b.n, 4.0f);
    b.y = device_floats(b.n, 1.0f);
    b.dy = device_floats(b.n, 1.0f);
    b.dx = device_floats(b.n, 1.0f);
    b.forward = (struct mst_activate){mst_activation_default(kind), rows, columns, b.x, b.y, 0};
    b.backward = (struct mst_activate_backward){
        .activation = b.forward.activation, .rows = rows, .columns = columns, .y = b.y, .dy = b.dy, .dx = b.dx};
    return b;
}

static void softmax_batch_free(struct softmax_batch *b)
{
    free(b->x);
    free(b->y);
    free(b->dy);
    free(b->dx);
}

static void check_softmax(enum mst_activation_kind kind, const struct softmax_batch *b)
{
    static double y[MAX_COLUMNS];
    static double dx[MAX_COLUMNS];
    size_t columns = b->forward.columns;
    for (size_t at = 0; at < b->n; at += columns) {
        softmax(columns, b->x + at, y);
        softmax_gradient(kind, columns, y, b->dy + at, dx);
        for (size_t j = 0; j < columns && kind == MST_ACTIVATION_LOG_SOFTMAX; j++)
            y[j] = log(y[j]);
        assert_true(device_close(mst_activation_name(kind), b->y + at, y, columns, 3e-6, 1e-7));
        assert_true(device_close("its gradient", b->dx + at, dx, columns, 1e-5, 2e-6));
    }
}

static void test_softmax(void **state)
{
    (void)state;
    static const enum mst_activation_kind kinds[] = {MST_ACTIVATION_SOFTMAX, MST_ACTIVATION_LOG_SOFTMAX};
    struct mst_device *devices[] = {device_new(1), device_new(2), device_new(3)};
    for (size_t i = 0; i < 2 * N_SHAPES; i++) {
        enum mst_activation_kind kind = kinds[i % 2];
        struct softmax_batch b = softmax_batch_new(kind, shapes[i / 2][0], shapes[i / 2][1]);
        float *y = device_floats(b.n, 1.0f);
        float *dx = device_floats(b.n, 1.0f);
        devices[0]->ops->activate(devices[0], &b.forward);
        devices[0]->ops->activate_backward(devices[0], &b.backward);
        check_softmax(kind, &b);
        for (size_t d = 1; d < 3; d++) {
            struct mst_activate forward = b.forward;
            struct mst_activate_backward backward = b.backward;
            forward.x = forward.y = memcpy(y, b.x, b.n * sizeof *y); // in place
            backward.dy = backward.dx = memcpy(dx, b.dy, b.n * sizeof *dx);
            devices[d]->ops->activate(devices[d], &forward);
            devices[d]->ops->activate_backward(devices[d], &backward);
            assert_true(device_same("softmax by threads", y, b.y, b.n));
            assert_true(device_same("its gradient by threads", dx, b.dx, b.n));
        }
        free(y);
        free(dx);
        softmax_batch_free(&b);
    }
    for (size_t d = 0; d < 3; d++)
        mst_device_free(devices[d]);
}

// Σ dy y moves by dx when x moves.
// Over the middle of three axes: what rows give when that axis is brought to the end.
static void test_softmax_across(void **state)
{
    (void)state;
    static const size_t across[][3] = {{1, 1, 2}, {3, 7, 5}, {2, 30, 64}, {5, 3, 129}, {700, 10, 50}};
    struct mst_device *devices[] = {device_new(1), device_new(3)};
    for (size_t i = 0; i < 4 * sizeof across / sizeof *across; i++) {
        const size_t *shape = across[i / 4];
        size_t columns = shape[1];
        size_t inner = shape[2];
        enum mst_activation_kind kind = i % 2 == 0 ? MST_ACTIVATION_SOFTMAX : MST_ACTIVATION_LOG_SOFTMAX;
        struct softmax_batch b = softmax_batch_new(kind, shape[0] * columns, inner);
        b.forward.rows = b.backward.rows = shape[0];
        b.forward.columns = b.backward.columns = columns;
        b.forward.inner = b.backward.inner = inner;
        devices[i / 2 % 2]->ops->activate(devices[i / 2 % 2], &b.forward);
        devices[i / 2 % 2]->ops->activate_backward(devices[i / 2 % 2], &b.backward);
        struct softmax_batch one = softmax_batch_new(kind, 1, columns);
        for (size_t s = 0; s < shape[0] * inner; s++) {
            size_t at = s / inner * columns * inner + s % inner;
            for (size_t c = 0; c < columns; c++) {
                one.x[c] = b.x[at + c * inner];
                one.y[c] = b.y[at + c * inner];
                one.dy[c] = b.dy[at + c * inner];
                one.dx[c] = b.dx[at + c * inner];
            }
            check_softmax(kind, &one);
        }
        softmax_batch_free(&one);
        softmax_batch_free(&b);
    }
    mst_device_free(devices[0]);
    mst_device_free(devices[1]);
}

static void test_softmax_by_differences(void **state)
{
    (void)state;
    enum { COLUMNS = 6 };
    for (size_t k = 0; k < 2; k++) {
        enum mst_activation_kind kind = k == 0 ? MST_ACTIVATION_SOFTMAX : MST_ACTIVATION_LOG_SOFTMAX;
        float x[COLUMNS];
        float dy[COLUMNS];
        double y[COLUMNS];
        double dx[COLUMNS];
        device_fill(x, COLUMNS, 2.0f);
        device_fill(dy, COLUMNS, 1.0f);
        softmax(COLUMNS, x, y);
        softmax_gradient(kind, COLUMNS, y, dy, dx);
        for (size_t moved = 0; moved < COLUMNS; moved++) {
            double sums[2] = {0};
            const float before = x[moved];
            const float steps[2] = {before - 0x1p-9f, before + 0x1p-9f};
            for (size_t side = 0; side < 2; side++) {
                x[moved] = steps[side];
                softmax(COLUMNS, x, y);
                for (size_t j = 0; j < COLUMNS; j++)
                    sums[side] += (double)dy[j] * (k == 0 ? y[j] : log(y[j]));
            }
            x[moved] = before;
            double slope = (sums[1] - sums[0]) / ((double)steps[1] - (double)steps[0]);
            assert_true(fabs(slope - dx[moved]) < 1e-5);
        }
    }
}

static void test_softmax_saturated(void **state)
{
    (void)state;
    struct mst_device *device = device_new(1);
    float x[4] = {1000.0f, -1000.0f, 3e38f, -3e38f};
    float y[4];
    struct mst_activate forward = {mst_activation_default(MST_ACTIVATION_SOFTMAX), 2, 2, x, y, 1};
    device->ops->activate(device, &forward);
    assert_true(y[0] == 1.0f && y[1] == 0.0f && y[2] == 1.0f && y[3] == 0.0f);
    forward.activation = mst_activation_default(MST_ACTIVATION_LOG_SOFTMAX);
    device->ops->activate(device, &forward);
    assert_true(y[0] == 0.0f && y[1] == -2000.0f);
    mst_device_free(device);
}

// Losses

struct loss_batch {
    struct mst_loss loss;
    enum loss_kind kind;
    float *outputs;
    float *targets;
    float *grad;
    int32_t *labels;
    size_t n;
};

static bool is_probabilities(enum loss_kind kind)
{
    return kind == SPARSE_PROBABILITIES || kind == DENSE_PROBABILITIES;
}

static void divide_by_sum(size_t n, float *x)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += (double)x[i];
    for (size_t i = 0; i < n; i++)
        x[i] = (float)((double)x[i] / sum);
}

static struct loss_batch loss_batch_new(enum loss_kind kind, size_t rows, size_t columns)
{
    struct loss_batch b = {.kind = kind, .n = rows * columns};
    b.outputs = device_floats(b.n, 3.0f);
    b.targets = device_floats(b.n, 0.5f);
    b.grad = device_floats(b.n, 1.0f);
    b.labels = malloc(rows > 0 ? rows * sizeof *b.labels : 1);
    assert_non_null(b.labels);
    for (size_t r = 0; r < rows; r++)
        b.labels[r] = (int32_t)(r * 7 % columns);
    for (size_t i = 0; i < b.n && kind != SQUARES; i++)
        b.targets[i] += 0.5f;
    for (size_t r = 0; r < rows && kind == DENSE_LOGITS; r++)
        divide_by_sum(columns, b.targets + r * columns); // the others take any sum
    for (size_t i = 0; i < b.n && is_probabilities(kind); i++)
        b.outputs[i] = 0.01f + fabsf(b.outputs[i]);
    b.loss = (struct mst_loss){.input = is_probabilities(kind) ? MST_LOSS_PROBABILITIES : MST_LOSS_LOGITS,
                               .rows = rows,
                               .columns = columns,
                               .outputs = b.outputs,
                               .labels = kind <= SPARSE_PROBABILITIES ? b.labels : NULL,
                               .targets = kind <= SPARSE_PROBABILITIES ? NULL : b.targets,
                               .grad = b.grad,
                               .grad_scale = 0.75f};
    return b;
}

static void loss_batch_free(struct loss_batch *b)
{
    free(b->outputs);
    free(b->targets);
    free(b->grad);
    free(b->labels);
}

static double run_loss(struct mst_device *device, enum loss_kind kind, const struct mst_loss *loss)
{
    if (kind == SQUARES)
        return device->ops->mean_squared_error(device, loss);
    return kind <= SPARSE_PROBABILITIES ? device->ops->sparse_crossentropy(device, loss)
                                        : device->ops->crossentropy(device, loss);
}

static double clip(double p)
{
    return fmin(fmax(p, (double)1e-7f), (double)(1.0f - 1e-7f));
}

// The logarithms of a row's probabilities, each as Keras makes them of what the model returned.
static void log_probabilities(enum loss_kind kind, size_t n, const double *x, double *out)
{
    double max = 0;
    double sum = 0;
    for (size_t j = 0; j < n && !is_probabilities(kind); j++)
        max = j == 0 ? x[j] : fmax(max, x[j]);
    for (size_t j = 0; j < n; j++)
        sum += kind == SPARSE_PROBABILITIES ? clip(x[j]) : kind == DENSE_PROBABILITIES ? x[j] : exp(x[j] - max);
    for (size_t j = 0; j < n; j++) {
        if (kind == SPARSE_PROBABILITIES)
            out[j] = log(clip(x[j])) - log(sum);
        else if (kind == DENSE_PROBABILITIES)
            out[j] = log(clip(x[j] / sum));
        else
            out[j] = x[j] - max - log(sum);
    }
}

static double row_loss(const struct loss_batch *b, size_t row, const double *x)
{
    static double logs[MAX_COLUMNS];
    size_t columns = b->loss.columns;
    const float *targets = b->targets + row * columns;
    double loss = 0;
    if (b->kind == SQUARES) {
        for (size_t j = 0; j < columns; j++)
            loss += (x[j] - (double)targets[j]) * (x[j] - (double)targets[j]);
        return loss / (double)columns;
    }
    log_probabilities(b->kind, columns, x, logs);
    if (b->loss.labels != NULL)
        return -logs[b->labels[row]];
    for (size_t j = 0; j < columns; j++)
        loss -= (double)targets[j] * logs[j];
    return loss;
}

// The sum of the losses, and the gradient of a few outputs a row by central differences.
static void check_loss(const struct loss_batch *b, double loss_sum)
{
    static double x[MAX_COLUMNS];
    size_t columns = b->loss.columns;
    double want = 0;
    for (size_t r = 0; r < b->loss.rows; r++) {
        for (size_t j = 0; j < columns; j++)
            x[j] = (double)b->outputs[r * columns + j];
        want += row_loss(b, r, x);
        for (size_t j = r % 3; j < columns && r < 50; j += 1 + columns / 16) {
            const double h = 1e-5;
            const double before = x[j];
            x[j] = before + h;
            double above = row_loss(b, r, x);
            x[j] = before - h;
            double below = row_loss(b, r, x);
            x[j] = before;
            double slope = (above - below) / (2 * h) * (double)b->loss.grad_scale;
            // A difference of two losses of 30000 has no more digits than that.
            assert_true(
                device_close(loss_names[b->kind], &b->grad[r * columns + j], &slope, 1, 2e-5, 1e-6 + 5e-10 * above));
        }
    }
    if (!(fabs(loss_sum - want) <= 2e-6 * fabs(want) + 1e-6))
        fail_msg("%s: loss %.9g, want %.9g", loss_names[b->kind], loss_sum, want);
}

static void test_losses(void **state)
{
    (void)state;
    struct mst_device *device = device_new(1);
    for (size_t i = 0; i < N_SHAPES * (size_t)N_LOSSES; i++) {
        const size_t *shape = shapes[i / N_LOSSES];
        struct loss_batch b = loss_batch_new((enum loss_kind)(i % N_LOSSES), shape[0], shape[1]);
        check_loss(&b, run_loss(device, b.kind, &b.loss));
        loss_batch_free(&b);
    }
    mst_device_free(device);
}

static void test_losses_any_number_of_threads(void **state)
{
    (void)state;
    struct mst_device *devices[] = {device_new(1), device_new(2), device_new(3)};
    for (size_t i = 0; i < N_SHAPES * (size_t)N_LOSSES; i++) {
        const size_t *shape = shapes[i / N_LOSSES];
        struct loss_batch b = loss_batch_new((enum loss_kind)(i % N_LOSSES), shape[0], shape[1]);
        double want = run_loss(devices[0], b.kind, &b.loss);
        for (size_t d = 0; d < 3; d++) {
            struct mst_loss loss = b.loss;
            loss.grad = NULL; // not wanted
            assert_true(run_loss(devices[d], b.kind, &loss) == want);
            float *in_place = device_floats(b.n, 1.0f);
            loss.outputs = loss.grad = memcpy(in_place, b.outputs, b.n * sizeof *in_place);
            assert_true(run_loss(devices[d], b.kind, &loss) == want);
            assert_true(device_same(loss_names[b.kind], in_place, b.grad, b.n));
            free(in_place);
        }
        loss_batch_free(&b);
    }
    for (size_t d = 0; d < 3; d++)
        mst_device_free(devices[d]);
}

// A row's weight multiplies its loss and its gradient, as if the batch were that row alone.
static void test_row_weights(void **state)
{
    (void)state;
    struct mst_device *devices[] = {device_new(1), device_new(3)};
    for (size_t i = 0; i < N_SHAPES * (size_t)N_LOSSES; i++) {
        const size_t *shape = shapes[i / N_LOSSES];
        struct loss_batch b = loss_batch_new((enum loss_kind)(i % N_LOSSES), shape[0], shape[1]);
        float *weights = device_floats(shape[0], 2.0f);
        float *want = device_floats(b.n, 0.0f);
        double sum = 0;
        weights[0] = 0.0f;
        run_loss(devices[0], b.kind, &b.loss);
        for (size_t e = 0; e < b.n; e++)
            want[e] = b.grad[e] * weights[e / shape[1]];
        for (size_t r = 0; r < shape[0]; r++) {
            struct mst_loss row = b.loss;
            row.rows = 1;
            row.grad = NULL;
            row.outputs += r * shape[1];
            row.labels = row.labels != NULL ? row.labels + r : NULL;
            row.targets = row.targets != NULL ? row.targets + r * shape[1] : NULL;
            sum += (double)((float)run_loss(devices[0], b.kind, &row) * weights[r]);
        }
        b.loss.row_weights = weights;
        for (size_t d = 0; d < 2; d++) {
            device_fill(b.grad, b.n, 1.0f);
            assert_true(run_loss(devices[d], b.kind, &b.loss) == sum);
            assert_true(device_same(loss_names[b.kind], b.grad, want, b.n));
        }
        free(weights);
        free(want);
        loss_batch_free(&b);
    }
    mst_device_free(devices[0]);
    mst_device_free(devices[1]);
}

// As TensorFlow has it, the gradient from logits is softmax - t even where that is not the loss's slope.
static void test_targets_of_another_sum(void **state)
{
    (void)state;
    struct mst_device *device = device_new(1);
    struct loss_batch b = loss_batch_new(DENSE_LOGITS, 1, 4);
    double want[4];
    double row[4];
    device_fill(b.targets, 4, 2.0f);
    softmax(4, b.outputs, want);
    for (size_t j = 0; j < 4; j++) {
        want[j] = (want[j] - (double)b.targets[j]) * (double)b.loss.grad_scale;
        row[j] = (double)b.outputs[j];
    }
    assert_true(fabs(run_loss(device, b.kind, &b.loss) - row_loss(&b, 0, row)) < 1e-5);
    assert_true(device_close("softmax - t", b.grad, want, 4, 1e-6, 1e-6));
    loss_batch_free(&b);
    mst_device_free(device);
}

// By value: -0 is 0.
static bool are_equal(const float *got, const float *want, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (got[i] != want[i])
            return false;
    return true;
}

static void test_saturated_losses(void **state)
{
    (void)state;
    struct mst_device *device = device_new(1);
    float logits[6] = {1000.0f, -1000.0f, 0.0f, 1000.0f, -1000.0f, 0.0f};
    float targets[6] = {0.0f, 1.0f, 0.0f, 1.0f, 0.0f, 0.0f};
    int32_t labels[2] = {1, 0}; // certain and wrong, certain and right
    float grad[6];
    const float want[6] = {0.5f, -0.5f, 0.0f, 0.0f, 0.0f, 0.0f};
    struct mst_loss loss = {.rows = 2, .columns = 3, .outputs = logits, .labels = labels, .targets = targets};
    loss.grad = grad;
    loss.grad_scale = 0.5f;
    assert_true(device->ops->sparse_crossentropy(device, &loss) == 2000.0);
    assert_true(are_equal(grad, want, 6));
    assert_true(device->ops->crossentropy(device, &loss) == 2000.0);
    assert_true(are_equal(grad, want, 6));
    // Probabilities of 0 and 1 are clipped: the loss is that of 1e-7, and nothing moves them.
    float probabilities[6] = {1.0f, 0.0f, 0.0f, 1.0f, 0.0f, 0.0f};
    const float none[6] = {0};
    loss.input = MST_LOSS_PROBABILITIES;
    loss.outputs = probabilities;
    assert_true(fabs(device->ops->sparse_crossentropy(device, &loss) + log(1e-7)) < 1e-5);
    assert_true(are_equal(grad, none, 6));
    assert_true(fabs(device->ops->crossentropy(device, &loss) + log(1e-7)) < 1e-5);
    assert_true(are_equal(grad, none, 6));
    mst_device_free(device);
}

static void test_label_outside(void **state)
{
    (void)state;
    struct mst_device *device = device_new(1);
    const int32_t strangers[] = {-1, 4, INT32_MAX, INT32_MIN};
    for (size_t i = 0; i < 2 * sizeof strangers / sizeof *strangers; i++) {
        struct loss_batch b = loss_batch_new(i % 2 == 0 ? SPARSE_LOGITS : SPARSE_PROBABILITIES, 3, 4);
        b.labels[1] = strangers[i / 2];
        assert_true(isnan(run_loss(device, b.kind, &b.loss)));
        for (size_t j = 0; j < 12; j++) {
            bool is_nan = isnan(b.grad[j]);
            bool is_of_that_row = j / 4 == 1;
            assert_true(is_nan == is_of_that_row);
        }
        loss_batch_free(&b);
    }
    mst_device_free(device);
}

static void test_nan_and_no_rows(void **state)
{
    (void)state;
    struct mst_device *device = device_new(1);
    for (size_t kind = 0; kind < N_LOSSES; kind++) {
        struct loss_batch b = loss_batch_new((enum loss_kind)kind, 4, 5);
        b.outputs[13] = NAN;
        assert_true(isnan(run_loss(device, b.kind, &b.loss)));
        assert_true(isnan(b.grad[13]));
        assert_true(b.grad[0] == b.grad[0]); // not that of another row
        b.loss.rows = 0;
        assert_true(run_loss(device, b.kind, &b.loss) == 0.0);
        loss_batch_free(&b);
    }
    mst_device_free(device);
}

int main(void)
{
    device_seed("test_device_rows");
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_softmax),
        cmocka_unit_test(test_softmax_across),
        cmocka_unit_test(test_softmax_by_differences),
        cmocka_unit_test(test_softmax_saturated),
        cmocka_unit_test(test_losses),
        cmocka_unit_test(test_losses_any_number_of_threads),
        cmocka_unit_test(test_row_weights),
        cmocka_unit_test(test_targets_of_another_sum),
        cmocka_unit_test(test_saturated_losses),
        cmocka_unit_test(test_label_outside),
        cmocka_unit_test(test_nan_and_no_rows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
