/* Reads one 32-group of a quantised row as integers, scales and a minimum. Layouts: decode_*.c. */
#include "quant/group.h"

#include "quant/decode.h"
#include "quant/half.h"
#include "quant/scales_k.h"
#include "quant/spread.h"

typedef void (*group_fn)(const uint8_t *block, uint32_t g, sl_group *out);

static void group_scale(sl_group *out, float scale) {
    out->scale[0] = scale;
    out->scale[1] = scale;
}

static void group_sub(sl_group *out, int first, int second) {
    out->sub[0] = (int8_t)first;
    out->sub[1] = (int8_t)second;
}

/* --- blocks of 32 --- */

/* Element j in the low half of byte j, element j + 16 in its high half. */
static void group_nibbles(const uint8_t *qs, int offset, int8_t *q) {
    for (int j = 0; j < 16; j++) {
        q[j] = (int8_t)((qs[j] & 15) - offset);
        q[j + 16] = (int8_t)((qs[j] >> 4) - offset);
    }
}

/* And the fifth bits. */
static void group_fives(const uint8_t *qh, const uint8_t *qs, int offset, int8_t *q) {
    const uint32_t high = sl_load_u32(qh);
    group_nibbles(qs, offset, q);
    for (int i = 0; i < SL_GROUP; i++) {
        q[i] = (int8_t)(q[i] + (int)(high >> i & 1) * 16);
    }
}

static void group_q4_0(const uint8_t *block, uint32_t g, sl_group *out) {
    (void)g;
    group_nibbles(block + 2, 8, out->q);
    group_scale(out, sl_half_load(block));
}

static void group_q4_1(const uint8_t *block, uint32_t g, sl_group *out) {
    (void)g;
    group_nibbles(block + 4, 0, out->q);
    group_scale(out, sl_half_load(block));
    out->minimum = sl_half_load(block + 2);
}

static void group_q5_0(const uint8_t *block, uint32_t g, sl_group *out) {
    (void)g;
    group_fives(block + 2, block + 6, 16, out->q);
    group_scale(out, sl_half_load(block));
}

static void group_q5_1(const uint8_t *block, uint32_t g, sl_group *out) {
    (void)g;
    group_fives(block + 4, block + 8, 0, out->q);
    group_scale(out, sl_half_load(block));
    out->minimum = sl_half_load(block + 2);
}

static void group_q8_0(const uint8_t *block, uint32_t g, sl_group *out) {
    (void)g;
    memcpy(out->q, block + 2, SL_GROUP);
    group_scale(out, sl_half_load(block));
}

static void group_q8_1(const uint8_t *block, uint32_t g, sl_group *out) {
    (void)g;
    memcpy(out->q, block + 4, SL_GROUP);
    group_scale(out, sl_half_load(block));
}

/* --- super-blocks with small scales --- */

static void group_q2_k(const uint8_t *super, uint32_t g, sl_group *out) {
    const uint8_t *qs = super + 16 + 32 * (g / 4);
    for (int i = 0; i < SL_GROUP; i++) {
        out->q[i] = (int8_t)(qs[i] >> 2 * (g % 4) & 3);
    }
    group_sub(out, super[2 * g] & 15, super[2 * g + 1] & 15);
    out->sub_min[0] = (int8_t)(super[2 * g] >> 4);
    out->sub_min[1] = (int8_t)(super[2 * g + 1] >> 4);
    group_scale(out, sl_half_load(super + 80));
    out->minimum = -sl_half_load(super + 82);
}

/* Scale j of 16. */
static int scale_q3_k(const uint8_t *packed, uint32_t j) {
    const int low4 = packed[j % 8] >> (j < 8 ? 0 : 4) & 15;
    const int top2 = packed[8 + j % 4] >> 2 * (j / 4) & 3;
    return (low4 | top2 << 4) - 32;
}

static void group_q3_k(const uint8_t *super, uint32_t g, sl_group *out) {
    const uint8_t *qs = super + 32 + 32 * (g / 4);
    for (int i = 0; i < SL_GROUP; i++) {
        out->q[i] = (int8_t)(((qs[i] >> 2 * (g % 4) & 3) | (super[i] >> g & 1) << 2) - 4);
    }
    group_sub(out, scale_q3_k(super + 96, 2 * g), scale_q3_k(super + 96, 2 * g + 1));
    group_scale(out, sl_half_load(super + 108));
}

/* What Q4_K and Q5_K have in common: all but the fifth bits; qs is where the nibbles begin. */
static void group_k_nibbles(const uint8_t *super, const uint8_t *qs, uint32_t g, sl_group *out) {
    uint8_t scales[8], minimums[8];
    sl_scales_k_unpack(super + 4, scales, minimums);
    group_scale(out, sl_half_load(super));
    out->minimum = -sl_half_load(super + 2);
    group_sub(out, scales[g], scales[g]);
    out->sub_min[0] = (int8_t)minimums[g];
    out->sub_min[1] = (int8_t)minimums[g];
    qs += 32 * (size_t)(g / 2);
    const uint32_t shift = 4 * (g % 2);
    for (int i = 0; i < SL_GROUP; i++) {
        out->q[i] = (int8_t)(qs[i] >> shift & 15);
    }
}

