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

// What a table promises: numbers that are finite, and all of them there (ASan sees one that is not).
static void check(const struct mst_csv_table *table)
{
    for (size_t i = 0; i < table->n_rows * table->n_columns; i++)
        if (!isfinite(table->features[i]))
            abort();
    int64_t sum = 0;
    for (size_t i = 0; table->labels && i < table->n_rows; i++)
        sum += table->labels[i];
    if (sum > (int64_t)table->n_rows * INT32_MAX || (table->n_rows == 0 && sum != 0))
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct mst_csv_options ways[] = {
        {.label = "label"},
        {.label = "0", .is_headless = true},
        {.label = "1", .label_is_optional = true, .fills_missing = true, .missing = -1.0f},
        {.is_headless = true},
    };
    int fd = memfd_create("fuzz", 0);
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    if (fd < 0 || write(fd, data, size) != (ssize_t)size)
        abort();
    for (size_t i = 0; i < sizeof ways / sizeof ways[0]; i++) {
        struct mst_csv_table table;
        struct mst_error err;
        if (mst_csv_read(path, &ways[i], &table, &err) == MST_OK)
            check(&table);
        else if (table.features || table.labels || table.n_rows)
            abort();
        mst_csv_table_fini(&table);
    }
    close(fd);
    return 0;
}
