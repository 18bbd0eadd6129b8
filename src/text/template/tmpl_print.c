/* Values -> text as Python's str() and repr() give it.
 *
 * Numbers, booleans and None count as trusted: they cannot spell a special token, but a template
 * may build one around them (<|image_1|>). The punctuation of printed lists and objects counts as
 * untrusted.
 */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "text/template/tmpl_exec.h"
#include "text/template/tmpl_unicode.h"

/* --- numbers
 * ------------------------------------------------------------------------------------ */

/* Shortest digits that read back as v, and the position of the point: 0.d1d2d3 x 10^point. */
static int print_digits(double v, char digits[24], int *point) {
    char text[40];
    int precision = 0;
    do {
        (void)snprintf(text, sizeof(text), "%.*e", precision, v);
    } while (strtod(text, NULL) != v && ++precision < 17);
    int n = 0;
    for (const char *p = text; *p != 'e'; p++) {
        if (*p >= '0' && *p <= '9') {
            digits[n++] = *p;
        }
    }
    while (n > 1 && digits[n - 1] == '0') {
        n--;
    }
    *point = (int)strtol(strchr(text, 'e') + 1, NULL, 10) + 1;
    return n;
}

size_t sl_tmpl_format_float(double v, char buf[TMPL_NUMBER_MAX]) {
    char digits[24];
    int point, len = 0;
    if (!isfinite(v)) {
        return (size_t)snprintf(buf, TMPL_NUMBER_MAX, "%s",
                                isnan(v) ? "nan"
                                : v < 0  ? "-inf"
                                         : "inf");
    }
    int n = print_digits(fabs(v), digits, &point);
    if (signbit(v)) {
        buf[len++] = '-';
    }
    if (point > 16 || point < -3) {
        buf[len++] = digits[0];
        if (n > 1) {
            buf[len++] = '.';
            memcpy(buf + len, digits + 1, (size_t)n - 1);
            len += n - 1;
        }
        len += snprintf(buf + len, (size_t)(TMPL_NUMBER_MAX - len), "e%c%02d",
                        point > 0 ? '+' : '-', abs(point - 1));
        return (size_t)len;
    }
    if (point <= 0) {
        buf[len++] = '0';
    }
    for (int i = 0; i < point; i++) {
        buf[len++] = i < n ? digits[i] : '0';
    }
    buf[len++] = '.';
    for (int i = point; i < 0; i++) {
        buf[len++] = '0';
    }
    int rest = point < 0 ? 0 : point;
    if (rest >= n) {
        buf[len++] = '0';
    }
    while (rest < n) {
        buf[len++] = digits[rest++];
    }
    return (size_t)len;
}

/* --- repr
 * --------------------------------------------------------------------------------------- */

static sl_status repr_escape(tmpl_run *r, tmpl_builder *b, uint32_t c, bool trusted) {
    char text[16];
    int len = c == '\n'     ? snprintf(text, sizeof(text), "\\n")
              : c == '\r'   ? snprintf(text, sizeof(text), "\\r")
              : c == '\t'   ? snprintf(text, sizeof(text), "\\t")
              : c < 0x100   ? snprintf(text, sizeof(text), "\\x%02x", (unsigned)c)
              : c < 0x10000 ? snprintf(text, sizeof(text), "\\u%04x", (unsigned)c)
                            : snprintf(text, sizeof(text), "\\U%08x", (unsigned)c);
    return sl_tmpl_build_bytes(r, b, text, (size_t)len, trusted);
}

static sl_status repr_str(tmpl_run *r, tmpl_builder *b, const tmpl_str *s) {
    bool single = s->len > 0 && memchr(s->ptr, '\'', s->len) != NULL;
    bool both = single && memchr(s->ptr, '"', s->len) != NULL;
    char quote = single && !both ? '"' : '\'';
    SL_TRY(sl_tmpl_build_bytes(r, b, &quote, 1, false));
    size_t plain = 0;
    for (size_t i = 0; i < s->len;) {
        uint32_t c = 0;
        size_t n = sl_utf8_decode(s->ptr + i, s->len - i, &c);
        n = n == 0 ? 1 : n;
        bool quoted = c == (uint32_t)quote || c == '\\';
        if (quoted || !sl_tmpl_char_is(c, TMPL_CHAR_PRINTABLE)) {
            bool trusted;
            (void)sl_tmpl_str_part(s, i, &trusted);
            SL_TRY(sl_tmpl_build_part(r, b, s, plain, i - plain));
            if (quoted) {
                char text[2] = {'\\', (char)c};
                SL_TRY(sl_tmpl_build_bytes(r, b, text, 2, trusted));
            } else {
                SL_TRY(repr_escape(r, b, c, trusted));
            }
            plain = i + n;
        }
        i += n;
    }
    SL_TRY(sl_tmpl_build_part(r, b, s, plain, s->len - plain));
    return sl_tmpl_build_bytes(r, b, &quote, 1, false);
}

