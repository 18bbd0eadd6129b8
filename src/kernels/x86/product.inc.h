/* Template of the int8 products. Included by product_<isa>.c after its vector words (vec_*.h) and
 *   LEVEL(name)    name with the level's suffix
 *   PRODUCT_VNNI   1: dpbusd; 0: maddubs with 16-bit sums
 *   TILE_ROWS      largest number of activation rows in a register tile
 *   TILE_CASES(X)  X(1) X(2) ... X(TILE_ROWS)
 *
 * A tile is VL weight rows (lanes) x R activation rows. Each step of 4 columns unpacks its weights
 * once and multiplies them with the 4 activations of each row, broadcast from memory. The formats
 * differ in how a step is unpacked and in the scales; `type` and `R` are constants after inlining,
 * so each tile is straight code. Layout: panel.h. Canonical form: kernels.h. */

#include "kernels/x86/unpack.inc.h"

#if VEC_INSTRUMENTED
#undef TILE_ROWS
#undef TILE_CASES
#define TILE_ROWS 3
#define TILE_CASES(X) X(1) X(2) X(3)
#endif

/* ahead in the panels' stream, when a panel is read once: with one row, with more */
#define PREFETCH_BYTES_ONE 4096
#define PREFETCH_BYTES 6144

/* Without VNNI, codes of eight bits are taken as signed weights: their pair sums would not fit. */
INLINE bool signed_weights(panel_form form) {
    return !PRODUCT_VNNI && (form.codes == CODES_BYTES || form.codes == CODES_LEVELS);
}

/* Without VNNI: steps whose pair sums fit 16 bits: 8 x 2 x 15 x 127, 4 x 2 x 31 x 127, 2 x 2 x 63 x
 * 127, 2 x 128 x 127; at most the steps that a call has. Levels go up to 12 in the FP4 formats, the
 * only ones with their scales, and up to 43 in those with SCALES_K16. */
INLINE uint32_t flush_steps(panel_form form) {
    switch (form.codes) {
    case CODES_BYTES:
        return 1;
    case CODES_LEVELS:
        return form.scales == SCALES_EXPONENT  ? 8
               : form.scales == SCALES_HALF_16 ? 4
               : form.scales == SCALES_K16     ? 2
                                               : 1;
    case CODES_SIX:
        return 2;
    case CODES_FIVE:
        return 4;
    default:
        return has_halves(form) ? 4 : 8;
    }
}

/* dot[r] += the products of steps [begin, end) with the rows at q. */
INLINE void tile_dot(panel_form form, vi levels, uint32_t R, const uint8_t *group, uint32_t begin,
                     uint32_t end, const int8_t *q, size_t q_stride, vi *dot) {
#if PRODUCT_VNNI
    UNROLL(8)
    for (uint32_t v = begin; v < end; v++) {
        const vi w = unpack_step(form, levels, group, v);
        UNROLL(16)
        for (uint32_t r = 0; r < R; r++) {
            int32_t four;
            memcpy(&four, q + r * q_stride + 4 * (size_t)v, 4);
            dot[r] = vi_dpbusd(dot[r], w, vi_set1(four));
        }
    }
#else
    const uint32_t flush = flush_steps(form);
    const vi ones = vi_set1_16(1);
    UNROLL(8)
    for (uint32_t v = begin; v < end; v += flush) {
        vi part[TILE_ROWS];
        UNROLL(8)
        for (uint32_t u = v; u < v + flush; u++) {
            vi w = unpack_step(form, levels, group, u);
            const vi sign = vi_xor(w, vi_set1_8(-128)); /* the weight itself, if it is signed */
            if (signed_weights(form)) {
                w = vi_abs8(sign);
            }
            UNROLL(16)
            for (uint32_t r = 0; r < R; r++) {
                int32_t four;
                memcpy(&four, q + r * q_stride + 4 * (size_t)u, 4);
                const vi x = signed_weights(form) ? vi_sign8(vi_set1(four), sign) : vi_set1(four);
                const vi pairs = vi_maddubs(w, x);
                part[r] = u == v ? pairs : vi_add16(part[r], pairs);
                if (R > 1) {
                    part[r] = vi_settled(part[r]);
                }
            }
        }
        UNROLL(16)
        for (uint32_t r = 0; r < R; r++) {
            dot[r] = vi_add(dot[r], vi_madd(part[r], ones));
            if (R > 1 && !has_halves(form)) {
                dot[r] = vi_settled(dot[r]);
            }
        }
    }
#endif
}

