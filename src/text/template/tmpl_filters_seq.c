/* Filters on sequences and objects. Those that the reference evaluates lazily are evaluated at once
 * here and give a stream, which can be walked only once, as a generator. What fails on the way
 * does so when the stream is walked that far: `map(...)|first` never sees the second item. */
#include <string.h>

#include "text/template/tmpl_text.h"

/* --- helpers
 * ------------------------------------------------------------------------------------ */

static sl_status seq_stream(tmpl_list *l, const char *label, sl_value *out) {
    l->label = label;
    *out = tmpl_list_value(TMPL_STREAM, l);
    return SL_OK;
}

/* Pushes the items of a lazy filter to l until it ends or fails. */
typedef sl_status (*seq_fill_fn)(tmpl_run *r, sl_value v, const tmpl_args *args, tmpl_list *l);

static sl_status seq_lazy(tmpl_run *r, sl_value v, const tmpl_args *args, seq_fill_fn fill,
                          const char *label, sl_value *out) {
    tmpl_list *l;
    uint32_t n_nested = r->n_nested;
    SL_TRY(sl_tmpl_list_make(r, 0, &l));
    sl_status status = fill(r, v, args, l);
    if (status == SL_ERR_FORMAT) { /* a limit is one at once */
        l->late = sl_arena_alloc_zero(&r->arena, 1, sizeof(*l->late));
        if (l->late == NULL) {
            return TMPL_FULL(r);
        }
        if (r->err != NULL) {
            *l->late = *r->err;
        }
        r->n_nested = n_nested;
        status = SL_OK;
    }
    SL_TRY(status);
    return seq_stream(l, label, out);
}

sl_status sl_tmpl_ignore_case(tmpl_run *r, sl_value v, sl_value *out) {
    *out = v;
    return tmpl_is_str(v) ? sl_tmpl_text_recase(r, v.u.str, RECASE_LOWER, out) : SL_OK;
}

static bool seq_number(sl_slice part, int64_t *out) {
    int64_t v = 0;
    if (part.len == 0 || part.len > 18) {
        return false;
    }
    for (size_t i = 0; i < part.len; i++) {
        if (part.ptr[i] < '0' || part.ptr[i] > '9') {
            return false;
        }
        v = v * 10 + (part.ptr[i] - '0');
    }
    *out = v;
    return true;
}

static sl_status seq_path(tmpl_run *r, sl_value v, const tmpl_str *path, size_t from, size_t end,
                          sl_value def, sl_value *out) {
    while (from <= end) {
        const char *dot = memchr(path->ptr + from, '.', end - from);
        size_t to = dot == NULL ? end : (size_t)(dot - path->ptr);
        int64_t number;
        sl_value key;
        if (seq_number((sl_slice){path->ptr + from, to - from}, &number)) {
            key = tmpl_int(number);
        } else {
            SL_TRY(sl_tmpl_str_sub(r, path, from, to - from, &key));
        }
        SL_TRY(sl_tmpl_get_item(r, v, key, &v));
        if (v.kind == TMPL_UNDEFINED && def.kind != TMPL_MISSING && def.kind != SL_VALUE_NONE) {
            v = def;
        }
        from = to + 1;
    }
    *out = v;
    return SL_OK;
}

static sl_status seq_get(tmpl_run *r, sl_value v, sl_value path, sl_value def, sl_value *out) {
    if (path.kind == TMPL_MISSING || path.kind == SL_VALUE_NONE) {
        *out = v;
        return SL_OK;
    }
    if (tmpl_is_str(path)) {
        return seq_path(r, v, path.u.str, 0, path.u.str->len, def, out);
    }
    SL_TRY(sl_tmpl_get_item(r, v, path, out));
    if (out->kind == TMPL_UNDEFINED && def.kind != TMPL_MISSING && def.kind != SL_VALUE_NONE) {
        *out = def;
    }
    return SL_OK;
}

sl_status sl_tmpl_get_path(tmpl_run *r, sl_value v, sl_value path, sl_value *out) {
    return seq_get(r, v, path, tmpl_missing(), out);
}

