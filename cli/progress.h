/** @file
 *  How far a job is, as the chief's progress lines tell it (chief/report.h), and one line of text that says so.
 *
 *      mst_progress_take(&progress, event);                  // each JSON object the chief wrote, in order
 *      struct mst_progress_style style = {.columns = 79, .has_utf8 = true};
 *      mst_progress_line(&progress, &style, line, sizeof line);
 *
 *      epoch 3/5  step 2345/4690  71300 examples/s  loss 0.3123  accuracy 0.8871  val_loss 0.3612  val_accuracy 0.8695
 *      ETA 3 s  chief ✓ ps ✓✓ worker ✓✓ evaluator ✓                                            (one line)
 *
 *  Thread: one at a time.
 */
#pragma once

#include "cli/supervision.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { MST_PROGRESS_METRICS = 4, MST_PROGRESS_LINE_BYTES = 1024 };

struct mst_progress {
    bool has_started; // parameter servers serve; workers may train
    bool has_figures; // those below are known
    bool has_finished;
    uint64_t epoch;
    uint64_t n_epochs;
    uint64_t n_epochs_done;
    uint64_t step;
    uint64_t n_steps;
    double examples_per_second;
    double eta_seconds;
    uint64_t n_workers; // that have joined
    bool has_loss;
    double loss;
    size_t n_metrics;
    struct {
        char name[48];
        double value;
    } metrics[MST_PROGRESS_METRICS];
    size_t n_scores; // of the last evaluation; the loss comes first
    struct {
        char name[48]; // "val_accuracy"
        double value;
    } scores[MST_PROGRESS_METRICS + 1];
    uint64_t n_checkpoints_failed; // one after the other, up to now
    char checkpoint_failure[256];  // why, of the last of them
    char learning_rate[256];       // what the job's consistency does to it
    char waiting[256];             // for whom the chief waits, or ""
};

/** How a line is to look. */
struct mst_progress_style {
    size_t columns; // the line is at most so long
    bool has_utf8;  // the terminal shows ✓
    bool has_marks; // with the state of every process
    const struct mst_supervised *tasks;
    size_t n_tasks;
    double seconds; // since the command was given, shown until there are figures
};

/** Takes what one progress object says; one that says something else, or nonsense, changes nothing. */
void mst_progress_take(struct mst_progress *progress, const json_t *event);

/** Prints the line without a line end; returns its columns. What does not fit is shortened, then left out, the least
 *  wanted first. out_bytes: at least MST_PROGRESS_LINE_BYTES. */
size_t mst_progress_line(const struct mst_progress *progress, const struct mst_progress_style *style, char *out,
                         size_t out_bytes);
