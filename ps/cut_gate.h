/** @file
 *  The gate of a cut: which pushes a data thread lets through while the chief fixes one point of all workers' steps.
 *  Pure: no clock, no I/O. (DESIGN §5, Cut and checkpoint.)
 *
 *      mst_cut_gate_hold(&gate, id);                              // no new step passes
 *      … the newest rows go to the chief, which answers with the highest of all servers …
 *      mst_cut_gate_admit(&gate, rows, n_rows);                   // steps up to those pass
 *      if (mst_cut_gate_is_reached(&gate, &bucket->clients)) …    // nothing is missing: this is the cut
 *      mst_cut_gate_open(&gate);
 *
 *  Thread: loop of the buckets.
 */
#pragma once

#include "ps/client_table.h"

#include <stdbool.h>

enum mst_cut_gate_phase {
    MST_CUT_GATE_OPEN,
    MST_CUT_GATE_HELD,
    MST_CUT_GATE_ADMITTING,
};

/** Up to which step of a worker a cut goes. */
struct mst_cut_row {
    uint32_t worker;
    uint64_t number;
    uint64_t step;
};

struct mst_cut_gate {
    enum mst_cut_gate_phase phase;
    uint64_t id;
    struct mst_cut_row *rows;
    size_t n_rows;
};

/** An open gate. */
void mst_cut_gate_init(struct mst_cut_gate *gate);
/** Releases it. */
void mst_cut_gate_fini(struct mst_cut_gate *gate);
/** Lets no new step pass. */
void mst_cut_gate_hold(struct mst_cut_gate *gate, uint64_t id);
/** Lets steps up to the rows pass; of a worker that has no row, none. Owner: copies rows */
void mst_cut_gate_admit(struct mst_cut_gate *gate, uint64_t id, const struct mst_cut_row *rows, size_t n_rows);
/** Lets all pass again. */
void mst_cut_gate_open(struct mst_cut_gate *gate);
/** True if a step that is new to a bucket may be applied now. */
bool mst_cut_gate_admits(const struct mst_cut_gate *gate, uint32_t worker, uint64_t number, uint64_t step);
/** True if a bucket with this table has what one row of a cut names, or need not have it. */
bool mst_cut_gate_has(const struct mst_cut_row *row, const struct mst_client_table *clients);
/** True if a bucket that is marked has less of a worker than the cut names, and knows that (its row is of that number,
 *  and it has not lost what came after it): the worker was fenced meanwhile, and the chief has to be told. */
bool mst_cut_gate_is_short(const struct mst_cut_row *row, const struct mst_client_row *marked);
/** True if a bucket with this table has all that the cut names. A fenced worker is not waited for: of it, the cut is
 *  what each bucket has. */
bool mst_cut_gate_is_reached(const struct mst_cut_gate *gate, const struct mst_client_table *clients);
