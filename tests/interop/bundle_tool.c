// What test_checkpoint.py drives: writes a checkpoint as three processes of a job would, and shows what our reader
// reads.
//
//   bundle_tool write DIR STEP          a checkpoint of two PS shards and the chief's, with slices and slots
//   bundle_tool list PREFIX             one line a tensor: name type rank dims… partitioned
//   bundle_tool read PREFIX NAME        its bytes, to stdout
//   bundle_tool rows PREFIX NAME R N    the bytes of rows [R, R + N), to stdout
//   bundle_tool newest DIR              the prefix of the newest whole checkpoint
#include "base/alloc.h"

#include "base/error.h"
#include "ckpt/checkpoint.h"
#include "ckpt/checkpoint_list.h"
#include "ckpt/checkpoint_part.h"
#include "muster/status.h"
#include "tensor/shape.h"
#include "tfio/bundle.h"
#include "tfio/bundle_reader.h"
#include "tfio/tf_types.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct mst_error error;

static void check(mst_status status)
{
    if (status == MST_OK)
        return;
    fprintf(stderr, "%s: %s\n", mst_status_name(status), error.text);
    exit(1);
}

// Element i of a variable: something that names its place, so that a slice in the wrong place shows.
static float element(const char *name, size_t i)
{
    return (float)strlen(name) * 1000.0f + (float)i * 0.5f;
}

struct part {
    const char *name;
    struct mst_shape shape;
    uint64_t row_offset;
    uint64_t n_rows;
};

enum { N_PARTS = 6, N_SHARDS = 3 };

// Shard 0 and 1: a PS each. The kernel is cut by rows 3 + 4 and its slot with it; the rest is whole.
static const struct part parts[2][N_PARTS] = {
    {{"dense/kernel", {2, {7, 5}}, 0, 3},
     {"dense/kernel/momentum", {2, {7, 5}}, 0, 3},
     {"dense/bias", {1, {5}}, 0, 0},
     {"wide/kernel", {3, {300, 2, 3}}, 0, 130},
     {"scalar", {0, {0}}, 0, 0},
     {"empty", {2, {0, 4}}, 0, 0}},
    {{"dense/kernel", {2, {7, 5}}, 3, 4},
     {"dense/kernel/momentum", {2, {7, 5}}, 3, 4},
     {"dense/bias/momentum", {1, {5}}, 0, 0},
     {"wide/kernel", {3, {300, 2, 3}}, 130, 100},
     {"dense_1/kernel", {2, {5, 2}}, 0, 0},
     {"wide/kernel", {3, {300, 2, 3}}, 230, 70}},
};

static void write_shard(const struct mst_checkpoint_attempt *attempt, size_t shard,
                        struct mst_checkpoint_writer *writer)
{
    struct mst_checkpoint_value values[N_PARTS];
    float *memory[N_PARTS];
    for (size_t k = 0; k < N_PARTS; k++) {
        const struct part *part = &parts[shard][k];
        uint64_t bytes;
        values[k].tensor =
            (struct mst_bundle_tensor){part->name, MST_TF_FLOAT, part->shape, part->row_offset, part->n_rows};
        check(mst_bundle_tensor_bytes(&values[k].tensor, &bytes, &error));
        size_t n = bytes / sizeof(float);
        size_t first = part->n_rows ? n / part->n_rows * part->row_offset : 0;
        memory[k] = mst_alloc_array(n, sizeof(float));
        for (size_t i = 0; i < n; i++)
            memory[k][i] = element(part->name, first + i);
        values[k].data = memory[k];
    }
    struct mst_checkpoint_part *file;
    check(mst_checkpoint_part_new(attempt, shard, &file, &error));
    for (size_t k = 0; k < N_PARTS; k++) {
        struct mst_bundle_piece piece;
        check(mst_checkpoint_part_add(file, &values[k], &piece, &error));
        check(mst_checkpoint_add(writer, &values[k].tensor, shard, &piece, &error));
        free(memory[k]);
    }
    check(mst_checkpoint_part_close(file, &error));
}

static void write_checkpoint(const char *dir, uint64_t step)
{
    struct mst_checkpoint_writer *writer;
    const struct mst_checkpoint_attempt attempt = {.dir = dir, .step = step, .n_shards = N_SHARDS};
    int64_t iterations = (int64_t)step;
    const struct mst_checkpoint_value value = {{"iterations", MST_TF_INT64, {0, {0}}, 0, 0}, &iterations};
    check(mst_checkpoint_begin(&attempt, &writer, &error));
    for (size_t shard = 0; shard < 2; shard++)
        write_shard(&attempt, shard, writer);
    check(mst_checkpoint_write(writer, &value, 1, &error));
    check(mst_checkpoint_commit(writer, 2, &error));
}

static void list(const struct mst_bundle *bundle)
{
    for (size_t i = 0; i < mst_bundle_n_entries(bundle); i++) {
        const struct mst_bundle_entry *entry = mst_bundle_entry_at(bundle, i);
        printf("%s %s %zu", entry->name, mst_tf_type_name(entry->type), entry->shape.rank);
        for (size_t axis = 0; axis < entry->shape.rank; axis++)
            printf(" %zu", entry->shape.dims[axis]);
        printf(" %s\n", entry->is_partitioned ? "partitioned" : "whole");
    }
}

static void read_tensor(const struct mst_bundle *bundle, int argc, char **argv)
{
    const struct mst_bundle_entry *entry = mst_bundle_find(bundle, argv[3]);
    if (!entry) {
        check(mst_fail(&error, MST_NOT_FOUND, "no tensor %s", argv[3]));
        return;
    }
    size_t bytes = (size_t)entry->size_bytes;
    uint64_t n_rows = argc > 5 ? strtoull(argv[5], NULL, 10) : 0;
    if (argc > 5)
        bytes = bytes / entry->shape.dims[0] * n_rows;
    void *memory = mst_alloc(bytes);
    if (argc > 5)
        check(mst_bundle_read_rows(bundle, entry, strtoull(argv[4], NULL, 10), n_rows, memory, bytes, &error));
    else
        check(mst_bundle_read(bundle, entry, memory, bytes, &error));
    fwrite(memory, 1, bytes, stdout);
    free(memory);
}

int main(int argc, char **argv)
{
    if (argc == 4 && strcmp(argv[1], "write") == 0) {
        write_checkpoint(argv[2], strtoull(argv[3], NULL, 10));
        return 0;
    }
    if (argc == 3 && strcmp(argv[1], "newest") == 0) {
        char *prefix;
        uint64_t step;
        check(mst_checkpoint_newest(argv[2], NULL, NULL, &prefix, &step, &error));
        puts(prefix);
        free(prefix);
        return 0;
    }
    if (argc < 3) {
        fprintf(
            stderr,
            "usage: bundle_tool write DIR STEP | newest DIR | list PREFIX | read PREFIX NAME | rows PREFIX NAME R N\n");
        return 2;
    }
    struct mst_bundle *bundle;
    check(mst_bundle_open(argv[2], &bundle, &error));
    check(mst_bundle_verify(bundle, &error));
    if (strcmp(argv[1], "list") == 0)
        list(bundle);
    else
        read_tensor(bundle, argc, argv);
    mst_bundle_free(bundle);
    return 0;
}
