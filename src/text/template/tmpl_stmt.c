/* Statements: output, scopes, assignments, if, set, with, filter and call blocks. Loops:
 * tmpl_loop.c. */
#include <string.h>

#include "text/template/tmpl_exec.h"

/* --- scopes
 * ------------------------------------------------------------------------------------- */

sl_status sl_tmpl_scope_new(tmpl_run *r, tmpl_scope *outer, tmpl_scope **out) {
    tmpl_scope *s = sl_arena_alloc_zero(&r->arena, 1, sizeof(*s));
    if (s == NULL) {
        return TMPL_FULL(r);
    }
    s->outer = outer;
    *out = s;
    return SL_OK;
}

sl_status sl_tmpl_scope_set(tmpl_run *r, tmpl_scope *s, uint32_t name, sl_value v) {
    if (s->outer == NULL) {
        s->by_name[name] = v;
        return SL_OK;
    }
    for (uint32_t i = 0; i < s->n; i++) {
        if (s->bindings[i].name == name) {
            s->bindings[i].val = v;
            return SL_OK;
        }
    }
    if (s->n == s->cap) {
        uint32_t cap = s->cap == 0 ? 4 : s->cap * 2;
        tmpl_binding *b = sl_arena_alloc_zero(&r->arena, cap, sizeof(*b));
        if (b == NULL) {
            return TMPL_FULL(r);
        }
        if (s->n > 0) {
            memcpy(b, s->bindings, s->n * sizeof(*b));
        }
        s->bindings = b;
        s->cap = cap;
    }
    s->bindings[s->n++] = (tmpl_binding){name, v};
    return SL_OK;
}

static sl_status stmt_unpack(tmpl_run *r, tmpl_scope *s, const tmpl_node *target, sl_value v) {
    tmpl_iter it;
    SL_TRY(sl_tmpl_iter_begin(r, v, &it));
    sl_value item;
    bool more;
    for (const tmpl_node *t = target->a; t != NULL; t = t->next) {
        SL_TRY(sl_tmpl_iter_next(r, &it, &item, &more));
        if (!more) {
            return TMPL_FAIL(r, "not enough values to unpack into the names");
        }
        SL_TRY(sl_tmpl_assign(r, s, t, item));
    }
    SL_TRY(sl_tmpl_iter_next(r, &it, &item, &more));
    return more ? TMPL_FAIL(r, "more values to unpack than names") : SL_OK;
}

static sl_status stmt_assign_attr(tmpl_run *r, tmpl_scope *s, const tmpl_node *target, sl_value v) {
    tmpl_node name = {.kind = NODE_NAME, .name = target->name, .line = target->line};
    sl_value ns;
    SL_TRY(sl_tmpl_eval(r, s, &name, &ns));
    if (ns.kind != TMPL_NAMESPACE) {
        return TMPL_FAIL(r, "attributes can be set on namespace objects only, not on %s",
                         sl_tmpl_type_name(ns));
    }
    return sl_tmpl_namespace_put(r, ns.u.map, tmpl_str_value(target->val.u.str), v);
}

sl_status sl_tmpl_assign(tmpl_run *r, tmpl_scope *s, const tmpl_node *target, sl_value v) {
    switch (target->kind) {
    case NODE_NAME:
        return sl_tmpl_scope_set(r, s, target->name, v);
    case TARGET_ATTR:
        return stmt_assign_attr(r, s, target, v);
    default:
        break;
    }
    SL_TRY(sl_tmpl_enter(r));
    SL_TRY(stmt_unpack(r, s, target, v));
    tmpl_leave(r);
    return SL_OK;
}

/* --- blocks
 * ------------------------------------------------------------------------------------- */

sl_status sl_tmpl_exec_captured(tmpl_run *r, tmpl_scope *s, const tmpl_node *body, sl_value *out) {
    tmpl_builder b, *outer = r->capture;
    SL_TRY(sl_tmpl_build_begin(r, &b));
    r->capture = &b;
    sl_status status = sl_tmpl_exec(r, s, body);
    r->capture = outer;
    SL_TRY(status);
    return sl_tmpl_build_end(r, &b, out);
}

/* The body in a scope of its own, captured; then through the filters of `chain` (may be NULL). */
static sl_status stmt_captured(tmpl_run *r, tmpl_scope *s, const tmpl_node *chain,
                               const tmpl_node *body, sl_value *out) {
    tmpl_scope *inner;
    SL_TRY(sl_tmpl_scope_new(r, s, &inner));
    SL_TRY(sl_tmpl_exec_captured(r, inner, body, out));
    if (chain == NULL || r->flow != FLOW_NEXT) {
        return SL_OK;
    }
    return sl_tmpl_eval_links(r, inner, chain->b, *out, out);
}

static sl_status stmt_print(tmpl_run *r, sl_value v) {
    const tmpl_str *text;
    SL_TRY(sl_tmpl_to_str(r, v, &text));
    return sl_tmpl_emit(r, text);
}

static sl_status stmt_if(tmpl_run *r, tmpl_scope *s, const tmpl_node *n) {
    for (const tmpl_node *branch = n->a; branch != NULL; branch = branch->next) {
        if (branch->a != NULL) {
            sl_value test;
            SL_TRY(sl_tmpl_eval(r, s, branch->a, &test));
            if (!sl_tmpl_truth(test)) {
                continue;
            }
        }
        return sl_tmpl_exec(r, s, branch->b);
    }
    return SL_OK;
}

static sl_status stmt_set_block(tmpl_run *r, tmpl_scope *s, const tmpl_node *n) {
    sl_value v;
    SL_TRY(stmt_captured(r, s, n->b, n->c, &v));
    return r->flow == FLOW_NEXT ? sl_tmpl_assign(r, s, n->a, v) : SL_OK;
}

