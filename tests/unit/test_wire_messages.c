// Every message there and back, field by field, and what a hostile peer may put into one.
#include "messages_sent.h"

#include "base/alloc.h"
#include "muster/status.h"

#include <stdlib.h>

static void test_greetings(void **state)
{
    (void)state;
    {
        const struct mst_msg_greeting sent = {1, 2,  "mnist", UINT64_MAX, MST_PEER_EVALUATOR, 5, "h:1", -7, 8,
                                              9, 10, 12,      13};
        SEND(greeting);
        SAME(min_version);
        SAME(max_version);
        SAME_TEXT(job_name);
        SAME(job_hash);
        SAME(role);
        SAME(index);
        SAME_TEXT(address);
        assert_true(got.data_thread == -7);
        SAME(incarnation);
        SAME(number);
        SAME(term);
        SAME(held);
        SAME(wanted);
    }
    const struct mst_msg_greeting_reply sent = {
        1, MST_PEER_PS, 3, 4, 5, true, "chief:1", 8, MST_PEER_CHIEF, 10, 11, "Zürich\twaits\n", MST_JOB_FINISHED};
    SEND(greeting_reply);
    SAME(version);
    SAME(role);
    SAME(index);
    SAME(incarnation);
    SAME(n_data_threads);
    SAME(chief_known);
    SAME_TEXT(chief_address);
    SAME(chief_index);
    SAME(chief_role);
    SAME(number);
    SAME(term);
    SAME_TEXT(state_text);
    SAME(job_state);
}

static void test_heartbeats(void **state)
{
    (void)state;
    {
        const struct mst_msg_heartbeat sent = {MST_PEER_WORKER, 2, 3, 4, 5, sums, 6.5, 7, "training", true, 0.25, 8};
        SEND(heartbeat);
        SAME(waits_ms);
        SAME(sets_learning_rate);
        SAME_REAL(learning_rate);
        SAME(role);
        SAME(index);
        SAME(incarnation);
        SAME(number);
        SAME(progress);
        expect_sums(&got.sums);
        SAME_REAL(cpu_seconds);
        SAME(max_rss_bytes);
        SAME_TEXT(state_text);
    }
    const struct mst_msg_heartbeat_reply sent = {MST_JOB_FAILED, MST_DATA_LOSS, "why", 4, 5};
    SEND(heartbeat_reply);
    SAME(job_state);
    SAME(status);
    SAME_TEXT(text);
    SAME(epoch);
    SAME(step);
}

static void test_leases(void **state)
{
    (void)state;
    {
        const struct mst_msg_lease sent = {1, 2, 3, 4, 5, 6, 7, sums};
        SEND(lease);
        SAME(index);
        SAME(incarnation);
        SAME(number);
        SAME(seq);
        SAME(done_seq);
        SAME(done_lease);
        SAME(done_offset);
        expect_sums(&got.sums);
    }
    const struct mst_msg_lease_reply sent = {MST_LEASE_REPLY_FENCED, 2, 3, 4, 5, 6, 7, MST_ABORTED, "text"};
    SEND(lease_reply);
    SAME(kind);
    SAME(lease);
    SAME(seq);
    SAME(epoch);
    SAME(first_batch);
    SAME(n_batches);
    SAME(first_step);
    SAME(status);
    SAME_TEXT(text);
}

