// Who calls whom. In a Sequential each item reads the one before. A Functional lists the calls of each of its layers,
// in two dialects: Keras 3 prints the arguments with tensors as {"class_name": "__keras_tensor__"} anywhere among
// them, Keras 2 nested lists of [layer, call, tensor, {other arguments}]. Calls are numbered within the layer; a
// nested Functional counts from 1, for its own making is its first call, except among the arguments of Keras 3.
#include "graph.h"

#include "base/alloc.h"
#include "base/error.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_DEPTH = 16 };

// The tensors that one list of arguments names.
struct refs {
    struct mst_graph_reader *reader;
    struct mst_scope *scope;
    const struct mst_graph_item *of; // who reads them; NULL: the model itself
    const char *where;
    bool keras_3;
    size_t *list;
    size_t n;
    size_t room;
    size_t n_numbers;
    double number;
    size_t number_at;
};

static mst_status find_item(const struct refs *refs, const char *name, const struct mst_graph_item **out,
                            struct mst_error *err)
{
    const struct mst_scope *scope = refs->scope;
    *out = NULL;
    for (size_t i = 0; i < scope->n_items; i++) {
        if (strcmp(scope->items[i].name, name) == 0) {
            *out = &scope->items[i];
            return MST_OK;
        }
    }
    return mst_fail(err, MST_INVALID_ARGUMENT, "%s names '%.64s', and the model has no such layer", refs->where, name);
}

static mst_status push(struct refs *refs, size_t tensor, struct mst_error *err)
{
    if (refs->n == MST_GRAPH_MAX_REFS)
        return mst_fail(err, MST_INVALID_ARGUMENT, "%s names more than %d tensors", refs->where, MST_GRAPH_MAX_REFS);
    if (refs->n == refs->room) {
        refs->room = refs->room > 0 ? 2 * refs->room : 8;
        refs->list = mst_realloc_array(refs->list, refs->room, sizeof *refs->list);
    }
    refs->list[refs->n++] = tensor;
    return MST_OK;
}

// [layer, call, tensor]
static mst_status add_ref(struct refs *refs, const json_t *leaf, struct mst_error *err)
{
    const struct mst_graph_item *item;
    const json_t *call_json = json_array_get(leaf, 1);
    const json_t *tensor_json = json_array_get(leaf, 2);
    char shown[MST_CONFIG_SHOWN_BYTES];
    if (!json_is_integer(call_json) || !json_is_integer(tensor_json))
        return mst_fail(err, MST_INVALID_ARGUMENT, "%s names a tensor as %s; it should be [layer, call, tensor]",
                        refs->where, mst_config_show(leaf, shown));
    MST_TRY(find_item(refs, json_string_value(json_array_get(leaf, 0)), &item, err));
    MST_ASSERT(item != NULL);
    json_int_t call = json_integer_value(call_json);
    json_int_t tensor = json_integer_value(tensor_json);
    bool counts_from_1 = item->kind == MST_ITEM_SCOPE && !(refs->keras_3 && refs->of != NULL) &&
                         (refs->scope->is_keras_2 || !item->scope->is_sequential);
    if (counts_from_1 && call > 0)
        call--;
    size_t n_results = item->kind == MST_ITEM_SCOPE ? item->scope->n_outputs : 1;
    if (call < 0 || (size_t)call >= item->n_calls || tensor < 0 || (size_t)tensor >= n_results)
        return mst_fail(err, MST_INVALID_ARGUMENT,
                        "%s names tensor %lld of call %lld of '%.64s', which has %zu calls and %zu tensors each",
                        refs->where, (long long)tensor, (long long)json_integer_value(call_json), item->name,
                        item->n_calls, n_results);
    struct mst_graph_call *made = &refs->scope->calls[item->first_call + (size_t)call];
    made->is_read = true;
    return push(refs, made->first_tensor + (size_t)tensor, err);
}

static mst_status add_number(struct refs *refs, const json_t *value)
{
    refs->n_numbers++;
    refs->number = json_number_value(value);
    refs->number_at = refs->n;
    return MST_OK;
}

static bool is_leaf(const json_t *value)
{
    size_t n = json_array_size(value);
    return (n == 3 || n == 4) && json_is_string(json_array_get(value, 0));
}

static mst_status add_lists(struct refs *refs, const json_t *value, size_t depth, struct mst_error *err);

