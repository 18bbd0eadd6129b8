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

#include "kernels/x86/panel.h"

#if VEC_INSTRUMENTED
#undef TILE_ROWS
#undef TILE_CASES
#define TILE_ROWS 3
#define TILE_CASES(X) X(1) X(2) X(3)
#endif

/* ahead in the panels' stream, when a panel is read for the first time */
#define PREFETCH_BYTES 4096

/* Step v (0..7) of a group as unsigned bytes; `lane_bytes` is where the tile's lanes begin in a
 * quad. */
INLINE vi unpack_step(sl_type type, const uint8_t *group, uint32_t lane_bytes, uint32_t v) {
    const vi low_mask = vi_set1_8(15);
    const uint8_t *nibbles = group + lane_bytes;
    if (type == SL_TYPE_Q8_0) {
        return vi_load(nibbles + (size_t)v * PANEL_QUAD);
    }
    nibbles += type == SL_TYPE_Q5_0 ? PANEL_QUAD : type == SL_TYPE_Q6_K ? 2 * PANEL_QUAD : 0;
    vi code = vi_load(nibbles + (size_t)(v % 4) * PANEL_QUAD);
    code = vi_and(v < 4 ? code : vi_shr(code, 4), low_mask);
    if (type == SL_TYPE_Q5_0) { /* bit v of each byte to bit 4 */
        const vi high = vi_load(group + lane_bytes);
        code = vi_and_or(v < 4 ? vi_shl(high, 4 - v) : vi_shr(high, v - 4), vi_set1_8(16), code);
    } else if (type == SL_TYPE_Q6_K) { /* bits 2 t, 2 t + 1 to bits 4, 5 */
        const vi high = vi_load(group + lane_bytes + (size_t)(v / 4) * PANEL_QUAD);
        const uint32_t t = v % 4;
        code = vi_and_or(t < 2 ? vi_shl(high, 4 - 2 * t) : vi_shr(high, 2 * t - 4), vi_set1_8(48),
                         code);
    }
    return code;
}

/* dot[r] += the products of steps [begin, end) with the rows at q. */
INLINE void tile_dot(sl_type type, uint32_t R, const uint8_t *group, uint32_t lane_bytes,
                     uint32_t begin, uint32_t end, const int8_t *q, size_t q_stride, vi *dot) {
#if PRODUCT_VNNI
    UNROLL(8)
    for (uint32_t v = begin; v < end; v++) {
        const vi w = unpack_step(type, group, lane_bytes, v);
        UNROLL(16)
        for (uint32_t r = 0; r < R; r++) {
            int32_t four;
            memcpy(&four, q + r * q_stride + 4 * (size_t)v, 4);
            dot[r] = vi_dpbusd(dot[r], w, vi_set1(four));
        }
    }
#else
    /* Steps whose pair sums fit 16 bits: 8 x 2 x 15 x 127, 4 x 2 x 31 x 127, 2 x 2 x 63 x 127, 2 x
     * 128 x 127. */
    const uint32_t flush = type == SL_TYPE_Q8_0   ? 1
                           : type == SL_TYPE_Q6_K ? 2
                           : type == SL_TYPE_Q5_0 ? 4
                                                  : 8;
    const vi ones = vi_set1_16(1);
    UNROLL(8)
    for (uint32_t v = begin; v < end; v += flush) {
        vi part[TILE_ROWS];
        UNROLL(8)
        for (uint32_t u = v; u < v + flush; u++) {
            vi w = unpack_step(type, group, lane_bytes, u);
            const vi sign = vi_xor(w, vi_set1_8(-128)); /* Q8_0: the weight itself */
            if (type == SL_TYPE_Q8_0) {
                w = vi_abs8(sign);
            }
            UNROLL(16)
            for (uint32_t r = 0; r < R; r++) {
                int32_t four;
                memcpy(&four, q + r * q_stride + 4 * (size_t)u, 4);
                const vi x = type == SL_TYPE_Q8_0 ? vi_sign8(vi_set1(four), sign) : vi_set1(four);
                const vi pairs = vi_maddubs(w, x);
                part[r] = u == v ? pairs : vi_add16(part[r], pairs);
            }
        }
        UNROLL(16)
        for (uint32_t r = 0; r < R; r++) {
            dot[r] = vi_add(dot[r], vi_madd(part[r], ones));
        }
    }
#endif
}

