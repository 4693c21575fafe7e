/** @file
 *  The worker role: joins the job, asks the chief for leases or follows its rounds, trains, reports.
 *
 *      struct mst_worker_config config = {.identity = &identity, .job = job, .model = model, .loop = data_loop, …};
 *      MST_TRY(mst_worker_new(&config, &worker, err));
 *      mst_worker_start(worker);                       // on_end(arg, status, text) says when it is over
 *      …the loops run…
 *      mst_worker_free(worker);
 *
 *  The step runs on `loop`; heartbeats go out from `control`, so that a long computation does not look like a death.
 *  Thread: loop, unless said otherwise.
 */
#pragma once

#include "data/dataset.h"
#include "model/program.h"
#include "optim/optimizer.h"
#include "spec/job.h"
#include "wire/greeting.h"
#include "worker/exchange.h"
#include "worker/layout.h"

struct mst_loop;
struct mst_resolver;
struct mst_worker;

/** Makes the exchange of a worker whose PS is in the same process; NULL in the config: sockets. */
typedef mst_status (*mst_exchange_maker_fn)(void *arg, const struct mst_layout *layout, float *const *grads,
                                            const struct mst_exchange_events *events, struct mst_exchange **out,
                                            struct mst_error *err);

/** Borrowed until free. */
struct mst_worker_config {
    const struct mst_identity *identity;
    const struct mst_job *job;
    const struct mst_dataset_source *train; // the examples
    const struct mst_model *model;
    const struct mst_compile *compile;
    const struct mst_optimizer *optimizer; // how gradients are clipped
    struct mst_loop *loop;
    struct mst_loop *control;
    struct mst_resolver *resolver;
    const char *chief_address;       // NULL: the PSs are asked
    const char *const *ps_addresses; // by PS index
    size_t n_ps;
    size_t n_threads; // for computing
    mst_exchange_maker_fn make_exchange;
    void *make_arg;
    /** The role is over: OK the job is finished. Once, on `loop`. */
    void (*on_end)(void *arg, mst_status status, const char *text);
    void *arg;
};

/** New worker in *out: reads labels and the header of the features, plans the program.
 *  Errors: those of the data (exit 1) and of shapes that do not fit the model. Thread: before the loops run */
MST_MUST_USE mst_status mst_worker_new(const struct mst_worker_config *config, struct mst_worker **out,
                                       struct mst_error *err);
/** Begins to join. Thread: before the loops run, or loop */
void mst_worker_start(struct mst_worker *worker);
/** Finishes the step at hand and tells the chief that it leaves, so that its leases move at once; then on_end with
 *  this, unless the job ends before. Thread: any */
void mst_worker_leave(struct mst_worker *worker, mst_status status, const char *text);
/** Releases it; NULL is fine. Thread: the loops have stopped */
void mst_worker_free(struct mst_worker *worker);
/** OK when it has joined and holds parameters; else UNAVAILABLE with what it waits for. Thread: any */
MST_MUST_USE mst_status mst_worker_ready(const struct mst_worker *worker, struct mst_error *err);
