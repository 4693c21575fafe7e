// What outlives the chief. Whatever it decides is stored on every parameter server (STATE) before anybody acts on it:
// an answer that depends on a decision (a number, a lease) waits for its *mark*. One state is under way at a time, and
// the next one holds all that changed meanwhile, so the cost is a small message to each server and change, or less.
// A chief that starts claims a term above all that the servers have seen (RECALL), takes the highest state that one of
// them has, stores it again under its own term, and goes on; where there is none, the job begins.
#include "chief/chief_private.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/crc32c.h"
#include "base/error.h"
#include "base/log.h"
#include "chief/chief_state.h"

#include <stdlib.h>
#include <string.h>

// ---- storing ----

void mst_chief_touch(struct mst_chief *chief)
{
    chief->is_touched = true;
}

uint64_t mst_chief_mark(const struct mst_chief *chief)
{
    return chief->state_n + chief->is_touched;
}

struct stored_question {
    const struct mst_chief *chief;
    uint64_t mark;
};

static bool has_stored(const void *arg, size_t ps)
{
    const struct stored_question *question = arg;
    return question->chief->links[ps].stored_n >= question->mark;
}

bool mst_chief_is_stored(const struct mst_chief *chief, uint64_t mark)
{
    const struct stored_question question = {chief, mark};
    return mst_failover_is_known(&chief->failover, has_stored, &question);
}

static uint32_t plan_crc(const struct mst_chief *chief)
{
    uint32_t crc = 0;
    for (size_t i = 0; i < chief->plan->n_pieces; i++) {
        const struct mst_msg_shard *shard = &chief->shards[i];
        const uint64_t numbers[] = {shard->variable, shard->part,   shard->row_offset, shard->n_rows,
                                    shard->ps,       shard->thread, shard->bucket};
        crc = mst_crc32c_extend(crc, numbers, sizeof numbers);
    }
    return crc;
}

static uint64_t ms_since(uint64_t from_ns, uint64_t to_ns)
{
    return from_ns && to_ns > from_ns ? (to_ns - from_ns) / 1000000 : 0;
}

// New text, JSON.
static char *list_evaluated(const struct mst_chief *chief)
{
    size_t n_bytes = 2; // the brackets
    size_t first = json_array_size(chief->evaluated);
    json_t *newest = json_array();
    while (first > 0) {
        n_bytes += json_dumpb(json_array_get(chief->evaluated, first - 1), NULL, 0, JSON_COMPACT) + 1;
        if (n_bytes > MST_CHIEF_STATE_EVALUATED_MAX)
            break;
        first--;
    }
    for (; first < json_array_size(chief->evaluated); first++)
        json_array_append(newest, json_array_get(chief->evaluated, first));
    char *text = json_dumps(newest, JSON_COMPACT);
    json_decref(newest);
    return text;
}

