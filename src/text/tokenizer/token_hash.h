/* The two hash tables of a vocabulary: text -> id and pair of ids -> merge rule. Open addressing
 * with linear probing, sized for the vocabulary at once, never changed after opening. A file whose
 * keys all collide is refused (SL_ERR_LIMIT) instead of making opening quadratic. */
#ifndef SL_TEXT_TOKEN_HASH_H
#define SL_TEXT_TOKEN_HASH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <sluice/status.h>

#define SL_PROBES_MAX 2048 /* far beyond what honest keys reach at a load of 3/4 */

typedef struct sl_token {
    const char *text; /* in the file's mapping, or in the tokenizer's arena for a symbol */
    uint32_t len;
    uint8_t type;  /* sl_token_type */
    uint8_t strip; /* SL_TOKEN_LSTRIP | SL_TOKEN_RSTRIP */
    uint8_t byte;  /* the value of a SL_TOKEN_BYTE */
    bool is_named; /* found like a control token, written like any other */
} sl_token;

typedef struct sl_token_slot {
    uint32_t hash, id_plus_1; /* 0: empty */
} sl_token_slot;

typedef struct sl_token_map {
    sl_token_slot *slots;
    uint32_t mask, n;
} sl_token_map;

typedef struct sl_merge {
    uint32_t left, right; /* symbols */
    uint32_t rank;        /* smaller ones are merged first; UINT32_MAX: empty slot */
    uint32_t result;      /* symbol */
} sl_merge;

typedef struct sl_merge_map {
    sl_merge *slots;
    uint32_t mask;
} sl_merge_map;

uint32_t sl_token_hash(const char *text, size_t len);

/* `n`: how many entries will come. */
sl_status sl_token_map_init(sl_token_map *m, size_t n);
void sl_token_map_deinit(sl_token_map *m);
sl_status sl_merge_map_init(sl_merge_map *m, size_t n);
void sl_merge_map_deinit(sl_merge_map *m);

/* Adds tokens[id] by its text; makes room when there is none. An equal text is SL_ERR_FORMAT and
 * its id goes to *twin_out; else SL_OK, SL_ERR_MEMORY or SL_ERR_LIMIT. */
sl_status sl_token_map_add(sl_token_map *m, const sl_token *tokens, uint32_t id,
                           uint32_t *twin_out);
/* The id of the token with this text, UINT32_MAX if there is none. Adds the slots looked at to
 * *work. */
uint32_t sl_token_map_find(const sl_token_map *m, const sl_token *tokens, const char *text,
                           size_t len, uint64_t *work);

/* The first rule for a pair stays: a later one is ignored. SL_OK or SL_ERR_LIMIT. */
sl_status sl_merge_map_add(sl_merge_map *m, sl_merge merge);

static inline uint64_t sl_merge_hash(uint32_t left, uint32_t right) {
    uint64_t key = ((uint64_t)left << 32 | right) * 0x9E3779B97F4A7C15u;
    return key ^ key >> 29;
}
/* NULL if there is no rule. Adds the slots looked at to *work. */
static inline const sl_merge *sl_merge_map_find(const sl_merge_map *m, uint32_t left,
                                                uint32_t right, uint64_t *work) {
    uint32_t i = (uint32_t)(sl_merge_hash(left, right) >> 16) & m->mask;
    for (uint32_t probes = 0; probes < SL_PROBES_MAX; probes++, i = (i + 1) & m->mask) {
        const sl_merge *slot = &m->slots[i];
        (*work)++;
        if (slot->rank == UINT32_MAX) {
            return NULL;
        }
        if (slot->left == left && slot->right == right) {
            return slot;
        }
    }
    return NULL; /* no entry lies further from its place than that */
}

#endif
