// What regularizers need: sums over a variable and the gradient of its penalty. A variable is summed in parts of the
// same size whatever the number of threads, and the parts' sums are added in their order.
#include "cpu_private.h"

enum { PART = 65536 };

typedef double sum_fn(size_t n, const float *x);

struct sum_job {
    sum_fn *sum;
    size_t n;
    const float *x;
    double *sums; // of the parts
};

static size_t n_parts_of(size_t n)
{
    return (n + PART - 1) / PART;
}

static void sum_slice(void *context, size_t slice, size_t n_slices)
{
    const struct sum_job *job = context;
    size_t n_parts = n_parts_of(job->n);
    size_t end = mst_slice_begin(n_parts, 1, slice + 1, n_slices);
    for (size_t p = mst_slice_begin(n_parts, 1, slice, n_slices); p < end; p++) {
        size_t left = job->n - p * PART;
        job->sums[p] = job->sum(left < PART ? left : PART, job->x + p * PART);
    }
}

static double sum_all(struct mst_device *device, size_t n, const float *x, sum_fn *sum)
{
    struct mst_cpu *cpu = (struct mst_cpu *)device;
    size_t n_parts = n_parts_of(n);
    double total = 0;
    if (n_parts <= 1)
        return sum(n, x);
    // Memory of malloc, aligned for any type.
    double *sums = (double *)(void *)mst_cpu_scratch(cpu, n_parts * (sizeof *sums / sizeof(float)));
    struct sum_job job = {sum, n, x, sums};
    mst_pool_run(cpu->pool, mst_cpu_slices(cpu, n, MST_CPU_CHEAP), sum_slice, &job);
    for (size_t p = 0; p < n_parts; p++)
        total += sums[p];
    return total;
}

double mst_cpu_sum_absolute(struct mst_device *device, size_t n, const float *x)
{
    return sum_all(device, n, x, ((struct mst_cpu *)device)->kernels->sum_absolute);
}

double mst_cpu_sum_squares(struct mst_device *device, size_t n, const float *x)
{
    return sum_all(device, n, x, ((struct mst_cpu *)device)->kernels->sum_squares);
}

struct penalty_job {
    const struct mst_kernels *kernels;
    const struct mst_penalty *penalty;
};

static void penalty_slice(void *context, size_t slice, size_t n_slices)
{
    const struct penalty_job *job = context;
    struct mst_penalty part = *job->penalty;
    size_t begin = mst_slice_begin(part.n, MST_CPU_GRANULE, slice, n_slices);
    part.n = mst_slice_begin(part.n, MST_CPU_GRANULE, slice + 1, n_slices) - begin;
    part.x += begin;
    part.grad += begin;
    job->kernels->add_penalty(&part);
}

void mst_cpu_add_penalty(struct mst_device *device, const struct mst_penalty *penalty)
{
    struct mst_cpu *cpu = (struct mst_cpu *)device;
    struct penalty_job job = {cpu->kernels, penalty};
    if (penalty->n > 0)
        mst_pool_run(cpu->pool, mst_cpu_slices(cpu, penalty->n, MST_CPU_CHEAP), penalty_slice, &job);
}
