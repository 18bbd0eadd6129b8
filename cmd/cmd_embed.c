/* sluice embed: texts -> vectors, with an encoder. Texts come as flags, as a file or as its lines;
 * all are turned into ids and checked first, then go through the engine as many at a time as fit.
 *
 * Standard output holds one line for each text, in their order: its numbers, or with --json an
 * object: index (0, 1, ...), embedding (each number reads back as the same float32), prompt_ids,
 * n_tokens, pooling ("mean", "cls", "last"), normalized, timings: load_ms, and embed_ms from the
 * beginning of the computation to this vector. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/utf8.h"
#include "cmd.h"
#include "engine/encode.h"
#include "load.h"

#define TEXT_BYTES_MAX ((size_t)256 << 20)
#define IDS_MAX ((size_t)64 << 20)
#define ROWS_DEFAULT 512u /* of a step, if no text is longer */
#define RUNS_MAX 64u      /* texts of a step */

typedef struct embed_flags {
    sl_load_flags load;
    sl_flag_strings texts; /* one of the three, or standard input */
    const char *file;
    sl_flag_list ids;
    bool lines;
    int pooling; /* POOLINGS, -1: the file's */
    bool normalize, json;
} embed_flags;

#define POOLINGS "mean|cls|last"
static const sl_pooling poolings[] = {SL_POOLING_MEAN, SL_POOLING_CLS, SL_POOLING_LAST};

/* What an embed owns while it lasts. */
typedef struct embed_state {
    const embed_flags *f;
    sl_loaded l;
    sl_buf file_text; /* where the texts are in a file */
    sl_ids ids;       /* of all texts, one behind the other */
    uint32_t *lens;   /* [n_texts] tokens of each */
    size_t n_texts;
    uint32_t longest; /* of them */
    sl_encode_options how;
    const int32_t *next; /* the ids of the text whose vector comes next */
    uint64_t t_begin_ns;
} embed_state;

/* --- texts ------------------------------------------------------------------------------------ */

/* Where text i came from, for messages. */
static const char *text_name(const embed_state *s, size_t i, char *out, size_t cap) {
    const embed_flags *f = s->f;
    const char *file = f->file == NULL || strcmp(f->file, "-") == 0 ? "standard input" : f->file;
    if (f->ids.n > 0) {
        return "--ids";
    }
    if (f->texts.n > 0) {
        (void)snprintf(out, cap, f->texts.n == 1 ? "-p" : "-p number %zu", i + 1);
    } else {
        (void)snprintf(out, cap, f->lines ? "%s, line %zu" : "%s", file, i + 1);
    }
    return out;
}

/* The ids from `begin` on are those of one more text. */
static sl_status end_text(embed_state *s, size_t begin, sl_error *err) {
    char name[256];
    const size_t n = s->ids.n - begin;
    const uint32_t n_trained = s->l.model->plan.n_ctx_max;
    if (n == 0) {
        return SL_FAIL(err, SL_ERR_ARGUMENT, "%s: the text holds no token",
                       text_name(s, s->n_texts, name, sizeof(name)));
    }
    if (n > n_trained) {
        return SL_FAIL(err, SL_ERR_ARGUMENT,
                       "%s: the text has %zu tokens, but %s was made for %" PRIu32 " at most",
                       text_name(s, s->n_texts, name, sizeof(name)), n, sl_gguf_path(s->l.file),
                       n_trained);
    }
    s->lens[s->n_texts++] = (uint32_t)n;
    s->longest = n > s->longest ? (uint32_t)n : s->longest;
    return SL_OK;
}

static sl_status add_text(embed_state *s, sl_slice text, sl_error *err) {
    char name[256];
    size_t n_valid = sl_utf8_valid_prefix(text.ptr, text.len), begin = s->ids.n;
    if (n_valid < text.len) {
        return SL_FAIL(err, SL_ERR_ARGUMENT, "%s: byte %zu of the text is not UTF-8; convert it",
                       text_name(s, s->n_texts, name, sizeof(name)), n_valid);
    }
    sl_status status = sl_tokenizer_encode_full(s->l.tokenizer, text, true, false, &s->ids, err);
    if (status == SL_ERR_LIMIT && begin > 0) {
        return SL_FAIL(err, status,
                       "%s: the texts up to here have more than %zu tokens together; give them in "
                       "several runs",
                       text_name(s, s->n_texts, name, sizeof(name)), IDS_MAX);
    }
    SL_TRY(status);
    return end_text(s, begin, err);
}

