#include "plan/plan.h"

#include <inttypes.h>

#include "base/error.h"

void sl_plan_deinit(sl_plan *p) {
    sl_arena_deinit(&p->arena);
    *p = (sl_plan){0};
}

const char *sl_op_kind_name(sl_op_kind kind) {
    static const char *const names[SL_OP_KIND_COUNT] = {
        [SL_OP_EMBED] = "embed", [SL_OP_RMS_NORM] = "rms_norm", [SL_OP_LINEAR] = "linear",
        [SL_OP_ROPE] = "rope",   [SL_OP_ATTEND] = "attend",     [SL_OP_SILU_MUL] = "silu_mul",
        [SL_OP_ADD] = "add",
    };
    return (unsigned)kind < SL_OP_KIND_COUNT ? names[kind] : "?";
}

/* How many values an operation reads. */
static uint32_t op_n_in(sl_op_kind kind) {
    switch (kind) {
    case SL_OP_EMBED:
        return 0;
    case SL_OP_RMS_NORM:
    case SL_OP_LINEAR:
    case SL_OP_ROPE:
        return 1;
    case SL_OP_SILU_MUL:
    case SL_OP_ADD:
        return 2;
    case SL_OP_ATTEND:
        return 3;
    case SL_OP_KIND_COUNT:
        break;
    }
    return 0;
}

static bool op_weight_fits(const sl_plan *p, const sl_plan_op *op, uint32_t w_in, uint32_t w_out) {
    if (op->weight < 0 || (uint32_t)op->weight >= p->n_weights) {
        return false;
    }
    const sl_plan_weight *w = &p->weights[op->weight];
    switch (op->kind) {
    case SL_OP_EMBED:
        return w->n_in == w_out && w->n_out == p->n_vocab;
    case SL_OP_RMS_NORM:
        return w->n_out == 1 && w->n_in == w_in && w_in == w_out;
    case SL_OP_LINEAR: {
        int32_t bias = op->u.linear.bias;
        bool bias_fits = bias < 0 ||
                         ((uint32_t)bias < p->n_weights && p->weights[bias].n_out == 1 &&
                          p->weights[bias].n_in == w_out);
        return op->in[0] != op->out && w->n_in == w_in && w->n_out == w_out && bias_fits;
    }
    default:
        return false;
    }
}

static bool op_attend_fits(const sl_plan *p, const sl_plan_op *op, const uint32_t width[3],
                           uint32_t w_out) {
    if (op->u.attend.group >= p->n_groups) {
        return false;
    }
    const sl_plan_group *g = &p->groups[op->u.attend.group];
    uint32_t n_head = op->u.attend.n_head;
    return op->u.attend.slot < g->n_layers && g->n_kv_head > 0 && n_head % g->n_kv_head == 0 &&
           width[0] == n_head * g->d_k && width[1] == g->n_kv_head * g->d_k &&
           width[2] == g->n_kv_head * g->d_v && w_out == n_head * g->d_v;
}

static bool op_fits(const sl_plan *p, const sl_plan_op *op) {
    uint32_t width[SL_PLAN_INPUTS_MAX] = {0};
    for (uint32_t i = 0; i < op_n_in(op->kind); i++) {
        if (op->in[i] >= p->n_values) {
            return false;
        }
        width[i] = p->values[op->in[i]].width;
    }
    if (op->out >= p->n_values) {
        return false;
    }
    uint32_t w_out = p->values[op->out].width;
    switch (op->kind) {
    case SL_OP_EMBED:
    case SL_OP_RMS_NORM:
    case SL_OP_LINEAR:
        return op_weight_fits(p, op, width[0], w_out);
    case SL_OP_ROPE:
        return op->in[0] == op->out && op->u.rope.rope < p->n_ropes &&
               w_out == op->u.rope.n_head * op->u.rope.d &&
               p->ropes[op->u.rope.rope].n_rot <= op->u.rope.d;
    case SL_OP_ATTEND:
        return op_attend_fits(p, op, width, w_out);
    case SL_OP_SILU_MUL:
    case SL_OP_ADD:
        return width[0] == width[1] && width[0] == w_out;
    case SL_OP_KIND_COUNT:
        break;
    }
    return false;
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

/* Rows of the head are no rows of the step: what needs a token, a position or a page has no place
 * there. */
static bool op_fits_head(sl_op_kind kind) {
    return kind != SL_OP_EMBED && kind != SL_OP_ROPE && kind != SL_OP_ATTEND;
}

/* The operations [first, end) fit their shapes and read only what was written before. Returns the
 * first that does not, or end. */
static uint32_t segment_check(const sl_plan *p, uint32_t first, uint32_t end, bool is_head,
                              value_set *written) {
    for (uint32_t i = first; i < end; i++) {
        const sl_plan_op *op = &p->ops[i];
        bool good = op_fits(p, op) && (!is_head || op_fits_head(op->kind));
        for (uint32_t k = 0; good && k < op_n_in(op->kind); k++) {
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
        p->values[p->logits].width != p->n_vocab) {
        return SL_FAIL(err, SL_ERR_INTERNAL,
                       "the description of architecture %s is wrong: it does not end in logits",
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
    sl_buf_printf(out, "%s[%" PRIu32 "]", p->values[v].name, p->values[v].width);
}

static void print_weight(const sl_plan *p, int32_t i, sl_buf *out) {
    const sl_plan_weight *w = &p->weights[i];
    sl_buf_append(out, w->name.ptr, w->name.len);
    sl_buf_printf(out, "{%s}", sl_type_info_of(w->type)->name);
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
    for (uint32_t i = 0; i < op_n_in(op->kind); i++) {
        sl_buf_append_str(out, i == 0 && op->weight < 0 ? "" : ", ");
        print_value(p, op->in[i], out);
    }
    switch (op->kind) {
    case SL_OP_RMS_NORM:
        sl_buf_printf(out, "  eps %g", (double)op->u.norm.eps);
        break;
    case SL_OP_LINEAR:
        if (op->u.linear.bias >= 0) {
            sl_buf_append_str(out, " + ");
            print_weight(p, op->u.linear.bias, out);
        }
        break;
    case SL_OP_ROPE: {
        const sl_plan_rope *r = &p->ropes[op->u.rope.rope];
        sl_buf_printf(out, "  %" PRIu32 " heads x %" PRIu32 ", %" PRIu32 " rotated, %s",
                      op->u.rope.n_head, op->u.rope.d, r->n_rot,
                      r->style == SL_ROPE_NORM ? "pairs" : "halves");
        break;
    }
    case SL_OP_ATTEND: {
        const sl_plan_group *g = &p->groups[op->u.attend.group];
        sl_buf_printf(out,
                      "  %" PRIu32 " heads on %" PRIu32 " KV heads, scale %g, group %" PRIu32
                      " slot %" PRIu32,
                      op->u.attend.n_head, g->n_kv_head, (double)op->u.attend.scale,
                      op->u.attend.group, op->u.attend.slot);
        break;
    }
    default:
        break;
    }
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
