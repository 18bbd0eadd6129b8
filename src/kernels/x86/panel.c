/* Packs quantised rows of a file into the panels of panel.h. Plain C: it runs once, at load, in
 * many threads. */
#include "kernels/x86/panel.h"

#include <math.h>
#include <string.h>

#include "quant/group.h"
#include "quant/half.h"

/* What is the same for all groups of a panel. */
typedef struct packing {
    sl_type type;
    panel_form form;
    panel_shape shape;
    const sl_group_info *info;
    uint8_t code_of[256]; /* of q + 128, for a format of levels: the number of each level */
} packing;

/* --- codes of one row, into its lane: four at a time, as the bytes of a word --- */

static uint32_t word_at(const uint8_t *p) {
    uint32_t word;
    memcpy(&word, p, sizeof(word));
    return word;
}

static void put_word(uint8_t *p, uint32_t word) {
    memcpy(p, &word, sizeof(word));
}

static void pack_nibbles(const uint8_t code[32], uint32_t lane, uint8_t *quads) {
    for (uint32_t v = 0; v < 4; v++) {
        const uint32_t low = word_at(code + 4 * v) & 0x0F0F0F0Fu;
        const uint32_t high = word_at(code + 16 + 4 * v) & 0x0F0F0F0Fu;
        put_word(quads + (size_t)v * PANEL_QUAD + 4 * (size_t)lane, low | high << 4);
    }
}

static void pack_bytes(const uint8_t code[32], uint32_t lane, uint8_t *quads) {
    for (uint32_t v = 0; v < 8; v++) {
        put_word(quads + (size_t)v * PANEL_QUAD + 4 * (size_t)lane, word_at(code + 4 * v));
    }
}

/* The bit above the lowest `shift` ones. */
static void pack_bit(const uint8_t code[32], uint32_t shift, uint32_t lane, uint8_t *quad) {
    uint32_t bits = 0;
    for (uint32_t v = 0; v < 8; v++) {
        bits |= (word_at(code + 4 * v) >> shift & 0x01010101u) << v;
    }
    put_word(quad + 4 * (size_t)lane, bits);
}

/* The two bits above the lowest `shift` ones. */
static void pack_pairs(const uint8_t code[32], uint32_t shift, uint32_t lane, uint8_t *quads) {
    for (uint32_t h = 0; h < 2; h++) {
        uint32_t bits = 0;
        for (uint32_t t = 0; t < 4; t++) {
            bits |= (word_at(code + 16 * h + 4 * t) >> shift & 0x03030303u) << 2 * t;
        }
        put_word(quads + (size_t)PANEL_QUAD * h + 4 * (size_t)lane, bits);
    }
}

static void pack_codes(const packing *p, const sl_group *group, uint32_t lane, uint8_t *out) {
    uint8_t code[SL_GROUP];
    if (p->info->levels == NULL) {
        for (int i = 0; i < SL_GROUP; i++) {
            code[i] = (uint8_t)(group->q[i] + p->form.offset);
        }
    } else {
        for (int i = 0; i < SL_GROUP; i++) {
            code[i] = p->code_of[group->q[i] + 128];
        }
    }
    switch (p->form.codes) {
    case CODES_NIBBLES:
    case CODES_LEVELS:
        pack_nibbles(code, lane, out);
        break;
    case CODES_FIVE:
        pack_bit(code, 4, lane, out);
        pack_nibbles(code, lane, out + PANEL_QUAD);
        break;
    case CODES_SIX:
        pack_pairs(code, 4, lane, out);
        pack_nibbles(code, lane, out + (size_t)2 * PANEL_QUAD);
        break;
    case CODES_PAIRS:
        pack_pairs(code, 0, lane, out);
        break;
    case CODES_THREE:
        pack_bit(code, 2, lane, out);
        pack_pairs(code, 0, lane, out + PANEL_QUAD);
        break;
    case CODES_BYTES:
        pack_bytes(code, lane, out);
        break;
    }
}

/* --- small numbers of one row --- */

/* One of 16 halves; x is one, times a power of two that `factor` is. */
static void put_half(uint8_t *halves, uint32_t lane, float x, float factor) {
    const uint16_t h = sl_f32_to_f16(x / factor);
    memcpy(halves + 2 * (size_t)lane, &h, sizeof(h));
}

static void put_levels(const packing *p, uint8_t *out) {
    for (int i = 0; p->info->levels != NULL && i < 16; i++) {
        out[i] = (uint8_t)(p->info->levels[i] + 128);
    }
    memcpy(out + 16, &p->info->factor, sizeof(float));
}

