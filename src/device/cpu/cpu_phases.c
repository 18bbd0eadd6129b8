/* From the plan's operations to phases: see cpu_program.h. */
#include "base/error.h"
#include "device/cpu/cpu_program.h"

#include <inttypes.h>
#include <string.h>

typedef struct phase_builder {
    sl_program *p;
    cpu_segment *seg;
    bool rows_open;                           /* the last phase is a rows phase that may grow */
    uint8_t (*fresh)[CPU_FORM_COUNT];         /* [n_values] when this form matches the float rows */
    const sl_plan_op *biased[CPU_LINEAR_MAX]; /* products whose bias is still to be added */
    uint32_t n_biased;
    uint32_t n_expert; /* of the last route */
} phase_builder;

/* n_choices: of the rows that it works on; rows of one phase are all of one kind. */
static void builder_row_op(phase_builder *b, uint32_t n_choices, cpu_row_op op) {
    cpu_segment *s = b->seg;
    if (!b->rows_open || s->phases[s->n_phases - 1].u.rows.n_choices != n_choices) {
        s->phases[s->n_phases++] = (cpu_phase){
            .kind = CPU_PHASE_ROWS, .u.rows = {.first = s->n_row_ops, .n_choices = n_choices}};
        b->rows_open = true;
    }
    cpu_phase *last = &s->phases[s->n_phases - 1];
    s->row_ops[s->n_row_ops++] = op;
    last->u.rows.n++;
    last->u.rows.n_floats += b->p->plan->values[op.out].width;
}

static uint32_t builder_choices(const phase_builder *b, sl_value_id v) {
    return b->p->plan->values[v].n_choices;
}

static void builder_wrote(phase_builder *b, sl_value_id v) {
    memset(b->fresh[v], 0, sizeof(b->fresh[v]));
    b->seg->values[v].written = true;
}

/* An operation that writes only a part of its output. */
static bool op_writes_part(const sl_plan_op *op) {
    return op->kind == SL_OP_COPY || (op->kind == SL_OP_LINEAR && op->u.linear.n_head > 0);
}

/* True if value v is read at or after operation i of the segment before it is written again. */
static bool value_is_read_from(const sl_plan *plan, uint32_t i, uint32_t end, sl_value_id v) {
    for (; i < end; i++) {
        const sl_plan_op *op = &plan->ops[i];
        for (uint32_t k = 0; k < sl_plan_op_n_in(op); k++) {
            if (op->in[k] == v) {
                return true;
            }
        }
        if (op->out == v && !op_writes_part(op)) {
            return false;
        }
    }
    return false;
}

/* A product whose only reader is the residual sum that follows adds into the sum at once. */
static bool linear_folds_add(const sl_plan *plan, uint32_t i, uint32_t end) {
    const sl_plan_op *op = &plan->ops[i];
    if (i + 1 >= end || op->kind != SL_OP_LINEAR || op->bias >= 0) {
        return false;
    }
    const sl_plan_op *next = &plan->ops[i + 1];
    return next->kind == SL_OP_ADD && next->u.scale.scale == 1.0f && next->out == next->in[0] &&
           next->in[1] == op->out && next->in[0] != op->out && next->in[0] != op->in[0] &&
           op->out != plan->hidden && !value_is_read_from(plan, i + 2, end, op->out);
}

/* The last phase, if the product may join it: it reads the same input and writes other values. */
static cpu_phase *linear_joined(const cpu_segment *s, cpu_phase_kind kind, sl_value_id in,
                                const cpu_weight *w, sl_value_id out) {
    cpu_phase *last = s->n_phases == 0 ? NULL : &s->phases[s->n_phases - 1];
    if (last == NULL || last->kind != kind || last->u.linear.in != in ||
        last->u.linear.form != w->form || last->u.linear.tiles != w->tiles ||
        last->u.linear.n == CPU_LINEAR_MAX || last->u.linear.act != NULL) {
        return NULL;
    }
    for (uint32_t j = 0; j < last->u.linear.n; j++) {
        if (last->u.linear.l[j].out == out) {
            return NULL;
        }
    }
    return last;
}

/* Value v is needed rounded, with so many rows: done once for all that reads it so. */
static void builder_round(phase_builder *b, sl_value_id v, cpu_form form, uint32_t when) {
    const uint32_t missing = when & ~(uint32_t)b->fresh[v][form];
    if (missing != 0) {
        b->seg->values[v].wants[form] = true;
        builder_row_op(
            b, builder_choices(b, v),
            (cpu_row_op){.kind = form == CPU_FORM_BF16 ? CPU_ROW_ROUND : CPU_ROW_QUANTIZE,
                         .in = {v},
                         .out = v,
                         .when = missing});
        b->fresh[v][form] |= (uint8_t)missing;
    }
}

