/* Products with an activation behind them: gate, up, act(gate) * up. A worker computes some columns of
 * the products for a block of rows into memory of its own, applies the activation there while they are
 * in its cache, and stores the result in the form in which the next product reads it. So the wide
 * values between the products are never in memory, nor read by another core. */
#include "base/bytes.h"
#include "device/cpu/cpu_program.h"

#define GATED_BLOCK_BYTES ((size_t)256 << 10) /* of the input, in the second-level cache */
/* At least so many rows make a block: each block unpacks the weights anew. */
#define GATED_LEAST_ROWS 64
#define GATED_LEAST_ROWS_FLOAT 128
#define GATED_FEW_ROWS 16 /* up to here a task is long, for the panels' stream */

/* How it is cut: row blocks of `rows`, chunks of CPU_GATED_PANELS panels, n_tasks shares of these. */
typedef struct gated_cut {
    uint32_t rows, n_chunks, n_tasks;
} gated_cut;

/* rows_max: of one matrix; n_rows: how many there are for a matrix as a rule. */
static gated_cut gated_cut_of(const cpu_phase *phase, uint32_t rows_max, uint32_t n_rows,
                              uint32_t nth) {
    const cpu_weight *w = phase->u.linear.l[0].w;
    bool rounded = phase->u.linear.form == CPU_FORM_INT8;
    uint32_t least = rounded ? GATED_LEAST_ROWS : GATED_LEAST_ROWS_FLOAT;
    size_t row_bytes = (size_t)w->w->n_in * (rounded ? 1 : sizeof(float));
    uint32_t fit = (uint32_t)(GATED_BLOCK_BYTES / row_bytes) & ~31u;
    gated_cut cut = {.rows = fit < least            ? least
                             : fit > CPU_GATED_ROWS ? CPU_GATED_ROWS
                                                    : fit,
                     .n_chunks = sl_div_up(w->n_panels, CPU_GATED_PANELS)};
    cut.rows = cut.rows < rows_max ? cut.rows : rows_max;
    cut.n_tasks = n_rows > GATED_FEW_ROWS || cut.n_chunks < 4 * nth ? cut.n_chunks : 4 * nth;
    return cut;
}

/* Rows [r0, r1) of the activation, columns [column, column + n), from those of the products. */
static void gated_store(const segment_job *job, const cpu_phase *phase, uint32_t r0, uint32_t r1,
                        uint32_t column, uint32_t n, float *gate, const float *up) {
    const sl_kernels *k = &job->p->device->kernels;
    const sl_plan_op *act = phase->u.linear.act;
    const cpu_value *out = &job->seg->values[act->out];
    cpu_form form = phase->u.linear.act_form;
    for (uint32_t r = r0; r < r1; r++) {
        float *to = form == CPU_FORM_F32 ? out->x + r * out->stride + column : gate;
        k->act(act->u.act.kind, gate, up, n, to);
        if (form == CPU_FORM_INT8) {
            const sl_act8 rows = sl_cpu_act8_from(&out->q, r, column);
            k->quantize_row(to, n, &rows, 0);
        } else if (form == CPU_FORM_BF16) {
            k->bf16.round_row(to, n, out->bf16 + r * out->bf16_stride + column);
        }
        gate += CPU_GATED_STRIDE;
        up = up == NULL ? NULL : up + CPU_GATED_STRIDE;
    }
}

/* Chunk `chunk` of each product's matrix `mat`, with rows [r0, r1). */
static void gated_chunk(const segment_job *job, const cpu_phase *phase, uint32_t chunk,
                        uint32_t mat, uint32_t r0, uint32_t r1, uint32_t ith) {
    const sl_program *p = job->p;
    const cpu_linear *l = phase->u.linear.l;
    float *gate = p->columns + ith * p->columns_floats;
    float *up = phase->u.linear.n == 1 ? NULL : gate + (size_t)(r1 - r0) * CPU_GATED_STRIDE;
    uint32_t p0 = chunk * CPU_GATED_PANELS, column = p0 * SL_PANEL_ROWS;
    uint32_t p1 = l->w->n_panels - p0 < CPU_GATED_PANELS ? l->w->n_panels : p0 + CPU_GATED_PANELS;
    uint32_t left = l->w->w->n_out - column, n = (p1 - p0) * SL_PANEL_ROWS;
    sl_cpu_product_run(job, phase->u.linear.in, &l[0], mat, p0, p1, r0, r1, gate, CPU_GATED_STRIDE,
                       ith);
    if (up != NULL) {
        sl_cpu_product_run(job, phase->u.linear.in, &l[1], mat, p0, p1, r0, r1, up,
                           CPU_GATED_STRIDE, ith);
    }
    gated_store(job, phase, r0, r1, column, n < left ? n : left, gate, up);
}

/* Share `task` of the chunks, with rows [begin, end) in blocks. */
static void gated_task(const segment_job *job, const cpu_phase *phase, const gated_cut *cut,
                       uint32_t task, uint32_t mat, uint32_t begin, uint32_t end, uint32_t ith) {
    uint32_t first = (uint32_t)((uint64_t)cut->n_chunks * task / cut->n_tasks);
    uint32_t last = (uint32_t)((uint64_t)cut->n_chunks * (task + 1) / cut->n_tasks);
    for (uint32_t r = begin; r < end; r += cut->rows) {
        for (uint32_t chunk = first; chunk < last; chunk++) {
            gated_chunk(job, phase, chunk, mat, r, end - r < cut->rows ? end : r + cut->rows, ith);
        }
    }
}

void sl_cpu_gated_run(const segment_job *job, const cpu_phase *phase, uint32_t ith, uint32_t nth) {
    sl_pool *pool = job->p->device->pool;
    if (phase->kind == CPU_PHASE_LINEAR) {
        gated_cut cut = gated_cut_of(phase, job->n_rows, job->n_rows, nth);
        uint32_t n_tasks = cut.n_tasks * sl_div_up(job->n_rows, cut.rows);
        for (uint32_t t; (t = sl_pool_claim(pool, ith, 1)) < n_tasks;) {
            uint32_t r = t / cut.n_tasks * cut.rows;
            gated_task(job, phase, &cut, t % cut.n_tasks, 0, r,
                       job->n_rows - r < cut.rows ? job->n_rows : r + cut.rows, ith);
        }
        return;
    }
    const cpu_choices *c = &job->p->choices;
    uint32_t n_rows = job->n_rows * job->seg->values[phase->u.linear.in].n_choices;
    gated_cut cut = gated_cut_of(phase, job->n_rows, n_rows / c->n_active, nth);
    for (uint32_t t; (t = sl_pool_claim(pool, ith, 1)) < c->n_active * cut.n_tasks;) {
        uint32_t expert = c->active[t / cut.n_tasks];
        gated_task(job, phase, &cut, t % cut.n_tasks, expert, c->begin[expert],
                   c->begin[expert + 1], ith);
    }
}
