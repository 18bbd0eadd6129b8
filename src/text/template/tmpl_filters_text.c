/* Filters on text. Arguments and results as in Jinja's list of built-in filters. */
#define _GNU_SOURCE /* memmem */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "text/template/tmpl_text.h"
#include "text/template/tmpl_unicode.h"

static sl_status filter_none(tmpl_run *r, const char *what, const tmpl_args *args) {
    return sl_tmpl_bind(r, what, args, NULL, 0, 0, NULL);
}

static sl_status filter_recase(tmpl_run *r, sl_value v, const tmpl_args *args, tmpl_recase how,
                               sl_value *out) {
    const tmpl_str *s;
    SL_TRY(filter_none(r, "the filter", args));
    SL_TRY(sl_tmpl_to_str(r, v, &s));
    return sl_tmpl_text_recase(r, s, how, out);
}

static sl_status filter_upper(tmpl_run *r, sl_value v, const tmpl_args *args, sl_value *out) {
    return filter_recase(r, v, args, RECASE_UPPER, out);
}
static sl_status filter_lower(tmpl_run *r, sl_value v, const tmpl_args *args, sl_value *out) {
    return filter_recase(r, v, args, RECASE_LOWER, out);
}
static sl_status filter_capitalize(tmpl_run *r, sl_value v, const tmpl_args *args, sl_value *out) {
    return filter_recase(r, v, args, RECASE_CAPITAL, out);
}

/* Words of this filter begin after white space and - ( { [ <, not at every letter after a
 * non-letter. */
static sl_status filter_title(tmpl_run *r, sl_value v, const tmpl_args *args, sl_value *out) {
    const tmpl_str *s;
    tmpl_builder b;
    SL_TRY(filter_none(r, "title", args));
    SL_TRY(sl_tmpl_to_str(r, v, &s));
    SL_TRY(sl_tmpl_build_begin(r, &b));
    for (size_t i = 0; i < s->len;) {
        size_t from = i, first = 0;
        bool gap = false;
        for (bool begun = false; i < s->len; begun = true) { /* a run of gaps, or a word */
            uint32_t c = 0;
            size_t n = sl_utf8_decode(s->ptr + i, s->len - i, &c);
            bool is_gap = (c < 0x80 && c != 0 && strchr("-({[<", (int)c) != NULL) ||
                          sl_tmpl_char_is(c, TMPL_CHAR_SPACE);
            if (begun && is_gap != gap) {
                break;
            }
            gap = is_gap;
            i += n == 0 ? 1 : n;
            first = begun ? first : i - from;
        }
        sl_value part;
        SL_TRY(sl_tmpl_str_sub(r, s, from, first, &part));
        SL_TRY(sl_tmpl_text_recase(r, part.u.str, RECASE_UPPER, &part));
        SL_TRY(sl_tmpl_build_str(r, &b, part.u.str));
        SL_TRY(sl_tmpl_str_sub(r, s, from + first, i - from - first, &part));
        SL_TRY(sl_tmpl_text_recase(r, part.u.str, RECASE_LOWER, &part));
        SL_TRY(sl_tmpl_build_str(r, &b, part.u.str));
    }
    return sl_tmpl_build_end(r, &b, out);
}

static sl_status filter_trim(tmpl_run *r, sl_value v, const tmpl_args *args, sl_value *out) {
    static const char *const NAMES[] = {"chars"};
    sl_value arg;
    const tmpl_str *s, *chars = NULL;
    SL_TRY(sl_tmpl_bind(r, "trim", args, NAMES, 1, 0, &arg));
    if (arg.kind != SL_VALUE_NONE) {
        SL_TRY(sl_tmpl_arg_str(r, "trim's characters", arg, &chars));
    }
    SL_TRY(sl_tmpl_to_str(r, v, &s));
    return sl_tmpl_text_strip(r, s, STRIP_BOTH, chars, out);
}

static sl_status filter_string(tmpl_run *r, sl_value v, const tmpl_args *args, sl_value *out) {
    const tmpl_str *s;
    SL_TRY(filter_none(r, "string", args));
    SL_TRY(sl_tmpl_to_str(r, v, &s));
    *out = tmpl_str_value(s);
    return SL_OK;
}

static sl_status filter_mark(tmpl_run *r, const tmpl_str *s, bool markup, sl_value *out) {
    tmpl_str *copy = sl_arena_alloc(&r->arena, sizeof(*copy));
    if (copy == NULL) {
        return TMPL_FULL(r);
    }
    *copy = *s;
    copy->markup = markup;
    *out = tmpl_str_value(copy);
    return SL_OK;
}

