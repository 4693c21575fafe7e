/** @file
 *  An epoch's training scores and its validation scores come at different times and in any order; here they meet. Pure.
 *
 *      mst_epoch_ledger_trained(&ledger, &record, &scores, awaits_validation); // all its batches are trained
 *      mst_epoch_ledger_validated(&ledger, epoch, &scores);                    // NULL: it will never be known
 *      while (mst_epoch_ledger_take(&ledger, &known)) …                        // in the order of epochs, each once
 *
 *  It also keeps what was measured of them, for a chief that comes before they were taken.
 *  Thread: one at a time.
 */
#pragma once

#include "chief/coordinator.h"
#include "chief/report.h"

/** What is known of an epoch that is over. */
struct mst_epoch_scores {
    uint64_t epoch; // from 0
    struct mst_scores train;
    struct mst_scores validation; // not known: there is none
};

struct mst_epoch_entry;

struct mst_epoch_ledger {
    struct mst_epoch_entry *entries; // of epochs that were not taken, in order
    size_t n;
};

/** Releases what it holds; it is empty and usable again. A zeroed one is an empty one. */
void mst_epoch_ledger_fini(struct mst_epoch_ledger *ledger);
/** The epoch is trained, in the order of epochs. awaits_validation: it is told when its validation is known or given
 *  up. Owner: copies record */
void mst_epoch_ledger_trained(struct mst_epoch_ledger *ledger, const struct mst_epoch_record *record,
                              const struct mst_scores *train, bool awaits_validation);
/** What was measured of the epoch at a place, from 0, the oldest. Owner: borrowed from ledger until it changes */
const struct mst_epoch_record *mst_epoch_ledger_at(const struct mst_epoch_ledger *ledger, size_t at);
/** The epoch's validation; NULL: there will be none. One that is not awaited is ignored. */
void mst_epoch_ledger_validated(struct mst_epoch_ledger *ledger, uint64_t epoch, const struct mst_scores *validation);
/** No validation comes any more. */
void mst_epoch_ledger_give_up(struct mst_epoch_ledger *ledger);
/** Takes the oldest epoch if all that is to be known of it is; false if it is not, or there is none. */
bool mst_epoch_ledger_take(struct mst_epoch_ledger *ledger, struct mst_epoch_scores *out);
