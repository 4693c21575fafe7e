// Rows of a table by number, and their gradient. Ids are looked through before any row is read. Threads share the rows
// of what is gathered, and the columns of a gradient: so each of its elements is added up by one thread, in the order
// of the ids.
#include "cpu_private.h"

#include <stdbool.h>
#include <string.h>

enum { COLUMN_GRANULE = 16 }; // a cache line of floats

struct table_job {
    const struct mst_kernels *kernels;
    const struct mst_gather *gather;
    const struct mst_scatter *scatter;
};

static void gather_slice(void *context, size_t slice, size_t n_slices)
{
    const struct mst_gather *gather = ((const struct table_job *)context)->gather;
    size_t columns = gather->columns;
    size_t end = mst_slice_begin(gather->n, 1, slice + 1, n_slices);
    for (size_t i = mst_slice_begin(gather->n, 1, slice, n_slices); i < end; i++)
        memcpy(gather->y + i * columns, gather->table + (size_t)gather->ids[i] * columns, columns * sizeof(float));
}

static size_t first_outside(const struct mst_gather *gather)
{
    size_t at = 0;
    while (at < gather->n && (size_t)gather->ids[at] < gather->vocabulary) // huge if negative
        at++;
    return at;
}

size_t mst_cpu_gather(struct mst_device *device, const struct mst_gather *gather)
{
    struct mst_cpu *cpu = (struct mst_cpu *)device;
    struct table_job job = {.kernels = cpu->kernels, .gather = gather};
    if (!cpu->kernels->all_ids_below(gather->n, gather->vocabulary, gather->ids))
        return first_outside(gather);
    if (gather->n > 0 && gather->columns > 0)
        mst_pool_run(cpu->pool, mst_cpu_slices(cpu, gather->n * gather->columns, MST_CPU_CHEAP), gather_slice, &job);
    return gather->n;
}

static void clear_slice(void *context, size_t slice, size_t n_slices)
{
    const struct mst_scatter *scatter = ((const struct table_job *)context)->scatter;
    size_t n = scatter->vocabulary * scatter->columns;
    size_t begin = mst_slice_begin(n, MST_CPU_GRANULE, slice, n_slices);
    size_t end = mst_slice_begin(n, MST_CPU_GRANULE, slice + 1, n_slices);
    if (end > begin)
        memset(scatter->dtable + begin, 0, (end - begin) * sizeof *scatter->dtable);
}

static void scatter_slice(void *context, size_t slice, size_t n_slices)
{
    const struct table_job *job = context;
    size_t columns = job->scatter->columns;
    job->kernels->scatter_add(job->scatter, mst_slice_begin(columns, COLUMN_GRANULE, slice, n_slices),
                              mst_slice_begin(columns, COLUMN_GRANULE, slice + 1, n_slices));
}

void mst_cpu_scatter_add(struct mst_device *device, const struct mst_scatter *scatter)
{
    struct mst_cpu *cpu = (struct mst_cpu *)device;
    struct table_job job = {.kernels = cpu->kernels, .scatter = scatter};
    if (scatter->write == MST_COPY_SET)
        mst_pool_run(cpu->pool, mst_cpu_slices(cpu, scatter->vocabulary * scatter->columns, MST_CPU_CHEAP), clear_slice,
                     &job);
    if (scatter->n > 0 && scatter->columns > 0)
        mst_pool_run(cpu->pool, mst_cpu_slices(cpu, scatter->n * scatter->columns, MST_CPU_CHEAP), scatter_slice, &job);
}

void mst_cpu_ids_from_f32(struct mst_device *device, size_t n, const float *x, int32_t *ids)
{
    ((struct mst_cpu *)device)->kernels->ids_from_f32(n, x, ids);
}
