// One state machine over bytes. All fields of a line lie in one buffer, each with a NUL behind it, so a line costs no
// allocation once the buffer has grown; a zero byte in the file would end a field unseen and is refused.
#include "csv_lines.h"

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/error.h"
#include "byte_source.h"
#include "muster/status.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { INPUT_BYTES = 64 << 10, END_OF_FILE = -1 };

struct mst_csv_lines {
    char *path;
    struct mst_byte_source *source;
    uint64_t number; // of the line that the next byte is in
    size_t n_input;
    size_t at; // of the next byte in input
    struct mst_buf text;
    uint32_t *starts;
    size_t n_fields;
    size_t starts_capacity;
    uint64_t quote_line; // where the quoted field began
    bool in_quotes;
    bool was_quoted; // the field had its quotes and is complete
    uint8_t input[INPUT_BYTES];
};

mst_status mst_csv_lines_open(const char *path, struct mst_csv_lines **out, struct mst_error *err)
{
    *out = NULL;
    struct mst_byte_source *source;
    MST_TRY(mst_byte_source_open(path, &source, err));
    struct mst_csv_lines *lines = mst_alloc(sizeof *lines);
    lines->path = mst_strdup(path);
    lines->source = source;
    lines->number = 1;
    mst_buf_init(&lines->text, MST_CSV_LINE_MAX_BYTES);
    *out = lines;
    return MST_OK;
}

void mst_csv_lines_free(struct mst_csv_lines *lines)
{
    if (!lines)
        return;
    mst_byte_source_free(lines->source);
    mst_buf_fini(&lines->text);
    free(lines->starts);
    free(lines->path);
    free(lines);
}

static mst_status refill(struct mst_csv_lines *lines, struct mst_error *err)
{
    static const uint8_t mark[] = {0xef, 0xbb, 0xbf};
    bool is_first = lines->n_input == 0;
    lines->at = 0;
    MST_TRY(mst_byte_source_read(lines->source, lines->input, INPUT_BYTES, &lines->n_input, err));
    if (is_first && lines->n_input >= sizeof mark && memcmp(lines->input, mark, sizeof mark) == 0)
        lines->at = sizeof mark;
    return MST_OK;
}

// The next byte, which stays the next one.
static mst_status peek(struct mst_csv_lines *lines, int *out, struct mst_error *err)
{
    if (lines->at == lines->n_input)
        MST_TRY(refill(lines, err));
    *out = lines->at < lines->n_input ? lines->input[lines->at] : END_OF_FILE;
    return MST_OK;
}

static mst_status fail_here(const struct mst_csv_lines *lines, const char *what, struct mst_error *err)
{
    return mst_fail(err, MST_DATA_LOSS, "%s:%" PRIu64 ":%zu: %s", lines->path, lines->number, lines->n_fields, what);
}

static size_t field_len(const struct mst_csv_lines *lines)
{
    return lines->text.len - lines->starts[lines->n_fields - 1];
}

static mst_status append(struct mst_csv_lines *lines, char byte, struct mst_error *err)
{
    if (field_len(lines) >= MST_CSV_FIELD_MAX_BYTES)
        return mst_fail(err, MST_OUT_OF_RANGE, "%s:%" PRIu64 ":%zu: a field of more than %d bytes, the limit",
                        lines->path, lines->number, lines->n_fields, MST_CSV_FIELD_MAX_BYTES);
    if (mst_buf_append(&lines->text, &byte, 1) != MST_OK)
        return mst_fail(err, MST_OUT_OF_RANGE, "%s:%" PRIu64 ":%zu: a line of more than %d bytes, the limit",
                        lines->path, lines->number, lines->n_fields, MST_CSV_LINE_MAX_BYTES);
    return MST_OK;
}

static mst_status begin_field(struct mst_csv_lines *lines, struct mst_error *err)
{
    if (lines->n_fields == MST_CSV_COLUMNS_MAX)
        return mst_fail(err, MST_OUT_OF_RANGE, "%s:%" PRIu64 ": more than %d columns, the limit", lines->path,
                        lines->number, MST_CSV_COLUMNS_MAX);
    if (lines->n_fields == lines->starts_capacity) {
        lines->starts_capacity = lines->starts_capacity ? 2 * lines->starts_capacity : 64;
        lines->starts = mst_realloc_array(lines->starts, lines->starts_capacity, sizeof *lines->starts);
    }
    lines->starts[lines->n_fields++] = (uint32_t)lines->text.len;
    lines->was_quoted = false;
    return MST_OK;
}

