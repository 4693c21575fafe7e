// Blocks that are equal byte for byte, by far the most, are passed over by memcmp. Integers are subtracted as integers,
// for doubles have not the digits of 64 bits; everything else becomes double, which holds it exactly. A complex number
// is two floats whose greater difference counts.
#include "cli/tensor_difference.h"

#include "base/error.h"
#include "tfio/tf_types.h"

#include <inttypes.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

enum { BLOCK_ELEMENTS = 4096 };

// One component of an element.
struct number {
    double real; // also of an integer, rounded
    uint64_t bits;
    enum { NUMBER_FLOAT, NUMBER_SIGNED, NUMBER_UNSIGNED } kind;
};

static double of_half(uint16_t bits)
{
    int exponent = bits >> 10 & 0x1f;
    int fraction = bits & 0x3ff;
    double value;
    if (exponent == 0x1f)
        value = (double)(fraction ? NAN : INFINITY);
    else if (exponent == 0)
        value = ldexp(fraction, -24);
    else
        value = ldexp(fraction + 0x400, exponent - 25);
    return bits & 0x8000 ? -value : value;
}

static struct number of_float(double real)
{
    return (struct number){.real = real, .kind = NUMBER_FLOAT};
}

static struct number of_integer(const uint8_t *at, size_t n_bytes, bool is_signed)
{
    uint64_t bits = 0;
    memcpy(&bits, at, n_bytes);
    if (is_signed && n_bytes < sizeof bits && bits >> (8 * n_bytes - 1))
        bits |= UINT64_MAX << (8 * n_bytes);
    if (is_signed)
        return (struct number){(double)(int64_t)bits, bits, NUMBER_SIGNED};
    return (struct number){(double)bits, bits, NUMBER_UNSIGNED};
}

static struct number of_32(const uint8_t *at)
{
    float value;
    memcpy(&value, at, sizeof value);
    return of_float((double)value);
}

static struct number of_64(const uint8_t *at)
{
    double value;
    memcpy(&value, at, sizeof value);
    return of_float(value);
}

// The component at these bytes of an element of this type.
static struct number load(uint32_t type, const uint8_t *at)
{
    size_t n_bytes = mst_tf_type_bytes(type);
    uint16_t short_bits = 0;
    memcpy(&short_bits, at, n_bytes < sizeof short_bits ? 1 : sizeof short_bits);
    switch (type) {
    case MST_TF_FLOAT:
    case MST_TF_COMPLEX64:
        return of_32(at);
    case MST_TF_DOUBLE:
    case MST_TF_COMPLEX128:
        return of_64(at);
    case MST_TF_HALF:
        return of_float(of_half(short_bits));
    case MST_TF_BFLOAT16: {
        uint32_t bits = (uint32_t)short_bits << 16;
        float value;
        memcpy(&value, &bits, sizeof value);
        return of_float((double)value);
    }
    case MST_TF_INT8:
    case MST_TF_INT16:
    case MST_TF_INT32:
    case MST_TF_INT64:
        return of_integer(at, n_bytes, true);
    default:
        return of_integer(at, n_bytes, false);
    }
}

static size_t n_components(uint32_t type)
{
    return type == MST_TF_COMPLEX64 || type == MST_TF_COMPLEX128 ? 2 : 1;
}

static double distance(const struct number *a, const struct number *b)
{
    if (a->kind == NUMBER_SIGNED)
        return (double)((int64_t)a->bits > (int64_t)b->bits ? a->bits - b->bits : b->bits - a->bits);
    if (a->kind == NUMBER_UNSIGNED)
        return (double)(a->bits > b->bits ? a->bits - b->bits : b->bits - a->bits);
    if (a->real == b->real)
        return 0; // infinities, too
    if (isnan(a->real) && isnan(b->real))
        return 0;
    double difference = fabs(a->real - b->real);
    return isnan(difference) ? (double)INFINITY : difference;
}

static void print_element(uint32_t type, const uint8_t *at, char *out)
{
    size_t n = n_components(type);
    int digits = type == MST_TF_DOUBLE || type == MST_TF_COMPLEX128 ? 17 : 9;
    size_t used = 0;
    for (size_t i = 0; i < n && used < MST_ELEMENT_TEXT_BYTES; i++) {
        struct number number = load(type, at + i * (mst_tf_type_bytes(type) / n));
        char *to = out + used;
        size_t left = MST_ELEMENT_TEXT_BYTES - used;
        int len;
        if (number.kind == NUMBER_SIGNED)
            len = snprintf(to, left, "%" PRId64, (int64_t)number.bits);
        else if (number.kind == NUMBER_UNSIGNED)
            len = snprintf(to, left, "%" PRIu64, number.bits);
        else
            len = snprintf(to, left, i ? "%+.*gi" : "%.*g", digits, number.real);
        used += len > 0 ? (size_t)len : 0;
    }
}

// Elements whose bytes differ.
static void compare(const struct mst_tensor_pair *pair, size_t i, double tolerance, struct mst_tensor_difference *out)
{
    size_t n_bytes = mst_tf_type_bytes(pair->type);
    size_t n = n_components(pair->type);
    const uint8_t *a = (const uint8_t *)pair->a + i * n_bytes;
    const uint8_t *b = (const uint8_t *)pair->b + i * n_bytes;
    double absolute = 0;
    double largest = 0;
    for (size_t k = 0; k < n; k++) {
        struct number x = load(pair->type, a + k * (n_bytes / n));
        struct number y = load(pair->type, b + k * (n_bytes / n));
        absolute = fmax(absolute, distance(&x, &y));
        largest = fmax(largest, fmax(fabs(x.real), fabs(y.real))); // fmax passes over a NaN
    }
    if (tolerance > 0 && isfinite(absolute) && absolute <= tolerance * fmax(1, largest))
        return;
    if (out->n_different++ == 0) {
        out->first = i;
        print_element(pair->type, a, out->a_text);
        print_element(pair->type, b, out->b_text);
    }
    out->max_absolute = fmax(out->max_absolute, absolute);
    if (absolute > 0)
        out->max_relative = fmax(out->max_relative, isfinite(absolute) ? absolute / largest : (double)INFINITY);
}

void mst_tensor_difference(const struct mst_tensor_pair *pair, double tolerance, struct mst_tensor_difference *out)
{
    size_t n_bytes = mst_tf_type_bytes(pair->type);
    MST_ASSERT(n_bytes > 0);
    const uint8_t *a = pair->a;
    const uint8_t *b = pair->b;
    *out = (struct mst_tensor_difference){0};
    for (size_t i = 0; i < pair->n_elements; i += BLOCK_ELEMENTS) {
        size_t end = pair->n_elements - i < BLOCK_ELEMENTS ? pair->n_elements : i + BLOCK_ELEMENTS;
        if (memcmp(a + i * n_bytes, b + i * n_bytes, (end - i) * n_bytes) == 0)
            continue;
        for (size_t k = i; k < end; k++)
            if (memcmp(a + k * n_bytes, b + k * n_bytes, n_bytes) != 0)
                compare(pair, k, tolerance, out);
    }
}
