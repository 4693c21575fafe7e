// A signed number of n bytes has 7 n - 1 bits and its sign; the header bits (n ones, for n bytes, inverted for negative
// numbers because they are XORed onto the sign extension) make longer positive numbers sort after shorter ones.
#include "tfio/ordered_code.h"

#include "base/bytes.h"
#include "base/error.h"
#include "muster/status.h"

#include <stdint.h>
#include <string.h>

mst_status mst_ordered_append_number(struct mst_buf *buf, uint64_t number)
{
    uint8_t bytes[9];
    size_t n = 0;
    for (uint64_t rest = number; rest > 0; rest >>= 8)
        n++;
    bytes[0] = (uint8_t)n;
    for (size_t i = 0; i < n; i++)
        bytes[1 + i] = (uint8_t)(number >> (8 * (n - 1 - i)));
    return mst_buf_append(buf, bytes, 1 + n);
}

mst_status mst_ordered_append_signed(struct mst_buf *buf, int64_t number)
{
    uint64_t magnitude = number < 0 ? ~(uint64_t)number : (uint64_t)number;
    size_t n_bits = 0;
    for (uint64_t rest = magnitude; rest > 0; rest >>= 1)
        n_bits++;
    size_t n = n_bits / 7 + 1; // 1 … 10
    uint8_t bytes[10];
    for (size_t i = 0; i < n; i++) {
        size_t shift = 8 * (n - 1 - i);
        uint64_t shifted = shift < 64 ? (uint64_t)number >> shift : number < 0 ? UINT64_MAX : 0;
        bytes[i] = (uint8_t)shifted;
    }
    // n leading ones over the first two bytes.
    uint32_t header = ((1u << n) - 1) << (16 - n);
    bytes[0] ^= (uint8_t)(header >> 8);
    if (n > 1)
        bytes[1] ^= (uint8_t)header;
    return mst_buf_append(buf, bytes, n);
}

mst_status mst_ordered_append_text(struct mst_buf *buf, const char *text)
{
    for (; *text; text++) { // a C text holds no 00 to escape
        MST_TRY(mst_buf_append(buf, text, 1));
        if ((uint8_t)*text == 0xff)
            MST_TRY(mst_buf_append(buf, "\0", 1));
    }
    return mst_buf_append(buf, "\0\1", 2);
}

mst_status mst_slice_key_append(struct mst_buf *buf, const char *name, const struct mst_slice_axis *axes, size_t n_axes)
{
    MST_TRY(mst_ordered_append_number(buf, 0));
    MST_TRY(mst_ordered_append_text(buf, name));
    MST_TRY(mst_ordered_append_number(buf, n_axes));
    for (size_t i = 0; i < n_axes; i++) {
        MST_TRY(mst_ordered_append_signed(buf, axes[i].start));
        MST_TRY(mst_ordered_append_signed(buf, axes[i].length));
    }
    return MST_OK;
}
