// The sub-commands that look at checkpoints, and the table of all. Which prefixes an operand means is
// ckpt_operand.h's; everything else is asked of the bundle reader, which believes nothing before it is checked.
#include "cli/ckpt.h"

#include "base/error.h"
#include "cli/ckpt_diff.h"
#include "cli/ckpt_operand.h"
#include "cli/ckpt_reshard.h"
#include "cli/options.h"
#include "cli/subcommands.h"
#include "tfio/bundle_reader.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LENGTH(array)  (sizeof(array) / sizeof(array)[0])
#define JSON_LAYOUT    (JSON_INDENT(2) | JSON_SORT_KEYS)
#define NOT_WHOLE_TEXT "not whole: "

static uint64_t stored_bytes(const struct mst_bundle *bundle, const struct mst_bundle_entry *entry)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < mst_bundle_n_slices(entry); i++) {
        struct mst_bundle_slice slice;
        mst_bundle_slice_at(bundle, entry, i, &slice);
        bytes += slice.size_bytes;
    }
    return bytes;
}

static uint64_t all_bytes(const struct mst_bundle *bundle)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < mst_bundle_n_entries(bundle); i++)
        bytes += stored_bytes(bundle, mst_bundle_entry_at(bundle, i));
    return bytes;
}

// What was printed must have arrived: a full disk behind a redirection is a failure.
static mst_status finish_output(struct mst_error *err)
{
    if (fflush(stdout) != 0 || ferror(stdout))
        return mst_fail(err, MST_UNAVAILABLE, "standard output cannot be written (%s)", strerror(errno));
    return MST_OK;
}

static mst_status print_json(json_t *document, struct mst_error *err)
{
    int failed = json_dumpf(document, stdout, JSON_LAYOUT);
    putchar('\n');
    json_decref(document);
    if (failed)
        return mst_fail(err, MST_UNAVAILABLE, "standard output cannot be written, or a name is not UTF-8");
    return finish_output(err);
}

// --- ls

static json_t *list_row(const char *prefix)
{
    struct mst_bundle *bundle;
    struct mst_error why = {""};
    json_t *row = json_object();
    json_object_set_new(row, "prefix", json_string_nocheck(prefix)); // only printing it as JSON needs UTF-8
    mst_status status = mst_bundle_open(prefix, &bundle, &why);
    json_object_set_new(row, "whole", json_boolean(status == MST_OK));
    if (status != MST_OK) {
        json_object_set_new(row, "why", json_string_nocheck(why.text));
        return row;
    }
    json_object_set_new(row, "tensors", json_integer((json_int_t)mst_bundle_n_entries(bundle)));
    json_object_set_new(row, "data_files", json_integer((json_int_t)mst_bundle_n_shards(bundle)));
    json_object_set_new(row, "bytes", json_integer((json_int_t)all_bytes(bundle)));
    mst_bundle_free(bundle);
    return row;
}

static void print_list_row(const json_t *row)
{
    const char *prefix = json_string_value(json_object_get(row, "prefix"));
    if (!json_is_true(json_object_get(row, "whole"))) {
        printf("%8s %10s %15s  %s (" NOT_WHOLE_TEXT "%s)\n", "-", "-", "-", prefix,
               json_string_value(json_object_get(row, "why")));
        return;
    }
    printf("%8" PRId64 " %10" PRId64 " %15" PRId64 "  %s\n",
           (int64_t)json_integer_value(json_object_get(row, "tensors")),
           (int64_t)json_integer_value(json_object_get(row, "data_files")),
           (int64_t)json_integer_value(json_object_get(row, "bytes")), prefix);
}

