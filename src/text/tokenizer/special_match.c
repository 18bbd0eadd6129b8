/* Special texts by an Aho-Corasick automaton (Aho and Corasick, CACM 18, 1975) over the reversed
 * texts.
 *
 * Reading the text from its end, the longest reversed text that ends at a position is the longest
 * text that begins there. So one backward pass lists, for every position, the longest text that
 * begins at it, and one forward pass over that list picks hits from the left. Both are linear; no
 * position is read twice but for failure steps, of which there are at most as many as bytes. Owner:
 * any thread, after building. */
#include "text/tokenizer/special_match.h"

#include "base/alloc.h"

#define SPECIAL_PROBES_MAX 2048 /* more means a crafted file: refused with SL_ERR_LIMIT */

static uint32_t special_hash(uint32_t node, uint32_t byte) {
    uint64_t key = ((uint64_t)node << 8 | byte) * 0x9E3779B97F4A7C15u;
    return (uint32_t)(key >> 32);
}

/* The child of `node` for a byte, 0 if none. */
static uint32_t special_child(const sl_special_matcher *m, uint32_t node, uint32_t byte,
                              uint64_t *work) {
    if (node == 0) {
        return m->root_child[byte];
    }
    uint32_t i = special_hash(node, byte) & m->mask;
    for (uint32_t probes = 0; probes < SPECIAL_PROBES_MAX; probes++, i = (i + 1) & m->mask) {
        const sl_special_edge *e = &m->edges[i];
        (*work)++;
        if (e->child == 0 || (e->node == node && e->byte == byte)) {
            return e->child;
        }
    }
    return 0; /* no edge lies further from its place than that */
}

static sl_status special_add_edge(sl_special_matcher *m, uint32_t node, uint32_t byte,
                                  uint32_t child) {
    if (node == 0) {
        m->root_child[byte] = child;
        return SL_OK;
    }
    uint32_t i = special_hash(node, byte) & m->mask;
    for (uint32_t probes = 0; probes < SPECIAL_PROBES_MAX; probes++, i = (i + 1) & m->mask) {
        if (m->edges[i].child == 0) {
            m->edges[i] = (sl_special_edge){node, child, byte};
            return SL_OK;
        }
    }
    return SL_ERR_LIMIT;
}

/* Adds one text, last byte first. */
static sl_status special_insert(sl_special_matcher *m, const sl_special_text *text) {
    uint32_t node = 0;
    uint64_t work = 0;
    for (size_t i = text->text.len; i > 0; i--) {
        uint32_t byte = (unsigned char)text->text.ptr[i - 1];
        uint32_t child = special_child(m, node, byte, &work);
        if (child == 0) {
            child = m->n_nodes++;
            m->nodes[child] = (sl_special_node){.depth = m->nodes[node].depth + 1};
            sl_status status = special_add_edge(m, node, byte, child);
            if (status != SL_OK) {
                return status;
            }
        }
        node = child;
    }
    if (m->nodes[node].id_plus_1 == 0) {
        m->nodes[node].id_plus_1 = (uint32_t)text->id + 1;
        m->nodes[node].out_all = node;
        m->nodes[node].out_user = text->user ? node : 0;
        m->has_user = m->has_user || text->user;
    }
    return SL_OK;
}

typedef struct special_link {
    uint32_t node, parent, byte;
} special_link;

/* All edges, shallow children first (counting sort by depth), since a failure link needs shallower
 * ones. */
static sl_status special_links(const sl_special_matcher *m, special_link *links,
                               uint32_t depth_max) {
    uint32_t *at = sl_alloc_zero((size_t)depth_max + 2, sizeof(*at));
    if (at == NULL) {
        return SL_ERR_MEMORY;
    }
    for (uint32_t i = 1; i < m->n_nodes; i++) {
        at[m->nodes[i].depth + 1]++;
    }
    for (uint32_t d = 1; d <= depth_max + 1; d++) {
        at[d] += at[d - 1];
    }
    for (uint32_t b = 0; b < 256; b++) {
        if (m->root_child[b] != 0) {
            links[at[1]++] = (special_link){m->root_child[b], 0, b};
        }
    }
    for (uint32_t i = 0; i <= m->mask; i++) {
        const sl_special_edge *e = &m->edges[i];
        if (e->child != 0) {
            links[at[m->nodes[e->child].depth]++] = (special_link){e->child, e->node, e->byte};
        }
    }
    sl_free(at);
    return SL_OK;
}

static sl_status special_set_fails(sl_special_matcher *m) {
    uint32_t depth_max = 0;
    for (uint32_t i = 0; i < m->n_nodes; i++) {
        depth_max = m->nodes[i].depth > depth_max ? m->nodes[i].depth : depth_max;
    }
    special_link *links = sl_realloc_array(NULL, m->n_nodes, sizeof(*links));
    sl_status status = links == NULL ? SL_ERR_MEMORY : special_links(m, links, depth_max);
    uint64_t work = 0;
    for (uint32_t i = 0; status == SL_OK && i + 1 < m->n_nodes; i++) {
        special_link link = links[i];
        sl_special_node *node = &m->nodes[link.node];
        uint32_t fail = 0;
        for (uint32_t up = link.parent; up != 0 && fail == 0;) {
            up = m->nodes[up].fail;
            fail = special_child(m, up, link.byte, &work);
        }
        node->fail = fail;
        node->out_all = node->out_all != 0 ? node->out_all : m->nodes[fail].out_all;
        node->out_user = node->out_user != 0 ? node->out_user : m->nodes[fail].out_user;
    }
    sl_free(links);
    return status;
}

