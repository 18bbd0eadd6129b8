/* The tree of prefixes: nodes in one array, found by a hash of their parent and tokens. See
 * prefix_index.h. */
#include "kv/prefix_index.h"

#include <string.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/error.h"
#include "base/hash.h"

static bool index_alloc(sl_prefix_index *ix) {
    size_t n_named = 0;
    if (!sl_mul_size(ix->n_nodes_max, ix->n_groups, &n_named)) {
        return false;
    }
    ix->nodes = sl_alloc_zero(ix->n_nodes_max, sizeof(*ix->nodes));
    ix->node_pages = sl_alloc_zero(n_named, sizeof(*ix->node_pages));
    ix->buckets = sl_alloc_zero(ix->n_buckets, sizeof(*ix->buckets));
    ix->pages = sl_alloc_zero(ix->n_pages, sizeof(*ix->pages));
    return ix->nodes != NULL && ix->node_pages != NULL && ix->buckets != NULL && ix->pages != NULL;
}

sl_status sl_prefix_index_init(sl_prefix_index *ix, uint32_t n_pages, uint32_t n_groups,
                               uint32_t n_users_max, uint64_t seed, sl_error *err) {
    /* Each node has a page or a user, but for roots and for those whose pages went before their
     * children's. */
    const uint64_t n_nodes = 2 * (uint64_t)n_pages + n_users_max + 64;
    *ix = (sl_prefix_index){.seed = seed,
                            .n_pages = n_pages,
                            .n_groups = n_groups,
                            .n_nodes_max = n_nodes < INT32_MAX ? (uint32_t)n_nodes : INT32_MAX,
                            .n_buckets = 64,
                            .oldest = -1,
                            .newest = -1};
    while (ix->n_buckets < ix->n_nodes_max) {
        ix->n_buckets *= 2;
    }
    if (!index_alloc(ix)) {
        sl_prefix_index_deinit(ix);
        return SL_FAIL(err, SL_ERR_MEMORY, "no memory for the prefixes of %u KV pages", n_pages);
    }
    memset(ix->buckets, 0xFF, ix->n_buckets * sizeof(*ix->buckets)); /* SL_PREFIX_NONE */
    for (uint32_t i = 0; i < ix->n_nodes_max; i++) {
        ix->nodes[i].next = i + 1 < ix->n_nodes_max ? i + 1 : SL_PREFIX_NONE;
    }
    for (uint32_t i = 0; i < n_pages; i++) {
        ix->pages[i] = (sl_prefix_page){.node = SL_PREFIX_NONE, .prev = -1, .next = -1};
    }
    return SL_OK;
}

void sl_prefix_index_deinit(sl_prefix_index *ix) {
    sl_free(ix->nodes);
    sl_free(ix->node_pages);
    sl_free(ix->buckets);
    sl_free(ix->pages);
    *ix = (sl_prefix_index){0};
}

/* --- nodes --- */

static uint64_t index_hash(const sl_prefix_index *ix, uint32_t parent, const int32_t *ids) {
    uint64_t h = ix->seed ^ sl_hash_u64(parent);
    for (uint32_t i = 0; i < SL_PAGE_TOKENS; i += 2) {
        const uint64_t two = (uint64_t)(uint32_t)ids[i] << 32 | (uint32_t)ids[i + 1];
        h = sl_hash_mum(h ^ two, 0x9E3779B97F4A7C15u ^ ix->seed) + i;
    }
    return sl_hash_u64(h);
}

static uint32_t *index_bucket(const sl_prefix_index *ix, uint64_t hash) {
    return &ix->buckets[hash & (ix->n_buckets - 1)];
}

static uint32_t index_look(const sl_prefix_index *ix, uint32_t parent, const int32_t *ids,
                           uint64_t hash) {
    uint32_t i = *index_bucket(ix, hash);
    for (; i != SL_PREFIX_NONE; i = ix->nodes[i].next) {
        const sl_prefix_node *node = &ix->nodes[i];
        if (node->hash == hash && node->parent == parent &&
            memcmp(node->ids, ids, sizeof(node->ids)) == 0) {
            break;
        }
    }
    return i;
}

