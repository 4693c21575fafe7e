// The three kinds of node: each hands what it receives to the product's state machine and sends what that says.
#include "world_private.h"

static void chief_fences(struct world *w)
{
    struct mst_fence fence;
    if (!chief_may_fence(w))
        return;
    for (size_t cursor = 0; mst_membership_next_fence(&w->chief.membership, &cursor, &fence);) {
        struct message m = {
            .kind = M_FENCE, .to = 1 + (uint32_t)fence.ps, .worker = fence.worker, .number = fence.number};
        m.term = w->chief_term;
        if (w->links[fence.ps].is_placed)
            world_send(w, &m);
    }
}

static void chief_answer_fence(struct world *w, const struct message *m)
{
    struct mst_fence fence = {m->ps, m->worker, m->number};
    struct mst_leases_revoked revoked;
    struct mst_lease_mark marks[MAX_BUCKETS];
    struct mst_msg_client_row rows[MAX_BUCKETS];
    for (size_t i = 0; i < m->n_rows; i++) {
        rows[i] = m->rows[i];
        if (w->plant == PLANT_PS_ZERO_MARKS)
            rows[i].number = m->number;
    }
    size_t n_marks = mst_coordinator_marks(rows, m->n_rows, marks);
    if (!mst_coordinator_fence_answered(&w->chief, &fence, marks, n_marks, &revoked))
        return;
    chief_touch(w);
    if (revoked.n_torn > 2)
        world_fail(w, "%llu torn batches of one dead worker", (unsigned long long)revoked.n_torn);
}

static void chief_answer_ask(struct world *w, const struct message *m)
{
    struct message answer = {
        .kind = M_ANSWER, .to = world_worker_node(w, m->worker), .worker = m->worker, .number = m->number};
    answer.incarnation = m->incarnation;
    mst_coordinator_ask(&w->chief, &m->ask, w->now_ms, &answer.answer);
    oracle_asked(w, &m->ask, &answer.answer);
    chief_touch(w);
    chief_answer(w, &answer);
}

// As if it were complete: the planted bug.
static void end_fence(struct mst_membership *members, uint32_t worker)
{
    if (worker < members->n_members && members->members[worker].state == MST_MEMBER_FENCING)
        mst_membership_restore(members, worker, MST_MEMBER_ABSENT, 0, members->members[worker].number, 0);
}

static void on_greet(struct world *w, const struct message *m)
{
    struct mst_membership *members = &w->chief.membership;
    struct message reply = {.kind = M_GREETED, .to = world_worker_node(w, m->worker), .worker = m->worker};
    reply.incarnation = m->incarnation;
    reply.n_fenced = m->n_fenced;
    reply.map = w->map;
    if (m->number && mst_membership_is_acting(members, m->worker, m->number)) { // it says that this one is out
        mst_membership_leave(members, m->worker, m->number, "it says so", w->now_ms);
        mst_coordinator_tick(&w->chief, w->now_ms);
        chief_touch_fence(w);
    }
    mst_membership_had(members, m->worker, m->held);
    if (w->plant == PLANT_ADMIT_EARLY)
        end_fence(members, m->worker);
    if (mst_membership_greet(members, m->worker, m->incarnation, w->now_ms, &reply.number) == MST_GREET_ADMITTED) {
        chief_touch(w);
        chief_answer(w, &reply);
    }
}

static void on_heartbeat(struct world *w, const struct message *m)
{
    if (mst_membership_heard(&w->chief.membership, m->worker, m->number, w->now_ms))
        return;
    struct message reply = {.kind = M_FENCED, .to = world_worker_node(w, m->worker), .worker = m->worker};
    reply.incarnation = m->incarnation;
    reply.number = m->number;
    world_send(w, &reply);
}

