/* Running a program on a step: every worker walks the phases, barriers between them. */
#include <math.h>
#include <string.h>

#include "base/error.h"
#include "device/cpu/cpu_program.h"

/* Activations of one row block of a product should stay in a core's second-level cache. */
#define LINEAR_BLOCK_BYTES ((size_t)384 << 10)

typedef struct segment_job {
    sl_program *p;
    cpu_segment *seg;
    uint32_t n_rows;
} segment_job;

static const float *value_row(const cpu_segment *seg, sl_value_id v, uint32_t row) {
    return seg->values[v].x + seg->values[v].stride * row;
}

static float *value_row_mut(const cpu_segment *seg, sl_value_id v, uint32_t row) {
    return seg->values[v].x + seg->values[v].stride * row;
}

/* The run that a row belongs to, and the row's position in its sequence. */
static const sl_step_run *row_run(const sl_program *p, uint32_t row, uint32_t *pos_out) {
    const sl_step_run *run = &p->now->runs[p->row_run[row]];
    *pos_out = run->pos0 + (row - run->row_begin);
    return run;
}

static void row_angles(sl_program *p, uint32_t i_rope, uint32_t row) {
    const sl_plan_rope *r = &p->plan->ropes[i_rope];
    float *cs = p->angles[i_rope] + (size_t)row * r->n_rot;
    uint32_t pos;
    (void)row_run(p, row, &pos);
    for (uint32_t j = 0; j < r->n_rot / 2; j++) {
        float angle = (float)pos * r->inv_freq[j];
        cs[2 * j] = cosf(angle) * r->mscale;
        cs[2 * j + 1] = sinf(angle) * r->mscale;
    }
}

static void row_rope(const sl_program *p, const cpu_segment *seg, const cpu_row_op *op,
                     uint32_t row) {
    const sl_plan_rope *r = &p->plan->ropes[op->i_rope];
    const float *cs = p->angles[op->i_rope] + (size_t)row * r->n_rot;
    float *x = value_row_mut(seg, op->out, row);
    if (r->style == SL_ROPE_NORM) {
        p->device->kernels.rope_norm(x, op->n_head, op->d, r->n_rot, cs);
    } else {
        p->device->kernels.rope_neox(x, op->n_head, op->d, r->n_rot, cs);
    }
}

static void row_store_kv(const sl_program *p, const cpu_segment *seg, const cpu_row_op *op,
                         uint32_t row) {
    const sl_plan_group *pg = &p->plan->groups[op->group];
    const cpu_group *g = &p->groups[op->group];
    uint32_t pos;
    const sl_step_run *run = row_run(p, row, &pos);
    size_t page = (size_t)run->tables[op->group][pos / SL_PAGE_TOKENS];
    uint8_t *block = g->base + page * g->page_bytes + op->offset;
    const float *k = value_row(seg, op->in[0], row);
    const float *v = value_row(seg, op->in[1], row);
    for (uint32_t h = 0; h < pg->n_kv_head; h++) {
        p->device->kernels.kv_store[p->options.kv_type](k + (size_t)h * pg->d_k, pg->d_k,
                                                        v + (size_t)h * pg->d_v, pg->d_v, block,
                                                        block + g->v_offset, pos % SL_PAGE_TOKENS);
        block += g->head_bytes;
    }
}

