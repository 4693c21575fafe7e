// `muster admin drain` and the chief: what is asked and answered is read as it was printed, and nothing else is.
#include "cli/drain_request.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void test_tasks(void **state)
{
    (void)state;
    size_t ps;
    struct mst_error err;
    assert_int_equal(mst_drain_task_parse("ps-0", &ps, &err), MST_OK);
    assert_int_equal(ps, 0);
    assert_int_equal(mst_drain_task_parse("ps-999999", &ps, &err), MST_OK);
    assert_int_equal(ps, 999999);
    static const char *const wrong[] = {"",      "ps",   "ps-",  "ps-1 ",    "ps-01", "ps--1",
                                        "ps-1x", "PS-1", "ps/1", "worker-1", "1",     "ps-99999999999999999999"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        assert_int_equal(mst_drain_task_parse(wrong[i], &ps, &err), MST_INVALID_ARGUMENT);
        assert_int_equal(ps, 0);
        assert_non_null(strstr(err.text, "is no parameter server"));
    }
}

static void test_requests(void **state)
{
    (void)state;
    static const struct mst_drain_request sent[] = {{0, 0}, {3, 1}, {12, UINT64_MAX}, {7, 0xabcdef}};
    for (size_t i = 0; i < sizeof sent / sizeof *sent; i++) {
        char text[128];
        struct mst_drain_request got;
        mst_drain_request_print(&sent[i], text, sizeof text);
        char *query = strchr(text, '?');
        if (query)
            *query++ = '\0';
        assert_int_equal(mst_drain_request_parse(text, query ? query : "", &got, NULL), MST_OK);
        assert_int_equal(got.ps, sent[i].ps);
        assert_int_equal(got.incarnation, sent[i].incarnation);
    }
    static const struct {
        const char *path, *query;
        mst_status status;
    } wrong[] = {{"/metrics", "", MST_NOT_FOUND},
                 {"/drain", "", MST_NOT_FOUND},
                 {"", "", MST_NOT_FOUND},
                 {"/drain/", "", MST_INVALID_ARGUMENT},
                 {"/drain/ps-1/", "", MST_INVALID_ARGUMENT},
                 {"/drain/ps%2d1", "", MST_INVALID_ARGUMENT},
                 {"/drain/ps-1", "incarnation=", MST_INVALID_ARGUMENT},
                 {"/drain/ps-1", "incarnation=0000000000000000", MST_INVALID_ARGUMENT},
                 {"/drain/ps-1", "incarnation=00000000000000001", MST_INVALID_ARGUMENT},
                 {"/drain/ps-1", "incarnation=000000000000000G", MST_INVALID_ARGUMENT},
                 {"/drain/ps-1", "incarnation=000000000000000A", MST_INVALID_ARGUMENT},
                 {"/drain/ps-1", "force", MST_INVALID_ARGUMENT}};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct mst_drain_request got;
        struct mst_error err = {""};
        assert_int_equal(mst_drain_request_parse(wrong[i].path, wrong[i].query, &got, &err), wrong[i].status);
        assert_true(err.text[0] != '\0');
    }
}

static mst_status parse(const char *text, struct mst_drain_answer *out)
{
    return mst_drain_answer_parse((struct mst_bytes){text, strlen(text)}, out, NULL);
}

static void test_answers(void **state)
{
    (void)state;
    char text[1024];
    struct mst_drain_answer got;
    struct mst_drain_answer sent = {.incarnation = 0x123456789abcdef, .waits_for = "ps-2 to \"store\" the roles\\"};
    mst_drain_answer_print(1, &sent, text, sizeof text);
    assert_non_null(strstr(text, "\"task\":\"ps-1\""));
    assert_int_equal(parse(text, &got), MST_OK);
    assert_int_equal(got.incarnation, sent.incarnation);
    assert_false(got.is_drained);
    assert_string_equal(got.waits_for, sent.waits_for);
    memset(sent.waits_for, '"', sizeof sent.waits_for - 1); // the longest there is
    sent.is_drained = true;
    mst_drain_answer_print(1, &sent, text, sizeof text);
    assert_int_equal(parse(text, &got), MST_OK);
    assert_true(got.is_drained);
    assert_string_equal(got.waits_for, sent.waits_for);
    assert_int_equal(
        parse("{\"incarnation\":\"0000000000000001\",\"state\":\"leaves\",\"waits_for\":\"a\\u001b[2J\"}", &got),
        MST_OK);
    assert_string_equal(got.waits_for, "a?[2J");
    static const char *const wrong[] = {
        "",
        "ready\n",
        "[]",
        "{}",
        "{\"incarnation\":1,\"state\":\"leaves\"}",
        "{\"incarnation\":\"1\",\"state\":\"leaves\"}",
        "{\"incarnation\":\"0000000000000001\",\"state\":\"gone\"}",
        "{\"incarnation\":\"0000000000000001\",\"state\":\"drained\"} x",
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        assert_int_equal(parse(wrong[i], &got), MST_DATA_LOSS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tasks),
        cmocka_unit_test(test_requests),
        cmocka_unit_test(test_answers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
