// Matrix products: single-threaded calls of OpenBLAS on slices of the rows of c, one a thread, and then bias and
// activation over the slice while it is still in the cache.
//
// The bits must not depend on the number of threads. OpenBLAS adds up an element of c over k in an order that depends
// on k and on which of its kernels the element falls to, and that again (measured with version 0.3.21;
// test_device_gemm repeats it for every core type that the processor can run):
//
// - Some core types have one kernel for twelve rows of c (Haswell, Zen) or for eight (Nehalem) and others for what is
//   left over, counted from the first row of a call. So slices begin at multiples of such a number.
// - Types with AVX-512 have other kernels for products of at most 10^6 multiplications. So none is cut to less.
// - A call of very many rows is cut by OpenBLAS itself, where its buffers are full, which need not be at such a number
//   (at 100000 rows no difference was seen). So from MANY_ROWS on the slices are the same for any number of threads.
#include "base/error.h"
#include "cpu_private.h"

#include <cblas.h>
#include <limits.h>
#include <math.h>
#include <string.h>

enum {
    MIN_SLICE_PRODUCTS = 1 << 20, // also about 20 microseconds, several times what a hand-over costs
    CUT_PRODUCTS = 1 << 24,       // of one of a batch: as much work as some hand-overs
    MANY_ROWS = 12288,
    MANY_ROWS_SLICE = 1536, // so many that packing b again for each does not show
};

struct gemm_job {
    const struct mst_cpu *cpu;
    const struct mst_gemm *gemm;
};

size_t mst_cpu_row_granule(const char *core_type)
{
    static const char *const measured[] = {"Haswell", "Zen", "SkylakeX", "Cooperlake"};
    for (size_t i = 0; i < sizeof measured / sizeof *measured; i++)
        if (strcmp(core_type, measured[i]) == 0)
            return 12;
    return 48; // a multiple of whatever number of rows a kernel may have
}

// target: rows of c, or of `before`.
static void multiply_rows(const struct mst_gemm *gemm, size_t begin, size_t end, float *target)
{
    bool a_is_turned = gemm->form == MST_GEMM_TN;
    bool b_is_turned = gemm->form == MST_GEMM_NT;
    const float *a = gemm->a + (a_is_turned ? begin : begin * gemm->k);
    size_t a_stride = a_is_turned ? gemm->m : gemm->k;
    size_t b_stride = b_is_turned ? gemm->k : gemm->n;
    if (gemm->k == 0) {
        if (gemm->write == MST_GEMM_SET)
            memset(target, 0, (end - begin) * gemm->n * sizeof *target);
        return;
    }
    cblas_sgemm(CblasRowMajor, a_is_turned ? CblasTrans : CblasNoTrans, b_is_turned ? CblasTrans : CblasNoTrans,
                (blasint)(end - begin), (blasint)gemm->n, (blasint)gemm->k, 1.0f, a, (blasint)a_stride, gemm->b,
                (blasint)b_stride, gemm->write == MST_GEMM_ADD ? 1.0f : 0.0f, target, (blasint)gemm->n);
}

static bool is_plain_relu(const struct mst_activation *activation)
{
    return activation != NULL && activation->kind == MST_ACTIVATION_RELU && activation->alpha == 0.0f &&
           activation->threshold == 0.0f && activation->max_value == INFINITY;
}

// Rows of c, with bias and activation.
static void make_rows(const struct mst_kernels *kernels, const struct mst_gemm *gemm, size_t begin, size_t end)
{
    size_t rows = end - begin;
    float *c = gemm->c + begin * gemm->n;
    float *before = gemm->before != NULL ? gemm->before + begin * gemm->n : NULL;
    // What the activation is given is computed where it is kept, unless it is added to what c holds.
    float *target = before != NULL && gemm->write == MST_GEMM_SET ? before : c;
    multiply_rows(gemm, begin, end, target);
    if (gemm->bias != NULL && before == NULL && is_plain_relu(gemm->activation)) {
        kernels->bias_relu(rows, gemm->n, gemm->bias, c);
        return;
    }
    if (gemm->bias != NULL)
        kernels->bias_add(rows, gemm->n, gemm->bias, target, target);
    if (before != NULL && target != before)
        memcpy(before, target, rows * gemm->n * sizeof *before);
    struct mst_activate activate = {.rows = rows, .columns = gemm->n, .x = target, .y = c};
    if (gemm->activation != NULL)
        activate.activation = *gemm->activation;
    kernels->forward[activate.activation.kind](&activate); // linear is 0
}

