#include "ps/cut_gate.h"

#include "base/alloc.h"

#include <stdlib.h>
#include <string.h>

void mst_cut_gate_init(struct mst_cut_gate *gate)
{
    *gate = (struct mst_cut_gate){.phase = MST_CUT_GATE_OPEN};
}

void mst_cut_gate_fini(struct mst_cut_gate *gate)
{
    free(gate->rows);
    mst_cut_gate_init(gate);
}

void mst_cut_gate_hold(struct mst_cut_gate *gate, uint64_t id)
{
    mst_cut_gate_fini(gate);
    gate->phase = MST_CUT_GATE_HELD;
    gate->id = id;
}

void mst_cut_gate_admit(struct mst_cut_gate *gate, uint64_t id, const struct mst_cut_row *rows, size_t n_rows)
{
    mst_cut_gate_hold(gate, id);
    gate->phase = MST_CUT_GATE_ADMITTING;
    gate->rows = mst_alloc_array(n_rows, sizeof *rows);
    gate->n_rows = n_rows;
    if (n_rows)
        memcpy(gate->rows, rows, n_rows * sizeof *rows);
}

void mst_cut_gate_open(struct mst_cut_gate *gate)
{
    mst_cut_gate_fini(gate);
}

static bool is_up_to(uint64_t number, uint64_t step, const struct mst_cut_row *row)
{
    return number < row->number || (number == row->number && step <= row->step);
}

bool mst_cut_gate_admits(const struct mst_cut_gate *gate, uint32_t worker, uint64_t number, uint64_t step)
{
    if (gate->phase != MST_CUT_GATE_ADMITTING)
        return gate->phase == MST_CUT_GATE_OPEN;
    for (size_t i = 0; i < gate->n_rows; i++)
        if (gate->rows[i].worker == worker)
            return is_up_to(number, step, &gate->rows[i]);
    return false;
}

bool mst_cut_gate_has(const struct mst_cut_row *row, const struct mst_client_table *clients)
{
    if (row->worker >= clients->n_rows)
        return false;
    const struct mst_client_row *has = &clients->rows[row->worker];
    return clients->fenced[row->worker] >= row->number || has->number > row->number ||
           (has->number == row->number && has->step >= row->step);
}

bool mst_cut_gate_is_short(const struct mst_cut_row *row, const struct mst_client_row *marked)
{
    return marked->number == row->number && marked->step < row->step && !marked->is_restored;
}

bool mst_cut_gate_is_reached(const struct mst_cut_gate *gate, const struct mst_client_table *clients)
{
    if (gate->phase != MST_CUT_GATE_ADMITTING)
        return false;
    for (size_t i = 0; i < gate->n_rows; i++)
        if (!mst_cut_gate_has(&gate->rows[i], clients))
            return false;
    return true;
}
