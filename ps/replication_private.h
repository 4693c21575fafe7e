// What ps/replication.c, ps/forwarding.c and ps/following.c share, with each other and with ps/data_thread.c and
// ps/holding.c. All on the data thread's loop.
#pragma once

#include "base/log_rate.h"
#include "event/timer.h"
#include "ps/data_thread_private.h"
#include "ps/replica.h"
#include "ps/replication.h"
#include "rpc/peer.h"

#include <stdatomic.h>

// Something that was applied here and that followers have to have. Its gradient is the buffer that the push was read
// into.
struct op {
    struct op *next_free;
    struct replicating *replicating;
    struct mst_msg_op meta; // but for the epoch, which is that of sending
    struct staging *staging;
    struct mst_round_mean *mean; // … or what contributions to a round came to
    struct mst_arena arena;      // holds arrays of meta, if it has any
    struct iovec part;
    unsigned n_sending; // frames that read the buffer
    bool is_over;       // nobody needs it but those
};

// A call on its way to a follower.
struct sent {
    struct sent *next_free;
    struct sent *next; // of all, free or not
    struct replication *replication;
    struct link *link;
    struct mst_replica_message message;
    uint64_t asked_ms;
};

// A bucket on its way to a follower, as it was when it was sent.
struct sweep_out {
    struct mst_snapshot snapshot;
    struct mst_round_mean *mean; // of a stored close, or NULL
    struct iovec parts[2 + MST_OPTIMIZER_MAX_SLOTS];
    size_t n_parts;
};

// The lasting connection with a data thread of another PS.
struct link {
    struct link *next;
    struct mst_data_thread *thread;
    uint32_t ps;
    uint32_t remote_thread;
    uint64_t incarnation; // of the process that is connected
    struct mst_peer *peer;
    size_t n_calls; // not answered
    bool is_needed;
    struct mst_log_rate refusals;
};

struct replication_metrics {
    struct mst_metric *ops;
    struct mst_metric *ops_bytes;
    struct mst_metric *swept;
    struct mst_metric *followed;
    struct mst_metric *mismatches;
};

// Of a data thread.
struct replicating {
    struct mst_replicating_config config;
    struct mst_data_thread *thread;
    struct link *links;
    struct sent *free_sents;
    struct sent *all_sents;
    struct op *free_ops;
    size_t op_bytes; // of all gradients that are kept for followers
    bool has_parked; // a push waits because those are too many
    struct follower *followers;
    struct death_watch *watches;
    struct mst_timer tick;
    struct replication_metrics metrics;
};

// Of a holding.
struct replication {
    struct mst_holding *holding;
    struct replicating *replicating;
    struct mst_replica replica;
    struct op **ops;    // a ring: operation s lies at s & (capacity - 1)
    size_t capacity;    // a power of two
    uint64_t first_seq; // ops first_seq … first_seq + n_ops - 1 are kept
    size_t n_ops;
    struct pending_push *answering; // applied, not acknowledged; by seq
    struct pending_push **answering_end;
    struct pending_push *pulls; // until it serves
    struct mst_holding_fencing *fencings;
    bool awaits_values;  // of a checkpoint: the group was lost
    uint64_t n_awaited;  // times that it did
    uint32_t mismatched; // a follower whose content differs, under this epoch
    struct mst_epoch mismatch_epoch;
    struct mst_epoch complained; // that a follower did not understand something, under this epoch
    uint32_t refuser;            // the follower that last refused something, at this time, and why
    uint64_t refused_ms;
    char refusal[160];
    _Atomic uint64_t status; // for other threads
};

enum forwarding_verdict { MST_FORWARD_OK, MST_FORWARD_LATER, MST_FORWARD_REFUSED };

// ---- for ps/data_thread.c; only where the thread replicates ----

void mst_replication_new(struct mst_holding *holding);
void mst_replication_free(struct replication *replication);
// Closes its connections: nothing is sent or heard any more. NULL is fine.
void mst_replicating_stop(struct replicating *replicating);
void mst_replicating_free(struct replicating *replicating);
// Whether a push of this bucket may be read, or applied, now.
enum forwarding_verdict mst_forwarding_admits(const struct replication *replication);
enum forwarding_verdict mst_forwarding_serves(const struct replication *replication);
bool mst_forwarding_has_room(struct replication *replication);
// Why this is not the primary.
mst_status mst_forwarding_refuse(const struct replication *replication, uint32_t bucket, struct mst_error *err);
// A push was applied, or repeated: forwards it, and answers when the followers have it. Owner: steals push
void mst_forwarding_pushed(struct pending_push *push, const struct mst_push_result *result);
// A pull that waits until this serves. Owner: steals pull
void mst_forwarding_keep_pull(struct replication *replication, struct pending_push *pull);
// Is about to be answered: the row that the worker gets by that is the followers', too.
void mst_forwarding_pulled(const struct pending_push *pull);
// The client's connection is gone.
void mst_forwarding_closed(struct replication *replication, const struct client *client);

// ---- between ps/replication.c and the two sides ----

// The operation gets the next number, its meta but for kind and content is filled; NULL: nobody follows, so it is not
// kept.
struct op *mst_forwarding_add_op(struct replication *replication);
// The operation has this mean as its body. Owner: steals mean
void mst_forwarding_give_mean(struct op *op, struct mst_round_mean *mean);
struct op *mst_forwarding_find_op(const struct replication *replication, uint64_t seq);
// Operations up to floor are not needed any more.
void mst_forwarding_prune(struct replication *replication, uint64_t floor);
// Sends what is to be sent.
void mst_forwarding_pump(struct replication *replication);
// Says that this follower is given up, and why.
void mst_forwarding_tell_unreached(const struct replication *replication, uint32_t ps);
// New roles name those that it sends to: the chief has met them.
void mst_forwarding_hurry(const struct replication *replication);
// Connects with those that a holding of the thread may have to send something to.
void mst_forwarding_keep_links(struct replicating *replicating);

// From the loop: looks when something is due, and sets the timer for it.
void mst_replicating_wake(struct replicating *replicating);
// Something of the machine changed: sends, answers and tells what is due.
void mst_replication_progress(struct replication *replication);
// The same, after a lease that this one had granted ended: what was held is looked at again.
void mst_replication_look_again(struct replication *replication);
// What a sweep brings later needs no gradients before.
bool mst_replication_is_counted_only(const struct replication *replication, const struct mst_bucket *bucket);
// The content of a bucket is compared with the followers'.
void mst_replication_keep_checksum(struct replication *replication, const struct mst_bucket *bucket);
void mst_replication_fence_buckets(struct mst_holding *holding, const struct mst_holding_fencing *fencing);
void mst_following_free(struct replicating *replicating);
// True while it is not known whether a process of this server, which was followed here, is gone.
bool mst_following_watches(const struct replicating *replicating, uint32_t ps);
// This process listens where a link goes to: what was there before is gone.
void mst_following_met(struct replicating *replicating, uint32_t ps, uint64_t incarnation, const struct mst_conn *conn);
