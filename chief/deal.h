/** @file
 *  Who contributes which unit of the epoch to a round (DESIGN §5, Data leases). Pure.
 *
 *      mst_deal_at(&deal, &shape, 0, 0);                          // of the first epoch
 *      mst_deal_next(&next, &shape, &deal, is_in, is_living);     // after a round of that deal was closed
 *
 *  Regular rounds give worker w of N the unit k * N + w while there is one. What a round leaves out goes to the tail,
 *  and tail rounds deal it to the living, in the workers' order: when no regular ones are left, or when the tail is
 *  long, so that the messages that carry it stay short. So each unit is in exactly once an epoch.
 *  Thread: one at a time.
 */
#pragma once

#include "wire/messages.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { MST_DEAL_TAIL_MAX = 1024 }; // units; a longer tail is dealt before the regular rounds go on

/** What deals depend on all through the job. */
struct mst_deal_shape {
    size_t n_workers; // of a round
    uint64_t n_units; // an epoch
    uint64_t n_epochs;
};

/** A deal; its arrays are its own. All zero: of no round. */
struct mst_deal {
    uint64_t epoch;
    uint64_t k;     // the number of the epoch's last regular round
    uint64_t *tail; // units left out, oldest first
    size_t n_tail;
    struct mst_msg_part *plan; // by worker; empty only past the last epoch
    size_t n_plan;
};

/** Regular round k of an epoch, before which nothing was left out, in *deal, which holds nothing; no plan past the last
 *  epoch. */
void mst_deal_at(struct mst_deal *deal, const struct mst_deal_shape *shape, uint64_t epoch, uint64_t k);
/** The deal after `before`, of which those with is_in[worker] were in, in *deal, which holds nothing. is_living[worker]
 *  says who may get of the tail; if nobody may, all may. */
void mst_deal_next(struct mst_deal *deal, const struct mst_deal_shape *shape, const struct mst_deal *before,
                   const bool *is_in, const bool *is_living);
/** The deal after `before`, one of another number of workers, of which nothing was trained: what it left of its epoch
 *  is dealt anew, in *deal, which holds nothing. */
void mst_deal_anew(struct mst_deal *deal, const struct mst_deal_shape *shape, const struct mst_deal *before,
                   size_t n_workers_before);
/** Releases it: all zero again. */
void mst_deal_fini(struct mst_deal *deal);
/** What the deal still has to train in its epoch: units of its plan, of its tail, and of regular rounds to come. */
uint64_t mst_deal_n_left(const struct mst_deal *deal, const struct mst_deal_shape *shape);
/** A copy of a message's deal in *deal, which holds nothing.
 *  Errors: INVALID_ARGUMENT it names workers, units or an epoch that are not of this shape (*deal holds nothing) */
MST_MUST_USE mst_status mst_deal_read(struct mst_deal *deal, const struct mst_deal_shape *shape,
                                      const struct mst_msg_deal *message, struct mst_error *err);
/** The deal as a message. Owner: borrows from deal */
struct mst_msg_deal mst_deal_message(const struct mst_deal *deal);
