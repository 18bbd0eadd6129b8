/* The engine's promises: a row's logits do not depend on threads, nor, batch-invariant, on the
 * other rows or on chunks; wrong steps are errors, and a step allocates nothing. */
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "measure/feed.h"

#define MODEL_COUNT 6
static const char *const MODELS[MODEL_COUNT] = {
    "tests/golden/arch/llama-rope-yarn/llama-rope-yarn.f16.gguf", /* generic product */
    "tests/golden/quant/llama-quant.Q4_1.gguf",                   /* int8 products */
    "tests/golden/quant/llama-quant.Q4_K_M.gguf",
    "tests/golden/arch/gpt-oss/gpt-oss.f32.gguf", /* windows of 24, experts, sinks */
    "tests/golden/arch/granitemoe/granitemoe.f16.gguf",
    "tests/golden/arch/deepseek2-lite/deepseek2-lite.f16.gguf", /* latent attention */
};
#define N_VOCAB 512
#define GROUPS_MAX 2 /* of these models */
#define N_TOKENS 150

typedef struct opened {
    sl_gguf *file;
    sl_model *model;
    sl_engine *engine;
} opened;

static opened open_model(const char *path, sl_engine_options o) {
    opened m;
    sl_error err;
    o.kv_bytes = o.kv_bytes == 0 ? 8u << 20 : o.kv_bytes;
    o.ctx_max = o.ctx_max == 0 ? 256 : o.ctx_max;
    if (sl_gguf_open(path, &m.file, &err) != SL_OK ||
        sl_model_open(m.file, &m.model, &err) != SL_OK ||
        sl_engine_create(m.model, &o, &m.engine, &err) != SL_OK) {
        fail_msg("%s: %s", path, err.message);
    }
    return m;
}

static void close_model(opened *m) {
    sl_engine_free(m->engine);
    sl_model_close(m->model);
    sl_gguf_close(m->file);
}

static void fill_ids(int32_t *ids, uint32_t n, uint32_t seed) {
    for (uint32_t i = 0; i < n; i++) {
        seed = seed * 1664525u + 1013904223u;
        ids[i] = (int32_t)(seed >> 16) % N_VOCAB;
    }
}

typedef struct rows_kept {
    float rows[8][N_VOCAB];
} rows_kept;

static sl_status keep(void *user, uint32_t first, uint32_t n, float *logits, size_t stride,
                      sl_error *err) {
    rows_kept *k = user;
    (void)err;
    for (uint32_t i = 0; i < n; i++) {
        assert_true(first + i < 8);
        memcpy(k->rows[first + i], logits + i * stride, sizeof(k->rows[0]));
    }
    return SL_OK;
}

/* Last logits of one sequence, fed `chunk` tokens a step. */
static void last_logits(sl_engine *e, const int32_t *ids, uint32_t n, uint32_t chunk, float *out) {
    sl_feed feed;
    sl_error err;
    rows_kept kept;
    assert_int_equal(sl_feed_init(&feed, e, 1, n, &err), SL_OK);
    for (uint32_t i = 0; i < n; i += chunk) {
        uint32_t take = n - i < chunk ? n - i : chunk;
        assert_int_equal(sl_feed_tokens(&feed, ids + i, take, i, SL_FEED_LAST, keep, &kept, &err),
                         SL_OK);
    }
    memcpy(out, kept.rows[0], sizeof(kept.rows[0]));
    sl_feed_deinit(&feed);
}

static void test_chunks_do_not_matter(void **state) {
    (void)state;
    int32_t ids[N_TOKENS];
    fill_ids(ids, N_TOKENS, 1);
    for (int exact = 0; exact < 2; exact++) {
        for (int i = 0; i < MODEL_COUNT; i++) {
            opened m = open_model(
                MODELS[i],
                (sl_engine_options){.n_threads = 2, .exact = exact == 1, .batch_invariant = true});
            float whole[N_VOCAB], pieces[N_VOCAB];
            last_logits(m.engine, ids, N_TOKENS, N_TOKENS, whole);
            static const uint32_t chunks[] = {1, 7, 32, 149};
            for (int c = 0; c < 4; c++) {
                last_logits(m.engine, ids, N_TOKENS, chunks[c], pieces);
                assert_memory_equal(whole, pieces, sizeof(whole));
            }
            close_model(&m);
        }
    }
}

