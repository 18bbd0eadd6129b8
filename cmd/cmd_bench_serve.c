/* sluice bench serve: a workload against a server of the OpenAI API. Standard output holds the
 * figures as a text, or with --json as one object. */
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base_url.h"
#include "bench_serve.h"
#include "cmd.h"
#include "flags.h"
#include "load.h"
#include "measure/traffic.h"

#define TRACE_MAX ((size_t)256 << 20)

typedef struct serve_flags {
    const char *base, *trace, *html;
    sl_traffic_options load;
    sl_flag_list prompt, gen;
    uint32_t n_requests, burst;
    float rate, ttft_ms, itl_ms;
    bool json;
    sl_base_url url;
} serve_flags;

static sl_status base_parse(serve_flags *f, sl_error *err) {
    SL_TRY(sl_base_url_parse(f->base, &f->url, err));
    f->load.host = f->url.host;
    f->load.port = f->url.port;
    f->load.path = f->url.path[0] == '\0' ? "/v1" : f->url.path;
    return SL_OK;
}

/* --- workloads -------------------------------------------------------------------------------- */

/* A line of a trace: {"at": SECONDS, "prompt": TOKENS, "gen": TOKENS}. */
static bool trace_line(const char *line, size_t len, sl_traffic_item *item) {
    json_t *root = json_loadb(line, len, 0, NULL);
    const json_t *at = json_object_get(root, "at"), *prompt = json_object_get(root, "prompt"),
                 *gen = json_object_get(root, "gen");
    const json_int_t n_prompt = json_integer_value(prompt), n_gen = json_integer_value(gen);
    const bool right = json_is_number(at) && json_number_value(at) >= 0.0 && n_prompt >= 1 &&
                       n_prompt <= 1048576 && n_gen >= 1 && n_gen <= 1048576;
    *item = (sl_traffic_item){json_number_value(at), (uint32_t)n_prompt, (uint32_t)n_gen};
    json_decref(root);
    return right;
}

static sl_status trace_read(const char *path, sl_traffic_item **out, size_t *n_out, sl_error *err) {
    sl_buf text;
    SL_TRY(sl_read_all(path, TRACE_MAX, &text, err));
    sl_traffic_item *items = NULL;
    size_t n = 0, room = 0, begin = 0;
    sl_status status = SL_OK;
    for (size_t line = 1; begin < text.len && status == SL_OK; line++) {
        const char *end = memchr(text.data + begin, '\n', text.len - begin);
        const size_t len = end == NULL ? text.len - begin : (size_t)(end - text.data) - begin;
        if (n == room) {
            room = 2 * room + 64;
            sl_traffic_item *more = sl_realloc_array(items, room, sizeof(*items));
            if (more == NULL) {
                status = SL_FAIL(err, SL_ERR_MEMORY, "no memory for the trace %s", path);
                break;
            }
            items = more;
        }
        if (len > 0 && !trace_line(text.data + begin, len, &items[n])) {
            status = SL_FAIL(err, SL_ERR_FORMAT,
                             "%s, line %zu: a request is {\"at\": SECONDS, \"prompt\": TOKENS, "
                             "\"gen\": TOKENS}, with at least one token of each",
                             path, line);
        } else if (len > 0 && n > 0 && items[n].at_s < items[n - 1].at_s) {
            status = SL_FAIL(err, SL_ERR_FORMAT,
                             "%s, line %zu: its time is before that of the line above", path, line);
        }
        n += len > 0;
        begin += len + 1;
    }
    sl_buf_deinit(&text);
    if (status == SL_OK && n == 0) {
        status = SL_FAIL(err, SL_ERR_FORMAT, "%s holds no requests", path);
    }
    if (status != SL_OK) {
        sl_free(items);
        return status;
    }
    *out = items;
    *n_out = n;
    return SL_OK;
}

