/* What became of a request: how long it waited, in which parts its prompt was read, what of it was
 * there already and why not more, and one line of advice. Of requests that are being answered, and
 * of the last SERVE_ENDED_MAX that ended. Owner: the io thread. */
#include <inttypes.h>
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "serve/api/reply.h"
#include "serve/job_int.h"

#define EXPLAIN_KEPT_MAX 65536 /* bytes; of more answers at once nothing is kept */
#define EXPLAIN_BYTES_MAX ((size_t)16 << 20)

void sl_serve_story_take(serve_story *story, const sl_request *q) {
    const bool ended = atomic_load_explicit(&q->finish, memory_order_acquire) != SL_FINISH_NONE;
    const uint32_t n_out = (uint32_t)atomic_load_explicit(&q->n_out, memory_order_acquire);
    const uint32_t n_events = (uint32_t)atomic_load_explicit(&q->n_events, memory_order_acquire);
    *story = (serve_story){.submit_ns = q->t_submit_ns,
                           .first_ns = n_out > 0 ? q->t_first_ns : 0,
                           .end_ns = ended ? q->t_end_ns : 0,
                           .n_out = n_out,
                           .n_events = n_events};
    const uint32_t n = n_events < SL_EVENTS_MAX ? n_events : SL_EVENTS_MAX;
    memcpy(story->events, q->events, n * sizeof(*q->events));
}

static double explain_ms(uint64_t from_ns, uint64_t to_ns) {
    return to_ns > from_ns ? (double)(to_ns - from_ns) / 1e6 : 0.0;
}

static uint32_t explain_count(const serve_story *t, sl_event_kind kind) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < t->n_events && i < SL_EVENTS_MAX; i++) {
        n += t->events[i].kind == kind;
    }
    return n;
}

static uint64_t explain_begin_ns(const serve_story *t) {
    return t->n_events > 0 ? t->events[0].t_ns : 0;
}

/* --- words ----------------------------------------------------------------------------------- */

static const char *explain_cached(const serve_job *j, const serve_choice *c) {
    const size_t n_whole = (j->prompts[c->i_prompt].n - 1) / SL_PAGE_TOKENS * SL_PAGE_TOKENS;
    if (!j->shares) {
        return "the prefix cache is off";
    }
    if (c->n_cached >= n_whole) {
        return "everything but the last, unfinished page is there: no more can be";
    }
    return c->n_cached == 0 ? "no request of the same salt and tenant began with the same 32 "
                              "tokens, or its pages had to make room"
                            : "the prompt differs from others behind these tokens, or the pages "
                              "behind them had to make room";
}

static const char *explain_advice(const serve_job *j, const serve_choice *c, const serve_story *t) {
    const uint64_t begin_ns = explain_begin_ns(t);
    const size_t n_prompt = j->prompts[c->i_prompt].n;
    if (begin_ns == 0) {
        return sl_runner_is_paused(j->loop->service->runner)
                   ? "Admission is paused: POST /admin/resume lets it begin."
                   : "It waits for its turn; \"priority\" with --policy priority, or more "
                     "--kv-memory, may bring it forward.";
    }
    if (explain_count(t, SL_EVENT_WENT_ON) > 0) {
        return "KV memory ran out and it had to be computed anew: give more --kv-memory, or fewer "
               "--parallel.";
    }
    if (t->first_ns > 0 && begin_ns - t->submit_ns > t->first_ns - begin_ns) {
        return "It waited for longer than its prompt took: more --kv-memory, --parallel or "
               "servers would help, a shorter prompt would not.";
    }
    if (n_prompt >= 8 * SL_PAGE_TOKENS && c->n_cached < n_prompt / 2) {
        return "Most of the prompt was computed: put what requests have in common at the "
               "beginning, the same to the letter.";
    }
    if (explain_count(t, SL_EVENT_PROMPT) > 4) {
        return "Its prompt was read in many parts beside others' answers: --step-time makes them "
               "longer, at the cost of those.";
    }
    return "Nothing stands out.";
}

/* --- JSON ------------------------------------------------------------------------------------ */

static void explain_event(const serve_story *t, const char *name, uint64_t t_ns, uint32_t n,
                          sl_buf *out) {
    const char last = out->data[out->len - 1];
    (void)sl_buf_printf(out, "%s{\"at_ms\":%.3f,\"event\":\"%s\"", last == '[' ? "" : ",",
                        explain_ms(t->submit_ns, t_ns), name);
    if (n > 0) {
        (void)sl_buf_printf(out, ",\"tokens\":%" PRIu32, n);
    }
    (void)sl_buf_append_char(out, '}');
}

static void explain_timeline(const serve_story *t, sl_buf *out) {
    static const char *const names[] = {"began", "prompt", "went_on"}; /* of sl_event_kind */
    bool told_first = t->first_ns == 0;
    explain_event(t, "submitted", t->submit_ns, 0, out);
    for (uint32_t i = 0; i < t->n_events && i < SL_EVENTS_MAX; i++) {
        const sl_event *e = &t->events[i];
        if (!told_first && e->t_ns > t->first_ns) {
            told_first = true;
            explain_event(t, "first_token", t->first_ns, 0, out);
        }
        explain_event(t, names[e->kind], e->t_ns, e->n, out);
    }
    if (!told_first) {
        explain_event(t, "first_token", t->first_ns, 0, out);
    }
    if (t->end_ns > 0) {
        explain_event(t, "ended", t->end_ns, 0, out);
    }
}

