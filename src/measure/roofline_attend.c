/* Attention goes on through copies of the sequences' pages that together exceed the caches, as the
 * layers of a model do. Tasks are the engine's: rows of a tile, for the query heads of a KV head.
 * Threads share the tasks of a round and do not wait for each other within it. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/rng.h"
#include "measure/roofline_round.h"

#define TILE_ROWS 16 /* as in the engine */

static bool heads_equal(const sl_roofline_heads *a, const sl_roofline_heads *b) {
    return a->n_head == b->n_head && a->n_kv_head == b->n_kv_head && a->d_k == b->d_k &&
           a->d_v == b->d_v && a->window == b->window;
}

static int compare_layers(const void *a, const void *b) {
    const uint32_t x = ((const sl_roofline_heads *)a)->n_layers;
    const uint32_t y = ((const sl_roofline_heads *)b)->n_layers;
    return (x < y) - (x > y);
}

uint32_t sl_roofline_heads_of(const sl_plan *plan, sl_roofline_heads out[SL_ROOFLINE_HEADS_MAX]) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < plan->n_ops; i++) {
        if (plan->ops[i].kind != SL_OP_ATTEND) {
            continue;
        }
        const sl_plan_group *g = &plan->groups[plan->ops[i].u.attend.group];
        const sl_roofline_heads heads = {.n_head = plan->ops[i].u.attend.n_head,
                                         .n_kv_head = g->n_kv_head,
                                         .d_k = g->d_k,
                                         .d_v = g->d_v,
                                         .window = g->window};
        uint32_t at = 0;
        while (at < n && !heads_equal(&out[at], &heads)) {
            at++;
        }
        if (at == SL_ROOFLINE_HEADS_MAX) {
            continue;
        }
        if (at == n) {
            out[n++] = heads;
        }
        out[at].n_layers++;
    }
    qsort(out, n, sizeof(*out), compare_layers);
    return n;
}

typedef struct attend_job {
    const sl_kernels *k;
    const sl_roofline_heads *heads;
    sl_kv_type type;
    uint32_t n_seqs, n_rows, n_tokens, n_threads;
    uint32_t n_pages;                 /* of a sequence */
    size_t head_bytes, v_offset;      /* of a page's part for one KV head; where V begins in it */
    uint32_t n_copies, n_part, round; /* n_part copies each round */
    uint8_t *pages;                   /* [n_copies][n_seqs][n_pages][n_kv_head] */
    size_t copy_bytes, mapped_bytes;
    int32_t *table; /* [n_seqs][n_pages] */
    float *q, *out; /* [n_seqs][n_rows][stride] */
    size_t q_stride, out_stride;
    float *scratch; /* [n_threads][scratch_floats] */
    size_t scratch_floats;
} attend_job;

static uint32_t job_n_group(const attend_job *j) {
    return j->heads->n_head / j->heads->n_kv_head;
}

static void attend_task(const attend_job *j, const uint8_t *pages, uint32_t seq, uint32_t tile,
                        uint32_t kv_head, float *scratch) {
    const sl_roofline_heads *h = j->heads;
    const uint32_t n_group = job_n_group(j), first = tile * TILE_ROWS;
    const uint32_t left = j->n_rows - first;
    const size_t row = (size_t)seq * j->n_rows + first;
    const sl_attend a = {
        .q = j->q + row * j->q_stride + (size_t)kv_head * n_group * h->d_k,
        .q_stride = j->q_stride,
        .n_rows = left < TILE_ROWS ? left : TILE_ROWS,
        .n_group = n_group,
        .d_k = h->d_k,
        .d_v = h->d_v,
        .pos0 = j->n_tokens - j->n_rows + first,
        .table = j->table + (size_t)seq * j->n_pages,
        .store = pages,
        .page_bytes = h->n_kv_head * j->head_bytes,
        .k_offset = kv_head * j->head_bytes,
        .v_offset = kv_head * j->head_bytes + j->v_offset,
        .scale = 0.125f,
        .window = h->window,
        .out = j->out + row * j->out_stride + (size_t)kv_head * n_group * h->d_v,
        .out_stride = j->out_stride,
        .scratch = scratch,
    };
    j->k->attend[j->type](&a);
}

