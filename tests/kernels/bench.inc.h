/* The kernels timed: one line per entry, shape and level. Part of test_kernels.c.
 *
 * Shapes are those of a 135M-parameter model (hidden 576, 9 query and 3 KV heads of 64,
 * feed-forward 1536, vocabulary 49152). Weights are copied until they exceed 96 MB, so that a
 * product with few rows streams them from memory as a real pass over a model does. Each figure is
 * the best of many short repetitions (a few milliseconds): on a shared machine that is the one
 * least disturbed. GB/s counts weights or keys and values, GOP/s two operations per
 * multiply-add. */
#include <pthread.h>
#include <time.h>

#define BENCH_WEIGHT_BYTES ((size_t)96 << 20)
enum { BENCH_THREADS_MAX = 64, BENCH_REPS = 30 };

static double bench_now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* One call of the thing to be timed: round `iter`, part ith of nth. */
typedef void (*bench_fn)(void *arg, uint32_t iter, uint32_t ith, uint32_t nth);

typedef struct bench_worker {
    bench_fn fn;
    void *arg;
    uint32_t first, iters, ith, nth;
} bench_worker;

static void *bench_work(void *p) {
    const bench_worker *w = p;
    for (uint32_t i = 0; i < w->iters; i++) {
        w->fn(w->arg, w->first + i, w->ith, w->nth);
    }
    return NULL;
}

/* Seconds of rounds [first, first + iters). */
static double bench_once(bench_fn fn, void *arg, uint32_t first, uint32_t iters, uint32_t nth) {
    pthread_t threads[BENCH_THREADS_MAX];
    bench_worker workers[BENCH_THREADS_MAX];
    const double start = bench_now();
    for (uint32_t i = 0; i < nth; i++) {
        workers[i] = (bench_worker){fn, arg, first, iters, i, nth};
        if (i > 0 && pthread_create(&threads[i], NULL, bench_work, &workers[i]) != 0) {
            fprintf(stderr, "test_kernels: cannot start a thread\n");
            return INFINITY;
        }
    }
    bench_work(&workers[0]);
    for (uint32_t i = 1; i < nth; i++) {
        pthread_join(threads[i], NULL);
    }
    return bench_now() - start;
}

/* Seconds of one call; prints the line. bytes and ops are those of one call, 0 for none. */
static void bench_line(const char *entry, const char *shape, sl_isa isa, bench_fn fn, void *arg,
                       uint32_t nth, double bytes, double ops) {
    uint32_t iters = 1, first = 1;
    double t = bench_once(fn, arg, 0, iters, nth);
    while (t < 0.003 && iters < (1u << 28)) {
        iters = t < 1e-4 ? iters * 16 : (uint32_t)(iters * (0.004 / t)) + 1;
        t = bench_once(fn, arg, first, iters, nth);
        first += iters;
    }
    for (int rep = 0; rep < BENCH_REPS; rep++) {
        const double again = bench_once(fn, arg, first, iters, nth);
        t = again < t ? again : t;
        first += iters; /* goes on through the copies, so that none is in the cache */
    }
    t /= iters;
    printf("%-12s %-22s %-11s %10.2f us", entry, shape, sl_isa_name(isa), t * 1e6);
    printf(bytes > 0 ? " %8.1f GB/s" : "              ", bytes / t * 1e-9);
    printf(ops > 0 ? " %8.1f GOP/s\n" : "\n", ops / t * 1e-9);
    fflush(stdout);
}

/* --- products
 * ----------------------------------------------------------------------------------- */
typedef struct bench_mul {
    const sl_kernels *k;
    sl_type type;
    uint32_t n_in, n_out, n_rows, n_copies;
    uint8_t *weights; /* [n_copies] packed, or in the file's layout for mul_f32 */
    size_t copy_bytes, row_bytes;
    const sl_act8 *act;
    const float *x;
    const uint16_t *rounded; /* x in BF16 */
    float *out;
    size_t x_stride, rounded_stride, out_stride;
    float *scratch[BENCH_THREADS_MAX];
} bench_mul;