static sl_status seq_key(tmpl_run *r, sl_value v, sl_value path, bool case_sensitive,
                         sl_value *out) {
    SL_TRY(sl_tmpl_get_path(r, v, path, out));
    return case_sensitive ? SL_OK : sl_tmpl_ignore_case(r, *out, out);
}

/* --- sorting
 * ------------------------------------------------------------------------------------ */

/* Merges the sorted runs [lo, mid) and [mid, hi) of the index array. */
static sl_status sort_merge(tmpl_run *r, const sl_value *keys, const size_t *from, size_t *to,
                            size_t lo, size_t mid, size_t hi, bool reverse) {
    size_t a = lo, b = mid;
    for (size_t i = lo; i < hi; i++) {
        bool take_b = a == mid;
        if (a < mid && b < hi) {
            /* An item of the right run goes first only when it is strictly before: equal ones keep
             * their order, in reverse too. */
            SL_TRY(sl_tmpl_order(r, reverse ? OP_GT : OP_LT, keys[from[b]], keys[from[a]], 0,
                                 &take_b));
        }
        to[i] = take_b ? from[b++] : from[a++];
    }
    return SL_OK;
}

sl_status sl_tmpl_sort(tmpl_run *r, sl_value *items, sl_value *keys, size_t n, bool reverse) {
    size_t *from = sl_arena_alloc_zero(&r->arena, n + 1, sizeof(*from));
    size_t *to = sl_arena_alloc_zero(&r->arena, n + 1, sizeof(*to));
    sl_value *copy = sl_arena_alloc_zero(&r->arena, 2 * n + 1, sizeof(*copy));
    if (from == NULL || to == NULL || copy == NULL) {
        return TMPL_FULL(r);
    }
    for (size_t i = 0; i < n; i++) {
        from[i] = i;
        copy[i] = items[i];
        copy[n + i] = keys[i];
    }
    for (size_t width = 1; width < n; width *= 2) {
        for (size_t lo = 0; lo < n; lo += 2 * width) {
            size_t mid = lo + width < n ? lo + width : n,
                   hi = lo + 2 * width < n ? lo + 2 * width : n;
            SL_TRY(sort_merge(r, keys, from, to, lo, mid, hi, reverse));
        }
        size_t *swap = from;
        from = to;
        to = swap;
    }
    for (size_t i = 0; i < n; i++) {
        items[i] = copy[from[i]];
        keys[i] = copy[n + from[i]];
    }
    return SL_OK;
}

static sl_status seq_keys_of(tmpl_run *r, const tmpl_list *l, sl_value **out) {
    *out = sl_arena_alloc_zero(&r->arena, l->n + 1, sizeof(**out));
    return *out == NULL ? TMPL_FULL(r) : SL_OK;
}

/* A tuple of keys, one for each attribute of "a,b": equal ones need no order among them. */
static sl_status sort_key(tmpl_run *r, sl_value v, sl_value attribute, bool case_sensitive,
                          sl_value *out) {
    static const tmpl_str COMMA = {.ptr = ",", .len = 1, .n_chars = 1, .trusted = true};
    tmpl_list *paths;
    if (tmpl_is_str(attribute)) {
        SL_TRY(sl_tmpl_text_split(r, attribute.u.str, &COMMA, -1, false, &paths));
    } else {
        SL_TRY(sl_tmpl_list_make(r, 1, &paths));
        SL_TRY(sl_tmpl_list_push(r, paths, attribute));
    }
    for (size_t i = 0; i < paths->n; i++) {
        SL_TRY(seq_key(r, v, paths->items[i], case_sensitive, &paths->items[i]));
    }
    *out = tmpl_list_value(TMPL_TUPLE, paths);
    return SL_OK;
}

