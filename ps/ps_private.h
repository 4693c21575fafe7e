// What the files of the PS's control side share. All on the control loop, unless a comment says otherwise.
#pragma once

#include "event/timer.h"
#include "ps/data_thread.h"
#include "ps/ps.h"
#include "ps/replication.h"
#include "ps/store.h"
#include "rpc/server.h"

#include <stdatomic.h>

enum ps_phase { PS_WAITING, PS_BUILDING, PS_SERVING, PS_ENDED };

struct mst_ps;

// What a PS has of one group, that is of all buckets that the plan gives to ps-<index>.
struct ps_group {
    struct mst_ps *ps;
    uint32_t index;
    size_t n_holdings;             // home threads that the group has
    struct mst_holding **holdings; // by home thread; with roles some, or all, may be NULL
    struct ps_save *save;          // under way, or NULL
    struct ps_cut *cut;            // the same
    struct ps_cut *cuts;           // all that are not freed yet
    uint64_t last_cut;             // ids up to this are refused
    struct ps_rounds *rounds;      // synchronous ones, or NULL
};

struct mst_ps {
    struct mst_ps_config config;
    struct mst_server *server;
    struct mst_data_thread **threads;
    enum ps_phase phase;
    // The chief, as it greeted.
    struct mst_conn *chief; // NULL while it is away
    uint64_t chief_term;
    uint64_t chief_incarnation;
    uint64_t chief_heard_ms;    // its last sign of life
    uint64_t term_incarnation;  // of the chief that claimed chief_term
    uint64_t rival_incarnation; // of the last process that wanted to be chief beside it
    uint64_t rival_since_ms;
    struct mst_buf memory; // the chief's state, for the one that may come after it
    uint64_t memory_term;
    uint64_t memory_n;
    bool is_back; // the chief was in the middle of a job when it greeted: another process of this server is gone
    char *chief_address;
    uint32_t chief_index;
    enum mst_peer_role chief_role;
    struct mst_timer chief_lost;
    struct mst_timer reminder; // "waiting for …", each 10 s
    struct mst_timer trim;     // when no cut was kept for a while
    struct control_conn *conns;
    struct mst_loop *writer; // a thread of its own: fsync may take long
    struct mst_loop *reader; // another one: nobody waits for what is written, but all for what is read
    struct ps_group *groups; // that the map gives to this PS; with roles all, also those that it holds nothing of
    size_t n_groups;
    struct ps_roles *roles;
    struct ps_fence *fences; // under way
    struct mst_msg_map map;  // accepted; arrays in map_arena
    struct mst_arena map_arena;
    bool is_restoring;        // values of groups that were lost are being read
    bool is_finished;         // the job is, and whoever greets is told
    bool is_leaving;          // told to stop; the chief hears of it
    atomic_bool is_cancelled; // the process ends: nobody waits for values that are being made or read
    char leaving_text[256];
    uint64_t n_bytes; // of the map's buckets, parameters and slots
};

// The group with this index, or NULL: nothing of it is here.
struct ps_group *mst_ps_group(const struct mst_ps *ps, uint32_t index);
// The index of the group that a call of the chief is about: the PS's own one where the map knows no roles.
uint32_t mst_ps_asked_group(const struct mst_ps *ps, uint32_t asked);
// The data thread that has the buckets of a home thread; with replicas, as the map says how many there are, so that
// others find them on a server that was started again with more, or with fewer.
size_t mst_ps_thread_of(const struct mst_ps *ps, size_t home_thread);
// The loop of the data thread that has the group's buckets of this home thread.
struct mst_loop *mst_ps_group_loop(const struct ps_group *group, size_t home_thread);
// That group, on a PS that serves, whatever it is in it.
// Errors: UNAVAILABLE the shards are not here yet; NOT_FOUND there is no such group
mst_status mst_ps_find_held(const struct mst_ps *ps, uint32_t asked, struct ps_group **out, struct mst_error *err);
// The same of its primary.
// Errors: as mst_ps_find_held; UNAVAILABLE this is not its primary, or does not act on the roles yet that it has stored
mst_status mst_ps_find_group(const struct mst_ps *ps, uint32_t asked, struct ps_group **out, struct mst_error *err);
// Whom a map has refused, and whose steps it says, can be.
mst_status mst_ps_check_map_workers(const struct mst_msg_map *map, struct mst_error *err);

