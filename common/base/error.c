#include "base/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct status_row {
    const char *name;
    const char *text;
    int http;
    bool retryable;
    int exit_code;
};

static const struct status_row rows[] = {
#define X(name, number, text, http, retryable, exit_code) [number] = {#name, text, http, retryable, exit_code},
    MST_STATUS_MAP(X)
#undef X
};

// A number from a newer peer is UNKNOWN, not an out-of-bounds read.
static const struct status_row *row_of(mst_status status)
{
    size_t number = (size_t)status;
    return number < sizeof rows / sizeof rows[0] ? &rows[number] : &rows[MST_UNKNOWN];
}

const char *mst_status_name(mst_status status)
{
    return row_of(status)->name;
}

const char *mst_status_text(mst_status status)
{
    return row_of(status)->text;
}

int mst_status_http(mst_status status)
{
    return row_of(status)->http;
}

bool mst_status_is_retryable(mst_status status)
{
    return row_of(status)->retryable;
}

int mst_status_exit_code(mst_status status)
{
    return row_of(status)->exit_code;
}

mst_status mst_fail(struct mst_error *err, mst_status status, const char *format, ...)
{
    if (err) {
        va_list args;
        va_start(args, format);
        vsnprintf(err->text, sizeof err->text, format, args);
        va_end(args);
    }
    return status;
}

mst_status mst_fail_prefix(struct mst_error *err, mst_status status, const char *format, ...)
{
    if (err) {
        struct mst_error tail = *err;
        va_list args;
        va_start(args, format);
        int written = vsnprintf(err->text, sizeof err->text, format, args);
        va_end(args);
        if (written >= 0 && (size_t)written < sizeof err->text)
            snprintf(err->text + written, sizeof err->text - (size_t)written, ": %s", tail.text);
    }
    return status;
}

_Noreturn void mst_assert_failed(const char *condition, const char *file, int line)
{
    fprintf(stderr, "%s:%d: this is a bug in muster: %s does not hold\n", file, line, condition);
    abort();
}