static void test_maps(void **state)
{
    (void)state;
    {
        const struct mst_msg_shard shards[] = {{1, 2, 3, 4, 5, 6, 7, 8}, {0}, {9, 10, 11, 12, 13, 14, 15, 16}};
        const uint64_t fenced[] = {0, UINT64_MAX}, threads[] = {1, 4};
        const struct mst_msg_group_roles groups[] = {{.has_primary = true, .primary = 6}};
        const struct mst_msg_client_row row = {1, 2, 3, 4, 5, 6, true};
        const struct mst_msg_map sent = {
            1, 2,    3,     3, shards, "ckpt/model-5", 7, "ckpt/nonce", "n",
            4, true, 0.125, 3, 2,      fenced,         2, threads,      {.term = 5, .n_groups = 1, .groups = groups},
            1, &row};
        SEND(map);
        SAME(n_ps_threads);
        SAME(ps_threads[1]);
        SAME(roles.term);
        SAME(roles.n_groups);
        SAME(roles.groups[0].primary);
        SAME(n_rows);
        SAME(rows[0].worker);
        SAME(rows[0].offset);
        SAME(rows[0].is_restored);
        SAME(n_fenced);
        assert_memory_equal(got.fenced, fenced, sizeof fenced);
        SAME(n_round_workers);
        SAME(sets_learning_rate);
        SAME_REAL(learning_rate);
        SAME(term);
        SAME(epoch);
        SAME(seed);
        SAME(n_shards);
        SAME_TEXT(restore_prefix);
        SAME(iterations);
        SAME_TEXT(nonce_path);
        SAME_TEXT(nonce);
        SAME(ps);
        for (size_t i = 0; i < 3; i++) {
            SAME(shards[i].variable);
            SAME(shards[i].part);
            SAME(shards[i].n_parts);
            SAME(shards[i].row_offset);
            SAME(shards[i].n_rows);
            SAME(shards[i].ps);
            SAME(shards[i].thread);
            SAME(shards[i].bucket);
        }
    }
    const struct mst_msg_map_reply sent = {1, 2, 3};
    SEND(map_reply);
    SAME(term);
    SAME(epoch);
    SAME(bytes);
}

static void test_pushes(void **state)
{
    (void)state;
    {
        const struct mst_msg_push sent = {1, 2, 3, 4, 5, 6, 7, UINT64_MAX, 64.5, sums};
        SEND(push);
        expect_sums(&got.sums);
        SAME(bucket);
        SAME(map_term);
        SAME(map_epoch);
        SAME(worker);
        SAME(number);
        SAME(step);
        SAME(lease);
        SAME(offset);
        SAME_REAL(weight);
    }
    const struct mst_msg_push_reply sent = {1, 2, 3, 4, 5, 6, false, true, {7, 8, 9, true, true}};
    SEND(push_reply);
    SAME(turn.round);
    SAME(turn.epoch);
    SAME(turn.unit);
    SAME(turn.has_unit);
    SAME(turn.is_over);
    SAME(bucket);
    SAME(version);
    SAME(map_term);
    SAME(map_epoch);
    SAME(iterations);
    SAME(staleness);
    SAME(is_repeat);
    SAME(is_finite);
}

static void test_pulls(void **state)
{
    (void)state;
    {
        const struct mst_msg_pull sent = {1, 2, 3, 4, 5, 6, 7};
        SEND(pull);
        SAME(round);
        SAME(cut);
        SAME(bucket);
        SAME(map_term);
        SAME(map_epoch);
        SAME(worker);
        SAME(number);
    }
    const struct mst_msg_pull_reply sent = {1, 2, 3, 4, 5, {6, 7, 8, false, true}};
    SEND(pull_reply);
    SAME(turn.round);
    SAME(turn.unit);
    SAME(turn.is_over);
    SAME(bucket);
    SAME(version);
    SAME(map_term);
    SAME(map_epoch);
    SAME(iterations);
}

static void test_fences(void **state)
{
    (void)state;
    {
        const struct mst_msg_fence sent = {1, 2, 3, 4};
        SEND(fence);
        SAME(group);
        SAME(term);
        SAME(worker);
        SAME(number);
    }
    const struct mst_msg_client_row rows[] = {{1, 2, 3, 4, 5, 6, false}, {7, 8, 9, 10, 11, 12, false}};
    const struct mst_msg_fence_reply sent = {3, 2, rows};
    SEND(fence_reply);
    SAME(ps);
    SAME(n_rows);
    for (size_t i = 0; i < 2; i++) {
        SAME(rows[i].bucket);
        SAME(rows[i].worker);
        SAME(rows[i].number);
        SAME(rows[i].step);
        SAME(rows[i].lease);
        SAME(rows[i].offset);
    }
}

