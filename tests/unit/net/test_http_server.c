/* The HTTP server over real loopback sockets: the server's loop in a thread of its own, blocking
 * clients here. Nothing depends on timing; waits are for events, with a generous limit. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "base/buf.h"
#include "net/http_server.h"

/* --- a small application --------------------------------------------------------------------- */

#define HELD_MAX 64

typedef struct app {
    uv_loop_t loop;
    uv_async_t command;
    sl_http_server *server;
    pthread_t thread;
    uint16_t port;
    sl_http_exchange *held[HELD_MAX]; /* by /hold, answered by the command 'a' */
    int n_held;
    sl_http_exchange *stream; /* by /stream, fed by the command 's' */
    atomic_int command_code, n_gone, gone_why, n_requests, n_early, n_records, last_status,
        n_held_now, n_headers, n_busy;
    bool running;
} app;

/* Of the test that runs; not on its stack: after a failed assertion the server's thread still uses
 * it, until the teardown has stopped it. */
static app g_app;

static void app_hold(app *a, sl_http_exchange *x) {
    if (a->n_held < HELD_MAX) {
        a->held[a->n_held++] = x;
        atomic_store(&a->n_held_now, a->n_held);
    }
}

static void app_on_headers(void *user, sl_http_exchange *x) {
    app *a = user;
    atomic_fetch_add(&a->n_headers, 1);
    if (sl_slice_eq_str(sl_http_request_path(sl_http_exchange_request(x)), "/early")) {
        atomic_fetch_add(&a->n_early, 1);
        sl_http_respond(x, 404, "text/plain", NULL, "no", 2);
    }
}

static void app_on_request(void *user, sl_http_exchange *x) {
    app *a = user;
    atomic_fetch_add(&a->n_requests, 1);
    const sl_http_request *r = sl_http_exchange_request(x);
    sl_slice path = sl_http_request_path(r);
    if (sl_slice_eq_str(path, "/hold")) {
        app_hold(a, x);
    } else if (sl_slice_eq_str(path, "/stream") || sl_slice_eq_str(path, "/flood")) {
        sl_http_stream_begin(x, 200, "text/event-stream", NULL);
        sl_http_stream_write(x, "one", 3);
        a->stream = x;
    } else if (sl_slice_eq_str(path, "/big")) {
        static char big[3u << 20];
        memset(big, 'b', sizeof(big));
        sl_http_respond(x, 200, "text/plain", NULL, big, sizeof(big));
    } else if (sl_slice_eq_str(path, "/abort")) {
        sl_http_stream_begin(x, 200, "text/plain", NULL);
        sl_http_stream_write(x, "part", 4);
        sl_http_abort(x);
    } else {
        sl_http_respond(x, 200, "text/plain", "X-Test: 1\r\n",
                        r->body.len > 0 ? r->body.data : path.ptr,
                        r->body.len > 0 ? r->body.len : path.len);
    }
}

static void app_on_gone(void *user, sl_http_exchange *x, sl_http_gone why) {
    app *a = user;
    for (int i = 0; i < a->n_held; i++) {
        if (a->held[i] == x) {
            a->held[i] = a->held[--a->n_held];
            atomic_store(&a->n_held_now, a->n_held);
            break;
        }
    }
    a->stream = a->stream == x ? NULL : a->stream;
    atomic_store(&a->gone_why, (int)why);
    atomic_fetch_add(&a->n_gone, 1);
}

static void app_on_record(void *user, const sl_http_record *record) {
    app *a = user;
    atomic_store(&a->last_status, record->status);
    atomic_fetch_add(&a->n_records, 1);
}

static void app_on_command(uv_async_t *handle) {
    app *a = handle->data;
    int code = atomic_load(&a->command_code);
    static char block[200000];
    if (code == 'a') {
        while (a->n_held > 0) {
            sl_http_exchange *x = a->held[0];
            memmove(a->held, a->held + 1, (size_t)--a->n_held * sizeof(a->held[0]));
            atomic_store(&a->n_held_now, a->n_held);
            sl_http_respond(x, 200, "text/plain", NULL, "held", 4);
        }
    } else if (code == 's' && a->stream != NULL) {
        sl_http_stream_write(a->stream, "two", 3);
        sl_http_stream_write(a->stream, "three", 5);
        sl_http_exchange *x = a->stream;
        a->stream = NULL;
        sl_http_stream_end(x);
    } else if (code == 'f' && a->stream != NULL) {
        memset(block, 'f', sizeof(block));
        sl_http_stream_write(a->stream, block, sizeof(block));
    } else if (code == 'b') {
        atomic_store(&a->n_busy, (int)sl_http_server_n_busy(a->server));
    } else if (code == 'd') {
        sl_http_server_drain(a->server);
    } else if (code == 'q') {
        sl_http_server_close(a->server);
        uv_close((uv_handle_t *)&a->command, NULL);
    }
    atomic_store(&a->command_code, 0); /* done, not only taken */
}

