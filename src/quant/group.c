/* Reads one 32-group of a quantised row as integers, a scale and a minimum. Layouts: decode_q32.c,
 * decode_qk.c. */
#include "quant/group.h"

#include "quant/half.h"
#include "quant/scales_k.h"

/* Element j in the low half of byte j, element j + 16 in its high half. */
static void group_nibbles(const uint8_t *qs, int offset, int8_t *q) {
    for (int j = 0; j < 16; j++) {
        q[j] = (int8_t)((qs[j] & 15) - offset);
        q[j + 16] = (int8_t)((qs[j] >> 4) - offset);
    }
}

static void group_q5_0(const uint8_t *block, int8_t *q) {
    const uint32_t high = sl_load_u32(block + 2);
    group_nibbles(block + 6, 16, q);
    for (int i = 0; i < SL_GROUP; i++) {
        q[i] = (int8_t)(q[i] + (int)(high >> i & 1) * 16);
    }
}

static void group_q4_k(const uint8_t *super, uint32_t g, sl_group *out) {
    uint8_t scales[8], minimums[8];
    sl_scales_k_unpack(super + 4, scales, minimums);
    out->scale = sl_half_load(super) * (float)scales[g];
    out->minimum = -(sl_half_load(super + 2) * (float)minimums[g]);
    const uint8_t *qs = super + 16 + 32 * (g / 2);
    const uint32_t shift = 4 * (g % 2);
    for (int i = 0; i < SL_GROUP; i++) {
        out->q[i] = (int8_t)(qs[i] >> shift & 15);
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
    out->sub[0] = (int8_t)super[192 + 2 * g];
    out->sub[1] = (int8_t)super[192 + 2 * g + 1];
    out->scale = sl_half_load(super + 208);
}

void sl_group_read(sl_type type, const uint8_t *row, uint32_t index, sl_group *out) {
    const sl_type_info *info = sl_type_info_of((uint32_t)type);
    const uint32_t per_block = info->block_elems / SL_GROUP;
    const uint8_t *block = row + (size_t)(index / per_block) * info->block_bytes;
    out->sub[0] = 1;
    out->sub[1] = 1;
    out->minimum = 0.0f;
    switch (type) {
    case SL_TYPE_Q4_0:
        group_nibbles(block + 2, 8, out->q);
        out->scale = sl_half_load(block);
        break;
    case SL_TYPE_Q4_1:
        group_nibbles(block + 4, 0, out->q);
        out->scale = sl_half_load(block);
        out->minimum = sl_half_load(block + 2);
        break;
    case SL_TYPE_Q5_0:
        group_q5_0(block, out->q);
        out->scale = sl_half_load(block);
        break;
    case SL_TYPE_Q8_0:
        memcpy(out->q, block + 2, SL_GROUP);
        out->scale = sl_half_load(block);
        break;
    case SL_TYPE_Q4_K:
        group_q4_k(block, index % 8, out);
        break;
    case SL_TYPE_Q6_K:
        group_q6_k(block, index % 8, out);
        break;
    default:
        break;
    }
}
