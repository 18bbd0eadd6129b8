/* Rows of which only the largest logits are wanted: the same numbers as in the whole row, whatever
 * the threads, the other rows, and how many rows are asked for. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <math.h>

#include "base/alloc.h"
#include "engine/engine.h"
#include "tiny_engine.h"

#define N_ROWS 150 /* more than are reduced at a time */
#define VOCAB_MAX 512
#define N_PAGES 40

static const char *const MODELS[] = {
    "tests/golden/quant/llama-quant.Q4_1.gguf",
    "tests/golden/quant/llama-quant.Q4_K_M.gguf",
    "tests/golden/arch/granitemoe/granitemoe.f16.gguf", /* scaled logits */
    "tests/golden/arch/gpt-oss/gpt-oss.f32.gguf",
    NULL, /* 300 tokens: the last panel is not full */
};
enum { N_MODELS = sizeof(MODELS) / sizeof(MODELS[0]) };

typedef struct whole_rows {
    uint32_t n, n_vocab;
    float x[N_ROWS][VOCAB_MAX];
} whole_rows;

static sl_status keep(void *user, uint32_t first, uint32_t n, float *logits, size_t stride,
                      sl_error *err) {
    whole_rows *w = user;
    (void)err;
    assert_int_equal(first, w->n);
    for (uint32_t i = 0; i < n; i++) {
        assert_true(w->n < N_ROWS);
        memcpy(w->x[w->n++], logits + i * stride, w->n_vocab * sizeof(float));
    }
    return SL_OK;
}

/* One sequence of N_ROWS tokens, all rows with logits. */
static sl_status run(sl_engine *e, const int32_t *ids, sl_step_top *tops, whole_rows *whole,
                     sl_error *err) {
    int32_t table[SL_PLAN_GROUPS_MAX][8];
    sl_step_run one = {.n_rows = N_ROWS, .n_logits = N_ROWS, .n_known = N_ROWS};
    int32_t page = 0;
    for (uint32_t g = 0; g < sl_engine_plan(e)->n_groups; g++) {
        for (int i = 0; i < 5; i++) {
            table[g][i] = page++;
        }
        one.tables[g] = table[g];
    }
    const sl_step step = {
        .ids = ids, .n_rows = N_ROWS, .runs = &one, .n_runs = 1, .n_logits = N_ROWS, .tops = tops};
    whole->n = 0;
    whole->n_vocab = sl_engine_plan(e)->n_vocab;
    return sl_engine_step(e, &step, keep, whole, err);
}

static tiny_engine open_engine(const char *path, uint32_t n_threads, bool exact,
                               uint32_t poison_id) {
    tiny_engine t;
    sl_error err;
    const tiny_model_options model = {.seed = 5, .poison_id = poison_id};
    const sl_engine_options options = {
        .n_threads = n_threads, .exact = exact, .batch_invariant = true, .ctx_max = 256};
    if (tiny_engine_open(&t, path, &model, &options, N_PAGES, &err) != SL_OK) {
        fail_msg("%s", err.message);
    }
    return t;
}

static void fill_ids(int32_t *ids, uint32_t n_vocab) {
    for (uint32_t i = 0; i < N_ROWS; i++) {
        ids[i] = (int32_t)(i * 7919u % n_vocab);
    }
}

static int larger_first(const void *a, const void *b) {
    const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x < y) - (x > y);
}

/* Against the whole row. */
static void check_row(const sl_engine *e, const sl_step_top *t, const float *row) {
    static uint64_t keys[VOCAB_MAX];
    const uint32_t n_vocab = sl_engine_plan(e)->n_vocab;
    sl_exp_sum sum = SL_EXP_SUM_NONE;
    for (uint32_t i = 0; i < n_vocab; i++) {
        keys[i] = sl_top_key(row[i], i);
    }
    for (uint32_t i = 0; i < n_vocab; i += SL_TOP_BLOCK) {
        const uint32_t n = n_vocab - i < SL_TOP_BLOCK ? n_vocab - i : SL_TOP_BLOCK;
        sl_exp_sum_add(&sum, sl_exp_sum_of(sl_engine_kernels(e), row + i, n));
    }
    qsort(keys, n_vocab, sizeof(keys[0]), larger_first);
    assert_false(t->top.has_nan);
    assert_int_equal(t->top.n, t->top.n_wanted);
    assert_memory_equal(t->top.keys, keys, t->top.n * sizeof(keys[0]));
    if (t->wants_log_sum) {
        assert_true(fabs(t->log_sum - sl_exp_sum_log(sum)) < 1e-6);
    }
}