static mst_status encode(struct mst_chief *chief)
{
    size_t n_numbers = chief->config.job->n_callbacks ? mst_callbacks_n_numbers(chief->callbacks) : 0;
    int64_t *numbers = mst_alloc_array(n_numbers + 1, sizeof *numbers);
    if (n_numbers)
        mst_callbacks_save(chief->callbacks, numbers);
    uint64_t *threads = mst_alloc_array(chief->config.n_ps, sizeof *threads);
    for (size_t i = 0; i < chief->config.n_ps; i++)
        threads[i] = chief->links[i].n_threads;
    struct mst_msg_epoch_sums *untold = mst_alloc_array(chief->ledger.n, sizeof *untold);
    for (size_t i = 0; i < chief->ledger.n; i++) {
        const struct mst_epoch_record *record = mst_epoch_ledger_at(&chief->ledger, i);
        untold[i] = (struct mst_msg_epoch_sums){record->epoch, record->n_steps, record->sums};
    }
    struct mst_msg_setback *setbacks = mst_chief_list_setbacks(chief);
    char *evaluated = list_evaluated(chief);
    struct mst_chief_state state = {.map_term = chief->map.term,
                                    .map_epoch = chief->map.epoch,
                                    .plan_crc = plan_crc(chief),
                                    .n_ps = chief->config.n_ps,
                                    .ps_threads = threads,
                                    .restore_prefix = chief->restore_prefix,
                                    .n_steps_resumed = chief->n_steps_resumed,
                                    .checkpoint = chief->checkpoint,
                                    .checkpoint_step = chief->committed_step,
                                    .is_finished = chief->is_finished,
                                    .n_numbers = n_numbers,
                                    .numbers = numbers,
                                    .last = chief->last_epoch,
                                    .trained_ms = ms_since(chief->first_lease_ns, mst_clock_monotonic_ns()),
                                    .first_step_ms = ms_since(chief->config.started_ns, chief->first_step_ns),
                                    .n_lost_updates = chief->n_lost_updates,
                                    .evaluated = evaluated,
                                    .evaluated_step = chief->evaluated_step,
                                    .n_checkpoint_rows = chief->n_checkpoint_rows,
                                    .checkpoint_rows = chief->checkpoint_rows,
                                    .n_untold = chief->ledger.n,
                                    .untold = untold,
                                    .has_close = chief->coordinator.is_synchronous,
                                    .n_setbacks = chief->config.n_ps,
                                    .setbacks = setbacks};
    if (state.has_close)
        mst_rounds_close(&chief->coordinator.rounds, &state.close);
    mst_buf_reset(&chief->state);
    mst_status status = mst_chief_state_encode(&state, &chief->coordinator, &chief->state);
    free(evaluated);
    free(setbacks);
    free(untold);
    free(threads);
    free(numbers);
    return status;
}

static void on_stored(void *arg, const struct mst_reply *reply);

static void send_state(struct ps_link *link)
{
    struct mst_chief *chief = link->chief;
    struct mst_msg_state message = {chief->term, chief->state_n, mst_buf_view(&chief->state)};
    link->is_storing = true;
    MST_CHIEF_CALL(link, STATE, state, &message, chief->config.job->lease_ms, on_stored, link);
}

void mst_chief_store(struct mst_chief *chief)
{
    if (!chief->has_map || chief->phase >= CHIEF_TELLING)
        return;
    // A state that knows of an epoch's end is not there before its lines: the next chief would not write them.
    if (chief->is_touched && mst_chief_is_stored(chief, chief->state_n) && mst_chief_lines_are_written(chief)) {
        if (encode(chief) != MST_OK) {
            mst_chief_tell(chief, MST_RESOURCE_EXHAUSTED,
                           "what a later chief would have to know does not fit a message: use fewer workers or "
                           "metrics");
            return;
        }
        chief->is_touched = false;
        chief->state_n++;
    }
    for (size_t i = 0; i < chief->config.n_ps; i++) {
        struct ps_link *link = &chief->links[i];
        if (link->stored_n < chief->state_n && !link->is_storing && mst_peer_is_up(link->peer))
            send_state(link);
    }
}

static void on_stored(void *arg, const struct mst_reply *reply)
{
    struct ps_link *link = arg;
    struct mst_chief *chief = link->chief;
    struct mst_msg_state_reply answer;
    struct mst_arena arena;
    link->is_storing = false;
    if (chief->phase >= CHIEF_TELLING)
        return;
    if (reply->status == MST_ABORTED) {
        mst_chief_give_way(chief, MST_ALREADY_EXISTS, reply->text);
        return;
    }
    if (reply->status != MST_OK)
        return; // the link broke, or it is sent again by the tick
    mst_arena_init(&arena, MST_MSG_ARENA_MAX);
    if (mst_msg_state_reply_decode(reply->message->meta, &arena, &answer, NULL) == MST_OK &&
        answer.term == chief->term && answer.n > link->stored_n)
        link->stored_n = answer.n;
    mst_arena_fini(&arena);
    if (!mst_chief_is_stored(chief, chief->state_n))
        return;
    mst_chief_failover_go_on(chief); // a home may have waited for it
    if (chief->phase >= CHIEF_TELLING)
        return;
    mst_chief_links_place(chief);
    mst_chief_fences_go_on(chief);
    if (chief->phase < CHIEF_TELLING)
        mst_chief_advance(chief);
}

