/* Text operations with the meaning of Python's str methods: see tmpl_text.h. Every result keeps the
 * trust of the characters it was made from. */
#define _GNU_SOURCE /* memmem */
#include "text/template/tmpl_text.h"

#include <string.h>

#include "base/utf8.h"
#include "text/template/tmpl_unicode.h"

/* --- case
 * --------------------------------------------------------------------------------------- */

/* A capital sigma is written as a final one after a letter and not before one, looking through
 * characters that do not count. */
static bool text_sigma_is_final(const tmpl_str *s, size_t at, size_t len) {
    uint32_t c = 0;
    size_t i = at;
    bool before = false;
    while (i > 0 && !before) {
        do {
            i--;
        } while (i > 0 && ((unsigned char)s->ptr[i] & 0xC0) == 0x80);
        (void)sl_utf8_decode(s->ptr + i, s->len - i, &c);
        if (!sl_tmpl_char_is(c, TMPL_CHAR_IGNORABLE)) {
            if (!sl_tmpl_char_is(c, TMPL_CHAR_CASED)) {
                return false;
            }
            before = true;
        }
    }
    if (!before) {
        return false;
    }
    for (i = at + len; i < s->len;) {
        size_t n = sl_utf8_decode(s->ptr + i, s->len - i, &c);
        if (!sl_tmpl_char_is(c, TMPL_CHAR_IGNORABLE)) {
            return !sl_tmpl_char_is(c, TMPL_CHAR_CASED);
        }
        i += n == 0 ? 1 : n;
    }
    return true;
}

static tmpl_case text_case_of(tmpl_recase how, uint32_t c, bool first, bool after_cased) {
    switch (how) {
    case RECASE_UPPER:
        return TMPL_CASE_UPPER;
    case RECASE_LOWER:
        return TMPL_CASE_LOWER;
    case RECASE_FOLD:
        return TMPL_CASE_FOLD;
    case RECASE_CAPITAL:
        return first ? TMPL_CASE_TITLE : TMPL_CASE_LOWER;
    case RECASE_TITLE:
        return after_cased ? TMPL_CASE_LOWER : TMPL_CASE_TITLE;
    default:
        return sl_tmpl_char_is(c, TMPL_CHAR_UPPER) ? TMPL_CASE_LOWER : TMPL_CASE_UPPER;
    }
}

static sl_status text_recase_unicode(tmpl_run *r, tmpl_builder *b, const tmpl_str *s,
                                     tmpl_recase how) {
    bool after_cased = false;
    for (size_t i = 0; i < s->len;) {
        uint32_t c = 0, to[3];
        bool trusted;
        size_t n = sl_utf8_decode(s->ptr + i, s->len - i, &c);
        n = n == 0 ? 1 : n;
        (void)sl_tmpl_str_part(s, i, &trusted);
        tmpl_case target = text_case_of(how, c, i == 0, after_cased);
        if (how == RECASE_SWAP && !sl_tmpl_char_is(c, TMPL_CHAR_UPPER | TMPL_CHAR_LOWER)) {
            SL_TRY(sl_tmpl_build_part(r, b, s, i, n));
        } else if (c == 0x3A3 && target == TMPL_CASE_LOWER && text_sigma_is_final(s, i, n)) {
            SL_TRY(sl_tmpl_build_char(r, b, 0x3C2, trusted));
        } else {
            size_t n_to = sl_tmpl_char_case(c, target, to);
            for (size_t k = 0; k < n_to; k++) {
                SL_TRY(sl_tmpl_build_char(r, b, to[k], trusted));
            }
        }
        after_cased = sl_tmpl_char_is(c, TMPL_CHAR_CASED);
        i += n;
    }
    return SL_OK;
}

static void text_recase_ascii(char *p, size_t len, tmpl_recase how) {
    bool after_cased = false;
    for (size_t i = 0; i < len; i++) {
        bool upper = p[i] >= 'A' && p[i] <= 'Z', lower = p[i] >= 'a' && p[i] <= 'z';
        tmpl_case to = text_case_of(how, (unsigned char)p[i], i == 0, after_cased);
        if (upper && (to == TMPL_CASE_LOWER || to == TMPL_CASE_FOLD)) {
            p[i] = (char)(p[i] + 32);
        } else if (lower && (to == TMPL_CASE_UPPER || to == TMPL_CASE_TITLE)) {
            p[i] = (char)(p[i] - 32);
        }
        after_cased = upper || lower;
    }
}

