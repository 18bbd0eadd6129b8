/* The HTTP/1.1 parser: llhttp in its strict mode does the grammar, this file counts, limits, checks
 * what needs more than one header at a time, and keeps the texts.
 *
 * llhttp is paused at the end of the headers and of the message, so that every byte is counted in
 * the phase it belongs to and the caller acts between the two. References: RFC 9110, RFC 9112. */
#include "net/http_request.h"

#include <string.h>
#include <strings.h>

#include "base/alloc.h"

static int parser_refuse(sl_http_parser *p, int status, const char *reason) {
    if (p->bad_status == 0) {
        p->bad_status = status;
        p->bad_reason = reason;
    }
    return -1;
}

/* Appends to a buffer of the request; the limits make a full buffer impossible, so failure is
 * memory. */
static int parser_keep(sl_http_parser *p, sl_buf *b, const char *at, size_t len) {
    if (sl_buf_append(b, at, len) != SL_OK) {
        return parser_refuse(p, 503, "The server has no memory for this request; try again later.");
    }
    return 0;
}

static int on_message_begin(llhttp_t *machine) {
    sl_http_parser *p = machine->data;
    sl_http_request *r = sl_alloc_zero(1, sizeof(*r));
    if (r == NULL) {
        return parser_refuse(p, 503, "The server has no memory for this request; try again later.");
    }
    sl_buf_init(&r->target, p->limits.uri_bytes + 1);
    sl_buf_init(&r->path, p->limits.uri_bytes + 1);
    sl_buf_init(&r->head, p->limits.header_bytes + 2 * (size_t)p->limits.header_count + 2);
    sl_buf_init(&r->body, p->limits.body_bytes);
    p->request = r;
    p->n_host = p->n_length = p->n_transfer = 0;
    return 0;
}

static int on_url(llhttp_t *machine, const char *at, size_t len) {
    sl_http_parser *p = machine->data;
    if (len > p->limits.uri_bytes || p->request->target.len > p->limits.uri_bytes - len) {
        return parser_refuse(p, 414, "The request target is too long.");
    }
    return parser_keep(p, &p->request->target, at, len);
}

static int on_header_field(llhttp_t *machine, const char *at, size_t len) {
    sl_http_parser *p = machine->data;
    if (p->in_body) {
        return 0; /* trailers are counted, and dropped */
    }
    sl_buf *head = &p->request->head;
    size_t begin = head->len;
    if (head->max - head->len < len + 2) {
        return parser_refuse(p, 431, "The request headers are too large.");
    }
    if (parser_keep(p, head, at, len) != 0) {
        return -1;
    }
    for (size_t i = begin; i < head->len; i++) {
        if (head->data[i] >= 'A' && head->data[i] <= 'Z') {
            head->data[i] = (char)(head->data[i] + ('a' - 'A'));
        }
    }
    return 0;
}

static int on_header_field_complete(llhttp_t *machine) {
    sl_http_parser *p = machine->data;
    if (p->in_body) {
        return 0;
    }
    if (parser_keep(p, &p->request->head, "", 1) != 0) {
        return -1;
    }
    const char *name = p->request->head.data + p->name_begin;
    p->value_begin = p->request->head.len;
    p->n_length += strcmp(name, "content-length") == 0;
    p->n_transfer += strcmp(name, "transfer-encoding") == 0;
    /* Before llhttp sees the value: it refuses these too, but cannot say as clearly why. */
    if (p->n_length > 1) {
        return parser_refuse(p, 400, "The request has more than one Content-Length header.");
    }
    if (p->n_length > 0 && p->n_transfer > 0) {
        return parser_refuse(p, 400,
                             "The request has both Content-Length and Transfer-Encoding, so where "
                             "it ends is ambiguous: send one of them.");
    }
    return 0;
}

static int on_header_value(llhttp_t *machine, const char *at, size_t len) {
    sl_http_parser *p = machine->data;
    if (p->in_body) {
        return 0;
    }
    if (p->request->head.max - p->request->head.len < len + 2) {
        return parser_refuse(p, 431, "The request headers are too large.");
    }
    return parser_keep(p, &p->request->head, at, len);
}

/* A token list such as "keep-alive, close" has no use here: the values below must stand alone. */
static bool parser_value_is(const char *value, const char *word) {
    return strcasecmp(value, word) == 0;
}

/* Host = uri-host [ ":" port ]; the characters that RFC 3986 allows there, nothing else. */
static bool parser_host_valid(const char *host, size_t len) {
    static const char marks[] = "-._~:%[]!$&'()*+,;=";
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)host[i];
        bool alnum = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
        if (!alnum && memchr(marks, c, sizeof(marks) - 1) == NULL) {
            return false;
        }
    }
    return true;
}

