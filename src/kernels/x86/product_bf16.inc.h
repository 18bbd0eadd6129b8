/* Template of the bf16 product on dpbf16, 512 bits. Included by product_bf16_<isa>.c after
 * vec_avx512.h and
 *   LEVEL(name)    name with the level's suffix
 *   TILE_ROWS      largest number of activation rows in a register tile
 *   TILE_CASES(X)  X(1) X(2) ... X(TILE_ROWS)
 *
 * Twin: ref/product_bf16_ref.c, bit for bit: the order of the two multiply-adds, the rounding and
 * the flushing of subnormals are the instruction's (Intel SDM vol. 2, VDPBF16PS).
 *
 * Panel: 64 bytes for each pair of columns; word i holds row i's columns 2 j and 2 j + 1, as the
 * file has them. Lanes are the 16 weight rows; a pair of activations is broadcast to all. The
 * columns are worked on in parts, so that a part of the panel stays in the first-level cache while
 * the tiles of a block of rows pass; the sums wait in memory for the next part, unrounded. */
#include "kernels/levels.h"

#if VEC_INSTRUMENTED
#undef TILE_ROWS
#undef TILE_CASES
#define TILE_ROWS 3
#define TILE_CASES(X) X(1) X(2) X(3)
#endif

enum {
    PAIR_BYTES = 64,      /* of a panel */
    PART_PAIRS = 256,     /* 16 KB of a panel */
    BLOCK_ROWS = 96,      /* activation rows whose sums are held, 6 KB */
    PREFETCH_BYTES = 4096 /* ahead in the panels' stream, when a panel is read for the first time */
};

static uint32_t pairs_of(uint32_t n_in) {
    return n_in / 2 + n_in % 2;
}

static size_t LEVEL(panel_bytes_bf16)(uint32_t n_in) {
    return (size_t)pairs_of(n_in) * PAIR_BYTES;
}

/* 16 pairs of columns from k on of one row; those from n_in on are zeros. */
INLINE vf pairs_load(const uint8_t *row, uint32_t k, uint32_t n_in) {
    const uint32_t n = n_in - k < 2 * VL ? n_in - k : 2 * VL;
    const __mmask32 mask = (__mmask32)(((uint64_t)1 << n) - 1);
    return _mm512_castsi512_ps(_mm512_maskz_loadu_epi16(mask, row + k * sizeof(uint16_t)));
}

static void LEVEL(pack_bf16)(const uint8_t *rows, size_t row_bytes, uint32_t n_rows, uint32_t n_in,
                             uint8_t *panel) {
    const uint32_t n_pairs = pairs_of(n_in);
    for (uint32_t j = 0; j < n_pairs; j += VL) {
        vf lines[VL];
        UNROLL(16)
        for (uint32_t i = 0; i < VL; i++) {
            lines[i] = i < n_rows ? pairs_load(rows + i * row_bytes, 2 * j, n_in) : vf_zero();
        }
        vf_transpose(lines);
        UNROLL(16)
        for (uint32_t i = 0; i < VL; i++) {
            if (j + i < n_pairs) {
                vf_store((float *)(void *)(panel + (size_t)(j + i) * PAIR_BYTES), lines[i]);
            }
        }
    }
}

static void LEVEL(round_row_bf16)(const float *x, uint32_t n, uint16_t *out) {
    const uint32_t end = (n + SL_BF16_GROUP - 1) / SL_BF16_GROUP * SL_BF16_GROUP;
    for (uint32_t i = 0; i < end; i += VL) {
        const uint32_t left = i >= n ? 0 : n - i < VL ? n - i : VL;
        const __m256bh half = _mm512_cvtneps_pbh(vf_load_part(x + i, left));
        _mm256_storeu_si256((__m256i *)(void *)(out + i), (__m256i)half);
    }
}

