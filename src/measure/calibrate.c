#include "measure/calibrate.h"

#include <math.h>
#include <sys/resource.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/rng.h"
#include "measure/feed.h"

#define SEQS_MAX 8u             /* that decode in one step */
#define DEPTH_MAX 1024u         /* tokens that they hold */
#define DEPTH_LEAST 128u        /* where memory or time would have fewer */
#define DEPTH_S 0.5             /* to be spent on filling them, about */
#define DEPTH_BYTES (64u << 20) /* of pages that may be touched for them */
#define CHUNK_ROWS 64u          /* of a prompt, deep in its context */
#define REPS_MAX 7              /* of one step */
#define TRIAL_S 0.1             /* no further repetition after that */
#define ROWS_S 0.15             /* no longer steps after one that took so long */
#define COUNTS_MAX 3            /* numbers of threads that are tried */
#define COUNT_ROUNDS 3          /* each so often, in turn; the best time counts */
#define FEWER_THREADS_GAIN 1.2  /* all threads are taken unless fewer are faster by this */
#define QUIET_SWITCHES 40.0     /* involuntary ones of a thread in a second, on a quiet machine */

typedef enum calibration_stage {
    STAGE_THREADS,
    STAGE_ROWS,
    STAGE_FILL,
    STAGE_DECODE,
    STAGE_ONE_LOGIT,
    STAGE_LOGITS,
    STAGE_PREFILL,
    STAGE_MIXED,
    STAGE_DONE,
} calibration_stage;

/* A step: one row of each sequence [first, first + n_decodes) at the depth, then rows of sequence
 * 0. */
typedef struct calibration_trial {
    uint32_t first, n_decodes;
    uint32_t n_rows, pos0;
    uint32_t n_logits; /* rows of them, of the first decodes */
} calibration_trial;

struct sl_calibration {
    sl_engine *e;
    sl_feed feed;
    uint32_t tokens_max; /* of a sequence */
    uint32_t counts[COUNTS_MAX], n_counts;

    calibration_stage stage;
    uint32_t i;                    /* of the stage's trials */
    uint32_t depth;                /* tokens that the sequences will hold */
    double count_s[COUNTS_MAX][2]; /* with so many threads: of one row, of a part of a prompt */
    double spent_s;                /* in steps */
    long n_switches;               /* away from threads that would have gone on, meanwhile */
    double decode_s, one_logit_s, logits_s, prefill_s; /* of whole steps */
    double check;
    sl_cost cost;
};

/* --- one step --- */

static void trial_add_run(sl_feed *f, sl_step *step, uint32_t s, uint32_t pos0, uint32_t n_rows) {
    f->runs[step->n_runs++] = (sl_step_run){.row_begin = step->n_rows,
                                            .n_rows = n_rows,
                                            .pos0 = pos0,
                                            .n_known = pos0 + n_rows,
                                            .owner = s};
    step->n_rows += n_rows;
}

static sl_status trial_build(sl_calibration *c, const calibration_trial *t, sl_step *step,
                             sl_error *err) {
    sl_feed *f = &c->feed;
    *step = (sl_step){.ids = f->ids, .runs = f->runs};
    if (t->n_rows > 0) {
        trial_add_run(f, step, 0, t->pos0, t->n_rows);
    }
    for (uint32_t i = 0; i < t->n_decodes; i++) {
        trial_add_run(f, step, t->first + i, c->depth, 1);
        f->runs[step->n_runs - 1].n_logits = i < t->n_logits ? 1 : 0;
    }
    for (uint32_t i = 0; i < step->n_runs; i++) {
        SL_TRY(sl_feed_bind(f, f->runs[i].owner, &f->runs[i], err));
    }
    step->n_logits = t->n_logits;
    for (uint32_t i = 0; i < step->n_logits; i++) {
        f->tops[i] = (sl_step_top){.top = {.n_wanted = 1}};
    }
    step->tops = f->tops;
    return SL_OK;
}

static long switches(void) {
    struct rusage usage;
    return getrusage(RUSAGE_SELF, &usage) == 0 ? usage.ru_nivcsw : 0;
}

static sl_status trial_once(sl_calibration *c, const calibration_trial *t, double *seconds,
                            sl_error *err) {
    sl_step step;
    SL_TRY(trial_build(c, t, &step, err));
    const long n_before = switches();
    const uint64_t begin_ns = sl_clock_mono_ns();
    SL_TRY(sl_engine_step(c->e, &step, NULL, NULL, err));
    *seconds = (double)(sl_clock_mono_ns() - begin_ns) * 1e-9;
    c->spent_s += *seconds;
    c->n_switches += switches() - n_before;
    return SL_OK;
}

