/* The cost of a step: a formula, checked by hand; and how long it takes to be called wrong. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>

#include "plan/cost.h"

static const sl_cost COST = {.n_points = 3,
                             .points = {{1, 0.010}, {4, 0.010}, {8, 0.018}},
                             .head_s = 0.005,
                             .logits_s = 0.001,
                             .decode_s = 1e-5,
                             .prefill_s = 1e-6,
                             .n_threads = 2};

static void near(double value, double expected) {
    if (!(fabs(value - expected) <= 1e-9 * fabs(expected) + 1e-15)) {
        fail_msg("%.15g, not %.15g", value, expected);
    }
}

static void test_seconds(void **state) {
    (void)state;
    const double rows_s[][2] = {
        {1, 0.010}, {3, 0.010}, {4, 0.010},  {6, 0.014},
        {8, 0.018}, {9, 0.020}, {108, 0.218}}; /* beyond: on the last line */
    for (size_t i = 0; i < sizeof(rows_s) / sizeof(rows_s[0]); i++) {
        const sl_cost_work work = {.n_rows = (uint32_t)rows_s[i][0]};
        near(sl_cost_seconds(&COST, &work), rows_s[i][1]);
    }
    const sl_cost_work all = {
        .n_rows = 4, .n_logits = 2, .decode_tokens = 100, .prefill_tokens = 1000};
    near(sl_cost_seconds(&COST, &all), 0.010 + 0.007 + 0.001 + 0.001);
    near(sl_cost_seconds(&COST, &(sl_cost_work){0}), 0.0);
    near(sl_cost_seconds(&(sl_cost){0}, &all), 0.0);
    const sl_cost one = {.n_points = 1, .points = {{16, 0.5}}, .n_threads = 1};
    near(sl_cost_seconds(&one, &(sl_cost_work){.n_rows = 64}), 0.5);
}

/* Against the sum itself, for windows that are open, closing and full. */
static void test_attended(void **state) {
    (void)state;
    sl_plan plan = {.n_groups = 2,
                    .groups = {{.n_layers = 3, .window = 0}, {.n_layers = 1, .window = 7}}};
    for (uint32_t pos0 = 0; pos0 < 20; pos0++) {
        for (uint32_t n = 1; n < 20; n++) {
            double expected = 0.0;
            for (uint32_t p = pos0; p < pos0 + n; p++) {
                expected += (3.0 * (p + 1) + (p + 1 < 7 ? p + 1 : 7)) / 4.0;
            }
            near(sl_cost_attended(&plan, pos0, n), expected);
        }
    }
    near(sl_cost_attended(&(sl_plan){0}, 5, 5), 0.0);
    const sl_step_run runs[] = {{.n_rows = 1, .pos0 = 3}, {.n_rows = 2, .pos0 = 0}};
    const sl_step step = {.n_rows = 3, .runs = runs, .n_runs = 2, .n_logits = 1};
    const sl_cost_work work = sl_cost_work_of(&plan, &step);
    assert_int_equal(work.n_rows, 3);
    assert_int_equal(work.n_logits, 1);
    near(work.decode_tokens, 4.0);
    near(work.prefill_tokens, 3.0);
}

static void test_what_is_no_cost(void **state) {
    (void)state;
    assert_true(sl_cost_is_valid(&COST));
    assert_true(sl_cost_is_valid(&(sl_cost){0}));
    sl_cost c = COST;
    c.n_points = SL_COST_POINTS_MAX + 1;
    assert_false(sl_cost_is_valid(&c));
    c = COST;
    c.points[2].n_rows = 4;
    assert_false(sl_cost_is_valid(&c));
    c = COST;
    c.points[2].seconds = 0.009;
    assert_false(sl_cost_is_valid(&c));
    c = COST;
    c.points[0].n_rows = 0;
    assert_false(sl_cost_is_valid(&c));
    c = COST;
    c.n_threads = 0;
    assert_false(sl_cost_is_valid(&c));
    double *const figures[] = {&c.head_s, &c.logits_s, &c.decode_s, &c.prefill_s,
                               &c.points[2].seconds};
    const double bad[] = {NAN, -1e-9, INFINITY, 1e7};
    for (size_t f = 0; f < 5; f++) {
        for (size_t b = 0; b < 4; b++) {
            c = COST;
            *figures[f] = bad[b];
            assert_false(sl_cost_is_valid(&c));
        }
    }
}

static void test_drift(void **state) {
    (void)state;
    sl_cost_drift d = {0};
    near(sl_cost_drift_ratio(&d), 1.0);
    for (int i = 0; i < 1000;
         i++) { /* twice as long and as short in turn, and held up now and then */
        sl_cost_drift_add(&d, 1.0, i % 100 == 0 ? 1e6 : i % 2 == 0 ? 2.0 : 0.5);
        assert_false(sl_cost_drift_is_large(&d));
    }
    sl_cost_drift_add(&d, 0.0, 1.0); /* nothing expected, or measured: nothing learnt */
    sl_cost_drift_add(&d, 1.0, NAN);
    assert_int_equal(d.n_steps, 1000);
    for (int sign = -1; sign <= 1; sign += 2) {
        d = (sl_cost_drift){0};
        for (int i = 0; i < 255; i++) {
            sl_cost_drift_add(&d, 1.0, pow(1.6, sign));
            assert_false(sl_cost_drift_is_large(&d)); /* too few yet */
        }
        sl_cost_drift_add(&d, 1.0, pow(1.6, sign));
        assert_true(sl_cost_drift_is_large(&d));
        near(sl_cost_drift_ratio(&d), pow(1.6, sign));
    }
    for (int i = 0; i < 1000; i++) {
        sl_cost_drift_add(&d, 1.0, 1.1); /* forgotten */
    }
    assert_false(sl_cost_drift_is_large(&d));
    assert_true(fabs(sl_cost_drift_ratio(&d) - 1.1) < 1e-3);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_seconds),
        cmocka_unit_test(test_attended),
        cmocka_unit_test(test_what_is_no_cost),
        cmocka_unit_test(test_drift),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
