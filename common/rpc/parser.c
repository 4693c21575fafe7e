// States: HEAD (header and meta come into the buffer) -> ANNOUNCED (a body needs a sink) -> BODY -> DONE -> HEAD, and
// DRAIN in place of BODY. The buffer is moved or replaced only in HEAD and DRAIN, when no message points into it.
// Lengths were checked against their limits by mst_frame_decode before any of them is used.
#include "rpc/parser.h"

#include "base/alloc.h"
#include "base/crc32c.h"
#include "base/error.h"

#include <stdlib.h>
#include <string.h>

enum { BASE_BYTES = 8192 }; // holds some small frames; of a large body at most this much is copied

void mst_parser_init(struct mst_parser *parser, uint32_t max_meta_bytes)
{
    *parser = (struct mst_parser){.max_meta_bytes = max_meta_bytes};
    parser->data = mst_alloc(BASE_BYTES);
    parser->capacity = BASE_BYTES;
}

void mst_parser_fini(struct mst_parser *parser)
{
    free(parser->data);
    *parser = (struct mst_parser){0};
}

// Gives the buffer n bytes, which hold what is not consumed.
static mst_status resize(struct mst_parser *parser, size_t n_bytes)
{
    void *data;
    MST_TRY(mst_try_alloc(n_bytes, &data));
    memcpy(data, parser->data + parser->start, parser->end - parser->start);
    free(parser->data);
    parser->data = data;
    parser->capacity = n_bytes;
    parser->end -= parser->start;
    parser->start = 0;
    return MST_OK;
}

// Makes room behind `end` without allocating.
static void compact(struct mst_parser *parser)
{
    size_t n_kept = parser->end - parser->start;
    if (n_kept && parser->start)
        memmove(parser->data, parser->data + parser->start, n_kept);
    parser->start = 0;
    parser->end = n_kept;
}

static void begin_frame(struct mst_parser *parser)
{
    parser->state = MST_PARSE_HEAD;
    parser->knows_frame = false;
    parser->message = (struct mst_message){0};
    // One large meta must not keep its buffer for the life of the connection; when this fails, it does.
    if (parser->capacity > BASE_BYTES && parser->end - parser->start <= BASE_BYTES / 2) {
        mst_status status = resize(parser, BASE_BYTES);
        (void)status;
    }
}

// Header and meta, when they are whole. False in *done: more bytes are needed.
static mst_status read_head(struct mst_parser *parser, bool *done, struct mst_error *err)
{
    *done = false;
    size_t n_there = parser->end - parser->start;
    if (n_there < MST_FRAME_HEADER_BYTES)
        return MST_OK;
    const uint8_t *header = parser->data + parser->start;
    struct mst_frame frame;
    mst_status status = mst_frame_decode(header, &frame, err);
    parser->message = (struct mst_message){.flags = frame.flags, .method = frame.method, .call = frame.call};
    parser->knows_frame = status != MST_INVALID_ARGUMENT;
    MST_TRY(status);
    if (frame.meta_bytes > parser->max_meta_bytes)
        return mst_fail(err, MST_RESOURCE_EXHAUSTED, "frame meta of %u bytes exceeds %u, the limit before a greeting",
                        frame.meta_bytes, parser->max_meta_bytes);
    size_t n_needed = MST_FRAME_HEADER_BYTES + (size_t)frame.meta_bytes;
    if (n_needed > parser->capacity && resize(parser, n_needed) != MST_OK)
        return mst_fail(err, MST_RESOURCE_EXHAUSTED, "no memory for frame meta of %u bytes", frame.meta_bytes);
    if (n_there < n_needed)
        return MST_OK;
    header = parser->data + parser->start;
    const uint8_t *meta = header + MST_FRAME_HEADER_BYTES;
    MST_TRY(mst_frame_check(header, meta, err));
    bool has_crc = (frame.flags & MST_FRAME_BODY_CRC) != 0;
    parser->message.meta = (struct mst_bytes){meta, frame.meta_bytes};
    parser->message.body_bytes = frame.body_bytes - (has_crc ? MST_FRAME_CRC_BYTES : 0);
    parser->body_left = parser->message.body_bytes;
    parser->crc_len = has_crc ? 0 : MST_FRAME_CRC_BYTES;
    parser->start += n_needed;
    *done = true;
    return MST_OK;
}

