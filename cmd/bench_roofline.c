/* sluice bench --roofline: prints what src/measure/roofline.h measures. */
#include "bench_roofline.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/cpu.h"
#include "base/error.h"
#include "base/pool.h"
#include "cmd.h"
#include "measure/roofline.h"

static void print_limits(const sl_roofline_limits *m, uint32_t n_threads, bool json) {
    const char *level = sl_isa_name(sl_cpu_isa());
    if (json) {
        (void)printf("{\"level\": \"%s\", \"threads\": %" PRIu32
                     ", \"read_gbps\": %.2f, \"int8_gops\": %.1f, \"scaled_gops\": %.1f"
                     ", \"f32_gops\": %.1f}\n",
                     level, n_threads, m->read_gbps, m->int8_gops, m->scaled_gops, m->f32_gops);
        return;
    }
    (void)printf("limits of %" PRIu32 " threads at level %s: reading %.1f GB/s, int8 %.0f GOP/s "
                 "(%.0f with scales), float32 %.0f GOP/s\n\n",
                 n_threads, level, m->read_gbps, m->int8_gops, m->scaled_gops, m->f32_gops);
    (void)printf("%-6s %7s %7s %8s %10s %5s %5s %8s %9s %6s  %s\n", "type", "inputs", "outputs",
                 "matrices", "MB", "as", "rows", "GB/s", "GOP/s", "%", "of the limit of");
}

static void print_rate(const sl_roofline_shape *s, uint32_t n_rows, const sl_roofline_rate *r,
                       bool json) {
    const sl_plan_weight *w = s->weight;
    const char *type = sl_type_info_of((uint32_t)w->type)->name;
    const char *as = s->is_int8 ? "int8" : "f32", *bound = r->is_memory_bound ? "memory" : as;
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

static sl_status print_products(sl_pool *pool, const sl_kernels *k, const sl_plan *plan, bool exact,
                                const sl_flag_list *rows, bool json, sl_error *err) {
    sl_roofline_limits limits;
    SL_TRY(sl_roofline_measure(pool, k, &limits, err));
    print_limits(&limits, sl_pool_n_threads(pool), json);
    SL_TRY(sl_stdout_flush(err));
    sl_roofline_shape shapes[SL_ROOFLINE_SHAPES_MAX];
    uint32_t n = sl_roofline_shapes(plan, k, exact, shapes);
    for (uint32_t i = 0; i < n; i++) {
        for (size_t r = 0; r < rows->n; r++) {
            uint32_t n_rows = (uint32_t)rows->v[r];
            if ((uint64_t)n_rows * shapes[i].weight->n_out > SL_ROOFLINE_OUT_MAX) {
                continue; /* an output matrix, which no pass gives so many rows at once */
            }
            sl_roofline_rate rate;
            SL_TRY(sl_roofline_product(pool, k, &limits, &shapes[i], n_rows, &rate, err));
            print_rate(&shapes[i], n_rows, &rate, json);
            SL_TRY(sl_stdout_flush(err));
        }
    }
    return SL_OK;
}

sl_status sl_bench_roofline(const sl_loaded *l, const sl_load_flags *flags,
                            const sl_flag_list *rows, bool json, sl_error *err) {
    uint32_t n_threads = flags->threads > 0 ? flags->threads : sl_cpu_count_physical();
    n_threads = n_threads < SL_POOL_THREADS_MAX ? n_threads : SL_POOL_THREADS_MAX;
    sl_kernels kernels;
    sl_kernels_init(&kernels, sl_cpu_isa());
    sl_pool *pool;
    SL_TRY(sl_pool_create(n_threads, flags->pin, &pool, err));
    sl_status status = print_products(pool, &kernels, &l->model->plan, flags->exact, rows, json,
                                      err);
    sl_pool_free(pool);
    return status;
}
