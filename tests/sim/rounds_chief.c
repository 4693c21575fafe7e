// The chief of a synchronous job: it claims a term and recalls what the PSs have stored, then runs the coordinator.
// What workers are told of themselves is told when every PS has stored it.
#include "chief/chief_state.h"
#include "rounds_private.h"

#include <string.h>

static void recall(struct world *w)
{
    struct sim_chief *chief = &w->chief;
    for (size_t ps = 0; ps < w->n_ps; ps++) {
        struct message m = {.kind = M_RECALL, .to = 1 + (uint32_t)ps, .term = chief->term};
        m.incarnation = chief->incarnation;
        if (chief->links[ps].met != w->ps[ps].life)
            chief->has_recalled[ps] = false; // its link broke
        if (!chief->has_recalled[ps])
            rounds_send(w, &m);
    }
}

void rounds_chief_start(struct world *w)
{
    struct sim_chief *chief = &w->chief;
    mst_coordinator_fini(&chief->coordinator);
    *chief = (struct sim_chief){.is_alive = true, .is_recalling = true, .term = 1};
    chief->incarnation = 1 + engine_draw(&w->engine, UINT64_MAX - 1);
    mst_coordinator_init(&chief->coordinator, &w->config);
    struct message tick = {.kind = M_TICK, .incarnation = chief->incarnation};
    engine_schedule(&w->engine, &tick, 0);
}

// ---- state ----

static void send_state(struct world *w, bool to_everybody)
{
    struct sim_chief *chief = &w->chief;
    for (size_t ps = 0; ps < w->n_ps; ps++) {
        struct message m = {.kind = M_STATE, .to = 1 + (uint32_t)ps, .term = chief->term, .n = chief->state_n};
        m.bytes = chief->state;
        if (to_everybody || !chief->has_stored[ps])
            rounds_send(w, &m);
    }
}

static void write_state(struct world *w)
{
    struct sim_chief *chief = &w->chief;
    static const uint64_t threads[MAX_PS] = {1};
    struct mst_msg_setback setbacks[MAX_PS];
    struct mst_chief_state state = {.checkpoint_step = chief->checkpoint_steps,
                                    .has_close = w->plant != ROUNDS_PLANT_PS_NO_STATE_CLOSE,
                                    .n_lost_updates = chief->n_lost_said,
                                    .n_ps = w->n_ps,
                                    .ps_threads = threads,
                                    .n_setbacks = w->plant == ROUNDS_PLANT_SETBACK_UNSAID ? 0 : w->n_ps,
                                    .setbacks = setbacks};
    rounds_servers_list_setbacks(w, setbacks);
    mst_rounds_close(&chief->coordinator.rounds, &state.close);
    struct mst_buf buf;
    mst_buf_init(&buf, 1 << 16);
    mst_status status = mst_chief_state_encode(&state, &chief->coordinator, &buf);
    MST_ASSERT(status == MST_OK);
    chief->state = rounds_keep(w, &buf);
    chief->state_n++;
    mst_buf_fini(&buf);
    memset(chief->has_stored, 0, sizeof chief->has_stored);
    send_state(w, true);
}

void rounds_chief_touch(struct world *w)
{
    write_state(w);
}

bool rounds_chief_is_stored(const struct world *w)
{
    for (size_t ps = 0; ps < w->n_ps; ps++)
        if (!w->chief.has_stored[ps])
            return false;
    return true;
}

// ---- rounds ----

static void send_round(struct world *w, size_t ps)
{
    struct sim_chief *chief = &w->chief;
    struct mst_msg_round round;
    struct mst_buf buf;
    if (mst_rounds_is_away(&chief->coordinator.rounds, ps))
        return;
    mst_rounds_tell(&chief->coordinator.rounds, ps, &round);
    mst_buf_init(&buf, 1 << 16);
    mst_status status = mst_msg_round_encode(&round, &buf);
    MST_ASSERT(status == MST_OK);
    struct message m = {.kind = M_ROUND, .to = 1 + (uint32_t)ps, .term = chief->term};
    m.bytes = rounds_keep(w, &buf);
    mst_buf_fini(&buf);
    chief->told[ps] = chief->coordinator.rounds.n_told;
    rounds_send(w, &m);
}

