// What the files of the simulated world share: its state, its messages, its clock and its dice.
#pragma once

#include "base/error.h"
#include "chief/coordinator.h"
#include "chief/cuts.h"
#include "chief/setback.h"
#include "engine.h"
#include "ps/client_table.h"
#include "ps/cut_gate.h"
#include "worker/session.h"
#include "world.h"

enum { MAX_PS = 3, MAX_BUCKETS = 4, MAX_WORKERS = 3, HEARTBEAT_MS = 100, LEASE_MS = 300, GRACE_MS = 50 };

// A job may take this long in simulated time; one that does not end is a hang. Faults stop long before.
enum { FAULTS_END_MS = 4000, JOB_END_MS = 60000 };

enum { MAX_HELD = 32 }; // answers that wait for what they depend on to be stored

enum message_kind {
    M_GREET,
    M_GREETED,
    M_HEARTBEAT,
    M_FENCED, // to a worker: greet again
    M_LOST,   // to the chief: the connection of a killed worker closed
    M_ASK,
    M_ANSWER,
    M_PULL,
    M_PULLED,
    M_PUSH,
    M_PUSHED,
    M_FENCE,
    M_FENCE_ANSWER,
    M_TICK,     // a node's own timer
    M_COMPUTED, // a worker's own gradient is ready
    M_RESTART,  // a killed worker comes back
    M_STATE,
    M_STORED,
    M_RECALL,
    M_RECALLED,
    M_CHIEF_START, // another chief, after one that was killed
    M_CUT,
    M_CUT_ANSWER,
    M_CUT_SILENCE, // a PS's own timer
    M_LINK,        // the chief greets a PS that came back
    M_LINKED,
    M_MAP, // what a PS has to serve, and what it begins with
    M_MAPPED,
    M_SAVE,
    M_SAVED,
    M_COMMITTED, // the chief's own disk has done it
    M_PS_START,  // a killed PS comes back
    M_BUILT,     // a PS's own disk has read what it begins with
    M_ABORTED,   // to a worker: it has the map of a job that is lost
};

struct message {
    enum message_kind kind;
    uint32_t to; // node: 0 chief, 1 … n_ps PSs, then workers
    uint32_t from;
    uint64_t life; // of the PS at one end: what is of an earlier one is lost with its connection
    uint64_t boot; // of the chief, in its own timers
    uint64_t run;  // of the job, between chief and workers
    uint64_t map;
    size_t checkpoint; // which of world.checkpoints, from 1; 0: initial values
    uint64_t refused[MAX_WORKERS];
    bool is_serving;
    uint32_t worker;
    uint64_t incarnation;
    uint64_t number;
    uint64_t held;     // the last number that a worker had
    uint64_t n_fenced; // how often it has been told to greet again: the connection of a greeting and its answer
    uint32_t ps;
    uint64_t term; // of the chief
    size_t state;  // which of world.states, from 1; 0: none
    size_t bucket;
    struct mst_session_push push;
    struct mst_session_batch batch;
    struct mst_lease_ask ask;
    struct mst_lease_answer answer;
    uint64_t cut;
    enum mst_cut_phase cut_phase;
    struct mst_msg_client_row rows[MAX_BUCKETS * MAX_WORKERS];
    size_t n_rows;
    uint64_t n_updates;
    bool is_marked;
    bool is_refused;
};

struct sim_worker {
    uint64_t run; // in which it greeted the chief: its connection is of that
    bool is_alive;
    uint64_t paused_until_ms;
    uint64_t incarnation;
    uint64_t fenced;          // a number that is out, to be said when it greets
    uint64_t n_fenced;        // each time it greets on another connection
    uint64_t map;             // taken once, when it is first admitted
    uint64_t ps_life[MAX_PS]; // to which it has a connection
    struct mst_session session;
    bool is_computing;
    struct mst_session_batch batch; // being computed or pushed
    struct mst_training_sums sums;  // of all leases done under this number: how many steps
    uint64_t open_steps;            // of the lease being trained
    uint64_t done_seq;              // leases that sums covers
};

// How far a worker is, as the oracle counts it.
struct sim_lead {
    uint64_t number;
    uint64_t start;      // its clock is this and its steps under this number
    uint64_t n_reported; // steps of which the chief knows
    uint64_t given_seq;
    uint64_t done_seq;
};

// What a bucket went through, by epoch * n_batches + batch.
struct sim_history {
    unsigned char *applied; // how often, in what it holds
    unsigned char *ever;    // also in what its server lost since
    unsigned char *lost;    // it was there and its server died
};

struct sim_bucket {
    uint32_t ps;
    struct mst_client_table clients;
    struct sim_history now;
    struct sim_history marked; // at the last cut
    uint64_t n_updates;        // counted on from what the map says
    uint64_t marked_updates;
    uint64_t marked_life; // of its server
    unsigned char *died;  // now.applied when its server died while it served
    bool is_gated;        // by a cut that it is not part of yet
    struct mst_client_row marked_rows[MAX_WORKERS];
    struct mst_client_row marked_last[MAX_WORKERS];
    uint64_t marked_fenced[MAX_WORKERS]; // numbers that it refused by then
};