static mst_status end_field(struct mst_csv_lines *lines, struct mst_error *err)
{
    char nul = '\0';
    if (mst_buf_append(&lines->text, &nul, 1) != MST_OK)
        return mst_fail(err, MST_OUT_OF_RANGE, "%s:%" PRIu64 ":%zu: a line of more than %d bytes, the limit",
                        lines->path, lines->number, lines->n_fields, MST_CSV_LINE_MAX_BYTES);
    return MST_OK;
}

static mst_status take_quoted(struct mst_csv_lines *lines, int byte, struct mst_error *err)
{
    if (byte == END_OF_FILE)
        return mst_fail(err, MST_DATA_LOSS, "%s:%" PRIu64 ":%zu: the quote that begins here is never closed",
                        lines->path, lines->quote_line, lines->n_fields);
    if (byte == '"') {
        int next;
        MST_TRY(peek(lines, &next, err));
        if (next != '"') {
            lines->in_quotes = false;
            lines->was_quoted = true;
            return MST_OK;
        }
        lines->at++;
    }
    if (byte == '\n')
        lines->number++;
    return append(lines, (char)byte, err);
}

static mst_status take_plain(struct mst_csv_lines *lines, int byte, struct mst_error *err)
{
    if (byte == ',') {
        MST_TRY(end_field(lines, err));
        return begin_field(lines, err);
    }
    if (lines->was_quoted)
        return fail_here(lines, "text behind a closing quote; a quote within a quoted field is written twice", err);
    if (byte != '"')
        return append(lines, (char)byte, err);
    if (field_len(lines) > 0)
        return fail_here(lines, "a quote within a field that does not begin with one", err);
    lines->in_quotes = true;
    lines->quote_line = lines->number;
    return MST_OK;
}

static mst_status end_line(struct mst_csv_lines *lines, int byte, struct mst_error *err)
{
    int next = byte;
    if (byte == '\r') {
        MST_TRY(peek(lines, &next, err));
        if (next == '\n')
            lines->at++;
    }
    lines->number += byte != END_OF_FILE;
    return end_field(lines, err);
}

// One line, empty or not; *at_end says that nothing follows it.
static mst_status read_line(struct mst_csv_lines *lines, bool *at_end, struct mst_error *err)
{
    mst_buf_reset(&lines->text);
    lines->n_fields = 0;
    lines->in_quotes = false;
    MST_TRY(begin_field(lines, err));
    for (;;) {
        int byte;
        MST_TRY(peek(lines, &byte, err));
        lines->at += byte != END_OF_FILE;
        if (byte == 0)
            return fail_here(lines, "a zero byte: this is not a CSV file", err);
        if (lines->in_quotes) {
            MST_TRY(take_quoted(lines, byte, err));
        } else if (byte == '\n' || byte == '\r' || byte == END_OF_FILE) {
            *at_end = byte == END_OF_FILE;
            return end_line(lines, byte, err);
        } else {
            MST_TRY(take_plain(lines, byte, err));
        }
    }
}

mst_status mst_csv_lines_next(struct mst_csv_lines *lines, struct mst_csv_line *out, struct mst_error *err)
{
    *out = (struct mst_csv_line){0};
    bool at_end = false;
    while (!at_end) {
        uint64_t number = lines->number;
        MST_TRY(read_line(lines, &at_end, err));
        if (lines->n_fields > 1 || lines->was_quoted || lines->text.len > 1) {
            *out = (struct mst_csv_line){number, lines->n_fields, (const char *)lines->text.data, lines->starts};
            return MST_OK;
        }
    }
    return MST_OK;
}

const char *mst_csv_field(const struct mst_csv_line *line, size_t i)
{
    MST_ASSERT(i < line->n_fields);
    return line->text + line->starts[i];
}
