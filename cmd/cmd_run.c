/* sluice run: one prompt, one answer. Goes through the same runner and rings as the server; this,
 * the main thread, owns the request and turns its ids into text.
 *
 * Standard output holds the answer alone, or with --json one object: prompt_ids (what was fed), ids
 * (with the end token if one was produced), text (without it, and before a stop string),
 * finish_reason ("stop", "length", "cancelled") and timings: load_ms; prompt_n tokens in prompt_ms,
 * to the choice of the first token; gen_n is the number of ids, gen_ms from first to last. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/utf8.h"
#include "calibrated.h"
#include "cmd.h"
#include "load.h"
#include "runner/runner.h"
#include "text/chat.h"
#include "text/tokenizer/detokenizer.h"

#define TEXT_BYTES_MAX ((size_t)64 << 20)
#define PROMPT_TOKENS_MAX ((size_t)16 << 20)

typedef struct run_flags {
    sl_load_flags load;
    const char *prompt, *prompt_file; /* one of the two, or ids */
    const char *system;
    sl_flag_list ids;
    sl_flag_strings stop;
    uint32_t n;
    float temperature, top_p, min_p;
    uint32_t top_k;
    uint64_t seed;
    bool raw, ignore_eos, json, speculate;
} run_flags;

/* What a run owns while it lasts. */
typedef struct run_state {
    const run_flags *f;
    sl_loaded l;
    sl_runner *runner;
    sl_buf prompt_text; /* contents of --file */
    sl_ids prompt;
    int32_t *out_ids;
    sl_ngram ngram;
    void *ngram_memory;
    sl_buf text; /* all that was given out */
    sl_detokenizer detok;
    uint32_t n_seen; /* ids that were looked at; those beyond a stop string are not */
    bool stopped;    /* at a stop string */
    bool is_cancelled;
} run_state;

/* --- prompt ----------------------------------------------------------------------------------- */

static sl_value *chat_message(sl_arena *a, const char *role, sl_slice content) {
    sl_value *m = sl_value_object(a);
    bool ok = m != NULL &&
              sl_value_object_set(a, m, sl_slice_of("role"),
                                  sl_value_string(a, sl_slice_of(role), true)) &&
              sl_value_object_set(a, m, sl_slice_of("content"), sl_value_string(a, content, false));
    return ok ? m : NULL;
}

/* {"messages": [...], "add_generation_prompt": true} */
static sl_value *chat_request(sl_arena *a, const char *system, sl_slice prompt) {
    sl_value *request = sl_value_object(a), *messages = sl_value_list(a);
    if (request == NULL || messages == NULL) {
        return NULL;
    }
    if (system != NULL) {
        sl_value *m = chat_message(a, "system", sl_slice_of(system));
        if (m == NULL || !sl_value_list_push(a, messages, m)) {
            return NULL;
        }
    }
    sl_value *m = chat_message(a, "user", prompt);
    bool ok = m != NULL && sl_value_list_push(a, messages, m) &&
              sl_value_object_set(a, request, sl_slice_of("messages"), messages) &&
              sl_value_object_set(a, request, sl_slice_of("add_generation_prompt"),
                                  sl_value_bool(a, true));
    return ok ? request : NULL;
}

