#include "plan/plan.h"

#include <inttypes.h>

#include "base/error.h"

void sl_plan_deinit(sl_plan *p) {
    sl_arena_deinit(&p->arena);
    *p = (sl_plan){0};
}

const char *sl_op_kind_name(sl_op_kind kind) {
    static const char *const names[SL_OP_KIND_COUNT] = {
        [SL_OP_EMBED] = "embed",     [SL_OP_POSITION] = "position", [SL_OP_NORM] = "norm",
        [SL_OP_LINEAR] = "linear",   [SL_OP_ROPE] = "rope",         [SL_OP_ATTEND] = "attend",
        [SL_OP_ACT] = "act",         [SL_OP_ADD] = "add",           [SL_OP_ADD_BIAS] = "add_bias",
        [SL_OP_SCALE] = "scale",     [SL_OP_SOFTCAP] = "softcap",   [SL_OP_COPY] = "copy",
        [SL_OP_ROUTE] = "route",     [SL_OP_DISPATCH] = "dispatch", [SL_OP_EXPERTS] = "experts",
        [SL_OP_COMBINE] = "combine",
    };
    return (unsigned)kind < SL_OP_KIND_COUNT ? names[kind] : "?";
}

const char *sl_pooling_name(sl_pooling pooling) {
    static const char *const names[] = {[SL_POOLING_NONE] = "none",
                                        [SL_POOLING_MEAN] = "mean",
                                        [SL_POOLING_CLS] = "cls",
                                        [SL_POOLING_LAST] = "last"};
    return (unsigned)pooling <= SL_POOLING_LAST ? names[pooling] : "?";
}

uint32_t sl_plan_op_n_in(const sl_plan_op *op) {
    switch (op->kind) {
    case SL_OP_EMBED:
    case SL_OP_POSITION:
    case SL_OP_KIND_COUNT:
        return 0;
    case SL_OP_NORM:
    case SL_OP_LINEAR:
    case SL_OP_ROPE:
    case SL_OP_ADD_BIAS:
    case SL_OP_SOFTCAP:
    case SL_OP_COPY:
    case SL_OP_ROUTE:
        return 1;
    case SL_OP_ADD:
    case SL_OP_DISPATCH:
    case SL_OP_EXPERTS:
    case SL_OP_COMBINE:
        return 2;
    case SL_OP_ACT:
    case SL_OP_SCALE:
        return op->in[1] == SL_VALUE_ID_NONE ? 1 : 2;
    case SL_OP_ATTEND:
        return 3;
    }
    return 0;
}

/* An operation with the widths and choices of its values looked up. */
typedef struct op_shape {
    const sl_plan *p;
    const sl_plan_op *op;
    uint32_t in[SL_PLAN_INPUTS_MAX], out;             /* widths */
    uint32_t in_choices[SL_PLAN_INPUTS_MAX], choices; /* of inputs, of the output */
} op_shape;

/* A vector of n floats, or with mats > 1 that many of them; `none` allows it to be absent. */
static bool vector_fits(const sl_plan *p, int32_t i, uint32_t n, uint32_t mats, bool none) {
    if (i < 0) {
        return none;
    }
    if ((uint32_t)i >= p->n_weights) {
        return false;
    }
    const sl_plan_weight *w = &p->weights[i];
    return w->n_out == 1 && w->n_in == n && w->n_mats == mats && w->type == SL_TYPE_F32;
}

static bool matrix_fits(const sl_plan *p, int32_t i, uint32_t n_in, uint32_t n_out, uint32_t mats) {
    return i >= 0 && (uint32_t)i < p->n_weights && p->weights[i].n_in == n_in &&
           p->weights[i].n_out == n_out && p->weights[i].n_mats == mats;
}

/* n_head pieces of n elements, stride apart from `first` on, lie within a row of `width`. */
static bool pieces_fit(uint32_t n_head, uint32_t n, uint32_t stride, uint32_t first,
                       uint32_t width) {
    return n_head > 0 && n > 0 && (uint64_t)(n_head - 1) * stride + first + n <= width;
}

