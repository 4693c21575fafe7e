#include "weights/weights.h"

#include "base/alloc.h"
#include "base/error.h"
#include "ckpt/model_dir.h"
#include "keras/archive.h"
#include "places.h"
#include "source.h"
#include "tf_names.h"
#include "tfio/bundle_reader.h"

#include <jansson.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void mst_weights_free(struct mst_weights *weights)
{
    if (!weights)
        return;
    for (size_t v = 0; weights->archive == NULL && v < weights->n; v++)
        free(weights->values[v]);
    mst_keras_archive_free(weights->archive);
    free(weights->values);
    free(weights);
}

static struct mst_weights *new_weights(const struct mst_model *model)
{
    struct mst_weights *weights = mst_alloc(sizeof *weights);
    weights->n = mst_model_n_variables(model);
    weights->values = mst_alloc_array(weights->n + 1, sizeof *weights->values);
    return weights;
}

static mst_status read_entry(const struct mst_bundle *bundle, const struct mst_bundle_entry *entry, float **out,
                             struct mst_error *err)
{
    size_t bytes = (size_t)entry->size_bytes;
    void *memory;
    if (mst_try_alloc(bytes, &memory) != MST_OK)
        return mst_fail(err, MST_RESOURCE_EXHAUSTED, "no memory for the %zu bytes of %s", bytes, entry->name);
    *out = memory;
    return mst_bundle_read(bundle, entry, memory, bytes, err);
}

// As Keras 2 counts the examples that a Normalization was adapted to.
static mst_status read_count(const struct mst_bundle *bundle, const struct mst_bundle_entry *entry, float **out,
                             struct mst_error *err)
{
    int64_t count;
    *out = mst_alloc_aligned(sizeof **out);
    MST_TRY(mst_bundle_read(bundle, entry, &count, sizeof count, err));
    **out = (float)count;
    return MST_OK;
}

mst_status mst_weights_read(const struct mst_model *model, const char *prefix, struct mst_weights **out,
                            struct mst_error *err)
{
    *out = NULL;
    struct mst_bundle *bundle;
    MST_TRY(mst_bundle_open(prefix, &bundle, err));
    struct mst_weights *weights = new_weights(model);
    mst_status status = MST_OK;
    for (size_t v = 0; v < weights->n && status == MST_OK; v++) {
        const struct mst_variable *variable = mst_model_variable(model, v);
        const struct mst_bundle_entry *entry;
        status = mst_bundle_find_float(bundle, variable->name, &variable->shape, &entry, err);
        if (status == MST_OK)
            status = read_entry(bundle, entry, &weights->values[v], err);
    }
    mst_bundle_free(bundle);
    if (status != MST_OK) {
        mst_weights_free(weights);
        return mst_fail_prefix(err, status, "%s", prefix);
    }
    *out = weights;
    return MST_OK;
}

// ---- from anything ----

static mst_status load_bundle(const struct mst_weights_source *source, const char *prefix,
                              const struct mst_places *places, struct mst_weights *weights, struct mst_error *err)
{
    struct mst_bundle *bundle;
    struct mst_tf_names *names = NULL;
    MST_TRY(mst_bundle_open(prefix, &bundle, err)); // it names its files itself
    mst_status status = mst_tf_names_new(bundle, &names, err);
    for (size_t v = 0; v < weights->n && status == MST_OK; v++) {
        const struct mst_bundle_entry *entry;
        status = mst_tf_names_find(names, source->model, mst_model_variable(source->model, v), &places->items[v],
                                   &entry, err);
        if (status == MST_OK && entry->type == MST_TF_INT64)
            status = read_count(bundle, entry, &weights->values[v], err);
        else if (status == MST_OK)
            status = read_entry(bundle, entry, &weights->values[v], err);
    }
    mst_tf_names_free(names);
    mst_bundle_free(bundle);
    return status == MST_OK ? MST_OK : mst_fail_prefix(err, status, "%s", prefix);
}

static void describe_array(const struct mst_model *model, const struct mst_places *places, size_t v,
                           struct mst_keras_array *out)
{
    *out = (struct mst_keras_array){.path = places->items[v].archive,
                                    .layer = places->items[v].layer,
                                    .shape = mst_model_variable(model, v)->shape};
}

static mst_status load_archive(const struct mst_weights_source *source, const struct mst_places *places,
                               struct mst_weights *weights, struct mst_error *err)
{
    struct mst_keras_array *arrays = mst_alloc_array(weights->n + 1, sizeof *arrays);
    for (size_t v = 0; v < weights->n; v++)
        describe_array(source->model, places, v, &arrays[v]);
    mst_status status = mst_keras_read_arrays(source->path, arrays, weights->n, &weights->archive, err);
    // What an archive holds is only read, also where a caller could write.
    for (size_t v = 0; status == MST_OK && v < weights->n; v++)
        weights->values[v] = (float *)mst_keras_archive_values(weights->archive, v);
    free(arrays);
    return status;
}

