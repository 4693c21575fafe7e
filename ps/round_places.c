// What is on the path from a round's last push to its answers: one chief, twice. So everything that does not have to
// wait for the close is done before: contributions are added up as they come, in worker order, as far as the next
// worker's is there; when all that were dealt a unit are in, their mean and its norms are ready before the chief has
// closed. A close that names others than those added up makes the sum anew: contributions stay as they came until then.
#include "ps/round_places.h"

#include "base/alloc.h"
#include "base/error.h"
#include "optim/clip.h"
#include "optim/weighted_sum.h"

#include <stdlib.h>

enum { STRETCH = 2048 }; // floats: the sum's and a contribution's 8 KiB each in the smallest cache

static size_t floats_of(const struct mst_piece *piece)
{
    return piece->n_rows * piece->row_floats;
}

// ---- life ----

static mst_status make_buffer(size_t n_bytes, float **out)
{
    void *memory;
    mst_status status = mst_try_alloc(n_bytes, &memory);
    *out = memory;
    return status;
}

static mst_status reserve(struct mst_round_place *place, size_t n_workers)
{
    size_t n_bytes = mst_bucket_bytes(place->bucket);
    place->contributions = mst_alloc_array(n_workers, sizeof *place->contributions);
    for (size_t w = 0; w < n_workers; w++)
        MST_TRY(make_buffer(n_bytes, &place->contributions[w]));
    return n_workers > 1 ? make_buffer(n_bytes, &place->sum) : MST_OK; // one alone needs no sum
}

mst_status mst_round_places_new(const struct mst_round_places_config *config, struct mst_round_places **out,
                                struct mst_error *err)
{
    *out = NULL;
    struct mst_round_places *rounds = mst_alloc(sizeof *rounds);
    struct mst_clip clip = mst_optimizer_clip(config->optimizer);
    rounds->clips_global = clip.global_norm > 0;
    rounds->clips_each = clip.norm > 0;
    rounds->n_workers = config->n_workers;
    rounds->n_places = config->n_buckets;
    rounds->places = mst_alloc_array(config->n_buckets, sizeof *rounds->places);
    size_t n_parts = 0;
    mst_status status = MST_OK;
    for (size_t i = 0; i < config->n_buckets; i++) {
        struct mst_round_place *place = &rounds->places[i];
        place->bucket = config->buckets[i];
        place->is_finite = true;
        if (place->bucket->is_frozen)
            continue;
        place->part = n_parts++;
        place->added = mst_alloc_array(config->n_workers, sizeof *place->added);
        place->norms = mst_alloc_array(place->bucket->n_pieces, sizeof *place->norms);
        if (status == MST_OK)
            status = reserve(place, config->n_workers);
    }
    if (status == MST_OK)
        status = mst_round_table_init(&rounds->table, config->n_workers, n_parts);
    if (status != MST_OK) {
        uint64_t n_bytes = mst_round_places_bytes(rounds);
        mst_round_places_free(rounds);
        return mst_fail(
            err, status,
            "the contributions of %zu workers to a synchronous round need %llu bytes beside the parameters, "
            "which are not to be had; more parameter servers or fewer workers would need less of each",
            config->n_workers, (unsigned long long)n_bytes);
    }
    *out = rounds;
    return MST_OK;
}

void mst_round_places_free(struct mst_round_places *rounds)
{
    if (!rounds)
        return;
    for (size_t i = 0; i < rounds->n_places; i++) {
        struct mst_round_place *place = &rounds->places[i];
        for (size_t w = 0; place->contributions && w < rounds->n_workers; w++)
            free(place->contributions[w]);
        free(place->contributions);
        free(place->sum);
        free(place->added);
        free(place->norms);
    }
    mst_round_table_fini(&rounds->table);
    free(rounds->places);
    free(rounds);
}

uint64_t mst_round_places_bytes(const struct mst_round_places *rounds)
{
    uint64_t n_buffers = rounds->n_workers + (rounds->n_workers > 1);
    uint64_t n_bytes = 0;
    for (size_t i = 0; i < rounds->n_places; i++)
        if (!rounds->places[i].bucket->is_frozen)
            n_bytes += n_buffers * mst_bucket_bytes(rounds->places[i].bucket);
    return n_bytes;
}

struct mst_round_place *mst_round_places_find(struct mst_round_places *rounds, uint32_t bucket)
{
    for (size_t i = 0; i < rounds->n_places; i++) // a handful
        if (rounds->places[i].bucket->id == bucket)
            return &rounds->places[i];
    return NULL;
}

// ---- sums, means, norms ----

