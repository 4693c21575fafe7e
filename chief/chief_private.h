// What the files of the chief share. All on the control loop, unless a comment says otherwise.
#pragma once

#include "base/error.h"
#include "chief/board.h"
#include "chief/callbacks.h"
#include "chief/chief.h"
#include "chief/chief_state.h"
#include "chief/coordinator.h"
#include "chief/csv_log.h"
#include "chief/cuts.h"
#include "chief/epoch_scores.h"
#include "chief/evaluations.h"
#include "chief/failover.h"
#include "chief/plan.h"
#include "chief/report.h"
#include "chief/setback.h"
#include "event/timer.h"
#include "rpc/peer.h"
#include "rpc/server.h"
#include "rpc/service.h"
#include "wire/roles.h"

enum chief_phase {
    CHIEF_WAITING,   // for parameter servers
    CHIEF_RECALLING, // they say what an earlier chief left with them
    CHIEF_PLACING,   // they make their shards
    CHIEF_RUNNING,
    CHIEF_CLOSING, // all is trained: last checkpoint, evaluation, model
    CHIEF_TELLING, // everybody is told how it ended
    CHIEF_OVER,
};

// The link to one PS: the process, whatever it holds.
struct ps_link {
    struct mst_chief *chief;
    uint32_t index;
    struct mst_peer *peer;
    uint64_t incarnation; // 0 before its first greeting
    size_t n_threads;
    bool is_placed;      // answered MAP
    bool is_placing;     // MAP is under way
    char *placed_prefix; // the checkpoint that it names; NULL: initial values
    bool is_storing;     // a state is under way
    uint64_t stored_n;   // the last one that it has, of this term
    uint64_t place_mark; // no map is sent before this state is stored
    // What it answered to RECALL:
    bool is_recalled;
    struct mst_buf memory; // the answer
    uint64_t memory_term;  // of the state in it
    uint64_t memory_n;
    uint64_t map_term;
    uint64_t map_epoch;
    bool is_serving;
    bool is_beating;     // a heartbeat is under way
    bool is_told;        // answered FINISH, or is beyond reach
    bool is_foreign;     // a process of another job has its address
    uint64_t rate_sent;  // mst_chief.rate_seq with the heartbeat that is under way
    uint64_t rate_heard; // … that it has answered
    // failing_over.c
    uint64_t heard_ms;           // when it last answered something
    size_t n_roles_calls;        // ROLES calls under way
    struct mst_epoch roles_told; // with the newest of them
    bool is_told_committed;      // … to act on those
    uint64_t roles_known;        // status of its newest reply
    uint64_t asked_to_leave;     // the incarnation that `muster admin drain` asked to
    bool is_told_to_leave;       // … and was told so over this connection
    uint64_t draining;           // the incarnation that was told to stop
    bool is_let_go;              // … and that it may
    struct mst_role_figures figures;
};

// Of the job, and of this chief.
#define MST_CHIEF_OTHER_LIST                                                                                           \
    "the job was begun with %zu parameter servers, and TF_CONFIG names %zu now: correct it, or start all processes "   \
    "again, with checkpoint.resume"

struct group_call;

// All buckets that the plan gives to one PS, their home. What is asked of them is asked of who is their primary.
struct ps_group {
    struct mst_chief *chief;
    uint32_t index;             // the home's
    uint32_t primary;           // whose answers count; MST_NO_PS: nobody's
    bool is_empty;              // nobody has it: it begins anew from the last checkpoint
    bool is_restoring;          // … which its primary was told to read
    struct group_call *calls;   // under way, and of former primaries
    uint64_t n_changes;         // of its primary
    bool is_fencing;            // a fence is under way
    struct mst_fence fence;     // that one
    bool is_cutting;            // a message of a cut is under way
    size_t n_round_calls;       // ROUND calls under way
    uint64_t round_told;        // mst_rounds.n_told of the newest of them
    struct mst_setback setback; // what is lost with it
    uint64_t gone_mark;         // … and that it is, is stored with this state
    bool has_all;               // the cut under way has all that workers had done before
};

