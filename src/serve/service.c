/* Start, run and stop of the server; the loop's callbacks. See service.h. */
#include "serve/service_int.h"

#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "base/rng.h"

/* --- health ---------------------------------------------------------------------------------- */

/* Work but no step for a long while: the engine is stuck. Idle time does not count. */
static bool service_stalled(sl_service *s) {
    const sl_runner_stats *stats = sl_runner_stats_of(s->runner);
    uint64_t now = sl_clock_mono_ns();
    if (s->loop.n_jobs == 0) {
        return false;
    }
    uint64_t step = atomic_load_explicit(&stats->last_step_end_ns, memory_order_relaxed);
    uint64_t since = step > s->busy_ns ? step : s->busy_ns;
    return now > since && now - since > s->options.stall_ms * SL_NS_PER_MS;
}

bool sl_serve_healthy(sl_service *s, const char **why_out) {
    sl_error err;
    if (!sl_runner_healthy(s->runner, &err)) {
        *why_out = "the model can no longer be read";
        return false;
    }
    if (service_stalled(s)) {
        *why_out = "no progress for too long";
        return false;
    }
    return true;
}

uint64_t sl_serve_random(serve_loop *l) {
    sl_service *s = l->service;
    sl_philox w = sl_rng_words(s->random[0], 0, s->random[1]++);
    return (uint64_t)w.v[0] << 32 | w.v[1];
}

/* --- stop ------------------------------------------------------------------------------------ */

static void service_end(sl_service *s) {
    if (s->state != SERVE_STOPPED) {
        s->state = SERVE_STOPPED;
        sl_http_server_close(s->loop.http);
        uv_stop(&s->loop.uv);
    }
}

void sl_serve_fail(sl_service *s, const sl_error *err) {
    s->run_status = err->code;
    s->run_error = *err;
    service_end(s);
}

/* Everything that ran has ended and was sent, or the time for it is over: then the close sends what
 * the sockets take at once and cuts the rest. Asked from the loop only, never from a handler. */
static void service_check_drained(sl_service *s) {
    if (s->state != SERVE_DRAINING || s->loop.n_jobs > 0) {
        return;
    }
    uint64_t spent_ms = (sl_clock_mono_ns() - s->stop_ns) / SL_NS_PER_MS;
    if (spent_ms < s->options.lame_duck_ms) {
        return;
    }
    uint32_t n_busy = sl_http_server_n_busy(s->loop.http);
    if (n_busy > 0 && spent_ms < s->options.drain_timeout_ms) {
        return;
    }
    if (n_busy > 0) {
        sl_log(SL_LOG_WARN, "serve", "%u connections took too long to read: cut", n_busy);
    } else {
        sl_log(SL_LOG_INFO, "serve", "drained");
    }
    service_end(s);
}

static void service_begin_drain(sl_service *s) {
    if (s->state == SERVE_STARTING) {
        service_end(s);
        return;
    }
    if (s->state != SERVE_READY) {
        return;
    }
    sl_log(SL_LOG_INFO, "serve", "stopping: %u requests are finished first", s->loop.n_open);
    s->state = SERVE_DRAINING;
    sl_runner_pause(s->runner, false); /* who waits is finished, too */
    s->stop_ns = sl_clock_mono_ns();
    sl_http_server_drain(s->loop.http);
    sl_serve_tick_start(&s->loop);
    service_check_drained(s);
}

void sl_service_stop(sl_service *s) {
    /* uv_async_send does nothing while an earlier call is pending, and looks at that with a mere
     * load, which must not come before this store: the loop could take the earlier call in between
     * and see no stop. So an exchange, as for the runner's bits of news. */
    (void)atomic_exchange(&s->stop, true);
    (void)uv_async_send(&s->loop.wake);
}

/* --- the loop -------------------------------------------------------------------------------- */

static void loop_on_tick(uv_timer_t *timer) {
    serve_loop *l = timer->data;
    sl_service *s = l->service;
    uint64_t now = sl_clock_mono_ns();
    sl_job_heartbeat(l, now);
    if (l->trim_ticks > 0 && --l->trim_ticks == 0) {
        sl_alloc_trim();
    }
    if (s->state == SERVE_DRAINING) {
        uint64_t spent_ms = (now - s->stop_ns) / SL_NS_PER_MS;
        if (l->n_jobs > 0 && spent_ms >= s->options.drain_timeout_ms) {
            sl_log(SL_LOG_WARN, "serve", "%u requests took too long to finish: cancelled",
                   l->n_open);
            sl_job_cancel_all(l);
        }
        service_check_drained(s);
    } else if (l->n_jobs == 0 && l->trim_ticks == 0) {
        (void)uv_timer_stop(&l->tick); /* an idle server does nothing at all */
        l->ticking = false;
    }
}

void sl_serve_tick_start(serve_loop *l) {
    sl_service *s = l->service;
    uint64_t period_ms = s->state == SERVE_DRAINING ? 50 : 1000;
    if (!l->ticking || s->state == SERVE_DRAINING) {
        l->ticking = true;
        (void)uv_timer_start(&l->tick, loop_on_tick, period_ms, period_ms);
    }
}

