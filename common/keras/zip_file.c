#include "zip_file.h"

#include "base/alloc.h"
#include "base/error.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zip.h>

// Opens an archive and one of its members; both NULL on failure.
static mst_status open_member(const char *file, const char *member, zip_t **archive, zip_file_t **out,
                              struct mst_error *err)
{
    int code = 0;
    *out = NULL;
    *archive = zip_open(file, ZIP_RDONLY, &code);
    if (*archive == NULL) {
        zip_error_t error;
        zip_error_init_with_code(&error, code);
        (void)mst_fail(err, MST_DATA_LOSS,
                       "%s is no `.keras` archive that can be read (%s); save it again with model.save()", file,
                       zip_error_strerror(&error));
        zip_error_fini(&error);
        return MST_DATA_LOSS;
    }
    *out = zip_fopen(*archive, member, 0);
    if (*out != NULL)
        return MST_OK;
    (void)mst_fail(err, MST_DATA_LOSS, "%s has no readable %s (%s); it should be what model.save() of Keras 3 wrote",
                   file, member, zip_strerror(*archive));
    zip_discard(*archive);
    *archive = NULL;
    return MST_DATA_LOSS;
}

static mst_status damaged(const char *file, const char *member, zip_file_t *from, struct mst_error *err)
{
    return mst_fail(err, MST_DATA_LOSS, "%s is damaged: its %s cannot be unpacked (%s)", file, member,
                    zip_file_strerror(from));
}

mst_status mst_zip_read(const char *file, const char *member, char *out, size_t max_bytes, size_t *len_out,
                        struct mst_error *err)
{
    zip_t *archive;
    zip_file_t *from;
    MST_TRY(open_member(file, member, &archive, &from, err));
    mst_status status = MST_OK;
    size_t len = 0;
    zip_int64_t n = 1;
    while (status == MST_OK && n > 0 && len < max_bytes) {
        n = zip_fread(from, out + len, max_bytes - len);
        if (n < 0)
            status = damaged(file, member, from, err);
        else
            len += (size_t)n;
    }
    char more;
    if (status == MST_OK && len == max_bytes)
        n = zip_fread(from, &more, 1); // libzip knows the checksum at the end
    if (status == MST_OK && n < 0)
        status = damaged(file, member, from, err);
    else if (status == MST_OK && n > 0)
        status = mst_fail(err, MST_RESOURCE_EXHAUSTED, "%s: its %s has more than the limit of %zu bytes", file, member,
                          max_bytes);
    *len_out = len;
    zip_fclose(from);
    zip_discard(archive);
    return status;
}

mst_status mst_zip_unpack(const char *file, const char *member, uint64_t max_bytes, void **out, size_t *len_out,
                          struct mst_error *err)
{
    zip_t *archive;
    zip_file_t *from;
    zip_stat_t stat;
    *out = NULL;
    *len_out = 0;
    MST_TRY(open_member(file, member, &archive, &from, err));
    bool is_known = zip_stat(archive, member, 0, &stat) == 0 && (stat.valid & ZIP_STAT_SIZE) != 0;
    zip_fclose(from);
    zip_discard(archive);
    if (!is_known)
        return mst_fail(err, MST_DATA_LOSS, "%s is damaged: it does not say how large its %s is", file, member);
    if (stat.size > max_bytes)
        return mst_fail(err, MST_RESOURCE_EXHAUSTED,
                        "%s: its %s has %llu bytes, which is too much for this model (at most %llu)", file, member,
                        (unsigned long long)stat.size, (unsigned long long)max_bytes);
    if (mst_try_alloc((size_t)stat.size, out) != MST_OK)
        return mst_fail(err, MST_RESOURCE_EXHAUSTED, "%s: no memory for the %llu bytes of its %s", file,
                        (unsigned long long)stat.size, member);
    mst_status status = mst_zip_read(file, member, *out, (size_t)stat.size, len_out, err);
    if (status != MST_OK) {
        free(*out);
        *out = NULL;
    }
    return status;
}

static mst_status add(zip_t *archive, const char *member, zip_source_t *source)
{
    zip_int64_t index = source != NULL ? zip_file_add(archive, member, source, ZIP_FL_OVERWRITE) : -1;
    if (index < 0) {
        zip_source_free(source);
        return MST_UNAVAILABLE;
    }
    return zip_set_file_compression(archive, (zip_uint64_t)index, ZIP_CM_STORE, 0) == 0 ? MST_OK : MST_UNAVAILABLE;
}

static mst_status flush(const char *file, struct mst_error *err)
{
    int fd = open(file, O_RDONLY | O_CLOEXEC);
    bool is_flushed = fd >= 0 && fsync(fd) == 0;
    int why = errno;
    if (fd >= 0)
        close(fd);
    return is_flushed ? MST_OK : mst_fail(err, MST_UNAVAILABLE, "cannot flush %s: %s", file, strerror(why));
}

mst_status mst_zip_write(const char *file, struct mst_bytes metadata, struct mst_bytes config, const char *weights,
                         struct mst_error *err)
{
    int code = 0;
    zip_t *archive = zip_open(file, ZIP_CREATE | ZIP_TRUNCATE, &code);
    if (archive == NULL)
        return mst_fail(err, MST_UNAVAILABLE, "cannot write %s: %s", file, strerror(errno));
    mst_status status = add(archive, "metadata.json", zip_source_buffer(archive, metadata.data, metadata.len, 0));
    if (status == MST_OK)
        status = add(archive, "config.json", zip_source_buffer(archive, config.data, config.len, 0));
    if (status == MST_OK)
        status = add(archive, "model.weights.h5", zip_source_file(archive, weights, 0, -1));
    // Everything is written here; a full disk shows only now.
    if (status != MST_OK || zip_close(archive) != 0) {
        status = mst_fail(err, MST_UNAVAILABLE, "cannot write %s: %s", file, zip_strerror(archive));
        zip_discard(archive);
        return status;
    }
    return flush(file, err);
}
