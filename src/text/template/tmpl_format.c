/* str.format and printf-like formatting, with Python's format specifications:
 * [[fill]align][sign][#][0][width][, or _][.precision][type].
 */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "text/template/tmpl_text.h"

#define FORMAT_WIDTH_MAX 100000
#define FORMAT_DIGITS_MAX 320 /* digits after the point */

static const tmpl_str FILL_SPACE = {.ptr = " ", .len = 1, .n_chars = 1, .trusted = true};
static const tmpl_str FILL_ZERO = {.ptr = "0", .len = 1, .n_chars = 1, .trusted = true};

typedef struct format_spec {
    const tmpl_str *fill;
    char align; /* < > ^ = or 0 */
    char sign;  /* + - or space */
    bool alt, zero;
    char group; /* , _ or 0 */
    int64_t width;
    int64_t precision; /* -1: none */
    char type;         /* 0: none */
} format_spec;

/* --- numbers
 * ------------------------------------------------------------------------------------ */

/* Digits as they are to be shown: `n_zeros` in front, a separator every `every` digits of the
 * integer part, counted from its right. */
typedef struct format_digit_run {
    const char *digits;
    size_t len, n_zeros, n_whole; /* n_whole: digits before the point, zeros not counted */
    size_t every;                 /* 0: no separators */
    char group;
} format_digit_run;

static size_t format_run_width(const format_digit_run *d) {
    size_t whole = d->n_zeros + d->n_whole;
    return d->n_zeros + d->len + (d->every > 0 && whole > 0 ? (whole - 1) / d->every : 0);
}

static sl_status format_emit_run(tmpl_run *r, tmpl_builder *b, const format_digit_run *d) {
    size_t whole = d->n_zeros + d->n_whole;
    for (size_t i = 0; i < d->n_zeros + d->len; i++) {
        if (d->every > 0 && i > 0 && i < whole && (whole - i) % d->every == 0) {
            SL_TRY(sl_tmpl_build_bytes(r, b, &d->group, 1, true));
        }
        const char *digit = i < d->n_zeros ? "0" : d->digits + (i - d->n_zeros);
        SL_TRY(sl_tmpl_build_bytes(r, b, digit, 1, true));
    }
    return SL_OK;
}

static sl_status format_fill(tmpl_run *r, tmpl_builder *b, const tmpl_str *fill, uint64_t n) {
    for (uint64_t i = 0; i < n; i++) {
        SL_TRY(sl_tmpl_build_str(r, b, fill));
    }
    return SL_OK;
}

/* Sign, prefix and digits brought to the width. */
static sl_status format_number(tmpl_run *r, tmpl_builder *b, const format_spec *f, bool minus,
                               const char *prefix, const char *digits, size_t len) {
    bool bits = f->type == 'x' || f->type == 'X' || f->type == 'b' || f->type == 'o';
    format_digit_run d = {.digits = digits,
                          .len = len,
                          .group = f->group,
                          .every = f->group == 0 ? 0
                                   : bits        ? 4
                                                 : 3};
    char head[4] = "";
    size_t n_head = 0;
    while (d.n_whole < len && (bits || (digits[d.n_whole] >= '0' && digits[d.n_whole] <= '9'))) {
        d.n_whole++;
    }
    if (minus || f->sign != '-') {
        head[n_head++] = minus ? '-' : f->sign;
    }
    for (; *prefix != '\0'; prefix++) {
        head[n_head++] = *prefix;
    }
    char align = f->align == 0 ? '>' : f->align;
    uint64_t width = f->width > 0 ? (uint64_t)f->width : 0;
    if (align == '=' && sl_slice_eq_str(tmpl_slice(f->fill), "0")) {
        while (format_run_width(&d) + n_head < width) { /* separators count towards the width */
            d.n_zeros++;
        }
    }
    size_t n_body = format_run_width(&d);
    uint64_t gap = width > n_body + n_head ? width - n_body - n_head : 0;
    uint64_t left = align == '<' || align == '=' ? 0 : align == '^' ? gap / 2 : gap;
    uint64_t inner = align == '=' ? gap : 0;
    SL_TRY(format_fill(r, b, f->fill, left));
    SL_TRY(sl_tmpl_build_bytes(r, b, head, n_head, true));
    SL_TRY(format_fill(r, b, f->fill, inner));
    SL_TRY(format_emit_run(r, b, &d));
    return format_fill(r, b, f->fill, gap - left - inner);
}

