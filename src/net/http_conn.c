/* One connection: bytes in, requests in line, bytes out.
 *
 * A connection is OPEN while it reads requests; LAST once no further request will be read (the
 * client asked for the close, sent something broken or too much, or the server drains); LINGER when
 * the last answer is written and its end is being awaited, so that the answer is not destroyed by a
 * reset; CLOSING while the handles go. on_gone is only ever called from the loop (reading, timers,
 * flushing), never from within a call of the handler. Owner: the loop's thread. */
#include "net/http_internal.h"

#include <string.h>

#include "base/alloc.h"

static const size_t out_max_bytes = (size_t)512 << 20; /* no answer is larger */

bool sl_http_conn_is_idle(const http_conn *c) {
    return c->state == HTTP_CONN_OPEN && c->served && c->head == NULL &&
           !sl_http_parser_busy(&c->parser) && sl_http_conn_pending(c) == 0;
}

size_t sl_http_conn_pending(const http_conn *c) {
    return c->out.len + uv_stream_get_write_queue_size((const uv_stream_t *)&c->tcp);
}

void sl_http_conn_mark_dirty(http_conn *c) {
    if (!c->dirty && c->state != HTTP_CONN_CLOSING) {
        c->dirty = true;
        c->next_dirty = c->server->dirty_list;
        c->server->dirty_list = c;
    }
}

void sl_http_conn_doom(http_conn *c, sl_http_gone why) {
    if (!c->doomed) {
        c->doomed = true;
        c->doomed_why = why;
    }
    sl_http_conn_mark_dirty(c);
}

/* --- end of a connection --------------------------------------------------------------------- */

static void conn_drop_line(http_conn *c) {
    while (c->head != NULL) {
        sl_http_exchange *x = c->head;
        c->head = x->next;
        sl_http_exchange_free(x);
    }
    c->tail = c->reading = NULL;
    c->n_line = 0;
}

void sl_http_conn_handle_closed(uv_handle_t *handle) {
    http_conn *c = handle->data;
    c->n_closing--;
    if (c->n_closing > 0) {
        return;
    }
    sl_http_parser_deinit(&c->parser);
    sl_buf_deinit(&c->out);
    sl_buf_deinit(&c->inflight);
    sl_http_server_release_conn(c->server, c);
}

static void conn_unlink_dirty(http_conn *c) {
    for (http_conn **at = &c->server->dirty_list; *at != NULL; at = &(*at)->next_dirty) {
        if (*at == c) {
            *at = c->next_dirty;
            break;
        }
    }
    c->dirty = false;
}

void sl_http_conn_close(http_conn *c) {
    if (c->state == HTTP_CONN_CLOSING || c->state == HTTP_CONN_FREE) {
        return;
    }
    c->state = HTTP_CONN_CLOSING;
    if (c->dirty) {
        conn_unlink_dirty(c);
    }
    conn_drop_line(c);
    c->n_closing = 2;
    uv_close((uv_handle_t *)&c->tcp, sl_http_conn_handle_closed);
    uv_close((uv_handle_t *)&c->timer, sl_http_conn_handle_closed);
}

void sl_http_conn_give_up(http_conn *c, sl_http_gone why) {
    if (c->state == HTTP_CONN_CLOSING || c->state == HTTP_CONN_FREE) {
        return;
    }
    sl_http_exchange *x = c->head;
    if (x != NULL && x->dispatched) {
        c->server->options.handler.on_gone(c->server->options.user, x, why);
        x->status = 499;
        sl_http_exchange_record(x);
    }
    sl_http_conn_close(c);
}

/* --- writing --------------------------------------------------------------------------------- */

static void conn_on_shutdown(uv_shutdown_t *req, int status) {
    http_conn *c = req->handle->data;
    if (status == 0 && c->eof && c->state == HTTP_CONN_LINGER) {
        sl_http_conn_close(c);
    }
}

/* All answers are written: tells the client so and waits for its end of the stream, for a while. */
static void conn_begin_linger(http_conn *c) {
    if (c->eof || c->shut) {
        sl_http_conn_close(c);
        return;
    }
    c->state = HTTP_CONN_LINGER;
    c->linger_ns = http_now_ns();
    c->shut = true;
    c->shutdown_req.data = c;
    if (uv_shutdown(&c->shutdown_req, (uv_stream_t *)&c->tcp, conn_on_shutdown) != 0) {
        sl_http_conn_close(c);
    }
}