static void forget_sum(struct mst_round_place *place)
{
    place->n_added = 0;
    place->total_weight = 0;
    place->is_mean = false;
    place->has_norms = false;
}

static double weight_of(const struct mst_round_places *rounds, uint32_t worker)
{
    return rounds->table.contributions[worker].weight;
}

static void note(const struct mst_round_places *rounds, struct mst_round_place *place, uint32_t worker)
{
    place->total_weight += weight_of(rounds, worker);
    place->added[place->n_added++] = worker;
}

// Adds those of `added` from `first` on, which are only noted, and divides if these are all. One pass over memory:
// every stretch stays in the cache until it is done.
static void add_up(const struct mst_round_places *rounds, struct mst_round_place *place, size_t first, bool is_whole)
{
    place->is_mean = is_whole;
    if (place->n_added < 2)
        return; // one alone is taken as it is, and added when a second one comes
    if (first == 1)
        first = 0;
    // Where nothing weighs anything the sum is of zeros, and so is the mean.
    bool divides = is_whole && (float)place->total_weight > 0;
    size_t n = place->bucket->n_floats;
    for (size_t at = 0; at < n; at += STRETCH) {
        size_t n_here = n - at < STRETCH ? n - at : STRETCH;
        float *sum = place->sum + at;
        for (size_t i = first; i < place->n_added; i++)
            mst_weighted_sum_add((float)weight_of(rounds, place->added[i]), place->contributions[place->added[i]] + at,
                                 i == 0, sum, n_here);
        if (divides)
            mst_weighted_sum_mean((float)place->total_weight, sum, sum, n_here);
    }
}

// The mean of what is added up; NULL if that is nothing. It may be changed: nobody needs it afterwards.
static float *mean_of(const struct mst_round_place *place)
{
    if (place->n_added == 0)
        return NULL;
    return place->n_added == 1 ? place->contributions[place->added[0]] : place->sum;
}

static void take_norms(const struct mst_round_places *rounds, struct mst_round_place *place)
{
    if (place->has_norms || !(rounds->clips_global || rounds->clips_each) || place->n_added == 0)
        return;
    const float *mean = mean_of(place);
    size_t at = 0;
    for (size_t i = 0; i < place->bucket->n_pieces; i++) {
        const struct mst_piece *piece = &place->bucket->pieces[i];
        place->norms[i] = (struct mst_square_norm){0};
        if (piece->update == MST_UPDATE_OPTIMIZER) // averages are not clipped
            mst_square_norm_add(&place->norms[i], mean + at, floats_of(piece));
        at += floats_of(piece);
    }
    place->has_norms = true;
}

void mst_round_places_contributed(struct mst_round_places *rounds, struct mst_round_place *place)
{
    const struct mst_round_table *table = &rounds->table;
    // Once there is a close, it has said what is added up.
    if (table->has_close && table->stored == table->applied + 1)
        return;
    size_t n_passed = 0; // of those that were dealt a unit, in worker order
    size_t first = place->n_added;
    bool is_whole = true;
    for (uint32_t w = 0; w < rounds->n_workers && is_whole; w++) {
        if (!table->dealt.workers[w].has_unit)
            continue;
        is_whole = mst_round_table_holds(table, place->part, w);
        if (is_whole && n_passed++ == place->n_added)
            note(rounds, place, w);
    }
    if (place->n_added > first)
        add_up(rounds, place, first, is_whole);
    if (is_whole)
        take_norms(rounds, place);
}

static bool begins_with_added(const struct mst_round_place *place, const struct mst_msg_close *close)
{
    if (place->n_added > close->n_ins || (place->is_mean && place->n_added != close->n_ins))
        return false;
    for (size_t i = 0; i < place->n_added; i++)
        if (place->added[i] != close->ins[i])
            return false;
    return true;
}

void mst_round_places_store(struct mst_round_places *rounds, const struct mst_msg_close *close)
{
    for (size_t i = 0; i < rounds->n_places && rounds->table.has_begun; i++) {
        struct mst_round_place *place = &rounds->places[i];
        if (place->bucket->is_frozen)
            continue;
        if (!begins_with_added(place, close))
            forget_sum(place);
        size_t first = place->n_added;
        for (size_t in = first; in < close->n_ins; in++)
            note(rounds, place, (uint32_t)close->ins[in]);
        if (!place->is_mean)
            add_up(rounds, place, first, true);
        take_norms(rounds, place);
    }
    mst_round_table_store(&rounds->table, close);
}

