// Every message of the wire: the first byte says which, the rest are its bytes. What decodes must encode to something
// that decodes to the same.
#include "wire/messages.h"

#include "base/arena.h"
#include "base/bytes.h"
#include "base/error.h"
#include "muster/status.h"

#include <stddef.h>
#include <stdint.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { ARENA_MAX = 4 << 20, ENCODED_MAX = 16 << 20 };

static void check_same(const struct mst_buf *a, const struct mst_buf *b)
{
    MST_ASSERT(a->len == b->len && (a->len == 0 || memcmp(a->data, b->data, a->len) == 0));
}

// try_<message>: decodes; if that works, encodes, decodes that and encodes again.
#define X(name)                                                                                                        \
    static void try_##name(struct mst_bytes bytes)                                                                     \
    {                                                                                                                  \
        struct mst_arena arena, again_arena;                                                                           \
        struct mst_buf encoded, again;                                                                                 \
        struct mst_msg_##name message, message_again;                                                                  \
        struct mst_error err;                                                                                          \
        mst_arena_init(&arena, ARENA_MAX);                                                                             \
        mst_arena_init(&again_arena, 2 * ARENA_MAX);                                                                   \
        mst_buf_init(&encoded, ENCODED_MAX);                                                                           \
        mst_buf_init(&again, ENCODED_MAX);                                                                             \
        if (mst_msg_##name##_decode(bytes, &arena, &message, &err) == MST_OK) {                                        \
            mst_status status = mst_msg_##name##_encode(&message, &encoded);                                           \
            MST_ASSERT(status == MST_OK);                                                                              \
            status = mst_msg_##name##_decode(mst_buf_view(&encoded), &again_arena, &message_again, &err);              \
            MST_ASSERT(status == MST_OK);                                                                              \
            status = mst_msg_##name##_encode(&message_again, &again);                                                  \
            MST_ASSERT(status == MST_OK);                                                                              \
            check_same(&encoded, &again);                                                                              \
        }                                                                                                              \
        mst_arena_fini(&arena);                                                                                        \
        mst_arena_fini(&again_arena);                                                                                  \
        mst_buf_fini(&encoded);                                                                                        \
        mst_buf_fini(&again);                                                                                          \
    }
MST_MSG_MAP(X)
#undef X

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static void (*const tries[])(struct mst_bytes) = {
#define X(name) try_##name,
        MST_MSG_MAP(X)
#undef X
    };
    if (size > 0)
        tries[data[0] % (sizeof tries / sizeof tries[0])]((struct mst_bytes){data + 1, size - 1});
    return 0;
}