// A connection on the control loop. Work on other threads keeps the id, not the pointer: the connection may be gone.
struct control_conn {
    struct control_conn *next;
    struct mst_ps *ps;
    struct mst_conn *conn;
    uint64_t id;
};

// A call that is answered later.
struct late_call {
    struct mst_ps *ps;
    uint64_t conn_id;
    uint16_t method;
    uint64_t call;
};

void mst_ps_on_map(void *arg, struct mst_conn *conn, const struct mst_message *message);
// fencing.c
void mst_ps_on_fence(void *arg, struct mst_conn *conn, const struct mst_message *message);
void mst_ps_fences_free(struct mst_ps *ps);
// A holding of the group's buckets of this home thread, not served yet, with the values that the map names; NULL:
// zeros. Thread: any
mst_status mst_ps_build_holding(const struct ps_group *group, uint32_t home_thread, const struct mst_msg_map *values,
                                struct mst_holding **out, struct mst_error *err);
// restoring.c: MAP once more: buckets of groups that were lost get its values; then it is answered.
void mst_ps_restore(struct control_conn *control, const struct mst_message *message);
// saving.c
// Its group goes, and with a loop what is under way there: the save after it.
void mst_ps_save_forget(struct ps_save *save);
void mst_ps_on_save(void *arg, struct mst_conn *conn, const struct mst_message *message);

// memory.c
void mst_ps_on_state(void *arg, struct mst_conn *conn, const struct mst_message *message);
void mst_ps_on_recall(void *arg, struct mst_conn *conn, const struct mst_message *message);

// cutting.c
void mst_ps_on_cut(void *arg, struct mst_conn *conn, const struct mst_message *message);
// Lets all pushes pass again, of every group, and refuses that cut from now on; fine if there is none. why: a literal
void mst_ps_give_cuts_up(struct mst_ps *ps, const char *why);
void mst_ps_cuts_free(struct mst_ps *ps);
// The memory that the last cut needed goes back to the system unless there is another one soon, or many are expected.
void mst_ps_trim_later(struct mst_ps *ps);

// part_calls.c: SAVE where storage is not shared (checkpoint.local).
// Answers which parts are here whole; on the reader's thread they are read through.
void mst_ps_on_part_question(struct control_conn *control, const struct mst_message *message,
                             const struct mst_msg_save *meta);
// New text: where this PS keeps its parts.
char *mst_ps_part_dir(const char *dir, uint32_t index);

void mst_ps_on_stats(void *arg, struct mst_conn *conn, const struct mst_message *message);

// ---- taking_roles.c: who is primary, backup and joiner (ROLES); nothing of it where the map knows no roles ----

void mst_ps_on_roles(void *arg, struct mst_conn *conn, const struct mst_message *message);
struct ps_roles *mst_ps_roles_new(struct mst_ps *ps);
void mst_ps_roles_free(struct ps_roles *roles);
// Roles are stored here.
bool mst_ps_has_roles(const struct mst_ps *ps);
const struct mst_roles *mst_ps_roles_stored(const struct mst_ps *ps);
// … and acted on.
bool mst_ps_is_acting(const struct mst_ps *ps);
// It has acted on roles that name it: what it has stored counts for a chief that starts.
bool mst_ps_is_counting(const struct mst_ps *ps);
// What this process is in a group by these roles. Thread: any
enum mst_replica_role mst_ps_role(const struct mst_ps *ps, const struct mst_roles *roles, size_t group);
// Takes the roles of the map that was accepted, unless newer ones are stored.
// Errors: INVALID_ARGUMENT TF_CONFIG does not name the servers
mst_status mst_ps_roles_from_map(struct mst_ps *ps, struct mst_error *err);
// The holdings are there: they get the roles.
void mst_ps_roles_begin(struct mst_ps *ps);
// Has the holdings of a data thread replicated. Thread: that one's loop
void mst_ps_replicate(struct mst_ps *ps, struct mst_data_thread *thread);
// This process is to stop: the chief hears of it.
void mst_ps_wants_drain(struct mst_ps *ps);

