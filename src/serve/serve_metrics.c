/* See serve_metrics.h. Format: Prometheus text exposition format 0.0.4. */
#include "serve/serve_metrics.h"

#include <inttypes.h>

#include "base/clock.h"

#define MS SL_NS_PER_MS

static const uint64_t bounds_first_token[] = {
    5 * MS,    10 * MS,   25 * MS,    50 * MS,    100 * MS,   250 * MS,    500 * MS,   1000 * MS,
    2500 * MS, 5000 * MS, 10000 * MS, 30000 * MS, 60000 * MS, 120000 * MS, 300000 * MS};
static const uint64_t bounds_token_gap[] = {1 * MS,   2 * MS,   5 * MS,    10 * MS,   20 * MS,
                                            30 * MS,  50 * MS,  75 * MS,   100 * MS,  150 * MS,
                                            250 * MS, 500 * MS, 1000 * MS, 2500 * MS, 10000 * MS};
static const uint64_t bounds_duration[] = {
    10 * MS,    50 * MS,    100 * MS,   250 * MS,   500 * MS,    1000 * MS,   2500 * MS,  5000 * MS,
    10000 * MS, 20000 * MS, 40000 * MS, 60000 * MS, 120000 * MS, 300000 * MS, 600000 * MS};
static const uint64_t bounds_queue[] = {1 * MS,     5 * MS,     10 * MS,    50 * MS,   100 * MS,
                                        500 * MS,   1000 * MS,  2500 * MS,  5000 * MS, 10000 * MS,
                                        30000 * MS, 60000 * MS, 120000 * MS};
static const uint64_t bounds_tokens[] = {1,   2,    5,    10,   20,    50,    100,   200,
                                         500, 1000, 2000, 5000, 10000, 20000, 50000, 100000};
#define N(array) (uint32_t)(sizeof(array) / sizeof((array)[0]))

static const int statuses[SERVE_STATUS_COUNT] = {200, 400, 401, 404, 405, 408, 413, 414, 415,
                                                 417, 429, 431, 499, 500, 503, 504, 505};

void sl_serve_metrics_init(serve_metrics *m) {
    *m = (serve_metrics){0};
    sl_histogram_init(&m->first_token_ns, bounds_first_token, N(bounds_first_token));
    sl_histogram_init(&m->token_gap_ns, bounds_token_gap, N(bounds_token_gap));
    sl_histogram_init(&m->duration_ns, bounds_duration, N(bounds_duration));
    sl_histogram_init(&m->queue_ns, bounds_queue, N(bounds_queue));
    sl_histogram_init(&m->prompt_tokens, bounds_tokens, N(bounds_tokens));
    sl_histogram_init(&m->generated_tokens, bounds_tokens, N(bounds_tokens));
}

void sl_serve_metrics_count(serve_metrics *m, serve_route route, int status) {
    for (uint32_t i = 0; i < SERVE_STATUS_COUNT; i++) {
        if (statuses[i] == status) {
            sl_counter_add(&m->requests[route][i], 1);
            return;
        }
    }
}

const char *sl_serve_route_path(serve_route route) {
    static const char *const paths[SERVE_ROUTE_COUNT] = {"/v1/chat/completions",
                                                         "/v1/completions",
                                                         "/v1/models",
                                                         "/v1/models/NAME",
                                                         "/health",
                                                         "/livez",
                                                         "/readyz",
                                                         "/metrics",
                                                         "/v1/requests/ID/explain",
                                                         "/v1/requests/ID/cancel",
                                                         "/admin/pause",
                                                         "/admin/resume",
                                                         "other"};
    return route < SERVE_ROUTE_COUNT ? paths[route] : "other";
}

/* --- text ------------------------------------------------------------------------------------ */

static void write_head(sl_buf *out, const char *name, const char *type, const char *help) {
    (void)sl_buf_printf(out, "# HELP sluice_%s %s\n# TYPE sluice_%s %s\n", name, help, name, type);
}

