/* sluice run: one prompt, one answer. Goes through the same runner and rings as the server. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/error.h"
#include "cmd.h"
#include "load.h"
#include "runner/runner.h"
#include "text/chat.h"
#include "text/tokenizer/detokenizer.h"

#define TEXT_MAX ((size_t)64 << 20)

typedef struct run_flags {
    sl_load_flags load;
    const char *prompt;
    const char *system;
    sl_flag_list ids;
    uint32_t n;
    float temperature, top_p, min_p;
    uint32_t top_k;
    uint64_t seed;
    bool raw, ignore_eos, json;
} run_flags;

/* What a run owns while it lasts. */
typedef struct run_state {
    const run_flags *f;
    sl_loaded l;
    sl_runner *runner;
    sl_ids prompt;
    int32_t *out_ids;
    sl_buf text; /* all that was given out */
    sl_detokenizer detok;
} run_state;

static sl_value *chat_message(sl_arena *a, const char *role, const char *content) {
    sl_value *m = sl_value_object(a);
    bool ok = m != NULL &&
              sl_value_object_set(a, m, sl_slice_of("role"), sl_value_string(a, sl_slice_of(role), true)) &&
              sl_value_object_set(a, m, sl_slice_of("content"),
                                  sl_value_string(a, sl_slice_of(content), false));
    return ok ? m : NULL;
}

/* {"messages": [...], "add_generation_prompt": true} */
static sl_value *chat_request(sl_arena *a, const run_flags *f) {
    sl_value *request = sl_value_object(a), *messages = sl_value_list(a);
    if (request == NULL || messages == NULL) {
        return NULL;
    }
    if (f->system != NULL) {
        sl_value *m = chat_message(a, "system", f->system);
        if (m == NULL || !sl_value_list_push(a, messages, m)) {
            return NULL;
        }
    }
    sl_value *m = chat_message(a, "user", f->prompt);
    bool ok = m != NULL && sl_value_list_push(a, messages, m) &&
              sl_value_object_set(a, request, sl_slice_of("messages"), messages) &&
              sl_value_object_set(a, request, sl_slice_of("add_generation_prompt"), sl_value_bool(a, true));
    return ok ? request : NULL;
}

static sl_status encode_chat(run_state *s, sl_error *err) {
    sl_chat *chat;
    SL_TRY(sl_chat_open(s->l.file, s->l.tokenizer, &chat, err));
    sl_arena arena;
    sl_arena_init(&arena, TEXT_MAX);
    sl_buf text;
    sl_buf_init(&text, TEXT_MAX);
    sl_spans spans = {0};
    sl_value *request = chat_request(&arena, s->f);
    sl_status status = request != NULL ? SL_OK : SL_FAIL(err, SL_ERR_MEMORY, "the prompt is too long");
    if (status == SL_OK) {
        status = sl_chat_render(chat, request, sl_clock_wall_s(), &text, &spans, err);
    }
    if (status == SL_OK) {
        sl_slice rendered = {text.len == 0 ? "" : text.data, text.len};
        status = sl_chat_encode(s->l.tokenizer, rendered, &spans, &s->prompt, err);
    }
    sl_spans_deinit(&spans);
    sl_buf_deinit(&text);
    sl_arena_deinit(&arena);
    sl_chat_close(chat);
    return status;
}

static sl_status make_prompt(run_state *s, sl_error *err) {
    const run_flags *f = s->f;
    if (f->ids.n > 0) {
        for (size_t i = 0; i < f->ids.n; i++) {
            SL_TRY(sl_ids_push(&s->prompt, f->ids.v[i]));
        }
    } else if (f->raw) {
        SL_TRY(sl_tokenizer_encode_full(s->l.tokenizer, sl_slice_of(f->prompt), true, true, &s->prompt, err));
    } else {
        SL_TRY(encode_chat(s, err));
    }
    uint32_t ctx = sl_engine_ctx_max(s->l.engine);
    if (s->prompt.n == 0) {
        return SL_FAIL(err, SL_ERR_ARGUMENT, "the prompt holds no token");
    }
    if (s->prompt.n >= ctx) {
        return SL_FAIL(err, SL_ERR_ARGUMENT,
                       "the prompt has %zu tokens, which leaves no room in the context of %" PRIu32
                       "; a larger --ctx may help", s->prompt.n, ctx);
    }
    return SL_OK;
}

