/* The packed weight layout that all x86 levels read: panels of 16 rows, so that lane i of a vector
 * is row i.
 *
 * A step is 4 consecutive columns; a quad is 64 bytes with byte 4 i + b = row i, column b of a
 * step. A group is 32 columns, 8 steps. A panel is a row of units: small numbers of some groups
 * (the header), then the groups' codes, which are offset binary (or numbers of levels). Formats
 * differ in how codes and small numbers are kept; offsets in bytes.
 *
 * Codes of a group:
 *   NIBBLES  256   four quads; quad v has step v in its low and step v + 4 in its high nibbles
 *   LEVELS   256   the same; a code is the number of a level, and the weight that level - 128
 *   FIVE     320   0 high[64] | 64 NIBBLES   bit v of byte 4 i + b of high is bit 4 of column b of
 *                                            step v
 *   SIX      384   0 high[2][64] | 128 NIBBLES   bits 2 t, 2 t + 1 of byte 4 i + b of high[h] are
 *                                                bits 4, 5 of column b of step 4 h + t
 *   PAIRS    128   two quads: bits 2 t, 2 t + 1 of quad h are the code of step 4 h + t
 *   THREE    192   0 high[64] | 64 PAIRS     bit v of a byte of high is bit 2 of step v
 *   BYTES    512   eight quads, a step each
 *
 * Header, the numbers of the 16 rows together:
 *   HALF      64 of 2 groups   0 half d[2][16]
 *   HALF_MIN  64 of 1 group    0 half d[16] | 32 half m[16]
 *   HALF_16   64 of 1 group    0 half d[2][16], of the two halves of the group
 *   EXPONENT  64 of 4 groups   0 uint8 e[4][16]: d = 2^(e - 128)
 *   K        192 of 8 groups   0 half d[16] | 32 int8 scale[8][16] | 160 levels
 *   K_MIN    320 of 8 groups   0 half d[16] | 32 half -dmin[16] | 64 {uint8 scale[16], min[16]}[8]
 *   K16      320 of 8 groups   0 half d[16] | 32 levels | 64 {int8 scale[2][16]}[8]
 *   K16_MIN  320 of 8 groups   0 half d[16] | 32 half dmin[16] | 64 {uint8 both[2][16]}[8], low
 *                              nibble the scale, high nibble the minimum of a half group
 * where levels is {uint8 level[16], float factor}: what codes mean and what d is multiplied with;
 * so the formats that differ in nothing else share a kernel.
 *
 * With a number of groups that is no multiple of the unit's, the last unit ends after its last
 * group. */
#ifndef SL_KERNELS_X86_PANEL_H
#define SL_KERNELS_X86_PANEL_H

#include "kernels/kernels.h"

enum { PANEL_QUAD = 64 };

typedef enum panel_codes {
    CODES_NIBBLES,
    CODES_LEVELS,
    CODES_FIVE,
    CODES_SIX,
    CODES_PAIRS,
    CODES_THREE,
    CODES_BYTES
} panel_codes;

typedef enum panel_scales {
    SCALES_HALF,
    SCALES_HALF_MIN,
    SCALES_HALF_16,
    SCALES_EXPONENT,
    SCALES_K,
    SCALES_K_MIN,
    SCALES_K16,
    SCALES_K16_MIN
} panel_scales;

/* code = q + offset, in [0, 255]. Codes of levels and bytes have 128, since their kernels take q as
 * a signed byte where that is better. */
typedef struct panel_form {
    panel_codes codes;
    panel_scales scales;
    int offset;
} panel_form;

