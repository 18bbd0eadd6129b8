#define _GNU_SOURCE
#include "base/error.h"

#include <stdarg.h>
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
    sl_utf8_make_printable(err->message, n >= (int)sizeof(err->message));
    return code;
}
