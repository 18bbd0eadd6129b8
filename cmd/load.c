#include "load.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/cpu.h"
#include "base/error.h"
#include "cmd.h"

sl_engine_options sl_load_options(const sl_load_flags *flags) {
    uint64_t kv_bytes = flags->kv_memory.bytes;
    if (flags->kv_memory.percent > 0.0) {
        kv_bytes = (uint64_t)((double)sl_memory_available_bytes() * flags->kv_memory.percent / 100.0);
    }
    return (sl_engine_options){
        .n_threads = flags->threads,
        .pin = flags->pin,
        .exact = flags->exact,
        .batch_invariant = flags->batch_invariant,
        .kv_type = (sl_kv_type)flags->kv_type,
        .kv_bytes = kv_bytes,
        .ctx_max = flags->ctx,
    };
}

/* One line on a terminal, rewritten at most every tenth of a second. */
typedef struct load_progress {
    uint64_t t_last_ns;
    bool shown;
} load_progress;

static void show_progress(void *user, uint64_t done, uint64_t total) {
    load_progress *p = user;
    uint64_t now = sl_clock_mono_ns();
    if (now - p->t_last_ns < 100 * SL_NS_PER_MS || total == 0) {
        return;
    }
    p->t_last_ns = now;
    p->shown = true;
    (void)fprintf(stderr, "\rpacking weights  %3" PRIu64 " %%  (%" PRIu64 " of %" PRIu64 " MB)",
                  done * 100 / total, done >> 20, total >> 20);
    (void)fflush(stderr);
}

static sl_status open_parts(const char *path, const sl_engine_options *options, bool with_tokenizer,
                            sl_loaded *l, sl_error *err) {
    SL_TRY(sl_gguf_open(path, &l->file, err));
    if (with_tokenizer) {
        SL_TRY(sl_tokenizer_open(l->file, &l->tokenizer, err));
    }
    SL_TRY(sl_model_open(l->file, &l->model, err));
    return sl_engine_create(l->model, options, &l->engine, err);
}

sl_status sl_load(const char *path, const sl_engine_options *options, bool with_tokenizer, bool quiet,
                  sl_loaded *out, sl_error *err) {
    uint64_t t0 = sl_clock_mono_ns();
    load_progress progress = {.t_last_ns = t0};
    sl_engine_options o = *options;
    if (!quiet && isatty(STDERR_FILENO)) {
        o.progress = show_progress;
        o.progress_user = &progress;
    }
    sl_loaded l = {0};
    sl_status status = open_parts(path, &o, with_tokenizer, &l, err);
    if (progress.shown) {
        (void)fputs("\r\033[K", stderr);
    }
    if (status != SL_OK) {
        sl_loaded_close(&l);
        return status;
    }
    l.load_ms = (double)(sl_clock_mono_ns() - t0) * 1e-6;
    *out = l;
    return SL_OK;
}

sl_status sl_load_vocabulary(const char *path, sl_loaded *out, sl_error *err) {
    sl_loaded l = {0};
    sl_status status = sl_gguf_open(path, &l.file, err);
    if (status == SL_OK) {
        status = sl_tokenizer_open(l.file, &l.tokenizer, err);
    }
    if (status != SL_OK) {
        sl_loaded_close(&l);
        return status;
    }
    *out = l;
    return SL_OK;
}

void sl_loaded_close(sl_loaded *l) {
    sl_engine_free(l->engine);
    sl_model_close(l->model);
    sl_tokenizer_close(l->tokenizer);
    sl_gguf_close(l->file);
    *l = (sl_loaded){0};
}

sl_status sl_read_all(const char *path, size_t max_bytes, sl_buf *out, sl_error *err) {
    bool is_stdin = strcmp(path, "-") == 0;
    FILE *f = is_stdin ? stdin : fopen(path, "rb");
    const char *shown = is_stdin ? "standard input" : path;
    if (f == NULL) {
        return SL_FAIL(err, SL_ERR_IO, "%s: cannot be opened: %s", shown, strerror(errno));
    }
    sl_buf_init(out, max_bytes);
    char chunk[16384];
    size_t n;
    while ((n = fread(chunk, 1, sizeof(chunk), f)) > 0 && sl_buf_append(out, chunk, n) == SL_OK) {
    }
    bool failed = ferror(f) != 0;
    int reason = errno;
    if (!is_stdin) {
        (void)fclose(f);
    }
    if (failed) {
        sl_buf_deinit(out);
        return SL_FAIL(err, SL_ERR_IO, "%s: cannot be read: %s", shown, strerror(reason));
    }
    if (out->status != SL_OK) {
        sl_status status = out->status;
        sl_buf_deinit(out);
        return SL_FAIL(err, status, "%s: holds more than the %zu bytes that are accepted", shown, max_bytes);
    }
    return SL_OK;
}

static volatile sig_atomic_t g_interrupted;

static void on_interrupt(int signal_number) {
    (void)signal_number;
    if (g_interrupted) {
        _exit(SL_EXIT_INTERRUPTED);
    }
    g_interrupted = 1;
}

void sl_interrupt_install(void) {
    struct sigaction action = {.sa_handler = on_interrupt};
    (void)sigemptyset(&action.sa_mask);
    (void)sigaction(SIGINT, &action, NULL);
    (void)sigaction(SIGTERM, &action, NULL);
}

bool sl_interrupted(void) {
    return g_interrupted != 0;
}
