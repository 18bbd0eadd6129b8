/* The life of a generation request: start, news from the runner, the client's leaving, the end.
 * See job_int.h. Owner: the io thread of its loop. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "serve/job_int.h"

/* --- memory ---------------------------------------------------------------------------------- */

static void job_choice_free(serve_choice *c) {
    sl_runner *runner = c->job->loop->service->runner;
    if (c->handle != SL_HANDLE_NONE && runner != NULL) {
        sl_runner_release(runner, c->handle);
    }
    sl_detokenizer_deinit(&c->detok);
    sl_buf_deinit(&c->text);
    sl_free(c->out_ids);
    sl_free(c->out_logprobs);
    sl_free(c->out_top);
    sl_free(c->history_memory);
    sl_free(c->ngram_memory);
}

static void job_free(serve_job *j) {
    serve_loop *l = j->loop;
    if (j->prev != NULL) {
        j->prev->next = j->next;
    } else {
        l->jobs = j->next;
    }
    if (j->next != NULL) {
        j->next->prev = j->prev;
    }
    l->n_jobs--;
    for (uint32_t i = 0; i < j->n_choices; i++) {
        job_choice_free(&j->choices[i]);
    }
    sl_free(j->choices);
    for (size_t i = 0; i < j->n_prompts; i++) {
        sl_ids_deinit(&j->prompts[i]);
    }
    sl_free(j->prompts);
    if (j->has_params) {
        sl_api_params_deinit(&j->params);
    }
    sl_buf_deinit(&j->head);
    sl_free(j);
}

static serve_job *job_new(serve_loop *l, sl_http_exchange *x) {
    serve_job *j = sl_alloc_zero(1, sizeof(*j));
    if (j == NULL) {
        return NULL;
    }
    j->loop = l;
    j->x = x;
    j->begin_ns = x != NULL ? sl_http_exchange_begin_ns(x) : sl_clock_mono_ns();
    j->told_ns = sl_clock_mono_ns();
    j->created_s = sl_clock_wall_s();
    sl_buf_init(&j->head, 4096);
    j->next = l->jobs;
    if (l->jobs != NULL) {
        l->jobs->prev = j;
    }
    l->jobs = j;
    if (l->n_jobs++ == 0) {
        l->service->busy_ns = sl_clock_mono_ns();
    }
    l->n_open++;
    return j;
}

/* Nobody waits for the answer any more, or it is complete. */
static void job_close(serve_job *j, const char *status) {
    sl_serve_explain_keep(j, status);
    serve_loop *l = j->loop;
    j->x = NULL;
    j->closed = true;
    l->n_open--;
    for (uint32_t i = 0; i < j->n_choices; i++) {
        serve_choice *c = &j->choices[i];
        c->ended = true;
        if (c->handle != SL_HANDLE_NONE) {
            sl_runner_cancel(l->service->runner, c->handle);
        }
    }
    if (j->n_held == 0) {
        job_free(j);
    }
}

static void job_fail(serve_job *j, const sl_api_error *e) {
    if (j->x != NULL) {
        sl_job_reply_error(j, e);
    }
    job_close(j, e->status == 499 ? "cancelled" : "failed");
}

/* --- start ----------------------------------------------------------------------------------- */

static sl_status job_no_memory(sl_api_error *e) {
    return sl_api_fail(e, 503, NULL, NULL, "The server has no memory for this request.");
}

