/* eval scores what its header says, the same for any batch, threads and interruptions; its files
 * are checked. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/rng.h"
#include "measure/eval.h"
#include "measure/feed.h"
#include "tiny_engine.h"

#define N_PIECES 7u
#define CTX 40u
#define BOS 1

static int32_t g_ids[N_PIECES * CTX];
static char g_folder[64];

static const char *const g_names[] = {"base", "whole", "state", "a", "b", "state2"};
#define N_NAMES (sizeof(g_names) / sizeof(g_names[0]))
static char g_paths[N_NAMES][96];

static const char *path_of(const char *name) {
    size_t i = 0;
    while (strcmp(g_names[i], name) != 0) {
        i++;
    }
    return g_paths[i];
}

static void open_engine(tiny_engine *t, uint64_t seed, uint32_t n_threads, uint32_t rows,
                        uint32_t runs) {
    const tiny_model_options model = {.seed = seed};
    const sl_engine_options o = {.n_threads = n_threads,
                                 .batch_invariant = true,
                                 .ctx_max = 64,
                                 .rows_max = rows,
                                 .runs_max = runs};
    sl_error err;
    assert_int_equal(tiny_engine_open(t, NULL, &model, &o, 2 * runs, &err), SL_OK);
}

static sl_eval_result run(tiny_engine *t, const sl_eval_options *o) {
    sl_eval_result r;
    sl_error err = {0};
    if (sl_eval_run(t->engine, o, g_ids, &r, &err) != SL_OK) {
        fail_msg("%s", err.message);
    }
    return r;
}

/* --- against a plain evaluation --------------------------------------------------------------- */

typedef struct plain_sum {
    uint32_t piece, row;
    double nll;
    uint64_t n;
} plain_sum;

static sl_status plain_rows(void *user, uint32_t first, uint32_t n, float *logits, size_t stride,
                            sl_error *err) {
    (void)first, (void)err;
    plain_sum *p = user;
    for (uint32_t i = 0; i < n; i++, p->row++) {
        const float *x = logits + i * stride;
        double sum = 0.0;
        for (uint32_t k = 0; k < TINY_N_VOCAB; k++) {
            sum += exp((double)x[k]);
        }
        if (p->row >= CTX / 2 && p->row < CTX - 1) {
            p->nll += log(sum) - (double)x[g_ids[p->piece * CTX + p->row + 1]];
            p->n++;
        }
    }
    return SL_OK;
}

static plain_sum plain_eval(tiny_engine *t, int32_t bos) {
    plain_sum p = {0};
    sl_feed feed;
    sl_error err;
    assert_int_equal(sl_feed_init(&feed, t->engine, 1, CTX, &err), SL_OK);
    for (p.piece = 0; p.piece < N_PIECES; p.piece++) {
        int32_t ids[CTX];
        memcpy(ids, g_ids + p.piece * CTX, sizeof(ids));
        ids[0] = bos >= 0 ? bos : ids[0];
        p.row = 0;
        assert_int_equal(sl_feed_tokens(&feed, ids, CTX, 0, SL_FEED_ALL, plain_rows, &p, &err),
                         SL_OK);
    }
    sl_feed_deinit(&feed);
    return p;
}

static void test_scores(void **state) {
    (void)state;
    tiny_engine t;
    open_engine(&t, 1, 2, 64, 2);
    for (int32_t bos = -1; bos <= BOS; bos += BOS + 1) {
        plain_sum p = plain_eval(&t, bos);
        const sl_eval_options o = {.ctx = CTX, .n_pieces = N_PIECES, .bos = bos};
        sl_eval_result r = run(&t, &o);
        assert_int_equal(r.n_scored, N_PIECES * 19);
        assert_int_equal(r.n_scored, p.n);
        assert_true(fabs(r.nll - p.nll / (double)p.n) < 1e-6);
        assert_true(r.ppl == exp(r.nll) && r.nll_stderr > 0.0 && !r.has_base);
    }
    tiny_engine_close(&t);
}

/* --- the same bits ---------------------------------------------------------------------------- */