void mst_parser_take(struct mst_parser *parser, const struct mst_sink *sink)
{
    MST_ASSERT(parser->state == MST_PARSE_ANNOUNCED);
    uint64_t n_bytes = 0;
    for (size_t i = 0; i < sink->n_parts; i++)
        n_bytes += sink->parts[i].iov_len;
    MST_ASSERT(n_bytes == parser->message.body_bytes); // the sink is ours, and was made for this message
    parser->sink = *sink;
    parser->part = 0;
    parser->part_offset = 0;
    parser->sum = 0;
    parser->state = MST_PARSE_BODY;
}

void mst_parser_drain(struct mst_parser *parser)
{
    MST_ASSERT(parser->state == MST_PARSE_ANNOUNCED || parser->state == MST_PARSE_BODY);
    parser->body_left += MST_FRAME_CRC_BYTES - parser->crc_len;
    parser->crc_len = MST_FRAME_CRC_BYTES;
    parser->sink = (struct mst_sink){0};
    parser->state = MST_PARSE_DRAIN;
}

// Notes that n more bytes of the body lie in the sink. They are in the cache, so this is when their CRC is cheap.
static void advance(struct mst_parser *parser, size_t n_bytes)
{
    bool has_crc = (parser->message.flags & MST_FRAME_BODY_CRC) != 0;
    parser->body_left -= n_bytes;
    while (n_bytes) {
        const struct iovec *to = &parser->sink.parts[parser->part];
        size_t room = to->iov_len - parser->part_offset;
        size_t n = n_bytes < room ? n_bytes : room;
        if (has_crc)
            parser->sum = mst_crc32c_extend(parser->sum, (uint8_t *)to->iov_base + parser->part_offset, n);
        parser->part_offset += n;
        n_bytes -= n;
        if (n == room) {
            parser->part++;
            parser->part_offset = 0;
        }
    }
}

// Moves what the buffer already holds of the body to the sink.
static void copy_body(struct mst_parser *parser)
{
    while (parser->body_left && parser->start < parser->end) {
        const struct iovec *part = &parser->sink.parts[parser->part];
        size_t room = part->iov_len - parser->part_offset;
        size_t n_there = parser->end - parser->start;
        size_t n = n_there < room ? n_there : room;
        if (n)
            memcpy((uint8_t *)part->iov_base + parser->part_offset, parser->data + parser->start, n);
        if (room)
            advance(parser, n);
        else
            parser->part++;
        parser->start += n;
    }
    while (!parser->body_left && parser->crc_len < MST_FRAME_CRC_BYTES && parser->start < parser->end)
        parser->crc[parser->crc_len++] = parser->data[parser->start++];
}

static mst_status check_body(const struct mst_parser *parser, struct mst_error *err)
{
    if (!(parser->message.flags & MST_FRAME_BODY_CRC))
        return MST_OK;
    uint32_t computed = parser->sum;
    const uint8_t *crc = parser->crc;
    uint32_t written = (uint32_t)crc[0] | (uint32_t)crc[1] << 8 | (uint32_t)crc[2] << 16 | (uint32_t)crc[3] << 24;
    if (written != computed)
        return mst_fail(err, MST_DATA_LOSS, "body of %s says crc32c %08x, its bytes give %08x",
                        mst_method_name(parser->message.method), written, computed);
    return MST_OK;
}

static mst_status next_in_head(struct mst_parser *parser, enum mst_parser_event *out, struct mst_error *err)
{
    bool is_whole;
    MST_TRY(read_head(parser, &is_whole, err));
    if (!is_whole)
        return MST_OK;
    if (parser->body_left) {
        parser->state = MST_PARSE_ANNOUNCED;
        *out = MST_PARSER_HEAD;
        return MST_OK;
    }
    // No body, but perhaps the CRC of none.
    parser->sink = (struct mst_sink){0};
    parser->sum = 0;
    parser->state = MST_PARSE_BODY;
    return mst_parser_next(parser, out, err);
}