struct sim_gate {
    struct mst_cut_gate gate;
    struct mst_cut_row admitted[MAX_WORKERS];
    size_t n_admitted;
    uint64_t last_cut; // ids up to this are refused
    uint64_t marked;   // the last cut that is
    uint64_t n_waits;  // of the silence timer
};

// What a PS knows of chiefs.
struct sim_server {
    uint64_t term;
    size_t state; // that it keeps
    bool is_up;
    uint64_t life; // of its process, from 1
    bool is_serving;
    bool is_building;
    uint64_t map;
    uint64_t forgot[MAX_WORKERS]; // numbers of which it may have forgotten pushes
    uint64_t n_lost_max;          // the oracle's: updates that it lost when it last died, of the bucket that lost most
    uint64_t n_lost_min;
    bool has_pushed;      // it holds buckets that are pushed
    uint64_t n_open;      // … and what the chief did not know of
    uint64_t n_open_told; // … when it told the PS what to begin with
    uint64_t n_deaths;    // while it served
    uint64_t n_uneven;    // pushes that only some of its buckets had then
};

// The chief's end of a link to a PS.
struct sim_link {
    uint64_t met; // its life
    bool is_placed;
    bool is_back; // it served before, and comes back empty
    struct mst_setback setback;
    uint64_t place_mark; // what it is to begin with, and that it is gone, is stored with this state
    bool has_all;        // the newest cut has all that workers had done when it was lost
    uint64_t n_said;     // updates that this chief, and those before it, counted as lost, in all
};

// A checkpoint: what each bucket had, and what the chief remembers.
struct sim_checkpoint {
    uint64_t cut;
    uint64_t step;
    uint64_t run;
    bool is_committed;
    unsigned saved; // a bit a PS
    struct mst_buf state;
    struct sim_history buckets[MAX_BUCKETS];
    struct mst_msg_client_row rows[MAX_WORKERS];
    size_t n_rows;
};

struct sim_held {
    struct message message;
    uint64_t mark;
};

struct sim_state;

struct world {
    enum plant plant;
    struct engine engine;
    uint64_t now_ms; // the engine's
    unsigned n_kills_left;
    unsigned n_pauses_left;
    unsigned n_chief_pauses_left;
    unsigned n_chief_kills_left;
    unsigned n_knowing_kills_left; // of chiefs that know what a server lost
    size_t n_ps;
    size_t n_workers;
    size_t n_buckets;
    size_t n_pushed; // the first ones; the others are frozen
    uint64_t n_batches;
    uint64_t n_epochs;
    uint64_t max_lead;       // 0: no limit
    uint64_t n_acknowledged; // batches whose every push was acknowledged to a live worker
    uint64_t n_deaths;
    struct mst_coordinator_config config;
    struct mst_coordinator chief;
    bool is_chief_up;
    bool is_recalling;
    bool is_touched;
    uint64_t chief_term;
    uint64_t chief_n; // states of this term
    uint64_t stored_n[MAX_PS];
    uint64_t fence_mark;            // of the state that says of the newest fence
    unsigned recalled;              // a bit a PS
    uint64_t recalled_maps[MAX_PS]; // that they serve; 0: none
    size_t best_state;
    struct sim_held held[MAX_HELD];
    size_t n_held;
    struct sim_state *states;
    size_t n_states;
    struct sim_server servers[MAX_PS];
    struct sim_link links[MAX_PS];
    uint32_t self; // the node that acts
    uint64_t run;  // grows when the job begins anew from a checkpoint
    uint64_t map;
    uint64_t chief_boot;
    struct sim_checkpoint *checkpoints;
    size_t n_checkpoints;
    size_t checkpoint;      // that the chief knows as the last; 0: none
    size_t saving;          // that is being written; 0: none
    uint64_t n_lost;        // that the chief counted
    uint64_t (*pushers)[2]; // worker and number that applied a batch last
    uint64_t highest_number[MAX_WORKERS];
    unsigned n_ps_kills_left;
    unsigned n_all_kills_left;
    uint64_t n_ps_deaths;
    struct mst_cuts cuts;
    uint64_t cut_began_ms;
    unsigned n_cuts_left;
    struct sim_gate gates[MAX_PS];
    uint64_t chief_paused_until_ms;
    struct sim_bucket buckets[MAX_BUCKETS];
    struct sim_worker workers[MAX_WORKERS];
    struct sim_lead leads[MAX_WORKERS];
    uint64_t lowest_clock; // of a worker that held a lease
    char fault[256];
};

