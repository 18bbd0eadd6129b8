/* The allocator's hooks, arenas and capped buffers: limits, failures, contents. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/arena.h"
#include "base/buf.h"

static void test_nth_allocation_fails(void **state) {
    (void)state;
    sl_alloc_fail_nth(2, false);
    void *a = sl_alloc(1), *b = sl_alloc(1), *c = sl_alloc(1);
    assert_non_null(a);
    assert_null(b);
    assert_non_null(c);
    sl_alloc_fail_nth(1, true);
    assert_null(sl_alloc_zero(1, 1));
    assert_null(sl_realloc_array(NULL, 1, 1));
    assert_null(sl_strdup("x"));
    assert_null(sl_alloc_aligned(64, 64));
    assert_null(sl_pages_map(4096, false));
    sl_alloc_fail_nth(0, false);
    sl_free(a);
    sl_free(c);
}

static void test_sizes_are_checked(void **state) {
    (void)state;
    volatile size_t huge = SIZE_MAX / 2; /* not known to the compiler */
    assert_null(sl_alloc_zero(huge, 3));
    assert_null(sl_realloc_array(NULL, huge, 3));
    void *p = sl_alloc(0);
    assert_non_null(p);
    sl_free(p);
    sl_free(NULL);
}

static void *locked_elsewhere(void *arg) {
    (void)arg;
    sl_free(sl_alloc(1)); /* this thread is not locked */
    return NULL;
}

static void test_lock_counts_violations_of_its_thread(void **state) {
    (void)state;
    uint64_t before = sl_alloc_violations();
    sl_alloc_lock();
    sl_alloc_lock();
    sl_alloc_unlock();
    pthread_t t;
    assert_int_equal(pthread_create(&t, NULL, locked_elsewhere, NULL), 0);
    pthread_join(t, NULL);
    assert_int_equal(sl_alloc_violations(), before);
    sl_free(sl_alloc(1));
    assert_int_equal(sl_alloc_violations(), before + 1);
    sl_alloc_unlock();
    sl_free(sl_alloc(1));
    assert_int_equal(sl_alloc_violations(), before + 1);
}

static void test_aligned_and_pages_are_zero(void **state) {
    (void)state;
    for (size_t align = 16; align <= 4096; align *= 4) {
        unsigned char *p = sl_alloc_aligned(1000, align);
        assert_non_null(p);
        assert_int_equal((uintptr_t)p % align, 0);
        for (int i = 0; i < 1000; i++) {
            assert_int_equal(p[i], 0);
        }
        sl_free_aligned(p);
    }
    unsigned char *q = sl_pages_map(3 << 20, true);
    assert_non_null(q);
    assert_int_equal(q[0] + q[(3 << 20) - 1], 0);
    q[0] = q[(3 << 20) - 1] = 9;
    assert_int_equal(q[0] + q[(3 << 20) - 1], 18);
    sl_pages_unmap(q, 3 << 20);
}

static void test_arena_keeps_its_maximum(void **state) {
    (void)state;
    sl_arena a;
    sl_arena_init(&a, 1000);
    size_t got = 0;
    while (sl_arena_alloc(&a, 16) != NULL) {
        got += 16;
    }
    assert_in_range(got, 960, 1008);
    assert_null(sl_arena_alloc(&a, 17));
    sl_arena_deinit(&a);
    assert_non_null(sl_arena_alloc(&a, 1000)); /* may be used again */
    sl_arena_deinit(&a);
    assert_null(sl_arena_alloc(&a, 1001));
    sl_arena_init(&a, SIZE_MAX);
    assert_null(sl_arena_alloc(&a, SIZE_MAX - 3));
    assert_null(sl_arena_alloc_zero(&a, SIZE_MAX / 4, 5));
    sl_arena_deinit(&a);
}

static void test_arena_blocks_are_apart_and_aligned(void **state) {
    (void)state;
    enum { N = 400 };
    sl_arena a;
    sl_arena_init(&a, 16 << 20);
    unsigned char *p[N];
    for (int i = 0; i < N; i++) {
        size_t size = (size_t)(i * 37 % 9000);
        p[i] = sl_arena_alloc(&a, size);
        assert_non_null(p[i]);
        assert_int_equal((uintptr_t)p[i] % 16, 0);
        memset(p[i], i & 0xFF, size);
    }
    for (int i = 0; i < N; i++) {
        for (size_t j = 0; j < (size_t)(i * 37 % 9000); j++) {
            assert_int_equal(p[i][j], i & 0xFF);
        }
    }
    assert_string_equal(sl_arena_strndup(&a, "hello", 4), "hell");
    unsigned char *z = sl_arena_alloc_zero(&a, 100, 10);
    for (int i = 0; i < 1000; i++) {
        assert_int_equal(z[i], 0);
    }
    sl_arena_deinit(&a);
}