void chief_receive(struct world *w, const struct message *m)
{
    if (succession_receive(w, m))
        return;
    if (servers_chief_receive(w, m)) {
        chief_store(w);
        return;
    }
    switch (m->kind) {
    case M_TICK:
        if (w->plant != PLANT_NEVER_FENCED && mst_coordinator_tick(&w->chief, w->now_ms))
            chief_touch_fence(w);
        chief_fences(w);
        cuts_chief_tick(w);
        servers_chief_tick(w);
        world_schedule(w, m, HEARTBEAT_MS / 2);
        break;
    case M_GREET:
        on_greet(w, m);
        break;
    case M_HEARTBEAT:
        on_heartbeat(w, m);
        break;
    case M_LOST:
        mst_membership_lost(&w->chief.membership, m->worker, m->number, w->now_ms);
        break;
    case M_ASK:
        chief_answer_ask(w, m);
        break;
    case M_FENCE_ANSWER:
        chief_answer_fence(w, m);
        break;
    case M_CUT_ANSWER:
        cuts_chief_answered(w, m);
        break;
    default:
        world_fail(w, "the chief got a message of kind %d", m->kind);
    }
    chief_store(w);
}

static enum mst_push_verdict admit(struct world *w, struct sim_bucket *bucket, const struct message *m)
{
    enum mst_push_verdict verdict = mst_client_table_admit(&bucket->clients, m->worker, m->push.number, m->push.step);
    if (w->plant == PLANT_NO_CLIENT_TABLE && verdict != MST_PUSH_REFUSED_FENCED)
        return MST_PUSH_APPLY;
    if (w->plant == PLANT_REPEAT_APPLIED && verdict == MST_PUSH_REPEAT)
        return MST_PUSH_APPLY;
    return verdict;
}

static void ps_push(struct world *w, const struct message *m)
{
    struct sim_bucket *bucket = &w->buckets[m->bucket];
    if (m->bucket >= w->n_pushed)
        world_fail(w, "worker %u pushed to bucket %zu, which is frozen", m->worker, m->bucket);
    struct message reply = {.kind = M_PUSHED, .to = world_worker_node(w, m->worker), .worker = m->worker};
    reply.incarnation = m->incarnation;
    reply.bucket = m->bucket;
    reply.push = m->push;
    enum mst_push_verdict verdict = admit(w, bucket, m);
    if (verdict == MST_PUSH_APPLY && !cuts_ps_admits(w, bucket, m))
        return; // not read: it comes again
    if (verdict == MST_PUSH_APPLY) {
        struct mst_client_row row = {
            .number = m->push.number, .step = m->push.step, .lease = m->push.lease, .offset = m->push.offset};
        mst_client_table_record(&bucket->clients, m->worker, &row);
        bucket->n_updates++;
        oracle_applied(w, m->bucket, m);
        cuts_ps_look(w, bucket->ps);
    } else if (verdict != MST_PUSH_REPEAT) {
        if (verdict == MST_PUSH_REFUSED_STEP)
            return; // the worker is past it and waits for no answer
        reply.kind = M_FENCED;
        reply.number = m->push.number;
    }
    world_send(w, &reply);
}

static void ps_fence(struct world *w, const struct message *m)
{
    struct message reply = {.kind = M_FENCE_ANSWER, .worker = m->worker, .number = m->number, .ps = m->to - 1};
    for (size_t b = 0; b < w->n_buckets; b++) {
        if (w->buckets[b].ps != reply.ps || (b >= w->n_pushed && w->plant != PLANT_FROZEN_MARKS))
            continue;
        struct mst_client_row row = {0};
        if (w->plant != PLANT_NO_REFUSAL) {
            row = mst_client_table_fence(&w->buckets[b].clients, m->worker, m->number);
        } else {
            const struct mst_client_row *held = mst_client_table_row(&w->buckets[b].clients, m->worker);
            if (held && held->number == m->number)
                row = *held;
        }
        if (w->plant == PLANT_FORGET_MARKS)
            row = (struct mst_client_row){0};
        reply.rows[reply.n_rows++] = (struct mst_msg_client_row){.worker = m->worker,
                                                                 .number = row.number,
                                                                 .step = row.step,
                                                                 .lease = row.lease,
                                                                 .offset = row.offset,
                                                                 .is_restored = row.is_restored};
    }
    if (w->plant == PLANT_LOWEST_MARK)
        for (size_t i = 0; i < reply.n_rows; i++)
            if (reply.rows[i].offset)
                reply.rows[i].offset--;
    cuts_ps_look(w, reply.ps);
    world_send(w, &reply);
}

