/* Scalar decode of the formats of two to four evenly spaced levels with one scale: TQ1_0 TQ2_0 Q1_0
 * Q2_0.
 *
 * Offsets in bytes, d IEEE half, little-endian.
 *
 *   TQ1_0   54   0 qs[48] | 48 qh[4] | 52 d   x = d * (digit - 1), five ternary digits to a byte
 *   TQ2_0   66   0 qs[64] | 64 d              x = d * (q - 1), q of 2 bits
 *   Q1_0    18   0 d | 2 qs[16]               x = d or -d, 128 elements in order, a bit each
 *   Q2_0    18   0 d | 2 qs[16]               x = d * (q - 1), 64 elements in order, 2 bits each */
#include "quant/decode.h"
#include "quant/half.h"
#include "quant/spread.h"

enum { SUPER = 256 };

/* Digits 0 .. n_digits - 1 of m bytes: digit t of byte j is element m t + j. A byte is the number
 * 0.ttttt in base 3, as a fraction of 256 rounded up: multiplied by 3^t modulo 256, its next digit
 * is what three times it carries out. */
static inline void digits_put(const uint8_t *restrict qs, int m, int n_digits, float d,
                              float *restrict dst) {
    static const uint8_t power[5] = {1, 3, 9, 27, 81};
    for (int t = 0; t < n_digits; t++) {
        for (int j = 0; j < m; j++) {
            const int rest = qs[j] * power[t] & 255;
            dst[m * t + j] = d * (float)((rest * 3 >> 8) - 1);
        }
    }
}

/* 32 bytes of five digits, 16 of five, 4 of four. */
void sl_decode_tq1_0(const uint8_t *restrict src, float *restrict dst, size_t n) {
    for (size_t b = 0; b < n / SUPER; b++, src += 54, dst += SUPER) {
        const float d = sl_half_load(src + 52);
        digits_put(src, 32, 5, d, dst);
        digits_put(src + 32, 16, 5, d, dst + 160);
        digits_put(src + 48, 4, 4, d, dst + 240);
    }
}

/* Two halves of 128 elements with 32 bytes each, whose bits 2 r, 2 r + 1 hold elements 32 r .. 32 r
 * + 31. */
void sl_decode_tq2_0(const uint8_t *restrict src, float *restrict dst, size_t n) {
    for (size_t b = 0; b < n / SUPER; b++, src += 66) {
        const float d = sl_half_load(src + 64);
        for (int run = 0; run < 8; run++, dst += 32) {
            const uint8_t *qs = src + 32 * (run / 4);
            const int shift = 2 * (run % 4);
            for (int i = 0; i < 32; i++) {
                dst[i] = d * (float)((qs[i] >> shift & 3) - 1);
            }
        }
    }
}

void sl_decode_q1_0(const uint8_t *restrict src, float *restrict dst, size_t n) {
    for (size_t b = 0; b < n / 128; b++, src += 18, dst += 128) {
        const float d = sl_half_load(src);
        int8_t q[128];
        for (int j = 0; j < 16; j++) {
            sl_spread_store(sl_spread_minus(2 * sl_spread1(src[2 + j]), 1), q + 8 * j);
        }
        sl_runs_scale(q, &d, 1, 128, dst);
    }
}

void sl_decode_q2_0(const uint8_t *restrict src, float *restrict dst, size_t n) {
    for (size_t b = 0; b < n / 64; b++, src += 18, dst += 64) {
        const float d = sl_half_load(src);
        int8_t q[64];
        for (int j = 0; j < 8; j++) {
            const uint32_t bits = sl_load_u16(src + 2 + 2 * j);
            sl_spread_store(sl_spread_minus(sl_spread2(bits), 1), q + 8 * j);
        }
        sl_runs_scale(q, &d, 1, 64, dst);
    }
}
