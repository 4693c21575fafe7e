// Where to listen: every form, and what is refused.
#include "http/http.h"

#include "muster/status.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

static void test_what_is_taken(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        const char *host;
        uint16_t port;
    } rows[] = {
        {"8080", "", 8080},
        {"0", "", 0},
        {"65535", "", 65535},
        {"00080", "", 80},
        {"127.0.0.1:8080", "127.0.0.1", 8080},
        {"0.0.0.0:0", "0.0.0.0", 0},
        {"[::1]:9", "::1", 9},
        {"[::]:9", "::", 9},
        {"[::ffff:10.0.0.1]:9", "::ffff:10.0.0.1", 9},
        {"[fe80::1%eth0]:9", "fe80::1%eth0", 9},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct mst_http_address address;
        assert_int_equal(mst_http_address_parse(rows[i].text, &address, NULL), MST_OK);
        assert_string_equal(address.host, rows[i].host);
        assert_int_equal(address.port, rows[i].port);
    }
}

static void test_what_is_refused(void **state)
{
    (void)state;
    static const char *const rows[] = {
        "",
        "port",
        "65536",
        "99999",
        "100000",
        "-1",
        "+1",
        " 80",
        "80 ",
        "0x50",
        "80a",
        ":80",
        "127.0.0.1",
        "127.0.0.1:",
        "::1:80",
        "[::1]",
        "[::1]:",
        "[]:80",
        "[127.0.0.1]:1",
        "[::1:80",
        "::1]:80",
        "host:80",
        "localhost:80",
        "1.2.3:80",
        "1.2.3.4.5:1",
        "[::1%]:80",
        "[:::1]:80",
        "[%eth0]:80",
        "80:",
        "[::1]x:80",
        "http://:80/",
        "127.0.0.1:8o",
        "127.1:80",
        "١٢٣",
        "[1111:2222:3333:4444:5555:6666:7777:8888:9999:aaaa:bbbb:cccc:dddd:eeee:ffff]:80",
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct mst_http_address address;
        struct mst_error err = {.text = ""};
        if (mst_http_address_parse(rows[i], &address, &err) != MST_INVALID_ARGUMENT)
            fail_msg("\"%s\" is taken", rows[i]);
        assert_string_equal(address.host, "");
        assert_int_equal(address.port, 0);
        assert_non_null(strstr(err.text, rows[i]));
        assert_non_null(strstr(err.text, "such as 8080 or 127.0.0.1:8080"));
    }
}

static void test_a_long_text_is_cut_in_the_sentence(void **state)
{
    (void)state;
    char text[5000];
    memset(text, '1', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    struct mst_http_address address;
    struct mst_error err;
    assert_int_equal(mst_http_address_parse(text, &address, &err), MST_INVALID_ARGUMENT);
    assert_non_null(strstr(err.text, "such as 8080"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_is_taken),
        cmocka_unit_test(test_what_is_refused),
        cmocka_unit_test(test_a_long_text_is_cut_in_the_sentence),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
