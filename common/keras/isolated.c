#include "isolated.h"

#include "base/error.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

struct answer {
    bool is_there;
    mst_status status;
    struct mst_error err;
};

void *mst_isolated_alloc(size_t bytes)
{
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return memory == MAP_FAILED ? NULL : memory;
}

void mst_isolated_free(void *memory, size_t bytes)
{
    if (memory != NULL)
        munmap(memory, bytes);
}

static _Noreturn void be_the_child(mst_isolated_fn *work, void *arg, struct answer *answer)
{
    const struct rlimit no_core = {0, 0};
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    setrlimit(RLIMIT_CORE, &no_core);
    // The parent's signals are not the child's business; a crash shall end it.
    for (int s = 1; s < SIGRTMIN; s++)
        (void)signal(s, SIG_DFL);
    (void)signal(SIGINT, SIG_IGN); // Ctrl-C reaches the whole group; the parent decides
    answer->status = work(arg, &answer->err);
    answer->is_there = true;
    _exit(0);
}

// False if the child is still at it when the limit is over.
static bool wait_for(pid_t child)
{
    int fd = (int)syscall(SYS_pidfd_open, child, 0);
    if (fd < 0)
        return true; // an old kernel: waitpid waits
    struct pollfd end = {.fd = fd, .events = POLLIN};
    int n;
    do
        n = poll(&end, 1, MST_ISOLATED_LIMIT_MS);
    while (n < 0 && errno == EINTR);
    close(fd);
    return n != 0;
}

mst_status mst_isolated_run(mst_isolated_fn *work, void *arg, const char *file, struct mst_error *err)
{
    struct answer *answer = mst_isolated_alloc(sizeof *answer);
    pid_t child = answer != NULL ? fork() : -1;
    if (child == 0)
        be_the_child(work, arg, answer);
    if (child < 0) {
        mst_isolated_free(answer, sizeof *answer);
        return mst_fail(err, MST_RESOURCE_EXHAUSTED, "%s: no process to read it in (%s)", file, strerror(errno));
    }
    bool ended = wait_for(child);
    if (!ended)
        kill(child, SIGKILL);
    int how = 0;
    while (waitpid(child, &how, 0) < 0 && errno == EINTR)
        ;
    mst_status status = answer->status;
    answer->err.text[sizeof answer->err.text - 1] = '\0'; // whatever a child that was upset left there
    if (answer->is_there && status != MST_OK)
        (void)mst_fail(err, status, "%s", answer->err.text);
    else if (!ended)
        status =
            mst_fail(err, MST_DEADLINE_EXCEEDED, "%s was not read within %d s", file, MST_ISOLATED_LIMIT_MS / 1000);
    else if (!answer->is_there)
        status = mst_fail(err, MST_DATA_LOSS, "%s is damaged: the process that read it ended with %s %d", file,
                          WIFSIGNALED(how) ? "signal" : "code", WIFSIGNALED(how) ? WTERMSIG(how) : WEXITSTATUS(how));
    mst_isolated_free(answer, sizeof *answer);
    return status;
}
