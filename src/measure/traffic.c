/* Running a workload against a server: see traffic.h. */
#include "measure/traffic.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include <jansson.h>
#include <uv.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/rng.h"
#include "measure/traffic_prompt.h"
#include "net/http_client.h"

#define GROWN_MAX ((size_t)64 << 20) /* elements of an array */
#define EVENT_MAX ((size_t)4 << 20)  /* bytes of one event, or of an error's body */
#define LOOK_MS 100                  /* how often it looks at the time and at `stop` */

typedef struct traffic_run traffic_run;

/* Who sends requests one after the other: a user of a closed loop, or one open arrival's chat. */
typedef struct traffic_chat {
    traffic_run *run;
    size_t item;
    uint32_t turn;
    bool busy;
    traffic_prompt prompt; /* of the present item, with the turns so far */
    sl_traffic_record now;
    double last_s;  /* of the last piece */
    sl_buf pending; /* of an event that has not ended */
    sl_buf answer;  /* kept only if a turn follows */
    float *gaps;    /* [n_gaps] of the present answer */
    size_t n_gaps, gaps_room;
} traffic_chat;

struct traffic_run {
    const sl_traffic_options *o;
    uv_loop_t loop;
    uv_timer_t timer, look;
    sl_http_client *client;
    sl_traffic_result *out;
    size_t records_room, gaps_room;
    traffic_chat *chats; /* [n_chats] of a closed loop the users, else one per item */
    size_t n_chats, next_item, n_busy;
    double begin_s, last_begin_s; /* last: of the request that began last */
    bool ending;
    sl_error *err;
    sl_status status;
};

static double now_s(const traffic_run *run) {
    return (double)sl_clock_mono_ns() * 1e-9 - run->begin_s;
}

void sl_traffic_arrivals(sl_traffic_item *items, size_t n, double rate, uint32_t burst,
                         uint64_t seed) {
    double at = 0.0;
    for (size_t i = 0; i < n; i++) {
        if (i > 0 && i % burst == 0) { /* exponential times between bursts */
            at += -log(1.0 - sl_rng_double(seed, TRAFFIC_DRAW_ARRIVAL, i)) * burst / rate;
        }
        items[i].at_s = at;
    }
}

/* --- the end ---------------------------------------------------------------------------------- */

static void run_end(traffic_run *run) {
    if (run->ending) {
        return;
    }
    run->ending = true;
    sl_http_client_close(run->client);
    uv_close((uv_handle_t *)&run->timer, NULL);
    uv_close((uv_handle_t *)&run->look, NULL);
}

static void run_fail(traffic_run *run, sl_status status) {
    if (run->status == SL_OK) {
        run->status = status;
    }
    run_end(run);
}

/* A growing array with room for `more` further elements; NULL after a failure. */
static void *grown(traffic_run *run, void *array, size_t n, size_t more, size_t *room,
                   size_t size) {
    if (array != NULL && n + more <= *room) {
        return array;
    }
    const size_t wanted = 2 * (n + more) + 64;
    void *larger = wanted > GROWN_MAX ? NULL : sl_realloc_array(array, wanted, size);
    if (larger == NULL) {
        run_fail(run,
                 SL_FAIL(run->err, SL_ERR_MEMORY, "no memory for the times of so many tokens"));
        return NULL;
    }
    *room = wanted;
    return larger;
}

/* A request is over: its record and its times join the result. */
static void keep_record(traffic_run *run, traffic_chat *chat) {
    sl_traffic_result *out = run->out;
    void *records = grown(run, out->records, out->n, 1, &run->records_room, sizeof(chat->now));
    if (records == NULL) {
        return;
    }
    out->records = records;
    void *gaps = grown(run, out->gaps, out->n_gaps, chat->n_gaps, &run->gaps_room, sizeof(float));
    if (gaps == NULL) {
        return;
    }
    out->gaps = gaps;
    chat->now.gap_begin = out->n_gaps;
    chat->now.n_gaps = (uint32_t)chat->n_gaps;
    if (chat->n_gaps > 0) {
        memcpy(out->gaps + out->n_gaps, chat->gaps, chat->n_gaps * sizeof(float));
    }
    out->n_gaps += chat->n_gaps;
    out->records[out->n++] = chat->now;
}

