// A frame is a list of parts: 0 is header and meta, 1 … n the body's, n + 1 the CRC if there is one. (part,
// part_offset) of the queue points at the first byte of the first frame that is not sent.
#include "rpc/send_queue.h"

#include "base/alloc.h"
#include "base/crc32c.h"
#include "base/error.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum {
    HEAD_BYTES = 256, // header and meta of all hot messages
    SPARE_MAX = 64,   // a worker's buckets
};

struct mst_send {
    struct mst_send *next;
    uint8_t *head; // small, or a malloc
    size_t head_bytes;
    struct mst_body body;
    uint8_t crc[MST_FRAME_CRC_BYTES];
    size_t crc_bytes; // 0 or 4
    uint32_t sum;     // CRC of the body before (sum_part, sum_offset)
    size_t sum_part;
    size_t sum_offset;
    uint64_t added_ms;
    bool is_reply;
    uint8_t small[HEAD_BYTES];
};

static struct mst_send *get_send(struct mst_send_queue *queue)
{
    struct mst_send *send = queue->spare;
    if (!send)
        return mst_alloc(sizeof *send);
    queue->spare = send->next;
    queue->n_spare--;
    send->next = NULL;
    return send;
}

static void put_send(struct mst_send_queue *queue, struct mst_send *send)
{
    if (send->head != send->small)
        free(send->head);
    if (queue->n_spare >= SPARE_MAX) {
        free(send);
        return;
    }
    send->next = queue->spare;
    queue->spare = send;
    queue->n_spare++;
}

// The first frame leaves the queue; its release may add another one.
static void pop(struct mst_send_queue *queue)
{
    struct mst_send *send = queue->first;
    struct mst_body body = send->body;
    queue->first = send->next;
    if (!queue->first)
        queue->last = NULL;
    queue->n--;
    queue->n_replies -= send->is_reply;
    queue->part = 0;
    queue->part_offset = 0;
    put_send(queue, send);
    if (body.release)
        body.release(body.arg);
}

void mst_send_queue_fini(struct mst_send_queue *queue)
{
    while (queue->first)
        pop(queue);
    while (queue->spare)
        free(get_send(queue));
    *queue = (struct mst_send_queue){0};
}

static uint64_t body_bytes(const struct mst_body *body)
{
    uint64_t n_bytes = 0;
    for (size_t i = 0; i < body->n_parts; i++)
        n_bytes += body->parts[i].iov_len;
    return n_bytes;
}

void mst_send_queue_add(struct mst_send_queue *queue, const struct mst_frame *frame, struct mst_bytes meta,
                        const struct mst_body *body, uint64_t now_ms)
{
    MST_ASSERT(meta.len <= MST_FRAME_META_MAX);
    struct mst_send *send = get_send(queue);
    send->body = body ? *body : (struct mst_body){0};
    send->crc_bytes = 0;
    send->sum = 0;
    send->sum_part = send->sum_offset = 0;
    send->added_ms = now_ms;
    send->is_reply = (frame->flags & MST_FRAME_REPLY) != 0;
    struct mst_frame whole = *frame;
    whole.meta_bytes = (uint32_t)meta.len;
    whole.body_bytes = body_bytes(&send->body);
    if (!whole.body_bytes) {
        whole.flags &= (uint8_t)~MST_FRAME_BODY_CRC;
    } else if (whole.flags & MST_FRAME_BODY_CRC) {
        send->crc_bytes = MST_FRAME_CRC_BYTES;
        whole.body_bytes += MST_FRAME_CRC_BYTES;
    }
    send->head_bytes = MST_FRAME_HEADER_BYTES + meta.len;
    send->head = send->head_bytes <= sizeof send->small ? send->small : mst_alloc(send->head_bytes);
    mst_frame_encode(&whole, meta.data, send->head);
    if (meta.len)
        memcpy(send->head + MST_FRAME_HEADER_BYTES, meta.data, meta.len);
    if (queue->last)
        queue->last->next = send;
    else
        queue->first = send;
    queue->last = send;
    queue->n++;
    queue->n_replies += send->is_reply;
}

static size_t n_parts(const struct mst_send *send)
{
    return 1 + send->body.n_parts + (send->crc_bytes ? 1 : 0);
}

static struct iovec part_at(const struct mst_send *send, size_t part)
{
    if (part == 0)
        return (struct iovec){send->head, send->head_bytes};
    if (part <= send->body.n_parts)
        return send->body.parts[part - 1];
    return (struct iovec){(void *)(uintptr_t)send->crc, send->crc_bytes};
}

// Bytes of a part go out, after all that is before them.
static void add_to_crc(struct mst_send *send, size_t part, size_t offset, size_t n_bytes)
{
    struct iovec from = part_at(send, part);
    if (part > send->sum_part) {
        send->sum_part = part;
        send->sum_offset = 0;
    }
    size_t end = offset + n_bytes;
    if (part < send->sum_part || end <= send->sum_offset)
        return; // gathered before, and not all of it was sent
    send->sum = mst_crc32c_extend(send->sum, (uint8_t *)from.iov_base + send->sum_offset, end - send->sum_offset);
    send->sum_offset = end;
}

static void write_crc(struct mst_send *send)
{
    for (size_t i = 0; i < MST_FRAME_CRC_BYTES; i++)
        send->crc[i] = (uint8_t)(send->sum >> (8 * i));
}

// How many bytes of a part go next: all that are left, or of a body with a CRC what is left of the piece.
static size_t prepare(struct mst_send *send, size_t part, size_t offset, size_t *n_piece)
{
    size_t n_bytes = part_at(send, part).iov_len - offset;
    if (part > send->body.n_parts)
        write_crc(send);
    if (part == 0 || part > send->body.n_parts || !send->crc_bytes)
        return n_bytes;
    n_bytes = n_bytes < *n_piece ? n_bytes : *n_piece;
    *n_piece -= n_bytes;
    add_to_crc(send, part, offset, n_bytes);
    return n_bytes;
}

size_t mst_send_queue_gather(struct mst_send_queue *queue, struct iovec *iov, size_t max)
{
    size_t n = 0, part = queue->part, offset = queue->part_offset, n_piece = MST_CRC32C_PIECE_BYTES;
    for (struct mst_send *send = queue->first; send; send = send->next, part = 0) {
        for (; part < n_parts(send); part++, offset = 0) {
            if (n == max)
                return n;
            struct iovec from = part_at(send, part);
            size_t n_bytes = prepare(send, part, offset, &n_piece);
            if (n_bytes)
                iov[n++] = (struct iovec){(uint8_t *)from.iov_base + offset, n_bytes};
            if (n_bytes < from.iov_len - offset)
                return n;
        }
    }
    return n;
}

void mst_send_queue_advance(struct mst_send_queue *queue, size_t n_bytes)
{
    // Also with nothing left to count: a frame whose last parts are empty is to be released.
    while (queue->first) {
        if (queue->part == n_parts(queue->first)) {
            pop(queue);
            continue;
        }
        size_t left = part_at(queue->first, queue->part).iov_len - queue->part_offset;
        if (n_bytes < left) {
            queue->part_offset += n_bytes;
            return;
        }
        n_bytes -= left;
        queue->part++;
        queue->part_offset = 0;
    }
    MST_ASSERT(n_bytes == 0);
}

uint64_t mst_send_queue_oldest_ms(const struct mst_send_queue *queue)
{
    return queue->first ? queue->first->added_ms : 0;
}
