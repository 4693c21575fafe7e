// The reader of frames, fed a stream in every way that a socket may cut it.
#include "rpc/parser.h"

#include "base/alloc.h"
#include "base/crc32c.h"
#include "base/rng.h"
#include "muster/status.h"
#include "rpc_frames.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

enum { PARTS = 8, STREAM_MAX = 8 << 20, BUFFER_BYTES = 8192 };

#define SEED UINT64_C(20261124)

// What became of a frame.
enum fate { FATE_TAKE, FATE_PARK_THEN_TAKE, FATE_DRAIN, FATE_ABANDON, FATES };

static enum fate fate_of(uint64_t call)
{
    return (enum fate)(call % FATES);
}

// A stream, and who reads it.
struct reader {
    struct mst_parser parser;
    struct mst_buf stream;
    size_t at; // of the stream
    uint64_t n_messages;
    uint64_t n_drained;
    uint64_t last_call;
    int n_asked; // how often HEAD came for the frame at hand
    uint8_t *body;
    struct iovec parts[PARTS];
    struct mst_sink sink;
};

static void reader_init(struct reader *reader, uint32_t max_meta_bytes)
{
    memset(reader, 0, sizeof *reader);
    mst_buf_init(&reader->stream, STREAM_MAX);
    mst_parser_init(&reader->parser, max_meta_bytes);
}

static void reader_fini(struct reader *reader)
{
    mst_parser_fini(&reader->parser);
    mst_buf_fini(&reader->stream);
    free(reader->body);
}

// A sink in uneven parts, some of them empty.
static const struct mst_sink *make_sink(struct reader *reader)
{
    size_t left = (size_t)reader->parser.message.body_bytes;
    free(reader->body);
    reader->body = mst_alloc(left); // exact, so that ASan sees a byte too many
    uint8_t *at = reader->body;
    size_t n = 0;
    for (; left && n < PARTS - 1; n++) {
        size_t len = n % 3 == 1 ? 0 : 1 + left / 3;
        len = len < left ? len : left;
        reader->parts[n] = (struct iovec){at, len};
        at += len;
        left -= len;
    }
    reader->parts[n++] = (struct iovec){at, left};
    reader->sink = (struct mst_sink){reader->parts, n};
    return &reader->sink;
}

static void on_head(struct reader *reader)
{
    const struct mst_message *message = &reader->parser.message;
    enum fate fate = fate_of(message->call);
    assert_false(mst_parser_is_idle(&reader->parser));
    if (fate == FATE_PARK_THEN_TAKE && reader->n_asked++ < 3)
        return;
    if (fate == FATE_DRAIN) {
        reader->n_drained++;
        mst_parser_drain(&reader->parser);
    } else {
        mst_parser_take(&reader->parser, make_sink(reader));
    }
}

static void on_message(struct reader *reader)
{
    const struct mst_message *message = &reader->parser.message;
    assert_true(message->call > reader->last_call);
    reader->last_call = message->call;
    reader->n_asked = 0;
    reader->n_messages++;
    for (size_t i = 0; i < message->meta.len; i++)
        assert_int_equal(((const uint8_t *)message->meta.data)[i], rpc_pattern(message->call + 1, i));
    for (size_t i = 0; i < message->body_bytes; i++)
        assert_int_equal(reader->body[i], rpc_pattern(message->call, i));
}

// Works off what the parser holds; returns when it wants more, or has failed.
static mst_status pump(struct reader *reader, struct mst_error *err)
{
    while (true) {
        enum mst_parser_event event;
        mst_status status = mst_parser_next(&reader->parser, &event, err);
        if (status != MST_OK || event == MST_PARSER_NEED)
            return status;
        if (event == MST_PARSER_HEAD)
            on_head(reader);
        else
            on_message(reader);
    }
}

// Puts at most n bytes of the stream where the parser wants them, as a readv would.
static size_t feed(struct reader *reader, size_t n)
{
    struct iovec iov[5];
    size_t n_parts = mst_parser_space(&reader->parser, iov, 5), n_fed = 0;
    assert_in_range(n_parts, 1, 5);
    for (size_t i = 0; i < n_parts && n; i++) {
        assert_true(iov[i].iov_len > 0);
        size_t left = reader->stream.len - reader->at;
        size_t len = iov[i].iov_len < n ? iov[i].iov_len : n;
        len = len < left ? len : left;
        memcpy(iov[i].iov_base, reader->stream.data + reader->at, len);
        reader->at += len;
        n_fed += len;
        n -= len;
        if (len < iov[i].iov_len)
            break;
    }
    mst_parser_filled(&reader->parser, n_fed);
    return n_fed;
}

static void append_frame(struct reader *reader, uint64_t call, uint8_t flags, size_t meta_bytes, size_t body_bytes)
{
    uint8_t *meta = mst_alloc(meta_bytes);
    rpc_fill(meta, meta_bytes, call + 1);
    struct mst_frame head = {.flags = flags, .method = (uint16_t)(call * 3), .call = call};
    rpc_append_frame(&reader->stream, &head, (struct mst_bytes){meta, meta_bytes}, body_bytes);
    free(meta);
}

