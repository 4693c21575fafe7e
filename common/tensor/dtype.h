/** @file
 *  Element types: our names, their sizes, and TensorFlow's numbers for them (tfio's enum mst_tf_type).
 *
 *      n_bytes = n_elements * mst_dtype_size_bytes(MST_DTYPE_F32);
 *
 *  Thread: any
 *  Source: TensorFlow core/framework/types.proto (the numbers)
 */
#pragma once

#include "muster/status.h"

#include <stddef.h>
#include <stdint.h>

// X(name, number in TensorFlow's files, text as NumPy prints it, bytes of an element)
#define MST_DTYPE_MAP(X)                                                                                               \
    X(F32, 1, "float32", 4)                                                                                            \
    X(F64, 2, "float64", 8)                                                                                            \
    X(I32, 3, "int32", 4)                                                                                              \
    X(U8, 4, "uint8", 1)                                                                                               \
    X(I16, 5, "int16", 2)                                                                                              \
    X(I8, 6, "int8", 1)                                                                                                \
    X(I64, 9, "int64", 8)                                                                                              \
    X(BOOL, 10, "bool", 1)                                                                                             \
    X(BF16, 14, "bfloat16", 2)                                                                                         \
    X(F16, 19, "float16", 2)                                                                                           \
    X(U32, 22, "uint32", 4)                                                                                            \
    X(U64, 23, "uint64", 8)

enum mst_dtype {
#define X(name, number, text, bytes) MST_DTYPE_##name = number,
    MST_DTYPE_MAP(X)
#undef X
};

/** Bytes of one element; 0 for a number outside the list. */
size_t mst_dtype_size_bytes(enum mst_dtype dtype);
/** "float32"; "unknown" for a number outside the list. */
const char *mst_dtype_name(enum mst_dtype dtype);
/** The type with this name in *out. Errors: INVALID_ARGUMENT no type is called so */
MST_MUST_USE mst_status mst_dtype_parse(const char *name, enum mst_dtype *out);