static mst_status list(const char *name, bool as_json, struct mst_error *err)
{
    struct mst_prefixes prefixes = {0};
    mst_status status = mst_is_directory(name) ? mst_prefixes_of_directory(name, &prefixes, err)
                                               : mst_prefixes_of_job(name, &prefixes, err);
    json_t *rows = json_array();
    for (size_t i = 0; status == MST_OK && i < prefixes.n; i++)
        json_array_append_new(rows, list_row(prefixes.items[i]));
    mst_prefixes_fini(&prefixes);
    if (status != MST_OK) {
        json_decref(rows);
        return status;
    }
    if (as_json)
        return print_json(rows, err);
    printf("%8s %10s %15s  %s\n", "tensors", "data files", "bytes", "prefix");
    size_t i;
    json_t *row;
    json_array_foreach(rows, i, row) print_list_row(row);
    json_decref(rows);
    return finish_output(err);
}

// --- inspect

static json_t *slice_row(const struct mst_bundle_slice *slice, size_t rank)
{
    json_t *start = json_array();
    json_t *length = json_array();
    for (size_t axis = 0; axis < rank; axis++) {
        json_array_append_new(start, json_integer((json_int_t)slice->start[axis]));
        json_array_append_new(length, json_integer((json_int_t)slice->length[axis]));
    }
    return json_pack("{s:o, s:o, s:I, s:I, s:I}", "start", start, "length", length, "data_file",
                     (json_int_t)slice->shard, "offset", (json_int_t)slice->offset_bytes, "bytes",
                     (json_int_t)slice->size_bytes);
}

static json_t *tensor_row(const struct mst_bundle *bundle, const struct mst_bundle_entry *entry)
{
    json_t *shape = json_array();
    for (size_t axis = 0; axis < entry->shape.rank; axis++)
        json_array_append_new(shape, json_integer((json_int_t)entry->shape.dims[axis]));
    json_t *slices = json_array();
    for (size_t i = 0; i < mst_bundle_n_slices(entry); i++) {
        struct mst_bundle_slice slice;
        mst_bundle_slice_at(bundle, entry, i, &slice);
        json_array_append_new(slices, slice_row(&slice, entry->shape.rank));
    }
    return json_pack("{s:s, s:s, s:o, s:b, s:I, s:o}", "name", entry->name, "dtype", mst_tf_type_name(entry->type),
                     "shape", shape, "partitioned", entry->is_partitioned, "bytes",
                     (json_int_t)stored_bytes(bundle, entry), "slices", slices);
}

static mst_status print_tensors_json(const struct mst_bundle *bundle, const char *prefix, struct mst_error *err)
{
    json_t *tensors = json_array();
    for (size_t i = 0; i < mst_bundle_n_entries(bundle); i++) {
        const struct mst_bundle_entry *entry = mst_bundle_entry_at(bundle, i);
        json_t *row = tensor_row(bundle, entry);
        if (!row || json_array_append_new(tensors, row) != 0) {
            json_decref(tensors);
            return mst_fail(err, MST_DATA_LOSS, "%s: tensor %zu has a name that is not UTF-8", prefix, i);
        }
    }
    json_t *document =
        json_pack("{s:s, s:I, s:I, s:o}", "prefix", prefix, "data_files", (json_int_t)mst_bundle_n_shards(bundle),
                  "bytes", (json_int_t)all_bytes(bundle), "tensors", tensors);
    if (!document)
        return mst_fail(err, MST_INVALID_ARGUMENT, "the prefix is not UTF-8, which JSON must be");
    return print_json(document, err);
}

static void print_tensor(const struct mst_bundle *bundle, const struct mst_bundle_entry *entry)
{
    char shape[MST_SHAPE_TEXT_BYTES];
    printf("%-10s %-20s %8zu %15" PRIu64 "  %s\n", mst_tf_type_name(entry->type),
           mst_shape_print(&entry->shape, shape, sizeof shape), mst_bundle_n_slices(entry), stored_bytes(bundle, entry),
           entry->name);
}

