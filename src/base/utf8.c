#include "base/utf8.h"

#include <string.h>

size_t sl_utf8_decode(const char *text, size_t len, uint32_t *out) {
    if (len == 0) {
        return 0;
    }
    const unsigned char *s = (const unsigned char *)text;
    if (s[0] < 0x80) {
        *out = s[0];
        return 1;
    }
    if (s[0] < 0xC2 || s[0] > 0xF4) {
        return 0;
    }
    size_t n = s[0] < 0xE0 ? 2 : s[0] < 0xF0 ? 3 : 4;
    if (len < n) {
        return 0;
    }
    uint32_t code = s[0] & (0xFFu >> (n + 1));
    for (size_t i = 1; i < n; i++) {
        if ((s[i] & 0xC0) != 0x80) {
            return 0;
        }
        code = code << 6 | (s[i] & 0x3Fu);
    }
    bool overlong = (n == 3 && code < 0x800) || (n == 4 && code < 0x10000);
    if (overlong || code > 0x10FFFF || (code >= 0xD800 && code < 0xE000)) {
        return 0;
    }
    *out = code;
    return n;
}

size_t sl_utf8_encode(uint32_t code, char out[4]) {
    if (code < 0x80) {
        out[0] = (char)code;
        return 1;
    }
    if (code < 0x800) {
        out[0] = (char)(0xC0 | code >> 6);
        out[1] = (char)(0x80 | (code & 0x3F));
        return 2;
    }
    if (code > 0x10FFFF || (code >= 0xD800 && code < 0xE000)) {
        return 0;
    }
    if (code < 0x10000) {
        out[0] = (char)(0xE0 | code >> 12);
        out[1] = (char)(0x80 | (code >> 6 & 0x3F));
        out[2] = (char)(0x80 | (code & 0x3F));
        return 3;
    }
    out[0] = (char)(0xF0 | code >> 18);
    out[1] = (char)(0x80 | (code >> 12 & 0x3F));
    out[2] = (char)(0x80 | (code >> 6 & 0x3F));
    out[3] = (char)(0x80 | (code & 0x3F));
    return 4;
}

size_t sl_utf8_valid_prefix(const char *text, size_t len) {
    for (size_t i = 0; i < len;) {
        uint32_t code;
        size_t n = sl_utf8_decode(text + i, len - i, &code);
        if (n == 0) {
            return i;
        }
        i += n;
    }
    return len;
}

/* True if the n (1 to 3) bytes at s can still be completed to a valid character. */
static bool utf8_can_grow(const unsigned char *s, size_t n) {
    if (s[0] < 0xC2 || s[0] > 0xF4) {
        return false;
    }
    size_t need = s[0] < 0xE0 ? 2 : s[0] < 0xF0 ? 3 : 4;
    if (n >= need) {
        return false;
    }
    for (size_t i = 1; i < n; i++) {
        if ((s[i] & 0xC0) != 0x80) {
            return false;
        }
    }
    if (n >= 2) {
        bool overlong = (s[0] == 0xE0 && s[1] < 0xA0) || (s[0] == 0xF0 && s[1] < 0x90);
        bool too_high = (s[0] == 0xED && s[1] >= 0xA0) || (s[0] == 0xF4 && s[1] >= 0x90);
        return !overlong && !too_high;
    }
    return true;
}

size_t sl_utf8_incomplete_tail(const char *text, size_t len) {
    const unsigned char *s = (const unsigned char *)text;
    for (size_t n = 1; n <= 3 && n <= len; n++) {
        if ((s[len - n] & 0xC0) != 0x80) { /* a leading byte (or ASCII) */
            return utf8_can_grow(s + len - n, n) ? n : 0;
        }
    }
    return 0;
}

void sl_utf8_make_printable(char *text, bool was_cut) {
    size_t len = strlen(text);
    if (was_cut) {
        len -= sl_utf8_incomplete_tail(text, len);
        text[len] = '\0';
    }
    for (size_t i = 0; i < len;) {
        uint32_t code = 0;
        size_t n = sl_utf8_decode(text + i, len - i, &code);
        bool is_control = code < 0x20 || (code >= 0x7F && code < 0xA0);
        if (n == 0 || is_control) {
            n = n == 0 ? 1 : n;
            memset(text + i, '?', n);
        }
        i += n;
    }
}