// Calls a PS with a message, whose size is ours; its answer goes to reply_fn with arg.
#define MST_CHIEF_CALL(link, method_name, name, message, ms, reply_fn, reply_arg)                                      \
    do {                                                                                                               \
        struct mst_buf meta_;                                                                                          \
        mst_buf_init(&meta_, MST_FRAME_META_MAX);                                                                      \
        mst_status encoded_ = mst_msg_##name##_encode(message, &meta_);                                                \
        MST_ASSERT(encoded_ == MST_OK);                                                                                \
        struct mst_call call_ = {.method = MST_METHOD_##method_name,                                                   \
                                 .meta = mst_buf_view(&meta_),                                                         \
                                 .deadline_ms = ms,                                                                    \
                                 .on_reply = reply_fn,                                                                 \
                                 .arg = reply_arg};                                                                    \
        mst_peer_call((link)->peer, &call_);                                                                           \
        mst_buf_fini(&meta_);                                                                                          \
    } while (0)

// Answers a message of a worker or of an evaluator.
#define MST_CHIEF_REPLY(conn, message, name, reply)                                                                    \
    do {                                                                                                               \
        struct mst_buf meta_;                                                                                          \
        mst_buf_init(&meta_, MST_FRAME_META_MAX);                                                                      \
        mst_status encoded_ = mst_msg_##name##_encode(reply, &meta_);                                                  \
        if (encoded_ == MST_OK)                                                                                        \
            mst_conn_reply(conn, message, mst_buf_view(&meta_), NULL);                                                 \
        else                                                                                                           \
            mst_conn_reply_error(conn, message, encoded_, "the answer does not fit a frame");                          \
        mst_buf_fini(&meta_);                                                                                          \
    } while (0)

// A connection of a worker or of an evaluator.
struct worker_conn {
    struct worker_conn *next;
    struct mst_chief *chief;
    struct mst_conn *conn;
    uint32_t worker; // its index
    uint64_t number; // 0: it is not admitted yet
    bool is_evaluator;
    enum mst_evaluator_seat seat; // of an evaluator
};

// A question that is answered when there is an answer.
struct parked {
    struct parked *next;
    struct worker_conn *from;
    uint16_t method; // GREETING, LEASE, MAP, EVALUATE or WATCH_ROLES
    uint64_t call;
    struct mst_lease_ask ask; // LEASE
    uint64_t incarnation;     // GREETING
    uint64_t had;             // … the number that it says it had; 0: none
    struct mst_epoch epoch;   // WATCH_ROLES: of those that are known
    uint64_t mark;            // what its answer waits for; 0: there is no answer yet
    uint64_t since_ms;
};

// A process that wants an index whose holder lives.
struct rival {
    uint64_t incarnation;
    uint64_t since_ms;
};

// The evaluation of the trained model.
struct final_evaluation {
    bool is_the_roles; // an evaluator role does it; else the end itself
    bool is_settled;   // known, or given up
    uint64_t wanted_ms;
    uint64_t alone_ms;        // since when no evaluator is here; 0: one is
    struct mst_scores scores; // if they are known
    char why[256];            // it was given up
};

// The cut under way, or the last one.
struct mst_chief_cut {
    struct mst_cuts machine;
    uint64_t n_done; // steps that are part of it, of a marked one
    uint64_t began_ms;
    uint64_t not_before_ms;          // a cut that can wait does, after one that failed
    struct mst_msg_client_row *late; // pushes that the last failed one waited for
    size_t n_late;
    void (*on_over)(struct mst_chief *chief, bool is_marked); // NULL: none is under way
};

// The cut that an evaluation is computed from.
struct evaluation_cut {
    uint64_t task; // the evaluation; 0: none wants one
    bool is_known; // made, or given up: then cut is 0, and what is current is evaluated
    bool is_under_way;
    uint64_t cut;
};

struct mst_chief_save;
struct mst_chief_search;
struct mst_chief_part_search;
struct epoch_checkpoint;

// What /metrics tells of the job.
struct mst_chief_metrics {
    struct mst_metric *epoch;
    struct mst_metric *epochs;
    struct mst_metric *step;
    struct mst_metric *steps;
    struct mst_metric *workers;
    struct mst_metric *held_back;
    struct mst_metric *rate;
    struct mst_metric *loss;
    struct mst_metric *failures;
};

