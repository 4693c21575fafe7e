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
#include <string.h>

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
    if (n_workers == 1)
        return MST_OK; // one alone needs no sum
    place->sum = mst_round_mean_new(place);
    return place->sum ? MST_OK : MST_RESOURCE_EXHAUSTED;
}

struct mst_round_mean *mst_round_mean_new(struct mst_round_place *place)
{
    struct mst_round_mean *mean = place->free_means;
    if (mean) {
        place->free_means = mean->next_free;
        place->n_free_means--;
        mean->n_refs = 1;
        return mean;
    }
    float *floats;
    if (make_buffer(mst_bucket_bytes(place->bucket), &floats) != MST_OK)
        return NULL;
    mean = mst_alloc(sizeof *mean);
    *mean = (struct mst_round_mean){.place = place, .n_refs = 1, .floats = floats};
    return mean;
}

struct mst_round_mean *mst_round_mean_ref(struct mst_round_mean *mean)
{
    mean->n_refs++;
    return mean;
}

static void free_mean(struct mst_round_mean *mean)
{
    free(mean->floats);
    free(mean);
}

void mst_round_mean_unref(struct mst_round_mean *mean)
{
    if (!mean || --mean->n_refs > 0)
        return;
    struct mst_round_place *place = mean->place;
    if (place->n_free_means == MST_ROUND_MEANS_KEPT) {
        free_mean(mean);
        return;
    }
    mean->next_free = place->free_means;
    place->free_means = mean;
    place->n_free_means++;
}

static void free_means(struct mst_round_place *place)
{
    mst_round_mean_unref(place->sum);
    mst_round_mean_unref(place->stored);
    mst_round_mean_unref(place->coming);
    while (place->free_means) {
        struct mst_round_mean *mean = place->free_means;
        place->free_means = mean->next_free;
        free_mean(mean);
    }
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
        free_means(place);
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
    place->is_lent = false;
}

