#include "measure/feed.h"

#include <inttypes.h>

#include "base/alloc.h"
#include "base/error.h"

sl_status sl_feed_init(sl_feed *f, sl_engine *engine, uint32_t n_seq, uint32_t tokens_max,
                       sl_error *err) {
    *f = (sl_feed){
        .engine = engine, .n_seq = n_seq, .pages_per_seq = (uint32_t)sl_page_count(tokens_max)};
    uint64_t need = (uint64_t)n_seq * f->pages_per_seq;
    if (need > sl_engine_n_pages(engine)) {
        return SL_FAIL(err, SL_ERR_ARGUMENT,
                       "%" PRIu32 " sequences of %" PRIu32 " tokens need %" PRIu64
                       " KV pages, but the pool has %" PRIu32 "; give a larger --kv-memory",
                       n_seq, tokens_max, need, sl_engine_n_pages(engine));
    }
    f->tables = sl_alloc_zero(need, sizeof(*f->tables));
    f->ids = sl_alloc_zero(sl_engine_rows_max(engine), sizeof(*f->ids));
    f->runs = sl_alloc_zero(sl_engine_runs_max(engine), sizeof(*f->runs));
    if (f->tables == NULL || f->ids == NULL || f->runs == NULL) {
        sl_feed_deinit(f);
        return SL_FAIL(err, SL_ERR_MEMORY, "no memory for %" PRIu32 " sequences", n_seq);
    }
    for (uint64_t i = 0; i < need; i++) {
        f->tables[i] = (int32_t)i;
    }
    return SL_OK;
}

void sl_feed_deinit(sl_feed *f) {
    sl_free(f->tables);
    sl_free(f->ids);
    sl_free(f->runs);
    *f = (sl_feed){0};
}

/* What is still to be fed: token i of sequence s. */
typedef struct feed_cursor {
    uint32_t s, i;
} feed_cursor;

/* Fills one step from the cursor on. */
static sl_step feed_fill(sl_feed *f, const int32_t *ids, uint32_t n, uint32_t pos0,
                         sl_feed_logits logits, feed_cursor *at) {
    uint32_t rows_max = sl_engine_rows_max(f->engine);
    sl_step step = {.ids = f->ids, .runs = f->runs};
    while (at->s < f->n_seq && step.n_rows < rows_max &&
           step.n_runs < sl_engine_runs_max(f->engine)) {
        uint32_t take = n - at->i < rows_max - step.n_rows ? n - at->i : rows_max - step.n_rows;
        sl_step_run *run = &f->runs[step.n_runs++];
        *run = (sl_step_run){
            .row_begin = step.n_rows, .n_rows = take, .pos0 = pos0 + at->i, .owner = at->s};
        for (uint32_t g = 0; g < sl_engine_plan(f->engine)->n_groups; g++) {
            run->tables[g] = f->tables + (size_t)at->s * f->pages_per_seq;
        }
        for (uint32_t i = 0; i < take; i++) {
            f->ids[step.n_rows + i] = ids[(size_t)at->s * n + at->i + i];
        }
        bool ends = at->i + take == n;
        run->n_logits = logits == SL_FEED_ALL ? take : (logits == SL_FEED_LAST && ends ? 1 : 0);
        step.n_rows += take;
        step.n_logits += run->n_logits;
        at->i = ends ? 0 : at->i + take;
        at->s += ends ? 1 : 0;
    }
    return step;
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
        sl_step step = feed_fill(f, ids, n, pos0, logits, &at);
        SL_TRY(sl_engine_step(f->engine, &step, feed_pass_on, &rows, err));
        rows.base += step.n_logits;
    }
    return SL_OK;
}

void sl_feed_share(sl_feed *f, uint32_t n) {
    for (uint32_t s = 1; s < f->n_seq; s++) {
        for (uint32_t i = 0; i < sl_page_count(n); i++) {
            sl_engine_copy_page(f->engine, f->tables[i],
                                f->tables[(size_t)s * f->pages_per_seq + i]);
        }
    }
}
