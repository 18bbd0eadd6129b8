/* The tojson filter as transformers has it: Python's json.dumps with ensure_ascii off and no HTML
 * escaping. Arguments: ensure_ascii, indent (a number or a string), separators (a pair),
 * sort_keys. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/utf8.h"
#include "text/template/tmpl_exec.h"

typedef struct json_writer {
    tmpl_run *r;
    tmpl_builder b;
    bool ascii, sort_keys;
    const tmpl_str *indent; /* of one level; NULL: one line */
    const tmpl_str *item_sep, *key_sep;
} json_writer;

static sl_status json_value(json_writer *w, sl_value v, unsigned depth);

static sl_status json_text(json_writer *w, const char *text) {
    return sl_tmpl_build_bytes(w->r, &w->b, text, strlen(text), false);
}

static int json_escape(uint32_t c, char out[16]) {
    static const char FROM[] = "\"\\\n\r\t\f\b", TO[] = "\"\\nrtfb";
    const char *known = c == 0 || c > 0x7F ? NULL : strchr(FROM, (int)c);
    if (known != NULL) {
        return snprintf(out, 16, "\\%c", TO[known - FROM]);
    }
    if (c < 0x10000) {
        return snprintf(out, 16, "\\u%04x", (unsigned)c);
    }
    c -= 0x10000;
    return snprintf(out, 16, "\\u%04x\\u%04x", (unsigned)(0xD800 + (c >> 10)),
                    (unsigned)(0xDC00 + (c & 0x3FF)));
}

/* What comes out of a string keeps that string's trust; quotes are untrusted. */
static sl_status json_string(json_writer *w, const tmpl_str *s) {
    size_t plain = 0;
    SL_TRY(json_text(w, "\""));
    for (size_t i = 0; i < s->len;) {
        unsigned char byte = (unsigned char)s->ptr[i];
        uint32_t c = byte;
        size_t n = 1;
        if (byte >= 0x80 && w->ascii) {
            n = sl_utf8_decode(s->ptr + i, s->len - i, &c);
            n = n == 0 ? 1 : n;
        }
        if (byte < 0x20 || byte == '"' || byte == '\\' || (w->ascii && byte >= 0x7F)) {
            char text[16];
            bool trusted;
            int len = json_escape(c, text);
            (void)sl_tmpl_str_part(s, i, &trusted);
            SL_TRY(sl_tmpl_build_part(w->r, &w->b, s, plain, i - plain));
            SL_TRY(sl_tmpl_build_bytes(w->r, &w->b, text, (size_t)len, trusted));
            plain = i + n;
        }
        i += n;
    }
    SL_TRY(sl_tmpl_build_part(w->r, &w->b, s, plain, s->len - plain));
    return json_text(w, "\"");
}

static sl_status json_newline(json_writer *w, unsigned level) {
    if (w->indent == NULL) {
        return SL_OK;
    }
    SL_TRY(json_text(w, "\n"));
    for (unsigned i = 0; i < level; i++) {
        SL_TRY(sl_tmpl_build_str(w->r, &w->b, w->indent));
    }
    return SL_OK;
}

static sl_status json_float(json_writer *w, double f) {
    char text[TMPL_NUMBER_MAX];
    if (!isfinite(f)) {
        return json_text(w, isnan(f) ? "NaN" : f < 0 ? "-Infinity" : "Infinity");
    }
    size_t len = sl_tmpl_format_float(f, text);
    return sl_tmpl_build_bytes(w->r, &w->b, text, len, false);
}

static sl_status json_scalar(json_writer *w, sl_value v) {
    char text[TMPL_NUMBER_MAX];
    switch (v.kind) {
    case SL_VALUE_NONE:
        return json_text(w, "null");
    case SL_VALUE_BOOL:
        return json_text(w, v.u.b ? "true" : "false");
    case SL_VALUE_FLOAT:
        return json_float(w, v.u.f);
    default:
        (void)snprintf(text, sizeof(text), "%" PRId64, v.u.i);
        return json_text(w, text);
    }
}

static sl_status json_list(json_writer *w, const tmpl_list *l, unsigned depth) {
    if (l->n == 0) {
        return json_text(w, "[]");
    }
    SL_TRY(json_text(w, "["));
    for (size_t i = 0; i < l->n; i++) {
        if (i > 0) {
            SL_TRY(sl_tmpl_build_str(w->r, &w->b, w->item_sep));
        }
        SL_TRY(json_newline(w, depth + 1));
        SL_TRY(json_value(w, l->items[i], depth + 1));
    }
    SL_TRY(json_newline(w, depth));
    return json_text(w, "]");
}

static sl_status json_key(json_writer *w, sl_value key) {
    if (tmpl_is_str(key)) {
        return json_string(w, key.u.str);
    }
    if (key.kind > SL_VALUE_STRING) {
        return TMPL_FAIL(w->r, "tojson: keys must be strings, numbers, booleans or none, not %s",
                         sl_tmpl_type_name(key));
    }
    SL_TRY(json_text(w, "\""));
    SL_TRY(json_scalar(w, key));
    return json_text(w, "\"");
}

