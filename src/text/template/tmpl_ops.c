/* Operators on values with Python's meaning. Integers have 64 bits; what does not fit is an
 * error. */
#include <math.h>
#include <string.h>

#include "text/template/tmpl_exec.h"

bool sl_tmpl_truth(sl_value v) {
    switch (v.kind) {
    case SL_VALUE_NONE:
    case TMPL_UNDEFINED:
    case TMPL_MISSING:
        return false;
    case SL_VALUE_BOOL:
        return v.u.b;
    case SL_VALUE_INT:
        return v.u.i != 0;
    case SL_VALUE_FLOAT:
        return v.u.f != 0;
    case SL_VALUE_STRING:
        return v.u.str->len > 0;
    case SL_VALUE_LIST:
    case TMPL_TUPLE:
        return v.u.list->n > 0;
    case SL_VALUE_OBJECT:
    case TMPL_VIEW:
        return v.u.map->n > 0;
    case TMPL_RANGE:
        return v.u.range->n > 0;
    default:
        return true;
    }
}

bool sl_tmpl_as_int(sl_value v, int64_t *out) {
    if (v.kind == SL_VALUE_BOOL) {
        *out = v.u.b;
        return true;
    }
    if (v.kind == SL_VALUE_INT) {
        *out = v.u.i;
        return true;
    }
    return false;
}

bool sl_tmpl_as_double(sl_value v, double *out) {
    int64_t i;
    if (v.kind == SL_VALUE_FLOAT) {
        *out = v.u.f;
        return true;
    }
    if (sl_tmpl_as_int(v, &i)) {
        *out = (double)i;
        return true;
    }
    return false;
}

/* --- arithmetic
 * --------------------------------------------------------------------------------- */

static sl_status ops_overflow(tmpl_run *r) {
    return TMPL_FAIL(r, "the result of a calculation does not fit into 64 bits");
}

static sl_status ops_zero(tmpl_run *r) {
    return TMPL_FAIL(r, "division by zero");
}

static sl_status ops_int_power(tmpl_run *r, int64_t base, int64_t exponent, sl_value *out) {
    int64_t result = 1;
    if (exponent < 0) {
        if (base == 0) {
            return ops_zero(r);
        }
        *out = tmpl_float(pow((double)base, (double)exponent));
        return SL_OK;
    }
    while (exponent > 0) {
        if ((exponent & 1) != 0 && __builtin_mul_overflow(result, base, &result)) {
            return ops_overflow(r);
        }
        exponent >>= 1;
        if (exponent > 0 && __builtin_mul_overflow(base, base, &base)) {
            return ops_overflow(r);
        }
    }
    *out = tmpl_int(result);
    return SL_OK;
}

/* Quotient rounded down and remainder with the divisor's sign. */
static sl_status ops_int_divide(tmpl_run *r, tmpl_op op, int64_t a, int64_t b, sl_value *out) {
    if (b == 0) {
        return ops_zero(r);
    }
    if (b == -1) { /* INT64_MIN / -1 has no 64-bit result */
        int64_t q = 0;
        if (op == OP_FLOORDIV && __builtin_sub_overflow((int64_t)0, a, &q)) {
            return ops_overflow(r);
        }
        *out = tmpl_int(op == OP_MOD ? 0 : q);
        return SL_OK;
    }
    int64_t q = a / b, m = a % b;
    if (m != 0 && (m < 0) != (b < 0)) {
        q--;
        m += b;
    }
    *out = tmpl_int(op == OP_MOD ? m : q);
    return SL_OK;
}

/* Rounded once, as Python does: integers beyond 53 bits must not be rounded before. */
static double ops_true_divide(int64_t a, int64_t b) {
    const int64_t exact = (int64_t)1 << 53;
    bool both = a >= -exact && a <= exact && b >= -exact && b <= exact;
    return both ? (double)a / (double)b : (double)((long double)a / (long double)b);
}

