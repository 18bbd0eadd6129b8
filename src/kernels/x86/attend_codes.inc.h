/* Part of attend.inc.h: scores and values of INT8 and INT4 pages (kv_type.h). Lanes are tokens for
 * scores: a load has four codes of each of VL tokens, and a query's four codes come from one
 * broadcast. Integer sums are exact, whichever instructions make them:
 *   ATTEND_VNNI 1   dpbusd: unsigned key times signed query, four at a time
 *   ATTEND_VNNI 0   madd of the even and of the odd bytes, each widened to 16 bits: no more than
 *                   2 x 255 x 127 in a 32-bit lane (pmaddubsw would saturate) */

#if ATTEND_VNNI
typedef uint32_t query_word; /* four codes of a query */
typedef vi key_codes;
INLINE query_word query_word_of(const int8_t *codes) {
    query_word q;
    memcpy(&q, codes, sizeof(q));
    return q;
}
INLINE key_codes key_codes_of(vi codes) {
    return codes;
}
INLINE vi codes_dot(vi acc, key_codes k, const query_word *q) {
    return vi_dpbusd(acc, k, vi_set1((int32_t)*q));
}
INLINE vi weights_dot(vi acc, vi values, vi weights) {
    return vi_dpwssd(acc, values, weights);
}
#else
typedef struct query_word {
    uint32_t even, odd; /* of four codes the first and third, and the others, in 16 bits */
} query_word;
typedef struct key_codes {
    vi even, odd;
} key_codes;
INLINE query_word query_word_of(const int8_t *codes) {
    return (query_word){(uint16_t)codes[0] | (uint32_t)(uint16_t)codes[2] << 16,
                        (uint16_t)codes[1] | (uint32_t)(uint16_t)codes[3] << 16};
}
INLINE key_codes key_codes_of(vi codes) {
    const vi low = vi_set1(0x00ff00ff);
    return (key_codes){vi_and(codes, low), vi_and(vi_shr(codes, 8), low)};
}
INLINE vi codes_dot(vi acc, key_codes k, const query_word *q) {
    acc = vi_add(acc, vi_madd(k.even, vi_set1((int32_t)q->even)));
    return vi_add(acc, vi_madd(k.odd, vi_set1((int32_t)q->odd)));
}
INLINE vi weights_dot(vi acc, vi values, vi weights) {
    return vi_add(acc, vi_madd(values, weights));
}
#endif

#include "kernels/x86/kv_codes.inc.h"

/* As PAGES_AHEAD, but of smaller pages: a whole block, whose scales are read first of all. */
#define CODES_AHEAD (SL_ATTEND_BLOCK / SL_PAGE_TOKENS)

/* Scale and minimum of VL groups. */
INLINE vf group_scales(vi scales) {
    return vf_of_bits(vi_shl(scales, 16));
}
INLINE vf group_minima(vi scales) {
    return vf_of_bits(vi_and(scales, vi_set1((int32_t)0xffff0000)));
}

/* Scores of P pairs with 2 VL tokens of a page, from token `token`; q as query_codes made it. */
INLINE void page_scores_int8(uint32_t P, const attend_chunk *c, const float *q, const uint8_t *k,
                             uint32_t token, const uint8_t *next, float *scores) {
    const uint32_t d_k = c->a->d_k, n = (d_k + 3) / 4;
    vi acc[TILE_PAIRS][2];
    const query_word *words[TILE_PAIRS];
    UNROLL(8)
    for (uint32_t p = 0; p < P; p++) {
        const float *row = q + p * c->q_stride;
        int32_t begin;
        memcpy(&begin, row + 1, sizeof(begin));
        acc[p][0] = vi_set1(begin);
        acc[p][1] = vi_set1(begin);
        words[p] = (const query_word *)(const void *)(row + QUERY_CODES(d_k));
    }
    for (uint32_t i = 0; i < n; i++) {
        const size_t at = ((size_t)i * PAGE + token) * 4;
        const key_codes k0 = key_codes_of(vi_load(k + at));
        const key_codes k1 = key_codes_of(vi_load(k + at + VL * 4));
        kv_prefetch(next + at, VL * 8);
        UNROLL(8)
        for (uint32_t p = 0; p < P; p++) {
            acc[p][0] = codes_dot(acc[p][0], k0, words[p] + i);
            acc[p][1] = codes_dot(acc[p][1], k1, words[p] + i);
        }
    }
    const float *scale = (const float *)(const void *)(k + (size_t)n * PAGE * 4) + token;
    const vf s0 = vf_load(scale), s1 = vf_load(scale + VL);
    kv_prefetch(next + ((size_t)n * PAGE + token) * 4, VL * 8);
    UNROLL(8)
    for (uint32_t p = 0; p < P; p++) {
        const vf factor = vf_set1(q[p * c->q_stride]);
        float *to = scores + (size_t)p * BLOCK + token;
        vf_store(to, vf_mul(vf_of_int(acc[p][0]), vf_mul(s0, factor)));
        vf_store(to + VL, vf_mul(vf_of_int(acc[p][1]), vf_mul(s1, factor)));
    }
}

