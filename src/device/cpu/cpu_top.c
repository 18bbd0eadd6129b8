/* The head for rows of which only the largest logits are wanted. The product of all logits is cut
 * into blocks of columns; a worker computes a block for all rows into memory of its own, small
 * enough to stay in its cache, looks for the largest there and forgets the rest. What the workers
 * found is put together at the end. The largest are the same whoever finds them, and sums of
 * exponentials are taken block by block and added in their order, so neither depends on the number
 * of threads. */
#include "base/bytes.h"
#include "base/error.h"
#include "device/cpu/cpu_program.h"

#define TOP_ROWS 128 /* logits rows at a time, at most */
#define TOP_BLOCK_PANELS (SL_TOP_BLOCK / SL_PANEL_ROWS)
/* A task is this many blocks of one row, or the fewer blocks the more rows there are. */
#define TOP_TASK_BLOCKS 32

/* The operations that follow the product of the logits. */
static const cpu_row_op *top_ops(const sl_program *p, uint32_t *n) {
    const cpu_segment *head = &p->head;
    const cpu_phase *rows = &head->phases[p->top.i_product + 1];
    bool has_rows = p->top.i_product + 1 < head->n_phases;
    *n = has_rows ? rows->u.rows.n : 0;
    return has_rows ? head->row_ops + rows->u.rows.first : NULL;
}

static bool top_op_fits(const sl_program *p, const cpu_row_op *op) {
    bool alone = op->kind == CPU_ROW_ADD_BIAS || op->kind == CPU_ROW_SOFTCAP ||
                 (op->kind == CPU_ROW_SCALE && op->in[1] == SL_VALUE_ID_NONE);
    return alone && op->in[0] == p->plan->logits && op->out == p->plan->logits;
}

sl_status sl_cpu_top_build(sl_program *p, sl_error *err) {
    const cpu_segment *head = &p->head;
    uint32_t i = head->n_phases - 1;
    i -= i > 0 && head->phases[i].kind == CPU_PHASE_ROWS;
    const cpu_phase *product = &head->phases[i];
    bool fits = product->kind == CPU_PHASE_LINEAR && product->u.linear.n == 1 &&
                product->u.linear.l[0].out == p->plan->logits;
    p->top = (cpu_top){.i_product = i,
                       .rows_max = p->options.rows_max < TOP_ROWS ? p->options.rows_max : TOP_ROWS,
                       .n_blocks = sl_div_up(p->plan->n_result, SL_TOP_BLOCK)};
    uint32_t n_ops;
    const cpu_row_op *ops = top_ops(p, &n_ops);
    for (uint32_t k = 0; k < n_ops; k++) {
        fits = fits && top_op_fits(p, &ops[k]);
    }
    if (!fits) {
        return SL_FAIL(err, SL_ERR_INTERNAL,
                       "the plan does not end with the product of its logits");
    }
    for (uint32_t v = 0; v < p->plan->n_values; v++) {
        if (v != p->plan->logits && head->values[v].rows_max < p->top.rows_max) {
            head->values[v].rows_max = p->top.rows_max;
        }
    }
    return SL_OK;
}

void sl_cpu_top_row_ops(const sl_program *p, float *x, uint32_t first, uint32_t n) {
    const sl_kernels *k = &p->device->kernels;
    uint32_t n_ops;
    const cpu_row_op *ops = top_ops(p, &n_ops);
    for (uint32_t i = 0; i < n_ops; i++) {
        if (ops[i].kind == CPU_ROW_ADD_BIAS) {
            k->add(x, ops[i].b + first, n, x);
        } else if (ops[i].kind == CPU_ROW_SCALE) {
            k->scale(x, ops[i].op->u.scale.scale, n, x);
        } else {
            k->softcap(x, ops[i].op->u.softcap.cap, n, x);
        }
    }
}

static sl_step_top *top_asked(const sl_program *p, uint32_t row) {
    return &p->now->tops[p->asked[p->head_first - p->n_whole + row]];
}