static mst_status inspect(const char *name, bool as_json, struct mst_error *err)
{
    if (mst_is_directory(name))
        return mst_fail(err, MST_INVALID_ARGUMENT,
                        "%s is a directory; name one checkpoint of it by its prefix ('muster ckpt ls %s' lists them)",
                        name, name);
    char *prefix;
    MST_TRY(mst_prefix_of_name(name, &prefix, err));
    struct mst_bundle *bundle;
    mst_status status = mst_bundle_open(prefix, &bundle, err);
    if (status == MST_OK && as_json) {
        status = print_tensors_json(bundle, prefix, err);
    } else if (status == MST_OK) {
        printf("%-10s %-20s %8s %15s  %s\n", "dtype", "shape", "slices", "bytes", "tensor");
        for (size_t i = 0; i < mst_bundle_n_entries(bundle); i++)
            print_tensor(bundle, mst_bundle_entry_at(bundle, i));
        printf("%zu tensors, %" PRIu64 " bytes in %zu data files\n", mst_bundle_n_entries(bundle), all_bytes(bundle),
               mst_bundle_n_shards(bundle));
        status = finish_output(err);
    }
    mst_bundle_free(bundle);
    free(prefix);
    return status;
}

// --- verify

// Every torn tensor is told, not only the first: what can be saved of a damaged checkpoint depends on which.
static size_t verify_one(const char *prefix)
{
    struct mst_bundle *bundle;
    struct mst_error why = {""};
    if (mst_bundle_open(prefix, &bundle, &why) != MST_OK) {
        printf("%s: " NOT_WHOLE_TEXT "%s\n", prefix, why.text);
        return 1;
    }
    size_t n_torn = 0;
    size_t n_unchecked = 0;
    size_t n_entries = mst_bundle_n_entries(bundle);
    for (size_t i = 0; i < n_entries; i++) {
        const struct mst_bundle_entry *entry = mst_bundle_entry_at(bundle, i);
        n_unchecked += mst_tf_type_bytes(entry->type) == 0;
        if (mst_bundle_verify_entry(bundle, entry, &why) != MST_OK) {
            printf("%s: torn: %s\n", prefix, why.text);
            n_torn++;
        }
    }
    if (n_torn)
        printf("%s: %zu of %zu tensors are torn\n", prefix, n_torn, n_entries);
    else
        printf("%s: whole, %zu tensors, %" PRIu64 " bytes", prefix, n_entries, all_bytes(bundle));
    if (!n_torn && n_unchecked)
        printf(" (%zu of a type without a checksum over its bytes, only their bounds checked)", n_unchecked);
    if (!n_torn)
        putchar('\n');
    mst_bundle_free(bundle);
    return n_torn;
}

static mst_status verify(const char *name, int *exit_code, struct mst_error *err)
{
    struct mst_prefixes prefixes = {0};
    mst_status status = mst_prefixes_of_operand(name, &prefixes, err);
    size_t n_torn = 0;
    for (size_t i = 0; i < prefixes.n && status == MST_OK; i++)
        n_torn += verify_one(prefixes.items[i]);
    mst_prefixes_fini(&prefixes);
    if (status == MST_OK)
        status = finish_output(err);
    if (status == MST_OK && n_torn)
        *exit_code = mst_status_exit_code(MST_DATA_LOSS);
    return status;
}

// --- the words

// One that reads what its operand names.
struct reader {
    mst_status (*act)(const char *operand, bool as_json, int *exit_code, struct mst_error *err);
    const char *name; // as the help text shows it
    const char *operand;
    const char *summary;
    const char *details;
    bool has_json;
    const char *const *examples;
};

static mst_status read_command(const struct reader *reader, const struct mst_call *call, int *exit_code,
                               struct mst_error *err)
{
    const char *operand = NULL;
    bool as_json = false;
    const struct mst_option options[] = {
        MST_OPTION_FLAG("json", &as_json, "print one JSON document"),
    };
    const struct mst_command command = {.name = reader->name,
                                        .summary = reader->summary,
                                        .details = reader->details,
                                        .operand = reader->operand,
                                        .operand_value = &operand,
                                        .options = options,
                                        .n_options = reader->has_json ? LENGTH(options) : 0,
                                        .examples = reader->examples};
    bool is_to_run;
    MST_TRY(mst_options_read(&command, call, &is_to_run, err));
    return is_to_run ? reader->act(operand, as_json, exit_code, err) : MST_OK;
}

