// Models for the tests of the model parser: small ones put together from the JSON of their layers.
#pragma once

#include "model/model.h"

#define MODEL_INPUT(shape)                                                                                             \
    "{\"class_name\": \"InputLayer\", \"config\": {\"name\": \"input\", \"batch_shape\": " shape "}}"
#define MODEL_DENSE(name, units)                                                                                       \
    "{\"class_name\": \"Dense\", \"config\": {\"name\": \"" name "\", \"units\": " units "}}"

// New text of a Sequential named "m" of these layers (JSON, joined by commas). The caller frees it.
char *model_text(const char *layers);

// Parses it; ends the test with the sentence if it is refused.
struct mst_model *model_parse_right(const char *text);

// Parses it and compares status and sentence (after "model.json: "); "…" at the end of wanted stands for what follows.
void model_check_refused(const char *text, mst_status status, const char *wanted);

// The canonical JSON of one layer of a model, new text.
char *model_layer_canonical(const struct mst_model *model, size_t layer);
