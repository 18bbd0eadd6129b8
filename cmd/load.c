/* Options of a command, opening its model, progress, and the signals that end it (load.h). */
#define _GNU_SOURCE
#include "load.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/cpu.h"
#include "base/error.h"
#include "cmd.h"

#define CACHE_BYTES_DEFAULT ((uint64_t)20 << 30)

/* --- options ---------------------------------------------------------------------------------- */

static const char *environment(const char *name) {
    const char *text = getenv(name);
    return text != NULL && text[0] != '\0' ? text : NULL;
}

/* The folder of packed weights, or NULL if there is to be none. */
static const char *cache_dir(const sl_load_flags *flags) {
    static char path[PATH_MAX];
    const char *given = flags->packed_cache;
    given = given != NULL ? given : environment("SLUICE_PACKED_CACHE");
    if (given != NULL) {
        return strcmp(given, "off") == 0 ? NULL : given;
    }
    const char *home = environment("XDG_CACHE_HOME"), *below = "";
    if (home == NULL || home[0] != '/') { /* others are to be ignored, says its standard */
        home = environment("HOME");
        below = "/.cache";
    }
    int n = home == NULL ? 0 : snprintf(path, sizeof(path), "%s%s/sluice/packed", home, below);
    return n > 0 && (size_t)n < sizeof(path) ? path : NULL;
}

/* Bytes of the disk that the folder is on, or will be once it is made. */
static double disk_bytes(const char *dir) {
    char path[PATH_MAX];
    struct statvfs disk;
    (void)snprintf(path, sizeof(path), "%s", dir);
    while (statvfs(path, &disk) != 0) {
        char *slash = strrchr(path, '/');
        if (strcmp(path, "/") == 0 || strcmp(path, ".") == 0) {
            return 0.0;
        }
        if (slash == NULL) {
            (void)snprintf(path, sizeof(path), ".");
        } else {
            slash[slash == path ? 1 : 0] = '\0';
        }
    }
    return (double)disk.f_blocks * (double)disk.f_frsize;
}

static sl_packed_cache cache_of(const sl_load_flags *flags) {
    const sl_flag_size *size = &flags->packed_cache_size;
    sl_packed_cache cache = {.dir = cache_dir(flags), .max_bytes = CACHE_BYTES_DEFAULT};
    if (cache.dir != NULL && size->percent > 0.0) {
        cache.max_bytes = (uint64_t)(disk_bytes(cache.dir) * size->percent / 100.0);
    } else if (size->bytes > 0) {
        cache.max_bytes = size->bytes;
    }
    return cache;
}

sl_engine_options sl_load_options(const sl_load_flags *flags) {
    uint64_t kv_bytes = flags->kv_memory.bytes;
    if (flags->kv_memory.percent > 0.0) {
        kv_bytes = (uint64_t)((double)sl_memory_available_bytes() * flags->kv_memory.percent /
                              100.0);
        kv_bytes = kv_bytes > 0 ? kv_bytes : 1; /* 0 asks for the default; 1 is refused */
    }
    return (sl_engine_options){
        .n_threads = flags->threads,
        .pin = flags->pin,
        .exact = flags->exact,
        .batch_invariant = flags->batch_invariant,
        .kv_type = (sl_kv_type)flags->kv_type,
        .kv_bytes = kv_bytes,
        .ctx_max = flags->ctx,
        .cache = cache_of(flags),
    };
}

/* --- progress --------------------------------------------------------------------------------- */

/* One line on a terminal, rewritten at most every tenth of a second. Blanks instead of an escape
 * sequence wipe it out, so that any terminal will do. */
#define PROGRESS_COLUMNS 60

static volatile sig_atomic_t g_progress_shown;
static volatile sig_atomic_t g_interrupted;
static volatile sig_atomic_t g_at_once; /* the first signal ends the program */

void sl_load_progress_init(sl_load_progress *p) {
    *p = (sl_load_progress){.t_last_ns = sl_clock_mono_ns()};
}