/* The lower quartile of some steps after a first one, which brings its data into the caches: what
 * they take undisturbed. A long step is run once. */
static sl_status trial_run(sl_calibration *c, const calibration_trial *t, double *out,
                           sl_error *err) {
    double sorted[REPS_MAX], spent, seconds;
    uint32_t n = 0;
    SL_TRY(trial_once(c, t, &spent, err));
    *out = spent;
    while (n < REPS_MAX && spent < TRIAL_S) {
        SL_TRY(trial_once(c, t, &seconds, err));
        spent += seconds;
        uint32_t i = n++;
        for (; i > 0 && sorted[i - 1] > seconds; i--) {
            sorted[i] = sorted[i - 1];
        }
        sorted[i] = seconds;
        *out = sorted[n / 4];
    }
    return SL_OK;
}

/* --- the stages --- */

static uint32_t min_u32(uint32_t a, uint32_t b) {
    return a < b ? a : b;
}

/* Of one step with a single sequence. */
static uint32_t longest_step(const sl_calibration *c) {
    return min_u32(sl_engine_rows_max(c->e), c->tokens_max);
}

/* Decoding one sequence and a part of a prompt count the same: the product of their times. */
static uint32_t best_count(const sl_calibration *c) {
    const double all = c->count_s[0][0] * c->count_s[0][1];
    double best = all / (FEWER_THREADS_GAIN * FEWER_THREADS_GAIN);
    uint32_t count = c->counts[0];
    for (uint32_t i = 1; i < c->n_counts; i++) {
        const double product = c->count_s[i][0] * c->count_s[i][1];
        if (product < best) {
            best = product;
            count = c->counts[i];
        }
    }
    return count;
}

/* The pool is left as it was: others may use it next. */
static sl_status stage_threads(sl_calibration *c, sl_error *err) {
    sl_pool *pool = sl_engine_pool(c->e);
    const uint32_t i_count = c->i % c->n_counts;
    const uint32_t n_rows[2] = {1, min_u32(CHUNK_ROWS, longest_step(c))};
    sl_status status = SL_OK;
    sl_pool_limit(pool, c->counts[i_count]);
    for (int many = 0; many < 2 && status == SL_OK; many++) {
        double seconds = 0.0, *best = &c->count_s[i_count][many];
        status = trial_run(c, &(calibration_trial){.n_rows = n_rows[many]}, &seconds, err);
        *best = c->i < c->n_counts ? seconds : fmin(*best, seconds);
    }
    sl_pool_limit(pool, c->counts[0]);
    c->i++;
    if (c->n_counts == 1 || c->i == c->n_counts * COUNT_ROUNDS) {
        c->cost.n_threads = best_count(c);
        sl_pool_limit(pool, c->cost.n_threads);
        c->stage = STAGE_ROWS;
        c->i = 0;
    }
    return status;
}

/* Deep enough that attention is a good part of a step, as far as time, memory and room go. */
static uint32_t choose_depth(const sl_calibration *c) {
    const sl_cost_point *last = &c->cost.points[c->cost.n_points - 1];
    const uint32_t room = c->tokens_max - min_u32(CHUNK_ROWS, c->tokens_max / 2);
    sl_engine_memory m;
    sl_engine_memory_now(c->e, &m);
    uint32_t depth = DEPTH_MAX;
    while (depth > DEPTH_LEAST &&
           (depth * last->seconds > DEPTH_S * last->n_rows ||
            c->feed.n_seq * sl_engine_seq_pages(c->e, depth) * m.page_bytes > DEPTH_BYTES)) {
        depth -= DEPTH_LEAST;
    }
    depth = min_u32(depth, room);
    const uint32_t whole_pages = depth / SL_PAGE_TOKENS * SL_PAGE_TOKENS;
    return whole_pages > 0 ? whole_pages : depth;
}

static sl_status stage_rows(sl_calibration *c, sl_error *err) {
    const uint32_t rows_max = longest_step(c);
    const uint32_t n_rows = min_u32((uint32_t)1 << c->i, rows_max);
    double seconds;
    SL_TRY(trial_run(c, &(calibration_trial){.n_rows = n_rows}, &seconds, err));
    c->cost.points[c->cost.n_points++] = (sl_cost_point){.n_rows = n_rows, .seconds = seconds};
    c->i++;
    if (n_rows == rows_max || c->cost.n_points == SL_COST_POINTS_MAX ||
        (n_rows >= CHUNK_ROWS && seconds > ROWS_S)) {
        c->depth = choose_depth(c);
        c->stage = STAGE_FILL;
        c->i = 0; /* tokens that are filled in */
    }
    return SL_OK;
}

