// Copies with steps along up to eight axes: the axes are put into an order in which y is walked forward, those that
// lie one behind the other are made one, and the last two that remain are a kernel's block.
#include "base/error.h"
#include "cpu_private.h"

#include <stdbool.h>
#include <string.h>

struct copy_job {
    const struct mst_kernels *kernels;
    struct mst_copy copy; // at least two axes, none of extent 0
    size_t axis;          // shared out
    size_t granule;
};

static bool sums_up(const struct mst_copy *copy)
{
    for (size_t a = 0; a < copy->n_axes; a++)
        if (copy->to[a] == 0)
            return true;
    return false;
}

static void drop_axis(struct mst_copy *copy, size_t axis)
{
    size_t n_behind = copy->n_axes - axis - 1;
    memmove(copy->shape + axis, copy->shape + axis + 1, n_behind * sizeof *copy->shape);
    memmove(copy->from + axis, copy->from + axis + 1, n_behind * sizeof *copy->from);
    memmove(copy->to + axis, copy->to + axis + 1, n_behind * sizeof *copy->to);
    copy->n_axes--;
}

static void swap_axes(struct mst_copy *copy, size_t a, size_t b)
{
    struct mst_copy was = *copy;
    copy->shape[a] = was.shape[b];
    copy->from[a] = was.from[b];
    copy->to[a] = was.to[b];
    copy->shape[b] = was.shape[a];
    copy->from[b] = was.from[a];
    copy->to[b] = was.to[a];
}

static void drop_single(struct mst_copy *copy)
{
    for (size_t a = copy->n_axes; a-- > 0;)
        if (copy->shape[a] == 1)
            drop_axis(copy, a);
}

static void join_axes(struct mst_copy *copy)
{
    for (size_t a = copy->n_axes; a-- > 1;) {
        size_t before = a - 1;
        if (copy->from[before] != copy->shape[a] * copy->from[a] || copy->to[before] != copy->shape[a] * copy->to[a])
            continue;
        copy->shape[a] *= copy->shape[before];
        drop_axis(copy, before);
    }
}

// The largest steps of y first.
static void order_axes(struct mst_copy *copy)
{
    for (size_t a = 1; a < copy->n_axes; a++)
        for (size_t b = a; b > 0 && copy->to[b - 1] < copy->to[b]; b--)
            swap_axes(copy, b - 1, b);
}

// Where x is walked across its lines along the last axis, the one along them comes beside it: a transpose.
static void pair_axes(struct mst_copy *copy)
{
    size_t last = copy->n_axes - 1;
    if (copy->from[last] == 1)
        return;
    for (size_t a = 0; a + 1 < last; a++) {
        if (copy->from[a] == 1) {
            for (size_t b = a; b + 1 < last; b++)
                swap_axes(copy, b, b + 1);
            return;
        }
    }
}

static void prepend_axis(struct mst_copy *copy)
{
    copy->n_axes++;
    for (size_t a = copy->n_axes; a-- > 1;)
        swap_axes(copy, a, a - 1);
    copy->shape[0] = 1;
    copy->from[0] = copy->to[0] = 0;
}

// All blocks of the last two axes.
static void walk(const struct mst_kernels *kernels, const struct mst_copy *copy)
{
    size_t n_outer = copy->n_axes - 2;
    size_t index[MST_DEVICE_MAX_AXES] = {0};
    struct mst_copy block = {.write = copy->write, .n_axes = 2, .x = copy->x, .y = copy->y};
    memcpy(block.shape, copy->shape + n_outer, 2 * sizeof *block.shape);
    memcpy(block.from, copy->from + n_outer, 2 * sizeof *block.from);
    memcpy(block.to, copy->to + n_outer, 2 * sizeof *block.to);
    for (;;) {
        kernels->copy_block(&block);
        size_t a = n_outer;
        for (; a > 0; a--) {
            size_t axis = a - 1;
            block.x += copy->from[axis];
            block.y += copy->to[axis];
            if (++index[axis] < copy->shape[axis])
                break;
            block.x -= copy->shape[axis] * copy->from[axis];
            block.y -= copy->shape[axis] * copy->to[axis];
            index[axis] = 0;
        }
        if (a == 0)
            return;
    }
}

static void copy_slice(void *context, size_t slice, size_t n_slices)
{
    const struct copy_job *job = context;
    struct mst_copy part = job->copy;
    size_t extent = part.shape[job->axis];
    size_t begin = mst_slice_begin(extent, job->granule, slice, n_slices);
    part.shape[job->axis] = mst_slice_begin(extent, job->granule, slice + 1, n_slices) - begin;
    part.x += begin * part.from[job->axis];
    part.y += begin * part.to[job->axis];
    if (part.shape[job->axis] > 0)
        walk(job->kernels, &part);
}

// Threads share the longest axis that is not summed over: so no two write to the same place.
static void share_out(struct mst_cpu *cpu, struct copy_job *job, size_t n)
{
    const struct mst_copy *copy = &job->copy;
    size_t longest = 0;
    for (size_t a = 0; a < copy->n_axes; a++) {
        if (copy->to[a] != 0 && copy->shape[a] > longest) {
            longest = copy->shape[a];
            job->axis = a;
        }
    }
    // The last two axes are walked by tiles and lines.
    job->granule = job->axis + 2 >= copy->n_axes ? MST_CPU_GRANULE : 1;
    size_t n_slices = longest > 0 ? mst_cpu_slices(cpu, n, MST_CPU_CHEAP) : 1;
    mst_pool_run(cpu->pool, n_slices, copy_slice, job);
}

void mst_cpu_copy(struct mst_device *device, const struct mst_copy *copy)
{
    struct mst_cpu *cpu = (struct mst_cpu *)device;
    struct copy_job job = {.kernels = cpu->kernels, .copy = *copy};
    size_t n = 1;
    MST_ASSERT(copy->n_axes <= MST_DEVICE_MAX_AXES);
    for (size_t a = 0; a < copy->n_axes; a++)
        n *= copy->shape[a];
    if (n == 0)
        return;
    drop_single(&job.copy);
    bool may_move = !(copy->write == MST_COPY_ADD && sums_up(&job.copy)); // else the order of a sum would change
    if (may_move)
        order_axes(&job.copy);
    join_axes(&job.copy);
    while (job.copy.n_axes < 2)
        prepend_axis(&job.copy);
    if (may_move)
        pair_axes(&job.copy);
    share_out(cpu, &job, n);
}
