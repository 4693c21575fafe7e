#include "cli/result_text.h"

#include <string.h>

enum { LABEL_COLUMNS = 14 };

static void print_row(const char *label, const char *value, FILE *out)
{
    fprintf(out, "  %-*s %s\n", LABEL_COLUMNS, label, value);
}

static void print_text(const json_t *result, const char *key, const char *label, FILE *out)
{
    const json_t *value = json_object_get(result, key);
    if (json_is_string(value))
        print_row(label, json_string_value(value), out);
}

static double real_of(const json_t *result, const char *key)
{
    return json_number_value(json_object_get(result, key)); // 0 for what is no number
}

static void print_score(const char *name, const json_t *value, FILE *out)
{
    char label[64];
    char text[32];
    snprintf(label, sizeof label, "test %s", name);
    if (json_is_number(value))
        snprintf(text, sizeof text, "%.4f", json_number_value(value));
    else
        snprintf(text, sizeof text, "not a number");
    print_row(label, text, out);
}

// Metrics first: they are what one trains for.
static void print_scores(const json_t *result, FILE *out)
{
    json_t *scores = json_object_get(result, "eval");
    const char *name;
    json_t *value;
    json_object_foreach(scores, name, value)
    {
        if (strcmp(name, "loss") != 0)
            print_score(name, value, out);
    }
    if (json_object_get(scores, "loss"))
        print_score("loss", json_object_get(scores, "loss"), out);
}

static void print_figures(const json_t *result, FILE *out)
{
    fprintf(out, "finished: %.0f steps, %.0f examples", real_of(result, "steps"), real_of(result, "examples"));
    double seconds = real_of(result, "seconds");
    if (seconds > 0)
        fprintf(out, " in %.*f s", seconds < 10 ? 2 : 1, seconds);
    fprintf(out, "\n\n");
}

static void print_speed(const json_t *result, FILE *out)
{
    double rate = real_of(result, "examples_per_second");
    double first = real_of(result, "first_step_seconds");
    char text[96];
    if (rate <= 0)
        return;
    if (first > 0)
        snprintf(text, sizeof text, "%.0f examples/s, first step after %.2f s", rate, first);
    else
        snprintf(text, sizeof text, "%.0f examples/s", rate);
    print_row("speed", text, out);
}

void mst_result_print(const json_t *result, const char *path, const char *logs_dir, FILE *out)
{
    print_figures(result, out);
    print_scores(result, out);
    print_speed(result, out);
    print_text(result, "warning", "warning", out);
    print_text(result, "keras_warning", "warning", out);
    print_text(result, "checkpoint_warning", "warning", out);
    print_row("result", path, out);
    print_text(result, "checkpoint", "checkpoint", out);
    print_text(result, "model", "model", out);
    print_text(result, "keras", "for Keras", out);
    print_row("logs", logs_dir, out);
}
