/* Template of attention on AMX tiles, for many (row, head) pairs. Included by attend_amx_<isa>.c
 * after its vector words (vec_*.h), the tile words (amx.h) and
 *   LEVEL(name)    name with the level's suffix
 *
 * Queries, keys, weights and values are rounded to BF16, sums are float32. A call's pairs go in
 * chunks; for each block of SL_ATTEND_BLOCK tokens a chunk's keys and values become tiles, once for
 * all of its pairs, which is why there must be many. Then 32 pairs at a time:
 *   1. scores   two tiles of pairs times two of 16 keys, page by page
 *   2. softmax  pair by pair; out come weights in BF16, 0 for tokens that the pair does not see
 *   3. output   two tiles of weights times two of 16 elements of the values
 *   4. merge    as in attend.inc.h
 * Weights of 0 add nothing to a sum, so that a pair's result does not depend on the other pairs:
 * unless a value is not finite. Values that no pair of the chunk sees count as 0, whatever they
 * are; with others the block's outputs are summed pair by pair (values_apart). */
#include "kernels/x86/amx_block.inc.h"
#include "kernels/x86/attend_chunk.inc.h"

enum {
    GROUP_PAIRS = 2 * TILE_ROWS,
    BLOCK_PAGES = BLOCK / PAGE,
    SOFTMAX_PAIRS = 4,
    /* from row to row, in elements: an odd number of cache lines */
    SCORES_STRIDE = BLOCK + 16,
    WEIGHTS_STRIDE = BLOCK + 32
};
_Static_assert(PAGE == SL_BF16_GROUP, "a page of values is one step of a product");

/* A chunk, in scratch. */
typedef struct tiles_chunk {
    attend_chunk c;       /* scores, tile: of 32 pairs */
    uint16_t *q;          /* [pairs, up to a multiple of 32][q_words], scaled */
    size_t q_words;       /* an odd number of cache lines */
    uint32_t key_groups;  /* of 32 elements */
    uint32_t value_tiles; /* of 16 elements */
    uint8_t *keys;        /* tiles [BLOCK_PAGES][2][key_groups]: 16 tokens, 32 elements */
    uint8_t *values;      /* tiles [value_tiles][BLOCK_PAGES]: 32 tokens, 16 elements */
    uint16_t *weights;    /* [GROUP_PAIRS][WEIGHTS_STRIDE] */
    bool finite;          /* all values of the block */
} tiles_chunk;

INLINE vf short_load(sl_kv_type type, const uint16_t *p, uint32_t n) {
    if (n < VL) {
        return type == SL_KV_F16 ? vf_load_half_part(p, n) : vf_load_bfloat_part(p, n);
    }
    return type == SL_KV_F16 ? vf_load_half(p) : vf_load_bfloat(p);
}

/* n floats, scaled, become BF16, and zeros up to n_words, a multiple of 32. */
INLINE void query_round(const float *x, uint32_t n, float scale, uint16_t *out, uint32_t n_words) {
    for (uint32_t i = 0; i < n_words; i += 2 * VL) {
        vf part[2];
        UNROLL(2)
        for (uint32_t h = 0; h < 2; h++) {
            const uint32_t at = i + h * VL, left = at < n ? n - at : 0;
            part[h] = left >= VL ? vf_load(x + at) : vf_load_part(x + at, left);
            part[h] = vf_mul(part[h], vf_set1(scale));
        }
        vi_store(out + i, vi_bfloats(part[0], part[1]));
    }
}

