/* What most subcommands begin with: flags that choose how a model runs, and opening it. */
#ifndef SL_CMD_LOAD_H
#define SL_CMD_LOAD_H

#include "engine/engine.h"
#include "flags.h"
#include "text/tokenizer/tokenizer.h"

/* Targets of the common flags below. */
typedef struct sl_load_flags {
    uint32_t threads, ctx;
    sl_flag_size kv_memory;
    int kv_type; /* sl_kv_type */
    bool exact, batch_invariant, pin, quiet;
    const char *packed_cache; /* a folder, "off", or NULL for the default */
    sl_flag_size packed_cache_size;
} sl_load_flags;

/* Entries for a command's flag table. */
#define SL_LOAD_FLAG_THREADS(l)                                                                    \
    {                                                                                              \
        "--threads", "-t", SL_FLAG_U32, &(l)->threads, "N",                                        \
            "Threads that compute (default: physical cores that may be used).", 1, 512, NULL       \
    }
#define SL_LOAD_FLAG_PIN(l)                                                                        \
    { "--pin", NULL, SL_FLAG_BOOL, &(l)->pin, NULL, "Bind each thread to a CPU.", 0, 0, NULL }
#define SL_LOAD_FLAG_CTX(l)                                                                        \
    {                                                                                              \
        "--ctx", "-c", SL_FLAG_U32, &(l)->ctx, "N",                                                \
            "Longest sequence in tokens (default: the smaller of the model's and 8192).", 2,       \
            268435456, NULL                                                                        \
    }
#define SL_LOAD_FLAG_KV_MEMORY(l)                                                                  \
    {                                                                                              \
        "--kv-memory", NULL, SL_FLAG_SIZE, &(l)->kv_memory, "SIZE",                                \
            "Whole KV page pool: bytes with K, M or G, or % of free memory (default: 25%, at "     \
            "most 32 "                                                                             \
            "contexts).",                                                                          \
            0, 0, NULL                                                                             \
    }
#define SL_LOAD_FLAG_KV_TYPE(l)                                                                    \
    {                                                                                              \
        "--kv-type", NULL, SL_FLAG_CHOICE, &(l)->kv_type, NULL,                                    \
            "Numbers in the KV pages (default: f16; with --exact always f32). int8 takes about "   \
            "half the memory of f16, int4 a third.",                                               \
            0, 0, "f16|f32|bf16|int8|int4" /* as sl_kv_type */                                     \
    }
#define SL_LOAD_FLAG_EXACT(l)                                                                      \
    {                                                                                              \
        "--exact", NULL, SL_FLAG_BOOL, &(l)->exact, NULL,                                          \
            "Activations and KV in float32, weights only decoded: slow and precise.", 0, 0, NULL   \
    }
#define SL_LOAD_FLAG_BATCH_INVARIANT(l)                                                            \
    {                                                                                              \
        "--batch-invariant", NULL, SL_FLAG_BOOL, &(l)->batch_invariant, NULL,                      \
            "Forbid kernels whose result depends on what runs beside (AMX products; other "        \
            "processors have none).",                                                              \
            0, 0, NULL                                                                             \
    }

#define SL_LOAD_FLAG_PACKED_CACHE(l)                                                               \
    {                                                                                              \
        "--packed-cache", NULL, SL_FLAG_STRING, &(l)->packed_cache, "DIR",                         \
            "Folder that keeps packed weights for the next start, or off (default: "               \
            "$SLUICE_PACKED_CACHE, or else sluice/packed in $XDG_CACHE_HOME or ~/.cache).",        \
            0, 0, NULL                                                                             \
    }
#define SL_LOAD_FLAG_PACKED_CACHE_SIZE(l)                                                          \
    {                                                                                              \
        "--packed-cache-size", NULL, SL_FLAG_SIZE, &(l)->packed_cache_size, "SIZE",                \
            "Most that it may hold: bytes with K, M or G, or % of its disk; models not used for "  \
            "the longest time go first (default: 20G).",                                           \
            0, 0, NULL                                                                             \
    }