sl_status sl_special_build(sl_special_matcher *m, const sl_special_text *texts, size_t n,
                           size_t n_bytes) {
    *m = (sl_special_matcher){0};
    if (n == 0) {
        return SL_OK;
    }
    uint32_t slots = 16;
    while (slots < n_bytes + n_bytes / 2 + 2) {
        slots *= 2;
    }
    m->mask = slots - 1;
    m->nodes = sl_realloc_array(NULL, n_bytes + 1, sizeof(*m->nodes));
    m->edges = sl_alloc_zero(slots, sizeof(*m->edges));
    sl_status status = m->nodes == NULL || m->edges == NULL ? SL_ERR_MEMORY : SL_OK;
    if (status == SL_OK) {
        m->nodes[0] = (sl_special_node){0};
        m->n_nodes = 1;
    }
    for (size_t i = 0; i < n && status == SL_OK; i++) {
        status = special_insert(m, &texts[i]);
    }
    if (status == SL_OK) {
        status = special_set_fails(m);
    }
    if (status != SL_OK) {
        sl_special_deinit(m);
    }
    return status;
}

void sl_special_deinit(sl_special_matcher *m) {
    sl_free(m->nodes);
    sl_free(m->edges);
    *m = (sl_special_matcher){0};
}

typedef struct special_hits {
    sl_special_hit *hits;
    size_t n, cap;
} special_hits;

static bool special_push(special_hits *h, sl_special_hit hit) {
    if (h->n == h->cap) {
        size_t cap = h->cap == 0 ? 64 : h->cap * 2;
        sl_special_hit *hits = sl_realloc_array(h->hits, cap, sizeof(*hits));
        if (hits == NULL) {
            return false;
        }
        h->hits = hits;
        h->cap = cap;
    }
    h->hits[h->n++] = hit;
    return true;
}

/* From the positions in falling order to the hits that do not overlap, in rising order, in
 * place. */
static size_t special_choose(sl_special_hit *hits, size_t n) {
    for (size_t i = 0; i < n / 2; i++) {
        sl_special_hit swap = hits[i];
        hits[i] = hits[n - 1 - i];
        hits[n - 1 - i] = swap;
    }
    size_t n_kept = 0;
    uint64_t end = 0;
    for (size_t i = 0; i < n; i++) {
        if (hits[i].start >= end) {
            end = (uint64_t)hits[i].start + hits[i].len;
            hits[n_kept++] = hits[i];
        }
    }
    return n_kept;
}

/* The longest text that begins at pos, the node that the automaton is in there, and may be
 * recognised: any text if it ends at or before `limit`, else only a user's. */
static uint32_t special_longest(const sl_special_matcher *m, uint32_t node, bool all, size_t pos,
                                size_t limit, uint64_t *work) {
    if (!all || limit <= pos) {
        return m->nodes[node].out_user;
    }
    uint32_t out = m->nodes[node].out_all;
    while (out != 0 && m->nodes[out].out_user != out && m->nodes[out].depth > limit - pos) {
        out = m->nodes[m->nodes[out].fail].out_all; /* the next shorter one */
        (*work)++;
    }
    return out;
}

sl_status sl_special_find(const sl_special_matcher *m, sl_slice text, bool all,
                          const sl_spans *closed, sl_special_hit **hits_out, size_t *n_out,
                          uint64_t *work) {
    *hits_out = NULL;
    *n_out = 0;
    if (m->nodes == NULL || (!all && !m->has_user)) {
        return SL_OK;
    }
    special_hits found = {0};
    uint32_t node = 0;
    size_t i_span = closed == NULL ? 0
                                   : closed->n; /* the first one that ends behind the position */
    for (size_t i = text.len; i > 0; i--) {
        uint32_t byte = (unsigned char)text.ptr[i - 1];
        uint32_t child = special_child(m, node, byte, work);
        while (child == 0 && node != 0) {
            node = m->nodes[node].fail;
            child = special_child(m, node, byte, work);
        }
        node = child;
        while (i_span > 0 && closed->spans[i_span - 1].end > i - 1) {
            i_span--;
        }
        size_t limit = closed == NULL || i_span == closed->n ? SIZE_MAX
                                                             : closed->spans[i_span].begin;
        uint32_t out = special_longest(m, node, all, i - 1, limit, work);
        if (out != 0) {
            sl_special_hit hit = {(uint32_t)(i - 1), m->nodes[out].depth,
                                  (int32_t)(m->nodes[out].id_plus_1 - 1)};
            if (!special_push(&found, hit)) {
                sl_free(found.hits);
                return SL_ERR_MEMORY;
            }
        }
    }
    *work += text.len;
    *n_out = special_choose(found.hits, found.n);
    *hits_out = found.hits;
    return SL_OK;
}
