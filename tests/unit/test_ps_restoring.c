// A group that was lost gets its values on a server that serves another one all the while, and parts of checkpoints are
// written whatever happens to roles and chiefs: two groups on one data thread. A pipe in the place of a file keeps
// whoever opens it waiting for as long as the test likes.
#include "ckpt/checkpoint_names.h"
#include "ps_rounds_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { LOST, SERVED, N_GROUPS };

static const uint64_t threads[] = {1, 1};
static const uint64_t incarnations[] = {7, 8};

// A file of a checkpoint of step 1 that is a pipe; where the server of SERVED would keep its parts.
struct slow_file {
    char dir[32];
    char folder[48];
    char prefix[64];
    char path[112];
};

static void make_pipe(struct slow_file *file, const char *suffix)
{
    snprintf(file->dir, sizeof file->dir, "/tmp/muster-restoring-XXXXXX");
    assert_non_null(mkdtemp(file->dir));
    snprintf(file->folder, sizeof file->folder, "%s/ps-%d", file->dir, SERVED);
    assert_int_equal(mkdir(file->folder, 0700), 0);
    snprintf(file->prefix, sizeof file->prefix, "%s/model-1", file->folder);
    snprintf(file->path, sizeof file->path, "%s%s", file->prefix, suffix);
    assert_int_equal(mkfifo(file->path, 0600), 0);
}

