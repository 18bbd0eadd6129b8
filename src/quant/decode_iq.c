/* Scalar decode of the codebook formats: super-blocks of 256 elements whose points of 8 (IQ3: 4)
 * elements are entries of a grid, with signs and small scales: IQ2_XXS IQ2_XS IQ2_S IQ3_XXS IQ3_S
 * IQ1_S IQ1_M.
 *
 * Offsets in bytes, little-endian, d IEEE half. Points, sign bytes and scales follow the order of
 * the elements; bit j of a sign byte set: element j is negative.
 *
 *   IQ2_XXS  66   0 d | 2 eight of { index[4] | u32 signs and scale }
 *   IQ2_XS   74   0 d | 2 u16 qs[32] | 66 scales[8]
 *   IQ2_S    82   0 d | 2 index[32] | 34 signs[32] | 66 index_high[8] | 74 scales[8]
 *   IQ3_XXS  98   0 d | 2 index[64] | 66 u32 signs and scales[8]
 *   IQ3_S   110   0 d | 2 index[64] | 66 index_high[8] | 74 signs[32] | 106 scales[4]
 *   IQ1_S    50   0 d | 2 index[32] | 34 u16 high[8]
 *   IQ1_M    56   0 index[32] | 32 high[16] | 48 u16 scales[4]   (d is spread over the scales)
 *
 * A sign code of 7 bits stands for a sign byte with an even number of bits set: the eighth bit is
 * their parity. A u32 of signs and scale: four sign codes of 7 bits, the first lowest, and a scale
 * of 4 bits above them. What grid entries are: grids_iq.h. */
#include <stdbool.h>

#include "quant/decode.h"
#include "quant/grids_iq.h"
#include "quant/half.h"
#include "quant/spread.h"

enum { SUPER = 256 };

/* --- eight elements at a time, one in each byte of 64 bits --- */

static inline uint64_t point_iq2(uint16_t entry) {
    const uint64_t c = sl_spread2(entry);
    return 17 * c + (c >> 1 & SL_SPREAD_ONES) + 8 * SL_SPREAD_ONES;
}

static inline uint64_t point_iq3_xxs(uint16_t first, uint16_t second) {
    const uint64_t c = sl_spread4(first | (uint32_t)second << 16);
    return 8 * c + ((c + SL_SPREAD_ONES) >> 2 & 2 * SL_SPREAD_ONES) + 4 * SL_SPREAD_ONES;
}

static inline uint64_t point_iq3_s(uint16_t first, uint16_t second) {
    return 2 * sl_spread4(first | (uint32_t)second << 16) + SL_SPREAD_ONES;
}

/* Negates the bytes whose sign bit is set. No byte is 0, so that the sum carries into none. */
static inline uint64_t point_signed(uint64_t point, uint32_t signs) {
    const uint64_t negative = sl_spread1(signs);
    return (point ^ 255 * negative) + negative;
}

static inline uint32_t signs_of_code(uint32_t code) {
    return code | (uint32_t)__builtin_parity(code) << 7;
}

/* --- IQ2: x = d * (0.5 + scale) / 4 * sign * point --- */

void sl_decode_iq2_xxs(const uint8_t *restrict src, float *restrict dst, size_t n) {
    for (size_t b = 0; b < n / SUPER; b++, src += 66, dst += SUPER) {
        const float d = sl_half_load(src);
        int8_t q[SUPER];
        float scales[8];
        for (int g = 0; g < 8; g++) {
            const uint8_t *index = src + 2 + 8 * g;
            const uint32_t codes = sl_load_u32(index + 4);
            scales[g] = d * (0.5f + (float)(codes >> 28)) * 0.25f;
            for (int p = 0; p < 4; p++) {
                const uint64_t point = point_iq2(sl_grid_iq2_xxs[index[p]]);
                const uint32_t signs = signs_of_code(codes >> 7 * p & 127);
                sl_spread_store(point_signed(point, signs), q + 32 * g + 8 * p);
            }
        }
        sl_runs_scale(q, scales, 8, 32, dst);
    }
}