static sl_status stmt_filter(tmpl_run *r, tmpl_scope *s, const tmpl_node *n) {
    sl_value v;
    SL_TRY(stmt_captured(r, s, n->b, n->c, &v));
    if (r->flow == FLOW_NEXT && !tmpl_is_str(v)) {
        return TMPL_FAIL(r, "the filters of a block must give a string, not %s",
                         sl_tmpl_type_name(v));
    }
    return r->flow == FLOW_NEXT ? stmt_print(r, v) : SL_OK;
}

static sl_status stmt_macro_value(tmpl_run *r, tmpl_scope *s, const tmpl_macro_def *def,
                                  sl_value *out) {
    tmpl_macro *m = sl_arena_alloc(&r->arena, sizeof(*m));
    if (m == NULL) {
        return TMPL_FULL(r);
    }
    *m = (tmpl_macro){.def = def, .scope = s};
    *out = (sl_value){.kind = TMPL_MACRO, .u.macro = m};
    return SL_OK;
}

/* {% call(x) f(...) %}: f is called with one more named argument, the block as a macro `caller`. */
static sl_status stmt_call(tmpl_run *r, tmpl_scope *s, const tmpl_node *n) {
    static const tmpl_str CALLER = {.ptr = "caller", .len = 6, .n_chars = 6, .trusted = true};
    sl_value fn, v;
    tmpl_args args;
    const tmpl_node *last = n->a->b;
    while (last->next != NULL) {
        last = last->next;
    }
    SL_TRY(sl_tmpl_eval(r, s, n->a->a, &fn));
    for (const tmpl_node *link = n->a->b; link != last; link = link->next) {
        tmpl_node one = *link;
        one.next = NULL;
        SL_TRY(sl_tmpl_eval_links(r, s, &one, fn, &fn));
    }
    SL_TRY(sl_tmpl_eval_args(r, s, last->arg, &args));
    tmpl_kwarg *kw = sl_arena_alloc_zero(&r->arena, (size_t)args.n_kw + 1, sizeof(*kw));
    if (kw == NULL) {
        return TMPL_FULL(r);
    }
    if (args.n_kw > 0) {
        memcpy(kw, args.kw, args.n_kw * sizeof(*kw));
    }
    SL_TRY(stmt_macro_value(r, s, n->macro, &v));
    kw[args.n_kw++] = (tmpl_kwarg){.name = &CALLER, .val = v};
    args.kw = kw;
    r->line = n->line;
    SL_TRY(sl_tmpl_call(r, fn, &args, &v));
    return stmt_print(r, v);
}

static sl_status stmt_with(tmpl_run *r, tmpl_scope *s, const tmpl_node *n) {
    tmpl_scope *inner;
    SL_TRY(sl_tmpl_scope_new(r, s, &inner));
    for (const tmpl_node *set = n->a; set != NULL; set = set->next) {
        sl_value v;
        /* in the scope outside: later ones do not see earlier ones */
        SL_TRY(sl_tmpl_eval(r, s, set->b, &v));
        SL_TRY(sl_tmpl_assign(r, inner, set->a, v));
    }
    return sl_tmpl_exec(r, inner, n->c);
}

static sl_status stmt_inner(tmpl_run *r, tmpl_scope *s, const tmpl_node *n) {
    tmpl_scope *inner;
    if (n->kind == STMT_BLOCK && !n->flag) {
        while (s->outer != NULL) {
            s = s->outer;
        }
    }
    SL_TRY(sl_tmpl_scope_new(r, s, &inner));
    return sl_tmpl_exec(r, inner, n->c);
}

/* --- statements
 * --------------------------------------------------------------------------------- */

static sl_status stmt_one(tmpl_run *r, tmpl_scope *s, const tmpl_node *n) {
    sl_value v;
    r->line = n->line;
    switch (n->kind) {
    case STMT_TEXT:
        return sl_tmpl_emit(r, n->val.u.str);
    case STMT_PRINT:
        SL_TRY(sl_tmpl_eval(r, s, n->a, &v));
        return stmt_print(r, v);
    case STMT_IF:
        return stmt_if(r, s, n);
    case STMT_FOR:
        return sl_tmpl_exec_for(r, s, n);
    case STMT_SET:
        SL_TRY(sl_tmpl_eval(r, s, n->b, &v));
        return sl_tmpl_assign(r, s, n->a, v);
    case STMT_SET_BLOCK:
        return stmt_set_block(r, s, n);
    case STMT_MACRO:
        SL_TRY(stmt_macro_value(r, s, n->macro, &v));
        return sl_tmpl_scope_set(r, s, n->name, v);
    case STMT_CALL:
        return stmt_call(r, s, n);
    case STMT_FILTER:
        return stmt_filter(r, s, n);
    case STMT_WITH:
        return stmt_with(r, s, n);
    case STMT_SCOPE:
    case STMT_BLOCK:
        return stmt_inner(r, s, n);
    case STMT_BREAK:
        r->flow = FLOW_BREAK;
        return SL_OK;
    case STMT_CONTINUE:
        r->flow = FLOW_CONTINUE;
        return SL_OK;
    default:
        break;
    }
    return TMPL_FAIL(r, "'%.*s' needs other templates; a chat template has none",
                     (int)n->val.u.str->len, n->val.u.str->ptr);
}

sl_status sl_tmpl_exec(tmpl_run *r, tmpl_scope *s, const tmpl_node *first) {
    SL_TRY(sl_tmpl_enter(r));
    for (const tmpl_node *n = first; n != NULL && r->flow == FLOW_NEXT; n = n->next) {
        SL_TRY(tmpl_burn(r, 0));
        SL_TRY(stmt_one(r, s, n));
    }
    tmpl_leave(r);
    return SL_OK;
}
