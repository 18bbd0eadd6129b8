/* Tests: `value is name(arguments)`. */
#include <string.h>

#include "text/template/tmpl_exec.h"
#include "text/template/tmpl_unicode.h"
#include "base/utf8.h"

typedef sl_status (*tmpl_test_fn)(tmpl_run *r, sl_value v, const sl_value *arg, bool *out);

static sl_status test_boolean(tmpl_run *r, sl_value v, const sl_value *arg, bool *out) {
    (void)r, (void)arg;
    *out = v.kind == SL_VALUE_BOOL;
    return SL_OK;
}

static sl_status test_callable(tmpl_run *r, sl_value v, const sl_value *arg, bool *out) {
    (void)r, (void)arg;
    *out = v.kind == TMPL_MACRO || v.kind == TMPL_METHOD || v.kind == TMPL_GLOBAL ||
           v.kind == TMPL_LOOP || v.kind == TMPL_JOINER || v.kind == TMPL_UNDEFINED;
    return SL_OK;
}

static sl_status test_defined(tmpl_run *r, sl_value v, const sl_value *arg, bool *out) {
    (void)r, (void)arg;
    *out = v.kind != TMPL_UNDEFINED;
    return SL_OK;
}

static sl_status test_undefined(tmpl_run *r, sl_value v, const sl_value *arg, bool *out) {
    (void)r, (void)arg;
    *out = v.kind == TMPL_UNDEFINED;
    return SL_OK;
}

static sl_status test_remainder(tmpl_run *r, sl_value v, sl_value by, int64_t wanted, bool *out) {
    sl_value rest;
    SL_TRY(sl_tmpl_arith(r, OP_MOD, v, by, &rest));
    return sl_tmpl_equal(r, rest, tmpl_int(wanted), 0, out);
}

static sl_status test_divisibleby(tmpl_run *r, sl_value v, const sl_value *arg, bool *out) {
    return test_remainder(r, v, arg[0], 0, out);
}

static sl_status test_even(tmpl_run *r, sl_value v, const sl_value *arg, bool *out) {
    (void)arg;
    return test_remainder(r, v, tmpl_int(2), 0, out);
}

static sl_status test_odd(tmpl_run *r, sl_value v, const sl_value *arg, bool *out) {
    (void)arg;
    return test_remainder(r, v, tmpl_int(2), 1, out);
}

static sl_status test_eq(tmpl_run *r, sl_value v, const sl_value *arg, bool *out) {
    return sl_tmpl_compare(r, OP_EQ, v, arg[0], out);
}

static sl_status test_ne(tmpl_run *r, sl_value v, const sl_value *arg, bool *out) {
    return sl_tmpl_compare(r, OP_NE, v, arg[0], out);
}

static sl_status test_lt(tmpl_run *r, sl_value v, const sl_value *arg, bool *out) {
    return sl_tmpl_compare(r, OP_LT, v, arg[0], out);
}

static sl_status test_le(tmpl_run *r, sl_value v, const sl_value *arg, bool *out) {
    return sl_tmpl_compare(r, OP_LE, v, arg[0], out);
}

static sl_status test_gt(tmpl_run *r, sl_value v, const sl_value *arg, bool *out) {
    return sl_tmpl_compare(r, OP_GT, v, arg[0], out);
}

static sl_status test_ge(tmpl_run *r, sl_value v, const sl_value *arg, bool *out) {
    return sl_tmpl_compare(r, OP_GE, v, arg[0], out);
}

static sl_status test_in(tmpl_run *r, sl_value v, const sl_value *arg, bool *out) {
    return sl_tmpl_compare(r, OP_IN, v, arg[0], out);
}

static sl_status test_escaped(tmpl_run *r, sl_value v, const sl_value *arg, bool *out) {
    (void)r, (void)arg;
    *out = tmpl_is_str(v) && v.u.str->markup;
    return SL_OK;
}