static void *app_thread(void *arg) {
    app *a = arg;
    (void)uv_run(&a->loop, UV_RUN_DEFAULT);
    return NULL;
}

static void wait_for(atomic_int *value, int wanted) {
    for (int i = 0; i < 60000 && atomic_load(value) != wanted; i++) {
        usleep(1000);
    }
    assert_int_equal(atomic_load(value), wanted);
}

static void wait_for_at_least(atomic_int *value, int wanted) {
    for (int i = 0; i < 60000 && atomic_load(value) < wanted; i++) {
        usleep(1000);
    }
    assert_true(atomic_load(value) >= wanted);
}

/* Returns when the loop has carried it out. */
static void app_command(app *a, char code) {
    atomic_store(&a->command_code, code);
    assert_int_equal(uv_async_send(&a->command), 0);
    wait_for(&a->command_code, 0);
}

/* Time limits that a test does not set are out of the way, however slow the machine. */
static app *app_start(sl_http_server_options options) {
    app *a = &g_app;
    assert_false(a->running);
    memset(a, 0, sizeof(*a));
    assert_int_equal(uv_loop_init(&a->loop), 0);
    assert_int_equal(uv_async_init(&a->loop, &a->command, app_on_command), 0);
    a->command.data = a;
    options.handler = (sl_http_handler){.on_headers = app_on_headers,
                                        .on_request = app_on_request,
                                        .on_gone = app_on_gone,
                                        .on_record = app_on_record};
    options.user = a;
    const uint32_t never_ms = 600000;
    options.header_timeout_ms = options.header_timeout_ms == 0 ? never_ms
                                                               : options.header_timeout_ms;
    options.body_timeout_ms = options.body_timeout_ms == 0 ? never_ms : options.body_timeout_ms;
    options.idle_timeout_ms = options.idle_timeout_ms == 0 ? never_ms : options.idle_timeout_ms;
    options.write_timeout_ms = options.write_timeout_ms == 0 ? never_ms : options.write_timeout_ms;
    options.linger_timeout_ms = options.linger_timeout_ms == 0 ? never_ms
                                                               : options.linger_timeout_ms;
    sl_error err;
    assert_int_equal(sl_http_server_create(&a->loop, &options, &a->server, &err), SL_OK);
    assert_int_equal(sl_http_server_bind(a->server, "127.0.0.1", 0, &a->port, &err), SL_OK);
    assert_int_equal(sl_http_server_listen(a->server, &err), SL_OK);
    assert_int_equal(pthread_create(&a->thread, NULL, app_thread, a), 0);
    a->running = true;
    return a;
}

static void app_stop(app *a) {
    a->running = false;
    atomic_store(&a->command_code, 'q');
    (void)uv_async_send(&a->command);
    assert_int_equal(pthread_join(a->thread, NULL), 0);
    assert_int_equal(sl_http_server_n_connections(a->server), 0);
    sl_http_server_free(a->server);
    assert_int_equal(uv_loop_close(&a->loop), 0);
}

static int app_teardown(void **state) {
    (void)state;
    if (g_app.running) {
        app_stop(&g_app);
    }
    return 0;
}

/* --- a blocking client ----------------------------------------------------------------------- */

static int client_open(const app *a, int receive_buffer) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    if (receive_buffer > 0) {
        (void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &receive_buffer, sizeof(receive_buffer));
    }
    struct timeval limit = {.tv_sec = 60};
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    int on = 1;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(a->port)};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof(to)), 0);
    return fd;
}

static void client_send(int fd, const char *text) {
    size_t len = strlen(text);
    assert_int_equal(send(fd, text, len, MSG_NOSIGNAL), (ssize_t)len);
}

