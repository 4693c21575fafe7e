// What the files of the simulated synchronous job share: its state and its messages.
#pragma once

#include "base/arena.h"
#include "base/error.h"
#include "chief/coordinator.h"
#include "chief/setback.h"
#include "engine.h"
#include "optim/square_norm.h"
#include "ps/round_table.h"
#include "rounds.h"
#include "worker/round_session.h"

enum { MAX_PS = 3, MAX_BUCKETS = 4, MAX_WORKERS = 4, HEARTBEAT_MS = 100, LEASE_MS = 300, GRACE_MS = 50 };

// A job may take this long in simulated time; one that does not end is a hang. Faults stop long before.
enum { FAULTS_END_MS = 6000, JOB_END_MS = 90000 };

enum message_kind {
    M_GREET,
    M_GREETED,
    M_HEARTBEAT,
    M_FENCED, // to a worker: greet again
    M_LOST,   // to the chief: the connection of a killed worker closed
    M_PULL,
    M_PULLED,
    M_PUSH,
    M_PUSHED,
    M_FENCE,
    M_FENCE_ANSWER,
    M_ROUND,
    M_ROUND_REPLY,
    M_STATE,
    M_STATE_REPLY,
    M_RECALL,
    M_RECALL_REPLY,
    M_TICK,     // a node's own timer
    M_COMPUTED, // a worker's own gradient is ready
    M_RESTART,  // a killed process comes back
    M_LINK,     // the chief greets a PS that came back
    M_LINKED,
    M_MAP, // what a PS has to serve, and what it begins with
    M_MAPPED,
    M_OP, // a primary to its backup
    M_OP_HAD,
    M_RESEND,  // a primary's timer
    M_PROMOTE, // a backup becomes primary
    M_SWEEP,   // … and has a backup again
};

struct message {
    enum message_kind kind;
    uint32_t to; // node: 0 chief, 1 … n_ps PSs, then workers
    uint32_t from;
    uint64_t life; // of the PS at one end: what is of an earlier one is lost with its connection
    uint64_t refused[MAX_WORKERS];
    uint64_t n_steps; // of the checkpoint
    bool is_serving;
    uint32_t ps;
    uint32_t worker;
    uint64_t incarnation;
    uint64_t number;
    uint64_t term;
    uint64_t n;       // of a state, or of operations
    uint64_t attempt; // RECALL_REPLY: of the close
    uint64_t state_term;
    size_t bucket;
    uint64_t round; // PULL: the one asked for; PUSH, PUSHED: the one pushed for
    uint64_t unit;
    uint64_t held_round; // of the parameters in an answer, in truth
    bool is_refused;
    struct mst_msg_turn turn;
    struct mst_bytes bytes; // of a wire message; they live as long as the world
    struct mst_bytes close; // RECALL_REPLY: a message Round with the stored close
};

// A push or a pull that waits for its round.
struct sim_wait {
    bool is_waiting;
    struct message question;
};

enum { OPS_MAX = 64 };

enum sim_op_kind {
    OP_AGGREGATE, // what the contributions of a close come to
    OP_CLOSE,     // it is stored
    OP_APPLY,
    OP_FENCE,
};

struct sim_op {
    enum sim_op_kind kind;
    uint64_t seq;
    uint64_t round;
    uint64_t attempt;
    struct mst_bytes close;
    uint64_t units[MAX_WORKERS];
    struct mst_square_norm norm;
    double scale;
    uint32_t worker;
    uint64_t number;
};

// What a replica has: nothing that was contributed.
struct sim_copy {
    struct mst_round_table table;
    struct mst_bytes close;      // the message Round that the stored close was of
    struct mst_bytes applied;    // … the applied one
    uint64_t units[MAX_WORKERS]; // the aggregate of the stored close
    struct mst_square_norm norm;
    uint64_t n_ops; // given, or had
};

// The backup of a group, whose primary the sim_ps is.
struct sim_backup {
    bool is_there;
    bool has_swept_close;         // it has the stored close from its sweep
    uint64_t coming[MAX_WORKERS]; // the aggregate of a close that has not come yet
    struct sim_copy copy;
};