static bool norm_fits(const op_shape *s) {
    uint32_t n_head = s->op->u.norm.n_head;
    if (n_head == 0 || s->out % n_head != 0 || s->op->u.norm.first + (uint64_t)s->out > s->in[0] ||
        (!s->op->u.norm.is_layer_norm && s->op->bias >= 0)) {
        return false;
    }
    bool whole = vector_fits(s->p, s->op->weight, s->out, 1, true) &&
                 vector_fits(s->p, s->op->bias, s->out, 1, true);
    return whole || (vector_fits(s->p, s->op->weight, s->out / n_head, 1, true) &&
                     vector_fits(s->p, s->op->bias, s->out / n_head, 1, true));
}

static bool linear_fits(const op_shape *s) {
    const sl_plan_op *op = s->op;
    if (op->in[0] == op->out || !vector_fits(s->p, op->bias, s->out, 1, true)) {
        return false;
    }
    if (op->u.linear.n_head == 0) {
        return matrix_fits(s->p, op->weight, s->in[0], s->out, 1);
    }
    if (op->weight < 0 || (uint32_t)op->weight >= s->p->n_weights || op->bias >= 0) {
        return false;
    }
    const sl_plan_weight *w = &s->p->weights[op->weight];
    uint32_t n_head = op->u.linear.n_head;
    return w->n_mats == n_head &&
           pieces_fit(n_head, w->n_in, op->u.linear.in_stride, op->u.linear.in_first, s->in[0]) &&
           pieces_fit(n_head, w->n_out, op->u.linear.out_stride, op->u.linear.out_first, s->out);
}

static bool rope_fits(const op_shape *s) {
    const sl_plan_op *op = s->op;
    return op->in[0] == op->out && op->u.rope.rope < s->p->n_ropes &&
           s->out == op->u.rope.n_head * op->u.rope.d &&
           op->u.rope.first + (uint64_t)s->p->ropes[op->u.rope.rope].n_rot <= op->u.rope.d;
}

static bool attend_fits(const op_shape *s) {
    if (s->op->u.attend.group >= s->p->n_groups) {
        return false;
    }
    const sl_plan_group *g = &s->p->groups[s->op->u.attend.group];
    uint32_t n_head = s->op->u.attend.n_head;
    return s->op->u.attend.slot < g->n_layers && g->n_kv_head > 0 && n_head % g->n_kv_head == 0 &&
           s->in[0] == n_head * g->d_k && s->in[1] == g->n_kv_head * g->d_k &&
           s->in[2] == g->n_kv_head * g->d_v && s->out == n_head * g->d_v &&
           vector_fits(s->p, s->op->u.attend.sinks, n_head, 1, true);
}

static bool route_fits(const op_shape *s) {
    const sl_plan_route *r = &s->op->u.route;
    bool groups = r->n_group <= 1 || (r->n_expert % r->n_group == 0 && r->n_group_used > 0 &&
                                      r->n_group_used <= r->n_group &&
                                      r->n_used <= r->n_expert / r->n_group * r->n_group_used);
    return groups && r->n_expert <= SL_PLAN_EXPERTS_MAX && r->n_used > 0 &&
           r->n_used <= r->n_expert && r->n_used <= SL_PLAN_CHOICES_MAX &&
           s->in[0] == r->n_expert && s->out == 2 * r->n_used &&
           vector_fits(s->p, s->op->bias, r->n_expert, 1, true);
}

