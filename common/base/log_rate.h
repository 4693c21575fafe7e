/** @file
 *  A line that others can cause again and again: it is logged at first, then rarely, and counted when it is not.
 *
 *      size_t n_unlogged;
 *      if (mst_log_rate_allows(&rate, mst_clock_monotonic_ms(), &n_unlogged))
 *          MST_LOG(WARN, "ps", "greeting refused", "… unlogged=%zu", …, n_unlogged);
 *
 *  MST_LOG_RATE_LINES in any MST_LOG_RATE_MS: enough for each of a few who come every second to be named once.
 *  Thread: one at a time.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { MST_LOG_RATE_LINES = 5, MST_LOG_RATE_MS = 60000 };

/** Zeroed at first. */
struct mst_log_rate {
    uint64_t logged_ms[MST_LOG_RATE_LINES]; // when, + 1; the oldest at next; 0: not yet
    size_t next;
    size_t n_unlogged; // since the last line
};

/** True if the line is to be logged; *n_unlogged_out: how many were not since the last that was. */
bool mst_log_rate_allows(struct mst_log_rate *rate, uint64_t now_ms, size_t *n_unlogged_out);
