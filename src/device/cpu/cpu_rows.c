/* Operations on one row at a time: the rows phases of a program. */
#include <math.h>
#include <string.h>

#include "device/cpu/cpu_program.h"

static void row_angles(sl_program *p, uint32_t i_rope, uint32_t row) {
    const sl_plan_rope *r = &p->plan->ropes[i_rope];
    float *cs = p->angles[i_rope] + (size_t)row * r->n_rot;
    uint32_t pos;
    const sl_step_run *run = sl_cpu_row_run(p, row, &pos);
    bool is_long = r->inv_freq_long != NULL && run->n_known > p->plan->ctx_switch;
    const float *inv_freq = is_long ? r->inv_freq_long : r->inv_freq;
    for (uint32_t j = 0; j < r->n_rot / 2; j++) {
        float angle = (float)pos * inv_freq[j];
        cs[2 * j] = cosf(angle) * r->mscale;
        cs[2 * j + 1] = sinf(angle) * r->mscale;
    }
}

static void row_rope(const sl_program *p, const cpu_segment *seg, const cpu_row_op *op,
                     uint32_t row) {
    const sl_plan_op *o = op->op;
    const sl_plan_rope *r = &p->plan->ropes[o->u.rope.rope];
    const float *cs = p->angles[o->u.rope.rope] + (size_t)row * r->n_rot;
    float *x = sl_cpu_value_row(seg, op->out, row) + o->u.rope.first;
    if (r->style == SL_ROPE_NORM) {
        p->device->kernels.rope_norm(x, o->u.rope.n_head, o->u.rope.d, r->n_rot, cs);
    } else {
        p->device->kernels.rope_neox(x, o->u.rope.n_head, o->u.rope.d, r->n_rot, cs);
    }
}

/* Keys and values of n rows from `row` on, of one run, whose tokens lie in one page. */
static void rows_store_kv(const sl_program *p, const cpu_segment *seg, const cpu_row_op *op,
                          uint32_t row, uint32_t n) {
    const uint32_t i_group = op->op->u.attend.group;
    const sl_plan_group *pg = &p->plan->groups[i_group];
    const cpu_group *g = &p->groups[i_group];
    const sl_kernels *kernels = &p->device->kernels;
    const sl_kv_type type = p->options.kv_type;
    uint32_t pos;
    const sl_step_run *run = sl_cpu_row_run(p, row, &pos);
    size_t page = (size_t)run->tables[i_group][pos / SL_PAGE_TOKENS];
    uint8_t *block = p->pages + page * p->page_bytes + op->offset;
    const cpu_value *k = &seg->values[op->in[0]], *v = &seg->values[op->in[1]];
    for (uint32_t h = 0; h < pg->n_kv_head; h++, block += g->head_bytes) {
        const sl_kv_rows rows = {.key = k->x + row * k->stride + (size_t)h * pg->d_k,
                                 .value = v->x + row * v->stride + (size_t)h * pg->d_v,
                                 .key_stride = k->stride,
                                 .value_stride = v->stride,
                                 .d_k = pg->d_k,
                                 .d_v = pg->d_v,
                                 .k_block = block,
                                 .v_block = block + g->v_offset,
                                 .slot = pos % SL_PAGE_TOKENS,
                                 .n = n};
        if (n > 1 && kernels->kv_store_rows[type] != NULL) {
            kernels->kv_store_rows[type](&rows);
            continue;
        }
        for (uint32_t i = 0; i < n; i++) {
            kernels->kv_store[type](rows.key + i * k->stride, pg->d_k, rows.value + i * v->stride,
                                    pg->d_v, rows.k_block, rows.v_block, rows.slot + i);
        }
    }
}

/* Rows [begin, end), whatever runs they are of. */
static void store_kv(const sl_program *p, const cpu_segment *seg, const cpu_row_op *op,
                     uint32_t begin, uint32_t end) {
    for (uint32_t row = begin, n; row < end; row += n) {
        uint32_t pos;
        const sl_step_run *run = sl_cpu_row_run(p, row, &pos);
        const uint32_t page_left = SL_PAGE_TOKENS - pos % SL_PAGE_TOKENS;
        const uint32_t run_left = run->row_begin + run->n_rows - row;
        n = end - row < page_left ? end - row : page_left;
        n = n < run_left ? n : run_left;
        rows_store_kv(p, seg, op, row, n);
    }
}

