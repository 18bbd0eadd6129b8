/* The table of all filters, and those on numbers and on any value. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "text/template/tmpl_exec.h"
#include "text/template/tmpl_unicode.h"

/* --- any value
 * ---------------------------------------------------------------------------------- */

static sl_status filter_default(tmpl_run *r, sl_value v, const tmpl_args *args, sl_value *out) {
    static const char *const NAMES[] = {"default_value", "boolean"};
    sl_value arg[2];
    bool boolean = false;
    SL_TRY(sl_tmpl_bind(r, "default", args, NAMES, 2, 0, arg));
    sl_tmpl_arg_bool(arg[1], &boolean);
    *out = v;
    if (v.kind != TMPL_UNDEFINED && !(boolean && !sl_tmpl_truth(v))) {
        return SL_OK;
    }
    *out = arg[0];
    return arg[0].kind == TMPL_MISSING ? sl_tmpl_str_static(r, "", out) : SL_OK;
}

static sl_status filter_attr(tmpl_run *r, sl_value v, const tmpl_args *args, sl_value *out) {
    static const char *const NAMES[] = {"name"};
    sl_value arg;
    const tmpl_str *name = NULL;
    SL_TRY(sl_tmpl_bind(r, "attr", args, NAMES, 1, 1, &arg));
    SL_TRY(sl_tmpl_arg_str(r, "attr's name", arg, &name));
    SL_TRY(sl_tmpl_get_attr(r, v, name, out));
    /* Attributes only: an item of an object does not count. */
    if (v.kind == SL_VALUE_OBJECT && out->kind != TMPL_METHOD) {
        return sl_tmpl_undefined(r, name, "dict", out);
    }
    return SL_OK;
}

/* --- numbers
 * ------------------------------------------------------------------------------------ */

static sl_status filter_abs(tmpl_run *r, sl_value v, const tmpl_args *args, sl_value *out) {
    int64_t i;
    SL_TRY(sl_tmpl_bind(r, "abs", args, NULL, 0, 0, NULL));
    if (v.kind == SL_VALUE_FLOAT) {
        *out = tmpl_float(fabs(v.u.f));
        return SL_OK;
    }
    return sl_tmpl_negate(r, sl_tmpl_as_int(v, &i) && i < 0, v, out);
}

/* Text of a number without surrounding white space and with single underscores between digits
 * removed; false if it is too long or holds anything else than ASCII. */
static bool number_text(const tmpl_str *s, char *buf, size_t size) {
    size_t from = sl_tmpl_lstrip_start(tmpl_slice(s)), n = 0;
    size_t end = sl_tmpl_rstrip_len(tmpl_slice(s));
    for (size_t i = from; i < end; i++) {
        char c = s->ptr[i];
        if (c == '_') {
            bool between = i > from && i + 1 < end && s->ptr[i - 1] != '_' && s->ptr[i + 1] != '_';
            if (!between) {
                return false;
            }
            continue;
        }
        if ((unsigned char)c >= 0x80 || c == '\0' || n + 1 >= size) {
            return false;
        }
        buf[n++] = c;
    }
    buf[n] = '\0';
    return n > 0;
}

typedef enum number_result { NUMBER_OK, NUMBER_BAD, NUMBER_RANGE } number_result;

static number_result number_int(const tmpl_str *s, int64_t base, int64_t *out) {
    char buf[512], *p = buf;
    if (!number_text(s, buf, sizeof(buf))) {
        return NUMBER_BAD;
    }
    bool minus = *p == '-';
    p += *p == '-' || *p == '+';
    if (*p == '0' && p[1] != '\0') {
        int prefix = p[1] | 0x20;
        int64_t means = prefix == 'x' ? 16 : prefix == 'o' ? 8 : prefix == 'b' ? 2 : 0;
        if (means != 0 && (base == means || base == 0)) {
            base = means;
            p += 2;
        } else if (base == 0 && strspn(p, "0") != strlen(p)) {
            return NUMBER_BAD;
        }
    }
    base = base == 0 ? 10 : base;
    int64_t v = 0;
    number_result result = *p == '\0' ? NUMBER_BAD : NUMBER_OK;
    for (; *p != '\0'; p++) {
        int digit = *p >= '0' && *p <= '9'   ? *p - '0'
                    : *p >= 'a' && *p <= 'z' ? *p - 'a' + 10
                    : *p >= 'A' && *p <= 'Z' ? *p - 'A' + 10
                                             : 99;
        if (digit >= base) {
            return NUMBER_BAD;
        }
        if (__builtin_mul_overflow(v, base, &v) ||
            __builtin_add_overflow(v, minus ? -digit : digit, &v)) {
            result = NUMBER_RANGE;
        }
    }
    *out = v;
    return result;
}

