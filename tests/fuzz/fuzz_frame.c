// Streams of frames: any bytes, cut in any way. The first byte says how the rest is cut and what becomes of bodies, and
// whether checksums are made right first, so that what lies behind them is reached. However a stream is cut, the same
// messages must come out of it.
#include "rpc/parser.h"

#include "base/alloc.h"
#include "base/crc32c.h"
#include "base/error.h"
#include "muster/status.h"
#include "wire/frame.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum {
    BODY_MAX = 1 << 20, // larger ones are thrown away, so that one input costs little
    PARTS = 4,
    FORGES = 1, // bits of the first byte
    DRAINS = 2,
    PARKS = 4,
    CUT_SHIFT = 3, // the other bits: bytes a read
};

struct reader {
    struct mst_parser parser;
    const uint8_t *data;
    size_t left;
    uint8_t how;
    unsigned n_parks;
    uint8_t *body;
    struct iovec parts[3];
    uint32_t digest; // of all that came out
};

static void digest(struct reader *reader, const void *data, size_t len)
{
    reader->digest = mst_crc32c_extend(reader->digest, data, len);
}

static void on_head(struct reader *reader)
{
    uint64_t n_bytes = reader->parser.message.body_bytes;
    if ((reader->how & PARKS) && reader->n_parks++ % 3 != 2)
        return;
    if ((reader->how & DRAINS) || n_bytes > BODY_MAX) {
        digest(reader, "drained", 7);
        mst_parser_drain(&reader->parser);
        return;
    }
    free(reader->body);
    reader->body = mst_alloc((size_t)n_bytes); // exact, so that ASan sees a byte too many
    size_t third = (size_t)n_bytes / 3;
    reader->parts[0] = (struct iovec){reader->body, third};
    reader->parts[1] = (struct iovec){reader->body + third, 0};
    reader->parts[2] = (struct iovec){reader->body + third, (size_t)n_bytes - third};
    struct mst_sink sink = {reader->parts, 3};
    mst_parser_take(&reader->parser, &sink);
}

static void on_message(struct reader *reader)
{
    const struct mst_message *message = &reader->parser.message;
    digest(reader, &message->call, sizeof message->call);
    digest(reader, &message->method, sizeof message->method);
    digest(reader, message->meta.data, message->meta.len);
    if (message->body_bytes)
        digest(reader, reader->body, (size_t)message->body_bytes);
}

// False: the stream has failed.
static bool pump(struct reader *reader)
{
    while (true) {
        enum mst_parser_event event;
        struct mst_error err;
        mst_status status = mst_parser_next(&reader->parser, &event, &err);
        if (status != MST_OK) {
            digest(reader, &status, sizeof status);
            return false;
        }
        if (event == MST_PARSER_NEED)
            return true;
        if (event == MST_PARSER_HEAD)
            on_head(reader);
        else
            on_message(reader);
    }
}

static void feed(struct reader *reader, size_t n)
{
    struct iovec iov[PARTS];
    size_t n_parts = mst_parser_space(&reader->parser, iov, PARTS), n_fed = 0;
    MST_ASSERT(n_parts >= 1 && n_parts <= PARTS);
    n = n < reader->left ? n : reader->left;
    for (size_t i = 0; i < n_parts && n_fed < n; i++) {
        size_t len = iov[i].iov_len < n - n_fed ? iov[i].iov_len : n - n_fed;
        memcpy(iov[i].iov_base, reader->data + n_fed, len);
        n_fed += len;
    }
    MST_ASSERT(n_fed > 0);
    reader->data += n_fed;
    reader->left -= n_fed;
    mst_parser_filled(&reader->parser, n_fed);
}

static uint32_t read_all(const uint8_t *data, size_t size, uint8_t how, size_t cut)
{
    struct reader reader = {.data = data, .left = size, .how = how};
    mst_parser_init(&reader.parser, MST_FRAME_META_MAX);
    bool is_sound = pump(&reader);
    while (is_sound && reader.left) {
        feed(&reader, cut);
        is_sound = pump(&reader);
    }
    bool is_idle = is_sound && mst_parser_is_idle(&reader.parser);
    digest(&reader, &is_idle, sizeof is_idle);
    mst_parser_fini(&reader.parser);
    free(reader.body);
    return reader.digest;
}

// Makes the checksums right of every frame that is whole.
static void forge(uint8_t *data, size_t size)
{
    struct mst_frame frame;
    while (size >= MST_FRAME_HEADER_BYTES && mst_frame_decode(data, &frame, NULL) == MST_OK) {
        uint64_t whole = MST_FRAME_HEADER_BYTES + (uint64_t)frame.meta_bytes + frame.body_bytes;
        if (MST_FRAME_HEADER_BYTES + (uint64_t)frame.meta_bytes > size)
            return;
        uint8_t *meta = data + MST_FRAME_HEADER_BYTES;
        mst_frame_encode(&frame, meta, data);
        if (whole > size)
            return;
        if (frame.flags & MST_FRAME_BODY_CRC) {
            uint8_t *body = meta + frame.meta_bytes;
            size_t n = (size_t)frame.body_bytes - MST_FRAME_CRC_BYTES;
            uint32_t crc = mst_crc32c(body, n);
            for (size_t i = 0; i < MST_FRAME_CRC_BYTES; i++)
                body[n + i] = (uint8_t)(crc >> (8 * i));
        }
        data += whole;
        size -= (size_t)whole;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    uint8_t how = data[0];
    uint8_t *stream = mst_alloc(size);
    memcpy(stream, data + 1, size - 1);
    if (how & FORGES)
        forge(stream, size - 1);
    uint32_t in_pieces = read_all(stream, size - 1, how, 1 + (how >> CUT_SHIFT) * 7u);
    uint32_t at_once = read_all(stream, size - 1, how & (uint8_t)~PARKS, SIZE_MAX);
    MST_ASSERT(in_pieces == at_once);
    free(stream);
    return 0;
}