static void group_q4_k(const uint8_t *super, uint32_t g, sl_group *out) {
    group_k_nibbles(super, super + 16, g, out);
}

static void group_q5_k(const uint8_t *super, uint32_t g, sl_group *out) {
    group_k_nibbles(super, super + 48, g, out);
    for (int i = 0; i < SL_GROUP; i++) {
        out->q[i] = (int8_t)(out->q[i] | (super[16 + i] >> g & 1) << 4);
    }
}

static void group_q6_k(const uint8_t *super, uint32_t g, sl_group *out) {
    const uint32_t r = g % 4;
    const uint8_t *low = super + 64 * (g / 4) + 32 * (r % 2);
    const uint8_t *high = super + 128 + 32 * (g / 4);
    const uint32_t shift = 4 * (r / 2);
    for (int i = 0; i < SL_GROUP; i++) {
        out->q[i] = (int8_t)(((low[i] >> shift & 15) | (high[i] >> 2 * r & 3) << 4) - 32);
    }
    group_sub(out, (int8_t)super[192 + 2 * g], (int8_t)super[192 + 2 * g + 1]);
    group_scale(out, sl_half_load(super + 208));
}

/* --- 16 uneven levels --- */

/* m bytes of nibbles to 2 m elements: j in the low half of byte j, j + m in its high half. */
static void group_levels(const int8_t levels[16], const uint8_t *qs, int m, int8_t *q) {
    for (int j = 0; j < m; j++) {
        q[j] = levels[qs[j] & 15];
        q[j + m] = levels[qs[j] >> 4];
    }
}

static void group_iq4_nl(const uint8_t *block, uint32_t g, sl_group *out) {
    (void)g;
    group_levels(sl_levels_iq4, block + 2, 16, out->q);
    group_scale(out, sl_half_load(block));
}

static void group_iq4_xs(const uint8_t *super, uint32_t g, sl_group *out) {
    const int low = super[4 + g / 2] >> 4 * (g % 2) & 15;
    const int sub = (low | (sl_load_u16(super + 2) >> 2 * g & 3) << 4) - 32;
    group_levels(sl_levels_iq4, super + 8 + 16 * (size_t)g, 16, out->q);
    group_sub(out, sub, sub);
    group_scale(out, sl_half_load(super));
}

static void group_mxfp4(const uint8_t *block, uint32_t g, sl_group *out) {
    (void)g;
    group_levels(sl_levels_e2m1, block + 1, 16, out->q);
    group_scale(out, sl_half_of_e8m0(block[0]));
}

static void group_nvfp4(const uint8_t *block, uint32_t g, sl_group *out) {
    for (uint32_t h = 0; h < 2; h++) {
        group_levels(sl_levels_e2m1, block + 4 + 8 * (size_t)(2 * g + h), 8, out->q + 16 * h);
        out->scale[h] = sl_half_of_ue4m3(block[2 * g + h]);
    }
}

/* --- two to four levels --- */

/* Digit t of a byte, less 1. */
static int8_t digit_tq1_0(uint8_t byte, uint32_t t) {
    static const uint8_t power[5] = {1, 3, 9, 27, 81};
    return (int8_t)(((byte * power[t] & 255) * 3 >> 8) - 1);
}

static void group_tq1_0(const uint8_t *super, uint32_t g, sl_group *out) {
    for (uint32_t i = 0; i < SL_GROUP; i++) {
        const uint32_t e = SL_GROUP * g + i;
        if (e < 160) {
            out->q[i] = digit_tq1_0(super[e % 32], e / 32);
        } else if (e < 240) {
            out->q[i] = digit_tq1_0(super[32 + e % 16], (e - 160) / 16);
        } else {
            out->q[i] = digit_tq1_0(super[48 + e % 4], (e - 240) / 4);
        }
    }
    group_scale(out, sl_half_load(super + 52));
}

static void group_tq2_0(const uint8_t *super, uint32_t g, sl_group *out) {
    const uint8_t *qs = super + 32 * (size_t)(g / 4);
    for (int i = 0; i < SL_GROUP; i++) {
        out->q[i] = (int8_t)((qs[i] >> 2 * (g % 4) & 3) - 1);
    }
    group_scale(out, sl_half_load(super + 64));
}

static void group_q1_0(const uint8_t *block, uint32_t g, sl_group *out) {
    const uint8_t *qs = block + 2 + 4 * (size_t)g;
    for (int j = 0; j < 4; j++) {
        sl_spread_store(sl_spread_minus(2 * sl_spread1(qs[j]), 1), out->q + 8 * j);
    }
    group_scale(out, sl_half_load(block));
}

