// Synchronous rounds over real sockets: pushes and pulls, late, doubled, half and refused; what the chief asks and
// hears.
#include "base/alloc.h"
#include "ps_rounds_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>

static void test_a_round_is_the_weighted_mean_and_answers_everybody(void **state)
{
    struct fixture *f = *state;
    struct worker *a = join(f, 0, 1);
    struct worker *b = join(f, 1, 1);
    struct worker *c = join(f, 2, 1);
    push(c, 1, 8, 2);
    push(a, 1, 1, 1);
    push(b, 1, 3, 1);
    struct mst_msg_round_reply reply = ask_until(f, round_of(0, NULL, 0, 0), has_arrivals, 3);
    for (uint32_t w = 0; w < 3; w++) {
        const struct mst_msg_arrival *arrival = &reply.arrivals[w];
        assert_true(arrival->worker == w && arrival->number == 1 && arrival->unit == UNIT + w && arrival->has_sums);
    }
    assert_true(reply.arrivals[2].weight == 2 && reply.arrivals[2].sums.values[0] == 8);
    static const uint64_t all[] = {0, 1, 2};
    apply_round(f, 1, all, 3);
    expect_round(a, 1, 1, -5); // (1 + 3 + 2 * 8) / 4
    expect_round(b, 1, 1, -5);
    expect_round(c, 1, 1, -5);
    // And on.
    push(a, 2, 1, 1);
    ask_until(f, round_of(1, all, 3, 1), has_arrivals, 1);
    apply_round(f, 2, all, 1);
    expect_round(a, 2, 2, -6);
    leave(a);
    leave(b);
    leave(c);
}

static void test_pulls_wait_for_the_beginning_and_for_their_round(void **state)
{
    struct fixture *f = *state;
    struct worker *a = join(f, 0, 1);
    send_pull(&a->links[0], 0, 0, 0, 7);
    send_pull(&a->links[1], 1, 0, 1, 8);
    struct mst_msg_round_reply reply = hear(f, ask(f, &(struct mst_msg_round){.term = TERM, .known = 99}));
    assert_int_equal(reply.applied_round, 0);
    apply_round(f, 0, NULL, 0);
    struct mst_msg_pull_reply pull = pulled(&a->links[0], 7);
    assert_true(pull.version == 0 && pull.turn.has_unit && pull.turn.unit == UNIT);
    apply_round(f, 1, NULL, 0); // nobody was in
    pull = pulled(&a->links[1], 8);
    assert_true(pull.version == 1 && pull.iterations == 0 && pull.turn.round == 1);
    leave(a);
}

static void test_a_push_waits_for_the_beginning(void **state)
{
    struct fixture *f = *state;
    struct worker *a = join(f, 0, 1);
    push(a, 1, 2, 1);
    apply_round(f, 0, NULL, 0);
    ask_until(f, round_of(0, NULL, 0, 0), has_arrivals, 1);
    static const uint64_t ins[] = {0};
    apply_round(f, 1, ins, 1);
    expect_round(a, 1, 1, -2);
    leave(a);
}

static void test_an_evaluator_pulls_what_there_is(void **state)
{
    struct fixture *f = *state;
    struct stranger evaluator;
    greet(f, &evaluator, &(struct mst_msg_greeting){.role = MST_PEER_EVALUATOR, .data_thread = 0});
    send_pull(&evaluator, 0, 0, 0, 3); // before the first round
    struct mst_msg_pull_reply pull = pulled(&evaluator, 3);
    assert_false(pull.turn.has_unit);
    stranger_close(&evaluator);
}

