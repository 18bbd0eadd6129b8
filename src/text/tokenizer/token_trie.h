/* A trie over token texts, for families that ask "which tokens begin here": Unigram and WordPiece.
 * The children of a node lie side by side, sorted by byte. Immutable after building. */
#ifndef SL_TEXT_TOKEN_TRIE_H
#define SL_TEXT_TOKEN_TRIE_H

#include <stddef.h>
#include <stdint.h>

#include <sluice/status.h>

typedef struct sl_trie_node {
    uint32_t first_child; /* index into nodes */
    uint32_t id_plus_1;   /* the token that ends here; 0: none */
    uint16_t n_children;
    uint8_t byte; /* on the edge to this node */
} sl_trie_node;

typedef struct sl_trie {
    sl_trie_node *nodes; /* [n_nodes], the root first; NULL when there are no words */
    uint32_t n_nodes;
    uint32_t root_child[256]; /* 0: none */
} sl_trie;

typedef struct sl_trie_word {
    const char *text; /* not empty; no two are equal */
    uint32_t len, id;
} sl_trie_word;

/* Sorts words[0..n). SL_OK, SL_ERR_MEMORY, or SL_ERR_LIMIT for 2^32 nodes. */
sl_status sl_trie_build(sl_trie *t, sl_trie_word *words, size_t n);
void sl_trie_deinit(sl_trie *t);

/* The child of `node` (0 is the root) for a byte; 0 if there is none. Adds the steps to *work. */
static inline uint32_t sl_trie_child(const sl_trie *t, uint32_t node, uint8_t byte,
                                     uint64_t *work) {
    (*work)++;
    if (node == 0) {
        return t->root_child[byte];
    }
    uint32_t low = t->nodes[node].first_child, end = low + t->nodes[node].n_children, high = end;
    while (low < high) {
        uint32_t mid = low + (high - low) / 2;
        (*work)++;
        if (t->nodes[mid].byte < byte) {
            low = mid + 1;
        } else {
            high = mid;
        }
    }
    return low < end && t->nodes[low].byte == byte ? low : 0;
}

#endif
