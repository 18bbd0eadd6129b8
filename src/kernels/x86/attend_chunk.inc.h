/* Template of what all forms of attention share: the state of (row, head) pairs and how it takes
 * what they made of a block. Part of attend.inc.h and attend_amx.inc.h, on their vector words. */
#include <float.h>
#include <math.h>

#include "kernels/levels.h"
#include "kernels/x86/exp.inc.h"
#include "quant/half.h"

#define LOG2_E 0x1.715476p+0f
enum { PAGE = SL_PAGE_TOKENS, BLOCK = SL_ATTEND_BLOCK, PAGE_PARTS = SL_PAGE_TOKENS / VL };

/* What pairs make of some tokens: outputs [pair][o_stride] before their division, maxima in base 2,
 * sums. */
typedef struct attend_state {
    float *o, *max, *sum;
} attend_state;

/* A chunk of pairs, in scratch. */
typedef struct attend_chunk {
    const sl_attend *a;
    float *q;      /* [pair][q_stride], scaled by scale * log2(e); or their codes */
    float *scores; /* [TILE_PAIRS][BLOCK] */
    attend_state state, tile;
    size_t q_stride, o_stride;
    uint32_t n_pairs, row;   /* its first row */
    sl_attend_blocks blocks; /* of the call */
} attend_chunk;

#include "kernels/x86/attend_mask.inc.h"

/* P pairs' states take what the pairs made of a block, where they saw something. */
static __attribute__((noinline)) void LEVEL(tile_merge)(const attend_chunk *c, uint32_t P,
                                                        const seen_range *seen, attend_state *state,
                                                        const attend_state *part) {
    float keep[VL], take[VL], now[VL];
    const vf before = vf_load_part(state->max, P), there = vf_load_part(part->max, P);
    const vf max = vf_max(before, there);
    vf_store(keep, vf_exp2(vf_sub(before, max)));
    vf_store(take, vf_exp2(vf_sub(there, max)));
    vf_store(now, max);
    for (uint32_t p = 0; p < P; p++) {
        if (seen[p].begin >= seen[p].end) {
            continue;
        }
        float *o = state->o + p * c->o_stride;
        const float *more = part->o + p * c->o_stride;
        const vf k = vf_set1(keep[p]), t = vf_set1(take[p]);
        for (size_t j = 0; j < c->o_stride; j += VL) {
            vf_store(o + j, vf_fma(vf_load(more + j), t, vf_mul(vf_load(o + j), k)));
        }
        state->max[p] = now[p];
        state->sum[p] = state->sum[p] * keep[p] + part->sum[p] * take[p];
    }
}

INLINE attend_state state_of_pair(const attend_chunk *c, attend_state first, uint32_t pair) {
    return (attend_state){first.o + pair * c->o_stride, first.max + pair, first.sum + pair};
}
/* Of the chunk's pairs, in the call's parts. */
INLINE attend_state state_of_part(const attend_chunk *c, uint32_t block) {
    const sl_attend *a = c->a;
    const size_t n_pairs = (size_t)a->n_rows * a->n_group;
    float *o = a->parts +
               (block - c->blocks.begin) * sl_attend_part_floats(a->n_rows, a->n_group, a->d_v);
    const attend_state part = {o, o + n_pairs * c->o_stride,
                               o + n_pairs * c->o_stride + (n_pairs + 15) / 16 * 16};
    return state_of_pair(c, part, c->row * a->n_group);
}

/* Vectors by hand: compilers can't know that x and out are apart. */
INLINE void scale_row(const float *x, uint32_t n, float scale, float *out) {
    const uint32_t whole = n / VL * VL;
    const vf by = vf_set1(scale);
    for (uint32_t i = 0; i < whole; i += VL) {
        vf_store(out + i, vf_mul(vf_load(x + i), by));
    }
    if (whole < n) {
        vf_store_part(out + whole, vf_mul(vf_load_part(x + whole, n - whole), by), n - whole);
    }
}

/* The state that pairs start with: a sink is a score without a value. */
INLINE void chunk_begin(const attend_chunk *c) {
    const float *sinks = c->a->sinks;
    memset(c->state.o, 0, c->n_pairs * c->o_stride * sizeof(float));
    for (uint32_t p = 0; p < c->n_pairs; p++) {
        c->state.max[p] = sinks ? sinks[p % c->a->n_group] * LOG2_E : -INFINITY;
        c->state.sum[p] = sinks ? 1.0f : 0.0f;
    }
}
INLINE void chunk_end(const attend_chunk *c) {
    const sl_attend *a = c->a;
    for (uint32_t p = 0; p < c->n_pairs; p++) {
        float *out = a->out + (c->row + p / a->n_group) * a->out_stride +
                     (size_t)(p % a->n_group) * a->d_v;
        scale_row(c->state.o + p * c->o_stride, a->d_v, 1.0f / c->state.sum[p], out);
    }
}

INLINE void chunk_rows_set(attend_chunk *c, uint32_t row, uint32_t chunk_rows) {
    const uint32_t left = c->a->n_rows - row;
    c->row = row;
    c->n_pairs = (left < chunk_rows ? left : chunk_rows) * c->a->n_group;
}