static void row_norm(const sl_program *p, const cpu_segment *seg, const cpu_row_op *op,
                     uint32_t row) {
    const sl_plan_op *o = op->op;
    const sl_kernels *k = &p->device->kernels;
    uint32_t n_head = o->u.norm.n_head, d = seg->values[op->out].width / n_head;
    const float *x = sl_cpu_value_row(seg, op->in[0], row) + o->u.norm.first;
    float *out = sl_cpu_value_row(seg, op->out, row);
    /* Weights as long as the row have a part for each head. */
    uint32_t step_w = o->weight >= 0 && p->plan->weights[o->weight].n_in > d ? d : 0;
    uint32_t step_b = o->bias >= 0 && p->plan->weights[o->bias].n_in > d ? d : 0;
    for (uint32_t h = 0; h < n_head; h++) {
        const float *w = op->w == NULL ? NULL : op->w + (size_t)h * step_w;
        const float *b = op->b == NULL ? NULL : op->b + (size_t)h * step_b;
        if (o->u.norm.is_layer_norm) {
            k->layer_norm(x + (size_t)h * d, w, b, d, o->u.norm.eps, out + (size_t)h * d);
        } else {
            k->rms_norm(x + (size_t)h * d, w, d, o->u.norm.eps, out + (size_t)h * d);
        }
    }
}

static void row_embed(const sl_program *p, const cpu_segment *seg, const cpu_row_op *op,
                      uint32_t row) {
    const sl_plan_weight *w = &p->plan->weights[op->op->weight];
    float *out = sl_cpu_value_row(seg, op->out, row);
    uint32_t index;
    if (op->kind == CPU_ROW_EMBED) {
        index = (uint32_t)p->now->ids[row];
    } else {
        (void)sl_cpu_row_run(p, row, &index);
    }
    sl_type_decode_row(w->type, w->data + (size_t)index * w->row_bytes, out, w->n_in);
    if (op->kind == CPU_ROW_EMBED && op->op->u.embed.scale != 1.0f) {
        p->device->kernels.scale(out, op->op->u.embed.scale, w->n_in, out);
    }
}

static void row_copy(const cpu_segment *seg, const cpu_row_op *op, uint32_t row) {
    const sl_plan_op *o = op->op;
    const float *x = sl_cpu_value_row(seg, op->in[0], row) + o->u.copy.in_first;
    float *out = sl_cpu_value_row(seg, op->out, row) + o->u.copy.out_first;
    for (uint32_t h = 0; h < o->u.copy.n_head; h++) {
        memcpy(out + (size_t)h * o->u.copy.out_stride, x + (size_t)h * o->u.copy.in_stride,
               o->u.copy.n * sizeof(*out));
    }
}

/* Whether `row` of the value goes through products among few rows or many; n_rows: of the
 * segment. */
static uint32_t row_when(const sl_program *p, const cpu_value *v, uint32_t n_rows, uint32_t row) {
    if (v->n_choices > 0) {
        const uint32_t *begin = p->choices.begin + p->choices.expert[row];
        n_rows = begin[1] - begin[0];
    }
    return n_rows < p->tiles_rows ? CPU_FEW : CPU_MANY;
}

/* Sorted choice `row` gets the rounded form of the row that it belongs to. */
static void row_dispatch_rounded(const sl_program *p, const cpu_segment *seg, const cpu_row_op *op,
                                 uint32_t row) {
    const cpu_value *in = &seg->values[op->in[0]], *out = &seg->values[op->out];
    const sl_act8 *from = &in->q, *to = &out->q;
    size_t n = out->width, n_groups = n / SL_ACT_GROUP, source = p->choices.row[row];
    if (row_when(p, out, 0, row) == CPU_MANY) {
        memcpy(out->bf16 + row * out->bf16_stride, in->bf16 + source * in->bf16_stride,
               n * sizeof(*out->bf16));
        return;
    }
    memcpy(to->q + row * to->q_stride, from->q + source * from->q_stride, n);
    memcpy(to->d + row * to->g_stride, from->d + source * from->g_stride,
           n_groups * sizeof(*to->d));
    memcpy(to->s + row * to->g_stride, from->s + source * from->g_stride,
           n_groups * sizeof(*to->s));
    memcpy(to->minus_sum + 2 * row * to->g_stride, from->minus_sum + 2 * source * from->g_stride,
           2 * n_groups * sizeof(*to->minus_sum));
}

/* The sum over a row's choices, in the order of its choices. */
static void row_combine(const sl_program *p, const cpu_segment *seg, const cpu_row_op *op,
                        uint32_t row) {
    uint32_t n_used = seg->values[op->in[0]].n_choices, n = seg->values[op->out].width;
    const float *share = sl_cpu_value_row(seg, op->in[1], row);
    const uint32_t *place = p->choices.place + (size_t)row * n_used;
    float *out = sl_cpu_value_row(seg, op->out, row);
    p->device->kernels.scale(sl_cpu_value_row(seg, op->in[0], place[0]), share[0], n, out);
    for (uint32_t k = 1; k < n_used; k++) {
        p->device->kernels.add_scaled(out, sl_cpu_value_row(seg, op->in[0], place[k]), share[k], n,
                                      out);
    }
}

static const float *row_expert_bias(const sl_program *p, const cpu_row_op *op, uint32_t row) {
    const sl_plan_weight *w = &p->plan->weights[op->op->bias];
    const void *bias = w->data + (size_t)p->choices.expert[row] * w->mat_bytes;
    return bias;
}

