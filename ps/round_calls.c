// ROUND: what the chief has decided about rounds goes to the data threads as an order, what they report goes to the
// chief as the answer of the question that is held. Between the two stands the table of a whole group, whose parts are
// its holdings, by home thread. An order is not changed before every one has done it, so they read it without a lock.
//
// With replicas it is so while this server is the group's primary: a reign. When one begins, every holding drops what
// it was ordered before and says what it has, and the table goes on from the one that is least far: what that one lacks
// the others have perhaps done already, and do not do again.
#include "ps/ps_private.h"
#include "ps/round_serve.h"

#include "base/alloc.h"
#include "base/error.h"
#include "base/log.h"
#include "base/metrics.h"
#include "optim/clip.h"
#include "wire/replica_sizes.h"

#include <stdlib.h>
#include <string.h>

enum { HOLD_MS = 1000 }; // a question that nothing answers: the chief sees that we live

struct ps_rounds {
    struct mst_ps *ps;
    const struct ps_group *group;
    size_t n_workers;
    size_t n_threads;                 // home threads
    size_t n_groups;                  // of clipping; 0: the optimizer does not clip by norms
    struct mst_round_report *reports; // by home thread
    bool *has_part;                   // … it has pushed buckets
    bool has_reigns;                  // there are replicas
    bool is_primary;                  // by roles that are acted on
    bool is_reigning;                 // … and every holding has begun this reign
    struct mst_round_table table;
    struct mst_round_order order;
    struct mst_arena order_arena; // holds the order's close
    bool has_order;
    bool is_storing; // not every thread has stored the order's close
    bool is_acting;  // not every thread has applied it
    uint64_t act_round;
    bool has_act;
    double *scales; // n_groups
    size_t n_scales;
    bool is_held; // a question waits for news
    struct late_call held;
    uint64_t known;
    size_t n_wanted;          // fewer arrivals than these are no news
    uint64_t progress_status; // of the last close that was stored or applied: those are news always
    struct mst_timer hold;
    struct mst_square_norm *norms; // by group, of the stored close
    bool *is_here;
    struct mst_msg_arrival *arrivals; // room for an answer
    struct mst_msg_square_norm *norm_list;
    struct mst_metric *applied;
    struct mst_metric *n_rounds;
    struct mst_metric *n_empty;
};

// ---- answering ----

static void answer_held(struct ps_rounds *rounds)
{
    rounds->is_held = false;
    mst_timer_stop(&rounds->hold);
    struct mst_msg_round_reply reply;
    mst_round_table_reply(&rounds->table, rounds->arrivals, &reply);
    reply.norms = rounds->norm_list;
    for (size_t g = 0; g < rounds->n_groups; g++)
        if (rounds->is_here[g])
            rounds->norm_list[reply.n_norms++] = (struct mst_msg_square_norm){
                (uint32_t)g, rounds->norms[g].hi, rounds->norms[g].lo, rounds->norms[g].is_infinite};
    struct mst_buf meta;
    mst_buf_init(&meta, MST_FRAME_META_MAX);
    mst_status status = mst_msg_round_reply_encode(&reply, &meta);
    if (status == MST_OK) {
        mst_ps_answer(&rounds->held, &meta);
    } else {
        mst_buf_fini(&meta);
        mst_ps_answer_error(&rounds->held, status, "the contributions of a round do not fit a frame");
    }
}

static void on_held_long(void *arg)
{
    struct ps_rounds *rounds = arg;
    if (rounds->is_held)
        answer_held(rounds);
}

static size_t n_arrivals(const struct mst_round_table *table)
{
    size_t n = 0;
    for (size_t w = 0; w < table->n_workers; w++)
        n += mst_round_table_has(table, w);
    return n;
}

// A round cannot be closed with fewer contributions than the chief wants: to tell of each of them would cost it a call
// a worker and server.
static bool is_news(const struct ps_rounds *rounds)
{
    if (rounds->known == rounds->table.status)
        return false;
    bool knows_progress = rounds->known >= rounds->progress_status && rounds->known < rounds->table.status;
    return !knows_progress || n_arrivals(&rounds->table) >= rounds->n_wanted;
}

