// A follower in the hands of a stranger that says it is its primary: what is refused is told by name, changes nothing
// and does not count, so that the next good operation has the number that the refused one had.
#include "base/alloc.h"
#include "ps/data_thread.h"
#include "ps/replication_private.h"
#include "rpc/conn.h"
#include "rpc_frames.h"
#include "rpc_stranger.h"
#include "wire/messages.h"
#include "wire/methods.h"
#include "wire/worker_numbers.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

enum { N_PS = 2, SELF = 1, ROWS = 6, FLOATS = 4 * ROWS, BODY = FLOATS * 4, LEASE_MS = 60000, BUCKET = 5, WORKER = 1 };

struct fixture {
    struct mst_loop *loop;
    struct mst_optimizer *optimizer;
    struct mst_identity identity;
    struct mst_data_thread *thread;
    struct mst_holding *holding;
    struct stranger primary;
};

static const char *const addresses[N_PS] = {"ps-0", "ps-1"}; // nobody is to be dialled
static const uint64_t threads[N_PS] = {1, 1};

static void on_status(void *arg)
{
    (void)arg;
}

static void connect_primary(struct fixture *f)
{
    struct mst_conn *conn;
    int fd;
    stranger_pair(&f->primary, f->loop, &fd);
    assert_int_equal(mst_conn_new(f->loop, fd, "ps-0", &conn, NULL), MST_OK);
    mst_conn_detach(conn);
    mst_data_thread_adopt_ps(f->thread, conn, 0, 100);
}

static int set_up(void **state)
{
    struct fixture *f = *state = mst_alloc(sizeof *f);
    *f = (struct fixture){.identity = {.job_name = "followed", .role = MST_PEER_PS, .index = SELF, .incarnation = 101}};
    json_t *json = json_pack("{s:s, s:{s:f}}", "class_name", "Adam", "config", "learning_rate", 0.25);
    assert_int_equal(mst_optimizer_parse(json, "optimizer", &f->optimizer, NULL), MST_OK);
    json_decref(json);
    assert_int_equal(mst_loop_new("all", &f->loop, NULL), MST_OK);
    f->thread = mst_data_thread_new(f->loop, 0, LEASE_MS);
    struct mst_replicating_config config = {.identity = &f->identity,
                                            .ps = SELF,
                                            .addresses = addresses,
                                            .threads = threads,
                                            .n_ps = N_PS,
                                            .lease_ms = LEASE_MS,
                                            .control = f->loop,
                                            .on_status = on_status};
    mst_data_thread_replicate(f->thread, &config);
    struct mst_bucket **buckets = mst_alloc_array(1, sizeof *buckets);
    const struct mst_piece piece = {.variable = 0, .n_rows = ROWS, .row_floats = 4, .is_whole = true};
    assert_int_equal(mst_bucket_new(BUCKET, &piece, 1, f->optimizer, &buckets[0], NULL), MST_OK);
    memset(buckets[0]->current->floats, 0, BODY);
    f->holding = mst_holding_new(0, 0, buckets, 1);
    mst_data_thread_serve(f->thread, f->holding, 1, 1);
    connect_primary(f);
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    stranger_close(&f->primary);
    mst_data_thread_free(f->thread);
    mst_loop_free(f->loop);
    mst_optimizer_free(f->optimizer);
    free(f);
    return 0;
}

static void give_role(struct fixture *f, enum mst_replica_role role)
{
    struct mst_roles roles;
    mst_roles_init(&roles, N_PS, 0);
    roles.epoch = (struct mst_epoch){1, 1};
    roles.incarnations[0] = 100;
    roles.incarnations[SELF] = 101;
    roles.groups[0].n_backups = role == MST_REPLICA_BACKUP;
    roles.groups[0].backups[0] = SELF;
    roles.groups[0].joiner = role == MST_REPLICA_JOINER ? SELF : MST_NO_PS;
    mst_holding_store_roles(f->holding, &roles);
    mst_holding_act(f->holding, &roles.epoch);
    mst_roles_fini(&roles);
}

static struct mst_msg_op push(uint64_t seq)
{
    return (struct mst_msg_op){.term = 1,
                               .n = 1,
                               .seq = seq,
                               .kind = MST_OP_PUSH,
                               .bucket = BUCKET,
                               .version = seq,
                               .worker = WORKER,
                               .number = 1,
                               .step = seq,
                               .learning_rate = 0.25};
}

static void say(struct fixture *f, uint16_t method, struct mst_buf *meta, size_t body_bytes)
{
    const struct mst_frame head = {.method = method, .call = 7};
    assert_true(stranger_send_frame(&f->primary, &head, mst_buf_view(meta), body_bytes));
    mst_buf_fini(meta);
}

