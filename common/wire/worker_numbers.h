/** @file
 *  Which worker indexes and incarnation numbers can be: what every message that names one is checked against, before
 *  anything is kept of it. A number that no chief gives would be higher than all that come after it, and shut its
 *  worker out for good.
 *
 *      MST_TRY(mst_worker_number_check(push.worker, push.number, err));   // of a message that has to have one
 *      MST_TRY(mst_worker_rows_check(cut.rows, cut.n_rows, err));
 *
 *  What is refused is counted (muster_wrong_numbers_total); the sentence names the role and the remedy. Of all:
 *  Errors OUT_OF_RANGE an index past the limit; FAILED_PRECONDITION a number that cannot be: its worker has to greet
 *  the chief again.
 *  Thread: any.
 */
#pragma once

#include "wire/messages.h"

#define MST_WORKERS_MAX 65536                     // worker indexes: what is kept by index has a bound
#define MST_NUMBER_MAX  ((UINT64_C(1) << 48) - 1) // given from 1, or from the time of the day in ms: year 10889
#define MST_NO_NUMBER   UINT64_MAX // in place of a worker's or evaluator's: the job is over, it is only told so

/** Checks a worker's index. */
MST_MUST_USE mst_status mst_worker_index_check(uint32_t worker, struct mst_error *err);
/** Checks the index and the number of a worker that has one. */
MST_MUST_USE mst_status mst_worker_number_check(uint32_t worker, uint64_t number, struct mst_error *err);
/** The same of a worker that may have none yet, which is 0. */
MST_MUST_USE mst_status mst_worker_number_check_if_any(uint32_t worker, uint64_t number, struct mst_error *err);
/** Checks the number of an evaluator; by its index nothing is kept. */
MST_MUST_USE mst_status mst_evaluator_number_check(uint32_t index, uint64_t number, struct mst_error *err);
/** Checks what is told of workers; a row of no number is of one that has not pushed. */
MST_MUST_USE mst_status mst_worker_rows_check(const struct mst_msg_client_row *rows, size_t n_rows,
                                              struct mst_error *err);
/** Checks fences by worker index, 0 where there is none. */
MST_MUST_USE mst_status mst_worker_fences_check(const uint64_t *fenced, size_t n_fenced, struct mst_error *err);
