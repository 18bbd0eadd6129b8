/* What http_server.c, http_conn.c, http_exchange.c and http_timer.c share. Private to src/net. */
#ifndef SL_NET_HTTP_INTERNAL_H
#define SL_NET_HTTP_INTERNAL_H

#include "net/http_server.h"

#define HTTP_READ_BYTES                                                                            \
    (64u << 10)                    /* one read; the buffer is shared by all connections of a loop */
#define HTTP_REJECTS_MAX 16u       /* connections beyond the limit that are told so at a time */
#define HTTP_IDLE_KEEP_BYTES 4096u /* an idle connection keeps no larger buffer than this */
#define HTTP_DISCARD_MAX (16u << 20) /* bytes thrown away before a connection is cut */
/* Of bodies_max: what one body may hold and still count as small; what is kept for the small ones.
 */
#define HTTP_BODY_SMALL_PARTS 1024u
#define HTTP_BODY_KEPT_PARTS 8u
#define HTTP_DRAINING_REASON "The server is shutting down and takes no new requests."

typedef struct http_conn http_conn;

struct sl_http_exchange {
    http_conn *conn;
    sl_http_exchange *next;   /* in line behind this one */
    sl_http_request *request; /* NULL when the parser refused it */
    int refuse_status;        /* not 0: an answer of the server's own, given when its turn comes */
    const char *refuse_reason;
    bool complete;      /* the whole body is there */
    bool headers_shown; /* on_headers was called */
    bool continue_sent; /* "100 Continue" went out */
    bool dispatched;    /* on_request was called: the handler knows it */
    bool streaming;
    bool chunked;
    int status;
    uint64_t begin_ns, bytes_in, bytes_out;
    uint64_t body_counted; /* of server->bodies_bytes */
    void *user;
};

typedef enum http_conn_state {
    HTTP_CONN_FREE,
    HTTP_CONN_OPEN,   /* reading and parsing */
    HTTP_CONN_LAST,   /* no further request is read; the exchanges in line are still answered */
    HTTP_CONN_LINGER, /* the last answer is written, its end not yet seen by the client */
    HTTP_CONN_CLOSING /* handles are being closed */
} http_conn_state;

struct http_conn {
    uv_tcp_t tcp;
    uv_timer_t timer;
    uv_write_t write_req;
    uv_shutdown_t shutdown_req;
    sl_http_server *server;
    http_conn *prev, *next; /* of the server's open connections */
    http_conn *next_dirty;
    http_conn_state state;
    uint8_t n_closing; /* handles whose close is not yet done */
    bool dirty, writing, eof, doomed, shut, in_dispatch, reject;
    bool served; /* a request has come */
    sl_http_gone doomed_why;
    sl_http_parser parser;
    sl_http_exchange *head, *tail; /* in line; the head is being answered */
    sl_http_exchange *reading;     /* whose body is still coming; also in line */
    uint32_t n_line;
    sl_buf out;        /* to be written */
    sl_buf inflight;   /* being written by write_req */
    size_t last_queue; /* bytes queued in the socket when progress was last looked at */
    uint64_t discarded_bytes;
    uint64_t begin_ns; /* first byte of the request being read; 0: none */
    uint64_t headers_ns, body_ns, idle_ns, write_ns,
        linger_ns;       /* since when; 0: not in that phase. body_ns: of the present window */
    uint64_t body_begin; /* bytes of the body that were there when the window began */
    uint64_t armed_ns;   /* when the timer fires; 0: it is off */
    char peer[48];
};

struct sl_http_server {
    uv_loop_t *loop;
    uv_tcp_t listener;
    uv_prepare_t flusher; /* writes what was collected, before the loop sleeps */
    uv_tcp_t dropper;     /* takes and closes connections when no place is left */
    sl_http_server_options options;
    http_conn *conns; /* [n_conns] allocated at start, untouched until used */
    uint32_t n_conns, n_used, n_open, n_rejecting;
    http_conn *free_list, *open_list, *dirty_list;
    int fd; /* bound, not yet listening; -1: none */
    bool listening, draining, closing, listener_open, flusher_open;
    bool accept_waits; /* a connection could not be taken yet */
    bool dropper_busy;
    uint64_t bodies_bytes;
    int64_t date_s; /* the second that `date` names */
    char date[64];
    char *read_buf; /* [HTTP_READ_BYTES] */
};

static inline uint64_t http_now_ns(void) {
    return uv_hrtime(); /* CLOCK_MONOTONIC */
}

/* http_server.c */
void sl_http_server_release_conn(sl_http_server *s, http_conn *c);
const char *sl_http_server_date(sl_http_server *s);

/* http_conn.c */
void sl_http_conn_open(http_conn *c,
                       bool reject); /* its handles are set up and the socket accepted */
void sl_http_conn_handle_closed(uv_handle_t *handle);
void sl_http_conn_close(http_conn *c);                     /* at once, telling nobody */
void sl_http_conn_give_up(http_conn *c, sl_http_gone why); /* on_gone for the head, then close */
void sl_http_conn_flush(http_conn *c);
void sl_http_conn_mark_dirty(http_conn *c);
void sl_http_conn_dispatch(http_conn *c); /* answers what is first in line, as far as it can */
void sl_http_conn_pop(http_conn *c);      /* the head is answered */
void sl_http_conn_refuse(http_conn *c, int status,
                         const char *reason);           /* in line; nothing is read after it */
void sl_http_conn_doom(http_conn *c, sl_http_gone why); /* closes it before the loop sleeps */
bool sl_http_conn_is_idle(const http_conn *c);          /* between two requests */
size_t sl_http_conn_pending(const http_conn *c); /* bytes of output not yet taken by the system */

/* http_exchange.c */
sl_http_exchange *sl_http_exchange_new(http_conn *c, uint64_t begin_ns);
void sl_http_exchange_free(sl_http_exchange *x);
void sl_http_exchange_record(sl_http_exchange *x);
void sl_http_exchange_refuse(sl_http_exchange *x); /* gives refuse_status */

/* http_timer.c */
void sl_http_timer_arm(http_conn *c);

#endif
