/* The client's connections: see http_client.h. */
#include "net/http_client.h"

#include <inttypes.h>
#include <netdb.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include <llhttp.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "base/error.h"

#define CLIENT_READ_BYTES (64u << 10)
#define CLIENT_REQUEST_MAX ((size_t)64 << 20)

/* One connection. */
typedef struct http_link {
    uv_tcp_t tcp;
    uv_connect_t connect_req;
    uv_write_t write_req;
    llhttp_t parser;
    sl_http_client *client;
    struct http_link *next; /* of all */
    sl_buf out;             /* the request under way */
    void *call;
    int status;
    bool busy;    /* a request is under way */
    bool is_used; /* it has answered one before: its end may just be that of an idle connection */
    bool is_answered, closing;
} http_link;

struct sl_http_client {
    uv_loop_t *loop;
    sl_http_client_options options;
    llhttp_settings_t settings;
    struct sockaddr_storage address;
    http_link *links;
    char *read_buf; /* [CLIENT_READ_BYTES] */
    bool closing;
};

static void link_start(http_link *l);

/* --- the end of requests and connections ------------------------------------------------------ */

static void link_closed(uv_handle_t *handle) {
    http_link *l = handle->data;
    http_link **at = &l->client->links;
    while (*at != l) {
        at = &(*at)->next;
    }
    *at = l->next;
    sl_buf_deinit(&l->out);
    sl_free(l);
}

static void link_close(http_link *l) {
    if (!l->closing) {
        l->closing = true;
        uv_close((uv_handle_t *)&l->tcp, link_closed);
    }
}

/* The request under way ends; the connection is kept if it can take another one. */
static void link_end(http_link *l, const char *error, bool keep) {
    sl_http_client *c = l->client;
    void *call = l->call;
    const int status = l->status;
    l->busy = false;
    l->is_used = true;
    if (!keep) {
        link_close(l);
    }
    if (!c->closing) {
        c->options.on_end(call, status, error);
    }
}

/* A connection that is not yet made; NULL without memory. */
static http_link *link_new(sl_http_client *c) {
    http_link *l = sl_alloc_zero(1, sizeof(*l));
    if (l == NULL || uv_tcp_init(c->loop, &l->tcp) < 0) {
        sl_free(l);
        return NULL;
    }
    l->client = c;
    l->tcp.data = l;
    sl_buf_init(&l->out, CLIENT_REQUEST_MAX);
    l->next = c->links;
    c->links = l;
    return l;
}

/* The connection is over. A request that a kept connection did not answer with one byte met the
 * server's end of it, and goes out again on a new one. */
static void link_over(http_link *l, const char *error) {
    if (!l->busy) {
        link_close(l);
        return;
    }
    const bool again = l->is_used && !l->is_answered && !l->client->closing;
    http_link *new_one = again ? link_new(l->client) : NULL;
    if (new_one == NULL) {
        link_end(l, error, false);
        return;
    }
    const sl_buf empty = new_one->out;
    new_one->call = l->call;
    new_one->out = l->out;
    l->out = empty;
    l->busy = false;
    link_close(l);
    link_start(new_one);
}

/* --- answers ---------------------------------------------------------------------------------- */

static int parsed_headers(llhttp_t *parser) {
    http_link *l = parser->data;
    l->status = parser->status_code;
    return 0;
}

static int parsed_body(llhttp_t *parser, const char *data, size_t len) {
    http_link *l = parser->data;
    if (!l->client->closing) {
        l->client->options.on_data(l->call, l->status, data, len);
    }
    return 0;
}

static int parsed_message(llhttp_t *parser) {
    http_link *l = parser->data;
    if (l->status >= 200) { /* what comes before is no answer */
        link_end(l, NULL, llhttp_should_keep_alive(parser) == 1);
    }
    return 0;
}

static void link_alloc(uv_handle_t *handle, size_t wanted, uv_buf_t *buf) {
    (void)wanted;
    http_link *l = handle->data;
    *buf = uv_buf_init(l->client->read_buf, CLIENT_READ_BYTES);
}

static void link_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf) {
    http_link *l = stream->data;
    if (n < 0) {
        if (l->busy && n == UV_EOF && llhttp_finish(&l->parser) == HPE_OK && !l->busy) {
            return; /* an answer that the end of the connection ends */
        }
        link_over(l, n == UV_EOF ? "the server closed the connection" : uv_strerror((int)n));
        return;
    }
    if (n == 0) {
        return;
    }
    l->is_answered = true;
    if (llhttp_execute(&l->parser, buf->base, (size_t)n) != HPE_OK && !l->closing) {
        link_over(l, "the answer is not HTTP/1.1");
    }
}

/* --- requests --------------------------------------------------------------------------------- */

static void link_written(uv_write_t *req, int status) {
    http_link *l = req->data;
    if (status < 0 && status != UV_ECANCELED) {
        link_over(l, uv_strerror(status));
    }
}

