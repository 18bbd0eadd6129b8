/* Pages in plain C: writing keys and values in each format, and reading them one by one. */
#include "kernels/ref/kv_ref.h"

#include <math.h>
#include <string.h>

#include "kernels/levels.h"
#include "quant/half.h"

enum { PAGE = SL_PAGE_TOKENS, UNIT = SL_KV_ROTATION_MAX, GROUP = SL_KV_GROUP };

/* --- rotating and rounding -------------------------------------------------------------------- */

/* Elements [begin, begin + UNIT) of a row, as far as there are any, in rotated blocks of `block`;
 * UNIT is a multiple of it. Returns how many. */
static uint32_t unit_load(const float *x, uint32_t d, uint32_t begin, uint32_t block, float *unit) {
    const uint32_t n = d - begin < UNIT ? d - begin : UNIT;
    memcpy(unit, x + begin, n * sizeof(*unit));
    for (uint32_t h = 1; h < block; h *= 2) {
        for (uint32_t i = 0; i < n; i++) {
            if ((i & h) == 0) {
                const float a = unit[i], b = unit[i + h];
                unit[i] = a + b;
                unit[i + h] = a - b;
            }
        }
    }
    return n;
}

/* Magnitudes compare as their bits do; infinity and NaN are above all numbers. */
static uint32_t magnitude_max(const float *x, uint32_t n, uint32_t max) {
    for (uint32_t i = 0; i < n; i++) {
        const uint32_t bits = sl_bits_of_float(x[i]) & 0x7fffffffu;
        max = bits > max ? bits : max;
    }
    return max;
}

/* The scale of a row's codes, and the factor that makes them; 0: all are 0. */
static float row_scale(const float *x, uint32_t d, uint32_t block, float *inverse) {
    float unit[UNIT];
    uint32_t max = 0;
    for (uint32_t i = 0; i < d; i += UNIT) {
        const uint32_t n = unit_load(x, d, i, block, unit);
        max = magnitude_max(unit, n, max);
    }
    *inverse = 0.0f;
    if (max >= 0x7f800000u) {
        return sl_float_of_bits(0x7fc00000u);
    }
    const float amax = sl_float_of_bits(max);
    if (amax < SL_QUANTIZE_AMAX_MIN) {
        return 0.0f;
    }
    *inverse = 127.0f / amax;
    return amax / 127.0f;
}

static int8_t code_of(float x, float inverse) {
    return inverse == 0.0f ? 0 : (int8_t)rintf(x * inverse);
}

/* A group of n elements in 4 bits; the codes of missing ones are 0. Returns scale and minimum. */
static uint32_t group_codes(const float *x, uint32_t n, uint8_t codes[GROUP]) {
    memset(codes, 0, GROUP);
    float min = x[0], max = x[0];
    for (uint32_t i = 1; i < n; i++) {
        min = x[i] < min ? x[i] : min;
        max = x[i] > max ? x[i] : max;
    }
    const float range = max - min;
    if (magnitude_max(x, n, 0) >= 0x7f800000u || !isfinite(range)) {
        return 0x7fc00000u;
    }
    const uint32_t m = sl_f32_to_bf16(min +
                                      0.0f); /* no negative zero: min and max of both differ */
    const uint32_t s = range < SL_QUANTIZE_AMAX_MIN ? 0 : sl_f32_to_bf16(range / 15.0f);
    if (s != 0) {
        const float inverse = 1.0f / sl_bfloat_to_float((uint16_t)s);
        for (uint32_t i = 0; i < n; i++) {
            const float c = rintf((x[i] - sl_bfloat_to_float((uint16_t)m)) * inverse);
            codes[i] = (uint8_t)(c < 0.0f ? 0.0f : c > 15.0f ? 15.0f : c);
        }
    }
    return m << 16 | s;
}

/* --- writing ---------------------------------------------------------------------------------- */

static void put_u16(uint8_t *p, uint16_t x) {
    memcpy(p, &x, sizeof(x));
}
static void put_u32(uint8_t *p, uint32_t x) {
    memcpy(p, &x, sizeof(x));
}
static void put_float(uint8_t *p, float x) {
    memcpy(p, &x, sizeof(x));
}

static void kv_store_f16_ref(const float *key, uint32_t d_k, const float *value, uint32_t d_v,
                             void *k_block, void *v_block, uint32_t slot) {
    for (uint32_t i = 0; i < d_k; i++) {
        put_u16((uint8_t *)k_block + 2 * ((size_t)i * PAGE + slot), sl_f32_to_f16(key[i]));
    }
    for (uint32_t i = 0; i < d_v; i++) {
        put_u16((uint8_t *)v_block + 2 * ((size_t)slot * d_v + i), sl_f32_to_f16(value[i]));
    }
}

