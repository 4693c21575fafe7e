// Losses and accuracies. Rows are shared out; their losses are kept and added up by the caller's thread in their
// order, so that the sum does not depend on the slices.
#include "base/alloc.h"
#include "cpu_private.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

// Rows go through a kernel in groups that stay in the first-level cache, for it passes over them several times. An
// element costs 0.5 to 5 ns, a hand-over to another thread about 10 microseconds.
enum { GROUP_ELEMENTS = 4096, MIN_SLICE_ELEMENTS = 16384 };

typedef void loss_kernel_fn(const struct mst_loss *slice, float *losses);

struct loss_job {
    const struct mst_kernels *kernels;
    loss_kernel_fn *kernel;
    const struct mst_loss *loss;
    float *losses;
    float *spare; // NULL: the gradient is wanted
    size_t group_rows;
};

static void loss_slice(void *context, size_t slice, size_t n_slices)
{
    const struct loss_job *job = context;
    const struct mst_loss *loss = job->loss;
    size_t begin = mst_slice_begin(loss->rows, 1, slice, n_slices);
    size_t end = mst_slice_begin(loss->rows, 1, slice + 1, n_slices);
    for (size_t at = begin; at < end; at += job->group_rows) {
        struct mst_loss group = *loss;
        group.rows = end - at < job->group_rows ? end - at : job->group_rows;
        group.outputs = loss->outputs + at * loss->columns;
        group.labels = loss->labels != NULL ? loss->labels + at : NULL;
        group.targets = loss->targets != NULL ? loss->targets + at * loss->columns : NULL;
        group.grad =
            loss->grad != NULL ? loss->grad + at * loss->columns : job->spare + slice * job->group_rows * loss->columns;
        job->kernel(&group, job->losses + at);
        if (loss->row_weights != NULL)
            job->kernels->weigh_rows(&group, loss->row_weights + at, job->losses + at);
    }
}

static void reserve(float **array, size_t *n, size_t n_wanted)
{
    if (*n >= n_wanted)
        return;
    *array = mst_realloc_array(*array, n_wanted, sizeof **array);
    *n = n_wanted;
}

static double run_loss(struct mst_cpu *cpu, const struct mst_loss *loss, loss_kernel_fn *kernel)
{
    size_t columns = loss->columns > 0 ? loss->columns : 1;
    size_t n_slices = mst_cpu_slices(cpu, loss->rows, MIN_SLICE_ELEMENTS / columns + 1);
    struct loss_job job = {.kernels = cpu->kernels, .kernel = kernel, .loss = loss, .group_rows = 1};
    if (columns < GROUP_ELEMENTS)
        job.group_rows = GROUP_ELEMENTS / columns;
    if (loss->grad == NULL) {
        reserve(&cpu->spare, &cpu->n_spare, n_slices * job.group_rows * columns);
        job.spare = cpu->spare;
    }
    reserve(&cpu->losses, &cpu->n_losses, loss->rows);
    job.losses = cpu->losses;
    mst_pool_run(cpu->pool, n_slices, loss_slice, &job);
    double sum = 0;
    for (size_t r = 0; r < loss->rows; r++)
        sum += (double)cpu->losses[r];
    return sum;
}

double mst_cpu_sparse_crossentropy(struct mst_device *device, const struct mst_loss *loss)
{
    struct mst_cpu *cpu = (struct mst_cpu *)device;
    return run_loss(cpu, loss, cpu->kernels->sparse_crossentropy);
}

double mst_cpu_crossentropy(struct mst_device *device, const struct mst_loss *loss)
{
    struct mst_cpu *cpu = (struct mst_cpu *)device;
    return run_loss(cpu, loss, cpu->kernels->crossentropy);
}

double mst_cpu_mean_squared_error(struct mst_device *device, const struct mst_loss *loss)
{
    struct mst_cpu *cpu = (struct mst_cpu *)device;
    return run_loss(cpu, loss, cpu->kernels->mean_squared_error);
}

double mst_cpu_dense_loss(struct mst_device *device, const struct mst_loss *loss)
{
    struct mst_cpu *cpu = (struct mst_cpu *)device;
    return run_loss(cpu, loss, cpu->kernels->dense_loss[loss->dense]);
}

// The first of the largest.
static size_t largest(size_t n, const float *x)
{
    size_t at = 0;
    float max = x[0];
    for (size_t i = 1; i < n; i++) {
        at = x[i] > max ? i : at;
        max = x[i] > max ? x[i] : max;
    }
    return at;
}

size_t mst_cpu_count_matches_sparse(struct mst_device *device, const struct mst_matches *matches)
{
    (void)device;
    size_t n = 0;
    for (size_t r = 0; r < matches->rows && matches->columns > 0; r++)
        n += largest(matches->columns, matches->outputs + r * matches->columns) == (size_t)matches->labels[r];
    return n;
}

size_t mst_cpu_count_matches_categorical(struct mst_device *device, const struct mst_matches *matches)
{
    (void)device;
    size_t columns = matches->columns;
    size_t n = 0;
    for (size_t r = 0; r < matches->rows && columns > 0; r++)
        n += largest(columns, matches->outputs + r * columns) == largest(columns, matches->targets + r * columns);
    return n;
}

size_t mst_cpu_count_matches_binary(struct mst_device *device, const struct mst_matches *matches)
{
    (void)device;
    size_t n = 0;
    for (size_t i = 0; i < matches->rows * matches->columns; i++)
        n += (matches->outputs[i] > matches->threshold ? 1.0f : 0.0f) == matches->targets[i];
    return n;
}

static bool is_in_top_k(size_t columns, const float *outputs, size_t label, size_t k)
{
    size_t n_larger = 0;
    bool all_finite = true;
    if (label >= columns)
        return false;
    for (size_t j = 0; j < columns; j++) {
        n_larger += outputs[j] > outputs[label];
        all_finite = all_finite && isfinite(outputs[j]);
    }
    return all_finite && n_larger < k;
}

size_t mst_cpu_count_in_top_k(struct mst_device *device, const struct mst_matches *matches)
{
    (void)device;
    size_t columns = matches->columns;
    size_t n = 0;
    for (size_t r = 0; r < matches->rows && columns > 0; r++) {
        size_t label =
            matches->labels != NULL ? (size_t)matches->labels[r] : largest(columns, matches->targets + r * columns);
        n += is_in_top_k(columns, matches->outputs + r * columns, label, matches->k);
    }
    return n;
}
