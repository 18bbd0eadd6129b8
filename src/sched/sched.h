/* The scheduler: admitted requests + free pages + the time -> the next step, and which requests
 * ended.
 *
 * Pure: no I/O, no threads, no clock of its own; the same calls give the same steps. A request is
 * named by its slot number (0 .. n_slots - 1), which the caller chooses; a slot holds one request
 * at a time.
 *
 *   add -> waiting -> running -> end
 *                     |    ^
 *                     v    |
 *                     on hold
 *
 * One pass of the caller's loop: plan, run the step, commit, then append or end each slot that had
 * logits. A step holds the decodes of all running requests, then prefill chunks, those first that
 * the policy puts first. The first of the waiting requests is admitted when the pages are there for
 * it and for what those that run will probably still need; nobody overtakes it.
 *
 * Pages are not reserved. When a running request finds none, the last one by the policy is put on
 * hold: its pages go, and it is computed anew, from what is left of them (kv.h). So the first
 * always goes on, and each one ends as if it had run alone.
 *
 * Requests of the same salt share the pages of a common beginning. One that comes to a page which
 * another one before it is about to fill with the same tokens waits for it.
 *
 * A request that decodes may have drafts: tokens that perhaps follow its newest one. They are rows
 * of the same step where rows and pages are left; those that turn out right need not be computed
 * again.
 *
 * A request that grows beyond ctx_switch tokens is computed anew from its first token, in chunks
 * like a prompt, before it goes on: its rows so far were made with the other rope tables.
 *
 * Owner: the engine thread (sl_sched_check excepted). Everything is allocated by create.
 */
#ifndef SL_SCHED_SCHED_H
#define SL_SCHED_SCHED_H

#include <stdbool.h>
#include <stdint.h>

#include <sluice/status.h>

#include "kv/kv.h"
#include "plan/cost.h"
#include "plan/step.h"

/* Who comes first. */
typedef enum sl_sched_policy {
    SL_SCHED_FIFO,
    /* Lower numbers first; waiting for age_ns makes up for a difference of 1. A waiting request may
     * take the place of a running one of a higher number. */
    SL_SCHED_PRIORITY,
    /* The tenant that had least of the work so far, by its weight: tokens computed, those generated
     * count SL_SCHED_DECODE_COST times. Within a tenant as they came. */
    SL_SCHED_FAIR,
    /* The shortest, by prompt and max_tokens; a longer one waits at most so many times longer than
     * it takes. */
    SL_SCHED_SHORTEST
} sl_sched_policy;
#define SL_SCHED_DECODE_COST 2
#define SL_SCHED_WEIGHT_MAX 1000

/* When waiting requests begin. The last two are what others do, to compare with. */
typedef enum sl_sched_batching {
    SL_SCHED_CONTINUOUS, /* at any step */
    SL_SCHED_STATIC,     /* up to batch_max together, when none runs */
    SL_SCHED_WINDOW      /* the same, once the oldest waited window_ns or batch_max wait */
} sl_sched_batching;

typedef struct sl_sched_options {
    uint32_t n_slots;
    uint32_t rows_max, runs_max; /* of one step */
    uint32_t chunk_rows;         /* prefill rows of a step that decodes too; 0: rows_max */
    uint32_t ctx_max;            /* prompt + max_tokens of one request */
    uint32_t ctx_switch;         /* as in sl_plan; 0: none */
    uint32_t queue_max;          /* waiting requests */
    uint64_t queue_tokens_max;   /* prompt + max_tokens of all of them; one alone may exceed it */
    sl_sched_policy policy;
    uint64_t age_ns;    /* of SL_SCHED_PRIORITY; 0: 10 s */
    uint32_t n_tenants; /* of SL_SCHED_FAIR; 0: 1 */
    sl_sched_batching batching;
    uint32_t batch_max; /* of the batchings to compare with; 0: as many as may run */
    uint64_t window_ns;
    /* With a known cost: so long may a step take that decodes. 0: twice as long as its decodes
     * alone. One row of a prompt is always in it. */
    uint64_t step_ns;
} sl_sched_options;

/* A request as the scheduler sees it. The arrays are borrowed until the slot's end. Tokens appended
 * are read from out_ids: the caller writes out_ids[i], then calls sl_sched_append. */
typedef struct sl_sched_request {
    const int32_t *prompt_ids;
    uint32_t n_prompt;      /* at least 1 */
    const int32_t *out_ids; /* [max_tokens] */
    uint32_t max_tokens;    /* at least 1 */
    uint64_t deadline_ns;   /* on the clock of now_ns; 0: none */
    uint64_t arrival_ns;    /* on the same clock */
    int32_t priority;       /* the lower the sooner */
    uint32_t tenant;        /* below n_tenants */
    bool shares;            /* prefixes, with requests of the same salt */
    uint64_t salt;
} sl_sched_request;

/* What became of a request so far. */
typedef struct sl_sched_story {
    uint32_t n_cached; /* prompt tokens that were not computed, others' pages had them */
    uint32_t n_holds;  /* times that it was put on hold */
} sl_sched_story;

typedef struct sl_sched sl_sched;

/* kv is borrowed; it must allow as many sequences as run at once: sl_sched_running_max. */
SL_NODISCARD sl_status sl_sched_create(const sl_sched_options *options, sl_kv *kv, sl_sched **out,
                                       sl_error *err);