static void explain_choice(const serve_job *j, const serve_choice *c, sl_buf *out) {
    serve_story now;
    const serve_story *t = &c->story;
    if (c->request != NULL) {
        sl_serve_story_take(&now, c->request);
        t = &now;
    }
    const uint64_t now_ns = sl_clock_mono_ns(), end_ns = t->end_ns > 0 ? t->end_ns : now_ns;
    const uint64_t begin_ns = explain_begin_ns(t);
    (void)sl_buf_printf(out,
                        "{\"index\":%" PRIu32 ",\"prompt_tokens\":%zu,\"cached_tokens\":%" PRIu32
                        ",\"completion_tokens\":%" PRIu32 ",\"drafted_tokens\":%" PRIu32
                        ",\"accepted_tokens\":%" PRIu32 ",\"queued_ms\":%.3f,\"total_ms\":%.3f",
                        c->index, j->prompts[c->i_prompt].n, c->n_cached, t->n_out, c->n_drafted,
                        c->n_accepted, explain_ms(t->submit_ns, begin_ns > 0 ? begin_ns : end_ns),
                        explain_ms(t->submit_ns, end_ns));
    if (t->first_ns > 0) {
        (void)sl_buf_printf(out, ",\"first_token_ms\":%.3f", explain_ms(t->submit_ns, t->first_ns));
    }
    if (t->n_out > 1) {
        (void)sl_buf_printf(out, ",\"token_ms\":{\"mean\":%.3f,\"most\":%.3f}",
                            explain_ms(t->first_ns, end_ns) / (t->n_out - 1),
                            (double)c->gap_most_ns / 1e6);
    }
    (void)sl_buf_append_str(out, ",\"timeline\":[");
    explain_timeline(t, out);
    (void)sl_buf_printf(out, "],\"events_left_out\":%" PRIu32 ",\"why_not_more_cached\":\"%s\"",
                        t->n_events > SL_EVENTS_MAX ? t->n_events - SL_EVENTS_MAX : 0,
                        t->first_ns > 0 ? explain_cached(j, c)
                                        : "not known before its first token");
    (void)sl_buf_append_str(out, ",\"advice\":");
    sl_reply_string(out, sl_slice_of(explain_advice(j, c, t)));
    (void)sl_buf_append_char(out, '}');
}

static void explain_write(const serve_job *j, const char *status, sl_buf *out) {
    (void)sl_buf_printf(out,
                        "{\"id\":\"%s\",\"object\":\"request.explanation\",\"status\":\"%s\","
                        "\"created\":%" PRId64 ",\"choices\":[",
                        j->id, status, j->created_s);
    for (uint32_t i = 0; i < j->n_choices && out->status == SL_OK; i++) {
        (void)sl_buf_append_str(out, i == 0 ? "" : ",");
        explain_choice(j, &j->choices[i], out);
    }
    (void)sl_buf_append_str(out, "]}");
}

/* --- requests that ended --------------------------------------------------------------------- */

void sl_serve_explain_keep(const serve_job *j, const char *status) {
    serve_loop *l = j->loop;
    if (j->canary || !j->submitted) {
        return;
    }
    sl_buf out;
    sl_buf_init(&out, EXPLAIN_KEPT_MAX);
    explain_write(j, status, &out);
    char **kept = &l->ended[l->n_ended % SERVE_ENDED_MAX];
    if (out.status == SL_OK) { /* else they are too many, or there is no memory: it is not kept */
        sl_free(*kept);
        *kept = sl_strndup(out.data, out.len);
        l->n_ended++;
    }
    sl_buf_deinit(&out);
}

void sl_serve_explain_deinit(serve_loop *l) {
    for (uint32_t i = 0; i < SERVE_ENDED_MAX; i++) {
        sl_free(l->ended[i]);
    }
}

/* The object of an ended request begins with {"id":"ID". */
static const char *explain_find_ended(const serve_loop *l, sl_slice id) {
    const char *begin = "{\"id\":\"";
    const size_t n = strlen(begin);
    for (uint32_t i = 0; i < SERVE_ENDED_MAX; i++) {
        const char *kept = l->ended[i];
        if (kept != NULL && strlen(kept) > n + id.len && memcmp(kept + n, id.ptr, id.len) == 0 &&
            kept[n + id.len] == '"') {
            return kept;
        }
    }
    return NULL;
}

void sl_serve_explain(serve_loop *l, sl_http_exchange *x) {
    const sl_slice id = sl_serve_control_id(sl_http_request_path(sl_http_exchange_request(x)),
                                            "/explain");
    const serve_job *j = sl_job_find(l, id);
    const char *ended = j == NULL ? explain_find_ended(l, id) : NULL;
    if (j == NULL && ended == NULL) {
        sl_serve_no_request(x, id);
        return;
    }
    sl_buf out;
    sl_buf_init(&out, EXPLAIN_BYTES_MAX);
    if (j != NULL) {
        explain_write(j, "running", &out);
    } else {
        (void)sl_buf_append_str(&out, ended);
    }
    sl_serve_respond_json(x, 200, &out);
    sl_buf_deinit(&out);
}
