// With SSE4.2 three independent streams hide the instruction's latency of three cycles; their CRCs are joined by
// multiplying with x^(8 n) mod P, a table lookup per byte of state. Elsewhere: slicing by eight.
#include "base/crc32c.h"

#include <pthread.h>
#include <stdbool.h>
#include <string.h>

#define POLYNOMIAL 0x82f63b78u // Castagnoli, bit-reversed

enum { STREAM_BYTES = 1024 }; // three streams of this length a turn: long enough to pay for the join

static uint32_t slices[8][256];
static uint32_t shift_table[4][256]; // advances a CRC over STREAM_BYTES zero bytes
static pthread_once_t once = PTHREAD_ONCE_INIT;

static uint32_t advance_zeros(uint32_t crc, size_t n_bytes)
{
    for (size_t i = 0; i < n_bytes; i++)
        crc = slices[0][crc & 0xff] ^ crc >> 8;
    return crc;
}

static void build_tables(void)
{
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t crc = i;
        for (int bit = 0; bit < 8; bit++)
            crc = crc & 1 ? crc >> 1 ^ POLYNOMIAL : crc >> 1;
        slices[0][i] = crc;
    }
    for (uint32_t i = 0; i < 256; i++)
        for (int s = 1; s < 8; s++)
            slices[s][i] = slices[0][slices[s - 1][i] & 0xff] ^ slices[s - 1][i] >> 8;
    // Linear over GF(2): the table of a byte value is the XOR of those of its bits, so only 32 long walks are needed.
    uint32_t of_bit[32];
    for (int bit = 0; bit < 32; bit++)
        of_bit[bit] = advance_zeros(1u << bit, STREAM_BYTES);
    for (int byte = 0; byte < 4; byte++)
        for (uint32_t i = 0; i < 256; i++) {
            uint32_t sum = 0;
            for (int bit = 0; bit < 8; bit++)
                if (i & 1u << bit)
                    sum ^= of_bit[byte * 8 + bit];
            shift_table[byte][i] = sum;
        }
}

static uint64_t load64(const uint8_t *p)
{
    uint64_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

static uint32_t extend_tables(uint32_t crc, const uint8_t *p, size_t len)
{
    while (len >= 8) {
        uint64_t v = load64(p) ^ crc;
        crc = 0;
        for (int i = 0; i < 8; i++)
            crc ^= slices[7 - i][v >> (8 * i) & 0xff];
        p += 8;
        len -= 8;
    }
    while (len--)
        crc = slices[0][(crc ^ *p++) & 0xff] ^ crc >> 8;
    return crc;
}

#ifdef __x86_64__
#include <immintrin.h>

static uint32_t shift_stream(uint32_t crc)
{
    return shift_table[0][crc & 0xff] ^ shift_table[1][crc >> 8 & 0xff] ^ shift_table[2][crc >> 16 & 0xff] ^
           shift_table[3][crc >> 24];
}

__attribute__((target("sse4.2"))) static uint32_t extend_sse42(uint32_t crc, const uint8_t *p, size_t len)
{
    while (len >= 3 * STREAM_BYTES) {
        uint64_t a = crc;
        uint64_t b = 0;
        uint64_t c = 0;
        for (size_t i = 0; i < STREAM_BYTES; i += 8) {
            a = _mm_crc32_u64(a, load64(p + i));
            b = _mm_crc32_u64(b, load64(p + STREAM_BYTES + i));
            c = _mm_crc32_u64(c, load64(p + 2 * STREAM_BYTES + i));
        }
        crc = shift_stream(shift_stream((uint32_t)a) ^ (uint32_t)b) ^ (uint32_t)c;
        p += 3 * STREAM_BYTES;
        len -= 3 * STREAM_BYTES;
    }
    uint64_t wide = crc;
    for (; len >= 8; p += 8, len -= 8)
        wide = _mm_crc32_u64(wide, load64(p));
    crc = (uint32_t)wide;
    while (len--)
        crc = _mm_crc32_u8(crc, *p++);
    return crc;
}

static bool has_sse42(void)
{
    return __builtin_cpu_supports("sse4.2");
}
#else
static uint32_t extend_sse42(uint32_t crc, const uint8_t *p, size_t len)
{
    return extend_tables(crc, p, len);
}

static bool has_sse42(void)
{
    return false;
}
#endif

uint32_t mst_crc32c_extend(uint32_t crc, const void *data, size_t len)
{
    pthread_once(&once, build_tables);
    return ~(has_sse42() ? extend_sse42(~crc, data, len) : extend_tables(~crc, data, len));
}

uint32_t mst_crc32c(const void *data, size_t len)
{
    return mst_crc32c_extend(0, data, len);
}

uint32_t mst_crc32c_mask(uint32_t crc)
{
    return (crc >> 15 | crc << 17) + 0xa282ead8u;
}

uint32_t mst_crc32c_unmask(uint32_t masked)
{
    uint32_t rotated = masked - 0xa282ead8u;
    return rotated >> 17 | rotated << 15;
}
