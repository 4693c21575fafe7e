// checkpoint.local: every process keeps its part on storage of its own, below checkpoint.dir: the chief in `chief`, a
// parameter server in `ps-<index>`. The chief's part says that the checkpoint is there: it is committed when every
// server has committed its own. Parts of one checkpoint carry one id, so a restart takes the newest step of which the
// chief and every server have a whole part with the same id.
#include "chief/chief_private.h"

#include "base/alloc.h"
#include "base/crc32c.h"
#include "base/error.h"
#include "base/log.h"
#include "base/rng.h"
#include "ckpt/checkpoint_list.h"
#include "ckpt/local_part.h"
#include "tfio/bundle_reader.h"

#include <stdlib.h>
#include <string.h>

enum { ASK_MS = 600000 };                   // every part is read through, on a slow disk
enum { NUMBER_ID, NUMBER_PS, NUMBER_PLAN }; // MST_CHIEF_PART_NUMBERS of them

struct question {
    struct mst_chief_part_search *search;
    struct ps_link *link;
    struct mst_local_parts parts;
    char why[1024]; // of the newest that it passed over
};

struct mst_chief_part_search {
    struct mst_chief *chief;
    struct mst_local_parts own;
    bool has_folder;  // it has begun to write a checkpoint here before
    bool has_damaged; // of its own
    char damage[1024];
    int64_t numbers[MST_CHIEF_PART_NUMBERS]; // of the newest of its own
    size_t n_waiting;
    mst_status status;
    struct mst_error err;
    struct question questions[]; // by PS
};

char *mst_chief_part_prefix(const struct mst_chief *chief, const char *prefix, uint32_t ps)
{
    const char *slash = strrchr(prefix, '/');
    return mst_text("%s/ps-%u/%s", chief->config.job->checkpoint_dir, ps, slash ? slash + 1 : prefix);
}

uint64_t mst_chief_new_part_id(void)
{
    uint64_t id = mst_rng_system();
    return id ? id : 1;
}

// Which rows of which variable each server holds: a part fits no other placing.
static int64_t digest_of(const struct mst_chief *chief)
{
    uint32_t sum = 0;
    for (size_t i = 0; i < chief->plan->n_pieces; i++) {
        const struct mst_plan_piece *piece = &chief->plan->pieces[i];
        const uint64_t numbers[] = {piece->variable, piece->row_offset, piece->n_rows, piece->ps};
        sum = mst_crc32c_extend(sum, numbers, sizeof numbers);
    }
    return (int64_t)sum;
}

void mst_chief_part_numbers(const struct mst_chief *chief, uint64_t id, int64_t *out)
{
    out[NUMBER_ID] = (int64_t)id;
    out[NUMBER_PS] = (int64_t)chief->config.n_ps;
    out[NUMBER_PLAN] = digest_of(chief);
}

// ---- which there are ----

static void search_free(struct mst_chief_part_search *search)
{
    for (size_t i = 0; i < search->chief->config.n_ps; i++)
        mst_local_parts_fini(&search->questions[i].parts);
    mst_local_parts_fini(&search->own);
    free(search);
}

void mst_chief_part_search_free(struct mst_chief *chief)
{
    if (chief->part_search)
        search_free(chief->part_search);
    chief->part_search = NULL;
}

static mst_status check_plan(const struct mst_chief_part_search *search, struct mst_error *err)
{
    int64_t now[MST_CHIEF_PART_NUMBERS];
    mst_chief_part_numbers(search->chief, 0, now);
    const char *dir = search->chief->config.job->checkpoint_dir;
    if (search->numbers[NUMBER_PS] != now[NUMBER_PS])
        return mst_fail(err, MST_FAILED_PRECONDITION,
                        "the checkpoints in %s are parts of %lld parameter servers, and now there are %lld: "
                        "checkpoint.local goes on only with as many",
                        dir, (long long)search->numbers[NUMBER_PS], (long long)now[NUMBER_PS]);
    if (search->numbers[NUMBER_PLAN] != now[NUMBER_PLAN])
        return mst_fail(err, MST_FAILED_PRECONDITION,
                        "the checkpoints in %s are parts of variables that were placed otherwise: checkpoint.local "
                        "goes on only with the same model, partitioner and data threads",
                        dir);
    return MST_OK;
}