/* Without a type: as 'g', but always with a digit after the point, which counts as one of the
 * digits. */
static int format_general(char *text, size_t size, double v, int precision) {
    (void)snprintf(text, size, "%.*e", precision - 1, v);
    char *e = strchr(text, 'e');
    int exponent = (int)strtol(e + 1, NULL, 10);
    if (exponent + 1 > -4 && exponent + 1 < precision) {
        int len = snprintf(text, size, "%.*g", precision, v);
        return strchr(text, '.') != NULL ? len
                                         : len + snprintf(text + len, size - (size_t)len, ".0");
    }
    char *end = e;
    while (end > text && end[-1] == '0' && memchr(text, '.', (size_t)(end - text)) != NULL) {
        end--;
    }
    end -= end > text && end[-1] == '.';
    memmove(end, e, strlen(e) + 1);
    return (int)strlen(text);
}

static sl_status format_float(tmpl_run *r, tmpl_builder *b, const format_spec *f, double v) {
    char text[FORMAT_DIGITS_MAX * 2 + 32];
    char type = f->type == 0 || f->type == 'n' ? 'g' : f->type == '%' ? 'f' : f->type;
    int precision = f->precision < 0 ? 6 : (int)f->precision, len;
    double size = f->type == '%' ? fabs(v) * 100 : fabs(v);
    if (precision > FORMAT_DIGITS_MAX) {
        return TMPL_FAIL(r, "format: the precision is too large");
    }
    if (!isfinite(v)) {
        bool big = type == 'E' || type == 'F' || type == 'G';
        len = snprintf(text, sizeof(text), "%s",
                       isnan(v) ? (big ? "NAN" : "nan")
                       : big    ? "INF"
                                : "inf");
    } else if (f->type == 0 && f->precision < 0) {
        char shortest[TMPL_NUMBER_MAX];
        size_t n = sl_tmpl_format_float(size, shortest);
        len = snprintf(text, sizeof(text), "%.*s", (int)n, shortest);
    } else if (f->type == 0) {
        len = format_general(text, sizeof(text), size, precision == 0 ? 1 : precision);
    } else {
        const char how[] = {'%', f->alt ? '#' : '0', '.', '*', type, '\0'};
        len = snprintf(text, sizeof(text), how, precision, size);
    }
    if (f->type == '%') {
        text[len++] = '%';
    }
    return format_number(r, b, f, signbit(v) && !isnan(v), "", text, (size_t)len);
}

static sl_status format_int(tmpl_run *r, tmpl_builder *b, const format_spec *f, int64_t v) {
    static const char LOWER[] = "0123456789abcdef", UPPER[] = "0123456789ABCDEF";
    char digits[72];
    size_t at = sizeof(digits);
    uint64_t size = v < 0 ? 0 - (uint64_t)v : (uint64_t)v;
    const char *prefix = "";
    unsigned base = 10;
    if (f->type != 0 && strchr("eEfFgG%", f->type) != NULL) {
        return format_float(r, b, f, (double)v);
    }
    switch (f->type) {
    case 'b':
        base = 2;
        prefix = "0b";
        break;
    case 'o':
        base = 8;
        prefix = "0o";
        break;
    case 'x':
        base = 16;
        prefix = "0x";
        break;
    case 'X':
        base = 16;
        prefix = "0X";
        break;
    case 0:
    case 'd':
    case 'n':
        break;
    default:
        return TMPL_FAIL(r, "format: '%c' does not fit an integer", f->type);
    }
    if (f->precision >= 0) {
        return TMPL_FAIL(r, "format: an integer has no precision");
    }
    do {
        digits[--at] = (f->type == 'X' ? UPPER : LOWER)[size % base];
        size /= base;
    } while (size > 0);
    return format_number(r, b, f, v < 0, f->alt ? prefix : "", digits + at, sizeof(digits) - at);
}

