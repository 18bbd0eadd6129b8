/* Selection by rank or by mass in linear time, for the sampler. Private to src/sample.
 *
 * A key orders tokens: the upper half is a float mapped so that unsigned order is the float's
 * order, the lower half the complement of the id. So a larger key means a larger float, then a
 * lower id; keys of distinct tokens differ. */
#ifndef SL_SAMPLE_SAMPLE_SELECT_H
#define SL_SAMPLE_SAMPLE_SELECT_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

static inline uint64_t sl_sample_key(float x, uint32_t id) {
    float plus = x + 0.0f; /* -0 becomes +0: the two are equal */
    uint32_t bits;
    memcpy(&bits, &plus, sizeof(bits));
    bits ^= (bits >> 31) != 0 ? 0xFFFFFFFFu : 0x80000000u;
    return (uint64_t)bits << 32 | (uint32_t)~id;
}

static inline uint32_t sl_sample_key_id(uint64_t key) {
    return ~(uint32_t)key;
}

/* The cut: the keys >= the result are the shortest run of largest keys whose weights sum to at
 * least `target` (all keys when they never do, one key when target <= 0). weights NULL: each
 * weighs 1. n >= 1; keys distinct. The inputs are not changed; scratch_keys and scratch_weights
 * have room for n. */
uint64_t sl_sample_cut(const uint64_t *keys, const float *weights, size_t n, double target,
                       uint64_t *scratch_keys, float *scratch_weights);

/* Sorts, largest key first. For small n. */
void sl_sample_sort(uint64_t *keys, size_t n);

#endif
