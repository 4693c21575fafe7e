#include "ckpt/object_graph.h"

#include "base/error.h"
#include "tfio/proto_fields.h"

#include <stdbool.h>
#include <string.h>

// Numbers of the fields.
enum { GRAPH_NODES = 1, NODE_ATTRIBUTES = 2, ATTRIBUTE_NAME = 1, ATTRIBUTE_FULL_NAME = 2, ATTRIBUTE_KEY = 3 };

static bool is_variable(struct mst_bytes name)
{
    static const char value[] = "VARIABLE_VALUE";
    return name.len == sizeof value - 1 && memcmp(name.data, value, name.len) == 0;
}

static mst_status read_attribute(struct mst_bytes rest, mst_object_graph_fn *on_variable, void *context)
{
    struct mst_bytes texts[ATTRIBUTE_KEY + 1] = {0};
    while (rest.len > 0) {
        struct mst_proto_field field;
        MST_TRY(mst_proto_next(&rest, &field));
        if (field.wire == MST_PROTO_BYTES && field.number <= ATTRIBUTE_KEY)
            texts[field.number] = field.bytes;
    }
    if (is_variable(texts[ATTRIBUTE_NAME]) && texts[ATTRIBUTE_KEY].len > 0)
        on_variable(context, texts[ATTRIBUTE_FULL_NAME], texts[ATTRIBUTE_KEY]);
    return MST_OK;
}

static mst_status read_node(struct mst_bytes rest, mst_object_graph_fn *on_variable, void *context)
{
    while (rest.len > 0) {
        struct mst_proto_field field;
        MST_TRY(mst_proto_next(&rest, &field));
        if (field.wire == MST_PROTO_BYTES && field.number == NODE_ATTRIBUTES)
            MST_TRY(read_attribute(field.bytes, on_variable, context));
    }
    return MST_OK;
}

mst_status mst_object_graph_each(struct mst_bytes graph, mst_object_graph_fn *on_variable, void *context)
{
    while (graph.len > 0) {
        struct mst_proto_field field;
        MST_TRY(mst_proto_next(&graph, &field));
        if (field.wire == MST_PROTO_BYTES && field.number == GRAPH_NODES)
            MST_TRY(read_node(field.bytes, on_variable, context));
    }
    return MST_OK;
}
