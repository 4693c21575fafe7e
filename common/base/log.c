// A line is formatted into one buffer and written with one write(2), so lines of several threads and of several
// processes that share a descriptor do not mix.
#include "base/log.h"

#include "base/clock.h"
#include "base/error.h"
#include "base/log_json.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { MAX_RULES = 32, MAX_LINE = 4096 };

struct rule {
    char component[24];
    int level; // -1: silent
};

// Set before threads start, read by all afterwards.
static struct rule rules[MAX_RULES];
static size_t n_rules;
static int default_level = MST_LOG_INFO;
static char role_text[64] = "muster";
static int log_fd = 2;
static bool is_json;

static const char *const level_names[] = {"error", "warn", "info", "debug"};

static int level_of(const char *text, size_t len)
{
    for (int i = 0; i <= MST_LOG_DEBUG; i++)
        if (strlen(level_names[i]) == len && memcmp(level_names[i], text, len) == 0)
            return i;
    return -2;
}

static mst_status add_rule(const char *word, size_t len, struct mst_error *err)
{
    const char *equals = memchr(word, '=', len);
    bool silent = len > 1 && word[0] == '-' && !equals;
    const char *name = silent ? word + 1 : word;
    size_t name_len = silent ? len - 1 : equals ? (size_t)(equals - word) : 0;
    int level = silent ? -1 : equals ? level_of(equals + 1, len - name_len - 1) : -2;
    if (name_len == 0 || name[0] == '-' || name_len >= sizeof rules[0].component || level == -2)
        return mst_fail(err, MST_INVALID_ARGUMENT,
                        "log filter: '%.*s' is neither component=error|warn|info|debug nor -component", (int)len, word);
    if (name_len == 3 && memcmp(name, "all", 3) == 0) {
        default_level = level;
        return MST_OK;
    }
    if (n_rules == MAX_RULES)
        return mst_fail(err, MST_INVALID_ARGUMENT, "log filter: more than %d components", MAX_RULES);
    memcpy(rules[n_rules].component, name, name_len);
    rules[n_rules].component[name_len] = '\0';
    rules[n_rules++].level = level;
    return MST_OK;
}

mst_status mst_log_set_filter(const char *filter, struct mst_error *err)
{
    n_rules = 0;
    default_level = MST_LOG_INFO;
    while (*filter) {
        size_t len = strcspn(filter, ",");
        if (len)
            MST_TRY(add_rule(filter, len, err));
        filter += len + (filter[len] == ',');
    }
    return MST_OK;
}

void mst_log_set_role(const char *role)
{
    snprintf(role_text, sizeof role_text, "%s", role);
}

void mst_log_set_fd(int fd)
{
    log_fd = fd;
}

bool mst_log_enabled(enum mst_log_level level, const char *component)
{
    for (size_t i = 0; i < n_rules; i++)
        if (strcmp(rules[i].component, component) == 0)
            return (int)level <= rules[i].level;
    return (int)level <= default_level;
}

mst_status mst_log_set_format(const char *name, struct mst_error *err)
{
    is_json = strcmp(name, "json") == 0;
    if (!is_json && strcmp(name, "text") != 0)
        return mst_fail(err, MST_INVALID_ARGUMENT, "'%s' is no form of log lines; there are text and json", name);
    return MST_OK;
}

bool mst_log_is_json(void)
{
    return is_json;
}

// Returns its length, line end included.
static size_t print_text(const struct mst_log_event *event, const char *keys, va_list args, char *line)
{
    char time_text[32];
    mst_clock_print_wall(event->wall_ns, time_text, sizeof time_text);
    int head = snprintf(line, MAX_LINE, "%s %s %s %s: %s ", time_text, event->level, event->role, event->component,
                        event->message);
    size_t used = head < 0 ? 0 : head < MAX_LINE - 1 ? (size_t)head : MAX_LINE - 2;
    int tail = vsnprintf(line + used, MAX_LINE - 1 - used, keys, args);
    if (tail > 0)
        used += (size_t)tail < MAX_LINE - 1 - used ? (size_t)tail : MAX_LINE - 2 - used;
    for (size_t i = 0; i < used; i++)
        if (line[i] == '\n')
            line[i] = ' '; // one line an event, whatever a peer's text holds
    while (used && line[used - 1] == ' ')
        used--;
    line[used++] = '\n';
    return used;
}

void mst_log_write(enum mst_log_level level, const char *component, const char *message, const char *keys, ...)
{
    char line[MAX_LINE];
    struct mst_log_event event = {mst_clock_wall_ns(), level_names[level], role_text, component, message};
    va_list args;
    va_start(args, keys);
    size_t len =
        is_json ? mst_log_json_line(&event, keys, args, line, sizeof line) : print_text(&event, keys, args, line);
    va_end(args);
    ssize_t written = write(log_fd, line, len);
    (void)written; // a closed log must not stop the work
}
