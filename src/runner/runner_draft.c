/* Drafts for the next step: from the request's own text (sample/spec/ngram.h), as long as they pay.
 *
 * Exact without a rule of acceptance: each row is sampled as if the drafts before it were right,
 * with the random numbers of its place, and counts only if they were. So the tokens are those that
 * come without drafts, sampled or greedy.
 *
 * How long a draft is: that with which the step gives most tokens for its time, by the cost of
 * steps (plan/cost.h) and by how often guesses came true in this request. Guesses are compared with
 * what came also where none was in the step, so that nothing is spent on finding out. Owner: the
 * engine thread; allocates nothing. */
#include "runner/runner_int.h"

#define DRAFT_WEIGHT 0.125 /* of the newest guess in the rates */
#define DRAFT_GAIN 1.03    /* less is not worth the risk */
/* Where no cost is known: a few rows cost little more than one, further ones more and more. */
static const sl_cost draft_cost = {.n_points = 3, .points = {{1, 1.0}, {4, 1.25}, {32, 6.5}}};

/* Matches of so many tokens and more have a rate of their own; what it is at first. */
static const uint32_t draft_lens[RUNNER_DRAFT_RATES] = {SL_NGRAM_MIN, 5, 10};
static const double draft_rates[RUNNER_DRAFT_RATES] = {0.4, 0.6, 0.8};

static uint32_t draft_rate_of(uint32_t len) {
    uint32_t i = RUNNER_DRAFT_RATES - 1;
    while (i > 0 && len < draft_lens[i]) {
        i--;
    }
    return i;
}

void sl_runner_draft_begin(runner_drafts *d) {
    *d = (runner_drafts){0};
    for (uint32_t i = 0; i < RUNNER_DRAFT_RATES; i++) {
        d->rates[i] = draft_rates[i];
    }
}

void sl_runner_draft_learn(runner_drafts *d, uint32_t i, bool came) {
    double *rate = &d->rates[draft_rate_of(d->match_len + i)];
    *rate += DRAFT_WEIGHT * ((came ? 1.0 : 0.0) - *rate);
}

/* Of a step of n rows that all give a token. */
static double draft_seconds(const sl_runner *r, uint32_t n) {
    const sl_cost_work work = {.n_rows = n, .n_logits = n};
    return sl_cost_seconds(r->cost.n_points > 0 ? &r->cost : &draft_cost, &work);
}

/* The best length of a draft, of at most n_max; adds it to the round. */
static uint32_t draft_len(sl_runner *r, const runner_drafts *d, uint32_t n_max) {
    double chance = 1.0, sum = 0.0, best_sum = 0.0;
    double best = DRAFT_GAIN * r->round_tokens / draft_seconds(r, r->round_rows);
    uint32_t best_n = 0;
    for (uint32_t n = 1; n <= n_max; n++) {
        chance *= d->rates[draft_rate_of(d->match_len + n - 1)];
        sum += chance;
        const double rate = (r->round_tokens + sum) / draft_seconds(r, r->round_rows + n);
        if (rate > best) {
            best = rate;
            best_n = n;
            best_sum = sum;
        }
    }
    r->round_rows += best_n;
    r->round_tokens += best_sum;
    return best_n;
}

void sl_runner_draft_round(sl_runner *r) {
    r->round_rows = sl_sched_n_running(r->sched);
    r->round_tokens = r->round_rows;
}

void sl_runner_draft(sl_runner *r, uint32_t slot) {
    runner_active *a = &r->active[slot];
    sl_request *q = a->request;
    a->drafts.match_len = 0;
    if (q->ngram == NULL || q->history != NULL) { /* penalties look at the tokens before */
        return;
    }
    uint32_t n = sl_sched_draft_max(r->sched, slot);
    const sl_ngram_text text = {q->prompt_ids, q->out_ids, q->n_prompt};
    sl_ngram_grow(q->ngram, &text, q->n_prompt + a->n_out);
    if (n == 0) {
        return;
    }
    const sl_ngram_match match = sl_ngram_find(q->ngram, &text);
    if (match.len == 0) {
        return;
    }
    a->drafts.match_len = match.len;
    n = draft_len(r, &a->drafts, n < SL_RUNNER_DRAFT_MAX ? n : SL_RUNNER_DRAFT_MAX);
    /* The first one is there to compare with, whether it is planned or not. */
    sl_ngram_copy(&text, &match, n > 0 ? n : 1, q->out_ids + a->n_out);
    sl_sched_draft(r->sched, slot, n);
}
