// What evaluators ask: to be admitted (greeting), where variables live (MAP), what to evaluate (EVALUATE, which also
// brings the scores of the last one), a sign of life (HEARTBEAT), and that they leave (FINISH). The chief's own
// evaluation thread asks the same over loopback; its incarnation is the chief's.
#include "chief/chief_private.h"

#include "base/clock.h"
#include "base/log.h"
#include "wire/worker_numbers.h"

static void on_evaluate(void *arg, struct mst_conn *conn, const struct mst_message *message);
static void on_heartbeat(void *arg, struct mst_conn *conn, const struct mst_message *message);
static void on_finish(void *arg, struct mst_conn *conn, const struct mst_message *message);
static void on_closed(void *arg, struct mst_conn *conn, mst_status status, const char *text);

static const struct mst_handler handlers[] = {
    {MST_METHOD_EVALUATE, NULL, on_evaluate},
    {MST_METHOD_MAP, NULL, mst_chief_on_map},
    {MST_METHOD_WATCH_ROLES, NULL, mst_chief_on_watch_roles},
    {MST_METHOD_HEARTBEAT, NULL, on_heartbeat},
    {MST_METHOD_FINISH, NULL, on_finish},
};
static const struct mst_service service = {handlers, sizeof handlers / sizeof handlers[0], on_closed};

// ---- questions ----

static void on_cut(struct mst_chief *chief, bool is_marked)
{
    struct evaluation_cut *cut = &chief->evaluation_cut;
    *cut = (struct evaluation_cut){.task = cut->task, .is_known = true, .cut = is_marked ? chief->cut.machine.id : 0};
    mst_chief_rounds_resume(chief);
    mst_chief_answer_parked(chief);
}

static void drop_cut(struct mst_chief *chief)
{
    struct evaluation_cut *cut = &chief->evaluation_cut;
    if (cut->is_under_way)
        return; // of a task that is over already; the next one takes it
    if (cut->cut)
        mst_chief_cut_drop(chief, cut->cut);
    *cut = (struct evaluation_cut){0};
}

// True if it is known from which cut this task is to be computed: made for it, or none where nobody trains.
static bool has_cut(struct mst_chief *chief, const struct mst_evaluation_task *task)
{
    struct evaluation_cut *cut = &chief->evaluation_cut;
    if (chief->phase != CHIEF_RUNNING) {
        drop_cut(chief);
        return !cut->is_under_way;
    }
    if (cut->task == task->id && cut->is_known)
        return true;
    if (cut->task != task->id && !cut->is_under_way) {
        drop_cut(chief);
        cut->task = task->id;
    }
    if (cut->is_under_way || mst_chief_cut_is_busy(chief) || !mst_chief_rounds_are_quiet(chief))
        return false;
    cut->task = task->id;
    cut->is_under_way = true;
    mst_chief_cut_begin(chief, on_cut);
    return cut->is_known;
}

bool mst_chief_try_evaluate(struct worker_conn *from, const struct mst_message *message)
{
    struct mst_chief *chief = from->chief;
    struct mst_msg_evaluate_reply reply = {0};
    if (chief->gives_way)
        return false;
    if (chief->phase >= CHIEF_TELLING) {
        bool ok = chief->end_status == MST_OK;
        reply.kind = ok ? MST_EVALUATE_REPLY_FINISHED : MST_EVALUATE_REPLY_FAILED;
        reply.status = chief->end_status;
        reply.text = chief->end_text;
        MST_CHIEF_REPLY(from->conn, message, evaluate_reply, &reply);
        return true;
    }
    struct mst_evaluation_task task;
    switch (mst_evaluations_next(&chief->evaluations, from->seat, from->number, mst_clock_monotonic_ms(), &task)) {
    case MST_EVALUATION_WAIT:
        return false;
    case MST_EVALUATION_OUT:
        reply.kind = MST_EVALUATE_REPLY_OUT;
        break;
    case MST_EVALUATION_DO:
        if (!has_cut(chief, &task))
            return false;
        reply.cut = chief->evaluation_cut.cut;
        reply.kind = MST_EVALUATE_REPLY_EVALUATE;
        reply.id = task.id;
        reply.epoch = task.epoch;
        reply.step = task.step;
        break;
    }
    MST_CHIEF_REPLY(from->conn, message, evaluate_reply, &reply);
    return true;
}

