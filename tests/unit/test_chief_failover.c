// Who is primary and backup, from the chief's side: with servers that store and act as told, one rule at a time.
#include "failover_servers.h"

static void test_without_replicas_every_group_stays_at_home(void **state)
{
    (void)state;
    start(2, 0);
    mst_failover_begin(&failover, 1);
    for (size_t i = 0; i < 2; i++)
        start_server(i);
    die(1, MST_FAILOVER_GONE);
    start_server(1);
    settle();
    bool is_committed;
    assert_null(mst_failover_to_send(&failover, 1, &is_committed));
    assert_int_equal(mst_failover_primary(&failover, 1), 1);
    assert_false(mst_failover_is_full(&failover));
    assert_waits_for("");
    end();
}

static void test_a_job_begins_when_all_are_read_and_have_stored(void **state)
{
    (void)state;
    start(3, 1);
    mst_failover_begin(&failover, 1);
    for (size_t i = 0; i < 3; i++)
        start_server(i);
    read_server(0);
    read_server(1);
    settle();
    assert_null(mst_failover_committed(&failover));
    assert_waits_for("ps-2 to say what an earlier chief left");
    assert_false(mst_failover_is_undecided(&failover));
    read_server(2);
    servers[1].is_deaf = true;
    settle();
    assert_null(mst_failover_committed(&failover));
    assert_true(mst_failover_is_undecided(&failover));
    assert_waits_for("ps-1 to store the new roles");
    servers[1].is_deaf = false;
    settle();
    assert_roles("ps-0 > ps-1, ps-1 > ps-2, ps-2 > ps-0");
    assert_false(mst_failover_is_undecided(&failover));
    assert_true(mst_failover_is_full(&failover));
    end();
}

static void test_a_backup_takes_a_dead_primarys_place_and_the_home_gets_it_back(void **state)
{
    (void)state;
    start_job(2, 1);
    assert_true(mst_failover_is_named(&failover, 0));
    die(0, MST_FAILOVER_GONE);
    settle();
    assert_roles("ps-1, ps-1");
    assert_false(mst_failover_is_full(&failover));
    start_server(0);
    assert_false(mst_failover_is_named(&failover, 0)); // but the process before it
    settle();
    assert_true(mst_failover_is_named(&failover, 0));
    assert_roles("ps-1 + ps-0, ps-1 + ps-0");
    assert_false(mst_failover_is_full(&failover));
    fill(0);
    assert_roles("ps-0 > ps-1, ps-1 > ps-0");
    assert_true(mst_failover_is_full(&failover));
    end();
}

static void test_a_change_is_full_again_only_when_all_act_on_it(void **state)
{
    (void)state;
    start_job(3, 1);
    servers[2].wants_drain = true;
    report(2);
    assert_false(mst_failover_is_full(&failover)); // from now on
    assert_true(mst_failover_advance(&failover, now_ms));
    bool is_committed;
    assert_non_null(mst_failover_to_send(&failover, 1, &is_committed)); // the primary of what changes
    assert_false(is_committed);
    assert_null(mst_failover_to_send(&failover, 0, &is_committed)); // not before that one has stored it
    assert_true(is_committed);
    deliver(1);
    assert_non_null(mst_failover_to_send(&failover, 2, &is_committed));
    assert_false(is_committed);
    assert_false(mst_failover_is_full(&failover));
    end();
}

static void test_a_live_server_that_has_not_stored_holds_a_commit_back_until_it_is_dead(void **state)
{
    (void)state;
    start_job(3, 1);
    servers[1].is_deaf = true;
    die(0, MST_FAILOVER_GONE);
    settle();
    assert_roles("ps-0 > ps-1, ps-1 > ps-2, ps-2 > ps-0");
    assert_waits_for("ps-1 to store the new roles, ps-2 to store the new roles"); // ps-2 is told when ps-1 has
    die(1, MST_FAILOVER_SILENT);
    settle();
    assert_roles("ps-0 > ps-1, ps-1 > ps-2, ps-2 > ps-0");
    assert_waits_for("ps-0, ps-1: more than half of the 3 parameter servers have to know who had which shards, and 1 "
                     "here does; one that is started again does not, until all are here");
    servers[1].is_deaf = false;
    come_up(1);
    settle();
    assert_roles("ps-1, ps-2 + ps-1, ps-2"); // what was proposed before was replaced when it died
    end();
}

