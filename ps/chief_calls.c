// What the chief asks of a PS and what takes more than a line: which shards to hold (MAP), what it has done (STATS).
// Each is work on every data thread: a `gather` is posted to each of them in turn, and when the last has done its part
// the control loop answers.
#include "ps/ps_private.h"
#include "ps/round_serve.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "wire/worker_numbers.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

enum { NONCE_BYTES = 64 };

// Work that visits the data threads one after the other and ends on the control loop. A visit runs on the thread's
// loop.
struct gather {
    struct late_call late;
    size_t next_thread;
    mst_status status;
    struct mst_error err;
    void (*visit)(struct gather *gather, struct mst_data_thread *thread, uint32_t index);
    void (*done)(struct gather *gather); // control loop; releases
    void (*release)(struct gather *gather);
};

// The process ends before the work does.
static void on_dropped(void *arg)
{
    struct gather *gather = arg;
    gather->release(gather);
}

static void post(struct mst_loop *loop, mst_loop_fn fn, struct gather *gather)
{
    mst_loop_post_or_drop(loop, fn, on_dropped, gather);
}

static void on_gathered(void *arg)
{
    struct gather *gather = arg;
    gather->done(gather);
}

static void on_visit(void *arg)
{
    struct gather *gather = arg;
    struct mst_ps *ps = gather->late.ps;
    uint32_t index = (uint32_t)gather->next_thread++;
    gather->visit(gather, ps->threads[index], index);
    if (gather->status == MST_OK && gather->next_thread < ps->config.n_data_loops)
        post(ps->config.data_loops[gather->next_thread], on_visit, gather);
    else
        post(ps->config.control, on_gathered, gather);
}

static void start_gather(struct gather *gather, struct control_conn *control, const struct mst_message *message)
{
    gather->late = mst_ps_late_call(control, message);
    gather->status = MST_OK;
    post(control->ps->config.data_loops[0], on_visit, gather);
}

// ---- MAP ----

// Its own, or with roles all of them: which it holds something of changes.
static void make_groups(struct mst_ps *ps)
{
    bool has_roles = mst_ps_has_roles(ps);
    ps->n_groups = has_roles ? ps->map.n_ps_threads : 1;
    ps->groups = mst_alloc_array(ps->n_groups, sizeof *ps->groups);
    for (size_t g = 0; g < ps->n_groups; g++) {
        struct ps_group *group = &ps->groups[g];
        *group = (struct ps_group){.ps = ps, .index = ps->map.ps, .n_holdings = ps->config.n_data_loops};
        if (has_roles) {
            group->index = (uint32_t)g;
            group->n_holdings = (size_t)ps->map.ps_threads[g];
        }
        group->holdings = mst_alloc_array(group->n_holdings, sizeof(struct mst_holding *));
        group->rounds = ps->map.n_round_workers > 0 ? mst_ps_rounds_new(group) : NULL;
    }
}

struct ps_group *mst_ps_group(const struct mst_ps *ps, uint32_t index)
{
    for (size_t g = 0; g < ps->n_groups; g++)
        if (ps->groups[g].index == index)
            return &ps->groups[g];
    return NULL;
}

uint32_t mst_ps_asked_group(const struct mst_ps *ps, uint32_t asked)
{
    return ps->map.roles.n_groups == 0 ? ps->map.ps : asked;
}

size_t mst_ps_thread_of(const struct mst_ps *ps, size_t home_thread)
{
    if (ps->map.roles.n_groups > 0) // others reckon with as many as it had when the plan was made
        home_thread %= (size_t)ps->map.ps_threads[ps->map.ps];
    return home_thread % ps->config.n_data_loops;
}

struct mst_loop *mst_ps_group_loop(const struct ps_group *group, size_t home_thread)
{
    return group->ps->config.data_loops[mst_ps_thread_of(group->ps, home_thread)];
}

mst_status mst_ps_find_held(const struct mst_ps *ps, uint32_t asked, struct ps_group **out, struct mst_error *err)
{
    uint32_t index = mst_ps_asked_group(ps, asked);
    *out = NULL;
    if (ps->phase != PS_SERVING)
        return mst_fail(err, MST_UNAVAILABLE, "ps-%u does not hold its shards yet", ps->config.identity->index);
    struct ps_group *group = mst_ps_group(ps, index);
    if (!group)
        return mst_fail(err, MST_NOT_FOUND, "ps-%u holds nothing of the shards of ps-%u", ps->config.identity->index,
                        index);
    for (size_t t = 0; mst_ps_has_roles(ps) && t < group->n_holdings; t++)
        if (!group->holdings[t]) // they are on their way
            return mst_fail(err, MST_UNAVAILABLE, "ps-%u does not hold the shards of ps-%u yet",
                            ps->config.identity->index, index);
    *out = group;
    return MST_OK;
}

