// Where variables go, and what they begin with: initial values, or the newest whole checkpoint.
#include "chief/chief_private.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "base/rng.h"
#include "ckpt/checkpoint.h"
#include "ckpt/checkpoint_list.h"
#include "tfio/bundle_reader.h"
#include "tfio/disk_file.h"
#include "weights/weights.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NUMBERS_MAX = 1024 }; // more than callbacks remember

static enum mst_plan_update update_of(const struct mst_variable *variable)
{
    switch (variable->update) {
    case MST_UPDATE_MOVING_AVERAGE:
        return MST_PLAN_AVERAGE;
    case MST_UPDATE_FROZEN:
        return MST_PLAN_FROZEN;
    default:
        return MST_PLAN_OPTIMIZER;
    }
}

static mst_status make_plan(struct mst_chief *chief, struct mst_error *err)
{
    const struct mst_model *model = chief->config.model;
    size_t n = mst_model_n_variables(model);
    struct mst_plan_variable *variables = mst_alloc_array(n, sizeof *variables);
    for (size_t v = 0; v < n; v++) {
        const struct mst_variable *variable = mst_model_variable(model, v);
        uint64_t dims[MST_SHAPE_MAX_RANK];
        for (size_t d = 0; d < variable->shape.rank; d++)
            dims[d] = variable->shape.dims[d];
        uint64_t n_rows = variable->shape.rank ? dims[0] : 1;
        variables[v] =
            (struct mst_plan_variable){.name = variable->name,
                                       .n_rows = n_rows,
                                       .row_bytes = variable->n_elements / n_rows * sizeof(float),
                                       .n_parts = mst_partitioner_n_parts(&chief->config.job->partitioner, dims,
                                                                          variable->shape.rank, sizeof(float)),
                                       .update = update_of(variable)};
    }
    struct mst_plan_ps *servers = mst_alloc_array(chief->config.n_ps, sizeof *servers);
    for (size_t i = 0; i < chief->config.n_ps; i++)
        servers[i].n_threads = chief->links[i].n_threads;
    struct mst_plan_request request = {variables, n, servers, chief->config.n_ps, chief->config.bucket_max_bytes};
    mst_status status = mst_plan_new(&request, &chief->plan, err);
    free(servers);
    free(variables);
    return status;
}

static void fill_shards(struct mst_chief *chief)
{
    const struct mst_plan *plan = chief->plan;
    chief->shards = mst_alloc_array(plan->n_pieces, sizeof *chief->shards);
    for (size_t i = 0; i < plan->n_pieces; i++) {
        const struct mst_plan_piece *piece = &plan->pieces[i];
        chief->shards[i] = (struct mst_msg_shard){.variable = piece->variable,
                                                  .part = piece->part,
                                                  .row_offset = piece->row_offset,
                                                  .n_rows = piece->n_rows,
                                                  .ps = piece->ps,
                                                  .thread = piece->thread,
                                                  .bucket = piece->bucket};
    }
}

static void on_passed(void *context, const char *prefix, const char *why)
{
    (void)context;
    MST_LOG(WARN, "chief", "checkpoint passed over", "prefix=%s reason=\"%s\"", prefix, why);
}

static mst_status read_iterations(const char *prefix, uint64_t *out, struct mst_error *err)
{
    struct mst_bundle *bundle;
    MST_TRY(mst_bundle_open(prefix, &bundle, err));
    const struct mst_bundle_entry *entry = mst_bundle_find(bundle, "iterations");
    int64_t iterations = 0;
    mst_status status = MST_OK;
    if (!entry || entry->type != MST_TF_INT64)
        status = mst_fail(err, MST_INVALID_ARGUMENT, "%s has no iterations: it is no checkpoint of a job", prefix);
    else
        status = mst_bundle_read(bundle, entry, &iterations, sizeof iterations, err);
    if (status == MST_OK && iterations < 0)
        status = mst_fail(err, MST_DATA_LOSS, "%s: iterations is %lld", prefix, (long long)iterations);
    mst_bundle_free(bundle);
    *out = status == MST_OK ? (uint64_t)iterations : 0;
    return status;
}

