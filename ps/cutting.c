// CUT: one point of all workers' steps. HOLD visits every data thread, which admits no new step from then on, and
// answers with each worker's newest row; ADMIT lets through what other servers already have, and is answered when every
// bucket is marked. The chief's silence of one lease, a newer cut or a new chief give the cut up: its id is refused
// then, so that a chief which was away commits nothing that is half marked.
#include "ps/ps_private.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "wire/worker_numbers.h"

#include <stdlib.h>
#include <string.h>

// A visit to one holding, on its data thread; each is on its way at most once at a time.
struct visit {
    struct ps_cut *cut;
    uint32_t thread; // its home thread
    struct mst_msg_client_row *rows;
    size_t n_rows;
    uint64_t n_updates; // the most that a bucket was marked with; UINT64_MAX: none is pushed
};

struct ps_cut {
    struct ps_cut *next; // in the list of all that are not freed
    struct ps_group *group;
    uint64_t id;
    bool is_admitting;
    bool is_marked;
    bool is_given_up;  // visits under way find it so
    size_t n_visiting; // that have not come back
    size_t n_opening;  // data threads that have not let go yet
    const char *why;   // it was given up
    struct late_call late;
    bool has_late;                   // a question waits for its answer
    struct mst_msg_client_row *rows; // HOLD: the newest; ADMIT: where a bucket was marked with less than admitted
    size_t n_rows;
    struct mst_cut_row *admitted;
    size_t n_admitted;
    uint64_t began_ns;
    uint64_t pause_us;
    struct mst_timer silence;
    struct visit visits[]; // by home thread
};

static void free_cut(struct ps_cut *cut)
{
    for (struct ps_cut **at = &cut->group->cuts; *at; at = &(*at)->next)
        if (*at == cut) {
            *at = cut->next;
            break;
        }
    for (size_t i = 0; i < cut->group->n_holdings; i++)
        free(cut->visits[i].rows);
    mst_timer_fini(&cut->silence);
    free(cut->rows);
    free(cut->admitted);
    free(cut);
}

void mst_ps_cuts_free(struct mst_ps *ps)
{
    for (size_t g = 0; g < ps->n_groups; g++) {
        while (ps->groups[g].cuts)
            free_cut(ps->groups[g].cuts);
        ps->groups[g].cut = NULL;
    }
}

static uint64_t most_updates(const struct ps_cut *cut)
{
    uint64_t most = UINT64_MAX;
    for (size_t i = 0; i < cut->group->n_holdings; i++) {
        uint64_t n = cut->visits[i].n_updates;
        if (n != UINT64_MAX && (most == UINT64_MAX || n > most))
            most = n;
    }
    return most;
}

// Refused: the rows are those that it waited for.
static void answer(struct ps_cut *cut, const char *refused)
{
    if (!cut->has_late)
        return;
    cut->has_late = false;
    struct mst_msg_cut_reply reply = {.id = cut->id,
                                      .n_rows = cut->n_rows,
                                      .rows = cut->rows,
                                      .is_marked = !refused && cut->is_marked,
                                      .is_refused = refused != NULL,
                                      .text = refused,
                                      .pause_us = cut->pause_us,
                                      .n_updates = most_updates(cut)};
    MST_PS_ANSWER(&cut->late, cut_reply, &reply);
}

static void answer_refused(const struct late_call *late, uint64_t id, const char *why)
{
    struct mst_msg_cut_reply reply = {.id = id, .is_refused = true, .text = why};
    MST_PS_ANSWER(late, cut_reply, &reply);
}

static void free_if_done(struct ps_cut *cut)
{
    if (cut->is_given_up && cut->n_visiting == 0 && cut->n_opening == 0)
        free_cut(cut);
}

// A visit came back: the last one of a cut that was given up frees it.
static bool is_over(struct visit *visit)
{
    struct ps_cut *cut = visit->cut;
    cut->n_visiting--;
    if (!cut->is_given_up)
        return false;
    free_if_done(cut);
    return true;
}

// Posts fn to the data thread of every holding, each with its visit. What is dropped with a loop is freed with the PS.
static void visit_all(struct ps_cut *cut, mst_loop_fn fn)
{
    for (size_t i = 0; i < cut->group->n_holdings; i++) {
        struct visit *visit = &cut->visits[i];
        visit->n_rows = 0;
        visit->n_updates = UINT64_MAX;
        cut->n_visiting++;
        mst_loop_post(mst_ps_group_loop(cut->group, i), fn, visit);
    }
}

