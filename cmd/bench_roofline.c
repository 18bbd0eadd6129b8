/* sluice bench --roofline: prints what src/measure/roofline.h measures. */
#include "bench_roofline.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/cpu.h"
#include "base/error.h"
#include "base/pool.h"
#include "cmd.h"
#include "measure/roofline.h"

typedef struct roofline_run {
    sl_pool *pool;
    const sl_kernels *k;
    const sl_plan *plan;
    const sl_load_flags *flags;
    const sl_flag_list *rows, *contexts;
    bool json;
    sl_roofline_limits limits;
} roofline_run;

/* --- products -------------------------------------------------------------------------------- */

static void print_limits(const sl_roofline_limits *m, uint32_t n_threads, bool json) {
    const char *level = sl_isa_name(sl_cpu_isa());
    if (json) {
        (void)printf("{\"level\": \"%s\", \"threads\": %" PRIu32
                     ", \"read_gbps\": %.2f, \"int8_gops\": %.1f, \"scaled_gops\": %.1f"
                     ", \"f32_gops\": %.1f, \"bf16_gops\": %.1f}\n",
                     level, n_threads, m->read_gbps, m->int8_gops, m->scaled_gops, m->f32_gops,
                     m->bf16_gops);
        return;
    }
    (void)printf("limits of %" PRIu32 " threads at level %s: reading %.1f GB/s, int8 %.0f GOP/s "
                 "(%.0f with scales), float32 %.0f GOP/s",
                 n_threads, level, m->read_gbps, m->int8_gops, m->scaled_gops, m->f32_gops);
    if (m->bf16_gops > 0.0) {
        (void)printf(", bfloat16 %.0f GOP/s", m->bf16_gops);
    }
    (void)printf("\n\n");
    (void)printf("%-6s %7s %7s %8s %10s %5s %5s %8s %9s %6s  %s\n", "type", "inputs", "outputs",
                 "matrices", "MB", "as", "rows", "GB/s", "GOP/s", "%", "of the limit of");
}

static void print_rate(const sl_roofline_shape *s, uint32_t n_rows, const sl_roofline_rate *r,
                       bool json) {
    const sl_plan_weight *w = s->weight;
    const char *type = sl_type_info_of((uint32_t)w->type)->name;
    const char *const forms[] = {[SL_ROOFLINE_F32] = "f32",
                                 [SL_ROOFLINE_PLAIN] = "f32",
                                 [SL_ROOFLINE_INT8] = "int8",
                                 [SL_ROOFLINE_BF16] = "bf16"};
    const char *as = forms[s->form], *bound = r->is_memory_bound ? "memory" : as;
    if (json) {
        (void)printf("{\"type\": \"%s\", \"n_in\": %" PRIu32 ", \"n_out\": %" PRIu32
                     ", \"matrices\": %" PRIu32 ", \"bytes\": %" PRIu64
                     ", \"as\": \"%s\", \"rows\": %" PRIu32
                     ", \"gbps\": %.2f, \"gops\": %.2f, \"share\": %.3f, \"limit\": \"%s\"}\n",
                     type, w->n_in, w->n_out, s->n_weights, s->bytes, as, n_rows, r->gbps, r->gops,
                     r->share, bound);
        return;
    }
    (void)printf("%-6s %7" PRIu32 " %7" PRIu32 " %8" PRIu32 " %10.1f %5s %5" PRIu32
                 " %8.1f %9.1f %6.1f  %s\n",
                 type, w->n_in, w->n_out, s->n_weights, 1e-6 * (double)s->bytes, as, n_rows,
                 r->gbps, r->gops, 100.0 * r->share, bound);
}

static sl_status print_products(const roofline_run *b, sl_error *err) {
    sl_roofline_shape shapes[SL_ROOFLINE_SHAPES_MAX];
    uint32_t n = sl_roofline_shapes(b->plan, b->k, b->flags->exact, shapes);
    for (uint32_t i = 0; i < n; i++) {
        for (size_t r = 0; r < b->rows->n; r++) {
            uint32_t n_rows = (uint32_t)b->rows->v[r];
            if ((uint64_t)n_rows * shapes[i].weight->n_out > SL_ROOFLINE_OUT_MAX) {
                continue; /* an output matrix, which no pass gives so many rows at once */
            }
            sl_roofline_rate rate;
            SL_TRY(sl_roofline_product(b->pool, b->k, &b->limits, &shapes[i], n_rows, &rate, err));
            print_rate(&shapes[i], n_rows, &rate, b->json);
            SL_TRY(sl_stdout_flush(err));
        }
    }
    return SL_OK;
}

/* --- attention ------------------------------------------------------------------------------- */

typedef struct attend_case {
    const sl_roofline_heads *heads;
    sl_kv_type type;
    uint32_t n_seqs, n_rows, n_tokens;
} attend_case;

