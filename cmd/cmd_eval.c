/* sluice eval: perplexity of a text, and KL divergence from the log-probabilities that another run
 * saved. Standard output holds one line per figure, or with --json one object: ppl, nll (mean
 * negative log-likelihood per token, nats), ppl_stderr, n_scored, n_chunks, n_resumed, ctx,
 * n_tokens (of the text), seconds, tokens_per_second (of what was not resumed); with --kl-base also
 * kl_mean, kl_p99, kl_max, top1_same (part of the positions), delta_p_mean, delta_p_p99,
 * delta_p_max, base_ppl. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "cmd.h"
#include "load.h"
#include "measure/eval.h"

#define TEXT_BYTES_MAX ((size_t)1 << 30)
#define ROWS_MAX 2048u     /* of one step, if the pieces of --batch have more */
#define ROWS_DEFAULT 1024u /* pieces of one step have about as many together */
#define LINE_COLUMNS 76

typedef struct eval_flags {
    sl_load_flags load;
    const char *text, *save, *base, *resume;
    uint32_t n_chunks, batch;
    bool json;
} eval_flags;

/* --- the text --------------------------------------------------------------------------------- */

/* As llama-perplexity takes it: one newline at the end is not part of the text, BOS stands before
 * it where the model adds one, special tokens in it are plain text. */
static sl_status tokenize_text(const sl_loaded *l, const eval_flags *f, sl_ids *ids,
                               sl_error *err) {
    sl_buf text;
    SL_TRY(sl_read_all(f->text, TEXT_BYTES_MAX, &text, err));
    sl_slice s = {text.data, text.len};
    s.len -= s.len > 0 && s.ptr[s.len - 1] == '\n';
    sl_status status = SL_OK;
    if (sl_tokenizer_adds_bos(l->tokenizer)) {
        status = sl_ids_push(ids, sl_tokenizer_bos(l->tokenizer));
        if (status != SL_OK) {
            status = SL_FAIL(err, status, "no memory for the tokens of --text");
        }
    }
    if (status == SL_OK) {
        status = sl_tokenizer_encode(l->tokenizer, s, false, ids, err);
    }
    sl_buf_deinit(&text);
    return status;
}

/* --- progress --------------------------------------------------------------------------------- */

typedef struct eval_display {
    bool is_on, is_shown;
    uint32_t ctx, n_done; /* n_done: whole pieces, for the message of an interrupted run */
    uint64_t t_begin_ns, t_last_ns;
} eval_display;

static void show_line(eval_display *d, const sl_eval_progress *p, double elapsed_s) {
    char line[LINE_COLUMNS + 1];
    int n = snprintf(line, sizeof(line), "%" PRIu32 " of %" PRIu32 " chunks", p->n_done,
                     p->n_pieces);
    double rate = (double)(p->n_done - p->n_resumed) / elapsed_s;
    if (p->n_done > p->n_resumed && n < LINE_COLUMNS) {
        double left_s = (double)(p->n_pieces - p->n_done) / rate;
        (void)snprintf(line + n, sizeof(line) - (size_t)n,
                       ", ppl %.4f, %.0f tokens/s, %.0f min %02.0f s left", p->ppl, rate * d->ctx,
                       floor(left_s / 60.0), floor(fmod(left_s, 60.0)));
    }
    (void)fprintf(stderr, "\r%-*s", LINE_COLUMNS, line);
    (void)fflush(stderr);
    d->is_shown = true;
}

static bool go_on(void *user, const sl_eval_progress *p) {
    eval_display *d = user;
    uint64_t now = sl_clock_mono_ns();
    d->n_done = p->n_done;
    if (d->is_on && now - d->t_last_ns >= 200 * SL_NS_PER_MS) {
        d->t_last_ns = now;
        show_line(d, p, (double)(now - d->t_begin_ns) * 1e-9);
    }
    return !sl_interrupted();
}

static void wipe_line(const eval_display *d) {
    if (d->is_shown) {
        (void)fprintf(stderr, "\r%*s\r", LINE_COLUMNS, "");
        (void)fflush(stderr);
    }
}

/* --- the result ------------------------------------------------------------------------------- */

typedef struct eval_report {
    sl_eval_result r;
    uint32_t ctx, n_chunks;
    size_t n_tokens;
    double seconds;
} eval_report;

