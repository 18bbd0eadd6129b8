/* What this machine allows the products of a model, and how near they come to it: the roofline of
 * Williams, Waterman and Patterson (CACM 52/4, 2009). A product must read its weights and multiply
 * them; it can be no faster than the memory and the multiply-adds of all threads permit. */
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
} sl_roofline_limits;

/* Products of one type and shape of a plan. */
typedef struct sl_roofline_shape {
    const sl_plan_weight *weight; /* the first of them */
    uint32_t n_weights;           /* matrices of this type and shape, each expert by itself */
    uint64_t bytes;               /* of all of them, as the file has them */
    bool is_int8;                 /* rounds activations to int8; else float32 */
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

#endif
