/* Template of the products on AMX tiles. Included by product_amx_<isa>.c after its vector words
 * (vec_*.h), the tile words (amx.h) and
 *   LEVEL(name)    name with the level's suffix
 *
 * Twin: sl_mul_amx_ref, bit for bit: the order of sums is the instruction's (Intel SDM vol. 2,
 * TDPBF16PS), and the decoded weights are those of the file's decoder.
 *
 * A weight tile is 32 columns of a panel, 1 KB: 16 rows, pairs of columns, of 16 words, weight
 * rows; so a panel of bf16 is a row of such tiles as it is. Other panels are decoded into tiles,
 * two panels at a time, in scratch that stays in the second-level cache while all rows pass: this
 * is paid once for all rows, which is why there must be many. An activation tile is 16 rows of 32
 * columns where they are. Four tiles of sums take 32 rows times two panels: each loaded tile is
 * used twice.
 *
 * Tiles are configured once for a call. When less than 32 rows are left, a block of as many rows
 * as the others have reaches back over rows that are done; its sums go through a buffer and only
 * those of new rows are kept. */
#include "kernels/levels.h"
#include "kernels/x86/amx_block.inc.h"
#include "kernels/x86/unpack.inc.h"

enum {
    BLOCK_ROWS = 2 * TILE_ROWS,
    PART_TILES = SL_PRODUCT_AMX_COLUMNS / SL_BF16_GROUP,
    PREFETCH_BYTES = 4096 /* ahead in the panels' stream */
};
/* Where research on such a machine had both kinds of products level: 18 rows when it was quiet, 32
 * when others used the tiles of the same cores. */
#define ROWS_MIN 24

/* --- weights become tiles --- */

/* Scale and minimum of both halves of a group, for VL rows. */
INLINE void half_scales(panel_form form, tile_place at, vf scale[2], vf minimum[2]) {
    const uint8_t *bytes = at.unit + 64 + 32 * (size_t)at.g + at.lane;
    const uint16_t *dmin = (const uint16_t *)(const void *)(at.unit + 32) + at.lane;
    vf s, m;
    tile_scales(form, at, &s, &m);
    UNROLL(2)
    for (size_t h = 0; h < 2; h++) {
        scale[h] = s;
        minimum[h] = m;
        if (form.scales == SCALES_HALF_16) {
            scale[h] = h == 0 ? s : m;
        } else if (form.scales == SCALES_K16) {
            scale[h] = vf_mul(s, vf_of_int(vi_load_i8(bytes + 16 * h)));
        } else if (form.scales == SCALES_K16_MIN) {
            const vi both = vi_load_u8(bytes + 16 * h);
            scale[h] = vf_mul(s, vf_of_int(vi_and(both, vi_set1(15))));
            minimum[h] = vf_mul(vf_load_half(dmin), vf_of_int(vi_shr(both, 4)));
            minimum[h] = vf_mul(minimum[h], vf_set1(-1.0f));
        }
    }
}

INLINE vf weight_of(panel_form form, vi q, vf scale, vf minimum) {
    return has_minimum(form) ? vf_fma(scale, vf_of_int(q), minimum) : vf_mul(scale, vf_of_int(q));
}

/* The tile's lanes of one group. */
INLINE void unpack_group(panel_form form, vi levels, tile_place at, uint8_t *tile) {
    vf scale[2], minimum[2];
    half_scales(form, at, scale, minimum);
    UNROLL(8)
    for (uint32_t v = 0; v < 8; v++) {
        const vf s = scale[v / 4], m = minimum[v / 4];
        const vi q = vi_sub8(unpack_step(form, levels, at.group, v), vi_set1_8(form.offset));
        const vf w0 = weight_of(form, vi_sra(vi_shl(q, 24), 24), s, m);
        const vf w1 = weight_of(form, vi_sra(vi_shl(q, 16), 24), s, m);
        const vf w2 = weight_of(form, vi_sra(vi_shl(q, 8), 24), s, m);
        const vf w3 = weight_of(form, vi_sra(q, 24), s, m);
        uint8_t *lines = tile + (size_t)2 * v * TILE_LINE + 4 * (size_t)at.lane;
        vi_store(lines, vi_bfloat_pairs(w0, w1));
        vi_store(lines + TILE_LINE, vi_bfloat_pairs(w2, w3));
    }
}

