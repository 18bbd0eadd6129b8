/* Inside of the service: what service.c, routes.c and the job files share. Private to src/serve. */
#ifndef SL_SERVE_SERVICE_INT_H
#define SL_SERVE_SERVICE_INT_H

#include <stdatomic.h>

#include "serve/api/api_error.h"
#include "serve/api/params.h"
#include "serve/salts.h"
#include "serve/serve_metrics.h"
#include "serve/service.h"
#include "text/tokenizer/detokenizer.h"

typedef struct serve_job serve_job;

#define SERVE_ENDED_MAX 256

/* One io thread: its loop, its connections, its jobs. A connection never changes thread. */
typedef struct serve_loop {
    sl_service *service;
    uint32_t owner; /* of the runner's news */
    uv_loop_t uv;
    uv_async_t wake; /* news from the runner, or stop */
    uv_timer_t tick; /* once a second while it has work: heartbeats, drain, trim */
    sl_http_server *http;
    serve_job *jobs;         /* all that the runner still knows of */
    uint32_t n_jobs, n_open; /* jobs, and those of them that still owe an answer */
    sl_buf scratch;          /* one event being written */
    uint64_t next_id;
    serve_salts salts, tenants;
    char *ended[SERVE_ENDED_MAX]; /* what is kept of the last requests, a JSON object each */
    uint32_t n_ended;             /* ever; the newest is the one before n_ended % SERVE_ENDED_MAX */
    bool ticking;
    uint32_t trim_ticks; /* ticks until freed memory goes back to the system; 0: it need not */
} serve_loop;

typedef enum serve_state {
    SERVE_STARTING, /* the test token is being computed */
    SERVE_READY,
    SERVE_DRAINING,
    SERVE_STOPPED
} serve_state;

struct sl_service {
    sl_service_options options;
    sl_service_model model;
    sl_runner *runner; /* model.runner; NULL once it is gone */
    serve_metrics metrics;
    serve_loop loop; /* one for each io thread; one so far */
    serve_state state;
    atomic_bool stop; /* asked for */
    uint16_t port;
    uint64_t stop_ns;     /* when draining began */
    uint64_t busy_ns;     /* since when there is work without a pause */
    int64_t created_s;    /* wall clock, for /v1/models */
    uint64_t random[2];   /* makes ids and seeds differ between processes */
    sl_status run_status; /* why it stopped */
    sl_error run_error;
};

/* --- service.c ------------------------------------------------------------------------------- */
bool sl_serve_healthy(sl_service *s, const char **why_out);
void sl_serve_listen(sl_service *s);                    /* the test token is there */
void sl_serve_fail(sl_service *s, const sl_error *err); /* it cannot serve: run ends with this */
uint64_t sl_serve_random(serve_loop *l);
void sl_serve_tick_start(serve_loop *l);
void sl_serve_trim_later(serve_loop *l); /* something large is being freed */

/* --- routes.c -------------------------------------------------------------------------------- */
void sl_serve_on_headers(void *user, sl_http_exchange *x);
void sl_serve_on_request(void *user, sl_http_exchange *x);
void sl_serve_on_record(void *user, const sl_http_record *record);
const char *sl_serve_error_body(void *user, int status, const char *message, sl_buf *out);
void sl_serve_respond_error(sl_http_exchange *x, const sl_api_error *e);
void sl_serve_respond_json(sl_http_exchange *x, int status, sl_buf *body); /* 503 if it failed */

/* --- control.c ------------------------------------------------------------------------------- */
/* ID of a path /v1/requests/ID`action`; empty if it is none. */
sl_slice sl_serve_control_id(sl_slice path, const char *action);
void sl_serve_no_request(sl_http_exchange *x, sl_slice id); /* 404 */
void sl_serve_cancel(serve_loop *l, sl_http_exchange *x);   /* ends the request of that id */
void sl_serve_pause(serve_loop *l, sl_http_exchange *x, bool paused);

/* --- explain.c ------------------------------------------------------------------------------- */
void sl_serve_explain(serve_loop *l, sl_http_exchange *x);
void sl_serve_explain_deinit(serve_loop *l);

/* --- job.c ----------------------------------------------------------------------------------- */
void sl_job_start(serve_loop *l, sl_http_exchange *x, sl_api_kind kind);
SL_NODISCARD sl_status sl_job_start_canary(serve_loop *l, sl_error *err);
void sl_job_gone(serve_job *j);
/* false: there is none, or its answer is complete */
serve_job *sl_job_find(serve_loop *l, sl_slice id); /* NULL: no answer is owed to such a one */
bool sl_job_cancel(serve_loop *l, sl_slice id);
void sl_job_poll(serve_loop *l);       /* takes all news of the runner */
void sl_job_cancel_all(serve_loop *l); /* the drain took too long */
void sl_job_free_all(serve_loop *l);   /* when the runner is gone */
void sl_job_heartbeat(serve_loop *l, uint64_t now_ns);

#endif
