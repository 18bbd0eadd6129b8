/* Direct feeding of a model whose layers have a window: what is given back, what is computed anew,
 * what is shared, and that none of it changes a logit. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "measure/feed.h"
#include "tiny_engine.h"

#define N 200
#define WINDOW 40
#define T SL_PAGE_TOKENS

typedef struct kept {
    float rows[3][TINY_N_VOCAB];
} kept;

static tiny_engine g_tiny;
static int32_t g_ids[3 * N]; /* three times the same sequence */

static int start_engine(void **state) {
    (void)state;
    sl_error err;
    const tiny_model_options model = {.seed = 9};
    const sl_engine_options engine = {.n_threads = 2, .batch_invariant = true, .rows_max = 64};
    tiny_engine whole;
    if (tiny_engine_open(&whole, NULL, &model, &engine, 30, &err) != SL_OK) {
        print_error("%s\n", err.message);
        return -1;
    }
    /* The same model with a window, which no tiny file asks for. */
    sl_engine_options options = engine;
    sl_engine_memory memory;
    sl_engine_memory_now(whole.engine, &memory);
    options.kv_bytes = memory.kv_bytes;
    sl_engine_free(whole.engine);
    whole.engine = NULL;
    whole.model->plan.groups[0].window = WINDOW;
    g_tiny = whole;
    for (int32_t i = 0; i < 3 * N; i++) {
        g_ids[i] = 3 + i % N * 7 % 240;
    }
    return sl_engine_create(g_tiny.model, &options, &g_tiny.engine, &err) == SL_OK ? 0 : -1;
}

static int stop_engine(void **state) {
    (void)state;
    tiny_engine_close(&g_tiny);
    return 0;
}

static sl_status keep(void *user, uint32_t first, uint32_t n, float *logits, size_t stride,
                      sl_error *err) {
    (void)err;
    for (uint32_t i = 0; i < n; i++) {
        memcpy(((kept *)user)->rows[first + i], logits + i * stride, sizeof(((kept *)0)->rows[0]));
    }
    return SL_OK;
}

static void feed_some(sl_feed *f, uint32_t pos0, uint32_t n, kept *out) {
    sl_error err;
    int32_t ids[3 * N];
    for (uint32_t s = 0; s < f->n_seq; s++) {
        memcpy(ids + (size_t)s * n, g_ids + pos0, n * sizeof(ids[0]));
    }
    if (sl_feed_tokens(f, ids, n, pos0, SL_FEED_LAST, keep, out, &err) != SL_OK) {
        fail_msg("%s", err.message);
    }
    if (sl_kv_verify(f->kv, &err) != SL_OK) {
        fail_msg("%s", err.message);
    }
}

static void test_window_and_begin_anew(void **state) {
    (void)state;
    sl_feed f;
    sl_error err;
    kept whole, pieces;
    assert_int_equal(sl_engine_seq_pages(g_tiny.engine, N), 5); /* 40 - 1 + 64 positions */
    assert_int_equal(sl_feed_init(&f, g_tiny.engine, 1, N, &err), SL_OK);
    feed_some(&f, 0, N, &whole);
    assert_int_equal(sl_kv_seq_table(f.kv, 0, 0)[0], -1);
    assert_true(sl_feed_holds(&f, N));
    assert_false(sl_feed_holds(&f, 64));
    assert_int_equal(sl_feed_tokens(&f, g_ids, 1, 64, SL_FEED_NONE, NULL, NULL, &err),
                     SL_ERR_ARGUMENT);
    assert_int_equal(sl_feed_tokens(&f, g_ids, 1, N, SL_FEED_NONE, NULL, NULL, &err),
                     SL_ERR_ARGUMENT); /* no room */
    static const uint32_t chunks[] = {1, 7, 32, 61};
    for (size_t c = 0; c < sizeof(chunks) / sizeof(chunks[0]); c++) {
        for (uint32_t i = 0; i < N; i += chunks[c]) {
            feed_some(&f, i, N - i < chunks[c] ? N - i : chunks[c], &pieces);
        }
        assert_memory_equal(whole.rows[0], pieces.rows[0], sizeof(whole.rows[0]));
    }
    sl_feed_deinit(&f);
}

static void test_share(void **state) {
    (void)state;
    sl_feed f;
    sl_error err;
    kept alone, shared;
    assert_int_equal(sl_feed_init(&f, g_tiny.engine, 3, N, &err), SL_OK);
    f.n_seq = 1;
    feed_some(&f, 0, 150, &alone);
    feed_some(&f, 150, 50, &alone);
    feed_some(&f, 0, 150, &shared);
    f.n_seq = 3;
    assert_false(sl_feed_holds(&f, 150));
    assert_int_equal(sl_feed_share(&f, 150, &err), SL_OK);
    assert_true(sl_feed_holds(&f, 150));
    assert_int_equal(sl_kv_n_used(f.kv), 3 * 2); /* positions 111 .. 149 */
    feed_some(&f, 150, 50, &shared);
    for (uint32_t s = 0; s < 3; s++) {
        assert_memory_equal(alone.rows[0], shared.rows[s], sizeof(alone.rows[0]));
    }
    assert_int_equal(sl_feed_share(&f, 100, &err), SL_ERR_ARGUMENT); /* left behind */
    sl_feed_deinit(&f);
}

static void test_pool_too_small(void **state) {
    (void)state;
    sl_feed f;
    sl_error err;
    assert_int_equal(sl_feed_init(&f, g_tiny.engine, 7, N, &err), SL_ERR_ARGUMENT); /* 35 pages */
    assert_non_null(strstr(err.message, "has 30"));
    assert_int_equal(sl_feed_init(&f, g_tiny.engine, 6, N, &err), SL_OK);
    sl_feed_deinit(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_window_and_begin_anew),
        cmocka_unit_test(test_share),
        cmocka_unit_test(test_pool_too_small),
    };
    return cmocka_run_group_tests(tests, start_engine, stop_engine);
}
