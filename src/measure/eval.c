#include "measure/eval.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>

#include "base/alloc.h"
#include "base/error.h"
#include "measure/eval_state.h"
#include "measure/feed.h"
#include "measure/logprob_file.h"

/* What becomes of one row of logits. */
typedef struct row_figures {
    sl_logprob_score score;
    sl_logprob_difference difference;
    bool is_damaged; /* the base's row */
} row_figures;

/* A block of rows that the pool works on, each by itself. */
typedef struct eval_block {
    const float *logits; /* row i at logits + i * stride */
    size_t stride;
    uint64_t first; /* scored row of the whole text */
    uint32_t n;
} eval_block;

typedef struct eval_run {
    sl_engine *e;
    const sl_eval_options *o;
    const int32_t *ids;
    uint32_t n_vocab, n_scored; /* n_scored: of each piece */
    uint64_t n_rows;            /* scored rows so far, those of an earlier run included */
    sl_feed feed;
    sl_eval_state state;
    sl_logprob_writer writer; /* .file NULL: none */
    uint8_t *encoded;         /* [SL_LOGITS_BLOCK][row bytes], with a writer */
    eval_block block;
    row_figures figures[SL_LOGITS_BLOCK];
    uint32_t n_resumed;
} eval_run;

/* The first position of a piece that is scored; the last is ctx - 2, which sees the last token
 * follow. */
static uint32_t first_scored(const sl_eval_options *o) {
    return o->ctx / 2;
}

static uint32_t n_scored_of(const sl_eval_options *o) {
    return o->ctx - 1 - first_scored(o);
}

static int32_t fed_id(const sl_eval_options *o, const int32_t *ids, uint32_t piece, uint32_t pos) {
    return pos == 0 && o->bos >= 0 ? o->bos : ids[(size_t)piece * o->ctx + pos];
}

static uint64_t piece_ids_check(const sl_eval_options *o, const int32_t *ids, uint32_t piece) {
    int32_t begin = fed_id(o, ids, piece, 0);
    uint64_t h = sl_logprob_check(0, &begin, sizeof(begin));
    return sl_logprob_check(h, ids + (size_t)piece * o->ctx + 1, (o->ctx - 1) * sizeof(*ids));
}

/* --- rows of logits --------------------------------------------------------------------------- */

static void score_rows(void *arg, uint32_t ith, uint32_t nth) {
    eval_run *r = arg;
    const eval_block *b = &r->block;
    size_t row_bytes = sl_logprob_row_bytes(r->n_vocab);
    for (uint32_t i = ith; i < b->n; i += nth) {
        const float *logits = b->logits + i * b->stride;
        uint32_t piece = (uint32_t)((b->first + i) / r->n_scored);
        uint32_t row = (uint32_t)((b->first + i) % r->n_scored);
        uint32_t target = first_scored(r->o) + row + 1;
        row_figures *f = &r->figures[i];
        sl_logprob_score_row(sl_engine_kernels(r->e), logits, r->n_vocab,
                             (uint32_t)r->ids[(size_t)piece * r->o->ctx + target], &f->score);
        if (f->score.max_id >= r->n_vocab) {
            continue;
        }
        if (r->writer.file != NULL) {
            sl_logprob_row_encode(logits, r->n_vocab, &f->score, r->encoded + i * row_bytes);
        }
        if (r->o->base != NULL) {
            f->is_damaged = !sl_logprob_row_compare(sl_logprob_base_row(r->o->base, piece, row),
                                                    logits, r->n_vocab, &f->score, &f->difference);
        }
    }
}

static bool eval_goes_on(const eval_run *r) {
    sl_eval_progress p = {.n_done = r->state.n_done,
                          .n_pieces = r->o->n_pieces,
                          .n_resumed = r->n_resumed,
                          .ppl = sl_eval_state_ppl(&r->state)};
    return r->o->go_on == NULL || r->o->go_on(r->o->user, &p);
}

/* Files first: what the state says is done is there. */
static sl_status piece_ends(eval_run *r, sl_error *err) {
    if (r->writer.file != NULL && r->o->resume_path != NULL) {
        SL_TRY(sl_logprob_writer_flush(&r->writer, err));
    }
    return sl_eval_state_keep(&r->state, err);
}

