/* Block tables over the page pool. See kv.h; invariants are numbered in README.md. */
#include "kv/kv.h"

#include <string.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/error.h"
#include "kv/page_pool.h"

typedef struct kv_seq {
    bool open;
    uint32_t n_tokens; /* that it may reach */
    uint32_t home;     /* node whose pages it takes first */
    /* The prefix that its first n_chained pages are published as, or were taken over as.
     * SL_PREFIX_NONE: it shares nothing from there on. */
    uint32_t prefix, n_chained;
} kv_seq;

/* Entries [first, end) of a table name pages, all others are -1. */
typedef struct kv_span {
    uint32_t first, end;
} kv_span;

struct sl_kv {
    sl_page_pool pool;
    sl_prefix_index prefixes;
    kv_seq *seqs;        /* [n_seqs_max] */
    uint32_t *free_seqs; /* [n_seqs_max] stack of closed ones */
    kv_span *spans;      /* [n_seqs_max][groups.n] */
    int32_t *tables;     /* [n_seqs_max][groups.n][table_stride] */
    sl_kv_groups groups;
    uint32_t n_seqs_max, n_free_seqs;
    uint32_t table_stride; /* pages of the longest sequence */
    uint32_t n_tokens_max;
    uint64_t spoken_for[SL_NODES_MAX]; /* pages of the full length of those at home on each node */
};

static sl_status kv_check_options(const sl_kv_options *o, sl_error *err) {
    if (o->n_seqs_max == 0 || o->n_tokens_max == 0) {
        return SL_FAIL(err, SL_ERR_ARGUMENT,
                       "KV tables need at least one sequence of one token (asked: %u of %u)",
                       o->n_seqs_max, o->n_tokens_max);
    }
    if (o->groups.n == 0 || o->groups.n > SL_PLAN_GROUPS_MAX || o->groups.rows_max == 0) {
        return SL_FAIL(err, SL_ERR_ARGUMENT,
                       "KV tables need 1 to %d layer groups and steps of at least one row (asked: "
                       "%u and %u)",
                       SL_PLAN_GROUPS_MAX, o->groups.n, o->groups.rows_max);
    }
    return SL_OK;
}

static bool kv_alloc_tables(sl_kv *kv) {
    size_t n_spans = 0, n_entries = 0;
    if (!sl_mul_size(kv->n_seqs_max, kv->groups.n, &n_spans) ||
        !sl_mul_size(n_spans, kv->table_stride, &n_entries)) {
        return false;
    }
    kv->spans = sl_alloc_zero(n_spans, sizeof(*kv->spans));
    kv->tables = sl_alloc_zero(n_entries, sizeof(*kv->tables));
    kv->seqs = sl_alloc_zero(kv->n_seqs_max, sizeof(*kv->seqs));
    kv->free_seqs = sl_alloc_zero(kv->n_seqs_max, sizeof(*kv->free_seqs));
    return kv->spans != NULL && kv->tables != NULL && kv->seqs != NULL && kv->free_seqs != NULL;
}

sl_status sl_kv_create(const sl_kv_options *options, sl_kv **out, sl_error *err) {
    SL_TRY(kv_check_options(options, err));
    sl_kv *kv = sl_alloc_zero(1, sizeof(*kv));
    if (kv == NULL) {
        return SL_FAIL(err, SL_ERR_MEMORY, "no memory for the KV tables");
    }
    sl_status status = sl_page_pool_init(&kv->pool, options->n_pages, &options->nodes, err);
    if (status != SL_OK) {
        sl_kv_free(kv);
        return status;
    }
    status = sl_prefix_index_init(&kv->prefixes, options->n_pages, options->groups.n,
                                  options->n_seqs_max, options->seed, err);
    if (status != SL_OK) {
        sl_kv_free(kv);
        return status;
    }
    const uint32_t n_seqs = options->n_seqs_max;
    kv->n_seqs_max = kv->n_free_seqs = n_seqs;
    kv->n_tokens_max = options->n_tokens_max;
    kv->groups = options->groups;
    kv->table_stride = (uint32_t)sl_page_count(options->n_tokens_max);
    if (!kv_alloc_tables(kv)) {
        sl_kv_free(kv);
        return SL_FAIL(
            err, SL_ERR_MEMORY,
            "no memory for block tables of %u sequences of %u tokens; allow fewer or shorter ones",
            n_seqs, options->n_tokens_max);
    }
    for (uint32_t i = 0; i < n_seqs; i++) {
        kv->free_seqs[i] = n_seqs - 1 - i;
    }
    *out = kv;
    return SL_OK;
}