/* every: of the rows, each so-many-th is wanted whole (0: none). */
static void compare(const tiny_engine *t, const int32_t *ids, const whole_rows *whole,
                    uint32_t every) {
    static sl_step_top tops[N_ROWS];
    static whole_rows some;
    sl_error err;
    for (uint32_t i = 0; i < N_ROWS; i++) {
        const bool is_whole = every > 0 && i % every == 0;
        tops[i] = (sl_step_top){.top = {.n_wanted = is_whole ? 0 : 1 + i % SL_TOP_MAX},
                                .wants_log_sum = i % 3 == 0};
    }
    const uint64_t before = sl_alloc_violations();
    sl_alloc_lock();
    const sl_status status = run(t->engine, ids, tops, &some, &err);
    sl_alloc_unlock();
    assert_int_equal(status, SL_OK);
    assert_true(sl_alloc_violations() == before);
    uint32_t n = 0;
    for (uint32_t i = 0; i < N_ROWS; i++) {
        if (tops[i].top.n_wanted == 0) {
            assert_memory_equal(some.x[n], whole->x[i], whole->n_vocab * sizeof(float));
            n++;
        } else {
            check_row(t->engine, &tops[i], whole->x[i]);
        }
    }
    assert_int_equal(some.n, n);
}

static void test_the_largest_are_those_of_the_row(void **state) {
    (void)state;
    static whole_rows whole;
    int32_t ids[N_ROWS];
    sl_error err;
    for (int i = 0; i < N_MODELS; i++) {
        for (uint32_t n_threads = 1; n_threads <= 3; n_threads++) {
            const bool exact = i % 2 == 0 && n_threads == 2;
            tiny_engine t = open_engine(MODELS[i], n_threads, exact, 0);
            fill_ids(ids, sl_engine_plan(t.engine)->n_vocab);
            assert_int_equal(run(t.engine, ids, NULL, &whole, &err), SL_OK);
            assert_int_equal(whole.n, N_ROWS);
            compare(&t, ids, &whole, 0);
            compare(&t, ids, &whole, 2);
            tiny_engine_close(&t);
        }
    }
}

/* Mean square of how far logits are from those of float32 arithmetic, over the N_LARGEST largest
 * of each row or over the others. */
#define N_LARGEST 16
static double mean_error(const whole_rows *got, const whole_rows *want, bool of_largest) {
    static uint64_t keys[VOCAB_MAX];
    double sum = 0.0;
    for (uint32_t r = 0; r < N_ROWS; r++) {
        for (uint32_t i = 0; i < got->n_vocab; i++) {
            keys[i] = sl_top_key(got->x[r][i], i);
        }
        qsort(keys, got->n_vocab, sizeof(keys[0]), larger_first);
        for (uint32_t i = of_largest ? 0 : N_LARGEST; i < (of_largest ? N_LARGEST : got->n_vocab);
             i++) {
            const uint32_t id = sl_top_key_id(keys[i]);
            const double apart = (double)got->x[r][id] - (double)want->x[r][id];
            sum += apart * apart;
        }
    }
    return sum / ((double)N_ROWS * (of_largest ? N_LARGEST : got->n_vocab - N_LARGEST));
}

/* The likeliest tokens' last product is computed without rounding, so their logits are nearer to
 * those of float32 arithmetic than others are; what the layers before did to them is left. */
static void test_the_largest_are_not_rounded(void **state) {
    (void)state;
    static whole_rows got, want;
    int32_t ids[N_ROWS];
    sl_error err;
    for (int exact = 0; exact < 2; exact++) {
        tiny_engine t = open_engine(MODELS[0], 2, exact, 0);
        fill_ids(ids, sl_engine_plan(t.engine)->n_vocab);
        assert_int_equal(run(t.engine, ids, NULL, exact ? &want : &got, &err), SL_OK);
        tiny_engine_close(&t);
    }
    assert_true(mean_error(&got, &want, true) < 0.95 * mean_error(&got, &want, false));
}

/* A row that is not a number says so, and leaves those before it alone. */
static void test_not_a_number_is_seen(void **state) {
    (void)state;
    static sl_step_top tops[N_ROWS];
    static whole_rows none;
    int32_t ids[N_ROWS];
    sl_error err;
    tiny_engine t = open_engine(NULL, 2, false, 9);
    fill_ids(ids, 8);
    ids[N_ROWS - 20] = 9;
    for (uint32_t i = 0; i < N_ROWS; i++) {
        tops[i] = (sl_step_top){.top = {.n_wanted = 1 + i % 3}};
    }
    assert_int_equal(run(t.engine, ids, tops, &none, &err), SL_OK);
    assert_int_equal(none.n, 0);
    for (uint32_t i = 0; i < N_ROWS; i++) {
        assert_true(tops[i].top.has_nan == (i >= N_ROWS - 20));
    }
    tops[3].top.n_wanted = SL_TOP_MAX + 1;
    assert_int_equal(run(t.engine, ids, tops, &none, &err), SL_ERR_ARGUMENT);
    tiny_engine_close(&t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_largest_are_those_of_the_row),
        cmocka_unit_test(test_the_largest_are_not_rounded),
        cmocka_unit_test(test_not_a_number_is_seen),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
