/* One step on the engine thread: run it, sample its rows on all workers (from their largest logits
 * where these are enough), give every token to its request and end those that are done. Allocates
 * nothing. Owner: the engine thread; the sampling jobs run on the pool while it waits for them. */
#include <inttypes.h>
#include <math.h>

#include "base/clock.h"
#include "base/error.h"
#include "runner/runner_int.h"

/* Logits rows that can be sampled, for the workers. */
typedef struct step_block {
    sl_runner *r;
    sl_pool *pool; /* NULL: one thread does it all */
    const uint32_t *rows;
    uint32_t n;
    float *logits; /* of these rows; NULL: they were not wanted whole */
    size_t stride;
} step_block;

/* The i-th row of the block -> the next token of its request, written to the slot's arrays but not
 * yet published. */
static void step_sample_row(const step_block *b, uint32_t i_row, sl_sampler *sampler) {
    sl_runner *r = b->r;
    const uint32_t row = b->rows[i_row];
    const runner_row *place = &r->rows[row];
    const runner_active *a = &r->active[place->slot];
    sl_request *q = a->request;
    runner_sampled *out = &r->sampled[row];
    const uint32_t i = a->n_out + place->place;
    const bool has_guess = place->place < place->n_draft ||
                           (place->place == 0 && a->drafts.match_len > 0);
    const uint64_t position = (uint64_t)q->n_prompt + i;
    sl_sample_out chosen;
    if (b->logits != NULL) {
        out->status = sl_sample_row(sampler, b->logits + i_row * b->stride, &q->sample, q->history,
                                    q->choice, position, &chosen, &out->error);
    } else {
        out->status = sl_sample_largest(sampler, &r->tops[row].top, r->tops[row].log_sum,
                                        &q->sample, q->choice, position, &chosen, &out->error);
    }
    if (out->status != SL_OK) {
        return;
    }
    out->is_guess = has_guess && q->out_ids[i] == chosen.id;
    q->out_ids[i] = chosen.id;
    if (q->out_logprobs != NULL) {
        q->out_logprobs[i] = chosen.logprob;
    }
    for (uint32_t k = 0; k < q->n_top; k++) {
        q->out_top[(size_t)i * q->n_top + k] = k < chosen.n_top
                                                   ? chosen.top[k]
                                                   : (sl_logprob){.id = -1, .logprob = -INFINITY};
    }
}

static void step_sample_job(void *arg, uint32_t ith, uint32_t nth) {
    (void)nth;
    const step_block *b = arg;
    for (uint32_t i; (i = sl_pool_claim(b->pool, ith, 1)) < b->n;) {
        step_sample_row(b, i, b->r->samplers[ith]);
    }
}

static void step_sample(step_block *b) {
    sl_runner *r = b->r;
    if (b->n <= 1 || r->n_workers == 1) { /* not worth waking the others */
        for (uint32_t i = 0; i < b->n; i++) {
            step_sample_row(b, i, r->samplers[0]);
        }
    } else {
        b->pool = sl_engine_pool(r->engine);
        sl_pool_run(b->pool, step_sample_job, b);
    }
}

static sl_status step_on_logits(void *user, uint32_t first, uint32_t n, float *logits,
                                size_t stride, sl_error *err) {
    (void)err; /* a row that fails ends its own request only */
    sl_runner *r = user;
    step_sample(&(step_block){
        .r = r, .rows = r->sample_rows + first, .n = n, .logits = logits, .stride = stride});
    return SL_OK;
}

/* --- tokens --- */

static bool step_is_stop(const sl_runner *r, const sl_request *q, int32_t id) {
    if (!q->ignore_eos && (r->eog_bits[id / 64] >> (id % 64) & 1) != 0) {
        return true;
    }
    for (uint32_t i = 0; i < q->n_stop_ids; i++) {
        if (q->stop_ids[i] == id) {
            return true;
        }
    }
    return false;
}

/* Publishes the token of one logits row, and the end of its request if this was the last one. True:
 * the next row of the run follows it, since its draft was this token. */
