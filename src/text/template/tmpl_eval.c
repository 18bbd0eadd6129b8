/* Expressions -> values. See tmpl_ast.h for what each node holds. */
#include <string.h>

#include "text/template/tmpl_exec.h"

/* --- names
 * -------------------------------------------------------------------------------------- */

static sl_status eval_name(tmpl_run *r, const tmpl_scope *s, uint32_t name, sl_value *out) {
    for (; s->outer != NULL; s = s->outer) {
        for (uint32_t i = s->n; i-- > 0;) {
            if (s->bindings[i].name == name) {
                *out = s->bindings[i].val;
                return SL_OK;
            }
        }
    }
    if (s->by_name[name].kind != TMPL_MISSING) {
        *out = s->by_name[name];
        return SL_OK;
    }
    return sl_tmpl_undefined(r, r->t->names[name], NULL, out);
}

/* --- literals
 * ----------------------------------------------------------------------------------- */

static sl_status eval_items(tmpl_run *r, tmpl_scope *s, const tmpl_node *n, sl_value *out) {
    tmpl_list *l;
    SL_TRY(sl_tmpl_list_make(r, 0, &l));
    for (const tmpl_node *item = n->a; item != NULL; item = item->next) {
        sl_value v;
        SL_TRY(sl_tmpl_eval(r, s, item, &v));
        SL_TRY(sl_tmpl_list_push(r, l, v));
    }
    *out = tmpl_list_value(n->kind == NODE_TUPLE ? (uint8_t)TMPL_TUPLE : (uint8_t)SL_VALUE_LIST, l);
    return SL_OK;
}

static sl_status eval_dict(tmpl_run *r, tmpl_scope *s, const tmpl_node *n, sl_value *out) {
    tmpl_map *m;
    SL_TRY(sl_tmpl_map_make(r, &m));
    for (const tmpl_node *item = n->a; item != NULL; item = item->next->next) {
        sl_value key, val;
        SL_TRY(sl_tmpl_eval(r, s, item, &key));
        SL_TRY(sl_tmpl_eval(r, s, item->next, &val));
        SL_TRY(sl_tmpl_map_add(r, m, key, val));
    }
    *out = tmpl_map_value(m);
    return SL_OK;
}

/* --- operators
 * ---------------------------------------------------------------------------------- */

/* `or` gives the first true operand, `and` the first false one; otherwise the last. */
static sl_status eval_logic(tmpl_run *r, tmpl_scope *s, const tmpl_node *n, sl_value *out) {
    bool stop = n->kind == NODE_OR;
    for (const tmpl_node *item = n->a; item != NULL; item = item->next) {
        SL_TRY(sl_tmpl_eval(r, s, item, out));
        if (item->next == NULL || sl_tmpl_truth(*out) == stop) {
            break;
        }
    }
    return SL_OK;
}

static sl_status eval_concat(tmpl_run *r, tmpl_scope *s, const tmpl_node *n, sl_value *out) {
    sl_value acc, v;
    SL_TRY(sl_tmpl_str_static(r, "", &acc));
    for (const tmpl_node *item = n->a; item != NULL; item = item->next) {
        const tmpl_str *text;
        SL_TRY(sl_tmpl_eval(r, s, item, &v));
        SL_TRY(sl_tmpl_to_str(r, v, &text));
        SL_TRY(sl_tmpl_str_concat(r, acc.u.str, text, &acc));
    }
    if (acc.u.str->markup) {
        /* only one operand was not empty: the result is plain text all the same */
        tmpl_str *plain = sl_arena_alloc(&r->arena, sizeof(*plain));
        if (plain == NULL) {
            return TMPL_FULL(r);
        }
        *plain = *acc.u.str;
        plain->markup = false;
        acc = tmpl_str_value(plain);
    }
    *out = acc;
    return SL_OK;
}

static sl_status eval_arith(tmpl_run *r, tmpl_scope *s, const tmpl_node *n, sl_value *out) {
    sl_value acc, v;
    SL_TRY(sl_tmpl_eval(r, s, n->a, &acc));
    for (const tmpl_node *item = n->a->next; item != NULL; item = item->next) {
        SL_TRY(sl_tmpl_eval(r, s, item, &v));
        r->line = n->line;
        SL_TRY(sl_tmpl_arith(r, (tmpl_op)item->op, acc, v, &acc));
    }
    *out = acc;
    return SL_OK;
}

/* a < b < c: each neighbouring pair must hold; the rest is not evaluated after the first that does
 * not. */
static sl_status eval_compare(tmpl_run *r, tmpl_scope *s, const tmpl_node *n, sl_value *out) {
    sl_value left, right;
    bool holds = true;
    SL_TRY(sl_tmpl_eval(r, s, n->a, &left));
    for (const tmpl_node *item = n->a->next; item != NULL && holds; item = item->next) {
        SL_TRY(sl_tmpl_eval(r, s, item, &right));
        r->line = n->line;
        SL_TRY(sl_tmpl_compare(r, (tmpl_op)item->op, left, right, &holds));
        left = right;
    }
    *out = tmpl_bool(holds);
    return SL_OK;
}

