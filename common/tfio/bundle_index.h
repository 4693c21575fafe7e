/** @file
 *  The index of a bundle in memory, every field checked against the others. Private to tfio/: bundle_reader.h is the
 *  face.
 *
 *  Entries are in order of names; each has its stored pieces: one, covering the whole tensor, or one for each slice,
 *  which together cover it exactly.
 *  Thread: immutable once parsed.
 */
#pragma once

#include "base/arena.h"
#include "base/bytes.h"
#include "tfio/bundle_reader.h"

/** Bytes in a data file, and the box of the tensor that they are. */
struct mst_bundle_stored {
    size_t shard;
    struct mst_bundle_piece piece;
    size_t start[MST_SHAPE_MAX_RANK];
    size_t length[MST_SHAPE_MAX_RANK];
};

/** A tensor: what is shown of it, and which of the stored pieces are its own. */
struct mst_bundle_item {
    struct mst_bundle_entry entry;
    size_t first_stored;
    size_t n_stored;
};

struct mst_bundle_catalog {
    size_t n_shards;
    struct mst_bundle_item *items;
    size_t n_items;
    size_t items_capacity;
    struct mst_bundle_stored *stored;
    size_t n_stored;
    size_t stored_capacity;
    struct mst_arena arena; // names
};

/** Parses the bytes of an index file; catalog_fini releases what it made, also after a failure.
 *  Errors: DATA_LOSS, UNIMPLEMENTED, RESOURCE_EXHAUSTED as mst_bundle_open says */
MST_MUST_USE mst_status mst_bundle_catalog_parse(struct mst_bundle_catalog *catalog, struct mst_bytes file,
                                                 struct mst_error *err);
/** Releases it. */
void mst_bundle_catalog_fini(struct mst_bundle_catalog *catalog);
