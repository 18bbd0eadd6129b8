/* for loops and their `loop` variable.
 *
 * Items are taken one at a time and looked ahead only when the template asks (loop.last,
 * loop.nextitem), as the reference does: a filter on the loop sees what the body has changed so
 * far.
 */
#include "text/template/tmpl_exec.h"

/* The next item that passes the filter; not more: none is left. */
static sl_status loop_fetch(tmpl_run *r, tmpl_loop *l, sl_value *out, bool *more) {
    for (;;) {
        SL_TRY(sl_tmpl_iter_next(r, &l->it, out, more));
        if (!*more || l->node->e == NULL || l->filtered) {
            return SL_OK;
        }
        tmpl_scope *inner;
        sl_value test;
        SL_TRY(sl_tmpl_scope_new(r, l->scope, &inner));
        SL_TRY(sl_tmpl_assign(r, inner, l->node->a, *out));
        SL_TRY(sl_tmpl_eval(r, inner, l->node->e, &test));
        if (sl_tmpl_truth(test)) {
            return SL_OK;
        }
    }
}

static sl_status loop_peek(tmpl_run *r, tmpl_loop *l, bool *more) {
    *more = true;
    if (l->after.kind == TMPL_MISSING) {
        sl_value v;
        SL_TRY(loop_fetch(r, l, &v, more));
        if (*more) {
            l->after = v;
        }
    }
    return SL_OK;
}

static sl_status loop_advance(tmpl_run *r, tmpl_loop *l, bool *more) {
    sl_value v = l->after;
    *more = true;
    if (v.kind == TMPL_MISSING) {
        SL_TRY(loop_fetch(r, l, &v, more));
        if (!*more) {
            return SL_OK;
        }
    }
    l->after = tmpl_missing();
    l->index0++;
    l->prev = l->cur;
    l->cur = v;
    return SL_OK;
}

/* Runs the loop over src. `inner` is one scope for all turns, emptied before each. */
static sl_status loop_run(tmpl_run *r, tmpl_scope *s, const tmpl_node *n, sl_value src,
                          uint32_t depth0) {
    tmpl_loop *l = sl_arena_alloc_zero(&r->arena, 1, sizeof(*l));
    if (l == NULL) {
        return TMPL_FULL(r);
    }
    *l = (tmpl_loop){.node = n,
                     .scope = s,
                     .src = src,
                     .index0 = -1,
                     .depth0 = depth0,
                     .length = -1,
                     .cur = tmpl_missing(),
                     .prev = tmpl_missing(),
                     .after = tmpl_missing(),
                     .changed = tmpl_missing()};
    SL_TRY(sl_tmpl_iter_begin(r, src, &l->it));
    tmpl_scope *inner;
    bool completed =
        false; /* a turn that reached its end: after break or continue alone, else runs */
    SL_TRY(sl_tmpl_scope_new(r, s, &inner));
    for (;;) {
        bool more;
        SL_TRY(loop_advance(r, l, &more));
        if (!more) {
            break;
        }
        inner->n = 0;
        SL_TRY(sl_tmpl_scope_set(r, inner, NAME_LOOP, (sl_value){.kind = TMPL_LOOP, .u.loop = l}));
        SL_TRY(sl_tmpl_assign(r, inner, n->a, l->cur));
        SL_TRY(sl_tmpl_exec(r, inner, n->c));
        bool broken = r->flow == FLOW_BREAK;
        completed = completed || r->flow == FLOW_NEXT;
        r->flow = FLOW_NEXT;
        if (broken) {
            break;
        }
    }
    if (completed || n->d == NULL) {
        return SL_OK;
    }
    SL_TRY(sl_tmpl_scope_new(r, s, &inner));
    return sl_tmpl_exec(r, inner, n->d);
}

sl_status sl_tmpl_exec_for(tmpl_run *r, tmpl_scope *s, const tmpl_node *n) {
    sl_value src;
    SL_TRY(sl_tmpl_eval(r, s, n->b, &src));
    return loop_run(r, s, n, src, 0);
}

sl_status sl_tmpl_loop_call(tmpl_run *r, tmpl_loop *loop, const tmpl_args *args, sl_value *out) {
    if (!loop->node->flag) {
        return TMPL_FAIL(r, "the loop must have the 'recursive' marker to be called");
    }
    static const char *const NAMES[] = {"iterable"};
    sl_value src;
    SL_TRY(sl_tmpl_bind(r, "loop", args, NAMES, 1, 1, &src));
    if (++r->n_calls > r->limits.depth) {
        return sl_tmpl_fail_at(r, SL_ERR_LIMIT, __FILE__, __LINE__, "more than %u nested calls",
                               (unsigned)r->limits.depth);
    }
    tmpl_builder b, *outer = r->capture;
    SL_TRY(sl_tmpl_build_begin(r, &b));
    r->capture = &b;
    sl_status status = loop_run(r, loop->scope, loop->node, src, loop->depth0 + 1);
    r->capture = outer;
    r->n_calls--;
    SL_TRY(status);
    return sl_tmpl_build_end(r, &b, out);
}