/* The forms in which a product reads value v. */
static void builder_round_for(phase_builder *b, sl_value_id v, const cpu_weight *w) {
    const uint32_t many = w->tiles ? CPU_MANY : 0, others = (CPU_FEW | CPU_MANY) & ~many;
    if (w->form == CPU_FORM_INT8) {
        builder_round(b, v, CPU_FORM_INT8, others);
    }
    builder_round(b, v, CPU_FORM_BF16, many | (w->form == CPU_FORM_BF16 ? others : 0));
}

/* How a product of so many rows reads its input. */
static cpu_form form_read(const cpu_weight *w, uint32_t when) {
    return w->tiles && when == CPU_MANY ? CPU_FORM_BF16 : w->form;
}

/* The rounded form in which value v is read from operation i of the segment on, up to where it is
 * written again, by products of so many rows: if it is one, and nothing else reads v.
 * CPU_FORM_F32 otherwise. */
static cpu_form value_read_form(const phase_builder *b, uint32_t i, uint32_t end, sl_value_id v,
                                uint32_t when) {
    const sl_plan *plan = b->p->plan;
    cpu_form form = CPU_FORM_COUNT; /* not read yet */
    for (; i < end; i++) {
        const sl_plan_op *op = &plan->ops[i];
        bool product = op->kind == SL_OP_EXPERTS ||
                       (op->kind == SL_OP_LINEAR && op->u.linear.n_head == 0);
        for (uint32_t k = 0; k < sl_plan_op_n_in(op); k++) {
            if (op->in[k] != v) {
                continue;
            }
            if (!product || k > 0) {
                return CPU_FORM_F32;
            }
            const cpu_form this = form_read(&b->p->weights[op->weight], when);
            if (form != CPU_FORM_COUNT && this != form) {
                return CPU_FORM_F32;
            }
            form = this;
        }
        if (op->out == v) {
            return form == CPU_FORM_COUNT || op_writes_part(op) ? CPU_FORM_F32 : form;
        }
    }
    return form == CPU_FORM_COUNT || v == plan->hidden ? CPU_FORM_F32 : form;
}

/* The operations i, i + 1 .. i + n - 1 are products with one input, and the next one is the
 * activation that alone takes their outputs: returns n, or 0. */
static uint32_t gated_products(const phase_builder *b, uint32_t i, uint32_t end) {
    const sl_plan *plan = b->p->plan;
    const sl_plan_op *first = &plan->ops[i];
    uint32_t n = 1;
    while (n < 2 && i + n < end && plan->ops[i + n].kind == first->kind) {
        n++;
    }
    const sl_plan_op *act = &plan->ops[i + n];
    if (i + n >= end || act->kind != SL_OP_ACT || sl_plan_op_n_in(act) != n ||
        act->out == first->in[0] || plan->values[act->out].width < SL_ACT_GROUP) {
        return 0;
    }
    for (uint32_t k = 0; k < n; k++) {
        const sl_plan_op *op = &plan->ops[i + k];
        bool taken = op->out == act->in[0] || (n == 2 && op->out == act->in[1]);
        if (!taken || op->bias >= 0 || op->in[0] != first->in[0] || op->out == op->in[0] ||
            (k == 1 && op->out == first->out) ||
            (op->kind == SL_OP_LINEAR && op->u.linear.n_head > 0) ||
            b->p->weights[op->weight].form != b->p->weights[first->weight].form ||
            b->p->weights[op->weight].tiles != b->p->weights[first->weight].tiles ||
            (op->out != act->out && value_is_read_from(plan, i + n + 1, end, op->out))) {
            return 0;
        }
    }
    return n;
}

/* Appends products and the activation of their outputs as one phase, if they can be; returns how
 * many operations of the plan it covers. */