static void test_saves(void **state)
{
    (void)state;
    {
        const uint64_t keep[] = {8, 9};
        const struct mst_msg_save sent = {1, "dir", 2, 3, 4, 5, 6, 2, keep, true, true, 7};
        SEND(save);
        SAME(group);
        SAME(part_id);
        SAME(n_keep);
        SAME(keep[0]);
        SAME(keep[1]);
        SAME(is_question);
        SAME(wants_values);
        SAME(cut);
        SAME(term);
        SAME_TEXT(dir);
        SAME(step);
        SAME(shard_id);
        SAME(n_shards);
    }
    const uint64_t dims[] = {784, 300}, starts[] = {0, 0}, lengths[] = {392, 300};
    const struct mst_msg_bundle_entry entries[] = {
        {"dense/kernel", 1, 2, dims, 2, starts, 2, lengths, 5, 6, 0xdeadbeef},
        {.name = "iterations", .dtype = 9, .size_bytes = 8},
    };
    const uint64_t steps[] = {100, 200}, part_ids[] = {UINT64_MAX, 1};
    const struct mst_msg_save_reply sent = {2, entries, 4, true, "text", 6, 2, steps, 2, part_ids};
    SEND(save_reply);
    SAME(n_steps);
    SAME(n_part_ids);
    for (size_t i = 0; i < 2; i++) {
        SAME(steps[i]);
        SAME(part_ids[i]);
    }
    SAME(n_entries);
    SAME(iterations);
    SAME(is_finite);
    SAME_TEXT(text);
    SAME(bytes);
    for (size_t i = 0; i < 2; i++) {
        SAME_TEXT(entries[i].name);
        SAME(entries[i].dtype);
        SAME(entries[i].n_dims);
        SAME(entries[i].n_starts);
        SAME(entries[i].n_lengths);
        SAME(entries[i].offset);
        SAME(entries[i].size_bytes);
        SAME(entries[i].crc32c);
    }
    assert_memory_equal(got.entries[0].dims, dims, sizeof dims);
    assert_memory_equal(got.entries[0].starts, starts, sizeof starts);
    assert_memory_equal(got.entries[0].lengths, lengths, sizeof lengths);
}

static void test_stats(void **state)
{
    (void)state;
    {
        const struct mst_msg_stats sent = {7};
        SEND(stats);
        SAME(term);
    }
    const struct mst_msg_bucket_stats buckets[] = {{1, 2, 3, 4, 5, 6}};
    const struct mst_msg_stats_reply sent = {1.5, 2, 3, 4, 1, buckets};
    SEND(stats_reply);
    SAME_REAL(cpu_seconds);
    SAME(max_rss_bytes);
    SAME(updates);
    SAME(pulls);
    SAME(n_buckets);
    SAME(buckets[0].bucket);
    SAME(buckets[0].bytes);
    SAME(buckets[0].version);
    SAME(buckets[0].updates);
    SAME(buckets[0].pulls);
    SAME(buckets[0].repeats);
}

static void test_ends(void **state)
{
    (void)state;
    {
        const struct mst_msg_error sent = {MST_UNAUTHENTICATED, "who are you"};
        SEND(error);
        SAME(status);
        SAME_TEXT(text);
    }
    {
        const struct mst_msg_finish sent = {1, MST_UNAVAILABLE, "a parameter server died"};
        SEND(finish);
        SAME(term);
        SAME(status);
        SAME_TEXT(text);
    }
    const struct mst_msg_finish_reply sent = {5};
    SEND(finish_reply);
    SAME(updates);
}

static void test_evaluations(void **state)
{
    (void)state;
    {
        const struct mst_msg_evaluate sent = {1, 2, 3, MST_DATA_LOSS, "a label", sums, 7, 8};
        SEND(evaluate);
        SAME(index);
        SAME(number);
        SAME(done);
        SAME(status);
        SAME_TEXT(text);
        expect_sums(&got.sums);
        SAME(first_iterations);
        SAME(last_iterations);
    }
    const struct mst_msg_evaluate_reply sent = {MST_EVALUATE_REPLY_OUT, 2, 3, 4, MST_ABORTED, "text", 5};
    SEND(evaluate_reply);
    SAME(cut);
    SAME(kind);
    SAME(id);
    SAME(epoch);
    SAME(step);
    SAME(status);
    SAME_TEXT(text);
}

