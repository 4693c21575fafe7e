/** @file
 *  Where people see how a job goes: on a terminal one line that is drawn again and again in place; elsewhere plain
 *  lines, few of them.
 *
 *      mst_progress_view_init(&view, STDERR_FILENO);
 *      mst_progress_view_show(&view, &progress, &supervision, now_ms);   // after every change
 *      mst_progress_view_say(&view, "worker-1 was killed; it is started again");
 *      mst_progress_view_end(&view);                                     // the line stays, the cursor is below it
 *
 *  Where log lines are JSON, what would be a line is an event of component "local" and nothing is drawn.
 *  The cursor is never hidden and no mode of the terminal is changed, so there is nothing to restore when the process
 *  is killed in between.
 *  Thread: one at a time.
 */
#pragma once

#include "cli/progress.h"

struct mst_progress_view {
    int fd;
    bool is_live;   // a terminal that can draw over a line
    bool has_line;  // one is drawn, and the cursor stands behind it
    bool has_utf8;  // it shows ✓
    bool has_shown; // a plain line with figures was printed
    uint64_t start_ms;
    uint64_t shown_ms;                   // when the last plain line was printed
    uint64_t shown_tenth;                // of all steps, and
    uint64_t shown_epoch;                // epochs done when that was
    char shown[MST_PROGRESS_LINE_BYTES]; // the line as it stands
};

/** Looks at fd: a terminal (not a dumb one) is drawn on. start_ms: when the command was given. */
void mst_progress_view_init(struct mst_progress_view *view, int fd, uint64_t start_ms);
/** Draws the line; without a terminal prints one if an epoch or a tenth of all steps is done since the last, or a
 *  minute has passed, and at most one a second. */
void mst_progress_view_show(struct mst_progress_view *view, const struct mst_progress *progress,
                            const struct mst_supervision *supervision, uint64_t now_ms);
/** Prints text as lines of their own; a drawn line is drawn again below them. */
void mst_progress_view_say(struct mst_progress_view *view, const char *text);
/** Leaves the line as it is and goes to the next. */
void mst_progress_view_end(struct mst_progress_view *view);
