// The line is a row of fields, each with a wide and a narrow form. Fitting is: shorten in one fixed order until it
// fits, then leave out in another.
#include "cli/progress.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum {
    FIELD_EPOCH,
    FIELD_STEP,
    FIELD_RATE,
    FIELD_LOSS,
    FIELD_METRICS,
    FIELD_VAL,
    FIELD_ETA,
    FIELD_FAILURES,
    FIELD_TASKS,
    FIELDS
};
enum { FIELD_BYTES = 320, MARKS_MAX = 8 }; // more processes of a role than that are counted, not shown one by one

struct field {
    char wide[FIELD_BYTES];
    char narrow[FIELD_BYTES];
    const char *shown; // one of the two, or NULL
};

// ---- what the chief says ----

static void take_number(const json_t *object, const char *key, uint64_t *out)
{
    const json_t *value = json_object_get(object, key);
    if (json_is_integer(value) && json_integer_value(value) >= 0)
        *out = (uint64_t)json_integer_value(value);
}

static void take_real(const json_t *object, const char *key, double *out)
{
    const json_t *value = json_object_get(object, key);
    if (json_is_number(value))
        *out = json_number_value(value);
}

static void take_text(const json_t *object, const char *key, char *out, size_t out_bytes)
{
    const json_t *value = json_object_get(object, key);
    if (json_is_string(value))
        snprintf(out, out_bytes, "%s", json_string_value(value));
}

static void take_figures(struct mst_progress *progress, const json_t *event)
{
    take_number(event, "epoch", &progress->epoch);
    take_number(event, "epochs", &progress->n_epochs);
    take_number(event, "step", &progress->step);
    take_number(event, "steps", &progress->n_steps);
    take_number(event, "workers", &progress->n_workers);
    take_real(event, "examples_per_second", &progress->examples_per_second);
    take_real(event, "eta_seconds", &progress->eta_seconds);
    progress->has_figures = true;
    progress->waiting[0] = '\0';
    const json_t *loss = json_object_get(event, "loss");
    if (json_is_number(loss)) {
        progress->has_loss = true;
        progress->loss = json_number_value(loss);
    }
    json_t *metrics = json_object_get(event, "metrics");
    const char *name;
    json_t *value;
    size_t n = 0;
    json_object_foreach(metrics, name, value)
    {
        if (n == MST_PROGRESS_METRICS || !json_is_number(value))
            continue;
        snprintf(progress->metrics[n].name, sizeof progress->metrics[n].name, "%s", name);
        progress->metrics[n++].value = json_number_value(value);
    }
    if (n > 0)
        progress->n_metrics = n;
}

// The scores of data.eval, under the names that Keras gives them in its history.
static void take_evaluation(struct mst_progress *progress, const json_t *event)
{
    json_t *scores = json_object_get(event, "scores");
    const char *name;
    json_t *value;
    size_t n = 0;
    json_object_foreach(scores, name, value)
    {
        if (n == sizeof progress->scores / sizeof *progress->scores || !json_is_number(value))
            continue;
        snprintf(progress->scores[n].name, sizeof progress->scores[n].name, "val_%s", name);
        progress->scores[n++].value = json_number_value(value);
    }
    if (n > 0)
        progress->n_scores = n;
}

void mst_progress_take(struct mst_progress *progress, const json_t *event)
{
    const char *what = json_string_value(json_object_get(event, "event"));
    if (!what)
        return;
    if (strcmp(what, "progress") == 0) {
        take_figures(progress, event);
    } else if (strcmp(what, "started") == 0) {
        progress->has_started = true;
        take_text(event, "learning_rate", progress->learning_rate, sizeof progress->learning_rate);
        progress->waiting[0] = '\0';
    } else if (strcmp(what, "epoch") == 0) {
        take_number(event, "epoch", &progress->n_epochs_done);
    } else if (strcmp(what, "evaluation") == 0) {
        take_evaluation(progress, event);
    } else if (strcmp(what, "checkpoint") == 0) {
        progress->n_checkpoints_failed = 0;
    } else if (strcmp(what, "checkpoint_failed") == 0) {
        progress->n_checkpoints_failed++;
        take_text(event, "reason", progress->checkpoint_failure, sizeof progress->checkpoint_failure);
    } else if (strcmp(what, "waiting") == 0) {
        take_text(event, "text", progress->waiting, sizeof progress->waiting);
    } else if (strcmp(what, "finished") == 0) {
        progress->has_finished = true;
    }
}