/* Minus the sum of q over the halves of a group that a dot covers. */
INLINE vi minus_sum(const int32_t *sums, bool first, bool second) {
    if (first) {
        return vi_set1(sums[second ? 0 : 1]);
    }
    return vi_sub(vi_set1(sums[0]), vi_set1(sums[1]));
}

/* A dot starts with what the offset of its codes, a power of two, adds too much. A shift: of
 * multipliers a tile has too few. */
INLINE vi dot_start(panel_form form, const int32_t *sums, bool first, bool second) {
    if (form.offset == 0 || signed_weights(form)) {
        return vi_zero();
    }
    return vi_shl(minus_sum(sums, first, second), (unsigned)__builtin_ctz((unsigned)form.offset));
}

/* The rows of activations of a tile, at a group. */
typedef struct tile_rows {
    const int8_t *q;
    const int32_t *minus_sum;
    const float *d, *s;
    size_t q_stride, g_stride; /* of minus_sum: 2 * g_stride */
} tile_rows;

/* Half h of the group alone, as floats. */
INLINE void tile_half(panel_form form, vi levels, uint32_t R, tile_place at, tile_rows rows,
                      uint32_t h, vf *value) {
    vi dot[TILE_ROWS];
    UNROLL(16)
    for (uint32_t r = 0; r < R; r++) {
        dot[r] = dot_start(form, rows.minus_sum + r * 2 * rows.g_stride, h == 0, h == 1);
    }
    tile_dot(form, levels, R, at.group, 4 * h, 4 * h + 4, rows.q, rows.q_stride, dot);
    UNROLL(16)
    for (uint32_t r = 0; r < R; r++) {
        value[r] = vf_of_int(dot[r]);
    }
}

/* The exact integer sums of one group, as floats, for each row of the tile. */
INLINE void tile_group(panel_form form, vi levels, uint32_t R, tile_place at, tile_rows rows,
                       vf *value) {
    if (has_halves(form)) {
        /* each half times its small scale; all sums below 2^24 */
        const uint8_t *bytes = at.unit + 64 + 32 * (size_t)at.g + at.lane;
        const bool nibbles = form.scales == SCALES_K16_MIN;
        const vi low = vi_set1(15);
        const vf scale_0 = vf_of_int(nibbles ? vi_and(vi_load_u8(bytes), low) : vi_load_i8(bytes));
        const vf scale_1 = vf_of_int(nibbles ? vi_and(vi_load_u8(bytes + 16), low)
                                             : vi_load_i8(bytes + 16));
        vf half[TILE_ROWS];
        tile_half(form, levels, R, at, rows, 0, half);
        UNROLL(16)
        for (uint32_t r = 0; r < R; r++) {
            value[r] = vf_mul(half[r], scale_0);
        }
        tile_half(form, levels, R, at, rows, 1, half);
        UNROLL(16)
        for (uint32_t r = 0; r < R; r++) {
            value[r] = vf_fma(half[r], scale_1, value[r]);
        }
        return;
    }
    vi dot[TILE_ROWS];
    UNROLL(16)
    for (uint32_t r = 0; r < R; r++) {
        dot[r] = dot_start(form, rows.minus_sum + r * 2 * rows.g_stride, true, true);
    }
    tile_dot(form, levels, R, at.group, 0, 8, rows.q, rows.q_stride, dot);
    UNROLL(16)
    for (uint32_t r = 0; r < R; r++) {
        value[r] = vf_of_int(dot[r]);
    }
}

/* SCALES_HALF_16: the halves as if each were a group. */
INLINE void tile_add_halves(panel_form form, vi levels, uint32_t R, tile_place at, tile_rows rows,
                            vf *acc) {
    vf scale[2], value[TILE_ROWS];
    tile_scales(form, at, &scale[0], &scale[1]);
    UNROLL(2)
    for (uint32_t h = 0; h < 2; h++) {
        tile_half(form, levels, R, at, rows, h, value);
        UNROLL(16)
        for (uint32_t r = 0; r < R; r++) {
            acc[r] = vf_fma(vf_mul(scale[h], vf_set1(rows.d[r * rows.g_stride])), value[r], acc[r]);
        }
    }
}

/* 16-bit pairs of the low halves of two integers. */
INLINE vi pairs_of(vi first, vi second) {
    return vi_and_or(first, vi_set1(0xffff), vi_shl(second, 16));
}

/* SCALES_K16_MIN: of the minimums m0 and m1 of the halves, (m0 - m1, m1), to be multiplied with the
 * sums of the first half and of the group. */