static void print_attend(const attend_case *c, const sl_roofline_rate *r, bool json) {
    const sl_roofline_heads *h = c->heads;
    const char *type = sl_kv_type_name(c->type), *bound = r->is_memory_bound ? "memory" : "f32";
    if (json) {
        (void)printf("{\"attend\": \"%s\", \"heads\": %" PRIu32 ", \"kv_heads\": %" PRIu32
                     ", \"d_k\": %" PRIu32 ", \"d_v\": %" PRIu32 ", \"window\": %" PRIu32
                     ", \"layers\": %" PRIu32 ", \"sequences\": %" PRIu32 ", \"rows\": %" PRIu32
                     ", \"context\": %" PRIu32
                     ", \"gbps\": %.2f, \"gops\": %.2f, \"share\": %.3f, \"limit\": \"%s\"}\n",
                     type, h->n_head, h->n_kv_head, h->d_k, h->d_v, h->window, h->n_layers,
                     c->n_seqs, c->n_rows, c->n_tokens, r->gbps, r->gops, r->share, bound);
        return;
    }
    (void)printf("%-5s %5" PRIu32 " %8" PRIu32 " %5" PRIu32 " %5" PRIu32 " %7" PRIu32 " %7" PRIu32
                 " %9" PRIu32 " %5" PRIu32 " %8" PRIu32 " %8.1f %9.1f %6.1f  %s\n",
                 type, h->n_head, h->n_kv_head, h->d_k, h->d_v, h->window, h->n_layers, c->n_seqs,
                 c->n_rows, c->n_tokens, r->gbps, r->gops, 100.0 * r->share, bound);
}

static sl_status attend_once(const roofline_run *b, const attend_case *c, sl_error *err) {
    sl_roofline_rate rate;
    const sl_status status = sl_roofline_attend(b->pool, b->k, &b->limits, c->heads, c->type,
                                                c->n_seqs, c->n_rows, c->n_tokens, &rate, err);
    if (status == SL_ERR_LIMIT) {
        return SL_OK; /* more sequences than any machine holds of contexts so long */
    }
    SL_TRY(status);
    print_attend(c, &rate, b->json);
    return sl_stdout_flush(err);
}

/* So many sequences that decode, and as many rows of one prompt. */
static sl_status print_attention(const roofline_run *b, sl_error *err) {
    sl_roofline_heads heads[SL_ROOFLINE_HEADS_MAX];
    const uint32_t n = sl_roofline_heads_of(b->plan, heads);
    attend_case c = {.type = b->flags->exact ? SL_KV_F32 : (sl_kv_type)b->flags->kv_type};
    if (!b->json && n > 0) {
        (void)printf("\n%-5s %5s %8s %5s %5s %7s %7s %9s %5s %8s %8s %9s %6s  %s\n", "KV", "heads",
                     "KV heads", "d_k", "d_v", "window", "layers", "sequences", "rows", "context",
                     "GB/s", "GOP/s", "%", "of the limit of");
    }
    for (uint32_t i = 0; i < n; i++) {
        c.heads = &heads[i];
        for (size_t at = 0; at < b->contexts->n * b->rows->n; at++) {
            const uint32_t n_rows = (uint32_t)b->rows->v[at % b->rows->n];
            c.n_tokens = (uint32_t)b->contexts->v[at / b->rows->n];
            c.n_seqs = n_rows;
            c.n_rows = 1;
            SL_TRY(c.n_tokens > 0 ? attend_once(b, &c, err) : SL_OK);
            c.n_seqs = 1;
            c.n_rows = n_rows;
            SL_TRY(n_rows > 1 && n_rows <= c.n_tokens ? attend_once(b, &c, err) : SL_OK);
        }
    }
    return SL_OK;
}

/* --- all ------------------------------------------------------------------------------------- */

static sl_status print_all(roofline_run *b, sl_error *err) {
    SL_TRY(sl_roofline_measure(b->pool, b->k, &b->limits, err));
    print_limits(&b->limits, sl_pool_n_threads(b->pool), b->json);
    SL_TRY(sl_stdout_flush(err));
    SL_TRY(print_products(b, err));
    return b->plan->is_encoder ? SL_OK : print_attention(b, err);
}

sl_status sl_bench_roofline(const sl_loaded *l, const sl_load_flags *flags,
                            const sl_flag_list *rows, const sl_flag_list *contexts, bool json,
                            sl_error *err) {
    uint32_t n_threads = flags->threads > 0 ? flags->threads : sl_cpu_count_physical();
    n_threads = n_threads < SL_POOL_THREADS_MAX ? n_threads : SL_POOL_THREADS_MAX;
    sl_kernels kernels;
    sl_kernels_init(&kernels, sl_cpu_isa());
    roofline_run b = {.k = &kernels,
                      .plan = &l->model->plan,
                      .flags = flags,
                      .rows = rows,
                      .contexts = contexts,
                      .json = json};
    SL_TRY(sl_pool_create(n_threads, flags->pin, &b.pool, err));
    sl_status status = print_all(&b, err);
    sl_pool_free(b.pool);
    return status;
}
