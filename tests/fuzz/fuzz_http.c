/* Fuzz target: the HTTP/1.1 parser. The first byte chooses how the rest is cut into pieces;
 * whatever the cut, the parser must find the same requests and give the same refusal. */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "net/http_request.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What was found, as a sum over all requests, and the refusal. */
typedef struct summary {
    uint64_t sum;
    int n, status;
} summary;

static uint64_t mix(uint64_t sum, const char *data, size_t len) {
    for (size_t i = 0; i < len; i++) {
        sum = (sum ^ (uint8_t)data[i]) * 1099511628211u;
    }
    return (sum ^ len) * 1099511628211u;
}

static summary parse(const char *data, size_t size, size_t piece) {
    summary s = {0};
    sl_http_limits limits = {
        .header_bytes = 4096, .uri_bytes = 512, .header_count = 20, .body_bytes = 8192};
    sl_http_parser p;
    sl_http_parser_init(&p, &limits);
    size_t pos = 0;
    while (pos < size && s.status == 0) {
        size_t n = size - pos < piece ? size - pos : piece;
        size_t used = 0;
        sl_http_event event = sl_http_parser_feed(&p, data + pos, n, &used);
        pos += used;
        if (event == SL_HTTP_BAD) {
            s.status = p.bad_status;
        } else if (event == SL_HTTP_MESSAGE) {
            sl_http_request *r = sl_http_parser_take(&p);
            s.sum = mix(s.sum, r->path.data, r->path.len);
            s.sum = mix(s.sum, r->head.data, r->head.len);
            s.sum = mix(s.sum, r->body.data, r->body.len);
            if (sl_http_request_header(r, "host").ptr == NULL && r->minor == 1) {
                __builtin_trap();
            }
            s.n++;
            sl_http_request_free(r);
        }
    }
    sl_http_parser_deinit(&p);
    return s;
}

static bool is_limit(int status) {
    return status == 413 || status == 414 || status == 431;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 1 || size > 65536) {
        return 0;
    }
    const char *text = (const char *)data + 1;
    summary whole = parse(text, size - 1, size);
    summary cut = parse(text, size - 1, 1 + data[0] % 61);
    /* A limit may be noticed a piece earlier or later, so what stands behind it is not compared. */
    bool limited = is_limit(whole.status) || is_limit(cut.status);
    if (!limited && (whole.n != cut.n || whole.sum != cut.sum || whole.status != cut.status)) {
        __builtin_trap();
    }
    return 0;
}
