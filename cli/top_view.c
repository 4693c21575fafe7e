// A line is made in a buffer and cut at the width of the terminal by characters, so that nothing wraps.
#include "cli/top_view.h"

#include "base/alloc.h"
#include "cli/metrics_text.h"

#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

enum { LINE_BYTES = 512, CELL_BYTES = 16, HTTP_OK = 200, HTTP_UNAVAILABLE = 503 };

#define NOTHING ((double)NAN) // a number that is not known

// ---- reading ----

// The last line's text without its end, printable.
static void copy_text(struct mst_bytes text, char *out, size_t out_bytes)
{
    size_t n = text.len < out_bytes - 1 ? text.len : out_bytes - 1;
    memcpy(out, text.data ? text.data : "", n);
    while (n > 0 && (out[n - 1] == '\n' || out[n - 1] == '\r'))
        n--;
    out[n] = '\0';
    for (char *at = out; *at; at++)
        if ((unsigned char)*at < ' ' || *at == 0x7f)
            *at = '?';
}

static struct mst_top_bucket *bucket_of(struct mst_top_role *role, unsigned id, unsigned thread)
{
    for (size_t i = 0; i < role->n_buckets; i++)
        if (role->buckets[i].id == id)
            return &role->buckets[i];
    role->buckets = mst_realloc_array(role->buckets, role->n_buckets + 1, sizeof *role->buckets);
    role->buckets[role->n_buckets] = (struct mst_top_bucket){.id = id, .thread = thread};
    return &role->buckets[role->n_buckets++];
}

static void take_bucket(struct mst_top_role *role, const struct mst_metric_sample *sample)
{
    static const struct {
        const char *name;
        size_t offset;
    } fields[] = {{"muster_ps_bucket_bytes", offsetof(struct mst_top_bucket, bytes)},
                  {"muster_ps_bucket_version", offsetof(struct mst_top_bucket, version)},
                  {"muster_ps_bucket_pushes_total", offsetof(struct mst_top_bucket, pushes)},
                  {"muster_ps_bucket_staleness_total", offsetof(struct mst_top_bucket, staleness)}};
    char id[16];
    char thread[16];
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
        if (strcmp(sample->name, fields[i].name) == 0 && mst_metric_label(sample, "bucket", id, sizeof id)) {
            mst_metric_label(sample, "thread", thread, sizeof thread);
            struct mst_top_bucket *bucket =
                bucket_of(role, (unsigned)strtoul(id, NULL, 10), (unsigned)strtoul(thread, NULL, 10));
            memcpy((char *)bucket + fields[i].offset, &sample->value, sizeof sample->value);
        }
}

// The role's own name and the job's.
static void take_info(struct mst_top_snapshot *snapshot, struct mst_top_role *role,
                      const struct mst_metric_sample *sample)
{
    char kind[32];
    char index[16];
    if (strcmp(sample->name, "muster_info") != 0 || !mst_metric_label(sample, "role", kind, sizeof kind))
        return;
    mst_metric_label(sample, "index", index, sizeof index);
    snprintf(role->name, sizeof role->name, "%s-%s", kind, index);
    mst_metric_label(sample, "job", snapshot->job, sizeof snapshot->job);
}

static void take_chief(struct mst_top_snapshot *snapshot, const struct mst_metric_sample *sample)
{
    static const struct {
        const char *name;
        size_t offset;
    } fields[] = {{"muster_chief_epoch", offsetof(struct mst_top_snapshot, epoch)},
                  {"muster_chief_epochs", offsetof(struct mst_top_snapshot, n_epochs)},
                  {"muster_chief_step", offsetof(struct mst_top_snapshot, step)},
                  {"muster_chief_steps", offsetof(struct mst_top_snapshot, n_steps)},
                  {"muster_chief_loss", offsetof(struct mst_top_snapshot, loss)},
                  {"muster_chief_examples_per_second", offsetof(struct mst_top_snapshot, examples_per_second)}};
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
        if (strcmp(sample->name, fields[i].name) == 0) {
            memcpy((char *)snapshot + fields[i].offset, &sample->value, sizeof sample->value);
            snapshot->has_job = true;
        }
}

