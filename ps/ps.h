/** @file
 *  The parameter server role: holds shards of the model's variables, applies updates to them, answers pulls.
 *
 *      struct mst_ps_config config = {.identity = &identity, .model = model, .control = loop, …};
 *      MST_TRY(mst_ps_new(&config, &ps, err));          // listens; on_end(arg, status, text) says when it is over
 *      …the loops run…
 *      mst_ps_free(ps);
 *
 *  It opens neither data nor output. The chief tells it what it holds (MAP), and it computes the initial values or
 *  reads them from a checkpoint; workers push and pull on the data loops (ps/data_thread.h). Without a chief it goes on
 *  serving, or waits for the first one, for absence_ms; then it ends with UNAVAILABLE.
 *  Thread: loop `control`, unless said otherwise.
 */
#pragma once

#include "model/model.h"
#include "optim/optimizer.h"
#include "ps/bucket.h"
#include "wire/greeting.h"

struct mst_data_thread;
struct mst_loop;
struct mst_ps;
struct mst_resolver;

/** Borrowed until free. */
struct mst_ps_config {
    const struct mst_identity *identity;
    const struct mst_model *model;
    struct mst_optimizer *optimizer; // the chief may set its learning rate
    struct mst_loop *control;
    struct mst_loop *const *data_loops; // run by somebody else
    size_t n_data_loops;
    int listen_fd; // -1: bind port
    uint16_t port;
    uint64_t lease_ms;
    uint64_t absence_ms;             // how long a chief is waited for that is gone, or never came (0: no limit)
    uint64_t save_bytes_per_second;  // of a checkpoint; 0: no limit
    bool adds_body_crc;              // behind all that data threads send
    bool expects_cuts;               // while training goes on, now and then: memory for them is had before it begins
    struct mst_resolver *resolver;   // with replicas; else may be NULL
    const char *const *ps_addresses; // by PS; NULL: not known here
    size_t n_ps;
    /** The role is over: OK the job is finished; else why not. Once. */
    void (*on_end)(void *arg, mst_status status, const char *text);
    void *arg;
};

/** New PS in *out, listening. Errors: UNAVAILABLE the port is in use; RESOURCE_EXHAUSTED */
MST_MUST_USE mst_status mst_ps_new(const struct mst_ps_config *config, struct mst_ps **out, struct mst_error *err);
/** Releases it; NULL is fine. Thread: all loops have stopped */
void mst_ps_free(struct mst_ps *ps);
/** Tells the chief that this process is to stop, and goes on, also with shards that it is still making or reading,
 *  until the chief has ended the job. False if no chief would hear, or nothing is here that a checkpoint would need:
 *  then it is over at once. */
bool mst_ps_leave(struct mst_ps *ps, const char *text);
/** The process ends: values that are being made or read are left at the next bucket. Thread: any */
void mst_ps_cancel(struct mst_ps *ps);
/** The port it listens on. */
uint16_t mst_ps_port(const struct mst_ps *ps);
/** OK when it holds its shards; else UNAVAILABLE with what it waits for. */
MST_MUST_USE mst_status mst_ps_ready(const struct mst_ps *ps, struct mst_error *err);
/** The bucket with this id, or NULL; for a direct exchange. Thread: the bucket's data loop */
struct mst_bucket *mst_ps_bucket(struct mst_ps *ps, uint32_t thread, uint32_t bucket);
/** The data thread with this index, or NULL; for a direct exchange in synchronous rounds. Owner: borrowed until free */
struct mst_data_thread *mst_ps_data_thread(struct mst_ps *ps, uint32_t thread);
