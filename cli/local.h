/** @file
 *  `muster local`: a whole cluster on this machine, real processes on free ports of 127.0.0.1, supervised, with a
 *  progress line. Every process is `muster run` with TF_CONFIG, as it would be on a cluster; nothing survives this one.
 */
#pragma once

#include "muster/status.h"

#include <stddef.h>

/** What the command line says. Texts borrowed. */
struct mst_local_options {
    const char *job;
    const char *const *sets; // "a.b=c"
    size_t n_sets;
    size_t n_workers;
    size_t n_ps;
    size_t n_evaluators;   // 0 or 1
    size_t max_restarts;   // of a role in a minute
    size_t http_base_port; // chief there, then workers, PSs, evaluator; 0: any free ports
    size_t n_threads;      // of a worker; 0: its share of the CPUs this process may use
    size_t n_data_threads; // of a PS; 0: its share of the CPUs, at most 4
    const char *log_level; // NULL: as MUSTER_LOG says
};

/** Runs the job to its end. When it returns MST_OK, *exit_code_out is the exit code and everything is said; else
 *  nothing was started: the caller prints err and leaves with the status's exit code.
 *  Thread: the only one of the process (children are to die with it, and Linux ties that to the thread that forks)
 *  Errors: those of the job, its model and its data; INVALID_ARGUMENT output or checkpoint directory cannot be written;
 *  UNAVAILABLE an HTTP port is in use; RESOURCE_EXHAUSTED no ports or descriptors left */
MST_MUST_USE mst_status mst_local(const struct mst_local_options *options, int *exit_code_out, struct mst_error *err);
