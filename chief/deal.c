#include "chief/deal.h"

#include "base/alloc.h"
#include "base/error.h"

#include <stdlib.h>
#include <string.h>

static uint64_t n_regular(const struct mst_deal_shape *shape)
{
    return (shape->n_units - 1) / shape->n_workers + 1;
}

// Units that regular rounds from number k on have.
static uint64_t n_units_from(const struct mst_deal_shape *shape, uint64_t k)
{
    return k < n_regular(shape) ? shape->n_units - k * shape->n_workers : 0;
}

static void plan_regular(struct mst_deal *deal, const struct mst_deal_shape *shape)
{
    uint64_t n = n_units_from(shape, deal->k);
    deal->n_plan = n < shape->n_workers ? (size_t)n : shape->n_workers;
    deal->plan = mst_alloc_array(deal->n_plan + 1, sizeof *deal->plan);
    for (size_t w = 0; w < deal->n_plan; w++)
        deal->plan[w] = (struct mst_msg_part){(uint32_t)w, deal->k * shape->n_workers + w};
}

void mst_deal_at(struct mst_deal *deal, const struct mst_deal_shape *shape, uint64_t epoch, uint64_t k)
{
    *deal = (struct mst_deal){.epoch = epoch, .k = k};
    if (epoch < shape->n_epochs)
        plan_regular(deal, shape);
}

static void plan_tail(struct mst_deal *deal, const struct mst_deal_shape *shape, const bool *is_living)
{
    size_t n_living = 0;
    for (size_t w = 0; w < shape->n_workers; w++)
        n_living += is_living[w];
    deal->plan = mst_alloc_array(shape->n_workers, sizeof *deal->plan);
    for (size_t w = 0; w < shape->n_workers && deal->n_plan < deal->n_tail; w++) {
        if (n_living > 0 && !is_living[w])
            continue;
        deal->plan[deal->n_plan] = (struct mst_msg_part){(uint32_t)w, deal->tail[deal->n_plan]};
        deal->n_plan++;
    }
    deal->n_tail -= deal->n_plan;
    memmove(deal->tail, deal->tail + deal->n_plan, deal->n_tail * sizeof *deal->tail);
}

void mst_deal_next(struct mst_deal *deal, const struct mst_deal_shape *shape, const struct mst_deal *before,
                   const bool *is_in, const bool *is_living)
{
    *deal = (struct mst_deal){.epoch = before->epoch, .k = before->k};
    deal->tail = mst_alloc_array(before->n_tail + before->n_plan + 1, sizeof *deal->tail);
    if (before->n_tail)
        memcpy(deal->tail, before->tail, before->n_tail * sizeof *deal->tail);
    deal->n_tail = before->n_tail;
    for (size_t i = 0; i < before->n_plan; i++)
        if (!is_in[before->plan[i].worker])
            deal->tail[deal->n_tail++] = before->plan[i].unit;
    bool has_regular = before->k + 1 < n_regular(shape);
    bool is_long = deal->n_tail > MST_DEAL_TAIL_MAX;
    if (has_regular && !is_long) {
        deal->k++;
        plan_regular(deal, shape);
    } else if (deal->n_tail > 0) {
        deal->k += !has_regular;
        plan_tail(deal, shape, is_living);
    } else {
        mst_deal_fini(deal);
        mst_deal_at(deal, shape, before->epoch + 1, 0);
    }
}

// Regular rounds go on from the first that has none of the units dealt so far; what lies before it goes to the tail.
void mst_deal_anew(struct mst_deal *deal, const struct mst_deal_shape *shape, const struct mst_deal *before,
                   size_t n_workers_before)
{
    *deal = (struct mst_deal){.epoch = before->epoch};
    if (before->n_plan == 0)
        return;
    uint64_t first = (before->k + 1) * n_workers_before;
    if (first > shape->n_units)
        first = shape->n_units;
    uint64_t k = (first - 1) / shape->n_workers + 1;
    deal->tail = mst_alloc_array(before->n_plan + before->n_tail + shape->n_workers, sizeof *deal->tail);
    for (size_t i = 0; i < before->n_plan; i++)
        deal->tail[deal->n_tail++] = before->plan[i].unit;
    for (size_t i = 0; i < before->n_tail; i++)
        deal->tail[deal->n_tail++] = before->tail[i];
    for (uint64_t unit = first; unit < shape->n_units && unit < k * shape->n_workers; unit++)
        deal->tail[deal->n_tail++] = unit;
    bool *is_living = mst_alloc_array(shape->n_workers, sizeof *is_living); // nobody: all get some
    deal->k = k - 1;
    plan_tail(deal, shape, is_living);
    free(is_living);
}

void mst_deal_fini(struct mst_deal *deal)
{
    free(deal->tail);
    free(deal->plan);
    *deal = (struct mst_deal){0};
}

uint64_t mst_deal_n_left(const struct mst_deal *deal, const struct mst_deal_shape *shape)
{
    return deal->n_plan == 0 ? 0 : deal->n_plan + deal->n_tail + n_units_from(shape, deal->k + 1);
}

mst_status mst_deal_read(struct mst_deal *deal, const struct mst_deal_shape *shape, const struct mst_msg_deal *message,
                         struct mst_error *err)
{
    *deal = (struct mst_deal){0};
    bool is_ours = message->epoch <= shape->n_epochs && message->n_plan <= shape->n_workers &&
                   (message->n_plan > 0) <= (message->epoch < shape->n_epochs);
    for (size_t i = 0; is_ours && i < message->n_plan; i++)
        is_ours = message->plan[i].worker < shape->n_workers && message->plan[i].unit < shape->n_units &&
                  (i == 0 || message->plan[i - 1].worker < message->plan[i].worker);
    for (size_t i = 0; is_ours && i < message->n_tail; i++)
        is_ours = message->tail[i] < shape->n_units;
    if (!is_ours)
        return mst_fail(err, MST_INVALID_ARGUMENT,
                        "a deal of epoch %llu names workers or units that a job of %zu workers and %llu units has not",
                        (unsigned long long)message->epoch, shape->n_workers, (unsigned long long)shape->n_units);
    *deal = (struct mst_deal){.epoch = message->epoch, .k = message->k};
    deal->tail = mst_alloc_array(message->n_tail + 1, sizeof *deal->tail);
    deal->plan = mst_alloc_array(message->n_plan + 1, sizeof *deal->plan);
    deal->n_tail = message->n_tail;
    deal->n_plan = message->n_plan;
    if (deal->n_tail)
        memcpy(deal->tail, message->tail, deal->n_tail * sizeof *deal->tail);
    if (deal->n_plan)
        memcpy(deal->plan, message->plan, deal->n_plan * sizeof *deal->plan);
    return MST_OK;
}

struct mst_msg_deal mst_deal_message(const struct mst_deal *deal)
{
    return (struct mst_msg_deal){.epoch = deal->epoch,
                                 .k = deal->k,
                                 .n_tail = deal->n_tail,
                                 .tail = deal->tail,
                                 .n_plan = deal->n_plan,
                                 .plan = deal->plan};
}
