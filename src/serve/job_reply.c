/* What a job tells its client: events of a stream, or one object at the end; errors. Tokens that
 * came together go out in one event, and all events of one turn of the loop in one write (net). */
#include <inttypes.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "serve/api/reply.h"
#include "serve/job_int.h"

static const char stream_headers[] = "Cache-Control: no-cache\r\nX-Accel-Buffering: no\r\n";

static bool reply_is_chat(const serve_job *j) {
    return j->params.kind == SL_API_CHAT;
}

static const char *reply_finish_name(sl_finish finish) {
    return finish == SL_FINISH_LENGTH ? "length" : "stop";
}

static sl_slice reply_text(const serve_choice *c) {
    return (sl_slice){c->text.len > 0 ? c->text.data : "", c->text.len};
}

/* Tokens [from, to) of a choice. */
static sl_reply_tokens reply_tokens(const serve_choice *c, uint32_t from, uint32_t to) {
    uint32_t n_top = c->job->params.sample.n_top;
    return (sl_reply_tokens){.ids = c->out_ids + from,
                             .logprobs = c->out_logprobs != NULL ? c->out_logprobs + from : NULL,
                             .tops = n_top > 0 ? c->out_top + (size_t)from * n_top : NULL,
                             .n = to - from,
                             .n_top = n_top};
}

/* "logprobs": of the tokens, or null. */
static void reply_logprobs(serve_choice *c, uint32_t from, uint32_t to, sl_buf *out) {
    serve_job *j = c->job;
    const sl_tokenizer *tok = j->loop->service->model.tokenizer;
    (void)sl_buf_append_str(out, ",\"logprobs\":");
    if (!j->params.logprobs || from == to) {
        (void)sl_buf_append_str(out, "null");
        return;
    }
    sl_reply_tokens t = reply_tokens(c, from, to);
    if (reply_is_chat(j)) {
        sl_reply_chat_logprobs(out, tok, &t);
    } else {
        sl_reply_completion_logprobs(out, tok, &t, &c->text_offset);
    }
}

static void reply_prompt_ids(const serve_job *j, size_t i_prompt, sl_buf *out) {
    (void)sl_buf_append_str(out, ",\"prompt_token_ids\":");
    sl_reply_ids(out, j->prompts[i_prompt].ids, j->prompts[i_prompt].n);
}

static void reply_usage_of_job(const serve_job *j, sl_buf *out) {
    sl_reply_counts n = {0};
    for (size_t i = 0; i < j->n_prompts; i++) {
        n.n_prompt += j->prompts[i].n;
        /* further answers share its prompt */
        n.n_cached += j->choices[i * j->params.best_of].n_cached;
    }
    for (uint32_t i = 0; i < j->n_choices; i++) {
        n.n_completion += j->choices[i].n_seen;
        n.n_drafted += j->choices[i].n_drafted;
        n.n_accepted += j->choices[i].n_accepted;
    }
    sl_reply_usage(out, &n);
}

/* --- streams --------------------------------------------------------------------------------- */

sl_status sl_job_reply_head(serve_job *j) {
    (void)sl_buf_append_str(&j->head, j->params.stream ? "data: " : "");
    sl_reply_head(&j->head, j->params.kind, j->params.stream, j->id, j->created_s,
                  j->loop->service->model.name);
    return j->head.status;
}

static void reply_stream_begin(serve_job *j) {
    if (!j->streaming) {
        j->streaming = true;
        sl_http_stream_begin(j->x, 200, "text/event-stream", stream_headers);
    }
}

static void reply_event_end(const serve_choice *c, sl_buf *out) {
    const serve_job *j = c->job;
    if (j->params.usage_in_chunks) {
        (void)sl_buf_append_str(out, ",\"usage\":");
        const sl_reply_counts n = {.n_prompt = j->prompts[c->i_prompt].n,
                                   .n_cached = c->n_cached,
                                   .n_completion = c->n_seen,
                                   .n_drafted = c->n_drafted,
                                   .n_accepted = c->n_accepted};
        sl_reply_usage(out, &n);
    } else if (j->params.include_usage) {
        (void)sl_buf_append_str(out, ",\"usage\":null");
    }
    (void)sl_buf_append_str(out, "}\n\n");
}

