/* The listener, the table of connections, and the end of the server. See http_server.h. */
#include "net/http_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/error.h"

/* --- options --------------------------------------------------------------------------------- */

/* Descriptors that are not for connections: the model file, pipes, the loop, the standard streams.
 */
static const uint32_t server_other_fds = 32;

static uint32_t server_fd_limit(void) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur > 1u << 20) {
        return 1u << 20;
    }
    return (uint32_t)limit.rlim_cur;
}

static void server_defaults(sl_http_server_options *o) {
    if (o->limits.header_bytes == 0 && o->limits.body_bytes == 0) {
        o->limits = sl_http_limits_default();
    }
    uint32_t fds = server_fd_limit();
    uint32_t others = server_other_fds + HTTP_REJECTS_MAX;
    uint32_t places = fds >= 4 * others ? fds - others : fds / 4 + 1;
    o->connections_max = o->connections_max == 0 ? 10000 : o->connections_max;
    o->connections_max = o->connections_max > places ? places : o->connections_max;
    o->pipeline_max = o->pipeline_max == 0 ? 16 : o->pipeline_max;
    o->header_timeout_ms = o->header_timeout_ms == 0 ? 10000 : o->header_timeout_ms;
    o->body_timeout_ms = o->body_timeout_ms == 0 ? 30000 : o->body_timeout_ms;
    o->body_rate_min = o->body_rate_min == 0 ? 16384 : o->body_rate_min;
    o->idle_timeout_ms = o->idle_timeout_ms == 0 ? 75000 : o->idle_timeout_ms;
    o->write_timeout_ms = o->write_timeout_ms == 0 ? 30000 : o->write_timeout_ms;
    o->linger_timeout_ms = o->linger_timeout_ms == 0 ? 2000 : o->linger_timeout_ms;
    o->output_max = o->output_max == 0 ? (size_t)1 << 20 : o->output_max;
    o->bodies_max = o->bodies_max == 0 ? (uint64_t)256 << 20 : o->bodies_max;
}

/* --- life ------------------------------------------------------------------------------------ */

static void server_on_prepare(uv_prepare_t *handle) {
    sl_http_server *s = handle->data;
    while (s->dirty_list != NULL) {
        http_conn *c = s->dirty_list;
        s->dirty_list = c->next_dirty;
        c->dirty = false;
        sl_http_conn_flush(c);
    }
}

sl_status sl_http_server_create(uv_loop_t *loop, const sl_http_server_options *options,
                                sl_http_server **out, sl_error *err) {
    if (options->handler.on_request == NULL || options->handler.on_gone == NULL) {
        return SL_FAIL(err, SL_ERR_ARGUMENT, "an HTTP server needs on_request and on_gone");
    }
    sl_http_server *s = sl_alloc_zero(1, sizeof(*s));
    if (s == NULL) {
        return SL_FAIL(err, SL_ERR_MEMORY, "no memory for the HTTP server");
    }
    s->loop = loop;
    s->fd = -1;
    s->options = *options;
    server_defaults(&s->options);
    s->n_conns = s->options.connections_max + HTTP_REJECTS_MAX;
    s->conns = sl_alloc_zero(s->n_conns, sizeof(*s->conns));
    s->read_buf = sl_alloc(HTTP_READ_BYTES);
    if (s->conns == NULL || s->read_buf == NULL || uv_prepare_init(loop, &s->flusher) != 0) {
        sl_free(s->conns);
        sl_free(s->read_buf);
        sl_free(s);
        return SL_FAIL(err, SL_ERR_MEMORY, "no memory for a table of %u connections",
                       options->connections_max);
    }
    s->flusher.data = s;
    s->flusher_open = true;
    (void)uv_prepare_start(&s->flusher, server_on_prepare); /* fails only without a callback */
    uv_unref((uv_handle_t *)&s->flusher);
    *out = s;
    return SL_OK;
}

void sl_http_server_free(sl_http_server *s) {
    if (s == NULL) {
        return;
    }
    if (s->fd >= 0) {
        (void)close(s->fd);
    }
    sl_free(s->conns);
    sl_free(s->read_buf);
    sl_free(s);
}

