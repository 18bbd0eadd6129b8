/* First come, first served over a page pool. See sched.h; invariants are numbered in README.md. */
#include "sched/sched.h"

#include "base/alloc.h"
#include "base/error.h"

#define SCHED_NONE UINT32_MAX

typedef enum sched_state {
    SCHED_FREE = 0,
    SCHED_WAITING,
    SCHED_RUNNING,
    SCHED_ON_HOLD,
    SCHED_STATES
} sched_state;

/* Tokens that requests generate: what is expected before the first one ended, and the weight of
 * each that ends. */
#define SCHED_OUT_EXPECTED 64
#define SCHED_OUT_WEIGHT 16

typedef struct sched_seq {
    sched_state state;
    uint32_t prev, next; /* slots in the list of its state, SCHED_NONE at the ends */
    sl_sched_request request;
    uint32_t n_out;      /* tokens in out_ids */
    uint32_t n_computed; /* tokens whose keys and values are in the pages */
    uint32_t n_planned;  /* rows in the present step */
    uint32_t kv_seq;
    sl_sched_story story;
} sched_seq;

/* A doubly linked list through sched_seq, oldest first. */
typedef struct sched_list {
    uint32_t head, tail, n;
} sched_list;

struct sl_sched {
    sl_sched_options options;
    sl_kv *kv;
    sched_seq *seqs;                /* [n_slots] */
    sched_list lists[SCHED_STATES]; /* of each state but free; on hold: older than any waiting */
    uint64_t waiting_tokens;
    uint32_t mean_out;    /* tokens that requests generated of late, in 1/SCHED_OUT_WEIGHT */
    uint32_t n_deadlines; /* requests that have one */
    uint32_t running_max;

    sl_step step;
    int32_t *ids;       /* [rows_max] */
    sl_step_run *runs;  /* [runs_max] */
    uint32_t *admitted; /* [runs_max] */
    uint32_t n_admitted;
    uint32_t n_held; /* by the last plan */
};