static void kv_store_bf16_ref(const float *key, uint32_t d_k, const float *value, uint32_t d_v,
                              void *k_block, void *v_block, uint32_t slot) {
    for (uint32_t i = 0; i < d_k; i++) {
        put_u16((uint8_t *)k_block + 2 * ((size_t)i * PAGE + slot), sl_f32_to_bf16(key[i]));
    }
    for (uint32_t i = 0; i < d_v; i++) {
        put_u16((uint8_t *)v_block + 2 * ((size_t)slot * d_v + i), sl_f32_to_bf16(value[i]));
    }
}

static void kv_store_f32_ref(const float *key, uint32_t d_k, const float *value, uint32_t d_v,
                             void *k_block, void *v_block, uint32_t slot) {
    for (uint32_t i = 0; i < d_k; i++) {
        put_float((uint8_t *)k_block + 4 * ((size_t)i * PAGE + slot), key[i]);
    }
    for (uint32_t i = 0; i < d_v; i++) {
        put_float((uint8_t *)v_block + 4 * ((size_t)slot * d_v + i), value[i]);
    }
}

static void kv_store_int8_ref(const float *key, uint32_t d_k, const float *value, uint32_t d_v,
                              void *k_block, void *v_block, uint32_t slot) {
    uint8_t *k = k_block, *v = v_block;
    float unit[UNIT], inverse;
    const uint32_t block = sl_kv_rotation(d_k);
    put_float(k + sl_kv_key_codes_bytes(SL_KV_INT8, d_k) + 4 * (size_t)slot,
              row_scale(key, d_k, block, &inverse));
    memset(k + (size_t)(d_k - 1) / 4 * PAGE * 4 + 4 * (size_t)slot, 128, 4);
    for (uint32_t at = 0; at < d_k; at += UNIT) {
        const uint32_t n = unit_load(key, d_k, at, block, unit);
        for (uint32_t i = at; i < at + n; i++) {
            k[(size_t)i / 4 * PAGE * 4 + 4 * (size_t)slot + i % 4] =
                (uint8_t)(code_of(unit[i - at], inverse) + 128);
        }
    }
    put_float(v + sl_kv_value_codes_bytes(SL_KV_INT8, d_v) + 4 * (size_t)slot,
              row_scale(value, d_v, 1, &inverse));
    for (uint32_t i = 0; i < d_v; i++) {
        v[((size_t)slot / 2 * d_v + i) * 2 + slot % 2] = (uint8_t)code_of(value[i], inverse);
    }
}

static void kv_store_int4_ref(const float *key, uint32_t d_k, const float *value, uint32_t d_v,
                              void *k_block, void *v_block, uint32_t slot) {
    uint8_t *k = k_block, *v = v_block, codes[GROUP];
    uint8_t *k_scales = k + sl_kv_key_codes_bytes(SL_KV_INT4, d_k);
    uint8_t *v_scales = v + sl_kv_value_codes_bytes(SL_KV_INT4, d_v);
    float unit[UNIT];
    for (uint32_t at = 0; at < d_k; at += UNIT) {
        const uint32_t n = unit_load(key, d_k, at, sl_kv_rotation(d_k), unit);
        for (uint32_t i = 0; i < n; i += GROUP) {
            const size_t g = (at + i) / GROUP;
            put_u32(k_scales + 4 * (g * PAGE + slot),
                    group_codes(unit + i, n - i < GROUP ? n - i : GROUP, codes));
            for (uint32_t b = 0; b < 16; b++) {
                k[((g * 4 + b / 4) * PAGE + slot) * 4 + b % 4] = (uint8_t)(codes[b] | codes[16 + b]
                                                                                          << 4);
            }
        }
    }
    const size_t n_groups = ((size_t)d_v + GROUP - 1) / GROUP;
    for (uint32_t i = 0; i < d_v; i += GROUP) {
        const size_t at = slot * n_groups + i / GROUP;
        put_u32(v_scales + 4 * at,
                group_codes(value + i, d_v - i < GROUP ? d_v - i : GROUP, codes));
        for (uint32_t b = 0; b < 16; b++) {
            v[at * 16 + b] = (uint8_t)(codes[b] | codes[16 + b] << 4);
        }
    }
}

void sl_kv_store_fill_ref(sl_kernels *k) {
    k->kv_store[SL_KV_F16] = kv_store_f16_ref;
    k->kv_store[SL_KV_F32] = kv_store_f32_ref;
    k->kv_store[SL_KV_BF16] = kv_store_bf16_ref;
    k->kv_store[SL_KV_INT8] = kv_store_int8_ref;
    k->kv_store[SL_KV_INT4] = kv_store_int4_ref;
}

