/* Template of attention over pages, and of the writing of pages. Included by attend_<isa>.c after
 * its vector words (vec_*.h) and
 *   LEVEL(name)      name with the level's suffix
 *   TILE_PAIRS       (row, head) pairs of a register tile, at most SL_ATTEND_TILE_MAX
 *   TILE_CASES(X)    X(1) ... X(TILE_PAIRS)
 *   SCORE_PAGES      pages of keys in a register tile, two vectors of each
 *   CHUNK            vectors of the value's elements in a register tile
 *   ATTEND_VNNI      1: INT8 and INT4 only, by dpbusd (attend_codes.inc.h); 0: all types
 *
 * Query rows come in chunks (sl_attend_chunk_rows); a chunk's state is in scratch, and it passes
 * over the tokens in blocks of SL_ATTEND_BLOCK. For each block, tiles of pairs share every load of
 * a key or value:
 *   1. scores   lanes are tokens: s[pair][t] += q[pair][i] K[i][t], over i in rising order
 *   2. softmax  per pair, over the tokens it may see; exponentials in base 2 (log2 e is in the
 *      scaled query)
 *   3. output   lanes are elements of V: o[pair][j] += p[pair][t] V[t][j], over t in rising order
 *   4. merge    of the block's output, maximum and sum into the pair's state, unless the call
 *      leaves them to attend_merge
 * What a pair computes does not depend on its tile, so a row's result does not depend on the other
 * rows. A token that a pair may not see is never multiplied into it (its value could be
 * anything), and a block that it sees nothing of leaves its state alone. */
#include "kernels/x86/attend_chunk.inc.h"

#if VEC_INSTRUMENTED
#undef TILE_PAIRS
#undef TILE_CASES
#define TILE_PAIRS 2
#define TILE_CASES(X) X(1) X(2)
#endif

/* So many pages are fetched ahead, into the second-level cache: a core has far more misses under
 * way to it than to the first level, and it is these that fill the memory's bandwidth. */
#define PAGES_AHEAD 3
_Static_assert(TILE_PAIRS <= SL_ATTEND_TILE_MAX, "the scratch holds the scores of a tile");

/* What is kept as codes: for each row a scale, or for each group of it. */
INLINE bool kv_is_codes(sl_kv_type type) {
    return type == SL_KV_INT8 || type == SL_KV_INT4;
}
INLINE vf kv_load(sl_kv_type type, const uint8_t *block, size_t index) {
    if (type == SL_KV_F16) {
        return vf_load_half((const uint16_t *)(const void *)block + index);
    }
    if (type == SL_KV_BF16) {
        return vf_load_bfloat((const uint16_t *)(const void *)block + index);
    }
    return vf_load((const float *)(const void *)block + index);
}
INLINE vf kv_load_part(sl_kv_type type, const uint8_t *block, size_t index, uint32_t n) {
    if (type == SL_KV_F16) {
        return vf_load_half_part((const uint16_t *)(const void *)block + index, n);
    }
    if (type == SL_KV_BF16) {
        return vf_load_bfloat_part((const uint16_t *)(const void *)block + index, n);
    }
    return vf_load_part((const float *)(const void *)block + index, n);
}
/* Of n elements of a value; with INT4 of the groups they are in. */
INLINE size_t kv_bytes(sl_kv_type type, uint32_t n) {
    switch (type) {
    case SL_KV_F32:
        return (size_t)n * 4;
    case SL_KV_INT4:
        return ((size_t)n + SL_KV_GROUP - 1) / SL_KV_GROUP * 16;
    default:
        return (size_t)n * 2;
    }
}
INLINE void kv_prefetch(const uint8_t *p, size_t n_bytes) {
    for (size_t at = 0; at < n_bytes; at += 64) {
        _mm_prefetch((const char *)p + at, _MM_HINT_T1);
    }
}

/* The pages of a block that a tile sees, in the order in which they are read: the keys of all n,
 * the values of all, then keys of the next block. */
typedef struct page_stream {
    const int32_t *table; /* of the block */
    uint32_t begin, n, n_next;
} page_stream;

/* What is read after i pages, be it by the next call; the first again where nothing is. */
INLINE const uint8_t *stream_at(const sl_attend *a, const page_stream *s, uint32_t i) {
    size_t offset = a->k_offset;
    if (i >= s->n) {
        i -= s->n;
        if (i < s->n) {
            offset = a->v_offset;
        } else if (i >= s->n + s->n_next) {
            i -= s->n + s->n_next;
            if (i < a->n_then) {
                return a->store + (size_t)a->then[i] * a->page_bytes + a->then_offset;
            }
            i = 0;
        }
    }
    return a->store + (size_t)s->table[s->begin + i] * a->page_bytes + offset;
}

