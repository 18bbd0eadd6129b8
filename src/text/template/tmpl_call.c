/* Calls: arguments, macros, and everything else that can be called. */
#include <string.h>

#include "text/template/tmpl_exec.h"

#define ARGS_MAX 4096u

/* --- arguments
 * ---------------------------------------------------------------------------------- */

typedef struct args_builder {
    tmpl_list *pos;
    tmpl_kwarg *kw;
    uint32_t n_kw, cap_kw;
} args_builder;

static sl_status args_add_named(tmpl_run *r, args_builder *b, const tmpl_str *name, sl_value v) {
    for (uint32_t i = 0; i < b->n_kw; i++) {
        if (sl_slice_eq(tmpl_slice(b->kw[i].name), tmpl_slice(name))) {
            return TMPL_FAIL(r, "the argument '%.*s' is given twice", (int)name->len, name->ptr);
        }
    }
    if (b->n_kw >= ARGS_MAX) {
        return TMPL_FAIL(r, "more than %u named arguments", ARGS_MAX);
    }
    if (b->n_kw == b->cap_kw) {
        uint32_t cap = b->cap_kw == 0 ? 4 : b->cap_kw * 2;
        tmpl_kwarg *kw = sl_arena_alloc_zero(&r->arena, cap, sizeof(*kw));
        if (kw == NULL) {
            return TMPL_FULL(r);
        }
        if (b->n_kw > 0) {
            memcpy(kw, b->kw, b->n_kw * sizeof(*kw));
        }
        b->kw = kw;
        b->cap_kw = cap;
    }
    b->kw[b->n_kw++] = (tmpl_kwarg){name, v};
    return tmpl_burn(r, (size_t)b->n_kw * 8);
}

static sl_status args_spread(tmpl_run *r, args_builder *b, sl_value v) {
    tmpl_iter it;
    bool more = true;
    SL_TRY(sl_tmpl_iter_begin(r, v, &it));
    for (;;) {
        sl_value item;
        SL_TRY(sl_tmpl_iter_next(r, &it, &item, &more));
        if (!more) {
            return SL_OK;
        }
        SL_TRY(sl_tmpl_list_push(r, b->pos, item));
    }
}

static sl_status args_spread_map(tmpl_run *r, args_builder *b, sl_value v) {
    if (v.kind != SL_VALUE_OBJECT) {
        return TMPL_FAIL(r, "what follows ** in a call must be a mapping, not %s",
                         sl_tmpl_type_name(v));
    }
    for (size_t i = 0; i < v.u.map->n; i++) {
        const tmpl_entry *e = &v.u.map->entries[i];
        if (!tmpl_is_str(e->key)) {
            return TMPL_FAIL(r, "names of arguments must be strings");
        }
        SL_TRY(args_add_named(r, b, e->key.u.str, e->val));
    }
    return SL_OK;
}

sl_status sl_tmpl_eval_args(tmpl_run *r, tmpl_scope *s, const tmpl_node *first, tmpl_args *out) {
    *out = (tmpl_args){0};
    if (first == NULL) {
        return SL_OK;
    }
    args_builder b = {0};
    SL_TRY(sl_tmpl_list_make(r, 0, &b.pos));
    for (const tmpl_node *n = first; n != NULL; n = n->next) {
        sl_value v;
        SL_TRY(sl_tmpl_eval(r, s, n->arg, &v));
        switch (n->kind) {
        case ARG_POS:
            SL_TRY(sl_tmpl_list_push(r, b.pos, v));
            break;
        case ARG_NAMED:
            SL_TRY(args_add_named(r, &b, n->val.u.str, v));
            break;
        case ARG_LIST:
            SL_TRY(args_spread(r, &b, v));
            break;
        default:
            SL_TRY(args_spread_map(r, &b, v));
            break;
        }
    }
    if (b.pos->n > UINT32_MAX) {
        return TMPL_FAIL(r, "too many arguments");
    }
    *out = (tmpl_args){
        .pos = b.pos->items, .n_pos = (uint32_t)b.pos->n, .kw = b.kw, .n_kw = b.n_kw};
    return SL_OK;
}