/* Room for what the engine writes, and the history that penalties need. */
static sl_status job_choice_arrays(serve_choice *c, uint32_t max_tokens, sl_api_error *e) {
    const sl_api_params *p = &c->job->params;
    sl_request *q = c->request;
    const sl_ids *prompt = &c->job->prompts[c->i_prompt];
    c->out_ids = sl_realloc_array(NULL, max_tokens, sizeof(*c->out_ids));
    bool ok = c->out_ids != NULL;
    if (p->logprobs || p->best_of > p->n) {
        c->out_logprobs = sl_realloc_array(NULL, max_tokens, sizeof(*c->out_logprobs));
        ok = ok && c->out_logprobs != NULL;
    }
    if (p->sample.n_top > 0) {
        size_t row = p->sample.n_top * sizeof(*c->out_top); /* at most 20 */
        c->out_top = sl_realloc_array(NULL, max_tokens, row);
        ok = ok && c->out_top != NULL;
    }
    if (ok && sl_sample_needs_history(&q->sample)) {
        uint32_t n = (uint32_t)prompt->n + max_tokens; /* at most the context */
        c->history_memory = sl_alloc(sl_sample_history_bytes(n));
        ok = c->history_memory != NULL;
        if (ok) {
            sl_sample_history_init(&c->history, c->history_memory, n);
            sl_sample_history_add_prompt(&c->history, prompt->ids, prompt->n);
            q->history = &c->history;
        }
    }
    if (ok && c->job->loop->service->options.speculate && !c->job->canary) {
        const uint32_t n = (uint32_t)prompt->n + max_tokens;
        c->ngram_memory = sl_alloc(sl_ngram_bytes(n));
        ok = c->ngram_memory != NULL;
        if (ok) {
            const sl_ngram_text text = {prompt->ids, NULL, (uint32_t)prompt->n};
            sl_ngram_init(&c->ngram, c->ngram_memory, n);
            sl_ngram_grow(&c->ngram, &text, text.n_prompt);
            q->ngram = &c->ngram;
        }
    }
    q->out_ids = c->out_ids;
    q->out_logprobs = c->out_logprobs;
    q->out_top = c->out_top;
    return ok ? SL_OK : job_no_memory(e);
}

/* Takes a slot and fills its request. */
static sl_status job_choice_fill(serve_choice *c, uint64_t seed, sl_api_error *e) {
    serve_job *j = c->job;
    sl_service *s = j->loop->service;
    const sl_api_params *p = &j->params;
    const sl_ids *prompt = &j->prompts[c->i_prompt];
    sl_error err = {0};
    if (sl_runner_acquire(s->runner, j->loop->owner, &c->handle, &err) != SL_OK) {
        c->handle = SL_HANDLE_NONE;
        return sl_job_busy(j, e);
    }
    sl_request *q = c->request = sl_runner_request(s->runner, c->handle);
    uint64_t room = sl_runner_ctx_max(s->runner) - prompt->n; /* at least 1: checked */
    q->prompt_ids = prompt->ids;
    q->n_prompt = (uint32_t)prompt->n;
    q->max_tokens = (uint32_t)(p->max_tokens == 0 || p->max_tokens > room ? room : p->max_tokens);
    q->sample = p->sample;
    q->sample.seed = seed;
    q->n_top = p->sample.n_top;
    q->choice = c->index % p->best_of; /* the same prompt draws the same, wherever it stands */
    q->ignore_eos = p->ignore_eos;
    q->stop_ids = p->stop_ids;
    q->n_stop_ids = p->n_stop_ids;
    q->deadline_ns = j->deadline_ns;
    q->shares = j->shares;
    q->salt = j->salt;
    q->tenant = j->tenant;
    q->weight = j->weight;
    q->priority = p->priority;
    q->user = c;
    return job_choice_arrays(c, q->max_tokens, e);
}

/* All choices or none: what is refused takes no place in the queue from others. */
static sl_status job_submit_handles(serve_job *j, sl_api_error *e) {
    serve_metrics *m = &j->loop->service->metrics;
    sl_handle *handles = sl_realloc_array(NULL, j->n_choices, sizeof(*handles));
    if (handles == NULL) {
        return job_no_memory(e);
    }
    for (uint32_t i = 0; i < j->n_choices; i++) {
        handles[i] = j->choices[i].handle;
    }
    sl_error err;
    sl_status status = sl_runner_submit_all(j->loop->service->runner, handles, j->n_choices, &err);
    sl_free(handles);
    if (status == SL_OK) {
        j->n_held = j->n_choices;
        j->submitted = true;
        for (uint32_t i = 0; i < j->n_choices; i++) {
            sl_histogram_observe(&m->prompt_tokens, j->prompts[j->choices[i].i_prompt].n);
        }
        return SL_OK;
    }
    if (status == SL_AGAIN) {
        return sl_job_busy(j, e);
    }
    if (status == SL_ERR_ARGUMENT) {
        return SL_API_BAD(e, NULL, "The request cannot be run: %s", err.message);
    }
    return sl_api_fail(e, 500, NULL, NULL, "The engine does not take requests any more.");
}

