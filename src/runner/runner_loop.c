/* The engine thread: takes requests from the ring, honours cancels and deadlines, plans and runs
 * steps, tells owners, sleeps when there is nothing to do. Allocates nothing. Owner: this thread.
 */
#include <inttypes.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/error.h"
#include "runner/runner_int.h"

void sl_runner_news(sl_runner *r, uint32_t slot) {
    runner_owner *o = &r->owners[r->active[slot].owner];
    atomic_fetch_or_explicit(&o->news[slot / 64], (uint64_t)1 << (slot % 64), memory_order_acq_rel);
    o->has_news = true;
}

void sl_runner_unqueue(sl_runner *r, uint32_t slot) {
    runner_active *a = &r->active[slot];
    if (a->queued) {
        a->queued = false;
        const uint64_t n_tokens = (uint64_t)a->request->n_prompt + a->request->max_tokens;
        atomic_fetch_sub_explicit(&r->queued_rows, a->request->n_prompt, memory_order_relaxed);
        /* Whoever sees it gone from the queue sees it among the running ones: release. */
        atomic_fetch_sub_explicit(&r->queued, ((uint64_t)1 << RUNNER_TOKENS_BITS) + n_tokens,
                                  memory_order_release);
    }
}

static void loop_count_end(sl_runner *r, sl_finish finish) {
    switch (finish) {
    case SL_FINISH_STOP:
        RUNNER_COUNT(r->stats.finished_stop, 1);
        break;
    case SL_FINISH_LENGTH:
        RUNNER_COUNT(r->stats.finished_length, 1);
        break;
    case SL_FINISH_CANCELLED:
        RUNNER_COUNT(r->stats.cancelled, 1);
        break;
    case SL_FINISH_NONE:
    case SL_FINISH_ERROR:
        RUNNER_COUNT(r->stats.failed, 1);
        break;
    }
}

static void loop_set_gauges(sl_runner *r) {
    RUNNER_GAUGE(r->stats.pages_used, sl_kv_n_used(r->kv));
    RUNNER_GAUGE(r->stats.pages_cached, sl_kv_n_cached(r->kv));
    RUNNER_GAUGE(r->stats.n_on_hold, sl_sched_n_on_hold(r->sched));
    RUNNER_GAUGE(r->stats.n_running, sl_sched_n_running(r->sched) + sl_sched_n_on_hold(r->sched));
}

void sl_runner_end(sl_runner *r, uint32_t slot, sl_finish finish, const sl_error *error) {
    runner_active *a = &r->active[slot];
    sl_request *q = a->request;
    sl_runner_unqueue(r, slot);
    sl_sched_end(r->sched, slot);
    if (error != NULL) {
        q->error = *error;
    }
    q->t_end_ns = sl_clock_mono_ns();
    loop_count_end(r, finish);
    a->active = false;
    a->request = NULL;
    loop_set_gauges(r); /* before the end is seen: who waited for the last one finds no page used */
    atomic_store_explicit(&q->finish, (int)finish, memory_order_release);
    sl_runner_news(r, slot);
}

void sl_runner_event(sl_request *q, sl_event_kind kind, uint64_t t_ns, uint32_t n) {
    const uint32_t i = (uint32_t)atomic_load_explicit(&q->n_events, memory_order_relaxed);
    if (i < SL_EVENTS_MAX) {
        q->events[i] = (sl_event){.t_ns = t_ns, .kind = kind, .n = n};
    }
    atomic_store_explicit(&q->n_events, i + 1, memory_order_release);
}

/* --- what owners asked for --- */

static void loop_admit(sl_runner *r, sl_handle h) {
    const uint32_t slot = (uint32_t)h;
    runner_slot *s = &r->slots[slot];
    sl_request *q = &s->request;
    const uint32_t owner = (uint32_t)atomic_load_explicit(&s->tag, memory_order_relaxed) - 1;
    r->active[slot] = (runner_active){.active = true, .queued = true, .owner = owner, .request = q};
    sl_runner_draft_begin(&r->active[slot].drafts);
    if (atomic_load_explicit(&s->cancel, memory_order_acquire)) {
        sl_runner_end(r, slot, SL_FINISH_CANCELLED, NULL);
        return;
    }
    if (atomic_load_explicit(&r->failed, memory_order_relaxed)) {
        sl_runner_end(r, slot, SL_FINISH_ERROR, &r->failure);
        return;
    }
    const sl_sched_request sent = {.prompt_ids = q->prompt_ids,
                                   .n_prompt = q->n_prompt,
                                   .out_ids = q->out_ids,
                                   .max_tokens = q->max_tokens,
                                   .deadline_ns = q->deadline_ns,
                                   .arrival_ns = q->t_submit_ns,
                                   .priority = q->priority,
                                   .tenant = q->tenant,
                                   .shares = q->shares,
                                   .salt = q->salt};
    sl_error err = {0};
    sl_sched_set_weight(r->sched, q->tenant, q->weight == 0 ? 1 : q->weight);
    const sl_status status = sl_sched_add(r->sched, slot, &sent, &err);
    if (status == SL_AGAIN) { /* submit keeps the bound, the scheduler's is wider */
        (void)SL_FAIL(&err, SL_ERR_INTERNAL, "the scheduler's queue is full");
    }
    if (status != SL_OK) {
        sl_runner_end(r, slot, SL_FINISH_ERROR, &err);
    }
}

