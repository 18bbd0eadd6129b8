/* Each figure is the best of many short rounds: the one least disturbed by whatever else runs. A
 * product goes on through copies of its matrix that together exceed the caches, so that weights
 * stream from memory as in a pass over a model; threads share the rows of each copy and do not wait
 * for each other within a round. */
#include "measure/roofline.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/error.h"
#include "base/rng.h"
#include "measure/roofline_round.h"

#define READ_BYTES ((size_t)256 << 20)
#define PREFETCH_BYTES 4096u /* ahead, as the products do */
enum { READ_PARTS = 32 };    /* one each round */
#define PEAK_ROUNDS (1u << 16)

/* --- limits ---------------------------------------------------------------------------------- */

typedef struct limits_job {
    const uint64_t *data; /* [READ_BYTES / 8] */
    uint64_t *sums;       /* [nth], so that the reading is not for nothing */
    double (*peak)(uint32_t n_rounds);
    double *ops; /* [nth] */
    uint32_t round;
} limits_job;

static void read_work(void *arg, uint32_t ith, uint32_t nth) {
    limits_job *job = arg;
    const size_t lines = READ_BYTES / READ_PARTS / 64, first = job->round % READ_PARTS * lines;
    const size_t end = first + lines * (ith + 1) / nth;
    uint64_t sum[8] = {0};
    for (size_t line = first + lines * ith / nth; line < end; line++) {
        __builtin_prefetch(job->data + 8 * line + PREFETCH_BYTES / 8);
        for (size_t i = 0; i < 8; i++) {
            sum[i] += job->data[8 * line + i];
        }
    }
    job->sums[ith] = sum[0] + sum[1] + sum[2] + sum[3] + sum[4] + sum[5] + sum[6] + sum[7];
}

/* All that is read has to be there. */
static void fill_work(void *arg, uint32_t ith, uint32_t nth) {
    limits_job *job = arg;
    const size_t lines = READ_BYTES / 64, begin = lines * ith / nth, end = lines * (ith + 1) / nth;
    memset((uint8_t *)(uintptr_t)job->data + 64 * begin, 1, 64 * (end - begin));
}

static void peak_work(void *arg, uint32_t ith, uint32_t nth) {
    limits_job *job = arg;
    (void)nth;
    job->ops[ith] = job->peak(PEAK_ROUNDS);
}

static double peak_gops(sl_pool *pool, limits_job *job, double (*peak)(uint32_t n_rounds)) {
    if (peak == NULL) {
        return 0.0;
    }
    job->peak = peak;
    double seconds = roofline_best_round(pool, peak_work, job, &job->round), ops = 0.0;
    for (uint32_t i = 0; i < sl_pool_n_threads(pool); i++) {
        ops += job->ops[i];
    }
    return ops / seconds * 1e-9;
}

sl_status sl_roofline_measure(sl_pool *pool, const sl_kernels *k, sl_roofline_limits *out,
                              sl_error *err) {
    uint32_t n_threads = sl_pool_n_threads(pool);
    limits_job job = {.data = sl_pages_map(READ_BYTES, true),
                      .sums = sl_alloc_zero(n_threads, sizeof(*job.sums)),
                      .ops = sl_alloc_zero(n_threads, sizeof(*job.ops))};
    sl_status status = SL_OK;
    if (job.data == NULL || job.sums == NULL || job.ops == NULL) {
        status = SL_FAIL(err, SL_ERR_MEMORY, "no memory to measure this machine with (%zu MiB)",
                         READ_BYTES >> 20);
    } else {
        sl_pool_run(pool, fill_work, &job);
        double seconds = roofline_best_round(pool, read_work, &job, &job.round);
        out->read_gbps = (double)READ_BYTES / READ_PARTS / seconds * 1e-9;
        out->int8_gops = peak_gops(pool, &job, k->peak_int8);
        out->scaled_gops = peak_gops(pool, &job, k->peak_scaled);
        out->f32_gops = peak_gops(pool, &job, k->peak_f32);
        out->bf16_gops = peak_gops(pool, &job, k->peak_bf16);
    }
    if (job.data != NULL) {
        sl_pages_unmap((void *)(uintptr_t)job.data, READ_BYTES);
    }
    sl_free(job.sums);
    sl_free(job.ops);
    return status;
}

/* --- shapes ---------------------------------------------------------------------------------- */