static void bench_mul_call(void *arg, uint32_t iter, uint32_t ith, uint32_t nth) {
    const bench_mul *b = arg;
    const uint32_t panels = b->n_out / SL_PANEL_ROWS;
    b->k->product[b->type].mul(b->weights + iter % b->n_copies * b->copy_bytes, b->n_in,
                               panels * ith / nth, panels * (ith + 1) / nth, b->act, 0, b->n_rows,
                               b->out, b->out_stride, false);
}
static void bench_mul_f32_call(void *arg, uint32_t iter, uint32_t ith, uint32_t nth) {
    const bench_mul *b = arg;
    const uint32_t panels = b->n_out / SL_PANEL_ROWS;
    b->k->mul_f32(b->type, b->weights + iter % b->n_copies * b->copy_bytes, b->row_bytes, b->n_in,
                  panels * ith / nth * SL_PANEL_ROWS, panels * (ith + 1) / nth * SL_PANEL_ROWS,
                  b->x, b->x_stride, b->n_rows, b->out, b->out_stride, false, b->scratch[ith]);
}

static void bench_mul_bf16_call(void *arg, uint32_t iter, uint32_t ith, uint32_t nth) {
    const bench_mul *b = arg;
    const uint32_t panels = b->n_out / SL_PANEL_ROWS;
    b->k->bf16.mul(b->weights + iter % b->n_copies * b->copy_bytes, b->n_in, panels * ith / nth,
                   panels * (ith + 1) / nth, b->rounded, b->rounded_stride, 0, b->n_rows, b->out,
                   b->out_stride, false);
}

static void bench_mul_plain_call(void *arg, uint32_t iter, uint32_t ith, uint32_t nth) {
    const bench_mul *b = arg;
    const uint32_t panels = b->n_out / SL_PANEL_ROWS;
    b->k->plain.mul(b->type, b->weights + iter % b->n_copies * b->copy_bytes, b->n_in,
                    panels * ith / nth, panels * (ith + 1) / nth, b->x, b->x_stride, 0, b->n_rows,
                    b->out, b->out_stride, false);
}

static void bench_mul_amx_call(void *arg, uint32_t iter, uint32_t ith, uint32_t nth) {
    const bench_mul *b = arg;
    const uint32_t panels = b->n_out / SL_PANEL_ROWS;
    b->k->amx.mul(b->type, b->weights + iter % b->n_copies * b->copy_bytes, b->copy_bytes / panels,
                  b->n_in, panels * ith / nth, panels * (ith + 1) / nth, b->rounded,
                  b->rounded_stride, 0, b->n_rows, b->out, b->out_stride, false, b->scratch[ith]);
}

typedef enum bench_form { BENCH_INT8, BENCH_F32, BENCH_BF16, BENCH_PLAIN, BENCH_AMX } bench_form;

static size_t bench_panel_bytes(const sl_kernels *k, sl_type type, bench_form form, uint32_t n_in,
                                size_t row_bytes) {
    switch (form) {
    case BENCH_INT8:
        return k->product[type].panel_bytes(type, n_in);
    case BENCH_BF16:
        return k->bf16.panel_bytes(n_in);
    case BENCH_PLAIN:
        return k->plain.panel_bytes(type, n_in);
    case BENCH_AMX:
        return amx_panel_bytes(k, type, n_in);
    default:
        return SL_PANEL_ROWS * row_bytes;
    }
}

/* 16 rows of the file's layout in the form's. */
static void bench_pack(const sl_kernels *k, sl_type type, bench_form form, const uint8_t *rows,
                       size_t row_bytes, uint32_t n_in, uint8_t *panel) {
    switch (form) {
    case BENCH_INT8:
        k->product[type].pack(type, rows, row_bytes, SL_PANEL_ROWS, n_in, panel);
        break;
    case BENCH_BF16:
        k->bf16.pack(rows, row_bytes, SL_PANEL_ROWS, n_in, panel);
        break;
    case BENCH_PLAIN:
        k->plain.pack(type, rows, row_bytes, SL_PANEL_ROWS, n_in, panel);
        break;
    case BENCH_AMX:
        amx_pack(k, type, rows, row_bytes, SL_PANEL_ROWS, n_in, panel);
        break;
    default:
        memcpy(panel, rows, SL_PANEL_ROWS * row_bytes);
        break;
    }
}