sl_status sl_tmpl_text_recase(tmpl_run *r, const tmpl_str *s, tmpl_recase how, sl_value *out) {
    tmpl_builder b;
    SL_TRY(tmpl_burn(r, s->len));
    SL_TRY(sl_tmpl_build_begin(r, &b));
    if (s->n_chars == s->len) {
        SL_TRY(sl_tmpl_build_str(r, &b, s));
        text_recase_ascii(b.store->data + b.begin, s->len, how);
    } else {
        SL_TRY(text_recase_unicode(r, &b, s, how));
    }
    return sl_tmpl_build_end(r, &b, out);
}

/* --- strip
 * -------------------------------------------------------------------------------------- */

static bool text_has_char(const tmpl_str *chars, const char *p, size_t n) {
    return memmem(chars->ptr, chars->len, p, n) != NULL; /* UTF-8: only whole characters match */
}

static size_t text_prev(const tmpl_str *s, size_t end) {
    do {
        end--;
    } while (end > 0 && ((unsigned char)s->ptr[end] & 0xC0) == 0x80);
    return end;
}

static size_t text_next(const tmpl_str *s, size_t at) {
    do {
        at++;
    } while (at < s->len && ((unsigned char)s->ptr[at] & 0xC0) == 0x80);
    return at;
}

sl_status sl_tmpl_text_strip(tmpl_run *r, const tmpl_str *s, tmpl_strip side, const tmpl_str *chars,
                             sl_value *out) {
    size_t from = 0, end = s->len;
    SL_TRY(tmpl_burn(r, s->len));
    if (chars == NULL) {
        end = side == STRIP_LEFT ? end : sl_tmpl_rstrip_len(tmpl_slice(s));
        from = side == STRIP_RIGHT ? 0 : sl_tmpl_lstrip_start((sl_slice){s->ptr, end});
        return sl_tmpl_str_sub(r, s, from, end - from, out);
    }
    while (side != STRIP_LEFT && end > 0) {
        size_t at = text_prev(s, end);
        SL_TRY(tmpl_burn(r, chars->len));
        if (!text_has_char(chars, s->ptr + at, end - at)) {
            break;
        }
        end = at;
    }
    while (side != STRIP_RIGHT && from < end) {
        size_t next = text_next(s, from);
        SL_TRY(tmpl_burn(r, chars->len));
        if (!text_has_char(chars, s->ptr + from, next - from)) {
            break;
        }
        from = next;
    }
    return sl_tmpl_str_sub(r, s, from, end - from, out);
}

/* --- replace
 * ------------------------------------------------------------------------------------ */

/* An empty `old` stands before every character and at the end. */
static sl_status text_interleave(tmpl_run *r, tmpl_builder *b, const tmpl_str *s,
                                 const tmpl_str *with, int64_t max) {
    size_t at = 0;
    for (int64_t n = 0; max < 0 || n < max; n++) {
        SL_TRY(sl_tmpl_build_str(r, b, with));
        if (at == s->len) {
            return SL_OK;
        }
        size_t next = text_next(s, at);
        SL_TRY(sl_tmpl_build_part(r, b, s, at, next - at));
        at = next;
    }
    return sl_tmpl_build_part(r, b, s, at, s->len - at);
}

sl_status sl_tmpl_text_replace(tmpl_run *r, const tmpl_str *s, const tmpl_str *old,
                               const tmpl_str *with, int64_t max, sl_value *out) {
    tmpl_builder b;
    SL_TRY(tmpl_burn(r, s->len));
    if (max == 0 || (old->len > 0 && sl_tmpl_str_find(s, 0, s->len, old) == SIZE_MAX)) {
        *out = tmpl_str_value(s);
        return SL_OK;
    }
    SL_TRY(sl_tmpl_build_begin(r, &b));
    if (old->len == 0) {
        SL_TRY(text_interleave(r, &b, s, with, max));
        return sl_tmpl_build_end(r, &b, out);
    }
    size_t at = 0;
    for (int64_t n = 0; max < 0 || n < max; n++) {
        size_t hit = sl_tmpl_str_find(s, at, s->len, old);
        if (hit == SIZE_MAX) {
            break;
        }
        SL_TRY(sl_tmpl_build_part(r, &b, s, at, hit - at));
        SL_TRY(sl_tmpl_build_str(r, &b, with));
        at = hit + old->len;
    }
    SL_TRY(sl_tmpl_build_part(r, &b, s, at, s->len - at));
    return sl_tmpl_build_end(r, &b, out);
}