/* A page's keys: lines of pairs of elements, 16 tokens each. */
INLINE void keys_to_tiles(sl_kv_type type, const tiles_chunk *t, const uint16_t *keys,
                          uint8_t *tiles) {
    const uint32_t d = t->c.a->d_k;
    for (uint32_t i = 0; i < t->key_groups * SL_BF16_GROUP; i += 2) {
        const uint32_t first = i < d ? VL : 0, second = i + 1 < d ? VL : 0;
        for (uint32_t token = 0; token < PAGE; token += VL) {
            const size_t tile = token / TILE_ROWS * t->key_groups + i / SL_BF16_GROUP;
            const uint16_t *from = keys + (size_t)i * PAGE + token;
            const vf low = first ? short_load(type, from, VL) : vf_zero();
            const vf high = second ? short_load(type, from + PAGE, VL) : vf_zero();
            vi_store(tiles + tile * TILE_BYTES + i % SL_BF16_GROUP / 2 * TILE_LINE +
                         token % TILE_ROWS * 4,
                     vi_bfloat_pairs(low, high));
        }
    }
}

/* A page's values of the tokens seen: lines of pairs of tokens, 16 elements each; others are 0.
 * Returns a vector with NaN where some value is not finite. */
INLINE vf values_to_tiles(sl_kv_type type, const tiles_chunk *t, const uint16_t *values,
                          seen_range seen, uint8_t *tiles) {
    const uint32_t d = t->c.a->d_v;
    vf spoiled = vf_zero();
    for (uint32_t token = 0; token < PAGE; token += 2) {
        const bool first = token >= seen.begin && token < seen.end;
        const bool second = token + 1 >= seen.begin && token + 1 < seen.end;
        for (uint32_t j = 0; j < t->value_tiles * TILE_ROWS; j += VL) {
            const uint16_t *from = values + (size_t)token * d + j;
            const uint32_t n = j >= d ? 0 : d - j < VL ? d - j : VL;
            const vf low = first ? short_load(type, from, n) : vf_zero();
            const vf high = second ? short_load(type, from + d, n) : vf_zero();
            spoiled = vf_fma(low, vf_zero(), vf_fma(high, vf_zero(), spoiled));
            vi_store(tiles + (size_t)(j / TILE_ROWS) * BLOCK_PAGES * TILE_BYTES +
                         token / 2 * TILE_LINE + j % TILE_ROWS * 4,
                     vi_bfloat_pairs(low, high));
        }
    }
    return spoiled;
}

/* What the chunk sees of a block becomes tiles. */
INLINE void block_to_tiles(sl_kv_type type, tiles_chunk *t, uint32_t block, seen_range seen) {
    const sl_attend *a = t->c.a;
    vf spoiled = vf_zero();
    for (uint32_t page = seen.begin / PAGE; page * PAGE < seen.end; page++) {
        const uint8_t *at = a->store + (size_t)a->table[block * BLOCK_PAGES + page] * a->page_bytes;
        const uint32_t t0 = page * PAGE;
        const seen_range here = {seen.begin > t0 ? seen.begin - t0 : 0, seen.end - t0};
        keys_to_tiles(type, t, (const uint16_t *)(const void *)(at + a->k_offset),
                      t->keys + (size_t)page * 2 * t->key_groups * TILE_BYTES);
        spoiled = vf_add(
            spoiled, values_to_tiles(type, t, (const uint16_t *)(const void *)(at + a->v_offset),
                                     here, t->values + (size_t)page * TILE_BYTES));
    }
    t->finite = vf_mask_nan(spoiled) == 0;
}

/* 1. Scores of one or two tiles of pairs, from `pair` on, with the tokens of pages [begin, end). */
INLINE void group_scores(const tiles_chunk *t, uint32_t n_x, uint32_t pair, seen_range pages) {
    const size_t half = (size_t)t->key_groups * TILE_BYTES;
    for (uint32_t page = pages.begin; page < pages.end; page++) {
        const uint8_t *keys = t->keys + (size_t)page * 2 * half;
        const amx_block b = {.x = t->q + pair * t->q_words,
                             .x_bytes = t->q_words * sizeof(*t->q),
                             .w = {keys, keys + half},
                             .n = t->key_groups,
                             .to = t->c.scores + (size_t)page * PAGE,
                             .to_bytes = SCORES_STRIDE * sizeof(float)};
        block_mul_any(n_x, 2, &b);
    }
}

