/* From the plan's operations to phases: see cpu_program.h. */
#include "base/error.h"
#include "device/cpu/cpu_program.h"

#include <inttypes.h>

typedef struct phase_builder {
    sl_program *p;
    cpu_segment *seg;
    bool rows_open;   /* the last phase is a rows phase that may grow */
    bool *q_is_fresh; /* [n_values] the rounded form matches the float rows */
} phase_builder;

bool sl_cpu_weight_packs(const sl_program *p, const sl_plan_weight *w) {
    return !p->options.exact && w->n_out > 1 && p->device->kernels.product[w->type].mul != NULL;
}

static void builder_row_op(phase_builder *b, cpu_row_op op) {
    cpu_segment *s = b->seg;
    if (!b->rows_open) {
        cpu_phase *phase = &s->phases[s->n_phases++];
        phase->kind = CPU_PHASE_ROWS;
        phase->u.rows.first = s->n_row_ops;
        phase->u.rows.n = 0;
        b->rows_open = true;
    }
    s->row_ops[s->n_row_ops++] = op;
    s->phases[s->n_phases - 1].u.rows.n++;
}

static void builder_wrote(phase_builder *b, sl_value_id v) {
    b->q_is_fresh[v] = false;
    b->seg->values[v].written = true;
}

/* True if value v is read at or after operation i of the segment before it is written again. */
static bool value_is_read_from(const sl_plan *plan, uint32_t i, uint32_t end, sl_value_id v) {
    for (; i < end; i++) {
        const sl_plan_op *op = &plan->ops[i];
        bool reads_all = op->kind == SL_OP_ATTEND;
        bool reads_two = op->kind == SL_OP_ADD || op->kind == SL_OP_SILU_MUL || reads_all;
        bool reads_one = op->kind != SL_OP_EMBED;
        if ((reads_one && op->in[0] == v) || (reads_two && op->in[1] == v) ||
            (reads_all && op->in[2] == v)) {
            return true;
        }
        if (op->out == v) {
            return false;
        }
    }
    return false;
}

/* A product whose only reader is the residual sum that follows adds into the sum at once. */
static bool linear_folds_add(const sl_plan *plan, uint32_t i, uint32_t end) {
    const sl_plan_op *op = &plan->ops[i];
    if (i + 1 >= end || op->u.linear.bias >= 0) {
        return false;
    }
    const sl_plan_op *next = &plan->ops[i + 1];
    return next->kind == SL_OP_ADD && next->out == next->in[0] && next->in[1] == op->out &&
           next->in[0] != op->out && next->in[0] != op->in[0] && op->out != plan->hidden &&
           !value_is_read_from(plan, i + 2, end, op->out);
}

/* Appends a product; returns how many operations of the plan it covers. */
static uint32_t builder_linear(phase_builder *b, uint32_t i, uint32_t end) {
    const sl_plan *plan = b->p->plan;
    const sl_plan_op *op = &plan->ops[i];
    const cpu_weight *w = &b->p->weights[op->weight];
    bool quantized = w->product != NULL;
    sl_value_id in = op->in[0];
    if (quantized && !b->q_is_fresh[in]) {
        b->seg->values[in].wants_q = true;
        builder_row_op(b, (cpu_row_op){.kind = CPU_ROW_QUANTIZE, .in = {in}, .out = in});
        b->q_is_fresh[in] = true;
    }
    bool folds = linear_folds_add(plan, i, end);
    cpu_linear l = {.w = w, .out = folds ? plan->ops[i + 1].out : op->out, .add = folds};
    cpu_segment *s = b->seg;
    cpu_phase *last = s->n_phases == 0 ? NULL : &s->phases[s->n_phases - 1];
    bool joins = last != NULL && last->kind == CPU_PHASE_LINEAR && last->u.linear.in == in &&
                 last->u.linear.quantized == quantized && last->u.linear.n < CPU_LINEAR_MAX;
    for (uint32_t j = 0; joins && j < last->u.linear.n; j++) {
        joins = last->u.linear.l[j].out != l.out;
    }
    if (!joins) {
        last = &s->phases[s->n_phases++];
        last->kind = CPU_PHASE_LINEAR;
        last->u.linear.in = in;
        last->u.linear.quantized = quantized;
        last->u.linear.n = 0;
    }
    last->u.linear.l[last->u.linear.n++] = l;
    b->rows_open = false;
    builder_wrote(b, l.out);
    if (op->u.linear.bias >= 0) {
        builder_row_op(b, (cpu_row_op){.kind = CPU_ROW_ADD_BIAS,
                                       .in = {op->out},
                                       .out = op->out,
                                       .w = &plan->weights[op->u.linear.bias]});
    }
    return folds ? 2 : 1;
}

