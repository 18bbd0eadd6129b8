/* sluice top: what a server is doing, read from its /metrics again and again. On a terminal one
 * screen that is drawn anew, elsewhere (or with --once) one block of lines each time. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <uv.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/error.h"
#include "base_url.h"
#include "cmd.h"
#include "flags.h"
#include "net/http_client.h"

#define METRICS_BYTES_MAX ((size_t)4 << 20)
#define BAR 40 /* characters */

typedef struct top_flags {
    const char *base;
    float interval_s;
    bool once;
} top_flags;

/* What one reading of /metrics gave. */
typedef struct top_sample {
    sl_buf text;
    uint64_t t_ns;
    int status;
    bool ended;
    char error[256];
} top_sample;

typedef struct top_state {
    uv_loop_t loop;
    uv_timer_t timer; /* so that the loop comes back from a server that does not answer */
    sl_http_client *client;
    top_sample samples[2];
    uint64_t give_up_ns;
    char path[300];
} top_state;

/* --- figures ---------------------------------------------------------------------------------- */

/* The line of `name` behind its end, or NULL: the value, or {labels} and the value. */
static const char *top_line(const char *text, const char *name) {
    const size_t n = strlen(name);
    for (const char *line = text; line != NULL && *line != '\0';) {
        if (strncmp(line, name, n) == 0 && (line[n] == ' ' || line[n] == '{')) {
            return line + n;
        }
        line = strchr(line, '\n');
        line = line == NULL ? NULL : line + 1;
    }
    return NULL;
}

static double top_value(const top_sample *s, const char *name) {
    const char *at = top_line(s->text.data, name);
    return at == NULL ? 0.0 : strtod(at, NULL);
}

/* Per second, between two readings. */
static double top_rate(const top_sample *now, const top_sample *before, const char *name) {
    const double seconds = (double)(now->t_ns - before->t_ns) / 1e9;
    const double n = top_value(now, name) - top_value(before, name);
    return seconds > 0.0 && n > 0.0 ? n / seconds : 0.0;
}

/* The bound below which the share q of what was observed between two readings lies; NaN: nothing
 * was observed. */
static double top_quantile(const top_sample *now, const top_sample *before, const char *name,
                           double q) {
    char bucket[96], count[96];
    (void)snprintf(bucket, sizeof(bucket), "%s_bucket", name);
    (void)snprintf(count, sizeof(count), "%s_count", name);
    const double n = top_value(now, count) - top_value(before, count);
    const char *a = top_line(now->text.data, bucket), *b = top_line(before->text.data, bucket);
    while (n > 0.0 && a != NULL && b != NULL) { /* the same buckets in the same order */
        const char *value_a = strchr(a, ' '), *value_b = strchr(b, ' '), *le = strchr(a, '"');
        if (value_a == NULL || value_b == NULL || le == NULL) {
            break;
        }
        if (strtod(value_a, NULL) - strtod(value_b, NULL) >= q * n) {
            return strtod(le + 1, NULL);
        }
        a = top_line(value_a + strcspn(value_a, "\n") + 1, bucket);
        b = top_line(value_b + strcspn(value_b, "\n") + 1, bucket);
    }
    return NAN;
}

/* --- the screen ------------------------------------------------------------------------------- */

static void top_times(const top_sample *now, const top_sample *before, const char *title,
                      const char *name) {
    static const double shares[] = {0.5, 0.95, 0.99};
    (void)printf("%-14s", title);
    for (size_t i = 0; i < sizeof(shares) / sizeof(shares[0]); i++) {
        const double s = top_quantile(now, before, name, shares[i]);
        if (isnan(s)) {
            (void)printf("  p%.0f -", shares[i] * 100);
        } else {
            (void)printf("  p%.0f <= %g ms", shares[i] * 100, s * 1e3);
        }
    }
    (void)putchar('\n');
}

static void top_pages(const top_sample *s) {
    const double used = top_value(s, "sluice_kv_pages_used"),
                 cached = top_value(s, "sluice_kv_pages_cached"),
                 total = fmax(top_value(s, "sluice_kv_pages_total"), 1.0);
    const int n_used = (int)ceil(used / total * BAR), n_cached = (int)(cached / total * BAR);
    (void)printf("KV pages        [");
    for (int i = 0; i < BAR; i++) {
        (void)putchar(i < n_used ? '#' : i < n_used + n_cached ? '=' : '.');
    }
    (void)printf("] %.0f used, %.0f kept for prefixes, of %.0f\n", used, cached, total);
}

