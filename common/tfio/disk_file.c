// A write buffer of 256 KiB; a file that outgrows it gets one of 4 MiB and passes the page cache (O_DIRECT), because
// nobody reads a checkpoint soon: the cache's pages and the copy into them cost more than the disk does, and training
// pays for them. What lies on whole blocks, in memory and in the file, is written from there and not even copied.
// Where a file system refuses that, and for the last part of a file, which is no whole block, the cache is used; then
// the disk is set to work every 8 MiB, so that fsync has little left to wait for. fsync before close, because a rename
// may reach the disk before the bytes it names. Error texts come from one place, so that every one names the path.
#include "tfio/disk_file.h"

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/error.h"
#include "muster/status.h"

#include <asm-generic/errno.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    SMALL_BYTES = 256 << 10,
    LARGE_BYTES = 4 << 20,
    BLOCK_BYTES = MST_DISK_BLOCK_BYTES,
    WRITE_BACK_BYTES = 8 << 20,
};

struct mst_disk_file {
    char *path;
    int fd;
    uint64_t size_bytes;
    off_t n_written;
    off_t n_on_its_way; // of those: the kernel was told to write them back
    bool is_direct;     // past the page cache
    uint8_t *buffer;    // small, or where the file has outgrown that, large
    size_t capacity;
    size_t n_buffered;
    uint8_t small[SMALL_BYTES];
};

mst_status mst_disk_fail(struct mst_error *err, int errno_value, const char *what, const char *path)
{
    mst_status status = MST_UNAVAILABLE;
    switch (errno_value) {
    case ENOENT:
    case ENOTDIR:
        status = MST_NOT_FOUND;
        break;
    case EACCES:
    case EPERM:
    case EROFS:
        status = MST_PERMISSION_DENIED;
        break;
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
    case EMFILE:
    case ENFILE:
    case ENOMEM:
        status = MST_RESOURCE_EXHAUSTED;
        break;
    default:
        break;
    }
    return mst_fail(err, status, "cannot %s %s: %s", what, path, strerror(errno_value));
}

mst_status mst_disk_file_new(const char *path, struct mst_disk_file **out, struct mst_error *err)
{
    *out = NULL;
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (fd < 0)
        return mst_disk_fail(err, errno, "create", path);
    struct mst_disk_file *file = mst_alloc(sizeof *file);
    file->path = mst_strdup(path);
    file->fd = fd;
    file->buffer = file->small;
    file->capacity = SMALL_BYTES;
    *out = file;
    return MST_OK;
}

// False if the file system has no way past the page cache.
static bool set_direct(struct mst_disk_file *file, bool is_direct)
{
    int flags = fcntl(file->fd, F_GETFL);
    flags = is_direct ? flags | O_DIRECT : flags & ~O_DIRECT;
    bool is_set = fcntl(file->fd, F_SETFL, flags) == 0;
    file->is_direct = is_direct && is_set;
    return is_set;
}

static void begin_write_back(struct mst_disk_file *file)
{
    off_t n_new = file->n_written - file->n_on_its_way;
    if (n_new < WRITE_BACK_BYTES)
        return;
    // A hint: what it cannot do fsync does, and says what went wrong.
    (void)sync_file_range(file->fd, file->n_on_its_way, n_new, SYNC_FILE_RANGE_WRITE);
    file->n_on_its_way = file->n_written;
}

static mst_status write_all(struct mst_disk_file *file, const uint8_t *bytes, size_t len, struct mst_error *err)
{
    while (len > 0) {
        bool is_whole = len % BLOCK_BYTES == 0 && (uintptr_t)bytes % BLOCK_BYTES == 0;
        if (file->is_direct && !is_whole)
            (void)set_direct(file, false);
        ssize_t n = write(file->fd, bytes, len < WRITE_BACK_BYTES ? len : WRITE_BACK_BYTES);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EINVAL && file->is_direct && set_direct(file, false))
            continue; // this disk's blocks are larger, or the file system took the flag and not the write
        if (n < 0)
            return mst_disk_fail(err, errno, "write", file->path);
        bytes += n;
        len -= (size_t)n;
        file->n_written += n;
        if (!file->is_direct)
            begin_write_back(file);
    }
    return MST_OK;
}