INLINE vi tile_minimums(tile_place at) {
    const uint8_t *bytes = at.unit + 64 + 32 * (size_t)at.g + at.lane;
    const vi first = vi_shr(vi_load_u8(bytes), 4), second = vi_shr(vi_load_u8(bytes + 16), 4);
    return pairs_of(vi_sub(first, second), second);
}

INLINE void tile_add_group(panel_form form, vi levels, uint32_t R, tile_place at, tile_rows rows,
                           vf *acc) {
    vf scale, minimum, value[TILE_ROWS];
    tile_scales(form, at, &scale, &minimum);
    tile_group(form, levels, R, at, rows, value);
    const vi minimums = form.scales == SCALES_K16_MIN ? tile_minimums(at) : vi_zero();
    UNROLL(16)
    for (uint32_t r = 0; r < R; r++) {
        const vf d = vf_set1(rows.d[r * rows.g_stride]);
        acc[r] = vf_fma(vf_mul(scale, d), value[r], acc[r]);
        if (form.scales == SCALES_K16_MIN) {
            const int32_t *sums = rows.minus_sum + r * 2 * rows.g_stride;
            const vi both = pairs_of(vi_set1(sums[1]), vi_set1(sums[0]));
            acc[r] = vf_fma(vf_mul(minimum, d), vf_of_int(vi_madd(minimums, both)), acc[r]);
        } else if (has_minimum(form)) {
            acc[r] = vf_fma(minimum, vf_set1(rows.s[r * rows.g_stride]), acc[r]);
        }
    }
}

/* What a tile fetches on its way: `lines` cache lines from `at` on with each group. While memory is
 * the limit, into the second-level cache, which can wait for more lines at a time. */
typedef struct tile_fetch {
    const uint8_t *at;
    uint32_t lines;
    bool second_level;
} tile_fetch;

/* Bytes of a group, with its share of the header. */
INLINE uint32_t group_share(panel_shape shape) {
    return (uint32_t)panel_unit_bytes(shape) / shape.unit_groups;
}

/* For n_passes of tiles through a panel. Of more than one, each fetches its part of the next panel,
 * so that the memory is busy all the time. */
INLINE tile_fetch tile_fetch_of(panel_shape shape, const uint8_t *panel, size_t panel_stride,
                                uint32_t n_passes) {
    const uint32_t n = (group_share(shape) + 63) / 64, lines = (n + n_passes - 1) / n_passes;
    return (tile_fetch){.at = panel + (n_passes == 1 ? PREFETCH_BYTES : panel_stride),
                        .lines = lines,
                        .second_level = n_passes == 1 || lines > 4};
}

/* With group g of a unit. A tile of one row is hardly ever one of many, and too short to count. */
INLINE void tile_prefetch(uint32_t R, panel_shape shape, tile_fetch *fetch, const uint8_t *unit,
                          uint32_t g) {
    if (R == 1) {
        const uint8_t *from = unit + g * group_share(shape) + PREFETCH_BYTES_ONE;
        for (uint32_t at = 0; at < group_share(shape); at += 64) {
            if (shape.group_bytes >= 512) { /* more lines than the first level waits for */
                _mm_prefetch((const char *)from + at, _MM_HINT_T1);
            } else {
                _mm_prefetch((const char *)from + at, _MM_HINT_T0);
            }
        }
        return;
    }
    for (uint32_t line = 0; line < fetch->lines; line++, fetch->at += 64) {
        if (fetch->second_level) {
            _mm_prefetch((const char *)fetch->at, _MM_HINT_T1);
        } else {
            _mm_prefetch((const char *)fetch->at, _MM_HINT_T0);
        }
    }
}

/* Rows [row, row + R) of act times VL weight rows, from row `lane` of the panel; o is the place of
 * the first. */