static void test_a_proposal_is_of_one_primary(void **state)
{
    (void)state;
    start_job(3, 1);
    die(0, MST_FAILOVER_GONE); // group 0 goes on elsewhere, and group 2 has lost its backup
    assert_true(mst_failover_advance(&failover, now_ms));
    char *first = mst_roles_text(&failover.current);
    assert_string_equal(first, "1.2: ps-1, ps-1 > ps-2, ps-2 > ps-0");
    free(first);
    settle();
    assert_roles("ps-1, ps-1 > ps-2, ps-2");
    end();
}

static void test_a_joiner_is_never_promoted(void **state)
{
    (void)state;
    start_job(2, 1);
    die(0, MST_FAILOVER_GONE);
    settle();
    start_server(0);
    settle();
    assert_roles("ps-1 + ps-0, ps-1 + ps-0");
    die(1, MST_FAILOVER_SILENT);
    settle();
    assert_waits_for("ps-1, which has the only copy of group 0, ps-1, which has the only copy of group 1");
    come_up(1); // with all that it had
    settle();
    assert_roles("ps-1 + ps-0, ps-1 + ps-0");
    end();
}

static void test_a_backup_that_its_primary_cannot_reach_is_dropped_for_a_while(void **state)
{
    (void)state;
    start_job(2, 1);
    servers[0].has_lost[1] = true;
    settle();
    assert_roles("ps-0, ps-1 > ps-0");
    assert_false(mst_failover_is_full(&failover));
    servers[0].has_lost[1] = false;
    settle();
    assert_roles("ps-0, ps-1 > ps-0");
    now_ms += AVOID_MS - 1;
    settle();
    assert_roles("ps-0, ps-1 > ps-0");
    now_ms++;
    settle();
    assert_roles("ps-0 + ps-1, ps-1 > ps-0");
    fill(1);
    assert_true(mst_failover_is_full(&failover));
    end();
}

// It was stopped, so one primary could not reach it, and its process was thought dead: when it is back it is tried.
static void test_a_server_that_was_silent_is_filled_again_at_once(void **state)
{
    (void)state;
    start_job(3, 1);
    servers[1].has_lost[2] = true;
    settle();
    assert_roles("ps-0 > ps-1, ps-1, ps-2 > ps-0");
    die(2, MST_FAILOVER_SILENT);
    servers[1].has_lost[2] = false;
    settle();
    come_up(2);
    settle();
    assert_roles("ps-0 > ps-1, ps-1 + ps-2, ps-0 + ps-2");
    end();
}

static void test_a_server_that_wants_to_go_hands_over_and_is_drained(void **state)
{
    (void)state;
    start_job(2, 1);
    servers[0].wants_drain = true;
    settle();
    assert_roles("ps-1, ps-1");
    assert_true(mst_failover_is_drained(&failover, 0));
    assert_false(mst_failover_is_drained(&failover, 1));
    die(0, MST_FAILOVER_GONE);
    now_ms += 10 * PATIENCE_MS;
    settle();
    assert_waits_for("");
    start_server(0);
    settle();
    fill(0);
    assert_roles("ps-0 > ps-1, ps-1 > ps-0");
    end();
}

static void test_a_handover_waits_until_its_primary_is_quiet(void **state)
{
    (void)state;
    start_job(2, 1);
    servers[1].wants_drain = true;
    report(1);
    bool has_waited = false;
    for (size_t i = 0; i < 8 && !has_waited; i++) { // ps-0 loses its backup first
        char text[512];
        while (mst_failover_advance(&failover, now_ms))
            ;
        mst_failover_describe(&failover, text, sizeof text);
        has_waited = strcmp(text, "ps-1 to finish what is on its way, for group 1 moves") == 0;
        deliver(i % 2);
    }
    assert_true(has_waited);
    settle();
    assert_roles("ps-0, ps-0");
    end();
}

