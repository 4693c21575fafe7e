/** @file
 *  Optimizers as Keras serialises them, and the one fused pass that applies them.
 *
 *      MST_TRY(mst_optimizer_parse(json, "compile.optimizer", &optimizer, err));
 *      for (size_t s = 0; s < mst_optimizer_n_slots(optimizer); s++)
 *          fill(slots[s], mst_optimizer_slot_initial(optimizer, s));
 *      is_finite = mst_optimizer_apply(optimizer, iterations++, n, grad, w, w, slots);
 *      mst_optimizer_free(optimizer);
 *
 *  SGD (with momentum, nesterov), Adam and AdamW (with amsgrad), Adagrad, RMSprop (with momentum, centered), Lion,
 *  Adamax, Nadam, Adadelta and Ftrl, each with weight_decay, clipvalue and a number or one of
 *  Keras's schedules as learning_rate, in float32 and in Keras 3's order of operations. Clipping by norms comes before,
 *  where whole variables are (optim/clip.h). Options of Keras that are not built yet (averages of weights) are accepted
 *  at their default and refused by name otherwise; so are other optimizers.
 *  Thread: immutable after parse, but for the learning rate, which may be set meanwhile; so any.
 */
#pragma once

#include "muster/status.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { MST_OPTIMIZER_MAX_SLOTS = 3 };

struct mst_optimizer;

/** New optimizer in *out from a name ("sgd", "SGD") or {"class_name", "config", "module", "registered_name", …}.
 *  Owner:  borrows json and path ("compile.optimizer"), the place that errors begin with
 *  Errors: INVALID_ARGUMENT a wrong type, a value out of range, an unknown key (names the nearest);
 *          UNIMPLEMENTED an optimizer or an option that is not built yet, by name */
MST_MUST_USE mst_status mst_optimizer_parse(const json_t *json, const char *path, struct mst_optimizer **out,
                                            struct mst_error *err);
/** Releases it; NULL is fine. */
void mst_optimizer_free(struct mst_optimizer *optimizer);
/** Keras's class name: "SGD", "AdamW". */
const char *mst_optimizer_name(const struct mst_optimizer *optimizer);
/** Arrays of state beside the weights, each as large: from 0 (SGD without momentum) to 3 (Adam with amsgrad). */
size_t mst_optimizer_n_slots(const struct mst_optimizer *optimizer);
/** Keras's name of a slot: "momentum", "velocity", "accumulator"; slot < n_slots. Owner: static */
const char *mst_optimizer_slot_name(const struct mst_optimizer *optimizer, size_t slot);
/** What a slot's elements are before the first update: 0, but an accumulator's are initial_accumulator_value. */
float mst_optimizer_slot_initial(const struct mst_optimizer *optimizer, size_t slot);
/** The learning rate of the update after `iteration` others. */
float mst_optimizer_learning_rate(const struct mst_optimizer *optimizer, uint64_t iteration);
/** From now on the learning rate is this one. Ignored if it is a schedule's, or rate is not finite or below 0. */
void mst_optimizer_set_learning_rate(struct mst_optimizer *optimizer, float rate);
/** True if the learning rate is a schedule's and cannot be set. */
bool mst_optimizer_has_schedule(const struct mst_optimizer *optimizer);

/** Applies one update to n weights; returns true if every new weight and slot value is finite (a NaN or Inf gradient
 *  makes one that is not, but clipvalue makes an Inf finite, as in Keras). Everything is written in either case.
 *  iteration: updates applied before this one. w_out may be w_in (in place) or must not overlap it; large results out
 *  of place bypass the cache. slots: n_slots arrays, updated in place; may be NULL if there are none.
 *  Shape:  grad, w_in, w_out, slots[s] (n); any alignment, all at the same offset from 64 bytes is fastest
 *  Cost:   memory bandwidth; no allocation
 *  Source: keras/src/optimizers, its files (order of operations); Kingma & Ba 2015, alg. 1 and 2; Reddi et al. 2018;
 *          Loshchilov & Hutter 2019 (weight decay); Duchi et al. 2011; Graves 2013; Chen et al. 2023 (Lion);
 *          McMahan et al. 2013 (Ftrl); Dozat 2016 (Nadam) */
bool mst_optimizer_apply(const struct mst_optimizer *optimizer, uint64_t iteration, size_t n, const float *grad,
                         const float *w_in, float *w_out, float *const *slots);

/** As mst_optimizer_apply, the slots too from one place to another, and with this learning rate: what another process
 *  applied with it gives the same bits here. slots_in[s] may be slots_out[s], or must not overlap it. */
bool mst_optimizer_apply_to(const struct mst_optimizer *optimizer, uint64_t iteration, float rate, size_t n,
                            const float *grad, const float *w_in, float *w_out, const float *const *slots_in,
                            float *const *slots_out);

/** Moves n averages towards a batch's statistic, out = in * momentum + statistic * (1 - momentum), as Keras's
 *  BatchNormalization does; returns true if all are finite. What the optimizer does to weights (rate, decay, clipping)
 *  has no part in it: it only knows the kernels. out may be in, or must not overlap it.
 *  Shape:  statistic, in, out (n)
 *  Cost:   memory bandwidth; no allocation
 *  Source: keras/src/layers/normalization/batch_normalization.py, call */
bool mst_optimizer_move_average(const struct mst_optimizer *optimizer, double momentum, size_t n,
                                const float *statistic, const float *in, float *out);

/** New JSON object {"class_name", "config"} with every option that we read, for printing the configuration.
 *  Owner: the caller's (json_decref) */
json_t *mst_optimizer_to_json(const struct mst_optimizer *optimizer);
