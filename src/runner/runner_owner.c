/* The owners' side of the runner: slots, submitting, cancelling, news. Each owner number is used by
 * one thread; owners never wait for the engine thread (runner_wait excepted, which is what it is
 * for). See runner.h and, for who may touch what, runner_int.h. */
#include <inttypes.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "runner/runner_int.h"

/* The slot of a handle that is still valid, or NULL. */
static runner_slot *owner_slot(sl_runner *r, sl_handle h) {
    const uint32_t i = (uint32_t)h;
    if (i >= r->options.n_slots) {
        return NULL;
    }
    const uint64_t tag = atomic_load_explicit(&r->slots[i].tag, memory_order_acquire);
    return (uint32_t)tag != 0 && runner_handle(tag, i) == h ? &r->slots[i] : NULL;
}

sl_status sl_runner_acquire(sl_runner *r, uint32_t owner, sl_handle *out, sl_error *err) {
    if (owner >= r->options.n_owners) {
        return SL_FAIL(err, SL_ERR_ARGUMENT, "owner %" PRIu32 " of %" PRIu32 " does not exist",
                       owner, r->options.n_owners);
    }
    pthread_mutex_lock(&r->slots_lock);
    const uint32_t i = r->first_free;
    if (i < r->options.n_slots) {
        r->first_free = r->slots[i].next_free;
    }
    pthread_mutex_unlock(&r->slots_lock);
    if (i >= r->options.n_slots) {
        RUNNER_COUNT(r->stats.rejected, 1);
        return SL_FAIL(err, SL_AGAIN, "all %" PRIu32 " request slots are taken; try again later",
                       r->options.n_slots);
    }
    runner_slot *slot = &r->slots[i];
    memset(&slot->request, 0, sizeof(slot->request));
    atomic_init(&slot->request.n_out, 0);
    atomic_init(&slot->request.n_events, 0);
    atomic_init(&slot->request.n_drafted, 0);
    atomic_init(&slot->request.n_accepted, 0);
    atomic_init(&slot->request.finish, SL_FINISH_NONE);
    atomic_store_explicit(&slot->cancel, false, memory_order_relaxed);
    slot->submitted = false;
    const uint64_t tag = atomic_load_explicit(&slot->tag, memory_order_relaxed) + owner + 1;
    atomic_store_explicit(&slot->tag, tag, memory_order_release);
    *out = runner_handle(tag, i);
    return SL_OK;
}

void sl_runner_release(sl_runner *r, sl_handle h) {
    runner_slot *slot = owner_slot(r, h);
    if (slot == NULL ||
        (slot->submitted &&
         atomic_load_explicit(&slot->request.finish, memory_order_acquire) == SL_FINISH_NONE)) {
        return;
    }
    const uint32_t i = (uint32_t)h;
    uint64_t generation = (h >> 32) + 1;
    generation = generation > UINT32_MAX ? 1
                                         : generation; /* 0 would make a handle of SL_HANDLE_NONE */
    atomic_store_explicit(&slot->tag, generation << 32, memory_order_release);
    pthread_mutex_lock(&r->slots_lock);
    slot->next_free = r->first_free;
    r->first_free = i;
    pthread_mutex_unlock(&r->slots_lock);
}

sl_request *sl_runner_request(sl_runner *r, sl_handle h) {
    runner_slot *slot = owner_slot(r, h);
    return slot != NULL ? &slot->request : NULL;
}

/* --- submit --- */

static sl_status owner_check_arrays(const sl_request *q, sl_error *err) {
    if (q->prompt_ids == NULL || q->out_ids == NULL) {
        return SL_FAIL(err, SL_ERR_ARGUMENT,
                       "a request needs its prompt and a place for its tokens");
    }
    if (q->n_stop_ids > SL_STOP_IDS_MAX || (q->n_stop_ids > 0 && q->stop_ids == NULL)) {
        return SL_FAIL(err, SL_ERR_ARGUMENT, "%" PRIu32 " stop tokens are too many; at most %d",
                       q->n_stop_ids, SL_STOP_IDS_MAX);
    }
    if (q->n_top > SL_TOP_LOGPROBS_MAX || (q->n_top > 0 && q->out_top == NULL)) {
        return SL_FAIL(err, SL_ERR_ARGUMENT,
                       "log-probs of the %" PRIu32 " likeliest tokens were asked for; at most %d",
                       q->n_top, SL_TOP_LOGPROBS_MAX);
    }
    return SL_OK;
}

