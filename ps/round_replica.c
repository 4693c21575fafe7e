// Rounds of a holding that has a replica. What is stored and applied becomes operations, and is reported, and told to
// who waits, when the followers have it; an order waits until operations may be made. As a follower the holding has the
// same table and the same means, so whoever is promoted goes on from there; only contributions are a primary's own, and
// workers send them again.
#include "ps/replication_private.h"
#include "ps/round_serve_private.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"

#include <stdlib.h>

static uint64_t now_ms(void)
{
    return mst_clock_monotonic_ms();
}

// ---- closes that are here, for the control loop and for sweeps ----

static void write_close(struct mst_buf *to, const struct mst_msg_close *close)
{
    const struct mst_msg_op op = {.n_closes = 1, .closes = close};
    mst_buf_reset(to);
    if (close && mst_msg_op_encode(&op, to) != MST_OK)
        mst_buf_reset(to); // larger than any message that could have brought it
}

static void keep_stored(struct mst_round_report *report, const struct mst_msg_close *close)
{
    pthread_mutex_lock(&report->lock);
    write_close(&report->stored_close, close);
    pthread_mutex_unlock(&report->lock);
}

static void keep_applied(struct mst_round_report *report)
{
    pthread_mutex_lock(&report->lock);
    struct mst_buf before = report->applied_close;
    report->applied_close = report->stored_close;
    report->stored_close = before;
    mst_buf_reset(&report->stored_close);
    pthread_mutex_unlock(&report->lock);
}

static void keep_closes(struct mst_round_report *report, const struct mst_msg_close *applied,
                        const struct mst_msg_close *stored)
{
    pthread_mutex_lock(&report->lock);
    write_close(&report->applied_close, applied);
    write_close(&report->stored_close, stored);
    pthread_mutex_unlock(&report->lock);
}

static bool is_to_apply(const struct mst_round_table *table)
{
    return mst_round_table_must_act(table, UINT64_MAX);
}

// ---- a primary: what becomes operations ----

// Arrays of the operation become its own.
static void own_arrays(struct op *op)
{
    struct mst_buf buf;
    mst_buf_init(&buf, MST_FRAME_META_MAX);
    mst_arena_init(&op->arena, SIZE_MAX / 4); // of a message that is bounded
    mst_status status = mst_msg_op_encode(&op->meta, &buf);
    if (status == MST_OK)
        status = mst_msg_op_decode(mst_buf_view(&buf), &op->arena, &op->meta, NULL);
    MST_ASSERT(status == MST_OK); // the control loop takes no close that is too large for this
    mst_buf_fini(&buf);
}

static size_t list_norms(const struct round_serving *serving, struct mst_msg_square_norm *out)
{
    const struct mst_round_report *report = serving->config.report; // only this thread writes them
    size_t n = 0;
    for (size_t g = 0; g < report->n_groups; g++)
        if (report->is_here[g])
            out[n++] = (struct mst_msg_square_norm){(uint32_t)g, report->norms[g].hi, report->norms[g].lo,
                                                    report->norms[g].is_infinite};
    return n;
}

static struct op *add_op(const struct round_serving *serving, enum mst_op_kind kind)
{
    struct op *op = mst_forwarding_add_op(serving->holding->replication);
    if (!op)
        return NULL;
    op->meta.kind = kind;
    op->meta.bucket = serving->holding->buckets[0]->id;
    op->meta.round = serving->rounds->table.stored;
    op->meta.attempt = serving->rounds->table.attempt;
    return op;
}

void mst_round_replica_stored(struct round_serving *serving, const struct mst_msg_close *close)
{
    struct mst_round_places *rounds = serving->rounds;
    keep_stored(serving->config.report, close);
    for (size_t i = 0; i < rounds->n_places; i++) {
        struct mst_round_place *place = &rounds->places[i];
        struct op *op = place->stored ? add_op(serving, MST_OP_AGGREGATE) : NULL;
        if (!op)
            continue;
        op->meta.bucket = place->bucket->id;
        if (!mst_replication_is_counted_only(serving->holding->replication, place->bucket))
            mst_forwarding_give_mean(op, mst_round_mean_ref(place->stored));
    }
    struct op *op = add_op(serving, MST_OP_CLOSE);
    if (op) {
        struct mst_msg_square_norm *norms = mst_alloc_array(serving->config.report->n_groups, sizeof *norms);
        op->meta.n_closes = 1;
        op->meta.closes = close;
        op->meta.n_norms = list_norms(serving, norms);
        op->meta.norms = norms;
        own_arrays(op);
        free(norms);
    }
    serving->is_storing = true;
    serving->stored_seq = serving->holding->replication->replica.seq;
}