static void conn_on_written(uv_write_t *req, int status) {
    http_conn *c = req->data;
    c->writing = false;
    c->write_ns = 0;
    if (c->state == HTTP_CONN_CLOSING) {
        return;
    }
    sl_buf_clear(&c->inflight);
    if (status < 0) {
        sl_http_conn_give_up(c, SL_HTTP_GONE_CLIENT);
        return;
    }
    sl_http_conn_flush(c);
}

/* An idle connection holds almost no memory. */
static void conn_trim(http_conn *c) {
    if (c->inflight.cap > HTTP_IDLE_KEEP_BYTES) {
        sl_buf_deinit(&c->inflight);
    }
    if (c->head == NULL && c->out.cap > HTTP_IDLE_KEEP_BYTES) {
        sl_buf_deinit(&c->out);
    }
}

/* Hands `out` to the system; what it does not take now is written when it can be. False when the
 * connection was given up. */
static bool conn_write_out(http_conn *c) {
    uv_buf_t piece = uv_buf_init(c->out.data, (unsigned)c->out.len);
    int n = uv_try_write((uv_stream_t *)&c->tcp, &piece, 1);
    if (n < 0 && n != UV_EAGAIN) {
        sl_http_conn_give_up(c, SL_HTTP_GONE_CLIENT);
        return false;
    }
    size_t done = n < 0 ? 0 : (size_t)n;
    if (done == c->out.len) {
        sl_buf_clear(&c->out);
        return true;
    }
    sl_buf swap = c->inflight;
    c->inflight = c->out;
    c->out = swap;
    piece = uv_buf_init(c->inflight.data + done, (unsigned)(c->inflight.len - done));
    c->write_req.data = c;
    c->writing = true;
    c->write_ns = http_now_ns();
    if (uv_write(&c->write_req, (uv_stream_t *)&c->tcp, &piece, 1, conn_on_written) != 0) {
        c->writing = false;
        sl_http_conn_give_up(c, SL_HTTP_GONE_CLIENT);
        return false;
    }
    c->last_queue = uv_stream_get_write_queue_size((uv_stream_t *)&c->tcp);
    return true;
}

void sl_http_conn_flush(http_conn *c) {
    if (c->state == HTTP_CONN_CLOSING || c->state == HTTP_CONN_FREE) {
        return;
    }
    if (!c->writing && c->out.len > 0 && !conn_write_out(c)) {
        return;
    }
    if (c->doomed) {
        sl_http_conn_give_up(c, c->doomed_why);
        return;
    }
    if (!c->writing) {
        conn_trim(c);
        if (c->state == HTTP_CONN_LAST && c->head == NULL && c->out.len == 0) {
            conn_begin_linger(c);
        }
    }
    if (c->state != HTTP_CONN_CLOSING) {
        sl_http_timer_arm(c);
    }
}

/* --- the line of requests -------------------------------------------------------------------- */

static void conn_append(http_conn *c, sl_http_exchange *x) {
    if (c->tail == NULL) {
        c->head = x;
    } else {
        c->tail->next = x;
    }
    c->tail = x;
    c->n_line++;
}

void sl_http_conn_pop(http_conn *c) {
    sl_http_exchange *x = c->head;
    c->head = x->next;
    c->n_line--;
    if (c->head == NULL) {
        c->tail = NULL;
    }
    if (c->reading == x) {
        c->reading =
            NULL; /* answered before its body was there: the rest cannot be told from a request */
        c->state = HTTP_CONN_LAST;
        c->headers_ns = c->body_ns = 0;
    }
    sl_http_exchange_free(x);
    if (c->head == NULL && c->state == HTTP_CONN_OPEN && !sl_http_parser_busy(&c->parser)) {
        c->idle_ns = http_now_ns();
    }
    sl_http_conn_mark_dirty(c);
    sl_http_conn_dispatch(c);
}