/* The line at *at, without its end; *at goes behind it. */
static sl_slice next_line(sl_slice text, size_t *at) {
    const char *begin = text.ptr + *at;
    const char *end = memchr(begin, '\n', text.len - *at);
    size_t len = end == NULL ? text.len - *at : (size_t)(end - begin);
    *at += len + (end != NULL);
    return (sl_slice){begin, len > 0 && begin[len - 1] == '\r' ? len - 1 : len};
}

static size_t count_lines(sl_slice text) {
    size_t n = 0;
    for (size_t at = 0; at < text.len; n++) {
        (void)next_line(text, &at);
    }
    return n;
}

static sl_status add_ids(embed_state *s, sl_error *err) {
    const embed_flags *f = s->f;
    SL_TRY(sl_load_check_ids(&s->l, "--ids", f->ids.v, f->ids.n, err));
    for (size_t i = 0; i < f->ids.n; i++) {
        if (sl_ids_push(&s->ids, f->ids.v[i]) != SL_OK) {
            return SL_FAIL(err, SL_ERR_MEMORY, "no memory for the ids");
        }
    }
    return end_text(s, 0, err);
}

/* The ids of all texts. */
static sl_status add_texts(embed_state *s, sl_error *err) {
    const embed_flags *f = s->f;
    const sl_slice text = {s->file_text.len == 0 ? "" : s->file_text.data, s->file_text.len};
    const size_t n = f->texts.n > 0 ? f->texts.n : (f->lines ? count_lines(text) : 1);
    if (n == 0) {
        return SL_FAIL(err, SL_ERR_ARGUMENT, "--lines: there is no line");
    }
    s->lens = sl_alloc_zero(n, sizeof(*s->lens));
    if (s->lens == NULL) {
        return SL_FAIL(err, SL_ERR_MEMORY, "no memory for %zu texts", n);
    }
    if (f->ids.n > 0) {
        return add_ids(s, err);
    }
    for (size_t i = 0, at = 0; i < n; i++) {
        if (sl_interrupted()) {
            return SL_FAIL(err, SL_ERR_CANCELLED, "interrupted");
        }
        SL_TRY(add_text(s,
                        f->texts.n > 0 ? sl_slice_of(f->texts.v[i])
                        : f->lines     ? next_line(text, &at)
                                       : text,
                        err));
    }
    return SL_OK;
}

/* --- vectors ---------------------------------------------------------------------------------- */

static void print_json(const embed_state *s, size_t i, const float *vector, double ms) {
    const uint32_t width = s->l.model->plan.n_result;
    (void)printf("{\"index\": %zu, \"embedding\": [", i);
    for (uint32_t k = 0; k < width; k++) {
        (void)printf("%s%.9g", k == 0 ? "" : ", ", (double)vector[k]);
    }
    (void)printf("], \"prompt_ids\": [");
    for (uint32_t k = 0; k < s->lens[i]; k++) {
        (void)printf("%s%" PRId32, k == 0 ? "" : ", ", s->next[k]);
    }
    (void)printf("], \"n_tokens\": %" PRIu32 ", \"pooling\": \"%s\", \"normalized\": %s, "
                 "\"timings\": {\"load_ms\": %.3f, \"embed_ms\": %.3f}}\n",
                 s->lens[i], sl_pooling_name(s->how.pooling), s->how.normalize ? "true" : "false",
                 s->l.load_ms, ms);
}

static void print_numbers(const embed_state *s, const float *vector) {
    for (uint32_t k = 0; k < s->l.model->plan.n_result; k++) {
        (void)printf("%s%.9g", k == 0 ? "" : " ", (double)vector[k]);
    }
    (void)putchar('\n');
}

static double ms_since(uint64_t t_ns) {
    return (double)(sl_clock_mono_ns() - t_ns) * 1e-6;
}