// … and of its rounds.
struct mst_chief_round_metrics {
    struct mst_metric *round;
    struct mst_metric *empty;
    struct mst_metric *left_out;
    struct mst_metric *again;
    uint64_t n_empty; // counted so far
    uint64_t n_again;
    uint64_t n_left_out;
};

// … and of its replicas.
struct mst_chief_failover_metrics {
    struct mst_metric *is_full;
    struct mst_metric *term;
    struct mst_metric *n;
    struct mst_metric **primaries; // by group
};

struct mst_chief {
    struct mst_chief_config config;
    enum chief_phase phase;
    struct mst_server *server;
    struct mst_coordinator_config coordinator_config;
    struct mst_coordinator coordinator;
    size_t n_examples;
    struct ps_link *links;   // n_ps
    struct ps_group *groups; // n_ps
    struct mst_failover failover;
    struct mst_epoch roles_followed; // the newest committed ones that were gone by
    bool is_failing_over;            // further up the stack
    bool is_redundant;               // as it was told last
    uint64_t failover_slept_ms;      // coordinator.slept_ms at the last tick
    struct mst_chief_failover_metrics failover_metrics;
    struct mst_plan *plan;
    struct mst_msg_shard *shards;
    struct mst_msg_map map;
    bool has_map; // PSs may be asked to serve it
    uint64_t term;
    // remembering.c
    struct mst_buf state; // as it was sent last
    uint64_t state_n;     // which one that is
    uint64_t fence_mark;  // of the state that says of the newest fence
    bool is_touched;      // something changed since
    uint64_t rounds_mark; // what the next round waits for; 0: for nothing
    bool is_recalled;     // an earlier chief began the job
    uint64_t recalled_ms;
    bool is_finished; // the result is written, and later chiefs are to know
    uint64_t finished_ms;
    bool was_finished;      // an earlier chief noted that
    uint64_t end_looked_ms; // since when this one knows; 0: it has not looked
    uint64_t n_lost_updates;
    char *nonce_path;
    char *nonce;
    char *restore_prefix;
    struct worker_conn *workers;
    struct parked *parked; // oldest first
    struct rival *rivals;  // by worker index
    size_t n_rivals;
    struct mst_role_figures *figures; // of workers, by index
    size_t n_figures;
    bool *told; // how the job ended: by worker index
    size_t n_told;
    struct mst_evaluations evaluations;
    struct mst_epoch_ledger ledger; // before training goes on: of an earlier chief's epochs
    struct final_evaluation final;
    struct mst_callbacks *callbacks;
    struct epoch_checkpoint *epoch_checkpoints; // best.c; oldest first
    size_t n_epoch_checkpoints;
    struct mst_csv_log **csv_logs; // by callback; NULL: it is none, or training has not begun
    uint64_t lines_until_ms;       // so long a state waits for what is to be written there
    json_t *evaluated;             // what result.json lists
    uint64_t evaluated_step;       // the last that an evaluation was wanted for
    struct rival evaluator_rival;
    struct mst_role_figures evaluator_figures; // role NULL: it was never here
    struct mst_timer tick;
    struct mst_timer round_again;
    struct mst_timer progress;
    struct mst_timer reminder;
    uint64_t reminded_step; // steps done at the last one
    struct mst_timer telling;
    struct mst_timer asked;  // while a drain's asker has not heard of the end
    uint64_t drain_asked_ms; // when somebody asked last who will ask again; 0: nobody did
    struct mst_chief_metrics metrics;
    struct mst_chief_round_metrics round_metrics;
    bool is_deciding;         // about rounds, further up the stack
    bool is_pausing_rounds;   // for a checkpoint
    uint64_t rate_seq;        // how often a callback changed the learning rate
    bool is_rate_awaited;     // rounds are paused until every PS has heard of it
    uint64_t round_looked_at; // by the last reminder, + 1
    uint64_t last_beat_ms;
    uint64_t whole_since_ms;                   // all groups have had a primary that serves; 0: they have not
    uint64_t stuck_since_ms;                   // too few servers are there to go on with a job; 0: enough are
    bool has_met_job;                          // a server was serving when it first greeted this chief
    struct mst_loop *work;                     // a thread of its own: disks, evaluation
    struct mst_chief_search *search;           // for a whole checkpoint, while the map waits for it; or NULL
    struct mst_chief_part_search *part_search; // that search where storage is not shared; or NULL
    struct mst_chief_cut cut;
    struct evaluation_cut evaluation_cut;
    struct mst_chief_save *save; // under way, or NULL
    struct mst_board *board;     // curves; it uses `work`
    char *checkpoint;            // prefix of the last one, or NULL
    uint64_t n_saves_failed;
    char *save_failure; // why, of the last of them, or NULL
    uint64_t checkpoint_step;
    uint64_t committed_step;                    // of `checkpoint`
    struct mst_msg_client_row *checkpoint_rows; // … and how far it has this run's workers
    size_t n_checkpoint_rows;
    uint64_t checkpoint_ms;
    bool is_saved;        // the last checkpoint is committed
    bool needs_last_save; // it failed because a server was lost
    bool is_writing_result;
    uint64_t first_lease_ns;
    uint64_t first_step_ns;
    uint64_t trained_ns;
    struct mst_epoch_record last_epoch; // the last that was over
    uint64_t n_steps_resumed;
    char *stop_text;        // told to stop: why; else NULL
    uint64_t stop_until_ms; // so long parameter servers are waited for
    bool is_stop_told;      // what it waits for was said
    bool is_stop_saved;     // the checkpoint for that is written, or under way
    bool is_stop_failed;    // … or could not be
    bool are_servers_told;  // or are being told how it ended
    mst_status end_status;
    bool gives_way; // another process may go on with the job: whoever asks this one has to ask that one
    char *end_text;
};

