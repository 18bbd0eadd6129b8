/* The life of requests: added, ended, grown by a token; questions. See sched.h; invariants are
 * numbered in README.md. */
#include "sched/sched_int.h"

#include "base/alloc.h"
#include "base/error.h"

#define SCHED_AGE_NS UINT64_C(10000000000)

static sl_status sched_check_options(const sl_sched_options *o, const sl_kv *kv, sl_error *err) {
    if (o->n_slots == 0 || o->rows_max == 0 || o->runs_max == 0 || o->ctx_max == 0 ||
        o->queue_max == 0) {
        return SL_FAIL(err, SL_ERR_ARGUMENT,
                       "the scheduler needs at least 1 slot, row, run, context token and queue "
                       "place (%u, %u, %u, %u, %u)",
                       o->n_slots, o->rows_max, o->runs_max, o->ctx_max, o->queue_max);
    }
    if (o->policy > SL_SCHED_SHORTEST || o->batching > SL_SCHED_WINDOW) {
        return SL_FAIL(err, SL_ERR_ARGUMENT, "no policy %d or batching %d", (int)o->policy,
                       (int)o->batching);
    }
    if (o->rows_max > sl_kv_groups_of(kv)->rows_max) {
        return SL_FAIL(err, SL_ERR_ARGUMENT, "steps of %u rows, but KV tables for runs of %u",
                       o->rows_max, sl_kv_groups_of(kv)->rows_max);
    }
    if (o->ctx_max > sl_kv_n_tokens_max(kv)) {
        return SL_FAIL(err, SL_ERR_ARGUMENT, "a context of %u tokens, but KV tables for %u",
                       o->ctx_max, sl_kv_n_tokens_max(kv));
    }
    return SL_OK;
}

static void sched_defaults(sl_sched_options *o) {
    o->chunk_rows = o->chunk_rows == 0 ? o->rows_max : sched_min(o->chunk_rows, o->rows_max);
    o->age_ns = o->age_ns == 0 ? SCHED_AGE_NS : o->age_ns;
    o->n_tenants = o->n_tenants == 0 ? 1 : o->n_tenants;
    o->batch_max = o->batch_max == 0 ? UINT32_MAX : o->batch_max;
}

sl_status sl_sched_create(const sl_sched_options *options, sl_kv *kv, sl_sched **out,
                          sl_error *err) {
    SL_TRY(sched_check_options(options, kv, err));
    sl_sched *s = sl_alloc_zero(1, sizeof(*s));
    if (s == NULL) {
        return SL_FAIL(err, SL_ERR_MEMORY, "no memory for the scheduler");
    }
    s->options = *options;
    sched_defaults(&s->options);
    s->kv = kv;
    s->running_max = sl_sched_running_max(options->rows_max, options->runs_max);
    for (int state = 0; state < SCHED_STATES; state++) {
        s->lists[state] = (sched_list){.head = SCHED_NONE, .tail = SCHED_NONE};
    }
    s->mean_out = SCHED_OUT_EXPECTED * SCHED_OUT_WEIGHT;
    s->seqs = sl_alloc_zero(options->n_slots, sizeof(*s->seqs));
    s->ids = sl_alloc_zero(options->rows_max, sizeof(*s->ids));
    s->runs = sl_alloc_zero(options->runs_max, sizeof(*s->runs));
    s->admitted = sl_alloc_zero(options->runs_max, sizeof(*s->admitted));
    s->tenants = sl_alloc_zero(s->options.n_tenants, sizeof(*s->tenants));
    if (s->seqs == NULL || s->ids == NULL || s->runs == NULL || s->admitted == NULL ||
        s->tenants == NULL) {
        sl_sched_free(s);
        return SL_FAIL(err, SL_ERR_MEMORY, "no memory for the scheduler's tables of %u requests",
                       options->n_slots);
    }
    for (uint32_t i = 0; i < s->options.n_tenants; i++) {
        s->tenants[i].weight = 1;
    }
    s->step = (sl_step){.ids = s->ids, .runs = s->runs};
    *out = s;
    return SL_OK;
}

void sl_sched_set_cost(sl_sched *s, const sl_plan *plan, const sl_cost *cost) {
    s->plan = plan;
    s->cost = *cost;
    s->cost_ratio = 1.0;
}

void sl_sched_set_cost_ratio(sl_sched *s, double ratio) {
    s->cost_ratio = ratio;
}

void sl_sched_free(sl_sched *s) {
    if (s == NULL) {
        return;
    }
    uint32_t slot;
    while (s->seqs != NULL && sl_sched_any(s, &slot)) {
        sl_sched_end(s, slot);
    }
    sl_free(s->seqs);
    sl_free(s->ids);
    sl_free(s->runs);
    sl_free(s->admitted);
    sl_free(s->tenants);
    sl_free(s);
}