static mst_status next_in_body(struct mst_parser *parser, enum mst_parser_event *out, struct mst_error *err)
{
    copy_body(parser);
    if (parser->body_left || parser->crc_len < MST_FRAME_CRC_BYTES)
        return MST_OK;
    MST_TRY(check_body(parser, err));
    parser->state = MST_PARSE_DONE;
    *out = MST_PARSER_MESSAGE;
    return MST_OK;
}

mst_status mst_parser_next(struct mst_parser *parser, enum mst_parser_event *out, struct mst_error *err)
{
    *out = MST_PARSER_NEED;
    if (parser->state == MST_PARSE_DRAIN) {
        size_t n_there = parser->end - parser->start;
        size_t n = n_there < parser->body_left ? n_there : (size_t)parser->body_left;
        parser->start += n;
        parser->body_left -= n;
        if (parser->body_left)
            return MST_OK;
    }
    if (parser->state == MST_PARSE_DRAIN || parser->state == MST_PARSE_DONE)
        begin_frame(parser);
    switch (parser->state) {
    case MST_PARSE_HEAD:
        return next_in_head(parser, out, err);
    case MST_PARSE_ANNOUNCED:
        *out = MST_PARSER_HEAD;
        return MST_OK;
    default:
        return next_in_body(parser, out, err);
    }
}

// Where the next bytes of the body go; one with a CRC is read in pieces. Returns how many parts, of at most max.
static size_t body_space(const struct mst_parser *parser, struct iovec *iov, size_t max, bool *is_all)
{
    bool has_crc = (parser->message.flags & MST_FRAME_BODY_CRC) != 0;
    size_t n_room = has_crc ? MST_CRC32C_PIECE_BYTES : SIZE_MAX;
    size_t n = 0, offset = parser->part_offset, part = parser->part;
    for (; part < parser->sink.n_parts && n < max && n_room; part++, offset = 0) {
        const struct iovec *to = &parser->sink.parts[part];
        size_t n_left = to->iov_len - offset;
        size_t n_bytes = n_left < n_room ? n_left : n_room;
        if (n_bytes)
            iov[n++] = (struct iovec){(uint8_t *)to->iov_base + offset, n_bytes};
        n_room -= n_bytes;
        if (n_bytes < n_left)
            break;
    }
    *is_all = part >= parser->sink.n_parts;
    return n;
}

size_t mst_parser_space(struct mst_parser *parser, struct iovec *iov, size_t max)
{
    size_t n = 0;
    if (parser->state == MST_PARSE_BODY) {
        bool is_all;
        n = body_space(parser, iov, max - 2, &is_all);
        if (!is_all)
            return n;
        if (parser->crc_len < MST_FRAME_CRC_BYTES)
            iov[n++] = (struct iovec){parser->crc + parser->crc_len, MST_FRAME_CRC_BYTES - parser->crc_len};
    } else if (parser->state != MST_PARSE_ANNOUNCED && parser->state != MST_PARSE_DONE) {
        compact(parser);
    }
    if (parser->end < parser->capacity)
        iov[n++] = (struct iovec){parser->data + parser->end, parser->capacity - parser->end};
    return n;
}

void mst_parser_filled(struct mst_parser *parser, size_t n_bytes)
{
    if (parser->state == MST_PARSE_BODY) {
        size_t n_body = n_bytes < parser->body_left ? n_bytes : (size_t)parser->body_left;
        advance(parser, n_body);
        n_bytes -= n_body;
        size_t n_crc = MST_FRAME_CRC_BYTES - parser->crc_len;
        if (parser->body_left)
            return;
        n_crc = n_bytes < n_crc ? n_bytes : n_crc;
        parser->crc_len += n_crc;
        n_bytes -= n_crc;
    }
    parser->end += n_bytes;
}

bool mst_parser_is_idle(const struct mst_parser *parser)
{
    return (parser->state == MST_PARSE_HEAD || parser->state == MST_PARSE_DONE) && parser->start == parser->end;
}
