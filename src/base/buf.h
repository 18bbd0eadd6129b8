/* A growing byte buffer with a stated maximum. Not thread-safe. A failed append changes nothing but
 * marks the buffer, so that a chain of appends can be checked once at its end. */
#ifndef SL_BASE_BUF_H
#define SL_BASE_BUF_H

#include <stdbool.h>
#include <stddef.h>

#include <sluice/status.h>

typedef struct sl_buf {
    char *data; /* NULL until the first append; not terminated unless sl_buf_cstr was called */
    size_t len, cap,
        max; /* max: also of the bytes that sl_buf_printf and sl_buf_cstr need to terminate */
    sl_status status; /* SL_OK, or the first failure: SL_ERR_LIMIT or SL_ERR_MEMORY */
} sl_buf;

void sl_buf_init(sl_buf *b, size_t max_bytes);
void sl_buf_deinit(sl_buf *b);
void sl_buf_clear(sl_buf *b); /* keeps the memory, forgets contents and failure */

/* Each returns b->status, so a chain may ignore all but the last. */
sl_status sl_buf_append(sl_buf *b, const void *data, size_t len);
sl_status sl_buf_append_str(sl_buf *b, const char *text);
sl_status sl_buf_append_char(sl_buf *b, char c);
sl_status sl_buf_printf(sl_buf *b, const char *format, ...) SL_PRINTF(2, 3);
/* `text` as the inside of a JSON string (no quotes): escapes, and U+FFFD for invalid UTF-8. */
sl_status sl_buf_append_json(sl_buf *b, const char *text, size_t len);

/* Room for `len` more bytes at data + b->len, or NULL (b->status says why). */
char *sl_buf_reserve(sl_buf *b, size_t len);
void sl_buf_drop_front(sl_buf *b, size_t len); /* forgets the first len bytes (moves the rest) */
/* The contents as a terminated string; NULL after a failure. */
const char *sl_buf_cstr(sl_buf *b);

#endif