/* The head's body is still coming: shows its headers, and asks for the body if the client waits. */
static void conn_show_headers(http_conn *c) {
    sl_http_exchange *x = c->head;
    const sl_http_handler *h = &c->server->options.handler;
    if (c->server->draining) {
        sl_http_conn_refuse(c, 503, HTTP_DRAINING_REASON);
        return;
    }
    if (!x->headers_shown) {
        x->headers_shown = true;
        if (h->on_headers != NULL) {
            h->on_headers(c->server->options.user, x);
            if (c->head != x) {
                return; /* answered */
            }
        }
    }
    if (x->request->expect_continue && !x->continue_sent && x->request->body.len == 0) {
        x->continue_sent = true;
        (void)sl_buf_append_str(&c->out, "HTTP/1.1 100 Continue\r\n\r\n");
        sl_http_conn_mark_dirty(c);
    }
}

void sl_http_conn_dispatch(http_conn *c) {
    if (c->in_dispatch) {
        return; /* an answer given from within: the loop below goes on */
    }
    c->in_dispatch = true;
    while (c->head != NULL && !c->head->dispatched && !c->doomed) {
        sl_http_exchange *x = c->head;
        if (x->refuse_status != 0) {
            sl_http_exchange_refuse(x);
        } else if (!x->complete) {
            conn_show_headers(c);
            if (c->head == x && x->refuse_status == 0) {
                break;
            }
        } else {
            x->dispatched = true;
            c->server->options.handler.on_request(c->server->options.user, x);
        }
    }
    c->in_dispatch = false;
}

void sl_http_conn_refuse(http_conn *c, int status, const char *reason) {
    sl_http_exchange *x = c->reading;
    c->state = HTTP_CONN_LAST;
    c->headers_ns = c->body_ns = c->idle_ns = 0;
    if (x == NULL) {
        x = sl_http_exchange_new(c, c->begin_ns != 0 ? c->begin_ns : http_now_ns());
        if (x == NULL) {
            sl_http_conn_doom(c, SL_HTTP_GONE_SERVER);
            return;
        }
        conn_append(c, x);
    }
    c->reading = NULL;
    x->refuse_status = status;
    x->refuse_reason = reason;
    x->complete = true;
    sl_http_conn_dispatch(c);
}

/* --- reading --------------------------------------------------------------------------------- */

/* Too much in line: what is there is answered, then the connection ends and the client, as HTTP
 * asks of it, sends the rest again. */
static void conn_overrun(http_conn *c) {
    c->state = HTTP_CONN_LAST;
    c->headers_ns = c->body_ns = c->idle_ns = 0;
    sl_http_conn_mark_dirty(c);
}

static bool conn_line_full(const http_conn *c) {
    uint64_t bytes = 0;
    for (const sl_http_exchange *x = c->head; x != NULL; x = x->next) {
        bytes += x->body_counted;
    }
    return c->n_line >= c->server->options.pipeline_max ||
           bytes > c->server->options.limits.body_bytes;
}

/* Keeps the sum of all bodies held; false when it is too large. Large bodies may not take all of
 * it: otherwise a few clients that send large ones slowly would shut out all others. */
static bool conn_count_body(http_conn *c, sl_http_exchange *x) {
    sl_http_server *s = c->server;
    uint64_t max = s->options.bodies_max;
    uint64_t now = x->request->body.cap;
    bool grew = now > x->body_counted;
    s->bodies_bytes += now - x->body_counted;
    x->body_counted = now;
    x->bytes_in = x->request->body.len;
    if (now > max / HTTP_BODY_SMALL_PARTS) {
        max -= max / HTTP_BODY_KEPT_PARTS;
    }
    return !grew || s->bodies_bytes <= max;
}

/* A new exchange for the request that the parser holds; false when the connection takes no more. */
static bool conn_enter(http_conn *c) {
    if (c->head != NULL && conn_line_full(c)) {
        conn_overrun(c);
        return false;
    }
    sl_http_exchange *x = sl_http_exchange_new(c, c->begin_ns);
    if (x == NULL) {
        sl_http_conn_doom(c, SL_HTTP_GONE_SERVER);
        return false;
    }
    x->request = c->parser.request;
    conn_append(c, x);
    c->reading = x;
    c->headers_ns = 0;
    c->body_ns = http_now_ns();
    c->body_begin = 0;
    return true;
}

