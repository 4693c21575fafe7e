/** @file
 *  Where variables live: cuts them into parts (the partitioner's numbers), places parts on parameter servers by bytes,
 *  and cuts or joins each server's parts into buckets of 1–4 MB. Pure and deterministic.
 *
 *      MST_TRY(mst_plan_new(&request, &plan, err));
 *      … plan->pieces, sorted by bucket …
 *      mst_plan_free(plan);
 *
 *  Placement is by bytes, not by count as in TensorFlow: the largest part goes to the least loaded server, ties to the
 *  lower index; frozen variables after all others, so that they do not disturb the balance of what is pushed.
 *
 *  A bucket holds first what the optimizer updates, then moving averages, each by variable and row; or frozen variables
 *  only. Buckets of frozen variables have the highest numbers.
 *  Thread: any.
 */
#pragma once

#include "muster/status.h"

#include <stddef.h>
#include <stdint.h>

enum { MST_BUCKET_MIN_BYTES = 1 << 20, MST_BUCKET_MAX_BYTES = 4 << 20 };

/** What becomes of a variable's rows, in the order in which they lie in buckets. */
enum mst_plan_update {
    MST_PLAN_OPTIMIZER, // pushed: gradients
    MST_PLAN_AVERAGE,   // pushed: statistics of batches
    MST_PLAN_FROZEN,    // never pushed
};

/** A variable as the plan sees it: rows of axis 0; a scalar is one row. */
struct mst_plan_variable {
    const char *name;
    uint64_t n_rows;
    uint64_t row_bytes;
    uint64_t n_parts; // from the partitioner, 1 … n_rows
    enum mst_plan_update update;
};

/** A parameter server as the plan sees it. */
struct mst_plan_ps {
    size_t n_threads; // data threads, at least 1
};

struct mst_plan_request {
    const struct mst_plan_variable *variables;
    size_t n_variables;
    const struct mst_plan_ps *ps;
    size_t n_ps;
    uint64_t bucket_max_bytes; // MST_BUCKET_MAX_BYTES; UINT64_MAX: one bucket a server
};

/** Whole rows of one part, in one bucket. */
struct mst_plan_piece {
    uint32_t variable;
    uint32_t part;
    uint64_t row_offset; // in the variable
    uint64_t n_rows;
    uint32_t ps;
    uint32_t thread;
    uint32_t bucket; // numbered over all servers
};

struct mst_plan {
    struct mst_plan_piece *pieces;
    size_t n_pieces;
    size_t n_buckets;
    uint64_t *ps_bytes; // by server
    size_t n_ps;
};

/** New plan in *out. Errors: INVALID_ARGUMENT no servers, or no variables that are trained */
MST_MUST_USE mst_status mst_plan_new(const struct mst_plan_request *request, struct mst_plan **out,
                                     struct mst_error *err);
/** Releases it; NULL is fine. */
void mst_plan_free(struct mst_plan *plan);
/** New text, "ps-0: 530040 bytes in 1 bucket; ps-1: …", for the log. Owner: the caller's */
char *mst_plan_text(const struct mst_plan *plan);
