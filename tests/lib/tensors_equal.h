/** @file
 *  Comparison of float tensors for tests: prints where and by how much the first mismatch is, and the largest error.
 *
 *      assert_true(mst_test_floats_close("dense/kernel", got, want, n, 1e-6));
 *
 *  With MUSTER_TEST_ERRORS in the environment it prints the largest error of each comparison, also of those that pass.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

/** True if |got[i] - want[i]| <= tolerance * max(1e-30, max|want|) for all i; else prints name, the first mismatch and
 *  the largest error to stderr.
 *  Shape:  got, want (n)
 *  Thread: any */
bool mst_test_floats_close(const char *name, const float *got, const float *want, size_t n, double tolerance);

/** True if the n floats have the same bits; else prints name, the first mismatch and how many differ. */
bool mst_test_floats_same_bits(const char *name, const float *got, const float *want, size_t n);
