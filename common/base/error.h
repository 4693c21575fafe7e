/** @file
 *  Failing with a sentence, and the two macros of the error convention (include/muster/status.h has the codes).
 *
 *      if (n_bytes > MST_FRAME_META_MAX)
 *          return mst_fail(err, MST_RESOURCE_EXHAUSTED, "frame meta of %zu bytes from %s exceeds %d", …);
 *
 *  Return or log, never both: who handles a failure logs it.
 */
#pragma once

#include "muster/status.h"

/** Writes the sentence to err (if not NULL) and returns status. Owner: borrows all. Thread: any */
mst_status mst_fail(struct mst_error *err, mst_status status, const char *format, ...) MST_PRINTF(3, 4);

/** Puts "prefix: " before what err already says; for a caller that knows the file or key. Returns status. */
mst_status mst_fail_prefix(struct mst_error *err, mst_status status, const char *format, ...) MST_PRINTF(3, 4);

/** Prints the broken condition with file and line to stderr and aborts: a bug of ours, never an input. */
_Noreturn void mst_assert_failed(const char *condition, const char *file, int line);

#define MST_ASSERT(condition) ((condition) ? (void)0 : mst_assert_failed(#condition, __FILE__, __LINE__))

// Returns the status of expr if it failed. Only where nothing needs release; else `goto out`.
#define MST_TRY(expr)                                                                                                  \
    do {                                                                                                               \
        mst_status try_status_ = (expr);                                                                               \
        if (try_status_ != MST_OK)                                                                                     \
            return try_status_;                                                                                        \
    } while (0)