/* --- split and join
 * ----------------------------------------------------------------------------- */

static sl_status text_push_part(tmpl_run *r, tmpl_list *l, const tmpl_str *s, size_t from,
                                size_t end) {
    sl_value v;
    SL_TRY(sl_tmpl_str_sub(r, s, from, end - from, &v));
    return sl_tmpl_list_push(r, l, v);
}

static bool text_space_at(const tmpl_str *s, size_t at) {
    uint32_t c = 0;
    return sl_utf8_decode(s->ptr + at, s->len - at, &c) > 0 && sl_tmpl_char_is(c, TMPL_CHAR_SPACE);
}

static sl_status text_split_space(tmpl_run *r, const tmpl_str *s, int64_t max, tmpl_list *l) {
    size_t at = sl_tmpl_lstrip_start(tmpl_slice(s));
    while (at < s->len) {
        size_t end = at;
        if (max >= 0 && (int64_t)l->n >= max) {
            return text_push_part(r, l, s, at, s->len);
        }
        while (end < s->len && !text_space_at(s, end)) {
            end = text_next(s, end);
        }
        SL_TRY(text_push_part(r, l, s, at, end));
        at = end + sl_tmpl_lstrip_start((sl_slice){s->ptr + end, s->len - end});
    }
    return SL_OK;
}

static sl_status text_rsplit_space(tmpl_run *r, const tmpl_str *s, int64_t max, tmpl_list *l) {
    size_t end = sl_tmpl_rstrip_len(tmpl_slice(s));
    while (end > 0) {
        size_t from = end;
        if (max >= 0 && (int64_t)l->n >= max) {
            return text_push_part(r, l, s, 0, end);
        }
        while (from > 0 && !text_space_at(s, text_prev(s, from))) {
            from = text_prev(s, from);
        }
        SL_TRY(text_push_part(r, l, s, from, end));
        end = sl_tmpl_rstrip_len((sl_slice){s->ptr, from});
    }
    return SL_OK;
}

static sl_status text_split_sep(tmpl_run *r, const tmpl_str *s, const tmpl_str *sep, int64_t max,
                                tmpl_list *l) {
    size_t at = 0;
    while (max < 0 || (int64_t)l->n < max) {
        size_t hit = sl_tmpl_str_find(s, at, s->len, sep);
        if (hit == SIZE_MAX) {
            break;
        }
        SL_TRY(text_push_part(r, l, s, at, hit));
        at = hit + sep->len;
    }
    return text_push_part(r, l, s, at, s->len);
}

/* Separators are sought from the end, so that the last ones are cut when max is small. */
static sl_status text_rsplit_sep(tmpl_run *r, const tmpl_str *s, const tmpl_str *sep, int64_t max,
                                 tmpl_list *l) {
    size_t end = s->len, at = s->len;
    while (at >= sep->len && (max < 0 || (int64_t)l->n < max)) {
        size_t from = at - sep->len;
        SL_TRY(tmpl_burn(r, sep->len));
        if (memcmp(s->ptr + from, sep->ptr, sep->len) == 0) {
            SL_TRY(text_push_part(r, l, s, at, end));
            end = at = from;
        } else {
            at--;
        }
    }
    return text_push_part(r, l, s, 0, end);
}

static void text_reverse(tmpl_list *l) {
    for (size_t i = 0; i < l->n / 2; i++) {
        sl_value v = l->items[i];
        l->items[i] = l->items[l->n - 1 - i];
        l->items[l->n - 1 - i] = v;
    }
}

