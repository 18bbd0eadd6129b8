/* Attributes, items, slices, lengths and iteration, as Python's objects offer them inside the
 * immutable sandbox: what would change a list or an object, and every name that begins with an
 * underscore, is undefined.
 */
#include <string.h>

#include "text/template/tmpl_exec.h"

/* --- making lists, pairs, objects
 * --------------------------------------------------------------- */

sl_status sl_tmpl_list_make(tmpl_run *r, size_t cap, tmpl_list **out) {
    *out = sl_tmpl_list_new(&r->arena, cap);
    return *out == NULL ? TMPL_FULL(r) : SL_OK;
}

sl_status sl_tmpl_list_push(tmpl_run *r, tmpl_list *l, sl_value v) {
    SL_TRY(tmpl_burn(r, 0));
    return sl_tmpl_list_add(&r->arena, l, v) ? SL_OK : TMPL_FULL(r);
}

sl_status sl_tmpl_pair(tmpl_run *r, sl_value a, sl_value b, sl_value *out) {
    tmpl_list *l;
    SL_TRY(sl_tmpl_list_make(r, 2, &l));
    l->items[0] = a;
    l->items[1] = b;
    l->n = 2;
    *out = tmpl_list_value(TMPL_TUPLE, l);
    return SL_OK;
}

sl_status sl_tmpl_map_make(tmpl_run *r, tmpl_map **out) {
    *out = sl_tmpl_map_new(&r->arena);
    return *out == NULL ? TMPL_FULL(r) : SL_OK;
}

sl_status sl_tmpl_map_add(tmpl_run *r, tmpl_map *m, sl_value key, sl_value val) {
    SL_TRY(tmpl_burn(r, tmpl_is_str(key) ? key.u.str->len : 0));
    if (!sl_tmpl_hashable(key)) {
        return TMPL_FAIL(r, "a value of type %s cannot be a key", sl_tmpl_type_name(key));
    }
    return sl_tmpl_map_put(&r->arena, m, key, val) ? SL_OK : TMPL_FULL(r);
}

sl_status sl_tmpl_namespace_put(tmpl_run *r, tmpl_map *m, sl_value name, sl_value val) {
    if (tmpl_is_str(name) && name.u.str->len > 0 && name.u.str->ptr[0] == '_') {
        return TMPL_FAIL(r, "a namespace cannot have the attribute '%.*s': it begins with _",
                         (int)(name.u.str->len > 80 ? 80 : name.u.str->len), name.u.str->ptr);
    }
    return sl_tmpl_map_add(r, m, name, val);
}

/* --- undefined
 * ---------------------------------------------------------------------------------- */

static sl_status access_undef(tmpl_run *r, tmpl_undef u, sl_value *out) {
    tmpl_undef *p = sl_arena_alloc(&r->arena, sizeof(*p));
    if (p == NULL) {
        return TMPL_FULL(r);
    }
    *p = u;
    *out = (sl_value){.kind = TMPL_UNDEFINED, .u.undef = p};
    return SL_OK;
}

sl_status sl_tmpl_undefined(tmpl_run *r, const tmpl_str *name, const char *type_name,
                            sl_value *out) {
    return access_undef(r, (tmpl_undef){.name = name, .type_name = type_name}, out);
}

sl_status sl_tmpl_undefined_hint(tmpl_run *r, const char *hint, sl_value *out) {
    return access_undef(r, (tmpl_undef){.hint = hint}, out);
}

sl_status sl_tmpl_fail_undefined(tmpl_run *r, sl_value v) {
    const tmpl_undef *u = v.u.undef;
    int len = u->name == NULL ? 0 : (int)(u->name->len > 80 ? 80 : u->name->len);
    const char *name = u->name == NULL ? "" : u->name->ptr;
    if (u->hint != NULL) {
        return TMPL_FAIL(r, "%s", u->hint);
    }
    if (u->type_name == NULL) {
        return TMPL_FAIL(r, "'%.*s' is undefined", len, name);
    }
    return TMPL_FAIL(r, "%s has no attribute or item '%.*s'", u->type_name, len, name);
}