static sl_status test_false(tmpl_run *r, sl_value v, const sl_value *arg, bool *out) {
    (void)r, (void)arg;
    *out = v.kind == SL_VALUE_BOOL && !v.u.b;
    return SL_OK;
}

static sl_status test_true(tmpl_run *r, sl_value v, const sl_value *arg, bool *out) {
    (void)r, (void)arg;
    *out = v.kind == SL_VALUE_BOOL && v.u.b;
    return SL_OK;
}

static sl_status test_filter(tmpl_run *r, sl_value v, const sl_value *arg, bool *out) {
    (void)r, (void)arg;
    *out = tmpl_is_str(v) && sl_tmpl_filter_index(tmpl_slice(v.u.str)) != TMPL_UNKNOWN;
    return SL_OK;
}

static sl_status test_test(tmpl_run *r, sl_value v, const sl_value *arg, bool *out) {
    (void)r, (void)arg;
    *out = tmpl_is_str(v) && sl_tmpl_test_index(tmpl_slice(v.u.str)) != TMPL_UNKNOWN;
    return SL_OK;
}

static sl_status test_float(tmpl_run *r, sl_value v, const sl_value *arg, bool *out) {
    (void)r, (void)arg;
    *out = v.kind == SL_VALUE_FLOAT;
    return SL_OK;
}

static sl_status test_integer(tmpl_run *r, sl_value v, const sl_value *arg, bool *out) {
    (void)r, (void)arg;
    *out = v.kind == SL_VALUE_INT;
    return SL_OK;
}

static sl_status test_number(tmpl_run *r, sl_value v, const sl_value *arg, bool *out) {
    (void)r, (void)arg;
    *out = v.kind == SL_VALUE_INT || v.kind == SL_VALUE_FLOAT || v.kind == SL_VALUE_BOOL;
    return SL_OK;
}

static sl_status test_iterable(tmpl_run *r, sl_value v, const sl_value *arg, bool *out) {
    (void)r, (void)arg;
    *out = sl_tmpl_iterable(v) || v.kind == TMPL_LOOP;
    return SL_OK;
}

/* All letters of one case and at least one of them, as str.islower and str.isupper have it. */
static sl_status test_case(tmpl_run *r, sl_value v, uint32_t wanted, bool *out) {
    const tmpl_str *s;
    bool any = false;
    SL_TRY(sl_tmpl_to_str(r, v, &s));
    SL_TRY(tmpl_burn(r, s->len));
    *out = false;
    for (size_t i = 0; i < s->len;) {
        uint32_t c = 0;
        size_t n = sl_utf8_decode(s->ptr + i, s->len - i, &c);
        uint32_t classes = sl_tmpl_char_classes(c) & TMPL_CHAR_CASED;
        if (classes != 0 && (classes & wanted) == 0) {
            return SL_OK;
        }
        any |= classes != 0;
        i += n == 0 ? 1 : n;
    }
    *out = any;
    return SL_OK;
}

static sl_status test_lower(tmpl_run *r, sl_value v, const sl_value *arg, bool *out) {
    (void)arg;
    return test_case(r, v, TMPL_CHAR_LOWER, out);
}

static sl_status test_upper(tmpl_run *r, sl_value v, const sl_value *arg, bool *out) {
    (void)arg;
    return test_case(r, v, TMPL_CHAR_UPPER, out);
}

static sl_status test_mapping(tmpl_run *r, sl_value v, const sl_value *arg, bool *out) {
    (void)r, (void)arg;
    *out = v.kind == SL_VALUE_OBJECT;
    return SL_OK;
}

static sl_status test_none(tmpl_run *r, sl_value v, const sl_value *arg, bool *out) {
    (void)r, (void)arg;
    *out = v.kind == SL_VALUE_NONE;
    return SL_OK;
}