/* Scores of P pairs with vectors part and part + 1 of N pages from the stream's i-th on. */
INLINE void tile_scores_part(sl_kv_type type, uint32_t P, uint32_t N, const attend_chunk *c,
                             const float *q, const page_stream *pages, uint32_t i, uint32_t part,
                             float *scores) {
    const sl_attend *a = c->a;
    const uint8_t *k[SCORE_PAGES], *next[SCORE_PAGES];
    vf acc[SCORE_PAGES][TILE_PAIRS][2];
    UNROLL(2)
    for (uint32_t n = 0; n < N; n++) {
        k[n] = stream_at(a, pages, i + n);
        next[n] = stream_at(a, pages, i + n + PAGES_AHEAD);
        UNROLL(8)
        for (uint32_t p = 0; p < P; p++) {
            acc[n][p][0] = vf_zero();
            acc[n][p][1] = vf_zero();
        }
    }
    for (uint32_t j = 0; j < a->d_k; j++) {
        const size_t at = (size_t)j * PAGE + part * VL;
        vf key[SCORE_PAGES][2];
        UNROLL(2)
        for (uint32_t n = 0; n < N; n++) {
            key[n][0] = kv_load(type, k[n], at);
            key[n][1] = kv_load(type, k[n], at + VL);
            kv_prefetch(next[n] + at * kv_bytes(type, 1), kv_bytes(type, 2 * VL));
        }
        UNROLL(8)
        for (uint32_t p = 0; p < P; p++) {
            const vf x = vf_set1(q[p * c->q_stride + j]);
            UNROLL(2)
            for (uint32_t n = 0; n < N; n++) {
                acc[n][p][0] = vf_fma(x, key[n][0], acc[n][p][0]);
                acc[n][p][1] = vf_fma(x, key[n][1], acc[n][p][1]);
            }
        }
    }
    UNROLL(8)
    for (uint32_t p = 0; p < P; p++) {
        UNROLL(2)
        for (uint32_t n = 0; n < N; n++) {
            float *to = scores + (size_t)p * BLOCK + n * PAGE + part * VL;
            vf_store(to, acc[n][p][0]);
            vf_store(to + VL, acc[n][p][1]);
        }
    }
}

#include "kernels/x86/attend_codes.inc.h"

/* 1. Scores of P pairs with all tokens of the pages, scores[pair][BLOCK]. */
INLINE void tile_scores(sl_kv_type type, uint32_t P, const attend_chunk *c, uint32_t pair,
                        const page_stream *pages, float *scores) {
    if (kv_is_codes(type)) {
        tile_scores_codes(type, P, c, pair, pages, scores);
        return;
    }
    const float *q = c->q + pair * c->q_stride;
    uint32_t i = 0;
    for (; i + SCORE_PAGES <= pages->n; i += SCORE_PAGES) {
        for (uint32_t part = 0; part < PAGE_PARTS; part += 2) {
            tile_scores_part(type, P, SCORE_PAGES, c, q, pages, i, part, scores + i * PAGE);
        }
    }
    for (; i < pages->n; i++) {
        for (uint32_t part = 0; part < PAGE_PARTS; part += 2) {
            tile_scores_part(type, P, 1, c, q, pages, i, part, scores + i * PAGE);
        }
    }
}

/* 2. The scores seen, at least one, become weights; out come their maximum and sum. The maximum is
 *    finite: a score of minus infinity weighs nothing. Vectors lie at multiples of VL, so that a
 *    sum does not depend on where a tile begins. */
INLINE void tile_softmax(float *scores, seen_range seen, float *max_out, float *sum_out) {
    const uint32_t first = seen.begin / VL * VL;
    const uint32_t whole = seen.end / VL * VL;
    const uint32_t rest = seen.end - whole;
    for (uint32_t t = first; t < seen.begin; t++) { /* weight 0 */
        scores[t] = -INFINITY;
    }
    vf max = vf_set1(-FLT_MAX);
    for (uint32_t t = first; t < whole; t += VL) {
        max = vf_max(vf_load(scores + t), max);
    }
    max = vf_max(vf_select_below(rest, vf_load_part(scores + whole, rest), max), max);
    *max_out = vf_max_lanes(max);
    const vf minus = vf_set1(*max_out);
    vf sum = vf_zero();
    for (uint32_t t = first; t < whole; t += VL) {
        const vf p = vf_exp2(vf_sub(vf_load(scores + t), minus));
        vf_store(scores + t, p);
        sum = vf_add(sum, p);
    }
    if (rest) {
        const vf p = vf_exp2(vf_sub(vf_load_part(scores + whole, rest), minus));
        vf_store_part(scores + whole, p, rest);
        sum = vf_add(sum, vf_select_below(rest, p, vf_zero()));
    }
    *sum_out = vf_sum(sum);
}