static sl_status job_submit_all(serve_job *j, sl_api_error *e) {
    const sl_api_params *p = &j->params;
    uint32_t n = (uint32_t)j->n_prompts * p->best_of;
    j->choices = sl_alloc_zero(n, sizeof(*j->choices));
    if (j->choices == NULL) {
        return job_no_memory(e);
    }
    uint64_t seed = p->has_seed ? p->sample.seed : sl_serve_random(j->loop);
    const sl_tokenizer *tok = j->loop->service->model.tokenizer;
    j->n_choices = n;
    for (uint32_t i = 0; i < n; i++) {
        serve_choice *c = &j->choices[i];
        c->job = j;
        c->index = i;
        c->i_prompt = i / p->best_of;
        sl_detokenizer_init(&c->detok, tok, p->stops, p->n_stops, p->show_special);
        sl_buf_init(&c->text, (size_t)256 << 20);
    }
    sl_status status = SL_OK;
    for (uint32_t i = 0; i < n && status == SL_OK; i++) {
        status = job_choice_fill(&j->choices[i], seed, e);
        if (status == SL_OK && p->echo) {
            status = sl_job_echo(&j->choices[i], e);
        }
    }
    return status == SL_OK ? job_submit_handles(j, e) : status;
}

void sl_job_start(serve_loop *l, sl_http_exchange *x, sl_api_kind kind) {
    sl_api_error e = {0};
    serve_job *j = job_new(l, x);
    if (j == NULL) {
        e.status = 503;
        (void)snprintf(e.message, sizeof(e.message), "The server has no memory for this request.");
        sl_serve_respond_error(x, &e);
        return;
    }
    (void)snprintf(j->id, sizeof(j->id), "%s-%016" PRIx64 "%08" PRIx64,
                   kind == SL_API_CHAT ? "chatcmpl" : "cmpl", sl_serve_random(l),
                   ++l->next_id & 0xFFFFFFFFu);
    sl_http_exchange_set_user(x, j);
    sl_status status = sl_job_admit(j, &e);
    if (status == SL_OK) {
        status = sl_job_read(j, kind, &e);
    }
    if (status == SL_OK) {
        status = sl_job_foresee(j, &e);
    }
    if (status == SL_OK && sl_job_reply_head(j) != SL_OK) {
        status = job_no_memory(&e);
    }
    if (status == SL_OK) {
        status = job_submit_all(j, &e);
    }
    if (status != SL_OK) {
        job_fail(j, &e);
        return;
    }
    sl_serve_tick_start(l);
}

/* One token of the simplest prompt, to know that the engine works before the port opens. */
sl_status sl_job_start_canary(serve_loop *l, sl_error *err) {
    const sl_tokenizer *tok = l->service->model.tokenizer;
    serve_job *j = job_new(l, NULL);
    int32_t id = sl_tokenizer_bos(tok) >= 0 ? sl_tokenizer_bos(tok) : 0;
    sl_api_error e = {.status = 503};
    sl_status status = SL_ERR_MEMORY;
    if (j != NULL) {
        j->canary = true;
        j->params.n = j->params.best_of = 1;
        j->params.max_tokens = 1;
        j->prompts = sl_alloc_zero(1, sizeof(*j->prompts));
        if (j->prompts != NULL) {
            j->n_prompts = 1;
            sl_ids_init(&j->prompts[0], 1);
            status = sl_ids_push(&j->prompts[0], id);
        }
    }
    if (status == SL_OK) {
        status = job_submit_all(j, &e);
    }
    if (status != SL_OK) {
        if (j != NULL) {
            job_close(j, "failed");
        }
        return SL_FAIL(err, status, "the engine does not take its first request: %s", e.message);
    }
    return SL_OK;
}

/* --- news ------------------------------------------------------------------------------------ */

static bool job_is_end_token(const serve_choice *c, int32_t id) {
    const sl_api_params *p = &c->job->params;
    if (!p->ignore_eos && sl_tokenizer_is_eog(c->detok.tok, id)) {
        return true;
    }
    for (uint32_t i = 0; i < p->n_stop_ids; i++) {
        if (p->stop_ids[i] == id) {
            return true;
        }
    }
    return false;
}

static void job_choice_end(serve_choice *c, sl_finish finish) {
    if (!c->ended) {
        c->ended = true;
        c->finish = finish;
        c->job->n_ended++;
    }
}

/* Takes the tokens up to n into the answer. The end token is counted, but is no text; a stop string
 * ends the answer with the token that completed it. */
