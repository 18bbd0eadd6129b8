/* Requests as data: life cycle, header look-up, names. The parser is in http_parser.c. */
#include "net/http_request.h"

#include <string.h>

#include "base/alloc.h"

sl_http_limits sl_http_limits_default(void) {
    return (sl_http_limits){.header_bytes = 32u << 10,
                            .uri_bytes = 8u << 10,
                            .header_count = 100,
                            .body_bytes = 8u << 20};
}

void sl_http_request_free(sl_http_request *r) {
    if (r == NULL) {
        return;
    }
    sl_buf_deinit(&r->target);
    sl_buf_deinit(&r->path);
    sl_buf_deinit(&r->head);
    sl_buf_deinit(&r->body);
    sl_free(r);
}

sl_slice sl_http_request_header(const sl_http_request *r, const char *name) {
    size_t name_len = strlen(name);
    size_t pos = 0;
    while (pos < r->head.len) {
        const char *text = r->head.data + pos;
        size_t text_len = strlen(text); /* every name and value is terminated */
        const char *value = text + text_len + 1;
        size_t value_len = strlen(value);
        if (text_len == name_len && memcmp(text, name, name_len) == 0) {
            return (sl_slice){value, value_len};
        }
        pos += text_len + 1 + value_len + 1;
    }
    return (sl_slice){NULL, 0};
}

sl_slice sl_http_request_path(const sl_http_request *r) {
    return (sl_slice){r->path.data, r->path.len};
}

const char *sl_http_method_name(sl_http_method m) {
    switch (m) {
    case SL_HTTP_GET:
        return "GET";
    case SL_HTTP_HEAD:
        return "HEAD";
    case SL_HTTP_POST:
        return "POST";
    case SL_HTTP_PUT:
        return "PUT";
    case SL_HTTP_DELETE:
        return "DELETE";
    case SL_HTTP_OPTIONS:
        return "OPTIONS";
    case SL_HTTP_OTHER:
        return "OTHER";
    }
    return "OTHER";
}

const char *sl_http_status_text(int status) {
    switch (status) {
    case 200:
        return "OK";
    case 204:
        return "No Content";
    case 400:
        return "Bad Request";
    case 401:
        return "Unauthorized";
    case 403:
        return "Forbidden";
    case 404:
        return "Not Found";
    case 405:
        return "Method Not Allowed";
    case 408:
        return "Request Timeout";
    case 413:
        return "Content Too Large";
    case 414:
        return "URI Too Long";
    case 415:
        return "Unsupported Media Type";
    case 417:
        return "Expectation Failed";
    case 429:
        return "Too Many Requests";
    case 431:
        return "Request Header Fields Too Large";
    case 499:
        return "Client Closed Request"; /* in logs only */
    case 500:
        return "Internal Server Error";
    case 501:
        return "Not Implemented";
    case 503:
        return "Service Unavailable";
    case 504:
        return "Gateway Timeout";
    case 505:
        return "HTTP Version Not Supported";
    default:
        return "Unknown";
    }
}