void mst_round_places_norms(const struct mst_round_places *rounds, struct mst_square_norm *norms, bool *is_here)
{
    for (size_t i = 0; i < rounds->n_places; i++) {
        const struct mst_round_place *place = &rounds->places[i];
        for (size_t p = 0; place->has_norms && p < place->bucket->n_pieces; p++) {
            const struct mst_piece *piece = &place->bucket->pieces[p];
            size_t group = rounds->clips_each ? piece->variable + (size_t)1 : 0;
            if (piece->update != MST_UPDATE_OPTIMIZER)
                continue;
            mst_square_norm_join(&norms[group], &place->norms[p]);
            is_here[group] = true;
        }
    }
}

// ---- acting ----

bool mst_round_places_can_act(struct mst_round_places *rounds)
{
    bool is_update = rounds->table.has_begun && rounds->table.n_ins > 0;
    for (size_t i = 0; i < rounds->n_places && is_update; i++)
        if (!rounds->places[i].bucket->is_frozen && !mst_bucket_can_apply(rounds->places[i].bucket))
            return false;
    return true;
}

static void scale(const struct mst_round_places *rounds, const struct mst_bucket *bucket, float *mean,
                  const double *scales, size_t n_scales)
{
    size_t at = 0;
    for (size_t i = 0; i < bucket->n_pieces; i++) {
        const struct mst_piece *piece = &bucket->pieces[i];
        size_t group = rounds->clips_each ? piece->variable + (size_t)1 : 0;
        if (piece->update == MST_UPDATE_OPTIMIZER && group < n_scales)
            mst_clip_scale((float)scales[group], mean + at, floats_of(piece));
        at += floats_of(piece);
    }
}

// What a bucket remembers of the workers that are in.
static void record_rows(const struct mst_round_places *rounds, struct mst_round_place *place)
{
    const struct mst_round_table *table = &rounds->table;
    for (size_t i = 0; i < place->n_added; i++) {
        const struct mst_round_contribution *in = &table->contributions[place->added[i]];
        struct mst_client_row row = {.number = in->number,
                                     .step = table->stored,
                                     .lease = table->dealt.epoch + 1,
                                     .offset = in->unit + 1,
                                     .version = table->stored};
        mst_client_table_record(&place->bucket->clients, place->added[i], &row);
    }
}

static void tell(struct mst_round_places *rounds, struct mst_round_place *place)
{
    struct mst_round_waiter *due = NULL;
    struct mst_round_waiter **end = &due;
    for (struct mst_round_waiter **at = &place->waiters; *at;) {
        struct mst_round_waiter *waiter = *at;
        if (!mst_round_table_is_due(&rounds->table, waiter->round)) {
            at = &waiter->next;
            continue;
        }
        *at = waiter->next;
        waiter->next = NULL;
        *end = waiter;
        end = &waiter->next;
    }
    while (due) {
        struct mst_round_waiter *waiter = due;
        due = waiter->next;
        struct mst_msg_turn turn;
        mst_round_table_turn(&rounds->table, waiter->worker, &turn);
        waiter->on_applied(waiter, place->bucket, &turn, place->is_finite);
    }
}

void mst_round_places_act(struct mst_round_places *rounds, const double *scales, size_t n_scales)
{
    // Rows are of the deal that ends here, so they are taken before the table moves on; nobody is told before.
    uint64_t round = rounds->table.stored;
    for (size_t i = 0; i < rounds->n_places; i++)
        if (!rounds->places[i].bucket->is_frozen)
            record_rows(rounds, &rounds->places[i]);
    mst_round_table_act(&rounds->table);
    for (size_t i = 0; i < rounds->n_places; i++) {
        struct mst_round_place *place = &rounds->places[i];
        float *mean = mean_of(place);
        if (mean)
            scale(rounds, place->bucket, mean, scales, n_scales);
        place->is_finite = mst_bucket_apply_round(place->bucket, round, mean);
        mst_bucket_count_round(place->bucket, place->n_added);
        forget_sum(place);
        tell(rounds, place);
    }
}

// ---- waiting ----

void mst_round_places_wait(struct mst_round_place *place, struct mst_round_waiter *waiter)
{
    waiter->next = place->waiters;
    place->waiters = waiter;
}

void mst_round_places_drop(struct mst_round_places *rounds,
                           bool (*is_gone)(const void *arg, struct mst_round_waiter *waiter), const void *arg)
{
    for (size_t i = 0; i < rounds->n_places; i++)
        for (struct mst_round_waiter **at = &rounds->places[i].waiters; *at;) {
            struct mst_round_waiter *next = (*at)->next;
            if (is_gone(arg, *at))
                *at = next;
            else
                at = &(*at)->next;
        }
}