/* Reads until `text` was seen or the stream ended; false in the latter case. */
static bool client_read_until(int fd, sl_buf *in, const char *text) {
    for (;;) {
        const char *all = sl_buf_cstr(in);
        if (all != NULL && strstr(all, text) != NULL) {
            return true;
        }
        char piece[4096];
        ssize_t n = recv(fd, piece, sizeof(piece), 0);
        if (n <= 0) {
            return false;
        }
        assert_int_equal(sl_buf_append(in, piece, (size_t)n), SL_OK);
    }
}

/* Everything until the server closes. */
static const char *client_read_all(int fd, sl_buf *in) {
    (void)client_read_until(fd, in, "\x01 this text never comes");
    return sl_buf_cstr(in);
}

static int count(const char *text, const char *what) {
    int n = 0;
    for (const char *at = text; (at = strstr(at, what)) != NULL; at += strlen(what)) {
        n++;
    }
    return n;
}

#define GET(path) "GET " path " HTTP/1.1\r\nHost: a\r\n\r\n"
#define GET_CLOSE(path) "GET " path " HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"

static const sl_http_server_options no_options;

/* Sends `text` on a new connection and reads until the server closes it, which it may do at any
 * moment: also before it was asked. */
static const char *ask(const app *a, const char *text, sl_buf *in) {
    sl_buf_clear(in);
    int fd = client_open(a, 0);
    (void)send(fd, text, strlen(text), MSG_NOSIGNAL);
    const char *answer = client_read_all(fd, in);
    (void)close(fd);
    return answer == NULL ? "" : answer;
}

/* --- tests ----------------------------------------------------------------------------------- */

static void test_answers(void **state) {
    (void)state;
    app *a = app_start(no_options);
    sl_buf in;
    sl_buf_init(&in, 8u << 20);
    const char *text = ask(a, GET_CLOSE("/hello"), &in);
    assert_non_null(strstr(text, "HTTP/1.1 200 OK\r\n"));
    assert_non_null(strstr(text, "X-Test: 1\r\n"));
    assert_non_null(strstr(text, "Content-Length: 6\r\n"));
    assert_non_null(strstr(text, "Connection: close\r\n"));
    assert_non_null(strstr(text, "\r\n\r\n/hello"));
    text = ask(a, "HEAD /hello HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", &in);
    assert_non_null(strstr(text, "Content-Length: 6\r\n"));
    assert_null(strstr(text, "/hello"));
    text = ask(a, "GET /old HTTP/1.0\r\n\r\n", &in);
    assert_non_null(strstr(text, "Connection: close\r\n"));
    assert_non_null(strstr(text, "\r\n\r\n/old"));
    text = ask(
        a,
        "POST /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
        "3\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n",
        &in);
    assert_non_null(strstr(text, "\r\n\r\nabcdefg"));
    wait_for(&a->n_records, 4);
    sl_buf_deinit(&in);
}

static void test_pipelining_in_order(void **state) {
    (void)state;
    app *a = app_start(no_options);
    sl_buf in;
    sl_buf_init(&in, 1u << 20);
    int fd = client_open(a, 0);
    /* The first waits; those behind it must too. */
    client_send(
        fd,
        GET("/hold") GET(
            "/b") "POST /c HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nccc" GET_CLOSE("/d"));
    wait_for(&a->n_held_now, 1);
    assert_int_equal(atomic_load(&a->n_requests), 1);
    app_command(a, 'a');
    const char *text = client_read_all(fd, &in);
    assert_int_equal(count(text, "HTTP/1.1 200 OK"), 4);
    const char *held = strstr(text, "\r\n\r\nheld"), *b = strstr(text, "\r\n\r\n/b");
    const char *c = strstr(text, "\r\n\r\nccc"), *d = strstr(text, "\r\n\r\n/d");
    assert_true(held != NULL && b != NULL && c != NULL && d != NULL);
    assert_true(held < b && b < c && c < d);
    (void)close(fd);
    sl_buf_deinit(&in);
}

