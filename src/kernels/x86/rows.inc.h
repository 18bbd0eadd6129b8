/* Template of the kernels that work on one row of floats, on the vector words of vec_*.h and the
 * including file's LEVEL(name). Semantics: kernels.h and rows_ref.c. */
#include <math.h>

#include "kernels/levels.h"
#include "kernels/x86/act.inc.h"
#include "kernels/x86/exp.inc.h"
#include "quant/half.h"

static void LEVEL(quantize_row)(const float *x, uint32_t n, const sl_act8 *act, uint32_t row) {
    enum { PARTS = SL_ACT_GROUP / VL };
    int8_t *q = act->q + row * act->q_stride;
    const size_t g0 = row * act->g_stride;
    const vi magnitude = vi_set1(0x7fffffff);
    for (uint32_t g = 0; g < n / SL_ACT_GROUP; g++, x += SL_ACT_GROUP, q += SL_ACT_GROUP) {
        vf part[PARTS];
        /* magnitudes compare as their bits do; infinity and NaN are above all numbers */
        vi max = vi_zero();
        for (int i = 0; i < PARTS; i++) {
            part[i] = vf_load(x + i * VL);
            max = vi_max_epu32(max, vi_and(vi_bits(part[i]), magnitude));
        }
        const uint32_t amax_bits = vi_max_u32(max);
        const float amax = sl_float_of_bits(amax_bits);
        const bool finite = amax_bits < 0x7f800000u;
        const bool zero = !finite || amax < SL_QUANTIZE_AMAX_MIN;
        const float d = !finite ? sl_float_of_bits(0x7fc00000u) : zero ? 0.0f : amax / 127.0f;
        const vf inverse = vf_set1(zero ? 0.0f : 127.0f / amax);
        vi sum[2] = {vi_zero(), vi_zero()};
        for (int i = 0; i < PARTS; i++) {
            const vi code = zero ? vi_zero() : vi_of_vf(vf_mul(part[i], inverse));
            vi_store_i8(q + i * VL, code);
            sum[i * 2 / PARTS] = vi_add(sum[i * 2 / PARTS], code);
        }
        const int32_t sum_0 = vi_sum(sum[0]);
        const int32_t sum_1 = vi_sum(sum[1]);
        act->d[g0 + g] = d;
        act->s[g0 + g] = d * (float)(sum_0 + sum_1);
        act->minus_sum[2 * (g0 + g)] = -(sum_0 + sum_1);
        act->minus_sum[2 * (g0 + g) + 1] = -sum_0;
    }
}

static void LEVEL(rms_norm)(const float *x, const float *w, uint32_t n, float eps, float *out) {
    const uint32_t whole = n / VL * VL;
    vd sum = vd_zero();
    for (uint32_t i = 0; i < whole; i += VL) {
        sum = vd_add_squares(sum, vf_load(x + i));
    }
    sum = vd_add_squares(sum, vf_load_part(x + whole, n - whole));
    const vf scale = vf_set1((float)(1.0 / sqrt(vd_sum(sum) / (double)n + (double)eps)));
    if (w == NULL) {
        for (uint32_t i = 0; i < whole; i += VL) {
            vf_store(out + i, vf_mul(vf_load(x + i), scale));
        }
        vf_store_part(out + whole, vf_mul(vf_load_part(x + whole, n - whole), scale), n - whole);
        return;
    }
    for (uint32_t i = 0; i < whole; i += VL) {
        vf_store(out + i, vf_mul(vf_mul(vf_load(x + i), scale), vf_load(w + i)));
    }
    const vf rest = vf_mul(vf_load_part(x + whole, n - whole), scale);
    vf_store_part(out + whole, vf_mul(rest, vf_load_part(w + whole, n - whole)), n - whole);
}

/* The mean in two floats: x - m keeps its low bits where the mean is large against the spread. */
typedef struct layer_mean {
    vf high, low;
} layer_mean;
INLINE vf layer_part(vf x, layer_mean m) {
    return vf_sub(vf_sub(x, m.high), m.low);
}
INLINE vf layer_scaled(vf x, layer_mean m, vf scale, const float *w, const float *b, uint32_t n) {
    vf y = vf_mul(layer_part(x, m), scale);
    if (w && b) {
        return vf_fma(y, vf_load_part(w, n), vf_load_part(b, n));
    }
    y = w ? vf_mul(y, vf_load_part(w, n)) : y;
    return b ? vf_add(y, vf_load_part(b, n)) : y;
}

