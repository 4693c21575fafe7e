// Python's view of JSON values. Only what TensorFlow's messages need: no surrogates (jansson refuses them), and of
// Unicode's unprintable characters the ranges that occur in texts people paste.
#include "spec/python_text.h"

#include "base/error.h"

#include <ctype.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// Decodes one character of valid UTF-8 (jansson checked it).
static uint32_t next_character(const char **text)
{
    const unsigned char *s = (const unsigned char *)*text;
    size_t n_more = s[0] < 0x80 ? 0 : s[0] < 0xe0 ? 1 : s[0] < 0xf0 ? 2 : 3;
    uint32_t character = n_more == 0 ? s[0] : s[0] & (0x3fU >> n_more);
    size_t used = 1;
    for (; used <= n_more && (s[used] & 0xc0) == 0x80; used++)
        character = character << 6 | (s[used] & 0x3fU);
    *text += used;
    return character;
}

static bool is_printable(uint32_t c)
{
    static const uint32_t ranges[][2] = {{0, 0x1f},          {0x7f, 0xa0},        {0xad, 0xad},     {0x1680, 0x1680},
                                         {0x2000, 0x200f},   {0x2028, 0x202f},    {0x205f, 0x206f}, {0x3000, 0x3000},
                                         {0xe000, 0xf8ff},   {0xfeff, 0xfeff},    {0xfff0, 0xfffb}, {0xfffe, 0xffff},
                                         {0xe0000, 0xfffff}, {0x100000, 0x10ffff}};
    for (size_t i = 0; i < sizeof ranges / sizeof ranges[0]; i++) {
        if (c >= ranges[i][0] && c <= ranges[i][1])
            return false;
    }
    return true;
}

static mst_status append_escaped(uint32_t c, struct mst_buf *buf)
{
    if (c == '\t')
        return mst_buf_append(buf, "\\t", 2);
    if (c == '\n')
        return mst_buf_append(buf, "\\n", 2);
    if (c == '\r')
        return mst_buf_append(buf, "\\r", 2);
    if (c < 0x100)
        return mst_buf_printf(buf, "\\x%02x", c);
    if (c < 0x10000)
        return mst_buf_printf(buf, "\\u%04x", c);
    return mst_buf_printf(buf, "\\U%08x", c);
}

mst_status mst_python_repr_text(const char *text, struct mst_buf *buf)
{
    // Single quotes, unless the text has some and no double ones.
    char quote = strchr(text, '\'') && !strchr(text, '"') ? '"' : '\'';
    MST_TRY(mst_buf_append(buf, &quote, 1));
    while (*text) {
        const char *start = text;
        uint32_t c = next_character(&text);
        if (c == (unsigned char)quote || c == '\\')
            MST_TRY(mst_buf_append(buf, "\\", 1));
        if (is_printable(c))
            MST_TRY(mst_buf_append(buf, start, (size_t)(text - start)));
        else
            MST_TRY(append_escaped(c, buf));
    }
    return mst_buf_append(buf, &quote, 1);
}

// The shortest digits that read back as the same number; scientific from 1e16 and below 1e-4.
static mst_status repr_real(double real, struct mst_buf *buf)
{
    char digits[40];
    int precision = 1;
    for (; precision < 17; precision++) {
        snprintf(digits, sizeof digits, "%.*e", precision - 1, real);
        if (strtod(digits, NULL) == real)
            break;
    }
    snprintf(digits, sizeof digits, "%.*e", precision - 1, real);
    long exponent = strtol(strchr(digits, 'e') + 1, NULL, 10);
    if (exponent < -4 || exponent >= 16)
        return mst_buf_printf(buf, "%s", digits);
    int decimals = precision - 1 - (int)exponent;
    return mst_buf_printf(buf, "%.*f", decimals < 1 ? 1 : decimals, real);
}

static mst_status repr_list(const json_t *list, struct mst_buf *buf)
{
    MST_TRY(mst_buf_append(buf, "[", 1));
    for (size_t i = 0; i < json_array_size(list); i++) {
        if (i > 0)
            MST_TRY(mst_buf_append(buf, ", ", 2));
        MST_TRY(mst_python_repr(json_array_get(list, i), buf));
    }
    return mst_buf_append(buf, "]", 1);
}

static mst_status repr_object(const json_t *object, struct mst_buf *buf)
{
    MST_TRY(mst_buf_append(buf, "{", 1));
    const char *key, *separator = "";
    json_t *value;
    json_object_foreach((json_t *)object, key, value)
    {
        MST_TRY(mst_buf_printf(buf, "%s", separator));
        MST_TRY(mst_python_repr_text(key, buf));
        MST_TRY(mst_buf_append(buf, ": ", 2));
        MST_TRY(mst_python_repr(value, buf));
        separator = ", ";
    }
    return mst_buf_append(buf, "}", 1);
}