/* Looks at the header that has just been completed. */
static int parser_check_header(sl_http_parser *p, const char *name, const char *value) {
    if (strcmp(name, "host") == 0) {
        p->n_host++;
        if (p->n_host > 1) {
            return parser_refuse(p, 400, "The request has more than one Host header.");
        }
        if (!parser_host_valid(value, strlen(value))) {
            return parser_refuse(p, 400, "The Host header has a character that no host name has.");
        }
    } else if (strcmp(name, "transfer-encoding") == 0) {
        if (p->n_transfer > 1 || !parser_value_is(value, "chunked")) {
            return parser_refuse(p, 400,
                                 "The only Transfer-Encoding understood is a single 'chunked'.");
        }
    } else if (strcmp(name, "expect") == 0) {
        if (!parser_value_is(value, "100-continue")) {
            return parser_refuse(p, 417, "The only expectation understood is '100-continue'.");
        }
        p->request->expect_continue = true;
    }
    return 0;
}

static int on_header_value_complete(llhttp_t *machine) {
    sl_http_parser *p = machine->data;
    p->request->n_headers++;
    if (p->request->n_headers > p->limits.header_count) {
        return parser_refuse(p, 431, "The request has too many headers.");
    }
    if (p->in_body) {
        return 0;
    }
    sl_buf *head = &p->request->head;
    while (head->len > p->value_begin &&
           (head->data[head->len - 1] == ' ' || head->data[head->len - 1] == '\t')) {
        head->len--; /* optional white space after a value is no part of it */
    }
    if (parser_keep(p, head, "", 1) != 0) {
        return -1;
    }
    const char *name = head->data + p->name_begin;
    int rc = parser_check_header(p, name, head->data + p->value_begin);
    p->name_begin = head->len;
    return rc;
}

static int parser_hex(char c) {
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    if (c >= 'a' && c <= 'f') {
        return c - 'a' + 10;
    }
    if (c >= 'A' && c <= 'F') {
        return c - 'A' + 10;
    }
    return -1;
}

/* Where path and query begin in an origin-form or absolute-form target; SIZE_MAX for any other.
 * A server must take the absolute form (RFC 9112, 3.2.2); its authority replaces the Host header,
 * must name a host and must not name a user (RFC 9110, 4.2). No route here depends on the host. */
static size_t parser_path_begin(const sl_buf *target) {
    if (target->len > 0 && target->data[0] == '/') {
        return 0;
    }
    size_t begin = 0;
    if (target->len > 7 && strncasecmp(target->data, "http://", 7) == 0) {
        begin = 7;
    } else if (target->len > 8 && strncasecmp(target->data, "https://", 8) == 0) {
        begin = 8;
    } else {
        return SIZE_MAX;
    }
    size_t end = begin;
    while (end < target->len && memchr("/?#", target->data[end], 3) == NULL) {
        end++;
    }
    const char *host = target->data + begin;
    bool valid = end > begin && host[0] != ':' && parser_host_valid(host, end - begin);
    return valid ? end : SIZE_MAX;
}

/* Splits the target into path and query, and decodes the path. */
static int parser_target(sl_http_parser *p) {
    sl_http_request *r = p->request;
    r->query_begin = r->target.len;
    if (r->method == SL_HTTP_OPTIONS && r->target.len == 1 && r->target.data[0] == '*') {
        return parser_keep(p, &r->path, "/", 1);
    }
    size_t i = parser_path_begin(&r->target);
    if (i == SIZE_MAX) {
        return parser_refuse(p, 400, "The request target is neither a path nor an http URL.");
    }
    if (memchr(r->target.data, '#', r->target.len) != NULL) {
        return parser_refuse(p, 400, "The request target has a fragment (#).");
    }
    if ((i == r->target.len || r->target.data[i] == '?') && parser_keep(p, &r->path, "/", 1) != 0) {
        return -1; /* the empty path of an absolute form stands for "/" */
    }
    for (; i < r->target.len; i++) {
        char c = r->target.data[i];
        if (c == '?') {
            r->query_begin = i + 1;
            break;
        }
        if (c == '%') {
            int high = i + 2 < r->target.len ? parser_hex(r->target.data[i + 1]) : -1;
            int low = i + 2 < r->target.len ? parser_hex(r->target.data[i + 2]) : -1;
            if (high < 0 || low < 0 || (high == 0 && low == 0)) {
                return parser_refuse(p, 400, "The request target has a broken percent escape.");
            }
            c = (char)(high * 16 + low);
            i += 2;
        }
        if (parser_keep(p, &r->path, &c, 1) != 0) {
            return -1;
        }
    }
    return 0;
}

