// Upper bounds, from the longest that each field can be: nobody misses what they are too high by. The largest message
// is the first bucket of a sweep, with the close that is applied and the one that is stored.
#include "wire/replica_sizes.h"

#include "base/error.h"
#include "wire/frame.h"

enum {
    NUMBER = 1 + 10,                                    // a field's tag and 64 bits of varint
    SHORT = 1 + 5,                                      // … 32 bits
    LIST_HEAD = 2 + 5,                                  // the tag and length of an element, or of a packed array
    ROW_BYTES = LIST_HEAD + 2 * SHORT + 4 * NUMBER + 2, // a client row
    FENCE_BYTES = 10,                                   // packed
    NORM_BYTES = LIST_HEAD + SHORT + 2 * (1 + 8) + 2,   // of a group
    OWN_BYTES = 24 * NUMBER + 8 * LIST_HEAD,            // everything else, of an operation or a bucket
};

uint64_t mst_replica_close_bytes(const struct mst_msg_close *close)
{
    const struct mst_msg_op op = {.n_closes = 1, .closes = close};
    struct mst_buf buf;
    mst_buf_init(&buf, SIZE_MAX / 4);
    uint64_t n_bytes = mst_msg_op_encode(&op, &buf) == MST_OK ? buf.len : UINT64_MAX / 4;
    mst_buf_fini(&buf);
    return n_bytes;
}

uint64_t mst_replica_meta_bytes(const struct mst_replica_sizes *sizes)
{
    return OWN_BYTES + 2 * sizes->close_bytes + (uint64_t)sizes->n_norms * NORM_BYTES +
           (uint64_t)sizes->n_workers * (ROW_BYTES + FENCE_BYTES);
}

mst_status mst_replica_sizes_check(const struct mst_replica_sizes *sizes, struct mst_error *err)
{
    uint64_t n_bytes = mst_replica_meta_bytes(sizes);
    if (n_bytes <= MST_FRAME_META_MAX)
        return MST_OK;
    return mst_fail(err, MST_INVALID_ARGUMENT,
                    "replicas: the rows of %zu workers, closes of %llu bytes and norms of %zu groups may take %llu "
                    "bytes of a message to a backup, over the limit of %u: use fewer workers, measures or clipped "
                    "variables, or replicas 0",
                    sizes->n_workers, (unsigned long long)sizes->close_bytes, sizes->n_norms,
                    (unsigned long long)n_bytes, MST_FRAME_META_MAX);
}
