/* Hash tables of a vocabulary; see token_hash.h. Owner: the thread that opens the tokenizer. */
#include "text/tokenizer/token_hash.h"

#include <string.h>

#include "base/alloc.h"
#include "base/hash.h"

/* Multiply-and-fold over 8 bytes at a time. */
uint32_t sl_token_hash(const char *text, size_t len) {
    uint64_t h = 0x9E3779B97F4A7C15u ^ len;
    while (len >= 8) {
        uint64_t word;
        memcpy(&word, text, 8);
        h = sl_hash_mum(h ^ word, 0xD6E8FEB86659FD93u);
        text += 8;
        len -= 8;
    }
    uint64_t word = 0;
    for (size_t i = 0; i < len; i++) {
        word = word << 8 | (unsigned char)text[i];
    }
    h = sl_hash_mum(h ^ word, 0xA0761D6478BD642Fu);
    return (uint32_t)(h ^ h >> 32);
}

/* The smallest power of two with a load of at most 3/4; 0 if n is beyond 32 bit. */
static uint32_t hash_n_slots(size_t n) {
    uint64_t need = (uint64_t)n + n / 3 + 2;
    uint64_t slots = 16;
    while (slots < need) {
        slots *= 2;
    }
    return slots > UINT32_MAX ? 0 : (uint32_t)slots;
}

sl_status sl_token_map_init(sl_token_map *m, size_t n) {
    uint32_t n_slots = hash_n_slots(n);
    m->slots = n_slots == 0 ? NULL : sl_alloc_zero(n_slots, sizeof(*m->slots));
    m->mask = n_slots - 1;
    m->n = 0;
    return m->slots == NULL ? SL_ERR_MEMORY : SL_OK;
}

void sl_token_map_deinit(sl_token_map *m) {
    sl_free(m->slots);
    m->slots = NULL;
}

/* Places an entry into a table that has a free slot. */
static sl_status token_map_place(sl_token_map *m, sl_token_slot slot) {
    uint32_t i = slot.hash & m->mask;
    for (uint32_t probes = 0; probes < SL_PROBES_MAX; probes++, i = (i + 1) & m->mask) {
        if (m->slots[i].id_plus_1 == 0) {
            m->slots[i] = slot;
            m->n++;
            return SL_OK;
        }
    }
    return SL_ERR_LIMIT;
}

static sl_status token_map_grow(sl_token_map *m) {
    sl_token_map bigger = {0};
    sl_status status = sl_token_map_init(&bigger, (size_t)m->n * 2);
    for (uint32_t i = 0; status == SL_OK && i <= m->mask; i++) {
        if (m->slots[i].id_plus_1 != 0) {
            status = token_map_place(&bigger, m->slots[i]);
        }
    }
    if (status != SL_OK) {
        sl_token_map_deinit(&bigger);
        return status;
    }
    sl_token_map_deinit(m);
    *m = bigger;
    return SL_OK;
}

/* The slot of an equal text, or NULL. */
static const sl_token_slot *token_map_slot(const sl_token_map *m, const sl_token *tokens,
                                           const char *text, size_t len, uint32_t hash,
                                           uint64_t *work) {
    uint32_t i = hash & m->mask;
    for (uint32_t probes = 0; probes < SL_PROBES_MAX; probes++, i = (i + 1) & m->mask) {
        const sl_token_slot *slot = &m->slots[i];
        (*work)++;
        if (slot->id_plus_1 == 0) {
            return NULL;
        }
        if (slot->hash == hash) {
            const sl_token *token = &tokens[slot->id_plus_1 - 1];
            if (token->len == len && memcmp(token->text, text, len) == 0) {
                return slot;
            }
        }
    }
    return NULL; /* no entry lies further from its place than that */
}

sl_status sl_token_map_add(sl_token_map *m, const sl_token *tokens, uint32_t id,
                           uint32_t *twin_out) {
    if (m->n >= m->mask - m->mask / 4) {
        sl_status status = token_map_grow(m);
        if (status != SL_OK) {
            return status;
        }
    }
    const sl_token *token = &tokens[id];
    uint32_t hash = sl_token_hash(token->text, token->len);
    uint64_t work = 0;
    const sl_token_slot *twin = token_map_slot(m, tokens, token->text, token->len, hash, &work);
    if (twin != NULL) {
        *twin_out = twin->id_plus_1 - 1;
        return SL_ERR_FORMAT;
    }
    return token_map_place(m, (sl_token_slot){hash, id + 1});
}

uint32_t sl_token_map_find(const sl_token_map *m, const sl_token *tokens, const char *text,
                           size_t len, uint64_t *work) {
    const sl_token_slot *slot = token_map_slot(m, tokens, text, len, sl_token_hash(text, len),
                                               work);
    return slot == NULL ? UINT32_MAX : slot->id_plus_1 - 1;
}

sl_status sl_merge_map_init(sl_merge_map *m, size_t n) {
    uint32_t n_slots = hash_n_slots(n);
    size_t size_bytes = (size_t)n_slots * sizeof(*m->slots);
    m->slots = n_slots == 0 ? NULL : sl_alloc(size_bytes);
    m->mask = n_slots - 1;
    if (m->slots == NULL) {
        return SL_ERR_MEMORY;
    }
    memset(m->slots, 0xFF, size_bytes); /* rank UINT32_MAX: empty */
    return SL_OK;
}

void sl_merge_map_deinit(sl_merge_map *m) {
    sl_free(m->slots);
    m->slots = NULL;
}

sl_status sl_merge_map_add(sl_merge_map *m, sl_merge merge) {
    uint32_t i = (uint32_t)(sl_merge_hash(merge.left, merge.right) >> 16) & m->mask;
    for (uint32_t probes = 0; probes < SL_PROBES_MAX; probes++, i = (i + 1) & m->mask) {
        sl_merge *slot = &m->slots[i];
        if (slot->rank == UINT32_MAX) {
            *slot = merge;
            return SL_OK;
        }
        if (slot->left == merge.left && slot->right == merge.right) {
            return SL_OK;
        }
    }
    return SL_ERR_LIMIT;
}
