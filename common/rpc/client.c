// A pending call has a slot; its id is (count << SLOT_BITS) | slot, so a reply finds it without a search and a late
// reply finds that the slot is another call's now. One timer for all deadlines: it is set for the earliest, and left
// alone when a later one comes, so the usual call touches no timer.
#include "rpc/client.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/error.h"
#include "rpc/failed_calls.h"
#include "wire/messages.h"

#include <stdio.h>
#include <stdlib.h>

enum { SLOT_BITS = 12, NO_SLOT = MST_CLIENT_CALLS_MAX };
_Static_assert(1 << SLOT_BITS == MST_CLIENT_CALLS_MAX, "an id holds the slot in its low bits");

struct slot {
    uint64_t id; // 0: free
    size_t next_free;
    uint64_t due_ms;     // UINT64_MAX: no deadline
    uint64_t allowed_ms; // for the text
    uint16_t method;
    enum mst_body_verdict (*on_body)(void *arg, const struct mst_message *message, struct mst_sink *sink);
    void (*on_reply)(void *arg, const struct mst_reply *reply);
    void *arg;
};

struct mst_client {
    struct mst_loop *loop;
    struct mst_conn *conn; // NULL once closed
    char *name;            // for texts after that
    void (*on_closed)(void *arg, struct mst_client *client, mst_status status, const char *text);
    void *arg;
    struct slot *slots;
    size_t n_slots;
    size_t first_free;
    size_t n_pending;
    uint64_t count;
    size_t reading; // slot whose reply body is coming in, or NO_SLOT
    struct mst_timer timer;
    uint64_t timer_ms; // when it fires; UINT64_MAX: not running
    struct mst_failed_calls failed;
    bool *gone; // on the stack of who calls back
};

// ---- slots ----

static size_t take_slot(struct mst_client *client)
{
    if (client->first_free == NO_SLOT) {
        size_t n = client->n_slots ? 2 * client->n_slots : 16;
        client->slots = mst_realloc_array(client->slots, n, sizeof *client->slots);
        for (size_t i = n; i-- > client->n_slots;) {
            client->slots[i] = (struct slot){.next_free = client->first_free};
            client->first_free = i;
        }
        client->n_slots = n;
    }
    size_t slot = client->first_free;
    client->first_free = client->slots[slot].next_free;
    client->n_pending++;
    return slot;
}

// Ends the call in the slot. True if the client is still there.
static bool end_call(struct mst_client *client, size_t index, const struct mst_reply *reply)
{
    struct slot slot = client->slots[index];
    client->slots[index] = (struct slot){.next_free = client->first_free};
    client->first_free = index;
    client->n_pending--;
    if (client->reading == index)
        client->reading = NO_SLOT;
    if (!slot.on_reply)
        return true;
    bool gone = false;
    bool *outer = client->gone;
    client->gone = &gone;
    slot.on_reply(slot.arg, reply);
    if (gone) {
        if (outer)
            *outer = true;
        return false;
    }
    client->gone = outer;
    return true;
}

static size_t find_slot(const struct mst_client *client, const struct mst_message *message)
{
    size_t index = (size_t)(message->call & (MST_CLIENT_CALLS_MAX - 1));
    if (!(message->flags & MST_FRAME_REPLY) || index >= client->n_slots)
        return NO_SLOT;
    const struct slot *slot = &client->slots[index];
    return slot->id == message->call && slot->id && slot->method == message->method ? index : NO_SLOT;
}

// ---- replies ----

// The peer's own status and text, with its name in front.
static bool end_with_error(struct mst_client *client, size_t index, const struct mst_message *message)
{
    struct mst_arena arena;
    mst_arena_init(&arena, MST_MSG_ARENA_MAX);
    struct mst_msg_error error;
    struct mst_error text;
    mst_status status = mst_msg_error_decode(message->meta, &arena, &error, &text);
    if (status == MST_OK)
        status = mst_fail(&text, error.status, "%s: %s", client->name, error.text);
    else
        status = mst_fail(&text, MST_INTERNAL, "%s sent an error reply that cannot be read", client->name);
    struct mst_reply reply = {.status = status, .text = text.text};
    mst_arena_fini(&arena);
    return end_call(client, index, &reply);
}