// What the callbacks remembered; nothing if the checkpoint has none of it.
static mst_status resume_callbacks(struct mst_chief *chief, struct mst_error *err)
{
    struct mst_bundle *bundle;
    MST_TRY(mst_bundle_open(chief->restore_prefix, &bundle, err));
    const struct mst_bundle_entry *entry = mst_bundle_find(bundle, MST_CALLBACKS_TENSOR);
    mst_status status = MST_OK;
    if (entry && entry->type == MST_TF_INT64 && entry->shape.rank == 1 && entry->shape.dims[0] <= NUMBERS_MAX) {
        int64_t numbers[NUMBERS_MAX];
        size_t n = entry->shape.dims[0];
        status = mst_bundle_read(bundle, entry, numbers, n * sizeof numbers[0], err);
        if (status == MST_OK)
            mst_chief_callbacks_resume(chief, numbers, n);
    }
    mst_bundle_free(bundle);
    return status;
}

// Looking for the newest whole checkpoint: on the work thread, for every byte of it is read.
struct mst_chief_search {
    struct mst_chief *chief;
    char *prefix;
    uint64_t n_updates;
    mst_status status;
    struct mst_error err;
};

void mst_chief_search_free(struct mst_chief *chief)
{
    if (chief->search)
        free(chief->search->prefix);
    free(chief->search);
    chief->search = NULL;
}

void mst_chief_place_state(const struct mst_chief *chief, char *out, size_t out_bytes)
{
    if (chief->search)
        snprintf(out, out_bytes, "the checkpoints of %s to be read through", chief->config.job->checkpoint_dir);
}

// A tensor of bytes of the checkpoint that is resumed, in a new array; NULL if it has none.
static mst_status read_bytes(const struct mst_chief *chief, const char *name, size_t max_bytes, struct mst_bytes *out,
                             struct mst_error *err)
{
    struct mst_bundle *bundle;
    *out = (struct mst_bytes){0};
    MST_TRY(mst_bundle_open(chief->restore_prefix, &bundle, err));
    const struct mst_bundle_entry *entry = mst_bundle_find(bundle, name);
    mst_status status = MST_OK;
    if (entry && entry->type == MST_TF_UINT8 && entry->shape.rank == 1 && entry->shape.dims[0] <= max_bytes) {
        size_t n = entry->shape.dims[0];
        void *bytes = mst_alloc(n + 1);
        status = mst_bundle_read(bundle, entry, bytes, n, err);
        if (status == MST_OK)
            *out = (struct mst_bytes){bytes, n};
        else
            free(bytes);
    }
    mst_bundle_free(bundle);
    return status;
}

// What a checkpoint says of how far the job was.
struct notes {
    struct mst_arena arena;
    struct mst_bytes rounds; // new, as state
    struct mst_bytes state;
    struct mst_msg_round round; // has_close: it was made between rounds
};

static mst_status read_notes(const struct mst_chief *chief, struct notes *notes, struct mst_error *err)
{
    size_t max_bytes = chief->cut.machine.state.max_bytes;
    *notes = (struct notes){0};
    mst_arena_init(&notes->arena, SIZE_MAX / 4); // of bytes that are bounded
    MST_TRY(read_bytes(chief, MST_CHECKPOINT_ROUNDS_TENSOR, max_bytes, &notes->rounds, err));
    MST_TRY(read_bytes(chief, MST_CHECKPOINT_STATE_TENSOR, max_bytes, &notes->state, err));
    return notes->rounds.data ? mst_msg_round_decode(notes->rounds, &notes->arena, &notes->round, err) : MST_OK;
}

static void free_notes(struct notes *notes)
{
    mst_arena_fini(&notes->arena);
    free((void *)(uintptr_t)notes->rounds.data);
    free((void *)(uintptr_t)notes->state.data);
}

// Goes on with the very batches that are left: the close that the checkpoint was made at, or who had done what of an
// epoch. INVALID_ARGUMENT: it is of a job with other batches.
static mst_status take_notes(struct mst_chief *chief, struct notes *notes, struct mst_error *err)
{
    struct mst_coordinator *c = &chief->coordinator;
    bool is_of_rounds = notes->round.has_close;
    if (is_of_rounds != c->is_synchronous)
        return mst_fail(err, MST_INVALID_ARGUMENT, "it was made %s synchronous rounds",
                        is_of_rounds ? "in" : "without");
    if (is_of_rounds && notes->state.data)
        MST_TRY(mst_chief_state_check_order(notes->state, &notes->arena, c, err));
    if (is_of_rounds)
        return mst_coordinator_restore(c, &notes->round.close, MST_ROUNDS_APPLIED, err);
    struct mst_chief_state beside;
    MST_TRY(mst_chief_state_decode(notes->state, &notes->arena, c, mst_clock_monotonic_ms(), &beside, err));
    mst_training_sums_clear(&c->total); // of this run
    return MST_OK;
}