/* Scales of 16 elements each: 16 nibbles, low first. */
static inline void scales_iq2(const uint8_t *nibbles, float d, float scales[16]) {
    for (int i = 0; i < 8; i++) {
        scales[2 * i] = d * (0.5f + (float)(nibbles[i] & 15)) * 0.25f;
        scales[2 * i + 1] = d * (0.5f + (float)(nibbles[i] >> 4)) * 0.25f;
    }
}

/* A qs: grid index in bits 0-8, sign code above. */
void sl_decode_iq2_xs(const uint8_t *restrict src, float *restrict dst, size_t n) {
    for (size_t b = 0; b < n / SUPER; b++, src += 74, dst += SUPER) {
        int8_t q[SUPER];
        float scales[16];
        scales_iq2(src + 66, sl_half_load(src), scales);
        for (int g = 0; g < 8; g++) {
            for (int p = 4 * g; p < 4 * g + 4; p++) {
                const uint32_t code = sl_load_u16(src + 2 + 2 * p);
                const uint64_t point = point_iq2(sl_grid_iq2_xs[code & 511]);
                sl_spread_store(point_signed(point, signs_of_code(code >> 9)), q + 8 * p);
            }
        }
        sl_runs_scale(q, scales, 16, 16, dst);
    }
}

/* index_high[g]: bits 2 p, 2 p + 1 are bits 8, 9 of the index of the group's point p. */
void sl_decode_iq2_s(const uint8_t *restrict src, float *restrict dst, size_t n) {
    for (size_t b = 0; b < n / SUPER; b++, src += 82, dst += SUPER) {
        int8_t q[SUPER];
        float scales[16];
        scales_iq2(src + 74, sl_half_load(src), scales);
        for (int g = 0; g < 8; g++) {
            const uint8_t *index = src + 2 + 4 * g, *signs = src + 34 + 4 * g;
            const int high = src[66 + g];
            for (int p = 0; p < 4; p++) {
                const uint64_t point = point_iq2(
                    sl_grid_iq2_s[index[p] | (high >> 2 * p & 3) << 8]);
                sl_spread_store(point_signed(point, signs[p]), q + 32 * g + 8 * p);
            }
        }
        sl_runs_scale(q, scales, 16, 16, dst);
    }
}

/* --- IQ3: two entries of four elements to a point --- */

/* x = d * (0.5 + scale) / 2 * sign * point; a scale for 32 elements. */
void sl_decode_iq3_xxs(const uint8_t *restrict src, float *restrict dst, size_t n) {
    for (size_t b = 0; b < n / SUPER; b++, src += 98, dst += SUPER) {
        const float d = sl_half_load(src);
        int8_t q[SUPER];
        float scales[8];
        for (int g = 0; g < 8; g++) {
            const uint8_t *index = src + 2 + 8 * g;
            const uint32_t codes = sl_load_u32(src + 66 + 4 * g);
            scales[g] = d * (0.5f + (float)(codes >> 28)) * 0.5f;
            for (int p = 0; p < 4; p++) {
                const uint64_t point = point_iq3_xxs(sl_grid_iq3_xxs[index[2 * p]],
                                                     sl_grid_iq3_xxs[index[2 * p + 1]]);
                const uint32_t signs = signs_of_code(codes >> 7 * p & 127);
                sl_spread_store(point_signed(point, signs), q + 32 * g + 8 * p);
            }
        }
        sl_runs_scale(q, scales, 8, 32, dst);
    }
}

/* x = d * (1 + 2 * scale) * sign * point; scale nibbles (low first) are for 32 elements. Bit e of
 * index_high[g] is bit 8 of index 8 g + e. */