static void test_pipeline_is_bounded(void **state) {
    (void)state;
    app *a = app_start(no_options);
    sl_buf in;
    sl_buf_init(&in, 1u << 20);
    int fd = client_open(a, 0);
    /* In one piece, so that all of it is there before the command that answers the first. */
    char text_31[31 * 40] = GET("/hold");
    for (int i = 0; i < 30; i++) {
        strcat(text_31, GET("/n"));
    }
    client_send(fd, text_31);
    wait_for(&a->n_held_now, 1);
    app_command(a, 'a');
    /* 16 stand in line, the rest is not answered, and the client learns it by the close. */
    const char *text = client_read_all(fd, &in);
    assert_int_equal(count(text, "HTTP/1.1 200 OK"), 16);
    assert_int_equal(count(text, "Connection: close"), 1);
    (void)close(fd);
    /* Answers given at once never stand in line: any number of requests may be sent at once. */
    fd = client_open(a, 0);
    sl_buf_clear(&in);
    for (int i = 0; i < 40; i++) {
        client_send(fd, GET("/n"));
    }
    client_send(fd, GET_CLOSE("/last"));
    assert_int_equal(count(client_read_all(fd, &in), "HTTP/1.1 200 OK"), 41);
    (void)close(fd);
    sl_buf_deinit(&in);
}

static void test_bytewise(void **state) {
    (void)state;
    app *a = app_start(no_options);
    sl_buf in;
    sl_buf_init(&in, 1u << 20);
    int fd = client_open(a, 0);
    static const char text[] =
        "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello" GET_CLOSE("/next");
    for (size_t i = 0; i < sizeof(text) - 1; i++) {
        assert_int_equal(send(fd, text + i, 1, MSG_NOSIGNAL), 1);
        if (i % 16 == 0) {
            usleep(200);
        }
    }
    const char *answer = client_read_all(fd, &in);
    assert_non_null(strstr(answer, "\r\n\r\nhello"));
    assert_non_null(strstr(answer, "\r\n\r\n/next"));
    (void)close(fd);
    sl_buf_deinit(&in);
}

static void test_bad_requests_close(void **state) {
    (void)state;
    static const struct {
        const char *text, *status;
    } cases[] = {
        {"GET / HTTP/1.1\r\n\r\n" GET("/x"), "400 Bad Request"},
        {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n"
         "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n" GET("/x"),
         "400 Bad Request"},
        {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999\r\n\r\n", "413 Content Too Large"},
        {"GET / HTTP/9.9\r\nHost: a\r\n\r\n", "505 HTTP Version"},
        {"nonsense\r\n\r\n", "400 Bad Request"},
    };
    app *a = app_start(no_options);
    sl_buf in;
    sl_buf_init(&in, 1u << 20);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const char *answer = ask(a, cases[i].text, &in);
        assert_non_null(strstr(answer, cases[i].status));
        assert_non_null(strstr(answer, "Connection: close"));
        assert_int_equal(count(answer, "\r\nDate: "), 1); /* never two answers */
    }
    /* In order also behind good ones. */
    const char *answer = ask(a, GET("/good") "bad\r\n\r\n", &in);
    assert_true(strstr(answer, "/good") != NULL &&
                strstr(answer, "400 Bad") > strstr(answer, "/good"));
    assert_int_equal(atomic_load(&a->n_requests), 1);
    sl_buf_deinit(&in);
}

static void test_expect_continue_and_early_answer(void **state) {
    (void)state;
    app *a = app_start(no_options);
    sl_buf in;
    sl_buf_init(&in, 1u << 20);
    int fd = client_open(a, 0);
    client_send(fd,
                "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n");
    assert_true(client_read_until(fd, &in, "HTTP/1.1 100 Continue\r\n\r\n"));
    assert_null(strstr(sl_buf_cstr(&in), "200"));
    client_send(fd, "ok");
    assert_true(client_read_until(fd, &in, "\r\n\r\nok"));
    (void)close(fd);
    /* A request refused by its headers is answered before its body comes, and without a 100. */
    sl_buf_clear(&in);
    fd = client_open(a, 0);
    client_send(
        fd, "POST /early HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n");
    const char *answer = client_read_all(fd, &in);
    assert_non_null(strstr(answer, "404 Not Found"));
    assert_null(strstr(answer, "100 Continue"));
    assert_non_null(strstr(answer, "Connection: close"));
    (void)close(fd);
    assert_int_equal(atomic_load(&a->n_early), 1);
    sl_buf_deinit(&in);
}