static void row_op_run(sl_program *p, cpu_segment *seg, const cpu_row_op *op, uint32_t row) {
    const sl_kernels *k = &p->device->kernels;
    switch (op->kind) {
    case CPU_ROW_EMBED:
        sl_type_decode_row(op->w->type, op->w->data + (size_t)p->now->ids[row] * op->w->row_bytes,
                           value_row_mut(seg, op->out, row), op->w->n_in);
        break;
    case CPU_ROW_RMS_NORM:
        k->rms_norm(value_row(seg, op->in[0], row), (const float *)(const void *)op->w->data,
                    op->w->n_in, op->eps, value_row_mut(seg, op->out, row));
        break;
    case CPU_ROW_ROPE:
        row_rope(p, seg, op, row);
        break;
    case CPU_ROW_STORE_KV:
        row_store_kv(p, seg, op, row);
        break;
    case CPU_ROW_SILU_MUL:
        k->silu_mul(value_row(seg, op->in[0], row), value_row(seg, op->in[1], row),
                    seg->values[op->out].width, value_row_mut(seg, op->out, row));
        break;
    case CPU_ROW_ADD:
        k->add(value_row(seg, op->in[0], row), value_row(seg, op->in[1], row),
               seg->values[op->out].width, value_row_mut(seg, op->out, row));
        break;
    case CPU_ROW_ADD_BIAS:
        k->add(value_row(seg, op->in[0], row), (const float *)(const void *)op->w->data,
               seg->values[op->out].width, value_row_mut(seg, op->out, row));
        break;
    case CPU_ROW_QUANTIZE:
        k->quantize_row(value_row(seg, op->in[0], row), seg->values[op->in[0]].width,
                        &seg->values[op->in[0]].q, row);
        break;
    case CPU_ROW_ROPE_ANGLES:
        row_angles(p, op->i_rope, row);
        break;
    case CPU_ROW_GATHER:
        memcpy(value_row_mut(seg, op->out, row),
               value_row(&p->body, op->out, p->gather[p->head_first + row]),
               seg->values[op->out].width * sizeof(float));
        break;
    }
}

static void phase_rows(const segment_job *job, const cpu_phase *phase, uint32_t ith, uint32_t nth) {
    const cpu_row_op *ops = job->seg->row_ops + phase->u.rows.first;
    uint32_t chunk = job->n_rows / (nth * 4);
    chunk = chunk < 1 ? 1 : chunk > 16 ? 16 : chunk;
    for (uint32_t r; (r = sl_pool_claim(job->p->device->pool, ith, chunk)) < job->n_rows;) {
        uint32_t end = job->n_rows - r < chunk ? job->n_rows : r + chunk;
        for (; r < end; r++) {
            for (uint32_t i = 0; i < phase->u.rows.n; i++) {
                row_op_run(job->p, job->seg, &ops[i], r);
            }
        }
    }
}

/* How a product is cut: row blocks of `rows`, and within one `panels` panels a task. */
typedef struct linear_cut {
    uint32_t rows, n_row_blocks, panels, n_panel_tasks;
} linear_cut;

static uint32_t ceil_div(uint32_t a, uint32_t b) {
    return a / b + (a % b != 0);
}

static linear_cut linear_cut_of(const cpu_phase *phase, uint32_t n_rows, uint32_t nth) {
    uint32_t n_in = phase->u.linear.l[0].w->w->n_in;
    size_t row_bytes = phase->u.linear.quantized ? n_in + n_in / 4 : n_in * sizeof(float);
    size_t fit = LINEAR_BLOCK_BYTES / row_bytes & ~(size_t)31;
    linear_cut cut = {.rows = fit < 32 ? 32 : (uint32_t)fit};
    cut.rows = cut.rows > n_rows ? n_rows : cut.rows;
    cut.n_row_blocks = ceil_div(n_rows, cut.rows);
    uint32_t total = 0;
    for (uint32_t i = 0; i < phase->u.linear.n; i++) {
        total += phase->u.linear.l[i].w->n_panels;
    }
    /* Enough tasks that the last ones even out, few enough that handing them out costs nothing. */
    cut.panels = total / (nth * 4);
    cut.panels = cut.panels < 1 ? 1 : cut.panels > 64 ? 64 : cut.panels;
    for (uint32_t i = 0; i < phase->u.linear.n; i++) {
        cut.n_panel_tasks += ceil_div(phase->u.linear.l[i].w->n_panels, cut.panels);
    }
    return cut;
}