static void builder_attend(phase_builder *b, const sl_plan_op *op) {
    const cpu_group *g = &b->p->groups[op->u.attend.group];
    const sl_plan_group *pg = &b->p->plan->groups[op->u.attend.group];
    size_t offset = (size_t)op->u.attend.slot * pg->n_kv_head * g->head_bytes;
    builder_row_op(b, (cpu_row_op){.kind = CPU_ROW_STORE_KV,
                                   .in = {op->in[1], op->in[2]},
                                   .group = op->u.attend.group,
                                   .offset = offset});
    cpu_phase *phase = &b->seg->phases[b->seg->n_phases++];
    phase->kind = CPU_PHASE_ATTEND;
    phase->u.attend = (cpu_attend){.q = op->in[0],
                                   .out = op->out,
                                   .group = op->u.attend.group,
                                   .n_head = op->u.attend.n_head,
                                   .offset = offset,
                                   .scale = op->u.attend.scale};
    b->rows_open = false;
    builder_wrote(b, op->out);
}

static uint32_t builder_op(phase_builder *b, uint32_t i, uint32_t end) {
    const sl_plan *plan = b->p->plan;
    const sl_plan_op *op = &plan->ops[i];
    const sl_plan_weight *w = op->weight < 0 ? NULL : &plan->weights[op->weight];
    switch (op->kind) {
    case SL_OP_LINEAR:
        return builder_linear(b, i, end);
    case SL_OP_ATTEND:
        builder_attend(b, op);
        return 1;
    case SL_OP_EMBED:
        builder_row_op(b, (cpu_row_op){.kind = CPU_ROW_EMBED, .out = op->out, .w = w});
        break;
    case SL_OP_RMS_NORM:
        builder_row_op(b, (cpu_row_op){.kind = CPU_ROW_RMS_NORM,
                                       .in = {op->in[0]},
                                       .out = op->out,
                                       .w = w,
                                       .eps = op->u.norm.eps});
        break;
    case SL_OP_ROPE:
        builder_row_op(b, (cpu_row_op){.kind = CPU_ROW_ROPE,
                                       .in = {op->in[0]},
                                       .out = op->out,
                                       .n_head = op->u.rope.n_head,
                                       .d = op->u.rope.d,
                                       .i_rope = op->u.rope.rope});
        break;
    case SL_OP_SILU_MUL:
        builder_row_op(
            b,
            (cpu_row_op){.kind = CPU_ROW_SILU_MUL, .in = {op->in[0], op->in[1]}, .out = op->out});
        break;
    case SL_OP_ADD:
        builder_row_op(
            b, (cpu_row_op){.kind = CPU_ROW_ADD, .in = {op->in[0], op->in[1]}, .out = op->out});
        break;
    case SL_OP_KIND_COUNT:
        break;
    }
    builder_wrote(b, op->out);
    return 1;
}

static sl_status segment_build(sl_program *p, cpu_segment *seg, uint32_t first, uint32_t end,
                               bool is_head, sl_error *err) {
    const sl_plan *plan = p->plan;
    uint32_t n = end - first;
    /* An operation makes at most two phases and two row operations; the preamble a few more. */
    seg->phases = sl_arena_alloc_zero(&p->arena, 2 * n + 2, sizeof(*seg->phases));
    seg->row_ops = sl_arena_alloc_zero(&p->arena, 2 * n + SL_PLAN_ROPES_MAX + 2,
                                       sizeof(*seg->row_ops));
    seg->values = sl_arena_alloc_zero(&p->arena, plan->n_values, sizeof(*seg->values));
    bool *fresh = sl_arena_alloc_zero(&p->arena, plan->n_values, sizeof(*fresh));
    if (seg->phases == NULL || seg->row_ops == NULL || seg->values == NULL || fresh == NULL) {
        return SL_FAIL(err, SL_ERR_MEMORY, "no memory for the program of %" PRIu32 " operations",
                       n);
    }
    phase_builder b = {.p = p, .seg = seg, .q_is_fresh = fresh};
    for (uint32_t i = 0; i < plan->n_ropes && !is_head; i++) {
        builder_row_op(&b, (cpu_row_op){.kind = CPU_ROW_ROPE_ANGLES, .i_rope = i});
    }
    if (is_head) {
        builder_row_op(&b, (cpu_row_op){.kind = CPU_ROW_GATHER, .out = plan->hidden});
        builder_wrote(&b, plan->hidden);
    }
    for (uint32_t i = first; i < end;) {
        i += builder_op(&b, i, end);
    }
    return SL_OK;
}

sl_status sl_cpu_phases_build(sl_program *p, sl_error *err) {
    p->body.rows_max = p->options.rows_max;
    p->head.rows_max = p->options.rows_max < SL_LOGITS_BLOCK ? p->options.rows_max
                                                             : SL_LOGITS_BLOCK;
    SL_TRY(segment_build(p, &p->body, 0, p->plan->n_body, false, err));
    return segment_build(p, &p->head, p->plan->n_body, p->plan->n_ops, true, err);
}
