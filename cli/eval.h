/** @file
 *  `muster eval`: loss and metrics of a checkpoint on the job's data.eval, in this process.
 */
#pragma once

#include "muster/status.h"

#include <stddef.h>

/** What the command line says. Texts borrowed; NULL: not given. */
struct mst_eval_options {
    const char *job;         // path of the job file
    const char *const *sets; // "a.b=c"
    size_t n_sets;
    const char *checkpoint; // prefix (ckpt/model-4690); NULL: the newest whole one in checkpoint.dir
    size_t n_threads;       // compute threads; 0: as many as the cgroup gives
};

/** Prints one JSON object, {"checkpoint": …, "loss": …, "accuracy": …}, to stdout. */
MST_MUST_USE mst_status mst_eval(const struct mst_eval_options *options, struct mst_error *err);
