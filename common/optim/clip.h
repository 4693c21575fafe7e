/** @file
 *  Clipping of gradients by their norm, as Keras does before an update. It needs whole variables, so it is done where
 *  they are: on the worker, before anything is pushed. (clipvalue looks at elements only: mst_optimizer_apply does it.)
 *
 *      struct mst_clip clip = mst_optimizer_clip(optimizer);
 *      if (clip.norm > 0)                                       // clipnorm: each variable by itself
 *          mst_clip_by_norm(clip.norm, grad, n);
 *      if (clip.global_norm > 0) {                              // global_clipnorm: all variables together
 *          for (each variable) sum += mst_clip_square_sum(grad, n);
 *          for (each variable) mst_clip_scale(mst_clip_global_scale(clip.global_norm, sum), grad, n);
 *      }
 *
 *  Sums of squares are of doubles in a fixed order, the same on every processor: Keras's are of floats, so norms agree
 *  to about 1e-6 of themselves, and squares that overflow a float do not here.
 *  Thread: any.
 */
#pragma once

#include "optim/optimizer.h"

#include <stddef.h>

/** What an optimizer clips by; 0: not. At most one of the two is set. */
struct mst_clip {
    double norm;
    double global_norm;
};

/** The optimizer's clipnorm and global_clipnorm. */
struct mst_clip mst_optimizer_clip(const struct mst_optimizer *optimizer);
/** The sum of n squares.
 *  Cost: about an element a clock; no allocation */
double mst_clip_square_sum(const float *x, size_t n);
/** Scales n gradients to the norm `limit` if theirs is greater. One that is NaN or Inf stays so.
 *  Source: keras/src/optimizers/base_optimizer.py, _clip_by_norm */
void mst_clip_by_norm(double limit, float *x, size_t n);
/** What all gradients are multiplied with if the sum of all their squares is square_sum; NaN if that is not finite.
 *  Source: keras/src/optimizers/base_optimizer.py, clip_by_global_norm */
float mst_clip_global_scale(double limit, double square_sum);
/** Multiplies n floats; by 1 it is nothing. */
void mst_clip_scale(float scale, float *x, size_t n);
