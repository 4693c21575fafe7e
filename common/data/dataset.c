// Outputs are small and read at once; inputs are mapped anonymously (so that a hostile header costs address space, not
// memory, and large pages can back them) and decoded by whoever asks first, usually the prefetch thread while the role
// is still connecting. The mutex is held during the load: whoever else needs the inputs has to wait for them anyway.
#include "data/dataset.h"

#include "base/alloc.h"
#include "base/error.h"
#include "data/csv.h"
#include "data/idx.h"
#include "muster/status.h"
#include "tensor/dtype.h"
#include "tensor/shape.h"

#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { LARGE_PAGE_BYTES = 2 << 20 };

struct input {
    struct mst_dataset_input view;
    size_t bytes;        // of all examples
    struct mst_idx *idx; // NULL once loaded; of csv, always
    void *mapping;       // of idx
};

struct mst_dataset {
    struct input *inputs;
    size_t n_inputs;
    enum mst_dtype *dtypes; // of the inputs
    struct mst_dataset_output *outputs;
    size_t n_outputs;
    char *weights_file;
    float *weights;
    size_t n_examples;
    pthread_mutex_t lock;
    bool was_tried;              // guarded by lock
    mst_status load_status;      // guarded by lock
    struct mst_error load_error; // guarded by lock
    atomic_bool is_loaded;       // release after the last byte is decoded; acquire: who sees it sees the bytes
};

// ---- IDX ----

static mst_status open_input(struct input *input, struct mst_error *err)
{
    struct mst_dataset_input *view = &input->view;
    MST_TRY(mst_idx_open(view->file, &input->idx, err));
    size_t rank = mst_idx_rank(input->idx);
    if (rank - 1 > MST_SHAPE_MAX_RANK)
        return mst_fail(err, MST_OUT_OF_RANGE, "%s has %zu dimensions; the limit is %d", view->file, rank,
                        MST_SHAPE_MAX_RANK + 1);
    view->dtype = mst_idx_dtype(input->idx);
    view->shape.rank = rank - 1;
    for (size_t axis = 1; axis < rank; axis++)
        view->shape.dims[axis - 1] = mst_idx_dim(input->idx, axis);
    input->bytes = mst_idx_data_bytes(input->idx);
    if (input->bytes == 0)
        return mst_fail(err, MST_DATA_LOSS, "%s holds no examples, or examples without elements", view->file);
    view->example_bytes = input->bytes / mst_idx_dim(input->idx, 0);
    return MST_OK;
}

static mst_status check_count(const struct mst_dataset *dataset, const char *file, const struct mst_idx *idx,
                              const char *of_what, struct mst_error *err)
{
    if (mst_idx_dim(idx, 0) == dataset->n_examples)
        return MST_OK;
    return mst_fail(err, MST_DATA_LOSS, "%s holds %zu %s, %s holds %zu examples: the two do not belong together", file,
                    mst_idx_dim(idx, 0), of_what, dataset->inputs[0].view.file, dataset->n_examples);
}

// Decoded in place: bytes into the last quarter of the array, then widened from the front; no second copy.
static mst_status decode(struct mst_idx *idx, const char *file, bool as_labels, void **out, struct mst_error *err)
{
    size_t n = mst_idx_n_elements(idx);
    enum mst_dtype dtype = mst_idx_dtype(idx);
    if (n == 0)
        return mst_fail(err, MST_DATA_LOSS, "%s holds no elements", file);
    if (mst_try_alloc(n * sizeof(float), out) != MST_OK)
        return mst_fail(err, MST_RESOURCE_EXHAUSTED, "no memory for the %zu numbers of %s", n, file);
    uint8_t *bytes = (uint8_t *)*out + (dtype == MST_DTYPE_U8 ? 3 * n : 0);
    MST_TRY(mst_idx_read(idx, bytes, err));
    int32_t *labels = *out;
    for (size_t i = 0; dtype == MST_DTYPE_U8 && i < n; i++)
        labels[i] = bytes[i];
    for (size_t i = 0; !as_labels && dtype != MST_DTYPE_F32 && i < n; i++) {
        float value = (float)labels[i];
        memcpy(&labels[i], &value, sizeof value);
    }
    return MST_OK;
}

