/* Strings that remember which of their bytes came from values: building, cutting, searching,
 * output.
 *
 * Appending to a string whose store ends where the string ends grows that store in place, so that a
 * string put together piece by piece costs its length, not its square.
 */
#define _GNU_SOURCE /* memmem */
#include <string.h>

#include "base/alloc.h"
#include "base/utf8.h"
#include "text/template/tmpl_exec.h"

#define STORE_MIN 64u
#define SPANS_SHARE 4u /* the spans of the output: at most this part of the memory for values */
#define FIND_WINDOW ((size_t)64)

/* --- trust
 * -------------------------------------------------------------------------------------- */

/* The first span of the store that ends after byte `at`. */
static size_t store_span_after(const tmpl_store *st, size_t at) {
    size_t lo = 0, hi = st->n_spans;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (st->spans[mid].end <= at) {
            lo = mid + 1;
        } else {
            hi = mid;
        }
    }
    return lo;
}

size_t sl_tmpl_str_part(const tmpl_str *s, size_t pos, bool *trusted) {
    if (s->store == NULL) {
        *trusted = s->trusted;
        return s->len;
    }
    size_t base = (size_t)(s->ptr - s->store->data), at = base + pos,
           i = store_span_after(s->store, at);
    size_t end;
    if (i == s->store->n_spans) {
        *trusted = true;
        return s->len;
    }
    *trusted = at < s->store->spans[i].begin;
    end = *trusted ? s->store->spans[i].begin : s->store->spans[i].end;
    return end - base < s->len ? end - base : s->len;
}

static sl_status store_mark(tmpl_run *r, tmpl_store *st, size_t begin, size_t end) {
    if (st->n_spans > 0 && st->spans[st->n_spans - 1].end == begin) {
        st->spans[st->n_spans - 1].end = end;
        return SL_OK;
    }
    if (st->n_spans == st->cap_spans) {
        size_t cap = st->cap_spans == 0 ? 2 : st->cap_spans * 2;
        sl_span *spans = sl_arena_alloc_zero(&r->arena, cap, sizeof(*spans));
        if (spans == NULL) {
            return TMPL_FULL(r);
        }
        if (st->n_spans > 0) {
            memcpy(spans, st->spans, st->n_spans * sizeof(*spans));
        }
        st->spans = spans;
        st->cap_spans = cap;
    }
    st->spans[st->n_spans++] = (sl_span){begin, end};
    return SL_OK;
}

/* --- stores
 * ------------------------------------------------------------------------------------- */

static sl_status store_new(tmpl_run *r, size_t cap, tmpl_store **out) {
    tmpl_store *st = sl_arena_alloc(&r->arena, sizeof(*st));
    char *data = st == NULL ? NULL : sl_arena_alloc(&r->arena, cap);
    if (data == NULL) {
        return TMPL_FULL(r);
    }
    *st = (tmpl_store){.data = data, .cap = cap};
    *out = st;
    return SL_OK;
}

/* Bytes [from, len) of src appended to a store that has the room. */
static sl_status store_append(tmpl_run *r, tmpl_store *st, const char *text, size_t len,
                              bool trusted) {
    if (len == 0) {
        return SL_OK;
    }
    memcpy(st->data + st->used, text, len);
    st->used += len;
    return trusted ? SL_OK : store_mark(r, st, st->used - len, st->used);
}

static sl_status store_append_str(tmpl_run *r, tmpl_store *st, const tmpl_str *s, size_t from,
                                  size_t len) {
    for (size_t pos = from, end = from + len; pos < end;) {
        bool trusted;
        size_t part = sl_tmpl_str_part(s, pos, &trusted);
        part = part > end ? end : part;
        SL_TRY(store_append(r, st, s->ptr + pos, part - pos, trusted));
        pos = part;
    }
    return SL_OK;
}

static sl_status str_of_store(tmpl_run *r, tmpl_store *st, size_t begin, size_t n_chars,
                              sl_value *out) {
    tmpl_str *s = sl_arena_alloc(&r->arena, sizeof(*s));
    if (s == NULL) {
        return TMPL_FULL(r);
    }
    *s = (tmpl_str){
        .ptr = st->data + begin, .len = st->used - begin, .n_chars = n_chars, .store = st};
    *out = tmpl_str_value(s);
    return SL_OK;
}

/* --- strings
 * ------------------------------------------------------------------------------------ */

