/* Paths and methods -> what answers them; the answers that need no engine. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/cpu.h"
#include "base/log.h"
#include "serve/api/reply.h"
#include "serve/job_int.h"

typedef struct route_entry {
    const char *path;
    serve_route route;
    sl_http_method method; /* HEAD goes wherever GET goes */
} route_entry;

static const route_entry route_table[] = {
    {"/v1/chat/completions", SERVE_ROUTE_CHAT, SL_HTTP_POST},
    {"/v1/completions", SERVE_ROUTE_COMPLETIONS, SL_HTTP_POST},
    {"/v1/models", SERVE_ROUTE_MODELS, SL_HTTP_GET},
    {"/health", SERVE_ROUTE_HEALTH, SL_HTTP_GET},
    {"/livez", SERVE_ROUTE_LIVE, SL_HTTP_GET},
    {"/readyz", SERVE_ROUTE_READY, SL_HTTP_GET},
    {"/metrics", SERVE_ROUTE_METRICS, SL_HTTP_GET},
    {"/admin/pause", SERVE_ROUTE_PAUSE, SL_HTTP_POST},
    {"/admin/resume", SERVE_ROUTE_RESUME, SL_HTTP_POST},
};

static const char model_prefix[] = "/v1/models/";

static bool path_is_model(sl_slice path) {
    return path.len > sizeof(model_prefix) - 1 &&
           memcmp(path.ptr, model_prefix, sizeof(model_prefix) - 1) == 0;
}

static serve_route route_find(const sl_service *s, sl_slice path, sl_http_method *method_out) {
    for (size_t i = 0; i < sizeof(route_table) / sizeof(route_table[0]); i++) {
        if (sl_slice_eq_str(path, route_table[i].path)) {
            const serve_route route = route_table[i].route;
            const bool is_admin = route == SERVE_ROUTE_PAUSE || route == SERVE_ROUTE_RESUME;
            *method_out = route_table[i].method;
            return is_admin && !s->options.admin ? SERVE_ROUTE_NONE : route;
        }
    }
    if (sl_serve_control_id(path, "/explain").len > 0) {
        *method_out = SL_HTTP_GET;
        return SERVE_ROUTE_EXPLAIN;
    }
    if (sl_serve_control_id(path, "/cancel").len > 0) {
        *method_out = SL_HTTP_POST;
        return SERVE_ROUTE_CANCEL;
    }
    *method_out = SL_HTTP_GET;
    return path_is_model(path) ? SERVE_ROUTE_MODEL : SERVE_ROUTE_NONE;
}

/* --- errors ---------------------------------------------------------------------------------- */

const char *sl_serve_error_body(void *user, int status, const char *message, sl_buf *out) {
    const serve_loop *l = user;
    sl_api_error e = {.status = status};
    if (status == 503 && l->service->state == SERVE_DRAINING) {
        e.code = "shutting_down";
    }
    (void)snprintf(e.message, sizeof(e.message), "%s", message);
    sl_api_error_json(&e, out);
    return "application/json";
}

static void respond_error_with(sl_http_exchange *x, const sl_api_error *e, const char *headers) {
    sl_buf out;
    sl_buf_init(&out, 8192);
    sl_api_error_json(e, &out);
    sl_http_respond(x, e->status, "application/json", headers, out.data, out.len);
    sl_buf_deinit(&out);
}

void sl_serve_respond_error(sl_http_exchange *x, const sl_api_error *e) {
    char later[40];
    (void)snprintf(later, sizeof(later), "Retry-After: %" PRIu32 "\r\n",
                   e->retry_after_s == 0 ? 1 : e->retry_after_s);
    respond_error_with(x, e, e->status == 429 || e->status == 503 ? later : NULL);
}