static sl_status format_text(tmpl_run *r, tmpl_builder *b, const format_spec *f,
                             const tmpl_str *s) {
    sl_value v = tmpl_str_value(s);
    if (f->precision >= 0 && (uint64_t)f->precision < s->n_chars) {
        SL_TRY(sl_tmpl_str_sub(r, s, 0, sl_tmpl_str_offset(s, (size_t)f->precision), &v));
    }
    s = v.u.str;
    uint64_t gap = f->width > (int64_t)s->n_chars ? (uint64_t)f->width - s->n_chars : 0;
    uint64_t left = f->align == '>' ? gap : f->align == '^' ? gap / 2 : 0;
    for (uint64_t i = 0; i < gap; i++) {
        if (i == left) {
            SL_TRY(sl_tmpl_build_str(r, b, s));
        }
        SL_TRY(sl_tmpl_build_str(r, b, f->fill));
    }
    return left == gap ? sl_tmpl_build_str(r, b, s) : SL_OK;
}

/* --- str.format
 * --------------------------------------------------------------------------------- */

typedef struct format_state {
    tmpl_run *r;
    const tmpl_args *args;
    uint32_t next; /* the next automatic argument */
    bool automatic, manual;
} format_state;

static bool format_digits(sl_slice text, size_t *pos, int64_t *out) {
    size_t from = *pos;
    int64_t v = 0;
    while (*pos < text.len && text.ptr[*pos] >= '0' && text.ptr[*pos] <= '9') {
        v = v > FORMAT_WIDTH_MAX ? v : v * 10 + (text.ptr[*pos] - '0');
        (*pos)++;
    }
    *out = v;
    return *pos > from;
}

static bool format_is_align(char c) {
    return c == '<' || c == '>' || c == '^' || c == '=';
}

static sl_status format_parse_spec(tmpl_run *r, const tmpl_str *s, format_spec *f) {
    sl_slice t = tmpl_slice(s);
    size_t at = 0;
    bool has_fill = false;
    *f = (format_spec){.fill = &FILL_SPACE, .sign = '-', .precision = -1};
    uint32_t c;
    size_t n = t.len == 0 ? 0 : sl_utf8_decode(t.ptr, t.len, &c);
    if (n > 0 && n < t.len && format_is_align(t.ptr[n])) {
        sl_value fill;
        SL_TRY(sl_tmpl_str_sub(r, s, 0, n, &fill));
        f->fill = fill.u.str;
        has_fill = true;
        f->align = t.ptr[n];
        at = n + 1;
    } else if (t.len > 0 && format_is_align(t.ptr[0])) {
        f->align = t.ptr[at++];
    }
    if (at < t.len && (t.ptr[at] == '+' || t.ptr[at] == '-' || t.ptr[at] == ' ')) {
        f->sign = t.ptr[at++];
    }
    if (at < t.len && t.ptr[at] == '#') {
        f->alt = true;
        at++;
    }
    if (at < t.len && t.ptr[at] == '0') {
        f->zero = true;
        at++;
    }
    (void)format_digits(t, &at, &f->width);
    if (at < t.len && (t.ptr[at] == ',' || t.ptr[at] == '_')) {
        f->group = t.ptr[at++];
    }
    if (at < t.len && t.ptr[at] == '.') {
        at++;
        if (!format_digits(t, &at, &f->precision)) {
            return TMPL_FAIL(r, "format: a precision is missing");
        }
    }
    if (at < t.len) {
        f->type = t.ptr[at++];
    }
    f->fill = f->zero && !has_fill ? &FILL_ZERO : f->fill;
    if (at != t.len || f->width > FORMAT_WIDTH_MAX || f->precision > FORMAT_WIDTH_MAX) {
        return TMPL_FAIL(r, "format: malformed or too wide a specification");
    }
    return SL_OK;
}