static sl_status ops_int(tmpl_run *r, tmpl_op op, int64_t a, int64_t b, sl_value *out) {
    int64_t v = 0;
    bool overflow = false;
    switch (op) {
    case OP_ADD:
        overflow = __builtin_add_overflow(a, b, &v);
        break;
    case OP_SUB:
        overflow = __builtin_sub_overflow(a, b, &v);
        break;
    case OP_MUL:
        overflow = __builtin_mul_overflow(a, b, &v);
        break;
    case OP_DIV:
        if (b == 0) {
            return ops_zero(r);
        }
        *out = tmpl_float(ops_true_divide(a, b));
        return SL_OK;
    case OP_POW:
        return ops_int_power(r, a, b, out);
    default:
        return ops_int_divide(r, op, a, b, out);
    }
    if (overflow) {
        return ops_overflow(r);
    }
    *out = tmpl_int(v);
    return SL_OK;
}

static sl_status ops_float(tmpl_run *r, tmpl_op op, double a, double b, sl_value *out) {
    double v, m;
    if (b == 0 && (op == OP_DIV || op == OP_FLOORDIV || op == OP_MOD)) {
        return ops_zero(r);
    }
    switch (op) {
    case OP_ADD:
        v = a + b;
        break;
    case OP_SUB:
        v = a - b;
        break;
    case OP_MUL:
        v = a * b;
        break;
    case OP_DIV:
        v = a / b;
        break;
    case OP_POW:
        if ((a == 0 && b < 0) || (a < 0 && b != floor(b) && isfinite(b))) {
            return TMPL_FAIL(r, "the power has no real value");
        }
        v = pow(a, b);
        if (isinf(v) && isfinite(a) && isfinite(b)) {
            return ops_overflow(r);
        }
        break;
    default:
        m = fmod(a, b);
        v = (a - m) / b;
        if (m != 0 && (m < 0) != (b < 0)) {
            m += b;
            v -= 1;
        } else if (m == 0) {
            m = copysign(0, b);
        }
        if (v != 0) {
            double whole = floor(v);
            v = v - whole > 0.5 ? whole + 1 : whole;
        } else {
            v = copysign(0, a / b);
        }
        v = op == OP_MOD ? m : v;
        break;
    }
    *out = tmpl_float(v);
    return SL_OK;
}

static sl_status ops_repeat_str(tmpl_run *r, const tmpl_str *s, int64_t times, sl_value *out) {
    tmpl_builder b;
    SL_TRY(sl_tmpl_build_begin(r, &b));
    /* The fuel and memory limits would stop the loop too, but not before much work. */
    size_t total;
    if (times > 0 &&
        (!sl_mul_size(s->len, (size_t)times, &total) || total > r->limits.memory_bytes)) {
        return TMPL_FULL(r);
    }
    for (int64_t i = 0; s->len > 0 && i < times; i++) {
        SL_TRY(sl_tmpl_build_str(r, &b, s));
    }
    return sl_tmpl_build_end(r, &b, out);
}

static sl_status ops_repeat_list(tmpl_run *r, sl_value v, int64_t times, sl_value *out) {
    tmpl_list *l;
    size_t total = 0;
    if (times > 0 && (!sl_mul_size(v.u.list->n, (size_t)times, &total) ||
                      total > r->limits.memory_bytes / sizeof(sl_value))) {
        return TMPL_FULL(r);
    }
    SL_TRY(sl_tmpl_list_make(r, total, &l));
    SL_TRY(tmpl_burn(r, total * 8));
    for (size_t i = 0; i < total; i++) {
        l->items[l->n++] = v.u.list->items[i % v.u.list->n];
    }
    *out = tmpl_list_value(v.kind, l);
    return SL_OK;
}

/* A sum of lists whose buffer has room behind them for more. */
static sl_status ops_shared_list(tmpl_run *r, const tmpl_list *a, size_t n, tmpl_list **out) {
    tmpl_list *l;
    SL_TRY(sl_tmpl_list_make(r, n + n / 2, &l));
    l->filled = sl_arena_alloc(&r->arena, sizeof(*l->filled));
    if (l->filled == NULL) {
        return TMPL_FULL(r);
    }
    if (a->n > 0) {
        memcpy(l->items, a->items, a->n * sizeof(*l->items));
    }
    l->n = *l->filled = a->n;
    *out = l;
    return SL_OK;
}

/* Adding to a list that ends where the items of its buffer end takes the room behind it, so that a
 * list put together one by one costs its length, not its square. */
