#include "chief/plan.h"

#include "base/alloc.h"
#include "base/error.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

struct part {
    uint32_t variable;
    uint32_t part;
    uint64_t row_offset;
    uint64_t n_rows;
    uint64_t row_bytes;
    enum mst_plan_update update;
    uint32_t ps;
};

struct part_list {
    struct part *parts;
    size_t n;
};

static uint64_t part_bytes(const struct part *part)
{
    return part->n_rows * part->row_bytes;
}

// TensorFlow's "div" rule: the first n_rows % n_parts parts have one row more.
static struct part_list cut_parts(const struct mst_plan_request *request)
{
    struct part_list list = {0};
    for (size_t v = 0; v < request->n_variables; v++) {
        const struct mst_plan_variable *variable = &request->variables[v];
        uint64_t base = variable->n_rows / variable->n_parts;
        uint64_t n_longer = variable->n_rows % variable->n_parts;
        list.parts = mst_realloc_array(list.parts, list.n + variable->n_parts, sizeof *list.parts);
        uint64_t row = 0;
        for (uint64_t p = 0; p < variable->n_parts; p++) {
            uint64_t n_rows = base + (p < n_longer);
            list.parts[list.n++] = (struct part){.variable = (uint32_t)v,
                                                 .part = (uint32_t)p,
                                                 .row_offset = row,
                                                 .n_rows = n_rows,
                                                 .row_bytes = variable->row_bytes,
                                                 .update = variable->update};
            row += n_rows;
        }
    }
    return list;
}

static int pushed_then_larger_first(const void *left, const void *right)
{
    const struct part *a = *(struct part *const *)left;
    const struct part *b = *(struct part *const *)right;
    bool is_frozen = a->update == MST_PLAN_FROZEN;
    if (is_frozen != (b->update == MST_PLAN_FROZEN))
        return is_frozen ? 1 : -1;
    if (part_bytes(a) != part_bytes(b))
        return part_bytes(a) > part_bytes(b) ? -1 : 1;
    return a < b ? -1 : a > b; // same array, so layer order breaks ties
}

static size_t least_loaded(const uint64_t *loads, size_t n)
{
    size_t least = 0;
    for (size_t i = 1; i < n; i++)
        if (loads[i] < loads[least])
            least = i;
    return least;
}

static void place_parts(struct part_list *list, struct mst_plan *plan)
{
    struct part **by_size = mst_alloc_array(list->n, sizeof *by_size);
    for (size_t i = 0; i < list->n; i++)
        by_size[i] = &list->parts[i];
    qsort(by_size, list->n, sizeof *by_size, pushed_then_larger_first);
    for (size_t i = 0; i < list->n; i++) {
        by_size[i]->ps = (uint32_t)least_loaded(plan->ps_bytes, plan->n_ps);
        plan->ps_bytes[by_size[i]->ps] += part_bytes(by_size[i]);
    }
    free(by_size);
}

struct bucketing {
    struct mst_plan *plan;
    uint64_t max_bytes;
    uint64_t open_bytes; // of the bucket being filled
    uint32_t first_bucket;
    uint64_t *bucket_bytes; // of this server's buckets of this kind
    size_t n_buckets;
};

static void add_piece(struct bucketing *b, const struct part *part, uint64_t row, uint64_t n_rows)
{
    uint64_t bytes = n_rows * part->row_bytes;
    // Averages are small: they fill up the last bucket rather than make another one to be pushed.
    bool is_full = (b->open_bytes >= MST_BUCKET_MIN_BYTES && part->update != MST_PLAN_AVERAGE) ||
                   b->open_bytes + bytes > b->max_bytes;
    if (b->n_buckets == 0 || (is_full && b->open_bytes > 0 && b->max_bytes != UINT64_MAX)) {
        b->bucket_bytes = mst_realloc_array(b->bucket_bytes, b->n_buckets + 1, sizeof(uint64_t));
        b->bucket_bytes[b->n_buckets++] = 0;
        b->open_bytes = 0;
    }
    struct mst_plan *plan = b->plan;
    plan->pieces = mst_realloc_array(plan->pieces, plan->n_pieces + 1, sizeof *plan->pieces);
    plan->pieces[plan->n_pieces++] = (struct mst_plan_piece){.variable = part->variable,
                                                             .part = part->part,
                                                             .row_offset = part->row_offset + row,
                                                             .n_rows = n_rows,
                                                             .ps = part->ps,
                                                             .bucket = b->first_bucket + (uint32_t)b->n_buckets - 1};
    b->open_bytes += bytes;
    b->bucket_bytes[b->n_buckets - 1] += bytes;
}

