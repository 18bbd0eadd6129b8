/* Weights in the layout of the kernels (cpu_program.h: cpu_packing).
 *
 * A panel is packed, or taken from a cache file, by whoever needs it first: a product
 * inside a step, or sl_cpu_weights_prepare between steps. So the first token waits for no weight
 * that it does not need, and finds the panel that was packed in its core's cache. A second worker
 * that needs the same panel at the same time waits for the first; that happens once in a panel's
 * life, and the first waits for nobody. What is packed depends on the file alone, never on who
 * packs, so the numbers are those of a program whose weights were all packed before.
 *
 * A panel from a cache file counts only if its bytes have the checksum noted there, and its source
 * is what it was packed from: known for all at once if the files' stamp is the noted one, else by
 * a checksum of its rows. A panel that fails is packed anew into this process's own copy of the
 * page. So neither damage to a cache file nor a change to a model can reach a result.
 *
 * A mapped file is read at once, without memory of this process; but it has huge pages only where
 * system and luck provide them, and with small ones a product of one row takes up to twice as long
 * (docs/performance.md). So once all panels are ready `settle` moves them, some at a time between
 * steps, to the packed region, and the file is let go.
 */
#define _GNU_SOURCE
#include <inttypes.h>
#include <sched.h>
#include <string.h>
#include <sys/resource.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/checksum.h"
#include "base/error.h"
#include "base/gate.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/thread.h"
#include "device/cpu/cpu_program.h"

#define PREPARE_BYTES ((size_t)8 << 20) /* for each worker, by one call of prepare, about */
#define SETTLE_BYTES ((size_t)1 << 20)  /* ... of settle: a millisecond or two */
#define CLAIM_PANELS 8
#define WAIT_SPINS 1000 /* then a worker offers its processor to others */
#define PROBE_COLUMNS 768
#define PROBE_BYTES ((size_t)SL_PANEL_ROWS * PROBE_COLUMNS * 4) /* rows and a panel of any format */

enum { PANEL_TODO, PANEL_BUSY, PANEL_READY };

static uint64_t weight_panels(const cpu_weight *w) {
    return w->form == CPU_FORM_F32 ? 0 : (uint64_t)w->n_panels * w->w->n_mats;
}

sl_status sl_cpu_weights_count(sl_program *p, sl_error *err) {
    uint64_t n = 0;
    for (uint32_t i = 0; i < p->plan->n_weights; i++) {
        p->weights[i].first_panel = (uint32_t)n;
        n += weight_panels(&p->weights[i]);
        if (n > UINT32_MAX) {
            return SL_FAIL(err, SL_ERR_LIMIT, "the model has too many weights to pack");
        }
    }
    p->packing.n_panels = (uint32_t)n;
    return SL_OK;
}

static void pack_rows(const sl_kernels *k, const cpu_weight *w, const uint8_t *rows,
                      size_t row_bytes, uint32_t n_rows, uint32_t n_in, uint8_t *panel) {
    if (w->form == CPU_FORM_BF16) {
        k->bf16.pack(rows, row_bytes, n_rows, n_in, panel);
    } else {
        (w->form == CPU_FORM_PLAIN ? k->plain.pack : k->product[w->w->type].pack)(
            w->w->type, rows, row_bytes, n_rows, n_in, panel);
    }
}

/* --- one panel -------------------------------------------------------------------------------- */

/* Rows in the file, and the panel of them in the packed region. */
typedef struct panel_place {
    const uint8_t *rows;
    uint32_t n_rows;
    uint32_t i; /* number among all panels */
    uint8_t *panel;
} panel_place;

static size_t panel_offset(const cpu_weight *w, uint32_t mat, uint32_t panel) {
    const cpu_shard *s = w->shards;
    while (panel >= s->end) {
        s++;
    }
    return sl_cpu_shard_offset(w, s, mat) + panel * w->panel_bytes;
}