static void test_any_batch(void **state) {
    (void)state;
    static const struct {
        uint32_t n_threads, rows, runs;
    } ways[] = {{1, 39, 1}, {2, 39, 1}, {1, 5, 1}, {2, 16, 3}, {2, 100, 3}, {3, 512, 16}};
    const sl_eval_options o = {.ctx = CTX, .n_pieces = N_PIECES, .bos = BOS};
    sl_eval_result first = {0};
    for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
        tiny_engine t;
        open_engine(&t, 1, ways[i].n_threads, ways[i].rows, ways[i].runs);
        sl_eval_result r = run(&t, &o);
        first = i == 0 ? r : first;
        assert_memory_equal(&r.nll, &first.nll, sizeof(r.nll));
        assert_memory_equal(&r.nll_stderr, &first.nll_stderr, sizeof(r.nll_stderr));
        tiny_engine_close(&t);
    }
}

/* --- saving and comparing --------------------------------------------------------------------- */

static void test_base(void **state) {
    (void)state;
    tiny_engine t, other;
    open_engine(&t, 1, 2, 64, 2);
    open_engine(&other, 2, 2, 100, 3);
    const sl_eval_options save = {
        .ctx = CTX, .n_pieces = N_PIECES, .bos = BOS, .save_path = path_of("base")};
    sl_eval_result saved = run(&t, &save);
    sl_logprob_base base;
    sl_error err;
    sl_eval_options compare = {.ctx = CTX, .n_pieces = N_PIECES, .bos = BOS};
    assert_int_equal(sl_eval_base_open(path_of("base"), &compare, g_ids, TINY_N_VOCAB, &base, &err),
                     SL_OK);
    compare.base = &base;
    sl_eval_result r = run(&t, &compare);
    assert_true(r.has_base && r.same_top == 1.0 && r.nll == saved.nll);
    assert_true(r.kl.mean >= 0.0 && r.kl.max < 2e-8 && r.delta_p.max < 1e-6);
    assert_true(fabs(r.base_nll - saved.nll) < 1e-6);

    r = run(&other, &compare);
    assert_true(r.kl.mean > 1e-4 && r.kl.p99 >= r.kl.mean && r.kl.max >= r.kl.p99);
    assert_true(r.same_top < 1.0 && r.delta_p.max > 1e-4);
    assert_true(fabs(r.base_nll - saved.nll) < 1e-6);
    compare.n_pieces = 3; /* a part of the base */
    assert_int_equal(run(&other, &compare).n_scored, 3 * 19);
    sl_logprob_base_close(&base);
    tiny_engine_close(&t);
    tiny_engine_close(&other);
}

static void refuse_base(const sl_eval_options *o, const int32_t *ids, uint32_t n_vocab,
                        const char *part) {
    sl_logprob_base base;
    sl_error err;
    assert_true(sl_eval_base_open(path_of("base"), o, ids, n_vocab, &base, &err) < 0);
    assert_non_null(strstr(err.message, part));
}

static void test_base_refused(void **state) {
    (void)state;
    tiny_engine t;
    open_engine(&t, 1, 2, 64, 2);
    sl_eval_options o = {.ctx = CTX, .n_pieces = 5, .bos = BOS, .save_path = path_of("base")};
    (void)run(&t, &o);
    sl_eval_options wrong = o;
    wrong.ctx = CTX - 2;
    refuse_base(&wrong, g_ids, TINY_N_VOCAB, "--ctx 40");
    refuse_base(&o, g_ids, TINY_N_VOCAB + 1, "vocabulary of 300");
    wrong = o;
    wrong.n_pieces = 6;
    refuse_base(&wrong, g_ids, TINY_N_VOCAB, "--chunks 5");
    wrong = o;
    wrong.bos = -1;
    refuse_base(&wrong, g_ids, TINY_N_VOCAB, "chunk 1 ");
    int32_t ids[N_PIECES * CTX];
    memcpy(ids, g_ids, sizeof(ids));
    ids[3 * CTX - 1] ^= 1;
    refuse_base(&o, ids, TINY_N_VOCAB, "chunk 3 ");

    FILE *f = fopen(path_of("base"), "r+b"); /* a row is damaged: found when it is used */
    assert_non_null(f);
    assert_int_equal(fseek(f, 4000, SEEK_SET), 0);
    assert_int_equal(fputc(0x5A, f), 0x5A);
    assert_int_equal(fclose(f), 0);
    sl_logprob_base base;
    sl_error err;
    o.save_path = NULL;
    assert_int_equal(sl_eval_base_open(path_of("base"), &o, g_ids, TINY_N_VOCAB, &base, &err),
                     SL_OK);
    o.base = &base;
    sl_eval_result r;
    assert_int_equal(sl_eval_run(t.engine, &o, g_ids, &r, &err), SL_ERR_FORMAT);
    assert_non_null(strstr(err.message, "damaged"));
    sl_logprob_base_close(&base);
    assert_int_equal(truncate(path_of("base"), 5000), 0);
    refuse_base(&o, g_ids, TINY_N_VOCAB, "5000");
    assert_int_equal(truncate(path_of("base"), 10), 0);
    refuse_base(&o, g_ids, TINY_N_VOCAB, "too short");
    tiny_engine_close(&t);
}