/* --- an answer's events ----------------------------------------------------------------------- */

static void take_piece(traffic_run *run, traffic_chat *chat) {
    const double now = now_s(run);
    if (chat->now.first_s == 0.0) {
        chat->now.first_s = now;
    } else {
        void *gaps = grown(run, chat->gaps, chat->n_gaps, 1, &chat->gaps_room, sizeof(float));
        if (gaps == NULL) {
            return;
        }
        chat->gaps = gaps;
        chat->gaps[chat->n_gaps++] = (float)(now - chat->last_s);
    }
    chat->last_s = now;
}

static uint32_t count_of(const json_t *object, const char *name) {
    const json_int_t n = json_integer_value(json_object_get(object, name));
    return n < 0 || n > UINT32_MAX ? 0 : (uint32_t)n;
}

static void take_usage(traffic_chat *chat, const json_t *usage) {
    if (json_is_object(usage)) {
        chat->now.n_prompt = count_of(usage, "prompt_tokens");
        chat->now.n_output = count_of(usage, "completion_tokens");
        chat->now.n_cached = count_of(json_object_get(usage, "prompt_tokens_details"),
                                      "cached_tokens");
    }
}

static void take_error(traffic_chat *chat, const char *text, size_t len) {
    json_t *root = json_loadb(text, len, 0, NULL);
    const json_t *error = json_object_get(root, "error");
    const char *message = json_string_value(json_object_get(error, "message"));
    (void)snprintf(chat->now.error, sizeof(chat->now.error), "%s",
                   message != NULL ? message : "the server gave no reason");
    json_decref(root);
}

/* The data of one server-sent event. */
static void take_event(traffic_run *run, traffic_chat *chat, const char *data, size_t len) {
    if (len == 6 && memcmp(data, "[DONE]", 6) == 0) {
        return;
    }
    json_t *root = json_loadb(data, len, 0, NULL);
    if (root == NULL || json_object_get(root, "error") != NULL) {
        take_error(chat, data, len);
        json_decref(root);
        return;
    }
    const json_t *choice = json_array_get(json_object_get(root, "choices"), 0);
    const json_t *delta = json_object_get(choice, "delta");
    const json_t *text = json_object_get(delta == NULL ? choice : delta,
                                         delta == NULL ? "text" : "content");
    if (json_string_length(text) > 0) {
        take_piece(run, chat);
        if (run->o->n_turns > 1) {
            (void)sl_buf_append(&chat->answer, json_string_value(text), json_string_length(text));
        }
    }
    take_usage(chat, json_object_get(root, "usage"));
    json_decref(root);
}

/* Lines of a stream; an event is one line "data: ..." here, as all servers write it. */
static void on_data(void *call, int status, const char *data, size_t len) {
    traffic_chat *chat = call;
    if (sl_buf_append(&chat->pending, data, len) != SL_OK || status != 200) {
        return;
    }
    size_t begin = 0;
    const char *all = chat->pending.data;
    for (const char *end; (end = memchr(all + begin, '\n', chat->pending.len - begin)) != NULL;) {
        size_t n = (size_t)(end - all) - begin;
        const char *line = all + begin;
        begin += n + 1;
        n -= n > 0 && line[n - 1] == '\r';
        if (n > 5 && memcmp(line, "data:", 5) == 0) {
            const size_t skip = line[5] == ' ' ? 6 : 5;
            take_event(chat->run, chat, line + skip, n - skip);
        }
    }
    sl_buf_drop_front(&chat->pending, begin);
}

/* --- who sends when --------------------------------------------------------------------------- */

static void chat_send(traffic_chat *chat, double due_s);
static void chat_begin(traffic_chat *chat, size_t item, double due_s) {
    chat->item = item;
    chat->turn = 0;
    sl_traffic_prompt_begin(&chat->prompt);
    chat_send(chat, due_s);
}

/* The next thing that this chat has to say, if there is one. */
static void chat_go_on(traffic_chat *chat) {
    traffic_run *run = chat->run;
    if (sl_traffic_is_ok(&chat->now) && chat->turn + 1 < run->o->n_turns) {
        chat->turn++;
        chat_send(chat, now_s(run));
    } else if (run->o->n_users > 0 && run->next_item < run->o->n_items) {
        chat_begin(chat, run->next_item++, now_s(run));
    }
    if (run->n_busy == 0 && run->next_item == run->o->n_items) {
        run_end(run);
    }
}