static void bench_product(const sl_kernels *k, sl_type type, bench_form form, uint32_t n_in,
                          uint32_t n_out, uint32_t nth) {
    static const char *const names[] = {"mul", "mul_f32", "mul_bf16", "mul_plain", "mul_amx"};
    static const bench_fn calls[] = {bench_mul_call, bench_mul_f32_call, bench_mul_bf16_call,
                                     bench_mul_plain_call, bench_mul_amx_call};
    static const uint32_t rows[] = {1, 2, 4, 8, 16, 32, 128, 512};
    const sl_type_info *info = sl_type_info_of((uint32_t)type);
    bench_mul b = {.k = k, .type = type, .n_in = n_in, .n_out = n_out};
    b.row_bytes = n_in / info->block_elems * info->block_bytes;
    const size_t panel_bytes = bench_panel_bytes(k, type, form, n_in, b.row_bytes);
    b.copy_bytes = panel_bytes * (n_out / SL_PANEL_ROWS);
    b.n_copies = (uint32_t)(BENCH_WEIGHT_BYTES / b.copy_bytes) + 1;
    b.weights = sl_alloc_aligned(b.n_copies * b.copy_bytes, 64);
    uint8_t *file_rows = sl_alloc_zero(16, b.row_bytes);
    for (uint32_t i = 0; i < 16; i++) {
        random_row(&state.rng, type, file_rows + i * b.row_bytes, n_in);
    }
    bench_pack(k, type, form, file_rows, b.row_bytes, n_in, b.weights);
    for (size_t at = panel_bytes; at < b.n_copies * b.copy_bytes; at += panel_bytes) {
        memcpy(b.weights + at, b.weights, panel_bytes);
    }
    act_buf act;
    act_alloc(&act, 512, n_in);
    b.x_stride = sl_row_stride(n_in, sizeof(float));
    b.rounded_stride = sl_row_stride(n_in, sizeof(uint16_t));
    b.out_stride = sl_row_stride(n_out, sizeof(float));
    float *x = sl_alloc_aligned(512 * b.x_stride * 4, 64);
    rng_fill(&state.rng, x, 512 * b.x_stride);
    uint16_t *rounded = sl_alloc_aligned(512 * b.rounded_stride * 2, 64);
    for (uint32_t i = 0; i < 512; i++) {
        k->quantize_row(x + i * b.x_stride, n_in, &act.act, i);
        if (form == BENCH_BF16 || form == BENCH_AMX) {
            k->bf16.round_row(x + i * b.x_stride, n_in, rounded + i * b.rounded_stride);
        }
    }
    b.act = &act.act;
    b.rounded = rounded;
    b.x = x;
    b.out = sl_alloc_aligned(512 * b.out_stride * 4, 64);
    for (uint32_t i = 0; i < nth; i++) {
        const size_t amx_bytes = sl_product_amx_scratch_bytes(n_in);
        const size_t f32_bytes = sl_mul_f32_scratch_floats(n_in) * 4;
        b.scratch[i] = sl_alloc_aligned(amx_bytes > f32_bytes ? amx_bytes : f32_bytes, 64);
    }
    for (int i = 0; i < 8; i++) {
        char shape[64], entry[32];
        b.n_rows = rows[i];
        snprintf(shape, sizeof(shape), "%ux%u rows %u", n_in, n_out, rows[i]);
        snprintf(entry, sizeof(entry), "%s %s", names[form], info->name);
        bench_line(entry, shape, k->isa, calls[form], &b, nth, (double)b.copy_bytes,
                   2.0 * n_in * n_out * rows[i]);
    }
    for (uint32_t i = 0; i < nth; i++) {
        sl_free_aligned(b.scratch[i]);
    }
    sl_free_aligned(b.out);
    sl_free_aligned(rounded);
    sl_free_aligned(x);
    act_free(&act);
    sl_free(file_rows);
    sl_free_aligned(b.weights);
}

static void bench_products(const sl_kernels *k, const char *op, uint32_t nth) {
    for (sl_type type = 0; type < SL_TYPE_COUNT; type++) {
        char name[32];
        if (!has_product(type)) {
            continue;
        }
        snprintf(name, sizeof(name), "mul %s", type_name(type));
        if (strstr(name, op)) {
            const bool super = sl_type_info_of((uint32_t)type)->block_elems == 256;
            bench_product(k, type, BENCH_INT8, super ? 512 : 576, 1536, nth);
            bench_product(k, type, BENCH_INT8, 1536, 576, nth);
        }
    }
    for (uint32_t type = 0; type < SL_TYPE_COUNT; type++) {
        char name[32];
        if (sl_type_info_of(type)->decodes) {
            snprintf(name, sizeof(name), "mul_f32 %s", type_name((sl_type)type));
            if (strstr(name, op)) {
                bench_product(k, (sl_type)type, BENCH_F32, 1536, 576, nth);
            }
        }
    }
    for (int i = 0; i < 3; i++) {
        static const sl_type plain[] = {SL_TYPE_F32, SL_TYPE_F16, SL_TYPE_BF16};
        char name[32];
        snprintf(name, sizeof(name), "mul_plain %s", type_name(plain[i]));
        if (strstr(name, op)) {
            bench_product(k, plain[i], BENCH_PLAIN, 576, 1536, nth);
            bench_product(k, plain[i], BENCH_PLAIN, 1536, 576, nth);
        }
    }
    for (sl_type type = 0; type < SL_TYPE_COUNT; type++) {
        char name[32];
        snprintf(name, sizeof(name), "mul_amx %s", type_name(type));
        if (k->amx.mul != NULL && amx_has(k, type) && strstr(name, op)) {
            const bool super = sl_type_info_of((uint32_t)type)->block_elems == 256;
            bench_product(k, type, BENCH_AMX, super ? 512 : 576, 1536, nth);
            bench_product(k, type, BENCH_AMX, 1536, 576, nth);
        }
    }
    if (k->bf16.mul != NULL && strstr("mul_bf16 BF16", op)) {
        bench_product(k, SL_TYPE_BF16, BENCH_BF16, 576, 1536, nth);
        bench_product(k, SL_TYPE_BF16, BENCH_BF16, 1536, 576, nth);
    }
}

