/* The packed weight layout that all x86 levels read: panels of 16 rows, so that lane i of a vector
 * is row i.
 *
 * A step is 4 consecutive columns; a quad is 64 bytes with byte 4 i + b = row i, column b of a
 * step. A group (32 columns, 8 steps) is stored as four "nibble quads" (256 bytes): quad v has step
 * v in its low and step v + 4 in its high nibbles, offset binary (the format's own code). Bits
 * above the fourth follow in "high quads". Numbers of the 16 rows stand together: half d[16], uint8
 * scale[16] and so on. Offsets in bytes:
 *
 *   Q4_1  320 per group     0 half d[16]  32 half m[16]  64 nibbles[256]
 *   Q4_0  576 per 2 groups  0 half d[2][16]  64 nibbles[2][256]
 *   Q5_0  704 per 2 groups  0 half d[2][16]  64 {high[64], nibbles[256]}[2]
 *         high: bit v of byte 4 i + b is bit 4 of column b of step v
 *   Q8_0 1088 per 2 groups  0 half d[2][16]  64 {8 quads of w + 128}[2]
 *   Q4_K 2368 per 8 groups  0 half d[16]  32 half dmin[16]
 *                           64 {uint8 scale[16], uint8 min[16]}[8]  320 nibbles[8][256]
 *   Q6_K 3392 per 8 groups  0 half d[16]  64 {int8 scale[2][16]}[8]
 *                           320 {high[2][64], nibbles[256]}[8]
 *         high[h]: bits 2 t, 2 t + 1 of byte 4 i + b are bits 4, 5 of column b of step 4 h + t
 *
 * With an odd number of groups the last unit of 2 ends after its first group. */
#ifndef SL_KERNELS_X86_PANEL_H
#define SL_KERNELS_X86_PANEL_H

#include "kernels/kernels.h"

enum {
    PANEL_NIBBLES = 256, /* bytes of a group's nibble quads */
    PANEL_QUAD = 64,
    PANEL_K_HEADER = 64 + 8 * 32 /* before the groups of a Q4_K or Q6_K unit */
};

/* Geometry of a format: groups in a unit, bytes before the groups of a unit, bytes of a group. */
typedef struct panel_shape {
    uint32_t unit_groups, header_bytes, group_bytes;
} panel_shape;

static inline panel_shape panel_shape_of(sl_type type) {
    switch (type) {
    case SL_TYPE_Q4_0:
        return (panel_shape){2, 64, PANEL_NIBBLES};
    case SL_TYPE_Q4_1:
        return (panel_shape){1, 64, PANEL_NIBBLES};
    case SL_TYPE_Q5_0:
        return (panel_shape){2, 64, PANEL_QUAD + PANEL_NIBBLES};
    case SL_TYPE_Q8_0:
        return (panel_shape){2, 64, 8 * PANEL_QUAD};
    case SL_TYPE_Q4_K:
        return (panel_shape){8, PANEL_K_HEADER, PANEL_NIBBLES};
    default: /* SL_TYPE_Q6_K */
        return (panel_shape){8, PANEL_K_HEADER, 2 * PANEL_QUAD + PANEL_NIBBLES};
    }
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

/* panel.c: sets panel_bytes and pack of the six formats. */
void sl_panel_fill(sl_kernels *k);

#endif
