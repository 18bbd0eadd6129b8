/* Page pool and block tables: growth, windows, freeing, references, prefixes that sequences share,
 * and that verify sees breaches. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "kv/kv.h"
#include "kv/page_pool.h"

#define T SL_PAGE_TOKENS

static sl_kv *kv_of_nodes(uint32_t n_pages, uint32_t n_seqs, uint32_t n_tokens,
                          const sl_kv_groups *groups, const sl_nodes *nodes) {
    const sl_kv_options options = {.n_pages = n_pages,
                                   .n_seqs_max = n_seqs,
                                   .n_tokens_max = n_tokens,
                                   .groups = *groups,
                                   .nodes = *nodes};
    sl_kv *kv = NULL;
    sl_error err;
    assert_int_equal(sl_kv_create(&options, &kv, &err), SL_OK);
    return kv;
}

static sl_kv *kv_of_groups(uint32_t n_pages, uint32_t n_seqs, uint32_t n_tokens,
                           const sl_kv_groups *groups) {
    const sl_nodes one = {0};
    return kv_of_nodes(n_pages, n_seqs, n_tokens, groups, &one);
}

static sl_kv *kv_of(uint32_t n_pages, uint32_t n_seqs, uint32_t n_tokens) {
    const sl_kv_groups one = {.n = 1, .rows_max = 4096};
    return kv_of_groups(n_pages, n_seqs, n_tokens, &one);
}

static void kv_check(const sl_kv *kv) {
    sl_error err;
    if (sl_kv_verify(kv, &err) != SL_OK) {
        fail_msg("%s", err.message);
    }
}

static void test_page_count(void **state) {
    (void)state;
    assert_int_equal(sl_page_count(0), 0);
    assert_int_equal(sl_page_count(1), 1);
    assert_int_equal(sl_page_count(T), 1);
    assert_int_equal(sl_page_count(T + 1), 2);
    assert_true(sl_page_count(UINT64_MAX) == UINT64_MAX / T + 1);
}

static void test_grow(void **state) {
    (void)state;
    sl_kv *kv = kv_of(10, 4, 8 * T);
    uint32_t a, b, c;
    assert_int_equal(sl_kv_seq_open(kv, 6 * T, &a), SL_OK);
    assert_int_equal(sl_kv_seq_open(kv, 8 * T, &b), SL_OK);
    assert_int_equal(sl_kv_n_used(kv), 0); /* nothing is reserved */
    assert_int_equal(sl_kv_seq_extend(kv, a, 0, 1), SL_OK);
    assert_int_equal(sl_kv_seq_extend(kv, b, 0, T + 1), SL_OK);
    assert_int_equal(sl_kv_seq_extend(kv, a, 0, T), SL_OK); /* the same page */
    assert_int_equal(sl_kv_seq_n_pages(kv, a), 1);
    assert_int_equal(sl_kv_seq_n_pages(kv, b), 2);
    assert_int_equal(sl_kv_n_used(kv), 3);
    assert_int_equal(sl_kv_n_there(kv), 7);
    assert_int_equal(sl_kv_seq_extend(kv, a, 0, 6 * T), SL_OK);
    assert_int_equal(sl_kv_seq_extend(kv, a, 0, 6 * T + 1), SL_ERR_LIMIT);
    assert_int_equal(sl_kv_seq_room(kv, b), 4 * T);
    assert_int_equal(sl_kv_seq_extend(kv, b, T, 4 * T + 1), SL_AGAIN); /* nothing was taken */
    assert_int_equal(sl_kv_n_used(kv), 8);
    assert_int_equal(sl_kv_seq_extend(kv, b, T, 4 * T), SL_OK);
    assert_int_equal(sl_kv_seq_open(kv, 1, &c), SL_OK);
    assert_int_equal(sl_kv_seq_extend(kv, c, 0, 1), SL_AGAIN);
    assert_int_equal(sl_kv_seq_room(kv, c), 0);
    kv_check(kv);
    sl_kv_seq_close(kv, a);
    assert_int_equal(sl_kv_n_used(kv), 4);
    assert_int_equal(sl_kv_seq_room(kv, b), 8 * T);
    assert_int_equal(sl_kv_seq_extend(kv, c, 0, 1), SL_OK);
    sl_kv_seq_close(kv, c);
    sl_kv_seq_close(kv, b);
    assert_int_equal(sl_kv_n_used(kv), 0);
    kv_check(kv);
    sl_kv_free(kv);
}

