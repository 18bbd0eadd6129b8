#define _GNU_SOURCE
#include "base/error.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "base/utf8.h"

const char *sl_status_name(sl_status code) {
    switch (code) {
    case SL_OK:
        return "ok";
    case SL_AGAIN:
        return "again";
    case SL_ERR_ARGUMENT:
        return "argument";
    case SL_ERR_FORMAT:
        return "format";
    case SL_ERR_IO:
        return "io";
    case SL_ERR_MEMORY:
        return "memory";
    case SL_ERR_LIMIT:
        return "limit";
    case SL_ERR_UNSUPPORTED:
        return "unsupported";
    case SL_ERR_NOT_FOUND:
        return "not_found";
    case SL_ERR_CANCELLED:
        return "cancelled";
    case SL_ERR_NUMERIC:
        return "numeric";
    case SL_ERR_INTERNAL:
        return "internal";
    }
    return "unknown";
}

const char *sl_errno_text(int code) {
#if defined(__GLIBC__)
    const char *text = strerrordesc_np(code); /* strerror is not safe in threads */
#else
    const char *text = strerror(code);
#endif
    return text == NULL ? "unknown error" : text;
}

/* One printable line of valid UTF-8: what is neither becomes '?'. A character that was cut in two
 * is dropped. */
static void error_tidy(char *message, bool was_cut) {
    size_t len = strlen(message);
    if (was_cut) {
        len -= sl_utf8_incomplete_tail(message, len);
        message[len] = '\0';
    }
    for (size_t i = 0; i < len;) {
        uint32_t code = 0;
        size_t n = sl_utf8_decode(message + i, len - i, &code);
        bool control = code < 0x20 || (code >= 0x7F && code < 0xA0);
        if (n == 0 || control) {
            n = n == 0 ? 1 : n;
            memset(message + i, '?', n);
        }
        i += n;
    }
}

sl_status sl_error_set(sl_error *err, sl_status code, const char *file, int line,
                       const char *format, ...) {
    if (err == NULL) {
        return code;
    }
    err->code = code;
    err->file = file;
    err->line = line;
    va_list args;
    va_start(args, format);
    int n = vsnprintf(err->message, sizeof(err->message), format, args);
    va_end(args);
    error_tidy(err->message, n >= (int)sizeof(err->message));
    return code;
}