static sl_status print_vector(void *user, size_t i, const float *vector, sl_error *err) {
    embed_state *s = user;
    if (s->f->json) {
        print_json(s, i, vector, ms_since(s->t_begin_ns));
    } else {
        print_numbers(s, vector);
    }
    s->next += s->lens[i];
    if (sl_interrupted()) {
        return SL_FAIL(err, SL_ERR_CANCELLED, "interrupted");
    }
    return ferror(stdout) ? sl_stdout_flush(err) : SL_OK;
}

/* --- the run ---------------------------------------------------------------------------------- */

static sl_status choose_pooling(embed_state *s, sl_error *err) {
    const sl_plan *plan = &s->l.model->plan;
    s->how.normalize = s->f->normalize;
    s->how.pooling = s->f->pooling < 0 ? plan->pooling : poolings[s->f->pooling];
    if (s->how.pooling == SL_POOLING_NONE) {
        return SL_FAIL(err, SL_ERR_ARGUMENT,
                       "%s does not say how its rows become one vector (key %s.pooling_type); give "
                       "--pooling mean, cls or last",
                       sl_gguf_path(s->l.file), plan->arch);
    }
    return SL_OK;
}

/* A step takes the longest text whole, and of short ones as many as its rows allow. */
static sl_status open_engine(embed_state *s, sl_error *err) {
    sl_engine_options options = sl_load_options(&s->f->load);
    const uint32_t rows = s->ids.n < ROWS_DEFAULT ? (uint32_t)s->ids.n : ROWS_DEFAULT;
    options.ctx_max = s->longest;
    options.rows_max = rows > s->longest ? rows : s->longest;
    options.runs_max = s->n_texts < RUNS_MAX ? (uint32_t)s->n_texts : RUNS_MAX;
    /* Each text of a step begins a page. */
    const uint64_t n_tokens = options.rows_max + (uint64_t)options.runs_max * SL_PAGE_TOKENS;
    SL_TRY(sl_load_fit_kv(&s->l, 1, n_tokens, &options, err));
    SL_TRY(sl_load_engine(&s->l, &options, err));
    return sl_load_prepare(&s->l, s->f->load.quiet, err);
}

static void print_speed(const embed_state *s, double ms) {
    (void)fprintf(stderr, "[%zu text%s, %zu tokens", s->n_texts, s->n_texts == 1 ? "" : "s",
                  s->ids.n);
    if (ms > 0.0) {
        (void)fprintf(stderr, " at %.0f tokens/s", (double)s->ids.n / ms * 1e3);
    }
    (void)fprintf(stderr, ", loaded in %.0f ms]\n", s->l.load_ms);
}

static sl_status embed_all(embed_state *s, const char *path, sl_error *err) {
    const embed_flags *f = s->f;
    if (f->ids.n == 0 && f->texts.n == 0) {
        SL_TRY(sl_read_all(f->file == NULL ? "-" : f->file, TEXT_BYTES_MAX, &s->file_text, err));
    }
    SL_TRY(sl_load_encoder(path, f->ids.n == 0, &s->l, err));
    SL_TRY(choose_pooling(s, err));
    SL_TRY(add_texts(s, err));
    SL_TRY(open_engine(s, err));
    s->next = s->ids.ids;
    s->t_begin_ns = sl_clock_mono_ns();
    SL_TRY(sl_engine_encode(s->l.engine, &s->how, s->ids.ids, s->lens, s->n_texts, print_vector, s,
                            err));
    double ms = ms_since(s->t_begin_ns);
    SL_TRY(sl_gguf_check_unchanged(s->l.file, err));
    SL_TRY(sl_stdout_flush(err));
    if (!f->json && !f->load.quiet) {
        print_speed(s, ms);
    }
    return SL_OK;
}