static void test_threads_do_not_matter(void **state) {
    (void)state;
    int32_t ids[N_TOKENS];
    fill_ids(ids, N_TOKENS, 2);
    for (int i = 0; i < MODEL_COUNT; i++) {
        float first[N_VOCAB], other[N_VOCAB];
        for (uint32_t n_threads = 1; n_threads <= 5; n_threads += 2) {
            opened m = open_model(MODELS[i], (sl_engine_options){.n_threads = n_threads});
            last_logits(m.engine, ids, N_TOKENS, 64, n_threads == 1 ? first : other);
            close_model(&m);
            if (n_threads > 1) {
                assert_memory_equal(first, other, sizeof(first));
            }
        }
    }
}

/* Five sequences of different lengths in steps that mix prefill chunks and decodes, against each
 * alone. */
static void test_batch_does_not_matter(void **state) {
    (void)state;
    static const uint32_t lengths[5] = {1, 150, 33, 64, 97};
    int32_t ids[5][N_TOKENS];
    for (int i = 0; i < MODEL_COUNT; i++) {
        opened m = open_model(MODELS[i],
                              (sl_engine_options){.n_threads = 2, .batch_invariant = true});
        float alone[5][N_VOCAB];
        for (uint32_t s = 0; s < 5; s++) {
            fill_ids(ids[s], lengths[s], 10 + s);
            last_logits(m.engine, ids[s], lengths[s], lengths[s], alone[s]);
        }
        int32_t tables[5][GROUPS_MAX][5], step_ids[512];
        const uint32_t n_groups = m.model->plan.n_groups;
        assert_true(n_groups <= GROUPS_MAX);
        uint32_t at[5] = {0};
        rows_kept kept;
        for (uint32_t turn = 0; turn < 200; turn++) {
            sl_step_run runs[5];
            sl_step step = {.ids = step_ids, .runs = runs};
            for (uint32_t s = 0; s < 5; s++) {
                uint32_t left = lengths[s] - at[s];
                uint32_t take = left < s * 7 + 1 ? left : s * 7 + 1;
                if (take == 0) {
                    continue;
                }
                sl_step_run *run = &runs[step.n_runs++];
                *run = (sl_step_run){.row_begin = step.n_rows,
                                     .n_rows = take,
                                     .pos0 = at[s],
                                     .n_logits = take == left,
                                     .n_known = lengths[s],
                                     .owner = s};
                for (uint32_t p = 0; p < 5 * n_groups; p++) {
                    tables[s][p / 5][p % 5] = (int32_t)(s * 5 * n_groups + p);
                    run->tables[p / 5] = tables[s][p / 5];
                }
                memcpy(step_ids + step.n_rows, ids[s] + at[s], take * sizeof(int32_t));
                step.n_rows += take;
                step.n_logits += take == left;
                at[s] += take;
            }
            if (step.n_rows == 0) {
                break;
            }
            sl_error err;
            assert_int_equal(sl_engine_step(m.engine, &step, keep, &kept, &err), SL_OK);
            uint32_t row = 0;
            for (uint32_t r = 0; r < step.n_runs; r++) {
                if (runs[r].n_logits == 1) {
                    assert_memory_equal(kept.rows[row++], alone[runs[r].owner],
                                        sizeof(kept.rows[0]));
                }
            }
        }
        for (uint32_t s = 0; s < 5; s++) {
            assert_int_equal(at[s], lengths[s]);
        }
        close_model(&m);
    }
}

