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
    bool appends;
    bool is_validated; // each epoch is
    bool has_rate;     // there is a column learning_rate
    const struct mst_compile *compile;
    struct mst_loop *work; // freed before the log, which makes what is left be written
};

/** New log; the file is made soon. */
struct mst_csv_log *mst_csv_log_new(const struct mst_csv_log_config *config);
/** Releases it; NULL is fine. Thread: config.work is freed */
void mst_csv_log_free(struct mst_csv_log *log);
/** Adds an epoch's line; rate is that of the column learning_rate. */
void mst_csv_log_epoch(struct mst_csv_log *log, const struct mst_epoch_scores *known, double rate);
