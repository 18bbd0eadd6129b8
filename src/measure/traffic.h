/* The load generator: a server's address and a workload become figures of what its users feel.
 *
 * Any server of the OpenAI API can be the target. Requests are streamed; a token's time is that of
 * the piece of text that brings it. Arrivals are closed loop (a number of users, each of whom sends
 * the next request when the last one has ended) or open (at given times, whether the server keeps
 * up or not). One thread; nothing of the workload depends on chance but through the seed. */
#ifndef SL_MEASURE_TRAFFIC_H
#define SL_MEASURE_TRAFFIC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <sluice/status.h>

#include "base/buf.h"

/* A request of a workload: about so many tokens of prompt, at most so many of answer. */
typedef struct sl_traffic_item {
    double at_s; /* of open arrivals: after the beginning */
    uint32_t n_prompt, n_gen;
} sl_traffic_item;

typedef struct sl_traffic_options {
    const char *host; /* borrowed, as all texts here */
    uint16_t port;
    const char *path;   /* before "/completions": "/v1" */
    const char *model;  /* NULL: the server's only one */
    const char *key;    /* NULL: none */
    uint32_t n_users;   /* closed loop; 0: open arrivals, at the items' times */
    uint32_t n_turns;   /* of a chat: each turn sends all before it; 1: single completions */
    uint32_t n_shared;  /* tokens of beginning that all prompts have in common */
    uint32_t timeout_s; /* after the last arrival; what has not ended by then has failed */
    uint64_t seed;
    const sl_traffic_item *items; /* [n_items] requests, or with turns chats */
    size_t n_items;
    uint32_t server_pid; /* 0: unknown; else its processor time is taken */
    /* Checked a few times a second: true ends the run, with what there is. */
    bool (*stop)(void *user);
    void *user;
} sl_traffic_options;

/* What became of a request. Times are seconds after the run began. */
typedef struct sl_traffic_record {
    double due_s, begin_s, first_s, end_s; /* first: of the first token; 0: none came */
    uint32_t turn;                         /* from 0 */
    uint32_t n_prompt, n_cached, n_output; /* tokens, as the server counts them */
    size_t gap_begin;                      /* of its times between pieces: result.gaps */
    uint32_t n_gaps;
    int status; /* HTTP; 0: no answer */
    char error[96];
} sl_traffic_record;

static inline bool sl_traffic_is_ok(const sl_traffic_record *r) {
    return r->status == 200 && r->error[0] == '\0';
}

typedef struct sl_traffic_result {
    sl_traffic_record *records; /* [n], in the order of their ends */
    size_t n;
    float *gaps; /* [n_gaps] seconds between pieces of one answer */
    size_t n_gaps;
    double wall_s;
    double own_cpu_s, server_cpu_s; /* server: < 0 if unknown */
    bool stopped;
} sl_traffic_result;

/* Arrival times for items: mean rate per second, in bursts of `burst` at once (1: Poisson). */
void sl_traffic_arrivals(sl_traffic_item *items, size_t n, double rate, uint32_t burst,
                         uint64_t seed);
SL_NODISCARD sl_status sl_traffic_run(const sl_traffic_options *options, sl_traffic_result *out,
                                      sl_error *err);
void sl_traffic_result_free(sl_traffic_result *r);

/* --- figures ---------------------------------------------------------------------------------- */

/* Of a set of times, in milliseconds. All 0 if it is empty. */
typedef struct sl_traffic_spread {
    double mean, p50, p90, p95, p99, max;
} sl_traffic_spread;

/* A good request is answered in full, its first token came within ttft_ms, and the mean time
 * between its tokens is at most gap_ms. 0: no such limit. */
typedef struct sl_traffic_limits {
    double ttft_ms, gap_ms;
} sl_traffic_limits;

typedef struct sl_traffic_figures {
    size_t n_ok, n_failed, n_good;
    uint64_t n_prompt, n_cached, n_output;
    double output_tps, total_tps, requests_ps, good_ps;
    /* later_first: of turns after a chat's first */
    sl_traffic_spread first, later_first, gap, whole;
} sl_traffic_figures;

void sl_traffic_sort(float *seconds, size_t n); /* the smallest first */
SL_NODISCARD sl_status sl_traffic_figures_of(const sl_traffic_result *r,
                                             const sl_traffic_limits *limits,
                                             sl_traffic_figures *out, sl_error *err);
void sl_traffic_print_text(const sl_traffic_result *r, const sl_traffic_figures *f,
                           const sl_traffic_limits *limits, sl_buf *out);
void sl_traffic_print_json(const sl_traffic_result *r, const sl_traffic_figures *f,
                           const sl_traffic_limits *limits, sl_buf *out);
/* One page with the distributions and the rate over time drawn. */
SL_NODISCARD sl_status sl_traffic_print_html(const sl_traffic_result *r,
                                             const sl_traffic_figures *f,
                                             const sl_traffic_limits *limits, const char *title,
                                             sl_buf *out, sl_error *err);

#endif
