/* Which pages hold which tokens: a tree in which a node stands for SL_PAGE_TOKENS tokens that
 * follow those of its parent. Roots stand for nothing but a key: prefixes are shared under the same
 * key only, so a tenant with a key of its own finds nobody else's. A node names a page of each
 * layer group, or -1 where that page is gone (a window passed it, or it was evicted).
 *
 * A page that a node names and no block table does is parked: it keeps its content until it is
 * evicted, the one that was parked longest ago first. Whoever parks the pages of a sequence begins
 * with the last one, so a page goes before those that it is of no use without.
 *
 * Keys and tokens are compared on a hit, hashes only find the place: two prefixes are never
 * mistaken for each other. Owner: the engine thread. Everything is allocated by init.
 */
#ifndef SL_KV_PREFIX_INDEX_H
#define SL_KV_PREFIX_INDEX_H

#include <stdbool.h>
#include <stdint.h>

#include <sluice/status.h>

#include "kernels/page.h"

#define SL_PREFIX_NONE UINT32_MAX

/* Who may share with whom. `variant` tells apart what the same tokens give under different rope
 * tables. */
typedef struct sl_prefix_key {
    uint64_t salt;
    uint32_t variant;
} sl_prefix_key;

typedef struct sl_prefix_node {
    uint64_t hash;
    uint32_t parent; /* SL_PREFIX_NONE: a root */
    uint32_t next;   /* of its hash chain, or of the free list */
    /* What keeps it: children, sequences that end here, pages that it names. */
    uint32_t n_children, n_users, n_pages;
    int32_t ids[SL_PAGE_TOKENS]; /* of a root: the key */
} sl_prefix_node;

/* A page's place in the list of parked ones, and the node that names it. */
typedef struct sl_prefix_page {
    uint32_t node; /* SL_PREFIX_NONE: none does */
    int32_t prev, next;
    bool parked;
} sl_prefix_page;

typedef struct sl_prefix_index {
    uint64_t seed;
    uint32_t n_pages, n_groups, n_nodes_max, n_buckets; /* a power of two */
    sl_prefix_node *nodes;                              /* [n_nodes_max] */
    int32_t *node_pages;                                /* [n_nodes_max][n_groups] */
    uint32_t *buckets;                                  /* [n_buckets] first node */
    sl_prefix_page *pages;                              /* [n_pages] */
    uint32_t first_free, n_nodes;
    int32_t oldest, newest; /* parked pages; -1: none */
    uint32_t n_parked;
} sl_prefix_index;

/* n_users_max: sequences that may end at a node at once. seed: secret where tokens come from
 * strangers, who could choose them to collide. */
SL_NODISCARD sl_status sl_prefix_index_init(sl_prefix_index *ix, uint32_t n_pages,
                                            uint32_t n_groups, uint32_t n_users_max, uint64_t seed,
                                            sl_error *err);
void sl_prefix_index_deinit(sl_prefix_index *ix); /* fine on a zeroed index */

/* Found or made; SL_PREFIX_NONE: no room for another node. A node without children, users and pages
 * goes as soon as one of them is dropped: hold or add to it first. */
uint32_t sl_prefix_root(sl_prefix_index *ix, const sl_prefix_key *key);
uint32_t sl_prefix_add(sl_prefix_index *ix, uint32_t parent, const int32_t *ids);
/* The child of these SL_PAGE_TOKENS tokens, or SL_PREFIX_NONE. */
uint32_t sl_prefix_find(const sl_prefix_index *ix, uint32_t parent, const int32_t *ids);

void sl_prefix_hold(sl_prefix_index *ix, uint32_t node);
void sl_prefix_drop(sl_prefix_index *ix, uint32_t node);

int32_t sl_prefix_page_of(const sl_prefix_index *ix, uint32_t node, uint32_t group); /* or -1 */
/* The node has no page of this group, the page no node. */
void sl_prefix_name(sl_prefix_index *ix, uint32_t node, uint32_t group, int32_t page);
static inline bool sl_prefix_is_named(const sl_prefix_index *ix, int32_t page) {
    return ix->pages[page].node != SL_PREFIX_NONE;
}

void sl_prefix_park(sl_prefix_index *ix, int32_t page);   /* a named page, not parked */
void sl_prefix_unpark(sl_prefix_index *ix, int32_t page); /* a parked page */
/* The page parked longest ago, parked and named no more; -1: none is. */
int32_t sl_prefix_evict(sl_prefix_index *ix);

/* Counts everything anew; SL_ERR_INTERNAL names the first breach. For tests. */
SL_NODISCARD sl_status sl_prefix_index_verify(const sl_prefix_index *ix, sl_error *err);

#endif
