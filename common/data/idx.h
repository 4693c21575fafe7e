/** @file
 *  IDX files (MNIST's format), plain or gzip; which of the two is told from the first bytes, never from the name.
 *
 *      MST_TRY(mst_idx_open(path, &idx, err));       // header only: type and dimensions, checked against the file size
 *      MST_TRY(mst_idx_read(idx, memory, err));      // mst_idx_data_bytes(idx) bytes, converted to the host's order
 *      mst_idx_free(idx);
 *
 *  Layout, big-endian:
 *   1. two zero bytes
 *   2. u8 element type: 08 u8, 09 i8, 0B i16, 0C i32, 0D f32, 0E f64
 *   3. u8 number of dimensions
 *   4. a u32 for each dimension
 *   5. the elements, last dimension fastest
 *   6. nothing else
 *  u8 stays u8; i8, i16, i32 become i32; f32, f64 become f32.
 *
 *  Thread: one at a time for a struct mst_idx.
 *  Source: LeCun, Cortes, Burges, "The MNIST database", file formats.
 */
#pragma once

#include "muster/status.h"
#include "tensor/dtype.h"

#include <stddef.h>
#include <stdint.h>

enum { MST_IDX_RANK_MAX = 8 };
// Of the decoded elements: what a worker could hold in memory at all.
#define MST_IDX_DATA_MAX_BYTES ((uint64_t)64 << 30)

struct mst_idx;

/** New reader in *out that has read and checked the header.
 *  Errors: NOT_FOUND no such file; PERMISSION_DENIED; DATA_LOSS not IDX, or the file size cannot hold what the header
 *          says, or an element type outside the list; OUT_OF_RANGE over MST_IDX_DATA_MAX_BYTES */
MST_MUST_USE mst_status mst_idx_open(const char *path, struct mst_idx **out, struct mst_error *err);
/** Releases the reader; NULL is fine. */
void mst_idx_free(struct mst_idx *idx);

/** Element type after conversion: MST_DTYPE_U8, MST_DTYPE_I32 or MST_DTYPE_F32. */
enum mst_dtype mst_idx_dtype(const struct mst_idx *idx);
/** Number of dimensions, 1 … MST_IDX_RANK_MAX. */
size_t mst_idx_rank(const struct mst_idx *idx);
/** Size of one dimension; axis < rank. */
size_t mst_idx_dim(const struct mst_idx *idx, size_t axis);
/** Product of all dimensions. */
size_t mst_idx_n_elements(const struct mst_idx *idx);
/** Bytes of all elements after conversion. */
size_t mst_idx_data_bytes(const struct mst_idx *idx);

/** Decodes all elements into data, once, and checks that the file ends there (gzip: also its checksum).
 *  Owner:  data is the caller's, mst_idx_data_bytes(idx) long, and undefined after a failure
 *  Errors: DATA_LOSS truncated, trailing bytes or broken gzip; FAILED_PRECONDITION read before
 *  Cost:   one pass without a second copy of u8, i32 or f32; gzip about 250 MB/s */
MST_MUST_USE mst_status mst_idx_read(struct mst_idx *idx, void *data, struct mst_error *err);