static bool place_of(struct notes *notes, struct mst_coordinator_place *out)
{
    const struct mst_msg_close *close = &notes->round.close;
    struct mst_msg_chief_state state;
    *out = (struct mst_coordinator_place){0};
    if (notes->round.has_close && close->n_workers > 0 && close->n_units > 0) {
        const struct mst_deal_shape shape = {close->n_workers, close->n_units, UINT64_MAX};
        const struct mst_deal next = {.k = close->next.k, .n_tail = close->next.n_tail, .n_plan = close->next.n_plan};
        uint64_t n_left = mst_deal_n_left(&next, &shape); // 0: of no epoch any more
        uint64_t n_done = n_left > 0 && n_left <= close->n_units ? close->n_units - n_left : 0;
        *out = (struct mst_coordinator_place){close->next.epoch, n_done, close->n_units};
    } else if (mst_msg_chief_state_decode(notes->state, &notes->arena, &state, NULL) == MST_OK && state.n_batches > 0) {
        *out = (struct mst_coordinator_place){state.n_done / state.n_batches, state.n_done % state.n_batches,
                                              state.n_batches};
    }
    return out->n_batches > 0;
}

// Of other batches than this job's: a job that counts steps goes on at its step, one that counts epochs at the same
// place of its epochs.
static void resume_about(struct mst_chief *chief, struct notes *notes, const char *why)
{
    struct mst_coordinator_place place;
    if (chief->config.job->steps || !place_of(notes, &place)) {
        MST_LOG(WARN, "chief", "progress counted by steps", "prefix=%s reason=\"%s\"", chief->restore_prefix, why);
        mst_coordinator_skip(&chief->coordinator, chief->n_steps_resumed);
        return;
    }
    mst_coordinator_skip_to(&chief->coordinator, &place, chief->n_steps_resumed);
    MST_LOG(WARN, "chief", "progress counted by epochs", "prefix=%s epochs=%llu and=%llu/%llu reason=\"%s\"",
            chief->restore_prefix, (unsigned long long)place.epoch, (unsigned long long)place.n_done,
            (unsigned long long)place.n_batches, why);
}

static mst_status resume_progress(struct mst_chief *chief, struct mst_error *err)
{
    struct notes notes;
    mst_status status = read_notes(chief, &notes, err);
    bool has_notes = notes.rounds.data || notes.state.data;
    if (status == MST_OK && has_notes)
        status = take_notes(chief, &notes, err);
    if (status == MST_INVALID_ARGUMENT)
        resume_about(chief, &notes, err->text);
    else if (status == MST_OK && !has_notes)
        mst_coordinator_skip(&chief->coordinator, chief->n_steps_resumed);
    free_notes(&notes);
    return status == MST_INVALID_ARGUMENT ? MST_OK : status;
}

// Whoever was in the job before is out, also a process that was admitted after the checkpoint was made: numbers go on
// at the time of the day, which is above all that were given by then.
static mst_status resume_members(struct mst_chief *chief, struct mst_error *err)
{
    struct mst_membership *members = &chief->coordinator.membership;
    struct mst_bytes bytes;
    struct mst_arena arena;
    size_t n_workers = chief->config.n_workers;
    size_t n_places = chief->coordinator.rounds.config.n_workers;
    MST_TRY(read_bytes(chief, MST_CHECKPOINT_STATE_TENSOR, chief->cut.machine.state.max_bytes, &bytes, err));
    mst_arena_init(&arena, SIZE_MAX / 4); // of bytes that are bounded
    mst_status status = bytes.data ? mst_chief_state_members(bytes, &arena, members, err) : MST_OK;
    mst_membership_begin_again(members, n_workers > n_places ? n_workers : n_places, mst_clock_wall_ns() / 1000000);
    mst_arena_fini(&arena);
    free((void *)(uintptr_t)bytes.data);
    return status == MST_INVALID_ARGUMENT ? MST_OK : status; // of which resume_progress has told
}

static mst_status resume(struct mst_chief *chief, struct mst_error *err)
{
    struct mst_chief_search *search = chief->search;
    const char *dir = chief->config.job->checkpoint_dir;
    if (search->status == MST_NOT_FOUND && !search->prefix) {
        MST_LOG(INFO, "chief", "nothing to resume", "dir=%s", dir);
        return MST_OK;
    }
    if (search->status == MST_DATA_LOSS)
        return mst_fail(err, search->status, "%s; with checkpoint.resume false the job begins anew", search->err.text);
    if (search->status != MST_OK)
        return mst_fail(err, search->status, "%s", search->err.text);
    chief->restore_prefix = search->prefix;
    search->prefix = NULL;
    chief->n_steps_resumed = search->n_updates;
    MST_TRY(resume_progress(chief, err));
    MST_TRY(resume_members(chief, err));
    chief->checkpoint = mst_strdup(chief->restore_prefix);
    chief->n_steps_resumed = mst_chief_steps_done(chief);
    MST_LOG(INFO, "chief", "resuming", "prefix=%s steps=%llu", chief->restore_prefix,
            (unsigned long long)chief->n_steps_resumed);
    return resume_callbacks(chief, err);
}

