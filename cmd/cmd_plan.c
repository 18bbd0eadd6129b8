/* sluice plan: how many users this machine holds with a model, and how fast they are served, before
 * anybody is. From the model's shape, the memory that is there, and what steps cost here
 * (plan/cost.h), which is measured if it is not known yet.
 *
 * All users are taken to hold the same number of tokens, and to generate at the same time: the
 * heaviest load that N of them are. */
#include <inttypes.h>
#include <stdio.h>

#include "base/cpu.h"
#include "base/error.h"
#include "calibrated.h"
#include "cmd.h"
#include "load.h"

#define ROWS_MAX 20 /* of the table: 1, 2, 4, ... users */

typedef struct plan_flags {
    sl_load_flags load;
    uint32_t users, prompt;
    bool json;
} plan_flags;

/* So many users at the same time. */
typedef struct plan_row {
    uint32_t users;
    uint64_t kv_bytes;
    bool fits;      /* their pages, and a row for each in a step */
    double token_s; /* between two tokens of one user */
    double first_s; /* prompt read beside the others' tokens, to the first token */
} plan_row;

typedef struct plan_result {
    sl_engine_memory memory;
    uint32_t context, prompt;
    uint32_t users_most; /* whose pages there are, and who have a place in a step */
    double alone_s;      /* first token of a prompt with nobody else there */
    plan_row rows[ROWS_MAX];
    uint32_t n_rows;
} plan_result;

/* A step of n users' tokens and n_prompt rows of somebody's prompt from position pos on. */
static double step_seconds(const sl_plan *plan, const sl_cost *cost, uint32_t n, uint32_t context,
                           uint32_t pos, uint32_t n_prompt) {
    const sl_cost_work work = {
        .n_rows = n + n_prompt,
        .n_logits = n > 0 ? n : 1,
        .decode_tokens = n > 0 ? n * sl_cost_attended(plan, context - 1, 1) : 0.0,
        .prefill_tokens = n_prompt > 0 ? sl_cost_attended(plan, pos, n_prompt) : 0.0};
    return sl_cost_seconds(cost, &work);
}

/* To the first token of a prompt beside n users' tokens, in parts that make a step twice as long,
 * as the scheduler cuts them; alone in steps of rows_max. */
static double first_seconds(const sl_plan *plan, const sl_cost *cost, uint32_t n, uint32_t context,
                            uint32_t n_prompt, uint32_t rows_max) {
    double sum = 0.0;
    const double most = 2.0 * step_seconds(plan, cost, n, context, 0, 0);
    for (uint32_t pos = 0; pos < n_prompt;) {
        uint32_t rows = n_prompt - pos < rows_max - n ? n_prompt - pos : rows_max - n;
        while (n > 0 && rows > 1 && step_seconds(plan, cost, n, context, pos, rows) > most) {
            rows -= (rows + 7) / 8;
        }
        sum += step_seconds(plan, cost, n, context, pos, rows);
        pos += rows;
    }
    return sum;
}

static void fill(plan_result *p, const sl_loaded *l, const sl_cost *cost, uint32_t users) {
    const sl_plan *plan = &l->model->plan;
    const uint32_t rows_max = sl_engine_rows_max(l->engine),
                   runs_max = sl_engine_runs_max(l->engine);
    const uint64_t seq_pages = sl_engine_seq_pages(l->engine, p->context);
    const uint64_t by_pages = p->memory.n_pages / seq_pages;
    p->users_most = by_pages < runs_max ? (uint32_t)by_pages : runs_max;
    p->alone_s = first_seconds(plan, cost, 0, p->context, p->prompt, rows_max);
    for (uint32_t n = 1; p->n_rows < ROWS_MAX; n = n < users && 2 * n > users ? users : 2 * n) {
        plan_row *row = &p->rows[p->n_rows++];
        *row = (plan_row){.users = n,
                          .kv_bytes = n * seq_pages * p->memory.page_bytes,
                          .fits = n <= p->users_most,
                          .token_s = step_seconds(plan, cost, n, p->context, 0, 0)};
        row->first_s = n < rows_max ? first_seconds(plan, cost, n, p->context, p->prompt, rows_max)
                                    : 0.0;
        if (n >= users) {
            break;
        }
    }
}