uint32_t sl_prefix_find(const sl_prefix_index *ix, uint32_t parent, const int32_t *ids) {
    return index_look(ix, parent, ids, index_hash(ix, parent, ids));
}

uint32_t sl_prefix_add(sl_prefix_index *ix, uint32_t parent, const int32_t *ids) {
    const uint64_t hash = index_hash(ix, parent, ids);
    const uint32_t found = index_look(ix, parent, ids, hash);
    if (found != SL_PREFIX_NONE || ix->first_free == SL_PREFIX_NONE) {
        return found;
    }
    const uint32_t made = ix->first_free;
    sl_prefix_node *node = &ix->nodes[made];
    uint32_t *bucket = index_bucket(ix, hash);
    ix->first_free = node->next;
    ix->n_nodes++;
    *node = (sl_prefix_node){.hash = hash, .parent = parent, .next = *bucket};
    memcpy(node->ids, ids, sizeof(node->ids));
    *bucket = made;
    for (uint32_t g = 0; g < ix->n_groups; g++) {
        ix->node_pages[(size_t)made * ix->n_groups + g] = -1;
    }
    if (parent != SL_PREFIX_NONE) {
        ix->nodes[parent].n_children++;
    }
    return made;
}

uint32_t sl_prefix_root(sl_prefix_index *ix, const sl_prefix_key *key) {
    int32_t ids[SL_PAGE_TOKENS] = {0};
    memcpy(ids, &key->salt, sizeof(key->salt));
    ids[2] = (int32_t)key->variant;
    return sl_prefix_add(ix, SL_PREFIX_NONE, ids);
}

/* Nodes that nothing keeps go, from this one up. */
static void index_prune(sl_prefix_index *ix, uint32_t i) {
    while (i != SL_PREFIX_NONE) {
        sl_prefix_node *node = &ix->nodes[i];
        if (node->n_children > 0 || node->n_users > 0 || node->n_pages > 0) {
            return;
        }
        uint32_t *link = index_bucket(ix, node->hash);
        while (*link != i) {
            link = &ix->nodes[*link].next;
        }
        *link = node->next;
        const uint32_t parent = node->parent;
        *node = (sl_prefix_node){.next = ix->first_free};
        ix->first_free = i;
        ix->n_nodes--;
        if (parent != SL_PREFIX_NONE) {
            ix->nodes[parent].n_children--;
        }
        i = parent;
    }
}

void sl_prefix_hold(sl_prefix_index *ix, uint32_t node) {
    ix->nodes[node].n_users++;
}

void sl_prefix_drop(sl_prefix_index *ix, uint32_t node) {
    ix->nodes[node].n_users--;
    index_prune(ix, node);
}

/* --- pages --- */

static int32_t *index_named(const sl_prefix_index *ix, uint32_t node, uint32_t group) {
    return &ix->node_pages[(size_t)node * ix->n_groups + group];
}

int32_t sl_prefix_page_of(const sl_prefix_index *ix, uint32_t node, uint32_t group) {
    return *index_named(ix, node, group);
}

void sl_prefix_name(sl_prefix_index *ix, uint32_t node, uint32_t group, int32_t page) {
    *index_named(ix, node, group) = page;
    ix->nodes[node].n_pages++;
    ix->pages[page].node = node;
}

void sl_prefix_park(sl_prefix_index *ix, int32_t page) {
    sl_prefix_page *p = &ix->pages[page];
    *p = (sl_prefix_page){.node = p->node, .prev = ix->newest, .next = -1, .parked = true};
    if (ix->newest >= 0) {
        ix->pages[ix->newest].next = page;
    } else {
        ix->oldest = page;
    }
    ix->newest = page;
    ix->n_parked++;
}

void sl_prefix_unpark(sl_prefix_index *ix, int32_t page) {
    sl_prefix_page *p = &ix->pages[page];
    if (p->prev >= 0) {
        ix->pages[p->prev].next = p->next;
    } else {
        ix->oldest = p->next;
    }
    if (p->next >= 0) {
        ix->pages[p->next].prev = p->prev;
    } else {
        ix->newest = p->prev;
    }
    p->prev = p->next = -1;
    p->parked = false;
    ix->n_parked--;
}

