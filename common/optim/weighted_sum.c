// Plain loops, compiled once: four lanes wait for memory as well as sixteen do. -ffp-contract=off keeps the product
// and the addition apart where the processor could fuse them.
#include "optim/weighted_sum.h"

void mst_weighted_sum_add(float weight, const float *restrict x, bool is_first, float *restrict sum, size_t n)
{
    if (is_first) {
        for (size_t i = 0; i < n; i++)
            sum[i] = weight * x[i];
        return;
    }
    for (size_t i = 0; i < n; i++)
        sum[i] = weight * x[i] + sum[i];
}

// A division, not a product with the reciprocal: that would be rounded twice.
void mst_weighted_sum_mean(float total_weight, const float *sum, float *out, size_t n)
{
    for (size_t i = 0; i < n; i++)
        out[i] = sum[i] / total_weight;
}
