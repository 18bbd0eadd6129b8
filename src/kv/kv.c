/* Block tables over the page pool. See kv.h; invariants are numbered in README.md. */
#include "kv/kv.h"

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/error.h"
#include "kv/page_pool.h"

typedef struct kv_seq {
    bool open;
    uint32_t n_pages;    /* entries of its table that are set */
    uint32_t n_reserved; /* pages it may reach, n_pages included */
} kv_seq;

struct sl_kv {
    sl_page_pool pool;
    kv_seq *seqs;        /* [n_seqs_max] */
    uint32_t *free_seqs; /* [n_seqs_max] stack of closed ones */
    int32_t *tables;     /* [n_seqs_max][table_stride] */
    uint32_t n_seqs_max, n_free_seqs;
    uint32_t table_stride; /* pages of the longest sequence */
    uint32_t n_tokens_max;
    uint32_t n_promised; /* sum over open sequences of n_reserved - n_pages */
};

sl_status sl_kv_create(const sl_kv_options *options, sl_kv **out, sl_error *err) {
    const uint32_t n_seqs = options->n_seqs_max;
    if (n_seqs == 0 || options->n_tokens_max == 0) {
        return SL_FAIL(err, SL_ERR_ARGUMENT,
                       "KV tables need at least one sequence of one token (asked: %u of %u)",
                       n_seqs, options->n_tokens_max);
    }
    sl_kv *kv = sl_alloc_zero(1, sizeof(*kv));
    if (kv == NULL) {
        return SL_FAIL(err, SL_ERR_MEMORY, "no memory for the KV tables");
    }
    sl_status status = sl_page_pool_init(&kv->pool, options->n_pages, err);
    if (status != SL_OK) {
        sl_kv_free(kv);
        return status;
    }
    kv->n_seqs_max = kv->n_free_seqs = n_seqs;
    kv->n_tokens_max = options->n_tokens_max;
    kv->table_stride = (uint32_t)sl_page_count(options->n_tokens_max);
    size_t n_entries = 0;
    if (sl_mul_size(n_seqs, kv->table_stride, &n_entries)) {
        kv->tables = sl_alloc_zero(n_entries, sizeof(*kv->tables));
    }
    kv->seqs = sl_alloc_zero(n_seqs, sizeof(*kv->seqs));
    kv->free_seqs = sl_alloc_zero(n_seqs, sizeof(*kv->free_seqs));
    if (kv->tables == NULL || kv->seqs == NULL || kv->free_seqs == NULL) {
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
    sl_free(kv->tables);
    sl_free(kv->seqs);
    sl_free(kv->free_seqs);
    sl_free(kv);
}

static int32_t *kv_table(const sl_kv *kv, uint32_t seq) {
    return kv->tables + (size_t)seq * kv->table_stride;
}

sl_status sl_kv_seq_open(sl_kv *kv, uint32_t n_tokens, uint32_t *seq_out) {
    const uint64_t n_pages = sl_page_count(n_tokens);
    if (n_tokens == 0 || n_tokens > kv->n_tokens_max || n_pages > kv->pool.n_pages) {
        return SL_ERR_LIMIT;
    }
    if (kv->n_free_seqs == 0 || n_pages > kv->pool.n_free - kv->n_promised) {
        return SL_AGAIN;
    }
    const uint32_t seq = kv->free_seqs[--kv->n_free_seqs];
    kv->seqs[seq] = (kv_seq){.open = true, .n_reserved = (uint32_t)n_pages};
    kv->n_promised += (uint32_t)n_pages;
    *seq_out = seq;
    return SL_OK;
}

sl_status sl_kv_seq_extend(sl_kv *kv, uint32_t seq, uint32_t n_tokens) {
    kv_seq *s = &kv->seqs[seq];
    const uint64_t n_pages = sl_page_count(n_tokens);
    if (n_pages > s->n_reserved) {
        return SL_ERR_LIMIT;
    }
    int32_t *table = kv_table(kv, seq);
    while (s->n_pages < n_pages) {
        /* Promised pages are free (invariant 4), so the pool cannot be empty here. */
        table[s->n_pages++] = sl_page_pool_take(&kv->pool);
        kv->n_promised--;
    }
    return SL_OK;
}

void sl_kv_seq_close(sl_kv *kv, uint32_t seq) {
    kv_seq *s = &kv->seqs[seq];
    const int32_t *table = kv_table(kv, seq);
    /* Last page first: the next sequence takes them in the order of this one. */
    for (uint32_t i = s->n_pages; i > 0; i--) {
        sl_page_pool_unref(&kv->pool, table[i - 1]);
    }
    kv->n_promised -= s->n_reserved - s->n_pages;
    *s = (kv_seq){0};
    kv->free_seqs[kv->n_free_seqs++] = seq;
}

const int32_t *sl_kv_seq_table(const sl_kv *kv, uint32_t seq, uint32_t group) {
    (void)group; /* one table serves all groups, see the head of kv.h */
    return kv_table(kv, seq);
}

uint32_t sl_kv_seq_n_pages(const sl_kv *kv, uint32_t seq) {
    return kv->seqs[seq].n_pages;
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

/* Counts the references that open tables hold, and checks each sequence on its own. */
static sl_status kv_verify_seqs(const sl_kv *kv, uint32_t *counted, sl_error *err) {
    uint64_t n_promised = 0;
    uint32_t n_open = 0;
    for (uint32_t i = 0; i < kv->n_seqs_max; i++) {
        const kv_seq *s = &kv->seqs[i];
        if (!s->open) {
            continue;
        }
        n_open++;
        if (s->n_pages > s->n_reserved || s->n_reserved > kv->table_stride) {
            return SL_FAIL(err, SL_ERR_INTERNAL, "KV sequence %u has %u pages of %u reserved", i,
                           s->n_pages, s->n_reserved);
        }
        n_promised += s->n_reserved - s->n_pages;
        for (uint32_t j = 0; j < s->n_pages; j++) {
            const int32_t page = kv_table(kv, i)[j];
            if (page < 0 || (uint32_t)page >= kv->pool.n_pages) {
                return SL_FAIL(err, SL_ERR_INTERNAL, "KV sequence %u names page %d", i, page);
            }
            counted[page]++;
        }
    }
    if (n_open + kv->n_free_seqs != kv->n_seqs_max || n_promised != kv->n_promised ||
        kv->n_promised > kv->pool.n_free) {
        return SL_FAIL(
            err, SL_ERR_INTERNAL,
            "KV totals: %u open and %u closed of %u sequences, %u pages promised (counted %llu), "
            "%u free",
            n_open, kv->n_free_seqs, kv->n_seqs_max, kv->n_promised, (unsigned long long)n_promised,
            kv->pool.n_free);
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
    for (uint32_t i = 0; i < pool->n_free; i++) {
        if (counted[pool->free[i]]++ != 0) {
            return SL_FAIL(err, SL_ERR_INTERNAL, "KV page %d is in the free list twice or in use",
                           pool->free[i]);
        }
    }
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