static sl_status ops_join_lists(tmpl_run *r, sl_value a, sl_value b, sl_value *out) {
    const tmpl_list *la = a.u.list, *lb = b.u.list;
    tmpl_list *l;
    bool in_place = la->filled != NULL && *la->filled == la->n && la->cap - la->n >= lb->n;
    SL_TRY(tmpl_burn(r, ((in_place ? 0 : la->n) + lb->n) * 8));
    if (in_place) {
        SL_TRY(sl_tmpl_list_make(r, 0, &l));
        *l = (tmpl_list){.items = la->items, .n = la->n, .cap = la->cap, .filled = la->filled};
    } else {
        SL_TRY(ops_shared_list(r, la, la->n + lb->n, &l));
    }
    if (lb->n > 0) {
        memcpy(l->items + l->n, lb->items, lb->n * sizeof(*l->items));
    }
    l->n += lb->n;
    *l->filled = l->n;
    *out = tmpl_list_value(a.kind, l);
    return SL_OK;
}

static sl_status ops_add_str(tmpl_run *r, sl_value a, sl_value b, sl_value *out) {
    bool markup = a.u.str->markup || b.u.str->markup;
    if (markup) { /* the plain side is escaped */
        SL_TRY(sl_tmpl_escape_html(r, a, &a));
        SL_TRY(sl_tmpl_escape_html(r, b, &b));
    }
    SL_TRY(sl_tmpl_str_concat(r, a.u.str, b.u.str, out));
    if (markup && !out->u.str->markup) {
        tmpl_str *s = sl_arena_alloc(&r->arena, sizeof(*s));
        if (s == NULL) {
            return TMPL_FULL(r);
        }
        *s = *out->u.str;
        s->markup = true;
        *out = tmpl_str_value(s);
    }
    return SL_OK;
}

static bool ops_is_list(sl_value v) {
    return v.kind == SL_VALUE_LIST || v.kind == TMPL_TUPLE;
}

sl_status sl_tmpl_arith(tmpl_run *r, tmpl_op op, sl_value a, sl_value b, sl_value *out) {
    int64_t ia, ib;
    double fa, fb;
    if (op == OP_MOD && tmpl_is_str(a)) {
        return sl_tmpl_percent(r, a.u.str, b, out);
    }
    if (a.kind == TMPL_UNDEFINED || b.kind == TMPL_UNDEFINED) {
        return sl_tmpl_fail_undefined(r, a.kind == TMPL_UNDEFINED ? a : b);
    }
    bool int_a = sl_tmpl_as_int(a, &ia), int_b = sl_tmpl_as_int(b, &ib);
    if (int_a && int_b) {
        return ops_int(r, op, ia, ib, out);
    }
    if (sl_tmpl_as_double(a, &fa) && sl_tmpl_as_double(b, &fb)) {
        return ops_float(r, op, fa, fb, out);
    }
    if (op == OP_ADD && tmpl_is_str(a) && tmpl_is_str(b)) {
        return ops_add_str(r, a, b, out);
    }
    if (op == OP_ADD && ops_is_list(a) && a.kind == b.kind) {
        return ops_join_lists(r, a, b, out);
    }
    if (op == OP_MUL && (int_a || int_b)) {
        sl_value what = int_a ? b : a;
        int64_t times = int_a ? ia : ib;
        if (tmpl_is_str(what)) {
            return ops_repeat_str(r, what.u.str, times, out);
        }
        if (ops_is_list(what)) {
            return ops_repeat_list(r, what, times, out);
        }
    }
    static const char *const SIGNS[] = {"", "+", "-", "*", "/", "//", "%", "**"};
    return TMPL_FAIL(r, "%s %s %s is not possible", sl_tmpl_type_name(a), SIGNS[op],
                     sl_tmpl_type_name(b));
}

sl_status sl_tmpl_negate(tmpl_run *r, bool minus, sl_value a, sl_value *out) {
    int64_t i;
    if (a.kind == TMPL_UNDEFINED) {
        return sl_tmpl_fail_undefined(r, a);
    }
    if (a.kind == SL_VALUE_FLOAT) {
        *out = tmpl_float(minus ? -a.u.f : a.u.f);
        return SL_OK;
    }
    if (!sl_tmpl_as_int(a, &i)) {
        return TMPL_FAIL(r, "a value of type %s has no sign", sl_tmpl_type_name(a));
    }
    if (minus && __builtin_sub_overflow((int64_t)0, i, &i)) {
        return ops_overflow(r);
    }
    *out = tmpl_int(i);
    return SL_OK;
}

/* --- comparison
 * --------------------------------------------------------------------------------- */

