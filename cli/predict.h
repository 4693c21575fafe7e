/** @file
 *  `muster predict`: what a trained model says of each example of a file, as CSV or JSON lines.
 */
#pragma once

#include "muster/status.h"

#include <stdbool.h>
#include <stddef.h>

/** What the command line says. Texts borrowed; NULL: not given. */
struct mst_predict_options {
    const char *model;       // a job file or a model directory
    const char *const *sets; // "a.b=c"
    size_t n_sets;
    const char *const *inputs; // the examples: a file, CSV if its name ends in .csv or .csv.gz, else IDX; of several
    size_t n_inputs;           // IDX inputs NAME=FILE each
    const char *data;          // how to read a CSV file: JSON with the keys of data.train; NULL: as the job's
    const char *label;         // CSV: a column that is no feature; NULL: the job's, which may be missing
    bool is_headless;          // CSV: the first line is an example too
    const char *checkpoint;    // prefix; NULL: the newest whole one of the job, or the directory's weights
    const char *output;        // NULL: standard output
    const char *format;        // "csv" or "jsonl"; NULL: csv
    size_t n_threads;          // compute threads; 0: as many as the cgroup gives
};

/** Writes one line for each example. The numbers are those of Keras's model.predict for the same weights.
 *  Errors: INVALID_ARGUMENT wrong options, job or model, examples of another shape; NOT_FOUND, DATA_LOSS the input or
 *          the weights; after an error there is no new output file */
MST_MUST_USE mst_status mst_predict(const struct mst_predict_options *options, struct mst_error *err);