static void linear_task(const segment_job *job, const cpu_phase *phase, const linear_cut *cut,
                        uint32_t task, uint32_t ith) {
    sl_program *p = job->p;
    uint32_t r0 = task / cut->n_panel_tasks * cut->rows;
    uint32_t r1 = job->n_rows - r0 < cut->rows ? job->n_rows : r0 + cut->rows;
    uint32_t t = task % cut->n_panel_tasks;
    const cpu_linear *l = phase->u.linear.l;
    for (; t >= ceil_div(l->w->n_panels, cut->panels); l++) {
        t -= ceil_div(l->w->n_panels, cut->panels);
    }
    const cpu_weight *w = l->w;
    uint32_t p0 = t * cut->panels;
    uint32_t p1 = w->n_panels - p0 < cut->panels ? w->n_panels : p0 + cut->panels;
    const cpu_value *in = &job->seg->values[phase->u.linear.in];
    const cpu_value *out = &job->seg->values[l->out];
    if (w->product != NULL) {
        w->product->mul(w->panels, w->w->n_in, p0, p1, &in->q, r0, r1, out->x, out->stride, l->add);
        return;
    }
    uint32_t w1 = p1 * SL_PANEL_ROWS < w->w->n_out ? p1 * SL_PANEL_ROWS : w->w->n_out;
    p->device->kernels.mul_f32(w->w->type, w->w->data, w->w->row_bytes, w->w->n_in,
                               p0 * SL_PANEL_ROWS, w1, in->x + r0 * in->stride, in->stride, r1 - r0,
                               out->x + r0 * out->stride, out->stride, l->add,
                               p->scratch + ith * p->scratch_floats);
}

static void phase_linear(const segment_job *job, const cpu_phase *phase, uint32_t ith,
                         uint32_t nth) {
    linear_cut cut = linear_cut_of(phase, job->n_rows, nth);
    uint32_t n_tasks = cut.n_row_blocks * cut.n_panel_tasks;
    for (uint32_t t; (t = sl_pool_claim(job->p->device->pool, ith, 1)) < n_tasks;) {
        linear_task(job, phase, &cut, t, ith);
    }
}

/* Tiles are numbered over all runs; run_tiles[r] counts those before run r. */
static uint32_t tile_run(const sl_program *p, uint32_t tile) {
    uint32_t low = 0, high = p->now->n_runs;
    while (high - low > 1) {
        uint32_t mid = low + (high - low) / 2;
        if (p->run_tiles[mid] <= tile) {
            low = mid;
        } else {
            high = mid;
        }
    }
    return low;
}

static void attend_task(const segment_job *job, const cpu_attend *a, uint32_t task, uint32_t ith) {
    sl_program *p = job->p;
    const sl_plan_group *pg = &p->plan->groups[a->group];
    const cpu_group *g = &p->groups[a->group];
    uint32_t kv_head = task % pg->n_kv_head;
    uint32_t tile = task / pg->n_kv_head;
    uint32_t i_run = tile_run(p, tile);
    const sl_step_run *run = &p->now->runs[i_run];
    uint32_t first = (tile - p->run_tiles[i_run]) * CPU_ATTEND_ROWS; /* row of the run */
    uint32_t n_rows = run->n_rows - first < CPU_ATTEND_ROWS ? run->n_rows - first : CPU_ATTEND_ROWS;
    uint32_t n_group = a->n_head / pg->n_kv_head;
    const cpu_value *q = &job->seg->values[a->q];
    const cpu_value *out = &job->seg->values[a->out];
    size_t row = run->row_begin + first;
    size_t k_offset = a->offset + kv_head * g->head_bytes;
    sl_attend args = {
        .q = q->x + row * q->stride + (size_t)kv_head * n_group * pg->d_k,
        .q_stride = q->stride,
        .n_rows = n_rows,
        .n_group = n_group,
        .d_k = pg->d_k,
        .d_v = pg->d_v,
        .pos0 = run->pos0 + first,
        .table = run->tables[a->group],
        .store = g->base,
        .page_bytes = g->page_bytes,
        .k_offset = k_offset,
        .v_offset = k_offset + g->v_offset,
        .scale = a->scale,
        .out = out->x + row * out->stride + (size_t)kv_head * n_group * pg->d_v,
        .out_stride = out->stride,
        .scratch = p->scratch + ith * p->scratch_floats,
    };
    p->device->kernels.attend[p->options.kv_type](&args);
}

