// The gate of a cut: what passes it, and when a bucket has all that the cut names.
#include "ps/cut_gate.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static struct mst_cut_gate gate;
static struct mst_client_table clients;

static int set_up(void **state)
{
    (void)state;
    mst_cut_gate_init(&gate);
    mst_client_table_init(&clients);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    mst_cut_gate_fini(&gate);
    mst_client_table_fini(&clients);
    return 0;
}

static void has(uint32_t worker, uint64_t number, uint64_t step)
{
    struct mst_client_row row = {.number = number, .step = step};
    mst_client_table_record(&clients, worker, &row);
}

static void test_an_open_gate_lets_all_pass(void **state)
{
    (void)state;
    assert_true(mst_cut_gate_admits(&gate, 7, 1, 1));
    assert_false(mst_cut_gate_is_reached(&gate, &clients));
    mst_cut_gate_hold(&gate, 1);
    mst_cut_gate_open(&gate);
    assert_true(mst_cut_gate_admits(&gate, 7, 1, 1));
}

static void test_a_held_gate_lets_nothing_pass(void **state)
{
    (void)state;
    mst_cut_gate_hold(&gate, 3);
    assert_int_equal(gate.id, 3);
    assert_false(mst_cut_gate_admits(&gate, 0, 1, 1));
    assert_false(mst_cut_gate_is_reached(&gate, &clients));
}

static void test_steps_up_to_the_cut_pass(void **state)
{
    (void)state;
    const struct mst_cut_row rows[] = {{0, 2, 5}, {3, 1, 9}};
    mst_cut_gate_hold(&gate, 3);
    mst_cut_gate_admit(&gate, 3, rows, 2);
    assert_true(mst_cut_gate_admits(&gate, 0, 2, 5));
    assert_false(mst_cut_gate_admits(&gate, 0, 2, 6));
    assert_true(mst_cut_gate_admits(&gate, 0, 1, 100)); // an older incarnation: its table refuses it
    assert_false(mst_cut_gate_admits(&gate, 0, 3, 1));  // a newer one
    assert_true(mst_cut_gate_admits(&gate, 3, 1, 9));
    assert_false(mst_cut_gate_admits(&gate, 1, 1, 1)); // nobody had heard of it
}

static void test_a_cut_is_reached_when_nothing_is_missing(void **state)
{
    (void)state;
    const struct mst_cut_row rows[] = {{0, 2, 5}, {3, 1, 9}};
    mst_cut_gate_admit(&gate, 3, rows, 2);
    assert_false(mst_cut_gate_is_reached(&gate, &clients));
    has(0, 2, 5);
    has(3, 1, 8);
    assert_false(mst_cut_gate_is_reached(&gate, &clients));
    has(3, 1, 9);
    assert_true(mst_cut_gate_is_reached(&gate, &clients));
    has(0, 1, 50);
    assert_false(mst_cut_gate_is_reached(&gate, &clients));
}

static void test_nobody_waits_for_the_fenced(void **state)
{
    (void)state;
    const struct mst_cut_row rows[] = {{0, 2, 5}, {3, 1, 9}};
    mst_cut_gate_admit(&gate, 3, rows, 2);
    has(0, 2, 4);
    has(3, 1, 9);
    assert_false(mst_cut_gate_is_reached(&gate, &clients));
    mst_client_table_fence(&clients, 0, 1); // an earlier incarnation
    assert_false(mst_cut_gate_is_reached(&gate, &clients));
    mst_client_table_fence(&clients, 0, 2);
    assert_true(mst_cut_gate_is_reached(&gate, &clients));
}

static void test_a_cut_of_nobody_is_reached_at_once(void **state)
{
    (void)state;
    mst_cut_gate_admit(&gate, 3, NULL, 0);
    has(0, 2, 4);
    assert_true(mst_cut_gate_is_reached(&gate, &clients));
}

static void test_less_than_the_cut_is_told_where_it_is_known(void **state)
{
    (void)state;
    const struct mst_cut_row row = {0, 2, 5};
    const struct mst_client_row fenced = {.number = 2, .step = 4};
    const struct mst_client_row whole = {.number = 2, .step = 5};
    const struct mst_client_row other = {.number = 1, .step = 9};
    const struct mst_client_row restored = {.number = 2, .step = 4, .is_restored = true};
    assert_true(mst_cut_gate_is_short(&row, &fenced));
    assert_false(mst_cut_gate_is_short(&row, &whole));
    assert_false(mst_cut_gate_is_short(&row, &other));
    assert_false(mst_cut_gate_is_short(&row, &restored));
}

#define CASE(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_an_open_gate_lets_all_pass),
        CASE(test_a_held_gate_lets_nothing_pass),
        CASE(test_steps_up_to_the_cut_pass),
        CASE(test_a_cut_is_reached_when_nothing_is_missing),
        CASE(test_nobody_waits_for_the_fenced),
        CASE(test_a_cut_of_nobody_is_reached_at_once),
        CASE(test_less_than_the_cut_is_told_where_it_is_known),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