sl_status sl_tmpl_bind(tmpl_run *r, const char *what, const tmpl_args *args,
                       const char *const *names, uint32_t n, uint32_t n_required, sl_value *out) {
    if (args->n_pos > n) {
        return TMPL_FAIL(r, "%s takes at most %u argument(s), %u given", what, (unsigned)n,
                         (unsigned)args->n_pos);
    }
    for (uint32_t i = 0; i < n; i++) {
        out[i] = i < args->n_pos ? args->pos[i] : tmpl_missing();
    }
    for (uint32_t k = 0; k < args->n_kw; k++) {
        const tmpl_str *name = args->kw[k].name;
        uint32_t i = 0;
        while (i < n && !sl_slice_eq_str(tmpl_slice(name), names[i])) {
            i++;
        }
        if (i == n || out[i].kind != TMPL_MISSING) {
            return TMPL_FAIL(r,
                             i == n ? "%s has no argument named '%.*s'"
                                    : "%s got two values for the argument '%.*s'",
                             what, (int)(name->len > 80 ? 80 : name->len), name->ptr);
        }
        out[i] = args->kw[k].val;
    }
    for (uint32_t i = 0; i < n_required; i++) {
        if (out[i].kind == TMPL_MISSING) {
            return TMPL_FAIL(r, "%s needs the argument '%s'", what, names[i]);
        }
    }
    return SL_OK;
}

sl_status sl_tmpl_arg_int(tmpl_run *r, const char *what, sl_value v, int64_t *out) {
    if (v.kind == TMPL_MISSING) {
        return SL_OK;
    }
    if (v.kind == TMPL_UNDEFINED) {
        return sl_tmpl_fail_undefined(r, v);
    }
    return sl_tmpl_as_int(v, out)
               ? SL_OK
               : TMPL_FAIL(r, "%s must be an integer, not %s", what, sl_tmpl_type_name(v));
}

sl_status sl_tmpl_arg_str(tmpl_run *r, const char *what, sl_value v, const tmpl_str **out) {
    if (v.kind == TMPL_MISSING) {
        return SL_OK;
    }
    if (!tmpl_is_str(v)) {
        return TMPL_FAIL(r, "%s must be a string, not %s", what, sl_tmpl_type_name(v));
    }
    *out = v.u.str;
    return SL_OK;
}

void sl_tmpl_arg_bool(sl_value v, bool *out) {
    if (v.kind != TMPL_MISSING) {
        *out = sl_tmpl_truth(v);
    }
}

/* --- macros
 * ------------------------------------------------------------------------------------- */

static const char *macro_name(const tmpl_macro_def *def) {
    return def->name == NULL ? "caller" : "macro";
}

static sl_status macro_varargs(tmpl_run *r, tmpl_scope *s, const tmpl_macro_def *def,
                               const tmpl_args *args) {
    if (def->uses_varargs) {
        tmpl_list *rest;
        SL_TRY(sl_tmpl_list_make(r, 0, &rest));
        for (uint32_t i = def->n_params; i < args->n_pos; i++) {
            SL_TRY(sl_tmpl_list_push(r, rest, args->pos[i]));
        }
        return sl_tmpl_scope_set(r, s, NAME_VARARGS, tmpl_list_value(TMPL_TUPLE, rest));
    }
    if (args->n_pos > def->n_params) {
        return TMPL_FAIL(r, "%s '%.*s' takes at most %u argument(s), %u given", macro_name(def),
                         def->name == NULL ? 0 : (int)def->name->len,
                         def->name == NULL ? "" : def->name->ptr, (unsigned)def->n_params,
                         (unsigned)args->n_pos);
    }
    return SL_OK;
}

/* Named arguments that no parameter takes: `caller`, then kwargs. */
static sl_status macro_kwargs(tmpl_run *r, tmpl_scope *s, const tmpl_macro_def *def,
                              const tmpl_args *args, const bool *taken) {
    bool caller_due = def->uses_caller && !def->explicit_caller;
    sl_value caller = tmpl_missing();
    tmpl_map *rest = NULL;
    if (def->uses_kwargs) {
        SL_TRY(sl_tmpl_map_make(r, &rest));
    }
    for (uint32_t k = 0; k < args->n_kw; k++) {
        sl_slice name = tmpl_slice(args->kw[k].name);
        if (taken[k]) {
            continue;
        }
        if (caller_due && sl_slice_eq_str(name, "caller")) {
            caller = args->kw[k].val;
        } else if (rest != NULL) {
            SL_TRY(sl_tmpl_map_add(r, rest, tmpl_str_value(args->kw[k].name), args->kw[k].val));
        } else {
            return TMPL_FAIL(r, "the macro takes no argument named '%.*s'", (int)name.len,
                             name.ptr);
        }
    }
    if (caller_due) {
        if (caller.kind == TMPL_MISSING) {
            SL_TRY(sl_tmpl_undefined_hint(r, "no caller is defined", &caller));
        }
        SL_TRY(sl_tmpl_scope_set(r, s, NAME_CALLER, caller));
    }
    return rest == NULL ? SL_OK : sl_tmpl_scope_set(r, s, NAME_KWARGS, tmpl_map_value(rest));
}

