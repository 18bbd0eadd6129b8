/* Attention over paged keys and values, and the writing of pages, in plain C.
 *
 * Softmax runs over blocks of SL_ATTEND_BLOCK tokens at fixed positions. With the maximum m, the
 * sum l and the output o so far, a block with scores s and maximum b gives
 *   m' = max(m, b), c = exp(m - m'), l' = l c + sum exp(s - m'), o' = o c + sum exp(s - m') v
 * (online softmax: Milakov and Gimelshein, 2018). */
#include <math.h>

#include "kernels/levels.h"
#include "quant/half.h"

enum { PAGE = SL_PAGE_TOKENS };

static float kv_load(sl_kv_type type, const uint8_t *block, size_t index) {
    if (type == SL_KV_F16) {
        return sl_half_load(block + 2 * index);
    }
    return sl_float_of_bits(sl_load_u32(block + 4 * index));
}

typedef struct softmax_state {
    float max;
    double sum;
} softmax_state;

/* One query row and head. */
typedef struct attend_query {
    const float *q;
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

/* Tokens [begin, end) of one block; o[d_v] is updated. */
static void attend_block(sl_kv_type type, const sl_attend *a, const attend_query *query,
                         uint32_t begin, uint32_t end, float *scores, softmax_state *state,
                         float *o) {
    float max = state->max;
    for (uint32_t t = begin; t < end; t++) {
        const uint8_t *page = a->store + (size_t)a->table[t / PAGE] * a->page_bytes;
        double sum = 0.0;
        for (uint32_t i = 0; i < a->d_k; i++) {
            sum += (double)query->q[i] *
                   (double)kv_load(type, page + a->k_offset, (size_t)i * PAGE + t % PAGE);
        }
        scores[t - begin] = score_of(a, query, (float)sum, t);
        max = scores[t - begin] > max ? scores[t - begin] : max;
    }
    const float correction = expf(state->max - max);
    state->max = max;
    state->sum *= (double)correction;
    for (uint32_t j = 0; j < a->d_v; j++) {
        o[j] *= correction;
    }
    for (uint32_t t = begin; t < end; t++) {
        const uint8_t *page = a->store + (size_t)a->table[t / PAGE] * a->page_bytes;
        const float p = expf(scores[t - begin] - max);
        state->sum += (double)p;
        for (uint32_t j = 0; j < a->d_v; j++) {
            o[j] += p * kv_load(type, page + a->v_offset, (size_t)(t % PAGE) * a->d_v + j);
        }
    }
}

static void attend_ref(sl_kv_type type, const sl_attend *a) {
    float *scores = a->scratch;
    for (uint32_t r = 0; r < a->n_rows; r++) {
        const uint32_t pos = a->pos0 + r;
        const uint32_t end = a->n_keys ? a->n_keys : pos + 1;
        const bool windowed = a->window && !a->n_keys && end > a->window;
        const uint32_t begin = windowed ? end - a->window : 0;
        for (uint32_t h = 0; h < a->n_group; h++) {
            const attend_query query = {a->q + r * a->q_stride + (size_t)h * a->d_k, h, pos};
            float *o = a->out + r * a->out_stride + (size_t)h * a->d_v;
            softmax_state state = {-INFINITY, 0.0};
            if (a->sinks) { /* a score without a value */
                state = (softmax_state){a->sinks[h], 1.0};
            }
            for (uint32_t j = 0; j < a->d_v; j++) {
                o[j] = 0.0f;
            }
            for (uint32_t t = begin, stop; t < end; t = stop) {
                stop = t / SL_ATTEND_BLOCK * SL_ATTEND_BLOCK + SL_ATTEND_BLOCK;
                stop = stop < end ? stop : end;
                attend_block(type, a, &query, t, stop, scores, &state, o);
            }
            for (uint32_t j = 0; j < a->d_v; j++) {
                o[j] = (float)((double)o[j] / state.sum);
            }
        }
    }
}

static void attend_f16_ref(const sl_attend *a) {
    attend_ref(SL_KV_F16, a);
}
static void attend_f32_ref(const sl_attend *a) {
    attend_ref(SL_KV_F32, a);
}

static void kv_store_f16_ref(const float *key, uint32_t d_k, const float *value, uint32_t d_v,
                             void *k_block, void *v_block, uint32_t slot) {
    uint16_t *k = k_block;
    uint16_t *v = (uint16_t *)v_block + (size_t)slot * d_v;
    for (uint32_t i = 0; i < d_k; i++) {
        k[i * PAGE + slot] = sl_f32_to_f16(key[i]);
    }
    for (uint32_t i = 0; i < d_v; i++) {
        v[i] = sl_f32_to_f16(value[i]);
    }
}

static void kv_store_f32_ref(const float *key, uint32_t d_k, const float *value, uint32_t d_v,
                             void *k_block, void *v_block, uint32_t slot) {
    float *k = k_block;
    float *v = (float *)v_block + (size_t)slot * d_v;
    for (uint32_t i = 0; i < d_k; i++) {
        k[i * PAGE + slot] = key[i];
    }
    for (uint32_t i = 0; i < d_v; i++) {
        v[i] = value[i];
    }
}

void sl_attend_fill_ref(sl_kernels *k) {
    k->attend[SL_KV_F16] = attend_f16_ref;
    k->attend[SL_KV_F32] = attend_f32_ref;
    k->kv_store[SL_KV_F16] = kv_store_f16_ref;
    k->kv_store[SL_KV_F32] = kv_store_f32_ref;
}
