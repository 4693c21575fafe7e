#include "tf_names.h"

#include "base/alloc.h"
#include "base/error.h"
#include "ckpt/object_graph.h"

#include <stdlib.h>
#include <string.h>

#define VALUE_SUFFIX "/.ATTRIBUTES/VARIABLE_VALUE"

// A variable of the object graph; full_name without ":0".
struct named {
    char *full_name;
    const struct mst_bundle_entry *entry;
};

struct mst_tf_names {
    const struct mst_bundle *bundle;
    struct named *items;
    size_t n;
    size_t capacity;
};

static bool is_of_optimizer(const char *key)
{
    return strstr(key, "optimizer/") != NULL && strstr(key, "/_trainable_variables/") == NULL;
}

static void on_variable(void *context, struct mst_bytes full_name, struct mst_bytes key)
{
    struct mst_tf_names *names = context;
    char *name = mst_text("%.*s", (int)key.len, (const char *)key.data);
    const struct mst_bundle_entry *entry = mst_bundle_find(names->bundle, name);
    if (entry != NULL && !is_of_optimizer(name)) {
        if (names->n == names->capacity) {
            names->capacity = names->capacity > 0 ? 2 * names->capacity : 64;
            names->items = mst_realloc_array(names->items, names->capacity, sizeof *names->items);
        }
        char *full = mst_text("%.*s", (int)full_name.len, (const char *)full_name.data);
        char *colon = strrchr(full, ':');
        if (colon != NULL)
            *colon = '\0';
        names->items[names->n++] = (struct named){.full_name = full, .entry = entry};
    }
    free(name);
}

mst_status mst_tf_names_new(const struct mst_bundle *bundle, struct mst_tf_names **out, struct mst_error *err)
{
    *out = NULL;
    struct mst_tf_names *names = mst_alloc(sizeof *names);
    names->bundle = bundle;
    const struct mst_bundle_entry *entry = mst_bundle_find(bundle, MST_OBJECT_GRAPH_NAME);
    mst_status status = MST_OK;
    if (entry != NULL) {
        struct mst_buf graph = {0};
        status = mst_bundle_read_text(bundle, entry, &graph, err);
        if (status == MST_OK && mst_object_graph_each(mst_buf_view(&graph), on_variable, names) != MST_OK)
            status = mst_fail(err, MST_DATA_LOSS, "its " MST_OBJECT_GRAPH_NAME " cannot be read");
        mst_buf_fini(&graph);
    }
    if (status != MST_OK) {
        mst_tf_names_free(names);
        return status;
    }
    *out = names;
    return MST_OK;
}

void mst_tf_names_free(struct mst_tf_names *names)
{
    if (names == NULL)
        return;
    for (size_t i = 0; i < names->n; i++)
        free(names->items[i].full_name);
    free(names->items);
    free(names);
}

static bool fits(const struct mst_bundle_entry *entry, const struct mst_variable *variable)
{
    bool is_count = entry->type == MST_TF_INT64 && entry->shape.rank == 0;
    return (entry->type == MST_TF_FLOAT || is_count) && mst_shape_equal(&entry->shape, &variable->shape);
}

static const struct mst_bundle_entry *by_full_name(const struct mst_tf_names *names,
                                                   const struct mst_variable *variable, const char *wanted)
{
    const struct mst_bundle_entry *found = NULL;
    for (size_t i = 0; i < names->n; i++) {
        if (strcmp(names->items[i].full_name, wanted) != 0 || !fits(names->items[i].entry, variable))
            continue;
        if (found != NULL)
            return NULL;
        found = names->items[i].entry;
    }
    return found;
}

static bool ends_at_a_slash(const char *text, const char *end)
{
    size_t len = strlen(text);
    size_t end_len = strlen(end);
    if (len < end_len || strcmp(text + (len - end_len), end) != 0)
        return false;
    return len == end_len || text[len - end_len - 1] == '/';
}

static const struct mst_bundle_entry *by_place(const struct mst_tf_names *names, const struct mst_variable *variable,
                                               const struct mst_place *place)
{
    const struct mst_bundle_entry *found = NULL;
    char *wanted = mst_text("%s" VALUE_SUFFIX, place->checkpoint);
    bool is_one = true;
    for (size_t i = 0; i < mst_bundle_n_entries(names->bundle); i++) {
        const struct mst_bundle_entry *entry = mst_bundle_entry_at(names->bundle, i);
        // Of a model within the model, too, `layer_with_weights-0/kernel` may end a key: the shortest is meant.
        if (!ends_at_a_slash(entry->name, wanted) || !fits(entry, variable) || is_of_optimizer(entry->name))
            continue;
        if (found == NULL || strlen(entry->name) < strlen(found->name)) {
            found = entry;
            is_one = true;
        } else if (strlen(entry->name) == strlen(found->name)) {
            is_one = false;
        }
    }
    free(wanted);
    return is_one ? found : NULL;
}

// Of a layer in nested models Keras 3 may know no more than its own name: "dense/kernel" for "inner/dense/kernel".
static const struct mst_bundle_entry *by_own_name(const struct mst_tf_names *names, const struct mst_variable *variable)
{
    const char *last = strrchr(variable->name, '/');
    const char *layer = last;
    while (layer != NULL && layer > variable->name && layer[-1] != '/')
        layer--;
    return layer != NULL && layer > variable->name ? by_full_name(names, variable, layer) : NULL;
}

mst_status mst_tf_names_find(const struct mst_tf_names *names, const struct mst_model *model,
                             const struct mst_variable *variable, const struct mst_place *place,
                             const struct mst_bundle_entry **out, struct mst_error *err)
{
    *out = mst_bundle_find(names->bundle, variable->name);
    if (*out != NULL) // whatever it is, it is meant: another shape is an error
        return mst_bundle_find_float(names->bundle, variable->name, &variable->shape, out, err);
    *out = by_full_name(names, variable, variable->name);
    if (*out == NULL) {
        char *with_model = mst_text("%s/%s", mst_model_name(model), variable->name);
        *out = by_full_name(names, variable, with_model);
        free(with_model);
    }
    if (*out == NULL)
        *out = by_own_name(names, variable);
    if (*out == NULL && place != NULL)
        *out = by_place(names, variable, place);
    if (*out != NULL)
        return MST_OK;
    char shape[MST_SHAPE_TEXT_BYTES];
    return mst_fail(err, MST_INVALID_ARGUMENT,
                    "nothing in it is the weight '%s' of shape %s, by this name or by its place%s%s; it is of another "
                    "model (muster ckpt inspect lists what it has)",
                    variable->name, mst_shape_print(&variable->shape, shape, sizeof shape), place != NULL ? " " : "",
                    place != NULL ? place->checkpoint : "");
}
