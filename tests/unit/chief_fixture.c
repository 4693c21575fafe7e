#include "chief_fixture.h"

#include "base/alloc.h"
#include "data_files.h"
#include "model/model.h"
#include "rpc/resolve.h"
#include "rpc/server.h"
#include "rpc/service.h"
#include "rpc_frames.h"
#include "wire/worker_numbers.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char job_text[] =
    "{\"name\": \"tiny\", \"model\": \"m.json\", \"batch_size\": 2, \"epochs\": 1, \"replicas\": %u,"
    " \"compile\": {\"optimizer\": {\"class_name\": \"SGD\", \"config\": {\"learning_rate\": 0.5}},"
    " \"loss\": {\"class_name\": \"SparseCategoricalCrossentropy\", \"config\": {\"from_logits\": true}}},"
    " \"data\": {\"train\": {\"format\": \"csv\", \"features\": \"train.csv\", \"label\": \"kind\"}},"
    " \"cluster\": {\"heartbeat_ms\": 1000, \"lease_ms\": 60000, \"absence_ms\": 120000},"
    " \"output\": {\"dir\": \"out\"}}";
static const char model_text[] =
    "{\"class_name\": \"Sequential\", \"config\": {\"name\": \"s\", \"layers\": ["
    "{\"class_name\": \"InputLayer\", \"config\": {\"batch_shape\": [null, 2], \"name\": \"in\"}},"
    "{\"class_name\": \"Dense\", \"config\": {\"name\": \"dense\", \"units\": 2}}]}}";
static const char train_text[] = "a,b,kind\n1,2,0\n3,4,1\n5,6,0\n7,8,1\n";

// ---- parameter servers ----

static void on_heartbeat(void *arg, struct mst_conn *conn, const struct mst_message *message)
{
    const struct mst_msg_heartbeat_reply reply = {.job_state = MST_JOB_RUNNING};
    (void)arg;
    RPC_ANSWER(conn, message, heartbeat_reply, &reply);
}

static void on_recall(void *arg, struct mst_conn *conn, const struct mst_message *message)
{
    const struct mst_msg_recall_reply reply = {0};
    (void)arg;
    RPC_ANSWER(conn, message, recall_reply, &reply);
}

static void on_state(void *arg, struct mst_conn *conn, const struct mst_message *message)
{
    struct scripted_ps *ps = arg;
    struct mst_msg_state state;
    RPC_DECODE(message, state, &state);
    ps->n_states++;
    const struct mst_msg_state_reply reply = {state.term, state.n};
    if (ps->state == SCRIPT_ANSWERS)
        RPC_ANSWER(conn, message, state_reply, &reply);
    else
        ps->kept_state = (struct mst_message){.method = message->method, .call = message->call};
    if (ps->state == SCRIPT_REFUSES)
        scripted_refuse_state(ps);
}

void scripted_refuse_state(struct scripted_ps *ps)
{
    assert_int_equal(ps->kept_state.method, MST_METHOD_STATE);
    mst_conn_reply_error(ps->conn, &ps->kept_state, MST_ABORTED, "another chief's term is followed here");
    ps->kept_state = (struct mst_message){0};
}

static void on_fence(void *arg, struct mst_conn *conn, const struct mst_message *message)
{
    struct scripted_ps *ps = arg;
    struct mst_msg_fence fence;
    RPC_DECODE(message, fence, &fence);
    struct mst_msg_client_row row = {.worker = fence.worker, .number = fence.number};
    if (ps->n_fences++ < ps->n_odd_fences)
        row.number = MST_NO_NUMBER;
    const struct mst_msg_fence_reply reply = {.ps = ps->index, .n_rows = 1, .rows = &row};
    RPC_ANSWER(conn, message, fence_reply, &reply);
}

// True if by these roles this very process has its own group.
static bool has_own_group(const struct scripted_ps *ps, const struct mst_msg_roles *roles)
{
    if (roles->n_groups == 0)
        return true;
    const struct mst_msg_group_roles *own = &roles->groups[ps->index];
    return own->has_primary && own->primary == ps->index && roles->incarnations[ps->index] == ps->incarnation;
}