static int embed(const char *path, const embed_flags *f) {
    embed_state s = {.f = f};
    sl_error err;
    sl_ids_init(&s.ids, IDS_MAX);
    sl_buf_init(&s.file_text, TEXT_BYTES_MAX);
    sl_status status = embed_all(&s, path, &err);
    if (status != SL_OK && !sl_interrupted()) {
        (void)fflush(stdout); /* the vectors before it */
        sl_cmd_error("embed", "%s", err.message);
    }
    sl_loaded_close(&s.l);
    sl_buf_deinit(&s.file_text);
    sl_ids_deinit(&s.ids);
    sl_free(s.lens);
    if (sl_interrupted()) {
        return SL_EXIT_INTERRUPTED;
    }
    return status == SL_OK ? SL_EXIT_OK : SL_EXIT_FAILURE;
}

/* --- arguments -------------------------------------------------------------------------------- */

static int check_flags(const embed_flags *f) {
    if ((f->texts.n > 0) + (f->file != NULL) + (f->ids.n > 0) > 1) {
        return sl_cmd_usage_error("embed", "only one of -p, -f and --ids can be used");
    }
    if (f->lines && (f->texts.n > 0 || f->ids.n > 0)) {
        return sl_cmd_usage_error("embed", "--lines is for a file or standard input, not for %s",
                                  f->ids.n > 0 ? "--ids" : "-p");
    }
    return SL_FLAGS_GO_ON;
}

int sl_cmd_embed(int argc, char **argv) {
    embed_flags f = {.load.exact = true, .pooling = -1};
    const sl_flag flags[] = {
        {"--prompt", "-p", SL_FLAG_STRINGS, &f.texts, "TEXT",
         "A text; may be given up to 16 times, for a vector each.", 0, 0, NULL},
        {"--file", "-f", SL_FLAG_STRING, &f.file, "FILE",
         "The text from a file; - is standard input (default).", 0, 0, NULL},
        {"--lines", NULL, SL_FLAG_BOOL, &f.lines, NULL, "Each line of the file is a text.", 0, 0,
         NULL},
        {"--ids", NULL, SL_FLAG_LIST, &f.ids, "1,2,3", "The text as token ids; nothing is added.",
         0, 2147483647, NULL},
        {"--pooling", NULL, SL_FLAG_CHOICE, &f.pooling, NULL,
         "How the rows become one vector: their mean, the first ([CLS]) or the last row (default: "
         "as the file says).",
         0, 0, POOLINGS},
        {"--normalize", NULL, SL_FLAG_BOOL, &f.normalize, NULL,
         "Vectors of length 1: their dot product is the cosine.", 0, 0, NULL},
        {"--json", NULL, SL_FLAG_BOOL, &f.json, NULL,
         "One JSON object for each text, on a line: index, embedding, prompt_ids, n_tokens, "
         "pooling, normalized, timings.",
         0, 0, NULL},
        {"--quiet", "-q", SL_FLAG_BOOL, &f.load.quiet, NULL,
         "Only the vectors: no speed, no progress.", 0, 0, NULL},
        {"--exact", NULL, SL_FLAG_BOOL, &f.load.exact, NULL,
         "Activations and KV in float32 (default); --no-exact is faster where weights are "
         "quantised.",
         0, 0, NULL},
        SL_LOAD_FLAG_THREADS(&f.load),
        SL_LOAD_FLAG_PIN(&f.load),
        SL_LOAD_FLAG_KV_TYPE(&f.load),
        SL_LOAD_FLAG_PACKED_CACHE(&f.load),
        SL_LOAD_FLAG_PACKED_CACHE_SIZE(&f.load),
        SL_LOAD_FLAG_BATCH_INVARIANT(&f.load),
    };
    const sl_command command = {
        "embed",
        "sluice embed MODEL [-p TEXT | -f FILE | --ids 1,2,3] [flags]",
        "Turns texts into vectors with an encoder (BERT and its like), one line for each text. A "
        "text gets the special tokens that the file asks for around it.",
        "  sluice embed bge-small.gguf -p 'A cat sat on the mat.' --normalize\n"
        "  sluice embed bge-small.gguf -p 'first text' -p 'second text' --json\n"
        "  sluice embed bge-small.gguf --lines -f texts.txt > vectors.txt\n"
        "  sluice embed bge-small.gguf --ids 101,7592,102 --pooling cls --json\n",
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
        code = embed(args[0], &f);
    }
    sl_flags_free(&command);
    return code;
}
