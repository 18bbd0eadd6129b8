/* Template of the generic float product. Included by mul_f32_<isa>.c after its vector words
 * (vec_*.h) and
 *   LEVEL(name)      name with the level's suffix
 *   TILE_ROWS        activation rows in a register tile
 *   TILE_CASES(X)    X(1) ... X(TILE_ROWS)
 *   DIRECT_ROWS      up to this many rows of x need no panel; DIRECT_CASES(X) X(1) ...
 *   X(DIRECT_ROWS)
 *
 * Lanes are weight rows: 16 of them are decoded and transposed, and each output is the chain acc =
 * fmaf(w, x, acc) over k, the same bits at every level. With few rows of x the transposed weights
 * are used straight from the registers. With more, a part of the columns goes to scratch as a panel
 * [SL_MUL_F32_COLUMNS][16], which stays in the first-level cache while the tiles of up to
 * SL_MUL_F32_ROWS rows pass; their sums wait in scratch for the next part, unrounded, so that the
 * chain is the same. */
#include "kernels/levels.h"
#include "kernels/x86/tile_float.inc.h"

#if VEC_INSTRUMENTED
#undef DIRECT_ROWS
#undef DIRECT_CASES
#define DIRECT_ROWS 2
#define DIRECT_CASES(X) X(1) X(2)
#endif

enum { PREFETCH_BYTES = 512 };

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

/* Columns [k, k + n) of VL weight rows from `first` on as vectors of columns; rows from n_rows on
 * are zeros. */
INLINE void lines_load(sl_type type, const uint8_t *rows, size_t row_bytes, uint32_t first,
                       uint32_t n_rows, uint32_t k, uint32_t n, vf lines[VL]) {
    if (n == VL && first + VL <= n_rows) {
        /* Sixteen short streams are too much for the hardware to foresee; behind a row's end, the
         * same place of the next panel follows. */
        size_t ahead = k * (type == SL_TYPE_F32 ? sizeof(float) : sizeof(uint16_t)) +
                       PREFETCH_BYTES;
        ahead += ahead >= row_bytes ? (SL_PANEL_ROWS - 1) * row_bytes : 0;
        UNROLL(16)
        for (uint32_t i = 0; i < VL; i++) {
            const uint8_t *row = rows + (first + i) * row_bytes;
            lines[i] = plain_load(type, row, k, VL);
            _mm_prefetch((const char *)row + ahead, _MM_HINT_T0);
        }
        return;
    }
    for (uint32_t i = 0; i < VL; i++) {
        lines[i] = first + i < n_rows ? plain_load(type, rows + (first + i) * row_bytes, k, n)
                                      : vf_zero();
    }
}

/* Columns [begin, end) of rows without blocks become the lines of a panel. */
INLINE void panel_plain(sl_type type, const uint8_t *rows, size_t row_bytes, uint32_t n_rows,
                        uint32_t begin, uint32_t end, float *panel) {
    for (uint32_t k = begin; k < end; k += VL) {
        for (uint32_t part = 0; part < PANEL_PARTS; part++) {
            const uint32_t width = end - k < VL ? end - k : VL;
            vf lines[VL];
            lines_load(type, rows, row_bytes, part * VL, n_rows, k, width, lines);
            panel_put(lines, panel + (size_t)(k - begin) * SL_PANEL_ROWS + part * VL, width);
        }
    }
}

/* acc[r] += n columns of rows without blocks, times R rows of x. */
INLINE void direct_plain(sl_type type, uint32_t R, const uint8_t *rows, size_t row_bytes,
                         uint32_t n_rows, uint32_t n, const float *x, size_t x_stride,
                         vf acc[DIRECT_ROWS][PANEL_PARTS]) {
    for (uint32_t k = 0; k < n; k += VL) {
        UNROLL(2)
        for (uint32_t part = 0; part < PANEL_PARTS; part++) {
            const uint32_t width = n - k < VL ? n - k : VL;
            vf lines[VL];
            lines_load(type, rows, row_bytes, part * VL, n_rows, k, width, lines);
            vf_transpose(lines);
            UNROLL(8)
            for (uint32_t r = 0; r < R; r++) {
                UNROLL(16)
                for (uint32_t j = 0; j < VL; j++) {
                    if (width == VL || j < width) {
                        acc[r][part] = vf_fma(lines[j], vf_set1(x[r * x_stride + k + j]),
                                              acc[r][part]);
                    }
                }
            }
        }
    }
}