static sl_status filter_sort(tmpl_run *r, sl_value v, const tmpl_args *args, sl_value *out) {
    static const char *const NAMES[] = {"reverse", "case_sensitive", "attribute"};
    sl_value arg[3], *keys = NULL;
    int64_t reverse = 0;
    bool sensitive = false;
    tmpl_list *l;
    SL_TRY(sl_tmpl_bind(r, "sort", args, NAMES, 3, 0, arg));
    SL_TRY(sl_tmpl_arg_int(r, "sort's reverse", arg[0], &reverse));
    sl_tmpl_arg_bool(arg[1], &sensitive);
    SL_TRY(sl_tmpl_collect(r, v, &l));
    SL_TRY(seq_keys_of(r, l, &keys));
    for (size_t i = 0; i < l->n; i++) {
        SL_TRY(sort_key(r, l->items[i], arg[2], sensitive, &keys[i]));
    }
    SL_TRY(sl_tmpl_sort(r, l->items, keys, l->n, reverse != 0));
    *out = tmpl_list_value(SL_VALUE_LIST, l);
    return SL_OK;
}

static sl_status filter_dictsort(tmpl_run *r, sl_value v, const tmpl_args *args, sl_value *out) {
    static const char *const NAMES[] = {"case_sensitive", "by", "reverse"};
    sl_value arg[3], *keys = NULL;
    int64_t reverse = 0;
    bool sensitive = false;
    size_t by = 0;
    tmpl_list *l;
    SL_TRY(sl_tmpl_bind(r, "dictsort", args, NAMES, 3, 0, arg));
    sl_tmpl_arg_bool(arg[0], &sensitive);
    SL_TRY(sl_tmpl_arg_int(r, "dictsort's reverse", arg[2], &reverse));
    if (arg[1].kind != TMPL_MISSING) {
        const tmpl_str *word = NULL;
        SL_TRY(sl_tmpl_arg_str(r, "dictsort's by", arg[1], &word));
        by = sl_slice_eq_str(tmpl_slice(word), "value");
        if (by == 0 && !sl_slice_eq_str(tmpl_slice(word), "key")) {
            return TMPL_FAIL(r, "dictsort sorts by 'key' or by 'value'");
        }
    }
    if (v.kind != SL_VALUE_OBJECT) {
        return v.kind == TMPL_UNDEFINED
                   ? sl_tmpl_fail_undefined(r, v)
                   : TMPL_FAIL(r, "dictsort needs a mapping, not %s", sl_tmpl_type_name(v));
    }
    v.kind = TMPL_VIEW;
    v.which = 2;
    SL_TRY(sl_tmpl_collect(r, v, &l));
    SL_TRY(seq_keys_of(r, l, &keys));
    for (size_t i = 0; i < l->n; i++) {
        keys[i] = l->items[i].u.list->items[by];
        if (!sensitive) {
            SL_TRY(sl_tmpl_ignore_case(r, keys[i], &keys[i]));
        }
    }
    SL_TRY(sl_tmpl_sort(r, l->items, keys, l->n, reverse != 0));
    *out = tmpl_list_value(SL_VALUE_LIST, l);
    return SL_OK;
}

static sl_status filter_groupby(tmpl_run *r, sl_value v, const tmpl_args *args, sl_value *out) {
    static const char *const NAMES[] = {"attribute", "default", "case_sensitive"};
    sl_value arg[3], *keys = NULL;
    bool sensitive = false;
    tmpl_list *l, *groups, *group = NULL;
    SL_TRY(sl_tmpl_bind(r, "groupby", args, NAMES, 3, 1, arg));
    sl_tmpl_arg_bool(arg[2], &sensitive);
    SL_TRY(sl_tmpl_collect(r, v, &l));
    SL_TRY(seq_keys_of(r, l, &keys));
    for (size_t i = 0; i < l->n; i++) {
        SL_TRY(seq_get(r, l->items[i], arg[0], arg[1], &keys[i]));
        if (!sensitive) {
            SL_TRY(sl_tmpl_ignore_case(r, keys[i], &keys[i]));
        }
    }
    SL_TRY(sl_tmpl_sort(r, l->items, keys, l->n, false));
    SL_TRY(sl_tmpl_list_make(r, 0, &groups));
    for (size_t i = 0; i < l->n; i++) {
        bool same = i > 0;
        if (same) {
            SL_TRY(sl_tmpl_equal(r, keys[i - 1], keys[i], 0, &same));
        }
        if (!same) {
            sl_value key, pair;
            SL_TRY(seq_get(r, l->items[i], arg[0], arg[1], &key)); /* as it was written first */
            SL_TRY(sl_tmpl_list_make(r, 0, &group));
            SL_TRY(sl_tmpl_pair(r, key, tmpl_list_value(SL_VALUE_LIST, group), &pair));
            pair.u.list->group = true;
            SL_TRY(sl_tmpl_list_push(r, groups, pair));
        }
        SL_TRY(sl_tmpl_list_push(r, group, l->items[i]));
    }
    *out = tmpl_list_value(SL_VALUE_LIST, groups);
    return SL_OK;
}