struct sim_ps {
    bool is_dead; // the group's primary, until its backup is promoted
    bool is_resending;
    struct sim_backup backup;
    struct sim_op *ops[OPS_MAX]; // the backup did not say that it has them
    size_t n_under_way;
    uint64_t n_had;                  // operations
    uint64_t awaited;                // what is said is said when the backup has had operations up to this
    uint64_t fence_seq[MAX_WORKERS]; // the operation of its last fence
    bool is_up;
    uint64_t life; // of its process, from 1
    bool is_serving;
    uint64_t has_steps;     // that its values have
    uint64_t counted_steps; // the oracle's: lost or in its values when it last took a round over
    uint64_t n_lost;        // steps, all in all
    uint64_t term;
    uint64_t term_holder; // the incarnation of the chief that claimed it
    struct sim_copy copy;
    uint64_t state_term;
    uint64_t state_n;
    struct mst_bytes state;
    bool is_asked; // the chief's question is open
    uint64_t asked_known;
    struct sim_wait waits[MAX_WORKERS][MAX_BUCKETS];
};

struct sim_worker {
    bool is_alive;
    bool is_gone; // for good
    uint64_t paused_until_ms;
    uint64_t incarnation;
    struct mst_round_session session;
    uint64_t ps_life[MAX_PS];   // to which it has a connection
    uint64_t held[MAX_BUCKETS]; // of which round its parameters are, in truth
    bool is_computing;
    struct mst_round_session_unit unit;
};

// The chief's end of a link to a PS.
struct sim_link {
    uint64_t met; // its life
    bool is_placed;
    bool is_back; // it served before, and comes back empty
    struct mst_setback setback;
};

struct sim_chief {
    struct sim_link links[MAX_PS];
    uint64_t checkpoint_steps;
    uint64_t n_lost_said; // steps that servers lost, by this chief and those before it
    bool is_held;         // the next round is, until that is stored
    bool is_placing;      // … and some servers are not placed that were to be when this chief began
    bool is_alive;
    bool is_recalling;
    uint64_t incarnation;
    uint64_t paused_until_ms;
    uint64_t term;
    struct mst_coordinator coordinator;
    uint64_t state_n;
    struct mst_bytes state;
    bool has_stored[MAX_PS]; // state_n
    bool has_recalled[MAX_PS];
    struct message highest_state; // of the recalled
    struct message highest_close;
    uint64_t told[MAX_PS]; // mst_rounds.n_told
    bool is_cutting;
    bool is_stopped;
};

// What the oracle knows of a round.
struct seen_round {
    bool is_seen;
    bool has_units;
    uint64_t epoch;
    size_t n_ins;
    uint64_t ins[MAX_WORKERS];
    uint64_t units[MAX_WORKERS];
};

struct world {
    struct engine engine;
    enum rounds_plant plant;
    struct mst_arena arena; // of all bytes that are sent
    struct mst_coordinator_config config;
    size_t n_ps;
    size_t n_workers;
    size_t n_buckets;
    size_t n_pushed;  // the first ones; the others are frozen
    uint64_t stop_ms; // when the training is stopped; 0: never
    unsigned n_kills_left;
    unsigned n_pauses_left;
    unsigned n_chief_kills_left;
    unsigned n_ps_kills_left;
    bool is_replicated;  // every group has a backup; a PS that is lost is lost with it
    bool has_slow_links; // between primary and backup
    unsigned n_failovers_left;
    uint32_t self;             // the node that acts
    uint64_t unscaled_rounds;  // a bit a round, by the remainder of 64: of which a PS lost its part of the norm
    bool is_closed_again;      // a close was replaced
    uint64_t checkpoint_steps; // of the last one that is committed
    unsigned n_chief_pauses_left;
    uint64_t seen_close; // rounds, when faults were drawn last
    uint64_t seen_act;
    struct sim_chief chief;
    struct sim_ps ps[MAX_PS];
    struct sim_worker workers[MAX_WORKERS];
    struct seen_round *rounds; // by number
    size_t n_rounds;
    unsigned char *used; // by epoch * n_batches + unit: how often
    char *fault;         // 256 bytes
};