static void take_replicas(struct mst_top_snapshot *snapshot, const struct mst_metric_sample *sample)
{
    char id[16];
    if (strcmp(sample->name, "muster_redundancy_full") == 0) {
        snapshot->has_replicas = true;
        snapshot->redundancy = sample->value;
    } else if (strcmp(sample->name, "muster_roles_term") == 0) {
        snapshot->roles_term = sample->value;
    } else if (strcmp(sample->name, "muster_roles_epoch") == 0) {
        snapshot->roles_epoch = sample->value;
    } else if (strcmp(sample->name, "muster_group_primary") == 0 && mst_metric_label(sample, "group", id, sizeof id)) {
        snapshot->groups = mst_realloc_array(snapshot->groups, snapshot->n_groups + 1, sizeof *snapshot->groups);
        snapshot->groups[snapshot->n_groups++] =
            (struct mst_top_group){.id = (unsigned)strtoul(id, NULL, 10), .primary = sample->value};
    }
}

static void take_metrics(struct mst_top_snapshot *snapshot, struct mst_top_role *role, struct mst_bytes page)
{
    struct mst_metrics_text metrics;
    mst_metrics_text_parse(page, &metrics);
    role->steps = mst_metrics_text_sum(&metrics, "muster_worker_steps_total");
    role->examples = mst_metrics_text_sum(&metrics, "muster_worker_examples_total");
    role->cpu_seconds = mst_metrics_text_sum(&metrics, "process_cpu_seconds_total");
    role->rss_bytes = mst_metrics_text_sum(&metrics, "process_resident_memory_bytes");
    role->received_bytes = mst_metrics_text_sum(&metrics, "muster_rpc_received_bytes_total");
    role->sent_bytes = mst_metrics_text_sum(&metrics, "muster_rpc_sent_bytes_total");
    for (size_t i = 0; i < metrics.n; i++) {
        take_bucket(role, &metrics.samples[i]);
        take_info(snapshot, role, &metrics.samples[i]);
        take_chief(snapshot, &metrics.samples[i]);
        take_replicas(snapshot, &metrics.samples[i]);
    }
    mst_metrics_text_fini(&metrics);
}

void mst_top_snapshot_add(struct mst_top_snapshot *snapshot, const char *name, const char *address,
                          const struct mst_http_get *metrics, const struct mst_http_get *ready)
{
    if (snapshot->n_roles == 0)
        snapshot->loss = NAN;
    snapshot->roles = mst_realloc_array(snapshot->roles, snapshot->n_roles + 1, sizeof *snapshot->roles);
    struct mst_top_role *role = &snapshot->roles[snapshot->n_roles++];
    *role = (struct mst_top_role){0};
    snprintf(role->name, sizeof role->name, "%s", *name ? name : "?");
    snprintf(role->address, sizeof role->address, "%s", address);
    if (metrics->code == 0) {
        snprintf(role->state, sizeof role->state, "unreachable at %s: %s", address, metrics->why);
        return;
    }
    if (metrics->code != HTTP_OK) {
        snprintf(role->state, sizeof role->state, "no metrics at %s: it answers %d", address, metrics->code);
        return;
    }
    role->is_up = true;
    take_metrics(snapshot, role, metrics->body);
    if (ready->code == HTTP_OK || ready->code == HTTP_UNAVAILABLE)
        copy_text(ready->body, role->state, sizeof role->state);
    else
        snprintf(role->state, sizeof role->state, "up");
    role->is_ready = strcmp(role->state, "ready") == 0;
}

static int rank_of(const char *name)
{
    static const char *const order[] = {"local-", "chief-", "master-", "worker-", "ps-", "evaluator-"};
    int n = sizeof order / sizeof *order;
    for (int i = 0; i < n; i++)
        if (strncmp(name, order[i], strlen(order[i])) == 0)
            return i;
    return n;
}

static int compare_roles(const void *a, const void *b)
{
    const char *names[] = {((const struct mst_top_role *)a)->name, ((const struct mst_top_role *)b)->name};
    int ranks[] = {rank_of(names[0]), rank_of(names[1])};
    if (ranks[0] != ranks[1])
        return ranks[0] - ranks[1];
    return strverscmp(names[0], names[1]);
}

static int compare_buckets(const void *a, const void *b)
{
    unsigned ids[] = {((const struct mst_top_bucket *)a)->id, ((const struct mst_top_bucket *)b)->id};
    return (ids[0] > ids[1]) - (ids[0] < ids[1]);
}

static int compare_groups(const void *a, const void *b)
{
    unsigned ids[] = {((const struct mst_top_group *)a)->id, ((const struct mst_top_group *)b)->id};
    return (ids[0] > ids[1]) - (ids[0] < ids[1]);
}

