/** @file
 *  What the tests of the device share: random numbers from a printed seed, devices, Keras's functions in double.
 *
 *      device_seed("test_device_rows");
 *      float *x = device_floats(n, 3.0f);                       // free(x)
 *      assert_true(device_close("softmax", y, want, n, 1e-6, 1e-9));
 */
#pragma once

#include "device/device.h"

#include <stdbool.h>
#include <stddef.h>

/** Takes the seed from MUSTER_TEST_SEED, else 1, and prints it with the instruction set. */
void device_seed(const char *test);
/** The next number from [-scale, scale). */
float device_random(float scale);
void device_fill(float *x, size_t n, float scale);
/** New array of exactly n floats, so that ASan sees one read too far. */
float *device_floats(size_t n, float scale);

/** New device, or the test fails. */
struct mst_device *device_new(size_t n_threads);

/** True if |got - want| <= relative * |want| + absolute for all n, and NaN and infinities are met; else prints the
 *  first mismatch. */
bool device_close(const char *name, const float *got, const double *want, size_t n, double relative, double absolute);
/** True if the n floats have the same bits or are both NaN; else prints the first mismatch. */
bool device_same(const char *name, const float *got, const float *want, size_t n);

/** An activation that works on single elements, in double. */
double device_activate(const struct mst_activation *activation, double x);
/** Its slope by central difference; NaN where it has a bend near x. */
double device_slope(const struct mst_activation *activation, double x);