static void answer_news(struct ps_rounds *rounds)
{
    if (rounds->is_held && is_news(rounds))
        answer_held(rounds);
}

// ---- orders ----

static void set_order(struct ps_rounds *rounds, const struct mst_msg_close *close)
{
    rounds->order.has_close = true;
    rounds->order.close = *close;
    rounds->order.acts = false;
    rounds->has_order = true;
}

static void post_order(const struct ps_rounds *rounds)
{
    for (size_t t = 0; t < rounds->n_threads; t++)
        mst_loop_post(mst_ps_group_loop(rounds->group, t), mst_round_serve_order, rounds->group->holdings[t]);
}

static bool is_busy(const struct ps_rounds *rounds)
{
    return rounds->is_storing || rounds->is_acting;
}

static bool may_act(const struct ps_rounds *rounds)
{
    return rounds->has_act && rounds->order.close.round <= rounds->act_round;
}

// Puts what the chief said about acting into the order.
static void order_to_act(struct ps_rounds *rounds)
{
    rounds->order.acts = true;
    rounds->order.act_round = rounds->act_round;
    rounds->order.scales = rounds->scales;
    rounds->order.n_scales = rounds->n_scales;
    rounds->is_acting = true;
}

static void advance(struct ps_rounds *rounds)
{
    if (is_busy(rounds) || !rounds->has_act || !mst_round_table_must_act(&rounds->table, rounds->act_round))
        return;
    order_to_act(rounds);
    post_order(rounds);
}

static void join_norms(struct ps_rounds *rounds)
{
    for (size_t g = 0; g < rounds->n_groups; g++) {
        rounds->norms[g] = (struct mst_square_norm){0};
        rounds->is_here[g] = false;
    }
    for (size_t t = 0; t < rounds->n_threads && rounds->n_groups > 0; t++)
        mst_round_report_norms(&rounds->reports[t], rounds->norms, rounds->is_here);
}

static void note_stored(struct ps_rounds *rounds)
{
    rounds->is_storing = false;
    mst_round_table_store(&rounds->table, &rounds->order.close);
    rounds->progress_status = rounds->table.status;
    join_norms(rounds);
}

static void note_applied(struct ps_rounds *rounds)
{
    const struct mst_msg_close *close = &rounds->order.close;
    bool begins = !rounds->table.has_begun;
    rounds->is_acting = false;
    mst_round_table_act(&rounds->table);
    rounds->progress_status = rounds->table.status;
    mst_metric_set(rounds->applied, (int64_t)close->round);
    if (!begins) {
        mst_metric_add(close->n_ins > 0 ? rounds->n_rounds : rounds->n_empty, 1);
    } else if (close->n_ins == 0) {
        MST_LOG(INFO, "ps", "rounds begin", "round=%llu workers=%zu", (unsigned long long)close->round,
                rounds->n_workers);
    } else {
        MST_LOG(WARN, "ps", "round taken over",
                "round=%llu contributions=%zu note=\"this ps came back: the round's "
                "update and those since the checkpoint are lost in its shards\"",
                (unsigned long long)close->round, close->n_ins);
    }
}

// ---- reigns ----

static bool is_behind(const struct mst_round_progress *a, const struct mst_round_progress *b)
{
    if (a->has_begun != b->has_begun)
        return !a->has_begun;
    if (a->applied != b->applied)
        return a->applied < b->applied;
    if (a->has_stored != b->has_stored)
        return !a->has_stored;
    return a->stored != b->stored ? a->stored < b->stored : a->attempt < b->attempt;
}

