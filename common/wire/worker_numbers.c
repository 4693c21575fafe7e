#include "wire/worker_numbers.h"

#include "base/error.h"
#include "base/metrics.h"

// Rare, so the registry's lock does no harm.
static void count(void)
{
    mst_metric_add(mst_metric_counter("muster_wrong_numbers_total",
                                      "Messages refused for an index or number of a worker or evaluator that cannot be",
                                      NULL),
                   1);
}

mst_status mst_worker_index_check(uint32_t worker, struct mst_error *err)
{
    if (worker < MST_WORKERS_MAX)
        return MST_OK;
    count();
    return mst_fail(err, MST_OUT_OF_RANGE,
                    "worker index %u is past the limit: give that worker an index below %d in its TF_CONFIG", worker,
                    MST_WORKERS_MAX);
}

static mst_status check(const char *role, uint32_t index, uint64_t number, struct mst_error *err)
{
    if (number > 0 && number <= MST_NUMBER_MAX)
        return MST_OK;
    count();
    return mst_fail(err, MST_FAILED_PRECONDITION,
                    "%s-%u goes by the number %llu, and a chief gives 1 to %llu: it has to greet the chief for one; "
                    "start that %s again if it does not by itself",
                    role, index, (unsigned long long)number, (unsigned long long)MST_NUMBER_MAX, role);
}

mst_status mst_worker_number_check(uint32_t worker, uint64_t number, struct mst_error *err)
{
    MST_TRY(mst_worker_index_check(worker, err));
    return check("worker", worker, number, err);
}

mst_status mst_worker_number_check_if_any(uint32_t worker, uint64_t number, struct mst_error *err)
{
    return number ? mst_worker_number_check(worker, number, err) : mst_worker_index_check(worker, err);
}

mst_status mst_evaluator_number_check(uint32_t index, uint64_t number, struct mst_error *err)
{
    return check("evaluator", index, number, err);
}

mst_status mst_worker_rows_check(const struct mst_msg_client_row *rows, size_t n_rows, struct mst_error *err)
{
    for (size_t i = 0; i < n_rows; i++)
        MST_TRY(mst_worker_number_check_if_any(rows[i].worker, rows[i].number, err));
    return MST_OK;
}

mst_status mst_worker_fences_check(const uint64_t *fenced, size_t n_fenced, struct mst_error *err)
{
    if (n_fenced > MST_WORKERS_MAX) {
        count();
        return mst_fail(err, MST_OUT_OF_RANGE,
                        "fences of %zu workers are past the limit: give workers indexes below %d in TF_CONFIG",
                        n_fenced, MST_WORKERS_MAX);
    }
    for (size_t w = 0; w < n_fenced; w++)
        MST_TRY(mst_worker_number_check_if_any((uint32_t)w, fenced[w], err));
    return MST_OK;
}