/* n groups of a panel, from group `first` on. */
INLINE void unpack_groups(sl_type type, const uint8_t *panel, uint32_t first, uint32_t n,
                          uint8_t *tiles) {
    const panel_form form = panel_form_of(type);
    const panel_shape shape = panel_shape_of(form);
    const vi levels = tile_levels(type, form, panel);
    for (uint32_t i = 0; i < n; i++) {
        const uint32_t g = (first + i) % shape.unit_groups;
        const uint8_t *unit = panel + (first + i) / shape.unit_groups * panel_unit_bytes(shape);
        const uint8_t *group = unit + shape.header_bytes + (size_t)g * shape.group_bytes;
        for (uint32_t at = 0; at < shape.group_bytes + 64; at += 64) {
            _mm_prefetch((const char *)group + PREFETCH_BYTES + at, _MM_HINT_T0);
        }
        for (uint32_t lane = 0; lane < SL_PANEL_ROWS; lane += VL) {
            unpack_group(form, levels, (tile_place){unit, group + 4 * (size_t)lane, g, lane},
                         tiles + (size_t)i * TILE_BYTES);
        }
    }
}

/* Lanes of column k of a plain panel of halves. */
INLINE vf half_column(const uint8_t *panel, uint32_t n_in, uint32_t k, uint32_t lane) {
    const uint16_t *column = (const uint16_t *)(const void *)panel + (size_t)k * SL_PANEL_ROWS;
    return k < n_in ? vf_load_half(column + lane) : vf_zero();
}

static void unpack_halves(const uint8_t *panel, uint32_t n_in, uint32_t first, uint32_t n,
                          uint8_t *tiles) {
    for (uint32_t line = 0; line < n * TILE_ROWS; line++) {
        const uint32_t k = first * SL_BF16_GROUP + 2 * line;
        _mm_prefetch((const char *)panel + (size_t)k * 2 * SL_PANEL_ROWS + PREFETCH_BYTES,
                     _MM_HINT_T0);
        for (uint32_t lane = 0; lane < SL_PANEL_ROWS; lane += VL) {
            vi_store(tiles + (size_t)line * TILE_LINE + 4 * (size_t)lane,
                     vi_bfloat_pairs(half_column(panel, n_in, k, lane),
                                     half_column(panel, n_in, k + 1, lane)));
        }
    }
}

/* Panels of bf16 are tiles; only if the last one is not whole, it is filled up in scratch. */
static const uint8_t *unpack_bf16(const uint8_t *panel, uint32_t n_in, uint32_t first, uint32_t n,
                                  uint8_t *tiles) {
    const uint8_t *from = panel + (size_t)first * TILE_BYTES;
    const size_t lines = (n_in + 1) / 2 - (size_t)first * TILE_ROWS;
    if (lines >= (size_t)n * TILE_ROWS) {
        return from;
    }
    memcpy(tiles, from, lines * TILE_LINE);
    memset(tiles + lines * TILE_LINE, 0, (size_t)n * TILE_BYTES - lines * TILE_LINE);
    return tiles;
}

#define UNPACK(type)                                                                               \
    case type:                                                                                     \
        unpack_groups(type, panel, first, n, tiles);                                               \
        return tiles;

/* Tiles [first, first + n) of a panel: where they are. Types whose panels have the same form share
 * a case. */
