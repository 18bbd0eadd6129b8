/* Private to src/quant: small fields packed in a word, one to each byte of 64 bits, and eight such
 * bytes to floats; for the formats whose elements follow each other bit by bit.
 *
 * Byte j of the 64 bits is the j-th lowest; sl_spread_put relies on the little-endian memory that
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

/* dst[j] = scale * (byte j as a signed number). */
static inline void sl_spread_put(uint64_t bytes, float scale, float *restrict dst) {
    int8_t q[8];
    memcpy(q, &bytes, sizeof(q));
    for (int j = 0; j < 8; j++) {
        dst[j] = scale * (float)q[j];
    }
}

/* dst[j] = scale * (byte j as a signed number + shift). */
static inline void sl_spread_put_shifted(uint64_t bytes, float scale, float shift,
                                         float *restrict dst) {
    int8_t q[8];
    memcpy(q, &bytes, sizeof(q));
    for (int j = 0; j < 8; j++) {
        dst[j] = scale * ((float)q[j] + shift);
    }
}

#endif
