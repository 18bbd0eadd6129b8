/* The choice of experts for one row: kinds of shares, groups, ties, numbers that are none; and the
 * sorting of choices. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "device/cpu/cpu_program.h"

#define NEAR 1e-6f

static float out[2 * SL_PLAN_CHOICES_MAX];

static void expect_experts(const sl_plan_route *r, const uint32_t *experts) {
    for (uint32_t k = 0; k < r->n_used; k++) {
        if (out[r->n_used + k] != (float)experts[k]) {
            fail_msg("choice %u is expert %g, not %u", (unsigned)k, (double)out[r->n_used + k],
                     (unsigned)experts[k]);
        }
    }
}

static void expect_shares(const sl_plan_route *r, const float *shares) {
    for (uint32_t k = 0; k < r->n_used; k++) {
        assert_float_equal(out[k], shares[k], NEAR);
    }
}

static const float scores[6] = {0.5f, 2.0f, -1.0f, 1.0f, 2.0f, 0.0f};
static const uint32_t best_three[3] = {1, 4, 3}; /* of equals the first one */

static float softmax(uint32_t i) {
    double sum = 0.0;
    for (int j = 0; j < 6; j++) {
        sum += exp((double)scores[j]);
    }
    return (float)(exp((double)scores[i]) / sum);
}

static float sigmoid(float x) {
    return (float)(1.0 / (1.0 + exp(-(double)x)));
}

static void test_softmax(void **state) {
    (void)state;
    sl_plan_route r = {.kind = SL_ROUTE_SOFTMAX, .n_expert = 6, .n_used = 3, .scale = 1.0f};
    const float plain[3] = {softmax(1), softmax(4), softmax(3)};
    sl_cpu_route_row(&r, scores, NULL, out);
    expect_experts(&r, best_three);
    expect_shares(&r, plain);
    r.scale = 2.5f;
    sl_cpu_route_row(&r, scores, NULL, out);
    expect_shares(&r, (const float[]){2.5f * plain[0], 2.5f * plain[1], 2.5f * plain[2]});
    r.normalize = true;
    const float sum = plain[0] + plain[1] + plain[2];
    sl_cpu_route_row(&r, scores, NULL, out);
    expect_experts(&r, best_three);
    expect_shares(
        &r, (const float[]){2.5f * plain[0] / sum, 2.5f * plain[1] / sum, 2.5f * plain[2] / sum});
}

static void test_softmax_of_used(void **state) {
    (void)state;
    sl_plan_route r = {.kind = SL_ROUTE_SOFTMAX_OF_USED, .n_expert = 6, .n_used = 3, .scale = 1.0f};
    const float e = expf(-1.0f), shares[3] = {1.0f / (2.0f + e), 1.0f / (2.0f + e), e / (2.0f + e)};
    for (int normalize = 0; normalize < 2; normalize++) { /* they sum to 1 anyway */
        r.normalize = normalize == 1;
        sl_cpu_route_row(&r, scores, NULL, out);
        expect_experts(&r, best_three);
        expect_shares(&r, shares);
    }
    /* Scores whose sum is negative or nought. */
    sl_cpu_route_row(&r, (const float[]){-3.0f, -1.0f, -2.0f, -9.0f, -9.0f, -9.0f}, NULL, out);
    expect_experts(&r, (const uint32_t[]){1, 2, 0});
    assert_float_equal(out[0] + out[1] + out[2], 1.0f, NEAR);
}

/* The bias takes part in the choice and in nothing else. */
static void test_sigmoid_with_bias(void **state) {
    (void)state;
    sl_plan_route r = {.kind = SL_ROUTE_SIGMOID, .n_expert = 6, .n_used = 2, .scale = 1.0f};
    const float bias[6] = {0.0f, 0.0f, 5.0f, 0.0f, -3.0f, 0.25f};
    sl_cpu_route_row(&r, scores, NULL, out);
    expect_experts(&r, (const uint32_t[]){1, 4});
    sl_cpu_route_row(&r, scores, bias, out);
    expect_experts(&r, (const uint32_t[]){2, 1});
    expect_shares(&r, (const float[]){sigmoid(-1.0f), sigmoid(2.0f)});
    r.normalize = true;
    r.scale = 2.0f;
    const float sum = sigmoid(-1.0f) + sigmoid(2.0f);
    sl_cpu_route_row(&r, scores, bias, out);
    expect_shares(&r, (const float[]){2.0f * sigmoid(-1.0f) / sum, 2.0f * sigmoid(2.0f) / sum});
}

static void test_groups(void **state) {
    (void)state;
    sl_plan_route r = {.kind = SL_ROUTE_SIGMOID,
                       .n_expert = 8,
                       .n_used = 3,
                       .n_group = 4,
                       .n_group_used = 2,
                       .scale = 1.0f};
    /* Sums of two: the second and the last group; best ones alone: the first and the second. */
    const float x[8] = {4.0f, -9.0f, 2.0f, 1.5f, 0.0f, 0.1f, 1.9f, 1.8f};
    sl_cpu_route_row(&r, x, NULL, out);
    expect_experts(&r, (const uint32_t[]){2, 6, 7});
    r.kind = SL_ROUTE_SOFTMAX;
    sl_cpu_route_row(&r, x, NULL, out);
    expect_experts(&r, (const uint32_t[]){0, 2, 3});
    r.kind = SL_ROUTE_SIGMOID;
    const float bias[8] = {0.0f, 0.0f, 0.0f, 0.0f, 9.0f, 0.0f, 0.0f, 0.0f};
    sl_cpu_route_row(&r, x, bias, out);
    expect_experts(&r, (const uint32_t[]){4, 6, 7});
    /* All alike: the first groups, and in them the first experts. */
    const float alike[8] = {0};
    sl_cpu_route_row(&r, alike, NULL, out);
    expect_experts(&r, (const uint32_t[]){0, 1, 2});
    /* One expert in each group. */
    r.n_group = 8;
    r.n_group_used = 3;
    sl_cpu_route_row(&r, x, NULL, out);
    expect_experts(&r, (const uint32_t[]){0, 2, 6});
}

