// What the two halves of ps/replica.h share.
#pragma once

#include "ps/replica.h"

static inline bool is_same(const struct mst_replica_id *a, const struct mst_replica_id *b)
{
    return a->ps == b->ps && a->incarnation == b->incarnation;
}

static inline bool is_self(const struct mst_replica *r, const struct mst_replica_id *id)
{
    return is_same(&r->config.self, id);
}

// What is here is of no use any more.
static inline void forget(struct mst_replica *r)
{
    r->is_whole = false;
    r->is_begun = false;
}