/* --- links
 * -------------------------------------------------------------------------------------- */

static sl_status eval_optional(tmpl_run *r, tmpl_scope *s, const tmpl_node *n, sl_value *out) {
    *out = tmpl_none();
    return n == NULL ? SL_OK : sl_tmpl_eval(r, s, n, out);
}

static sl_status eval_slice(tmpl_run *r, tmpl_scope *s, const tmpl_node *n, sl_value v,
                            sl_value *out) {
    sl_value start, stop, step;
    SL_TRY(eval_optional(r, s, n->a, &start));
    SL_TRY(eval_optional(r, s, n->b, &stop));
    SL_TRY(eval_optional(r, s, n->c, &step));
    return sl_tmpl_get_slice(r, v, start, stop, step, out);
}

static sl_status eval_link(tmpl_run *r, tmpl_scope *s, const tmpl_node *n, sl_value v,
                           sl_value *out) {
    tmpl_args args = {0};
    sl_value key;
    bool holds;
    switch (n->kind) {
    case LINK_ATTR:
        return sl_tmpl_get_attr(r, v, n->val.u.str, out);
    case LINK_ITEM:
        SL_TRY(sl_tmpl_eval(r, s, n->a, &key));
        return sl_tmpl_get_item(r, v, key, out);
    case LINK_SLICE:
        return eval_slice(r, s, n, v, out);
    default:
        break;
    }
    SL_TRY(sl_tmpl_eval_args(r, s, n->arg, &args));
    r->line = n->line;
    if (n->kind == LINK_CALL) {
        return sl_tmpl_call(r, v, &args, out);
    }
    if (n->kind == LINK_FILTER) {
        return sl_tmpl_filter(r, n->index, n->val.u.str, v, &args, out);
    }
    SL_TRY(sl_tmpl_test(r, n->index, n->val.u.str, v, &args, &holds));
    *out = tmpl_bool(holds != n->flag);
    return SL_OK;
}

sl_status sl_tmpl_eval_links(tmpl_run *r, tmpl_scope *s, const tmpl_node *link, sl_value v,
                             sl_value *out) {
    for (; link != NULL; link = link->next) {
        sl_value next;
        SL_TRY(tmpl_burn(r, 0));
        r->line = link->line;
        SL_TRY(eval_link(r, s, link, v, &next));
        v = next;
    }
    *out = v;
    return SL_OK;
}

/* --- expressions
 * -------------------------------------------------------------------------------- */

static sl_status eval_node(tmpl_run *r, tmpl_scope *s, const tmpl_node *n, sl_value *out) {
    sl_value v;
    r->line = n->line;
    switch (n->kind) {
    case NODE_CONST:
        *out = n->val;
        return SL_OK;
    case NODE_NAME:
        return eval_name(r, s, n->name, out);
    case NODE_LIST:
    case NODE_TUPLE:
        return eval_items(r, s, n, out);
    case NODE_DICT:
        return eval_dict(r, s, n, out);
    case NODE_OR:
    case NODE_AND:
        return eval_logic(r, s, n, out);
    case NODE_CONCAT:
        return eval_concat(r, s, n, out);
    case NODE_ARITH:
        return eval_arith(r, s, n, out);
    case NODE_COMPARE:
        return eval_compare(r, s, n, out);
    case NODE_NOT:
        SL_TRY(sl_tmpl_eval(r, s, n->a, &v));
        *out = tmpl_bool(!sl_tmpl_truth(v));
        return SL_OK;
    case NODE_NEG:
    case NODE_POS:
        SL_TRY(sl_tmpl_eval(r, s, n->a, &v));
        return sl_tmpl_negate(r, n->kind == NODE_NEG, v, out);
    case NODE_CHAIN:
        SL_TRY(sl_tmpl_eval(r, s, n->a, &v));
        return sl_tmpl_eval_links(r, s, n->b, v, out);
    default:
        return sl_tmpl_fail_at(r, SL_ERR_INTERNAL, __FILE__, __LINE__, "unknown node %u", n->kind);
    }
}

sl_status sl_tmpl_eval(tmpl_run *r, tmpl_scope *s, const tmpl_node *n, sl_value *out) {
    SL_TRY(sl_tmpl_enter(r));
    while (n->kind == NODE_COND) { /* the branch taken is evaluated in the place of the condition */
        sl_value test;
        SL_TRY(sl_tmpl_eval(r, s, n->a, &test));
        SL_TRY(tmpl_burn(r, 0));
        const tmpl_node *branch = sl_tmpl_truth(test) ? n->b : n->c;
        if (branch == NULL) {
            tmpl_leave(r);
            return sl_tmpl_undefined_hint(
                r,
                "the inline if-expression has no else part and its condition "
                "was false",
                out);
        }
        n = branch;
    }
    SL_TRY(eval_node(r, s, n, out));
    tmpl_leave(r);
    return SL_OK;
}
