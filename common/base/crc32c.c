// With SSE4.2 three independent streams hide the instruction's latency of three cycles; their CRCs are joined by
// multiplying with x^(8 n) mod P, a table lookup per byte of state. Where there are carry-less products of 256 or 512
// bits, long inputs are folded: 16 pieces of 128 bits are moved on over the next 256 bytes, as Gopal et al. do it
// ("Fast CRC Computation for Generic Polynomials Using PCLMULQDQ Instruction", Intel, 2009), so that memory is what
// limits it. Elsewhere: slicing by eight.
#include "base/crc32c.h"

#include "crc32c_private.h"
#include <pthread.h>
#include <stdbool.h>
#include <string.h>

#define POLYNOMIAL 0x82f63b78u // Castagnoli, bit-reversed

enum {
    STREAM_BYTES = 1024, // three streams of this length a turn: long enough to pay for the join
    FOLD_BYTES = 256,    // in flight, to hide the latency of a product
    WIDE_BYTES = 64,     // a register of 512 bits
    N_WIDE = FOLD_BYTES / WIDE_BYTES,
    HALF_BYTES = 32, // of 256
    N_HALVES = FOLD_BYTES / HALF_BYTES,
    AHEAD_BYTES = 2048, // prefetched: processors with no wider products than of 256 bits fetch too late by themselves
    LINE_BYTES = 64,    // of the cache
    FOLD_MIN_BYTES = 1024, // less is not worth the end of a fold
};

// What moves the first and the last 64 bits of a register on by a distance.
struct fold_factors {
    uint64_t first;
    uint64_t last;
};

static uint32_t slices[8][256];
static uint32_t shift_table[4][256]; // advances a CRC over STREAM_BYTES zero bytes
static struct fold_factors by_wide;
static struct fold_factors by_half;
static struct fold_factors by_fold;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static uint32_t advance_zeros(uint32_t crc, size_t n_bytes)
{
    for (size_t i = 0; i < n_bytes; i++)
        crc = slices[0][crc & 0xff] ^ crc >> 8;
    return crc;
}

// x^n mod P, as a factor of a carry-less product: bit-reversed, in the upper half of 64 bits.
static uint64_t power_of_x(size_t n)
{
    uint32_t power = 1u << 31;
    for (; n > 0; n--)
        power = power & 1 ? power >> 1 ^ POLYNOMIAL : power >> 1;
    return (uint64_t)power << 32;
}

