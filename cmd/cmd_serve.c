/* sluice serve: a model behind the OpenAI API. */
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "base/utf8.h"
#include "calibrated.h"
#include "cmd.h"
#include "load.h"
#include "runner/runner.h"
#include "serve/service.h"
#include "text/chat.h"

#define ALIAS_BYTES_MAX 256

typedef struct serve_flags {
    sl_load_flags load;
    const char *host, *alias;
    uint32_t port, parallel, queue, connections, drain_s, lame_duck_s, stall_s, request_timeout_s,
        max_wait_ms;
    uint64_t queue_tokens;
    uint32_t header_timeout_s, body_timeout_s, idle_timeout_s, write_timeout_s;
    sl_flag_size body_max, output_max;
    bool strict_api, log_prompts, access_log, log_json, calibrate;
    bool admin, prefix_cache, speculate, trust_tenant_header;
    int policy, batching; /* sl_sched_policy, sl_sched_batching */
    uint32_t age_s, batch, batch_window_ms, step_ms;
    sl_flag_strings tenant_weight; /* NAME=N */
    sl_service_weight weights[SL_FLAG_STRINGS_MAX];
    char tenants[SL_FLAG_STRINGS_MAX][SL_SERVICE_TENANT_BYTES_MAX + 1]; /* their names */
} serve_flags;

/* --- logs ------------------------------------------------------------------------------------ */

/* One line to stderr in one write, so that lines of several threads do not mix. */
static void log_to_stderr(void *user, const sl_log_record *record) {
    const bool *as_json = user;
    struct timespec now;
    struct tm tm;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    char stamp[48], line[SL_LOG_MESSAGE_MAX * 2 + 256];
    if (gmtime_r(&now.tv_sec, &tm) == NULL ||
        strftime(stamp, sizeof(stamp), "%Y-%m-%dT%H:%M:%S", &tm) == 0) {
        stamp[0] = '\0';
    }
    int ms = (int)(now.tv_nsec / 1000000);
    sl_buf out;
    sl_buf_init(&out, sizeof(line));
    if (*as_json) {
        (void)sl_buf_printf(
            &out, "{\"time\":\"%s.%03dZ\",\"level\":\"%s\",\"module\":\"%s\",\"message\":\"", stamp,
            ms, sl_log_level_name(record->level), record->module);
        (void)sl_buf_append_json(&out, record->message, strlen(record->message));
        (void)sl_buf_append_str(&out, "\"}\n");
    } else {
        (void)sl_buf_printf(&out, "%s.%03dZ %-5s %s: %s\n", stamp, ms,
                            sl_log_level_name(record->level), record->module, record->message);
    }
    if (out.status == SL_OK) {
        (void)!write(STDERR_FILENO, out.data, out.len); /* nowhere to report a failure to */
    }
    sl_buf_deinit(&out);
}

/* --- signals --------------------------------------------------------------------------------- */

/* Set once before the handlers are installed. */
static sl_service *g_service;
static unsigned g_give_up_s;
static volatile sig_atomic_t g_signals;

/* The first signal drains; the second ends the program at once; so does a drain that never ends. */
static void on_signal(int number) {
    if (number == SIGALRM || g_signals > 0) {
        _exit(number == SIGALRM ? SL_EXIT_FAILURE : SL_EXIT_INTERRUPTED);
    }
    g_signals = 1;
    (void)alarm(g_give_up_s);
    sl_service_stop(g_service);
}

static void install_signals(sl_service *service, const serve_flags *f) {
    g_service = service;
    g_give_up_s = f->drain_s + f->lame_duck_s + 10;
    struct sigaction action = {.sa_handler = on_signal};
    (void)sigemptyset(&action.sa_mask);
    (void)sigaction(SIGINT, &action, NULL);
    (void)sigaction(SIGTERM, &action, NULL);
    (void)sigaction(SIGALRM, &action, NULL);
}

/* Each client needs a descriptor: as many as the system lets us have. */
static void raise_descriptor_limit(void) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE,
                        &limit); /* the server counts what it has, whatever that is */
    }
}

/* --- serving --------------------------------------------------------------------------------- */