/* The same with INT4. The sums over the groups wait in `scores`. */
INLINE void page_scores_int4(uint32_t P, const attend_chunk *c, const float *q, const uint8_t *k,
                             uint32_t token, const uint8_t *next, float *scores) {
    const uint32_t d_k = c->a->d_k, n = QUERY_GROUPS(d_k);
    const vi low = vi_set1(0x0f0f0f0f);
    const size_t scales_at = (size_t)n * PAGE * 16;
    for (uint32_t g = 0; g < n; g++) {
        vi acc[TILE_PAIRS][2];
        UNROLL(8)
        for (uint32_t p = 0; p < P; p++) {
            acc[p][0] = vi_zero();
            acc[p][1] = vi_zero();
        }
        for (uint32_t i = 0; i < 4; i++) {
            const size_t at = (((size_t)g * 4 + i) * PAGE + token) * 4;
            kv_prefetch(next + at, VL * 8);
            UNROLL(2)
            for (uint32_t part = 0; part < 2; part++) {
                const vi two = vi_load(k + at + part * VL * 4);
                const key_codes k0 = key_codes_of(vi_and(two, low));
                const key_codes k1 = key_codes_of(vi_and(vi_shr(two, 4), low));
                UNROLL(8)
                for (uint32_t p = 0; p < P; p++) {
                    const query_word *word = (const query_word *)(const void *)(q +
                                                                                p * c->q_stride +
                                                                                QUERY_CODES(d_k)) +
                                             (size_t)g * 8 + i;
                    acc[p][part] = codes_dot(acc[p][part], k0, word);
                    acc[p][part] = codes_dot(acc[p][part], k1, word + 4);
                }
            }
        }
        const size_t at = scales_at + ((size_t)g * PAGE + token) * 4;
        kv_prefetch(next + at, VL * 8);
        UNROLL(2)
        for (uint32_t part = 0; part < 2; part++) {
            const vi scales = vi_load(k + at + part * VL * 4);
            const vf s = group_scales(scales), m = group_minima(scales);
            UNROLL(8)
            for (uint32_t p = 0; p < P; p++) {
                const float *row = q + p * c->q_stride;
                float *to = scores + (size_t)p * BLOCK + token + part * VL;
                vf sum = g == 0 ? vf_zero() : vf_load(to);
                sum = vf_fma(vf_of_int(acc[p][part]), s, sum);
                sum = vf_fma(vf_set1(row[2 + g]), m, sum);
                vf_store(to, g + 1 < n ? sum : vf_mul(sum, vf_set1(row[0])));
            }
        }
    }
}

/* As tile_scores. */
INLINE void tile_scores_codes(sl_kv_type type, uint32_t P, const attend_chunk *c, uint32_t pair,
                              const page_stream *pages, float *scores) {
    const sl_attend *a = c->a;
    const float *q = c->q + pair * c->q_stride;
    for (uint32_t page = 0; page < pages->n; page++, scores += PAGE) {
        const uint8_t *k = stream_at(a, pages, page);
        const uint8_t *next = stream_at(a, pages, page + CODES_AHEAD);
        for (uint32_t token = 0; token < PAGE; token += 2 * VL) {
            if (type == SL_KV_INT8) {
                page_scores_int8(P, c, q, k, token, next, scores);
            } else {
                page_scores_int4(P, c, q, k, token, next, scores);
            }
        }
    }
}

/* INT8 values. What a pair's tokens weigh in a block, their scales included, is rounded to 15 bits
 * of the largest, so that a sum over all tokens of a block is an exact integer: no more than
 * 256 x 32767 x 127, below 2^31. A token that a pair does not see weighs 0: a tile needs no edges
 * here. */

/* The weights of a pair, in place, as int16 for all tokens of the pages. Returns their scale. */
static __attribute__((noinline)) float LEVEL(weights_codes)(const sl_attend *a,
                                                            const page_stream *pages,
                                                            seen_range seen, float *weights) {
    const size_t scales_at = a->v_offset + sl_kv_value_codes_bytes(SL_KV_INT8, a->d_v);
    const uint32_t first = seen.begin / VL * VL;
    vi max = vi_zero();
    for (uint32_t t = first; t < seen.end; t += VL) {
        const uint8_t *page = a->store + (size_t)pages->table[t / PAGE] * a->page_bytes;
        vf w = vf_mul(vf_load(weights + t),
                      vf_load((const float *)(const void *)(page + scales_at) + t % PAGE));
        if (t < seen.begin) {
            w = vf_select_below(seen.begin - t, vf_zero(), w);
        }
        if (seen.end - t < VL) {
            w = vf_select_below(seen.end - t, w, vf_zero());
        }
        vf_store(weights + t, w);
        max = vi_max_epu32(max, vi_bits(w)); /* none is negative */
    }
    const uint32_t max_bits = vi_max_u32(max);
    const float most = sl_float_of_bits(max_bits);
    const bool none = max_bits >= 0x7f800000u || most < SL_QUANTIZE_AMAX_MIN;
    const vf inverse = vf_set1(none ? 0.0f : 32767.0f / most);
    int16_t *codes = (int16_t *)(void *)weights;
    for (uint32_t t = pages->begin * PAGE; t < (pages->begin + pages->n) * PAGE; t += VL) {
        const bool some = !none && t >= first && t < seen.end;
        vi_store_i16(codes + t, some ? vi_of_vf(vf_mul(vf_load(weights + t), inverse)) : vi_zero());
    }
    return max_bits >= 0x7f800000u ? sl_float_of_bits(0x7fc00000u) : none ? 0.0f : most / 32767.0f;
}