static void gemm_slice(void *context, size_t slice, size_t n_slices)
{
    const struct gemm_job *job = context;
    size_t begin = mst_slice_begin(job->gemm->m, job->cpu->row_granule, slice, n_slices);
    size_t end = mst_slice_begin(job->gemm->m, job->cpu->row_granule, slice + 1, n_slices);
    if (end > begin)
        make_rows(job->cpu->kernels, job->gemm, begin, end);
}

static size_t slices_of(const struct mst_cpu *cpu, const struct mst_gemm *gemm)
{
    if (gemm->m > MANY_ROWS) {
        size_t n_slices = gemm->m / MANY_ROWS_SLICE;
        return n_slices < MST_POOL_MAX_SLICES ? n_slices : MST_POOL_MAX_SLICES;
    }
    size_t row_products = gemm->n * (gemm->k > 0 ? gemm->k : 1);
    size_t min_rows = (MIN_SLICE_PRODUCTS + row_products - 1) / row_products;
    return mst_cpu_slices(cpu, gemm->m, min_rows + 2 * cpu->row_granule); // a slice may be that much short
}

void mst_cpu_gemm(struct mst_device *device, const struct mst_gemm *gemm)
{
    struct mst_cpu *cpu = (struct mst_cpu *)device;
    struct gemm_job job = {cpu, gemm};
    MST_ASSERT(gemm->m <= INT_MAX && gemm->n <= INT_MAX && gemm->k <= INT_MAX);
    if (gemm->m > 0 && gemm->n > 0)
        mst_pool_run(cpu->pool, slices_of(cpu, gemm), gemm_slice, &job);
}

struct batch_job {
    const struct mst_kernels *kernels;
    const struct mst_gemm_batch *batch;
};

static struct mst_gemm gemm_of(const struct mst_gemm_batch *batch, size_t i)
{
    struct mst_gemm gemm = batch->gemm;
    gemm.a += i * batch->a_step;
    gemm.b += i * batch->b_step;
    gemm.c += i * batch->c_step;
    if (gemm.before != NULL)
        gemm.before += i * batch->c_step;
    return gemm;
}

static void batch_slice(void *context, size_t slice, size_t n_slices)
{
    const struct batch_job *job = context;
    size_t end = mst_slice_begin(job->batch->n, 1, slice + 1, n_slices);
    for (size_t i = mst_slice_begin(job->batch->n, 1, slice, n_slices); i < end; i++) {
        struct mst_gemm gemm = gemm_of(job->batch, i);
        make_rows(job->kernels, &gemm, 0, gemm.m);
    }
}

// Small products are shared out whole, large ones are cut each: which it is depends on the shape alone.
void mst_cpu_gemm_batch(struct mst_device *device, const struct mst_gemm_batch *batch)
{
    struct mst_cpu *cpu = (struct mst_cpu *)device;
    struct batch_job job = {cpu->kernels, batch};
    const struct mst_gemm *gemm = &batch->gemm;
    MST_ASSERT(gemm->m <= INT_MAX && gemm->n <= INT_MAX && gemm->k <= INT_MAX);
    if (gemm->m == 0 || gemm->n == 0 || batch->n == 0)
        return;
    size_t row_products = gemm->n * (gemm->k > 0 ? gemm->k : 1);
    if (gemm->m > MANY_ROWS || gemm->m > CUT_PRODUCTS / row_products) {
        for (size_t i = 0; i < batch->n; i++) {
            struct mst_gemm one = gemm_of(batch, i);
            mst_cpu_gemm(device, &one);
        }
        return;
    }
    size_t products = gemm->m * row_products;
    mst_pool_run(cpu->pool, mst_cpu_slices(cpu, batch->n, MIN_SLICE_PRODUCTS / products + 1), batch_slice, &job);
}
