/** @file
 *  `muster run`: the role that TF_CONFIG names, in this process; no TF_CONFIG means one process that trains alone.
 *  main.c fills the options and makes log level and log file so before it calls.
 */
#pragma once

#include "muster/status.h"

#include <stdbool.h>
#include <stddef.h>

/** What the command line says. Texts borrowed; NULL and -1: not given. */
struct mst_run_options {
    const char *job;         // path of the job file
    const char *const *sets; // "a.b=c"
    size_t n_sets;
    const char *task_type;       // --task-type worker
    const char *task_index;      // --task-index 1
    const char *task_index_from; // --task-index-from hostname | env:NAME
    const char *http;            // [ADDR:]PORT
    int listen_fd;               // already listening socket of this role; -1: bind the port of TF_CONFIG
    int progress_fd;             // JSON lines of the chief go there; -1: nowhere
    bool parks;                  // a finished role stays, asleep, until SIGTERM
    size_t grace_seconds;        // after SIGTERM, until it ends without having left well
    size_t n_threads;            // compute threads; 0: as many as the cgroup gives
    size_t n_data_threads;       // data threads of a PS; 0: its default
};

/** Runs until the job is finished or this process must leave. When it returns MST_OK, *exit_code_out is the exit code
 *  (0, or 143 and 130 after a signal with work left); else the caller prints err and leaves with the status's exit
 *  code. */
MST_MUST_USE mst_status mst_run(const struct mst_run_options *options, int *exit_code_out, struct mst_error *err);