/* --- attention: each thread works on sequences of its own
 * ---------------------------------------- */
enum { BENCH_SEQUENCES = 256 };
typedef struct bench_attend {
    const sl_kernels *k;
    sl_kv_type type;
    sl_attend a;
    int32_t *tables[BENCH_SEQUENCES];
    float *scratch[BENCH_THREADS_MAX], *out[BENCH_THREADS_MAX];
    uint32_t n_sequences;
} bench_attend;

static void bench_attend_call(void *arg, uint32_t iter, uint32_t ith, uint32_t nth) {
    const bench_attend *b = arg;
    sl_attend a = b->a;
    a.table = b->tables[(iter * nth + ith) % b->n_sequences];
    a.scratch = b->scratch[ith];
    a.out = b->out[ith];
    b->k->attend[b->type](&a);
}

/* n_keys tokens up to the last row's, seen through a window (0: none); heads and pages as in the
 * model: 3 query heads on a KV head, and a page holds 30 layers x 3 heads of which one is read. */
static void bench_attend_shape(const sl_kernels *k, sl_kv_type type, uint32_t n_rows,
                               uint32_t n_keys, uint32_t window, uint32_t nth) {
    enum { D = 64, GROUP = 3 };
    const size_t k_bytes = sl_kv_key_bytes(type, D), v_bytes = sl_kv_value_bytes(type, D);
    const uint32_t pages = (n_keys + SL_PAGE_TOKENS - 1) / SL_PAGE_TOKENS;
    bench_attend b = {.k = k, .type = type, .n_sequences = n_keys > 2000 ? 4 : 32};
    if (n_keys == 2000) { /* more than caches hold */
        b.n_sequences = BENCH_SEQUENCES;
    }
    const size_t store_bytes = b.n_sequences * pages * (k_bytes + v_bytes);
    uint8_t *store = sl_alloc_aligned(store_bytes, 64);
    for (size_t i = 0; i < store_bytes; i++) {
        /* any small numbers: bytes that are finite in all formats */
        store[i] = (uint8_t)(i * 37 & 0x3f);
    }
    int32_t *order = sl_alloc_zero(b.n_sequences * pages, sizeof(int32_t));
    for (uint32_t i = 0; i < b.n_sequences * pages; i++) {
        const uint32_t j = rng_below(&state.rng, i + 1);
        order[i] = order[j];
        order[j] = (int32_t)i;
    }
    for (uint32_t s = 0; s < b.n_sequences; s++) {
        b.tables[s] = order + (size_t)s * pages;
    }
    float *q = sl_alloc_aligned((size_t)n_rows * GROUP * D * 4, 64);
    rng_fill(&state.rng, q, (size_t)n_rows * GROUP * D);
    for (uint32_t i = 0; i < nth; i++) {
        b.scratch[i] = sl_alloc_aligned(sl_attend_scratch_floats(n_rows, GROUP, D, D) * 4, 64);
        b.out[i] = sl_alloc_aligned((size_t)n_rows * GROUP * D * 4, 64);
    }
    b.a = (sl_attend){.q = q,
                      .q_stride = GROUP * D,
                      .n_rows = n_rows,
                      .n_group = GROUP,
                      .d_k = D,
                      .d_v = D,
                      .pos0 = n_keys - n_rows,
                      .store = store,
                      .page_bytes = k_bytes + v_bytes,
                      .v_offset = k_bytes,
                      .scale = 0.125f,
                      .window = window,
                      .out_stride = GROUP * D};
    char shape[64];
    snprintf(shape, sizeof(shape), "rows %u keys %u", n_rows, n_keys);
    if (window) {
        snprintf(shape, sizeof(shape), "rows %u of %u win %u", n_rows, n_keys, window);
    }
    const uint32_t unread = window && window + n_rows <= n_keys ? n_keys - n_rows + 1 - window : 0;
    const uint32_t pages_read = pages - unread / SL_PAGE_TOKENS;
    /* Figures are of all threads together: each call of a round does the whole shape. */
    double pairs = 0.0;
    for (uint32_t end = n_keys - n_rows + 1; end <= n_keys; end++) {
        pairs += (double)GROUP * (window && end > window ? window : end);
    }
    char name[32];
    snprintf(name, sizeof(name), "attend %s", sl_kv_type_name(type));
    bench_line(name, shape, k->isa, bench_attend_call, &b, nth,
               (double)nth * pages_read * (double)(k_bytes + v_bytes), (double)nth * pairs * 4 * D);
    for (uint32_t i = 0; i < nth; i++) {
        sl_free_aligned(b.scratch[i]);
        sl_free_aligned(b.out[i]);
    }
    sl_free_aligned(q);
    sl_free(order);
    sl_free_aligned(store);
}