static void test_the_only_copy_is_not_drained(void **state)
{
    (void)state;
    start_job(2, 1);
    die(1, MST_FAILOVER_GONE);
    settle();
    servers[0].wants_drain = true;
    settle();
    assert_false(mst_failover_is_drained(&failover, 0));
    assert_waits_for("a server that takes group 0 from ps-0, a server that takes group 1 from ps-0");
    start_server(1);
    settle();
    assert_waits_for("ps-1 to have a copy of group 0, so that ps-0 may go, "
                     "ps-1 to have a copy of group 1, so that ps-0 may go");
    fill(1);
    assert_roles("ps-1, ps-1");
    assert_true(mst_failover_is_drained(&failover, 0));
    assert_false(mst_failover_is_all_draining(&failover));
    mst_failover_drain(&failover, 1);
    assert_true(mst_failover_is_all_draining(&failover));
    end();
}

// What is answered to somebody who asks for a drain.
static void assert_may_drain(size_t ps, mst_status expected, const char *says)
{
    struct mst_error err = {""};
    mst_status status = mst_failover_may_drain(&failover, ps, now_ms, &err);
    if (status != expected || !strstr(err.text, says))
        fail_msg("ps-%zu: %s \"%s\", not \"%s\"", ps, mst_status_name(status), err.text, says);
}

static void test_servers_are_drained_one_after_the_other(void **state)
{
    (void)state;
    start_job(2, 1);
    assert_may_drain(0, MST_OK, "");
    mst_failover_drain(&failover, 0);
    assert_may_drain(1, MST_UNAVAILABLE, "ps-0 to leave and come back");
    settle();
    report(1);
    assert_may_drain(1, MST_UNAVAILABLE, "ps-0 to leave and come back");
    die(0, MST_FAILOVER_GONE);
    settle();
    assert_may_drain(0, MST_UNAVAILABLE, "ps-0, which is not there");
    assert_may_drain(1, MST_UNAVAILABLE, "another server to have a copy of group 0 than ps-1");
    start_server(0);
    settle();
    assert_may_drain(1, MST_UNAVAILABLE, "another server to have a copy of group 0 than ps-1");
    assert_may_drain(0, MST_UNAVAILABLE, "all copies of group 0 to be there");
    fill(0);
    assert_may_drain(1, MST_OK, "");
    die(0, MST_FAILOVER_GONE);
    settle();
    now_ms += PATIENCE_MS;
    assert_may_drain(1, MST_FAILED_PRECONDITION, "ps-1 has the only copy of group 0, and no other");
    end();
    start(2, 0);
    assert_may_drain(1, MST_FAILED_PRECONDITION, "the job has no replicas");
    end();
}

static void test_without_one_that_stays_away_the_others_may_be_drained(void **state)
{
    (void)state;
    start_job(3, 1);
    die(2, MST_FAILOVER_GONE);
    assert_may_drain(1, MST_UNAVAILABLE, "another server to have a copy of group 1 than ps-1");
    settle();
    assert_may_drain(0, MST_UNAVAILABLE, "another server to have a copy of group 2 than ps-0");
    now_ms += PATIENCE_MS;
    settle();
    fill(0);
    fill(1);
    settle();
    assert_false(mst_failover_is_full(&failover));
    assert_may_drain(0, MST_OK, "");
    assert_may_drain(1, MST_OK, "");
    end();
}

static void test_a_place_is_kept_for_a_while_and_given_back_later(void **state)
{
    (void)state;
    start_job(3, 1);
    die(0, MST_FAILOVER_GONE);
    settle();
    assert_roles("ps-1, ps-1 > ps-2, ps-2");
    now_ms += PATIENCE_MS - 1;
    settle();
    assert_roles("ps-1, ps-1 > ps-2, ps-2");
    now_ms++;
    settle();
    assert_roles("ps-1 + ps-2, ps-1 > ps-2, ps-2 + ps-1");
    fill(1);
    fill(2);
    assert_roles("ps-1 > ps-2, ps-1 > ps-2, ps-2 > ps-1");
    assert_false(mst_failover_is_full(&failover));
    servers[1].is_filled = servers[2].is_filled = false;
    start_server(0);
    settle();
    fill(0);
    assert_roles("ps-0 > ps-1, ps-1 > ps-2, ps-2 > ps-0");
    assert_true(mst_failover_is_full(&failover));
    end();
}