/* A label's value of the line sluice_info, as the server gave it; control characters are left
 * out. */
static void top_label(const top_sample *s, const char *label, char *out, size_t size) {
    const char *line = top_line(s->text.data, "sluice_info");
    const char *at = line == NULL ? NULL : strstr(line, label);
    size_t n = 0;
    at = at == NULL || at > line + strcspn(line, "\n") ? "" : at + strlen(label);
    for (; *at != '\0' && *at != '"' && n + 1 < size; at++) {
        if ((unsigned char)*at >= ' ' && *at != 127) {
            out[n++] = *at;
        }
    }
    out[n] = '\0';
}

static void top_show(const top_sample *now, const top_sample *before, const top_flags *f) {
    char model[128], version[32];
    top_label(now, "model=\"", model, sizeof(model));
    top_label(now, "version=\"", version, sizeof(version));
    const double drafted = top_rate(now, before, "sluice_drafted_tokens_total");
    const double accepted = top_rate(now, before, "sluice_accepted_tokens_total");
    const double computed = top_rate(now, before, "sluice_prompt_tokens_total");
    const double cached = top_rate(now, before, "sluice_prompt_tokens_cached_total");
    const double steps = top_rate(now, before, "sluice_steps_total");
    (void)printf("%s  %s  sluice %s  %s\n\n", f->base, model, version,
                 top_value(now, "sluice_ready") == 0.0              ? "NOT READY"
                 : top_value(now, "sluice_admission_paused") == 1.0 ? "PAUSED"
                                                                    : "ready");
    (void)printf("requests        %.0f running, %.0f on hold, %.0f waiting (%.0f tokens, about "
                 "%.1f s), %.1f/s refused\n",
                 top_value(now, "sluice_requests_running"),
                 top_value(now, "sluice_requests_on_hold"),
                 top_value(now, "sluice_requests_queued"), top_value(now, "sluice_queued_tokens"),
                 top_value(now, "sluice_predicted_wait_seconds"),
                 top_rate(now, before, "sluice_requests_refused_total"));
    (void)printf(
        "tokens/s        %.0f generated, %.0f of prompts computed, %.0f of prompts found\n",
        top_rate(now, before, "sluice_generated_tokens_total"), computed, cached);
    (void)printf("guesses/s       %.0f computed, %.0f came true\n", drafted, accepted);
    (void)printf("steps/s         %.0f of %.1f rows, %.0f %% of the time\n", steps,
                 steps > 0.0 ? top_rate(now, before, "sluice_step_rows_total") / steps : 0.0,
                 100.0 * top_rate(now, before, "sluice_step_seconds_total"));
    top_pages(now);
    top_times(now, before, "first token", "sluice_time_to_first_token_seconds");
    top_times(now, before, "between tokens", "sluice_inter_token_latency_seconds");
    top_times(now, before, "in the queue", "sluice_request_queue_seconds");
    (void)printf("memory          %.0f MB resident, %.0f connections\n",
                 top_value(now, "sluice_resident_memory_bytes") / 1048576.0,
                 top_value(now, "sluice_http_connections"));
}

/* --- reading ---------------------------------------------------------------------------------- */

static void top_on_data(void *call, int status, const char *data, size_t len) {
    top_sample *s = call;
    s->status = status;
    (void)sl_buf_append(&s->text, data, len);
}

static void top_on_end(void *call, int status, const char *error) {
    top_sample *s = call;
    s->ended = true;
    s->status = status;
    (void)snprintf(s->error, sizeof(s->error), "%s", error == NULL ? "" : error);
}

static void top_on_tick(uv_timer_t *timer) {
    (void)timer;
}