// Whoever waits to read it finds that it is no file.
static void let_read(const struct slow_file *file)
{
    int fd = open(file->path, O_WRONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    close(fd);
}

static void remove_pipe(const struct slow_file *file)
{
    unlink(file->path); // perhaps the server has done so
    assert_int_equal(rmdir(file->folder), 0);
    assert_int_equal(rmdir(file->dir), 0);
}

static struct mst_msg_roles roles_of(uint64_t n, const struct mst_msg_group_roles *groups)
{
    return (struct mst_msg_roles){.term = TERM,
                                  .n = n,
                                  .is_committed = true,
                                  .n_groups = N_GROUPS,
                                  .groups = groups,
                                  .n_incarnations = N_GROUPS,
                                  .incarnations = incarnations};
}

static struct mst_msg_roles_reply send_roles(struct fixture *f, const struct mst_msg_roles *roles)
{
    struct mst_msg_roles_reply reply;
    struct mst_buf meta;
    mst_buf_init(&meta, MST_FRAME_META_MAX);
    assert_int_equal(mst_msg_roles_encode(roles, &meta), MST_OK);
    send_meta(&f->chief, MST_METHOD_ROLES, ++f->call, &meta);
    mst_arena_fini(&f->arena);
    assert_int_equal(mst_msg_roles_reply_decode(expect_reply(&f->chief, f->call)->meta, &f->arena, &reply, NULL),
                     MST_OK);
    return reply;
}

static void give_roles(struct fixture *f, uint64_t n, const struct mst_msg_group_roles *groups)
{
    const struct mst_msg_roles roles = roles_of(n, groups);
    assert_int_equal(send_roles(f, &roles).acting_n, n);
}

// The kernel is of the one group, the bias of the other; both are on data thread 0.
static uint64_t give_map(struct fixture *f, const struct mst_msg_roles *roles, const char *restore_prefix)
{
    static const struct mst_msg_shard shards[] = {
        {.variable = 0, .n_parts = 1, .n_rows = 4, .bucket = LOST, .ps = LOST},
        {.variable = 1, .n_parts = 1, .n_rows = 3, .bucket = SERVED, .ps = SERVED},
    };
    const struct mst_msg_map map = {.term = TERM,
                                    .epoch = 1,
                                    .n_shards = N_GROUPS,
                                    .shards = shards,
                                    .iterations = 9,
                                    .restore_prefix = restore_prefix,
                                    .n_ps_threads = N_GROUPS,
                                    .ps_threads = threads,
                                    .roles = *roles};
    send_map_of(f, &map);
    return f->call;
}

static const struct mst_msg_group_roles is_lost[N_GROUPS] = {[SERVED] = {.has_primary = true}};
static const struct mst_msg_group_roles is_given[N_GROUPS] = {{.has_primary = true}, {.has_primary = true}};

static struct mst_msg_roles begin_with_a_lost_group(struct fixture *f)
{
    const struct mst_msg_roles roles = roles_of(1, is_lost);
    uint64_t call = give_map(f, &roles, NULL);
    expect_reply(&f->chief, call);
    give_roles(f, 2, is_given);
    return roles_of(2, is_given);
}

static void expect_pull(struct stranger *link, uint32_t bucket, uint64_t call)
{
    send_pull(link, bucket, 0, 0, call);
    assert_int_equal(pulled(link, call).iterations, 9);
}

static void test_other_groups_are_served_while_it_is_read(void **state)
{
    struct fixture *f = *state;
    struct slow_file index;
    struct stranger worker;
    const struct mst_msg_greeting greeting = {.role = MST_PEER_WORKER, .number = 1};
    const struct mst_msg_roles roles = begin_with_a_lost_group(f);
    make_pipe(&index, ".index");
    greet(f, &worker, &greeting);
    uint64_t slow = give_map(f, &roles, index.prefix);
    uint64_t again = give_map(f, &roles, NULL); // not two at once
    stranger_expect_error(&f->chief, again, MST_UNAVAILABLE, "are being read; ask again");
    expect_pull(&worker, SERVED, 11);
    expect_pull(&worker, SERVED, 12);
    let_read(&index);
    stranger_expect_error(&f->chief, slow, MST_DATA_LOSS, "is not a regular file");
    send_pull(&worker, LOST, 0, 0, 13); // waits for its values
    expect_reply(&f->chief, give_map(f, &roles, NULL));
    assert_int_equal(pulled(&worker, 13).iterations, 9);
    expect_reply(&f->chief, give_map(f, &roles, index.prefix)); // nothing is read any more
    remove_pipe(&index);
    stranger_close(&worker);
}

static uint64_t send_save(struct fixture *f, const struct mst_msg_save *save)
{
    struct mst_buf meta;
    mst_buf_init(&meta, MST_FRAME_META_MAX);
    assert_int_equal(mst_msg_save_encode(save, &meta), MST_OK);
    send_meta(&f->chief, MST_METHOD_SAVE, ++f->call, &meta);
    return f->call;
}

// Keeps the writer's thread until somebody reads the pipe.
static uint64_t save_slowly(struct fixture *f, const struct slow_file *part)
{
    const struct mst_msg_save save = {
        .term = TERM, .dir = part->folder, .shard_id = SERVED, .n_shards = N_GROUPS, .step = 1, .group = SERVED};
    return send_save(f, &save);
}

// Keeps the reader's thread until somebody writes to the pipe.
static uint64_t ask_slowly(struct fixture *f, const struct slow_file *index)
{
    const struct mst_msg_save question = {
        .term = TERM, .dir = index->dir, .shard_id = SERVED, .is_question = true, .group = SERVED};
    return send_save(f, &question);
}

static void read_all(const struct slow_file *part)
{
    char bytes[64];
    int fd = open(part->path, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    while (read(fd, bytes, sizeof bytes) > 0)
        ;
    close(fd);
}

// Nobody waits for a checkpoint, but training waits for this.
static void test_a_checkpoint_does_not_hold_it_up(void **state)
{
    struct fixture *f = *state;
    const struct mst_msg_roles roles = begin_with_a_lost_group(f);
    struct slow_file part;
    make_pipe(&part, ".data-00001-of-00002.0" MST_CHECKPOINT_TMP);
    uint64_t save = save_slowly(f, &part);
    expect_reply(&f->chief, give_map(f, &roles, NULL));
    read_all(&part);
    assert_int_equal(stranger_read(&f->chief)->call, save); // whatever came of it
    remove_pipe(&part);
}

// Its chief died; the next one writes the same step under the same names.
static void test_a_checkpoint_of_the_chief_before_is_given_up(void **state)
{
    struct fixture *f = *state;
    struct slow_file part;
    begin_with_a_lost_group(f);
    make_pipe(&part, ".data-00001-of-00002.0" MST_CHECKPOINT_TMP);
    uint64_t first = save_slowly(f, &part);
    uint64_t second = save_slowly(f, &part);
    uint64_t third = save_slowly(f, &part);
    stranger_expect_error(&f->chief, second, MST_UNAVAILABLE, "another chief wants a checkpoint");
    int fd = open(part.path, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(unlink(part.path), 0); // what is no file the server leaves where it is
    stranger_expect_error(&f->chief, first, MST_UNAVAILABLE, "another chief wants a checkpoint");
    expect_reply(&f->chief, third);
    close(fd);
    struct stat written;
    assert_int_equal(stat(part.path, &written), 0);
    assert_true(S_ISREG(written.st_mode));
    remove_pipe(&part);
}

static void mark_cut(struct fixture *f, uint64_t id)
{
    const struct mst_msg_cut cut = {.term = TERM, .id = id, .phase = MST_CUT_ADMIT, .group = SERVED};
    struct mst_msg_cut_reply reply;
    struct mst_buf meta;
    mst_buf_init(&meta, MST_FRAME_META_MAX);
    assert_int_equal(mst_msg_cut_encode(&cut, &meta), MST_OK);
    send_meta(&f->chief, MST_METHOD_CUT, ++f->call, &meta);
    mst_arena_fini(&f->arena);
    assert_int_equal(mst_msg_cut_reply_decode(expect_reply(&f->chief, f->call)->meta, &f->arena, &reply, NULL), MST_OK);
    assert_true(reply.id == id && reply.is_marked);
}

// What is marked is written also while roles are stored that are not acted on yet.
static void test_a_checkpoint_while_roles_change(void **state)
{
    struct fixture *f = *state;
    struct slow_file part;
    struct mst_msg_roles roles = begin_with_a_lost_group(f);
    make_pipe(&part, "");
    mark_cut(f, 1);
    roles.n = 3;
    roles.is_committed = false;
    const struct mst_msg_roles_reply reply = send_roles(f, &roles);
    assert_true(reply.stored_n == 3 && reply.acting_n == 2);
    struct mst_msg_save save = {
        .term = TERM, .dir = part.folder, .shard_id = SERVED, .n_shards = N_GROUPS, .step = 2, .group = SERVED};
    stranger_expect_error(&f->chief, send_save(f, &save), MST_UNAVAILABLE, "is not the primary");
    save.cut = 2;
    stranger_expect_error(&f->chief, send_save(f, &save), MST_ABORTED, "is not kept as it was at cut 2");
    save.cut = 1;
    expect_reply(&f->chief, send_save(f, &save));
    char written[sizeof part.path];
    snprintf(written, sizeof written, "%s/model-2.data-00001-of-00002.1" MST_CHECKPOINT_TMP, part.folder);
    assert_int_equal(unlink(written), 0);
    remove_pipe(&part);
}

// Lost once more while its values were read: they may be others now.
static void test_what_was_read_for_older_roles_is_not_used(void **state)
{
    struct fixture *f = *state;
    struct stranger worker;
    const struct mst_msg_greeting greeting = {.role = MST_PEER_WORKER, .number = 1};
    const struct mst_msg_roles roles = begin_with_a_lost_group(f);
    struct slow_file index;
    make_pipe(&index, ".index");
    greet(f, &worker, &greeting);
    uint64_t question = ask_slowly(f, &index);
    uint64_t map = give_map(f, &roles, NULL);
    give_roles(f, 3, is_lost);
    give_roles(f, 4, is_given);
    let_read(&index);
    expect_reply(&f->chief, question); // it is no part
    stranger_expect_error(&f->chief, map, MST_UNAVAILABLE, "changed while their values were read");
    send_pull(&worker, LOST, 0, 0, 21);
    expect_pull(&worker, SERVED, 22);
    expect_reply(&f->chief, give_map(f, &roles, NULL));
    assert_int_equal(pulled(&worker, 21).iterations, 9);
    remove_pipe(&index);
    stranger_close(&worker);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_other_groups_are_served_while_it_is_read, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_checkpoint_does_not_hold_it_up, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_checkpoint_of_the_chief_before_is_given_up, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_checkpoint_while_roles_change, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_what_was_read_for_older_roles_is_not_used, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
