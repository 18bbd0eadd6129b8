/* Products and attention on tiles in a program (emulated where the machine has none): which rows go
 * through them, what forbids them, and that neither threads nor blocks matter there. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "amx_table.h"
#include "check_status.h"
#include "device/cpu/cpu_device.h"
#include "device/cpu/cpu_program.h"
#include "expert_model.h"
#include "model/model.h"

#define N_TOKENS 130 /* enough for two blocks of rows on tiles */
#define N_VOCAB 512
#define FAR 0.05 /* what rounding to BF16 may make of the logits of these small models */
#define N_PAGES 16
#define SEQ_PAGES ((N_TOKENS + SL_PAGE_TOKENS - 1) / SL_PAGE_TOKENS)

static const char *const paths[] = {
    "tests/golden/quant/llama-quant.Q4_1.gguf", "tests/golden/quant/llama-quant.Q4_K_M.gguf",
    "tests/golden/arch/llama-rope-yarn/llama-rope-yarn.f16.gguf",
    "tests/golden/arch/deepseek2-lite/deepseek2-lite.f16.gguf", /* experts, also a shared one */
    "tests/golden/arch/granitemoe/granitemoe.f16.gguf"};        /* experts */
enum {
    N_PATHS = sizeof(paths) / sizeof(paths[0]),
    N_MODELS = N_PATHS + 1,     /* the last one is the granitemoe with experts in Q4_1, */
    INT8_EXPERTS = N_MODELS - 1 /* whose input is rounded before it goes to them */
};
static sl_gguf *models[N_MODELS];
static sl_buf experts_bytes;

typedef struct pass {
    uint32_t n_threads, chunk, rows_min; /* rows_min 0: without products on tiles */
    bool exact, batch_invariant;
} pass;

static float last[N_VOCAB];
static uint32_t n_few, n_many; /* experts of the last step's last layer, by their rows */

static sl_status keep(void *user, uint32_t first, uint32_t n, float *logits, size_t stride,
                      sl_error *err) {
    (void)user, (void)first, (void)stride, (void)err;
    assert_int_equal(n, 1);
    memcpy(last, logits, sizeof(last));
    return SL_OK;
}

/* Panels of all x86 levels are the same, so they serve the table of any. */
static bool set_tiles(sl_kernels *k, uint32_t rows_min) {
    if (rows_min == 0) {
        k->amx = (sl_product_amx){0};
        k->attend_amx = (sl_attend_amx){0};
        return true;
    }
    for (uint32_t i = 0; k->amx.mul == NULL && k->isa != SL_ISA_REF && i < AMX_WAYS; i++) {
        if (amx_way(i) != NULL) {
            amx_way(i)(k);
        }
    }
    k->amx.rows_min = rows_min;
    if (k->bf16.round_row == NULL) {
        sl_product_bf16 ref;
        sl_product_bf16_ref(&ref);
        k->bf16.round_row = ref.round_row;
    }
    return k->amx.mul != NULL;
}

static void count_experts(const sl_program *p) {
    n_few = n_many = 0;
    for (uint32_t i = 0; i < p->choices.n_active; i++) {
        const uint32_t *begin = p->choices.begin + p->choices.active[i];
        *(begin[1] - begin[0] < p->tiles_rows ? &n_few : &n_many) += 1;
    }
}

/* Logits after the last of N_TOKENS tokens of one sequence. */
static void run_model(const sl_gguf *file, const pass *how, float out[N_VOCAB]) {
    sl_model *model = NULL;
    sl_device *device = NULL;
    sl_program *program = NULL;
    sl_error err;
    int32_t ids[N_TOKENS], tables[SL_PLAN_GROUPS_MAX][SEQ_PAGES];
    CHECK(sl_model_open(file, &model, &err));
    assert_true(model->plan.n_groups * SEQ_PAGES <= N_PAGES);
    CHECK(sl_cpu_device_create(how->n_threads, false, NULL, &device, &err));
    assert_true(set_tiles(&((struct sl_cpu_device *)device)->kernels, how->rows_min));
    const sl_program_options options = {.exact = how->exact,
                                        .batch_invariant = how->batch_invariant,
                                        .rows_max = N_TOKENS,
                                        .runs_max = 1,
                                        .n_pages = N_PAGES};
    CHECK(device->ops->compile(device, &model->plan, &options, &program, &err));
    for (uint32_t i = 0; i < N_TOKENS; i++) {
        ids[i] = (int32_t)((i * 37 + 5) % N_VOCAB);
    }
    for (int32_t i = 0; i < SL_PLAN_GROUPS_MAX * SEQ_PAGES; i++) {
        tables[i / SEQ_PAGES][i % SEQ_PAGES] = i;
    }
    for (uint32_t i = 0; i < N_TOKENS; i += how->chunk) {
        const uint32_t n = N_TOKENS - i < how->chunk ? N_TOKENS - i : how->chunk;
        sl_step_run run = {.n_rows = n, .pos0 = i, .n_logits = 1, .n_known = N_TOKENS};
        for (uint32_t g = 0; g < model->plan.n_groups; g++) {
            run.tables[g] = tables[g];
        }
        const sl_step step = {
            .ids = ids + i, .n_rows = n, .runs = &run, .n_runs = 1, .n_logits = 1};
        CHECK(device->ops->run(program, &step, keep, NULL, &err));
    }
    memcpy(out, last, sizeof(last));
    count_experts(program);
    device->ops->program_free(program);
    device->ops->free(device);
    sl_model_close(model);
}

