/** @file
 *  Random access to the batches of an epoch, shuffled by seed: who computes a batch, when and in which order does not
 *  matter.
 *
 *      struct mst_batches_options options = {.batch_size = 64, .seed = 1, .order = MST_ORDER_SHUFFLED};
 *      MST_TRY(mst_batches_new(dataset, &options, &batches, err));
 *      MST_TRY(mst_batch_init(&batch, batches, MST_BATCH_ALL, err));
 *      MST_TRY(mst_batches_gather(batches, epoch, number, &batch, err));
 *      … batch.inputs[0], batch.targets[0].labels …
 *      mst_batch_fini(&batch);
 *      mst_batches_free(batches);
 *
 *  Batch b of epoch e is the examples p(b·B) … p(min(n, (b+1)·B) - 1), with p the permutation that mst_rng_permute
 *  makes of 0 … n-1 under the key (seed, "shuffle", e); in file order p is the identity.
 *  Thread: immutable, so any.
 */
#pragma once

#include "data/dataset.h"
#include "data/target.h"
#include "muster/status.h"

#include <stddef.h>
#include <stdint.h>

enum mst_order { MST_ORDER_FILE, MST_ORDER_SHUFFLED };

enum { MST_BATCH_SIZE_MAX = 1 << 20 };

struct mst_batches_options {
    size_t batch_size; // examples
    uint64_t seed;
    enum mst_order order;
};

/** What of a batch is wanted. */
enum mst_batch_parts { MST_BATCH_INPUTS, MST_BATCH_ALL };

/** One batch: n_examples rows of each input, as the file has them, and as many of each output. */
struct mst_batch {
    uint64_t epoch;
    uint64_t number;            // within the epoch
    size_t n_examples;          // batch_size, or less for the last one
    void **inputs;              // one array for each input of the data set
    struct mst_target *targets; // one for each output of the data set; NULL: not wanted
    float *weights;             // NULL: not wanted, or all 1
    void *memory;               // of all of them
};

struct mst_batches;

/** New view of a data set as batches.
 *  Owner:  keeps dataset (borrowed, must outlive it)
 *  Errors: INVALID_ARGUMENT batch_size outside 1 … MST_BATCH_SIZE_MAX, or a data set without examples */
MST_MUST_USE mst_status mst_batches_new(struct mst_dataset *dataset, const struct mst_batches_options *options,
                                        struct mst_batches **out, struct mst_error *err);
/** Releases the view; NULL is fine. */
void mst_batches_free(struct mst_batches *batches);

/** The data set. Owner: borrowed */
struct mst_dataset *mst_batches_dataset(const struct mst_batches *batches);
/** Batches of an epoch, the partial one included. */
uint64_t mst_batches_n_batches(const struct mst_batches *batches);
/** Examples of this batch; number < n_batches. */
size_t mst_batches_n_examples(const struct mst_batches *batches, uint64_t number);
/** Which example stands at a position of an epoch; position < number of examples. Cost: shuffled about 60 ns */
size_t mst_batches_example(const struct mst_batches *batches, uint64_t epoch, size_t position);

/** Makes room for one batch.
 *  Owner:  the caller, until mst_batch_fini
 *  Errors: RESOURCE_EXHAUSTED */
MST_MUST_USE mst_status mst_batch_init(struct mst_batch *out, const struct mst_batches *batches,
                                       enum mst_batch_parts parts, struct mst_error *err);
/** Releases its memory. */
void mst_batch_fini(struct mst_batch *batch);

/** Fills a batch that has its room. Loads the data set if nobody has yet.
 *  Errors: OUT_OF_RANGE no such batch; those of mst_dataset_load
 *  Cost:   64 images of 784 bytes: about 6 us, two thirds of it the permutation; no allocation */
MST_MUST_USE mst_status mst_batches_gather(const struct mst_batches *batches, uint64_t epoch, uint64_t number,
                                           struct mst_batch *out, struct mst_error *err);
