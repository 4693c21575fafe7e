/** @file
 *  Initial values of variables, with Keras's formulas: fans, limits and standard deviations.
 *
 *      MST_TRY(mst_initializer_parse(json, "config.layers[1].config.kernel_initializer", &init, err));
 *      struct mst_initializer_range range = {.first = row_offset * row_elements, .n = n_rows * row_elements};
 *      mst_initializer_fill(&init, job_seed, "dense/kernel", &shape, range, values);
 *
 *  The value of an element is a pure function of (seed, variable name, shape of the whole variable, element index),
 *  so any slice of a variable gets the same bits under any partitioning, on any machine. The numbers are not those of
 *  Keras's generators, the distributions are.
 *
 *  A seed in the initializer's own config replaces both the job's seed and the variable's name: as in Keras, two
 *  variables of one shape and the same seeded initializer begin alike, whatever the job's seed is.
 *  Thread: any.
 *  Source: Glorot & Bengio 2010; He et al. 2015; LeCun et al. 1998; Keras 3 `initializers` (documented formulas)
 */
#pragma once

#include "muster/status.h"
#include "tensor/shape.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum mst_initializer_kind {
    MST_INIT_ZEROS,
    MST_INIT_ONES,
    MST_INIT_CONSTANT,
    MST_INIT_RANDOM_NORMAL,
    MST_INIT_RANDOM_UNIFORM,
    MST_INIT_TRUNCATED_NORMAL,
    MST_INIT_VARIANCE_SCALING, // and glorot, he, lecun, which are cases of it
    MST_INIT_IDENTITY,
    MST_INIT_ORTHOGONAL,
};

enum mst_fan_mode { MST_FAN_IN, MST_FAN_OUT, MST_FAN_AVG };
enum mst_init_distribution { MST_DIST_TRUNCATED_NORMAL, MST_DIST_UNTRUNCATED_NORMAL, MST_DIST_UNIFORM };

/** A plain value: may be copied. */
struct mst_initializer {
    enum mst_initializer_kind kind;
    double a; // constant: value; normals: mean; uniform: minimum; variance scaling: scale; identity, orthogonal: gain
    double b; // normals: standard deviation; uniform: maximum
    enum mst_fan_mode mode;                  // variance scaling
    enum mst_init_distribution distribution; // variance scaling
    bool has_seed;
    uint64_t seed;
    const char *class_name; // Keras's name of it, static: "GlorotUniform"
};

struct mst_config_entry;

/** Which elements of the flattened variable. */
struct mst_initializer_range {
    size_t first;
    size_t n;
};

/** Reads an initializer as Keras prints it ({"class_name","config",…} or a name like "glorot_uniform").
 *  Errors: UNIMPLEMENTED names one we lack and lists those we have; INVALID_ARGUMENT the key path and the value */
MST_MUST_USE mst_status mst_initializer_parse(const json_t *json, const char *path, struct mst_initializer *out,
                                              struct mst_error *err);

/** The initializers that there are, from 0 on; false after the last. */
bool mst_initializer_entry(size_t i, struct mst_config_entry *out);

/** Checks that this initializer can make a variable of this shape (identity: two axes; orthogonal: two at least, and
 *  not more elements than it can make in a moment).
 *  Errors: INVALID_ARGUMENT */
MST_MUST_USE mst_status mst_initializer_check(const struct mst_initializer *init, const struct mst_shape *shape,
                                              const char *path, struct mst_error *err);

/** Writes the initial values of a range of the variable's elements (row-major).
 *  Shape:  out (range.n); shape is that of the whole variable
 *  Owner:  borrows all
 *  Cost:   O(n), about 10 ns an element (truncated normals 25 ns), no allocation; orthogonal: the whole matrix in
 *          double,
 *          whatever the range, and a QR decomposition of it (784 by 300: 0.1 s) */
void mst_initializer_fill(const struct mst_initializer *init, uint64_t seed, const char *variable,
                          const struct mst_shape *shape, struct mst_initializer_range range, float *out);