static void test_limits(void **state) {
    (void)state;
    sl_kv *kv = kv_of(3, 2, 100 * T);
    uint32_t seq;
    assert_int_equal(sl_kv_seq_open(kv, 0, &seq), SL_ERR_LIMIT);
    assert_int_equal(sl_kv_seq_open(kv, 3 * T + 1, &seq), SL_ERR_LIMIT); /* more than the pool */
    assert_int_equal(sl_kv_seq_open(kv, UINT32_MAX, &seq), SL_ERR_LIMIT);
    assert_int_equal(sl_kv_seq_open(kv, 1, &seq), SL_OK);
    assert_int_equal(sl_kv_seq_open(kv, 1, &seq), SL_OK);
    assert_int_equal(sl_kv_seq_open(kv, 1, &seq), SL_AGAIN); /* sequences ran out */
    sl_kv_free(kv);
    sl_kv *none = NULL;
    sl_error err;
    const sl_kv_groups one = {.n = 1, .rows_max = 1};
    const sl_kv_groups none_of_all = {.n = 0, .rows_max = 1}, no_rows = {.n = 1};
    const sl_kv_groups too_many = {.n = SL_PLAN_GROUPS_MAX + 1, .rows_max = 1};
    const sl_nodes node = {0};
    const sl_kv_options bad[] = {{0, 1, 1, one, node, 0},         {1, 0, 1, one, node, 0},
                                 {1, 1, 0, one, node, 0},         {UINT32_MAX, 1, 1, one, node, 0},
                                 {1, 1, 1, none_of_all, node, 0}, {1, 1, 1, no_rows, node, 0},
                                 {1, 1, 1, too_many, node, 0}};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_int_equal(sl_kv_create(&bad[i], &none, &err), SL_ERR_ARGUMENT);
        assert_null(none);
    }
}

/* A store page that was never touched stays untouched while used ones are free. */
static void test_pages_are_reused_first(void **state) {
    (void)state;
    sl_kv *kv = kv_of(1000, 8, 16 * T);
    int32_t highest = -1;
    for (uint32_t round = 0; round < 200; round++) {
        uint32_t seqs[3];
        for (uint32_t i = 0; i < 3; i++) {
            const uint32_t n_tokens = (1 + (round * 7 + i * 5) % 4) * T;
            assert_int_equal(sl_kv_seq_open(kv, n_tokens, &seqs[i]), SL_OK);
            assert_int_equal(sl_kv_seq_extend(kv, seqs[i], 0, n_tokens), SL_OK);
            const int32_t *table = sl_kv_seq_table(kv, seqs[i], 0);
            for (uint32_t p = 0; p < sl_kv_seq_n_pages(kv, seqs[i]); p++) {
                highest = table[p] > highest ? table[p] : highest;
            }
        }
        for (uint32_t i = 0; i < 3; i++) {
            sl_kv_seq_close(kv, seqs[(i + round) % 3]);
        }
        kv_check(kv);
    }
    assert_in_range(highest, 0, 11); /* 3 sequences of at most 4 pages */
    sl_kv_free(kv);
}

static void test_page_references(void **state) {
    (void)state;
    sl_page_pool pool = {0};
    sl_error err;
    const sl_nodes one = {0};
    assert_int_equal(sl_page_pool_init(&pool, 2, &one, &err), SL_OK);
    const int32_t page = sl_page_pool_take(&pool, 0);
    assert_int_equal(page, 0);
    sl_page_pool_ref(&pool, page);
    assert_false(sl_page_pool_unref(&pool, page)); /* still named once */
    assert_int_equal(sl_page_pool_take(&pool, 0), 1);
    assert_int_equal(sl_page_pool_take(&pool, 0), -1);
    assert_true(sl_page_pool_unref(&pool, page));
    assert_int_equal(sl_page_pool_take(&pool, 0), -1); /* until it is put back */
    sl_page_pool_put(&pool, page);
    assert_int_equal(sl_page_pool_take(&pool, 0), page);
    sl_page_pool_deinit(&pool);
}

