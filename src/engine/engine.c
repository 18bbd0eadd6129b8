#include "engine/engine.h"

#include <inttypes.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/cpu.h"
#include "base/error.h"
#include "device/cpu/cpu_device.h"

#define CTX_DEFAULT 8192u
#define ROWS_DEFAULT 512u
#define RUNS_DEFAULT 256u
#define PAGES_MAX 0x7FFFFFFFu /* page numbers are int32 */

struct sl_engine {
    const sl_model *model;
    sl_device *device;
    sl_program *program;
    sl_program_options options;
    sl_engine_memory memory;
    uint32_t ctx_max;
    bool is_ready; /* all weights are packed, of one version of the model's file */
};

/* What the options mean for this model, once defaults are filled in. */
static sl_status engine_resolve(const sl_model *model, const sl_engine_options *o, sl_engine *e,
                                sl_error *err) {
    const sl_plan *plan = &model->plan;
    e->model = model;
    e->ctx_max = o->ctx_max != 0 ? o->ctx_max
                                 : (plan->n_ctx_max < CTX_DEFAULT ? plan->n_ctx_max : CTX_DEFAULT);
    if (e->ctx_max > plan->n_ctx_max) {
        return SL_FAIL(err, SL_ERR_ARGUMENT,
                       "a context of %" PRIu32
                       " tokens was asked for, but %s was made for %" PRIu32,
                       e->ctx_max, sl_gguf_path(model->file), plan->n_ctx_max);
    }
    e->options = (sl_program_options){
        .exact = o->exact,
        .batch_invariant = o->batch_invariant,
        .kv_type = o->exact ? SL_KV_F32 : o->kv_type,
        .rows_max = o->rows_max != 0 ? o->rows_max : ROWS_DEFAULT,
        .runs_max = o->runs_max != 0 ? o->runs_max : RUNS_DEFAULT,
        .ctx_max = e->ctx_max,
    };
    e->memory.kv_groups = sl_kv_groups_of_plan(plan, e->options.rows_max);
    return SL_OK;
}

/* Pages for 32 sequences of full length, within a quarter of the memory that the model leaves
 * free. */
static uint64_t engine_default_kv(const sl_engine *e, const sl_program_memory *m,
                                  uint64_t available) {
    uint64_t ctx_pages = sl_engine_seq_pages(e, e->ctx_max);
    uint64_t model_bytes = m->packed_bytes + m->step_bytes;
    uint64_t quarter = available > model_bytes ? (available - model_bytes) / 4 : 0;
    uint64_t wanted;
    return sl_mul_u64(32 * ctx_pages, m->page_bytes, &wanted) && wanted < quarter ? wanted
                                                                                  : quarter;
}

/* Chooses the number of pages from the memory allowed for them. */
static sl_status engine_size_pool(sl_engine *e, const sl_engine_options *o, sl_error *err) {
    sl_program_memory m;
    SL_TRY(e->device->ops->estimate(e->device, &e->model->plan, &e->options, &m, err));
    uint64_t kv_bytes = o->kv_bytes != 0 ? o->kv_bytes
                                         : engine_default_kv(e, &m, sl_memory_available_bytes());
    uint64_t n_pages = kv_bytes / m.page_bytes;
    n_pages = n_pages > PAGES_MAX ? PAGES_MAX : n_pages;
    const uint32_t n_tokens = sl_kv_groups_tokens(&e->memory.kv_groups, n_pages);
    if (n_tokens == 0) {
        return SL_FAIL(err, SL_ERR_ARGUMENT,
                       "KV memory of %" PRIu64 " bytes holds no sequence: %d tokens of this model "
                       "take %" PRIu32 " pages of %" PRIu64 " bytes; give a larger --kv-memory",
                       kv_bytes, SL_PAGE_TOKENS, e->memory.kv_groups.n, m.page_bytes);
    }
    e->options.n_pages = (uint32_t)n_pages;
    if (o->ctx_max == 0 && n_tokens < e->ctx_max) {
        e->ctx_max = n_tokens; /* a longer sequence could never run */
    }
    e->memory = (sl_engine_memory){
        .file_bytes = sl_gguf_file_bytes(e->model->file),
        .packed_bytes = m.packed_bytes,
        .page_bytes = m.page_bytes,
        .kv_bytes = m.page_bytes * n_pages,
        .step_bytes = m.step_bytes,
        .n_pages = (uint32_t)n_pages,
        .kv_groups = e->memory.kv_groups,
    };
    return SL_OK;
}