static bool shape_is_of(const sl_roofline_shape *s, const sl_plan_weight *w) {
    return s->weight->type == w->type && s->weight->n_in == w->n_in && s->weight->n_out == w->n_out;
}

static int compare_bytes(const void *a, const void *b) {
    uint64_t x = ((const sl_roofline_shape *)a)->bytes, y = ((const sl_roofline_shape *)b)->bytes;
    return (x < y) - (x > y);
}

/* As the CPU's device chooses it. */
static sl_roofline_form form_of(const sl_plan_weight *w, const sl_kernels *k, bool exact) {
    if (exact || w->n_out <= 1) {
        return SL_ROOFLINE_F32;
    }
    if (w->type == SL_TYPE_BF16 && k->bf16.mul != NULL) {
        return SL_ROOFLINE_BF16;
    }
    if (sl_type_is_plain(w->type) && k->plain.mul != NULL) {
        return SL_ROOFLINE_PLAIN;
    }
    return k->product[w->type].mul != NULL ? SL_ROOFLINE_INT8 : SL_ROOFLINE_F32;
}

uint32_t sl_roofline_shapes(const sl_plan *plan, const sl_kernels *k, bool exact,
                            sl_roofline_shape out[SL_ROOFLINE_SHAPES_MAX]) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < plan->n_ops; i++) {
        const sl_plan_op *op = &plan->ops[i];
        if (op->kind != SL_OP_EXPERTS && (op->kind != SL_OP_LINEAR || op->u.linear.n_head != 0)) {
            continue;
        }
        const sl_plan_weight *w = &plan->weights[op->weight];
        uint32_t at = 0;
        while (at < n && !shape_is_of(&out[at], w)) {
            at++;
        }
        if (at == SL_ROOFLINE_SHAPES_MAX) {
            continue;
        }
        if (at == n) {
            out[n++] = (sl_roofline_shape){.weight = w, .form = form_of(w, k, exact)};
        }
        out[at].n_weights += w->n_mats;
        out[at].bytes += (uint64_t)w->n_mats * w->n_out * w->row_bytes;
    }
    qsort(out, n, sizeof(*out), compare_bytes);
    return n;
}

/* --- products -------------------------------------------------------------------------------- */

typedef struct product_job {
    const sl_kernels *k;
    const sl_plan_weight *w;
    sl_roofline_form form;
    uint32_t n_rows, n_panels, n_threads;
    uint32_t n_copies, n_part, round; /* n_part copies each round */
    uint8_t *weights;                 /* [n_copies] packed, or as the file has them */
    size_t panel_bytes, copy_bytes, mapped_bytes;
    float *x; /* [n_rows][x_stride] */
    sl_act8 act;
    uint16_t *bf16; /* [n_rows][bf16_stride] */
    size_t bf16_stride;
    float *out; /* [n_rows][out_stride] */
    size_t x_stride, out_stride;
    float *scratch;
    size_t scratch_floats; /* of a thread */
} product_job;

static void product_once(product_job *j, const uint8_t *weights, uint32_t begin, uint32_t end,
                         float *scratch) {
    const sl_plan_weight *w = j->w;
    const uint32_t last = end * SL_PANEL_ROWS < w->n_out ? end * SL_PANEL_ROWS : w->n_out;
    switch (j->form) {
    case SL_ROOFLINE_INT8:
        j->k->product[w->type].mul(weights, w->n_in, begin, end, &j->act, 0, j->n_rows, j->out,
                                   j->out_stride, false);
        break;
    case SL_ROOFLINE_BF16:
        j->k->bf16.mul(weights, w->n_in, begin, end, j->bf16, j->bf16_stride, 0, j->n_rows, j->out,
                       j->out_stride, false);
        break;
    case SL_ROOFLINE_PLAIN:
        j->k->plain.mul(w->type, weights, w->n_in, begin, end, j->x, j->x_stride, 0, j->n_rows,
                        j->out, j->out_stride, false);
        break;
    case SL_ROOFLINE_F32:
        j->k->mul_f32(w->type, weights, w->row_bytes, w->n_in, begin * SL_PANEL_ROWS, last, j->x,
                      j->x_stride, j->n_rows, j->out, j->out_stride, false, scratch);
        break;
    }
}