// Weights to begin with become checkpoint 0, from which each PS takes its shards, and so has to see it.
static mst_status begin_from(struct mst_chief *chief, struct mst_error *err)
{
    const struct mst_model *model = chief->config.model;
    const struct mst_weights *initial = chief->config.initial;
    const char *dir = chief->config.job->checkpoint_chief_dir;
    const int64_t none = 0;
    if (chief->config.job->checkpoint_local)
        return mst_fail(err, MST_INVALID_ARGUMENT,
                        "%s: checkpoint.local: a job that begins with weights of a file (init_from, or a model that is "
                        "an archive) needs a checkpoint.dir that all share",
                        chief->config.job->file);
    struct mst_checkpoint_writer *writer;
    struct mst_checkpoint_value *values = mst_alloc_array(initial->n + 1, sizeof *values);
    for (size_t v = 0; v < initial->n; v++) {
        const struct mst_variable *variable = mst_model_variable(model, v);
        values[v] = (struct mst_checkpoint_value){
            .tensor = {.name = variable->name, .type = MST_TF_FLOAT, .shape = variable->shape},
            .data = initial->values[v]};
    }
    values[initial->n] =
        (struct mst_checkpoint_value){.tensor = {.name = "iterations", .type = MST_TF_INT64}, .data = &none};
    const struct mst_checkpoint_attempt attempt = {.dir = dir, .n_shards = 1, .id = chief->term};
    mst_status status = mst_checkpoint_begin(&attempt, &writer, err);
    if (status == MST_OK) {
        status = mst_checkpoint_write(writer, values, initial->n + 1, err);
        if (status == MST_OK)
            status = mst_checkpoint_commit(writer, 0, err);
        else
            mst_checkpoint_abort(writer);
    }
    free(values);
    if (status != MST_OK)
        return status;
    chief->restore_prefix = mst_checkpoint_prefix(dir, 0);
    MST_LOG(INFO, "chief", "beginning from weights", "prefix=%s", chief->restore_prefix);
    return MST_OK;
}

// A file with a random text, which every PS has to read: if it cannot, the storage is not shared.
static mst_status write_nonce(struct mst_chief *chief, struct mst_error *err)
{
    const char *dir = chief->config.job->checkpoint_dir;
    MST_TRY(mst_disk_make_folders(dir, err));
    char *nonce = mst_text("%016llx", (unsigned long long)mst_rng_system());
    char *path = mst_text("%s/.shared-%s", dir, nonce);
    mst_status status = mst_disk_write(path, (struct mst_bytes){nonce, strlen(nonce)}, err);
    if (status == MST_OK) {
        chief->nonce = nonce;
        chief->nonce_path = path;
        return MST_OK;
    }
    free(path);
    free(nonce);
    return status;
}

void mst_chief_remove_nonce(struct mst_chief *chief)
{
    struct mst_error err;
    if (chief->nonce_path && mst_disk_remove(chief->nonce_path, &err) != MST_OK)
        MST_LOG(DEBUG, "chief", "leftover", "reason=\"%s\"", err.text);
    chief->map.nonce_path = chief->map.nonce = NULL; // who comes later has a checkpoint to read, or nothing
}

static void fill_map(struct mst_chief *chief, uint64_t term, uint64_t epoch)
{
    float rate;
    bool sets_rate = mst_callbacks_rate(chief->callbacks, &rate);
    chief->map = (struct mst_msg_map){
        .term = term,
        .epoch = epoch,
        .seed = chief->config.job->seed,
        .n_shards = chief->plan->n_pieces,
        .shards = chief->shards,
        .restore_prefix = chief->restore_prefix,
        .iterations = chief->n_steps_resumed,
        .sets_learning_rate = sets_rate,
        .learning_rate = (double)rate,
        .n_round_workers = chief->coordinator.is_synchronous ? (uint32_t)chief->coordinator.rounds.config.n_workers : 0,
        .nonce_path = chief->nonce_path,
        .nonce = chief->nonce};
    chief->has_map = true;
}