static void on_end(void *call, int status, const char *error) {
    traffic_chat *chat = call;
    traffic_run *run = chat->run;
    chat->now.end_s = now_s(run);
    chat->now.status = status;
    if (error != NULL) {
        (void)snprintf(chat->now.error, sizeof(chat->now.error), "%s", error);
    } else if (status != 200) {
        take_error(chat, chat->pending.data == NULL ? "" : chat->pending.data, chat->pending.len);
    } else if (chat->now.first_s == 0.0 && chat->now.error[0] == '\0' && chat->now.n_output == 0) {
        (void)snprintf(chat->now.error, sizeof(chat->now.error), "the answer has no text");
    }
    chat->busy = false;
    run->n_busy--;
    keep_record(run, chat);
    if (!run->ending) {
        chat_go_on(chat);
    }
}

static void chat_send(traffic_chat *chat, double due_s) {
    traffic_run *run = chat->run;
    const sl_traffic_options *o = run->o;
    sl_buf body;
    sl_error err;
    sl_buf_init(&body, TRAFFIC_BODY_MAX);
    run->last_begin_s = now_s(run);
    chat->now = (sl_traffic_record){
        .due_s = due_s, .begin_s = run->last_begin_s, .turn = chat->turn};
    chat->n_gaps = 0;
    sl_buf_clear(&chat->pending);
    sl_status status = sl_traffic_prompt_body(&chat->prompt, o, chat->item, chat->turn,
                                              &chat->answer, &body);
    sl_buf_clear(&chat->answer);
    char path[256];
    (void)snprintf(path, sizeof(path), "%s/%s", o->path,
                   o->n_turns > 1 ? "chat/completions" : "completions");
    if (status == SL_OK) {
        status = sl_http_client_post(run->client, path, body.data, body.len, chat, &err);
    } else {
        status = SL_FAIL(&err, status, "no memory for a prompt");
    }
    sl_buf_deinit(&body);
    if (status != SL_OK) {
        *run->err = err;
        run_fail(run, status);
        return;
    }
    chat->busy = true;
    run->n_busy++;
}

static void on_timer(uv_timer_t *timer);

/* Open arrivals: all that are due, then the timer for the next one. */
static void arrivals_send(traffic_run *run) {
    const sl_traffic_options *o = run->o;
    while (!run->ending && run->next_item < o->n_items) {
        const double due = o->items[run->next_item].at_s, now = now_s(run);
        if (due > now) {
            (void)uv_timer_start(&run->timer, on_timer, (uint64_t)((due - now) * 1e3) + 1, 0);
            return;
        }
        traffic_chat *chat = &run->chats[run->next_item];
        chat_begin(chat, run->next_item++, due);
    }
}

static void on_timer(uv_timer_t *timer) {
    arrivals_send(timer->data);
}

/* What is under way when time is up has failed. */
static void cut_off(traffic_run *run, const char *why) {
    for (size_t i = 0; i < run->n_chats && !run->ending; i++) {
        traffic_chat *chat = &run->chats[i];
        if (chat->busy) {
            chat->busy = false;
            run->n_busy--;
            chat->now.end_s = now_s(run);
            (void)snprintf(chat->now.error, sizeof(chat->now.error), "%s", why);
            keep_record(run, chat);
        }
    }
    run_end(run);
}

static void on_look(uv_timer_t *look) {
    traffic_run *run = look->data;
    const sl_traffic_options *o = run->o;
    if (o->stop != NULL && o->stop(o->user)) {
        run->out->stopped = true;
        cut_off(run, "the run was stopped");
        return;
    }
    if (run->n_busy > 0 && now_s(run) - run->last_begin_s > o->timeout_s) {
        cut_off(run, "no end within the time allowed");
    }
}

/* --- the run ---------------------------------------------------------------------------------- */