static bool have_all(const struct mst_chief_part_search *search, size_t own, const char *prefix)
{
    for (size_t i = 0; i < search->chief->config.n_ps; i++) {
        const struct question *question = &search->questions[i];
        const struct mst_local_parts *parts = &question->parts;
        if (mst_local_parts_find(parts, search->own.steps[own], search->own.ids[own]) < parts->n)
            continue;
        MST_LOG(WARN, "chief", "checkpoint passed over", "prefix=%s reason=\"ps-%zu has no whole part of it%s%s\"",
                prefix, i, question->why[0] ? ": " : "", question->why);
        return false;
    }
    return true;
}

// New text, or NULL.
static char *newest_of_all(const struct mst_chief_part_search *search)
{
    for (size_t i = search->own.n; i > 0; i--) {
        char *prefix = mst_checkpoint_prefix(search->chief->config.job->checkpoint_chief_dir, search->own.steps[i - 1]);
        if (have_all(search, i - 1, prefix))
            return prefix;
        free(prefix);
    }
    return NULL;
}

// A job that was killed while its first checkpoint was written: servers have parts of it, and the folder that the chief
// made for its own is empty. Where the folder is gone as well, it may be storage that was lost.
static bool is_none_committed(const struct mst_chief_part_search *search)
{
    return search->has_folder && search->own.n == 0 && !search->has_damaged;
}

static void pass_over_uncommitted(const struct mst_chief_part_search *search)
{
    for (size_t i = 0; i < search->chief->config.n_ps; i++) {
        const struct mst_local_parts *parts = &search->questions[i].parts;
        for (size_t k = parts->n; k > 0; k--)
            MST_LOG(WARN, "chief", "checkpoint passed over",
                    "prefix=%s/ps-%zu/model-%llu reason=\"the chief has not committed it\"",
                    search->chief->config.job->checkpoint_dir, i, (unsigned long long)parts->steps[k - 1]);
    }
}

static mst_status choose(const struct mst_chief_part_search *search, char **out, struct mst_error *err)
{
    bool has_any = search->own.n > 0 || search->has_damaged;
    for (size_t i = 0; i < search->chief->config.n_ps; i++)
        has_any = has_any || search->questions[i].parts.n > 0 || search->questions[i].why[0];
    if (!has_any)
        return mst_fail(err, MST_NOT_FOUND, "nobody has a checkpoint");
    if (is_none_committed(search)) {
        pass_over_uncommitted(search);
        return mst_fail(err, MST_NOT_FOUND, "no checkpoint was committed");
    }
    if (search->own.n > 0)
        MST_TRY(check_plan(search, err));
    *out = newest_of_all(search);
    if (*out)
        return MST_OK;
    return mst_fail(err, MST_DATA_LOSS,
                    "there is no checkpoint of which the chief and every parameter server have a whole part in %s%s%s",
                    search->chief->config.job->checkpoint_dir, search->damage[0] ? "; " : "", search->damage);
}

static void answered(struct mst_chief_part_search *search)
{
    if (--search->n_waiting > 0)
        return;
    struct mst_chief *chief = search->chief;
    struct mst_error err = search->err;
    mst_status status = search->status;
    char *prefix = NULL;
    if (status == MST_OK)
        status = choose(search, &prefix, &err);
    mst_chief_part_search_free(chief);
    mst_chief_on_parts_found(chief, status, prefix, &err);
}

static mst_status take_parts(struct question *question, const struct mst_message *message, struct mst_error *err)
{
    struct mst_arena arena;
    struct mst_msg_save_reply answer;
    mst_arena_init(&arena, MST_MSG_ARENA_MAX);
    mst_status status = mst_msg_save_reply_decode(message->meta, &arena, &answer, err);
    if (status == MST_OK) {
        struct mst_local_parts *parts = &question->parts;
        parts->n = answer.n_steps;
        parts->steps = mst_alloc_array(parts->n, sizeof *parts->steps);
        parts->ids = mst_alloc_array(parts->n, sizeof *parts->ids);
        for (size_t i = 0; i < parts->n; i++) {
            parts->steps[i] = answer.steps[i];
            parts->ids[i] = answer.part_ids[i];
        }
        snprintf(question->why, sizeof question->why, "%s", answer.text);
    }
    mst_arena_fini(&arena);
    return status;
}