static double tokens_per_second(const eval_report *p) {
    double n = (double)(p->n_chunks - p->r.n_resumed) * p->ctx;
    return p->seconds > 0.0 ? n / p->seconds : 0.0;
}

/* JSON knows no infinity. */
static void print_number(const char *name, double v) {
    if (isfinite(v)) {
        (void)printf(", \"%s\": %.17g", name, v);
    } else {
        (void)printf(", \"%s\": null", name);
    }
}

static void print_json(const eval_report *p) {
    const sl_eval_result *r = &p->r;
    (void)printf("{\"n_scored\": %" PRIu64 ", \"n_chunks\": %" PRIu32 ", \"n_resumed\": %" PRIu32
                 ", \"ctx\": %" PRIu32 ", \"n_tokens\": %zu",
                 r->n_scored, p->n_chunks, r->n_resumed, p->ctx, p->n_tokens);
    print_number("ppl", r->ppl);
    print_number("nll", r->nll);
    print_number("ppl_stderr", r->ppl * r->nll_stderr);
    if (r->has_base) {
        print_number("kl_mean", r->kl.mean);
        print_number("kl_p99", r->kl.p99);
        print_number("kl_max", r->kl.max);
        print_number("top1_same", r->same_top);
        print_number("delta_p_mean", r->delta_p.mean);
        print_number("delta_p_p99", r->delta_p.p99);
        print_number("delta_p_max", r->delta_p.max);
        print_number("base_ppl", exp(r->base_nll));
    }
    (void)printf(", \"seconds\": %.3f, \"tokens_per_second\": %.2f}\n", p->seconds,
                 tokens_per_second(p));
}

static void print_text(const eval_report *p) {
    const sl_eval_result *r = &p->r;
    (void)printf("perplexity    %.4f +/- %.4f\n", r->ppl, r->ppl * r->nll_stderr);
    (void)printf("mean nll      %.6f nats per token\n", r->nll);
    (void)printf("scored        %" PRIu64 " tokens in %" PRIu32 " chunks of %" PRIu32 "\n",
                 r->n_scored, p->n_chunks, p->ctx);
    if (r->has_base) {
        (void)printf("base          perplexity %.4f\n", exp(r->base_nll));
        (void)printf("KL divergence mean %.3e, 99 %% %.3e, largest %.3e nats\n", r->kl.mean,
                     r->kl.p99, r->kl.max);
        (void)printf("same top      %.3f %%\n", 100.0 * r->same_top);
        (void)printf("|delta p|     mean %.3e, 99 %% %.3e, largest %.3e\n", r->delta_p.mean,
                     r->delta_p.p99, r->delta_p.max);
    }
    (void)printf("speed         %.1f tokens/s\n", tokens_per_second(p));
}

/* --- the run ---------------------------------------------------------------------------------- */

static sl_status check_written(const sl_loaded *l, const char *flag, const char *path,
                               sl_error *err) {
    if (path == NULL) {
        return SL_OK;
    }
    SL_TRY(sl_load_check_apart(l, flag, path, err));
    return sl_check_writable(path, err);
}

/* What is run; refused before the weights are packed and a file is touched. */
static sl_status eval_choose(const sl_loaded *l, const eval_flags *f, const sl_ids *ids,
                             sl_eval_options *o, sl_error *err) {
    uint32_t n_trained = l->model->plan.n_ctx_max;
    if (l->model->plan.is_encoder) {
        return SL_FAIL(err, SL_ERR_UNSUPPORTED,
                       "%s is an encoder: it makes vectors of texts and predicts no tokens",
                       sl_gguf_path(l->file));
    }
    o->ctx = f->load.ctx;
    if (o->ctx > n_trained) {
        return SL_FAIL(err, SL_ERR_ARGUMENT,
                       "--ctx is %" PRIu32 ", but %s was made for %" PRIu32 " tokens at most",
                       o->ctx, sl_gguf_path(l->file), n_trained);
    }
    uint64_t n_pieces = ids->n / o->ctx;
    if (n_pieces == 0 || n_pieces > UINT32_MAX) {
        return SL_FAIL(err, SL_ERR_ARGUMENT,
                       "--text has %zu tokens, %s one chunk of --ctx %" PRIu32, ids->n,
                       n_pieces == 0 ? "fewer than" : "too many of", o->ctx);
    }
    SL_TRY(sl_load_check_ids(l, "--text", ids->ids, ids->n, err));
    SL_TRY(check_written(l, "--save-logits", f->save, err));
    SL_TRY(check_written(l, "--resume", f->resume, err));
    o->n_pieces = f->n_chunks != 0 && f->n_chunks < n_pieces ? f->n_chunks : (uint32_t)n_pieces;
    o->bos = sl_tokenizer_adds_bos(l->tokenizer) ? sl_tokenizer_bos(l->tokenizer) : -1;
    return SL_OK;
}

