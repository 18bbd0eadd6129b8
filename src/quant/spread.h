/* Private to src/quant: small fields packed in a word, one to each byte of 64 bits; for the formats
 * whose elements follow each other bit by bit. Such a format is decoded to signed bytes, which are
 * then scaled in long runs.
 *
 * Byte j of the 64 bits is the j-th lowest; sl_spread_store relies on the little-endian memory that
 * the whole program needs. */
#ifndef SL_QUANT_SPREAD_H
#define SL_QUANT_SPREAD_H

#include <stdint.h>
#include <string.h>

#define SL_SPREAD_ONES 0x0101010101010101u /* 1 in each byte */

/* Bit j of the 8 to byte j. */
static inline uint64_t sl_spread1(uint32_t bits) {
    const uint64_t apart = bits * SL_SPREAD_ONES & 0x8040201008040201u;
    return (apart + 127 * SL_SPREAD_ONES) >> 7 & SL_SPREAD_ONES; /* no byte reaches 256 */
}

/* Bits 2j, 2j + 1 of the 16 to byte j. */
static inline uint64_t sl_spread2(uint32_t bits) {
    uint64_t x = bits;
    x = (x | x << 24) & 0x000000ff000000ffu;
    x = (x | x << 12) & 0x000f000f000f000fu;
    return (x | x << 6) & 0x0303030303030303u;
}

/* Bits 4j .. 4j + 3 of the 32 to byte j. */
static inline uint64_t sl_spread4(uint32_t bits) {
    uint64_t x = bits;
    x = (x | x << 16) & 0x0000ffff0000ffffu;
    x = (x | x << 8) & 0x00ff00ff00ff00ffu;
    return (x | x << 4) & 0x0f0f0f0f0f0f0f0fu;
}

/* Byte j minus k, as a signed number; bytes and k are at most 127. */
static inline uint64_t sl_spread_minus(uint64_t bytes, uint32_t k) {
    return (bytes + (128 - k) * SL_SPREAD_ONES) ^ 128 * SL_SPREAD_ONES;
}

static inline void sl_spread_store(uint64_t bytes, int8_t *q) {
    memcpy(q, &bytes, sizeof(bytes));
}

/* dst[i] = scales[i / run] * q[i] for n_runs runs. */
static inline void sl_runs_scale(const int8_t *restrict q, const float *restrict scales, int n_runs,
                                 int run, float *restrict dst) {
    for (int r = 0; r < n_runs; r++) {
        for (int i = 0; i < run; i++) {
            dst[run * r + i] = scales[r] * (float)q[run * r + i];
        }
    }
}

#endif