static void test_of_two_backups_one_is_promoted_and_the_other_stays_one(void **state)
{
    (void)state;
    start_job(4, 2);
    assert_roles("ps-0 > ps-1 > ps-2, ps-1 > ps-2 > ps-3, ps-2 > ps-3 > ps-0, ps-3 > ps-0 > ps-1");
    die(0, MST_FAILOVER_GONE);
    assert_true(mst_failover_advance(&failover, now_ms));
    char *first = mst_roles_text(&failover.current);
    assert_string_equal(first, "1.2: ps-1 > ps-2, ps-1 > ps-2 > ps-3, ps-2 > ps-3 > ps-0, ps-3 > ps-0 > ps-1");
    free(first); // the others' changes follow, one primary's after the other
    settle();
    assert_roles("ps-1 > ps-2, ps-1 > ps-2 > ps-3, ps-2 > ps-3, ps-3 > ps-1");
    start_server(0);
    settle();
    fill(0);
    assert_roles("ps-0 > ps-2 > ps-1, ps-1 > ps-2 > ps-3, ps-2 > ps-3 > ps-0, ps-3 > ps-1 > ps-0");
    assert_true(mst_failover_is_full(&failover));
    end();
}

static void test_of_three_copies_two_die(void **state)
{
    (void)state;
    for (int is_between = 0; is_between < 2; is_between++) {
        start_job(3, 2);
        die(0, MST_FAILOVER_GONE);
        if (is_between)
            settle();
        die(1, MST_FAILOVER_GONE);
        settle();
        start_server(0);
        settle();
        assert_waits_for("ps-1: more than half of the 3 parameter servers have to know who had which shards, and 1 "
                         "here does; one that is started again does not, until all are here");
        start_server(1);
        settle();
        assert_roles("ps-2 + ps-0, ps-2 + ps-1, ps-2 + ps-0");
        end();
    }
}

// It may be that one's fault, and what it has is as good as what the promoted one has.
static void test_whom_a_dead_primary_could_not_reach_stays_a_backup(void **state)
{
    (void)state;
    start_job(3, 2);
    servers[0].has_lost[2] = true;
    report(0);
    die(0, MST_FAILOVER_GONE);
    settle();
    assert_roles("ps-1 > ps-2, ps-1 > ps-2, ps-2 > ps-1");
    end();
}

static void test_a_backup_that_is_to_leave_does_not_stay_for_the_promoted_one(void **state)
{
    (void)state;
    start_job(3, 2);
    servers[2].wants_drain = true;
    report(2);
    die(0, MST_FAILOVER_GONE);
    settle();
    assert_roles("ps-1, ps-1, ps-1");
    end();
}

// Another chief, which the servers have told what they hold.
static void start_chief(uint64_t term)
{
    struct mst_failover_config config = failover.config;
    mst_failover_fini(&failover);
    mst_failover_init(&failover, &config);
    mst_failover_begin(&failover, term);
    for (size_t i = 0; i < n_servers; i++)
        if (servers[i].is_up)
            come_up(i);
}

static void test_a_chief_that_starts_goes_on_with_the_highest_roles(void **state)
{
    (void)state;
    start_job(3, 1);
    servers[2].is_deaf = true;
    die(2, MST_FAILOVER_SILENT);
    settle();
    assert_roles("ps-0 > ps-1, ps-1, ps-0");
    servers[2].is_deaf = false;
    servers[2].is_up = true; // with older roles
    start_chief(2);
    read_server(2);
    settle();
    assert_null(mst_failover_committed(&failover));
    assert_waits_for("ps-0 to say what an earlier chief left, ps-1 to say what an earlier chief left");
    read_server(0);
    settle();
    assert_non_null(mst_failover_committed(&failover));
    assert_int_equal(mst_failover_committed(&failover)->epoch.term, 2);
    assert_roles("ps-0 > ps-1, ps-1 + ps-2, ps-0 + ps-2");
    end();
}

static void test_a_server_that_started_empty_does_not_count_until_it_acts(void **state)
{
    (void)state;
    start_job(3, 1);
    die(0, MST_FAILOVER_GONE);
    settle();
    servers[0].is_deaf = true;
    start_server(0);
    servers[0].is_deaf = true;
    die(1, MST_FAILOVER_SILENT);
    start_chief(2);
    die(1, MST_FAILOVER_SILENT);
    read_server(0);
    read_server(2);
    settle();
    assert_null(mst_failover_committed(&failover));
    assert_waits_for("ps-1: more than half of the 3 parameter servers have to know who had which shards, and 1 here "
                     "does; one that is started again does not");
    end();
}

