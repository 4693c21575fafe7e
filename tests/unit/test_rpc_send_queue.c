// The queue of frames to be written: what goes out byte by byte, and when bodies are released.
#include "rpc/send_queue.h"

#include "base/alloc.h"
#include "base/crc32c.h"
#include "base/rng.h"
#include "muster/status.h"
#include "rpc_frames.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

enum { N_FRAMES = 40, MAX_PARTS = 4, OUT_MAX = 4 << 20 };

#define SEED UINT64_C(20261124)

struct frame_body {
    uint8_t *data;
    struct iovec parts[MAX_PARTS];
    size_t *n_released;
    size_t number;
    bool is_released;
};

static void on_release(void *arg)
{
    struct frame_body *body = arg;
    assert_false(body->is_released);
    assert_int_equal(*body->n_released, body->number); // in the order of adding
    body->is_released = true;
    ++*body->n_released;
}

struct fixture {
    struct mst_send_queue queue;
    struct mst_buf expected;
    struct mst_buf out;
    struct frame_body bodies[N_FRAMES];
    size_t ends[N_FRAMES]; // where each frame ends in the stream
    size_t n_added;
    size_t n_released;
};

static int set_up(void **state)
{
    struct fixture *f = *state = mst_alloc(sizeof *f);
    mst_buf_init(&f->expected, OUT_MAX);
    mst_buf_init(&f->out, OUT_MAX);
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    mst_send_queue_fini(&f->queue);
    for (size_t i = 0; i < f->n_added; i++)
        free(f->bodies[i].data);
    mst_buf_fini(&f->expected);
    mst_buf_fini(&f->out);
    free(f);
    return 0;
}

// Adds a frame with a body in parts, the first and the last of them empty.
static void add(struct fixture *f, size_t meta_bytes, size_t body_bytes, uint8_t flags)
{
    struct frame_body *body = &f->bodies[f->n_added];
    *body = (struct frame_body){.data = mst_alloc(body_bytes), .n_released = &f->n_released, .number = f->n_added};
    uint64_t call = f->n_added;
    rpc_fill(body->data, body_bytes, call);
    body->parts[0] = (struct iovec){NULL, 0};
    body->parts[1] = (struct iovec){body->data, body_bytes / 3};
    body->parts[2] = (struct iovec){body->data + body_bytes / 3, body_bytes - body_bytes / 3};
    body->parts[3] = (struct iovec){body->data, 0};
    uint8_t *meta = mst_alloc(meta_bytes);
    rpc_fill(meta, meta_bytes, call + 1);
    struct mst_frame head = {.flags = flags, .method = 5, .call = call};
    struct mst_body sent = {.parts = body->parts, .n_parts = MAX_PARTS, .release = on_release, .arg = body};
    mst_send_queue_add(&f->queue, &head, (struct mst_bytes){meta, meta_bytes}, &sent, 100 + call);
    if (!body_bytes)
        head.flags &= (uint8_t)~MST_FRAME_BODY_CRC; // nothing to sum up
    rpc_append_frame(&f->expected, &head, (struct mst_bytes){meta, meta_bytes}, body_bytes);
    f->ends[f->n_added++] = f->expected.len;
    free(meta);
}

// Writes at most n bytes as sendmsg would, from at most max parts.
static void write_some(struct fixture *f, size_t n, size_t max)
{
    struct iovec iov[64];
    size_t n_parts = mst_send_queue_gather(&f->queue, iov, max), n_written = 0;
    assert_true(n_parts <= max);
    for (size_t i = 0; i < n_parts; i++) {
        assert_true(iov[i].iov_len > 0);
        size_t len = iov[i].iov_len < n - n_written ? iov[i].iov_len : n - n_written;
        assert_int_equal(mst_buf_append(&f->out, iov[i].iov_base, len), MST_OK);
        n_written += len;
    }
    mst_send_queue_advance(&f->queue, n_written);
    size_t n_whole = 0;
    while (n_whole < f->n_added && f->ends[n_whole] <= f->out.len)
        n_whole++;
    assert_int_equal(f->n_released, n_whole); // at its last byte, and not before
}

// Adds a frame or writes some, as the number says.
static void add_or_write(struct fixture *f, uint32_t r)
{
    size_t meta_bytes = r % 5 == 0 ? 0 : r / 16 % 400, body_bytes = r % 7 == 0 ? 0 : r / 64 % 3000;
    if (f->n_added < N_FRAMES && r % 3 == 0)
        add(f, meta_bytes, body_bytes, r >> 31 ? MST_FRAME_BODY_CRC : 0);
    else if (f->queue.n)
        write_some(f, 1 + r / 8 % 4000, 1 + r / 1024 % 20);
    assert_int_equal(f->queue.n, f->n_added - f->n_released);
    assert_int_equal(mst_send_queue_oldest_ms(&f->queue), f->queue.n ? 100 + f->n_released : 0);
}

