/* What this machine allows the products and the attention of a model, and how near they come to it:
 * the roofline of Williams, Waterman and Patterson (CACM 52/4, 2009). A product must read its
 * weights and multiply them, attention likewise keys and values; they can be no faster than the
 * memory and the multiply-adds of all threads permit. */
#ifndef SL_MEASURE_ROOFLINE_H
#define SL_MEASURE_ROOFLINE_H

#include <sluice/status.h>

#include "base/pool.h"
#include "kernels/kernels.h"
#include "plan/plan.h"

/* Of all threads together. The rates are 0 where the level has no loop for them (ref). */
typedef struct sl_roofline_limits {
    double read_gbps;                        /* reading memory, 10^9 bytes per second */
    double int8_gops, scaled_gops, f32_gops; /* scaled: int8 of formats with scales */
    double bf16_gops;
} sl_roofline_limits;

/* What a product multiplies, as the engine does it for rows that are not many. */
typedef enum sl_roofline_form {
    SL_ROOFLINE_F32,   /* floats with weights as the file has them */
    SL_ROOFLINE_PLAIN, /* floats with packed weights */
    SL_ROOFLINE_INT8,
    SL_ROOFLINE_BF16,
} sl_roofline_form;

/* Products of one type and shape of a plan. */
typedef struct sl_roofline_shape {
    const sl_plan_weight *weight; /* the first of them */
    uint32_t n_weights;           /* matrices of this type and shape, each expert by itself */
    uint64_t bytes;               /* of all of them, as the file has them */
    sl_roofline_form form;
} sl_roofline_shape;
#define SL_ROOFLINE_SHAPES_MAX 64 /* further ones are left out */

typedef struct sl_roofline_rate {
    double gbps, gops; /* of weights as they lie in memory; of multiplies and adds */
    /* Of the speed that the nearer limit allows, 0..1 and a little more where weights stay in a
     * cache; 0 if the limit is not known. */
    double share;
    bool is_memory_bound; /* reading is the nearer limit */
} sl_roofline_rate;

SL_NODISCARD sl_status sl_roofline_measure(sl_pool *pool, const sl_kernels *k,
                                           sl_roofline_limits *out, sl_error *err);

/* The distinct products with whole matrices, those with the most bytes first; returns how many.
 * exact: all in float32. */
uint32_t sl_roofline_shapes(const sl_plan *plan, const sl_kernels *k, bool exact,
                            sl_roofline_shape out[SL_ROOFLINE_SHAPES_MAX]);

/* Outputs of one call are bounded: SL_ERR_LIMIT for more than this many floats. */
#define SL_ROOFLINE_OUT_MAX (1u << 24)
/* The product with n_rows rows of activations (at least 1). */
SL_NODISCARD sl_status sl_roofline_product(sl_pool *pool, const sl_kernels *k,
                                           const sl_roofline_limits *limits,
                                           const sl_roofline_shape *shape, uint32_t n_rows,
                                           sl_roofline_rate *out, sl_error *err);

/* Attention of one shape in a plan. */
typedef struct sl_roofline_heads {
    uint32_t n_head, n_kv_head, d_k, d_v, window; /* window 0: none */
    uint32_t n_layers;                            /* that have it */
} sl_roofline_heads;
#define SL_ROOFLINE_HEADS_MAX 16

/* The distinct ones, those of the most layers first; returns how many. */
uint32_t sl_roofline_heads_of(const sl_plan *plan, sl_roofline_heads out[SL_ROOFLINE_HEADS_MAX]);

/* Keys and values of one call are bounded: SL_ERR_LIMIT beyond so many bytes. */
#define SL_ROOFLINE_KV_MAX ((size_t)1 << 30)
/* Attention of n_seqs sequences that hold n_tokens each, for their last n_rows (1 to n_tokens).
 * gbps: of keys and values, read once for all rows; gops: against those of float32, whatever the
 * kind of pages. */
SL_NODISCARD sl_status sl_roofline_attend(sl_pool *pool, const sl_kernels *k,
                                          const sl_roofline_limits *limits,
                                          const sl_roofline_heads *heads, sl_kv_type type,
                                          uint32_t n_seqs, uint32_t n_rows, uint32_t n_tokens,
                                          sl_roofline_rate *out, sl_error *err);

#endif