/* What does not fit is refused before it is begun: the system would hand out the address space all
 * the same and end the process once it is used. */
static sl_status engine_check_memory(const sl_engine *e, sl_error *err) {
    const sl_engine_memory *m = &e->memory;
    uint64_t available = sl_memory_available_bytes(), need;
    if (!sl_add_u64(m->packed_bytes + m->step_bytes, m->kv_bytes, &need) || need > available) {
        bool pages_help = m->packed_bytes + m->step_bytes < available;
        return SL_FAIL(err, SL_ERR_MEMORY,
                       "%s needs %" PRIu64 " MB of packed weights, %" PRIu64
                       " MB of step buffers and %" PRIu64 " MB of KV pages, but %" PRIu64
                       " MB of memory are free; %s",
                       sl_gguf_path(e->model->file), m->packed_bytes >> 20, m->step_bytes >> 20,
                       m->kv_bytes >> 20, available >> 20,
                       pages_help ? "a smaller --kv-memory or --ctx helps"
                                  : "a smaller model, or one in fewer bits, is needed");
    }
    return SL_OK;
}

static sl_status engine_open_device(const sl_model *model, const sl_engine_options *options,
                                    sl_engine *e, sl_error *err) {
    SL_TRY(engine_resolve(model, options, e, err));
    SL_TRY(
        sl_cpu_device_create(options->n_threads, options->pin, options->topology, &e->device, err));
    return engine_size_pool(e, options, err);
}

static void engine_release(void *user, const uint8_t *data, size_t n) {
    const sl_engine *e = user;
    sl_gguf_release(e->model->file, data, n);
}

/* Without a file that has an identity there is nothing to keep packed weights for. */
static void engine_use_cache(sl_engine *e, const sl_packed_cache *cache) {
    sl_gguf_identity id;
    sl_error err;
    if (cache->dir == NULL || sl_gguf_identify(e->model->file, &id, &err) != SL_OK) {
        return;
    }
    e->options.cache = *cache;
    e->options.source.content[0] = id.content[0];
    e->options.source.content[1] = id.content[1];
    e->options.source.stamp = id.stamp;
}

sl_status sl_engine_create(const sl_model *model, const sl_engine_options *options, sl_engine **out,
                           sl_error *err) {
    sl_engine *e = sl_alloc_zero(1, sizeof(*e));
    if (e == NULL) {
        return SL_FAIL(err, SL_ERR_MEMORY, "no memory for the engine");
    }
    sl_status status = engine_open_device(model, options, e, err);
    if (status == SL_OK) {
        status = engine_check_memory(e, err);
    }
    if (status == SL_OK) {
        engine_use_cache(e, &options->cache);
        e->options.release = engine_release;
        e->options.release_user = e;
        status = e->device->ops->compile(e->device, &model->plan, &e->options, &e->program, err);
    }
    if (status != SL_OK) {
        sl_engine_free(e);
        return status;
    }
    *out = e;
    return SL_OK;
}

void sl_engine_free(sl_engine *e) {
    if (e == NULL) {
        return;
    }
    if (e->device != NULL) {
        e->device->ops->program_free(e->program);
        e->device->ops->free(e->device);
    }
    sl_free(e);
}

sl_status sl_engine_estimate(const sl_model *model, const sl_engine_options *options,
                             sl_engine_memory *out, sl_error *err) {
    sl_engine e = {0};
    sl_status status = engine_open_device(model, options, &e, err);
    if (status == SL_OK) {
        *out = e.memory;
    }
    if (e.device != NULL) {
        e.device->ops->free(e.device);
    }
    return status;
}

/* While weights are still being packed, a change of their file would mix two versions of it. Once
 * the last is packed, what was packed is kept. */
