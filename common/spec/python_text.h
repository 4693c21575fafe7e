/** @file
 *  Values as Python prints and converts them, because TensorFlow's texts and rules are Python's: repr(), str(), int().
 *  Private to spec. Thread: any.
 *  Source: Python 3 language reference (repr of str, float, containers) and int()'s documentation
 */
#pragma once

#include "base/bytes.h"
#include "muster/status.h"

#include <jansson.h>
#include <stdint.h>

enum { MST_PYTHON_DIGITS = 512 };

/** What int() makes of a value. */
struct mst_python_int {
    int64_t value;                  // INT64_MIN or INT64_MAX when it does not fit
    char digits[MST_PYTHON_DIGITS]; // as print() shows it
};

/** Appends repr(value). Errors: RESOURCE_EXHAUSTED the buffer's maximum */
MST_MUST_USE mst_status mst_python_repr(const json_t *value, struct mst_buf *buf);

/** Appends repr() of a text. Errors: RESOURCE_EXHAUSTED the buffer's maximum */
MST_MUST_USE mst_status mst_python_repr_text(const char *text, struct mst_buf *buf);

/** Appends str(value): a text as it is, all else as repr. Errors: RESOURCE_EXHAUSTED the buffer's maximum */
MST_MUST_USE mst_status mst_python_str(const json_t *value, struct mst_buf *buf);

/** int(value). Errors: INVALID_ARGUMENT Python's own ValueError or TypeError text */
MST_MUST_USE mst_status mst_python_int(const json_t *value, struct mst_python_int *out, struct mst_error *err);

/** int() of a text. Errors: INVALID_ARGUMENT Python's own ValueError text */
MST_MUST_USE mst_status mst_python_int_of_text(const char *text, struct mst_python_int *out, struct mst_error *err);
