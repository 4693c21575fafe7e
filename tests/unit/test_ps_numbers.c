// Worker numbers that no chief gives, and indexes past the limit, in every message of a parameter server that carries
// one: refused by name, counted, and nothing else is changed.
#include "base/metrics.h"
#include "ps_rounds_fixture.h"
#include "wire/worker_numbers.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static const uint64_t impossible[] = {MST_NUMBER_MAX + 1, UINT64_MAX / 2, MST_NO_NUMBER};
enum { N_IMPOSSIBLE = sizeof impossible / sizeof impossible[0] };

static int64_t n_wrong(void)
{
    return mst_metric_read(mst_metric_counter("muster_wrong_numbers_total", "", NULL));
}

static void expect_refused(struct stranger *stranger, uint64_t call, int64_t n_before)
{
    stranger_expect_error(stranger, call, MST_FAILED_PRECONDITION, "goes by the number");
    assert_int_equal(n_wrong(), n_before + 1);
}

static void test_a_greeting(void **state)
{
    struct fixture *f = *state;
    for (size_t i = 0; i <= N_IMPOSSIBLE; i++) {
        struct stranger worker;
        struct mst_msg_greeting greeting;
        struct mst_buf meta;
        int64_t n = n_wrong();
        mst_identity_greet(&f->identity, &greeting);
        greeting.role = MST_PEER_WORKER;
        greeting.data_thread = 0;
        greeting.index = i < N_IMPOSSIBLE ? 1 : MST_WORKERS_MAX;
        greeting.number = i < N_IMPOSSIBLE ? impossible[i] : 1;
        mst_buf_init(&meta, MST_FRAME_META_MAX);
        assert_int_equal(mst_msg_greeting_encode(&greeting, &meta), MST_OK);
        stranger_connect(&worker, f->control, mst_ps_port(f->ps));
        send_meta(&worker, MST_METHOD_GREETING, 1, &meta);
        if (i < N_IMPOSSIBLE)
            expect_refused(&worker, 1, n);
        else
            stranger_expect_error(&worker, 1, MST_OUT_OF_RANGE, "worker index 65536 is past the limit");
        stranger_expect_end(&worker);
        stranger_close(&worker);
    }
}

static void test_pushes_and_pulls_of_rounds(void **state)
{
    struct fixture *f = *state;
    struct worker *a = join(f, 0, 1);
    for (size_t i = 0; i < N_IMPOSSIBLE; i++) {
        struct mst_msg_push push = meta_of(a, 0, 1, 1);
        int64_t n = n_wrong();
        push.number = impossible[i];
        send_push(a, &push, 77, KERNEL * sizeof(float));
        expect_refused(&a->links[0], 1, n);
        const struct mst_msg_pull pull = {.bucket = 0, .number = impossible[i]};
        struct mst_buf bytes;
        mst_buf_init(&bytes, SIZE_MAX / 4);
        append_pull(&bytes, &pull, 5);
        assert_true(stranger_send(&a->links[0], bytes.data, bytes.len));
        mst_buf_fini(&bytes);
        expect_refused(&a->links[0], 5, n + 1);
    }
    static const uint64_t ins[] = {0};
    push(a, 1, 2, 1); // under its own number
    ask_until(f, round_of(0, NULL, 0, 0), has_arrivals, 1);
    apply_round(f, 1, ins, 1);
    expect_round(a, 1, 1, -2);
    leave(a);
}

static void test_a_fence(void **state)
{
    struct fixture *f = *state;
    for (size_t i = 0; i < N_IMPOSSIBLE; i++) {
        const struct mst_msg_fence fence = {.term = TERM, .worker = 0, .number = impossible[i]};
        struct mst_buf meta;
        int64_t n = n_wrong();
        mst_buf_init(&meta, MST_FRAME_META_MAX);
        assert_int_equal(mst_msg_fence_encode(&fence, &meta), MST_OK);
        send_meta(&f->chief, MST_METHOD_FENCE, ++f->call, &meta);
        expect_refused(&f->chief, f->call, n);
    }
    static const uint64_t ins[] = {0};
    struct worker *a = join(f, 0, 1);
    push(a, 1, 2, 1); // nobody is fenced
    ask_until(f, round_of(0, NULL, 0, 0), has_arrivals, 1);
    apply_round(f, 1, ins, 1);
    expect_round(a, 1, 1, -2);
    leave(a);
}

static void test_a_cut(void **state)
{
    struct fixture *f = *state;
    for (size_t i = 0; i < N_IMPOSSIBLE; i++) {
        const struct mst_msg_client_row row = {.worker = 1, .number = impossible[i], .step = 1};
        const struct mst_msg_cut cut = {.term = TERM, .id = 1, .phase = MST_CUT_ADMIT, .n_rows = 1, .rows = &row};
        struct mst_buf meta;
        int64_t n = n_wrong();
        mst_buf_init(&meta, MST_FRAME_META_MAX);
        assert_int_equal(mst_msg_cut_encode(&cut, &meta), MST_OK);
        send_meta(&f->chief, MST_METHOD_CUT, ++f->call, &meta);
        expect_refused(&f->chief, f->call, n);
    }
}

// Then one that is right is taken.
static void test_a_map(void **state)
{
    struct fixture *f = *state;
    for (size_t i = 0; i < N_IMPOSSIBLE; i++) {
        const uint64_t fenced[] = {0, impossible[i]};
        int64_t n = n_wrong();
        send_map(f, N_WORKERS, fenced, 2);
        expect_refused(&f->chief, f->call, n);
        const struct mst_msg_client_row row = {.number = impossible[i], .step = 1};
        const struct mst_msg_map map = {.term = TERM, .epoch = 1, .n_rows = 1, .rows = &row};
        send_map_of(f, &map);
        expect_refused(&f->chief, f->call, n + 1);
    }
    const uint64_t fenced[] = {0, 3};
    send_map(f, N_WORKERS, fenced, 2);
    expect_reply(&f->chief, f->call);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_a_greeting, set_up_serving, tear_down),
        cmocka_unit_test_setup_teardown(test_pushes_and_pulls_of_rounds, set_up_begun, tear_down),
        cmocka_unit_test_setup_teardown(test_a_fence, set_up_begun, tear_down),
        cmocka_unit_test_setup_teardown(test_a_cut, set_up_begun, tear_down),
        cmocka_unit_test_setup_teardown(test_a_map, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
