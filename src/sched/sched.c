/* First come, first served over a page pool. See sched.h; invariants are numbered in README.md. */
#include "sched/sched.h"

#include "base/alloc.h"
#include "base/error.h"

#define SCHED_NONE UINT32_MAX

typedef enum sched_state { SCHED_FREE = 0, SCHED_WAITING, SCHED_RUNNING } sched_state;

typedef struct sched_seq {
    sched_state state;
    uint32_t prev, next; /* slots in the list of its state, SCHED_NONE at the ends */
    sl_sched_request request;
    uint32_t n_out;      /* tokens in out_ids */
    uint32_t n_computed; /* tokens whose keys and values are in the pages */
    uint32_t n_planned;  /* rows in the present step */
    uint32_t kv_seq;
} sched_seq;

/* A doubly linked list through sched_seq, oldest first. */
typedef struct sched_list {
    uint32_t head, tail, n;
} sched_list;

struct sl_sched {
    sl_sched_options options;
    sl_kv *kv;
    sched_seq *seqs; /* [n_slots] */
    sched_list waiting, running;
    uint64_t waiting_tokens;
    uint32_t n_deadlines; /* requests that have one */
    uint32_t running_max;

    sl_step step;
    int32_t *ids;       /* [rows_max] */
    sl_step_run *runs;  /* [runs_max] */
    uint32_t *admitted; /* [runs_max] */
    uint32_t n_admitted;
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
    s->waiting = s->running = (sched_list){.head = SCHED_NONE, .tail = SCHED_NONE};
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

static void sched_push(sl_sched *s, sched_list *list, uint32_t slot) {
    sched_seq *q = &s->seqs[slot];
    q->prev = list->tail;
    q->next = SCHED_NONE;
    if (list->tail != SCHED_NONE) {
        s->seqs[list->tail].next = slot;
    } else {
        list->head = slot;
    }
    list->tail = slot;
    list->n++;
}

static void sched_remove(sl_sched *s, sched_list *list, uint32_t slot) {
    const sched_seq *q = &s->seqs[slot];
    if (q->prev != SCHED_NONE) {
        s->seqs[q->prev].next = q->next;
    } else {
        list->head = q->next;
    }
    if (q->next != SCHED_NONE) {
        s->seqs[q->next].prev = q->prev;
    } else {
        list->tail = q->prev;
    }
    list->n--;
}

/* --- requests --- */

static uint64_t sched_tokens_max(const sl_sched_request *r) {
    return (uint64_t)r->n_prompt + r->max_tokens;
}

static uint32_t sched_n_known(const sched_seq *q) {
    return q->request.n_prompt + q->n_out;
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
    if (s->waiting.n >= s->options.queue_max ||
        (s->waiting.n > 0 && s->waiting_tokens + n_tokens > s->options.queue_tokens_max)) {
        return SL_AGAIN;
    }
    s->seqs[slot] = (sched_seq){
        .state = SCHED_WAITING, .request = *request, .kv_seq = SL_KV_SEQ_NONE};
    sched_push(s, &s->waiting, slot);
    s->waiting_tokens += n_tokens;
    s->n_deadlines += request->deadline_ns != 0;
    return SL_OK;
}

void sl_sched_end(sl_sched *s, uint32_t slot) {
    sched_seq *q = &s->seqs[slot];
    if (q->state == SCHED_FREE) {
        return;
    }
    if (q->state == SCHED_WAITING) {
        sched_remove(s, &s->waiting, slot);
        s->waiting_tokens -= sched_tokens_max(&q->request);
    } else {
        sched_remove(s, &s->running, slot);
        sl_kv_seq_close(s->kv, q->kv_seq);
    }
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

/* Adds the next n rows of a running request to the step. False, and nothing added, if its pages are
 * not there, which its reservation rules out. */
static bool sched_add_run(sl_sched *s, uint32_t slot, uint32_t n) {
    sched_seq *q = &s->seqs[slot];
    const uint32_t end = q->n_computed + n;
    if (sl_kv_seq_extend(s->kv, q->kv_seq, q->n_computed, end) != SL_OK) {
        return false;
    }
    sl_step_run *run = &s->runs[s->step.n_runs++];
    *run = (sl_step_run){.row_begin = s->step.n_rows,
                         .n_rows = n,
                         .pos0 = q->n_computed,
                         .n_logits = end == sched_n_known(q) ? 1 : 0,
                         .n_known = sched_n_known(q),
                         .owner = slot};
    for (uint32_t g = 0; g < sl_kv_groups_of(s->kv)->n; g++) {
        run->tables[g] = sl_kv_seq_table(s->kv, q->kv_seq, g);
    }
    sched_copy_ids(q, q->n_computed, n, s->ids + s->step.n_rows);
    s->step.n_rows += n;
    s->step.n_logits += run->n_logits;
    q->n_planned = n;
    return true;
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

static void sched_plan_decodes(sl_sched *s) {
    for (uint32_t slot = s->running.head; slot != SCHED_NONE; slot = s->seqs[slot].next) {
        if (sched_decodes(&s->seqs[slot])) {
            sched_add_run(s, slot, 1);
        }
    }
}

/* Chunks of those that began, or began anew, earlier; returns the prefill rows that are left for
 * others. */
static uint32_t sched_plan_chunks(sl_sched *s, uint32_t rows) {
    for (uint32_t slot = s->running.head; slot != SCHED_NONE && rows > 0;
         slot = s->seqs[slot].next) {
        const sched_seq *q = &s->seqs[slot];
        if (q->n_planned == 0 && sched_rows_left(q) > 0) {
            const uint32_t n = sched_min(rows, sched_rows_left(q));
            rows -= sched_add_run(s, slot, n) ? n : 0;
        }
    }
    return rows;
}

/* Moves waiting requests into the step, oldest first, until rows, runs or pages end. */
static void sched_plan_admissions(sl_sched *s, uint32_t rows) {
    while (rows > 0 && s->waiting.n > 0 && s->running.n < s->running_max) {
        const uint32_t slot = s->waiting.head;
        sched_seq *q = &s->seqs[slot];
        const uint64_t n_tokens = sched_tokens_max(&q->request);
        if (sl_kv_seq_open(s->kv, (uint32_t)n_tokens, &q->kv_seq) != SL_OK) {
            return; /* its pages are not free yet; nobody overtakes it */
        }
        sched_remove(s, &s->waiting, slot);
        s->waiting_tokens -= n_tokens;
        q->state = SCHED_RUNNING;
        sched_push(s, &s->running, slot);
        s->admitted[s->n_admitted++] = slot;
        const uint32_t n = sched_min(rows, sched_rows_left(q));
        rows -= sched_add_run(s, slot, n) ? n : 0;
    }
}

const sl_step *sl_sched_plan(sl_sched *s) {
    s->step.n_rows = s->step.n_runs = s->step.n_logits = 0;
    s->n_admitted = 0;
    sched_plan_decodes(s);
    uint32_t rows = s->options.rows_max - s->step.n_rows;
    if (s->step.n_rows > 0) { /* somebody waits for the next token */
        rows = sched_min(rows, s->options.chunk_rows);
    }
    rows = sched_plan_chunks(s, rows);
    sched_plan_admissions(s, rows);
    return s->step.n_rows > 0 ? &s->step : NULL;
}

const uint32_t *sl_sched_admitted(const sl_sched *s, uint32_t *n_out) {
    *n_out = s->n_admitted;
    return s->admitted;
}

/* Slots that ended since the plan, and perhaps hold another request now, have no planned rows. */
void sl_sched_commit(sl_sched *s) {
    for (uint32_t i = 0; i < s->step.n_runs; i++) {
        sched_seq *q = &s->seqs[s->runs[i].owner];
        q->n_computed += q->n_planned;
        q->n_planned = 0;
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
    const uint32_t heads[2] = {s->running.head, s->waiting.head};
    for (uint32_t i = 0; i < 2; i++) {
        for (uint32_t slot = heads[i]; slot != SCHED_NONE; slot = s->seqs[slot].next) {
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
    const uint32_t slot = s->running.n > 0 ? s->running.head : s->waiting.head;
    if (slot == SCHED_NONE) {
        return false;
    }
    *slot_out = slot;
    return true;
}

uint32_t sl_sched_n_waiting(const sl_sched *s) {
    return s->waiting.n;
}

uint32_t sl_sched_n_running(const sl_sched *s) {
    return s->running.n;
}

uint64_t sl_sched_waiting_tokens(const sl_sched *s) {
    return s->waiting_tokens;
}

/* One list is well linked and its members are in `state`; adds up their tokens. */
static sl_status sched_verify_list(const sl_sched *s, const sched_list *list, sched_state state,
                                   uint64_t *n_tokens, sl_error *err) {
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
    for (uint32_t slot = s->running.head; slot != SCHED_NONE; slot = s->seqs[slot].next) {
        const sched_seq *q = &s->seqs[slot];
        const uint32_t end = q->n_computed + q->n_planned;
        if (q->n_out > q->request.max_tokens || end > sched_n_known(q) ||
            !sl_kv_seq_holds(s->kv, q->kv_seq, q->n_computed, end)) {
            return SL_FAIL(err, SL_ERR_INTERNAL,
                           "slot %u: %u computed and %u planned of %u tokens, %u pages held", slot,
                           q->n_computed, q->n_planned, sched_n_known(q),
                           sl_kv_seq_n_pages(s->kv, q->kv_seq));
        }
        n_pages += sl_kv_seq_n_pages(s->kv, q->kv_seq);
    }
    if (n_pages != sl_kv_n_used(s->kv) || (s->running.n == 0 && sl_kv_n_promised(s->kv) != 0)) {
        return SL_FAIL(err, SL_ERR_INTERNAL,
                       "running requests hold %llu pages, %u are used, %u promised",
                       (unsigned long long)n_pages, sl_kv_n_used(s->kv), sl_kv_n_promised(s->kv));
    }
    return SL_OK;
}

sl_status sl_sched_verify(const sl_sched *s, sl_error *err) {
    uint64_t waiting_tokens = 0, running_tokens = 0;
    SL_TRY(sched_verify_list(s, &s->waiting, SCHED_WAITING, &waiting_tokens, err));
    SL_TRY(sched_verify_list(s, &s->running, SCHED_RUNNING, &running_tokens, err));
    uint32_t n_used = 0, n_deadlines = 0;
    for (uint32_t i = 0; i < s->options.n_slots; i++) {
        n_used += s->seqs[i].state != SCHED_FREE;
        n_deadlines += s->seqs[i].state != SCHED_FREE && s->seqs[i].request.deadline_ns != 0;
    }
    if (waiting_tokens != s->waiting_tokens || n_deadlines != s->n_deadlines ||
        n_used != s->waiting.n + s->running.n || s->waiting.n > s->options.queue_max ||
        s->running.n > s->running_max) {
        return SL_FAIL(
            err, SL_ERR_INTERNAL,
            "scheduler totals: %u waiting and %u running of %u slots, %llu waiting tokens "
            "(counted %llu), %u deadlines (counted %u)",
            s->waiting.n, s->running.n, n_used, (unsigned long long)s->waiting_tokens,
            (unsigned long long)waiting_tokens, s->n_deadlines, n_deadlines);
    }
    SL_TRY(sched_verify_running(s, err));
    return sl_kv_verify(s->kv, err);
}
