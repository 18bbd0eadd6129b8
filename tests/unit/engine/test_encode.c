/* Encoders: pooling against the rows themselves, vectors that do not depend on what shares the
 * step, lengths, and what is refused. The reference's vectors are compared in tests/cli. */
#include <inttypes.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "engine/encode.h"
#include "measure/feed.h"
#include "runner/runner.h"

#define BERT "tests/golden/arch/bert-mean/bert-mean.f32.gguf"
#define LLAMA "tests/golden/arch/llama-rope-yarn/llama-rope-yarn.f16.gguf"
#define WIDTH 64
#define CTX 512
#define N_VOCAB 512

typedef struct opened {
    sl_gguf *file;
    sl_model *model;
    sl_engine *engine;
} opened;

static opened open_plan(const char *path) {
    opened m = {0};
    sl_error err;
    if (sl_gguf_open(path, &m.file, &err) != SL_OK ||
        sl_model_open(m.file, &m.model, &err) != SL_OK) {
        fail_msg("%s: %s", path, err.message);
    }
    return m;
}

static void open_engine(opened *m, sl_engine_options o) {
    sl_error err;
    o.exact = true;
    o.n_threads = 2;
    o.kv_bytes = o.kv_bytes == 0 ? 4u << 20 : o.kv_bytes;
    if (sl_engine_create(m->model, &o, &m->engine, &err) != SL_OK) {
        fail_msg("%s", err.message);
    }
}

static opened open_bert(sl_engine_options o) {
    opened m = open_plan(BERT);
    open_engine(&m, o);
    return m;
}

static void close_model(opened *m) {
    sl_engine_free(m->engine);
    sl_model_close(m->model);
    sl_gguf_close(m->file);
}

/* --- vectors ---------------------------------------------------------------------------------- */

#define SEQS_MAX 40

typedef struct vectors {
    float v[SEQS_MAX][WIDTH];
    size_t n, n_wanted; /* one more than wanted is refused */
} vectors;

static sl_status keep_vector(void *user, size_t i, const float *vector, sl_error *err) {
    vectors *out = user;
    assert_int_equal(i, out->n);
    if (out->n == out->n_wanted) {
        err->code = SL_ERR_CANCELLED;
        return SL_ERR_CANCELLED;
    }
    memcpy(out->v[out->n++], vector, sizeof(out->v[0]));
    return SL_OK;
}

static sl_status encode(sl_engine *e, sl_pooling pooling, bool normalize, const int32_t *ids,
                        const uint32_t *lens, size_t n, vectors *out, sl_error *err) {
    const sl_encode_options o = {.pooling = pooling, .normalize = normalize};
    *out = (vectors){.n_wanted = n};
    return sl_engine_encode(e, &o, ids, lens, n, keep_vector, out, err);
}

/* Ids of sequences of the lengths given, one behind the other. */
static void fill_ids(int32_t *ids, size_t n) {
    uint32_t x = 7;
    for (size_t i = 0; i < n; i++) {
        x = x * 1664525u + 1013904223u;
        ids[i] = (int32_t)(x >> 16) % N_VOCAB;
    }
}

typedef struct rows_kept {
    float rows[CTX][WIDTH];
} rows_kept;

static sl_status keep_rows(void *user, uint32_t first, uint32_t n, float *rows, size_t stride,
                           sl_error *err) {
    rows_kept *k = user;
    (void)err;
    for (uint32_t i = 0; i < n; i++) {
        memcpy(k->rows[first + i], rows + i * stride, sizeof(k->rows[0]));
    }
    return SL_OK;
}

/* The vectors are what is done to the rows by hand. */
static void test_pooling(void **state) {
    (void)state;
    static const uint32_t lengths[] = {1, 2, 31, 32, 33, 64, 65, 150, CTX - 1, CTX};
    static int32_t ids[CTX];
    static rows_kept kept;
    opened m = open_bert((sl_engine_options){.ctx_max = CTX});
    fill_ids(ids, CTX);
    for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
        const uint32_t n = lengths[i];
        sl_feed feed;
        sl_error err;
        vectors out;
        assert_int_equal(sl_feed_init(&feed, m.engine, 1, n, &err), SL_OK);
        assert_int_equal(sl_feed_tokens(&feed, ids, n, 0, SL_FEED_ALL, keep_rows, &kept, &err),
                         SL_OK);
        sl_feed_deinit(&feed);
        assert_int_equal(encode(m.engine, SL_POOLING_CLS, false, ids, &n, 1, &out, &err), SL_OK);
        assert_memory_equal(out.v[0], kept.rows[0], sizeof(out.v[0]));
        assert_int_equal(encode(m.engine, SL_POOLING_LAST, false, ids, &n, 1, &out, &err), SL_OK);
        assert_memory_equal(out.v[0], kept.rows[n - 1], sizeof(out.v[0]));
        assert_int_equal(encode(m.engine, SL_POOLING_MEAN, false, ids, &n, 1, &out, &err), SL_OK);
        vectors unit;
        assert_int_equal(encode(m.engine, SL_POOLING_MEAN, true, ids, &n, 1, &unit, &err), SL_OK);
        double means[WIDTH], squares = 0.0, unit_squares = 0.0;
        for (uint32_t k = 0; k < WIDTH; k++) {
            double sum = 0.0;
            for (uint32_t r = 0; r < n; r++) {
                sum += kept.rows[r][k];
            }
            means[k] = sum / n;
            squares += means[k] * means[k];
            unit_squares += (double)unit.v[0][k] * unit.v[0][k];
            assert_true(out.v[0][k] == (float)means[k]);
        }
        assert_true(fabs(unit_squares - 1.0) < 1e-7);
        for (uint32_t k = 0; k < WIDTH; k++) {
            assert_true(fabs(unit.v[0][k] - means[k] / sqrt(squares)) < 1e-7);
        }
    }
    close_model(&m);
}