static void expect_refused(sl_engine *e, const sl_step *step, const char *word) {
    sl_error err;
    rows_kept kept;
    assert_int_equal(sl_engine_step(e, step, keep, &kept, &err), SL_ERR_ARGUMENT);
    if (strstr(err.message, word) == NULL) {
        fail_msg("the message should speak of \"%s\": %s", word, err.message);
    }
}

static void test_wrong_steps_are_refused(void **state) {
    (void)state;
    opened m = open_model(MODELS[0],
                          (sl_engine_options){.n_threads = 1, .rows_max = 16, .runs_max = 2});
    int32_t ids[32] = {0}, table[16] = {0};
    sl_step_run runs[4] = {{.n_rows = 4, .n_logits = 1, .n_known = 4, .tables = {table}}};
    const sl_step good = {.ids = ids, .n_rows = 4, .runs = runs, .n_runs = 1, .n_logits = 1};
    sl_error err;
    rows_kept kept;
    assert_int_equal(sl_engine_step(m.engine, &good, keep, &kept, &err), SL_OK);
    assert_int_equal(sl_engine_step(m.engine, &good, NULL, NULL, &err), SL_ERR_ARGUMENT);

    sl_step bad = good;
    bad.n_rows = 0;
    expect_refused(m.engine, &bad, "rows");
    bad.n_rows = 17;
    expect_refused(m.engine, &bad, "rows");
    bad = good;
    bad.n_runs = 3;
    expect_refused(m.engine, &bad, "runs");
    bad = good;
    bad.n_logits = 2;
    expect_refused(m.engine, &bad, "add up");
    runs[0].n_logits = 5;
    expect_refused(m.engine, &good, "logits");
    runs[0].n_logits = 1;
    runs[0].pos0 = 253;
    expect_refused(m.engine, &good, "context");
    runs[0].pos0 = UINT32_MAX - 1;
    expect_refused(m.engine, &good, "context");
    runs[0].pos0 = 0;
    runs[0].n_rows = 5; /* more than the step has */
    expect_refused(m.engine, &good, "run");
    runs[0].n_rows = 4;
    runs[0].row_begin = 1;
    expect_refused(m.engine, &good, "run");
    runs[0].row_begin = 0;
    runs[0].n_known = 3; /* fewer than it brings */
    expect_refused(m.engine, &good, "known");
    runs[0].n_known = 4;
    table[0] = (int32_t)sl_engine_n_pages(m.engine);
    expect_refused(m.engine, &good, "page");
    table[0] = -1;
    expect_refused(m.engine, &good, "page");
    table[0] = 0;
    ids[3] = N_VOCAB;
    expect_refused(m.engine, &good, "512");
    ids[3] = -1;
    expect_refused(m.engine, &good, "-1");
    ids[3] = 0;
    assert_int_equal(sl_engine_step(m.engine, &good, keep, &kept, &err), SL_OK);
    m.model->plan.is_encoder = true;
    runs[0].n_known = 5; /* a part of a sequence */
    expect_refused(m.engine, &good, "encoder");
    runs[0].pos0 = 1;
    expect_refused(m.engine, &good, "encoder");
    close_model(&m);
}

static sl_status refuse(void *user, uint32_t first, uint32_t n, float *logits, size_t stride,
                        sl_error *err) {
    (void)first, (void)n, (void)logits, (void)stride, (void)err;
    ++*(int *)user;
    return SL_ERR_CANCELLED;
}

/* More logits rows than a block holds come in several calls; a refusal ends the step. */
static void test_logits_come_in_blocks(void **state) {
    (void)state;
    opened m = open_model(MODELS[0], (sl_engine_options){.n_threads = 2});
    int32_t ids[N_TOKENS];
    fill_ids(ids, N_TOKENS, 3);
    sl_feed feed;
    sl_error err;
    int calls = 0;
    assert_int_equal(sl_feed_init(&feed, m.engine, 1, N_TOKENS, &err), SL_OK);
    assert_int_equal(sl_feed_tokens(&feed, ids, N_TOKENS, 0, SL_FEED_ALL, refuse, &calls, &err),
                     SL_ERR_CANCELLED);
    assert_int_equal(calls, 1);
    sl_feed_deinit(&feed);
    close_model(&m);
}