/* Whatever the scores are, the chosen experts exist, differ, and lie in no more groups than may be
 * used. */
static void expect_sound(const sl_plan_route *r) {
    bool chosen[SL_PLAN_EXPERTS_MAX] = {0}, groups[SL_PLAN_EXPERTS_MAX] = {0};
    uint32_t n_groups = 0;
    for (uint32_t k = 0; k < r->n_used; k++) {
        const float e = out[r->n_used + k];
        assert_true(e >= 0.0f && e < (float)r->n_expert && e == floorf(e));
        assert_false(chosen[(uint32_t)e]);
        chosen[(uint32_t)e] = true;
        if (r->n_group > 1) {
            const uint32_t g = (uint32_t)e / (r->n_expert / r->n_group);
            n_groups += !groups[g];
            groups[g] = true;
        }
    }
    assert_true(n_groups <= r->n_group_used);
}

static void test_numbers_that_are_none(void **state) {
    (void)state;
    static const float odd[] = {NAN, INFINITY, -INFINITY, 3e38f, -3e38f, 0.0f, -0.0f, 1.0f, 1e-45f};
    static const sl_plan_route shapes[] = {
        {.n_expert = 8, .n_used = 8},
        {.n_expert = 8, .n_used = 1},
        {.n_expert = 8, .n_used = 4, .n_group = 4, .n_group_used = 2},
        {.n_expert = 8, .n_used = 2, .n_group = 8, .n_group_used = 2}};
    uint32_t seed = 1;
    for (uint32_t i = 0; i < 3000; i++) {
        sl_plan_route r = shapes[i % 4];
        r.kind = (sl_route_kind[]){SL_ROUTE_SOFTMAX, SL_ROUTE_SIGMOID,
                                   SL_ROUTE_SOFTMAX_OF_USED}[i / 4 % 3];
        r.scale = 1.0f;
        r.normalize = i / 12 % 2 == 1;
        float x[8], bias[8];
        for (uint32_t k = 0; k < 8; k++) {
            seed = seed * 1664525u + 1013904223u;
            x[k] = i < 24 ? NAN : odd[(seed >> 16) % (sizeof(odd) / sizeof(odd[0]))];
            bias[k] = odd[(seed >> 24) % (sizeof(odd) / sizeof(odd[0]))];
        }
        sl_cpu_route_row(&r, x, i % 5 == 0 ? bias : NULL, out);
        expect_sound(&r);
    }
    /* A number comes before what is none. */
    sl_plan_route r = {.kind = SL_ROUTE_SOFTMAX_OF_USED, .n_expert = 4, .n_used = 2, .scale = 1.0f};
    sl_cpu_route_row(&r, (const float[]){NAN, -5.0f, NAN, -9.0f}, NULL, out);
    expect_experts(&r, (const uint32_t[]){1, 3});
}

static void test_sorting(void **state) {
    (void)state;
    enum { N_ROWS = 3, N_USED = 2, N_EXPERT = 5 };
    /* Per row: shares, then experts. */
    float rows[N_ROWS][8] = {{0, 0, 3, 1}, {0, 0, 4, 3}, {0, 0, 1, 3}};
    const cpu_value route = {.x = rows[0], .stride = 8};
    uint32_t begin[N_EXPERT + 1], active[N_EXPERT], row[6], expert[6], place[6];
    cpu_choices c = {
        .begin = begin, .active = active, .row = row, .expert = expert, .place = place};
    sl_cpu_choices_sort(&c, &route, N_ROWS, N_USED, N_EXPERT);
    const uint32_t want_begin[N_EXPERT + 1] = {0, 0, 2, 2, 5, 6};
    assert_memory_equal(begin, want_begin, sizeof(begin));
    assert_int_equal(c.n_active, 3);
    assert_memory_equal(active, ((const uint32_t[]){1, 3, 4}), 3 * sizeof(uint32_t));
    assert_memory_equal(row, ((const uint32_t[]){0, 2, 0, 1, 2, 1}), sizeof(row));
    assert_memory_equal(expert, ((const uint32_t[]){1, 1, 3, 3, 3, 4}), sizeof(expert));
    assert_memory_equal(place, ((const uint32_t[]){2, 0, 5, 3, 1, 4}), sizeof(place));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_softmax),
        cmocka_unit_test(test_softmax_of_used),
        cmocka_unit_test(test_sigmoid_with_bias),
        cmocka_unit_test(test_groups),
        cmocka_unit_test(test_numbers_that_are_none),
        cmocka_unit_test(test_sorting),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
