/* The queue of possible merges: a binary min-heap of 64 bit keys {priority, position}, so that
 * equal priorities leave from the left. The caller owns the memory and knows the bound (2 n for n
 * symbols: n - 1 pairs at first, and each merge takes one out and puts at most two in). */
#ifndef SL_TEXT_MERGE_HEAP_H
#define SL_TEXT_MERGE_HEAP_H

#include <stddef.h>
#include <stdint.h>

typedef struct sl_merge_heap {
    uint64_t *keys;
    size_t n;
    uint64_t work; /* steps done */
} sl_merge_heap;

static inline void sl_merge_heap_push(sl_merge_heap *h, uint32_t priority, uint32_t pos) {
    uint64_t key = (uint64_t)priority << 32 | pos;
    size_t i = h->n++;
    while (i > 0) {
        size_t up = (i - 1) / 2;
        h->work++;
        if (h->keys[up] <= key) {
            break;
        }
        h->keys[i] = h->keys[up];
        i = up;
    }
    h->keys[i] = key;
}

/* The heap must not be empty. */
static inline uint64_t sl_merge_heap_pop(sl_merge_heap *h) {
    uint64_t top = h->keys[0];
    uint64_t key = h->keys[--h->n];
    size_t i = 0;
    for (;;) {
        size_t down = 2 * i + 1;
        h->work++;
        if (down >= h->n) {
            break;
        }
        down += down + 1 < h->n && h->keys[down + 1] < h->keys[down];
        if (h->keys[down] >= key) {
            break;
        }
        h->keys[i] = h->keys[down];
        i = down;
    }
    h->keys[i] = key;
    return top;
}

#endif
