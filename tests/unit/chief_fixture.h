// A whole chief for tests of what it says: its parameter servers are a few lines each, on the same loop, which answer
// what the test wants them to; its workers are bare sockets. Its lease is a minute, so nothing happens by itself.
#pragma once

#include "chief/chief.h"
#include "rpc/conn.h"
#include "rpc_stranger.h"
#include "wire/methods.h"
#include "wire/roles.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { PS_MAX = 3, CALLS_MAX = 512 };

// What a server does with a call of a method.
enum scripted {
    SCRIPT_ANSWERS,
    SCRIPT_KEEPS,   // says nothing
    SCRIPT_REFUSES, // ABORTED: a later chief's term is known here
};

struct chief_fixture;

// A parameter server as the chief sees it.
struct scripted_ps {
    struct chief_fixture *f;
    uint32_t index;
    struct mst_server *server;
    char address[32];
    struct mst_conn *conn; // the chief's; NULL: none
    uint64_t incarnation;
    enum scripted state;           // STATE
    struct mst_message kept_state; // … that it keeps; method 0: none
    size_t n_states;
    size_t n_odd_fences; // so many answers to FENCE name a number that cannot be
    size_t n_fences;
    enum scripted own_map; // MAP by whose roles this very process has its own group
    size_t n_maps;
    size_t n_own_maps;
    enum scripted roles;           // ROLES; SCRIPT_ANSWERS: it stores them, and acts on them when they are committed
    struct mst_message kept_roles; // the last that it keeps …
    struct mst_msg_roles kept;     // … and what it says, but for its arrays
    bool refuses_rounds;           // ROUND, as one that does not act on the newest roles yet; else it is held
    size_t n_rounds;
    struct mst_epoch stored;
    struct mst_epoch acting;
    uint64_t status;
};

struct chief_fixture {
    struct mst_loop *loop;
    struct mst_resolver *resolver;
    char *folder;
    struct mst_job *job;
    struct mst_model *model;
    struct mst_compile compile;
    struct mst_optimizer *optimizer;
    struct mst_dataset_part input;
    struct mst_dataset_part output;
    struct mst_dataset_source train;
    char *train_file;
    struct mst_identity identity;
    size_t n_ps;
    struct scripted_ps ps[PS_MAX];
    const char *addresses[PS_MAX];
    struct mst_chief *chief;
    bool has_ended;
    mst_status end_status;
    char end_text[512];
};

// All but the chief, for a job of so many servers and replicas.
struct chief_fixture *chief_fixture_prepare(size_t n_ps, unsigned n_replicas);
// The chief; it has met no server yet.
void chief_fixture_start(struct chief_fixture *f, uint64_t run_since_ns);
// Both.
struct chief_fixture *chief_fixture_new(size_t n_ps, unsigned n_replicas);
// Releases it all; connections to the chief end.
void chief_fixture_free(struct chief_fixture *f);
// The same as a teardown of cmocka's.
int chief_fixture_tear_down(void **state);
// Lets the loop run until the chief is running.
void chief_fixture_run(struct chief_fixture *f);
// Another process is there in its place, which holds nothing.
void scripted_restart(struct scripted_ps *ps);
// The server does what the last ROLES says that it keeps, and answers those to come.
void scripted_take_roles(struct scripted_ps *ps);
// The server refuses the STATE that it keeps.
void scripted_refuse_state(struct scripted_ps *ps);
// Connects, and sends a greeting with the role, index, number, held and incarnation of this one.
void chief_greet(struct chief_fixture *f, struct stranger *stranger, const struct mst_msg_greeting *greeting);
// The answer to it: its number.
uint64_t chief_admitted(struct stranger *stranger);
// Sends a call without a body; releases meta.
void chief_ask(struct stranger *stranger, uint16_t method, uint64_t call, struct mst_buf *meta);