/* Steps of many shapes: rows, runs and pages each end them somewhere; all give the same bits. */
static void test_steps_do_not_matter(void **state) {
    (void)state;
    static uint32_t lens[SEQS_MAX];
    static int32_t ids[SEQS_MAX * 100];
    static vectors want[SL_POOLING_LAST + 1], got;
    size_t n_ids = 0;
    for (uint32_t i = 0; i < SEQS_MAX; i++) {
        lens[i] = 1 + i * 37 % 100;
        n_ids += lens[i];
    }
    fill_ids(ids, n_ids);
    const uint64_t page_bytes = 32 * 2 * 2 * WIDTH * sizeof(float);
    const sl_engine_options shapes[] = {
        {.ctx_max = 100, .rows_max = 100, .runs_max = 1},
        {.ctx_max = 100, .rows_max = 100, .runs_max = 40},
        {.ctx_max = 100, .rows_max = 333, .runs_max = 7},
        {.ctx_max = 100, .rows_max = 4096, .runs_max = 64},
        {.ctx_max = 100, .rows_max = 512, .runs_max = 64, .kv_bytes = 4 * page_bytes},
        {.ctx_max = 100, .rows_max = 512, .runs_max = 64, .kv_bytes = 9 * page_bytes},
    };
    for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++) {
        opened m = open_bert(shapes[i]);
        if (shapes[i].kv_bytes != 0) {
            assert_int_equal(sl_engine_n_pages(m.engine), shapes[i].kv_bytes / page_bytes);
        }
        for (sl_pooling p = SL_POOLING_MEAN; p <= SL_POOLING_LAST; p++) {
            sl_error err;
            vectors *out = i == 0 ? &want[p] : &got;
            assert_int_equal(encode(m.engine, p, true, ids, lens, SEQS_MAX, out, &err), SL_OK);
            assert_int_equal(out->n, SEQS_MAX);
            assert_memory_equal(want[p].v, out->v, sizeof(got.v));
        }
        close_model(&m);
    }
}

/* Weights of the last norm replaced: every row is `weight` * something + `bias`. */
static void replace_last_norm(opened *m, const float *weight, const float *bias) {
    static sl_plan_weight weights[64];
    sl_plan *p = &m->model->plan;
    const sl_plan_op *last = &p->ops[p->n_ops - 1];
    assert_int_equal(last->kind, SL_OP_NORM);
    assert_true(p->n_weights <= 64);
    memcpy(weights, p->weights, p->n_weights * sizeof(weights[0]));
    weights[last->weight].data = (const uint8_t *)weight;
    weights[last->bias].data = (const uint8_t *)bias;
    p->weights = weights;
}

