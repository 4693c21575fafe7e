// Elementwise operations over several inputs, some of them repeated along axes. Axes along which every input is walked
// alike are made one; the last that remains is cut into blocks that stay in the first-level cache while the inputs
// are taken one after the other.
#include "base/error.h"
#include "cpu_private.h"

#include <stdbool.h>
#include <string.h>

enum { BLOCK = 2048 };

struct merge_job {
    const struct mst_kernels *kernels;
    const struct mst_merge *merge;
    size_t n_axes; // at least one
    size_t shape[MST_DEVICE_MAX_AXES];
    size_t steps[MST_MERGE_MAX_INPUTS][MST_DEVICE_MAX_AXES]; // 0: repeated; those of the last axis are 0 or 1
    bool is_repeated[MST_MERGE_MAX_INPUTS];
};

// A block: n elements from element `first` of y; offsets of the inputs.
struct block {
    size_t n;
    size_t first;
    size_t at[MST_MERGE_MAX_INPUTS];
};

typedef void block_fn(const struct merge_job *job, const struct block *block);

static void find_steps(struct merge_job *job)
{
    const struct mst_merge *merge = job->merge;
    for (size_t i = 0; i < merge->n_inputs; i++) {
        size_t step = 1;
        for (size_t a = merge->n_axes; a-- > 0;) {
            size_t extent = merge->inputs[i].shape[a];
            MST_ASSERT(extent == merge->shape[a] || extent == 1);
            job->steps[i][a] = extent == 1 ? 0 : step;
            job->is_repeated[i] |= extent != merge->shape[a];
            step *= extent;
        }
    }
}

static bool is_one_walk(const struct merge_job *job, size_t axis)
{
    for (size_t i = 0; i < job->merge->n_inputs; i++)
        if (job->steps[i][axis] != job->steps[i][axis + 1] * job->shape[axis + 1])
            return false;
    return true;
}

static void drop_axis(struct merge_job *job, size_t axis)
{
    size_t n_behind = job->n_axes - axis - 1;
    memmove(job->shape + axis, job->shape + axis + 1, n_behind * sizeof *job->shape);
    for (size_t i = 0; i < job->merge->n_inputs; i++)
        memmove(job->steps[i] + axis, job->steps[i] + axis + 1, n_behind * sizeof *job->steps[i]);
    job->n_axes--;
}

static void join_axes(struct merge_job *job)
{
    for (size_t a = job->n_axes; a-- > 0;)
        if (job->shape[a] == 1)
            drop_axis(job, a);
    for (size_t a = job->n_axes; a-- > 1;) {
        if (is_one_walk(job, a - 1)) {
            job->shape[a] *= job->shape[a - 1];
            drop_axis(job, a - 1);
        }
    }
    if (job->n_axes == 0) {
        job->n_axes = job->shape[0] = 1;
        for (size_t i = 0; i < job->merge->n_inputs; i++)
            job->steps[i][0] = 1;
    }
}

static void walk_row(const struct merge_job *job, struct block *block, size_t begin, size_t end, block_fn *fn)
{
    size_t last = job->n_axes - 1;
    struct block row = *block;
    for (size_t at = begin; at < end; at += BLOCK) {
        block->n = end - at < BLOCK ? end - at : BLOCK;
        block->first = row.first + at;
        for (size_t i = 0; i < job->merge->n_inputs; i++)
            block->at[i] = row.at[i] + at * job->steps[i][last];
        fn(job, block);
    }
    *block = row;
}

// Of all rows, with the first axis from begin to end.
static void walk(const struct merge_job *job, size_t begin, size_t end, block_fn *fn)
{
    size_t last = job->n_axes - 1;
    size_t index[MST_DEVICE_MAX_AXES] = {begin};
    struct block block = {0};
    if (last == 0) {
        walk_row(job, &block, begin, end, fn);
        return;
    }
    block.first = begin;
    for (size_t a = 1; a <= last; a++)
        block.first *= job->shape[a];
    for (size_t i = 0; i < job->merge->n_inputs; i++)
        block.at[i] = begin * job->steps[i][0];
    while (index[0] < end) {
        walk_row(job, &block, 0, job->shape[last], fn);
        block.first += job->shape[last];
        for (size_t axis = last; axis-- > 0;) {
            bool is_done = ++index[axis] == job->shape[axis] && axis > 0;
            for (size_t i = 0; i < job->merge->n_inputs; i++) {
                block.at[i] += job->steps[i][axis];
                block.at[i] -= is_done ? job->shape[axis] * job->steps[i][axis] : 0;
            }
            if (!is_done)
                break;
            index[axis] = 0;
        }
    }
}