/* 3. o[p][0 .. W vectors) += weights of tokens [t, t_end) of the block times the values from
 *    element `at`. With `n_part` the single vector has only that many elements. */
INLINE void tile_output_part(sl_kv_type type, uint32_t P, uint32_t W, uint32_t n_part,
                             const attend_chunk *c, const float *weights, const page_stream *pages,
                             uint32_t t, uint32_t t_end, uint32_t at, float *o) {
    const sl_attend *a = c->a;
    vf acc[TILE_PAIRS][CHUNK];
    UNROLL(8)
    for (uint32_t p = 0; p < P; p++) {
        UNROLL(4)
        for (uint32_t w = 0; w < W; w++) {
            acc[p][w] = vf_load(o + p * c->o_stride + at + w * VL);
        }
    }
    const size_t row_bytes = kv_bytes(type, a->d_v);
    while (t < t_end) {
        const uint32_t page_left = PAGE - t % PAGE;
        const uint32_t stop = t_end - t < page_left ? t_end : t + page_left;
        const uint32_t at_page = pages->n + t / PAGE - pages->begin;
        const uint8_t *values = stream_at(a, pages, at_page);
        const uint8_t *next = stream_at(a, pages, at_page + PAGES_AHEAD);
        for (; t < stop; t++) {
            const uint8_t *row = values + (t % PAGE) * row_bytes;
            vf v[CHUNK];
            if (type == SL_KV_INT4) {
                value_int4(W, values, a->d_v, t % PAGE, at, v);
            } else {
                UNROLL(4)
                for (uint32_t w = 0; w < W; w++) {
                    v[w] = n_part ? kv_load_part(type, row, at, n_part)
                                  : kv_load(type, row, at + w * VL);
                }
            }
            kv_prefetch(next + (t % PAGE) * row_bytes + kv_bytes(type, at), kv_bytes(type, W * VL));
            UNROLL(8)
            for (uint32_t p = 0; p < P; p++) {
                const vf x = vf_set1(weights[p * BLOCK + t]);
                UNROLL(4)
                for (uint32_t w = 0; w < W; w++) {
                    acc[p][w] = vf_fma(x, v[w], acc[p][w]);
                }
            }
        }
    }
    UNROLL(8)
    for (uint32_t p = 0; p < P; p++) {
        UNROLL(4)
        for (uint32_t w = 0; w < W; w++) {
            vf_store(o + p * c->o_stride + at + w * VL, acc[p][w]);
        }
    }
}

/* All elements: chunks of CHUNK vectors, then single ones, then the part of one. o has room for
 * whole vectors. */
INLINE void tile_output(sl_kv_type type, uint32_t P, const attend_chunk *c, const float *weights,
                        const page_stream *pages, seen_range tokens, float *o) {
    const uint32_t d_v = c->a->d_v, t = tokens.begin, end = tokens.end;
    uint32_t at = 0;
    for (; at + CHUNK * VL <= d_v; at += CHUNK * VL) {
        tile_output_part(type, P, CHUNK, 0, c, weights, pages, t, end, at, o);
    }
    for (; at + VL <= d_v; at += VL) {
        tile_output_part(type, P, 1, 0, c, weights, pages, t, end, at, o);
    }
    if (at < d_v) {
        tile_output_part(type, P, 1, d_v - at, c, weights, pages, t, end, at, o);
    }
}

#if ATTEND_VNNI
#define EDGE_TYPES(X) X(SL_KV_INT4)
#else
#define EDGE_TYPES(X) X(SL_KV_F16) X(SL_KV_F32) X(SL_KV_BF16) X(SL_KV_INT4)
#endif
#define EDGE_CASE(T)                                                                               \
    case T:                                                                                        \
        tile_output(T, 1, c, weights, pages, tokens, o);                                           \
        break;

/* Tokens of the block that one pair sees and others of its tile do not. Out of line: few, at the
 * ends of what rows see. */
static __attribute__((noinline)) void LEVEL(tile_edge)(sl_kv_type type, const attend_chunk *c,
                                                       const float *weights,
                                                       const page_stream *pages, seen_range tokens,
                                                       float *o) {
    switch (type) {
        EDGE_TYPES(EDGE_CASE)
    default:
        break;
    }
}
#undef EDGE_CASE