static bool step_give_row(sl_runner *r, uint32_t row, uint64_t now_ns) {
    const runner_row *place = &r->rows[row];
    const uint32_t slot = place->slot;
    const runner_sampled *sampled = &r->sampled[row];
    runner_active *a = &r->active[slot];
    sl_request *q = a->request;
    if (sampled->status != SL_OK) {
        sl_runner_end(r, slot, SL_FINISH_ERROR, &sampled->error);
        return false;
    }
    if (a->drafts.match_len > 0 && (place->place == 0 || place->place < place->n_draft)) {
        sl_runner_draft_learn(&a->drafts, place->place, sampled->is_guess);
    }
    const bool accepted = place->place < place->n_draft && sampled->is_guess;
    if (accepted) {
        RUNNER_COUNT(q->n_accepted, 1);
        RUNNER_COUNT(r->stats.accepted_tokens, 1);
    }
    if (a->n_out == 0) {
        q->t_first_ns = now_ns;
        q->n_cached = sl_sched_story_of(r->sched, slot).n_cached;
        RUNNER_COUNT(r->stats.cached_tokens, q->n_cached);
    }
    const int32_t id = q->out_ids[a->n_out++];
    if (q->history != NULL) {
        sl_sample_history_add_output(q->history, id);
    }
    RUNNER_COUNT(r->stats.generated_tokens, 1);
    atomic_store_explicit(&q->n_out, a->n_out, memory_order_release);
    if (step_is_stop(r, q, id)) {
        sl_runner_end(r, slot, SL_FINISH_STOP, NULL);
    } else if (a->n_out == q->max_tokens) {
        sl_runner_end(r, slot, SL_FINISH_LENGTH, NULL);
    } else if ((accepted ? sl_sched_accept(r->sched, slot) : sl_sched_append(r->sched, slot)) !=
               SL_OK) {
        sl_error err;
        (void)SL_FAIL(&err, SL_ERR_INTERNAL, "the scheduler refused token %" PRIu32 " of a request",
                      a->n_out);
        sl_runner_end(r, slot, SL_FINISH_ERROR, &err);
    } else {
        sl_runner_news(r, slot);
        return accepted;
    }
    return false;
}

/* The tokens of one run, whose first row of logits this is; returns the first row of the next. */
static uint32_t step_give(sl_runner *r, uint32_t row, uint64_t now_ns) {
    const runner_row *first = &r->rows[row];
    if (first->n_draft > 0) {
        RUNNER_COUNT(r->active[first->slot].request->n_drafted, first->n_draft);
        RUNNER_COUNT(r->stats.drafted_tokens, first->n_draft);
    }
    uint32_t i = row;
    while (step_give_row(r, i, now_ns)) {
        i++;
    }
    if (r->active[first->slot].active) {
        sl_runner_draft(r, first->slot);
    }
    return row + 1 + first->n_draft;
}

/* --- the step --- */

static void step_count(sl_runner *r, const sl_step *step, uint64_t begin_ns, uint64_t end_ns) {
    uint64_t n_prompt_rows = 0;
    for (uint32_t i = 0; i < step->n_runs; i++) {
        const sl_step_run *run = &step->runs[i];
        const runner_active *a = &r->active[run->owner];
        const uint32_t n_prompt = a->request->n_prompt;
        if (a->n_out == 0 && run->pos0 < n_prompt) { /* a prompt computed anew counts once */
            const uint32_t left = n_prompt - run->pos0;
            const uint32_t n = run->n_rows < left ? run->n_rows : left;
            n_prompt_rows += n;
            sl_runner_event(a->request, SL_EVENT_PROMPT, end_ns, n);
        }
    }
    RUNNER_COUNT(r->stats.prompt_tokens, n_prompt_rows);
    RUNNER_COUNT(r->stats.steps, 1);
    RUNNER_COUNT(r->stats.step_rows, step->n_rows);
    RUNNER_COUNT(r->stats.step_ns, end_ns - begin_ns);
    RUNNER_GAUGE(r->stats.last_step_end_ns, end_ns);
}

