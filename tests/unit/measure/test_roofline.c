/* A roofline: its limits and shares are of the right kind, and its shapes are those of the plan. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "measure/roofline.h"
#include "model/model.h"

typedef struct fixture {
    sl_gguf *file;
    sl_model *model;
    sl_pool *pool;
    sl_kernels k;
} fixture;

static void fixture_open(fixture *f, uint32_t n_threads) {
    sl_error err;
    assert_int_equal(sl_gguf_open("tests/golden/quant/llama-quant.Q4_1.gguf", &f->file, &err),
                     SL_OK);
    assert_int_equal(sl_model_open(f->file, &f->model, &err), SL_OK);
    assert_int_equal(sl_pool_create(n_threads, false, &f->pool, &err), SL_OK);
    sl_kernels_init(&f->k, sl_cpu_isa());
}

static void fixture_close(fixture *f) {
    sl_pool_free(f->pool);
    sl_model_close(f->model);
    sl_gguf_close(f->file);
}

/* Every product of whole matrices is counted once, those with the most bytes first. */
static void test_shapes(void **state) {
    (void)state;
    fixture f;
    fixture_open(&f, 1);
    sl_roofline_shape shapes[SL_ROOFLINE_SHAPES_MAX];
    const sl_plan *plan = &f.model->plan;
    uint32_t n = sl_roofline_shapes(plan, &f.k, false, shapes), n_weights = 0, n_linear = 0;
    assert_true(n >= 2);
    for (uint32_t i = 0; i < n; i++) {
        const sl_plan_weight *w = shapes[i].weight;
        n_weights += shapes[i].n_weights;
        assert_true(i == 0 || shapes[i].bytes <= shapes[i - 1].bytes);
        assert_true(shapes[i].bytes == (uint64_t)shapes[i].n_weights * w->n_out * w->row_bytes);
        assert_true((shapes[i].form == SL_ROOFLINE_INT8) == (f.k.product[w->type].mul != NULL));
        for (uint32_t j = 0; j < i; j++) {
            const sl_plan_weight *o = shapes[j].weight;
            assert_false(o->type == w->type && o->n_in == w->n_in && o->n_out == w->n_out);
        }
    }
    for (uint32_t i = 0; i < plan->n_ops; i++) {
        n_linear += plan->ops[i].kind == SL_OP_LINEAR;
    }
    assert_int_equal(n_weights, n_linear);
    n = sl_roofline_shapes(plan, &f.k, true, shapes);
    for (uint32_t i = 0; i < n; i++) {
        assert_int_equal(shapes[i].form, SL_ROOFLINE_F32);
    }
    fixture_close(&f);
}

/* The loops report the operations that they do: in proportion to their rounds. */
static void test_peaks(void **state) {
    (void)state;
    sl_kernels k;
    sl_kernels_init(&k, sl_cpu_isa());
    assert_true((k.peak_int8 == NULL) == (k.peak_f32 == NULL));
    if (k.peak_int8 != NULL) {
        assert_true(k.peak_int8(1) >= 2 * 32 && k.peak_f32(1) >= 2 * 8);
        assert_true(k.peak_int8(50) == 50 * k.peak_int8(1));
        assert_true(k.peak_scaled(50) == 50 * k.peak_scaled(1));
        assert_true(k.peak_scaled(1) >= 2 * 8 * 32);
        assert_true(k.peak_f32(50) == 50 * k.peak_f32(1));
        assert_true(k.peak_int8(1) == 4 * k.peak_f32(1)); /* four products in a lane */
        assert_true(k.bf16.mul == NULL || k.peak_bf16(3) == 3 * 2 * k.peak_f32(1));
    }
}

/* Real products, in int8 and float32, more workers than panels included: rates fit each other. */
static void test_products(void **state) {
    (void)state;
    fixture f;
    fixture_open(&f, 3);
    sl_error err;
    sl_roofline_limits limits = {.read_gbps = 1e9, .scaled_gops = 1e-3, .f32_gops = 1e-3};
    for (int exact = 0; exact < 2; exact++) {
        sl_roofline_shape shapes[SL_ROOFLINE_SHAPES_MAX];
        uint32_t n = sl_roofline_shapes(&f.model->plan, &f.k, exact != 0, shapes);
        const sl_roofline_shape *s = &shapes[n - 1];
        sl_roofline_rate r;
        assert_int_equal(sl_roofline_product(f.pool, &f.k, &limits, s, 3, &r, &err), SL_OK);
        assert_true(r.gbps > 0.0 && r.gops > 0.0 && !r.is_memory_bound);
        assert_true(r.share * limits.f32_gops / r.gops > 0.999);
        assert_true(r.share * limits.f32_gops / r.gops < 1.001);
        const sl_roofline_limits slow = {.read_gbps = 1e-3, .scaled_gops = 1e9, .f32_gops = 1e9};
        assert_int_equal(sl_roofline_product(f.pool, &f.k, &slow, s, 1, &r, &err), SL_OK);
        assert_true(r.is_memory_bound && r.share * slow.read_gbps / r.gbps > 0.999);
        const sl_roofline_limits unknown = {.read_gbps = 1.0};
        assert_int_equal(sl_roofline_product(f.pool, &f.k, &unknown, s, 1, &r, &err), SL_OK);
        assert_true(r.share == 0.0);
        assert_int_equal(
            sl_roofline_product(f.pool, &f.k, &limits, s, SL_ROOFLINE_OUT_MAX, &r, &err),
            SL_ERR_LIMIT);
    }
    fixture_close(&f);
}