static void conn_message(http_conn *c) {
    if (c->reading == NULL && !conn_enter(c)) {
        return;
    }
    sl_http_exchange *x = c->reading;
    (void)sl_http_parser_take(&c->parser); /* x->request is the same, and now its own */
    c->reading = NULL;
    c->begin_ns = c->headers_ns = c->body_ns = 0;
    x->complete = true;
    c->served = true;
    if (!x->request->keep_alive || x->request->minor == 0) {
        c->state = HTTP_CONN_LAST;
    }
    sl_http_conn_dispatch(c);
}

static void conn_parse(http_conn *c, const char *data, size_t len) {
    size_t pos = 0;
    while (pos < len && c->state == HTTP_CONN_OPEN && !c->doomed) {
        if (c->begin_ns == 0) {
            c->begin_ns = http_now_ns();
            c->idle_ns = 0;
            c->headers_ns = c->headers_ns != 0 ? c->headers_ns : c->begin_ns;
        }
        size_t used = 0;
        sl_http_event event = sl_http_parser_feed(&c->parser, data + pos, len - pos, &used);
        pos += used;
        if (c->reading != NULL && event != SL_HTTP_BAD && !conn_count_body(c, c->reading)) {
            sl_http_conn_refuse(c, 503,
                                "The server holds too many request bodies; try again later.");
            return;
        }
        if (event == SL_HTTP_BAD) {
            sl_http_conn_refuse(c, c->parser.bad_status, c->parser.bad_reason);
            return;
        }
        if (event == SL_HTTP_HEADERS && conn_enter(c)) {
            sl_http_conn_dispatch(c);
        } else if (event == SL_HTTP_MESSAGE) {
            conn_message(c);
        }
    }
}

static void conn_on_end(http_conn *c, ssize_t code) {
    c->eof = true;
    bool answers_wait = c->head == NULL && sl_http_conn_pending(c) > 0;
    if (code != UV_EOF || !answers_wait || c->state == HTTP_CONN_LINGER) {
        sl_http_conn_give_up(c, SL_HTTP_GONE_CLIENT);
        return;
    }
    c->state = HTTP_CONN_LAST; /* it may still read what has been answered */
    c->headers_ns = c->body_ns = c->idle_ns = 0;
    sl_http_conn_mark_dirty(c);
}

static void conn_on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf) {
    http_conn *c = stream->data;
    if (c->state == HTTP_CONN_CLOSING || n == 0) {
        return;
    }
    if (n < 0) {
        (void)uv_read_stop(stream);
        conn_on_end(c, n);
        return;
    }
    if (c->state == HTTP_CONN_OPEN) {
        conn_parse(c, buf->base, (size_t)n);
    } else {
        c->discarded_bytes += (uint64_t)n;
        if (c->discarded_bytes > HTTP_DISCARD_MAX) {
            sl_http_conn_give_up(c, SL_HTTP_GONE_CLIENT);
            return;
        }
    }
    sl_http_timer_arm(c);
}

static void conn_on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf) {
    (void)suggested;
    const http_conn *c = handle->data;
    *buf = uv_buf_init(c->server->read_buf, HTTP_READ_BYTES);
}

void sl_http_conn_open(http_conn *c, bool reject) {
    sl_http_parser_init(&c->parser, &c->server->options.limits);
    sl_buf_init(&c->out, out_max_bytes);
    sl_buf_init(&c->inflight, out_max_bytes);
    c->state = HTTP_CONN_OPEN;
    c->reject = reject;
    c->headers_ns = http_now_ns();
    (void)uv_tcp_nodelay(&c->tcp, 1);
    (void)uv_tcp_keepalive(&c->tcp, 1, 60);
    struct sockaddr_storage address;
    int len = (int)sizeof(address);
    if (uv_tcp_getpeername(&c->tcp, (struct sockaddr *)&address, &len) != 0 ||
        uv_ip_name((struct sockaddr *)&address, c->peer, sizeof(c->peer)) != 0) {
        c->peer[0] = '\0';
    }
    if (uv_read_start((uv_stream_t *)&c->tcp, conn_on_alloc, conn_on_read) != 0) {
        sl_http_conn_close(c);
        return;
    }
    if (reject) {
        sl_http_conn_refuse(c, 503, "The server has too many connections; try again later.");
    }
    sl_http_timer_arm(c);
}