void mst_chief_evaluate_later(struct mst_conn *conn, const struct mst_message *message)
{
    struct mst_msg_evaluate_reply reply = {.kind = MST_EVALUATE_REPLY_WAIT};
    MST_CHIEF_REPLY(conn, message, evaluate_reply, &reply);
}

static void take_scores(struct worker_conn *from, const struct mst_msg_evaluate *evaluate)
{
    struct mst_chief *chief = from->chief;
    struct mst_evaluation_task task;
    if (evaluate->done == 0 || chief->phase >= CHIEF_TELLING ||
        !mst_evaluations_done(&chief->evaluations, from->seat, evaluate->number, evaluate->done, &task))
        return;
    drop_cut(chief);
    if (evaluate->status != MST_OK) {
        mst_chief_on_evaluation_failed(chief, &task, evaluate->text);
        return;
    }
    if (evaluate->first_iterations != evaluate->last_iterations)
        MST_LOG(INFO, "chief", "evaluated between steps", "first=%llu last=%llu note=\"buckets of different steps\"",
                (unsigned long long)evaluate->first_iterations, (unsigned long long)evaluate->last_iterations);
    if (!task.is_final) // pulled later than it was wanted
        task.step = evaluate->first_iterations;
    if (evaluate->sums.n_values != mst_compile_n_sums(chief->config.compile)) {
        mst_chief_on_evaluation_failed(chief, &task, "the evaluator measures something else");
        return;
    }
    struct mst_scores scores = mst_scores_of(chief->config.compile, &evaluate->sums);
    mst_chief_on_evaluation(chief, &task, &scores);
}

static mst_status read_evaluate(const struct worker_conn *from, const struct mst_message *message,
                                struct mst_arena *arena, struct mst_msg_evaluate *evaluate, struct mst_error *err)
{
    MST_TRY(mst_msg_evaluate_decode(message->meta, arena, evaluate, err));
    if (from->chief->phase >= CHIEF_TELLING) // one that came then has no number, and only asks how it ended
        return MST_OK;
    return mst_evaluator_number_check(from->worker, evaluate->number, err);
}

static void on_evaluate(void *arg, struct mst_conn *conn, const struct mst_message *message)
{
    struct worker_conn *from = arg;
    struct mst_chief *chief = from->chief;
    struct mst_arena arena;
    struct mst_msg_evaluate evaluate;
    struct mst_error err;
    mst_arena_init(&arena, MST_MSG_ARENA_MAX);
    mst_status status = read_evaluate(from, message, &arena, &evaluate, &err);
    if (status != MST_OK) {
        mst_conn_reply_error(conn, message, status, "%s", err.text);
    } else {
        take_scores(from, &evaluate);
        if (!mst_chief_try_evaluate(from, message))
            mst_chief_park(from, message, NULL);
        if (chief->phase < CHIEF_TELLING)
            mst_chief_advance(chief);
    }
    mst_arena_fini(&arena);
}

static void on_heartbeat(void *arg, struct mst_conn *conn, const struct mst_message *message)
{
    struct worker_conn *from = arg;
    struct mst_chief *chief = from->chief;
    struct mst_arena arena;
    struct mst_msg_heartbeat heartbeat;
    struct mst_error err;
    mst_arena_init(&arena, MST_MSG_ARENA_MAX);
    mst_status status = mst_msg_heartbeat_decode(message->meta, &arena, &heartbeat, &err);
    if (status != MST_OK) {
        mst_conn_reply_error(conn, message, status, "%s", err.text);
    } else {
        mst_evaluations_heard(&chief->evaluations, from->seat, from->number, mst_clock_monotonic_ms());
        if (from->seat == MST_SEAT_ROLE) {
            chief->evaluator_figures.cpu_seconds = heartbeat.cpu_seconds;
            chief->evaluator_figures.max_rss_bytes = heartbeat.max_rss_bytes;
        }
        mst_chief_answer_heartbeat(chief, conn, message);
    }
    mst_arena_fini(&arena);
}