// Sends over the faulty network, over the connection to the process that the sender knows.
void rounds_send(struct world *w, const struct message *message);
// Notes the first broken rule.
void rounds_fail(struct world *w, const char *format, ...) MST_PRINTF(2, 3);
// Bytes that live as long as the world.
struct mst_bytes rounds_keep(struct world *w, const struct mst_buf *buf);
uint32_t rounds_worker_node(const struct world *w, size_t worker);
uint32_t rounds_ps_of(const struct world *w, size_t bucket);
// Parts of a PS: its buckets that are pushed; the part that a bucket is.
size_t rounds_n_parts(const struct world *w, size_t ps);
size_t rounds_part(const struct world *w, size_t bucket);

void rounds_chief_start(struct world *w);
// rounds_servers.c: parameter servers that die and come back.
void rounds_servers_init(struct world *w);
void rounds_servers_kill(struct world *w, size_t index);
// All PSs hold the chief's state: one of them may die, or the chief.
bool rounds_servers_may_die(const struct world *w);
// … or none of them came back without having been told of a round: whatever the chief has not stored yet.
bool rounds_chief_may_die(const struct world *w);
// False: its connection, or the process at one end of it, is gone by now.
bool rounds_servers_hears(const struct world *w, const struct message *m);
void rounds_servers_tick(struct world *w);
void rounds_servers_met(struct world *w, size_t ps, uint64_t life, bool is_serving);
// What is known of losses, as chiefs store it, and as the next one takes it.
void rounds_servers_list_setbacks(const struct world *w, struct mst_msg_setback *out);
void rounds_servers_take_setback(struct world *w, size_t ps, const struct mst_msg_setback *from);
// True: it is one of its messages, or of one for a PS that does not serve yet.
bool rounds_servers_chief_receive(struct world *w, const struct message *m);
bool rounds_servers_ps_receive(struct world *w, const struct message *m);
// rounds_backups.c: groups whose backup takes over.
// It has one that follows, and no other group is without a primary.
bool rounds_backups_may_fail(const struct world *w, size_t index);
// The group whose backup has a close from a sweep that is not applied yet; else this one.
size_t rounds_backups_swept_or(const struct world *w, size_t index);
void rounds_backups_fail(struct world *w, size_t index);
// It gets a backup some time later.
void rounds_backups_sweep_later(struct world *w, size_t index);
// The operation's number is given, and it is on its way.
void rounds_backups_log(struct world *w, size_t index, const struct sim_op *op);
// What was stored and applied may be said.
bool rounds_backups_is_had(const struct sim_ps *ps);
// True: it is one of its messages, or of one for a primary that is dead.
bool rounds_backups_receive(struct world *w, const struct message *m);
void rounds_ps_said(struct world *w, size_t index);
// What the process of a PS answers, whoever is primary.
void rounds_ps_state(struct world *w, size_t index, const struct message *m);
void rounds_ps_recall(struct world *w, size_t index, const struct message *m);
bool rounds_chief_is_stored(const struct world *w);
void rounds_chief_touch(struct world *w);
void rounds_chief_receive(struct world *w, const struct message *m);
bool rounds_chief_is_done(const struct world *w);
void rounds_ps_receive(struct world *w, const struct message *m);
void rounds_worker_start(struct world *w, size_t index);
void rounds_worker_receive(struct world *w, const struct message *m);

// The oracle.
// A PS, or its backup, is about to apply its stored close, with the chief's scale (0: it sent none).
void rounds_oracle_applies(struct world *w, size_t ps, const struct sim_copy *copy, double scale);
// The share of a PS in the norm of a round with these contributions.
struct mst_square_norm rounds_oracle_norm(const struct world *w, size_t ps, const struct sim_copy *copy);
// Somebody acts on a close: which units are in is known, though who had the contributions may have died.
void rounds_oracle_acts(struct world *w, const struct mst_msg_close *close);
// A PS that came back takes a close as applied.
void rounds_oracle_takes_over(struct world *w, size_t index, const struct mst_msg_close *close);
void rounds_oracle_check_epoch(struct world *w, const struct mst_epoch_record *record);
// All PSs are said to have applied the same rounds.
void rounds_oracle_check_even(struct world *w, const char *what);
void rounds_oracle_check_end(struct world *w);
