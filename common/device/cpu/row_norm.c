// Normalizations of rows: threads share the rows. The gradients of gamma and beta are sums over all rows, of parts of a
// few rows in floats and of the parts in double; which rows make a part depends on the shape alone.
#include "cpu_private.h"

#include <string.h>

enum { PART_ELEMENTS = 8192, MIN_PART_ROWS = 8, MAX_PART_ROWS = 256 };

struct row_norm_job {
    const struct mst_kernels *kernels;
    struct mst_row_norm_backward backward; // with gamma and beta; forward has dy NULL
    size_t part_rows;
    float *parts;
};

// Where there is no gamma or beta, arrays of 1 and of 0 in its place; returns the n floats of scratch behind them.
static float *fill_in(struct mst_cpu *cpu, struct mst_row_norm *norm, size_t n)
{
    float *scratch = mst_cpu_scratch(cpu, 2 * norm->columns + n);
    for (size_t j = 0; j < norm->columns; j++) {
        scratch[j] = 1.0f;
        scratch[norm->columns + j] = 0.0f;
    }
    if (norm->gamma == NULL)
        norm->gamma = scratch;
    if (norm->beta == NULL)
        norm->beta = scratch + norm->columns;
    return scratch + 2 * norm->columns;
}

static struct mst_row_norm_backward rows_of(const struct row_norm_job *job, size_t begin, size_t n)
{
    struct mst_row_norm_backward part = job->backward;
    size_t at = begin * part.forward.columns;
    part.forward.rows = n;
    part.forward.x += at;
    part.forward.mean += begin;
    part.forward.inverse += begin;
    if (part.dy != NULL)
        part.dy += at;
    else
        part.forward.y += at;
    if (part.dx != NULL)
        part.dx += at;
    return part;
}

static void forward_slice(void *context, size_t slice, size_t n_slices)
{
    const struct row_norm_job *job = context;
    size_t rows = job->backward.forward.rows;
    size_t begin = mst_slice_begin(rows, 1, slice, n_slices);
    struct mst_row_norm_backward part = rows_of(job, begin, mst_slice_begin(rows, 1, slice + 1, n_slices) - begin);
    job->kernels->row_norm(&part.forward);
}

// The sums of a part come first: dx may be dy.
static void backward_slice(void *context, size_t slice, size_t n_slices)
{
    const struct row_norm_job *job = context;
    const struct mst_row_norm *norm = &job->backward.forward;
    size_t n_parts = (norm->rows + job->part_rows - 1) / job->part_rows;
    size_t end = mst_slice_begin(n_parts, 1, slice + 1, n_slices);
    for (size_t p = mst_slice_begin(n_parts, 1, slice, n_slices); p < end; p++) {
        size_t begin = p * job->part_rows;
        size_t left = norm->rows - begin;
        struct mst_row_norm_backward part = rows_of(job, begin, left < job->part_rows ? left : job->part_rows);
        float *sums = job->parts + 2 * p * norm->columns;
        if (job->parts != NULL)
            job->kernels->row_norm_products(&part, sums, sums + norm->columns);
        if (part.dx != NULL)
            job->kernels->row_norm_slopes(&part);
    }
}

void mst_cpu_row_norm(struct mst_device *device, const struct mst_row_norm *norm)
{
    struct mst_cpu *cpu = (struct mst_cpu *)device;
    struct row_norm_job job = {.kernels = cpu->kernels, .backward = {.forward = *norm}};
    size_t n = norm->rows * norm->columns;
    if (n == 0)
        return;
    fill_in(cpu, &job.backward.forward, 0);
    mst_pool_run(cpu->pool, mst_cpu_slices(cpu, n, MST_CPU_CHEAP), forward_slice, &job);
}

void mst_cpu_row_norm_backward(struct mst_device *device, const struct mst_row_norm_backward *backward)
{
    struct mst_cpu *cpu = (struct mst_cpu *)device;
    struct row_norm_job job = {.kernels = cpu->kernels, .backward = *backward, .part_rows = MIN_PART_ROWS};
    size_t columns = backward->forward.columns;
    size_t n = backward->forward.rows * columns;
    if (columns > 0 && PART_ELEMENTS / columns > MIN_PART_ROWS)
        job.part_rows = PART_ELEMENTS / columns < MAX_PART_ROWS ? PART_ELEMENTS / columns : MAX_PART_ROWS;
    size_t n_parts = (backward->forward.rows + job.part_rows - 1) / job.part_rows;
    float *scratch = fill_in(cpu, &job.backward.forward, 2 * columns * (n_parts + 1));
    if (backward->dgamma != NULL || backward->dbeta != NULL)
        job.parts = scratch + 2 * columns;
    if (n > 0)
        mst_pool_run(cpu->pool, mst_cpu_slices(cpu, n, MST_CPU_CHEAP), backward_slice, &job);
    if (job.parts == NULL)
        return;
    // Both sums, and then the one or the two that are wanted.
    struct mst_norm_parts parts = {.n_parts = n > 0 ? n_parts : 0, .columns = columns, .parts = job.parts};
    cpu->kernels->join_sums(&parts, scratch, scratch + columns);
    if (backward->dbeta != NULL)
        memcpy(backward->dbeta, scratch, columns * sizeof *scratch);
    if (backward->dgamma != NULL)
        memcpy(backward->dgamma, scratch + columns, columns * sizeof *scratch);
}