static void on_listening(void *user, uint16_t port) {
    const serve_flags *f = user;
    bool is_v6 = strchr(f->host, ':') != NULL;
    (void)printf("listening on http://%s%s%s:%u\n", is_v6 ? "[" : "", f->host, is_v6 ? "]" : "",
                 port);
    sl_error err;
    if (sl_stdout_flush(&err) != SL_OK) { /* nobody may read it: no reason to end */
        sl_cmd_error("serve", "%s", err.message);
    }
}

/* The name that clients use: --alias, or the file's name without folder and ending. */
static char *model_name(const char *path, const serve_flags *f) {
    if (f->alias != NULL) {
        return sl_strdup(f->alias);
    }
    const char *slash = strrchr(path, '/');
    const char *base = slash != NULL ? slash + 1 : path;
    size_t len = strlen(base);
    if (len > 5 && strcmp(base + len - 5, ".gguf") == 0) {
        len -= 5;
    }
    return sl_strndup(base, len);
}

static sl_service_options service_options(const serve_flags *f) {
    sl_service_options o = {.version = SLUICE_VERSION,
                            .host = f->host,
                            .port = (uint16_t)f->port,
                            .drain_timeout_ms = f->drain_s * 1000ull,
                            .lame_duck_ms = f->lame_duck_s * 1000ull,
                            .stall_ms = f->stall_s * 1000ull,
                            .request_timeout_ms = f->request_timeout_s * 1000ull,
                            .max_wait_ms = f->max_wait_ms,
                            .admin = f->admin,
                            .strict_api = f->strict_api,
                            .prefix_cache = f->prefix_cache,
                            .speculate = f->speculate,
                            .trust_tenant_header = f->trust_tenant_header,
                            .weights = f->weights,
                            .n_weights = f->tenant_weight.n,
                            .log_prompts = f->log_prompts,
                            .access_log = f->access_log,
                            .on_listening = on_listening,
                            .user = (void *)(uintptr_t)f};
    o.http = (sl_http_server_options){.limits = sl_http_limits_default(),
                                      .connections_max = f->connections,
                                      .header_timeout_ms = f->header_timeout_s * 1000,
                                      .body_timeout_ms = f->body_timeout_s * 1000,
                                      .idle_timeout_ms = f->idle_timeout_s * 1000,
                                      .write_timeout_ms = f->write_timeout_s * 1000,
                                      .output_max = f->output_max.bytes};
    if (f->body_max.bytes > 0) {
        o.http.limits.body_bytes = f->body_max.bytes;
    }
    return o;
}

static sl_sched_options sched_options(const serve_flags *f) {
    return (sl_sched_options){.policy = (sl_sched_policy)f->policy,
                              .age_ns = f->age_s * SL_NS_PER_S,
                              .n_tenants = SL_SERVICE_TENANTS,
                              .batching = (sl_sched_batching)f->batching,
                              .batch_max = f->batch,
                              .window_ns = f->batch_window_ms * SL_NS_PER_MS,
                              .step_ns = f->step_ms * SL_NS_PER_MS};
}

/* Runs the service over a loaded model until it is stopped. */
static sl_status serve_until_stopped(sl_service *service, const serve_flags *f, const sl_loaded *l,
                                     const sl_chat *chat, const char *name,
                                     sl_calibrated *calibrated, sl_error *err) {
    const int32_t *eog;
    size_t n_eog = sl_tokenizer_eog(l->tokenizer, &eog);
    /* A slot each for what runs and what waits, and some for what ends just now. */
    sl_runner_options options = {.n_slots = f->parallel + f->queue + 64,
                                 .queue_max = f->queue,
                                 .queue_tokens_max = f->queue_tokens,
                                 .eog_ids = eog,
                                 .n_eog_ids = n_eog,
                                 .sched = sched_options(f),
                                 .cost = calibrated->cost.n_points > 0 ? &calibrated->cost : NULL,
                                 .wake = sl_service_wake,
                                 .wake_user = service,
                                 .idle = f->calibrate ? sl_calibrated_idle : NULL,
                                 .idle_user = calibrated};
    sl_runner *runner;
    SL_TRY(sl_runner_create(l->engine, &options, &runner, err));
    install_signals(service, f);
    sl_service_model model = {
        .name = name, .tokenizer = l->tokenizer, .chat = chat, .runner = runner};
    sl_engine_memory_now(l->engine, &model.memory);
    sl_status status = sl_service_run(service, &model, err);
    g_signals = 1; /* a signal from now on ends the program: the service goes */
    sl_runner_free(runner);
    return status;
}