static void come_back(struct visit *visit, mst_loop_fn fn)
{
    mst_loop_post(visit->cut->group->ps->config.control, fn, visit);
}

// ---- giving up ----

static void on_marked(void *arg);

// A data thread lets go. Posts are in order, so this follows every hold and admit of the cut on that thread.
struct opening {
    struct ps_cut *cut;
    struct mst_holding *holding;
    uint64_t id;
    struct mst_msg_client_row *missing;
    size_t n_missing;
};

static void free_opening(void *arg)
{
    struct opening *opening = arg;
    free(opening->missing);
    free(opening);
}

static void on_opened(void *arg)
{
    struct opening *opening = arg;
    struct ps_cut *cut = opening->cut;
    if (opening->n_missing) {
        cut->rows = mst_realloc_array(cut->rows, cut->n_rows + opening->n_missing, sizeof *cut->rows);
        memcpy(cut->rows + cut->n_rows, opening->missing, opening->n_missing * sizeof *cut->rows);
        cut->n_rows += opening->n_missing;
    }
    free_opening(opening);
    if (--cut->n_opening > 0)
        return;
    answer(cut, cut->why);
    free_if_done(cut);
}

static void add_missing(void *arg, const struct mst_cut_row *row)
{
    struct opening *opening = arg;
    opening->missing = mst_realloc_array(opening->missing, opening->n_missing + 1, sizeof *opening->missing);
    opening->missing[opening->n_missing++] =
        (struct mst_msg_client_row){.worker = row->worker, .number = row->number, .step = row->step};
}

static void open_thread(void *arg)
{
    struct opening *opening = arg;
    mst_holding_missing(opening->holding, add_missing, opening);
    struct visit *waiting = mst_holding_open(opening->holding);
    if (waiting)
        come_back(waiting, on_marked);
    mst_holding_drop_cut(opening->holding, opening->id);
    mst_loop_post_or_drop(opening->cut->group->ps->config.control, on_opened, free_opening, opening);
}

static void drop_snapshots(void *arg)
{
    struct opening *opening = arg;
    mst_holding_drop_cut(opening->holding, opening->id);
    free_opening(opening);
}

static void post_all(const struct ps_group *group, mst_loop_fn fn, struct ps_cut *cut, uint64_t id)
{
    for (size_t i = 0; i < group->n_holdings; i++) {
        struct opening *opening = mst_alloc(sizeof *opening);
        *opening = (struct opening){.cut = cut, .holding = group->holdings[i], .id = id};
        mst_loop_post_or_drop(mst_ps_group_loop(group, i), fn, free_opening, opening);
    }
}

static void give_up(struct ps_group *group, const char *why)
{
    struct ps_cut *cut = group->cut;
    if (!cut)
        return;
    group->cut = NULL;
    mst_timer_stop(&cut->silence);
    cut->is_given_up = true;
    cut->why = why;
    cut->n_rows = 0;
    if (cut->is_marked) {
        free_if_done(cut);
        return;
    }
    MST_LOG(WARN, "ps", "cut given up", "cut=%llu reason=\"%s\"", (unsigned long long)cut->id, why);
    cut->n_opening = group->n_holdings;
    post_all(group, open_thread, cut, cut->id);
}

void mst_ps_give_cuts_up(struct mst_ps *ps, const char *why)
{
    for (size_t g = 0; g < ps->n_groups; g++)
        give_up(&ps->groups[g], why);
}

static void on_silence(void *arg)
{
    struct ps_cut *cut = arg;
    if (!cut->is_marked)
        give_up(cut->group, cut->is_admitting ? "a worker's push that it waits for did not come within a lease"
                                              : "the chief said nothing within a lease");
}

// ---- HOLD ----

static void take_newest(struct visit *visit, const struct mst_bucket *bucket)
{
    for (size_t w = 0; w < bucket->clients.n_rows; w++) {
        const struct mst_client_row *row = &bucket->clients.rows[w];
        if (row->number == 0)
            continue;
        struct mst_msg_client_row *newest = NULL;
        for (size_t i = 0; i < visit->n_rows && !newest; i++)
            if (visit->rows[i].worker == w)
                newest = &visit->rows[i];
        if (!newest) {
            visit->rows = mst_realloc_array(visit->rows, visit->n_rows + 1, sizeof *visit->rows);
            newest = &visit->rows[visit->n_rows++];
            *newest = (struct mst_msg_client_row){.worker = (uint32_t)w};
        }
        if (row->number > newest->number || (row->number == newest->number && row->step > newest->step)) {
            newest->number = row->number;
            newest->step = row->step;
            newest->lease = row->lease;
            newest->offset = row->offset;
            newest->is_restored = row->is_restored;
        }
    }
}

