/* sluice bench: prompt and generation speed of a model. Standard output holds one line, or with
 * --json one object, for each case: batch, depth, prompt, gen (tokens), prompt_tps, gen_tps (tokens
 * of the whole batch per second, the median of the repetitions; 0 where nothing was asked for). */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "bench_roofline.h"
#include "bench_serve.h"
#include "calibrated.h"
#include "cmd.h"
#include "load.h"
#include "measure/bench.h"

#define RUNS_MAX 512u /* sequences in one step; more take turns */

typedef struct bench_flags {
    sl_load_flags load;
    uint32_t n_prompt, n_gen, n_reps;
    sl_flag_list batch, depth;
    bool json, roofline, calibrate;
} bench_flags;

/* Tokens that the longest sequence of any case holds, and sequences of the largest batch. */
static uint32_t tokens_most(const bench_flags *f) {
    uint32_t most = 0;
    for (size_t d = 0; d < f->depth.n; d++) {
        sl_bench_case c = {
            .n_depth = (uint32_t)f->depth.v[d], .n_prompt = f->n_prompt, .n_gen = f->n_gen};
        uint32_t tokens = sl_bench_tokens(&c);
        most = tokens > most ? tokens : most;
    }
    return most;
}

static uint32_t batch_most(const bench_flags *f) {
    uint32_t most = 0;
    for (size_t b = 0; b < f->batch.n; b++) {
        uint32_t n = (uint32_t)f->batch.v[b];
        most = n > most ? n : most;
    }
    return most;
}

/* An engine with just the pages that the cases need, unless --kv-memory says otherwise. */
static sl_status bench_open(sl_loaded *l, const bench_flags *f, sl_error *err) {
    sl_engine_options options = sl_load_options(&f->load);
    uint32_t n_trained = l->model->plan.n_ctx_max, n_batch = batch_most(f);
    options.ctx_max = tokens_most(f);
    if (options.ctx_max > n_trained) {
        return SL_FAIL(err, SL_ERR_ARGUMENT,
                       "--depth, --prompt and --gen make sequences of %" PRIu32
                       " tokens, but %s was made for %" PRIu32 " at most",
                       options.ctx_max, sl_gguf_path(l->file), n_trained);
    }
    options.runs_max = n_batch > RUNS_MAX ? RUNS_MAX : n_batch;
    SL_TRY(sl_load_fit_kv(l, n_batch, options.ctx_max, &options, err));
    SL_TRY(sl_load_engine(l, &options, err));
    return sl_load_prepare(l, f->load.quiet, err);
}

static void print_case(const bench_flags *f, const sl_bench_case *c, const sl_bench_result *r,
                       bool is_first) {
    if (f->json) {
        (void)printf("{\"batch\": %" PRIu32 ", \"depth\": %" PRIu32 ", \"prompt\": %" PRIu32
                     ", \"gen\": %" PRIu32 ", \"prompt_tps\": %.2f, \"gen_tps\": %.2f}\n",
                     c->n_batch, c->n_depth, c->n_prompt, c->n_gen, r->prompt_tps, r->gen_tps);
        return;
    }
    if (is_first) {
        (void)printf("%6s %8s %8s %8s %16s %16s\n", "batch", "depth", "prompt", "gen",
                     "prompt tokens/s", "gen tokens/s");
    }
    (void)printf("%6" PRIu32 " %8" PRIu32 " %8" PRIu32 " %8" PRIu32 " %16.1f %16.1f\n", c->n_batch,
                 c->n_depth, c->n_prompt, c->n_gen, r->prompt_tps, r->gen_tps);
}

static sl_status bench_cases(const bench_flags *f, sl_engine *e, sl_error *err) {
    for (size_t d = 0; d < f->depth.n; d++) {
        for (size_t b = 0; b < f->batch.n; b++) {
            sl_bench_case c = {.n_batch = (uint32_t)f->batch.v[b],
                               .n_depth = (uint32_t)f->depth.v[d],
                               .n_prompt = f->n_prompt,
                               .n_gen = f->n_gen,
                               .n_reps = f->n_reps};
            sl_bench_result r;
            SL_TRY(sl_bench_run(e, &c, &r, err));
            print_case(f, &c, &r, d == 0 && b == 0);
            SL_TRY(sl_stdout_flush(err));
        }
    }
    return SL_OK;
}

static int bench(const char *path, const bench_flags *f) {
    sl_loaded l;
    sl_error err;
    sl_status status = sl_load_model(path, false, &l, &err);
    if (status == SL_OK) {
        if (f->roofline) {
            status = sl_bench_roofline(&l, &f->load, &f->batch, &f->depth, f->json, &err);
        } else if (f->calibrate) {
            status = sl_bench_calibrate(&l, &f->load, f->json, &err);
        } else {
            status = bench_open(&l, f, &err);
            status = status == SL_OK ? bench_cases(f, l.engine, &err) : status;
        }
        sl_loaded_close(&l);
    }
    if (status != SL_OK) {
        sl_cmd_error("bench", "%s", err.message);
        return SL_EXIT_FAILURE;
    }
    return SL_EXIT_OK;
}

