/* A step -> rows of logits. Owns the device, its compute pool, packed weights, step buffers and the
 * page store; everything is allocated at creation, a step allocates nothing. Used by one thread
 * only (the engine thread), which is worker 0 of the pool.
 */
#ifndef SL_ENGINE_ENGINE_H
#define SL_ENGINE_ENGINE_H

#include <stdbool.h>
#include <stdint.h>

#include <sluice/status.h>

#include "base/pool.h"
#include "device/device.h"
#include "kernels/kernels.h"
#include "kv/kv_groups.h"
#include "model/model.h"
#include "plan/step.h"

typedef struct sl_engine_options {
    uint32_t n_threads; /* 0: physical cores within affinity and quota */
    bool pin;
    const sl_topology *topology; /* NULL: this machine's; only looked at by create */
    bool exact;                  /* float32 activations and KV, weights only decoded */
    bool batch_invariant;        /* a row's result depends on nothing but its sequence (device.h) */
    sl_kv_type kv_type;          /* ignored with exact (F32) */
    /* The whole page pool; 0: the smaller of 25 % of available memory and 32 x ctx_max. */
    uint64_t kv_bytes;
    uint32_t ctx_max;  /* longest sequence; 0: the smallest of the model's, 8192 and the pool */
    uint32_t rows_max; /* rows of one step; 0: 512 */
    uint32_t runs_max; /* sequences of one step; 0: 256 */
    /* The folder where packed weights are kept for the next start, and its size; NULL: none. */
    sl_packed_cache cache;
} sl_engine_options;

typedef struct sl_engine sl_engine;

/* Memory by kind, before anything is allocated (estimate) or as it is. */
typedef struct sl_engine_memory {
    uint64_t file_bytes;   /* mapped weights, shared with the page cache */
    uint64_t packed_bytes; /* weights in the kernels' layout */
    uint64_t page_bytes;   /* one KV page, of any layer group */
    uint64_t kv_bytes;     /* the page pool */
    uint64_t step_bytes;   /* step buffers and logits */
    uint32_t n_pages;
    sl_kv_groups kv_groups; /* what takes them: sl_kv_groups_pages */
} sl_engine_memory;

SL_NODISCARD sl_status sl_engine_create(const sl_model *model, const sl_engine_options *options,
                                        sl_engine **out, sl_error *err);
void sl_engine_free(sl_engine *e);
SL_NODISCARD sl_status sl_engine_estimate(const sl_model *model, const sl_engine_options *options,
                                          sl_engine_memory *out, sl_error *err);

/* Weights are packed, or found in the cache, when a step first needs them. This does a part of it,
 * some milliseconds' worth, between steps, and moves what was found in the cache to faster memory:
 * SL_AGAIN while something is left to do. Steps go on as before.
 * SL_ERR_IO if the model's file changed meanwhile. Allocates nothing. */
SL_NODISCARD sl_status sl_engine_prepare(sl_engine *e, sl_error *err);
/* True if the cache lacks this model's packed weights until all are ready. */
bool sl_engine_wants_all(const sl_engine *e);
/* How much of the packed weights is ready; any thread. */
uint64_t sl_engine_ready_bytes(const sl_engine *e);

/* Runs one pass. fn gets the rows of logits that are wanted whole, in the order of the step, and
 * may be NULL when there are none; the others are in step->tops when the step has succeeded.
 * Errors: SL_ERR_ARGUMENT for a step that breaks its rules (too many rows, id or page out of
 * range), SL_ERR_IO when the weights' file failed underneath (then the engine is of no further
 * use). */
SL_NODISCARD sl_status sl_engine_step(sl_engine *e, const sl_step *step, sl_logits_fn fn,
                                      void *user, sl_error *err);

/* Copies the keys and values of one page to another. Both must exist. */
void sl_engine_copy_page(sl_engine *e, int32_t from, int32_t to);

sl_pool *sl_engine_pool(sl_engine *e); /* for parallel work between passes (sampling) */
const sl_kernels *sl_engine_kernels(const sl_engine *e);
const sl_plan *sl_engine_plan(const sl_engine *e);
/* Pages are numbered 0 .. n_pages - 1, one number space for all layer groups. */
uint32_t sl_engine_n_pages(const sl_engine *e);
/* Pages that one sequence of n_tokens takes, over all groups. */
uint64_t sl_engine_seq_pages(const sl_engine *e, uint64_t n_tokens);
const sl_kv_groups *sl_engine_kv_groups(const sl_engine *e);
uint32_t sl_engine_ctx_max(const sl_engine *e);
uint32_t sl_engine_rows_max(const sl_engine *e);
uint32_t sl_engine_runs_max(const sl_engine *e);
bool sl_engine_exact(const sl_engine *e);
sl_kv_type sl_engine_kv_type(const sl_engine *e);
void sl_engine_memory_now(const sl_engine *e, sl_engine_memory *out);

#endif
