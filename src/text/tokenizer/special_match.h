/* Finds the texts of special tokens in a text, leftmost first and longest at a position, in time
 * linear in the text whatever the texts are. Immutable after building. */
#ifndef SL_TEXT_SPECIAL_MATCH_H
#define SL_TEXT_SPECIAL_MATCH_H

#include <stdbool.h>
#include <stdint.h>

#include <sluice/status.h>

#include "base/bytes.h"
#include "text/span.h"

typedef struct sl_special_node {
    uint32_t fail;      /* the longest proper suffix of this node that is a node */
    uint32_t out_all;   /* node of the longest whole text that is a suffix of this one, 0: none */
    uint32_t out_user;  /* the same of user-defined tokens alone */
    uint32_t id_plus_1; /* the token that ends exactly here */
    uint32_t depth;
} sl_special_node;

typedef struct sl_special_edge {
    uint32_t node, child; /* child 0: empty slot (the root is no one's child) */
    uint32_t byte;
} sl_special_edge;

typedef struct sl_special_matcher {
    sl_special_node *nodes; /* [n_nodes], the root first; NULL when there are no special texts */
    uint32_t n_nodes;
    sl_special_edge *edges; /* hash table */
    uint32_t mask;
    uint32_t root_child[256];
    bool has_user;
} sl_special_matcher;

typedef struct sl_special_text {
    sl_slice text; /* not empty */
    int32_t id;
    bool user; /* recognised always, not only when special tokens are asked for */
} sl_special_text;

/* Texts that occur twice: the first one counts. `n_bytes` is the sum of all lengths (below
 * 2^30). */
sl_status sl_special_build(sl_special_matcher *m, const sl_special_text *texts, size_t n,
                           size_t n_bytes);
void sl_special_deinit(sl_special_matcher *m);

typedef struct sl_special_hit {
    uint32_t start, len;
    int32_t id;
} sl_special_hit;

/* All hits that do not overlap, in the order of the text, in memory that the caller frees by
 * sl_free (NULL if none). text.len < 2^32. With `all`, texts that are not `user` ones are
 * recognised too, but not where they touch one of `closed` (may be NULL: nowhere forbidden). */
sl_status sl_special_find(const sl_special_matcher *m, sl_slice text, bool all,
                          const sl_spans *closed, sl_special_hit **hits_out, size_t *n_out,
                          uint64_t *work);

#endif
