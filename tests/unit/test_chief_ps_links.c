// What a chief does with the answer to a map, when the roles that are committed mean the process that was there before:
// that one restores nothing, so nothing counts as restored, and it is not asked again at once.
#include "chief/chief_private.h"
#include "chief_fixture.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

static int set_up(void **state)
{
    struct chief_fixture *f = *state = chief_fixture_prepare(2, 1);
    f->job->heartbeat_ms = f->job->lease_ms; // ticks are far between: what happens here is what messages bring
    chief_fixture_start(f, 0);
    chief_fixture_run(f);
    return 0;
}

static bool is_meant(const struct chief_fixture *f, size_t ps)
{
    return mst_failover_is_named(&f->chief->failover, ps);
}

// Both are gone, and the first group's home was named to restore it.
static bool is_told_to_restore(void *arg)
{
    const struct chief_fixture *f = arg;
    return f->ps[0].n_own_maps == 1 && f->chief->groups[0].is_restoring;
}

static bool has_answered_map(void *arg)
{
    const struct chief_fixture *f = arg;
    return f->ps[0].n_maps > 0 && !f->chief->links[0].is_placing;
}

static bool is_restored(void *arg)
{
    return !((const struct chief_fixture *)arg)->chief->groups[0].is_empty;
}

static void test_roles_of_the_process_before_restore_nothing(void **state)
{
    struct chief_fixture *f = *state;
    f->ps[0].own_map = SCRIPT_KEEPS;
    scripted_restart(&f->ps[0]);
    scripted_restart(&f->ps[1]);
    run_until(f->loop, is_told_to_restore, f);
    assert_true(is_meant(f, 0));

    // It dies before it has, and nobody stores the roles that name the next process there.
    f->ps[0].own_map = SCRIPT_ANSWERS;
    f->ps[0].roles = f->ps[1].roles = SCRIPT_KEEPS;
    scripted_restart(&f->ps[0]);
    run_until(f->loop, has_answered_map, f);
    assert_false(is_meant(f, 0));
    assert_true(f->chief->groups[0].is_empty);
    assert_false(f->chief->groups[0].is_restoring);
    assert_false(f->chief->links[0].is_placed);
    struct mst_error waits = {.text = ""};
    assert_int_equal(mst_chief_ready(f->chief, &waits), MST_OK);
    assert_non_null(strstr(waits.text, "waiting for ps-0 to store the new roles"));
    for (int i = 0; i < 100; i++)
        mst_loop_poll(f->loop);
    assert_int_equal(f->ps[0].n_maps, 1);
    assert_int_equal(f->chief->groups[0].setback.is_restoring, true); // as the one before left it

    // Once roles name it, it is told again, and that counts.
    scripted_take_roles(&f->ps[0]);
    scripted_take_roles(&f->ps[1]);
    run_until(f->loop, is_restored, f);
    assert_true(is_meant(f, 0));
    assert_int_equal(f->ps[0].n_own_maps, 1);
    assert_true(f->chief->links[0].is_placed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_roles_of_the_process_before_restore_nothing, set_up,
                                        chief_fixture_tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
