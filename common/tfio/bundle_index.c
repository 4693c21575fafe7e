// One walk over the table. The keys of slices begin with a zero byte, so they come before all names: they are kept
// aside, by key, and when a partitioned variable's entry lists its slices each is looked up under the key that its
// extents give. Nothing has to be decoded from a key, and a slice that no entry names is simply never used.
#include "bundle_index.h"

#include "base/arena.h"
#include "base/bytes.h"
#include "base/error.h"
#include "bundle_fields.h"
#include "muster/status.h"
#include "tensor/shape.h"
#include "tfio/bundle.h"
#include "tfio/bundle_reader.h"
#include "tfio/ordered_code.h"
#include "tfio/proto_fields.h"
#include "tfio/table_reader.h"
#include "tfio/tf_types.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

// Comparing all pairs of boxes is fine up to here; slices of rows only are compared in order and need no limit.
enum { BOXES_MAX = 1024 };

// One BundleEntryProto.
struct message {
    uint64_t type;
    struct mst_shape shape;
    uint64_t shard;
    struct mst_bundle_piece piece;
    size_t n_slices;
};

struct slice_record {
    struct mst_bytes key; // in the arena
    struct message message;
};

struct parse {
    struct mst_bundle_catalog *catalog;
    struct slice_record *slices;
    size_t n_slices;
    size_t capacity;
    bool has_header;
};

static mst_status broken(struct mst_error *err, const char *name, const char *what)
{
    return mst_fail(err, MST_DATA_LOSS, "the entry \"%s\" is broken: %s", name, what);
}

// *array with room for one more; the count is bounded by MST_BUNDLE_ENTRIES_MAX.
static mst_status grow(void **array, size_t n, size_t *capacity, size_t element_bytes, struct mst_error *err)
{
    if (n < *capacity)
        return MST_OK;
    if (n >= MST_BUNDLE_ENTRIES_MAX)
        return mst_fail(err, MST_RESOURCE_EXHAUSTED, "more than %d tensors and slices, the limit",
                        MST_BUNDLE_ENTRIES_MAX);
    size_t more = *capacity ? 2 * *capacity : 64;
    void *grown = realloc(*array, more * element_bytes);
    if (!grown)
        return mst_fail(err, MST_RESOURCE_EXHAUSTED, "no memory for %zu entries", more);
    *array = grown;
    *capacity = more;
    return MST_OK;
}

static mst_status parse_dim(struct mst_bytes rest, size_t *out)
{
    struct mst_proto_field field;
    *out = 0;
    while (rest.len > 0) {
        MST_TRY(mst_proto_next(&rest, &field));
        if (field.number == DIM_SIZE && field.wire == MST_PROTO_VARINT) {
            if (field.value > INT64_MAX) // an unknown size, -1
                return MST_DATA_LOSS;
            *out = (size_t)field.value;
        }
    }
    return MST_OK;
}

static mst_status parse_shape(struct mst_bytes rest, struct mst_shape *shape)
{
    struct mst_proto_field field;
    while (rest.len > 0) {
        MST_TRY(mst_proto_next(&rest, &field));
        if (field.number == SHAPE_UNKNOWN_RANK && field.value != 0)
            return MST_DATA_LOSS;
        if (field.number != SHAPE_DIM || field.wire != MST_PROTO_BYTES)
            continue;
        if (shape->rank == MST_SHAPE_MAX_RANK)
            return MST_UNIMPLEMENTED;
        MST_TRY(parse_dim(field.bytes, &shape->dims[shape->rank]));
        shape->rank++;
    }
    return MST_OK;
}

