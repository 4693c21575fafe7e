// IDX files: any bytes, as features and as labels.
#include "data/dataset.h"

#include "data/idx.h"
#include "muster/status.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { DECODE_MAX_BYTES = 16 << 20 }; // so that one input costs little: larger ones are refused by the test, not by us

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    int fd = memfd_create("fuzz", 0);
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    if (fd < 0 || write(fd, data, size) != (ssize_t)size)
        abort();
    struct mst_error err;
    struct mst_idx *idx;
    if (mst_idx_open(path, &idx, &err) == MST_OK && mst_idx_data_bytes(idx) <= DECODE_MAX_BYTES) {
        void *elements = malloc(mst_idx_data_bytes(idx)); // exact, so that ASan sees a byte too many
        if (elements)
            (void)!mst_idx_read(idx, elements, &err);
        free(elements);
        const struct mst_dataset_part part = {.path = path};
        struct mst_dataset_source source = {
            .format = "idx", .inputs = &part, .n_inputs = 1, .outputs = &part, .n_outputs = 1, .weights = path};
        struct mst_dataset *dataset;
        if (mst_dataset_open(&source, &dataset, &err) == MST_OK) {
            (void)!mst_dataset_check_labels(dataset, 0, 10, &err);
            (void)!mst_dataset_load(dataset, &err);
            mst_dataset_free(dataset);
        }
    }
    mst_idx_free(idx);
    close(fd);
    return 0;
}
