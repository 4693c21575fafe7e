/** @file
 *  The chief: places variables on the parameter servers, admits workers, deals out the data, writes checkpoints,
 *  evaluates, and says when the job is over.
 *
 *      struct mst_chief_config config = {.identity = &identity, .job = job, .model = model, .control = loop, …};
 *      MST_TRY(mst_chief_new(&config, &chief, err));        // listens; on_end(arg, status, text) says when it is over
 *      …the loop runs…
 *      mst_chief_free(chief);
 *
 *  It never trains: in a process that is chief and worker, a worker role runs beside it and talks to it like any other.
 *  Thread: loop `control`.
 */
#pragma once

#include "data/dataset.h"
#include "model/compile.h"
#include "optim/optimizer.h"
#include "spec/job.h"
#include "wire/greeting.h"

struct mst_loop;
struct mst_resolver;
struct mst_chief;
struct mst_weights;

/** Borrowed until free. */
struct mst_chief_config {
    const struct mst_identity *identity;
    const struct mst_job *job;
    const struct mst_dataset_source *train; // the examples
    const struct mst_dataset_source *eval;  // of the final evaluation; NULL: none
    struct mst_bytes model_text;            // as given, for the model directory
    const struct mst_model *model;
    const struct mst_compile *compile;
    struct mst_optimizer *optimizer; // a callback may set its learning rate
    struct mst_weights *initial; // what to begin with, unless there is a checkpoint to resume; NULL: initial values.
                                 // The chief frees it, also when mst_chief_new fails
    struct mst_loop *control;
    struct mst_resolver *resolver;
    const char *const *ps_addresses; // by PS index, all of them
    size_t n_ps;
    uint32_t own_worker;       // index of the worker in this process; UINT32_MAX: there is none
    size_t n_workers;          // that TF_CONFIG names; more may come
    bool has_evaluator;        // TF_CONFIG names one; one may come all the same
    uint64_t bucket_max_bytes; // chief/plan.h
    int listen_fd;             // -1: bind port
    uint16_t port;
    int progress_fd;       // -1: no progress lines
    uint64_t started_ns;   // CLOCK_MONOTONIC when the command was given
    uint64_t run_since_ns; // CLOCK_MONOTONIC: no process of this run was there before; 0: that is not known
    size_t n_threads;      // for the final evaluation
    uint64_t grace_ms;     // told to stop, it waits so long for parameter servers that are away
    /** The role is over: OK the job is finished and everybody was told; else why not. Once. */
    void (*on_end)(void *arg, mst_status status, const char *text);
    void *arg;
};

/** New chief in *out, listening.
 *  Errors: UNAVAILABLE the port is in use; those of the data (its header is read); disk errors */
MST_MUST_USE mst_status mst_chief_new(const struct mst_chief_config *config, struct mst_chief **out,
                                      struct mst_error *err);
/** Releases it; NULL is fine. Thread: the loop has stopped */
void mst_chief_free(struct mst_chief *chief);
/** The process of a chief that ended well ends: a note that the job is over, for one that is started again before that,
 *  is deleted. Thread: any */
void mst_chief_end_forget(const struct mst_job *job);
/** The port it listens on. */
uint16_t mst_chief_port(const struct mst_chief *chief);
/** Ends the job soon, because a process of it is to stop: gives out no more work, writes a checkpoint of what is
 *  trained, then tells everybody UNAVAILABLE and the text. What is trained already is finished in the usual way. Groups
 *  that nobody serves just now are waited for, for the grace at most: then everybody is told what was waited for. */
void mst_chief_stop(struct mst_chief *chief, const char *text);
/** Ends the job now, for its process may not wait any longer; where that loses what was trained, everybody is told
 *  why. */
void mst_chief_stop_now(struct mst_chief *chief, const char *text);
/** Ends the job now, with a failure that everybody is told. */
void mst_chief_fail(struct mst_chief *chief, mst_status status, const char *text);
/** How far a parameter server is that was asked to leave. */
struct mst_chief_drain {
    uint64_t incarnation; // of the process that is meant
    bool is_drained;      // it has nothing any more, and its process ends, or has ended
    char waits_for[256];  // else
};
/** Asks a parameter server to hand over what it has and to end, as SIGTERM to it does; asked again it says how far that
 *  is. incarnation: the process that is meant, 0 for the one that is there.
 *  Errors: UNAVAILABLE not yet, with what has to be before; NOT_FOUND there is no such server; FAILED_PRECONDITION
 *  there are no replicas, nobody could take the only copy, or the job is over */
MST_MUST_USE mst_status mst_chief_drain(struct mst_chief *chief, size_t ps, uint64_t incarnation,
                                        struct mst_chief_drain *out, struct mst_error *err);
/** OK when the shards are placed, else UNAVAILABLE; with what is waited for, also by a job under way. */
MST_MUST_USE mst_status mst_chief_ready(const struct mst_chief *chief, struct mst_error *err);