/* --- output ----------------------------------------------------------------------------------- */

static void print_json(const plan_result *p, const sl_calibrated *c) {
    (void)printf("{\"context\": %" PRIu32 ", \"prompt\": %" PRIu32 ", \"threads\": %" PRIu32
                 ", \"weights_bytes\": %" PRIu64 ", \"kv_bytes\": %" PRIu64
                 ", \"step_bytes\": %" PRIu64 ", \"users_most\": %" PRIu32
                 ", \"first_token_alone_ms\": %.3f, \"rows\": [",
                 p->context, p->prompt, c->cost.n_threads, p->memory.packed_bytes,
                 p->memory.kv_bytes, p->memory.step_bytes, p->users_most, 1e3 * p->alone_s);
    for (uint32_t i = 0; i < p->n_rows; i++) {
        const plan_row *r = &p->rows[i];
        (void)printf("%s{\"users\": %" PRIu32 ", \"fits\": %s, \"kv_bytes\": %" PRIu64
                     ", \"token_ms\": %.3f, \"tokens_per_second\": %.1f, \"first_token_ms\": %.3f}",
                     i == 0 ? "" : ", ", r->users, r->fits ? "true" : "false", r->kv_bytes,
                     1e3 * r->token_s, r->users / r->token_s, 1e3 * r->first_s);
    }
    (void)printf("]}\n");
}

static void print_text(const plan_result *p, const sl_calibrated *c) {
    const double mb = 1048576.0;
    (void)printf("memory: %.0f MB of weights, %.0f MB of step buffers, up to %.0f MB of KV pages; "
                 "%.0f MB are free\n",
                 (double)p->memory.packed_bytes / mb, (double)p->memory.step_bytes / mb,
                 (double)p->memory.kv_bytes / mb, (double)sl_memory_available_bytes() / mb);
    (void)printf("With %" PRIu32 " tokens each, prompts of %" PRIu32 ", %" PRIu32
                 " threads: %" PRIu32 " users at once; further ones wait.\n",
                 p->context, p->prompt, c->cost.n_threads, p->users_most);
    (void)printf("With nobody else there the first token comes after %.0f ms.\n\n",
                 1e3 * p->alone_s);
    (void)printf("%6s %10s %12s %14s %12s %16s\n", "users", "KV MB", "ms/token", "tokens/s each",
                 "tokens/s", "first token ms");
    for (uint32_t i = 0; i < p->n_rows; i++) {
        const plan_row *r = &p->rows[i];
        (void)printf("%6" PRIu32 " %10.1f %12.1f %14.1f %12.0f %16.0f%s\n", r->users,
                     (double)r->kv_bytes / mb, 1e3 * r->token_s, 1.0 / r->token_s,
                     r->users / r->token_s, 1e3 * r->first_s,
                     r->fits ? "" : "  does not fit at once");
    }
    if (c->disturbed) {
        (void)printf("\nOther programs took the processors while steps were measured: the times "
                     "are too long.\n");
    }
}

/* --- the command ------------------------------------------------------------------------------ */