// An evaluator leaves. Why it does is no business of the job's.
static void on_finish(void *arg, struct mst_conn *conn, const struct mst_message *message)
{
    struct worker_conn *from = arg;
    struct mst_msg_finish_reply reply = {0};
    MST_CHIEF_REPLY(conn, message, finish_reply, &reply);
    MST_LOG(INFO, "chief", "evaluator leaves", "evaluator=%u number=%llu", from->worker,
            (unsigned long long)from->number);
    mst_evaluations_leave(&from->chief->evaluations, from->seat, from->number);
}

// ---- connections ----

static void on_closed(void *arg, struct mst_conn *conn, mst_status status, const char *text)
{
    struct worker_conn *closed = arg;
    struct mst_chief *chief = closed->chief;
    (void)conn;
    struct worker_conn gone = *closed;
    mst_chief_remove_conn(closed);
    // Its question may have paused the rounds for a cut. Who else wants the pause takes it again.
    if (!mst_chief_is_saving(chief) && !mst_chief_cut_is_busy(chief))
        mst_chief_rounds_resume(chief);
    if (chief->phase >= CHIEF_TELLING || mst_chief_has_conn(chief, &gone))
        return;
    MST_LOG(WARN, "chief", "evaluator lost", "evaluator=%u number=%llu status=%s reason=\"%s\"", gone.worker,
            (unsigned long long)gone.number, mst_status_name(status), text);
    mst_evaluations_lost(&chief->evaluations, gone.seat, gone.number, mst_clock_monotonic_ms());
}

// Another process evaluates and lives: asked again for a while, then refused for good, as with workers.
static void refuse_rival(struct mst_chief *chief, struct mst_conn *conn, const struct mst_message *message,
                         const struct mst_msg_greeting *greeting)
{
    uint64_t now_ms = mst_clock_monotonic_ms();
    struct rival *rival = &chief->evaluator_rival;
    if (rival->incarnation != greeting->incarnation)
        *rival = (struct rival){greeting->incarnation, now_ms};
    bool is_final = now_ms - rival->since_ms >= 2 * chief->config.job->lease_ms;
    static const char text[] = "another process is the evaluator and alive; there is at most one";
    if (is_final) {
        mst_chief_refuse(chief, conn, message, MST_ALREADY_EXISTS, text);
        return;
    }
    mst_conn_reply_error(conn, message, MST_UNAVAILABLE, "%s", text);
    mst_conn_close_flushed(conn);
}

void mst_chief_on_evaluator(struct mst_chief *chief, struct mst_conn *conn, const struct mst_message *message,
                            const struct mst_msg_greeting *greeting)
{
    bool is_own = greeting->incarnation == chief->config.identity->incarnation;
    struct worker_conn like = {.worker = greeting->index, .number = MST_NO_NUMBER, .is_evaluator = true};
    like.seat = is_own ? MST_SEAT_OWN : MST_SEAT_ROLE;
    // When the job is over it is told how that ended, whoever it is.
    if (chief->phase < CHIEF_TELLING &&
        mst_evaluations_greet(&chief->evaluations, like.seat, greeting->incarnation, mst_clock_monotonic_ms(),
                              &like.number) != MST_GREET_ADMITTED) {
        refuse_rival(chief, conn, message, greeting);
        return;
    }
    if (!is_own && like.number != MST_NO_NUMBER && !mst_chief_has_conn(chief, &like))
        MST_LOG(INFO, "chief", "evaluator admitted", "evaluator=%u number=%llu peer=%s", greeting->index,
                (unsigned long long)like.number, mst_conn_name(conn));
    if (!is_own) {
        chief->evaluator_figures.role = "evaluator";
        chief->evaluator_figures.index = greeting->index;
    }
    mst_chief_answer_greeting(chief, conn, message, like.number, NULL);
    struct worker_conn *added = mst_chief_add_conn(chief, conn, greeting->index, like.number);
    added->is_evaluator = true;
    added->seat = like.seat;
    mst_service_attach(&service, added, conn);
}