// chief.c
uint64_t mst_chief_steps_done(const struct mst_chief *chief);
// What is known now is stored before the next round is closed: a later chief goes on from that.
void mst_chief_hold_rounds(struct mst_chief *chief);
// Looks at what became possible: epochs over, a checkpoint due, all trained, parked questions answerable.
void mst_chief_advance(struct mst_chief *chief);
void mst_chief_set_running(struct mst_chief *chief);
// Tells everybody how it ended, then ends. Once.
void mst_chief_tell(struct mst_chief *chief, mst_status status, const char *text);
// The job is done and its result written: later chiefs shall know it before anybody is told.
void mst_chief_finish(struct mst_chief *chief);
// Another chief has come (ALREADY_EXISTS), or may go on with the job where this one cannot: ends now, without a word to
// anybody. Its workers will find the other.
void mst_chief_give_way(struct mst_chief *chief, mst_status status, const char *text);
// Ends if everybody has been told.
void mst_chief_check_told(struct mst_chief *chief);

// stopping.c
// If it was told to stop: begins the checkpoint for that when it can be made; when it is written, or need not be, or
// cannot be in time, tells everybody.
void mst_chief_try_to_stop(struct mst_chief *chief);

// ps_links.c
mst_status mst_chief_links_new(struct mst_chief *chief, struct mst_error *err);
void mst_chief_links_free(struct mst_chief *chief);
void mst_chief_links_start(struct mst_chief *chief);
// Begins to read what an earlier chief left, when that is possible by now.
void mst_chief_try_recall(struct mst_chief *chief);
void mst_chief_links_tick(struct mst_chief *chief, uint64_t now_ms);
void mst_chief_links_beat(struct mst_chief *chief);
// A server that was here, and was not let go, is away.
bool mst_chief_links_lack(const struct mst_chief *chief);
void mst_chief_links_finish(struct mst_chief *chief);
// Makes those that hold nothing yet serve their shards, once what is decided is stored; goes on when all do.
void mst_chief_links_place(struct mst_chief *chief);
// What is waited for of a PS that does not serve: "DNS not found, 12 s", or what it does.
void mst_chief_link_state(const struct ps_link *link, char *out, size_t out_bytes);
// "ps-1 (DNS not found, 12 s)", or "" when all are up; and why it takes more of them than one would think.
void mst_chief_links_state(const struct mst_chief *chief, char *out, size_t out_bytes);
// Adds that to what groups or servers wait for.
void mst_chief_add_shortage(const struct mst_chief *chief, char *out, size_t out_bytes);

