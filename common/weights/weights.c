#include "weights/weights.h"

#include "base/alloc.h"
#include "base/error.h"
#include "ckpt/model_dir.h"
#include "tfio/bundle_reader.h"

#include <stdlib.h>

void mst_weights_free(struct mst_weights *weights)
{
    if (!weights)
        return;
    for (size_t v = 0; v < weights->n; v++)
        free(weights->values[v]);
    free(weights->values);
    free(weights);
}

static mst_status read_variable(const struct mst_bundle *bundle, const struct mst_variable *variable, float **out,
                                struct mst_error *err)
{
    const struct mst_bundle_entry *entry;
    MST_TRY(mst_bundle_find_float(bundle, variable->name, &variable->shape, &entry, err));
    size_t bytes = variable->n_elements * sizeof(float);
    void *memory;
    if (mst_try_alloc(bytes, &memory) != MST_OK)
        return mst_fail(err, MST_RESOURCE_EXHAUSTED, "no memory for the %zu bytes of %s", bytes, variable->name);
    *out = memory;
    return mst_bundle_read(bundle, entry, memory, bytes, err);
}

mst_status mst_weights_read(const struct mst_model *model, const char *prefix, struct mst_weights **out,
                            struct mst_error *err)
{
    *out = NULL;
    struct mst_bundle *bundle;
    MST_TRY(mst_bundle_open(prefix, &bundle, err));
    struct mst_weights *weights = mst_alloc(sizeof *weights);
    weights->n = mst_model_n_variables(model);
    weights->values = mst_alloc_array(weights->n, sizeof *weights->values);
    mst_status status = MST_OK;
    for (size_t v = 0; v < weights->n && status == MST_OK; v++)
        status = read_variable(bundle, mst_model_variable(model, v), &weights->values[v], err);
    mst_bundle_free(bundle);
    if (status != MST_OK) {
        mst_weights_free(weights);
        return mst_fail_prefix(err, status, "%s", prefix);
    }
    *out = weights;
    return MST_OK;
}

mst_status mst_weights_write_dir(const struct mst_model *model, const struct mst_weights *weights,
                                 struct mst_bytes model_json, const char *dir, struct mst_error *err)
{
    struct mst_checkpoint_value *values = mst_alloc_array(weights->n, sizeof *values);
    for (size_t v = 0; v < weights->n; v++) {
        const struct mst_variable *variable = mst_model_variable(model, v);
        values[v] = (struct mst_checkpoint_value){
            .tensor = {.name = variable->name, .type = MST_TF_FLOAT, .shape = variable->shape},
            .data = weights->values[v]};
    }
    mst_status status = mst_model_dir_write(dir, model_json, values, weights->n, err);
    free(values);
    return status;
}