/* Room for the pieces of one step. */
static sl_status eval_engine(sl_loaded *l, const eval_flags *f, const sl_eval_options *o,
                             sl_error *err) {
    uint32_t batch = f->batch != 0 ? f->batch : (ROWS_DEFAULT + o->ctx - 1) / o->ctx;
    batch = batch < o->n_pieces ? batch : o->n_pieces;
    uint64_t rows = (uint64_t)batch * (o->ctx - 1);
    sl_engine_options options = sl_load_options(&f->load);
    options.runs_max = batch;
    options.rows_max = rows < ROWS_MAX ? (uint32_t)rows : ROWS_MAX;
    SL_TRY(sl_load_fit_kv(l, batch, o->ctx, &options, err));
    SL_TRY(sl_load_engine(l, &options, err));
    return sl_load_prepare(l, f->load.quiet, err);
}

static sl_status eval_run(sl_loaded *l, const eval_flags *f, const sl_ids *ids, sl_eval_options *o,
                          eval_display *display, sl_error *err) {
    SL_TRY(eval_engine(l, f, o, err));
    o->model_check = f->resume != NULL ? sl_eval_model_check(l->file) : 0;
    display->ctx = o->ctx;
    display->is_on = !f->load.quiet && isatty(STDERR_FILENO);
    display->t_begin_ns = sl_clock_mono_ns();
    eval_report p = {.ctx = o->ctx, .n_chunks = o->n_pieces, .n_tokens = ids->n};
    sl_status status = sl_eval_run(l->engine, o, ids->ids, &p.r, err);
    wipe_line(display);
    SL_TRY(status);
    SL_TRY(sl_gguf_check_unchanged(l->file, err));
    p.seconds = (double)(sl_clock_mono_ns() - display->t_begin_ns) * 1e-9;
    if (f->json) {
        print_json(&p);
    } else {
        print_text(&p);
    }
    return sl_stdout_flush(err);
}

static sl_status eval_text(sl_loaded *l, const eval_flags *f, const sl_ids *ids,
                           eval_display *display, sl_error *err) {
    sl_eval_options o = {
        .save_path = f->save, .resume_path = f->resume, .go_on = go_on, .user = display};
    SL_TRY(eval_choose(l, f, ids, &o, err));
    sl_logprob_base base = {0};
    if (f->base != NULL) {
        SL_TRY(sl_eval_base_open(f->base, &o, ids->ids, l->model->plan.n_vocab, &base, err));
        o.base = &base;
    }
    sl_status status = eval_run(l, f, ids, &o, display, err);
    sl_logprob_base_close(&base);
    return status;
}

static int eval(const char *path, const eval_flags *f) {
    sl_loaded l;
    sl_error err;
    sl_ids ids;
    eval_display display = {0};
    sl_ids_init(&ids, TEXT_BYTES_MAX);
    sl_status status = sl_load_model(path, true, &l, &err);
    if (status == SL_OK) {
        status = tokenize_text(&l, f, &ids, &err);
        if (status == SL_OK) {
            status = eval_text(&l, f, &ids, &display, &err);
        }
        sl_loaded_close(&l);
    }
    sl_ids_deinit(&ids);
    if (status == SL_OK) {
        return SL_EXIT_OK;
    }
    if (sl_interrupted()) {
        if (f->resume != NULL) {
            sl_cmd_error("eval",
                         "interrupted; %" PRIu32 " chunks are kept in %s: the same command goes on "
                         "from there",
                         display.n_done, f->resume);
        }
        return SL_EXIT_INTERRUPTED;
    }
    sl_cmd_error("eval", "%s", err.message);
    return SL_EXIT_FAILURE;
}