static bool is_here(const struct world *w, size_t worker)
{
    for (size_t ps = 0; ps < w->n_ps; ps++)
        if (rounds_n_parts(w, ps) > 0 && !mst_round_table_has(&w->ps[ps].copy.table, worker))
            return false;
    return true;
}

static bool is_stored(const struct world *w)
{
    const struct mst_rounds *rounds = &w->chief.coordinator.rounds;
    bool is_everywhere = true;
    for (size_t ps = 0; ps < w->n_ps; ps++) {
        const struct mst_round_table *table = &w->ps[ps].copy.table;
        is_everywhere = is_everywhere && rounds_backups_is_had(&w->ps[ps]) && table->stored == rounds->close_round &&
                        table->attempt == rounds->close_attempt;
    }
    return is_everywhere;
}

// True if the planted bug keeps the chief from closing a round again.
static bool is_kept_from_again(const struct world *w)
{
    const struct mst_rounds *rounds = &w->chief.coordinator.rounds;
    bool may_not = w->plant == ROUNDS_PLANT_NO_AGAIN ||
                   (w->plant == ROUNDS_PLANT_REPEAT_TEXT && rounds->close_term != rounds->term);
    return may_not && rounds->act_round < rounds->close_round && !is_stored(w);
}

// True if the planted bug keeps the chief from closing the next round.
static bool is_held_up(const struct world *w)
{
    const struct mst_coordinator *c = &w->chief.coordinator;
    if (is_kept_from_again(w))
        return true;
    size_t n_gone = 0;
    size_t n_here = 0;
    for (size_t i = 0; i < c->rounds.next.n_plan; i++) {
        uint32_t worker = c->rounds.next.plan[i].worker;
        n_gone += worker < c->membership.n_members && c->membership.members[worker].number > 0 &&
                  c->membership.members[worker].state == MST_MEMBER_ABSENT;
        n_here += is_here(w, worker);
    }
    if (c->rounds.over_round != c->rounds.close_round)
        return false;
    if (w->plant == ROUNDS_PLANT_NO_EMPTY)
        return n_gone == c->rounds.next.n_plan && n_here == 0;
    return w->plant == ROUNDS_PLANT_WAIT_N && n_here + w->config.n_backup < c->rounds.next.n_plan;
}

static void finish_cut(struct world *w)
{
    struct sim_chief *chief = &w->chief;
    struct mst_rounds *rounds = &chief->coordinator.rounds;
    if (!chief->is_cutting || !(mst_rounds_is_quiet(rounds) || w->plant == ROUNDS_PLANT_CUT_EARLY))
        return;
    chief->is_cutting = false;
    rounds_oracle_check_even(w, "a cut is made");
    bool are_all_there = true;
    for (size_t ps = 0; ps < w->n_ps; ps++)
        are_all_there = are_all_there && w->ps[ps].copy.table.has_begun && chief->links[ps].is_placed &&
                        chief->links[ps].met == w->ps[ps].life;
    if (are_all_there) { // a checkpoint, which a PS that dies begins with
        chief->checkpoint_steps = w->checkpoint_steps = rounds->close_steps;
        write_state(w);
    }
    mst_rounds_resume(rounds);
}

static void decide(struct world *w)
{
    struct sim_chief *chief = &w->chief;
    struct mst_coordinator *c = &chief->coordinator;
    enum mst_coordinator_news news;
    while (!is_held_up(w) && (news = mst_coordinator_advance(c)) != MST_COORDINATOR_SAME) {
        if (w->plant == ROUNDS_PLANT_NO_APPEND)
            c->rounds.next.n_tail = 0;
        if (news != MST_COORDINATOR_ROUND_OVER)
            continue;
        rounds_oracle_check_even(w, "a round is over");
        for (struct mst_epoch_record record; mst_coordinator_take_epoch(c, &record);) {
            rounds_oracle_check_epoch(w, &record);
            mst_training_sums_fini(&record.sums);
        }
        finish_cut(w);
    }
    finish_cut(w);
    w->is_closed_again = w->is_closed_again || c->rounds.n_again > 0;
    for (size_t ps = 0; ps < w->n_ps; ps++)
        if (chief->told[ps] != c->rounds.n_told)
            send_round(w, ps);
}