/* o[p][0 .. W vectors) from element `at` = the weights of all tokens of the pages times their
 * values, times scale[p]. Vectors may go beyond the last element: the V block does too, and o has
 * room. */
INLINE void values_part_int8(uint32_t P, uint32_t W, const attend_chunk *c,
                             const page_stream *pages, uint32_t at, const float *scale, float *o) {
    const sl_attend *a = c->a;
    vi acc[TILE_PAIRS][CHUNK];
    UNROLL(8)
    for (uint32_t p = 0; p < P; p++) {
        UNROLL(4)
        for (uint32_t w = 0; w < W; w++) {
            acc[p][w] = vi_zero();
        }
    }
    for (uint32_t page = 0; page < pages->n; page++) {
        const uint8_t *values = stream_at(a, pages, pages->n + page) + (size_t)at * 2;
        const uint8_t *next = stream_at(a, pages, pages->n + page + CODES_AHEAD) + (size_t)at * 2;
        kv_prefetch(next + (size_t)a->d_v * PAGE, PAGE * sizeof(float));               /* scales */
        const float *weights = c->scores + (size_t)(pages->begin + page) * (PAGE / 2); /* pairs */
        for (uint32_t i = 0; i < PAGE / 2; i++, values += (size_t)a->d_v * 2) {
            vi v[CHUNK];
            UNROLL(4)
            for (uint32_t w = 0; w < W; w++) {
                v[w] = vi_load_i8_16(values + (size_t)w * VL * 2);
            }
            kv_prefetch(next + (size_t)i * a->d_v * 2, (size_t)W * VL * 2);
            UNROLL(8)
            for (uint32_t p = 0; p < P; p++) {
                const vi x = vi_bits(vf_set1(weights[p * BLOCK + i]));
                UNROLL(4)
                for (uint32_t w = 0; w < W; w++) {
                    acc[p][w] = weights_dot(acc[p][w], v[w], x);
                }
            }
        }
    }
    UNROLL(8)
    for (uint32_t p = 0; p < P; p++) {
        UNROLL(4)
        for (uint32_t w = 0; w < W; w++) {
            vf_store(o + p * c->o_stride + at + w * VL,
                     vf_mul(vf_of_int(acc[p][w]), vf_set1(scale[p])));
        }
    }
}

/* 3. of a tile. */
INLINE void tile_values_int8(uint32_t P, const attend_chunk *c, const page_stream *pages,
                             const seen_range *seen, float *o) {
    float scale[TILE_PAIRS];
    for (uint32_t p = 0; p < P; p++) {
        scale[p] = LEVEL(weights_codes)(c->a, pages, seen[p], c->scores + (size_t)p * BLOCK);
    }
    const uint32_t d_v = c->a->d_v;
    uint32_t at = 0;
    for (; at + CHUNK * VL <= d_v; at += CHUNK * VL) {
        values_part_int8(P, CHUNK, c, pages, at, scale, o);
    }
    for (; at < d_v; at += VL) {
        values_part_int8(P, 1, c, pages, at, scale, o);
    }
}

/* W vectors of the INT4 value in a slot of a V block, from element `at`. Vectors may go beyond the
 * last element: the block does too. */
INLINE void value_int4(uint32_t W, const uint8_t *values, uint32_t d_v, uint32_t slot, uint32_t at,
                       vf *v) {
    const uint32_t n_groups = QUERY_GROUPS(d_v);
    const uint8_t *codes = values + (size_t)slot * n_groups * 16;
    const uint8_t *scales = values + (size_t)n_groups * PAGE * 16 + (size_t)slot * n_groups * 4;
    UNROLL(4)
    for (uint32_t w = 0; w < W; w++) {
        const uint32_t element = at + w * VL, g = element / GROUP;
        uint32_t both;
        memcpy(&both, scales + (size_t)g * 4, sizeof(both));
        const vi two = vi_load_u8(codes + (size_t)g * 16 + element % 16);
        const vi code = element % GROUP < 16 ? vi_and(two, vi_set1(15)) : vi_shr(two, 4);
        v[w] = vf_fma(vf_of_int(code), group_scales(vi_set1((int32_t)both)),
                      group_minima(vi_set1((int32_t)both)));
    }
}