const char *sl_tmpl_type_name(sl_value v) {
    static const char *const NAMES[] = {
        "NoneType", "bool",      "int",      "float",       "str",       "list",  "dict",
        "missing",  "Undefined", "tuple",    "generator",   "dict view", "range", "Namespace",
        "Macro",    "method",    "function", "LoopContext", "Cycler",    "Joiner"};
    return v.kind < sizeof(NAMES) / sizeof(NAMES[0]) ? NAMES[v.kind] : "value";
}

/* --- attributes and items
 * ----------------------------------------------------------------------- */

const tmpl_method_def *sl_tmpl_find_method(const tmpl_method_def *defs, sl_slice name) {
    for (; defs->name != NULL; defs++) {
        if (sl_slice_eq_str(name, defs->name)) {
            return defs;
        }
    }
    return NULL;
}

static sl_status access_bind(tmpl_run *r, sl_value self, const tmpl_method_def *def,
                             sl_value *out) {
    tmpl_method *m = sl_arena_alloc(&r->arena, sizeof(*m));
    if (m == NULL) {
        return TMPL_FULL(r);
    }
    *m = (tmpl_method){.self = self, .def = def};
    *out = (sl_value){.kind = TMPL_METHOD, .u.method = m};
    return SL_OK;
}

static bool access_one_of(sl_slice name, const char *const *words) {
    for (; *words != NULL; words++) {
        if (sl_slice_eq_str(name, *words)) {
            return true;
        }
    }
    return false;
}

/* Would change an object: refused even though an item of that name may exist. */
static bool access_is_mutator(sl_value v, sl_slice name) {
    static const char *const DICT[] = {"clear", "pop", "popitem", "setdefault", "update", NULL};
    static const char *const LIST[] = {"append", "clear",  "pop",    "reverse", "insert",
                                       "sort",   "extend", "remove", NULL};
    return v.kind == SL_VALUE_OBJECT ? access_one_of(name, DICT)
                                     : v.kind == SL_VALUE_LIST && access_one_of(name, LIST);
}

static sl_status cycler_next(tmpl_run *r, sl_value self, const tmpl_args *args, sl_value *out) {
    tmpl_cycler *c = self.u.cycler;
    (void)r;
    (void)args;
    *out = c->items->items[c->pos];
    c->pos = (c->pos + 1) % c->items->n;
    return SL_OK;
}

static sl_status cycler_reset(tmpl_run *r, sl_value self, const tmpl_args *args, sl_value *out) {
    (void)r;
    (void)args;
    self.u.cycler->pos = 0;
    *out = tmpl_none();
    return SL_OK;
}

static const tmpl_method_def CYCLER_METHODS[] = {
    {"next", cycler_next}, {"reset", cycler_reset}, {NULL, NULL}};

static sl_status access_macro(tmpl_run *r, const tmpl_macro_def *def, sl_slice name,
                              sl_value *out) {
    if (sl_slice_eq_str(name, "name")) {
        *out = def->name == NULL ? tmpl_none() : tmpl_str_value(def->name);
    } else if (sl_slice_eq_str(name, "catch_kwargs")) {
        *out = tmpl_bool(def->uses_kwargs);
    } else if (sl_slice_eq_str(name, "catch_varargs")) {
        *out = tmpl_bool(def->uses_varargs);
    } else if (sl_slice_eq_str(name, "caller")) {
        *out = tmpl_bool(def->uses_caller);
    } else if (sl_slice_eq_str(name, "arguments")) {
        tmpl_list *l;
        SL_TRY(sl_tmpl_list_make(r, def->n_params, &l));
        for (uint32_t i = 0; i < def->n_params; i++) {
            SL_TRY(sl_tmpl_list_push(r, l, tmpl_str_value(def->params[i].text)));
        }
        *out = tmpl_list_value(TMPL_TUPLE, l);
    }
    return SL_OK;
}

static void access_range(const tmpl_range *range, sl_slice name, sl_value *out) {
    if (sl_slice_eq_str(name, "start")) {
        *out = tmpl_int(range->start);
    } else if (sl_slice_eq_str(name, "stop")) {
        *out = tmpl_int(range->stop);
    } else if (sl_slice_eq_str(name, "step")) {
        *out = tmpl_int(range->step);
    }
}

