/** @file
 *  Which bundle a path means. Private to weights/.
 */
#pragma once

#include "muster/status.h"

/** New text in *out: the prefix of the bundle that is meant by a prefix (with or without `.index`), a model directory,
 *  a directory of our checkpoints (the newest whole one) or of TensorFlow's (the one that its file `checkpoint` names).
 *  Errors: NOT_FOUND nothing of the kind is there; INVALID_ARGUMENT a file of another kind; those of
 *          mst_checkpoint_newest */
MST_MUST_USE mst_status mst_weights_find_prefix(const char *path, char **out, struct mst_error *err);
