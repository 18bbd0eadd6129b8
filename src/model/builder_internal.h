/* What the parts of the builder share: growing arrays, names, binding of weights. */
#ifndef SL_MODEL_BUILDER_INTERNAL_H
#define SL_MODEL_BUILDER_INTERNAL_H

#include "model/builder.h"

#define SL_BUILD_NAME_MAX 160

/* Returns array with room for one more element, or NULL with b->status set. */
void *sl_builder_grow(sl_builder *b, void *array, uint32_t n, uint32_t *cap, size_t elem_size);
/* Memory in the plan's arena, zeroed, or NULL with b->status set. */
void *sl_builder_alloc(sl_builder *b, size_t n, size_t elem_size);

/* The shape that a weight must have: n_mats matrices of n_all rows, of which rows [first, first +
 * n_out) are bound. */
typedef struct sl_build_shape {
    uint32_t n_in, n_all, first, n_out, n_mats;
} sl_build_shape;
/* The tensor of that name in the present layer, NULL if absent. */
const sl_gguf_tensor *sl_builder_tensor(const sl_builder *b, const char *weight);
/* Index of the weight in the plan, bound once; -1 with b->status set. */
int32_t sl_builder_bind(sl_builder *b, const char *weight, sl_build_shape shape);
/* Index of a vector of n_mats x n elements, decoded to F32 where it is stored otherwise, of which
 * elements [first, first + n_out) are bound (n_mats == 1 or all of them); -1 with b->status set. */
int32_t sl_builder_bind_vector(sl_builder *b, const char *weight, sl_build_shape shape);
/* Row `row` of a matrix of n_in columns as a vector. */
int32_t sl_builder_bind_row(sl_builder *b, const char *weight, uint32_t row, uint32_t n_in);
/* "attn_q.weight" -> "attn_q.bias". */
void sl_builder_bias_name(const char *weight, char out[SL_BUILD_NAME_MAX]);
/* The bias beside a weight if the file has one, else -1. */
int32_t sl_builder_bind_bias(sl_builder *b, const char *weight, sl_build_shape shape);

sl_value_id sl_builder_value(sl_builder *b, const char *name, uint32_t width, uint32_t n_choices);
uint32_t sl_builder_width(const sl_builder *b, sl_value_id v);
void sl_builder_op(sl_builder *b, sl_plan_op op);

/* build_kv.c: gives each attention its group and slot. */
void sl_builder_cut_groups(sl_builder *b);
/* build_keys.c: refuses what changes an answer and was not asked for. */
SL_NODISCARD sl_status sl_builder_check_keys(const sl_builder *b);

#endif