static void test_client_leaves_silent_request(void **state) {
    (void)state;
    app *a = app_start(no_options);
    int fd = client_open(a, 0);
    client_send(fd, GET("/hold"));
    wait_for(&a->n_held_now, 1);
    (void)close(fd);
    wait_for(&a->n_records, 1); /* comes after on_gone */
    assert_int_equal(atomic_load(&a->n_gone), 1);
    assert_int_equal(atomic_load(&a->gone_why), SL_HTTP_GONE_CLIENT);
    assert_int_equal(atomic_load(&a->n_held_now), 0);
    assert_int_equal(atomic_load(&a->last_status), 499);
    /* Half a close counts too, and so does a reset. */
    fd = client_open(a, 0);
    client_send(fd, GET("/hold"));
    wait_for(&a->n_held_now, 1);
    assert_int_equal(shutdown(fd, SHUT_WR), 0);
    wait_for(&a->n_gone, 2);
    (void)close(fd);
    fd = client_open(a, 0);
    client_send(fd, GET("/hold") GET("/hold"));
    wait_for(&a->n_held_now, 1);
    struct linger reset = {.l_onoff = 1, .l_linger = 0};
    (void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
    (void)close(fd);
    wait_for(&a->n_gone, 3);
    /* What is answered at once reaches a client that has closed its side. */
    sl_buf in;
    sl_buf_init(&in, 1u << 20);
    fd = client_open(a, 0);
    client_send(fd, GET("/1") GET("/2"));
    assert_int_equal(shutdown(fd, SHUT_WR), 0);
    assert_int_equal(count(client_read_all(fd, &in), "HTTP/1.1 200 OK"), 2);
    (void)close(fd);
    sl_buf_deinit(&in);
}

static void test_stream(void **state) {
    (void)state;
    app *a = app_start(no_options);
    sl_buf in;
    sl_buf_init(&in, 1u << 20);
    int fd = client_open(a, 0);
    client_send(fd, GET("/stream") GET_CLOSE("/after"));
    assert_true(client_read_until(fd, &in, "3\r\none\r\n"));
    assert_non_null(strstr(sl_buf_cstr(&in), "Transfer-Encoding: chunked\r\n"));
    app_command(a, 's');
    const char *text = client_read_all(fd, &in);
    assert_non_null(strstr(text, "3\r\none\r\n3\r\ntwo\r\n5\r\nthree\r\n0\r\n\r\nHTTP/1.1 200 OK"));
    (void)close(fd);
    /* HTTP/1.0 knows no chunks: the end of the stream is the end of the connection. */
    sl_buf_clear(&in);
    fd = client_open(a, 0);
    client_send(fd, "GET /stream HTTP/1.0\r\n\r\n");
    assert_true(client_read_until(fd, &in, "\r\n\r\none"));
    app_command(a, 's');
    text = client_read_all(fd, &in);
    assert_non_null(strstr(text, "\r\n\r\nonetwothree"));
    assert_null(strstr(text, "chunked"));
    (void)close(fd);
    /* A cut stream has no last chunk. */
    text = ask(a, GET("/abort"), &in);
    assert_non_null(strstr(text, "4\r\npart\r\n"));
    assert_null(strstr(text, "\r\n0\r\n"));
    sl_buf_deinit(&in);
}

static void test_slow_reader_is_cut(void **state) {
    (void)state;
    app *a = app_start(no_options);
    int fd = client_open(a, 4096);
    client_send(fd, GET("/flood"));
    wait_for(&a->n_requests, 1);
    for (int i = 0; i < 200 && atomic_load(&a->n_gone) == 0; i++) {
        app_command(a, 'f'); /* 200 KB each; the sockets hold a few MB, the server one more */
    }
    wait_for(&a->n_gone, 1);
    assert_int_equal(atomic_load(&a->gone_why), SL_HTTP_GONE_SLOW);
    (void)close(fd);
    /* A whole answer larger than that is no stream: it is delivered. */
    sl_buf in;
    sl_buf_init(&in, 8u << 20);
    fd = client_open(a, 4096);
    client_send(fd, GET_CLOSE("/big"));
    const char *text = client_read_all(fd, &in);
    assert_int_equal(strlen(strstr(text, "\r\n\r\n") + 4), 3u << 20);
    (void)close(fd);
    sl_buf_deinit(&in);
}

/* Asks until the answer holds `word`: on a slow machine a client with a short time limit may be cut
 * before it has sent all that it wanted to. */
static bool ask_until(const app *a, const char *text, const char *word, sl_buf *in) {
    for (int i = 0; i < 200; i++) {
        if (strstr(ask(a, text, in), word) != NULL) {
            return true;
        }
    }
    return false;
}

static void test_header_timeout(void **state) {
    (void)state;
    app *a = app_start((sl_http_server_options){.header_timeout_ms = 60, .linger_timeout_ms = 60});
    sl_buf in;
    sl_buf_init(&in, 1u << 20);
    int fd = client_open(a, 0); /* says nothing */
    assert_string_equal(client_read_all(fd, &in) == NULL ? "" : sl_buf_cstr(&in), "");
    (void)close(fd);
    assert_true(ask_until(a, "GET / HTT", "408 Request Timeout", &in));
    /* A byte now and then does not help. */
    fd = client_open(a, 0);
    ssize_t n = send(fd, "GET /", 5, MSG_NOSIGNAL);
    int sent = 0;
    for (; n > 0 && sent < 1000; sent++) {
        n = send(fd, "X", 1, MSG_NOSIGNAL);
        usleep(10000);
    }
    assert_true(sent < 1000);
    (void)close(fd);
    sl_buf_deinit(&in);
}

#define POST_100000                                                                                \
    "POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 100000\r\n\r\n"

/* Sends 100,000 bytes in 200 pieces over some windows; true if it was served. */
static bool upload_steadily(const app *a, sl_buf *in) {
    sl_buf_clear(in);
    int fd = client_open(a, 0);
    static char piece[500];
    memset(piece, 'x', sizeof(piece));
    ssize_t n = send(fd, POST_100000, strlen(POST_100000), MSG_NOSIGNAL);
    for (int i = 0; i < 200 && n > 0; i++) {
        n = send(fd, piece, sizeof(piece), MSG_NOSIGNAL);
        usleep(2000);
    }
    const char *answer = client_read_all(fd, in);
    (void)close(fd);
    return answer != NULL && strstr(answer, "200 OK") != NULL;
}

static void test_body_timeout(void **state) {
    (void)state;
    app *a = app_start((sl_http_server_options){
        .body_timeout_ms = 80, .body_rate_min = 1000, .linger_timeout_ms = 60});
    sl_buf in;
    sl_buf_init(&in, 1u << 20);
    const char *text = ask(a, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nab", &in);
    assert_non_null(strstr(text, "408 Request Timeout"));
    /* What came quickly earns no time for silence: 50,000 bytes are not worth 50 s here. */
    static char half[sizeof(POST_100000) + 50000] = POST_100000;
    memset(half + strlen(half), 'x', 50000);
    text = ask(a, half, &in);
    assert_non_null(strstr(text, "408 Request Timeout"));
    /* As long as it moves it may last. A busy machine may make the client slow: some try works. */
    bool served = false;
    for (int i = 0; i < 20 && !served; i++) {
        served = upload_steadily(a, &in);
    }
    assert_true(served);
    sl_buf_deinit(&in);
}

static void test_idle_timeout(void **state) {
    (void)state;
    app *a = app_start((sl_http_server_options){
        .body_timeout_ms = 60, .idle_timeout_ms = 60, .write_timeout_ms = 60});
    sl_buf in;
    sl_buf_init(&in, 1u << 20);
    const char *text = ask(a, GET("/x"), &in); /* closed when idle after the answer */
    assert_non_null(strstr(text, "\r\n\r\n/x"));
    assert_null(strstr(text, "408"));
    /* A request being worked on has all the time it needs. */
    int fd = client_open(a, 0);
    sl_buf_clear(&in);
    client_send(fd, "POST /hold HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nab");
    wait_for(&a->n_held_now, 1);
    usleep(200000);
    assert_int_equal(atomic_load(&a->n_held_now), 1);
    app_command(a, 'a');
    assert_true(client_read_until(fd, &in, "held"));
    (void)close(fd);
    sl_buf_deinit(&in);
}

static void test_connection_limit(void **state) {
    (void)state;
    app *a = app_start((sl_http_server_options){.connections_max = 3});
    int fds[3];
    for (int i = 0; i < 3; i++) {
        fds[i] = client_open(a, 0);
        client_send(fds[i], GET("/hold"));
        wait_for(&a->n_held_now, i + 1);
    }
    sl_buf in;
    sl_buf_init(&in, 1u << 20);
    for (int i = 0; i < 40; i++) {
        const char *text = ask(a, GET("/x"), &in);
        assert_non_null(strstr(text, "503 Service Unavailable"));
        assert_non_null(strstr(text, "Connection: close"));
    }
    /* More at once than can even be told so: they are closed, and the server goes on. */
    int many[60];
    for (int i = 0; i < 60; i++) {
        many[i] = client_open(a, 0);
    }
    for (int i = 0; i < 60; i++) {
        (void)close(many[i]);
    }
    (void)close(fds[0]);
    wait_for(&a->n_gone, 1);
    bool served = false;
    for (int i = 0; i < 1000 && !served; i++) {
        served = strstr(ask(a, GET_CLOSE("/x"), &in), "200 OK") != NULL;
    }
    assert_true(served);
    (void)close(fds[1]);
    (void)close(fds[2]);
    sl_buf_deinit(&in);
}

static void test_body_memory_is_bounded(void **state) {
    (void)state;
    app *a = app_start((sl_http_server_options){.bodies_max = 100000});
    sl_buf in;
    sl_buf_init(&in, 1u << 20);
    static char body[300000];
    memset(body, 'x', sizeof(body) - 1);
    char head[128];
    (void)snprintf(head, sizeof(head), "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %zu\r\n\r\n",
                   sizeof(body) - 1);
    int fd = client_open(a, 0);
    client_send(fd, head);
    client_send(fd, body);
    assert_non_null(strstr(client_read_all(fd, &in), "503 Service Unavailable"));
    (void)close(fd);
    /* What was held is given back. */
    assert_non_null(
        strstr(ask(a,
                   "POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 2"
                   "\r\n\r\nok",
                   &in),
               "200 OK"));
    sl_buf_deinit(&in);
}

static void test_small_bodies_have_a_reserve(void **state) {
    (void)state;
    app *a = app_start((sl_http_server_options){.bodies_max = 1u << 20});
    sl_buf in;
    sl_buf_init(&in, 1u << 20);
    /* Each holds 64 KB and falls silent: at most 14 fit seven eighths, the others are refused. */
    static char part[sizeof(POST_100000) + 60000] = POST_100000;
    memset(part + strlen(part), 'x', 60000);
    int fds[18];
    for (int i = 0; i < 18; i++) {
        fds[i] = client_open(a, 0);
        client_send(fds[i], part);
    }
    wait_for_at_least(&a->n_records, 4);
    assert_int_equal(atomic_load(&a->last_status), 503);
    for (int i = 0; i < 10; i++) {
        const char *text = ask(a,
                               "POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"
                               "Content-Length: 2\r\n\r\nok",
                               &in);
        assert_non_null(strstr(text, "200 OK"));
    }
    for (int i = 0; i < 18; i++) {
        (void)close(fds[i]);
    }
    sl_buf_deinit(&in);
}

static void test_drain_refuses_uploads(void **state) {
    (void)state;
    app *a = app_start(no_options);
    sl_buf in;
    sl_buf_init(&in, 1u << 20);
    int half = client_open(a, 0), behind = client_open(a, 0);
    client_send(half, POST_100000 "abc");
    client_send(behind, GET("/hold") POST_100000 "abc");
    wait_for(&a->n_headers, 1);
    wait_for(&a->n_held_now, 1);
    app_command(a, 'd');
    const char *text = client_read_all(half, &in);
    assert_non_null(strstr(text, "503 Service Unavailable"));
    assert_non_null(strstr(text, "shutting down"));
    assert_non_null(strstr(text, "Connection: close"));
    /* So is one that comes now, whole or not, without being shown to the handler. */
    text = ask(a, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nok", &in);
    assert_non_null(strstr(text, "503 Service Unavailable"));
    assert_int_equal(atomic_load(&a->n_headers), 1);
    assert_int_equal(atomic_load(&a->n_requests), 1);
    /* What is being worked on is finished first, and is the last on its connection. */
    app_command(a, 'a');
    sl_buf_clear(&in);
    text = client_read_all(behind, &in);
    assert_non_null(strstr(text, "held"));
    assert_int_equal(count(text, "HTTP/1.1 "), 1);
    /* The server does not count as drained while a client that is still sending could lose its
     * answer. */
    (void)close(behind);
    app_command(a, 'b');
    assert_true(atomic_load(&a->n_busy) > 0);
    (void)close(half);
    for (int i = 0; i < 60000 && atomic_load(&a->n_busy) > 0; i++) {
        app_command(a, 'b');
    }
    assert_int_equal(atomic_load(&a->n_busy), 0);
    sl_buf_deinit(&in);
}

static void test_drain(void **state) {
    (void)state;
    app *a = app_start(no_options);
    sl_buf in;
    sl_buf_init(&in, 1u << 20);
    int idle = client_open(a, 0), busy = client_open(a, 0);
    client_send(idle, GET("/x"));
    assert_true(client_read_until(idle, &in, "\r\n\r\n/x"));
    client_send(busy, GET("/hold"));
    wait_for(&a->n_held_now, 1);
    app_command(a, 'd');
    sl_buf_clear(&in);
    assert_true(client_read_all(idle, &in) == NULL || in.len == 0); /* closed */
    assert_non_null(strstr(ask(a, GET("/new"), &in), "Connection: close"));
    app_command(a, 'a');
    sl_buf_clear(&in);
    const char *text = client_read_all(busy, &in);
    assert_non_null(strstr(text, "held"));
    assert_non_null(strstr(text, "Connection: close"));
    (void)close(idle);
    (void)close(busy);
    sl_buf_deinit(&in);
}

static void test_close_under_load(void **state) {
    (void)state;
    app *a = app_start(no_options);
    int fds[8];
    for (int i = 0; i < 8; i++) {
        fds[i] = client_open(a, 0);
        client_send(fds[i],
                    i % 2 == 0 ? GET("/hold") : "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9");
    }
    wait_for(&a->n_held_now, 4);
    app_stop(a);
    assert_int_equal(atomic_load(&a->n_gone), 4);
    assert_int_equal(atomic_load(&a->gone_why), SL_HTTP_GONE_SERVER);
    for (int i = 0; i < 8; i++) {
        (void)close(fds[i]);
    }
}

static void test_port_in_use(void **state) {
    (void)state;
    app *a = app_start(no_options);
    uv_loop_t loop;
    assert_int_equal(uv_loop_init(&loop), 0);
    sl_http_server *second = NULL;
    sl_http_server_options options = {
        .handler = {.on_request = app_on_request, .on_gone = app_on_gone}, .user = a};
    sl_error err;
    assert_int_equal(sl_http_server_create(&loop, &options, &second, &err), SL_OK);
    uint16_t port = 0;
    assert_int_equal(sl_http_server_bind(second, "127.0.0.1", a->port, &port, &err), SL_ERR_IO);
    assert_non_null(strstr(err.message, "already in use"));
    assert_int_equal(sl_http_server_bind(second, "no such host.invalid", 0, &port, &err),
                     SL_ERR_IO);
    sl_http_server_close(second);
    assert_int_equal(uv_run(&loop, UV_RUN_DEFAULT), 0);
    sl_http_server_free(second);
    assert_int_equal(uv_loop_close(&loop), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_answers, app_teardown),
        cmocka_unit_test_teardown(test_pipelining_in_order, app_teardown),
        cmocka_unit_test_teardown(test_pipeline_is_bounded, app_teardown),
        cmocka_unit_test_teardown(test_bytewise, app_teardown),
        cmocka_unit_test_teardown(test_bad_requests_close, app_teardown),
        cmocka_unit_test_teardown(test_expect_continue_and_early_answer, app_teardown),
        cmocka_unit_test_teardown(test_client_leaves_silent_request, app_teardown),
        cmocka_unit_test_teardown(test_stream, app_teardown),
        cmocka_unit_test_teardown(test_slow_reader_is_cut, app_teardown),
        cmocka_unit_test_teardown(test_header_timeout, app_teardown),
        cmocka_unit_test_teardown(test_body_timeout, app_teardown),
        cmocka_unit_test_teardown(test_idle_timeout, app_teardown),
        cmocka_unit_test_teardown(test_connection_limit, app_teardown),
        cmocka_unit_test_teardown(test_body_memory_is_bounded, app_teardown),
        cmocka_unit_test_teardown(test_small_bodies_have_a_reserve, app_teardown),
        cmocka_unit_test_teardown(test_drain, app_teardown),
        cmocka_unit_test_teardown(test_drain_refuses_uploads, app_teardown),
        cmocka_unit_test_teardown(test_close_under_load, app_teardown),
        cmocka_unit_test_teardown(test_port_in_use, app_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