/* What the groups of a unit have in common. */
static void pack_unit_scales(const packing *p, const sl_group *group, uint32_t lane,
                             uint8_t *unit) {
    switch (p->form.scales) {
    case SCALES_K:
    case SCALES_K16:
        put_half(unit, lane, group->scale[0], p->info->factor);
        put_levels(p, unit + panel_levels_at(p->form.scales));
        return;
    case SCALES_K_MIN:
        put_half(unit, lane, group->scale[0], p->info->factor);
        put_half(unit + 32, lane, group->minimum, 1.0f);
        return;
    case SCALES_K16_MIN:
        put_half(unit, lane, group->scale[0], p->info->factor);
        put_half(unit + 32, lane, -group->minimum, 1.0f);
        return;
    default: /* nothing */
        return;
    }
}

/* g is the group's number in its unit. */
static void pack_scales(const packing *p, const sl_group *group, uint32_t g, uint32_t lane,
                        uint8_t *unit) {
    const float factor = p->info->factor;
    uint8_t *bytes = unit + 64 + 32 * (size_t)g;
    switch (p->form.scales) {
    case SCALES_HALF:
        put_half(unit + 32 * (size_t)g, lane, group->scale[0], factor);
        return;
    case SCALES_HALF_MIN:
        put_half(unit, lane, group->scale[0], factor);
        put_half(unit + 32, lane, group->minimum, 1.0f);
        return;
    case SCALES_HALF_16:
        put_half(unit, lane, group->scale[0], factor);
        put_half(unit + 32, lane, group->scale[1], factor);
        return;
    case SCALES_EXPONENT:
        unit[16 * g + lane] = (uint8_t)(ilogbf(group->scale[0]) + 128);
        return;
    case SCALES_K:
        unit[32 + 16 * g + lane] = (uint8_t)group->sub[0];
        return;
    case SCALES_K_MIN:
        bytes[lane] = (uint8_t)group->sub[0];
        bytes[16 + lane] = (uint8_t)group->sub_min[0];
        return;
    case SCALES_K16:
        bytes[lane] = (uint8_t)group->sub[0];
        bytes[16 + lane] = (uint8_t)group->sub[1];
        return;
    case SCALES_K16_MIN:
        bytes[lane] = (uint8_t)(group->sub[0] | group->sub_min[0] << 4);
        bytes[16 + lane] = (uint8_t)(group->sub[1] | group->sub_min[1] << 4);
        return;
    }
}

static void packing_init(packing *p, sl_type type) {
    *p = (packing){.type = type, .form = panel_form_of(type), .info = sl_group_info_of(type)};
    p->shape = panel_shape_of(p->form);
    for (int i = 0; p->info->levels != NULL && i < 16; i++) {
        p->code_of[p->info->levels[i] + 128] = (uint8_t)i;
    }
}

static size_t panel_bytes(sl_type type, uint32_t n_in) {
    return panel_size(panel_shape_of(panel_form_of(type)), n_in);
}

static void panel_pack(sl_type type, const uint8_t *rows, size_t row_bytes, uint32_t n_rows,
                       uint32_t n_in, uint8_t *panel) {
    packing p;
    packing_init(&p, type);
    memset(panel, 0, panel_size(p.shape, n_in)); /* rows that are missing have scales of zero */
    for (uint32_t i = 0; i < n_rows; i++) {
        for (uint32_t g = 0; g < n_in / SL_GROUP; g++) {
            uint8_t *unit = panel + g / p.shape.unit_groups * panel_unit_bytes(p.shape);
            const uint32_t in_unit = g % p.shape.unit_groups;
            sl_group group;
            sl_group_read(type, rows + i * row_bytes, g, &group);
            if (in_unit == 0) {
                pack_unit_scales(&p, &group, i, unit);
            }
            pack_scales(&p, &group, in_unit, i, unit);
            pack_codes(&p, &group, i,
                       unit + p.shape.header_bytes + (size_t)in_unit * p.shape.group_bytes);
        }
    }
}

void sl_panel_fill(sl_kernels *k) {
    for (int type = 0; type < SL_TYPE_COUNT; type++) {
        if (sl_group_info_of((sl_type)type)->form != SL_GROUP_NONE) {
            k->product[type].panel_bytes = panel_bytes;
            k->product[type].pack = panel_pack;
        }
    }
}