void mst_top_snapshot_sort(struct mst_top_snapshot *snapshot)
{
    if (snapshot->n_roles > 0)
        qsort(snapshot->roles, snapshot->n_roles, sizeof *snapshot->roles, compare_roles);
    if (snapshot->n_groups > 0)
        qsort(snapshot->groups, snapshot->n_groups, sizeof *snapshot->groups, compare_groups);
    for (size_t i = 0; i < snapshot->n_roles; i++)
        if (snapshot->roles[i].n_buckets > 0)
            qsort(snapshot->roles[i].buckets, snapshot->roles[i].n_buckets, sizeof *snapshot->roles[i].buckets,
                  compare_buckets);
}

// ---- rates ----

// What a role, or a bucket of it, counted between the two moments; NaN when one of them does not have it.
static double rate(double before, double now, double seconds)
{
    return seconds > 0 && now >= before ? (now - before) / seconds : NOTHING;
}

static const struct mst_top_role *role_before(const struct mst_top_snapshot *before, const struct mst_top_role *role)
{
    for (size_t i = 0; i < before->n_roles; i++)
        if (before->roles[i].is_up && strcmp(before->roles[i].address, role->address) == 0)
            return &before->roles[i];
    return NULL;
}

static const struct mst_top_bucket *bucket_before(const struct mst_top_role *role, unsigned id)
{
    for (size_t i = 0; role && i < role->n_buckets; i++)
        if (role->buckets[i].id == id)
            return &role->buckets[i];
    return NULL;
}

// ---- the table ----

struct table {
    const struct mst_top_style *style;
    FILE *to;
    size_t n_lines;
};

// At most so many columns of a text, by characters of UTF-8.
static size_t cut_len(const char *text, size_t columns)
{
    size_t len = 0;
    for (size_t n = 0; text[len]; len++)
        if (((unsigned char)text[len] & 0xc0) != 0x80 && n++ == columns)
            break;
    return len;
}

MST_PRINTF(2, 3) static void print_line(struct table *table, const char *format, ...)
{
    char line[LINE_BYTES];
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    if (table->style->rows && table->n_lines >= table->style->rows)
        return;
    size_t len = cut_len(line, table->style->columns);
    while (len > 0 && line[len - 1] == ' ')
        len--;
    fprintf(table->to, "%.*s\n", (int)len, line);
    table->n_lines++;
}

// A number in a cell: "-" when it is not known, with a unit from thousands on.
static const char *number_text(double value, double unit, char *out)
{
    static const char prefixes[] = " kMGTP";
    size_t n = 0;
    if (!isfinite(value)) {
        snprintf(out, CELL_BYTES, "-");
        return out;
    }
    for (; fabs(value) >= 10 * unit && n + 2 < sizeof prefixes; n++)
        value /= unit;
    if (n > 0)
        snprintf(out, CELL_BYTES, fabs(value) < 100 ? "%.1f %c" : "%.0f %c", value, prefixes[n]);
    else
        snprintf(out, CELL_BYTES, fabs(value) < 100 && value != floor(value) ? "%.1f" : "%.0f", value);
    return out;
}

static void print_role(struct table *table, const struct mst_top_role *before, const struct mst_top_role *role,
                       double seconds)
{
    char cells[6][CELL_BYTES];
    if (!role->is_up || !role->is_ready) {
        print_line(table, "%-12s %s", role->name, role->state);
        return;
    }
    double dt = before ? seconds : 0;
    bool trains = role->steps > 0 || strncmp(role->name, "worker", 6) == 0;
    static const struct mst_top_role nothing;
    before = before ? before : &nothing;
    print_line(table, "%-12s %8s %9s %5s %8s %8s %8s  %s", role->name,
               number_text(trains ? rate(before->steps, role->steps, dt) : NOTHING, 1000, cells[0]),
               number_text(trains ? rate(before->examples, role->examples, dt) : NOTHING, 1000, cells[1]),
               number_text(round(100 * rate(before->cpu_seconds, role->cpu_seconds, dt)), 1000, cells[2]),
               number_text(role->rss_bytes > 0 ? role->rss_bytes : NOTHING, 1024, cells[3]),
               number_text(rate(before->received_bytes, role->received_bytes, dt), 1000, cells[4]),
               number_text(rate(before->sent_bytes, role->sent_bytes, dt), 1000, cells[5]), role->state);
}

