// CSV files: any bytes, under every way to read them.
#include "data/csv.h"

#include "muster/status.h"

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct way {
    struct mst_csv_options options;
    struct mst_csv_group groups[4];
    size_t n_groups;
};

// What a table promises: all numbers are there (ASan sees one that is not), and targets and weights are finite.
static void check(const struct mst_csv_table *table, const struct way *way)
{
    for (size_t g = 0; g < table->n_arrays; g++) {
        const struct mst_csv_array *array = &table->arrays[g];
        size_t n = table->n_rows * array->n_columns;
        double sum = 0;
        for (size_t i = 0; array->values && i < n; i++)
            sum += isfinite(array->values[i]) ? (double)array->values[i] : 0;
        for (size_t i = 0; array->labels && i < n; i++)
            sum += array->labels[i];
        for (size_t i = 0; array->values && way->groups[g].kind != MST_CSV_FEATURES && i < n; i++)
            if (!isfinite(array->values[i]))
                abort();
        if (!isfinite(sum) || (n > 0) != (array->values || array->labels))
            abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const label[] = {"label"}, *const first[] = {"0"}, *const two[] = {"1", "0"};
    static const char *const texts[] = {"1", "a", ""};
    static const struct mst_csv_categories categories[] = {{"label", texts, 3}, {"1", texts, 2}};
    static const struct way ways[] = {
        {{0}, {{.kind = MST_CSV_FEATURES}, {MST_CSV_TARGETS, label, 1, false}}, 2},
        {{.is_headless = true}, {{.kind = MST_CSV_FEATURES}, {MST_CSV_TARGETS, first, 1, false}}, 2},
        {{.fills_missing = true, .missing = -1.0f, .separator = ';'},
         {{.kind = MST_CSV_FEATURES}, {MST_CSV_TARGETS, label, 1, true}, {MST_CSV_WEIGHTS, first, 1, true}},
         3},
        {{.is_headless = true, .separator = '\t'}, {{.kind = MST_CSV_FEATURES}}, 1},
        {{.fills_missing = true},
         {{MST_CSV_FEATURES, two, 2, false},
          {MST_CSV_FEATURES, first, 1, false},
          {MST_CSV_TARGETS, two, 2, true},
          {MST_CSV_TARGETS, first, 1, false}},
         4},
        {{.categories = categories, .n_categories = 2, .fills_missing = true},
         {{.kind = MST_CSV_FEATURES}, {MST_CSV_TARGETS, label, 1, true}},
         2},
    };
    int fd = memfd_create("fuzz", 0);
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    if (fd < 0 || write(fd, data, size) != (ssize_t)size)
        abort();
    for (size_t i = 0; i < sizeof ways / sizeof ways[0]; i++) {
        struct mst_csv_table table;
        struct mst_error err;
        if (mst_csv_read(path, &ways[i].options, ways[i].groups, ways[i].n_groups, &table, &err) == MST_OK)
            check(&table, &ways[i]);
        else if (table.arrays || table.n_rows)
            abort();
        mst_csv_table_fini(&table);
    }
    close(fd);
    return 0;
}