static mst_status parse_message(struct mst_bytes rest, struct message *out)
{
    struct mst_proto_field field;
    *out = (struct message){0};
    while (rest.len > 0) {
        MST_TRY(mst_proto_next(&rest, &field));
        if (field.wire == MST_PROTO_VARINT && field.number == ENTRY_DTYPE)
            out->type = field.value;
        else if (field.wire == MST_PROTO_VARINT && field.number == ENTRY_SHARD)
            out->shard = field.value;
        else if (field.wire == MST_PROTO_VARINT && field.number == ENTRY_OFFSET)
            out->piece.offset_bytes = field.value;
        else if (field.wire == MST_PROTO_VARINT && field.number == ENTRY_SIZE)
            out->piece.size_bytes = field.value;
        else if (field.wire == MST_PROTO_FIXED32 && field.number == ENTRY_CRC)
            out->piece.crc32c = (uint32_t)field.value;
        else if (field.wire == MST_PROTO_BYTES && field.number == ENTRY_SHAPE)
            MST_TRY(parse_shape(field.bytes, &out->shape));
        else if (field.wire == MST_PROTO_BYTES && field.number == ENTRY_SLICES)
            out->n_slices++;
    }
    return MST_OK;
}

static mst_status parse_version(struct mst_bytes rest, uint64_t *min_consumer)
{
    struct mst_proto_field field;
    while (rest.len > 0) {
        MST_TRY(mst_proto_next(&rest, &field));
        if (field.number == VERSION_MIN_CONSUMER && field.wire == MST_PROTO_VARINT)
            *min_consumer = field.value;
    }
    return MST_OK;
}

static mst_status parse_header(struct mst_bundle_catalog *catalog, struct mst_bytes rest, struct mst_error *err)
{
    struct mst_proto_field field;
    uint64_t n_shards = 0, endianness = 0, min_consumer = 0;
    while (rest.len > 0) {
        mst_status status = mst_proto_next(&rest, &field);
        if (status == MST_OK && field.number == HEADER_VERSION && field.wire == MST_PROTO_BYTES)
            status = parse_version(field.bytes, &min_consumer);
        if (status != MST_OK)
            return mst_fail(err, MST_DATA_LOSS, "the bundle header is broken");
        if (field.number == HEADER_NUM_SHARDS && field.wire == MST_PROTO_VARINT)
            n_shards = field.value;
        if (field.number == HEADER_ENDIANNESS && field.wire == MST_PROTO_VARINT)
            endianness = field.value;
    }
    if (n_shards < 1 || n_shards > MST_BUNDLE_SHARDS_MAX)
        return mst_fail(err, MST_DATA_LOSS, "the bundle header says %llu shards; there are 1 to %d",
                        (unsigned long long)n_shards, MST_BUNDLE_SHARDS_MAX);
    if (endianness != 0)
        return mst_fail(err, MST_UNIMPLEMENTED, "the bundle is big-endian; only little-endian ones can be read");
    if (min_consumer > BUNDLE_VERSION)
        return mst_fail(err, MST_UNIMPLEMENTED,
                        "the bundle is of a newer format: it needs a reader of version %llu, and this one is of %d",
                        (unsigned long long)min_consumer, BUNDLE_VERSION);
    catalog->n_shards = (size_t)n_shards;
    return MST_OK;
}

// Bytes of a tensor of this shape, 0 for types without a fixed size.
static mst_status bytes_of(uint64_t type, const struct mst_shape *shape, uint64_t *out)
{
    size_t n_elements;
    *out = 0;
    MST_TRY(mst_shape_count(shape, &n_elements));
    uint64_t element_bytes = type > UINT32_MAX ? 0 : mst_tf_type_bytes((uint32_t)type);
    if (__builtin_mul_overflow((uint64_t)n_elements, element_bytes, out) || *out > INT64_MAX)
        return MST_DATA_LOSS;
    return MST_OK;
}

static mst_status check_stored(const struct mst_bundle_catalog *catalog, const struct message *message,
                               const char *name, struct mst_error *err)
{
    uint64_t bytes;
    if (message->shard >= catalog->n_shards)
        return broken(err, name, "its shard is past the last one");
    if (bytes_of(message->type, &message->shape, &bytes) != MST_OK)
        return broken(err, name, "its shape is too large");
    uint64_t size = message->piece.size_bytes;
    if (message->piece.offset_bytes > INT64_MAX || size > INT64_MAX - message->piece.offset_bytes)
        return broken(err, name, "its offset or size is too large");
    if (message->type <= UINT32_MAX && mst_tf_type_bytes((uint32_t)message->type) > 0 && size != bytes)
        return broken(err, name, "its size is not what type and shape give");
    return MST_OK;
}