/* Refuses what no route takes. True when it has answered. */
static bool route_refuse(sl_http_exchange *x, serve_route route, sl_http_method wanted) {
    const sl_http_request *r = sl_http_exchange_request(x);
    sl_api_error e = {.status = 404, .code = "not_found"};
    char shown[SL_API_SHOWN_MAX];
    if (route == SERVE_ROUTE_NONE) {
        (void)snprintf(e.message, sizeof(e.message), "There is nothing at %s on this server.",
                       sl_api_shown(sl_http_request_path(r), shown));
        sl_serve_respond_error(x, &e);
        return true;
    }
    bool is_get = r->method == SL_HTTP_GET || r->method == SL_HTTP_HEAD;
    if (wanted == SL_HTTP_POST ? r->method != SL_HTTP_POST : !is_get) {
        e.status = 405;
        e.code = "method_not_allowed";
        const char *names = wanted == SL_HTTP_POST ? "POST" : "GET, HEAD";
        (void)snprintf(e.message, sizeof(e.message), "This path takes %s only.", names);
        respond_error_with(x, &e,
                           wanted == SL_HTTP_POST ? "Allow: POST\r\n" : "Allow: GET, HEAD\r\n");
        return true;
    }
    sl_slice coding = sl_http_request_header(r, "content-encoding");
    if (coding.len > 0 && !sl_slice_eq_str(coding, "identity")) {
        e.status = 415;
        e.code = NULL;
        (void)snprintf(e.message, sizeof(e.message),
                       "Request bodies must not be compressed (Content-Encoding).");
        sl_serve_respond_error(x, &e);
        return true;
    }
    return false;
}

/* --- small answers --------------------------------------------------------------------------- */

void sl_serve_respond_json(sl_http_exchange *x, int status, sl_buf *body) {
    if (body->status != SL_OK) {
        sl_api_error e = {.status = 503, .message = "The server has no memory for this answer."};
        sl_serve_respond_error(x, &e);
        return;
    }
    sl_http_respond(x, status, "application/json", NULL, body->data, body->len);
}

static void append_model(const sl_service *s, sl_buf *out) {
    (void)sl_buf_append_str(out, "{\"id\":");
    sl_reply_string(out, sl_slice_of(s->model.name));
    (void)sl_buf_printf(out,
                        ",\"object\":\"model\",\"created\":%" PRId64
                        ",\"owned_by\":\"sluice\",\"max_model_len\":%" PRIu32 "}",
                        s->created_s, sl_runner_ctx_max(s->runner));
}

static void answer_models(sl_service *s, sl_http_exchange *x) {
    sl_buf out;
    sl_buf_init(&out, 65536);
    (void)sl_buf_append_str(&out, "{\"object\":\"list\",\"data\":[");
    append_model(s, &out);
    (void)sl_buf_append_str(&out, "]}");
    sl_serve_respond_json(x, 200, &out);
    sl_buf_deinit(&out);
}

static void answer_model(sl_service *s, sl_http_exchange *x) {
    sl_slice name = sl_http_request_path(sl_http_exchange_request(x));
    name.ptr += sizeof(model_prefix) - 1;
    name.len -= sizeof(model_prefix) - 1;
    if (!sl_slice_eq_str(name, s->model.name)) {
        char shown[SL_API_SHOWN_MAX];
        sl_api_error e = {.status = 404, .code = "model_not_found", .param = "model"};
        (void)snprintf(e.message, sizeof(e.message), "The model \"%s\" does not exist.",
                       sl_api_shown(name, shown));
        sl_serve_respond_error(x, &e);
        return;
    }
    sl_buf out;
    sl_buf_init(&out, 65536);
    append_model(s, &out);
    sl_serve_respond_json(x, 200, &out);
    sl_buf_deinit(&out);
}

/* /health and /livez: does the engine work. /readyz: may work be sent here. */
static void answer_health(sl_service *s, sl_http_exchange *x, serve_route route) {
    const char *why = NULL;
    bool good = sl_serve_healthy(s, &why);
    if (good && route == SERVE_ROUTE_READY && s->state != SERVE_READY) {
        good = false;
        why = "shutting down";
    }
    sl_buf out;
    sl_buf_init(&out, 4096);
    (void)sl_buf_printf(&out, "{\"status\":\"%s\"", good ? "ok" : "unavailable");
    if (!good) {
        (void)sl_buf_append_str(&out, ",\"reason\":");
        sl_reply_string(&out, sl_slice_of(why));
    }
    (void)sl_buf_append_char(&out, '}');
    sl_serve_respond_json(x, good ? 200 : 503, &out);
    sl_buf_deinit(&out);
}

