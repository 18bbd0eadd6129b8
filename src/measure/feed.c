#include "measure/feed.h"

#include <inttypes.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/error.h"

static sl_status feed_open_seqs(sl_feed *f, uint32_t tokens_max, sl_error *err) {
    const sl_kv_options options = {.n_pages = sl_engine_n_pages(f->engine),
                                   .n_seqs_max = f->n_seq,
                                   .n_tokens_max = tokens_max,
                                   .groups = *sl_engine_kv_groups(f->engine),
                                   .nodes = *sl_pool_nodes(sl_engine_pool(f->engine))};
    SL_TRY(sl_kv_create(&options, &f->kv, err));
    for (uint32_t s = 0; s < f->n_seq; s++) {
        uint32_t seq;
        if (sl_kv_seq_open(f->kv, tokens_max, &seq) != SL_OK || seq != s) {
            return SL_FAIL(err, SL_ERR_INTERNAL, "the KV tables refused sequence %" PRIu32, s);
        }
    }
    return SL_OK;
}

sl_status sl_feed_init(sl_feed *f, sl_engine *engine, uint32_t n_seq, uint32_t tokens_max,
                       sl_error *err) {
    *f = (sl_feed){.engine = engine, .n_seq = n_seq};
    uint64_t need;
    if (!sl_mul_u64(n_seq, sl_engine_seq_pages(engine, tokens_max), &need) ||
        need > sl_engine_n_pages(engine)) {
        return SL_FAIL(err, SL_ERR_ARGUMENT,
                       "%" PRIu32 " sequences of %" PRIu32 " tokens need %" PRIu64
                       " KV pages each, but the pool has %" PRIu32
                       "; give a larger --kv-memory or a smaller --batch",
                       n_seq, tokens_max, sl_engine_seq_pages(engine, tokens_max),
                       sl_engine_n_pages(engine));
    }
    sl_status status = feed_open_seqs(f, tokens_max, err);
    f->ids = sl_alloc_zero(sl_engine_rows_max(engine), sizeof(*f->ids));
    f->runs = sl_alloc_zero(sl_engine_runs_max(engine), sizeof(*f->runs));
    f->tops = sl_alloc_zero(sl_engine_runs_max(engine), sizeof(*f->tops));
    if (status == SL_OK && (f->ids == NULL || f->runs == NULL || f->tops == NULL)) {
        status = SL_FAIL(err, SL_ERR_MEMORY, "no memory for %" PRIu32 " sequences", n_seq);
    }
    if (status != SL_OK) {
        sl_feed_deinit(f);
    }
    return status;
}

void sl_feed_deinit(sl_feed *f) {
    sl_kv_free(f->kv);
    sl_free(f->ids);
    sl_free(f->runs);
    sl_free(f->tops);
    *f = (sl_feed){0};
}

static sl_status feed_extend(sl_feed *f, uint32_t s, uint32_t n_done, uint32_t n_tokens,
                             sl_error *err) {
    if (sl_kv_seq_extend(f->kv, s, n_done, n_tokens) != SL_OK) {
        return SL_FAIL(err, SL_ERR_ARGUMENT,
                       "positions %" PRIu32 " to %" PRIu32 " of sequence %" PRIu32
                       " cannot be fed: there is room for %" PRIu32
                       ", and what a window left behind is gone",
                       n_done, n_tokens, s, sl_kv_n_tokens_max(f->kv));
    }
    return SL_OK;
}

sl_status sl_feed_bind(sl_feed *f, uint32_t s, sl_step_run *run, sl_error *err) {
    if (run->pos0 == 0) {
        sl_kv_seq_restart(f->kv, s);
    }
    SL_TRY(feed_extend(f, s, run->pos0, run->pos0 + run->n_rows, err));
    for (uint32_t g = 0; g < sl_kv_groups_of(f->kv)->n; g++) {
        run->tables[g] = sl_kv_seq_table(f->kv, s, g);
    }
    return SL_OK;
}

/* What is still to be fed: token i of sequence s. */
typedef struct feed_cursor {
    uint32_t s, i;
} feed_cursor;