static void attend_work(void *arg, uint32_t ith, uint32_t nth) {
    attend_job *j = arg;
    const uint32_t n_tiles = (j->n_rows + TILE_ROWS - 1) / TILE_ROWS,
                   n_kv_head = j->heads->n_kv_head;
    const uint64_t n_each = (uint64_t)j->n_seqs * n_tiles * n_kv_head, n = n_each * j->n_part;
    for (uint64_t t = n * ith / nth; t < n * (ith + 1) / nth; t++) {
        const uint64_t copy = ((uint64_t)j->round * j->n_part + t / n_each) % j->n_copies;
        const uint32_t unit = (uint32_t)(t % n_each);
        attend_task(j, j->pages + copy * j->copy_bytes, unit / (n_tiles * n_kv_head),
                    unit / n_kv_head % n_tiles, unit % n_kv_head,
                    j->scratch + ith * j->scratch_floats);
    }
}

/* Keys and values of about 1 in size; the first copy is computed, the others are like it. */
static void fill_pages(const attend_job *j) {
    const sl_roofline_heads *h = j->heads;
    const size_t n_parts = (size_t)j->n_seqs * j->n_pages * h->n_kv_head;
    float *x = j->scratch; /* has room for a key and a value */
    for (size_t part = 0; part < n_parts; part++) {
        uint8_t *k_block = j->pages + part * j->head_bytes;
        for (uint32_t slot = 0; slot < SL_PAGE_TOKENS; slot++) {
            for (uint32_t i = 0; i < h->d_k + h->d_v; i++) {
                x[i] = (float)((i * 7 + slot * 13 + part * 5) % 31) / 15.0f - 1.0f;
            }
            j->k->kv_store[j->type](x, h->d_k, x + h->d_k, h->d_v, k_block, k_block + j->v_offset,
                                    slot);
        }
    }
    for (uint32_t c = 1; c < j->n_copies; c++) {
        memcpy(j->pages + c * j->copy_bytes, j->pages, j->copy_bytes);
    }
}

static void fill_rest(const attend_job *j) {
    const size_t n_rows = (size_t)j->n_seqs * j->n_rows;
    for (size_t i = 0; i < (size_t)j->n_seqs * j->n_pages; i++) {
        j->table[i] = (int32_t)i;
    }
    for (size_t i = 0; i < n_rows * j->q_stride; i++) {
        j->q[i] = (float)(2.0 * sl_rng_double(5, 0, i) - 1.0);
    }
}