void mst_round_replica_applied(struct round_serving *serving)
{
    struct mst_round_places *rounds = serving->rounds;
    const struct mst_round_order *order = serving->config.order;
    struct replication *replication = serving->holding->replication;
    keep_applied(serving->config.report);
    struct op *op = add_op(serving, MST_OP_APPLY);
    if (op) {
        op->meta.learning_rate = (double)rounds->rate;
        op->meta.n_scales = order->n_scales;
        op->meta.scales = order->scales;
        own_arrays(op);
    }
    for (size_t i = 0; i < rounds->n_places; i++) {
        const struct mst_bucket *bucket = rounds->places[i].bucket;
        if (!bucket->is_frozen && rounds->table.n_ins > 0 && bucket->n_updates > 0 &&
            bucket->n_updates % MST_CHECKSUM_VERSIONS == 0)
            mst_replication_keep_checksum(replication, bucket);
    }
    serving->is_applying = true;
    serving->applied_seq = replication->replica.seq;
    serving->has_untold = true;
}

static void try_store(struct round_serving *serving)
{
    const struct mst_round_order *order = serving->config.order;
    struct mst_round_places *rounds = serving->rounds;
    if (mst_round_table_check(&rounds->table, &order->close) == MST_ROUND_CLOSE_NEW) {
        if (!mst_forwarding_has_room(serving->holding->replication) || !mst_round_places_can_store(rounds))
            return;
        mst_round_places_store(rounds, &order->close);
        mst_round_serve_note_norms(serving);
        mst_round_replica_stored(serving, &order->close);
    }
    serving->is_ordered = false;
    serving->is_acting = order->acts && mst_round_table_must_act(&rounds->table, order->act_round);
}

void mst_round_replica_order(struct round_serving *serving)
{
    struct replication *replication = serving->holding->replication;
    if (mst_forwarding_admits(replication) == MST_FORWARD_REFUSED)
        return;
    serving->is_ordered = true;
    mst_replication_progress(replication);
}

void mst_round_replica_advance(struct round_serving *serving)
{
    const struct replication *replication = serving->holding->replication;
    if (!serving->is_ordered && !serving->is_acting)
        return;
    if (mst_forwarding_admits(replication) != MST_FORWARD_OK)
        return;
    if (serving->is_ordered)
        try_store(serving);
    if (serving->is_acting)
        mst_round_serve_try_act(serving);
}

// ---- a primary: what the followers have ----

static bool may_answer(const struct round_serving *serving, uint64_t seq)
{
    const struct replication *replication = serving->holding->replication;
    return !replication->awaits_values && mst_replica_may_answer(&replication->replica, seq, now_ms());
}

bool mst_round_replica_has_told(const struct round_serving *serving)
{
    return mst_forwarding_serves(serving->holding->replication) == MST_FORWARD_OK &&
           may_answer(serving, serving->applied_seq);
}

void mst_round_replica_confirm(struct round_serving *serving)
{
    struct mst_round_progress now = mst_round_serve_progress(serving);
    bool is_news = false;
    if (serving->is_beginning && may_answer(serving, serving->begin_seq)) {
        serving->is_beginning = false;
        serving->told = now;
        is_news = true;
    }
    if (serving->is_storing && may_answer(serving, serving->stored_seq)) {
        serving->is_storing = false;
        serving->told.has_stored = now.has_stored;
        serving->told.stored = now.stored;
        serving->told.attempt = now.attempt;
        is_news = true;
    }
    if (serving->is_applying && may_answer(serving, serving->applied_seq)) {
        serving->is_applying = false;
        serving->told.has_begun = now.has_begun;
        serving->told.applied = now.applied;
        is_news = true;
    }
    if (is_news)
        mst_round_serve_report(serving, &serving->told);
    if (serving->has_untold && may_answer(serving, serving->applied_seq)) {
        serving->has_untold = false;
        mst_round_places_tell(serving->rounds);
    }
}

