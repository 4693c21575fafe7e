// Addresses are only taken apart here; whether a name resolves is found out when somebody connects, since in Kubernetes
// it may not yet.
#include "spec/address.h"

#include "base/error.h"

#include <arpa/inet.h>
#include <stddef.h>
#include <string.h>
#include <strings.h>

bool mst_host_is_loopback(const char *host)
{
    struct in_addr v4;
    if (inet_pton(AF_INET, host, &v4) == 1)
        return (ntohl(v4.s_addr) >> 24) == 127;
    return strcasecmp(host, "localhost") == 0 || strcmp(host, "::1") == 0;
}

static bool is_name(const char *host, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        char c = host[i];
        bool is_word = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        if (!is_word && c != '-' && c != '_' && c != '.')
            return false;
    }
    return len > 0;
}

// The zone of fe80::1%eth0 is not inet_pton's to read.
static bool is_v6(const char *host)
{
    char address[INET6_ADDRSTRLEN + 1] = "";
    size_t len = strcspn(host, "%");
    if (len >= sizeof address)
        return false;
    memcpy(address, host, len);
    struct in6_addr v6;
    return inet_pton(AF_INET6, address, &v6) == 1 && (host[len] == '\0' || host[len + 1] != '\0');
}

static bool read_port(const char *text, uint16_t *port)
{
    unsigned value = 0;
    size_t n = 0;
    for (; text[n] >= '0' && text[n] <= '9' && n < 5; n++)
        value = value * 10 + (unsigned)(text[n] - '0');
    if (n == 0 || text[n] != '\0' || value > UINT16_MAX)
        return false;
    *port = (uint16_t)value;
    return true;
}

mst_status mst_address_parse(const char *text, struct mst_address *out, struct mst_error *err)
{
    memset(out, 0, sizeof *out);
    if (strstr(text, "://"))
        return mst_fail(err, MST_INVALID_ARGUMENT, "address \"%.300s\": write host:port without a scheme", text);
    const char *colon = strrchr(text, ':');
    const char *bracket = strrchr(text, ']');
    if (!colon || (bracket && bracket > colon))
        return mst_fail(err, MST_INVALID_ARGUMENT,
                        "address \"%.300s\" has no port: write host:port, as in localhost:2222", text);
    bool is_bracketed = text[0] == '[' && bracket && bracket + 1 == colon;
    const char *host = is_bracketed ? text + 1 : text;
    size_t len = (size_t)((is_bracketed ? bracket : colon) - host);
    if (len > MST_ADDRESS_MAX_HOST)
        return mst_fail(err, MST_INVALID_ARGUMENT, "address \"%.60s…\": the host has %zu characters, the limit is %d",
                        text, len, MST_ADDRESS_MAX_HOST);
    memcpy(out->host, host, len);
    out->host[len] = '\0';
    if (is_bracketed ? !is_v6(out->host) : !is_name(host, len))
        return mst_fail(err, MST_INVALID_ARGUMENT,
                        "address \"%.300s\" names no host: write host:port, or [2001:db8::1]:port for IPv6", text);
    if (!read_port(colon + 1, &out->port))
        return mst_fail(err, MST_INVALID_ARGUMENT,
                        "address \"%.300s\" has the port \"%.60s\": it must be a number from 1 to 65535", text,
                        colon + 1);
    if (out->port == 0 && !mst_host_is_loopback(out->host))
        return mst_fail(
            err, MST_INVALID_ARGUMENT,
            "address \"%.300s\": port 0 (the system picks one) works only on localhost, peers could not find it", text);
    return MST_OK;
}
