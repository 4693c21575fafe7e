// Everything is driven by two facts: the session says which batch may be computed, and answers of the exchange say when
// the next one may. With a direct carrier answers come from within push, with sockets from the loop; so answers only note
// what changed, and `advance` alone computes. It never calls itself.
#include "worker/trainer.h"

#include "base/alloc.h"
#include "base/error.h"
#include "base/log.h"

#include <stdio.h>
#include <stdlib.h>

struct mst_trainer {
    struct mst_trainer_config config;
    struct mst_exchange *exchange;
    struct mst_session session;
    struct mst_session_push push; // of the step in flight
    double weight;
    unsigned *n_missing; // by bucket: gradients of it that are not ready in this step
    uint64_t n_steps;
    struct mst_training_sums open;   // of the lease being trained
    struct mst_training_sums closed; // of leases done and not yet told
    uint64_t staleness; // of the step in flight: the largest of its buckets
    bool is_advancing;
    bool is_failed;
};

mst_status mst_trainer_new(const struct mst_trainer_config *config, struct mst_trainer **out, struct mst_error *err)
{
    *out = NULL;
    void *n_missing;
    if (mst_try_alloc(config->layout->n_buckets * sizeof(unsigned), &n_missing) != MST_OK)
        return mst_fail(err, MST_RESOURCE_EXHAUSTED, "no memory for %zu buckets", config->layout->n_buckets);
    struct mst_trainer *trainer = mst_alloc(sizeof *trainer);
    trainer->config = *config;
    trainer->n_missing = n_missing;
    mst_session_init(&trainer->session, config->layout->n_buckets);
    *out = trainer;
    return MST_OK;
}

void mst_trainer_free(struct mst_trainer *trainer)
{
    if (!trainer)
        return;
    mst_session_fini(&trainer->session);
    free(trainer->n_missing);
    free(trainer);
}

void mst_trainer_set_exchange(struct mst_trainer *trainer, struct mst_exchange *exchange)
{
    trainer->exchange = exchange;
}

static void fail(struct mst_trainer *trainer, mst_status status, const char *text)
{
    if (trainer->is_failed)
        return;
    trainer->is_failed = true;
    trainer->config.events.on_failed(trainer->config.events.arg, status, text);
}

// Asks the prefetch queue for the batches that will be computed next and were not asked for yet.
static void fill_prefetch(struct mst_trainer *trainer)
{
    struct mst_prefetch *prefetch = trainer->config.prefetch;
    struct mst_session_batch batch;
    // The batch whose pushes are not answered yet still stands first in the session.
    size_t in_flight = trainer->session.step > 0 && trainer->session.n_outstanding > 0;
    size_t ahead = mst_prefetch_n_pending(prefetch) + in_flight;
    while (mst_prefetch_n_free(prefetch) > 0 && mst_session_batch_ahead(&trainer->session, ahead, &batch)) {
        mst_prefetch_request(prefetch, batch.epoch, batch.batch);
        ahead++;
    }
}

static void on_gradient(void *context, size_t variable)
{
    struct mst_trainer *trainer = context;
    const struct mst_layout *layout = trainer->config.layout;
    for (size_t r = 0; r < layout->n_runs; r++) {
        if (layout->runs[r].variable != variable)
            continue;
        size_t bucket = layout->runs[r].bucket;
        if (--trainer->n_missing[bucket] == 0)
            trainer->exchange->ops->push(trainer->exchange, bucket, &trainer->push, trainer->weight);
    }
}

static void note_result(struct mst_trainer *trainer, const struct mst_program_result *result, size_t n_examples)
{
    struct mst_training_sums *sums = &trainer->open;
    sums->steps++;
    sums->examples += n_examples;
    sums->loss_sum += result->loss_sum;
    sums->loss_weight += result->weight;
    for (size_t i = 0; i < result->n_metrics; i++) {
        sums->metric_sums[i] += result->metric_sums[i];
        sums->metric_weights[i] += result->weight;
    }
}

static void compute(struct mst_trainer *trainer, const struct mst_batch *batch)
{
    const struct mst_layout *layout = trainer->config.layout;
    mst_session_push_all(&trainer->session, &trainer->push);
    trainer->weight = (double)batch->n_examples;
    trainer->staleness = 0;
    for (size_t b = 0; b < layout->n_buckets; b++)
        trainer->n_missing[b] = (unsigned)layout->buckets[b].n;
    struct mst_program_step step = {.params = trainer->exchange->ops->params(trainer->exchange),
                                    .grads = trainer->config.grads,
                                    .features = batch->features,
                                    .labels = batch->labels,
                                    .n_examples = batch->n_examples,
                                    .epoch = batch->epoch,
                                    .batch = batch->number,
                                    .on_gradient = on_gradient,
                                    .context = trainer};
    struct mst_program_result result;
    struct mst_error err;
    mst_status status = mst_program_run(trainer->config.program, &step, &result, &err);
    if (status != MST_OK) {
        fail(trainer, status, err.text);
    } else if (!result.loss_is_finite) {
        snprintf(err.text, sizeof err.text,
                 "the loss is not a number at step %llu of this worker (epoch %llu, batch %llu): the first layer with NaN "
                 "or Inf is %s; lower the learning rate or check the data",
                 (unsigned long long)trainer->push.step, (unsigned long long)batch->epoch + 1,
                 (unsigned long long)batch->number, result.bad_layer_name);
        fail(trainer, MST_DATA_LOSS, err.text);
    } else {
        note_result(trainer, &result, batch->n_examples);
    }
}

