/* Calibration of small engines of every awkward size: it ends, its figures hold together, nothing
 * is allocated on the way; and the file that keeps it is trusted only whole. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "measure/calibrate.h"
#include "measure/calibration_file.h"
#include "tiny_engine.h"

static tiny_engine open_tiny(const sl_engine_options *options, uint32_t n_pages) {
    tiny_engine t;
    sl_error err;
    const tiny_model_options model = {.seed = 5};
    if (tiny_engine_open(&t, NULL, &model, options, n_pages, &err) != SL_OK) {
        fail_msg("%s", err.message);
    }
    return t;
}

/* Runs it to its end, which must come; returns how many calls that took. */
static uint32_t run(sl_calibration *c) {
    sl_error err;
    uint32_t n = 1;
    sl_status status;
    while ((status = sl_calibration_next(c, &err)) == SL_AGAIN) {
        assert_true(++n < 200);
    }
    if (status != SL_OK) {
        fail_msg("%s", err.message);
    }
    return n;
}

static void check(const sl_calibration *c, uint32_t n_points, uint32_t last_rows) {
    const sl_cost *cost = sl_calibration_cost(c);
    assert_true(sl_cost_is_valid(cost));
    assert_int_equal(cost->n_points, n_points);
    assert_int_equal(cost->points[0].n_rows, 1);
    assert_true(cost->points[0].seconds > 0.0);
    assert_int_equal(cost->points[n_points - 1].n_rows, last_rows);
    assert_true(sl_calibration_check(c) > 0.0);
}

static void test_engines_of_all_sizes(void **state) {
    (void)state;
    static const struct {
        sl_engine_options options;
        uint32_t n_pages, window, n_points, last_rows;
    } cases[] = {
        {{.n_threads = 2, .ctx_max = 2048}, 1000, 0, 10, 512},
        {{.n_threads = 4, .ctx_max = 2048}, 1000, 33, 10, 512}, /* what rows leave behind is gone */
        {{.n_threads = 1, .ctx_max = 2048, .rows_max = 24}, 1000, 0, 6, 24},
        {{.n_threads = 2, .ctx_max = 40}, 1000, 0, 7, 40}, /* contexts shorter than a step */
        {{.n_threads = 2, .ctx_max = 2048}, 3, 0, 8, 96},  /* one sequence, not even a long one */
        {{.n_threads = 2, .ctx_max = 2, .rows_max = 1}, 1, 0, 1, 1},
        {{.n_threads = 2, .ctx_max = 2048, .runs_max = 1}, 1000, 0, 10, 512},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        tiny_engine t = open_tiny(&cases[i].options, cases[i].n_pages);
        if (cases[i].window > 0) {
            sl_engine_free(t.engine);
            t.model->plan.groups[0].window = cases[i].window;
            sl_engine_options options = cases[i].options;
            options.kv_bytes = 8u << 20;
            assert_int_equal(sl_engine_create(t.model, &options, &t.engine, NULL), SL_OK);
        }
        sl_error err;
        while (sl_engine_prepare(t.engine, &err) == SL_AGAIN) {
        }
        sl_calibration *c;
        if (sl_calibration_create(t.engine, false, &c, &err) != SL_OK) {
            fail_msg("case %zu: %s", i, err.message);
        }
        sl_pool *pool = sl_engine_pool(t.engine);
        const uint64_t n_allocs = sl_alloc_count();
        for (int again = 0; again < 2; again++) {
            run(c);
            check(c, cases[i].n_points, cases[i].last_rows);
            assert_int_equal(sl_calibration_next(c, &err), SL_OK); /* nothing more */
            const uint32_t n_threads = sl_calibration_cost(c)->n_threads;
            assert_in_range(n_threads, 1, cases[i].options.n_threads);
            assert_int_equal(sl_pool_n_active(pool), n_threads);
            sl_calibration_restart(c);
            assert_int_equal(sl_pool_n_active(pool), cases[i].options.n_threads);
        }
        assert_int_equal(sl_alloc_count(), n_allocs);
        sl_calibration_free(c);
        tiny_engine_close(&t);
    }
}

/* Asked for a number of threads, none other is tried. */
static void test_all_threads(void **state) {
    (void)state;
    tiny_engine t = open_tiny(&(sl_engine_options){.n_threads = 4}, 500);
    sl_error err;
    sl_calibration *all, *some;
    assert_int_equal(sl_calibration_create(t.engine, true, &all, &err), SL_OK);
    assert_int_equal(sl_calibration_create(t.engine, false, &some, &err), SL_OK);
    const uint32_t n_all = run(all);
    assert_int_equal(sl_calibration_cost(all)->n_threads, 4);
    assert_int_equal(sl_pool_n_active(sl_engine_pool(t.engine)), 4);
    assert_int_equal(run(some), n_all + 8); /* 4, 3 and 2 threads three times each, not once */
    sl_calibration_free(all);
    sl_calibration_free(some);
    tiny_engine_close(&t);
}

