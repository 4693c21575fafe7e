// Each drawing is one write: back to the first column, the text, the rest of the line erased. It is kept one column
// short of the width, for a line that fills the last column makes some terminals wrap.
#include "cli/progress_view.h"

#include "base/log.h"

#include <langinfo.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum {
    COLUMNS_UNKNOWN = 80,
    PLAIN_EVERY_MS = 1000, // at most
    PLAIN_AT_LEAST_MS = 60000,
    TENTHS = 10,
};

static void put(const struct mst_progress_view *view, const char *text, size_t len)
{
    while (len > 0) {
        ssize_t n = write(view->fd, text, len);
        if (n <= 0)
            return; // a terminal that is gone is no reason to stop training
        text += n;
        len -= (size_t)n;
    }
}

// One write of at most a few lines.
__attribute__((format(printf, 2, 3))) static void print(const struct mst_progress_view *view, const char *format, ...)
{
    char text[MST_PROGRESS_LINE_BYTES + 64];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (n > 0)
        put(view, text, (size_t)n < sizeof text ? (size_t)n : sizeof text - 1);
}

void mst_progress_view_init(struct mst_progress_view *view, int fd, uint64_t start_ms)
{
    const char *terminal = getenv("TERM");
    *view = (struct mst_progress_view){.fd = fd, .start_ms = start_ms, .shown_ms = start_ms};
    view->is_live = !mst_log_is_json() && isatty(fd) && terminal && strcmp(terminal, "dumb") != 0;
    view->has_utf8 = view->is_live && strcmp(nl_langinfo(CODESET), "UTF-8") == 0;
}

static size_t columns_of(int fd)
{
    struct winsize size;
    if (ioctl(fd, TIOCGWINSZ, &size) != 0 || size.ws_col == 0)
        return COLUMNS_UNKNOWN - 1;
    return (size_t)size.ws_col - 1;
}

static void draw(struct mst_progress_view *view)
{
    print(view, "\r%s\033[K", view->shown);
    view->has_line = true;
}

static bool is_anybody_lost(const struct mst_supervision *supervision)
{
    for (size_t i = 0; i < supervision->n_tasks; i++)
        if (supervision->tasks[i].state == MST_TASK_WAITING || supervision->tasks[i].state == MST_TASK_LOST)
            return true;
    return false;
}

static bool plain_is_due(const struct mst_progress_view *view, const struct mst_progress *progress, uint64_t now_ms)
{
    if (progress->waiting[0])
        return true; // the chief says so every 10 s
    if (!progress->has_figures)
        return false;
    if (progress->step >= progress->n_steps)
        return view->shown_tenth < TENTHS; // once
    uint64_t tenth = progress->step * TENTHS / progress->n_steps;
    if (now_ms - view->shown_ms < PLAIN_EVERY_MS)
        return false;
    return tenth > view->shown_tenth || progress->n_epochs_done > view->shown_epoch ||
           now_ms - view->shown_ms >= PLAIN_AT_LEAST_MS;
}

static void log_line(const struct mst_progress *progress, const char *line)
{
    if (progress->waiting[0] || !progress->has_figures)
        MST_LOG(INFO, "local", "waiting", "for=\"%s\"", line);
    else
        MST_LOG(INFO, "local", "progress",
                "step=%llu of=%llu epoch=%llu examples_per_second=%.0f loss=%.6g text=\"%s\"",
                (unsigned long long)progress->step, (unsigned long long)progress->n_steps,
                (unsigned long long)progress->epoch, progress->examples_per_second, progress->loss, line);
}

static void show_plain(struct mst_progress_view *view, const struct mst_progress *progress,
                       struct mst_progress_style *style, uint64_t now_ms)
{
    if (!plain_is_due(view, progress, now_ms))
        return;
    char line[MST_PROGRESS_LINE_BYTES];
    style->columns = SIZE_MAX;
    mst_progress_line(progress, style, line, sizeof line);
    if (strcmp(line, view->shown) == 0)
        return; // the same wait, told already
    memcpy(view->shown, line, sizeof line);
    if (mst_log_is_json())
        log_line(progress, line);
    else
        print(view, "%s\n", line);
    view->shown_ms = now_ms;
    view->shown_epoch = progress->n_epochs_done;
    if (progress->has_figures && progress->n_steps > 0)
        view->shown_tenth = progress->step * TENTHS / progress->n_steps;
}

void mst_progress_view_show(struct mst_progress_view *view, const struct mst_progress *progress,
                            const struct mst_supervision *supervision, uint64_t now_ms)
{
    struct mst_progress_style style = {.has_utf8 = view->has_utf8,
                                       .tasks = supervision->tasks,
                                       .n_tasks = supervision->n_tasks,
                                       .seconds = (double)(now_ms - view->start_ms) / 1000};
    if (!view->is_live) {
        style.has_marks = progress->has_figures && is_anybody_lost(supervision);
        show_plain(view, progress, &style, now_ms);
        return;
    }
    style.has_marks = true;
    style.columns = columns_of(view->fd);
    mst_progress_line(progress, &style, view->shown, sizeof view->shown);
    draw(view);
}

void mst_progress_view_say(struct mst_progress_view *view, const char *text)
{
    if (mst_log_is_json()) {
        MST_LOG(INFO, "local", "said", "text=\"%s\"", strncmp(text, "muster: ", 8) == 0 ? text + 8 : text);
        return;
    }
    if (view->has_line)
        print(view, "\r\033[K");
    put(view, text, strlen(text));
    put(view, "\n", 1);
    if (view->has_line)
        draw(view);
}

void mst_progress_view_end(struct mst_progress_view *view)
{
    if (view->has_line)
        put(view, "\n", 1);
    view->has_line = false;
}