static void merge_block(const struct merge_job *job, const struct block *block)
{
    const struct mst_merge *merge = job->merge;
    size_t last = job->n_axes - 1;
    float *y = merge->y + block->first;
    mst_merge_fn *fn = job->kernels->merge[merge->kind == MST_MERGE_AVERAGE ? MST_MERGE_ADD : merge->kind];
    const float *a = merge->inputs[0].x + block->at[0];
    size_t a_step = job->steps[0][last];
    for (size_t i = 1; i < merge->n_inputs; i++) {
        fn(block->n, a, a_step, merge->inputs[i].x + block->at[i], job->steps[i][last], y);
        a = y;
        a_step = 1;
    }
    if (merge->kind == MST_MERGE_AVERAGE)
        job->kernels->divide(block->n, (float)merge->n_inputs, merge->n_inputs > 1 ? y : a, y);
    else if (merge->n_inputs == 1 && a != y)
        memcpy(y, a, block->n * sizeof *y);
}

// A block of the gradient of input i: stored, or, where the input is repeated, added to what other blocks gave.
static void deliver(const struct merge_job *job, size_t i, const struct block *block, const float *gradient)
{
    struct mst_copy copy = {.write = job->is_repeated[i] ? MST_COPY_ADD : MST_COPY_SET,
                            .n_axes = 2,
                            .shape = {1, block->n},
                            .from = {0, 1},
                            .to = {0, job->steps[i][job->n_axes - 1]},
                            .x = gradient,
                            .y = job->merge->inputs[i].dx + block->at[i]};
    job->kernels->copy_block(&copy);
}

// dy times all other inputs.
static const float *product(const struct merge_job *job, const struct block *block, size_t i, float *out)
{
    const struct mst_merge *merge = job->merge;
    size_t last = job->n_axes - 1;
    const float *so_far = merge->dy + block->first;
    for (size_t k = 0; k < merge->n_inputs; k++) {
        if (k == i)
            continue;
        job->kernels->merge[MST_MERGE_MULTIPLY](block->n, so_far, 1, merge->inputs[k].x + block->at[k],
                                                job->steps[k][last], out);
        so_far = out;
    }
    return so_far;
}

// The first input that has what was chosen gets all of it, and nothing is left for the others.
static void choice_block(const struct merge_job *job, const struct block *block)
{
    const struct mst_merge *merge = job->merge;
    float left[BLOCK];
    float own[BLOCK];
    memcpy(left, merge->dy + block->first, block->n * sizeof *left);
    for (size_t i = 0; i < merge->n_inputs; i++) {
        job->kernels->take_where_equal(block->n, merge->inputs[i].x + block->at[i], job->steps[i][job->n_axes - 1],
                                       merge->y + block->first, left, own);
        if (merge->inputs[i].dx != NULL)
            deliver(job, i, block, own);
    }
}

static void prelu_block(const struct merge_job *job, const struct block *block)
{
    const struct mst_merge *merge = job->merge;
    float own[2][BLOCK];
    struct mst_prelu_block part = {.n = block->n,
                                   .x = merge->inputs[0].x + block->at[0],
                                   .alpha = merge->inputs[1].x + block->at[1],
                                   .alpha_step = job->steps[1][job->n_axes - 1],
                                   .dy = merge->dy + block->first,
                                   .dx = own[0],
                                   .dalpha = own[1]};
    job->kernels->prelu_slopes(&part);
    for (size_t i = 0; i < 2; i++)
        if (merge->inputs[i].dx != NULL)
            deliver(job, i, block, own[i]);
}

