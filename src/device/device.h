/* What every kind of device offers: it compiles a plan into a program of its own and runs that
 * whole program on a step. No virtual call per operation. A device and its programs belong to one
 * thread.
 */
#ifndef SL_DEVICE_DEVICE_H
#define SL_DEVICE_DEVICE_H

#include <stdbool.h>
#include <stdint.h>

#include <sluice/status.h>

#include "base/pool.h"
#include "device/packed_cache.h"
#include "kernels/kernels.h"
#include "plan/plan.h"
#include "plan/step.h"

#define SL_LOGITS_BLOCK 64 /* full rows of logits held at a time */

/* Called with consecutive blocks of at most SL_LOGITS_BLOCK logits rows, on the calling thread
 * while the device is idle: rows [first, first + n) of the step's whole logits rows, row first + i
 * at logits + i * stride, n_vocab floats each. The rows may be overwritten. A status other than
 * SL_OK ends the step with it. */
typedef sl_status (*sl_logits_fn)(void *user, uint32_t first, uint32_t n, float *logits,
                                  size_t stride, sl_error *err);

typedef struct sl_program_options {
    bool exact; /* float32 activations, weights only decoded */
    /* Forbids products on tiles (level amx): steps of few rows do without them, and compute
     * slightly other numbers, so a row's result would depend on how many rows a step has. */
    bool batch_invariant;
    sl_kv_type kv_type;          /* taken as it is, also with exact */
    uint32_t rows_max, runs_max; /* of one step */
    uint32_t ctx_max;            /* tokens of the longest sequence */
    uint32_t n_pages;            /* in the page store */
    /* Where packed weights are kept from one start to the next, and what tells the model's files
     * from others. */
    sl_packed_cache cache;
    struct {
        uint64_t content[2]; /* of copies of a model it is the same, of other models hardly ever */
        uint64_t stamp;      /* changes with every change of the files; 0: unknown */
    } source;
    /* Called for a weight's data in the file once they are packed; NULL: nobody wants to know. Any
     * worker. */
    void (*release)(void *user, const uint8_t *data, size_t n);
    void *release_user;
} sl_program_options;

/* Bytes that a program needs, by kind. */
typedef struct sl_program_memory {
    uint64_t packed_bytes; /* weights in the device's own layout */
    uint64_t page_bytes;   /* one KV page, of whatever layer group */
    uint64_t kv_bytes;     /* the page store */
    uint64_t step_bytes;   /* values, rounded activations, scratch, logits */
} sl_program_memory;

typedef struct sl_device sl_device;
typedef struct sl_program sl_program;

typedef struct sl_device_ops {
    const char *name; /* "cpu" */
    void (*free)(sl_device *d);
    /* What compile would take; reads no weight and reserves nothing large. */
    sl_status (*estimate)(sl_device *d, const sl_plan *plan, const sl_program_options *options,
                          sl_program_memory *out, sl_error *err);
    /* The plan must outlive the program. Weights are packed, or found in the cache, later: by the
     * first step that needs them, or by prepare. */
    sl_status (*compile)(sl_device *d, const sl_plan *plan, const sl_program_options *options,
                         sl_program **out, sl_error *err);
    /* Makes some more weights ready, between steps; true once all are. Allocates nothing. */
    bool (*prepare)(sl_program *p);
    /* Once all are ready, between steps: moves some of what was mapped from the cache to faster
     * memory; true if there is nothing to move, for now. Allocates nothing. */
    bool (*settle)(sl_program *p);
    /* How much of packed_bytes is ready; any thread. */
    uint64_t (*ready_bytes)(const sl_program *p);
    /* The cache has nothing of this model yet, and waits until all weights are ready. */
    bool (*wants_all)(const sl_program *p);
    /* All weights are ready, of files that have this stamp: the cache is brought up to date, by a
     * thread of its own. */
    void (*store)(sl_program *p, uint64_t stamp);
    void (*program_free)(sl_program *p);
    /* One pass over a step whose fields were checked by the engine. Allocates nothing. */
    sl_status (*run)(sl_program *p, const sl_step *step, sl_logits_fn fn, void *user,
                     sl_error *err);
    /* Copies what page `from` holds to page `to`. */
    void (*copy_page)(sl_program *p, int32_t from, int32_t to);
} sl_device_ops;

/* Every kind of device begins with this. */
struct sl_device {
    const sl_device_ops *ops;
};

#endif