static void test_a_late_push_is_told_that_the_round_is_over(void **state)
{
    struct fixture *f = *state;
    struct worker *a = join(f, 0, 1);
    struct worker *b = join(f, 1, 1);
    static const uint64_t ins[] = {0};
    push(a, 1, 2, 1);
    push_to(b, 1, 1, 100, 1); // one half in time
    settle(b, 1);
    ask_until(f, round_of(0, NULL, 0, 0), has_arrivals, 1);
    apply_round(f, 1, ins, 1);
    push_to(b, 0, 1, 100, 1); // … the other late
    struct mst_msg_push_reply late = pushed(b, 0, 1, -2);
    assert_true(late.is_repeat && late.turn.round == 1);
    struct mst_msg_push_reply early = pushed(b, 1, 1, -2);
    assert_true(!early.is_repeat && early.turn.round == 1);
    expect_round(a, 1, 1, -2);
    leave(a);
    leave(b);
}

static void test_what_a_lost_connection_left_half_is_pushed_again(void **state)
{
    struct fixture *f = *state;
    struct worker *a = join(f, 0, 1);
    push_to(a, 1, 1, 2, 1); // whole on one thread
    struct mst_msg_push meta = meta_of(a, 0, 1, 1);
    send_push(a, &meta, 77, 20); // half on the other
    leave(a);
    a = join(f, 0, 1);
    push(a, 1, 2, 1);
    ask_until(f, round_of(0, NULL, 0, 0), has_arrivals, 1);
    static const uint64_t ins[] = {0};
    apply_round(f, 1, ins, 1);
    expect_round(a, 1, 1, -2);
    leave(a);
}

static void test_a_newer_connection_takes_over_what_an_older_reads(void **state)
{
    struct fixture *f = *state;
    struct worker *older = join(f, 0, 1);
    // In one piece, so that the push is begun when the pull's answer is here and anybody else is heard.
    const struct mst_msg_pull pull = {.bucket = 0, .worker = 0, .number = 1};
    const struct mst_msg_push meta = meta_of(older, 0, 1, 1);
    struct mst_buf both;
    mst_buf_init(&both, SIZE_MAX / 4);
    append_pull(&both, &pull, 5);
    append_push(&both, &meta, 77, 20);
    assert_true(stranger_send(&older->links[0], both.data, both.len));
    mst_buf_fini(&both);
    pulled(&older->links[0], 5);
    struct worker *newer = join(f, 0, 1);
    push(newer, 1, 2, 1);
    ask_until(f, round_of(0, NULL, 0, 0), has_arrivals, 1);
    stranger_expect_error(&older->links[0], 1, MST_ABORTED, "over another connection");
    static const uint64_t ins[] = {0};
    apply_round(f, 1, ins, 1);
    expect_round(newer, 1, 1, -2);
    leave(older);
    leave(newer);
}

static void test_a_doubled_push_counts_once(void **state)
{
    struct fixture *f = *state;
    struct worker *a = join(f, 0, 1);
    push(a, 1, 2, 1);
    ask_until(f, round_of(0, NULL, 0, 0), has_arrivals, 1);
    leave(a); // the answers are lost
    a = join(f, 0, 1);
    push(a, 1, 55, 1); // whatever comes now is thrown away
    static const uint64_t ins[] = {0};
    apply_round(f, 1, ins, 1);
    expect_round(a, 1, 1, -2);
    push(a, 1, 55, 1); // and once more, after its round
    expect_round(a, 1, 1, -2);
    leave(a);
}

static void fence(struct fixture *f, uint32_t worker, uint64_t number)
{
    struct mst_msg_fence fence = {.term = TERM, .worker = worker, .number = number};
    struct mst_buf meta;
    mst_buf_init(&meta, MST_FRAME_META_MAX);
    assert_int_equal(mst_msg_fence_encode(&fence, &meta), MST_OK);
    send_meta(&f->chief, MST_METHOD_FENCE, ++f->call, &meta);
    expect_reply(&f->chief, f->call);
}