static void test_a_step_allocates_nothing(void **state) {
    (void)state;
    opened m = open_model(MODELS[1], (sl_engine_options){.n_threads = 3});
    int32_t ids[40], table[2] = {3, 1};
    fill_ids(ids, 40, 4);
    const sl_step_run run = {.n_rows = 40, .n_logits = 1, .n_known = 40, .tables = {table}};
    const sl_step step = {.ids = ids, .n_rows = 40, .runs = &run, .n_runs = 1, .n_logits = 1};
    rows_kept kept;
    sl_error err;
    uint64_t before = sl_alloc_violations();
    sl_alloc_lock();
    sl_status status = sl_engine_step(m.engine, &step, keep, &kept, &err);
    sl_alloc_unlock();
    assert_int_equal(status, SL_OK);
    assert_true(sl_alloc_violations() == before);
    close_model(&m);
}

static long page_faults(void) {
    struct rusage use;
    assert_int_equal(getrusage(RUSAGE_SELF, &use), 0);
    return use.ru_minflt + use.ru_majflt;
}

/* Once everything was touched, steps take no page faults: fewer than one each, for what the system
 * does on its own. */
static void test_steps_touch_no_new_memory(void **state) {
    (void)state;
    enum { STEPS = 64 };
    opened m = open_model(MODELS[1], (sl_engine_options){.n_threads = 2});
    int32_t ids[40], table[2] = {3, 1};
    fill_ids(ids, 40, 4);
    const sl_step_run run = {.n_rows = 40, .n_logits = 2, .n_known = 40, .tables = {table}};
    sl_step_top tops[2] = {{.top = {.n_wanted = 40}, .wants_log_sum = true},
                           {.wants_log_sum = false}};
    const sl_step step = {
        .ids = ids, .n_rows = 40, .runs = &run, .n_runs = 1, .n_logits = 2, .tops = tops};
    rows_kept kept;
    sl_error err;
    long before = 0;
    for (int i = 0; i < 2 * STEPS; i++) {
        before = i == STEPS ? page_faults() : before;
        assert_int_equal(sl_engine_step(m.engine, &step, keep, &kept, &err), SL_OK);
    }
    assert_true(page_faults() - before < STEPS);
    close_model(&m);
}

static void test_copied_page_holds_the_same(void **state) {
    (void)state;
    opened m = open_model(MODELS[1], (sl_engine_options){.n_threads = 2});
    int32_t ids[33];
    fill_ids(ids, 33, 5);
    sl_feed feed;
    sl_error err;
    rows_kept kept;
    assert_int_equal(sl_feed_init(&feed, m.engine, 2, 64, &err), SL_OK);
    feed.n_seq = 1;
    assert_int_equal(sl_feed_tokens(&feed, ids, 32, 0, SL_FEED_NONE, NULL, NULL, &err), SL_OK);
    feed.n_seq = 2;
    assert_int_equal(sl_feed_share(&feed, 32, &err), SL_OK);
    const int32_t next[2] = {ids[32], ids[32]};
    assert_int_equal(sl_feed_tokens(&feed, next, 1, 32, SL_FEED_LAST, keep, &kept, &err), SL_OK);
    assert_memory_equal(kept.rows[0], kept.rows[1], sizeof(kept.rows[0]));
    sl_feed_deinit(&feed);
    close_model(&m);
}

static void test_estimate_is_what_is_taken(void **state) {
    (void)state;
    const sl_engine_options o = {.n_threads = 2, .kv_bytes = 1u << 20, .ctx_max = 128};
    opened m = open_model(MODELS[1], o);
    sl_engine_memory estimate, now;
    sl_error err;
    assert_int_equal(sl_engine_estimate(m.model, &o, &estimate, &err), SL_OK);
    sl_engine_memory_now(m.engine, &now);
    assert_memory_equal(&estimate, &now, sizeof(now));
    assert_true(now.packed_bytes > 0 && now.page_bytes > 0);
    assert_int_equal(now.n_pages, (1u << 20) / now.page_bytes);
    close_model(&m);
}

