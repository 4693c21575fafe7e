// A lock for a moment at the end of a worker's last push of a round, and once or twice a round for the rest.
#include "base/alloc.h"
#include "base/error.h"
#include "ps/round_serve.h"
#include "wire/frame.h"

#include <stdlib.h>

void mst_round_report_init(struct mst_round_report *report, size_t n_workers, size_t n_groups)
{
    *report = (struct mst_round_report){.n_workers = n_workers, .n_groups = n_groups};
    pthread_mutex_init(&report->lock, NULL);
    report->arrivals = mst_alloc_array(n_workers, sizeof *report->arrivals);
    report->sums = mst_alloc_array(n_workers, sizeof *report->sums);
    report->norms = mst_alloc_array(n_groups, sizeof *report->norms);
    report->is_here = mst_alloc_array(n_groups, sizeof *report->is_here);
    mst_buf_init(&report->applied_close, MST_FRAME_META_MAX);
    mst_buf_init(&report->stored_close, MST_FRAME_META_MAX);
}

void mst_round_report_fini(struct mst_round_report *report)
{
    if (!report->arrivals)
        return;
    for (size_t w = 0; w < report->n_workers; w++)
        mst_training_sums_fini(&report->sums[w]);
    free(report->arrivals);
    free(report->sums);
    free(report->norms);
    free(report->is_here);
    mst_buf_fini(&report->applied_close);
    mst_buf_fini(&report->stored_close);
    pthread_mutex_destroy(&report->lock);
    *report = (struct mst_round_report){0};
}

void mst_round_report_read(struct mst_round_report *report, struct mst_round_progress *out)
{
    pthread_mutex_lock(&report->lock);
    report->is_posted = false;
    *out = report->progress;
    pthread_mutex_unlock(&report->lock);
}

static mst_status read_close(const struct mst_buf *from, struct mst_arena *arena, bool *has_out,
                             struct mst_msg_close *out)
{
    struct mst_msg_op op;
    *has_out = from->len > 0;
    if (!*has_out)
        return MST_OK;
    MST_TRY(mst_msg_op_decode(mst_buf_view(from), arena, &op, NULL));
    *out = op.closes[0];
    return MST_OK;
}

mst_status mst_round_report_closes(struct mst_round_report *report, struct mst_arena *arena,
                                   struct mst_round_closes *out)
{
    *out = (struct mst_round_closes){0};
    pthread_mutex_lock(&report->lock);
    mst_status status = read_close(&report->applied_close, arena, &out->has_applied, &out->applied);
    if (status == MST_OK)
        status = read_close(&report->stored_close, arena, &out->has_stored, &out->stored);
    pthread_mutex_unlock(&report->lock);
    return status;
}

void mst_round_report_join(struct mst_round_report *report, struct mst_round_table *table, size_t part)
{
    pthread_mutex_lock(&report->lock);
    for (size_t w = 0; w < report->n_workers; w++)
        if (report->arrivals[w].round > 0)
            mst_round_table_join(table, part, &report->arrivals[w]);
    pthread_mutex_unlock(&report->lock);
}

void mst_round_report_norms(struct mst_round_report *report, struct mst_square_norm *norms, bool *is_here)
{
    pthread_mutex_lock(&report->lock);
    for (size_t i = 0; i < report->n_groups; i++)
        if (report->is_here[i]) {
            mst_square_norm_join(&norms[i], &report->norms[i]);
            is_here[i] = true;
        }
    pthread_mutex_unlock(&report->lock);
}