/* Without a known length the rest of the items is read ahead, through the filter. */
sl_status sl_tmpl_loop_length(tmpl_run *r, tmpl_loop *l, int64_t *out) {
    if (l->length < 0 && l->node->e == NULL && sl_tmpl_has_length(l->src)) {
        SL_TRY(sl_tmpl_length(r, l->src, &l->length));
    }
    if (l->length < 0) {
        tmpl_list *rest;
        SL_TRY(sl_tmpl_list_make(r, 0, &rest));
        for (;;) {
            sl_value v;
            bool more;
            SL_TRY(loop_fetch(r, l, &v, &more));
            if (!more) {
                break;
            }
            SL_TRY(sl_tmpl_list_push(r, rest, v));
        }
        l->length = l->index0 + 1 + (l->after.kind != TMPL_MISSING) + (int64_t)rest->n;
        l->filtered = true;
        SL_TRY(sl_tmpl_iter_begin(r, tmpl_list_value(SL_VALUE_LIST, rest), &l->it));
    }
    *out = l->length;
    return SL_OK;
}

static sl_status loop_cycle(tmpl_run *r, sl_value self, const tmpl_args *args, sl_value *out) {
    if (args->n_pos == 0) {
        return TMPL_FAIL(r, "loop.cycle() needs items to cycle through");
    }
    *out = args->pos[self.u.loop->index0 % args->n_pos];
    return SL_OK;
}

static sl_status loop_changed(tmpl_run *r, sl_value self, const tmpl_args *args, sl_value *out) {
    tmpl_list *l;
    bool same = false;
    SL_TRY(sl_tmpl_list_make(r, args->n_pos, &l));
    for (uint32_t i = 0; i < args->n_pos; i++) {
        SL_TRY(sl_tmpl_list_push(r, l, args->pos[i]));
    }
    sl_value now = tmpl_list_value(TMPL_TUPLE, l), *last = &self.u.loop->changed;
    if (last->kind != TMPL_MISSING) {
        SL_TRY(sl_tmpl_equal(r, *last, now, 0, &same));
    }
    *last = now;
    *out = tmpl_bool(!same);
    return SL_OK;
}

static const tmpl_method_def LOOP_METHODS[] = {
    {"changed", loop_changed}, {"cycle", loop_cycle}, {NULL, NULL}};

static sl_status loop_neighbour(tmpl_run *r, sl_value v, const char *hint, sl_value *out) {
    *out = v;
    return v.kind == TMPL_MISSING ? sl_tmpl_undefined_hint(r, hint, out) : SL_OK;
}

sl_status sl_tmpl_loop_attr(tmpl_run *r, tmpl_loop *l, const tmpl_str *name, sl_value *out) {
    sl_slice n = tmpl_slice(name);
    int64_t length;
    bool more;
    if (sl_slice_eq_str(n, "index")) {
        *out = tmpl_int(l->index0 + 1);
    } else if (sl_slice_eq_str(n, "index0")) {
        *out = tmpl_int(l->index0);
    } else if (sl_slice_eq_str(n, "first")) {
        *out = tmpl_bool(l->index0 == 0);
    } else if (sl_slice_eq_str(n, "last")) {
        SL_TRY(loop_peek(r, l, &more));
        *out = tmpl_bool(!more);
    } else if (sl_slice_eq_str(n, "length")) {
        SL_TRY(sl_tmpl_loop_length(r, l, &length));
        *out = tmpl_int(length);
    } else if (sl_slice_eq_str(n, "revindex")) {
        SL_TRY(sl_tmpl_loop_length(r, l, &length));
        *out = tmpl_int(length - l->index0);
    } else if (sl_slice_eq_str(n, "revindex0")) {
        SL_TRY(sl_tmpl_loop_length(r, l, &length));
        *out = tmpl_int(length - l->index0 - 1);
    } else if (sl_slice_eq_str(n, "depth")) {
        *out = tmpl_int((int64_t)l->depth0 + 1);
    } else if (sl_slice_eq_str(n, "depth0")) {
        *out = tmpl_int(l->depth0);
    } else if (sl_slice_eq_str(n, "previtem")) {
        return loop_neighbour(r, l->prev, "there is no previous item", out);
    } else if (sl_slice_eq_str(n, "nextitem")) {
        SL_TRY(loop_peek(r, l, &more));
        return loop_neighbour(r, l->after, "there is no next item", out);
    } else {
        const tmpl_method_def *def = sl_tmpl_find_method(LOOP_METHODS, n);
        if (def == NULL) {
            return sl_tmpl_undefined(r, name, "LoopContext", out);
        }
        tmpl_method *m = sl_arena_alloc(&r->arena, sizeof(*m));
        if (m == NULL) {
            return TMPL_FULL(r);
        }
        *m = (tmpl_method){.self = {.kind = TMPL_LOOP, .u.loop = l}, .def = def};
        *out = (sl_value){.kind = TMPL_METHOD, .u.method = m};
    }
    return SL_OK;
}