/* Weights that are packed or fetched on the way make a step longer than it will ever be again. */
static void step_compare_cost(sl_runner *r, const sl_step *step, uint64_t ns) {
    if (r->cost.n_points == 0 || !r->all_ready) {
        return;
    }
    const sl_cost_work work = sl_cost_work_of(sl_engine_plan(r->engine), step);
    sl_cost_drift_add(&r->drift, sl_cost_seconds(&r->cost, &work), (double)ns * 1e-9);
    const double ratio = sl_cost_drift_ratio(&r->drift);
    sl_sched_set_cost_ratio(r->sched, ratio);
    RUNNER_GAUGE(r->stats.cost_millis, (uint64_t)(1e3 * ratio + 0.5));
}

void sl_runner_set_cost(sl_runner *r, const sl_cost *cost) {
    r->cost = *cost;
    r->drift = (sl_cost_drift){0};
    sl_sched_set_cost(r->sched, sl_engine_plan(r->engine), cost);
}

bool sl_runner_cost_drifted(const sl_runner *r) {
    return sl_cost_drift_is_large(&r->drift);
}

/* A file that vanished ends everything for good; any other error ends the requests of this step. */
static void step_fail(sl_runner *r, const sl_step *step, const sl_error *err) {
    sl_sched_abandon(r->sched);
    if (err->code == SL_ERR_IO) {
        r->failure = *err;
        atomic_store_explicit(&r->failed, true, memory_order_release);
        return;
    }
    for (uint32_t i = 0; i < step->n_runs; i++) {
        sl_runner_end(r, step->runs[i].owner, SL_FINISH_ERROR, err);
    }
}

/* Which slots get a token, and what of their logits that takes; returns how many rows are wanted
 * whole. */
static uint32_t step_ask(sl_runner *r, const sl_step *step) {
    uint32_t n_logits = 0, n_whole = 0, n_tops = 0;
    for (uint32_t i = 0; i < step->n_runs; i++) {
        const sl_step_run *run = &step->runs[i];
        const sl_sample_options *o = &r->active[run->owner].request->sample;
        for (uint32_t place = 0; place < run->n_logits; place++, n_logits++) {
            sl_step_top *t = &r->tops[n_logits];
            t->top.n_wanted = sl_sample_n_largest(o, r->n_vocab);
            t->wants_log_sum = o->want_logprob || o->n_top > 0;
            r->rows[n_logits] = (runner_row){
                .slot = run->owner, .place = place, .n_draft = run->n_logits - 1};
            n_whole += t->top.n_wanted == 0;
        }
    }
    for (uint32_t i = 0, whole = 0; i < n_logits; i++) {
        r->sample_rows[r->tops[i].top.n_wanted == 0 ? whole++ : n_whole + n_tops++] = i;
    }
    return n_whole;
}

void sl_runner_step(sl_runner *r, const sl_step *planned, uint64_t now_ns) {
    const uint32_t n_whole = step_ask(r, planned);
    sl_step step = *planned;
    step.tops = r->tops;
    sl_error err = {0};
    const uint64_t begin_ns = sl_clock_mono_ns();
    const sl_status status = sl_engine_step(r->engine, &step, step_on_logits, r, &err);
    const uint64_t engine_ns = sl_clock_mono_ns() - begin_ns;
    if (status != SL_OK) {
        err.code = status;
        step_fail(r, &step, &err);
        return;
    }
    step_sample(
        &(step_block){.r = r, .rows = r->sample_rows + n_whole, .n = step.n_logits - n_whole});
    const uint64_t end_ns = sl_clock_mono_ns();
    step_count(r, &step, now_ns, end_ns);
    step_compare_cost(r, &step, engine_ns);
    sl_runner_forecast_learn(r, &step, end_ns - now_ns);
    sl_sched_commit(r->sched);
    sl_runner_draft_round(r);
    for (uint32_t i = 0; i < step.n_logits;) {
        i = step_give(r, i, end_ns);
    }
}