static void on_map(void *arg, struct mst_conn *conn, const struct mst_message *message)
{
    struct scripted_ps *ps = arg;
    struct mst_arena arena;
    struct mst_msg_map map;
    mst_arena_init(&arena, MST_MSG_ARENA_MAX);
    assert_int_equal(mst_msg_map_decode(message->meta, &arena, &map, NULL), MST_OK);
    bool is_own = has_own_group(ps, &map.roles);
    mst_arena_fini(&arena);
    ps->n_maps++;
    ps->n_own_maps += is_own;
    if (is_own && ps->own_map == SCRIPT_KEEPS)
        return;
    const struct mst_msg_map_reply reply = {map.term, map.epoch, 1};
    RPC_ANSWER(conn, message, map_reply, &reply);
}

static bool is_news(const struct scripted_ps *ps)
{
    const struct mst_epoch epoch = {ps->kept.term, ps->kept.n};
    return mst_epoch_is_newer(&epoch, &ps->stored) ||
           (ps->kept.is_committed && mst_epoch_is_newer(&epoch, &ps->acting));
}

void scripted_take_roles(struct scripted_ps *ps)
{
    ps->roles = SCRIPT_ANSWERS;
    if (ps->kept_roles.method == 0 || !is_news(ps))
        return;
    ps->stored = (struct mst_epoch){ps->kept.term, ps->kept.n};
    if (ps->kept.is_committed)
        ps->acting = ps->stored;
    const struct mst_msg_roles_reply reply = {.status = ++ps->status,
                                              .stored_term = ps->stored.term,
                                              .stored_n = ps->stored.n,
                                              .acting_term = ps->acting.term,
                                              .acting_n = ps->acting.n};
    RPC_ANSWER(ps->conn, &ps->kept_roles, roles_reply, &reply);
    ps->kept_roles = (struct mst_message){0};
}

// Answered when there is something new.
static void on_roles(void *arg, struct mst_conn *conn, const struct mst_message *message)
{
    struct scripted_ps *ps = arg;
    (void)conn;
    RPC_DECODE(message, roles, &ps->kept);
    ps->kept_roles = (struct mst_message){.method = message->method, .call = message->call};
    if (ps->roles == SCRIPT_ANSWERS)
        scripted_take_roles(ps);
}

void scripted_restart(struct scripted_ps *ps)
{
    struct mst_conn *conn = ps->conn;
    ps->conn = NULL;
    ps->incarnation += 1000;
    ps->stored = ps->acting = (struct mst_epoch){0};
    ps->kept_roles = ps->kept_state = (struct mst_message){0};
    ps->status = ps->n_maps = ps->n_own_maps = ps->n_states = 0;
    if (conn)
        mst_conn_close(conn);
}

static void on_round(void *arg, struct mst_conn *conn, const struct mst_message *message)
{
    struct scripted_ps *ps = arg;
    ps->n_rounds++;
    if (ps->refuses_rounds)
        mst_conn_reply_error(conn, message, MST_UNAVAILABLE, "not yet the primary of these shards");
}

static void on_finish(void *arg, struct mst_conn *conn, const struct mst_message *message)
{
    const struct mst_msg_finish_reply reply = {0};
    (void)arg;
    RPC_ANSWER(conn, message, finish_reply, &reply);
}

static void on_conn_closed(void *arg, struct mst_conn *conn, mst_status status, const char *text)
{
    struct scripted_ps *ps = arg;
    (void)status, (void)text;
    if (ps->conn == conn)
        ps->conn = NULL;
}

static const struct mst_handler handlers[] = {
    {MST_METHOD_HEARTBEAT, NULL, on_heartbeat}, {MST_METHOD_RECALL, NULL, on_recall},
    {MST_METHOD_STATE, NULL, on_state},         {MST_METHOD_MAP, NULL, on_map},
    {MST_METHOD_FINISH, NULL, on_finish},       {MST_METHOD_FENCE, NULL, on_fence},
    {MST_METHOD_ROLES, NULL, on_roles},         {MST_METHOD_ROUND, NULL, on_round},
};
static const struct mst_service service = {handlers, sizeof handlers / sizeof handlers[0], on_conn_closed};