static void test_no_bytes_are_a_message_of_zeros(void **state)
{
    (void)state;
    struct mst_msg_greeting greeting;
    assert_int_equal(mst_msg_greeting_decode((struct mst_bytes){NULL, 0}, &arena, &greeting, NULL), MST_OK);
    assert_string_equal(greeting.job_name, "");
    assert_string_equal(greeting.address, "");
    assert_int_equal(greeting.role, MST_PEER_UNKNOWN);
    struct mst_msg_map map = {.restore_prefix = NULL};
    assert_int_equal(mst_msg_map_encode(&map, &buf), MST_OK); // NULL is ""
    assert_int_equal(mst_msg_map_decode(mst_buf_view(&buf), &arena, &map, NULL), MST_OK);
    assert_string_equal(map.restore_prefix, "");
    assert_int_equal(map.n_shards, 0);
    struct mst_msg_lease lease;
    assert_int_equal(mst_msg_lease_decode((struct mst_bytes){NULL, 0}, &arena, &lease, NULL), MST_OK);
    assert_int_equal(lease.sums.steps, 0);
}

// ---- what a hostile peer may send ----

#define BYTES(literal) ((struct mst_bytes){(literal), sizeof(literal) - 1})

static void expect_bad(mst_status status, const struct mst_error *err, const char *says)
{
    assert_int_equal(status, MST_INVALID_ARGUMENT);
    if (!strstr(err->text, says))
        fail_msg("\"%s\" does not say \"%s\"", err->text, says);
}

static void test_values_outside_their_range(void **state)
{
    (void)state;
    struct mst_error err;
    struct mst_msg_greeting greeting;
    struct mst_msg_error error;
    struct mst_msg_lease_reply reply;
    struct mst_msg_heartbeat_reply heartbeat;
    expect_bad(mst_msg_greeting_decode(BYTES("\x28\x05"), &arena, &greeting, &err), &err,
               "role is 5, it must be below 5");
    expect_bad(mst_msg_greeting_decode(BYTES("\x28\xff\xff\xff\xff\x0f"), &arena, &greeting, &err), &err, "4294967295");
    expect_bad(mst_msg_error_decode(BYTES("\x08\x11"), &arena, &error, &err), &err, "status is 17");
    expect_bad(mst_msg_error_decode(BYTES("\x08\x00"), &arena, &error, &err), &err, "status OK");
    expect_bad(mst_msg_lease_reply_decode(BYTES("\x08\x05"), &arena, &reply, &err), &err, "kind is 5");
    expect_bad(mst_msg_heartbeat_reply_decode(BYTES("\x08\x04"), &arena, &heartbeat, &err), &err, "job_state is 4");
}

static void test_control_bytes_in_texts(void **state)
{
    (void)state;
    struct mst_error err;
    struct mst_msg_error sent = {MST_INTERNAL, "\x1b[2J"}, got;
    assert_int_equal(mst_msg_error_encode(&sent, &buf), MST_OK);
    expect_bad(mst_msg_error_decode(mst_buf_view(&buf), &arena, &got, &err), &err, "control byte 0x1b at 0");
    assert_null(strchr(err.text, 0x1b));
    mst_buf_reset(&buf);
    sent.text = "del\x7f";
    assert_int_equal(mst_msg_error_encode(&sent, &buf), MST_OK);
    expect_bad(mst_msg_error_decode(mst_buf_view(&buf), &arena, &got, &err), &err, "0x7f at 3");
    // What stands behind a NUL is not there.
    assert_int_equal(mst_msg_error_decode(BYTES("\x08\x01\x12\x03"
                                                "a\0\x1b"),
                                          &arena, &got, &err),
                     MST_OK);
    assert_string_equal(got.text, "a");
}