static sl_status ops_too_deep(tmpl_run *r) {
    return sl_tmpl_fail_at(r, SL_ERR_LIMIT, __FILE__, __LINE__,
                           "values are nested too deeply to compare");
}

static sl_status equal_lists(tmpl_run *r, const tmpl_list *a, const tmpl_list *b, unsigned depth,
                             bool *out) {
    *out = a->n == b->n;
    for (size_t i = 0; *out && i < a->n; i++) {
        SL_TRY(sl_tmpl_equal(r, a->items[i], b->items[i], depth + 1, out));
    }
    return SL_OK;
}

static sl_status equal_maps(tmpl_run *r, const tmpl_map *a, const tmpl_map *b, unsigned depth,
                            bool *out) {
    *out = a->n == b->n;
    for (size_t i = 0; *out && i < a->n; i++) {
        const sl_value *other = sl_tmpl_map_find(b, a->entries[i].key);
        *out = other != NULL;
        if (*out) {
            SL_TRY(sl_tmpl_equal(r, a->entries[i].val, *other, depth + 1, out));
        }
    }
    return SL_OK;
}

static bool equal_ranges(const tmpl_range *a, const tmpl_range *b) {
    return a->n == b->n &&
           (a->n == 0 || (a->start == b->start && (a->n == 1 || a->step == b->step)));
}

/* Keys, and items, compare as sets; values() gives another object each time. */
static sl_status equal_views(tmpl_run *r, sl_value a, sl_value b, unsigned depth, bool *out) {
    if (a.which != b.which || a.which == 1) {
        *out = false;
        return SL_OK;
    }
    if (a.which == 2) {
        return equal_maps(r, a.u.map, b.u.map, depth, out);
    }
    *out = a.u.map->n == b.u.map->n;
    for (size_t i = 0; *out && i < a.u.map->n; i++) {
        SL_TRY(tmpl_burn(r, 0));
        *out = sl_tmpl_map_find(b.u.map, a.u.map->entries[i].key) != NULL;
    }
    return SL_OK;
}

sl_status sl_tmpl_equal(tmpl_run *r, sl_value a, sl_value b, unsigned depth, bool *out) {
    SL_TRY(tmpl_burn(r, tmpl_is_str(a) ? a.u.str->len : 0));
    if (depth > TMPL_VALUE_DEPTH_MAX) {
        return ops_too_deep(r);
    }
    double f;
    if (a.kind == SL_VALUE_NONE || tmpl_is_str(a) || sl_tmpl_as_double(a, &f)) {
        *out = b.kind <= SL_VALUE_STRING && sl_tmpl_key_eq(a, b);
        return SL_OK;
    }
    *out = false;
    if (a.kind != b.kind) {
        return SL_OK;
    }
    switch (a.kind) {
    case SL_VALUE_LIST:
    case TMPL_TUPLE:
        return equal_lists(r, a.u.list, b.u.list, depth, out);
    case SL_VALUE_OBJECT:
        return equal_maps(r, a.u.map, b.u.map, depth, out);
    case TMPL_UNDEFINED:
        *out = true;
        return SL_OK;
    case TMPL_RANGE:
        *out = equal_ranges(a.u.range, b.u.range);
        return SL_OK;
    case TMPL_VIEW:
        return equal_views(r, a, b, depth, out);
    default:
        *out = a.u.map == b.u.map;
        return SL_OK; /* the same object */
    }
}

static bool order_holds(tmpl_op op, int sign) {
    switch (op) {
    case OP_LT:
        return sign < 0;
    case OP_LE:
        return sign <= 0;
    case OP_GT:
        return sign > 0;
    default:
        return sign >= 0;
    }
}

static int order_bytes(const tmpl_str *a, const tmpl_str *b) {
    size_t n = a->len < b->len ? a->len : b->len;
    int sign = n == 0 ? 0 : memcmp(a->ptr, b->ptr, n); /* UTF-8 sorts as code points do */
    return sign != 0 ? sign : (a->len > b->len) - (a->len < b->len);
}

/* The first pair that differs decides; otherwise the lengths do. */
static sl_status order_lists(tmpl_run *r, tmpl_op op, const tmpl_list *a, const tmpl_list *b,
                             unsigned depth, bool *out) {
    for (size_t i = 0; i < a->n && i < b->n; i++) {
        bool same;
        SL_TRY(sl_tmpl_equal(r, a->items[i], b->items[i], depth + 1, &same));
        if (!same) {
            return sl_tmpl_order(r, op, a->items[i], b->items[i], depth + 1, out);
        }
    }
    *out = order_holds(op, (a->n > b->n) - (a->n < b->n));
    return SL_OK;
}