static sl_status attend_alloc(attend_job *j, sl_error *err) {
    const sl_roofline_heads *h = j->heads;
    const size_t n_rows = (size_t)j->n_seqs * j->n_rows, n_own = h->d_k + h->d_v;
    j->v_offset = sl_kv_key_bytes(j->type, h->d_k);
    j->head_bytes = j->v_offset + sl_kv_value_bytes(j->type, h->d_v);
    j->n_pages = (uint32_t)sl_page_count(j->n_tokens);
    j->copy_bytes = j->head_bytes * h->n_kv_head * j->n_pages * j->n_seqs;
    if (j->copy_bytes > SL_ROOFLINE_KV_MAX) {
        return SL_FAIL(err, SL_ERR_LIMIT,
                       "%" PRIu32 " sequences of %" PRIu32 " tokens have %zu MB of keys and values "
                       "in a layer: at most %zu",
                       j->n_seqs, j->n_tokens, j->copy_bytes >> 20, SL_ROOFLINE_KV_MAX >> 20);
    }
    j->n_copies = (uint32_t)(ROOFLINE_STREAM_BYTES / j->copy_bytes) + 1;
    j->n_part = (uint32_t)(ROOFLINE_PART_BYTES / j->copy_bytes) + 1;
    j->mapped_bytes = j->copy_bytes * j->n_copies;
    j->pages = sl_pages_map(j->mapped_bytes, true);
    j->q_stride = sl_row_stride((size_t)h->n_head * h->d_k, sizeof(float));
    j->out_stride = sl_row_stride((size_t)h->n_head * h->d_v, sizeof(float));
    const uint32_t tile = j->n_rows < TILE_ROWS ? j->n_rows : TILE_ROWS;
    j->scratch_floats = sl_attend_scratch_floats(tile, job_n_group(j), h->d_k, h->d_v);
    j->scratch_floats = sl_row_stride(j->scratch_floats > n_own ? j->scratch_floats : n_own,
                                      sizeof(float));
    j->q = sl_alloc_aligned(n_rows * j->q_stride * sizeof(float), 64);
    j->out = sl_alloc_aligned(n_rows * j->out_stride * sizeof(float), 64);
    j->scratch = sl_alloc_aligned(j->n_threads * j->scratch_floats * sizeof(float), 64);
    j->table = sl_alloc_zero((size_t)j->n_seqs * j->n_pages, sizeof(*j->table));
    if (j->pages == NULL || j->q == NULL || j->out == NULL || j->scratch == NULL ||
        j->table == NULL) {
        return SL_FAIL(err, SL_ERR_MEMORY, "no memory to measure attention over %" PRIu32 " tokens",
                       j->n_tokens);
    }
    return SL_OK;
}

static void attend_free(attend_job *j) {
    if (j->pages != NULL) {
        sl_pages_unmap(j->pages, j->mapped_bytes);
    }
    sl_free_aligned(j->q);
    sl_free_aligned(j->out);
    sl_free_aligned(j->scratch);
    sl_free(j->table);
}

/* Keys that a sequence's rows see, added up over the rows. */
static double rows_see(const attend_job *j) {
    const uint32_t window = j->heads->window != 0 ? j->heads->window : UINT32_MAX;
    double sum = 0.0;
    for (uint32_t r = 0; r < j->n_rows; r++) {
        const uint32_t seen = j->n_tokens - j->n_rows + r + 1;
        sum += seen < window ? seen : window;
    }
    return sum;
}

/* Keys that some of them sees. */
static double all_see(const attend_job *j) {
    const uint64_t most = (uint64_t)j->heads->window + j->n_rows - 1;
    return j->heads->window != 0 && most < j->n_tokens ? (double)most : j->n_tokens;
}

sl_status sl_roofline_attend(sl_pool *pool, const sl_kernels *k, const sl_roofline_limits *limits,
                             const sl_roofline_heads *heads, sl_kv_type type, uint32_t n_seqs,
                             uint32_t n_rows, uint32_t n_tokens, sl_roofline_rate *out,
                             sl_error *err) {
    attend_job j = {.k = k,
                    .heads = heads,
                    .type = type,
                    .n_seqs = n_seqs,
                    .n_rows = n_rows,
                    .n_tokens = n_tokens,
                    .n_threads = sl_pool_n_threads(pool)};
    sl_status status = attend_alloc(&j, err);
    if (status == SL_OK) {
        fill_pages(&j);
        fill_rest(&j);
        const double seconds = roofline_best_round(pool, attend_work, &j, &j.round);
        const double token_bytes = (double)j.head_bytes * heads->n_kv_head / SL_PAGE_TOKENS;
        const double n = 1e-9 * n_seqs * j.n_part; /* sequences of a round */
        const double gbytes = n * all_see(&j) * token_bytes;
        const double gops = 2.0 * n * rows_see(&j) * heads->n_head * (heads->d_k + heads->d_v);
        *out = roofline_rate_of(gbytes, gops, seconds, limits->read_gbps, limits->f32_gops);
    }
    attend_free(&j);
    return status;
}
