/* Attention over paged keys and values in plain C; kv_ref.c reads and writes the pages.
 *
 * Each block of SL_ATTEND_BLOCK tokens is a softmax of its own, and these are merged in rising
 * order (online softmax: Milakov and Gimelshein, 2018): kernels.h says how. */
#include <float.h>
#include <math.h>

#include "kernels/levels.h"
#include "kernels/ref/kv_ref.h"

enum { PAGE = SL_PAGE_TOKENS };

/* Of some tokens and one query: the maximum, the sum, and the output before its division. */
typedef struct attend_state {
    float *o; /* [d_v] */
    float max, sum;
} attend_state;

/* One query row and head. */
typedef struct attend_query {
    kv_query_ref q;
    uint32_t head, pos;
} attend_query;

static float score_of(const sl_attend *a, const attend_query *query, float product, uint32_t t) {
    float s = product * a->scale;
    if (a->softcap != 0.0f) {
        s = a->softcap * tanhf(s / a->softcap);
    }
    if (a->slopes) {
        s += a->slopes[query->head] * ((float)t - (float)query->pos);
    }
    return s;
}

/* Tokens [begin, end) of one block, at least one. The maximum is finite, so that scores of minus
 * infinity weigh nothing. */
static void attend_block(sl_kv_type type, const sl_attend *a, const attend_query *query,
                         uint32_t begin, uint32_t end, attend_state *part) {
    float *scores = a->scratch;
    double l = 0.0;
    part->max = -FLT_MAX;
    for (uint32_t t = begin; t < end; t++) {
        const uint8_t *page = a->store + (size_t)a->table[t / PAGE] * a->page_bytes;
        const float product = sl_kv_product_ref(type, &query->q, page + a->k_offset, a->d_k,
                                                t % PAGE);
        scores[t - begin] = score_of(a, query, product, t);
        part->max = scores[t - begin] > part->max ? scores[t - begin] : part->max;
    }
    for (uint32_t j = 0; j < a->d_v; j++) {
        part->o[j] = 0.0f;
    }
    for (uint32_t t = begin; t < end; t++) {
        const uint8_t *page = a->store + (size_t)a->table[t / PAGE] * a->page_bytes;
        const float p = expf(scores[t - begin] - part->max);
        l += (double)p;
        for (uint32_t j = 0; j < a->d_v; j++) {
            part->o[j] += p * sl_kv_value_ref(type, page + a->v_offset, a->d_v, t % PAGE, j);
        }
    }
    part->sum = (float)l;
}

static void state_merge(attend_state *s, const attend_state *part, uint32_t d_v) {
    const float max = part->max > s->max ? part->max : s->max;
    const float keep = expf(s->max - max), take = expf(part->max - max);
    for (uint32_t j = 0; j < d_v; j++) {
        s->o[j] = s->o[j] * keep + part->o[j] * take;
    }
    s->sum = s->sum * keep + part->sum * take;
    s->max = max;
}

/* What row r sees. */
static void row_sees(const sl_attend *a, uint32_t r, uint32_t *begin, uint32_t *end) {
    *end = a->n_keys ? a->n_keys : a->pos0 + r + 1;
    const bool windowed = a->window && !a->n_keys && *end > a->window;
    *begin = windowed ? *end - a->window : 0;
}

/* The part of a block and a (row, head) pair. */
static float *part_at(const sl_attend *a, uint32_t block, uint32_t pair, float **max, float **sum) {
    const uint32_t first = sl_attend_blocks_seen(a->pos0, a->n_rows, a->window, a->n_keys).begin;
    const size_t size = sl_attend_part_floats(a->n_rows, a->n_group, a->d_v);
    const size_t pairs = (size_t)a->n_rows * a->n_group, stride = ((size_t)a->d_v + 15) / 16 * 16;
    float *o = a->parts + (block - first) * size;
    *max = o + pairs * stride + pair;
    *sum = *max + (pairs + 15) / 16 * 16;
    return o + pair * stride;
}

