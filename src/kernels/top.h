/* What is left of a row of logits when not all of it is wanted: its largest numbers, and the
 * logarithm of the sum of its exponentials. Both are found piece by piece, so that no whole row
 * need ever be in memory. The largest come out the same in whatever pieces and order they are
 * looked at; the sum is that of blocks of SL_TOP_BLOCK logits at fixed places, added in their
 * order.
 *
 * A key orders logits: the upper half is a float mapped so that unsigned order is the float's
 * order, the lower half the complement of the id. So a larger key means a larger logit, then a
 * lower id; keys of distinct tokens differ. */
#ifndef SL_KERNELS_TOP_H
#define SL_KERNELS_TOP_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "kernels/kernels.h"

#define SL_TOP_MAX 64 /* that may be wanted of a row */
/* That may be looked for: those that a device computes again may change places. */
#define SL_TOP_ROOM (SL_TOP_MAX + 16)
#define SL_TOP_BLOCK 256 /* a multiple of SL_PANEL_ROWS */

static inline uint64_t sl_top_key(float x, uint32_t id) {
    float plus = x + 0.0f; /* -0 becomes +0: the two are equal */
    uint32_t bits;
    memcpy(&bits, &plus, sizeof(bits));
    bits ^= (bits >> 31) != 0 ? 0xFFFFFFFFu : 0x80000000u;
    return (uint64_t)bits << 32 | (uint32_t)~id;
}
static inline uint32_t sl_top_key_id(uint64_t key) {
    return ~(uint32_t)key;
}
/* The logit, but for the sign of a zero. */
static inline float sl_top_key_logit(uint64_t key) {
    uint32_t bits = (uint32_t)(key >> 32);
    bits ^= (bits >> 31) != 0 ? 0x80000000u : 0xFFFFFFFFu;
    float x;
    memcpy(&x, &bits, sizeof(x));
    return x;
}

/* The n_wanted largest logits that were looked at so far, -infinity aside. */
typedef struct sl_top {
    uint32_t n_wanted; /* 1 .. SL_TOP_ROOM */
    uint32_t n;        /* there are */
    bool has_nan;      /* one of those looked at is not a number: the others do not matter */
    uint64_t keys[SL_TOP_ROOM]; /* [n] largest first */
} sl_top;

static inline void sl_top_begin(sl_top *t, uint32_t n_wanted) {
    t->n_wanted = n_wanted;
    t->n = 0;
    t->has_nan = false;
}
/* Looks at the logits of tokens first .. first + n - 1. */
void sl_top_look(const sl_kernels *k, sl_top *t, const float *x, uint32_t n, uint32_t first);
/* Looks at what another one found. */
void sl_top_merge(sl_top *t, const sl_top *from);

/* sum * exp(max) is a sum of exponentials. */
typedef struct sl_exp_sum {
    float max;
    double sum;
} sl_exp_sum;

#define SL_EXP_SUM_NONE ((sl_exp_sum){.max = -__builtin_inff()})

/* Of the n logits of one block. */
sl_exp_sum sl_exp_sum_of(const sl_kernels *k, const float *x, uint32_t n);
/* The next block's sum is added. */
void sl_exp_sum_add(sl_exp_sum *total, sl_exp_sum block);
/* One term of the sum changes from exp(from) to exp(to). */
void sl_exp_sum_change(sl_exp_sum *sum, float from, float to);
double sl_exp_sum_log(sl_exp_sum total);

#endif
