// Loops: running, stopping from anywhere, polling, waiting for a condition, ownership, hooks.
#include "event/loop.h"

#include "base/clock.h"
#include "event/timer.h"
#include "muster/status.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static struct mst_loop *new_loop(const char *name)
{
    struct mst_loop *loop;
    assert_int_equal(mst_loop_new(name, &loop, NULL), MST_OK);
    return loop;
}

static void on_count(void *arg)
{
    ++*(int *)arg;
}

static void on_stop(void *arg)
{
    mst_loop_stop(arg);
}

static void test_a_stop_before_run_ends_it_at_once(void **state)
{
    (void)state;
    struct mst_loop *loop = new_loop("early");
    assert_string_equal(mst_loop_name(loop), "early");
    mst_loop_stop(loop);
    mst_loop_run(loop);
    int n = 0;
    mst_loop_post(loop, on_count, &n);
    mst_loop_post(loop, on_stop, loop);
    mst_loop_run(loop); // the first stop is used up
    assert_int_equal(n, 1);
    mst_loop_free(loop);
    mst_loop_free(NULL);
}

static void test_poll_does_not_block(void **state)
{
    (void)state;
    struct mst_loop *loop = new_loop("poll");
    int n = 0;
    mst_loop_poll(loop);
    mst_loop_post(loop, on_count, &n);
    mst_loop_poll(loop);
    assert_int_equal(n, 1);
    mst_loop_free(loop);
}

static bool is_three(void *arg)
{
    return *(int *)arg == 3;
}

static bool never(void *arg)
{
    (void)arg;
    return false;
}

static void test_run_until(void **state)
{
    (void)state;
    struct mst_loop *loop = new_loop("until");
    int n = 0;
    struct mst_timer timer;
    mst_timer_init(&timer, loop, on_count, &n);
    mst_timer_start_periodic(&timer, 1);
    assert_true(mst_loop_run_until(loop, is_three, &n, UINT64_MAX));
    assert_int_equal(n, 3);
    mst_timer_stop(&timer);
    assert_true(mst_loop_run_until(loop, is_three, &n, 0)); // asked before anything runs
    uint64_t begin_ms = mst_clock_monotonic_ms();
    assert_false(mst_loop_run_until(loop, never, NULL, 30));
    assert_true(mst_clock_monotonic_ms() - begin_ms >= 20); // libevent's clock is coarse: up to 10 ms
    mst_loop_stop(loop);
    assert_false(mst_loop_run_until(loop, never, NULL, UINT64_MAX)); // a stop ends it too
    mst_timer_fini(&timer);
    mst_loop_free(loop);
}

static void remember_thread(void *arg)
{
    *(pthread_t *)arg = pthread_self();
}

static void test_a_thread_of_its_own(void **state)
{
    (void)state;
    struct mst_loop *loop = new_loop("a-name-longer-than-the-kernel-takes");
    pthread_t thread;
    assert_int_equal(mst_loop_thread_start(loop, NULL), MST_OK);
    mst_loop_post(loop, remember_thread, &thread);
    mst_loop_stop(loop);
    mst_loop_thread_join(loop);
    mst_loop_thread_join(loop); // nothing to wait for is fine
    assert_false(pthread_equal(thread, pthread_self()));
    // After the join this thread may take things down, and may run it.
    mst_loop_assert_owner(loop);
    mst_loop_poll(loop);
    mst_loop_free(loop);
}

static void test_many_stops_from_threads(void **state)
{
    (void)state;
    for (int i = 0; i < 200; i++) {
        struct mst_loop *loop = new_loop("stops");
        assert_int_equal(mst_loop_thread_start(loop, NULL), MST_OK);
        mst_loop_stop(loop);
        mst_loop_stop(loop);
        mst_loop_thread_join(loop);
        mst_loop_free(loop);
    }
}

static void *touch(void *arg)
{
    mst_loop_assert_owner(arg);
    return NULL;
}

// In a child, because it ends by SIGABRT.
static void test_another_thread_may_not_touch_it(void **state)
{
    (void)state;
    pid_t child = fork();
    if (child == 0) {
        close(2);
        struct mst_loop *loop = new_loop("owned");
        mst_loop_poll(loop);
        pthread_t thread;
        if (pthread_create(&thread, NULL, touch, loop) == 0)
            pthread_join(thread, NULL);
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
}

struct hooked {
    struct mst_loop_hook hook;
    struct hooked *next; // freeing this one unhooks that one
    int n_freed;
};

static void on_loop_free(void *arg)
{
    struct hooked *hooked = arg;
    hooked->n_freed++;
    if (hooked->next)
        mst_loop_hook_remove(&hooked->next->hook);
}

static void test_hooks_run_when_it_is_freed(void **state)
{
    (void)state;
    struct mst_loop *loop = new_loop("hooks");
    struct hooked hooked[5];
    memset(hooked, 0, sizeof hooked);
    mst_loop_hook_remove(&hooked[0].hook); // one that is not hooked is fine
    for (int i = 0; i < 5; i++) {
        hooked[i].hook = (struct mst_loop_hook){.on_free = on_loop_free, .arg = &hooked[i]};
        mst_loop_hook_add(loop, &hooked[i].hook);
    }
    mst_loop_hook_remove(&hooked[2].hook);
    mst_loop_hook_remove(&hooked[4].hook);
    mst_loop_hook_remove(&hooked[4].hook);
    hooked[3].next = &hooked[1]; // runs before it: the last added comes first
    mst_loop_free(loop);
    assert_int_equal(hooked[0].n_freed, 1);
    assert_int_equal(hooked[1].n_freed, 0);
    assert_int_equal(hooked[2].n_freed, 0);
    assert_int_equal(hooked[3].n_freed, 1);
    assert_int_equal(hooked[4].n_freed, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_stop_before_run_ends_it_at_once),
        cmocka_unit_test(test_poll_does_not_block),
        cmocka_unit_test(test_run_until),
        cmocka_unit_test(test_a_thread_of_its_own),
        cmocka_unit_test(test_many_stops_from_threads),
        cmocka_unit_test(test_another_thread_may_not_touch_it),
        cmocka_unit_test(test_hooks_run_when_it_is_freed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