static sl_status repr_text(tmpl_run *r, tmpl_builder *b, const char *text) {
    return sl_tmpl_build_bytes(r, b, text, strlen(text), false);
}

static sl_status repr_list(tmpl_run *r, tmpl_builder *b, sl_value v, unsigned depth) {
    bool tuple = v.kind == TMPL_TUPLE;
    const tmpl_list *l = v.u.list;
    SL_TRY(repr_text(r, b, tuple ? "(" : "["));
    for (size_t i = 0; i < l->n; i++) {
        SL_TRY(repr_text(r, b, i > 0 ? ", " : ""));
        SL_TRY(sl_tmpl_repr(r, b, l->items[i], depth + 1));
    }
    return repr_text(r, b, !tuple ? "]" : l->n == 1 ? ",)" : ")");
}

static sl_status repr_map(tmpl_run *r, tmpl_builder *b, const tmpl_map *m, unsigned depth) {
    SL_TRY(repr_text(r, b, "{"));
    for (size_t i = 0; i < m->n; i++) {
        SL_TRY(repr_text(r, b, i > 0 ? ", " : ""));
        SL_TRY(sl_tmpl_repr(r, b, m->entries[i].key, depth + 1));
        SL_TRY(repr_text(r, b, ": "));
        SL_TRY(sl_tmpl_repr(r, b, m->entries[i].val, depth + 1));
    }
    return repr_text(r, b, "}");
}

static sl_status repr_view(tmpl_run *r, tmpl_builder *b, sl_value v, unsigned depth) {
    static const char *const NAMES[] = {"dict_keys([", "dict_values([", "dict_items(["};
    tmpl_iter it = {.src = v};
    SL_TRY(repr_text(r, b, NAMES[v.which]));
    for (bool first = true;; first = false) {
        sl_value item;
        bool more;
        SL_TRY(sl_tmpl_iter_next(r, &it, &item, &more));
        if (!more) {
            return repr_text(r, b, "])");
        }
        SL_TRY(repr_text(r, b, first ? "" : ", "));
        SL_TRY(sl_tmpl_repr(r, b, item, depth + 1));
    }
}

static sl_status repr_other(tmpl_run *r, tmpl_builder *b, sl_value v, unsigned depth) {
    char text[128];
    int64_t n;
    const tmpl_str *name;
    switch (v.kind) {
    case TMPL_RANGE:
        (void)snprintf(text, sizeof(text),
                       v.u.range->step == 1 ? "range(%" PRId64 ", %" PRId64 ")"
                                            : "range(%" PRId64 ", %" PRId64 ", %" PRId64 ")",
                       v.u.range->start, v.u.range->stop, v.u.range->step);
        break;
    case TMPL_NAMESPACE:
        SL_TRY(repr_text(r, b, "<Namespace "));
        SL_TRY(repr_map(r, b, v.u.map, depth));
        return repr_text(r, b, ">");
    case TMPL_MACRO:
        name = v.u.macro->def->name;
        (void)snprintf(text, sizeof(text), name == NULL ? "<Macro anonymous>" : "<Macro '%.*s'>",
                       name == NULL ? 0 : (int)(name->len > 80 ? 80 : name->len),
                       name == NULL ? "" : name->ptr);
        break;
    case TMPL_LOOP:
        SL_TRY(sl_tmpl_loop_length(r, v.u.loop, &n));
        (void)snprintf(text, sizeof(text), "<LoopContext %" PRId64 "/%" PRId64 ">",
                       v.u.loop->index0 + 1, n);
        break;
    case TMPL_METHOD:
        (void)snprintf(text, sizeof(text), "<built-in method %s of %s object>",
                       v.u.method->def->name, sl_tmpl_type_name(v.u.method->self));
        break;
    case TMPL_GLOBAL:
        (void)snprintf(text, sizeof(text), "<function %s>", v.u.global->name);
        break;
    default:
        (void)snprintf(text, sizeof(text), "<%s object>", sl_tmpl_type_name(v));
        break;
    }
    return repr_text(r, b, text);
}