static int compare_keys(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

// Python's order of a dict of tensors: that of its sorted keys.
static mst_status add_dict(struct refs *refs, const json_t *value, size_t depth, struct mst_error *err)
{
    size_t n = json_object_size(value);
    const char **keys = mst_alloc_array(n + 1, sizeof *keys);
    size_t at = 0;
    const char *key;
    json_t *ignored;
    mst_status status = MST_OK;
    json_object_foreach((json_t *)value, key, ignored) keys[at++] = key;
    qsort((void *)keys, n, sizeof *keys, compare_keys);
    for (size_t i = 0; i < n && status == MST_OK; i++)
        status = add_lists(refs, json_object_get(value, keys[i]), depth + 1, err);
    free((void *)keys);
    return status;
}

static mst_status refuse_argument(const struct refs *refs, const char *key, const json_t *value, struct mst_error *err)
{
    char shown[MST_CONFIG_SHOWN_BYTES];
    return mst_fail(err, MST_UNIMPLEMENTED, "%s is called with %s%s%s, which is not built yet", refs->where,
                    key != NULL ? key : "", key != NULL ? "=" : "", mst_config_show(value, shown));
}

// The other arguments of a call in Keras 2; `y` is the second operand of an operation.
static mst_status add_keywords(struct refs *refs, const json_t *keywords, struct mst_error *err)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)keywords, key, value)
    {
        if (json_is_null(value))
            continue;
        if (strcmp(key, "y") != 0)
            return refuse_argument(refs, key, value, err);
        if (json_is_number(value))
            MST_TRY(add_number(refs, value));
        else if (is_leaf(value))
            MST_TRY(add_ref(refs, value, err));
        else
            return refuse_argument(refs, key, value, err);
    }
    return MST_OK;
}

// Keras 2's nested lists, and those of input_layers and output_layers.
static mst_status add_lists(struct refs *refs, const json_t *value, size_t depth, struct mst_error *err)
{
    if (is_leaf(value)) {
        if (strcmp(json_string_value(json_array_get(value, 0)), "_CONSTANT_VALUE") == 0 &&
            json_is_number(json_array_get(value, 2)))
            MST_TRY(add_number(refs, json_array_get(value, 2)));
        else
            MST_TRY(add_ref(refs, value, err));
        return add_keywords(refs, json_array_get(value, 3), err);
    }
    if (depth > MAX_DEPTH || (!json_is_array(value) && !json_is_object(value)))
        return refuse_argument(refs, NULL, value, err);
    if (json_is_object(value))
        return add_dict(refs, value, depth, err);
    for (size_t i = 0; i < json_array_size(value); i++)
        MST_TRY(add_lists(refs, json_array_get(value, i), depth + 1, err));
    return MST_OK;
}

// Keras 3's arguments.
static mst_status add_arguments(struct refs *refs, const json_t *value, size_t depth, struct mst_error *err)
{
    const char *class_name = json_string_value(json_object_get(value, "class_name"));
    if (json_is_null(value))
        return MST_OK;
    if (json_is_number(value))
        return add_number(refs, value);
    if (class_name != NULL && strcmp(class_name, "__keras_tensor__") == 0) {
        const json_t *history = json_object_get(json_object_get(value, "config"), "keras_history");
        return is_leaf(history) ? add_ref(refs, history, err) : refuse_argument(refs, NULL, value, err);
    }
    if (depth > MAX_DEPTH || class_name != NULL || (!json_is_array(value) && !json_is_object(value)))
        return refuse_argument(refs, NULL, value, err);
    if (json_is_object(value))
        return refuse_argument(refs, NULL, value, err);
    for (size_t i = 0; i < json_array_size(value); i++)
        MST_TRY(add_arguments(refs, json_array_get(value, i), depth + 1, err));
    return MST_OK;
}

// Keras 3 prints what a layer takes for `training` when it is not told, and puts the model's own in its place whenever
// it runs one; in Keras 2 what a call says holds.
static bool has_no_effect(const char *key, const json_t *value)
{
    return json_is_null(value) || (strcmp(key, "training") == 0 && json_is_boolean(value));
}

