/* Time limits of a connection: one timer each, which is set to the earliest deadline and looks
 * again when it fires. Deadlines are total times, never reset by a single byte (slow senders would
 * live for ever). Only bodies and writing are judged by progress: a body by its growth over each
 * window of body_timeout, so that what was sent quickly earns no time for silence later. All on
 * the monotonic clock. */
#include "net/http_internal.h"

static const uint64_t ns_per_ms = 1000000u;

static uint64_t timer_earlier(uint64_t a, uint64_t since, uint64_t timeout_ms) {
    if (since == 0) {
        return a;
    }
    uint64_t b = since + timeout_ms * ns_per_ms;
    return b < a ? b : a;
}

/* UINT64_MAX: a request is being worked on and the client need not do anything. */
static uint64_t timer_deadline(const http_conn *c) {
    const sl_http_server_options *o = &c->server->options;
    uint64_t at = UINT64_MAX;
    at = timer_earlier(at, c->linger_ns, o->linger_timeout_ms);
    at = timer_earlier(at, c->write_ns, o->write_timeout_ms);
    at = timer_earlier(at, c->headers_ns, o->header_timeout_ms);
    at = timer_earlier(at, c->idle_ns, o->idle_timeout_ms);
    return timer_earlier(at, c->body_ns, o->body_timeout_ms);
}

/* A window is over: begins the next one if the body grew fast enough in it. */
static bool timer_body_moves(http_conn *c, uint64_t now) {
    const sl_http_server_options *o = &c->server->options;
    uint64_t bytes = c->reading != NULL ? c->reading->request->body.len : 0;
    uint64_t wanted = (uint64_t)o->body_rate_min * o->body_timeout_ms / 1000u;
    bool moves = bytes - c->body_begin >= wanted;
    if (moves) {
        c->body_ns = now;
        c->body_begin = bytes;
    }
    return moves;
}

/* The socket took something since the last look: the client reads, slowly. */
static bool timer_write_moves(http_conn *c, uint64_t now) {
    size_t queue = uv_stream_get_write_queue_size((uv_stream_t *)&c->tcp);
    bool moves = queue < c->last_queue;
    if (moves) {
        c->last_queue = queue;
        c->write_ns = now;
    }
    return moves;
}

static void timer_on_fire(uv_timer_t *timer) {
    http_conn *c = timer->data;
    c->armed_ns = 0;
    if (c->state == HTTP_CONN_CLOSING) {
        return;
    }
    const sl_http_server_options *o = &c->server->options;
    uint64_t now = http_now_ns();
    if (c->idle_ns != 0 && sl_http_conn_pending(c) > 0) {
        c->idle_ns =
            now; /* an answer is still leaving: the wait for the next request begins after it */
    }
    if (timer_earlier(UINT64_MAX, c->linger_ns, o->linger_timeout_ms) <= now ||
        timer_earlier(UINT64_MAX, c->idle_ns, o->idle_timeout_ms) <= now) {
        sl_http_conn_close(c);
        return;
    }
    if (timer_earlier(UINT64_MAX, c->write_ns, o->write_timeout_ms) <= now &&
        !timer_write_moves(c, now)) {
        sl_http_conn_give_up(c, SL_HTTP_GONE_SLOW);
        return;
    }
    if (timer_earlier(UINT64_MAX, c->headers_ns, o->header_timeout_ms) <= now) {
        if (c->begin_ns == 0) {
            sl_http_conn_close(c); /* connected and said nothing */
            return;
        }
        sl_http_conn_refuse(c, 408, "The request headers took too long to arrive.");
    } else if (timer_earlier(UINT64_MAX, c->body_ns, o->body_timeout_ms) <= now &&
               !timer_body_moves(c, now)) {
        sl_http_conn_refuse(c, 408, "The request body took too long to arrive.");
    }
    sl_http_timer_arm(c);
}

void sl_http_timer_arm(http_conn *c) {
    if (c->state == HTTP_CONN_CLOSING || c->state == HTTP_CONN_FREE) {
        return;
    }
    uint64_t at = timer_deadline(c);
    if (at == UINT64_MAX || (c->armed_ns != 0 && c->armed_ns <= at)) {
        return; /* nothing to wait for, or it fires earlier and looks again then */
    }
    uint64_t now = http_now_ns();
    uint64_t wait_ms = at <= now ? 0 : (at - now) / ns_per_ms + 1;
    uv_update_time(c->server->loop);
    if (uv_timer_start(&c->timer, timer_on_fire, wait_ms, 0) == 0) {
        c->armed_ns = at;
    }
}