sl_status sl_tmpl_str_sub(tmpl_run *r, const tmpl_str *s, size_t from, size_t len, sl_value *out) {
    if (from == 0 && len == s->len) {
        *out = tmpl_str_value(s);
        return SL_OK;
    }
    SL_TRY(tmpl_burn(r, len));
    tmpl_str *sub = sl_arena_alloc(&r->arena, sizeof(*sub));
    if (sub == NULL) {
        return TMPL_FULL(r);
    }
    *sub = *s;
    sub->ptr += from;
    sub->len = len;
    sub->n_chars = s->n_chars == s->len ? len : sl_tmpl_count_chars(sub->ptr, len);
    *out = tmpl_str_value(sub);
    return SL_OK;
}

sl_status sl_tmpl_str_copy(tmpl_run *r, const char *text, size_t len, bool trusted, sl_value *out) {
    SL_TRY(tmpl_burn(r, len));
    const char *copy = sl_arena_strndup(&r->arena, text, len);
    const tmpl_str *s = copy == NULL ? NULL : sl_tmpl_str_borrow(&r->arena, copy, len, trusted);
    if (s == NULL) {
        return TMPL_FULL(r);
    }
    *out = tmpl_str_value(s);
    return SL_OK;
}

sl_status sl_tmpl_str_static(tmpl_run *r, const char *text, sl_value *out) {
    const tmpl_str *s = sl_tmpl_str_borrow(&r->arena, text, strlen(text), true);
    if (s == NULL) {
        return TMPL_FULL(r);
    }
    *out = tmpl_str_value(s);
    return SL_OK;
}

sl_status sl_tmpl_str_concat(tmpl_run *r, const tmpl_str *a, const tmpl_str *b, sl_value *out) {
    size_t len;
    if (a->len == 0 || b->len == 0) {
        *out = tmpl_str_value(a->len == 0 ? b : a);
        return SL_OK;
    }
    if (!sl_add_size(a->len, b->len, &len)) {
        return TMPL_FULL(r);
    }
    tmpl_store *st = a->store;
    size_t begin = 0;
    bool in_place = st != NULL && a->ptr + a->len == st->data + st->used &&
                    st->cap - st->used >= b->len;
    if (in_place) {
        begin = (size_t)(a->ptr - st->data);
        SL_TRY(tmpl_burn(r, b->len));
    } else {
        SL_TRY(tmpl_burn(r, len));
        SL_TRY(store_new(r, len + len / 2 + STORE_MIN, &st));
        SL_TRY(store_append_str(r, st, a, 0, a->len));
    }
    SL_TRY(store_append_str(r, st, b, 0, b->len));
    return str_of_store(r, st, begin, a->n_chars + b->n_chars, out);
}

size_t sl_tmpl_str_offset(const tmpl_str *s, size_t i_char) {
    if (s->n_chars == s->len || i_char == 0) {
        return i_char;
    }
    if (i_char >= s->n_chars) {
        return s->len;
    }
    size_t at = 0;
    for (size_t seen = 0;; at++) {
        seen += ((unsigned char)s->ptr[at] & 0xC0) != 0x80;
        if (seen == i_char + 1) {
            return at;
        }
    }
}

/* Looks at windows that double, so that the work follows the distance to the hit even where memmem
 * looks at its whole haystack first. */
size_t sl_tmpl_str_find(const tmpl_str *s, size_t from, size_t end, const tmpl_str *needle) {
    for (size_t window = FIND_WINDOW; from <= end && end - from >= needle->len; window *= 2) {
        size_t left = end - from - needle->len; /* places behind the first one */
        size_t len = left < window ? end - from : window + needle->len;
        const char *hit = memmem(s->ptr + from, len, needle->ptr, needle->len);
        if (hit != NULL) {
            return (size_t)(hit - s->ptr);
        }
        if (left < window) {
            break;
        }
        from += window + 1;
    }
    return SIZE_MAX;
}

/* --- builders
 * ----------------------------------------------------------------------------------- */

sl_status sl_tmpl_build_begin(tmpl_run *r, tmpl_builder *b) {
    b->begin = 0;
    return store_new(r, STORE_MIN, &b->store);
}

