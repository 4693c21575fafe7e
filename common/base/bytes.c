#include "base/bytes.h"

#include "base/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void mst_buf_init(struct mst_buf *buf, size_t max_bytes)
{
    *buf = (struct mst_buf){.max_bytes = max_bytes};
}

void mst_buf_fini(struct mst_buf *buf)
{
    free(buf->data);
    *buf = (struct mst_buf){.max_bytes = buf->max_bytes};
}

void mst_buf_reset(struct mst_buf *buf)
{
    buf->len = 0;
}

mst_status mst_buf_reserve(struct mst_buf *buf, size_t more, uint8_t **out)
{
    *out = NULL;
    if (more > buf->max_bytes || buf->len > buf->max_bytes - more)
        return MST_RESOURCE_EXHAUSTED;
    size_t need = buf->len + more;
    if (more == 0 && !buf->data)
        return MST_OK; // no place for nothing: NULL + 0 is undefined
    if (need > buf->capacity) {
        size_t capacity = buf->capacity ? buf->capacity : 64;
        while (capacity < need)
            capacity = capacity > buf->max_bytes / 2 ? buf->max_bytes : capacity * 2;
        uint8_t *data = realloc(buf->data, capacity);
        if (!data)
            return MST_RESOURCE_EXHAUSTED;
        buf->data = data;
        buf->capacity = capacity;
    }
    *out = buf->data + buf->len;
    return MST_OK;
}

mst_status mst_buf_append(struct mst_buf *buf, const void *data, size_t len)
{
    if (len == 0)
        return MST_OK;
    uint8_t *end;
    MST_TRY(mst_buf_reserve(buf, len, &end));
    memcpy(end, data, len);
    buf->len += len;
    return MST_OK;
}

mst_status mst_buf_printf(struct mst_buf *buf, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    char *text = NULL;
    int length = vasprintf(&text, format, args);
    va_end(args);
    if (length < 0)
        return MST_RESOURCE_EXHAUSTED;
    // One byte more for the NUL, which len does not count.
    mst_status status = mst_buf_append(buf, text, (size_t)length + 1);
    if (status == MST_OK)
        buf->len--;
    free(text);
    return status;
}

struct mst_bytes mst_buf_view(const struct mst_buf *buf)
{
    return (struct mst_bytes){buf->data, buf->len};
}