static sl_status job_take_tokens(serve_choice *c, uint32_t n, sl_error *err) {
    while (c->n_seen < n && !c->ended) {
        int32_t id = c->request->out_ids[c->n_seen++];
        bool stopped = false;
        bool is_end = job_is_end_token(c, id);
        if (!is_end || c->job->params.show_special) {
            sl_status status = sl_detokenizer_push(&c->detok, id, &c->text, &stopped, err);
            if (status != SL_OK) {
                return status;
            }
        }
        if (is_end) {
            job_choice_end(c, SL_FINISH_STOP);
            return stopped ? SL_OK : sl_detokenizer_finish(&c->detok, &c->text, err);
        }
        if (stopped) {
            job_choice_end(c, SL_FINISH_STOP);
            sl_runner_cancel(c->job->loop->service->runner, c->handle);
        }
    }
    return SL_OK;
}

/* An end of the runner's that the tokens did not tell. */
static sl_status job_take_end(serve_choice *c, sl_finish finish, sl_error *err) {
    if (finish == SL_FINISH_ERROR) {
        *err = c->request->error;
        c->job->timed_out = err->code == SL_ERR_LIMIT; /* what the runner says of a deadline */
        return err->code < 0 ? err->code : SL_ERR_INTERNAL;
    }
    if (finish == SL_FINISH_CANCELLED) {
        return SL_FAIL(err, SL_ERR_CANCELLED, "the server is shutting down");
    }
    sl_status status = sl_detokenizer_finish(&c->detok, &c->text, err);
    /* What was held back may have completed a stop string. */
    job_choice_end(c, c->detok.stopped ? SL_FINISH_STOP : finish);
    return status;
}

static void job_observe_tokens(serve_choice *c, uint32_t n_new) {
    serve_metrics *m = &c->job->loop->service->metrics;
    uint64_t now = sl_clock_mono_ns();
    const sl_request *q = c->request;
    c->n_accepted = (uint32_t)atomic_load_explicit(&q->n_accepted, memory_order_relaxed);
    c->n_drafted = (uint32_t)atomic_load_explicit(&q->n_drafted, memory_order_relaxed);
    if (c->last_token_ns == 0) {
        c->n_cached = c->request->n_cached;
        sl_histogram_observe(&m->first_token_ns, now - c->job->begin_ns);
        sl_histogram_observe(&m->queue_ns, c->request->t_start_ns - c->request->t_submit_ns);
    } else {
        for (uint32_t i = 0; i < n_new; i++) {
            sl_histogram_observe(&m->token_gap_ns, (now - c->last_token_ns) / n_new);
        }
        const uint64_t gap_ns = now - c->last_token_ns;
        c->gap_most_ns = gap_ns > c->gap_most_ns ? gap_ns : c->gap_most_ns;
    }
    c->last_token_ns = now;
}

/* What the client may be told of an engine error: what to do, nothing of the inside. */
static void job_engine_error(const serve_job *j, const sl_error *err, sl_api_error *e) {
    sl_status ignored;
    const uint64_t own_ns = j->params.deadline_ms * SL_NS_PER_MS;
    if (j->timed_out && own_ns > 0 && j->deadline_ns == j->begin_ns + own_ns) {
        ignored = sl_api_fail(e, 504, "deadline_exceeded", "deadline_ms",
                              "The answer was not complete within the %" PRIu32
                              " ms of 'deadline_ms'.",
                              j->params.deadline_ms);
        (void)ignored;
        return;
    }
    if (j->timed_out) {
        ignored = sl_api_fail(e, 504, "request_timeout", NULL,
                              "The request took longer than the %.0f s that this server allows.",
                              (double)j->loop->service->options.request_timeout_ms / 1e3);
        (void)ignored;
        return;
    }
    switch (err->code) {
    case SL_ERR_NUMERIC:
        ignored = sl_api_fail(e, 500, "numerical_error", NULL,
                              "The model produced numbers that are not finite for this request.");
        break;
    case SL_ERR_CANCELLED:
        ignored = sl_api_fail(e, 503, "shutting_down", NULL, "The server is shutting down.");
        break;
    case SL_ERR_MEMORY:
        ignored = sl_api_fail(e, 503, NULL, NULL, "The server has no memory for this request.");
        break;
    default:
        ignored = sl_api_fail(e, 500, "engine_error", NULL, "The engine failed on this request.");
        break;
    }
    (void)ignored;
}

static void job_finish(serve_job *j) {
    serve_metrics *m = &j->loop->service->metrics;
    for (uint32_t i = 0; i < j->n_choices; i++) {
        sl_histogram_observe(&m->generated_tokens, j->choices[i].n_seen);
    }
    if (j->canary) {
        sl_service *s = j->loop->service;
        job_close(j, "finished");
        sl_serve_listen(s);
        return;
    }
    sl_job_reply_end(j);
    sl_histogram_observe(&m->duration_ns, sl_clock_mono_ns() - j->begin_ns);
    job_close(j, "finished");
}