static mst_status on_ls(const char *operand, bool as_json, int *exit_code, struct mst_error *err)
{
    (void)exit_code;
    return list(operand, as_json, err);
}

static mst_status on_inspect(const char *operand, bool as_json, int *exit_code, struct mst_error *err)
{
    (void)exit_code;
    return inspect(operand, as_json, err);
}

static mst_status on_verify(const char *operand, bool as_json, int *exit_code, struct mst_error *err)
{
    (void)as_json;
    return verify(operand, exit_code, err);
}

static const char ls_summary[] = "Lists the checkpoints of a directory, or of a job's checkpoint.dir.";
static const char *const ls_examples[] = {"muster ckpt ls run/ckpt",
                                          "the checkpoints of a directory, in order of steps",
                                          "muster ckpt ls job.json", "those of a job's checkpoint.dir", NULL};

static mst_status ls_command(const struct mst_call *call, int *exit_code, struct mst_error *err)
{
    static const struct reader ls = {
        on_ls,
        "ckpt ls",
        "DIR|JOB",
        ls_summary,
        "Any directory of TensorBundles: ours, TensorFlow's, a model directory. One that is not whole is listed with "
        "the reason.",
        true,
        ls_examples};
    return read_command(&ls, call, exit_code, err);
}

static const char inspect_summary[] = "Prints the tensors of a checkpoint: type, shape, slices, bytes.";
static const char *const inspect_examples[] = {"muster ckpt inspect run/ckpt/model-4690", "its tensors, a line each",
                                               "muster ckpt inspect run/model/weights --json",
                                               "a model directory's, with every slice, for a program", NULL};

static mst_status inspect_command(const struct mst_call *call, int *exit_code, struct mst_error *err)
{
    static const struct reader inspect = {
        on_inspect,
        "ckpt inspect",
        "PREFIX",
        inspect_summary,
        "PREFIX is the path of the checkpoint's files without '.index' or '.data-…'. Slots of the optimizer follow "
        "their variable's name.",
        true,
        inspect_examples};
    return read_command(&inspect, call, exit_code, err);
}

static const char verify_summary[] = "Reads every byte of checkpoints and compares the checksums.";
static const char *const verify_examples[] = {"muster ckpt verify run/ckpt/model-4690", "one checkpoint",
                                              "muster ckpt verify run/ckpt", "all in a directory", NULL};

static mst_status verify_command(const struct mst_call *call, int *exit_code, struct mst_error *err)
{
    static const struct reader verify = {
        on_verify,
        "ckpt verify",
        "PREFIX|DIR",
        verify_summary,
        "Prints a line for each torn tensor or missing file. Exit code: 0 all whole, 1 something is torn.",
        false,
        verify_examples};
    return read_command(&verify, call, exit_code, err);
}

mst_status mst_ckpt_command(const struct mst_call *call, int *exit_code, struct mst_error *err)
{
    const struct mst_subcommand rows[] = {
        {"ls", ls_command, ls_summary, ls_examples},
        {"inspect", inspect_command, inspect_summary, inspect_examples},
        {"verify", verify_command, verify_summary, verify_examples},
        {"reshard", mst_ckpt_reshard_command, mst_ckpt_reshard_summary, mst_ckpt_reshard_examples},
        {"diff", mst_ckpt_diff_command, mst_ckpt_diff_summary, mst_ckpt_diff_examples}};
    const struct mst_subcommands table = {
        "ckpt", "Lists, shows, checks, rewrites and compares checkpoints, ours and TensorFlow's.", rows, LENGTH(rows)};
    return mst_subcommands_run(&table, call, exit_code, err);
}