static sl_status build_reserve(tmpl_run *r, tmpl_builder *b, size_t len) {
    tmpl_store *st = b->store;
    SL_TRY(tmpl_burn(r, len));
    if (st->cap - st->used >= len) {
        return SL_OK;
    }
    size_t cap;
    if (!sl_add_size(st->cap * 2, len, &cap)) {
        return TMPL_FULL(r);
    }
    /* The builder is the only user of its store until it ends: the bytes can move. */
    char *data = sl_arena_alloc(&r->arena, cap);
    if (data == NULL) {
        return TMPL_FULL(r);
    }
    memcpy(data, st->data, st->used);
    st->data = data;
    st->cap = cap;
    return SL_OK;
}

sl_status sl_tmpl_build_bytes(tmpl_run *r, tmpl_builder *b, const char *text, size_t len,
                              bool trusted) {
    SL_TRY(build_reserve(r, b, len));
    return store_append(r, b->store, text, len, trusted);
}

sl_status sl_tmpl_build_text(tmpl_run *r, tmpl_builder *b, const char *text) {
    return sl_tmpl_build_bytes(r, b, text, strlen(text), true);
}

sl_status sl_tmpl_build_part(tmpl_run *r, tmpl_builder *b, const tmpl_str *s, size_t from,
                             size_t len) {
    SL_TRY(build_reserve(r, b, len));
    return store_append_str(r, b->store, s, from, len);
}

sl_status sl_tmpl_build_str(tmpl_run *r, tmpl_builder *b, const tmpl_str *s) {
    return sl_tmpl_build_part(r, b, s, 0, s->len);
}

sl_status sl_tmpl_build_char(tmpl_run *r, tmpl_builder *b, uint32_t code, bool trusted) {
    char bytes[4];
    size_t n = sl_utf8_encode(code, bytes);
    return sl_tmpl_build_bytes(r, b, bytes, n, trusted);
}

sl_status sl_tmpl_build_end(tmpl_run *r, tmpl_builder *b, sl_value *out) {
    size_t len = b->store->used - b->begin;
    SL_TRY(tmpl_burn(r, len));
    return str_of_store(r, b->store, b->begin, sl_tmpl_count_chars(b->store->data + b->begin, len),
                        out);
}

/* --- output
 * ------------------------------------------------------------------------------------- */

static sl_status emit_mark(tmpl_run *r, size_t begin, size_t end) {
    sl_spans *l = &r->spans;
    if (l->n > 0 && l->spans[l->n - 1].end == begin) {
        l->spans[l->n - 1].end = end;
        return SL_OK;
    }
    if (l->n == r->cap_spans) {
        size_t cap = r->cap_spans == 0 ? 16 : r->cap_spans * 2;
        if (cap > r->limits.memory_bytes / SPANS_SHARE / sizeof(sl_span)) {
            return sl_tmpl_fail_at(r, SL_ERR_LIMIT, __FILE__, __LINE__,
                                   "the output changes between text and values more than %zu times",
                                   r->cap_spans);
        }
        sl_span *spans = sl_realloc_array(l->spans, cap, sizeof(*spans));
        if (spans == NULL) {
            return sl_tmpl_fail_at(r, SL_ERR_MEMORY, __FILE__, __LINE__, "out of memory");
        }
        l->spans = spans;
        r->cap_spans = cap;
    }
    l->spans[l->n++] = (sl_span){begin, end};
    return SL_OK;
}

sl_status sl_tmpl_emit(tmpl_run *r, const tmpl_str *s) {
    if (r->capture != NULL) {
        return sl_tmpl_build_str(r, r->capture, s);
    }
    SL_TRY(tmpl_burn(r, s->len));
    size_t at = r->out->len - r->out_begin;
    if (s->len > r->limits.output_bytes || at > r->limits.output_bytes - s->len) {
        return sl_tmpl_fail_at(r, SL_ERR_LIMIT, __FILE__, __LINE__, "more than %zu bytes of output",
                               r->limits.output_bytes);
    }
    sl_status status = sl_buf_append(r->out, s->ptr, s->len);
    if (status != SL_OK) {
        return sl_tmpl_fail_at(r, status, __FILE__, __LINE__,
                               "no room for %zu more bytes of output", s->len);
    }
    for (size_t pos = 0; r->keep_spans && pos < s->len;) {
        bool trusted;
        size_t end = sl_tmpl_str_part(s, pos, &trusted);
        if (!trusted) {
            SL_TRY(emit_mark(r, at + pos, at + end));
        }
        pos = end;
    }
    return SL_OK;
}