/* --- nodes --- */

static void test_page_pool_of_nodes(void **state) {
    (void)state;
    const sl_nodes nodes = {.n = 3, .before = {0, 2, 2, 4}}; /* the middle one has no workers */
    sl_page_pool pool = {0};
    sl_error err;
    assert_int_equal(sl_page_pool_init(&pool, 7, &nodes, &err), SL_OK);
    assert_int_equal(pool.n_node_free[0], 4);
    assert_int_equal(pool.n_node_free[1], 0);
    assert_int_equal(pool.n_node_free[2], 3);
    assert_int_equal(sl_page_pool_take(&pool, 2), 4);
    assert_int_equal(sl_page_pool_take(&pool, 0), 0);
    assert_int_equal(sl_page_pool_take(&pool, 1), 1); /* of the one that has most */
    assert_int_equal(sl_page_pool_take(&pool, 2), 5);
    assert_int_equal(sl_page_pool_take(&pool, 2), 6);
    assert_int_equal(sl_page_pool_take(&pool, 2), 2); /* spilled */
    assert_true(sl_page_pool_unref(&pool, 2) && sl_page_pool_unref(&pool, 5));
    sl_page_pool_put(&pool, 2);
    sl_page_pool_put(&pool, 5); /* each goes back to its own node */
    assert_int_equal(pool.n_node_free[0], 2);
    assert_int_equal(pool.n_node_free[2], 1);
    assert_int_equal(sl_page_pool_take(&pool, 2), 5);
    assert_int_equal(sl_page_pool_take(&pool, 0), 2);
    assert_int_equal(sl_page_pool_take(&pool, 0), 3);
    assert_int_equal(sl_page_pool_take(&pool, 0), -1);
    sl_page_pool_deinit(&pool);
}

/* Pages of the sequence that lie in [first, end). */
static uint32_t count_pages_in(const sl_kv *kv, uint32_t seq, int32_t first, int32_t end) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < sl_kv_seq_n_pages(kv, seq); i++) {
        const int32_t page = sl_kv_seq_table(kv, seq, 0)[i];
        n += page >= first && page < end;
    }
    return n;
}

static void test_sequences_have_homes(void **state) {
    (void)state;
    const sl_kv_groups groups = {.n = 1, .rows_max = 4096};
    const sl_nodes nodes = {.n = 2, .before = {0, 1, 2}};
    sl_kv *kv = kv_of_nodes(20, 4, 20 * T, &groups, &nodes);
    uint32_t a, b, c, d;
    /* Opened at once, before any takes a page: they spread. */
    assert_int_equal(sl_kv_seq_open(kv, 4 * T, &a), SL_OK);
    assert_int_equal(sl_kv_seq_open(kv, 6 * T, &b), SL_OK);
    assert_int_equal(sl_kv_seq_open(kv, 6 * T, &c), SL_OK);
    assert_int_equal(sl_kv_seq_open(kv, 4 * T, &d), SL_OK);
    assert_int_equal(sl_kv_seq_extend(kv, a, 0, 4 * T), SL_OK);
    assert_int_equal(sl_kv_seq_extend(kv, b, 0, 6 * T), SL_OK);
    assert_int_equal(sl_kv_seq_extend(kv, c, 0, 6 * T), SL_OK);
    assert_int_equal(sl_kv_seq_extend(kv, d, 0, 4 * T), SL_OK);
    assert_int_equal(count_pages_in(kv, a, 0, 10), 4);
    assert_int_equal(count_pages_in(kv, b, 10, 20), 6);
    assert_int_equal(count_pages_in(kv, c, 0, 10), 6);
    assert_int_equal(count_pages_in(kv, d, 10, 20), 4);
    kv_check(kv);
    sl_kv_seq_close(kv, b);
    sl_kv_seq_close(kv, a);
    kv_check(kv);
    /* Six pages are free here, four there: it takes its home's, then the others'. */
    assert_int_equal(sl_kv_seq_open(kv, 9 * T, &a), SL_OK);
    assert_int_equal(sl_kv_seq_extend(kv, a, 0, 9 * T), SL_OK);
    assert_int_equal(count_pages_in(kv, a, 10, 20), 6);
    assert_int_equal(count_pages_in(kv, a, 0, 10), 3);
    assert_true(sl_kv_seq_table(kv, a, 0)[5] >= 10 && sl_kv_seq_table(kv, a, 0)[6] < 10);
    kv_check(kv);
    /* All go back to their own nodes: the next two have them whole. */
    sl_kv_seq_close(kv, a);
    sl_kv_seq_close(kv, c);
    sl_kv_seq_close(kv, d);
    kv_check(kv);
    assert_int_equal(sl_kv_seq_open(kv, 10 * T, &a), SL_OK);
    assert_int_equal(sl_kv_seq_open(kv, 10 * T, &b), SL_OK);
    assert_int_equal(sl_kv_seq_extend(kv, b, 0, 10 * T), SL_OK);
    assert_int_equal(sl_kv_seq_extend(kv, a, 0, 10 * T), SL_OK);
    assert_int_equal(count_pages_in(kv, a, 0, 10), 10);
    assert_int_equal(count_pages_in(kv, b, 10, 20), 10);
    kv_check(kv);
    sl_kv_free(kv);
}

