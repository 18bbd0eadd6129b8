#include "measure/bench.h"

#include <stdlib.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/rng.h"
#include "measure/feed.h"

typedef struct bench_state {
    sl_engine *e;
    const sl_bench_case *c;
    sl_feed feed;
    int32_t *depth_ids;       /* [n_depth] random tokens */
    int32_t *ids;             /* [n_batch][n_prompt] */
    int32_t *next;            /* [n_batch] token that each sequence is fed next */
    double *prompt_s, *gen_s; /* [n_reps] */
    bool has_depth;
} bench_state;

uint32_t sl_bench_tokens(const sl_bench_case *c) {
    return c->n_depth + c->n_prompt + c->n_gen;
}

/* The same tokens for every repetition. */
static void bench_random_ids(bench_state *s, int32_t *ids, uint64_t n, uint64_t stream) {
    uint32_t n_vocab = sl_engine_plan(s->e)->n_vocab;
    for (uint64_t i = 0; i < n; i++) {
        ids[i] = (int32_t)(sl_rng_double(stream, 0, i) * n_vocab);
    }
}

/* One sequence is computed, the others get its keys and values. They serve all repetitions, unless
 * the last one left some of them behind its windows. */
static sl_status bench_depth(bench_state *s, sl_error *err) {
    const uint32_t n_depth = s->c->n_depth;
    if (n_depth == 0 || (s->has_depth && sl_feed_holds(&s->feed, n_depth))) {
        return SL_OK;
    }
    bench_random_ids(s, s->depth_ids, n_depth, 1);
    uint32_t n_seq = s->feed.n_seq;
    s->feed.n_seq = 1;
    sl_status status = sl_feed_tokens(&s->feed, s->depth_ids, n_depth, 0, SL_FEED_NONE, NULL, NULL,
                                      err);
    s->feed.n_seq = n_seq;
    s->has_depth = true;
    return status == SL_OK ? sl_feed_share(&s->feed, n_depth, err) : status;
}

static sl_status bench_rep(bench_state *s, uint32_t rep, sl_error *err) {
    const sl_bench_case *c = s->c;
    SL_TRY(bench_depth(s, err));
    for (uint32_t i = 0; i < c->n_batch; i++) {
        s->next[i] = 0; /* without a prompt, generation starts from token 0 */
    }
    uint64_t t0 = sl_clock_mono_ns();
    if (c->n_prompt > 0) {
        SL_TRY(sl_feed_greedy(&s->feed, s->ids, c->n_prompt, c->n_depth, s->next, err));
    }
    uint64_t t1 = sl_clock_mono_ns();
    for (uint32_t i = 0; i < c->n_gen; i++) {
        SL_TRY(sl_feed_greedy(&s->feed, s->next, 1, c->n_depth + c->n_prompt + i, s->next, err));
    }
    uint64_t t2 = sl_clock_mono_ns();
    s->prompt_s[rep] = (double)(t1 - t0) * 1e-9;
    s->gen_s[rep] = (double)(t2 - t1) * 1e-9;
    return SL_OK;
}

static int compare_doubles(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *v, uint32_t n) {
    qsort(v, n, sizeof(*v), compare_doubles);
    return n % 2 == 1 ? v[n / 2] : 0.5 * (v[n / 2 - 1] + v[n / 2]);
}

static sl_status bench_all(bench_state *s, sl_bench_result *out, sl_error *err) {
    const sl_bench_case *c = s->c;
    bench_random_ids(s, s->ids, (uint64_t)c->n_batch * c->n_prompt, 2);
    SL_TRY(bench_rep(s, 0, err)); /* warm-up */
    for (uint32_t rep = 0; rep < c->n_reps; rep++) {
        SL_TRY(bench_rep(s, rep, err));
    }
    double prompt_s = median(s->prompt_s, c->n_reps), gen_s = median(s->gen_s, c->n_reps);
    *out = (sl_bench_result){
        .prompt_tps = c->n_prompt == 0 ? 0.0 : (double)c->n_batch * c->n_prompt / prompt_s,
        .gen_tps = c->n_gen == 0 ? 0.0 : (double)c->n_batch * c->n_gen / gen_s,
    };
    return SL_OK;
}

sl_status sl_bench_run(sl_engine *e, const sl_bench_case *c, sl_bench_result *out, sl_error *err) {
    bench_state s = {.e = e, .c = c};
    SL_TRY(sl_feed_init(&s.feed, e, c->n_batch, sl_bench_tokens(c), err));
    s.depth_ids = sl_alloc_zero(c->n_depth, sizeof(*s.depth_ids));
    s.ids = sl_alloc_zero((size_t)c->n_batch * c->n_prompt, sizeof(*s.ids));
    s.next = sl_alloc_zero(c->n_batch, sizeof(*s.next));
    s.prompt_s = sl_alloc_zero(c->n_reps, sizeof(double));
    s.gen_s = sl_alloc_zero(c->n_reps, sizeof(double));
    sl_status status = SL_OK;
    if (s.depth_ids == NULL || s.ids == NULL || s.next == NULL || s.prompt_s == NULL ||
        s.gen_s == NULL) {
        status = SL_FAIL(err, SL_ERR_MEMORY, "no memory for a bench of %u sequences", c->n_batch);
    } else {
        status = bench_all(&s, out, err);
    }
    sl_free(s.depth_ids);
    sl_free(s.ids);
    sl_free(s.next);
    sl_free(s.prompt_s);
    sl_free(s.gen_s);
    sl_feed_deinit(&s.feed);
    return status;
}