// ---- recalling ----

static void take_texts(struct mst_chief *chief, const struct mst_chief_state *state)
{
    if (state->restore_prefix[0])
        chief->restore_prefix = mst_strdup(state->restore_prefix);
    if (state->checkpoint[0])
        chief->checkpoint = mst_strdup(state->checkpoint);
    json_t *evaluated = json_loads(state->evaluated, 0, NULL);
    if (json_is_array(evaluated)) {
        json_decref(chief->evaluated);
        chief->evaluated = evaluated;
    } else {
        json_decref(evaluated);
    }
}

static void take_rest(struct mst_chief *chief, const struct mst_chief_state *state)
{
    chief->n_steps_resumed = state->n_steps_resumed;
    chief->committed_step = state->checkpoint_step;
    mst_chief_take_rows(chief, state->checkpoint_rows, state->n_checkpoint_rows);
    chief->n_lost_updates = state->n_lost_updates;
    for (size_t i = 0; i < state->n_setbacks && i < chief->config.n_ps; i++)
        mst_chief_take_setback(&chief->groups[i], &state->setbacks[i]);
    chief->evaluated_step = state->evaluated_step;
    // Ids of evaluations go on where no earlier chief can have been.
    chief->evaluations.n_wanted = chief->term << 20;
    if (state->first_step_ms)
        chief->first_step_ns = chief->config.started_ns + state->first_step_ms * 1000000;
    if (state->last.sums.n_values == chief->coordinator.n_sums) {
        chief->last_epoch = (struct mst_epoch_record){.epoch = state->last.epoch, .n_steps = state->last.n_steps};
        mst_training_sums_init(&chief->last_epoch.sums, chief->coordinator.n_sums);
        mst_training_sums_copy(&chief->last_epoch.sums, &state->last.sums);
    }
    for (size_t i = 0; i < state->n_untold; i++) {
        const struct mst_msg_epoch_sums *from = &state->untold[i];
        const struct mst_epoch_record record = {.epoch = from->epoch, .n_steps = from->n_steps, .sums = from->sums};
        mst_chief_keep_untold(chief, &record);
    }
    if (state->n_numbers)
        mst_chief_callbacks_resume(chief, state->numbers, state->n_numbers);
}

static mst_status take_plan(struct mst_chief *chief, const struct mst_chief_state *state, struct mst_error *err)
{
    if (state->n_ps != chief->config.n_ps)
        return mst_fail(err, MST_FAILED_PRECONDITION, MST_CHIEF_OTHER_LIST, state->n_ps, chief->config.n_ps);
    for (size_t i = 0; i < state->n_ps; i++) {
        struct ps_link *link = &chief->links[i];
        if (link->n_threads && link->n_threads < state->ps_threads[i] && !mst_chief_has_replicas(chief))
            return mst_fail(err, MST_INVALID_ARGUMENT, // no other chief could go on either
                            "ps-%zu has %zu data threads, and its shards are planned for %llu: give it --data-threads "
                            "%llu",
                            i, link->n_threads, (unsigned long long)state->ps_threads[i],
                            (unsigned long long)state->ps_threads[i]);
        link->n_threads = (size_t)state->ps_threads[i];
    }
    MST_TRY(mst_chief_plan_again(chief, state->map_term, state->map_epoch, err));
    if (plan_crc(chief) != state->plan_crc)
        return mst_fail(err, MST_FAILED_PRECONDITION,
                        "the variables are placed otherwise on the parameter servers than this chief would: is it "
                        "another version of muster?");
    return MST_OK;
}