// Some of everything: no meta, much meta, no body, CRCs (also of nothing), every fate.
static void make_stream(struct reader *reader, uint64_t n_frames, struct mst_rng_key key)
{
    for (uint64_t call = 1; call <= n_frames; call++) {
        uint32_t r = mst_rng_word(key, call);
        size_t meta_bytes = r % 5 == 0 ? 0 : r % 97 == 0 ? 20000 + r % 30000 : r % 300;
        size_t body_bytes = r % 7 < 2 ? 0 : r % 7 == 2 ? r % 30000 : r % 200;
        append_frame(reader, call, r >> 16 & 1 ? MST_FRAME_BODY_CRC : MST_FRAME_REPLY, meta_bytes, body_bytes);
    }
}

// Abandoned bodies: the rest is thrown away when half of it is there.
static void abandon_some(struct reader *reader)
{
    struct mst_parser *parser = &reader->parser;
    if (parser->state == MST_PARSE_BODY && fate_of(parser->message.call) == FATE_ABANDON &&
        parser->body_left < parser->message.body_bytes / 2) {
        reader->n_drained++;
        mst_parser_drain(parser);
    }
}

static void test_random_splits(void **state)
{
    (void)state;
    print_message("seed %llu\n", (unsigned long long)SEED);
    for (uint64_t run = 0; run < 60; run++) {
        struct mst_rng_key key = mst_rng_key_of(SEED, "splits", run);
        struct reader reader;
        reader_init(&reader, MST_FRAME_META_MAX);
        make_stream(&reader, 60, key);
        uint32_t typical = 1 + mst_rng_word(key, 1000) % 4000;
        for (uint64_t i = 0; reader.at < reader.stream.len; i++) {
            feed(&reader, 1 + mst_rng_word(key, 2000 + i) % typical);
            abandon_some(&reader);
            assert_int_equal(pump(&reader, NULL), MST_OK);
            abandon_some(&reader);
        }
        assert_int_equal(pump(&reader, NULL), MST_OK);
        assert_int_equal(reader.n_messages + reader.n_drained, 60);
        assert_true(mst_parser_is_idle(&reader.parser));
        assert_int_equal(reader.parser.capacity, BUFFER_BYTES); // the room of a large meta is given back
        reader_fini(&reader);
    }
}

// Three frames, cut into chunks of every size, and into two pieces at every place.
static void test_every_split(void **state)
{
    (void)state;
    size_t n_bytes = 1;
    for (size_t cut = 1; cut <= 2 * n_bytes; cut++) {
        struct reader reader;
        reader_init(&reader, 100);
        append_frame(&reader, 1, MST_FRAME_BODY_CRC, 20, 50);
        append_frame(&reader, 4, MST_FRAME_BODY_CRC, 0, 0);
        append_frame(&reader, 5, 0, 30, 33);
        append_frame(&reader, 6, 0, 1, 20); // drained
        append_frame(&reader, 8, MST_FRAME_REPLY, 100, 0);
        n_bytes = reader.stream.len;
        bool in_chunks = cut <= n_bytes;
        bool is_first = true;
        while (reader.at < reader.stream.len) {
            size_t want = in_chunks ? cut : is_first ? cut - n_bytes : n_bytes;
            is_first = false;
            while (want && reader.at < reader.stream.len) {
                want -= feed(&reader, want);
                assert_int_equal(pump(&reader, NULL), MST_OK);
            }
        }
        assert_int_equal(reader.n_messages, 4);
        assert_int_equal(reader.n_drained, 1);
        assert_true(mst_parser_is_idle(&reader.parser));
        reader_fini(&reader);
    }
}

// A large body with a CRC is read in pieces, whatever it is cut into; without one it is read as it comes.
static void test_bodies_with_a_crc_come_in_pieces(void **state)
{
    (void)state;
    struct reader reader;
    reader_init(&reader, MST_FRAME_META_MAX);
    append_frame(&reader, 1, MST_FRAME_BODY_CRC, 20, 4 * MST_CRC32C_PIECE_BYTES + 5);
    append_frame(&reader, 4, 0, 20, 4 * MST_CRC32C_PIECE_BYTES + 5);
    append_frame(&reader, 5, MST_FRAME_BODY_CRC, 0, MST_CRC32C_PIECE_BYTES);
    size_t most[6] = {0};
    while (reader.at < reader.stream.len) {
        bool is_body = reader.parser.state == MST_PARSE_BODY;
        uint64_t call = reader.parser.message.call;
        size_t n = feed(&reader, SIZE_MAX);
        if (is_body && n > most[call])
            most[call] = n;
        assert_int_equal(pump(&reader, NULL), MST_OK);
    }
    assert_int_equal(reader.n_messages, 3);
    assert_int_equal(most[1], MST_CRC32C_PIECE_BYTES);
    assert_true(most[4] > MST_CRC32C_PIECE_BYTES);
    assert_true(most[5] <= MST_CRC32C_PIECE_BYTES + BUFFER_BYTES + MST_FRAME_CRC_BYTES);
    reader_fini(&reader);
}