static enum mst_body_verdict on_head(void *arg, struct mst_conn *conn, const struct mst_message *message,
                                     struct mst_sink *sink)
{
    (void)conn;
    struct mst_client *client = arg;
    size_t index = find_slot(client, message);
    if (index == NO_SLOT)
        return MST_BODY_DRAIN; // too late
    if (message->flags & MST_FRAME_ERROR) {
        end_with_error(client, index, message);
        return MST_BODY_DRAIN;
    }
    enum mst_body_verdict verdict = MST_BODY_DRAIN;
    struct slot slot = client->slots[index]; // a copy: on_body may call, and the slots move
    if (slot.on_body)
        verdict = slot.on_body(slot.arg, message, sink);
    if (verdict == MST_BODY_TAKE)
        client->reading = index;
    if (verdict == MST_BODY_DRAIN) {
        struct mst_error text;
        mst_status status =
            mst_fail(&text, MST_INTERNAL, "%s answered %s with a body of %llu bytes that does not fit", client->name,
                     mst_method_name(message->method), (unsigned long long)message->body_bytes);
        struct mst_reply reply = {.status = status, .text = text.text};
        end_call(client, index, &reply);
    }
    return verdict;
}

static void on_message(void *arg, struct mst_conn *conn, const struct mst_message *message)
{
    struct mst_client *client = arg;
    if (!(message->flags & MST_FRAME_REPLY)) {
        mst_conn_reply_error(conn, message, MST_UNIMPLEMENTED, "calls are answered only by the side that was dialled");
        return;
    }
    size_t index = find_slot(client, message);
    if (index == NO_SLOT)
        return; // too late
    if (message->flags & MST_FRAME_ERROR) {
        end_with_error(client, index, message);
        return;
    }
    struct mst_reply reply = {.status = MST_OK, .text = "", .message = message};
    end_call(client, index, &reply);
}

// Ends every pending call. True if the client is still there.
static bool end_all(struct mst_client *client, mst_status status, const char *text)
{
    struct mst_reply reply = {.status = status, .text = text};
    for (size_t i = 0; i < client->n_slots; i++)
        if (client->slots[i].id && !end_call(client, i, &reply))
            return false;
    return true;
}

static void on_closed(void *arg, struct mst_conn *conn, mst_status status, const char *text)
{
    (void)conn;
    struct mst_client *client = arg;
    client->conn = NULL;
    mst_timer_stop(&client->timer);
    client->timer_ms = UINT64_MAX;
    // What a peer's bad bytes were is for the log; to a caller it is a connection that was lost. Those that failed at
    // once and wait for the loop hear of it now: after on_closed the client is gone.
    if (end_all(client, MST_UNAVAILABLE, text) && mst_failed_calls_tell(&client->failed) && client->on_closed)
        client->on_closed(client->arg, client, status, text);
}

// ---- deadlines ----

static void set_timer(struct mst_client *client, uint64_t due_ms, uint64_t now_ms)
{
    if (due_ms >= client->timer_ms)
        return;
    client->timer_ms = due_ms;
    mst_timer_start_once(&client->timer, due_ms > now_ms ? due_ms - now_ms : 0);
}

static bool end_late(struct mst_client *client, size_t index)
{
    const struct slot *slot = &client->slots[index];
    if (client->reading == index && client->conn)
        mst_conn_abandon_body(client->conn);
    if (client->conn)
        mst_conn_resume(client->conn); // if it was parked for this one, nobody else will
    struct mst_error text;
    mst_status status = mst_fail(&text, MST_DEADLINE_EXCEEDED, "%s did not answer %s within %llu ms", client->name,
                                 mst_method_name(slot->method), (unsigned long long)slot->allowed_ms);
    struct mst_reply reply = {.status = status, .text = text.text};
    return end_call(client, index, &reply);
}

