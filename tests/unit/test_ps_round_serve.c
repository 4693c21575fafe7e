// The direct carrier's part of rounds, and a round that has to wait for a buffer: one data thread, run by the test.
#include "ps/round_serve.h"

#include "base/alloc.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

enum { N_WORKERS = 2, N = 6 };

struct fixture {
    struct mst_loop *loop;
    struct mst_optimizer *optimizer;
    struct mst_bucket *bucket; // the thread's
    struct mst_data_thread *thread;
    struct mst_holding *holding;
    struct mst_round_report report;
    struct mst_round_order order;
    unsigned n_reports;
};

// What the last answer said.
struct heard {
    unsigned n;
    uint32_t bucket;
    uint64_t counter;
    float first;
    struct mst_msg_turn turn;
};

static void on_answer(void *arg, uint32_t bucket, struct mst_version *version, const struct mst_msg_turn *turn,
                      bool is_finite)
{
    struct heard *heard = arg;
    assert_true(is_finite);
    *heard = (struct heard){heard->n + 1, bucket, version->counter, version->floats[0], *turn};
    mst_version_unref(version);
}

static void on_report(void *arg)
{
    ((struct fixture *)arg)->n_reports++;
}

static int set_up(void **state)
{
    struct fixture *f = *state = mst_alloc(sizeof *f);
    json_t *json = json_pack("{s:s, s:{s:f}}", "class_name", "SGD", "config", "learning_rate", 1.0);
    assert_int_equal(mst_optimizer_parse(json, "optimizer", &f->optimizer, NULL), MST_OK);
    json_decref(json);
    assert_int_equal(mst_loop_new("data", &f->loop, NULL), MST_OK);
    f->thread = mst_data_thread_new(f->loop, 0, 1000);
    const struct mst_piece pieces[] = {{.variable = 0, .n_rows = 2, .row_floats = 2, .is_whole = true},
                                       {.variable = 1, .n_rows = 2, .row_floats = 1, .is_whole = true}};
    struct mst_bucket **buckets = mst_alloc(sizeof(struct mst_bucket *));
    assert_int_equal(mst_bucket_new(0, pieces, 2, f->optimizer, &buckets[0], NULL), MST_OK);
    f->bucket = buckets[0];
    f->holding = mst_holding_new(0, 0, buckets, 1);
    mst_data_thread_serve(f->thread, f->holding, 1, 1);
    return 0;
}

static int set_up_rounds(void **state)
{
    set_up(state);
    struct fixture *f = *state;
    struct mst_round_places_config places = {
        .buckets = &f->bucket, .n_buckets = 1, .optimizer = f->optimizer, .n_workers = N_WORKERS};
    struct mst_round_serving_config config = {
        .report = &f->report, .order = &f->order, .control = f->loop, .on_report = on_report, .arg = f};
    assert_int_equal(mst_round_places_new(&places, &config.rounds, NULL), MST_OK);
    mst_round_report_init(&f->report, N_WORKERS, 0);
    mst_holding_serve_rounds(f->holding, &config);
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    mst_data_thread_free(f->thread);
    mst_round_report_fini(&f->report);
    mst_loop_free(f->loop);
    mst_optimizer_free(f->optimizer);
    free(f);
    return 0;
}

// A close that deals unit 10 + worker to both, acted on at once.
static void order(struct fixture *f, uint64_t round, const uint64_t *ins, size_t n_ins)
{
    static const struct mst_msg_part plan[N_WORKERS] = {{0, 10}, {1, 11}};
    f->order = (struct mst_round_order){
        .has_close = true,
        .close = {.round = round, .n_ins = n_ins, .ins = ins, .next = {.n_plan = N_WORKERS, .plan = plan}},
        .acts = true,
        .act_round = round};
    mst_round_serve_order(f->holding);
}

static mst_status contribute(struct fixture *f, uint32_t worker, uint64_t round, float gradient, struct heard *heard)
{
    const float kernel[] = {gradient, gradient, gradient, gradient};
    const float bias[] = {gradient, gradient};
    const float *const pieces[] = {kernel, bias};
    const struct mst_gradients gradients = {.pieces = pieces};
    const struct mst_msg_push push = {
        .worker = worker, .number = 1, .step = round, .lease = 1, .offset = 11 + worker, .weight = 1};
    return mst_data_thread_contribute(f->thread, &push, &gradients, on_answer, heard, NULL);
}

static struct mst_round_progress progress_of(struct fixture *f)
{
    struct mst_round_progress progress;
    mst_loop_poll(f->loop);
    mst_round_report_read(&f->report, &progress);
    return progress;
}