sl_status sl_tmpl_text_split(tmpl_run *r, const tmpl_str *s, const tmpl_str *sep, int64_t max,
                             bool from_right, tmpl_list **out) {
    SL_TRY(tmpl_burn(r, s->len));
    SL_TRY(sl_tmpl_list_make(r, 0, out));
    if (sep != NULL && sep->len == 0) {
        return TMPL_FAIL(r, "split: the separator is empty");
    }
    if (from_right) {
        SL_TRY(sep == NULL ? text_rsplit_space(r, s, max, *out)
                           : text_rsplit_sep(r, s, sep, max, *out));
        text_reverse(*out);
        return SL_OK;
    }
    return sep == NULL ? text_split_space(r, s, max, *out) : text_split_sep(r, s, sep, max, *out);
}

/* Bytes of the line end at `at`, 0 if there is none. */
static size_t text_line_end(const tmpl_str *s, size_t at) {
    uint32_t c = 0;
    size_t n = sl_utf8_decode(s->ptr + at, s->len - at, &c);
    if (c == '\r' && at + 1 < s->len && s->ptr[at + 1] == '\n') {
        return 2;
    }
    bool is_end = (c >= '\n' && c <= '\r') || (c >= 0x1C && c <= 0x1E) || c == 0x85 ||
                  c == 0x2028 || c == 0x2029;
    return n > 0 && is_end ? n : 0;
}

sl_status sl_tmpl_text_lines(tmpl_run *r, const tmpl_str *s, bool keep_ends, tmpl_list **out) {
    size_t from = 0;
    SL_TRY(tmpl_burn(r, s->len));
    SL_TRY(sl_tmpl_list_make(r, 0, out));
    for (size_t at = 0; at < s->len;) {
        size_t n = text_line_end(s, at);
        if (n == 0) {
            at = text_next(s, at);
            continue;
        }
        SL_TRY(text_push_part(r, *out, s, from, keep_ends ? at + n : at));
        at += n;
        from = at;
    }
    return from < s->len ? text_push_part(r, *out, s, from, s->len) : SL_OK;
}

sl_status sl_tmpl_text_join(tmpl_run *r, const tmpl_str *sep, sl_value items, bool convert,
                            sl_value *out) {
    tmpl_builder b;
    tmpl_iter it;
    SL_TRY(sl_tmpl_iter_begin(r, items, &it));
    SL_TRY(sl_tmpl_build_begin(r, &b));
    for (bool first = true;; first = false) {
        sl_value v;
        bool more;
        const tmpl_str *text;
        SL_TRY(sl_tmpl_iter_next(r, &it, &v, &more));
        if (!more) {
            return sl_tmpl_build_end(r, &b, out);
        }
        if (!convert && !tmpl_is_str(v)) {
            return TMPL_FAIL(r, "join: an item is of type %s, not a string", sl_tmpl_type_name(v));
        }
        SL_TRY(sl_tmpl_to_str(r, v, &text));
        if (!first) {
            SL_TRY(sl_tmpl_build_str(r, &b, sep));
        }
        SL_TRY(sl_tmpl_build_str(r, &b, text));
    }
}

/* --- alignment
 * ---------------------------------------------------------------------------------- */

static sl_status text_fill(tmpl_run *r, tmpl_builder *b, const tmpl_str *fill, uint64_t n) {
    for (uint64_t i = 0; i < n; i++) {
        SL_TRY(sl_tmpl_build_str(r, b, fill));
    }
    return SL_OK;
}

sl_status sl_tmpl_text_align(tmpl_run *r, const tmpl_str *s, int64_t width, const tmpl_str *fill,
                             tmpl_align how, sl_value *out) {
    if (fill->n_chars != 1) {
        return TMPL_FAIL(r, "the fill character must be exactly one character");
    }
    if (width < 0 || (uint64_t)width <= s->n_chars) {
        *out = tmpl_str_value(s);
        return SL_OK;
    }
    uint64_t gap = (uint64_t)width - s->n_chars;
    /* Python gives an odd gap's extra character to the left when the width is odd too. */
    uint64_t left = how == ALIGN_LEFT    ? 0
                    : how == ALIGN_RIGHT ? gap
                                         : gap / 2 + (gap & (uint64_t)width & 1);
    tmpl_builder b;
    SL_TRY(sl_tmpl_build_begin(r, &b));
    SL_TRY(text_fill(r, &b, fill, left));
    SL_TRY(sl_tmpl_build_str(r, &b, s));
    SL_TRY(text_fill(r, &b, fill, gap - left));
    return sl_tmpl_build_end(r, &b, out);
}