/* The value of a label: of all characters the format knows three escapes. */
static void write_label(sl_buf *out, const char *text) {
    for (; *text != '\0'; text++) {
        switch (*text) {
        case '\\':
            (void)sl_buf_append_str(out, "\\\\");
            break;
        case '"':
            (void)sl_buf_append_str(out, "\\\"");
            break;
        case '\n':
            (void)sl_buf_append_str(out, "\\n");
            break;
        default:
            (void)sl_buf_append_char(out, *text);
            break;
        }
    }
}

static void write_value(sl_buf *out, const char *name, const char *type, const char *help,
                        double value) {
    write_head(out, name, type, help);
    (void)sl_buf_printf(out, "sluice_%s %.15g\n", name, value);
}

/* `unit` values of the histogram make one of the unit that is shown (1e9: ns -> s). */
static void write_histogram(sl_buf *out, const char *name, const char *help, const sl_histogram *h,
                            double unit) {
    write_head(out, name, "histogram", help);
    for (uint32_t i = 0; i < h->n_bounds; i++) {
        (void)sl_buf_printf(out, "sluice_%s_bucket{le=\"%.9g\"} %" PRIu64 "\n", name,
                            (double)h->bounds[i] / unit, sl_histogram_cumulative(h, i));
    }
    uint64_t all = sl_histogram_cumulative(h, h->n_bounds);
    (void)sl_buf_printf(out, "sluice_%s_bucket{le=\"+Inf\"} %" PRIu64 "\n", name, all);
    (void)sl_buf_printf(out, "sluice_%s_sum %.9g\nsluice_%s_count %" PRIu64 "\n", name,
                        (double)sl_histogram_sum(h) / unit, name, all);
}

static void write_requests(sl_buf *out, const serve_metrics *m) {
    write_head(out, "http_requests_total", "counter",
               "HTTP requests by path and status (499: the client left).");
    for (uint32_t r = 0; r < SERVE_ROUTE_COUNT; r++) {
        for (uint32_t i = 0; i < SERVE_STATUS_COUNT; i++) {
            uint64_t n = sl_counter_get(&m->requests[r][i]);
            if (n > 0) {
                (void)sl_buf_printf(
                    out, "sluice_http_requests_total{path=\"%s\",status=\"%d\"} %" PRIu64 "\n",
                    sl_serve_route_path((serve_route)r), statuses[i], n);
            }
        }
    }
}

static double stat(const atomic_uint_fast64_t *value) {
    return (double)atomic_load_explicit(value, memory_order_relaxed);
}

static void write_runner(sl_buf *out, const serve_metrics_now *now) {
    const sl_runner_stats *s = now->runner;
    write_value(out, "requests_total", "counter", "Sequences given to the engine.",
                stat(&s->requests));
    write_head(out, "requests_finished_total", "counter", "Sequences that ended, by reason.");
    (void)sl_buf_printf(out,
                        "sluice_requests_finished_total{reason=\"stop\"} %.15g\n"
                        "sluice_requests_finished_total{reason=\"length\"} %.15g\n"
                        "sluice_requests_finished_total{reason=\"cancelled\"} %.15g\n"
                        "sluice_requests_finished_total{reason=\"error\"} %.15g\n",
                        stat(&s->finished_stop), stat(&s->finished_length), stat(&s->cancelled),
                        stat(&s->failed));
    write_value(out, "prompt_tokens_total", "counter", "Prompt tokens computed.",
                stat(&s->prompt_tokens));
    write_value(out, "prompt_tokens_cached_total", "counter",
                "Prompt tokens that were not computed: another sequence had them.",
                stat(&s->cached_tokens));
    write_value(out, "generated_tokens_total", "counter", "Tokens generated.",
                stat(&s->generated_tokens));
    write_value(out, "drafted_tokens_total", "counter",
                "Guesses of what follows that were computed.", stat(&s->drafted_tokens));
    write_value(out, "accepted_tokens_total", "counter", "Of these, those that came true.",
                stat(&s->accepted_tokens));
    write_value(out, "steps_total", "counter", "Passes over the weights.", stat(&s->steps));
    write_value(out, "step_rows_total", "counter", "Tokens that went through these passes.",
                stat(&s->step_rows));
    write_value(out, "step_seconds_total", "counter", "Time spent in these passes.",
                stat(&s->step_ns) / 1e9);
    write_value(out, "step_cost_ratio", "gauge",
                "Time of the passes of late / what was measured for such passes; 0: not known yet.",
                stat(&s->cost_millis) / 1e3);
    write_value(out, "requests_queued", "gauge", "Sequences waiting to be started.", now->n_queued);
    write_value(out, "predicted_wait_seconds", "gauge",
                "Until a request that comes now begins, by what the last ones took.",
                (double)now->wait_ns / 1e9);
    write_value(out, "admission_paused", "gauge", "1: requests wait, none begins.",
                now->is_paused ? 1.0 : 0.0);
    write_value(out, "requests_running", "gauge", "Sequences being computed.", stat(&s->n_running));
    write_value(out, "requests_on_hold", "gauge",
                "Running sequences that gave their KV pages to older ones.", stat(&s->n_on_hold));
    write_value(out, "requests_held_total", "counter",
                "Times that a sequence went on after it had given its KV pages away.",
                stat(&s->holds));
    write_value(out, "queued_tokens", "gauge",
                "Prompt and longest answer of the waiting sequences, in tokens.",
                (double)now->queued_tokens);
    write_value(out, "kv_pages_used", "gauge", "KV pages that a sequence refers to.",
                stat(&s->pages_used));
    write_value(out, "kv_pages_cached", "gauge",
                "KV pages that are kept for sequences that begin alike.", stat(&s->pages_cached));
    write_value(out, "kv_pages_total", "gauge", "KV pages of the pool.", stat(&s->pages_total));
}

