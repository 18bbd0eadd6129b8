/* The int8 products of many rows, for levels with dpbusd and 32 registers. Included by
 * product.inc.h, whose words it uses; the same chains of sums, so the same bits.
 *
 * With few rows a tile unpacks its weights in registers, again for every tile. Here a chunk of two
 * panels is unpacked once, into memory of the first-level cache, for all rows of a block. Each
 * activation that a tile of 2 VL lanes x R rows broadcasts is multiplied with both panels: one load
 * for two products, where a tile of one panel needs both load ports for them. */

#define MANY_TILE_ROWS 6
#define MANY_GROUPS 24     /* of a chunk */
#define MANY_BLOCK_ROWS 96 /* whose sums are kept from chunk to chunk */

/* A chunk: steps of both panels one after the other, codes as bytes. */
typedef struct many_chunk {
    uint8_t codes[MANY_GROUPS][8][2][PANEL_QUAD];
    float scale[MANY_GROUPS][2][VL];
    float more[MANY_GROUPS][2][VL];    /* minimum, or the scale of the second half */
    float half[MANY_GROUPS][2][2][VL]; /* [panel][half]: the small scales */
} many_chunk;

/* Formats that it takes. */
INLINE bool many_takes(panel_form form) {
    return form.scales != SCALES_K16_MIN;
}

/* Groups [g, g + n) of the panel, as panel `which` of the chunk. */
INLINE void many_unpack(sl_type type, const uint8_t *panel, uint32_t g, uint32_t n, uint32_t which,
                        many_chunk *chunk) {
    const panel_form form = panel_form_of(type);
    const panel_shape shape = panel_shape_of(form);
    const vi levels = tile_levels(type, form, panel);
    for (uint32_t i = 0; i < n; i++, g++) {
        const uint8_t *unit = panel + g / shape.unit_groups * panel_unit_bytes(shape);
        const uint32_t in_unit = g % shape.unit_groups;
        const uint8_t *group = unit + shape.header_bytes + (size_t)in_unit * shape.group_bytes;
        const tile_place at = {unit, group, in_unit, 0};
        vf scale, minimum;
        tile_scales(form, at, &scale, &minimum);
        vf_store(chunk->scale[i][which], scale);
        vf_store(chunk->more[i][which], minimum);
        if (form.scales == SCALES_K16) {
            const uint8_t *bytes = unit + 64 + 32 * (size_t)in_unit;
            vf_store(chunk->half[i][which][0], vf_of_int(vi_load_i8(bytes)));
            vf_store(chunk->half[i][which][1], vf_of_int(vi_load_i8(bytes + 16)));
        }
        UNROLL(8)
        for (uint32_t v = 0; v < 8; v++) {
            vi_store(chunk->codes[i][v][which], unpack_step(form, levels, group, v));
        }
    }
}

/* dot[r][which] of steps [begin, end) of group i, begun with what offsets add too much. */
INLINE void many_dot(panel_form form, uint32_t R, const many_chunk *chunk, uint32_t i,
                     uint32_t begin, uint32_t end, tile_rows rows, vi dot[MANY_TILE_ROWS][2]) {
    UNROLL(6)
    for (uint32_t r = 0; r < R; r++) {
        dot[r][0] = dot[r][1] = dot_start(form, rows.minus_sum + r * 2 * rows.g_stride, begin == 0,
                                          end == 8);
    }
    UNROLL(8)
    for (uint32_t v = begin; v < end; v++) {
        const vi w0 = vi_load(chunk->codes[i][v][0]), w1 = vi_load(chunk->codes[i][v][1]);
        UNROLL(6)
        for (uint32_t r = 0; r < R; r++) {
            int32_t four;
            memcpy(&four, rows.q + r * rows.q_stride + 4 * (size_t)v, 4);
            const vi x = vi_set1(four);
            dot[r][0] = vi_dpbusd(dot[r][0], w0, x);
            dot[r][1] = vi_dpbusd(dot[r][1], w1, x);
        }
    }
}