static sl_status seq_extreme(tmpl_run *r, sl_value v, const tmpl_args *args, tmpl_op better,
                             sl_value *out) {
    static const char *const NAMES[] = {"case_sensitive", "attribute"};
    sl_value arg[2], best_key = tmpl_none();
    bool sensitive = false;
    tmpl_list *l;
    SL_TRY(sl_tmpl_bind(r, "min or max", args, NAMES, 2, 0, arg));
    sl_tmpl_arg_bool(arg[0], &sensitive);
    SL_TRY(sl_tmpl_collect(r, v, &l));
    if (l->n == 0) {
        return sl_tmpl_undefined_hint(
            r, "there is no smallest or largest item: the sequence is empty", out);
    }
    for (size_t i = 0; i < l->n; i++) {
        sl_value key;
        bool take = i == 0;
        SL_TRY(seq_key(r, l->items[i], arg[1], sensitive, &key));
        if (!take) {
            SL_TRY(sl_tmpl_order(r, better, key, best_key, 0, &take));
        }
        if (take) {
            best_key = key;
            *out = l->items[i];
        }
    }
    return SL_OK;
}

static sl_status filter_min(tmpl_run *r, sl_value v, const tmpl_args *args, sl_value *out) {
    return seq_extreme(r, v, args, OP_LT, out);
}
static sl_status filter_max(tmpl_run *r, sl_value v, const tmpl_args *args, sl_value *out) {
    return seq_extreme(r, v, args, OP_GT, out);
}

static sl_status fill_unique(tmpl_run *r, sl_value v, const tmpl_args *args, tmpl_list *kept) {
    static const char *const NAMES[] = {"case_sensitive", "attribute"};
    sl_value arg[2];
    bool sensitive = false;
    tmpl_iter it;
    tmpl_map *seen;
    SL_TRY(sl_tmpl_bind(r, "unique", args, NAMES, 2, 0, arg));
    sl_tmpl_arg_bool(arg[0], &sensitive);
    SL_TRY(sl_tmpl_map_make(r, &seen));
    SL_TRY(sl_tmpl_iter_begin(r, v, &it));
    for (;;) {
        sl_value item, key;
        bool more;
        SL_TRY(sl_tmpl_iter_next(r, &it, &item, &more));
        if (!more) {
            return SL_OK;
        }
        SL_TRY(seq_key(r, item, arg[1], sensitive, &key));
        size_t n = seen->n;
        SL_TRY(sl_tmpl_map_add(r, seen, key, tmpl_none()));
        if (seen->n > n) {
            SL_TRY(sl_tmpl_list_push(r, kept, item));
        }
    }
}

static sl_status filter_unique(tmpl_run *r, sl_value v, const tmpl_args *args, sl_value *out) {
    return seq_lazy(r, v, args, fill_unique, "unique", out);
}

/* --- taking and cutting
 * ------------------------------------------------------------------------- */

static sl_status filter_first(tmpl_run *r, sl_value v, const tmpl_args *args, sl_value *out) {
    tmpl_iter it;
    bool more;
    SL_TRY(sl_tmpl_bind(r, "first", args, NULL, 0, 0, NULL));
    SL_TRY(sl_tmpl_iter_begin(r, v, &it));
    SL_TRY(sl_tmpl_iter_next(r, &it, out, &more));
    return more ? SL_OK
                : sl_tmpl_undefined_hint(r, "there is no first item: the sequence is empty", out);
}