static void bench_attends(const sl_kernels *k, const char *op, uint32_t nth) {
    for (int type = 0; type < SL_KV_TYPE_COUNT; type++) {
        char name[32];
        snprintf(name, sizeof(name), "attend %s", sl_kv_type_name((sl_kv_type)type));
        if (strstr(name, op)) {
            bench_attend_shape(k, (sl_kv_type)type, 1, 160, 0, nth);
            bench_attend_shape(k, (sl_kv_type)type, 1, 512, 0, nth);
            bench_attend_shape(k, (sl_kv_type)type, 1, 2000, 0, nth);
            bench_attend_shape(k, (sl_kv_type)type, 1, 4096, 0, nth);
            bench_attend_shape(k, (sl_kv_type)type, 1, 8192, 0, nth);
            bench_attend_shape(k, (sl_kv_type)type, 1, 8192, 512, nth);
            bench_attend_shape(k, (sl_kv_type)type, 16, 512, 0, nth);
            bench_attend_shape(k, (sl_kv_type)type, 16, 4096, 0, nth);
            bench_attend_shape(k, (sl_kv_type)type, 512, 512, 0, nth);
            bench_attend_shape(k, (sl_kv_type)type, 512, 4096, 0, nth);
            bench_attend_shape(k, (sl_kv_type)type, 512, 4096, 512, nth);
        }
    }
}

/* --- row kernels
 * --------------------------------------------------------------------------------- */
typedef struct bench_row {
    const sl_kernels *k;
    uint32_t n;
    float *x, *y, *out;
    uint8_t *page;
    act_buf act;
    sl_act_kind act_kind;
    sl_kv_type kv_type;
    volatile double sink;
} bench_row;

static void bench_quantize(void *arg, uint32_t iter, uint32_t ith, uint32_t nth) {
    bench_row *b = arg;
    (void)iter, (void)ith, (void)nth;
    b->k->quantize_row(b->x, b->n, &b->act.act, 0);
}
static void bench_rms_norm(void *arg, uint32_t iter, uint32_t ith, uint32_t nth) {
    bench_row *b = arg;
    (void)iter, (void)ith, (void)nth;
    b->k->rms_norm(b->x, b->y, b->n, 1e-5f, b->out);
}
static void bench_rope(void *arg, uint32_t iter, uint32_t ith, uint32_t nth) {
    bench_row *b = arg;
    (void)iter, (void)ith, (void)nth;
    b->k->rope_norm(b->out, b->n / 64, 64, 64, b->y);
}
static void bench_act(void *arg, uint32_t iter, uint32_t ith, uint32_t nth) {
    bench_row *b = arg;
    (void)iter, (void)ith, (void)nth;
    b->k->act(b->act_kind, b->x, b->y, b->n, b->out);
}
static void bench_layer_norm(void *arg, uint32_t iter, uint32_t ith, uint32_t nth) {
    bench_row *b = arg;
    (void)iter, (void)ith, (void)nth;
    b->k->layer_norm(b->x, b->y, b->y, b->n, 1e-5f, b->out);
}
static void bench_softcap(void *arg, uint32_t iter, uint32_t ith, uint32_t nth) {
    bench_row *b = arg;
    (void)iter, (void)ith, (void)nth;
    b->k->softcap(b->x, 30.0f, b->n, b->out);
}
static void bench_add(void *arg, uint32_t iter, uint32_t ith, uint32_t nth) {
    bench_row *b = arg;
    (void)iter, (void)ith, (void)nth;
    b->k->add(b->x, b->y, b->n, b->out);
}
static void bench_argmax(void *arg, uint32_t iter, uint32_t ith, uint32_t nth) {
    bench_row *b = arg;
    (void)iter, (void)ith, (void)nth;
    b->sink = b->k->argmax(b->x, b->n);
}
static void bench_sum_exp(void *arg, uint32_t iter, uint32_t ith, uint32_t nth) {
    bench_row *b = arg;
    (void)iter, (void)ith, (void)nth;
    b->sink = b->k->sum_exp(b->x, b->n, 3.0f, 1.0f);
}
static void bench_kv_store(void *arg, uint32_t iter, uint32_t ith, uint32_t nth) {
    bench_row *b = arg;
    (void)ith, (void)nth;
    b->k->kv_store[b->kv_type](b->x, b->n, b->y, b->n, b->page,
                               b->page + sl_kv_key_bytes(b->kv_type, b->n), iter % 32);
}

