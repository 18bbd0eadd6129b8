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
} kv_seq;

/* Entries [first, end) of a table name pages, all others are -1. */
typedef struct kv_span {
    uint32_t first, end;
} kv_span;

struct sl_kv {
    sl_page_pool pool;
    kv_seq *seqs;        /* [n_seqs_max] */
    uint32_t *free_seqs; /* [n_seqs_max] stack of closed ones */
    kv_span *spans;      /* [n_seqs_max][groups.n] */
    int32_t *tables;     /* [n_seqs_max][groups.n][table_stride] */
    sl_kv_groups groups;
    uint32_t n_seqs_max, n_free_seqs;
    uint32_t table_stride; /* pages of the longest sequence */
    uint32_t n_tokens_max;
    uint32_t n_promised; /* sum over open sequences of pages reserved but not held */
    uint32_t n_home_promised[SL_NODES_MAX]; /* the same, of those at home on each node */
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

/* n_pages more are promised to the sequence; or fewer, if below 0. */
static void kv_promise(sl_kv *kv, uint32_t seq, int64_t n_pages) {
    uint32_t *of_home = &kv->n_home_promised[kv->seqs[seq].home];
    kv->n_promised = (uint32_t)(kv->n_promised + n_pages);
    *of_home = (uint32_t)(*of_home + n_pages);
}

/* What others will still take counts, or all that are opened at once would choose the same node. */
static uint32_t kv_choose_home(const sl_kv *kv) {
    uint32_t best = 0;
    int64_t most = INT64_MIN;
    for (uint32_t n = 0; n < kv->pool.n_nodes; n++) {
        const int64_t n_pages = (int64_t)kv->pool.n_node_free[n] - kv->n_home_promised[n];
        if (n_pages > most) {
            most = n_pages;
            best = n;
        }
    }
    return best;
}

sl_status sl_kv_seq_open(sl_kv *kv, uint32_t n_tokens, uint32_t *seq_out) {
    const uint64_t n_pages = sl_kv_groups_pages(&kv->groups, n_tokens);
    if (n_tokens == 0 || n_tokens > kv->n_tokens_max || n_pages > kv->pool.n_pages) {
        return SL_ERR_LIMIT;
    }
    if (kv->n_free_seqs == 0 || n_pages > kv->pool.n_free - kv->n_promised) {
        return SL_AGAIN;
    }
    const uint32_t seq = kv->free_seqs[--kv->n_free_seqs];
    kv->seqs[seq] = (kv_seq){.open = true, .n_tokens = n_tokens, .home = kv_choose_home(kv)};
    kv_promise(kv, seq, (int64_t)n_pages);
    for (uint32_t g = 0; g < kv->groups.n; g++) {
        *kv_span_of(kv, seq, g) = (kv_span){0};
        memset(kv_table(kv, seq, g), 0xFF, sl_page_count(n_tokens) * sizeof(*kv->tables)); /* -1 */
    }
    *seq_out = seq;
    return SL_OK;
}

/* A page goes from its table back to the pool, promised to the same sequence again. */
static void kv_give_back(sl_kv *kv, uint32_t seq, int32_t *entry) {
    sl_page_pool_unref(&kv->pool, *entry);
    *entry = -1;
    kv_promise(kv, seq, 1);
}

/* Moves the span of one table to entries [first, end or later). */
static void kv_move_span(sl_kv *kv, uint32_t seq, uint32_t group, uint32_t first, uint32_t end) {
    kv_span *span = kv_span_of(kv, seq, group);
    int32_t *table = kv_table(kv, seq, group);
    for (; span->first < span->end && span->first < first; span->first++) {
        kv_give_back(kv, seq, &table[span->first]);
    }
    if (span->end < first) {
        span->first = span->end = first; /* entries between were never held */
    }
    for (; span->end < end; span->end++) {
        /* Promised pages are free (invariant 4), so the pool cannot be empty here. */
        table[span->end] = sl_page_pool_take(&kv->pool, kv->seqs[seq].home);
        kv_promise(kv, seq, -1);
    }
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
        kv_move_span(kv, seq, g, sl_kv_groups_first(&kv->groups, g, n_done),
                     (uint32_t)sl_page_count(n_tokens));
    }
    return SL_OK;
}

void sl_kv_seq_restart(sl_kv *kv, uint32_t seq) {
    /* Last page first: whoever comes next takes them in the order of this one. */
    for (uint32_t g = kv->groups.n; g-- > 0;) {
        kv_span *span = kv_span_of(kv, seq, g);
        for (uint32_t i = span->end; i > span->first; i--) {
            kv_give_back(kv, seq, &kv_table(kv, seq, g)[i - 1]);
        }
        *span = (kv_span){0};
    }
}

void sl_kv_seq_close(sl_kv *kv, uint32_t seq) {
    sl_kv_seq_restart(kv, seq);
    kv_promise(kv, seq, -(int64_t)sl_kv_groups_pages(&kv->groups, kv->seqs[seq].n_tokens));
    kv->seqs[seq] = (kv_seq){0};
    kv->free_seqs[kv->n_free_seqs++] = seq;
}

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
    return kv->pool.n_pages - kv->pool.n_free;
}

uint32_t sl_kv_n_promised(const sl_kv *kv) {
    return kv->n_promised;
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

static sl_status kv_verify_seqs(const sl_kv *kv, uint32_t *counted, sl_error *err) {
    uint64_t n_promised = 0;
    uint32_t n_open = 0, of_home[SL_NODES_MAX] = {0};
    for (uint32_t i = 0; i < kv->n_seqs_max; i++) {
        const kv_seq *s = &kv->seqs[i];
        if (!s->open) {
            continue;
        }
        n_open++;
        for (uint32_t g = 0; g < kv->groups.n; g++) {
            SL_TRY(kv_verify_table(kv, i, g, counted, err));
        }
        const uint64_t n_left = sl_kv_groups_pages(&kv->groups, s->n_tokens) -
                                sl_kv_seq_n_pages(kv, i);
        n_promised += n_left;
        of_home[s->home] += (uint32_t)n_left;
    }
    if (n_open + kv->n_free_seqs != kv->n_seqs_max || n_promised != kv->n_promised ||
        kv->n_promised > kv->pool.n_free ||
        memcmp(of_home, kv->n_home_promised, sizeof(of_home)) != 0) {
        return SL_FAIL(
            err, SL_ERR_INTERNAL,
            "KV totals: %u open and %u closed of %u sequences, %u pages promised (counted %llu; or "
            "other homes), %u free",
            n_open, kv->n_free_seqs, kv->n_seqs_max, kv->n_promised, (unsigned long long)n_promised,
            kv->pool.n_free);
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

/* Every page is either free, once, or referenced exactly as often as tables name it. */
static sl_status kv_verify_pages(const sl_kv *kv, uint32_t *counted, sl_error *err) {
    const sl_page_pool *pool = &kv->pool;
    uint32_t n_taken = 0;
    for (uint32_t i = 0; i < pool->n_pages; i++) {
        if (counted[i] != pool->refs[i]) {
            return SL_FAIL(err, SL_ERR_INTERNAL, "KV page %u has %u references, tables hold %u", i,
                           pool->refs[i], counted[i]);
        }
        n_taken += counted[i] != 0;
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
    sl_status status = kv_verify_seqs(kv, counted, err);
    if (status == SL_OK) {
        status = kv_verify_pages(kv, counted, err);
    }
    sl_free(counted);
    return status;
}