void sl_load_progress_show(sl_load_progress *p, const sl_loaded *l) {
    sl_engine_memory memory;
    sl_engine_memory_now(l->engine, &memory);
    uint64_t total = memory.packed_bytes, done = sl_engine_ready_bytes(l->engine);
    uint64_t now = sl_clock_mono_ns();
    if (now - p->t_last_ns < 100 * SL_NS_PER_MS || done >= total || !isatty(STDERR_FILENO)) {
        return;
    }
    char line[PROGRESS_COLUMNS + 1];
    (void)snprintf(line, sizeof(line),
                   "packing weights %3" PRIu64 " %% (%" PRIu64 " of %" PRIu64 " MB)",
                   done * 100 / total, done >> 20, total >> 20);
    p->t_last_ns = now;
    p->shown = true;
    g_progress_shown = 1;
    g_at_once = 1;
    (void)fprintf(stderr, "\r%-*s", PROGRESS_COLUMNS, line);
    (void)fflush(stderr);
}

void sl_load_progress_wipe(sl_load_progress *p) {
    if (p->shown) {
        (void)fprintf(stderr, "\r%*s\r", PROGRESS_COLUMNS, "");
        (void)fflush(stderr);
        g_progress_shown = 0;
        g_at_once = 0;
        p->shown = false;
    }
}

/* --- signals ---------------------------------------------------------------------------------- */

static void on_interrupt(int signal_number) {
    (void)signal_number;
    if (g_interrupted || g_at_once) {
        if (g_progress_shown) { /* the shell's prompt gets a line of its own */
            ssize_t n = write(STDERR_FILENO, "\n", 1);
            (void)n;
        }
        _exit(SL_EXIT_INTERRUPTED);
    }
    g_interrupted = 1;
}

/* Without SA_RESTART: a write that waits for a slow reader is given up. */
static void catch_signals(bool at_once) {
    g_at_once = at_once;
    struct sigaction action = {.sa_handler = on_interrupt};
    (void)sigemptyset(&action.sa_mask);
    (void)sigaction(SIGINT, &action, NULL);
    (void)sigaction(SIGTERM, &action, NULL);
}

void sl_interrupt_install(void) {
    catch_signals(false);
}

void sl_interrupt_install_at_once(void) {
    catch_signals(true);
}

bool sl_interrupted(void) {
    return g_interrupted != 0;
}

/* --- opening ---------------------------------------------------------------------------------- */

static sl_status check_kind(const sl_loaded *l, bool is_encoder, sl_error *err) {
    const sl_plan *plan = &l->model->plan;
    if (plan->is_encoder && !is_encoder) {
        return SL_FAIL(err, SL_ERR_UNSUPPORTED,
                       "%s: %s is an encoder, which has no next token; sluice embed turns texts "
                       "into its vectors",
                       sl_gguf_path(l->file), plan->arch);
    }
    if (is_encoder && !plan->is_encoder) {
        return SL_FAIL(err, SL_ERR_UNSUPPORTED,
                       "%s: %s is a decoder; this version takes vectors from encoders only",
                       sl_gguf_path(l->file), plan->arch);
    }
    return SL_OK;
}

static sl_status open_parts(const char *path, bool is_encoder, bool with_tokenizer, sl_loaded *l,
                            sl_error *err) {
    SL_TRY(sl_gguf_open(path, &l->file, err));
    SL_TRY(sl_model_open(l->file, &l->model, err));
    SL_TRY(check_kind(l, is_encoder, err));
    return with_tokenizer ? sl_tokenizer_open(l->file, &l->tokenizer, err) : SL_OK;
}

static sl_status open_model(const char *path, bool is_encoder, bool with_tokenizer, sl_loaded *out,
                            sl_error *err) {
    uint64_t t0 = sl_clock_mono_ns();
    sl_loaded l = {0};
    sl_status status = open_parts(path, is_encoder, with_tokenizer, &l, err);
    if (status != SL_OK) {
        sl_loaded_close(&l);
        return status;
    }
    l.load_ms = (double)(sl_clock_mono_ns() - t0) * 1e-6;
    *out = l;
    return SL_OK;
}