/* The blocks of [begin, end) that row r sees, head h: `compute` them, or take them from the parts;
 * leave them there, or merge them into out. */
static void attend_row(sl_kv_type type, const sl_attend *a, uint32_t r, uint32_t h,
                       sl_attend_blocks blocks, bool compute, bool merge) {
    /* scratch: scores of a block, its output, codes of the query */
    const size_t codes_at = SL_ATTEND_BLOCK + ((size_t)a->d_v + 15) / 16 * 16;
    attend_query query = {{.q = a->q + r * a->q_stride + (size_t)h * a->d_k,
                           .codes = (int8_t *)(a->scratch + codes_at)},
                          h,
                          a->pos0 + r};
    if (compute) {
        sl_kv_query_ref(type, a->d_k, &query.q);
    }
    attend_state state = {a->out + r * a->out_stride + (size_t)h * a->d_v, -INFINITY, 0.0f};
    if (a->sinks) { /* a score without a value */
        state.max = a->sinks[h];
        state.sum = 1.0f;
    }
    for (uint32_t j = 0; j < a->d_v && merge; j++) {
        state.o[j] = 0.0f;
    }
    uint32_t begin, end;
    row_sees(a, r, &begin, &end);
    for (uint32_t b = blocks.begin; b < blocks.end; b++) {
        const uint32_t t0 = b * SL_ATTEND_BLOCK, t1 = t0 + SL_ATTEND_BLOCK;
        if (t1 <= begin || t0 >= end) {
            continue;
        }
        attend_state part = {.o = a->scratch + SL_ATTEND_BLOCK};
        float *max = &part.max, *sum = &part.sum;
        if (a->parts) {
            part.o = part_at(a, b, r * a->n_group + h, &max, &sum);
        }
        if (compute) {
            attend_block(type, a, &query, t0 > begin ? t0 : begin, t1 < end ? t1 : end, &part);
            *max = part.max;
            *sum = part.sum;
        }
        if (merge) {
            part.max = *max;
            part.sum = *sum;
            state_merge(&state, &part, a->d_v);
        }
    }
    for (uint32_t j = 0; j < a->d_v && merge; j++) {
        state.o[j] /= state.sum;
    }
}

static void attend_rows(sl_kv_type type, const sl_attend *a, bool compute, bool merge) {
    sl_attend_blocks blocks = sl_attend_blocks_seen(a->pos0, a->n_rows, a->window, a->n_keys);
    if (!merge) {
        blocks = (sl_attend_blocks){a->block_begin, a->block_end};
    }
    for (uint32_t r = 0; r < a->n_rows; r++) {
        for (uint32_t h = 0; h < a->n_group; h++) {
            attend_row(type, a, r, h, blocks, compute, merge);
        }
    }
}

static void attend_f16_ref(const sl_attend *a) {
    attend_rows(SL_KV_F16, a, true, a->parts == NULL);
}
static void attend_f32_ref(const sl_attend *a) {
    attend_rows(SL_KV_F32, a, true, a->parts == NULL);
}
static void attend_bf16_ref(const sl_attend *a) {
    attend_rows(SL_KV_BF16, a, true, a->parts == NULL);
}
static void attend_int8_ref(const sl_attend *a) {
    attend_rows(SL_KV_INT8, a, true, a->parts == NULL);
}
static void attend_int4_ref(const sl_attend *a) {
    attend_rows(SL_KV_INT4, a, true, a->parts == NULL);
}
static void attend_merge_ref(const sl_attend *a) {
    attend_rows(SL_KV_F32, a, false, true); /* reads no keys and values */
}

void sl_attend_fill_ref(sl_kernels *k) {
    k->attend[SL_KV_F16] = attend_f16_ref;
    k->attend[SL_KV_F32] = attend_f32_ref;
    k->attend[SL_KV_BF16] = attend_bf16_ref;
    k->attend[SL_KV_INT8] = attend_int8_ref;
    k->attend[SL_KV_INT4] = attend_int4_ref;
    k->attend_merge = attend_merge_ref;
    sl_kv_store_fill_ref(k);
}