static sl_status filter_last(tmpl_run *r, sl_value v, const tmpl_args *args, sl_value *out) {
    int64_t n;
    tmpl_list *l;
    SL_TRY(sl_tmpl_bind(r, "last", args, NULL, 0, 0, NULL));
    if (!sl_tmpl_has_length(v) || v.kind == TMPL_LOOP) {
        return TMPL_FAIL(r, "a value of type %s cannot be reversed", sl_tmpl_type_name(v));
    }
    SL_TRY(sl_tmpl_length(r, v, &n));
    if (n == 0) {
        return sl_tmpl_undefined_hint(r, "there is no last item: the sequence is empty", out);
    }
    if (v.kind == SL_VALUE_OBJECT || v.kind == TMPL_VIEW) {
        SL_TRY(sl_tmpl_collect(r, v, &l));
        *out = l->items[n - 1];
        return SL_OK;
    }
    return sl_tmpl_get_item(r, v, tmpl_int(n - 1), out);
}

/* A prompt is to be the same each time it is rendered: the choice follows from the clock that the
 * template sees and from the work done so far. */
static sl_status filter_random(tmpl_run *r, sl_value v, const tmpl_args *args, sl_value *out) {
    int64_t n;
    SL_TRY(sl_tmpl_bind(r, "random", args, NULL, 0, 0, NULL));
    if (v.kind == SL_VALUE_OBJECT || v.kind == TMPL_VIEW || v.kind == TMPL_LOOP) {
        return TMPL_FAIL(r, "random needs a sequence, not %s", sl_tmpl_type_name(v));
    }
    SL_TRY(sl_tmpl_length(r, v, &n));
    if (n == 0) {
        return sl_tmpl_undefined_hint(r, "there is no random item: the sequence is empty", out);
    }
    uint64_t mixed = ((uint64_t)r->now_unix_s ^ r->fuel) * 0x9E3779B97F4A7C15u;
    return sl_tmpl_get_item(r, v, tmpl_int((int64_t)((mixed >> 32) % (uint64_t)n)), out);
}

static sl_status filter_length(tmpl_run *r, sl_value v, const tmpl_args *args, sl_value *out) {
    int64_t n;
    SL_TRY(sl_tmpl_bind(r, "length", args, NULL, 0, 0, NULL));
    SL_TRY(sl_tmpl_length(r, v, &n));
    *out = tmpl_int(n);
    return SL_OK;
}

static sl_status filter_list(tmpl_run *r, sl_value v, const tmpl_args *args, sl_value *out) {
    tmpl_list *l;
    SL_TRY(sl_tmpl_bind(r, "list", args, NULL, 0, 0, NULL));
    SL_TRY(sl_tmpl_collect(r, v, &l));
    *out = tmpl_list_value(SL_VALUE_LIST, l);
    return SL_OK;
}

static sl_status fill_items(tmpl_run *r, sl_value v, const tmpl_args *args, tmpl_list *out) {
    SL_TRY(sl_tmpl_bind(r, "items", args, NULL, 0, 0, NULL));
    if (v.kind != SL_VALUE_OBJECT && v.kind != TMPL_UNDEFINED) {
        return TMPL_FAIL(r, "items needs a mapping, not %s", sl_tmpl_type_name(v));
    }
    for (size_t i = 0; v.kind == SL_VALUE_OBJECT && i < v.u.map->n; i++) {
        sl_value pair;
        SL_TRY(sl_tmpl_pair(r, v.u.map->entries[i].key, v.u.map->entries[i].val, &pair));
        SL_TRY(sl_tmpl_list_push(r, out, pair));
    }
    return SL_OK;
}

static sl_status filter_items(tmpl_run *r, sl_value v, const tmpl_args *args, sl_value *out) {
    return seq_lazy(r, v, args, fill_items, "items", out);
}