mst_status mst_ps_find_group(const struct mst_ps *ps, uint32_t asked, struct ps_group **out, struct mst_error *err)
{
    uint32_t index = mst_ps_asked_group(ps, asked);
    MST_TRY(mst_ps_find_held(ps, asked, out, err));
    if (!mst_ps_has_roles(ps))
        return MST_OK;
    bool is_primary = mst_ps_role(ps, mst_ps_roles_stored(ps), index) == MST_REPLICA_PRIMARY;
    if (!is_primary || !mst_ps_is_acting(ps))
        return mst_fail(err, MST_UNAVAILABLE, "ps-%u is not the primary of the shards of ps-%u",
                        ps->config.identity->index, index);
    return MST_OK;
}

// Pushed again, a step that the checkpoint holds is none.
static void restore_rows(struct mst_bucket *bucket, const struct mst_msg_map *map)
{
    for (size_t i = 0; i < map->n_rows && map->n_round_workers == 0; i++) {
        const struct mst_msg_client_row *from = &map->rows[i];
        const struct mst_client_row row = {
            .number = from->number, .step = from->step, .lease = from->lease, .offset = from->offset};
        mst_client_table_restore(&bucket->clients, from->worker, &row);
    }
}

// Whom this server refused before it was started again.
static void refuse_fenced(struct mst_bucket *bucket, const struct mst_msg_map *map)
{
    for (size_t w = 0; w < map->n_fenced; w++)
        if (map->fenced[w])
            mst_client_table_fence(&bucket->clients, (uint32_t)w, map->fenced[w]);
}

mst_status mst_ps_serve_holding(struct ps_group *group, struct mst_data_thread *thread, struct mst_holding *holding,
                                struct mst_error *err)
{
    struct mst_ps *ps = group->ps;
    struct mst_round_places *rounds = NULL;
    if (ps->config.expects_cuts)
        mst_holding_reserve(holding);
    mst_status status = group->rounds ? mst_ps_rounds_visit(group->rounds, holding, &rounds, err) : MST_OK;
    mst_data_thread_serve(thread, holding, ps->map.term, ps->map.epoch); // frees it, too
    if (!rounds)
        return status;
    mst_ps_rounds_serve(group->rounds, holding, rounds);
    for (size_t w = 0; w < ps->map.n_fenced; w++)
        mst_round_serve_fence(holding, (uint32_t)w, ps->map.fenced[w]);
    return status;
}

mst_status mst_ps_build_holding(const struct ps_group *group, uint32_t home_thread, const struct mst_msg_map *values,
                                struct mst_holding **out, struct mst_error *err)
{
    const struct mst_ps *ps = group->ps;
    struct mst_store_request request = {.model = ps->config.model,
                                        .optimizer = ps->config.optimizer,
                                        .map = values ? values : &ps->map,
                                        .ps = group->index,
                                        .thread = home_thread,
                                        .is_cancelled = &ps->is_cancelled};
    struct mst_bucket **buckets;
    size_t n;
    *out = NULL;
    if (values)
        MST_TRY(mst_store_build(&request, &buckets, &n, err));
    else
        MST_TRY(mst_store_build_empty(&request, &buckets, &n, err));
    for (size_t i = 0; i < n; i++) {
        if (buckets[i]->is_frozen)
            continue;
        if (values) // a joiner's rows come with the sweep
            restore_rows(buckets[i], values);
        refuse_fenced(buckets[i], request.map);
    }
    *out = mst_holding_new(group->index, home_thread, buckets, n);
    return MST_OK;
}

struct build {
    struct gather gather;
    struct mst_roles roles; // as they were stored when the map came; of none: there are no roles
};

// A bucket goes to a server that joins in one frame, in rounds with what the stored close comes to.
static mst_status check_sizes(const struct mst_holding *holding, bool has_rounds, struct mst_error *err)
{
    const uint64_t limit = MST_FRAME_BODY_MAX - sizeof(uint32_t); // a checksum ends it
    for (size_t i = 0; i < holding->n_buckets; i++) {
        const struct mst_bucket *bucket = holding->buckets[i];
        uint64_t n_bytes = (has_rounds ? 2 : 1) * mst_bucket_bytes(bucket) + mst_bucket_slot_bytes(bucket);
        if (n_bytes > limit)
            return mst_fail(err, MST_INVALID_ARGUMENT,
                            "bucket %u has %llu bytes with its optimizer's slots%s, and with replicas it may have "
                            "%llu: a partitioner cuts large variables",
                            bucket->id, (unsigned long long)n_bytes, has_rounds ? " and a round's mean" : "",
                            (unsigned long long)limit);
    }
    return MST_OK;
}