static void test_special_numbers(void **state) {
    (void)state;
    _Alignas(64) static float zeros[WIDTH], bias[WIDTH];
    static const int32_t ids[] = {2, 3, 4};
    static const uint32_t len = 3;
    vectors out;
    sl_error err;
    opened m = open_plan(BERT);
    replace_last_norm(&m, zeros, zeros);
    open_engine(&m, (sl_engine_options){.ctx_max = 8});
    assert_int_equal(encode(m.engine, SL_POOLING_MEAN, true, ids, &len, 1, &out, &err), SL_OK);
    assert_memory_equal(out.v[0], zeros, sizeof(zeros));
    close_model(&m);
    /* Squares that float32 could not hold, above and below. */
    static const float sizes[] = {3e38f, 1e-38f};
    for (int i = 0; i < 2; i++) {
        m = open_plan(BERT);
        bias[0] = bias[5] = sizes[i];
        replace_last_norm(&m, zeros, bias);
        open_engine(&m, (sl_engine_options){.ctx_max = 8});
        assert_int_equal(encode(m.engine, SL_POOLING_MEAN, true, ids, &len, 1, &out, &err), SL_OK);
        assert_true(out.v[0][0] == (float)sqrt(0.5) && out.v[0][5] == out.v[0][0]);
        assert_true(out.v[0][1] == 0.0f);
        assert_int_equal(encode(m.engine, SL_POOLING_MEAN, false, ids, &len, 1, &out, &err), SL_OK);
        assert_true(out.v[0][0] == sizes[i]);
        close_model(&m);
    }
    static const float bad[] = {NAN, INFINITY};
    for (int i = 0; i < 4; i++) {
        m = open_plan(BERT);
        bias[7] = bad[i / 2];
        replace_last_norm(&m, zeros, bias);
        open_engine(&m, (sl_engine_options){.ctx_max = 8});
        assert_int_equal(encode(m.engine, SL_POOLING_CLS, i % 2, ids, &len, 1, &out, &err),
                         SL_ERR_NUMERIC);
        assert_int_equal(out.n, 0);
        close_model(&m);
    }
}

/* --- refusals --------------------------------------------------------------------------------- */

static void check_refused(sl_engine *e, const int32_t *ids, const uint32_t *lens, size_t n,
                          const char *part) {
    vectors out;
    sl_error err;
    assert_int_equal(encode(e, SL_POOLING_MEAN, false, ids, lens, n, &out, &err), SL_ERR_ARGUMENT);
    assert_int_equal(out.n, 0);
    assert_non_null(strstr(err.message, part));
}

static void test_refusals(void **state) {
    (void)state;
    static int32_t ids[200];
    vectors out;
    sl_error err;
    opened m = open_bert((sl_engine_options){.ctx_max = 100, .rows_max = 90});
    check_refused(m.engine, ids, (const uint32_t[]){3, 0}, 2, "sequence 1 has 0");
    check_refused(m.engine, ids, (const uint32_t[]){91}, 1, "1 to 90");
    check_refused(m.engine, (const int32_t[]){1, N_VOCAB}, (const uint32_t[]){2}, 1, "512");
    check_refused(m.engine, (const int32_t[]){-1}, (const uint32_t[]){1}, 1, "-1");
    assert_int_equal(encode(m.engine, SL_POOLING_MEAN, false, ids, NULL, 0, &out, &err), SL_OK);
    const uint32_t lens[] = {90, 50, 2};
    assert_int_equal(encode(m.engine, SL_POOLING_NONE, false, ids, lens, 3, &out, &err),
                     SL_ERR_ARGUMENT);
    /* The owner gives up in the middle. */
    const sl_encode_options o = {.pooling = SL_POOLING_MEAN};
    out = (vectors){.n_wanted = 1};
    assert_int_equal(sl_engine_encode(m.engine, &o, ids, lens, 3, keep_vector, &out, &err),
                     SL_ERR_CANCELLED);
    assert_int_equal(out.n, 1);
    sl_runner_options ro = {.n_slots = 1};
    sl_runner *runner;
    assert_int_equal(sl_runner_create(m.engine, &ro, &runner, &err), SL_ERR_UNSUPPORTED);
    close_model(&m);

    const uint64_t page_bytes = 32 * 2 * 2 * WIDTH * sizeof(float);
    m = open_bert((sl_engine_options){.ctx_max = 100, .kv_bytes = 2 * page_bytes});
    check_refused(m.engine, ids, (const uint32_t[]){64, 65}, 2, "sequence 1 has 65");
    close_model(&m);

    m = open_plan(LLAMA);
    open_engine(&m, (sl_engine_options){.ctx_max = 100});
    assert_int_equal(encode(m.engine, SL_POOLING_MEAN, false, ids, lens, 1, &out, &err),
                     SL_ERR_UNSUPPORTED);
    close_model(&m);
}

static void test_no_memory(void **state) {
    (void)state;
    static int32_t ids[8];
    const uint32_t len = 8;
    opened m = open_bert((sl_engine_options){.ctx_max = 100});
    sl_status status = SL_ERR_MEMORY;
    uint64_t nth = 1;
    for (; status != SL_OK; nth++) {
        vectors out;
        sl_error err;
        assert_int_equal(status, SL_ERR_MEMORY);
        sl_alloc_fail_nth(nth, false);
        status = encode(m.engine, SL_POOLING_MEAN, false, ids, &len, 1, &out, &err);
        sl_alloc_fail_nth(0, false);
    }
    assert_true(nth > 4);
    close_model(&m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pooling),         cmocka_unit_test(test_steps_do_not_matter),
        cmocka_unit_test(test_special_numbers), cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