/* Takes over row i of the block. */
static sl_status row_ends(eval_run *r, uint32_t i, sl_error *err) {
    const row_figures *f = &r->figures[i];
    uint32_t piece = (uint32_t)(r->n_rows / r->n_scored);
    uint32_t row = (uint32_t)(r->n_rows % r->n_scored);
    if (f->score.max_id >= r->n_vocab) {
        return SL_FAIL(err, SL_ERR_NUMERIC,
                       "chunk %" PRIu32 " of the text: the model's logits are not finite numbers",
                       piece + 1);
    }
    sl_eval_sums *s = &r->state.sums[piece];
    if (row == 0) {
        *s = (sl_eval_sums){0};
    }
    s->nll += f->score.nll;
    s->nll2 += f->score.nll * f->score.nll;
    if (r->o->base != NULL) {
        if (f->is_damaged) {
            return SL_FAIL(err, SL_ERR_FORMAT,
                           "%s: row %" PRIu32 " of chunk %" PRIu32 " is damaged", r->o->base->path,
                           row + 1, piece + 1);
        }
        s->base_nll += f->difference.base_nll;
        s->n_same += f->difference.same_top;
        r->state.kl[r->n_rows] = (float)f->difference.kl;
        r->state.delta_p[r->n_rows] = (float)fabs(f->difference.delta_p);
    }
    if (r->writer.file != NULL) {
        size_t row_bytes = sl_logprob_row_bytes(r->n_vocab);
        if (row == 0) {
            SL_TRY(sl_logprob_writer_piece(&r->writer, piece_ids_check(r->o, r->ids, piece), err));
        }
        SL_TRY(sl_logprob_writer_rows(&r->writer, r->encoded + i * row_bytes, row_bytes, err));
    }
    r->n_rows++;
    return row + 1 == r->n_scored ? piece_ends(r, err) : SL_OK;
}

static sl_status eval_rows(void *user, uint32_t first, uint32_t n, float *logits, size_t stride,
                           sl_error *err) {
    eval_run *r = user;
    (void)first; /* rows come in the order of the text, over all steps */
    r->block = (eval_block){.logits = logits, .stride = stride, .first = r->n_rows, .n = n};
    sl_pool_run(sl_engine_pool(r->e), score_rows, r);
    for (uint32_t i = 0; i < n; i++) {
        SL_TRY(row_ends(r, i, err));
    }
    if (!eval_goes_on(r)) {
        return SL_FAIL(err, SL_ERR_CANCELLED, "interrupted");
    }
    return SL_OK;
}

/* --- steps ------------------------------------------------------------------------------------ */

/* What is still to be fed: position `pos` of a piece. Position ctx - 1 never is: nothing follows
 * it. */
typedef struct eval_cursor {
    uint32_t piece, pos;
} eval_cursor;

/* Fills one step from the cursor on. Pieces take turns in the feed's sequences. */
static sl_status eval_fill(eval_run *r, eval_cursor *at, sl_step *out, sl_error *err) {
    sl_feed *f = &r->feed;
    uint32_t rows_max = sl_engine_rows_max(r->e), n_fed = r->o->ctx - 1;
    sl_step step = {.ids = f->ids, .runs = f->runs};
    while (at->piece < r->o->n_pieces && step.n_rows < rows_max && step.n_runs < f->n_seq) {
        uint32_t room = rows_max - step.n_rows, left = n_fed - at->pos;
        uint32_t take = left < room ? left : room, end = at->pos + take;
        uint32_t from = at->pos > first_scored(r->o) ? at->pos : first_scored(r->o);
        sl_step_run *run = &f->runs[step.n_runs++];
        *run = (sl_step_run){.row_begin = step.n_rows,
                             .n_rows = take,
                             .pos0 = at->pos,
                             .n_known = r->o->ctx,
                             .n_logits = end > from ? end - from : 0};
        SL_TRY(sl_feed_bind(f, at->piece % f->n_seq, run, err));
        for (uint32_t i = 0; i < take; i++) {
            f->ids[step.n_rows + i] = fed_id(r->o, r->ids, at->piece, at->pos + i);
        }
        step.n_rows += take;
        step.n_logits += run->n_logits;
        at->pos = end == n_fed ? 0 : end;
        at->piece += end == n_fed ? 1 : 0;
    }
    *out = step;
    return SL_OK;
}

