/* Builds the trie of token_trie.h breadth first: in sorted words a node is a range of them, and its
 * children are the parts of that range with one next byte each. Owner: the thread that opens the
 * tokenizer. */
#include "text/tokenizer/token_trie.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"

/* The words of a node are words[begin..end), which agree in `depth` bytes. */
typedef struct trie_range {
    uint32_t begin, end, depth;
} trie_range;

static int trie_compare(const void *a, const void *b) {
    const sl_trie_word *x = a, *y = b;
    uint32_t len = x->len < y->len ? x->len : y->len;
    int order = memcmp(x->text, y->text, len);
    return order != 0 ? order : (x->len > y->len) - (x->len < y->len);
}

/* Sorted words share their beginnings with the word before: what is left is nodes. */
static uint64_t trie_count_nodes(const sl_trie_word *words, size_t n) {
    uint64_t n_nodes = 1;
    for (size_t i = 0; i < n; i++) {
        uint32_t shared = 0;
        while (i > 0 && shared < words[i].len && shared < words[i - 1].len &&
               words[i].text[shared] == words[i - 1].text[shared]) {
            shared++;
        }
        n_nodes += words[i].len - shared;
    }
    return n_nodes;
}

static void trie_add_children(sl_trie *t, const sl_trie_word *words, trie_range *ranges,
                              uint32_t node) {
    trie_range range = ranges[node];
    if (range.begin < range.end && words[range.begin].len == range.depth) {
        t->nodes[node].id_plus_1 = words[range.begin].id + 1;
        range.begin++;
    }
    t->nodes[node].first_child = t->n_nodes;
    for (uint32_t i = range.begin; i < range.end;) {
        uint8_t byte = (uint8_t)words[i].text[range.depth];
        uint32_t begin = i;
        while (i < range.end && (uint8_t)words[i].text[range.depth] == byte) {
            i++;
        }
        ranges[t->n_nodes] = (trie_range){begin, i, range.depth + 1};
        t->nodes[t->n_nodes++] = (sl_trie_node){.byte = byte};
        t->nodes[node].n_children++;
    }
}

sl_status sl_trie_build(sl_trie *t, sl_trie_word *words, size_t n) {
    *t = (sl_trie){0};
    if (n == 0) {
        return SL_OK;
    }
    qsort(words, n, sizeof(*words), trie_compare);
    uint64_t n_nodes = trie_count_nodes(words, n);
    if (n > UINT32_MAX || n_nodes > UINT32_MAX) {
        return SL_ERR_LIMIT;
    }
    t->nodes = sl_realloc_array(NULL, (size_t)n_nodes, sizeof(*t->nodes));
    trie_range *ranges = sl_realloc_array(NULL, (size_t)n_nodes, sizeof(*ranges));
    if (t->nodes == NULL || ranges == NULL) {
        sl_free(ranges);
        sl_trie_deinit(t);
        return SL_ERR_MEMORY;
    }
    t->nodes[0] = (sl_trie_node){0};
    t->n_nodes = 1;
    ranges[0] = (trie_range){0, (uint32_t)n, 0};
    for (uint32_t node = 0; node < t->n_nodes; node++) {
        trie_add_children(t, words, ranges, node);
    }
    for (uint32_t i = 0; i < t->nodes[0].n_children; i++) {
        uint32_t child = t->nodes[0].first_child + i;
        t->root_child[t->nodes[child].byte] = child;
    }
    sl_free(ranges);
    return SL_OK;
}

void sl_trie_deinit(sl_trie *t) {
    sl_free(t->nodes);
    t->nodes = NULL;
}
