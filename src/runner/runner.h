/* The engine thread: request messages in, news of tokens out.
 *
 * Requests live in a fixed table of slots. An owner (an io thread, or a command's main thread)
 * acquires a slot, fills its request, submits it, reads tokens as they come, and releases the slot
 * after its end. The engine thread reads the request between submit and end. Tokens are written
 * into the slot's own output arrays and published by an atomic counter; that there is news is one
 * bit per slot and owner, set until the owner has taken it: it cannot overflow, and the engine
 * never blocks.
 */
#ifndef SL_RUNNER_RUNNER_H
#define SL_RUNNER_RUNNER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include <sluice/status.h>

#include "engine/engine.h"
#include "plan/cost.h"
#include "sample/sampler.h"
#include "sample/spec/ngram.h"
#include "sched/sched.h"

typedef struct sl_runner sl_runner;

/* {index, generation}: a stale handle is recognised, never followed. */
typedef uint64_t sl_handle;
#define SL_HANDLE_NONE 0u

#define SL_STOP_IDS_MAX 64
#define SL_RUNNER_DRAFT_MAX 32 /* guesses of one request in a step */
#define SL_TOP_LOGPROBS_MAX SL_SAMPLE_TOP_MAX

typedef enum sl_finish {
    SL_FINISH_NONE = 0,  /* still running */
    SL_FINISH_STOP,      /* an end-of-generation token or a stop id; it is the last of out_ids */
    SL_FINISH_LENGTH,    /* max_tokens reached, or the context is full */
    SL_FINISH_CANCELLED, /* by the owner */
    SL_FINISH_ERROR      /* see `error` */
} sl_finish;

typedef sl_sample_top sl_logprob; /* a token and its log-probability */

/* What happened to a request, for who wants to know why it took so long. */
typedef enum sl_event_kind {
    SL_EVENT_BEGAN,  /* first step that held it is planned */
    SL_EVENT_PROMPT, /* n further tokens of its prompt are computed */
    SL_EVENT_WENT_ON /* its pages had gone to another one; n tokens are to be computed anew */
} sl_event_kind;
typedef struct sl_event {
    uint64_t t_ns; /* monotonic */
    sl_event_kind kind;
    uint32_t n;
} sl_event;
#define SL_EVENTS_MAX 40 /* the first ones; later ones are only counted */

/* One request. Filled by the owner after acquire and before submit; memory it points to belongs to
 * the owner and lives until release. */
typedef struct sl_request {
    /* in */
    const int32_t *prompt_ids;
    uint32_t n_prompt;        /* at least 1 */
    uint32_t max_tokens;      /* at least 1; n_prompt + max_tokens <= the engine's ctx_max */
    sl_sample_options sample; /* checked by submit, which sets n_top and want_logprob */
    /* With the prompt in it, if sl_sample_needs_history(&sample); else NULL. The engine thread's
     * until the finish. */
    sl_sample_history *history;
    /* With the prompt in it: guesses from the text that may make it faster, and change nothing
     * else; NULL: none. The engine thread's until the finish. */
    sl_ngram *ngram;
    uint32_t choice;         /* number of the choice: enters the random numbers */
    bool ignore_eos;         /* end-of-generation tokens are ordinary tokens */
    const int32_t *stop_ids; /* further tokens that end it (at most SL_STOP_IDS_MAX) */
    uint32_t n_stop_ids;
    uint32_t n_top;       /* log-probs of the n_top likeliest tokens (0 .. 20); needs out_top */
    uint64_t deadline_ns; /* sl_clock_mono_ns; 0: none. Past it the end is ERROR, SL_ERR_LIMIT */
    int32_t priority;     /* the lower the sooner, if the policy looks at it */
    uint32_t tenant;      /* below sched.n_tenants */
    uint32_t weight;      /* of the tenant from now on, at most SL_SCHED_WEIGHT_MAX; 0: 1 */
    bool shares;          /* the keys and values of a common beginning, with requests of its salt */
    uint64_t salt;
    void *user; /* the owner's own pointer, not looked at */
    /* out: arrays given by the owner, max_tokens long (out_top: max_tokens * n_top) */
    int32_t *out_ids;
    float *out_logprobs; /* NULL: not wanted */
    /* NULL when n_top is 0. Row i: likeliest first, id -1 where fewer tokens are possible. */
    sl_logprob *out_top;
    /* out: written by the engine thread, published by n_out and finish (release); read with
     * acquire. t_start_ns and t_first_ns are valid once n_out is not 0, all times once there is a
     * finish. */
    atomic_uint_fast32_t n_out;
    atomic_int finish; /* sl_finish; set last, nothing is written after it */
    sl_error error;    /* valid when finish is SL_FINISH_ERROR */
    uint32_t n_cached; /* prompt tokens that were there already; valid once n_out is not 0 */
    sl_event events[SL_EVENTS_MAX];
    atomic_uint_fast32_t n_events; /* may be more than SL_EVENTS_MAX; read with acquire */
    atomic_uint_fast32_t n_drafted, n_accepted; /* guesses that were computed; that came true */
    uint64_t t_submit_ns, t_start_ns /* first step that held it */, t_first_ns, t_end_ns;
} sl_request;

