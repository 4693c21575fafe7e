// Entries are walked from the front of each block; the restart array is only checked to fit, since nobody searches: a
// bundle reader wants all entries anyway.
#include "tfio/table_reader.h"

#include "base/bytes.h"
#include "base/crc32c.h"
#include "base/error.h"
#include "muster/status.h"
#include "tfio/proto_fields.h"
#include "tfio/table_writer.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

enum { TYPE_NONE = 0, TYPE_SNAPPY = 1 };

struct key {
    size_t len;
    uint8_t bytes[MST_TABLE_KEY_MAX];
};

struct walk {
    struct mst_bytes file;
    mst_table_entry_fn on_entry;
    void *context;
    struct mst_error *err;
    uint64_t blocks_end; // of the data blocks so far: they must follow one another, so that none is walked twice
    bool has_last;       // a data key was seen
    struct key last;
};

static uint32_t load_u32(const uint8_t *bytes)
{
    return (uint32_t)bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 | (uint32_t)bytes[3] << 24;
}

static mst_status broken(struct mst_error *err, const char *what, uint64_t offset)
{
    return mst_fail(err, MST_DATA_LOSS, "the table is broken: %s in the block at offset %llu", what,
                    (unsigned long long)offset);
}

// The entries of the block that a handle names, checked against file and CRC, without the restart array.
static mst_status find_block(struct mst_bytes file, struct mst_bytes *handle, struct mst_bytes *entries,
                             struct mst_error *err)
{
    uint64_t offset = 0, size = 0;
    if (mst_varint_take(handle, &offset) != MST_OK || mst_varint_take(handle, &size) != MST_OK)
        return mst_fail(err, MST_DATA_LOSS, "the table is broken: a block handle is cut off");
    size_t room = file.len - MST_TABLE_FOOTER_BYTES;
    if (offset > room || size > room - offset || room - offset - size < MST_TABLE_TRAILER_BYTES)
        return broken(err, "it goes past the end of the file", offset);
    const uint8_t *block = (const uint8_t *)file.data + offset;
    uint32_t want = mst_crc32c_unmask(load_u32(block + size + 1));
    if (mst_crc32c(block, (size_t)size + 1) != want)
        return broken(err, "wrong checksum", offset);
    if (block[size] == TYPE_SNAPPY)
        return mst_fail(err, MST_UNIMPLEMENTED,
                        "the table is compressed with snappy; only uncompressed ones can be read");
    if (block[size] != TYPE_NONE)
        return mst_fail(err, MST_UNIMPLEMENTED, "the table is compressed in an unknown way (%u)", block[size]);
    if (size < 4)
        return broken(err, "no number of restarts", offset);
    uint64_t n_restarts = load_u32(block + size - 4);
    if (n_restarts > (size - 4) / 4)
        return broken(err, "more restarts than fit", offset);
    *entries = (struct mst_bytes){block, (size_t)(size - 4 - 4 * n_restarts)};
    return MST_OK;
}

// Takes one entry off the front; key is the entry before and becomes this one.
static mst_status take_entry(struct mst_bytes *rest, struct key *key, struct mst_bytes *value)
{
    uint64_t shared = 0, own = 0, value_len = 0;
    MST_TRY(mst_varint_take(rest, &shared));
    MST_TRY(mst_varint_take(rest, &own));
    MST_TRY(mst_varint_take(rest, &value_len));
    if (shared > key->len || own > rest->len || value_len > rest->len - own || own > MST_TABLE_KEY_MAX - shared)
        return MST_DATA_LOSS;
    memcpy(key->bytes + shared, rest->data, (size_t)own);
    key->len = (size_t)(shared + own);
    *value = (struct mst_bytes){(const uint8_t *)rest->data + own, (size_t)value_len};
    rest->data = (const uint8_t *)value->data + value_len;
    rest->len -= (size_t)(own + value_len);
    return MST_OK;
}

static bool is_after(const struct key *a, const struct key *b)
{
    size_t n = a->len < b->len ? a->len : b->len;
    int order = memcmp(a->bytes, b->bytes, n);
    return order > 0 || (order == 0 && a->len > b->len);
}

static mst_status walk_block(struct walk *walk, struct mst_bytes handle)
{
    struct mst_bytes rest = {0}, value = {0};
    struct key key = {0};
    MST_TRY(find_block(walk->file, &handle, &rest, walk->err));
    uint64_t offset = (uint64_t)((const uint8_t *)rest.data - (const uint8_t *)walk->file.data);
    if (offset < walk->blocks_end)
        return broken(walk->err, "no order", offset);
    walk->blocks_end = offset + rest.len + 1;
    while (rest.len > 0) {
        if (take_entry(&rest, &key, &value) != MST_OK)
            return broken(walk->err, "an entry does not fit", offset);
        if (walk->has_last && !is_after(&key, &walk->last))
            return broken(walk->err, "keys that do not ascend", offset);
        walk->has_last = true;
        memcpy(walk->last.bytes, key.bytes, key.len);
        walk->last.len = key.len;
        MST_TRY(walk->on_entry(walk->context, (struct mst_bytes){key.bytes, key.len}, value, walk->err));
    }
    return MST_OK;
}

mst_status mst_table_each(struct mst_bytes file, mst_table_entry_fn on_entry, void *context, struct mst_error *err)
{
    struct walk walk = {.file = file, .on_entry = on_entry, .context = context, .err = err};
    if (file.len < MST_TABLE_FOOTER_BYTES)
        return mst_fail(err, MST_DATA_LOSS, "the table is truncated: %zu bytes, its footer alone has %d", file.len,
                        MST_TABLE_FOOTER_BYTES);
    const uint8_t *footer = (const uint8_t *)file.data + file.len - MST_TABLE_FOOTER_BYTES;
    const uint8_t *magic = footer + MST_TABLE_FOOTER_BYTES - 8;
    if (((uint64_t)load_u32(magic + 4) << 32 | load_u32(magic)) != MST_TABLE_MAGIC)
        return mst_fail(err, MST_DATA_LOSS, "not a table, or truncated: its last 8 bytes are not the magic number");
    struct mst_bytes handles = {footer, MST_TABLE_FOOTER_BYTES - 8};
    struct mst_bytes entries = {0}, value = {0};
    struct key key = {0};
    MST_TRY(find_block(file, &handles, &entries, err)); // the metaindex: checked, and not used
    MST_TRY(find_block(file, &handles, &entries, err));
    while (entries.len > 0) {
        if (take_entry(&entries, &key, &value) != MST_OK)
            return mst_fail(err, MST_DATA_LOSS, "the table is broken: an entry of its index block does not fit");
        MST_TRY(walk_block(&walk, value));
    }
    return MST_OK;
}