static panel_place panel_place_of(const cpu_weight *w, uint32_t mat, uint32_t panel) {
    uint32_t row = panel * SL_PANEL_ROWS, left = w->w->n_out - row;
    size_t i = (size_t)mat * w->n_panels + panel;
    return (panel_place){.rows = w->w->data + mat * w->w->mat_bytes + row * w->w->row_bytes,
                         .n_rows = left < SL_PANEL_ROWS ? left : SL_PANEL_ROWS,
                         .i = w->first_panel + (uint32_t)i,
                         .panel = w->panels + panel_offset(w, mat, panel)};
}

static uint64_t panel_source_sum(const cpu_weight *w, const panel_place *at) {
    uint64_t last = 0; /* bytes of the last row: others are row_bytes apart */
    (void)sl_type_row_bytes(w->w->type, w->w->n_in, &last);
    return sl_checksum(at->rows, (at->n_rows - 1) * w->w->row_bytes + (size_t)last, 0);
}

/* The panel of the cache file is what packing would give. */
static bool panel_is_cached(const cpu_packing *k, const cpu_weight *w, const panel_place *at) {
    const sl_packed_sum *sum = &k->file.sums[at->i];
    return sl_checksum(at->panel, w->panel_bytes, 0) == sum->packed &&
           (k->trusts_source || panel_source_sum(w, at) == sum->source);
}

static void panel_pack(sl_program *p, const cpu_weight *w, const panel_place *at) {
    cpu_packing *k = &p->packing;
    if (k->file.map != NULL) { /* damaged, or of another source: this process gets its own copy */
        sl_error err;
        if (sl_mapfile_make_writable(k->file.map, &err) != SL_OK) {
            atomic_store_explicit(&k->failed, true, memory_order_relaxed);
            return;
        }
        atomic_fetch_add_explicit(&k->n_repaired, 1, memory_order_relaxed);
    }
    pack_rows(&p->device->kernels, w, at->rows, w->w->row_bytes, at->n_rows, w->w->n_in, at->panel);
    if (k->keeps) {
        k->sums[at->i] = (sl_packed_sum){.packed = sl_checksum(at->panel, w->panel_bytes, 0),
                                         .source = panel_source_sum(w, at)};
    }
}

/* Nobody reads the weight's rows for products any more. */
static void weight_release(const sl_program *p, const cpu_weight *w) {
    const sl_program_options *o = &p->options;
    const sl_plan_weight *pw = w->w;
    if (o->release == NULL || p->packing.trusts_source) { /* then nobody read them */
        return;
    }
    for (uint32_t mat = 0; mat < pw->n_mats; mat++) {
        o->release(o->release_user, pw->data + mat * pw->mat_bytes, pw->n_out * pw->row_bytes);
    }
}

static void panel_make_ready(sl_program *p, const cpu_weight *w, uint32_t mat, uint32_t panel) {
    cpu_packing *k = &p->packing;
    const panel_place at = panel_place_of(w, mat, panel);
    unsigned char todo = PANEL_TODO;
    if (atomic_compare_exchange_strong_explicit(&k->state[at.i], &todo, PANEL_BUSY,
                                                memory_order_acquire, memory_order_relaxed)) {
        if (k->file.map == NULL || !panel_is_cached(k, w, &at)) {
            panel_pack(p, w, &at);
        } else {
            k->sums[at.i] = k->file.sums[at.i];
        }
        atomic_store_explicit(&k->state[at.i], PANEL_READY, memory_order_release);
        /* The last one of a weight sees what all others did: acquire and release. */
        if (atomic_fetch_add_explicit(&p->weights[w - p->weights].n_ready, 1,
                                      memory_order_acq_rel) +
                1 ==
            weight_panels(w)) {
            weight_release(p, w);
        }
        atomic_fetch_add_explicit(&k->n_ready, 1, memory_order_release);
        return;
    }
    for (uint32_t n = 0; atomic_load_explicit(&k->state[at.i], memory_order_acquire) != PANEL_READY;
         n++) {
        sl_cpu_relax();
        if (n % WAIT_SPINS == WAIT_SPINS - 1) {
            (void)sched_yield();
        }
    }
}