/* The prompt in the model's own chat format. */
static sl_status encode_chat(run_state *s, sl_slice prompt, sl_error *err) {
    sl_chat *chat;
    sl_error why;
    sl_status status = sl_chat_open(s->l.file, s->l.tokenizer, &chat, &why);
    if (status == SL_ERR_NOT_FOUND) {
        return SL_FAIL(err, status, "%s; --raw takes the text as it is", why.message);
    }
    if (status != SL_OK) {
        *err = why;
        return status;
    }
    sl_arena arena;
    sl_arena_init(&arena, 4 * TEXT_BYTES_MAX);
    sl_buf text;
    sl_buf_init(&text, TEXT_BYTES_MAX);
    sl_spans spans = {0};
    sl_value *request = chat_request(&arena, s->f->system, prompt);
    status = request != NULL ? SL_OK : SL_FAIL(err, SL_ERR_MEMORY, "no memory for the prompt");
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

/* The ids of the prompt as the flags give it: as ids, as raw text, or as a chat's first message. */
static sl_status encode_prompt(run_state *s, sl_error *err) {
    const run_flags *f = s->f;
    for (size_t i = 0; i < f->ids.n; i++) {
        if (sl_ids_push(&s->prompt, f->ids.v[i]) != SL_OK) {
            return SL_FAIL(err, SL_ERR_MEMORY, "no memory for the prompt");
        }
    }
    if (f->ids.n > 0) {
        return sl_load_check_ids(&s->l, "--ids", f->ids.v, f->ids.n, err);
    }
    sl_slice text = f->prompt != NULL
                        ? sl_slice_of(f->prompt)
                        : (sl_slice){s->prompt_text.len == 0 ? "" : s->prompt_text.data,
                                     s->prompt_text.len};
    if (f->raw) {
        return sl_tokenizer_encode_full(s->l.tokenizer, text, true, true, &s->prompt, err);
    }
    size_t n_valid = sl_utf8_valid_prefix(text.ptr, text.len);
    if (n_valid < text.len) {
        return SL_FAIL(err, SL_ERR_ARGUMENT,
                       "%s: byte %zu of the prompt is not UTF-8; convert it, or use --raw, which "
                       "takes any bytes",
                       f->prompt != NULL ? "-p" : f->prompt_file, n_valid);
    }
    return encode_chat(s, text, err);
}

/* The longest sequence: what --ctx says, or the smaller of the model's and 8192. */
static uint32_t ctx_of(const run_state *s) {
    uint32_t trained = s->l.model->plan.n_ctx_max;
    uint32_t ctx = s->f->load.ctx;
    return ctx != 0 ? ctx : (trained < 8192 ? trained : 8192);
}

/* Before the weights are packed: what cannot work is said at once. */
static sl_status make_prompt(run_state *s, sl_error *err) {
    SL_TRY(encode_prompt(s, err));
    uint32_t ctx = ctx_of(s);
    if (s->prompt.n == 0) {
        return SL_FAIL(err, SL_ERR_ARGUMENT, "the prompt holds no token; give a text or --ids");
    }
    if (s->prompt.n >= ctx) {
        return SL_FAIL(err, SL_ERR_ARGUMENT,
                       "the prompt has %zu tokens, which leaves no room for an answer in the "
                       "context of %" PRIu32 "; %s",
                       s->prompt.n, ctx,
                       ctx < s->l.model->plan.n_ctx_max ? "a larger --ctx makes room"
                                                        : "the model was made for no more");
    }
    return SL_OK;
}

/* --- output ----------------------------------------------------------------------------------- */

/* Text that is certain goes out. Ids after a stop string are not looked at. */
static sl_status emit(run_state *s, const sl_request *r, uint32_t n, sl_finish finish,
                      sl_error *err) {
    size_t before = s->text.len;
    for (; s->n_seen < n && !s->stopped; s->n_seen++) {
        int32_t id = r->out_ids[s->n_seen];
        if (s->f->ignore_eos || !sl_tokenizer_is_eog(s->l.tokenizer, id)) {
            SL_TRY(sl_detokenizer_push(&s->detok, id, &s->text, &s->stopped, err));
        }
    }
    if (finish != SL_FINISH_NONE && !s->stopped) {
        SL_TRY(sl_detokenizer_finish(&s->detok, &s->text, err));
        s->stopped = s->detok.stopped;
    }
    /* Token texts come from the file: what was read after it shrank is nothing to show. */
    SL_TRY(sl_gguf_check_unchanged(s->l.file, err));
    if (!s->f->json && s->text.len > before) {
        (void)fwrite(s->text.data + before, 1, s->text.len - before, stdout);
        return sl_stdout_flush(err);
    }
    return SL_OK;
}

static const char *finish_name(const run_state *s, sl_finish finish) {
    return s->stopped || finish == SL_FINISH_STOP ? "stop"
           : finish == SL_FINISH_LENGTH           ? "length"
                                                  : "cancelled";
}

static void print_list(const char *name, const int32_t *ids, size_t n) {
    (void)printf("\"%s\": [", name);
    for (size_t i = 0; i < n; i++) {
        (void)printf("%s%" PRId32, i == 0 ? "" : ", ", ids[i]);
    }
    (void)printf("], ");
}

static double ms_between(uint64_t from_ns, uint64_t to_ns) {
    return from_ns == 0 || to_ns < from_ns ? 0.0 : (double)(to_ns - from_ns) * 1e-6;
}

static void print_speed(const run_state *s, double prompt_ms, double gen_ms) {
    uint32_t n = s->n_seen;
    (void)fprintf(stderr, "[%zu prompt tokens", s->prompt.n);
    if (prompt_ms > 0.0) {
        (void)fprintf(stderr, " at %.0f tokens/s", (double)s->prompt.n / prompt_ms * 1e3);
    }
    (void)fprintf(stderr, ", %" PRIu32 " generated", n);
    if (n > 1 && gen_ms > 0.0) {
        (void)fprintf(stderr, " at %.1f tokens/s", (n - 1) / gen_ms * 1e3);
    }
    (void)fprintf(stderr, ", loaded in %.0f ms]\n", s->l.load_ms);
}

static sl_status print_result(const run_state *s, const sl_request *r, sl_finish finish,
                              sl_error *err) {
    double prompt_ms = s->n_seen == 0 ? 0.0 : ms_between(r->t_start_ns, r->t_first_ns);
    double gen_ms = s->n_seen == 0 ? 0.0 : ms_between(r->t_first_ns, r->t_end_ns);
    if (!s->f->json) {
        (void)fputc('\n', stdout);
        sl_status status = sl_stdout_flush(err);
        if (status == SL_OK && !s->f->load.quiet) {
            print_speed(s, prompt_ms, gen_ms);
        }
        return status;
    }
    sl_buf text;
    sl_buf_init(&text, 6 * TEXT_BYTES_MAX);
    if (sl_buf_append_json(&text, s->text.len == 0 ? "" : s->text.data, s->text.len) != SL_OK ||
        sl_buf_cstr(&text) == NULL) {
        sl_buf_deinit(&text);
        return SL_FAIL(err, SL_ERR_MEMORY, "no memory for the answer");
    }
    (void)putchar('{');
    print_list("prompt_ids", s->prompt.ids, s->prompt.n);
    print_list("ids", r->out_ids, s->n_seen);
    (void)printf(
        "\"text\": \"%s\", \"finish_reason\": \"%s\", \"timings\": {\"load_ms\": %.3f, "
        "\"prompt_n\": %zu, \"prompt_ms\": %.3f, \"gen_n\": %" PRIu32 ", \"gen_ms\": %.3f}}\n",
        text.data, finish_name(s, finish), s->l.load_ms, s->prompt.n, prompt_ms, s->n_seen, gen_ms);
    sl_buf_deinit(&text);
    return sl_stdout_flush(err);
}

/* --- the request ------------------------------------------------------------------------------ */

/* Follows the request to its end; Ctrl-C or a stop string cancels it. */
static sl_status follow(run_state *s, sl_handle h, sl_error *err) {
    sl_request *r = sl_runner_request(s->runner, h);
    sl_load_progress progress;
    sl_load_progress_init(&progress);
    for (;;) {
        if ((sl_interrupted() || s->stopped) && !s->is_cancelled) {
            s->is_cancelled = true;
            sl_runner_cancel(s->runner, h);
        }
        sl_handle news;
        (void)sl_runner_wait(s->runner, 0, 100);
        while (sl_runner_poll(s->runner, 0, &news)) {
        }
        sl_finish finish = (sl_finish)atomic_load_explicit(&r->finish, memory_order_acquire);
        uint32_t n = (uint32_t)atomic_load_explicit(&r->n_out, memory_order_acquire);
        if (n > 0 || finish != SL_FINISH_NONE) {
            sl_load_progress_wipe(&progress);
        } else if (!s->f->load.quiet) { /* the first step packs the weights that it needs */
            sl_load_progress_show(&progress, &s->l);
        }
        if (finish == SL_FINISH_ERROR) {
            *err = r->error;
            return r->error.code;
        }
        SL_TRY(emit(s, r, n, finish, err));
        if (finish != SL_FINISH_NONE) {
            return print_result(s, r, finish, err);
        }
    }
}

/* Without -n the answer may fill what is left of the context, or of the pages. */
static uint32_t tokens_max(const run_state *s) {
    const sl_engine *e = s->l.engine;
    uint32_t pool = sl_kv_groups_tokens(sl_engine_kv_groups(e), sl_engine_n_pages(e));
    uint32_t ctx = sl_engine_ctx_max(e), n_prompt = (uint32_t)s->prompt.n;
    uint32_t room = ctx - n_prompt;
    if (s->f->n != 0) {
        return s->f->n < room ? s->f->n : room;
    }
    return pool > n_prompt && pool < ctx ? pool - n_prompt : room;
}

static sl_status submit(run_state *s, sl_handle *out, sl_error *err) {
    const run_flags *f = s->f;
    SL_TRY(sl_runner_acquire(s->runner, 0, out, err));
    sl_request *r = sl_runner_request(s->runner, *out);
    r->prompt_ids = s->prompt.ids;
    r->n_prompt = (uint32_t)s->prompt.n;
    r->max_tokens = tokens_max(s);
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
    if (f->speculate) {
        const sl_ngram_text text = {r->prompt_ids, r->out_ids, r->n_prompt};
        s->ngram_memory = sl_alloc(sl_ngram_bytes(r->n_prompt + r->max_tokens));
        if (s->ngram_memory == NULL) {
            return SL_FAIL(err, SL_ERR_MEMORY, "no memory for the index of the prompt");
        }
        sl_ngram_init(&s->ngram, s->ngram_memory, r->n_prompt + r->max_tokens);
        sl_ngram_grow(&s->ngram, &text, r->n_prompt);
        r->ngram = &s->ngram;
    }
    return sl_runner_submit(s->runner, *out, err);
}

/* Pages for this one sequence. Without -n it makes do with fewer where memory is short. */
static sl_status open_engine(run_state *s, sl_error *err) {
    const run_flags *f = s->f;
    sl_engine_options options = sl_load_options(&f->load);
    options.ctx_max = ctx_of(s);
    options.runs_max = 1 + (f->speculate ? SL_RUNNER_DRAFT_MAX : 0); /* rows of logits */
    uint32_t room = options.ctx_max - (uint32_t)s->prompt.n;
    uint32_t n = s->f->n != 0 && s->f->n < room ? s->f->n : room;
    sl_status status = sl_load_fit_kv(&s->l, 1, s->prompt.n + n, &options, err);
    if (status != SL_OK && !(status == SL_ERR_MEMORY && f->n == 0)) {
        return status;
    }
    return sl_load_engine(&s->l, &options, err);
}

static sl_status run_all(run_state *s, const char *path, sl_error *err) {
    const run_flags *f = s->f;
    if (f->prompt_file != NULL) {
        SL_TRY(sl_read_all(f->prompt_file, TEXT_BYTES_MAX, &s->prompt_text, err));
    }
    SL_TRY(sl_load_model(path, true, &s->l, err));
    SL_TRY(make_prompt(s, err));
    SL_TRY(open_engine(s, err));
    sl_slice stops[SL_FLAG_STRINGS_MAX];
    for (size_t i = 0; i < f->stop.n; i++) {
        stops[i] = sl_slice_of(f->stop.v[i]);
    }
    sl_detokenizer_init(&s->detok, s->l.tokenizer, stops, f->stop.n, false);
    sl_calibrated calibrated;
    sl_calibrated_find(&calibrated, &s->l, &f->load);
    sl_runner_options ro = {.n_slots = 1};
    ro.cost = calibrated.cost.n_points > 0 ? &calibrated.cost : NULL;
    ro.n_eog_ids = sl_tokenizer_eog(s->l.tokenizer, &ro.eog_ids);
    SL_TRY(sl_runner_create(s->l.engine, &ro, &s->runner, err));
    sl_handle h;
    SL_TRY(submit(s, &h, err));
    return follow(s, h, err);
}

static int run(const char *path, const run_flags *f) {
    run_state s = {.f = f};
    sl_error err = {0};
    sl_ids_init(&s.prompt, PROMPT_TOKENS_MAX);
    sl_buf_init(&s.text, TEXT_BYTES_MAX);
    sl_status status = run_all(&s, path, &err);
    if (status != SL_OK && !sl_interrupted()) {
        if (!f->json && s.text.len > 0) { /* the message gets a line of its own */
            (void)fputc('\n', stdout);
            (void)fflush(stdout);
        }
        sl_cmd_error("run", "%s", err.message);
    }
    sl_runner_free(s.runner);
    if (status == SL_OK && !sl_interrupted() && sl_engine_wants_all(s.l.engine)) {
        /* Experts that nobody asked for yet, so that the next start finds all. */
        status = sl_load_prepare(&s.l, f->load.quiet, &err);
    }
    sl_detokenizer_deinit(&s.detok);
    sl_loaded_close(&s.l);
    sl_buf_deinit(&s.prompt_text);
    sl_ids_deinit(&s.prompt);
    sl_buf_deinit(&s.text);
    sl_free(s.out_ids);
    sl_free(s.ngram_memory);
    if (sl_interrupted()) {
        return SL_EXIT_INTERRUPTED;
    }
    return status == SL_OK ? SL_EXIT_OK : SL_EXIT_FAILURE;
}

/* --- arguments -------------------------------------------------------------------------------- */

/* What the table of flags cannot say: which go together. */
static int check_flags(const run_flags *f) {
    int n_prompts = (f->prompt != NULL) + (f->prompt_file != NULL) + (f->ids.n > 0);
    if (n_prompts == 0) {
        return sl_cmd_usage_error("run", "a prompt is needed: -p TEXT, -f FILE or --ids 1,2,3");
    }
    if (n_prompts > 1) {
        return sl_cmd_usage_error("run", "only one of -p, -f and --ids can be used");
    }
    if (f->system != NULL && (f->raw || f->ids.n > 0)) {
        return sl_cmd_usage_error("run", "--system needs the chat template, which %s does not use",
                                  f->raw ? "--raw" : "--ids");
    }
    if (f->system != NULL &&
        sl_utf8_valid_prefix(f->system, strlen(f->system)) < strlen(f->system)) {
        return sl_cmd_usage_error("run", "--system is not UTF-8");
    }
    for (size_t i = 0; i < f->stop.n; i++) {
        size_t len = strlen(f->stop.v[i]);
        if (len == 0 || len > SL_STOP_BYTES_MAX || sl_utf8_valid_prefix(f->stop.v[i], len) < len) {
            return sl_cmd_usage_error("run", "--stop takes 1 to %d bytes of UTF-8",
                                      SL_STOP_BYTES_MAX);
        }
    }
    return SL_FLAGS_GO_ON;
}

int sl_cmd_run(int argc, char **argv) {
    /* lint: long because it is the table of flags, their help included */
    run_flags f = {.temperature = 0.0f, .top_p = 1.0f, .speculate = true};
    const sl_flag flags[] = {
        {"--prompt", "-p", SL_FLAG_STRING, &f.prompt, "TEXT", "What to say to the model.", 0, 0,
         NULL},
        {"--file", "-f", SL_FLAG_STRING, &f.prompt_file, "FILE",
         "The same from a file; - is standard input.", 0, 0, NULL},
        {"--ids", NULL, SL_FLAG_LIST, &f.ids, "1,2,3",
         "The same as token ids; nothing is added to them.", 0, 2147483647, NULL},
        {"--system", "-s", SL_FLAG_STRING, &f.system, "TEXT", "A system message before it.", 0, 0,
         NULL},
        {"--raw", NULL, SL_FLAG_BOOL, &f.raw, NULL,
         "No chat template: the text as it is, special tokens recognised, BOS if the file asks for "
         "it.",
         0, 0, NULL},
        {"--n", "-n", SL_FLAG_U32, &f.n, "N",
         "Tokens to generate at most (default: to the end of the context).", 1, 268435456, NULL},
        {"--stop", NULL, SL_FLAG_STRINGS, &f.stop, "TEXT",
         "End before this text; may be given up to 16 times.", 0, 0, NULL},
        {"--ignore-eos", NULL, SL_FLAG_BOOL, &f.ignore_eos, NULL, "End tokens are ordinary tokens.",
         0, 0, NULL},
        {"--temp", NULL, SL_FLAG_F32, &f.temperature, "T", "Temperature; 0 is greedy (default: 0).",
         0, 100, NULL},
        {"--top-k", NULL, SL_FLAG_U32, &f.top_k, "K",
         "Only the K likeliest tokens; 0 is all (default: 0).", 0, 1048576, NULL},
        {"--top-p", NULL, SL_FLAG_F32, &f.top_p, "P",
         "Only the likeliest tokens that sum to P (default: 1).", 0, 1, NULL},
        {"--min-p", NULL, SL_FLAG_F32, &f.min_p, "P",
         "Only tokens at least P times as likely as the likeliest (default: 0).", 0, 1, NULL},
        {"--seed", NULL, SL_FLAG_U64, &f.seed, "N", "Seed of the random numbers (default: 0).", 0,
         0, NULL},
        {"--speculate", NULL, SL_FLAG_BOOL, &f.speculate, NULL,
         "Guess from the text so far what follows, and compute some guesses with the next token "
         "where that is faster; the answer does not change (default; --no-speculate: one token at "
         "a time).",
         0, 0, NULL},
        {"--json", NULL, SL_FLAG_BOOL, &f.json, NULL,
         "One JSON object at the end: prompt_ids, ids, text, finish_reason, timings.", 0, 0, NULL},
        {"--quiet", "-q", SL_FLAG_BOOL, &f.load.quiet, NULL,
         "Only the answer: no speed, no progress.", 0, 0, NULL},
        SL_LOAD_FLAG_THREADS(&f.load),
        SL_LOAD_FLAG_PIN(&f.load),
        SL_LOAD_FLAG_CTX(&f.load),
        {"--kv-memory", NULL, SL_FLAG_SIZE, &f.load.kv_memory, "SIZE",
         "KV page pool: bytes with K, M or G, or % of free memory (default: what the prompt and -n "
         "need).",
         0, 0, NULL},
        SL_LOAD_FLAG_KV_TYPE(&f.load),
        SL_LOAD_FLAG_PACKED_CACHE(&f.load),
        SL_LOAD_FLAG_PACKED_CACHE_SIZE(&f.load),
        SL_LOAD_FLAG_EXACT(&f.load),
        SL_LOAD_FLAG_BATCH_INVARIANT(&f.load),
    };
    const sl_command command = {
        "run",
        "sluice run MODEL (-p TEXT | -f FILE | --ids 1,2,3) [flags]",
        "Answers one prompt and streams the text to standard output; the speed goes to standard "
        "error. Ctrl-C "
        "ends the answer, a second Ctrl-C the program at once.",
        "  sluice run model.gguf -p 'Why is the sky blue?' -n 200\n"
        "  sluice run model.gguf --raw -p 'Once upon a time' -n 50 --temp 0.8 --seed 7\n"
        "  sluice run model.gguf -s 'Answer in French.' -f question.txt --stop '###'\n"
        "  sluice run model.gguf --ids 1,2,3 -n 8 --json\n",
        flags,
        sizeof(flags) / sizeof(flags[0]),
        1,
        1};
    const char *args[1];
    int code = sl_flags_parse(&command, argc, argv, args);
    if (code == SL_FLAGS_GO_ON) {
        code = check_flags(&f);
    }
    if (code == SL_FLAGS_GO_ON) {
        sl_interrupt_install();
        code = run(args[0], &f);
    }
    sl_flags_free(&command);
    return code;
}
