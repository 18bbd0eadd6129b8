/* Packs quantised rows of a file into the panels of panel.h. Plain C: it runs once, at load, in
 * many threads. */
#include "kernels/x86/panel.h"

#include <string.h>

#include "quant/group.h"
#include "quant/half.h"
#include "quant/scales_k.h"

/* Codes (offset binary) of one row of a group into its lane of the nibble quads. */
static void pack_nibbles(const uint8_t code[32], uint32_t lane, uint8_t *quads) {
    for (uint32_t v = 0; v < 4; v++) {
        uint8_t *out = quads + (size_t)v * PANEL_QUAD + 4 * (size_t)lane;
        for (uint32_t b = 0; b < 4; b++) {
            out[b] = (uint8_t)((code[4 * v + b] & 15) | code[16 + 4 * v + b] << 4);
        }
    }
}

/* The group's codes without the format's offset: q + offset, all in [0, 255]. */
static void group_codes(const sl_group *group, int offset, uint8_t code[32]) {
    for (int i = 0; i < SL_GROUP; i++) {
        code[i] = (uint8_t)(group->q[i] + offset);
    }
}

static void pack_q8(const uint8_t code[32], uint32_t lane, uint8_t *quads) {
    for (uint32_t v = 0; v < 8; v++) {
        memcpy(quads + (size_t)v * PANEL_QUAD + 4 * (size_t)lane, code + 4 * (size_t)v, 4);
    }
}

static void pack_high_q5(const uint8_t code[32], uint32_t lane, uint8_t *quad) {
    for (uint32_t b = 0; b < 4; b++) {
        uint32_t bits = 0;
        for (uint32_t v = 0; v < 8; v++) {
            bits |= (uint32_t)(code[4 * v + b] >> 4) << v;
        }
        quad[4 * lane + b] = (uint8_t)bits;
    }
}

static void pack_high_q6(const uint8_t code[32], uint32_t lane, uint8_t *quads) {
    for (uint32_t h = 0; h < 2; h++) {
        for (uint32_t b = 0; b < 4; b++) {
            uint32_t bits = 0;
            for (uint32_t t = 0; t < 4; t++) {
                bits |= (uint32_t)(code[16 * h + 4 * t + b] >> 4) << 2 * t;
            }
            quads[PANEL_QUAD * h + 4 * lane + b] = (uint8_t)bits;
        }
    }
}

/* The small numbers of one row: halves as the file has them, scales of the K formats unpacked to
 * bytes. */
static void pack_scales(sl_type type, const uint8_t *block, uint32_t index, uint32_t lane,
                        uint8_t *unit) {
    const size_t half_at = 2 * (size_t)lane;
    uint8_t scales[8], minimums[8];
    uint8_t *bytes = unit + 64 + 32 * (size_t)(index % 8);
    switch (type) {
    case SL_TYPE_Q4_1:
        memcpy(unit + half_at, block, 2);
        memcpy(unit + 32 + half_at, block + 2, 2);
        break;
    case SL_TYPE_Q4_K:
        memcpy(unit + half_at, block, 2);
        memcpy(unit + 32 + half_at, block + 2, 2);
        sl_scales_k_unpack(block + 4, scales, minimums);
        bytes[lane] = scales[index % 8];
        bytes[16 + lane] = minimums[index % 8];
        break;
    case SL_TYPE_Q6_K:
        memcpy(unit + half_at, block + 208, 2);
        bytes[lane] = block[192 + 2 * (index % 8)];
        bytes[16 + lane] = block[192 + 2 * (index % 8) + 1];
        break;
    default: /* units of two groups */
        memcpy(unit + 32 * (size_t)(index % 2) + half_at, block, 2);
        break;
    }
}

static void pack_group(sl_type type, const uint8_t *row, uint32_t index, uint32_t lane,
                       uint8_t *group) {
    sl_group values;
    uint8_t code[SL_GROUP];
    sl_group_read(type, row, index, &values);
    switch (type) {
    case SL_TYPE_Q5_0:
        group_codes(&values, 16, code);
        pack_high_q5(code, lane, group);
        pack_nibbles(code, lane, group + PANEL_QUAD);
        break;
    case SL_TYPE_Q6_K:
        group_codes(&values, 32, code);
        pack_high_q6(code, lane, group);
        pack_nibbles(code, lane, group + (size_t)2 * PANEL_QUAD);
        break;
    case SL_TYPE_Q8_0:
        group_codes(&values, 128, code);
        pack_q8(code, lane, group);
        break;
    default:
        group_codes(&values, type == SL_TYPE_Q4_0 ? 8 : 0, code);
        pack_nibbles(code, lane, group);
        break;
    }
}

static void pack_panel(sl_type type, const uint8_t *rows, size_t row_bytes, uint32_t n_rows,
                       uint32_t n_in, uint8_t *panel) {
    const panel_shape shape = panel_shape_of(type);
    const sl_type_info *info = sl_type_info_of((uint32_t)type);
    const uint32_t groups_per_block = info->block_elems / SL_GROUP;
    memset(panel, 0, panel_size(shape, n_in)); /* rows that are missing have scales of zero */
    for (uint32_t i = 0; i < n_rows; i++) {
        const uint8_t *row = rows + i * row_bytes;
        for (uint32_t g = 0; g < n_in / SL_GROUP; g++) {
            uint8_t *unit = panel + g / shape.unit_groups * panel_unit_bytes(shape);
            const uint8_t *block = row + (size_t)(g / groups_per_block) * info->block_bytes;
            pack_scales(type, block, g, i, unit);
            pack_group(type, row, g, i,
                       unit + shape.header_bytes +
                           (size_t)(g % shape.unit_groups) * shape.group_bytes);
        }
    }
}

#define FORMAT(name, type)                                                                         \
    static size_t panel_bytes_##name(uint32_t n_in) {                                              \
        return panel_size(panel_shape_of(type), n_in);                                             \
    }                                                                                              \
    static void pack_##name(const uint8_t *rows, size_t row_bytes, uint32_t n_rows, uint32_t n_in, \
                            uint8_t *panel) {                                                      \
        pack_panel(type, rows, row_bytes, n_rows, n_in, panel);                                    \
    }
FORMAT(q4_0, SL_TYPE_Q4_0)
FORMAT(q4_1, SL_TYPE_Q4_1)
FORMAT(q5_0, SL_TYPE_Q5_0)
FORMAT(q8_0, SL_TYPE_Q8_0)
FORMAT(q4_k, SL_TYPE_Q4_K)
FORMAT(q6_k, SL_TYPE_Q6_K)

#define SET(name, type)                                                                            \
    k->product[type].panel_bytes = panel_bytes_##name;                                             \
    k->product[type].pack = pack_##name;

void sl_panel_fill(sl_kernels *k) {
    SET(q4_0, SL_TYPE_Q4_0)
    SET(q4_1, SL_TYPE_Q4_1)
    SET(q5_0, SL_TYPE_Q5_0)
    SET(q8_0, SL_TYPE_Q8_0)
    SET(q4_k, SL_TYPE_Q4_K)
    SET(q6_k, SL_TYPE_Q6_K)
}