static sl_status owner_check_request(const sl_runner *r, const sl_request *q, sl_error *err) {
    SL_TRY(owner_check_arrays(q, err));
    SL_TRY(sl_sched_check(r->sched, q->n_prompt, q->max_tokens, err));
    for (uint32_t i = 0; i < q->n_prompt; i++) {
        if (q->prompt_ids[i] < 0 || (uint32_t)q->prompt_ids[i] >= r->n_vocab) {
            return SL_FAIL(err, SL_ERR_ARGUMENT,
                           "token %" PRId32 " at place %" PRIu32
                           " of the prompt is outside the vocabulary of %" PRIu32 " tokens",
                           q->prompt_ids[i], i, r->n_vocab);
        }
    }
    if (sl_sample_needs_history(&q->sample) && q->history == NULL) {
        return SL_FAIL(
            err, SL_ERR_ARGUMENT,
            "repetition, presence and frequency penalties need a history of the request");
    }
    return sl_sample_options_check(&q->sample, r->n_vocab, err);
}

/* Takes places in the queue, all or none. What finds it empty may have more tokens than the bound:
 * it would never find a place otherwise. */
static bool owner_enqueue(sl_runner *r, uint32_t n_new, uint64_t n_tokens) {
    uint64_t seen = atomic_load_explicit(&r->queued, memory_order_relaxed);
    do {
        const uint64_t n = seen >> RUNNER_TOKENS_BITS;
        if (n + n_new > r->options.queue_max ||
            (n > 0 && (seen & RUNNER_TOKENS_MASK) + n_tokens > r->options.queue_tokens_max)) {
            return false;
        }
    } while (!atomic_compare_exchange_weak_explicit(
        &r->queued, &seen, seen + ((uint64_t)n_new << RUNNER_TOKENS_BITS) + n_tokens,
        memory_order_relaxed, memory_order_relaxed));
    return true;
}

/* Checks one request and marks it as submitted; adds its tokens. */
static sl_status owner_prepare(sl_runner *r, sl_handle h, uint64_t *n_tokens, sl_error *err) {
    runner_slot *slot = owner_slot(r, h);
    if (slot == NULL || slot->submitted) {
        return SL_FAIL(err, SL_ERR_ARGUMENT,
                       "the request was submitted before, or its slot given back");
    }
    sl_request *q = &slot->request;
    q->sample.n_top = q->n_top;
    q->sample.want_logprob = q->out_logprobs != NULL;
    SL_TRY(owner_check_request(r, q, err));
    slot->submitted = true;
    *n_tokens += (uint64_t)q->n_prompt + q->max_tokens;
    return SL_OK;
}

/* Room for a group: its count by itself, then its places in the queue. */
static sl_status owner_take_places(sl_runner *r, uint32_t n, uint64_t n_tokens, sl_error *err) {
    if (n > sl_runner_group_max(r)) {
        return SL_FAIL(err, SL_ERR_ARGUMENT,
                       "%" PRIu32 " requests at once; at most %" PRIu32 " may wait", n,
                       sl_runner_group_max(r));
    }
    if (!owner_enqueue(r, n, n_tokens)) {
        return SL_FAIL(err, SL_AGAIN,
                       "the queue is full (at most %" PRIu32 " requests and %" PRIu64
                       " tokens may wait); try again later",
                       r->options.queue_max, r->options.queue_tokens_max);
    }
    return SL_OK;
}

sl_status sl_runner_submit_all(sl_runner *r, const sl_handle *handles, uint32_t n, sl_error *err) {
    sl_status status = sl_runner_healthy(r, err) ? SL_OK : r->failure.code;
    uint32_t n_marked = 0;
    uint64_t n_tokens = 0;
    while (status == SL_OK && n_marked < n) {
        status = owner_prepare(r, handles[n_marked], &n_tokens, err);
        n_marked += status == SL_OK;
    }
    status = status == SL_OK ? owner_take_places(r, n, n_tokens, err) : status;
    if (status != SL_OK) {
        while (n_marked > 0) {
            owner_slot(r, handles[--n_marked])->submitted = false;
        }
        RUNNER_COUNT(r->stats.rejected, n);
        return status;
    }
    const uint64_t now_ns = sl_clock_mono_ns();
    for (uint32_t i = 0; i < n; i++) {
        owner_slot(r, handles[i])->request.t_submit_ns = now_ns;
        RUNNER_COUNT(r->queued_rows, owner_slot(r, handles[i])->request.n_prompt);
        (void)sl_mpsc_push(r->submitted, handles[i]); /* cannot fail: it has room for every slot */
    }
    RUNNER_COUNT(r->stats.requests, n);
    sl_wake_signal(&r->wake);
    return SL_OK;
}

sl_status sl_runner_submit(sl_runner *r, sl_handle h, sl_error *err) {
    return sl_runner_submit_all(r, &h, 1, err);
}

