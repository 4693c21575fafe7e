// Frames as a stranger would write them, for the tests of rpc.
#pragma once

#include "base/bytes.h"
#include "wire/frame.h"

#include <stddef.h>
#include <stdint.h>

// Byte i of the pattern that belongs to a number: what bodies are filled with.
uint8_t rpc_pattern(uint64_t number, size_t i);
// Fills data with that pattern.
void rpc_fill(void *data, size_t len, uint64_t number);

// Appends a frame: head gives flags, method and call; its lengths are those of meta and of a body of body_bytes filled
// with the pattern of head->call (followed by its CRC with MST_FRAME_BODY_CRC).
void rpc_append_frame(struct mst_buf *out, const struct mst_frame *head, struct mst_bytes meta, size_t body_bytes);

// Answers a call with a message (messages.h), as a server of the test.
#define RPC_ANSWER(conn, message, name, reply)                                                                         \
    do {                                                                                                               \
        struct mst_buf meta_;                                                                                          \
        mst_buf_init(&meta_, MST_FRAME_META_MAX);                                                                      \
        assert_int_equal(mst_msg_##name##_encode(reply, &meta_), MST_OK);                                              \
        mst_conn_reply(conn, message, mst_buf_view(&meta_), NULL);                                                     \
        mst_buf_fini(&meta_);                                                                                          \
    } while (0)

// What a call says. Its numbers are copied, its lists are gone.
#define RPC_DECODE(message, name, out)                                                                                 \
    do {                                                                                                               \
        struct mst_arena arena_;                                                                                       \
        mst_arena_init(&arena_, MST_MSG_ARENA_MAX);                                                                    \
        assert_int_equal(mst_msg_##name##_decode((message)->meta, &arena_, out, NULL), MST_OK);                        \
        mst_arena_fini(&arena_);                                                                                       \
    } while (0)