static void loop_take_submitted(sl_runner *r) {
    sl_handle h;
    while (sl_mpsc_pop(r->submitted, &h)) {
        loop_admit(r, h);
    }
}

static void loop_take_cancels(sl_runner *r) {
    if (!atomic_load_explicit(&r->any_cancel, memory_order_relaxed) ||
        !atomic_exchange_explicit(&r->any_cancel, false, memory_order_acq_rel)) {
        return;
    }
    for (uint32_t i = 0; i < r->options.n_slots; i++) {
        if (r->active[i].active &&
            atomic_load_explicit(&r->slots[i].cancel, memory_order_acquire)) {
            sl_runner_end(r, i, SL_FINISH_CANCELLED, NULL);
        }
    }
}

static void loop_end_expired(sl_runner *r, uint64_t now_ns) {
    uint32_t slot;
    while (sl_sched_expired(r->sched, now_ns, &slot)) {
        sl_error err;
        (void)SL_FAIL(&err, SL_ERR_LIMIT,
                      "the request's deadline passed after %" PRIu32 " of at most %" PRIu32
                      " tokens",
                      r->active[slot].n_out, r->active[slot].request->max_tokens);
        sl_runner_end(r, slot, SL_FINISH_ERROR, &err);
    }
}

static void loop_end_all(sl_runner *r, sl_finish finish, const sl_error *error) {
    uint32_t slot;
    while (sl_sched_any(r->sched, &slot)) {
        sl_runner_end(r, slot, finish, error);
    }
}

/* --- what owners are told --- */

static void loop_notify(sl_runner *r) {
    for (uint32_t i = 0; i < r->options.n_owners; i++) {
        runner_owner *o = &r->owners[i];
        if (o->has_news) {
            o->has_news = false;
            if (r->options.wake != NULL) {
                r->options.wake(r->options.wake_user, i);
            } else {
                sl_wake_signal(&o->wake);
            }
        }
    }
}

/* --- the loop --- */

static void loop_mark_started(sl_runner *r, uint64_t now_ns) {
    uint32_t n;
    const uint32_t *admitted = sl_sched_admitted(r->sched, &n);
    loop_set_gauges(r); /* first, so that nobody is missing both here and in the queue */
    for (uint32_t i = 0; i < n; i++) {
        runner_active *a = &r->active[admitted[i]];
        if (a->queued) { /* else it goes on after a hold */
            sl_runner_unqueue(r, admitted[i]);
            a->request->t_start_ns = now_ns;
            sl_runner_event(a->request, SL_EVENT_BEGAN, now_ns, 0);
        } else {
            sl_runner_event(a->request, SL_EVENT_WENT_ON, now_ns, a->request->n_prompt + a->n_out);
            RUNNER_COUNT(r->stats.holds, 1);
        }
    }
}

/* Nothing to compute: weights that no step has needed yet are packed, a part at a time. True if
 * some are left. */
static bool loop_prepare(sl_runner *r) {
    sl_error err = {0};
    const sl_status status = sl_engine_prepare(r->engine, &err);
    if (status < 0 && !atomic_load_explicit(&r->failed, memory_order_relaxed)) {
        r->failure = err;
        atomic_store_explicit(&r->failed, true, memory_order_release);
    }
    r->all_ready = status == SL_OK;
    return status == SL_AGAIN;
}

void sl_runner_forget_prefixes(sl_runner *r) {
    sl_kv_forget_prefixes(r->kv);
    loop_set_gauges(r);
}

/* The caller's own work in the meantime. True if there is more of it. */
static bool loop_idle(sl_runner *r) {
    uint32_t slot;
    if (r->options.idle == NULL || !r->all_ready || sl_sched_any(r->sched, &slot)) {
        return false;
    }
    sl_alloc_unlock();
    const bool more = r->options.idle(r->options.idle_user, r);
    sl_alloc_lock();
    return more;
}

void *sl_runner_loop(void *arg) {
    sl_runner *r = arg;
    sl_alloc_lock();
    while (!atomic_load_explicit(&r->stop, memory_order_acquire)) {
        loop_take_submitted(r);
        loop_take_cancels(r);
        const uint64_t now_ns = sl_clock_mono_ns();
        loop_end_expired(r, now_ns);
        sl_sched_pause(r->sched, sl_runner_is_paused(r));
        const sl_step *step = sl_sched_plan(r->sched, now_ns);
        if (step != NULL) {
            loop_mark_started(r, now_ns);
            sl_runner_forecast_set(r);
            sl_runner_step(r, step, now_ns);
            if (atomic_load_explicit(&r->failed, memory_order_relaxed)) {
                loop_end_all(r, SL_FINISH_ERROR, &r->failure);
            }
        }
        loop_notify(r);
        if (step == NULL) {
            sl_runner_forecast_set(r);
        }
        if (step == NULL && !loop_prepare(r) && !loop_idle(r)) {
            const uint64_t wake_ns = sl_sched_wake_ns(r->sched);
            (void)sl_wake_wait(&r->wake, wake_ns == UINT64_MAX ? SL_WAKE_FOREVER
                                         : wake_ns > now_ns    ? wake_ns - now_ns
                                                               : 0);
        }
    }
    loop_take_submitted(r);
    loop_end_all(r, SL_FINISH_CANCELLED, NULL);
    loop_notify(r);
    sl_alloc_unlock();
    return NULL;
}
