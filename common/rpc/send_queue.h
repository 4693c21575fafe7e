/** @file
 *  Frames waiting to be written, as lists of parts for writev: header and meta are copied, bodies borrowed.
 *
 *      mst_send_queue_add(&queue, &frame, meta, &body, now_ms);
 *      n = mst_send_queue_gather(&queue, iov, 256);      // sendmsg these
 *      mst_send_queue_advance(&queue, n_bytes);          // what went out is released
 *
 *  Thread: one at a time.
 */
#pragma once

#include "rpc/conn.h"

struct mst_send;

struct mst_send_queue {
    struct mst_send *first;
    struct mst_send *last;
    struct mst_send *spare; // for the next frames: no allocation once warm
    size_t n;
    size_t n_replies; // of n
    size_t n_spare;
    size_t part; // of the first frame: what is not sent yet begins here
    size_t part_offset;
};

/** Releases all that waits, and the memory; the queue is empty and usable again. */
void mst_send_queue_fini(struct mst_send_queue *queue);
/** Adds a frame; with BODY_CRC in frame->flags, and a body, its CRC goes behind it. Lengths of frame are filled here.
 *  Owner: copies meta; borrows the body until its release */
void mst_send_queue_add(struct mst_send_queue *queue, const struct mst_frame *frame, struct mst_bytes meta,
                        const struct mst_body *body, uint64_t now_ms);
/** The next bytes to go, at most max parts, and MST_CRC32C_PIECE_BYTES of bodies with a CRC; returns how many parts. */
size_t mst_send_queue_gather(struct mst_send_queue *queue, struct iovec *iov, size_t max);
/** n_bytes of them are gone; whole frames are released. */
void mst_send_queue_advance(struct mst_send_queue *queue, size_t n_bytes);
/** When the oldest frame was added; 0 when there is none. */
uint64_t mst_send_queue_oldest_ms(const struct mst_send_queue *queue);
