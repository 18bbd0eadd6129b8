/* Formatting and escaping of log records (log.h). Any thread; the callback is set once, before
 * threads. */
#include "base/log.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "base/utf8.h"

static struct {
    sl_log_fn fn;
    void *user;
    sl_log_level max_level;
} g_log;

void sl_log_init(sl_log_fn fn, void *user, sl_log_level max_level) {
    g_log.fn = fn;
    g_log.user = user;
    g_log.max_level = max_level;
}

bool sl_log_wanted(sl_log_level level) {
    return g_log.fn != NULL && level <= g_log.max_level;
}

const char *sl_log_level_name(sl_log_level level) {
    switch (level) {
    case SL_LOG_ERROR:
        return "error";
    case SL_LOG_WARN:
        return "warn";
    case SL_LOG_INFO:
        return "info";
    case SL_LOG_DEBUG:
        return "debug";
    }
    return "unknown";
}

/* The escaped form of what stands at text[0..len), len >= 1: its bytes go to out (room for 4),
 * *used says how many of the input it covers. C1 controls (U+0080 to U+009F) can steer a terminal
 * as the others do. */
static size_t log_escape_one(const char *text, size_t len, char out[5], size_t *used) {
    uint32_t code;
    size_t n = sl_utf8_decode(text, len, &code);
    *used = 1;
    if (n == 1 && (code == '\n' || code == '\t' || code == '\r' || code == '\\')) {
        out[0] = '\\';
        out[1] = code == '\n' ? 'n' : code == '\t' ? 't' : code == '\r' ? 'r' : '\\';
        return 2;
    }
    if (n == 0 || code < 0x20 || (code >= 0x7F && code < 0xA0)) {
        (void)snprintf(out, 5, "\\x%02X", (unsigned)(unsigned char)text[0]);
        return 4;
    }
    memcpy(out, text, n);
    *used = n;
    return n;
}

size_t sl_log_escape(const char *text, size_t len, char *out, size_t cap) {
    size_t n = 0, fits = 0; /* fits: the longest prefix that leaves room for "..." */
    for (size_t i = 0; i < len;) {
        char piece[5];
        size_t used, n_piece = log_escape_one(text + i, len - i, piece, &used);
        if (n + n_piece >= cap) {
            memcpy(out + fits, "...", 3);
            n = fits + 3;
            break;
        }
        memcpy(out + n, piece, n_piece);
        n += n_piece;
        i += used;
        fits = n + 3 < cap ? n : fits;
    }
    out[n] = '\0';
    return n;
}

void sl_log(sl_log_level level, const char *module, const char *format, ...) {
    if (!sl_log_wanted(level)) {
        return;
    }
    char raw[SL_LOG_MESSAGE_MAX + 8],
        message[SL_LOG_MESSAGE_MAX]; /* what is cut in raw never fits message */
    va_list args;
    va_start(args, format);
    int n = vsnprintf(raw, sizeof(raw), format, args);
    va_end(args);
    if (n < 0) {
        return;
    }
    size_t len = (size_t)n < sizeof(raw) ? (size_t)n : sizeof(raw) - 1;
    (void)sl_log_escape(raw, len, message, sizeof(message));
    sl_log_record record = {level, module, message};
    g_log.fn(g_log.user, &record);
}
