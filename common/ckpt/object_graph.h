/** @file
 *  TensorFlow's object graph: what tf.train.Checkpoint keeps beside its tensors, under the name
 *  `_CHECKPOINTABLE_OBJECT_GRAPH`, to say which variable of which object each tensor is.
 *
 *      MST_TRY(mst_object_graph_each(bytes, on_variable, &context));
 *
 *  Thread: any. Source: TensorFlow core/protobuf/trackable_object_graph.proto
 */
#pragma once

#include "base/bytes.h"

#define MST_OBJECT_GRAPH_NAME "_CHECKPOINTABLE_OBJECT_GRAPH"

/** Called for each variable: the name that its program knew it by ("dense/kernel"), and its tensor's name in the
 *  bundle. Both borrowed for the call. */
typedef void mst_object_graph_fn(void *context, struct mst_bytes full_name, struct mst_bytes key);

/** Calls on_variable for each variable of a serialised TrackableObjectGraph. Errors: DATA_LOSS no such message */
MST_MUST_USE mst_status mst_object_graph_each(struct mst_bytes graph, mst_object_graph_fn *on_variable, void *context);