/* Logits of one block for all rows, and what is worth keeping of them. */
static void top_block(const segment_job *job, uint32_t block, uint32_t ith) {
    sl_program *p = job->p;
    const cpu_top *t = &p->top;
    const sl_kernels *k = &p->device->kernels;
    const cpu_phase *product = &p->head.phases[t->i_product];
    const cpu_linear *l = &product->u.linear.l[0];
    float *columns = p->columns + ith * p->columns_floats;
    sl_top *found = t->found + (size_t)ith * t->rows_max;
    uint32_t p0 = block * TOP_BLOCK_PANELS, left = l->w->n_panels - p0,
             first = block * SL_TOP_BLOCK;
    uint32_t n = p->plan->n_result - first < SL_TOP_BLOCK ? p->plan->n_result - first
                                                          : SL_TOP_BLOCK;
    sl_cpu_product_run(job, product->u.linear.in, l, 0, p0,
                       p0 + (left < TOP_BLOCK_PANELS ? left : TOP_BLOCK_PANELS),
                       (cpu_rows){0, job->n_rows, job->n_rows >= p->tiles_rows}, columns,
                       CPU_TOP_STRIDE, ith);
    for (uint32_t r = 0; r < job->n_rows; r++) {
        float *x = columns + (size_t)r * CPU_TOP_STRIDE;
        sl_cpu_top_row_ops(p, x, first, n);
        sl_top_look(k, &found[r], x, n, first);
        if (top_asked(p, r)->wants_log_sum) {
            t->sums[(size_t)r * t->n_blocks + block] = sl_exp_sum_of(k, x, n);
        }
    }
}

/* So many are looked for that the largest of the row with some of them refined are among them. */
static uint32_t top_sought(const sl_program *p, uint32_t row) {
    return top_asked(p, row)->top.n_wanted + sl_cpu_refine_count(p);
}

static void top_finish_row(sl_program *p, uint32_t row, uint32_t ith, uint32_t nth) {
    const cpu_top *t = &p->top;
    sl_step_top *asked = top_asked(p, row);
    sl_top largest;
    sl_top_begin(&largest, top_sought(p, row));
    for (uint32_t i = 0; i < nth; i++) {
        sl_top_merge(&largest, &t->found[(size_t)i * t->rows_max + row]);
    }
    float refined[CPU_REFINED];
    uint32_t n_refined = sl_cpu_refine_row(p, row, &largest, ith, refined);
    for (uint32_t i = 0; i < n_refined; i++) {
        uint32_t id = sl_top_key_id(largest.keys[i]);
        if (asked->wants_log_sum) {
            sl_exp_sum_change(&t->sums[(size_t)row * t->n_blocks + id / SL_TOP_BLOCK],
                              sl_top_key_logit(largest.keys[i]), refined[i]);
        }
        largest.keys[i] = sl_top_key(refined[i], id);
    }
    sl_top_begin(&asked->top, asked->top.n_wanted);
    sl_top_merge(&asked->top, &largest);
    if (asked->wants_log_sum) {
        sl_exp_sum sum = SL_EXP_SUM_NONE;
        for (uint32_t i = 0; i < t->n_blocks; i++) {
            sl_exp_sum_add(&sum, t->sums[(size_t)row * t->n_blocks + i]);
        }
        asked->log_sum = sl_exp_sum_log(sum);
    }
}

static void top_worker(void *arg, uint32_t ith, uint32_t nth) {
    const segment_job *job = arg;
    sl_program *p = job->p;
    const cpu_top *t = &p->top;
    sl_pool *pool = p->device->pool;
    sl_cpu_phases_run(job, t->i_product, ith, nth);
    for (uint32_t r = 0; r < job->n_rows; r++) {
        sl_top_begin(&t->found[(size_t)ith * t->rows_max + r], top_sought(p, r));
    }
    sl_pool_barrier(pool, ith);
    uint32_t chunk = TOP_TASK_BLOCKS, even = t->n_blocks / (4 * nth);
    while (chunk > 1 && (chunk > even || chunk * job->n_rows > TOP_TASK_BLOCKS)) {
        chunk /= 2;
    }
    for (uint32_t b; (b = sl_pool_claim(pool, ith, chunk)) < t->n_blocks;) {
        uint32_t end = t->n_blocks - b < chunk ? t->n_blocks : b + chunk;
        for (; b < end; b++) {
            top_block(job, b, ith);
        }
    }
    sl_pool_barrier(pool, ith);
    for (uint32_t r; (r = sl_pool_claim(pool, ith, 1)) < job->n_rows;) {
        top_finish_row(p, r, ith, nth);
    }
}

void sl_cpu_tops_run(sl_program *p) {
    for (uint32_t first = 0; first < p->n_tops; first += p->top.rows_max) {
        uint32_t left = p->n_tops - first;
        segment_job job = {
            .p = p, .seg = &p->head, .n_rows = left < p->top.rows_max ? left : p->top.rows_max};
        p->head_first = p->n_whole + first;
        sl_pool_run(p->device->pool, top_worker, &job);
    }
}