static void test_a_fence_refuses_what_comes_and_keeps_what_is_there(void **state)
{
    struct fixture *f = *state;
    struct worker *old = join(f, 1, 1);
    push_to(old, 0, 1, 4, 1);
    settle(old, 0);
    struct mst_msg_push meta = meta_of(old, 1, 1, 1);
    send_push(old, &meta, 4, 8); // half of it
    fence(f, 1, 1);
    const float rest[] = {4};
    assert_true(stranger_send(&old->links[1], rest, sizeof rest));
    stranger_expect_error(&old->links[1], 1, MST_FAILED_PRECONDITION, "declared dead");
    struct worker *new = join(f, 1, 2);
    push(new, 1, 4, 1); // the half that is there, and the other one
    struct mst_msg_round_reply reply = ask_until(f, round_of(0, NULL, 0, 0), has_arrivals, 1);
    assert_int_equal(reply.arrivals[0].number, 2);
    static const uint64_t ins[] = {1};
    apply_round(f, 1, ins, 1);
    expect_round(new, 1, 1, -4);
    leave(old);
    leave(new);
}

// Else all wait for a round that none of them is in any more.
static void test_a_fence_tells_who_waits(void **state)
{
    struct fixture *f = *state;
    struct worker *old = join(f, 1, 1);
    push(old, 1, 4, 1);
    ask_until(f, round_of(0, NULL, 0, 0), has_arrivals, 1);
    send_pull(&old->links[0], 0, 1, 1, 7);
    settle(old, 0);
    fence(f, 1, 1);
    stranger_expect_error(&old->links[0], 7, MST_FAILED_PRECONDITION, "pull of worker-1 refused: an incarnation");
    for (size_t t = 0; t < 2; t++)
        stranger_expect_error(&old->links[t], 1, MST_FAILED_PRECONDITION, "push of worker-1 refused: an incarnation");
    send_pull(&old->links[0], 0, 1, 1, 8);
    stranger_expect_error(&old->links[0], 8, MST_FAILED_PRECONDITION, "pull of worker-1 refused");
    struct worker *new = join(f, 1, 2);
    push(new, 1, 55, 1); // what is here is kept
    static const uint64_t ins[] = {1};
    apply_round(f, 1, ins, 1);
    expect_round(new, 1, 1, -4);
    leave(old);
    leave(new);
}

static void test_pushes_that_cannot_be_are_refused(void **state)
{
    struct fixture *f = *state;
    struct worker *a = join(f, 0, 1);
    struct worker *stranger = join(f, N_WORKERS, 1);
    push_to(a, 0, 3, 1, 1);
    stranger_expect_error(&a->links[0], 3, MST_INVALID_ARGUMENT, "a round after the next");
    struct mst_msg_push meta = meta_of(a, 0, 1, 1);
    meta.offset++;
    send_push(a, &meta, 1, KERNEL * sizeof(float));
    stranger_expect_error(&a->links[0], 1, MST_INVALID_ARGUMENT, "not the unit");
    push_to(a, 0, 1, 1, -1);
    stranger_expect_error(&a->links[0], 1, MST_INVALID_ARGUMENT, "weight -1");
    push_to(stranger, 0, 1, 1, 1);
    stranger_expect_error(&stranger->links[0], 1, MST_INVALID_ARGUMENT, "consistency.workers");
    leave(a);
    leave(stranger);
}

static void test_calls_without_end_do_not_wait(void **state)
{
    struct fixture *f = *state;
    struct worker *a = join(f, 0, 1);
    for (uint64_t call = 1; call <= 5; call++) // the kernel is all that data thread 0 has, and 4 may wait
        send_pull(&a->links[0], 0, 0, 1, call);
    stranger_expect_error(&a->links[0], 5, MST_RESOURCE_EXHAUSTED, "4 calls");
    apply_round(f, 1, NULL, 0);
    uint64_t sum = 0;
    for (unsigned i = 0; i < 4; i++)
        sum += stranger_read(&a->links[0])->call;
    assert_int_equal(sum, 1 + 2 + 3 + 4);
    send_pull(&a->links[0], 0, 0, 2, 6); // there is room again
    apply_round(f, 2, NULL, 0);
    pulled(&a->links[0], 6);
    leave(a);
}