/* Requests whose lengths go through the lists, one after the other. */
static sl_status items_make(const serve_flags *f, sl_traffic_item **out, size_t *n_out,
                            sl_error *err) {
    if (f->trace != NULL) {
        return trace_read(f->trace, out, n_out, err);
    }
    sl_traffic_item *items = sl_alloc_zero(f->n_requests, sizeof(*items));
    if (items == NULL) {
        return SL_FAIL(err, SL_ERR_MEMORY, "no memory for %" PRIu32 " requests", f->n_requests);
    }
    for (size_t i = 0; i < f->n_requests; i++) {
        items[i].n_prompt = f->prompt.n == 0 ? 128 : (uint32_t)f->prompt.v[i % f->prompt.n];
        items[i].n_gen = f->gen.n == 0 ? 64 : (uint32_t)f->gen.v[i % f->gen.n];
    }
    if (f->rate > 0.0f) {
        sl_traffic_arrivals(items, f->n_requests, (double)f->rate, f->burst, f->load.seed);
    }
    *out = items;
    *n_out = f->n_requests;
    return SL_OK;
}

/* --- the run ---------------------------------------------------------------------------------- */

static bool is_stopped(void *user) {
    (void)user;
    return sl_interrupted();
}

static sl_status html_write(const serve_flags *f, const sl_traffic_result *r,
                            const sl_traffic_figures *figures, const sl_traffic_limits *limits,
                            sl_error *err) {
    sl_buf page;
    char title[600];
    sl_buf_init(&page, 16u << 20);
    (void)snprintf(title, sizeof(title), "Load on %s", f->base);
    sl_status status = sl_traffic_print_html(r, figures, limits, title, &page, err);
    if (status == SL_OK) {
        FILE *file = fopen(f->html, "wb");
        bool whole = file != NULL && fwrite(page.data, 1, page.len, file) == page.len;
        const int reason = errno;
        whole = (file == NULL || fclose(file) == 0) && whole;
        if (!whole) {
            status = SL_FAIL(err, SL_ERR_IO, "%s: cannot be written: %s", f->html,
                             sl_errno_text(reason));
        }
    }
    sl_buf_deinit(&page);
    return status;
}

static sl_status report(const serve_flags *f, const sl_traffic_result *r, sl_error *err) {
    const sl_traffic_limits limits = {(double)f->ttft_ms, (double)f->itl_ms};
    sl_traffic_figures figures;
    sl_buf text;
    SL_TRY(sl_traffic_figures_of(r, &limits, &figures, err));
    sl_buf_init(&text, 1u << 20);
    (f->json ? sl_traffic_print_json : sl_traffic_print_text)(r, &figures, &limits, &text);
    const bool whole = fwrite(text.data, 1, text.len, stdout) == text.len;
    sl_buf_deinit(&text);
    if (!whole) {
        return SL_FAIL(err, SL_ERR_IO, "standard output cannot be written");
    }
    if (f->html != NULL) {
        SL_TRY(html_write(f, r, &figures, &limits, err));
    }
    if (figures.n_failed > 0 && !r->stopped) {
        return SL_FAIL(err, SL_ERR_IO, "%zu of %zu requests failed", figures.n_failed, r->n);
    }
    return SL_OK;
}

static int bench_serve(serve_flags *f) {
    sl_traffic_item *items = NULL;
    sl_traffic_result result = {0};
    sl_error err;
    sl_status status = base_parse(f, &err);
    status = status == SL_OK ? items_make(f, &items, &f->load.n_items, &err) : status;
    if (status == SL_OK) {
        f->load.items = items;
        f->load.stop = is_stopped;
        if (f->rate > 0.0f || f->trace != NULL) {
            f->load.n_users = 0;
        }
        status = sl_traffic_run(&f->load, &result, &err);
        status = status == SL_OK ? report(f, &result, &err) : status;
        sl_traffic_result_free(&result);
    }
    sl_free(items);
    if (status != SL_OK) {
        sl_cmd_error("bench serve", "%s", err.message);
        return SL_EXIT_FAILURE;
    }
    return sl_stdout_finish("bench serve", sl_interrupted() ? SL_EXIT_INTERRUPTED : SL_EXIT_OK);
}