static void test_without_rounds_there_is_nothing_to_contribute_to(void **state)
{
    struct fixture *f = *state;
    struct heard heard = {0};
    assert_int_equal(contribute(f, 0, 1, 1, &heard), MST_UNAVAILABLE);
    const struct mst_msg_pull pull = {.round = 0};
    assert_int_equal(mst_data_thread_await(f->thread, &pull, on_answer, &heard, NULL), MST_UNAVAILABLE);
    mst_data_thread_forget(f->thread, &heard);
    mst_round_serve_fence(f->holding, 0, 1);
}

static void test_a_contribution_is_answered_when_its_round_is_applied(void **state)
{
    struct fixture *f = *state;
    struct heard first = {0};
    struct heard second = {0};
    assert_int_equal(contribute(f, 0, 1, 1, &first), MST_UNAVAILABLE); // not begun
    order(f, 0, NULL, 0);
    assert_int_equal(contribute(f, 0, 1, 1, &first), MST_OK);
    assert_int_equal(contribute(f, 1, 1, 4, &second), MST_OK);
    static const uint64_t both[] = {0, 1};
    assert_true(progress_of(f).applied == 0 && f->n_reports > 0);
    order(f, 1, both, 2);
    assert_true(first.n == 1 && first.counter == 1 && first.first == -2.5f && first.turn.unit == 10);
    assert_true(second.n == 1 && second.first == -2.5f && second.turn.unit == 11);
    assert_int_equal(progress_of(f).applied, 1);
    // Once more, too late: answered within the call.
    assert_int_equal(contribute(f, 1, 1, 4, &second), MST_OK);
    assert_true(second.n == 2 && second.first == -2.5f);
    assert_int_equal(contribute(f, 1, 3, 4, &second), MST_INVALID_ARGUMENT);
    mst_round_serve_fence(f->holding, 1, 1);
    assert_int_equal(contribute(f, 1, 2, 4, &second), MST_FAILED_PRECONDITION);
}

static void test_a_pull_waits_for_its_round(void **state)
{
    struct fixture *f = *state;
    struct heard begin = {0};
    struct heard next = {0};
    struct heard gone = {0};
    struct mst_msg_pull pull = {.worker = 1, .round = 0};
    assert_int_equal(mst_data_thread_await(f->thread, &pull, on_answer, &begin, NULL), MST_OK);
    pull.round = 1;
    assert_int_equal(mst_data_thread_await(f->thread, &pull, on_answer, &next, NULL), MST_OK);
    assert_int_equal(mst_data_thread_await(f->thread, &pull, on_answer, &gone, NULL), MST_OK);
    mst_data_thread_forget(f->thread, &gone);
    assert_int_equal(begin.n, 0);
    order(f, 0, NULL, 0);
    assert_true(begin.n == 1 && next.n == 0);
    order(f, 1, NULL, 0);
    assert_true(next.n == 1 && next.turn.round == 1 && next.turn.unit == 11);
    assert_int_equal(mst_data_thread_await(f->thread, &pull, on_answer, &next, NULL), MST_OK);
    assert_true(next.n == 2 && gone.n == 0);
    pull.bucket = 9;
    assert_int_equal(mst_data_thread_await(f->thread, &pull, on_answer, &next, NULL), MST_NOT_FOUND);
}

static void test_a_round_is_applied_when_a_reader_lets_go(void **state)
{
    struct fixture *f = *state;
    struct heard heard = {0};
    struct mst_version *held[MST_BUCKET_VERSIONS];
    static const uint64_t ins[] = {0};
    order(f, 0, NULL, 0);
    for (uint64_t round = 1; round <= MST_BUCKET_VERSIONS; round++) {
        held[round - 1] = mst_bucket_pull(f->bucket, MST_NO_WORKER, 0);
        assert_int_equal(contribute(f, 0, round, 1, &heard), MST_OK);
        order(f, round, ins, 1);
    }
    assert_int_equal(heard.n, MST_BUCKET_VERSIONS - 1);
    struct mst_round_progress progress = progress_of(f);
    assert_true(progress.stored == MST_BUCKET_VERSIONS && progress.applied == MST_BUCKET_VERSIONS - 1);
    mst_version_unref(held[0]);
    assert_int_equal(progress_of(f).applied, MST_BUCKET_VERSIONS); // from the loop
    assert_int_equal(heard.n, MST_BUCKET_VERSIONS);
    assert_true(heard.first == -(float)MST_BUCKET_VERSIONS && held[1]->floats[0] == -1);
    for (size_t i = 1; i < MST_BUCKET_VERSIONS; i++)
        mst_version_unref(held[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_without_rounds_there_is_nothing_to_contribute_to, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_contribution_is_answered_when_its_round_is_applied, set_up_rounds,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_a_pull_waits_for_its_round, set_up_rounds, tear_down),
        cmocka_unit_test_setup_teardown(test_a_round_is_applied_when_a_reader_lets_go, set_up_rounds, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
