// A model as Keras prints it: any text up to a NUL; what follows is the job's compile. What is accepted has variables
// with names and sizes, and a canonical text.
#include "base/alloc.h"
#include "base/bytes.h"
#include "base/error.h"
#include "model/compile.h"
#include "model/model.h"
#include "muster/status.h"

#include <jansson.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_model(const struct mst_model *model)
{
    uint64_t n_parameters = 0;
    MST_ASSERT(mst_model_n_variables(model) > 0 && mst_model_n_layers(model) > 0);
    for (size_t i = 0; i < mst_model_n_variables(model); i++) {
        const struct mst_variable *variable = mst_model_variable(model, i);
        size_t n;
        MST_ASSERT(mst_shape_count(&variable->shape, &n) == MST_OK && n == variable->n_elements && n > 0);
        MST_ASSERT(strchr(variable->name, '/') && variable->layer < mst_model_n_layers(model));
        n_parameters += n;
    }
    MST_ASSERT(n_parameters == mst_model_n_parameters(model));
    MST_ASSERT(n_parameters <= MST_MODEL_MAX_VARIABLE_BYTES / sizeof(float));
    char *text = mst_model_canonical_json(model);
    MST_ASSERT(text[0] == '{');
    free(text);
}

// Measures have names of their own and, where nothing was measured, values.
static void check_measures(const struct mst_compile *compile)
{
    MST_ASSERT(mst_compile_n_sums(compile) <= MST_COMPILE_MAX_SUMS);
    double *sums = mst_alloc_array(mst_compile_n_sums(compile), sizeof *sums);
    for (size_t i = 0; i < mst_compile_n_measures(compile); i++) {
        (void)mst_measure_value(compile, i, sums);
        for (size_t k = 0; k < i; k++)
            MST_ASSERT(strcmp(mst_measure_name(compile, i), mst_measure_name(compile, k)) != 0);
    }
    free(sums);
}

static void read_compile(const struct mst_model *model, const uint8_t *data, size_t size)
{
    struct mst_compile compile;
    struct mst_error err = {""};
    json_t *json = json_loadb((const char *)data, size, JSON_REJECT_DUPLICATES, NULL);
    if (json && mst_compile_parse(json, "compile", model, &compile, &err) != MST_OK)
        MST_ASSERT(err.text[0] != '\0');
    else if (json)
        check_measures(&compile);
    if (json &&
        mst_compile_set_class_weights(&compile, json_object_get(json, "class_weight"), "class_weight", &err) == MST_OK)
        (void)mst_compile_class_weight(&compile, 1);
    json_decref(json);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *nul = size > 0 ? memchr(data, 0, size) : NULL;
    size_t len = nul ? (size_t)(nul - data) : size;
    struct mst_model *model;
    struct mst_error err = {""};
    mst_status status = mst_model_parse((struct mst_bytes){data, len}, "model.json", &model, &err);
    MST_ASSERT((status == MST_OK) == (model != NULL));
    MST_ASSERT((status == MST_OK) == (err.text[0] == '\0'));
    if (status == MST_OK) {
        check_model(model);
        if (nul)
            read_compile(model, nul + 1, size - len - 1);
    }
    mst_model_free(model);
    return 0;
}
