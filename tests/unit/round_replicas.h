// Data threads of three servers with synchronous rounds, in one process over sockets of this machine and on one loop;
// the test stands in the place of the chief and of the control loops. Two buckets of Adam are pushed, a third one is
// frozen. The lease is a minute and a wait fails after ten seconds, so nothing passes because a lease ran out.
#pragma once

#include "ps/replication.h"
#include "ps/round_serve.h"
#include "rpc/server.h"
#include "rpc_stranger.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { N_PS = 3, N_BUCKETS = 3, N_PUSHED = 2, FLOATS = 24, N_WORKERS = 2, N_GROUPS = 1, LEASE_MS = 60000 };

struct server {
    struct fixture *f;
    uint32_t index;
    struct mst_identity identity;
    struct mst_server *server;
    struct mst_data_thread *thread;
    struct mst_holding *holding;
    struct mst_round_places *rounds;
    struct mst_round_report report;
    struct mst_round_order order;
    uint64_t n_reigns;
    bool is_up;
};

struct fixture {
    struct mst_loop *loop;
    struct mst_resolver *resolver;
    struct mst_optimizer *optimizer;
    struct server servers[N_PS];
    uint16_t ports[N_PS];
    char addresses[N_PS][32];
    const char *address_list[N_PS];
    uint64_t threads[N_PS];
    struct mst_roles roles;
    unsigned n_heard; // answers to contributions and pulls
    uint64_t heard_round;
    struct mst_bucket *lone[N_PUSHED]; // what should come out
};

extern const uint64_t both[N_WORKERS];
extern const double no_scale[N_GROUPS];
extern const double half[N_GROUPS];

// A process with this incarnation; what it has at first is of its own making, unless all begin.
void start_server(struct fixture *f, uint32_t index, uint64_t incarnation, float initial);
// As the kernel does it when a process dies: all sockets are closed.
void kill_server(struct server *server);
int set_up(void **state);
int tear_down(void **state);
// What a report says: the reign, a stored close, an applied round.
bool has_begun_reign(void *arg);
bool has_stored(void *arg);
bool has_applied(void *arg);
// Whether it says so now.
bool has_reported(struct server *server, bool (*is_so)(void *arg), uint64_t round, uint64_t attempt);
// Waits until it does.
void await_report(struct server *server, bool (*is_so)(void *arg), uint64_t round, uint64_t attempt);
// The control loop begins a reign.
void begin_reign(struct server *server);
// Stores roles everywhere and acts on them. MST_NO_PS: none.
void give_roles(struct fixture *f, uint32_t primary, uint32_t backup, uint32_t joiner);
// A close of the first n_ins workers, which deals unit 10 + worker to everybody.
struct mst_msg_close close_of(uint64_t round, uint64_t attempt, size_t n_ins);
// An order of the control loop; scales: of the act.
void order(struct server *server, const struct mst_msg_close *close, bool acts, const double *scales);
// A reign, and the first close.
void begin(struct server *server);
// A worker's contribution to one bucket, or to all that are pushed.
mst_status contribute_to(struct server *server, uint32_t worker, uint64_t round, uint32_t bucket);
void contribute(struct server *server, uint32_t worker, uint64_t round);
// The round as it should be, in buckets that follow nobody; what a server has is compared with them.
void apply_alone(struct fixture *f, uint64_t round, size_t n_ins, double scale);
void expect_as_alone(const struct fixture *f, uint32_t ps);
// A whole round of both workers, with this scale.
void run_round(struct server *server, uint64_t round, const double *scales);
// Which closes a server has, in its table and for the control loop.
void expect_closes(struct server *server, uint64_t applied, bool has_stored_one, uint64_t stored, uint64_t attempt);
