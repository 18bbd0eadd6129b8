/* The HTTP/1.1 parser: what it accepts, what it refuses and with which status, and that neither
 * depends on how the bytes are cut. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "net/http_request.h"

/* Result of feeding `text` in pieces of `piece` bytes: the requests' count and the refusal, if any.
 */
typedef struct outcome {
    int n_messages, status;
    char last_path[256];
    char last_body[256];
    size_t last_body_len;
} outcome;

static void take(sl_http_parser *p, outcome *o) {
    sl_http_request *r = sl_http_parser_take(p);
    o->n_messages++;
    (void)snprintf(o->last_path, sizeof(o->last_path), "%.*s", (int)r->path.len, r->path.data);
    o->last_body_len = r->body.len;
    (void)snprintf(o->last_body, sizeof(o->last_body), "%.*s", (int)r->body.len,
                   r->body.len > 0 ? r->body.data : "");
    sl_http_request_free(r);
}

static outcome feed(const char *text, size_t len, size_t piece, const sl_http_limits *limits) {
    outcome o = {0};
    sl_http_parser p;
    sl_http_parser_init(&p, limits);
    for (size_t pos = 0; pos < len && o.status == 0;) {
        size_t n = len - pos < piece ? len - pos : piece;
        size_t used = 0;
        sl_http_event event = sl_http_parser_feed(&p, text + pos, n, &used);
        assert_true(used <= n);
        pos += used;
        if (event == SL_HTTP_MESSAGE) {
            take(&p, &o);
        } else if (event == SL_HTTP_BAD) {
            o.status = p.bad_status;
            assert_non_null(p.bad_reason);
            size_t again = 9;
            assert_int_equal(sl_http_parser_feed(&p, "GET", 3, &again), SL_HTTP_BAD);
            assert_int_equal(again, 0);
        } else if (event == SL_HTTP_MORE) {
            assert_int_equal(used, n);
        }
    }
    sl_http_parser_deinit(&p);
    return o;
}

static outcome feed_all_ways(const char *text, size_t len) {
    sl_http_limits limits = sl_http_limits_default();
    outcome whole = feed(text, len, len, &limits);
    static const size_t pieces[] = {1, 2, 3, 7, 64};
    for (size_t i = 0; i < sizeof(pieces) / sizeof(pieces[0]); i++) {
        outcome cut = feed(text, len, pieces[i], &limits);
        assert_int_equal(cut.n_messages, whole.n_messages);
        assert_int_equal(cut.status, whole.status);
        assert_string_equal(cut.last_path, whole.last_path);
        assert_string_equal(cut.last_body, whole.last_body);
    }
    return whole;
}

typedef struct framing_case {
    const char *text;
    int n_messages, status;
    const char *path, *body; /* of the last message; NULL: not looked at */
} framing_case;

#define HOST "Host: a\r\n"