/* 3. of a tile: in rising order of tokens, those that only earlier rows of it see, those that all
 *    see, those that only later rows see. */
INLINE void tile_outputs(sl_kv_type type, uint32_t P, const attend_chunk *c, const float *weights,
                         const page_stream *pages, const seen_range *seen, float *o) {
    const seen_range all = {seen[P - 1].begin, seen[0].end};
    const bool some = all.begin < all.end;
    memset(o, 0, P * c->o_stride * sizeof(float));
    for (uint32_t p = 0; p < P; p++) {
        const seen_range low = {seen[p].begin, some ? all.begin : seen[p].end};
        if (low.begin < low.end) {
            LEVEL(tile_edge)(type, c, weights + p * BLOCK, pages, low, o + p * c->o_stride);
        }
    }
    if (!some) {
        return;
    }
    tile_output(type, P, c, weights, pages, all, o);
    for (uint32_t p = 0; p < P; p++) {
        const seen_range high = {all.end, seen[p].end};
        if (high.begin < high.end) {
            LEVEL(tile_edge)(type, c, weights + p * BLOCK, pages, high, o + p * c->o_stride);
        }
    }
}

/* P pairs from `pair` on, over a block. */
INLINE void attend_tile(sl_kv_type type, uint32_t P, const attend_chunk *c, uint32_t pair,
                        uint32_t block) {
    const sl_attend *a = c->a;
    const uint32_t t0 = block * BLOCK;
    seen_range seen[TILE_PAIRS];
    const seen_range any = tile_sees(c, pair, P, t0, seen);
    if (any.begin >= any.end) {
        return;
    }
    const uint32_t end = pair_sees(c, c->n_pairs - 1).end;
    page_stream pages = {.table = a->table + t0 / PAGE, .begin = any.begin / PAGE};
    pages.n = (any.end + PAGE - 1) / PAGE - pages.begin;
    if (any.end == BLOCK) {
        pages.n_next = (end - t0 - BLOCK + PAGE - 1) / PAGE;
    }
    tile_scores(type, P, c, pair, &pages, c->scores + (size_t)pages.begin * PAGE);
    attend_state part = c->tile;
    if (a->parts) {
        part = state_of_pair(c, state_of_part(c, block), pair);
    }
    const bool adjust = a->softcap != 0.0f || a->slopes;
    for (uint32_t p = 0; p < P; p++) {
        float *scores = c->scores + (size_t)p * BLOCK;
        if (seen[p].begin < seen[p].end) {
            if (adjust) {
                LEVEL(scores_adjust)(c, pair + p, t0, seen[p], scores);
            }
            tile_softmax(scores, seen[p], &part.max[p], &part.sum[p]);
        }
    }
    if (type == SL_KV_INT8) {
        tile_values_int8(P, c, &pages, seen, part.o);
    } else {
        tile_outputs(type, P, c, c->scores, &pages, seen, part.o);
    }
    if (!a->parts) {
        attend_state state = state_of_pair(c, c->state, pair);
        LEVEL(tile_merge)(c, P, seen, &state, &part);
    }
}

#define TILE_CASE(P)                                                                               \
    case P:                                                                                        \
        attend_tile(type, P, c, pair, block);                                                      \
        break;

INLINE void attend_chunk_run(sl_kv_type type, const attend_chunk *c, sl_attend_blocks blocks) {
    for (uint32_t block = blocks.begin; block < blocks.end; block++) {
        uint32_t n;
        for (uint32_t pair = 0; pair < c->n_pairs; pair += n) {
            const uint32_t left = c->n_pairs - pair;
            const uint32_t tiles = (left + TILE_PAIRS - 1) / TILE_PAIRS;
            n = (left + tiles - 1) / tiles;
            switch (n) {
                TILE_CASES(TILE_CASE)
            default:
                break;
            }
        }
    }
}

