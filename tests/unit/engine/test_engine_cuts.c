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
#include "format/gguf_write.h"
#include "measure/feed.h"
#include "quant/half.h"
#include "tiny_model.h"

#define N_TOKENS 90
#define N_VOCAB_MAX 512
#define FILE_BYTES_MAX ((size_t)16 << 20)
#define BLOCK 32 /* elements of a Q4_1 block */
#define BLOCK_BYTES 20

/* A status that must be SL_OK. */
#define CHECK(call)                                                                                \
    do {                                                                                           \
        if ((call) != SL_OK) {                                                                     \
            fail_msg("%s: %s", #call, err.message);                                                \
        }                                                                                          \
    } while (0)

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

static void put_half(uint8_t *p, float f) {
    const uint16_t h = sl_f32_to_f16(f);
    memcpy(p, &h, sizeof(h));
}

/* One block of Q4_1: the nearest of 16 steps from the least to the largest. */
static void encode_q4_1(const float *x, uint8_t *block) {
    float low = x[0], high = x[0];
    for (int i = 1; i < BLOCK; i++) {
        low = fminf(low, x[i]);
        high = fmaxf(high, x[i]);
    }
    const float d = (high - low) / 15.0f;
    put_half(block, d);
    put_half(block + 2, low);
    for (int i = 0; i < BLOCK / 2; i++) {
        const int a = d > 0.0f ? (int)lrintf((x[i] - low) / d) : 0;
        const int b = d > 0.0f ? (int)lrintf((x[i + BLOCK / 2] - low) / d) : 0;
        block[4 + i] = (uint8_t)(a | b << 4);
    }
}

static bool is_expert_input(const sl_gguf_tensor *t) {
    return t->n_dims == 3 && t->type == SL_TYPE_F16 && t->dims[0] % BLOCK == 0;
}

/* The model in `from` with the matrices that its experts' input meets in Q4_1. */
static void write_experts(sl_buf *dest, const sl_gguf *from) {
    sl_gguf_writer *w = NULL;
    sl_error err;
    uint32_t n_rewritten = 0;
    sl_buf_init(dest, FILE_BYTES_MAX);
    CHECK(sl_gguf_writer_create_buf(dest, 32, &w, &err));
    for (uint64_t i = 0; i < sl_gguf_n_kv(from); i++) {
        const sl_gguf_kv *kv = sl_gguf_kv_at(from, i);
        CHECK(sl_gguf_writer_raw(w, kv->key, kv->type, sl_gguf_stored_value(from, kv), &err));
    }
    for (uint64_t i = 0; i < sl_gguf_n_tensors(from); i++) {
        const sl_gguf_tensor *t = sl_gguf_tensor_at(from, i);
        char name[65];
        (void)snprintf(name, sizeof(name), "%.*s", (int)t->name.len, t->name.ptr);
        CHECK(sl_gguf_writer_tensor(w, name, is_expert_input(t) ? SL_TYPE_Q4_1 : t->type, t->n_dims,
                                    t->dims, &err));
    }
    for (uint64_t i = 0; i < sl_gguf_n_tensors(from); i++) {
        const sl_gguf_tensor *t = sl_gguf_tensor_at(from, i);
        if (!is_expert_input(t)) {
            CHECK(sl_gguf_writer_data(w, t->data, t->size_bytes, &err));
            continue;
        }
        const uint64_t n_blocks = t->dims[0] * t->dims[1] * t->dims[2] / BLOCK;
        for (uint64_t b = 0; b < n_blocks; b++) {
            float x[BLOCK];
            uint8_t block[BLOCK_BYTES];
            sl_type_decode_row(SL_TYPE_F16, t->data + b * BLOCK * sizeof(uint16_t), x, BLOCK);
            encode_q4_1(x, block);
            CHECK(sl_gguf_writer_data(w, block, sizeof(block), &err));
        }
        n_rewritten++;
    }
    CHECK(sl_gguf_writer_finish(w, &err));
    sl_gguf_writer_free(w);
    assert_true(n_rewritten > 0);
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
    CHECK(sl_gguf_open("tests/golden/arch/granitemoe/granitemoe.f16.gguf", &golden, &err));
    write_experts(&bytes, golden);
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