static void test_too_many_sums(void **state)
{
    (void)state;
    struct mst_error err;
    struct mst_msg_lease lease;
    struct mst_buf meta;
    mst_buf_init(&meta, MST_FRAME_META_MAX); // the most does fit
    struct mst_msg_lease sent = {.sums = {.n_values = MST_SUMS_MAX}};
    sent.sums.values = mst_alloc_array(MST_SUMS_MAX + 1, sizeof *sent.sums.values);
    assert_int_equal(mst_msg_lease_encode(&sent, &meta), MST_OK);
    assert_int_equal(mst_msg_lease_decode(mst_buf_view(&meta), &arena, &lease, &err), MST_OK);
    assert_int_equal(lease.sums.n_values, MST_SUMS_MAX);
    mst_buf_fini(&meta);
    mst_buf_init(&meta, MST_FRAME_META_MAX);
    sent.sums.n_values++;
    assert_int_equal(mst_msg_lease_encode(&sent, &meta), MST_OK);
    expect_bad(mst_msg_lease_decode(mst_buf_view(&meta), &arena, &lease, &err), &err,
               "message has 32769 sums, at most 32768");
    mst_buf_fini(&meta);
    free(sent.sums.values);
}

static void test_too_many_bins(void **state)
{
    (void)state;
    struct mst_error err;
    struct mst_msg_lease lease;
    static const uint8_t most[] = {0x42, 11, 0x52, 9, 1, 2, 3, 4, 5, 6, 7, 8, 9}; // field 8, its field 10, packed
    static const uint8_t more[] = {0x42, 12, 0x52, 10, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0};
    assert_int_equal(mst_msg_lease_decode((struct mst_bytes){most, sizeof most}, &arena, &lease, &err), MST_OK);
    assert_int_equal(lease.sums.staleness_counts[MST_STALENESS_BINS - 1], 9);
    expect_bad(mst_msg_lease_decode((struct mst_bytes){more, sizeof more}, &arena, &lease, &err), &err,
               "message has 10 counts of staleness, at most 9");
}

static void test_steps_without_their_parts(void **state)
{
    (void)state;
    const uint64_t steps[] = {100, 200};
    struct mst_msg_save_reply sent = {.text = "", .n_steps = 2, .steps = steps, .n_part_ids = 1, .part_ids = steps},
                              got;
    struct mst_error err;
    assert_int_equal(mst_msg_save_reply_encode(&sent, &buf), MST_OK);
    expect_bad(mst_msg_save_reply_decode(mst_buf_view(&buf), &arena, &got, &err), &err, "2 steps and 1 part ids");
}

static void test_slices_of_another_rank(void **state)
{
    (void)state;
    const uint64_t numbers[] = {1, 2, 3};
    struct mst_msg_bundle_entry entry = {"w", 1, 2, numbers, 3, numbers, 3, numbers, 0, 0, 0};
    struct mst_msg_save_reply sent = {.n_entries = 1, .entries = &entry, .text = ""}, got;
    struct mst_error err;
    assert_int_equal(mst_msg_save_reply_encode(&sent, &buf), MST_OK);
    expect_bad(mst_msg_save_reply_decode(mst_buf_view(&buf), &arena, &got, &err), &err,
               "slice of w has 2 dimensions, 3 starts and 3 lengths");
    mst_buf_reset(&buf);
    entry.n_starts = 2;
    assert_int_equal(mst_msg_save_reply_encode(&sent, &buf), MST_OK);
    expect_bad(mst_msg_save_reply_decode(mst_buf_view(&buf), &arena, &got, &err), &err, "2 starts and 3 lengths");
}