static void test_random_writes(void **state)
{
    struct fixture *f = *state;
    print_message("seed %llu\n", (unsigned long long)SEED);
    for (uint64_t run = 0; run < 30; run++) {
        struct mst_rng_key key = mst_rng_key_of(SEED, "writes", run);
        for (uint64_t i = 0; f->n_added < N_FRAMES || f->queue.n; i++)
            add_or_write(f, mst_rng_word(key, i));
        assert_int_equal(f->out.len, f->expected.len);
        assert_memory_equal(f->out.data, f->expected.data, f->out.len);
        tear_down(state);
        set_up(state);
        f = *state;
    }
}

// Their CRC is right however little of a piece a write takes.
static void test_bodies_with_a_crc_go_in_pieces(void **state)
{
    struct fixture *f = *state;
    struct mst_rng_key key = mst_rng_key_of(SEED, "pieces", 0);
    const size_t sizes[] = {MST_CRC32C_PIECE_BYTES, 3 * MST_CRC32C_PIECE_BYTES + 17, 1, 3 * MST_CRC32C_PIECE_BYTES, 0};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        add(f, 20, sizes[i], MST_FRAME_BODY_CRC);
    for (uint64_t i = 0; f->queue.n; i++) {
        struct iovec iov[64];
        size_t n_parts = mst_send_queue_gather(&f->queue, iov, 64), n_bytes = 0;
        for (size_t part = 0; part < n_parts; part++)
            n_bytes += iov[part].iov_len;
        assert_in_range(n_bytes, 1, MST_CRC32C_PIECE_BYTES + (MST_FRAME_HEADER_BYTES + 20 + 4) * f->queue.n);
        write_some(f, 1 + mst_rng_word(key, i) % (2 * n_bytes), 64);
    }
    assert_int_equal(f->out.len, f->expected.len);
    assert_memory_equal(f->out.data, f->expected.data, f->out.len);
}

static void test_what_is_not_sent_is_released_at_the_end(void **state)
{
    struct fixture *f = *state;
    for (size_t i = 0; i < 10; i++)
        add(f, 10, 100, 0);
    write_some(f, 250, 64);
    assert_true(f->n_released > 0 && f->n_released < 10);
    mst_send_queue_fini(&f->queue);
    assert_int_equal(f->n_released, 10);
    assert_int_equal(f->queue.n, 0);
    struct iovec iov[4];
    assert_int_equal(mst_send_queue_gather(&f->queue, iov, 4), 0);
}

static void test_no_body(void **state)
{
    struct fixture *f = *state;
    struct mst_frame head = {.flags = MST_FRAME_BODY_CRC, .method = 1, .call = 2};
    mst_send_queue_add(&f->queue, &head, (struct mst_bytes){NULL, 0}, NULL, 1);
    struct iovec iov[4];
    assert_int_equal(mst_send_queue_gather(&f->queue, iov, 4), 1);
    assert_int_equal(iov[0].iov_len, MST_FRAME_HEADER_BYTES);
    struct mst_frame out;
    assert_int_equal(mst_frame_decode(iov[0].iov_base, &out, NULL), MST_OK);
    assert_int_equal(out.flags, 0);
    mst_send_queue_advance(&f->queue, MST_FRAME_HEADER_BYTES);
    assert_int_equal(f->queue.n, 0);
}

// A release that sends the next frame, as a server does whose buffer is free again.
struct refill {
    struct mst_send_queue *queue;
    int n_left;
};

static void on_release_add(void *arg)
{
    struct refill *refill = arg;
    if (refill->n_left-- == 0)
        return;
    static const struct iovec part = {(void *)(uintptr_t)"xyz", 3};
    struct mst_frame head = {.method = 1};
    struct mst_body body = {&part, 1, on_release_add, refill};
    mst_send_queue_add(refill->queue, &head, (struct mst_bytes){NULL, 0}, &body, 1);
}

static void test_a_release_may_add(void **state)
{
    struct fixture *f = *state;
    struct refill refill = {&f->queue, 5};
    on_release_add(&refill);
    size_t n_bytes = 0;
    while (f->queue.n) {
        struct iovec iov[2];
        size_t n = mst_send_queue_gather(&f->queue, iov, 2);
        assert_int_equal(n, 2);
        n_bytes += iov[0].iov_len + iov[1].iov_len;
        mst_send_queue_advance(&f->queue, iov[0].iov_len + iov[1].iov_len);
    }
    assert_int_equal(n_bytes, 5 * (MST_FRAME_HEADER_BYTES + 3));
}

#define CASE(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_random_writes),
        CASE(test_bodies_with_a_crc_go_in_pieces),
        CASE(test_what_is_not_sent_is_released_at_the_end),
        CASE(test_no_body),
        CASE(test_a_release_may_add),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
