/* The register tile of the float products: rows of x times the lines of a panel [n][16], each
 * output one chain of fused multiply-adds. Included by product_plain.inc.h and mul_f32.inc.h, with
 * what they are given (vec_*.h, TILE_ROWS, TILE_CASES).
 *
 * A panel has F32, F16 or BF16 elements; sums wait in memory, unrounded, for the next part of the
 * columns. */

#if VEC_INSTRUMENTED
#undef TILE_ROWS
#undef TILE_CASES
#define TILE_ROWS 3
#define TILE_CASES(X) X(1) X(2) X(3)
#endif

enum { PANEL_PARTS = SL_PANEL_ROWS / VL };

INLINE size_t plain_size(sl_type type) {
    return type == SL_TYPE_F32 ? sizeof(float) : sizeof(uint16_t);
}

/* VL elements at p. */
INLINE vf plain_lanes(sl_type type, const uint8_t *p) {
    const void *elems = p;
    return type == SL_TYPE_F32   ? vf_load(elems)
           : type == SL_TYPE_F16 ? vf_load_half(elems)
                                 : vf_load_bfloat(elems);
}

/* sums [R][16] += R rows of x times the n lines of a panel. What lies `ahead` bytes of the line in
 * use is fetched; 0: the panel is in the cache. */
INLINE void tile_mul_float(sl_type type, uint32_t R, size_t ahead, const uint8_t *panel, uint32_t n,
                           const float *x, size_t x_stride, float *sums) {
    vf acc[TILE_ROWS][PANEL_PARTS];
    UNROLL(16)
    for (uint32_t r = 0; r < R; r++) {
        UNROLL(2)
        for (uint32_t part = 0; part < PANEL_PARTS; part++) {
            acc[r][part] = vf_load(sums + (size_t)r * SL_PANEL_ROWS + part * VL);
        }
    }
    for (uint32_t k = 0; k < n; k++) {
        const uint8_t *line = panel + k * SL_PANEL_ROWS * plain_size(type);
        if (ahead != 0) {
            _mm_prefetch((const char *)line + ahead, _MM_HINT_T0);
        }
        vf w[PANEL_PARTS];
        UNROLL(2)
        for (uint32_t part = 0; part < PANEL_PARTS; part++) {
            w[part] = plain_lanes(type, line + part * VL * plain_size(type));
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
            vf_store(sums + (size_t)r * SL_PANEL_ROWS + part * VL, acc[r][part]);
        }
    }
}

#define TILE_CASE(R)                                                                               \
    case R:                                                                                        \
        tile_mul_float(type, R, ahead, lines, n, x + row * x_stride, x_stride,                     \
                       sums + (size_t)row * SL_PANEL_ROWS);                                        \
        break;

/* sums [n_rows][16] += n_rows rows of x times the n lines of a part, in tiles. */
INLINE void rows_mul_float(sl_type type, size_t ahead, const uint8_t *lines, uint32_t n,
                           const float *x, size_t x_stride, uint32_t n_rows, float *sums) {
    uint32_t height;
    for (uint32_t row = 0; row < n_rows; row += height) {
        const uint32_t left = n_rows - row;
        const uint32_t tiles = (left + TILE_ROWS - 1) / TILE_ROWS;
        height = (left + tiles - 1) / tiles;
        switch (height) {
            TILE_CASES(TILE_CASE)
        default:
            break;
        }
    }
}
