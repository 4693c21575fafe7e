// A whole PS with two data threads for the tests of synchronous rounds, and bare sockets as its chief and its workers.
// The kernel lies on data thread 0, the bias on 1; SGD with a rate of 1, so an update is a plain subtraction.
#pragma once

#include "model/model.h"
#include "ps/ps.h"
#include "rpc_stranger.h"
#include "wire/greeting.h"
#include "wire/methods.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { N_THREADS = 2, N_WORKERS = 3, KERNEL = 4 * 3, BIAS = 3, TERM = 5, UNIT = 40 };

struct fixture {
    struct mst_loop *control;
    struct mst_loop *data[N_THREADS];
    struct mst_identity identity;
    struct mst_model *model;
    struct mst_optimizer *optimizer;
    struct mst_resolver *resolver;
    struct mst_ps *ps;
    struct stranger chief;
    uint64_t call;
    struct mst_arena arena; // of the last answer
};

// A worker's two connections.
struct worker {
    uint32_t index;
    uint64_t number;
    struct stranger links[N_THREADS];
};

// A call without a body; releases meta.
void send_meta(struct stranger *stranger, uint16_t method, uint64_t id, struct mst_buf *meta);
// The next frame answers this call, and is no error.
const struct mst_message *expect_reply(struct stranger *stranger, uint64_t call);
// Connects and greets as role, index, data thread, number and term of this greeting say.
void greet(struct fixture *f, struct stranger *stranger, const struct mst_msg_greeting *greeting);
// Sends a map.
void send_map_of(struct fixture *f, const struct mst_msg_map *map);
// Gives the PS its shards, with synchronous rounds of so many workers (0: none).
void send_map(struct fixture *f, uint32_t n_round_workers, const uint64_t *fenced, size_t n_fenced);
// The same in a job with replicas, of this server alone: as primary of the only group.
void send_map_with_roles(struct fixture *f, uint32_t n_round_workers, const char *restore_prefix);
// Sends a ROUND; returns its call.
uint64_t ask(struct fixture *f, const struct mst_msg_round *round);
// The answer of that call; valid until the next one.
struct mst_msg_round_reply hear(struct fixture *f, uint64_t call);
// Asks with this decision until the PS has it: everything there is about a round is said every time.
struct mst_msg_round_reply ask_until(struct fixture *f, struct mst_msg_round round,
                                     bool (*has)(const struct mst_msg_round_reply *reply, uint64_t n), uint64_t n);
// What ask_until waits for.
bool has_stored(const struct mst_msg_round_reply *reply, uint64_t n);
bool has_applied(const struct mst_msg_round_reply *reply, uint64_t n);
bool has_arrivals(const struct mst_msg_round_reply *reply, uint64_t n);
// A close that deals unit UNIT + worker to everybody, to be acted on or not yet.
struct mst_msg_round round_of(uint64_t round, const uint64_t *ins, size_t n_ins, uint64_t act_round);
// Has a round closed and applied.
void apply_round(struct fixture *f, uint64_t round, const uint64_t *ins, size_t n_ins);
// Both connections of a worker.
struct worker *join(struct fixture *f, uint32_t index, uint64_t number);
// Closes them.
void leave(struct worker *worker);
// What a push of what the worker is dealt says.
struct mst_msg_push meta_of(const struct worker *worker, uint32_t bucket, uint64_t round, double weight);
// A push whose gradient is `gradient` throughout, with the first so many bytes of it.
void append_push(struct mst_buf *out, const struct mst_msg_push *push, float gradient, size_t bytes);
// As append_push, sent.
void send_push(struct worker *worker, const struct mst_msg_push *push, float gradient, size_t bytes);
// … to one of them.
void push_to(struct worker *worker, uint32_t bucket, uint64_t round, float gradient, double weight);
// A push to both buckets.
void push(struct worker *worker, uint64_t round, float gradient, double weight);
// The answer of a push, with this value throughout.
struct mst_msg_push_reply pushed(struct worker *worker, uint32_t bucket, uint64_t call, float expected);
// Both answers of a round: what its parameters are and that all is said of the next.
void expect_round(struct worker *worker, uint64_t call, uint64_t round, float expected);
// A pull.
void append_pull(struct mst_buf *out, const struct mst_msg_pull *pull, uint64_t id);
// As append_pull, sent.
void send_pull(struct stranger *link, uint32_t bucket, uint32_t worker, uint64_t round, uint64_t call);
// The answer of a pull.
struct mst_msg_pull_reply pulled(struct stranger *link, uint64_t call);
// What was sent over this link before is in the hands of its data thread.
void settle(struct worker *worker, uint32_t bucket);
// A PS with its chief, which has no job yet.
int set_up_before_the_job(void **state);
// A PS with its chief, in the middle of a job; then with its shards; then with rounds begun.
int set_up(void **state);
int set_up_serving(void **state);
int set_up_begun(void **state);
// Releases it all.
int tear_down(void **state);
