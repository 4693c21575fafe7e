// Everything is driven by two facts: the session says which batch may be computed, and answers of the exchange say when
// the next one may. Answers come from within push (direct carrier) or from the loop (sockets) and only note what
// changed; the step itself is the loop's work between its rounds, so that it may poll the sockets while it computes.
#include "worker/trainer.h"

#include "base/alloc.h"
#include "base/error.h"

#include <stdio.h>
#include <stdlib.h>

struct mst_trainer {
    struct mst_trainer_config config;
    struct mst_exchange *exchange;
    struct mst_session session;
    struct mst_session_push push; // of the step in flight
    double weight;
    size_t n_examples;   // of the batch that is trained
    unsigned *n_missing; // by bucket: gradients of it that are not ready in this step
    size_t n_variables;  // that are not frozen
    size_t n_ready;      // of them, in this step
    uint64_t n_steps;
    struct mst_training_sums open;   // of the lease being trained
    struct mst_training_sums closed; // of all leases done under this number
    uint64_t staleness;              // of the step in flight: the largest of its buckets
    bool is_computing;
    bool is_step_done;  // all buckets have answered
    bool is_lease_done; // and it was the last step of its lease
    bool is_draining;   // begins no further step
    bool is_failed;
};

static bool train_one(void *arg);

mst_status mst_trainer_new(const struct mst_trainer_config *config, struct mst_trainer **out, struct mst_error *err)
{
    *out = NULL;
    void *n_missing;
    if (mst_try_alloc(config->layout->n_buckets * sizeof(unsigned), &n_missing) != MST_OK)
        return mst_fail(err, MST_RESOURCE_EXHAUSTED, "no memory for %zu buckets", config->layout->n_buckets);
    struct mst_trainer *trainer = mst_alloc(sizeof *trainer);
    trainer->config = *config;
    mst_training_sums_init(&trainer->open, config->n_sums);
    mst_training_sums_init(&trainer->closed, config->n_sums);
    trainer->n_missing = n_missing;
    for (size_t v = 0; v < mst_model_n_variables(config->model); v++)
        trainer->n_variables += mst_model_variable(config->model, v)->update != MST_UPDATE_FROZEN;
    mst_session_init(&trainer->session, config->layout->n_buckets, config->layout->n_pushed);
    mst_loop_set_work(config->loop, train_one, trainer);
    *out = trainer;
    return MST_OK;
}

