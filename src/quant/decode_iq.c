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

/* What all formats are decoded from is a group of 32 elements: these are the readers that group.h
 * offers, and what follows them decodes whole rows. */

static inline void group_scales(sl_group *out, float scale, uint32_t first, uint32_t second) {
    out->scale[0] = scale;
    out->scale[1] = scale;
    out->sub[0] = (int8_t)(2 * first + 1);
    out->sub[1] = (int8_t)(2 * second + 1);
}

/* --- IQ2: x = d * (0.5 + scale) / 4 * sign * point --- */

void sl_group_iq2_xxs(const uint8_t *super, uint32_t g, sl_group *out) {
    const uint8_t *index = super + 2 + 8 * (size_t)g;
    const uint32_t codes = sl_load_u32(index + 4);
    group_scales(out, sl_half_load(super) * 0.125f, codes >> 28, codes >> 28);
    for (int p = 0; p < 4; p++) {
        const uint64_t point = point_iq2(sl_grid_iq2_xxs[index[p]]);
        const uint32_t signs = signs_of_code(codes >> 7 * p & 127);
        sl_spread_store(point_signed(point, signs), out->q + 8 * p);
    }
}

/* A qs: grid index in bits 0-8, sign code above. Scales of 16 elements each are nibbles, low
 * first. */
void sl_group_iq2_xs(const uint8_t *super, uint32_t g, sl_group *out) {
    group_scales(out, sl_half_load(super) * 0.125f, super[66 + g] & 15, super[66 + g] >> 4);
    for (uint32_t p = 0; p < 4; p++) {
        const uint32_t code = sl_load_u16(super + 2 + 8 * (size_t)g + 2 * (size_t)p);
        const uint64_t point = point_iq2(sl_grid_iq2_xs[code & 511]);
        sl_spread_store(point_signed(point, signs_of_code(code >> 9)), out->q + 8 * p);
    }
}

/* index_high[g]: bits 2 p, 2 p + 1 are bits 8, 9 of the index of the group's point p. */
void sl_group_iq2_s(const uint8_t *super, uint32_t g, sl_group *out) {
    const uint8_t *index = super + 2 + 4 * (size_t)g, *signs = super + 34 + 4 * (size_t)g;
    const int high = super[66 + g];
    group_scales(out, sl_half_load(super) * 0.125f, super[74 + g] & 15, super[74 + g] >> 4);
    for (int p = 0; p < 4; p++) {
        const uint64_t point = point_iq2(sl_grid_iq2_s[index[p] | (high >> 2 * p & 3) << 8]);
        sl_spread_store(point_signed(point, signs[p]), out->q + 8 * p);
    }
}

/* --- IQ3: two entries of four elements to a point --- */

/* x = d * (0.5 + scale) / 2 * sign * point; a scale for 32 elements. */
void sl_group_iq3_xxs(const uint8_t *super, uint32_t g, sl_group *out) {
    const uint8_t *index = super + 2 + 8 * (size_t)g;
    const uint32_t codes = sl_load_u32(super + 66 + 4 * (size_t)g);
    group_scales(out, sl_half_load(super) * 0.25f, codes >> 28, codes >> 28);
    for (int p = 0; p < 4; p++) {
        const uint64_t point = point_iq3_xxs(sl_grid_iq3_xxs[index[2 * p]],
                                             sl_grid_iq3_xxs[index[2 * p + 1]]);
        const uint32_t signs = signs_of_code(codes >> 7 * p & 127);
        sl_spread_store(point_signed(point, signs), out->q + 8 * p);
    }
}

/* x = d * (1 + 2 * scale) * sign * point; scale nibbles (low first) are for 32 elements. Bit e of
 * index_high[g] is bit 8 of index 8 g + e. */
