/* sluice logits: the logits of a token sequence, as float32 rows in a file. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/error.h"
#include "cmd.h"
#include "load.h"
#include "measure/feed.h"

typedef struct logits_flags {
    sl_load_flags load;
    sl_flag_list ids;
    bool last;
    uint32_t chunk;   /* tokens of one pass; 0: the engine's own */
    const char *path; /* "-": standard output */
} logits_flags;

typedef struct logits_file {
    FILE *f;
    const char *path; /* for messages */
    uint32_t n_vocab;
} logits_file;

static sl_status write_failed(const logits_file *out, sl_error *err) {
    return SL_FAIL(err, SL_ERR_IO, "%s: cannot be written: %s", out->path, sl_errno_text(errno));
}

static sl_status write_rows(void *user, uint32_t first, uint32_t n, float *logits, size_t stride,
                            sl_error *err) {
    const logits_file *out = user;
    (void)first;
    for (uint32_t i = 0; i < n; i++) {
        if (fwrite(logits + i * stride, sizeof(float), out->n_vocab, out->f) != out->n_vocab) {
            return write_failed(out, err);
        }
    }
    if (sl_interrupted()) {
        return SL_FAIL(err, SL_ERR_CANCELLED, "interrupted");
    }
    return SL_OK;
}

/* Everything that can be refused before the weights are packed and the file is touched. */
static sl_status logits_open(sl_loaded *l, const logits_flags *f, sl_error *err) {
    sl_engine_options options = sl_load_options(&f->load);
    uint32_t n = (uint32_t)f->ids.n, n_trained = l->model->plan.n_ctx_max;
    if (n > n_trained) {
        return SL_FAIL(err, SL_ERR_ARGUMENT,
                       "--ids has %" PRIu32 " tokens, but %s was made for %" PRIu32 " at most", n,
                       sl_gguf_path(l->file), n_trained);
    }
    SL_TRY(sl_load_check_ids(l, "--ids", f->ids.v, f->ids.n, err));
    if (strcmp(f->path, "-") != 0) {
        SL_TRY(sl_load_check_apart(l, "--out", f->path, err));
        SL_TRY(sl_check_writable(f->path, err));
    }
    options.ctx_max = n;
    options.runs_max = 1;
    options.rows_max = f->chunk;
    SL_TRY(sl_load_fit_kv(l, 1, n, &options, err));
    SL_TRY(sl_load_engine(l, &options, err));
    return sl_load_prepare(l, f->load.quiet, err);
}

static sl_status write_logits(sl_loaded *l, const logits_flags *f, logits_file *out,
                              sl_error *err) {
    sl_feed feed;
    uint32_t n = (uint32_t)f->ids.n;
    SL_TRY(sl_feed_init(&feed, l->engine, 1, n, err));
    sl_status status = sl_feed_tokens(&feed, f->ids.v, n, 0, f->last ? SL_FEED_LAST : SL_FEED_ALL,
                                      write_rows, out, err);
    sl_feed_deinit(&feed);
    if (status == SL_OK && fflush(out->f) != 0) {
        status = write_failed(out, err);
    }
    return status == SL_OK ? sl_gguf_check_unchanged(l->file, err) : status;
}

/* A file with only some of its rows is not left behind; a device or pipe is. */
static void remove_partial(const char *path) {
    struct stat st;
    if (lstat(path, &st) == 0 && S_ISREG(st.st_mode)) {
        (void)remove(path);
    }
}

static sl_status write_file(sl_loaded *l, const logits_flags *f, sl_error *err) {
    bool is_stdout = strcmp(f->path, "-") == 0;
    logits_file out = {.f = is_stdout ? stdout : fopen(f->path, "wb"),
                       .path = is_stdout ? "standard output" : f->path,
                       .n_vocab = sl_engine_plan(l->engine)->n_vocab};
    if (out.f == NULL) {
        return SL_FAIL(err, SL_ERR_IO, "%s: cannot be opened: %s", out.path, sl_errno_text(errno));
    }
    sl_status status = write_logits(l, f, &out, err);
    if (!is_stdout) {
        if (fclose(out.f) != 0 && status == SL_OK) {
            status = write_failed(&out, err);
        }
        if (status != SL_OK) {
            remove_partial(f->path);
        }
    }
    return status;
}

