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
        assert_true(shapes[i].is_int8 == (f.k.product[w->type].mul != NULL));
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
        assert_false(shapes[i].is_int8);
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
    fixture_close(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shapes),
        cmocka_unit_test(test_peaks),
        cmocka_unit_test(test_products),
        cmocka_unit_test(test_limits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
