/** @file
 *  What a job's consistency does to its learning rate, in one sentence for people. Pure.
 *
 *      char *text = mst_effective_rate_text(job->batch_size, job->accumulate_steps, n_round_workers);
 *
 *  An update is a mean, so what k batches make together moves the weights as far as one batch would: each example
 *  counts k times less than where every batch is an update.
 *  Thread: any.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

/** New sentence, without a full stop. n_round_workers: whose gradients a synchronous round averages; 0: there are no
 *  rounds, and each worker's push is an update.
 *  Units:  batch_size examples; accumulate_steps batches of one push, at least 1 */
char *mst_effective_rate_text(uint64_t batch_size, uint64_t accumulate_steps, size_t n_round_workers);