/* One sequence is computed, the others get its keys and values. */
static sl_status stage_fill(sl_calibration *c, sl_error *err) {
    const uint32_t longest = c->cost.points[c->cost.n_points - 1].n_rows;
    const uint32_t n_rows = min_u32(longest, c->depth - c->i);
    double ignored;
    SL_TRY(trial_once(c, &(calibration_trial){.n_rows = n_rows, .pos0 = c->i}, &ignored, err));
    c->i += n_rows;
    if (c->i < c->depth) {
        return SL_OK;
    }
    c->stage = STAGE_DECODE;
    return sl_feed_share(&c->feed, c->depth, err);
}

static uint32_t deep_chunk(const sl_calibration *c) {
    const uint32_t longest = c->cost.points[c->cost.n_points - 1].n_rows;
    return min_u32(min_u32(CHUNK_ROWS, longest), c->tokens_max - c->depth);
}

/* Whole steps -> the figures of the formula. What rows saw of each other in the steps of a stage is
 * taken out of them. */
static void solve(sl_calibration *c) {
    const sl_plan *plan = sl_engine_plan(c->e);
    const uint32_t n_seq = c->feed.n_seq, n_chunk = deep_chunk(c);
    sl_cost cost = c->cost; /* of rows alone so far */
    const double near_s = sl_cost_seconds(&cost, &(sl_cost_work){.n_rows = n_chunk});
    const double n_more = sl_cost_attended(plan, c->depth, n_chunk) -
                          sl_cost_attended(plan, 0, n_chunk);
    const double prefill_s = n_more > 0.0 ? fmax(0.0, (c->prefill_s - near_s) / n_more) : 0.0;
    for (uint32_t i = 1; i < cost.n_points; i++) {
        sl_cost_point *point = &cost.points[i];
        point->seconds -= prefill_s * sl_cost_attended(plan, 0, point->n_rows);
        point->seconds = fmax(point->seconds, point[-1].seconds);
    }
    const double rows_s = sl_cost_seconds(&cost, &(sl_cost_work){.n_rows = n_seq});
    const double n_seen = n_seq * sl_cost_attended(plan, c->depth, 1);
    cost.decode_s = n_seen > 0.0 ? fmax(0.0, (c->decode_s - rows_s) / n_seen) : 0.0;
    const double more_s = n_seq > 1 ? (c->logits_s - c->one_logit_s) / (n_seq - 1) : 0.0;
    cost.logits_s = fmax(0.0, more_s);
    cost.head_s = fmax(0.0, c->one_logit_s - c->decode_s - cost.logits_s);
    cost.prefill_s = prefill_s;
    c->cost = cost;
}

/* All sequences decode but the first, which takes a part of its prompt. */
static sl_status stage_mixed(sl_calibration *c, sl_error *err) {
    const uint32_t room = sl_engine_rows_max(c->e) - (c->feed.n_seq - 1);
    const calibration_trial t = {.first = 1,
                                 .n_decodes = c->feed.n_seq - 1,
                                 .n_rows = min_u32(deep_chunk(c), room),
                                 .pos0 = c->depth,
                                 .n_logits = c->feed.n_seq - 1};
    double seconds;
    sl_step step;
    SL_TRY(trial_build(c, &t, &step, err));
    const sl_cost_work work = sl_cost_work_of(sl_engine_plan(c->e), &step);
    SL_TRY(trial_run(c, &t, &seconds, err));
    c->check = seconds / sl_cost_seconds(&c->cost, &work);
    return SL_OK;
}

static sl_status stage_deep(sl_calibration *c, sl_error *err) {
    const uint32_t n_seq = c->feed.n_seq;
    const calibration_trial decode = {.n_decodes = n_seq};
    const calibration_trial one_logit = {.n_decodes = n_seq, .n_logits = 1};
    const calibration_trial logits = {.n_decodes = n_seq, .n_logits = n_seq};
    const calibration_trial chunk = {.n_rows = deep_chunk(c), .pos0 = c->depth};
    switch (c->stage) {
    case STAGE_DECODE:
        SL_TRY(trial_run(c, &decode, &c->decode_s, err));
        break;
    case STAGE_ONE_LOGIT:
        SL_TRY(trial_run(c, &one_logit, &c->one_logit_s, err));
        break;
    case STAGE_LOGITS:
        SL_TRY(trial_run(c, &logits, &c->logits_s, err));
        break;
    case STAGE_PREFILL:
        SL_TRY(trial_run(c, &chunk, &c->prefill_s, err));
        solve(c);
        break;
    default:
        SL_TRY(stage_mixed(c, err));
        break;
    }
    c->stage++;
    return SL_OK;
}

