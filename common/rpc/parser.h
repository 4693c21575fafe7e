/** @file
 *  The incremental reader of frames, without sockets: it says where the next bytes go and what they made.
 *
 *      n = mst_parser_space(&parser, iov, 64);           // readv into these
 *      mst_parser_filled(&parser, n_bytes);
 *      while (true) {
 *          MST_TRY(mst_parser_next(&parser, &event, err));
 *          NEED: read more · HEAD: mst_parser_take or mst_parser_drain · MESSAGE: parser.message is whole
 *      }
 *
 *  Header and meta go to a small buffer; a body goes straight to its sink, and what follows it in the same read goes to
 *  the buffer again, so pipelined frames cost no extra read.
 *  Thread: one at a time.
 */
#pragma once

#include "rpc/conn.h"

enum mst_parser_event {
    MST_PARSER_NEED,    // nothing whole yet
    MST_PARSER_HEAD,    // message has its meta; its body needs a sink. Comes again until there is one
    MST_PARSER_MESSAGE, // message is whole, valid until the next call
};

struct mst_parser {
    uint8_t *data; // [start, end) is not consumed; meta of the current message lies before `end`
    size_t start;
    size_t end;
    size_t capacity;
    uint32_t max_meta_bytes;
    enum { MST_PARSE_HEAD, MST_PARSE_ANNOUNCED, MST_PARSE_BODY, MST_PARSE_DONE, MST_PARSE_DRAIN } state;
    bool knows_frame; // message.method and call are from a header of ours
    struct mst_message message;
    struct mst_sink sink;
    size_t part; // next byte of the body goes to sink.parts[part] + part_offset
    size_t part_offset;
    uint64_t body_left; // of the body without its CRC; all that is left when draining
    uint8_t crc[MST_FRAME_CRC_BYTES];
    size_t crc_len; // bytes of it that are in
    uint32_t sum;   // CRC of what is in the sink
};

/** An empty parser; frames with more meta than max_meta_bytes are refused. */
void mst_parser_init(struct mst_parser *parser, uint32_t max_meta_bytes);
/** Releases it. */
void mst_parser_fini(struct mst_parser *parser);
/** Works off what is there. After a failure the stream has no next frame: do not go on with it.
 *  Errors: as mst_frame_decode and mst_frame_check; DATA_LOSS the body's CRC; RESOURCE_EXHAUSTED no memory for meta */
MST_MUST_USE mst_status mst_parser_next(struct mst_parser *parser, enum mst_parser_event *out, struct mst_error *err);
/** After HEAD: the body goes to sink, whose parts are message.body_bytes together. Owner: keeps the list */
void mst_parser_take(struct mst_parser *parser, const struct mst_sink *sink);
/** After HEAD, or while a body comes in: the rest of it is thrown away. */
void mst_parser_drain(struct mst_parser *parser);
/** Where the next bytes go: at most max (at least 3) parts in iov; returns how many, at least 1. */
size_t mst_parser_space(struct mst_parser *parser, struct iovec *iov, size_t max);
/** n_bytes have been put there. */
void mst_parser_filled(struct mst_parser *parser, size_t n_bytes);
/** True if the stream may end here: between two frames. */
bool mst_parser_is_idle(const struct mst_parser *parser);
