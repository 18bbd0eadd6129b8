/* Plain C forms of the kernels that work on one row of floats: rounding to int8, norms, rotary
 * embedding, sums, and the reductions over a row of logits. Activations: act_ref.c. */
#include <math.h>
#include <string.h>

#include "kernels/levels.h"
#include "quant/half.h"

static void quantize_row_ref(const float *x, uint32_t n, const sl_act8 *act, uint32_t row) {
    int8_t *q = act->q + row * act->q_stride;
    const size_t g0 = row * act->g_stride;
    for (uint32_t g = 0; g < n / SL_ACT_GROUP; g++, x += SL_ACT_GROUP, q += SL_ACT_GROUP) {
        /* Magnitudes compare as their bits do; infinity and NaN are above all numbers. */
        uint32_t amax_bits = 0;
        for (int i = 0; i < SL_ACT_GROUP; i++) {
            const uint32_t bits = sl_bits_of_float(x[i]) & 0x7fffffffu;
            amax_bits = bits > amax_bits ? bits : amax_bits;
        }
        const float amax = sl_float_of_bits(amax_bits);
        int16_t sum[2] = {0, 0};
        float d = 0.0f;
        if (amax_bits >= 0x7f800000u) {
            memset(q, 0, SL_ACT_GROUP);
            d = sl_float_of_bits(0x7fc00000u);
        } else if (amax < SL_QUANTIZE_AMAX_MIN) {
            memset(q, 0, SL_ACT_GROUP);
        } else {
            const float inverse = 127.0f / amax;
            d = amax / 127.0f;
            for (int i = 0; i < SL_ACT_GROUP; i++) {
                q[i] = (int8_t)rintf(x[i] * inverse);
                sum[i / 16] = (int16_t)(sum[i / 16] + q[i]);
            }
        }
        act->d[g0 + g] = d;
        act->s[g0 + g] = d * (float)(sum[0] + sum[1]);
        act->minus_sum[2 * (g0 + g)] = -(sum[0] + sum[1]);
        act->minus_sum[2 * (g0 + g) + 1] = -sum[0];
    }
}

static void rms_norm_ref(const float *x, const float *w, uint32_t n, float eps, float *out) {
    double sum = 0.0;
    for (uint32_t i = 0; i < n; i++) {
        sum += (double)x[i] * (double)x[i];
    }
    const float scale = (float)(1.0 / sqrt(sum / (double)n + (double)eps));
    for (uint32_t i = 0; i < n; i++) {
        out[i] = w ? x[i] * scale * w[i] : x[i] * scale;
    }
}

static void layer_norm_ref(const float *x, const float *w, const float *b, uint32_t n, float eps,
                           float *out) {
    double sum = 0.0, squares = 0.0;
    for (uint32_t i = 0; i < n; i++) {
        sum += (double)x[i];
    }
    const double mean = sum / (double)n;
    for (uint32_t i = 0; i < n; i++) {
        squares += ((double)x[i] - mean) * ((double)x[i] - mean);
    }
    const double scale = 1.0 / sqrt(squares / (double)n + (double)eps);
    for (uint32_t i = 0; i < n; i++) {
        const float y = (float)(((double)x[i] - mean) * scale);
        out[i] = y * (w ? w[i] : 1.0f) + (b ? b[i] : 0.0f);
    }
}

static inline void rope_pair(float *a, float *b, const float *cs) {
    const float x = *a;
    const float y = *b;
    *a = x * cs[0] - y * cs[1];
    *b = x * cs[1] + y * cs[0];
}

static void rope_norm_ref(float *x, uint32_t n_head, uint32_t d, uint32_t n_rot, const float *cs) {
    for (uint32_t h = 0; h < n_head; h++, x += d) {
        for (uint32_t j = 0; j < n_rot / 2; j++) {
            rope_pair(&x[2 * j], &x[2 * j + 1], cs + 2 * j);
        }
    }
}

static void rope_neox_ref(float *x, uint32_t n_head, uint32_t d, uint32_t n_rot, const float *cs) {
    for (uint32_t h = 0; h < n_head; h++, x += d) {
        for (uint32_t j = 0; j < n_rot / 2; j++) {
            rope_pair(&x[j], &x[j + n_rot / 2], cs + 2 * j);
        }
    }
}

static void add_ref(const float *x, const float *y, uint32_t n, float *out) {
    for (uint32_t i = 0; i < n; i++) {
        out[i] = x[i] + y[i];
    }
}

static void add_scaled_ref(const float *x, const float *y, float scale, uint32_t n, float *out) {
    for (uint32_t i = 0; i < n; i++) {
        out[i] = fmaf(y[i], scale, x[i]);
    }
}

static void scale_ref(const float *x, float scale, uint32_t n, float *out) {
    for (uint32_t i = 0; i < n; i++) {
        out[i] = x[i] * scale;
    }
}

static void softcap_ref(const float *x, float cap, uint32_t n, float *out) {
    for (uint32_t i = 0; i < n; i++) {
        out[i] = cap * tanhf(x[i] / cap);
    }
}

static uint32_t argmax_ref(const float *x, uint32_t n) {
    uint32_t best = 0;
    for (uint32_t i = 0; i < n; i++) {
        if (isnan(x[i])) {
            return UINT32_MAX;
        }
        best = x[i] > x[best] ? i : best;
    }
    return best;
}

static uint32_t not_below_ref(const float *x, uint32_t n, float least) {
    uint32_t i = 0;
    while (i < n && x[i] < least) {
        i++;
    }
    return i;
}

static double sum_exp_ref(const float *x, uint32_t n, float max, float scale) {
    double sum = 0.0;
    for (uint32_t i = 0; i < n; i++) {
        sum += (double)expf((x[i] - max) * scale);
    }
    return sum;
}

void sl_rows_fill_ref(sl_kernels *k) {
    k->quantize_row = quantize_row_ref;
    k->rms_norm = rms_norm_ref;
    k->layer_norm = layer_norm_ref;
    k->rope_norm = rope_norm_ref;
    k->rope_neox = rope_neox_ref;
    k->add = add_ref;
    k->add_scaled = add_scaled_ref;
    k->scale = scale_ref;
    k->softcap = softcap_ref;
    k->argmax = argmax_ref;
    k->not_below = not_below_ref;
    k->sum_exp = sum_exp_ref;
}
