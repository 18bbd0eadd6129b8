/* bench counts what it says it counts, and refuses what does not fit. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "measure/bench.h"

static void test_bench(void **state) {
    (void)state;
    sl_gguf *file;
    sl_model *model;
    sl_engine *engine;
    sl_error err;
    assert_int_equal(sl_gguf_open("tests/golden/quant/llama-quant.Q4_1.gguf", &file, &err), SL_OK);
    assert_int_equal(sl_model_open(file, &model, &err), SL_OK);
    const sl_engine_options o = {
        .n_threads = 2, .kv_bytes = 8u << 20, .ctx_max = 128, .rows_max = 24};
    assert_int_equal(sl_engine_create(model, &o, &engine, &err), SL_OK);

    const sl_bench_case c = {.n_batch = 3, .n_depth = 40, .n_prompt = 20, .n_gen = 4, .n_reps = 2};
    assert_int_equal(sl_bench_tokens(&c), 64);
    sl_bench_result r;
    assert_int_equal(sl_bench_run(engine, &c, &r, &err), SL_OK);
    assert_true(r.prompt_tps > 0.0 && r.gen_tps > 0.0);

    const sl_bench_case only_gen = {.n_batch = 1, .n_gen = 4, .n_reps = 1};
    assert_int_equal(sl_bench_run(engine, &only_gen, &r, &err), SL_OK);
    assert_true(r.prompt_tps == 0.0 && r.gen_tps > 0.0);

    /* A window leaves the depth behind: it is computed again for each repetition. */
    sl_engine_free(engine);
    model->plan.groups[0].window = 8;
    assert_int_equal(sl_engine_create(model, &o, &engine, &err), SL_OK);
    const sl_bench_case far = {
        .n_batch = 2, .n_depth = 40, .n_prompt = 50, .n_gen = 2, .n_reps = 2};
    assert_int_equal(sl_bench_run(engine, &far, &r, &err), SL_OK);
    assert_true(r.prompt_tps > 0.0 && r.gen_tps > 0.0);

    const sl_bench_case wide = {.n_batch = 60000, .n_prompt = 100, .n_gen = 1, .n_reps = 1};
    assert_int_equal(sl_bench_run(engine, &wide, &r, &err), SL_ERR_ARGUMENT);
    assert_non_null(strstr(err.message, "60000"));
    sl_engine_free(engine);
    sl_model_close(model);
    sl_gguf_close(file);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_bench)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
