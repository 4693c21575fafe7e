// Parameter servers and workers of a synchronous job.
#include "rounds_private.h"

#include <string.h>

// ---- parameter servers ----

static void answer_chief(struct world *w, size_t index)
{
    struct sim_ps *ps = &w->ps[index];
    if (!ps->is_asked || ps->copy.table.status == ps->asked_known || !rounds_backups_is_had(ps))
        return;
    ps->is_asked = false;
    struct mst_msg_arrival arrivals[MAX_WORKERS];
    struct mst_msg_round_reply reply;
    mst_round_table_reply(&ps->copy.table, arrivals, &reply);
    struct mst_msg_square_norm norm = {.hi = ps->copy.norm.hi, .lo = ps->copy.norm.lo};
    reply.n_norms = rounds_n_parts(w, index) > 0;
    reply.norms = &norm;
    struct mst_buf buf;
    mst_buf_init(&buf, 1 << 16);
    mst_status status = mst_msg_round_reply_encode(&reply, &buf);
    MST_ASSERT(status == MST_OK);
    struct message m = {.kind = M_ROUND_REPLY, .ps = (uint32_t)index, .term = ps->term};
    m.bytes = rounds_keep(w, &buf);
    mst_buf_fini(&buf);
    rounds_send(w, &m);
}

static void answer_worker(struct world *w, size_t index, const struct message *question)
{
    const struct sim_ps *ps = &w->ps[index];
    struct message m = *question;
    m.kind = question->kind == M_PUSH ? M_PUSHED : M_PULLED;
    m.to = rounds_worker_node(w, question->worker);
    mst_round_table_turn(&ps->copy.table, question->worker, &m.turn);
    m.held_round = ps->copy.table.applied;
    if (w->plant == ROUNDS_PLANT_ACK_ARRIVAL && m.kind == M_PUSHED && m.turn.round < question->round)
        m.turn.round = question->round;
    rounds_send(w, &m);
}

static void answer_waiting(struct world *w, size_t index)
{
    struct sim_ps *ps = &w->ps[index];
    for (size_t i = 0; i < w->n_workers && rounds_backups_is_had(ps); i++)
        for (size_t b = 0; b < w->n_buckets; b++) {
            struct sim_wait *wait = &ps->waits[i][b];
            if (!wait->is_waiting || !mst_round_table_is_due(&ps->copy.table, wait->question.round))
                continue;
            wait->is_waiting = false;
            answer_worker(w, index, &wait->question);
        }
}

void rounds_ps_said(struct world *w, size_t index)
{
    answer_waiting(w, index);
    answer_chief(w, index);
}

static void ps_pull(struct world *w, size_t index, const struct message *m)
{
    struct sim_ps *ps = &w->ps[index];
    bool is_due = w->plant == ROUNDS_PLANT_PULL_ANY ? ps->copy.table.has_begun
                                                    : mst_round_table_is_due(&ps->copy.table, m->round);
    if (is_due && rounds_backups_is_had(ps))
        answer_worker(w, index, m);
    else
        ps->waits[m->worker][m->bucket] = (struct sim_wait){true, *m};
}

static void ps_push(struct world *w, size_t index, const struct message *m)
{
    struct sim_ps *ps = &w->ps[index];
    struct message fenced = {.kind = M_FENCED, .to = rounds_worker_node(w, m->worker), .worker = m->worker};
    double value = (double)m->unit + 1;
    struct mst_training_sums sums = {.steps = 1, .examples = 1, .n_values = 1, .values = &value};
    struct mst_round_push push = {.worker = m->worker,
                                  .number = m->number,
                                  .round = m->round,
                                  .unit = m->unit,
                                  .weight = 1,
                                  .sums = m->bucket == 0 ? &sums : NULL};
    if (m->bucket >= w->n_pushed) {
        rounds_fail(w, "worker %u pushed to bucket %zu, which is frozen", m->worker, m->bucket);
        return;
    }
    switch (mst_round_table_hold(&ps->copy.table, rounds_part(w, m->bucket), &push)) {
    case MST_ROUND_TAKE:
    case MST_ROUND_HAVE:
        ps->waits[m->worker][m->bucket] = (struct sim_wait){true, *m};
        if (w->plant == ROUNDS_PLANT_ACK_ARRIVAL)
            answer_worker(w, index, m);
        break;
    case MST_ROUND_OVER:
        if (rounds_backups_is_had(ps))
            answer_worker(w, index, m);
        else
            ps->waits[m->worker][m->bucket] = (struct sim_wait){true, *m};
        break;
    case MST_ROUND_WAIT:
        break; // it comes again
    case MST_ROUND_REFUSED_FENCED:
    case MST_ROUND_REFUSED_NUMBER:
        fenced.incarnation = m->incarnation;
        fenced.number = m->number;
        rounds_send(w, &fenced);
        break;
    default:
        rounds_fail(w, "worker %u pushed unit %llu for round %llu, which ps %zu has not dealt it", m->worker,
                    (unsigned long long)m->unit, (unsigned long long)m->round, index);
    }
    answer_chief(w, index);
}

