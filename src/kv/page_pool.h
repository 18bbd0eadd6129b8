/* Book-keeping of KV pages: which page numbers are free, and how many block tables name each of the
 * others (none, while it waits for somebody with the same prefix). Holds no bytes of any page; the
 * store behind a number belongs to the device.
 *
 * Free pages are kept as a stack that begins in ascending order, so a page that was never used is
 * handed out only when every page used before is taken: the store's resident memory stays at the
 * peak of use. On a machine of several NUMA nodes each has a stretch of the pages and a stack of
 * its own; the device puts the bytes there (sl_nodes_first over n_pages). Owner: the engine thread.
 * Everything is allocated by init.
 */
#ifndef SL_KV_PAGE_POOL_H
#define SL_KV_PAGE_POOL_H

#include <stdbool.h>
#include <stdint.h>

#include <sluice/status.h>

#include "base/nodes.h"

typedef struct sl_page_pool {
    uint32_t n_pages;
    uint32_t n_free; /* of all nodes */
    int32_t *free;   /* [n_pages] a stack in each node's stretch; its topmost is handed out next */
    uint32_t *refs;  /* [n_pages] block table entries that name the page */
    uint32_t n_nodes;
    uint32_t first[SL_NODES_MAX + 1]; /* first page of each node */
    uint32_t n_node_free[SL_NODES_MAX];
} sl_page_pool;

/* n_pages is 1 .. INT32_MAX. */
SL_NODISCARD sl_status sl_page_pool_init(sl_page_pool *p, uint32_t n_pages, const sl_nodes *nodes,
                                         sl_error *err);
void sl_page_pool_deinit(sl_page_pool *p); /* fine on a zeroed pool */

/* A free page, with one reference: of this node, or if it has none of the one that has most; -1
 * when none is left. */
int32_t sl_page_pool_take(sl_page_pool *p, uint32_t node);
/* One more block table names the page, which is not free. */
void sl_page_pool_ref(sl_page_pool *p, int32_t page);
/* One fewer; true if none is left. The page is free only when it is put back. */
bool sl_page_pool_unref(sl_page_pool *p, int32_t page);
/* A page that no table names is free again, for its own node. */
void sl_page_pool_put(sl_page_pool *p, int32_t page);

#endif
