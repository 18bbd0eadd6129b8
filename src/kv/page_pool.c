/* The page pool: a stack of free page numbers and a reference count per page. See page_pool.h. */
#include "kv/page_pool.h"

#include "base/alloc.h"
#include "base/error.h"

sl_status sl_page_pool_init(sl_page_pool *p, uint32_t n_pages, sl_error *err) {
    if (n_pages == 0 || n_pages > INT32_MAX) {
        return SL_FAIL(err, SL_ERR_ARGUMENT, "the page pool needs 1 to %d pages, not %u", INT32_MAX,
                       n_pages);
    }
    sl_page_pool pool = {.n_pages = n_pages, .n_free = n_pages};
    pool.free = sl_alloc_zero(n_pages, sizeof(*pool.free));
    pool.refs = sl_alloc_zero(n_pages, sizeof(*pool.refs));
    if (pool.free == NULL || pool.refs == NULL) {
        sl_page_pool_deinit(&pool);
        return SL_FAIL(err, SL_ERR_MEMORY, "no memory for the tables of %u KV pages", n_pages);
    }
    for (uint32_t i = 0; i < n_pages; i++) {
        pool.free[i] = (int32_t)(n_pages - 1 - i);
    }
    *p = pool;
    return SL_OK;
}

void sl_page_pool_deinit(sl_page_pool *p) {
    sl_free(p->free);
    sl_free(p->refs);
    *p = (sl_page_pool){0};
}

int32_t sl_page_pool_take(sl_page_pool *p) {
    if (p->n_free == 0) {
        return -1;
    }
    int32_t page = p->free[--p->n_free];
    p->refs[page] = 1;
    return page;
}

void sl_page_pool_ref(sl_page_pool *p, int32_t page) {
    p->refs[page]++;
}

void sl_page_pool_unref(sl_page_pool *p, int32_t page) {
    if (--p->refs[page] == 0) {
        p->free[p->n_free++] = page;
    }
}
