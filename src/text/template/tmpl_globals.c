/* Functions of the environment: range, namespace, dict, cycler, joiner, raise_exception,
 * strftime_now. */
#include <string.h>

#include "text/template/tmpl_exec.h"

#define RANGE_MAX 100000u /* items; the sandbox refuses longer ranges */

static sl_status global_range_args(tmpl_run *r, const tmpl_args *args, tmpl_range *out) {
    int64_t v[3];
    if (args->n_kw > 0 || args->n_pos < 1 || args->n_pos > 3) {
        return TMPL_FAIL(r, "range takes one to three arguments without names");
    }
    for (uint32_t i = 0; i < args->n_pos; i++) {
        SL_TRY(sl_tmpl_arg_int(r, "an argument of range", args->pos[i], &v[i]));
    }
    *out = (tmpl_range){.start = args->n_pos == 1 ? 0 : v[0],
                        .stop = args->n_pos == 1 ? v[0] : v[1],
                        .step = args->n_pos == 3 ? v[2] : 1};
    return out->step == 0 ? TMPL_FAIL(r, "the step of a range must not be 0") : SL_OK;
}

static sl_status global_range(tmpl_run *r, const tmpl_args *args, sl_value *out) {
    tmpl_range v;
    SL_TRY(global_range_args(r, args, &v));
    if (v.step > 0 && v.start < v.stop) {
        v.n = ((uint64_t)v.stop - (uint64_t)v.start - 1) / (uint64_t)v.step + 1;
    } else if (v.step < 0 && v.start > v.stop) {
        v.n = ((uint64_t)v.start - (uint64_t)v.stop - 1) / (0 - (uint64_t)v.step) + 1;
    }
    if (v.n > RANGE_MAX) {
        return sl_tmpl_fail_at(r, SL_ERR_LIMIT, __FILE__, __LINE__,
                               "a range has more than %u items", RANGE_MAX);
    }
    tmpl_range *p = sl_arena_alloc(&r->arena, sizeof(*p));
    if (p == NULL) {
        return TMPL_FULL(r);
    }
    *p = v;
    *out = (sl_value){.kind = TMPL_RANGE, .u.range = p};
    return SL_OK;
}

/* dict(mapping or pairs, name=value, ...) into m. */
static sl_status global_fill_map(tmpl_run *r, const tmpl_args *args, tmpl_map *m) {
    if (args->n_pos > 1) {
        return TMPL_FAIL(r, "at most one argument without a name is allowed");
    }
    if (args->n_pos == 1 && args->pos[0].kind == SL_VALUE_OBJECT) {
        const tmpl_map *from = args->pos[0].u.map;
        for (size_t i = 0; i < from->n; i++) {
            SL_TRY(sl_tmpl_map_add(r, m, from->entries[i].key, from->entries[i].val));
        }
    } else if (args->n_pos == 1) {
        tmpl_list *pairs, *pair;
        if (args->pos[0].kind == TMPL_UNDEFINED) {
            return sl_tmpl_fail_undefined(r, args->pos[0]);
        }
        SL_TRY(sl_tmpl_collect(r, args->pos[0], &pairs));
        for (size_t i = 0; i < pairs->n; i++) {
            SL_TRY(sl_tmpl_collect(r, pairs->items[i], &pair));
            if (pair->n != 2) {
                return TMPL_FAIL(r, "a mapping is made from pairs");
            }
            SL_TRY(sl_tmpl_map_add(r, m, pair->items[0], pair->items[1]));
        }
    }
    for (uint32_t i = 0; i < args->n_kw; i++) {
        SL_TRY(sl_tmpl_map_add(r, m, tmpl_str_value(args->kw[i].name), args->kw[i].val));
    }
    return SL_OK;
}

static sl_status global_dict(tmpl_run *r, const tmpl_args *args, sl_value *out) {
    tmpl_map *m;
    SL_TRY(sl_tmpl_map_make(r, &m));
    SL_TRY(global_fill_map(r, args, m));
    *out = tmpl_map_value(m);
    return SL_OK;
}

