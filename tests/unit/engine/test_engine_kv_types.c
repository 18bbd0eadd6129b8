/* Every type of KV memory with every kind of attention: near what float32 gives, and a row's logits
 * depend neither on chunks, nor threads, nor the other sequences. The models' weights are floats
 * and so are their activations: only KV is rounded. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "measure/feed.h"

static const char *const MODELS[] = {
    "tests/golden/arch/llama-rope-yarn/llama-rope-yarn.f16.gguf",
    "tests/golden/arch/gpt-oss/gpt-oss.f32.gguf",               /* windows of 24, sinks */
    "tests/golden/arch/bloom/bloom.f16.gguf",                   /* ALiBi */
    "tests/golden/arch/deepseek2-lite/deepseek2-lite.f16.gguf", /* latent: d_k is not d_v */
    "tests/golden/arch/granitemoe/granitemoe.f16.gguf",
};
enum { N_MODELS = sizeof(MODELS) / sizeof(MODELS[0]), N_VOCAB = 512, N_TOKENS = 120, N_SEQ = 3 };

/* The distance of the logits from those with float32, as a share of their size. */
static const double BOUND[SL_KV_TYPE_COUNT] = {[SL_KV_F16] = 3e-3,
                                               [SL_KV_F32] = 0.0,
                                               [SL_KV_BF16] = 2e-2,
                                               [SL_KV_INT8] = 3e-2,
                                               [SL_KV_INT4] = 0.4};

typedef struct kept_rows {
    float rows[N_SEQ][N_VOCAB];
} kept_rows;

static sl_status keep(void *user, uint32_t first, uint32_t n, float *logits, size_t stride,
                      sl_error *err) {
    kept_rows *k = user;
    (void)err;
    for (uint32_t i = 0; i < n; i++) {
        assert_true(first + i < N_SEQ);
        memcpy(k->rows[first + i], logits + i * stride, sizeof(k->rows[0]));
    }
    return SL_OK;
}

/* The last logits of n_seq equal sequences, `chunk` tokens a step. */
static void run_model(const sl_model *model, sl_kv_type type, uint32_t n_threads, uint32_t n_seq,
                      uint32_t chunk, kept_rows *out) {
    const sl_engine_options o = {.n_threads = n_threads,
                                 .batch_invariant = true,
                                 .kv_type = type,
                                 .kv_bytes = 16u << 20,
                                 .ctx_max = 128};
    int32_t ids[N_SEQ * N_TOKENS];
    sl_engine *e;
    sl_feed feed;
    sl_error err;
    assert_int_equal(sl_engine_create(model, &o, &e, &err), SL_OK);
    assert_int_equal(sl_engine_kv_type(e), type);
    assert_int_equal(sl_feed_init(&feed, e, n_seq, N_TOKENS, &err), SL_OK);
    for (uint32_t i = 0; i < N_TOKENS; i += chunk) {
        const uint32_t take = N_TOKENS - i < chunk ? N_TOKENS - i : chunk;
        for (uint32_t s = 0; s < n_seq; s++) {
            for (uint32_t t = 0; t < take; t++) {
                ids[s * take + t] = (int32_t)((i + t) * 2654435761u >> 16) % N_VOCAB;
            }
        }
        assert_int_equal(sl_feed_tokens(&feed, ids, take, i, SL_FEED_LAST, keep, out, &err), SL_OK);
    }
    sl_feed_deinit(&feed);
    sl_engine_free(e);
}

static double distance(const float *got, const float *want) {
    double size = 0.0, sum = 0.0;
    for (int i = 0; i < N_VOCAB; i++) {
        const double d = (double)got[i] - (double)want[i];
        sum += d * d;
        size += (double)want[i] * (double)want[i];
    }
    return sqrt(sum / size);
}

static void check_model(const char *path) {
    sl_gguf *file;
    sl_model *model;
    sl_error err;
    assert_int_equal(sl_gguf_open(path, &file, &err), SL_OK);
    assert_int_equal(sl_model_open(file, &model, &err), SL_OK);
    static kept_rows want, whole, other;
    run_model(model, SL_KV_F32, 2, 1, N_TOKENS, &want);
    for (int i = 0; i < SL_KV_TYPE_COUNT; i++) {
        const sl_kv_type type = (sl_kv_type)i;
        run_model(model, type, 1, 1, N_TOKENS, &whole);
        const double off = distance(whole.rows[0], want.rows[0]);
        if (!(off <= BOUND[type])) {
            fail_msg("%s: KV in %s puts the logits %g of their size off", path,
                     sl_kv_type_name(type), off);
        }
        if (type != SL_KV_F32) { /* it is this type's pages that were read */
            assert_true(off > 0.0);
        }
        run_model(model, type, 3, 1, 7, &other);
        assert_memory_equal(whole.rows[0], other.rows[0], sizeof(whole.rows[0]));
        run_model(model, type, 2, N_SEQ, 50, &other);
        for (int s = 0; s < N_SEQ; s++) {
            assert_memory_equal(whole.rows[0], other.rows[s], sizeof(whole.rows[0]));
        }
    }
    sl_model_close(model);
    sl_gguf_close(file);
}

static void test_every_type_with_every_model(void **state) {
    (void)state;
    for (int i = 0; i < N_MODELS; i++) {
        check_model(MODELS[i]);
    }
}

/* d_k = d_v = 64: a byte and a scale per row, half a byte and two short scales per 32 elements. The
 * pool has room for more pages accordingly. */
static void test_pages_follow_the_type(void **state) {
    (void)state;
    static const uint32_t row_bytes[SL_KV_TYPE_COUNT] = {[SL_KV_F16] = 128,
                                                         [SL_KV_F32] = 256,
                                                         [SL_KV_BF16] = 128,
                                                         [SL_KV_INT8] = 68,
                                                         [SL_KV_INT4] = 40};
    sl_gguf *file;
    sl_model *model;
    sl_error err;
    assert_int_equal(sl_gguf_open("tests/golden/quant/llama-quant.Q4_1.gguf", &file, &err), SL_OK);
    assert_int_equal(sl_model_open(file, &model, &err), SL_OK);
    const sl_plan_group *g = &model->plan.groups[0];
    assert_int_equal(g->d_k, 64);
    assert_int_equal(g->d_v, 64);
    for (int i = 0; i < SL_KV_TYPE_COUNT; i++) {
        const sl_engine_options o = {
            .n_threads = 1, .kv_type = (sl_kv_type)i, .kv_bytes = 1u << 20, .ctx_max = 64};
        sl_engine_memory m;
        assert_int_equal(sl_engine_estimate(model, &o, &m, &err), SL_OK);
        assert_int_equal(m.page_bytes,
                         2 * SL_PAGE_TOKENS * row_bytes[i] * g->n_kv_head * g->n_layers);
        assert_int_equal(m.n_pages, (1u << 20) / m.page_bytes);
    }
    sl_model_close(model);
    sl_gguf_close(file);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_type_with_every_model),
        cmocka_unit_test(test_pages_follow_the_type),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