static sl_status serve_loaded(sl_service *service, const serve_flags *f, const sl_loaded *l,
                              const sl_chat *chat, const char *name, sl_error *err) {
    sl_calibrated calibrated = {0};
    if (f->calibrate) {
        sl_calibrated_find(&calibrated, l, &f->load);
        SL_TRY(sl_calibrated_begin(&calibrated, l, err));
    }
    sl_status status = serve_until_stopped(service, f, l, chat, name, &calibrated, err);
    sl_calibrated_end(&calibrated);
    return status;
}

/* A context that was asked for must fit into the pages: else the server would promise lengths that
 * it refuses. */
static sl_status check_ctx(const sl_loaded *l, const sl_engine_options *options, sl_error *err) {
    sl_engine_memory m;
    SL_TRY(sl_engine_estimate(l->model, options, &m, err));
    uint64_t n_tokens = sl_kv_groups_tokens(&m.kv_groups, m.n_pages);
    if (options->ctx_max <= n_tokens) {
        return SL_OK;
    }
    uint64_t need_kb = (sl_kv_groups_pages(&m.kv_groups, options->ctx_max) * m.page_bytes + 1023) /
                       1024;
    return SL_FAIL(err, SL_ERR_ARGUMENT,
                   "--ctx asks for %" PRIu32 " tokens, but the %" PRIu64
                   " KB of KV memory hold %" PRIu64 "; give --kv-memory %" PRIu64
                   "K or more, or a --ctx of at most %" PRIu64,
                   options->ctx_max, m.kv_bytes >> 10, n_tokens, need_kb, n_tokens);
}

/* Refuses before memory is taken. */
static sl_status load(const char *path, const serve_flags *f, sl_loaded *l, sl_error *err) {
    sl_engine_options options = sl_load_options(&f->load);
    options.runs_max = f->parallel;
    SL_TRY(sl_load_model(path, true, l, err));
    sl_status status = options.ctx_max != 0 ? check_ctx(l, &options, err) : SL_OK;
    if (status == SL_OK) {
        status = sl_load_engine(l, &options, err);
    }
    if (status != SL_OK) {
        sl_loaded_close(l);
    }
    return status;
}

static sl_status serve_model(sl_service *service, const char *path, const serve_flags *f,
                             sl_error *err) {
    sl_loaded l;
    SL_TRY(load(path, f, &l, err));
    char *name = model_name(path, f);
    sl_chat *chat = NULL;
    sl_error chat_err;
    if (sl_chat_open(l.file, l.tokenizer, &chat, &chat_err) != SL_OK) {
        chat = NULL; /* completions still work */
        sl_log(SL_LOG_WARN, "serve", "no chat completions: %s", chat_err.message);
    }
    sl_engine_memory memory;
    sl_engine_memory_now(l.engine, &memory);
    sl_log(SL_LOG_INFO, "serve",
           "%s loaded in %.0f ms: context %" PRIu32 " tokens, %" PRIu32 " KV pages; %" PRIu64
           " MB of packed weights, up to %" PRIu64 " MB of KV pages in %s, %" PRIu64
           " MB of step buffers",
           path, l.load_ms, sl_engine_ctx_max(l.engine), memory.n_pages, memory.packed_bytes >> 20,
           memory.kv_bytes >> 20, sl_kv_type_name(sl_engine_kv_type(l.engine)),
           memory.step_bytes >> 20);
    sl_status status = name != NULL ? serve_loaded(service, f, &l, chat, name, err)
                                    : SL_FAIL(err, SL_ERR_MEMORY, "no memory");
    sl_chat_close(chat);
    sl_free(name);
    sl_loaded_close(&l);
    return status;
}

static sl_status serve(const char *path, const serve_flags *f, sl_error *err) {
    sl_service *service;
    sl_service_options options = service_options(f);
    SL_TRY(sl_service_create(&options, &service, err));
    sl_status status = serve_model(service, path, f, err);
    sl_service_free(service);
    return status;
}

