/** @file
 *  Files that must be on the disk before anybody relies on them: write, flush, rename, flush the folder. Failures name
 *  the path and the system's text.
 *
 *      MST_TRY(mst_disk_file_new("x.tmp", &file, err));
 *      status = mst_disk_file_append(file, bytes, len, err);            // on failure: mst_disk_file_abort(file)
 *      MST_TRY(mst_disk_file_close(file, err));                         // on the disk, or gone
 *      MST_TRY(mst_disk_rename("x.tmp", "x", err));
 *
 *  Errors of all of them: NOT_FOUND, PERMISSION_DENIED (also a read-only disk), RESOURCE_EXHAUSTED (disk or quota full,
 *  too many open files), UNAVAILABLE any other.
 *  Thread: any; one at a time for a struct mst_disk_file.
 */
#pragma once

#include "base/bytes.h"

#include <stdint.h>

// Of any disk, for addresses and sizes that pass the page cache.
enum { MST_DISK_BLOCK_BYTES = 4096 };

struct mst_disk_file;

/** New empty file at path, in *out; one that is there is emptied. */
MST_MUST_USE mst_status mst_disk_file_new(const char *path, struct mst_disk_file **out, struct mst_error *err);
/** Appends bytes; small pieces are gathered before they are written. Large ones at a multiple of MST_DISK_BLOCK_BYTES,
 *  in the file and in memory, are written from where they are, uncopied where the file system lets them. */
MST_MUST_USE mst_status mst_disk_file_append(struct mst_disk_file *file, const void *bytes, size_t len,
                                             struct mst_error *err);
/** Appends zeros up to the next multiple of MST_DISK_BLOCK_BYTES. */
MST_MUST_USE mst_status mst_disk_file_align(struct mst_disk_file *file, struct mst_error *err);
/** Bytes appended so far. */
uint64_t mst_disk_file_size_bytes(const struct mst_disk_file *file);
/** Writes the rest, flushes to the disk, closes and releases file; after a failure the path is deleted. */
MST_MUST_USE mst_status mst_disk_file_close(struct mst_disk_file *file, struct mst_error *err);
/** Closes, deletes the path, releases file; NULL is fine. */
void mst_disk_file_abort(struct mst_disk_file *file);

/** Writes a whole small file and flushes it. */
MST_MUST_USE mst_status mst_disk_write(const char *path, struct mst_bytes content, struct mst_error *err);
/** Reads a whole file of at most max_bytes into buf, which this call initialises and the caller finishes.
 *  Errors: RESOURCE_EXHAUSTED larger than max_bytes; the common ones */
MST_MUST_USE mst_status mst_disk_read(const char *path, uint64_t max_bytes, struct mst_buf *buf, struct mst_error *err);
/** Renames, replacing what is at `to`. */
MST_MUST_USE mst_status mst_disk_rename(const char *from, const char *to, struct mst_error *err);
/** Deletes a file; one that is not there is fine. */
MST_MUST_USE mst_status mst_disk_remove(const char *path, struct mst_error *err);
/** Flushes a folder's names to the disk. */
MST_MUST_USE mst_status mst_disk_sync_folder(const char *path, struct mst_error *err);
/** Makes a folder and its parents; one that is there is fine. */
MST_MUST_USE mst_status mst_disk_make_folders(const char *path, struct mst_error *err);
/** The failure that errno_value means: "cannot <what> <path>: <text>". Returns its status. */
mst_status mst_disk_fail(struct mst_error *err, int errno_value, const char *what, const char *path);
