/** @file
 *  Weighted sums of gradients, and their mean: how a synchronous round makes one gradient of its contributions.
 *
 *      for (each contribution, in worker order)
 *          mst_weighted_sum_add(weight, x, is_first, sum, n), total_weight += weight, is_first = false;
 *      mst_weighted_sum_mean(total_weight, sum, mean, n);
 *
 *  Each element by itself, every operation rounded to a float and none fused, so the same contributions in the same
 *  order give the same bits on every processor and for every way of cutting n into pieces.
 *  Thread: any.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

/** sum = weight * x + sum, or weight * x for the first, whatever `sum` holds then (+0 and -0 stay what they are).
 *  x and sum do not overlap.
 *  Cost: the time that the memory takes; no allocation */
void mst_weighted_sum_add(float weight, const float *x, bool is_first, float *sum, size_t n);
/** out = sum / total_weight; out may be sum itself.
 *  Cost: the time that the memory takes; no allocation */
void mst_weighted_sum_mean(float total_weight, const float *sum, float *out, size_t n);