/* verify must fail when a table is damaged behind its back. */
static void test_verify_sees_breaches(void **state) {
    (void)state;
    sl_kv *kv = kv_of(8, 2, 4 * T);
    sl_error err;
    uint32_t a, b;
    assert_int_equal(sl_kv_seq_open(kv, 2 * T, &a), SL_OK);
    assert_int_equal(sl_kv_seq_open(kv, 2 * T, &b), SL_OK);
    assert_int_equal(sl_kv_seq_extend(kv, a, 0, 2 * T), SL_OK);
    assert_int_equal(sl_kv_seq_extend(kv, b, 0, 2 * T), SL_OK);
    kv_check(kv);
    int32_t *table;
    const int32_t *view = sl_kv_seq_table(kv, a, 0);
    memcpy(&table, &view, sizeof(table));
    const int32_t saved = table[1];
    table[1] = table[0]; /* named twice, and another lost */
    assert_int_equal(sl_kv_verify(kv, &err), SL_ERR_INTERNAL);
    table[1] = sl_kv_seq_table(kv, b, 0)[0]; /* the neighbour's page */
    assert_int_equal(sl_kv_verify(kv, &err), SL_ERR_INTERNAL);
    table[1] = 8; /* no such page */
    assert_int_equal(sl_kv_verify(kv, &err), SL_ERR_INTERNAL);
    table[1] = -1; /* lost */
    assert_int_equal(sl_kv_verify(kv, &err), SL_ERR_INTERNAL);
    table[1] = saved;
    kv_check(kv);
    sl_kv_seq_restart(kv, a);
    kv_check(kv);
    table[0] = 7; /* still named after it was given back */
    assert_int_equal(sl_kv_verify(kv, &err), SL_ERR_INTERNAL);
    table[0] = -1;
    kv_check(kv);
    sl_kv_free(kv);
}

/* --- windows --- */

/* Pages of positions [first, end) of one group, counted one by one. */
static uint32_t count_touched(uint32_t first, uint32_t end) {
    uint32_t n = 0;
    for (uint32_t p = first; p < end; p++) {
        n += p == first || p % T == 0;
    }
    return n;
}

/* First position that a row at n_done sees. */
static uint32_t first_seen(uint32_t window, uint32_t n_done) {
    return window == 0 || n_done + 1 < window ? 0 : n_done + 1 - window;
}