static void test_idle_only_between_frames(void **state)
{
    (void)state;
    struct reader reader;
    reader_init(&reader, 100);
    append_frame(&reader, 1, 0, 10, 20);
    assert_true(mst_parser_is_idle(&reader.parser));
    while (reader.at < reader.stream.len) {
        feed(&reader, 1);
        assert_int_equal(pump(&reader, NULL), MST_OK);
        assert_int_equal(mst_parser_is_idle(&reader.parser), reader.at == reader.stream.len);
    }
    assert_true(mst_parser_is_idle(&reader.parser));
    reader_fini(&reader);
}

// Feeds a stream byte by byte until it fails, which it must.
static void expect_refusal(struct reader *reader, mst_status status, const char *says)
{
    struct mst_error err = {.text = ""};
    mst_status got = pump(reader, &err);
    while (got == MST_OK && reader->at < reader->stream.len) {
        feed(reader, 1);
        got = pump(reader, &err);
    }
    assert_int_equal(got, status);
    if (!strstr(err.text, says))
        fail_msg("\"%s\" does not say \"%s\"", err.text, says);
}

static void test_refusals(void **state)
{
    (void)state;
    struct reader reader;
    static const struct {
        size_t flip; // which byte
        mst_status status;
        const char *says;
        bool knows_frame;
    } rows[] = {
        {0, MST_INVALID_ARGUMENT, "not a Muster frame", false},
        {4, MST_FAILED_PRECONDITION, "version", true},
        {5, MST_INVALID_ARGUMENT, "flags", false},
        {19, MST_RESOURCE_EXHAUSTED, "meta", true},
        {31, MST_RESOURCE_EXHAUSTED, "body", true},
        {22, MST_DATA_LOSS, "crc32c", true},
        {33, MST_DATA_LOSS, "crc32c", true},
        {42, MST_DATA_LOSS, "body of greeting", true},
        {92, MST_DATA_LOSS, "body of greeting", true},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        reader_init(&reader, 100);
        struct mst_frame head = {.flags = MST_FRAME_BODY_CRC, .method = MST_METHOD_GREETING, .call = 4};
        rpc_append_frame(&reader.stream, &head, (struct mst_bytes){"0123456789", 10}, 50);
        reader.stream.data[rows[i].flip] ^= 0x48;
        expect_refusal(&reader, rows[i].status, rows[i].says);
        assert_int_equal(reader.parser.knows_frame, rows[i].knows_frame);
        reader_fini(&reader);
    }
}

static void test_meta_over_the_limit(void **state)
{
    (void)state;
    struct reader reader;
    reader_init(&reader, 100);
    append_frame(&reader, 4, 0, 100, 0);
    append_frame(&reader, 8, 0, 101, 0);
    expect_refusal(&reader, MST_RESOURCE_EXHAUSTED, "meta of 101 bytes exceeds 100");
    assert_int_equal(reader.n_messages, 1);
    reader_fini(&reader);
}

// Hostile lengths cost nothing until the bytes come.
static void test_announced_meta_takes_what_it_says_and_no_more(void **state)
{
    (void)state;
    struct reader reader;
    reader_init(&reader, MST_FRAME_META_MAX);
    append_frame(&reader, 4, 0, MST_FRAME_META_MAX, 0);
    feed(&reader, MST_FRAME_HEADER_BYTES);
    assert_int_equal(pump(&reader, NULL), MST_OK);
    assert_int_equal(reader.parser.capacity, MST_FRAME_HEADER_BYTES + MST_FRAME_META_MAX);
    while (reader.at < reader.stream.len)
        feed(&reader, 100000);
    assert_int_equal(pump(&reader, NULL), MST_OK);
    assert_int_equal(reader.n_messages, 1);
    reader_fini(&reader);
}

static void test_no_memory_for_meta(void **state)
{
    (void)state;
    struct reader reader;
    reader_init(&reader, MST_FRAME_META_MAX);
    append_frame(&reader, 4, 0, 20000, 0);
    expect_refusal(&reader, MST_RESOURCE_EXHAUSTED, "no memory"); // MST_FAIL_NTH=1 is set by main
    reader_fini(&reader);
}

int main(void)
{
    setenv("MST_FAIL_NTH", "1", 1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_no_memory_for_meta), // first: it uses up the allocation that fails
        cmocka_unit_test(test_random_splits),
        cmocka_unit_test(test_every_split),
        cmocka_unit_test(test_bodies_with_a_crc_come_in_pieces),
        cmocka_unit_test(test_idle_only_between_frames),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_meta_over_the_limit),
        cmocka_unit_test(test_announced_meta_takes_what_it_says_and_no_more),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
