/* Template of the generic float product. Included by mul_f32_<isa>.c after its vector words (vec_*.h) and
 *   LEVEL(name)      name with the level's suffix
 *   TILE_ROWS        activation rows in a register tile
 *   TILE_CASES(X)    X(1) ... X(TILE_ROWS)
 *
 * 16 weight rows are decoded into scratch as a panel [n_in][16], so that lanes are weight rows; then each output is
 * the chain acc = fmaf(w, x, acc) over k, the same bits at every level. */
#include "kernels/levels.h"

enum { PANEL_PARTS = SL_PANEL_ROWS / VL };

/* VL columns from k of one weight row, as floats; n < VL: the rest reads as zero. */
INLINE vf plain_load(sl_type type, const uint8_t *row, uint32_t k, uint32_t n) {
    const uint16_t *halves = (const uint16_t *)(const void *)row + k;
    if (type == SL_TYPE_F32) {
        const float *p = (const float *)(const void *)row + k;
        return n == VL ? vf_load(p) : vf_load_part(p, n);
    }
    if (n < VL) {
        uint16_t part[VL] = {0};
        memcpy(part, halves, n * sizeof(uint16_t));
        return type == SL_TYPE_F16 ? vf_load_half(part) : vf_load_bfloat(part);
    }
    return type == SL_TYPE_F16 ? vf_load_half(halves) : vf_load_bfloat(halves);
}

/* Columns [k, k + n) of VL rows, given as vectors of columns, become n lines of a panel. */
INLINE void panel_put(vf rows[VL], float *panel, uint32_t n) {
    vf_transpose(rows);
    if (n == VL) {
        UNROLL(16)
        for (uint32_t j = 0; j < VL; j++) {
            vf_store(panel + (size_t)j * SL_PANEL_ROWS, rows[j]);
        }
        return;
    }
    float line[VL][VL];
    UNROLL(16)
    for (uint32_t j = 0; j < VL; j++) {
        vf_store(line[j], rows[j]);
    }
    for (uint32_t j = 0; j < n; j++) {
        memcpy(panel + (size_t)j * SL_PANEL_ROWS, line[j], sizeof(line[j]));
    }
}

/* Formats without blocks: straight from the file. Rows from n_rows on are zeros. */
INLINE void panel_plain(sl_type type, const uint8_t *rows, size_t row_bytes, uint32_t n_rows,
                        uint32_t n_in, float *panel) {
    for (uint32_t k = 0; k < n_in; k += VL) {
        const uint32_t n = n_in - k < VL ? n_in - k : VL;
        for (uint32_t part = 0; part < PANEL_PARTS; part++) {
            vf lines[VL];
            UNROLL(16)
            for (uint32_t i = 0; i < VL; i++) {
                const uint32_t row = part * VL + i;
                lines[i] = row < n_rows ? plain_load(type, rows + row * row_bytes, k, n) : vf_zero();
            }
            panel_put(lines, panel + (size_t)k * SL_PANEL_ROWS + part * VL, n);
        }
    }
}

/* Formats with blocks: decoded SL_MUL_F32_COLUMNS columns at a time (a multiple of every block). */
static void panel_blocks(sl_type type, const uint8_t *rows, size_t row_bytes, uint32_t n_rows,
                         uint32_t n_in, float *panel, float *buffer) {
    const sl_type_info *info = sl_type_info_of((uint32_t)type);
    memset(buffer, 0, sizeof(float) * SL_PANEL_ROWS * SL_MUL_F32_COLUMNS);
    for (uint32_t k = 0; k < n_in; k += SL_MUL_F32_COLUMNS) {
        const uint32_t n = n_in - k < SL_MUL_F32_COLUMNS ? n_in - k : SL_MUL_F32_COLUMNS;
        const size_t offset = (size_t)(k / info->block_elems) * info->block_bytes;
        for (uint32_t i = 0; i < n_rows; i++) {
            sl_type_decode_row(type, rows + i * row_bytes + offset, buffer + (size_t)i * SL_MUL_F32_COLUMNS, n);
        }
        panel_plain(SL_TYPE_F32, (const uint8_t *)buffer, SL_MUL_F32_COLUMNS * sizeof(float),
                    SL_PANEL_ROWS, n, panel + (size_t)k * SL_PANEL_ROWS);
    }
}

