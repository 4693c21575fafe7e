// The index entry of a block is written when the next block's first key is known, because the separator may be shorter
// than either key. The same bytes as TensorFlow's writer, so that its own files serve as golden ones.
#include "tfio/table_writer.h"

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/crc32c.h"
#include "base/error.h"
#include "muster/status.h"
#include "tfio/proto_fields.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { BLOCK_BYTES = 256 << 10, RESTART_INTERVAL = 16, INDEX_RESTART_INTERVAL = 1 };

struct block {
    struct mst_buf bytes;
    struct mst_buf last_key;
    struct mst_buf restarts; // u32 each
    size_t n_since_restart;
    size_t restart_interval;
};

struct handle {
    uint64_t offset;
    uint64_t size;
};

struct mst_table {
    struct mst_buf file;
    struct block data;
    struct block index;
    bool has_pending; // a data block is written whose index entry is not
    struct handle pending;
    struct mst_buf pending_key; // the last key of that block
};

static mst_status append_u32(struct mst_buf *buf, uint32_t value)
{
    uint8_t bytes[4];
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)(value >> (8 * i));
    return mst_buf_append(buf, bytes, sizeof bytes);
}

static mst_status set_bytes(struct mst_buf *buf, const void *data, size_t len)
{
    mst_buf_reset(buf);
    return mst_buf_append(buf, data, len);
}

static void block_init(struct block *block, size_t restart_interval)
{
    mst_buf_init(&block->bytes, MST_TABLE_MAX_BYTES);
    mst_buf_init(&block->last_key, MST_TABLE_MAX_BYTES);
    mst_buf_init(&block->restarts, MST_TABLE_MAX_BYTES);
    block->n_since_restart = 0;
    block->restart_interval = restart_interval;
}

static void block_fini(struct block *block)
{
    mst_buf_fini(&block->bytes);
    mst_buf_fini(&block->last_key);
    mst_buf_fini(&block->restarts);
}

static size_t n_shared(const struct mst_buf *a, struct mst_bytes b)
{
    const uint8_t *bytes = b.data;
    size_t n = 0;
    while (n < a->len && n < b.len && a->data[n] == bytes[n])
        n++;
    return n;
}

static mst_status block_add(struct block *block, struct mst_bytes key, struct mst_bytes value)
{
    size_t shared = 0;
    if (block->bytes.len > 0 && block->n_since_restart < block->restart_interval) {
        shared = n_shared(&block->last_key, key);
    } else {
        MST_TRY(append_u32(&block->restarts, (uint32_t)block->bytes.len));
        block->n_since_restart = 0;
    }
    MST_TRY(mst_varint_append(&block->bytes, shared));
    MST_TRY(mst_varint_append(&block->bytes, key.len - shared));
    MST_TRY(mst_varint_append(&block->bytes, value.len));
    if (key.len > shared) // an empty key may be NULL
        MST_TRY(mst_buf_append(&block->bytes, (const uint8_t *)key.data + shared, key.len - shared));
    MST_TRY(mst_buf_append(&block->bytes, value.data, value.len));
    block->n_since_restart++;
    return set_bytes(&block->last_key, key.data, key.len);
}

// Appends the block to the file and empties it.
static mst_status block_write(struct block *block, struct mst_buf *file, struct handle *handle)
{
    if (block->restarts.len == 0)
        MST_TRY(append_u32(&block->restarts, 0)); // also an empty block has one restart
    uint32_t n_restarts = (uint32_t)(block->restarts.len / 4);
    MST_TRY(mst_buf_append(&block->bytes, block->restarts.data, block->restarts.len));
    MST_TRY(append_u32(&block->bytes, n_restarts));
    *handle = (struct handle){file->len, block->bytes.len};
    MST_TRY(mst_buf_append(&block->bytes, "\0", 1)); // no compression
    uint32_t crc = mst_crc32c_mask(mst_crc32c(block->bytes.data, block->bytes.len));
    MST_TRY(mst_buf_append(file, block->bytes.data, block->bytes.len));
    MST_TRY(append_u32(file, crc));
    mst_buf_reset(&block->bytes);
    mst_buf_reset(&block->last_key);
    mst_buf_reset(&block->restarts);
    block->n_since_restart = 0;
    return MST_OK;
}