/* --- resuming --------------------------------------------------------------------------------- */

typedef struct stop {
    uint32_t at, n_done; /* pieces */
} stop;

static bool until_piece(void *user, const sl_eval_progress *p) {
    stop *s = user;
    s->n_done = p->n_done;
    return p->n_done < s->at;
}

/* Returns the pieces done: a block of logits may end several. */
static uint32_t stop_after(tiny_engine *t, sl_eval_options o, uint32_t n_pieces) {
    stop s = {.at = n_pieces};
    o.go_on = until_piece;
    o.user = &s;
    sl_eval_result r;
    sl_error err;
    assert_int_equal(sl_eval_run(t->engine, &o, g_ids, &r, &err), SL_ERR_CANCELLED);
    assert_in_range(s.n_done, n_pieces, N_PIECES - 1);
    return s.n_done;
}

static void cut(const char *path, long by) {
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    assert_int_equal(fseek(f, 0, SEEK_END), 0);
    long n = ftell(f);
    assert_int_equal(fclose(f), 0);
    assert_int_equal(truncate(path, n - by), 0);
}

static void same_files(const char *a, const char *b) {
    FILE *f = fopen(a, "rb"), *g = fopen(b, "rb");
    assert_non_null(f);
    assert_non_null(g);
    int x, y;
    do {
        x = fgetc(f);
        y = fgetc(g);
        assert_int_equal(x, y);
    } while (x != EOF);
    (void)fclose(f);
    (void)fclose(g);
}

static void test_resume(void **state) {
    (void)state;
    tiny_engine t, other;
    open_engine(&t, 1, 2, 64, 2);
    open_engine(&other, 2, 1, 100, 3);
    sl_eval_options o = {
        .ctx = CTX, .n_pieces = N_PIECES, .bos = BOS, .save_path = path_of("whole")};
    sl_eval_result whole = run(&other, &o);
    o.save_path = NULL;
    sl_logprob_base base; /* of another model, so that the KL figures are kept too */
    sl_error err;
    assert_int_equal(sl_eval_base_open(path_of("whole"), &o, g_ids, TINY_N_VOCAB, &base, &err),
                     SL_OK);
    o.base = &base;
    whole = run(&t, &o);
    o.resume_path = path_of("state");
    o.model_check = sl_eval_model_check(t.file);
    (void)stop_after(&t, o, 2);
    uint32_t n_done = stop_after(&t, o, 4);
    cut(o.resume_path, 9); /* killed while the last was written */
    sl_eval_result r = run(&t, &o);
    assert_int_equal(r.n_resumed, n_done - 1);
    r.n_resumed = 0;
    assert_memory_equal(&r, &whole, sizeof(r));
    r = run(&t, &o); /* all is there */
    assert_int_equal(r.n_resumed, N_PIECES);
    assert_true(r.kl.p99 == whole.kl.p99 && r.nll == whole.nll);

    assert_true(sl_eval_model_check(other.file) != o.model_check);
    o.model_check = sl_eval_model_check(other.file);
    assert_int_equal(sl_eval_run(other.engine, &o, g_ids, &r, &err), SL_ERR_ARGUMENT);
    assert_non_null(strstr(err.message, "another model"));
    o.resume_path = path_of("whole"); /* a file of another kind is left alone */
    assert_int_equal(sl_eval_run(other.engine, &o, g_ids, &r, &err), SL_ERR_ARGUMENT);
    assert_non_null(strstr(err.message, "not the state"));
    sl_logprob_base_close(&base);
    tiny_engine_close(&t);
    tiny_engine_close(&other);
}

