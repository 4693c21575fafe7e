// One table in the header gives everything; a number read from a file may be outside it, so no lookup asserts.
#include "tensor/dtype.h"

#include <string.h>

size_t mst_dtype_size_bytes(enum mst_dtype dtype)
{
    switch (dtype) {
#define X(name, number, text, bytes)                                                                                   \
    case MST_DTYPE_##name:                                                                                             \
        return bytes;
        MST_DTYPE_MAP(X)
#undef X
    }
    return 0;
}

const char *mst_dtype_name(enum mst_dtype dtype)
{
    switch (dtype) {
#define X(name, number, text, bytes)                                                                                   \
    case MST_DTYPE_##name:                                                                                             \
        return text;
        MST_DTYPE_MAP(X)
#undef X
    }
    return "unknown";
}

mst_status mst_dtype_parse(const char *name, enum mst_dtype *out)
{
    static const enum mst_dtype all[] = {
#define X(name, number, text, bytes) MST_DTYPE_##name,
        MST_DTYPE_MAP(X)
#undef X
    };
    *out = MST_DTYPE_F32;
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (strcmp(mst_dtype_name(all[i]), name) == 0) {
            *out = all[i];
            return MST_OK;
        }
    return MST_INVALID_ARGUMENT;
}