/* What a sequence of n_tokens may hold of one group: the worst of all runs of up to rows_max. */
static uint32_t reserved_of(uint32_t window, uint32_t rows_max, uint32_t n_tokens) {
    uint32_t most = 0;
    for (uint32_t n_done = 0; n_done < n_tokens; n_done++) {
        const uint32_t left = n_tokens - n_done, n = left < rows_max ? left : rows_max;
        const uint32_t here = count_touched(first_seen(window, n_done), n_done + n);
        most = here > most ? here : most;
    }
    return most;
}

static void test_group_pages(void **state) {
    (void)state;
    static const uint32_t windows[] = {0, 1, 2, 31, 32, 33, 64, 100, 500};
    static const uint32_t rows[] = {1, 2, 31, 32, 33, 70, 1000};
    for (size_t w = 0; w < sizeof(windows) / sizeof(windows[0]); w++) {
        for (size_t r = 0; r < sizeof(rows) / sizeof(rows[0]); r++) {
            const sl_kv_groups groups = {.n = 2, .window = {0, windows[w]}, .rows_max = rows[r]};
            uint64_t last = 0;
            for (uint32_t n = 1; n < 400; n += 13) {
                const uint64_t pages = sl_kv_groups_group_pages(&groups, 1, n);
                const uint32_t worst = reserved_of(windows[w], rows[r], n);
                /* Enough, at most one more than the worst run of just this length needs. */
                assert_in_range(pages, worst, worst + 1);
                assert_true(pages >= last && pages <= sl_page_count(n));
                assert_int_equal(sl_kv_groups_pages(&groups, n), sl_page_count(n) + pages);
                last = pages;
            }
            /* A long one meets every alignment: not a page more than needed. */
            assert_int_equal(sl_kv_groups_group_pages(&groups, 1, 3000),
                             reserved_of(windows[w], rows[r], 3000));
        }
    }
    const sl_kv_groups groups = {.n = 2, .window = {0, 40}, .rows_max = 8};
    const uint64_t window_pages = sl_kv_groups_group_pages(&groups, 1, UINT32_MAX);
    assert_int_equal(window_pages, 3);
    assert_int_equal(sl_kv_groups_tokens(&groups, 0), 0);
    assert_int_equal(sl_kv_groups_tokens(&groups, 1), 0);
    assert_int_equal(sl_kv_groups_tokens(&groups, 2), T);
    assert_int_equal(sl_kv_groups_tokens(&groups, 4), 2 * T);
    assert_int_equal(sl_kv_groups_tokens(&groups, 13), 10 * T);
    assert_int_equal(sl_kv_groups_tokens(&groups, UINT64_MAX), UINT32_MAX / T * T);
    assert_int_equal(sl_kv_groups_first(&groups, 0, 1000), 0);
    assert_int_equal(sl_kv_groups_first(&groups, 1, 70), 0);
    assert_int_equal(sl_kv_groups_first(&groups, 1, 71), 1); /* sees 32 .. 71 */
    const sl_kv_groups wide = {.n = 1, .window = {UINT32_MAX}, .rows_max = UINT32_MAX};
    assert_int_equal(sl_kv_groups_first(&wide, 0, UINT32_MAX), 0);
    assert_true(sl_kv_groups_pages(&wide, UINT32_MAX) == sl_page_count(UINT32_MAX));
}