/* acc[r][which] += group i. */
INLINE void many_group(panel_form form, uint32_t R, const many_chunk *chunk, uint32_t i,
                       tile_rows rows, vf acc[MANY_TILE_ROWS][2]) {
    vi dot[MANY_TILE_ROWS][2];
    if (form.scales == SCALES_HALF_16) {
        UNROLL(2)
        for (uint32_t h = 0; h < 2; h++) {
            many_dot(form, R, chunk, i, 4 * h, 4 * h + 4, rows, dot);
            UNROLL(6)
            for (uint32_t r = 0; r < R; r++) {
                const vf d = vf_set1(rows.d[r * rows.g_stride]);
                UNROLL(2)
                for (uint32_t which = 0; which < 2; which++) {
                    const float *scale = h == 0 ? chunk->scale[i][which] : chunk->more[i][which];
                    acc[r][which] = vf_fma(vf_mul(vf_load(scale), d), vf_of_int(dot[r][which]),
                                           acc[r][which]);
                }
            }
        }
        return;
    }
    vf value[MANY_TILE_ROWS][2];
    if (form.scales == SCALES_K16) {
        many_dot(form, R, chunk, i, 0, 4, rows, dot);
        UNROLL(6)
        for (uint32_t r = 0; r < R; r++) {
            value[r][0] = vf_mul(vf_of_int(dot[r][0]), vf_load(chunk->half[i][0][0]));
            value[r][1] = vf_mul(vf_of_int(dot[r][1]), vf_load(chunk->half[i][1][0]));
        }
        many_dot(form, R, chunk, i, 4, 8, rows, dot);
        UNROLL(6)
        for (uint32_t r = 0; r < R; r++) {
            value[r][0] = vf_fma(vf_of_int(dot[r][0]), vf_load(chunk->half[i][0][1]), value[r][0]);
            value[r][1] = vf_fma(vf_of_int(dot[r][1]), vf_load(chunk->half[i][1][1]), value[r][1]);
        }
    } else {
        many_dot(form, R, chunk, i, 0, 8, rows, dot);
        UNROLL(6)
        for (uint32_t r = 0; r < R; r++) {
            value[r][0] = vf_of_int(dot[r][0]);
            value[r][1] = vf_of_int(dot[r][1]);
        }
    }
    UNROLL(2)
    for (uint32_t which = 0; which < 2; which++) {
        const vf scale = vf_load(chunk->scale[i][which]), minimum = vf_load(chunk->more[i][which]);
        UNROLL(6)
        for (uint32_t r = 0; r < R; r++) {
            const vf d = vf_set1(rows.d[r * rows.g_stride]);
            acc[r][which] = vf_fma(vf_mul(scale, d), value[r][which], acc[r][which]);
            if (has_minimum(form)) {
                const vf s = vf_set1(rows.s[r * rows.g_stride]);
                acc[r][which] = vf_fma(minimum, s, acc[r][which]);
            }
        }
    }
}

/* Where sums are while a tile does not hold them; both panels of a row side by side. */
typedef struct many_sums {
    float *at;
    size_t stride;
} many_sums;

/* What the tiles of a chunk fetch on their way, evenly: `left` cache lines of each panel for the
 * next chunk, `lines` with each group, into the second-level cache. */
typedef struct many_fetch {
    const uint8_t *at;
    size_t panel_stride;
    uint32_t left, lines;
} many_fetch;

/* From group g of the panels on, or the beginning of those that follow them. */
INLINE many_fetch many_fetch_of(panel_shape shape, const uint8_t *panel, size_t panel_stride,
                                uint32_t n_groups, uint32_t g, uint32_t n, uint32_t n_tiles) {
    if (g == n_groups) {
        panel += 2 * panel_stride;
        g = 0;
    }
    const uint32_t share = (group_share(shape) + 63) / 64;
    return (many_fetch){.at = panel + (size_t)g / shape.unit_groups * panel_unit_bytes(shape),
                        .panel_stride = panel_stride,
                        .left = n * share,
                        .lines = (share + n_tiles - 1) / n_tiles};
}