static void panel_decode(sl_type type, const uint8_t *rows, size_t row_bytes, uint32_t n_rows,
                         uint32_t n_in, float *panel, float *buffer) {
    switch (type) {
    case SL_TYPE_F32:
        panel_plain(SL_TYPE_F32, rows, row_bytes, n_rows, n_in, panel);
        break;
    case SL_TYPE_F16:
        panel_plain(SL_TYPE_F16, rows, row_bytes, n_rows, n_in, panel);
        break;
    case SL_TYPE_BF16:
        panel_plain(SL_TYPE_BF16, rows, row_bytes, n_rows, n_in, panel);
        break;
    default:
        panel_blocks(type, rows, row_bytes, n_rows, n_in, panel, buffer);
        break;
    }
}

/* R rows of x times a panel; n_out (1..16) outputs of each are stored. */
INLINE void tile_mul_f32(uint32_t R, const float *panel, uint32_t n_in, uint32_t n_out, const float *x,
                         size_t x_stride, float *out, size_t out_stride, bool add) {
    vf acc[TILE_ROWS][PANEL_PARTS];
    UNROLL(16)
    for (uint32_t r = 0; r < R; r++) {
        for (uint32_t part = 0; part < PANEL_PARTS; part++) {
            acc[r][part] = vf_zero();
        }
    }
    for (uint32_t k = 0; k < n_in; k++) {
        vf w[PANEL_PARTS];
        UNROLL(2)
        for (uint32_t part = 0; part < PANEL_PARTS; part++) {
            w[part] = vf_load(panel + (size_t)k * SL_PANEL_ROWS + part * VL);
        }
        UNROLL(16)
        for (uint32_t r = 0; r < R; r++) {
            const vf v = vf_set1(x[r * x_stride + k]);
            UNROLL(2)
            for (uint32_t part = 0; part < PANEL_PARTS; part++) {
                acc[r][part] = vf_fma(w[part], v, acc[r][part]);
            }
        }
    }
    UNROLL(16)
    for (uint32_t r = 0; r < R; r++) {
        UNROLL(2)
        for (uint32_t part = 0; part < PANEL_PARTS; part++) {
            const uint32_t begin = part * VL;
            const uint32_t n = n_out <= begin ? 0 : n_out - begin < VL ? n_out - begin : VL;
            float *o = out + r * out_stride + begin;
            vf sum = acc[r][part];
            if (add) {
                sum = vf_add(vf_load_part(o, n), sum);
            }
            vf_store_part(o, sum, n);
        }
    }
}

#define TILE_CASE(R)                                                                               \
    case R:                                                                                        \
        tile_mul_f32(R, scratch, n_in, n_out, x + row * x_stride, x_stride, o, out_stride, add);   \
        break;

static void LEVEL(mul_f32)(sl_type type, const uint8_t *weights, size_t row_bytes, uint32_t n_in,
                           uint32_t w_begin, uint32_t w_end, const float *x, size_t x_stride,
                           uint32_t n_rows, float *out, size_t out_stride, bool add, float *scratch) {
    float *buffer = scratch + ((size_t)n_in + SL_PANEL_ROWS) * SL_PANEL_ROWS;
    for (uint32_t w = w_begin; w < w_end; w += SL_PANEL_ROWS) {
        const uint32_t n_out = w_end - w < SL_PANEL_ROWS ? w_end - w : SL_PANEL_ROWS;
        panel_decode(type, weights + w * row_bytes, row_bytes, n_out, n_in, scratch, buffer);
        uint32_t height;
        for (uint32_t row = 0; row < n_rows; row += height) {
            const uint32_t left = n_rows - row;
            const uint32_t tiles = (left + TILE_ROWS - 1) / TILE_ROWS;
            height = (left + tiles - 1) / tiles;
            float *o = out + row * out_stride + w;
            switch (height) {
                TILE_CASES(TILE_CASE)
            default:
                break;
            }
        }
    }
}

void LEVEL(sl_mul_f32_fill)(sl_kernels *k) {
    k->mul_f32 = LEVEL(mul_f32);
}