static void test_no_memory(void **state) {
    (void)state;
    tiny_engine t = open_tiny(&(sl_engine_options){.n_threads = 2}, 100);
    sl_error err;
    uint32_t n_failed = 0;
    for (uint64_t nth = 1;; nth++) {
        sl_calibration *c = NULL;
        sl_alloc_fail_nth(nth, false);
        const sl_status status = sl_calibration_create(t.engine, false, &c, &err);
        sl_alloc_fail_nth(0, false);
        if (status == SL_OK) {
            sl_calibration_free(c);
            break;
        }
        assert_int_equal(status, SL_ERR_MEMORY);
        assert_null(c);
        n_failed++;
    }
    assert_true(n_failed >= 4);
    tiny_engine_close(&t);
}

/* --- the file --- */

static const sl_cost COST = {.n_points = 2,
                             .points = {{1, 0.00125}, {512, 0.25}},
                             .head_s = 3e-4,
                             .logits_s = 1e-4,
                             .decode_s = 2.5e-9,
                             .prefill_s = 0.0,
                             .n_threads = 3};

static void test_file(void **state) {
    (void)state;
    char root[] = "/tmp/sluice-calibration-XXXXXX", dir[64], path[128], text[4096];
    assert_non_null(mkdtemp(root));
    (void)snprintf(dir, sizeof(dir), "%s/a/b", root); /* to be made */
    (void)snprintf(path, sizeof(path), "%s/key.calibration", dir);
    sl_cost found;
    sl_error err;
    assert_false(sl_calibration_load(dir, "key", &found));
    assert_int_equal(sl_calibration_store(dir, "key", &(sl_cost){.n_points = 1}, &err), SL_OK);
    assert_false(sl_calibration_load(dir, "key", &found)); /* no cost at all */
    assert_int_equal(sl_calibration_store(dir, "key", &COST, &err), SL_OK);
    assert_true(sl_calibration_load(dir, "key", &found));
    assert_memory_equal(&found, &COST, sizeof(COST));
    assert_false(sl_calibration_load(dir, "other", &found));

    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    const size_t n = fread(text, 1, sizeof(text), f);
    (void)fclose(f);
    for (size_t i = 0; i < n; i++) { /* any byte changed, or the rest lost */
        for (int cut = 0; cut < 2; cut++) {
            f = fopen(path, "wb");
            assert_non_null(f);
            text[i] ^= 1;
            assert_int_equal(fwrite(text, 1, cut ? i : n, f), cut ? i : n);
            text[i] ^= 1;
            (void)fclose(f);
            assert_false(sl_calibration_load(dir, "key", &found));
        }
    }
    assert_int_equal(sl_calibration_store(dir, "key", &COST, &err), SL_OK);
    assert_true(sl_calibration_load(dir, "key", &found));
    assert_int_equal(chmod(path, 0622), 0); /* others may have written it */
    assert_false(sl_calibration_load(dir, "key", &found));
    (void)unlink(path);
    assert_int_equal(mkdir(path, 0700), 0); /* cannot be replaced */
    assert_int_equal(sl_calibration_store(dir, "key", &COST, &err), SL_ERR_IO);
    assert_non_null(strstr(err.message, path));
    (void)rmdir(path);
    assert_int_equal(rmdir(dir), 0); /* nothing was left behind */
    (void)snprintf(dir, sizeof(dir), "%s/a", root);
    assert_int_equal(rmdir(dir), 0);
    assert_int_equal(rmdir(root), 0);
}

/* The key tells apart what costs differently, and nothing else. */
static void test_key(void **state) {
    (void)state;
    char first[SL_CALIBRATION_KEY_BYTES], other[SL_CALIBRATION_KEY_BYTES];
    const sl_engine_options two = {.n_threads = 2}, three = {.n_threads = 3};
    const sl_engine_options exact = {.n_threads = 2, .exact = true};
    const sl_engine_options int8 = {.n_threads = 2, .kv_type = SL_KV_INT8};
    const sl_engine_options short_steps = {.n_threads = 2, .rows_max = 100};
    const sl_engine_options *const others[] = {&two, &three, &exact, &int8, &short_steps};
    tiny_engine t = open_tiny(&two, 100);
    sl_calibration_key(t.engine, first);
    assert_int_equal(strlen(first), 32);
    tiny_engine_close(&t);
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
        t = open_tiny(others[i], 200); /* more pages cost nothing */
        sl_calibration_key(t.engine, other);
        assert_int_equal(strcmp(first, other) == 0, i == 0);
        tiny_engine_close(&t);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_engines_of_all_sizes),
        cmocka_unit_test(test_all_threads),
        cmocka_unit_test(test_no_memory),
        cmocka_unit_test(test_file),
        cmocka_unit_test(test_key),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