static void job_fail_engine(serve_job *j, const sl_error *err) {
    bool expected = err->code == SL_ERR_CANCELLED || j->timed_out;
    sl_log(expected ? SL_LOG_WARN : SL_LOG_ERROR, "serve", "%s: %s",
           j->canary ? "test token" : j->id, err->message);
    if (j->canary) {
        sl_service *s = j->loop->service;
        job_close(j, "failed");
        sl_serve_fail(s, err);
        return;
    }
    sl_api_error e;
    job_engine_error(j, err, &e);
    job_fail(j, &e);
}

/* News of one choice. The finish is read before the count: once it is there, the count is final. */
static void job_on_news(serve_choice *c) {
    serve_job *j = c->job;
    sl_service *s = j->loop->service;
    sl_finish finish = (sl_finish)atomic_load_explicit(&c->request->finish, memory_order_acquire);
    uint32_t n = (uint32_t)atomic_load_explicit(&c->request->n_out, memory_order_acquire);
    bool answers = !c->ended && !j->closed;
    sl_error err = {0};
    sl_status status = SL_OK;
    if (answers) {
        uint32_t before = c->n_seen;
        status = job_take_tokens(c, n, &err);
        if (c->n_seen > before) {
            job_observe_tokens(c, c->n_seen - before);
        }
        if (status == SL_OK && finish != SL_FINISH_NONE && !c->ended) {
            status = job_take_end(c, finish, &err);
        }
        if (status == SL_OK && j->x != NULL && j->params.stream) {
            status = sl_job_reply_events(c, &err);
        }
    }
    if (finish != SL_FINISH_NONE) {
        sl_serve_story_take(&c->story, c->request);
        sl_runner_release(s->runner,
                          c->handle); /* its arrays are ours: the answer still has them */
        c->handle = SL_HANDLE_NONE;
        c->request = NULL;
        j->n_held--;
    }
    if (answers && status != SL_OK) {
        job_fail_engine(j, &err);
    } else if (answers && j->n_ended == j->n_choices) {
        job_finish(j);
    } else if (j->closed && j->n_held == 0) {
        job_free(j); /* it only waited for this */
    }
}

void sl_job_poll(serve_loop *l) {
    sl_runner *r = l->service->runner;
    sl_handle h;
    while (r != NULL && sl_runner_poll(r, l->owner, &h)) {
        sl_request *q = sl_runner_request(r, h);
        if (q != NULL) {
            job_on_news(q->user);
        }
    }
}

/* --- the client, the server ------------------------------------------------------------------ */

void sl_job_gone(serve_job *j) {
    j->x = NULL;
    job_close(j, "left by its client");
}

serve_job *sl_job_find(serve_loop *l, sl_slice id) {
    serve_job *j = l->jobs;
    while (j != NULL && (j->x == NULL || !sl_slice_eq_str(id, j->id))) {
        j = j->next;
    }
    return j;
}

bool sl_job_cancel(serve_loop *l, sl_slice id) {
    serve_job *j = sl_job_find(l, id);
    if (j == NULL) {
        return false;
    }
    sl_api_error e = {0};
    (void)!sl_api_fail(&e, 499, "request_cancelled", NULL, "The request was cancelled.");
    job_fail(j, &e);
    return true;
}

void sl_job_cancel_all(serve_loop *l) {
    for (serve_job *j = l->jobs; j != NULL; j = j->next) {
        for (uint32_t i = 0; i < j->n_choices; i++) {
            if (j->choices[i].handle != SL_HANDLE_NONE) {
                sl_runner_cancel(l->service->runner, j->choices[i].handle);
            }
        }
    }
}

void sl_job_free_all(serve_loop *l) {
    while (l->jobs != NULL) {
        job_free(l->jobs);
    }
}

void sl_job_heartbeat(serve_loop *l, uint64_t now_ns) {
    const uint64_t quiet_ns = 15 * SL_NS_PER_S;
    for (serve_job *j = l->jobs; j != NULL; j = j->next) {
        if (j->x != NULL && j->params.stream && now_ns - j->told_ns >= quiet_ns) {
            sl_job_reply_heartbeat(j);
        }
    }
}