/* The entries' values in the order of their keys. */
static sl_status json_sorted(json_writer *w, const tmpl_map *m, sl_value **keys_out,
                             sl_value **vals_out) {
    sl_value *keys = sl_arena_alloc_zero(&w->r->arena, m->n, sizeof(*keys));
    sl_value *vals = sl_arena_alloc_zero(&w->r->arena, m->n, sizeof(*vals));
    if (keys == NULL || vals == NULL) {
        return TMPL_FULL(w->r);
    }
    for (size_t i = 0; i < m->n; i++) {
        keys[i] = m->entries[i].key;
        vals[i] = m->entries[i].val;
    }
    if (w->sort_keys) {
        SL_TRY(sl_tmpl_sort(w->r, vals, keys, m->n, false));
    }
    *keys_out = keys;
    *vals_out = vals;
    return SL_OK;
}

static sl_status json_object(json_writer *w, const tmpl_map *m, unsigned depth) {
    sl_value *keys = NULL, *vals = NULL;
    if (m->n == 0) {
        return json_text(w, "{}");
    }
    SL_TRY(json_sorted(w, m, &keys, &vals));
    SL_TRY(json_text(w, "{"));
    for (size_t i = 0; i < m->n; i++) {
        if (i > 0) {
            SL_TRY(sl_tmpl_build_str(w->r, &w->b, w->item_sep));
        }
        SL_TRY(json_newline(w, depth + 1));
        SL_TRY(json_key(w, keys[i]));
        SL_TRY(sl_tmpl_build_str(w->r, &w->b, w->key_sep));
        SL_TRY(json_value(w, vals[i], depth + 1));
    }
    SL_TRY(json_newline(w, depth));
    return json_text(w, "}");
}

static sl_status json_value(json_writer *w, sl_value v, unsigned depth) {
    if (depth > TMPL_VALUE_DEPTH_MAX) {
        return sl_tmpl_fail_at(w->r, SL_ERR_LIMIT, __FILE__, __LINE__, "tojson: nested too deeply");
    }
    switch (v.kind) {
    case SL_VALUE_STRING:
        return json_string(w, v.u.str);
    case SL_VALUE_LIST:
    case TMPL_TUPLE:
        return json_list(w, v.u.list, depth);
    case SL_VALUE_OBJECT:
        return json_object(w, v.u.map, depth);
    case TMPL_UNDEFINED:
        return sl_tmpl_fail_undefined(w->r, v);
    default:
        break;
    }
    if (v.kind > SL_VALUE_STRING) {
        return TMPL_FAIL(w->r, "tojson: a value of type %s has no JSON form", sl_tmpl_type_name(v));
    }
    return json_scalar(w, v);
}

static sl_status json_options(json_writer *w, const sl_value *arg) {
    static const tmpl_str COMMA = {.ptr = ", ", .len = 1, .n_chars = 1};
    static const tmpl_str COMMA_SPACE = {.ptr = ", ", .len = 2, .n_chars = 2};
    static const tmpl_str COLON_SPACE = {.ptr = ": ", .len = 2, .n_chars = 2};
    int64_t width = 0;
    sl_tmpl_arg_bool(arg[0], &w->ascii);
    sl_tmpl_arg_bool(arg[3], &w->sort_keys);
    if (tmpl_is_str(arg[1])) {
        w->indent = arg[1].u.str;
    } else if (arg[1].kind != TMPL_MISSING && arg[1].kind != SL_VALUE_NONE) {
        sl_value spaces, one = tmpl_none();
        SL_TRY(sl_tmpl_arg_int(w->r, "tojson's indent", arg[1], &width));
        SL_TRY(sl_tmpl_str_copy(w->r, " ", 1, false, &one));
        SL_TRY(sl_tmpl_arith(w->r, OP_MUL, one, tmpl_int(width), &spaces));
        w->indent = spaces.u.str;
    }
    w->item_sep = w->indent == NULL ? &COMMA_SPACE : &COMMA;
    w->key_sep = &COLON_SPACE;
    if (arg[2].kind != TMPL_MISSING && arg[2].kind != SL_VALUE_NONE) {
        tmpl_list *pair;
        SL_TRY(sl_tmpl_collect(w->r, arg[2], &pair));
        if (pair->n != 2 || !tmpl_is_str(pair->items[0]) || !tmpl_is_str(pair->items[1])) {
            return TMPL_FAIL(w->r, "tojson: separators must be a pair of strings");
        }
        w->item_sep = pair->items[0].u.str;
        w->key_sep = pair->items[1].u.str;
    }
    return SL_OK;
}

sl_status sl_tmpl_filter_tojson(tmpl_run *r, sl_value v, const tmpl_args *args, sl_value *out) {
    static const char *const NAMES[] = {"ensure_ascii", "indent", "separators", "sort_keys"};
    sl_value arg[4];
    json_writer w = {.r = r};
    SL_TRY(sl_tmpl_bind(r, "tojson", args, NAMES, 4, 0, arg));
    SL_TRY(json_options(&w, arg));
    SL_TRY(sl_tmpl_build_begin(r, &w.b));
    SL_TRY(json_value(&w, v, 0));
    return sl_tmpl_build_end(r, &w.b, out);
}
