// ROUND: what the chief has decided about rounds goes to the data threads as an order, what they report goes to the
// chief as the answer of the question that is held. Between the two stands the table of a whole group, whose parts are
// its holdings, by home thread. An order is not changed before every one has done it, so they read it without a lock.
#include "ps/ps_private.h"
#include "ps/round_serve.h"

#include "base/alloc.h"
#include "base/error.h"
#include "base/log.h"
#include "base/metrics.h"
#include "optim/clip.h"

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

static void note_stored(struct ps_rounds *rounds)
{
    rounds->is_storing = false;
    mst_round_table_store(&rounds->table, &rounds->order.close);
    rounds->progress_status = rounds->table.status;
    for (size_t g = 0; g < rounds->n_groups; g++) {
        rounds->norms[g] = (struct mst_square_norm){0};
        rounds->is_here[g] = false;
    }
    for (size_t t = 0; t < rounds->n_threads && rounds->n_groups > 0; t++)
        mst_round_report_norms(&rounds->reports[t], rounds->norms, rounds->is_here);
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

static void on_report(void *arg)
{
    struct ps_rounds *rounds = arg;
    const struct mst_msg_close *close = &rounds->order.close;
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

// A new close becomes the order; arena holds its arrays and is taken over then.
static mst_status take_close(struct ps_rounds *rounds, const struct mst_msg_close *close, struct mst_arena *arena,
                             struct mst_error *err)
{
    if (is_ordered(rounds, close))
        return MST_OK;
    switch (mst_round_table_check(&rounds->table, close)) {
    case MST_ROUND_CLOSE_OLD:
        return MST_OK;
    case MST_ROUND_CLOSE_WAITS:
    case MST_ROUND_CLOSE_REFUSED:
        return mst_fail(err, MST_INVALID_ARGUMENT,
                        "ps-%u has applied round %llu and cannot store the close of round %llu: it names contributions "
                        "that are not here, or is not of the next round",
                        rounds->ps->config.identity->index, (unsigned long long)rounds->table.applied,
                        (unsigned long long)close->round);
    case MST_ROUND_CLOSE_NEW:
        break;
    }
    if (is_busy(rounds))
        return mst_fail(err, MST_UNAVAILABLE, "round %llu is still being closed; ask again",
                        (unsigned long long)rounds->order.close.round);
    mst_arena_fini(&rounds->order_arena);
    rounds->order_arena = *arena;
    mst_arena_init(arena, MST_MSG_ARENA_MAX);
    rounds->order = (struct mst_round_order){.has_close = true, .close = *close};
    rounds->has_order = true;
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
    MST_TRY(mst_round_places_new(&config, out, err));
    rounds->has_part[holding->home_thread] = (*out)->table.n_parts > 0;
    return MST_OK;
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

mst_status mst_ps_rounds_start(struct ps_rounds *rounds, struct mst_error *err)
{
    size_t n_parts = 0;
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

const struct mst_msg_close *mst_ps_rounds_close(const struct ps_rounds *rounds)
{
    return rounds->has_order ? &rounds->order.close : NULL;
}

uint64_t mst_ps_rounds_applied(const struct ps_rounds *rounds)
{
    return rounds->table.applied;
}