// The product of bit-reversed factors is one bit short of 128, so it is x times too large.
static struct fold_factors fold_factors_of(size_t n_bytes)
{
    return (struct fold_factors){.first = power_of_x(8 * n_bytes + 64 - 1), .last = power_of_x(8 * n_bytes - 1)};
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
    by_wide = fold_factors_of(WIDE_BYTES);
    by_half = fold_factors_of(HALF_BYTES);
    by_fold = fold_factors_of(FOLD_BYTES);
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

__attribute__((target("avx2"))) static __m256i spread_256(struct fold_factors by)
{
    return _mm256_set_epi64x((long long)by.last, (long long)by.first, (long long)by.last, (long long)by.first);
}

__attribute__((target("avx2,vpclmulqdq"))) static __m256i fold_256(__m256i x, __m256i by, __m256i next)
{
    __m256i first = _mm256_clmulepi64_epi128(x, by, 0x00);
    __m256i last = _mm256_clmulepi64_epi128(x, by, 0x11);
    return _mm256_xor_si256(_mm256_xor_si256(first, last), next);
}

__attribute__((target("avx2"))) static __m256i load_256(const uint8_t *p)
{
    return _mm256_loadu_si256((const __m256i_u *)p);
}

// At least FOLD_BYTES.
__attribute__((target("avx2,vpclmulqdq,sse4.2"))) static uint32_t extend_folding_256(uint32_t crc, const uint8_t *p,
                                                                                     size_t len)
{
    __m256i sum[N_HALVES];
    for (int i = 0; i < N_HALVES; i++)
        sum[i] = load_256(p + i * HALF_BYTES);
    sum[0] = _mm256_xor_si256(sum[0], _mm256_zextsi128_si256(_mm_cvtsi32_si128((int)crc)));
    p += FOLD_BYTES;
    len -= FOLD_BYTES;
    for (__m256i by = spread_256(by_fold); len >= FOLD_BYTES; p += FOLD_BYTES, len -= FOLD_BYTES) {
        for (int i = 0; i < FOLD_BYTES; i += LINE_BYTES)
            __builtin_prefetch(p + AHEAD_BYTES + i);
        for (int i = 0; i < N_HALVES; i++)
            sum[i] = fold_256(sum[i], by, load_256(p + i * HALF_BYTES));
    }
    for (int i = 1; i < N_HALVES; i++)
        sum[i] = fold_256(sum[i - 1], spread_256(by_half), sum[i]);
    uint8_t rest[HALF_BYTES]; // what came so far has the CRC of these bytes
    _mm256_storeu_si256((__m256i_u *)rest, sum[N_HALVES - 1]);
    _mm256_zeroupper(); // GCC leaves it out before the calls; without it all SSE code that follows is slower
    return extend_sse42(extend_sse42(0, rest, sizeof rest), p, len);
}

__attribute__((target("avx512f"))) static __m512i spread_512(struct fold_factors by)
{
    return _mm512_set4_epi64((long long)by.last, (long long)by.first, (long long)by.last, (long long)by.first);
}

__attribute__((target("avx512f,vpclmulqdq"))) static __m512i fold_512(__m512i x, __m512i by, __m512i next)
{
    __m512i first = _mm512_clmulepi64_epi128(x, by, 0x00);
    __m512i last = _mm512_clmulepi64_epi128(x, by, 0x11);
    return _mm512_ternarylogic_epi64(first, last, next, 0x96); // the XOR of the three
}

// As extend_folding_256, without the prefetch: these processors read ahead far enough by themselves.
__attribute__((target("avx512f,vpclmulqdq,sse4.2"))) static uint32_t extend_folding_512(uint32_t crc, const uint8_t *p,
                                                                                        size_t len)
{
    __m512i sum[N_WIDE];
    for (int i = 0; i < N_WIDE; i++)
        sum[i] = _mm512_loadu_si512(p + i * WIDE_BYTES);
    sum[0] = _mm512_xor_si512(sum[0], _mm512_zextsi128_si512(_mm_cvtsi32_si128((int)crc)));
    p += FOLD_BYTES;
    len -= FOLD_BYTES;
    for (__m512i by = spread_512(by_fold); len >= FOLD_BYTES; p += FOLD_BYTES, len -= FOLD_BYTES)
        for (int i = 0; i < N_WIDE; i++)
            sum[i] = fold_512(sum[i], by, _mm512_loadu_si512(p + i * WIDE_BYTES));
    for (int i = 1; i < N_WIDE; i++)
        sum[i] = fold_512(sum[i - 1], spread_512(by_wide), sum[i]);
    uint8_t rest[WIDE_BYTES];
    _mm512_storeu_si512(rest, sum[N_WIDE - 1]);
    _mm256_zeroupper();
    return extend_sse42(extend_sse42(0, rest, sizeof rest), p, len);
}

bool mst_crc32c_can(enum mst_crc32c_way way)
{
    switch (way) {
    case MST_CRC32C_TABLES:
        return true;
    case MST_CRC32C_SSE42:
        return __builtin_cpu_supports("sse4.2");
    case MST_CRC32C_FOLDING_256:
        return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("vpclmulqdq");
    case MST_CRC32C_FOLDING_512:
        return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("vpclmulqdq");
    }
    return false;
}

static uint32_t extend_by(enum mst_crc32c_way way, uint32_t crc, const uint8_t *p, size_t len)
{
    if (way == MST_CRC32C_TABLES)
        return extend_tables(crc, p, len);
    if (way == MST_CRC32C_SSE42 || len < FOLD_MIN_BYTES)
        return extend_sse42(crc, p, len);
    return way == MST_CRC32C_FOLDING_256 ? extend_folding_256(crc, p, len) : extend_folding_512(crc, p, len);
}
#else
bool mst_crc32c_can(enum mst_crc32c_way way)
{
    return way == MST_CRC32C_TABLES;
}

static uint32_t extend_by(enum mst_crc32c_way way, uint32_t crc, const uint8_t *p, size_t len)
{
    (void)way;
    return extend_tables(crc, p, len);
}
#endif

uint32_t mst_crc32c_extend_by(enum mst_crc32c_way way, uint32_t crc, const void *data, size_t len)
{
    pthread_once(&once, build_tables);
    return ~extend_by(way, ~crc, data, len);
}

uint32_t mst_crc32c_extend(uint32_t crc, const void *data, size_t len)
{
    enum mst_crc32c_way way = MST_CRC32C_FOLDING_512;
    while (!mst_crc32c_can(way))
        way--;
    return mst_crc32c_extend_by(way, crc, data, len);
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
