/* Philox4x32-10: random numbers as a pure function of a key and a counter. No state: the draw for
 * (seed, choice, position) is the same whatever was drawn before, so results do not depend on
 * batching, preemption or speculation. Any thread. Reference: Salmon, Moraes, Dror, Shaw, "Parallel
 * random numbers: as easy as 1, 2, 3", SC11. */
#ifndef SL_BASE_RNG_H
#define SL_BASE_RNG_H

#include <stdint.h>

typedef struct sl_philox {
    uint32_t v[4];
} sl_philox;

static inline sl_philox sl_philox4x32_10(sl_philox counter, const uint32_t key[2]) {
    sl_philox c = counter;
    uint32_t k0 = key[0], k1 = key[1];
    for (int round = 0; round < 10; round++) {
        uint64_t p0 = 0xD2511F53ull * c.v[0], p1 = 0xCD9E8D57ull * c.v[2];
        c = (sl_philox){{(uint32_t)(p1 >> 32) ^ c.v[1] ^ k0, (uint32_t)p1,
                         (uint32_t)(p0 >> 32) ^ c.v[3] ^ k1, (uint32_t)p0}};
        k0 += 0x9E3779B9u; /* golden ratio */
        k1 += 0xBB67AE85u; /* sqrt(3) - 1 */
    }
    return c;
}

/* Four words for output `choice` at `position` under `seed`. */
static inline sl_philox sl_rng_words(uint64_t seed, uint32_t choice, uint64_t position) {
    const uint32_t key[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)};
    sl_philox c = {{(uint32_t)position, (uint32_t)(position >> 32), choice, 0}};
    return sl_philox4x32_10(c, key);
}

/* Uniform in [0, 1), a multiple of 2^-53. */
static inline double sl_rng_double(uint64_t seed, uint32_t choice, uint64_t position) {
    sl_philox w = sl_rng_words(seed, choice, position);
    uint64_t bits = ((uint64_t)w.v[0] << 32 | w.v[1]) >> 11;
    return (double)bits * 0x1.0p-53;
}

#endif
