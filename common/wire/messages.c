// Every message has a table of its fields, F(kind, field, detail), and the tables make all the code: fill_<message>
// puts the plain struct into protobuf-c's, take_<message> the other way with checks, and encode and decode wrap them. A
// new field is a line in proto/muster.proto, one in messages.h and one in message_fields.h. Decoding allocates from the
// caller's arena only (protobuf-c takes an allocator), so texts and arrays need no copy and a hostile message is
// bounded by the arena's maximum.
#include "wire/messages.h"

#include "base/error.h"
#include "muster.pb-c.h"
#include "wire/message_fields.h"

#include <string.h>

// protobuf-c declares fields it does not change without const.
static char *text_of(const char *text)
{
    return (char *)(uintptr_t)(text ? text : "");
}

// ---- into protobuf-c's struct ----

#define FILL_VALUE(field, detail)  pb->field = m->field;
#define FILL_BOOL(field, detail)   pb->field = m->field;
#define FILL_ENUM(field, detail)   pb->field = (uint32_t)m->field;
#define FILL_STATUS(field, detail) pb->field = (uint32_t)m->field;
#define FILL_TEXT(field, detail)   pb->field = text_of(m->field);
#define FILL_NUMBERS(field, detail)                                                                                    \
    pb->n_##field = m->n_##field;                                                                                      \
    pb->field = (uint64_t *)(uintptr_t)m->field;
#define FILL_REALS(field, detail)                                                                                      \
    pb->n_##field = m->n_##field;                                                                                      \
    pb->field = (double *)(uintptr_t)m->field;
#define FILL_BYTES(field, detail) pb->field = (ProtobufCBinaryData){m->field.len, (uint8_t *)(uintptr_t)m->field.data};
// One message within another: of this kind.
#define FILL_ONE(field, kind)    MST_TRY(fill_one_##kind(&m->field, arena, &pb->field));
#define FILL_TURN(field, detail) MST_TRY(fill_turn_if(&m->field, arena, &pb->field));
#define FILL_SUMS(field, detail) MST_TRY(fill_sums(&m->field, arena, &pb->field));
// `of` is what the list is of.
#define FILL_LIST(field, of) MST_TRY(fill_list_##of(m->n_##field, m->field, arena, &pb->n_##field, &pb->field));

#define FILL_FIELD(kind, field, detail) FILL_##kind(field, detail)

// ---- out of it ----

