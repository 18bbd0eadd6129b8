/* Figures of the load generator from records made by hand, and its arrival times. What it does with
 * servers: tests/api/test_bench_serve.py. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "check_status.h"
#include "measure/traffic.h"

static bool near(double a, double b) {
    return fabs(a - b) <= 1e-4 * fabs(b) + 1e-9;
}

/* Request i of 100: due at 0, its first token after i + 1 ms, then 10 tokens 2 ms apart. */
static void make_result(sl_traffic_record records[100], float gaps[1000], sl_traffic_result *r) {
    for (uint32_t i = 0; i < 100; i++) {
        records[i] = (sl_traffic_record){.first_s = 1e-3 * (i + 1),
                                         .end_s = 1e-3 * (i + 1) + 0.020,
                                         .turn = i % 2,
                                         .n_prompt = 5,
                                         .n_cached = 1,
                                         .n_output = 11,
                                         .gap_begin = 10 * i,
                                         .n_gaps = 10,
                                         .status = 200};
    }
    for (uint32_t i = 0; i < 1000; i++) {
        gaps[i] = 0.002f;
    }
    *r = (sl_traffic_result){
        .records = records, .n = 100, .gaps = gaps, .n_gaps = 1000, .wall_s = 2.0};
}

static void test_percentiles_and_rates(void **state) {
    (void)state;
    sl_traffic_record records[100];
    float gaps[1000];
    sl_traffic_result r;
    sl_traffic_figures f;
    sl_error err;
    make_result(records, gaps, &r);
    gaps[500] = 0.5f;
    const sl_traffic_limits none = {0};
    CHECK(sl_traffic_figures_of(&r, &none, &f, &err));
    assert_int_equal(f.n_ok, 100);
    assert_int_equal(f.n_good, 100);
    assert_int_equal(f.n_output, 1100);
    assert_int_equal(f.n_cached, 100);
    assert_true(near(f.output_tps, 550.0) && near(f.total_tps, 800.0) && near(f.requests_ps, 50.0));
    assert_true(near(f.first.mean, 50.5) && near(f.first.p50, 50.0) && near(f.first.p90, 90.0));
    assert_true(near(f.first.p95, 95.0) && near(f.first.p99, 99.0) && near(f.first.max, 100.0));
    assert_true(near(f.later_first.p50, 50.0) && near(f.later_first.max, 100.0));
    assert_true(near(f.whole.p50, 70.0));
    assert_true(near(f.gap.p99, 2.0) && near(f.gap.max, 500.0));
    assert_true(near((double)gaps[500], 0.5)); /* the records are left as they were */
}

static void test_goodput_and_failures(void **state) {
    (void)state;
    sl_traffic_record records[100];
    float gaps[1000];
    sl_traffic_result r;
    sl_traffic_figures f;
    sl_error err;
    make_result(records, gaps, &r);
    const sl_traffic_limits first = {.ttft_ms = 30.5}, between = {.gap_ms = 2.1},
                            closer = {.gap_ms = 1.9};
    CHECK(sl_traffic_figures_of(&r, &first, &f, &err));
    assert_int_equal(f.n_good, 30);
    CHECK(sl_traffic_figures_of(&r, &between, &f, &err));
    assert_int_equal(f.n_good, 100);
    CHECK(sl_traffic_figures_of(&r, &closer, &f, &err));
    assert_int_equal(f.n_good, 0);
    records[3].status = 503;
    strcpy(records[4].error, "cut off");
    CHECK(sl_traffic_figures_of(&r, &first, &f, &err));
    assert_int_equal(f.n_good, 28);
    assert_int_equal(f.n_failed, 2);
    assert_int_equal(f.n_output, 98 * 11);
    records[5].due_s = -0.1; /* a request that had to wait for its turn is not timed from its own */
    CHECK(sl_traffic_figures_of(&r, &first, &f, &err));
    assert_int_equal(f.n_good, 27);
    const sl_traffic_result nothing = {.wall_s = 0.0};
    CHECK(sl_traffic_figures_of(&nothing, &first, &f, &err));
    assert_true(f.n_ok == 0 && f.first.max == 0.0 && f.output_tps == 0.0);
}

static void test_arrivals(void **state) {
    (void)state;
    enum { N = 20000 };
    static sl_traffic_item a[N], b[N];
    for (uint32_t burst = 1; burst <= 7; burst += 3) {
        sl_traffic_arrivals(a, N, 50.0, burst, 3);
        sl_traffic_arrivals(b, N, 50.0, burst, 3);
        assert_memory_equal(a, b, sizeof(a)); /* of the seed alone */
        for (uint32_t i = 1; i < N; i++) {
            assert_true(i % burst == 0 ? a[i].at_s > a[i - 1].at_s : a[i].at_s == a[i - 1].at_s);
        }
        assert_true(fabs(a[N - 1].at_s * 50.0 / N - 1.0) < 0.05);
    }
    sl_traffic_arrivals(b, N, 50.0, 7, 4);
    assert_true(memcmp(a, b, sizeof(a)) != 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_percentiles_and_rates),
        cmocka_unit_test(test_goodput_and_failures),
        cmocka_unit_test(test_arrivals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