INLINE void tile_mul(sl_type type, uint32_t R, tile_fetch fetch, const uint8_t *panel,
                     uint32_t n_groups, uint32_t lane, const sl_act8 *act, uint32_t row, float *o,
                     size_t out_stride, bool add) {
    const panel_form form = panel_form_of(type);
    const panel_shape shape = panel_shape_of(form);
    const vi levels = tile_levels(type, form, panel);
    const tile_rows first = {.q = act->q + row * act->q_stride,
                             .minus_sum = act->minus_sum + 2 * (size_t)row * act->g_stride,
                             .d = act->d + row * act->g_stride,
                             .s = act->s + row * act->g_stride,
                             .q_stride = act->q_stride,
                             .g_stride = act->g_stride};
    vf acc[TILE_ROWS];
    UNROLL(16)
    for (uint32_t r = 0; r < R; r++) {
        acc[r] = vf_zero();
        _mm_prefetch((const char *)(o + r * out_stride), _MM_HINT_T0);
    }
    /* One flat loop: with a loop over the groups of a unit inside, compilers set up all row
     * pointers anew. */
    const uint8_t *unit = panel;
    uint32_t in_unit = 0;
    for (uint32_t g = 0; g < n_groups; g++) {
        const uint8_t *group = unit + shape.header_bytes + (size_t)in_unit * shape.group_bytes;
        tile_prefetch(R, shape, &fetch, unit, in_unit);
        const tile_place place = {unit, group + 4 * (size_t)lane, in_unit, lane};
        tile_rows rows = first;
        rows.q += (size_t)g * 32;
        rows.minus_sum += 2 * (size_t)g;
        rows.d += g;
        rows.s += g;
        if (form.scales == SCALES_HALF_16) {
            tile_add_halves(form, levels, R, place, rows, acc);
        } else {
            tile_add_group(form, levels, R, place, rows, acc);
        }
        if (++in_unit == shape.unit_groups) {
            in_unit = 0;
            unit += panel_unit_bytes(shape);
        }
    }
    UNROLL(16)
    for (uint32_t r = 0; r < R; r++) {
        float *p = o + r * out_stride;
        vf_store(p, add ? vf_add(vf_load(p), acc[r]) : acc[r]);
    }
}

/* Activations of this many bytes stay in the second-level cache while all panels pass. */
#define ROW_BLOCK_BYTES (256u << 10)

/* Tiles of nearly equal height that cover n rows: the height of the next one. */
INLINE uint32_t tile_height(uint32_t n, uint32_t max) {
    const uint32_t tiles = (n + max - 1) / max;
    return (n + tiles - 1) / tiles;
}

#if PRODUCT_MANY
#include "kernels/x86/product_many.inc.h"
#endif

#define TILE_CASE(R)                                                                               \
    case R:                                                                                        \
        if (R <= max_rows) {                                                                       \
            tile_mul(type, R, fetch, panel, n_groups, lane, act, row, o, out_stride, add);         \
        }                                                                                          \
        break;

INLINE void product_mul(sl_type type, const uint8_t *panels, uint32_t n_in, uint32_t panel_begin,
                        uint32_t panel_end, const sl_act8 *act, uint32_t row_begin,
                        uint32_t row_end, float *out, size_t out_stride, bool add) {
    const panel_form form = panel_form_of(type);
    const panel_shape shape = panel_shape_of(form);
    const bool halves = form.scales == SCALES_K16 || form.scales == SCALES_K16_MIN;
    const uint32_t max_rows = halves ? TILE_ROWS * 2 / 3 : TILE_ROWS; /* they need registers */
    const size_t panel_stride = panel_size(shape, n_in);
    const uint32_t n_groups = n_in / 32;
    const uint32_t tiles_in_block = ROW_BLOCK_BYTES / (max_rows * n_in) + 1;
    for (uint32_t block = row_begin; block < row_end;) {
        const uint32_t left = row_end - block;
        const uint32_t rows = left < tiles_in_block * max_rows ? left : tiles_in_block * max_rows;
        const uint32_t n_passes = (rows + max_rows - 1) / max_rows * (SL_PANEL_ROWS / VL);
        uint32_t p = panel_begin;
#if PRODUCT_MANY
        for (; many_takes(form) && rows >= SL_PAIR_ROWS && p + 1 < panel_end; p += 2) {
            for (uint32_t row = block; row < block + rows; row += MANY_BLOCK_ROWS) {
                many_block(type, panels + p * panel_stride, panel_stride, n_groups, act, row,
                           block + rows - row < MANY_BLOCK_ROWS ? block + rows
                                                                : row + MANY_BLOCK_ROWS,
                           out + (size_t)p * SL_PANEL_ROWS, out_stride, add);
            }
        }
#endif
        for (; p < panel_end; p++) {
            const uint8_t *panel = panels + p * panel_stride;
            tile_fetch fetch = tile_fetch_of(shape, panel, panel_stride, n_passes);
            uint32_t height;
            for (uint32_t row = block; row < block + rows; row += height) {
                height = tile_height(block + rows - row, max_rows);
                for (uint32_t lane = 0; lane < SL_PANEL_ROWS; lane += VL) {
                    float *o = out + row * out_stride + (size_t)p * SL_PANEL_ROWS + lane;
                    switch (height) {
                        TILE_CASES(TILE_CASE)
                    default:
                        break;
                    }
                    fetch.at += (size_t)n_groups * fetch.lines * 64;
                }
            }
        }
        block += rows;
    }
}