void sl_sched_free(sl_sched *s); /* NULL is fine; open sequences are closed */
/* Requests that may run at once: every one of them must fit into a step with one row. */
static inline uint32_t sl_sched_running_max(uint32_t rows_max, uint32_t runs_max) {
    return rows_max < runs_max ? rows_max : runs_max;
}

/* SL_ERR_ARGUMENT with the reason if a request of this size can never run. Reads only what create
 * set: may be called by any thread at any time. */
SL_NODISCARD sl_status sl_sched_check(const sl_sched *s, uint32_t n_prompt, uint32_t max_tokens,
                                      sl_error *err);
/* Appends to the waiting queue. SL_AGAIN: the queue is full. SL_ERR_ARGUMENT: sl_sched_check, or
 * the slot is not free. */
SL_NODISCARD sl_status sl_sched_add(sl_sched *s, uint32_t slot, const sl_sched_request *request,
                                    sl_error *err);

/* What steps of this model cost, from the next plan on; plan is borrowed, cost copied. */
void sl_sched_set_cost(sl_sched *s, const sl_plan *plan, const sl_cost *cost);
/* What steps take of late / what the cost says. */
void sl_sched_set_cost_ratio(sl_sched *s, double ratio);
/* 1 .. SL_SCHED_WEIGHT_MAX; at first each has 1. */
void sl_sched_set_weight(sl_sched *s, uint32_t tenant, uint32_t weight);

/* Drafts that a slot may have in the next plan; 0 unless it decodes. */
uint32_t sl_sched_draft_max(const sl_sched *s, uint32_t slot);
/* For the next plan alone: the n tokens of out_ids behind the known ones are drafts. n is at most
 * sl_sched_draft_max, asked after the last change; of them as many are planned, first ones first,
 * as rows, logits and pages are left for when all who run have theirs. */
void sl_sched_draft(sl_sched *s, uint32_t slot, uint32_t n);

/* Paused: those that wait do not begin; those that run, or are on hold, go on. */
void sl_sched_pause(sl_sched *s, bool paused);

/* The next step, or NULL when nobody has work. Runs carry the slot as their owner; a run whose last
 * row is the last known token of its request needs that row's logits and those of the drafts after
 * it, all others none. A step has at most runs_max rows of logits. Valid until the next plan.
 * Always to be followed by commit or abandon. */
const sl_step *sl_sched_plan(sl_sched *s, uint64_t now_ns);
/* When plan may have a step, or a deadline passes, although nothing happens before; UINT64_MAX:
 * never. Of a scheduler whose plan had no step. */
uint64_t sl_sched_wake_ns(const sl_sched *s);
/* Slots that began or went on after a hold in the last plan, in that order. */
const uint32_t *sl_sched_admitted(const sl_sched *s, uint32_t *n_out);
sl_sched_story sl_sched_story_of(const sl_sched *s, uint32_t slot); /* of a slot in use */
/* The planned rows are computed: their keys and values are in the pages. */
void sl_sched_commit(sl_sched *s);
/* The step failed: nothing counts as computed. */
void sl_sched_abandon(sl_sched *s);

/* out_ids has one token more; it will be the next row of this request, or the last one of all that
 * are computed anew. SL_ERR_LIMIT: max_tokens are there already; SL_ERR_ARGUMENT: the slot does not
 * run, or has rows left to compute. */
SL_NODISCARD sl_status sl_sched_append(sl_sched *s, uint32_t slot);
/* The same for a token that is the first draft, of those committed with the last step, which no
 * accept took yet: its row is computed already. SL_ERR_ARGUMENT: there is none. To be followed by
 * accept, append or end before the next plan. */
SL_NODISCARD sl_status sl_sched_accept(sl_sched *s, uint32_t slot);
/* Forgets the request, whatever its state, at any time; its pages are free at once. Ignored for a
 * free slot. */
void sl_sched_end(sl_sched *s, uint32_t slot);

/* A slot whose deadline is at or before now_ns, first ones first; the caller ends it. False: none.
 * Costs nothing while no request has a deadline. */
bool sl_sched_expired(const sl_sched *s, uint64_t now_ns, uint32_t *slot_out);
/* The first slot, running ones first, then those on hold; false when there is none. */
bool sl_sched_any(const sl_sched *s, uint32_t *slot_out);

/* What lies before a request that comes now, but for those that wait. */
typedef struct sl_sched_ahead {
    uint64_t n_rows;              /* to compute before all that run decode */
    uint64_t n_pages;             /* that those probably do not need */
    uint32_t n_places;            /* requests that may run besides them */
    uint32_t n_running, mean_out; /* tokens that requests generated of late */
} sl_sched_ahead;
sl_sched_ahead sl_sched_ahead_now(const sl_sched *s);

uint32_t sl_sched_n_waiting(const sl_sched *s);
uint32_t sl_sched_n_running(const sl_sched *s);
uint32_t sl_sched_n_on_hold(const sl_sched *s);
uint64_t sl_sched_waiting_tokens(const sl_sched *s);

/* Checks every invariant of the README; SL_ERR_INTERNAL names the first breach. For tests. */
SL_NODISCARD sl_status sl_sched_verify(const sl_sched *s, sl_error *err);

#endif
