/* How KV memory is cut: the one constant that block tables, the scheduler and the attention kernels
 * must agree on. */
#ifndef SL_KERNELS_PAGE_H
#define SL_KERNELS_PAGE_H

#include <stdint.h>

#define SL_PAGE_TOKENS 32 /* tokens in a KV page */

/* Pages that n_tokens fill; no overflow for any n_tokens. */
static inline uint64_t sl_page_count(uint64_t n_tokens) {
    return n_tokens / SL_PAGE_TOKENS + (n_tokens % SL_PAGE_TOKENS != 0);
}

#endif