static sl_status eval_steps(eval_run *r, sl_error *err) {
    eval_cursor at = {.piece = r->state.n_done};
    r->n_rows = (uint64_t)r->state.n_done * r->n_scored;
    while (at.piece < r->o->n_pieces) {
        if (!eval_goes_on(r)) {
            return SL_FAIL(err, SL_ERR_CANCELLED, "interrupted");
        }
        sl_step step;
        SL_TRY(eval_fill(r, &at, &step, err));
        SL_TRY(sl_engine_step(r->e, &step, eval_rows, r, err));
    }
    if (r->o->base != NULL) {
        SL_TRY(sl_mapfile_check(r->o->base->map, err));
    }
    return SL_OK;
}

/* --- files ------------------------------------------------------------------------------------ */

static sl_logprob_shape shape_of(const sl_eval_options *o, uint32_t n_vocab) {
    return (sl_logprob_shape){
        .ctx = o->ctx, .n_vocab = n_vocab, .n_pieces = o->n_pieces, .n_scored = n_scored_of(o)};
}

static sl_status base_check(const sl_logprob_base *b, const sl_eval_options *o, const int32_t *ids,
                            uint32_t n_vocab, sl_error *err) {
    const sl_logprob_shape *s = &b->shape;
    if (s->n_vocab != n_vocab || s->ctx != o->ctx || s->n_scored != n_scored_of(o)) {
        return SL_FAIL(err, SL_ERR_ARGUMENT,
                       "%s is for a vocabulary of %" PRIu32 " and --ctx %" PRIu32
                       "; this run has %" PRIu32 " and %" PRIu32,
                       b->path, s->n_vocab, s->ctx, n_vocab, o->ctx);
    }
    if (s->n_pieces < o->n_pieces) {
        return SL_FAIL(err, SL_ERR_ARGUMENT,
                       "%s has %" PRIu32 " chunks of the text, this run %" PRIu32
                       "; give --chunks %" PRIu32,
                       b->path, s->n_pieces, o->n_pieces, s->n_pieces);
    }
    for (uint32_t i = 0; i < o->n_pieces; i++) {
        if (sl_logprob_base_ids_check(b, i) != piece_ids_check(o, ids, i)) {
            return SL_FAIL(err, SL_ERR_ARGUMENT,
                           "%s was made of another text: chunk %" PRIu32 " has other token ids",
                           b->path, i + 1);
        }
    }
    return SL_OK;
}

sl_status sl_eval_base_open(const char *path, const sl_eval_options *o, const int32_t *ids,
                            uint32_t n_vocab, sl_logprob_base *out, sl_error *err) {
    sl_logprob_base b;
    SL_TRY(sl_logprob_base_open(path, &b, err));
    sl_status status = base_check(&b, o, ids, n_vocab, err);
    if (status != SL_OK) {
        sl_logprob_base_close(&b);
        return status;
    }
    *out = b;
    return SL_OK;
}

/* A check over all that the result depends on. */
static uint64_t resume_key(const eval_run *r) {
    const sl_kernels *k = sl_engine_kernels(r->e);
    const uint64_t parts[] = {r->o->model_check,     r->o->ctx,
                              r->o->n_pieces,        r->n_vocab,
                              (uint64_t)k->isa,      r->o->base != NULL,
                              sl_engine_exact(r->e), (uint64_t)sl_engine_kv_type(r->e)};
    uint64_t h = sl_logprob_check(0, parts, sizeof(parts));
    for (uint32_t i = 0; i < r->o->n_pieces; i++) {
        uint64_t check = piece_ids_check(r->o, r->ids, i);
        h = sl_logprob_check(h, &check, sizeof(check));
    }
    if (r->o->base != NULL) { /* the first row stands for all: its check covers its bytes */
        h = sl_logprob_check(h, sl_logprob_base_row(r->o->base, 0, 0),
                             sl_logprob_row_bytes(r->n_vocab));
    }
    return h;
}

