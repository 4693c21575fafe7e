/** @file
 *  The lines of a CSV file, split into fields; gzip is inflated. Private to data/.
 *
 *      MST_TRY(mst_csv_lines_open(path, ',', &lines, err));
 *      while ((status = mst_csv_lines_next(lines, &line, err)) == MST_OK && line.n_fields > 0)
 *          … line.text + line.fields[i].at, line.fields[i].len …
 *      mst_csv_lines_free(lines);
 *
 *  As RFC 4180 has it: fields are separated by commas (or another byte); a field in double quotes may hold separators,
 *  line ends and quotes, which are doubled. Lines end with LF, CRLF or CR; the last one need not. Empty lines and a
 *  byte order mark at the front are passed over. Every size is bounded, so a file that is no CSV costs no more memory
 *  than one that is.
 *  Thread: one at a time.
 *  Source: RFC 4180 §2
 */
#pragma once

#include "muster/status.h"

#include <stddef.h>
#include <stdint.h>

enum { MST_CSV_COLUMNS_MAX = 65536, MST_CSV_LINE_MAX_BYTES = 16 << 20 };

struct mst_csv_lines;

/** Where a field stands in its line's text; a NUL is behind it. */
struct mst_csv_field {
    uint32_t at;
    uint32_t len;
};

/** One line. Owner: borrowed until the next one. */
struct mst_csv_line {
    uint64_t number; // in the file, from 1, of its first byte
    size_t n_fields; // 0: the end of the file
    const char *text;
    const struct mst_csv_field *fields;
};

/** New reader in *out. Errors: those of mst_byte_source_open */
MST_MUST_USE mst_status mst_csv_lines_open(const char *path, char separator, struct mst_csv_lines **out,
                                           struct mst_error *err);
/** Closes the file; NULL is fine. */
void mst_csv_lines_free(struct mst_csv_lines *lines);
/** The next line that is not empty.
 *  Errors: DATA_LOSS a quote out of place or never closed, a zero byte, broken gzip; OUT_OF_RANGE a size over its
 *          limit; with path:line:column but for gzip
 *  Cost:   about 500 MB/s, no allocation once the longest line was seen */
MST_MUST_USE mst_status mst_csv_lines_next(struct mst_csv_lines *lines, struct mst_csv_line *out,
                                           struct mst_error *err);