void sl_http_server_drain(sl_http_server *s) {
    s->draining = true;
    for (http_conn *c = s->open_list, *next; c != NULL; c = next) {
        next = c->next;
        if (sl_http_conn_is_idle(c)) {
            sl_http_conn_close(c);
        } else if (c->reading != NULL) {
            sl_http_conn_refuse(c, 503, HTTP_DRAINING_REASON);
        }
    }
}

void sl_http_server_close(sl_http_server *s) {
    s->closing = true;
    if (s->listener_open) {
        s->listener_open = false;
        uv_close((uv_handle_t *)&s->listener, NULL);
    }
    for (http_conn *c = s->open_list, *next; c != NULL; c = next) {
        next = c->next;
        sl_http_conn_flush(c);
        if (c->state != HTTP_CONN_CLOSING) {
            sl_http_conn_give_up(c, SL_HTTP_GONE_SERVER);
        }
    }
    if (s->flusher_open) {
        s->flusher_open = false;
        uv_close((uv_handle_t *)&s->flusher, NULL);
    }
}

uint32_t sl_http_server_n_connections(const sl_http_server *s) {
    return s->n_open;
}

uint32_t sl_http_server_n_busy(const sl_http_server *s) {
    uint32_t n = 0;
    for (const http_conn *c = s->open_list; c != NULL; c = c->next) {
        /* A client that is still sending a refused body would lose its answer to a reset. */
        bool sends = c->state == HTTP_CONN_LINGER && sl_http_parser_busy(&c->parser);
        n += c->head != NULL || sl_http_conn_pending(c) > 0 || sends;
    }
    return n;
}

const char *sl_http_server_date(sl_http_server *s) {
    struct timespec now;
    if (clock_gettime(CLOCK_REALTIME_COARSE, &now) == 0 && now.tv_sec != s->date_s) {
        static const char days[7][4] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
        static const char months[12][4] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                           "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
        struct tm tm;
        if (gmtime_r(&now.tv_sec, &tm) != NULL) {
            s->date_s = now.tv_sec;
            (void)snprintf(s->date, sizeof(s->date), "%s, %02d %s %04d %02d:%02d:%02d GMT",
                           days[tm.tm_wday], tm.tm_mday, months[tm.tm_mon], tm.tm_year + 1900,
                           tm.tm_hour, tm.tm_min, tm.tm_sec);
        }
    }
    return s->date;
}

/* --- accepting ------------------------------------------------------------------------------- */

static http_conn *server_take_conn(sl_http_server *s) {
    http_conn *c = s->free_list;
    if (c != NULL) {
        s->free_list = c->next;
    } else if (s->n_used < s->n_conns) {
        c = &s->conns[s->n_used++];
    } else {
        return NULL;
    }
    memset(c, 0, sizeof(*c));
    c->server = s;
    c->next = s->open_list;
    if (s->open_list != NULL) {
        s->open_list->prev = c;
    }
    s->open_list = c;
    s->n_open++;
    return c;
}

static void server_accept(sl_http_server *s);

void sl_http_server_release_conn(sl_http_server *s, http_conn *c) {
    if (c->prev != NULL) {
        c->prev->next = c->next;
    } else {
        s->open_list = c->next;
    }
    if (c->next != NULL) {
        c->next->prev = c->prev;
    }
    s->n_open--;
    s->n_rejecting -= c->reject;
    c->state = HTTP_CONN_FREE;
    c->prev = NULL;
    c->next = s->free_list;
    s->free_list = c;
    if (s->accept_waits && !s->closing) {
        server_accept(s);
    }
}

static void server_on_dropped(uv_handle_t *handle) {
    sl_http_server *s = handle->data;
    s->dropper_busy = false;
    if (s->accept_waits && !s->closing) {
        server_accept(s);
    }
}

/* No place even to say no: takes the connection and closes it, or leaves it waiting for a moment.
 */
static void server_drop(sl_http_server *s) {
    s->accept_waits = s->dropper_busy;
    if (s->dropper_busy) {
        return;
    }
    if (uv_tcp_init(s->loop, &s->dropper) == 0) {
        s->dropper.data = s;
        s->dropper_busy = true;
        (void)uv_accept((uv_stream_t *)&s->listener, (uv_stream_t *)&s->dropper);
        uv_close((uv_handle_t *)&s->dropper, server_on_dropped);
    }
}

