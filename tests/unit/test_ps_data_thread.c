// A data thread that gets another holding while it serves: with replicas that is how a server comes to a group.
#include "base/alloc.h"
#include "base/metrics.h"
#include "ps/data_thread.h"
#include "rpc_stranger.h"
#include "wire/methods.h"
#include "wire/worker_numbers.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <jansson.h>
#include <stdlib.h>

enum { SMALL = 4, LARGE = 4096 }; // floats

struct fixture {
    struct mst_loop *loop;
    struct mst_optimizer *optimizer;
    struct mst_data_thread *thread;
    struct stranger worker;
};

static int set_up(void **state)
{
    struct fixture *f = *state = mst_alloc(sizeof *f);
    json_t *json = json_pack("{s:s, s:{s:f}}", "class_name", "SGD", "config", "learning_rate", 0.25);
    struct mst_conn *conn;
    int fd;
    assert_int_equal(mst_optimizer_parse(json, "optimizer", &f->optimizer, NULL), MST_OK);
    json_decref(json);
    assert_int_equal(mst_loop_new("data", &f->loop, NULL), MST_OK);
    f->thread = mst_data_thread_new(f->loop, 0, 1000);
    stranger_pair(&f->worker, f->loop, &fd);
    assert_int_equal(mst_conn_new(f->loop, fd, "worker-0", &conn, NULL), MST_OK);
    mst_conn_detach(conn);
    mst_data_thread_adopt(f->thread, conn, 0, 1);
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    mst_data_thread_free(f->thread);
    stranger_close(&f->worker);
    mst_loop_free(f->loop);
    mst_optimizer_free(f->optimizer);
    free(f);
    return 0;
}

static void serve(const struct fixture *f, uint32_t id, uint64_t n_floats)
{
    struct mst_bucket **buckets = mst_alloc_array(1, sizeof *buckets);
    const struct mst_piece piece = {.n_rows = n_floats, .row_floats = 1, .is_whole = true};
    assert_int_equal(mst_bucket_new(id, &piece, 1, f->optimizer, &buckets[0], NULL), MST_OK);
    mst_data_thread_serve(f->thread, mst_holding_new(id, 0, buckets, 1), 1, 1);
}

// A gradient of any bytes.
static void push(struct fixture *f, uint32_t bucket, size_t n_floats)
{
    const struct mst_msg_push push = {.bucket = bucket, .map_term = 1, .map_epoch = 1, .number = 1, .step = 1};
    const struct mst_frame head = {.method = MST_METHOD_PUSH, .call = bucket + 1};
    struct mst_buf meta;
    mst_buf_init(&meta, MST_FRAME_META_MAX);
    assert_int_equal(mst_msg_push_encode(&push, &meta), MST_OK);
    assert_true(stranger_send_frame(&f->worker, &head, mst_buf_view(&meta), n_floats * sizeof(float)));
    mst_buf_fini(&meta);
    const struct mst_message *reply = stranger_read(&f->worker);
    assert_non_null(reply);
    assert_int_equal(reply->method, MST_METHOD_PUSH);
    assert_int_equal(reply->body_bytes, n_floats * sizeof(float));
}

// The buffer that is free was made for the smaller bucket.
static void test_a_larger_bucket_gets_a_buffer_that_it_fits(void **state)
{
    struct fixture *f = *state;
    serve(f, 0, SMALL);
    push(f, 0, SMALL);
    serve(f, 1, LARGE);
    push(f, 1, LARGE);
    push(f, 0, SMALL);
    assert_int_equal(mst_data_thread_counts(f->thread).n_updates, 2); // the last one was a repeat
}

static void send_call(struct fixture *f, uint16_t method, struct mst_buf *meta, size_t n_floats)
{
    const struct mst_frame head = {.method = method, .call = 9};
    assert_true(stranger_send_frame(&f->worker, &head, mst_buf_view(meta), n_floats * sizeof(float)));
    mst_buf_fini(meta);
}

// Taken, it would be higher than all numbers to come, and the worker shut out for good.
static void test_a_number_that_no_chief_gives(void **state)
{
    struct fixture *f = *state;
    static const uint64_t impossible[] = {0, MST_NUMBER_MAX + 1, MST_NO_NUMBER};
    const struct mst_metric *wrong = mst_metric_counter("muster_wrong_numbers_total", "", NULL);
    int64_t n = mst_metric_read(wrong);
    struct mst_buf meta;
    serve(f, 0, SMALL);
    for (size_t i = 0; i < 3; i++) {
        const struct mst_msg_push push = {.map_term = 1, .map_epoch = 1, .number = impossible[i], .step = 1};
        mst_buf_init(&meta, MST_FRAME_META_MAX);
        assert_int_equal(mst_msg_push_encode(&push, &meta), MST_OK);
        send_call(f, MST_METHOD_PUSH, &meta, SMALL);
        stranger_expect_error(&f->worker, 9, MST_FAILED_PRECONDITION, "worker-0 goes by the number");
        const struct mst_msg_pull pull = {.map_term = 1, .map_epoch = 1, .number = impossible[i]};
        mst_buf_init(&meta, MST_FRAME_META_MAX);
        assert_int_equal(mst_msg_pull_encode(&pull, &meta), MST_OK);
        send_call(f, MST_METHOD_PULL, &meta, 0);
        stranger_expect_error(&f->worker, 9, MST_FAILED_PRECONDITION, "start that worker again");
    }
    const struct mst_msg_pull other = {.map_term = 1, .map_epoch = 1, .worker = 3, .number = 1};
    mst_buf_init(&meta, MST_FRAME_META_MAX);
    assert_int_equal(mst_msg_pull_encode(&other, &meta), MST_OK);
    send_call(f, MST_METHOD_PULL, &meta, 0);
    stranger_expect_error(&f->worker, 9, MST_INVALID_ARGUMENT, "worker-0 pulled as worker-3");
    assert_int_equal(mst_metric_read(wrong), n + 6);
    assert_int_equal(mst_data_thread_counts(f->thread).n_refused, 7);
    push(f, 0, SMALL); // its own number is taken as ever
    assert_int_equal(mst_data_thread_counts(f->thread).n_updates, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_a_larger_bucket_gets_a_buffer_that_it_fits, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_number_that_no_chief_gives, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