static void print_bucket(struct table *table, const struct mst_top_role *role, const struct mst_top_bucket *before,
                         const struct mst_top_bucket *bucket, double seconds)
{
    char cells[5][CELL_BYTES];
    double dt = before ? seconds : 0;
    double pushes = before ? bucket->pushes - before->pushes : bucket->pushes;
    double stale = before ? bucket->staleness - before->staleness : bucket->staleness;
    print_line(table, "%-8u %-8s %6u %9s %12.0f %9s %10s", bucket->id, role->name, bucket->thread,
               number_text(bucket->bytes, 1024, cells[0]), bucket->version,
               number_text(before ? rate(before->pushes, bucket->pushes, dt) : NOTHING, 1000, cells[1]),
               number_text(pushes > 0 ? stale / pushes : NOTHING, 1000, cells[2]));
}

static void print_job(struct table *table, const struct mst_top_snapshot *now)
{
    char speed[CELL_BYTES];
    char loss[32] = "-";
    if (isfinite(now->loss))
        snprintf(loss, sizeof loss, "%.4f", now->loss);
    if (now->has_job)
        print_line(table, "%s  epoch %.0f/%.0f  step %.0f/%.0f  %s examples/s  loss %s", now->job, now->epoch,
                   now->n_epochs, now->step, now->n_steps, number_text(now->examples_per_second, 1000, speed), loss);
    else
        print_line(table, "%s  the chief cannot be asked", now->job[0] ? now->job : "muster top");
}

// Which groups are elsewhere than at home, and whether another server may be lost.
static void print_replicas(struct table *table, const struct mst_top_snapshot *now)
{
    char text[LINE_BYTES] = "";
    size_t used = 0;
    if (!now->has_replicas)
        return;
    for (size_t i = 0; i < now->n_groups && used < sizeof text; i++) {
        const struct mst_top_group *group = &now->groups[i];
        int n = 0;
        if (group->primary < 0)
            n = snprintf(text + used, sizeof text - used, "  group %u: lost", group->id);
        else if (group->primary != group->id)
            n = snprintf(text + used, sizeof text - used, "  group %u: ps-%.0f", group->id, group->primary);
        used += n > 0 ? (size_t)n : 0;
    }
    print_line(table, "redundancy %s  roles %.0f.%.0f%s", now->redundancy > 0 ? "full" : "not full", now->roles_term,
               now->roles_epoch, used ? text : "  all groups at home");
}

static size_t count_buckets(const struct mst_top_snapshot *snapshot)
{
    size_t n = 0;
    for (size_t i = 0; i < snapshot->n_roles; i++)
        n += snapshot->roles[i].n_buckets;
    return n;
}

// As many buckets as there are lines for; the last line says how many there are besides.
static void print_buckets(struct table *table, const struct mst_top_snapshot *before,
                          const struct mst_top_snapshot *now)
{
    size_t n_left = count_buckets(now);
    double seconds = now->at_seconds - before->at_seconds;
    if (n_left == 0)
        return;
    print_line(table, "%s", "");
    print_line(table, "%-8s %-8s %6s %9s %12s %9s %10s", "BUCKET", "PS", "THREAD", "BYTES", "VERSION", "PUSHES/s",
               "STALENESS");
    for (size_t i = 0; i < now->n_roles; i++) {
        const struct mst_top_role *role = &now->roles[i];
        for (size_t k = 0; k < role->n_buckets; k++, n_left--) {
            if (table->style->rows && table->n_lines + 1 >= table->style->rows && n_left > 1) {
                print_line(table, "… and %zu more buckets", n_left);
                return;
            }
            print_bucket(table, role, bucket_before(role_before(before, role), role->buckets[k].id), &role->buckets[k],
                         seconds);
        }
    }
}

void mst_top_print(const struct mst_top_snapshot *before, const struct mst_top_snapshot *now,
                   const struct mst_top_style *style, FILE *to)
{
    struct table table = {.style = style, .to = to};
    print_job(&table, now);
    print_replicas(&table, now);
    print_line(&table, "%s", "");
    print_line(&table, "%-12s %8s %9s %5s %8s %8s %8s  %s", "ROLE", "STEPS/s", "EXAMPL./s", "CPU%", "MEMORY", "IN/s",
               "OUT/s", "STATE");
    for (size_t i = 0; i < now->n_roles; i++)
        print_role(&table, role_before(before, &now->roles[i]), &now->roles[i], now->at_seconds - before->at_seconds);
    print_buckets(&table, before, now);
}

// ---- JSON ----

static json_t *number_json(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
}

// A count of a page that may say anything.
static json_int_t whole(double value)
{
    return value >= 0 && value < 9e15 ? (json_int_t)value : 0;
}

