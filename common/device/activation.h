/** @file
 *  Keras's activation functions: names, parameters, and what their gradients need.
 *
 *      MST_TRY(mst_activation_find("gelu", &activation));       // with Keras's default parameters
 *      keep_input = mst_activation_keeps(&activation) == MST_KEEPS_INPUT;
 *
 *  Thread: any. Source: Keras 3, keras/src/activations/activations.py (names, defaults, formulas)
 */
#pragma once

#include "muster/status.h"

#include <stddef.h>

// X(name, Keras's name, alpha): alpha is the default of the one parameter that the function has, if any.
#define MST_ACTIVATION_MAP(X)                                                                                          \
    X(LINEAR, "linear", 0.0f)                                                                                          \
    X(RELU, "relu", 0.0f)             /* alpha: negative_slope; with max_value and threshold */                        \
    X(LEAKY_RELU, "leaky_relu", 0.2f) /* alpha: negative_slope; the LeakyReLU layer's default is 0.3 */                \
    X(RELU6, "relu6", 0.0f)                                                                                            \
    X(SIGMOID, "sigmoid", 0.0f)                                                                                        \
    X(TANH, "tanh", 0.0f)                                                                                              \
    X(SOFTMAX, "softmax", 0.0f)         /* over the columns of a row */                                                \
    X(LOG_SOFTMAX, "log_softmax", 0.0f) /* over the columns of a row */                                                \
    X(ELU, "elu", 1.0f)                 /* alpha */                                                                    \
    X(SELU, "selu", 0.0f)                                                                                              \
    X(CELU, "celu", 1.0f) /* alpha */                                                                                  \
    X(SOFTPLUS, "softplus", 0.0f)                                                                                      \
    X(SOFTSIGN, "softsign", 0.0f)                                                                                      \
    X(GELU, "gelu", 0.0f)           /* with the error function */                                                      \
    X(GELU_TANH, "gelu_tanh", 0.0f) /* Keras: gelu with approximate=True */                                            \
    X(SILU, "silu", 0.0f)                                                                                              \
    X(EXPONENTIAL, "exponential", 0.0f)                                                                                \
    X(HARD_SIGMOID, "hard_sigmoid", 0.0f)                                                                              \
    X(HARD_SILU, "hard_silu", 0.0f)                                                                                    \
    X(HARD_TANH, "hard_tanh", 0.0f)                                                                                    \
    X(HARD_SHRINK, "hard_shrink", 0.5f) /* alpha: threshold */                                                         \
    X(SOFT_SHRINK, "soft_shrink", 0.5f) /* alpha: threshold */                                                         \
    X(TANH_SHRINK, "tanh_shrink", 0.0f)                                                                                \
    X(MISH, "mish", 0.0f)                                                                                              \
    X(LOG_SIGMOID, "log_sigmoid", 0.0f)                                                                                \
    X(SQUAREPLUS, "squareplus", 4.0f) /* alpha: b */                                                                   \
    X(SPARSE_PLUS, "sparse_plus", 0.0f)                                                                                \
    X(SPARSE_SIGMOID, "sparse_sigmoid", 0.0f)

enum mst_activation_kind {
#define X(name, text, alpha) MST_ACTIVATION_##name,
    MST_ACTIVATION_MAP(X)
#undef X
        MST_N_ACTIVATIONS,
};

/** A plain value: may be copied. */
struct mst_activation {
    enum mst_activation_kind kind;
    float alpha;     // see the list
    float max_value; // RELU only: INFINITY for none
    float threshold; // RELU only
};

/** What the backward pass must be given again. */
enum mst_activation_keeps { MST_KEEPS_NOTHING, MST_KEEPS_INPUT, MST_KEEPS_OUTPUT };

/** The activation of this kind with Keras's default parameters. */
struct mst_activation mst_activation_default(enum mst_activation_kind kind);
/** The activation that Keras calls so ("relu", "swish", "hard_swish", …), with its default parameters.
 *  Errors: NOT_FOUND there is none of this name (*out linear) */
MST_MUST_USE mst_status mst_activation_find(const char *name, struct mst_activation *out);
/** Keras's name of a kind, "relu". */
const char *mst_activation_name(enum mst_activation_kind kind);
/** Keras's other words ("swish") from 0 on, with what they mean; NULL after the last. */
const char *mst_activation_alias(size_t i, enum mst_activation_kind *kind_out);
/** All names with commas between them, for error texts: "linear, relu, …". Owner: static */
const char *mst_activation_names(void);
/** What mst_device_ops.activate_backward reads for this activation. */
enum mst_activation_keeps mst_activation_keeps(const struct mst_activation *activation);
