/* An HTTP/1.1 server on one libuv loop.
 *
 * Enters: connections. Leaves: calls to the handler, one per request, and its answers on the wire,
 * in the order of the requests. Knows nothing of what is served. Everything here runs on the loop's
 * thread; nothing blocks. Several io threads each have a server of their own.
 *
 * Reading stays armed while a request is being answered: the end of the client's stream, a
 * half-close included, counts as the client having left, and the handler is told at once. What a
 * connection may cost is bounded in bytes (options) and in time: see the README, "Limits".
 */
#ifndef SL_NET_HTTP_SERVER_H
#define SL_NET_HTTP_SERVER_H

#include <stdbool.h>
#include <stdint.h>

#include <uv.h>

#include <sluice/status.h>

#include "net/http_request.h"

typedef struct sl_http_server sl_http_server;

/* One request and its answer. Belongs to the server; the handler may use it from on_request (or
 * on_headers) until it has answered it (sl_http_respond, sl_http_stream_end, sl_http_abort) or was
 * told on_gone: after these it must not touch it any more. */
typedef struct sl_http_exchange sl_http_exchange;

typedef enum sl_http_gone {
    SL_HTTP_GONE_CLIENT, /* it closed the connection, or half of it */
    SL_HTTP_GONE_SLOW,   /* it does not read: output_max is reached, or nothing moved for
                            write_timeout */
    SL_HTTP_GONE_SERVER  /* the server is being closed */
} sl_http_gone;

/* What became of an exchange, for logs and counters. Texts are borrowed for the call. */
typedef struct sl_http_record {
    sl_http_method method;
    sl_slice path;        /* empty when the request did not parse */
    const char *peer;     /* numeric address of the client */
    int status;           /* sent; 499: the client left before an answer was complete */
    uint64_t bytes_in;    /* of the request's body, as far as it came */
    uint64_t bytes_out;   /* of the answer, headers included */
    uint64_t duration_ns; /* from its first byte to the last byte of the answer being handed over */
    void *user; /* as set by sl_http_exchange_set_user; not to be followed after on_gone */
} sl_http_record;

/* All calls come on the loop's thread. `user` is options.user. */
typedef struct sl_http_handler {
    /* The headers of a request with a body are there and it is the first in line: the handler may
     * answer now (the body is then discarded and the connection closed) or return. May be NULL. */
    void (*on_headers)(void *user, sl_http_exchange *x);
    /* The whole request is there. To be answered now or later. */
    void (*on_request)(void *user, sl_http_exchange *x);
    /* The client left, or was given up, before the answer was complete. Never called from within
     * one of the functions below. */
    void (*on_gone)(void *user, sl_http_exchange *x, sl_http_gone why);
    /* An exchange ended, well or badly; also called for what the server refused itself. May be
     * NULL. */
    void (*on_record)(void *user, const sl_http_record *record);
    /* Writes the body of an answer that the server gives itself (400, 408, 413, ...) and returns
     * its content type. NULL: plain text. */
    const char *(*error_body)(void *user, int status, const char *message, sl_buf *out);
} sl_http_handler;

/* 0 stands for the default in brackets. */
typedef struct sl_http_server_options {
    sl_http_limits limits;      /* all zero: sl_http_limits_default */
    uint32_t connections_max;   /* [10000, and what RLIMIT_NOFILE leaves]; beyond: 503 and close */
    uint32_t pipeline_max;      /* [16] requests in line per connection */
    uint32_t header_timeout_ms; /* [10000] from a request's first byte (or the accept) to its
                                   headers' end */
    uint32_t body_timeout_ms; /* [30000] a body must be there, or have grown at body_rate_min ... */
    uint32_t body_rate_min;   /* [16384] ... bytes per second, over each such time */
    uint32_t idle_timeout_ms; /* [75000] between requests */
    uint32_t write_timeout_ms;  /* [30000] without a byte taken by the client */
    uint32_t linger_timeout_ms; /* [2000] for the client to read a last answer */
    size_t output_max;          /* [1 MB] of a stream, held for a client that does not read */
    /* [256 MB] of request bodies held at once, all connections; beyond: 503. The last eighth is
     * kept for bodies of at most a thousandth (1/1024). */
    uint64_t bodies_max;
    sl_http_handler handler;
    void *user;
} sl_http_server_options;

SL_NODISCARD sl_status sl_http_server_create(uv_loop_t *loop, const sl_http_server_options *options,
                                             sl_http_server **out, sl_error *err);
/* Takes the address (port 0: a free one) without accepting connections yet. host: a numeric address
 * or a name. Errors say what to do. */
SL_NODISCARD sl_status sl_http_server_bind(sl_http_server *s, const char *host, uint16_t port,
                                           uint16_t *port_out, sl_error *err);
SL_NODISCARD sl_status sl_http_server_listen(sl_http_server *s, sl_error *err);

/* From now on each answer is the last of its connection, and connections that wait for a further
 * request are closed. A request whose body is not there yet is refused with 503. New connections
 * are still accepted, so that they can be told why nothing is served. */
void sl_http_server_drain(sl_http_server *s);
/* Closes the listener and every connection (unfinished exchanges: on_gone SERVER). Written output
 * is flushed as far as the sockets take it. The loop must run until it ends; then the server may be
 * freed. */
void sl_http_server_close(sl_http_server *s);
void sl_http_server_free(sl_http_server *s); /* after close and a run of the loop; NULL is fine */

uint32_t sl_http_server_n_connections(const sl_http_server *s);
/* Connections with something to say: an exchange under way, output not yet taken, or a refusal
 * that a client still busy sending has yet to read (at most linger_timeout). */
uint32_t sl_http_server_n_busy(const sl_http_server *s);

/* --- one exchange ---------------------------------------------------------------------------- */
const sl_http_request *sl_http_exchange_request(const sl_http_exchange *x);
void sl_http_exchange_set_user(sl_http_exchange *x, void *user);
void *sl_http_exchange_user(const sl_http_exchange *x);
uint64_t sl_http_exchange_begin_ns(const sl_http_exchange *x); /* monotonic: its first byte */
/* The bytes of the body are no longer needed (they have been parsed). */
void sl_http_exchange_drop_body(sl_http_exchange *x);

/* A whole answer. `headers`: further header lines, each ended by CR LF, or NULL. Ends the exchange.
 */
void sl_http_respond(sl_http_exchange *x, int status, const char *content_type, const char *headers,
                     const void *body, size_t len);
/* An answer in pieces (chunked; to a HTTP/1.0 client ended by the close). What is written between
 * two turns of the loop leaves in one system call. */
void sl_http_stream_begin(sl_http_exchange *x, int status, const char *content_type,
                          const char *headers);
void sl_http_stream_write(sl_http_exchange *x, const void *data, size_t len);
void sl_http_stream_end(sl_http_exchange *x);
/* Cuts the connection, so that the client sees that the answer is not complete. Ends the exchange.
 */
void sl_http_abort(sl_http_exchange *x);

#endif
