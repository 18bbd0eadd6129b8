/* See ngram.h. */
#include "sample/spec/ngram.h"

#include <string.h>

#include "base/hash.h"

#define NGRAM_MAX (1u << 30)

static uint32_t ngram_clamp(uint32_t n_tokens_max) {
    return n_tokens_max < NGRAM_MAX ? n_tokens_max : NGRAM_MAX;
}

static uint32_t ngram_n_heads(uint32_t n_max) {
    uint32_t n = 64;
    while (n < n_max) {
        n *= 2;
    }
    return n;
}

size_t sl_ngram_bytes(uint32_t n_tokens_max) {
    const uint32_t n = ngram_clamp(n_tokens_max);
    return ((size_t)n + ngram_n_heads(n)) * sizeof(uint32_t);
}

void sl_ngram_init(sl_ngram *g, void *memory, uint32_t n_tokens_max) {
    const uint32_t n = ngram_clamp(n_tokens_max), n_heads = ngram_n_heads(n);
    uint32_t *heads = memory;
    *g = (sl_ngram){.heads = heads, .before = heads + n_heads, .n_max = n, .mask = n_heads - 1};
    memset(heads, 0, n_heads * sizeof(*heads));
}

static inline int32_t ngram_at(const sl_ngram_text *text, uint32_t i) {
    return i < text->n_prompt ? text->prompt_ids[i] : text->out_ids[i - text->n_prompt];
}

/* Of the SL_NGRAM_MIN tokens that end with the one at i. */
static uint32_t ngram_hash(const sl_ngram_text *text, uint32_t i) {
    uint64_t h = 0;
    for (uint32_t k = 0; k < SL_NGRAM_MIN; k++) {
        h = sl_hash_u64(h + (uint32_t)ngram_at(text, i - k));
    }
    return (uint32_t)h;
}

void sl_ngram_grow(sl_ngram *g, const sl_ngram_text *text, uint32_t n) {
    n = n < g->n_max ? n : g->n_max;
    for (; g->n < n; g->n++) {
        if (g->n + 1 >= SL_NGRAM_MIN) {
            uint32_t *head = &g->heads[ngram_hash(text, g->n) & g->mask];
            g->before[g->n] = *head;
            *head = g->n + 1;
        }
    }
}

/* Tokens up to those at a < b that are the same, backwards. */
static uint32_t ngram_match_len(const sl_ngram_text *text, uint32_t a, uint32_t b) {
    uint32_t len = 0;
    while (len < SL_NGRAM_LONG && len <= a && ngram_at(text, a - len) == ngram_at(text, b - len)) {
        len++;
    }
    return len;
}

sl_ngram_match sl_ngram_find(const sl_ngram *g, const sl_ngram_text *text) {
    sl_ngram_match best = {0};
    if (g->n < SL_NGRAM_MIN) {
        return best;
    }
    const uint32_t last = g->n - 1;
    uint32_t next = g->before[last];
    for (uint32_t i = 0; i < SL_NGRAM_TRIES && next > 0 && best.len < SL_NGRAM_LONG; i++) {
        const uint32_t place = next - 1;
        const uint32_t len = ngram_match_len(text, place, last);
        if (len >= SL_NGRAM_MIN && len > best.len) { /* else tokens with the same hash */
            best = (sl_ngram_match){.place = place + 1, .len = len};
        }
        next = g->before[place];
    }
    return best;
}

void sl_ngram_copy(const sl_ngram_text *text, const sl_ngram_match *match, uint32_t n,
                   int32_t *out) {
    for (uint32_t i = 0; i < n; i++) {
        out[i] = ngram_at(text, match->place + i);
    }
}