mst_status mst_python_repr(const json_t *value, struct mst_buf *buf)
{
    switch (json_typeof(value)) {
    case JSON_OBJECT:
        return repr_object(value, buf);
    case JSON_ARRAY:
        return repr_list(value, buf);
    case JSON_STRING:
        return mst_python_repr_text(json_string_value(value), buf);
    case JSON_INTEGER:
        return mst_buf_printf(buf, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
    case JSON_REAL:
        return repr_real(json_real_value(value), buf);
    case JSON_TRUE:
        return mst_buf_append(buf, "True", 4);
    case JSON_FALSE:
        return mst_buf_append(buf, "False", 5);
    case JSON_NULL:
        break;
    }
    return mst_buf_append(buf, "None", 4);
}

mst_status mst_python_str(const json_t *value, struct mst_buf *buf)
{
    if (json_is_string(value))
        return mst_buf_append(buf, json_string_value(value), json_string_length(value));
    return mst_python_repr(value, buf);
}

static mst_status refuse_literal(const char *text, struct mst_error *err)
{
    struct mst_buf buf;
    mst_buf_init(&buf, 1 << 16);
    mst_status status = mst_python_repr_text(text, &buf); // a longer text is shown in part
    (void)status;
    // Python too shows 200 characters of it at most.
    mst_fail(err, MST_INVALID_ARGUMENT, "invalid literal for int() with base 10: %.*s",
             buf.len < 200 ? (int)buf.len : 200, (const char *)buf.data);
    mst_buf_fini(&buf);
    return MST_INVALID_ARGUMENT;
}

static bool is_python_space(char c)
{
    return (c >= '\t' && c <= '\r') || (c >= 0x1c && c <= 0x20);
}

// Copies the digits without underscores and leading zeros; false if the text is none of int()'s.
static bool read_digits(const char *text, size_t len, struct mst_python_int *out, bool *too_long)
{
    size_t i = 0, n = 0;
    if (i < len && (text[i] == '+' || text[i] == '-')) {
        if (text[i] == '-')
            out->digits[n++] = '-';
        i++;
    }
    size_t first = n;
    bool after_digit = false;
    for (; i < len; i++) {
        if (text[i] == '_' && after_digit && i + 1 < len) {
            after_digit = false;
            continue;
        }
        if (!isdigit((unsigned char)text[i]))
            return false;
        after_digit = true;
        if (n == first + 1 && out->digits[first] == '0')
            n = first;
        if (n + 1 >= sizeof out->digits) {
            *too_long = true;
            continue;
        }
        out->digits[n++] = text[i];
    }
    if (!after_digit)
        return false;
    out->digits[n] = '\0';
    if (strcmp(out->digits, "-0") == 0)
        memcpy(out->digits, "0", 2);
    return true;
}

mst_status mst_python_int_of_text(const char *text, struct mst_python_int *out, struct mst_error *err)
{
    memset(out, 0, sizeof *out);
    const char *start = text;
    while (is_python_space(*start))
        start++;
    size_t len = strlen(start);
    while (len > 0 && is_python_space(start[len - 1]))
        len--;
    bool too_long = false;
    if (!read_digits(start, len, out, &too_long))
        return refuse_literal(text, err);
    if (too_long)
        return mst_fail(err, MST_INVALID_ARGUMENT, "an index of more than %d digits", MST_PYTHON_DIGITS - 2);
    out->value = strtoll(out->digits, NULL, 10); // saturates
    return MST_OK;
}

mst_status mst_python_int(const json_t *value, struct mst_python_int *out, struct mst_error *err)
{
    memset(out, 0, sizeof *out);
    switch (json_typeof(value)) {
    case JSON_STRING:
        return mst_python_int_of_text(json_string_value(value), out, err);
    case JSON_INTEGER:
        out->value = json_integer_value(value);
        break;
    case JSON_TRUE:
        out->value = 1;
        break;
    case JSON_FALSE:
        break;
    case JSON_REAL: {
        double whole = trunc(json_real_value(value));
        snprintf(out->digits, sizeof out->digits, "%.0f", whole == 0 ? 0.0 : whole);
        out->value = strtoll(out->digits, NULL, 10);
        return MST_OK;
    }
    default:
        return mst_fail(err, MST_INVALID_ARGUMENT,
                        "int() argument must be a string, a bytes-like object or a real number, not '%s'",
                        json_is_null(value)     ? "NoneType"
                        : json_is_object(value) ? "dict"
                                                : "list");
    }
    snprintf(out->digits, sizeof out->digits, "%lld", (long long)out->value);
    return MST_OK;
}
