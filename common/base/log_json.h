/** @file
 *  A log event as one JSON object on a line, the second form that base/log.h writes.
 *
 *      {"time":"2026-11-24T15:04:05.123Z","level":"info","event":"connection lost","role":"worker","index":1,
 *       "component":"rpc","fields":{"peer":"ps-0","reason":"…"}}
 *
 *  The fields are read from the format of the keys ("peer=%s reason=\"%s\""), not from its result, so no value can pass
 *  for a key. What is one number there is a number here; all else is text. Whatever bytes a value holds, the line is
 *  valid JSON in UTF-8: what is no UTF-8 becomes U+FFFD, and a line that is too long loses the ends of its values.
 *  Thread: any
 */
#pragma once

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

/** What a line says besides its fields. All borrowed. */
struct mst_log_event {
    uint64_t wall_ns;
    const char *level;
    const char *role; // "worker/1", or a word without an index
    const char *component;
    const char *message;
};

enum { MST_LOG_JSON_MIN_BYTES = 2048 };

/** Prints the line with its line end and without a NUL; returns its length, at most out_bytes, which is at least
 *  MST_LOG_JSON_MIN_BYTES. keys: printf's conversions but %n and those of wide characters and long double. */
size_t mst_log_json_line(const struct mst_log_event *event, const char *keys, va_list args, char *out,
                         size_t out_bytes);
