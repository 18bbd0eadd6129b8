/* A fast 64-bit hash for tables in memory. Not for anything that leaves the process or must resist
 * an attacker who can read hashes: use a secret seed where keys come from outside, and compare keys
 * on a hit. The value depends on the byte order of the machine. Method: multiply and fold, as in
 * wyhash (public domain). */
#ifndef SL_BASE_HASH_H
#define SL_BASE_HASH_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Folds the 128-bit product of a and b to 64 bits. */
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

static inline uint64_t sl_hash_bytes(const void *data, size_t len, uint64_t seed) {
    const uint64_t k0 = 0xA0761D6478BD642Full, k1 = 0xE7037ED1A0B428DBull;
    const unsigned char *p = data;
    uint64_t h = seed ^ k0, a, b;
    size_t left = len;
    for (; left >= 16; left -= 16, p += 16) {
        memcpy(&a, p, 8);
        memcpy(&b, p + 8, 8);
        h = sl_hash_mum(a ^ k1, b ^ h);
    }
    unsigned char tail[16] = {0};
    if (left > 0) {
        memcpy(tail, p, left);
    }
    memcpy(&a, tail, 8);
    memcpy(&b, tail + 8, 8);
    h = sl_hash_mum(a ^ k1, b ^ h);
    return sl_hash_u64(h ^ ((uint64_t)len * k1));
}

#endif