void sl_cpu_weight_need(sl_program *p, const cpu_weight *w, uint32_t mat, uint32_t begin,
                        uint32_t end) {
    const atomic_uchar *state = p->packing.state + w->first_panel + (size_t)mat * w->n_panels;
    for (uint32_t panel = begin; panel < end; panel++) {
        if (atomic_load_explicit(&state[panel], memory_order_acquire) != PANEL_READY) {
            panel_make_ready(p, w, mat, panel);
        }
    }
}

/* --- between steps ---------------------------------------------------------------------------- */

typedef void (*panel_fn)(sl_program *p, const cpu_weight *w, uint32_t mat, uint32_t panel);

typedef struct panels_job {
    sl_program *p;
    uint32_t begin, end; /* panels */
    panel_fn fn;
} panels_job;

/* The weight that a panel belongs to: the last one whose first panel is not behind it, of those
 * that have panels. */
static const cpu_weight *panel_weight(const sl_program *p, uint32_t panel) {
    uint32_t low = 0, high = p->plan->n_weights;
    while (high - low > 1) {
        uint32_t mid = low + (high - low) / 2;
        if (p->weights[mid].first_panel <= panel) {
            low = mid;
        } else {
            high = mid;
        }
    }
    return &p->weights[low];
}

/* The workers of each node go over all panels and do its own: where the system refuses to bind
 * memory, the first touch places it. */
static void panels_worker(void *arg, uint32_t ith, uint32_t nth) {
    const panels_job *job = arg;
    sl_pool *pool = job->p->device->pool;
    (void)nth;
    uint32_t n = job->end - job->begin, node = sl_pool_turn(pool, ith, 0);
    for (uint32_t c; sl_pool_take(pool, ith, node, sl_div_up(n, CLAIM_PANELS), &c);) {
        for (uint32_t i = c * CLAIM_PANELS; i < n && i < (c + 1) * CLAIM_PANELS; i++) {
            const cpu_weight *w = panel_weight(job->p, job->begin + i);
            uint32_t in_weight = job->begin + i - w->first_panel;
            uint32_t panel = in_weight % w->n_panels;
            if (panel >= w->shards[node].first && panel < w->shards[node].end) {
                job->fn(job->p, w, in_weight / w->n_panels, panel);
            }
        }
    }
}

/* fn for the next panels of all, about `bytes` for each worker; *next goes behind them. There are
 * some left. */
static void panels_run(sl_program *p, uint32_t *next, size_t bytes, panel_fn fn) {
    const size_t panel_bytes = p->packed_bytes / p->packing.n_panels;
    const uint32_t left = p->packing.n_panels - *next;
    const uint32_t most = (uint32_t)(bytes / panel_bytes + 1) * p->device->n_threads;
    panels_job job = {.p = p, .begin = *next, .end = *next + (left < most ? left : most), .fn = fn};
    sl_pool_run(p->device->pool, panels_worker, &job);
    *next = job.end;
}

static void panel_need(sl_program *p, const cpu_weight *w, uint32_t mat, uint32_t panel) {
    sl_cpu_weight_need(p, w, mat, panel, panel + 1);
}

bool sl_cpu_weights_prepare(sl_program *p) {
    cpu_packing *k = &p->packing;
    if (k->n_prepared < k->n_panels) {
        panels_run(p, &k->n_prepared, PREPARE_BYTES, panel_need);
    }
    return k->n_prepared == k->n_panels;
}

static void panel_move(sl_program *p, const cpu_weight *w, uint32_t mat, uint32_t panel) {
    const uint8_t *from = panel_place_of(w, mat, panel).panel;
    memcpy(p->packed + (from - p->packing.file.body), from, w->panel_bytes);
}

