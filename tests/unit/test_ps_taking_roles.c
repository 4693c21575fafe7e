// ROLES to a whole PS, before it has a map: what cannot be is refused by name, and what was stored before stays.
#include "base/alloc.h"
#include "ps_rounds_fixture.h"
#include "rpc_stranger.h"
#include "wire/messages.h"
#include "wire/methods.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>

enum { MANY = 3000 };

static const uint64_t incarnations[] = {7, 8, 9, 10, 11};
static const uint64_t others[] = {1, 2, 3};
static const uint64_t same[] = {0};

static void send_roles(struct fixture *f, const struct mst_msg_roles *roles)
{
    struct mst_buf meta;
    mst_buf_init(&meta, MST_FRAME_META_MAX);
    assert_int_equal(mst_msg_roles_encode(roles, &meta), MST_OK);
    send_meta(&f->chief, MST_METHOD_ROLES, ++f->call, &meta);
}

static struct mst_msg_roles_reply expect_stored(struct fixture *f, uint64_t term, uint64_t n)
{
    struct mst_msg_roles_reply reply;
    assert_int_equal(mst_msg_roles_reply_decode(expect_reply(&f->chief, f->call)->meta, &f->arena, &reply, NULL),
                     MST_OK);
    assert_true(reply.stored_term == term && reply.stored_n == n);
    return reply;
}

static struct mst_msg_roles two_groups(const struct mst_msg_group_roles *groups, uint64_t n)
{
    return (struct mst_msg_roles){
        .term = TERM, .n = n, .groups = groups, .n_groups = 2, .incarnations = incarnations, .n_incarnations = 2};
}

static void test_roles_that_cannot_be(void **state)
{
    struct fixture *f = *state;
    const struct mst_msg_group_roles homes[5] = {{.has_primary = true}, {.has_primary = true, .primary = 1}};
    struct mst_msg_group_roles wrong[5] = {{.has_primary = true}, {.has_primary = true, .primary = 1}};
    struct mst_msg_roles roles = two_groups(homes, 1);
    send_roles(f, &roles);
    expect_stored(f, TERM, 1);
    roles = two_groups(wrong, 2);
    roles.n_groups = 0;
    send_roles(f, &roles);
    stranger_expect_error(&f->chief, f->call, MST_INVALID_ARGUMENT, "roles of no groups");
    roles.n_groups = 5;
    roles.n_incarnations = 5;
    send_roles(f, &roles);
    stranger_expect_error(&f->chief, f->call, MST_INVALID_ARGUMENT, "roles of 5 groups, and there are 2");
    roles = two_groups(wrong, 2);
    roles.n_incarnations = 5;
    send_roles(f, &roles);
    stranger_expect_error(&f->chief, f->call, MST_INVALID_ARGUMENT, "roles of 2 groups and 5 parameter servers");
    roles.n_incarnations = 2;
    wrong[0].primary = 2;
    send_roles(f, &roles);
    stranger_expect_error(&f->chief, f->call, MST_INVALID_ARGUMENT, "group 0 names ps-2, and there are 2");
    wrong[0] = (struct mst_msg_group_roles){.has_primary = true, .n_backups = 1, .backups = same};
    send_roles(f, &roles);
    stranger_expect_error(&f->chief, f->call, MST_INVALID_ARGUMENT, "group 0 names ps-0 twice");
    wrong[0] = (struct mst_msg_group_roles){.has_primary = true, .n_backups = 3, .backups = others};
    send_roles(f, &roles);
    stranger_expect_error(&f->chief, f->call, MST_INVALID_ARGUMENT, "group 0 has 3 backups, at most 2");
    roles = two_groups(homes, 2);
    roles.is_committed = true;
    send_roles(f, &roles);
    struct mst_msg_roles_reply reply = expect_stored(f, TERM, 2);
    assert_true(reply.acting_term == TERM && reply.acting_n == 2);
}

static void test_older_roles_change_nothing(void **state)
{
    struct fixture *f = *state;
    const struct mst_msg_group_roles homes[2] = {{.has_primary = true}, {.has_primary = true, .primary = 1}};
    struct mst_msg_roles roles = two_groups(homes, 9);
    send_roles(f, &roles);
    uint64_t known = expect_stored(f, TERM, 9).status;
    roles.n = 4;
    roles.is_committed = true;
    roles.known = known;
    send_roles(f, &roles); // held: there is nothing new
    roles.n = 9;
    send_roles(f, &roles);
    f->call--;
    assert_int_equal(expect_stored(f, TERM, 9).acting_n, 9); // what was held hears of these, and of no others
    f->call++;
    assert_int_equal(expect_stored(f, TERM, 9).acting_n, 9);
}

// As many as a message holds: a map with them is refused later, for TF_CONFIG names fewer.
static void test_roles_of_many_groups(void **state)
{
    struct fixture *f = *state;
    struct mst_msg_group_roles *groups = mst_alloc_array(MANY, sizeof *groups);
    uint64_t *all = mst_alloc_array(MANY, sizeof *all);
    for (uint32_t g = 0; g < MANY; g++)
        groups[g] = (struct mst_msg_group_roles){.has_primary = true, .primary = g};
    struct mst_msg_roles roles = two_groups(groups, 1);
    roles.n_groups = roles.n_incarnations = MANY;
    roles.incarnations = all;
    send_roles(f, &roles);
    expect_stored(f, TERM, 1);
    free(groups);
    free(all);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_roles_that_cannot_be, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_older_roles_change_nothing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_roles_of_many_groups, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
