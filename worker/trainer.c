// Everything is driven by two facts: the session says which unit may be computed, and answers of the exchange say when
// the next one may. There are two kinds of session, of leases and of synchronous rounds; all that differs is in the
// first section. Answers come from within push (direct carrier) or from the loop (sockets) and only note what
// changed; the step itself is the loop's work between its rounds, so that it may poll the sockets while it computes.
#include "worker/trainer.h"

#include "base/alloc.h"
#include "base/error.h"
#include "wire/worker_numbers.h"
#include "worker/accumulator.h"

#include <stdio.h>
#include <stdlib.h>

// Consecutive batches of an epoch, from which one push is computed.
struct unit {
    uint64_t epoch;
    uint64_t first_batch;
    size_t n_batches; // 0: no unit
};

struct mst_trainer {
    struct mst_trainer_config config;
    struct mst_exchange *exchange;
    struct mst_session session;          // unless it is synchronous
    struct mst_round_session rounds;     // if it is
    struct mst_accumulator *accumulator; // NULL: units are single batches
    struct mst_exchange_push push;       // of the step in flight
    struct unit unit;                    // of which batches are still to be computed
    size_t n_computed;                   // batches of it
    size_t n_units_asked;                // of the prefetch queue: whole units, from the session's first on
    size_t n_batches_asked;              // … and of the next one
    struct mst_program_result result;    // of the batch at hand
    size_t batch_examples;               // of it
    size_t n_examples;                   // of the unit
    unsigned *n_missing;                 // by bucket: gradients of it that are not ready in this step
    size_t n_variables;                  // that are not frozen
    size_t n_ready;                      // of them, in this batch
    uint64_t n_steps;
    struct mst_training_sums open;   // of the lease being trained, or the unit of a round
    struct mst_training_sums closed; // of all leases done under this number
    uint64_t staleness;              // of the step in flight: the largest of its buckets
    bool is_computing;
    bool is_step_done;  // all buckets have answered
    bool is_lease_done; // and it was the last step of its lease
    bool is_over_asked; // rounds: nothing is left, and the chief is asked whether that is all
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
    if (config->accumulate_steps > 1) {
        mst_status status = mst_accumulator_new(config->model, &trainer->accumulator, err);
        if (status != MST_OK) {
            mst_training_sums_fini(&trainer->open);
            mst_training_sums_fini(&trainer->closed);
            free(n_missing);
            free(trainer);
            return status;
        }
    }
    for (size_t v = 0; v < mst_model_n_variables(config->model); v++)
        trainer->n_variables += mst_model_variable(config->model, v)->update != MST_UPDATE_FROZEN;
    mst_session_init(&trainer->session, config->layout->n_buckets, config->layout->n_pushed);
    mst_round_session_init(&trainer->rounds, config->layout->n_buckets, config->layout->n_pushed);
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
    mst_round_session_fini(&trainer->rounds);
    mst_accumulator_free(trainer->accumulator);
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

// ---- the two kinds of session ----

static uint64_t number_of(const struct mst_trainer *trainer)
{
    return trainer->config.is_synchronous ? trainer->rounds.number : trainer->session.number;
}

static struct unit unit_of(const struct mst_trainer *trainer, uint64_t epoch, uint64_t number)
{
    uint64_t n = trainer->config.accumulate_steps;
    uint64_t first = number * n;
    uint64_t left = mst_batches_n_batches(trainer->config.batches) - first;
    return (struct unit){epoch, first, n < left ? n : left};
}

// The unit that can be computed now.
static bool next_unit(const struct mst_trainer *trainer, struct unit *out)
{
    struct mst_round_session_unit dealt = {0};
    struct mst_session_batch leased = {0};
    bool has_unit = trainer->config.is_synchronous ? mst_round_session_next_unit(&trainer->rounds, &dealt)
                                                   : mst_session_next_batch(&trainer->session, &leased);
    *out = (struct unit){0};
    if (has_unit && trainer->config.is_synchronous)
        *out = unit_of(trainer, dealt.epoch, dealt.unit);
    else if (has_unit)
        *out = unit_of(trainer, leased.epoch, leased.batch);
    return has_unit;
}

// The unit of which the prefetch queue has not got all batches yet. What a round will deal is not known before.
static bool unit_to_fetch(const struct mst_trainer *trainer, struct unit *out)
{
    struct mst_session_batch leased;
    if (trainer->config.is_synchronous) {
        *out = trainer->unit;
        return trainer->n_units_asked == 0 && (out->n_batches > 0 || next_unit(trainer, out));
    }
    if (!mst_session_batch_ahead(&trainer->session, trainer->n_units_asked, &leased))
        return false;
    *out = unit_of(trainer, leased.epoch, leased.batch);
    return true;
}

static void push_all(struct mst_trainer *trainer)
{
    trainer->push = (struct mst_exchange_push){0};
    if (!trainer->config.is_synchronous) {
        mst_session_push_all(&trainer->session, &trainer->push.id);
        return;
    }
    mst_training_sums_clear(&trainer->open); // the last unit's have been taken with its push
    trainer->push.sums = &trainer->open;
    mst_round_session_push_all(&trainer->rounds, &trainer->push.id);
}

static bool is_pushing(const struct mst_trainer *trainer)
{
    return trainer->config.is_synchronous ? mst_round_session_is_pushing(&trainer->rounds)
                                          : trainer->session.step > 0 && trainer->session.n_outstanding > 0;
}

// False: fenced while it computed; the step is nobody's any more.
static bool is_ours(const struct mst_trainer *trainer)
{
    return trainer->push.id.number == number_of(trainer);
}

// ---- gradients ----

// Asks the prefetch queue for the batches that will be computed next and were not asked for yet.
static void fill_prefetch(struct mst_trainer *trainer)
{
    struct mst_prefetch *prefetch = trainer->config.prefetch;
    struct unit unit;
    while (mst_prefetch_n_free(prefetch) > 0 && unit_to_fetch(trainer, &unit)) {
        mst_prefetch_request(prefetch, unit.epoch, unit.first_batch + trainer->n_batches_asked);
        if (++trainer->n_batches_asked == unit.n_batches) {
            trainer->n_batches_asked = 0;
            trainer->n_units_asked++;
        }
    }
}

static void push_bucket(struct mst_trainer *trainer, size_t bucket)
{
    if (!is_ours(trainer))
        return;
    trainer->exchange->ops->push(trainer->exchange, bucket, &trainer->push);
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

// The loss of the batch is known, and its first gradient comes: before anything is pushed.
static void note_measured(struct mst_trainer *trainer)
{
    trainer->open.steps += trainer->n_computed == 0;
    if (trainer->config.is_synchronous && trainer->n_computed == 0)
        mst_training_sums_note_staleness(&trainer->open, 0); // before it is pushed
    trainer->open.examples += trainer->batch_examples;
    trainer->push.weight = trainer->result.weight;
    if (trainer->accumulator) {
        mst_accumulator_next(trainer->accumulator, trainer->result.weight);
        trainer->push.weight = mst_accumulator_weight(trainer->accumulator);
    }
}

static void on_gradient(void *context, size_t variable)
{
    struct mst_trainer *trainer = context;
    const struct mst_clip *clip = &trainer->config.clip;
    const struct mst_layout *layout = trainer->config.layout;
    if (trainer->n_ready++ == 0)
        note_measured(trainer);
    if (trainer->accumulator && !mst_accumulator_add(trainer->accumulator, variable, trainer->config.grads[variable]))
        return;
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

// ---- steps ----

// After the answers and after the computation: with a direct carrier, or a fast server, the last answer comes first.
static void step_done(struct mst_trainer *trainer)
{
    trainer->is_step_done = false;
    trainer->n_steps++;
    if (!trainer->config.is_synchronous) // a round's went with its push
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

static void begin(struct mst_trainer *trainer, const struct unit *unit)
{
    const struct mst_layout *layout = trainer->config.layout;
    push_all(trainer);
    trainer->unit = *unit;
    trainer->n_computed = 0;
    trainer->n_examples = 0;
    trainer->staleness = 0;
    for (size_t b = 0; b < layout->n_buckets; b++)
        trainer->n_missing[b] = (unsigned)layout->buckets[b].n;
    if (trainer->accumulator)
        mst_accumulator_begin(trainer->accumulator, unit->n_batches);
}

static void note_computed(struct mst_trainer *trainer)
{
    trainer->n_computed++;
    trainer->n_examples += trainer->batch_examples;
    if (trainer->n_computed < trainer->unit.n_batches)
        return;
    trainer->unit = (struct unit){0};
    if (trainer->is_step_done)
        step_done(trainer);
}

static void compute(struct mst_trainer *trainer, const struct mst_batch *batch)
{
    trainer->batch_examples = batch->n_examples;
    trainer->n_ready = 0;
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
    struct mst_error err;
    trainer->is_computing = true;
    mst_status status = mst_program_run(trainer->config.program, &step, &trainer->result, &err);
    trainer->is_computing = false;
    if (status != MST_OK) {
        fail(trainer, status, err.text);
    } else if (!trainer->result.loss_is_finite) {
        snprintf(
            err.text, sizeof err.text,
            "the loss is not a number at step %llu of this worker (epoch %llu, batch %llu): the first layer with NaN "
            "or Inf is %s; lower the learning rate or check the data",
            (unsigned long long)trainer->push.id.step, (unsigned long long)batch->epoch + 1,
            (unsigned long long)batch->number, trainer->result.bad_layer_name);
        fail(trainer, MST_DATA_LOSS, err.text);
    } else if (is_ours(trainer)) {
        note_computed(trainer);
    }
}

// The loop's work: one batch, if there is one to compute. True if another one can follow at once.
static bool train_one(void *arg)
{
    struct mst_trainer *trainer = arg;
    struct unit next;
    if (trainer->is_failed || (trainer->is_draining && trainer->unit.n_batches == 0))
        return false;
    fill_prefetch(trainer); // also while answers are under way
    if (trainer->unit.n_batches == 0) {
        if (!next_unit(trainer, &next))
            return false;
        begin(trainer, &next);
    }
    const struct mst_batch *batch;
    struct mst_error err;
    mst_status status = mst_prefetch_take(trainer->config.prefetch, &batch, &err);
    if (status != MST_OK) {
        fail(trainer, status, err.text);
        return false;
    }
    MST_ASSERT(batch->epoch == trainer->unit.epoch && batch->number == trainer->unit.first_batch + trainer->n_computed);
    compute(trainer, batch);
    mst_prefetch_release(trainer->config.prefetch);
    return !trainer->is_failed && (trainer->unit.n_batches > 0 || next_unit(trainer, &next));
}

// ---- what the chief says ----

void mst_trainer_admitted(struct mst_trainer *trainer, uint64_t number)
{
    struct mst_round_session_pull pull;
    if (number <= number_of(trainer) || number == MST_NO_NUMBER) // the heartbeat says how the job ended
        return;
    if (number_of(trainer) != 0)
        mst_trainer_fenced(trainer); // by a chief that gave the new number before anybody could say so
    if (trainer->config.is_synchronous) {
        mst_round_session_admitted(&trainer->rounds, number);
        while (mst_round_session_next_pull(&trainer->rounds, &pull))
            continue; // all of them at once, below
    } else {
        mst_session_admitted(&trainer->session, number);
    }
    trainer->exchange->ops->pull(trainer->exchange, number);
    trainer->config.events.wants_lease(trainer->config.events.arg);
}

void mst_trainer_fenced(struct mst_trainer *trainer)
{
    mst_session_fenced(&trainer->session);
    mst_round_session_fenced(&trainer->rounds);
    trainer->exchange->ops->drop(trainer->exchange);
    mst_prefetch_drop(trainer->config.prefetch);
    mst_training_sums_clear(&trainer->open);
    mst_training_sums_clear(&trainer->closed);
    trainer->unit = (struct unit){0};
    trainer->n_units_asked = trainer->n_batches_asked = 0;
    trainer->is_step_done = trainer->is_lease_done = trainer->is_over_asked = false;
}

void mst_trainer_lease(struct mst_trainer *trainer, uint64_t number, const struct mst_session_lease *lease)
{
    if (trainer->config.is_synchronous)
        return; // nobody asked for one
    mst_session_lease(&trainer->session, number, lease);
    trainer->config.events.wants_lease(trainer->config.events.arg);
}

bool mst_trainer_question(struct mst_trainer *trainer, struct mst_session_request *out, struct mst_training_sums *sums)
{
    *sums = trainer->closed;
    if (trainer->config.is_synchronous) {
        *out = (struct mst_session_request){.number = trainer->rounds.number, .seq = 1};
        if (!mst_round_session_is_over(&trainer->rounds) || trainer->is_over_asked)
            return false;
        trainer->is_over_asked = true;
        return true;
    }
    // What a worker holds that never gets through to a server, others would wait for in vain.
    if (trainer->session.step == 0 && trainer->session.n_outstanding > 0)
        return false;
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
    return trainer->is_failed || (!trainer->is_computing && !is_pushing(trainer));
}

void mst_trainer_ask_again(struct mst_trainer *trainer)
{
    mst_session_ask_again(&trainer->session);
    trainer->is_over_asked = false;
}

uint64_t mst_trainer_n_steps(const struct mst_trainer *trainer)
{
    return trainer->n_steps;
}

uint64_t mst_trainer_waits_for(const struct mst_trainer *trainer)
{
    bool is_busy = trainer->is_computing || trainer->unit.n_batches > 0;
    return trainer->config.is_synchronous && !is_busy ? mst_round_session_waits_for(&trainer->rounds) : 0;
}

bool mst_trainer_is_unanswered(const struct mst_trainer *trainer)
{
    return !trainer->config.is_synchronous && !trainer->is_computing && trainer->unit.n_batches == 0 &&
           trainer->session.n_outstanding > 0;
}

// ---- what parameter servers say ----

static void note_pushed(struct mst_trainer *trainer)
{
    trainer->n_units_asked--;
    trainer->is_step_done = true;
    if (!trainer->is_computing)
        step_done(trainer);
}

static void take_turn(struct mst_trainer *trainer, const struct mst_exchange_answer *answer)
{
    struct mst_round_session_answer told = {answer->number, answer->step, answer->bucket, answer->turn};
    struct mst_round_session_pull pull;
    uint64_t n_batches = mst_batches_n_batches(trainer->config.batches);
    if (answer->turn.has_unit && answer->turn.unit > (n_batches - 1) / trainer->config.accumulate_steps) {
        fail(trainer, MST_INTERNAL, "a round deals work outside the data: do all processes read the same files?");
        return;
    }
    if (!mst_round_session_answered(&trainer->rounds, &told))
        return;
    if (answer->step > 0 && answer->step == trainer->push.id.step)
        note_pushed(trainer);
    while (mst_round_session_next_pull(&trainer->rounds, &pull))
        trainer->exchange->ops->pull_round(trainer->exchange, &pull);
    if (mst_round_session_is_over(&trainer->rounds))
        trainer->config.events.wants_lease(trainer->config.events.arg);
}

static void take_answer(struct mst_trainer *trainer, const struct mst_exchange_answer *answer)
{
    uint64_t done_before = trainer->session.done_seq;
    if (answer->step == 0) {
        mst_session_pulled(&trainer->session, answer->number, answer->bucket);
        trainer->config.events.wants_lease(trainer->config.events.arg); // (nothing, before all are there)
    } else if (mst_session_pushed(&trainer->session, answer->number, answer->step, answer->bucket)) {
        trainer->is_lease_done = trainer->session.done_seq != done_before;
        note_pushed(trainer);
    }
}

static void on_answered(void *arg, const struct mst_exchange_answer *answer)
{
    struct mst_trainer *trainer = arg;
    if (!answer->is_finite) {
        char text[160];
        snprintf(text, sizeof text, "%s %llu made parameters of bucket %zu NaN or Inf; lower the learning rate",
                 trainer->config.is_synchronous ? "round" : "step",
                 (unsigned long long)(trainer->config.is_synchronous ? answer->turn.round : answer->step),
                 answer->bucket);
        fail(trainer, MST_DATA_LOSS, text);
        return;
    }
    if (trainer->staleness < answer->staleness)
        trainer->staleness = answer->staleness;
    if (trainer->config.is_synchronous)
        take_turn(trainer, answer);
    else
        take_answer(trainer, answer);
}

static void on_refused(void *arg, mst_status status, const char *text)
{
    struct mst_trainer *trainer = arg;
    if (status == MST_FAILED_PRECONDITION)
        trainer->config.events.on_fenced(trainer->config.events.arg, text);
    else
        fail(trainer, status, text);
}

struct mst_exchange_events mst_trainer_exchange_events(struct mst_trainer *trainer)
{
    return (struct mst_exchange_events){on_answered, on_refused, trainer};
}