void mst_round_serve_begin(void *arg)
{
    struct round_serving *serving = ((const struct mst_holding *)arg)->serving;
    struct replication *replication = serving->holding->replication;
    serving->reign = serving->config.order->reign;
    serving->is_ordered = false;
    serving->is_acting = false;
    serving->is_storing = false; // the report of the reign says so
    serving->is_applying = false;
    if (!replication) { // there are no buckets, so nothing is known from before
        mst_round_table_take_closes(&serving->rounds->table, NULL, NULL);
        struct mst_round_progress now = mst_round_serve_progress(serving);
        mst_round_serve_report(serving, &now);
        return;
    }
    serving->is_beginning = true;
    serving->begin_seq = replication->replica.seq;
    mst_replication_progress(replication);
}

// ---- roles ----

// The direct carrier of a process that serves all by itself has no replicas.
static bool refuse_waiting(const void *arg, struct mst_round_waiter *waiter)
{
    const struct round_serving *serving = arg;
    struct waiting *waiting = (struct waiting *)waiter;
    struct mst_message call = {.method = waiting->method, .call = waiting->call};
    struct mst_error err;
    if (!waiting->client)
        return false;
    mst_status status = mst_forwarding_refuse(serving->holding->replication, waiting->bucket, &err);
    waiting->client->n_waiting--;
    mst_conn_reply_error(waiting->client->conn, &call, status, "%s", err.text);
    mst_round_serve_give_waiting(waiting);
    return true;
}

static void refuse_all(struct round_serving *serving)
{
    struct mst_round_report *report = serving->config.report;
    mst_round_places_drop(serving->rounds, refuse_waiting, serving);
    for (struct client *client = serving->thread->clients; client; client = client->next) {
        if (!client->place || client->serving != serving)
            continue;
        struct mst_message call = {.method = client->method, .call = client->call};
        struct mst_error err;
        mst_status status = mst_forwarding_refuse(serving->holding->replication, client->place->bucket->id, &err);
        client->place = NULL;
        mst_conn_abandon_body(client->conn);
        mst_conn_reply_error(client->conn, &call, status, "%s", err.text);
    }
    pthread_mutex_lock(&report->lock);
    for (size_t w = 0; w < report->n_workers; w++)
        report->arrivals[w].round = 0;
    pthread_mutex_unlock(&report->lock);
    serving->n_held = 0;
    mst_metric_set(serving->held, 0);
    mst_round_places_forget(serving->rounds);
}

// What a follower has.
static void report_as_follower(struct round_serving *serving)
{
    uint64_t reign = serving->told.reign;
    serving->told = mst_round_serve_progress(serving);
    serving->told.reign = reign;
    mst_round_serve_report(serving, &serving->told);
}

// All buckets that the stored close changes have what it comes to.
static bool has_means(const struct mst_round_places *rounds)
{
    const struct mst_round_table *table = &rounds->table;
    for (size_t i = 0; i < rounds->n_places && table->n_ins > 0; i++) {
        const struct mst_round_place *place = &rounds->places[i];
        const struct mst_round_mean *mean = place->stored;
        if (place->bucket->is_frozen || mst_round_place_is_past(rounds, place))
            continue;
        if (!mean || mean->round != table->stored || mean->attempt != table->attempt)
            return false;
    }
    return true;
}

static uint64_t least_version(const struct mst_round_places *rounds)
{
    uint64_t least = UINT64_MAX;
    for (size_t i = 0; i < rounds->n_places; i++) {
        uint64_t version = rounds->places[i].bucket->current->counter;
        least = version < least ? version : least;
    }
    return least;
}

static void take_closes(struct round_serving *serving, const struct mst_msg_close *applied,
                        const struct mst_msg_close *stored)
{
    mst_round_table_take_closes(&serving->rounds->table, applied, stored);
    keep_closes(serving->config.report, applied, stored);
}