/* The route, whose width is two numbers a choice, goes with rows once per choice. */
static bool experts_fit(const op_shape *s) {
    const sl_plan_op *op = s->op;
    uint32_t n_choices = op->kind == SL_OP_DISPATCH ? s->choices : s->in_choices[0];
    if (n_choices == 0 || s->in[1] != 2 * n_choices || s->in_choices[1] != 0) {
        return false;
    }
    switch (op->kind) {
    case SL_OP_DISPATCH:
        return s->in_choices[0] == 0 && s->in[0] == s->out;
    case SL_OP_COMBINE:
        return s->choices == 0 && s->in[0] == s->out;
    default: /* SL_OP_EXPERTS */
        break;
    }
    if (op->weight < 0 || (uint32_t)op->weight >= s->p->n_weights || op->in[0] == op->out) {
        return false;
    }
    uint32_t n_expert = s->p->weights[op->weight].n_mats;
    return s->choices == n_choices && n_expert <= SL_PLAN_EXPERTS_MAX &&
           matrix_fits(s->p, op->weight, s->in[0], s->out, n_expert) &&
           vector_fits(s->p, op->bias, s->out, n_expert, true);
}

/* Operations on rows one by one: all their values exist equally often. */
static bool rows_fit(const op_shape *s) {
    const sl_plan_op *op = s->op;
    for (uint32_t i = 0; i < sl_plan_op_n_in(op); i++) {
        if (s->in_choices[i] != s->choices) {
            return false;
        }
    }
    switch (op->kind) {
    case SL_OP_EMBED:
        return s->choices == 0 && matrix_fits(s->p, op->weight, s->out, s->p->n_vocab, 1);
    case SL_OP_POSITION:
        return s->choices == 0 && op->weight >= 0 && (uint32_t)op->weight < s->p->n_weights &&
               s->p->weights[op->weight].n_in == s->out && s->p->weights[op->weight].n_mats == 1 &&
               s->p->weights[op->weight].n_out >= s->p->n_ctx_max;
    case SL_OP_NORM:
        return norm_fits(s);
    case SL_OP_LINEAR:
        return s->choices == 0 && linear_fits(s);
    case SL_OP_ROPE:
        return s->choices == 0 && rope_fits(s);
    case SL_OP_ATTEND:
        return s->choices == 0 && attend_fits(s);
    case SL_OP_ACT:
        return s->in[0] == s->out && (sl_plan_op_n_in(op) == 1 || s->in[1] == s->out) &&
               (op->u.act.kind != SL_ACT_SWIGLU_CLAMPED || sl_plan_op_n_in(op) == 2);
    case SL_OP_ADD:
        return s->in[0] == s->out && s->in[1] == s->out;
    case SL_OP_ADD_BIAS:
        return s->in[0] == s->out && vector_fits(s->p, op->weight, s->out, 1, false);
    case SL_OP_SCALE:
        return s->in[0] == s->out && (sl_plan_op_n_in(op) == 1 || s->in[1] == 1);
    case SL_OP_SOFTCAP:
        return s->in[0] == s->out && op->u.softcap.cap > 0.0f;
    case SL_OP_COPY:
        return pieces_fit(op->u.copy.n_head, op->u.copy.n, op->u.copy.in_stride,
                          op->u.copy.in_first, s->in[0]) &&
               pieces_fit(op->u.copy.n_head, op->u.copy.n, op->u.copy.out_stride,
                          op->u.copy.out_first, s->out);
    case SL_OP_ROUTE:
        return s->choices == 0 && route_fits(s);
    default:
        return false;
    }
}

static bool op_fits(const sl_plan *p, const sl_plan_op *op) {
    op_shape s = {.p = p, .op = op};
    for (uint32_t i = 0; i < sl_plan_op_n_in(op); i++) {
        if (op->in[i] >= p->n_values) {
            return false;
        }
        s.in[i] = p->values[op->in[i]].width;
        s.in_choices[i] = p->values[op->in[i]].n_choices;
    }
    if (op->out >= p->n_values) {
        return false;
    }
    s.out = p->values[op->out].width;
    s.choices = p->values[op->out].n_choices;
    if (op->kind == SL_OP_DISPATCH || op->kind == SL_OP_EXPERTS || op->kind == SL_OP_COMBINE) {
        return experts_fit(&s);
    }
    return rows_fit(&s);
}