static void ps_fence(struct world *w, size_t index, const struct message *m)
{
    struct sim_ps *ps = &w->ps[index];
    if (m->term < ps->term)
        return;
    if (ps->copy.table.fenced[m->worker] < m->number) {
        struct sim_op op = {.kind = OP_FENCE, .worker = m->worker, .number = m->number};
        mst_round_table_fence(&ps->copy.table, m->worker, m->number);
        rounds_backups_log(w, index, &op);
        ps->fence_seq[m->worker] = ps->copy.n_ops;
    }
    if (w->plant == ROUNDS_PLANT_FENCE_DROPS) {
        ps->copy.table.contributions[m->worker].n_held = 0;
        for (size_t part = 0; part < rounds_n_parts(w, index); part++)
            ps->copy.table.is_held[part * w->n_workers + m->worker] = false;
    }
    if (ps->n_had < ps->fence_seq[m->worker])
        return; // it is asked again
    struct message reply = {
        .kind = M_FENCE_ANSWER, .ps = (uint32_t)index, .worker = m->worker, .number = m->number, .term = m->term};
    rounds_send(w, &reply);
}

static void store(struct world *w, size_t index, const struct message *m, const struct mst_msg_close *close)
{
    struct sim_copy *copy = &w->ps[index].copy;
    mst_round_table_store(&copy->table, close);
    for (size_t i = 0; i < close->n_ins; i++)
        copy->units[i] = copy->table.contributions[close->ins[i]].unit;
    copy->norm = rounds_oracle_norm(w, index, copy);
    if (w->plant != ROUNDS_PLANT_FORGET_CLOSE || close->round == 0)
        copy->close = m->bytes;
    struct sim_op op = {.kind = OP_AGGREGATE, .round = close->round, .attempt = close->attempt};
    memcpy(op.units, copy->units, sizeof op.units);
    if (close->n_ins > 0)
        rounds_backups_log(w, index, &op);
    op.kind = OP_CLOSE;
    op.close = m->bytes;
    op.norm = copy->norm;
    rounds_backups_log(w, index, &op);
}

static void act(struct world *w, size_t index, const struct mst_msg_round *round)
{
    struct sim_copy *copy = &w->ps[index].copy;
    struct sim_op op = {.kind = OP_APPLY, .round = copy->table.stored, .attempt = copy->table.attempt};
    op.scale = round->n_scales ? round->scales[0] : 0;
    if (round->close.round == copy->table.stored)
        rounds_oracle_acts(w, &round->close);
    if (copy->table.has_begun)
        rounds_oracle_applies(w, index, copy, op.scale);
    else
        rounds_oracle_takes_over(w, index, &round->close);
    mst_round_table_act(&copy->table);
    copy->applied = copy->close;
    rounds_backups_log(w, index, &op);
    answer_waiting(w, index);
}

static void take_close(struct world *w, size_t index, const struct message *m, const struct mst_msg_close *close)
{
    struct sim_ps *ps = &w->ps[index];
    if (w->plant == ROUNDS_PLANT_PS_OWN_CLOSE && ps->life > 1 && !ps->copy.table.has_begun && close->round > 0)
        return;
    switch (mst_round_table_check(&ps->copy.table, close)) {
    case MST_ROUND_CLOSE_WAITS:
        if (w->is_replicated)
            break; // the workers send it again
        // fall through
    case MST_ROUND_CLOSE_REFUSED:
        rounds_fail(w, "ps %zu lacks a contribution that the close of round %llu names, or is not at that round", index,
                    (unsigned long long)close->round);
        break;
    case MST_ROUND_CLOSE_NEW:
        store(w, index, m, close);
        break;
    case MST_ROUND_CLOSE_OLD:
        break;
    }
}