void sl_kv_free(sl_kv *kv) {
    if (kv == NULL) {
        return;
    }
    sl_page_pool_deinit(&kv->pool);
    sl_prefix_index_deinit(&kv->prefixes);
    sl_free(kv->spans);
    sl_free(kv->tables);
    sl_free(kv->seqs);
    sl_free(kv->free_seqs);
    sl_free(kv);
}

static kv_span *kv_span_of(const sl_kv *kv, uint32_t seq, uint32_t group) {
    return &kv->spans[(size_t)seq * kv->groups.n + group];
}

static int32_t *kv_table(const sl_kv *kv, uint32_t seq, uint32_t group) {
    return kv->tables + ((size_t)seq * kv->groups.n + group) * kv->table_stride;
}

/* --- pages in and out --- */

/* A page for a table; the caller made sure that there is one. */
static int32_t kv_take(sl_kv *kv, uint32_t node) {
    if (kv->pool.n_free == 0) {
        sl_page_pool_put(&kv->pool, sl_prefix_evict(&kv->prefixes));
    }
    return sl_page_pool_take(&kv->pool, node);
}

/* One more table names a page of a prefix. */
static void kv_share(sl_kv *kv, int32_t page) {
    if (kv->pool.refs[page] == 0) {
        sl_prefix_unpark(&kv->prefixes, page);
    }
    sl_page_pool_ref(&kv->pool, page);
}

static void kv_give_back(sl_kv *kv, int32_t *entry) {
    const int32_t page = *entry;
    *entry = -1;
    if (!sl_page_pool_unref(&kv->pool, page)) {
        return;
    }
    if (sl_prefix_is_named(&kv->prefixes, page)) {
        sl_prefix_park(&kv->prefixes, page);
    } else {
        sl_page_pool_put(&kv->pool, page);
    }
}

/* Entries before `first` go. */
static void kv_slide(sl_kv *kv, uint32_t seq, uint32_t group, uint32_t first) {
    kv_span *span = kv_span_of(kv, seq, group);
    int32_t *table = kv_table(kv, seq, group);
    for (; span->first < span->end && span->first < first; span->first++) {
        kv_give_back(kv, &table[span->first]);
    }
    if (span->end < first) {
        span->first = span->end = first; /* entries between were never held */
    }
}

/* --- opening and closing --- */

static uint32_t kv_choose_home(const sl_kv *kv) {
    uint32_t best = 0;
    int64_t most = INT64_MIN;
    for (uint32_t n = 0; n < kv->pool.n_nodes; n++) {
        const int64_t n_pages = (int64_t)(kv->pool.first[n + 1] - kv->pool.first[n]) -
                                (int64_t)kv->spoken_for[n];
        if (n_pages > most) {
            most = n_pages;
            best = n;
        }
    }
    return best;
}

void sl_kv_seq_share(sl_kv *kv, uint32_t seq, const sl_prefix_key *key) {
    kv_seq *s = &kv->seqs[seq];
    s->prefix = sl_prefix_root(&kv->prefixes, key);
    if (s->prefix != SL_PREFIX_NONE) {
        sl_prefix_hold(&kv->prefixes, s->prefix);
    }
}

