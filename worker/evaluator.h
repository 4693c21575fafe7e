/** @file
 *  The evaluator role: joins the job, asks the chief what to evaluate, pulls the variables from the parameter servers,
 *  and sends the sums over data.eval. Training never waits for it.
 *
 *      struct mst_evaluator_config config = {.identity = &identity, .job = job, .model = model, .loop = loop, …};
 *      MST_TRY(mst_evaluator_new(&config, &evaluator, err));
 *      mst_evaluator_start(evaluator);                  // on_end(arg, status, text) says when it is over
 *      …the loops run…
 *      mst_evaluator_free(evaluator);
 *
 *  An evaluation takes `loop` for as long as it lasts; heartbeats go out from `control`. What it cannot evaluate (a
 *  label outside the classes, a file that is not there) it tells the chief, and stays.
 *  Thread: loop, unless said otherwise.
 */
#pragma once

#include "data/dataset.h"
#include "model/compile.h"
#include "spec/job.h"
#include "wire/greeting.h"

struct mst_loop;
struct mst_resolver;
struct mst_evaluator_role;

/** Borrowed until free. */
struct mst_evaluator_config {
    const struct mst_identity *identity;
    const struct mst_job *job;
    const struct mst_dataset_source *eval; // the examples; NULL: none, and it is never asked
    const struct mst_model *model;
    const struct mst_compile *compile;
    struct mst_loop *loop;
    struct mst_loop *control;
    struct mst_resolver *resolver;
    const char *chief_address;       // NULL: the PSs are asked
    const char *const *ps_addresses; // by PS index
    size_t n_ps;
    size_t n_threads; // for computing
    /** The role is over: OK the job is finished. Once, on `loop`. */
    void (*on_end)(void *arg, mst_status status, const char *text);
    void *arg;
};

/** New evaluator. Thread: before the loops run */
struct mst_evaluator_role *mst_evaluator_new(const struct mst_evaluator_config *config);
/** Begins to join. Thread: before the loops run, or loop */
void mst_evaluator_start(struct mst_evaluator_role *evaluator);
/** Gives up the evaluation at hand and tells the chief that it leaves; then on_end with this. Thread: any */
void mst_evaluator_leave(struct mst_evaluator_role *evaluator, mst_status status, const char *text);
/** Releases it; NULL is fine. Thread: the loops have stopped */
void mst_evaluator_free(struct mst_evaluator_role *evaluator);
/** Makes the evaluation at hand end soon, so that the loop can be stopped. Thread: any */
void mst_evaluator_cancel(struct mst_evaluator_role *evaluator);
/** OK when it knows where variables live; else UNAVAILABLE with what it waits for. Thread: any */
MST_MUST_USE mst_status mst_evaluator_ready(const struct mst_evaluator_role *evaluator, struct mst_error *err);