static const struct ps_link *best_of(const struct mst_chief *chief)
{
    const struct ps_link *best = NULL;
    for (size_t i = 0; i < chief->config.n_ps; i++) {
        const struct ps_link *link = &chief->links[i];
        if (link->memory_n > 0 && (!best || link->memory_term > best->memory_term ||
                                   (link->memory_term == best->memory_term && link->memory_n > best->memory_n)))
            best = link;
    }
    return best;
}

static bool is_newer(const struct mst_msg_close *a, const struct mst_msg_close *b)
{
    return a->round > b->round || (a->round == b->round && a->attempt > b->attempt);
}

// The last close that a PS has stored, word for word: some may have acted on it. Where all came back empty and were
// told of none yet, no round was closed since the state was stored that they were placed with.
static mst_status restore_rounds(struct mst_chief *chief, const struct mst_chief_state *state, struct mst_error *err)
{
    struct mst_arena arena;
    struct mst_msg_close best = state->close;
    bool has_close = false;
    mst_status status = MST_OK;
    mst_arena_init(&arena, SIZE_MAX / 4); // of answers that were decoded before
    for (size_t i = 0; i < chief->config.n_ps && status == MST_OK; i++) {
        struct mst_msg_recall_reply answer;
        status = mst_msg_recall_reply_decode(mst_buf_view(&chief->links[i].memory), &arena, &answer, err);
        if (status != MST_OK || !answer.has_close || (has_close && !is_newer(&answer.close, &best)))
            continue;
        best = answer.close;
        has_close = true;
    }
    if (status == MST_OK && (has_close || state->has_close))
        status = mst_coordinator_restore(&chief->coordinator, &best, MST_ROUNDS_REPEAT, err);
    mst_arena_fini(&arena);
    return status;
}

static mst_status restore(struct mst_chief *chief, const struct ps_link *best, struct mst_error *err)
{
    struct mst_arena arena;
    struct mst_chief_state state;
    struct mst_msg_recall_reply answer;
    mst_arena_init(&arena, MST_MSG_ARENA_MAX);
    mst_status status = mst_msg_recall_reply_decode(mst_buf_view(&best->memory), &arena, &answer, err);
    if (status == MST_OK)
        status =
            mst_chief_state_decode(answer.data, &arena, &chief->coordinator, mst_clock_monotonic_ms(), &state, err);
    if (status == MST_OK) {
        take_texts(chief, &state);
        take_rest(chief, &state);
        status = take_plan(chief, &state, err);
    }
    if (status == MST_OK && chief->coordinator.is_synchronous)
        status = restore_rounds(chief, &state, err);
    if (status == MST_OK && (state.trained_ms || mst_chief_steps_done(chief) > state.n_steps_resumed))
        chief->first_lease_ns = mst_clock_monotonic_ns() - state.trained_ms * 1000000;
    chief->is_finished = status == MST_OK && state.is_finished;
    mst_arena_fini(&arena);
    return status;
}

// The worker of this very process died with the chief.
static void lose_own_worker(struct mst_chief *chief)
{
    struct mst_membership *members = &chief->coordinator.membership;
    uint32_t own = chief->config.own_worker;
    if (own < members->n_members)
        mst_membership_leave(members, own, members->members[own].number, "the process of the chief that it was in died",
                             mst_clock_monotonic_ms());
}