// ---- fields ----

static void print_real(double value, int decimals, char *out, size_t out_bytes)
{
    double size = fabs(value);
    if (size != 0 && (size < 0.001 || size >= 100000))
        snprintf(out, out_bytes, "%.*e", 2, value);
    else
        snprintf(out, out_bytes, "%.*f", decimals, value);
}

static void print_duration(double seconds, const char *unit, char *out, size_t out_bytes)
{
    unsigned long long whole = seconds < 1e9 ? (unsigned long long)ceil(seconds) : 999999999ULL;
    if (whole < 60)
        snprintf(out, out_bytes, "%llu%s", whole, unit);
    else if (whole < 3600)
        snprintf(out, out_bytes, "%llu:%02llu", whole / 60, whole % 60);
    else
        snprintf(out, out_bytes, "%llu:%02llu:%02llu", whole / 3600, whole / 60 % 60, whole % 60);
}

static void print_rate(double rate, char *out, size_t out_bytes)
{
    if (rate < 10000)
        snprintf(out, out_bytes, "%.0f/s", rate);
    else if (rate < 1e6)
        snprintf(out, out_bytes, "%.1fk/s", rate / 1e3);
    else
        snprintf(out, out_bytes, "%.1fM/s", rate / 1e6);
}

static void fill_figures(const struct mst_progress *progress, struct field *fields)
{
    struct field *epoch = &fields[FIELD_EPOCH];
    snprintf(epoch->wide, FIELD_BYTES, "epoch %llu/%llu", (unsigned long long)progress->epoch,
             (unsigned long long)progress->n_epochs);
    snprintf(epoch->narrow, FIELD_BYTES, "ep %llu/%llu", (unsigned long long)progress->epoch,
             (unsigned long long)progress->n_epochs);
    struct field *step = &fields[FIELD_STEP];
    snprintf(step->narrow, FIELD_BYTES, "%llu/%llu", (unsigned long long)progress->step,
             (unsigned long long)progress->n_steps);
    snprintf(step->wide, FIELD_BYTES, "step %.*s", 64, step->narrow);
    struct field *rate = &fields[FIELD_RATE];
    bool is_moving = progress->examples_per_second > 0; // before the first step there is nothing to reckon with
    if (is_moving) {
        snprintf(rate->wide, FIELD_BYTES, "%.0f examples/s", progress->examples_per_second);
        print_rate(progress->examples_per_second, rate->narrow, FIELD_BYTES);
    }
    struct field *eta = &fields[FIELD_ETA];
    char duration[32];
    if (progress->step >= progress->n_steps) {
        snprintf(eta->wide, FIELD_BYTES, "%s", progress->has_finished ? "done" : "saving and evaluating");
        snprintf(eta->narrow, FIELD_BYTES, "%s", progress->has_finished ? "done" : "saving");
        return;
    }
    if (!is_moving)
        return;
    print_duration(progress->eta_seconds, " s", duration, sizeof duration);
    snprintf(eta->wide, FIELD_BYTES, "ETA %s", duration);
    print_duration(progress->eta_seconds, "s", duration, sizeof duration);
    snprintf(eta->narrow, FIELD_BYTES, "ETA %s", duration);
}