static mst_status write_buffered(struct mst_disk_file *file, struct mst_error *err)
{
    size_t n = file->n_buffered;
    file->n_buffered = 0;
    return write_all(file, file->buffer, n, err);
}

// What is buffered moves into a large buffer and passes the page cache from now on, if both are to be had.
static void outgrow(struct mst_disk_file *file)
{
    uint8_t *large = aligned_alloc(BLOCK_BYTES, LARGE_BYTES);
    if (!large || !set_direct(file, true)) {
        free(large);
        return;
    }
    memcpy(large, file->buffer, file->n_buffered);
    file->buffer = large;
    file->capacity = LARGE_BYTES;
}

// Whole blocks go to the disk from where they are, after what is buffered.
static mst_status append_in_place(struct mst_disk_file *file, const uint8_t **at, size_t *len, struct mst_error *err)
{
    bool is_aligned = (uintptr_t)*at % BLOCK_BYTES == 0 && file->n_buffered % BLOCK_BYTES == 0;
    if (!file->is_direct || !is_aligned || *len < SMALL_BYTES)
        return MST_OK;
    size_t n = *len / BLOCK_BYTES * BLOCK_BYTES;
    MST_TRY(write_buffered(file, err));
    MST_TRY(write_all(file, *at, n, err));
    *at += n;
    *len -= n;
    return MST_OK;
}

mst_status mst_disk_file_append(struct mst_disk_file *file, const void *bytes, size_t len, struct mst_error *err)
{
    file->size_bytes += len;
    if (len > file->capacity - file->n_buffered && file->n_written == 0 && file->buffer == file->small)
        outgrow(file);
    const uint8_t *at = bytes;
    MST_TRY(append_in_place(file, &at, &len, err));
    while (len > 0) {
        if (file->n_buffered == 0 && len > file->capacity && !file->is_direct)
            return write_all(file, at, len, err);
        size_t n = len < file->capacity - file->n_buffered ? len : file->capacity - file->n_buffered;
        memcpy(file->buffer + file->n_buffered, at, n);
        file->n_buffered += n;
        at += n;
        len -= n;
        if (file->n_buffered == file->capacity)
            MST_TRY(write_buffered(file, err));
    }
    return MST_OK;
}

mst_status mst_disk_file_align(struct mst_disk_file *file, struct mst_error *err)
{
    static const uint8_t zeros[BLOCK_BYTES];
    size_t past = (size_t)(file->size_bytes % BLOCK_BYTES);
    return past ? mst_disk_file_append(file, zeros, BLOCK_BYTES - past, err) : MST_OK;
}

uint64_t mst_disk_file_size_bytes(const struct mst_disk_file *file)
{
    return file->size_bytes;
}

static void release(struct mst_disk_file *file)
{
    if (file->buffer != file->small)
        free(file->buffer);
    free(file->path);
    free(file);
}

mst_status mst_disk_file_close(struct mst_disk_file *file, struct mst_error *err)
{
    mst_status status = write_buffered(file, err);
    if (status == MST_OK && fsync(file->fd) != 0)
        status = mst_disk_fail(err, errno, "flush", file->path);
    if (status != MST_OK) {
        mst_disk_file_abort(file);
        return status;
    }
    int result = close(file->fd);
    file->fd = -1;
    if (result != 0) {
        status = mst_disk_fail(err, errno, "close", file->path);
        (void)unlink(file->path);
    }
    release(file);
    return status;
}

void mst_disk_file_abort(struct mst_disk_file *file)
{
    if (!file)
        return;
    struct stat info;
    // Only a regular file is ours to delete: a path such as /dev/full stays.
    if (fstat(file->fd, &info) == 0 && S_ISREG(info.st_mode))
        (void)unlink(file->path);
    close(file->fd);
    release(file);
}

