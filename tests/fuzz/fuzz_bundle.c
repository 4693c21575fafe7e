// TensorBundle indexes. The first byte says what follows: 'R' the raw bytes of an index file; 'P' pairs (u8 key length,
// u8 value length, key, value) of which a table with good checksums is made, so that what lies behind those is reached
// too.
#include "base/bytes.h"

#include "muster/status.h"
#include "tfio/bundle_reader.h"
#include "tfio/table_writer.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { DATA_BYTES = 256, READ_MAX_BYTES = 1 << 20 };

static char folder[64];
static char prefix[80];

static void write_file(const char *suffix, const void *bytes, size_t len)
{
    char path[128];
    snprintf(path, sizeof path, "%s%s", prefix, suffix);
    FILE *file = fopen(path, "wb");
    if (!file || fwrite(bytes, 1, len, file) != len || fclose(file) != 0)
        abort();
}

static void remove_files(void)
{
    static const char *const suffixes[] = {".index", ".data-00000-of-00001", ".data-00000-of-00002",
                                           ".data-00001-of-00002"};
    for (size_t i = 0; i < sizeof suffixes / sizeof *suffixes; i++) {
        char path[128];
        snprintf(path, sizeof path, "%s%s", prefix, suffixes[i]);
        (void)unlink(path);
    }
    (void)rmdir(folder);
}

static void make_folder(void)
{
    uint8_t bytes[DATA_BYTES];
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)i;
    snprintf(folder, sizeof folder, "%s/muster-fuzz-XXXXXX", access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    if (!mkdtemp(folder))
        abort();
    snprintf(prefix, sizeof prefix, "%s/b", folder);
    write_file(".data-00000-of-00001", bytes, sizeof bytes);
    write_file(".data-00000-of-00002", bytes, sizeof bytes);
    write_file(".data-00001-of-00002", bytes, sizeof bytes);
    atexit(remove_files);
}

static int compare(struct mst_bytes a, struct mst_bytes b)
{
    int order = memcmp(a.data, b.data, a.len < b.len ? a.len : b.len);
    return order ? order : (a.len > b.len) - (a.len < b.len);
}

static void write_pairs(const uint8_t *data, size_t size)
{
    struct mst_table *table = mst_table_new();
    struct mst_bytes last = {data, 0}, file;
    for (size_t at = 0, n = 0; at + 2 <= size; n++) {
        size_t key_len = data[at], value_len = data[at + 1];
        at += 2;
        if (key_len + value_len > size - at)
            break;
        struct mst_bytes key = {data + at, key_len}, value = {data + at + key_len, value_len};
        at += key_len + value_len;
        if (n > 0 && compare(key, last) <= 0)
            continue;
        if (mst_table_add(table, key, value) != MST_OK)
            abort();
        last = key;
    }
    if (mst_table_finish(table, &file) != MST_OK)
        abort();
    write_file(".index", file.data, file.len);
    mst_table_free(table);
}

static void read_entry(const struct mst_bundle *bundle, const struct mst_bundle_entry *entry)
{
    struct mst_error err;
    if (entry->size_bytes > READ_MAX_BYTES)
        return;
    size_t bytes = (size_t)entry->size_bytes;
    void *memory = malloc(bytes ? bytes : 1); // exact, so that ASan sees a byte too many
    if (!memory)
        abort();
    (void)!mst_bundle_read(bundle, entry, memory, bytes, &err);
    if (entry->shape.rank > 0 && entry->shape.dims[0] > 1) {
        size_t n_rows = entry->shape.dims[0] - 1;
        (void)!mst_bundle_read_rows(bundle, entry, 1, n_rows, memory, bytes / entry->shape.dims[0] * n_rows, &err);
    }
    free(memory);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!folder[0])
        make_folder();
    if (size == 0)
        return 0;
    if (data[0] == 'P')
        write_pairs(data + 1, size - 1);
    else
        write_file(".index", data + 1, size - 1);
    struct mst_bundle *bundle;
    struct mst_error err;
    if (mst_bundle_open(prefix, &bundle, &err) == MST_OK) {
        for (size_t i = 0; i < mst_bundle_n_entries(bundle); i++) {
            const struct mst_bundle_entry *entry = mst_bundle_entry_at(bundle, i);
            if (mst_bundle_find(bundle, entry->name) != entry)
                abort();
            read_entry(bundle, entry);
        }
        (void)!mst_bundle_verify(bundle, &err);
    }
    mst_bundle_free(bundle);
    return 0;
}
