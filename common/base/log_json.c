// The format is walked once. Each conversion is printed by itself from a copy of its text, with widths that come as
// arguments put in as digits; so each takes its argument in turn and every key's value is known apart from the others.
#include "base/log_json.h"

#include "base/clock.h"
#include "base/error.h"

#include <assert.h>
#include <ctype.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

enum {
    SPEC_BYTES = 64,      // a conversion's text, its widths as digits
    VALUE_BYTES = 4096,   // a value before it is escaped
    TAIL_BYTES = 8,       // kept for "}}\n and the closing quote
    EVENT_MAX_BYTES = 512 // of the message and the role each, so that there is room for the rest
};

// The line while it is made. Nothing is written that would need more than room.
struct line {
    char *out;
    size_t used;
    size_t room;
};

// A va_list that functions share.
struct arguments {
    va_list list;
};

// One value while its format is walked.
struct value {
    char text[VALUE_BYTES];
    size_t used;
    bool is_number; // one conversion of a number and nothing else
};

static bool put(struct line *line, const char *text, size_t len)
{
    if (line->used > line->room || len > line->room - line->used)
        return false; // it may stand one beyond, behind a closing quote
    memcpy(line->out + line->used, text, len);
    line->used += len;
    return true;
}

// How many bytes the code point at text takes; 0 if it is none (RFC 3629).
static size_t utf8_len(const unsigned char *text, size_t len)
{
    unsigned char first = text[0];
    if (first < 0x80)
        return 1;
    size_t n = first >= 0xc2 && first <= 0xdf ? 2 : (first & 0xf0) == 0xe0 ? 3 : first >= 0xf0 && first <= 0xf4 ? 4 : 0;
    if (n == 0 || n > len)
        return 0;
    for (size_t i = 1; i < n; i++)
        if ((text[i] & 0xc0) != 0x80)
            return 0;
    bool is_overlong = (first == 0xe0 && text[1] < 0xa0) || (first == 0xf0 && text[1] < 0x90);
    bool is_outside = (first == 0xed && text[1] >= 0xa0) || (first == 0xf4 && text[1] >= 0x90);
    return is_overlong || is_outside ? 0 : n;
}

// A text in quotes, at most max_bytes of it and as much as there is room for; the closing quote has its place kept.
static void put_text(struct line *line, const char *text, size_t len, size_t max_bytes)
{
    size_t end = line->used + max_bytes;
    put(line, "\"", 1);
    for (size_t i = 0; i < len && line->used < end;) {
        size_t n = utf8_len((const unsigned char *)text + i, len - i);
        unsigned char c = (unsigned char)text[i];
        char escaped[8];
        bool is_put;
        if (n == 0)
            is_put = put(line, "\xef\xbf\xbd", 3);
        else if (c == '"' || c == '\\')
            is_put = put(line, escaped, (size_t)snprintf(escaped, sizeof escaped, "\\%c", c));
        else if (c < 0x20 || c == 0x7f)
            is_put = put(line, escaped, (size_t)snprintf(escaped, sizeof escaped, "\\u%04x", c));
        else
            is_put = put(line, text + i, n);
        if (!is_put)
            break;
        i += n ? n : 1;
    }
    line->out[line->used++] = '"'; // there is always room for it: the tail's
}

// ---- values ----

// One conversion: from % to its letter, and what kind of argument it takes.
struct conversion {
    char spec[SPEC_BYTES];
    char letter;
    int n_longs; // 1: long, 2: long long; -1: size_t
};

static bool is_json_number(const char *text)
{
    const char *at = text + (*text == '-');
    if (!isdigit((unsigned char)*at) || (*at == '0' && isdigit((unsigned char)at[1])))
        return false;
    at += strspn(at, "0123456789");
    if (*at == '.') {
        if (!isdigit((unsigned char)at[1]))
            return false;
        at += 1 + strspn(at + 1, "0123456789");
    }
    if (*at == 'e' || *at == 'E') {
        at += 1 + (at[1] == '+' || at[1] == '-');
        if (!isdigit((unsigned char)*at))
            return false;
        at += strspn(at, "0123456789");
    }
    return *at == '\0';
}

// Reads a conversion from its % on; returns what follows it.
static const char *read_conversion(const char *at, struct arguments *arguments, struct conversion *out)
{
    size_t n = 0;
    *out = (struct conversion){.spec = "%"};
    n++;
    at++;
    for (; *at && strchr("-+ #0123456789.*hlzjt", *at); at++) {
        MST_ASSERT(n + 16 < SPEC_BYTES);
        out->n_longs = *at == 'l' ? out->n_longs + 1 : *at == 'z' || *at == 'j' || *at == 't' ? -1 : out->n_longs;
        if (*at == '*') {
            int number = va_arg(arguments->list, int);
            bool is_precision = out->spec[n - 1] == '.';
            if (is_precision && number < 0)
                n--; // as if it were not there
            else
                n += (size_t)snprintf(out->spec + n, SPEC_BYTES - n, "%d", number);
        } else {
            out->spec[n++] = *at;
        }
    }
    MST_ASSERT(*at);
    out->letter = *at;
    out->spec[n++] = *at;
    out->spec[n] = '\0';
    return at + 1;
}