static sl_status plan_open(sl_loaded *l, const char *path, plan_flags *f, plan_result *p,
                           sl_error *err) {
    SL_TRY(sl_load_model(path, false, l, err));
    const uint32_t trained = l->model->plan.n_ctx_max;
    p->context = f->load.ctx != 0 ? f->load.ctx : trained < 2048 ? trained : 2048;
    p->prompt = f->prompt != 0 ? f->prompt : p->context / 2;
    if (p->prompt >= p->context) {
        return SL_FAIL(err, SL_ERR_ARGUMENT,
                       "a prompt of %" PRIu32 " tokens leaves no room in a context of %" PRIu32
                       "; give a smaller --prompt or a larger --context",
                       p->prompt, p->context);
    }
    /* The pool that `serve` takes; the context of a user may be a part of what it allows. */
    const uint32_t ctx = f->load.ctx;
    f->load.ctx = 0;
    sl_engine_options options = sl_load_options(&f->load);
    f->load.ctx = ctx;
    options.ctx_max = p->context > 8192 ? p->context : 0;
    SL_TRY(sl_load_engine(l, &options, err));
    if (p->context > sl_engine_ctx_max(l->engine)) {
        return SL_FAIL(err, SL_ERR_ARGUMENT,
                       "a context of %" PRIu32 " tokens is more than the model or the KV memory "
                       "allow, %" PRIu32,
                       p->context, sl_engine_ctx_max(l->engine));
    }
    sl_engine_memory_now(l->engine, &p->memory);
    return SL_OK;
}

static sl_status plan_all(sl_loaded *l, const char *path, plan_flags *f, sl_error *err) {
    plan_result p = {0};
    sl_calibrated c;
    double check;
    SL_TRY(plan_open(l, path, f, &p, err));
    sl_calibrated_find(&c, l, &f->load);
    const bool measures = c.cost.n_points == 0;
    if (measures) {
        SL_TRY(sl_calibrated_measure(&c, l, &f->load, &check, err));
    }
    fill(&p, l, &c.cost, f->users);
    (f->json ? print_json : print_text)(&p, &c);
    SL_TRY(sl_stdout_flush(err));
    return measures ? sl_calibrated_keep(&c, err) : SL_OK;
}

int sl_cmd_plan(int argc, char **argv) {
    plan_flags f = {.users = 32};
    const sl_flag flags[] = {
        {"--users", "-n", SL_FLAG_U32, &f.users, "N", "Users at the same time (default: 32).", 1,
         65535, NULL},
        {"--context", "-c", SL_FLAG_U32, &f.load.ctx, "TOKENS",
         "That each of them holds, prompt and answer (default: the smaller of the model's and "
         "2048).",
         2, 268435456, NULL},
        {"--prompt", "-p", SL_FLAG_U32, &f.prompt, "TOKENS", "Of that, the prompt (default: half).",
         1, 268435456, NULL},
        {"--json", NULL, SL_FLAG_BOOL, &f.json, NULL, "One JSON object instead of a table.", 0, 0,
         NULL},
        {"--quiet", "-q", SL_FLAG_BOOL, &f.load.quiet, NULL, "No progress.", 0, 0, NULL},
        SL_LOAD_FLAG_THREADS(&f.load),
        SL_LOAD_FLAG_PIN(&f.load),
        SL_LOAD_FLAG_KV_MEMORY(&f.load),
        SL_LOAD_FLAG_KV_TYPE(&f.load),
        SL_LOAD_FLAG_PACKED_CACHE(&f.load),
        SL_LOAD_FLAG_PACKED_CACHE_SIZE(&f.load),
    };
    const sl_command command = {
        .name = "plan",
        .usage = "sluice plan MODEL [flags]",
        .summary = "Tells how many users this machine holds with a model, and how fast they are\n"
                   "served: from its memory, and from what steps cost, which is measured first if "
                   "it is\nnot known.",
        .examples = "  sluice plan model.gguf --users 64 --context 4096\n",
        .flags = flags,
        .n_flags = sizeof(flags) / sizeof(flags[0]),
        .n_args_min = 1,
        .n_args_max = 1,
    };
    const char *args[1];
    const int code = sl_flags_parse(&command, argc, argv, args);
    if (code != SL_FLAGS_GO_ON) {
        return code;
    }
    sl_loaded l = {0};
    sl_error err = {0};
    const sl_status status = plan_all(&l, args[0], &f, &err);
    sl_loaded_close(&l);
    if (status != SL_OK) {
        sl_cmd_error("plan", "%s", err.message);
        return SL_EXIT_FAILURE;
    }
    return SL_EXIT_OK;
}