/* Those that are one kernel call, or a copy. */
static void row_simple(const sl_program *p, const cpu_segment *seg, const cpu_row_op *op,
                       uint32_t row) {
    const sl_kernels *k = &p->device->kernels;
    uint32_t n = seg->values[op->out].width;
    const float *x = sl_cpu_value_row(seg, op->in[0], row);
    const float *y = op->in[1] == SL_VALUE_ID_NONE ? NULL : sl_cpu_value_row(seg, op->in[1], row);
    float *out = sl_cpu_value_row(seg, op->out, row);
    switch (op->kind) {
    case CPU_ROW_ACT:
        k->act(op->op->u.act.kind, x, y, n, out);
        break;
    case CPU_ROW_ADD:
        if (op->op->u.scale.scale == 1.0f) {
            k->add(x, y, n, out);
        } else {
            k->add_scaled(x, y, op->op->u.scale.scale, n, out);
        }
        break;
    case CPU_ROW_ADD_BIAS:
        k->add(x, op->b, n, out);
        break;
    case CPU_ROW_ADD_EXPERT_BIAS:
        k->add(x, row_expert_bias(p, op, row), n, out);
        break;
    case CPU_ROW_SCALE:
        k->scale(x, y == NULL ? op->op->u.scale.scale : y[0], n, out);
        break;
    case CPU_ROW_SOFTCAP:
        k->softcap(x, op->op->u.softcap.cap, n, out);
        break;
    default: /* CPU_ROW_ROUTE */
        sl_cpu_route_row(&op->op->u.route, x, op->b, out);
        break;
    }
}

/* One row in the form that the products take which it goes through next. */
static void row_round(const sl_program *p, const cpu_segment *seg, const cpu_row_op *op,
                      uint32_t n_rows, uint32_t row) {
    const sl_kernels *k = &p->device->kernels;
    const cpu_value *v = &seg->values[op->in[0]];
    const float *x = sl_cpu_value_row(seg, op->in[0], row);
    if ((op->when & row_when(p, v, n_rows, row)) == 0) {
        return;
    }
    if (op->kind == CPU_ROW_QUANTIZE) {
        k->quantize_row(x, v->width, &v->q, row);
    } else {
        k->bf16.round_row(x, v->width, v->bf16 + v->bf16_stride * row);
    }
}

static void row_op_run(sl_program *p, cpu_segment *seg, const cpu_row_op *op, uint32_t n_rows,
                       uint32_t row) {
    switch (op->kind) {
    case CPU_ROW_EMBED:
    case CPU_ROW_POSITION:
        row_embed(p, seg, op, row);
        break;
    case CPU_ROW_NORM:
        row_norm(p, seg, op, row);
        break;
    case CPU_ROW_ROPE:
        row_rope(p, seg, op, row);
        break;
    case CPU_ROW_STORE_KV: /* of all rows together */
        break;
    case CPU_ROW_COPY:
        row_copy(seg, op, row);
        break;
    case CPU_ROW_DISPATCH:
        memcpy(sl_cpu_value_row(seg, op->out, row),
               sl_cpu_value_row(seg, op->in[0], p->choices.row[row]),
               seg->values[op->out].width * sizeof(float));
        break;
    case CPU_ROW_DISPATCH_ROUNDED:
        row_dispatch_rounded(p, seg, op, row);
        break;
    case CPU_ROW_COMBINE:
        row_combine(p, seg, op, row);
        break;
    case CPU_ROW_QUANTIZE:
    case CPU_ROW_ROUND:
        row_round(p, seg, op, n_rows, row);
        break;
    case CPU_ROW_ROPE_ANGLES:
        row_angles(p, op->i_rope, row);
        break;
    case CPU_ROW_GATHER:
        memcpy(sl_cpu_value_row(seg, op->out, row),
               sl_cpu_value_row(&p->body, op->out, p->gather[p->head_first + row]),
               seg->values[op->out].width * sizeof(float));
        break;
    case CPU_ROW_ACT:
    case CPU_ROW_ADD:
    case CPU_ROW_ADD_BIAS:
    case CPU_ROW_ADD_EXPERT_BIAS:
    case CPU_ROW_SCALE:
    case CPU_ROW_SOFTCAP:
    case CPU_ROW_ROUTE:
        row_simple(p, seg, op, row);
        break;
    }
}

void sl_cpu_rows_run(sl_program *p, cpu_segment *seg, const cpu_phase *phase, uint32_t n_rows,
                     uint32_t begin, uint32_t end) {
    const cpu_row_op *ops = seg->row_ops + phase->u.rows.first;
    for (uint32_t row = begin; row < end; row++) {
        for (uint32_t i = 0; i < phase->u.rows.n; i++) {
            row_op_run(p, seg, &ops[i], n_rows, row);
        }
    }
    const cpu_row_op *last = &ops[phase->u.rows.n - 1];
    if (last->kind == CPU_ROW_STORE_KV) { /* attention follows: always the last */
        store_kv(p, seg, last, begin, end);
    }
}