static void sum_block(const struct merge_job *job, const struct block *block)
{
    static const float zero = 0.0f;
    const struct mst_merge *merge = job->merge;
    const float *dy = merge->dy + block->first;
    float own[BLOCK];
    for (size_t i = 0; i < merge->n_inputs; i++) {
        const float *gradient = own;
        if (merge->inputs[i].dx == NULL)
            continue;
        if (merge->kind == MST_MERGE_MULTIPLY)
            gradient = product(job, block, i, own);
        else if (merge->kind == MST_MERGE_AVERAGE)
            job->kernels->divide(block->n, (float)merge->n_inputs, dy, own);
        else if (merge->kind == MST_MERGE_SUBTRACT && i == 1)
            job->kernels->merge[MST_MERGE_SUBTRACT](block->n, &zero, 0, dy, 1, own);
        else
            gradient = dy;
        deliver(job, i, block, gradient);
    }
}

static block_fn *backward_of(enum mst_merge_kind kind)
{
    if (kind == MST_MERGE_PRELU)
        return prelu_block;
    return kind == MST_MERGE_MAXIMUM || kind == MST_MERGE_MINIMUM ? choice_block : sum_block;
}

static void merge_slice(void *context, size_t slice, size_t n_slices)
{
    const struct merge_job *job = context;
    size_t granule = job->n_axes == 1 ? MST_CPU_GRANULE : 1;
    walk(job, mst_slice_begin(job->shape[0], granule, slice, n_slices),
         mst_slice_begin(job->shape[0], granule, slice + 1, n_slices), merge_block);
}

static void backward_slice(void *context, size_t slice, size_t n_slices)
{
    const struct merge_job *job = context;
    size_t granule = job->n_axes == 1 ? MST_CPU_GRANULE : 1;
    walk(job, mst_slice_begin(job->shape[0], granule, slice, n_slices),
         mst_slice_begin(job->shape[0], granule, slice + 1, n_slices), backward_of(job->merge->kind));
}

// How many elements there are; the job is ready unless there are none.
static size_t prepare(struct merge_job *job)
{
    const struct mst_merge *merge = job->merge;
    size_t n = 1;
    MST_ASSERT(merge->n_axes <= MST_DEVICE_MAX_AXES && merge->n_inputs > 0 && merge->n_inputs <= MST_MERGE_MAX_INPUTS);
    MST_ASSERT((merge->kind != MST_MERGE_SUBTRACT && merge->kind != MST_MERGE_PRELU) || merge->n_inputs == 2);
    job->n_axes = merge->n_axes;
    memcpy(job->shape, merge->shape, sizeof job->shape);
    for (size_t a = 0; a < merge->n_axes; a++)
        n *= merge->shape[a];
    if (n > 0) {
        find_steps(job);
        MST_ASSERT(merge->kind != MST_MERGE_PRELU || !job->is_repeated[0]);
        join_axes(job);
    }
    return n;
}

void mst_cpu_merge(struct mst_device *device, const struct mst_merge *merge)
{
    struct mst_cpu *cpu = (struct mst_cpu *)device;
    struct merge_job job = {.kernels = cpu->kernels, .merge = merge};
    size_t n = prepare(&job);
    if (n > 0)
        mst_pool_run(cpu->pool, mst_cpu_slices(cpu, n, MST_CPU_CHEAP), merge_slice, &job);
}

void mst_cpu_merge_backward(struct mst_device *device, const struct mst_merge *merge)
{
    struct mst_cpu *cpu = (struct mst_cpu *)device;
    struct merge_job job = {.kernels = cpu->kernels, .merge = merge};
    size_t n = prepare(&job);
    bool may_share = true; // no element of a gradient is met by two slices
    for (size_t i = 0; i < merge->n_inputs; i++) {
        size_t n_own = 1;
        for (size_t a = 0; a < merge->n_axes; a++)
            n_own *= merge->inputs[i].shape[a];
        if (merge->inputs[i].dx != NULL && (job.is_repeated[i] || n == 0))
            memset(merge->inputs[i].dx, 0, n_own * sizeof(float));
        may_share = may_share && (n == 0 || job.steps[i][0] != 0);
    }
    if (n > 0)
        mst_pool_run(cpu->pool, may_share ? mst_cpu_slices(cpu, n, MST_CPU_CHEAP) : 1, backward_slice, &job);
}
