/** @file
 *  TensorFlow's element types by number, as its files carry them. Thread: any
 *  Source: TensorFlow core/framework/types.proto (the numbers)
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

// X(name, number, text, bytes of an element; 0: no fixed size, or none that we can read)
#define MST_TF_TYPE_MAP(X)                                                                                             \
    X(FLOAT, 1, "float32", 4)                                                                                          \
    X(DOUBLE, 2, "float64", 8)                                                                                         \
    X(INT32, 3, "int32", 4)                                                                                            \
    X(UINT8, 4, "uint8", 1)                                                                                            \
    X(INT16, 5, "int16", 2)                                                                                            \
    X(INT8, 6, "int8", 1)                                                                                              \
    X(STRING, 7, "string", 0)                                                                                          \
    X(COMPLEX64, 8, "complex64", 8)                                                                                    \
    X(INT64, 9, "int64", 8)                                                                                            \
    X(BOOL, 10, "bool", 1)                                                                                             \
    X(BFLOAT16, 14, "bfloat16", 2)                                                                                     \
    X(UINT16, 17, "uint16", 2)                                                                                         \
    X(COMPLEX128, 18, "complex128", 16)                                                                                \
    X(HALF, 19, "float16", 2)                                                                                          \
    X(RESOURCE, 20, "resource", 0)                                                                                     \
    X(VARIANT, 21, "variant", 0)                                                                                       \
    X(UINT32, 22, "uint32", 4)                                                                                         \
    X(UINT64, 23, "uint64", 8)

enum mst_tf_type {
#define X(name, number, text, bytes) MST_TF_##name = number,
    MST_TF_TYPE_MAP(X)
#undef X
};

/** Bytes of one element; 0 for a type without a fixed size (string) or not in the list. */
size_t mst_tf_type_bytes(uint32_t type);
/** "float32"; "unknown" for a number that is not in the list. */
const char *mst_tf_type_name(uint32_t type);
