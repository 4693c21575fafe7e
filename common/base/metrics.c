// A linked list under a lock for registration and printing; values are plain atomics. A family's lines must stand
// together, so a new metric of a known name is inserted behind its relatives.
#include "base/metrics.h"

#include "base/alloc.h"
#include "base/error.h"

#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum kind { COUNTER, GAUGE, HISTOGRAM };

static const char *const kind_names[] = {[COUNTER] = "counter", [GAUGE] = "gauge", [HISTOGRAM] = "histogram"};

#define REAL_SCALE 1e6

struct mst_metric {
    struct mst_metric *next; // guarded by registry_lock
    char *name;
    char *help;
    char *labels; // NULL: none
    enum kind kind;
    _Atomic bool is_real;  // value counts millionths
    _Atomic int64_t value; // of a histogram: the sum
    int64_t *limits;       // of a histogram
    size_t n_limits;
    _Atomic int64_t *counts; // n_limits + 1: between two limits, and above the last
};

static pthread_mutex_t registry_lock = PTHREAD_MUTEX_INITIALIZER;
static struct mst_metric *first; // guarded by registry_lock

static bool same_labels(const char *a, const char *b)
{
    return a && b ? strcmp(a, b) == 0 : a == b;
}

static struct mst_metric *find_or_add_locked(const char *name, const char *help, const char *labels, enum kind kind)
{
    struct mst_metric **at = &first;
    bool family_seen = false;
    for (; *at; at = &(*at)->next) {
        bool same_family = strcmp((*at)->name, name) == 0;
        if (same_family && same_labels((*at)->labels, labels))
            return *at;
        if (family_seen && !same_family)
            break;
        family_seen = same_family;
    }
    struct mst_metric *metric = mst_alloc(sizeof *metric);
    metric->name = mst_strdup(name);
    metric->help = mst_strdup(help);
    metric->labels = labels ? mst_strdup(labels) : NULL;
    metric->kind = kind;
    metric->next = *at;
    *at = metric;
    return metric;
}

static struct mst_metric *find_or_add(const char *name, const char *help, const char *labels, enum kind kind)
{
    pthread_mutex_lock(&registry_lock);
    struct mst_metric *metric = find_or_add_locked(name, help, labels, kind);
    pthread_mutex_unlock(&registry_lock);
    return metric;
}

struct mst_metric *mst_metric_counter(const char *name, const char *help, const char *labels)
{
    return find_or_add(name, help, labels, COUNTER);
}

struct mst_metric *mst_metric_gauge(const char *name, const char *help, const char *labels)
{
    return find_or_add(name, help, labels, GAUGE);
}

struct mst_metric *mst_metric_histogram(const char *name, const char *help, const char *labels, const int64_t *limits,
                                        size_t n_limits)
{
    pthread_mutex_lock(&registry_lock);
    struct mst_metric *metric = find_or_add_locked(name, help, labels, HISTOGRAM);
    if (!metric->counts) {
        metric->limits = mst_alloc_array(n_limits, sizeof *limits);
        memcpy(metric->limits, limits, n_limits * sizeof *limits);
        metric->n_limits = n_limits;
        metric->counts = mst_alloc_array(n_limits + 1, sizeof *metric->counts);
    }
    pthread_mutex_unlock(&registry_lock);
    return metric;
}

// Relaxed throughout: a reader wants a recent value, nothing is ordered by a metric.
void mst_metric_add(struct mst_metric *metric, int64_t delta)
{
    atomic_fetch_add_explicit(&metric->value, delta, memory_order_relaxed);
}

void mst_metric_observe(struct mst_metric *metric, int64_t value)
{
    size_t at = 0;
    while (at < metric->n_limits && value > metric->limits[at])
        at++;
    atomic_fetch_add_explicit(&metric->counts[at], 1, memory_order_relaxed);
    mst_metric_add(metric, value);
}

void mst_metric_set(struct mst_metric *metric, int64_t value)
{
    atomic_store_explicit(&metric->value, value, memory_order_relaxed);
}

void mst_metric_set_real(struct mst_metric *metric, double value)
{
    atomic_store_explicit(&metric->is_real, true, memory_order_relaxed);
    double scaled = value * REAL_SCALE;
    bool fits = scaled > -9e18 && scaled < 9e18; // false for NaN too
    mst_metric_set(metric, fits ? (int64_t)llround(scaled) : INT64_MIN);
}

int64_t mst_metric_read(const struct mst_metric *metric)
{
    int64_t value = atomic_load_explicit(&metric->value, memory_order_relaxed);
    return atomic_load_explicit(&metric->is_real, memory_order_relaxed) ? value / (int64_t)REAL_SCALE : value;
}

static mst_status print_value(const struct mst_metric *metric, struct mst_buf *out)
{
    int64_t value = atomic_load_explicit(&metric->value, memory_order_relaxed);
    if (!atomic_load_explicit(&metric->is_real, memory_order_relaxed))
        return mst_buf_printf(out, " %lld\n", (long long)value);
    if (value == INT64_MIN)
        return mst_buf_printf(out, " NaN\n");
    return mst_buf_printf(out, " %.6f\n", (double)value / REAL_SCALE);
}

static mst_status print_named(const struct mst_metric *metric, const char *suffix, int64_t value, struct mst_buf *out)
{
    MST_TRY(mst_buf_printf(out, "%s%s", metric->name, suffix));
    if (metric->labels)
        MST_TRY(mst_buf_printf(out, "{%s}", metric->labels));
    return mst_buf_printf(out, " %lld\n", (long long)value);
}

// Cumulative, as Prometheus wants them. Counted while it is read: the count is what the buckets add up to.
static mst_status print_histogram(const struct mst_metric *metric, struct mst_buf *out)
{
    int64_t n = 0;
    for (size_t i = 0; i <= metric->n_limits; i++) {
        n += atomic_load_explicit(&metric->counts[i], memory_order_relaxed);
        MST_TRY(mst_buf_printf(out, "%s_bucket{%s%sle=\"", metric->name, metric->labels ? metric->labels : "",
                               metric->labels ? "," : ""));
        if (i < metric->n_limits)
            MST_TRY(mst_buf_printf(out, "%lld\"} %lld\n", (long long)metric->limits[i], (long long)n));
        else
            MST_TRY(mst_buf_printf(out, "+Inf\"} %lld\n", (long long)n));
    }
    MST_TRY(print_named(metric, "_sum", mst_metric_read(metric), out));
    return print_named(metric, "_count", n, out);
}

static mst_status print_locked(struct mst_buf *out)
{
    const char *family = "";
    for (const struct mst_metric *metric = first; metric; metric = metric->next) {
        if (strcmp(family, metric->name) != 0)
            MST_TRY(mst_buf_printf(out, "# HELP %s %s\n# TYPE %s %s\n", metric->name, metric->help, metric->name,
                                   kind_names[metric->kind]));
        family = metric->name;
        if (metric->kind == HISTOGRAM) {
            MST_TRY(print_histogram(metric, out));
            continue;
        }
        if (metric->labels)
            MST_TRY(mst_buf_printf(out, "%s{%s}", metric->name, metric->labels));
        else
            MST_TRY(mst_buf_printf(out, "%s", metric->name));
        MST_TRY(print_value(metric, out));
    }
    return MST_OK;
}

mst_status mst_metrics_print(struct mst_buf *out)
{
    pthread_mutex_lock(&registry_lock);
    mst_status status = print_locked(out);
    pthread_mutex_unlock(&registry_lock);
    return status;
}