// A row longer than a bucket is a bucket of its own.
static void cut_part(struct bucketing *b, const struct part *part)
{
    uint64_t rows_per_piece = part->row_bytes ? b->max_bytes / part->row_bytes : part->n_rows;
    if (rows_per_piece == 0)
        rows_per_piece = 1;
    for (uint64_t row = 0; row < part->n_rows; row += rows_per_piece) {
        uint64_t left = part->n_rows - row;
        add_piece(b, part, row, left < rows_per_piece ? left : rows_per_piece);
    }
}

static void assign_threads(struct bucketing *b, size_t first_piece, size_t n_threads)
{
    uint64_t *loads = mst_alloc_array(n_threads, sizeof *loads);
    uint32_t *threads = mst_alloc_array(b->n_buckets, sizeof *threads);
    for (size_t i = 0; i < b->n_buckets; i++) {
        threads[i] = (uint32_t)least_loaded(loads, n_threads);
        loads[threads[i]] += b->bucket_bytes[i];
    }
    for (size_t i = first_piece; i < b->plan->n_pieces; i++)
        b->plan->pieces[i].thread = threads[b->plan->pieces[i].bucket - b->first_bucket];
    free(threads);
    free(loads);
}

// The buckets of one server: of what is pushed, or of what is frozen.
static void cut_server(struct mst_plan *plan, const struct mst_plan_request *request, const struct part_list *list,
                       uint32_t ps, enum mst_plan_update first, enum mst_plan_update last)
{
    struct bucketing b = {.plan = plan, .max_bytes = request->bucket_max_bytes};
    b.first_bucket = (uint32_t)plan->n_buckets;
    size_t first_piece = plan->n_pieces;
    for (unsigned update = first; update <= last; update++)
        for (size_t i = 0; i < list->n; i++)
            if (list->parts[i].ps == ps && list->parts[i].update == update)
                cut_part(&b, &list->parts[i]);
    assign_threads(&b, first_piece, request->ps[ps].n_threads);
    plan->n_buckets += b.n_buckets;
    free(b.bucket_bytes);
}

static bool is_anything_trained(const struct mst_plan_request *request)
{
    for (size_t v = 0; v < request->n_variables; v++)
        if (request->variables[v].update != MST_PLAN_FROZEN)
            return true;
    return false;
}

mst_status mst_plan_new(const struct mst_plan_request *request, struct mst_plan **out, struct mst_error *err)
{
    *out = NULL;
    if (request->n_ps == 0)
        return mst_fail(err, MST_INVALID_ARGUMENT, "there is no parameter server to place variables on");
    if (request->n_variables == 0)
        return mst_fail(err, MST_INVALID_ARGUMENT, "the model has no variables to train; add a layer that has some");
    if (!is_anything_trained(request))
        return mst_fail(err, MST_INVALID_ARGUMENT,
                        "every variable of the model is frozen; set trainable to true for a layer that has some");
    struct mst_plan *plan = mst_alloc(sizeof *plan);
    plan->n_ps = request->n_ps;
    plan->ps_bytes = mst_alloc_array(request->n_ps, sizeof(uint64_t));
    struct part_list list = cut_parts(request);
    place_parts(&list, plan);
    for (uint32_t ps = 0; ps < request->n_ps; ps++)
        cut_server(plan, request, &list, ps, MST_PLAN_OPTIMIZER, MST_PLAN_AVERAGE);
    for (uint32_t ps = 0; ps < request->n_ps; ps++)
        cut_server(plan, request, &list, ps, MST_PLAN_FROZEN, MST_PLAN_FROZEN);
    free(list.parts);
    *out = plan;
    return MST_OK;
}

void mst_plan_free(struct mst_plan *plan)
{
    if (!plan)
        return;
    free(plan->pieces);
    free(plan->ps_bytes);
    free(plan);
}

char *mst_plan_text(const struct mst_plan *plan)
{
    char *text = mst_strdup("");
    for (size_t ps = 0; ps < plan->n_ps; ps++) {
        size_t n_buckets = 0;
        uint32_t last = UINT32_MAX;
        for (size_t i = 0; i < plan->n_pieces; i++) {
            n_buckets += plan->pieces[i].ps == ps && plan->pieces[i].bucket != last;
            if (plan->pieces[i].ps == ps)
                last = plan->pieces[i].bucket;
        }
        char *longer = mst_text("%s%sps-%zu: %llu bytes in %zu bucket%s", text, ps ? "; " : "", ps,
                                (unsigned long long)plan->ps_bytes[ps], n_buckets, n_buckets == 1 ? "" : "s");
        free(text);
        text = longer;
    }
    return text;
}