mst_status mst_disk_write(const char *path, struct mst_bytes content, struct mst_error *err)
{
    struct mst_disk_file *file;
    MST_TRY(mst_disk_file_new(path, &file, err));
    MST_ASSERT(file); // for the analyzer, which does not see that mst_fail returns what it is given
    mst_status status = mst_disk_file_append(file, content.data, content.len, err);
    if (status != MST_OK) {
        mst_disk_file_abort(file);
        return status;
    }
    return mst_disk_file_close(file, err);
}

static mst_status read_open(int fd, const char *path, struct mst_buf *buf, struct mst_error *err)
{
    struct stat info;
    if (fstat(fd, &info) != 0)
        return mst_disk_fail(err, errno, "examine", path);
    if (!S_ISREG(info.st_mode))
        return mst_fail(err, MST_DATA_LOSS, "%s is not a regular file", path);
    if ((uint64_t)info.st_size > buf->max_bytes)
        return mst_fail(err, MST_RESOURCE_EXHAUSTED, "%s has %llu bytes; the limit is %llu", path,
                        (unsigned long long)info.st_size, (unsigned long long)buf->max_bytes);
    uint8_t *to;
    if (mst_buf_reserve(buf, (size_t)info.st_size, &to) != MST_OK)
        return mst_fail(err, MST_RESOURCE_EXHAUSTED, "no memory for the %llu bytes of %s",
                        (unsigned long long)info.st_size, path);
    while (buf->len < (size_t)info.st_size) {
        ssize_t n = read(fd, to + buf->len, (size_t)info.st_size - buf->len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return mst_disk_fail(err, errno, "read", path);
        if (n == 0)
            break; // it shrank meanwhile; who parses the bytes will see
        buf->len += (size_t)n;
    }
    return MST_OK;
}

mst_status mst_disk_read(const char *path, uint64_t max_bytes, struct mst_buf *buf, struct mst_error *err)
{
    mst_buf_init(buf, (size_t)max_bytes);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return mst_disk_fail(err, errno, "open", path);
    mst_status status = read_open(fd, path, buf, err);
    close(fd);
    return status;
}

mst_status mst_disk_rename(const char *from, const char *to, struct mst_error *err)
{
    if (rename(from, to) != 0)
        return mst_disk_fail(err, errno, "rename to its final name", from);
    return MST_OK;
}

mst_status mst_disk_remove(const char *path, struct mst_error *err)
{
    if (unlink(path) != 0 && errno != ENOENT)
        return mst_disk_fail(err, errno, "delete", path);
    return MST_OK;
}

mst_status mst_disk_sync_folder(const char *path, struct mst_error *err)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return mst_disk_fail(err, errno, "open", path);
    mst_status status = MST_OK;
    // Some file systems cannot flush a folder (EINVAL); there a rename is as durable as they make it.
    if (fsync(fd) != 0 && errno != EINVAL)
        status = mst_disk_fail(err, errno, "flush", path);
    close(fd);
    return status;
}

mst_status mst_disk_make_folders(const char *path, struct mst_error *err)
{
    char *text = mst_strdup(path);
    mst_status status = MST_OK;
    for (char *end = text; status == MST_OK && *end; end++) {
        if (end[1] != '/' && end[1] != '\0')
            continue;
        char after = end[1];
        end[1] = '\0';
        if (mkdir(text, 0777) != 0 && errno != EEXIST && errno != EISDIR)
            status = mst_disk_fail(err, errno, "make the folder", text);
        end[1] = after;
    }
    struct stat info;
    if (status == MST_OK && (stat(path, &info) != 0 || !S_ISDIR(info.st_mode)))
        status = mst_fail(err, MST_FAILED_PRECONDITION, "%s is not a folder", path);
    free(text);
    return status;
}