static void write_memory(sl_buf *out, const sl_engine_memory *m) {
    write_head(out, "memory_bytes", "gauge",
               "Memory set aside when the model was loaded, by kind: the mapped file, weights in "
               "the kernels' layout, the KV page pool, buffers of a step.");
    (void)sl_buf_printf(out,
                        "sluice_memory_bytes{kind=\"file\"} %" PRIu64 "\n"
                        "sluice_memory_bytes{kind=\"packed_weights\"} %" PRIu64 "\n"
                        "sluice_memory_bytes{kind=\"kv_pages\"} %" PRIu64 "\n"
                        "sluice_memory_bytes{kind=\"step\"} %" PRIu64 "\n",
                        m->file_bytes, m->packed_bytes, m->kv_bytes, m->step_bytes);
}

void sl_serve_metrics_write(const serve_metrics *m, const serve_metrics_now *now, sl_buf *out) {
    write_head(out, "info", "gauge", "Version and model being served.");
    (void)sl_buf_printf(out, "sluice_info{version=\"%s\",model=\"", now->version);
    write_label(out, now->model);
    (void)sl_buf_append_str(out, "\"} 1\n");
    write_value(out, "ready", "gauge", "1 while new requests are taken.", now->ready ? 1 : 0);
    write_value(out, "http_connections", "gauge", "Open client connections.", now->connections);
    write_value(out, "resident_memory_bytes", "gauge", "Resident memory of the process.",
                (double)now->resident_bytes);
    write_memory(out, now->memory);
    write_requests(out, m);
    write_value(out, "requests_refused_total", "counter",
                "Requests refused with 429 because the queue was full.",
                (double)sl_counter_get(&m->refused_queue));
    if (now->runner != NULL) {
        write_runner(out, now);
    }
    write_histogram(out, "time_to_first_token_seconds",
                    "From a request's first byte to its first token.", &m->first_token_ns, 1e9);
    write_histogram(out, "inter_token_latency_seconds",
                    "Between tokens of one sequence, as they reach the connection.",
                    &m->token_gap_ns, 1e9);
    write_histogram(out, "request_duration_seconds",
                    "From a request's first byte to the end of its answer.", &m->duration_ns, 1e9);
    write_histogram(out, "request_queue_seconds", "From submission to the first pass.",
                    &m->queue_ns, 1e9);
    write_histogram(out, "request_prompt_tokens", "Prompt tokens of a sequence.", &m->prompt_tokens,
                    1.0);
    write_histogram(out, "request_generated_tokens", "Generated tokens of a sequence.",
                    &m->generated_tokens, 1.0);
}