int32_t sl_prefix_evict(sl_prefix_index *ix) {
    const int32_t page = ix->oldest;
    if (page < 0) {
        return -1;
    }
    sl_prefix_unpark(ix, page);
    const uint32_t node = ix->pages[page].node;
    for (uint32_t g = 0; g < ix->n_groups; g++) {
        int32_t *named = index_named(ix, node, g);
        *named = *named == page ? -1 : *named;
    }
    ix->pages[page].node = SL_PREFIX_NONE;
    ix->nodes[node].n_pages--;
    index_prune(ix, node);
    return page;
}

/* --- verify --- */

static sl_status index_verify_node(const sl_prefix_index *ix, uint32_t i, uint32_t *n_children,
                                   sl_error *err) {
    const sl_prefix_node *node = &ix->nodes[i];
    uint32_t n_pages = 0;
    for (uint32_t g = 0; g < ix->n_groups; g++) {
        const int32_t page = sl_prefix_page_of(ix, i, g);
        n_pages += page >= 0;
        if (page >= 0 && ix->pages[page].node != i) {
            return SL_FAIL(err, SL_ERR_INTERNAL, "prefix %u names page %d, which is %u's", i, page,
                           ix->pages[page].node);
        }
    }
    if (n_pages != node->n_pages ||
        (node->n_children == 0 && node->n_users == 0 && node->n_pages == 0)) {
        return SL_FAIL(err, SL_ERR_INTERNAL,
                       "prefix %u has %u pages (counted %u), %u children and %u users", i,
                       node->n_pages, n_pages, node->n_children, node->n_users);
    }
    if (node->parent != SL_PREFIX_NONE) {
        n_children[node->parent]++;
    }
    return SL_OK;
}

static sl_status index_verify_nodes(const sl_prefix_index *ix, uint32_t *n_children,
                                    sl_error *err) {
    uint32_t n_nodes = 0;
    for (uint32_t b = 0; b < ix->n_buckets; b++) {
        for (uint32_t i = ix->buckets[b]; i != SL_PREFIX_NONE; i = ix->nodes[i].next) {
            if (++n_nodes > ix->n_nodes) {
                return SL_FAIL(err, SL_ERR_INTERNAL, "more than %u prefixes", ix->n_nodes);
            }
            SL_TRY(index_verify_node(ix, i, n_children, err));
        }
    }
    for (uint32_t i = 0; i < ix->n_nodes_max; i++) {
        if (n_children[i] != ix->nodes[i].n_children) {
            return SL_FAIL(err, SL_ERR_INTERNAL, "prefix %u has %u children, not %u", i,
                           n_children[i], ix->nodes[i].n_children);
        }
    }
    return n_nodes == ix->n_nodes
               ? SL_OK
               : SL_FAIL(err, SL_ERR_INTERNAL, "%u prefixes found of %u", n_nodes, ix->n_nodes);
}

sl_status sl_prefix_index_verify(const sl_prefix_index *ix, sl_error *err) {
    uint32_t *n_children = sl_alloc_zero(ix->n_nodes_max, sizeof(*n_children));
    if (n_children == NULL) {
        return SL_FAIL(err, SL_ERR_MEMORY, "no memory to verify the prefixes");
    }
    const sl_status status = index_verify_nodes(ix, n_children, err);
    sl_free(n_children);
    SL_TRY(status);
    uint32_t n_parked = 0;
    int32_t prev = -1;
    for (int32_t page = ix->oldest; page >= 0; prev = page, page = ix->pages[page].next) {
        if (!ix->pages[page].parked || ix->pages[page].prev != prev ||
            !sl_prefix_is_named(ix, page) || ++n_parked > ix->n_parked) {
            return SL_FAIL(err, SL_ERR_INTERNAL, "page %d breaks the list of parked pages", page);
        }
    }
    return n_parked == ix->n_parked && prev == ix->newest
               ? SL_OK
               : SL_FAIL(err, SL_ERR_INTERNAL, "%u pages are parked, %u in the list", ix->n_parked,
                         n_parked);
}