static const framing_case cases[] = {
    {"GET / HTTP/1.1\r\n" HOST "\r\n", 1, 0, "/", ""},
    {"\r\n\r\nGET / HTTP/1.1\r\n" HOST "\r\n", 1, 0, "/", ""},
    {"GET /a%20b/c?x=%20 HTTP/1.1\r\n" HOST "\r\n", 1, 0, "/a b/c", ""},
    {"GET http://a/b HTTP/1.1\r\n" HOST "\r\n", 1, 0, "/b", ""},
    {"OPTIONS * HTTP/1.1\r\n" HOST "\r\n", 1, 0, "/", ""},
    {"GET / HTTP/1.0\r\n\r\n", 1, 0, "/", ""},
    {"POST /p HTTP/1.1\r\n" HOST "Content-Length: 3\r\n\r\nabc", 1, 0, "/p", "abc"},
    {"POST /p HTTP/1.1\r\n" HOST "Content-Length: 0\r\n\r\n", 1, 0, "/p", ""},
    {"POST /p HTTP/1.1\r\n" HOST
     "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n1\r\nd\r\n0\r\n\r\n",
     1, 0, "/p", "abcd"},
    {"POST /p HTTP/1.1\r\n" HOST "Transfer-Encoding:  Chunked \r\n\r\n0\r\n\r\n", 1, 0, "/p", ""},
    {"POST /p HTTP/1.1\r\n" HOST
     "Transfer-Encoding: chunked\r\n\r\n2;x=y\r\nab\r\n0\r\nT: v\r\n\r\n",
     1, 0, "/p", "ab"},
    {"GET /1 HTTP/1.1\r\n" HOST "\r\nGET /2 HTTP/1.1\r\n" HOST "\r\nGET /3 HTTP/1.1\r\n" HOST
     "\r\n",
     3, 0, "/3", ""},
    {"POST /1 HTTP/1.1\r\n" HOST "Content-Length: 2\r\n\r\nabGET /2 HTTP/1.1\r\n" HOST "\r\n", 2, 0,
     "/2", ""},
    {"GET / HTTP/1.1\r\n" HOST "Upgrade: h2c\r\nConnection: Upgrade\r\n\r\nGET /2 HTTP/1.1\r\n" HOST
     "\r\n",
     2, 0, "/2", ""},
    /* ambiguous framing */
    {"POST / HTTP/1.1\r\n" HOST "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
     0, 400, NULL, NULL},
    {"POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n",
     0, 400, NULL, NULL},
    {"POST / HTTP/1.1\r\n" HOST "Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc", 0, 400, NULL,
     NULL},
    {"POST / HTTP/1.1\r\n" HOST "Content-Length: 3\r\nContent-Length: 4\r\n\r\nabc", 0, 400, NULL,
     NULL},
    {"POST / HTTP/1.1\r\n" HOST "Content-Length: 3, 3\r\n\r\nabc", 0, 400, NULL, NULL},
    {"POST / HTTP/1.1\r\n" HOST "Content-Length: +3\r\n\r\nabc", 0, 400, NULL, NULL},
    {"POST / HTTP/1.1\r\n" HOST "Content-Length: -1\r\n\r\n", 0, 400, NULL, NULL},
    {"POST / HTTP/1.1\r\n" HOST "Content-Length: 0x3\r\n\r\nabc", 0, 400, NULL, NULL},
    {"POST / HTTP/1.1\r\n" HOST "Content-Length: 99999999999999999999\r\n\r\n", 0, 400, NULL, NULL},
    {"POST / HTTP/1.1\r\n" HOST "Content-Length: 1099511627776\r\n\r\n", 0, 413, NULL, NULL},
    {"POST / HTTP/1.1\r\n" HOST "Content-Length:\r\n\r\n", 0, 400, NULL, NULL},
    {"POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 0, 400, NULL,
     NULL},
    {"POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: gzip\r\n\r\n", 0, 400, NULL, NULL},
    {"POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 0, 400, NULL, NULL},
    {"POST / HTTP/1.1\r\n" HOST
     "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
     0, 400, NULL, NULL},
    {"POST / HTTP/1.1\r\n" HOST "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n", 0, 400, NULL, NULL},
    {"POST / HTTP/1.0\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 0, 400, NULL, NULL},
    {"POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\nzz\r\nabc\r\n0\r\n\r\n", 0, 400,
     NULL, NULL},
    {"POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n-1\r\nabc\r\n0\r\n\r\n", 0, 400,
     NULL, NULL},
    {"POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\nffffffffffffffff0", 0, 413, NULL,
     NULL},
    {"POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n", 0, 413,
     NULL, NULL},
    {"POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n800001\r\n", 0, 413, NULL, NULL},
    {"POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n800000\r\n", 0, 413,
     NULL, NULL},
    {"POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n800000\r\n", 0, 0, NULL, NULL},
    {"POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\nfg", 0, 400, NULL, NULL},
    {"POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n2\r\nabc\r\n0\r\n\r\n", 0, 400,
     NULL, NULL},
    {"POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n2\nab\n0\n\n", 0, 400, NULL,
     NULL},
    {"POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n2 \r\nab\r\n0\r\n\r\n", 0, 400,
     NULL, NULL},
    /* lines */
    {"GET / HTTP/1.1\n" HOST "\r\n", 0, 400, NULL, NULL},
    {"GET / HTTP/1.1\r\nHost: a\n\r\n", 0, 400, NULL, NULL},
    {"GET / HTTP/1.1\r\n" HOST "\n", 0, 400, NULL, NULL},
    {"GET / HTTP/1.1\r\nHost: a\rX: b\r\n\r\n", 0, 400, NULL, NULL},
    {"GET / HTTP/1.1\r\nHost : a\r\n\r\n", 0, 400, NULL, NULL},
    {"GET / HTTP/1.1\r\n" HOST "X: a\r\n b\r\n\r\n", 0, 400, NULL, NULL},
    {"GET / HTTP/1.1\r\n Host: a\r\n\r\n", 0, 400, NULL, NULL},
    {"GET / HTTP/1.1\r\n" HOST "X\r\n\r\n", 0, 400, NULL, NULL},
    {"GET / HTTP/1.1\r\n" HOST ": v\r\n\r\n", 0, 400, NULL, NULL},
    {"GET / HTTP/1.1\r\n" HOST "X(: v\r\n\r\n", 0, 400, NULL, NULL},
    {"GET / HTTP/1.1\r\n" HOST "X: a\x01z\r\n\r\n", 0, 400, NULL, NULL},
    /* Host */
    {"GET / HTTP/1.1\r\n\r\n", 0, 400, NULL, NULL},
    {"GET / HTTP/1.1\r\n" HOST HOST "\r\n", 0, 400, NULL, NULL},
    {"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 0, 400, NULL, NULL},
    {"GET / HTTP/1.1\r\nHost: a/b@c\r\n\r\n", 0, 400, NULL, NULL},
    {"GET / HTTP/1.1\r\nHost: [::1]:8080\r\n\r\n", 1, 0, "/", NULL},
    /* request line */
    {"FOO / HTTP/1.1\r\n" HOST "\r\n", 0, 400, NULL, NULL},
    {"get / HTTP/1.1\r\n" HOST "\r\n", 0, 400, NULL, NULL},
    {"GET  / HTTP/1.1\r\n" HOST "\r\n", 0, 400, NULL, NULL}, /* one space: RFC 9112, 3 */
    {"GET /  HTTP/1.1\r\n" HOST "\r\n", 0, 400, NULL, NULL},
    {"GET / HTTP/1.1  \r\n" HOST "\r\n", 0, 400, NULL, NULL},
    {"GET\t/ HTTP/1.1\r\n" HOST "\r\n", 0, 400, NULL, NULL},
    {"GET / HTTP/1.1\r\n" HOST "X:  two  spaces\r\n\r\nGET  /2 HTTP/1.1\r\n" HOST "\r\n", 1, 400,
     "/", NULL},
    {"POST / HTTP/1.1\r\n" HOST "Content-Length: 3\r\n\r\na  GET /2 HTTP/1.1\r\n" HOST "\r\n", 2, 0,
     "/2", NULL},
    {"GET /#part HTTP/1.1\r\n" HOST "\r\n", 0, 400, NULL, NULL},
    /* absolute form: RFC 9112, 3.2.2 */
    {"GET http://a HTTP/1.1\r\n" HOST "\r\n", 1, 0, "/", NULL},
    {"GET http://a?x=/b HTTP/1.1\r\n" HOST "\r\n", 1, 0, "/", NULL},
    {"GET HTTPS://a.b:8080/c?d HTTP/1.1\r\n" HOST "\r\n", 1, 0, "/c", NULL},
    {"GET http://[::1]:80/c HTTP/1.1\r\n" HOST "\r\n", 1, 0, "/c", NULL},
    {"OPTIONS http://a HTTP/1.1\r\n" HOST "\r\n", 1, 0, "/", NULL},
    {"GET http:///b HTTP/1.1\r\n" HOST "\r\n", 0, 400, NULL, NULL},
    {"GET http://:80/b HTTP/1.1\r\n" HOST "\r\n", 0, 400, NULL, NULL},
    {"GET http:// HTTP/1.1\r\n" HOST "\r\n", 0, 400, NULL, NULL},
    {"GET http://u@a/b HTTP/1.1\r\n" HOST "\r\n", 0, 400, NULL, NULL},
    {"GET http://u:p@a/b HTTP/1.1\r\n" HOST "\r\n", 0, 400, NULL, NULL},
    {"GET ftp://a/b HTTP/1.1\r\n" HOST "\r\n", 0, 400, NULL, NULL},
    {"GET http:/b HTTP/1.1\r\n" HOST "\r\n", 0, 400, NULL, NULL},
    {"GET http://a/b HTTP/1.1\r\n\r\n", 0, 400, NULL, NULL},
    {"GET nothing HTTP/1.1\r\n" HOST "\r\n", 0, 400, NULL, NULL},
    {"GET /%zz HTTP/1.1\r\n" HOST "\r\n", 0, 400, NULL, NULL},
    {"GET /%00 HTTP/1.1\r\n" HOST "\r\n", 0, 400, NULL, NULL},
    {"GET /%4 HTTP/1.1\r\n" HOST "\r\n", 0, 400, NULL, NULL},
    {"GET / HTTP/2.0\r\n" HOST "\r\n", 0, 505, NULL, NULL},
    {"GET / HTTP/3.7\r\n" HOST "\r\n", 0, 505, NULL, NULL},
    {"GET / HTTX/1.1\r\n" HOST "\r\n", 0, 400, NULL, NULL},
    {"CONNECT a:1 HTTP/1.1\r\n" HOST "\r\n", 0, 400, NULL, NULL},
    {"\x16\x03\x01\x02\x00\x01\x00", 0, 400, NULL, NULL},
    {"GET / HTTP/1.1\r\n" HOST "Expect: 200-ok\r\n\r\n", 0, 417, NULL, NULL},
};

static void test_framing(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const framing_case *c = &cases[i];
        outcome o = feed_all_ways(c->text, strlen(c->text));
        if (o.n_messages != c->n_messages || o.status != c->status) {
            fail_msg("case %zu gave %d messages and %d: %s", i, o.n_messages, o.status, c->text);
        }
        if (c->path != NULL) {
            assert_string_equal(o.last_path, c->path);
        }
        if (c->body != NULL) {
            assert_string_equal(o.last_body, c->body);
        }
    }
}

static void test_reasons_are_clear(void **state) {
    (void)state;
    static const struct {
        const char *headers, *word;
    } reasons[] = {
        {"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n", "both"},
        {"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n", "both"},
        {"Content-Length: 3\r\nContent-Length: 3\r\n", "more than one Content-Length"},
        {"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", "single 'chunked'"},
        {"Content-Length: x\r\n", "one plain number"},
    };
    sl_http_limits limits = sl_http_limits_default();
    for (size_t i = 0; i < sizeof(reasons) / sizeof(reasons[0]); i++) {
        char text[256];
        int len = snprintf(text, sizeof(text), "POST / HTTP/1.1\r\n" HOST "%s\r\n",
                           reasons[i].headers);
        sl_http_parser p;
        sl_http_parser_init(&p, &limits);
        size_t used = 0;
        assert_int_equal(sl_http_parser_feed(&p, text, (size_t)len, &used), SL_HTTP_BAD);
        assert_int_equal(p.bad_status, 400);
        if (strstr(p.bad_reason, reasons[i].word) == NULL) {
            fail_msg("case %zu: %s", i, p.bad_reason);
        }
        sl_http_parser_deinit(&p);
    }
}

static void test_nul_in_header_is_refused(void **state) {
    (void)state;
    static const char text[] = "GET / HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n";
    assert_int_equal(feed_all_ways(text, sizeof(text) - 1).status, 400);
}

/* A head of the given size whose last line is not yet complete. */
static char *big_head(const char *start, size_t fill) {
    size_t len = strlen(start);
    char *text = sl_alloc(len + fill + 1);
    assert_non_null(text);
    memcpy(text, start, len);
    memset(text + len, 'x', fill);
    text[len + fill] = '\0';
    return text;
}

static void test_limits(void **state) {
    (void)state;
    sl_http_limits limits = sl_http_limits_default();
    char *text = big_head("GET / HTTP/1.1\r\nHost: a\r\nX: ", 40000);
    assert_int_equal(feed(text, strlen(text), 1000, &limits).status, 431);
    sl_free(text);
    /* White space before a value reaches no callback of llhttp: it must count all the same. */
    text = big_head("GET / HTTP/1.1\r\nHost: a\r\nX: ", 40000);
    memset(text + strlen("GET / HTTP/1.1\r\nHost: a\r\nX: "), ' ', 40000);
    assert_int_equal(feed(text, strlen(text), 1000, &limits).status, 431);
    assert_int_equal(feed(text, 30000, 1000, &limits).status, 0);
    sl_free(text);
    text = big_head("GET /", 9000);
    assert_int_equal(feed(text, strlen(text), 1, &limits).status, 414);
    sl_free(text);
    text = big_head("", 40000);
    memset(text, '\n', 40000);
    assert_true(feed(text, 40000, 500, &limits).status != 0);
    sl_free(text);
}

static void test_too_many_headers(void **state) {
    (void)state;
    sl_http_limits limits = sl_http_limits_default();
    for (int n = 99; n <= 100; n++) {
        sl_buf b;
        sl_buf_init(&b, 1 << 16);
        (void)sl_buf_append_str(&b, "GET / HTTP/1.1\r\nHost: a\r\n");
        for (int i = 0; i < n; i++) {
            (void)sl_buf_printf(&b, "X-%d: y\r\n", i);
        }
        assert_int_equal(sl_buf_append_str(&b, "\r\n"), SL_OK);
        assert_int_equal(feed(b.data, b.len, b.len, &limits).status, n == 99 ? 0 : 431);
        sl_buf_deinit(&b);
    }
}

static void test_chunks_and_body_limit(void **state) {
    (void)state;
    sl_http_limits limits = sl_http_limits_default();
    limits.body_bytes = 20000;
    for (size_t n = 20000; n <= 20001; n++) {
        sl_buf b;
        sl_buf_init(&b, 1 << 20);
        (void)sl_buf_append_str(&b,
                                "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
        for (size_t i = 0; i < n; i++) {
            (void)sl_buf_append_str(&b,
                                    "1\r\nz\r\n"); /* framing is no header, however much of it */
        }
        assert_int_equal(sl_buf_append_str(&b, "0\r\n\r\n"), SL_OK);
        outcome o = feed(b.data, b.len, 4096, &limits);
        assert_int_equal(o.status, n == 20000 ? 0 : 413);
        assert_int_equal(o.n_messages, n == 20000 ? 1 : 0);
        sl_buf_deinit(&b);
    }
    /* Extensions and trailers are headers. */
    char *text = big_head("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1;",
                          40000);
    assert_int_equal(feed(text, strlen(text), 512, &limits).status, 431);
    sl_free(text);
    text = big_head("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nT: ",
                    40000);
    assert_int_equal(feed(text, strlen(text), 512, &limits).status, 431);
    sl_free(text);
}

static void test_large_body_is_no_header(void **state) {
    (void)state;
    sl_http_limits limits = sl_http_limits_default();
    const size_t n = 1 << 20;
    char head[128];
    (void)snprintf(head, sizeof(head), "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %zu\r\n\r\n",
                   n);
    char *text = big_head(head, n);
    outcome o = feed(text, strlen(text), 65536, &limits);
    assert_int_equal(o.status, 0);
    assert_int_equal(o.n_messages, 1);
    assert_int_equal(o.last_body_len, n);
    sl_free(text);
}

static void test_headers_are_found(void **state) {
    (void)state;
    static const char text[] =
        "POST / HTTP/1.1\r\nHOST: Name\r\nEmpty:\r\nContent-Type:  a/b \r\nX: 1\r\nx: 2\r\n"
        "Content-Length: 1\r\nExpect: 100-Continue\r\nConnection: close\r\n\r\nq";
    sl_http_limits limits = sl_http_limits_default();
    sl_http_parser p;
    sl_http_parser_init(&p, &limits);
    size_t used = 0;
    assert_int_equal(sl_http_parser_feed(&p, text, sizeof(text) - 1, &used), SL_HTTP_HEADERS);
    assert_int_equal(used, sizeof(text) - 2);
    assert_true(sl_http_parser_busy(&p));
    assert_true(p.request->expect_continue && p.request->has_body && !p.request->keep_alive);
    assert_true(sl_slice_eq_str(sl_http_request_header(p.request, "host"), "Name"));
    assert_true(sl_slice_eq_str(sl_http_request_header(p.request, "content-type"), "a/b"));
    assert_true(sl_slice_eq_str(sl_http_request_header(p.request, "empty"), ""));
    assert_non_null(sl_http_request_header(p.request, "empty").ptr);
    assert_true(sl_slice_eq_str(sl_http_request_header(p.request, "x"), "1"));
    assert_null(sl_http_request_header(p.request, "a/b").ptr);
    assert_int_equal(sl_http_parser_feed(&p, text + used, 1, &used), SL_HTTP_MESSAGE);
    sl_http_request_free(sl_http_parser_take(&p));
    assert_false(sl_http_parser_busy(&p));
    sl_http_parser_deinit(&p);
}

static void test_no_memory_is_a_refusal(void **state) {
    (void)state;
    static const char text[] = "POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc";
    sl_http_limits limits = sl_http_limits_default();
    for (uint64_t n = 1; n < 20; n++) {
        sl_alloc_fail_nth(n, true);
        outcome o = feed(text, sizeof(text) - 1, 5, &limits);
        sl_alloc_fail_nth(0, false);
        if (o.status == 0) {
            assert_int_equal(o.n_messages, 1);
            assert_true(n > 3);
            return;
        }
        assert_int_equal(o.status, 503);
    }
    fail_msg("the request never succeeded");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_framing),
        cmocka_unit_test(test_reasons_are_clear),
        cmocka_unit_test(test_nul_in_header_is_refused),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_too_many_headers),
        cmocka_unit_test(test_chunks_and_body_limit),
        cmocka_unit_test(test_large_body_is_no_header),
        cmocka_unit_test(test_headers_are_found),
        cmocka_unit_test(test_no_memory_is_a_refusal),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