static sl_status filter_safe(tmpl_run *r, sl_value v, const tmpl_args *args, sl_value *out) {
    const tmpl_str *s;
    SL_TRY(filter_none(r, "safe", args));
    SL_TRY(sl_tmpl_to_str(r, v, &s));
    return filter_mark(r, s, true, out);
}

static sl_status filter_escape(tmpl_run *r, sl_value v, const tmpl_args *args, sl_value *out) {
    SL_TRY(filter_none(r, "escape", args));
    return sl_tmpl_escape_html(r, v, out);
}

static sl_status filter_forceescape(tmpl_run *r, sl_value v, const tmpl_args *args, sl_value *out) {
    const tmpl_str *s;
    sl_value plain;
    SL_TRY(filter_none(r, "forceescape", args));
    SL_TRY(sl_tmpl_to_str(r, v, &s));
    SL_TRY(filter_mark(r, s, false, &plain));
    return sl_tmpl_escape_html(r, plain, out);
}

static sl_status filter_replace(tmpl_run *r, sl_value v, const tmpl_args *args, sl_value *out) {
    static const char *const NAMES[] = {"old", "new", "count"};
    sl_value arg[3];
    const tmpl_str *s, *old, *with;
    int64_t max = -1;
    SL_TRY(sl_tmpl_bind(r, "replace", args, NAMES, 3, 2, arg));
    SL_TRY(sl_tmpl_to_str(r, v, &s));
    SL_TRY(sl_tmpl_to_str(r, arg[0], &old));
    SL_TRY(sl_tmpl_to_str(r, arg[1], &with));
    if (arg[2].kind != SL_VALUE_NONE) {
        SL_TRY(sl_tmpl_arg_int(r, "replace's count", arg[2], &max));
    }
    sl_value plain = tmpl_str_value(s);
    if (s->markup) {
        SL_TRY(filter_mark(r, s, false, &plain));
    }
    return sl_tmpl_text_replace(r, plain.u.str, old, with, max, out);
}

static sl_status filter_indent(tmpl_run *r, sl_value v, const tmpl_args *args, sl_value *out) {
    static const char *const NAMES[] = {"width", "first", "blank"};
    static const tmpl_str SPACE = {.ptr = " ", .len = 1, .n_chars = 1, .trusted = true};
    static const tmpl_str NEWLINE = {.ptr = "\n", .len = 1, .n_chars = 1, .trusted = true};
    sl_value arg[3], pad, text;
    bool first = false, blank = false;
    tmpl_list *lines;
    tmpl_builder b;
    SL_TRY(sl_tmpl_bind(r, "indent", args, NAMES, 3, 0, arg));
    sl_tmpl_arg_bool(arg[1], &first);
    sl_tmpl_arg_bool(arg[2], &blank);
    if (!tmpl_is_str(v)) {
        return v.kind == TMPL_UNDEFINED
                   ? sl_tmpl_fail_undefined(r, v)
                   : TMPL_FAIL(r, "indent needs a string, not %s", sl_tmpl_type_name(v));
    }
    pad = arg[0];
    if (!tmpl_is_str(pad)) {
        int64_t width = 4;
        SL_TRY(sl_tmpl_arg_int(r, "indent's width", arg[0], &width));
        SL_TRY(sl_tmpl_arith(r, OP_MUL, tmpl_str_value(&SPACE), tmpl_int(width), &pad));
    }
    SL_TRY(sl_tmpl_str_concat(r, v.u.str, &NEWLINE, &text));
    SL_TRY(sl_tmpl_text_lines(r, text.u.str, false, &lines));
    SL_TRY(sl_tmpl_build_begin(r, &b));
    for (size_t i = 0; i < lines->n; i++) {
        const tmpl_str *line = lines->items[i].u.str;
        if (i > 0) {
            SL_TRY(sl_tmpl_build_str(r, &b, &NEWLINE));
        }
        if (i == 0 ? first : blank || line->len > 0) {
            SL_TRY(sl_tmpl_build_str(r, &b, pad.u.str));
        }
        SL_TRY(sl_tmpl_build_str(r, &b, line));
    }
    return sl_tmpl_build_end(r, &b, out);
}

