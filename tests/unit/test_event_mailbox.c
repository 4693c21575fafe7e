// Posting to a loop from several threads, from itself, and to one that is freed before it could run what was posted.
#include "event/loop.h"

#include "base/alloc.h"
#include "base/error.h"
#include "muster/status.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <stdlib.h>

enum { N_THREADS = 4, N_POSTS = 2000 };

struct sender {
    struct mst_loop *loop;
    pthread_t thread;
    size_t n_seen;      // loop's
    size_t *n_all_seen; // loop's
};

struct letter {
    struct sender *sender;
    size_t number;
};

static void on_letter(void *arg)
{
    struct letter *letter = arg;
    mst_loop_assert_owner(letter->sender->loop);
    MST_ASSERT(letter->number == letter->sender->n_seen); // in the order of posting
    letter->sender->n_seen++;
    ++*letter->sender->n_all_seen;
    free(letter);
}

static void *send_all(void *arg)
{
    struct sender *sender = arg;
    for (size_t i = 0; i < N_POSTS; i++) {
        struct letter *letter = mst_alloc(sizeof *letter);
        *letter = (struct letter){sender, i};
        mst_loop_post_or_drop(sender->loop, on_letter, free, letter);
    }
    return NULL;
}

static bool all_seen(void *arg)
{
    return *(size_t *)arg == (size_t)N_THREADS * N_POSTS;
}

static void test_threads_post_in_order(void **state)
{
    (void)state;
    struct mst_loop *loop;
    assert_int_equal(mst_loop_new("inbox", &loop, NULL), MST_OK);
    size_t n_all = 0;
    struct sender senders[N_THREADS];
    for (size_t i = 0; i < N_THREADS; i++) {
        senders[i] = (struct sender){.loop = loop, .n_all_seen = &n_all};
        assert_int_equal(pthread_create(&senders[i].thread, NULL, send_all, &senders[i]), 0);
    }
    assert_true(mst_loop_run_until(loop, all_seen, &n_all, UINT64_MAX));
    for (size_t i = 0; i < N_THREADS; i++)
        pthread_join(senders[i].thread, NULL);
    mst_loop_free(loop);
}

// Two loops throw a ball: every post wakes a loop that sleeps.
struct ball {
    struct mst_loop *loops[2];
    size_t n_throws;
};

static void on_ball(void *arg)
{
    struct ball *ball = arg;
    size_t at = ball->n_throws % 2;
    mst_loop_assert_owner(ball->loops[at]);
    if (ball->n_throws == 5000) {
        mst_loop_stop(ball->loops[0]);
        mst_loop_stop(ball->loops[1]);
        return;
    }
    ball->n_throws++;
    mst_loop_post(ball->loops[1 - at], on_ball, ball);
}

static void test_no_wake_up_is_lost(void **state)
{
    (void)state;
    struct ball ball = {.n_throws = 0};
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(mst_loop_new("player", &ball.loops[i], NULL), MST_OK);
        assert_int_equal(mst_loop_thread_start(ball.loops[i], NULL), MST_OK);
    }
    mst_loop_post(ball.loops[0], on_ball, &ball);
    for (size_t i = 0; i < 2; i++)
        mst_loop_thread_join(ball.loops[i]);
    assert_int_equal(ball.n_throws, 5000);
    for (size_t i = 0; i < 2; i++)
        mst_loop_free(ball.loops[i]);
}

struct chain {
    struct mst_loop *loop;
    int n_left;
    int n_left_before;
};

static void on_link(void *arg)
{
    struct chain *chain = arg;
    if (chain->n_left-- > 0)
        mst_loop_post(chain->loop, on_link, chain);
}

// Asked after each round: at most one link ran in it, so that sockets get their turn.
static bool chain_ended(void *arg)
{
    struct chain *chain = arg;
    MST_ASSERT(chain->n_left >= chain->n_left_before - 1);
    chain->n_left_before = chain->n_left;
    return chain->n_left < 0;
}

static void test_a_post_from_within_runs_later(void **state)
{
    (void)state;
    struct chain chain = {.n_left = 100, .n_left_before = 100};
    assert_int_equal(mst_loop_new("chain", &chain.loop, NULL), MST_OK);
    mst_loop_post(chain.loop, on_link, &chain);
    assert_true(mst_loop_run_until(chain.loop, chain_ended, &chain, UINT64_MAX));
    mst_loop_free(chain.loop);
}

static void on_run(void *arg)
{
    ((int *)arg)[0]++;
}

static void on_drop(void *arg)
{
    ((int *)arg)[1]++;
}

static struct mst_loop *dying;

static void on_drop_and_post(void *arg)
{
    on_drop(arg);
    for (int i = 0; i < 100; i++) // grows the mailbox that is being dropped
        mst_loop_post_or_drop(dying, on_run, on_drop, arg);
}

static void test_what_cannot_run_is_dropped_once(void **state)
{
    (void)state;
    int n[2] = {0};
    struct mst_loop *loop;
    assert_int_equal(mst_loop_new("dropped", &loop, NULL), MST_OK);
    mst_loop_post_or_drop(loop, on_run, on_drop, n);
    mst_loop_poll(loop);
    for (int i = 0; i < 50; i++)
        mst_loop_post_or_drop(loop, on_run, on_drop, n);
    mst_loop_post(loop, on_run, n); // without a drop it is only forgotten
    dying = loop;
    mst_loop_post_or_drop(loop, on_run, on_drop_and_post, n);
    mst_loop_free(loop);
    assert_int_equal(n[0], 1);
    assert_int_equal(n[1], 151);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_threads_post_in_order),
        cmocka_unit_test(test_no_wake_up_is_lost),
        cmocka_unit_test(test_a_post_from_within_runs_later),
        cmocka_unit_test(test_what_cannot_run_is_dropped_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
