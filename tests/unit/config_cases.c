#include "config_cases.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_CASES = 500 };

// Where reading stands: the case being filled, and the value that a "+ " line would go on with.
struct reading {
    const char *path;
    size_t line_number;
    struct config_case *cases;
    size_t n;
    char **value;
};

static void refuse_file(const struct reading *r, const char *why)
{
    fprintf(stderr, "%s:%zu: %s\n", r->path, r->line_number, why);
    abort();
}

// The rest of a line after its first word, or NULL if the line begins with another word.
static const char *after(const char *line, const char *word)
{
    size_t len = strlen(word);
    if (strncmp(line, word, len) != 0 || (line[len] != ' ' && line[len] != '\0'))
        return NULL;
    return line + len + (line[len] == ' ');
}

static void set(struct reading *r, char **value, const char *text)
{
    if (*value)
        refuse_file(r, "the case has such a line already");
    *value = strdup(text);
    r->value = value;
}

static void go_on(struct reading *r, const char *text)
{
    if (!r->value)
        refuse_file(r, "nothing to go on with");
    char *joined = NULL;
    if (asprintf(&joined, "%s\n%s", *r->value, text) < 0)
        abort();
    free(*r->value);
    *r->value = joined;
}

static void set_env(struct reading *r, struct config_case *c, const char *text)
{
    const char *equals = strchr(text, '=');
    if (!equals || c->env_name)
        refuse_file(r, "one NAME=VALUE a case");
    c->env_name = strndup(text, (size_t)(equals - text));
    c->env_value = strdup(equals + 1);
}

static void begin(struct reading *r, const char *name)
{
    if (r->n == MAX_CASES)
        refuse_file(r, "too many cases");
    if (r->n > 0 && !r->cases[r->n - 1].expected)
        refuse_file(r, "the case before expects nothing");
    r->value = NULL;
    r->cases[r->n++].name = strdup(name);
}

static void read_line(struct reading *r, const char *line)
{
    static const char *const refusals[] = {"refuses", "refuses-as-tf", "refuses-as-estimator"};
    const char *rest;
    if (line[0] == '\0' || line[0] == '#')
        return;
    if ((rest = after(line, "==")) != NULL) {
        begin(r, rest);
        return;
    }
    if (r->n == 0)
        refuse_file(r, "a line before the first case");
    struct config_case *c = &r->cases[r->n - 1];
    const struct {
        const char *word;
        char **value;
    } words[] = {{"TF_CONFIG", &c->tf_config},     {"--task-type", &c->task_type},
                 {"--task-index", &c->task_index}, {"--task-index-from", &c->task_index_from},
                 {"hostname", &c->hostname},       {"prints", &c->expected}};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        if ((rest = after(line, words[i].word)) != NULL) {
            set(r, words[i].value, rest);
            return;
        }
    }
    for (size_t i = 0; i < sizeof refusals / sizeof refusals[0]; i++) {
        if ((rest = after(line, refusals[i])) != NULL) {
            set(r, &c->expected, rest);
            c->outcome = CONFIG_REFUSES;
            return;
        }
    }
    if ((rest = after(line, "+")) != NULL)
        go_on(r, rest);
    else if ((rest = after(line, "env")) != NULL)
        set_env(r, c, rest);
    else
        refuse_file(r, "begins with none of the known words");
}

struct config_case *config_cases_load(const char *path, size_t *n_out)
{
    struct reading r = {.path = path, .cases = calloc(MAX_CASES, sizeof *r.cases)};
    FILE *file = fopen(path, "r");
    if (!file || !r.cases) {
        perror(path);
        abort();
    }
    char *line = NULL;
    size_t room = 0;
    for (ssize_t len; (len = getline(&line, &room, file)) >= 0;) {
        r.line_number++;
        if (len > 0 && line[len - 1] == '\n')
            line[len - 1] = '\0';
        read_line(&r, line);
    }
    free(line);
    fclose(file);
    if (r.n == 0 || !r.cases[r.n - 1].expected)
        refuse_file(&r, "no case, or the last one expects nothing");
    *n_out = r.n;
    return r.cases;
}

void config_cases_free(struct config_case *cases, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        struct config_case *c = &cases[i];
        free(c->name);
        free(c->tf_config);
        free(c->task_type);
        free(c->task_index);
        free(c->task_index_from);
        free(c->hostname);
        free(c->env_name);
        free(c->env_value);
        free(c->expected);
    }
    free(cases);
}