static sl_http_method parser_method(uint8_t method) {
    switch (method) {
    case HTTP_GET:
        return SL_HTTP_GET;
    case HTTP_HEAD:
        return SL_HTTP_HEAD;
    case HTTP_POST:
        return SL_HTTP_POST;
    case HTTP_PUT:
        return SL_HTTP_PUT;
    case HTTP_DELETE:
        return SL_HTTP_DELETE;
    case HTTP_OPTIONS:
        return SL_HTTP_OPTIONS;
    default:
        return SL_HTTP_OTHER;
    }
}

static int on_headers_complete(llhttp_t *machine) {
    sl_http_parser *p = machine->data;
    sl_http_request *r = p->request;
    r->method = parser_method(machine->method);
    r->minor = machine->http_minor;
    if (machine->http_major != 1 || machine->http_minor > 1) {
        return parser_refuse(p, 505, "Only HTTP/1.1 and HTTP/1.0 are understood.");
    }
    if (r->minor == 1 && p->n_host == 0) {
        return parser_refuse(p, 400, "The request has no Host header.");
    }
    if (p->n_transfer > 0 && r->minor == 0) {
        return parser_refuse(p, 400, "HTTP/1.0 has no Transfer-Encoding.");
    }
    if (parser_target(p) != 0) {
        return -1;
    }
    bool chunked = (machine->flags & F_CHUNKED) != 0;
    r->has_body = chunked || (p->n_length > 0 && machine->content_length > 0);
    if (!chunked && p->n_length > 0 && machine->content_length > p->limits.body_bytes) {
        return parser_refuse(p, 413, "The request body is too large.");
    }
    r->keep_alive = llhttp_should_keep_alive(machine) != 0;
    r->expect_continue = r->expect_continue && r->minor == 1 && r->has_body;
    machine->upgrade =
        0; /* no other protocol is spoken here: the header is ignored, as RFC 9110 allows */
    p->in_body = true;
    return HPE_PAUSED;
}

static int on_body(llhttp_t *machine, const char *at, size_t len) {
    sl_http_parser *p = machine->data;
    if (len > p->limits.body_bytes - p->request->body.len) {
        return parser_refuse(p, 413, "The request body is too large.");
    }
    /* Bytes of the body are not header bytes: feed counts all, this takes them out again. */
    p->head_bytes = p->head_bytes > len ? p->head_bytes - len : 0;
    return parser_keep(p, &p->request->body, at, len);
}

/* Each chunk costs a line and two line ends that are framing, not headers: a client may send small
 * chunks. What counts against the header limit is whatever else stands there. */
static int on_chunk_header(llhttp_t *machine) {
    sl_http_parser *p = machine->data;
    const size_t framing =
        6; /* one digit, and the line ends of size and data, and spare for digits */
    p->head_bytes = p->head_bytes > framing ? p->head_bytes - framing : 0;
    if (machine->content_length > p->limits.body_bytes - p->request->body.len) {
        return parser_refuse(p, 413, "The request body is too large.");
    }
    return 0;
}

static int on_message_complete(llhttp_t *machine) {
    sl_http_parser *p = machine->data;
    p->complete = true;
    return HPE_PAUSED;
}

static const llhttp_settings_t parser_settings = {
    .on_message_begin = on_message_begin,
    .on_url = on_url,
    .on_header_field = on_header_field,
    .on_header_field_complete = on_header_field_complete,
    .on_header_value = on_header_value,
    .on_header_value_complete = on_header_value_complete,
    .on_headers_complete = on_headers_complete,
    .on_body = on_body,
    .on_chunk_header = on_chunk_header,
    .on_message_complete = on_message_complete,
};

void sl_http_parser_init(sl_http_parser *p, const sl_http_limits *limits) {
    memset(p, 0, sizeof(*p));
    p->limits = *limits;
    llhttp_init(&p->machine, HTTP_REQUEST, &parser_settings);
    p->machine.data = p;
}

void sl_http_parser_deinit(sl_http_parser *p) {
    sl_http_request_free(p->request);
    p->request = NULL;
}

/* llhttp takes any number of spaces between the parts of a request line, where the grammar has one:
 * whoever stands in front of this server might read such a line differently. Returns how many bytes
 * come before the second of two in a row. Looks at each byte up to the end of the line; empty lines
 * before it are skipped. */