/* Which values have been written so far in the segment that is being checked: one bit each. */
typedef struct value_set {
    uint8_t bits[65536 / 8]; /* sl_value_id has 16 bits */
} value_set;

static bool set_has(const value_set *s, sl_value_id v) {
    return (s->bits[v / 8] >> (v % 8) & 1) != 0;
}

static void set_add(value_set *s, sl_value_id v) {
    s->bits[v / 8] |= (uint8_t)(1u << (v % 8));
}

/* Rows of the head are no rows of the step: what needs a token, a position, a page or the step's
 * table of choices has no place there. */
static bool op_fits_head(sl_op_kind kind) {
    return kind != SL_OP_EMBED && kind != SL_OP_POSITION && kind != SL_OP_ROPE &&
           kind != SL_OP_ATTEND && kind != SL_OP_DISPATCH && kind != SL_OP_EXPERTS &&
           kind != SL_OP_COMBINE;
}

/* The route that rows were last sent to experts by: all that follows goes by it. */
typedef struct route_state {
    sl_value_id made, sent; /* by ROUTE; by DISPATCH */
    uint32_t n_expert;
} route_state;

static bool route_follows(const sl_plan *p, const sl_plan_op *op, route_state *r) {
    switch (op->kind) {
    case SL_OP_ROUTE:
        r->made = op->out;
        r->n_expert = op->u.route.n_expert;
        r->sent = SL_VALUE_ID_NONE;
        return true;
    case SL_OP_DISPATCH:
        r->sent = op->in[1];
        return op->in[1] == r->made;
    case SL_OP_EXPERTS:
        return op->in[1] == r->sent && p->weights[op->weight].n_mats == r->n_expert;
    case SL_OP_COMBINE:
        return op->in[1] == r->sent;
    default:
        return true;
    }
}

/* The operations [first, end) fit their shapes and read only what was written before. Returns the
 * first that does not, or end. */
static uint32_t segment_check(const sl_plan *p, uint32_t first, uint32_t end, bool is_head,
                              value_set *written) {
    route_state route = {.made = SL_VALUE_ID_NONE, .sent = SL_VALUE_ID_NONE};
    for (uint32_t i = first; i < end; i++) {
        const sl_plan_op *op = &p->ops[i];
        bool good = op_fits(p, op) && (!is_head || op_fits_head(op->kind)) &&
                    route_follows(p, op, &route);
        for (uint32_t k = 0; good && k < sl_plan_op_n_in(op); k++) {
            good = set_has(written, op->in[k]);
        }
        if (!good) {
            return i;
        }
        set_add(written, op->out);
    }
    return end;
}

sl_status sl_plan_check(const sl_plan *p, sl_error *err) {
    if (p->n_body > p->n_ops || p->hidden >= p->n_values || p->logits >= p->n_values ||
        p->values[p->logits].width != p->n_result) {
        return SL_FAIL(err, SL_ERR_INTERNAL,
                       "the description of architecture %s is wrong: it does not end in its result",
                       p->arch);
    }
    value_set body = {0}, head = {0};
    uint32_t wrong = segment_check(p, 0, p->n_body, false, &body);
    bool ends = wrong == p->n_body && set_has(&body, p->hidden);
    if (ends) {
        set_add(&head, p->hidden); /* all that the head gets from the body */
        wrong = segment_check(p, p->n_body, p->n_ops, true, &head);
        ends = wrong == p->n_ops && set_has(&head, p->logits);
    }
    if (ends) {
        return SL_OK;
    }
    if (wrong >= p->n_ops) {
        return SL_FAIL(err, SL_ERR_INTERNAL,
                       "the description of architecture %s is wrong: it never writes %s", p->arch,
                       p->values[p->logits].name);
    }
    return SL_FAIL(
        err, SL_ERR_INTERNAL,
        "the description of architecture %s is wrong: operation %" PRIu32
        " (%s, layer %d) does not fit its values or weights, or reads what was not written",
        p->arch, wrong, sl_op_kind_name(p->ops[wrong].kind), p->ops[wrong].layer);
}