/* The first event of a choice of a chat: who speaks. */
static void reply_event_role(const serve_choice *c, sl_buf *out) {
    const serve_job *j = c->job;
    (void)sl_buf_append(out, j->head.data, j->head.len);
    if (j->params.return_token_ids && c->index == 0) {
        reply_prompt_ids(j, 0, out);
    }
    (void)sl_buf_printf(out,
                        ",\"choices\":[{\"index\":%" PRIu32
                        ",\"delta\":{\"role\":\"assistant\",\"content\":\"\"},"
                        "\"logprobs\":null,\"finish_reason\":null}]",
                        c->index);
    reply_event_end(c, out);
}

/* Text and tokens that are new, or (with a name) the end. */
static void reply_event(serve_choice *c, const char *finish, sl_buf *out) {
    serve_job *j = c->job;
    uint32_t from = c->n_told, to = finish == NULL ? c->n_seen : from;
    (void)sl_buf_append(out, j->head.data, j->head.len);
    (void)sl_buf_printf(out, ",\"choices\":[{\"index\":%" PRIu32 ",", c->index);
    if (reply_is_chat(j)) {
        (void)sl_buf_append_str(out, finish == NULL ? "\"delta\":{\"content\":" : "\"delta\":{}");
    } else {
        (void)sl_buf_append_str(out, finish == NULL ? "\"text\":" : "\"text\":\"\"");
    }
    if (finish == NULL) {
        sl_reply_string(out, reply_text(c));
        (void)sl_buf_append_str(out, reply_is_chat(j) ? "}" : "");
    }
    reply_logprobs(c, from, to, out);
    if (finish == NULL) {
        (void)sl_buf_append_str(out, ",\"finish_reason\":null");
    } else {
        (void)sl_buf_printf(out, ",\"finish_reason\":\"%s\"", finish);
    }
    if (j->params.return_token_ids && from < to) {
        (void)sl_buf_append_str(out, ",\"token_ids\":");
        sl_reply_ids(out, c->out_ids + from, to - from);
        if (!reply_is_chat(j) && from == 0) {
            reply_prompt_ids(j, c->i_prompt, out);
        }
    }
    (void)sl_buf_append_str(out, "}]");
    reply_event_end(c, out);
    c->n_told = c->n_seen;
    sl_buf_clear(&c->text);
}

sl_status sl_job_reply_events(serve_choice *c, sl_error *err) {
    serve_job *j = c->job;
    sl_buf *out = &j->loop->scratch;
    sl_buf_clear(out);
    bool tokens_matter = j->params.return_token_ids || j->params.logprobs;
    if (!c->announced && c->n_seen > 0) {
        c->announced = true;
        if (reply_is_chat(j)) {
            reply_event_role(c, out);
        }
    }
    if (c->text.len > 0 || (tokens_matter && c->n_seen > c->n_told)) {
        reply_event(c, NULL, out);
    }
    if (c->ended) {
        reply_event(c, reply_finish_name(c->finish), out);
    }
    if (out->status != SL_OK || c->text.status != SL_OK) {
        return SL_FAIL(err, SL_ERR_MEMORY, "no memory for an event of a stream");
    }
    if (out->len > 0) {
        reply_stream_begin(j);
        sl_http_stream_write(j->x, out->data, out->len);
        j->told_ns = sl_clock_mono_ns();
    }
    return SL_OK;
}

/* A comment, so that nobody between here and the client takes the silence for a dead connection. */
void sl_job_reply_heartbeat(serve_job *j) {
    static const char comment[] = ": still working\n\n";
    reply_stream_begin(j);
    sl_http_stream_write(j->x, comment, sizeof(comment) - 1);
    j->told_ns = sl_clock_mono_ns();
}

static void reply_stream_end(serve_job *j) {
    static const char done[] = "data: [DONE]\n\n";
    sl_buf *out = &j->loop->scratch;
    sl_buf_clear(out);
    if (j->params.include_usage) {
        (void)sl_buf_append(out, j->head.data, j->head.len);
        (void)sl_buf_append_str(out, ",\"choices\":[],\"usage\":");
        reply_usage_of_job(j, out);
        (void)sl_buf_append_str(out, "}\n\n");
    }
    sl_http_exchange *x = j->x;
    j->x = NULL;
    if (sl_buf_append_str(out, done) != SL_OK) {
        sl_http_abort(x);
        return;
    }
    sl_http_stream_write(x, out->data, out->len);
    sl_http_stream_end(x);
}

/* --- whole answers --------------------------------------------------------------------------- */

