/** @file
 *  Exactly-once push: what a bucket remembers of each worker, and what it does with the next push. Pure: no clock, no
 *  I/O.
 *
 *      switch (mst_client_table_admit(&table, worker, number, step)) {
 *      case MST_PUSH_APPLY:  …apply, then mst_client_table_record(…); answer with the new version
 *      case MST_PUSH_REPEAT: …answer again, apply nothing
 *      default:              …refuse
 *      }
 *
 *  A row is compared as the pair (incarnation number, step): a newer number starts a new row, a step may leave gaps but
 *  never comes back. A fence makes every number up to one refused for good. (DESIGN §5, Push and Greeting.)
 *  Thread: loop of the bucket.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct mst_msg_client_row;

/** What is known of one worker in one bucket; all 0 before its first push. */
struct mst_client_row {
    uint64_t number;  // incarnation number, from 1
    uint64_t step;    // last step applied, from 1
    uint64_t lease;   // where that step stood in the data: lease id …
    uint64_t offset;  // … and batches of it done, this one included
    uint64_t version; // version counter of the bucket that was sent last
    bool is_restored; // of a checkpoint: it may have done more, which its server lost
};

enum mst_push_verdict {
    MST_PUSH_APPLY,
    MST_PUSH_REPEAT,         // the last step once more: answered, not applied
    MST_PUSH_REFUSED_STEP,   // a step before the last
    MST_PUSH_REFUSED_NUMBER, // an older incarnation
    MST_PUSH_REFUSED_FENCED, // an incarnation that was declared dead
};

struct mst_client_table {
    struct mst_client_row *rows;      // by worker index
    struct mst_client_row *last_rows; // by worker index: of the last number before that of its row
    uint64_t *fenced;                 // by worker index: numbers up to this are refused
    size_t n_rows;                    // one more than the highest index seen
    size_t n_room;                    // of the arrays, which double: a bucket meets its workers one by one
};

/** An empty table. */
void mst_client_table_init(struct mst_client_table *table);
/** Releases it. */
void mst_client_table_fini(struct mst_client_table *table);
/** What to do with a push of this worker, incarnation number and step; changes nothing that can be seen. */
enum mst_push_verdict mst_client_table_admit(struct mst_client_table *table, uint32_t worker, uint64_t number,
                                             uint64_t step);
/** Notes that this incarnation pulls: a row of its own from now on, unless a newer one has it. Every worker pulls
 *  before it pushes, so a bucket without a row of a number has never met it, or has forgotten it. Returns its row, or
 *  NULL. */
struct mst_client_row *mst_client_table_pulled(struct mst_client_table *table, uint32_t worker, uint64_t number);
/** What a checkpoint holds of a worker: a row as if it had been applied here, unless there is a newer one. */
void mst_client_table_restore(struct mst_client_table *table, uint32_t worker, const struct mst_client_row *row);
/** Notes an applied push. */
void mst_client_table_record(struct mst_client_table *table, uint32_t worker, const struct mst_client_row *row);
/** Refuses incarnation numbers up to `number` of the worker from now on; returns its row (zeros if it never pushed). */
struct mst_client_row mst_client_table_fence(struct mst_client_table *table, uint32_t worker, uint64_t number);
/** The row of a worker, or NULL before it was ever seen. Owner: borrowed until the next change */
struct mst_client_row *mst_client_table_row(struct mst_client_table *table, uint32_t worker);
/** Of a worker's row and the one before, that of this number; the row, if neither is. */
const struct mst_client_row *mst_client_row_of(const struct mst_client_row *row, const struct mst_client_row *before,
                                               uint64_t number);
/** A row as it is told to others. */
struct mst_msg_client_row mst_client_row_message(uint32_t bucket, uint32_t worker, const struct mst_client_row *row);
/** A text for logs and refusals. */
const char *mst_push_verdict_text(enum mst_push_verdict verdict);