static void test_a_server_that_was_not_read_counts_by_the_roles_that_the_chief_took_over(void **state)
{
    (void)state;
    start_job(3, 1);
    start_chief(2);
    read_server(0);
    read_server(2);
    assert_true(mst_failover_advance(&failover, now_ms)); // it leads
    die(0, MST_FAILOVER_SILENT);
    settle();
    assert_roles("ps-1, ps-1 > ps-2, ps-2");
    end();
}

static void test_a_server_that_is_reached_late_counts_when_it_acts(void **state)
{
    (void)state;
    start_job(3, 1);
    servers[1].acting = (struct mst_epoch){0};
    servers[1].is_counting = servers[1].is_up = false;
    start_chief(2);
    read_server(0);
    read_server(2);
    settle();
    assert_waits_for("ps-1 to store the new roles");
    come_up(1);
    settle();
    assert_true(mst_failover_is_full(&failover));
    die(0, MST_FAILOVER_SILENT);
    settle();
    assert_roles("ps-1, ps-1 > ps-2, ps-2");
    end();
}

// A chief that another one succeeded, unknown to it, may have told it what was true before.
static void test_a_server_that_acts_on_roles_of_the_process_before_it_does_not_count(void **state)
{
    (void)state;
    start_job(3, 1);
    struct mst_roles old = {0};
    mst_roles_copy(&old, &servers[1].stored);
    servers[1].is_up = false;
    start_chief(2);
    read_server(0);
    read_server(2);
    assert_true(mst_failover_advance(&failover, now_ms));
    assert_false(mst_failover_is_named(&failover, 1)); // nothing is committed
    start_server(1);
    servers[1].stored = old;
    servers[1].acting = old.epoch;
    die(0, MST_FAILOVER_SILENT);
    settle();
    assert_null(mst_failover_committed(&failover));
    assert_waits_for("ps-0: more than half of the 3 parameter servers have to know who had which shards, and 1 here "
                     "does; one that is started again does not, until all are here");
    end();
}

static void test_of_two_servers_a_starting_chief_reads_every_one_that_is_not_dead(void **state)
{
    (void)state;
    start_job(2, 1);
    start_chief(2);
    read_server(0);
    settle();
    assert_null(mst_failover_committed(&failover));
    die(1, MST_FAILOVER_GONE);
    settle();
    assert_roles("ps-0, ps-0");
    end();
}

static void test_of_two_servers_a_silent_one_is_waited_for_longer(void **state)
{
    (void)state;
    start_job(2, 1);
    start_chief(2);
    read_server(0);
    die(1, MST_FAILOVER_SILENT);
    settle();
    assert_null(mst_failover_committed(&failover));
    assert_waits_for("ps-1 to say what an earlier chief left");
    now_ms += PATIENCE_MS;
    settle();
    assert_roles("ps-0, ps-0");
    end();
}

static void test_a_first_run_that_was_cut_short_begins_anew(void **state)
{
    (void)state;
    start(2, 1);
    mst_failover_begin(&failover, 1);
    for (size_t i = 0; i < 2; i++) {
        start_server(i);
        read_server(i);
    }
    assert_true(mst_failover_advance(&failover, now_ms));
    deliver(0); // and nobody else
    start_server(1);
    start_chief(2);
    read_server(0);
    read_server(1);
    settle();
    assert_roles("ps-0 > ps-1, ps-1 > ps-0");
    assert_true(mst_failover_is_full(&failover));
    end();
}

static void test_what_an_earlier_incarnation_says_late_counts_no_more(void **state)
{
    (void)state;
    start_job(2, 1);
    die(1, MST_FAILOVER_GONE);
    start_server(1);
    struct mst_failover_memory memory = {0};
    struct mst_msg_roles_reply reply = {.stored_term = 9, .stored_n = 9};
    mst_failover_read(&failover, 1, servers[1].incarnation - 1, &memory);
    mst_failover_heard(&failover, 1, servers[1].incarnation - 1, &reply);
    settle();
    assert_roles("ps-0 + ps-1, ps-0 + ps-1");
    end();
}