/* A call's chunk without its rows. */
INLINE attend_chunk chunk_of(const sl_attend *a, uint32_t chunk_rows) {
    const size_t pairs_max = (size_t)chunk_rows * a->n_group;
    const size_t pairs_room = (pairs_max + 15) / 16 * 16;
    attend_chunk c = {.a = a};
    c.q_stride = sl_attend_query_floats(a->d_k);
    c.o_stride = ((size_t)a->d_v + 15) / 16 * 16;
    c.scores = a->scratch;
    c.tile.max = c.scores + (size_t)SL_ATTEND_TILE_MAX * BLOCK;
    c.tile.sum = c.tile.max + 16;
    c.tile.o = c.tile.sum + 16;
    c.q = c.tile.o + SL_ATTEND_TILE_MAX * c.o_stride;
    c.state.o = c.q + pairs_max * c.q_stride;
    c.state.max = c.state.o + pairs_max * c.o_stride;
    c.state.sum = c.state.max + pairs_room;
    c.blocks = sl_attend_blocks_seen(a->pos0, a->n_rows, a->window, a->n_keys);
    return c;
}
INLINE void attend_rows(sl_kv_type type, const sl_attend *a) {
    const uint32_t chunk_rows = sl_attend_chunk_rows(a->n_rows, a->n_group);
    const float q_scale = a->scale * LOG2_E;
    attend_chunk c = chunk_of(a, chunk_rows);
    for (uint32_t row = 0; row < a->n_rows; row += chunk_rows) {
        chunk_rows_set(&c, row, chunk_rows);
        for (uint32_t p = 0; p < c.n_pairs; p++) {
            const float *q = a->q + (row + p / a->n_group) * a->q_stride +
                             (size_t)(p % a->n_group) * a->d_k;
            if (kv_is_codes(type)) {
                LEVEL(query_codes)(q, a->d_k, q_scale, c.q + p * c.q_stride);
                continue;
            }
            scale_row(q, a->d_k, q_scale, c.q + p * c.q_stride);
        }
        if (a->parts) {
            attend_chunk_run(type, &c, (sl_attend_blocks){a->block_begin, a->block_end});
            continue;
        }
        chunk_begin(&c);
        attend_chunk_run(type, &c, c.blocks);
        chunk_end(&c);
    }
}

static void LEVEL(attend_int8)(const sl_attend *a) {
    attend_rows(SL_KV_INT8, a);
}
static void LEVEL(attend_int4)(const sl_attend *a) {
    attend_rows(SL_KV_INT4, a);
}

#if ATTEND_VNNI
void LEVEL(sl_attend_fill)(sl_kernels *k) {
    k->attend[SL_KV_INT8] = LEVEL(attend_int8);
    k->attend[SL_KV_INT4] = LEVEL(attend_int4);
}
#else
static void LEVEL(attend_merge)(const sl_attend *a) {
    const uint32_t chunk_rows = sl_attend_chunk_rows(a->n_rows, a->n_group);
    attend_chunk c = chunk_of(a, chunk_rows);
    for (uint32_t row = 0; row < a->n_rows; row += chunk_rows) {
        chunk_rows_set(&c, row, chunk_rows);
        chunk_begin(&c);
        for (uint32_t block = c.blocks.begin; block < c.blocks.end; block++) {
            const attend_state parts = state_of_part(&c, block);
            for (uint32_t pair = 0, n; pair < c.n_pairs; pair += n) {
                n = c.n_pairs - pair < TILE_PAIRS ? c.n_pairs - pair : TILE_PAIRS;
                attend_state state = state_of_pair(&c, c.state, pair);
                const attend_state part = state_of_pair(&c, parts, pair);
                seen_range seen[TILE_PAIRS];
                (void)tile_sees(&c, pair, n, block * BLOCK, seen);
                LEVEL(tile_merge)(&c, n, seen, &state, &part);
            }
        }
        chunk_end(&c);
    }
}

static void LEVEL(attend_f16)(const sl_attend *a) {
    attend_rows(SL_KV_F16, a);
}
static void LEVEL(attend_f32)(const sl_attend *a) {
    attend_rows(SL_KV_F32, a);
}
static void LEVEL(attend_bf16)(const sl_attend *a) {
    attend_rows(SL_KV_BF16, a);
}

#include "kernels/x86/kv_short.inc.h"

void LEVEL(sl_attend_fill)(sl_kernels *k) {
    k->attend[SL_KV_F16] = LEVEL(attend_f16);
    k->attend[SL_KV_F32] = LEVEL(attend_f32);
    k->attend[SL_KV_BF16] = LEVEL(attend_bf16);
    k->attend[SL_KV_INT8] = LEVEL(attend_int8);
    k->attend[SL_KV_INT4] = LEVEL(attend_int4);
    k->attend_merge = LEVEL(attend_merge);
    k->kv_store[SL_KV_F16] = LEVEL(kv_store_f16);
    k->kv_store[SL_KV_BF16] = LEVEL(kv_store_bf16);
    k->kv_store_rows[SL_KV_F16] = LEVEL(kv_store_rows_f16);
    k->kv_store_rows[SL_KV_BF16] = LEVEL(kv_store_rows_bf16);
    k->kv_store[SL_KV_INT8] = LEVEL(kv_store_int8);
    k->kv_store[SL_KV_INT4] = LEVEL(kv_store_int4);
}
#endif