/* Python's float(): decimal forms, inf, infinity and nan; no hexadecimal. */
static bool number_float(const tmpl_str *s, double *out) {
    char buf[512], *end;
    if (!number_text(s, buf, sizeof(buf)) || strpbrk(buf, "xXpP(") != NULL || buf[0] == ' ') {
        return false;
    }
    *out = strtod(buf, &end);
    return *end == '\0' && end != buf;
}

static sl_status int_of_double(tmpl_run *r, double f, sl_value *out) {
    if (f < -0x1p63 || f >= 0x1p63) {
        return TMPL_FAIL(r, "int: the number does not fit into 64 bits");
    }
    *out = tmpl_int((int64_t)f);
    return SL_OK;
}

static sl_status filter_int(tmpl_run *r, sl_value v, const tmpl_args *args, sl_value *out) {
    static const char *const NAMES[] = {"default", "base"};
    sl_value arg[2];
    int64_t base = 10, i = 0;
    double f;
    SL_TRY(sl_tmpl_bind(r, "int", args, NAMES, 2, 0, arg));
    if (arg[1].kind != TMPL_MISSING && !sl_tmpl_as_int(arg[1], &base)) {
        base = -1; /* no number has digits of such a base: what can be read as a float remains */
    }
    *out = arg[0].kind == TMPL_MISSING ? tmpl_int(0) : arg[0];
    if (v.kind == TMPL_UNDEFINED) {
        return sl_tmpl_fail_undefined(r, v);
    }
    if (tmpl_is_str(v)) {
        bool base_ok = base == 0 || (base >= 2 && base <= 36);
        number_result result = base_ok ? number_int(v.u.str, base, &i) : NUMBER_BAD;
        if (result == NUMBER_RANGE) {
            return TMPL_FAIL(r, "int: the number does not fit into 64 bits");
        }
        if (result == NUMBER_OK) {
            *out = tmpl_int(i);
        } else if (number_float(v.u.str, &f) && isfinite(f)) {
            return int_of_double(r, f, out);
        }
        return SL_OK;
    }
    if (v.kind == SL_VALUE_FLOAT) {
        if (isinf(v.u.f)) {
            return TMPL_FAIL(r, "int: infinity is no integer");
        }
        return isnan(v.u.f) ? SL_OK : int_of_double(r, v.u.f, out);
    }
    if (sl_tmpl_as_int(v, &i)) {
        *out = tmpl_int(i);
    }
    return SL_OK;
}

static sl_status filter_float(tmpl_run *r, sl_value v, const tmpl_args *args, sl_value *out) {
    static const char *const NAMES[] = {"default"};
    sl_value arg;
    double f;
    SL_TRY(sl_tmpl_bind(r, "float", args, NAMES, 1, 0, &arg));
    *out = arg.kind == TMPL_MISSING ? tmpl_float(0) : arg;
    if (v.kind == TMPL_UNDEFINED) {
        return sl_tmpl_fail_undefined(r, v);
    }
    if (tmpl_is_str(v) ? number_float(v.u.str, &f) : sl_tmpl_as_double(v, &f)) {
        *out = tmpl_float(f);
    }
    return SL_OK;
}

/* Rounds to the nearest, ties to even, as round() on the exact binary value does. */
static sl_status round_float(tmpl_run *r, double f, int64_t digits, sl_value *out) {
    char text[400];
    if (!isfinite(f) || digits > 323) {
        *out = tmpl_float(f);
        return SL_OK;
    }
    if (digits < -308) {
        *out = tmpl_float(copysign(0, f));
        return SL_OK;
    }
    if (digits >= 0) {
        (void)snprintf(text, sizeof(text), "%.*f", (int)digits, f);
        *out = tmpl_float(strtod(text, NULL));
        return SL_OK;
    }
    double unit = pow(10, (double)-digits);
    *out = tmpl_float(nearbyint(f / unit) * unit);
    (void)r;
    return SL_OK;
}

static sl_status round_int(tmpl_run *r, int64_t i, int64_t digits, sl_value *out) {
    int64_t unit = 1;
    if (digits >= 0) {
        *out = tmpl_int(i);
        return SL_OK;
    }
    for (; digits < 0; digits++) {
        if (__builtin_mul_overflow(unit, (int64_t)10, &unit)) {
            *out = tmpl_int(0);
            return SL_OK;
        }
    }
    int64_t rest = i % unit, down = i - rest; /* towards zero */
    uint64_t twice = 2 * (uint64_t)(rest < 0 ? -rest : rest);
    bool up = twice > (uint64_t)unit || (twice == (uint64_t)unit && (down / unit) % 2 != 0);
    if (up && __builtin_add_overflow(down, i < 0 ? -unit : unit, &down)) {
        return TMPL_FAIL(r, "round: the result does not fit into 64 bits");
    }
    *out = tmpl_int(down);
    return SL_OK;
}

