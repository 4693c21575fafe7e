/** @file
 *  A case of a dump as a program with its variables, for golden tests.
 *
 *      struct golden_run run = {.golden = golden, .index = i, .device = device};
 *      golden_run_init(&run, "w.0", &options);                    // variables from "<case>.w.0.<variable>"
 *      struct mst_program_step step = golden_run_step(&run, 0, 16);
 *      golden_run_batch(&run, &step);
 *      loss = golden_run_value(&run, 0);
 *      golden_run_fini(&run);
 *
 *  Thread: one at a time
 */
#pragma once

#include "golden_file.h"
#include "model/program.h"

struct golden_run {
    struct golden *golden; // by the caller
    size_t index;
    struct mst_device *device;
    const char *name; // the case's
    struct mst_model *model;
    struct mst_compile compile;
    struct mst_program *program;
    size_t n_variables;
    float **params; // one array a variable
    float **grads;
    void *raw;        // features of the whole case, in the program's dtype
    size_t raw_bytes; // of one number
    int32_t *labels;  // NULL: the loss takes targets
    const float *targets;
    size_t n_examples;
    size_t n_features; // of an example
    size_t n_outputs;
    double *sums;      // of the batches run since golden_run_restart
    const void *input; // of the last step
    struct mst_target target[MST_MAX_OUTPUTS];
    struct { // outputs 1, …, from "<case>.y1", …
        int32_t *labels;
        const float *targets;
        size_t n_values;
    } more[MST_MAX_OUTPUTS];
};

/** Parses the model, plans the program, copies variables, features and labels. False (nothing to release) if the
 *  features are not all of that dtype. */
bool golden_run_init(struct golden_run *run, const char *weights, const struct mst_program_options *options);
/** Releases all of it. */
void golden_run_fini(struct golden_run *run);
/** The step that runs examples [first, first + n); valid until the next. */
struct mst_program_step golden_run_step(struct golden_run *run, size_t first, size_t n);
/** Runs it, adding to the sums; fails the test if it fails. */
void golden_run_batch(struct golden_run *run, const struct mst_program_step *step);
/** Sets the sums to 0. */
void golden_run_restart(struct golden_run *run);
/** Measure i of the sums, as Keras reports it. */
float golden_run_value(const struct golden_run *run, size_t i);