static void on_answer(void *arg, const struct mst_reply *reply)
{
    struct question *question = arg;
    struct mst_chief_part_search *search = question->search;
    struct mst_error err = {0};
    mst_status status = reply->status;
    if (status == MST_OK)
        status = take_parts(question, reply->message, &err);
    else
        status = mst_fail(&err, status, "ps-%u does not say which checkpoints it has: %s", question->link->index,
                          reply->text);
    if (search->status == MST_OK && status != MST_OK) {
        search->status = status;
        search->err = err;
    }
    answered(search);
}

static void ask(struct question *question)
{
    struct mst_chief *chief = question->search->chief;
    const struct mst_msg_save message = {.term = chief->term,
                                         .dir = chief->config.job->checkpoint_dir,
                                         .shard_id = question->link->index,
                                         .is_question = true,
                                         .group = question->link->index};
    MST_CHIEF_CALL(question->link, SAVE, save, &message, ASK_MS, on_answer, question);
}

static void on_listed(void *arg)
{
    struct mst_chief *chief = arg;
    struct mst_chief_part_search *search = chief->part_search;
    search->n_waiting = 1; // ours
    if (search->status == MST_OK && chief->phase == CHIEF_PLACING) {
        search->n_waiting += chief->config.n_ps;
        for (size_t i = 0; i < chief->config.n_ps; i++)
            ask(&search->questions[i]);
    }
    answered(search);
}

static void on_passed(void *context, const char *prefix, const char *why)
{
    struct mst_chief_part_search *search = context;
    MST_LOG(WARN, "chief", "checkpoint passed over", "prefix=%s reason=\"%s\"", prefix, why);
    if (!search->has_damaged)
        snprintf(search->damage, sizeof search->damage, "%s", why);
    search->has_damaged = true;
}

static mst_status read_numbers(struct mst_chief_part_search *search)
{
    struct mst_bundle *bundle;
    int64_t numbers[MST_LOCAL_PART_NUMBERS_MAX] = {0};
    size_t n;
    char *prefix =
        mst_checkpoint_prefix(search->chief->config.job->checkpoint_chief_dir, search->own.steps[search->own.n - 1]);
    mst_status status = mst_bundle_open(prefix, &bundle, &search->err);
    if (status == MST_OK)
        status = mst_local_part_numbers(bundle, numbers, &n, &search->err);
    mst_bundle_free(bundle);
    memcpy(search->numbers, numbers, sizeof search->numbers);
    free(prefix);
    return status;
}

static bool is_there(const char *dir)
{
    uint64_t *steps;
    size_t n_steps;
    mst_status status = mst_checkpoint_list(dir, &steps, &n_steps, NULL);
    free(steps);
    return status == MST_OK;
}

// On the work thread.
static void on_search(void *arg)
{
    struct mst_chief_part_search *search = arg;
    search->has_folder = is_there(search->chief->config.job->checkpoint_chief_dir);
    search->status = mst_local_parts_list(search->chief->config.job->checkpoint_chief_dir, on_passed, search,
                                          &search->own, &search->err);
    if (search->status == MST_OK && search->own.n > 0)
        search->status = read_numbers(search);
    mst_loop_post(search->chief->config.control, on_listed, search->chief);
}

void mst_chief_find_parts(struct mst_chief *chief)
{
    struct mst_chief_part_search *search = mst_alloc(sizeof *search + chief->config.n_ps * sizeof search->questions[0]);
    *search = (struct mst_chief_part_search){.chief = chief};
    for (size_t i = 0; i < chief->config.n_ps; i++)
        search->questions[i] = (struct question){.search = search, .link = &chief->links[i]};
    chief->part_search = search;
    mst_loop_post(chief->work, on_search, search);
}
