/* Figures of a load run, as text and JSON: see traffic.h. */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "measure/traffic.h"

static int by_size(const void *a, const void *b) {
    const float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

void sl_traffic_sort(float *seconds, size_t n) {
    qsort(seconds, n, sizeof(*seconds), by_size);
}

/* The smallest element that a share of all does not exceed. */
static double at_share(const float *sorted, size_t n, double share) {
    const size_t i = (size_t)ceil(share * (double)n);
    return 1e3 * (double)sorted[i == 0 ? 0 : i - 1];
}

/* Sorts the n seconds. */
static sl_traffic_spread spread_of(float *seconds, size_t n) {
    double sum = 0.0;
    if (n == 0) {
        return (sl_traffic_spread){0};
    }
    sl_traffic_sort(seconds, n);
    for (size_t i = 0; i < n; i++) {
        sum += (double)seconds[i];
    }
    return (sl_traffic_spread){.mean = 1e3 * sum / (double)n,
                               .p50 = at_share(seconds, n, 0.5),
                               .p90 = at_share(seconds, n, 0.9),
                               .p95 = at_share(seconds, n, 0.95),
                               .p99 = at_share(seconds, n, 0.99),
                               .max = 1e3 * (double)seconds[n - 1]};
}

static bool is_good(const sl_traffic_record *r, const sl_traffic_limits *limits) {
    const double first_ms = 1e3 * (r->first_s - r->due_s);
    const double gap_ms = r->n_output < 2 ? 0.0
                                          : 1e3 * (r->end_s - r->first_s) / (r->n_output - 1.0);
    return sl_traffic_is_ok(r) && (limits->ttft_ms == 0.0 || first_ms <= limits->ttft_ms) &&
           (limits->gap_ms == 0.0 || gap_ms <= limits->gap_ms);
}

sl_status sl_traffic_figures_of(const sl_traffic_result *r, const sl_traffic_limits *limits,
                                sl_traffic_figures *out, sl_error *err) {
    const size_t most = r->n > r->n_gaps ? r->n : r->n_gaps;
    float *first = sl_alloc_zero(most + 1, sizeof(*first));
    float *later = sl_alloc_zero(r->n + 1, sizeof(*later));
    float *whole = sl_alloc_zero(r->n + 1, sizeof(*whole));
    size_t n_first = 0, n_later = 0, n_whole = 0;
    *out = (sl_traffic_figures){0};
    if (first == NULL || later == NULL || whole == NULL) {
        sl_free(first);
        sl_free(later);
        sl_free(whole);
        return SL_FAIL(err, SL_ERR_MEMORY, "no memory for the figures of %zu requests", r->n);
    }
    for (size_t i = 0; i < r->n; i++) {
        const sl_traffic_record *one = &r->records[i];
        out->n_good += is_good(one, limits);
        if (!sl_traffic_is_ok(one)) {
            out->n_failed++;
            continue;
        }
        out->n_ok++;
        out->n_prompt += one->n_prompt;
        out->n_cached += one->n_cached;
        out->n_output += one->n_output;
        whole[n_whole++] = (float)(one->end_s - one->due_s);
        if (one->first_s > 0.0) {
            first[n_first++] = (float)(one->first_s - one->due_s);
        }
        if (one->first_s > 0.0 && one->turn > 0) {
            later[n_later++] = (float)(one->first_s - one->due_s);
        }
    }
    out->first = spread_of(first, n_first);
    out->later_first = spread_of(later, n_later);
    out->whole = spread_of(whole, n_whole);
    if (r->n_gaps > 0) {
        memcpy(first, r->gaps, r->n_gaps * sizeof(*first));
    }
    out->gap = spread_of(first, r->n_gaps);
    const double wall = r->wall_s > 0.0 ? r->wall_s : 1.0;
    out->output_tps = (double)out->n_output / wall;
    out->total_tps = (double)(out->n_output + out->n_prompt) / wall;
    out->requests_ps = (double)out->n_ok / wall;
    out->good_ps = (double)out->n_good / wall;
    sl_free(first);
    sl_free(later);
    sl_free(whole);
    return SL_OK;
}

/* The first reason of a failure, and how many have it. */
static void print_failures(const sl_traffic_result *r, sl_buf *out) {
    const sl_traffic_record *first = NULL;
    size_t n = 0;
    for (size_t i = 0; i < r->n; i++) {
        const sl_traffic_record *one = &r->records[i];
        if (!sl_traffic_is_ok(one)) {
            first = first == NULL ? one : first;
            n += strcmp(one->error, first->error) == 0;
        }
    }
    if (first != NULL) {
        (void)sl_buf_printf(out, "failed    %zu with status %d: %s\n", n, first->status,
                            first->error);
    }
}

static void print_spread(const char *name, const sl_traffic_spread *s, sl_buf *out) {
    (void)sl_buf_printf(out, "%-24s %9.1f %9.1f %9.1f %9.1f %9.1f %9.1f\n", name, s->mean, s->p50,
                        s->p90, s->p95, s->p99, s->max);
}

static double per_token(double seconds, const sl_traffic_figures *f) {
    return f->n_output == 0 ? 0.0 : 1e3 * seconds / (double)f->n_output;
}

void sl_traffic_print_text(const sl_traffic_result *r, const sl_traffic_figures *f,
                           const sl_traffic_limits *limits, sl_buf *out) {
    (void)sl_buf_printf(out, "requests  %zu answered, %zu failed in %.2f s: %.2f a second%s\n",
                        f->n_ok, f->n_failed, r->wall_s, f->requests_ps,
                        r->stopped ? " (stopped)" : "");
    print_failures(r, out);
    (void)sl_buf_printf(out,
                        "tokens    %" PRIu64 " of prompts (%" PRIu64 " cached), %" PRIu64
                        " of answers: %.1f of answers a second, %.1f in all\n",
                        f->n_prompt, f->n_cached, f->n_output, f->output_tps, f->total_tps);
    if (limits->ttft_ms != 0.0 || limits->gap_ms != 0.0) {
        (void)sl_buf_printf(out,
                            "good      %zu of %zu (first token within %g ms, others %g ms "
                            "apart): %.2f a second\n",
                            f->n_good, r->n, limits->ttft_ms, limits->gap_ms, f->good_ps);
    }
    (void)sl_buf_printf(out, "processor %.3f ms a token here", per_token(r->own_cpu_s, f));
    if (r->server_cpu_s >= 0.0) {
        (void)sl_buf_printf(out, ", %.3f ms a token in the server", per_token(r->server_cpu_s, f));
    }
    (void)sl_buf_printf(out, "\n\n%-24s %9s %9s %9s %9s %9s %9s\n", "milliseconds", "mean", "p50",
                        "p90", "p95", "p99", "max");
    print_spread("first token", &f->first, out);
    if (f->later_first.max > 0.0) {
        print_spread("first token, later turns", &f->later_first, out);
    }
    print_spread("between tokens", &f->gap, out);
    print_spread("whole request", &f->whole, out);
}

static void json_spread(const char *name, const sl_traffic_spread *s, sl_buf *out) {
    (void)sl_buf_printf(out,
                        ", \"%s_ms\": {\"mean\": %.3f, \"p50\": %.3f, \"p90\": %.3f, "
                        "\"p95\": %.3f, \"p99\": %.3f, \"max\": %.3f}",
                        name, s->mean, s->p50, s->p90, s->p95, s->p99, s->max);
}

void sl_traffic_print_json(const sl_traffic_result *r, const sl_traffic_figures *f,
                           const sl_traffic_limits *limits, sl_buf *out) {
    (void)sl_buf_printf(out,
                        "{\"answered\": %zu, \"failed\": %zu, \"stopped\": %s, \"seconds\": %.4f, "
                        "\"prompt_tokens\": %" PRIu64 ", \"cached_tokens\": %" PRIu64
                        ", \"output_tokens\": %" PRIu64 ", \"output_tps\": %.3f, "
                        "\"total_tps\": %.3f, \"requests_ps\": %.4f",
                        f->n_ok, f->n_failed, r->stopped ? "true" : "false", r->wall_s, f->n_prompt,
                        f->n_cached, f->n_output, f->output_tps, f->total_tps, f->requests_ps);
    (void)sl_buf_printf(out,
                        ", \"limits\": {\"ttft_ms\": %g, \"itl_ms\": %g}, \"good\": %zu, "
                        "\"good_ps\": %.4f",
                        limits->ttft_ms, limits->gap_ms, f->n_good, f->good_ps);
    (void)sl_buf_printf(out, ", \"own_cpu_s\": %.3f, \"server_cpu_s\": ", r->own_cpu_s);
    if (r->server_cpu_s < 0.0) {
        (void)sl_buf_append_str(out, "null");
    } else {
        (void)sl_buf_printf(out, "%.3f", r->server_cpu_s);
    }
    json_spread("ttft", &f->first, out);
    json_spread("later_ttft", &f->later_first, out);
    json_spread("itl", &f->gap, out);
    json_spread("e2e", &f->whole, out);
    (void)sl_buf_append_str(out, "}\n");
}