/* Gives out the text of tokens [from, to), the end token left out. */
static sl_status emit(run_state *s, const sl_request *r, uint32_t from, uint32_t to, sl_finish finish,
                      sl_error *err) {
    size_t before = s->text.len;
    for (uint32_t i = from; i < to; i++) {
        bool is_end = finish == SL_FINISH_STOP && i + 1 == to;
        bool stopped;
        if (!is_end) {
            SL_TRY(sl_detokenizer_push(&s->detok, r->out_ids[i], &s->text, &stopped, err));
        }
    }
    if (finish != SL_FINISH_NONE) {
        SL_TRY(sl_detokenizer_finish(&s->detok, &s->text, err));
    }
    if (!s->f->json && s->text.len > before) {
        (void)fwrite(s->text.data + before, 1, s->text.len - before, stdout);
        (void)fflush(stdout);
    }
    return SL_OK;
}

static const char *finish_name(sl_finish finish) {
    switch (finish) {
    case SL_FINISH_STOP: return "stop";
    case SL_FINISH_LENGTH: return "length";
    case SL_FINISH_CANCELLED: return "cancelled";
    default: return "error";
    }
}

static void print_list(const char *name, const int32_t *ids, size_t n) {
    (void)printf("\"%s\": [", name);
    for (size_t i = 0; i < n; i++) {
        (void)printf("%s%" PRId32, i == 0 ? "" : ", ", ids[i]);
    }
    (void)printf("], ");
}

static sl_status print_result(const run_state *s, const sl_request *r, uint32_t n, sl_finish finish,
                              sl_error *err) {
    double prompt_ms = (double)(r->t_first_ns - r->t_start_ns) * 1e-6;
    double gen_ms = (double)(r->t_end_ns - r->t_first_ns) * 1e-6;
    if (!s->f->json) {
        (void)fputc('\n', stdout);
        if (!s->f->load.quiet) {
            (void)fprintf(stderr,
                          "[%zu prompt tokens at %.0f tokens/s, %" PRIu32 " generated at %.1f tokens/s, loaded in "
                          "%.0f ms]\n", s->prompt.n, prompt_ms > 0.0 ? (double)s->prompt.n / prompt_ms * 1e3 : 0.0,
                          n, n > 1 && gen_ms > 0.0 ? (n - 1) / gen_ms * 1e3 : 0.0, s->l.load_ms);
        }
        return SL_OK;
    }
    sl_buf text;
    sl_buf_init(&text, TEXT_MAX);
    if (sl_buf_append_json(&text, s->text.len == 0 ? "" : s->text.data, s->text.len) != SL_OK ||
        sl_buf_cstr(&text) == NULL) {
        sl_buf_deinit(&text);
        return SL_FAIL(err, SL_ERR_MEMORY, "no memory for the answer");
    }
    (void)putchar('{');
    print_list("prompt_ids", s->prompt.ids, s->prompt.n);
    print_list("ids", r->out_ids, n);
    (void)printf("\"text\": \"%s\", \"finish_reason\": \"%s\", \"timings\": {\"load_ms\": %.3f, \"prompt_n\": %zu, "
                 "\"prompt_ms\": %.3f, \"gen_n\": %" PRIu32 ", \"gen_ms\": %.3f}}\n",
                 text.data, finish_name(finish), s->l.load_ms, s->prompt.n, prompt_ms, n, gen_ms);
    sl_buf_deinit(&text);
    return SL_OK;
}

