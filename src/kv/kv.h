/* Sequences -> block tables: which pages hold the keys and values of which token positions.
 *
 * What enters: how many tokens a sequence may reach (its reservation), how many are computed and
 * how many it has so far. What leaves: a block table per sequence and layer group, in which the
 * page of position p is table[p / SL_PAGE_TOKENS]. Page numbers only, never bytes.
 *
 * Page numbers are one space per engine; each page is held by one group of one sequence. A group
 * with a window gives back the pages that no further row sees; their entries become -1.
 *
 * On a machine of several NUMA nodes a sequence has a home, the node with most pages that are not
 * promised when it is opened; its pages are of that node as long as there are any.
 *
 * A reservation is a promise: pages are taken from the pool only when the sequence grows into them,
 * and extending within the reservation cannot fail. Owner: the engine thread. Everything is
 * allocated by create.
 */
#ifndef SL_KV_KV_H
#define SL_KV_KV_H

#include <stdbool.h>
#include <stdint.h>

#include <sluice/status.h>

#include "base/nodes.h"
#include "kernels/page.h"
#include "kv/kv_groups.h"

#define SL_KV_SEQ_NONE UINT32_MAX

typedef struct sl_kv_options {
    uint32_t n_pages;      /* pages of the store, numbered 0 .. n_pages - 1 */
    uint32_t n_seqs_max;   /* sequences open at once */
    uint32_t n_tokens_max; /* longest sequence */
    sl_kv_groups groups;   /* whose pages they are */
    sl_nodes nodes;        /* among which the store is divided; all zero: one */
} sl_kv_options;

typedef struct sl_kv sl_kv;

SL_NODISCARD sl_status sl_kv_create(const sl_kv_options *options, sl_kv **out, sl_error *err);
void sl_kv_free(sl_kv *kv); /* NULL is fine */

/* Opens a sequence that may grow to n_tokens (1 .. n_tokens_max); a new sl_kv numbers them 0, 1,
 * ... SL_AGAIN: not that many pages are unpromised now, or all sequences are open; nothing changed.
 * SL_ERR_LIMIT: it can never fit. No message: this is asked at every step. */
SL_NODISCARD sl_status sl_kv_seq_open(sl_kv *kv, uint32_t n_tokens, uint32_t *seq_out);
/* Makes present what a run of rows at positions n_done .. n_tokens - 1 sees and writes. Positions
 * before n_done are computed for good: what no row from n_done on sees is given back. SL_ERR_LIMIT
 * beyond the reservation or rows_max; SL_ERR_ARGUMENT if n_done goes back to where pages are gone,
 * or lies above n_tokens; nothing changed then. */
SL_NODISCARD sl_status sl_kv_seq_extend(sl_kv *kv, uint32_t seq, uint32_t n_done,
                                        uint32_t n_tokens);
/* Gives all pages back but keeps the reservation: the sequence will be computed anew. */
void sl_kv_seq_restart(sl_kv *kv, uint32_t seq);
/* Frees its pages (those no other table names) and what is left of its reservation, at once. */
void sl_kv_seq_close(sl_kv *kv, uint32_t seq);

/* The block table of one layer group, as long as the reservation; an entry is -1 unless its page is
 * held. Stays at its address while the sequence is open. */
const int32_t *sl_kv_seq_table(const sl_kv *kv, uint32_t seq, uint32_t group);
/* Whether all is held that rows at n_done .. n_tokens - 1 see and write. */
bool sl_kv_seq_holds(const sl_kv *kv, uint32_t seq, uint32_t n_done, uint32_t n_tokens);
uint32_t sl_kv_seq_n_pages(const sl_kv *kv, uint32_t seq); /* held, over all groups */

const sl_kv_groups *sl_kv_groups_of(const sl_kv *kv);
uint32_t sl_kv_n_pages(const sl_kv *kv);
uint32_t sl_kv_n_used(const sl_kv *kv);     /* pages that some table names */
uint32_t sl_kv_n_promised(const sl_kv *kv); /* free pages that open sequences may still claim */
uint32_t sl_kv_n_tokens_max(const sl_kv *kv);

/* Checks every invariant of the README by a full count; SL_ERR_INTERNAL names the first breach. For
 * tests: O(pages + tables), allocates. */
SL_NODISCARD sl_status sl_kv_verify(const sl_kv *kv, sl_error *err);

#endif