/* An attribute in Python's sense; *out stays TMPL_MISSING when there is none. */
static sl_status access_own(tmpl_run *r, sl_value v, const tmpl_str *name, sl_value *out) {
    sl_slice n = tmpl_slice(name);
    const tmpl_method_def *def = NULL;
    *out = tmpl_missing();
    switch (v.kind) {
    case SL_VALUE_STRING:
        def = sl_tmpl_find_method(sl_tmpl_str_methods, n);
        break;
    case SL_VALUE_OBJECT:
        def = sl_tmpl_find_method(sl_tmpl_dict_methods, n);
        break;
    case TMPL_TUPLE:
        if (v.u.list->group && (sl_slice_eq_str(n, "grouper") || sl_slice_eq_str(n, "list"))) {
            *out = v.u.list->items[n.len == 7 ? 0 : 1];
            return SL_OK;
        }
        def = sl_slice_eq_str(n, "copy") ? NULL : sl_tmpl_find_method(sl_tmpl_list_methods, n);
        break;
    case SL_VALUE_LIST:
        def = sl_tmpl_find_method(sl_tmpl_list_methods, n);
        break;
    case TMPL_LOOP:
        return sl_tmpl_loop_attr(r, v.u.loop, name, out);
    case TMPL_MACRO:
        return access_macro(r, v.u.macro->def, n, out);
    case TMPL_RANGE:
        access_range(v.u.range, n, out);
        def = out->kind != TMPL_MISSING ? NULL : sl_tmpl_find_method(sl_tmpl_range_methods, n);
        break;
    case SL_VALUE_FLOAT:
        def = sl_tmpl_find_method(sl_tmpl_float_methods, n);
        break;
    case TMPL_NAMESPACE: {
        const sl_value *found = sl_tmpl_map_find(v.u.map, tmpl_str_value(name));
        *out = found == NULL ? tmpl_missing() : *found;
        return SL_OK;
    }
    case TMPL_CYCLER:
        if (sl_slice_eq_str(n, "current")) {
            *out = v.u.cycler->items->items[v.u.cycler->pos];
            return SL_OK;
        }
        def = sl_tmpl_find_method(CYCLER_METHODS, n);
        break;
    default:
        break;
    }
    return def == NULL ? SL_OK : access_bind(r, v, def, out);
}

sl_status sl_tmpl_get_attr(tmpl_run *r, sl_value v, const tmpl_str *name, sl_value *out) {
    if (v.kind == TMPL_UNDEFINED) {
        return sl_tmpl_fail_undefined(r, v);
    }
    if (access_is_mutator(v, tmpl_slice(name))) {
        return sl_tmpl_undefined_hint(r, "a template must not change lists and objects", out);
    }
    SL_TRY(access_own(r, v, name, out));
    if (out->kind != TMPL_MISSING) {
        return SL_OK;
    }
    const sl_value *item = v.kind == SL_VALUE_OBJECT
                               ? sl_tmpl_map_find(v.u.map, tmpl_str_value(name))
                               : NULL;
    if (item != NULL) {
        *out = *item;
        return SL_OK;
    }
    return sl_tmpl_undefined(r, name, sl_tmpl_type_name(v), out);
}

static int64_t access_range_at(const tmpl_range *range, uint64_t i) {
    return (int64_t)((uint64_t)range->start + i * (uint64_t)range->step);
}

static sl_status access_char(tmpl_run *r, const tmpl_str *s, size_t i, sl_value *out) {
    SL_TRY(tmpl_burn(r, s->n_chars == s->len ? 0 : i));
    size_t from = sl_tmpl_str_offset(s, i);
    size_t end = from + 1;
    while (end < s->len && ((unsigned char)s->ptr[end] & 0xC0) == 0x80) {
        end++;
    }
    return sl_tmpl_str_sub(r, s, from, end - from, out);
}

/* Element i of a sequence (not negative, below its length). */
static sl_status access_element(tmpl_run *r, sl_value v, uint64_t i, sl_value *out) {
    switch (v.kind) {
    case SL_VALUE_STRING:
        return access_char(r, v.u.str, (size_t)i, out);
    case TMPL_RANGE:
        *out = tmpl_int(access_range_at(v.u.range, i));
        return SL_OK;
    default:
        *out = v.u.list->items[i];
        return SL_OK;
    }
}