void sl_decode_iq3_s(const uint8_t *restrict src, float *restrict dst, size_t n) {
    for (size_t b = 0; b < n / SUPER; b++, src += 110, dst += SUPER) {
        const float d = sl_half_load(src);
        int8_t q[SUPER];
        float scales[8];
        for (int g = 0; g < 8; g++) {
            const uint8_t *index = src + 2 + 8 * g;
            const uint32_t high = src[66 + g];
            scales[g] = d * (float)(1 + 2 * (src[106 + g / 2] >> 4 * (g % 2) & 15));
            for (int p = 0; p < 4; p++) {
                const uint32_t first = index[2 * p] | (high >> 2 * p & 1) << 8;
                const uint32_t second = index[2 * p + 1] | (high >> (2 * p + 1) & 1) << 8;
                const uint64_t point = point_iq3_s(sl_grid_iq3_s[first], sl_grid_iq3_s[second]);
                sl_spread_store(point_signed(point, src[74 + 4 * g + p]), q + 32 * g + 8 * p);
            }
        }
        sl_runs_scale(q, scales, 8, 32, dst);
    }
}

/* --- IQ1: x = d * (1 + 2 * scale) * (point + 1/8), or - 1/8 where the shift is down. Computed as
 * eighths, which are integers; an eighth of the scale is exact. --- */

static inline uint64_t point_iq1(uint32_t index, bool down) {
    return sl_spread_minus(8 * sl_spread2(sl_grid_iq1[index]), down ? 9 : 7);
}

/* high[g]: bits 3 p .. 3 p + 2 are bits 8-10 of the index of the group's point p, bits 12-14 the
 * scale, bit 15 set: the shift is down. */
void sl_decode_iq1_s(const uint8_t *restrict src, float *restrict dst, size_t n) {
    for (size_t b = 0; b < n / SUPER; b++, src += 50, dst += SUPER) {
        const float d = sl_half_load(src) * 0.125f;
        int8_t q[SUPER];
        float scales[8];
        for (int g = 0; g < 8; g++) {
            const uint32_t high = sl_load_u16(src + 34 + 2 * g);
            scales[g] = d * (float)(2 * (high >> 12 & 7) + 1);
            for (int p = 0; p < 4; p++) {
                const uint32_t index = src[2 + 4 * g + p] | (high >> 3 * p & 7) << 8;
                sl_spread_store(point_iq1(index, high >> 15), q + 32 * g + 8 * p);
            }
        }
        sl_runs_scale(q, scales, 8, 32, dst);
    }
}

/* Nibble p of high (low first): bits 8-10 of the index of point p, bit 3 set: the shift is down.
 * The scale of the h-th 16 elements is at bit 3 (h % 4) of scales[h / 4]; the top nibbles of the
 * four scales are those of d, the lowest first. */
void sl_decode_iq1_m(const uint8_t *restrict src, float *restrict dst, size_t n) {
    for (size_t b = 0; b < n / SUPER; b++, src += 56, dst += SUPER) {
        uint32_t packed[4], half = 0;
        for (int i = 0; i < 4; i++) {
            packed[i] = sl_load_u16(src + 48 + 2 * i);
            half |= packed[i] >> 12 << 4 * i;
        }
        const float d = sl_half_to_float((uint16_t)half) * 0.125f;
        int8_t q[SUPER];
        float scales[16];
        for (int h = 0; h < 16; h++) {
            const uint32_t high = src[32 + h];
            scales[h] = d * (float)(2 * (packed[h / 4] >> 3 * (h % 4) & 7) + 1);
            sl_spread_store(point_iq1(src[2 * h] | (high & 7) << 8, high >> 3 & 1), q + 16 * h);
            sl_spread_store(point_iq1(src[2 * h + 1] | (high >> 4 & 7) << 8, high >> 7),
                            q + 16 * h + 8);
        }
        sl_runs_scale(q, scales, 16, 16, dst);
    }
}