void mst_chief_recall_done(struct mst_chief *chief)
{
    const struct ps_link *best = best_of(chief);
    struct mst_error err;
    chief->phase = CHIEF_PLACING;
    if (chief->was_finished) { // what servers know of it, if anything, is from just before
        mst_chief_tell(chief, MST_OK, MST_CHIEF_WAS_FINISHED);
        return;
    }
    if (!best) {
        mst_chief_end_forget(chief->config.job); // of another job, then
        mst_chief_place(chief);
        return;
    }
    chief->is_recalled = true;
    chief->recalled_ms = mst_clock_monotonic_ms();
    mst_status status = restore(chief, best, &err);
    if (status == MST_FAILED_PRECONDITION) { // another chief may go on with the job
        mst_chief_give_way(chief, status, err.text);
        return;
    }
    if (status != MST_OK || chief->is_finished) {
        mst_chief_tell(chief, status, status == MST_OK ? MST_CHIEF_WAS_FINISHED : err.text);
        return;
    }
    size_t n_live = mst_membership_n_live(&chief->coordinator.membership);
    MST_LOG(WARN, "chief", "recalled", "term=%llu from=%llu.%llu ps=%u steps=%llu workers=%zu",
            (unsigned long long)chief->term, (unsigned long long)best->memory_term, (unsigned long long)best->memory_n,
            best->index, (unsigned long long)mst_chief_steps_done(chief), n_live);
    lose_own_worker(chief);
    bool has_trained = chief->coordinator.leases.n_granted > chief->n_steps_resumed ||
                       mst_chief_steps_done(chief) > chief->n_steps_resumed;
    // With replicas every server gets the map again, and its roles tell which groups nobody has.
    for (size_t i = 0; !mst_chief_has_replicas(chief) && i < chief->config.n_ps; i++) {
        struct ps_link *link = &chief->links[i];
        link->is_placed = link->is_serving && link->map_term == chief->map.term && link->map_epoch == chief->map.epoch;
        // One that was to begin anew may be about to, or has; it says again that it has. By what it was told then its
        // updates are counted.
        if (chief->groups[i].is_empty)
            link->is_placed = false;
        else if (!link->is_placed && has_trained)
            mst_chief_group_gone(&chief->groups[i]);
    }
    mst_chief_touch(chief);
    mst_chief_store(chief);
}

static void take_memory(struct ps_link *link, struct mst_bytes bytes, const struct mst_msg_recall_reply *reply)
{
    mst_buf_reset(&link->memory);
    if (mst_buf_append(&link->memory, bytes.data, bytes.len) != MST_OK)
        return; // no longer than a frame's
    link->memory_term = reply->term;
    link->memory_n = reply->n;
    link->map_term = reply->map_term;
    link->map_epoch = reply->map_epoch;
    link->is_serving = reply->is_serving;
    link->is_recalled = true;
}

static void on_recalled(void *arg, const struct mst_reply *reply)
{
    struct ps_link *link = arg;
    struct mst_chief *chief = link->chief;
    struct mst_arena arena;
    struct mst_msg_recall_reply answer;
    struct mst_error err;
    if (chief->phase != CHIEF_RECALLING)
        return;
    if (reply->status == MST_ABORTED) {
        mst_chief_give_way(chief, MST_ALREADY_EXISTS, reply->text);
        return;
    }
    if (reply->status == MST_DEADLINE_EXCEEDED)
        mst_peer_break(link->peer, "was given up: no answer to a recall");
    if (reply->status != MST_OK)
        return; // asked again when the link stands again
    mst_arena_init(&arena, MST_MSG_ARENA_MAX);
    mst_status status = mst_msg_recall_reply_decode(reply->message->meta, &arena, &answer, &err);
    if (status == MST_OK) {
        take_memory(link, reply->message->meta, &answer);
        mst_chief_failover_read(link, &answer);
    }
    mst_arena_fini(&arena);
    if (status != MST_OK) {
        mst_chief_tell(chief, status, err.text);
        return;
    }
    if (mst_chief_has_replicas(chief))
        return; // done when there are roles
    for (size_t i = 0; i < chief->config.n_ps; i++)
        if (!chief->links[i].is_recalled)
            return;
    mst_chief_recall_done(chief);
}

void mst_chief_recall(struct ps_link *link)
{
    struct mst_msg_recall message = {link->chief->term};
    MST_CHIEF_CALL(link, RECALL, recall, &message, link->chief->config.job->lease_ms, on_recalled, link);
}
