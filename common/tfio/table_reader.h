/** @file
 *  Reads a LevelDB-style table (table_writer.h has the layout) that is in memory: every entry in order, all checked.
 *
 *      MST_TRY(mst_table_each(file, on_entry, context, err));
 *
 *  Handles are checked against the file, blocks against their CRC, keys for ascending order over the whole table (so no
 *  block can be named twice) and against MST_TABLE_KEY_MAX.
 *  Thread: any.
 */
#pragma once

#include "base/bytes.h"

enum { MST_TABLE_KEY_MAX = 16 << 10 }; // a name with every byte escaped, and its axes

/** Told each entry; key and value are borrowed for the call. Another status than OK ends the walk and is returned. */
typedef mst_status (*mst_table_entry_fn)(void *context, struct mst_bytes key, struct mst_bytes value,
                                         struct mst_error *err);

/** Calls on_entry for all entries of the table, in order.
 *  Errors: DATA_LOSS not a table, or broken (says what and at which offset); UNIMPLEMENTED compressed blocks; what
 *          on_entry returns */
MST_MUST_USE mst_status mst_table_each(struct mst_bytes file, mst_table_entry_fn on_entry, void *context,
                                       struct mst_error *err);