// Promoted in the middle of a sweep: some buckets are as they came, the others as they were. What the table says is
// what all of them have: a round that some have not applied is stored, and a close that some have no mean for is not.
// None of them can have been acknowledged under the primary that swept, because it waited for this one.
static void level(struct round_serving *serving)
{
    struct mst_round_places *rounds = serving->rounds;
    struct mst_round_closes here;
    struct mst_arena arena;
    struct mst_msg_op before = {0};
    if (!rounds->table.has_begun)
        return;
    mst_arena_init(&arena, MST_MSG_ARENA_MAX);
    mst_status status = mst_round_report_closes(serving->config.report, &arena, &here);
    if (status == MST_OK && least_version(rounds) < rounds->table.applied && serving->before.len > 0)
        status = mst_msg_op_decode(mst_buf_view(&serving->before), &arena, &before, NULL);
    if (status == MST_OK && before.n_closes == 1 && before.closes[0].round + 1 == rounds->table.applied)
        take_closes(serving, &before.closes[0], &here.applied);
    else if (status == MST_OK && here.has_stored && !has_means(rounds))
        take_closes(serving, &here.applied, NULL);
    if (status != MST_OK || least_version(rounds) < rounds->table.applied ||
        (is_to_apply(&rounds->table) && !has_means(rounds)))
        MST_LOG(ERROR, "ps", "rounds out of step", "group=%u thread=%u round=%llu version=%llu",
                serving->holding->group, serving->holding->home_thread, (unsigned long long)rounds->table.applied,
                (unsigned long long)least_version(rounds));
    mst_arena_fini(&arena);
}

void mst_round_replica_roles(struct round_serving *serving)
{
    const struct mst_replica *replica = &serving->holding->replication->replica;
    bool begins = replica->is_reigning && !serving->was_reigning;
    serving->was_reigning = replica->is_reigning;
    if (mst_replica_role(replica) != MST_REPLICA_PRIMARY) {
        serving->is_ordered = false;
        serving->is_acting = false;
        serving->is_beginning = false;
        serving->is_storing = false;
        serving->is_applying = false;
        serving->has_untold = false;
        refuse_all(serving);
    } else if (begins) {
        serving->is_ordered = false; // of an older reign
        serving->is_acting = false;
        level(serving);
        serving->applied_seq = replica->seq;
        serving->has_untold = true; // who came before it was the primary
    }
}

void mst_round_replica_reset(struct round_serving *serving)
{
    struct mst_round_places *rounds = serving->rounds;
    mst_round_places_forget(rounds);
    for (size_t i = 0; i < rounds->n_places; i++)
        mst_round_place_replaced(&rounds->places[i], NULL);
    mst_round_table_take_closes(&rounds->table, NULL, NULL);
    keep_closes(serving->config.report, NULL, NULL);
    report_as_follower(serving);
}

// ---- a follower: operations ----

mst_status mst_round_replica_check_op(const struct mst_holding *holding, const struct mst_msg_op *op,
                                      const struct mst_round_mean *mean, struct mst_error *err)
{
    const struct round_serving *serving = holding->serving;
    if (!serving)
        return mst_fail(err, MST_INVALID_ARGUMENT, "bucket %u: no rounds are served here", op->bucket);
    const struct mst_round_place *place = mst_round_places_find(serving->rounds, op->bucket);
    if (op->kind == MST_OP_AGGREGATE && (!place || place->bucket->is_frozen || (mean && mean->place != place)))
        return mst_fail(err, MST_INVALID_ARGUMENT, "bucket %u: what a round comes to in a bucket that is not pushed",
                        op->bucket);
    if (op->kind == MST_OP_CLOSE &&
        (op->n_closes != 1 || !mst_round_table_is_of_its_workers(&serving->rounds->table, &op->closes[0])))
        return mst_fail(err, MST_INVALID_ARGUMENT, "the close of round %llu names workers that rounds are not of",
                        (unsigned long long)op->round);
    if (op->kind == MST_OP_APPLY && !mst_round_places_can_act(serving->rounds))
        return mst_fail(err, MST_UNAVAILABLE, "round %llu: every buffer is held here; send it again",
                        (unsigned long long)op->round);
    return MST_OK;
}

static const bool *whats_here(const struct round_serving *serving)
{
    const struct mst_replica *replica = &serving->holding->replication->replica;
    return replica->is_whole ? NULL : replica->is_swept;
}

