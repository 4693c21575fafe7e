// Addresses are compared whatever form IPv4 has in them; what is none is the same as nothing.
#include "rpc/socket_address.h"

#include "base/error.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

static struct mst_socket_address v4(const char *host, uint16_t port)
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(port)};
    assert_int_equal(inet_pton(AF_INET, host, &in.sin_addr), 1);
    struct mst_socket_address address = {.len = sizeof in};
    *(struct sockaddr_in *)&address.storage = in;
    return address;
}

static struct mst_socket_address v6(const char *host, uint16_t port)
{
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
    assert_int_equal(inet_pton(AF_INET6, host, &in6.sin6_addr), 1);
    struct mst_socket_address address = {.len = sizeof in6};
    *(struct sockaddr_in6 *)&address.storage = in6;
    return address;
}

static void test_forms(void **state)
{
    (void)state;
    struct mst_socket_address plain = v4("10.1.2.3", 4711), mapped = v6("::ffff:10.1.2.3", 4711);
    struct mst_socket_address other = v4("10.1.2.4", 4711), local = v6("::1", 4711), none = {0};
    assert_true(mst_socket_address_is_same(&plain, &mapped));
    assert_true(mst_socket_address_is_same(&local, &local));
    assert_false(mst_socket_address_is_same(&plain, &other));
    assert_false(mst_socket_address_is_same_host(&plain, &other));
    assert_false(mst_socket_address_is_same(&local, &mapped));
    assert_false(mst_socket_address_is_same(&none, &none));
    assert_false(mst_socket_address_is_same_host(&plain, &none));
}

static void test_ports(void **state)
{
    (void)state;
    struct mst_socket_address a[] = {v4("10.1.2.3", 1), v6("::ffff:10.1.2.3", 1)}, b = v4("10.1.2.3", 2), none = {0};
    for (size_t i = 0; i < 2; i++) {
        assert_false(mst_socket_address_is_same(&a[i], &b));
        assert_true(mst_socket_address_is_same_host(&a[i], &b));
        mst_socket_address_set_port(&a[i], 2);
        assert_true(mst_socket_address_is_same(&a[i], &b));
    }
    mst_socket_address_set_port(&none, 2);
    assert_false(mst_socket_address_is_same_host(&none, &none));
}

static void test_ends(void **state)
{
    (void)state;
    struct mst_socket_address address = v4("127.0.0.1", 0), local, remote;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    MST_ASSERT(listener >= 0 && fd >= 0);
    assert_int_equal(bind(listener, (const struct sockaddr *)&address.storage, address.len), 0);
    assert_int_equal(listen(listener, 1), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&address.storage, &address.len), 0);
    assert_false(mst_socket_address_ends(fd, &local, &remote)); // not connected
    assert_int_equal(connect(fd, (const struct sockaddr *)&address.storage, address.len), 0);
    assert_true(mst_socket_address_ends(fd, &local, &remote));
    assert_true(mst_socket_address_is_same(&remote, &address));
    assert_true(mst_socket_address_is_same_host(&local, &remote));
    assert_false(mst_socket_address_is_same(&local, &remote));
    int fds[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    assert_false(mst_socket_address_ends(fds[0], &local, &remote));
    const int all[] = {listener, fd, fds[0], fds[1]};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        close(all[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_forms),
        cmocka_unit_test(test_ports),
        cmocka_unit_test(test_ends),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
