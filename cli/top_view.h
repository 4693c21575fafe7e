/** @file
 *  What `muster top` shows: the state of every role at one moment, and a table or a JSON object of two such moments.
 *
 *      mst_top_snapshot_add(&now, "worker-1", "10.0.0.7:8080", &metrics_page, &ready_page);    // each role
 *      mst_top_print(&before, &now, &style, file);
 *      mst_top_snapshot_fini(&before);
 *
 *  Rates are differences between the two; what only one of them has shows '-'.
 *  Thread: any.
 */
#pragma once

#include "cli/http_get.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>

/** What a parameter server counts of one bucket. */
struct mst_top_bucket {
    unsigned id;
    unsigned thread;
    double bytes;
    double version;
    double pushes;
    double staleness; // summed over pushes
};

struct mst_top_role {
    char name[64]; // "worker-1"
    char address[128];
    char state[512]; // "ready", what it waits for, or why it cannot be reached
    bool is_up;
    bool is_ready; // as /readyz says, and it waits for nothing
    double steps;
    double examples;
    double cpu_seconds;
    double rss_bytes;
    double received_bytes;
    double sent_bytes;
    struct mst_top_bucket *buckets;
    size_t n_buckets;
};

/** Who is primary of a group of shards. */
struct mst_top_group {
    unsigned id; // its home
    double primary;
};

struct mst_top_snapshot {
    double at_seconds;
    struct mst_top_role *roles;
    size_t n_roles;
    // As the chief tells; has_job: it does.
    bool has_job;
    char job[64];
    double epoch;
    double n_epochs;
    double step;
    double n_steps;
    double loss; // NaN: not known
    double examples_per_second;
    bool has_replicas; // the chief tells of those, too
    double redundancy; // 1: full
    double roles_term;
    double roles_epoch;
    struct mst_top_group *groups;
    size_t n_groups;
};

struct mst_top_style {
    size_t columns;
    size_t rows; // lines at most; 0: all there are
};

/** Adds a role from its pages. name: what it is thought to be, "" if that is not known; what it says itself counts. */
void mst_top_snapshot_add(struct mst_top_snapshot *snapshot, const char *name, const char *address,
                          const struct mst_http_get *metrics, const struct mst_http_get *ready);
/** Puts the chief first, then workers, parameter servers and others, each by index. */
void mst_top_snapshot_sort(struct mst_top_snapshot *snapshot);
/** Prints the table; no line is longer than style->columns. */
void mst_top_print(const struct mst_top_snapshot *before, const struct mst_top_snapshot *now,
                   const struct mst_top_style *style, FILE *to);
/** New object of the same. */
json_t *mst_top_json(const struct mst_top_snapshot *before, const struct mst_top_snapshot *now);
/** Releases it; zeroed is fine. */
void mst_top_snapshot_fini(struct mst_top_snapshot *snapshot);