// Means of a close that is to be stored: all or none of the buckets that are here have one.
static bool lacks_mean(const struct round_serving *serving, const struct mst_msg_op *op)
{
    const struct mst_round_places *rounds = serving->rounds;
    const bool *is_here = whats_here(serving);
    bool is_update = rounds->table.has_begun;
    size_t n_ins = op->kind == MST_OP_CLOSE ? op->closes[0].n_ins : rounds->table.n_ins;
    for (size_t i = 0; i < rounds->n_places && is_update && n_ins > 0; i++) {
        const struct mst_round_place *place = &rounds->places[i];
        const struct mst_round_mean *mean = op->kind == MST_OP_CLOSE ? place->coming : place->stored;
        bool needs_one = !place->bucket->is_frozen && (!is_here || is_here[i]);
        bool is_past = op->kind == MST_OP_APPLY && mst_round_place_is_past(rounds, place);
        if (needs_one && !is_past && !mean)
            return true;
    }
    return false;
}

bool mst_round_replica_differs(const struct mst_holding *holding, const struct mst_msg_op *op)
{
    const struct round_serving *serving = holding->serving;
    const struct mst_round_table *table = &serving->rounds->table;
    if (op->kind == MST_OP_CLOSE)
        return (table->has_begun && op->closes[0].round != table->applied + 1) || lacks_mean(serving, op);
    if (op->kind == MST_OP_APPLY)
        return !is_to_apply(table) || table->stored != op->round || table->attempt != op->attempt ||
               lacks_mean(serving, op);
    return false;
}

static void take_norms(const struct round_serving *serving, const struct mst_msg_square_norm *norms, size_t n_norms)
{
    struct mst_round_report *report = serving->config.report;
    pthread_mutex_lock(&report->lock);
    for (size_t g = 0; g < report->n_groups; g++)
        report->is_here[g] = false;
    for (size_t i = 0; i < n_norms; i++)
        if (norms[i].group < report->n_groups) {
            report->norms[norms[i].group] =
                (struct mst_square_norm){.hi = norms[i].hi, .lo = norms[i].lo, .is_infinite = norms[i].is_infinite};
            report->is_here[norms[i].group] = true;
        }
    pthread_mutex_unlock(&report->lock);
}

static void follow_close(struct round_serving *serving, const struct mst_msg_op *op)
{
    mst_round_places_follow_close(serving->rounds, &op->closes[0], whats_here(serving));
    take_norms(serving, op->norms, op->n_norms);
    keep_stored(serving->config.report, &op->closes[0]);
    report_as_follower(serving);
}

static void follow_apply(struct round_serving *serving, const struct mst_msg_op *op)
{
    const struct mst_round_applying applying = {
        .scales = op->scales, .n_scales = op->n_scales, .rate = (float)op->learning_rate};
    struct mst_round_applying here = applying;
    here.is_here = whats_here(serving);
    mst_round_places_follow_apply(serving->rounds, &here);
    keep_applied(serving->config.report);
    report_as_follower(serving);
    mst_metric_add(serving->holding->replication->replicating->metrics.followed, 1);
}

void mst_round_replica_follow(struct mst_holding *holding, const struct mst_msg_op *op, struct mst_round_mean *mean)
{
    struct round_serving *serving = holding->serving;
    switch (op->kind) {
    case MST_OP_AGGREGATE:
        mean->round = op->round;
        mean->attempt = op->attempt;
        mst_round_mean_unref(mean->place->coming);
        mean->place->coming = mst_round_mean_ref(mean);
        break;
    case MST_OP_CLOSE:
        follow_close(serving, op);
        break;
    default:
        follow_apply(serving, op);
    }
}

// ---- sweeps ----

struct mst_round_mean *mst_round_replica_mean_new(const struct mst_holding *holding, uint32_t bucket)
{
    struct mst_round_place *place = holding->serving ? mst_round_places_find(holding->serving->rounds, bucket) : NULL;
    return place ? mst_round_mean_new(place) : NULL;
}

struct mst_round_mean *mst_round_replica_mean_of(const struct mst_holding *holding, uint32_t bucket)
{
    const struct mst_round_place *place =
        holding->serving ? mst_round_places_find(holding->serving->rounds, bucket) : NULL;
    return place ? place->stored : NULL;
}