static void LEVEL(layer_norm)(const float *x, const float *w, const float *b, uint32_t n, float eps,
                              float *out) {
    const uint32_t whole = n / VL * VL, rest = n - whole;
    vd sum = vd_zero();
    for (uint32_t i = 0; i < whole; i += VL) {
        sum = vd_add(sum, vf_load(x + i));
    }
    sum = vd_add(sum, vf_load_part(x + whole, rest));
    const double mean = vd_sum(sum) / (double)n;
    const float high = (float)mean;
    const layer_mean m = {vf_set1(high), vf_set1((float)(mean - (double)high))};
    vd squares = vd_zero();
    for (uint32_t i = 0; i < whole; i += VL) {
        squares = vd_add_squares(squares, layer_part(vf_load(x + i), m));
    }
    const vf last = layer_part(vf_load_part(x + whole, rest), m);
    squares = vd_add_squares(squares, vf_select_below(rest, last, vf_zero()));
    const vf scale = vf_set1((float)(1.0 / sqrt(vd_sum(squares) / (double)n + (double)eps)));
    for (uint32_t i = 0; i < n; i += VL) {
        const uint32_t left = n - i < VL ? n - i : VL;
        const vf part = vf_load_part(x + i, left);
        const vf y = layer_scaled(part, m, scale, w ? w + i : NULL, b ? b + i : NULL, left);
        vf_store_part(out + i, y, left);
    }
}

static void LEVEL(rope_norm)(float *x, uint32_t n_head, uint32_t d, uint32_t n_rot,
                             const float *cs) {
    const uint32_t n = n_rot / 2 * 2;
    const uint32_t whole = n / VL * VL;
    for (uint32_t h = 0; h < n_head; h++, x += d) {
        for (uint32_t i = 0; i < whole; i += VL) {
            vf_store(x + i, vf_rotate_pairs(vf_load(x + i), vf_load(cs + i)));
        }
        const vf rest = vf_load_part(x + whole, n - whole);
        vf_store_part(x + whole, vf_rotate_pairs(rest, vf_load_part(cs + whole, n - whole)),
                      n - whole);
    }
}

static void LEVEL(rope_neox)(float *x, uint32_t n_head, uint32_t d, uint32_t n_rot,
                             const float *cs) {
    const uint32_t half = n_rot / 2;
    const uint32_t whole = half / VL * VL;
    for (uint32_t h = 0; h < n_head; h++, x += d) {
        float *low = x;
        float *high = x + half;
        for (uint32_t j = 0; j < whole; j += VL) {
            vf c, s;
            vf_load_split(cs + 2 * j, &c, &s);
            const vf a = vf_load(low + j), b = vf_load(high + j);
            vf_store(low + j, vf_fnma(b, s, vf_mul(a, c)));
            vf_store(high + j, vf_fma(b, c, vf_mul(a, s)));
        }
        for (uint32_t j = whole; j < half; j++) {
            const float a = low[j], b = high[j];
            low[j] = fmaf(-b, cs[2 * j + 1], a * cs[2 * j]);
            high[j] = fmaf(b, cs[2 * j], a * cs[2 * j + 1]);
        }
    }
}

static void LEVEL(add)(const float *x, const float *y, uint32_t n, float *out) {
    const uint32_t whole = n / VL * VL;
    for (uint32_t i = 0; i < whole; i += VL) {
        vf_store(out + i, vf_add(vf_load(x + i), vf_load(y + i)));
    }
    const uint32_t rest = n - whole;
    vf_store_part(out + whole, vf_add(vf_load_part(x + whole, rest), vf_load_part(y + whole, rest)),
                  rest);
}

static void LEVEL(add_scaled)(const float *x, const float *y, float scale, uint32_t n, float *out) {
    const vf s = vf_set1(scale);
    const uint32_t whole = n / VL * VL;
    for (uint32_t i = 0; i < whole; i += VL) {
        vf_store(out + i, vf_fma(vf_load(y + i), s, vf_load(x + i)));
    }
    const uint32_t rest = n - whole;
    const vf last = vf_fma(vf_load_part(y + whole, rest), s, vf_load_part(x + whole, rest));
    vf_store_part(out + whole, last, rest);
}

