// A line is split where it lies, in the buffer that the file is read into: plain fields stay as they are, of quoted
// ones the doubled quotes are closed up, and the separator behind each becomes its NUL. When a line reaches the end of
// what was read, it moves to the front and more is read behind it, so offsets count from the line's beginning. The byte
// behind what was read is always a zero, which ends every scan: a zero elsewhere is an error of the file.
#include "csv_lines.h"

#include "base/alloc.h"
#include "base/error.h"
#include "byte_source.h"
#include "muster/status.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { FIRST_BYTES = 256 << 10, END_OF_FILE = -1 };
enum { STOPS_PLAIN = 1, STOPS_QUOTED = 2 };

struct mst_csv_lines {
    char *path;
    struct mst_byte_source *source;
    char separator;
    bool is_at_end;  // nothing follows what was read
    bool has_begun;  // something was read
    uint64_t number; // of the line that the next byte is in
    char *buffer;    // capacity + 1 bytes
    size_t capacity; // of what is read
    size_t n_read;   // bytes in buffer
    size_t line;     // offset in buffer of this line's first byte
    size_t at;       // offset in the line of the next byte
    bool was_quoted; // a field of the line had quotes
    size_t n_fields; // of this line, the one that is being read included
    struct mst_csv_field *fields;
    size_t fields_capacity;
    uint8_t stops[256]; // which bytes end a run in which kind of field
};

mst_status mst_csv_lines_open(const char *path, char separator, struct mst_csv_lines **out, struct mst_error *err)
{
    *out = NULL;
    struct mst_byte_source *source;
    MST_TRY(mst_byte_source_open(path, &source, err));
    struct mst_csv_lines *lines = mst_alloc(sizeof *lines);
    lines->path = mst_strdup(path);
    lines->source = source;
    lines->separator = separator;
    lines->number = 1;
    lines->capacity = FIRST_BYTES;
    lines->buffer = mst_alloc(FIRST_BYTES + 1);
    lines->stops[0] = lines->stops['"'] = STOPS_PLAIN | STOPS_QUOTED;
    lines->stops['\n'] = STOPS_PLAIN | STOPS_QUOTED; // quoted: to count lines
    lines->stops['\r'] |= STOPS_PLAIN;
    lines->stops[(uint8_t)separator] |= STOPS_PLAIN;
    *out = lines;
    return MST_OK;
}

void mst_csv_lines_free(struct mst_csv_lines *lines)
{
    if (!lines)
        return;
    mst_byte_source_free(lines->source);
    free(lines->buffer);
    free(lines->fields);
    free(lines->path);
    free(lines);
}

static mst_status fail_here(const struct mst_csv_lines *lines, uint64_t number, const char *what, struct mst_error *err)
{
    return mst_fail(err, MST_DATA_LOSS, "%s:%" PRIu64 ":%zu: %s", lines->path, number, lines->n_fields, what);
}

// More of the file behind what is there of the line.
static mst_status read_more(struct mst_csv_lines *lines, struct mst_error *err)
{
    size_t kept = lines->n_read - lines->line;
    if (lines->line > 0)
        memmove(lines->buffer, lines->buffer + lines->line, kept);
    lines->line = 0;
    lines->n_read = kept;
    if (kept == lines->capacity) {
        if (kept >= MST_CSV_LINE_MAX_BYTES)
            return mst_fail(err, MST_OUT_OF_RANGE, "%s:%" PRIu64 ":%zu: a line of more than %d bytes, the limit",
                            lines->path, lines->number, lines->n_fields, MST_CSV_LINE_MAX_BYTES);
        lines->capacity *= 2;
        lines->buffer = mst_realloc_array(lines->buffer, lines->capacity + 1, 1);
    }
    size_t wanted = lines->capacity - kept;
    size_t got;
    MST_TRY(mst_byte_source_read(lines->source, lines->buffer + kept, wanted, &got, err));
    lines->n_read += got;
    lines->is_at_end = got < wanted;
    lines->buffer[lines->n_read] = '\0';
    if (!lines->has_begun && got >= 3 && memcmp(lines->buffer, "\xef\xbb\xbf", 3) == 0)
        lines->line = 3;
    lines->has_begun = true;
    return MST_OK;
}

// The byte at lines->at, which must be a stop: a zero may be the end of what was read. The line may move.
static mst_status look(struct mst_csv_lines *lines, int *out, struct mst_error *err)
{
    for (;;) {
        size_t at = lines->line + lines->at;
        if (at < lines->n_read) {
            *out = (unsigned char)lines->buffer[at];
            return *out == 0 ? fail_here(lines, lines->number, "a zero byte: this is not a CSV file", err) : MST_OK;
        }
        *out = END_OF_FILE;
        if (lines->is_at_end)
            return MST_OK;
        MST_TRY(read_more(lines, err));
    }
}

// Moves on to the next byte that may end a run of this kind, or to the end of what was read.
static void skip(struct mst_csv_lines *lines, uint8_t kind)
{
    const char *at = lines->buffer + lines->line + lines->at;
    while (!(lines->stops[(uint8_t)*at] & kind))
        at++;
    lines->at = (size_t)(at - (lines->buffer + lines->line));
}

