/* An encoder's steps and the pooling of their rows. See encode.h. */
#include "engine/encode.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"

typedef struct encode_job {
    sl_engine *engine;
    const sl_plan *plan;
    sl_encode_options o;
    sl_encode_fn fn;
    void *user;
    int32_t *pages; /* [n_pages] 0, 1, 2, ...: a stretch of it is a block table */
    uint64_t n_pages;
    sl_step_run *runs; /* [runs_max] of the step */
    size_t i_seq;      /* the sequence whose rows come next */
    uint32_t i_run;    /* its run in the step */
    uint32_t i_row;    /* of the rows that the run gives out */
    double *sum;       /* [n_result] over the rows that count */
    float *vector;     /* [n_result] */
} encode_job;

/* All of them, whatever the windows: every row's keys are there at once. */
static uint64_t encode_pages(const encode_job *job, uint32_t n_tokens) {
    return sl_page_count(n_tokens) * job->plan->n_groups;
}

static sl_status encode_check(const encode_job *job, const uint32_t *lens, size_t n_seqs,
                              sl_error *err) {
    const sl_engine *e = job->engine;
    if (!job->plan->is_encoder) {
        return SL_FAIL(err, SL_ERR_UNSUPPORTED, "%s is a decoder; vectors come from encoders only",
                       job->plan->arch);
    }
    if (job->o.pooling == SL_POOLING_NONE) {
        return SL_FAIL(err, SL_ERR_ARGUMENT, "the rows of an encoder need a kind of pooling");
    }
    uint32_t most = sl_engine_ctx_max(e) < sl_engine_rows_max(e) ? sl_engine_ctx_max(e)
                                                                 : sl_engine_rows_max(e);
    for (size_t i = 0; i < n_seqs; i++) {
        if (lens[i] == 0 || lens[i] > most || encode_pages(job, lens[i]) > job->n_pages) {
            return SL_FAIL(err, SL_ERR_ARGUMENT,
                           "sequence %zu has %" PRIu32 " tokens; 1 to %" PRIu32 " in %" PRIu32
                           " pages are possible",
                           i, lens[i], most, sl_engine_n_pages(e));
        }
    }
    return SL_OK;
}

static sl_status encode_alloc(encode_job *job, sl_error *err) {
    const uint32_t runs_max = sl_engine_runs_max(job->engine);
    /* What the rows of a step fill, and a page that each run begins. */
    const uint64_t most = ((uint64_t)sl_engine_rows_max(job->engine) / SL_PAGE_TOKENS + runs_max) *
                          job->plan->n_groups;
    job->n_pages = sl_engine_n_pages(job->engine);
    job->n_pages = most < job->n_pages ? most : job->n_pages;
    job->pages = sl_alloc_zero(job->n_pages, sizeof(*job->pages));
    job->runs = sl_alloc_zero(runs_max, sizeof(*job->runs));
    job->sum = sl_alloc_zero(job->plan->n_result, sizeof(*job->sum));
    job->vector = sl_alloc_zero(job->plan->n_result, sizeof(*job->vector));
    if (job->pages == NULL || job->runs == NULL || job->sum == NULL || job->vector == NULL) {
        return SL_FAIL(err, SL_ERR_MEMORY, "no memory to encode sequences");
    }
    for (uint64_t i = 0; i < job->n_pages; i++) {
        job->pages[i] = (int32_t)i;
    }
    return SL_OK;
}

/* --- a step ----------------------------------------------------------------------------------- */

