// The page is copied once and cut in place: names and labels are texts within the copy.
#include "cli/metrics_text.h"

#include "base/alloc.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

// The end of the labels that begin behind at's brace, or NULL: a brace within quotes ends nothing.
static char *labels_end(char *at)
{
    bool is_quoted = false;
    for (; *at; at++) {
        if (is_quoted && *at == '\\' && at[1])
            at++;
        else if (*at == '"')
            is_quoted = !is_quoted;
        else if (*at == '}' && !is_quoted)
            return at;
    }
    return NULL;
}

static bool parse_line(char *line, struct mst_metric_sample *out)
{
    size_t name_len = strspn(line, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_:");
    if (name_len == 0)
        return false;
    char *at = line + name_len;
    *out = (struct mst_metric_sample){.name = line, .labels = ""};
    if (*at == '{') {
        char *end = labels_end(at + 1);
        if (!end)
            return false;
        *end = '\0';
        *at = '\0';
        out->labels = at + 1;
        at = end + 1;
    } else if (*at) {
        *at++ = '\0';
    }
    char *rest;
    out->value = strtod(at, &rest);
    return rest != at && (*rest == '\0' || isspace((unsigned char)*rest));
}

void mst_metrics_text_parse(struct mst_bytes page, struct mst_metrics_text *out)
{
    *out = (struct mst_metrics_text){.text = mst_alloc(page.len + 1)};
    memcpy(out->text, page.data ? page.data : "", page.len);
    size_t room = 0;
    char *save = NULL;
    for (char *line = strtok_r(out->text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
        struct mst_metric_sample sample;
        if (!parse_line(line, &sample))
            continue;
        if (out->n == room) {
            room = room ? 2 * room : 64;
            out->samples = mst_realloc_array(out->samples, room, sizeof *out->samples);
        }
        out->samples[out->n++] = sample;
    }
}

double mst_metrics_text_sum(const struct mst_metrics_text *metrics, const char *name)
{
    double sum = 0;
    for (size_t i = 0; i < metrics->n; i++)
        if (strcmp(metrics->samples[i].name, name) == 0)
            sum += metrics->samples[i].value;
    return sum;
}

// Copies the text in quotes at `at`; returns what follows, or NULL if it has no end.
static const char *read_quoted(const char *at, char *out, size_t out_bytes)
{
    size_t n = 0;
    for (at++; *at != '"'; at++) {
        char c = *at;
        if (c == '\\' && at[1])
            c = *++at == 'n' ? '\n' : *at;
        if (c == '\0')
            return NULL;
        if (n + 1 < out_bytes)
            out[n++] = (unsigned char)c < ' ' || c == 0x7f ? '?' : c;
    }
    out[n] = '\0';
    return at + 1;
}

bool mst_metric_label(const struct mst_metric_sample *sample, const char *label, char *out, size_t out_bytes)
{
    for (const char *at = sample->labels; *at;) {
        size_t len = strcspn(at, "=\"");
        if (at[len] != '=' || at[len + 1] != '"')
            break;
        const char *next = read_quoted(at + len + 1, out, out_bytes);
        if (!next)
            break;
        if (strlen(label) == len && memcmp(at, label, len) == 0)
            return true;
        at = next + strspn(next, ", ");
    }
    out[0] = '\0';
    return false;
}

void mst_metrics_text_fini(struct mst_metrics_text *metrics)
{
    free(metrics->samples);
    free(metrics->text);
    *metrics = (struct mst_metrics_text){0};
}
