/* Part of attend.inc.h: which tokens of a block a pair sees, and what its scores are besides the
 * scaled product of query and key. Nothing of it is in the loops over d_k and d_v.
 *
 * Pairs are in the order of their rows, and of what consecutive rows see both ends never fall, and
 * no token between is left out: the tokens that a tile sees are one range, from its first pair's
 * begin to its last pair's end. */

/* Tokens [begin, end) of a block, counted from its first; empty: begin == end. */
typedef struct seen_range {
    uint32_t begin, end;
} seen_range;

/* Of the sequence, for one pair. */
INLINE seen_range pair_sees(const attend_chunk *c, uint32_t pair) {
    const uint32_t row = pair / c->a->n_group;
    if (c->a->n_keys) {
        return (seen_range){0, c->a->n_keys};
    }
    const uint32_t end = c->a->pos0 + c->row + row + 1;
    const uint32_t window = c->a->window;
    return (seen_range){window && end > window ? end - window : 0, end};
}

INLINE uint32_t block_clip(uint32_t token, uint32_t t0) {
    return token <= t0 ? 0 : token - t0 < BLOCK ? token - t0 : BLOCK;
}
/* Of the block that begins at token t0. */
INLINE seen_range pair_sees_of_block(const attend_chunk *c, uint32_t pair, uint32_t t0) {
    const seen_range all = pair_sees(c, pair);
    return (seen_range){block_clip(all.begin, t0), block_clip(all.end, t0)};
}

/* seen[p] of P pairs from `pair` on; returns what any of them sees. */
INLINE seen_range tile_sees(const attend_chunk *c, uint32_t pair, uint32_t P, uint32_t t0,
                            seen_range *seen) {
    for (uint32_t p = 0; p < P; p++) {
        seen[p] = pair_sees_of_block(c, pair + p, t0);
    }
    return (seen_range){seen[0].begin, seen[P - 1].end};
}

/* Caps a pair's scores and adds its ALiBi bias; scores of the block at t0, all in base 2. Whole
 * vectors around the range: what lies beside it is not used. */
static __attribute__((noinline)) void LEVEL(scores_adjust)(const attend_chunk *c, uint32_t pair,
                                                           uint32_t t0, seen_range seen,
                                                           float *scores) {
    static const int32_t lane[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    const sl_attend *a = c->a;
    const uint32_t first = seen.begin / VL * VL;
    if (a->softcap != 0.0f) {
        const float cap = a->softcap * LOG2_E;
        const vf high = vf_set1(cap), inverse = vf_set1(1.0f / cap);
        for (uint32_t t = first; t < seen.end; t += VL) {
            vf_store(scores + t, vf_mul(high, vf_tanh(vf_mul(vf_load(scores + t), inverse))));
        }
    }
    if (a->slopes) {
        const vf slope = vf_set1(a->slopes[pair % a->n_group] * LOG2_E);
        const uint32_t pos = a->pos0 + c->row + pair / a->n_group;
        for (uint32_t t = first; t < seen.end; t += VL) {
            const vi distance = vi_add(vi_load(lane), vi_set1((int32_t)(t0 + t - pos)));
            vf_store(scores + t, vf_fma(slope, vf_of_int(distance), vf_load(scores + t)));
        }
    }
}