// What the first PS has is said of another one, but for those that nothing has arrived on.
static void fake_arrivals(const struct world *w, struct mst_msg_arrival *arrivals, struct mst_msg_round_reply *reply)
{
    struct mst_msg_round_reply first;
    mst_round_table_reply(&w->ps[0].copy.table, arrivals, &first);
    if (first.applied_round != reply->applied_round)
        return;
    reply->n_arrivals = first.n_arrivals;
    reply->arrivals = arrivals;
}

static void on_round_reply(struct world *w, const struct message *m)
{
    struct mst_rounds *rounds = &w->chief.coordinator.rounds;
    struct mst_arena arena;
    struct mst_msg_round_reply reply;
    struct mst_msg_arrival arrivals[MAX_WORKERS];
    if (m->term != w->chief.term)
        return;
    mst_arena_init(&arena, 1 << 20);
    mst_status status = mst_msg_round_reply_decode(m->bytes, &arena, &reply, NULL);
    MST_ASSERT(status == MST_OK);
    if (w->plant == ROUNDS_PLANT_ONE_SHARD)
        fake_arrivals(w, arrivals, &reply);
    mst_rounds_report(rounds, m->ps, &reply);
    mst_arena_fini(&arena);
    decide(w);
    // Acts at once, by a report that says of all PSs that they have stored the close.
    for (size_t ps = 0; w->plant == ROUNDS_PLANT_ACT_UNSTORED && ps < w->n_ps; ps++) {
        mst_round_table_reply(&w->ps[ps].copy.table, arrivals, &reply);
        reply.stored_round = rounds->close_round;
        reply.stored_attempt = rounds->close_attempt;
        reply.status += 1;
        if (rounds->act_round < rounds->close_round)
            mst_rounds_report(rounds, ps, &reply);
    }
    if (w->plant == ROUNDS_PLANT_ACT_UNSTORED)
        decide(w);
}

// ---- restart ----

// A round that is closed but not applied everywhere is taken for one that was never closed.
static void forget_close(struct world *w, struct mst_msg_close *close)
{
    for (size_t ps = 0; ps < w->n_ps; ps++)
        if (close->round > 0 && w->ps[ps].copy.table.applied < close->round) {
            close->next = close->was;
            close->round--;
            close->n_ins = 0;
            return;
        }
}

// The number of an attempt is of the term; without that a lower term has to be refused.
static bool has_own_numbers(const struct world *w)
{
    return w->plant != ROUNDS_PLANT_SAME_ATTEMPT && w->plant != ROUNDS_PLANT_TERM_SKIP;
}

// As in chief/ps_links.c: rounds begin then, also where one holds nothing that is pushed.
static void hold_until_all_are_placed(struct world *w)
{
    struct sim_chief *chief = &w->chief;
    for (size_t ps = 0; ps < w->n_ps; ps++)
        chief->is_placing |= chief->links[ps].is_back && w->plant != ROUNDS_PLANT_PS_UNNOTICED;
    if (chief->is_placing && !chief->is_held)
        mst_rounds_pause(&chief->coordinator.rounds);
    chief->is_held |= chief->is_placing;
}