uint32_t sl_runner_group_max(const sl_runner *r) {
    return r->options.queue_max < r->options.n_slots ? r->options.queue_max : r->options.n_slots;
}

void sl_runner_cancel(sl_runner *r, sl_handle h) {
    runner_slot *slot = owner_slot(r, h);
    if (slot == NULL || !slot->submitted) {
        return;
    }
    /* The engine thread looks at the flags of all slots when any_cancel was set, so a cancel needs
     * no room in a ring. */
    atomic_store_explicit(&slot->cancel, true, memory_order_release);
    atomic_store_explicit(&r->any_cancel, true, memory_order_release);
    sl_wake_signal(&r->wake);
}

/* --- news --- */

/* The lowest set bit of a word within `mask`, cleared; 64 if there is none. */
static uint32_t owner_take_bit(atomic_uint_fast64_t *word, uint64_t mask) {
    const uint64_t bits = atomic_load_explicit(word, memory_order_relaxed) & mask;
    if (bits == 0) {
        return 64;
    }
    const uint32_t i = (uint32_t)__builtin_ctzll(bits);
    /* Cleared before the owner reads the request: what comes later sets it again. */
    atomic_fetch_and_explicit(word, ~((uint64_t)1 << i), memory_order_acq_rel);
    return i;
}

bool sl_runner_poll(sl_runner *r, uint32_t owner, sl_handle *out) {
    if (owner >= r->options.n_owners) {
        return false;
    }
    runner_owner *o = &r->owners[owner];
    /* Round and round from where the last poll ended, so that busy slots cannot hide others; the
     * word of the cursor comes first and last. */
    for (uint32_t i = 0; i <= r->n_words; i++) {
        const uint32_t w = (o->cursor / 64 + i) % r->n_words;
        const uint64_t mask = i == 0 ? ~(uint64_t)0 << (o->cursor % 64) : ~(uint64_t)0;
        for (uint32_t bit; (bit = owner_take_bit(&o->news[w], mask)) < 64;) {
            const uint32_t slot = w * 64 + bit;
            const uint64_t tag = atomic_load_explicit(&r->slots[slot].tag, memory_order_relaxed);
            if ((uint32_t)tag == owner + 1) { /* else released meanwhile */
                o->cursor = (slot + 1) % (r->n_words * 64);
                *out = runner_handle(tag, slot);
                return true;
            }
        }
    }
    return false;
}

static bool owner_has_news(sl_runner *r, const runner_owner *o) {
    for (uint32_t w = 0; w < r->n_words; w++) {
        if (atomic_load_explicit(&o->news[w], memory_order_relaxed) != 0) {
            return true;
        }
    }
    return false;
}

bool sl_runner_wait(sl_runner *r, uint32_t owner, int timeout_ms) {
    if (owner >= r->options.n_owners) {
        return false;
    }
    runner_owner *o = &r->owners[owner];
    const uint64_t end_ns = timeout_ms < 0
                                ? UINT64_MAX
                                : sl_clock_mono_ns() + (uint64_t)timeout_ms * SL_NS_PER_MS;
    while (!owner_has_news(r, o)) {
        const uint64_t now_ns = timeout_ms < 0 ? 0 : sl_clock_mono_ns();
        if (now_ns >= end_ns) {
            return false;
        }
        (void)sl_wake_wait(&o->wake, timeout_ms < 0 ? SL_WAKE_FOREVER : end_ns - now_ns);
    }
    return true;
}

/* --- questions --- */

const sl_runner_stats *sl_runner_stats_of(const sl_runner *r) {
    return &r->stats;
}

void sl_runner_queue(const sl_runner *r, uint32_t *n_out, uint64_t *n_tokens_out) {
    const uint64_t queued = atomic_load_explicit(&r->queued, memory_order_acquire);
    *n_out = (uint32_t)(queued >> RUNNER_TOKENS_BITS);
    *n_tokens_out = queued & RUNNER_TOKENS_MASK;
}

void sl_runner_pause(sl_runner *r, bool paused) {
    atomic_store_explicit(&r->paused, paused, memory_order_release);
    sl_wake_signal(&r->wake);
}

bool sl_runner_is_paused(const sl_runner *r) {
    return atomic_load_explicit(&r->paused, memory_order_acquire);
}

uint32_t sl_runner_ctx_max(const sl_runner *r) {
    return sl_engine_ctx_max(r->engine);
}

bool sl_runner_healthy(sl_runner *r, sl_error *err) {
    if (!atomic_load_explicit(&r->failed, memory_order_acquire)) {
        return true;
    }
    if (err != NULL) {
        *err = r->failure;
    }
    return false;
}
