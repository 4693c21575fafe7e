// Labels are small and read at once; features are mapped anonymously (so that a hostile header costs address space, not
// memory, and large pages can back them) and decoded by whoever asks first, usually the prefetch thread while the role
// is still connecting. The mutex is held during the load: whoever else needs the features has to wait for them anyway.
#include "data/dataset.h"

#include "base/alloc.h"
#include "base/error.h"
#include "data/csv.h"
#include "data/idx.h"
#include "muster/status.h"
#include "tensor/dtype.h"
#include "tensor/shape.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { LARGE_PAGE_BYTES = 2 << 20 };

struct mst_dataset {
    char *features_path;
    char *labels_path;
    size_t n_examples;
    size_t example_bytes;
    enum mst_dtype dtype;
    struct mst_shape shape;
    int32_t *labels;
    size_t features_bytes;
    pthread_mutex_t lock;
    struct mst_idx *idx;            // guarded by lock; NULL once loaded
    mst_status load_status;         // guarded by lock
    struct mst_error load_error;    // guarded by lock
    float *table;                   // of csv: the features, there from the start; else NULL
    void *mapping;                  // guarded by lock until loaded
    _Atomic(const void *) features; // release after the last byte is decoded; acquire: who sees it sees the bytes
};

static mst_status open_features(struct mst_dataset *dataset, struct mst_error *err)
{
    MST_TRY(mst_idx_open(dataset->features_path, &dataset->idx, err));
    struct mst_idx *idx = dataset->idx;
    size_t rank = mst_idx_rank(idx);
    if (rank - 1 > MST_SHAPE_MAX_RANK)
        return mst_fail(err, MST_OUT_OF_RANGE, "%s has %zu dimensions; the limit is %d", dataset->features_path, rank,
                        MST_SHAPE_MAX_RANK + 1);
    dataset->n_examples = mst_idx_dim(idx, 0);
    dataset->dtype = mst_idx_dtype(idx);
    dataset->features_bytes = mst_idx_data_bytes(idx);
    dataset->shape.rank = rank - 1;
    for (size_t axis = 1; axis < rank; axis++)
        dataset->shape.dims[axis - 1] = mst_idx_dim(idx, axis);
    if (dataset->features_bytes == 0)
        return mst_fail(err, MST_DATA_LOSS, "%s holds no examples, or examples without elements",
                        dataset->features_path);
    dataset->example_bytes = dataset->features_bytes / dataset->n_examples;
    return MST_OK;
}

static void widen_labels(const uint8_t *from, int32_t *to, size_t n)
{
    for (size_t i = 0; i < n; i++)
        to[i] = from[i];
}

// The labels of a u8 file are decoded into the last quarter of the i32 array and widened from the front: no second
// copy.
static mst_status decode_labels(struct mst_dataset *dataset, struct mst_idx *idx, struct mst_error *err)
{
    size_t n = mst_idx_n_elements(idx);
    void *labels;
    if (mst_try_alloc(n * sizeof(int32_t), &labels) != MST_OK)
        return mst_fail(err, MST_RESOURCE_EXHAUSTED, "no memory for the %zu labels of %s", n, dataset->labels_path);
    dataset->labels = labels;
    if (mst_idx_dtype(idx) == MST_DTYPE_I32)
        return mst_idx_read(idx, labels, err);
    uint8_t *tail = (uint8_t *)labels + 3 * n;
    MST_TRY(mst_idx_read(idx, tail, err));
    widen_labels(tail, labels, n);
    return MST_OK;
}

static mst_status read_labels(struct mst_dataset *dataset, struct mst_error *err)
{
    struct mst_idx *idx;
    MST_TRY(mst_idx_open(dataset->labels_path, &idx, err));
    mst_status status = MST_OK;
    if (mst_idx_rank(idx) != 1)
        status = mst_fail(err, MST_DATA_LOSS, "%s has %zu dimensions; labels are a list of integers, 1 dimension",
                          dataset->labels_path, mst_idx_rank(idx));
    else if (mst_idx_dtype(idx) == MST_DTYPE_F32)
        status = mst_fail(err, MST_DATA_LOSS, "%s holds floats; labels are integers (u8, i8, i16 or i32)",
                          dataset->labels_path);
    else if (mst_idx_dim(idx, 0) != dataset->n_examples)
        status =
            mst_fail(err, MST_DATA_LOSS, "%s holds %zu labels, %s holds %zu examples: the two do not belong together",
                     dataset->labels_path, mst_idx_dim(idx, 0), dataset->features_path, dataset->n_examples);
    else
        status = decode_labels(dataset, idx, err);
    mst_idx_free(idx);
    return status;
}

static mst_status open_idx(struct mst_dataset *dataset, const struct mst_dataset_source *source, struct mst_error *err)
{
    dataset->labels_path = source->labels ? mst_strdup(source->labels) : NULL;
    MST_TRY(open_features(dataset, err));
    return dataset->labels_path ? read_labels(dataset, err) : MST_OK;
}

