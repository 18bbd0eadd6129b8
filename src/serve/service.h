/* The server of one model: HTTP requests in, answers out. Owns the io loop; borrows the runner, the
 * tokenizer and the chat template.
 *
 * Life: create (takes the port's address) -> the caller creates the runner with sl_service_wake as
 * its wake callback -> run (one token as a test, then the port opens; returns when drained) -> the
 * caller frees the runner -> free. */
#ifndef SL_SERVE_SERVICE_H
#define SL_SERVE_SERVICE_H

#include <stdbool.h>
#include <stdint.h>

#include <sluice/status.h>

#include "engine/engine.h"
#include "net/http_server.h"
#include "runner/runner.h"
#include "text/chat.h"
#include "text/tokenizer/tokenizer.h"

typedef struct sl_service sl_service;

#define SL_SERVICE_TENANT_BYTES_MAX 128 /* of a tenant's name */
#define SL_SERVICE_TENANTS 1025 /* for sl_runner_options.sched: names known at once, and no name */

/* A tenant's share of the work beside the others', with the policy that looks at it. */
typedef struct sl_service_weight {
    const char *tenant;
    uint32_t weight; /* 1 .. SL_SCHED_WEIGHT_MAX */
} sl_service_weight;

typedef struct sl_service_options {
    const char *version; /* of the program, for /metrics */
    const char *host;
    uint16_t port;               /* 0: a free one */
    sl_http_server_options http; /* limits and time-outs; handler and user are the service's */
    uint64_t drain_timeout_ms;   /* what runs may still take after stop; then it is cancelled */
    uint64_t lame_duck_ms;       /* the port stays open at least so long after stop */
    uint64_t stall_ms;           /* work but no step for so long: not healthy. 0: 60 s */
    uint64_t request_timeout_ms; /* from a request's first byte to its last token; 0: no limit */
    uint64_t max_wait_ms;        /* requests that would wait for longer are refused; 0: none */
    bool admin;                  /* /admin/ is there */
    bool strict_api;             /* unknown request fields are errors */
    bool prefix_cache;           /* prompts that begin alike are computed once */
    /* guesses from a request's own text are computed with its tokens */
    bool speculate;
    bool trust_tenant_header;         /* X-Sluice-Tenant names who does not share with others */
    const sl_service_weight *weights; /* [n_weights] of tenants; of others 1. Borrowed */
    size_t n_weights;
    bool log_prompts, access_log;
    /* Called once the port is open. */
    void (*on_listening)(void *user, uint16_t port);
    void *user;
} sl_service_options;

/* What is served. Borrowed until sl_service_run returns. */
typedef struct sl_service_model {
    const char *name; /* that clients use */
    const sl_tokenizer *tokenizer;
    const sl_chat *chat;     /* NULL: the model has no chat template */
    sl_runner *runner;       /* made with sl_service_wake */
    sl_engine_memory memory; /* for /metrics */
} sl_service_model;

/* Takes the address: a port in use is noticed before a model is loaded. Strings of the options are
 * borrowed for the service's life. */
SL_NODISCARD sl_status sl_service_create(const sl_service_options *options, sl_service **out,
                                         sl_error *err);
/* For sl_runner_options.wake; wake_user is the service. Any thread. */
void sl_service_wake(void *service, uint32_t owner);
/* Serves until stopped and drained. SL_OK after an orderly stop. */
SL_NODISCARD sl_status sl_service_run(sl_service *s, const sl_service_model *model, sl_error *err);
/* Begins the orderly stop: not ready at once, new work is refused, what runs is finished. May be
 * called from any thread and from a signal handler. */
void sl_service_stop(sl_service *s);
void sl_service_free(sl_service *s); /* after the runner was freed; NULL is fine */

#endif