static void ps_pull(struct world *w, const struct message *m)
{
    struct message reply = {.kind = M_PULLED, .to = world_worker_node(w, m->worker), .worker = m->worker};
    mst_client_table_pulled(&w->buckets[m->bucket].clients, m->worker, m->number);
    reply.incarnation = m->incarnation;
    reply.number = m->number;
    reply.bucket = m->bucket;
    world_send(w, &reply);
}

void ps_receive(struct world *w, const struct message *m)
{
    if (servers_ps_receive(w, m))
        return;
    switch (m->kind) {
    case M_PUSH:
        ps_push(w, m);
        break;
    case M_FENCE:
        if (!ps_refuses_term(w, m))
            ps_fence(w, m);
        break;
    case M_STATE:
        ps_keep(w, m);
        break;
    case M_RECALL:
        ps_recall(w, m);
        break;
    case M_CUT:
    case M_CUT_SILENCE:
        cuts_ps_receive(w, m);
        break;
    case M_PULL:
        ps_pull(w, m);
        break;
    default:
        world_fail(w, "a PS got a message of kind %d", m->kind);
    }
}

void worker_start(struct world *w, size_t index)
{
    struct sim_worker *worker = &w->workers[index];
    mst_session_fini(&worker->session);
    *worker = (struct sim_worker){.is_alive = true};
    worker->incarnation = 1 + world_draw(w, UINT64_MAX - 1);
    mst_session_init(&worker->session, w->n_buckets, w->n_pushed);
    struct message tick = {.kind = M_TICK, .to = world_worker_node(w, index), .incarnation = worker->incarnation};
    world_schedule(w, &tick, world_draw(w, 50));
}

static void send_outstanding(struct world *w, size_t index)
{
    struct sim_worker *worker = &w->workers[index];
    const struct mst_session *session = &worker->session;
    for (size_t b = 0; b < w->n_buckets; b++) {
        if (!session->outstanding[b])
            continue;
        struct message m = {.kind = session->step ? M_PUSH : M_PULL, .to = 1 + w->buckets[b].ps};
        m.worker = (uint32_t)index;
        m.incarnation = worker->incarnation;
        m.number = session->number;
        m.bucket = b;
        m.push = session->push;
        m.batch = worker->batch;
        m.map = worker->map;
        world_send(w, &m);
    }
}

static void send_ask(struct world *w, size_t index)
{
    struct sim_worker *worker = &w->workers[index];
    struct mst_session_request request;
    if (w->plant == PLANT_FROZEN_QUESTION && worker->session.is_asked)
        request = worker->session.asked;
    else if (!mst_session_wants_lease(&worker->session, &request))
        return;
    mst_session_asked(&worker->session, &request);
    struct message m = {.kind = M_ASK, .worker = (uint32_t)index, .incarnation = worker->incarnation};
    m.number = request.number;
    m.ask = (struct mst_lease_ask){.worker = (uint32_t)index,
                                   .number = request.number,
                                   .seq = request.seq,
                                   .done_seq = request.done_seq,
                                   .sums = worker->sums};
    world_send(w, &m);
}

static void try_compute(struct world *w, size_t index)
{
    struct sim_worker *worker = &w->workers[index];
    struct mst_session_batch batch;
    if (worker->is_computing || !mst_session_next_batch(&worker->session, &batch))
        return;
    worker->batch = batch;
    worker->is_computing = true;
    oracle_begins(w, index);
    struct message m = {.kind = M_COMPUTED, .to = world_worker_node(w, index), .incarnation = worker->incarnation};
    m.number = worker->session.number;
    world_schedule(w, &m, 1 + world_draw(w, 30));
}

static void on_tick(struct world *w, size_t index, const struct message *tick)
{
    struct sim_worker *worker = &w->workers[index];
    struct message m = {.worker = (uint32_t)index, .incarnation = worker->incarnation};
    m.number = worker->session.number;
    m.held = m.number ? m.number : worker->fenced;
    m.n_fenced = worker->n_fenced;
    if (worker->run != w->run)
        m.number = 0; // a new connection begins with a greeting
    m.kind = m.number ? M_HEARTBEAT : M_GREET;
    if (!worker->session.number && w->plant != PLANT_FORGET_FENCED)
        m.number = worker->fenced;
    bool is_admitted = worker->session.number != 0;
    world_send(w, &m);
    if (is_admitted) {
        send_outstanding(w, index); // what is not answered is sent again
        if (w->plant != PLANT_FROZEN_QUESTION)
            mst_session_ask_again(&worker->session);
        send_ask(w, index);
    }
    world_schedule(w, tick, HEARTBEAT_MS);
}

