/* The largest of a row and its sum of exponentials, piece by piece, against sorting and adding: at
 * every level, in whatever pieces, order and number of hands. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>
#include <math.h>

#include "base/rng.h"
#include "kernels/top.h"

#define N_MAX 1000

static uint64_t g_draws;
static double rnd(void) {
    return sl_rng_double(77, 0, g_draws++);
}
static uint32_t rnd_below(uint32_t n) {
    return (uint32_t)(rnd() * n);
}

static void each_level(void (*fn)(const sl_kernels *k)) {
    for (int i = 0; i < SL_ISA_COUNT; i++) {
        if (sl_cpu_has((sl_isa)i)) {
            static sl_kernels k;
            sl_kernels_init(&k, (sl_isa)i);
            fn(&k);
        }
    }
}

static int larger_first(const void *a, const void *b) {
    const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x < y) - (x > y);
}

/* Few different values, so that ties are common; some -infinity. */
static void fill(float *x, uint32_t n) {
    const uint32_t spread = 1 + rnd_below(3) * 40;
    for (uint32_t i = 0; i < n; i++) {
        x[i] = (float)rnd_below(spread) - 20;
        x[i] = rnd_below(8) == 0 ? -INFINITY : x[i];
        x[i] = rnd_below(16) == 0 ? -0.0f : x[i];
    }
}

/* Pieces of random lengths, in random order, to two hands. */
static void look(const sl_kernels *k, const float *x, uint32_t n, sl_top *t) {
    uint32_t begin[N_MAX], n_pieces = 0;
    for (uint32_t i = 0; i < n; i += 1 + rnd_below(100)) {
        begin[n_pieces++] = i;
    }
    sl_top other;
    sl_top_begin(&other, t->n_wanted);
    for (uint32_t left = n_pieces; left > 0; left--) {
        const uint32_t at = rnd_below(left), piece = begin[at];
        uint32_t end = n;
        for (uint32_t i = 0; i < n_pieces; i++) {
            end = begin[i] > piece && begin[i] < end ? begin[i] : end;
        }
        begin[at] = begin[left - 1];
        begin[left - 1] = piece;
        sl_top_look(k, rnd_below(2) == 0 ? t : &other, x + piece, end - piece, piece);
    }
    sl_top_merge(t, &other);
}

static void compare(const sl_kernels *k) {
    static float x[N_MAX];
    static uint64_t keys[N_MAX];
    for (int round = 0; round < 300; round++) {
        const uint32_t n = 1 + rnd_below(N_MAX);
        fill(x, n);
        uint32_t n_keys = 0;
        for (uint32_t i = 0; i < n; i++) {
            if (x[i] != -INFINITY) {
                keys[n_keys++] = sl_top_key(x[i], i);
            }
        }
        qsort(keys, n_keys, sizeof(keys[0]), larger_first);
        sl_top t;
        sl_top_begin(&t, 1 + rnd_below(SL_TOP_MAX));
        look(k, x, n, &t);
        assert_false(t.has_nan);
        assert_int_equal(t.n, n_keys < t.n_wanted ? n_keys : t.n_wanted);
        for (uint32_t i = 0; i < t.n; i++) {
            assert_true(t.keys[i] == keys[i]);
            assert_true(sl_top_key_logit(keys[i]) == x[sl_top_key_id(keys[i])]);
        }
    }
}

static void test_equals_sorting(void **state) {
    (void)state;
    each_level(compare);
}

static void broken(const sl_kernels *k) {
    static float x[N_MAX];
    for (int round = 0; round < 100; round++) {
        const uint32_t n = 1 + rnd_below(N_MAX);
        fill(x, n);
        x[rnd_below(n)] = rnd_below(2) == 0 ? NAN : -NAN;
        sl_top t;
        sl_top_begin(&t, 1 + rnd_below(SL_TOP_MAX));
        look(k, x, n, &t);
        assert_true(t.has_nan);
    }
    x[0] = 1;
    x[1] = INFINITY;
    sl_top t;
    sl_top_begin(&t, 1);
    sl_top_look(k, &t, x, 2, 7);
    assert_true(t.n == 1 && t.keys[0] == sl_top_key(INFINITY, 8));
}

static void test_not_a_number_is_seen(void **state) {
    (void)state;
    each_level(broken);
}

static double log_sum(const sl_kernels *k, const float *x, uint32_t n, uint32_t block) {
    sl_exp_sum total = SL_EXP_SUM_NONE;
    for (uint32_t i = 0; i < n; i += block) {
        sl_exp_sum_add(&total, sl_exp_sum_of(k, x + i, n - i < block ? n - i : block));
    }
    return sl_exp_sum_log(total);
}

static void sums(const sl_kernels *k) {
    static float x[N_MAX];
    for (int round = 0; round < 100; round++) {
        const uint32_t n = 1 + rnd_below(N_MAX);
        double want = 0;
        for (uint32_t i = 0; i < n; i++) {
            /* some blocks are far below others, so that their sums are scaled; or masked */
            x[i] = (float)(rnd() * 8) - (float)(i / 64 % 3) * 30 + 70;
            x[i] = i / 16 % 5 == 1 ? -INFINITY : x[i];
            want += exp((double)x[i] - 70);
        }
        assert_true(fabs(log_sum(k, x, n, 16) - (log(want) + 70)) < 1e-5);
        assert_true(fabs(log_sum(k, x, n, n) - (log(want) + 70)) < 1e-5);
        x[n / 2] = NAN;
        assert_true(isnan(log_sum(k, x, n, 16)));
        for (uint32_t i = 0; i < n; i++) {
            x[i] = -INFINITY;
        }
        assert_true(log_sum(k, x, n, 16) == -INFINITY);
    }
}

static void test_sums_of_blocks_add_up(void **state) {
    (void)state;
    each_level(sums);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_equals_sorting),
        cmocka_unit_test(test_not_a_number_is_seen),
        cmocka_unit_test(test_sums_of_blocks_add_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