mst_status mst_weights_load(const struct mst_weights_source *source, struct mst_weights **out, struct mst_error *err)
{
    *out = NULL;
    struct mst_places *places;
    char *prefix = NULL;
    MST_TRY(mst_places_new(source->model, source->model_json, &places, err));
    struct mst_weights *weights = new_weights(source->model);
    mst_status status = MST_OK;
    if (mst_keras_is_archive(source->path)) {
        status = load_archive(source, places, weights, err);
    } else {
        status = mst_weights_find_prefix(source->path, &prefix, err);
        if (status == MST_OK)
            status = load_bundle(source, prefix, places, weights, err);
    }
    free(prefix);
    mst_places_free(places);
    if (status != MST_OK) {
        mst_weights_free(weights);
        return status;
    }
    *out = weights;
    return MST_OK;
}

static bool has_model_dir(const char *path)
{
    char *file = mst_text("%s/model/model.json", path);
    bool has = access(file, F_OK) == 0;
    free(file);
    return has;
}

static mst_status read_json(const char *path, struct mst_buf *model_json, char **file_out, struct mst_error *err)
{
    if (mst_keras_is_archive(path)) {
        *file_out = mst_strdup(path);
        return mst_keras_read_config(path, model_json, err);
    }
    struct mst_bundle *bundle;
    *file_out = mst_text("%s/model.json", path);
    mst_status status = mst_model_dir_open(path, model_json, &bundle, err);
    mst_bundle_free(bundle);
    if (status == MST_NOT_FOUND && has_model_dir(path))
        return mst_fail(err, status, "%s is the output of a job and no model directory: give %s/model", path, path);
    if (status == MST_NOT_FOUND)
        return mst_fail_prefix(err, status, "%s is not a model directory, which has model.json and weights.*", path);
    return status;
}

mst_status mst_weights_open_model(const char *path, struct mst_buf *model_json, struct mst_model **model_out,
                                  struct mst_weights **out, struct mst_error *err)
{
    char *file;
    *model_out = NULL;
    *out = NULL;
    mst_status status = read_json(path, model_json, &file, err);
    if (status == MST_OK)
        status = mst_model_parse(mst_buf_view(model_json), file, model_out, err);
    free(file);
    if (status != MST_OK)
        return status;
    struct mst_weights_source source = {.model = *model_out, .model_json = mst_buf_view(model_json), .path = path};
    status = mst_weights_load(&source, out, err);
    if (status != MST_OK) {
        mst_model_free(*model_out);
        *model_out = NULL;
    }
    return status;
}

// ---- to files ----

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

// New text of an archive's config.json. What to_json() of Keras 2 prints does not say whose class the model is, and its
// load_model asks for that; a Model of layers becomes the Functional that it was.
static char *archive_config(struct mst_bytes model_json)
{
    json_t *json = json_loadb(model_json.data, model_json.len, 0, NULL);
    char *text = NULL;
    if (json_is_object(json) && !json_object_get(json, "module")) {
        const char *class_name = json_string_value(json_object_get(json, "class_name"));
        if (class_name && strcmp(class_name, "Functional") == 0)
            json_object_set_new(json, "class_name", json_string("Model"));
        json_object_set_new(json, "module", json_string("keras"));
        json_object_set_new(json, "registered_name", json_null());
        text = json_dumps(json, JSON_COMPACT | JSON_REAL_PRECISION(17));
    }
    json_decref(json);
    return text ? text : mst_text("%.*s", (int)model_json.len, (const char *)model_json.data);
}

mst_status mst_weights_write_archive(const struct mst_model *model, const struct mst_weights *weights,
                                     struct mst_bytes model_json, const char *file, struct mst_error *err)
{
    struct mst_places *places;
    MST_TRY(mst_places_new(model, model_json, &places, err));
    struct mst_keras_array *arrays = mst_alloc_array(weights->n + 1, sizeof *arrays);
    for (size_t v = 0; v < weights->n; v++) {
        describe_array(model, places, v, &arrays[v]);
        arrays[v].values = weights->values[v];
    }
    char *config = archive_config(model_json);
    mst_status status = mst_keras_write(file, (struct mst_bytes){config, strlen(config)}, arrays, weights->n, err);
    free(config);
    free(arrays);
    mst_places_free(places);
    return status;
}
