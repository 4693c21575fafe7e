// Both bundles list their tensors in bytewise order of names, so one walk along both finds who lacks what. How tensors
// are cut and in which data files they lie makes no difference. Each difference is a JSON object, which is printed as a
// line or in a document.
#include "cli/ckpt_diff.h"

#include "base/alloc.h"
#include "base/error.h"
#include "ckpt/checkpoint.h"
#include "ckpt/local_part.h"
#include "cli/ckpt_operand.h"
#include "cli/tensor_difference.h"
#include "tfio/bundle_reader.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

const char mst_ckpt_diff_summary[] = "Compares two checkpoints, tensor by tensor.";
const char *const mst_ckpt_diff_examples[] = {"muster ckpt diff run/ckpt/model-4000 run/ckpt/model-4690",
                                              "what 690 steps have changed",
                                              "muster ckpt diff first/ckpt second/ckpt --tolerance 1e-6",
                                              "the newest of two runs, small differences aside", NULL};

static const char details[] =
    "An operand is a checkpoint's prefix, or a directory, of which the newest whole one is taken. Tensors are compared "
    "bit for bit: how they are cut and in which data files they lie makes no difference, nor what a chief notes of how "
    "the run went. With a tolerance T, elements differ if |a - b| > T x max(1, |a|, |b|). Exit code: 0 equal, 1 "
    "something is different (or unreadable, which is "
    "then said).";

struct comparison {
    const struct mst_bundle *a;
    const struct mst_bundle *b;
    double tolerance;
    json_t *differences;
};

static json_t *shape_json(const struct mst_shape *shape)
{
    json_t *array = json_array();
    for (size_t axis = 0; axis < shape->rank; axis++)
        json_array_append_new(array, json_integer((json_int_t)shape->dims[axis]));
    return array;
}

// JSON has no infinity.
static json_t *real_json(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
}

static void add(struct comparison *work, const char *name, const char *what, json_t *fields)
{
    json_object_set_new(fields, "tensor", json_string_nocheck(name)); // only printing it as JSON needs UTF-8
    json_object_set_new(fields, "difference", json_string(what));
    json_array_append_new(work->differences, fields);
}

static json_t *position_json(size_t at, const struct mst_shape *shape)
{
    size_t position[MST_SHAPE_MAX_RANK];
    json_t *array = json_array();
    for (size_t axis = shape->rank; axis-- > 0; at /= shape->dims[axis])
        position[axis] = at % shape->dims[axis];
    for (size_t axis = 0; axis < shape->rank; axis++)
        json_array_append_new(array, json_integer((json_int_t)position[axis]));
    return array;
}

static void compare_values(struct comparison *work, const struct mst_bundle_entry *entry, const void *a, const void *b)
{
    struct mst_tensor_pair pair = {
        .type = entry->type, .n_elements = (size_t)entry->size_bytes / mst_tf_type_bytes(entry->type), .a = a, .b = b};
    struct mst_tensor_difference found;
    mst_tensor_difference(&pair, work->tolerance, &found);
    if (found.n_different == 0)
        return;
    json_t *fields = json_pack("{s:I, s:I, s:s, s:s}", "elements", (json_int_t)pair.n_elements, "different",
                               (json_int_t)found.n_different, "a", found.a_text, "b", found.b_text);
    json_object_set_new(fields, "first", position_json(found.first, &entry->shape));
    json_object_set_new(fields, "max_absolute", real_json(found.max_absolute));
    json_object_set_new(fields, "max_relative", real_json(found.max_relative));
    add(work, entry->name, "values", fields);
}

// A tensor of a type without a fixed size: its stored bytes are all that we know of it.
static mst_status compare_stored(struct comparison *work, const struct mst_bundle_entry *a,
                                 const struct mst_bundle_entry *b, struct mst_error *err)
{
    struct mst_bundle_slice in_a;
    struct mst_bundle_slice in_b;
    mst_bundle_slice_at(work->a, a, 0, &in_a);
    mst_bundle_slice_at(work->b, b, 0, &in_b);
    bool is_equal = in_a.size_bytes == in_b.size_bytes;
    void *both;
    size_t size = (size_t)in_a.size_bytes;
    if (is_equal && mst_try_alloc(2 * size, &both) != MST_OK)
        return mst_fail(err, MST_RESOURCE_EXHAUSTED, "no memory for twice the %zu bytes of %s", size, a->name);
    mst_status status = MST_OK;
    if (is_equal) {
        uint8_t *second = (uint8_t *)both + size;
        status = mst_bundle_read_stored(work->a, a, 0, both, size, err);
        if (status == MST_OK)
            status = mst_bundle_read_stored(work->b, b, 0, second, size, err);
        is_equal = status == MST_OK && memcmp(both, second, size) == 0;
        free(both);
    }
    if (status == MST_OK && !is_equal)
        add(work, a->name, "bytes",
            json_pack("{s:I, s:I}", "a_bytes", (json_int_t)in_a.size_bytes, "b_bytes", (json_int_t)in_b.size_bytes));
    return status;
}