sl_status sl_tmpl_repr(tmpl_run *r, tmpl_builder *b, sl_value v, unsigned depth) {
    char text[TMPL_NUMBER_MAX];
    size_t len = 0;
    if (depth > TMPL_VALUE_DEPTH_MAX) {
        return sl_tmpl_fail_at(r, SL_ERR_LIMIT, __FILE__, __LINE__,
                               "a value is nested too deeply to print");
    }
    switch (v.kind) {
    case SL_VALUE_NONE:
        return sl_tmpl_build_text(r, b, "None");
    case SL_VALUE_BOOL:
        return sl_tmpl_build_text(r, b, v.u.b ? "True" : "False");
    case SL_VALUE_INT:
        len = (size_t)snprintf(text, sizeof(text), "%" PRId64, v.u.i);
        break;
    case SL_VALUE_FLOAT:
        len = sl_tmpl_format_float(v.u.f, text);
        break;
    case SL_VALUE_STRING:
        SL_TRY(repr_text(r, b, v.u.str->markup ? "Markup(" : ""));
        SL_TRY(repr_str(r, b, v.u.str));
        return repr_text(r, b, v.u.str->markup ? ")" : "");
    case SL_VALUE_LIST:
    case TMPL_TUPLE:
        return repr_list(r, b, v, depth);
    case SL_VALUE_OBJECT:
        return repr_map(r, b, v.u.map, depth);
    case TMPL_VIEW:
        return repr_view(r, b, v, depth);
    case TMPL_UNDEFINED:
        return repr_text(r, b, "Undefined");
    default:
        return repr_other(r, b, v, depth);
    }
    return sl_tmpl_build_bytes(r, b, text, len, true);
}

sl_status sl_tmpl_to_str(tmpl_run *r, sl_value v, const tmpl_str **out) {
    static const tmpl_str EMPTY = {.ptr = "", .trusted = true};
    if (tmpl_is_str(v)) {
        *out = v.u.str;
        return SL_OK;
    }
    if (v.kind == TMPL_UNDEFINED) {
        *out = &EMPTY;
        return SL_OK;
    }
    tmpl_builder b;
    sl_value text;
    SL_TRY(sl_tmpl_build_begin(r, &b));
    SL_TRY(sl_tmpl_repr(r, &b, v, 0));
    SL_TRY(sl_tmpl_build_end(r, &b, &text));
    *out = text.u.str;
    return SL_OK;
}

/* --- HTML
 * --------------------------------------------------------------------------------------- */

static const char *html_entity(char c) {
    switch (c) {
    case '&':
        return "&amp;";
    case '<':
        return "&lt;";
    case '>':
        return "&gt;";
    case '\'':
        return "&#39;";
    case '"':
        return "&#34;";
    default:
        return NULL;
    }
}

sl_status sl_tmpl_escape_html(tmpl_run *r, sl_value v, sl_value *out) {
    const tmpl_str *s;
    tmpl_builder b;
    if (tmpl_is_str(v) && v.u.str->markup) {
        *out = v;
        return SL_OK;
    }
    SL_TRY(sl_tmpl_to_str(r, v, &s));
    SL_TRY(sl_tmpl_build_begin(r, &b));
    size_t plain = 0;
    for (size_t i = 0; i < s->len; i++) {
        const char *entity = html_entity(s->ptr[i]);
        if (entity != NULL) {
            bool trusted;
            (void)sl_tmpl_str_part(s, i, &trusted);
            SL_TRY(sl_tmpl_build_part(r, &b, s, plain, i - plain));
            SL_TRY(sl_tmpl_build_bytes(r, &b, entity, strlen(entity), trusted));
            plain = i + 1;
        }
    }
    SL_TRY(sl_tmpl_build_part(r, &b, s, plain, s->len - plain));
    SL_TRY(sl_tmpl_build_end(r, &b, out));
    tmpl_str *marked = sl_arena_alloc(&r->arena, sizeof(*marked));
    if (marked == NULL) {
        return TMPL_FULL(r);
    }
    *marked = *out->u.str;
    marked->markup = true;
    *out = tmpl_str_value(marked);
    return SL_OK;
}