sl_status sl_kv_seq_open(sl_kv *kv, uint32_t n_tokens, uint32_t *seq_out) {
    const uint64_t n_pages = sl_kv_groups_pages(&kv->groups, n_tokens);
    if (n_tokens == 0 || n_tokens > kv->n_tokens_max || n_pages > kv->pool.n_pages) {
        return SL_ERR_LIMIT;
    }
    if (kv->n_free_seqs == 0) {
        return SL_AGAIN;
    }
    const uint32_t seq = kv->free_seqs[--kv->n_free_seqs];
    kv->seqs[seq] = (kv_seq){
        .open = true, .n_tokens = n_tokens, .home = kv_choose_home(kv), .prefix = SL_PREFIX_NONE};
    kv->spoken_for[kv->seqs[seq].home] += n_pages;
    for (uint32_t g = 0; g < kv->groups.n; g++) {
        *kv_span_of(kv, seq, g) = (kv_span){0};
        memset(kv_table(kv, seq, g), 0xFF, sl_page_count(n_tokens) * sizeof(*kv->tables)); /* -1 */
    }
    *seq_out = seq;
    return SL_OK;
}

void sl_kv_seq_restart(sl_kv *kv, uint32_t seq) {
    /* Last page first: of what is kept, the beginning outlives the end; and whoever comes next
     * takes free ones in the order of this one. */
    uint32_t end = 0;
    for (uint32_t g = 0; g < kv->groups.n; g++) {
        const kv_span *span = kv_span_of(kv, seq, g);
        end = span->end > end ? span->end : end;
    }
    for (uint32_t i = end; i-- > 0;) {
        for (uint32_t g = kv->groups.n; g-- > 0;) {
            const kv_span *span = kv_span_of(kv, seq, g);
            if (i >= span->first && i < span->end) {
                kv_give_back(kv, &kv_table(kv, seq, g)[i]);
            }
        }
    }
    for (uint32_t g = 0; g < kv->groups.n; g++) {
        *kv_span_of(kv, seq, g) = (kv_span){0};
    }
    if (kv->seqs[seq].prefix != SL_PREFIX_NONE) {
        sl_prefix_drop(&kv->prefixes, kv->seqs[seq].prefix);
    }
    kv->seqs[seq].prefix = SL_PREFIX_NONE;
    kv->seqs[seq].n_chained = 0;
}

void sl_kv_seq_close(sl_kv *kv, uint32_t seq) {
    sl_kv_seq_restart(kv, seq);
    kv->spoken_for[kv->seqs[seq].home] -= sl_kv_groups_pages(&kv->groups, kv->seqs[seq].n_tokens);
    kv->seqs[seq] = (kv_seq){0};
    kv->free_seqs[kv->n_free_seqs++] = seq;
}

/* --- growing --- */

/* Pages that are lacking to have entries up to `end` of all groups. */
static uint64_t kv_n_lacking(const sl_kv *kv, uint32_t seq, uint32_t end) {
    uint64_t n_pages = 0;
    for (uint32_t g = 0; g < kv->groups.n; g++) {
        const uint32_t have = kv_span_of(kv, seq, g)->end;
        n_pages += end > have ? end - have : 0;
    }
    return n_pages;
}

sl_status sl_kv_seq_extend(sl_kv *kv, uint32_t seq, uint32_t n_done, uint32_t n_tokens) {
    if (n_done > n_tokens) {
        return SL_ERR_ARGUMENT;
    }
    if (n_tokens > kv->seqs[seq].n_tokens || n_tokens - n_done > kv->groups.rows_max) {
        return SL_ERR_LIMIT;
    }
    for (uint32_t g = 0; g < kv->groups.n; g++) {
        if (sl_kv_groups_first(&kv->groups, g, n_done) < kv_span_of(kv, seq, g)->first) {
            return SL_ERR_ARGUMENT;
        }
    }
    for (uint32_t g = 0; g < kv->groups.n; g++) {
        kv_slide(kv, seq, g, sl_kv_groups_first(&kv->groups, g, n_done));
    }
    const uint32_t end = (uint32_t)sl_page_count(n_tokens);
    if (kv_n_lacking(kv, seq, end) > sl_kv_n_there(kv)) {
        return SL_AGAIN;
    }
    for (uint32_t g = 0; g < kv->groups.n; g++) {
        kv_span *span = kv_span_of(kv, seq, g);
        for (; span->end < end; span->end++) {
            kv_table(kv, seq, g)[span->end] = kv_take(kv, kv->seqs[seq].home);
        }
    }
    return SL_OK;
}