static sl_status filter_center(tmpl_run *r, sl_value v, const tmpl_args *args, sl_value *out) {
    static const char *const NAMES[] = {"width"};
    static const tmpl_str SPACE = {.ptr = " ", .len = 1, .n_chars = 1, .trusted = true};
    sl_value arg;
    int64_t width = 80;
    const tmpl_str *s;
    SL_TRY(sl_tmpl_bind(r, "center", args, NAMES, 1, 0, &arg));
    SL_TRY(sl_tmpl_arg_int(r, "center's width", arg, &width));
    SL_TRY(sl_tmpl_to_str(r, v, &s));
    return sl_tmpl_text_align(r, s, width, &SPACE, ALIGN_CENTER, out);
}

static sl_status filter_truncate(tmpl_run *r, sl_value v, const tmpl_args *args, sl_value *out) {
    static const char *const NAMES[] = {"length", "killwords", "end", "leeway"};
    static const tmpl_str DOTS = {.ptr = "...", .len = 3, .n_chars = 3, .trusted = true};
    static const tmpl_str SPACE = {.ptr = " ", .len = 1, .n_chars = 1, .trusted = true};
    sl_value arg[4], cut;
    int64_t length = 255, leeway = 5;
    bool kill = false;
    const tmpl_str *end = &DOTS;
    SL_TRY(sl_tmpl_bind(r, "truncate", args, NAMES, 4, 0, arg));
    SL_TRY(sl_tmpl_arg_int(r, "truncate's length", arg[0], &length));
    sl_tmpl_arg_bool(arg[1], &kill);
    SL_TRY(sl_tmpl_arg_str(r, "truncate's end", arg[2], &end));
    if (arg[3].kind != SL_VALUE_NONE) {
        SL_TRY(sl_tmpl_arg_int(r, "truncate's leeway", arg[3], &leeway));
    }
    if (length < (int64_t)end->n_chars || leeway < 0) {
        return TMPL_FAIL(r, "truncate needs a length of at least %zu", end->n_chars);
    }
    int64_t n;
    SL_TRY(sl_tmpl_length(r, v, &n));
    if (n <= length || n - length <= leeway) {
        *out = v;
        return SL_OK;
    }
    if (!tmpl_is_str(v)) {
        return TMPL_FAIL(r, "truncate needs a string, not %s", sl_tmpl_type_name(v));
    }
    const tmpl_str *s = v.u.str;
    size_t keep = sl_tmpl_str_offset(s, (size_t)(length - (int64_t)end->n_chars));
    SL_TRY(sl_tmpl_str_sub(r, s, 0, keep, &cut));
    if (!kill) {
        tmpl_list *parts;
        SL_TRY(sl_tmpl_text_split(r, cut.u.str, &SPACE, 1, true, &parts));
        cut = parts->items[0];
    }
    return sl_tmpl_str_concat(r, cut.u.str, end, out);
}

static sl_status filter_wordcount(tmpl_run *r, sl_value v, const tmpl_args *args, sl_value *out) {
    const tmpl_str *s;
    int64_t n = 0;
    size_t cost;
    bool in_word = false;
    SL_TRY(filter_none(r, "wordcount", args));
    SL_TRY(sl_tmpl_to_str(r, v, &s));
    SL_TRY(
        tmpl_burn(r, sl_mul_size(s->len, 16, &cost) ? cost : SIZE_MAX)); /* a table look-up each */
    for (size_t i = 0; i < s->len;) {
        uint32_t c = 0;
        size_t len = sl_utf8_decode(s->ptr + i, s->len - i, &c);
        bool word = c == '_' || sl_tmpl_char_is(c, TMPL_CHAR_ALPHA | TMPL_CHAR_NUMERIC);
        n += word && !in_word;
        in_word = word;
        i += len == 0 ? 1 : len;
    }
    *out = tmpl_int(n);
    return SL_OK;
}

static sl_status filter_urlencode_one(tmpl_run *r, tmpl_builder *b, sl_value v, bool query) {
    static const char HEX[] = "0123456789ABCDEF";
    const tmpl_str *s;
    SL_TRY(sl_tmpl_to_str(r, v, &s));
    for (size_t i = 0; i < s->len; i++) {
        unsigned char c = (unsigned char)s->ptr[i];
        bool trusted;
        (void)sl_tmpl_str_part(s, i, &trusted);
        char text[3] = {'%', HEX[c >> 4], HEX[c & 15]};
        bool keep = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                    (c != 0 && strchr(query ? "_.-~" : "_.-~/", c) != NULL);
        if (keep || (query && c == ' ')) {
            text[0] = keep ? (char)c : '+';
        }
        SL_TRY(sl_tmpl_build_bytes(r, b, text, keep || (query && c == ' ') ? 1 : 3, trusted));
    }
    return SL_OK;
}