static void test_window_gives_back(void **state) {
    (void)state;
    const sl_kv_groups groups = {.n = 2, .window = {0, 32}, .rows_max = 32};
    sl_kv *kv = kv_of_groups(13, 2, 10 * T, &groups);
    uint32_t a;
    assert_int_equal(sl_kv_seq_open(kv, 10 * T, &a), SL_OK);
    const int32_t *full = sl_kv_seq_table(kv, a, 0), *window = sl_kv_seq_table(kv, a, 1);
    for (uint32_t i = 0; i < 10; i++) {
        assert_int_equal(sl_kv_seq_extend(kv, a, i * T, (i + 1) * T), SL_OK);
        assert_true(sl_kv_seq_holds(kv, a, i * T, (i + 1) * T));
        kv_check(kv);
    }
    assert_true(full[0] >= 0 && full[9] >= 0);
    assert_true(window[7] == -1 && window[8] >= 0 && window[9] >= 0);
    assert_int_equal(sl_kv_seq_n_pages(kv, a), 12);
    /* Back to where pages are gone: refused, and nothing changed. */
    assert_false(sl_kv_seq_holds(kv, a, 7 * T, 8 * T));
    assert_int_equal(sl_kv_seq_extend(kv, a, 7 * T, 8 * T), SL_ERR_ARGUMENT);
    assert_int_equal(sl_kv_seq_extend(kv, a, 0, 1), SL_ERR_ARGUMENT);
    assert_int_equal(sl_kv_seq_extend(kv, a, 9 * T, 9 * T - 1), SL_ERR_ARGUMENT);
    assert_int_equal(sl_kv_seq_extend(kv, a, 10 * T - 33, 10 * T), SL_ERR_LIMIT); /* 33 rows */
    assert_int_equal(sl_kv_seq_n_pages(kv, a), 12);
    kv_check(kv);
    sl_kv_seq_restart(kv, a);
    assert_int_equal(sl_kv_n_used(kv), 0);
    /* Begun in the middle: only what is seen from there on. */
    assert_int_equal(sl_kv_seq_extend(kv, a, 5 * T, 5 * T), SL_OK);
    assert_true(window[3] == -1 && window[4] >= 0 && window[5] == -1);
    assert_int_equal(sl_kv_seq_n_pages(kv, a), 5 + 1);
    kv_check(kv);
    sl_kv_seq_close(kv, a);
    assert_int_equal(sl_kv_n_used(kv), 0);
    kv_check(kv);
    sl_kv_free(kv);
}

#define WALK_SEQS 6
#define WALK_TOKENS 700
#define WALK_GROUPS 4

/* What the walk knows of a sequence, by positions alone. */
typedef struct walk_seq {
    bool open;
    uint32_t seq, n_tokens, n_done;
    uint32_t first[WALK_GROUPS], end[WALK_GROUPS]; /* positions whose pages are held */
} walk_seq;

typedef struct walk {
    uint64_t rng;
    sl_kv_groups groups;
    uint32_t n_pages;
    sl_kv *kv;
    walk_seq seqs[WALK_SEQS];
} walk;

static uint32_t walk_below(walk *w, uint32_t n) {
    w->rng = w->rng * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(w->rng >> 33) % n;
}

/* Every table entry, and the totals, against the positions. */
static void walk_check(const walk *w) {
    uint32_t n_used = 0;
    for (uint32_t i = 0; i < WALK_SEQS; i++) {
        const walk_seq *s = &w->seqs[i];
        for (uint32_t g = 0; s->open && g < w->groups.n; g++) {
            const int32_t *table = sl_kv_seq_table(w->kv, s->seq, g);
            for (uint32_t p = 0; p < s->n_tokens; p += T) {
                const bool held = p < s->end[g] && p + T > s->first[g];
                assert_int_equal(table[p / T] >= 0, held);
                n_used += held;
            }
        }
    }
    assert_int_equal(n_used, sl_kv_n_used(w->kv));
    kv_check(w->kv);
}

static void walk_open(walk *w, walk_seq *s) {
    const uint32_t n_tokens = 1 + walk_below(w, WALK_TOKENS);
    const uint64_t need = sl_kv_groups_pages(&w->groups, n_tokens);
    const sl_status status = sl_kv_seq_open(w->kv, n_tokens, &s->seq);
    assert_int_equal(status, need > w->n_pages ? SL_ERR_LIMIT : SL_OK);
    if (status == SL_OK) {
        *s = (walk_seq){.open = true, .seq = s->seq, .n_tokens = n_tokens};
    }
}

/* Positions that are held from row n_done on, when the run ends at `end` or did before. */
static void walk_hold(const walk *w, walk_seq *s, uint32_t end) {
    for (uint32_t g = 0; g < w->groups.n; g++) {
        s->first[g] = first_seen(w->groups.window[g], s->n_done) / T * T;
        s->end[g] = end > s->end[g] ? end : s->end[g];
    }
}