#define TAKE_VALUE(field, detail) m->field = pb->field;
#define TAKE_BOOL(field, detail)  m->field = pb->field != 0;
#define TAKE_ENUM(field, limit)                                                                                        \
    MST_TRY(check_below(pb->field, limit, #field, err));                                                               \
    m->field = pb->field;
#define TAKE_STATUS(field, detail)                                                                                     \
    MST_TRY(check_below(pb->field, MST_UNAUTHENTICATED + 1, #field, err));                                             \
    m->field = pb->field;
#define TAKE_TEXT(field, detail)                                                                                       \
    MST_TRY(check_text(pb->field, #field, err));                                                                       \
    m->field = pb->field;
#define TAKE_NUMBERS(field, detail)                                                                                    \
    m->n_##field = pb->n_##field;                                                                                      \
    m->field = pb->field;
#define TAKE_REALS(field, detail)                                                                                      \
    m->n_##field = pb->n_##field;                                                                                      \
    m->field = pb->field;
#define TAKE_BYTES(field, detail) m->field = (struct mst_bytes){pb->field.data, pb->field.len};
#define TAKE_ONE(field, kind)     MST_TRY(take_one_##kind(pb->field, arena, &m->field, err));
#define TAKE_TURN(field, detail)  MST_TRY(take_one_turn(pb->field, arena, &m->field, err));
#define TAKE_SUMS(field, detail)  MST_TRY(take_sums(pb->field, &m->field, err));
#define TAKE_LIST(field, detail)                                                                                       \
    MST_TRY(take_list_##detail(pb->n_##field, pb->field, arena, &m->n_##field, &m->field, err));
#define TAKE_FIELD(kind, field, detail) TAKE_##kind(field, detail)

static mst_status check_below(uint32_t value, uint32_t limit, const char *field, struct mst_error *err)
{
    if (value >= limit)
        return mst_fail(err, MST_INVALID_ARGUMENT, "message field %s is %u, it must be below %u", field, value, limit);
    return MST_OK;
}

// Texts end up in logs and on terminals: line ends and tabs are all the control that a peer has there.
static mst_status check_text(const char *text, const char *field, struct mst_error *err)
{
    for (const char *at = text; *at; at++)
        if (((unsigned char)*at < ' ' && *at != '\n' && *at != '\t') || *at == 0x7f)
            return mst_fail(err, MST_INVALID_ARGUMENT, "message field %s holds the control byte 0x%02x at %td", field,
                            (unsigned)*at, at - text);
    return MST_OK;
}

// Sums of nothing are left out: most pushes have none, and a push allocates nothing.
static mst_status fill_sums(const struct mst_training_sums *sums, struct mst_arena *arena, MstPb__Sums **out)
{
    void *memory;
    if (sums->n_values == 0 && sums->steps == 0 && sums->examples == 0)
        return MST_OK;
    MST_TRY(mst_arena_alloc(arena, sizeof **out, &memory));
    MstPb__Sums *pb = *out = memory;
    mst_pb__sums__init(pb);
    pb->steps = sums->steps;
    pb->examples = sums->examples;
    pb->n_values = sums->n_values;
    pb->values = sums->values;
    pb->staleness_sum = sums->staleness_sum;
    pb->staleness_max = sums->staleness_max;
    MST_TRY(mst_arena_alloc(arena, sizeof sums->staleness_counts, &memory));
    memcpy(memory, sums->staleness_counts, sizeof sums->staleness_counts);
    pb->staleness_counts = memory;
    pb->n_staleness_counts = MST_STALENESS_BINS;
    while (pb->n_staleness_counts > 0 && sums->staleness_counts[pb->n_staleness_counts - 1] == 0)
        pb->n_staleness_counts--;
    return MST_OK;
}

static mst_status take_sums(const MstPb__Sums *pb, struct mst_training_sums *out, struct mst_error *err)
{
    *out = (struct mst_training_sums){0};
    if (!pb)
        return MST_OK;
    if (pb->n_values > MST_SUMS_MAX)
        return mst_fail(err, MST_INVALID_ARGUMENT, "message has %zu sums, at most %d", pb->n_values, MST_SUMS_MAX);
    if (pb->n_staleness_counts > MST_STALENESS_BINS)
        return mst_fail(err, MST_INVALID_ARGUMENT, "message has %zu counts of staleness, at most %d",
                        pb->n_staleness_counts, MST_STALENESS_BINS);
    for (size_t i = 0; i < pb->n_staleness_counts; i++)
        out->staleness_counts[i] = pb->staleness_counts[i];
    out->steps = pb->steps;
    out->examples = pb->examples;
    out->n_values = pb->n_values;
    out->values = pb->values;
    out->staleness_sum = pb->staleness_sum;
    out->staleness_max = pb->staleness_max;
    return MST_OK;
}

// fill_<name> and take_<name> of one message; arena and err are not used by all of them. rule: what is true of its
// fields together, a status.
#define RULED_CONVERSIONS(name, Pb, FIELDS, rule)                                                                      \
    static mst_status fill_##name(const struct mst_msg_##name *m, struct mst_arena *arena, MstPb__##Pb *pb)            \
    {                                                                                                                  \
        (void)arena;                                                                                                   \
        mst_pb__##name##__init(pb);                                                                                    \
        FIELDS(FILL_FIELD)                                                                                             \
        return MST_OK;                                                                                                 \
    }                                                                                                                  \
    static mst_status take_##name(const MstPb__##Pb *pb, struct mst_arena *arena, struct mst_msg_##name *m,            \
                                  struct mst_error *err)                                                               \
    {                                                                                                                  \
        (void)arena;                                                                                                   \
        (void)err;                                                                                                     \
        FIELDS(TAKE_FIELD)                                                                                             \
        return rule;                                                                                                   \
    }
#define CONVERSIONS(name, Pb, FIELDS) RULED_CONVERSIONS(name, Pb, FIELDS, MST_OK)

// A repeated message: protobuf-c has an array of pointers, we have an array.
#define LIST_CONVERSIONS(name, Pb)                                                                                     \
    static mst_status fill_list_##name(size_t n, const struct mst_msg_##name *list, struct mst_arena *arena,           \
                                       size_t *n_out, MstPb__##Pb ***out)                                              \
    {                                                                                                                  \
        void *pointers, *messages;                                                                                     \
        MST_TRY(mst_arena_alloc_array(arena, n, sizeof(MstPb__##Pb *), &pointers));                                    \
        MST_TRY(mst_arena_alloc_array(arena, n, sizeof(MstPb__##Pb), &messages));                                      \
        *n_out = n;                                                                                                    \
        *out = pointers;                                                                                               \
        for (size_t i = 0; i < n; i++) {                                                                               \
            (*out)[i] = (MstPb__##Pb *)messages + i;                                                                   \
            MST_TRY(fill_##name(list + i, arena, (*out)[i]));                                                          \
        }                                                                                                              \
        return MST_OK;                                                                                                 \
    }                                                                                                                  \
    static mst_status take_list_##name(size_t n, MstPb__##Pb *const *pointers, struct mst_arena *arena, size_t *n_out, \
                                       const struct mst_msg_##name **out, struct mst_error *err)                       \
    {                                                                                                                  \
        void *memory;                                                                                                  \
        mst_status status = mst_arena_alloc_array(arena, n, sizeof(struct mst_msg_##name), &memory);                   \
        if (status != MST_OK)                                                                                          \
            return fail_size(arena, err);                                                                              \
        struct mst_msg_##name *list = memory;                                                                          \
        for (size_t i = 0; i < n; i++)                                                                                 \
            MST_TRY(take_##name(pointers[i], arena, list + i, err));                                                   \
        *n_out = n;                                                                                                    \
        *out = list;                                                                                                   \
        return MST_OK;                                                                                                 \
    }

// A message within another one, which may be absent; then all of it is 0.
#define ONE_CONVERSIONS(name, Pb)                                                                                      \
    static mst_status fill_one_##name(const struct mst_msg_##name *one, struct mst_arena *arena, MstPb__##Pb **out)    \
    {                                                                                                                  \
        void *memory;                                                                                                  \
        MST_TRY(mst_arena_alloc(arena, sizeof **out, &memory));                                                        \
        *out = memory;                                                                                                 \
        return fill_##name(one, arena, *out);                                                                          \
    }                                                                                                                  \
    static mst_status take_one_##name(const MstPb__##Pb *pb, struct mst_arena *arena, struct mst_msg_##name *out,      \
                                      struct mst_error *err)                                                           \
    {                                                                                                                  \
        *out = (struct mst_msg_##name){0};                                                                             \
        return pb ? take_##name(pb, arena, out, err) : MST_OK;                                                         \
    }

static mst_status fail_size(const struct mst_arena *arena, struct mst_error *err)
{
    return mst_fail(err, MST_RESOURCE_EXHAUSTED, "message takes more than %zu bytes of memory", arena->max_bytes);
}

// Rules between fields: few messages have one.

static mst_status check_error(const struct mst_msg_error *m, struct mst_error *err)
{
    return m->status != MST_OK ? MST_OK : mst_fail(err, MST_INVALID_ARGUMENT, "error message with status OK");
}

static mst_status check_bundle_entry(const struct mst_msg_bundle_entry *m, struct mst_error *err)
{
    if ((m->n_starts != 0 && m->n_starts != m->n_dims) || m->n_lengths != m->n_starts)
        return mst_fail(err, MST_INVALID_ARGUMENT, "slice of %s has %zu dimensions, %zu starts and %zu lengths",
                        m->name, m->n_dims, m->n_starts, m->n_lengths);
    return MST_OK;
}

static mst_status check_save_reply(const struct mst_msg_save_reply *m, struct mst_error *err)
{
    if (m->n_steps != m->n_part_ids)
        return mst_fail(err, MST_INVALID_ARGUMENT, "a list of %zu steps and %zu part ids", m->n_steps, m->n_part_ids);
    return MST_OK;
}

CONVERSIONS(client_row, ClientRow, CLIENT_ROW_FIELDS)
LIST_CONVERSIONS(client_row, ClientRow)
CONVERSIONS(shard, Shard, SHARD_FIELDS)
LIST_CONVERSIONS(shard, Shard)
RULED_CONVERSIONS(bundle_entry, BundleEntry, BUNDLE_ENTRY_FIELDS, check_bundle_entry(m, err))
LIST_CONVERSIONS(bundle_entry, BundleEntry)
CONVERSIONS(bucket_stats, BucketStats, BUCKET_STATS_FIELDS)
LIST_CONVERSIONS(bucket_stats, BucketStats)

CONVERSIONS(turn, Turn, TURN_FIELDS)
ONE_CONVERSIONS(turn, Turn)
CONVERSIONS(part, Part, PART_FIELDS)
LIST_CONVERSIONS(part, Part)
CONVERSIONS(deal, Deal, DEAL_FIELDS)
ONE_CONVERSIONS(deal, Deal)
CONVERSIONS(close, Close, CLOSE_FIELDS)
ONE_CONVERSIONS(close, Close)
LIST_CONVERSIONS(close, Close)
CONVERSIONS(arrival, Arrival, ARRIVAL_FIELDS)
LIST_CONVERSIONS(arrival, Arrival)
CONVERSIONS(square_norm, SquareNorm, SQUARE_NORM_FIELDS)
LIST_CONVERSIONS(square_norm, SquareNorm)

CONVERSIONS(lease_range, LeaseRange, LEASE_RANGE_FIELDS)
LIST_CONVERSIONS(lease_range, LeaseRange)
CONVERSIONS(held_lease, HeldLease, HELD_LEASE_FIELDS)
LIST_CONVERSIONS(held_lease, HeldLease)
CONVERSIONS(lease_holder, LeaseHolder, LEASE_HOLDER_FIELDS)
LIST_CONVERSIONS(lease_holder, LeaseHolder)
CONVERSIONS(member, Member, MEMBER_FIELDS)
LIST_CONVERSIONS(member, Member)
CONVERSIONS(pace, Pace, PACE_FIELDS)
LIST_CONVERSIONS(pace, Pace)
CONVERSIONS(setback, Setback, SETBACK_FIELDS)
LIST_CONVERSIONS(setback, Setback)
CONVERSIONS(epoch_sums, EpochSums, EPOCH_SUMS_FIELDS)
ONE_CONVERSIONS(epoch_sums, EpochSums)
LIST_CONVERSIONS(epoch_sums, EpochSums)

CONVERSIONS(group_roles, GroupRoles, GROUP_ROLES_FIELDS)
LIST_CONVERSIONS(group_roles, GroupRoles)
CONVERSIONS(group_status, GroupStatus, GROUP_STATUS_FIELDS)
LIST_CONVERSIONS(group_status, GroupStatus)

// Left out where there are no rounds.
static mst_status fill_turn_if(const struct mst_msg_turn *turn, struct mst_arena *arena, MstPb__Turn **out)
{
    bool has_any = turn->round || turn->has_unit || turn->is_over;
    return has_any ? fill_one_turn(turn, arena, out) : MST_OK;
}

// What protobuf-c allocates from while it unpacks; nothing is freed singly.
static void *on_alloc(void *arg, size_t bytes)
{
    void *memory;
    return mst_arena_alloc(arg, bytes, &memory) == MST_OK ? memory : NULL;
}

static void on_free(void *arg, void *memory)
{
    (void)arg;
    (void)memory;
}

static mst_status unpack(const ProtobufCMessageDescriptor *descriptor, struct mst_bytes bytes, struct mst_arena *arena,
                         void **out, struct mst_error *err)
{
    ProtobufCAllocator allocator = {.alloc = on_alloc, .free = on_free, .allocator_data = arena};
    *out = protobuf_c_message_unpack(descriptor, &allocator, bytes.len, bytes.data);
    if (*out)
        return MST_OK;
    return mst_fail(err, MST_INVALID_ARGUMENT,
                    "not a message %s (%zu bytes), or it takes more than %zu bytes of memory", descriptor->short_name,
                    bytes.len, arena->max_bytes);
}

static mst_status pack(const ProtobufCMessage *message, struct mst_buf *out)
{
    size_t n_bytes = protobuf_c_message_get_packed_size(message);
    uint8_t *place;
    MST_TRY(mst_buf_reserve(out, n_bytes, &place));
    out->len += protobuf_c_message_pack(message, place);
    return MST_OK;
}

// encode and decode of a message that is a frame's meta. Packing needs an arena for lists only.
#define RULED_MESSAGE(name, Pb, FIELDS, rule)                                                                          \
    RULED_CONVERSIONS(name, Pb, FIELDS, rule)                                                                          \
    mst_status mst_msg_##name##_encode(const struct mst_msg_##name *message, struct mst_buf *out)                      \
    {                                                                                                                  \
        struct mst_arena arena;                                                                                        \
        mst_arena_init(&arena, SIZE_MAX / 4);                                                                          \
        MstPb__##Pb pb;                                                                                                \
        mst_status status = fill_##name(message, &arena, &pb);                                                         \
        if (status == MST_OK)                                                                                          \
            status = pack(&pb.base, out);                                                                              \
        mst_arena_fini(&arena);                                                                                        \
        return status;                                                                                                 \
    }                                                                                                                  \
    mst_status mst_msg_##name##_decode(struct mst_bytes bytes, struct mst_arena *arena, struct mst_msg_##name *out,    \
                                       struct mst_error *err)                                                          \
    {                                                                                                                  \
        *out = (struct mst_msg_##name){0};                                                                             \
        void *pb;                                                                                                      \
        MST_TRY(unpack(&mst_pb__##name##__descriptor, bytes, arena, &pb, err));                                        \
        return take_##name(pb, arena, out, err);                                                                       \
    }
#define MESSAGE(name, Pb, FIELDS) RULED_MESSAGE(name, Pb, FIELDS, MST_OK)

RULED_MESSAGE(error, Error, ERROR_FIELDS, check_error(m, err))
MESSAGE(greeting, Greeting, GREETING_FIELDS)
MESSAGE(greeting_reply, GreetingReply, GREETING_REPLY_FIELDS)
MESSAGE(heartbeat, Heartbeat, HEARTBEAT_FIELDS)
MESSAGE(heartbeat_reply, HeartbeatReply, HEARTBEAT_REPLY_FIELDS)
MESSAGE(lease, Lease, LEASE_FIELDS)
MESSAGE(lease_reply, LeaseReply, LEASE_REPLY_FIELDS)
MESSAGE(roles, Roles, ROLES_FIELDS)
ONE_CONVERSIONS(roles, Roles)
MESSAGE(map, Map, MAP_FIELDS)
MESSAGE(map_reply, MapReply, MAP_REPLY_FIELDS)
MESSAGE(push, Push, PUSH_FIELDS)
MESSAGE(push_reply, PushReply, PUSH_REPLY_FIELDS)
MESSAGE(pull, Pull, PULL_FIELDS)
MESSAGE(pull_reply, PullReply, PULL_REPLY_FIELDS)
MESSAGE(fence, Fence, FENCE_FIELDS)
MESSAGE(fence_reply, FenceReply, FENCE_REPLY_FIELDS)
MESSAGE(save, Save, SAVE_FIELDS)
RULED_MESSAGE(save_reply, SaveReply, SAVE_REPLY_FIELDS, check_save_reply(m, err))
MESSAGE(stats, Stats, STATS_FIELDS)
MESSAGE(stats_reply, StatsReply, STATS_REPLY_FIELDS)
MESSAGE(finish, Finish, FINISH_FIELDS)
MESSAGE(finish_reply, FinishReply, FINISH_REPLY_FIELDS)
MESSAGE(round, Round, ROUND_FIELDS)
MESSAGE(round_reply, RoundReply, ROUND_REPLY_FIELDS)
MESSAGE(state, State, STATE_FIELDS)
MESSAGE(state_reply, StateReply, STATE_REPLY_FIELDS)
MESSAGE(chief_state, ChiefState, CHIEF_STATE_FIELDS)
MESSAGE(recall, Recall, RECALL_FIELDS)
MESSAGE(recall_reply, RecallReply, RECALL_REPLY_FIELDS)
MESSAGE(cut, Cut, CUT_FIELDS)
MESSAGE(cut_reply, CutReply, CUT_REPLY_FIELDS)
MESSAGE(roles_reply, RolesReply, ROLES_REPLY_FIELDS)
MESSAGE(roles_question, RolesQuestion, ROLES_QUESTION_FIELDS)
MESSAGE(op, Op, OP_FIELDS)
MESSAGE(op_reply, OpReply, OP_REPLY_FIELDS)
MESSAGE(grant, Grant, GRANT_FIELDS)
MESSAGE(grant_reply, GrantReply, GRANT_REPLY_FIELDS)
MESSAGE(sweep, Sweep, SWEEP_FIELDS)
MESSAGE(sweep_reply, SweepReply, SWEEP_REPLY_FIELDS)
MESSAGE(evaluate, Evaluate, EVALUATE_FIELDS)
MESSAGE(evaluate_reply, EvaluateReply, EVALUATE_REPLY_FIELDS)

const char *mst_peer_role_name(enum mst_peer_role role)
{
    static const char *const names[MST_PEER_ROLES] = {"unknown", "chief", "worker", "ps", "evaluator"};
    return (unsigned)role < MST_PEER_ROLES ? names[role] : "unknown";
}
