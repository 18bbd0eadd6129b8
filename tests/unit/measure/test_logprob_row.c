/* Scores of a row against plain double arithmetic; the stored form against its stated error; damage
 * is found. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "base/rng.h"
#include "measure/logprob_row.h"

#define N_MAX 3001

static float g_a[N_MAX], g_b[N_MAX];
static double g_log_a[N_MAX], g_log_b[N_MAX];

static void fill(float *x, uint32_t n, uint64_t seed, double scale) {
    for (uint32_t i = 0; i < n; i++) {
        x[i] = (float)((sl_rng_double(seed, 0, i) - 0.5) * scale);
    }
}

static void log_softmax(const float *x, uint32_t n, double *out) {
    double max = -INFINITY, sum = 0.0;
    for (uint32_t i = 0; i < n; i++) {
        max = fmax(max, (double)x[i]);
    }
    for (uint32_t i = 0; i < n; i++) {
        sum += exp((double)x[i] - max);
    }
    for (uint32_t i = 0; i < n; i++) {
        out[i] = (double)x[i] - max - log(sum);
    }
}

static double divergence(uint32_t n) {
    double kl = 0.0;
    for (uint32_t i = 0; i < n; i++) {
        kl += exp(g_log_a[i]) * (g_log_a[i] - g_log_b[i]);
    }
    return kl;
}

static void check_pair(const sl_kernels *k, uint32_t n, double scale) {
    uint8_t *row = sl_alloc_aligned(sl_logprob_row_bytes(n), 8);
    assert_non_null(row);
    fill(g_a, n, n + 1, scale);
    fill(g_b, n, n + 2, scale);
    for (uint32_t i = 0; i < n; i++) {
        g_b[i] = g_a[i] + 0.1f * g_b[i];
    }
    log_softmax(g_a, n, g_log_a);
    log_softmax(g_b, n, g_log_b);
    uint32_t target = n / 3;
    sl_logprob_score a, b;
    sl_logprob_difference d;
    sl_logprob_score_row(k, g_a, n, target, &a);
    sl_logprob_score_row(k, g_b, n, target, &b);
    assert_true(fabs(a.nll + g_log_a[target]) < 1e-5);

    sl_logprob_row_encode(g_a, n, &a, row);
    assert_true(sl_logprob_row_compare(row, g_a, n, &a, &d)); /* with itself */
    assert_true(d.kl >= 0.0 && d.kl < 2e-8);
    assert_true(d.same_top && fabs(d.delta_p) < 1e-6 && fabs(d.base_nll - a.nll) < 1e-5);

    assert_true(sl_logprob_row_compare(row, g_b, n, &b, &d)); /* with another */
    double kl = divergence(n);
    assert_true(fabs(d.kl - kl) < 1e-6 + 2e-3 * kl);
    assert_true(fabs(d.delta_p - (exp(g_log_b[target]) - exp(g_log_a[target]))) < 1e-5);
    assert_int_equal(d.same_top, a.max_id == b.max_id);
    sl_free_aligned(row);
}

static void test_against_doubles(void **state) {
    (void)state;
    static const uint32_t sizes[] = {1, 2, 3, 7, 64, 300, 1000, N_MAX};
    sl_kernels k;
    sl_kernels_init(&k, SL_ISA_REF);
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        check_pair(&k, sizes[i], 0.0);
        check_pair(&k, sizes[i], 10.0);
        check_pair(&k, sizes[i], 60.0);
    }
}

static void test_masked_tokens(void **state) {
    (void)state;
    enum { N = 100 };
    uint8_t *row = sl_alloc_aligned(sl_logprob_row_bytes(N), 8);
    sl_kernels k;
    sl_kernels_init(&k, SL_ISA_REF);
    fill(g_a, N, 5, 8.0);
    g_a[17] = -INFINITY;
    g_a[18] = -1e30f;
    sl_logprob_score s;
    sl_logprob_difference d;
    sl_logprob_score_row(&k, g_a, N, 3, &s);
    sl_logprob_row_encode(g_a, N, &s, row);
    assert_true(sl_logprob_row_compare(row, g_a, N, &s, &d));
    assert_true(d.kl >= 0.0 && d.kl < 2e-8);
    sl_logprob_score_row(&k, g_a, N, 17, &s); /* an impossible token has no score */
    assert_true(s.max_id >= N);
    g_a[4] = NAN;
    sl_logprob_score_row(&k, g_a, N, 3, &s);
    assert_true(s.max_id >= N);
    sl_free_aligned(row);
}

static void test_damage(void **state) {
    (void)state;
    enum { N = 37 };
    size_t n_bytes = sl_logprob_row_bytes(N);
    uint8_t *row = sl_alloc_aligned(n_bytes, 8);
    sl_kernels k;
    sl_kernels_init(&k, SL_ISA_REF);
    fill(g_a, N, 9, 8.0);
    sl_logprob_score s;
    sl_logprob_difference d;
    sl_logprob_score_row(&k, g_a, N, 3, &s);
    sl_logprob_row_encode(g_a, N, &s, row);
    for (size_t i = 0; i < n_bytes * 8; i++) {
        row[i / 8] ^= (uint8_t)(1u << (i % 8));
        assert_false(sl_logprob_row_compare(row, g_a, N, &s, &d));
        row[i / 8] ^= (uint8_t)(1u << (i % 8));
    }
    assert_true(sl_logprob_row_compare(row, g_a, N, &s, &d));
    sl_free_aligned(row);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_against_doubles),
                                       cmocka_unit_test(test_masked_tokens),
                                       cmocka_unit_test(test_damage)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
