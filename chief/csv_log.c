// Lines are made where the numbers are and posted to the work loop, as the board's entries are. The header goes with
// the first line, so that a file that is added to gets none twice; whether it has one is asked before the first line.
#include "chief/csv_log.h"

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/error.h"
#include "base/log.h"
#include "event/loop.h"
#include "spec/python_text.h"
#include "tfio/disk_file.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    COLUMNS_MAX = 2 * (MST_MEASURES_MAX + 1),
    LINE_MAX_BYTES = COLUMNS_MAX * (2 * MST_MEASURE_NAME_BYTES + 8), // all of it may be quotation marks
};

struct column {
    char *name;
    enum { OF_TRAIN, OF_VALIDATION, OF_RATE, OF_NOTHING } what;
    size_t measure;
};

struct mst_csv_log {
    struct mst_csv_log_config config;
    struct column columns[COLUMNS_MAX];
    size_t n_columns;
    size_t n_pending;
    // on the work loop:
    bool needs_header;
    bool has_failed;  // the log says so
    char *last_epoch; // the first field of the last line, as long as a line may repeat it
};

// What is to be done with the file, on the work loop.
struct csv_job {
    struct mst_csv_log *log;
    char *line; // NULL: begin
};

// ---- on the work loop, or when it has ended ----

static void fail(struct mst_csv_log *log, const char *what)
{
    if (!log->has_failed)
        MST_LOG(WARN, "chief", "csv not written", "reason=\"cannot %s %s: %s\"", what, log->config.path,
                strerror(errno));
    log->has_failed = true;
}

// Keras wants the folder to be there; ours is often the job's own, which is made later.
static void make_folder(const char *path)
{
    char *folder = mst_strdup(path);
    char *slash = strrchr(folder, '/');
    if (slash && slash != folder) {
        *slash = '\0';
        struct mst_error err;
        if (mst_disk_make_folders(folder, &err) != MST_OK)
            MST_LOG(DEBUG, "chief", "no folder", "reason=\"%s\"", err.text); // opening the file tells
    }
    free(folder);
}

// The number before the first separator of the last line; NULL: there is none.
static char *find_last_epoch(FILE *file, char separator)
{
    char *tail = mst_alloc(LINE_MAX_BYTES + 1);
    long size = fseek(file, 0, SEEK_END) == 0 ? ftell(file) : 0;
    long begin = size > LINE_MAX_BYTES ? size - LINE_MAX_BYTES : 0;
    size_t n = size > 0 && fseek(file, begin, SEEK_SET) == 0 ? fread(tail, 1, (size_t)(size - begin), file) : 0;
    while (n > 0 && (tail[n - 1] == '\r' || tail[n - 1] == '\n'))
        n--;
    tail[n] = '\0';
    const char *end_before = strrchr(tail, '\n');
    const char *line = end_before ? end_before + 1 : tail;
    size_t n_digits = strspn(line, "0123456789");
    char *epoch = n_digits > 0 && line[n_digits] == separator ? mst_text("%.*s", (int)n_digits, line) : NULL;
    free(tail);
    return epoch;
}

static void begin(struct mst_csv_log *log)
{
    bool appends = log->config.appends || log->config.continues;
    make_folder(log->config.path);
    log->needs_header = true;
    FILE *file = fopen(log->config.path, appends ? "a+" : "w");
    if (!file) {
        fail(log, "open");
        return;
    }
    if (appends)
        log->needs_header = fseek(file, 0, SEEK_END) == 0 && ftell(file) == 0;
    if (log->config.continues)
        log->last_epoch = find_last_epoch(file, log->config.separator);
    fclose(file);
}

// The chief before had written this one, and died before it was known that it had.
static bool is_there(struct mst_csv_log *log, const char *line)
{
    size_t len = log->last_epoch ? strlen(log->last_epoch) : 0;
    bool is_there = len > 0 && strncmp(line, log->last_epoch, len) == 0 && line[len] == log->config.separator;
    free(log->last_epoch);
    log->last_epoch = NULL;
    return is_there;
}

static char *header(const struct mst_csv_log *log);

static void append(struct mst_csv_log *log, const char *line)
{
    if (is_there(log, line))
        return;
    FILE *file = fopen(log->config.path, "a");
    if (!file) {
        fail(log, "open");
        return;
    }
    char *head = log->needs_header ? header(log) : NULL;
    bool is_written = (!head || fputs(head, file) >= 0) && fputs(line, file) >= 0;
    is_written = fclose(file) == 0 && is_written;
    free(head);
    if (!is_written)
        fail(log, "write");
    log->needs_header = log->needs_header && !is_written;
}

static void on_written(void *arg)
{
    struct mst_csv_log *log = arg;
    log->n_pending--;
    log->config.on_written(log->config.arg);
}

static void run_job(void *arg)
{
    struct csv_job *job = arg;
    if (job->line)
        append(job->log, job->line);
    else
        begin(job->log);
    free(job->line);
    free(job);
}

static void on_job(void *arg)
{
    const struct csv_job *job = arg;
    struct mst_csv_log *log = job->log;
    bool is_awaited = job->line && log->config.control;
    run_job(arg);
    if (is_awaited)
        mst_loop_post(log->config.control, on_written, log);
}