static mst_status build(const struct build *build, struct ps_group *group, struct mst_data_thread *thread,
                        uint32_t home_thread, struct mst_error *err)
{
    struct mst_ps *ps = group->ps;
    struct mst_holding *holding;
    enum mst_replica_role role = MST_REPLICA_PRIMARY;
    if (build->roles.n_ps)
        role = mst_ps_role(ps, &build->roles, group->index);
    if (role == MST_REPLICA_NONE)
        return MST_OK;
    const struct mst_msg_map *values = role == MST_REPLICA_JOINER ? NULL : &ps->map;
    MST_TRY(mst_ps_build_holding(group, home_thread, values, &holding, err));
    mst_status status = build->roles.n_ps ? check_sizes(holding, group->rounds, err) : MST_OK;
    if (status != MST_OK) {
        mst_holding_free(holding);
        return status;
    }
    for (size_t i = 0; i < holding->n_buckets; i++)
        ps->n_bytes += mst_bucket_bytes(holding->buckets[i]) + mst_bucket_slot_bytes(holding->buckets[i]);
    group->holdings[home_thread] = holding;
    return mst_ps_serve_holding(group, thread, holding, err);
}

static void visit_map(struct gather *gather, struct mst_data_thread *thread, uint32_t index)
{
    struct mst_ps *ps = gather->late.ps;
    const struct build *building = (struct build *)gather;
    if (building->roles.n_ps)
        mst_ps_replicate(ps, thread);
    for (size_t g = 0; g < ps->n_groups; g++)
        for (size_t t = 0; t < ps->groups[g].n_holdings && gather->status == MST_OK; t++)
            if (mst_ps_thread_of(ps, t) == index)
                gather->status = build(building, &ps->groups[g], thread, (uint32_t)t, &gather->err);
}

static void release_map(struct gather *gather)
{
    mst_roles_fini(&((struct build *)gather)->roles);
    free(gather);
}

static void done_map(struct gather *gather)
{
    struct mst_ps *ps = gather->late.ps;
    for (size_t g = 0; g < ps->n_groups && gather->status == MST_OK; g++)
        if (ps->groups[g].rounds)
            gather->status = mst_ps_rounds_start(ps->groups[g].rounds, &gather->err);
    if (gather->status != MST_OK) {
        mst_ps_answer_error(&gather->late, gather->status, gather->err.text);
        mst_ps_end(ps, gather->status, gather->err.text);
    } else {
        if (ps->phase == PS_BUILDING)
            ps->phase = PS_SERVING;
        mst_ps_roles_begin(ps);
        MST_LOG(INFO, "ps", "serving", "epoch=%llu.%llu bytes=%llu from=%s", (unsigned long long)ps->map.term,
                (unsigned long long)ps->map.epoch, (unsigned long long)ps->n_bytes,
                ps->map.restore_prefix[0] ? ps->map.restore_prefix : "initial values");
        struct mst_msg_map_reply reply = {ps->map.term, ps->map.epoch, ps->n_bytes};
        MST_PS_ANSWER(&gather->late, map_reply, &reply);
    }
    release_map(gather);
}