static mst_status add_stored(struct mst_bundle_catalog *catalog, const struct message *message,
                             const struct mst_slice_axis *axes, struct mst_error *err)
{
    void *array = catalog->stored;
    MST_TRY(grow(&array, catalog->n_stored, &catalog->stored_capacity, sizeof *catalog->stored, err));
    catalog->stored = array;
    struct mst_bundle_stored *stored = &catalog->stored[catalog->n_stored++];
    *stored = (struct mst_bundle_stored){.shard = (size_t)message->shard, .piece = message->piece};
    for (size_t axis = 0; axis < message->shape.rank; axis++) {
        stored->start[axis] = axes ? (size_t)axes[axis].start : 0;
        stored->length[axis] = message->shape.dims[axis];
    }
    return MST_OK;
}

static mst_status parse_extent(struct mst_bytes rest, struct mst_slice_axis *axis)
{
    struct mst_proto_field field;
    *axis = (struct mst_slice_axis){0, MST_SLICE_WHOLE};
    while (rest.len > 0) {
        MST_TRY(mst_proto_next(&rest, &field));
        if (field.wire != MST_PROTO_VARINT)
            continue;
        if (field.value > INT64_MAX)
            return MST_DATA_LOSS;
        if (field.number == EXTENT_START)
            axis->start = (int64_t)field.value;
        if (field.number == EXTENT_LENGTH)
            axis->length = (int64_t)field.value;
    }
    return axis->length == MST_SLICE_WHOLE && axis->start != 0 ? MST_DATA_LOSS : MST_OK;
}

// The axes of a slice, and its box in *box, inside the shape of the variable.
static mst_status parse_slice(struct mst_bytes rest, const struct mst_shape *shape, struct mst_slice_axis *axes,
                              struct mst_shape *box)
{
    struct mst_proto_field field;
    box->rank = 0;
    while (rest.len > 0) {
        MST_TRY(mst_proto_next(&rest, &field));
        if (field.number != SLICE_EXTENT || field.wire != MST_PROTO_BYTES)
            continue;
        if (box->rank == shape->rank)
            return MST_DATA_LOSS;
        size_t dim = shape->dims[box->rank];
        struct mst_slice_axis *axis = &axes[box->rank];
        MST_TRY(parse_extent(field.bytes, axis));
        size_t length = axis->length == MST_SLICE_WHOLE ? dim : (size_t)axis->length;
        if (length > dim || (size_t)axis->start > dim - length)
            return MST_DATA_LOSS;
        box->dims[box->rank++] = length;
    }
    return box->rank == shape->rank ? MST_OK : MST_DATA_LOSS;
}

static const struct slice_record *find_slice(const struct parse *parse, struct mst_bytes key)
{
    size_t low = 0, high = parse->n_slices; // the table is in order of keys, so the records are
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        struct mst_bytes other = parse->slices[middle].key;
        int order = memcmp(key.data, other.data, key.len < other.len ? key.len : other.len);
        if (order == 0)
            order = (key.len > other.len) - (key.len < other.len);
        if (order == 0)
            return &parse->slices[middle];
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return NULL;
}

static mst_status add_slice(struct parse *parse, const struct mst_bundle_item *item, const struct message *full,
                            struct mst_bytes slice, struct mst_error *err)
{
    struct mst_slice_axis axes[MST_SHAPE_MAX_RANK];
    struct mst_shape box;
    const char *name = item->entry.name;
    if (parse_slice(slice, &full->shape, axes, &box) != MST_OK)
        return broken(err, name, "one of its slices does not fit its shape");
    struct mst_buf key;
    mst_buf_init(&key, MST_TABLE_KEY_MAX);
    mst_status status = mst_slice_key_append(&key, name, axes, box.rank);
    const struct slice_record *record = status == MST_OK ? find_slice(parse, mst_buf_view(&key)) : NULL;
    mst_buf_fini(&key);
    if (!record)
        return broken(err, name, "the data of one of its slices is not in the index");
    if (record->message.type != full->type || !mst_shape_equal(&record->message.shape, &box))
        return broken(err, name, "one of its slices has another type or shape than it says");
    MST_TRY(check_stored(parse->catalog, &record->message, name, err));
    return add_stored(parse->catalog, &record->message, axes, err);
}