/* One reading. */
static sl_status top_read(top_state *t, const top_flags *f, top_sample *s, sl_error *err) {
    sl_buf_clear(&s->text);
    s->ended = false;
    t->give_up_ns = sl_clock_mono_ns() + 10 * SL_NS_PER_S;
    SL_TRY(sl_http_client_get(t->client, t->path, s, err));
    while (!s->ended && sl_clock_mono_ns() < t->give_up_ns) {
        (void)uv_run(&t->loop, UV_RUN_ONCE);
    }
    s->t_ns = sl_clock_mono_ns();
    if (!s->ended || s->error[0] != '\0') {
        return SL_FAIL(err, SL_ERR_IO, "%s: %s", f->base,
                       s->ended ? s->error : "no answer within 10 s");
    }
    if (s->status != 200 || sl_buf_cstr(&s->text) == NULL ||
        top_line(s->text.data, "sluice_info") == NULL) {
        return SL_FAIL(err, SL_ERR_FORMAT,
                       "%s: %s answers with status %d and not with the metrics of a sluice server",
                       f->base, t->path, s->status);
    }
    return SL_OK;
}

static sl_status top_follow(top_state *t, const top_flags *f, sl_error *err) {
    const bool draws = !f->once && isatty(STDOUT_FILENO);
    SL_TRY(top_read(t, f, &t->samples[0], err));
    for (uint32_t i = 1;; i++) {
        (void)usleep((useconds_t)(f->interval_s * 1e6f));
        top_sample *now = &t->samples[i % 2];
        SL_TRY(top_read(t, f, now, err));
        (void)fputs(draws ? "\033[H\033[2J" : i > 1 ? "\n" : "", stdout);
        top_show(now, &t->samples[1 - i % 2], f);
        SL_TRY(sl_stdout_flush(err));
        if (f->once) {
            return SL_OK;
        }
    }
}

static sl_status top_open(top_state *t, const top_flags *f, sl_error *err) {
    sl_base_url url;
    SL_TRY(sl_base_url_parse(f->base, &url, err));
    (void)snprintf(t->path, sizeof(t->path), "%s/metrics", url.path);
    if (uv_loop_init(&t->loop) != 0) {
        return SL_FAIL(err, SL_ERR_MEMORY, "the event loop cannot be made");
    }
    (void)uv_timer_init(&t->loop, &t->timer);
    (void)uv_timer_start(&t->timer, top_on_tick, 50, 50);
    const sl_http_client_options options = {
        .host = url.host, .port = url.port, .on_data = top_on_data, .on_end = top_on_end};
    sl_status status = sl_http_client_create(&t->loop, &options, &t->client, err);
    if (status == SL_OK) {
        status = top_follow(t, f, err);
        sl_http_client_close(t->client);
    }
    uv_close((uv_handle_t *)&t->timer, NULL);
    (void)uv_run(&t->loop, UV_RUN_DEFAULT);
    (void)uv_loop_close(&t->loop);
    sl_http_client_free(t->client);
    return status;
}

int sl_cmd_top(int argc, char **argv) {
    top_flags f = {.base = "http://127.0.0.1:8080", .interval_s = 1.0f};
    const sl_flag flags[] = {
        {"--base", "-u", SL_FLAG_STRING, &f.base, "URL",
         "The server (default: http://127.0.0.1:8080).", 0, 0, NULL},
        {"--interval", "-i", SL_FLAG_F32, &f.interval_s, "SECONDS",
         "Between readings; rates and times are those of this span (default: 1).", 0.1, 3600, NULL},
        {"--once", NULL, SL_FLAG_BOOL, &f.once, NULL, "One interval, then end.", 0, 0, NULL},
    };
    const sl_command command = {
        .name = "top",
        .usage = "sluice top [flags]",
        .summary = "Shows what a server is doing: requests, tokens, pages, times. Ends with "
                   "Ctrl-C.",
        .examples = "  sluice top --base http://127.0.0.1:8080 --interval 5\n",
        .flags = flags,
        .n_flags = sizeof(flags) / sizeof(flags[0]),
    };
    const int code = sl_flags_parse(&command, argc, argv, NULL);
    if (code != SL_FLAGS_GO_ON) {
        return code;
    }
    top_state t = {0};
    sl_buf_init(&t.samples[0].text, METRICS_BYTES_MAX);
    sl_buf_init(&t.samples[1].text, METRICS_BYTES_MAX);
    sl_error err = {0};
    const sl_status status = top_open(&t, &f, &err);
    sl_buf_deinit(&t.samples[0].text);
    sl_buf_deinit(&t.samples[1].text);
    if (status != SL_OK) {
        sl_cmd_error("top", "%s", err.message);
        return status == SL_ERR_ARGUMENT ? SL_EXIT_USAGE : SL_EXIT_FAILURE;
    }
    return SL_EXIT_OK;
}