static void phase_attend(const segment_job *job, const cpu_attend *a, uint32_t ith) {
    const sl_program *p = job->p;
    uint32_t n_tasks = p->run_tiles[p->now->n_runs] * p->plan->groups[a->group].n_kv_head;
    for (uint32_t t; (t = sl_pool_claim(p->device->pool, ith, 1)) < n_tasks;) {
        attend_task(job, a, n_tasks - 1 - t, ith); /* late tiles see the longest context: first */
    }
}

static void segment_worker(void *arg, uint32_t ith, uint32_t nth) {
    const segment_job *job = arg;
    const cpu_segment *seg = job->seg;
    for (uint32_t i = 0; i < seg->n_phases; i++) {
        const cpu_phase *phase = &seg->phases[i];
        switch (phase->kind) {
        case CPU_PHASE_ROWS:
            phase_rows(job, phase, ith, nth);
            break;
        case CPU_PHASE_LINEAR:
            phase_linear(job, phase, ith, nth);
            break;
        case CPU_PHASE_ATTEND:
            phase_attend(job, &phase->u.attend, ith);
            break;
        }
        if (i + 1 < seg->n_phases) {
            sl_pool_barrier(job->p->device->pool, ith);
        }
    }
}

/* The step's own small tables: run of each row, tiles before each run, rows that need logits. */
static void step_index(sl_program *p, const sl_step *step) {
    uint32_t n_tiles = 0, n_logits = 0;
    for (uint32_t i = 0; i < step->n_runs; i++) {
        const sl_step_run *run = &step->runs[i];
        p->run_tiles[i] = n_tiles;
        n_tiles += ceil_div(run->n_rows, CPU_ATTEND_ROWS);
        for (uint32_t r = 0; r < run->n_rows; r++) {
            p->row_run[run->row_begin + r] = i;
            if (r >= run->n_rows - run->n_logits) {
                p->gather[n_logits++] = run->row_begin + r;
            }
        }
    }
    p->run_tiles[step->n_runs] = n_tiles;
}

sl_status sl_cpu_program_run(sl_program *p, const sl_step *step, sl_logits_fn fn, void *user,
                             sl_error *err) {
    p->now = step;
    step_index(p, step);
    segment_job body = {.p = p, .seg = &p->body, .n_rows = step->n_rows};
    sl_pool_run(p->device->pool, segment_worker, &body);
    const cpu_value *logits = &p->head.values[p->plan->logits];
    for (uint32_t first = 0; first < step->n_logits; first += p->head.rows_max) {
        p->head_first = first;
        uint32_t left = step->n_logits - first;
        segment_job head = {
            .p = p, .seg = &p->head, .n_rows = left < p->head.rows_max ? left : p->head.rows_max};
        sl_pool_run(p->device->pool, segment_worker, &head);
        SL_TRY(fn(user, first, head.n_rows, logits->x, logits->stride, err));
    }
    return SL_OK;
}

void sl_cpu_program_copy_page(sl_program *p, int32_t from, int32_t to) {
    for (uint32_t i = 0; i < p->plan->n_groups; i++) {
        const cpu_group *g = &p->groups[i];
        memcpy(g->base + (size_t)to * g->page_bytes, g->base + (size_t)from * g->page_bytes,
               g->page_bytes);
    }
}