sl_status sl_load_model(const char *path, bool with_tokenizer, sl_loaded *out, sl_error *err) {
    return open_model(path, false, with_tokenizer, out, err);
}

sl_status sl_load_encoder(const char *path, bool with_tokenizer, sl_loaded *out, sl_error *err) {
    return open_model(path, true, with_tokenizer, out, err);
}

sl_status sl_load_engine(sl_loaded *l, const sl_engine_options *options, sl_error *err) {
    uint64_t t0 = sl_clock_mono_ns();
    sl_status status = sl_engine_create(l->model, options, &l->engine, err);
    l->load_ms += (double)(sl_clock_mono_ns() - t0) * 1e-6;
    return status;
}

sl_status sl_load_prepare(sl_loaded *l, bool quiet, sl_error *err) {
    uint64_t t0 = sl_clock_mono_ns();
    sl_load_progress progress;
    sl_load_progress_init(&progress);
    sig_atomic_t at_once = g_at_once;
    g_at_once = 1;
    sl_status status = SL_AGAIN;
    while (status == SL_AGAIN && !g_interrupted) { /* before g_at_once was set */
        status = sl_engine_prepare(l->engine, err);
        if (!quiet) {
            sl_load_progress_show(&progress, l);
        }
    }
    if (status == SL_AGAIN) {
        status = SL_FAIL(err, SL_ERR_CANCELLED, "interrupted");
    }
    g_at_once = at_once;
    sl_load_progress_wipe(&progress);
    l->load_ms += (double)(sl_clock_mono_ns() - t0) * 1e-6;
    return status;
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
    g_at_once = 1;
    sl_engine_free(l->engine);
    sl_model_close(l->model);
    sl_tokenizer_close(l->tokenizer);
    sl_gguf_close(l->file);
    *l = (sl_loaded){0};
}

sl_status sl_load_fit_kv(const sl_loaded *l, uint64_t n_seq, uint64_t n_tokens,
                         sl_engine_options *options, sl_error *err) {
    if (options->kv_bytes != 0) {
        return SL_OK;
    }
    sl_engine_options one = *options;
    one.kv_bytes = (uint64_t)1 << 50; /* the size of a page is wanted, not what memory allows */
    sl_engine_memory memory;
    SL_TRY(sl_engine_estimate(l->model, &one, &memory, err));
    uint64_t n_pages, bytes;
    bool fits = sl_mul_u64(n_seq, sl_kv_groups_pages(&memory.kv_groups, n_tokens), &n_pages) &&
                sl_mul_u64(n_pages, memory.page_bytes, &bytes);
    uint64_t available = sl_memory_available_bytes();
    if (!fits || bytes > available) {
        return SL_FAIL(err, SL_ERR_MEMORY,
                       "%" PRIu64 " sequences of %" PRIu64
                       " tokens need more memory for keys and values than "
                       "the %" PRIu64 " MB that are free",
                       n_seq, n_tokens, available >> 20);
    }
    options->kv_bytes = bytes;
    return SL_OK;
}

sl_status sl_load_check_ids(const sl_loaded *l, const char *flag, const int32_t *ids, size_t n,
                            sl_error *err) {
    uint32_t n_vocab = l->model->plan.n_vocab;
    for (size_t i = 0; i < n; i++) {
        if ((uint32_t)ids[i] >= n_vocab) {
            return SL_FAIL(err, SL_ERR_ARGUMENT,
                           "%s: number %zu is %" PRId32
                           ", but the vocabulary of %s has the ids 0 to %" PRIu32,
                           flag, i + 1, ids[i], sl_gguf_path(l->file), n_vocab - 1);
        }
    }
    return SL_OK;
}

/* --- files ------------------------------------------------------------------------------------ */