// As snprintf with the one argument that the conversion takes. size_t, intmax_t and ptrdiff_t are as long as long here.
static int print_conversion(const struct conversion *conversion, struct arguments *arguments, char *out, size_t room)
{
    static_assert(sizeof(size_t) == sizeof(long) && sizeof(intmax_t) == sizeof(long), "they take one kind of argument");
    const char *spec = conversion->spec;
    switch (conversion->letter) {
    case '%':
        return snprintf(out, room, "%%");
    case 's':
        return snprintf(out, room, spec, va_arg(arguments->list, const char *));
    case 'p':
        return snprintf(out, room, spec, va_arg(arguments->list, void *));
    case 'e':
    case 'f':
    case 'g':
        return snprintf(out, room, spec, va_arg(arguments->list, double));
    case 'c':
    case 'd':
    case 'i':
    case 'u':
    case 'x':
    case 'X':
        if (conversion->n_longs == 2)
            return snprintf(out, room, spec, va_arg(arguments->list, long long));
        if (conversion->n_longs != 0)
            return snprintf(out, room, spec, va_arg(arguments->list, long));
        return snprintf(out, room, spec, va_arg(arguments->list, int));
    default:
        MST_ASSERT(!"a conversion that log keys may have");
        return 0;
    }
}

static void value_add(struct value *value, const char *text, size_t len)
{
    size_t room = sizeof value->text - 1 - value->used;
    memcpy(value->text + value->used, text, len < room ? len : room);
    value->used += len < room ? len : room;
    value->text[value->used] = '\0';
}

// Reads a value of the format: to the closing quote if it is in quotes, else to the next blank. Returns what follows.
static const char *read_value(const char *at, struct arguments *arguments, struct value *out)
{
    char end = *at == '"' ? '"' : ' ';
    size_t n_parts = 0;
    bool is_numeric = false;
    out->used = 0;
    out->text[0] = '\0';
    at += end == '"';
    for (; *at && *at != end; n_parts++) {
        if (*at != '%') {
            value_add(out, at++, 1);
            continue;
        }
        struct conversion conversion;
        at = read_conversion(at, arguments, &conversion);
        size_t room = sizeof out->text - out->used;
        int n = print_conversion(&conversion, arguments, out->text + out->used, room);
        out->used += n < 0 ? 0 : (size_t)n < room ? (size_t)n : room - 1;
        is_numeric = conversion.letter != 's' && conversion.letter != 'p';
    }
    out->is_number = end != '"' && n_parts == 1 && is_numeric && is_json_number(out->text);
    return at + (*at == '"');
}

static void put_field(struct line *line, const char *key, size_t key_len, const struct value *value, bool is_first)
{
    size_t before = line->used;
    bool fits = (is_first || put(line, ",", 1)) && put(line, "\"", 1) && put(line, key, key_len) && put(line, "\":", 2);
    if (fits && value->is_number)
        fits = put(line, value->text, value->used);
    else if (fits)
        fits = line->room > line->used + 1;
    if (!fits)
        line->used = before;
    else if (!value->is_number)
        put_text(line, value->text, value->used, SIZE_MAX / 2);
}

static void put_fields(struct line *line, const char *keys, struct arguments *arguments)
{
    size_t start = line->used;
    for (const char *at = keys; *at;) {
        at += strspn(at, " ");
        size_t key_len = strcspn(at, "=% ");
        bool has_key = at[key_len] == '=';
        struct value value;
        const char *next = read_value(has_key ? at + key_len + 1 : at, arguments, &value);
        if (has_key)
            put_field(line, at, key_len, &value, line->used == start);
        else if (value.used)
            put_field(line, "text", 4, &value, line->used == start);
        at = next;
    }
}

static void put_role(struct line *line, const char *role)
{
    const char *slash = strchr(role, '/');
    put(line, ",\"role\":", 8);
    put_text(line, role, slash ? (size_t)(slash - role) : strlen(role), EVENT_MAX_BYTES / 4);
    put(line, ",\"index\":", 9);
    if (slash && strlen(slash) < 16 && is_json_number(slash + 1))
        put(line, slash + 1, strlen(slash + 1));
    else
        put(line, "null", 4);
}

size_t mst_log_json_line(const struct mst_log_event *event, const char *keys, va_list args, char *out, size_t out_bytes)
{
    MST_ASSERT(out_bytes >= MST_LOG_JSON_MIN_BYTES);
    struct line line = {.out = out, .room = out_bytes - TAIL_BYTES};
    char time_text[32];
    mst_clock_print_wall(event->wall_ns, time_text, sizeof time_text);
    put(&line, "{\"time\":\"", 9);
    put(&line, time_text, 23); // to milliseconds
    put(&line, "Z\",\"level\":", 11);
    put_text(&line, event->level, strlen(event->level), EVENT_MAX_BYTES / 4);
    put(&line, ",\"event\":", 9);
    put_text(&line, event->message, strlen(event->message), EVENT_MAX_BYTES);
    put_role(&line, event->role);
    put(&line, ",\"component\":", 13);
    put_text(&line, event->component, strlen(event->component), EVENT_MAX_BYTES / 4);
    put(&line, ",\"fields\":{", 11);
    struct arguments arguments;
    va_copy(arguments.list, args);
    put_fields(&line, keys, &arguments);
    va_end(arguments.list);
    out[line.used++] = '}'; // the tail's places
    out[line.used++] = '}';
    out[line.used++] = '\n';
    return line.used;
}
