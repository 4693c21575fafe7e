// Workers of a job with replicas: each pushes some steps, to whom it takes for the primary or to anybody, until all are
// answered under one number.
#include "replicas_private.h"

void replicas_worker_start(struct world *w, size_t i)
{
    struct sim_worker *worker = &w->workers[i];
    replicas_worker_end(w, i);
    *worker = (struct sim_worker){.is_up = true, .incarnation = ++w->incarnations};
    mst_session_init(&worker->session, w->n_parts * w->n_buckets, w->n_parts * w->n_buckets);
    for (size_t part = 0; part < w->n_parts; part++)
        worker->believed[part] = w->is_by_roles ? MST_NO_PS : replicas_group_of(w, part);
    struct message tick = {.kind = M_TICK, .to = replicas_worker_node(w, i), .to_incarnation = worker->incarnation};
    engine_schedule(&w->engine, &tick, 1);
}

void replicas_worker_end(struct world *w, size_t i)
{
    if (w->workers[i].is_up)
        mst_session_fini(&w->workers[i].session);
    w->workers[i].is_up = false;
}

static void push_one(struct world *w, size_t i, size_t index)
{
    const struct sim_worker *worker = &w->workers[i];
    size_t part = index / w->n_buckets;
    uint32_t ps = worker->believed[part];
    if (!w->is_by_roles && engine_draw(&w->engine, 3) == 0)
        ps = (uint32_t)engine_draw(&w->engine, w->n_ps);
    if (ps == MST_NO_PS)
        return; // it waits for newer roles
    struct message m = {.kind = M_PUSH, .to = replicas_ps_node(ps), .part = part};
    m.id.incarnation = worker->incarnation;
    m.op = (struct sim_op){.bucket = (uint32_t)(index % w->n_buckets),
                           .worker = (uint32_t)i,
                           .number = worker->session.number,
                           .step = worker->session.push.step};
    replicas_send(w, replicas_worker_node(w, i), &m);
}

static void push_outstanding(struct world *w, size_t i)
{
    const struct sim_worker *worker = &w->workers[i];
    for (size_t index = 0; worker->is_pushing && index < worker->session.n_buckets; index++)
        if (worker->session.outstanding[index])
            push_one(w, i, index);
}

static void go_on(struct world *w, size_t i)
{
    struct sim_worker *worker = &w->workers[i];
    struct mst_session_batch batch;
    if (worker->is_pushing || worker->is_computing || !mst_session_next_batch(&worker->session, &batch))
        return;
    worker->is_computing = true;
    struct message computed = {
        .kind = M_COMPUTED, .to = replicas_worker_node(w, i), .to_incarnation = worker->incarnation};
    computed.op.number = worker->session.number;
    engine_schedule(&w->engine, &computed, 1 + engine_draw(&w->engine, 2 * LEASE_MS));
}

static void on_computed(struct world *w, size_t i, const struct message *m)
{
    struct sim_worker *worker = &w->workers[i];
    struct mst_session_push push;
    worker->is_computing = false;
    if (m->op.number != worker->session.number)
        return;
    mst_session_push_all(&worker->session, &push);
    worker->is_pushing = true;
    push_outstanding(w, i);
}

static void admitted(struct world *w, size_t i, uint64_t number)
{
    struct sim_worker *worker = &w->workers[i];
    if (number <= worker->out || number <= worker->session.number)
        return;
    mst_session_admitted(&worker->session, number);
    worker->is_pushing = false;
    worker->n_done = 0;
    for (size_t b = 0; b < worker->session.n_buckets; b++)
        mst_session_pulled(&worker->session, number, b);
    struct mst_session_request request;
    if (!mst_session_wants_lease(&worker->session, &request))
        return;
    mst_session_asked(&worker->session, &request);
    struct mst_session_lease lease = {.id = number, .seq = request.seq, .n_batches = w->n_steps};
    mst_session_lease(&worker->session, number, &lease);
}

// It asks again what is not answered.
static void watch(struct world *w, size_t i, uint32_t c)
{
    struct message m = {.kind = M_WATCH, .to = c, .epoch = w->workers[i].roles};
    m.id.incarnation = w->workers[i].incarnation;
    m.op.worker = (uint32_t)i;
    if (w->is_by_roles)
        replicas_send(w, replicas_worker_node(w, i), &m);
}

static void on_watched(struct world *w, size_t i, const struct message *m)
{
    struct sim_worker *worker = &w->workers[i];
    if (!mst_epoch_is_newer(&m->roles->epoch, &worker->roles))
        return; // of another chief, or late
    worker->roles = m->roles->epoch;
    for (size_t part = 0; part < w->n_parts; part++)
        worker->believed[part] = m->roles->groups[replicas_group_of(w, part)].primary;
    push_outstanding(w, i);
}

static void on_tick(struct world *w, size_t i, const struct message *m)
{
    const struct sim_worker *worker = &w->workers[i];
    for (uint32_t c = 0; c < MAX_CHIEFS; c++) {
        if (!w->chiefs[c].is_up)
            continue; // it is refused
        struct message hello = {.kind = worker->session.number ? M_HEARTBEAT : M_GREET, .to = c};
        hello.id.incarnation = worker->incarnation;
        hello.op.worker = (uint32_t)i;
        hello.op.number = worker->session.number;
        hello.op.step = worker->n_done;
        replicas_send(w, replicas_worker_node(w, i), &hello);
        watch(w, i, c);
    }
    push_outstanding(w, i);
    engine_schedule(&w->engine, m, WORKER_TICK_MS);
}

void replicas_worker_receive(struct world *w, size_t i, const struct message *m)
{
    struct sim_worker *worker = &w->workers[i];
    switch (m->kind) {
    case M_TICK:
        on_tick(w, i, m);
        break;
    case M_COMPUTED:
        on_computed(w, i, m);
        break;
    case M_GREETED:
        admitted(w, i, m->op.number);
        break;
    case M_WATCHED:
        on_watched(w, i, m);
        break;
    case M_FENCED:
        if (m->op.number == worker->session.number) {
            worker->out = worker->session.number;
            mst_session_fenced(&worker->session);
            worker->is_pushing = false;
        }
        break;
    default:
        if (!w->is_by_roles)
            worker->believed[m->part] = m->from - replicas_ps_node(0);
        if (worker->is_pushing &&
            mst_session_pushed(&worker->session, m->op.number, m->op.step, m->part * w->n_buckets + m->op.bucket)) {
            worker->is_pushing = false;
            worker->n_done++;
        }
    }
    go_on(w, i);
}
