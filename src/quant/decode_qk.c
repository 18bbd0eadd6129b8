/* Scalar decode of the "K" formats: super-blocks of 256 elements with small integer scales: Q2_K
 * Q3_K Q4_K Q5_K Q6_K Q8_K.
 *
 * Offsets in bytes, little-endian, d and dmin IEEE half (Q8_K: d float32).
 *
 *   Q2_K   84   0 scales[16] (low nibble scale, high nibble minimum) | 16 qs[64] | 80 d | 82 dmin
 *   Q3_K  110   0 hmask[32] | 32 qs[64] | 96 scales[12] (16 of 6 bits) | 108 d
 *   Q4_K  144   0 d | 2 dmin | 4 scales[12] (scales_k.h) | 16 qs[128]
 *   Q5_K  176   0 d | 2 dmin | 4 scales[12] (scales_k.h) | 16 qh[32] | 48 qs[128]
 *   Q6_K  210   0 ql[128] | 128 qh[64] | 192 int8 scales[16] | 208 d
 *   Q8_K  292   0 d | 4 int8 qs[256] | 260 int16 sums[16] (of 16 elements each, not needed here)
 *
 * Products round one by one in the order d * scale, then * q, then - dmin * minimum. */
#include "quant/decode.h"
#include "quant/half.h"
#include "quant/scales_k.h"

enum { SUPER = 256 };

/* Elements come in two halves of 128; each half has 32 bytes of qs, whose bits 2j, 2j+1 hold the
 * elements 32 j .. 32 j + 31 of the half. Groups of 16 share a scale and a minimum. */
void sl_decode_q2_k(const uint8_t *restrict src, float *restrict dst, size_t n) {
    for (size_t b = 0; b < n / SUPER; b++, src += 84, dst += SUPER) {
        const float d = sl_half_load(src + 80);
        const float dmin = sl_half_load(src + 82);
        for (int g = 0; g < 16; g++) {
            const uint8_t *q = src + 16 + 32 * (g / 8) + 16 * (g % 2);
            const int shift = 2 * (g % 8 / 2);
            const float scale = d * (float)(src[g] & 15);
            const float minimum = dmin * (float)(src[g] >> 4);
            for (int i = 0; i < 16; i++) {
                dst[16 * g + i] = scale * (float)(q[i] >> shift & 3) - minimum;
            }
        }
    }
}

/* Low two bits as in Q2_K. Element e of 256 has its third bit in bit e / 32 of hmask[e % 32]: 0
 * means "minus 4". Scale g of 16 (6 bits, minus 32): low nibbles in bytes 0-7 (g < 8 low half, else
 * high half), upper two bits in byte 8 + g % 4 at bit 2 * (g / 4). */
void sl_decode_q3_k(const uint8_t *restrict src, float *restrict dst, size_t n) {
    for (size_t b = 0; b < n / SUPER; b++, src += 110, dst += SUPER) {
        const float d = sl_half_load(src + 108);
        const uint8_t *packed = src + 96;
        for (int g = 0; g < 16; g++) {
            const uint8_t *q = src + 32 + 32 * (g / 8) + 16 * (g % 2);
            const uint8_t *high = src + 16 * (g % 2);
            const int shift = 2 * (g % 8 / 2);
            const int bit = g / 2;
            const int low4 = packed[g % 8] >> (g < 8 ? 0 : 4) & 15;
            const int top2 = packed[8 + g % 4] >> 2 * (g / 4) & 3;
            const float scale = d * (float)((low4 | top2 << 4) - 32);
            for (int i = 0; i < 16; i++) {
                const int value = (q[i] >> shift & 3) - ((high[i] >> bit & 1) ? 0 : 4);
                dst[16 * g + i] = scale * (float)value;
            }
        }
    }
}

/* Groups of 32: byte i of the p-th 32 bytes of qs holds element i of group 2p (low nibble) and 2p +
 * 1. */
void sl_decode_q4_k(const uint8_t *restrict src, float *restrict dst, size_t n) {
    for (size_t b = 0; b < n / SUPER; b++, src += 144, dst += SUPER) {
        const float d = sl_half_load(src);
        const float dmin = sl_half_load(src + 2);
        uint8_t scales[8], minimums[8];
        sl_scales_k_unpack(src + 4, scales, minimums);
        for (int g = 0; g < 8; g++) {
            const uint8_t *q = src + 16 + 32 * (g / 2);
            const int shift = 4 * (g % 2);
            const float scale = d * (float)scales[g];
            const float minimum = dmin * (float)minimums[g];
            for (int i = 0; i < 32; i++) {
                dst[32 * g + i] = scale * (float)(q[i] >> shift & 15) - minimum;
            }
        }
    }
}

/* As Q4_K; bit g of qh[i] is the fifth bit of element i of group g. */
void sl_decode_q5_k(const uint8_t *restrict src, float *restrict dst, size_t n) {
    for (size_t b = 0; b < n / SUPER; b++, src += 176, dst += SUPER) {
        const float d = sl_half_load(src);
        const float dmin = sl_half_load(src + 2);
        const uint8_t *high = src + 16;
        uint8_t scales[8], minimums[8];
        sl_scales_k_unpack(src + 4, scales, minimums);
        for (int g = 0; g < 8; g++) {
            const uint8_t *q = src + 48 + 32 * (g / 2);
            const int shift = 4 * (g % 2);
            const float scale = d * (float)scales[g];
            const float minimum = dmin * (float)minimums[g];
            for (int i = 0; i < 32; i++) {
                const int value = (q[i] >> shift & 15) | (high[i] >> g & 1) << 4;
                dst[32 * g + i] = scale * (float)value - minimum;
            }
        }
    }
}

/* Two halves of 128 elements, each with 64 bytes of ql and 32 of qh. Run r (32 elements) of a half:
 * low nibbles in ql[32 * (r % 2) ..], low half of the byte for r < 2; upper two bits in qh at bit 2
 * r. Scales per 16. */
void sl_decode_q6_k(const uint8_t *restrict src, float *restrict dst, size_t n) {
    for (size_t b = 0; b < n / SUPER; b++, src += 210, dst += SUPER) {
        const float d = sl_half_load(src + 208);
        for (int g = 0; g < 16; g++) {
            const int r = g / 2 % 4;
            const uint8_t *low = src + 64 * (g / 8) + 32 * (r % 2) + 16 * (g % 2);
            const uint8_t *high = src + 128 + 32 * (g / 8) + 16 * (g % 2);
            const int low_shift = 4 * (r / 2), high_shift = 2 * r;
            const float scale = d * (float)(int8_t)src[192 + g];
            for (int i = 0; i < 16; i++) {
                const int q = (low[i] >> low_shift & 15) | (high[i] >> high_shift & 3) << 4;
                dst[16 * g + i] = scale * (float)(q - 32);
            }
        }
    }
}

void sl_decode_q8_k(const uint8_t *restrict src, float *restrict dst, size_t n) {
    for (size_t b = 0; b < n / SUPER; b++, src += 292, dst += SUPER) {
        const float d = sl_float_of_bits(sl_load_u32(src));
        for (int i = 0; i < SUPER; i++) {
            dst[i] = d * (float)(int8_t)src[4 + i];
        }
    }
}
