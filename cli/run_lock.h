/** @file
 *  The file local.json in a job's output directory: who holds its lock is the one `muster local` that writes there, and
 *  what is in it tells others, `muster top` for one, who that is and where its processes can be asked.
 *
 *      MST_TRY(mst_run_lock_take("run", &lock, err));
 *      mst_run_lock_tell(lock, description);              // {"pid": …, "roles": [{"role", "index", "http"}, …]}
 *      mst_run_lock_free(lock);                           // the file is gone
 *
 *  The lock is the kernel's (flock): it ends with the process, however that dies; a file that is left is taken over.
 *  Thread: one at a time.
 */
#pragma once

#include "muster/status.h"

#include <jansson.h>

struct mst_run_lock;

/** Takes the lock of a directory that is there, or fails at once. Where locks cannot be had (some network file systems)
 *  nothing is locked, and that is no error.
 *  Errors: UNAVAILABLE somebody else has it, with his pid; those of opening the file */
MST_MUST_USE mst_status mst_run_lock_take(const char *dir, struct mst_run_lock **out, struct mst_error *err);
/** Writes what others may read. A disk that refuses it is no reason to stop. Owner: borrows */
void mst_run_lock_tell(struct mst_run_lock *lock, const json_t *description);
/** Removes the file and gives the lock back; NULL is fine. */
void mst_run_lock_free(struct mst_run_lock *lock);

/** New object: what the holder of the lock of dir tells; NULL if nobody holds it or nothing is told yet. */
json_t *mst_run_lock_read(const char *dir);