static mst_status read_output(const struct mst_dataset *dataset, struct mst_dataset_output *output,
                              struct mst_error *err)
{
    struct mst_idx *idx;
    MST_TRY(mst_idx_open(output->file, &idx, err));
    mst_status status = check_count(dataset, output->file, idx, "labels", err);
    bool is_labels = mst_idx_rank(idx) == 1 && mst_idx_dtype(idx) != MST_DTYPE_F32;
    void *data = NULL;
    if (status == MST_OK)
        status = decode(idx, output->file, is_labels, &data, err);
    output->width = status == MST_OK ? mst_idx_n_elements(idx) / dataset->n_examples : 0;
    if (is_labels)
        output->labels = data;
    else
        output->values = data;
    mst_idx_free(idx);
    return status;
}

static mst_status check_finite(const float *values, size_t n, size_t width, const char *file, struct mst_error *err)
{
    for (size_t i = 0; values && i < n * width; i++) {
        if (!isfinite(values[i]))
            return mst_fail(err, MST_DATA_LOSS, "%s: example %zu has a NaN or Inf among its labels or weights", file,
                            i / width);
    }
    return MST_OK;
}

static mst_status read_weights(struct mst_dataset *dataset, struct mst_error *err)
{
    struct mst_idx *idx;
    void *data = NULL;
    MST_TRY(mst_idx_open(dataset->weights_file, &idx, err));
    mst_status status = check_count(dataset, dataset->weights_file, idx, "sample weights", err);
    if (status == MST_OK && mst_idx_rank(idx) != 1)
        status = mst_fail(err, MST_DATA_LOSS, "%s has %zu dimensions; sample weights are a list, 1 dimension",
                          dataset->weights_file, mst_idx_rank(idx));
    if (status == MST_OK)
        status = decode(idx, dataset->weights_file, false, &data, err);
    dataset->weights = data;
    mst_idx_free(idx);
    return status == MST_OK ? check_finite(data, dataset->n_examples, 1, dataset->weights_file, err) : status;
}

static mst_status open_idx(struct mst_dataset *dataset, struct mst_error *err)
{
    for (size_t i = 0; i < dataset->n_inputs; i++) {
        struct input *input = &dataset->inputs[i];
        MST_TRY(open_input(input, err));
        if (i == 0)
            dataset->n_examples = mst_idx_dim(input->idx, 0);
        MST_TRY(check_count(dataset, input->view.file, input->idx, "examples", err));
    }
    for (size_t i = 0; i < dataset->n_outputs; i++) {
        struct mst_dataset_output *output = &dataset->outputs[i];
        if (!output->file)
            continue;
        MST_TRY(read_output(dataset, output, err));
        MST_TRY(check_finite(output->values, dataset->n_examples, output->width, output->file, err));
    }
    return dataset->weights_file ? read_weights(dataset, err) : MST_OK;
}

// ---- CSV ----

static void take_inputs(struct mst_dataset *dataset, struct mst_csv_table *table)
{
    for (size_t i = 0; i < dataset->n_inputs; i++) {
        struct mst_csv_array *array = &table->arrays[i];
        struct mst_dataset_input *view = &dataset->inputs[i].view;
        view->dtype = MST_DTYPE_F32;
        view->shape = (struct mst_shape){.rank = 1, .dims = {array->n_columns}};
        view->example_bytes = array->n_columns * sizeof(float);
        view->data = array->values;
        array->values = NULL;
    }
}

static void take_outputs(struct mst_dataset *dataset, struct mst_csv_table *table)
{
    for (size_t i = 0; i < dataset->n_outputs; i++) {
        struct mst_csv_array *array = &table->arrays[dataset->n_inputs + i];
        struct mst_dataset_output *output = &dataset->outputs[i];
        output->width = array->n_columns;
        output->labels = array->labels;
        output->values = array->values;
        array->labels = NULL;
        array->values = NULL;
    }
}

static mst_status open_csv(struct mst_dataset *dataset, const struct mst_dataset_source *source, struct mst_error *err)
{
    size_t n = 0;
    struct mst_csv_group *groups = mst_alloc_array(source->n_inputs + source->n_outputs + 1, sizeof *groups);
    for (size_t i = 0; i < source->n_inputs; i++)
        groups[n++] =
            (struct mst_csv_group){MST_CSV_FEATURES, source->inputs[i].columns, source->inputs[i].n_columns, false};
    for (size_t i = 0; i < source->n_outputs; i++)
        groups[n++] = (struct mst_csv_group){MST_CSV_TARGETS, source->outputs[i].columns, source->outputs[i].n_columns,
                                             source->outputs_are_optional};
    if (source->weights)
        groups[n++] = (struct mst_csv_group){MST_CSV_WEIGHTS, &source->weights, 1, source->outputs_are_optional};
    struct mst_csv_table table;
    mst_status status = mst_csv_read(source->file, &source->csv, groups, n, &table, err);
    free(groups);
    if (status != MST_OK)
        return status;
    dataset->n_examples = table.n_rows;
    take_inputs(dataset, &table);
    if (source->weights) {
        dataset->weights = table.arrays[n - 1].values;
        table.arrays[n - 1].values = NULL;
    }
    take_outputs(dataset, &table);
    mst_csv_table_fini(&table);
    dataset->was_tried = true;
    atomic_store_explicit(&dataset->is_loaded, true, memory_order_release);
    return MST_OK;
}