/* What the table of flags cannot say. */
/* NAME=N, of each --tenant-weight. */
static int parse_weights(serve_flags *f) {
    if (f->tenant_weight.n > 0 && !f->trust_tenant_header) {
        return sl_cmd_usage_error("serve", "--tenant-weight counts for tenants, whom only "
                                           "--trust-tenant-header names: give both");
    }
    for (size_t i = 0; i < f->tenant_weight.n; i++) {
        const char *text = f->tenant_weight.v[i], *equals = strrchr(text, '=');
        char *end = NULL;
        const size_t len = equals == NULL ? 0 : (size_t)(equals - text);
        const bool digits = equals != NULL && equals[1] >= '0' && equals[1] <= '9';
        const unsigned long weight = digits ? strtoul(equals + 1, &end, 10) : 0;
        if (len == 0 || len > SL_SERVICE_TENANT_BYTES_MAX || weight < 1 ||
            weight > SL_SCHED_WEIGHT_MAX || *end != '\0') {
            return sl_cmd_usage_error(
                "serve",
                "--tenant-weight %s: it is NAME=N, a tenant's name and a number from 1 "
                "to %d",
                text, SL_SCHED_WEIGHT_MAX);
        }
        memcpy(f->tenants[i], text, len);
        f->weights[i] = (sl_service_weight){f->tenants[i], (uint32_t)weight};
    }
    return SL_FLAGS_GO_ON;
}

static int check_flags(const serve_flags *f) {
    size_t len = f->alias != NULL ? strlen(f->alias) : 1;
    if (len == 0 || len > ALIAS_BYTES_MAX ||
        (f->alias != NULL && sl_utf8_valid_prefix(f->alias, len) < len)) {
        return sl_cmd_usage_error("serve", "--alias takes 1 to %d bytes of UTF-8", ALIAS_BYTES_MAX);
    }
    return SL_FLAGS_GO_ON;
}