bool sl_cpu_weights_settle(sl_program *p) {
    cpu_packing *k = &p->packing;
    bool is_read = k->is_storing && !atomic_load_explicit(&k->store_ended, memory_order_acquire);
    if (k->file.map == NULL || is_read) { /* what is being stored stays where it is */
        return true;
    }
    const uint32_t first = k->n_moved;
    if (first < k->n_panels) {
        panels_run(p, &k->n_moved, SETTLE_BYTES, panel_move);
    }
    for (uint32_t i = 0; i < p->plan->n_weights; i++) { /* those that are complete now */
        cpu_weight *w = &p->weights[i];
        uint64_t end = w->first_panel + weight_panels(w);
        if (weight_panels(w) > 0 && end > first && end <= k->n_moved) {
            sl_mapfile_release(k->file.map, w->panels, weight_panels(w) * w->panel_bytes);
            w->panels = p->packed + (w->panels - k->file.body);
        }
    }
    if (k->n_moved < k->n_panels) {
        return false;
    }
    if (!sl_mapfile_failed(k->file.map)) { /* else the copy may hold zeros: never forgotten */
        sl_packed_cache_close(&k->file);
    }
    return true;
}

uint64_t sl_cpu_weights_ready_bytes(const sl_program *p) {
    const cpu_packing *k = &p->packing;
    uint32_t n = atomic_load_explicit(&k->n_ready, memory_order_acquire);
    return n == k->n_panels ? p->packed_bytes
                            : (uint64_t)((double)p->packed_bytes * n / k->n_panels);
}

sl_status sl_cpu_weights_check(const sl_program *p, sl_error *err) {
    const cpu_packing *k = &p->packing;
    if (k->file.map != NULL && (sl_mapfile_failed(k->file.map) ||
                                atomic_load_explicit(&k->failed, memory_order_relaxed))) {
        return SL_FAIL(err, SL_ERR_IO,
                       "the file of packed weights in %s was cut short or cannot be read; load the "
                       "model again",
                       p->options.cache.dir);
    }
    return SL_OK;
}

uint8_t *sl_cpu_weights_base(const sl_program *p) {
    return p->packing.file.map != NULL ? p->packing.file.body : p->packed;
}

/* --- the cache file --------------------------------------------------------------------------- */

/* What the packed bytes of a format look like on this machine, with this program: rows that are
 * always the same, packed. Thus no change of the layout can be forgotten. */
static uint64_t probe_format(const sl_kernels *k, const cpu_weight *w, uint8_t *rows,
                             uint8_t *panel, uint64_t seed) {
    uint64_t row_bytes = 0;
    (void)sl_type_row_bytes(w->w->type, PROBE_COLUMNS, &row_bytes);
    memset(panel, 0, PROBE_BYTES);
    pack_rows(k, w, rows, (size_t)row_bytes, SL_PANEL_ROWS - 1, PROBE_COLUMNS, panel);
    return sl_checksum(panel, PROBE_BYTES, seed);
}

/* Everything that the region's bytes depend on: the model, the order and shape of its packed
 * weights, and how their formats are packed. */
static sl_status key_make(const sl_program *p, sl_packed_key *out, sl_error *err) {
    const sl_program_options *o = &p->options;
    uint8_t *rows = sl_alloc_zero(2, PROBE_BYTES);
    if (rows == NULL) {
        return SL_FAIL(err, SL_ERR_MEMORY, "no memory for the key of the packed weights");
    }
    for (size_t i = 0; i < PROBE_BYTES; i++) {
        rows[i] = (uint8_t)(sl_hash_u64(i) % 61); /* no scale is too large to be a number */
    }
    sl_packed_key key = {.hash = {o->source.content[0], o->source.content[1]},
                         .body_bytes = p->packed_bytes,
                         .n_sums = p->packing.n_panels};
    bool probed[SL_TYPE_COUNT][CPU_FORM_COUNT] = {{false}};
    for (uint32_t i = 0; i < p->plan->n_weights; i++) {
        const cpu_weight *w = &p->weights[i];
        if (w->form == CPU_FORM_F32) {
            continue;
        }
        const sl_plan_weight *pw = w->w;
        const uint64_t shape[] = {(uint64_t)w->form, (uint64_t)pw->type, pw->n_out, pw->n_in,
                                  pw->n_mats,        pw->first,          pw->n_all, w->panel_bytes};
        for (int h = 0; h < 2; h++) {
            key.hash[h] = sl_checksum(shape, sizeof(shape), key.hash[h]);
            key.hash[h] = sl_checksum(pw->name.ptr, pw->name.len, key.hash[h]);
            if (!probed[pw->type][w->form]) {
                key.hash[h] = probe_format(&p->device->kernels, w, rows, rows + PROBE_BYTES,
                                           key.hash[h]);
            }
        }
        probed[pw->type][w->form] = true;
    }
    sl_free(rows);
    *out = key;
    return SL_OK;
}