/* A pair's scores with tokens of some pages that it does not see become minus infinity. */
INLINE void scores_hide(float *scores, seen_range seen, seen_range pages) {
    const vf never = vf_set1(-INFINITY);
    const uint32_t end = pages.end * PAGE;
    uint32_t i = pages.begin * PAGE;
    for (; i + VL <= seen.begin; i += VL) {
        vf_store(scores + i, never);
    }
    if (i < seen.begin) {
        vf_store_part(scores + i, never, seen.begin - i);
    }
    if (seen.end % VL != 0) {
        i = seen.end / VL * VL;
        vf_store(scores + i, vf_select_below(seen.end - i, vf_load(scores + i), never));
    }
    for (i = (seen.end + VL - 1) / VL * VL; i < end; i += VL) {
        vf_store(scores + i, never);
    }
}

/* 2. Scores of some pairs with the tokens of some pages become weights. Several pairs at a time:
 *    alone, one would mostly wait for its own sums. */
INLINE void pairs_softmax(const float *scores, seen_range pages, uint16_t *weights, float *max_out,
                          float *sum_out) {
    const uint32_t begin = pages.begin * PAGE, end = pages.end * PAGE;
    vf max[SOFTMAX_PAIRS], sum[SOFTMAX_PAIRS];
    UNROLL(4)
    for (uint32_t p = 0; p < SOFTMAX_PAIRS; p++) {
        max[p] = vf_set1(-FLT_MAX);
        sum[p] = vf_zero();
    }
    for (uint32_t i = begin; i < end; i += VL) {
        UNROLL(4)
        for (uint32_t p = 0; p < SOFTMAX_PAIRS; p++) {
            max[p] = vf_max(vf_load(scores + p * SCORES_STRIDE + i), max[p]);
        }
    }
    UNROLL(4)
    for (uint32_t p = 0; p < SOFTMAX_PAIRS; p++) {
        max_out[p] = vf_max_lanes(max[p]);
        max[p] = vf_set1(max_out[p]);
    }
    for (uint32_t i = begin; i < end; i += 2 * VL) {
        UNROLL(4)
        for (uint32_t p = 0; p < SOFTMAX_PAIRS; p++) {
            const float *s = scores + p * SCORES_STRIDE + i;
            const vf low = vf_exp2_weight(vf_sub(vf_load(s), max[p]));
            const vf high = vf_exp2_weight(vf_sub(vf_load(s + VL), max[p]));
            sum[p] = vf_add(sum[p], vf_add(low, high));
            vi_store(weights + p * WEIGHTS_STRIDE + i, vi_bfloats(low, high));
        }
    }
    UNROLL(4)
    for (uint32_t p = 0; p < SOFTMAX_PAIRS; p++) {
        sum_out[p] = vf_sum(sum[p]);
    }
}

/* 3. Outputs of one or two tiles of pairs. */
INLINE void group_outputs(const tiles_chunk *t, uint32_t n_x, seen_range pages) {
    const size_t column = (size_t)BLOCK_PAGES * TILE_BYTES;
    for (uint32_t j = 0; j < t->value_tiles; j += 2) {
        const uint8_t *values = t->values + j * column + (size_t)pages.begin * TILE_BYTES;
        const amx_block b = {.x = t->weights + (size_t)pages.begin * PAGE,
                             .x_bytes = WEIGHTS_STRIDE * sizeof(*t->weights),
                             .w = {values, values + column},
                             .n = pages.end - pages.begin,
                             .to = t->c.tile.o + (size_t)j * TILE_ROWS,
                             .to_bytes = t->c.o_stride * sizeof(float)};
        block_mul_any(n_x, t->value_tiles - j < 2 ? 1 : 2, &b);
    }
}