static void fill_scores(const struct mst_progress *progress, struct field *fields)
{
    char value[32];
    if (progress->has_loss) {
        print_real(progress->loss, 4, value, sizeof value);
        snprintf(fields[FIELD_LOSS].wide, FIELD_BYTES, "loss %s", value);
        print_real(progress->loss, 3, value, sizeof value);
        snprintf(fields[FIELD_LOSS].narrow, FIELD_BYTES, "loss %s", value);
    }
    size_t wide = 0;
    size_t narrow = 0;
    struct field *field = &fields[FIELD_METRICS];
    for (size_t i = 0; i < progress->n_metrics; i++) {
        print_real(progress->metrics[i].value, 4, value, sizeof value);
        wide += (size_t)snprintf(field->wide + wide, FIELD_BYTES - wide, "%s%s %s", i ? "  " : "",
                                 progress->metrics[i].name, value);
        print_real(progress->metrics[i].value, 3, value, sizeof value);
        narrow += (size_t)snprintf(field->narrow + narrow, FIELD_BYTES - narrow, "%s%.3s %s", i ? " " : "",
                                   progress->metrics[i].name, value);
    }
}

// Narrow: the first metric, or else the loss.
static void fill_evaluation(const struct mst_progress *progress, struct field *field)
{
    char value[32];
    size_t wide = 0;
    for (size_t i = 0; i < progress->n_scores; i++) {
        print_real(progress->scores[i].value, 4, value, sizeof value);
        wide += (size_t)snprintf(field->wide + wide, FIELD_BYTES - wide, "%s%s %s", i ? "  " : "",
                                 progress->scores[i].name, value);
    }
    if (progress->n_scores == 0)
        return;
    size_t shown = progress->n_scores > 1;
    print_real(progress->scores[shown].value, 3, value, sizeof value);
    snprintf(field->narrow, FIELD_BYTES, "%.*s %s", shown ? 7 : 8, progress->scores[shown].name, value); // "val_acc"
}

// Until one is written again.
static void fill_failures(const struct mst_progress *progress, struct field *field)
{
    unsigned long long n = progress->n_checkpoints_failed;
    if (n == 0)
        return;
    snprintf(field->wide, FIELD_BYTES, "%llu checkpoint%s failed", n, n > 1 ? "s" : "");
    snprintf(field->narrow, FIELD_BYTES, "%llu failed", n);
}

static const char *mark_of(enum mst_task_state state, bool has_utf8)
{
    switch (state) {
    case MST_TASK_STARTING:
        return has_utf8 ? "·" : ".";
    case MST_TASK_UP:
        return has_utf8 ? "✓" : "+";
    case MST_TASK_WAITING:
        return has_utf8 ? "↻" : "r";
    case MST_TASK_LEFT:
        return "-";
    case MST_TASK_LOST:
        return has_utf8 ? "✗" : "x";
    }
    return "?";
}

// "ps ✓✓" or "p✓✓"; "ps 12/16" when there are many.
static void append_role(const struct mst_progress_style *style, enum mst_task_role role, const char *title, char *out)
{
    size_t n = 0;
    size_t n_up = 0;
    char marks[MARKS_MAX * 4 + 1] = "";
    for (size_t i = 0; i < style->n_tasks; i++) {
        const struct mst_supervised *task = &style->tasks[i];
        if (task->role != role)
            continue;
        n_up += task->state == MST_TASK_UP;
        if (n++ < MARKS_MAX)
            strncat(marks, mark_of(task->state, style->has_utf8), sizeof marks - strlen(marks) - 1);
    }
    if (n == 0)
        return;
    size_t used = strlen(out);
    if (n <= MARKS_MAX)
        snprintf(out + used, FIELD_BYTES - used, "%s%s%s", used ? " " : "", title, marks);
    else
        snprintf(out + used, FIELD_BYTES - used, "%s%s%zu/%zu", used ? " " : "", title, n_up, n);
}

static void fill_tasks(const struct mst_progress_style *style, struct field *field)
{
    if (!style->has_marks)
        return;
    for (int role = 0; role < MST_TASK_ROLES; role++) {
        char title[16];
        snprintf(title, sizeof title, "%s ", mst_task_role_name((enum mst_task_role)role));
        append_role(style, (enum mst_task_role)role, title, field->wide);
        title[1] = '\0'; // its first letter
        append_role(style, (enum mst_task_role)role, title, field->narrow);
    }
}

