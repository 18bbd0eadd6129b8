/* From a request body to token ids: parameters, rendering, tokenising. All bounded: tokenising
 * stops one token after the context is full. Runs on the io thread. */
#include <inttypes.h>
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/log.h"
#include "serve/api/chat_request.h"
#include "serve/job_int.h"

#define VALUES_MAX_BYTES ((size_t)64 << 20)
#define RENDERED_MAX_BYTES ((size_t)16 << 20)

static sl_status prompt_no_memory(sl_api_error *e) {
    return sl_api_fail(e, 503, NULL, NULL, "The server has no memory for this request.");
}

static sl_status prompt_too_long(uint32_t ctx, size_t n, bool at_least, const char *param,
                                 sl_api_error *e) {
    return sl_api_fail(
        e, 400, "context_length_exceeded", param,
        "This model's maximum context length is %" PRIu32
        " tokens, of which one must be left for the answer, but the prompt has %s%zu "
        "tokens. Shorten it.",
        ctx, at_least ? "at least " : "", n);
}

/* What the tokenizer or the template reports, in the client's terms. */
static sl_status prompt_fail(sl_status status, const sl_error *err, const char *param,
                             sl_api_error *e) {
    switch (status) {
    case SL_ERR_MEMORY:
        return prompt_no_memory(e);
    case SL_ERR_INTERNAL:
        return sl_api_fail(e, 500, NULL, param, "The prompt could not be prepared.");
    default:
        return SL_API_BAD(e, param, "The prompt could not be prepared: %s", err->message);
    }
}

/* One more prompt must fit the context and hold at least one token. */
static sl_status prompt_check(const serve_job *j, sl_status status, const sl_error *err,
                              const sl_ids *ids, const char *param, sl_api_error *e) {
    uint32_t ctx = sl_runner_ctx_max(j->loop->service->runner);
    if (status == SL_ERR_LIMIT) { /* the list of ids is as long as the context */
        return prompt_too_long(ctx, (size_t)ctx + 1, true, param, e);
    }
    if (status != SL_OK) {
        return prompt_fail(status, err, param, e);
    }
    if (ids->n >= ctx) {
        return prompt_too_long(ctx, ids->n, false, param, e);
    }
    if (ids->n == 0) {
        return SL_API_BAD(e, param, "The prompt holds no token.");
    }
    return SL_OK;
}

/* Only when asked for: prompts are the clients' own. A record holds the beginning. */
static void prompt_log(const serve_job *j, sl_slice text) {
    if (j->loop->service->options.log_prompts) {
        int len = text.len > SL_LOG_MESSAGE_MAX ? SL_LOG_MESSAGE_MAX : (int)text.len;
        sl_log(SL_LOG_INFO, "serve", "%s prompt: %.*s", j->id, len, text.ptr);
    }
}

static sl_status prompt_render(serve_job *j, sl_arena *arena, sl_buf *text, sl_spans *spans,
                               sl_api_error *e) {
    const sl_service *s = j->loop->service;
    if (s->model.chat == NULL) {
        return SL_API_BAD(e, "messages",
                          "This model has no chat template; use /v1/completions instead.");
    }
    sl_value *request = NULL;
    sl_status status = sl_chat_request_build(&j->params, arena, &request, e);
    if (status != SL_OK) {
        return status;
    }
    sl_error err;
    status = sl_chat_render(s->model.chat, request, sl_clock_wall_s(), text, spans, &err);
    return status == SL_OK ? SL_OK : prompt_fail(status, &err, "messages", e);
}

static sl_status prompt_chat(serve_job *j, sl_api_error *e) {
    sl_arena arena;
    sl_arena_init(&arena, VALUES_MAX_BYTES);
    sl_buf text;
    sl_buf_init(&text, RENDERED_MAX_BYTES);
    sl_spans spans = {0};
    sl_status status = prompt_render(j, &arena, &text, &spans, e);
    if (status == SL_OK) {
        sl_error err;
        sl_slice rendered = {text.len > 0 ? text.data : "", text.len};
        prompt_log(j, rendered);
        status = sl_chat_encode(j->loop->service->model.tokenizer, rendered, &spans, &j->prompts[0],
                                &err);
        status = prompt_check(j, status, &err, &j->prompts[0], "messages", e);
    }
    sl_spans_deinit(&spans);
    sl_buf_deinit(&text);
    sl_arena_deinit(&arena);
    return status;
}

static sl_status prompt_completion(serve_job *j, size_t i, sl_api_error *e) {
    const sl_api_prompt *p = &j->params.prompts[i];
    sl_ids *ids = &j->prompts[i];
    sl_error err = {0};
    sl_status status = SL_OK;
    if (p->ids != NULL) {
        if (p->n_ids >= ids->max) {
            return prompt_too_long((uint32_t)ids->max, p->n_ids, false, "prompt", e);
        }
        for (size_t k = 0; k < p->n_ids && status == SL_OK; k++) {
            status = sl_ids_push(ids, p->ids[k]);
        }
    } else {
        prompt_log(j, p->text);
        status = sl_tokenizer_encode_full(j->loop->service->model.tokenizer, p->text,
                                          j->params.add_special, true, ids, &err);
    }
    return prompt_check(j, status, &err, ids, "prompt", e);
}