static int by_start(const void *a, const void *b)
{
    const struct mst_bundle_stored *x = a;
    const struct mst_bundle_stored *y = b;
    for (size_t axis = 0; axis < MST_SHAPE_MAX_RANK; axis++)
        if (x->start[axis] != y->start[axis])
            return x->start[axis] < y->start[axis] ? -1 : 1;
    return 0;
}

static bool are_disjoint(const struct mst_bundle_stored *a, const struct mst_bundle_stored *b, size_t rank)
{
    for (size_t axis = 0; axis < rank; axis++)
        if (a->start[axis] + a->length[axis] <= b->start[axis] || b->start[axis] + b->length[axis] <= a->start[axis])
            return true;
    return false;
}

// Disjoint boxes inside the shape whose volumes add up to its volume cover it exactly.
static mst_status check_cover(const struct mst_bundle_item *item, struct mst_bundle_stored *stored,
                              struct mst_error *err)
{
    const struct mst_shape *shape = &item->entry.shape;
    uint64_t bytes = 0;
    bool rows_only = true;
    for (size_t i = 0; i < item->n_stored; i++) {
        bytes += stored[i].piece.size_bytes; // both below 2^63
        if (bytes > item->entry.size_bytes)
            break;
        for (size_t axis = 1; axis < shape->rank; axis++)
            rows_only = rows_only && stored[i].length[axis] == shape->dims[axis];
    }
    if (bytes != item->entry.size_bytes)
        return broken(err, item->entry.name, "its slices do not cover it exactly");
    if (!rows_only && item->n_stored > BOXES_MAX)
        return mst_fail(err, MST_UNIMPLEMENTED, "%s has %zu slices across several axes; the limit is %d",
                        item->entry.name, item->n_stored, BOXES_MAX);
    qsort(stored, item->n_stored, sizeof *stored, by_start);
    for (size_t i = 0; i + 1 < item->n_stored; i++)
        for (size_t k = i + 1; k < (rows_only ? i + 2 : item->n_stored); k++)
            if (!are_disjoint(&stored[i], &stored[k], shape->rank))
                return broken(err, item->entry.name, "its slices overlap");
    return MST_OK;
}

static mst_status add_slices(struct parse *parse, struct mst_bundle_item *item, const struct message *full,
                             struct mst_bytes rest, struct mst_error *err)
{
    if (item->entry.size_bytes == 0 || item->entry.shape.rank == 0)
        return broken(err, item->entry.name, "it has slices, but no elements of a fixed size");
    if (full->n_slices > MST_BUNDLE_SLICES_MAX)
        return mst_fail(err, MST_RESOURCE_EXHAUSTED, "%s has %zu slices; the limit is %d", item->entry.name,
                        full->n_slices, MST_BUNDLE_SLICES_MAX);
    struct mst_proto_field field;
    while (rest.len > 0) {
        if (mst_proto_next(&rest, &field) != MST_OK) // parsed before, so it does not happen
            return broken(err, item->entry.name, "its message is cut off");
        if (field.number == ENTRY_SLICES && field.wire == MST_PROTO_BYTES)
            MST_TRY(add_slice(parse, item, full, field.bytes, err));
    }
    item->n_stored = parse->catalog->n_stored - item->first_stored;
    return check_cover(item, &parse->catalog->stored[item->first_stored], err);
}