/* Formats with blocks: SL_MUL_F32_COLUMNS columns from k on (a multiple of every block) of n_rows
 * rows into `buffer`, [16][SL_MUL_F32_COLUMNS]. Returns how many there were. */
static uint32_t blocks_decode(sl_type type, const uint8_t *rows, size_t row_bytes, uint32_t n_rows,
                              uint32_t n_in, uint32_t k, float *buffer) {
    const sl_type_info *info = sl_type_info_of((uint32_t)type);
    const uint32_t n = n_in - k < SL_MUL_F32_COLUMNS ? n_in - k : SL_MUL_F32_COLUMNS;
    const size_t offset = (size_t)(k / info->block_elems) * info->block_bytes;
    for (uint32_t i = 0; i < n_rows; i++) {
        sl_type_decode_row(type, rows + i * row_bytes + offset,
                           buffer + (size_t)i * SL_MUL_F32_COLUMNS, n);
    }
    return n;
}

/* Up to SL_MUL_F32_COLUMNS columns from k on as a panel; lanes from n_rows on are zeros. Returns
 * how many there were. */
static uint32_t panel_decode(sl_type type, const uint8_t *rows, size_t row_bytes, uint32_t n_rows,
                             uint32_t n_in, uint32_t k, float *panel, float *buffer) {
    const uint32_t n = n_in - k < SL_MUL_F32_COLUMNS ? n_in - k : SL_MUL_F32_COLUMNS;
    switch (type) {
    case SL_TYPE_F32:
        panel_plain(SL_TYPE_F32, rows, row_bytes, n_rows, k, k + n, panel);
        break;
    case SL_TYPE_F16:
        panel_plain(SL_TYPE_F16, rows, row_bytes, n_rows, k, k + n, panel);
        break;
    case SL_TYPE_BF16:
        panel_plain(SL_TYPE_BF16, rows, row_bytes, n_rows, k, k + n, panel);
        break;
    default:
        blocks_decode(type, rows, row_bytes, n_rows, n_in, k, buffer);
        panel_plain(SL_TYPE_F32, (const uint8_t *)buffer, SL_MUL_F32_COLUMNS * sizeof(float),
                    n_rows, 0, n, panel);
        break;
    }
    return n;
}

/* Stores n_out (1..16) sums of one row of x. */
INLINE void sums_store(const vf sums[PANEL_PARTS], uint32_t n_out, float *out, bool add) {
    UNROLL(2)
    for (uint32_t part = 0; part < PANEL_PARTS; part++) {
        const uint32_t begin = part * VL;
        const uint32_t n = n_out <= begin ? 0 : n_out - begin < VL ? n_out - begin : VL;
        vf sum = sums[part];
        if (add) {
            sum = vf_add(vf_load_part(out + begin, n), sum);
        }
        vf_store_part(out + begin, sum, n);
    }
}

