// A PS is told to stop, whatever it is doing: its chief hears of it where anything could be lost by its leaving, and it
// goes on with what it does until the chief has ended the job. A data thread that is held makes its shards take as long
// as the test likes.
#include "ps_rounds_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <semaphore.h>

static const struct mst_msg_shard shards[] = {
    {.variable = 0, .n_parts = 1, .n_rows = 4, .thread = 0, .bucket = 0},
    {.variable = 1, .n_parts = 1, .n_rows = 3, .thread = 1, .bucket = 1},
};

static void wait_for(void *arg)
{
    assert_int_equal(sem_wait(arg), 0);
}

// What the chief hears with its next heartbeat; all that it said before has been taken in by then.
static enum mst_job_state beat(struct fixture *f)
{
    const struct mst_msg_heartbeat heartbeat = {.role = MST_PEER_CHIEF};
    struct mst_msg_heartbeat_reply reply;
    struct mst_buf meta;
    mst_buf_init(&meta, MST_FRAME_META_MAX);
    assert_int_equal(mst_msg_heartbeat_encode(&heartbeat, &meta), MST_OK);
    send_meta(&f->chief, MST_METHOD_HEARTBEAT, ++f->call, &meta);
    mst_arena_fini(&f->arena);
    assert_int_equal(mst_msg_heartbeat_reply_decode(expect_reply(&f->chief, f->call)->meta, &f->arena, &reply, NULL),
                     MST_OK);
    if (reply.job_state == MST_JOB_FAILED)
        assert_string_equal(reply.text, "told to stop");
    return reply.job_state;
}

// It makes the shards of this map, until sem_post of *gate. Returns the call that answers.
static uint64_t begin_to_build(struct fixture *f, uint64_t iterations, const char *restore_prefix, sem_t *gate)
{
    const struct mst_msg_map map = {.term = TERM,
                                    .epoch = 1,
                                    .n_shards = sizeof shards / sizeof shards[0],
                                    .shards = shards,
                                    .iterations = iterations,
                                    .restore_prefix = restore_prefix};
    assert_int_equal(sem_init(gate, 0, 0), 0);
    mst_loop_post(f->data[0], wait_for, gate);
    send_map_of(f, &map);
    uint64_t call = f->call;
    assert_int_equal(beat(f), MST_JOB_RUNNING);
    return call;
}

// Told to stop meanwhile: whether it stays for that.
static void expect_while_building(struct fixture *f, uint64_t iterations, const char *restore_prefix, bool stays)
{
    sem_t gate;
    uint64_t call = begin_to_build(f, iterations, restore_prefix, &gate);
    assert_int_equal(mst_ps_ready(f->ps, NULL), MST_UNAVAILABLE);
    assert_int_equal(mst_ps_leave(f->ps, "told to stop"), stays);
    assert_int_equal(beat(f), stays ? MST_JOB_FAILED : MST_JOB_RUNNING);
    assert_int_equal(sem_post(&gate), 0);
    if (restore_prefix)
        stranger_expect_error(&f->chief, call, MST_NOT_FOUND, restore_prefix); // it went on to read it
    else
        expect_reply(&f->chief, call);
    sem_destroy(&gate);
}

static void test_nothing_was_trained_yet(void **state)
{
    expect_while_building(*state, 0, NULL, false);
}

static void test_it_comes_back_into_a_job(void **state)
{
    struct fixture *f = *state;
    expect_while_building(f, 9, NULL, true);
    assert_int_equal(beat(f), MST_JOB_FAILED); // it serves now
    assert_int_equal(mst_ps_ready(f->ps, NULL), MST_OK);
}

static void test_a_checkpoint_is_read(void **state)
{
    expect_while_building(*state, 0, "/nowhere/model-0", true);
}

static void test_a_chief_of_a_job_that_goes_on_has_greeted(void **state)
{
    struct fixture *f = *state;
    assert_true(mst_ps_leave(f->ps, "told to stop"));
    assert_int_equal(beat(f), MST_JOB_FAILED);
}

static void test_a_chief_that_has_no_job_yet_has_greeted(void **state)
{
    struct fixture *f = *state;
    assert_false(mst_ps_leave(f->ps, "told to stop"));
    assert_int_equal(beat(f), MST_JOB_RUNNING);
}

// Then nobody waits for what it has begun.
static void test_it_ends_while_shards_are_made(void **state)
{
    struct fixture *f = *state;
    sem_t gate;
    uint64_t call = begin_to_build(f, 9, NULL, &gate);
    mst_ps_cancel(f->ps);
    assert_int_equal(sem_post(&gate), 0);
    stranger_expect_error(&f->chief, call, MST_CANCELLED, "this parameter server ends");
    sem_destroy(&gate);
}

#define TEST(set_up, name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(set_up_before_the_job, test_a_chief_that_has_no_job_yet_has_greeted),
        TEST(set_up, test_a_chief_of_a_job_that_goes_on_has_greeted),
        TEST(set_up, test_nothing_was_trained_yet),
        TEST(set_up, test_it_comes_back_into_a_job),
        TEST(set_up, test_a_checkpoint_is_read),
        TEST(set_up, test_it_ends_while_shards_are_made),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
