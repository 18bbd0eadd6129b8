/* What all kernel checks and benchmarks share: random data from a printed seed, guarded buffers,
 * comparisons. */
#ifndef KERNEL_CHECK_H
#define KERNEL_CHECK_H

#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/cpu.h"
#include "kernels/kernels.h"
#include "quant/group.h"
#include "quant/half.h"
#include "quant/types.h"

#define GUARD_BYTES 256
#define GUARD_FILL 0xA5

/* --- random numbers: splitmix64
 * ---------------------------------------------------------------- */
typedef struct rng {
    uint64_t state;
} rng;

static inline uint64_t rng_next(rng *r) {
    uint64_t z = (r->state += 0x9E3779B97F4A7C15u);
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    return z ^ z >> 31;
}
static inline uint32_t rng_below(rng *r, uint32_t n) {
    return (uint32_t)((rng_next(r) >> 32) * n >> 32);
}
/* In [-1, 1). */
static inline float rng_float(rng *r) {
    return (float)(int32_t)(rng_next(r) >> 32) * 0x1p-31f;
}
/* Roughly normal, unit variance. */
static inline float rng_normal(rng *r) {
    return (rng_float(r) + rng_float(r) + rng_float(r));
}
static inline void rng_fill(rng *r, float *x, size_t n) {
    for (size_t i = 0; i < n; i++) {
        x[i] = rng_normal(r);
    }
}

/* --- buffers with guard bytes on both sides
 * ----------------------------------------------------- */
typedef struct guarded {
    uint8_t *base;
    size_t size;
} guarded;

static inline void *guarded_alloc(guarded *g, size_t size_bytes) {
    g->size = size_bytes;
    g->base = sl_alloc_aligned(size_bytes + 2 * GUARD_BYTES, 64);
    if (g->base == NULL) {
        fprintf(stderr, "test_kernels: out of memory\n");
        return NULL;
    }
    memset(g->base, GUARD_FILL, size_bytes + 2 * GUARD_BYTES);
    return g->base + GUARD_BYTES;
}
/* False if a byte outside was written. Frees the buffer. */
static inline bool guarded_free(guarded *g) {
    bool whole = true;
    for (size_t i = 0; i < GUARD_BYTES; i++) {
        whole = whole && g->base[i] == GUARD_FILL &&
                g->base[GUARD_BYTES + g->size + i] == GUARD_FILL;
    }
    sl_free_aligned(g->base);
    return whole;
}

static inline bool guarded_free_all(guarded *g, size_t n) {
    bool whole = true;
    for (size_t i = 0; i < n; i++) {
        whole = guarded_free(&g[i]) && whole;
    }
    return whole;
}

/* --- comparisons
 * -------------------------------------------------------------------------------- */
static inline bool same_bits(const float *a, const float *b, size_t n) {
    for (size_t i = 0; i < n; i++) {
        if (isnan(a[i]) && isnan(b[i])) { /* any NaN equals any other */
            continue;
        }
        if (memcmp(&a[i], &b[i], 4) != 0) {
            return false;
        }
    }
    return true;
}
/* |a - b| <= bound_abs + bound_rel * |b| everywhere; NaN and infinities must be in the same
 * places. */
static inline bool near(const float *a, const float *b, size_t n, float bound_rel,
                        float bound_abs) {
    for (size_t i = 0; i < n; i++) {
        if (isnan(a[i]) || isnan(b[i])) {
            if (!isnan(a[i]) || !isnan(b[i])) {
                return false;
            }
        } else if (a[i] != b[i] && !(fabsf(a[i] - b[i]) <= bound_abs + bound_rel * fabsf(b[i]))) {
            return false;
        }
    }
    return true;
}

/* --- quantised rows
 * ----------------------------------------------------------------------------- */
static inline void put_half(uint8_t *p, float f) {
    const uint16_t h = sl_f32_to_f16(f);
    p[0] = (uint8_t)h;
    p[1] = (uint8_t)(h >> 8);
}

