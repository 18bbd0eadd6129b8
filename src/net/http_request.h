/* One HTTP/1.1 request and the strict, incremental parser that makes it out of bytes.
 *
 * Enters: bytes as they come from a socket, in pieces of any size. Leaves: requests with their
 * headers and body, or a refusal (status and reason). No I/O, no clock, no thread: each parser has
 * one owner. Whatever is ambiguous is refused, as RFC 9112 asks of a server that others may stand
 * in front of: Content-Length together with Transfer-Encoding, two lengths, bare line feeds, a
 * missing or doubled Host, folded lines, codings other than chunked.
 */
#ifndef SL_NET_HTTP_REQUEST_H
#define SL_NET_HTTP_REQUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <llhttp.h>

#include <sluice/status.h>

#include "base/buf.h"
#include "base/bytes.h"

typedef enum sl_http_method {
    SL_HTTP_GET,
    SL_HTTP_HEAD,
    SL_HTTP_POST,
    SL_HTTP_PUT,
    SL_HTTP_DELETE,
    SL_HTTP_OPTIONS,
    SL_HTTP_OTHER /* known to HTTP, of no use here */
} sl_http_method;

/* What one request may cost. All bytes of request line, headers, trailers and chunk extensions
 * count as header bytes, white space and line ends included. */
typedef struct sl_http_limits {
    size_t header_bytes;
    size_t uri_bytes;
    uint32_t header_count;
    size_t body_bytes;
} sl_http_limits;
sl_http_limits sl_http_limits_default(void); /* 32 KB, 8 KB, 100, 8 MB */

typedef struct sl_http_request {
    sl_http_method method;
    uint8_t minor;        /* HTTP/1.minor: 0 or 1 */
    bool keep_alive;      /* the client allows another request on this connection */
    bool expect_continue; /* it waits for "100 Continue" before sending the body */
    bool has_body;        /* a body follows the headers (known once the headers are complete) */
    sl_buf target;        /* as received */
    sl_buf path;          /* of the target: without query, percent-decoded; begins with '/' */
    size_t query_begin;   /* the query within target; == target.len if there is none */
    sl_buf head;          /* "name\0value\0" per header, names in lower case, in order of arrival */
    uint32_t n_headers;
    sl_buf body;
} sl_http_request;

void sl_http_request_free(sl_http_request *r); /* NULL is fine */
/* Value of the first header of that name (given in lower case); {NULL, 0} if there is none.
 * Borrowed. */
sl_slice sl_http_request_header(const sl_http_request *r, const char *name);
sl_slice sl_http_request_path(const sl_http_request *r);
const char *sl_http_method_name(sl_http_method m);
const char *sl_http_status_text(int status); /* "Not Found" */

typedef enum sl_http_event {
    SL_HTTP_MORE,    /* all bytes used, nothing complete yet */
    SL_HTTP_HEADERS, /* the headers are complete and a body follows */
    SL_HTTP_MESSAGE, /* a whole request: take it */
    SL_HTTP_BAD      /* refused: nothing more can be parsed on this connection */
} sl_http_event;

typedef struct sl_http_parser {
    llhttp_t machine;
    sl_http_limits limits;
    sl_http_request *request;       /* being read; NULL between requests */
    size_t head_bytes;              /* counted against limits.header_bytes */
    size_t name_begin, value_begin; /* offsets in request->head of the header being read */
    uint32_t n_host, n_length, n_transfer;
    bool started;   /* some byte of a request has come */
    bool line_over; /* its request line has been looked at; until then ... */
    char line_last; /* ... the byte before; '\0' at the beginning */
    bool in_body, complete, paused, failed;
    int bad_status;         /* why it was refused: an HTTP status ... */
    const char *bad_reason; /* ... and a sentence (static) */
} sl_http_parser;

void sl_http_parser_init(sl_http_parser *p, const sl_http_limits *limits);
void sl_http_parser_deinit(sl_http_parser *p);
/* Reads until something happened or all bytes are used; *used_out tells how many were. After
 * MESSAGE the request must be taken before the next call. After BAD nothing is parsed any more. */
sl_http_event sl_http_parser_feed(sl_http_parser *p, const char *data, size_t len,
                                  size_t *used_out);
/* The finished request; the caller owns it. The parser is ready for the next one. */
sl_http_request *sl_http_parser_take(sl_http_parser *p);
/* True between the first byte of a request and its last. */
bool sl_http_parser_busy(const sl_http_parser *p);

#endif
