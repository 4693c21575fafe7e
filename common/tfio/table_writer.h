/** @file
 *  Builds a LevelDB-style table, as TensorFlow's index files are, in memory.
 *
 *      table = mst_table_new();
 *      MST_TRY(mst_table_add(table, key, value));            // keys ascending, bytewise
 *      MST_TRY(mst_table_finish(table, &bytes));            // the bytes of the file
 *      mst_table_free(table);
 *
 *  Layout:
 *  1. data blocks of about 256 KiB;
 *  2. an empty metaindex block;
 *  3. the index block, for each data block a key >= its last one and < the next one's first, and its handle;
 *  4. the footer: both handles, zeros up to 40 bytes, the magic.
 *  A block:
 *  1. entries: varints of the bytes shared with the key before, its own and the value's, then the latter two;
 *  2. u32 offsets of the restarts, every 16th entry, where nothing is shared;
 *  3. u32 their number;
 *  4. u8 compression (0);
 *  5. u32 masked crc32c of 1 to 4.
 *  Thread: one at a time. Source: TensorFlow core/lib/io/{table_builder,block_builder,format}, LevelDB table_format.md
 */
#pragma once

#include "base/bytes.h"

#include <stdint.h>

// What the table's footer ends with, and its size; the reader checks both.
#define MST_TABLE_MAGIC ((uint64_t)0xdb4775248b80fb57)
enum { MST_TABLE_FOOTER_BYTES = 48, MST_TABLE_TRAILER_BYTES = 5 };
// Of a whole table in memory: millions of tensors.
#define MST_TABLE_MAX_BYTES ((size_t)256 << 20)

struct mst_table;

/** New empty table. */
struct mst_table *mst_table_new(void);
/** Releases it; NULL is fine. */
void mst_table_free(struct mst_table *table);
/** Adds an entry; the key must be greater than the one before (a bug of ours else).
 *  Errors: RESOURCE_EXHAUSTED over MST_TABLE_MAX_BYTES */
MST_MUST_USE mst_status mst_table_add(struct mst_table *table, struct mst_bytes key, struct mst_bytes value);
/** Ends the table; the bytes of the file in *out, borrowed until free. Errors: RESOURCE_EXHAUSTED */
MST_MUST_USE mst_status mst_table_finish(struct mst_table *table, struct mst_bytes *out);
