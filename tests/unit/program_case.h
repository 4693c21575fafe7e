/** @file
 *  A small model as a program with random variables, for tests of programs.
 *
 *      struct program_case c;
 *      program_case_init(&c, device, "[4]", DENSE("d", 3, "tanh"), "{\"loss\":\"mse\"}", &options);
 *      struct mst_program_step step = program_case_step(&c, x, labels, 16);
 *      struct program_result result = program_case_run(&c, &step);
 *      program_case_fini(&c);
 *
 *  Thread: one at a time
 */
#pragma once

#include "base/rng.h"
#include "device/device.h"
#include "model/compile.h"
#include "model/model.h"
#include "model/program.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// Layers for program_case_init, as text: LAYERS(DENSE(…), …) is only concatenation with ",".
#define LAYER(class, name, config)                                                                                     \
    "{\"module\":\"keras.layers\",\"class_name\":\"" class "\",\"config\":{\"name\":\"" name "\"" config "},"          \
                                                           "\"registered_name\":null}"
#define DENSE(name, units, activation)                                                                                 \
    LAYER("Dense", name, ",\"units\":" #units ",\"activation\":\"" activation "\",\"use_bias\":true")
#define DROPOUT(name, rate) LAYER("Dropout", name, ",\"rate\":" #rate ",\"seed\":null,\"noise_shape\":null")

struct program_case {
    struct mst_model *model;
    struct mst_compile compile;
    struct mst_program *program;
    size_t n_variables;
    size_t n_parameters;
    float **params;
    float **grads;
    size_t n_features; // of an example
    size_t n_outputs;
    double *sums; // of the last run
    struct {      // what the last steps point to
        const void *input;
        struct mst_target target;
    } steps[4];
    size_t n_steps;
};

/** What a run gave. */
struct program_result {
    double loss;
    double metrics[MST_MEASURES_MAX];
    bool loss_is_finite;
    double weight;
    size_t bad_layer;
    const char *bad_layer_name;
};

/** Random words in a row, from a seed of MUSTER_TEST_SEED or 1; prints it once for the name. */
void program_random_seed(const char *name);
/** Begins again with the first word. */
void program_random_restart(void);
/** The next word, and a float in [-scale, scale). */
uint32_t program_random_word(void);
float program_random_float(float scale);
/** Fills n floats. */
void program_random_fill(float *out, size_t n, float scale);

/** Parses a model of these layers on an input of this shape, "[4]" or "[2,3]". Owner: the caller's */
struct mst_model *program_model(const char *input, const char *layers);
/** Parses the model and compile (NULL: none), plans the program, and fills variables at random. */
void program_case_init(struct program_case *c, struct mst_device *device, const char *input, const char *layers,
                       const char *compile, const struct mst_program_options *options);
/** Releases all of it. */
void program_case_fini(struct program_case *c);
/** The index of the variable of this name. */
size_t program_variable(const struct program_case *c, const char *name);
/** A step of one input and one output, with a target of class labels; valid until the fourth after it is made. */
struct mst_program_step program_case_step(struct program_case *c, const void *x, const int32_t *labels, size_t n);
/** Runs a step with this case's params and grads, and its sums unless the step has others; fails the test if it fails.
 */
struct program_result program_case_run(struct program_case *c, struct mst_program_step *step);