static void on_computed(struct world *w, size_t index, const struct message *m)
{
    struct sim_worker *worker = &w->workers[index];
    worker->is_computing = false;
    // Admitted anew while it computed: the batch is somebody else's now.
    struct mst_session_batch batch;
    if (m->number == worker->session.number && mst_session_next_batch(&worker->session, &batch)) {
        struct mst_session_push push;
        mst_session_push_all(&worker->session, &push);
        send_outstanding(w, index);
    } else {
        try_compute(w, index);
    }
}

static void on_pushed(struct world *w, size_t index, const struct message *m)
{
    struct sim_worker *worker = &w->workers[index];
    if (!mst_session_pushed(&worker->session, m->push.number, m->push.step, m->bucket))
        return;
    w->n_acknowledged++;
    worker->open_steps++;
    if (worker->session.done_seq != worker->done_seq) {
        worker->done_seq = worker->session.done_seq;
        worker->sums.steps += worker->open_steps;
        worker->open_steps = 0;
    }
    send_ask(w, index);
    try_compute(w, index);
}

static void fenced(struct sim_worker *worker)
{
    worker->fenced = worker->session.number ? worker->session.number : worker->fenced;
    worker->n_fenced++;
    mst_session_fenced(&worker->session);
}

static void on_answer(struct world *w, size_t index, const struct message *m)
{
    struct mst_session *session = &w->workers[index].session;
    const struct mst_lease *lease = &m->answer.lease;
    struct mst_session_lease got = {lease->id, lease->seq, lease->epoch, lease->first_batch, lease->n_batches};
    if (m->answer.kind == MST_ANSWER_LEASE) {
        mst_session_lease(session, m->number, &got);
        mst_session_ask_again(session);
    } else if (m->answer.kind == MST_ANSWER_FINISHED)
        mst_session_finished(session, m->number);
    else if (m->answer.kind == MST_ANSWER_FENCED && m->number == session->number)
        fenced(&w->workers[index]);
    try_compute(w, index);
}

// A process that finds another job in the place of its own ends, and is started again.
static void start_again(struct world *w, size_t index)
{
    struct message restart = {.kind = M_RESTART, .to = world_worker_node(w, index)};
    w->workers[index].is_alive = false;
    world_schedule(w, &restart, 1 + world_draw(w, LEASE_MS));
}

void worker_receive(struct world *w, const struct message *m)
{
    size_t index = m->to - 1 - w->n_ps;
    struct sim_worker *worker = &w->workers[index];
    if (m->kind == M_RESTART) {
        worker_start(w, index);
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
        if (m->n_fenced != worker->n_fenced)
            break;                                // its connection is gone
        if (m->number > worker->session.number) { // not an old answer that was under way for long
            worker->sums = (struct mst_training_sums){0};
            worker->open_steps = worker->done_seq = 0;
        }
        worker->map = worker->map ? worker->map : m->map;
        worker->run = w->run;
        if (w->highest_number[index] < m->number)
            w->highest_number[index] = m->number;
        mst_session_admitted(&worker->session, m->number);
        send_outstanding(w, index);
        break;
    case M_FENCED:
        if (m->number == worker->session.number)
            fenced(worker);
        break;
    case M_ABORTED:
        start_again(w, index);
        break;
    case M_ANSWER:
        on_answer(w, index, m);
        break;
    case M_PULLED:
        mst_session_pulled(&worker->session, m->number, m->bucket);
        send_ask(w, index);
        try_compute(w, index);
        break;
    case M_COMPUTED:
        on_computed(w, index, m);
        break;
    case M_PUSHED:
        on_pushed(w, index, m);
        break;
    default:
        world_fail(w, "a worker got a message of kind %d", m->kind);
    }
}
