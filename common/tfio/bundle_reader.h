/** @file
 *  Reads a TensorBundle, ours or TensorFlow's: lists its tensors, reads one or some rows of it, slices merged.
 *
 *      MST_TRY(mst_bundle_open(prefix, &bundle, err));                       // the index, whole, with its checksums
 *      const struct mst_bundle_entry *entry = mst_bundle_find(bundle, "dense/kernel");
 *      MST_TRY(mst_bundle_read_rows(bundle, entry, row, n_rows, memory, bytes, err));
 *      mst_bundle_free(bundle);
 *
 *  Nothing a file says is believed before it is checked: offsets against the data files' sizes, sizes against type and
 *  shape, slices against the shape. CRCs: reading a whole tensor or a whole slice checks its CRC; when only some rows
 *  of a stored piece are wanted, the whole piece is read through a small buffer and checked all the same (a checkpoint
 *  is read once, and restoring wrong numbers is worse than reading them twice).
 *  Thread: immutable after open, so any (reads use pread).
 */
#pragma once

#include "base/bytes.h"
#include "muster/status.h"
#include "tensor/shape.h"
#include "tfio/bundle.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MST_BUNDLE_INDEX_MAX_BYTES  ((uint64_t)256 << 20) // of the index file
#define MST_BUNDLE_MEMORY_MAX_BYTES ((uint64_t)256 << 20) // of the names kept of it
#define MST_BUNDLE_TEXT_MAX_BYTES   ((uint64_t)256 << 20) // of a string tensor
enum { MST_BUNDLE_ENTRIES_MAX = 1 << 20, MST_BUNDLE_SLICES_MAX = 1 << 16 };

/** What the index says of one tensor; a string or variant tensor is listed but cannot be read. Borrowed until the
 *  bundle is freed. */
struct mst_bundle_entry {
    const char *name;
    uint32_t type; // enum mst_tf_type, or a number that we do not know
    struct mst_shape shape;
    bool is_partitioned;
    uint64_t size_bytes; // of all elements as read; 0 if the type has no fixed size
};

struct mst_bundle;

/** New reader in *out: reads and checks prefix.index, and that all data files it names are there and long enough.
 *  Errors: NOT_FOUND a file is missing; DATA_LOSS broken (says what, where); UNIMPLEMENTED compressed blocks,
 *          big-endian, a newer format; RESOURCE_EXHAUSTED over the limits above */
MST_MUST_USE mst_status mst_bundle_open(const char *prefix, struct mst_bundle **out, struct mst_error *err);
/** Releases the reader; NULL is fine. */
void mst_bundle_free(struct mst_bundle *bundle);

/** Number of data files. */
size_t mst_bundle_n_shards(const struct mst_bundle *bundle);
/** Number of tensors; a partitioned one counts once. */
size_t mst_bundle_n_entries(const struct mst_bundle *bundle);
/** Entry i, in bytewise order of names; i < n_entries. Owner: borrowed until free */
const struct mst_bundle_entry *mst_bundle_entry_at(const struct mst_bundle *bundle, size_t i);
/** The entry of this name, or NULL. Owner: borrowed until free */
const struct mst_bundle_entry *mst_bundle_find(const struct mst_bundle *bundle, const char *name);
/** The float32 tensor of this name and shape, in *out.
 *  Errors: INVALID_ARGUMENT it is not there, or is of another type or shape: a bundle of another model (*out NULL)
 *  Owner:  borrowed until free */
MST_MUST_USE mst_status mst_bundle_find_float(const struct mst_bundle *bundle, const char *name,
                                              const struct mst_shape *shape, const struct mst_bundle_entry **out,
                                              struct mst_error *err);

/** Reads the whole tensor: out_bytes must be entry->size_bytes.
 *  Errors: INVALID_ARGUMENT another size; UNIMPLEMENTED a type without a fixed size; DATA_LOSS checksum or short file
 */
MST_MUST_USE mst_status mst_bundle_read(const struct mst_bundle *bundle, const struct mst_bundle_entry *entry,
                                        void *out, size_t out_bytes, struct mst_error *err);
/** Reads rows [row, row + n_rows) of axis 0, from as many slices as hold them.
 *  Errors: INVALID_ARGUMENT a scalar, rows outside the shape, out_bytes of another size; else as mst_bundle_read */
MST_MUST_USE mst_status mst_bundle_read_rows(const struct mst_bundle *bundle, const struct mst_bundle_entry *entry,
                                             uint64_t row, uint64_t n_rows, void *out, size_t out_bytes,
                                             struct mst_error *err);
/** Reads the text of a string tensor of one element into *out (an empty buffer that this call initialises; the caller
 *  finishes it).
 *  Errors: INVALID_ARGUMENT it is no string tensor of one element; RESOURCE_EXHAUSTED over MST_BUNDLE_TEXT_MAX_BYTES;
 *          DATA_LOSS checksum, lengths that do not add up */
MST_MUST_USE mst_status mst_bundle_read_text(const struct mst_bundle *bundle, const struct mst_bundle_entry *entry,
                                             struct mst_buf *out, struct mst_error *err);
/** A stored piece of a tensor: the whole of it, or one slice; its bytes lie together in one data file. */
struct mst_bundle_slice {
    size_t shard;
    uint64_t offset_bytes;
    uint64_t size_bytes;
    uint32_t crc32c;                  // masked, as the index has it
    size_t start[MST_SHAPE_MAX_RANK]; // the box of the tensor that it is, an axis each
    size_t length[MST_SHAPE_MAX_RANK];
};

/** Number of stored pieces of this tensor: 1 unless it is partitioned. */
size_t mst_bundle_n_slices(const struct mst_bundle_entry *entry);
/** Stored piece i of this tensor in *out; i < n_slices. */
void mst_bundle_slice_at(const struct mst_bundle *bundle, const struct mst_bundle_entry *entry, size_t i,
                         struct mst_bundle_slice *out);
/** Reads stored piece i of this tensor as it lies in the file, of whatever type; i < n_slices, out_bytes its size.
 *  Errors: DATA_LOSS checksum (not looked at for a type without a fixed size), short file */
MST_MUST_USE mst_status mst_bundle_read_stored(const struct mst_bundle *bundle, const struct mst_bundle_entry *entry,
                                               size_t i, void *out, size_t out_bytes, struct mst_error *err);
/** Reads the stored bytes of one tensor and checks their CRCs (string tensors: nothing to do).
 *  Errors: DATA_LOSS names the tensor. Cost: reads the tensor */
MST_MUST_USE mst_status mst_bundle_verify_entry(const struct mst_bundle *bundle, const struct mst_bundle_entry *entry,
                                                struct mst_error *err);
/** Reads every stored byte that an entry names and checks its CRC (string tensors: their bounds only).
 *  Errors: DATA_LOSS names the tensor. Cost: reads the whole bundle */
MST_MUST_USE mst_status mst_bundle_verify(const struct mst_bundle *bundle, struct mst_error *err);