static bool train_one(struct mst_trainer *trainer)
{
    struct mst_session_batch next;
    if (trainer->is_failed || !mst_session_next_batch(&trainer->session, &next))
        return false;
    fill_prefetch(trainer);
    const struct mst_batch *batch;
    struct mst_error err;
    mst_status status = mst_prefetch_take(trainer->config.prefetch, &batch, &err);
    if (status != MST_OK) {
        fail(trainer, status, err.text);
        return false;
    }
    MST_ASSERT(batch->epoch == next.epoch && batch->number == next.batch);
    compute(trainer, batch);
    mst_prefetch_release(trainer->config.prefetch);
    return true;
}

static void advance(struct mst_trainer *trainer)
{
    if (trainer->is_advancing)
        return;
    trainer->is_advancing = true;
    while (train_one(trainer))
        mst_loop_poll(trainer->config.loop); // control messages, and answers that are there already
    if (!trainer->is_failed)
        fill_prefetch(trainer); // while the answers are under way
    trainer->is_advancing = false;
}

void mst_trainer_admitted(struct mst_trainer *trainer, uint64_t number)
{
    if (number == trainer->session.number)
        return;
    mst_session_admitted(&trainer->session, number);
    trainer->exchange->ops->pull(trainer->exchange, number);
    trainer->config.events.wants_lease(trainer->config.events.arg);
    advance(trainer);
}

void mst_trainer_fenced(struct mst_trainer *trainer)
{
    mst_session_fenced(&trainer->session);
    trainer->exchange->ops->drop(trainer->exchange);
    mst_prefetch_drop(trainer->config.prefetch);
    trainer->open = (struct mst_training_sums){0};
    trainer->closed = (struct mst_training_sums){0};
}

void mst_trainer_lease(struct mst_trainer *trainer, uint64_t number, const struct mst_session_lease *lease)
{
    mst_session_lease(&trainer->session, number, lease);
    trainer->config.events.wants_lease(trainer->config.events.arg);
    advance(trainer);
}

bool mst_trainer_take_question(struct mst_trainer *trainer, struct mst_session_request *out,
                               struct mst_training_sums *sums)
{
    if (!mst_session_wants_lease(&trainer->session, out))
        return false;
    *sums = trainer->closed;
    trainer->closed = (struct mst_training_sums){0};
    return true;
}

static void step_done(struct mst_trainer *trainer, uint64_t done_before)
{
    trainer->n_steps++;
    trainer->open.staleness_sum += trainer->staleness;
    if (trainer->open.staleness_max < trainer->staleness)
        trainer->open.staleness_max = trainer->staleness;
    trainer->config.events.on_step(trainer->config.events.arg, trainer->n_steps);
    if (trainer->session.done_seq == done_before)
        return;
    mst_training_sums_add(&trainer->closed, &trainer->open);
    trainer->open = (struct mst_training_sums){0};
    trainer->config.events.wants_lease(trainer->config.events.arg);
}

static void on_answered(void *arg, const struct mst_exchange_answer *answer)
{
    struct mst_trainer *trainer = arg;
    uint64_t done_before = trainer->session.done_seq;
    if (!answer->is_finite) {
        char text[160];
        snprintf(text, sizeof text, "step %llu made parameters of bucket %zu NaN or Inf; lower the learning rate",
                 (unsigned long long)answer->step, answer->bucket);
        fail(trainer, MST_DATA_LOSS, text);
        return;
    }
    if (trainer->staleness < answer->staleness)
        trainer->staleness = answer->staleness;
    if (answer->step == 0)
        mst_session_pulled(&trainer->session, answer->number, answer->bucket);
    else if (mst_session_pushed(&trainer->session, answer->number, answer->step, answer->bucket))
        step_done(trainer, done_before);
    advance(trainer);
}

static void on_refused(void *arg, mst_status status, const char *text)
{
    struct mst_trainer *trainer = arg;
    if (status == MST_FAILED_PRECONDITION)
        trainer->config.events.on_fenced(trainer->config.events.arg);
    else
        fail(trainer, status, text);
}

struct mst_exchange_events mst_trainer_exchange_events(struct mst_trainer *trainer)
{
    return (struct mst_exchange_events){on_answered, on_refused, trainer};
}
