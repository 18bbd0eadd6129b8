/* Making and ending a runner: options, tables, the engine thread. See runner.h. */
#include "runner/runner.h"

#include <errno.h>
#include <inttypes.h>
#include <sys/random.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/error.h"
#include "base/thread.h"
#include "runner/runner_int.h"

#define SLOTS_DEFAULT 512u
#define QUEUE_DEFAULT 256u
#define QUEUE_POOLS_DEFAULT 4u /* tokens that may wait, in fillings of the page pool */

static sl_status runner_resolve(sl_runner *r, const sl_runner_options *options, sl_error *err) {
    sl_runner_options *o = &r->options;
    *o = *options;
    o->n_slots = o->n_slots != 0 ? o->n_slots : SLOTS_DEFAULT;
    o->n_owners = o->n_owners != 0 ? o->n_owners : 1;
    o->queue_max = o->queue_max != 0 ? o->queue_max : QUEUE_DEFAULT;
    if (o->queue_tokens_max == 0) {
        /* As many tokens as sequences of full length have in the pool. */
        const uint32_t ctx_max = sl_engine_ctx_max(r->engine);
        o->queue_tokens_max = (uint64_t)sl_engine_n_pages(r->engine) * ctx_max /
                              sl_engine_seq_pages(r->engine, ctx_max) * QUEUE_POOLS_DEFAULT;
    }
    if (o->n_slots > RUNNER_SLOTS_MAX || o->n_owners > RUNNER_OWNERS_MAX) {
        return SL_FAIL(err, SL_ERR_ARGUMENT,
                       "%" PRIu32 " request slots for %" PRIu32 " owners; at most %u and %u",
                       o->n_slots, o->n_owners, RUNNER_SLOTS_MAX, RUNNER_OWNERS_MAX);
    }
    r->n_vocab = sl_engine_plan(r->engine)->n_vocab;
    r->n_words = (o->n_slots + 63) / 64;
    return SL_OK;
}

static sl_status runner_make_slots(sl_runner *r, sl_error *err) {
    const sl_runner_options *o = &r->options;
    r->slots = sl_alloc_zero(o->n_slots, sizeof(*r->slots));
    r->active = sl_alloc_zero(o->n_slots, sizeof(*r->active));
    r->owners = sl_alloc_aligned(o->n_owners * sizeof(*r->owners), _Alignof(runner_owner));
    r->news = sl_alloc_zero((size_t)o->n_owners * r->n_words, sizeof(*r->news));
    if (r->slots == NULL || r->active == NULL || r->owners == NULL || r->news == NULL) {
        return SL_FAIL(err, SL_ERR_MEMORY, "no memory for %" PRIu32 " request slots", o->n_slots);
    }
    for (uint32_t i = 0; i < o->n_slots; i++) {
        atomic_init(&r->slots[i].tag, (uint64_t)1 << 32);
        r->slots[i].next_free = i + 1; /* n_slots ends the list */
    }
    for (uint32_t i = 0; i < o->n_owners; i++) {
        r->owners[i].news = r->news + (size_t)i * r->n_words;
        sl_wake_init(&r->owners[i].wake);
    }
    sl_wake_init(&r->wake);
    uint32_t capacity = 2; /* every slot fits, so a push cannot find the ring full */
    while (capacity < o->n_slots) {
        capacity *= 2;
    }
    return sl_mpsc_create(capacity, &r->submitted, err);
}

static sl_status runner_make_sched(sl_runner *r, sl_error *err) {
    const uint32_t rows_max = sl_engine_rows_max(r->engine);
    const uint32_t runs_max = sl_engine_runs_max(r->engine);
    uint64_t seed; /* without one, somebody could choose tokens that collide */
    if (getrandom(&seed, sizeof(seed), 0) != (ssize_t)sizeof(seed)) {
        return SL_FAIL(err, SL_ERR_IO, "the system gave no random number (%s)",
                       sl_errno_text(errno));
    }
    const sl_kv_options kv_options = {.n_pages = sl_engine_n_pages(r->engine),
                                      .seed = seed,
                                      .n_seqs_max = sl_sched_running_max(rows_max, runs_max),
                                      .n_tokens_max = sl_engine_ctx_max(r->engine),
                                      .groups = *sl_engine_kv_groups(r->engine),
                                      .nodes = *sl_pool_nodes(sl_engine_pool(r->engine))};
    SL_TRY(sl_kv_create(&kv_options, &r->kv, err));
    /* submit bounds the queue before the ring, so the scheduler's own bound is as wide as the
     * table. */
    sl_sched_options sched_options = r->options.sched;
    sched_options.n_slots = sched_options.queue_max = r->options.n_slots;
    sched_options.rows_max = rows_max;
    sched_options.runs_max = runs_max;
    sched_options.ctx_max = sl_engine_ctx_max(r->engine);
    sched_options.ctx_switch = sl_engine_plan(r->engine)->ctx_switch;
    sched_options.queue_tokens_max = UINT64_MAX;
    SL_TRY(sl_sched_create(&sched_options, r->kv, &r->sched, err));
    if (r->options.cost != NULL) {
        sl_runner_set_cost(r, r->options.cost);
        r->options.cost = NULL; /* the caller's */
    }
    return SL_OK;
}

