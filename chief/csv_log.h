/** @file
 *  The file of a CSVLogger: a line for each epoch, byte for byte as Keras's callback writes it.
 *
 *      log = mst_csv_log_new(&config);                       // empties the file, or looks whether it has a header
 *      mst_csv_log_epoch(log, &known, has_rate, rate);
 *      mst_csv_log_free(log);
 *
 *  1. columns: epoch (from 0), then sorted by name the measures of training and validation, and learning_rate if one is
 *     told; without validations Keras's columns val_… all the same, sorted, at the end;
 *  2. numbers as Python prints them, NA for what is not known, lines that end in CR LF.
 *  A chief that goes on for one that died may be told an epoch again whose line is the last one that is there.
 *  The disk is touched on loop `work` only; a failure is logged once and costs the lines concerned.
 *  Source: keras/src/callbacks/csv_logger.py; RFC 4180 (quoting)
 */
#pragma once

#include "chief/epoch_scores.h"

struct mst_loop;
struct mst_csv_log;

/** Borrowed until free. */
struct mst_csv_log_config {
    const char *path;
    char separator;
    bool appends;      // also where continues
    bool continues;    // for a chief that died: a first line of the same epoch as the last one is not added again
    bool is_validated; // each epoch is
    bool has_rate;     // there is a column learning_rate
    const struct mst_compile *compile;
    struct mst_loop *work; // freed before the log, which makes what is left be written
    /** A line is in the file, or has failed: called on loop `control`, if there is one. */
    void (*on_written)(void *arg);
    void *arg;
    struct mst_loop *control;
};

/** New log; the file is made soon. */
struct mst_csv_log *mst_csv_log_new(const struct mst_csv_log_config *config);
/** Releases it; NULL is fine. Thread: config.work is freed */
void mst_csv_log_free(struct mst_csv_log *log);
/** Adds an epoch's line; rate is that of the column learning_rate. */
void mst_csv_log_epoch(struct mst_csv_log *log, const struct mst_epoch_scores *known, double rate);
/** Lines that are not written yet, where there is a loop `control`, on which this is asked. */
size_t mst_csv_log_n_pending(const struct mst_csv_log *log);
