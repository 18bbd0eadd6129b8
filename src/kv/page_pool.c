/* The page pool: a stack of free page numbers per node and a reference count per page. See
 * page_pool.h. */
#include "kv/page_pool.h"

#include "base/alloc.h"
#include "base/error.h"

sl_status sl_page_pool_init(sl_page_pool *p, uint32_t n_pages, const sl_nodes *nodes,
                            sl_error *err) {
    if (n_pages == 0 || n_pages > INT32_MAX) {
        return SL_FAIL(err, SL_ERR_ARGUMENT, "the page pool needs 1 to %d pages, not %u", INT32_MAX,
                       n_pages);
    }
    sl_page_pool pool = {
        .n_pages = n_pages, .n_free = n_pages, .n_nodes = nodes->n > 1 ? nodes->n : 1};
    pool.free = sl_alloc_zero(n_pages, sizeof(*pool.free));
    pool.refs = sl_alloc_zero(n_pages, sizeof(*pool.refs));
    if (pool.free == NULL || pool.refs == NULL) {
        sl_page_pool_deinit(&pool);
        return SL_FAIL(err, SL_ERR_MEMORY, "no memory for the tables of %u KV pages", n_pages);
    }
    for (uint32_t n = 0; n < pool.n_nodes; n++) {
        const uint32_t first = pool.first[n], end = sl_nodes_first(nodes, n_pages, n + 1);
        pool.first[n + 1] = end;
        pool.n_node_free[n] = end - first;
        for (uint32_t i = first; i < end; i++) {
            pool.free[i] = (int32_t)(first + end - 1 - i);
        }
    }
    *p = pool;
    return SL_OK;
}

void sl_page_pool_deinit(sl_page_pool *p) {
    sl_free(p->free);
    sl_free(p->refs);
    *p = (sl_page_pool){0};
}

int32_t sl_page_pool_take(sl_page_pool *p, uint32_t node) {
    if (p->n_free == 0) {
        return -1;
    }
    if (p->n_node_free[node] == 0) {
        for (uint32_t n = 0; n < p->n_nodes; n++) {
            node = p->n_node_free[n] > p->n_node_free[node] ? n : node;
        }
    }
    int32_t page = p->free[p->first[node] + --p->n_node_free[node]];
    p->n_free--;
    p->refs[page] = 1;
    return page;
}

void sl_page_pool_ref(sl_page_pool *p, int32_t page) {
    p->refs[page]++;
}

bool sl_page_pool_unref(sl_page_pool *p, int32_t page) {
    return --p->refs[page] == 0;
}

void sl_page_pool_put(sl_page_pool *p, int32_t page) {
    uint32_t node = 0;
    while ((uint32_t)page >= p->first[node + 1]) {
        node++;
    }
    p->free[p->first[node] + p->n_node_free[node]++] = page;
    p->n_free++;
}
