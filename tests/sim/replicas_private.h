// What the files of the simulated job with replicas share: its state and its messages.
#pragma once

#include "base/error.h"
#include "chief/failover.h"
#include "chief/setback.h"
#include "engine.h"
#include "ps/client_table.h"
#include "ps/replica.h"
#include "replicas.h"
#include "worker/session.h"

enum {
    MAX_CHIEFS = 2,
    MAX_PS = 4,
    MAX_THREADS = 2,
    MAX_PARTS = MAX_PS * MAX_THREADS, // of groups: one home thread each
    MAX_WORKERS = 3,
    MAX_BUCKETS = 3, // of a part
    MAX_STEPS = 12,
    MAX_NUMBERS = 8, // of a worker
    MAX_WAITING = 64,
    MAX_OPS = MAX_WORKERS * MAX_NUMBERS * (MAX_STEPS * MAX_BUCKETS + 1) + 1,
    N_WORDS = (MAX_WORKERS * MAX_NUMBERS * MAX_STEPS + 63) / 64,
    LEASE_MS = 160,
    CHIEF_TICK_MS = 40,
    PS_TICK_MS = 40,
    VISIT_MS = 10, // from one home thread to the next
    WORKER_TICK_MS = 50,
};

// A job may take this long in simulated time; one that does not end is a hang. Faults stop long before.
enum { FAULTS_END_MS = 3000, JOB_END_MS = 30000 };

enum message_kind {
    M_TICK,     // a node's own timer
    M_START,    // a process begins: a chief, a PS, a worker
    M_HEAL,     // cuts end
    M_SPLIT,    // the next step of a split
    M_COMPUTED, // a worker's own gradient is ready
    M_BLOW,     // a PS dies whatever else is so
    M_SECOND,   // … if a third copy is left
    // chief and PS
    M_RECALL,
    M_RECALLED,
    M_ROLES,
    M_ROLES_REPLY,
    M_OUT,  // to a chief: a higher term is known
    M_GONE, // to a chief or a PS: who is meant has no process any more
    M_GO,   // to a PS that is drained
    M_MAP,
    M_MAPPED,
    M_STATE,
    M_STATE_REPLY,
    M_VISIT, // of a PS to itself
    M_FENCE,
    M_FENCE_REPLY,
    // PS and PS
    M_OP,
    M_OP_REPLY,
    M_SWEEP,
    M_SWEEP_REPLY,
    M_GRANT,
    M_GRANT_REPLY,
    M_RELEASE,
    M_RELEASE_REPLY,
    M_REFUSED,
    // workers
    M_WATCH, // for newer roles than those of epoch
    M_WATCHED,
    M_GREET,
    M_GREETED,
    M_HEARTBEAT,
    M_PUSH,
    M_PUSHED,
    M_FENCED,
};

// What one bucket holds: every push that was applied, and a number that depends on their order.
struct sim_state {
    uint64_t bits[N_WORDS];
    uint64_t hash;
};

struct sim_op {
    uint32_t bucket;
    uint32_t worker;
    uint64_t number;
    uint64_t step;
    bool is_fence;
    bool is_bare; // whoever follows only counts it
};

// What a sweep brings of a worker.
struct sim_row {
    uint64_t number;
    uint64_t step;
    uint64_t fenced;
};

struct message {
    enum message_kind kind;
    uint32_t to; // node: chiefs, then PSs, then workers
    uint32_t from;
    uint64_t to_incarnation; // 0: whoever is there
    uint64_t term;
    const struct mst_roles *roles; // the world's, for good; NULL: none
    const struct sim_saved *saved; // likewise
    struct mst_epoch epoch;
    bool is_committed;
    bool is_counting;
    struct mst_replica_id id; // of the PS that sends; GONE: that is meant
    size_t part;
    struct sim_op op; // also a push, and a fence
    union {
        struct { // ROLES_REPLY
            struct mst_msg_roles_reply reply;
            struct mst_msg_group_status groups[MAX_PS];
        };
        struct { // PS and PS
            struct mst_replica_call call;
            struct mst_replica_answer answer;
            struct sim_state state; // SWEEP, with the rest
            struct sim_row rows[MAX_WORKERS];
        };
        uint64_t steps[MAX_BUCKETS]; // FENCE_REPLY: the last of that number, by bucket
        struct {                     // MAP
            size_t checkpoint;       // 0: none
            uint64_t refused[MAX_WORKERS];
        };
    };
};