static bool is_in_set(const void *arg, size_t ps)
{
    const unsigned *set = arg;
    return *set >> ps & 1;
}

static bool is_known_at(unsigned set)
{
    return mst_failover_is_known(&failover, is_in_set, &set);
}

// What is stored is known to a later chief by the rule that roles are committed by.
static void test_what_is_stored_is_known_as_roles_are(void **state)
{
    (void)state;
    start(3, 0);
    mst_failover_dead(&failover, 1, MST_FAILOVER_GONE, now_ms);
    assert_true(mst_failover_is_live(&failover, 1));
    assert_true(is_known_at(7));
    for (unsigned set = 0; set < 7; set++)
        assert_false(is_known_at(set));
    end();
    start_job(3, 1);
    assert_true(is_known_at(7));
    assert_false(is_known_at(3)); // ps-2 lives
    die(2, MST_FAILOVER_SILENT);
    assert_false(mst_failover_is_live(&failover, 2));
    assert_true(is_known_at(3) && is_known_at(7));
    assert_false(is_known_at(1) || is_known_at(2) || is_known_at(5));
    start_server(2); // empty: it has to have it, and does not count
    assert_false(is_known_at(3));
    die(1, MST_FAILOVER_GONE);
    assert_false(is_known_at(5));
    assert_false(is_known_at(1));
    end();
    start_job(2, 1);
    die(0, MST_FAILOVER_SILENT);
    assert_true(is_known_at(2));
    assert_false(is_known_at(1) || is_known_at(0));
    end();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_without_replicas_every_group_stays_at_home),
        cmocka_unit_test(test_a_job_begins_when_all_are_read_and_have_stored),
        cmocka_unit_test(test_a_backup_takes_a_dead_primarys_place_and_the_home_gets_it_back),
        cmocka_unit_test(test_a_change_is_full_again_only_when_all_act_on_it),
        cmocka_unit_test(test_a_live_server_that_has_not_stored_holds_a_commit_back_until_it_is_dead),
        cmocka_unit_test(test_a_proposal_is_of_one_primary),
        cmocka_unit_test(test_a_joiner_is_never_promoted),
        cmocka_unit_test(test_a_backup_that_its_primary_cannot_reach_is_dropped_for_a_while),
        cmocka_unit_test(test_a_server_that_was_silent_is_filled_again_at_once),
        cmocka_unit_test(test_a_server_that_wants_to_go_hands_over_and_is_drained),
        cmocka_unit_test(test_a_handover_waits_until_its_primary_is_quiet),
        cmocka_unit_test(test_the_only_copy_is_not_drained),
        cmocka_unit_test(test_servers_are_drained_one_after_the_other),
        cmocka_unit_test(test_without_one_that_stays_away_the_others_may_be_drained),
        cmocka_unit_test(test_a_place_is_kept_for_a_while_and_given_back_later),
        cmocka_unit_test(test_of_two_backups_one_is_promoted_and_the_other_stays_one),
        cmocka_unit_test(test_of_three_copies_two_die),
        cmocka_unit_test(test_whom_a_dead_primary_could_not_reach_stays_a_backup),
        cmocka_unit_test(test_a_backup_that_is_to_leave_does_not_stay_for_the_promoted_one),
        cmocka_unit_test(test_a_chief_that_starts_goes_on_with_the_highest_roles),
        cmocka_unit_test(test_a_server_that_started_empty_does_not_count_until_it_acts),
        cmocka_unit_test(test_a_server_that_was_not_read_counts_by_the_roles_that_the_chief_took_over),
        cmocka_unit_test(test_a_server_that_is_reached_late_counts_when_it_acts),
        cmocka_unit_test(test_a_server_that_acts_on_roles_of_the_process_before_it_does_not_count),
        cmocka_unit_test(test_of_two_servers_a_starting_chief_reads_every_one_that_is_not_dead),
        cmocka_unit_test(test_of_two_servers_a_silent_one_is_waited_for_longer),
        cmocka_unit_test(test_a_first_run_that_was_cut_short_begins_anew),
        cmocka_unit_test(test_what_an_earlier_incarnation_says_late_counts_no_more),
        cmocka_unit_test(test_what_is_stored_is_known_as_roles_are),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
