/* The sparse count table of one request (sl_sample_history in sampler.h): a dense list of the
 * distinct tokens, which the penalties walk, and an open-addressed index into it. Owner: whoever
 * owns the request. */
#include <string.h>

#include "base/hash.h"
#include "sample/sampler.h"

#define HISTORY_MAX (1u << 30)
#define HISTORY_COUNT_MAX 0x7FFFFFFFu /* what 31 bits hold */

/* Slots of the index: a power of two, at least twice the entries, so that a free one is near. */
static uint32_t history_n_slots(uint32_t n_max) {
    uint32_t n = 8;
    while (n < 2 * n_max) {
        n *= 2;
    }
    return n;
}

static uint32_t history_clamp(uint32_t n_tokens_max) {
    return n_tokens_max < HISTORY_MAX ? n_tokens_max : HISTORY_MAX;
}

size_t sl_sample_history_bytes(uint32_t n_tokens_max) {
    uint32_t n = history_clamp(n_tokens_max);
    return n * sizeof(sl_sample_seen) + history_n_slots(n) * sizeof(uint32_t);
}

void sl_sample_history_init(sl_sample_history *h, void *memory, uint32_t n_tokens_max) {
    uint32_t n = history_clamp(n_tokens_max), n_slots = history_n_slots(n);
    sl_sample_seen *seen = memory;
    *h = (sl_sample_history){
        .seen = seen, .slots = (uint32_t *)(void *)(seen + n), .mask = n_slots - 1, .n_max = n};
    memset(h->slots, 0, n_slots * sizeof(*h->slots));
}

/* The entry of `id`, made if there is none; NULL when the table is full. */
static sl_sample_seen *history_entry(sl_sample_history *h, int32_t id) {
    uint32_t i = (uint32_t)sl_hash_u64((uint32_t)id) & h->mask;
    for (; h->slots[i] != 0;
         i = (i + 1) & h->mask) { /* ends: at most half of the slots are taken */
        sl_sample_seen *e = &h->seen[h->slots[i] - 1];
        if (e->id == id) {
            return e;
        }
    }
    if (h->n >= h->n_max) {
        return NULL;
    }
    h->seen[h->n] = (sl_sample_seen){.id = id};
    h->slots[i] = ++h->n;
    return &h->seen[h->n - 1];
}

void sl_sample_history_add_prompt(sl_sample_history *h, const int32_t *ids, size_t n) {
    for (size_t i = 0; i < n; i++) {
        sl_sample_seen *e = history_entry(h, ids[i]);
        if (e != NULL) {
            e->in_prompt = 1;
        }
    }
}

void sl_sample_history_add_output(sl_sample_history *h, int32_t id) {
    sl_sample_seen *e = history_entry(h, id);
    if (e != NULL && e->n_output < HISTORY_COUNT_MAX) {
        e->n_output++;
    }
}
