/** @file
 *  Work on a stranger's file in a process of its own: if a library crashes on it, or never returns, the caller gets a
 *  sentence. Private to keras/.
 *
 *      MST_TRY(mst_isolated_run(read_it, &job, "m.keras", err));     // results in memory that both share
 *
 *  Thread: forks; the child only does the work and ends.
 */
#pragma once

#include "muster/status.h"

#include <stddef.h>

enum { MST_ISOLATED_LIMIT_MS = 600000 };

typedef mst_status mst_isolated_fn(void *arg, struct mst_error *err);

/** New zeroed memory that a child writes and its parent reads, NULL if there is none. */
void *mst_isolated_alloc(size_t bytes);
/** Releases it; NULL is fine. */
void mst_isolated_free(void *memory, size_t bytes);
/** Runs work(arg) in a child and waits for it, MST_ISOLATED_LIMIT_MS at most; file is named in errors.
 *  Errors: those of work; DATA_LOSS the child crashed; DEADLINE_EXCEEDED; RESOURCE_EXHAUSTED no process to be had */
MST_MUST_USE mst_status mst_isolated_run(mst_isolated_fn *work, void *arg, const char *file, struct mst_error *err);