int sl_cmd_serve(int argc, char **argv) {
    /* lint: long because it is the table of flags, their help included */
    serve_flags f = {.host = "127.0.0.1",
                     .port = 8080,
                     .parallel = 256,
                     .queue = 256,
                     .drain_s = 60,
                     .header_timeout_s = 10,
                     .body_timeout_s = 30,
                     .idle_timeout_s = 75,
                     .write_timeout_s = 30,
                     .stall_s = 60,
                     .access_log = true,
                     .calibrate = true,
                     .prefix_cache = true,
                     .speculate = true,
                     .batch_window_ms = 10};
    const sl_flag flags[] = {
        {"--host", NULL, SL_FLAG_STRING, &f.host, "ADDRESS",
         "Address to listen on (default: 127.0.0.1).", 0, 0, NULL},
        {"--port", "-p", SL_FLAG_U32, &f.port, "P",
         "Port; 0 picks a free one and prints it (default: 8080).", 0, 65535, NULL},
        {"--alias", NULL, SL_FLAG_STRING, &f.alias, "NAME",
         "Name of the model for clients (default: the file's name without .gguf).", 0, 0, NULL},
        SL_LOAD_FLAG_THREADS(&f.load),
        SL_LOAD_FLAG_PIN(&f.load),
        SL_LOAD_FLAG_CTX(&f.load),
        SL_LOAD_FLAG_KV_MEMORY(&f.load),
        SL_LOAD_FLAG_KV_TYPE(&f.load),
        SL_LOAD_FLAG_PACKED_CACHE(&f.load),
        SL_LOAD_FLAG_PACKED_CACHE_SIZE(&f.load),
        SL_LOAD_FLAG_EXACT(&f.load),
        SL_LOAD_FLAG_BATCH_INVARIANT(&f.load),
        {"--quiet", "-q", SL_FLAG_BOOL, &f.load.quiet, NULL, "Only warnings and errors on stderr.",
         0, 0, NULL},
        {"--parallel", NULL, SL_FLAG_U32, &f.parallel, "N",
         "Sequences computed in one step at most (default: 256).", 1, 4096, NULL},
        {"--queue", NULL, SL_FLAG_U32, &f.queue, "N",
         "Requests that may wait; beyond that 429 (default: 256).", 1, 16384, NULL},
        {"--queue-tokens", NULL, SL_FLAG_U64, &f.queue_tokens, "N",
         "Their prompts and longest answers together, in tokens (default: 4 times the KV pool).", 1,
         1e15, NULL},
        {"--connections", NULL, SL_FLAG_U32, &f.connections, "N",
         "Client connections; beyond that 503 (default: 10000, as far as descriptors last).", 1,
         1000000, NULL},
        {"--drain-timeout", NULL, SL_FLAG_U32, &f.drain_s, "SECONDS",
         "After SIGTERM, how long running requests may take to finish (default: 60).", 0, 86400,
         NULL},
        {"--lame-duck", NULL, SL_FLAG_U32, &f.lame_duck_s, "SECONDS",
         "After SIGTERM, how long the port stays open at least, answering 503 (default: 0).", 0,
         3600, NULL},
        {"--stall-timeout", NULL, SL_FLAG_U32, &f.stall_s, "SECONDS",
         "Work but no step for so long: /health and /readyz say 503 (default: 60).", 1, 86400,
         NULL},
        {"--request-timeout", NULL, SL_FLAG_U32, &f.request_timeout_s, "SECONDS",
         "For a whole request, waiting included; then it ends with 504 (default: 0, no limit).", 0,
         604800, NULL},
        {"--header-timeout", NULL, SL_FLAG_U32, &f.header_timeout_s, "SECONDS",
         "For a request's headers to arrive (default: 10).", 1, 86400, NULL},
        {"--body-timeout", NULL, SL_FLAG_U32, &f.body_timeout_s, "SECONDS",
         "For a request's body; again as long while it grows by 16 KB/s (default: 30).", 1, 86400,
         NULL},
        {"--idle-timeout", NULL, SL_FLAG_U32, &f.idle_timeout_s, "SECONDS",
         "For the next request on a connection (default: 75).", 1, 86400, NULL},
        {"--write-timeout", NULL, SL_FLAG_U32, &f.write_timeout_s, "SECONDS",
         "For a client that takes nothing of its answer (default: 30).", 1, 86400, NULL},
        {"--max-body", NULL, SL_FLAG_SIZE, &f.body_max, "SIZE",
         "Largest request body (default: 8M).", 0, 0, NULL},
        {"--max-output", NULL, SL_FLAG_SIZE, &f.output_max, "SIZE",
         "Held of a stream for a client that reads too slowly (default: 1M).", 0, 0, NULL},
        {"--calibrate", NULL, SL_FLAG_BOOL, &f.calibrate, NULL,
         "Use what steps cost on this machine, which is measured while the server is idle and kept "
         "beside the packed weights (default; --no-calibrate: neither).",
         0, 0, NULL},
        {"--prefix-cache", NULL, SL_FLAG_BOOL, &f.prefix_cache, NULL,
         "Compute what prompts have in common at their beginning once, and keep it while there is "
         "room (default; --no-prefix-cache: each prompt is computed whole).",
         0, 0, NULL},
        {"--speculate", NULL, SL_FLAG_BOOL, &f.speculate, NULL,
         "Guess from a request's own text what follows, and compute some guesses with its tokens "
         "where that is faster; answers do not change (default; --no-speculate: one token at a "
         "time).",
         0, 0, NULL},
        {"--policy", NULL, SL_FLAG_CHOICE, &f.policy, NULL,
         "Who comes first (default: fifo, as they came). priority: the requests' \"priority\", "
         "lower numbers first; fair: the tenant that had least; shortest: the shortest prompt and "
         "answer.",
         0, 0, "fifo|priority|fair|shortest"}, /* as sl_sched_policy */
        {"--age", NULL, SL_FLAG_U32, &f.age_s, "SECONDS",
         "Of waiting, which make up for one step of priority (default: 10).", 1, 86400, NULL},
        {"--step-time", NULL, SL_FLAG_U32, &f.step_ms, "MS",
         "So long may a step take because of a prompt beside running answers; known once steps "
         "were measured (default: twice as long as without it).",
         1, 60000, NULL},
        {"--batching", NULL, SL_FLAG_CHOICE, &f.batching, NULL,
         "To compare with: requests begin at any step (default: continuous), or in batches that "
         "end before the next begins; window: a batch waits for others.",
         0, 0, "continuous|static|window"}, /* as sl_sched_batching */
        {"--batch", NULL, SL_FLAG_U32, &f.batch, "N",
         "Requests of a batch, with --batching static and window (default: as many as run).", 1,
         65535, NULL},
        {"--batch-window", NULL, SL_FLAG_U32, &f.batch_window_ms, "MS",
         "For others to come, with --batching window (default: 10).", 0, 60000, NULL},
        {"--trust-tenant-header", NULL, SL_FLAG_BOOL, &f.trust_tenant_header, NULL,
         "The header X-Sluice-Tenant names a tenant, whose prompts share nothing with others'. "
         "Only behind a proxy that sets it.",
         0, 0, NULL},
        {"--tenant-weight", NULL, SL_FLAG_STRINGS, &f.tenant_weight, "NAME=N",
         "With --policy fair a tenant's share of the work beside those of others, which have 1 "
         "(several times).",
         0, 0, NULL},
        {"--max-wait", NULL, SL_FLAG_U32, &f.max_wait_ms, "MS",
         "Refuse with 429 what would wait for longer, by what requests took of late (default: no "
         "bound but the queue's).",
         1, 86400000, NULL},
        {"--admin", NULL, SL_FLAG_BOOL, &f.admin, NULL,
         "POST /admin/pause and /admin/resume: whether waiting requests may begin. For whoever can "
         "reach the port.",
         0, 0, NULL},
        {"--strict-api", NULL, SL_FLAG_BOOL, &f.strict_api, NULL,
         "Refuse requests with unknown fields instead of ignoring these.", 0, 0, NULL},
        {"--access-log", NULL, SL_FLAG_BOOL, &f.access_log, NULL,
         "One line for each request on stderr (default; --no-access-log: none).", 0, 0, NULL},
        {"--log-json", NULL, SL_FLAG_BOOL, &f.log_json, NULL, "Log records as JSON objects.", 0, 0,
         NULL},
        {"--log-prompts", NULL, SL_FLAG_BOOL, &f.log_prompts, NULL,
         "Log the text of prompts. It is the clients' own: off by default.", 0, 0, NULL},
    };
    const sl_command command = {
        .name = "serve",
        .usage = "sluice serve MODEL [flags]",
        .summary = "Serves a model over HTTP: /v1/chat/completions, /v1/completions, /v1/models, "
                   "/health,\n"
                   "/readyz, /livez, /metrics, /v1/requests/ID/explain and /cancel. SIGTERM "
                   "finishes what\n"
                   "runs, then ends; a second one ends at once.",
        .examples =
            "  sluice serve model.gguf\n"
            "  sluice serve model.gguf --host 0.0.0.0 --port 80 --alias my-model --kv-memory 4G\n"
            "  curl http://127.0.0.1:8080/v1/chat/completions \\\n"
            "    -H 'Content-Type: application/json' \\\n"
            "    -d '{\"messages\": [{\"role\": \"user\", \"content\": \"Hello\"}]}'\n",
        .flags = flags,
        .n_flags = sizeof(flags) / sizeof(flags[0]),
        .n_args_min = 1,
        .n_args_max = 1,
    };
    const char *args[1];
    int code = sl_flags_parse(&command, argc, argv, args);
    code = code == SL_FLAGS_GO_ON ? check_flags(&f) : code;
    code = code == SL_FLAGS_GO_ON ? parse_weights(&f) : code;
    if (code != SL_FLAGS_GO_ON) {
        return code;
    }
    sl_log_init(log_to_stderr, &f.log_json, f.load.quiet ? SL_LOG_WARN : SL_LOG_INFO);
    raise_descriptor_limit();
    sl_error err = {0};
    sl_status status = serve(args[0], &f, &err);
    sl_flags_free(&command);
    if (status != SL_OK) {
        sl_cmd_error("serve", "%s", err.message);
        return SL_EXIT_FAILURE;
    }
    return SL_EXIT_OK;
}