// ---- both ----

static mst_status check_source(const struct mst_dataset_source *source, bool is_csv, struct mst_error *err)
{
    if (!is_csv && (!source->format || strcmp(source->format, "idx") != 0))
        return mst_fail(err, MST_UNIMPLEMENTED, "data format \"%s\" is not there; there are idx and csv",
                        source->format ? source->format : "");
    if (source->n_inputs < 1 || source->n_inputs > MST_DATASET_PARTS_MAX || source->n_outputs > MST_DATASET_PARTS_MAX)
        return mst_fail(err, MST_INVALID_ARGUMENT, "data of %zu inputs and %zu outputs; there must be 1 to %d inputs",
                        source->n_inputs, source->n_outputs, MST_DATASET_PARTS_MAX);
    for (size_t i = 0; i < source->n_inputs; i++) {
        const char *file = is_csv ? source->file : source->inputs[i].path;
        if (!file || !*file)
            return mst_fail(err, MST_INVALID_ARGUMENT, "data without a features file; give its path");
    }
    return MST_OK;
}

static char *copy(const char *text)
{
    return text ? mst_strdup(text) : NULL;
}

mst_status mst_dataset_open(const struct mst_dataset_source *source, struct mst_dataset **out, struct mst_error *err)
{
    *out = NULL;
    bool is_csv = source->format && strcmp(source->format, "csv") == 0;
    MST_TRY(check_source(source, is_csv, err));
    struct mst_dataset *dataset = mst_alloc(sizeof *dataset);
    pthread_mutex_init(&dataset->lock, NULL);
    dataset->n_inputs = source->n_inputs;
    dataset->n_outputs = source->n_outputs;
    dataset->inputs = mst_alloc_array(source->n_inputs, sizeof *dataset->inputs);
    dataset->outputs = mst_alloc_array(source->n_outputs + 1, sizeof *dataset->outputs);
    for (size_t i = 0; i < source->n_inputs; i++) {
        dataset->inputs[i].view.name = copy(source->inputs[i].name);
        dataset->inputs[i].view.file = copy(is_csv ? source->file : source->inputs[i].path);
    }
    for (size_t i = 0; i < source->n_outputs; i++) {
        dataset->outputs[i].name = copy(source->outputs[i].name);
        dataset->outputs[i].file = copy(is_csv ? source->file : source->outputs[i].path);
    }
    dataset->weights_file = copy(is_csv && source->weights ? source->file : source->weights);
    mst_status status = is_csv ? open_csv(dataset, source, err) : open_idx(dataset, err);
    if (status != MST_OK) {
        mst_dataset_free(dataset);
        return status;
    }
    dataset->dtypes = mst_alloc_array(dataset->n_inputs, sizeof *dataset->dtypes);
    for (size_t i = 0; i < dataset->n_inputs; i++)
        dataset->dtypes[i] = dataset->inputs[i].view.dtype;
    *out = dataset;
    return MST_OK;
}

void mst_dataset_free(struct mst_dataset *dataset)
{
    if (!dataset)
        return;
    for (size_t i = 0; i < dataset->n_inputs; i++) {
        struct input *input = &dataset->inputs[i];
        mst_idx_free(input->idx);
        if (input->mapping)
            munmap(input->mapping, input->bytes);
        else
            free((void *)input->view.data);
        free((char *)input->view.name);
        free((char *)input->view.file);
    }
    for (size_t i = 0; i < dataset->n_outputs; i++) {
        free((char *)dataset->outputs[i].name);
        free((char *)dataset->outputs[i].file);
        free((int32_t *)dataset->outputs[i].labels);
        free((float *)dataset->outputs[i].values);
    }
    pthread_mutex_destroy(&dataset->lock);
    free(dataset->inputs);
    free(dataset->dtypes);
    free(dataset->outputs);
    free(dataset->weights);
    free(dataset->weights_file);
    free(dataset);
}