static void ps_round(struct world *w, size_t index, const struct message *m)
{
    struct sim_ps *ps = &w->ps[index];
    if (m->term < ps->term && w->plant != ROUNDS_PLANT_TERM_SKIP)
        return;
    struct mst_arena arena;
    struct mst_msg_round round;
    mst_arena_init(&arena, 1 << 20);
    mst_status status = mst_msg_round_decode(m->bytes, &arena, &round, NULL);
    MST_ASSERT(status == MST_OK);
    take_close(w, index, m, &round.close);
    bool is_told = ps->copy.table.stored == round.close.round && ps->copy.table.attempt == round.close.attempt;
    if (!w->fault[0] && (is_told || !w->is_replicated) && mst_round_table_must_act(&ps->copy.table, round.act_round))
        act(w, index, &round);
    if (m->term >= ps->term) {
        ps->is_asked = true;
        ps->asked_known = round.known;
    }
    answer_chief(w, index);
    mst_arena_fini(&arena);
}

void rounds_ps_state(struct world *w, size_t index, const struct message *m)
{
    struct sim_ps *ps = &w->ps[index];
    if (m->term < ps->term)
        return;
    if (m->term > ps->state_term || m->n > ps->state_n) {
        ps->state_term = m->term;
        ps->state_n = m->n;
        ps->state = m->bytes;
    }
    struct message reply = {.kind = M_STATE_REPLY, .ps = (uint32_t)index, .term = m->term, .n = m->n};
    rounds_send(w, &reply);
}

void rounds_ps_recall(struct world *w, size_t index, const struct message *m)
{
    struct sim_ps *ps = &w->ps[index];
    struct message reply = {.kind = M_RECALL_REPLY, .ps = (uint32_t)index, .incarnation = m->incarnation};
    reply.is_refused = m->term < ps->term || (m->term == ps->term && m->incarnation != ps->term_holder);
    if (!reply.is_refused) {
        ps->term = m->term;
        ps->term_holder = m->incarnation;
        ps->is_asked = false; // by an earlier chief
    }
    reply.term = reply.is_refused ? ps->term : m->term;
    reply.state_term = ps->state_term;
    reply.n = ps->state_n;
    reply.bytes = ps->state;
    reply.is_serving = ps->is_serving;
    const struct sim_copy *copy = ps->is_dead ? &ps->backup.copy : &ps->copy;
    reply.close = copy->close;
    reply.round = copy->table.stored;
    reply.attempt = copy->table.attempt;
    rounds_send(w, &reply);
}

void rounds_ps_receive(struct world *w, const struct message *m)
{
    size_t index = m->to - 1;
    if (rounds_backups_receive(w, m) || rounds_servers_ps_receive(w, m))
        return;
    switch (m->kind) {
    case M_PULL:
        ps_pull(w, index, m);
        break;
    case M_PUSH:
        ps_push(w, index, m);
        break;
    case M_FENCE:
        ps_fence(w, index, m);
        break;
    case M_ROUND:
        ps_round(w, index, m);
        break;
    case M_STATE:
        rounds_ps_state(w, index, m);
        break;
    case M_RECALL:
        rounds_ps_recall(w, index, m);
        break;
    default:
        rounds_fail(w, "a PS got a message of kind %d", m->kind);
    }
}

// ---- workers ----

static struct message from_worker(const struct world *w, size_t index, enum message_kind kind)
{
    const struct sim_worker *worker = &w->workers[index];
    return (struct message){
        .kind = kind, .worker = (uint32_t)index, .incarnation = worker->incarnation, .number = worker->session.number};
}

void rounds_worker_start(struct world *w, size_t index)
{
    struct sim_worker *worker = &w->workers[index];
    mst_round_session_fini(&worker->session);
    *worker = (struct sim_worker){.is_alive = true};
    worker->incarnation = 1 + engine_draw(&w->engine, UINT64_MAX - 1);
    mst_round_session_init(&worker->session, w->n_buckets, w->n_pushed);
    struct message tick = from_worker(w, index, M_TICK);
    tick.to = rounds_worker_node(w, index);
    engine_schedule(&w->engine, &tick, engine_draw(&w->engine, 50));
}