// Shortens *key to something >= itself and < next: the first differing byte plus one, if that still is below next's.
static void shorten_below(struct mst_buf *key, struct mst_bytes next)
{
    size_t i = n_shared(key, next);
    if (i >= key->len || i >= next.len)
        return; // one is the beginning of the other
    uint8_t byte = key->data[i];
    if (byte < 0xff && byte + 1 < ((const uint8_t *)next.data)[i]) {
        key->data[i]++;
        key->len = i + 1;
    }
}

// Shortens the last key to something >= itself: up to its first byte that can be increased, increased.
static void shorten_last(struct mst_buf *key)
{
    for (size_t i = 0; i < key->len; i++) {
        if (key->data[i] != 0xff) {
            key->data[i]++;
            key->len = i + 1;
            return;
        }
    }
}

static mst_status append_handle(struct mst_buf *buf, const struct handle *handle)
{
    MST_TRY(mst_varint_append(buf, handle->offset));
    return mst_varint_append(buf, handle->size);
}

static mst_status add_pending(struct mst_table *table)
{
    struct mst_buf value;
    mst_buf_init(&value, 2 * 10);
    mst_status status = append_handle(&value, &table->pending);
    if (status == MST_OK)
        status = block_add(&table->index, mst_buf_view(&table->pending_key), mst_buf_view(&value));
    mst_buf_fini(&value);
    table->has_pending = false;
    return status;
}

static mst_status flush(struct mst_table *table)
{
    if (table->data.bytes.len == 0)
        return MST_OK;
    MST_TRY(set_bytes(&table->pending_key, table->data.last_key.data, table->data.last_key.len));
    MST_TRY(block_write(&table->data, &table->file, &table->pending));
    table->has_pending = true;
    return MST_OK;
}

struct mst_table *mst_table_new(void)
{
    struct mst_table *table = mst_alloc(sizeof *table);
    mst_buf_init(&table->file, MST_TABLE_MAX_BYTES);
    mst_buf_init(&table->pending_key, MST_TABLE_MAX_BYTES);
    block_init(&table->data, RESTART_INTERVAL);
    block_init(&table->index, INDEX_RESTART_INTERVAL);
    return table;
}

void mst_table_free(struct mst_table *table)
{
    if (!table)
        return;
    mst_buf_fini(&table->file);
    mst_buf_fini(&table->pending_key);
    block_fini(&table->data);
    block_fini(&table->index);
    free(table);
}

mst_status mst_table_add(struct mst_table *table, struct mst_bytes key, struct mst_bytes value)
{
    if (table->has_pending) {
        shorten_below(&table->pending_key, key);
        MST_TRY(add_pending(table));
    }
    MST_TRY(block_add(&table->data, key, value));
    size_t estimate = table->data.bytes.len + table->data.restarts.len + 4;
    return estimate >= BLOCK_BYTES ? flush(table) : MST_OK;
}

static mst_status append_footer(struct mst_buf *file, const struct handle *metaindex, const struct handle *index)
{
    size_t begin = file->len;
    uint8_t magic[8];
    MST_TRY(append_handle(file, metaindex));
    MST_TRY(append_handle(file, index));
    while (file->len - begin < MST_TABLE_FOOTER_BYTES - sizeof magic)
        MST_TRY(mst_buf_append(file, "\0", 1));
    for (size_t i = 0; i < sizeof magic; i++)
        magic[i] = (uint8_t)(MST_TABLE_MAGIC >> (8 * i));
    return mst_buf_append(file, magic, sizeof magic);
}

mst_status mst_table_finish(struct mst_table *table, struct mst_bytes *out)
{
    struct handle metaindex, index;
    *out = (struct mst_bytes){0};
    MST_TRY(flush(table));
    MST_TRY(
        block_write(&table->data, &table->file, &metaindex)); // the data block is empty again: it serves as metaindex
    if (table->has_pending) {
        shorten_last(&table->pending_key);
        MST_TRY(add_pending(table));
    }
    MST_TRY(block_write(&table->index, &table->file, &index));
    MST_TRY(append_footer(&table->file, &metaindex, &index));
    *out = mst_buf_view(&table->file);
    return MST_OK;
}