static uint32_t builder_gated(phase_builder *b, uint32_t i, uint32_t end) {
    const sl_plan *plan = b->p->plan;
    const sl_plan_op *op = &plan->ops[i];
    uint32_t n = gated_products(b, i, end);
    if (n == 0) {
        return 0;
    }
    const sl_plan_op *act = &plan->ops[i + n];
    cpu_phase *phase = &b->seg->phases[b->seg->n_phases++];
    phase->kind = op->kind == SL_OP_EXPERTS ? CPU_PHASE_EXPERTS : CPU_PHASE_LINEAR;
    phase->u.linear.in = op->in[0];
    phase->u.linear.form = b->p->weights[op->weight].form;
    phase->u.linear.tiles = b->p->weights[op->weight].tiles;
    phase->u.linear.n = n;
    phase->u.linear.act = act;
    for (uint32_t k = 0; k < n; k++) { /* in the order of the activation's inputs */
        const sl_plan_op *product = &plan->ops[i + k];
        phase->u.linear.l[product->out == act->in[0] ? 0 : 1] = (cpu_linear){
            .w = &b->p->weights[product->weight], .out = product->out};
    }
    b->rows_open = false;
    memset(b->fresh[act->out], 0, sizeof(b->fresh[act->out]));
    for (uint32_t when = CPU_FEW; when <= CPU_MANY; when++) {
        const cpu_form form = value_read_form(b, i + n + 1, end, act->out, when);
        if (form == CPU_FORM_INT8 || form == CPU_FORM_BF16) {
            phase->u.linear.act_form[when] = form;
            b->seg->values[act->out].wants[form] = true;
            b->fresh[act->out][form] |= (uint8_t)when;
        } else {
            phase->u.linear.act_form[when] = CPU_FORM_F32;
            b->seg->values[act->out].written = true;
        }
    }
    return n + 1;
}

/* Appends a product, of experts or not; returns how many operations of the plan it covers. */
static uint32_t builder_linear(phase_builder *b, uint32_t i, uint32_t end) {
    const sl_plan *plan = b->p->plan;
    const sl_plan_op *op = &plan->ops[i];
    const cpu_weight *w = &b->p->weights[op->weight];
    sl_value_id in = op->in[0];
    builder_round_for(b, in, w);
    uint32_t gated = builder_gated(b, i, end);
    if (gated > 0) {
        return gated;
    }
    bool folds = linear_folds_add(plan, i, end);
    cpu_linear l = {.w = w, .out = folds ? plan->ops[i + 1].out : op->out, .add = folds};
    cpu_segment *s = b->seg;
    cpu_phase_kind kind = op->kind == SL_OP_EXPERTS ? CPU_PHASE_EXPERTS : CPU_PHASE_LINEAR;
    cpu_phase *last = linear_joined(s, kind, in, w, l.out);
    if (last == NULL) {
        last = &s->phases[s->n_phases++];
        last->kind = kind;
        last->u.linear.in = in;
        last->u.linear.form = w->form;
        last->u.linear.tiles = w->tiles;
        last->u.linear.n = 0;
        last->u.linear.act = NULL;
    }
    last->u.linear.l[last->u.linear.n++] = l;
    b->rows_open = false;
    builder_wrote(b, l.out);
    if (op->bias >= 0) {
        b->biased[b->n_biased++] = op;
    }
    return folds ? 2 : 1;
}

/* Biases of the products of the phase just ended: added before anything else reads or writes. */
static void builder_flush_biases(phase_builder *b) {
    for (uint32_t i = 0; i < b->n_biased; i++) {
        const sl_plan_op *op = b->biased[i];
        builder_row_op(b, builder_choices(b, op->out),
                       (cpu_row_op){.kind = op->kind == SL_OP_EXPERTS ? CPU_ROW_ADD_EXPERT_BIAS
                                                                      : CPU_ROW_ADD_BIAS,
                                    .op = op,
                                    .in = {op->out, SL_VALUE_ID_NONE},
                                    .out = op->out,
                                    .b = sl_cpu_vector(b->p->plan, op->bias)});
    }
    b->n_biased = 0;
}

static void builder_heads(phase_builder *b, const sl_plan_op *op) {
    cpu_phase *phase = &b->seg->phases[b->seg->n_phases++];
    phase->kind = CPU_PHASE_HEADS;
    phase->u.heads.op = op;
    phase->u.heads.w = &b->p->weights[op->weight];
    b->rows_open = false;
    builder_wrote(b, op->out);
}