/* Weights of every plain type in each form that the level has for it. */
static void test_plain_products(void **state) {
    (void)state;
    fixture f;
    fixture_open(&f, 2);
    sl_error err;
    const sl_roofline_limits limits = {
        .read_gbps = 1e9, .scaled_gops = 1.0, .f32_gops = 1e-3, .bf16_gops = 1e-6};
    static uint8_t data[40 * 33 * 4];
    const sl_type types[] = {SL_TYPE_F32, SL_TYPE_F16, SL_TYPE_BF16};
    for (size_t t = 0; t < 3; t++) {
        for (int exact = 0; exact < 2; exact++) {
            const size_t row_bytes = 33 * (t == 0 ? 4 : 2);
            const sl_plan_weight w = {.type = types[t],
                                      .n_in = 33,
                                      .n_out = 40,
                                      .n_mats = 1,
                                      .row_bytes = row_bytes,
                                      .data = data};
            const sl_plan_op op = {.kind = SL_OP_LINEAR};
            const sl_plan plan = {.weights = &w, .n_weights = 1, .ops = &op, .n_ops = 1};
            sl_roofline_shape s[SL_ROOFLINE_SHAPES_MAX];
            assert_int_equal(sl_roofline_shapes(&plan, &f.k, exact != 0, s), 1);
            const bool has_bf16 = t == 2 && f.k.bf16.mul != NULL, has_plain = f.k.plain.mul != NULL;
            const sl_roofline_form form = exact       ? SL_ROOFLINE_F32
                                          : has_bf16  ? SL_ROOFLINE_BF16
                                          : has_plain ? SL_ROOFLINE_PLAIN
                                                      : SL_ROOFLINE_F32;
            assert_int_equal(s[0].form, form);
            sl_roofline_rate r;
            assert_int_equal(sl_roofline_product(f.pool, &f.k, &limits, s, 5, &r, &err), SL_OK);
            const double peak = form == SL_ROOFLINE_BF16 ? limits.bf16_gops : limits.f32_gops;
            assert_true(r.share * peak / r.gops > 0.999 && r.share * peak / r.gops < 1.001);
        }
    }
    fixture_close(&f);
}

/* Every attention of a plan is counted once; what it reads and computes fits each other. */
static void test_attention(void **state) {
    (void)state;
    fixture f;
    fixture_open(&f, 3);
    sl_error err;
    sl_roofline_heads heads[SL_ROOFLINE_HEADS_MAX];
    const sl_plan *plan = &f.model->plan;
    assert_int_equal(sl_roofline_heads_of(plan, heads), 1);
    assert_int_equal(heads[0].n_layers, plan->n_layers);
    assert_int_equal(heads[0].n_kv_head, plan->groups[0].n_kv_head);
    const sl_roofline_limits limits = {.read_gbps = 1e9, .f32_gops = 1e-3};
    for (uint32_t window = 0; window <= 20; window += 20) {
        heads[0].window = window;
        for (sl_kv_type type = 0; type < SL_KV_TYPE_COUNT; type++) {
            const uint32_t cases[][3] = {{1, 1, 1}, {3, 1, 70}, {2, 35, 70}, {1, 70, 70}};
            for (size_t c = type == SL_KV_F16 ? 0 : 2; c < (type == SL_KV_F16 ? 4 : 3); c++) {
                const uint32_t n_rows = cases[c][1], n_tokens = cases[c][2];
                sl_roofline_rate r;
                assert_int_equal(sl_roofline_attend(f.pool, &f.k, &limits, heads, type, cases[c][0],
                                                    n_rows, n_tokens, &r, &err),
                                 SL_OK);
                assert_true(r.gbps > 0.0 && r.gops > 0.0 && !r.is_memory_bound);
                double seen = 0.0;
                for (uint32_t p = n_tokens - n_rows; p < n_tokens; p++) {
                    seen += window != 0 && p + 1 > window ? window : p + 1;
                }
                const uint32_t least = window != 0 && window + n_rows - 1 < n_tokens
                                           ? window + n_rows - 1
                                           : n_tokens;
                const double bytes = (double)(sl_kv_key_bytes(type, heads[0].d_k) +
                                              sl_kv_value_bytes(type, heads[0].d_v)) /
                                     SL_PAGE_TOKENS * heads[0].n_kv_head * least;
                const double ops = 2.0 * seen * heads[0].n_head * (heads[0].d_k + heads[0].d_v);
                const double ratio = r.gops / r.gbps / (ops / bytes);
                assert_true(ratio > 0.999 && ratio < 1.001);
            }
        }
    }
    sl_roofline_rate r;
    assert_int_equal(
        sl_roofline_attend(f.pool, &f.k, &limits, heads, SL_KV_F32, 1u << 20, 1, 1000, &r, &err),
        SL_ERR_LIMIT);
    assert_non_null(strstr(err.message, "1000 tokens"));
    fixture_close(&f);
}

static void test_limits(void **state) {
    (void)state;
    fixture f;
    fixture_open(&f, 2);
    sl_error err;
    sl_roofline_limits limits;
    assert_int_equal(sl_roofline_measure(f.pool, &f.k, &limits, &err), SL_OK);
    assert_true(limits.read_gbps > 0.0);
    assert_true((limits.int8_gops > 0.0) == (f.k.peak_int8 != NULL));
    assert_true((limits.scaled_gops > 0.0) == (f.k.peak_scaled != NULL));
    assert_true((limits.f32_gops > 0.0) == (f.k.peak_f32 != NULL));
    assert_true((limits.bf16_gops > 0.0) == (f.k.bf16.mul != NULL));
    fixture_close(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shapes),    cmocka_unit_test(test_peaks),
        cmocka_unit_test(test_products),  cmocka_unit_test(test_plain_products),
        cmocka_unit_test(test_attention), cmocka_unit_test(test_limits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