/* Fills one step from the cursor on. */
static sl_status feed_fill(sl_feed *f, const int32_t *ids, uint32_t n, uint32_t pos0,
                           sl_feed_logits logits, feed_cursor *at, sl_step *step, sl_error *err) {
    uint32_t rows_max = sl_engine_rows_max(f->engine);
    *step = (sl_step){.ids = f->ids, .runs = f->runs};
    while (at->s < f->n_seq && step->n_rows < rows_max &&
           step->n_runs < sl_engine_runs_max(f->engine)) {
        uint32_t take = n - at->i < rows_max - step->n_rows ? n - at->i : rows_max - step->n_rows;
        sl_step_run *run = &f->runs[step->n_runs++];
        *run = (sl_step_run){.row_begin = step->n_rows,
                             .n_rows = take,
                             .pos0 = pos0 + at->i,
                             .n_known = pos0 + n,
                             .owner = at->s};
        SL_TRY(sl_feed_bind(f, at->s, run, err));
        for (uint32_t i = 0; i < take; i++) {
            f->ids[step->n_rows + i] = ids[(size_t)at->s * n + at->i + i];
        }
        bool ends = at->i + take == n;
        run->n_logits = logits == SL_FEED_ALL ? take : (logits == SL_FEED_LAST && ends ? 1 : 0);
        step->n_rows += take;
        step->n_logits += run->n_logits;
        at->i = ends ? 0 : at->i + take;
        at->s += ends ? 1 : 0;
    }
    return SL_OK;
}

typedef struct feed_rows {
    sl_logits_fn fn;
    void *user;
    uint32_t base; /* logits rows of the steps before */
} feed_rows;

static sl_status feed_pass_on(void *user, uint32_t first, uint32_t n, float *logits, size_t stride,
                              sl_error *err) {
    const feed_rows *r = user;
    return r->fn(r->user, r->base + first, n, logits, stride, err);
}

sl_status sl_feed_tokens(sl_feed *f, const int32_t *ids, uint32_t n, uint32_t pos0,
                         sl_feed_logits logits, sl_logits_fn fn, void *user, sl_error *err) {
    feed_cursor at = {0};
    feed_rows rows = {.fn = fn, .user = user};
    while (at.s < f->n_seq) {
        sl_step step;
        SL_TRY(feed_fill(f, ids, n, pos0, logits, &at, &step, err));
        SL_TRY(sl_engine_step(f->engine, &step, feed_pass_on, &rows, err));
        rows.base += step.n_logits;
    }
    return SL_OK;
}

/* The tokens that a step chose. */
static sl_status feed_take_greedy(const sl_feed *f, const sl_step *step, int32_t *next,
                                  sl_error *err) {
    const sl_step_top *t = f->tops;
    for (uint32_t i = 0; i < step->n_runs; i++) {
        if (step->runs[i].n_logits == 0) {
            continue;
        }
        if (t->top.has_nan || t->top.n == 0) {
            return SL_FAIL(err, SL_ERR_NUMERIC, "the model's logits are not numbers");
        }
        next[step->runs[i].owner] = (int32_t)sl_top_key_id(t->top.keys[0]);
        t++;
    }
    return SL_OK;
}

sl_status sl_feed_greedy(sl_feed *f, const int32_t *ids, uint32_t n, uint32_t pos0, int32_t *next,
                         sl_error *err) {
    feed_cursor at = {0};
    while (at.s < f->n_seq) {
        sl_step step;
        SL_TRY(feed_fill(f, ids, n, pos0, SL_FEED_LAST, &at, &step, err));
        for (uint32_t i = 0; i < step.n_logits; i++) {
            f->tops[i] = (sl_step_top){.top = {.n_wanted = 1}};
        }
        step.tops = f->tops;
        SL_TRY(sl_engine_step(f->engine, &step, NULL, NULL, err));
        SL_TRY(feed_take_greedy(f, &step, next, err));
    }
    return SL_OK;
}

bool sl_feed_holds(const sl_feed *f, uint32_t n) {
    for (uint32_t s = 0; s < f->n_seq; s++) {
        if (!sl_kv_seq_holds(f->kv, s, n, n)) {
            return false;
        }
    }
    return true;
}

sl_status sl_feed_share(sl_feed *f, uint32_t n, sl_error *err) {
    SL_TRY(feed_extend(f, 0, n, n, err)); /* now it holds just what the others will */
    for (uint32_t s = 1; s < f->n_seq; s++) {
        sl_kv_seq_restart(f->kv, s);
        SL_TRY(feed_extend(f, s, n, n, err));
        for (uint32_t g = 0; g < sl_kv_groups_of(f->kv)->n; g++) {
            const int32_t *from = sl_kv_seq_table(f->kv, 0, g);
            const int32_t *to = sl_kv_seq_table(f->kv, s, g);
            for (uint32_t i = 0; i < sl_page_count(n); i++) {
                if (to[i] >= 0) {
                    sl_engine_copy_page(f->engine, from[i], to[i]);
                }
            }
        }
    }
    return SL_OK;
}