static bool access_is_sequence(sl_value v) {
    return v.kind == SL_VALUE_STRING || v.kind == SL_VALUE_LIST || v.kind == TMPL_TUPLE ||
           v.kind == TMPL_RANGE;
}

sl_status sl_tmpl_get_item(tmpl_run *r, sl_value v, sl_value key, sl_value *out) {
    int64_t i, n;
    if (v.kind == TMPL_UNDEFINED) {
        return sl_tmpl_fail_undefined(r, v);
    }
    SL_TRY(tmpl_burn(r, tmpl_is_str(key) ? key.u.str->len : 0));
    if (v.kind == SL_VALUE_OBJECT && sl_tmpl_hashable(key)) {
        const sl_value *item = sl_tmpl_map_find(v.u.map, key);
        if (item != NULL) {
            *out = *item;
            return SL_OK;
        }
    } else if (access_is_sequence(v) && sl_tmpl_as_int(key, &i)) {
        SL_TRY(sl_tmpl_length(r, v, &n));
        i = i < 0 ? i + n : i;
        if (i >= 0 && i < n) {
            return access_element(r, v, (uint64_t)i, out);
        }
        return sl_tmpl_undefined_hint(r, "a sequence has no item at this index", out);
    }
    if (!tmpl_is_str(key)) {
        return sl_tmpl_undefined_hint(r, "there is no item of this key", out);
    }
    if (!access_is_mutator(v, tmpl_slice(key.u.str))) {
        SL_TRY(access_own(r, v, key.u.str, out));
        if (out->kind != TMPL_MISSING) {
            return SL_OK;
        }
    }
    return sl_tmpl_undefined(r, key.u.str, sl_tmpl_type_name(v), out);
}

/* --- slices
 * ------------------------------------------------------------------------------------- */

static sl_status slice_index(tmpl_run *r, sl_value v, int64_t def, int64_t *out) {
    *out = def;
    if (v.kind == SL_VALUE_NONE) {
        return SL_OK;
    }
    return sl_tmpl_as_int(v, out) ? SL_OK
                                  : TMPL_FAIL(r, "slice indices must be integers or none, not %s",
                                              sl_tmpl_type_name(v));
}

/* A bound of a slice brought into [low, high], counted from the end when negative. */
static int64_t slice_clamp(int64_t i, int64_t n, int64_t low, int64_t high) {
    i = i < 0 ? i + n : i;
    return i < low ? low : i > high ? high : i;
}

static sl_status slice_string(tmpl_run *r, const tmpl_str *s, int64_t from, int64_t count,
                              int64_t step, sl_value *out) {
    SL_TRY(tmpl_burn(r, s->len));
    if (step == 1) {
        size_t begin = sl_tmpl_str_offset(s, (size_t)from);
        size_t end = sl_tmpl_str_offset(s, (size_t)(from + count));
        return sl_tmpl_str_sub(r, s, begin, end - begin, out);
    }
    /* Offsets of all characters, so that any step costs the same. */
    size_t *at = sl_arena_alloc_zero(&r->arena, s->n_chars + 1, sizeof(*at));
    if (at == NULL) {
        return TMPL_FULL(r);
    }
    for (size_t i = 0, n = 0; i < s->len; i++) {
        if (((unsigned char)s->ptr[i] & 0xC0) != 0x80) {
            at[n++] = i;
        }
    }
    at[s->n_chars] = s->len;
    tmpl_builder b;
    SL_TRY(sl_tmpl_build_begin(r, &b));
    for (int64_t k = 0; k < count; k++) {
        size_t i = (size_t)(from + k * step);
        SL_TRY(sl_tmpl_build_part(r, &b, s, at[i], at[i + 1] - at[i]));
    }
    return sl_tmpl_build_end(r, &b, out);
}