sl_status sl_job_echo(serve_choice *c, sl_api_error *e) {
    const serve_job *j = c->job;
    const sl_api_prompt *p = &j->params.prompts[c->i_prompt];
    sl_error err = {0};
    sl_status status = SL_OK;
    if (p->ids == NULL) {
        status = sl_buf_append(&c->text, p->text.ptr, p->text.len);
        return status == SL_OK ? SL_OK : prompt_no_memory(e);
    }
    sl_detokenizer detok;
    sl_detokenizer_init(&detok, j->loop->service->model.tokenizer, NULL, 0, true);
    for (size_t i = 0; i < p->n_ids && status == SL_OK; i++) {
        bool stopped;
        status = sl_detokenizer_push(&detok, p->ids[i], &c->text, &stopped, &err);
    }
    if (status == SL_OK) {
        status = sl_detokenizer_finish(&detok, &c->text, &err);
    }
    sl_detokenizer_deinit(&detok);
    return status == SL_OK ? SL_OK : prompt_fail(status, &err, "prompt", e);
}

/* An unknown model is a 404, before any work is done for it. */
static sl_status prompt_check_model(const serve_job *j, sl_api_error *e) {
    const char *model = j->params.model;
    if (model == NULL || strcmp(model, j->loop->service->model.name) == 0) {
        return SL_OK;
    }
    char shown[SL_API_SHOWN_MAX];
    return sl_api_fail(e, 404, "model_not_found", "model",
                       "The model \"%s\" does not exist; this server has \"%s\".",
                       sl_api_shown(sl_slice_of(model), shown), j->loop->service->model.name);
}

static uint32_t tenant_weight(const sl_service *s, sl_slice tenant) {
    for (size_t i = 0; i < s->options.n_weights; i++) {
        const sl_service_weight *w = &s->options.weights[i];
        if (strlen(w->tenant) == tenant.len && memcmp(w->tenant, tenant.ptr, tenant.len) == 0) {
            return w->weight;
        }
    }
    return 1;
}

/* With whom the prompt's keys and values are shared: nobody, or who named the same tenant and salt.
 */
static sl_status prompt_choose_salt(serve_job *j, const sl_http_request *r, sl_api_error *e) {
    sl_service *s = j->loop->service;
    sl_slice tenant = {"", 0};
    if (s->options.trust_tenant_header) {
        tenant = sl_http_request_header(r, "x-sluice-tenant");
    }
    if (tenant.len > SL_SERVICE_TENANT_BYTES_MAX) {
        return SL_API_BAD(e, NULL, "The header X-Sluice-Tenant may have %d bytes, but has %zu.",
                          SL_SERVICE_TENANT_BYTES_MAX, tenant.len);
    }
    j->shares = s->options.prefix_cache;
    j->salt = sl_serve_salt(&j->loop->salts, tenant, j->params.cache_salt).number;
    j->tenant = sl_serve_salt(&j->loop->tenants, tenant, (sl_slice){"", 0}).place;
    j->weight = tenant_weight(s, tenant);
    return SL_OK;
}

sl_status sl_job_read(serve_job *j, sl_api_kind kind, sl_api_error *e) {
    const sl_service *s = j->loop->service;
    const sl_http_request *r = sl_http_exchange_request(j->x);
    sl_slice body = {r->body.len > 0 ? r->body.data : "", r->body.len};
    sl_status status = sl_api_params_parse(kind, body, sl_tokenizer_n_vocab(s->model.tokenizer),
                                           s->options.strict_api, &j->params, e);
    if (status != SL_OK) {
        return status;
    }
    j->has_params = true;
    sl_http_exchange_drop_body(j->x);
    if (j->params.unknown[0] != '\0') {
        sl_log(SL_LOG_WARN, "serve", "%s: unknown request fields ignored: %s", j->id,
               j->params.unknown);
    }
    status = prompt_check_model(j, e);
    if (status != SL_OK) {
        return status;
    }
    status = prompt_choose_salt(j, r, e);
    if (status != SL_OK) {
        return status;
    }
    size_t n = kind == SL_API_CHAT ? 1 : j->params.n_prompts;
    uint32_t most = sl_runner_group_max(s->runner);
    if (n * j->params.best_of > most) {
        return SL_API_BAD(
            e, "n",
            "The request asks for %zu answers (prompts times n or best_of), but this server takes "
            "at most %" PRIu32 " at once; send fewer prompts or a smaller n.",
            n * j->params.best_of, most);
    }
    j->prompts = sl_alloc_zero(n, sizeof(*j->prompts));
    if (j->prompts == NULL) {
        return prompt_no_memory(e);
    }
    j->n_prompts = n;
    for (size_t i = 0; i < n; i++) {
        sl_ids_init(&j->prompts[i], sl_runner_ctx_max(s->runner));
    }
    for (size_t i = 0; i < n && status == SL_OK; i++) {
        status = kind == SL_API_CHAT ? prompt_chat(j, e) : prompt_completion(j, i, e);
    }
    return status;
}
