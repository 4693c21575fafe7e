// Numbers of data files are short, so most are one integer times or divided by a power of ten, both of which a double
// holds exactly: then one rounding gives the nearest double. All others go to strtod, in the C locale.
// Source: Clinger 1990, "How to read floating point numbers accurately", the fast case
#include "number.h"

#include <locale.h>
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <strings.h>

enum { EXACT_POWER = 22, DIGITS_MAX = 18, EXPONENT_MAX = 100000 };
#define EXACT_INTEGER ((uint64_t)1 << 53)

struct decimal {
    bool is_negative;
    uint64_t digits; // value = digits * 10^exponent while n_digits <= DIGITS_MAX
    size_t n_digits; // significant ones
    int exponent;
};

static const double powers[EXACT_POWER + 1] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
                                               1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

// More digits than fit wrap around, and nobody looks at them then.
static const char *take_digits(const char *at, const char *end, struct decimal *decimal)
{
    uint64_t digits = decimal->digits;
    while (decimal->n_digits == 0 && at < end && *at == '0')
        at++;
    const char *first = at;
    for (; at < end && is_digit(*at); at++)
        digits = digits * 10 + (uint64_t)(*at - '0');
    decimal->n_digits += (size_t)(at - first);
    decimal->digits = digits;
    return at;
}

static const char *take_exponent(const char *at, const char *end, struct decimal *decimal)
{
    if (at == end || (*at != 'e' && *at != 'E'))
        return at;
    at++;
    bool is_negative = at < end && *at == '-';
    at += at < end && (*at == '-' || *at == '+');
    if (at == end)
        return NULL;
    int exponent = 0;
    for (; at < end && is_digit(*at); at++)
        exponent = exponent < EXPONENT_MAX ? exponent * 10 + (*at - '0') : exponent;
    decimal->exponent += is_negative ? -exponent : exponent;
    return at;
}

// False if the text is no decimal number.
static bool take_decimal(const char *text, const char *end, struct decimal *decimal)
{
    const char *at = text;
    decimal->is_negative = at < end && *at == '-';
    at += at < end && (*at == '-' || *at == '+');
    const char *whole = at;
    at = take_digits(at, end, decimal);
    size_t n = (size_t)(at - whole);
    if (at < end && *at == '.') {
        const char *fraction = ++at;
        at = take_digits(at, end, decimal);
        n += (size_t)(at - fraction);
        // Beyond DIGITS_MAX digits the exponent means nothing, and nobody looks at it.
        decimal->exponent = -(int)(at - fraction < EXPONENT_MAX ? at - fraction : EXPONENT_MAX);
    }
    if (n == 0)
        return false;
    at = take_exponent(at, end, decimal);
    return at == end;
}

static bool take_word(const char *text, const char *end, double *out)
{
    double sign = *text == '-' ? -1.0 : 1.0;
    text += *text == '-' || *text == '+';
    size_t len = (size_t)(end - text);
    if ((len == 3 && strncasecmp(text, "inf", len) == 0) || (len == 8 && strncasecmp(text, "infinity", len) == 0))
        *out = sign * HUGE_VAL;
    else if (len == 3 && strncasecmp(text, "nan", len) == 0)
        *out = (double)NAN;
    else
        return false;
    return true;
}

bool mst_number_read(const char *text, size_t len, double *out)
{
    struct decimal decimal = {0};
    if (len == 0)
        return false;
    if (!take_decimal(text, text + len, &decimal))
        return take_word(text, text + len, out);
    if (decimal.n_digits > DIGITS_MAX || decimal.digits > EXACT_INTEGER || decimal.exponent < -EXACT_POWER ||
        decimal.exponent > EXACT_POWER) {
        *out = strtod_l(text, NULL, newlocale(LC_ALL_MASK, "C", (locale_t)0)); // glibc's own one, never freed
        return true;
    }
    double value = (double)decimal.digits;
    value = decimal.exponent < 0 ? value / powers[-decimal.exponent] : value * powers[decimal.exponent];
    *out = decimal.is_negative ? -value : value;
    return true;
}