void mst_trainer_free(struct mst_trainer *trainer)
{
    if (!trainer)
        return;
    mst_loop_set_work(trainer->config.loop, NULL, NULL);
    mst_session_fini(&trainer->session);
    mst_training_sums_fini(&trainer->open);
    mst_training_sums_fini(&trainer->closed);
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

// False: fenced while it computed; the step is nobody's any more.
static bool is_ours(const struct mst_trainer *trainer)
{
    return trainer->push.number == trainer->session.number;
}

static void push_bucket(struct mst_trainer *trainer, size_t bucket)
{
    if (!is_ours(trainer))
        return;
    trainer->exchange->ops->push(trainer->exchange, bucket, &trainer->push, trainer->weight);
    mst_loop_poll(trainer->config.loop); // what did not fit into the socket goes out while the next layer is computed
}

// Statistics for averages are no gradients, and frozen variables have none.
static bool is_clipped(const struct mst_trainer *trainer, size_t variable)
{
    return mst_model_variable(trainer->config.model, variable)->update == MST_UPDATE_OPTIMIZER;
}

static void clip_all(struct mst_trainer *trainer)
{
    const struct mst_model *model = trainer->config.model;
    float *const *grads = trainer->config.grads;
    double sum = 0;
    for (size_t v = 0; v < mst_model_n_variables(model); v++)
        if (is_clipped(trainer, v))
            sum += mst_clip_square_sum(grads[v], mst_model_variable(model, v)->n_elements);
    float scale = mst_clip_global_scale(trainer->config.clip.global_norm, sum);
    for (size_t v = 0; v < mst_model_n_variables(model); v++)
        if (is_clipped(trainer, v))
            mst_clip_scale(scale, grads[v], mst_model_variable(model, v)->n_elements);
}

static void on_gradient(void *context, size_t variable)
{
    struct mst_trainer *trainer = context;
    const struct mst_clip *clip = &trainer->config.clip;
    const struct mst_layout *layout = trainer->config.layout;
    trainer->n_ready++;
    if (clip->global_norm > 0) {
        if (trainer->n_ready < trainer->n_variables)
            return;
        clip_all(trainer);
        for (size_t b = layout->n_pushed; b-- > 0;)
            push_bucket(trainer, b);
        return;
    }
    if (clip->norm > 0 && is_clipped(trainer, variable))
        mst_clip_by_norm(clip->norm, trainer->config.grads[variable],
                         mst_model_variable(trainer->config.model, variable)->n_elements);
    for (size_t r = 0; r < layout->n_runs; r++)
        if (layout->runs[r].variable == variable && --trainer->n_missing[layout->runs[r].bucket] == 0)
            push_bucket(trainer, layout->runs[r].bucket);
}

// After the answers and after the computation: with a direct carrier, or a fast server, the last answer comes first.
static void step_done(struct mst_trainer *trainer)
{
    trainer->is_step_done = false;
    trainer->n_steps++;
    mst_training_sums_note_staleness(&trainer->open, trainer->staleness);
    trainer->config.events.on_step(trainer->config.events.arg, trainer->n_steps, trainer->n_examples,
                                   trainer->staleness);
    if (!trainer->is_lease_done)
        return;
    trainer->is_lease_done = false;
    mst_training_sums_add(&trainer->closed, &trainer->open);
    mst_training_sums_clear(&trainer->open);
    trainer->config.events.wants_lease(trainer->config.events.arg);
}

static void compute(struct mst_trainer *trainer, const struct mst_batch *batch)
{
    const struct mst_layout *layout = trainer->config.layout;
    mst_session_push_all(&trainer->session, &trainer->push);
    trainer->weight = (double)batch->n_examples;
    trainer->n_examples = batch->n_examples;
    trainer->staleness = 0;
    trainer->n_ready = 0;
    for (size_t b = 0; b < layout->n_buckets; b++)
        trainer->n_missing[b] = (unsigned)layout->buckets[b].n;
    struct mst_program_step step = {.params = trainer->exchange->ops->params(trainer->exchange),
                                    .grads = trainer->config.grads,
                                    .inputs = (const void *const *)batch->inputs,
                                    .targets = batch->targets,
                                    .weights = batch->weights,
                                    .n_examples = batch->n_examples,
                                    .sums = trainer->open.values,
                                    .epoch = batch->epoch,
                                    .batch = batch->number,
                                    .on_gradient = on_gradient,
                                    .context = trainer};
    struct mst_program_result result;
    struct mst_error err;
    trainer->is_computing = true;
    mst_status status = mst_program_run(trainer->config.program, &step, &result, &err);
    trainer->is_computing = false;
    if (status != MST_OK) {
        fail(trainer, status, err.text);
    } else if (!result.loss_is_finite) {
        snprintf(
            err.text, sizeof err.text,
            "the loss is not a number at step %llu of this worker (epoch %llu, batch %llu): the first layer with NaN "
            "or Inf is %s; lower the learning rate or check the data",
            (unsigned long long)trainer->push.step, (unsigned long long)batch->epoch + 1,
            (unsigned long long)batch->number, result.bad_layer_name);
        fail(trainer, MST_DATA_LOSS, err.text);
    } else if (is_ours(trainer)) {
        trainer->open.steps++;
        trainer->open.examples += batch->n_examples;
        if (trainer->is_step_done)
            step_done(trainer);
    }
}

// The loop's work: one batch, if there is one to compute. True if another one can follow at once.
static bool train_one(void *arg)
{
    struct mst_trainer *trainer = arg;
    struct mst_session_batch next;
    if (trainer->is_failed || trainer->is_draining)
        return false;
    fill_prefetch(trainer); // also while answers are under way
    if (!mst_session_next_batch(&trainer->session, &next))
        return false;
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
    return !trainer->is_failed && mst_session_next_batch(&trainer->session, &next);
}

void mst_trainer_admitted(struct mst_trainer *trainer, uint64_t number)
{
    if (number == trainer->session.number)
        return;
    mst_session_admitted(&trainer->session, number);
    trainer->exchange->ops->pull(trainer->exchange, number);
    trainer->config.events.wants_lease(trainer->config.events.arg);
}

void mst_trainer_fenced(struct mst_trainer *trainer)
{
    mst_session_fenced(&trainer->session);
    trainer->exchange->ops->drop(trainer->exchange);
    mst_prefetch_drop(trainer->config.prefetch);
    mst_training_sums_clear(&trainer->open);
    mst_training_sums_clear(&trainer->closed);
    trainer->is_step_done = trainer->is_lease_done = false;
}

void mst_trainer_lease(struct mst_trainer *trainer, uint64_t number, const struct mst_session_lease *lease)
{
    mst_session_lease(&trainer->session, number, lease);
    trainer->config.events.wants_lease(trainer->config.events.arg);
}

bool mst_trainer_question(struct mst_trainer *trainer, struct mst_session_request *out, struct mst_training_sums *sums)
{
    *sums = trainer->closed;
    if (trainer->is_lease_done) // its last step is still being computed, so the sums lack it: step_done asks
        return false;
    if (!mst_session_wants_lease(&trainer->session, out))
        return false;
    mst_session_asked(&trainer->session, out);
    return true;
}

bool mst_trainer_drain(struct mst_trainer *trainer)
{
    trainer->is_draining = true;
    bool is_in_flight = trainer->session.step > 0 && trainer->session.n_outstanding > 0;
    return trainer->is_failed || (!trainer->is_computing && !is_in_flight);
}

void mst_trainer_ask_again(struct mst_trainer *trainer)
{
    mst_session_ask_again(&trainer->session);
}

static void note_pushed(struct mst_trainer *trainer, const struct mst_exchange_answer *answer)
{
    uint64_t done_before = trainer->session.done_seq;
    if (!mst_session_pushed(&trainer->session, answer->number, answer->step, answer->bucket))
        return;
    trainer->is_lease_done = trainer->session.done_seq != done_before;
    trainer->is_step_done = true;
    if (!trainer->is_computing)
        step_done(trainer);
}

static void on_answered(void *arg, const struct mst_exchange_answer *answer)
{
    struct mst_trainer *trainer = arg;
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
    else
        note_pushed(trainer, answer);
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