static sl_status global_namespace(tmpl_run *r, const tmpl_args *args, sl_value *out) {
    sl_value given;
    tmpl_map *m;
    SL_TRY(global_dict(r, args, &given));
    SL_TRY(sl_tmpl_map_make(r, &m));
    for (size_t i = 0; i < given.u.map->n; i++) {
        const tmpl_entry *e = &given.u.map->entries[i];
        SL_TRY(sl_tmpl_namespace_put(r, m, e->key, e->val));
    }
    *out = (sl_value){.kind = TMPL_NAMESPACE, .u.map = m};
    return SL_OK;
}

static sl_status global_cycler(tmpl_run *r, const tmpl_args *args, sl_value *out) {
    if (args->n_pos == 0 || args->n_kw > 0) {
        return TMPL_FAIL(r, "cycler needs items to cycle through");
    }
    tmpl_cycler *c = sl_arena_alloc_zero(&r->arena, 1, sizeof(*c));
    if (c == NULL) {
        return TMPL_FULL(r);
    }
    SL_TRY(sl_tmpl_list_make(r, args->n_pos, &c->items));
    for (uint32_t i = 0; i < args->n_pos; i++) {
        SL_TRY(sl_tmpl_list_push(r, c->items, args->pos[i]));
    }
    *out = (sl_value){.kind = TMPL_CYCLER, .u.cycler = c};
    return SL_OK;
}

static sl_status global_joiner(tmpl_run *r, const tmpl_args *args, sl_value *out) {
    static const char *const NAMES[] = {"sep"};
    static const tmpl_str COMMA = {.ptr = ", ", .len = 2, .n_chars = 2, .trusted = true};
    sl_value sep;
    SL_TRY(sl_tmpl_bind(r, "joiner", args, NAMES, 1, 0, &sep));
    tmpl_joiner *j = sl_arena_alloc(&r->arena, sizeof(*j));
    if (j == NULL) {
        return TMPL_FULL(r);
    }
    *j = (tmpl_joiner){.sep = sep.kind == TMPL_MISSING ? tmpl_str_value(&COMMA) : sep};
    *out = (sl_value){.kind = TMPL_JOINER, .u.joiner = j};
    return SL_OK;
}

static sl_status global_raise(tmpl_run *r, const tmpl_args *args, sl_value *out) {
    static const char *const NAMES[] = {"message"};
    sl_value v;
    const tmpl_str *text;
    (void)out;
    SL_TRY(sl_tmpl_bind(r, "raise_exception", args, NAMES, 1, 1, &v));
    SL_TRY(sl_tmpl_to_str(r, v, &text));
    return TMPL_FAIL(r, "the template refuses: %.*s", (int)(text->len > 300 ? 300 : text->len),
                     text->ptr);
}

static sl_status global_strftime(tmpl_run *r, const tmpl_args *args, sl_value *out) {
    static const char *const NAMES[] = {"format"};
    sl_value v;
    const tmpl_str *format = NULL;
    SL_TRY(sl_tmpl_bind(r, "strftime_now", args, NAMES, 1, 1, &v));
    SL_TRY(sl_tmpl_arg_str(r, "the format of strftime_now", v, &format));
    return sl_tmpl_strftime(r, format, out);
}

static const tmpl_global GLOBALS[] = {
    {"cycler", global_cycler},         {"dict", global_dict},
    {"joiner", global_joiner},         {"namespace", global_namespace},
    {"raise_exception", global_raise}, {"range", global_range},
    {"strftime_now", global_strftime},
};

const tmpl_global *sl_tmpl_find_global(sl_slice name) {
    for (size_t i = 0; i < sizeof(GLOBALS) / sizeof(GLOBALS[0]); i++) {
        if (sl_slice_eq_str(name, GLOBALS[i].name)) {
            return &GLOBALS[i];
        }
    }
    return NULL;
}
