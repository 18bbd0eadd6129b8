/* Why a request is refused before it takes anybody's time: the server stops, its queue is full, or
 * what is known of the last requests says that this one would come too late. See job_int.h. */
#include <inttypes.h>

#include "base/clock.h"
#include "serve/job_int.h"

#define RETRY_MAX_S 3600 /* nobody knows more */

/* A 429 that says when to come again. */
static sl_status admit_later(serve_job *j, sl_status refused, uint64_t wait_ns, sl_api_error *e) {
    const uint64_t s = (wait_ns + SL_NS_PER_S - 1) / SL_NS_PER_S;
    e->retry_after_s = s < RETRY_MAX_S ? (uint32_t)s : RETRY_MAX_S;
    sl_counter_add(&j->loop->service->metrics.refused_queue, 1);
    return refused;
}

sl_status sl_job_busy(serve_job *j, sl_api_error *e) {
    const uint64_t wait_ns = sl_runner_forecast(j->loop->service->runner, 1, 1).start_ns;
    return admit_later(j,
                       sl_api_fail(e, 429, "rate_limit_exceeded", NULL,
                                   "The server's queue is full; try again later."),
                       wait_ns, e);
}

sl_status sl_job_admit(serve_job *j, sl_api_error *e) {
    sl_service *s = j->loop->service;
    if (s->state != SERVE_READY) {
        return sl_api_fail(e, 503, "shutting_down", NULL,
                           "The server is shutting down and takes no new requests.");
    }
    const char *why = NULL;
    if (!sl_serve_healthy(s, &why)) {
        return sl_api_fail(e, 503, "engine_unavailable", NULL, "The engine is not working: %s",
                           why);
    }
    uint32_t n_queued;
    uint64_t n_tokens;
    sl_runner_queue(s->runner, &n_queued, &n_tokens);
    return n_queued >= sl_runner_group_max(s->runner) ? sl_job_busy(j, e) : SL_OK;
}

/* Its own deadline, or what the server allows. */
static uint64_t admit_deadline_ns(const serve_job *j) {
    const uint64_t server_ms = j->loop->service->options.request_timeout_ms;
    const uint64_t own_ms = j->params.deadline_ms;
    const uint64_t ms = own_ms == 0 || (server_ms != 0 && server_ms < own_ms) ? server_ms : own_ms;
    return ms == 0 ? 0 : j->begin_ns + ms * SL_NS_PER_MS;
}

/* What the longest of its prompts is to expect. */
static sl_forecast admit_forecast(const serve_job *j) {
    const sl_runner *r = j->loop->service->runner;
    const uint32_t ctx = sl_runner_ctx_max(r);
    const uint64_t n_out = j->params.max_tokens;
    size_t n_prompt = 0;
    for (size_t i = 0; i < j->n_prompts; i++) {
        n_prompt = j->prompts[i].n > n_prompt ? j->prompts[i].n : n_prompt;
    }
    return sl_runner_forecast(r, (uint32_t)n_prompt,
                              n_out == 0 || n_out > ctx ? ctx : (uint32_t)n_out);
}

/* Too late by its own deadline. */
static sl_status admit_check_deadline(serve_job *j, const sl_forecast *f, sl_api_error *e) {
    const uint64_t now_ns = sl_clock_mono_ns();
    const uint64_t left_ns = j->deadline_ns > now_ns ? j->deadline_ns - now_ns : 0;
    const uint64_t read_ns = f->first_ns - f->start_ns;
    if (j->params.deadline_ms == 0 || f->end_ns <= left_ns) {
        return SL_OK;
    }
    if (read_ns > left_ns) { /* to come again would not help */
        return sl_api_fail(e, 400, "deadline_too_short", "deadline_ms",
                           "To read the prompt alone takes about %.0f ms, but 'deadline_ms' leaves "
                           "%.0f ms.",
                           (double)read_ns / 1e6, (double)left_ns / 1e6);
    }
    if (f->start_ns == 0) {
        return SL_OK; /* its answer may be shorter than others' were */
    }
    const uint64_t over_ns = f->end_ns - left_ns;
    return admit_later(
        j,
        sl_api_fail(e, 429, "deadline_out_of_reach", "deadline_ms",
                    "The answer would take about %.1f s, %.1f s of that in the queue, but "
                    "'deadline_ms' leaves %.1f s; try again later.",
                    (double)f->end_ns / 1e9, (double)f->start_ns / 1e9, (double)left_ns / 1e9),
        over_ns < f->start_ns ? over_ns : f->start_ns, e);
}

sl_status sl_job_foresee(serve_job *j, sl_api_error *e) {
    const uint64_t most_ns = j->loop->service->options.max_wait_ms * SL_NS_PER_MS;
    const sl_forecast f = admit_forecast(j);
    j->deadline_ns = admit_deadline_ns(j);
    if (most_ns == 0 || f.start_ns <= most_ns) {
        return admit_check_deadline(j, &f, e);
    }
    return admit_later(
        j,
        sl_api_fail(e, 429, "rate_limit_exceeded", NULL,
                    "The request would wait for about %.1f s, longer than the %.1f s that this "
                    "server allows; try again later.",
                    (double)f.start_ns / 1e9, (double)most_ns / 1e9),
        f.start_ns - most_ns, e);
}
