/* How long a request that comes now would wait and take, from what steps took of late. The engine
 * thread publishes what it knows before each step; any thread asks. */
#include "runner/runner_int.h"

#define FORECAST_WEIGHT 0.1 /* of the newest step in the means */
#define FORECAST_ROWS 16    /* steps of fewer rows say nothing of prompts */

static void forecast_mean(double *mean, double value) {
    *mean += (*mean > 0.0 ? FORECAST_WEIGHT : 1.0) * (value - *mean);
}

void sl_runner_forecast_learn(sl_runner *r, const sl_step *step, uint64_t ns) {
    if (!r->all_ready) {
        return; /* weights were packed on the way */
    }
    if (step->n_logits > 0) {
        forecast_mean(&r->step_ns, (double)ns);
        RUNNER_GAUGE(r->ahead.step_ns, (uint64_t)r->step_ns);
    }
    if (step->n_rows >= FORECAST_ROWS) {
        forecast_mean(&r->row_ns, (double)ns / step->n_rows);
        RUNNER_GAUGE(r->ahead.row_ns, (uint64_t)r->row_ns);
    }
}

void sl_runner_forecast_set(sl_runner *r) {
    const sl_sched_ahead ahead = sl_sched_ahead_now(r->sched);
    RUNNER_GAUGE(r->ahead.n_rows, ahead.n_rows);
    RUNNER_GAUGE(r->ahead.n_running, ahead.n_running);
    RUNNER_GAUGE(r->ahead.n_places, ahead.n_places);
    RUNNER_GAUGE(r->ahead.n_pages, ahead.n_pages);
    RUNNER_GAUGE(r->ahead.mean_out, ahead.mean_out);
}

static double seen(const atomic_uint_fast64_t *gauge) {
    return (double)atomic_load_explicit(gauge, memory_order_relaxed);
}

sl_forecast sl_runner_forecast(const sl_runner *r, uint32_t n_prompt, uint32_t max_tokens) {
    const double step_ns = seen(&r->ahead.step_ns), row_ns = seen(&r->ahead.row_ns);
    uint32_t n_queued;
    uint64_t n_tokens;
    sl_runner_queue(r, &n_queued, &n_tokens);
    const double mean_out = seen(&r->ahead.mean_out);
    const double n_out = (double)max_tokens < mean_out ? (double)max_tokens : mean_out;
    const uint64_t n_pages = sl_kv_groups_pages(sl_engine_kv_groups(r->engine),
                                                (uint64_t)n_prompt + (uint64_t)n_out);
    /* Requests like this one that could begin at once, and how many must end before it does. */
    const double by_pages = seen(&r->ahead.n_pages) / (n_pages > 0 ? (double)n_pages : 1.0);
    const double n_places = seen(&r->ahead.n_places);
    const double n_ends = n_queued + 1.0 -
                          (by_pages < n_places ? (double)(uint64_t)by_pages : n_places);
    const double n_running = seen(&r->ahead.n_running);
    double wait_ns = (seen(&r->ahead.n_rows) + seen(&r->queued_rows)) * row_ns;
    const double at_once = n_running > 0.0 ? n_running : n_places;
    if (n_ends > 0.0 && at_once > 0.0) { /* so many end together, after as many tokens as others */
        wait_ns += n_ends * mean_out * step_ns / at_once;
    }
    return (sl_forecast){.start_ns = (uint64_t)wait_ns,
                         .first_ns = (uint64_t)(wait_ns + n_prompt * row_ns),
                         .end_ns = (uint64_t)(wait_ns + n_prompt * row_ns + n_out * step_ns)};
}