static void on_greeting(void *arg, struct mst_conn *conn, const struct mst_message *message,
                        const struct mst_msg_greeting *greeting)
{
    struct scripted_ps *ps = arg;
    assert_int_equal(greeting->role, MST_PEER_CHIEF);
    const struct mst_msg_greeting_reply reply = {.version = MST_WIRE_VERSION,
                                                 .role = MST_PEER_PS,
                                                 .index = ps->index,
                                                 .incarnation = ps->incarnation,
                                                 .n_data_threads = 1};
    ps->conn = conn;
    RPC_ANSWER(conn, message, greeting_reply, &reply);
    mst_service_attach(&service, ps, conn);
}

static void start_ps(struct chief_fixture *f, uint32_t index)
{
    struct scripted_ps *ps = &f->ps[index];
    *ps = (struct scripted_ps){.f = f, .index = index, .incarnation = 100 + index};
    const struct mst_server_config config = {.on_greeting = on_greeting, .arg = ps};
    assert_int_equal(mst_server_new(f->loop, &config, &ps->server), MST_OK);
    assert_int_equal(mst_server_listen(ps->server, 0, NULL), MST_OK);
    snprintf(ps->address, sizeof ps->address, "127.0.0.1:%u", mst_server_port(ps->server));
    f->addresses[index] = ps->address;
}

// ---- the chief ----

static void on_end(void *arg, mst_status status, const char *text)
{
    struct chief_fixture *f = arg;
    assert_false(f->has_ended);
    f->has_ended = true;
    f->end_status = status;
    snprintf(f->end_text, sizeof f->end_text, "%s", text);
}

static void read_job(struct chief_fixture *f, unsigned n_replicas)
{
    char *path = mst_text("%s/job.json", f->folder);
    char *text = mst_alloc(sizeof job_text + 16);
    struct mst_error err;
    int len = snprintf(text, sizeof job_text + 16, job_text, n_replicas);
    const struct mst_job_request request = {.path = path, .current_dir = f->folder};
    if (mst_job_parse(&request, text, (size_t)len, &f->job, &err) != MST_OK)
        fail_msg("%s", err.text);
    free(text);
    free(path);
    const struct mst_bytes model = {model_text, strlen(model_text)};
    assert_int_equal(mst_model_parse(model, "m.json", &f->model, NULL), MST_OK);
    assert_int_equal(mst_compile_parse(f->job->compile, "compile", f->model, &f->compile, NULL), MST_OK);
    assert_int_equal(
        mst_optimizer_parse(json_object_get(f->job->compile, "optimizer"), "compile.optimizer", &f->optimizer, NULL),
        MST_OK);
    static const char *const label[] = {"kind"};
    f->output = (struct mst_dataset_part){.columns = label, .n_columns = 1};
    f->train_file = mst_text("%s/train.csv", f->folder);
    data_file_write(f->train_file, FORM_PLAIN, train_text, strlen(train_text));
    f->train = (struct mst_dataset_source){.format = "csv",
                                           .file = f->train_file,
                                           .inputs = &f->input,
                                           .n_inputs = 1,
                                           .outputs = &f->output,
                                           .n_outputs = 1,
                                           .csv = {.separator = ','}};
}

struct chief_fixture *chief_fixture_prepare(size_t n_ps, unsigned n_replicas)
{
    struct chief_fixture *f = mst_alloc(sizeof *f);
    f->folder = data_folder_new();
    assert_int_equal(mst_loop_new("control", &f->loop, NULL), MST_OK);
    assert_int_equal(mst_resolver_new(&f->resolver, NULL), MST_OK);
    read_job(f, n_replicas);
    f->n_ps = n_ps;
    for (uint32_t i = 0; i < n_ps; i++)
        start_ps(f, i);
    f->identity = (struct mst_identity){
        .job_name = "tiny", .job_hash = 0xabc, .role = MST_PEER_CHIEF, .address = "", .incarnation = 7};
    return f;
}

