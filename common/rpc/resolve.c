// The thread shares a core with the resolver: getaddrinfo cannot be interrupted and may hang for half a minute, and
// nobody should wait for it at the end of a job. So a resolver that goes joins its thread only when that is idle; a
// busy one is let go and frees the core when it comes back. A lookup that was posted to its loop belongs to the
// mailbox; `is_cancelled` is written and read on the loop only.
#include "rpc/resolve.h"

#include "base/alloc.h"
#include "base/error.h"

#include <netdb.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct mst_lookup {
    struct mst_lookup *next;
    struct mst_loop *loop;
    char *host;
    uint16_t port;
    mst_resolved_fn on_resolved;
    void *arg;
    bool is_cancelled;
    mst_status status;
    char text[128];
    size_t n;
    struct mst_socket_address addresses[MST_SOCKET_ADDRESSES_MAX];
};

struct core {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct mst_lookup *first; // guarded by lock
    struct mst_lookup **last; // guarded by lock
    bool has_thread;          // guarded by lock
    bool is_busy;             // guarded by lock: the thread is in getaddrinfo
    bool is_closed;           // guarded by lock: nothing is posted any more
    bool is_abandoned;        // guarded by lock: closed while busy, the thread frees it
    pthread_t thread;
};

struct mst_resolver {
    struct core *core;
};

static void free_lookup(void *arg)
{
    struct mst_lookup *lookup = arg;
    free(lookup->host);
    free(lookup);
}

static void free_core(struct core *core)
{
    pthread_cond_destroy(&core->changed);
    pthread_mutex_destroy(&core->lock);
    free(core);
}

static void fill(struct mst_lookup *lookup, int flags)
{
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = flags | AI_NUMERICSERV};
    struct addrinfo *list = NULL;
    char port[8];
    snprintf(port, sizeof port, "%u", lookup->port);
    int error = getaddrinfo(lookup->host, port, &hints, &list);
    lookup->n = 0;
    for (struct addrinfo *at = list; !error && at && lookup->n < MST_SOCKET_ADDRESSES_MAX; at = at->ai_next) {
        struct mst_socket_address *address = &lookup->addresses[lookup->n++];
        memcpy(&address->storage, at->ai_addr, at->ai_addrlen);
        address->len = at->ai_addrlen;
    }
    if (list)
        freeaddrinfo(list);
    bool is_unknown = error == EAI_NONAME || error == EAI_NODATA || (!error && !lookup->n);
    lookup->status = lookup->n ? MST_OK : is_unknown ? MST_NOT_FOUND : MST_UNAVAILABLE;
    if (is_unknown)
        snprintf(lookup->text, sizeof lookup->text, "DNS not found");
    else if (error)
        snprintf(lookup->text, sizeof lookup->text, "DNS fails: %s", gai_strerror(error));
}

static void on_result(void *arg)
{
    struct mst_lookup *lookup = arg;
    if (!lookup->is_cancelled)
        lookup->on_resolved(lookup->arg, lookup->status, lookup->text, lookup->addresses, lookup->n);
    free_lookup(lookup);
}

static void post(struct mst_lookup *lookup)
{
    mst_loop_post_or_drop(lookup->loop, on_result, free_lookup, lookup);
}

static void *on_thread(void *arg)
{
    struct core *core = arg;
    pthread_setname_np(pthread_self(), "resolver");
    pthread_mutex_lock(&core->lock);
    while (!core->is_closed) {
        struct mst_lookup *lookup = core->first;
        if (!lookup) {
            pthread_cond_wait(&core->changed, &core->lock);
            continue;
        }
        core->first = lookup->next;
        if (!core->first)
            core->last = &core->first;
        core->is_busy = true;
        pthread_mutex_unlock(&core->lock);
        fill(lookup, 0);
        pthread_mutex_lock(&core->lock);
        core->is_busy = false;
        // Under the lock: the loop is there as long as the resolver is not closed.
        if (core->is_closed)
            free_lookup(lookup);
        else
            post(lookup);
    }
    bool is_mine = core->is_abandoned;
    pthread_mutex_unlock(&core->lock);
    if (is_mine)
        free_core(core);
    return NULL;
}

