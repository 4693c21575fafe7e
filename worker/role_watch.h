/** @file
 *  Who is primary of what, as the chief says it: one question is kept at the chief, which answers when there are newer
 *  roles than the asker has.
 *
 *      mst_role_watch_init(&watch, loop, on_roles, arg);
 *      MST_TRY(mst_role_watch_take(&watch, &map.roles, err));  // those that came with the map
 *      mst_role_watch_start(&watch, chief);
 *      mst_role_watch_up(&watch);                            // the link to the chief stands again
 *
 *  Thread: loop.
 */
#pragma once

#include "event/timer.h"
#include "rpc/peer.h"
#include "wire/roles.h"

struct mst_role_watch {
    struct mst_peer *chief; // NULL: not started
    struct mst_roles roles; // the newest that are known; of no servers: none are
    bool is_asking;
    struct mst_timer again;
    void (*on_roles)(void *arg, const struct mst_roles *roles);
    void *arg;
};

/** Asks nothing. on_roles(arg, roles) is to come whenever there are newer ones; they live until it returns, and it may
 *  stop the watch. */
void mst_role_watch_init(struct mst_role_watch *watch, struct mst_loop *loop,
                         void (*on_roles)(void *arg, const struct mst_roles *roles), void *arg);
/** These are known. Owner: copies message. Errors: those of mst_roles_take */
MST_MUST_USE mst_status mst_role_watch_take(struct mst_role_watch *watch, const struct mst_msg_roles *message,
                                            struct mst_error *err);
/** Begins to ask for newer ones. Owner: borrows chief until stop */
void mst_role_watch_start(struct mst_role_watch *watch, struct mst_peer *chief);
/** The link to the chief was made anew: asks again. Fine when it was not started. */
void mst_role_watch_up(struct mst_role_watch *watch);
/** Asks no more; the link is to be stopped before it is made anew. */
void mst_role_watch_stop(struct mst_role_watch *watch);
/** Releases it. */
void mst_role_watch_fini(struct mst_role_watch *watch);