/* Reads to the end or to the first failure of `out`. Returns errno, or 0. */
static int read_stream(FILE *f, sl_buf *out) {
    char chunk[16384];
    size_t n;
    errno = 0;
    while ((n = fread(chunk, 1, sizeof(chunk), f)) > 0 && sl_buf_append(out, chunk, n) == SL_OK) {
    }
    return ferror(f) ? (errno != 0 ? errno : EIO) : 0;
}

sl_status sl_read_all(const char *path, size_t max_bytes, sl_buf *out, sl_error *err) {
    bool is_stdin = strcmp(path, "-") == 0;
    FILE *f = is_stdin ? stdin : fopen(path, "rb");
    const char *shown = is_stdin ? "standard input" : path;
    if (f == NULL) {
        return SL_FAIL(err, SL_ERR_IO, "%s: cannot be opened: %s", shown, sl_errno_text(errno));
    }
    sl_buf_init(out, max_bytes);
    int reason = read_stream(f, out);
    if (!is_stdin) {
        (void)fclose(f);
    }
    sl_status status = out->status;
    if (reason != 0) {
        status = SL_FAIL(err, SL_ERR_IO, "%s: cannot be read: %s", shown, sl_errno_text(reason));
    } else if (status == SL_ERR_LIMIT) {
        status = SL_FAIL(err, status, "%s: holds more than the %zu bytes that are accepted", shown,
                         max_bytes);
    } else if (status != SL_OK) {
        status = SL_FAIL(err, status, "%s: no memory for its contents", shown);
    }
    if (status != SL_OK) {
        sl_buf_deinit(out);
    }
    return status;
}

/* The folder that a path's last part is in, and that part. False if it is longer than paths are. */
static bool split_path(const char *path, char *folder, size_t cap, const char **leaf) {
    const char *slash = strrchr(path, '/');
    size_t len = slash == NULL ? 0 : (size_t)(slash - path) + 1;
    *leaf = path + len;
    int n = snprintf(folder, cap, "%.*s", len > 0 ? (int)len : 1, len > 0 ? path : ".");
    return n > 0 && (size_t)n < cap;
}

/* A file's number, or that of its folder and the name that it will have there. */
static bool find_place(const char *path, struct stat *st, const char **name) {
    char folder[PATH_MAX];
    *name = "";
    if (stat(path, st) == 0) {
        return S_ISREG(st->st_mode);
    }
    return split_path(path, folder, sizeof(folder), name) && stat(folder, st) == 0;
}

bool sl_same_file(const char *a, const char *b) {
    struct stat in_a, in_b;
    const char *name_a, *name_b;
    if (strcmp(a, b) == 0) {
        return true;
    }
    return find_place(a, &in_a, &name_a) && find_place(b, &in_b, &name_b) &&
           in_a.st_dev == in_b.st_dev && in_a.st_ino == in_b.st_ino && strcmp(name_a, name_b) == 0;
}

sl_status sl_load_check_apart(const sl_loaded *l, const char *flag, const char *path,
                              sl_error *err) {
    struct stat st;
    if (stat(path, &st) == 0 &&
        sl_gguf_has_file(l->file, (uint64_t)st.st_dev, (uint64_t)st.st_ino)) {
        return SL_FAIL(err, SL_ERR_ARGUMENT,
                       "%s: %s is a file of the model itself, which would be lost; give another "
                       "path",
                       flag, path);
    }
    return SL_OK;
}

sl_status sl_check_writable(const char *path, sl_error *err) {
    char folder[PATH_MAX];
    const char *name;
    struct stat st;
    int reason = access(path, W_OK) == 0 ? 0 : errno;
    if (reason == 0 && stat(path, &st) == 0 && S_ISDIR(st.st_mode)) {
        reason = EISDIR;
    } else if (reason == ENOENT && split_path(path, folder, sizeof(folder), &name)) {
        reason = access(folder, W_OK | X_OK) == 0 ? 0 : errno;
    }
    return reason == 0
               ? SL_OK
               : SL_FAIL(err, SL_ERR_IO, "%s: cannot be opened: %s", path, sl_errno_text(reason));
}