static int check_flags(const char *model, const eval_flags *f) {
    if (f->text == NULL) {
        return sl_cmd_usage_error("eval", "--text FILE is needed");
    }
    const char *const files[] = {model, f->text, f->base, f->save, f->resume};
    static const char *const names[] = {"MODEL", "--text", "--kl-base", "--save-logits",
                                        "--resume"};
    for (size_t i = 0; i < 5; i++) {
        for (size_t k = i + 1; files[i] != NULL && k < 5; k++) {
            if (files[k] != NULL && sl_same_file(files[i], files[k])) {
                return sl_cmd_usage_error("eval", "%s and %s name the same file", names[i],
                                          names[k]);
            }
        }
    }
    return SL_FLAGS_GO_ON;
}

int sl_cmd_eval(int argc, char **argv) {
    /* lint: long because it is the table of flags, their help included */
    eval_flags f = {.load.ctx = 512};
    const sl_flag flags[] = {
        {"--text", "-f", SL_FLAG_STRING, &f.text, "FILE", "The text; - is standard input.", 0, 0,
         NULL},
        {"--ctx", "-c", SL_FLAG_U32, &f.load.ctx, "N",
         "Tokens of a chunk; the second half of each is scored (default: 512).", SL_EVAL_CTX_MIN,
         1048576, NULL},
        {"--chunks", NULL, SL_FLAG_U32, &f.n_chunks, "N", "Only the first N chunks (default: all).",
         1, 4294967295.0, NULL},
        {"--batch", "-b", SL_FLAG_U32, &f.batch, "N",
         "Chunks that go through the model together; changes the speed and not the result "
         "(default: those that 1024 tokens begin).",
         1, 4096, NULL},
        {"--save-logits", NULL, SL_FLAG_STRING, &f.save, "FILE",
         "Also write all log-probabilities there, for --kl-base: 2 bytes for each token of the "
         "vocabulary at each scored position.",
         0, 0, NULL},
        {"--kl-base", NULL, SL_FLAG_STRING, &f.base, "FILE",
         "Compare with what another run saved: KL divergence, same top token.", 0, 0, NULL},
        {"--resume", NULL, SL_FLAG_STRING, &f.resume, "FILE",
         "Keep each finished chunk there; the same command later goes on behind the last one, with "
         "the same result.",
         0, 0, NULL},
        {"--json", NULL, SL_FLAG_BOOL, &f.json, NULL, "One JSON object: ppl, nll, n_scored, ...", 0,
         0, NULL},
        {"--quiet", "-q", SL_FLAG_BOOL, &f.load.quiet, NULL, "No progress.", 0, 0, NULL},
        SL_LOAD_FLAG_THREADS(&f.load),
        SL_LOAD_FLAG_PIN(&f.load),
        {"--kv-memory", NULL, SL_FLAG_SIZE, &f.load.kv_memory, "SIZE",
         "KV page pool: bytes with K, M or G, or % of free memory (default: what --batch needs).",
         0, 0, NULL},
        SL_LOAD_FLAG_KV_TYPE(&f.load),
        SL_LOAD_FLAG_PACKED_CACHE(&f.load),
        SL_LOAD_FLAG_PACKED_CACHE_SIZE(&f.load),
        SL_LOAD_FLAG_EXACT(&f.load),
        SL_LOAD_FLAG_BATCH_INVARIANT(&f.load),
    };
    const sl_command command = {
        "eval",
        "sluice eval MODEL --text FILE [flags]",
        "Measures how well a model predicts a text, as llama-perplexity does: the tokens are cut "
        "into chunks of --ctx (a last part is dropped), BOS takes the place of the first one of "
        "each where the model adds it, and the second half of each chunk is scored.",
        "  sluice eval model.gguf --text book.txt\n"
        "  sluice eval f16.gguf --text book.txt --exact --save-logits base.lp\n"
        "  sluice eval q4.gguf --text book.txt --kl-base base.lp --json\n"
        "  sluice eval large.gguf --text book.txt --resume state.eval\n",
        flags,
        sizeof(flags) / sizeof(flags[0]),
        1,
        1};
    const char *args[1];
    int code = sl_flags_parse(&command, argc, argv, args);
    if (code == SL_FLAGS_GO_ON) {
        code = check_flags(args[0], &f);
    }
    if (code == SL_FLAGS_GO_ON) {
        sl_interrupt_install();
        code = eval(args[0], &f);
    }
    sl_flags_free(&command);
    return code;
}