/* sums [R][16] += R rows of n pairs times as many of a panel. */
INLINE void tile_mul_bf16(uint32_t R, size_t ahead, const uint8_t *panel, uint32_t n,
                          const uint16_t *x, size_t x_stride, float *sums) {
    vf acc[TILE_ROWS];
    UNROLL(16)
    for (uint32_t r = 0; r < R; r++) {
        acc[r] = vf_load(sums + (size_t)r * SL_PANEL_ROWS);
    }
    for (uint32_t j = 0; j < n; j++) {
        _mm_prefetch((const char *)panel + (size_t)j * PAIR_BYTES + ahead, _MM_HINT_T0);
        const __m512bh w = (__m512bh)vi_load(panel + (size_t)j * PAIR_BYTES);
        UNROLL(16)
        for (uint32_t r = 0; r < R; r++) {
            int32_t pair;
            memcpy(&pair, x + r * x_stride + 2 * (size_t)j, sizeof(pair));
            acc[r] = _mm512_dpbf16_ps(acc[r], w, (__m512bh)vi_set1(pair));
        }
    }
    UNROLL(16)
    for (uint32_t r = 0; r < R; r++) {
        vf_store(sums + (size_t)r * SL_PANEL_ROWS, acc[r]);
    }
}

#define TILE_CASE(R)                                                                               \
    case R:                                                                                        \
        tile_mul_bf16(R, row == 0 ? PREFETCH_BYTES : 0, panel + (size_t)j * PAIR_BYTES, n,         \
                      x + row * x_stride + 2 * (size_t)j, x_stride,                                \
                      sums + (size_t)row * SL_PANEL_ROWS);                                         \
        break;

/* n_rows (up to BLOCK_ROWS) rows times a panel, into sums [n_rows][16]. */
static void rows_mul_bf16(const uint8_t *panel, uint32_t n_pairs, const uint16_t *x,
                          size_t x_stride, uint32_t n_rows, float *sums) {
    memset(sums, 0, (size_t)n_rows * SL_PANEL_ROWS * sizeof(float));
    for (uint32_t j = 0; j < n_pairs; j += PART_PAIRS) {
        const uint32_t n = n_pairs - j < PART_PAIRS ? n_pairs - j : PART_PAIRS;
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
}

static void LEVEL(mul_bf16)(const uint8_t *panels, uint32_t n_in, uint32_t panel_begin,
                            uint32_t panel_end, const uint16_t *x, size_t x_stride,
                            uint32_t row_begin, uint32_t row_end, float *out, size_t out_stride,
                            bool add) {
    _Alignas(64) float sums[BLOCK_ROWS * SL_PANEL_ROWS];
    uint32_t n;
    for (uint32_t row = row_begin; row < row_end; row += n) {
        n = row_end - row < BLOCK_ROWS ? row_end - row : BLOCK_ROWS;
        for (uint32_t p = panel_begin; p < panel_end; p++) {
            rows_mul_bf16(panels + p * LEVEL(panel_bytes_bf16)(n_in), pairs_of(n_in),
                          x + row * x_stride, x_stride, n, sums);
            for (uint32_t r = 0; r < n; r++) {
                float *o = out + (row + r) * out_stride + (size_t)p * SL_PANEL_ROWS;
                const vf sum = vf_load(sums + (size_t)r * SL_PANEL_ROWS);
                vf_store(o, add ? vf_add(vf_load(o), sum) : sum);
            }
        }
    }
}

/* As in peak.inc.h. */
static double LEVEL(peak_bf16)(uint32_t n_rounds) {
    enum { CHAINS = 12 };
    vf sum[CHAINS];
    __m512i x = _mm512_set1_epi16(0x3F00), y = _mm512_set1_epi16(0x3E80);
    UNROLL(16)
    for (uint32_t c = 0; c < CHAINS; c++) {
        sum[c] = vf_zero();
    }
    for (uint32_t round = 0; round < n_rounds; round++) {
        UNROLL(16)
        for (uint32_t c = 0; c < CHAINS; c++) {
            __asm__ volatile("" : "+v"(x));
            sum[c] = _mm512_dpbf16_ps(sum[c], (__m512bh)x, (__m512bh)y);
        }
    }
    UNROLL(16)
    for (uint32_t c = 0; c < CHAINS; c++) {
        __asm__ volatile("" : "+v"(sum[c]));
    }
    return 2.0 * 2 * VL * CHAINS * n_rounds;
}

void LEVEL(sl_product_bf16_fill)(sl_kernels *k) {
    k->peak_bf16 = LEVEL(peak_bf16);
    k->bf16 = (sl_product_bf16){LEVEL(panel_bytes_bf16), LEVEL(pack_bf16), LEVEL(round_row_bf16),
                                LEVEL(mul_bf16)};
}
