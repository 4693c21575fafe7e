/** @file
 *  What the examples of a batch should give at one output of a model. Thread: any.
 */
#pragma once

#include <stdint.h>

/** Of one output; one of the two may be NULL. Borrowed by whoever reads it. */
struct mst_target {
    const int32_t *labels; // (n): classes, or the values of one output
    const float *values;   // (n, outputs) for losses with dense targets; NULL: from labels
};
