/* Names -> records of a GGUF directory in expected constant time.
 * Enters: a table of checked records; leaves: an open-addressing table of record numbers in the
 * caller's arena.
 * The names come from a hostile file, so the hash is SipHash-1-3 under a random key (Aumasson
 * and Bernstein, "SipHash: a fast short-input PRF", 2012): no file can make building or finding
 * quadratic.
 * Immutable once built; any thread may find. */
#include <string.h>
#include <sys/random.h>

#include "format/gguf_parse.h"

static uint64_t index_rotl(uint64_t x, int n) {
    return x << n | x >> (64 - n);
}

static void index_sip_round(uint64_t v[4]) {
    v[0] += v[1];
    v[2] += v[3];
    v[1] = index_rotl(v[1], 13) ^ v[0];
    v[3] = index_rotl(v[3], 16) ^ v[2];
    v[0] = index_rotl(v[0], 32);
    v[2] += v[1];
    v[0] += v[3];
    v[1] = index_rotl(v[1], 17) ^ v[2];
    v[3] = index_rotl(v[3], 21) ^ v[0];
    v[2] = index_rotl(v[2], 32);
}

static uint64_t index_hash(const uint64_t seed[2], sl_slice name) {
    uint64_t v[4] = {seed[0] ^ 0x736f6d6570736575u, seed[1] ^ 0x646f72616e646f6du,
                     seed[0] ^ 0x6c7967656e657261u, seed[1] ^ 0x7465646279746573u};
    size_t i = 0;
    for (; name.len - i >= 8; i += 8) {
        uint64_t word;
        memcpy(&word, name.ptr + i, 8);
        v[3] ^= word;
        index_sip_round(v);
        v[0] ^= word;
    }
    uint64_t last = (uint64_t)name.len << 56;
    for (size_t k = 0; i + k < name.len; k++) {
        last |= (uint64_t)(uint8_t)name.ptr[i + k] << (8 * k);
    }
    v[3] ^= last;
    index_sip_round(v);
    v[0] ^= last;
    v[2] ^= 0xff;
    for (int k = 0; k < 3; k++) {
        index_sip_round(v);
    }
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}

static sl_slice index_name(const sl_gguf_index *ix, uint64_t i) {
    return *(const sl_slice *)((const char *)ix->items + i * ix->stride);
}

/* The slot that holds `name`, or the empty one where it belongs. */
static uint64_t index_probe(const sl_gguf_index *ix, sl_slice name) {
    uint64_t at = index_hash(ix->seed, name) & ix->mask;
    while (ix->slots[at] != 0 && !sl_slice_eq(index_name(ix, ix->slots[at] - 1), name)) {
        at = (at + 1) & ix->mask;
    }
    return at;
}

sl_status sl_gguf_index_build(sl_gguf_index *ix, sl_arena *arena, const void *items, size_t stride,
                              uint64_t n, uint64_t *i_twin) {
    sl_gguf_index built = {.items = items, .stride = stride};
    if (n != 0) {
        /* At most three quarters full: 5 to 11 bytes per name. n <= SL_GGUF_ENTRIES_MAX. */
        uint64_t n_slots = 4;
        while (n_slots / 4 * 3 < n) {
            n_slots *= 2;
        }
        built.mask = n_slots - 1;
        built.slots = sl_arena_alloc_zero(arena, n_slots, sizeof(*built.slots));
        if (built.slots == NULL) {
            return SL_ERR_MEMORY;
        }
        if (getrandom(built.seed, sizeof(built.seed), GRND_NONBLOCK) !=
            (ssize_t)sizeof(built.seed)) {
            /* Early at boot only: addresses are what is left that a file's author cannot know. */
            built.seed[0] = (uint64_t)(uintptr_t)built.slots;
            built.seed[1] = (uint64_t)(uintptr_t)&built;
        }
    }
    for (uint64_t i = 0; i < n; i++) {
        uint64_t at = index_probe(&built, index_name(&built, i));
        if (built.slots[at] != 0) {
            *i_twin = i;
            return SL_ERR_FORMAT;
        }
        built.slots[at] = (uint32_t)(i + 1);
    }
    *ix = built;
    return SL_OK;
}

const void *sl_gguf_index_find(const sl_gguf_index *ix, sl_slice name) {
    if (ix->slots == NULL) {
        return NULL;
    }
    uint32_t slot = ix->slots[index_probe(ix, name)];
    return slot == 0 ? NULL : (const char *)ix->items + (slot - 1) * ix->stride;
}