static sl_status runner_make_sampling(sl_runner *r, const sl_runner_options *options,
                                      sl_error *err) {
    const uint32_t runs_max = sl_engine_runs_max(r->engine);
    r->n_workers = sl_pool_n_threads(sl_engine_pool(r->engine));
    r->samplers = sl_alloc_zero(r->n_workers, sizeof(sl_sampler *));
    r->rows = sl_alloc_zero(runs_max, sizeof(*r->rows));
    r->tops = sl_alloc_zero(runs_max, sizeof(*r->tops));
    r->sample_rows = sl_alloc_zero(runs_max, sizeof(*r->sample_rows));
    r->sampled = sl_alloc_zero(runs_max, sizeof(*r->sampled));
    r->eog_bits = sl_alloc_zero(r->n_vocab / 64 + 1, sizeof(*r->eog_bits));
    if (r->samplers == NULL || r->rows == NULL || r->tops == NULL || r->sample_rows == NULL ||
        r->sampled == NULL || r->eog_bits == NULL) {
        return SL_FAIL(err, SL_ERR_MEMORY, "no memory for sampling %" PRIu32 " rows", runs_max);
    }
    for (uint32_t i = 0; i < r->n_workers; i++) {
        SL_TRY(sl_sampler_create(sl_engine_kernels(r->engine), r->n_vocab, &r->samplers[i], err));
    }
    for (size_t i = 0; i < options->n_eog_ids; i++) {
        const int32_t id = options->eog_ids[i];
        if (id >= 0 && (uint32_t)id < r->n_vocab) {
            r->eog_bits[id / 64] |= (uint64_t)1 << (id % 64);
        }
    }
    r->options.eog_ids = NULL;
    r->options.n_eog_ids = 0;
    return SL_OK;
}

static sl_status runner_start_thread(sl_runner *r, sl_error *err) {
    const int code = sl_thread_start(&r->thread, sl_runner_loop, r);
    if (code != 0) {
        return SL_FAIL(err, SL_ERR_MEMORY, "the system refused to start the engine thread (%s)",
                       sl_errno_text(code));
    }
    r->has_thread = true;
    return SL_OK;
}

sl_status sl_runner_create(sl_engine *engine, const sl_runner_options *options, sl_runner **out,
                           sl_error *err) {
    if (sl_engine_plan(engine)->is_encoder) {
        return SL_FAIL(err, SL_ERR_UNSUPPORTED, "%s is an encoder, which has no next token",
                       sl_engine_plan(engine)->arch);
    }
    sl_runner *r = sl_alloc_aligned(sizeof(*r), _Alignof(sl_runner));
    if (r == NULL) {
        return SL_FAIL(err, SL_ERR_MEMORY, "no memory for the runner");
    }
    r->engine = engine;
    (void)pthread_mutex_init(&r->slots_lock, NULL); /* default attributes: cannot fail on Linux */
    RUNNER_GAUGE(r->stats.pages_total, sl_engine_n_pages(engine));
    sl_status status;
    SL_TRY_GOTO(status, runner_resolve(r, options, err), fail);
    SL_TRY_GOTO(status, runner_make_slots(r, err), fail);
    SL_TRY_GOTO(status, runner_make_sched(r, err), fail);
    SL_TRY_GOTO(status, runner_make_sampling(r, options, err), fail);
    SL_TRY_GOTO(status, runner_start_thread(r, err), fail);
    *out = r;
    return SL_OK;
fail:
    sl_runner_free(r);
    return status;
}

void sl_runner_free(sl_runner *r) {
    if (r == NULL) {
        return;
    }
    if (r->has_thread) {
        atomic_store_explicit(&r->stop, true, memory_order_release);
        sl_wake_signal(&r->wake);
        (void)pthread_join(r->thread, NULL);
    }
    for (uint32_t i = 0; r->samplers != NULL && i < r->n_workers; i++) {
        sl_sampler_free(r->samplers[i]);
    }
    sl_sched_free(r->sched);
    sl_kv_free(r->kv);
    sl_mpsc_free(r->submitted);
    sl_free(r->samplers);
    sl_free(r->rows);
    sl_free(r->tops);
    sl_free(r->sample_rows);
    sl_free(r->sampled);
    sl_free(r->eog_bits);
    sl_free(r->slots);
    sl_free(r->active);
    sl_free_aligned(r->owners);
    sl_free(r->news);
    (void)pthread_mutex_destroy(&r->slots_lock);
    sl_free_aligned(r);
}