static void take_up(struct world *w)
{
    struct sim_chief *chief = &w->chief;
    struct mst_arena arena;
    mst_arena_init(&arena, 1 << 20);
    mst_rounds_set_term(&chief->coordinator.rounds, has_own_numbers(w) ? chief->term : 0);
    for (size_t ps = 0; ps < w->n_ps; ps++)
        if (rounds_n_parts(w, ps) == 0)
            mst_rounds_ps_idle(&chief->coordinator.rounds, ps);
    mst_status status = MST_OK;
    struct mst_error err = {0};
    struct mst_chief_state state = {0};
    struct mst_msg_round round;
    if (chief->highest_state.bytes.len)
        status = mst_chief_state_decode(chief->highest_state.bytes, &arena, &chief->coordinator, w->engine.now_ms,
                                        &state, &err);
    if (status == MST_OK && chief->highest_close.close.len) {
        status = mst_msg_round_decode(chief->highest_close.close, &arena, &round, &err);
        MST_ASSERT(status == MST_OK);
        if (w->plant == ROUNDS_PLANT_RECLOSE)
            forget_close(w, &round.close);
        status = mst_coordinator_restore(&chief->coordinator, &round.close, MST_ROUNDS_REPEAT, &err);
    } else if (status == MST_OK && chief->highest_state.bytes.len && state.has_close) {
        status = mst_coordinator_restore(&chief->coordinator, &state.close, MST_ROUNDS_REPEAT, &err);
    }
    if (status != MST_OK)
        rounds_fail(w, "a new chief cannot go on: %s", err.text);
    chief->checkpoint_steps = state.checkpoint_step;
    chief->n_lost_said = state.n_lost_updates;
    for (size_t ps = 0; ps < w->n_ps; ps++)
        rounds_servers_take_setback(w, ps, ps < state.n_setbacks ? &state.setbacks[ps] : &(struct mst_msg_setback){0});
    mst_arena_fini(&arena);
    for (size_t ps = 0; ps < w->n_ps; ps++)
        if (chief->links[ps].is_back && w->plant != ROUNDS_PLANT_PS_UNNOTICED)
            mst_rounds_ps_lost(&chief->coordinator.rounds, ps);
    hold_until_all_are_placed(w);
    chief->is_recalling = false;
    write_state(w);
    decide(w);
}

static void on_recalled(struct world *w, const struct message *m)
{
    struct sim_chief *chief = &w->chief;
    if (!chief->is_recalling || m->incarnation != chief->incarnation)
        return;
    if (m->is_refused && m->term >= chief->term) {
        chief->term = m->term + 1;
        memset(chief->has_recalled, 0, sizeof chief->has_recalled);
        recall(w);
    }
    if (m->is_refused || m->term != chief->term || chief->has_recalled[m->ps])
        return;
    rounds_servers_met(w, m->ps, m->life, m->is_serving);
    chief->has_recalled[m->ps] = true;
    chief->links[m->ps].is_placed = m->is_serving;
    chief->links[m->ps].is_back = !m->is_serving;
    if (m->state_term > chief->highest_state.state_term ||
        (m->state_term == chief->highest_state.state_term && m->n > chief->highest_state.n))
        chief->highest_state = *m;
    const struct message *best = &chief->highest_close;
    if (m->close.len &&
        (!best->close.len || m->round > best->round || (m->round == best->round && m->attempt > best->attempt)))
        chief->highest_close = *m;
    for (size_t ps = 0; ps < w->n_ps; ps++)
        if (!chief->has_recalled[ps])
            return;
    take_up(w);
}

// ---- messages ----

static void on_tick(struct world *w, const struct message *m)
{
    struct sim_chief *chief = &w->chief;
    struct mst_coordinator *c = &chief->coordinator;
    engine_schedule(&w->engine, m, HEARTBEAT_MS / 2);
    if (chief->is_recalling) {
        recall(w);
        return;
    }
    if (mst_coordinator_tick(c, w->engine.now_ms) > 0 && w->plant != ROUNDS_PLANT_FENCE_UNSTORED)
        write_state(w);
    // A chief that comes after has to know of a fence that a PS may have heard of, or that refuses the worker for ever.
    bool may_fence = rounds_chief_is_stored(w) || w->plant == ROUNDS_PLANT_FENCE_UNSTORED;
    struct mst_fence fence;
    for (size_t cursor = 0; may_fence && mst_membership_next_fence(&c->membership, &cursor, &fence);) {
        if (!chief->links[fence.ps].is_placed)
            continue;
        struct message f = {.kind = M_FENCE, .to = 1 + (uint32_t)fence.ps, .worker = fence.worker};
        f.number = fence.number;
        f.term = chief->term;
        rounds_send(w, &f);
    }
    send_state(w, false);
    rounds_servers_tick(w);
    if (w->stop_ms && w->engine.now_ms >= w->stop_ms && !chief->is_stopped) {
        chief->is_stopped = true;
        mst_coordinator_stop(c);
    }
    if (!chief->is_cutting && engine_draw(&w->engine, 20) == 0) {
        chief->is_cutting = true;
        mst_rounds_pause(&c->rounds);
    }
    decide(w);
    for (size_t ps = 0; ps < w->n_ps; ps++)
        send_round(w, ps);
}