/* Follows the request to its end; Ctrl-C cancels it. */
static sl_status follow(run_state *s, sl_handle h, sl_error *err) {
    sl_request *r = sl_runner_request(s->runner, h);
    uint32_t seen = 0;
    bool cancelled = false;
    for (;;) {
        if (sl_interrupted() && !cancelled) {
            cancelled = true;
            sl_runner_cancel(s->runner, h);
        }
        sl_handle news;
        (void)sl_runner_wait(s->runner, 0, 100);
        while (sl_runner_poll(s->runner, 0, &news)) {
        }
        sl_finish finish = (sl_finish)atomic_load_explicit(&r->finish, memory_order_acquire);
        uint32_t n = (uint32_t)atomic_load_explicit(&r->n_out, memory_order_acquire);
        SL_TRY(emit(s, r, seen, n, finish, err));
        seen = n;
        if (finish == SL_FINISH_ERROR) {
            *err = r->error;
            return r->error.code;
        }
        if (finish != SL_FINISH_NONE) {
            return print_result(s, r, n, finish, err);
        }
    }
}

static sl_status submit(run_state *s, sl_handle *out, sl_error *err) {
    const run_flags *f = s->f;
    SL_TRY(sl_runner_acquire(s->runner, 0, out, err));
    sl_request *r = sl_runner_request(s->runner, *out);
    uint32_t room = sl_engine_ctx_max(s->l.engine) - (uint32_t)s->prompt.n;
    r->prompt_ids = s->prompt.ids;
    r->n_prompt = (uint32_t)s->prompt.n;
    r->max_tokens = f->n == 0 || f->n > room ? room : f->n;
    r->ignore_eos = f->ignore_eos;
    r->sample.temperature = f->temperature;
    r->sample.top_k = f->top_k;
    r->sample.top_p = f->top_p;
    r->sample.min_p = f->min_p;
    r->sample.seed = f->seed;
    s->out_ids = sl_alloc_zero(r->max_tokens, sizeof(*s->out_ids));
    if (s->out_ids == NULL) {
        return SL_FAIL(err, SL_ERR_MEMORY, "no memory for %" PRIu32 " tokens", r->max_tokens);
    }
    r->out_ids = s->out_ids;
    return sl_runner_submit(s->runner, *out, err);
}

static sl_status run_all(run_state *s, const char *path, sl_error *err) {
    sl_engine_options options = sl_load_options(&s->f->load);
    options.runs_max = 1;
    SL_TRY(sl_load(path, &options, true, s->f->load.quiet, &s->l, err));
    SL_TRY(make_prompt(s, err));
    sl_detokenizer_init(&s->detok, s->l.tokenizer, NULL, 0, false);
    sl_runner_options ro = {.n_slots = 1};
    ro.n_eog_ids = sl_tokenizer_eog(s->l.tokenizer, &ro.eog_ids);
    SL_TRY(sl_runner_create(s->l.engine, &ro, &s->runner, err));
    sl_handle h;
    SL_TRY(submit(s, &h, err));
    return follow(s, h, err);
}

static int run(const char *path, const run_flags *f) {
    run_state s = {.f = f};
    sl_error err;
    sl_ids_init(&s.prompt, 1u << 24);
    sl_buf_init(&s.text, TEXT_MAX);
    sl_status status = run_all(&s, path, &err);
    if (status != SL_OK) {
        sl_cmd_error("run", "%s", err.message);
    }
    sl_runner_free(s.runner);
    sl_detokenizer_deinit(&s.detok);
    sl_loaded_close(&s.l);
    sl_ids_deinit(&s.prompt);
    sl_buf_deinit(&s.text);
    sl_free(s.out_ids);
    if (sl_interrupted()) {
        return SL_EXIT_INTERRUPTED;
    }
    return status == SL_OK && fflush(stdout) == 0 ? SL_EXIT_OK : SL_EXIT_FAILURE;
}

