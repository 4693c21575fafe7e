/** @file
 *  What workers measure over batches and the chief adds up: sums, so that they merge exactly over a cluster.
 *
 *      mst_training_sums_init(&epoch, mst_compile_n_sums(compile));
 *      mst_training_sums_add(&epoch, &ask.sums);
 *      loss = mst_measure_value(compile, 0, epoch.values);
 *      mst_training_sums_fini(&epoch);
 *
 *  Thread: any.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

enum { MST_STALENESS_BINS = 9 };

enum { MST_SUMS_MAX = 1 << 15 }; // values of one job's measures: 256 KiB, which a message's meta must hold

struct mst_training_sums {
    uint64_t steps;
    uint64_t examples;
    uint64_t staleness_sum; // updates by others between a pull and the push it led to, over all steps
    uint64_t staleness_max;
    size_t n_values;
    double *values; // those of model/compile.h; a decoded message's are borrowed from its arena
    uint64_t staleness_counts[MST_STALENESS_BINS]; // steps by it, in bins that double: 0, 1, 2, 3-4, 5-8, … 33-64, more
};

/** The bin that counts steps of this staleness. */
size_t mst_staleness_bin(uint64_t staleness);
/** The largest staleness that a bin counts; UINT64_MAX for the last one. */
uint64_t mst_staleness_bin_limit(size_t bin);
/** Counts a step's staleness: sum, maximum and bin. */
void mst_training_sums_note_staleness(struct mst_training_sums *sums, uint64_t staleness);

/** All zero, with room for n_values. */
void mst_training_sums_init(struct mst_training_sums *sums, size_t n_values);
/** Releases it. */
void mst_training_sums_fini(struct mst_training_sums *sums);
/** Zero again, in the same room. */
void mst_training_sums_clear(struct mst_training_sums *sums);
/** Makes to, which has room for as many values, say what from says. */
void mst_training_sums_copy(struct mst_training_sums *to, const struct mst_training_sums *from);
/** Adds b, which has no more values, to a. */
void mst_training_sums_add(struct mst_training_sums *a, const struct mst_training_sums *b);
/** Adds to a what `now` has and `before`, an earlier state of it, had not. All have room for as many values. */
void mst_training_sums_add_growth(struct mst_training_sums *a, const struct mst_training_sums *now,
                                  const struct mst_training_sums *before);