static int logits(const char *model, const logits_flags *f) {
    sl_loaded l;
    sl_error err;
    sl_status status = sl_load_model(model, false, &l, &err);
    if (status == SL_OK) {
        status = logits_open(&l, f, &err);
        if (status == SL_OK) {
            status = write_file(&l, f, &err);
        }
        sl_loaded_close(&l);
    }
    if (sl_interrupted()) {
        return SL_EXIT_INTERRUPTED;
    }
    if (status != SL_OK) {
        sl_cmd_error("logits", "%s", err.message);
        return SL_EXIT_FAILURE;
    }
    return SL_EXIT_OK;
}

int sl_cmd_logits(int argc, char **argv) {
    logits_flags f = {.load.exact = true, .path = ""};
    const sl_flag flags[] = {
        {"--ids", NULL, SL_FLAG_LIST, &f.ids, "1,2,3", "The tokens, nothing is added.", 0,
         2147483647, NULL},
        {"--last", NULL, SL_FLAG_BOOL, &f.last, NULL, "Only the row of the last token.", 0, 0,
         NULL},
        {"--out", "-o", SL_FLAG_STRING, &f.path, "FILE",
         "Where to write the rows; - is standard output.", 0, 0, NULL},
        {"--exact", NULL, SL_FLAG_BOOL, &f.load.exact, NULL,
         "Activations and KV in float32 (default); --no-exact computes as in serving.", 0, 0, NULL},
        {"--chunk", NULL, SL_FLAG_U32, &f.chunk, "N",
         "Tokens that go through the model at a time; the rows are the same for any (default: "
         "512).",
         1, 16384, NULL},
        SL_LOAD_FLAG_BATCH_INVARIANT(&f.load),
        SL_LOAD_FLAG_THREADS(&f.load),
        SL_LOAD_FLAG_PIN(&f.load),
        SL_LOAD_FLAG_KV_TYPE(&f.load),
        SL_LOAD_FLAG_PACKED_CACHE(&f.load),
        SL_LOAD_FLAG_PACKED_CACHE_SIZE(&f.load),
        {"--quiet", "-q", SL_FLAG_BOOL, &f.load.quiet, NULL, "No progress while loading.", 0, 0,
         NULL},
    };
    const sl_command command = {
        "logits",
        "sluice logits MODEL --ids 1,2,3 --out FILE [flags]",
        "Writes the logits after each token to FILE, as little-endian float32 rows [tokens, "
        "vocabulary].",
        "  sluice logits model.gguf --ids 1,2,3 --out rows.f32\n"
        "  sluice logits model.gguf --ids 1,2,3 --last --no-exact --out last.f32\n",
        flags,
        sizeof(flags) / sizeof(flags[0]),
        1,
        1};
    const char *args[1];
    int code = sl_flags_parse(&command, argc, argv, args);
    if (code == SL_FLAGS_GO_ON && (f.ids.n == 0 || f.path[0] == '\0')) {
        code = sl_cmd_usage_error("logits", "%s is needed",
                                  f.ids.n == 0 ? "--ids 1,2,3" : "--out FILE");
    }
    if (code == SL_FLAGS_GO_ON && sl_same_file(args[0], f.path)) {
        code = sl_cmd_usage_error("logits", "MODEL and --out name the same file");
    }
    if (code == SL_FLAGS_GO_ON) {
        sl_interrupt_install();
        code = logits(args[0], &f);
    }
    sl_flags_free(&command);
    return code;
}