// Storage is shared: what the chief wrote into the checkpoint directory has to be there for us, or its index would name
// files that it never sees.
static mst_status check_nonce(const struct mst_msg_map *map, struct mst_error *err)
{
    if (map->nonce_path[0] == '\0')
        return MST_OK;
    char text[NONCE_BYTES] = {0};
    int fd = open(map->nonce_path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? read(fd, text, sizeof text - 1) : -1;
    if (fd >= 0)
        close(fd);
    if (n < 0 || strcmp(text, map->nonce) != 0)
        return mst_fail(
            err, MST_INVALID_ARGUMENT,
            "the chief's file %s is not seen from here: checkpoint.dir has to be storage that the chief and "
            "every ps share",
            map->nonce_path);
    return MST_OK;
}

mst_status mst_ps_check_map_workers(const struct mst_msg_map *map, struct mst_error *err)
{
    MST_TRY(mst_worker_fences_check(map->fenced, map->n_fenced, err));
    return mst_worker_rows_check(map->rows, map->n_rows, err);
}

static mst_status accept_map(struct mst_ps *ps, const struct mst_message *message, struct mst_error *err)
{
    MST_TRY(mst_msg_map_decode(message->meta, &ps->map_arena, &ps->map, err));
    // Its term is a part of its name, and stays when a later chief follows it; that one has claimed its own.
    if (ps->map.term > ps->chief_term)
        return mst_fail(err, MST_ABORTED, "a map of term %llu, and term %llu is claimed here",
                        (unsigned long long)ps->map.term, (unsigned long long)ps->chief_term);
    if (ps->map.sets_learning_rate)
        mst_optimizer_set_learning_rate(ps->config.optimizer, (float)ps->map.learning_rate);
    if (ps->map.n_round_workers > MST_WORKERS_MAX)
        return mst_fail(err, MST_INVALID_ARGUMENT, "synchronous rounds of %u workers are past the limit of %d",
                        ps->map.n_round_workers, MST_WORKERS_MAX);
    MST_TRY(mst_ps_check_map_workers(&ps->map, err));
    MST_TRY(mst_ps_roles_from_map(ps, err));
    return check_nonce(&ps->map, err);
}

void mst_ps_on_map(void *arg, struct mst_conn *conn, const struct mst_message *message)
{
    struct control_conn *control = arg;
    struct mst_ps *ps = control->ps;
    if (conn != ps->chief) {
        mst_conn_reply_error(conn, message, MST_ABORTED, "another connection is the chief's");
        return;
    }
    if (ps->phase != PS_WAITING) {
        // The chief's link broke after it had sent the map: the same chief is answered again once the buckets are
        // there.
        struct mst_msg_map_reply reply = {ps->map.term, ps->map.epoch, ps->n_bytes};
        struct late_call late = mst_ps_late_call(control, message);
        if (ps->phase == PS_SERVING && mst_ps_has_roles(ps))
            mst_ps_restore(control, message);
        else if (ps->phase == PS_SERVING)
            MST_PS_ANSWER(&late, map_reply, &reply);
        else
            mst_conn_reply_error(conn, message, MST_UNAVAILABLE, "the shards are being made; ask again");
        return;
    }
    struct mst_error err;
    mst_status status = accept_map(ps, message, &err);
    if (status != MST_OK) {
        mst_arena_fini(&ps->map_arena);
        mst_conn_reply_error(conn, message, status, "%s", err.text);
        return;
    }
    ps->phase = PS_BUILDING;
    make_groups(ps);
    struct build *building = mst_alloc(sizeof *building);
    *building = (struct build){.gather = {.visit = visit_map, .done = done_map, .release = release_map}};
    if (mst_ps_has_roles(ps))
        mst_roles_copy(&building->roles, mst_ps_roles_stored(ps));
    start_gather(&building->gather, control, message);
}

// ---- STATS ----

struct stats {
    struct gather gather;
    struct mst_msg_bucket_stats *buckets;
    size_t n_buckets;
    uint64_t n_updates; // the most of a bucket: steps this PS has seen
    uint64_t n_pulls;
};

static void add_stats(struct stats *stats, const struct mst_holding *holding)
{
    stats->buckets = mst_realloc_array(stats->buckets, stats->n_buckets + holding->n_buckets, sizeof *stats->buckets);
    for (size_t i = 0; i < holding->n_buckets; i++) {
        const struct mst_bucket *bucket = holding->buckets[i];
        if (stats->n_updates < bucket->n_updates)
            stats->n_updates = bucket->n_updates;
        stats->buckets[stats->n_buckets++] = (struct mst_msg_bucket_stats){.bucket = bucket->id,
                                                                           .bytes = mst_bucket_bytes(bucket),
                                                                           .version = bucket->current->counter,
                                                                           .updates = bucket->n_updates};
    }
}

static void visit_stats(struct gather *gather, struct mst_data_thread *thread, uint32_t index)
{
    struct stats *stats = (struct stats *)gather;
    const struct mst_holding *holding = mst_data_thread_holdings(thread);
    (void)index;
    stats->n_pulls += mst_data_thread_counts(thread).n_pulls;
    for (; holding; holding = holding->next)
        if (!holding->replication || mst_holding_status(holding).role == MST_REPLICA_PRIMARY)
            add_stats(stats, holding);
}

static void release_stats(struct gather *gather)
{
    struct stats *stats = (struct stats *)gather;
    free(stats->buckets);
    free(stats);
}

static void done_stats(struct gather *gather)
{
    struct stats *stats = (struct stats *)gather;
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    struct mst_msg_stats_reply reply = {.cpu_seconds = (double)mst_clock_cpu_ns() * 1e-9,
                                        .max_rss_bytes = (uint64_t)usage.ru_maxrss * 1024,
                                        .updates = stats->n_updates,
                                        .pulls = stats->n_pulls,
                                        .n_buckets = stats->n_buckets,
                                        .buckets = stats->buckets};
    MST_PS_ANSWER(&gather->late, stats_reply, &reply);
    release_stats(gather);
}

void mst_ps_on_stats(void *arg, struct mst_conn *conn, const struct mst_message *message)
{
    (void)conn;
    struct stats *stats = mst_alloc(sizeof *stats);
    stats->gather.visit = visit_stats;
    stats->gather.done = done_stats;
    stats->gather.release = release_stats;
    start_gather(&stats->gather, arg, message);
}
