/** @file
 *  The JSON log of a process, read while it is written and printed again on standard error, line by line: how
 *  `muster local --log=json` shows what its processes say.
 *
 *      mst_log_follow_init(&follow, "worker-1", "run/logs/worker-1.log");
 *      mst_log_follow_pump(&follow);      // now and then: what is whole
 *      mst_log_follow_end(&follow);       // the process has ended: what is left, too
 *      mst_log_follow_fini(&follow);
 *
 *  A line that is a JSON object is printed as it is; any other (a library's warning, half a line of a process that was
 *  killed) becomes the text of an event, so that every line printed is an object.
 *  Thread: one at a time.
 */
#pragma once

#include "base/bytes.h"

#include <sys/types.h>

struct mst_log_follow {
    const char *name; // of the process
    const char *path;
    off_t offset; // up to which it is read
    struct mst_buf line;
};

/** Starts at the beginning of the file, which need not be there yet. Owner: keeps name and path */
void mst_log_follow_init(struct mst_log_follow *follow, const char *name, const char *path);
/** Prints the lines that were written since the last call and are whole. A file that cannot be read has none. */
void mst_log_follow_pump(struct mst_log_follow *follow);
/** Prints what is left, a line without its end included; the next pump goes on behind it. */
void mst_log_follow_end(struct mst_log_follow *follow);
/** Releases it; zeroed is fine. */
void mst_log_follow_fini(struct mst_log_follow *follow);
