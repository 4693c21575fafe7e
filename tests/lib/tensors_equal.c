#include "tensors_equal.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool mst_test_floats_close(const char *name, const float *got, const float *want, size_t n, double tolerance)
{
    double scale = 1e-30;
    for (size_t i = 0; i < n; i++)
        scale = fmax(scale, fabs((double)want[i]));
    size_t first = n;
    double worst = 0;
    for (size_t i = 0; i < n; i++) {
        double error = fabs((double)got[i] - (double)want[i]);
        if (!(error <= tolerance * scale) && first == n)
            first = i;
        if (!(error <= worst))
            worst = error;
    }
    if (getenv("MUSTER_TEST_ERRORS"))
        fprintf(stderr, "%s: largest error %.3g of the largest value, allowed %.3g\n", name, worst / scale, tolerance);
    if (first == n)
        return true;
    fprintf(stderr, "%s: element %zu of %zu is %.9g, want %.9g; largest error %.3g, allowed %.3g\n", name, first, n,
            (double)got[first], (double)want[first], worst, tolerance * scale);
    return false;
}

bool mst_test_floats_same_bits(const char *name, const float *got, const float *want, size_t n)
{
    size_t first = n;
    size_t n_different = 0;
    for (size_t i = 0; i < n; i++) {
        if (memcmp(&got[i], &want[i], sizeof(float)) != 0) {
            if (first == n)
                first = i;
            n_different++;
        }
    }
    if (first == n)
        return true;
    fprintf(stderr, "%s: %zu of %zu floats differ, the first is element %zu: %a, want %a\n", name, n_different, n,
            first, (double)got[first], (double)want[first]);
    return false;
}