sl_status sl_calibration_next(sl_calibration *c, sl_error *err) {
    switch (c->stage) {
    case STAGE_THREADS:
        SL_TRY(stage_threads(c, err));
        break;
    case STAGE_ROWS:
        SL_TRY(stage_rows(c, err));
        break;
    case STAGE_FILL:
        SL_TRY(stage_fill(c, err));
        break;
    case STAGE_DONE:
        break;
    default:
        SL_TRY(stage_deep(c, err));
        break;
    }
    return c->stage == STAGE_DONE ? SL_OK : SL_AGAIN;
}

/* --- life ------------------------------------------------------------------------------------- */

void sl_calibration_restart(sl_calibration *c) {
    sl_pool_limit(sl_engine_pool(c->e), c->counts[0]);
    c->stage = STAGE_THREADS;
    c->i = 0;
    c->n_switches = 0;
    c->spent_s = 0.0;
    c->cost = (sl_cost){0};
}

const sl_cost *sl_calibration_cost(const sl_calibration *c) {
    return &c->cost;
}

/* On two cores, the system's own work came to 15 a second and thread, one busy program to 100. */
bool sl_calibration_disturbed(const sl_calibration *c) {
    const double thread_s = sl_pool_n_threads(sl_engine_pool(c->e)) * fmax(c->spent_s, 1.0);
    return (double)c->n_switches > QUIET_SWITCHES * thread_s;
}

double sl_calibration_check(const sl_calibration *c) {
    return c->check;
}

/* All threads, three quarters and half of them: where some share a core or the memory is the limit,
 * fewer may do as well. On several nodes the last threads are a node's, whose memory others would
 * read from afar. */
static void choose_counts(sl_calibration *c, bool all_threads) {
    const sl_pool *pool = sl_engine_pool(c->e);
    const uint32_t n = sl_pool_n_threads(pool);
    all_threads = all_threads || sl_pool_nodes(pool)->n > 1;
    const uint32_t wanted[COUNTS_MAX] = {n, n * 3 / 4, n / 2};
    for (uint32_t i = 0; i < COUNTS_MAX; i++) {
        if (i == 0 || (!all_threads && wanted[i] > 0 && wanted[i] < c->counts[c->n_counts - 1])) {
            c->counts[c->n_counts++] = wanted[i];
        }
    }
}

/* As many sequences as the pool has pages for. */
static sl_status open_sequences(sl_calibration *c, sl_error *err) {
    sl_engine *e = c->e;
    const uint32_t n_pages = sl_engine_n_pages(e), ctx_max = sl_engine_ctx_max(e);
    const uint32_t wanted = DEPTH_MAX + CHUNK_ROWS, rows_max = sl_engine_rows_max(e);
    c->tokens_max = min_u32(ctx_max, wanted > rows_max ? wanted : rows_max);
    c->tokens_max = min_u32(c->tokens_max, sl_kv_groups_tokens(sl_engine_kv_groups(e), n_pages));
    if (c->tokens_max < 2) {
        return SL_FAIL(err, SL_ERR_ARGUMENT, "contexts of one token cannot be measured");
    }
    const uint64_t n_each = sl_engine_seq_pages(e, c->tokens_max);
    uint32_t n_seq = min_u32(SEQS_MAX, min_u32(sl_engine_runs_max(e), sl_engine_rows_max(e)));
    n_seq = n_pages / n_each < n_seq ? (uint32_t)(n_pages / n_each) : n_seq;
    return sl_feed_init(&c->feed, e, n_seq, c->tokens_max, err);
}

sl_status sl_calibration_create(sl_engine *e, bool all_threads, sl_calibration **out,
                                sl_error *err) {
    const sl_plan *plan = sl_engine_plan(e);
    if (plan->is_encoder) {
        return SL_FAIL(err, SL_ERR_UNSUPPORTED, "%s is an encoder, whose texts are never cut",
                       plan->arch);
    }
    sl_calibration *c = sl_alloc_zero(1, sizeof(*c));
    if (c == NULL) {
        return SL_FAIL(err, SL_ERR_MEMORY, "no memory to measure steps");
    }
    c->e = e;
    choose_counts(c, all_threads);
    sl_status status = open_sequences(c, err);
    if (status != SL_OK) {
        sl_free(c);
        return status;
    }
    for (uint32_t i = 0; i < sl_engine_rows_max(e); i++) { /* experts are chosen by the token */
        c->feed.ids[i] = (int32_t)(sl_rng_double(4, 0, i) * plan->n_vocab);
    }
    *out = c;
    return SL_OK;
}

void sl_calibration_free(sl_calibration *c) {
    if (c != NULL) {
        sl_feed_deinit(&c->feed);
        sl_free(c);
    }
}