// What variables begin with is known.
static void send_map(struct mst_chief *chief, mst_status status, struct mst_error *err)
{
    if (status == MST_OK && chief->config.initial && !chief->restore_prefix)
        status = begin_from(chief, err);
    mst_weights_free(chief->config.initial);
    chief->config.initial = NULL;
    if (status != MST_OK) {
        mst_chief_tell(chief, status, err->text);
        return;
    }
    // A job that goes on from a checkpoint refuses the numbers of its earlier lives. One that begins anew knows none:
    // workers of a life that left no checkpoint are told by the name of their map.
    uint64_t epoch = chief->checkpoint ? 1 : 1 + (mst_rng_system() >> 33);
    fill_map(chief, chief->term, epoch);
    chief->committed_step = chief->n_steps_resumed;
    mst_chief_touch(chief);
    mst_chief_store(chief); // when it is stored, the map goes out
}

static void on_searched(void *arg)
{
    struct mst_chief *chief = arg;
    struct mst_error err;
    if (chief->phase == CHIEF_PLACING)
        send_map(chief, resume(chief, &err), &err);
    mst_chief_search_free(chief);
}

void mst_chief_on_parts_found(struct mst_chief *chief, mst_status status, char *prefix, const struct mst_error *err)
{
    struct mst_chief_search *search = chief->search;
    search->status = status;
    search->prefix = prefix;
    search->err = *err;
    if (status == MST_OK)
        search->status = read_iterations(prefix, &search->n_updates, &search->err);
    on_searched(chief);
}

// On the work thread.
static void on_search(void *arg)
{
    struct mst_chief_search *search = arg;
    const char *dir = search->chief->config.job->checkpoint_dir;
    uint64_t step;
    search->status = mst_checkpoint_newest_verified(dir, on_passed, NULL, &search->prefix, &step, &search->err);
    if (search->status == MST_OK)
        search->status = read_iterations(search->prefix, &search->n_updates, &search->err);
    mst_loop_post(search->chief->config.control, on_searched, search->chief);
}

// At the end each PS sends what its variables hold in one answer.
static mst_status check_sizes(const struct mst_chief *chief, struct mst_error *err)
{
    for (size_t i = 0; i < chief->plan->n_ps; i++)
        if (chief->plan->ps_bytes[i] > MST_FRAME_BODY_MAX)
            return mst_fail(err, MST_FAILED_PRECONDITION,
                            "%s: checkpoint.local: ps-%zu would hold %llu bytes of variables, and %llu are the limit: "
                            "use more parameter servers, or a checkpoint.dir that all share",
                            chief->config.job->file, i, (unsigned long long)chief->plan->ps_bytes[i],
                            (unsigned long long)MST_FRAME_BODY_MAX);
    return MST_OK;
}

static mst_status plan(struct mst_chief *chief, struct mst_error *err)
{
    MST_TRY(make_plan(chief, err));
    fill_shards(chief);
    char *text = mst_plan_text(chief->plan);
    MST_LOG(INFO, "chief", "variables placed", "plan=\"%s\"", text);
    free(text);
    return chief->config.job->checkpoint_local ? check_sizes(chief, err) : MST_OK;
}

static mst_status prepare_storage(struct mst_chief *chief, struct mst_error *err)
{
    if (!chief->config.job->checkpoint_local)
        MST_TRY(write_nonce(chief, err));
    return mst_checkpoint_clean(chief->config.job->checkpoint_chief_dir, err);
}

mst_status mst_chief_plan_again(struct mst_chief *chief, uint64_t map_term, uint64_t map_epoch, struct mst_error *err)
{
    struct mst_error why;
    MST_TRY(plan(chief, err));
    // A job that trains goes on without a checkpoint: what servers hold is all there is since the last one.
    if (prepare_storage(chief, &why) != MST_OK)
        MST_LOG(WARN, "chief", "storage not ready", "reason=\"%s\"", why.text);
    mst_weights_free(chief->config.initial); // the earlier chief began with them
    chief->config.initial = NULL;
    fill_map(chief, map_term, map_epoch);
    return MST_OK;
}

void mst_chief_place(struct mst_chief *chief)
{
    struct mst_error err;
    mst_status status = plan(chief, &err);
    if (status == MST_OK)
        status = prepare_storage(chief, &err);
    if (status != MST_OK || !chief->config.job->checkpoint_resume) {
        send_map(chief, status, &err);
        return;
    }
    chief->search = mst_alloc(sizeof *chief->search);
    chief->search->chief = chief;
    if (chief->config.job->checkpoint_local)
        mst_chief_find_parts(chief);
    else
        mst_loop_post(chief->work, on_search, chief->search);
}
