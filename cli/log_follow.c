// The file is the truth: it is read at intervals from where the last reading ended. A pipe would put this process
// between the others and their logs, and one that falls behind would hold up training.
#include "cli/log_follow.h"

#include "base/error.h"
#include "base/log.h"

#include <jansson.h>

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

enum { READ_BYTES = 16384, LINE_MAX_BYTES = 65536, TEXT_MAX_BYTES = 2048 };

void mst_log_follow_init(struct mst_log_follow *follow, const char *name, const char *path)
{
    *follow = (struct mst_log_follow){.name = name, .path = path};
    mst_buf_init(&follow->line, LINE_MAX_BYTES);
}

static void print_raw(const struct mst_buf *line)
{
    // One write with its line end: lines of ours and of others that share the descriptor do not mix.
    for (size_t at = 0; at < line->len;) {
        ssize_t n = write(STDERR_FILENO, line->data + at, line->len - at);
        if (n <= 0)
            return; // nobody reads it any more: no reason to stop
        at += (size_t)n;
    }
}

static void take_line(struct mst_log_follow *follow)
{
    struct mst_buf *line = &follow->line;
    json_t *json = line->len && line->data[0] == '{' ? json_loadb((const char *)line->data, line->len, 0, NULL) : NULL;
    bool is_object = json_is_object(json);
    json_decref(json);
    if (is_object && mst_buf_append(line, "\n", 1) == MST_OK)
        print_raw(line);
    else if (line->len)
        MST_LOG(WARN, "local", "output", "process=%s text=\"%.*s\"", follow->name,
                (int)(line->len < TEXT_MAX_BYTES ? line->len : TEXT_MAX_BYTES), (const char *)line->data);
    mst_buf_reset(line);
}

static void take_bytes(struct mst_log_follow *follow, const char *bytes, size_t len)
{
    while (len > 0) {
        const char *end = memchr(bytes, '\n', len);
        size_t n = end ? (size_t)(end - bytes) : len;
        if (mst_buf_append(&follow->line, bytes, n) != MST_OK) {
            take_line(follow); // no line of ours is so long: it comes in pieces
            mst_status status = mst_buf_append(&follow->line, bytes, n);
            MST_ASSERT(status == MST_OK); // a reading is shorter than the longest line
        }
        if (!end)
            return;
        take_line(follow);
        bytes += n + 1;
        len -= n + 1;
    }
}

void mst_log_follow_pump(struct mst_log_follow *follow)
{
    int fd = open(follow->path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return;
    char bytes[READ_BYTES];
    ssize_t n;
    while ((n = pread(fd, bytes, sizeof bytes, follow->offset)) > 0) {
        follow->offset += n;
        take_bytes(follow, bytes, (size_t)n);
    }
    close(fd);
}

void mst_log_follow_end(struct mst_log_follow *follow)
{
    mst_log_follow_pump(follow);
    take_line(follow);
}

void mst_log_follow_fini(struct mst_log_follow *follow)
{
    mst_buf_fini(&follow->line);
    *follow = (struct mst_log_follow){0};
}