static mst_status load_input(struct input *input, struct mst_error *err)
{
    void *mapping = mmap(NULL, input->bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (mapping == MAP_FAILED)
        return mst_fail(err, MST_RESOURCE_EXHAUSTED, "no memory for the %zu bytes of %s", input->bytes,
                        input->view.file);
    input->mapping = mapping;
    // Random rows of tens of megabytes miss the TLB with small pages; a refusal changes nothing else.
    if (input->bytes >= 2 * LARGE_PAGE_BYTES)
        (void)madvise(mapping, input->bytes, MADV_HUGEPAGE);
    return mst_idx_read(input->idx, mapping, err);
}

static mst_status load_locked(struct mst_dataset *dataset, struct mst_error *err)
{
    mst_status status = MST_OK;
    for (size_t i = 0; i < dataset->n_inputs; i++) {
        struct input *input = &dataset->inputs[i];
        if (status == MST_OK)
            status = load_input(input, err);
        mst_idx_free(input->idx);
        input->idx = NULL;
    }
    for (size_t i = 0; status == MST_OK && i < dataset->n_inputs; i++)
        dataset->inputs[i].view.data = dataset->inputs[i].mapping;
    return status;
}

mst_status mst_dataset_load(struct mst_dataset *dataset, struct mst_error *err)
{
    if (atomic_load_explicit(&dataset->is_loaded, memory_order_acquire))
        return MST_OK;
    pthread_mutex_lock(&dataset->lock);
    if (!dataset->was_tried) {
        dataset->was_tried = true;
        dataset->load_status = load_locked(dataset, &dataset->load_error);
        if (dataset->load_status == MST_OK)
            atomic_store_explicit(&dataset->is_loaded, true, memory_order_release);
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

size_t mst_dataset_n_inputs(const struct mst_dataset *dataset)
{
    return dataset->n_inputs;
}

const struct mst_dataset_input *mst_dataset_input(const struct mst_dataset *dataset, size_t i)
{
    MST_ASSERT(i < dataset->n_inputs);
    return &dataset->inputs[i].view;
}

const enum mst_dtype *mst_dataset_input_dtypes(const struct mst_dataset *dataset)
{
    return dataset->dtypes;
}

size_t mst_dataset_n_outputs(const struct mst_dataset *dataset)
{
    return dataset->n_outputs;
}

const struct mst_dataset_output *mst_dataset_output(const struct mst_dataset *dataset, size_t i)
{
    MST_ASSERT(i < dataset->n_outputs);
    return &dataset->outputs[i];
}

const float *mst_dataset_weights(const struct mst_dataset *dataset)
{
    return dataset->weights;
}

static mst_status fail_values(const struct mst_dataset_output *output, size_t n_examples, size_t n_classes,
                              struct mst_error *err)
{
    if (output->width > 1)
        return mst_fail(err, MST_INVALID_ARGUMENT,
                        "%s: the labels are %zu values an example, and the loss takes one class of %zu", output->file,
                        output->width, n_classes);
    size_t i = 0;
    while (i + 1 < n_examples && output->values[i] == floorf(output->values[i]))
        i++;
    return mst_fail(err, MST_INVALID_ARGUMENT,
                    "%s: the label of example %zu is %g, and the loss takes classes: integers from 0 to %zu",
                    output->file, i, (double)output->values[i], n_classes - 1);
}

mst_status mst_dataset_check_labels(const struct mst_dataset *dataset, size_t output, size_t n_classes,
                                    struct mst_error *err)
{
    if (output >= dataset->n_outputs || dataset->outputs[output].width == 0)
        return mst_fail(err, MST_FAILED_PRECONDITION,
                        "%s comes without labels; give data.labels (idx) or data.label (csv)",
                        dataset->inputs[0].view.file);
    const struct mst_dataset_output *of = &dataset->outputs[output];
    if (!of->labels)
        return fail_values(of, dataset->n_examples, n_classes, err);
    for (size_t i = 0; i < dataset->n_examples; i++) {
        if (of->labels[i] < 0 || (size_t)of->labels[i] >= n_classes)
            return mst_fail(
                err, MST_OUT_OF_RANGE,
                "%s: the label of example %zu is %d, outside 0 to %zu: the model has %zu classes, counted from 0",
                of->file, i, (int)of->labels[i], n_classes - 1, n_classes);
    }
    return MST_OK;
}

size_t mst_dataset_n_batches(const struct mst_dataset *dataset, size_t batch_size)
{
    MST_ASSERT(batch_size > 0);
    return (dataset->n_examples + batch_size - 1) / batch_size;
}
