// Addresses as people write them: of --http, and of peers. What is taken says the same when it is written again.
#include "base/error.h"
#include "http/http.h"
#include "muster/status.h"
#include "rpc/resolve.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void try_http(const char *text)
{
    struct mst_http_address address, again;
    struct mst_error err;
    if (mst_http_address_parse(text, &address, &err) != MST_OK)
        return;
    char written[sizeof address.host + 16];
    struct in6_addr v6;
    struct in_addr v4;
    char host[sizeof address.host];
    snprintf(host, sizeof host, "%.*s", (int)strcspn(address.host, "%"), address.host); // without its zone
    bool is_v4 = inet_pton(AF_INET, host, &v4) == 1, is_v6 = inet_pton(AF_INET6, host, &v6) == 1;
    MST_ASSERT(is_v4 || is_v6 || address.host[0] == '\0');
    if (address.host[0] == '\0')
        snprintf(written, sizeof written, "%u", address.port);
    else
        snprintf(written, sizeof written, is_v6 ? "[%s]:%u" : "%s:%u", address.host, address.port);
    mst_status status = mst_http_address_parse(written, &again, &err);
    MST_ASSERT(status == MST_OK && strcmp(address.host, again.host) == 0 && address.port == again.port);
}

static void try_peer(const char *text)
{
    char host[64], host_again[64], written[sizeof host + 16];
    uint16_t port, port_again;
    struct mst_error err;
    if (mst_address_split(text, host, sizeof host, &port, &err) != MST_OK)
        return;
    MST_ASSERT(host[0] != '\0' && port > 0);
    snprintf(written, sizeof written, "[%s]:%u", host, port);
    mst_status status = mst_address_split(written, host_again, sizeof host_again, &port_again, &err);
    MST_ASSERT(status == MST_OK && strcmp(host, host_again) == 0 && port == port_again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = malloc(size + 1);
    if (!text)
        abort();
    if (size)
        memcpy(text, data, size);
    text[size] = '\0';
    try_http(text);
    try_peer(text);
    free(text);
    return 0;
}