static sl_status filter_reverse(tmpl_run *r, sl_value v, const tmpl_args *args, sl_value *out) {
    tmpl_list *l;
    SL_TRY(sl_tmpl_bind(r, "reverse", args, NULL, 0, 0, NULL));
    if (tmpl_is_str(v)) {
        return sl_tmpl_get_slice(r, v, tmpl_none(), tmpl_none(), tmpl_int(-1), out);
    }
    SL_TRY(sl_tmpl_collect(r, v, &l));
    for (size_t i = 0; i < l->n / 2; i++) {
        sl_value swap = l->items[i];
        l->items[i] = l->items[l->n - 1 - i];
        l->items[l->n - 1 - i] = swap;
    }
    if (v.kind == TMPL_STREAM) { /* what cannot be walked backwards becomes a list first */
        *out = tmpl_list_value(SL_VALUE_LIST, l);
        return SL_OK;
    }
    return seq_stream(l, "reversed", out);
}

static sl_status seq_count_arg(tmpl_run *r, const char *what, sl_value v, int64_t *out) {
    SL_TRY(sl_tmpl_arg_int(r, what, v, out));
    return *out > 0 ? SL_OK : TMPL_FAIL(r, "%s must be above 0", what);
}

static sl_status fill_batch(tmpl_run *r, sl_value v, const tmpl_args *args, tmpl_list *rows) {
    static const char *const NAMES[] = {"linecount", "fill_with"};
    sl_value arg[2];
    int64_t n = 0;
    tmpl_list *l, *row = NULL;
    SL_TRY(sl_tmpl_bind(r, "batch", args, NAMES, 2, 1, arg));
    SL_TRY(seq_count_arg(r, "batch's linecount", arg[0], &n));
    SL_TRY(sl_tmpl_collect(r, v, &l));
    for (size_t i = 0; i < l->n; i++) {
        if (row == NULL || (int64_t)row->n == n) {
            SL_TRY(sl_tmpl_list_make(r, 0, &row));
            SL_TRY(sl_tmpl_list_push(r, rows, tmpl_list_value(SL_VALUE_LIST, row)));
        }
        SL_TRY(sl_tmpl_list_push(r, row, l->items[i]));
    }
    bool fill = row != NULL && arg[1].kind != TMPL_MISSING && arg[1].kind != SL_VALUE_NONE;
    while (fill && (int64_t)row->n < n) {
        SL_TRY(sl_tmpl_list_push(r, row, arg[1]));
    }
    return SL_OK;
}

static sl_status filter_batch(tmpl_run *r, sl_value v, const tmpl_args *args, sl_value *out) {
    return seq_lazy(r, v, args, fill_batch, "batch", out);
}

static sl_status fill_slice(tmpl_run *r, sl_value v, const tmpl_args *args, tmpl_list *parts) {
    static const char *const NAMES[] = {"slices", "fill_with"};
    sl_value arg[2];
    int64_t n = 0;
    tmpl_list *l, *part;
    SL_TRY(sl_tmpl_bind(r, "slice", args, NAMES, 2, 1, arg));
    SL_TRY(seq_count_arg(r, "slice's number of slices", arg[0], &n));
    SL_TRY(sl_tmpl_collect(r, v, &l));
    int64_t each = (int64_t)l->n / n, extra = (int64_t)l->n % n;
    size_t at = 0;
    for (int64_t i = 0; i < n; i++) {
        SL_TRY(sl_tmpl_list_make(r, 0, &part));
        for (int64_t k = each + (i < extra); k > 0; k--) {
            SL_TRY(sl_tmpl_list_push(r, part, l->items[at++]));
        }
        if (arg[1].kind != TMPL_MISSING && arg[1].kind != SL_VALUE_NONE && i >= extra) {
            SL_TRY(sl_tmpl_list_push(r, part, arg[1]));
        }
        SL_TRY(sl_tmpl_list_push(r, parts, tmpl_list_value(SL_VALUE_LIST, part)));
    }
    return SL_OK;
}

static sl_status filter_slice(tmpl_run *r, sl_value v, const tmpl_args *args, sl_value *out) {
    return seq_lazy(r, v, args, fill_slice, "slice", out);
}

