/* Page arithmetic of layer groups. See kv_groups.h. */
#include "kv/kv_groups.h"

sl_kv_groups sl_kv_groups_of_plan(const sl_plan *plan, uint32_t rows_max) {
    sl_kv_groups groups = {.n = plan->n_groups, .rows_max = rows_max};
    for (uint32_t g = 0; g < plan->n_groups; g++) {
        groups.window[g] = plan->groups[g].window;
    }
    return groups;
}

uint64_t sl_kv_groups_group_pages(const sl_kv_groups *groups, uint32_t group, uint64_t n_tokens) {
    const uint64_t all = sl_page_count(n_tokens);
    if (groups->window[group] == 0) {
        return all;
    }
    /* A run of rows_max rows sees itself and window - 1 positions before it. Such a stretch touches
     * most pages when its first position is the last one of a page. */
    const uint64_t stretch = (uint64_t)groups->window[group] - 1 + groups->rows_max;
    const uint64_t most = 1 + sl_page_count(stretch - 1);
    return most < all ? most : all;
}

uint64_t sl_kv_groups_pages(const sl_kv_groups *groups, uint64_t n_tokens) {
    uint64_t n_pages = 0;
    for (uint32_t g = 0; g < groups->n; g++) {
        n_pages += sl_kv_groups_group_pages(groups, g, n_tokens);
    }
    return n_pages;
}

uint32_t sl_kv_groups_tokens(const sl_kv_groups *groups, uint64_t n_pages) {
    uint32_t low = 0, high = UINT32_MAX / SL_PAGE_TOKENS; /* full pages of one group */
    while (low < high) {
        const uint32_t mid = high - (high - low) / 2;
        if (sl_kv_groups_pages(groups, (uint64_t)mid * SL_PAGE_TOKENS) <= n_pages) {
            low = mid;
        } else {
            high = mid - 1;
        }
    }
    return low * SL_PAGE_TOKENS;
}

uint32_t sl_kv_groups_first(const sl_kv_groups *groups, uint32_t group, uint32_t pos) {
    const uint32_t window = groups->window[group];
    return window == 0 || pos < window ? 0 : (pos + 1 - window) / SL_PAGE_TOKENS;
}
