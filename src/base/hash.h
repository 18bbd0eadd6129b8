/* Fast 64-bit mixing for hash tables in memory. Not for anything that leaves the process or must
 * resist an attacker: a table with keys from outside bounds its probes or has a secret seed, and
 * compares keys on a hit. */
#ifndef SL_BASE_HASH_H
#define SL_BASE_HASH_H

#include <stdint.h>

/* Folds the 128-bit product of a and b to 64 bits (the step of wyhash, public domain). */
static inline uint64_t sl_hash_mum(uint64_t a, uint64_t b) {
    unsigned __int128 p = (unsigned __int128)a * b;
    return (uint64_t)p ^ (uint64_t)(p >> 64);
}

/* For keys that are integers. A bijection (the finaliser of splitmix64), so distinct keys never
 * collide. */
static inline uint64_t sl_hash_u64(uint64_t x) {
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9ull;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EBull;
    return x ^ (x >> 31);
}

#endif