struct sim_bucket {
    struct mst_client_table clients;
    struct sim_state state;
};

// An answer that waits until the operations up to seq are where they have to be.
struct sim_waiting {
    uint64_t seq;
    enum message_kind kind; // PUSHED or FENCE_REPLY
    uint32_t to;
    uint64_t to_incarnation;
    struct sim_op op;
    uint64_t steps[MAX_BUCKETS];
};

struct sim_copy {
    struct mst_replica replica;
    struct sim_bucket buckets[MAX_BUCKETS];
    uint64_t floor; // operations that it said it needs no more
    size_t n_waiting;
    uint64_t unanswered_ms[MAX_PS];          // when something was sent there that is not answered; 0: nothing
    bool is_made;                            // roles named it
    bool awaits_values;                      // of a checkpoint: the group was lost
    struct sim_waiting waiting[MAX_WAITING]; // from here on it is not cleared
    struct sim_op ops[MAX_OPS];              // by seq
};

struct sim_ps {
    bool is_up;
    bool is_cut; // from all chiefs
    bool wants_drain;
    uint64_t paused_until_ms;
    uint64_t incarnation;
    uint64_t term;
    uint32_t term_holder; // node of a chief
    const struct sim_saved *saved;
    struct mst_roles stored;
    struct mst_epoch told; // stored by all its threads
    struct mst_epoch acting;
    size_t n_visits; // roles on their way through them
    uint64_t visit_ms;
    bool is_counting;
    uint64_t wake_ms;        // a tick of its copies is due then; not later than now: none
    struct sim_copy *copies; // of each part; it is not cleared
};

// What a chief has of a worker.
struct sim_member {
    uint64_t incarnation; // 0: absent
    uint64_t number;
    uint64_t heard_ms;
    bool is_fencing;
    bool has_answered[MAX_PARTS];
};

// What a chief knows of a group that nobody has any more.
struct sim_group {
    uint32_t primary;
    bool is_empty;
    bool is_restoring;
    uint64_t gone_n; // that it is empty is stored with this state
    struct mst_setback setback;
};

// What of it is stored.
struct sim_saved {
    uint64_t term;
    uint64_t n;
    struct sim_member members[MAX_WORKERS];
    struct mst_setback setbacks[MAX_PS];
    uint64_t counted[MAX_PS][N_WORDS];
    size_t checkpoint;
};

struct sim_chief {
    bool is_up;
    uint64_t paused_until_ms;
    uint64_t incarnation;
    uint64_t term;
    bool has_led;
    struct mst_failover failover;
    uint64_t ticked_ms;
    uint64_t heard_ms[MAX_PS];
    uint64_t known[MAX_PS]; // incarnations
    bool is_placed[MAX_PS]; // it answered the map
    struct sim_group groups[MAX_PS];
    struct sim_member members[MAX_WORKERS];
    uint64_t watching[MAX_WORKERS]; // incarnations that wait for newer roles than …
    struct mst_epoch watched[MAX_WORKERS];
    uint64_t counted[MAX_PS][N_WORDS]; // the oracle's: steps that are counted as lost
    size_t checkpoint;                 // the last one; 0: none
    bool is_touched;                   // what is to be stored is not …
    const struct sim_saved *saved;     // … what is on its way to be
    uint64_t stored_n[MAX_PS];         // what is there
    const struct sim_saved *best;      // that was read
};