/* --- reading ---------------------------------------------------------------------------------- */

static float element(sl_kv_type type, const uint8_t *block, size_t index) {
    switch (type) {
    case SL_KV_F32:
        return sl_float_of_bits(sl_load_u32(block + 4 * index));
    case SL_KV_BF16:
        return sl_bfloat_to_float(sl_load_u16(block + 2 * index));
    default:
        return sl_half_load(block + 2 * index);
    }
}

void sl_kv_query_ref(sl_kv_type type, uint32_t d_k, kv_query_ref *query) {
    if (type != SL_KV_INT8 && type != SL_KV_INT4) {
        return;
    }
    float unit[UNIT], inverse;
    const uint32_t block = sl_kv_rotation(d_k);
    query->scale = row_scale(query->q, d_k, block, &inverse) / (float)block;
    for (uint32_t at = 0; at < d_k; at += UNIT) {
        const uint32_t n = unit_load(query->q, d_k, at, block, unit);
        for (uint32_t i = 0; i < n; i++) {
            query->codes[at + i] = code_of(unit[i], inverse);
        }
    }
}

static float product_int8(const kv_query_ref *query, const uint8_t *k, uint32_t d_k,
                          uint32_t slot) {
    int32_t dot = 0;
    for (uint32_t i = 0; i < d_k; i++) {
        const uint8_t code = k[(size_t)i / 4 * PAGE * 4 + 4 * (size_t)slot + i % 4];
        dot += (code - 128) * query->codes[i];
    }
    const float scale = sl_float_of_bits(
        sl_load_u32(k + sl_kv_key_codes_bytes(SL_KV_INT8, d_k) + 4 * (size_t)slot));
    return (float)((double)dot * (double)scale * (double)query->scale);
}

static float product_int4(const kv_query_ref *query, const uint8_t *k, uint32_t d_k,
                          uint32_t slot) {
    const uint8_t *scales = k + sl_kv_key_codes_bytes(SL_KV_INT4, d_k);
    double sum = 0.0;
    for (uint32_t i = 0; i < d_k; i += GROUP) {
        const size_t g = i / GROUP;
        int32_t dot = 0, total = 0;
        for (uint32_t e = 0; e < GROUP && i + e < d_k; e++) {
            const uint32_t b = e % 16;
            const uint8_t two = k[((g * 4 + b / 4) * PAGE + slot) * 4 + b % 4];
            dot += (e < 16 ? two & 15 : two >> 4) * query->codes[i + e];
            total += query->codes[i + e];
        }
        const uint32_t scale = sl_load_u32(scales + 4 * (g * PAGE + slot));
        sum += (double)dot * (double)sl_bfloat_to_float((uint16_t)scale) +
               (double)total * (double)sl_bfloat_to_float((uint16_t)(scale >> 16));
    }
    return (float)(sum * (double)query->scale);
}

float sl_kv_product_ref(sl_kv_type type, const kv_query_ref *query, const uint8_t *k_block,
                        uint32_t d_k, uint32_t slot) {
    if (type == SL_KV_INT8) {
        return product_int8(query, k_block, d_k, slot);
    }
    if (type == SL_KV_INT4) {
        return product_int4(query, k_block, d_k, slot);
    }
    double sum = 0.0;
    for (uint32_t i = 0; i < d_k; i++) {
        sum += (double)query->q[i] * (double)element(type, k_block, (size_t)i * PAGE + slot);
    }
    return (float)sum;
}

float sl_kv_value_ref(sl_kv_type type, const uint8_t *v_block, uint32_t d_v, uint32_t slot,
                      uint32_t j) {
    const uint8_t *scales = v_block + sl_kv_value_codes_bytes(type, d_v);
    if (type == SL_KV_INT8) {
        return (float)(int8_t)v_block[((size_t)slot / 2 * d_v + j) * 2 + slot % 2] *
               sl_float_of_bits(sl_load_u32(scales + 4 * (size_t)slot));
    }
    if (type == SL_KV_INT4) {
        const size_t at = slot * (((size_t)d_v + GROUP - 1) / GROUP) + j / GROUP;
        const uint8_t two = v_block[at * 16 + j % 16];
        const uint32_t scale = sl_load_u32(scales + 4 * at);
        return (float)((double)(j % GROUP < 16 ? two & 15 : two >> 4) *
                           (double)sl_bfloat_to_float((uint16_t)scale) +
                       (double)sl_bfloat_to_float((uint16_t)(scale >> 16)));
    }
    return element(type, v_block, (size_t)slot * d_v + j);
}
