// Roles: what a chief says of groups, what replicas say to each other, there and back; and their copies with an owner.
#include "messages_sent.h"
#include "wire/roles.h"

#include <stdlib.h>

static const uint64_t two_backups[] = {2, 0};
static const struct mst_msg_group_roles groups[] = {
    {.has_primary = true, .primary = 1, .n_backups = 2, .backups = two_backups},
    {.has_primary = true, .primary = 0, .has_joiner = true, .joiner = 2, .is_handed_over = true},
    {.has_primary = false},
};
static const uint64_t incarnations[] = {7, 0, UINT64_MAX};
static const struct mst_msg_roles some_roles = {.term = 3,
                                                .n = 2,
                                                .n_groups = 3,
                                                .groups = groups,
                                                .n_incarnations = 3,
                                                .incarnations = incarnations,
                                                .is_committed = true,
                                                .known = 9,
                                                .is_to_leave = true};

static void test_messages(void **state)
{
    (void)state;
    {
        const struct mst_msg_roles sent = some_roles;
        SEND(roles);
        SAME(term);
        SAME(n);
        SAME(n_groups);
        SAME(groups[0].n_backups);
        SAME(groups[0].backups[0]);
        SAME(groups[1].has_joiner);
        SAME(groups[1].joiner);
        SAME(groups[1].is_handed_over);
        SAME(groups[2].has_primary);
        SAME(n_incarnations);
        SAME(incarnations[2]);
        SAME(is_committed);
        SAME(known);
        SAME(is_to_leave);
    }
    {
        const struct mst_msg_group_status of[] = {{1, MST_REPLICA_PRIMARY, true, false, true, true, 2},
                                                  {2, MST_REPLICA_JOINER, false, true, false, false, 0}};
        const struct mst_msg_roles_reply sent = {1, 2, 3, 4, 5, 2, of, true};
        SEND(roles_reply);
        SAME(status);
        SAME(stored_term);
        SAME(stored_n);
        SAME(acting_term);
        SAME(acting_n);
        SAME(n_groups);
        SAME(groups[0].role);
        SAME(groups[0].is_quiet);
        SAME(groups[0].is_complete);
        SAME(groups[0].has_lost);
        SAME(groups[0].lost);
        SAME(groups[1].group);
        SAME(groups[1].is_swept);
        SAME(wants_drain);
    }
    {
        const struct mst_msg_roles_question sent = {1, 2};
        SEND(roles_question);
        SAME(term);
        SAME(n);
    }
}

static void test_sweeps(void **state)
{
    (void)state;
    {
        const struct mst_msg_sweep sent = {.group = 1,
                                           .thread = 2,
                                           .term = 3,
                                           .n = 4,
                                           .seq = 5,
                                           .bucket = 6,
                                           .is_first = true,
                                           .n_updates = 7,
                                           .counter = 8,
                                           .n_fenced = 3,
                                           .fenced = incarnations};
        SEND(sweep);
        SAME(group);
        SAME(thread);
        SAME(term);
        SAME(n);
        SAME(seq);
        SAME(bucket);
        SAME(is_first);
        SAME(n_updates);
        SAME(counter);
        SAME(n_rows);
        SAME(n_fenced);
        SAME(fenced[2]);
    }
    const struct mst_msg_sweep_reply sent = {1, 2, 3};
    SEND(sweep_reply);
    SAME(term);
    SAME(n);
    SAME(seq);
}

static void test_operations(void **state)
{
    (void)state;
    {
        const struct mst_msg_op sent = {.group = 1,
                                        .thread = 2,
                                        .term = 3,
                                        .n = 4,
                                        .seq = 5,
                                        .kind = MST_OP_CHECKSUM,
                                        .bucket = 6,
                                        .version = 7,
                                        .worker = 8,
                                        .number = 9,
                                        .step = 10,
                                        .lease = 11,
                                        .offset = 12,
                                        .learning_rate = 0.5,
                                        .crc32c = 13};
        SEND(op);
        SAME(group);
        SAME(thread);
        SAME(term);
        SAME(n);
        SAME(seq);
        SAME(kind);
        SAME(bucket);
        SAME(version);
        SAME(worker);
        SAME(number);
        SAME(step);
        SAME(lease);
        SAME(offset);
        assert_true(got.learning_rate == 0.5);
        SAME(crc32c);
    }
    {
        const struct mst_msg_op_reply sent = {1, 2, 3, true};
        SEND(op_reply);
        SAME(term);
        SAME(n);
        SAME(seq);
        SAME(is_mismatch);
    }
    {
        const struct mst_msg_grant sent = {1, 2, 3, 4, true};
        SEND(grant);
        SAME(group);
        SAME(thread);
        SAME(term);
        SAME(n);
        SAME(is_release);
    }
    const struct mst_msg_grant_reply sent = {1, 2, 3, true};
    SEND(grant_reply);
    SAME(term);
    SAME(n);
    SAME(seq);
    SAME(is_granted);
}