static mst_status add_node(struct refs *refs, const json_t *node, struct mst_error *err)
{
    const char *key;
    json_t *value;
    char shown[MST_CONFIG_SHOWN_BYTES];
    refs->keras_3 = json_is_object(node);
    if (json_is_array(node))
        return add_lists(refs, node, 0, err);
    if (!json_is_object(node))
        return mst_fail(err, MST_INVALID_ARGUMENT, "%s is %s; it should be the arguments of a call", refs->where,
                        mst_config_show(node, shown));
    MST_TRY(add_arguments(refs, json_object_get(node, "args"), 0, err));
    json_object_foreach((json_t *)json_object_get(node, "kwargs"), key, value)
    {
        if (!has_no_effect(key, value))
            return refuse_argument(refs, key, value, err);
    }
    return MST_OK;
}

static mst_status keep_refs(struct refs *refs, size_t **out)
{
    void *memory;
    MST_TRY(mst_arena_alloc_array(&refs->reader->arena, refs->n + 1, sizeof **out, &memory));
    *out = memory;
    if (refs->n > 0)
        memcpy(memory, refs->list, refs->n * sizeof **out);
    return MST_OK;
}

static mst_status keep_call(struct refs *refs, struct mst_graph_call *call, struct mst_error *err)
{
    const struct mst_layer *layer =
        refs->of->kind == MST_ITEM_LAYER ? &refs->reader->model->layers[refs->of->layer] : NULL;
    if (refs->n_numbers > 0 && (refs->n_numbers > 1 || refs->n != 1 || layer == NULL || !layer->class->takes_operand))
        return mst_fail(err, MST_UNIMPLEMENTED, "%s is called with the number %g in a tensor's place", refs->where,
                        refs->number);
    if (refs->n == 0)
        return mst_fail(err, MST_INVALID_ARGUMENT, "%s is called without a tensor", refs->where);
    if (refs->n_numbers > 0)
        call->operand = (struct mst_operand){refs->number_at == 0 ? MST_OPERAND_LEFT : MST_OPERAND_RIGHT, refs->number};
    call->n_refs = refs->n;
    return keep_refs(refs, &call->refs);
}

static mst_status read_item_calls(struct mst_graph_reader *reader, struct mst_scope *scope,
                                  const struct mst_graph_item *item, struct mst_error *err)
{
    const json_t *nodes = json_object_get(item->json, "inbound_nodes");
    mst_status status = MST_OK;
    for (size_t i = 0; i < item->n_calls && status == MST_OK; i++) {
        char where[MST_CONFIG_PATH_BYTES];
        snprintf(where, sizeof where, "%s '%.64s'.inbound_nodes[%zu]", item->place, item->name, i);
        struct refs refs = {.reader = reader, .scope = scope, .of = item, .where = where};
        status = add_node(&refs, json_array_get(nodes, i), err);
        if (status == MST_OK)
            status = keep_call(&refs, &scope->calls[item->first_call + i], err);
        free(refs.list);
    }
    return status;
}

static mst_status read_input_layers(struct mst_graph_reader *reader, struct mst_scope *scope, struct mst_error *err)
{
    char where[MST_CONFIG_PATH_BYTES];
    snprintf(where, sizeof where, "%sconfig.input_layers", scope->prefix);
    struct refs refs = {.reader = reader, .scope = scope, .where = where};
    mst_status status = add_lists(&refs, scope->input_layers, 0, err);
    if (status == MST_OK)
        status = keep_refs(&refs, &scope->inputs);
    scope->n_inputs = refs.n;
    free(refs.list);
    MST_TRY(status);
    for (size_t i = 0; i < scope->n_inputs; i++) {
        const struct mst_graph_item *item = &scope->items[scope->calls[scope->tensors[scope->inputs[i]]].item];
        if (item->kind != MST_ITEM_INPUT)
            return mst_fail(err, MST_INVALID_ARGUMENT, "%s names '%.64s', which is no InputLayer", where, item->name);
        scope->inputs[i] = (size_t)(item - scope->items);
        for (size_t j = 0; j < i; j++)
            if (scope->inputs[j] == scope->inputs[i])
                return mst_fail(err, MST_INVALID_ARGUMENT, "%s names '%.64s' twice", where, item->name);
    }
    return MST_OK;
}

