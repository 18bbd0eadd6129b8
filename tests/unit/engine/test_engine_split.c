/* Long contexts are cut among the threads, and that changes nothing: three sequences of different
 * lengths, the longest of several blocks of attention, give the same bits alone with one thread and
 * together with many, whatever the chunks of their prompts. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "check_status.h"
#include "measure/feed.h"
#include "tiny_model.h"

#define FILE_BYTES_MAX ((size_t)4 << 20)
#define N_SEQUENCES 3
#define N_TOKENS_MAX 1400
#define N_STEPS 3 /* after the prompts */

static const uint32_t prompt_tokens[N_SEQUENCES] = {1395, 530, 40};

typedef struct rows {
    float logits[N_SEQUENCES][TINY_N_VOCAB];
} rows;

static sl_status keep(void *user, uint32_t first, uint32_t n, float *logits, size_t stride,
                      sl_error *err) {
    rows *out = user;
    (void)err;
    for (uint32_t i = 0; i < n; i++) {
        memcpy(out->logits[first + i], logits + i * stride, sizeof(out->logits[0]));
    }
    return SL_OK;
}

static int32_t token(uint32_t s, uint32_t i) {
    return (int32_t)((i * 37 + s * 101 + i / 7) % (TINY_N_VOCAB - 3) + 3);
}

/* Up to `chunk` tokens more of each of the sequences [s0, s1) below its end; false: none is
 * left. */
static bool step(sl_feed *f, uint32_t s0, uint32_t s1, uint32_t chunk, const uint32_t *end,
                 uint32_t *done, rows *out) {
    int32_t ids[N_SEQUENCES * N_TOKENS_MAX];
    sl_step_run runs[N_SEQUENCES];
    sl_step now = {.ids = ids, .runs = runs};
    sl_error err;
    memset(runs, 0, sizeof(runs));
    for (uint32_t s = s0; s < s1; s++) {
        const uint32_t left = end[s] - done[s], n = left < chunk ? left : chunk;
        if (n == 0) {
            continue;
        }
        sl_step_run *run = &runs[now.n_runs++];
        *run = (sl_step_run){.row_begin = now.n_rows,
                             .n_rows = n,
                             .pos0 = done[s],
                             .n_logits = 1,
                             .n_known = end[s]};
        CHECK(sl_feed_bind(f, s, run, &err));
        for (uint32_t i = 0; i < n; i++) {
            ids[now.n_rows++] = token(s, done[s]++);
        }
        now.n_logits++;
    }
    if (now.n_runs == 0) {
        return false;
    }
    CHECK(sl_engine_step(f->engine, &now, keep, out, &err));
    return true;
}

/* Prompts in chunks, then N_STEPS tokens one by one; out is the last step's. */
static void run_model(const sl_model *model, uint32_t n_threads, uint32_t chunk, uint32_t s0,
                      uint32_t s1, rows *out) {
    sl_engine *engine = NULL;
    sl_feed feed;
    sl_error err;
    const sl_engine_options options = {.n_threads = n_threads,
                                       .kv_bytes = 8u << 20,
                                       .ctx_max = N_TOKENS_MAX,
                                       .rows_max = N_SEQUENCES * N_TOKENS_MAX};
    uint32_t end[N_SEQUENCES], done[N_SEQUENCES] = {0};
    CHECK(sl_engine_create(model, &options, &engine, &err));
    CHECK(sl_feed_init(&feed, engine, N_SEQUENCES, N_TOKENS_MAX, &err));
    memcpy(end, prompt_tokens, sizeof(end));
    while (step(&feed, s0, s1, chunk, end, done, out)) {
    }
    for (uint32_t i = 0; i < N_STEPS; i++) {
        for (uint32_t s = s0; s < s1; s++) {
            end[s]++;
        }
        assert_true(step(&feed, s0, s1, 1, end, done, out));
    }
    sl_feed_deinit(&feed);
    sl_engine_free(engine);
}

static void check_splits(uint32_t n_head, uint32_t n_kv_head) {
    static const uint32_t threads[] = {1, 2, 3, 8};
    const tiny_model_options options = {
        .seed = 11, .n_embd = n_head * 8, .n_head = n_head, .n_kv_head = n_kv_head};
    sl_gguf *file = NULL;
    sl_model *model = NULL;
    sl_buf bytes;
    sl_error err;
    static rows want, got;
    sl_buf_init(&bytes, FILE_BYTES_MAX);
    CHECK(tiny_model_write_buf(&bytes, &options, &err));
    CHECK(sl_gguf_open_memory("split", bytes.data, bytes.len, &file, &err));
    CHECK(sl_model_open(file, &model, &err));
    for (uint32_t s = 0; s < N_SEQUENCES; s++) { /* alone: its only row of logits is the first */
        run_model(model, 1, N_TOKENS_MAX, s, s + 1, &got);
        memcpy(want.logits[s], got.logits[0], sizeof(want.logits[s]));
    }
    for (size_t t = 0; t < sizeof(threads) / sizeof(threads[0]); t++) {
        const uint32_t chunk = t % 2 ? 333 : N_TOKENS_MAX;
        run_model(model, threads[t], chunk, 0, N_SEQUENCES, &got);
        if (memcmp(&got, &want, sizeof(got)) != 0) {
            fail_msg("%u heads on %u, %u threads, %u tokens a step: other logits", n_head,
                     n_kv_head, threads[t], chunk);
        }
        run_model(model, threads[t], 100, 0, 1, &got);
        if (memcmp(got.logits[0], want.logits[0], sizeof(got.logits[0])) != 0) {
            fail_msg("%u heads on %u, %u threads, one sequence: other logits", n_head, n_kv_head,
                     threads[t]);
        }
    }
    sl_model_close(model);
    sl_gguf_close(file);
    sl_buf_deinit(&bytes);
}

static void test_one_kv_head(void **state) {
    (void)state;
    check_splits(16, 1);
}

static void test_three_kv_heads(void **state) {
    (void)state;
    check_splits(6, 3);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_kv_head),
        cmocka_unit_test(test_three_kv_heads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
