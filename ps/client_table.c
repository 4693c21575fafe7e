#include "ps/client_table.h"

#include "base/alloc.h"
#include "base/error.h"
#include "wire/messages.h"
#include "wire/worker_numbers.h"

#include <stdlib.h>
#include <string.h>

enum { ROOM_FIRST = 4 }; // rows: most jobs have no more workers

void mst_client_table_init(struct mst_client_table *table)
{
    *table = (struct mst_client_table){0};
}

void mst_client_table_fini(struct mst_client_table *table)
{
    free(table->rows);
    free(table->last_rows);
    free(table->fenced);
    *table = (struct mst_client_table){0};
}

static void make_room(struct mst_client_table *table, size_t n_rows)
{
    size_t n = table->n_room ? table->n_room : ROOM_FIRST;
    while (n < n_rows)
        n *= 2;
    size_t n_new = n - table->n_room;
    table->rows = mst_realloc_array(table->rows, n, sizeof *table->rows);
    table->last_rows = mst_realloc_array(table->last_rows, n, sizeof *table->last_rows);
    table->fenced = mst_realloc_array(table->fenced, n, sizeof *table->fenced);
    memset(table->rows + table->n_room, 0, n_new * sizeof *table->rows);
    memset(table->last_rows + table->n_room, 0, n_new * sizeof *table->last_rows);
    memset(table->fenced + table->n_room, 0, n_new * sizeof *table->fenced);
    table->n_room = n;
}

static void grow(struct mst_client_table *table, uint32_t worker)
{
    MST_ASSERT(worker < MST_WORKERS_MAX); // every message is checked before
    if (worker < table->n_rows)
        return;
    size_t n_rows = (size_t)worker + 1;
    if (table->n_room < n_rows)
        make_room(table, n_rows);
    table->n_rows = n_rows;
}

// The row of another number takes the place of what is there.
static void replace(struct mst_client_table *table, uint32_t worker, const struct mst_client_row *row)
{
    if (table->rows[worker].number && table->rows[worker].number != row->number)
        table->last_rows[worker] = table->rows[worker];
    table->rows[worker] = *row;
}

enum mst_push_verdict mst_client_table_admit(struct mst_client_table *table, uint32_t worker, uint64_t number,
                                             uint64_t step)
{
    grow(table, worker);
    const struct mst_client_row *row = &table->rows[worker];
    if (number <= table->fenced[worker])
        return MST_PUSH_REFUSED_FENCED;
    if (number < row->number)
        return MST_PUSH_REFUSED_NUMBER;
    if (number > row->number || step > row->step)
        return MST_PUSH_APPLY;
    return step == row->step ? MST_PUSH_REPEAT : MST_PUSH_REFUSED_STEP;
}

struct mst_client_row *mst_client_table_pulled(struct mst_client_table *table, uint32_t worker, uint64_t number)
{
    grow(table, worker);
    struct mst_client_row *row = &table->rows[worker];
    if (row->number < number)
        replace(table, worker, &(struct mst_client_row){.number = number});
    return row->number == number ? row : NULL;
}

void mst_client_table_record(struct mst_client_table *table, uint32_t worker, const struct mst_client_row *row)
{
    grow(table, worker);
    replace(table, worker, row);
}

void mst_client_table_restore(struct mst_client_table *table, uint32_t worker, const struct mst_client_row *row)
{
    grow(table, worker);
    struct mst_client_row *held = &table->rows[worker];
    if (held->number > row->number || (held->number == row->number && held->step >= row->step))
        return;
    replace(table, worker, row);
    held->is_restored = true;
}

struct mst_client_row mst_client_table_fence(struct mst_client_table *table, uint32_t worker, uint64_t number)
{
    grow(table, worker);
    if (table->fenced[worker] < number)
        table->fenced[worker] = number;
    const struct mst_client_row *row = &table->rows[worker];
    // A row of an earlier incarnation says nothing about this one: it never pushed here.
    return row->number == number ? *row : (struct mst_client_row){0};
}

struct mst_client_row *mst_client_table_row(struct mst_client_table *table, uint32_t worker)
{
    return worker < table->n_rows ? &table->rows[worker] : NULL;
}

const struct mst_client_row *mst_client_row_of(const struct mst_client_row *row, const struct mst_client_row *before,
                                               uint64_t number)
{
    return row->number != number && before->number == number ? before : row;
}

struct mst_msg_client_row mst_client_row_message(uint32_t bucket, uint32_t worker, const struct mst_client_row *row)
{
    return (struct mst_msg_client_row){.bucket = bucket,
                                       .worker = worker,
                                       .number = row->number,
                                       .step = row->step,
                                       .lease = row->lease,
                                       .offset = row->offset,
                                       .is_restored = row->is_restored};
}

const char *mst_push_verdict_text(enum mst_push_verdict verdict)
{
    static const char *const texts[] = {
        [MST_PUSH_APPLY] = "applied",
        [MST_PUSH_REPEAT] = "repeated",
        [MST_PUSH_REFUSED_STEP] = "a step before the last one applied",
        [MST_PUSH_REFUSED_NUMBER] = "an older incarnation of this worker",
        [MST_PUSH_REFUSED_FENCED] = "an incarnation that was declared dead; it has to greet again",
    };
    return texts[verdict];
}