/* Nobody asked for a context: it is what the pool holds, so that no request is promised more. */
static void test_context_fits_the_pool(void **state) {
    (void)state;
    opened m = open_model(MODELS[1], (sl_engine_options){.n_threads = 1});
    sl_engine_memory memory;
    sl_engine_memory_now(m.engine, &memory);
    const sl_engine_options three_pages = {.n_threads = 1, .kv_bytes = 3 * memory.page_bytes};
    sl_engine *e;
    sl_error err;
    assert_int_equal(sl_engine_create(m.model, &three_pages, &e, &err), SL_OK);
    assert_int_equal(sl_engine_ctx_max(e), 3 * SL_PAGE_TOKENS);
    sl_engine_free(e);
    close_model(&m);
}

static void test_bad_options_are_refused(void **state) {
    (void)state;
    opened m = open_model(MODELS[0], (sl_engine_options){.n_threads = 1});
    sl_engine *e;
    sl_error err;
    const sl_engine_options small = {.n_threads = 1, .kv_bytes = 16, .ctx_max = 128};
    assert_int_equal(sl_engine_create(m.model, &small, &e, &err), SL_ERR_ARGUMENT);
    assert_non_null(strstr(err.message, "--kv-memory"));
    const sl_engine_options vast = {.n_threads = 1, .kv_bytes = (uint64_t)1 << 46, .ctx_max = 128};
    assert_int_equal(sl_engine_create(m.model, &vast, &e, &err), SL_ERR_MEMORY);
    assert_non_null(strstr(err.message, "free"));
    const sl_engine_options deep = {.n_threads = 1, .ctx_max = 100000};
    assert_int_equal(sl_engine_create(m.model, &deep, &e, &err), SL_ERR_ARGUMENT);
    assert_non_null(strstr(err.message, "100000"));
    close_model(&m);
}

/* Each allocation of loading fails once: an error each time, nothing leaks (the sanitizer
 * looks). */
static void test_failed_allocations(void **state) {
    (void)state;
    for (uint64_t n = 1; n < 2000; n++) {
        sl_gguf *file = NULL;
        sl_model *model = NULL;
        sl_engine *engine = NULL;
        sl_error err = {0};
        const sl_engine_options o = {.n_threads = 2, .kv_bytes = 1u << 20, .ctx_max = 64};
        sl_alloc_fail_nth(n, false);
        sl_status status = sl_gguf_open(MODELS[1], &file, &err);
        if (status == SL_OK) {
            status = sl_model_open(file, &model, &err);
        }
        if (status == SL_OK) {
            status = sl_engine_create(model, &o, &engine, &err);
        }
        sl_alloc_fail_nth(0, false);
        sl_engine_free(engine);
        sl_model_close(model);
        sl_gguf_close(file);
        if (status == SL_OK) {
            assert_true(n > 5);
            return;
        }
        assert_int_equal(status, SL_ERR_MEMORY);
        assert_true(err.message[0] != '\0');
    }
    fail_msg("loading never succeeded");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_chunks_do_not_matter),
        cmocka_unit_test(test_threads_do_not_matter),
        cmocka_unit_test(test_batch_does_not_matter),
        cmocka_unit_test(test_wrong_steps_are_refused),
        cmocka_unit_test(test_logits_come_in_blocks),
        cmocka_unit_test(test_a_step_allocates_nothing),
        cmocka_unit_test(test_steps_touch_no_new_memory),
        cmocka_unit_test(test_copied_page_holds_the_same),
        cmocka_unit_test(test_estimate_is_what_is_taken),
        cmocka_unit_test(test_context_fits_the_pool),
        cmocka_unit_test(test_bad_options_are_refused),
        cmocka_unit_test(test_failed_allocations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