static void walk_extend(walk *w, walk_seq *s) {
    const uint32_t left = s->n_tokens - s->n_done;
    const uint32_t most = left < w->groups.rows_max ? left : w->groups.rows_max;
    uint32_t n = most == 0 || walk_below(w, 3) == 0 ? most : 1 + walk_below(w, most);
    const sl_status status = sl_kv_seq_extend(w->kv, s->seq, s->n_done, s->n_done + n);
    walk_hold(w, s, 0); /* what no row sees any more is gone in any case */
    if (status != SL_OK) {
        assert_int_equal(status, SL_AGAIN);
        const uint32_t room = sl_kv_seq_room(w->kv, s->seq);
        assert_true(room < s->n_done + n);
        if (room <= s->n_done) {
            return;
        }
        n = room - s->n_done;
        assert_int_equal(sl_kv_seq_extend(w->kv, s->seq, s->n_done, s->n_done + n), SL_OK);
    }
    walk_hold(w, s, s->n_done + n);
    if (walk_below(w, 5) != 0) { /* else the step failed: the same or another run comes again */
        s->n_done += n;
    }
}

static void walk_run(uint64_t seed) {
    walk w = {.rng = seed};
    w.groups.n = 1 + walk_below(&w, WALK_GROUPS);
    w.groups.rows_max = 1 + walk_below(&w, 150);
    for (uint32_t g = 0; g < w.groups.n; g++) {
        w.groups.window[g] = walk_below(&w, 3) == 0 ? 0 : 1 + walk_below(&w, 300);
    }
    w.n_pages = 1 + walk_below(&w, 120);
    sl_nodes nodes = {.n = 1 + walk_below(&w, 3)};
    for (uint32_t n = 0; n < nodes.n; n++) {
        nodes.before[n + 1] = nodes.before[n] + 1 + walk_below(&w, 4);
    }
    w.kv = kv_of_nodes(w.n_pages, WALK_SEQS, WALK_TOKENS, &w.groups, &nodes);
    for (uint32_t i = 0; i < 400; i++) {
        walk_seq *s = &w.seqs[walk_below(&w, WALK_SEQS)];
        const uint32_t what = walk_below(&w, 40);
        if (!s->open) {
            walk_open(&w, s);
        } else if (what == 0) {
            sl_kv_seq_close(w.kv, s->seq);
            s->open = false;
        } else if (what == 1) {
            sl_kv_seq_restart(w.kv, s->seq);
            *s = (walk_seq){.open = true, .seq = s->seq, .n_tokens = s->n_tokens};
        } else {
            walk_extend(&w, s);
        }
        walk_check(&w);
    }
    sl_kv_free(w.kv);
}

static void test_random_walks(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= 150; seed++) {
        walk_run(seed);
    }
}

static void test_no_memory(void **state) {
    (void)state;
    const sl_kv_options options = {
        .n_pages = 16, .n_seqs_max = 4, .n_tokens_max = 256, .groups = {.n = 2, .rows_max = 8}};
    sl_error err;
    uint32_t n_failed = 0;
    for (uint64_t nth = 1;; nth++) {
        sl_kv *kv = NULL;
        sl_alloc_fail_nth(nth, false);
        const sl_status status = sl_kv_create(&options, &kv, &err);
        sl_alloc_fail_nth(0, false);
        if (status == SL_OK) {
            sl_kv_free(kv);
            break;
        }
        assert_int_equal(status, SL_ERR_MEMORY);
        assert_null(kv);
        n_failed++;
    }
    assert_int_equal(n_failed, 11);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_page_count),
        cmocka_unit_test(test_grow),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_pages_are_reused_first),
        cmocka_unit_test(test_page_references),
        cmocka_unit_test(test_page_pool_of_nodes),
        cmocka_unit_test(test_sequences_have_homes),
        cmocka_unit_test(test_verify_sees_breaches),
        cmocka_unit_test(test_no_memory),
        cmocka_unit_test(test_group_pages),
        cmocka_unit_test(test_window_gives_back),
        cmocka_unit_test(test_random_walks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