static mst_status compare_tensor(struct comparison *work, const struct mst_bundle_entry *a,
                                 const struct mst_bundle_entry *b, struct mst_error *err)
{
    if (a->type != b->type || !mst_shape_equal(&a->shape, &b->shape)) {
        add(work, a->name, a->type != b->type ? "dtype" : "shape",
            json_pack("{s:s, s:o, s:s, s:o}", "a_dtype", mst_tf_type_name(a->type), "a_shape", shape_json(&a->shape),
                      "b_dtype", mst_tf_type_name(b->type), "b_shape", shape_json(&b->shape)));
        return MST_OK;
    }
    if (mst_tf_type_bytes(a->type) == 0)
        return compare_stored(work, a, b, err);
    size_t size = (size_t)a->size_bytes;
    void *in_a = NULL;
    void *in_b = NULL;
    mst_status status = MST_OK;
    if (mst_try_alloc(size, &in_a) != MST_OK || mst_try_alloc(size, &in_b) != MST_OK)
        status = mst_fail(err, MST_RESOURCE_EXHAUSTED, "no memory for twice the %zu bytes of %s", size, a->name);
    if (status == MST_OK)
        status = mst_bundle_read(work->a, a, in_a, size, err);
    if (status == MST_OK)
        status = mst_bundle_read(work->b, b, in_b, size, err);
    if (status == MST_OK)
        compare_values(work, a, in_a, in_b);
    free(in_b);
    free(in_a);
    return status;
}

// What a chief notes of how a run came there (who had trained what, as which of the processes of a cluster): two runs
// that are the same seldom agree about it.
static bool is_note(const struct mst_bundle_entry *entry)
{
    static const struct {
        const char *name;
        enum mst_tf_type type;
    } notes[] = {{MST_CHECKPOINT_STATE_TENSOR, MST_TF_UINT8},
                 {MST_CHECKPOINT_ROUNDS_TENSOR, MST_TF_UINT8},
                 {MST_LOCAL_PART_TENSOR, MST_TF_INT64}};
    for (size_t i = 0; i < sizeof notes / sizeof *notes; i++)
        if (strcmp(entry->name, notes[i].name) == 0 && entry->type == notes[i].type)
            return true;
    return false;
}

// The first from number *at on that is no note; NULL: there is none.
static const struct mst_bundle_entry *entry_from(const struct mst_bundle *bundle, size_t *at)
{
    for (; *at < mst_bundle_n_entries(bundle); (*at)++)
        if (!is_note(mst_bundle_entry_at(bundle, *at)))
            return mst_bundle_entry_at(bundle, *at);
    return NULL;
}

static mst_status compare(struct comparison *work, struct mst_error *err)
{
    size_t i = 0;
    size_t k = 0;
    for (;;) {
        const struct mst_bundle_entry *a = entry_from(work->a, &i);
        const struct mst_bundle_entry *b = entry_from(work->b, &k);
        if (!a && !b)
            return MST_OK;
        int order = a && b ? strcmp(a->name, b->name) : 0;
        if (a && (!b || order < 0)) {
            add(work, a->name, "only in a", json_object());
            i++;
        } else if (b && (!a || order > 0)) {
            add(work, b->name, "only in b", json_object());
            k++;
        } else if (a && b) {
            MST_TRY(compare_tensor(work, a, b, err));
            i++;
            k++;
        }
    }
}

static const char *text_of(const json_t *row, const char *key)
{
    return json_string_value(json_object_get(row, key));
}

static void print_list(const json_t *array)
{
    size_t i;
    json_t *value;
    putchar('(');
    json_array_foreach(array, i, value) printf("%s%" PRId64, i ? ", " : "", (int64_t)json_integer_value(value));
    putchar(')');
}

static void print_maximum(const char *what, const json_t *value)
{
    if (json_is_real(value))
        printf("%s %.6g", what, json_real_value(value));
    else
        printf("%s without bound", what);
}

static void print_row(const json_t *row)
{
    const char *what = text_of(row, "difference");
    printf("%s: ", text_of(row, "tensor"));
    if (strcmp(what, "values") == 0) {
        printf("%" PRId64 " of %" PRId64 " elements differ, the first at ",
               (int64_t)json_integer_value(json_object_get(row, "different")),
               (int64_t)json_integer_value(json_object_get(row, "elements")));
        print_list(json_object_get(row, "first"));
        printf(": %s and %s; ", text_of(row, "a"), text_of(row, "b"));
        print_maximum("at most", json_object_get(row, "max_absolute"));
        print_maximum(", relative", json_object_get(row, "max_relative"));
    } else if (json_object_get(row, "a_shape")) {
        printf("%s ", text_of(row, "a_dtype"));
        print_list(json_object_get(row, "a_shape"));
        printf(" and %s ", text_of(row, "b_dtype"));
        print_list(json_object_get(row, "b_shape"));
    } else if (strcmp(what, "bytes") == 0) {
        printf("its bytes differ (%" PRId64 " and %" PRId64 ")",
               (int64_t)json_integer_value(json_object_get(row, "a_bytes")),
               (int64_t)json_integer_value(json_object_get(row, "b_bytes")));
    } else {
        fputs(what, stdout);
    }
    putchar('\n');
}