static void test_resume_saving(void **state) {
    (void)state;
    tiny_engine t;
    open_engine(&t, 1, 2, 64, 2);
    sl_eval_options o = {.ctx = CTX, .n_pieces = N_PIECES, .bos = BOS, .save_path = path_of("a")};
    (void)run(&t, &o);
    o.save_path = path_of("b");
    (void)stop_after(&t, o, 3);
    assert_int_equal(access(path_of("b"), F_OK), -1); /* of no use: it is gone */
    o.resume_path = path_of("state2");
    uint32_t n_done = stop_after(&t, o, 3);
    assert_int_equal(run(&t, &o).n_resumed, n_done);
    same_files(path_of("a"), path_of("b"));

    (void)remove(o.resume_path);
    (void)stop_after(&t, o, 3);
    assert_int_equal(truncate(path_of("b"), 100), 0);
    sl_eval_result r;
    sl_error err;
    assert_int_equal(sl_eval_run(t.engine, &o, g_ids, &r, &err), SL_ERR_FORMAT);
    assert_non_null(strstr(err.message, "done before"));
    tiny_engine_close(&t);
}

/* --- wrong arguments -------------------------------------------------------------------------- */

static void test_refuses(void **state) {
    (void)state;
    tiny_engine t;
    open_engine(&t, 1, 1, 64, 2);
    sl_eval_options o = {.ctx = 3, .n_pieces = 1, .bos = BOS};
    sl_eval_result r;
    sl_error err;
    assert_int_equal(sl_eval_run(t.engine, &o, g_ids, &r, &err), SL_ERR_ARGUMENT);
    o.ctx = 65;
    assert_int_equal(sl_eval_run(t.engine, &o, g_ids, &r, &err), SL_ERR_ARGUMENT);
    o = (sl_eval_options){.ctx = 4, .n_pieces = 0, .bos = BOS};
    assert_int_equal(sl_eval_run(t.engine, &o, g_ids, &r, &err), SL_ERR_ARGUMENT);
    o.n_pieces = N_PIECES * CTX / 4; /* the smallest pieces: one score each */
    assert_int_equal(run(&t, &o).n_scored, N_PIECES * CTX / 4);
    int32_t keep = g_ids[5];
    g_ids[5] = TINY_N_VOCAB;
    assert_int_equal(sl_eval_run(t.engine, &o, g_ids, &r, &err), SL_ERR_ARGUMENT);
    g_ids[5] = keep;
    tiny_engine_close(&t);

    const tiny_model_options poisoned = {.seed = 1, .poison_id = 7};
    const sl_engine_options engine = {.n_threads = 1, .ctx_max = 64, .rows_max = 64, .runs_max = 2};
    assert_int_equal(tiny_engine_open(&t, NULL, &poisoned, &engine, 4, &err), SL_OK);
    g_ids[5] = 7;
    assert_int_equal(sl_eval_run(t.engine, &o, g_ids, &r, &err), SL_ERR_NUMERIC);
    g_ids[5] = keep;
    tiny_engine_close(&t);
}

static int make_folder(void **state) {
    (void)state;
    (void)snprintf(g_folder, sizeof(g_folder), "/tmp/test_eval.XXXXXX");
    for (uint32_t i = 0; i < N_PIECES * CTX; i++) {
        g_ids[i] = (int32_t)(8 + sl_rng_double(3, 0, i) * (TINY_N_VOCAB - 8));
    }
    int failed = mkdtemp(g_folder) == NULL;
    for (size_t i = 0; i < N_NAMES; i++) {
        (void)snprintf(g_paths[i], sizeof(g_paths[i]), "%s/%s", g_folder, g_names[i]);
    }
    return failed;
}

static int remove_folder(void **state) {
    (void)state;
    for (size_t i = 0; i < N_NAMES; i++) {
        (void)remove(g_paths[i]);
    }
    return rmdir(g_folder);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_scores),  cmocka_unit_test(test_any_batch),
        cmocka_unit_test(test_base),    cmocka_unit_test(test_base_refused),
        cmocka_unit_test(test_resume),  cmocka_unit_test(test_resume_saving),
        cmocka_unit_test(test_refuses),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
