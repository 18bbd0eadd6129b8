/* The largest logits of a row are computed a second time, from float rows: rounding the last
 * product's input is the largest single error of the default mode (a third of the divergence from
 * float32 on SmolLM2), and it counts only for tokens that are likely at all: of the largest 16 it
 * takes away three quarters of what it is. */
#include <math.h>
#include <string.h>

#include "device/cpu/cpu_program.h"

static const cpu_phase *refine_product(const sl_program *p) {
    return &p->head.phases[p->top.i_product];
}

uint32_t sl_cpu_refine_count(const sl_program *p) {
    const cpu_phase *product = refine_product(p);
    const cpu_weight *w = product->u.linear.l[0].w;
    bool rounded = w->form == CPU_FORM_INT8 || w->form == CPU_FORM_BF16 || w->tiles;
    return rounded && p->head.values[product->u.linear.in].written ? CPU_REFINED : 0;
}

size_t sl_cpu_refine_scratch_floats(const sl_program *p) {
    return sl_mul_f32_scratch_floats(refine_product(p)->u.linear.l[0].w->w->n_in);
}

size_t sl_cpu_refine_columns_floats(const sl_program *p) {
    size_t bytes = CPU_REFINED * refine_product(p)->u.linear.l[0].w->w->row_bytes;
    return (bytes + 63) / 64 * 16;
}

/* What the products would be without rounding, of at most CPU_REFINED tokens. */
static void refine_products(sl_program *p, uint32_t row, const uint64_t *keys, uint32_t n,
                            uint32_t ith, float *out) {
    const cpu_phase *product = refine_product(p);
    const sl_plan_weight *w = product->u.linear.l[0].w->w;
    const cpu_value *in = &p->head.values[product->u.linear.in];
    uint8_t *rows = (uint8_t *)(p->columns + ith * p->columns_floats);
    for (uint32_t i = 0; i < n; i++) {
        memcpy(rows + i * w->row_bytes, w->data + sl_top_key_id(keys[i]) * w->row_bytes,
               w->row_bytes);
    }
    p->device->kernels.mul_f32(w->type, rows, w->row_bytes, w->n_in, 0, n, in->x + row * in->stride,
                               in->stride, 1, out, CPU_REFINED, false,
                               p->scratch + ith * p->scratch_floats);
}

uint32_t sl_cpu_refine_row(sl_program *p, uint32_t row, const sl_top *largest, uint32_t ith,
                           float *out) {
    uint32_t n = sl_cpu_refine_count(p);
    n = largest->n < n ? largest->n : n;
    if (n == 0 || largest->has_nan) {
        return 0;
    }
    refine_products(p, row, largest->keys, n, ith, out);
    for (uint32_t i = 0; i < n; i++) {
        sl_cpu_top_row_ops(p, &out[i], sl_top_key_id(largest->keys[i]), 1);
        if (!isfinite(out[i])) {
            out[i] = sl_top_key_logit(largest->keys[i]);
        }
    }
    return n;
}

static void refine_worker(void *arg, uint32_t ith, uint32_t nth) {
    const segment_job *job = arg;
    sl_program *p = job->p;
    (void)nth;
    for (uint32_t r; (r = sl_pool_claim(p->device->pool, ith, 1)) < job->n_rows;) {
        float *x = sl_cpu_value_row(&p->head, p->plan->logits, r), refined[CPU_REFINED];
        sl_top largest;
        sl_top_begin(&largest, CPU_REFINED);
        sl_top_look(&p->device->kernels, &largest, x, p->plan->n_result, 0);
        uint32_t n = sl_cpu_refine_row(p, r, &largest, ith, refined);
        for (uint32_t i = 0; i < n; i++) {
            x[sl_top_key_id(largest.keys[i])] = refined[i];
        }
    }
}

void sl_cpu_refine_rows(segment_job *job) {
    if (!job->p->plan->is_encoder && sl_cpu_refine_count(job->p) > 0) {
        sl_pool_run(job->p->device->pool, refine_worker, job);
    }
}