typedef struct sl_runner_options {
    uint32_t n_slots;   /* requests known at once, queued ones included; 0: 512 */
    uint32_t n_owners;  /* 0: 1 */
    uint32_t queue_max; /* submitted requests that were not started yet; 0: 256 */
    /* Their prompt + max_tokens together (what finds an empty queue may have more); 0: 4 x what the
     * pool holds. */
    uint64_t queue_tokens_max;
    /* Who comes first, and how requests begin: policy, age_ns, n_tenants, batching, batch_max,
     * window_ns, step_ns. The rest is the runner's. */
    sl_sched_options sched;
    /* What steps cost, if that is known; copied. It bounds the parts of prompts beside decodes;
     * NULL: they are as long as the engine's steps. */
    const sl_cost *cost;
    const int32_t *eog_ids; /* end-of-generation set, copied */
    size_t n_eog_ids;
    /* Called from the engine thread when an owner has news, at most once per step (uv_async_send,
     * say). Must not block. NULL: the owner uses sl_runner_wait. */
    void (*wake)(void *user, uint32_t owner);
    void *wake_user;
    /* Called from the engine thread while there is nothing to compute, all weights are ready and no
     * KV page is held: does a part of a longer work with the engine, which makes a request wait as
     * long. True: there is more. May allocate. NULL: none. */
    bool (*idle)(void *user, sl_runner *r);
    void *idle_user;
} sl_runner_options;

/* Relaxed counters and gauges, readable by any thread at any time. The gauges are set before each
 * step and at each end, so they are true while a long step is computed. */
typedef struct sl_runner_stats {
    atomic_uint_fast64_t requests, finished_stop, finished_length, cancelled, failed, rejected;
    atomic_uint_fast64_t prompt_tokens, generated_tokens, steps, step_ns, step_rows;
    atomic_uint_fast64_t drafted_tokens, accepted_tokens;
    atomic_uint_fast64_t cached_tokens, holds; /* of prompts; times that pages ran out for one */
    /* Gauges; n_running counts those on hold, too. */
    atomic_uint_fast64_t n_running, n_on_hold, pages_used, pages_cached, pages_total;
    atomic_uint_fast64_t last_step_end_ns; /* monotonic; for the watchdog */
    atomic_uint_fast64_t
        cost_millis; /* steps of late, measured / expected, in 1/1000; 0: unknown */
} sl_runner_stats;

/* Starts the thread. The engine is borrowed; it belongs to that thread until sl_runner_free. */
SL_NODISCARD sl_status sl_runner_create(sl_engine *engine, const sl_runner_options *options,
                                        sl_runner **out, sl_error *err);
/* Ends what runs as CANCELLED, joins the thread. Handles and requests are gone afterwards. NULL is
 * fine. No owner may be inside a call. */
void sl_runner_free(sl_runner *r);

/* --- owner side: each owner number is used by one thread --- */
/* SL_AGAIN when all slots are taken. The request is cleared. */
SL_NODISCARD sl_status sl_runner_acquire(sl_runner *r, uint32_t owner, sl_handle *out,
                                         sl_error *err);
sl_request *sl_runner_request(sl_runner *r, sl_handle h); /* NULL for a stale handle */
/* SL_AGAIN: the queue is full, try later (the slot stays acquired). SL_ERR_ARGUMENT: can never run
 * (too long for the context or the whole pool, token outside the vocabulary, bad option): the
 * message says why. The engine's own error once it failed for good. */
SL_NODISCARD sl_status sl_runner_submit(sl_runner *r, sl_handle h, sl_error *err);
/* n requests at once, in this order: all of them are submitted, or none, and then nobody else lost
 * a place for it. SL_ERR_ARGUMENT also for more than sl_runner_group_max; up to so many are never
 * refused while nothing waits and no slot is taken. */
SL_NODISCARD sl_status sl_runner_submit_all(sl_runner *r, const sl_handle *handles, uint32_t n,
                                            sl_error *err);
uint32_t sl_runner_group_max(const sl_runner *r);
/* Asks for an early end; the end comes as a notice (finish is CANCELLED unless it ended before).
 * Stale: ignored. */
void sl_runner_cancel(sl_runner *r, sl_handle h);
/* Gives the slot back: before submit, or after its finish was seen. */
void sl_runner_release(sl_runner *r, sl_handle h);
/* The next request of this owner with news; false if there is none now. Slots take turns. The news
 * may have been read already: look at n_out and finish. */
bool sl_runner_poll(sl_runner *r, uint32_t owner, sl_handle *out);
/* Sleeps until poll has something, or timeout_ms passed (-1: no limit). For owners without a wake
 * callback. */
bool sl_runner_wait(sl_runner *r, uint32_t owner, int timeout_ms);

const sl_runner_stats *sl_runner_stats_of(const sl_runner *r);
/* Requests that were submitted and not started, and their prompt + max_tokens together, as of now;
 * any thread. */
void sl_runner_queue(const sl_runner *r, uint32_t *n_out, uint64_t *n_tokens_out);
/* What a request that comes now is to expect, from now on, by what steps took and requests
 * generated of late; all 0 while nothing is known. Any thread. */
typedef struct sl_forecast {
    uint64_t start_ns, first_ns, end_ns; /* it begins; first token; end */
} sl_forecast;
sl_forecast sl_runner_forecast(const sl_runner *r, uint32_t n_prompt, uint32_t max_tokens);
/* Paused: requests wait, and none of them begins; those that began go on. Any thread. */
void sl_runner_pause(sl_runner *r, bool paused);
bool sl_runner_is_paused(const sl_runner *r);
uint32_t sl_runner_ctx_max(const sl_runner *r);
/* For `idle`, before it runs a step of its own: forgets all prefixes, since that may write into
 * their pages. */
void sl_runner_forget_prefixes(sl_runner *r);
/* For `idle`: the cost from now on, and whether the steps since then left it far behind. */
void sl_runner_set_cost(sl_runner *r, const sl_cost *cost);
bool sl_runner_cost_drifted(const sl_runner *r);
/* False once the engine failed for good (its file vanished); *err tells why. */
bool sl_runner_healthy(sl_runner *r, sl_error *err);

#endif
