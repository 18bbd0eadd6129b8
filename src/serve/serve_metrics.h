/* Counters and histograms of the server, and their form for Prometheus. Written by the io threads,
 * read by whoever answers /metrics: relaxed atomics (base/metric.h). */
#ifndef SL_SERVE_METRICS_H
#define SL_SERVE_METRICS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/metric.h"
#include "engine/engine.h"
#include "runner/runner.h"

/* Labels come from fixed sets only. */
typedef enum serve_route {
    SERVE_ROUTE_CHAT,
    SERVE_ROUTE_COMPLETIONS,
    SERVE_ROUTE_MODELS,
    SERVE_ROUTE_MODEL,
    SERVE_ROUTE_HEALTH,
    SERVE_ROUTE_LIVE,
    SERVE_ROUTE_READY,
    SERVE_ROUTE_METRICS,
    SERVE_ROUTE_EXPLAIN,
    SERVE_ROUTE_CANCEL,
    SERVE_ROUTE_PAUSE,
    SERVE_ROUTE_RESUME,
    SERVE_ROUTE_NONE, /* an unknown path, or no valid request */
    SERVE_ROUTE_COUNT
} serve_route;

#define SERVE_STATUS_COUNT 17 /* statuses that this server gives */

typedef struct serve_metrics {
    sl_counter requests[SERVE_ROUTE_COUNT][SERVE_STATUS_COUNT];
    sl_counter refused_queue; /* 429 */
    sl_histogram first_token_ns, token_gap_ns, duration_ns, queue_ns;
    sl_histogram prompt_tokens, generated_tokens;
} serve_metrics;

/* What is not counted but looked at when asked. */
typedef struct serve_metrics_now {
    const sl_runner_stats *runner; /* NULL before the runner is there */
    uint32_t n_queued;
    uint64_t queued_tokens;
    uint32_t connections;
    bool ready, is_paused;
    uint64_t wait_ns; /* that a request must expect */
    uint64_t resident_bytes;
    const sl_engine_memory *memory; /* by kind */
    const char *model, *version;
} serve_metrics_now;

void sl_serve_metrics_init(serve_metrics *m);
void sl_serve_metrics_count(serve_metrics *m, serve_route route, int status);
void sl_serve_metrics_write(const serve_metrics *m, const serve_metrics_now *now, sl_buf *out);
const char *sl_serve_route_path(serve_route route);

#endif