static void link_send(http_link *l) {
    const uv_buf_t buf = uv_buf_init(l->out.data, (unsigned)l->out.len);
    l->write_req.data = l;
    const int code = uv_write(&l->write_req, (uv_stream_t *)&l->tcp, &buf, 1, link_written);
    if (code < 0) {
        link_over(l, uv_strerror(code));
    }
}

static void link_connected(uv_connect_t *req, int status) {
    http_link *l = req->data;
    if (status == UV_ECANCELED) {
        return;
    }
    if (status == 0) {
        (void)uv_tcp_nodelay(&l->tcp, 1);
        status = uv_read_start((uv_stream_t *)&l->tcp, link_alloc, link_read);
    }
    if (status < 0) {
        link_end(l, uv_strerror(status), false);
        return;
    }
    link_send(l);
}

/* A new connection, with a request to send. */
static void link_start(http_link *l) {
    sl_http_client *c = l->client;
    llhttp_init(&l->parser, HTTP_RESPONSE, &c->settings);
    l->parser.data = l;
    l->busy = true;
    l->connect_req.data = l;
    const int code = uv_tcp_connect(&l->connect_req, &l->tcp, (const struct sockaddr *)&c->address,
                                    link_connected);
    if (code < 0) {
        link_end(l, uv_strerror(code), false);
    }
}

/* body NULL: GET. */
static sl_status request_write(const sl_http_client *c, const char *path, const char *body,
                               size_t len, sl_buf *out) {
    const char *headers = c->options.headers == NULL ? "" : c->options.headers;
    const bool bare = strchr(c->options.host, ':') == NULL;
    sl_buf_clear(out);
    (void)sl_buf_printf(out, "%s %s HTTP/1.1\r\nHost: %s%s%s:%" PRIu16 "\r\n%s",
                        body == NULL ? "GET" : "POST", path, bare ? "" : "[", c->options.host,
                        bare ? "" : "]", c->options.port, headers);
    if (body == NULL) {
        return sl_buf_append_str(out, "\r\n");
    }
    (void)sl_buf_printf(out, "Content-Type: application/json\r\nContent-Length: %zu\r\n\r\n", len);
    return sl_buf_append(out, body, len);
}

static sl_status client_send(sl_http_client *c, const char *path, const char *body, size_t len,
                             void *call, sl_error *err) {
    http_link *l = c->links;
    while (l != NULL && (l->busy || l->closing)) {
        l = l->next;
    }
    const bool is_new = l == NULL;
    if (is_new) {
        l = link_new(c);
        if (l == NULL) {
            return SL_FAIL(err, SL_ERR_MEMORY, "no memory for a connection");
        }
    }
    if (request_write(c, path, body, len, &l->out) != SL_OK) {
        link_close(l);
        return SL_FAIL(err, SL_ERR_MEMORY, "no memory for a request of %zu bytes", len);
    }
    l->call = call;
    l->status = 0;
    l->is_answered = false;
    if (is_new) {
        link_start(l);
    } else {
        l->busy = true;
        link_send(l);
    }
    return SL_OK;
}

sl_status sl_http_client_post(sl_http_client *c, const char *path, const char *body, size_t len,
                              void *call, sl_error *err) {
    return client_send(c, path, body, len, call, err);
}

sl_status sl_http_client_get(sl_http_client *c, const char *path, void *call, sl_error *err) {
    return client_send(c, path, NULL, 0, call, err);
}

/* --- life ------------------------------------------------------------------------------------- */

sl_status sl_http_client_create(uv_loop_t *loop, const sl_http_client_options *options,
                                sl_http_client **out, sl_error *err) {
    const struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    struct addrinfo *found = NULL;
    char port[8];
    (void)snprintf(port, sizeof(port), "%" PRIu16, options->port);
    const int code = getaddrinfo(options->host, port, &hints, &found);
    if (code != 0) {
        return SL_FAIL(err, SL_ERR_ARGUMENT, "host \"%s\" is not found: %s", options->host,
                       gai_strerror(code));
    }
    sl_http_client *c = sl_alloc_zero(1, sizeof(*c));
    char *read_buf = sl_alloc_zero(CLIENT_READ_BYTES, 1);
    if (c == NULL || read_buf == NULL) {
        freeaddrinfo(found);
        sl_free(c);
        sl_free(read_buf);
        return SL_FAIL(err, SL_ERR_MEMORY, "no memory for an HTTP client");
    }
    memcpy(&c->address, found->ai_addr, found->ai_addrlen);
    freeaddrinfo(found);
    c->loop = loop;
    c->options = *options;
    c->read_buf = read_buf;
    llhttp_settings_init(&c->settings);
    c->settings.on_headers_complete = parsed_headers;
    c->settings.on_body = parsed_body;
    c->settings.on_message_complete = parsed_message;
    *out = c;
    return SL_OK;
}

void sl_http_client_close(sl_http_client *c) {
    c->closing = true;
    for (http_link *l = c->links; l != NULL; l = l->next) {
        link_close(l);
    }
}

void sl_http_client_free(sl_http_client *c) {
    if (c != NULL) {
        sl_free(c->read_buf);
        sl_free(c);
    }
}
