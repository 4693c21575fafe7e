// SIGTERM and SIGINT as events, and as themselves again afterwards.
#include "event/signal.h"

#include "event/loop.h"
#include "muster/status.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

static int n_got[2];

static void on_signal(void *arg, int number)
{
    (void)arg;
    n_got[number == SIGTERM ? 0 : 1]++;
}

static bool both_got(void *arg)
{
    (void)arg;
    return n_got[0] >= 1 && n_got[1] >= 1;
}

static void *kill_us(void *arg)
{
    (void)arg;
    sigset_t all; // they are for the loop's thread
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, NULL);
    kill(getpid(), SIGTERM);
    kill(getpid(), SIGINT);
    return NULL;
}

static void test_signals_reach_the_loop(void **state)
{
    (void)state;
    struct mst_loop *loop;
    assert_int_equal(mst_loop_new("signals", &loop, NULL), MST_OK);
    struct mst_signals signals;
    mst_signals_init(&signals, loop, on_signal, NULL);
    pthread_t thread; // from another thread, while the loop sleeps
    assert_int_equal(pthread_create(&thread, NULL, kill_us, NULL), 0);
    assert_true(mst_loop_run_until(loop, both_got, NULL, UINT64_MAX));
    pthread_join(thread, NULL);
    mst_signals_fini(&signals);
    mst_signals_fini(&signals); // a zeroed one is fine
    mst_loop_free(loop);
}

static void test_afterwards_they_kill(void **state)
{
    (void)state;
    pid_t child = fork();
    if (child == 0) {
        struct mst_loop *loop;
        struct mst_signals signals;
        if (mst_loop_new("signals", &loop, NULL) != MST_OK)
            _exit(1);
        mst_signals_init(&signals, loop, on_signal, NULL);
        mst_signals_fini(&signals);
        raise(SIGTERM);
        _exit(2);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_signals_reach_the_loop),
        cmocka_unit_test(test_afterwards_they_kill),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