static sl_status filter_join(tmpl_run *r, sl_value v, const tmpl_args *args, sl_value *out) {
    static const char *const NAMES[] = {"d", "attribute"};
    sl_value arg[2];
    const tmpl_str *sep;
    SL_TRY(sl_tmpl_bind(r, "join", args, NAMES, 2, 0, arg));
    if (arg[0].kind == TMPL_MISSING) {
        SL_TRY(sl_tmpl_str_static(r, "", &arg[0]));
    }
    SL_TRY(sl_tmpl_to_str(r, arg[0], &sep));
    if (arg[1].kind != TMPL_MISSING && arg[1].kind != SL_VALUE_NONE) {
        tmpl_list *l;
        SL_TRY(sl_tmpl_collect(r, v, &l));
        for (size_t i = 0; i < l->n; i++) {
            SL_TRY(sl_tmpl_get_path(r, l->items[i], arg[1], &l->items[i]));
        }
        v = tmpl_list_value(SL_VALUE_LIST, l);
    }
    return sl_tmpl_text_join(r, sep, v, true, out);
}

static sl_status filter_sum(tmpl_run *r, sl_value v, const tmpl_args *args, sl_value *out) {
    static const char *const NAMES[] = {"attribute", "start"};
    sl_value arg[2], total;
    tmpl_list *l;
    SL_TRY(sl_tmpl_bind(r, "sum", args, NAMES, 2, 0, arg));
    total = arg[1].kind == TMPL_MISSING ? tmpl_int(0) : arg[1];
    if (tmpl_is_str(total)) {
        return TMPL_FAIL(r, "sum cannot add up strings; use join");
    }
    SL_TRY(sl_tmpl_collect(r, v, &l));
    for (size_t i = 0; i < l->n; i++) {
        sl_value item;
        SL_TRY(sl_tmpl_get_path(r, l->items[i], arg[0], &item));
        SL_TRY(sl_tmpl_arith(r, OP_ADD, total, item, &total));
    }
    *out = total;
    return SL_OK;
}

/* --- map and select
 * ----------------------------------------------------------------------------- */

static const sl_value *seq_named(const tmpl_args *args, const char *name) {
    for (uint32_t i = 0; i < args->n_kw; i++) {
        if (sl_slice_eq_str(tmpl_slice(args->kw[i].name), name)) {
            return &args->kw[i].val;
        }
    }
    return NULL;
}

/* What map does to each item: takes an attribute (path given), or applies a filter. */
typedef struct seq_mapping {
    const sl_value *path;
    sl_value def;
    const tmpl_str *name;
    uint16_t index;
    tmpl_args rest;
} seq_mapping;

static sl_status map_prepare(tmpl_run *r, const tmpl_args *args, seq_mapping *m) {
    *m = (seq_mapping){.def = tmpl_missing(), .rest = *args};
    m->path = args->n_pos == 0 ? seq_named(args, "attribute") : NULL;
    if (m->path != NULL) {
        const sl_value *def = seq_named(args, "default");
        if (args->n_kw > (def == NULL ? 1u : 2u)) {
            return TMPL_FAIL(r, "map with attribute takes only default besides");
        }
        m->def = def == NULL ? m->def : *def;
        return SL_OK;
    }
    if (args->n_pos == 0 || !tmpl_is_str(args->pos[0])) {
        return TMPL_FAIL(r, "map needs the name of a filter, or attribute=");
    }
    m->name = args->pos[0].u.str;
    m->index = sl_tmpl_filter_index(tmpl_slice(m->name));
    m->rest.pos++;
    m->rest.n_pos--;
    return SL_OK;
}

static sl_status fill_map(tmpl_run *r, sl_value v, const tmpl_args *args, tmpl_list *l) {
    seq_mapping m;
    tmpl_iter it;
    if (!sl_tmpl_truth(v)) { /* nothing is looked at, not even the arguments */
        return SL_OK;
    }
    SL_TRY(map_prepare(r, args, &m));
    SL_TRY(sl_tmpl_iter_begin(r, v, &it));
    for (;;) {
        sl_value item;
        bool more;
        SL_TRY(sl_tmpl_iter_next(r, &it, &item, &more));
        if (!more) {
            return SL_OK;
        }
        SL_TRY(m.path != NULL ? seq_get(r, item, *m.path, m.def, &item)
                              : sl_tmpl_filter(r, m.index, m.name, item, &m.rest, &item));
        SL_TRY(sl_tmpl_list_push(r, l, item));
    }
}