/* One character by its number; numbers stand to the right. */
static sl_status format_char(tmpl_run *r, tmpl_builder *b, const format_spec *f, int64_t i) {
    if (i < 0 || i > 0x10FFFF || (i >= 0xD800 && i <= 0xDFFF) || f->precision >= 0 ||
        f->sign != '-' || f->alt) {
        return TMPL_FAIL(r, "format: no such character, or a specification that does not fit one");
    }
    tmpl_builder text;
    sl_value v;
    format_spec spec = *f;
    spec.align = f->align == 0 || f->align == '=' ? '>' : f->align;
    SL_TRY(sl_tmpl_build_begin(r, &text));
    SL_TRY(sl_tmpl_build_char(r, &text, (uint32_t)i, false));
    SL_TRY(sl_tmpl_build_end(r, &text, &v));
    return format_text(r, b, &spec, v.u.str);
}

static sl_status format_check_group(tmpl_run *r, const format_spec *f) {
    const char *types = f->group == ',' ? "deEfFgG%" : "deEfFgG%boxX";
    return f->group == 0 || f->type == 0 || strchr(types, f->type) != NULL
               ? SL_OK
               : TMPL_FAIL(r, "format: '%c' does not go together with '%c'", f->group, f->type);
}

/* repr(v); with `ascii`, other characters are escaped too. */
static sl_status format_repr(tmpl_run *r, sl_value v, bool ascii, sl_value *out) {
    tmpl_builder b, plain;
    SL_TRY(sl_tmpl_build_begin(r, &b));
    SL_TRY(sl_tmpl_repr(r, &b, v, 0));
    SL_TRY(sl_tmpl_build_end(r, &b, out));
    const tmpl_str *s = out->u.str;
    if (!ascii || s->n_chars == s->len) {
        return SL_OK;
    }
    SL_TRY(sl_tmpl_build_begin(r, &plain));
    for (size_t i = 0; i < s->len;) {
        uint32_t c = 0;
        bool trusted;
        char text[16];
        size_t n = sl_utf8_decode(s->ptr + i, s->len - i, &c);
        const char *how = c < 0x80      ? "%c"
                          : c < 0x100   ? "\\x%02x"
                          : c < 0x10000 ? "\\u%04x"
                                        : "\\U%08x";
        int len = snprintf(text, sizeof(text), how, (unsigned)c);
        (void)sl_tmpl_str_part(s, i, &trusted);
        SL_TRY(sl_tmpl_build_bytes(r, &plain, text, (size_t)len, trusted));
        i += n == 0 ? 1 : n;
    }
    return sl_tmpl_build_end(r, &plain, out);
}

static sl_status format_value(tmpl_run *r, tmpl_builder *b, sl_value v, const tmpl_str *spec) {
    const tmpl_str *text;
    format_spec f;
    int64_t i;
    if (spec->len == 0) {
        SL_TRY(sl_tmpl_to_str(r, v, &text));
        return sl_tmpl_build_str(r, b, text);
    }
    SL_TRY(format_parse_spec(r, spec, &f));
    if (tmpl_is_str(v)) {
        if ((f.type != 0 && f.type != 's') || f.align == '=' || f.sign != '-' || f.alt ||
            f.group != 0) {
            return TMPL_FAIL(r, "format: the specification does not fit a string");
        }
        return format_text(r, b, &f, v.u.str);
    }
    SL_TRY(format_check_group(r, &f));
    if (v.kind == SL_VALUE_FLOAT) {
        if (f.type != 0 && strchr("eEfFgGn%", f.type) == NULL) {
            return TMPL_FAIL(r, "format: '%c' does not fit a float", f.type);
        }
        f.align = f.align == 0 && f.zero ? '=' : f.align;
        return format_float(r, b, &f, v.u.f);
    }
    if (!sl_tmpl_as_int(v, &i)) {
        return TMPL_FAIL(r, "format: a value of type %s takes no specification",
                         sl_tmpl_type_name(v));
    }
    f.align = f.align == 0 && f.zero ? '=' : f.align;
    return f.type == 'c' ? format_char(r, b, &f, i) : format_int(r, b, &f, i);
}