static void expect_text(const struct mst_roles *roles, const char *expected)
{
    char *text = mst_roles_text(roles);
    assert_string_equal(text, expected);
    free(text);
}

static void test_copies(void **state)
{
    (void)state;
    struct mst_roles first;
    mst_roles_init(&first, 3, 2);
    expect_text(&first, "0.0: ps-0 > ps-1 > ps-2, ps-1 > ps-2 > ps-0, ps-2 > ps-0 > ps-1");
    assert_int_equal(mst_roles_of(&first, 2, 1), MST_REPLICA_BACKUP);
    struct mst_roles taken = {0};
    struct mst_error err;
    assert_int_equal(mst_roles_take(&taken, &some_roles, &err), MST_OK);
    expect_text(&taken, "3.2: ps-1 > ps-2 > ps-0, ps-0 + ps-2, nobody");
    assert_true(mst_epoch_is_newer(&taken.epoch, &first.epoch));
    assert_int_equal(mst_roles_of(&taken, 1, 0), MST_REPLICA_PRIMARY);
    assert_int_equal(mst_roles_of(&taken, 1, 2), MST_REPLICA_JOINER);
    assert_int_equal(mst_roles_of(&taken, 2, 2), MST_REPLICA_NONE);
    assert_int_equal(mst_roles_of(&taken, 9, 0), MST_REPLICA_NONE);
    mst_roles_copy(&first, &taken);
    assert_true(mst_epoch_is_same(&first.epoch, &taken.epoch));
    assert_int_equal(first.incarnations[2], UINT64_MAX);
    // … and into a message again.
    struct mst_msg_roles view;
    struct mst_roles again = {0};
    assert_int_equal(mst_roles_view(&first, &arena, &view), MST_OK);
    assert_int_equal(mst_roles_take(&again, &view, &err), MST_OK);
    expect_text(&again, "3.2: ps-1 > ps-2 > ps-0, ps-0 + ps-2, nobody");
    assert_true(again.groups[1].is_handed_over);
    mst_roles_fini(&again);
    mst_roles_fini(&taken);
    mst_roles_fini(&first);
}

static void expect_refused(const struct mst_msg_group_roles *group, size_t n_incarnations, const char *text)
{
    const struct mst_msg_roles message = {
        .n_groups = 1, .groups = group, .n_incarnations = n_incarnations, .incarnations = incarnations};
    struct mst_roles roles = {0};
    struct mst_error err;
    assert_int_equal(mst_roles_take(&roles, &message, &err), MST_INVALID_ARGUMENT);
    assert_string_equal(err.text, text);
    assert_null(roles.groups);
}

static void test_refused(void **state)
{
    (void)state;
    static const uint64_t many[] = {0, 0, 0};
    const struct mst_msg_group_roles fine = {.has_primary = true};
    expect_refused(&fine, 2, "roles of 1 groups and 2 parameter servers");
    const struct mst_msg_group_roles far = {.has_primary = true, .primary = 1};
    expect_refused(&far, 1, "roles: group 0 names ps-1, and there are 1");
    const struct mst_msg_group_roles twice = {.has_primary = true, .n_backups = 1, .backups = many};
    expect_refused(&twice, 1, "roles: group 0 names ps-0 twice");
    const struct mst_msg_group_roles joins_itself = {.has_primary = true, .has_joiner = true};
    expect_refused(&joins_itself, 1, "roles: group 0 names ps-0 twice");
    const struct mst_msg_group_roles crowd = {.has_primary = true, .n_backups = 3, .backups = many};
    expect_refused(&crowd, 1, "roles: group 0 has 3 backups, at most 2");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_messages), CASE(test_sweeps), CASE(test_operations), CASE(test_copies), CASE(test_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