/* The same object, not an equal one. */
static sl_status test_sameas(tmpl_run *r, sl_value v, const sl_value *arg, bool *out) {
    sl_value o = arg[0];
    (void)r;
    *out = false;
    if (v.kind != o.kind) {
        return SL_OK;
    }
    switch (v.kind) {
    case SL_VALUE_NONE:
        *out = true;
        break;
    case SL_VALUE_BOOL:
        *out = v.u.b == o.u.b;
        break;
    case SL_VALUE_INT:
        *out = v.u.i == o.u.i && v.u.i >= -5 && v.u.i <= 256;
        break;
    case SL_VALUE_FLOAT:
        break;
    case SL_VALUE_STRING:
        *out = v.u.str->ptr == o.u.str->ptr && v.u.str->len == o.u.str->len;
        break;
    default:
        *out = v.u.map == o.u.map;
        break;
    }
    return SL_OK;
}

static sl_status test_sequence(tmpl_run *r, sl_value v, const sl_value *arg, bool *out) {
    (void)r, (void)arg;
    *out = sl_tmpl_has_length(v) && v.kind != TMPL_VIEW && v.kind != TMPL_LOOP;
    return SL_OK;
}

static sl_status test_string(tmpl_run *r, sl_value v, const sl_value *arg, bool *out) {
    (void)r, (void)arg;
    *out = tmpl_is_str(v);
    return SL_OK;
}

static const struct {
    const char *name;
    tmpl_test_fn fn;
    const char *arg; /* name of its one argument, or NULL: none */
} TESTS[] = {
    {"!=", test_ne, "b"},
    {"<", test_lt, "b"},
    {"<=", test_le, "b"},
    {"==", test_eq, "b"},
    {">", test_gt, "b"},
    {">=", test_ge, "b"},
    {"boolean", test_boolean, NULL},
    {"callable", test_callable, NULL},
    {"defined", test_defined, NULL},
    {"divisibleby", test_divisibleby, "num"},
    {"eq", test_eq, "b"},
    {"equalto", test_eq, "b"},
    {"escaped", test_escaped, NULL},
    {"even", test_even, NULL},
    {"false", test_false, NULL},
    {"filter", test_filter, NULL},
    {"float", test_float, NULL},
    {"ge", test_ge, "b"},
    {"greaterthan", test_gt, "b"},
    {"gt", test_gt, "b"},
    {"in", test_in, "seq"},
    {"integer", test_integer, NULL},
    {"iterable", test_iterable, NULL},
    {"le", test_le, "b"},
    {"lessthan", test_lt, "b"},
    {"lower", test_lower, NULL},
    {"lt", test_lt, "b"},
    {"mapping", test_mapping, NULL},
    {"ne", test_ne, "b"},
    {"none", test_none, NULL},
    {"number", test_number, NULL},
    {"odd", test_odd, NULL},
    {"sameas", test_sameas, "other"},
    {"sequence", test_sequence, NULL},
    {"string", test_string, NULL},
    {"test", test_test, NULL},
    {"true", test_true, NULL},
    {"undefined", test_undefined, NULL},
    {"upper", test_upper, NULL},
};

uint16_t sl_tmpl_test_index(sl_slice name) {
    for (size_t i = 0; i < sizeof(TESTS) / sizeof(TESTS[0]); i++) {
        if (sl_slice_eq_str(name, TESTS[i].name)) {
            return (uint16_t)i;
        }
    }
    return TMPL_UNKNOWN;
}

sl_status sl_tmpl_test(tmpl_run *r, uint16_t index, const tmpl_str *name, sl_value v,
                       const tmpl_args *args, bool *out) {
    sl_value arg[1] = {tmpl_missing()};
    if (index == TMPL_UNKNOWN) {
        return TMPL_FAIL(r, "no test is named '%.*s'", (int)(name->len > 80 ? 80 : name->len),
                         name->ptr);
    }
    uint32_t n = TESTS[index].arg == NULL ? 0 : 1;
    SL_TRY(sl_tmpl_bind(r, TESTS[index].name, args, &TESTS[index].arg, n, n, arg));
    return TESTS[index].fn(r, v, arg, out);
}