typedef struct sl_loaded {
    sl_gguf *file;
    sl_tokenizer *tokenizer; /* NULL if not asked for */
    sl_model *model;
    sl_engine *engine;
    double load_ms; /* spent in the functions below */
} sl_loaded;

/* The engine options that the flags ask for. */
sl_engine_options sl_load_options(const sl_load_flags *flags);

/* Opening is in two parts, so that a command can look at the model and refuse its arguments before
 * memory is taken. Part one: the file, its tokenizer if
 * `with_tokenizer`, and the plan. An encoder is refused: it has no next token. On failure nothing
 * is left open. */
SL_NODISCARD sl_status sl_load_model(const char *path, bool with_tokenizer, sl_loaded *out,
                                     sl_error *err);
/* The same for an encoder; a decoder is refused. */
SL_NODISCARD sl_status sl_load_encoder(const char *path, bool with_tokenizer, sl_loaded *out,
                                       sl_error *err);
/* Part two: the engine. Weights get packed by its first steps. */
SL_NODISCARD sl_status sl_load_engine(sl_loaded *l, const sl_engine_options *options,
                                      sl_error *err);
/* For who measures steps, or has no step to wait for: packs all weights that are not packed yet.
 * Shows progress on a terminal. While it lasts SIGINT and SIGTERM end the program at once: there is
 * no work to save. */
SL_NODISCARD sl_status sl_load_prepare(sl_loaded *l, bool quiet, sl_error *err);
/* The file and its tokenizer only: for tokenize and detokenize, also of vocabulary-only files. */
SL_NODISCARD sl_status sl_load_vocabulary(const char *path, sl_loaded *out, sl_error *err);
/* Waits until packed weights that are kept for the next start are written; a signal ends that. */
void sl_loaded_close(sl_loaded *l);

/* "packing weights 40 %" on a terminal's standard error, rewritten now and then. While it is shown
 * the first signal ends the program: there is no answer yet. */
typedef struct sl_load_progress {
    uint64_t t_last_ns;
    bool shown;
} sl_load_progress;
void sl_load_progress_init(sl_load_progress *p);
/* Nothing to see if all weights are ready, or nobody looks. */
void sl_load_progress_show(sl_load_progress *p, const sl_loaded *l);
void sl_load_progress_wipe(sl_load_progress *p);

/* Sets options->kv_bytes to what n_seq sequences of n_tokens each fill, unless a size was asked
 * for. SL_ERR_MEMORY if that is more than there is. */
SL_NODISCARD sl_status sl_load_fit_kv(const sl_loaded *l, uint64_t n_seq, uint64_t n_tokens,
                                      sl_engine_options *options, sl_error *err);
/* SL_ERR_ARGUMENT for an id that the model has not; `flag` is what gave the ids. */
SL_NODISCARD sl_status sl_load_check_ids(const sl_loaded *l, const char *flag, const int32_t *ids,
                                         size_t n, sl_error *err);

/* All of standard input, or of a file, at most max_bytes. path "-" is standard input. */
SL_NODISCARD sl_status sl_read_all(const char *path, size_t max_bytes, sl_buf *out, sl_error *err);

/* Whether two paths name one file, however they are written: "x" and "./x", links, also a file that
 * is yet to be made. What is written there would destroy what is read there. */
bool sl_same_file(const char *a, const char *b);
/* SL_ERR_ARGUMENT if `path` is any file of the model that was loaded, parts of a split one too.
 * `flag` is what gave the path. */
SL_NODISCARD sl_status sl_load_check_apart(const sl_loaded *l, const char *flag, const char *path,
                                           sl_error *err);
/* SL_ERR_IO if a file could not be written at `path`: to be found out before long work, and without
 * touching the file. */
SL_NODISCARD sl_status sl_check_writable(const char *path, sl_error *err);

/* SIGINT and SIGTERM end the program at once, with the exit code that stands for them: from its
 * beginning on, and to the end of commands that have nothing to finish. */
void sl_interrupt_install_at_once(void);
/* From here on the first one sets a flag, the second ends the program at once. */
void sl_interrupt_install(void);
bool sl_interrupted(void);

#endif