static void builder_attend(phase_builder *b, const sl_plan_op *op) {
    const cpu_group *g = &b->p->groups[op->u.attend.group];
    const sl_plan_group *pg = &b->p->plan->groups[op->u.attend.group];
    size_t offset = (size_t)op->u.attend.slot * pg->n_kv_head * g->head_bytes;
    builder_row_op(b, 0,
                   (cpu_row_op){.kind = CPU_ROW_STORE_KV,
                                .op = op,
                                .in = {op->in[1], op->in[2]},
                                .out = op->in[1],
                                .offset = offset});
    cpu_phase *phase = &b->seg->phases[b->seg->n_phases++];
    phase->kind = CPU_PHASE_ATTEND;
    phase->u.attend = (cpu_attend){
        .op = op, .sinks = sl_cpu_vector(b->p->plan, op->u.attend.sinks), .offset = offset};
    b->rows_open = false;
    builder_wrote(b, op->out);
}

/* The rows' choices are sorted before the first rows go to their experts. */
static void builder_sort(phase_builder *b, const sl_plan_op *op) {
    cpu_phase *phase = &b->seg->phases[b->seg->n_phases++];
    phase->kind = CPU_PHASE_SORT;
    phase->u.sort.route = op->in[1];
    phase->u.sort.n_used = builder_choices(b, op->out);
    phase->u.sort.n_expert = b->n_expert;
    b->rows_open = false;
}

/* True if all that touches the output of dispatch i, up to the next dispatch into it, are products
 * that read it rounded to int8. */
static bool dispatch_only_rounded(const phase_builder *b, uint32_t i, uint32_t end) {
    const sl_plan *plan = b->p->plan;
    const sl_value_id v = plan->ops[i].out;
    for (i++; i < end && plan->ops[i].out != v; i++) {
        const sl_plan_op *op = &plan->ops[i];
        for (uint32_t k = 0; k < sl_plan_op_n_in(op); k++) {
            if (op->in[k] == v &&
                (op->kind != SL_OP_EXPERTS || b->p->weights[op->weight].form != CPU_FORM_INT8)) {
                return false;
            }
        }
    }
    return i == end || plan->ops[i].kind == SL_OP_DISPATCH;
}

/* Row operations: what they are called here, and the kind of rows that they run over. */
static void builder_rows(phase_builder *b, const sl_plan_op *op) {
    static const cpu_row_kind kinds[SL_OP_KIND_COUNT] = {
        [SL_OP_EMBED] = CPU_ROW_EMBED,       [SL_OP_POSITION] = CPU_ROW_POSITION,
        [SL_OP_NORM] = CPU_ROW_NORM,         [SL_OP_ROPE] = CPU_ROW_ROPE,
        [SL_OP_ACT] = CPU_ROW_ACT,           [SL_OP_ADD] = CPU_ROW_ADD,
        [SL_OP_ADD_BIAS] = CPU_ROW_ADD_BIAS, [SL_OP_SCALE] = CPU_ROW_SCALE,
        [SL_OP_SOFTCAP] = CPU_ROW_SOFTCAP,   [SL_OP_COPY] = CPU_ROW_COPY,
        [SL_OP_ROUTE] = CPU_ROW_ROUTE,       [SL_OP_DISPATCH] = CPU_ROW_DISPATCH,
        [SL_OP_COMBINE] = CPU_ROW_COMBINE,
    };
    const sl_plan *plan = b->p->plan;
    uint32_t n_in = sl_plan_op_n_in(op);
    cpu_row_op row = {
        .kind = kinds[op->kind],
        .op = op,
        .in = {n_in > 0 ? op->in[0] : op->out, n_in > 1 ? op->in[1] : SL_VALUE_ID_NONE},
        .out = op->out,
        .b = sl_cpu_vector(plan, op->bias)};
    if (op->kind == SL_OP_NORM) {
        row.w = sl_cpu_vector(plan, op->weight);
    } else if (op->kind == SL_OP_ADD_BIAS) {
        row.b = sl_cpu_vector(plan, op->weight);
    } else if (op->kind == SL_OP_ROUTE) {
        b->n_expert = op->u.route.n_expert;
    }
    builder_row_op(b, builder_choices(b, op->out), row);
    builder_wrote(b, op->out);
}

/* Rows that products read rounded are rounded once, before they are copied to their choices: in
 * both forms if there are many, since it is not yet known how many go to each expert. */