// Nobody else knows the data set yet, so its features need no lock.
static mst_status open_csv(struct mst_dataset *dataset, const struct mst_dataset_source *source, struct mst_error *err)
{
    struct mst_csv_table table;
    dataset->labels_path = mst_strdup(source->features);
    MST_TRY(mst_csv_read(source->features, &source->csv, &table, err));
    dataset->n_examples = table.n_rows;
    dataset->example_bytes = table.n_columns * sizeof(float);
    dataset->features_bytes = table.n_rows * dataset->example_bytes;
    dataset->dtype = MST_DTYPE_F32;
    dataset->shape = (struct mst_shape){.rank = 1, .dims = {table.n_columns}};
    dataset->labels = table.labels;
    dataset->table = table.features;
    atomic_store_explicit(&dataset->features, table.features, memory_order_release);
    return MST_OK;
}

mst_status mst_dataset_open(const struct mst_dataset_source *source, struct mst_dataset **out, struct mst_error *err)
{
    *out = NULL;
    bool is_csv = source->format && strcmp(source->format, "csv") == 0;
    if (!is_csv && (!source->format || strcmp(source->format, "idx") != 0))
        return mst_fail(err, MST_UNIMPLEMENTED, "data format \"%s\" is not there; there are idx and csv",
                        source->format ? source->format : "");
    if (!source->features || !*source->features)
        return mst_fail(err, MST_INVALID_ARGUMENT, "data without a features file; give its path");
    struct mst_dataset *dataset = mst_alloc(sizeof *dataset);
    pthread_mutex_init(&dataset->lock, NULL);
    dataset->features_path = mst_strdup(source->features);
    mst_status status = is_csv ? open_csv(dataset, source, err) : open_idx(dataset, source, err);
    if (status != MST_OK) {
        mst_dataset_free(dataset);
        return status;
    }
    *out = dataset;
    return MST_OK;
}

void mst_dataset_free(struct mst_dataset *dataset)
{
    if (!dataset)
        return;
    mst_idx_free(dataset->idx);
    if (dataset->mapping)
        munmap(dataset->mapping, dataset->features_bytes);
    pthread_mutex_destroy(&dataset->lock);
    free(dataset->table);
    free(dataset->labels);
    free(dataset->features_path);
    free(dataset->labels_path);
    free(dataset);
}

static mst_status load_locked(struct mst_dataset *dataset, struct mst_error *err)
{
    void *mapping = mmap(NULL, dataset->features_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (mapping == MAP_FAILED)
        return mst_fail(err, MST_RESOURCE_EXHAUSTED, "no memory for the %zu bytes of %s", dataset->features_bytes,
                        dataset->features_path);
    dataset->mapping = mapping;
    // Random rows of tens of megabytes miss the TLB with small pages; a refusal changes nothing else.
    if (dataset->features_bytes >= 2 * LARGE_PAGE_BYTES)
        (void)madvise(mapping, dataset->features_bytes, MADV_HUGEPAGE);
    return mst_idx_read(dataset->idx, mapping, err);
}

mst_status mst_dataset_load(struct mst_dataset *dataset, struct mst_error *err)
{
    if (atomic_load_explicit(&dataset->features, memory_order_acquire))
        return MST_OK;
    pthread_mutex_lock(&dataset->lock);
    if (dataset->idx) {
        dataset->load_status = load_locked(dataset, &dataset->load_error);
        mst_idx_free(dataset->idx);
        dataset->idx = NULL;
        if (dataset->load_status == MST_OK)
            atomic_store_explicit(&dataset->features, dataset->mapping, memory_order_release);
    }
    mst_status status = dataset->load_status;
    if (status != MST_OK && err)
        *err = dataset->load_error;
    pthread_mutex_unlock(&dataset->lock);
    return status;
}

size_t mst_dataset_n_examples(const struct mst_dataset *dataset)
{
    return dataset->n_examples;
}

enum mst_dtype mst_dataset_feature_dtype(const struct mst_dataset *dataset)
{
    return dataset->dtype;
}

const struct mst_shape *mst_dataset_feature_shape(const struct mst_dataset *dataset)
{
    return &dataset->shape;
}

size_t mst_dataset_example_bytes(const struct mst_dataset *dataset)
{
    return dataset->example_bytes;
}

const void *mst_dataset_features(const struct mst_dataset *dataset)
{
    return atomic_load_explicit(&((struct mst_dataset *)dataset)->features, memory_order_acquire);
}

const int32_t *mst_dataset_labels(const struct mst_dataset *dataset)
{
    return dataset->labels;
}

mst_status mst_dataset_check_labels(const struct mst_dataset *dataset, size_t n_classes, struct mst_error *err)
{
    if (!dataset->labels)
        return mst_fail(err, MST_FAILED_PRECONDITION,
                        "%s comes without labels; give data.labels (idx) or data.label (csv)", dataset->features_path);
    for (size_t i = 0; i < dataset->n_examples; i++) {
        if (dataset->labels[i] < 0 || (size_t)dataset->labels[i] >= n_classes)
            return mst_fail(err, MST_OUT_OF_RANGE,
                            "%s: the label of example %zu is %d, outside 0 to %zu: the model has %zu classes",
                            dataset->labels_path, i, (int)dataset->labels[i], n_classes - 1, n_classes);
    }
    return MST_OK;
}

size_t mst_dataset_n_batches(const struct mst_dataset *dataset, size_t batch_size)
{
    MST_ASSERT(batch_size > 0);
    return (dataset->n_examples + batch_size - 1) / batch_size;
}