static sl_status filter_urlencode(tmpl_run *r, sl_value v, const tmpl_args *args, sl_value *out) {
    tmpl_builder b;
    SL_TRY(filter_none(r, "urlencode", args));
    SL_TRY(sl_tmpl_build_begin(r, &b));
    if (tmpl_is_str(v) || !sl_tmpl_iterable(v)) {
        SL_TRY(filter_urlencode_one(r, &b, v, false));
        return sl_tmpl_build_end(r, &b, out);
    }
    tmpl_list *items, *pair;
    sl_value src = v;
    if (v.kind == SL_VALUE_OBJECT) {
        src.kind = TMPL_VIEW;
        src.which = 2;
    }
    SL_TRY(sl_tmpl_collect(r, src, &items));
    for (size_t i = 0; i < items->n; i++) {
        SL_TRY(sl_tmpl_collect(r, items->items[i], &pair));
        if (pair->n != 2) {
            return TMPL_FAIL(r, "urlencode needs pairs");
        }
        SL_TRY(sl_tmpl_build_text(r, &b, i > 0 ? "&" : ""));
        SL_TRY(filter_urlencode_one(r, &b, pair->items[0], true));
        SL_TRY(sl_tmpl_build_text(r, &b, "="));
        SL_TRY(filter_urlencode_one(r, &b, pair->items[1], true));
    }
    return sl_tmpl_build_end(r, &b, out);
}

static sl_status filter_xmlattr(tmpl_run *r, sl_value v, const tmpl_args *args, sl_value *out) {
    static const char *const NAMES[] = {"autospace"};
    sl_value arg, text;
    bool space = true, first = true;
    tmpl_builder b;
    SL_TRY(sl_tmpl_bind(r, "xmlattr", args, NAMES, 1, 0, &arg));
    sl_tmpl_arg_bool(arg, &space);
    if (v.kind != SL_VALUE_OBJECT) {
        return TMPL_FAIL(r, "xmlattr needs a mapping, not %s", sl_tmpl_type_name(v));
    }
    SL_TRY(sl_tmpl_build_begin(r, &b));
    for (size_t i = 0; i < v.u.map->n; i++) {
        const tmpl_entry *e = &v.u.map->entries[i];
        if (e->val.kind == SL_VALUE_NONE || e->val.kind == TMPL_UNDEFINED) {
            continue;
        }
        if (!tmpl_is_str(e->key)) {
            return TMPL_FAIL(r, "xmlattr: names must be strings");
        }
        for (size_t k = 0; k < e->key.u.str->len; k++) {
            char c = e->key.u.str->ptr[k];
            if (c != '\0' && strchr(" \t\n\r\f\v/>=", c) != NULL) {
                return TMPL_FAIL(r, "xmlattr: a name has a character that is not allowed");
            }
        }
        SL_TRY(sl_tmpl_build_text(r, &b, first && !space ? "" : " "));
        first = false;
        SL_TRY(sl_tmpl_escape_html(r, e->key, &text));
        SL_TRY(sl_tmpl_build_str(r, &b, text.u.str));
        SL_TRY(sl_tmpl_build_text(r, &b, "=\""));
        SL_TRY(sl_tmpl_escape_html(r, e->val, &text));
        SL_TRY(sl_tmpl_build_str(r, &b, text.u.str));
        SL_TRY(sl_tmpl_build_text(r, &b, "\""));
    }
    return sl_tmpl_build_end(r, &b, out);
}

static sl_status filter_format(tmpl_run *r, sl_value v, const tmpl_args *args, sl_value *out) {
    const tmpl_str *s;
    sl_value values;
    if (args->n_pos > 0 && args->n_kw > 0) {
        return TMPL_FAIL(r, "format takes positional or named arguments, not both");
    }
    SL_TRY(sl_tmpl_to_str(r, v, &s));
    if (args->n_kw > 0) {
        tmpl_map *m;
        SL_TRY(sl_tmpl_map_make(r, &m));
        for (uint32_t i = 0; i < args->n_kw; i++) {
            SL_TRY(sl_tmpl_map_add(r, m, tmpl_str_value(args->kw[i].name), args->kw[i].val));
        }
        values = tmpl_map_value(m);
    } else {
        tmpl_list *l;
        SL_TRY(sl_tmpl_list_make(r, args->n_pos, &l));
        for (uint32_t i = 0; i < args->n_pos; i++) {
            SL_TRY(sl_tmpl_list_push(r, l, args->pos[i]));
        }
        values = tmpl_list_value(TMPL_TUPLE, l);
    }
    return sl_tmpl_percent(r, s, values, out);
}