static mst_status read_output_layers(struct mst_graph_reader *reader, struct mst_scope *scope, struct mst_error *err)
{
    char where[MST_CONFIG_PATH_BYTES];
    snprintf(where, sizeof where, "%sconfig.output_layers", scope->prefix);
    struct refs refs = {.reader = reader, .scope = scope, .where = where};
    mst_status status = add_lists(&refs, scope->output_layers, 0, err);
    if (status == MST_OK)
        status = keep_refs(&refs, &scope->outputs);
    scope->n_outputs = refs.n;
    free(refs.list);
    MST_TRY(status);
    if (scope->n_inputs == 0 || scope->n_outputs == 0)
        return mst_fail(err, MST_INVALID_ARGUMENT, "%sconfig names no %s", scope->prefix,
                        scope->n_inputs == 0 ? "input_layers" : "output_layers");
    return MST_OK;
}

// A layer that nobody reads, or an input that nobody fills, is a mistake in the file.
static mst_status check_dangling(const struct mst_scope *scope, struct mst_error *err)
{
    for (size_t i = 0; i < scope->n_items; i++) {
        const struct mst_graph_item *item = &scope->items[i];
        bool is_input = false;
        for (size_t k = 0; k < scope->n_inputs && item->kind == MST_ITEM_INPUT; k++)
            is_input = is_input || scope->inputs[k] == i;
        if (item->kind == MST_ITEM_INPUT && !is_input)
            return mst_fail(err, MST_INVALID_ARGUMENT,
                            "%s '%.64s' (InputLayer) is not among the model's input_layers, so nothing fills it",
                            item->place, item->name);
        if (item->n_calls == 0)
            return mst_fail(err, MST_INVALID_ARGUMENT, "%s '%.64s' is never called: its inbound_nodes are empty",
                            item->place, item->name);
        for (size_t c = 0; c < item->n_calls && item->kind != MST_ITEM_INPUT; c++)
            if (!scope->calls[item->first_call + c].is_read)
                return mst_fail(err, MST_INVALID_ARGUMENT,
                                "%s '%.64s' dangles: nothing reads its call %zu, and it is no output of the model",
                                item->place, item->name, c);
    }
    return MST_OK;
}

static mst_status count_calls(struct mst_scope *scope, struct mst_error *err)
{
    for (size_t i = 0; i < scope->n_items; i++) {
        struct mst_graph_item *item = &scope->items[i];
        const json_t *nodes = json_object_get(item->json, "inbound_nodes");
        item->first_call = scope->n_calls;
        item->n_calls = scope->is_sequential || item->kind == MST_ITEM_INPUT ? 1 : json_array_size(nodes);
        scope->n_calls += item->n_calls;
        scope->n_tensors += item->n_calls * (item->kind == MST_ITEM_SCOPE ? item->scope->n_outputs : 1);
        for (size_t k = 0; k < item->n_calls && item->kind != MST_ITEM_INPUT && !scope->is_sequential; k++)
            scope->is_keras_2 = scope->is_keras_2 || json_is_array(json_array_get(nodes, k));
    }
    if (scope->n_calls > MST_MODEL_MAX_NODES || scope->n_tensors > MST_GRAPH_MAX_REFS)
        return mst_fail(err, MST_INVALID_ARGUMENT,
                        "%slayers: %zu calls that make %zu tensors; the limits are %d and %d", scope->prefix,
                        scope->n_calls, scope->n_tensors, MST_MODEL_MAX_NODES, MST_GRAPH_MAX_REFS);
    return MST_OK;
}

// Numbers all calls and their tensors.
static mst_status number_calls(struct mst_graph_reader *reader, struct mst_scope *scope, struct mst_error *err)
{
    void *memory;
    MST_TRY(count_calls(scope, err));
    MST_TRY(mst_arena_alloc_array(&reader->arena, scope->n_calls + 1, sizeof *scope->calls, &memory));
    scope->calls = memory;
    MST_TRY(mst_arena_alloc_array(&reader->arena, scope->n_tensors + 1, sizeof *scope->tensors, &memory));
    scope->tensors = memory;
    MST_TRY(mst_arena_alloc_array(&reader->arena, scope->n_calls + 1, sizeof *scope->order, &memory));
    scope->order = memory;
    size_t tensor = 0;
    for (size_t i = 0; i < scope->n_items; i++) {
        const struct mst_graph_item *item = &scope->items[i];
        for (size_t c = item->first_call; c < item->first_call + item->n_calls; c++) {
            struct mst_graph_call *call = &scope->calls[c];
            call->item = i;
            call->n_results = item->kind == MST_ITEM_SCOPE ? item->scope->n_outputs : 1;
            call->first_tensor = tensor;
            for (size_t k = 0; k < call->n_results; k++)
                scope->tensors[tensor++] = c;
        }
    }
    return MST_OK;
}