static void test_a_question_is_held_and_a_newer_one_answers_it(void **state)
{
    struct fixture *f = *state;
    struct mst_msg_round quiet = round_of(0, NULL, 0, 0);
    struct mst_msg_round_reply reply = hear(f, ask(f, &quiet)); // known is 0: answered at once
    quiet.known = reply.status;
    uint64_t first = ask(f, &quiet);
    uint64_t second = ask(f, &quiet);
    assert_int_equal(hear(f, first).status, quiet.known);
    struct worker *a = join(f, 0, 1);
    push(a, 1, 2, 1);
    reply = hear(f, second);
    assert_int_equal(reply.n_arrivals, 1);
    assert_true(reply.status > quiet.known);
    leave(a);
}

static void test_fewer_arrivals_than_are_wanted_are_no_news(void **state)
{
    struct fixture *f = *state;
    struct worker *a = join(f, 0, 1);
    struct worker *b = join(f, 1, 1);
    struct mst_msg_round quiet = round_of(0, NULL, 0, 0);
    quiet.known = hear(f, ask(f, &quiet)).status;
    quiet.n_wanted = 2;
    uint64_t first = ask(f, &quiet);
    push(a, 1, 2, 1);
    // On another connection of the chief's loop, but after what the data threads have told it.
    for (uint32_t bucket = 0; bucket < N_THREADS; bucket++)
        settle(a, bucket);
    push(b, 1, 2, 1);
    assert_int_equal(hear(f, first).n_arrivals, 2);
    // One that names what is known anew hears at once of all there is.
    quiet.n_wanted = 3;
    uint64_t second = ask(f, &quiet);
    quiet.n_wanted = 1;
    uint64_t third = ask(f, &quiet);
    assert_int_equal(hear(f, second).n_arrivals, 2);
    assert_int_equal(hear(f, third).n_arrivals, 2);
    // What is stored and applied is told, whoever has come.
    static const uint64_t both[] = {0, 1};
    struct mst_msg_round round = round_of(1, both, 2, 0);
    round.n_wanted = 3;
    ask_until(f, round, has_stored, 1);
    round.act_round = 1;
    ask_until(f, round, has_applied, 1);
    leave(a);
    leave(b);
}

static void test_the_chief_hears_something_within_a_second(void **state)
{
    struct fixture *f = *state;
    struct mst_msg_round quiet = round_of(0, NULL, 0, 0);
    quiet.known = hear(f, ask(f, &quiet)).status;
    assert_int_equal(hear(f, ask(f, &quiet)).status, quiet.known);
}

static void test_decisions_that_cannot_be_are_refused(void **state)
{
    struct fixture *f = *state;
    static const uint64_t absent[] = {0};
    struct mst_msg_round round = round_of(1, absent, 1, 0);
    stranger_expect_error(&f->chief, ask(f, &round), MST_INVALID_ARGUMENT, "contributions that are not here");
    round = round_of(2, NULL, 0, 0);
    stranger_expect_error(&f->chief, ask(f, &round), MST_INVALID_ARGUMENT, "not of the next round");
    round = round_of(0, NULL, 0, 1);
    const double scales[] = {1, 1};
    round.scales = scales;
    round.n_scales = 2;
    stranger_expect_error(&f->chief, ask(f, &round), MST_INVALID_ARGUMENT, "2 scales came for 0 clip groups");
    round = round_of(0, NULL, 0, 0);
    round.term = TERM - 1;
    stranger_expect_error(&f->chief, ask(f, &round), MST_ABORTED, "term 4 is over");
}

static void test_a_map_without_rounds_has_none(void **state)
{
    struct fixture *f = *state;
    struct mst_msg_round round = round_of(0, NULL, 0, 0);
    stranger_expect_error(&f->chief, ask(f, &round), MST_UNAVAILABLE, "does not hold its shards");
    send_map(f, 0, NULL, 0);
    expect_reply(&f->chief, f->call);
    stranger_expect_error(&f->chief, ask(f, &round), MST_INVALID_ARGUMENT, "without synchronous rounds");
}