mst_status mst_resolver_new(struct mst_resolver **out, struct mst_error *err)
{
    (void)err;
    struct mst_resolver *resolver = mst_alloc(sizeof *resolver);
    struct core *core = mst_alloc(sizeof *core);
    pthread_mutex_init(&core->lock, NULL);
    pthread_cond_init(&core->changed, NULL);
    core->last = &core->first;
    resolver->core = core;
    *out = resolver;
    return MST_OK;
}

void mst_resolver_free(struct mst_resolver *resolver)
{
    if (!resolver)
        return;
    struct core *core = resolver->core;
    pthread_mutex_lock(&core->lock);
    core->is_closed = true;
    while (core->first) {
        struct mst_lookup *lookup = core->first;
        core->first = lookup->next;
        free_lookup(lookup);
    }
    bool is_busy = core->is_abandoned = core->is_busy;
    pthread_t thread = core->thread;
    bool has_thread = core->has_thread;
    pthread_cond_signal(&core->changed);
    pthread_mutex_unlock(&core->lock);
    if (is_busy)
        pthread_detach(thread);
    else if (has_thread)
        pthread_join(thread, NULL);
    if (!is_busy)
        free_core(core);
    free(resolver);
}

// With the lock held. False: no thread to be had.
static bool start_thread_locked(struct core *core)
{
    if (core->has_thread)
        return true;
    core->has_thread = pthread_create(&core->thread, NULL, on_thread, core) == 0;
    return core->has_thread;
}

struct mst_lookup *mst_resolver_ask(struct mst_resolver *resolver, struct mst_loop *loop, const char *host,
                                    uint16_t port, mst_resolved_fn on_resolved, void *arg)
{
    mst_loop_assert_owner(loop);
    struct mst_lookup *lookup = mst_alloc(sizeof *lookup);
    lookup->loop = loop;
    lookup->host = mst_strdup(host);
    lookup->port = port;
    lookup->on_resolved = on_resolved;
    lookup->arg = arg;
    fill(lookup, AI_NUMERICHOST);
    if (lookup->status == MST_OK) {
        post(lookup);
        return lookup;
    }
    struct core *core = resolver->core;
    pthread_mutex_lock(&core->lock);
    if (start_thread_locked(core)) {
        *core->last = lookup;
        core->last = &lookup->next;
        pthread_cond_signal(&core->changed);
    } else {
        lookup->status = MST_UNAVAILABLE;
        snprintf(lookup->text, sizeof lookup->text, "no thread for looking up names");
        post(lookup);
    }
    pthread_mutex_unlock(&core->lock);
    return lookup;
}

void mst_lookup_cancel(struct mst_lookup *lookup)
{
    if (lookup)
        lookup->is_cancelled = true;
}

mst_status mst_address_split(const char *address, char *host_out, size_t host_bytes, uint16_t *port_out,
                             struct mst_error *err)
{
    host_out[0] = '\0';
    *port_out = 0;
    const char *colon = strrchr(address, ':');
    char *end = NULL;
    unsigned long port = colon && colon[1] >= '0' && colon[1] <= '9' ? strtoul(colon + 1, &end, 10) : 0;
    const char *host = address;
    size_t host_len = colon ? (size_t)(colon - address) : 0;
    if (host_len >= 2 && host[0] == '[' && host[host_len - 1] == ']') {
        host++;
        host_len -= 2;
    }
    if (!end || *end || port < 1 || port > 65535 || !host_len || host_len >= host_bytes)
        return mst_fail(err, MST_INVALID_ARGUMENT, "address '%s' is not host:port with a port from 1 to 65535",
                        address);
    memcpy(host_out, host, host_len);
    host_out[host_len] = '\0';
    *port_out = (uint16_t)port;
    return MST_OK;
}