static void LEVEL(scale)(const float *x, float scale, uint32_t n, float *out) {
    const vf s = vf_set1(scale);
    const uint32_t whole = n / VL * VL;
    for (uint32_t i = 0; i < whole; i += VL) {
        vf_store(out + i, vf_mul(vf_load(x + i), s));
    }
    const uint32_t rest = n - whole;
    vf_store_part(out + whole, vf_mul(vf_load_part(x + whole, rest), s), rest);
}

static void LEVEL(softcap)(const float *x, float cap, uint32_t n, float *out) {
    const vf c = vf_set1(cap), inverse = vf_set1(1.0f / cap);
    const uint32_t whole = n / VL * VL;
    for (uint32_t i = 0; i < whole; i += VL) {
        vf_store(out + i, vf_mul(c, vf_tanh(vf_mul(vf_load(x + i), inverse))));
    }
    const uint32_t rest = n - whole;
    const vf last = vf_mul(c, vf_tanh(vf_mul(vf_load_part(x + whole, rest), inverse)));
    vf_store_part(out + whole, last, rest);
}

/* Two passes: the maximum, then its first place. */
static uint32_t LEVEL(argmax)(const float *x, uint32_t n) {
    const uint32_t whole = n / VL * VL;
    vf max = vf_set1(-INFINITY);
    uint32_t nan = 0;
    for (uint32_t i = 0; i < whole; i += VL) {
        const vf v = vf_load(x + i);
        nan |= vf_mask_nan(v);
        max = vf_max(v, max);
    }
    float best = vf_max_lanes(max);
    for (uint32_t i = whole; i < n; i++) {
        nan |= isnan(x[i]);
        best = x[i] > best ? x[i] : best;
    }
    if (nan) {
        return UINT32_MAX;
    }
    for (uint32_t i = 0; i < whole; i += VL) {
        const uint32_t equal = vf_mask_eq(vf_load(x + i), vf_set1(best));
        if (equal) {
            return i + (uint32_t)__builtin_ctz(equal);
        }
    }
    for (uint32_t i = whole; i < n; i++) {
        if (x[i] == best) {
            return i;
        }
    }
    return UINT32_MAX;
}

static uint32_t LEVEL(not_below)(const float *x, uint32_t n, float least) {
    const uint32_t whole = n / VL * VL;
    const vf limit = vf_set1(least);
    for (uint32_t i = 0; i < whole; i += VL) {
        const uint32_t found = vf_mask_not_below(vf_load(x + i), limit);
        if (found) {
            return i + (uint32_t)__builtin_ctz(found);
        }
    }
    for (uint32_t i = whole; i < n; i++) {
        if (!(x[i] < least)) {
            return i;
        }
    }
    return n;
}

static double LEVEL(sum_exp)(const float *x, uint32_t n, float max, float scale) {
    const uint32_t whole = n / VL * VL;
    vd sum = vd_zero();
    for (uint32_t i = 0; i < whole; i += VL) {
        const vf e = vf_exp(vf_mul(vf_sub(vf_load(x + i), vf_set1(max)), vf_set1(scale)));
        sum = vd_add(sum, e);
    }
    const uint32_t rest = n - whole;
    const vf last = vf_exp(
        vf_mul(vf_sub(vf_load_part(x + whole, rest), vf_set1(max)), vf_set1(scale)));
    return vd_sum(vd_add(sum, vf_select_below(rest, last, vf_zero())));
}

void LEVEL(sl_rows_fill)(sl_kernels *k) {
    k->quantize_row = LEVEL(quantize_row);
    k->rms_norm = LEVEL(rms_norm);
    k->layer_norm = LEVEL(layer_norm);
    k->rope_norm = LEVEL(rope_norm);
    k->rope_neox = LEVEL(rope_neox);
    k->act = LEVEL(act);
    k->add = LEVEL(add);
    k->add_scaled = LEVEL(add_scaled);
    k->scale = LEVEL(scale);
    k->softcap = LEVEL(softcap);
    k->argmax = LEVEL(argmax);
    k->not_below = LEVEL(not_below);
    k->sum_exp = LEVEL(sum_exp);
}