static sl_status slice_list(tmpl_run *r, sl_value v, int64_t from, int64_t count, int64_t step,
                            sl_value *out) {
    tmpl_list *l;
    SL_TRY(tmpl_burn(r, (size_t)count * 8));
    SL_TRY(sl_tmpl_list_make(r, (size_t)count, &l));
    for (int64_t k = 0; k < count; k++) {
        l->items[l->n++] = v.u.list->items[from + k * step];
    }
    *out = tmpl_list_value(v.kind, l);
    return SL_OK;
}

static sl_status slice_range(tmpl_run *r, const tmpl_range *range, int64_t from, int64_t count,
                             int64_t step, sl_value *out) {
    tmpl_range *sub = sl_arena_alloc(&r->arena, sizeof(*sub));
    if (sub == NULL) {
        return TMPL_FULL(r);
    }
    /* Ranges have at most 100,000 items of 64 bits: wrap-around is harmless, as only items are
     * shown. */
    uint64_t wide = (uint64_t)range->step * (uint64_t)step;
    *sub = (tmpl_range){.start = access_range_at(range, (uint64_t)from),
                        .step = (int64_t)wide,
                        .n = (uint64_t)count};
    sub->stop = access_range_at(sub, sub->n);
    *out = (sl_value){.kind = TMPL_RANGE, .u.range = sub};
    return SL_OK;
}

sl_status sl_tmpl_get_slice(tmpl_run *r, sl_value v, sl_value start, sl_value stop, sl_value step,
                            sl_value *out) {
    int64_t n, from, to, by;
    if (v.kind == TMPL_UNDEFINED) {
        return sl_tmpl_fail_undefined(r, v);
    }
    if (!access_is_sequence(v)) {
        return TMPL_FAIL(r, "a value of type %s cannot be sliced", sl_tmpl_type_name(v));
    }
    SL_TRY(sl_tmpl_length(r, v, &n));
    SL_TRY(slice_index(r, step, 1, &by));
    if (by == 0) {
        return TMPL_FAIL(r, "the step of a slice must not be 0");
    }
    by = by < -n - 1 ? -n - 1 : by > n + 1 ? n + 1 : by; /* beyond that all steps are alike */
    SL_TRY(slice_index(r, start, by > 0 ? 0 : n - 1, &from));
    SL_TRY(slice_index(r, stop, by > 0 ? n : -1, &to));
    int64_t low = by > 0 ? 0 : -1, high = by > 0 ? n : n - 1;
    from = start.kind == SL_VALUE_NONE ? from : slice_clamp(from, n, low, high);
    to = stop.kind == SL_VALUE_NONE ? to : slice_clamp(to, n, low, high);
    int64_t count = by > 0 ? (to - from + by - 1) / by : (from - to - by - 1) / -by;
    count = (by > 0 && to <= from) || (by < 0 && to >= from) ? 0 : count;
    if (count == 0) {
        from = 0;
    }
    switch (v.kind) {
    case SL_VALUE_STRING:
        return slice_string(r, v.u.str, from, count, by, out);
    case TMPL_RANGE:
        return slice_range(r, v.u.range, from, count, by, out);
    default:
        return slice_list(r, v, from, count, by, out);
    }
}

/* --- length and iteration
 * ----------------------------------------------------------------------- */

bool sl_tmpl_has_length(sl_value v) {
    return access_is_sequence(v) || v.kind == SL_VALUE_OBJECT || v.kind == TMPL_VIEW ||
           v.kind == TMPL_UNDEFINED || v.kind == TMPL_LOOP;
}

sl_status sl_tmpl_length(tmpl_run *r, sl_value v, int64_t *out) {
    switch (v.kind) {
    case SL_VALUE_STRING:
        *out = (int64_t)v.u.str->n_chars;
        return SL_OK;
    case SL_VALUE_LIST:
    case TMPL_TUPLE:
        *out = (int64_t)v.u.list->n;
        return SL_OK;
    case SL_VALUE_OBJECT:
    case TMPL_VIEW:
        *out = (int64_t)v.u.map->n;
        return SL_OK;
    case TMPL_RANGE:
        *out = (int64_t)v.u.range->n;
        return SL_OK;
    case TMPL_UNDEFINED:
        *out = 0;
        return SL_OK;
    case TMPL_LOOP:
        return sl_tmpl_loop_length(r, v.u.loop, out);
    default:
        return TMPL_FAIL(r, "a value of type %s has no length", sl_tmpl_type_name(v));
    }
}

