/* The bf16 products in plain C: the twins of the kernels that have instructions for them, dpbf16
 * and AMX tiles. Panel of the first: 16 rows [n_in, even] of the file's bfloat16. Kept apart
 * from the table, see kernels.h. */
#include <float.h>
#include <math.h>
#include <string.h>

#include "kernels/levels.h"
#include "quant/half.h"

#define PART_COLUMNS 256 /* decoded at a time, a multiple of every block */

static uint32_t even(uint32_t n) {
    return n + n % 2;
}

static float flush(float x) {
    return fabsf(x) < FLT_MIN ? copysignf(0.0f, x) : x;
}

static size_t panel_bytes_bf16_ref(uint32_t n_in) {
    return (size_t)SL_PANEL_ROWS * even(n_in) * sizeof(uint16_t);
}

static void pack_bf16_ref(const uint8_t *rows, size_t row_bytes, uint32_t n_rows, uint32_t n_in,
                          uint8_t *panel) {
    memset(panel, 0, panel_bytes_bf16_ref(n_in));
    for (uint32_t i = 0; i < n_rows; i++) {
        memcpy(panel + (size_t)i * even(n_in) * sizeof(uint16_t), rows + i * row_bytes,
               n_in * sizeof(uint16_t));
    }
}

static void round_row_bf16_ref(const float *x, uint32_t n, uint16_t *out) {
    for (uint32_t i = 0; i < n; i++) {
        out[i] = sl_f32_to_bf16(flush(x[i]));
    }
    for (uint32_t i = n; i % SL_BF16_GROUP != 0; i++) {
        out[i] = 0;
    }
}

static float fma_bf16(uint16_t w, uint16_t x, float acc) {
    return flush(fmaf(flush(sl_bfloat_to_float(w)), flush(sl_bfloat_to_float(x)), acc));
}

static void mul_bf16_ref(const uint8_t *panels, uint32_t n_in, uint32_t panel_begin,
                         uint32_t panel_end, const uint16_t *x, size_t x_stride, uint32_t row_begin,
                         uint32_t row_end, float *out, size_t out_stride, bool add) {
    for (uint32_t p = panel_begin; p < panel_end; p++) {
        const uint16_t *panel = (const uint16_t *)(const void *)(panels +
                                                                 p * panel_bytes_bf16_ref(n_in));
        for (uint32_t r = row_begin; r < row_end; r++) {
            const uint16_t *row = x + r * x_stride;
            float *o = out + r * out_stride + (size_t)p * SL_PANEL_ROWS;
            for (uint32_t i = 0; i < SL_PANEL_ROWS; i++) {
                const uint16_t *w = panel + (size_t)i * even(n_in);
                float acc = 0.0f;
                for (uint32_t k = 0; k < n_in; k += 2) {
                    acc = fma_bf16(w[k], row[k], fma_bf16(w[k + 1], row[k + 1], acc));
                }
                o[i] = add ? o[i] + acc : acc;
            }
        }
    }
}

void sl_product_bf16_ref(sl_product_bf16 *out) {
    *out = (sl_product_bf16){panel_bytes_bf16_ref, pack_bf16_ref, round_row_bf16_ref, mul_bf16_ref};
}

/* One output: the groups of a row of n_in weights and of the activations, from acc on. */
static float row_mul_amx(const float *w, const uint16_t *x, uint32_t n_in, float acc) {
    acc = flush(acc);
    for (uint32_t g = 0; g < n_in; g += SL_BF16_GROUP) {
        float sum[2] = {0.0f, 0.0f}; /* of even and of odd columns */
        for (uint32_t k = g; k < g + SL_BF16_GROUP; k++) {
            const uint16_t rounded = k < n_in ? sl_f32_to_bf16(flush(w[k])) : 0;
            sum[k % 2] = fma_bf16(rounded, x[k], sum[k % 2]);
        }
        acc = flush(acc + flush(sum[0] + sum[1]));
    }
    return acc;
}

void sl_mul_amx_ref(sl_type type, const uint8_t *weights, size_t row_bytes, uint32_t n_in,
                    uint32_t n_out, const uint16_t *x, size_t x_stride, uint32_t n_rows, float *out,
                    size_t out_stride, bool add) {
    const sl_type_info *info = sl_type_info_of((uint32_t)type);
    float w[PART_COLUMNS];
    for (uint32_t o = 0; o < n_out; o++) {
        for (uint32_t r = 0; r < n_rows; r++) {
            float acc = add ? out[r * out_stride + o] : 0.0f;
            for (uint32_t k = 0; k < n_in; k += PART_COLUMNS) {
                const uint32_t n = n_in - k < PART_COLUMNS ? n_in - k : PART_COLUMNS;
                const uint8_t *row = weights + o * row_bytes;
                sl_type_decode_row(type, row + k / info->block_elems * info->block_bytes, w, n);
                acc = row_mul_amx(w, x + r * x_stride + k, n, acc);
            }
            out[r * out_stride + o] = acc;
        }
    }
}