static inline panel_form panel_form_of(sl_type type) {
    switch (type) {
    case SL_TYPE_Q4_0:
        return (panel_form){CODES_NIBBLES, SCALES_HALF, 8};
    case SL_TYPE_Q4_1:
        return (panel_form){CODES_NIBBLES, SCALES_HALF_MIN, 0};
    case SL_TYPE_Q5_0:
        return (panel_form){CODES_FIVE, SCALES_HALF, 16};
    case SL_TYPE_Q5_1:
        return (panel_form){CODES_FIVE, SCALES_HALF_MIN, 0};
    case SL_TYPE_Q4_K:
        return (panel_form){CODES_NIBBLES, SCALES_K_MIN, 0};
    case SL_TYPE_Q5_K:
        return (panel_form){CODES_FIVE, SCALES_K_MIN, 0};
    case SL_TYPE_Q6_K:
        return (panel_form){CODES_SIX, SCALES_K16, 32};
    case SL_TYPE_Q3_K:
        return (panel_form){CODES_THREE, SCALES_K16, 4};
    case SL_TYPE_Q2_K:
        return (panel_form){CODES_PAIRS, SCALES_K16_MIN, 0};
    case SL_TYPE_TQ1_0:
    case SL_TYPE_TQ2_0:
    case SL_TYPE_Q1_0:
    case SL_TYPE_Q2_0:
        return (panel_form){CODES_PAIRS, SCALES_HALF, 1};
    case SL_TYPE_IQ4_NL:
        return (panel_form){CODES_LEVELS, SCALES_HALF, 128};
    case SL_TYPE_MXFP4:
        return (panel_form){CODES_LEVELS, SCALES_EXPONENT, 128};
    case SL_TYPE_NVFP4:
        return (panel_form){CODES_LEVELS, SCALES_HALF_16, 128};
    case SL_TYPE_IQ2_XS:
    case SL_TYPE_IQ2_S:
    case SL_TYPE_IQ1_M:
        return (panel_form){CODES_LEVELS, SCALES_K16, 128};
    case SL_TYPE_IQ4_XS:
    case SL_TYPE_IQ3_XXS:
    case SL_TYPE_IQ3_S:
    case SL_TYPE_IQ2_XXS:
    case SL_TYPE_IQ1_S:
        return (panel_form){CODES_LEVELS, SCALES_K, 128};
    default: /* SL_TYPE_Q8_0, SL_TYPE_Q8_1 */
        return (panel_form){CODES_BYTES, SCALES_HALF, 128};
    }
}

/* Geometry: groups in a unit, bytes before the groups of a unit, bytes of a group. */
typedef struct panel_shape {
    uint32_t unit_groups, header_bytes, group_bytes;
} panel_shape;

static inline panel_shape panel_shape_of(panel_form form) {
    static const uint16_t group_bytes[] = {
        [CODES_NIBBLES] = 256, [CODES_LEVELS] = 256, [CODES_FIVE] = 320, [CODES_SIX] = 384,
        [CODES_PAIRS] = 128,   [CODES_THREE] = 192,  [CODES_BYTES] = 512};
    static const uint16_t unit_groups[] = {
        [SCALES_HALF] = 2, [SCALES_HALF_MIN] = 1, [SCALES_HALF_16] = 1, [SCALES_EXPONENT] = 4,
        [SCALES_K] = 8,    [SCALES_K_MIN] = 8,    [SCALES_K16] = 8,     [SCALES_K16_MIN] = 8};
    static const uint16_t header_bytes[] = {
        [SCALES_HALF] = 64, [SCALES_HALF_MIN] = 64, [SCALES_HALF_16] = 64, [SCALES_EXPONENT] = 64,
        [SCALES_K] = 192,   [SCALES_K_MIN] = 320,   [SCALES_K16] = 320,    [SCALES_K16_MIN] = 320};
    return (panel_shape){unit_groups[form.scales], header_bytes[form.scales],
                         group_bytes[form.codes]};
}

/* Where the levels of a unit are. */
static inline uint32_t panel_levels_at(panel_scales scales) {
    return scales == SCALES_K ? 160 : 32;
}

static inline size_t panel_unit_bytes(panel_shape s) {
    return s.header_bytes + (size_t)s.unit_groups * s.group_bytes;
}
static inline size_t panel_size(panel_shape s, uint32_t n_in) {
    const uint32_t n_groups = n_in / 32;
    const uint32_t rest = n_groups % s.unit_groups;
    return n_groups / s.unit_groups * panel_unit_bytes(s) +
           (rest ? s.header_bytes + (size_t)rest * s.group_bytes : 0);
}

/* panel.c: sets panel_bytes and pack of every type that has an int8 form. */
void sl_panel_fill(sl_kernels *k);

#endif