static sl_status format_argument(format_state *st, const tmpl_str *field, size_t end,
                                 sl_value *out) {
    tmpl_run *r = st->r;
    sl_slice name = {field->ptr, end};
    size_t pos = 0;
    int64_t i = 0;
    bool numeric = name.len > 0 && format_digits(name, &pos, &i) && pos == name.len;
    if (name.len == 0 || numeric) {
        st->automatic |= name.len == 0;
        st->manual |= numeric;
        if (st->automatic && st->manual) {
            return TMPL_FAIL(r, "format: numbered and automatic fields cannot be mixed");
        }
        i = name.len == 0 ? st->next++ : i;
        if (i >= st->args->n_pos) {
            return TMPL_FAIL(r, "format: there is no argument %" PRId64, i);
        }
        *out = st->args->pos[i];
        return SL_OK;
    }
    for (uint32_t k = 0; k < st->args->n_kw; k++) {
        if (sl_slice_eq(tmpl_slice(st->args->kw[k].name), name)) {
            *out = st->args->kw[k].val;
            return SL_OK;
        }
    }
    return TMPL_FAIL(r, "format: there is no argument '%.*s'", (int)(name.len > 80 ? 80 : name.len),
                     name.ptr);
}

/* `name.attr[item]...` -> value. */
static sl_status format_field(format_state *st, const tmpl_str *field, sl_value *out) {
    tmpl_run *r = st->r;
    size_t at = 0;
    sl_value key;
    while (at < field->len && field->ptr[at] != '.' && field->ptr[at] != '[') {
        at++;
    }
    SL_TRY(format_argument(st, field, at, out));
    while (at < field->len) {
        size_t from = at + 1;
        bool item = field->ptr[at] == '[';
        at = from;
        while (at < field->len &&
               (item ? field->ptr[at] != ']' : field->ptr[at] != '.' && field->ptr[at] != '[')) {
            at++;
        }
        if (at == from || (item && at == field->len) || (!item && field->ptr[from - 1] != '.')) {
            return TMPL_FAIL(r, "format: malformed field name");
        }
        SL_TRY(sl_tmpl_str_sub(r, field, from, at - from, &key));
        if (item) {
            size_t pos = 0;
            int64_t i = 0;
            sl_slice text = tmpl_slice(key.u.str);
            key = format_digits(text, &pos, &i) && pos == text.len ? tmpl_int(i) : key;
            SL_TRY(sl_tmpl_get_item(r, *out, key, out));
            at++;
        } else {
            SL_TRY(sl_tmpl_get_attr(r, *out, key.u.str, out));
        }
    }
    return SL_OK;
}

static sl_status format_run(format_state *st, tmpl_builder *b, const tmpl_str *s, unsigned depth);