// ps_groups.c
void mst_chief_groups_new(struct mst_chief *chief);
void mst_chief_groups_free(struct mst_chief *chief);
// The link to its primary, if that is up; else NULL.
struct ps_link *mst_chief_primary(const struct ps_group *group);
// The argument of a call to its primary …
struct group_call *mst_chief_group_ask(struct ps_group *group);
// … and, when that is answered, the group; NULL: another one is primary now, whose answer counts.
struct ps_group *mst_chief_group_answered(struct group_call *call);
// Its answer cannot be: said, and taken as if it had not come, so that it is asked again.
void mst_chief_odd_answer(const struct ps_group *group, uint16_t method, const char *text);
// True if every group has a primary that is there and serves it.
bool mst_chief_groups_are_whole(const struct mst_chief *chief);
// Those for which that is not so: "ps-1 (connection refused, 3 s)", with replicas "ps-2 for group 1 (…)"; or "".
void mst_chief_groups_state(const struct mst_chief *chief, char *out, size_t out_bytes);
// True if a group waits for this PS: it is its primary, or nobody is and it would be the one.
bool mst_chief_is_awaited(const struct ps_link *link);
// Nobody has this group any more: it begins anew from the last checkpoint.
void mst_chief_group_gone(struct ps_group *group);
// Lost groups of which that is stored may be restored by their homes.
void mst_chief_groups_known(struct mst_chief *chief);
// A PS has lost all it held. With replicas the roles tell what that means.
void mst_chief_groups_emptied(struct ps_link *link);
// MAP is sent to a PS: what is empty of its groups is read from the last checkpoint. Returns from which step on its
// updates are counted …
uint64_t mst_chief_groups_restoring(struct ps_link *link);
// … and when it was answered. False if another one is empty since then: it has to be sent again.
bool mst_chief_groups_restored(struct ps_link *link);
// A cut is marked that says exactly how much is done, so many batches of it torn: what was lost is known exactly, too.
void mst_chief_groups_settle(struct mst_chief *chief, uint64_t n_torn);
// There is a new checkpoint: nothing before it is lost later.
void mst_chief_groups_committed(struct mst_chief *chief);
// What a later chief has to know of losses, by group. Owner: the caller's.
struct mst_msg_setback *mst_chief_list_setbacks(const struct mst_chief *chief);
void mst_chief_take_setback(struct ps_group *group, const struct mst_msg_setback *from);
// Roles are committed: what was under way with the primaries of before is begun again, or given up.
void mst_chief_roles_changed(struct mst_chief *chief);

// failing_over.c. With no replicas all of it does nothing.
bool mst_chief_has_replicas(const struct mst_chief *chief);
void mst_chief_failover_start(struct mst_chief *chief);
void mst_chief_failover_free(struct mst_chief *chief);
// Changes roles as far as that is possible by now, and tells servers.
void mst_chief_failover_go_on(struct mst_chief *chief);
// A PS answered something.
void mst_chief_heard(struct ps_link *link);
// Its link stands, with link->incarnation.
void mst_chief_failover_up(struct ps_link *link);
// Its link broke.
void mst_chief_failover_down(struct ps_link *link);
// mst_peer_config.on_gone of a link.
void mst_chief_failover_gone(void *arg, struct mst_peer *peer);
// It accepted the term and said what it has.
void mst_chief_failover_read(struct ps_link *link, const struct mst_msg_recall_reply *reply);
void mst_chief_failover_tick(struct mst_chief *chief, uint64_t now_ms);
// It was told to stop: others take over what it has, or the job ends.
void mst_chief_ps_stops(struct ps_link *link, const char *text);

// draining.c
// Somebody waits for a drain and is about to ask again. Then mst_chief_on_asked is called when he is not any more.
bool mst_chief_drain_is_asked(struct mst_chief *chief);
void mst_chief_on_asked(void *arg);