static mst_status add_item(struct parse *parse, const char *name, const struct message *message, struct mst_bytes value,
                           struct mst_error *err)
{
    struct mst_bundle_catalog *catalog = parse->catalog;
    void *array = catalog->items;
    MST_TRY(grow(&array, catalog->n_items, &catalog->items_capacity, sizeof *catalog->items, err));
    catalog->items = array;
    struct mst_bundle_item *item = &catalog->items[catalog->n_items];
    *item = (struct mst_bundle_item){.entry = {.name = name, .shape = message->shape}};
    item->entry.type = message->type > UINT32_MAX ? 0 : (uint32_t)message->type;
    item->entry.is_partitioned = message->n_slices > 0;
    item->first_stored = catalog->n_stored;
    if (bytes_of(message->type, &message->shape, &item->entry.size_bytes) != MST_OK)
        return broken(err, name, "its shape is too large");
    if (message->n_slices > 0) {
        MST_TRY(add_slices(parse, item, message, value, err));
    } else {
        MST_TRY(check_stored(catalog, message, name, err));
        MST_TRY(add_stored(catalog, message, NULL, err));
        item->n_stored = 1;
    }
    catalog->n_items++;
    return MST_OK;
}

static mst_status add_slice_record(struct parse *parse, struct mst_bytes key, const struct message *message,
                                   struct mst_error *err)
{
    void *array = parse->slices;
    MST_TRY(grow(&array, parse->n_slices, &parse->capacity, sizeof *parse->slices, err));
    parse->slices = array;
    parse->slices[parse->n_slices++] = (struct slice_record){key, *message};
    return MST_OK;
}

static mst_status on_entry(void *context, struct mst_bytes key, struct mst_bytes value, struct mst_error *err)
{
    struct parse *parse = context;
    struct message message;
    char *name;
    if (key.len == 0) {
        parse->has_header = true;
        return parse_header(parse->catalog, value, err);
    }
    if (!parse->has_header)
        return mst_fail(err, MST_DATA_LOSS, "the index has no bundle header: it is not a TensorBundle");
    if (mst_arena_text(&parse->catalog->arena, key.data, key.len, &name) != MST_OK)
        return mst_fail(err, MST_RESOURCE_EXHAUSTED, "its names take more than %llu bytes",
                        (unsigned long long)MST_BUNDLE_MEMORY_MAX_BYTES);
    bool is_slice = name[0] == '\0';
    if (!is_slice && (key.len > MST_BUNDLE_NAME_MAX || memchr(name, '\0', key.len)))
        return mst_fail(err, MST_DATA_LOSS, "a tensor name of %zu bytes, or with a zero byte in it", key.len);
    mst_status status = parse_message(value, &message);
    if (status == MST_UNIMPLEMENTED)
        return mst_fail(err, status, "the tensor \"%s\" has more than %d axes", is_slice ? "(a slice)" : name,
                        MST_SHAPE_MAX_RANK);
    if (status != MST_OK)
        return broken(err, is_slice ? "(a slice)" : name, "its message cannot be decoded");
    if (is_slice)
        return add_slice_record(parse, (struct mst_bytes){name, key.len}, &message, err);
    return add_item(parse, name, &message, value, err);
}

mst_status mst_bundle_catalog_parse(struct mst_bundle_catalog *catalog, struct mst_bytes file, struct mst_error *err)
{
    *catalog = (struct mst_bundle_catalog){0};
    mst_arena_init(&catalog->arena, (size_t)MST_BUNDLE_MEMORY_MAX_BYTES);
    struct parse parse = {.catalog = catalog};
    mst_status status = mst_table_each(file, on_entry, &parse, err);
    if (status == MST_OK && !parse.has_header)
        status = mst_fail(err, MST_DATA_LOSS, "the index is empty: it is not a TensorBundle");
    free(parse.slices);
    return status;
}

void mst_bundle_catalog_fini(struct mst_bundle_catalog *catalog)
{
    free(catalog->items);
    free(catalog->stored);
    mst_arena_fini(&catalog->arena);
    *catalog = (struct mst_bundle_catalog){0};
}