static json_t *bucket_json(const struct mst_top_bucket *before, const struct mst_top_bucket *bucket, double seconds)
{
    json_t *json =
        json_pack("{s:i, s:i, s:I, s:I, s:I}", "bucket", (int)bucket->id, "thread", (int)bucket->thread, "bytes",
                  whole(bucket->bytes), "version", whole(bucket->version), "pushes", whole(bucket->pushes));
    json_object_set_new(json, "pushes_per_second",
                        number_json(before ? rate(before->pushes, bucket->pushes, seconds) : NOTHING));
    json_object_set_new(json, "staleness_mean",
                        number_json(bucket->pushes > 0 ? bucket->staleness / bucket->pushes : NOTHING));
    return json;
}

static json_t *role_json(const struct mst_top_role *before, const struct mst_top_role *role, double seconds)
{
    static const struct mst_top_role nothing;
    json_t *json =
        json_pack("{s:s%, s:s%, s:b, s:s%}", "role", role->name, strlen(role->name), "address", role->address,
                  strlen(role->address), "up", (int)role->is_up, "state", role->state, strlen(role->state));
    if (!json) // what a stranger answers may be no UTF-8
        return json_pack("{s:s, s:b}", "role", "?", "up", 0);
    if (!role->is_up)
        return json;
    double dt = before ? seconds : 0;
    const struct mst_top_role *from = before ? before : &nothing;
    json_object_set_new(json, "steps", json_integer(whole(role->steps)));
    json_object_set_new(json, "examples", json_integer(whole(role->examples)));
    json_object_set_new(json, "steps_per_second", number_json(rate(from->steps, role->steps, dt)));
    json_object_set_new(json, "examples_per_second", number_json(rate(from->examples, role->examples, dt)));
    json_object_set_new(json, "cpu", number_json(rate(from->cpu_seconds, role->cpu_seconds, dt)));
    json_object_set_new(json, "resident_bytes", json_integer(whole(role->rss_bytes)));
    json_object_set_new(json, "received_bytes_per_second",
                        number_json(rate(from->received_bytes, role->received_bytes, dt)));
    json_object_set_new(json, "sent_bytes_per_second", number_json(rate(from->sent_bytes, role->sent_bytes, dt)));
    json_t *buckets = json_array();
    for (size_t i = 0; i < role->n_buckets; i++)
        json_array_append_new(buckets,
                              bucket_json(bucket_before(before, role->buckets[i].id), &role->buckets[i], seconds));
    json_object_set_new(json, "buckets", buckets);
    return json;
}

static json_t *replicas_json(const struct mst_top_snapshot *now)
{
    json_t *primaries = json_array();
    for (size_t i = 0; i < now->n_groups; i++)
        json_array_append_new(primaries,
                              now->groups[i].primary < 0 ? json_null() : json_integer(whole(now->groups[i].primary)));
    return json_pack("{s:b, s:I, s:I, s:o}", "redundancy_full", now->redundancy > 0, "term", whole(now->roles_term),
                     "epoch", whole(now->roles_epoch), "primaries", primaries);
}

json_t *mst_top_json(const struct mst_top_snapshot *before, const struct mst_top_snapshot *now)
{
    json_t *roles = json_array();
    for (size_t i = 0; i < now->n_roles; i++)
        json_array_append_new(roles, role_json(role_before(before, &now->roles[i]), &now->roles[i],
                                               now->at_seconds - before->at_seconds));
    json_t *job = json_null();
    if (now->has_job) {
        job = json_pack("{s:I, s:I, s:I, s:I}", "epoch", whole(now->epoch), "epochs", whole(now->n_epochs), "step",
                        whole(now->step), "steps", whole(now->n_steps));
        json_object_set_new(job, "loss", number_json(now->loss));
        json_object_set_new(job, "examples_per_second", number_json(now->examples_per_second));
        json_t *name = json_string(now->job);
        json_object_set_new(job, "name", name ? name : json_null());
        if (now->has_replicas)
            json_object_set_new(job, "replicas", replicas_json(now));
    }
    return json_pack("{s:o, s:o}", "job", job, "roles", roles);
}

void mst_top_snapshot_fini(struct mst_top_snapshot *snapshot)
{
    for (size_t i = 0; i < snapshot->n_roles; i++)
        free(snapshot->roles[i].buckets);
    free(snapshot->roles);
    free(snapshot->groups);
    *snapshot = (struct mst_top_snapshot){0};
}
