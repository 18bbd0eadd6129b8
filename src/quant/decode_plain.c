/* Scalar decode of the formats without blocks: F32, F16, BF16; all little-endian. */
#include "quant/decode.h"
#include "quant/half.h"

void sl_decode_f32(const uint8_t *restrict src, float *restrict dst, size_t n) {
    memcpy(dst, src, n * sizeof(float));
}

void sl_decode_f16(const uint8_t *restrict src, float *restrict dst, size_t n) {
    for (size_t i = 0; i < n; i++) {
        dst[i] = sl_half_load(src + 2 * i);
    }
}

void sl_decode_bf16(const uint8_t *restrict src, float *restrict dst, size_t n) {
    for (size_t i = 0; i < n; i++) {
        dst[i] = sl_bfloat_to_float(sl_load_u16(src + 2 * i));
    }
}