static bool has_begun(const struct mst_msg_round_reply *reply, uint64_t n)
{
    (void)n;
    return reply->has_begun;
}

// Two closes of that size, with all else that a backup has to know, are more than a message.
static void test_with_replicas_a_close_has_to_fit_what_a_backup_gets(void **state)
{
    struct fixture *f = *state;
    double *values = mst_alloc_array(MST_SUMS_MAX, sizeof *values);
    struct mst_msg_round round = round_of(0, NULL, 0, 0);
    round.close.total_sums = (struct mst_training_sums){.steps = 1, .n_values = MST_SUMS_MAX, .values = values};
    round.close.epoch_sums = round.close.total_sums;
    send_map_with_roles(f, N_WORKERS, NULL);
    expect_reply(&f->chief, f->call);
    struct mst_msg_round small = round_of(0, NULL, 0, 0);
    while (true) { // until the data threads have begun the reign
        uint64_t call = ask(f, &small);
        const struct mst_message *message = stranger_read(&f->chief);
        assert_int_equal(message->call, call);
        if (!(message->flags & MST_FRAME_ERROR))
            break;
    }
    ask_until(f, small, has_begun, 0);
    round.close.round = 1;
    stranger_expect_error(&f->chief, ask(f, &round), MST_INVALID_ARGUMENT, "of a message to a backup, over the limit");
    apply_round(f, 1, NULL, 0); // it goes on
    free(values);
}

// A server that came back: whom it had refused, it refuses.
static void test_a_map_says_who_is_fenced(void **state)
{
    struct fixture *f = *state;
    const uint64_t fenced[] = {0, 1};
    send_map(f, N_WORKERS, fenced, 2);
    expect_reply(&f->chief, f->call);
    apply_round(f, 0, NULL, 0);
    struct worker *old = join(f, 1, 1);
    push_to(old, 0, 1, 4, 1);
    stranger_expect_error(&old->links[0], 1, MST_FAILED_PRECONDITION, "declared dead");
    leave(old);
}

static void test_a_map_of_too_many_workers_is_refused(void **state)
{
    struct fixture *f = *state;
    send_map(f, 1u << 20, NULL, 0);
    stranger_expect_error(&f->chief, f->call, MST_INVALID_ARGUMENT, "past the limit");
}

#define TEST(test, begin) cmocka_unit_test_setup_teardown(test, begin, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_a_round_is_the_weighted_mean_and_answers_everybody, set_up_begun),
        TEST(test_pulls_wait_for_the_beginning_and_for_their_round, set_up_serving),
        TEST(test_a_push_waits_for_the_beginning, set_up_serving),
        TEST(test_an_evaluator_pulls_what_there_is, set_up_serving),
        TEST(test_a_late_push_is_told_that_the_round_is_over, set_up_begun),
        TEST(test_what_a_lost_connection_left_half_is_pushed_again, set_up_begun),
        TEST(test_a_newer_connection_takes_over_what_an_older_reads, set_up_begun),
        TEST(test_a_doubled_push_counts_once, set_up_begun),
        TEST(test_a_fence_refuses_what_comes_and_keeps_what_is_there, set_up_begun),
        TEST(test_a_fence_tells_who_waits, set_up_begun),
        TEST(test_pushes_that_cannot_be_are_refused, set_up_begun),
        TEST(test_calls_without_end_do_not_wait, set_up_begun),
        TEST(test_a_question_is_held_and_a_newer_one_answers_it, set_up_begun),
        TEST(test_fewer_arrivals_than_are_wanted_are_no_news, set_up_begun),
        TEST(test_the_chief_hears_something_within_a_second, set_up_begun),
        TEST(test_decisions_that_cannot_be_are_refused, set_up_begun),
        TEST(test_a_map_without_rounds_has_none, set_up),
        TEST(test_with_replicas_a_close_has_to_fit_what_a_backup_gets, set_up),
        TEST(test_a_map_says_who_is_fenced, set_up),
        TEST(test_a_map_of_too_many_workers_is_refused, set_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