static void answer_metrics(sl_service *s, sl_http_exchange *x) {
    const char *why = NULL;
    serve_metrics_now now = {.runner = sl_runner_stats_of(s->runner),
                             .connections = sl_http_server_n_connections(s->loop.http),
                             .ready = s->state == SERVE_READY && sl_serve_healthy(s, &why),
                             .resident_bytes = sl_memory_resident_bytes(),
                             .memory = &s->model.memory,
                             .is_paused = sl_runner_is_paused(s->runner),
                             .wait_ns = sl_runner_forecast(s->runner, 1, 1).start_ns,
                             .model = s->model.name,
                             .version = s->options.version};
    sl_runner_queue(s->runner, &now.n_queued, &now.queued_tokens);
    sl_buf out;
    sl_buf_init(&out, (size_t)1 << 20);
    sl_serve_metrics_write(&s->metrics, &now, &out);
    if (out.status == SL_OK) {
        sl_http_respond(x, 200, "text/plain; version=0.0.4; charset=utf-8", NULL, out.data,
                        out.len);
    } else {
        sl_serve_respond_json(x, 503, &out);
    }
    sl_buf_deinit(&out);
}

/* --- entry ----------------------------------------------------------------------------------- */

void sl_serve_on_headers(void *user, sl_http_exchange *x) {
    const serve_loop *l = user;
    sl_http_method wanted;
    serve_route route = route_find(l->service, sl_http_request_path(sl_http_exchange_request(x)),
                                   &wanted);
    (void)route_refuse(x, route, wanted);
}

void sl_serve_on_request(void *user, sl_http_exchange *x) {
    serve_loop *l = user;
    sl_service *s = l->service;
    sl_http_method wanted;
    serve_route route = route_find(s, sl_http_request_path(sl_http_exchange_request(x)), &wanted);
    if (route_refuse(x, route, wanted)) {
        return;
    }
    switch (route) {
    case SERVE_ROUTE_CHAT:
        sl_job_start(l, x, SL_API_CHAT);
        break;
    case SERVE_ROUTE_COMPLETIONS:
        sl_job_start(l, x, SL_API_COMPLETION);
        break;
    case SERVE_ROUTE_MODELS:
        answer_models(s, x);
        break;
    case SERVE_ROUTE_MODEL:
        answer_model(s, x);
        break;
    case SERVE_ROUTE_METRICS:
        answer_metrics(s, x);
        break;
    case SERVE_ROUTE_EXPLAIN:
        sl_serve_explain(l, x);
        break;
    case SERVE_ROUTE_CANCEL:
        sl_serve_cancel(l, x);
        break;
    case SERVE_ROUTE_PAUSE:
    case SERVE_ROUTE_RESUME:
        sl_serve_pause(l, x, route == SERVE_ROUTE_PAUSE);
        break;
    default:
        answer_health(s, x, route);
        break;
    }
}

void sl_serve_on_record(void *user, const sl_http_record *record) {
    const uint64_t large_bytes = 256u << 10; /* a body whose values may take some 10 MB */
    serve_loop *l = user;
    sl_http_method wanted;
    serve_route route = route_find(l->service, record->path, &wanted);
    sl_serve_metrics_count(&l->service->metrics, route, record->status);
    if (record->bytes_in >= large_bytes) {
        sl_serve_trim_later(l);
    }
    if (!l->service->options.access_log) {
        return;
    }
    char path[128];
    (void)sl_log_escape(record->path.len > 0 ? record->path.ptr : "-",
                        record->path.len > 0 ? record->path.len : 1, path, sizeof(path));
    sl_log(SL_LOG_INFO, "access", "%s %s %s %d %" PRIu64 "B %.1fms",
           record->peer[0] != '\0' ? record->peer : "-", sl_http_method_name(record->method), path,
           record->status, record->bytes_out, (double)record->duration_ns / 1e6);
}