/* The inside of braces: name[!conversion][:specification]. */
static sl_status format_braces(format_state *st, tmpl_builder *b, const tmpl_str *inner,
                               unsigned depth) {
    tmpl_run *r = st->r;
    size_t end = 0;
    char conversion = 0;
    sl_value field, spec, v;
    for (bool bracket = false; end < inner->len; end++) {
        char c = inner->ptr[end];
        if (!bracket && (c == '!' || c == ':')) {
            break;
        }
        bracket = c == '[' || (bracket && c != ']');
    }
    SL_TRY(sl_tmpl_str_sub(r, inner, 0, end, &field));
    if (end < inner->len && inner->ptr[end] == '!') {
        if (end + 1 >= inner->len || (end + 2 < inner->len && inner->ptr[end + 2] != ':')) {
            return TMPL_FAIL(r, "format: malformed conversion");
        }
        conversion = inner->ptr[end + 1];
        end += 2;
    }
    size_t from = end < inner->len ? end + 1 : end;
    SL_TRY(format_field(st, field.u.str, &v));
    if (conversion == 'r' || conversion == 'a') {
        SL_TRY(format_repr(r, v, conversion == 'a', &v));
    } else if (conversion == 's') {
        const tmpl_str *plain;
        SL_TRY(sl_tmpl_to_str(r, v, &plain));
        v = tmpl_str_value(plain);
    } else if (conversion != 0) {
        return TMPL_FAIL(r, "format: unknown conversion '%c'", conversion);
    }
    SL_TRY(sl_tmpl_str_sub(r, inner, from, inner->len - from, &spec));
    if (spec.u.str->len > 0 && memchr(spec.u.str->ptr, '{', spec.u.str->len) != NULL) {
        tmpl_builder text;
        SL_TRY(sl_tmpl_build_begin(r, &text));
        SL_TRY(format_run(st, &text, spec.u.str, depth + 1));
        SL_TRY(sl_tmpl_build_end(r, &text, &spec));
    }
    return format_value(r, b, v, spec.u.str);
}

static sl_status format_run(format_state *st, tmpl_builder *b, const tmpl_str *s, unsigned depth) {
    tmpl_run *r = st->r;
    if (depth > 1) {
        return TMPL_FAIL(r, "format: fields are nested too deeply");
    }
    for (size_t i = 0; i < s->len;) {
        char c = s->ptr[i];
        bool twice = i + 1 < s->len && s->ptr[i + 1] == c;
        if (c != '{' && c != '}') {
            size_t from = i;
            while (i < s->len && s->ptr[i] != '{' && s->ptr[i] != '}') {
                i++;
            }
            SL_TRY(sl_tmpl_build_part(r, b, s, from, i - from));
            continue;
        }
        if (twice) {
            SL_TRY(sl_tmpl_build_part(r, b, s, i, 1));
            i += 2;
            continue;
        }
        size_t end = i + 1, open = 1;
        for (; c == '{' && end < s->len; end++) {
            open += s->ptr[end] == '{';
            open -= s->ptr[end] == '}';
            if (open == 0) {
                break;
            }
        }
        if (c == '}' || end == s->len) {
            return TMPL_FAIL(r, "format: a single brace stands alone");
        }
        sl_value inner;
        SL_TRY(sl_tmpl_str_sub(r, s, i + 1, end - i - 1, &inner));
        SL_TRY(format_braces(st, b, inner.u.str, depth));
        i = end + 1;
    }
    return SL_OK;
}

sl_status sl_tmpl_format(tmpl_run *r, const tmpl_str *format, const tmpl_args *args,
                         sl_value *out) {
    format_state st = {.r = r, .args = args};
    tmpl_builder b;
    SL_TRY(tmpl_burn(r, format->len));
    SL_TRY(sl_tmpl_build_begin(r, &b));
    SL_TRY(format_run(&st, &b, format, 0));
    return sl_tmpl_build_end(r, &b, out);
}

/* --- printf-like
 * -------------------------------------------------------------------------------- */

typedef struct percent_state {
    tmpl_run *r;
    sl_value args;
    size_t next; /* of a tuple; of anything else 0 or 1 */
} percent_state;

static sl_status percent_next(percent_state *st, sl_value *out) {
    bool tuple = st->args.kind == TMPL_TUPLE;
    if (st->next >= (tuple ? st->args.u.list->n : 1)) {
        return TMPL_FAIL(st->r, "%%: there are more fields than values");
    }
    *out = tuple ? st->args.u.list->items[st->next] : st->args;
    st->next++;
    return SL_OK;
}