bool sl_tmpl_iterable(sl_value v) {
    return (sl_tmpl_has_length(v) && v.kind != TMPL_LOOP) || v.kind == TMPL_STREAM;
}

sl_status sl_tmpl_iter_begin(tmpl_run *r, sl_value v, tmpl_iter *out) {
    if (!sl_tmpl_iterable(v)) {
        return TMPL_FAIL(r, "a value of type %s cannot be iterated over", sl_tmpl_type_name(v));
    }
    *out = (tmpl_iter){.src = v};
    return SL_OK;
}

static sl_status iter_map(tmpl_run *r, tmpl_iter *it, sl_value *out) {
    const tmpl_entry *e = &it->src.u.map->entries[it->pos++];
    if (it->src.kind == TMPL_VIEW && it->src.which == 2) {
        return sl_tmpl_pair(r, e->key, e->val, out);
    }
    *out = it->src.kind == TMPL_VIEW && it->src.which == 1 ? e->val : e->key;
    return SL_OK;
}

static sl_status iter_char(tmpl_run *r, tmpl_iter *it, sl_value *out) {
    const tmpl_str *s = it->src.u.str;
    size_t end = it->pos + 1;
    while (end < s->len && ((unsigned char)s->ptr[end] & 0xC0) == 0x80) {
        end++;
    }
    size_t from = it->pos;
    it->pos = end;
    SL_TRY(sl_tmpl_str_sub(r, s, from, end - from, out));
    if (s->markup) { /* single characters are plain text */
        tmpl_str *plain = sl_arena_alloc(&r->arena, sizeof(*plain));
        if (plain == NULL) {
            return TMPL_FULL(r);
        }
        *plain = *out->u.str;
        plain->markup = false;
        *out = tmpl_str_value(plain);
    }
    return SL_OK;
}

/* The error that ended a stream; the second to walk there finds an ended stream. */
static sl_status access_late(tmpl_run *r, tmpl_list *stream) {
    if (r->err != NULL) {
        *r->err = *stream->late;
    }
    stream->late = NULL;
    return SL_ERR_FORMAT;
}

sl_status sl_tmpl_iter_next(tmpl_run *r, tmpl_iter *it, sl_value *out, bool *more) {
    sl_value v = it->src;
    SL_TRY(tmpl_burn(r, 0));
    *more = true;
    switch (v.kind) {
    case SL_VALUE_STRING:
        *more = it->pos < v.u.str->len;
        return *more ? iter_char(r, it, out) : SL_OK;
    case SL_VALUE_LIST:
    case TMPL_TUPLE:
        *more = it->pos < v.u.list->n;
        if (*more) {
            *out = v.u.list->items[it->pos++];
        }
        return SL_OK;
    case TMPL_STREAM:
        *more = v.u.list->pos < v.u.list->n;
        if (*more) {
            *out = v.u.list->items[v.u.list->pos++];
        } else if (v.u.list->late != NULL) {
            return access_late(r, v.u.list);
        }
        return SL_OK;
    case SL_VALUE_OBJECT:
    case TMPL_VIEW:
        *more = it->pos < v.u.map->n;
        return *more ? iter_map(r, it, out) : SL_OK;
    case TMPL_RANGE:
        *more = it->pos < v.u.range->n;
        if (*more) {
            *out = tmpl_int(access_range_at(v.u.range, it->pos++));
        }
        return SL_OK;
    default:
        *more = false;
        return SL_OK; /* undefined */
    }
}

sl_status sl_tmpl_collect(tmpl_run *r, sl_value v, tmpl_list **out) {
    tmpl_iter it;
    SL_TRY(sl_tmpl_iter_begin(r, v, &it));
    SL_TRY(sl_tmpl_list_make(r, 0, out));
    for (;;) {
        sl_value item;
        bool more;
        SL_TRY(sl_tmpl_iter_next(r, &it, &item, &more));
        if (!more) {
            return SL_OK;
        }
        SL_TRY(sl_tmpl_list_push(r, *out, item));
    }
}