/* Random blocks of a type with finite scales. */
static inline void random_row(rng *r, sl_type type, uint8_t *row, uint32_t n) {
    const sl_type_info *info = sl_type_info_of((uint32_t)type);
    const size_t n_blocks = n / info->block_elems;
    for (size_t b = 0; b < n_blocks; b++, row += info->block_bytes) {
        for (uint32_t i = 0; i < info->block_bytes; i++) {
            row[i] = (uint8_t)rng_next(r);
        }
        switch (type) {
        case SL_TYPE_F32: {
            const float f = rng_normal(r);
            memcpy(row, &f, 4);
            break;
        }
        case SL_TYPE_F16:
            put_half(row, rng_normal(r));
            break;
        case SL_TYPE_BF16: {
            const uint16_t h = sl_f32_to_bf16(rng_normal(r));
            memcpy(row, &h, 2);
            break;
        }
        case SL_TYPE_Q4_1:
        case SL_TYPE_Q5_1:
        case SL_TYPE_Q4_K:
        case SL_TYPE_Q5_K:
            put_half(row, rng_float(r) * 0.1f);
            put_half(row + 2, rng_float(r) * 0.5f);
            break;
        case SL_TYPE_Q2_K:
            put_half(row + 80, rng_float(r) * 0.1f);
            put_half(row + 82, rng_float(r) * 0.5f);
            break;
        case SL_TYPE_Q3_K:
            put_half(row + 108, rng_float(r) * 0.1f);
            break;
        case SL_TYPE_Q6_K:
            put_half(row + 208, rng_float(r) * 0.1f);
            break;
        case SL_TYPE_TQ1_0:
            put_half(row + 52, rng_float(r));
            break;
        case SL_TYPE_TQ2_0:
            put_half(row + 64, rng_float(r));
            break;
        case SL_TYPE_IQ1_M: /* the half's nibbles, from the lowest, top four scales */
            for (uint32_t i = 0, h = sl_f32_to_f16(rng_float(r) * 0.1f); i < 4; i++, h >>= 4) {
                row[49 + 2 * i] = (uint8_t)((row[49 + 2 * i] & 15) | (h & 15) << 4);
            }
            break;
        case SL_TYPE_MXFP4:
            row[0] = (uint8_t)(120 + row[0] % 10);
            break;
        case SL_TYPE_NVFP4: /* all scales are finite */
            break;
        case SL_TYPE_Q8_K: {
            const float f = rng_float(r);
            memcpy(row, &f, 4);
            break;
        }
        default: /* a half in front: Q4_0 Q5_0 Q8_0, most IQ formats */
            put_half(row, rng_float(r) * 0.1f);
            break;
        }
    }
}

/* --- activations
 * -------------------------------------------------------------------------------- */
typedef struct act_buf {
    sl_act8 act;
    guarded q, d, s, minus_sum;
    uint32_t n_rows;
} act_buf;

static inline bool act_alloc(act_buf *a, uint32_t n_rows, uint32_t n_in) {
    const size_t q_stride = sl_row_stride(n_in, 1);
    const size_t g_stride = sl_row_stride(n_in / 32, sizeof(float));
    a->n_rows = n_rows;
    a->act.q_stride = q_stride;
    a->act.g_stride = g_stride;
    a->act.q = guarded_alloc(&a->q, n_rows * q_stride);
    a->act.d = guarded_alloc(&a->d, n_rows * g_stride * 4);
    a->act.s = guarded_alloc(&a->s, n_rows * g_stride * 4);
    a->act.minus_sum = guarded_alloc(&a->minus_sum, n_rows * g_stride * 8);
    return a->act.q && a->act.d && a->act.s && a->act.minus_sum;
}
static inline bool act_free(act_buf *a) {
    const bool q = guarded_free(&a->q), d = guarded_free(&a->d);
    const bool s = guarded_free(&a->s), minus_sum = guarded_free(&a->minus_sum);
    return q && d && s && minus_sum;
}

#endif