static void group_q2_0(const uint8_t *block, uint32_t g, sl_group *out) {
    const uint8_t *qs = block + 2 + 8 * (size_t)g;
    for (int j = 0; j < 4; j++) {
        sl_spread_store(sl_spread_minus(sl_spread2(sl_load_u16(qs + 2 * j)), 1), out->q + 8 * j);
    }
    group_scale(out, sl_half_load(block));
}

/* Points of a grid with their signs. */
static const int8_t levels_iq1[16] = {-9, -7, -1, 1, 7, 9};
static const int8_t levels_iq2[16] = {-43, -25, -8, 8, 25, 43};
static const int8_t levels_iq3_xxs[16] = {-62, -52, -44, -36, -28, -20, -12, -4,
                                          4,   12,  20,  28,  36,  44,  52,  62};
static const int8_t levels_iq3_s[16] = {-15, -13, -11, -9, -7, -5, -3, -1,
                                        1,   3,   5,   7,  9,  11, 13, 15};

static const struct {
    sl_group_info info;
    group_fn read;
} formats[SL_TYPE_COUNT] = {
    [SL_TYPE_Q4_0] = {{SL_GROUP_32, NULL, 1.0f}, group_q4_0},
    [SL_TYPE_Q4_1] = {{SL_GROUP_32_MIN, NULL, 1.0f}, group_q4_1},
    [SL_TYPE_Q5_0] = {{SL_GROUP_32, NULL, 1.0f}, group_q5_0},
    [SL_TYPE_Q5_1] = {{SL_GROUP_32_MIN, NULL, 1.0f}, group_q5_1},
    [SL_TYPE_Q8_0] = {{SL_GROUP_32, NULL, 1.0f}, group_q8_0},
    [SL_TYPE_Q8_1] = {{SL_GROUP_32, NULL, 1.0f}, group_q8_1},
    [SL_TYPE_Q2_K] = {{SL_GROUP_16_MIN, NULL, 1.0f}, group_q2_k},
    [SL_TYPE_Q3_K] = {{SL_GROUP_16, NULL, 1.0f}, group_q3_k},
    [SL_TYPE_Q4_K] = {{SL_GROUP_32_MIN, NULL, 1.0f}, group_q4_k},
    [SL_TYPE_Q5_K] = {{SL_GROUP_32_MIN, NULL, 1.0f}, group_q5_k},
    [SL_TYPE_Q6_K] = {{SL_GROUP_16, NULL, 1.0f}, group_q6_k},
    [SL_TYPE_IQ1_S] = {{SL_GROUP_32, levels_iq1, 0.125f}, sl_group_iq1_s},
    [SL_TYPE_IQ1_M] = {{SL_GROUP_16, levels_iq1, 0.125f}, sl_group_iq1_m},
    [SL_TYPE_IQ2_XXS] = {{SL_GROUP_32, levels_iq2, 0.125f}, sl_group_iq2_xxs},
    [SL_TYPE_IQ2_XS] = {{SL_GROUP_16, levels_iq2, 0.125f}, sl_group_iq2_xs},
    [SL_TYPE_IQ2_S] = {{SL_GROUP_16, levels_iq2, 0.125f}, sl_group_iq2_s},
    [SL_TYPE_IQ3_XXS] = {{SL_GROUP_32, levels_iq3_xxs, 0.25f}, sl_group_iq3_xxs},
    [SL_TYPE_IQ3_S] = {{SL_GROUP_32, levels_iq3_s, 1.0f}, sl_group_iq3_s},
    [SL_TYPE_IQ4_NL] = {{SL_GROUP_32, sl_levels_iq4, 1.0f}, group_iq4_nl},
    [SL_TYPE_IQ4_XS] = {{SL_GROUP_32, sl_levels_iq4, 1.0f}, group_iq4_xs},
    [SL_TYPE_MXFP4] = {{SL_GROUP_32, sl_levels_e2m1, 1.0f}, group_mxfp4},
    [SL_TYPE_NVFP4] = {{SL_GROUP_16_FLOAT, sl_levels_e2m1, 1.0f}, group_nvfp4},
    [SL_TYPE_TQ1_0] = {{SL_GROUP_32, NULL, 1.0f}, group_tq1_0},
    [SL_TYPE_TQ2_0] = {{SL_GROUP_32, NULL, 1.0f}, group_tq2_0},
    [SL_TYPE_Q1_0] = {{SL_GROUP_32, NULL, 1.0f}, group_q1_0},
    [SL_TYPE_Q2_0] = {{SL_GROUP_32, NULL, 1.0f}, group_q2_0},
};

const sl_group_info *sl_group_info_of(sl_type type) {
    return &formats[type].info;
}

void sl_group_read(sl_type type, const uint8_t *row, uint32_t index, sl_group *out) {
    const sl_type_info *info = sl_type_info_of((uint32_t)type);
    const uint32_t per_block = info->block_elems / SL_GROUP;
    const uint8_t *block = row + (size_t)(index / per_block) * info->block_bytes;
    group_sub(out, 1, 1);
    out->sub_min[0] = 1;
    out->sub_min[1] = 1;
    out->minimum = 0.0f;
    formats[type].read(block, index % per_block, out);
}