static sl_status sched_check_options(const sl_sched_options *o, const sl_kv *kv, sl_error *err) {
    if (o->n_slots == 0 || o->rows_max == 0 || o->runs_max == 0 || o->ctx_max == 0 ||
        o->queue_max == 0) {
        return SL_FAIL(err, SL_ERR_ARGUMENT,
                       "the scheduler needs at least 1 slot, row, run, context token and queue "
                       "place (%u, %u, %u, %u, %u)",
                       o->n_slots, o->rows_max, o->runs_max, o->ctx_max, o->queue_max);
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

sl_status sl_sched_create(const sl_sched_options *options, sl_kv *kv, sl_sched **out,
                          sl_error *err) {
    SL_TRY(sched_check_options(options, kv, err));
    sl_sched *s = sl_alloc_zero(1, sizeof(*s));
    if (s == NULL) {
        return SL_FAIL(err, SL_ERR_MEMORY, "no memory for the scheduler");
    }
    s->options = *options;
    sl_sched_set_chunk_rows(s, options->chunk_rows);
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
    if (s->seqs == NULL || s->ids == NULL || s->runs == NULL || s->admitted == NULL) {
        sl_sched_free(s);
        return SL_FAIL(err, SL_ERR_MEMORY, "no memory for the scheduler's tables of %u requests",
                       options->n_slots);
    }
    s->step = (sl_step){.ids = s->ids, .runs = s->runs};
    *out = s;
    return SL_OK;
}

void sl_sched_set_chunk_rows(sl_sched *s, uint32_t chunk_rows) {
    const uint32_t rows_max = s->options.rows_max;
    s->options.chunk_rows = chunk_rows == 0 || chunk_rows > rows_max ? rows_max : chunk_rows;
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
    sl_free(s);
}

/* --- lists --- */

static void sched_link(sched_seq *seqs, sched_list *list, uint32_t slot, uint32_t prev,
                       uint32_t next) {
    seqs[slot].prev = prev;
    seqs[slot].next = next;
    *(prev != SCHED_NONE ? &seqs[prev].next : &list->head) = slot;
    *(next != SCHED_NONE ? &seqs[next].prev : &list->tail) = slot;
    list->n++;
}

static void sched_unlink(sched_seq *seqs, sched_list *list, uint32_t slot) {
    const sched_seq *q = &seqs[slot];
    *(q->prev != SCHED_NONE ? &seqs[q->prev].next : &list->head) = q->next;
    *(q->next != SCHED_NONE ? &seqs[q->next].prev : &list->tail) = q->prev;
    list->n--;
}

/* To the end of another list; or to its beginning, on hold: who comes there later is older. */
static void sched_move(sl_sched *s, uint32_t slot, sched_state state) {
    sched_seq *q = &s->seqs[slot];
    if (q->state != SCHED_FREE) {
        sched_unlink(s->seqs, &s->lists[q->state], slot);
    }
    q->state = state;
    sched_list *list = &s->lists[state];
    if (state == SCHED_ON_HOLD) {
        sched_link(s->seqs, list, slot, SCHED_NONE, list->head);
    } else if (state != SCHED_FREE) {
        sched_link(s->seqs, list, slot, list->tail, SCHED_NONE);
    }
}

/* --- requests --- */

static uint64_t sched_tokens_max(const sl_sched_request *r) {
    return (uint64_t)r->n_prompt + r->max_tokens;
}

static uint32_t sched_n_known(const sched_seq *q) {
    return q->request.n_prompt + q->n_out;
}

static sl_kv_text sched_text(const sched_seq *q) {
    return (sl_kv_text){.prompt_ids = q->request.prompt_ids,
                        .out_ids = q->request.out_ids,
                        .n_prompt = q->request.n_prompt,
                        .n_known = sched_n_known(q)};
}

/* Of a sequence without pages: whose it may use. */
static void sched_share(sl_sched *s, const sched_seq *q) {
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
    SL_TRY(sl_sched_check(s, request->n_prompt, request->max_tokens, err));
    const uint64_t n_tokens = sched_tokens_max(request);
    const uint32_t n_waiting = s->lists[SCHED_WAITING].n;
    if (n_waiting >= s->options.queue_max ||
        (n_waiting > 0 && s->waiting_tokens + n_tokens > s->options.queue_tokens_max)) {
        return SL_AGAIN;
    }
    s->seqs[slot] = (sched_seq){.request = *request, .kv_seq = SL_KV_SEQ_NONE};
    sched_move(s, slot, SCHED_WAITING);
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
    sched_move(s, slot, SCHED_FREE);
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
    if (s->options.ctx_switch != 0 && sched_n_known(q) == s->options.ctx_switch + 1) {
        /* The other rope tables hold for all its positions from now on. */
        q->n_computed = 0;
        sl_kv_seq_restart(s->kv, q->kv_seq);
        sched_share(s, q);
    }
    return SL_OK;
}

/* --- steps --- */

/* Copies the ids of positions [pos, pos + n) of a request: the prompt, then what was generated. */
static void sched_copy_ids(const sched_seq *q, uint32_t pos, uint32_t n, int32_t *out) {
    for (uint32_t i = 0; i < n; i++) {
        const uint32_t p = pos + i;
        out[i] = p < q->request.n_prompt ? q->request.prompt_ids[p]
                                         : q->request.out_ids[p - q->request.n_prompt];
    }
}

/* Adds the planned rows of a running request to the step. */
static void sched_add_run(sl_sched *s, uint32_t slot) {
    const sched_seq *q = &s->seqs[slot];
    const uint32_t end = q->n_computed + q->n_planned;
    sl_step_run *run = &s->runs[s->step.n_runs++];
    *run = (sl_step_run){.row_begin = s->step.n_rows,
                         .n_rows = q->n_planned,
                         .pos0 = q->n_computed,
                         .n_logits = end == sched_n_known(q) ? 1 : 0,
                         .n_known = sched_n_known(q),
                         .owner = slot};
    for (uint32_t g = 0; g < sl_kv_groups_of(s->kv)->n; g++) {
        run->tables[g] = sl_kv_seq_table(s->kv, q->kv_seq, g);
    }
    sched_copy_ids(q, q->n_computed, q->n_planned, s->ids + s->step.n_rows);
    s->step.n_rows += q->n_planned;
    s->step.n_logits += run->n_logits;
}

static uint32_t sched_min(uint32_t a, uint32_t b) {
    return a < b ? a : b;
}

static uint32_t sched_rows_left(const sched_seq *q) {
    return sched_n_known(q) - q->n_computed;
}

/* Only its newest token is left to compute; the last row of a prompt is still prefill. */
static bool sched_decodes(const sched_seq *q) {
    return q->n_computed >= q->request.n_prompt && sched_rows_left(q) == 1;
}

/* Its pages go; what was published of them may still be there when it goes on. */
static void sched_hold(sl_sched *s, uint32_t slot) {
    sched_seq *q = &s->seqs[slot];
    sl_kv_seq_close(s->kv, q->kv_seq);
    q->kv_seq = SL_KV_SEQ_NONE;
    q->n_computed = 0;
    q->story.n_holds++;
    sched_move(s, slot, SCHED_ON_HOLD);
    s->n_held++;
}

/* Pages for the next n rows of a running request, or for as many of them as there are pages for.
 * Where there is none, younger ones make room, none of which has rows in this step yet. */
static uint32_t sched_claim(sl_sched *s, uint32_t slot, uint32_t n) {
    const sched_seq *q = &s->seqs[slot];
    while (n > 0 && sl_kv_seq_extend(s->kv, q->kv_seq, q->n_computed, q->n_computed + n) != SL_OK) {
        const uint32_t room = sl_kv_seq_room(s->kv, q->kv_seq);
        if (room > q->n_computed) {
            n = sched_min(n, room - q->n_computed);
            continue;
        }
        const uint32_t youngest = s->lists[SCHED_RUNNING].tail;
        if (youngest == slot) {
            return 0; /* until an older one ends */
        }
        sched_hold(s, youngest);
    }
    return n;
}

/* What others have computed meanwhile. */
static void sched_reuse(sl_sched *s, uint32_t slot) {
    sched_seq *q = &s->seqs[slot];
    const sl_kv_text text = sched_text(q);
    const uint32_t before = q->n_computed;
    q->n_computed = sl_kv_seq_reuse(s->kv, q->kv_seq, &text, before);
    if (q->n_out == 0 && q->story.n_holds == 0) {
        q->story.n_cached += q->n_computed - before;
    }
}

/* Whether an older request computes, in this step, what this one would compute next. */
static bool sched_follows(const sl_sched *s, uint32_t slot) {
    const sched_seq *q = &s->seqs[slot];
    const sl_kv_text text = sched_text(q);
    if (!q->request.shares) {
        return false;
    }
    for (uint32_t other = s->lists[SCHED_RUNNING].head; other != slot;
         other = s->seqs[other].next) {
        const sched_seq *o = &s->seqs[other];
        if (o->n_planned > 0) {
            const sl_kv_text other_text = sched_text(o);
            if (sl_kv_seq_follows(s->kv, q->kv_seq, &text, q->n_computed, o->kv_seq, &other_text)) {
                return true;
            }
        }
    }
    return false;
}

/* Gives a request that does not decode up to n_prefill rows of the step; returns how many. */
static uint32_t sched_plan_prefill(sl_sched *s, uint32_t slot, uint32_t n_prefill) {
    sched_seq *q = &s->seqs[slot];
    if (sched_rows_left(q) == 0 || n_prefill == 0) {
        return 0;
    }
    sched_reuse(s, slot);
    if (sched_follows(s, slot)) {
        return 0;
    }
    q->n_planned = sched_claim(s, slot, sched_min(n_prefill, sched_rows_left(q)));
    return q->n_planned;
}

/* Pages that a request takes from now on if it generates as many tokens as others did of late. */
static uint64_t sched_growth(const sl_sched *s, const sched_seq *q) {
    const uint32_t expected = s->mean_out / SCHED_OUT_WEIGHT, most = q->request.max_tokens;
    /* Who is longer than expected already goes on for a while. */
    const uint32_t n_more = q->n_out + SL_PAGE_TOKENS > expected ? SL_PAGE_TOKENS
                                                                 : expected - q->n_out;
    const uint64_t n_tokens = sched_n_known(q) + (uint64_t)sched_min(n_more, most - q->n_out);
    const uint64_t n_pages = sl_kv_groups_pages(sl_kv_groups_of(s->kv), n_tokens);
    const uint64_t n_held = q->kv_seq == SL_KV_SEQ_NONE ? 0 : sl_kv_seq_n_pages(s->kv, q->kv_seq);
    return n_pages > n_held ? n_pages - n_held : 0;
}

/* Opens the sequence of a request that is not running, with what is cached of it. False, and
 * nothing happened, if those that run need the pages. */
static bool sched_start(sl_sched *s, uint32_t slot) {
    sched_seq *q = &s->seqs[slot];
    const sched_list *running = &s->lists[SCHED_RUNNING];
    if (sl_kv_seq_open(s->kv, (uint32_t)sched_tokens_max(&q->request), &q->kv_seq) != SL_OK) {
        return false;
    }
    sched_share(s, q);
    const sl_kv_text text = sched_text(q);
    const uint32_t n_done = sl_kv_seq_reuse(s->kv, q->kv_seq, &text, 0);
    uint64_t n_needed = sched_growth(s, q);
    for (uint32_t i = running->head; i != SCHED_NONE; i = s->seqs[i].next) {
        n_needed += sched_growth(s, &s->seqs[i]);
    }
    if (running->n > 0 && n_needed > sl_kv_n_there(s->kv)) {
        sl_kv_seq_close(s->kv, q->kv_seq);
        q->kv_seq = SL_KV_SEQ_NONE;
        return false;
    }
    q->n_computed = n_done;
    if (q->n_out == 0 && q->story.n_holds == 0) {
        q->story.n_cached = n_done;
    }
    return true;
}

/* Moves requests into the step, those on hold first, then the oldest waiting, until rows, runs or
 * pages end. Whoever can't begin now is not overtaken. */
static void sched_plan_admissions(sl_sched *s, uint32_t n_prefill) {
    while (n_prefill > 0 && s->n_held == 0 && s->lists[SCHED_RUNNING].n < s->running_max) {
        const uint32_t slot = s->lists[SCHED_ON_HOLD].n > 0 ? s->lists[SCHED_ON_HOLD].head
                                                            : s->lists[SCHED_WAITING].head;
        if (slot == SCHED_NONE || !sched_start(s, slot)) {
            return;
        }
        sched_seq *q = &s->seqs[slot];
        if (q->state == SCHED_WAITING) {
            s->waiting_tokens -= sched_tokens_max(&q->request);
        }
        sched_move(s, slot, SCHED_RUNNING);
        s->admitted[s->n_admitted++] = slot;
        n_prefill -= sched_plan_prefill(s, slot, n_prefill);
    }
}

/* Decodes first. */
static void sched_build_step(sl_sched *s) {
    s->step.n_rows = s->step.n_runs = s->step.n_logits = 0;
    for (int decodes = 1; decodes >= 0; decodes--) {
        for (uint32_t slot = s->lists[SCHED_RUNNING].head; slot != SCHED_NONE;
             slot = s->seqs[slot].next) {
            const sched_seq *q = &s->seqs[slot];
            if (q->n_planned > 0 && sched_decodes(q) == (decodes == 1)) {
                sched_add_run(s, slot);
            }
        }
    }
}

const sl_step *sl_sched_plan(sl_sched *s) {
    const sched_list *running = &s->lists[SCHED_RUNNING];
    uint32_t n_decodes = 0;
    s->n_admitted = s->n_held = 0;
    for (uint32_t slot = running->head; slot != SCHED_NONE; slot = s->seqs[slot].next) {
        s->seqs[slot].n_planned = 0;
        n_decodes += sched_decodes(&s->seqs[slot]);
    }
    uint32_t n_prefill = s->options.rows_max - n_decodes;
    if (n_decodes > 0) { /* somebody waits for the next token */
        n_prefill = sched_min(n_prefill, s->options.chunk_rows);
    }
    for (uint32_t slot = running->head; slot != SCHED_NONE; slot = s->seqs[slot].next) {
        if (sched_decodes(&s->seqs[slot])) {
            s->seqs[slot].n_planned = sched_claim(s, slot, 1);
        } else {
            n_prefill -= sched_plan_prefill(s, slot, n_prefill);
        }
    }
    sched_plan_admissions(s, n_prefill);
    sched_build_step(s);
    return s->step.n_rows > 0 ? &s->step : NULL;
}

const uint32_t *sl_sched_admitted(const sl_sched *s, uint32_t *n_out) {
    *n_out = s->n_admitted;
    return s->admitted;
}

sl_sched_story sl_sched_story_of(const sl_sched *s, uint32_t slot) {
    return s->seqs[slot].story;
}

/* Slots that ended since the plan, and perhaps hold another request now, have no planned rows. */
void sl_sched_commit(sl_sched *s) {
    for (uint32_t i = 0; i < s->step.n_runs; i++) {
        sched_seq *q = &s->seqs[s->runs[i].owner];
        if (q->n_planned > 0) {
            const sl_kv_text text = sched_text(q);
            q->n_computed += q->n_planned;
            q->n_planned = 0;
            sl_kv_seq_publish(s->kv, q->kv_seq, &text, q->n_computed);
        }
    }
}

void sl_sched_abandon(sl_sched *s) {
    for (uint32_t i = 0; i < s->step.n_runs; i++) {
        s->seqs[s->runs[i].owner].n_planned = 0;
    }
}

/* --- questions --- */

bool sl_sched_expired(const sl_sched *s, uint64_t now_ns, uint32_t *slot_out) {
    if (s->n_deadlines == 0) {
        return false;
    }
    static const sched_state order[] = {SCHED_RUNNING, SCHED_ON_HOLD, SCHED_WAITING};
    for (uint32_t i = 0; i < 3; i++) {
        for (uint32_t slot = s->lists[order[i]].head; slot != SCHED_NONE;
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
    uint32_t slot = s->lists[SCHED_RUNNING].head;
    slot = slot != SCHED_NONE ? slot : s->lists[SCHED_ON_HOLD].head;
    slot = slot != SCHED_NONE ? slot : s->lists[SCHED_WAITING].head;
    if (slot == SCHED_NONE) {
        return false;
    }
    *slot_out = slot;
    return true;
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

/* The list of a state is well linked and holds what is in it; adds up their tokens. */
static sl_status sched_verify_list(const sl_sched *s, sched_state state, uint64_t *n_tokens,
                                   sl_error *err) {
    const sched_list *list = &s->lists[state];
    uint32_t n = 0, prev = SCHED_NONE;
    for (uint32_t slot = list->head; slot != SCHED_NONE; slot = s->seqs[slot].next) {
        const sched_seq *q = &s->seqs[slot];
        if (q->state != state || q->prev != prev || ++n > list->n) {
            return SL_FAIL(err, SL_ERR_INTERNAL, "slot %u breaks the list of state %d", slot,
                           (int)state);
        }
        *n_tokens += sched_tokens_max(&q->request);
        prev = slot;
    }
    if (n != list->n || prev != list->tail) {
        return SL_FAIL(err, SL_ERR_INTERNAL, "the list of state %d holds %u slots, not %u",
                       (int)state, n, list->n);
    }
    return SL_OK;
}

static sl_status sched_verify_running(const sl_sched *s, sl_error *err) {
    uint64_t n_pages = 0;
    for (uint32_t slot = s->lists[SCHED_RUNNING].head; slot != SCHED_NONE;
         slot = s->seqs[slot].next) {
        const sched_seq *q = &s->seqs[slot];
        const uint32_t end = q->n_computed + q->n_planned;
        if (q->n_out > q->request.max_tokens || end > sched_n_known(q) ||
            sl_kv_seq_n_published(s->kv, q->kv_seq) > q->n_computed ||
            !sl_kv_seq_holds(s->kv, q->kv_seq, q->n_computed, end)) {
            return SL_FAIL(err, SL_ERR_INTERNAL,
                           "slot %u: %u computed and %u planned of %u tokens, %u pages held", slot,
                           q->n_computed, q->n_planned, sched_n_known(q),
                           sl_kv_seq_n_pages(s->kv, q->kv_seq));
        }
        n_pages += sl_kv_seq_n_pages(s->kv, q->kv_seq);
    }
    if (n_pages < sl_kv_n_used(s->kv)) { /* shared ones count more than once */
        return SL_FAIL(err, SL_ERR_INTERNAL, "running requests hold %llu pages, %u are used",
                       (unsigned long long)n_pages, sl_kv_n_used(s->kv));
    }
    return SL_OK;
}

sl_status sl_sched_verify(const sl_sched *s, sl_error *err) {
    uint64_t n_tokens[SCHED_STATES] = {0};
    uint32_t n_listed = 0, n_used = 0, n_deadlines = 0;
    for (int state = SCHED_WAITING; state < SCHED_STATES; state++) {
        SL_TRY(sched_verify_list(s, (sched_state)state, &n_tokens[state], err));
        n_listed += s->lists[state].n;
    }
    for (uint32_t i = 0; i < s->options.n_slots; i++) {
        n_used += s->seqs[i].state != SCHED_FREE;
        n_deadlines += s->seqs[i].state != SCHED_FREE && s->seqs[i].request.deadline_ns != 0;
    }
    if (n_tokens[SCHED_WAITING] != s->waiting_tokens || n_deadlines != s->n_deadlines ||
        n_used != n_listed || s->lists[SCHED_WAITING].n > s->options.queue_max ||
        s->lists[SCHED_RUNNING].n > s->running_max) {
        return SL_FAIL(
            err, SL_ERR_INTERNAL,
            "scheduler totals: %u of %u slots in lists, %u waiting and %u running, %llu waiting "
            "tokens (counted %llu), %u deadlines (counted %u)",
            n_listed, n_used, s->lists[SCHED_WAITING].n, s->lists[SCHED_RUNNING].n,
            (unsigned long long)s->waiting_tokens, (unsigned long long)n_tokens[SCHED_WAITING],
            s->n_deadlines, n_deadlines);
    }
    SL_TRY(sched_verify_running(s, err));
    return sl_kv_verify(s->kv, err);
}