struct late_call mst_ps_late_call(const struct control_conn *control, const struct mst_message *message);
// Answers a late call, if its connection is still there. meta is released.
void mst_ps_answer(const struct late_call *late, struct mst_buf *meta);
// The same with a body and its checksum; its release runs in any case.
void mst_ps_answer_with(const struct late_call *late, struct mst_buf *meta, const struct mst_body *body);
void mst_ps_answer_error(const struct late_call *late, mst_status status, const char *text);
// The term of a call of the chief: an older chief than the one we follow is refused.
mst_status mst_ps_check_term(const struct mst_ps *ps, uint64_t term, struct mst_error *err);
void mst_ps_end(struct mst_ps *ps, mst_status status, const char *text);

// ---- ps/round_calls.c: synchronous rounds; NULL where the map names no round workers ----

struct mst_round_places;
struct ps_rounds;

void mst_ps_on_round(void *arg, struct mst_conn *conn, const struct mst_message *message);
// Before the data threads are visited with a map that has rounds.
struct ps_rounds *mst_ps_rounds_new(const struct ps_group *group);
// On the data thread of a holding: reserves what its rounds need.
mst_status mst_ps_rounds_visit(struct ps_rounds *rounds, const struct mst_holding *holding,
                               struct mst_round_places **out, struct mst_error *err);
// … and serves them. Owner: steals own
void mst_ps_rounds_serve(struct ps_rounds *rounds, struct mst_holding *holding, struct mst_round_places *own);
// When the map's holdings are served.
mst_status mst_ps_rounds_start(struct ps_rounds *rounds, struct mst_error *err);
void mst_ps_rounds_free(struct ps_rounds *rounds);
// With replicas: every data thread has stored roles by which this is the group's primary, or is not, and acts on them.
void mst_ps_rounds_roles(struct ps_rounds *rounds, bool is_primary, bool acts);
// … the group was lost, and its buckets have been read from a checkpoint.
void mst_ps_rounds_restored(struct ps_rounds *rounds);
// The newest close that the group stores or has stored, on this server, if it is newer than *newest (*has_close).
// Owner: *newest borrows from arena, or until the next ROUND
mst_status mst_ps_rounds_close(const struct ps_rounds *rounds, struct mst_arena *arena, bool *has_close,
                               struct mst_msg_close *newest);
// Serves a holding on its data thread, with rounds if there are any. Owner: steals holding, also where it fails
mst_status mst_ps_serve_holding(struct ps_group *group, struct mst_data_thread *thread, struct mst_holding *holding,
                                struct mst_error *err);
// Answers a late call with a message.
#define MST_PS_ANSWER(late, name, reply)                                                                               \
    do {                                                                                                               \
        struct mst_buf meta_;                                                                                          \
        mst_buf_init(&meta_, MST_FRAME_META_MAX);                                                                      \
        mst_status encoded_ = mst_msg_##name##_encode(reply, &meta_);                                                  \
        if (encoded_ == MST_OK) {                                                                                      \
            mst_ps_answer(late, &meta_);                                                                               \
        } else {                                                                                                       \
            mst_buf_fini(&meta_);                                                                                      \
            mst_ps_answer_error(late, encoded_, "the answer does not fit a frame");                                    \
        }                                                                                                              \
    } while (0)