#define PRODUCT(name, type)                                                                        \
    static void LEVEL(mul_##name)(const uint8_t *panels, uint32_t n_in, uint32_t panel_begin,      \
                                  uint32_t panel_end, const sl_act8 *act, uint32_t row_begin,      \
                                  uint32_t row_end, float *out, size_t out_stride, bool add) {     \
        product_mul(type, panels, n_in, panel_begin, panel_end, act, row_begin, row_end, out,      \
                    out_stride, add);                                                              \
    }
PRODUCT(q4_0, SL_TYPE_Q4_0)
PRODUCT(q4_1, SL_TYPE_Q4_1)
PRODUCT(q5_0, SL_TYPE_Q5_0)
PRODUCT(q5_1, SL_TYPE_Q5_1)
PRODUCT(q8_0, SL_TYPE_Q8_0)
PRODUCT(q2_k, SL_TYPE_Q2_K)
PRODUCT(q3_k, SL_TYPE_Q3_K)
PRODUCT(q4_k, SL_TYPE_Q4_K)
PRODUCT(q5_k, SL_TYPE_Q5_K)
PRODUCT(q6_k, SL_TYPE_Q6_K)
PRODUCT(iq4_nl, SL_TYPE_IQ4_NL)
PRODUCT(iq4_xs, SL_TYPE_IQ4_XS)
PRODUCT(iq2_xs, SL_TYPE_IQ2_XS)
PRODUCT(mxfp4, SL_TYPE_MXFP4)
PRODUCT(nvfp4, SL_TYPE_NVFP4)
PRODUCT(tq2_0, SL_TYPE_TQ2_0)

/* Types whose panels have the same form share a kernel. */
void LEVEL(sl_product_fill)(sl_kernels *k) {
    sl_panel_fill(k);
    k->product[SL_TYPE_Q4_0].mul = LEVEL(mul_q4_0);
    k->product[SL_TYPE_Q4_1].mul = LEVEL(mul_q4_1);
    k->product[SL_TYPE_Q5_0].mul = LEVEL(mul_q5_0);
    k->product[SL_TYPE_Q5_1].mul = LEVEL(mul_q5_1);
    k->product[SL_TYPE_Q8_0].mul = LEVEL(mul_q8_0);
    k->product[SL_TYPE_Q8_1].mul = LEVEL(mul_q8_0);
    k->product[SL_TYPE_Q2_K].mul = LEVEL(mul_q2_k);
    k->product[SL_TYPE_Q3_K].mul = LEVEL(mul_q3_k);
    k->product[SL_TYPE_Q4_K].mul = LEVEL(mul_q4_k);
    k->product[SL_TYPE_Q5_K].mul = LEVEL(mul_q5_k);
    k->product[SL_TYPE_Q6_K].mul = LEVEL(mul_q6_k);
    k->product[SL_TYPE_IQ4_NL].mul = LEVEL(mul_iq4_nl);
    k->product[SL_TYPE_IQ4_XS].mul = LEVEL(mul_iq4_xs);
    k->product[SL_TYPE_IQ3_XXS].mul = LEVEL(mul_iq4_xs);
    k->product[SL_TYPE_IQ3_S].mul = LEVEL(mul_iq4_xs);
    k->product[SL_TYPE_IQ2_XXS].mul = LEVEL(mul_iq4_xs);
    k->product[SL_TYPE_IQ1_S].mul = LEVEL(mul_iq4_xs);
    k->product[SL_TYPE_IQ2_XS].mul = LEVEL(mul_iq2_xs);
    k->product[SL_TYPE_IQ2_S].mul = LEVEL(mul_iq2_xs);
    k->product[SL_TYPE_IQ1_M].mul = LEVEL(mul_iq2_xs);
    k->product[SL_TYPE_MXFP4].mul = LEVEL(mul_mxfp4);
    k->product[SL_TYPE_NVFP4].mul = LEVEL(mul_nvfp4);
    k->product[SL_TYPE_TQ2_0].mul = LEVEL(mul_tq2_0);
    k->product[SL_TYPE_TQ1_0].mul = LEVEL(mul_tq2_0);
    k->product[SL_TYPE_Q1_0].mul = LEVEL(mul_tq2_0);
    k->product[SL_TYPE_Q2_0].mul = LEVEL(mul_tq2_0);
}
