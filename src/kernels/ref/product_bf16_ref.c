/* The bf16 product in plain C: the twin of the kernels that have an instruction for it. Panel: 16
 * rows [n_in, even] of the file's bfloat16. Kept apart from the table, see kernels.h. */
#include <float.h>
#include <math.h>
#include <string.h>

#include "kernels/levels.h"
#include "quant/half.h"

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
    if (n % 2 != 0) {
        out[n] = 0;
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