static mst_status begin_field(struct mst_csv_lines *lines, struct mst_error *err)
{
    if (lines->n_fields == MST_CSV_COLUMNS_MAX)
        return mst_fail(err, MST_OUT_OF_RANGE, "%s:%" PRIu64 ": more than %d columns, the limit", lines->path,
                        lines->number, MST_CSV_COLUMNS_MAX);
    if (lines->n_fields == lines->fields_capacity) {
        lines->fields_capacity = lines->fields_capacity ? 2 * lines->fields_capacity : 64;
        lines->fields = mst_realloc_array(lines->fields, lines->fields_capacity, sizeof *lines->fields);
    }
    lines->fields[lines->n_fields++] = (struct mst_csv_field){(uint32_t)lines->at, 0};
    return MST_OK;
}

// From behind the opening quote to behind the closing one. *end is where the text ends, with doubled quotes closed up.
static mst_status take_quoted(struct mst_csv_lines *lines, size_t *end, struct mst_error *err)
{
    uint64_t first_line = lines->number;
    *end = lines->at;
    for (;;) {
        size_t run = lines->at;
        int byte;
        do { // a run goes on when more was read, and over line ends
            skip(lines, STOPS_QUOTED);
            MST_TRY(look(lines, &byte, err));
            if (byte == '\n') {
                lines->number++;
                lines->at++;
            }
        } while (byte != '"' && byte != END_OF_FILE);
        if (byte == END_OF_FILE)
            return fail_here(lines, first_line, "the quote that begins here is never closed", err);
        char *text = lines->buffer + lines->line;
        if (*end < run)
            memmove(text + *end, text + run, lines->at - run);
        *end += lines->at - run;
        lines->at++;
        MST_TRY(look(lines, &byte, err));
        if (byte != '"')
            return MST_OK;
        lines->buffer[lines->line + (*end)++] = '"';
        lines->at++;
    }
}

static bool ends_run(const struct mst_csv_lines *lines, int byte)
{
    return byte == END_OF_FILE || lines->stops[byte] & STOPS_PLAIN;
}

// One field; *out is the byte that ends it, which is next.
static mst_status take_field(struct mst_csv_lines *lines, int *out, struct mst_error *err)
{
    MST_TRY(begin_field(lines, err));
    size_t begin = lines->at;
    do { // a run goes on when more was read
        skip(lines, STOPS_PLAIN);
        MST_TRY(look(lines, out, err));
    } while (!ends_run(lines, *out));
    size_t end = lines->at;
    if (*out == '"') {
        if (end > begin)
            return fail_here(lines, lines->number, "a quote within a field that does not begin with one", err);
        begin = ++lines->at;
        lines->was_quoted = true;
        MST_TRY(take_quoted(lines, &end, err));
        MST_TRY(look(lines, out, err));
        if (!ends_run(lines, *out))
            return fail_here(lines, lines->number,
                             "text behind a closing quote; a quote within a quoted field is written twice", err);
    }
    lines->fields[lines->n_fields - 1] = (struct mst_csv_field){(uint32_t)begin, (uint32_t)(end - begin)};
    return MST_OK;
}

static mst_status end_line(struct mst_csv_lines *lines, int byte, struct mst_error *err)
{
    if (byte == END_OF_FILE)
        return MST_OK;
    lines->at++;
    lines->number++;
    if (byte == '\n')
        return MST_OK;
    size_t at = lines->line + lines->at;
    if (at == lines->n_read && !lines->is_at_end)
        MST_TRY(read_more(lines, err));
    lines->at += lines->buffer[lines->line + lines->at] == '\n';
    return MST_OK;
}

// One line, empty or not; *at_end says that nothing follows it.
static mst_status read_line(struct mst_csv_lines *lines, bool *at_end, struct mst_error *err)
{
    lines->line += lines->at;
    lines->at = 0;
    lines->n_fields = 0;
    lines->was_quoted = false;
    for (;;) {
        int byte;
        MST_TRY(take_field(lines, &byte, err));
        if (byte != (unsigned char)lines->separator) {
            *at_end = byte == END_OF_FILE;
            MST_TRY(end_line(lines, byte, err));
            break;
        }
        lines->at++;
    }
    char *text = lines->buffer + lines->line;
    for (size_t i = 0; i < lines->n_fields; i++)
        text[lines->fields[i].at + lines->fields[i].len] = '\0';
    return MST_OK;
}

mst_status mst_csv_lines_next(struct mst_csv_lines *lines, struct mst_csv_line *out, struct mst_error *err)
{
    *out = (struct mst_csv_line){0};
    bool at_end = false;
    while (!at_end) {
        uint64_t number = lines->number;
        MST_TRY(read_line(lines, &at_end, err));
        if (lines->n_fields > 1 || lines->was_quoted || lines->fields[0].len > 0) {
            *out = (struct mst_csv_line){number, lines->n_fields, lines->buffer + lines->line, lines->fields};
            return MST_OK;
        }
    }
    return MST_OK;
}
