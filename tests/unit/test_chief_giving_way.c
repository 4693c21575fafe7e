// A chief that learns that another one goes on with the job gives nobody a number and tells nobody that it is over,
// until its process has ended: whoever asks it has to ask the other one.
#include "chief/chief_private.h"

#include "chief_fixture.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

static bool is_storing(void *arg)
{
    return ((const struct chief_fixture *)arg)->ps[0].kept_state.method != 0;
}

static bool has_ended(void *arg)
{
    return ((const struct chief_fixture *)arg)->has_ended;
}

static size_t n_parked(const struct chief_fixture *f)
{
    size_t n = 0;
    for (const struct parked *parked = f->chief->parked; parked; parked = parked->next)
        n++;
    return n;
}

static bool keeps_one(void *arg)
{
    return n_parked(arg) == 1;
}

static bool keeps_five(void *arg)
{
    return n_parked(arg) == 5;
}

static void expect_way_given(struct chief_fixture *f)
{
    run_until(f->loop, has_ended, f);
    assert_int_equal(f->end_status, MST_ALREADY_EXISTS);
    assert_non_null(strstr(f->end_text, "another chief's term"));
}

static void expect_refused(struct chief_fixture *f, enum mst_peer_role role, uint32_t index)
{
    struct stranger late;
    const struct mst_msg_greeting greeting = {.role = role, .index = index, .incarnation = 90 + index};
    chief_greet(f, &late, &greeting);
    stranger_expect_error(&late, 1, MST_UNAVAILABLE, "gives way to another one");
    stranger_expect_end(&late);
    stranger_close(&late);
}

// The process ends; nothing was said before.
static void expect_silence(struct chief_fixture *f, struct stranger *stranger)
{
    if (f->chief)
        mst_chief_free(f->chief);
    f->chief = NULL;
    stranger_expect_end(stranger);
    stranger_close(stranger);
}

static int set_up(void **state)
{
    *state = chief_fixture_new(1, 0);
    return 0;
}

static void test_who_waited_for_a_number_gets_none(void **state)
{
    struct chief_fixture *f = *state;
    struct stranger worker;
    f->ps[0].state = SCRIPT_KEEPS;
    run_until(f->loop, is_storing, f);
    const struct mst_msg_greeting greeting = {.role = MST_PEER_WORKER, .incarnation = 50};
    chief_greet(f, &worker, &greeting);
    run_until(f->loop, keeps_one, f); // its number is decided, and not stored
    scripted_refuse_state(&f->ps[0]);
    expect_way_given(f);
    expect_refused(f, MST_PEER_WORKER, 1);
    expect_refused(f, MST_PEER_EVALUATOR, 0);
    assert_int_equal(n_parked(f), 1);
    expect_silence(f, &worker);
}

static void ask_of_all(struct chief_fixture *f, struct stranger *worker, struct stranger *evaluator)
{
    const struct mst_msg_heartbeat heartbeat = {.role = MST_PEER_WORKER, .number = 1};
    double values[MST_SUMS_MAX] = {0};
    const struct mst_training_sums sums = {.n_values = mst_compile_n_sums(&f->compile), .values = values};
    const struct mst_msg_lease lease = {.number = 1, .seq = 1, .sums = sums};
    const struct mst_msg_evaluate evaluate = {.number = 1};
    const struct mst_msg_roles_question roles = {.term = 1};
    struct mst_buf meta;
    mst_buf_init(&meta, MST_FRAME_META_MAX);
    assert_int_equal(mst_msg_heartbeat_encode(&heartbeat, &meta), MST_OK);
    chief_ask(worker, MST_METHOD_HEARTBEAT, 2, &meta);
    mst_buf_init(&meta, MST_FRAME_META_MAX);
    chief_ask(worker, MST_METHOD_MAP, 3, &meta);
    mst_buf_init(&meta, MST_FRAME_META_MAX);
    assert_int_equal(mst_msg_lease_encode(&lease, &meta), MST_OK);
    chief_ask(worker, MST_METHOD_LEASE, 4, &meta);
    mst_buf_init(&meta, MST_FRAME_META_MAX);
    assert_int_equal(mst_msg_roles_question_encode(&roles, &meta), MST_OK);
    chief_ask(worker, MST_METHOD_WATCH_ROLES, 5, &meta); // for which all that is kept is looked at
    mst_buf_init(&meta, MST_FRAME_META_MAX);
    assert_int_equal(mst_msg_evaluate_encode(&evaluate, &meta), MST_OK);
    chief_ask(evaluator, MST_METHOD_EVALUATE, 6, &meta);
}

static void test_who_is_in_is_told_nothing(void **state)
{
    struct chief_fixture *f = *state;
    struct stranger worker, evaluator, newcomer;
    const struct mst_msg_greeting first = {.role = MST_PEER_WORKER, .incarnation = 50};
    const struct mst_msg_greeting second = {.role = MST_PEER_WORKER, .index = 1, .incarnation = 51};
    const struct mst_msg_greeting third = {.role = MST_PEER_EVALUATOR, .incarnation = 52};
    chief_fixture_run(f);
    chief_greet(f, &worker, &first);
    assert_int_equal(chief_admitted(&worker), 1);
    chief_greet(f, &evaluator, &third);
    assert_int_equal(chief_admitted(&evaluator), 1);
    f->ps[0].state = SCRIPT_REFUSES;
    chief_greet(f, &newcomer, &second); // its number has to be stored, which another chief's server refuses
    expect_way_given(f);
    ask_of_all(f, &worker, &evaluator);
    run_until(f->loop, keeps_five, f);     // the newcomer's greeting and four questions
    expect_refused(f, MST_PEER_WORKER, 0); // also one that has a number
    expect_silence(f, &worker);
    expect_silence(f, &evaluator);
    expect_silence(f, &newcomer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_who_waited_for_a_number_gets_none, set_up, chief_fixture_tear_down),
        cmocka_unit_test_setup_teardown(test_who_is_in_is_told_nothing, set_up, chief_fixture_tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
