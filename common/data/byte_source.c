// Plain files are read straight into the caller's memory; gzip goes through one input buffer and is inflated straight
// into the caller's memory, so neither form is ever held twice. We drive zlib's inflate ourselves instead of gzread,
// which copies through a buffer of its own and passes over a wrong magic silently.
#include "byte_source.h"

#include "base/alloc.h"
#include "base/error.h"
#include "muster/status.h"

#include <zlib.h>

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>
#include <zconf.h>

// 128 KiB: large enough that the reads cost nothing beside inflating, small enough to stay in the second-level cache.
enum { INPUT_BYTES = 128 << 10, GZIP_WINDOW = 15 + 16 };

struct mst_byte_source {
    char *path;
    int fd;
    uint64_t file_bytes;
    bool is_gzip;
    bool is_inflating;   // zlib's state is to be released
    bool in_member;      // between a gzip header and its checksum
    bool at_end;         // of the file
    size_t n_input;      // bytes in input not yet used
    const uint8_t *next; // the first of them
    z_stream zlib;
    uint8_t input[INPUT_BYTES];
};

static mst_status read_file(struct mst_byte_source *source, void *data, size_t wanted, size_t *got,
                            struct mst_error *err)
{
    *got = 0;
    while (*got < wanted) {
        ssize_t n = read(source->fd, (char *)data + *got, wanted - *got);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return mst_fail(err, MST_UNAVAILABLE, "%s cannot be read: %s", source->path, strerror(errno));
        if (n == 0) {
            source->at_end = true;
            break;
        }
        *got += (size_t)n;
    }
    return MST_OK;
}

static mst_status refill(struct mst_byte_source *source, struct mst_error *err)
{
    source->next = source->input;
    return read_file(source, source->input, INPUT_BYTES, &source->n_input, err);
}

static mst_status open_file(struct mst_byte_source *source, struct mst_error *err)
{
    source->fd = open(source->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); // a pipe is refused, not waited for
    if (source->fd < 0) {
        mst_status status = errno == ENOENT || errno == ENOTDIR ? MST_NOT_FOUND
                            : errno == EACCES                   ? MST_PERMISSION_DENIED
                                                                : MST_UNAVAILABLE;
        return mst_fail(err, status, "%s cannot be opened: %s", source->path, strerror(errno));
    }
    struct stat info;
    if (fstat(source->fd, &info) != 0)
        return mst_fail(err, MST_UNAVAILABLE, "%s cannot be examined: %s", source->path, strerror(errno));
    // A pipe has no size to check a header against, and a folder cannot be read.
    if (!S_ISREG(info.st_mode))
        return mst_fail(err, MST_DATA_LOSS, "%s is not a regular file", source->path);
    source->file_bytes = (uint64_t)info.st_size;
    return MST_OK;
}

mst_status mst_byte_source_open(const char *path, struct mst_byte_source **out, struct mst_error *err)
{
    *out = NULL;
    struct mst_byte_source *source = mst_alloc(sizeof *source);
    source->path = mst_strdup(path);
    source->fd = -1;
    mst_status status = open_file(source, err);
    if (status == MST_OK)
        status = refill(source, err);
    if (status == MST_OK && source->n_input >= 2 && source->input[0] == 0x1f && source->input[1] == 0x8b) {
        source->is_gzip = true;
        source->is_inflating = source->in_member = true;
        MST_ASSERT(inflateInit2(&source->zlib, GZIP_WINDOW) == Z_OK); // fails only without memory
    }
    if (status != MST_OK) {
        mst_byte_source_free(source);
        return status;
    }
    *out = source;
    return MST_OK;
}

void mst_byte_source_free(struct mst_byte_source *source)
{
    if (!source)
        return;
    if (source->is_inflating)
        inflateEnd(&source->zlib);
    if (source->fd >= 0)
        close(source->fd);
    free(source->path);
    free(source);
}

// One turn of inflate; *got grows by what came out.
static mst_status inflate_some(struct mst_byte_source *source, uint8_t *data, size_t wanted, size_t *got,
                               struct mst_error *err)
{
    z_stream *zlib = &source->zlib;
    size_t room = wanted - *got;
    uInt avail = room > UINT_MAX / 2 ? UINT_MAX / 2 : (uInt)room;
    zlib->next_in = (Bytef *)source->next; // zlib's type is not const; it does not write
    zlib->avail_in = (uInt)source->n_input;
    zlib->next_out = data + *got;
    zlib->avail_out = avail;
    int result = inflate(zlib, Z_NO_FLUSH);
    source->next = zlib->next_in;
    source->n_input = zlib->avail_in;
    *got += avail - zlib->avail_out;
    if (result == Z_STREAM_END) {
        source->in_member = false;
        return MST_OK;
    }
    if (result == Z_MEM_ERROR)
        return mst_fail(err, MST_RESOURCE_EXHAUSTED, "%s cannot be inflated: no memory", source->path);
    // Z_BUF_ERROR only says that this turn needed more input or more room.
    if (result != Z_OK && result != Z_BUF_ERROR)
        return mst_fail(err, MST_DATA_LOSS, "%s is broken gzip data: %s", source->path,
                        zlib->msg ? zlib->msg : "it needs a dictionary");
    return MST_OK;
}

static mst_status read_gzip(struct mst_byte_source *source, void *data, size_t wanted, size_t *got,
                            struct mst_error *err)
{
    *got = 0;
    while (*got < wanted) {
        if (source->n_input == 0 && !source->at_end)
            MST_TRY(refill(source, err));
        if (!source->in_member) {
            if (source->n_input == 0)
                return MST_OK;
            MST_ASSERT(inflateReset(&source->zlib) == Z_OK);
            source->in_member = true;
        }
        if (source->n_input == 0)
            return mst_fail(err, MST_DATA_LOSS, "%s is truncated: its gzip data of %llu bytes stops before its end",
                            source->path, (unsigned long long)source->file_bytes);
        MST_TRY(inflate_some(source, data, wanted, got, err));
    }
    return MST_OK;
}

mst_status mst_byte_source_read(struct mst_byte_source *source, void *data, size_t wanted, size_t *got,
                                struct mst_error *err)
{
    if (source->is_gzip)
        return read_gzip(source, data, wanted, got, err);
    // What open has read ahead to see the magic comes first.
    size_t n = source->n_input < wanted ? source->n_input : wanted;
    if (n > 0)
        memcpy(data, source->next, n);
    source->next += n;
    source->n_input -= n;
    *got = n;
    if (n == wanted || source->at_end)
        return MST_OK;
    size_t more;
    MST_TRY(read_file(source, (char *)data + n, wanted - n, &more, err));
    *got += more;
    return MST_OK;
}

bool mst_byte_source_is_gzip(const struct mst_byte_source *source)
{
    return source->is_gzip;
}

uint64_t mst_byte_source_file_bytes(const struct mst_byte_source *source)
{
    return source->file_bytes;
}
