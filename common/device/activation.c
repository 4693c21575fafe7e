// The list of activations as tables. What backward needs is the output wherever the slope can be had from it
// without loss: then the layer keeps one array, not two.
#include "device/activation.h"

#include "base/error.h"

#include <math.h>
#include <string.h>

static const struct {
    const char *name;
    float alpha;
} table[MST_N_ACTIVATIONS] = {
#define X(kind, text, parameter) [MST_ACTIVATION_##kind] = {text, parameter},
    MST_ACTIVATION_MAP(X)
#undef X
};

static const struct {
    const char *name;
    enum mst_activation_kind kind;
} aliases[] = {
    {"swish", MST_ACTIVATION_SILU},
    {"hard_swish", MST_ACTIVATION_HARD_SILU},
};

struct mst_activation mst_activation_default(enum mst_activation_kind kind)
{
    MST_ASSERT((unsigned)kind < MST_N_ACTIVATIONS);
    return (struct mst_activation){.kind = kind, .alpha = table[kind].alpha, .max_value = INFINITY, .threshold = 0.0f};
}

mst_status mst_activation_find(const char *name, struct mst_activation *out)
{
    *out = mst_activation_default(MST_ACTIVATION_LINEAR);
    for (unsigned kind = 0; kind < MST_N_ACTIVATIONS; kind++) {
        if (strcmp(name, table[kind].name) == 0) {
            *out = mst_activation_default((enum mst_activation_kind)kind);
            return MST_OK;
        }
    }
    for (size_t i = 0; i < sizeof aliases / sizeof *aliases; i++) {
        if (strcmp(name, aliases[i].name) == 0) {
            *out = mst_activation_default(aliases[i].kind);
            return MST_OK;
        }
    }
    return MST_NOT_FOUND;
}

const char *mst_activation_name(enum mst_activation_kind kind)
{
    MST_ASSERT((unsigned)kind < MST_N_ACTIVATIONS);
    return table[kind].name;
}

const char *mst_activation_alias(size_t i, enum mst_activation_kind *kind_out)
{
    *kind_out = MST_ACTIVATION_LINEAR;
    if (i >= sizeof aliases / sizeof *aliases)
        return NULL;
    *kind_out = aliases[i].kind;
    return aliases[i].name;
}

const char *mst_activation_names(void)
{
    static const char names[] =
#define X(kind, text, parameter) ", " text
        MST_ACTIVATION_MAP(X);
#undef X
    return names + 2; // without the first comma
}

enum mst_activation_keeps mst_activation_keeps(const struct mst_activation *activation)
{
    switch (activation->kind) {
    case MST_ACTIVATION_LINEAR:
        return MST_KEEPS_NOTHING;
    case MST_ACTIVATION_RELU:
        // The output's sign tells on which side of the threshold the input was, unless these bend or flatten it.
        return activation->alpha >= 0.0f && activation->max_value > 0.0f ? MST_KEEPS_OUTPUT : MST_KEEPS_INPUT;
    case MST_ACTIVATION_LEAKY_RELU:
    case MST_ACTIVATION_ELU:
        return activation->alpha >= 0.0f ? MST_KEEPS_OUTPUT : MST_KEEPS_INPUT;
    case MST_ACTIVATION_RELU6:
    case MST_ACTIVATION_SIGMOID:
    case MST_ACTIVATION_TANH:
    case MST_ACTIVATION_SOFTMAX:
    case MST_ACTIVATION_LOG_SOFTMAX:
    case MST_ACTIVATION_SELU:
    case MST_ACTIVATION_CELU:
    case MST_ACTIVATION_EXPONENTIAL:
    case MST_ACTIVATION_HARD_SIGMOID:
    case MST_ACTIVATION_HARD_TANH:
    case MST_ACTIVATION_HARD_SHRINK:
    case MST_ACTIVATION_SOFT_SHRINK:
    case MST_ACTIVATION_SPARSE_SIGMOID:
        return MST_KEEPS_OUTPUT;
    case MST_ACTIVATION_SOFTPLUS:
    case MST_ACTIVATION_SOFTSIGN:
    case MST_ACTIVATION_GELU:
    case MST_ACTIVATION_GELU_TANH:
    case MST_ACTIVATION_SILU:
    case MST_ACTIVATION_HARD_SILU:
    case MST_ACTIVATION_TANH_SHRINK:
    case MST_ACTIVATION_MISH:
    case MST_ACTIVATION_LOG_SIGMOID:
    case MST_ACTIVATION_SQUAREPLUS:
    case MST_ACTIVATION_SPARSE_PLUS:
    case MST_N_ACTIVATIONS:
        break;
    }
    return MST_KEEPS_INPUT;
}
