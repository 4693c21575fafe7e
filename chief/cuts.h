/** @file
 *  A cut as the chief makes it: one point of all workers' steps, the same on every parameter server, while training
 *  goes on. Pure. (DESIGN §5, Cut and checkpoint; ps/cut_gate.h is the other end.)
 *
 *      mst_cuts_begin(&cuts, term, is_held);
 *      for (cursor = 0; mst_cuts_next(&cuts, &cursor, &ps, &message);) …send it; repeat what was lost…
 *      switch (mst_cuts_answered(&cuts, ps, &reply)) {
 *      case MST_CUTS_HELD:   …mst_cuts_keep(&cuts, &coordinator): the leases of this moment belong to the cut…
 *      case MST_CUTS_MARKED: …mst_cuts_settle(&cuts, &config, now_ms); what every server holds is in its snapshots…
 *      case MST_CUTS_FAILED: …given up; mst_cuts_next says whom to tell…
 *
 *  Asynchronous: HOLD to all, the tables come back, cut[w] is the highest row of each worker, ADMIT to all, each marks.
 *  Between two rounds (is_held false) nothing has to be held: ADMIT without rows.
 *  Ids grow with the term, so that an older chief's cut is refused.
 *  Thread: one at a time.
 */
#pragma once

#include "chief/chief_state.h"
#include "wire/messages.h"

enum mst_cuts_phase {
    MST_CUTS_IDLE,
    MST_CUTS_HOLDING,
    MST_CUTS_ADMITTING,
    MST_CUTS_RESUMING, // given up: those that may hold are told
};

enum mst_cuts_news {
    MST_CUTS_NOTHING,
    MST_CUTS_HELD,
    MST_CUTS_MARKED,
    MST_CUTS_FAILED,
};

struct mst_cuts {
    size_t n_ps;
    enum mst_cuts_phase phase;
    uint64_t term;
    uint64_t n_begun;        // under this term
    uint64_t id;             // of the last one
    unsigned char *answered; // by PS, in this phase
    size_t n_answered;
    struct mst_msg_client_row *rows; // the cut: the highest of each worker
    size_t n_rows;
    struct mst_chief_state_row *marks; // where a bucket was marked: with less than the cut says, or as it says
    size_t n_marks;
    struct mst_buf state; // of the chief, at the cut; empty: none is kept
    bool is_settled;      // what follows is known of it:
    uint64_t n_done;      // batches done
    uint64_t n_torn;      // of these
    uint64_t pause_us;    // the longest of a PS
    uint64_t *n_updates;  // by PS: the most that a bucket of it was marked with; UINT64_MAX: none is pushed
    char why[256];        // it failed
    struct mst_msg_client_row *missing; // … and these pushes had not come
    size_t n_missing;
};

/** None is under way. */
void mst_cuts_init(struct mst_cuts *cuts, size_t n_ps);
/** Releases it. */
void mst_cuts_fini(struct mst_cuts *cuts);
/** True while one is under way, or being given up. */
bool mst_cuts_is_busy(const struct mst_cuts *cuts);
/** Begins one, when none is under way; its id is cuts->id. */
void mst_cuts_begin(struct mst_cuts *cuts, uint64_t term, bool is_held);
/** The next PS that has not answered what it is to be told in this phase; *cursor starts at 0. False after the last.
 *  Owner: message->rows are borrowed until the next change */
bool mst_cuts_next(const struct mst_cuts *cuts, size_t *cursor, size_t *ps_out, struct mst_msg_cut *message);
/** A PS answered a message of that id. Late and repeated answers are nothing. */
enum mst_cuts_news mst_cuts_answered(struct mst_cuts *cuts, size_t ps, const struct mst_msg_cut_reply *reply);
/** It is not waited for any longer. False if none was under way. */
bool mst_cuts_give_up(struct mst_cuts *cuts, const char *why);
/** A PS will not answer: it was lost. */
void mst_cuts_ps_lost(struct mst_cuts *cuts, size_t ps);
/** Keeps the coordinator's state as it is: that of the cut. At MST_CUTS_HELD, for what workers report and are given
 *  later is not part of it.
 *  Errors: RESOURCE_EXHAUSTED it is too large (then none is kept) */
MST_MUST_USE mst_status mst_cuts_keep(struct mst_cuts *cuts, const struct mst_coordinator *c);
/** Makes of what is kept its settled form (chief/chief_state.h), by the marks: nobody holds a lease any more, what was
 *  done is done, what was not is to be given out again. Where training was stopped nothing is, and only what is done is
 *  counted, of which no state is left. config: the coordinator's. After MST_CUTS_MARKED; nothing if nothing is kept. */
void mst_cuts_settle(struct mst_cuts *cuts, const struct mst_coordinator_config *config, uint64_t now_ms);
