/* Selection by rank or by mass in linear time, for the sampler. Private to src/sample.
 * Keys order tokens by a number, the lowest id first: see kernels/top.h. */
#ifndef SL_SAMPLE_SAMPLE_SELECT_H
#define SL_SAMPLE_SAMPLE_SELECT_H

#include <stddef.h>
#include <stdint.h>

#include "kernels/top.h"

/* The cut: the keys >= the result are the shortest run of largest keys whose weights sum to at
 * least `target` (all keys when they never do, one key when target <= 0). weights NULL: each
 * weighs 1. n >= 1; keys distinct. The inputs are not changed; scratch_keys and scratch_weights
 * have room for n. */
uint64_t sl_sample_cut(const uint64_t *keys, const float *weights, size_t n, double target,
                       uint64_t *scratch_keys, float *scratch_weights);

/* Sorts, largest key first. For small n. */
void sl_sample_sort(uint64_t *keys, size_t n);

#endif