/* How likely an answer is to the model, per token. */
static double reply_likelihood(const serve_choice *c) {
    double sum = 0.0;
    for (uint32_t i = 0; i < c->n_seen; i++) {
        sum += (double)c->out_logprobs[i];
    }
    return sum / (c->n_seen > 0 ? c->n_seen : 1);
}

/* Of the answers to one prompt, the n likeliest, in that order; all of them as they are numbered
 * where no more were computed. */
static void reply_select(serve_job *j, size_t i_prompt, serve_choice *best[SL_API_N_MAX]) {
    const uint32_t n = j->params.n, n_all = j->params.best_of;
    double scores[SL_API_N_MAX] = {0};
    for (uint32_t i = 0, n_kept = 0; i < n_all; i++) {
        serve_choice *c = &j->choices[i_prompt * n_all + i];
        const double score = n_all > n ? reply_likelihood(c) : 0.0;
        uint32_t at = n_kept;
        for (; at > 0 && score > scores[at - 1]; at--) {
            if (at < n) {
                scores[at] = scores[at - 1];
                best[at] = best[at - 1];
            }
        }
        if (at < n) {
            scores[at] = score;
            best[at] = c;
            n_kept += n_kept < n;
        }
    }
}

static void reply_choice(serve_choice *c, uint32_t index, sl_buf *out) {
    const serve_job *j = c->job;
    (void)sl_buf_printf(out, "{\"index\":%" PRIu32 ",", index);
    if (reply_is_chat(j)) {
        (void)sl_buf_append_str(out, "\"message\":{\"role\":\"assistant\",\"content\":");
        sl_reply_string(out, reply_text(c));
        (void)sl_buf_append_str(out, ",\"refusal\":null}");
    } else {
        (void)sl_buf_append_str(out, "\"text\":");
        sl_reply_string(out, reply_text(c));
    }
    reply_logprobs(c, 0, c->n_seen, out);
    (void)sl_buf_printf(out, ",\"finish_reason\":\"%s\"", reply_finish_name(c->finish));
    if (j->params.return_token_ids) {
        (void)sl_buf_append_str(out, ",\"token_ids\":");
        sl_reply_ids(out, c->out_ids, c->n_seen);
        if (!reply_is_chat(j)) {
            reply_prompt_ids(j, c->i_prompt, out);
        }
    }
    (void)sl_buf_append_char(out, '}');
}

void sl_job_reply_end(serve_job *j) {
    if (j->params.stream) {
        reply_stream_end(j);
        return;
    }
    sl_buf out;
    sl_buf_init(&out, (size_t)256 << 20);
    sl_status status = sl_buf_append(&out, j->head.data, j->head.len);
    (void)sl_buf_append_str(&out, ",\"choices\":[");
    for (uint32_t i = 0, index = 0; i < j->n_prompts; i++) {
        serve_choice *best[SL_API_N_MAX];
        reply_select(j, i, best);
        for (uint32_t k = 0; k < j->params.n; k++, index++) {
            (void)sl_buf_append_str(&out, index == 0 ? "" : ",");
            reply_choice(best[k], index, &out);
            status = status != SL_OK ? status : best[k]->text.status;
        }
    }
    (void)sl_buf_append_str(&out, "],\"usage\":");
    reply_usage_of_job(j, &out);
    if (j->params.return_token_ids && j->n_prompts == 1) {
        reply_prompt_ids(j, 0, &out);
    }
    if (sl_buf_append_char(&out, '}') != SL_OK || status != SL_OK) {
        sl_buf_deinit(&out);
        sl_api_error e = {.status = 503, .message = "The server has no memory for this answer."};
        sl_job_reply_error(j, &e);
        return;
    }
    sl_http_exchange *x = j->x;
    j->x = NULL;
    sl_http_respond(x, 200, "application/json", NULL, out.data, out.len);
    sl_buf_deinit(&out);
}

void sl_job_reply_error(serve_job *j, const sl_api_error *e) {
    sl_http_exchange *x = j->x;
    j->x = NULL;
    if (!j->streaming) {
        sl_serve_respond_error(x, e);
        return;
    }
    sl_buf *out = &j->loop->scratch;
    sl_buf_clear(out);
    (void)sl_buf_append_str(out, "data: ");
    sl_api_error_json(e, out);
    if (sl_buf_append_str(out, "\n\n") != SL_OK) {
        sl_http_abort(x);
        return;
    }
    sl_http_stream_write(x, out->data, out->len);
    sl_http_stream_end(x); /* without [DONE]: the answer is not complete */
}