// Reads all reports, so that the next ones are told. False as long as not every holding has begun the reign. One
// without buckets has no followers that it could know anything from; it takes the first close that it gets as the
// others'.
static bool find_least_far(struct ps_rounds *rounds, size_t *out)
{
    struct mst_round_progress least = {0};
    bool has_least = false;
    bool have_begun = rounds->is_primary; // then all holdings are here
    for (size_t t = 0; t < rounds->n_threads; t++) {
        struct mst_round_progress progress;
        mst_round_report_read(&rounds->reports[t], &progress);
        have_begun = have_begun && progress.reign == rounds->order.reign;
        if (!have_begun || rounds->group->holdings[t]->n_buckets == 0 || (has_least && !is_behind(&progress, &least)))
            continue;
        has_least = true;
        least = progress;
        *out = t;
    }
    return have_begun;
}

static void reign(struct ps_rounds *rounds)
{
    size_t least = 0;
    struct mst_round_closes closes;
    struct mst_arena arena;
    if (!find_least_far(rounds, &least))
        return;
    mst_arena_init(&arena, MST_MSG_ARENA_MAX);
    if (mst_round_report_closes(&rounds->reports[least], &arena, &closes) != MST_OK) {
        mst_arena_fini(&arena);
        mst_ps_end(rounds->ps, MST_RESOURCE_EXHAUSTED, "no memory for the closes of synchronous rounds");
        return;
    }
    mst_round_table_take_closes(&rounds->table, closes.has_applied ? &closes.applied : NULL,
                                closes.has_stored ? &closes.stored : NULL);
    rounds->is_reigning = true;
    rounds->progress_status = rounds->table.status;
    join_norms(rounds); // also of what is applied here: a new chief asks for them while it is not applied elsewhere
    if (closes.has_stored) {
        // It is to be acted on where that was not done.
        mst_arena_fini(&rounds->order_arena);
        rounds->order_arena = arena;
        set_order(rounds, &closes.stored);
    } else {
        mst_arena_fini(&arena);
    }
    MST_LOG(INFO, "ps", "reign begins", "group=%u round=%llu stored=%d", rounds->group->index,
            (unsigned long long)rounds->table.applied, closes.has_stored);
}

static void drop_order(struct ps_rounds *rounds)
{
    rounds->is_reigning = false;
    rounds->has_order = false;
    rounds->is_storing = false;
    rounds->is_acting = false;
    rounds->has_act = false;
    mst_arena_fini(&rounds->order_arena);
    mst_arena_init(&rounds->order_arena, MST_MSG_ARENA_MAX);
    if (!rounds->is_held)
        return;
    rounds->is_held = false;
    mst_timer_stop(&rounds->hold);
    mst_ps_answer_error(&rounds->held, MST_UNAVAILABLE, "who is primary of these shards changed; ask again");
}

// What was ordered was done, or dropped with the roles, on the loops that this is posted to.
static void begin_reign(struct ps_rounds *rounds)
{
    drop_order(rounds);
    rounds->order.reign++;
    rounds->order.has_close = false;
    for (size_t t = 0; t < rounds->n_threads; t++)
        mst_loop_post(mst_ps_group_loop(rounds->group, t), mst_round_serve_begin, rounds->group->holdings[t]);
}

void mst_ps_rounds_roles(struct ps_rounds *rounds, bool is_primary, bool acts)
{
    if (is_primary && !rounds->is_primary && acts) {
        rounds->is_primary = true;
        begin_reign(rounds);
    } else if (!is_primary && rounds->is_primary) {
        rounds->is_primary = false;
        drop_order(rounds);
    }
}

void mst_ps_rounds_restored(struct ps_rounds *rounds)
{
    if (rounds->is_primary)
        begin_reign(rounds);
}

// ---- reports ----

static void on_report(void *arg)
{
    struct ps_rounds *rounds = arg;
    const struct mst_msg_close *close = &rounds->order.close;
    if (rounds->has_reigns && !rounds->is_reigning) {
        reign(rounds);
        if (!rounds->is_reigning)
            return;
    }
    bool all_stored = rounds->has_order;
    bool all_applied = rounds->has_order;
    for (size_t t = 0; t < rounds->n_threads; t++) {
        struct mst_round_progress progress;
        mst_round_report_read(&rounds->reports[t], &progress);
        all_stored =
            all_stored && progress.has_stored && progress.stored == close->round && progress.attempt == close->attempt;
        all_applied = all_applied && progress.has_begun && progress.applied == close->round;
    }
    if (rounds->is_storing && all_stored)
        note_stored(rounds);
    if (rounds->is_acting && !rounds->is_storing && all_applied)
        note_applied(rounds);
    for (size_t t = 0, part = 0; t < rounds->n_threads; t++)
        if (rounds->has_part[t])
            mst_round_report_join(&rounds->reports[t], &rounds->table, part++);
    answer_news(rounds);
    advance(rounds);
}