// The dice: a number in 0 … n-1.
uint64_t world_draw(struct world *w, uint64_t n);
// Sends over the faulty network.
void world_send(struct world *w, const struct message *message);
// Puts a message of a node to itself into the queue, for `delay_ms` from now.
void world_schedule(struct world *w, const struct message *message, uint64_t delay_ms);
// Notes the first broken rule.
void world_fail(struct world *w, const char *format, ...) MST_PRINTF(2, 3);
uint32_t world_worker_node(const struct world *w, size_t worker);

void chief_receive(struct world *w, const struct message *m);
void ps_receive(struct world *w, const struct message *m);
void worker_receive(struct world *w, const struct message *m);
void worker_start(struct world *w, size_t index);

// succession.c: the chief's state, and the chief after it.
void chief_touch(struct world *w);
// A fence has begun: no PS hears of it before all have stored that.
void chief_touch_fence(struct world *w);
// All that is decided is stored on every PS.
bool chief_is_stored(const struct world *w);
bool chief_may_fence(const struct world *w);
// Sends an answer when all that is decided by now is stored.
void chief_answer(struct world *w, const struct message *answer);
void chief_store(struct world *w);
void chief_kill(struct world *w);
// True if the message is not for a chief that decides.
bool succession_receive(struct world *w, const struct message *m);
bool ps_refuses_term(struct world *w, const struct message *m);
void ps_keep(struct world *w, const struct message *m);
void ps_recall(struct world *w, const struct message *m);
void succession_free(struct world *w);
// The chief meets a PS; true if it is another process than before.
bool servers_met(struct world *w, size_t ps, uint64_t life);
// What is known of their losses, as chiefs store it, and as the next one takes it.
void servers_list_setbacks(const struct world *w, struct mst_msg_setback *out);
void servers_take_setback(struct world *w, size_t ps, const struct mst_msg_setback *from);
// servers.c: parameter servers that die, what they begin with when they come back, and checkpoints.
void servers_init(struct world *w);
void servers_free(struct world *w);
void servers_kill(struct world *w, size_t ps);
// The chief and a PS have a connection to the PS's present process.
bool servers_is_linked(const struct world *w, size_t ps);
void servers_chief_tick(struct world *w);
// What was decided is stored everywhere: servers that serve nothing are told what to.
void servers_place(struct world *w);
// The cut is marked and settled: it is written.
void servers_save(struct world *w);
void servers_chief_dies(struct world *w);
// The cut is settled: losses are counted exactly.
void servers_settle(struct world *w);
// No PS knows of the job: it begins anew, from the last checkpoint.
void servers_begin_anew(struct world *w);
// False: it is none of servers.c's messages.
bool servers_chief_receive(struct world *w, const struct message *m);
bool servers_ps_receive(struct world *w, const struct message *m);

// cuts.c
void cuts_chief_tick(struct world *w);
void cuts_chief_dies(struct world *w);
void cuts_chief_answered(struct world *w, const struct message *m);
void cuts_ps_receive(struct world *w, const struct message *m);
// A chief has claimed a higher term at it: a cut of the one before is given up.
void cuts_ps_new_term(struct world *w, uint32_t ps);
// A push or a fence may have been what a cut waited for.
void cuts_ps_look(struct world *w, uint32_t ps);
// False: a cut holds this push.
bool cuts_ps_admits(const struct world *w, const struct sim_bucket *bucket, const struct message *m);

// The oracle.
void oracle_applied(struct world *w, size_t bucket, const struct message *push);
// The chief answered a question for a lease.
void oracle_asked(struct world *w, const struct mst_lease_ask *ask, const struct mst_lease_answer *answer);
// A worker begins to compute its next step.
void oracle_begins(struct world *w, size_t index);
void oracle_check_end(struct world *w);
void history_init(const struct world *w, struct sim_history *history);
void history_copy(const struct world *w, struct sim_history *to, const struct sim_history *from);
void history_fini(struct sim_history *history);
// Batches that some bucket has had and another one never, without those that are left to be trained (NULL: none); in
// *known those of which the rows of buckets have to tell.
uint64_t oracle_count_torn(const struct world *w, const struct sim_history *(*of)(const struct sim_bucket *bucket),
                           const bool *left, uint64_t *known);
const struct sim_history *history_now(const struct sim_bucket *bucket);
const struct sim_history *history_marked(const struct sim_bucket *bucket);
// A PS that serves dies: before what it has is forgotten.
void oracle_dies(struct world *w, size_t ps);
// A PS has taken what a checkpoint holds (NULL: initial values) in the place of what its last process had.
void oracle_restored(struct world *w, size_t ps, const struct sim_checkpoint *from);
// The chief tells it what to begin with: what it does not know of by then, it cannot count.
void oracle_tells(struct world *w, size_t ps);
// The chief has counted what it lost.
void oracle_counted(struct world *w, size_t ps, uint64_t n_lost);
// The chief has counted by a cut what servers lost; left: batches that are not part of the cut.
void oracle_settled(struct world *w, const bool *left);
// The whole job is back at a checkpoint.
void oracle_begun_anew(struct world *w, const struct sim_checkpoint *from);
