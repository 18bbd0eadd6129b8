/* How a step's work is cut does not matter: one KV head whose query heads are parted among threads,
 * short phases that one worker does for all, and experts whose rows were rounded before they were
 * copied. Logits have the same bits with any number of threads and any chunk. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "check_status.h"
#include "expert_model.h"
#include "measure/feed.h"
#include "tiny_model.h"

#define N_TOKENS 90
#define N_VOCAB_MAX 512
#define FILE_BYTES_MAX ((size_t)16 << 20)

typedef struct last_row {
    uint32_t n_vocab;
    float logits[N_VOCAB_MAX];
} last_row;

static sl_status keep(void *user, uint32_t first, uint32_t n, float *logits, size_t stride,
                      sl_error *err) {
    last_row *row = user;
    (void)first;
    (void)stride;
    (void)err;
    assert_int_equal(n, 1);
    memcpy(row->logits, logits, row->n_vocab * sizeof(float));
    return SL_OK;
}

static void run_model(const sl_gguf *file, uint32_t n_threads, bool exact, uint32_t chunk,
                      last_row *out) {
    sl_model *model = NULL;
    sl_engine *engine = NULL;
    sl_feed feed;
    sl_error err;
    int32_t ids[N_TOKENS];
    const sl_engine_options options = {.n_threads = n_threads,
                                       .exact = exact,
                                       .batch_invariant = true,
                                       .kv_bytes = 4u << 20,
                                       .ctx_max = 128};
    CHECK(sl_model_open(file, &model, &err));
    CHECK(sl_engine_create(model, &options, &engine, &err));
    CHECK(sl_feed_init(&feed, engine, 1, N_TOKENS, &err));
    for (uint32_t i = 0; i < N_TOKENS; i++) {
        ids[i] = (int32_t)((i * 37 + 5) % out->n_vocab);
    }
    for (uint32_t i = 0; i < N_TOKENS; i += chunk) {
        const uint32_t n = N_TOKENS - i < chunk ? N_TOKENS - i : chunk;
        CHECK(sl_feed_tokens(&feed, ids + i, n, i, SL_FEED_LAST, keep, out, &err));
    }
    sl_feed_deinit(&feed);
    sl_engine_free(engine);
    sl_model_close(model);
}

static void check_cuts(const sl_gguf *file, uint32_t n_vocab) {
    static const uint32_t chunks[] = {1, 2, 5, N_TOKENS};
    last_row want = {.n_vocab = n_vocab}, got = want;
    run_model(file, 1, false, N_TOKENS, &want);
    for (uint32_t n_threads = 1; n_threads <= 4; n_threads++) {
        for (size_t c = 0; c < sizeof(chunks) / sizeof(chunks[0]); c++) {
            run_model(file, n_threads, false, chunks[c], &got);
            for (uint32_t i = 0; i < n_vocab; i++) {
                assert_true(isfinite(got.logits[i]));
            }
            if (memcmp(got.logits, want.logits, n_vocab * sizeof(float)) != 0) {
                fail_msg("%u threads, %u tokens a step: other logits", n_threads, chunks[c]);
            }
        }
    }
}

static void test_heads_of_one_kv_head(void **state) {
    (void)state;
    static const uint32_t n_heads[] = {2, 3, 16, 32};
    for (size_t i = 0; i < sizeof(n_heads) / sizeof(n_heads[0]); i++) {
        const tiny_model_options options = {
            .seed = 7, .n_embd = n_heads[i] * 8, .n_head = n_heads[i], .n_kv_head = 1};
        sl_gguf *file = NULL;
        sl_buf bytes;
        sl_error err;
        sl_buf_init(&bytes, FILE_BYTES_MAX);
        CHECK(tiny_model_write_buf(&bytes, &options, &err));
        CHECK(sl_gguf_open_memory("heads", bytes.data, bytes.len, &file, &err));
        check_cuts(file, TINY_N_VOCAB);
        sl_gguf_close(file);
        sl_buf_deinit(&bytes);
    }
}

/* Rounding moves the logits a little; a row with another row's scales moves them far. */
static void check_near_exact(const sl_gguf *file, uint32_t n_vocab) {
    last_row exact = {.n_vocab = n_vocab}, rounded = exact;
    run_model(file, 2, true, N_TOKENS, &exact);
    run_model(file, 2, false, N_TOKENS, &rounded);
    double diff = 0.0, all = 0.0;
    for (uint32_t i = 0; i < n_vocab; i++) {
        const double x = exact.logits[i], d = (double)rounded.logits[i] - x;
        diff += d * d;
        all += x * x;
    }
    if (!(sqrt(diff / all) < 0.02)) {
        fail_msg("logits are %g of their size from the exact ones", sqrt(diff / all));
    }
}

static void test_rounded_rows_of_experts(void **state) {
    (void)state;
    sl_gguf *golden = NULL, *file = NULL;
    sl_buf bytes;
    sl_error err;
    sl_buf_init(&bytes, FILE_BYTES_MAX);
    CHECK(sl_gguf_open("tests/golden/arch/granitemoe/granitemoe.f16.gguf", &golden, &err));
    CHECK(experts_write_q4_1(&bytes, golden, &err));
    CHECK(sl_gguf_open_memory("experts", bytes.data, bytes.len, &file, &err));
    check_cuts(file, 512);
    check_near_exact(file, 512);
    sl_gguf_close(file);
    sl_gguf_close(golden);
    sl_buf_deinit(&bytes);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_heads_of_one_kv_head),
        cmocka_unit_test(test_rounded_rows_of_experts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