static size_t parser_line_fits(sl_http_parser *p, const char *data, size_t len) {
    for (size_t i = 0; i < len && !p->line_over; i++) {
        char c = data[i];
        bool is_end = c == '\r' || c == '\n';
        if (c == ' ' && p->line_last == ' ') {
            return i;
        }
        p->line_over = is_end && p->line_last != '\0';
        p->line_last = is_end ? '\0' : c;
    }
    return len;
}

/* The status for what llhttp itself refused. */
static void parser_refuse_syntax(sl_http_parser *p, llhttp_errno_t code) {
    bool version_fits = p->machine.http_major == 1 && p->machine.http_minor <= 1;
    if (code == HPE_INVALID_VERSION && version_fits) {
        code = HPE_STRICT; /* what follows the version is wrong, not the version */
    }
    switch (code) {
    case HPE_INVALID_VERSION:
    case HPE_PAUSED_H2_UPGRADE:
        (void)parser_refuse(p, 505, "Only HTTP/1.1 and HTTP/1.0 are understood.");
        break;
    case HPE_INVALID_METHOD:
        (void)parser_refuse(p, 400, "The request does not begin with a known HTTP method.");
        break;
    case HPE_INVALID_URL:
        (void)parser_refuse(p, 400, "The request target is not a valid URL.");
        break;
    case HPE_INVALID_CONTENT_LENGTH:
    case HPE_UNEXPECTED_CONTENT_LENGTH:
        (void)parser_refuse(p, 400, "The Content-Length header is not one plain number.");
        break;
    case HPE_INVALID_TRANSFER_ENCODING:
        (void)parser_refuse(p, 400, "The only Transfer-Encoding understood is a single 'chunked'.");
        break;
    case HPE_INVALID_CHUNK_SIZE:
        if (p->machine.content_length > p->limits.body_bytes) { /* the digits so far */
            (void)parser_refuse(p, 413, "The request body is too large.");
        }
        (void)parser_refuse(p, 400, "The chunked body is broken."); /* the first reason stays */
        break;
    default:
        (void)parser_refuse(p, 400, "The request is not valid HTTP/1.1.");
        break;
    }
}

static sl_http_event parser_bad(sl_http_parser *p) {
    p->failed = true;
    return SL_HTTP_BAD;
}

sl_http_event sl_http_parser_feed(sl_http_parser *p, const char *data, size_t len,
                                  size_t *used_out) {
    *used_out = 0;
    if (p->failed || p->complete) {
        return p->failed ? SL_HTTP_BAD : SL_HTTP_MESSAGE;
    }
    while (*used_out < len || p->paused) {
        if (p->paused) {
            llhttp_resume(&p->machine);
            p->paused = false;
        }
        const char *from = data + *used_out;
        /* What llhttp refuses before a second space is refused for its own reason. */
        size_t left = parser_line_fits(p, from, len - *used_out);
        bool two_spaces = left < len - *used_out;
        p->started = p->started || left > 0;
        p->head_bytes += left; /* too many: what is not header is taken out below and in on_body */
        bool was_in_body = p->in_body;
        llhttp_errno_t code = llhttp_execute(&p->machine, from, left);
        size_t used = left;
        if (code == HPE_PAUSED) {
            used = (size_t)(llhttp_get_error_pos(&p->machine) - from);
            p->head_bytes -= p->head_bytes > left - used ? left - used : p->head_bytes;
            p->paused = true;
        } else if (code != HPE_OK) {
            parser_refuse_syntax(p, code);
            return parser_bad(p);
        }
        *used_out += used;
        if (two_spaces) {
            (void)parser_refuse(p, 400, "The parts of a request line are separated by one space.");
            return parser_bad(p);
        }
        if (p->head_bytes > p->limits.header_bytes) {
            (void)parser_refuse(p, 431, "The request headers are too large.");
            return parser_bad(p);
        }
        if (p->complete) {
            return SL_HTTP_MESSAGE;
        }
        if (!was_in_body && p->in_body && p->request->has_body) {
            return SL_HTTP_HEADERS;
        }
    }
    return SL_HTTP_MORE;
}

sl_http_request *sl_http_parser_take(sl_http_parser *p) {
    sl_http_request *r = p->request;
    p->request = NULL;
    p->complete = p->in_body = p->started = p->line_over = false;
    p->line_last = '\0';
    p->head_bytes = p->name_begin = p->value_begin = 0;
    return r;
}

bool sl_http_parser_busy(const sl_http_parser *p) {
    return p->started;
}