static sl_status macro_bind(tmpl_run *r, tmpl_scope *s, const tmpl_macro_def *def,
                            const tmpl_args *args) {
    bool *taken = sl_arena_alloc_zero(&r->arena, (size_t)args->n_kw + 1, sizeof(*taken));
    sl_value *given = sl_arena_alloc_zero(&r->arena, (size_t)def->n_params + 1, sizeof(*given));
    if (taken == NULL || given == NULL) {
        return TMPL_FULL(r);
    }
    for (uint32_t i = 0; i < def->n_params; i++) {
        given[i] = i < args->n_pos ? args->pos[i] : tmpl_missing();
        for (uint32_t k = 0; i >= args->n_pos && k < args->n_kw; k++) {
            if (sl_slice_eq(tmpl_slice(args->kw[k].name), tmpl_slice(def->params[i].text))) {
                given[i] = args->kw[k].val;
                taken[k] = true;
            }
        }
        SL_TRY(tmpl_burn(r, args->n_kw));
    }
    SL_TRY(macro_kwargs(r, s, def, args, taken));
    SL_TRY(macro_varargs(r, s, def, args));
    for (uint32_t i = 0; i < def->n_params; i++) {
        const tmpl_param *p = &def->params[i];
        if (given[i].kind == TMPL_MISSING && p->def != NULL) {
            SL_TRY(sl_tmpl_eval(r, s, p->def, &given[i])); /* sees the parameters before it */
        } else if (given[i].kind == TMPL_MISSING) {
            SL_TRY(sl_tmpl_undefined(r, p->text, NULL, &given[i]));
        }
        SL_TRY(sl_tmpl_scope_set(r, s, p->name, given[i]));
    }
    return SL_OK;
}

static sl_status macro_call(tmpl_run *r, const tmpl_macro *m, const tmpl_args *args,
                            sl_value *out) {
    if (++r->n_calls > r->limits.depth) {
        return sl_tmpl_fail_at(r, SL_ERR_LIMIT, __FILE__, __LINE__, "more than %u nested calls",
                               (unsigned)r->limits.depth);
    }
    tmpl_scope *s;
    SL_TRY(sl_tmpl_scope_new(r, m->scope, &s));
    SL_TRY(macro_bind(r, s, m->def, args));
    SL_TRY(sl_tmpl_exec_captured(r, s, m->def->body, out));
    r->n_calls--;
    return SL_OK;
}

/* --- other callables
 * ---------------------------------------------------------------------------- */

/* Nothing the first time, the separator from then on. */
static sl_status call_joiner(tmpl_run *r, tmpl_joiner *j, sl_value *out) {
    if (!j->used) {
        j->used = true;
        return sl_tmpl_str_static(r, "", out);
    }
    *out = j->sep;
    return SL_OK;
}

sl_status sl_tmpl_call(tmpl_run *r, sl_value fn, const tmpl_args *args, sl_value *out) {
    switch (fn.kind) {
    case TMPL_UNDEFINED:
        return sl_tmpl_fail_undefined(r, fn);
    case TMPL_MACRO:
        return macro_call(r, fn.u.macro, args, out);
    case TMPL_GLOBAL:
        return fn.u.global->fn(r, args, out);
    case TMPL_METHOD:
        return fn.u.method->def->fn(r, fn.u.method->self, args, out);
    case TMPL_LOOP:
        return sl_tmpl_loop_call(r, fn.u.loop, args, out);
    case TMPL_JOINER:
        return call_joiner(r, fn.u.joiner, out);
    default:
        return TMPL_FAIL(r, "a value of type %s cannot be called", sl_tmpl_type_name(fn));
    }
}