uint32_t sl_kv_seq_room(const sl_kv *kv, uint32_t seq) {
    const uint32_t n_there = sl_kv_n_there(kv),
                   n_entries_max = (uint32_t)sl_page_count(kv->seqs[seq].n_tokens);
    uint32_t end = UINT32_MAX;
    for (uint32_t g = 0; g < kv->groups.n; g++) {
        end = kv_span_of(kv, seq, g)->end < end ? kv_span_of(kv, seq, g)->end : end;
    }
    while (end < n_entries_max && kv_n_lacking(kv, seq, end + 1) <= n_there) {
        end++;
    }
    const uint64_t n_tokens = (uint64_t)end * SL_PAGE_TOKENS;
    return n_tokens < kv->seqs[seq].n_tokens ? (uint32_t)n_tokens : kv->seqs[seq].n_tokens;
}

/* --- prefixes --- */

static void kv_page_ids(const sl_kv_text *text, uint32_t i, int32_t ids[SL_PAGE_TOKENS]) {
    sl_kv_text_copy(text, i * SL_PAGE_TOKENS, SL_PAGE_TOKENS, ids);
}

/* The sequence is at `prefix`, n_chained pages from its beginning. */
static void kv_chain_to(sl_kv *kv, uint32_t seq, uint32_t prefix, uint32_t n_chained) {
    kv_seq *s = &kv->seqs[seq];
    if (prefix != SL_PREFIX_NONE) {
        sl_prefix_hold(&kv->prefixes, prefix);
    }
    sl_prefix_drop(&kv->prefixes, s->prefix);
    s->prefix = prefix;
    s->n_chained = n_chained;
}

/* Follows the tree while it knows the tokens. Out comes the last place where a row finds all that
 * it sees of each group: its node, and how many pages lie before it. */
static uint32_t kv_follow(const sl_kv *kv, uint32_t seq, const sl_kv_text *text,
                          uint32_t *n_pages_out) {
    const kv_seq *s = &kv->seqs[seq];
    uint32_t from[SL_PLAN_GROUPS_MAX]; /* entries from here on are there */
    for (uint32_t g = 0; g < kv->groups.n; g++) {
        const kv_span *span = kv_span_of(kv, seq, g);
        from[g] = span->end == s->n_chained ? span->first : s->n_chained;
    }
    uint32_t node = s->prefix, best = s->prefix;
    *n_pages_out = s->n_chained;
    for (uint32_t i = s->n_chained; ((uint64_t)i + 1) * SL_PAGE_TOKENS < text->n_known; i++) {
        int32_t ids[SL_PAGE_TOKENS];
        kv_page_ids(text, i, ids);
        node = sl_prefix_find(&kv->prefixes, node, ids);
        if (node == SL_PREFIX_NONE) {
            break;
        }
        bool all = true;
        for (uint32_t g = 0; g < kv->groups.n; g++) {
            from[g] = sl_prefix_page_of(&kv->prefixes, node, g) < 0 ? i + 1 : from[g];
            all = all && from[g] <= sl_kv_groups_first(&kv->groups, g, (i + 1) * SL_PAGE_TOKENS);
        }
        if (all) {
            best = node;
            *n_pages_out = i + 1;
        }
    }
    return best;
}