static sl_status filter_round(tmpl_run *r, sl_value v, const tmpl_args *args, sl_value *out) {
    static const char *const NAMES[] = {"precision", "method"};
    sl_value arg[2];
    int64_t digits = 0, i;
    double f;
    const tmpl_str *method = NULL;
    SL_TRY(sl_tmpl_bind(r, "round", args, NAMES, 2, 0, arg));
    bool to_int = arg[0].kind == SL_VALUE_NONE;
    if (!to_int) {
        SL_TRY(sl_tmpl_arg_int(r, "round's precision", arg[0], &digits));
    }
    SL_TRY(sl_tmpl_arg_str(r, "round's method", arg[1], &method));
    if (v.kind == TMPL_UNDEFINED) {
        return sl_tmpl_fail_undefined(r, v);
    }
    if (!sl_tmpl_as_double(v, &f)) {
        return TMPL_FAIL(r, "round needs a number, not %s", sl_tmpl_type_name(v));
    }
    if (method == NULL || sl_slice_eq_str(tmpl_slice(method), "common")) {
        if (to_int && v.kind == SL_VALUE_FLOAT) {
            return isfinite(f) ? int_of_double(r, nearbyint(f), out)
                               : TMPL_FAIL(r, "round: not a finite number");
        }
        return sl_tmpl_as_int(v, &i) ? round_int(r, i, digits, out)
                                     : round_float(r, f, digits, out);
    }
    bool ceil_it = sl_slice_eq_str(tmpl_slice(method), "ceil");
    if (!ceil_it && !sl_slice_eq_str(tmpl_slice(method), "floor")) {
        return TMPL_FAIL(r, "round's method must be common, ceil or floor");
    }
    if (to_int) {
        return TMPL_FAIL(r, "round's precision must be an integer for this method");
    }
    double unit = pow(10, (double)digits);
    *out = tmpl_float((ceil_it ? ceil(f * unit) : floor(f * unit)) / unit);
    return SL_OK;
}

static sl_status filter_filesizeformat(tmpl_run *r, sl_value v, const tmpl_args *args,
                                       sl_value *out) {
    static const char *const NAMES[] = {"binary"};
    static const char UNITS[] = "kMGTPEZY";
    sl_value arg;
    bool binary = false;
    double n;
    char text[64];
    SL_TRY(sl_tmpl_bind(r, "filesizeformat", args, NAMES, 1, 0, &arg));
    sl_tmpl_arg_bool(arg, &binary);
    if (tmpl_is_str(v) ? !number_float(v.u.str, &n) : !sl_tmpl_as_double(v, &n)) {
        return TMPL_FAIL(r, "filesizeformat needs a number, not %s", sl_tmpl_type_name(v));
    }
    double base = binary ? 1024 : 1000, unit;
    if (n == 1) {
        return sl_tmpl_str_static(r, "1 Byte", out);
    }
    if (n < base) {
        int len = snprintf(text, sizeof(text), "%.0f Bytes", trunc(n) + 0.0);
        return sl_tmpl_str_copy(r, text, (size_t)len, true, out);
    }
    size_t i = 0;
    for (unit = base * base; n >= unit && i < 7; i++) {
        unit *= base;
    }
    char name = binary && i == 0 ? 'K' : UNITS[i];
    int len = snprintf(text, sizeof(text), "%.1f %c%sB", base * n / unit, name, binary ? "i" : "");
    return sl_tmpl_str_copy(r, text, len < 64 ? (size_t)len : 63, true, out);
}

const tmpl_filter_def sl_tmpl_misc_filters[] = {
    {"filesizeformat", filter_filesizeformat},
    {"abs", filter_abs},
    {"attr", filter_attr},
    {"d", filter_default},
    {"default", filter_default},
    {"float", filter_float},
    {"int", filter_int},
    {"round", filter_round},
    {NULL, NULL},
};

/* --- the table
 * ---------------------------------------------------------------------------------- */

/* An index is the table's number times 256 plus the place in it. */
static const tmpl_filter_def *const TABLES[] = {sl_tmpl_text_filters, sl_tmpl_seq_filters,
                                                sl_tmpl_misc_filters, sl_tmpl_layout_filters};

uint16_t sl_tmpl_filter_index(sl_slice name) {
    for (size_t t = 0; t < sizeof(TABLES) / sizeof(TABLES[0]); t++) {
        for (size_t i = 0; TABLES[t][i].name != NULL; i++) {
            if (sl_slice_eq_str(name, TABLES[t][i].name)) {
                return (uint16_t)(t * 256u + i);
            }
        }
    }
    return TMPL_UNKNOWN;
}

sl_status sl_tmpl_filter(tmpl_run *r, uint16_t index, const tmpl_str *name, sl_value v,
                         const tmpl_args *args, sl_value *out) {
    if (index == TMPL_UNKNOWN) {
        return TMPL_FAIL(r, "no filter is named '%.*s'", (int)(name->len > 80 ? 80 : name->len),
                         name->ptr);
    }
    SL_TRY(sl_tmpl_enter(r)); /* map(filter) nests */
    SL_TRY(TABLES[index / 256][index % 256].fn(r, v, args, out));
    tmpl_leave(r);
    return SL_OK;
}