/* --- requests --- */

void sl_sched_share(sl_sched *s, const sched_seq *q) {
    const uint32_t ctx_switch = s->options.ctx_switch;
    const sl_prefix_key key = {.salt = q->request.salt,
                               .variant = ctx_switch != 0 && sched_n_known(q) > ctx_switch};
    if (q->request.shares) {
        sl_kv_seq_share(s->kv, q->kv_seq, &key);
    }
}

sl_status sl_sched_check(const sl_sched *s, uint32_t n_prompt, uint32_t max_tokens, sl_error *err) {
    if (n_prompt == 0 || max_tokens == 0) {
        return SL_FAIL(
            err, SL_ERR_ARGUMENT,
            "a request needs at least one prompt token and one token to generate (%u and %u)",
            n_prompt, max_tokens);
    }
    const uint64_t n_tokens = (uint64_t)n_prompt + max_tokens;
    if (n_tokens > s->options.ctx_max) {
        return SL_FAIL(
            err, SL_ERR_ARGUMENT,
            "the context is %u tokens, but %u of prompt and %u to generate make %llu; shorten "
            "the prompt or generate less",
            s->options.ctx_max, n_prompt, max_tokens, (unsigned long long)n_tokens);
    }
    const sl_kv_groups *groups = sl_kv_groups_of(s->kv);
    const uint64_t n_needed = sl_kv_groups_pages(groups, n_tokens);
    const uint32_t n_pages = sl_kv_n_pages(s->kv);
    if (n_needed > n_pages) {
        return SL_FAIL(
            err, SL_ERR_ARGUMENT,
            "%u prompt tokens and %u to generate need %llu KV pages, but the whole pool has %u "
            "(%u tokens); shorten the request or give more KV memory",
            n_prompt, max_tokens, (unsigned long long)n_needed, n_pages,
            sl_kv_groups_tokens(groups, n_pages));
    }
    return SL_OK;
}

sl_status sl_sched_add(sl_sched *s, uint32_t slot, const sl_sched_request *request, sl_error *err) {
    if (slot >= s->options.n_slots || s->seqs[slot].state != SCHED_FREE) {
        return SL_FAIL(err, SL_ERR_ARGUMENT, "slot %u is in use or above the last one (%u)", slot,
                       s->options.n_slots - 1);
    }
    if (request->tenant >= s->options.n_tenants) {
        return SL_FAIL(err, SL_ERR_ARGUMENT, "tenant %u of %u", request->tenant,
                       s->options.n_tenants);
    }
    SL_TRY(sl_sched_check(s, request->n_prompt, request->max_tokens, err));
    const uint64_t n_tokens = sched_tokens_max(request);
    const uint32_t n_waiting = s->lists[SCHED_WAITING].n;
    if (n_waiting >= s->options.queue_max ||
        (n_waiting > 0 && s->waiting_tokens + n_tokens > s->options.queue_tokens_max)) {
        return SL_AGAIN;
    }
    s->seqs[slot] = (sched_seq){.request = *request, .kv_seq = SL_KV_SEQ_NONE};
    sl_sched_rank_new(s, slot);
    sl_sched_move(s, slot, SCHED_WAITING);
    s->waiting_tokens += n_tokens;
    s->n_deadlines += request->deadline_ns != 0;
    return SL_OK;
}

static void sched_learn_length(sl_sched *s, uint32_t n_out) {
    if (n_out > 0) {
        s->mean_out += n_out - s->mean_out / SCHED_OUT_WEIGHT;
    }
}

void sl_sched_end(sl_sched *s, uint32_t slot) {
    sched_seq *q = &s->seqs[slot];
    if (q->state == SCHED_FREE) {
        return;
    }
    if (q->state == SCHED_WAITING) {
        s->waiting_tokens -= sched_tokens_max(&q->request);
    } else if (q->state == SCHED_RUNNING) {
        sl_kv_seq_close(s->kv, q->kv_seq);
    }
    sched_learn_length(s, q->n_out);
    sl_sched_move(s, slot, SCHED_FREE);
    sl_sched_leave(s, q);
    s->n_deadlines -= q->request.deadline_ns != 0;
    *q = (sched_seq){0};
}

sl_status sl_sched_append(sl_sched *s, uint32_t slot) {
    sched_seq *q = &s->seqs[slot];
    if (q->state != SCHED_RUNNING || q->n_computed != sched_n_known(q)) {
        return SL_ERR_ARGUMENT;
    }
    if (q->n_out >= q->request.max_tokens) {
        return SL_ERR_LIMIT;
    }
    q->n_out++;
    q->n_ahead = 0;
    if (s->options.ctx_switch != 0 && sched_n_known(q) == s->options.ctx_switch + 1) {
        /* The other rope tables hold for all its positions from now on. */
        q->n_computed = 0;
        sl_kv_seq_restart(s->kv, q->kv_seq);
        sl_sched_share(s, q);
    }
    return SL_OK;
}