/* A number or, for `*`, the next value. */
static sl_status percent_number(percent_state *st, sl_slice t, size_t *at, int64_t *out) {
    sl_value v;
    if (*at < t.len && t.ptr[*at] == '*') {
        (*at)++;
        SL_TRY(percent_next(st, &v));
        SL_TRY(sl_tmpl_arg_int(st->r, "a width", v, out));
    } else {
        (void)format_digits(t, at, out);
    }
    return *out > FORMAT_WIDTH_MAX || *out < -FORMAT_WIDTH_MAX
               ? TMPL_FAIL(st->r, "%%: a width or precision is too large")
               : SL_OK;
}

static sl_status percent_int(tmpl_run *r, tmpl_builder *b, format_spec *f, sl_value v) {
    int64_t i;
    if (v.kind == SL_VALUE_FLOAT && f->type == 'd') {
        if (!(v.u.f >= -0x1p63 && v.u.f < 0x1p63)) {
            return TMPL_FAIL(r, "%%: the number does not fit into 64 bits");
        }
        i = (int64_t)v.u.f;
    } else if (!sl_tmpl_as_int(v, &i)) {
        return TMPL_FAIL(r, "%%: a number is needed, not %s", sl_tmpl_type_name(v));
    }
    int64_t digits = f->precision;
    f->precision = -1;
    if (digits > 0 && digits < 64) { /* at least so many digits */
        char text[80];
        uint64_t size = i < 0 ? 0 - (uint64_t)i : (uint64_t)i;
        const char *how = f->type == 'x'   ? "%0*" PRIx64
                          : f->type == 'X' ? "%0*" PRIX64
                          : f->type == 'o' ? "%0*" PRIo64
                                           : "%0*" PRIu64;
        int len = snprintf(text, sizeof(text), how, (int)digits, size);
        const char *prefix = !f->alt          ? ""
                             : f->type == 'x' ? "0x"
                             : f->type == 'X' ? "0X"
                             : f->type == 'o' ? "0o"
                                              : "";
        return format_number(r, b, f, i < 0, prefix, text, (size_t)len);
    }
    return format_int(r, b, f, i);
}

static sl_status percent_value(percent_state *st, tmpl_builder *b, format_spec *f, sl_value v) {
    tmpl_run *r = st->r;
    const tmpl_str *text;
    double d;
    int64_t i;
    switch (f->type) {
    case 's':
        SL_TRY(sl_tmpl_to_str(r, v, &text));
        return format_text(r, b, f, text);
    case 'r':
    case 'a':
        SL_TRY(format_repr(r, v, f->type == 'a', &v));
        return format_text(r, b, f, v.u.str);
    case 'i':
    case 'u':
        f->type = 'd';
        return percent_int(r, b, f, v);
    case 'd':
    case 'x':
    case 'X':
    case 'o':
        return percent_int(r, b, f, v);
    case 'e':
    case 'E':
    case 'f':
    case 'F':
    case 'g':
    case 'G':
        if (!sl_tmpl_as_double(v, &d)) {
            return TMPL_FAIL(r, "%%: a number is needed, not %s", sl_tmpl_type_name(v));
        }
        return format_float(r, b, f, d);
    case 'c':
        if (tmpl_is_str(v) && v.u.str->n_chars == 1) {
            f->precision = -1;
            return format_text(r, b, f, v.u.str);
        }
        if (sl_tmpl_as_int(v, &i)) {
            format_spec spec = {.fill = f->fill,
                                .align = f->align,
                                .sign = '-',
                                .width = f->width,
                                .precision = -1};
            return format_char(r, b, &spec, i);
        }
        break;
    default:
        break;
    }
    return TMPL_FAIL(r, "%%: the field type '%c' does not fit or does not exist", f->type);
}