/* Processor seconds that a process has taken; < 0 if unknown. */
static double cpu_of(uint32_t pid) {
    char path[64], text[1024];
    unsigned long user = 0, system = 0;
    if (pid == 0) {
        return -1.0;
    }
    (void)snprintf(path, sizeof(path), "/proc/%u/stat", pid);
    FILE *file = fopen(path, "r");
    if (file == NULL) {
        return -1.0;
    }
    const size_t n = fread(text, 1, sizeof(text) - 1, file);
    (void)fclose(file);
    text[n] = '\0';
    const char *after = strrchr(text, ')'); /* the name may hold anything */
    if (after == NULL || sscanf(after + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu",
                                &user, &system) != 2) {
        return -1.0;
    }
    return (double)(user + system) / (double)sysconf(_SC_CLK_TCK);
}

static double own_cpu(void) {
    struct rusage usage;
    (void)getrusage(RUSAGE_SELF, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           1e-6 * (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
}

static sl_status run_chats(traffic_run *run) {
    const sl_traffic_options *o = run->o;
    run->n_chats = o->n_users > 0 ? o->n_users : o->n_items;
    run->chats = sl_alloc_zero(run->n_chats, sizeof(*run->chats));
    if (run->chats == NULL) {
        return SL_FAIL(run->err, SL_ERR_MEMORY, "no memory for %zu callers", run->n_chats);
    }
    for (size_t i = 0; i < run->n_chats; i++) {
        traffic_chat *chat = &run->chats[i];
        chat->run = run;
        sl_buf_init(&chat->pending, EVENT_MAX);
        sl_buf_init(&chat->answer, TRAFFIC_BODY_MAX);
        sl_buf_init(&chat->prompt.messages, TRAFFIC_BODY_MAX);
    }
    return SL_OK;
}

static void run_loop(traffic_run *run) {
    const sl_traffic_options *o = run->o;
    (void)uv_timer_init(&run->loop, &run->timer);
    (void)uv_timer_init(&run->loop, &run->look);
    run->timer.data = run->look.data = run;
    (void)uv_timer_start(&run->look, on_look, LOOK_MS, LOOK_MS);
    run->begin_s = (double)sl_clock_mono_ns() * 1e-9;
    if (o->n_users == 0) {
        arrivals_send(run);
    }
    for (size_t i = 0; i < o->n_users && run->next_item < o->n_items && !run->ending; i++) {
        chat_begin(&run->chats[i], run->next_item++, 0.0);
    }
    (void)uv_run(&run->loop, UV_RUN_DEFAULT);
}

sl_status sl_traffic_run(const sl_traffic_options *o, sl_traffic_result *out, sl_error *err) {
    traffic_run run = {.o = o, .out = out, .err = err};
    char headers[512] = "";
    memset(out, 0, sizeof(*out));
    if (o->key != NULL && snprintf(headers, sizeof(headers), "Authorization: Bearer %s\r\n",
                                   o->key) >= (int)sizeof(headers)) {
        return SL_FAIL(err, SL_ERR_ARGUMENT, "the key is longer than a header may be");
    }
    const sl_http_client_options client = {
        .host = o->host, .port = o->port, .headers = headers, .on_data = on_data, .on_end = on_end};
    if (uv_loop_init(&run.loop) < 0) {
        return SL_FAIL(err, SL_ERR_IO, "no event loop can be made");
    }
    run.status = sl_http_client_create(&run.loop, &client, &run.client, err);
    run.status = run.status == SL_OK ? run_chats(&run) : run.status;
    if (run.status == SL_OK) {
        const double own = own_cpu(), server = cpu_of(o->server_pid);
        run_loop(&run);
        const double server_end = cpu_of(o->server_pid);
        out->wall_s = now_s(&run);
        out->own_cpu_s = own_cpu() - own;
        out->server_cpu_s = server < 0.0 || server_end < 0.0 ? -1.0 : server_end - server;
    }
    for (size_t i = 0; i < run.n_chats && run.chats != NULL; i++) {
        sl_buf_deinit(&run.chats[i].pending);
        sl_buf_deinit(&run.chats[i].answer);
        sl_buf_deinit(&run.chats[i].prompt.messages);
        sl_free(run.chats[i].gaps);
    }
    sl_free(run.chats);
    sl_http_client_free(run.client);
    (void)uv_loop_close(&run.loop);
    if (run.status != SL_OK) {
        sl_traffic_result_free(out);
    }
    return run.status;
}

void sl_traffic_result_free(sl_traffic_result *r) {
    sl_free(r->records);
    sl_free(r->gaps);
    memset(r, 0, sizeof(*r));
}