static const uint8_t *unpack_panel(sl_type type, const uint8_t *panel, uint32_t n_in,
                                   uint32_t first, uint32_t n, uint8_t *tiles) {
    switch (type) {
    case SL_TYPE_F16:
        unpack_halves(panel, n_in, first, n, tiles);
        return tiles;
    case SL_TYPE_BF16:
        return unpack_bf16(panel, n_in, first, n, tiles);
        UNPACK(SL_TYPE_Q4_0)
        UNPACK(SL_TYPE_Q4_1)
        UNPACK(SL_TYPE_Q5_0)
        UNPACK(SL_TYPE_Q5_1)
        UNPACK(SL_TYPE_Q2_K)
        UNPACK(SL_TYPE_Q3_K)
        UNPACK(SL_TYPE_Q4_K)
        UNPACK(SL_TYPE_Q5_K)
        UNPACK(SL_TYPE_Q6_K)
        UNPACK(SL_TYPE_IQ4_NL)
        UNPACK(SL_TYPE_MXFP4)
        UNPACK(SL_TYPE_NVFP4)
    case SL_TYPE_TQ1_0:
    case SL_TYPE_Q1_0:
    case SL_TYPE_Q2_0:
        UNPACK(SL_TYPE_TQ2_0)
    case SL_TYPE_IQ2_S:
    case SL_TYPE_IQ1_M:
        UNPACK(SL_TYPE_IQ2_XS)
    case SL_TYPE_IQ3_XXS:
    case SL_TYPE_IQ3_S:
    case SL_TYPE_IQ2_XXS:
    case SL_TYPE_IQ1_S:
        UNPACK(SL_TYPE_IQ4_XS)
    default: /* SL_TYPE_Q8_0, SL_TYPE_Q8_1 */
        unpack_groups(SL_TYPE_Q8_0, panel, first, n, tiles);
        return tiles;
    }
}

/* --- rows are multiplied --- */

/* All rows (of b->x on) times a part of one or two panels. out: of the first row and panel; the
 * sums go on from it if `goes_on`. */
static void rows_mul(amx_block *b, uint32_t n_w, uint32_t n_rows, bool goes_on, float *out,
                     size_t out_stride) {
    const uint16_t *x = b->x;
    float buffer[BLOCK_ROWS * 2 * SL_PANEL_ROWS];
    uint32_t n_new;
    for (uint32_t row = 0; row < n_rows; row += n_new) {
        const uint32_t left = n_rows - row;
        const uint32_t most = left <= TILE_ROWS ? TILE_ROWS : BLOCK_ROWS;
        const uint32_t height = n_rows < most ? n_rows : most;
        n_new = left < height ? left : height;
        const uint32_t begin = row + n_new - height;
        float *place = out + begin * out_stride;
        b->x = x + begin * (b->x_bytes / sizeof(*x));
        b->from = goes_on ? place : NULL;
        b->from_bytes = out_stride * sizeof(float);
        b->to = n_new == height ? place : buffer;
        b->to_bytes = n_new == height ? b->from_bytes : 2 * TILE_LINE;
        block_mul_any(height > TILE_ROWS ? 2 : 1, n_w, b);
        for (uint32_t r = height - n_new; r < height && n_new < height; r++) {
            memcpy(place + r * out_stride, buffer + (size_t)r * 2 * SL_PANEL_ROWS,
                   n_w * (size_t)TILE_LINE);
        }
    }
    b->x = x;
}

static void LEVEL(mul_amx)(sl_type type, const uint8_t *panels, size_t panel_bytes, uint32_t n_in,
                           uint32_t panel_begin, uint32_t panel_end, const uint16_t *x,
                           size_t x_stride, uint32_t row_begin, uint32_t row_end, float *out,
                           size_t out_stride, bool add, void *scratch) {
    const uint32_t n_rows = row_end - row_begin;
    const uint32_t n_groups = (n_in + SL_BF16_GROUP - 1) / SL_BF16_GROUP;
    tiles_configure(n_rows);
    for (uint32_t p = panel_begin; p < panel_end; p += 2) {
        const uint32_t n_w = panel_end - p < 2 ? 1 : 2;
        float *o = out + row_begin * out_stride + (size_t)p * SL_PANEL_ROWS;
        for (uint32_t g = 0; g < n_groups; g += PART_TILES) {
            amx_block block = {.x = x + row_begin * x_stride + (size_t)g * SL_BF16_GROUP,
                               .x_bytes = x_stride * sizeof(*x),
                               .n = n_groups - g < PART_TILES ? n_groups - g : PART_TILES};
            for (uint32_t i = 0; i < n_w; i++) {
                block.w[i] = unpack_panel(type, panels + (p + i) * panel_bytes, n_in, g, block.n,
                                          (uint8_t *)scratch + (size_t)i * block.n * TILE_BYTES);
            }
            AMX_FENCE();
            rows_mul(&block, n_w, n_rows, add || g > 0, o, out_stride);
        }
    }
    AMX_RELEASE();
}

void LEVEL(sl_product_amx_fill)(sl_kernels *k) {
    k->amx = (sl_product_amx){.rows_min = ROWS_MIN, .mul = LEVEL(mul_amx)};
}