void sl_group_iq3_s(const uint8_t *super, uint32_t g, sl_group *out) {
    const uint8_t *index = super + 2 + 8 * (size_t)g, *signs = super + 74 + 4 * (size_t)g;
    const uint32_t high = super[66 + g];
    const uint32_t scale = super[106 + g / 2] >> 4 * (g % 2) & 15;
    group_scales(out, sl_half_load(super), scale, scale);
    for (int p = 0; p < 4; p++) {
        const uint32_t first = index[2 * p] | (high >> 2 * p & 1) << 8;
        const uint32_t second = index[2 * p + 1] | (high >> (2 * p + 1) & 1) << 8;
        const uint64_t point = point_iq3_s(sl_grid_iq3_s[first], sl_grid_iq3_s[second]);
        sl_spread_store(point_signed(point, signs[p]), out->q + 8 * p);
    }
}

/* --- IQ1: x = d * (1 + 2 * scale) * (point + 1/8), or - 1/8 where the shift is down. Computed as
 * eighths, which are integers; an eighth of the scale is exact. --- */

static inline uint64_t point_iq1(uint32_t index, bool down) {
    return sl_spread_minus(8 * sl_spread2(sl_grid_iq1[index]), down ? 9 : 7);
}

/* high[g]: bits 3 p .. 3 p + 2 are bits 8-10 of the index of the group's point p, bits 12-14 the
 * scale, bit 15 set: the shift is down. */
void sl_group_iq1_s(const uint8_t *super, uint32_t g, sl_group *out) {
    const uint32_t high = sl_load_u16(super + 34 + 2 * (size_t)g);
    group_scales(out, sl_half_load(super) * 0.125f, high >> 12 & 7, high >> 12 & 7);
    for (uint32_t p = 0; p < 4; p++) {
        const uint32_t index = super[2 + 4 * g + p] | (high >> 3 * p & 7) << 8;
        sl_spread_store(point_iq1(index, high >> 15), out->q + 8 * p);
    }
}

/* Nibble p of high (low first): bits 8-10 of the index of point p, bit 3 set: the shift is down.
 * The scale of the h-th 16 elements is at bit 3 (h % 4) of scales[h / 4]; the top nibbles of the
 * four scales are those of d, the lowest first. */
void sl_group_iq1_m(const uint8_t *super, uint32_t g, sl_group *out) {
    uint32_t half = 0;
    for (uint32_t i = 0; i < 4; i++) {
        half |= (uint32_t)(super[49 + 2 * i] >> 4) << 4 * i;
    }
    const uint32_t packed = sl_load_u16(super + 48 + 2 * (size_t)(g / 2)) >> 6 * (g % 2);
    group_scales(out, sl_half_to_float((uint16_t)half) * 0.125f, packed & 7, packed >> 3 & 7);
    for (uint32_t p = 0; p < 4; p++) {
        const uint32_t high = super[32 + 2 * g + p / 2] >> 4 * (p % 2);
        const uint32_t index = super[4 * g + p] | (high & 7) << 8;
        sl_spread_store(point_iq1(index, high >> 3 & 1), out->q + 8 * p);
    }
}

/* --- whole rows --- */

#define DECODER(name, block_bytes)                                                                 \
    void sl_decode_##name(const uint8_t *restrict src, float *restrict dst, size_t n) {            \
        for (size_t b = 0; b < n / SUPER; b++, src += (block_bytes)) {                             \
            for (uint32_t g = 0; g < SUPER / SL_GROUP; g++, dst += SL_GROUP) {                     \
                sl_group group;                                                                    \
                sl_group_##name(src, g, &group);                                                   \
                const float scales[2] = {group.scale[0] * (float)group.sub[0],                     \
                                         group.scale[1] * (float)group.sub[1]};                    \
                sl_runs_scale(group.q, scales, 2, SL_GROUP / 2, dst);                              \
            }                                                                                      \
        }                                                                                          \
    }
DECODER(iq2_xxs, 66)
DECODER(iq2_xs, 74)
DECODER(iq2_s, 82)
DECODER(iq3_xxs, 98)
DECODER(iq3_s, 110)
DECODER(iq1_s, 50)
DECODER(iq1_m, 56)