static void test_buf_grows_to_its_maximum(void **state) {
    (void)state;
    sl_buf b;
    sl_buf_init(&b, 1000);
    for (int i = 0; i < 1000; i++) {
        assert_int_equal(sl_buf_append_char(&b, (char)('a' + i % 26)), SL_OK);
    }
    assert_int_equal(sl_buf_append_char(&b, '!'), SL_ERR_LIMIT);
    assert_int_equal(b.len, 1000);
    assert_int_equal(b.data[999], 'a' + 999 % 26);
    assert_int_equal(sl_buf_append_str(&b, ""), SL_ERR_LIMIT); /* the failure stays */
    sl_buf_clear(&b);
    assert_int_equal(sl_buf_append_str(&b, "again"), SL_OK);
    assert_string_equal(sl_buf_cstr(&b), "again");
    sl_buf_drop_front(&b, 2);
    assert_string_equal(sl_buf_cstr(&b), "ain");
    sl_buf_drop_front(&b, 99);
    assert_string_equal(sl_buf_cstr(&b), "");
    sl_buf_deinit(&b);
}

static void test_buf_survives_no_memory(void **state) {
    (void)state;
    sl_buf b;
    sl_buf_init(&b, 1 << 20);
    assert_int_equal(sl_buf_printf(&b, "%d-%s", 7, "x"), SL_OK);
    sl_alloc_fail_nth(1, true);
    while (sl_buf_append_str(&b, "0123456789") == SL_OK) {
    }
    assert_int_equal(b.status, SL_ERR_MEMORY);
    assert_null(sl_buf_cstr(&b));
    sl_buf empty;
    sl_buf_init(&empty, 10);
    assert_null(sl_buf_reserve(&empty, 0));
    assert_int_equal(empty.status, SL_ERR_MEMORY);
    sl_alloc_fail_nth(0, false);
    assert_memory_equal(b.data, "7-x0123456789", 13);
    sl_buf_deinit(&b);
    sl_buf_init(&empty, 0);
    assert_non_null(sl_buf_reserve(&empty, 0));
    assert_int_equal(sl_buf_append_char(&empty, 'x'), SL_ERR_LIMIT);
    sl_buf_deinit(&empty);
}

static void test_buf_json(void **state) {
    (void)state;
    static const struct {
        const char *in, *out;
    } cases[] = {
        {"plain", "plain"},
        {"a\"b\\c/d", "a\\\"b\\\\c/d"},
        {"\n\r\t\b\x1f\x7f", "\\n\\r\\t\\u0008\\u001f\\u007f"},
        {"é漢😀", "é漢😀"},
        {"\xFFx\xC3", "\xEF\xBF\xBDx\xEF\xBF\xBD"},
        {"\xED\xA0\x80", "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD"}, /* a surrogate */
        {"", ""},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        sl_buf b;
        sl_buf_init(&b, 1000);
        assert_int_equal(sl_buf_append_json(&b, cases[i].in, strlen(cases[i].in)), SL_OK);
        assert_string_equal(sl_buf_cstr(&b), cases[i].out);
        sl_buf_deinit(&b);
    }
    sl_buf b;
    sl_buf_init(&b, 1000);
    assert_int_equal(sl_buf_append_json(&b, "a\0b", 3), SL_OK);
    assert_string_equal(sl_buf_cstr(&b), "a\\u0000b");
    sl_buf_deinit(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nth_allocation_fails),
        cmocka_unit_test(test_sizes_are_checked),
        cmocka_unit_test(test_lock_counts_violations_of_its_thread),
        cmocka_unit_test(test_aligned_and_pages_are_zero),
        cmocka_unit_test(test_arena_keeps_its_maximum),
        cmocka_unit_test(test_arena_blocks_are_apart_and_aligned),
        cmocka_unit_test(test_buf_grows_to_its_maximum),
        cmocka_unit_test(test_buf_survives_no_memory),
        cmocka_unit_test(test_buf_json),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
