/* sluice logits: the logits of a token sequence, as float32 rows in a file. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "cmd.h"
#include "load.h"
#include "measure/feed.h"

typedef struct logits_file {
    FILE *f;
    const char *path;
    uint32_t n_vocab;
} logits_file;

static sl_status write_rows(void *user, uint32_t first, uint32_t n, float *logits, size_t stride,
                            sl_error *err) {
    const logits_file *out = user;
    (void)first;
    for (uint32_t i = 0; i < n; i++) {
        if (fwrite(logits + i * stride, sizeof(float), out->n_vocab, out->f) != out->n_vocab) {
            return SL_FAIL(err, SL_ERR_IO, "%s: cannot be written: %s", out->path, strerror(errno));
        }
    }
    if (sl_interrupted()) {
        return SL_FAIL(err, SL_ERR_CANCELLED, "interrupted");
    }
    return SL_OK;
}

static sl_status compute(const char *model, const sl_load_flags *load, const sl_flag_list *ids, bool last,
                         const char *path, sl_error *err) {
    sl_engine_options options = sl_load_options(load);
    options.ctx_max = options.ctx_max == 0 ? (uint32_t)ids->n : options.ctx_max;
    options.runs_max = 1;
    sl_loaded l;
    SL_TRY(sl_load(model, &options, false, load->quiet, &l, err));
    sl_feed feed;
    logits_file out = {.path = path, .n_vocab = sl_engine_plan(l.engine)->n_vocab};
    sl_status status = sl_feed_init(&feed, l.engine, 1, (uint32_t)ids->n, err);
    if (status == SL_OK) {
        out.f = fopen(path, "wb");
        if (out.f == NULL) {
            status = SL_FAIL(err, SL_ERR_IO, "%s: cannot be opened: %s", path, strerror(errno));
        } else {
            status = sl_feed_tokens(&feed, ids->v, (uint32_t)ids->n, 0, last ? SL_FEED_LAST : SL_FEED_ALL,
                                    write_rows, &out, err);
            if (fclose(out.f) != 0 && status == SL_OK) {
                status = SL_FAIL(err, SL_ERR_IO, "%s: cannot be written: %s", path, strerror(errno));
            }
        }
        sl_feed_deinit(&feed);
    }
    sl_loaded_close(&l);
    return status;
}

int sl_cmd_logits(int argc, char **argv) {
    sl_load_flags load = {.exact = true};
    sl_flag_list ids = {0};
    bool last = false;
    const char *path = NULL;
    const sl_flag flags[] = {
        {"--ids", NULL, SL_FLAG_LIST, &ids, "1,2,3", "The tokens, nothing is added.", 0, 2147483647, NULL},
        {"--last", NULL, SL_FLAG_BOOL, &last, NULL, "Only the row of the last token.", 0, 0, NULL},
        {"--out", "-o", SL_FLAG_STRING, &path, "FILE", "Where to write the rows.", 0, 0, NULL},
        {"--exact", NULL, SL_FLAG_BOOL, &load.exact, NULL,
         "Activations and KV in float32 (default; --no-exact as in serving).", 0, 0, NULL},
        SL_LOAD_FLAG_BATCH_INVARIANT(&load),
        SL_LOAD_FLAG_THREADS(&load),
        SL_LOAD_FLAG_PIN(&load),
        SL_LOAD_FLAG_CTX(&load),
        SL_LOAD_FLAG_KV_TYPE(&load),
    };
    const sl_command command = {
        "logits", "sluice logits MODEL --ids 1,2,3 --out FILE [flags]",
        "Writes the logits after each token as little-endian float32 rows [tokens, vocabulary].",
        "  sluice logits model.gguf --ids 1,2,3 --last --out last.f32\n", flags,
        sizeof(flags) / sizeof(flags[0]), 1, 1};
    const char *args[1];
    int code = sl_flags_parse(&command, argc, argv, args);
    if (code == SL_FLAGS_GO_ON && (ids.n == 0 || path == NULL)) {
        code = sl_cmd_usage_error("logits", "%s is needed", ids.n == 0 ? "--ids" : "--out");
    }
    if (code == SL_FLAGS_GO_ON) {
        sl_interrupt_install();
        sl_error err;
        sl_status status = compute(args[0], &load, &ids, last, path, &err);
        code = status == SL_OK ? SL_EXIT_OK : SL_EXIT_FAILURE;
        if (status != SL_OK) {
            sl_cmd_error("logits", "%s", err.message);
        }
        if (sl_interrupted()) {
            code = SL_EXIT_INTERRUPTED;
        }
    }
    sl_flags_free(&command);
    return code;
}