static void test_not_a_message(void **state)
{
    (void)state;
    struct mst_error err;
    struct mst_msg_greeting greeting;
    static const struct {
        const char *data;
        size_t len;
    } rows[] = {
        {"\x1a\xff\xff\xff\xff\x0f"
         "abc",
         9},                                                  // a text that ends beyond the bytes
        {"\x1a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 11}, // of 2^64 - 1 bytes
        {"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", 11}, // a number without an end
        {"\x08", 1},                                          // a tag without a value
        {"\x21\x01\x02", 3},                                  // half a fixed64
        {"\x0f\x01", 2},                                      // wire type 7
        {"\x00\x01", 2},                                      // field 0
        {"\x1b\x08\x01\x1c", 4},                              // a group
        {"GET / HTTP/1.1\r\n\r\n", 18},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        expect_bad(mst_msg_greeting_decode((struct mst_bytes){rows[i].data, rows[i].len}, &arena, &greeting, &err),
                   &err, "not a message Greeting");
}

static void test_unknown_fields_are_ignored(void **state)
{
    (void)state;
    struct mst_msg_fence fence;
    // term 5, field 100 as a number, field 101 as bytes, number 7
    assert_int_equal(mst_msg_fence_decode(BYTES("\x08\x05\xa0\x06\x01\xaa\x06\x03xyz\x18\x07"), &arena, &fence, NULL),
                     MST_OK);
    assert_int_equal(fence.term, 5);
    assert_int_equal(fence.number, 7);
}

// 512 K empty shards in 1 MiB: each would take a struct.
static void test_many_small_elements_are_bounded(void **state)
{
    (void)state;
    uint8_t *place;
    assert_int_equal(mst_buf_reserve(&buf, MST_FRAME_META_MAX, &place), MST_OK);
    for (size_t i = 0; i < MST_FRAME_META_MAX; i += 2) {
        place[i] = 0x22; // shards
        place[i + 1] = 0;
    }
    struct mst_msg_map map;
    struct mst_error err;
    mst_status status = mst_msg_map_decode((struct mst_bytes){place, MST_FRAME_META_MAX}, &arena, &map, &err);
    assert_true(status == MST_INVALID_ARGUMENT || status == MST_RESOURCE_EXHAUSTED);
    assert_non_null(strstr(err.text, "bytes of memory"));
    assert_true(arena.used_bytes <= MST_MSG_ARENA_MAX);
}

static void test_each_size_of_arena(void **state)
{
    (void)state;
    const struct mst_msg_shard shards[] = {{1, 2, 3, 4, 5, 6, 7, 8}, {0}};
    const struct mst_msg_map sent = {
        .n_shards = 2, .shards = shards, .restore_prefix = "prefix", .nonce_path = "path", .nonce = "nonce"};
    struct mst_msg_map got;
    assert_int_equal(mst_msg_map_encode(&sent, &buf), MST_OK);
    mst_status status = MST_INTERNAL;
    size_t n_tried = 0;
    for (size_t max = 0; status != MST_OK; max += 16, n_tried++) {
        struct mst_arena small;
        mst_arena_init(&small, max);
        status = mst_msg_map_decode(mst_buf_view(&buf), &small, &got, NULL);
        assert_true(status == MST_OK || status == MST_INVALID_ARGUMENT || status == MST_RESOURCE_EXHAUSTED);
        mst_arena_fini(&small);
    }
    assert_true(n_tried > 5);
}

static void test_an_encoding_that_does_not_fit(void **state)
{
    (void)state;
    struct mst_buf small;
    mst_buf_init(&small, 20);
    struct mst_msg_error error = {MST_INTERNAL, "a text longer than twenty bytes"};
    assert_int_equal(mst_msg_error_encode(&error, &small), MST_RESOURCE_EXHAUSTED);
    assert_int_equal(small.len, 0);
    mst_buf_fini(&small);
}

static void test_roles_have_names(void **state)
{
    (void)state;
    static const char *const names[] = {"unknown", "chief", "worker", "ps", "evaluator"};
    for (int role = MST_PEER_UNKNOWN; role < MST_PEER_ROLES; role++)
        assert_string_equal(mst_peer_role_name((enum mst_peer_role)role), names[role]);
    assert_string_equal(mst_peer_role_name(MST_PEER_ROLES), "unknown");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_greetings),
        CASE(test_heartbeats),
        CASE(test_leases),
        CASE(test_maps),
        CASE(test_pushes),
        CASE(test_pulls),
        CASE(test_fences),
        CASE(test_saves),
        CASE(test_stats),
        CASE(test_ends),
        CASE(test_evaluations),
        CASE(test_no_bytes_are_a_message_of_zeros),
        CASE(test_values_outside_their_range),
        CASE(test_control_bytes_in_texts),
        CASE(test_too_many_sums),
        CASE(test_too_many_bins),
        CASE(test_steps_without_their_parts),
        CASE(test_slices_of_another_rank),
        CASE(test_not_a_message),
        CASE(test_unknown_fields_are_ignored),
        CASE(test_many_small_elements_are_bounded),
        CASE(test_each_size_of_arena),
        CASE(test_an_encoding_that_does_not_fit),
        CASE(test_roles_have_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
