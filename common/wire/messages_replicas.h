/** @file
 *  The messages of groups and replicas: a part of wire/messages.h, which says how they are written and read.
 *
 *  A *group* is all buckets that the plan gives to one parameter server; a *replica* is one server's copy of those of a
 *  group's buckets that have one home thread. (DESIGN §5, Replication and failover.)
 *  Thread: any.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct mst_msg_client_row;
struct mst_msg_close;
struct mst_msg_square_norm;

/** What a parameter server's copy of a group's buckets is. */
enum mst_replica_role {
    MST_REPLICA_NONE,
    MST_REPLICA_PRIMARY, // applies pushes, forwards them, answers
    MST_REPLICA_BACKUP,  // has all that the primary acknowledged
    MST_REPLICA_JOINER,  // becomes a backup: is sent all that it has to have
    MST_REPLICA_ROLES,   // how many
};

enum mst_op_kind {
    MST_OP_PUSH,     // a gradient was applied; body: that gradient, or nothing where the bucket is to come
    MST_OP_FENCE,    // a worker's number is refused from now on
    MST_OP_CHECKSUM, // what the bucket holds at this version
    MST_OP_PULLED,   // a worker's number has a row in the bucket from now on
    // Of synchronous rounds. A close is stored as one AGGREGATE for each bucket that is pushed, then the CLOSE.
    MST_OP_AGGREGATE, // the mean gradient of a close in one bucket; body: that gradient
    MST_OP_CLOSE,     // a close is stored, whose aggregates were sent before
    MST_OP_APPLY,     // the stored close is applied: a version of every bucket
    MST_OP_KINDS,     // how many
};

/** Who is what in one group: the buckets that the plan gives to one parameter server, its home. */
struct mst_msg_group_roles {
    bool has_primary; // false: all that held it are lost
    uint32_t primary; // index of a PS
    size_t n_backups;
    const uint64_t *backups; // indexes of PSs
    bool has_joiner;
    uint32_t joiner;
    bool is_handed_over; // the primary lets no new push in, for another one shall be primary
};

/** Who is what in every group, under the epoch (term, n). See wire/roles.h. */
struct mst_msg_roles {
    uint64_t term;
    uint64_t n;
    size_t n_groups;
    const struct mst_msg_group_roles *groups;
    size_t n_incarnations;
    const uint64_t *incarnations; // by PS, of those that count; 0: it does not
    bool is_committed;            // it is to be acted on; else stored
    uint64_t known;               // to a PS: status of the newest reply that has come
    bool is_to_leave;             // to a PS: it was asked to stop, and hands over what it has
};

/** How one group stands on a PS. */
struct mst_msg_group_status {
    uint32_t group;
    enum mst_replica_role role;
    bool is_quiet;    // primary that is handed over: no push is on its way any more
    bool is_swept;    // joiner: it has all that was there
    bool is_complete; // primary: it waits for its joiner as for a backup
    bool has_lost;    // primary: it cannot reach …
    uint32_t lost;    // … this PS
};

/** All that a PS has of roles. */
struct mst_msg_roles_reply {
    uint64_t status; // grows whenever the rest changes
    uint64_t stored_term;
    uint64_t stored_n;
    uint64_t acting_term; // 0: it acts on none
    uint64_t acting_n;
    size_t n_groups;
    const struct mst_msg_group_status *groups;
    bool wants_drain; // it was told to stop
};

/** A worker or an evaluator waits for roles that are newer than these. */
struct mst_msg_roles_question {
    uint64_t term;
    uint64_t n;
};

/** What a primary did, for its backups to do the same. A replica is named by group and home thread. */
struct mst_msg_op {
    uint32_t group;
    uint32_t thread;
    uint64_t term; // the epoch that the primary acts on
    uint64_t n;
    uint64_t seq; // 1, 2, … of the replica
    enum mst_op_kind kind;
    uint32_t bucket;
    uint64_t version; // of the bucket after it
    uint32_t worker;  // the client row that changed
    uint64_t number;
    uint64_t step;
    uint64_t lease;
    uint64_t offset;
    double learning_rate;
    uint32_t crc32c;  // CHECKSUM: of weights and slots
    uint64_t round;   // AGGREGATE, APPLY: of the close
    uint64_t attempt; // … and which attempt at it
    size_t n_closes;  // CLOSE: 1
    const struct mst_msg_close *closes;
    size_t n_norms; // CLOSE: what the replica's buckets add to the norms of the aggregates
    const struct mst_msg_square_norm *norms;
    size_t n_scales; // APPLY: as in Round
    const double *scales;
};

struct mst_msg_op_reply {
    uint64_t term;
    uint64_t n;
    uint64_t seq;     // all up to this are here
    bool is_mismatch; // CHECKSUM: what is here is something else
};

/** A primary asks its backup for the lease under which it serves, or gives it back. */
struct mst_msg_grant {
    uint32_t group;
    uint32_t thread;
    uint64_t term;
    uint64_t n;
    bool is_release;
};

struct mst_msg_grant_reply {
    uint64_t term;
    uint64_t n;
    uint64_t seq;
    bool is_granted;
};

/** One bucket, as it is between operation seq and the next one, for a joiner, or for a backup that has others than its
 *  primary. Body: weights, slots, then the aggregate of the close that is stored and not applied. */
struct mst_msg_sweep {
    uint32_t group;
    uint32_t thread;
    uint64_t term;
    uint64_t n;
    uint64_t seq;
    uint32_t bucket;
    bool is_first; // whatever the follower has of this replica is forgotten
    uint64_t n_updates;
    uint64_t counter;
    size_t n_rows;
    const struct mst_msg_client_row *rows;
    size_t n_fenced;
    const uint64_t *fenced; // by worker: numbers up to this are refused
    size_t n_closes;        // rounds, is_first: the close that is applied, then the one that is only stored, if any
    const struct mst_msg_close *closes;
    size_t n_norms; // … its norms
    const struct mst_msg_square_norm *norms;
    bool has_aggregate; // the body has one
};

struct mst_msg_sweep_reply {
    uint64_t term;
    uint64_t n;
    uint64_t seq;
};