static bool same(const float *a, const float *b) {
    return memcmp(a, b, N_VOCAB * sizeof(float)) == 0;
}

/* Root mean square of the difference, as a share of b's. */
static double distance(const float *a, const float *b) {
    double diff = 0.0, all = 0.0;
    for (uint32_t i = 0; i < N_VOCAB; i++) {
        diff += ((double)a[i] - b[i]) * ((double)a[i] - b[i]);
        all += (double)b[i] * b[i];
    }
    return sqrt(diff / all);
}

/* Many rows take the tiles, few do not, and the result stays near the exact one; with experts that
 * get some few and some many rows. */
static void test_many_rows_take_tiles(void **state) {
    (void)state;
    for (int i = 0; i < N_MODELS; i++) {
        float plain[N_VOCAB], exact[N_VOCAB], tiles[N_VOCAB], few[N_VOCAB];
        run_model(models[i], &(pass){.n_threads = 2, .chunk = N_TOKENS}, plain);
        run_model(models[i], &(pass){.n_threads = 2, .chunk = N_TOKENS, .exact = true}, exact);
        run_model(models[i], &(pass){.n_threads = 2, .chunk = N_TOKENS, .rows_min = 24}, tiles);
        run_model(models[i], &(pass){.n_threads = 2, .chunk = 23, .rows_min = 24}, few);
        assert_false(same(plain, tiles));
        assert_true(same(plain, few));
        if (!(distance(tiles, exact) < FAR)) {
            fail_msg("model %d: %g of their size from the exact logits", i, distance(tiles, exact));
        }
    }
}

static void test_flags_forbid_tiles(void **state) {
    (void)state;
    for (int i = 0; i < N_MODELS; i++) {
        for (int exact = 0; exact < 2; exact++) {
            float want[N_VOCAB], got[N_VOCAB];
            pass how = {.n_threads = 2, .chunk = N_TOKENS, .exact = exact == 1};
            run_model(models[i], &how, want);
            how.rows_min = 24;
            how.batch_invariant = exact == 0;
            run_model(models[i], &how, got);
            assert_true(same(want, got));
        }
    }
}

static void test_threads_do_not_matter(void **state) {
    (void)state;
    for (int i = 0; i < N_MODELS; i++) {
        for (uint32_t chunk = 50; chunk <= N_TOKENS; chunk += 80) {
            float want[N_VOCAB], got[N_VOCAB];
            pass how = {.n_threads = 1, .chunk = chunk, .rows_min = 16};
            run_model(models[i], &how, want);
            for (how.n_threads = 3; how.n_threads <= 16; how.n_threads += 13) {
                run_model(models[i], &how, got);
                assert_true(same(want, got));
            }
        }
    }
}

/* Experts that many rows go to take tiles, in the same step others do not. */
static void test_experts_of_few_and_many_rows(void **state) {
    (void)state;
    for (int i = 3; i < N_MODELS; i++) {
        float exact[N_VOCAB], got[N_VOCAB];
        uint32_t n_mixed = 0;
        run_model(models[i], &(pass){.n_threads = 2, .chunk = N_TOKENS, .exact = true}, exact);
        for (uint32_t rows_min = 20; rows_min < N_TOKENS; rows_min += 30) {
            pass how = {.n_threads = 2, .chunk = N_TOKENS, .rows_min = rows_min};
            run_model(models[i], &how, got);
            n_mixed += n_few > 0 && n_many > 0;
            if (!(distance(got, exact) < FAR)) {
                fail_msg("model %d, tiles from %u rows: %g of their size from the exact logits", i,
                         rows_min, distance(got, exact));
            }
        }
        assert_true(n_mixed > 0);
    }
}

/* Of steps that are all many, how they are cut does not matter either. */
static void test_chunks_of_many_do_not_matter(void **state) {
    (void)state;
    float want[N_VOCAB], got[N_VOCAB];
    run_model(models[0], &(pass){.n_threads = 2, .chunk = N_TOKENS, .rows_min = 10}, want);
    run_model(models[0], &(pass){.n_threads = 2, .chunk = 70, .rows_min = 10}, got);
    assert_true(same(want, got));
}

static int open_models(void **state) {
    (void)state;
    sl_error err;
    for (int i = 0; i < N_PATHS; i++) {
        if (sl_gguf_open(paths[i], &models[i], &err) != SL_OK) {
            return -1;
        }
    }
    sl_buf_init(&experts_bytes, (size_t)16 << 20);
    return experts_write_q4_1(&experts_bytes, models[N_PATHS - 1], &err) == SL_OK &&
                   sl_gguf_open_memory("experts", experts_bytes.data, experts_bytes.len,
                                       &models[INT8_EXPERTS], &err) == SL_OK
               ? 0
               : -1;
}

static int close_models(void **state) {
    (void)state;
    for (int i = 0; i < N_MODELS; i++) {
        sl_gguf_close(models[i]);
    }
    sl_buf_deinit(&experts_bytes);
    return 0;
}

int main(void) {
    sl_kernels k;
    sl_kernels_init(&k, sl_cpu_isa());
    if (!set_tiles(&k, 1)) {
        return 77; /* skipped */
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_many_rows_take_tiles),
        cmocka_unit_test(test_flags_forbid_tiles),
        cmocka_unit_test(test_threads_do_not_matter),
        cmocka_unit_test(test_experts_of_few_and_many_rows),
        cmocka_unit_test(test_chunks_of_many_do_not_matter),
    };
    return cmocka_run_group_tests(tests, open_models, close_models);
}
