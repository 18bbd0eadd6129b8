/* Scalar decode of the formats with blocks of 32 elements and one scale: Q4_0 Q4_1 Q5_0 Q5_1 Q8_0
 * Q8_1.
 *
 * Offsets in bytes, d and m IEEE half, all little-endian. Nibbles: byte j of qs holds element j in
 * its low half and element j + 16 in its high half. qh: bit i is bit 4 of element i.
 *
 *   Q4_0  18   0 d | 2 qs[16]                      x = d * (q - 8)
 *   Q4_1  20   0 d | 2 m | 4 qs[16]                x = d * q + m
 *   Q5_0  22   0 d | 2 qh[4] | 6 qs[16]            x = d * (q - 16)
 *   Q5_1  24   0 d | 2 m | 4 qh[4] | 8 qs[16]      x = d * q + m
 *   Q8_0  34   0 d | 2 int8 qs[32]                 x = d * q
 *   Q8_1  36   0 d | 2 half sum | 4 int8 qs[32]    x = d * q (the sum is not needed here)
 *
 * Products and sums round separately (no fused multiply-add): this is what the format's own writers
 * expect. */
#include "quant/decode.h"
#include "quant/half.h"
#include "quant/spread.h"

enum { BLOCK = 32, HALF = 16 };

void sl_decode_q4_0(const uint8_t *restrict src, float *restrict dst, size_t n) {
    for (size_t b = 0; b < n / BLOCK; b++, src += 18, dst += BLOCK) {
        const float d = sl_half_load(src);
        for (int j = 0; j < HALF; j++) {
            const uint8_t q = src[2 + j];
            dst[j] = d * (float)((q & 15) - 8);
            dst[j + HALF] = d * (float)((q >> 4) - 8);
        }
    }
}

void sl_decode_q4_1(const uint8_t *restrict src, float *restrict dst, size_t n) {
    for (size_t b = 0; b < n / BLOCK; b++, src += 20, dst += BLOCK) {
        const float d = sl_half_load(src);
        const float m = sl_half_load(src + 2);
        for (int j = 0; j < HALF; j++) {
            const uint8_t q = src[4 + j];
            dst[j] = d * (float)(q & 15) + m;
            dst[j + HALF] = d * (float)(q >> 4) + m;
        }
    }
}

/* The 32 codes of 5 bits, in the order of the elements. */
static inline void codes_q5(const uint8_t *restrict qh, const uint8_t *restrict qs,
                            uint8_t code[BLOCK]) {
    for (int i = 0; i < BLOCK / 8; i++) {
        const uint64_t high = sl_spread1(qh[i]) << 4;
        memcpy(code + 8 * i, &high, sizeof(high));
    }
    for (int j = 0; j < HALF; j++) {
        code[j] |= qs[j] & 15;
        code[j + HALF] |= qs[j] >> 4;
    }
}

void sl_decode_q5_0(const uint8_t *restrict src, float *restrict dst, size_t n) {
    for (size_t b = 0; b < n / BLOCK; b++, src += 22, dst += BLOCK) {
        const float d = sl_half_load(src);
        uint8_t code[BLOCK];
        codes_q5(src + 2, src + 6, code);
        for (int i = 0; i < BLOCK; i++) {
            dst[i] = d * (float)(code[i] - 16);
        }
    }
}

void sl_decode_q5_1(const uint8_t *restrict src, float *restrict dst, size_t n) {
    for (size_t b = 0; b < n / BLOCK; b++, src += 24, dst += BLOCK) {
        const float d = sl_half_load(src);
        const float m = sl_half_load(src + 2);
        uint8_t code[BLOCK];
        codes_q5(src + 4, src + 8, code);
        for (int i = 0; i < BLOCK; i++) {
            dst[i] = d * (float)code[i] + m;
        }
    }
}

void sl_decode_q8_0(const uint8_t *restrict src, float *restrict dst, size_t n) {
    for (size_t b = 0; b < n / BLOCK; b++, src += 34, dst += BLOCK) {
        const float d = sl_half_load(src);
        for (int j = 0; j < BLOCK; j++) {
            dst[j] = d * (float)(int8_t)src[2 + j];
        }
    }
}

void sl_decode_q8_1(const uint8_t *restrict src, float *restrict dst, size_t n) {
    for (size_t b = 0; b < n / BLOCK; b++, src += 36, dst += BLOCK) {
        const float d = sl_half_load(src);
        for (int j = 0; j < BLOCK; j++) {
            dst[j] = d * (float)(int8_t)src[4 + j];
        }
    }
}