struct sim_worker {
    bool is_up;
    uint64_t paused_until_ms;
    uint64_t incarnation;
    struct mst_session session;
    bool is_computing;
    bool is_pushing;
    uint64_t out; // a number of its own that is fenced
    uint64_t n_done;
    uint32_t believed[MAX_PARTS]; // who is primary
    struct mst_epoch roles;       // by these, if w->is_by_roles
};

struct sim_counted {
    bool is_counted;
    uint64_t step;
};

struct sim_checkpoint {
    uint64_t done[N_WORDS];
    uint64_t bits[MAX_PARTS][MAX_BUCKETS][N_WORDS];
};

// A group whose copies are gone. Steps are bits.
struct sim_loss {
    bool is_open;           // it was restored, and that is to be counted
    bool may_be;            // nobody has it, as far as one can know
    uint64_t told[N_WORDS]; // reported when the chief knew
    uint64_t had[N_WORDS];  // was there and is not any more
    uint64_t late[N_WORDS]; // … and was not reported when the home was told
    uint64_t open[N_WORDS]; // what is to be counted by now, and no chief did
    size_t checkpoint;      // it was restored from
};

// The server that died when redundancy was full.
struct sim_first {
    size_t ps;
    uint64_t at_ms;
    uint64_t term; // of the chief that led
    uint64_t incarnations;
};

struct world {
    struct engine engine;
    enum replicas_plant plant;
    size_t n_ps;
    size_t n_replicas;
    size_t n_threads;
    size_t n_parts;
    size_t n_buckets; // of each part
    size_t n_workers;
    uint64_t n_steps;
    bool is_free;       // pauses and cuts come at any time
    bool is_by_roles;   // workers ask whom the roles name, and nobody else
    bool is_link_lost;  // a link that is cut stays so
    bool is_harsh;      // servers die at any time, all copies of a group at once
    bool is_twofold;    // a second one dies just after a first
    bool is_state_slow; // most messages with a chief's state are lost
    struct sim_first first;
    unsigned crash_odds;
    unsigned n_crashes_left;
    unsigned n_blows_left;
    bool was_full;
    unsigned n_pauses_left;
    unsigned n_cuts_left;
    unsigned n_link_cuts_left;
    unsigned n_drains_left;
    unsigned n_chief_kills_left;
    unsigned n_chief_pauses_left;
    unsigned n_second_chiefs_left;
    unsigned n_worker_kills_left;
    unsigned n_worker_pauses_left;
    uint64_t end_ms; // not before: so that there are faults
    uint64_t terms;
    uint64_t incarnations;
    uint64_t n_first; // incarnations that the job began with
    bool is_link_cut[MAX_PS][MAX_PS];
    bool is_apart[MAX_CHIEFS][MAX_PS]; // beyond its reach
    uint32_t split;                    // the first PS of one
    struct sim_chief chiefs[MAX_CHIEFS];
    struct sim_ps ps[MAX_PS];
    struct sim_worker workers[MAX_WORKERS];
    uint64_t n_numbers[MAX_WORKERS]; // that were ever given
    struct sim_saved **saved;
    size_t n_saved;
    struct mst_roles **roles; // all that were ever sent
    size_t n_roles;
    uint64_t done[N_WORDS]; // steps that workers reported
    struct sim_checkpoint *checkpoints;
    size_t n_checkpoints;
    // The oracle's.
    struct sim_loss losses[MAX_PS];
    bool is_changed[MAX_PARTS];     // something of the part that it looks at
    unsigned had_served[MAX_PARTS]; // who served it when it looked last, as bits
    uint64_t acked[MAX_PARTS][MAX_BUCKETS][N_WORDS];
    struct sim_counted counted[MAX_PARTS][MAX_BUCKETS][MAX_WORKERS][MAX_NUMBERS + 1];
    char *fault; // 256 bytes
};