// Before the first step there is one field of text in place of the figures.
static void fill_start(const struct mst_progress *progress, const struct mst_progress_style *style, struct field *field)
{
    if (progress->waiting[0])
        snprintf(field->wide, FIELD_BYTES, "waiting for %s", progress->waiting);
    else if (style->seconds >= 1)
        snprintf(field->wide, FIELD_BYTES, "starting, %.0f s", style->seconds);
    else
        snprintf(field->wide, FIELD_BYTES, "starting");
    memcpy(field->narrow, field->wide, FIELD_BYTES);
}

// ---- fitting ----

// Code points; what is printed here is one column each.
static size_t columns_of(const char *text)
{
    size_t n = 0;
    for (; *text; text++)
        n += ((unsigned char)*text & 0xC0) != 0x80;
    return n;
}

static size_t total_columns(const struct field *fields, size_t gap)
{
    size_t total = 0;
    for (size_t i = 0; i < FIELDS; i++)
        if (fields[i].shown)
            total += columns_of(fields[i].shown) + (total ? gap : 0);
    return total;
}

// Returns the gap between fields.
static size_t fit(struct field *fields, size_t columns)
{
    static const int shorten[] = {FIELD_VAL, FIELD_TASKS,   FIELD_RATE, FIELD_STEP, FIELD_FAILURES,
                                  FIELD_ETA, FIELD_METRICS, FIELD_LOSS, FIELD_EPOCH};
    static const int leave_out[] = {FIELD_EPOCH, FIELD_RATE, FIELD_METRICS, FIELD_VAL,
                                    FIELD_LOSS,  FIELD_ETA,  FIELD_STEP};
    size_t gap = 2;
    for (size_t i = 0; i < FIELDS; i++)
        fields[i].shown = fields[i].wide[0] ? fields[i].wide : NULL;
    for (size_t i = 0; i < FIELDS && total_columns(fields, gap) > columns; i++)
        if (fields[shorten[i]].shown)
            fields[shorten[i]].shown = fields[shorten[i]].narrow;
    if (total_columns(fields, gap) > columns)
        gap = 1;
    for (size_t i = 0; i < sizeof leave_out / sizeof *leave_out && total_columns(fields, gap) > columns; i++)
        fields[leave_out[i]].shown = NULL;
    return gap;
}

static void cut(char *text, size_t columns)
{
    size_t n = 0;
    for (; *text; text++) {
        n += ((unsigned char)*text & 0xC0) != 0x80;
        if (n > columns) {
            *text = '\0';
            return;
        }
    }
}

// A long text in place of the figures leaves room for the marks.
static void cut_start(struct field *fields, size_t columns)
{
    size_t others = columns_of(fields[FIELD_TASKS].narrow) + 1;
    if (fields[FIELD_EPOCH].wide[0] || columns < 2 * others)
        return;
    cut(fields[FIELD_STEP].wide, columns - others);
    cut(fields[FIELD_STEP].narrow, columns - others);
}

size_t mst_progress_line(const struct mst_progress *progress, const struct mst_progress_style *style, char *out,
                         size_t out_bytes)
{
    struct field fields[FIELDS] = {0};
    if (progress->has_figures && !progress->waiting[0]) {
        fill_figures(progress, fields);
        fill_scores(progress, fields);
        fill_evaluation(progress, &fields[FIELD_VAL]);
        fill_failures(progress, &fields[FIELD_FAILURES]);
    } else {
        fill_start(progress, style, &fields[FIELD_STEP]);
    }
    fill_tasks(style, &fields[FIELD_TASKS]);
    cut_start(fields, style->columns);
    size_t gap = fit(fields, style->columns);
    size_t used = 0;
    out[0] = '\0';
    for (size_t i = 0; i < FIELDS; i++)
        if (fields[i].shown && used < out_bytes)
            used += (size_t)snprintf(out + used, out_bytes - used, "%*s%s", used ? (int)gap : 0, "", fields[i].shown);
    cut(out, style->columns);
    return columns_of(out);
}
