// JSON source: jansson does the parsing; what is added is a bound on nesting (checked before, since jansson's own is
// deep enough for the recursion of those who walk the value afterwards to matter), on size, and errors that begin with
// "source:line:column: ", as compilers do, so that editors jump there.
#include "spec/json_source.h"

#include "base/bytes.h"
#include "base/error.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

enum { WORD_MAX = 64 }; // longer words are not misspelt, they are something else

// Refuses the text at a byte of it. A column is a character, so the bytes that go on with one do not count.
static mst_status refuse_depth(const char *text, size_t at, const char *source, struct mst_error *err)
{
    size_t line = 1, column = 1;
    for (size_t i = 0; i < at; i++) {
        bool ends_line = text[i] == '\n';
        line += ends_line;
        column = ends_line ? 1 : column + (((unsigned char)text[i] & 0xc0) != 0x80);
    }
    return mst_fail(err, MST_INVALID_ARGUMENT, "%s:%zu:%zu: nested deeper than %d levels", source, line, column,
                    MST_JSON_MAX_DEPTH);
}

// Brackets outside of texts; whether they match is jansson's business.
static mst_status check_depth(const char *text, size_t len, const char *source, struct mst_error *err)
{
    size_t depth = 0;
    bool in_text = false;
    for (size_t i = 0; i < len; i++) {
        char c = text[i];
        if (in_text) {
            if (c == '\\')
                i++;
            else if (c == '"')
                in_text = false;
        } else if (c == '"') {
            in_text = true;
        } else if (c == '[' || c == '{') {
            if (++depth > MST_JSON_MAX_DEPTH)
                return refuse_depth(text, i, source, err);
        } else if ((c == ']' || c == '}') && depth > 0) {
            depth--;
        }
    }
    return MST_OK;
}

static bool is_blank(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (!strchr(" \t\r\n", text[i]) || text[i] == '\0')
            return false;
    }
    return true;
}

// The two other kinds of file that hold a Keras model.
static mst_status check_magic(const char *text, size_t len, const char *source, struct mst_error *err)
{
    if (len >= 4 && memcmp(text, "\x89HDF", 4) == 0)
        return mst_fail(err, MST_INVALID_ARGUMENT,
                        "%s: is HDF5, not JSON; of a Keras model give what model.to_json() prints, or the archive of "
                        "model.save(\"my.keras\")",
                        source);
    if (len >= 4 && memcmp(text, "PK\x03\x04", 4) == 0)
        return mst_fail(
            err, MST_INVALID_ARGUMENT,
            "%s: is a zip file, not JSON; an archive of Keras is called something.keras, and a job names it "
            "as \"model\"",
            source);
    return MST_OK;
}

mst_status mst_json_parse(const char *text, size_t len, const char *source, json_t **out, struct mst_error *err)
{
    *out = NULL;
    if (len > MST_JSON_MAX_BYTES)
        return mst_fail(err, MST_INVALID_ARGUMENT, "%s: %zu bytes exceed the limit of %d", source, len,
                        MST_JSON_MAX_BYTES);
    if (is_blank(text, len))
        return mst_fail(err, MST_INVALID_ARGUMENT, "%s:1:1: Expecting value, but the text is empty", source);
    if (len >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0)
        return mst_fail(err, MST_INVALID_ARGUMENT,
                        "%s:1:1: begins with a byte order mark; save it as UTF-8 without one", source);
    MST_TRY(check_magic(text, len, source, err));
    MST_TRY(check_depth(text, len, source, err));
    json_error_t error;
    *out = json_loadb(text, len, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &error);
    if (!*out)
        return mst_fail(err, MST_INVALID_ARGUMENT, "%s:%d:%d: %s", source, error.line < 1 ? 1 : error.line,
                        error.column < 1 ? 1 : error.column, error.text);
    return MST_OK;
}