// Notes the first broken rule.
void replicas_fail(struct world *w, const char *format, ...) MST_PRINTF(2, 3);
uint32_t replicas_ps_node(size_t ps);
uint32_t replicas_worker_node(const struct world *w, size_t worker);
// Over the network, unless what is between the two is cut.
void replicas_send(struct world *w, uint32_t from, struct message *m);
// A copy that lives as long as the world.
const struct mst_roles *replicas_keep(struct world *w, const struct mst_roles *roles);
bool replicas_is_awake(const struct world *w, size_t ps);
uint32_t replicas_group_of(const struct world *w, size_t part);
size_t replicas_part(const struct world *w, size_t group, size_t thread);
// It is about one part, m->part.
bool replicas_is_of_part(const struct message *m);

void replicas_chief_start(struct world *w, size_t c);
void replicas_chief_end(struct world *w, size_t c);
void replicas_chief_receive(struct world *w, size_t c, const struct message *m);
// The chief that the others obey, or NULL.
struct sim_chief *replicas_leader(struct world *w);
void replicas_ps_start(struct world *w, size_t ps);
void replicas_ps_end(struct world *w, size_t ps);
void replicas_ps_receive(struct world *w, size_t ps, const struct message *m);
// A copy may answer what was applied as operation seq.
bool replicas_may_answer(const struct world *w, size_t ps, const struct sim_copy *copy, uint64_t seq);
void replicas_worker_start(struct world *w, size_t i);
void replicas_worker_receive(struct world *w, size_t i, const struct message *m);
void replicas_worker_end(struct world *w, size_t i);

// What chiefs store for those that come after.
bool replicas_state_is_stored(const struct sim_chief *chief);
// Notes that something changed. Returns the number of the state that says so.
uint64_t replicas_state_touch(struct sim_chief *chief);
bool replicas_state_has(const struct sim_chief *chief, uint64_t n);
// Sends it to whoever lacks it, and what was touched when what was sent before is stored.
void replicas_state_store(struct world *w, size_t c);
void replicas_state_take(struct world *w, size_t ps, const struct message *m);
void replicas_state_taken(struct world *w, size_t c, const struct message *m);
void replicas_state_read(struct sim_chief *chief, const struct sim_saved *saved);
void replicas_state_lead(struct world *w, size_t c);
void replicas_state_end(struct world *w);

// Groups that are lost. What a chief does of it:
void replicas_lost_roles_changed(struct world *w, struct sim_chief *chief);
// Homes of groups that are known to be lost may restore them.
void replicas_lost_known(struct world *w, struct sim_chief *chief);
void replicas_lost_place(struct world *w, size_t c);
void replicas_lost_mapped(struct world *w, struct sim_chief *chief, const struct message *m);
void replicas_lost_reported(struct world *w, const struct message *m);
// Now and then it makes a checkpoint.
void replicas_lost_save(struct world *w, struct sim_chief *chief);
// … and a PS:
void replicas_lost_map(struct world *w, size_t ps, const struct message *m);
void replicas_lost_store(struct world *w, size_t ps, size_t part, const struct mst_roles *roles);
// … and the oracle. A server is dead:
void replicas_lost_dies(struct world *w, bool was_full);
void replicas_lost_restored(struct world *w, size_t ps, size_t g, size_t checkpoint);
void replicas_lost_counted(struct world *w, struct sim_chief *chief, size_t g, uint64_t n);
// A chief has counted what every restored group lost.
bool replicas_lost_is_counted(const struct world *w);

// The oracle.
size_t replicas_bit_of(const struct sim_op *op);
// The last one of this number that is there.
uint64_t replicas_last_step(const struct sim_state *state, size_t worker, size_t number);
// A push is applied to a copy of a bucket, or an operation.
void replicas_oracle_applies(struct world *w, size_t ps, size_t part, struct sim_bucket *bucket,
                             const struct sim_op *op);
void replicas_oracle_acked(struct world *w, size_t part, const struct sim_op *op);
void replicas_oracle_counted(struct world *w, size_t part, const struct message *reply);
// All rules that hold at any moment, for one part.
void replicas_oracle_check(struct world *w, size_t part);