static void product_work(void *arg, uint32_t ith, uint32_t nth) {
    product_job *j = arg;
    const uint32_t begin = (uint32_t)((uint64_t)j->n_panels * ith / nth);
    const uint32_t end = (uint32_t)((uint64_t)j->n_panels * (ith + 1) / nth);
    for (uint32_t i = 0; i < j->n_part && begin < end; i++) {
        const uint64_t copy = ((uint64_t)j->round * j->n_part + i) % j->n_copies;
        product_once(j, j->weights + copy * j->copy_bytes, begin, end,
                     j->scratch + ith * j->scratch_floats);
    }
}

static size_t product_panel_bytes(const product_job *j) {
    const sl_plan_weight *w = j->w;
    switch (j->form) {
    case SL_ROOFLINE_INT8:
        return j->k->product[w->type].panel_bytes(w->type, w->n_in);
    case SL_ROOFLINE_BF16:
        return j->k->bf16.panel_bytes(w->n_in);
    case SL_ROOFLINE_PLAIN:
        return j->k->plain.panel_bytes(w->type, w->n_in);
    case SL_ROOFLINE_F32:
        break;
    }
    return 0;
}

static void pack_panel(const product_job *j, uint32_t panel) {
    const sl_plan_weight *w = j->w;
    const uint32_t row = panel * SL_PANEL_ROWS, left = w->n_out - row;
    const uint32_t n = left < SL_PANEL_ROWS ? left : SL_PANEL_ROWS;
    const uint8_t *rows = w->data + row * w->row_bytes;
    uint8_t *to = j->weights + panel * j->panel_bytes;
    if (j->form == SL_ROOFLINE_BF16) {
        j->k->bf16.pack(rows, w->row_bytes, n, w->n_in, to);
    } else if (j->form == SL_ROOFLINE_PLAIN) {
        j->k->plain.pack(w->type, rows, w->row_bytes, n, w->n_in, to);
    } else {
        j->k->product[w->type].pack(w->type, rows, w->row_bytes, n, w->n_in, to);
    }
}

/* Each worker packs its own panels of the first copy, and copies them. */
static void pack_work(void *arg, uint32_t ith, uint32_t nth) {
    product_job *j = arg;
    const sl_plan_weight *w = j->w;
    const uint32_t begin = (uint32_t)((uint64_t)j->n_panels * ith / nth);
    const uint32_t end = (uint32_t)((uint64_t)j->n_panels * (ith + 1) / nth);
    size_t from = begin * SL_PANEL_ROWS * w->row_bytes, to = 0;
    if (j->form != SL_ROOFLINE_F32) {
        for (uint32_t p = begin; p < end; p++) {
            pack_panel(j, p);
        }
        from = begin * j->panel_bytes;
        to = end * j->panel_bytes;
    } else {
        to = end * SL_PANEL_ROWS < w->n_out ? end * SL_PANEL_ROWS * w->row_bytes
                                            : w->n_out * w->row_bytes;
        memcpy(j->weights + from, w->data + from, to - from);
    }
    for (uint32_t c = 1; c < j->n_copies; c++) {
        memcpy(j->weights + c * j->copy_bytes + from, j->weights + from, to - from);
    }
}

/* Rows of activations as a norm leaves them: about 1 in size. */
static void product_activations(product_job *j) {
    const uint32_t n_in = j->w->n_in;
    for (uint32_t r = 0; r < j->n_rows; r++) {
        float *row = j->x + r * j->x_stride;
        for (uint32_t i = 0; i < n_in; i++) {
            row[i] = (float)(2.0 * sl_rng_double(3, r, i) - 1.0);
        }
        if (j->form == SL_ROOFLINE_INT8) {
            j->k->quantize_row(row, n_in, &j->act, r);
        } else if (j->form == SL_ROOFLINE_BF16) {
            j->k->bf16.round_row(row, n_in, j->bf16 + r * j->bf16_stride);
        }
    }
}