uint32_t sl_kv_seq_reuse(sl_kv *kv, uint32_t seq, const sl_kv_text *text, uint32_t n_done) {
    const kv_seq *s = &kv->seqs[seq];
    if (s->prefix == SL_PREFIX_NONE || n_done != s->n_chained * SL_PAGE_TOKENS) {
        return n_done;
    }
    for (uint32_t g = 0; g < kv->groups.n; g++) {
        if (kv_span_of(kv, seq, g)->end > s->n_chained) {
            return n_done; /* it has pages already for rows to come */
        }
    }
    uint32_t n_pages;
    const uint32_t last = kv_follow(kv, seq, text, &n_pages);
    if (n_pages == s->n_chained) {
        return n_done;
    }
    for (uint32_t g = 0; g < kv->groups.n; g++) {
        kv_slide(kv, seq, g, sl_kv_groups_first(&kv->groups, g, n_pages * SL_PAGE_TOKENS));
    }
    uint32_t node = last;
    for (uint32_t i = n_pages; i-- > s->n_chained; node = kv->prefixes.nodes[node].parent) {
        for (uint32_t g = 0; g < kv->groups.n; g++) {
            if (i >= kv_span_of(kv, seq, g)->first) {
                const int32_t page = sl_prefix_page_of(&kv->prefixes, node, g);
                kv_table(kv, seq, g)[i] = page;
                kv_share(kv, page);
            }
        }
    }
    for (uint32_t g = 0; g < kv->groups.n; g++) {
        kv_span_of(kv, seq, g)->end = n_pages;
    }
    kv_chain_to(kv, seq, last, n_pages);
    return n_pages * SL_PAGE_TOKENS;
}

void sl_kv_seq_publish(sl_kv *kv, uint32_t seq, const sl_kv_text *text, uint32_t n_done) {
    const kv_seq *s = &kv->seqs[seq];
    while (s->prefix != SL_PREFIX_NONE && s->n_chained < n_done / SL_PAGE_TOKENS) {
        const uint32_t i = s->n_chained;
        int32_t ids[SL_PAGE_TOKENS];
        kv_page_ids(text, i, ids);
        const uint32_t node = sl_prefix_add(&kv->prefixes, s->prefix, ids);
        for (uint32_t g = 0; node != SL_PREFIX_NONE && g < kv->groups.n; g++) {
            const kv_span *span = kv_span_of(kv, seq, g);
            const int32_t page = i >= span->first && i < span->end ? kv_table(kv, seq, g)[i] : -1;
            if (page >= 0 && !sl_prefix_is_named(&kv->prefixes, page) &&
                sl_prefix_page_of(&kv->prefixes, node, g) < 0) {
                sl_prefix_name(&kv->prefixes, node, g, page);
            }
        }
        kv_chain_to(kv, seq, node, i + 1);
    }
}

uint32_t sl_kv_seq_n_published(const sl_kv *kv, uint32_t seq) {
    return kv->seqs[seq].n_chained * SL_PAGE_TOKENS;
}

void sl_kv_forget_prefixes(sl_kv *kv) {
    for (int32_t page; (page = sl_prefix_evict(&kv->prefixes)) >= 0;) {
        sl_page_pool_put(&kv->pool, page);
    }
}

bool sl_kv_seq_follows(const sl_kv *kv, uint32_t seq, const sl_kv_text *text, uint32_t n_done,
                       uint32_t other, const sl_kv_text *other_text) {
    const kv_seq *s = &kv->seqs[seq], *o = &kv->seqs[other];
    const uint64_t end = ((uint64_t)s->n_chained + 1) * SL_PAGE_TOKENS;
    if (s->prefix == SL_PREFIX_NONE || s->prefix != o->prefix ||
        n_done != s->n_chained * SL_PAGE_TOKENS || end >= text->n_known ||
        end > other_text->n_known) {
        return false;
    }
    int32_t ids[SL_PAGE_TOKENS], other_ids[SL_PAGE_TOKENS];
    kv_page_ids(text, s->n_chained, ids);
    kv_page_ids(other_text, s->n_chained, other_ids);
    return memcmp(ids, other_ids, sizeof(ids)) == 0;
}

