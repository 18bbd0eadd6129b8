/* Answers: status line, headers, whole bodies and chunked streams. See http_server.h. */
#include "net/http_internal.h"

#include <string.h>

#include "base/alloc.h"

sl_http_exchange *sl_http_exchange_new(http_conn *c, uint64_t begin_ns) {
    sl_http_exchange *x = sl_alloc_zero(1, sizeof(*x));
    if (x != NULL) {
        x->conn = c;
        x->begin_ns = begin_ns;
    }
    return x;
}

void sl_http_exchange_free(sl_http_exchange *x) {
    x->conn->server->bodies_bytes -= x->body_counted;
    if (x->request != x->conn->parser.request) {
        sl_http_request_free(x->request); /* otherwise it is still being read, and the parser's */
    }
    sl_free(x);
}

void sl_http_exchange_record(sl_http_exchange *x) {
    const sl_http_server_options *o = &x->conn->server->options;
    if (o->handler.on_record == NULL) {
        return;
    }
    sl_http_record record = {.method = SL_HTTP_OTHER,
                             .peer = x->conn->peer,
                             .status = x->status,
                             .bytes_in = x->bytes_in,
                             .bytes_out = x->bytes_out,
                             .duration_ns = http_now_ns() - x->begin_ns,
                             .user = x->user};
    if (x->request != NULL) {
        record.method = x->request->method;
        record.path = sl_http_request_path(x->request);
    }
    o->handler.on_record(o->user, &record);
}

const sl_http_request *sl_http_exchange_request(const sl_http_exchange *x) {
    return x->request;
}

void sl_http_exchange_set_user(sl_http_exchange *x, void *user) {
    x->user = user;
}

void *sl_http_exchange_user(const sl_http_exchange *x) {
    return x->user;
}

uint64_t sl_http_exchange_begin_ns(const sl_http_exchange *x) {
    return x->begin_ns;
}

void sl_http_exchange_drop_body(sl_http_exchange *x) {
    if (x->request != NULL && x->complete) {
        sl_buf_deinit(&x->request->body);
        x->conn->server->bodies_bytes -= x->body_counted;
        x->body_counted = 0;
    }
}

/* --- answering ------------------------------------------------------------------------------- */

/* Whether another request may follow on the connection after this answer. */
static bool exchange_keeps(const sl_http_exchange *x) {
    const http_conn *c = x->conn;
    bool more_comes = c->state == HTTP_CONN_OPEN || x->next != NULL;
    return more_comes && x->request != NULL && x->refuse_status == 0 && x->request->keep_alive &&
           x->request->minor == 1 && c->reading != x && !c->server->draining;
}

static void exchange_head(sl_http_exchange *x, int status, const char *content_type,
                          const char *headers, bool keeps) {
    sl_buf *out = &x->conn->out;
    x->status = status;
    (void)sl_buf_printf(out, "HTTP/1.1 %d %s\r\nDate: %s\r\n", status, sl_http_status_text(status),
                        sl_http_server_date(x->conn->server));
    if (content_type != NULL) {
        (void)sl_buf_printf(out, "Content-Type: %s\r\n", content_type);
    }
    if (headers != NULL) {
        (void)sl_buf_append_str(out, headers);
    }
    if (!keeps) {
        (void)sl_buf_append_str(out, "Connection: close\r\n");
    }
}

/* The answer is complete. If nothing may follow it, what else stands in line is dropped unanswered.
 */
static void exchange_end(sl_http_exchange *x, bool keeps) {
    http_conn *c = x->conn;
    if (c->out.status != SL_OK) {
        sl_http_conn_doom(c, SL_HTTP_GONE_SERVER); /* no memory for the answer */
    }
    sl_http_exchange_record(x);
    if (!keeps) {
        c->state = HTTP_CONN_LAST;
        c->headers_ns = c->body_ns = c->idle_ns = 0;
        c->reading = c->reading == x ? x : NULL;
        while (x->next != NULL) {
            sl_http_exchange *next = x->next;
            x->next = next->next;
            sl_http_exchange_free(next);
            c->n_line--;
        }
        c->tail = x;
    }
    sl_http_conn_pop(c);
}

void sl_http_respond(sl_http_exchange *x, int status, const char *content_type, const char *headers,
                     const void *body, size_t len) {
    http_conn *c = x->conn;
    size_t begin = c->out.len;
    bool keeps = exchange_keeps(x);
    exchange_head(x, status, content_type, headers, keeps);
    if (status != 204) {
        (void)sl_buf_printf(&c->out, "Content-Length: %zu\r\n", len);
    }
    (void)sl_buf_append(&c->out, "\r\n", 2);
    if (x->request == NULL || x->request->method != SL_HTTP_HEAD) {
        (void)sl_buf_append(&c->out, body, len);
    }
    x->bytes_out = c->out.len - begin;
    exchange_end(x, keeps);
}

void sl_http_stream_begin(sl_http_exchange *x, int status, const char *content_type,
                          const char *headers) {
    http_conn *c = x->conn;
    size_t begin = c->out.len;
    x->streaming = true;
    x->chunked = x->request->minor == 1;
    exchange_head(x, status, content_type, headers, x->chunked && exchange_keeps(x));
    (void)sl_buf_append_str(&c->out, x->chunked ? "Transfer-Encoding: chunked\r\n\r\n" : "\r\n");
    x->bytes_out = c->out.len - begin;
    sl_http_conn_mark_dirty(c);
}

void sl_http_stream_write(sl_http_exchange *x, const void *data, size_t len) {
    http_conn *c = x->conn;
    if (len == 0 || c->doomed) {
        return; /* an empty chunk would end the stream */
    }
    size_t begin = c->out.len;
    if (x->chunked) {
        (void)sl_buf_printf(&c->out, "%zx\r\n", len);
    }
    (void)sl_buf_append(&c->out, data, len);
    if (x->chunked) {
        (void)sl_buf_append(&c->out, "\r\n", 2);
    }
    x->bytes_out += c->out.len - begin;
    if (c->out.status != SL_OK) {
        sl_http_conn_doom(c, SL_HTTP_GONE_SERVER);
    } else if (sl_http_conn_pending(c) > c->server->options.output_max) {
        sl_http_conn_doom(c, SL_HTTP_GONE_SLOW);
    }
    sl_http_conn_mark_dirty(c);
}

void sl_http_stream_end(sl_http_exchange *x) {
    bool keeps = x->chunked && exchange_keeps(x);
    if (x->chunked && !x->conn->doomed) {
        (void)sl_buf_append_str(&x->conn->out, "0\r\n\r\n");
    }
    exchange_end(x, keeps);
}

void sl_http_abort(sl_http_exchange *x) {
    sl_http_conn_doom(x->conn, SL_HTTP_GONE_SERVER);
    exchange_end(x, false);
}

void sl_http_exchange_refuse(sl_http_exchange *x) {
    const sl_http_server_options *o = &x->conn->server->options;
    sl_buf body;
    sl_buf_init(&body, 4096);
    const char *content_type = "text/plain; charset=utf-8";
    if (o->handler.error_body != NULL) {
        content_type = o->handler.error_body(o->user, x->refuse_status, x->refuse_reason, &body);
    } else {
        (void)sl_buf_append_str(&body, x->refuse_reason);
    }
    sl_http_respond(x, x->refuse_status, content_type,
                    x->refuse_status == 503 ? "Retry-After: 1\r\n" : NULL, body.data, body.len);
    sl_buf_deinit(&body);
}
