/* Filters that lay text out in lines: wordwrap as Python's textwrap does, pprint as its pprint.
 *
 * Positions within a line of text are characters here; `at` maps them to bytes.
 */
#include <string.h>

#include "base/utf8.h"
#include "text/template/tmpl_text.h"
#include "text/template/tmpl_unicode.h"

/* --- wordwrap
 * ----------------------------------------------------------------------------------- */

typedef struct wrap_line {
    const tmpl_str *s;
    uint32_t *code; /* [n] */
    size_t *at;     /* [n + 1] */
    size_t n, width;
    bool break_words, at_hyphens;
} wrap_line;

static bool wrap_space(const wrap_line *w, size_t i) {
    uint32_t c = w->code[i];
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static bool wrap_word(const wrap_line *w, size_t i) {
    return i < w->n &&
           (w->code[i] == '_' || sl_tmpl_char_is(w->code[i], TMPL_CHAR_ALPHA | TMPL_CHAR_NUMERIC));
}

static bool wrap_letter(const wrap_line *w, size_t i) {
    return wrap_word(w, i) && !sl_tmpl_char_is(w->code[i], TMPL_CHAR_DECIMAL);
}

/* What an em-dash may follow. */
static bool wrap_punct(const wrap_line *w, size_t i) {
    uint32_t c = w->code[i];
    return wrap_word(w, i) || (c != 0 && c < 0x80 && strchr("!\"'&.,?", (int)c) != NULL);
}

/* The end of two or more dashes at i that a word follows; 0 if there are none. */
static size_t wrap_em_dash(const wrap_line *w, size_t i) {
    size_t end = i;
    while (end < w->n && w->code[end] == '-') {
        end++;
    }
    return end >= i + 2 && wrap_word(w, end) ? end : 0;
}

/* True if a word may be broken behind the hyphen at i. */
static bool wrap_hyphen(const wrap_line *w, size_t i) {
    bool before = (i >= 2 && wrap_letter(w, i - 2) && wrap_letter(w, i - 1)) ||
                  (i >= 3 && wrap_letter(w, i - 3) && w->code[i - 2] == '-' &&
                   wrap_punct(w, i - 1));
    size_t next = i + 1 + (i + 2 < w->n && w->code[i + 2] == '-');
    return before && wrap_letter(w, i + 1) && wrap_letter(w, next + 1);
}

/* The end of the piece that begins at i: a run of spaces, an em-dash, or a word or its part. */
static size_t wrap_piece(const wrap_line *w, size_t i) {
    size_t end = i + 1;
    if (wrap_space(w, i)) {
        while (end < w->n && wrap_space(w, end)) {
            end++;
        }
        return end;
    }
    if (w->at_hyphens && i > 0 && w->code[i] == '-' && wrap_punct(w, i - 1)) {
        size_t dash = wrap_em_dash(w, i);
        if (dash > 0) {
            return dash;
        }
    }
    for (; end < w->n && !wrap_space(w, end); end++) {
        if (!w->at_hyphens || w->code[end] != '-') {
            continue;
        }
        if (wrap_hyphen(w, end)) {
            return end + 1;
        }
        if (wrap_punct(w, end - 1) && wrap_em_dash(w, end) > 0) {
            return end;
        }
    }
    return end;
}

static bool wrap_blank(const wrap_line *w, size_t from, size_t to) {
    while (from < to && sl_tmpl_char_is(w->code[from], TMPL_CHAR_SPACE)) {
        from++;
    }
    return from == to;
}

/* How much of a word that is longer than any line goes into the `room` of this one. */
static size_t wrap_cut(const wrap_line *w, size_t from, size_t room) {
    size_t hyphen = room, other = 0;
    if (!w->at_hyphens) {
        return room;
    }
    while (hyphen > 0 && w->code[from + hyphen - 1] != '-') {
        hyphen--;
    }
    while (other + 1 < hyphen && w->code[from + other] == '-') {
        other++;
    }
    return hyphen > 1 && other + 1 < hyphen ? hyphen : room;
}

static sl_status wrap_lines(tmpl_run *r, const wrap_line *w, const tmpl_str *newline,
                            tmpl_builder *b) {
    bool first = true;
    for (size_t p = 0, end = w->n == 0 ? 0 : wrap_piece(w, 0); p < w->n;) {
        if (!first && wrap_blank(w, p, end)) {
            p = end;
            end = p < w->n ? wrap_piece(w, p) : p;
        }
        size_t begin = p, last = p, n_pieces = 0; /* last: where the line's last piece begins */
        while (p < w->n && end - begin <= w->width) {
            last = p;
            p = end;
            end = p < w->n ? wrap_piece(w, p) : p;
            n_pieces++;
        }
        if (p < w->n && end - p > w->width && (w->break_words || n_pieces == 0)) {
            last = p;
            p = w->break_words ? p + wrap_cut(w, p, w->width - (p - begin)) : end;
            end = p == end && p < w->n ? wrap_piece(w, p) : end;
            n_pieces++;
        }
        size_t stop = p;
        if (n_pieces > 0 && wrap_blank(w, last, p)) {
            stop = last;
            n_pieces--;
        }
        if (n_pieces > 0) {
            SL_TRY(first ? SL_OK : sl_tmpl_build_str(r, b, newline));
            SL_TRY(sl_tmpl_build_part(r, b, w->s, w->at[begin], w->at[stop] - w->at[begin]));
            first = false;
        }
    }
    return SL_OK;
}

static sl_status wrap_decode(tmpl_run *r, const tmpl_str *s, wrap_line *w) {
    w->s = s;
    w->n = s->n_chars;
    w->code = sl_arena_alloc_zero(&r->arena, s->n_chars + 1, sizeof(*w->code));
    w->at = sl_arena_alloc_zero(&r->arena, s->n_chars + 1, sizeof(*w->at));
    if (w->code == NULL || w->at == NULL) {
        return TMPL_FULL(r);
    }
    size_t cost;
    SL_TRY(tmpl_burn(r, sl_mul_size(s->len, 8, &cost) ? cost : SIZE_MAX));
    for (size_t i = 0, byte = 0; i < w->n; i++) {
        w->at[i] = byte;
        byte += sl_utf8_decode(s->ptr + byte, s->len - byte, &w->code[i]);
    }
    w->at[w->n] = s->len;
    return SL_OK;
}

static sl_status filter_wordwrap(tmpl_run *r, sl_value v, const tmpl_args *args, sl_value *out) {
    static const char *const NAMES[] = {"width", "break_long_words", "wrapstring",
                                        "break_on_hyphens"};
    static const tmpl_str NEWLINE = {.ptr = "\n", .len = 1, .n_chars = 1, .trusted = true};
    sl_value arg[4];
    wrap_line w = {.break_words = true, .at_hyphens = true};
    int64_t width = 79;
    const tmpl_str *newline = &NEWLINE;
    tmpl_list *lines;
    tmpl_builder b;
    SL_TRY(sl_tmpl_bind(r, "wordwrap", args, NAMES, 4, 0, arg));
    SL_TRY(sl_tmpl_arg_int(r, "wordwrap's width", arg[0], &width));
    sl_tmpl_arg_bool(arg[1], &w.break_words);
    if (arg[2].kind != SL_VALUE_NONE) {
        SL_TRY(sl_tmpl_arg_str(r, "wordwrap's wrapstring", arg[2], &newline));
    }
    sl_tmpl_arg_bool(arg[3], &w.at_hyphens);
    if (!tmpl_is_str(v)) {
        return v.kind == TMPL_UNDEFINED
                   ? sl_tmpl_fail_undefined(r, v)
                   : TMPL_FAIL(r, "wordwrap needs a string, not %s", sl_tmpl_type_name(v));
    }
    SL_TRY(sl_tmpl_text_lines(r, v.u.str, false, &lines));
    SL_TRY(sl_tmpl_build_begin(r, &b));
    for (size_t i = 0; i < lines->n; i++) {
        SL_TRY(wrap_decode(r, lines->items[i].u.str, &w));
        if (w.n > 0 && width <= 0) {
            return TMPL_FAIL(r, "wordwrap's width must be above 0");
        }
        w.width = (size_t)width;
        SL_TRY(i == 0 ? SL_OK : sl_tmpl_build_str(r, &b, newline));
        SL_TRY(wrap_lines(r, &w, newline, &b));
    }
    return sl_tmpl_build_end(r, &b, out);
}

/* --- pprint
 * ------------------------------------------------------------------------------------- */

#define PPRINT_WIDTH 80

typedef struct pprint_writer {
    tmpl_run *r;
    tmpl_builder b;
} pprint_writer;

/* The entries of m by their keys; keys without an order, by the names of their types. */
static sl_status pprint_sorted(tmpl_run *r, tmpl_map *m, tmpl_list **out) {
    sl_value *keys = sl_arena_alloc_zero(&r->arena, m->n + 1, sizeof(*keys));
    if (keys == NULL) {
        return TMPL_FULL(r);
    }
    SL_TRY(sl_tmpl_collect(r, (sl_value){.kind = TMPL_VIEW, .which = 2, .u.map = m}, out));
    bool mixed = false;
    for (size_t i = 0; i < m->n; i++) {
        double number;
        keys[i] = m->entries[i].key;
        mixed = mixed || (!tmpl_is_str(keys[i]) && !sl_tmpl_as_double(keys[i], &number)) ||
                tmpl_is_str(keys[i]) != tmpl_is_str(keys[0]);
    }
    for (size_t i = 0; mixed && i < m->n; i++) {
        SL_TRY(sl_tmpl_str_static(r, sl_tmpl_type_name(keys[i]), &keys[i]));
    }
    return sl_tmpl_sort(r, (*out)->items, keys, m->n, false);
}

/* repr() with the entries of objects sorted. */
static sl_status pprint_repr(tmpl_run *r, tmpl_builder *b, sl_value v, unsigned depth) {
    bool tuple = v.kind == TMPL_TUPLE, object = v.kind == SL_VALUE_OBJECT;
    if (!tuple && !object && v.kind != SL_VALUE_LIST) {
        return sl_tmpl_repr(r, b, v, depth);
    }
    if (depth > TMPL_VALUE_DEPTH_MAX) {
        return sl_tmpl_fail_at(r, SL_ERR_LIMIT, __FILE__, __LINE__, "pprint: nested too deeply");
    }
    tmpl_list *l = object ? NULL : v.u.list;
    if (object) {
        SL_TRY(pprint_sorted(r, v.u.map, &l));
    }
    SL_TRY(sl_tmpl_build_text(r, b, object ? "{" : tuple ? "(" : "["));
    for (size_t i = 0; i < l->n; i++) {
        SL_TRY(sl_tmpl_build_text(r, b, i > 0 ? ", " : ""));
        if (object) {
            const sl_value *pair = l->items[i].u.list->items;
            SL_TRY(pprint_repr(r, b, pair[0], depth + 1));
            SL_TRY(sl_tmpl_build_text(r, b, ": "));
            SL_TRY(pprint_repr(r, b, pair[1], depth + 1));
        } else {
            SL_TRY(pprint_repr(r, b, l->items[i], depth + 1));
        }
    }
    return sl_tmpl_build_text(r, b, object ? "}" : !tuple ? "]" : l->n == 1 ? ",)" : ")");
}

static sl_status pprint_text(tmpl_run *r, sl_value v, unsigned depth, const tmpl_str **out) {
    tmpl_builder b;
    sl_value text;
    SL_TRY(sl_tmpl_build_begin(r, &b));
    SL_TRY(pprint_repr(r, &b, v, depth));
    SL_TRY(sl_tmpl_build_end(r, &b, &text));
    *out = text.u.str;
    return SL_OK;
}

static sl_status pprint_newline(pprint_writer *w, int64_t indent) {
    SL_TRY(sl_tmpl_build_text(w->r, &w->b, "\n"));
    for (int64_t i = 0; i < indent; i++) {
        SL_TRY(sl_tmpl_build_text(w->r, &w->b, " "));
    }
    return SL_OK;
}

/* Pieces of a line that is too long, cut behind white space, each as short as `room` if it can. */
static sl_status pprint_cut(tmpl_run *r, const tmpl_str *line, int64_t room, int64_t last_room,
                            tmpl_list *chunks) {
    size_t begin = 0, from = 0;
    const tmpl_str *kept = NULL, *text;
    while (from < line->len) {
        size_t end = from;
        bool space = false;
        while (end < line->len) { /* what is no space, then spaces */
            uint32_t c = 0;
            size_t n = sl_utf8_decode(line->ptr + end, line->len - end, &c);
            bool is_space = sl_tmpl_char_is(c, TMPL_CHAR_SPACE);
            if (space && !is_space) {
                break;
            }
            space = is_space;
            end += n == 0 ? 1 : n;
        }
        room = end == line->len ? last_room : room;
        sl_value part;
        SL_TRY(sl_tmpl_str_sub(r, line, begin, end - begin, &part));
        SL_TRY(pprint_text(r, part, 0, &text));
        if ((int64_t)text->n_chars > room && from > begin) {
            SL_TRY(sl_tmpl_list_push(r, chunks, tmpl_str_value(kept)));
            begin = from;
            SL_TRY(sl_tmpl_str_sub(r, line, begin, end - begin, &part));
            SL_TRY(pprint_text(r, part, 0, &text));
        }
        kept = text;
        from = end;
    }
    return kept == NULL ? SL_OK : sl_tmpl_list_push(r, chunks, tmpl_str_value(kept));
}

static sl_status pprint_string(pprint_writer *w, const tmpl_str *s, int64_t indent,
                               int64_t allowance, unsigned level) {
    tmpl_list *lines, *chunks;
    indent += level == 1;
    allowance += level == 1;
    SL_TRY(sl_tmpl_text_lines(w->r, s, true, &lines));
    SL_TRY(sl_tmpl_list_make(w->r, 0, &chunks));
    for (size_t i = 0; i < lines->n; i++) {
        const tmpl_str *text;
        int64_t room = PPRINT_WIDTH - indent;
        int64_t last_room = i + 1 == lines->n ? room - allowance : room;
        SL_TRY(pprint_text(w->r, lines->items[i], 0, &text));
        if ((int64_t)text->n_chars <= last_room) {
            SL_TRY(sl_tmpl_list_push(w->r, chunks, tmpl_str_value(text)));
        } else {
            SL_TRY(pprint_cut(w->r, lines->items[i].u.str, room, last_room, chunks));
        }
    }
    bool brackets = level == 1 && chunks->n > 1;
    SL_TRY(sl_tmpl_build_text(w->r, &w->b, brackets ? "(" : ""));
    for (size_t i = 0; i < chunks->n; i++) {
        SL_TRY(i == 0 ? SL_OK : pprint_newline(w, indent));
        SL_TRY(sl_tmpl_build_str(w->r, &w->b, chunks->items[i].u.str));
    }
    return sl_tmpl_build_text(w->r, &w->b, brackets ? ")" : "");
}

/* Writes v, which begins in column `indent` and has `allowance` characters behind it on its last
 * line. */
static sl_status pprint_value(pprint_writer *w, sl_value v, int64_t indent, int64_t allowance,
                              unsigned level) {
    const tmpl_str *text;
    bool tuple = v.kind == TMPL_TUPLE, object = v.kind == SL_VALUE_OBJECT;
    SL_TRY(pprint_text(w->r, v, level, &text));
    if ((int64_t)text->n_chars <= PPRINT_WIDTH - indent - allowance) {
        return sl_tmpl_build_str(w->r, &w->b, text);
    }
    if (tmpl_is_str(v) && v.u.str->len > 0 && !v.u.str->markup) {
        return pprint_string(w, v.u.str, indent, allowance, level + 1);
    }
    if (!tuple && !object && v.kind != SL_VALUE_LIST) {
        return sl_tmpl_build_str(w->r, &w->b, text);
    }
    tmpl_list *l = object ? NULL : v.u.list;
    if (object) {
        SL_TRY(pprint_sorted(w->r, v.u.map, &l));
    }
    const char *close = object ? "}" : !tuple ? "]" : l->n == 1 ? ",)" : ")";
    SL_TRY(sl_tmpl_build_text(w->r, &w->b, object ? "{" : tuple ? "(" : "["));
    for (size_t i = 0; i < l->n; i++) {
        int64_t behind = i + 1 == l->n ? allowance + (int64_t)strlen(close) : 1;
        int64_t column = indent + 1;
        sl_value item = l->items[i];
        if (object) {
            const tmpl_str *key;
            SL_TRY(pprint_text(w->r, item.u.list->items[0], level, &key));
            SL_TRY(sl_tmpl_build_str(w->r, &w->b, key));
            SL_TRY(sl_tmpl_build_text(w->r, &w->b, ": "));
            column += (int64_t)key->n_chars + 2;
            item = item.u.list->items[1];
        }
        SL_TRY(pprint_value(w, item, column, behind, level + 1));
        if (i + 1 < l->n) {
            SL_TRY(sl_tmpl_build_text(w->r, &w->b, ","));
            SL_TRY(pprint_newline(w, indent + 1));
        }
    }
    return sl_tmpl_build_text(w->r, &w->b, close);
}

static sl_status filter_pprint(tmpl_run *r, sl_value v, const tmpl_args *args, sl_value *out) {
    pprint_writer w = {.r = r};
    SL_TRY(sl_tmpl_bind(r, "pprint", args, NULL, 0, 0, NULL));
    SL_TRY(sl_tmpl_build_begin(r, &w.b));
    SL_TRY(pprint_value(&w, v, 0, 0, 0));
    return sl_tmpl_build_end(r, &w.b, out);
}

const tmpl_filter_def sl_tmpl_layout_filters[] = {
    {"pprint", filter_pprint},
    {"wordwrap", filter_wordwrap},
    {NULL, NULL},
};