static void bench_rows(const sl_kernels *k, const char *op) {
    static const struct {
        const char *name;
        bench_fn fn;
        uint32_t n;
        sl_act_kind act_kind;
        sl_kv_type kv_type;
    } rows[] = {
        {"quantize", bench_quantize, 576, 0, 0},
        {"quantize", bench_quantize, 1536, 0, 0},
        {"rms_norm", bench_rms_norm, 576, 0, 0},
        {"layer_norm", bench_layer_norm, 576, 0, 0},
        {"rope_norm", bench_rope, 768, 0, 0},
        {"act silu", bench_act, 1536, SL_ACT_SILU, 0},
        {"act gelu", bench_act, 1536, SL_ACT_GELU, 0},
        {"act gelu tanh", bench_act, 1536, SL_ACT_GELU_TANH, 0},
        {"act clamped", bench_act, 1536, SL_ACT_SWIGLU_CLAMPED, 0},
        {"add", bench_add, 576, 0, 0},
        {"softcap", bench_softcap, 49152, 0, 0},
        {"argmax", bench_argmax, 49152, 0, 0},
        {"sum_exp", bench_sum_exp, 49152, 0, 0},
        {"kv_store f16", bench_kv_store, 64, 0, SL_KV_F16},
        {"kv_store bf16", bench_kv_store, 64, 0, SL_KV_BF16},
        {"kv_store int8", bench_kv_store, 64, 0, SL_KV_INT8},
        {"kv_store int4", bench_kv_store, 64, 0, SL_KV_INT4},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        if (!strstr(rows[i].name, op)) {
            continue;
        }
        const uint32_t n = rows[i].n;
        bench_row b = {.k = k, .n = n, .act_kind = rows[i].act_kind, .kv_type = rows[i].kv_type};
        b.x = sl_alloc_aligned((size_t)n * 4, 64);
        b.y = sl_alloc_aligned((size_t)n * 4, 64);
        b.out = sl_alloc_aligned((size_t)n * 4, 64);
        b.page = sl_alloc_aligned((size_t)n * 128, 64);
        rng_fill(&state.rng, b.x, n);
        rng_fill(&state.rng, b.y, n);
        act_alloc(&b.act, 1, (n + 31) / 32 * 32);
        char shape[32];
        snprintf(shape, sizeof(shape), "n %u", n);
        bench_line(rows[i].name, shape, k->isa, rows[i].fn, &b, 1, (double)n * 4, 0);
        act_free(&b.act);
        sl_free_aligned(b.x);
        sl_free_aligned(b.y);
        sl_free_aligned(b.out);
        sl_free_aligned(b.page);
    }
}

static int bench_all(const char *op, uint32_t nth) {
    if (nth < 1 || nth > BENCH_THREADS_MAX) {
        fprintf(stderr, "test_kernels: --threads takes 1 to %d\n", BENCH_THREADS_MAX);
        return 2;
    }
    printf("# %s, %u thread%s\n", sl_cpu_model(), nth, nth > 1 ? "s" : "");
    for (size_t l = 0; l < state.n_levels; l++) {
        bench_products(&state.level[l], op, nth);
        bench_attends(&state.level[l], op, nth);
        bench_rows(&state.level[l], op);
    }
    return 0;
}
