// What a chief of synchronous rounds tells a server that refuses it for a moment, while a question of before is held
// there.
#include "chief/chief_private.h"
#include "chief_fixture.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static int set_up(void **state)
{
    struct chief_fixture *f = *state = chief_fixture_prepare(2, 1);
    f->job->heartbeat_ms = f->job->lease_ms; // ticks are far between: what happens here is what messages bring
    f->job->consistency = MST_CONSISTENCY_SYNCHRONOUS;
    chief_fixture_start(f, 0);
    chief_fixture_run(f);
    return 0;
}

static bool is_held(void *arg)
{
    const struct chief_fixture *f = arg;
    return f->ps[0].n_rounds > 0 && f->ps[1].n_rounds > 0;
}

static bool has_refused(void *arg)
{
    const struct chief_fixture *f = arg;
    return f->ps[0].n_rounds > 1 && f->chief->groups[0].n_round_calls == 1;
}

static bool is_told_again(void *arg)
{
    const struct chief_fixture *f = arg;
    return f->ps[0].n_rounds > 2 && f->chief->groups[0].n_round_calls == 2;
}

static void test_what_was_refused_is_told_again(void **state)
{
    struct chief_fixture *f = *state;
    run_until(f->loop, is_held, f);
    f->ps[0].refuses_rounds = true;
    f->chief->coordinator.rounds.n_told++; // there is something new to tell
    mst_chief_rounds_go_on(f->chief);
    run_until(f->loop, has_refused, f);
    f->ps[0].refuses_rounds = false;
    run_until(f->loop, is_told_again, f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_what_was_refused_is_told_again, set_up, chief_fixture_tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
