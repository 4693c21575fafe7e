// No message to a follower is larger than what is said of it, with the largest values that its fields can have.
#include "wire/frame.h"
#include "wire/replica_sizes.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { N_WORKERS = 300, N_NORMS = 200 };

static struct mst_msg_close a_close(const uint64_t *numbers)
{
    return (struct mst_msg_close){.term = UINT64_MAX,
                                  .round = UINT64_MAX,
                                  .attempt = UINT64_MAX,
                                  .n_ins = N_WORKERS,
                                  .ins = numbers,
                                  .n_steps = UINT64_MAX,
                                  .n_worker_steps = N_WORKERS,
                                  .worker_steps = numbers};
}

static size_t op_bytes(const struct mst_msg_op *op)
{
    struct mst_buf buf;
    mst_buf_init(&buf, SIZE_MAX / 4);
    assert_int_equal(mst_msg_op_encode(op, &buf), MST_OK);
    size_t n_bytes = buf.len;
    mst_buf_fini(&buf);
    return n_bytes;
}

static size_t sweep_bytes(const struct mst_msg_sweep *sweep)
{
    struct mst_buf buf;
    mst_buf_init(&buf, SIZE_MAX / 4);
    assert_int_equal(mst_msg_sweep_encode(sweep, &buf), MST_OK);
    size_t n_bytes = buf.len;
    mst_buf_fini(&buf);
    return n_bytes;
}

static struct mst_msg_op largest_op(void)
{
    return (struct mst_msg_op){.group = UINT32_MAX,
                               .thread = UINT32_MAX,
                               .term = UINT64_MAX,
                               .n = UINT64_MAX,
                               .seq = UINT64_MAX,
                               .kind = MST_OP_APPLY,
                               .bucket = UINT32_MAX,
                               .version = UINT64_MAX,
                               .worker = UINT32_MAX,
                               .number = UINT64_MAX,
                               .step = UINT64_MAX,
                               .lease = UINT64_MAX,
                               .offset = UINT64_MAX,
                               .learning_rate = 1,
                               .crc32c = UINT32_MAX,
                               .round = UINT64_MAX,
                               .attempt = UINT64_MAX};
}

static void test_nothing_is_larger(void **state)
{
    (void)state;
    uint64_t numbers[N_WORKERS];
    double scales[N_NORMS] = {1};
    struct mst_msg_square_norm norms[N_NORMS];
    struct mst_msg_client_row rows[N_WORKERS];
    memset(numbers, 0xff, sizeof numbers);
    for (size_t i = 0; i < N_NORMS; i++)
        norms[i] = (struct mst_msg_square_norm){UINT32_MAX, UINT64_MAX, UINT64_MAX, true};
    for (size_t i = 0; i < N_WORKERS; i++)
        rows[i] =
            (struct mst_msg_client_row){UINT32_MAX, UINT32_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX, true};
    const struct mst_msg_close closes[] = {a_close(numbers), a_close(numbers)};
    const struct mst_replica_sizes sizes = {N_WORKERS, N_NORMS, mst_replica_close_bytes(closes)};
    struct mst_msg_sweep sweep = {.group = UINT32_MAX,
                                  .thread = UINT32_MAX,
                                  .term = UINT64_MAX,
                                  .n = UINT64_MAX,
                                  .seq = UINT64_MAX,
                                  .bucket = UINT32_MAX,
                                  .is_first = true,
                                  .n_updates = UINT64_MAX,
                                  .counter = UINT64_MAX,
                                  .n_rows = N_WORKERS,
                                  .rows = rows,
                                  .n_fenced = N_WORKERS,
                                  .fenced = numbers,
                                  .n_closes = 2,
                                  .closes = closes,
                                  .n_norms = N_NORMS,
                                  .norms = norms,
                                  .has_aggregate = true};
    struct mst_msg_op op = largest_op();
    op.n_closes = 1;
    op.closes = closes;
    op.n_norms = N_NORMS;
    op.norms = norms;
    op.n_scales = N_NORMS;
    op.scales = scales;
    uint64_t most = mst_replica_meta_bytes(&sizes);
    assert_true(sweep_bytes(&sweep) <= most && op_bytes(&op) <= most);
    assert_true(most < sweep_bytes(&sweep) + sweep_bytes(&sweep) / 8); // not much is given away
}

static void test_what_does_not_fit_is_refused(void **state)
{
    (void)state;
    struct mst_error err;
    struct mst_replica_sizes sizes = {.n_workers = 1000, .n_norms = 1000, .close_bytes = 100000};
    assert_int_equal(mst_replica_sizes_check(&sizes, &err), MST_OK);
    sizes.close_bytes = MST_FRAME_META_MAX / 2;
    assert_int_equal(mst_replica_sizes_check(&sizes, &err), MST_INVALID_ARGUMENT);
    assert_non_null(strstr(err.text, "rows of 1000 workers"));
    assert_non_null(strstr(err.text, "or replicas 0"));
    const struct mst_replica_sizes many = {.n_workers = 65536};
    assert_int_equal(mst_replica_sizes_check(&many, &err), MST_INVALID_ARGUMENT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nothing_is_larger),
        cmocka_unit_test(test_what_does_not_fit_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