static void on_greet(struct world *w, const struct message *m)
{
    struct mst_membership *members = &w->chief.coordinator.membership;
    struct message reply = {.kind = M_GREETED, .to = rounds_worker_node(w, m->worker), .worker = m->worker};
    reply.incarnation = m->incarnation;
    uint64_t before = m->worker < members->n_members ? members->members[m->worker].number : 0;
    if (mst_membership_greet(members, m->worker, m->incarnation, w->engine.now_ms, &reply.number) != MST_GREET_ADMITTED)
        return;
    if (reply.number != before)
        write_state(w);
    if (rounds_chief_is_stored(w) || w->plant == ROUNDS_PLANT_ANY_NUMBER)
        rounds_send(w, &reply); // else it asks again
}

static void on_fence_answer(struct world *w, const struct message *m)
{
    struct mst_fence fence = {m->ps, m->worker, m->number};
    struct mst_leases_revoked revoked;
    if (!mst_coordinator_fence_answered(&w->chief.coordinator, &fence, NULL, 0, &revoked))
        return;
    write_state(w);
    decide(w);
}

// What was lost is stored, and all are placed that were to be when it began.
static void release(struct world *w)
{
    struct sim_chief *chief = &w->chief;
    if (!chief->is_held || !rounds_chief_is_stored(w))
        return;
    for (size_t ps = 0; ps < w->n_ps; ps++)
        if (chief->is_placing && !chief->links[ps].is_placed)
            return;
    chief->is_held = chief->is_placing = false;
    mst_rounds_resume(&chief->coordinator.rounds);
    decide(w);
}

static void receive(struct world *w, const struct message *m)
{
    struct sim_chief *chief = &w->chief;
    struct mst_membership *members = &chief->coordinator.membership;
    struct message fenced = {.kind = M_FENCED, .to = rounds_worker_node(w, m->worker), .worker = m->worker};
    switch (m->kind) {
    case M_GREET:
        on_greet(w, m);
        break;
    case M_HEARTBEAT:
        fenced.incarnation = m->incarnation;
        fenced.number = m->number;
        if (!mst_membership_heard(members, m->worker, m->number, w->engine.now_ms))
            rounds_send(w, &fenced);
        break;
    case M_LOST:
        mst_membership_lost(members, m->worker, m->number, w->engine.now_ms);
        break;
    case M_FENCE_ANSWER:
        if (m->term == chief->term)
            on_fence_answer(w, m);
        break;
    case M_ROUND_REPLY:
        on_round_reply(w, m);
        break;
    case M_STATE_REPLY:
        if (m->term == chief->term && m->n == chief->state_n)
            chief->has_stored[m->ps] = true;
        release(w);
        break;
    default:
        rounds_fail(w, "the chief got a message of kind %d", m->kind);
    }
}

void rounds_chief_receive(struct world *w, const struct message *m)
{
    struct sim_chief *chief = &w->chief;
    if (m->kind == M_RESTART)
        rounds_chief_start(w);
    else if (!chief->is_alive)
        return;
    else if (m->kind == M_TICK) {
        if (m->incarnation == chief->incarnation)
            on_tick(w, m);
    } else if (m->kind == M_RECALL_REPLY)
        on_recalled(w, m);
    else if (!chief->is_recalling && !rounds_servers_chief_receive(w, m))
        receive(w, m);
}

bool rounds_chief_is_done(const struct world *w)
{
    return w->chief.is_alive && !w->chief.is_recalling && mst_coordinator_finished(&w->chief.coordinator);
}