static void post(struct mst_csv_log *log, char *line)
{
    struct csv_job *job = mst_alloc(sizeof *job);
    *job = (struct csv_job){log, line};
    log->n_pending += line && log->config.control;
    mst_loop_post_or_drop(log->config.work, on_job, run_job, job);
}

// ---- lines ----

// Python's csv quotes a field that holds the separator, a quotation mark or the end of a line.
static void add_field(const struct mst_csv_log *log, struct mst_buf *line, const char *field)
{
    const char special[] = {log->config.separator, '"', '\r', '\n', '\0'};
    char before[] = {log->config.separator, '\0'};
    mst_status status = line->len ? mst_buf_printf(line, "%s", before) : MST_OK;
    if (!strpbrk(field, special)) {
        status = status == MST_OK ? mst_buf_printf(line, "%s", field) : status;
    } else {
        status = status == MST_OK ? mst_buf_printf(line, "\"") : status;
        for (const char *at = field; *at && status == MST_OK; at++)
            status = mst_buf_printf(line, *at == '"' ? "\"\"" : "%c", *at);
        status = status == MST_OK ? mst_buf_printf(line, "\"") : status;
    }
    MST_ASSERT(status == MST_OK); // names and numbers have limits, and so has their number
}

static char *end_line(struct mst_buf *line)
{
    char *text = mst_text("%.*s\r\n", (int)line->len, (const char *)line->data);
    mst_buf_fini(line);
    return text;
}

static char *header(const struct mst_csv_log *log)
{
    struct mst_buf line;
    mst_buf_init(&line, LINE_MAX_BYTES);
    add_field(log, &line, "epoch");
    for (size_t i = 0; i < log->n_columns; i++)
        add_field(log, &line, log->columns[i].name);
    return end_line(&line);
}

static void add_number(const struct mst_csv_log *log, struct mst_buf *line, double value)
{
    if (!isfinite(value)) {
        add_field(log, line, isnan(value) ? "nan" : value > 0 ? "inf" : "-inf");
        return;
    }
    struct mst_buf text;
    mst_buf_init(&text, 64);
    json_t *number = json_real(value);
    mst_status status = mst_python_repr(number, &text);
    MST_ASSERT(status == MST_OK); // 24 characters at most
    json_decref(number);
    char field[64];
    snprintf(field, sizeof field, "%.*s", (int)text.len, (const char *)text.data);
    mst_buf_fini(&text);
    add_field(log, line, field);
}

void mst_csv_log_epoch(struct mst_csv_log *log, const struct mst_epoch_scores *known, double rate)
{
    struct mst_buf line;
    mst_buf_init(&line, LINE_MAX_BYTES);
    char epoch[32];
    snprintf(epoch, sizeof epoch, "%llu", (unsigned long long)known->epoch);
    add_field(log, &line, epoch);
    for (size_t i = 0; i < log->n_columns; i++) {
        const struct column *column = &log->columns[i];
        const struct mst_scores *scores = column->what == OF_VALIDATION ? &known->validation : &known->train;
        if (column->what == OF_RATE)
            add_number(log, &line, rate);
        else if (column->what != OF_NOTHING && scores->is_known)
            add_number(log, &line, scores->values[column->measure]);
        else
            add_field(log, &line, "NA");
    }
    post(log, end_line(&line));
}

size_t mst_csv_log_n_pending(const struct mst_csv_log *log)
{
    return log->n_pending;
}

// ---- columns ----

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct column *)a)->name, ((const struct column *)b)->name);
}

static void add_column(struct mst_csv_log *log, struct column column)
{
    log->columns[log->n_columns++] = column;
}

static void make_columns(struct mst_csv_log *log)
{
    const struct mst_compile *compile = log->config.compile;
    for (size_t i = 0; i < mst_compile_n_measures(compile); i++) {
        add_column(log, (struct column){mst_strdup(mst_measure_name(compile, i)), OF_TRAIN, i});
        if (log->config.is_validated)
            add_column(log, (struct column){mst_text("val_%s", mst_measure_name(compile, i)), OF_VALIDATION, i});
    }
    if (log->config.has_rate)
        add_column(log, (struct column){mst_strdup("learning_rate"), OF_RATE, 0});
    size_t n = log->n_columns;
    qsort(log->columns, n, sizeof log->columns[0], by_name);
    for (size_t i = 0; !log->config.is_validated && i < n; i++)
        add_column(log, (struct column){mst_text("val_%s", log->columns[i].name), OF_NOTHING, 0});
}

struct mst_csv_log *mst_csv_log_new(const struct mst_csv_log_config *config)
{
    struct mst_csv_log *log = mst_alloc(sizeof *log);
    log->config = *config;
    make_columns(log);
    post(log, NULL);
    return log;
}

void mst_csv_log_free(struct mst_csv_log *log)
{
    if (!log)
        return;
    for (size_t i = 0; i < log->n_columns; i++)
        free(log->columns[i].name);
    free(log->last_epoch);
    free(log);
}