// ---- the call ----

static bool is_ordered(const struct ps_rounds *rounds, const struct mst_msg_close *close)
{
    return rounds->has_order && rounds->order.close.round == close->round &&
           rounds->order.close.attempt == close->attempt;
}

// What it comes to as operations, and as a part of a sweep, has to fit a message: those have no other way to go.
static mst_status check_sizes(const struct ps_rounds *rounds, const struct mst_msg_close *close, struct mst_error *err)
{
    const struct mst_replica_sizes sizes = {.n_workers = rounds->n_workers,
                                            .n_norms = rounds->n_groups,
                                            .close_bytes =
                                                close && rounds->has_reigns ? mst_replica_close_bytes(close) : 0};
    return rounds->has_reigns ? mst_replica_sizes_check(&sizes, err) : MST_OK;
}

// A new close becomes the order; arena holds its arrays and is taken over then.
static mst_status take_close(struct ps_rounds *rounds, const struct mst_msg_close *close, struct mst_arena *arena,
                             struct mst_error *err)
{
    if (is_ordered(rounds, close))
        return MST_OK;
    enum mst_round_close_verdict verdict = mst_round_table_check(&rounds->table, close);
    if (verdict == MST_ROUND_CLOSE_OLD)
        return MST_OK;
    if (verdict == MST_ROUND_CLOSE_WAITS && rounds->has_reigns)
        return MST_OK; // workers send again what was lost with a server, and the chief asks again
    if (verdict != MST_ROUND_CLOSE_NEW)
        return mst_fail(err, MST_INVALID_ARGUMENT,
                        "ps-%u has applied round %llu and cannot store the close of round %llu: it names contributions "
                        "that are not here, or is not of the next round",
                        rounds->ps->config.identity->index, (unsigned long long)rounds->table.applied,
                        (unsigned long long)close->round);
    if (is_busy(rounds))
        return mst_fail(err, MST_UNAVAILABLE, "round %llu is still being closed; ask again",
                        (unsigned long long)rounds->order.close.round);
    MST_TRY(check_sizes(rounds, close, err));
    mst_arena_fini(&rounds->order_arena);
    rounds->order_arena = *arena;
    mst_arena_init(arena, MST_MSG_ARENA_MAX);
    set_order(rounds, close);
    rounds->is_storing = true;
    if (may_act(rounds))
        order_to_act(rounds);
    post_order(rounds);
    return MST_OK;
}

static mst_status take_act(struct ps_rounds *rounds, const struct mst_msg_round *round, struct mst_error *err)
{
    if (rounds->has_act && round->act_round <= rounds->act_round)
        return MST_OK;
    if (rounds->is_acting) // its scales are being read
        return mst_fail(err, MST_UNAVAILABLE, "round %llu is still being applied; ask again",
                        (unsigned long long)rounds->act_round);
    if (round->n_scales > rounds->n_groups)
        return mst_fail(err, MST_INVALID_ARGUMENT, "%zu scales came for %zu clip groups", round->n_scales,
                        rounds->n_groups);
    rounds->has_act = true;
    rounds->act_round = round->act_round;
    rounds->n_scales = round->n_scales;
    if (round->n_scales > 0)
        memcpy(rounds->scales, round->scales, round->n_scales * sizeof *rounds->scales);
    return MST_OK;
}

