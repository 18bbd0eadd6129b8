/* Page pool and block tables: reservations, growth, freeing, references, and that verify sees
 * breaches. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "kv/kv.h"
#include "kv/page_pool.h"

#define T SL_PAGE_TOKENS

static sl_kv *kv_of(uint32_t n_pages, uint32_t n_seqs, uint32_t n_tokens) {
    const sl_kv_options options = {
        .n_pages = n_pages, .n_seqs_max = n_seqs, .n_tokens_max = n_tokens};
    sl_kv *kv = NULL;
    sl_error err;
    assert_int_equal(sl_kv_create(&options, &kv, &err), SL_OK);
    return kv;
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

static void test_reserve_and_grow(void **state) {
    (void)state;
    sl_kv *kv = kv_of(10, 4, 8 * T);
    uint32_t a, b, c = 77;
    assert_int_equal(sl_kv_seq_open(kv, 6 * T, &a), SL_OK);
    assert_int_equal(sl_kv_n_used(kv), 0); /* promised only */
    assert_int_equal(sl_kv_n_promised(kv), 6);
    assert_int_equal(sl_kv_seq_open(kv, 4 * T, &b), SL_OK);
    assert_int_equal(sl_kv_seq_open(kv, 1, &c), SL_AGAIN); /* all pages are promised */
    assert_int_equal(c, 77);
    assert_int_equal(sl_kv_seq_extend(kv, a, 1), SL_OK);
    assert_int_equal(sl_kv_seq_extend(kv, b, T + 1), SL_OK);
    assert_int_equal(sl_kv_seq_extend(kv, a, T), SL_OK); /* the same page */
    assert_int_equal(sl_kv_seq_n_pages(kv, a), 1);
    assert_int_equal(sl_kv_seq_n_pages(kv, b), 2);
    assert_int_equal(sl_kv_n_used(kv), 3);
    assert_int_equal(sl_kv_n_promised(kv), 7);
    kv_check(kv);
    assert_int_equal(sl_kv_seq_extend(kv, a, 6 * T), SL_OK);
    assert_int_equal(sl_kv_seq_extend(kv, a, 6 * T + 1), SL_ERR_LIMIT);
    kv_check(kv);
    sl_kv_seq_close(kv, a);
    assert_int_equal(sl_kv_n_used(kv), 2);
    assert_int_equal(sl_kv_seq_open(kv, 6 * T, &c), SL_OK);
    sl_kv_seq_close(kv, c);
    sl_kv_seq_close(kv, b);
    assert_int_equal(sl_kv_n_used(kv), 0);
    assert_int_equal(sl_kv_n_promised(kv), 0);
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
    const sl_kv_options bad[] = {{0, 1, 1}, {1, 0, 1}, {1, 1, 0}, {UINT32_MAX, 1, 1}};
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
            assert_int_equal(sl_kv_seq_extend(kv, seqs[i], n_tokens), SL_OK);
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
    assert_int_equal(sl_page_pool_init(&pool, 2, &err), SL_OK);
    const int32_t page = sl_page_pool_take(&pool);
    assert_int_equal(page, 0);
    sl_page_pool_ref(&pool, page);
    sl_page_pool_unref(&pool, page);
    assert_int_equal(pool.n_free, 1); /* still named once */
    assert_int_equal(sl_page_pool_take(&pool), 1);
    assert_int_equal(sl_page_pool_take(&pool), -1);
    sl_page_pool_unref(&pool, page);
    assert_int_equal(sl_page_pool_take(&pool), page);
    sl_page_pool_deinit(&pool);
}

/* verify must fail when a table is damaged behind its back. */
static void test_verify_sees_breaches(void **state) {
    (void)state;
    sl_kv *kv = kv_of(8, 2, 4 * T);
    sl_error err;
    uint32_t a, b;
    assert_int_equal(sl_kv_seq_open(kv, 2 * T, &a), SL_OK);
    assert_int_equal(sl_kv_seq_open(kv, 2 * T, &b), SL_OK);
    assert_int_equal(sl_kv_seq_extend(kv, a, 2 * T), SL_OK);
    assert_int_equal(sl_kv_seq_extend(kv, b, 2 * T), SL_OK);
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
    table[1] = saved;
    kv_check(kv);
    sl_kv_free(kv);
}

static void test_no_memory(void **state) {
    (void)state;
    const sl_kv_options options = {.n_pages = 16, .n_seqs_max = 4, .n_tokens_max = 256};
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
    assert_int_equal(n_failed, 6);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_page_count),      cmocka_unit_test(test_reserve_and_grow),
        cmocka_unit_test(test_limits),          cmocka_unit_test(test_pages_are_reused_first),
        cmocka_unit_test(test_page_references), cmocka_unit_test(test_verify_sees_breaches),
        cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