INLINE void many_prefetch(many_fetch *fetch) {
    if (fetch->left == 0) {
        return;
    }
    fetch->left -= fetch->lines < fetch->left ? fetch->lines : fetch->left;
    for (uint32_t line = 0; line < fetch->lines; line++, fetch->at += 64) {
        _mm_prefetch((const char *)fetch->at, _MM_HINT_T1);
        _mm_prefetch((const char *)fetch->at + fetch->panel_stride, _MM_HINT_T1);
    }
}

/* n groups of the chunk, from group g of the rows on. from: NULL for sums that begin. */
INLINE void many_tile(panel_form form, uint32_t R, const many_chunk *chunk, uint32_t g, uint32_t n,
                      tile_rows rows, many_fetch *fetch, const float *from, many_sums to,
                      bool add) {
    vf acc[MANY_TILE_ROWS][2];
    UNROLL(6)
    for (uint32_t r = 0; r < R; r++) {
        UNROLL(2)
        for (uint32_t which = 0; which < 2; which++) {
            acc[r][which] = from == NULL ? vf_zero() : vf_load(from + (2 * (size_t)r + which) * VL);
        }
    }
    rows.q += (size_t)g * 32;
    rows.minus_sum += 2 * (size_t)g;
    rows.d += g;
    rows.s += g;
    for (uint32_t i = 0; i < n; i++) {
        many_prefetch(fetch);
        many_group(form, R, chunk, i, rows, acc);
        rows.q += 32;
        rows.minus_sum += 2;
        rows.d++;
        rows.s++;
    }
    UNROLL(6)
    for (uint32_t r = 0; r < R; r++) {
        UNROLL(2)
        for (uint32_t which = 0; which < 2; which++) {
            float *p = to.at + r * to.stride + (size_t)which * VL;
            vf_store(p, add ? vf_add(vf_load(p), acc[r][which]) : acc[r][which]);
        }
    }
}

#define MANY_CASE(R)                                                                               \
    case R:                                                                                        \
        many_tile(form, R, &chunk, g, n, rows, &fetch, from, to, add &&last);                      \
        break;

/* Panels p and p + 1 with rows [begin, end), at most MANY_BLOCK_ROWS; out: as in product_mul. */
INLINE void many_block(sl_type type, const uint8_t *panel, size_t panel_stride, uint32_t n_groups,
                       const sl_act8 *act, uint32_t begin, uint32_t end, float *out,
                       size_t out_stride, bool add) {
    const panel_form form = panel_form_of(type);
    _Alignas(64) many_chunk chunk;
    _Alignas(64) float sums[MANY_BLOCK_ROWS][2][VL];
    const uint32_t n_chunks = (n_groups + MANY_GROUPS - 1) / MANY_GROUPS;
    const uint32_t n_whole = (n_groups + n_chunks - 1) / n_chunks;
    for (uint32_t g = 0; g < n_groups; g += n_whole) {
        const uint32_t n = n_groups - g < n_whole ? n_groups - g : n_whole;
        const bool last = g + n == n_groups;
        many_unpack(type, panel, g, n, 0, &chunk);
        many_unpack(type, panel + panel_stride, g, n, 1, &chunk);
        many_fetch fetch = many_fetch_of(panel_shape_of(form), panel, panel_stride, n_groups, g + n,
                                         n, (end - begin + MANY_TILE_ROWS - 1) / MANY_TILE_ROWS);
        uint32_t height;
        for (uint32_t row = begin; row < end; row += height) {
            height = tile_height(end - row, MANY_TILE_ROWS);
            const tile_rows rows = {.q = act->q + row * act->q_stride,
                                    .minus_sum = act->minus_sum + 2 * (size_t)row * act->g_stride,
                                    .d = act->d + row * act->g_stride,
                                    .s = act->s + row * act->g_stride,
                                    .q_stride = act->q_stride,
                                    .g_stride = act->g_stride};
            const float *from = g == 0 ? NULL : sums[row - begin][0];
            const many_sums to = last ? (many_sums){out + row * out_stride, out_stride}
                                      : (many_sums){sums[row - begin][0], 2 * VL};
            switch (height) {
                MANY_CASE(1)
                MANY_CASE(2)
                MANY_CASE(3)
                MANY_CASE(4)
                MANY_CASE(5)
                MANY_CASE(6)
            default:
                break;
            }
        }
    }
}
#undef MANY_CASE