static void print_value(const sl_plan *p, sl_value_id v, sl_buf *out) {
    const sl_plan_value *value = &p->values[v];
    if (value->n_choices > 0) {
        sl_buf_printf(out, "%s[%" PRIu32 " x %" PRIu32 "]", value->name, value->n_choices,
                      value->width);
    } else {
        sl_buf_printf(out, "%s[%" PRIu32 "]", value->name, value->width);
    }
}

static void print_weight(const sl_plan *p, int32_t i, sl_buf *out) {
    const sl_plan_weight *w = &p->weights[i];
    uint32_t n = w->n_out == 1 ? w->n_in : w->n_out;
    sl_buf_append(out, w->name.ptr, w->name.len);
    if (w->first > 0 || w->n_all != n) {
        sl_buf_printf(out, "[%" PRIu32 "...]", w->first);
    }
    sl_buf_printf(out, "{%s}", sl_type_info_of(w->type)->name);
}

static void print_rope(const sl_plan *p, const sl_plan_op *op, sl_buf *out) {
    const sl_plan_rope *r = &p->ropes[op->u.rope.rope];
    sl_buf_printf(out, "  %" PRIu32 " heads x %" PRIu32 ", %" PRIu32 " rotated", op->u.rope.n_head,
                  op->u.rope.d, r->n_rot);
    if (op->u.rope.first > 0) {
        sl_buf_printf(out, " from %" PRIu32, op->u.rope.first);
    }
    sl_buf_printf(out, ", %s", r->style == SL_ROPE_NORM ? "pairs" : "halves");
    if (p->n_ropes > 1) {
        sl_buf_printf(out, ", table %" PRIu32, op->u.rope.rope);
    }
}

static void print_attend(const sl_plan *p, const sl_plan_op *op, sl_buf *out) {
    const sl_plan_group *g = &p->groups[op->u.attend.group];
    sl_buf_printf(out,
                  "  %" PRIu32 " heads on %" PRIu32 " KV heads, scale %g, group %" PRIu32
                  " slot %" PRIu32,
                  op->u.attend.n_head, g->n_kv_head, (double)op->u.attend.scale, op->u.attend.group,
                  op->u.attend.slot);
    if (g->window > 0) {
        sl_buf_printf(out, ", window %" PRIu32, g->window);
    }
    if (op->u.attend.softcap > 0.0f) {
        sl_buf_printf(out, ", softcap %g", (double)op->u.attend.softcap);
    }
    if (op->u.attend.slopes != NULL) {
        sl_buf_append_str(out, ", ALiBi");
    }
    if (op->u.attend.sinks >= 0) {
        sl_buf_append_str(out, ", sinks ");
        print_weight(p, op->u.attend.sinks, out);
    }
}

static void print_route(const sl_plan_route *r, sl_buf *out) {
    static const char *const kinds[] = {"softmax", "sigmoid", "softmax of the used"};
    sl_buf_printf(out, "  %" PRIu32 " of %" PRIu32 " experts, %s", r->n_used, r->n_expert,
                  kinds[r->kind]);
    if (r->n_group > 1) {
        sl_buf_printf(out, ", %" PRIu32 " of %" PRIu32 " groups", r->n_group_used, r->n_group);
    }
    sl_buf_printf(out, "%s, scale %g", r->normalize ? ", normalized" : "", (double)r->scale);
}