static sl_status product_alloc(product_job *j, sl_error *err) {
    const sl_plan_weight *w = j->w;
    const size_t rows = j->n_rows, groups = sl_row_stride(w->n_in / SL_ACT_GROUP, sizeof(float));
    size_t total;
    j->panel_bytes = product_panel_bytes(j);
    j->copy_bytes = j->form != SL_ROOFLINE_F32 ? j->n_panels * j->panel_bytes
                                               : (w->n_out * w->row_bytes + 63) / 64 * 64;
    j->n_copies = (uint32_t)(ROOFLINE_STREAM_BYTES / j->copy_bytes) + 1;
    j->n_part = (uint32_t)(ROOFLINE_PART_BYTES / j->copy_bytes) + 1;
    j->bf16_stride = sl_row_stride(w->n_in, sizeof(uint16_t));
    j->scratch_floats = sl_mul_f32_scratch_floats(w->n_in);
    j->act.q_stride = sl_row_stride(w->n_in, 1);
    j->act.g_stride = groups;
    j->x_stride = sl_row_stride(w->n_in, sizeof(float));
    j->out_stride = sl_row_stride((size_t)SL_PANEL_ROWS * j->n_panels, sizeof(float));
    if (!sl_mul_size(j->copy_bytes, j->n_copies, &total)) {
        return SL_FAIL(err, SL_ERR_LIMIT, "weights of %zu bytes are too large to measure",
                       j->copy_bytes);
    }
    j->weights = sl_pages_map(total, true);
    j->mapped_bytes = total;
    j->x = sl_alloc_aligned(rows * j->x_stride * sizeof(float), 64);
    j->out = sl_alloc_aligned(rows * j->out_stride * sizeof(float), 64);
    j->scratch = sl_alloc_aligned(j->n_threads * j->scratch_floats * sizeof(float), 64);
    j->bf16 = sl_alloc_aligned(rows * j->bf16_stride * sizeof(uint16_t), 64);
    j->act.q = sl_alloc_aligned(rows * j->act.q_stride, 64);
    j->act.d = sl_alloc_aligned(rows * groups * sizeof(float), 64);
    j->act.s = sl_alloc_aligned(rows * groups * sizeof(float), 64);
    j->act.minus_sum = sl_alloc_aligned(rows * groups * 2 * sizeof(int32_t), 64);
    if (j->weights == NULL || j->x == NULL || j->out == NULL || j->scratch == NULL ||
        j->bf16 == NULL || j->act.q == NULL || j->act.d == NULL || j->act.s == NULL ||
        j->act.minus_sum == NULL) {
        return SL_FAIL(err, SL_ERR_MEMORY,
                       "no memory to measure a product of %" PRIu32 " x %" PRIu32, w->n_in,
                       w->n_out);
    }
    return SL_OK;
}

static void product_free(product_job *j) {
    if (j->weights != NULL) {
        sl_pages_unmap(j->weights, j->mapped_bytes);
    }
    sl_free_aligned(j->x);
    sl_free_aligned(j->out);
    sl_free_aligned(j->scratch);
    sl_free_aligned(j->bf16);
    sl_free_aligned(j->act.q);
    sl_free_aligned(j->act.d);
    sl_free_aligned(j->act.s);
    sl_free_aligned(j->act.minus_sum);
}

sl_status sl_roofline_product(sl_pool *pool, const sl_kernels *k, const sl_roofline_limits *limits,
                              const sl_roofline_shape *shape, uint32_t n_rows,
                              sl_roofline_rate *out, sl_error *err) {
    const sl_plan_weight *w = shape->weight;
    if ((uint64_t)n_rows * w->n_out > SL_ROOFLINE_OUT_MAX) {
        return SL_FAIL(err, SL_ERR_LIMIT, "%" PRIu32 " rows of %" PRIu32 " outputs: at most %u",
                       n_rows, w->n_out, SL_ROOFLINE_OUT_MAX);
    }
    product_job j = {.k = k,
                     .w = w,
                     .form = shape->form,
                     .n_rows = n_rows,
                     .n_panels = (w->n_out + SL_PANEL_ROWS - 1) / SL_PANEL_ROWS,
                     .n_threads = sl_pool_n_threads(pool)};
    sl_status status = product_alloc(&j, err);
    if (status == SL_OK) {
        sl_pool_run(pool, pack_work, &j);
        product_activations(&j);
        double seconds = roofline_best_round(pool, product_work, &j, &j.round);
        double gbytes = 1e-9 * (double)j.n_part * (double)j.copy_bytes;
        double gops = 2e-9 * w->n_in * w->n_out * n_rows * j.n_part;
        const double peaks[] = {[SL_ROOFLINE_F32] = limits->f32_gops,
                                [SL_ROOFLINE_PLAIN] = limits->f32_gops,
                                [SL_ROOFLINE_INT8] = limits->scaled_gops,
                                [SL_ROOFLINE_BF16] = limits->bf16_gops};
        *out = roofline_rate_of(gbytes, gops, seconds, limits->read_gbps, peaks[j.form]);
    }
    product_free(&j);
    return status;
}