static mst_status chain(struct mst_graph_reader *reader, struct mst_scope *scope, struct mst_error *err)
{
    void *memory;
    MST_TRY(mst_arena_alloc_array(&reader->arena, scope->n_calls + 2, sizeof(size_t), &memory));
    size_t *list = memory; // the input, the output, and what each call reads
    scope->inputs = list;
    scope->n_inputs = 1;
    scope->outputs = list + 1;
    scope->n_outputs = 1;
    for (size_t i = 1; i < scope->n_calls; i++) {
        const struct mst_graph_call *before = &scope->calls[i - 1];
        if (before->n_results != 1)
            return mst_fail(err, MST_INVALID_ARGUMENT, "%s '%.64s' has %zu outputs; in a Sequential it may have one",
                            scope->items[i - 1].place, scope->items[i - 1].name, before->n_results);
        list[i + 1] = before->first_tensor;
        scope->calls[i].refs = &list[i + 1];
        scope->calls[i].n_refs = 1;
    }
    scope->outputs[0] = scope->calls[scope->n_calls - 1].first_tensor;
    return MST_OK;
}

// Depth first, with a stack of our own: a model may be thousands of layers deep.
struct sorting {
    struct mst_scope *scope;
    enum call_state { CALL_NEW, CALL_OPEN, CALL_DONE } * state;
    struct {
        size_t call;
        size_t next_ref;
    } *stack;
    size_t n_ordered;
};

static mst_status sort_from(struct sorting *sorting, size_t first, struct mst_error *err)
{
    struct mst_scope *scope = sorting->scope;
    size_t n = 0;
    sorting->stack[n].call = first;
    sorting->stack[n++].next_ref = 0;
    sorting->state[first] = CALL_OPEN;
    while (n > 0) {
        size_t at = sorting->stack[n - 1].call;
        const struct mst_graph_call *call = &scope->calls[at];
        if (sorting->stack[n - 1].next_ref == call->n_refs) {
            sorting->state[at] = CALL_DONE;
            scope->order[sorting->n_ordered++] = at;
            n--;
            continue;
        }
        size_t next = scope->tensors[call->refs[sorting->stack[n - 1].next_ref++]];
        const struct mst_graph_item *item = &scope->items[call->item];
        if (sorting->state[next] == CALL_OPEN)
            return mst_fail(err, MST_INVALID_ARGUMENT,
                            "%s '%.64s' reads '%.64s', which reads it in turn: the layers form a circle", item->place,
                            item->name, scope->items[scope->calls[next].item].name);
        if (sorting->state[next] == CALL_DONE)
            continue;
        sorting->state[next] = CALL_OPEN;
        sorting->stack[n].call = next;
        sorting->stack[n++].next_ref = 0;
    }
    return MST_OK;
}

static mst_status sort_calls(struct mst_scope *scope, struct mst_error *err)
{
    struct sorting sorting = {.scope = scope};
    sorting.state = mst_alloc_array(scope->n_calls + 1, sizeof *sorting.state);
    sorting.stack = mst_alloc_array(scope->n_calls + 1, sizeof *sorting.stack);
    mst_status status = MST_OK;
    for (size_t c = 0; c < scope->n_calls && status == MST_OK; c++)
        if (sorting.state[c] == CALL_NEW)
            status = sort_from(&sorting, c, err);
    free(sorting.state);
    free(sorting.stack);
    return status;
}

mst_status mst_graph_read_calls(struct mst_graph_reader *reader, struct mst_scope *scope, struct mst_error *err)
{
    MST_TRY(number_calls(reader, scope, err));
    if (scope->is_sequential) {
        MST_TRY(chain(reader, scope, err));
        return sort_calls(scope, err);
    }
    for (size_t i = 0; i < scope->n_items; i++)
        if (scope->items[i].kind != MST_ITEM_INPUT)
            MST_TRY(read_item_calls(reader, scope, &scope->items[i], err));
    MST_TRY(read_input_layers(reader, scope, err));
    MST_TRY(read_output_layers(reader, scope, err));
    MST_TRY(check_dangling(scope, err));
    return sort_calls(scope, err);
}