// fencing.c
// Members are to be fenced from now on: stored first, then told.
void mst_chief_fences_begun(struct mst_chief *chief);
// This member is to be fenced, whether or not it lives. why: a literal
void mst_chief_fence(struct mst_chief *chief, uint32_t worker, uint64_t number, const char *why);
// Tells the PSs of fences, as far as that is stored.
void mst_chief_fences_go_on(struct mst_chief *chief);

// round_links.c
// A primary that was not ready to hear of a round is asked again.
void mst_chief_on_round_again(void *arg);
// The shards are placed: rounds may begin. Before mst_chief_rounds_go_on.
void mst_chief_rounds_begin(struct mst_chief *chief);
// Decides what can be decided, and tells the PSs. Nothing in a job that is not synchronous.
void mst_chief_rounds_go_on(struct mst_chief *chief);
// Pauses rounds, for a checkpoint; true when all PSs have applied the last one. Always true without rounds.
bool mst_chief_rounds_are_quiet(struct mst_chief *chief);
void mst_chief_rounds_resume(struct mst_chief *chief);
// The learning rate is another one: the next round is closed when every PS has heard of it, so that it does not depend
// on chance from which round on it holds. Before the heartbeats that tell it.
void mst_chief_rate_changed(struct mst_chief *chief);
// A PS answered a heartbeat.
void mst_chief_rate_heard(struct ps_link *link);
// "worker-1 for round 12", if it was waited for at the last look, too; else "".
void mst_chief_rounds_state(struct mst_chief *chief, char *out, size_t out_bytes);

// remembering.c
// Something changed that a later chief has to know.
void mst_chief_touch(struct mst_chief *chief);
// What an answer that depends on all that is decided by now has to wait for …
uint64_t mst_chief_mark(const struct mst_chief *chief);
// … and whether it is stored where every later chief will read it: with no replicas, on every PS.
bool mst_chief_is_stored(const struct mst_chief *chief, uint64_t mark);
// Sends what changed, unless a state is under way.
void mst_chief_store(struct mst_chief *chief);
// Asks a PS what it has of an earlier chief. When all have answered (with replicas: when roles are committed), the job
// goes on or begins.
void mst_chief_recall(struct ps_link *link);
// Enough was read: goes on from there.
void mst_chief_recall_done(struct mst_chief *chief);

// The plan and the map of an earlier chief, whose restore_prefix and n_steps_resumed are known.
mst_status mst_chief_plan_again(struct mst_chief *chief, uint64_t map_term, uint64_t map_epoch, struct mst_error *err);
// Plans, resumes (checkpoints are read through on the work thread) or begins anew, fills chief->map and sends it.
void mst_chief_place(struct mst_chief *chief);
// "the checkpoints of DIR to be read through", or nothing.
void mst_chief_place_state(const struct mst_chief *chief, char *out, size_t out_bytes);
void mst_chief_search_free(struct mst_chief *chief);
// The search for parts is over: the prefix of the chief's own (owned by who is called), or why there is none.
void mst_chief_on_parts_found(struct mst_chief *chief, mst_status status, char *prefix, const struct mst_error *err);
// Every PS has read it.
void mst_chief_remove_nonce(struct mst_chief *chief);

// local_parts.c: checkpoint.local
enum { MST_CHIEF_PART_NUMBERS = 3 };
// New text: a PS's part of the checkpoint whose prefix at the chief is given.
char *mst_chief_part_prefix(const struct mst_chief *chief, const char *prefix, uint32_t ps);
uint64_t mst_chief_new_part_id(void);
// What the chief's part says of all (out: MST_CHIEF_PART_NUMBERS).
void mst_chief_part_numbers(const struct mst_chief *chief, uint64_t id, int64_t *out);
// Reads its own parts through, asks every PS for its, and calls mst_chief_on_parts_found.
void mst_chief_find_parts(struct mst_chief *chief);
void mst_chief_part_search_free(struct mst_chief *chief);

// workers.c
void mst_chief_on_greeting(void *arg, struct mst_conn *conn, const struct mst_message *message,
                           const struct mst_msg_greeting *greeting);