static sl_status engine_check_weights(sl_engine *e, sl_error *err) {
    const sl_device_ops *ops = e->device->ops;
    if (e->is_ready) {
        return SL_OK;
    }
    SL_TRY(sl_gguf_check_unchanged(e->model->file, err));
    if (ops->ready_bytes(e->program) < e->memory.packed_bytes) {
        return SL_OK;
    }
    e->is_ready = true;
    sl_gguf_identity id;
    sl_error ignored;
    if (e->options.cache.dir != NULL && sl_gguf_identify(e->model->file, &id, &ignored) == SL_OK &&
        (e->options.source.stamp == 0 || id.stamp == e->options.source.stamp)) {
        ops->store(e->program, e->options.source.stamp);
    }
    return SL_OK;
}

sl_status sl_engine_prepare(sl_engine *e, sl_error *err) {
    const sl_device_ops *ops = e->device->ops;
    if (e->is_ready) {
        return ops->settle(e->program) ? SL_OK : SL_AGAIN;
    }
    (void)ops->prepare(e->program);
    SL_TRY(engine_check_weights(e, err));
    return SL_AGAIN;
}

bool sl_engine_wants_all(const sl_engine *e) {
    return e->device->ops->wants_all(e->program);
}

uint64_t sl_engine_ready_bytes(const sl_engine *e) {
    return e->device->ops->ready_bytes(e->program);
}

/* rows_left: those of the step that no run before covered. */
static sl_status run_check(const sl_engine *e, const sl_step_run *run, uint32_t row_next,
                           uint32_t rows_left, sl_error *err) {
    uint64_t end = (uint64_t)run->pos0 + run->n_rows;
    if (run->n_rows == 0 || run->n_rows > rows_left || run->row_begin != row_next ||
        run->n_logits > run->n_rows || end > e->ctx_max) {
        return SL_FAIL(err, SL_ERR_ARGUMENT,
                       "step: a run of %" PRIu32 " rows at row %" PRIu32 ", position %" PRIu32
                       " with %" PRIu32 " logits does not fit (context %" PRIu32 ")",
                       run->n_rows, run->row_begin, run->pos0, run->n_logits, e->ctx_max);
    }
    if (run->n_known < end ||
        (e->model->plan.is_encoder && (run->pos0 != 0 || run->n_known != run->n_rows))) {
        return SL_FAIL(err, SL_ERR_ARGUMENT,
                       "step: a run of %" PRIu32 " rows at position %" PRIu32 " of %" PRIu32
                       " known tokens%s",
                       run->n_rows, run->pos0, run->n_known,
                       e->model->plan.is_encoder ? "; an encoder takes a sequence in one run" : "");
    }
    const sl_kv_groups *groups = &e->memory.kv_groups;
    for (uint32_t g = 0; g < groups->n; g++) {
        for (uint64_t i = sl_kv_groups_first(groups, g, run->pos0); i < sl_page_count(end); i++) {
            if ((uint32_t)run->tables[g][i] >= e->options.n_pages) {
                return SL_FAIL(err, SL_ERR_ARGUMENT,
                               "step: page %d of a block table does not exist",
                               (int)run->tables[g][i]);
            }
        }
    }
    return SL_OK;
}

/* Rows of logits of which more than the largest are wanted. */
static sl_status step_check_tops(const sl_engine *e, const sl_step *step, uint32_t *n_whole,
                                 sl_error *err) {
    *n_whole = step->n_logits;
    for (uint32_t i = 0; i < step->n_logits && step->tops != NULL; i++) {
        uint32_t n = step->tops[i].top.n_wanted;
        if (n > SL_TOP_MAX || (n > 0 && e->model->plan.is_encoder)) {
            return SL_FAIL(err, SL_ERR_ARGUMENT,
                           "step: the %" PRIu32 " largest logits of a row are wanted; at most %d "
                           "are found, and none of an encoder",
                           n, SL_TOP_MAX);
        }
        *n_whole -= n > 0;
    }
    return SL_OK;
}