mst_status mst_round_replica_fill_sweep(const struct mst_holding *holding, struct mst_msg_sweep *sweep,
                                        struct mst_arena *arena)
{
    const struct round_serving *serving = holding->serving;
    struct mst_round_closes here;
    void *closes;
    void *norms;
    if (!serving)
        return MST_OK;
    sweep->has_aggregate = mst_round_replica_mean_of(holding, sweep->bucket) != NULL;
    if (!sweep->is_first)
        return MST_OK;
    MST_TRY(mst_round_report_closes(serving->config.report, arena, &here));
    MST_TRY(mst_arena_alloc_array(arena, 2, sizeof *sweep->closes, &closes));
    MST_TRY(mst_arena_alloc_array(arena, serving->config.report->n_groups, sizeof *sweep->norms, &norms));
    struct mst_msg_close *list = closes;
    if (here.has_applied || here.has_stored)
        list[sweep->n_closes++] = here.has_applied ? here.applied : here.stored;
    if (here.has_stored)
        list[sweep->n_closes++] = here.stored;
    // Also of a close that is applied here: a chief that starts computes the scales again, for whom it is not applied.
    if (sweep->n_closes > 0)
        sweep->n_norms = list_norms(serving, norms);
    sweep->closes = list;
    sweep->norms = norms;
    return MST_OK;
}

mst_status mst_round_replica_check_sweep(const struct mst_holding *holding, const struct mst_msg_sweep *sweep,
                                         struct mst_error *err)
{
    const struct round_serving *serving = holding->serving;
    const struct mst_round_place *place = serving ? mst_round_places_find(serving->rounds, sweep->bucket) : NULL;
    if (sweep->has_aggregate && place && place->bucket->is_frozen)
        return mst_fail(err, MST_INVALID_ARGUMENT, "bucket %u is frozen, and an aggregate came for it", sweep->bucket);
    if (!serving && (sweep->has_aggregate || sweep->n_closes > 0))
        return mst_fail(err, MST_INVALID_ARGUMENT, "bucket %u: no rounds are served here", sweep->bucket);
    for (size_t i = 0; i < sweep->n_closes; i++)
        if (i == 2 || !mst_round_table_is_of_its_workers(&serving->rounds->table, &sweep->closes[i]))
            return mst_fail(err, MST_INVALID_ARGUMENT, "bucket %u: a close names workers that rounds are not of",
                            sweep->bucket);
    return MST_OK;
}

// Buckets that do not come before this one is promoted are of the round before.
static void keep_before(struct round_serving *serving, const struct mst_msg_close *applied)
{
    struct mst_round_report *report = serving->config.report;
    const struct mst_round_table *table = &serving->rounds->table;
    if (applied && table->has_begun && applied->round == table->applied)
        return; // it may be the same sweep, which begins again
    mst_buf_reset(&serving->before);
    if (!applied || !table->has_begun || applied->round != table->applied + 1 || report->applied_close.len == 0)
        return;
    pthread_mutex_lock(&report->lock);
    mst_status status = mst_buf_append(&serving->before, report->applied_close.data, report->applied_close.len);
    pthread_mutex_unlock(&report->lock);
    MST_ASSERT(status == MST_OK); // it has the same limit
}

static void begin_sweep(struct round_serving *serving, const struct mst_msg_sweep *sweep)
{
    const struct mst_msg_close *stored = sweep->n_closes > 1 ? &sweep->closes[1] : NULL;
    // The same twice: rounds have not begun.
    bool has_applied = sweep->n_closes == 1 || (stored && stored->round != sweep->closes[0].round);
    const struct mst_msg_close *applied = has_applied ? &sweep->closes[0] : NULL;
    keep_before(serving, applied);
    take_closes(serving, applied, stored);
    take_norms(serving, sweep->norms, sweep->n_norms);
    report_as_follower(serving);
}

void mst_round_replica_swept(struct mst_holding *holding, const struct mst_msg_sweep *sweep,
                             struct mst_round_mean *mean)
{
    struct round_serving *serving = holding->serving;
    if (!serving)
        return;
    struct mst_round_place *place = mst_round_places_find(serving->rounds, sweep->bucket);
    if (sweep->is_first)
        begin_sweep(serving, sweep);
    if (mean) {
        mean->round = serving->rounds->table.stored;
        mean->attempt = serving->rounds->table.attempt;
    }
    bool is_wanted = mean && serving->rounds->table.has_begun && serving->rounds->table.n_ins > 0 &&
                     is_to_apply(&serving->rounds->table);
    mst_round_place_replaced(place, is_wanted ? mst_round_mean_ref(mean) : NULL);
    for (size_t w = 0; w < sweep->n_fenced; w++)
        mst_round_table_fence(&serving->rounds->table, w, sweep->fenced[w]);
}