static mst_status find_rounds(const struct mst_ps *ps, const struct mst_msg_round *round, struct ps_rounds **out,
                              struct mst_error *err)
{
    struct ps_group *group;
    MST_TRY(mst_ps_check_term(ps, round->term, err));
    MST_TRY(mst_ps_find_group(ps, round->group, &group, err));
    *out = group->rounds;
    if (!group->rounds)
        return mst_fail(err, MST_INVALID_ARGUMENT, "ps-%u was given a map without synchronous rounds",
                        ps->config.identity->index);
    if (group->rounds->has_reigns && !group->rounds->is_reigning)
        return mst_fail(err, MST_UNAVAILABLE, "ps-%u has just become primary of the shards of ps-%u; ask again",
                        ps->config.identity->index, group->index);
    return MST_OK;
}

static mst_status take_round(struct ps_rounds *rounds, const struct mst_msg_round *round, struct mst_arena *arena,
                             struct mst_error *err)
{
    if (!round->has_close)
        return MST_OK;
    // Acting first: a close that is acted on already is stored and acted on in one go.
    MST_TRY(take_act(rounds, round, err));
    return take_close(rounds, &round->close, arena, err);
}

void mst_ps_on_round(void *arg, struct mst_conn *conn, const struct mst_message *message)
{
    struct control_conn *control = arg;
    struct ps_rounds *rounds = NULL;
    struct mst_arena arena;
    struct mst_msg_round round;
    struct mst_error err;
    mst_arena_init(&arena, MST_MSG_ARENA_MAX);
    mst_status status = mst_msg_round_decode(message->meta, &arena, &round, &err);
    if (status == MST_OK)
        status = find_rounds(control->ps, &round, &rounds, &err);
    if (status == MST_OK)
        status = take_round(rounds, &round, &arena, &err);
    if (status != MST_OK) {
        mst_conn_reply_error(conn, message, status, "%s", err.text);
    } else {
        if (rounds->is_held)
            answer_held(rounds);
        rounds->is_held = true;
        rounds->held = mst_ps_late_call(control, message);
        rounds->known = round.known;
        rounds->n_wanted = round.n_wanted;
        mst_timer_start_once(&rounds->hold, HOLD_MS);
        answer_news(rounds);
        advance(rounds);
    }
    mst_arena_fini(&arena);
}

// ---- beginning and end ----

static size_t n_groups_of(const struct mst_ps *ps)
{
    struct mst_clip clip = mst_optimizer_clip(ps->config.optimizer);
    return clip.norm > 0 ? mst_model_n_variables(ps->config.model) + 1 : clip.global_norm > 0;
}

struct ps_rounds *mst_ps_rounds_new(const struct ps_group *group)
{
    struct mst_ps *ps = group->ps;
    struct ps_rounds *rounds = mst_alloc(sizeof *rounds);
    rounds->ps = ps;
    rounds->group = group;
    rounds->n_workers = ps->map.n_round_workers;
    rounds->n_threads = group->n_holdings;
    rounds->has_reigns = ps->map.roles.n_groups > 0;
    rounds->n_groups = n_groups_of(ps);
    rounds->reports = mst_alloc_array(rounds->n_threads, sizeof *rounds->reports);
    rounds->has_part = mst_alloc_array(rounds->n_threads, sizeof *rounds->has_part);
    rounds->scales = mst_alloc_array(rounds->n_groups, sizeof *rounds->scales);
    rounds->norms = mst_alloc_array(rounds->n_groups, sizeof *rounds->norms);
    rounds->is_here = mst_alloc_array(rounds->n_groups, sizeof *rounds->is_here);
    rounds->norm_list = mst_alloc_array(rounds->n_groups, sizeof *rounds->norm_list);
    rounds->arrivals = mst_alloc_array(rounds->n_workers, sizeof *rounds->arrivals);
    for (size_t t = 0; t < rounds->n_threads; t++)
        mst_round_report_init(&rounds->reports[t], rounds->n_workers, rounds->n_groups);
    mst_arena_init(&rounds->order_arena, MST_MSG_ARENA_MAX);
    mst_timer_init(&rounds->hold, ps->config.control, on_held_long, rounds);
    rounds->applied = mst_metric_gauge("muster_ps_round", "The last synchronous round that is applied", NULL);
    rounds->n_rounds = mst_metric_counter("muster_ps_rounds_total", "Synchronous rounds applied", NULL);
    rounds->n_empty =
        mst_metric_counter("muster_ps_rounds_empty_total", "Synchronous rounds that nobody contributed to", NULL);
    return rounds;
}