static mst_status finish_output(struct mst_error *err)
{
    if (fflush(stdout) != 0 || ferror(stdout))
        return mst_fail(err, MST_UNAVAILABLE, "standard output cannot be written (%s)", strerror(errno));
    return MST_OK;
}

static mst_status print(const struct comparison *work, char *const *prefixes, bool as_json, struct mst_error *err)
{
    size_t n = json_array_size(work->differences);
    if (as_json) {
        json_t *document = json_pack("{s:s, s:s, s:b, s:I, s:I, s:O}", "a", prefixes[0], "b", prefixes[1], "equal",
                                     n == 0, "a_tensors", (json_int_t)mst_bundle_n_entries(work->a), "b_tensors",
                                     (json_int_t)mst_bundle_n_entries(work->b), "differences", work->differences);
        int failed = document ? json_dumpf(document, stdout, JSON_INDENT(2) | JSON_SORT_KEYS) : -1;
        putchar('\n');
        json_decref(document);
        if (failed)
            return mst_fail(err, MST_UNAVAILABLE, "standard output cannot be written, or a name is not UTF-8");
        return finish_output(err);
    }
    printf("a: %s, %zu tensors\nb: %s, %zu tensors\n", prefixes[0], mst_bundle_n_entries(work->a), prefixes[1],
           mst_bundle_n_entries(work->b));
    size_t i;
    json_t *row;
    json_array_foreach(work->differences, i, row) print_row(row);
    if (n)
        printf("%zu tensors differ\n", n);
    else
        puts("equal");
    return finish_output(err);
}

// On failure what is open is released.
static mst_status open_both(char *const *prefixes, struct mst_bundle **a, struct mst_bundle **b, struct mst_error *err)
{
    *b = NULL;
    MST_TRY(mst_bundle_open(prefixes[0], a, err));
    mst_status status = mst_bundle_open(prefixes[1], b, err);
    if (status != MST_OK)
        mst_bundle_free(*a);
    return status;
}

static mst_status diff(char *const *prefixes, double tolerance, bool as_json, int *exit_code, struct mst_error *err)
{
    struct mst_bundle *a;
    struct mst_bundle *b;
    MST_TRY(open_both(prefixes, &a, &b, err));
    struct comparison work = {.a = a, .b = b, .tolerance = tolerance, .differences = json_array()};
    mst_status status = compare(&work, err);
    if (status == MST_OK)
        status = print(&work, prefixes, as_json, err);
    if (status == MST_OK && json_array_size(work.differences) > 0)
        *exit_code = 1;
    json_decref(work.differences);
    mst_bundle_free(b);
    mst_bundle_free(a);
    return status;
}

static mst_status read_tolerance(const char *text, double *out, struct mst_error *err)
{
    char *end;
    *out = 0;
    if (!text)
        return MST_OK;
    *out = strtod(text, &end);
    if (end == text || *end || !isfinite(*out) || *out < 0)
        return mst_fail(err, MST_INVALID_ARGUMENT, "--tolerance is '%s'; it is a number from 0 on, such as 1e-6", text);
    return MST_OK;
}

static mst_status run(const struct mst_text_list *operands, const char *tolerance_text, bool as_json, int *exit_code,
                      struct mst_error *err)
{
    double tolerance;
    if (operands->n != 2)
        return mst_fail(err, MST_INVALID_ARGUMENT, "muster ckpt diff takes two checkpoints; %zu came", operands->n);
    MST_TRY(read_tolerance(tolerance_text, &tolerance, err));
    char *prefixes[2] = {NULL, NULL};
    mst_status status = mst_prefix_newest(operands->items[0], &prefixes[0], err);
    if (status == MST_OK)
        status = mst_prefix_newest(operands->items[1], &prefixes[1], err);
    if (status == MST_OK)
        status = diff(prefixes, tolerance, as_json, exit_code, err);
    free(prefixes[1]);
    free(prefixes[0]);
    return status;
}

mst_status mst_ckpt_diff_command(const struct mst_call *call, int *exit_code, struct mst_error *err)
{
    struct mst_text_list operands = {0};
    const char *tolerance = NULL;
    bool as_json = false;
    const struct mst_option options[] = {
        MST_OPTION_TEXT("tolerance", "T", &tolerance, "pass over smaller differences (default: 0, bit for bit)"),
        MST_OPTION_FLAG("json", &as_json, "print one JSON document"),
    };
    const struct mst_command command = {.name = "ckpt diff",
                                        .summary = mst_ckpt_diff_summary,
                                        .details = details,
                                        .operand = "PREFIX|DIR PREFIX|DIR",
                                        .operand_list = &operands,
                                        .options = options,
                                        .n_options = sizeof options / sizeof *options,
                                        .examples = mst_ckpt_diff_examples};
    bool is_to_run;
    mst_status status = mst_options_read(&command, call, &is_to_run, err);
    if (is_to_run)
        status = run(&operands, tolerance, as_json, exit_code, err);
    mst_text_list_fini(&operands);
    return status;
}