int sl_cmd_bench_serve(int argc, char **argv) {
    /* lint: long because it is the table of flags, their help included */
    serve_flags f = {.base = "http://127.0.0.1:8080", .n_requests = 64, .burst = 1};
    f.load = (sl_traffic_options){.n_users = 8, .n_turns = 1, .timeout_s = 600};
    const sl_flag flags[] = {
        {"--base", "-u", SL_FLAG_STRING, &f.base, "URL",
         "The server, with the path before /completions if that is not /v1 (default: "
         "http://127.0.0.1:8080).",
         0, 0, NULL},
        {"--model", "-m", SL_FLAG_STRING, &f.load.model, "NAME",
         "Model to ask for (default: the server's only one).", 0, 0, NULL},
        {"--key", NULL, SL_FLAG_STRING, &f.load.key, "KEY", "API key, sent as a bearer token.", 0,
         0, NULL},
        {"--users", "-c", SL_FLAG_U32, &f.load.n_users, "N",
         "Users, each of whom sends the next request when the last one has ended (default: 8).", 1,
         100000, NULL},
        {"--rate", NULL, SL_FLAG_F32, &f.rate, "R",
         "Requests a second instead, at random times, whether the server keeps up or not.", 0.001,
         100000, NULL},
        {"--burst", NULL, SL_FLAG_U32, &f.burst, "N",
         "With --rate: so many at a time, as much rarer (default: 1).", 1, 100000, NULL},
        {"--trace", NULL, SL_FLAG_STRING, &f.trace, "FILE",
         "Requests of a file instead, one JSON object a line: at (seconds), prompt and gen "
         "(tokens).",
         0, 0, NULL},
        {"--requests", "-N", SL_FLAG_U32, &f.n_requests, "N",
         "How many requests, or with --turns chats (default: 64).", 1, 10000000, NULL},
        {"--prompt", "-p", SL_FLAG_LIST, &f.prompt, "128,512",
         "About so many tokens of prompt, in turn (default: 128).", 1, 1048576, NULL},
        {"--gen", "-n", SL_FLAG_LIST, &f.gen, "500,10,2000",
         "Tokens of answer, in turn (default: 64).", 1, 1048576, NULL},
        {"--shared", NULL, SL_FLAG_U32, &f.load.n_shared, "N",
         "Tokens of the prompt, from its beginning, that are the same in all (default: 0).", 0,
         1048576, NULL},
        {"--turns", NULL, SL_FLAG_U32, &f.load.n_turns, "N",
         "Chats of so many turns, each of which sends all that was said before (default: 1).", 1,
         10000, NULL},
        {"--seed", "-s", SL_FLAG_U64, &f.load.seed, "N",
         "Seed of texts and arrival times (default: 0).", 0, 0, NULL},
        {"--ttft-limit", NULL, SL_FLAG_F32, &f.ttft_ms, "MS",
         "A good request's first token comes within so many milliseconds.", 0, 1e9, NULL},
        {"--itl-limit", NULL, SL_FLAG_F32, &f.itl_ms, "MS",
         "A good request's other tokens come so many milliseconds apart, on average.", 0, 1e9,
         NULL},
        {"--timeout", NULL, SL_FLAG_U32, &f.load.timeout_s, "S",
         "Ends when nothing new began for so many seconds (default: 600).", 1, 1000000, NULL},
        {"--pid", NULL, SL_FLAG_U32, &f.load.server_pid, "N",
         "The server's process on this machine: shows its processor time for each token.", 1,
         4194304, NULL},
        {"--json", NULL, SL_FLAG_BOOL, &f.json, NULL, "One JSON object.", 0, 0, NULL},
        {"--html", NULL, SL_FLAG_STRING, &f.html, "FILE",
         "Also writes a page with the distributions drawn.", 0, 0, NULL},
    };
    const sl_command command = {
        "bench serve",
        "sluice bench serve [flags]",
        "Loads a server of the OpenAI API, this one or any other, and measures what its users "
        "feel: time to the first token, time between tokens, whole requests, tokens a second.",
        "  sluice bench serve --users 32 --requests 128 --prompt 128 --gen 64\n"
        "  sluice bench serve --rate 4 --gen 500,10,2000 --ttft-limit 2000 --itl-limit 100\n"
        "  sluice bench serve --users 64 --shared 1500 --prompt 1532 --html load.html\n"
        "  sluice bench serve --users 8 --turns 8 --prompt 200 --gen 200 --json\n",
        flags,
        sizeof(flags) / sizeof(flags[0]),
        0,
        0};
    const char *args[1];
    int code = sl_flags_parse(&command, argc, argv, args);
    if (code == SL_FLAGS_GO_ON && f.rate > 0.0f && f.trace != NULL) {
        code = sl_cmd_usage_error("bench serve", "--rate and --trace both say when requests come: "
                                                 "give one of them");
    }
    if (code == SL_FLAGS_GO_ON) {
        sl_interrupt_install();
        code = bench_serve(&f);
    }
    sl_flags_free(&command);
    return code;
}
