// The words of the command, and TensorFlow's file `checkpoint` beside the new checkpoint where there is none:
// TensorFlow finds the newest of a directory by it alone.
#include "cli/ckpt_reshard.h"

#include "base/alloc.h"
#include "base/error.h"
#include "cli/ckpt_operand.h"
#include "cli/resharding.h"
#include "tfio/disk_file.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define STATE_NAME "checkpoint"

const char mst_ckpt_reshard_summary[] = "Rewrites a checkpoint with other data files and slices, bit for bit.";
const char *const mst_ckpt_reshard_examples[] = {"muster ckpt reshard run/ckpt whole/ --shards 1 --partitioner none",
                                                 "the newest of run/ckpt in one data file, every tensor whole",
                                                 "muster ckpt reshard run/ckpt/model-4690 wide/ --partitioner fixed:8",
                                                 "that one, its tensors cut into eight slices each", NULL};

static const char details[] =
    "The first operand is a checkpoint's prefix, or a directory, of which the newest whole one is taken. The second is "
    "the prefix of the new one, or a directory (that is there, or with a slash at its end), where it keeps its name; "
    "what is there already is not replaced. Muster itself needs no resharding: it goes on from any checkpoint with any "
    "number of parameter servers and any partitioner.";

// "dir/" or a directory: the same name in it. New text.
static char *place_of(const char *to, const char *from)
{
    size_t len = strlen(to);
    if (!mst_is_directory(to) && (len == 0 || to[len - 1] != '/'))
        return mst_strdup(to);
    const char *slash = strrchr(from, '/');
    return mst_text("%s%s%s", to, len > 0 && to[len - 1] == '/' ? "" : "/", slash ? slash + 1 : from);
}

static mst_status write_state(const char *prefix, struct mst_error *err)
{
    const char *slash = strrchr(prefix, '/');
    int folder_len = slash ? (int)(slash - prefix) + 1 : 0;
    const char *name = prefix + folder_len;
    char *path = mst_text("%.*s" STATE_NAME, folder_len, prefix);
    char *temporary = mst_text("%s.tmp", path);
    char *text = mst_text("model_checkpoint_path: \"%s\"\nall_model_checkpoint_paths: \"%s\"\n", name, name);
    mst_status status = MST_OK;
    if (access(path, F_OK) != 0 && errno == ENOENT) {
        status = mst_disk_write(temporary, (struct mst_bytes){text, strlen(text)}, err);
        if (status == MST_OK)
            status = mst_disk_rename(temporary, path, err);
    }
    free(text);
    free(temporary);
    free(path);
    return status;
}

static mst_status reshard(struct mst_resharding *request, const char *from, const char *to, struct mst_error *err)
{
    char *prefix;
    struct mst_resharded done;
    if (*to == '\0')
        return mst_fail(err, MST_INVALID_ARGUMENT, "the second operand is empty; name the new checkpoint's prefix");
    MST_TRY(mst_prefix_newest(from, &prefix, err));
    char *place = place_of(to, prefix);
    request->from = prefix;
    request->to = place;
    mst_status status = mst_reshard(request, &done, err);
    if (status == MST_OK)
        status = write_state(place, err);
    if (status == MST_OK)
        printf("%s: %zu tensors, %" PRIu64 " bytes in %zu data files; %zu of them in %zu slices\n", place,
               done.n_tensors, done.n_bytes, done.n_shards, done.n_cut, done.n_slices);
    free(place);
    free(prefix);
    return status;
}

mst_status mst_ckpt_reshard_command(const struct mst_call *call, int *exit_code, struct mst_error *err)
{
    struct mst_text_list operands = {0};
    struct mst_resharding request = {0};
    const char *partitioner = NULL;
    const struct mst_option options[] = {
        MST_OPTION_COUNT("shards", "N", &request.n_shards, 1, MST_RESHARD_SHARDS_MAX,
                         "number of data files (default: as many as there are)"),
        MST_OPTION_TEXT("partitioner", "HOW", &partitioner,
                        "how to cut tensors along their first axis: none, fixed:SHARDS, min-size:BYTES[:SHARDS] or "
                        "max-size:BYTES[:SHARDS], as TensorFlow's partitioners (default: as they are cut)"),
    };
    const struct mst_command command = {.name = "ckpt reshard",
                                        .summary = mst_ckpt_reshard_summary,
                                        .details = details,
                                        .operand = "PREFIX|DIR PREFIX|DIR",
                                        .operand_list = &operands,
                                        .options = options,
                                        .n_options = sizeof options / sizeof *options,
                                        .examples = mst_ckpt_reshard_examples};
    bool is_to_run;
    (void)exit_code;
    mst_status status = mst_options_read(&command, call, &is_to_run, err);
    if (is_to_run && operands.n != 2)
        status =
            mst_fail(err, MST_INVALID_ARGUMENT,
                     "muster ckpt reshard takes two operands, what to read and what to write; %zu came", operands.n);
    if (is_to_run && status == MST_OK && partitioner) {
        request.is_recut = true;
        status = mst_partitioner_read(partitioner, &request.partitioner, err);
        if (status != MST_OK)
            status = mst_fail_prefix(err, status, "--partitioner");
    }
    if (is_to_run && status == MST_OK)
        status = reshard(&request, operands.items[0], operands.items[1], err);
    mst_text_list_fini(&operands);
    return status;
}