sl_status sl_sched_accept(sl_sched *s, uint32_t slot) {
    sched_seq *q = &s->seqs[slot];
    if (q->state != SCHED_RUNNING || q->n_ahead == 0 || q->n_computed != sched_n_known(q)) {
        return SL_ERR_ARGUMENT;
    }
    q->n_ahead--;
    q->n_out++;
    q->n_computed++;
    return SL_OK;
}

uint32_t sl_sched_draft_max(const sl_sched *s, uint32_t slot) {
    const sched_seq *q = &s->seqs[slot];
    if (q->state != SCHED_RUNNING || !sched_decodes(q)) {
        return 0;
    }
    /* The row of the last draft gives one token more. */
    uint32_t n = q->request.max_tokens - q->n_out - 1;
    const uint32_t n_known = sched_n_known(q), ctx_switch = s->options.ctx_switch;
    if (ctx_switch != 0 && n_known <= ctx_switch) { /* all rows of a run have the same tables */
        n = sched_min(n, ctx_switch - n_known);
    }
    return sched_min(n, s->options.rows_max - 1);
}

void sl_sched_draft(sl_sched *s, uint32_t slot, uint32_t n) {
    s->seqs[slot].n_draft = n;
}

/* --- questions --- */

#define SCHED_LISTS 3
static const sched_state sched_lists[SCHED_LISTS] = {SCHED_RUNNING, SCHED_ON_HOLD, SCHED_WAITING};

bool sl_sched_expired(const sl_sched *s, uint64_t now_ns, uint32_t *slot_out) {
    if (s->n_deadlines == 0) {
        return false;
    }
    for (uint32_t i = 0; i < SCHED_LISTS; i++) {
        for (uint32_t slot = s->lists[sched_lists[i]].head; slot != SCHED_NONE;
             slot = s->seqs[slot].next) {
            const uint64_t deadline_ns = s->seqs[slot].request.deadline_ns;
            if (deadline_ns != 0 && deadline_ns <= now_ns) {
                *slot_out = slot;
                return true;
            }
        }
    }
    return false;
}

bool sl_sched_any(const sl_sched *s, uint32_t *slot_out) {
    for (uint32_t i = 0; i < SCHED_LISTS; i++) {
        const uint32_t slot = s->lists[sched_lists[i]].head;
        if (slot != SCHED_NONE) {
            *slot_out = slot;
            return true;
        }
    }
    return false;
}

void sl_sched_pause(sl_sched *s, bool paused) {
    s->paused = paused;
}

sl_sched_ahead sl_sched_ahead_now(const sl_sched *s) {
    const sched_list *running = &s->lists[SCHED_RUNNING], *held = &s->lists[SCHED_ON_HOLD];
    sl_sched_ahead ahead = {.n_running = running->n + held->n,
                            .mean_out = s->mean_out / SCHED_OUT_WEIGHT};
    uint64_t n_needed = 0;
    for (uint32_t i = 0; i < 2; i++) {
        for (uint32_t slot = (i == 0 ? running : held)->head; slot != SCHED_NONE;
             slot = s->seqs[slot].next) {
            const sched_seq *q = &s->seqs[slot];
            ahead.n_rows += sched_decodes(q) ? 0 : sched_rows_left(q);
            n_needed += sl_sched_growth(s, q);
        }
    }
    const uint64_t n_there = sl_kv_n_there(s->kv);
    ahead.n_pages = n_there > n_needed ? n_there - n_needed : 0;
    ahead.n_places = s->running_max > ahead.n_running ? s->running_max - ahead.n_running : 0;
    return ahead;
}

uint32_t sl_sched_n_waiting(const sl_sched *s) {
    return s->lists[SCHED_WAITING].n;
}

uint32_t sl_sched_n_running(const sl_sched *s) {
    return s->lists[SCHED_RUNNING].n;
}

uint32_t sl_sched_n_on_hold(const sl_sched *s) {
    return s->lists[SCHED_ON_HOLD].n;
}

uint64_t sl_sched_waiting_tokens(const sl_sched *s) {
    return s->waiting_tokens;
}

const uint32_t *sl_sched_admitted(const sl_sched *s, uint32_t *n_out) {
    *n_out = s->n_admitted;
    return s->admitted;
}

sl_sched_story sl_sched_story_of(const sl_sched *s, uint32_t slot) {
    return s->seqs[slot].story;
}