/* --- questions --- */

const int32_t *sl_kv_seq_table(const sl_kv *kv, uint32_t seq, uint32_t group) {
    return kv_table(kv, seq, group);
}

bool sl_kv_seq_holds(const sl_kv *kv, uint32_t seq, uint32_t n_done, uint32_t n_tokens) {
    for (uint32_t g = 0; g < kv->groups.n; g++) {
        const kv_span *span = kv_span_of(kv, seq, g);
        if (span->first > sl_kv_groups_first(&kv->groups, g, n_done) ||
            span->end < sl_page_count(n_tokens)) {
            return false;
        }
    }
    return true;
}

uint32_t sl_kv_seq_n_pages(const sl_kv *kv, uint32_t seq) {
    uint32_t n_pages = 0;
    for (uint32_t g = 0; g < kv->groups.n; g++) {
        const kv_span *span = kv_span_of(kv, seq, g);
        n_pages += span->end - span->first;
    }
    return n_pages;
}

const sl_kv_groups *sl_kv_groups_of(const sl_kv *kv) {
    return &kv->groups;
}

uint32_t sl_kv_n_pages(const sl_kv *kv) {
    return kv->pool.n_pages;
}

uint32_t sl_kv_n_used(const sl_kv *kv) {
    return kv->pool.n_pages - sl_kv_n_there(kv);
}

uint32_t sl_kv_n_there(const sl_kv *kv) {
    return kv->pool.n_free + kv->prefixes.n_parked;
}

uint32_t sl_kv_n_cached(const sl_kv *kv) {
    return kv->prefixes.n_parked;
}

uint32_t sl_kv_n_tokens_max(const sl_kv *kv) {
    return kv->n_tokens_max;
}

/* Counts the references of one table, and checks it on its own. */
static sl_status kv_verify_table(const sl_kv *kv, uint32_t seq, uint32_t group, uint32_t *counted,
                                 sl_error *err) {
    const kv_span *span = kv_span_of(kv, seq, group);
    const uint32_t n_tokens = kv->seqs[seq].n_tokens, n_entries = (uint32_t)sl_page_count(n_tokens);
    if (span->first > span->end || span->end > n_entries ||
        span->end - span->first > sl_kv_groups_group_pages(&kv->groups, group, n_tokens)) {
        return SL_FAIL(err, SL_ERR_INTERNAL,
                       "KV sequence %u of %u tokens holds entries %u to %u of group %u", seq,
                       n_tokens, span->first, span->end, group);
    }
    for (uint32_t i = 0; i < n_entries; i++) {
        const int32_t page = kv_table(kv, seq, group)[i];
        const bool held = i >= span->first && i < span->end;
        if (held ? page < 0 || (uint32_t)page >= kv->pool.n_pages : page != -1) {
            return SL_FAIL(err, SL_ERR_INTERNAL,
                           "KV sequence %u, group %u: entry %u is page %d, held are %u to %u", seq,
                           group, i, page, span->first, span->end);
        }
        if (held) {
            counted[page]++;
        }
    }
    return SL_OK;
}

static sl_status kv_verify_seqs(const sl_kv *kv, uint32_t *counted, uint64_t *n_users,
                                sl_error *err) {
    uint64_t spoken_for[SL_NODES_MAX] = {0};
    uint32_t n_open = 0;
    for (uint32_t i = 0; i < kv->n_seqs_max; i++) {
        const kv_seq *s = &kv->seqs[i];
        if (!s->open) {
            continue;
        }
        n_open++;
        for (uint32_t g = 0; g < kv->groups.n; g++) {
            SL_TRY(kv_verify_table(kv, i, g, counted, err));
        }
        spoken_for[s->home] += sl_kv_groups_pages(&kv->groups, s->n_tokens);
        *n_users += s->prefix != SL_PREFIX_NONE;
    }
    if (n_open + kv->n_free_seqs != kv->n_seqs_max ||
        memcmp(spoken_for, kv->spoken_for, sizeof(spoken_for)) != 0) {
        return SL_FAIL(err, SL_ERR_INTERNAL,
                       "KV totals: %u open and %u closed of %u sequences, or other homes", n_open,
                       kv->n_free_seqs, kv->n_seqs_max);
    }
    return SL_OK;
}