sl_status sl_cpu_weights_map(sl_program *p, sl_error *err) {
    cpu_packing *k = &p->packing;
    const sl_program_options *o = &p->options;
    /* The file has the order of one node, and lies where it was read: near some of the workers. */
    k->keeps = o->cache.dir != NULL && k->n_panels > 0 && sl_pool_nodes(p->device->pool)->n == 1;
    if (k->keeps) {
        SL_TRY(key_make(p, &k->key, err));
        if (sl_packed_cache_open(&o->cache, &k->key, &k->file)) {
            k->trusts_source = o->source.stamp != 0 && k->file.stamp == o->source.stamp;
            sl_log(SL_LOG_INFO, "device", "%zu MB of packed weights are taken from %s%s",
                   p->packed_bytes >> 20, o->cache.dir,
                   k->trusts_source ? "" : "; the model file is compared with them");
        }
    }
    p->packed = sl_pages_map(p->packed_bytes, true);
    return p->packed != NULL ? SL_OK : SL_ERR_MEMORY;
}

bool sl_cpu_weights_wants_all(const sl_program *p) {
    const cpu_packing *k = &p->packing;
    return k->keeps && k->file.map == NULL && !k->is_stored;
}

static void log_store_failure(const sl_program *p, const sl_error *err) {
    sl_log(SL_LOG_WARN, "device", "the packed weights are not kept for the next start: %s (%s)",
           err->message, p->options.cache.dir);
}

static void *store_thread(void *arg) {
    sl_program *p = arg;
    cpu_packing *k = &p->packing;
    (void)setpriority(PRIO_PROCESS, 0, 10); /* of this thread: answers come first */
    sl_error err;
    sl_status status = sl_packed_cache_store(&p->options.cache, &k->key, k->stamp,
                                             sl_cpu_weights_base(p), k->sums, &err);
    if (status < 0) {
        log_store_failure(p, &err);
    } else if (status == SL_OK) {
        sl_log(SL_LOG_INFO, "device", "%zu MB of packed weights are kept in %s",
               p->packed_bytes >> 20, p->options.cache.dir);
    }
    atomic_store_explicit(&k->store_ended, true, memory_order_release);
    return NULL;
}

void sl_cpu_weights_store(sl_program *p, uint64_t stamp) {
    cpu_packing *k = &p->packing;
    if (!k->keeps || k->is_stored) {
        return;
    }
    k->is_stored = true;
    k->stamp = stamp;
    sl_error err;
    uint32_t n_repaired = atomic_load_explicit(&k->n_repaired, memory_order_relaxed);
    if (k->file.map != NULL && n_repaired == 0) {
        if (!k->trusts_source && stamp != 0 &&
            sl_packed_cache_set_stamp(&p->options.cache, &k->key, k->sums, stamp, &err) != SL_OK) {
            log_store_failure(p, &err);
        }
        return;
    }
    if (n_repaired > 0) {
        sl_log(SL_LOG_WARN, "device",
               "%" PRIu32 " of %" PRIu32
               " panels in the cache file of packed weights were damaged or of another model "
               "file; they were packed anew, and the file is replaced",
               n_repaired, k->n_panels);
    }
    int code = sl_thread_start(&k->store, store_thread, p);
    k->is_storing = code == 0;
    if (code != 0) {
        (void)SL_FAIL(&err, SL_ERR_MEMORY, "no thread to write them: %s", sl_errno_text(code));
        log_store_failure(p, &err);
    }
}

void sl_cpu_weights_unmap(sl_program *p) {
    cpu_packing *k = &p->packing;
    if (k->is_storing) {
        (void)pthread_join(k->store, NULL);
    }
    sl_packed_cache_close(&k->file);
    sl_pages_unmap(p->packed, p->packed_bytes);
}
