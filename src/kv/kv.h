/* Sequences -> block tables: which pages hold the keys and values of which token positions.
 *
 * What enters: the tokens of a sequence, how many are computed and how many it is to have. What
 * leaves: a block table per sequence and layer group, in which the page of position p is
 * table[p / SL_PAGE_TOKENS]. Page numbers only, never bytes.
 *
 * Page numbers are one space per engine. A group with a window gives back the pages that no further
 * row sees; their entries become -1.
 *
 * Prefixes are shared: a full page whose tokens are computed is published under the tokens up to
 * its end (prefix_index.h), and another sequence that begins with the same ones takes it over,
 * while it is in use or afterwards. Pages that no table names are kept for that until room is
 * needed.
 *
 * Nothing is reserved: a sequence takes pages as it grows, and may find none. On a machine of
 * several NUMA nodes a sequence has a home, the node of which least is spoken for when it is
 * opened; its pages are of that node as long as there are any.
 *
 * Owner: the engine thread. Everything is allocated by create.
 */
#ifndef SL_KV_KV_H
#define SL_KV_KV_H

#include <stdbool.h>
#include <stdint.h>

#include <sluice/status.h>

#include "base/nodes.h"
#include "kernels/page.h"
#include "kv/kv_groups.h"
#include "kv/prefix_index.h"

#define SL_KV_SEQ_NONE UINT32_MAX

typedef struct sl_kv_options {
    uint32_t n_pages;      /* pages of the store, numbered 0 .. n_pages - 1 */
    uint32_t n_seqs_max;   /* sequences open at once */
    uint32_t n_tokens_max; /* longest sequence */
    sl_kv_groups groups;   /* whose pages they are */
    sl_nodes nodes;        /* among which the store is divided; all zero: one */
    uint64_t seed;         /* of the prefix index */
} sl_kv_options;

/* The tokens of a sequence: the prompt, then what was generated. */
typedef struct sl_kv_text {
    const int32_t *prompt_ids, *out_ids;
    uint32_t n_prompt, n_known; /* n_known: of both */
} sl_kv_text;

/* Tokens [pos, pos + n), all of which are known. */
static inline void sl_kv_text_copy(const sl_kv_text *text, uint32_t pos, uint32_t n, int32_t *out) {
    for (uint32_t p = pos; p < pos + n; p++) {
        *out++ = p < text->n_prompt ? text->prompt_ids[p] : text->out_ids[p - text->n_prompt];
    }
}

typedef struct sl_kv sl_kv;

SL_NODISCARD sl_status sl_kv_create(const sl_kv_options *options, sl_kv **out, sl_error *err);
void sl_kv_free(sl_kv *kv); /* NULL is fine */

/* Opens a sequence that may grow to n_tokens (1 .. n_tokens_max) and shares nothing; a new sl_kv
 * numbers them 0, 1, ... SL_AGAIN: all sequences are open; nothing changed. SL_ERR_LIMIT: it can
 * never fit. No message: this is asked at every step. */
SL_NODISCARD sl_status sl_kv_seq_open(sl_kv *kv, uint32_t n_tokens, uint32_t *seq_out);
/* Of a sequence without pages: from now on it shares prefixes with others of this key. */
void sl_kv_seq_share(sl_kv *kv, uint32_t seq, const sl_prefix_key *key);
/* Takes over pages that hold what follows position n_done of the sequence; returns how many
 * positions are done then. The last known token is never among them: its row gives the logits.
 * Nothing happens unless n_done is where a page begins and all before was taken over or published.
 */
uint32_t sl_kv_seq_reuse(sl_kv *kv, uint32_t seq, const sl_kv_text *text, uint32_t n_done);
/* Positions before n_done are computed: full pages among them are there for others. */
void sl_kv_seq_publish(sl_kv *kv, uint32_t seq, const sl_kv_text *text, uint32_t n_done);
/* Positions whose pages were published or taken over. */
uint32_t sl_kv_seq_n_published(const sl_kv *kv, uint32_t seq);
/* Whether the page that seq needs next (n_done positions are done) is one that `other` is about to
 * fill with the same tokens: once it is published, seq can take it over. */
bool sl_kv_seq_follows(const sl_kv *kv, uint32_t seq, const sl_kv_text *text, uint32_t n_done,
                       uint32_t other, const sl_kv_text *other_text);

/* Makes present what a run of rows at positions n_done .. n_tokens - 1 sees and writes. Positions
 * before n_done are computed for good: what no row from n_done on sees is given back. SL_AGAIN:
 * there are not so many pages; SL_ERR_LIMIT beyond the length it was opened for, or rows_max;
 * SL_ERR_ARGUMENT if n_done goes back to where pages are gone, or lies above n_tokens; no page was
 * taken then. */
SL_NODISCARD sl_status sl_kv_seq_extend(sl_kv *kv, uint32_t seq, uint32_t n_done,
                                        uint32_t n_tokens);
/* The length to which extend would find pages now. */
uint32_t sl_kv_seq_room(const sl_kv *kv, uint32_t seq);
/* Gives all pages back, and shares nothing: the sequence will be computed anew. */
void sl_kv_seq_restart(sl_kv *kv, uint32_t seq);
/* Gives its pages back, at once. */
void sl_kv_seq_close(sl_kv *kv, uint32_t seq);

/* Pages that no table names are free again, and found by nobody: somebody else writes into the
 * store. */
void sl_kv_forget_prefixes(sl_kv *kv);

/* The block table of one layer group, as long as the length it was opened for; an entry is -1
 * unless its page is held. Stays at its address while the sequence is open. */
const int32_t *sl_kv_seq_table(const sl_kv *kv, uint32_t seq, uint32_t group);
/* Whether all is held that rows at n_done .. n_tokens - 1 see and write. */
bool sl_kv_seq_holds(const sl_kv *kv, uint32_t seq, uint32_t n_done, uint32_t n_tokens);
uint32_t sl_kv_seq_n_pages(const sl_kv *kv, uint32_t seq); /* held, over all groups */

const sl_kv_groups *sl_kv_groups_of(const sl_kv *kv);
uint32_t sl_kv_n_pages(const sl_kv *kv);
uint32_t sl_kv_n_used(const sl_kv *kv);   /* pages that some table names */
uint32_t sl_kv_n_cached(const sl_kv *kv); /* pages kept for who may come */
uint32_t sl_kv_n_there(const sl_kv *kv);  /* pages to be had now: free ones and these */
uint32_t sl_kv_n_tokens_max(const sl_kv *kv);

/* Checks every invariant of the README by a full count; SL_ERR_INTERNAL names the first breach. For
 * tests: O(pages + tables), allocates. */
SL_NODISCARD sl_status sl_kv_verify(const sl_kv *kv, sl_error *err);

#endif