static void print_params(const sl_plan *p, const sl_plan_op *op, sl_buf *out) {
    static const char *const acts[SL_ACT_KIND_COUNT] = {
        [SL_ACT_SILU] = "silu",           [SL_ACT_GELU] = "gelu",
        [SL_ACT_GELU_TANH] = "gelu_tanh", [SL_ACT_RELU_SQUARED] = "relu_squared",
        [SL_ACT_SIGMOID] = "sigmoid",     [SL_ACT_SWIGLU_CLAMPED] = "swiglu_clamped",
    };
    switch (op->kind) {
    case SL_OP_NORM:
        sl_buf_printf(out, "  %s, eps %g", op->u.norm.is_layer_norm ? "layer norm" : "rms",
                      (double)op->u.norm.eps);
        if (op->u.norm.n_head > 1) {
            sl_buf_printf(out, ", each of %" PRIu32 " heads", op->u.norm.n_head);
        }
        if (op->u.norm.first > 0 || p->values[op->in[0]].width != p->values[op->out].width) {
            sl_buf_printf(out, ", from %" PRIu32, op->u.norm.first);
        }
        break;
    case SL_OP_LINEAR:
        if (op->u.linear.n_head > 0) {
            sl_buf_printf(out, "  each of %" PRIu32 " heads", op->u.linear.n_head);
        }
        break;
    case SL_OP_ROPE:
        print_rope(p, op, out);
        break;
    case SL_OP_ATTEND:
        print_attend(p, op, out);
        break;
    case SL_OP_ACT:
        sl_buf_printf(out, "  %s%s", acts[op->u.act.kind],
                      sl_plan_op_n_in(op) > 1 ? ", gated" : "");
        break;
    case SL_OP_EMBED:
    case SL_OP_ADD:
    case SL_OP_SCALE: {
        float scale = op->kind == SL_OP_EMBED ? op->u.embed.scale : op->u.scale.scale;
        if (scale != 1.0f) {
            sl_buf_printf(out, "  scale %g", (double)scale);
        }
        break;
    }
    case SL_OP_SOFTCAP:
        sl_buf_printf(out, "  cap %g", (double)op->u.softcap.cap);
        break;
    case SL_OP_COPY:
        sl_buf_printf(out,
                      "  %" PRIu32 " x %" PRIu32 ", from %" PRIu32 " every %" PRIu32 " to %" PRIu32
                      " every %" PRIu32,
                      op->u.copy.n_head, op->u.copy.n, op->u.copy.in_first, op->u.copy.in_stride,
                      op->u.copy.out_first, op->u.copy.out_stride);
        break;
    case SL_OP_ROUTE:
        print_route(&op->u.route, out);
        break;
    default:
        break;
    }
}

sl_status sl_plan_print_op(const sl_plan *p, uint32_t i_op, sl_buf *out) {
    const sl_plan_op *op = &p->ops[i_op];
    if (op->layer >= 0) {
        sl_buf_printf(out, "layer %-3d ", op->layer);
    } else {
        sl_buf_append_str(out, "          ");
    }
    sl_buf_printf(out, "%-9s ", sl_op_kind_name(op->kind));
    print_value(p, op->out, out);
    sl_buf_append_str(out, " = ");
    if (op->weight >= 0) {
        print_weight(p, op->weight, out);
    }
    for (uint32_t i = 0; i < sl_plan_op_n_in(op); i++) {
        sl_buf_append_str(out, i == 0 && op->weight < 0 ? "" : ", ");
        print_value(p, op->in[i], out);
    }
    if (op->bias >= 0) {
        sl_buf_append_str(out, " + ");
        print_weight(p, op->bias, out);
    }
    print_params(p, op, out);
    return out->status;
}

sl_status sl_plan_print(const sl_plan *p, sl_buf *out) {
    for (uint32_t i = 0; i < p->n_ops; i++) {
        if (i == p->n_body) {
            sl_buf_append_str(out, "-- for rows that need logits --\n");
        }
        (void)sl_plan_print_op(p, i, out);
        sl_buf_append_char(out, '\n');
    }
    return out->status;
}