/* A list's default is what a user would have typed. */
static sl_status list_default(sl_flag_list *list, const int32_t *values, size_t n, sl_error *err) {
    if (list->n == 0) {
        list->v = sl_realloc_array(NULL, n, sizeof(*list->v));
        if (list->v == NULL) {
            return SL_FAIL(err, SL_ERR_MEMORY, "no memory");
        }
        memcpy(list->v, values, n * sizeof(*list->v));
        list->n = n;
    }
    return SL_OK;
}

static sl_status bench_defaults(bench_flags *f, sl_error *err) {
    static const int32_t batch[] = {1}, rows[] = {1, 8, 32, 256}, depth[] = {0}, context[] = {512};
    SL_TRY(f->roofline ? list_default(&f->batch, rows, 4, err)
                       : list_default(&f->batch, batch, 1, err));
    return list_default(&f->depth, f->roofline ? context : depth, 1, err);
}

int sl_cmd_bench(int argc, char **argv) {
    /* lint: long because it is the table of flags, their help included */
    if (argc > 1 && strcmp(argv[1], "serve") == 0) {
        return sl_cmd_bench_serve(argc - 1, argv + 1);
    }
    bench_flags f = {.n_prompt = 512, .n_gen = 64, .n_reps = 5};
    const sl_flag flags[] = {
        {"--prompt", "-p", SL_FLAG_U32, &f.n_prompt, "N", "Tokens of each prompt (default: 512).",
         0, 1048576, NULL},
        {"--gen", "-n", SL_FLAG_U32, &f.n_gen, "N",
         "Tokens that each sequence generates (default: 64).", 0, 1048576, NULL},
        {"--batch", "-b", SL_FLAG_LIST, &f.batch, "1,8,32",
         "Sequences at once, one case each (default: 1).", 1, 65536, NULL},
        {"--depth", "-d", SL_FLAG_LIST, &f.depth, "0,4096",
         "Tokens that each sequence holds before the clock starts (default: 0).", 0, 16777216,
         NULL},
        {"--reps", "-r", SL_FLAG_U32, &f.n_reps, "N",
         "Repetitions; the median counts (default: 5).", 1, 1000, NULL},
        {"--json", NULL, SL_FLAG_BOOL, &f.json, NULL,
         "One JSON object per line: batch, depth, prompt, gen, prompt_tps, gen_tps.", 0, 0, NULL},
        {"--roofline", NULL, SL_FLAG_BOOL, &f.roofline, NULL,
         "Measures the machine's memory and arithmetic, and each of the model's products and its "
         "attention against them; --batch gives the rows of a product, and the sequences or rows "
         "of attention (default: 1,8,32,256), --depth its contexts (default: 512).",
         0, 0, NULL},
        {"--calibrate", NULL, SL_FLAG_BOOL, &f.calibrate, NULL,
         "Measures what a step of the model costs by its rows, logits and contexts, and the best "
         "number of threads; kept for run and serve, which otherwise measure it when they can.",
         0, 0, NULL},
        {"--quiet", "-q", SL_FLAG_BOOL, &f.load.quiet, NULL, "No progress while loading.", 0, 0,
         NULL},
        SL_LOAD_FLAG_THREADS(&f.load),
        SL_LOAD_FLAG_PIN(&f.load),
        {"--kv-memory", NULL, SL_FLAG_SIZE, &f.load.kv_memory, "SIZE",
         "KV page pool: bytes with K, M or G, or % of free memory (default: what the cases need).",
         0, 0, NULL},
        SL_LOAD_FLAG_KV_TYPE(&f.load),
        SL_LOAD_FLAG_PACKED_CACHE(&f.load),
        SL_LOAD_FLAG_PACKED_CACHE_SIZE(&f.load),
        SL_LOAD_FLAG_EXACT(&f.load),
        SL_LOAD_FLAG_BATCH_INVARIANT(&f.load),
    };
    const sl_command command = {
        "bench",
        "sluice bench MODEL [flags]",
        "Measures prompt and generation speed in tokens of the whole batch per second, without "
        "tokenizer, "
        "scheduler or network. Every sequence first holds `depth` tokens, then takes the prompt, "
        "then generates. `sluice bench serve` loads a server instead (sluice bench serve --help).",
        "  sluice bench model.gguf\n"
        "  sluice bench model.gguf --prompt 512 --gen 64 --batch 1,8,32 --threads 2 --json\n"
        "  sluice bench model.gguf --roofline\n"
        "  sluice bench model.gguf --calibrate\n",
        flags,
        sizeof(flags) / sizeof(flags[0]),
        1,
        1};
    const char *args[1];
    int code = sl_flags_parse(&command, argc, argv, args);
    sl_error err;
    if (code == SL_FLAGS_GO_ON && bench_defaults(&f, &err) != SL_OK) {
        sl_cmd_error("bench", "%s", err.message);
        code = SL_EXIT_FAILURE;
    }
    if (code == SL_FLAGS_GO_ON && f.roofline && f.calibrate) {
        code = sl_cmd_usage_error("bench", "--roofline and --calibrate measure different things: "
                                           "give one of them");
    }
    if (code == SL_FLAGS_GO_ON && !f.roofline && f.n_prompt + f.n_gen == 0) {
        code = sl_cmd_usage_error("bench", "--prompt and --gen are both 0: nothing to measure");
    }
    if (code == SL_FLAGS_GO_ON) {
        code = bench(args[0], &f);
    }
    sl_flags_free(&command);
    return code;
}
