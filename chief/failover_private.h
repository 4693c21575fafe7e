// What the files of the failover machine share.
#pragma once

#include "chief/failover.h"

struct mst_failover_ps {
    uint64_t incarnation; // 0: it was never up
    bool is_live;         // not known to be dead
    bool is_gone;         // dead, and its process too
    bool is_read;
    bool is_counting;
    bool is_draining;
    struct mst_roles memory; // read; n_ps 0: none
    struct mst_epoch stored; // as it reported
    struct mst_epoch acting; // …
    uint64_t named_n;        // of our first proposal that is known to name its incarnation; 0: none
    uint64_t found_named;    // the incarnation that the roles name which this chief took over; 0: none
    uint64_t dead_since_ms;
};

struct mst_failover_group {
    bool is_quiet;    // says its primary
    bool is_swept;    // says its joiner
    bool is_complete; // says its primary of the joiner
    uint32_t lost_ps; // says its primary; MST_NO_PS: none
    uint64_t *barred; // by PS: not to be its joiner until then
    bool has_changed; // in the proposal, which its primary, that was there, has to store
    bool may_restore; // it is lost, and what has to be known of that is
};

// What roles name on this server is there: it is not dead, and no other incarnation.
bool mst_failover_is_there(const struct mst_failover *f, const struct mst_roles *roles, uint32_t ps);
// What has to be, so that a group is served.
void mst_failover_repair(struct mst_failover *f, struct mst_roles *roles, size_t g, uint64_t now_ms);
// What should be, so that it has all its copies, where they belong. Of a group whose primary is there and stays.
// is_full: nothing else is to be done before.
void mst_failover_improve(struct mst_failover *f, struct mst_roles *roles, size_t g, bool is_full, uint64_t now_ms);