int sl_cmd_run(int argc, char **argv) {
    run_flags f = {.temperature = 0.0f, .top_p = 1.0f};
    const sl_flag flags[] = {
        {"--prompt", "-p", SL_FLAG_STRING, &f.prompt, "TEXT", "What to say to the model.", 0, 0, NULL},
        {"--system", "-s", SL_FLAG_STRING, &f.system, "TEXT", "A system message before it.", 0, 0, NULL},
        {"--ids", NULL, SL_FLAG_LIST, &f.ids, "1,2,3", "The prompt as token ids; nothing is added.", 0,
         2147483647, NULL},
        {"--raw", NULL, SL_FLAG_BOOL, &f.raw, NULL,
         "No chat template: the text as it is, special tokens recognised.", 0, 0, NULL},
        {"--n", "-n", SL_FLAG_U32, &f.n, "N", "Tokens to generate at most (default: to the context's end).", 1,
         268435456, NULL},
        {"--temp", NULL, SL_FLAG_F32, &f.temperature, "T", "Temperature; 0 is greedy (default: 0).", 0, 100,
         NULL},
        {"--top-k", NULL, SL_FLAG_U32, &f.top_k, "K", "Only the K likeliest tokens; 0 is all (default: 0).", 0,
         1048576, NULL},
        {"--top-p", NULL, SL_FLAG_F32, &f.top_p, "P", "Only the likeliest tokens that sum to P (default: 1).", 0,
         1, NULL},
        {"--min-p", NULL, SL_FLAG_F32, &f.min_p, "P",
         "Only tokens at least P times as likely as the likeliest (default: 0).", 0, 1, NULL},
        {"--seed", NULL, SL_FLAG_U64, &f.seed, "N", "Seed of the random numbers (default: 0).", 0, 9e15, NULL},
        {"--ignore-eos", NULL, SL_FLAG_BOOL, &f.ignore_eos, NULL, "End tokens are ordinary tokens.", 0, 0, NULL},
        {"--json", NULL, SL_FLAG_BOOL, &f.json, NULL, "One JSON object with ids, text and timings.", 0, 0, NULL},
        {"--quiet", "-q", SL_FLAG_BOOL, &f.load.quiet, NULL, "Only the answer, no speed, no progress.", 0, 0,
         NULL},
        SL_LOAD_FLAG_THREADS(&f.load),
        SL_LOAD_FLAG_PIN(&f.load),
        SL_LOAD_FLAG_CTX(&f.load),
        SL_LOAD_FLAG_KV_MEMORY(&f.load),
        SL_LOAD_FLAG_KV_TYPE(&f.load),
        SL_LOAD_FLAG_EXACT(&f.load),
        SL_LOAD_FLAG_BATCH_INVARIANT(&f.load),
    };
    const sl_command command = {
        "run", "sluice run MODEL -p TEXT [flags]",
        "Answers one prompt and streams the text to standard output. Ctrl-C ends the answer; a second Ctrl-C "
        "ends the program at once.",
        "  sluice run model.gguf -p 'Why is the sky blue?' -n 200\n"
        "  sluice run model.gguf --raw -p 'Once upon a time' -n 50 --temp 0.8 --seed 7\n"
        "  sluice run model.gguf --ids 1,2,3 -n 8 --json\n", flags, sizeof(flags) / sizeof(flags[0]), 1, 1};
    const char *args[1];
    int code = sl_flags_parse(&command, argc, argv, args);
    if (code == SL_FLAGS_GO_ON && (f.prompt == NULL) == (f.ids.n == 0)) {
        code = sl_cmd_usage_error("run", f.prompt == NULL ? "a prompt is needed: -p TEXT or --ids 1,2,3"
                                                          : "-p and --ids cannot be used together");
    }
    if (code == SL_FLAGS_GO_ON) {
        sl_interrupt_install();
        code = run(args[0], &f);
    }
    sl_flags_free(&command);
    return code;
}