void mst_chief_answer_parked(struct mst_chief *chief);
void mst_chief_workers_free(struct mst_chief *chief);
size_t mst_chief_n_worker_conns(const struct mst_chief *chief);
// True if a worker of this index has heard how the job ended.
bool mst_chief_is_told(const struct mst_chief *chief, size_t worker);
// What connections of workers and of evaluators have in common.
struct worker_conn *mst_chief_add_conn(struct mst_chief *chief, struct mst_conn *conn, uint32_t index, uint64_t number);
void mst_chief_remove_conn(struct worker_conn *closed);
bool mst_chief_has_conn(const struct mst_chief *chief, const struct worker_conn *like);
struct parked *mst_chief_park(struct worker_conn *from, const struct mst_message *message,
                              const struct mst_lease_ask *ask);
void mst_chief_on_map(void *arg, struct mst_conn *conn, const struct mst_message *message);
// text: why the number that it had is out; NULL: it had none
void mst_chief_answer_greeting(struct mst_chief *chief, struct mst_conn *conn, const struct mst_message *message,
                               uint64_t number, const char *text);
void mst_chief_answer_heartbeat(struct mst_chief *chief, struct mst_conn *conn, const struct mst_message *message);
void mst_chief_refuse(const struct mst_chief *chief, struct mst_conn *conn, const struct mst_message *message,
                      mst_status status, const char *text);

// role_questions.c. When roles are committed, mst_chief_answer_parked is to be called.
// Adds the roles, and how many data threads each PS has, to what a worker or a PS is told. Errors: the arena's
mst_status mst_chief_map_roles(const struct mst_chief *chief, struct mst_arena *arena, struct mst_msg_map *map);
// Answers a question for newer roles if there are; false: keep it.
bool mst_chief_try_roles(const struct mst_chief *chief, const struct parked *parked, const struct mst_message *message);
void mst_chief_on_watch_roles(void *arg, struct mst_conn *conn, const struct mst_message *message);

// evaluators.c
void mst_chief_on_evaluator(struct mst_chief *chief, struct mst_conn *conn, const struct mst_message *message,
                            const struct mst_msg_greeting *greeting);
// Answers an evaluator's question if there is an answer; false: keep it.
bool mst_chief_try_evaluate(struct worker_conn *from, const struct mst_message *message);
// There is none yet, and it has waited long enough: it shall ask again.
void mst_chief_evaluate_later(struct mst_conn *conn, const struct mst_message *message);

// evaluating.c
// An epoch is trained.
void mst_chief_on_epoch_trained(struct mst_chief *chief, const struct mst_epoch_record *record,
                                const struct mst_scores *scores);
// Training goes on: the epochs that an earlier chief left waiting for their validation are told. The last one is
// evaluated before; the weights of the others are gone.
void mst_chief_take_up_epochs(struct mst_chief *chief);
// One of those, to be taken up. Owner: copies record
void mst_chief_keep_untold(struct mst_chief *chief, const struct mst_epoch_record *record);
// Wants what is due by now, gives up what will not come, tells what is known.
void mst_chief_evaluations_advance(struct mst_chief *chief);
// Everything is trained: wants the last one.
void mst_chief_want_final(struct mst_chief *chief);
// True when the end need not wait for an evaluation any more.
bool mst_chief_is_evaluated(struct mst_chief *chief);
// None comes any more: tells the epochs that waited for theirs.
void mst_chief_settle_epochs(struct mst_chief *chief);
// An evaluation is done, by whomever.
void mst_chief_on_evaluation(struct mst_chief *chief, const struct mst_evaluation_task *task,
                             const struct mst_scores *scores);
// One failed.
void mst_chief_on_evaluation_failed(struct mst_chief *chief, const struct mst_evaluation_task *task, const char *why);