static void send_op(struct fixture *f, const struct mst_msg_op *op, size_t body_bytes)
{
    struct mst_buf meta;
    mst_buf_init(&meta, MST_FRAME_META_MAX);
    assert_int_equal(mst_msg_op_encode(op, &meta), MST_OK);
    say(f, MST_METHOD_OP, &meta, body_bytes);
}

static void send_sweep(struct fixture *f, const struct mst_msg_sweep *sweep, size_t body_bytes)
{
    struct mst_buf meta;
    mst_buf_init(&meta, MST_FRAME_META_MAX);
    assert_int_equal(mst_msg_sweep_encode(sweep, &meta), MST_OK);
    say(f, MST_METHOD_SWEEP, &meta, body_bytes);
}

static void expect_has(struct fixture *f, uint64_t seq)
{
    const struct mst_message *message = stranger_read(&f->primary);
    struct mst_arena arena;
    struct mst_msg_op_reply reply;
    assert_non_null(message);
    assert_int_equal(message->flags, MST_FRAME_REPLY);
    mst_arena_init(&arena, MST_MSG_ARENA_MAX);
    assert_int_equal(mst_msg_op_reply_decode(message->meta, &arena, &reply, NULL), MST_OK);
    mst_arena_fini(&arena);
    assert_int_equal(reply.seq, seq);
}

// Nothing of what was refused is here: the first operation has its number, and is the first one of the bucket.
static void expect_untouched(struct fixture *f)
{
    const struct mst_bucket *bucket = f->holding->buckets[0];
    assert_int_equal(bucket->n_updates, 0);
    struct mst_msg_op first = push(1);
    send_op(f, &first, BODY);
    expect_has(f, 1);
    assert_int_equal(bucket->n_updates, 1);
    assert_int_equal(bucket->clients.rows[WORKER].step, 1);
}

// What a later version of this program may send: field 6 of the message is the kind.
static void test_an_operation_of_another_kind(void **state)
{
    static const size_t bodies[] = {0, BODY, 8};
    struct fixture *f = *state;
    give_role(f, MST_REPLICA_BACKUP);
    for (size_t i = 0; i < sizeof bodies / sizeof bodies[0]; i++) {
        static const uint8_t kind[] = {6 << 3, MST_OP_KINDS};
        struct mst_msg_op op = push(1);
        struct mst_buf meta;
        mst_buf_init(&meta, MST_FRAME_META_MAX);
        assert_int_equal(mst_msg_op_encode(&op, &meta), MST_OK);
        assert_int_equal(mst_buf_append(&meta, kind, sizeof kind), MST_OK); // the last one counts
        say(f, MST_METHOD_OP, &meta, bodies[i]);
        stranger_expect_error(&f->primary, 7, MST_INVALID_ARGUMENT, "kind");
    }
    expect_untouched(f);
}

static void test_bodies_that_are_not_the_bucket(void **state)
{
    static const size_t bodies[] = {BODY - 4, BODY + 4, 1 << 20};
    struct fixture *f = *state;
    give_role(f, MST_REPLICA_BACKUP);
    struct mst_msg_op op = push(1);
    for (size_t i = 0; i < sizeof bodies / sizeof bodies[0]; i++) {
        send_op(f, &op, bodies[i]);
        stranger_expect_error(&f->primary, 7, MST_INVALID_ARGUMENT, "bucket 5");
    }
    send_op(f, &op, 0); // one that is only counted, where it has to be applied
    stranger_expect_error(&f->primary, 7, MST_ABORTED, "does not follow");
    op.kind = MST_OP_FENCE;
    send_op(f, &op, BODY);
    stranger_expect_error(&f->primary, 7, MST_INVALID_ARGUMENT, "bucket 5");
    expect_untouched(f);
}