/* 3. of a pair where some values are not finite: those that it does not see stay out of it. */
static __attribute__((noinline)) void LEVEL(values_apart)(const tiles_chunk *t,
                                                          const uint16_t *weights, seen_range seen,
                                                          float *o) {
    memset(o, 0, t->c.o_stride * sizeof(*o));
    for (uint32_t token = seen.begin; token < seen.end; token++) {
        const float weight = sl_bfloat_to_float(weights[token]);
        for (uint32_t j = 0; j < t->c.a->d_v; j++) {
            const uint8_t *tile = t->values +
                                  ((size_t)(j / TILE_ROWS) * BLOCK_PAGES + token / PAGE) *
                                      TILE_BYTES;
            const uint16_t *line = (const uint16_t *)(const void *)(tile +
                                                                    token % PAGE / 2 * TILE_LINE);
            o[j] += weight * sl_bfloat_to_float(line[2 * (j % TILE_ROWS) + token % 2]);
        }
    }
}

/* Up to 32 pairs from `pair` on, over a block. */
INLINE void attend_group(const tiles_chunk *t, uint32_t pair, uint32_t block) {
    const attend_chunk *c = &t->c;
    const sl_attend *a = c->a;
    const uint32_t left = c->n_pairs - pair, n = left < GROUP_PAIRS ? left : GROUP_PAIRS;
    const uint32_t n_x = n > TILE_ROWS ? 2 : 1, t0 = block * BLOCK;
    seen_range seen[GROUP_PAIRS];
    const seen_range any = tile_sees(c, pair, n, t0, seen);
    if (any.begin >= any.end) {
        return;
    }
    const seen_range pages = {any.begin / PAGE, (any.end + PAGE - 1) / PAGE};
    group_scores(t, n_x, pair, pages);
    const bool adjust = a->softcap != 0.0f || a->slopes;
    for (uint32_t p = 0; p < n; p++) {
        float *scores = c->scores + (size_t)p * SCORES_STRIDE;
        if (adjust) {
            LEVEL(scores_adjust)(c, pair + p, t0, seen[p], scores);
        }
        scores_hide(scores, seen[p], pages);
    }
    for (uint32_t p = 0; p < n; p += SOFTMAX_PAIRS) { /* of tiles that are not full, any weights */
        pairs_softmax(c->scores + (size_t)p * SCORES_STRIDE, pages,
                      t->weights + (size_t)p * WEIGHTS_STRIDE, c->tile.max + p, c->tile.sum + p);
    }
    group_outputs(t, n_x, pages);
    for (uint32_t p = 0; p < n && !t->finite; p++) {
        LEVEL(values_apart)
        (t, t->weights + (size_t)p * WEIGHTS_STRIDE, seen[p], c->tile.o + p * c->o_stride);
    }
    if (a->parts) {
        const attend_state part = state_of_pair(c, state_of_part(c, block), pair);
        memcpy(part.o, c->tile.o, n * c->o_stride * sizeof(float));
        memcpy(part.max, c->tile.max, n * sizeof(float));
        memcpy(part.sum, c->tile.sum, n * sizeof(float));
        return;
    }
    for (uint32_t p = 0; p < n; p += VL) {
        attend_state state = state_of_pair(c, c->state, pair + p);
        const attend_state part = state_of_pair(c, c->tile, p);
        LEVEL(tile_merge)(c, n - p < VL ? n - p : VL, seen + p, &state, &part);
    }
}

INLINE void tiles_chunk_run(sl_kv_type type, tiles_chunk *t, sl_attend_blocks blocks) {
    for (uint32_t block = blocks.begin; block < blocks.end; block++) {
        const seen_range seen = {pair_sees_of_block(&t->c, 0, block * BLOCK).begin,
                                 pair_sees_of_block(&t->c, t->c.n_pairs - 1, block * BLOCK).end};
        if (seen.begin >= seen.end) {
            continue;
        }
        block_to_tiles(type, t, block, seen);
        for (uint32_t pair = 0; pair < t->c.n_pairs; pair += GROUP_PAIRS) {
            attend_group(t, pair, block);
        }
    }
}