// Reads until the end, so that pipes work too.
static mst_status read_all(int fd, const char *path, struct mst_buf *buf, struct mst_error *err)
{
    for (;;) {
        uint8_t *space = NULL;
        size_t n_wanted = 1 << 16;
        if (mst_buf_reserve(buf, n_wanted, &space) != MST_OK)
            return mst_fail(err, MST_INVALID_ARGUMENT, "%s: more than the limit of %d bytes", path, MST_JSON_MAX_BYTES);
        ssize_t n_read = read(fd, space, n_wanted);
        if (n_read < 0 && errno == EINTR)
            continue;
        if (n_read < 0)
            return mst_fail(err, MST_INVALID_ARGUMENT, "%s: cannot be read: %s", path, strerror(errno));
        if (n_read == 0)
            return MST_OK;
        buf->len += (size_t)n_read;
    }
}

mst_status mst_json_load_file(const char *path, json_t **out, struct mst_error *err)
{
    *out = NULL;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return mst_fail(err, MST_INVALID_ARGUMENT, "%s: cannot be opened: %s", path, strerror(errno));
    struct mst_buf buf;
    mst_buf_init(&buf, (size_t)MST_JSON_MAX_BYTES + (1 << 17)); // room to see that it is too long
    mst_status status = read_all(fd, path, &buf, err);
    close(fd);
    if (status == MST_OK)
        status = mst_json_parse(buf.data ? (const char *)buf.data : "", buf.len, path, out, err);
    mst_buf_fini(&buf);
    return status;
}

const char *mst_json_type_text(const json_t *value)
{
    if (!value)
        return "nothing";
    switch (json_typeof(value)) {
    case JSON_OBJECT:
        return "an object";
    case JSON_ARRAY:
        return "a list";
    case JSON_STRING:
        return "a text";
    case JSON_INTEGER:
        return "an integer";
    case JSON_REAL:
        return "a number";
    case JSON_TRUE:
        return "true";
    case JSON_FALSE:
        return "false";
    case JSON_NULL:
        break;
    }
    return "null";
}

static size_t min_of(size_t a, size_t b)
{
    return a < b ? a : b;
}

// Insertions, deletions, replacements and swaps of neighbours, each 1. Three rows of the usual table.
static size_t edit_distance(const char *a, size_t a_len, const char *b, size_t b_len)
{
    size_t before[WORD_MAX + 1], last[WORD_MAX + 1], row[WORD_MAX + 1];
    memset(before, 0, sizeof before);
    for (size_t j = 0; j <= b_len; j++)
        last[j] = j;
    for (size_t i = 1; i <= a_len; i++) {
        row[0] = i;
        for (size_t j = 1; j <= b_len; j++) {
            size_t replaced = last[j - 1] + (a[i - 1] != b[j - 1]);
            row[j] = min_of(min_of(row[j - 1], last[j]) + 1, replaced);
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                row[j] = min_of(row[j], before[j - 2] + 1);
        }
        memcpy(before, last, sizeof before);
        memcpy(last, row, (b_len + 1) * sizeof row[0]);
    }
    return last[b_len];
}

const char *mst_nearest_word(const char *word, const char *const *candidates, size_t n_candidates)
{
    size_t word_len = strnlen(word, WORD_MAX + 1);
    if (word_len > WORD_MAX)
        return NULL;
    const char *nearest = NULL;
    size_t nearest_distance = SIZE_MAX;
    for (size_t i = 0; i < n_candidates; i++) {
        size_t len = strnlen(candidates[i], WORD_MAX + 1);
        if (len > WORD_MAX)
            continue;
        size_t distance = edit_distance(word, word_len, candidates[i], len);
        // A third of the letters wrong is a slip (shufle, batchsize); more is another word.
        size_t longer = word_len > len ? word_len : len;
        if (distance < nearest_distance && distance * 3 <= longer + 1) {
            nearest = candidates[i];
            nearest_distance = distance;
        }
    }
    return nearest;
}
