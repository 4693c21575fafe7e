// One table (tf_types.h) gives both answers.
#include "tfio/tf_types.h"

#include <stddef.h>
#include <stdint.h>

size_t mst_tf_type_bytes(uint32_t type)
{
    switch (type) { // NOLINT(bugprone-branch-clone): several types have the same size
#define X(name, number, text, bytes)                                                                                   \
    case number:                                                                                                       \
        return bytes;
        MST_TF_TYPE_MAP(X)
#undef X
    default:
        return 0;
    }
}

const char *mst_tf_type_name(uint32_t type)
{
    switch (type) {
#define X(name, number, text, bytes)                                                                                   \
    case number:                                                                                                       \
        return text;
        MST_TF_TYPE_MAP(X)
#undef X
    default:
        return "unknown";
    }
}
