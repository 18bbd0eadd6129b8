/* Private to src/kernels/ref: what attention in plain C asks of a page (kernels/kv_type.h). */
#ifndef SL_KERNELS_REF_KV_REF_H
#define SL_KERNELS_REF_KV_REF_H

#include "kernels/kernels.h"

/* A query row as attention multiplies it: floats, or with INT8 and INT4 rotated and rounded. */
typedef struct kv_query_ref {
    const float *q;
    int8_t *codes; /* [d_k], room given by the caller */
    float scale;   /* of the codes, over the order of the rotation */
} kv_query_ref;

/* Fills codes and scale where the type needs them. */
void sl_kv_query_ref(sl_kv_type type, uint32_t d_k, kv_query_ref *query);
/* The query's product with the key in a slot of a K block. */
float sl_kv_product_ref(sl_kv_type type, const kv_query_ref *query, const uint8_t *k_block,
                        uint32_t d_k, uint32_t slot);
/* Element j of the value in a slot of a V block. */
float sl_kv_value_ref(sl_kv_type type, const uint8_t *v_block, uint32_t d_v, uint32_t slot,
                      uint32_t j);
void sl_kv_store_fill_ref(sl_kernels *k);

#endif