sl_status sl_tmpl_order(tmpl_run *r, tmpl_op op, sl_value a, sl_value b, unsigned depth,
                        bool *out) {
    int64_t ia, ib;
    double fa, fb;
    SL_TRY(tmpl_burn(r, tmpl_is_str(a) ? a.u.str->len : 0));
    if (depth > TMPL_VALUE_DEPTH_MAX) {
        return ops_too_deep(r);
    }
    if (a.kind == TMPL_UNDEFINED || b.kind == TMPL_UNDEFINED) {
        return sl_tmpl_fail_undefined(r, a.kind == TMPL_UNDEFINED ? a : b);
    }
    if (sl_tmpl_as_int(a, &ia) && sl_tmpl_as_int(b, &ib)) {
        *out = order_holds(op, (ia > ib) - (ia < ib));
        return SL_OK;
    }
    if (sl_tmpl_as_double(a, &fa) && sl_tmpl_as_double(b, &fb)) {
        *out = op == OP_LT ? fa < fb : op == OP_LE ? fa <= fb : op == OP_GT ? fa > fb : fa >= fb;
        return SL_OK;
    }
    if (tmpl_is_str(a) && tmpl_is_str(b)) {
        *out = order_holds(op, order_bytes(a.u.str, b.u.str));
        return SL_OK;
    }
    if (ops_is_list(a) && a.kind == b.kind) {
        return order_lists(r, op, a.u.list, b.u.list, depth, out);
    }
    return TMPL_FAIL(r, "values of the types %s and %s have no order", sl_tmpl_type_name(a),
                     sl_tmpl_type_name(b));
}

/* --- membership
 * --------------------------------------------------------------------------------- */

sl_status sl_tmpl_contains(tmpl_run *r, sl_value seq, sl_value item, bool *out) {
    *out = false;
    if (tmpl_is_str(seq)) {
        if (!tmpl_is_str(item)) {
            return TMPL_FAIL(r, "'in <str>' needs a string on its left, not %s",
                             sl_tmpl_type_name(item));
        }
        SL_TRY(tmpl_burn(r, seq.u.str->len));
        *out = sl_tmpl_str_find(seq.u.str, 0, seq.u.str->len, item.u.str) != SIZE_MAX;
        return SL_OK;
    }
    if (seq.kind == SL_VALUE_OBJECT || (seq.kind == TMPL_VIEW && seq.which == 0)) {
        SL_TRY(tmpl_burn(r, tmpl_is_str(item) ? item.u.str->len : 0));
        if (item.kind >= TMPL_STREAM && item.kind != TMPL_VIEW) {
            return SL_OK; /* could be a key in Python, but never is one here */
        }
        if (!sl_tmpl_hashable(item)) {
            return TMPL_FAIL(r, "a value of type %s cannot be a key", sl_tmpl_type_name(item));
        }
        *out = sl_tmpl_map_find(seq.u.map, item) != NULL;
        return SL_OK;
    }
    tmpl_iter it;
    SL_TRY(sl_tmpl_iter_begin(r, seq, &it));
    while (!*out) {
        sl_value v;
        bool more;
        SL_TRY(sl_tmpl_iter_next(r, &it, &v, &more));
        if (!more) {
            break;
        }
        SL_TRY(sl_tmpl_equal(r, v, item, 0, out));
    }
    return SL_OK;
}

sl_status sl_tmpl_compare(tmpl_run *r, tmpl_op op, sl_value a, sl_value b, bool *out) {
    switch (op) {
    case OP_EQ:
        return sl_tmpl_equal(r, a, b, 0, out);
    case OP_NE:
        SL_TRY(sl_tmpl_equal(r, a, b, 0, out));
        *out = !*out;
        return SL_OK;
    case OP_IN:
        return sl_tmpl_contains(r, b, a, out);
    case OP_NOT_IN:
        SL_TRY(sl_tmpl_contains(r, b, a, out));
        *out = !*out;
        return SL_OK;
    default:
        return sl_tmpl_order(r, op, a, b, 0, out);
    }
}
