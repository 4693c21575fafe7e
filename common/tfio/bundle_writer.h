/** @file
 *  Writes a TensorBundle in two halves: data files by many processes, the index by one.
 *
 *      MST_TRY(mst_bundle_data_new(path, &data, err));                      // one process's file
 *      MST_TRY(mst_bundle_data_append(data, bytes, len, &piece, err));      // a tensor or slice: offset, size, crc
 *      MST_TRY(mst_bundle_data_close(data, err));                           // fsync; then the file is whole
 *
 *      index = mst_bundle_index_new(n_shards);                              // the process that merges
 *      MST_TRY(mst_bundle_index_add(index, &tensor, shard, &piece, err));   // in any order
 *      MST_TRY(mst_bundle_index_write(index, path, err));                   // sorted, checked, fsynced
 *      mst_bundle_index_free(index);
 *
 *  Paths are given as they are: the caller writes under temporary names and renames (ckpt does).
 *  Thread: one at a time for each object.
 */
#pragma once

#include "base/bytes.h"
#include "muster/status.h"
#include "tfio/bundle.h"

#include <stddef.h>
#include <stdint.h>

struct mst_bundle_data;
struct mst_bundle_index;

/** New data file in *out; a file of that name is emptied.
 *  Errors: NOT_FOUND, PERMISSION_DENIED, UNAVAILABLE … as the system says, with path and its text */
MST_MUST_USE mst_status mst_bundle_data_new(const char *path, struct mst_bundle_data **out, struct mst_error *err);
/** Appends the little-endian bytes of one tensor or slice, and says where they are.
 *  Errors: RESOURCE_EXHAUSTED disk full; UNAVAILABLE another write error */
MST_MUST_USE mst_status mst_bundle_data_append(struct mst_bundle_data *data, const void *bytes, size_t len,
                                               struct mst_bundle_piece *out, struct mst_error *err);
/** Begins a piece of this size in *out, that mst_bundle_data_extend fills; large ones at a block of the disk.
 *  Errors: as append */
MST_MUST_USE mst_status mst_bundle_data_begin(struct mst_bundle_data *data, size_t len, struct mst_bundle_piece *out,
                                              struct mst_error *err);
/** Appends some of the bytes of the piece that was begun; crc32c is that of the piece up to here, not masked. For a
 *  caller who has to look at all bytes: both in the same pass. Errors: as append */
MST_MUST_USE mst_status mst_bundle_data_extend(struct mst_bundle_data *data, struct mst_bytes bytes, uint32_t crc32c,
                                               struct mst_bundle_piece *piece, struct mst_error *err);
/** Flushes to the disk, closes and releases data, also when it fails. Errors: as append */
MST_MUST_USE mst_status mst_bundle_data_close(struct mst_bundle_data *data, struct mst_error *err);
/** Closes, deletes the file and releases data; NULL is fine. */
void mst_bundle_data_abort(struct mst_bundle_data *data);

/** New empty index of a bundle with this many data files, 1 … MST_BUNDLE_SHARDS_MAX. */
struct mst_bundle_index *mst_bundle_index_new(size_t n_shards);
/** Releases the index; NULL is fine. */
void mst_bundle_index_free(struct mst_bundle_index *index);
/** Notes where a tensor or slice lies. One of a type without a fixed size comes whole, its piece as TensorFlow lays it
 *  out and with TensorFlow's checksum.
 *  Owner:  copies all
 *  Errors: INVALID_ARGUMENT an empty or too long name, a shard or rows out of range, a piece of another size than the
 *          shape says, slices of one name that disagree about type or shape */
MST_MUST_USE mst_status mst_bundle_index_add(struct mst_bundle_index *index, const struct mst_bundle_tensor *tensor,
                                             size_t shard, const struct mst_bundle_piece *piece, struct mst_error *err);
/** Writes the table to path and flushes it to the disk; on failure no file is left there.
 *  Errors: INVALID_ARGUMENT a name given twice, slices that overlap or leave a gap; disk errors as for data */
MST_MUST_USE mst_status mst_bundle_index_write(struct mst_bundle_index *index, const char *path, struct mst_error *err);