static void server_accept(sl_http_server *s) {
    s->accept_waits = false;
    bool reject = s->n_open - s->n_rejecting >= s->options.connections_max;
    http_conn *c = server_take_conn(s);
    if (c == NULL) {
        server_drop(s);
        return;
    }
    s->n_rejecting += reject;
    c->reject = reject;
    /* Initialising a handle on a running loop cannot fail: no descriptor is made yet. */
    (void)uv_tcp_init(s->loop, &c->tcp);
    (void)uv_timer_init(s->loop, &c->timer);
    c->tcp.data = c->timer.data = c;
    c->state = HTTP_CONN_OPEN;
    if (uv_accept((uv_stream_t *)&s->listener, (uv_stream_t *)&c->tcp) != 0) {
        sl_http_conn_close(c);
        return;
    }
    sl_http_conn_open(c, reject);
}

static void server_on_connection(uv_stream_t *listener, int status) {
    if (status == 0) {
        server_accept(listener->data);
    }
}

/* --- the listening socket -------------------------------------------------------------------- */

static sl_status server_bind_fail(int fd, int code, const char *host, uint16_t port,
                                  sl_error *err) {
    if (fd >= 0) {
        (void)close(fd);
    }
    if (code == EADDRINUSE) {
        return SL_FAIL(
            err, SL_ERR_IO,
            "port %u of %s is already in use: stop the program that listens there, or choose "
            "another port (0 picks a free one)",
            port, host);
    }
    if (code == EACCES) {
        return SL_FAIL(
            err, SL_ERR_IO,
            "port %u of %s needs privileges: choose a port above 1023 (0 picks a free one)", port,
            host);
    }
    if (code == EADDRNOTAVAIL) {
        return SL_FAIL(err, SL_ERR_IO,
                       "%s is not an address of this machine: use 127.0.0.1 or 0.0.0.0", host);
    }
    return SL_FAIL(err, SL_ERR_IO, "cannot listen on port %u of %s: %s", port, host,
                   uv_strerror(-code));
}

sl_status sl_http_server_bind(sl_http_server *s, const char *host, uint16_t port,
                              uint16_t *port_out, sl_error *err) {
    char service[8];
    (void)snprintf(service, sizeof(service), "%u", port);
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
    struct addrinfo *list = NULL;
    int rc = getaddrinfo(host, service, &hints, &list);
    if (rc != 0) {
        return SL_FAIL(err, SL_ERR_IO, "%s is no address to listen on: %s", host, gai_strerror(rc));
    }
    int fd = socket(list->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int on = 1;
    struct sockaddr_storage address;
    socklen_t address_len = sizeof(address);
    bool bound = fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) == 0 &&
                 bind(fd, list->ai_addr, list->ai_addrlen) == 0 &&
                 getsockname(fd, (struct sockaddr *)&address, &address_len) == 0;
    int code = errno;
    freeaddrinfo(list);
    if (!bound) {
        return server_bind_fail(fd, code, host, port, err);
    }
    s->fd = fd;
    in_port_t bound_port = address.ss_family == AF_INET6
                               ? ((const struct sockaddr_in6 *)&address)->sin6_port
                               : ((const struct sockaddr_in *)&address)->sin_port;
    *port_out = ntohs(bound_port);
    return SL_OK;
}

sl_status sl_http_server_listen(sl_http_server *s, sl_error *err) {
    if (s->fd < 0 || s->listener_open) {
        return SL_FAIL(err, SL_ERR_INTERNAL, "the HTTP server has no address to listen on");
    }
    int rc = uv_tcp_init(s->loop, &s->listener);
    if (rc == 0) {
        s->listener_open = true;
        s->listener.data = s;
        rc = uv_tcp_open(&s->listener, s->fd);
    }
    if (rc == 0) {
        s->fd = -1; /* the handle's now */
        rc = uv_listen((uv_stream_t *)&s->listener, 1024, server_on_connection);
    }
    if (rc == UV_EADDRINUSE) {
        return SL_FAIL(err, SL_ERR_IO,
                       "the port was taken by another program meanwhile: choose another port");
    }
    if (rc != 0) {
        return SL_FAIL(err, SL_ERR_IO, "cannot listen: %s", uv_strerror(rc));
    }
    return SL_OK;
}