static sl_status filter_map(tmpl_run *r, sl_value v, const tmpl_args *args, sl_value *out) {
    return seq_lazy(r, v, args, fill_map, "map", out);
}

static sl_status seq_select(tmpl_run *r, sl_value v, const tmpl_args *args, bool by_attribute,
                            bool wanted, tmpl_list *kept) {
    const tmpl_str *name = NULL;
    tmpl_args rest = *args;
    sl_value path = tmpl_missing();
    uint16_t index = TMPL_UNKNOWN;
    tmpl_iter it;
    if (!sl_tmpl_truth(v)) {
        return SL_OK;
    }
    if (by_attribute) {
        if (rest.n_pos == 0) {
            return TMPL_FAIL(r, "selectattr and rejectattr need the name of an attribute");
        }
        path = *rest.pos++;
        rest.n_pos--;
    }
    if (rest.n_pos > 0) {
        SL_TRY(sl_tmpl_arg_str(r, "the name of a test", *rest.pos, &name));
        index = sl_tmpl_test_index(tmpl_slice(name));
        rest.pos++;
        rest.n_pos--;
    }
    SL_TRY(sl_tmpl_iter_begin(r, v, &it));
    for (;;) {
        sl_value item, looked_at;
        bool holds, more;
        SL_TRY(sl_tmpl_iter_next(r, &it, &item, &more));
        if (!more) {
            return SL_OK;
        }
        SL_TRY(sl_tmpl_get_path(r, item, path, &looked_at));
        holds = sl_tmpl_truth(looked_at);
        if (name != NULL) {
            SL_TRY(sl_tmpl_test(r, index, name, looked_at, &rest, &holds));
        }
        if (holds == wanted) {
            SL_TRY(sl_tmpl_list_push(r, kept, item));
        }
    }
}

static sl_status fill_select(tmpl_run *r, sl_value v, const tmpl_args *args, tmpl_list *l) {
    return seq_select(r, v, args, false, true, l);
}
static sl_status filter_select(tmpl_run *r, sl_value v, const tmpl_args *args, sl_value *out) {
    return seq_lazy(r, v, args, fill_select, "select", out);
}
static sl_status fill_reject(tmpl_run *r, sl_value v, const tmpl_args *args, tmpl_list *l) {
    return seq_select(r, v, args, false, false, l);
}
static sl_status filter_reject(tmpl_run *r, sl_value v, const tmpl_args *args, sl_value *out) {
    return seq_lazy(r, v, args, fill_reject, "select", out);
}
static sl_status fill_selectattr(tmpl_run *r, sl_value v, const tmpl_args *args, tmpl_list *l) {
    return seq_select(r, v, args, true, true, l);
}
static sl_status filter_selectattr(tmpl_run *r, sl_value v, const tmpl_args *args, sl_value *out) {
    return seq_lazy(r, v, args, fill_selectattr, "select", out);
}
static sl_status fill_rejectattr(tmpl_run *r, sl_value v, const tmpl_args *args, tmpl_list *l) {
    return seq_select(r, v, args, true, false, l);
}
static sl_status filter_rejectattr(tmpl_run *r, sl_value v, const tmpl_args *args, sl_value *out) {
    return seq_lazy(r, v, args, fill_rejectattr, "select", out);
}

const tmpl_filter_def sl_tmpl_seq_filters[] = {
    {"batch", filter_batch},
    {"count", filter_length},
    {"dictsort", filter_dictsort},
    {"first", filter_first},
    {"groupby", filter_groupby},
    {"items", filter_items},
    {"join", filter_join},
    {"last", filter_last},
    {"length", filter_length},
    {"list", filter_list},
    {"map", filter_map},
    {"max", filter_max},
    {"min", filter_min},
    {"random", filter_random},
    {"reject", filter_reject},
    {"rejectattr", filter_rejectattr},
    {"reverse", filter_reverse},
    {"select", filter_select},
    {"selectattr", filter_selectattr},
    {"slice", filter_slice},
    {"sort", filter_sort},
    {"sum", filter_sum},
    {"unique", filter_unique},
    {NULL, NULL},
};