static void percent_flags(sl_slice t, size_t *at, format_spec *f) {
    for (; *at < t.len; (*at)++) {
        switch (t.ptr[*at]) {
        case '-':
            f->align = '<';
            break;
        case '+':
            f->sign = '+';
            break;
        case ' ':
            f->sign = f->sign == '+' ? '+' : ' ';
            break;
        case '#':
            f->alt = true;
            break;
        case '0':
            f->zero = true;
            break;
        default:
            return;
        }
    }
}

/* One field from behind its % sign; moves *at behind it. */
static sl_status percent_field(percent_state *st, tmpl_builder *b, const tmpl_str *s, size_t *at) {
    tmpl_run *r = st->r;
    sl_slice t = tmpl_slice(s);
    format_spec f = {.fill = &FILL_SPACE, .sign = '-', .precision = -1};
    sl_value v = tmpl_missing();
    if (*at < t.len && t.ptr[*at] == '(') {
        const char *close = memchr(t.ptr + *at, ')', t.len - *at);
        if (close == NULL || st->args.kind != SL_VALUE_OBJECT) {
            return TMPL_FAIL(r, "%%: a named field needs a mapping");
        }
        size_t from = *at + 1, end = (size_t)(close - t.ptr);
        const sl_value *found = sl_tmpl_map_find_text(st->args.u.map,
                                                      (sl_slice){t.ptr + from, end - from});
        if (found == NULL) {
            return TMPL_FAIL(r, "%%: there is no value named '%.*s'", (int)(end - from),
                             t.ptr + from);
        }
        v = *found;
        *at = end + 1;
    }
    percent_flags(t, at, &f);
    SL_TRY(percent_number(st, t, at, &f.width));
    if (f.width < 0) {
        f.align = '<';
        f.width = -f.width;
    }
    if (*at < t.len && t.ptr[*at] == '.') {
        (*at)++;
        f.precision = 0;
        SL_TRY(percent_number(st, t, at, &f.precision));
        f.precision = f.precision < 0 ? 0 : f.precision;
    }
    if (*at >= t.len) {
        return TMPL_FAIL(r, "%%: the format ends inside a field");
    }
    f.type = t.ptr[(*at)++];
    if (f.type == '%') {
        return sl_tmpl_build_part(r, b, s, *at - 1, 1);
    }
    if (v.kind == TMPL_MISSING) {
        SL_TRY(percent_next(st, &v));
    }
    if (strchr("srac", f.type) != NULL) {
        f.align = f.align == 0 ? '>' : f.align;
    } else if (f.zero && f.align == 0) {
        f.align = '=';
        f.fill = &FILL_ZERO;
    }
    return percent_value(st, b, &f, v);
}

sl_status sl_tmpl_percent(tmpl_run *r, const tmpl_str *format, sl_value args, sl_value *out) {
    percent_state st = {.r = r, .args = args};
    tmpl_builder b;
    SL_TRY(tmpl_burn(r, format->len));
    SL_TRY(sl_tmpl_build_begin(r, &b));
    for (size_t at = 0; at < format->len;) {
        const char *sign = memchr(format->ptr + at, '%', format->len - at);
        size_t end = sign == NULL ? format->len : (size_t)(sign - format->ptr);
        SL_TRY(sl_tmpl_build_part(r, &b, format, at, end - at));
        at = end;
        if (sign != NULL) {
            at++;
            SL_TRY(percent_field(&st, &b, format, &at));
        }
    }
    bool mapping = args.kind == SL_VALUE_OBJECT || args.kind == SL_VALUE_LIST ||
                   args.kind == TMPL_UNDEFINED;
    size_t due = args.kind == TMPL_TUPLE ? args.u.list->n : mapping ? 0 : 1;
    if (st.next < due) {
        return TMPL_FAIL(r, "%%: there are more values than fields");
    }
    return sl_tmpl_build_end(r, &b, out);
}