/* The values of one large body are many small blocks, hundreds of MB in all, among which the heap
 * would keep what lies below the last one in use. Two ticks: until then the request has let go of
 * them, and many such requests cost one trim a second or two. */
void sl_serve_trim_later(serve_loop *l) {
    if (l->trim_ticks == 0) {
        l->trim_ticks = 2;
        sl_serve_tick_start(l);
    }
}

static void loop_on_wake(uv_async_t *async) {
    serve_loop *l = async->data;
    sl_service *s = l->service;
    if (s->state != SERVE_STOPPED && s->runner != NULL) {
        sl_job_poll(l);
        if (atomic_load_explicit(&s->stop, memory_order_acquire)) {
            service_begin_drain(s);
        }
    }
}

void sl_service_wake(void *service, uint32_t owner) {
    sl_service *s = service;
    (void)owner; /* one loop so far */
    (void)uv_async_send(&s->loop.wake);
}

static void loop_on_gone(void *user, sl_http_exchange *x, sl_http_gone why) {
    (void)user;
    (void)why;
    sl_job_gone(sl_http_exchange_user(x)); /* only jobs keep exchanges waiting */
}

static sl_status loop_init(serve_loop *l, sl_service *s, sl_error *err) {
    l->service = s;
    sl_buf_init(&l->scratch, (size_t)256 << 20);
    if (uv_loop_init(&l->uv) != 0) {
        return SL_FAIL(err, SL_ERR_MEMORY, "the event loop cannot be made");
    }
    l->wake.data = l->tick.data = l;
    if (uv_async_init(&l->uv, &l->wake, loop_on_wake) != 0 ||
        uv_timer_init(&l->uv, &l->tick) != 0) {
        return SL_FAIL(err, SL_ERR_MEMORY, "the event loop cannot be made");
    }
    sl_http_server_options http = s->options.http;
    http.handler = (sl_http_handler){.on_headers = sl_serve_on_headers,
                                     .on_request = sl_serve_on_request,
                                     .on_gone = loop_on_gone,
                                     .on_record = sl_serve_on_record,
                                     .error_body = sl_serve_error_body};
    http.user = l;
    SL_TRY(sl_http_server_create(&l->uv, &http, &l->http, err));
    return sl_http_server_bind(l->http, s->options.host, s->options.port, &s->port, err);
}

/* --- life ------------------------------------------------------------------------------------ */

sl_status sl_service_create(const sl_service_options *options, sl_service **out, sl_error *err) {
    sl_service *s = sl_alloc_zero(1, sizeof(*s));
    if (s == NULL) {
        return SL_FAIL(err, SL_ERR_MEMORY, "no memory for the server");
    }
    s->options = *options;
    s->options.stall_ms = options->stall_ms == 0 ? 60000 : options->stall_ms;
    s->created_s = sl_clock_wall_s();
    sl_serve_metrics_init(&s->metrics);
    if (getrandom(s->random, sizeof(s->random), 0) != (ssize_t)sizeof(s->random)) {
        s->random[0] = sl_clock_mono_ns(); /* ids need be different, not secret */
    }
    sl_status status = loop_init(&s->loop, s, err);
    if (status != SL_OK) {
        sl_service_free(s);
        return status;
    }
    *out = s;
    return SL_OK;
}

void sl_serve_listen(sl_service *s) {
    if (s->state != SERVE_STARTING) {
        return;
    }
    sl_error err;
    if (sl_http_server_listen(s->loop.http, &err) != SL_OK) {
        sl_serve_fail(s, &err);
        return;
    }
    s->state = SERVE_READY;
    if (s->options.on_listening != NULL) {
        s->options.on_listening(s->options.user, s->port);
    }
}

sl_status sl_service_run(sl_service *s, const sl_service_model *model, sl_error *err) {
    s->model = *model;
    s->runner = model->runner;
    SL_TRY(sl_job_start_canary(&s->loop, err));
    (void)uv_async_send(&s->loop.wake); /* a stop that was asked for before */
    (void)uv_run(&s->loop.uv, UV_RUN_DEFAULT);
    if (s->run_status != SL_OK) {
        return SL_FAIL(err, s->run_status, "%s", s->run_error.message);
    }
    return SL_OK;
}

static void service_close_handle(uv_handle_t *handle, void *arg) {
    (void)arg;
    if (!uv_is_closing(handle)) {
        uv_close(handle, NULL);
    }
}

void sl_service_free(sl_service *s) {
    if (s == NULL) {
        return;
    }
    serve_loop *l = &s->loop;
    if (l->http != NULL) {
        sl_http_server_close(l->http);
    }
    s->runner = NULL; /* freed by its owner before */
    sl_job_free_all(l);
    if (l->wake.data != NULL) {
        uv_walk(&l->uv, service_close_handle, NULL);
        (void)uv_run(&l->uv, UV_RUN_DEFAULT);
        (void)uv_loop_close(&l->uv);
    }
    sl_http_server_free(l->http);
    sl_buf_deinit(&l->scratch);
    sl_serve_salts_deinit(&l->salts);
    sl_serve_salts_deinit(&l->tenants);
    sl_serve_explain_deinit(l);
    sl_free(s);
}
