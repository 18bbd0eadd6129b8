#include "base/buf.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/utf8.h"

void sl_buf_init(sl_buf *b, size_t max_bytes) {
    *b = (sl_buf){.max = max_bytes};
}

void sl_buf_deinit(sl_buf *b) {
    sl_free(b->data);
    b->data = NULL;
    b->len = b->cap = 0;
}

void sl_buf_clear(sl_buf *b) {
    b->len = 0;
    b->status = SL_OK;
}

char *sl_buf_reserve(sl_buf *b, size_t len) {
    if (b->status != SL_OK) {
        return NULL;
    }
    if (len > b->max || b->len > b->max - len) {
        b->status = SL_ERR_LIMIT;
        return NULL;
    }
    size_t need = b->len + len;
    if (need > b->cap || b->data == NULL) { /* so that a room of 0 bytes has an address too */
        size_t cap = b->cap < 128 ? 128 : b->cap;
        while (cap < need) {
            cap = cap > SIZE_MAX / 2 ? need : cap * 2;
        }
        cap = cap > b->max ? b->max : cap;
        char *data = sl_realloc_array(b->data, cap, 1);
        if (data == NULL) {
            b->status = SL_ERR_MEMORY;
            return NULL;
        }
        b->data = data;
        b->cap = cap;
    }
    return b->data + b->len;
}

sl_status sl_buf_append(sl_buf *b, const void *data, size_t len) {
    if (len == 0) {
        return b->status;
    }
    char *p = sl_buf_reserve(b, len);
    if (p != NULL) {
        memcpy(p, data, len);
        b->len += len;
    }
    return b->status;
}

sl_status sl_buf_append_str(sl_buf *b, const char *text) {
    return sl_buf_append(b, text, strlen(text));
}

sl_status sl_buf_append_char(sl_buf *b, char c) {
    return sl_buf_append(b, &c, 1);
}

sl_status sl_buf_printf(sl_buf *b, const char *format, ...) {
    va_list args;
    va_start(args, format);
    int n = vsnprintf(NULL, 0, format, args);
    va_end(args);
    if (n < 0) {
        b->status = b->status == SL_OK ? SL_ERR_INTERNAL : b->status;
        return b->status;
    }
    char *p = sl_buf_reserve(b, (size_t)n + 1); /* vsnprintf writes a terminator too */
    if (p != NULL) {
        va_start(args, format);
        (void)vsnprintf(p, (size_t)n + 1, format, args);
        va_end(args);
        b->len += (size_t)n;
    }
    return b->status;
}

static void buf_append_json_char(sl_buf *b, uint32_t c, const char *bytes, size_t n_bytes) {
    switch (c) {
    case '"':
        sl_buf_append(b, "\\\"", 2);
        return;
    case '\\':
        sl_buf_append(b, "\\\\", 2);
        return;
    case '\n':
        sl_buf_append(b, "\\n", 2);
        return;
    case '\r':
        sl_buf_append(b, "\\r", 2);
        return;
    case '\t':
        sl_buf_append(b, "\\t", 2);
        return;
    default:
        break;
    }
    if (c < 0x20 || c == 0x7F) {
        sl_buf_printf(b, "\\u%04x", (unsigned)c);
    } else {
        sl_buf_append(b, bytes, n_bytes);
    }
}

sl_status sl_buf_append_json(sl_buf *b, const char *text, size_t len) {
    size_t plain = 0; /* start of the run that needs no change */
    for (size_t i = 0; i < len;) {
        unsigned char c = (unsigned char)text[i];
        if (c >= 0x20 && c < 0x7F && c != '"' && c != '\\') {
            i++;
            continue;
        }
        sl_buf_append(b, text + plain, i - plain);
        uint32_t code;
        size_t n = sl_utf8_decode(text + i, len - i, &code);
        if (n == 0) {
            sl_buf_append(b, "\xEF\xBF\xBD", 3);
            i++;
        } else {
            buf_append_json_char(b, code, text + i, n);
            i += n;
        }
        plain = i;
    }
    return sl_buf_append(b, text + plain, len - plain);
}

void sl_buf_drop_front(sl_buf *b, size_t len) {
    len = len > b->len ? b->len : len;
    if (len > 0) {
        memmove(b->data, b->data + len, b->len - len);
        b->len -= len;
    }
}

const char *sl_buf_cstr(sl_buf *b) {
    char *p = sl_buf_reserve(b, 1);
    if (p == NULL) {
        return NULL;
    }
    *p = '\0';
    return b->data;
}
