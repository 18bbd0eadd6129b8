/* Template of the products of F32, F16 and BF16 weights with float rows. Included by
 * product_plain_<isa>.c after its vector words (vec_*.h) and
 *   LEVEL(name)    name with the level's suffix
 *   TILE_ROWS      largest number of activation rows in a register tile
 *   TILE_CASES(X)  X(1) X(2) ... X(TILE_ROWS)
 *
 * Twin: the reference's mul_f32, bit for bit. Panel: [n_in][16] elements as the file has them, so
 * that lanes are weight rows without a transposition and memory is read in one stream. The columns
 * are worked on in parts, as in mul_f32; if more than one tile of rows passes, a part is turned
 * into floats once for all of them. */
#include "kernels/levels.h"
#include "kernels/x86/tile_float.inc.h"

enum {
    PART_COLUMNS = 256,   /* 16 KB as floats */
    BLOCK_ROWS = 96,      /* activation rows whose sums are held, 6 KB */
    PREFETCH_BYTES = 4096 /* ahead in the panels' stream, when a panel is read for the first time */
};

static size_t LEVEL(panel_bytes_plain)(sl_type type, uint32_t n_in) {
    return (n_in * SL_PANEL_ROWS * plain_size(type) + 63) & ~(size_t)63;
}

INLINE void plain_pack(size_t size, const uint8_t *rows, size_t row_bytes, uint32_t n_rows,
                       uint32_t n_in, uint8_t *panel) {
    for (uint32_t k = 0; k < n_in; k++) {
        for (uint32_t i = 0; i < n_rows; i++) {
            memcpy(panel + ((size_t)k * SL_PANEL_ROWS + i) * size, rows + i * row_bytes + k * size,
                   size);
        }
    }
}

static void LEVEL(pack_plain)(sl_type type, const uint8_t *rows, size_t row_bytes, uint32_t n_rows,
                              uint32_t n_in, uint8_t *panel) {
    if (n_rows < SL_PANEL_ROWS) {
        memset(panel, 0, LEVEL(panel_bytes_plain)(type, n_in));
    }
    if (type == SL_TYPE_F32) {
        plain_pack(sizeof(float), rows, row_bytes, n_rows, n_in, panel);
    } else {
        plain_pack(sizeof(uint16_t), rows, row_bytes, n_rows, n_in, panel);
    }
}

/* The rows of a block times one panel: sums [n_rows][16]. */
INLINE void panel_mul_plain(sl_type type, const uint8_t *panel, uint32_t n_in, const float *x,
                            size_t x_stride, uint32_t n_rows, float *sums, float *floats) {
    const size_t line_bytes = SL_PANEL_ROWS * plain_size(type);
    memset(sums, 0, (size_t)n_rows * SL_PANEL_ROWS * sizeof(float));
    for (uint32_t k = 0; k < n_in; k += PART_COLUMNS) {
        const uint32_t n = n_in - k < PART_COLUMNS ? n_in - k : PART_COLUMNS;
        const uint8_t *lines = panel + k * line_bytes;
        if (n_rows <= TILE_ROWS) {
            rows_mul_float(type, PREFETCH_BYTES, lines, n, x + k, x_stride, n_rows, sums);
            continue;
        }
        for (uint32_t i = 0; i < n * SL_PANEL_ROWS; i += VL) {
            _mm_prefetch((const char *)lines + i * plain_size(type) + PREFETCH_BYTES, _MM_HINT_T0);
            vf_store(floats + i, plain_lanes(type, lines + i * plain_size(type)));
        }
        rows_mul_float(SL_TYPE_F32, 0, (const uint8_t *)floats, n, x + k, x_stride, n_rows, sums);
    }
}

static void LEVEL(mul_plain)(sl_type type, const uint8_t *panels, uint32_t n_in,
                             uint32_t panel_begin, uint32_t panel_end, const float *x,
                             size_t x_stride, uint32_t row_begin, uint32_t row_end, float *out,
                             size_t out_stride, bool add) {
    _Alignas(64) float sums[BLOCK_ROWS * SL_PANEL_ROWS];
    _Alignas(64) float floats[PART_COLUMNS * SL_PANEL_ROWS];
    uint32_t n;
    for (uint32_t row = row_begin; row < row_end; row += n) {
        n = row_end - row < BLOCK_ROWS ? row_end - row : BLOCK_ROWS;
        const float *rows = x + row * x_stride;
        for (uint32_t p = panel_begin; p < panel_end; p++) {
            const uint8_t *panel = panels + p * LEVEL(panel_bytes_plain)(type, n_in);
            if (type == SL_TYPE_F32) {
                panel_mul_plain(SL_TYPE_F32, panel, n_in, rows, x_stride, n, sums, floats);
            } else if (type == SL_TYPE_F16) {
                panel_mul_plain(SL_TYPE_F16, panel, n_in, rows, x_stride, n, sums, floats);
            } else {
                panel_mul_plain(SL_TYPE_BF16, panel, n_in, rows, x_stride, n, sums, floats);
            }
            for (uint32_t i = 0; i < n * SL_PANEL_ROWS; i += VL) {
                float *o = out + (row + i / SL_PANEL_ROWS) * out_stride +
                           (size_t)p * SL_PANEL_ROWS + i % SL_PANEL_ROWS;
                vf_store(o, add ? vf_add(vf_load(o), vf_load(sums + i)) : vf_load(sums + i));
            }
        }
    }
}

void LEVEL(sl_product_plain_fill)(sl_kernels *k) {
    k->plain = (sl_product_plain){LEVEL(panel_bytes_plain), LEVEL(pack_plain), LEVEL(mul_plain)};
}
