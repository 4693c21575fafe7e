// fork, not posix_spawn: the death signal has to be asked for by the child itself. Between fork and exec the child only
// makes system calls. Signals are blocked meanwhile, or a handler of the parent's loop could run in the child.
#include "cli/child_process.h"

#include "base/alloc.h"
#include "base/error.h"
#include "tfio/disk_file.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

enum { CANNOT_EXEC = 127, TAIL_MAX_BYTES = 32768 };

// The loop's handlers are of no use in the child; what the parent ignores stays ignored.
static void default_signals(void)
{
    static const int handled[] = {SIGINT, SIGTERM, SIGCHLD, SIGTSTP, SIGCONT};
    struct sigaction action = {.sa_handler = SIG_DFL};
    for (size_t i = 0; i < sizeof handled / sizeof *handled; i++)
        sigaction(handled[i], &action, NULL);
}

static _Noreturn void become(const struct mst_child_plan *plan, pid_t parent, int log_fd, const sigset_t *signals)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(CANNOT_EXEC); // it died before we could ask for its death signal
    setpgid(0, 0);
    default_signals();
    int nothing = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (nothing >= 0)
        dup2(nothing, STDIN_FILENO);
    dup2(log_fd, STDOUT_FILENO);
    dup2(log_fd, STDERR_FILENO);
    for (size_t i = 0; i < plan->n_fds; i++)
        fcntl(plan->fds[i], F_SETFD, 0);
    sigprocmask(SIG_SETMASK, signals, NULL);
    execve("/proc/self/exe", plan->argv, plan->envp);
    static const char text[] = "muster: /proc/self/exe cannot be run; is /proc mounted?\n";
    ssize_t written = write(STDERR_FILENO, text, sizeof text - 1);
    (void)written;
    _exit(CANNOT_EXEC);
}

mst_status mst_child_start(const struct mst_child_plan *plan, pid_t *out, struct mst_error *err)
{
    *out = 0;
    int log_fd = open(plan->log_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    if (log_fd < 0)
        return mst_disk_fail(err, errno, "open", plan->log_path);
    sigset_t all;
    sigset_t before;
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, &before);
    pid_t parent = getpid();
    pid_t pid = fork();
    int error = errno;
    if (pid == 0)
        become(plan, parent, log_fd, &before);
    sigprocmask(SIG_SETMASK, &before, NULL);
    close(log_fd);
    if (pid < 0)
        return mst_fail(err, MST_RESOURCE_EXHAUSTED, "no process can be started: %s; start fewer, or raise the limit",
                        strerror(error));
    *out = pid;
    return MST_OK;
}

// Where the last n_lines of text begin; a line that the file's end cut off counts as one.
static const char *last_lines(const char *text, size_t len, size_t n_lines)
{
    const char *at = text + len;
    if (at > text && at[-1] == '\n')
        at--;
    for (; at > text; at--)
        if (at[-1] == '\n' && --n_lines == 0)
            break;
    return at;
}

char *mst_log_tail(const char *path, size_t n_lines)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat info;
    if (fd < 0 || fstat(fd, &info) != 0 || n_lines == 0) {
        if (fd >= 0)
            close(fd);
        return mst_strdup("");
    }
    off_t from = info.st_size > TAIL_MAX_BYTES ? info.st_size - TAIL_MAX_BYTES : 0;
    char *text = mst_alloc(TAIL_MAX_BYTES + 1);
    ssize_t n = pread(fd, text, TAIL_MAX_BYTES, from);
    close(fd);
    size_t len = n > 0 ? (size_t)n : 0;
    text[len] = '\0';
    for (size_t i = 0; i < len; i++)
        if (((uint8_t)text[i] < ' ' && text[i] != '\n' && text[i] != '\t') || text[i] == 0x7f)
            text[i] = '?';
    char *tail = mst_strdup(last_lines(text, len, n_lines));
    free(text);
    return tail;
}
