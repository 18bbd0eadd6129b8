/* Lookups in the generated character tables: see tmpl_unicode.h. */
#include "text/template/tmpl_unicode.h"

#include "base/utf8.h"

uint32_t sl_tmpl_char_classes(uint32_t code) {
    size_t lo = 0, hi = sl_tmpl_n_class_runs;
    while (hi - lo > 1) { /* the last run that begins at or before code */
        size_t mid = lo + (hi - lo) / 2;
        if (sl_tmpl_class_runs[mid].first <= code) {
            lo = mid;
        } else {
            hi = mid;
        }
    }
    return sl_tmpl_class_runs[lo].classes;
}

static const tmpl_case_special *case_special(const tmpl_case_table *t, uint32_t code) {
    size_t lo = 0, hi = t->n_specials;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (t->specials[mid].code == code) {
            return &t->specials[mid];
        }
        if (t->specials[mid].code < code) {
            lo = mid + 1;
        } else {
            hi = mid;
        }
    }
    return NULL;
}

size_t sl_tmpl_char_case(uint32_t code, tmpl_case to, uint32_t out[3]) {
    const tmpl_case_table *t = &sl_tmpl_case_tables[to];
    const tmpl_case_special *special = code < 0x80 ? NULL : case_special(t, code);
    if (special != NULL) {
        size_t n = 0;
        while (n < 3 && special->to[n] != 0) {
            out[n] = special->to[n];
            n++;
        }
        return n;
    }
    out[0] = code;
    size_t lo = 0, hi = t->n_runs;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        const tmpl_case_run *r = &t->runs[mid];
        if (code > r->last) {
            lo = mid + 1;
        } else if (code < r->first) {
            hi = mid;
        } else {
            if ((code - r->first) % r->step == 0) {
                out[0] = (uint32_t)((int32_t)code + r->delta);
            }
            break;
        }
    }
    return 1;
}

size_t sl_tmpl_rstrip_len(sl_slice text) {
    size_t len = text.len;
    while (len > 0) {
        size_t at = len - 1;
        while (at > 0 && ((unsigned char)text.ptr[at] & 0xC0) == 0x80) {
            at--;
        }
        uint32_t c;
        if (sl_utf8_decode(text.ptr + at, len - at, &c) == 0 ||
            !sl_tmpl_char_is(c, TMPL_CHAR_SPACE)) {
            break;
        }
        len = at;
    }
    return len;
}

size_t sl_tmpl_lstrip_start(sl_slice text) {
    size_t at = 0;
    while (at < text.len) {
        uint32_t c;
        size_t n = sl_utf8_decode(text.ptr + at, text.len - at, &c);
        if (n == 0 || !sl_tmpl_char_is(c, TMPL_CHAR_SPACE)) {
            break;
        }
        at += n;
    }
    return at;
}