// True if there is memory to add up in.
static bool has_sum(const struct mst_round_places *rounds, struct mst_round_place *place)
{
    if (!place->sum && (rounds->n_workers > 1 || rounds->is_replicated))
        place->sum = mst_round_mean_new(place);
    return place->sum || (rounds->n_workers == 1 && !rounds->is_replicated);
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
        float *sum = place->sum->floats + at;
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
    if (place->stored)
        return place->stored->floats;
    if (place->n_added == 0)
        return NULL;
    return place->n_added == 1 ? place->contributions[place->added[0]] : place->sum->floats;
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
    if ((table->has_close && table->stored == table->applied + 1) || !has_sum(rounds, place))
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

bool mst_round_places_can_store(struct mst_round_places *rounds)
{
    for (size_t i = 0; i < rounds->n_places; i++)
        if (!rounds->places[i].bucket->is_frozen && !has_sum(rounds, &rounds->places[i]))
            return false;
    return true;
}

// The mean becomes something that can be shared. One contribution alone goes with its memory.
static void keep_mean(struct mst_round_place *place, const struct mst_msg_close *close)
{
    if (place->n_added == 0)
        return;
    if (place->n_added == 1) {
        float **alone = &place->contributions[place->added[0]];
        float *floats = *alone;
        *alone = place->sum->floats;
        place->sum->floats = floats;
        place->is_lent = true;
    }
    place->stored = place->sum;
    place->stored->round = close->round;
    place->stored->attempt = close->attempt;
    place->sum = NULL;
}

// The close before is replaced by a later attempt, which is made from contributions.
static void give_mean_up(struct mst_round_place *place)
{
    if (!place->stored)
        return;
    if (place->is_lent)
        memcpy(place->contributions[place->added[0]], place->stored->floats, mst_bucket_bytes(place->bucket));
    mst_round_mean_unref(place->stored);
    place->stored = NULL;
    forget_sum(place);
}

void mst_round_places_store(struct mst_round_places *rounds, const struct mst_msg_close *close)
{
    for (size_t i = 0; i < rounds->n_places && rounds->table.has_begun; i++) {
        struct mst_round_place *place = &rounds->places[i];
        if (place->bucket->is_frozen)
            continue;
        give_mean_up(place);
        if (!begins_with_added(place, close))
            forget_sum(place);
        size_t first = place->n_added;
        for (size_t in = first; in < close->n_ins; in++)
            note(rounds, place, (uint32_t)close->ins[in]);
        if (!place->is_mean)
            add_up(rounds, place, first, true);
        take_norms(rounds, place);
        if (rounds->is_replicated)
            keep_mean(place, close);
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
    for (size_t i = 0; i < rounds->n_places && is_update; i++) {
        struct mst_round_place *place = &rounds->places[i];
        bool is_shared = place->stored && place->stored->n_refs > 1; // it cannot be clipped where it is
        if (!place->bucket->is_frozen &&
            (!mst_bucket_can_apply(place->bucket) || (is_shared && !has_sum(rounds, place))))
            return false;
    }
    return true;
}

// Returns the place's mean, clipped; NULL if there is none.
static const float *scale(const struct mst_round_places *rounds, struct mst_round_place *place, const double *scales,
                          size_t n_scales)
{
    const struct mst_bucket *bucket = place->bucket;
    float *mean = mean_of(place);
    size_t at = 0;
    if (!mean || n_scales == 0)
        return mean;
    if (place->stored && place->stored->n_refs > 1) { // a follower is still being sent it
        memcpy(place->sum->floats, mean, mst_bucket_bytes(bucket));
        mean = place->sum->floats;
    }
    for (size_t i = 0; i < bucket->n_pieces; i++) {
        const struct mst_piece *piece = &bucket->pieces[i];
        size_t group = rounds->clips_each ? piece->variable + (size_t)1 : 0;
        if (piece->update == MST_UPDATE_OPTIMIZER && group < n_scales)
            mst_clip_scale((float)scales[group], mean + at, floats_of(piece));
        at += floats_of(piece);
    }
    return mean;
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

static void forget_means(struct mst_round_place *place)
{
    mst_round_mean_unref(place->stored);
    mst_round_mean_unref(place->coming);
    place->stored = NULL;
    place->coming = NULL;
    forget_sum(place);
}

bool mst_round_place_is_past(const struct mst_round_places *rounds, const struct mst_round_place *place)
{
    const struct mst_round_table *table = &rounds->table;
    return rounds->is_replicated && table->has_begun && place->bucket->current->counter >= table->stored;
}

// The update of a round, or the version without one.
static void apply(const struct mst_round_places *rounds, struct mst_round_place *place, uint64_t round,
                  const float *mean)
{
    if (mean && rounds->is_replicated)
        place->is_finite = mst_bucket_follow_round(place->bucket, round, mean, rounds->rate);
    else
        place->is_finite = mst_bucket_apply_round(place->bucket, round, mean);
}

void mst_round_places_act(struct mst_round_places *rounds, const double *scales, size_t n_scales)
{
    // Rows are of the deal that ends here, so they are taken before the table moves on; nobody is told before.
    uint64_t round = rounds->table.stored;
    bool begun = rounds->table.has_begun;
    size_t n_ins = begun ? rounds->table.n_ins : 0;
    for (size_t i = 0; i < rounds->n_places; i++)
        if (!rounds->places[i].bucket->is_frozen)
            record_rows(rounds, &rounds->places[i]);
    mst_round_table_act(&rounds->table);
    for (size_t i = 0; i < rounds->n_places; i++) {
        struct mst_round_place *place = &rounds->places[i];
        if (!begun || !rounds->is_replicated || place->bucket->current->counter < round)
            apply(rounds, place, round, scale(rounds, place, scales, n_scales));
        mst_bucket_count_round(place->bucket, place->bucket->is_frozen ? 0 : n_ins);
        forget_means(place);
        if (!rounds->is_replicated)
            tell(rounds, place);
    }
}

// ---- with replicas ----

void mst_round_places_tell(struct mst_round_places *rounds)
{
    for (size_t i = 0; i < rounds->n_places; i++)
        tell(rounds, &rounds->places[i]);
}

void mst_round_places_forget(struct mst_round_places *rounds)
{
    for (size_t i = 0; i < rounds->n_places; i++)
        forget_sum(&rounds->places[i]);
    mst_round_table_drop(&rounds->table);
}

void mst_round_places_follow_close(struct mst_round_places *rounds, const struct mst_msg_close *close,
                                   const bool *is_here)
{
    bool takes = rounds->table.has_begun && close->n_ins > 0; // what is there else is of a close that never came
    for (size_t i = 0; i < rounds->n_places; i++) {
        struct mst_round_place *place = &rounds->places[i];
        struct mst_round_mean *mean = place->coming;
        place->coming = NULL;
        forget_means(place);
        if (takes && (!is_here || is_here[i]))
            place->stored = mean;
        else
            mst_round_mean_unref(mean);
    }
    mst_round_table_store(&rounds->table, close);
}

void mst_round_places_follow_apply(struct mst_round_places *rounds, const struct mst_round_applying *applying)
{
    uint64_t round = rounds->table.stored;
    bool begun = rounds->table.has_begun;
    rounds->rate = applying->rate;
    mst_round_table_act(&rounds->table);
    for (size_t i = 0; i < rounds->n_places; i++) {
        struct mst_round_place *place = &rounds->places[i];
        if (applying->is_here && !applying->is_here[i]) {
            forget_means(place);
            continue;
        }
        if (!begun || place->bucket->current->counter < round)
            apply(rounds, place, round, scale(rounds, place, applying->scales, applying->n_scales));
        mst_bucket_count_round(place->bucket, 0);
        forget_means(place);
    }
}

void mst_round_place_replaced(struct mst_round_place *place, struct mst_round_mean *stored)
{
    forget_means(place);
    place->stored = stored;
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
