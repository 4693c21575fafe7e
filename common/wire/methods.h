/** @file
 *  The methods of our wire and their numbers. A number is never used again for something else. Thread: any
 */
#pragma once

#include <stdint.h>

// X(name, number, text)
#define MST_METHOD_MAP(X)                                                                                              \
    X(GREETING, 1, "greeting")        /* first on every connection */                                                  \
    X(HEARTBEAT, 2, "heartbeat")      /* any role to the chief */                                                      \
    X(LEASE, 3, "lease")              /* worker to chief: asks for batches, reports those done */                      \
    X(MAP, 4, "map")                  /* chief to PS: the shards it holds; asked of the chief by workers */            \
    X(PUSH, 5, "push")                /* worker to PS; body: gradients of a bucket; reply body: its parameters */      \
    X(PULL, 6, "pull")                /* worker to PS; reply body: parameters of a bucket */                           \
    X(FENCE, 7, "fence")              /* chief to PS: an incarnation is refused from now on */                         \
    X(SAVE, 8, "save")                /* chief to PS: write your part of a checkpoint */                               \
    X(STATS, 9, "stats")              /* chief to PS: what have you done */                                            \
    X(FINISH, 10, "finish")           /* chief to any role: the job is over; worker to chief: it leaves */             \
    X(EVALUATE, 11, "evaluate")       /* evaluator to chief: asks what to evaluate, reports what it has */             \
    X(ROUND, 12, "round")             /* chief to PS: what it decided about rounds; reply: what is there of them */    \
    X(STATE, 13, "state")             /* chief to PS: keep this for the chief that comes after me */                   \
    X(RECALL, 14, "recall")           /* a chief that starts to PS: what did the last one leave? */                    \
    X(CUT, 15, "cut")                 /* chief to PS: one point of all workers' steps, to be kept */                   \
    X(ROLES, 16, "roles")             /* chief to PS: who is primary and backup; reply: how its replicas stand */      \
    X(WATCH_ROLES, 17, "watch_roles") /* worker or evaluator to chief: answered when there are newer roles */          \
    X(OP, 18, "op")                   /* primary to backup; body: the gradient that it applied */                      \
    X(GRANT, 19, "grant")             /* primary to backup: asks for the lease that it serves under */                 \
    X(SWEEP, 20, "sweep")             /* primary to follower; body: a bucket's weights and slots */

enum mst_method {
#define X(name, number, text) MST_METHOD_##name = number,
    MST_METHOD_MAP(X)
#undef X
};

/** The name for logs, "unknown" for a number outside the table. */
const char *mst_method_name(uint16_t method);
