// The model's JSON is walked once more, for only the order and the classes of the layers say where their weights are.
#include "places.h"

#include "base/alloc.h"
#include "base/error.h"

#include <ctype.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

// A model among models: what the names and places of its layers begin with.
struct scope {
    const json_t *layers;
    const char *names;      // "tower/"
    const char *archive;    // "layers/sequential/layers/"
    const char *checkpoint; // "layer_with_weights-0/"
};

struct walk {
    const struct mst_model *model;
    struct mst_places *places;
};

// How often a class was seen in a scope: its second layer is `dense_1`.
static size_t count_class(const struct scope *scope, size_t until, const char *class_name)
{
    size_t n = 0;
    for (size_t i = 0; i < until; i++) {
        const char *other = json_string_value(json_object_get(json_array_get(scope->layers, i), "class_name"));
        n += other != NULL && strcmp(other, class_name) == 0;
    }
    return n;
}

static bool is_upper(char c)
{
    return isupper((unsigned char)c) != 0;
}

static bool is_lower(char c)
{
    return islower((unsigned char)c) != 0;
}

static char to_lower(char c)
{
    return is_upper(c) ? (char)(c - 'A' + 'a') : c;
}

// BatchNormalization, PReLU → batch_normalization, p_re_lu: Keras splits first before a capital that small letters
// follow (whose word it then skips), and then between a small letter and a capital.
static char *snake_case(const char *name)
{
    size_t len = strlen(name);
    char *split = mst_alloc(2 * len + 1);
    char *out = mst_alloc(4 * len + 1);
    size_t n = 0;
    for (size_t i = 0; i < len;) {
        split[n++] = name[i++];
        if (i + 1 >= len || !is_upper(name[i]) || !is_lower(name[i + 1]))
            continue;
        split[n++] = '_';
        split[n++] = name[i++];
        while (i < len && is_lower(name[i]))
            split[n++] = name[i++];
    }
    size_t m = 0;
    for (size_t i = 0; i < n; i++) {
        if (i > 0 && is_lower(split[i - 1]) && is_upper(split[i]))
            out[m++] = '_';
        out[m++] = to_lower(split[i]);
    }
    free(split);
    return out;
}

// What a variable's name has after the path of this layer, or NULL if it is not under it.
static const char *under(const char *name, const char *path)
{
    size_t len = strlen(path);
    return strncmp(name, path, len) == 0 && name[len] == '/' ? name + len + 1 : NULL;
}

static bool has_weights(const struct mst_model *model, const char *path)
{
    for (size_t v = 0; v < mst_model_n_variables(model); v++)
        if (under(mst_model_variable(model, v)->name, path) != NULL)
            return true;
    return false;
}

// The weights of a layer, in the order of the model's variables, which is Keras's.
static void place_weights(struct walk *walk, const char *path, const struct scope *at)
{
    size_t n = 0;
    for (size_t v = 0; v < walk->places->n; v++) {
        const char *suffix = under(mst_model_variable(walk->model, v)->name, path);
        struct mst_place *place = &walk->places->items[v];
        // A layer that several models share is kept with the first.
        if (suffix == NULL || place->archive != NULL)
            continue;
        place->archive = mst_text("%svars/%zu", at->archive, n++);
        place->checkpoint = mst_text("%s%s", at->checkpoint, suffix);
        place->layer = mst_strdup(path);
    }
}

static mst_status walk_layers(struct walk *walk, const struct scope *scope, struct mst_error *err);

static mst_status walk_layer(struct walk *walk, const struct scope *scope, size_t i, size_t *n_weighted,
                             struct mst_error *err)
{
    const json_t *layer = json_array_get(scope->layers, i);
    const json_t *config = json_object_get(layer, "config");
    const char *class_name = json_string_value(json_object_get(layer, "class_name"));
    const char *name = json_string_value(json_object_get(config, "name"));
    const json_t *layers = json_object_get(config, "layers");
    if (class_name == NULL || name == NULL)
        return mst_fail(err, MST_INVALID_ARGUMENT, "layer %zu of '%s' has no class_name or name", i, scope->names);
    char *path = mst_text("%s%s", scope->names, name);
    char *names = mst_text("%s/", path);
    char *snake = snake_case(class_name);
    size_t k = count_class(scope, i, class_name);
    const char *inner = json_is_array(layers) ? "layers/" : "";
    char *archive = k > 0 ? mst_text("%s%s_%zu/%s", scope->archive, snake, k, inner)
                          : mst_text("%s%s/%s", scope->archive, snake, inner);
    char *checkpoint = mst_text("%slayer_with_weights-%zu/", scope->checkpoint, *n_weighted);
    struct scope own = {.layers = layers, .names = names, .archive = archive, .checkpoint = checkpoint};
    mst_status status = MST_OK;
    if (has_weights(walk->model, path)) {
        ++*n_weighted;
        if (json_is_array(layers))
            status = walk_layers(walk, &own, err);
        else
            place_weights(walk, path, &own);
    }
    free(checkpoint);
    free(archive);
    free(snake);
    free(names);
    free(path);
    return status;
}

// As deep as models are nested, which parsing the model has limited.
static mst_status walk_layers(struct walk *walk, const struct scope *scope,
                              struct mst_error *err) // NOLINT(misc-no-recursion): see above
{
    size_t n_weighted = 0;
    for (size_t i = 0; i < json_array_size(scope->layers); i++)
        MST_TRY(walk_layer(walk, scope, i, &n_weighted, err));
    return MST_OK;
}

static mst_status check_all(const struct walk *walk, struct mst_error *err)
{
    for (size_t v = 0; v < walk->places->n; v++)
        if (walk->places->items[v].archive == NULL)
            return mst_fail(err, MST_INVALID_ARGUMENT, "the model's JSON has no layer for its variable '%s'",
                            mst_model_variable(walk->model, v)->name);
    return MST_OK;
}

mst_status mst_places_new(const struct mst_model *model, struct mst_bytes json, struct mst_places **out,
                          struct mst_error *err)
{
    *out = NULL;
    json_t *root = json_loadb(json.data, json.len, 0, NULL);
    struct scope scope = {.layers = json_object_get(json_object_get(root, "config"), "layers"),
                          .names = "",
                          .archive = "layers/",
                          .checkpoint = ""};
    struct mst_places *places = mst_alloc(sizeof *places);
    places->n = mst_model_n_variables(model);
    places->items = mst_alloc_array(places->n + 1, sizeof *places->items);
    struct walk walk = {.model = model, .places = places};
    mst_status status = walk_layers(&walk, &scope, err);
    if (status == MST_OK)
        status = check_all(&walk, err);
    json_decref(root);
    if (status != MST_OK) {
        mst_places_free(places);
        return status;
    }
    *out = places;
    return MST_OK;
}

void mst_places_free(struct mst_places *places)
{
    if (places == NULL)
        return;
    for (size_t v = 0; v < places->n; v++) {
        free(places->items[v].archive);
        free(places->items[v].checkpoint);
        free(places->items[v].layer);
    }
    free(places->items);
    free(places);
}
