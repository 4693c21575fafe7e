/** @file
 *  A process of this program that dies with the one that started it, its output in a log file.
 *
 *      struct mst_child_plan plan = {.argv = argv, .envp = envp, .log_path = "logs/ps-0.log", .fds = fds, .n_fds = 1};
 *      MST_TRY(mst_child_start(&plan, &pid, err));
 *      …waitpid(pid, …)…
 *
 *  It runs in a process group of its own, so that Ctrl-C on the terminal reaches only the one that started it.
 *  Thread: one that lives as long as the children shall (Linux sends the death signal when the thread that forked
 *  ends).
 */
#pragma once

#include "muster/status.h"

#include <stddef.h>
#include <sys/types.h>

/** Borrowed for the call. */
struct mst_child_plan {
    char *const *argv; // of this very program; argv[0] is a name
    char *const *envp;
    const char *log_path; // standard output and error are appended to it
    const int *fds;       // open descriptors that it keeps under the same numbers, all above 2
    size_t n_fds;
};

/** Starts it; *out is its pid. Does not wait for the program to be running.
 *  Errors: those of opening the log (tfio/disk_file.h); RESOURCE_EXHAUSTED no process to be had */
MST_MUST_USE mst_status mst_child_start(const struct mst_child_plan *plan, pid_t *out, struct mst_error *err);

/** New text: the last n_lines lines of a file, or those of its last 32 KiB; "" if it cannot be read. Bytes that a
 *  terminal could obey are '?'. Thread: any */
char *mst_log_tail(const char *path, size_t n_lines);
