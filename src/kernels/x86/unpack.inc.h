/* Reading packed panels (panel.h): codes as bytes, scales as floats, in lanes that are weight rows.
 * What the templates of products share, included by them after the vector words (vec_*.h). */
#include "kernels/x86/panel.h"
#include "quant/group.h"

/* 16-weight halves have scales of their own. */
INLINE bool has_halves(panel_form form) {
    return form.scales == SCALES_HALF_16 || form.scales == SCALES_K16 ||
           form.scales == SCALES_K16_MIN;
}
INLINE bool has_minimum(panel_form form) {
    return form.scales == SCALES_HALF_MIN || form.scales == SCALES_K_MIN ||
           form.scales == SCALES_K16_MIN;
}

/* The 16 levels of a format, once in each 128-bit part; zero where codes are numbers. */
INLINE vi tile_levels(sl_type type, panel_form form, const uint8_t *unit) {
    if (form.codes != CODES_LEVELS) {
        return vi_zero();
    }
    if (form.scales == SCALES_K || form.scales == SCALES_K16) {
        return vi_load_16_bytes(unit + panel_levels_at(form.scales));
    }
    return vi_xor(vi_load_16_bytes(sl_group_info_of(type)->levels), vi_set1_8(-128));
}

/* Of step v (0..7), bits [2 t, 2 t + 1], t = v % 4, of quad v / 4, moved to bit `to`. */
INLINE vi unpack_pair(const uint8_t *quads, uint32_t v, uint32_t to) {
    const vi pairs = vi_load(quads + (size_t)(v / 4) * PANEL_QUAD);
    const uint32_t from = 2 * (v % 4);
    return from < to ? vi_shl(pairs, to - from) : vi_shr(pairs, from - to);
}
/* Bit v moved to bit `to`. */
INLINE vi unpack_bit(const uint8_t *quad, uint32_t v, uint32_t to) {
    const vi bits = vi_load(quad);
    return v < to ? vi_shl(bits, to - v) : vi_shr(bits, v - to);
}

/* Step v (0..7) of a group as unsigned bytes; `group` is where the tile's lanes begin in the first
 * quad. */
INLINE vi unpack_step(panel_form form, vi levels, const uint8_t *group, uint32_t v) {
    if (form.codes == CODES_BYTES) {
        return vi_load(group + (size_t)v * PANEL_QUAD);
    }
    if (form.codes == CODES_PAIRS) {
        return vi_and(unpack_pair(group, v, 0), vi_set1_8(3));
    }
    if (form.codes == CODES_THREE) {
        const vi low = vi_and(unpack_pair(group + PANEL_QUAD, v, 0), vi_set1_8(3));
        return vi_and_or(unpack_bit(group, v, 2), vi_set1_8(4), low);
    }
    const uint8_t *nibbles = group + (form.codes == CODES_FIVE  ? PANEL_QUAD
                                      : form.codes == CODES_SIX ? 2 * PANEL_QUAD
                                                                : 0);
    vi code = vi_load(nibbles + (size_t)(v % 4) * PANEL_QUAD);
    code = vi_and(v < 4 ? code : vi_shr(code, 4), vi_set1_8(15));
    if (form.codes == CODES_LEVELS) {
        code = vi_lookup(levels, code);
    } else if (form.codes == CODES_FIVE) {
        code = vi_and_or(unpack_bit(group, v, 4), vi_set1_8(16), code);
    } else if (form.codes == CODES_SIX) {
        code = vi_and_or(unpack_pair(group, v, 4), vi_set1_8(48), code);
    }
    return code;
}

/* Where a tile is in the weights: its lanes of group g of a unit. */
typedef struct tile_place {
    const uint8_t *unit, *group; /* group: the tile's lanes of its first quad */
    uint32_t g, lane;
} tile_place;

/* Scale (and minimum, with its sign) of the group, for the VL rows of the tile. */
INLINE void tile_scales(panel_form form, tile_place at, vf *scale, vf *minimum) {
    const uint16_t *halves = (const uint16_t *)(const void *)at.unit + at.lane;
    const uint8_t *bytes = at.unit + 64 + 32 * (size_t)at.g + at.lane;
    float factor = 1.0f;
    *minimum = vf_zero();
    switch (form.scales) {
    case SCALES_HALF:
        *scale = vf_load_half(halves + (size_t)at.g * 16);
        break;
    case SCALES_EXPONENT:
        *scale = vf_of_int(vi_load_u8(at.unit + 16 * (size_t)at.g + at.lane));
        *scale = vf_scale2(vf_set1(1.0f), vf_sub(*scale, vf_set1(128.0f)));
        break;
    case SCALES_HALF_MIN:
        *scale = vf_load_half(halves);
        *minimum = vf_load_half(halves + 16);
        break;
    case SCALES_K:
        memcpy(&factor, at.unit + panel_levels_at(form.scales) + 16, sizeof(factor));
        *scale = vf_mul(vf_load_half(halves), vf_set1(factor));
        *scale = vf_mul(*scale, vf_of_int(vi_load_i8(at.unit + 32 + 16 * (size_t)at.g + at.lane)));
        break;
    case SCALES_K_MIN:
        *scale = vf_mul(vf_load_half(halves), vf_of_int(vi_load_u8(bytes)));
        *minimum = vf_mul(vf_load_half(halves + 16), vf_of_int(vi_load_u8(bytes + 16)));
        break;
    case SCALES_K16:
        *scale = vf_load_half(halves);
        if (form.codes == CODES_LEVELS) {
            memcpy(&factor, at.unit + panel_levels_at(form.scales) + 16, sizeof(factor));
            *scale = vf_mul(*scale, vf_set1(factor));
        }
        break;
    case SCALES_K16_MIN:
        *scale = vf_load_half(halves);
        *minimum = vf_load_half(halves + 16); /* times minus the sums */
        break;
    case SCALES_HALF_16: /* of both halves */
        *scale = vf_load_half(halves);
        *minimum = vf_load_half(halves + 16);
        break;
    }
}