static void builder_dispatch(phase_builder *b, uint32_t i, uint32_t end) {
    const sl_plan_op *op = &b->p->plan->ops[i];
    const uint32_t many = b->p->tiles_rows == UINT32_MAX ? 0 : CPU_MANY;
    bool rounded = dispatch_only_rounded(b, i, end);
    if (rounded) {
        builder_round(b, op->in[0], CPU_FORM_INT8, CPU_FEW | CPU_MANY);
        builder_round(b, op->in[0], CPU_FORM_BF16, many);
    }
    builder_sort(b, op);
    if (!rounded) {
        builder_rows(b, op);
        return;
    }
    builder_row_op(
        b, builder_choices(b, op->out),
        (cpu_row_op){
            .kind = CPU_ROW_DISPATCH_ROUNDED, .op = op, .in = {op->in[0]}, .out = op->out});
    b->seg->values[op->out].wants[CPU_FORM_INT8] = true; /* and no float rows */
    b->seg->values[op->out].wants[CPU_FORM_BF16] |= many != 0;
    b->fresh[op->out][CPU_FORM_INT8] = (CPU_FEW | CPU_MANY) & ~many;
    b->fresh[op->out][CPU_FORM_BF16] = (uint8_t)many;
}

static bool builder_awaits_bias(const phase_builder *b, sl_value_id v) {
    for (uint32_t i = 0; i < b->n_biased; i++) {
        if (b->biased[i]->out == v) {
            return true;
        }
    }
    return false;
}

static uint32_t builder_op(phase_builder *b, uint32_t i, uint32_t end) {
    const sl_plan_op *op = &b->p->plan->ops[i];
    bool product = op->kind == SL_OP_EXPERTS ||
                   (op->kind == SL_OP_LINEAR && op->u.linear.n_head == 0);
    if (!product || b->n_biased == CPU_LINEAR_MAX || builder_awaits_bias(b, op->in[0])) {
        builder_flush_biases(b);
    }
    switch (op->kind) {
    case SL_OP_LINEAR:
    case SL_OP_EXPERTS:
        if (product) {
            return builder_linear(b, i, end);
        }
        builder_heads(b, op);
        break;
    case SL_OP_ATTEND:
        builder_attend(b, op);
        break;
    case SL_OP_DISPATCH:
        builder_dispatch(b, i, end);
        break;
    default:
        builder_rows(b, op);
        break;
    }
    return 1;
}

static sl_status segment_build(sl_program *p, cpu_segment *seg, uint32_t first, uint32_t end,
                               bool is_head, sl_error *err) {
    const sl_plan *plan = p->plan;
    uint32_t n = end - first;
    /* An operation makes at most three phases and three row operations; the preamble a few more. */
    seg->phases = sl_arena_alloc_zero(&p->arena, 3 * (size_t)n + 2, sizeof(*seg->phases));
    seg->row_ops = sl_arena_alloc_zero(&p->arena, 3 * (size_t)n + SL_PLAN_ROPES_MAX + 2,
                                       sizeof(*seg->row_ops));
    seg->values = sl_arena_alloc_zero(&p->arena, plan->n_values, sizeof(*seg->values));
    uint8_t(*fresh)[CPU_FORM_COUNT] = sl_arena_alloc_zero(&p->arena, plan->n_values,
                                                          sizeof(*fresh));
    if (seg->phases == NULL || seg->row_ops == NULL || seg->values == NULL || fresh == NULL) {
        return SL_FAIL(err, SL_ERR_MEMORY, "no memory for the program of %" PRIu32 " operations",
                       n);
    }
    for (uint32_t i = 0; i < plan->n_values; i++) {
        seg->values[i].rows_max = seg->rows_max;
    }
    phase_builder b = {.p = p, .seg = seg, .fresh = fresh};
    for (uint32_t i = 0; i < plan->n_ropes && !is_head; i++) {
        builder_row_op(&b, 0, (cpu_row_op){.kind = CPU_ROW_ROPE_ANGLES, .i_rope = i});
    }
    if (is_head) {
        builder_row_op(&b, 0, (cpu_row_op){.kind = CPU_ROW_GATHER, .out = plan->hidden});
        builder_wrote(&b, plan->hidden);
    }
    for (uint32_t i = first; i < end;) {
        i += builder_op(&b, i, end);
    }
    builder_flush_biases(&b);
    return SL_OK;
}

sl_status sl_cpu_phases_build(sl_program *p, sl_error *err) {
    p->body.rows_max = p->options.rows_max;
    p->head.rows_max = p->options.rows_max < SL_LOGITS_BLOCK ? p->options.rows_max
                                                             : SL_LOGITS_BLOCK;
    SL_TRY(segment_build(p, &p->body, 0, p->plan->n_body, false, err));
    SL_TRY(segment_build(p, &p->head, p->plan->n_body, p->plan->n_ops, true, err));
    return p->plan->is_encoder ? SL_OK : sl_cpu_top_build(p, err);
}