// acting.c
mst_status mst_chief_callbacks_new(struct mst_chief *chief, struct mst_error *err);
// Training begins.
void mst_chief_callbacks_begin(struct mst_chief *chief);
// Goes on from what a checkpoint holds of them. After mst_coordinator_skip.
void mst_chief_callbacks_resume(struct mst_chief *chief, const int64_t *numbers, size_t n);
// After the work loop.
void mst_chief_callbacks_free(struct mst_chief *chief);
// No line of an epoch is under way, or one is for so long that nobody waits for it any more.
bool mst_chief_lines_are_written(const struct mst_chief *chief);
// All is known of an epoch, in the order of epochs.
void mst_chief_act_on_epoch(struct mst_chief *chief, const struct mst_epoch_scores *known);
// What result.json says of the callback that stopped the training; null.
json_t *mst_chief_stopped_json(const struct mst_chief *chief);

// best.c
// True if a callback wants the best epoch's checkpoint kept.
bool mst_chief_keeps_best(const struct mst_chief *chief);
// An epoch is trained: a checkpoint of it is due. Before the callbacks hear of it.
void mst_chief_best_epoch_trained(struct mst_chief *chief, uint64_t epoch);
bool mst_chief_best_is_due(const struct mst_chief *chief);
// The callbacks have heard of it.
void mst_chief_best_epoch_known(struct mst_chief *chief, uint64_t epoch);
// A checkpoint begins, or failed.
void mst_chief_best_saving(struct mst_chief *chief, uint64_t step);
void mst_chief_best_save_failed(struct mst_chief *chief, uint64_t step);
// New array of the steps of checkpoints that are to stay; their number.
size_t mst_chief_best_steps(const struct mst_chief *chief, uint64_t **steps_out);
// Takes up what the callbacks remember of a resumed job.
void mst_chief_best_resume(struct mst_chief *chief);
// New prefix of callback i's best checkpoint, and of the one that the trained model is taken from; NULL: none.
char *mst_chief_best_prefix(const struct mst_chief *chief, size_t i);
char *mst_chief_restored_prefix(const struct mst_chief *chief);
// What result.json says of the best epochs.
json_t *mst_chief_best_json(const struct mst_chief *chief);

// cutting.c
// Begins a cut, when none is under way. on_over is called once, from within or later: marked, so that the state in
// chief->cut.machine and the PSs' snapshots of its id are of one point; or given up.
void mst_chief_cut_begin(struct mst_chief *chief, void (*on_over)(struct mst_chief *chief, bool is_marked));
// Another PS is primary of a group: no cut of it will be whole.
void mst_chief_cut_interrupt(struct mst_chief *chief, const struct ps_group *group);
// True while none can begin.
bool mst_chief_cut_is_busy(const struct mst_chief *chief);
void mst_chief_cut_tick(struct mst_chief *chief, uint64_t now_ms);
// Its snapshots are not needed any more.
void mst_chief_cut_drop(struct mst_chief *chief, uint64_t cut);

// saving.c
// Begins a checkpoint unless one is under way; when it is committed (or failed), mst_chief_on_saved is called.
void mst_chief_save(struct mst_chief *chief);
// A primary changed: if the one under way fails, it is begun again.
void mst_chief_save_interrupt(struct mst_chief *chief);
void mst_chief_save_tick(struct mst_chief *chief);
// CANCELLED: a primary was lost meanwhile.
void mst_chief_on_saved(struct mst_chief *chief, mst_status status, const char *text);
// Copies the rows of the cut that the last checkpoint is of.
void mst_chief_take_rows(struct mst_chief *chief, const struct mst_msg_client_row *rows, size_t n_rows);
bool mst_chief_is_saving(const struct mst_chief *chief);
void mst_chief_save_free(struct mst_chief *chief);

// ending.c
#define MST_CHIEF_END_NOTE     ".finished" // beside result.json
#define MST_CHIEF_WAS_FINISHED "the job was finished by an earlier run"
// Notes that the result is written, before anybody is told.
void mst_chief_end_note(const struct mst_chief *chief);
// True if an earlier chief of this run has, and did not end well. Says what it found.
bool mst_chief_end_was_noted(const struct mst_chief *chief);
// Then this one tells whoever is there in half a lease, if no server has said it before.
void mst_chief_end_look(struct mst_chief *chief, uint64_t now_ms);

// closing.c
// Evaluates and writes the model directory and result.json, then tells everybody. After the last checkpoint.
void mst_chief_close(struct mst_chief *chief);
