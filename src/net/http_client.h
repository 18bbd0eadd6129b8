/* An HTTP/1.1 client on one libuv loop: requests to one server, whose answers come in pieces.
 *
 * Enters: requests, each with a name of the caller's (`call`). Leaves: the bytes of its answer as
 * they come, then its end. Connections are kept and used again; there are as many as requests are
 * under way. Everything runs on the loop's thread, nothing but the look-up of the host's name
 * blocks. */
#ifndef SL_NET_HTTP_CLIENT_H
#define SL_NET_HTTP_CLIENT_H

#include <stddef.h>
#include <stdint.h>

#include <uv.h>

#include <sluice/status.h>

typedef struct sl_http_client sl_http_client;

typedef struct sl_http_client_options {
    const char *host; /* a name or a numeric address; borrowed, as all texts here */
    uint16_t port;
    const char *headers; /* further header lines, each ended by CR LF; NULL: none */
    /* A piece of an answer's body. */
    void (*on_data)(void *call, int status, const char *data, size_t len);
    /* The answer is complete, or none will be: error is NULL, or a sentence for the call. */
    void (*on_end)(void *call, int status, const char *error);
} sl_http_client_options;

/* Finds the address. Errors say what to do. */
SL_NODISCARD sl_status sl_http_client_create(uv_loop_t *loop, const sl_http_client_options *options,
                                             sl_http_client **out, sl_error *err);
/* Sends JSON. path: "/v1/completions". An error: nothing was sent and on_end does not come. */
SL_NODISCARD sl_status sl_http_client_post(sl_http_client *c, const char *path, const char *body,
                                           size_t len, void *call, sl_error *err);
SL_NODISCARD sl_status sl_http_client_get(sl_http_client *c, const char *path, void *call,
                                          sl_error *err);
/* Closes all connections, without further calls. The loop must run until it ends; then the client
 * may be freed. */
void sl_http_client_close(sl_http_client *c);
void sl_http_client_free(sl_http_client *c); /* NULL is fine */

#endif