/* A call's chunk without its rows (kernels.c has the sizes). */
INLINE tiles_chunk tiles_chunk_of(const sl_attend *a, uint32_t chunk_rows) {
    tiles_chunk t = {.c = {.a = a}};
    const size_t pairs = ((size_t)chunk_rows * a->n_group + GROUP_PAIRS - 1) / GROUP_PAIRS *
                         GROUP_PAIRS;
    t.q_words = sl_row_stride(a->d_k, sizeof(uint16_t));
    t.key_groups = (a->d_k + SL_BF16_GROUP - 1) / SL_BF16_GROUP;
    t.value_tiles = (a->d_v + TILE_ROWS - 1) / TILE_ROWS;
    t.c.o_stride = (size_t)t.value_tiles * TILE_ROWS;
    t.keys = (uint8_t *)a->scratch;
    t.values = t.keys + (size_t)BLOCK_PAGES * 2 * t.key_groups * TILE_BYTES;
    t.q = (uint16_t *)(void *)(t.values + (size_t)BLOCK_PAGES * t.value_tiles * TILE_BYTES);
    t.weights = t.q + pairs * t.q_words;
    t.c.scores = (float *)(void *)(t.weights + (size_t)GROUP_PAIRS * WEIGHTS_STRIDE);
    t.c.tile.o = t.c.scores + (size_t)GROUP_PAIRS * SCORES_STRIDE;
    t.c.tile.max = t.c.tile.o + GROUP_PAIRS * t.c.o_stride;
    t.c.tile.sum = t.c.tile.max + GROUP_PAIRS;
    t.c.state.o = t.c.tile.sum + GROUP_PAIRS;
    t.c.state.max = t.c.state.o + pairs * t.c.o_stride;
    t.c.state.sum = t.c.state.max + pairs;
    t.c.blocks = sl_attend_blocks_seen(a->pos0, a->n_rows, a->window, a->n_keys);
    return t;
}

/* The queries of the chunk's pairs; those that fill up the last tiles are 0. */
INLINE void tiles_queries(const tiles_chunk *t) {
    const sl_attend *a = t->c.a;
    const uint32_t n_words = t->key_groups * SL_BF16_GROUP;
    const uint32_t room = (t->c.n_pairs + GROUP_PAIRS - 1) / GROUP_PAIRS * GROUP_PAIRS;
    for (uint32_t p = 0; p < t->c.n_pairs; p++) {
        const float *q = a->q + (t->c.row + p / a->n_group) * a->q_stride +
                         (size_t)(p % a->n_group) * a->d_k;
        query_round(q, a->d_k, a->scale * LOG2_E, t->q + p * t->q_words, n_words);
    }
    memset(t->q + t->c.n_pairs * t->q_words, 0, (room - t->c.n_pairs) * t->q_words * sizeof(*t->q));
}

INLINE void attend_rows_on_tiles(sl_kv_type type, const sl_attend *a) {
    const uint32_t chunk_rows = sl_attend_amx_chunk_rows(a->n_rows, a->n_group);
    tiles_chunk t = tiles_chunk_of(a, chunk_rows);
    memset(t.weights, 0, GROUP_PAIRS * WEIGHTS_STRIDE * sizeof(*t.weights));
    tiles_configure(GROUP_PAIRS);
    for (uint32_t row = 0; row < a->n_rows; row += chunk_rows) {
        chunk_rows_set(&t.c, row, chunk_rows);
        tiles_queries(&t);
        if (a->parts) {
            tiles_chunk_run(type, &t, (sl_attend_blocks){a->block_begin, a->block_end});
            continue;
        }
        chunk_begin(&t.c);
        tiles_chunk_run(type, &t, t.c.blocks);
        chunk_end(&t.c);
    }
    AMX_RELEASE();
}

static void LEVEL(attend_f16)(const sl_attend *a) {
    attend_rows_on_tiles(SL_KV_F16, a);
}
static void LEVEL(attend_bf16)(const sl_attend *a) {
    attend_rows_on_tiles(SL_KV_BF16, a);
}

void LEVEL(sl_attend_amx_fill)(sl_kernels *k) {
    k->attend_amx.attend[SL_KV_F16] = LEVEL(attend_f16);
    k->attend_amx.attend[SL_KV_BF16] = LEVEL(attend_bf16);
}