/* R rows of x times up to 16 weight rows, without a panel. */
INLINE void tile_direct(uint32_t R, sl_type type, const uint8_t *rows, size_t row_bytes,
                        uint32_t n_in, uint32_t n_out, const float *x, size_t x_stride, float *out,
                        size_t out_stride, bool add, float *buffer) {
    vf acc[DIRECT_ROWS][PANEL_PARTS];
    UNROLL(8)
    for (uint32_t r = 0; r < R; r++) {
        UNROLL(2)
        for (uint32_t part = 0; part < PANEL_PARTS; part++) {
            acc[r][part] = vf_zero();
        }
    }
    switch (type) {
    case SL_TYPE_F32:
        direct_plain(SL_TYPE_F32, R, rows, row_bytes, n_out, n_in, x, x_stride, acc);
        break;
    case SL_TYPE_F16:
        direct_plain(SL_TYPE_F16, R, rows, row_bytes, n_out, n_in, x, x_stride, acc);
        break;
    case SL_TYPE_BF16:
        direct_plain(SL_TYPE_BF16, R, rows, row_bytes, n_out, n_in, x, x_stride, acc);
        break;
    default:
        for (uint32_t k = 0; k < n_in; k += SL_MUL_F32_COLUMNS) {
            const uint32_t n = blocks_decode(type, rows, row_bytes, n_out, n_in, k, buffer);
            direct_plain(SL_TYPE_F32, R, (const uint8_t *)buffer,
                         SL_MUL_F32_COLUMNS * sizeof(float), n_out, n, x + k, x_stride, acc);
        }
        break;
    }
    UNROLL(8)
    for (uint32_t r = 0; r < R; r++) {
        sums_store(acc[r], n_out, out + r * out_stride, add);
    }
}

#define DIRECT_CASE(R)                                                                             \
    case R:                                                                                        \
        tile_direct(R, type, rows, row_bytes, n_in, n_out, x, x_stride, out + w, out_stride, add,  \
                    buffer);                                                                       \
        continue;

/* n_rows (up to SL_MUL_F32_ROWS) rows of x times up to 16 weight rows, into sums [n_rows][16]. */
static void rows_mul(sl_type type, const uint8_t *rows, size_t row_bytes, uint32_t n_in,
                     uint32_t n_out, const float *x, size_t x_stride, uint32_t n_rows, float *panel,
                     float *buffer, float *sums) {
    memset(sums, 0, (size_t)n_rows * SL_PANEL_ROWS * sizeof(float));
    for (uint32_t k = 0; k < n_in; k += SL_MUL_F32_COLUMNS) {
        const uint32_t n = panel_decode(type, rows, row_bytes, n_out, n_in, k, panel, buffer);
        rows_mul_float(SL_TYPE_F32, 0, (const uint8_t *)panel, n, x + k, x_stride, n_rows, sums);
    }
}

static void LEVEL(mul_f32)(sl_type type, const uint8_t *weights, size_t row_bytes, uint32_t n_in,
                           uint32_t w_begin, uint32_t w_end, const float *x, size_t x_stride,
                           uint32_t n_rows, float *out, size_t out_stride, bool add,
                           float *scratch) {
    float *buffer = scratch + SL_MUL_F32_COLUMNS * SL_PANEL_ROWS;
    float *sums = buffer + SL_MUL_F32_COLUMNS * SL_PANEL_ROWS;
    for (uint32_t w = w_begin; w < w_end; w += SL_PANEL_ROWS) {
        const uint32_t n_out = w_end - w < SL_PANEL_ROWS ? w_end - w : SL_PANEL_ROWS;
        const uint8_t *rows = weights + w * row_bytes;
        switch (n_rows) {
            DIRECT_CASES(DIRECT_CASE)
        default:
            break;
        }
        for (uint32_t r0 = 0; r0 < n_rows; r0 += SL_MUL_F32_ROWS) {
            const uint32_t n = n_rows - r0 < SL_MUL_F32_ROWS ? n_rows - r0 : SL_MUL_F32_ROWS;
            rows_mul(type, rows, row_bytes, n_in, n_out, x + r0 * x_stride, x_stride, n, scratch,
                     buffer, sums);
            for (uint32_t r = 0; r < n; r++) {
                vf line[PANEL_PARTS];
                UNROLL(2)
                for (uint32_t part = 0; part < PANEL_PARTS; part++) {
                    line[part] = vf_load(sums + (size_t)r * SL_PANEL_ROWS + part * VL);
                }
                sums_store(line, n_out, out + (r0 + r) * out_stride + w, add);
            }
        }
    }
}

void LEVEL(sl_mul_f32_fill)(sl_kernels *k) {
    k->mul_f32 = LEVEL(mul_f32);
}