mst_status mst_ps_rounds_visit(struct ps_rounds *rounds, const struct mst_holding *holding,
                               struct mst_round_places **out, struct mst_error *err)
{
    struct mst_round_places_config config = {.buckets = holding->buckets,
                                             .n_buckets = holding->n_buckets,
                                             .optimizer = rounds->ps->config.optimizer,
                                             .n_workers = rounds->n_workers};
    return mst_round_places_new(&config, out, err);
}

void mst_ps_rounds_serve(struct ps_rounds *rounds, struct mst_holding *holding, struct mst_round_places *own)
{
    struct mst_round_serving_config config = {.rounds = own,
                                              .report = &rounds->reports[holding->home_thread],
                                              .order = &rounds->order,
                                              .control = rounds->ps->config.control,
                                              .on_report = on_report,
                                              .arg = rounds};
    mst_holding_serve_rounds(holding, &config);
}

static void find_parts(struct ps_rounds *rounds)
{
    const struct mst_ps *ps = rounds->ps;
    for (size_t i = 0; i < ps->map.n_shards; i++) {
        const struct mst_msg_shard *shard = &ps->map.shards[i];
        const struct mst_variable *variable = mst_model_variable(ps->config.model, shard->variable);
        if (shard->ps == rounds->group->index && variable->update != MST_UPDATE_FROZEN)
            rounds->has_part[shard->thread] = true;
    }
}

mst_status mst_ps_rounds_start(struct ps_rounds *rounds, struct mst_error *err)
{
    size_t n_parts = 0;
    MST_TRY(check_sizes(rounds, NULL, err));
    find_parts(rounds);
    for (size_t t = 0; t < rounds->n_threads; t++)
        n_parts += rounds->has_part[t];
    if (mst_round_table_init(&rounds->table, rounds->n_workers, n_parts) != MST_OK)
        return mst_fail(err, MST_RESOURCE_EXHAUSTED, "no memory for synchronous rounds of %zu workers",
                        rounds->n_workers);
    return MST_OK;
}

void mst_ps_rounds_free(struct ps_rounds *rounds)
{
    if (!rounds)
        return;
    for (size_t t = 0; t < rounds->n_threads; t++)
        mst_round_report_fini(&rounds->reports[t]);
    mst_round_table_fini(&rounds->table);
    mst_arena_fini(&rounds->order_arena);
    mst_timer_fini(&rounds->hold);
    free(rounds->reports);
    free(rounds->has_part);
    free(rounds->scales);
    free(rounds->norms);
    free(rounds->is_here);
    free(rounds->norm_list);
    free(rounds->arrivals);
    free(rounds);
}

static void take_newer(const struct mst_msg_close *close, bool *has_close, struct mst_msg_close *newest)
{
    bool is_newer = !*has_close || close->round > newest->round ||
                    (close->round == newest->round && close->attempt > newest->attempt);
    if (is_newer)
        *newest = *close;
    *has_close = true;
}

mst_status mst_ps_rounds_close(const struct ps_rounds *rounds, struct mst_arena *arena, bool *has_close,
                               struct mst_msg_close *newest)
{
    if (rounds->has_order)
        take_newer(&rounds->order.close, has_close, newest);
    for (size_t t = 0; rounds->has_reigns && t < rounds->n_threads; t++) {
        struct mst_round_closes closes;
        MST_TRY(mst_round_report_closes(&rounds->reports[t], arena, &closes));
        if (closes.has_applied)
            take_newer(&closes.applied, has_close, newest);
        if (closes.has_stored)
            take_newer(&closes.stored, has_close, newest);
    }
    return MST_OK;
}
