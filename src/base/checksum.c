/* Four lanes of 16 bytes each, so that their multiplications overlap (checksum.h). A lane keeps
 * what it has seen also where a product is zero. */
#include "base/checksum.h"

#include <string.h>

#include "base/hash.h"

#define LANES 4
#define BLOCK_BYTES (16 * LANES)

/* Fractional digits of the square roots of 2, 3, 5, ... 19, made odd. */
static const uint64_t keys[2 * LANES] = {
    0x6A09E667F3BCC909u, 0xBB67AE8584CAA73Bu, 0x3C6EF372FE94F82Bu, 0xA54FF53A5F1D36F1u,
    0x510E527FADE682D1u, 0x9B05688C2B3E6C1Fu, 0x1F83D9ABFB41BD6Bu, 0x5BE0CD19137E2179u};

static inline void checksum_block(const uint8_t *p, uint64_t lanes[LANES]) {
    for (int i = 0; i < LANES; i++) {
        uint64_t a, b;
        memcpy(&a, p + 16 * i, sizeof(a));
        memcpy(&b, p + 16 * i + 8, sizeof(b));
        const uint64_t old = lanes[i];
        lanes[i] = (old << 29 | old >> 35) ^
                   sl_hash_mum(a ^ keys[2 * i], b ^ keys[2 * i + 1] ^ old);
    }
}

uint64_t sl_checksum(const void *data, size_t n, uint64_t seed) {
    const uint8_t *p = data;
    uint64_t lanes[LANES];
    for (uint64_t i = 0; i < LANES; i++) {
        lanes[i] = sl_hash_u64(seed + i);
    }
    size_t left = n;
    for (; left >= BLOCK_BYTES; left -= BLOCK_BYTES, p += BLOCK_BYTES) {
        checksum_block(p, lanes);
    }
    if (left > 0) { /* zeros that fill it up are told from data by the length */
        uint8_t last[BLOCK_BYTES] = {0};
        memcpy(last, p, left);
        checksum_block(last, lanes);
    }
    uint64_t sum = sl_hash_u64((uint64_t)n);
    for (int i = 0; i < LANES; i++) {
        sum = sl_hash_u64(sum ^ lanes[i]);
    }
    return sum;
}