static sl_status open_files(eval_run *r, sl_error *err) {
    const sl_eval_options *o = r->o;
    SL_TRY(sl_eval_state_init(&r->state, o->n_pieces, r->n_scored, o->base != NULL, err));
    if (o->resume_path != NULL) {
        SL_TRY(sl_eval_state_resume(&r->state, o->resume_path, resume_key(r), err));
    }
    r->n_resumed = r->state.n_done;
    if (o->save_path == NULL) {
        return SL_OK;
    }
    r->encoded = sl_alloc_aligned(SL_LOGITS_BLOCK * sl_logprob_row_bytes(r->n_vocab), 64);
    if (r->encoded == NULL) {
        return SL_FAIL(err, SL_ERR_MEMORY, "no memory for the rows of %s", o->save_path);
    }
    sl_logprob_shape shape = shape_of(o, r->n_vocab);
    return sl_logprob_writer_open(o->save_path, &shape, r->state.n_done, &r->writer, err);
}

/* A base that is not whole is of no use, unless a later run goes on with it. */
static sl_status close_files(eval_run *r, sl_status status, sl_error *err) {
    if (r->writer.file != NULL) {
        sl_status closed = sl_logprob_writer_close(&r->writer, status == SL_OK ? err : NULL);
        status = status == SL_OK ? closed : status;
        if (status != SL_OK && r->o->resume_path == NULL) {
            sl_logprob_file_remove(r->o->save_path);
        }
    }
    sl_eval_state_deinit(&r->state);
    sl_free_aligned(r->encoded);
    return status;
}

/* --- the whole -------------------------------------------------------------------------------- */

static sl_status eval_check(const eval_run *r, sl_error *err) {
    const sl_eval_options *o = r->o;
    if (o->ctx < SL_EVAL_CTX_MIN || o->ctx > sl_engine_ctx_max(r->e) || o->n_pieces == 0) {
        return SL_FAIL(err, SL_ERR_ARGUMENT,
                       "%" PRIu32 " chunks of %" PRIu32 " tokens cannot be evaluated", o->n_pieces,
                       o->ctx);
    }
    for (uint64_t i = 0; i < (uint64_t)o->n_pieces * o->ctx; i++) {
        if ((uint32_t)r->ids[i] >= r->n_vocab) {
            return SL_FAIL(err, SL_ERR_ARGUMENT,
                           "token id %d is outside the vocabulary of %" PRIu32 " tokens",
                           (int)r->ids[i], r->n_vocab);
        }
    }
    return SL_OK;
}

sl_status sl_eval_run(sl_engine *e, const sl_eval_options *o, const int32_t *ids,
                      sl_eval_result *out, sl_error *err) {
    eval_run *r = sl_alloc_zero(1, sizeof(*r));
    if (r == NULL) {
        return SL_FAIL(err, SL_ERR_MEMORY, "no memory for the evaluation");
    }
    *r = (eval_run){.e = e,
                    .o = o,
                    .ids = ids,
                    .n_vocab = sl_engine_plan(e)->n_vocab,
                    .n_scored = n_scored_of(o)};
    sl_status status = eval_check(r, err);
    if (status == SL_OK) {
        uint32_t n_seq = sl_engine_runs_max(e) < o->n_pieces ? sl_engine_runs_max(e) : o->n_pieces;
        status = sl_feed_init(&r->feed, e, n_seq, o->ctx, err);
    }
    if (status == SL_OK) {
        status = open_files(r, err);
        status = status == SL_OK ? eval_steps(r, err) : status;
        sl_eval_result result = {0};
        if (status == SL_OK) {
            sl_eval_state_result(&r->state, &result);
            result.n_resumed = r->n_resumed;
        }
        status = close_files(r, status, err);
        if (status == SL_OK) {
            *out = result;
        }
        sl_feed_deinit(&r->feed);
    }
    sl_free(r);
    return status;
}

uint64_t sl_eval_model_check(const sl_gguf *file) {
    uint64_t n_bytes = sl_gguf_file_bytes(file);
    uint64_t h = sl_logprob_check(0, &n_bytes, sizeof(n_bytes));
    for (uint64_t i = 0; i < sl_gguf_n_tensors(file); i++) {
        const sl_gguf_tensor *t = sl_gguf_tensor_at(file, i);
        uint64_t sample = t->size_bytes < 256 ? t->size_bytes : 256;
        h = sl_logprob_check(h, t->name.ptr, t->name.len);
        h = sl_logprob_check(h, t->dims, sizeof(t->dims));
        h = sl_logprob_check(h, t->data, sample);
        h = sl_logprob_check(h, t->data + (t->size_bytes - sample) / 2, sample);
        h = sl_logprob_check(h, t->data + (t->size_bytes - sample), sample);
    }
    return h;
}