/* Fills the step with sequences from job->i_seq on. */
static void encode_fill(encode_job *job, const uint32_t *lens, size_t n_seqs, sl_step *step) {
    uint64_t n_pages = 0;
    for (size_t i = job->i_seq; i < n_seqs && step->n_runs < sl_engine_runs_max(job->engine); i++) {
        if (lens[i] > sl_engine_rows_max(job->engine) - step->n_rows ||
            encode_pages(job, lens[i]) > job->n_pages - n_pages) {
            break;
        }
        sl_step_run *run = &job->runs[step->n_runs++];
        *run = (sl_step_run){.row_begin = step->n_rows,
                             .n_rows = lens[i],
                             .n_logits = job->o.pooling == SL_POOLING_LAST ? 1 : lens[i],
                             .n_known = lens[i]};
        for (uint32_t g = 0; g < job->plan->n_groups; g++) {
            run->tables[g] = job->pages + n_pages;
            n_pages += sl_page_count(lens[i]);
        }
        step->n_rows += run->n_rows;
        step->n_logits += run->n_logits;
    }
}

/* --- pooling ---------------------------------------------------------------------------------- */

static void encode_add_row(encode_job *job, const float *row) {
    if (job->i_row == 0) {
        memset(job->sum, 0, job->plan->n_result * sizeof(*job->sum));
    }
    if (job->i_row == 0 || job->o.pooling != SL_POOLING_CLS) {
        for (uint32_t i = 0; i < job->plan->n_result; i++) {
            job->sum[i] += row[i];
        }
    }
}

/* What the sum is divided by: the number of its rows, or their length. */
static double encode_divisor(const encode_job *job) {
    if (!job->o.normalize) {
        return job->o.pooling == SL_POOLING_MEAN ? job->i_row : 1.0;
    }
    double squares = 0.0;
    for (uint32_t i = 0; i < job->plan->n_result; i++) {
        squares += job->sum[i] * job->sum[i];
    }
    return squares > 0.0 ? sqrt(squares) : 1.0;
}

static sl_status encode_finish_seq(encode_job *job, sl_error *err) {
    const double divisor = encode_divisor(job);
    for (uint32_t i = 0; i < job->plan->n_result; i++) {
        job->vector[i] = (float)(job->sum[i] / divisor);
        if (!isfinite(job->vector[i])) {
            return SL_FAIL(err, SL_ERR_NUMERIC,
                           "number %" PRIu32 " of the vector of sequence %zu is not finite; the "
                           "weights or the numeric mode do not suit the text",
                           i, job->i_seq);
        }
    }
    return job->fn(job->user, job->i_seq, job->vector, err);
}

static sl_status encode_rows(void *user, uint32_t first, uint32_t n, float *rows, size_t stride,
                             sl_error *err) {
    encode_job *job = user;
    (void)first; /* they come in order */
    for (uint32_t i = 0; i < n; i++) {
        encode_add_row(job, rows + i * stride);
        job->i_row++;
        if (job->i_row == job->runs[job->i_run].n_logits) {
            SL_TRY(encode_finish_seq(job, err));
            job->i_row = 0;
            job->i_run++;
            job->i_seq++;
        }
    }
    return SL_OK;
}

static sl_status encode_all(encode_job *job, const int32_t *ids, const uint32_t *lens,
                            size_t n_seqs, sl_error *err) {
    SL_TRY(encode_check(job, lens, n_seqs, err));
    while (job->i_seq < n_seqs) {
        sl_step step = {.ids = ids, .runs = job->runs};
        encode_fill(job, lens, n_seqs, &step);
        job->i_run = 0;
        SL_TRY(sl_engine_step(job->engine, &step, encode_rows, job, err));
        ids += step.n_rows;
    }
    return SL_OK;
}

sl_status sl_engine_encode(sl_engine *e, const sl_encode_options *options, const int32_t *ids,
                           const uint32_t *lens, size_t n_seqs, sl_encode_fn fn, void *user,
                           sl_error *err) {
    encode_job job = {
        .engine = e, .plan = sl_engine_plan(e), .o = *options, .fn = fn, .user = user};
    sl_status status = encode_alloc(&job, err);
    if (status == SL_OK) {
        status = encode_all(&job, ids, lens, n_seqs, err);
    }
    sl_free(job.pages);
    sl_free(job.runs);
    sl_free(job.sum);
    sl_free(job.vector);
    return status;
}