static void add_rows(struct ps_cut *cut, const struct visit *visit)
{
    if (visit->n_rows == 0)
        return;
    cut->rows = mst_realloc_array(cut->rows, cut->n_rows + visit->n_rows, sizeof *cut->rows);
    memcpy(cut->rows + cut->n_rows, visit->rows, visit->n_rows * sizeof *cut->rows);
    cut->n_rows += visit->n_rows;
}

static void on_held(void *arg)
{
    struct visit *visit = arg;
    struct ps_cut *cut = visit->cut;
    if (!is_over(visit)) {
        add_rows(cut, visit); // several of a worker are fine: the chief takes the highest
        if (cut->n_visiting == 0)
            answer(cut, NULL);
    }
}

static void hold(void *arg)
{
    struct visit *visit = arg;
    struct mst_holding *holding = visit->cut->group->holdings[visit->thread];
    mst_holding_hold(holding, visit->cut->id);
    for (size_t i = 0; i < holding->n_buckets; i++)
        if (!holding->buckets[i]->is_frozen)
            take_newest(visit, holding->buckets[i]);
    come_back(visit, on_held);
}

// ---- ADMIT ----

static void on_marked(void *arg)
{
    struct visit *visit = arg;
    struct ps_cut *cut = visit->cut;
    if (is_over(visit))
        return;
    add_rows(cut, visit);
    if (cut->n_visiting > 0)
        return;
    cut->is_marked = true;
    cut->pause_us = (mst_clock_monotonic_ns() - cut->began_ns) / 1000;
    mst_timer_stop(&cut->silence);
    MST_LOG(INFO, "ps", "cut marked", "cut=%llu pause_us=%llu", (unsigned long long)cut->id,
            (unsigned long long)cut->pause_us);
    answer(cut, NULL);
}

static void add_marked_row(struct visit *visit, const struct mst_bucket *bucket, const struct mst_cut_row *admitted)
{
    struct mst_client_row row =
        mst_snapshot_row(&bucket->snapshots, visit->cut->id, admitted->worker, admitted->number);
    if (!mst_cut_gate_is_short(admitted, &row))
        return;
    visit->rows = mst_realloc_array(visit->rows, visit->n_rows + 1, sizeof *visit->rows);
    visit->rows[visit->n_rows++] = (struct mst_msg_client_row){.bucket = bucket->id,
                                                               .worker = admitted->worker,
                                                               .number = row.number,
                                                               .step = row.step,
                                                               .lease = row.lease,
                                                               .offset = row.offset};
}

// All buckets of a thread are marked, on its loop: where one of them has less of a worker than the cut says, the worker
// was fenced meanwhile, and the chief has to know.
static void thread_marked(void *arg)
{
    struct visit *visit = arg;
    const struct ps_cut *cut = visit->cut;
    const struct mst_holding *holding = cut->group->holdings[visit->thread];
    for (size_t i = 0; i < holding->n_buckets; i++) {
        const struct mst_bucket *bucket = holding->buckets[i];
        if (bucket->is_frozen)
            continue;
        uint64_t n_updates = mst_snapshot_n_updates(&bucket->snapshots, cut->id);
        if (visit->n_updates == UINT64_MAX || n_updates > visit->n_updates)
            visit->n_updates = n_updates;
        for (size_t a = 0; a < cut->n_admitted; a++)
            add_marked_row(visit, bucket, &cut->admitted[a]);
    }
    come_back(visit, on_marked);
}

static void admit(void *arg)
{
    struct visit *visit = arg;
    const struct ps_cut *cut = visit->cut;
    const struct mst_holding_admission admission = {
        .cut = cut->id, .rows = cut->admitted, .n_rows = cut->n_admitted, .on_marked = thread_marked, .arg = visit};
    mst_holding_admit(cut->group->holdings[visit->thread], &admission);
}

// ---- the call ----

static void begin_hold(struct ps_group *group, uint64_t id)
{
    size_t n_threads = group->n_holdings;
    struct ps_cut *cut = mst_alloc(sizeof *cut + n_threads * sizeof cut->visits[0]);
    *cut = (struct ps_cut){.next = group->cuts, .group = group, .id = id, .began_ns = mst_clock_monotonic_ns()};
    for (size_t i = 0; i < n_threads; i++)
        cut->visits[i] = (struct visit){.cut = cut, .thread = (uint32_t)i};
    group->cuts = cut;
    mst_timer_init(&cut->silence, group->ps->config.control, on_silence, cut);
    mst_timer_start_once(&cut->silence, group->ps->config.lease_ms);
    group->cut = cut;
    group->last_cut = id;
}