static void test_what_is_out_of_range(void **state)
{
    struct fixture *f = *state;
    give_role(f, MST_REPLICA_BACKUP);
    struct mst_msg_op op = push(1);
    op.worker = UINT32_MAX;
    send_op(f, &op, BODY);
    stranger_expect_error(&f->primary, 7, MST_OUT_OF_RANGE, "worker index 4294967295");
    static const uint64_t impossible[] = {0, MST_NUMBER_MAX + 1, MST_NO_NUMBER};
    static const enum mst_op_kind kinds[] = {MST_OP_PUSH, MST_OP_FENCE, MST_OP_PULLED};
    for (size_t i = 0; i < 9; i++) {
        op = push(1);
        op.kind = kinds[i / 3];
        op.number = impossible[i % 3];
        send_op(f, &op, op.kind == MST_OP_PUSH ? BODY : 0);
        stranger_expect_error(&f->primary, 7, MST_FAILED_PRECONDITION, "goes by the number");
    }
    op = push(1);
    op.bucket = 77;
    send_op(f, &op, BODY);
    stranger_expect_error(&f->primary, 7, MST_ABORTED, "ps-1 does not follow ps-0 in this (epoch 1.1)");
    op = push(1);
    op.group = UINT32_MAX;
    send_op(f, &op, BODY);
    stranger_expect_error(&f->primary, 7, MST_ABORTED, "does not follow");
    op = push(1);
    op.n = 0; // roles before those that are stored here
    send_op(f, &op, BODY);
    stranger_expect_error(&f->primary, 7, MST_ABORTED, "does not follow");
    op = push(UINT64_MAX); // answered with what is here
    send_op(f, &op, BODY);
    expect_has(f, 0);
    expect_untouched(f);
}

// The link's own checksum: the connection ends, and the primary sends again what was not answered.
static void test_a_body_that_changed_on_its_way(void **state)
{
    struct fixture *f = *state;
    give_role(f, MST_REPLICA_BACKUP);
    for (size_t bit = 0; bit < 8 * (BODY + MST_FRAME_CRC_BYTES); bit += 97) {
        const struct mst_frame head = {.flags = MST_FRAME_BODY_CRC, .method = MST_METHOD_OP, .call = 7};
        const struct mst_msg_op op = push(1);
        struct mst_buf meta, bytes;
        mst_buf_init(&meta, MST_FRAME_META_MAX);
        mst_buf_init(&bytes, 1 << 20);
        assert_int_equal(mst_msg_op_encode(&op, &meta), MST_OK);
        rpc_append_frame(&bytes, &head, mst_buf_view(&meta), BODY);
        bytes.data[MST_FRAME_HEADER_BYTES + meta.len + bit / 8] ^= (uint8_t)(1u << (bit % 8));
        assert_true(stranger_send(&f->primary, bytes.data, bytes.len));
        stranger_expect_error(&f->primary, 7, MST_DATA_LOSS, "crc32c");
        stranger_expect_end(&f->primary);
        stranger_close(&f->primary);
        connect_primary(f);
        mst_buf_fini(&meta);
        mst_buf_fini(&bytes);
    }
    expect_untouched(f);
}

static void test_a_sweep_that_does_not_fit(void **state)
{
    struct fixture *f = *state;
    give_role(f, MST_REPLICA_JOINER);
    const struct mst_msg_client_row far = {.worker = UINT32_MAX, .number = 1};
    uint64_t *fenced = mst_alloc_array(MST_WORKERS_MAX + 1, sizeof *fenced);
    for (size_t w = 0; w <= MST_WORKERS_MAX; w++)
        fenced[w] = 1;
    struct mst_msg_sweep sweep = {.term = 1, .n = 1, .seq = 3, .bucket = BUCKET, .is_first = true};
    send_sweep(f, &sweep, 3 * BODY - 4);
    stranger_expect_error(&f->primary, 7, MST_INVALID_ARGUMENT, "bucket 5 came with 284 bytes, it has 288");
    send_sweep(f, &sweep, 0);
    stranger_expect_error(&f->primary, 7, MST_ABORTED, "does not follow");
    sweep.rows = &far;
    sweep.n_rows = 1;
    send_sweep(f, &sweep, 3 * BODY);
    stranger_expect_error(&f->primary, 7, MST_OUT_OF_RANGE, "worker index 4294967295");
    sweep.n_rows = 0;
    sweep.fenced = fenced;
    sweep.n_fenced = MST_WORKERS_MAX + 1;
    send_sweep(f, &sweep, 3 * BODY);
    stranger_expect_error(&f->primary, 7, MST_OUT_OF_RANGE, "fences of 65537 workers are past the limit");
    fenced[1] = MST_NO_NUMBER;
    sweep.n_fenced = 2;
    send_sweep(f, &sweep, 3 * BODY);
    stranger_expect_error(&f->primary, 7, MST_FAILED_PRECONDITION, "worker-1 goes by the number");
    assert_false(mst_replica_is_swept(&f->holding->replication->replica));
    sweep.n_fenced = 1;
    send_sweep(f, &sweep, 3 * BODY);
    assert_int_equal(stranger_read(&f->primary)->flags, MST_FRAME_REPLY);
    assert_true(mst_replica_is_swept(&f->holding->replication->replica));
    free(fenced);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_an_operation_of_another_kind, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_bodies_that_are_not_the_bucket, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_what_is_out_of_range, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_body_that_changed_on_its_way, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_sweep_that_does_not_fit, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
