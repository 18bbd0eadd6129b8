/* Inside of the runner: the slot table, and what owners and the engine thread share. Not for
 * others.
 *
 * Who may touch what:
 * - slot.request, what enters: the owner until submit, then read only
 * - slot.request, what leaves: the engine thread until it sets `finish`
 * - slot.tag: the owner (acquire, release); read by all
 * - slot.cancel: set by the owner; read by the engine thread
 * - runner_active: the engine thread alone
 * - news bits: set by the engine thread, cleared by the owner
 */
#ifndef SL_RUNNER_RUNNER_INT_H
#define SL_RUNNER_RUNNER_INT_H

#include <pthread.h>

#include "base/ring.h"
#include "base/wake.h"
#include "kv/kv.h"
#include "runner/runner.h"

#define RUNNER_SLOTS_MAX 65535u
#define RUNNER_OWNERS_MAX 1024u
/* Of sl_runner.queued: 65535 requests of less than 2^32 tokens fit. */
#define RUNNER_TOKENS_BITS 48
#define RUNNER_TOKENS_MASK (((uint64_t)1 << RUNNER_TOKENS_BITS) - 1)

/* A slot's tag: generation << 32 | owner + 1, the low half 0 while it is free. */
typedef struct runner_slot {
    atomic_uint_fast64_t tag;
    atomic_bool cancel;
    bool submitted;     /* the owner's own mark */
    uint32_t next_free; /* guarded by slots_lock */
    sl_request request;
} runner_slot;

#define RUNNER_DRAFT_RATES 3

/* Guesses of what follows, in one request (runner_draft.c). */
typedef struct runner_drafts {
    double rates[RUNNER_DRAFT_RATES]; /* how often they came true of late, by the match's length */
    uint32_t match_len;               /* of the newest guess; 0: there is none */
} runner_drafts;

/* What the engine thread remembers of a submitted request, so that it need not look at the slot
 * once `finish` is set and the owner may have reused it. */
typedef struct runner_active {
    bool active, queued;
    uint32_t owner;
    uint32_t n_out;
    sl_request *request;
    runner_drafts drafts;
} runner_active;

/* Slots with news for one owner, as bits; each owner's on lines of its own. */
typedef struct runner_owner {
    _Alignas(64) sl_wake wake;
    uint32_t cursor;            /* slot where the next poll begins; the owner's */
    bool has_news;              /* since the last notify; the engine thread's */
    atomic_uint_fast64_t *news; /* [n_words] */
} runner_owner;

/* A row of logits: the request's next token, if `place` is 0; else the one so many behind it,
 * should the drafts between be right. */
typedef struct runner_row {
    uint32_t slot, place;
    uint32_t n_draft; /* of the run; rows from 0 to n_draft follow each other */
} runner_row;

/* What lies before a request that comes now, for any thread to ask; the engine thread's. */
typedef struct runner_ahead {
    atomic_uint_fast64_t n_rows, n_running, n_places, n_pages, mean_out; /* as in sl_sched_ahead */
    atomic_uint_fast64_t step_ns; /* of late: a step that gives tokens, */
    atomic_uint_fast64_t row_ns;  /* and a row of one with many; 0: not known yet */
} runner_ahead;

/* One logits row that was sampled. */
typedef struct runner_sampled {
    sl_status status;
    bool is_guess;  /* the token is what was guessed to be there */
    sl_error error; /* valid unless status is SL_OK */
} runner_sampled;

struct sl_runner {
    sl_engine *engine;
    sl_runner_options options; /* defaults filled in; eog_ids is not kept */
    uint32_t n_vocab;
    sl_runner_stats stats;

    pthread_mutex_t slots_lock; /* free list only: owners take it, the engine thread never */
    runner_slot *slots;         /* [n_slots] */
    uint32_t first_free;
    uint32_t n_words;           /* of a news bitmap */
    runner_owner *owners;       /* [n_owners] */
    atomic_uint_fast64_t *news; /* [n_owners][n_words] */

    sl_mpsc *submitted;               /* handles, owners -> engine thread; has room for all slots */
    atomic_uint_fast64_t queued;      /* requests << 48 | tokens: submitted, not started */
    atomic_uint_fast64_t queued_rows; /* of their prompts */
    runner_ahead ahead;
    atomic_bool any_cancel, stop, paused;
    atomic_bool failed; /* set once, after failure */
    sl_error failure;
    sl_wake wake; /* of the engine thread */

    /* The engine thread's own. */
    sl_kv *kv;
    sl_sched *sched;
    runner_active *active; /* [n_slots] */
    uint64_t *eog_bits;    /* bit of each end-of-generation token */
    sl_sampler **samplers; /* [n_workers] */
    uint32_t n_workers;
    /* of the next step, as far as known; tokens that are to be expected of it */
    uint32_t round_rows;
    double round_tokens;
    double step_ns, row_ns; /* as in runner_ahead */
    bool all_ready;         /* all weights are: steps cost what they will from now on */
    sl_cost cost;
    sl_cost_drift drift;
    runner_row *rows;        /* [runs_max] the logits rows of the step */
    sl_step_top *tops;       /* [runs_max] what is wanted of each logits row, and came out */
    uint32_t *sample_rows;   /* [runs_max] logits rows that are wanted whole, then the others */
    runner_sampled *sampled; /* [runs_max] */
    pthread_t thread;
    bool has_thread;
};

static inline sl_handle runner_handle(uint64_t tag, uint32_t slot) {
    return (tag & 0xFFFFFFFF00000000u) | slot;
}

/* The body of the engine thread (runner_loop.c); arg is the sl_runner. */
void *sl_runner_loop(void *arg);
/* Samples one planned and computed step, and gives every token to its request (runner_step.c). */
void sl_runner_step(sl_runner *r, const sl_step *step, uint64_t now_ns);
/* --- runner_forecast.c --- */
void sl_runner_forecast_learn(sl_runner *r, const sl_step *step, uint64_t ns);
void sl_runner_forecast_set(sl_runner *r);

/* --- runner_draft.c --- */
void sl_runner_draft_begin(runner_drafts *d); /* of a new request */
/* The i-th guess of the newest match came true, or not. */
void sl_runner_draft_learn(runner_drafts *d, uint32_t i, bool came);
/* a step was computed: none is drafted for the next one */
void sl_runner_draft_round(sl_runner *r);
/* Of a slot that has got a token: what may follow in the next step. */
void sl_runner_draft(sl_runner *r, uint32_t slot);

/* Ends a request: frees its pages, then publishes `finish`. error only with SL_FINISH_ERROR. */
void sl_runner_end(sl_runner *r, uint32_t slot, sl_finish finish, const sl_error *error);
/* Marks a slot's owner as having news; told to it by the loop, once per step. */
void sl_runner_news(sl_runner *r, uint32_t slot);
/* A request left the queue: it was started, or it ended. */
void sl_runner_unqueue(sl_runner *r, uint32_t slot);

/* One more thing that happened to a request. */
void sl_runner_event(sl_request *q, sl_event_kind kind, uint64_t t_ns, uint32_t n);

#define RUNNER_COUNT(counter, n) atomic_fetch_add_explicit(&(counter), (n), memory_order_relaxed)
#define RUNNER_GAUGE(gauge, n) atomic_store_explicit(&(gauge), (n), memory_order_relaxed)

#endif