static void take_admitted(struct ps_cut *cut, const struct mst_msg_cut *message)
{
    cut->is_admitting = true;
    cut->admitted = mst_alloc_array(message->n_rows, sizeof *cut->admitted);
    cut->n_admitted = message->n_rows;
    for (size_t i = 0; i < message->n_rows; i++)
        cut->admitted[i] =
            (struct mst_cut_row){message->rows[i].worker, message->rows[i].number, message->rows[i].step};
    free(cut->rows);
    cut->rows = NULL;
    cut->n_rows = 0;
}

// The question is kept; an older one of the same cut is answered by whoever asked it being gone.
static void keep(struct ps_cut *cut, const struct late_call *late)
{
    cut->late = *late;
    cut->has_late = true;
}

static void on_hold(struct ps_group *group, const struct late_call *late, const struct mst_msg_cut *message)
{
    if (group->cut && group->cut->id == message->id && !group->cut->is_admitting) {
        keep(group->cut, late); // asked once more
        if (group->cut->n_visiting == 0)
            answer(group->cut, NULL);
        return;
    }
    if (message->id <= group->last_cut) {
        answer_refused(late, message->id, "this cut is over here");
        return;
    }
    give_up(group, "a newer one began");
    begin_hold(group, message->id);
    keep(group->cut, late);
    visit_all(group->cut, hold);
}

static void on_admit(struct ps_group *group, const struct late_call *late, const struct mst_msg_cut *message)
{
    if (message->n_rows == 0 && message->id > group->last_cut) { // between two rounds nothing has to be held
        give_up(group, "a newer one began");
        begin_hold(group, message->id);
    }
    if (!group->cut || group->cut->id != message->id) {
        answer_refused(late, message->id, "this cut is over here");
        return;
    }
    keep(group->cut, late);
    if (group->cut->is_marked) {
        answer(group->cut, NULL);
    } else if (!group->cut->is_admitting) {
        take_admitted(group->cut, message);
        mst_timer_start_once(&group->cut->silence, group->ps->config.lease_ms);
        visit_all(group->cut, admit);
    }
}

static mst_status check_cut(const struct mst_ps *ps, const struct mst_msg_cut *message, struct ps_group **out,
                            struct mst_error *err)
{
    MST_TRY(mst_ps_check_term(ps, message->term, err));
    MST_TRY(mst_ps_find_group(ps, message->group, out, err));
    if (message->id == 0)
        return mst_fail(err, MST_INVALID_ARGUMENT, "a cut has no id");
    return mst_worker_rows_check(message->rows, message->n_rows, err);
}

static void take_message(struct ps_group *group, const struct late_call *late, const struct mst_msg_cut *message)
{
    struct mst_msg_cut_reply done = {.id = message->id};
    switch (message->phase) {
    case MST_CUT_HOLD:
        on_hold(group, late, message);
        return;
    case MST_CUT_ADMIT:
        on_admit(group, late, message);
        return;
    case MST_CUT_RESUME:
        if (group->cut && group->cut->id == message->id)
            give_up(group, "the chief gave it up");
        break;
    case MST_CUT_DROP:
    case MST_CUT_PHASES:
        post_all(group, drop_snapshots, NULL, message->id);
        mst_ps_trim_later(group->ps);
        break;
    }
    if (group->last_cut < message->id)
        group->last_cut = message->id;
    MST_PS_ANSWER(late, cut_reply, &done);
}

void mst_ps_on_cut(void *arg, struct mst_conn *conn, const struct mst_message *message)
{
    struct control_conn *control = arg;
    struct mst_arena arena;
    struct mst_msg_cut cut;
    struct ps_group *group;
    struct mst_error err;
    mst_arena_init(&arena, MST_MSG_ARENA_MAX);
    mst_status status = mst_msg_cut_decode(message->meta, &arena, &cut, &err);
    if (status == MST_OK)
        status = check_cut(control->ps, &cut, &group, &err);
    if (status == MST_OK) {
        struct late_call late = mst_ps_late_call(control, message);
        take_message(group, &late, &cut);
    } else {
        mst_conn_reply_error(conn, message, status, "%s", err.text);
    }
    mst_arena_fini(&arena);
}