/* What the offset of the codes adds too much is taken off at the start: -offset * sum of q, with
 * the offsets of the two half groups given apart. */
INLINE vi dot_start(const int16_t *sum16, int offset_0, int offset_1) {
    int32_t both;
    memcpy(&both, sum16, 4);
    return vi_madd(vi_set1(both), vi_set1((int32_t)((uint32_t)(uint16_t)-offset_0 |
                                                    (uint32_t)(uint16_t)-offset_1 << 16)));
}

/* Scale (and minimum, with its sign) of group g of a unit, for VL rows from row `lane`. */
INLINE void tile_scales(sl_type type, const uint8_t *unit, uint32_t g, uint32_t lane, vf *scale,
                        vf *minimum) {
    const uint16_t *halves = (const uint16_t *)(const void *)unit;
    const uint8_t *bytes = unit + 64 + 32 * (size_t)g;
    switch (type) {
    case SL_TYPE_Q4_1:
        *scale = vf_load_half(halves + lane);
        *minimum = vf_load_half(halves + 16 + lane);
        break;
    case SL_TYPE_Q4_K:
        *scale = vf_mul(vf_load_half(halves + lane), vf_of_int(vi_load_u8(bytes + lane)));
        *minimum = vf_mul(vf_load_half(halves + 16 + lane),
                          vf_of_int(vi_load_u8(bytes + 16 + lane)));
        *minimum = vf_mul(*minimum, vf_set1(-1.0f));
        break;
    case SL_TYPE_Q6_K:
        *scale = vf_load_half(halves + lane);
        break;
    default:
        *scale = vf_load_half(halves + (size_t)g * 16 + lane);
        break;
    }
}

/* The exact integer sums of one group, as floats, for each row of the tile. */
INLINE void tile_group(sl_type type, uint32_t R, const uint8_t *unit, const uint8_t *group,
                       uint32_t g, uint32_t lane, const int8_t *q, size_t q_stride,
                       const int16_t *sum16, size_t sum_stride, vf *value) {
    vi dot[TILE_ROWS];
    if (type == SL_TYPE_Q6_K) {
        /* two half groups, each times its small scale; all sums below 2^24 */
        const uint8_t *bytes = unit + 64 + 32 * (size_t)g;
        const vf scale_0 = vf_of_int(vi_load_i8(bytes + lane));
        const vf scale_1 = vf_of_int(vi_load_i8(bytes + 16 + lane));
        UNROLL(16)
        for (uint32_t r = 0; r < R; r++) {
            dot[r] = dot_start(sum16 + r * sum_stride, 32, 0);
        }
        tile_dot(type, R, group, 4 * lane, 0, 4, q, q_stride, dot);
        UNROLL(16)
        for (uint32_t r = 0; r < R; r++) {
            value[r] = vf_mul(vf_of_int(dot[r]), scale_0);
            dot[r] = dot_start(sum16 + r * sum_stride, 0, 32);
        }
        tile_dot(type, R, group, 4 * lane, 4, 8, q, q_stride, dot);
        UNROLL(16)
        for (uint32_t r = 0; r < R; r++) {
            value[r] = vf_fma(vf_of_int(dot[r]), scale_1, value[r]);
        }
        return;
    }
    const int offset = type == SL_TYPE_Q4_0                   ? 8
                       : type == SL_TYPE_Q5_0                 ? 16
                       : type == SL_TYPE_Q8_0 && PRODUCT_VNNI ? 128
                                                              : 0;
    UNROLL(16)
    for (uint32_t r = 0; r < R; r++) {
        dot[r] = offset ? dot_start(sum16 + r * sum_stride, offset, offset) : vi_zero();
    }
    tile_dot(type, R, group, 4 * lane, 0, 8, q, q_stride, dot);
    UNROLL(16)
    for (uint32_t r = 0; r < R; r++) {
        value[r] = vf_of_int(dot[r]);
    }
}

/* Rows [row, row + R) of act times VL weight rows, from row `lane` of the panel; o is the place of
 * the first. What lies `ahead` bytes of the weights in use is fetched (0: nothing to fetch, the
 * panel is in the cache). */