/* s without its comments and tags; from one that is not closed on, all stays. */
static sl_status striptags_cut(tmpl_run *r, const tmpl_str *s, sl_value *out) {
    size_t from = 0;
    tmpl_builder b;
    SL_TRY(tmpl_burn(r, s->len));
    SL_TRY(sl_tmpl_build_begin(r, &b));
    for (const char *open; (open = memchr(s->ptr + from, '<', s->len - from)) != NULL;) {
        size_t at = (size_t)(open - s->ptr), left = s->len - at;
        bool comment = left >= 4 && memcmp(open, "<!--", 4) == 0;
        const char *close = comment ? memmem(open + 4, left - 4, "-->", 3)
                                    : memchr(open, '>', left);
        if (close == NULL) {
            break;
        }
        SL_TRY(sl_tmpl_build_part(r, &b, s, from, at - from));
        from = (size_t)(close - s->ptr) + (comment ? 3 : 1);
    }
    SL_TRY(sl_tmpl_build_part(r, &b, s, from, s->len - from));
    return sl_tmpl_build_end(r, &b, out);
}

/* Comments and tags are taken out, white space becomes single spaces, and entities of escape are
 * undone. */
static sl_status filter_striptags(tmpl_run *r, sl_value v, const tmpl_args *args, sl_value *out) {
    static const struct {
        tmpl_str from, to;
    } ENTITIES[] = {
        {{.ptr = "&lt;", .len = 4, .n_chars = 4}, {.ptr = "<", .len = 1, .n_chars = 1}},
        {{.ptr = "&gt;", .len = 4, .n_chars = 4}, {.ptr = ">", .len = 1, .n_chars = 1}},
        {{.ptr = "&#34;", .len = 5, .n_chars = 5}, {.ptr = "\"", .len = 1, .n_chars = 1}},
        {{.ptr = "&quot;", .len = 6, .n_chars = 6}, {.ptr = "\"", .len = 1, .n_chars = 1}},
        {{.ptr = "&#39;", .len = 5, .n_chars = 5}, {.ptr = "'", .len = 1, .n_chars = 1}},
        {{.ptr = "&amp;", .len = 5, .n_chars = 5}, {.ptr = "&", .len = 1, .n_chars = 1}},
    };
    static const tmpl_str SPACE = {.ptr = " ", .len = 1, .n_chars = 1, .trusted = true};
    const tmpl_str *s;
    tmpl_list *words;
    sl_value text;
    SL_TRY(filter_none(r, "striptags", args));
    SL_TRY(sl_tmpl_to_str(r, v, &s));
    SL_TRY(striptags_cut(r, s, &text));
    SL_TRY(sl_tmpl_text_split(r, text.u.str, NULL, -1, false, &words));
    SL_TRY(sl_tmpl_text_join(r, &SPACE, tmpl_list_value(SL_VALUE_LIST, words), false, &text));
    for (size_t i = 0; i < sizeof(ENTITIES) / sizeof(ENTITIES[0]); i++) {
        SL_TRY(sl_tmpl_text_replace(r, text.u.str, &ENTITIES[i].from, &ENTITIES[i].to, -1, &text));
    }
    *out = text;
    return SL_OK;
}

static sl_status filter_unsupported(tmpl_run *r, sl_value v, const tmpl_args *args, sl_value *out) {
    (void)v, (void)args, (void)out;
    return sl_tmpl_fail_at(r, SL_ERR_UNSUPPORTED, __FILE__, __LINE__,
                           "the filter urlize is not supported");
}

const tmpl_filter_def sl_tmpl_text_filters[] = {
    {"capitalize", filter_capitalize},
    {"center", filter_center},
    {"e", filter_escape},
    {"escape", filter_escape},
    {"forceescape", filter_forceescape},
    {"format", filter_format},
    {"indent", filter_indent},
    {"lower", filter_lower},
    {"replace", filter_replace},
    {"safe", filter_safe},
    {"string", filter_string},
    {"striptags", filter_striptags},
    {"title", filter_title},
    {"tojson", sl_tmpl_filter_tojson},
    {"trim", filter_trim},
    {"truncate", filter_truncate},
    {"upper", filter_upper},
    {"urlencode", filter_urlencode},
    {"urlize", filter_unsupported},
    {"wordcount", filter_wordcount},
    {"xmlattr", filter_xmlattr},
    {NULL, NULL},
};