static sl_status step_check(const sl_engine *e, const sl_step *step, sl_logits_fn fn,
                            sl_error *err) {
    uint32_t rows = 0, logits = 0, n_whole;
    if (step->n_rows == 0 || step->n_rows > e->options.rows_max ||
        step->n_runs > e->options.runs_max) {
        return SL_FAIL(err, SL_ERR_ARGUMENT,
                       "step: %" PRIu32 " rows in %" PRIu32 " runs; 1 to %" PRIu32
                       " rows in at most %" PRIu32 " runs are allowed",
                       step->n_rows, step->n_runs, e->options.rows_max, e->options.runs_max);
    }
    for (uint32_t i = 0; i < step->n_runs; i++) {
        SL_TRY(run_check(e, &step->runs[i], rows, step->n_rows - rows, err));
        rows += step->runs[i].n_rows;
        logits += step->runs[i].n_logits;
    }
    if (rows != step->n_rows || logits != step->n_logits) {
        return SL_FAIL(err, SL_ERR_ARGUMENT, "step: its runs do not add up to its rows or logits");
    }
    SL_TRY(step_check_tops(e, step, &n_whole, err));
    if (n_whole > 0 && fn == NULL) {
        return SL_FAIL(err, SL_ERR_ARGUMENT, "step: nobody takes its logits");
    }
    for (uint32_t i = 0; i < step->n_rows; i++) {
        if ((uint32_t)step->ids[i] >= e->model->plan.n_vocab) {
            return SL_FAIL(err, SL_ERR_ARGUMENT,
                           "token id %d is outside the vocabulary of %" PRIu32 " tokens",
                           (int)step->ids[i], e->model->plan.n_vocab);
        }
    }
    return SL_OK;
}

typedef struct logits_guard {
    sl_engine *engine;
    sl_logits_fn fn;
    void *user;
} logits_guard;

/* Nobody may sample from logits that came from pages of a file that is gone, or another one now. */
static sl_status logits_guarded(void *user, uint32_t first, uint32_t n, float *logits,
                                size_t stride, sl_error *err) {
    const logits_guard *g = user;
    SL_TRY(engine_check_weights(g->engine, err));
    SL_TRY(sl_gguf_check_alive(g->engine->model->file, err));
    return g->fn(g->user, first, n, logits, stride, err);
}

sl_status sl_engine_step(sl_engine *e, const sl_step *step, sl_logits_fn fn, void *user,
                         sl_error *err) {
    SL_TRY(step_check(e, step, fn, err));
    const bool was_ready = e->is_ready;
    logits_guard guard = {.engine = e, .fn = fn, .user = user};
    SL_TRY(e->device->ops->run(e->program, step, logits_guarded, &guard, err));
    SL_TRY(engine_check_weights(e, err));
    if (was_ready) { /* the first answer does not wait for it */
        (void)e->device->ops->settle(e->program);
    }
    return sl_gguf_check_alive(e->model->file, err);
}

void sl_engine_copy_page(sl_engine *e, int32_t from, int32_t to) {
    e->device->ops->copy_page(e->program, from, to);
}

sl_pool *sl_engine_pool(sl_engine *e) {
    return sl_cpu_device_pool(e->device);
}

const sl_kernels *sl_engine_kernels(const sl_engine *e) {
    return sl_cpu_device_kernels(e->device);
}

const sl_plan *sl_engine_plan(const sl_engine *e) {
    return &e->model->plan;
}

uint32_t sl_engine_n_pages(const sl_engine *e) {
    return e->options.n_pages;
}

uint64_t sl_engine_seq_pages(const sl_engine *e, uint64_t n_tokens) {
    return sl_kv_groups_pages(&e->memory.kv_groups, n_tokens);
}

const sl_kv_groups *sl_engine_kv_groups(const sl_engine *e) {
    return &e->memory.kv_groups;
}

uint32_t sl_engine_ctx_max(const sl_engine *e) {
    return e->ctx_max;
}

uint32_t sl_engine_rows_max(const sl_engine *e) {
    return e->options.rows_max;
}

uint32_t sl_engine_runs_max(const sl_engine *e) {
    return e->options.runs_max;
}

bool sl_engine_exact(const sl_engine *e) {
    return e->options.exact;
}

sl_kv_type sl_engine_kv_type(const sl_engine *e) {
    return e->options.kv_type;
}

void sl_engine_memory_now(const sl_engine *e, sl_engine_memory *out) {
    *out = e->memory;
}
