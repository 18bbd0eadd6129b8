/* How many KV pages a sequence takes: a page holds SL_PAGE_TOKENS tokens of one layer group, so the
 * answer is a sum over the groups, in which a group with a window counts only the pages that can be
 * in use at once. Plain arithmetic; shared by the tables (kv.h), the scheduler's and the engine's
 * refusals, and whoever sizes a pool.
 */
#ifndef SL_KV_KV_GROUPS_H
#define SL_KV_KV_GROUPS_H

#include <stdint.h>

#include "kernels/page.h"
#include "plan/plan.h"

typedef struct sl_kv_groups {
    uint32_t n;                          /* 1 .. SL_PLAN_GROUPS_MAX */
    uint32_t window[SL_PLAN_GROUPS_MAX]; /* as in sl_plan_group; 0: none */
    uint32_t rows_max;                   /* longest run of one step, at least 1 */
} sl_kv_groups;

sl_kv_groups sl_kv_groups_of_plan(const sl_plan *plan, uint32_t rows_max);

/* Pages of one group that a sequence of n_tokens ever holds at once. */
uint64_t sl_kv_groups_group_pages(const sl_kv_groups *groups, uint32_t group, uint64_t n_tokens);
/* The same over all groups. */
uint64_t sl_kv_groups_pages(const sl_kv_groups *groups, uint64_t n_tokens);
/* The longest sequence, in whole pages, that n_pages are enough for; at most UINT32_MAX. */
uint32_t sl_kv_groups_tokens(const sl_kv_groups *groups, uint64_t n_pages);
/* Entry of the block table with the first position that a row at `pos` sees. */
uint32_t sl_kv_groups_first(const sl_kv_groups *groups, uint32_t group, uint32_t pos);

#endif
