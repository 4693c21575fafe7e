// The module: what needs HDF5 and libzip, behind one table. The weights are unpacked to memory, which HDF5 reads
// as a file; they are written to a file beside the archive, since they may be larger than what is free.
#include "module.h"

#include "base/alloc.h"
#include "base/error.h"
#include "weights_file.h"
#include "zip_file.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define CONFIG  "config.json"
#define WEIGHTS "model.weights.h5"
// What an archive may unpack to: the weights, two slots for each, as Adam has, and as much again for HDF5's own tables.
#define SLACK_BYTES ((uint64_t)256 << 20)
enum { ARCHIVE_TIMES = 6 };

static mst_status read_config(const char *file, char *out, size_t *len_out, struct mst_error *err)
{
    return mst_zip_read(file, CONFIG, out, MST_KERAS_CONFIG_MAX_BYTES, len_out, err);
}

static mst_status read_arrays(const char *file, const struct mst_keras_array *arrays, size_t n, float *const *out,
                              struct mst_error *err)
{
    uint64_t n_bytes = 0;
    void *bytes;
    size_t len;
    for (size_t i = 0; i < n; i++) {
        size_t count;
        MST_TRY(mst_shape_count(&arrays[i].shape, &count));
        n_bytes += count * sizeof(float);
    }
    MST_TRY(mst_zip_unpack(file, WEIGHTS, n_bytes * ARCHIVE_TIMES + SLACK_BYTES, &bytes, &len, err));
    mst_status status = mst_weights_file_read((struct mst_bytes){bytes, len}, file, arrays, n, out, err);
    free(bytes);
    return status;
}

static mst_status write_parts(const char *file, const char *weights, struct mst_bytes config,
                              const struct mst_keras_array *arrays, size_t n, struct mst_error *err)
{
    char metadata[128];
    char date[32];
    struct tm now;
    time_t seconds = time(NULL);
    MST_TRY(mst_weights_file_write(weights, arrays, n, err));
    (void)strftime(date, sizeof date, "%Y-%m-%d@%H:%M:%S", gmtime_r(&seconds, &now));
    int len = snprintf(metadata, sizeof metadata, "{\"keras_version\": \"3.0.0\", \"date_saved\": \"%s\"}", date);
    return mst_zip_write(file, (struct mst_bytes){metadata, (size_t)len}, config, weights, err);
}

static mst_status write_archive(const char *file, struct mst_bytes config, const struct mst_keras_array *arrays,
                                size_t n, struct mst_error *err)
{
    char *beside = mst_text("%s.tmp", file);
    char *weights = mst_text("%s.h5.tmp", file);
    mst_status status = write_parts(beside, weights, config, arrays, n, err);
    if (status == MST_OK && rename(beside, file) != 0)
        status = mst_fail(err, MST_UNAVAILABLE, "cannot rename %s to %s: %s", beside, file, strerror(errno));
    if (status != MST_OK)
        (void)unlink(beside);
    (void)unlink(weights);
    free(weights);
    free(beside);
    return status;
}

MST_PUBLIC const struct mst_keras_module *mst_keras_module(void)
{
    static const struct mst_keras_module module = {
        .abi = MST_KERAS_MODULE_ABI, .read_config = read_config, .read_arrays = read_arrays, .write = write_archive};
    return &module;
}