static void send_call(struct world *w, size_t index, size_t bucket, enum message_kind kind)
{
    const struct mst_round_session *session = &w->workers[index].session;
    struct message m = from_worker(w, index, kind);
    m.to = 1 + rounds_ps_of(w, bucket);
    m.bucket = bucket;
    m.round = kind == M_PUSH ? session->push.step : session->buckets[bucket].wanted;
    m.unit = session->push.offset - 1;
    rounds_send(w, &m);
}

static void send_again(struct world *w, size_t index)
{
    const struct mst_round_session *session = &w->workers[index].session;
    for (size_t b = 0; b < w->n_buckets && session->n_outstanding > 0; b++)
        if (session->buckets[b].call == MST_ROUND_SESSION_PULLED)
            send_call(w, index, b, M_PULL);
        else if (session->buckets[b].call == MST_ROUND_SESSION_PUSHED)
            send_call(w, index, b, M_PUSH);
}

static void go_on(struct world *w, size_t index)
{
    struct sim_worker *worker = &w->workers[index];
    struct mst_round_session_pull pull;
    while (mst_round_session_next_pull(&worker->session, &pull))
        send_call(w, index, pull.bucket, M_PULL);
    if (worker->is_computing || !mst_round_session_next_unit(&worker->session, &worker->unit))
        return;
    worker->is_computing = true;
    struct message m = from_worker(w, index, M_COMPUTED);
    m.to = rounds_worker_node(w, index);
    engine_schedule(&w->engine, &m, 1 + engine_draw(&w->engine, 30));
}

static void on_tick(struct world *w, size_t index, const struct message *tick)
{
    struct sim_worker *worker = &w->workers[index];
    struct message m = from_worker(w, index, worker->session.number ? M_HEARTBEAT : M_GREET);
    rounds_send(w, &m);
    send_again(w, index); // what is not answered
    engine_schedule(&w->engine, tick, HEARTBEAT_MS);
}

static void on_computed(struct world *w, size_t index, const struct message *m)
{
    struct sim_worker *worker = &w->workers[index];
    struct mst_round_session_unit unit;
    worker->is_computing = false;
    // Admitted anew while it computed: it looks again what is to be done.
    if (m->number != worker->session.number || !mst_round_session_next_unit(&worker->session, &unit)) {
        go_on(w, index);
        return;
    }
    for (size_t b = 0; b < w->n_pushed; b++)
        if (worker->held[b] != unit.round - 1)
            rounds_fail(w, "worker %zu computed its gradient of round %llu with bucket %zu of round %llu", index,
                        (unsigned long long)unit.round, b, (unsigned long long)worker->held[b]);
    struct mst_session_push push;
    mst_round_session_push_all(&worker->session, &push);
    send_again(w, index);
}

static void on_answer(struct world *w, size_t index, const struct message *m)
{
    struct sim_worker *worker = &w->workers[index];
    struct mst_round_session *session = &worker->session;
    struct mst_round_session_answer answer = {
        .number = m->number, .step = m->kind == M_PUSHED ? m->round : 0, .bucket = m->bucket, .turn = m->turn};
    if (w->plant == ROUNDS_PLANT_PULL_ANY && m->kind == M_PULLED && answer.turn.round < session->turn.round)
        answer.turn = session->turn;
    enum mst_round_session_call before = session->buckets[m->bucket].call;
    mst_round_session_answered(session, &answer);
    if (before != session->buckets[m->bucket].call)
        worker->held[m->bucket] = m->held_round;
    go_on(w, index);
}

void rounds_worker_receive(struct world *w, const struct message *m)
{
    size_t index = m->to - 1 - w->n_ps;
    struct sim_worker *worker = &w->workers[index];
    if (m->kind == M_RESTART) {
        rounds_worker_start(w, index);
        return;
    }
    // A dead process hears nothing, and a new one hears nothing that was meant for the old.
    if (!worker->is_alive || m->incarnation != worker->incarnation)
        return;
    switch (m->kind) {
    case M_TICK:
        on_tick(w, index, m);
        break;
    case M_GREETED:
        mst_round_session_admitted(&worker->session, m->number);
        go_on(w, index);
        break;
    case M_FENCED:
        if (m->number == worker->session.number)
            mst_round_session_fenced(&worker->session);
        break;
    case M_PULLED:
    case M_PUSHED:
        on_answer(w, index, m);
        break;
    case M_COMPUTED:
        on_computed(w, index, m);
        break;
    default:
        rounds_fail(w, "a worker got a message of kind %d", m->kind);
    }
}