static void on_deadline(void *arg)
{
    struct mst_client *client = arg;
    uint64_t now_ms = mst_clock_monotonic_ms();
    client->timer_ms = UINT64_MAX;
    for (size_t i = 0; i < client->n_slots; i++)
        if (client->slots[i].id && client->slots[i].due_ms <= now_ms && !end_late(client, i))
            return;
    uint64_t next_ms = UINT64_MAX;
    for (size_t i = 0; i < client->n_slots; i++)
        if (client->slots[i].id && client->slots[i].due_ms < next_ms)
            next_ms = client->slots[i].due_ms;
    set_timer(client, next_ms, now_ms);
}

// ---- life and calls ----

mst_status mst_client_new(struct mst_conn *conn,
                          void (*on_client_closed)(void *arg, struct mst_client *client, mst_status status,
                                                   const char *text),
                          void *arg, struct mst_client **out)
{
    static const struct mst_conn_events events = {.on_head = on_head, .on_message = on_message, .on_closed = on_closed};
    struct mst_client *client = mst_alloc(sizeof *client);
    client->loop = mst_conn_loop(conn);
    client->conn = conn;
    client->name = mst_strdup(mst_conn_name(conn));
    client->on_closed = on_client_closed;
    client->arg = arg;
    client->first_free = NO_SLOT;
    client->reading = NO_SLOT;
    client->timer_ms = UINT64_MAX;
    mst_timer_init(&client->timer, client->loop, on_deadline, client);
    mst_failed_calls_init(&client->failed, client->loop);
    mst_conn_set_events(conn, &events, client);
    *out = client;
    return MST_OK;
}

void mst_client_free(struct mst_client *client)
{
    if (!client)
        return;
    if (client->gone)
        *client->gone = true;
    mst_conn_close(client->conn);
    mst_timer_fini(&client->timer);
    mst_failed_calls_fini(&client->failed);
    free(client->slots);
    free(client->name);
    free(client);
}

void mst_client_call(struct mst_client *client, const struct mst_call *call)
{
    mst_loop_assert_owner(client->loop);
    struct mst_error text;
    if (!client->conn) {
        mst_fail(&text, MST_UNAVAILABLE, "no connection with %s", client->name);
        mst_failed_calls_add(&client->failed, call, MST_UNAVAILABLE, text.text);
        return;
    }
    if (client->n_pending == MST_CLIENT_CALLS_MAX) {
        mst_fail(&text, MST_RESOURCE_EXHAUSTED, "%d calls to %s are not answered yet", MST_CLIENT_CALLS_MAX,
                 client->name);
        mst_failed_calls_add(&client->failed, call, MST_RESOURCE_EXHAUSTED, text.text);
        return;
    }
    size_t index = take_slot(client);
    struct slot *slot = &client->slots[index];
    *slot = (struct slot){.id = ++client->count << SLOT_BITS | index,
                          .due_ms = UINT64_MAX,
                          .allowed_ms = call->deadline_ms,
                          .method = call->method,
                          .on_body = call->on_body,
                          .on_reply = call->on_reply,
                          .arg = call->arg};
    if (call->deadline_ms) {
        uint64_t now_ms = mst_clock_monotonic_ms();
        slot->due_ms = call->deadline_ms < UINT64_MAX - now_ms ? now_ms + call->deadline_ms : UINT64_MAX;
        set_timer(client, slot->due_ms, now_ms);
    }
    struct mst_frame head = {.method = call->method, .call = slot->id};
    if (call->adds_body_crc)
        head.flags = MST_FRAME_BODY_CRC;
    mst_conn_send(client->conn, &head, call->meta, &call->body);
}

size_t mst_client_n_pending(const struct mst_client *client)
{
    return client->n_pending;
}

struct mst_conn *mst_client_conn(struct mst_client *client)
{
    return client->conn;
}