/* Each node's stack holds pages of its own that nobody names, each once; all in all n_free. */
static sl_status kv_verify_free(const sl_page_pool *pool, uint32_t *counted, sl_error *err) {
    uint64_t n_free = 0;
    for (uint32_t n = 0; n < pool->n_nodes; n++) {
        const uint32_t first = pool->first[n];
        for (uint32_t i = first; i < first + pool->n_node_free[n]; i++) {
            const uint32_t page = (uint32_t)pool->free[i];
            if (page < first || page >= pool->first[n + 1] || counted[page]++ != 0) {
                return SL_FAIL(err, SL_ERR_INTERNAL,
                               "KV page %d is in the free list of node %u twice, or in use, or of "
                               "another node",
                               pool->free[i], n);
            }
        }
        n_free += pool->n_node_free[n];
    }
    if (n_free != pool->n_free) {
        return SL_FAIL(err, SL_ERR_INTERNAL, "KV totals: %u pages free, the nodes have %llu",
                       pool->n_free, (unsigned long long)n_free);
    }
    return SL_OK;
}

/* Every page is free, once, or parked, or referenced exactly as often as tables name it. */
static sl_status kv_verify_pages(const sl_kv *kv, uint32_t *counted, sl_error *err) {
    const sl_page_pool *pool = &kv->pool;
    uint32_t n_taken = 0;
    SL_TRY(sl_prefix_index_verify(&kv->prefixes, err));
    for (uint32_t i = 0; i < pool->n_pages; i++) {
        if (counted[i] != pool->refs[i]) {
            return SL_FAIL(err, SL_ERR_INTERNAL, "KV page %u has %u references, tables hold %u", i,
                           pool->refs[i], counted[i]);
        }
        const bool parked = kv->prefixes.pages[i].parked;
        if (parked && counted[i] != 0) {
            return SL_FAIL(err, SL_ERR_INTERNAL, "KV page %u is parked, and tables name it", i);
        }
        n_taken += counted[i] != 0 || parked;
        counted[i] += parked; /* not free */
    }
    SL_TRY(kv_verify_free(pool, counted, err));
    if (n_taken + pool->n_free != pool->n_pages) {
        return SL_FAIL(err, SL_ERR_INTERNAL, "KV pages lost: %u taken and %u free of %u", n_taken,
                       pool->n_free, pool->n_pages);
    }
    return SL_OK;
}

sl_status sl_kv_verify(const sl_kv *kv, sl_error *err) {
    uint32_t *counted = sl_alloc_zero(kv->pool.n_pages, sizeof(*counted));
    if (counted == NULL) {
        return SL_FAIL(err, SL_ERR_MEMORY, "no memory to verify the KV tables");
    }
    uint64_t n_users = 0, n_counted = 0;
    sl_status status = kv_verify_seqs(kv, counted, &n_users, err);
    if (status == SL_OK) {
        status = kv_verify_pages(kv, counted, err);
    }
    for (uint32_t i = 0; i < kv->prefixes.n_nodes_max; i++) {
        n_counted += kv->prefixes.nodes[i].n_users;
    }
    if (status == SL_OK && n_counted != n_users) {
        status = SL_FAIL(err, SL_ERR_INTERNAL, "prefixes have %llu users, sequences hold %llu",
                         (unsigned long long)n_counted, (unsigned long long)n_users);
    }
    sl_free(counted);
    return status;
}