INLINE void tile_mul(sl_type type, uint32_t R, size_t ahead, const uint8_t *panel,
                     uint32_t n_groups, uint32_t lane, const sl_act8 *act, uint32_t row, float *o,
                     size_t out_stride, bool add) {
    const panel_shape shape = panel_shape_of(type);
    const bool has_minimum = type == SL_TYPE_Q4_1 || type == SL_TYPE_Q4_K;
    const int8_t *q = act->q + row * act->q_stride;
    const float *d = act->d + row * act->g_stride;
    const float *s = act->s + row * act->g_stride;
    const int16_t *sum16 = act->sum16 + 2 * (size_t)row * act->g_stride;
    const size_t q_stride = act->q_stride;
    const size_t g_stride = act->g_stride;
    vf acc[TILE_ROWS];
    UNROLL(16)
    for (uint32_t r = 0; r < R; r++) {
        acc[r] = vf_zero();
    }
    /* One flat loop: with a loop over the groups of a unit inside, compilers set up all row
     * pointers anew. */
    const uint8_t *unit = panel;
    uint32_t in_unit = 0;
    for (uint32_t g = 0; g < n_groups; g++) {
        const uint8_t *group = unit + shape.header_bytes + (size_t)in_unit * shape.group_bytes;
        for (uint32_t at = 0; at < shape.group_bytes + 64; at += 64) {
            _mm_prefetch((const char *)group + ahead + at, _MM_HINT_T0);
        }
        vf scale, minimum = vf_zero(), value[TILE_ROWS];
        tile_scales(type, unit, in_unit, lane, &scale, &minimum);
        tile_group(type, R, unit, group, in_unit, lane, q + (size_t)g * 32, q_stride,
                   sum16 + 2 * (size_t)g, 2 * g_stride, value);
        UNROLL(16)
        for (uint32_t r = 0; r < R; r++) {
            acc[r] = vf_fma(vf_mul(scale, vf_set1(d[r * g_stride + g])), value[r], acc[r]);
            if (has_minimum) {
                acc[r] = vf_fma(minimum, vf_set1(s[r * g_stride + g]), acc[r]);
            }
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

#define TILE_CASE(R)                                                                               \
    case R:                                                                                        \
        if (R <= max_rows) {                                                                       \
            tile_mul(type, R, ahead, panel, n_groups, lane, act, row, o, out_stride, add);         \
        }                                                                                          \
        break;

INLINE void product_mul(sl_type type, const uint8_t *panels, uint32_t n_in, uint32_t panel_begin,
                        uint32_t panel_end, const sl_act8 *act, uint32_t row_begin,
                        uint32_t row_end, float *out, size_t out_stride, bool add) {
    const uint32_t max_rows = type == SL_TYPE_Q6_K ? TILE_ROWS * 2 / 3 : TILE_ROWS;
    const size_t panel_stride = panel_size(panel_shape_of(type), n_in);
    const uint32_t n_groups = n_in / 32;
    const uint32_t tiles_in_block = ROW_BLOCK_BYTES / (max_rows * n_in) + 1;
    for (uint32_t block = row_begin; block < row_end;) {
        const uint32_t left = row_end - block;
        const uint32_t rows = left < tiles_in_block * max_rows ? left : tiles_in_block * max_rows;
        for (uint32_t p = panel_begin; p < panel_end; p++) {
            const uint8_t *panel = panels + p * panel_stride;
            uint32_t height;
            for (uint32_t row = block; row < block + rows; row += height) {
                const size_t ahead = row == block ? PREFETCH_BYTES : 0;
                height = tile_height(block + rows - row, max_rows);
                for (uint32_t lane = 0; lane < SL_PANEL_ROWS; lane += VL) {
                    float *o = out + row * out_stride + (size_t)p * SL_PANEL_ROWS + lane;
                    switch (height) {
                        TILE_CASES(TILE_CASE)
                    default:
                        break;
                    }
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
PRODUCT(q8_0, SL_TYPE_Q8_0)
PRODUCT(q4_k, SL_TYPE_Q4_K)
PRODUCT(q6_k, SL_TYPE_Q6_K)

void LEVEL(sl_product_fill)(sl_kernels *k) {
    sl_panel_fill(k);
    k->product[SL_TYPE_Q4_0].mul = LEVEL(mul_q4_0);
    k->product[SL_TYPE_Q4_1].mul = LEVEL(mul_q4_1);
    k->product[SL_TYPE_Q5_0].mul = LEVEL(mul_q5_0);
    k->product[SL_TYPE_Q8_0].mul = LEVEL(mul_q8_0);
    k->product[SL_TYPE_Q4_K].mul = LEVEL(mul_q4_k);
    k->product[SL_TYPE_Q6_K].mul = LEVEL(mul_q6_k);
}