struct chief_fixture *chief_fixture_new(size_t n_ps, unsigned n_replicas)
{
    struct chief_fixture *f = chief_fixture_prepare(n_ps, n_replicas);
    chief_fixture_start(f, 0);
    return f;
}

void chief_fixture_start(struct chief_fixture *f, uint64_t run_since_ns)
{
    struct mst_error err;
    const struct mst_chief_config config = {.identity = &f->identity,
                                            .job = f->job,
                                            .train = &f->train,
                                            .model_text = {model_text, strlen(model_text)},
                                            .model = f->model,
                                            .compile = &f->compile,
                                            .optimizer = f->optimizer,
                                            .control = f->loop,
                                            .resolver = f->resolver,
                                            .ps_addresses = f->addresses,
                                            .n_ps = f->n_ps,
                                            .own_worker = UINT32_MAX,
                                            .n_workers = 2,
                                            .bucket_max_bytes = UINT64_MAX,
                                            .listen_fd = -1,
                                            .progress_fd = -1,
                                            .run_since_ns = run_since_ns,
                                            .n_threads = 1,
                                            .on_end = on_end,
                                            .arg = f};
    if (mst_chief_new(&config, &f->chief, &err) != MST_OK)
        fail_msg("%s", err.text);
}

void chief_fixture_free(struct chief_fixture *f)
{
    mst_chief_free(f->chief);
    mst_loop_poll(f->loop); // what it posted
    for (size_t i = 0; i < f->n_ps; i++) {
        if (f->ps[i].conn)
            mst_conn_close(f->ps[i].conn);
        mst_server_free(f->ps[i].server);
    }
    mst_resolver_free(f->resolver);
    mst_loop_free(f->loop);
    mst_optimizer_free(f->optimizer);
    mst_model_free(f->model);
    mst_job_free(f->job);
    free(f->train_file);
    data_folder_free(f->folder);
    free(f);
}

int chief_fixture_tear_down(void **state)
{
    chief_fixture_free(*state);
    return 0;
}

static bool is_running(void *arg)
{
    return mst_chief_ready(((const struct chief_fixture *)arg)->chief, NULL) == MST_OK;
}

void chief_fixture_run(struct chief_fixture *f)
{
    run_until(f->loop, is_running, f);
}

// ---- those that ask it ----

void chief_ask(struct stranger *stranger, uint16_t method, uint64_t call, struct mst_buf *meta)
{
    const struct mst_frame head = {.method = method, .call = call};
    assert_true(stranger_send_frame(stranger, &head, mst_buf_view(meta), 0));
    mst_buf_fini(meta);
}

void chief_greet(struct chief_fixture *f, struct stranger *stranger, const struct mst_msg_greeting *greeting)
{
    struct mst_msg_greeting full;
    mst_identity_greet(&f->identity, &full);
    full.role = greeting->role;
    full.index = greeting->index;
    full.number = greeting->number;
    full.held = greeting->held;
    full.incarnation = greeting->incarnation;
    struct mst_buf meta;
    mst_buf_init(&meta, MST_FRAME_META_MAX);
    assert_int_equal(mst_msg_greeting_encode(&full, &meta), MST_OK);
    stranger_connect(stranger, f->loop, mst_chief_port(f->chief));
    chief_ask(stranger, MST_METHOD_GREETING, 1, &meta);
}

uint64_t chief_admitted(struct stranger *stranger)
{
    const struct mst_message *message = stranger_read(stranger);
    struct mst_msg_greeting_reply reply;
    assert_non_null(message);
    if (message->flags & MST_FRAME_ERROR)
        fail_msg("%.*s", (int)message->meta.len, (const char *)message->meta.data);
    RPC_DECODE(message, greeting_reply, &reply);
    return reply.number;
}
