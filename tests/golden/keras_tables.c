// Prints what the tables of layers, activations, initializers, regularizers, losses, metrics, optimizers and schedules
// hold, as JSON: {"layers": [{"name", "also", "options", "ignored", "refused"}], …}. tools/check-keras makes
// docs/keras.md of it.
#include "base/error.h"
#include "device/activation.h"
#include "model/compile_private.h"
#include "model/layer.h"
#include "optim/optimizer_private.h"
#include "optim/option.h"
#include "optim/schedule.h"

#include <stdio.h>

static void append_text(json_t *list, const char *text)
{
    MST_ASSERT(json_array_append_new(list, json_string(text)) == 0);
}

static void put(json_t *object, const char *key, json_t *value)
{
    MST_ASSERT(json_object_set_new(object, key, value) == 0);
}

static json_t *new_entry(const char *name)
{
    json_t *entry = json_object();
    put(entry, "name", json_string(name));
    put(entry, "also", json_array());
    put(entry, "options", json_array());
    put(entry, "ignored", json_array()); // they change no number
    put(entry, "refused", json_array());
    return entry;
}

// Under which key of an entry an option stands.
static const char *list_of_field(const struct mst_config_field *field)
{
    bool is_refused = field->read == mst_config_refuse || field->read == mst_config_refuse_even_0;
    return is_refused ? "refused" : field->read == NULL ? "ignored" : "options";
}

static const char *list_of_option(const struct mst_option *option)
{
    bool is_refused = option->rule == MST_OPTION_ONLY_OFF || option->rule == MST_OPTION_ONLY_NULL;
    return is_refused ? "refused" : option->rule == MST_OPTION_IGNORED ? "ignored" : "options";
}

static void add_fields(json_t *entry, const struct mst_config_field *fields, size_t n_fields)
{
    for (size_t i = 0; i < n_fields; i++)
        append_text(json_object_get(entry, list_of_field(&fields[i])), fields[i].key);
}

static void add_entry(json_t *list, const struct mst_config_entry *from)
{
    json_t *entry = new_entry(from->class_name);
    for (size_t i = 0; i < from->n_names && from->names[i] != NULL; i++)
        append_text(json_object_get(entry, "also"), from->names[i]);
    add_fields(entry, from->fields, from->n_fields);
    MST_ASSERT(json_array_append_new(list, entry) == 0);
}

static json_t *list_entries(bool (*next)(size_t i, struct mst_config_entry *out))
{
    json_t *list = json_array();
    struct mst_config_entry entry;
    for (size_t i = 0; next(i, &entry); i++)
        add_entry(list, &entry);
    return list;
}

static void add_layers(json_t *list, const struct mst_layer_table *table)
{
    for (size_t i = 0; i < table->n_classes; i++) {
        const struct mst_layer_class *class = &table->classes[i];
        add_entry(list, &(struct mst_config_entry){class->class_name, NULL, 0, class->fields, class->n_fields});
    }
}

static json_t *list_layers(void)
{
    json_t *list = json_array();
    for (size_t t = 0; mst_layer_tables(t) != NULL; t++)
        add_layers(list, mst_layer_tables(t));
    return list;
}

static json_t *list_common_options(void)
{
    json_t *list = json_array();
    json_t *entry = new_entry("every layer");
    size_t n;
    const struct mst_config_field *fields = mst_layer_common_fields(&n);
    add_fields(entry, fields, n);
    MST_ASSERT(json_array_append_new(list, entry) == 0);
    return list;
}

static json_t *list_operations(void)
{
    json_t *list = json_array();
    add_layers(list, &mst_operations);
    return list;
}

static json_t *list_activations(void)
{
    json_t *list = json_array();
    for (unsigned kind = 0; kind < MST_N_ACTIVATIONS; kind++) {
        json_t *entry = new_entry(mst_activation_name((enum mst_activation_kind)kind));
        enum mst_activation_kind of;
        const char *alias;
        for (size_t i = 0; (alias = mst_activation_alias(i, &of)) != NULL; i++)
            if (of == (enum mst_activation_kind)kind)
                append_text(json_object_get(entry, "also"), alias);
        MST_ASSERT(json_array_append_new(list, entry) == 0);
    }
    return list;
}

static json_t *list_metrics(void)
{
    json_t *list = list_entries(mst_compile_metric_entry);
    json_t *counts = list_entries(mst_compile_counts_entry);
    MST_ASSERT(json_array_extend(list, counts) == 0);
    json_decref(counts);
    return list;
}

static void add_options(json_t *entry, const struct mst_option *options, size_t n, unsigned owner)
{
    for (size_t i = 0; i < n; i++) {
        if (options[i].owners & owner)
            append_text(json_object_get(entry, list_of_option(&options[i])), options[i].name);
    }
}

static json_t *list_optimizers(void)
{
    json_t *list = json_array();
    size_t n;
    const struct mst_option *options = mst_optimizer_options(&n);
    for (unsigned kind = 0; kind < MST_N_OPTIMIZERS; kind++) {
        json_t *entry = new_entry(mst_optimizer_kind_name((enum mst_optimizer_kind)kind));
        add_options(entry, options, n, 1u << kind);
        MST_ASSERT(json_array_append_new(list, entry) == 0);
    }
    return list;
}

// Name: why it is not built.
static json_t *other_optimizers(void)
{
    json_t *object = json_object();
    const char *name;
    const char *why;
    for (size_t i = 0; (name = mst_optimizer_other(i, &why)) != NULL; i++)
        put(object, name, json_string(why));
    return object;
}

static json_t *list_schedules(void)
{
    json_t *list = json_array();
    size_t n;
    const struct mst_option *options = mst_schedule_options(&n);
    for (unsigned kind = 0; kind < MST_N_SCHEDULES; kind++) {
        json_t *entry = new_entry(mst_schedule_kind_name((enum mst_schedule_kind)kind));
        add_options(entry, options, n, 1u << kind);
        MST_ASSERT(json_array_append_new(list, entry) == 0);
    }
    return list;
}

int main(void)
{
    json_t *all = json_object();
    put(all, "every layer", list_common_options());
    put(all, "layers", list_layers());
    put(all, "operations", list_operations());
    put(all, "activations", list_activations());
    put(all, "initializers", list_entries(mst_initializer_entry));
    put(all, "regularizers", list_entries(mst_regularizer_entry));
    put(all, "losses", list_entries(mst_compile_loss_entry));
    put(all, "metrics", list_metrics());
    put(all, "optimizers", list_optimizers());
    put(all, "other optimizers", other_optimizers());
    put(all, "schedules", list_schedules());
    int failed = json_dumpf(all, stdout, JSON_INDENT(1));
    json_decref(all);
    return failed == 0 && fflush(stdout) == 0 ? 0 : 1;
}
