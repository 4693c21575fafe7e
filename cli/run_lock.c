// The name may be removed and made anew by another between our open and our flock, so after the lock is had the name
// is looked at again: a lock on a file without a name keeps nobody apart.
#include "cli/run_lock.h"

#include "base/alloc.h"
#include "base/error.h"
#include "tfio/disk_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

enum { TRIES = 100, FILE_MAX_BYTES = 1 << 20 };

struct mst_run_lock {
    int fd;
    char *path;
};

static char *path_in(const char *dir)
{
    return mst_text("%s/local.json", dir);
}

// New object: what a file holds from its start.
static json_t *read_all(int fd)
{
    char *text = mst_alloc(FILE_MAX_BYTES);
    ssize_t n = pread(fd, text, FILE_MAX_BYTES, 0);
    json_t *json = n > 0 ? json_loadb(text, (size_t)n, 0, NULL) : NULL;
    free(text);
    if (json_is_object(json))
        return json;
    json_decref(json);
    return NULL;
}

static bool is_named(int fd, const char *path)
{
    struct stat of_fd;
    struct stat of_path;
    return fstat(fd, &of_fd) == 0 && stat(path, &of_path) == 0 && of_fd.st_ino == of_path.st_ino &&
           of_fd.st_dev == of_path.st_dev;
}

static mst_status fail_held(int fd, const char *dir, struct mst_error *err)
{
    json_t *told = read_all(fd);
    long long pid = json_integer_value(json_object_get(told, "pid"));
    json_decref(told);
    char who[32] = "";
    if (pid > 0)
        snprintf(who, sizeof who, " (pid %lld)", pid);
    return mst_fail(err, MST_UNAVAILABLE,
                    "another muster local%s runs in %s; wait for its end, or give this one a directory of its own: "
                    "--set output.dir=DIR",
                    who, dir);
}

mst_status mst_run_lock_take(const char *dir, struct mst_run_lock **out, struct mst_error *err)
{
    *out = NULL;
    char *path = path_in(dir);
    mst_status status = MST_OK;
    int fd = -1;
    for (int i = 0; i < TRIES; i++) {
        fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
        if (fd < 0) {
            status = mst_disk_fail(err, errno, "open", path);
            break;
        }
        if (flock(fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) {
            status = fail_held(fd, dir, err);
            break;
        }
        if (is_named(fd, path))
            break;
        close(fd);
        fd = -1;
    }
    if (status != MST_OK || fd < 0) {
        if (fd >= 0)
            close(fd);
        free(path);
        return status != MST_OK ? status
                                : mst_fail(err, MST_UNAVAILABLE, "%s: local.json comes and goes; try again", dir);
    }
    struct mst_run_lock *lock = mst_alloc(sizeof *lock);
    *lock = (struct mst_run_lock){.fd = fd, .path = path};
    *out = lock;
    return MST_OK;
}

void mst_run_lock_tell(struct mst_run_lock *lock, const json_t *description)
{
    char *text = json_dumps(description, JSON_INDENT(1));
    MST_ASSERT(text);
    size_t len = strlen(text);
    bool is_written = ftruncate(lock->fd, 0) == 0 && pwrite(lock->fd, text, len, 0) == (ssize_t)len;
    (void)is_written; // it is only lacking then
    free(text);
}

void mst_run_lock_free(struct mst_run_lock *lock)
{
    if (!lock)
        return;
    unlink(lock->path); // before the lock is given back: the file is ours to remove
    close(lock->fd);
    free(lock->path);
    free(lock);
}

json_t *mst_run_lock_read(const char *dir)
{
    char *path = path_in(dir);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    free(path);
    if (fd < 0)
        return NULL;
    bool is_held = flock(fd, LOCK_SH | LOCK_NB) != 0; // also where there are no locks
    json_t *told = is_held ? read_all(fd) : NULL;
    close(fd);
    return told;
}
