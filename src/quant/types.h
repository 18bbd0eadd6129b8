/* Number formats of weights, as GGUF numbers them, and their block geometry. */
#ifndef SL_QUANT_TYPES_H
#define SL_QUANT_TYPES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Values are GGUF's own (ggml_type); gaps are types that were withdrawn from the format. */
typedef enum sl_type {
    SL_TYPE_F32 = 0,
    SL_TYPE_F16 = 1,
    SL_TYPE_Q4_0 = 2,
    SL_TYPE_Q4_1 = 3,
    SL_TYPE_Q5_0 = 6,
    SL_TYPE_Q5_1 = 7,
    SL_TYPE_Q8_0 = 8,
    SL_TYPE_Q8_1 = 9,
    SL_TYPE_Q2_K = 10,
    SL_TYPE_Q3_K = 11,
    SL_TYPE_Q4_K = 12,
    SL_TYPE_Q5_K = 13,
    SL_TYPE_Q6_K = 14,
    SL_TYPE_Q8_K = 15,
    SL_TYPE_IQ2_XXS = 16,
    SL_TYPE_IQ2_XS = 17,
    SL_TYPE_IQ3_XXS = 18,
    SL_TYPE_IQ1_S = 19,
    SL_TYPE_IQ4_NL = 20,
    SL_TYPE_IQ3_S = 21,
    SL_TYPE_IQ2_S = 22,
    SL_TYPE_IQ4_XS = 23,
    SL_TYPE_I8 = 24,
    SL_TYPE_I16 = 25,
    SL_TYPE_I32 = 26,
    SL_TYPE_I64 = 27,
    SL_TYPE_F64 = 28,
    SL_TYPE_IQ1_M = 29,
    SL_TYPE_BF16 = 30,
    SL_TYPE_TQ1_0 = 34,
    SL_TYPE_TQ2_0 = 35,
    SL_TYPE_MXFP4 = 39,
    SL_TYPE_NVFP4 = 40,
    SL_TYPE_Q1_0 = 41,
    SL_TYPE_Q2_0 = 42,
    SL_TYPE_COUNT = 64 /* upper bound of the numbers, for tables */
} sl_type;

typedef struct sl_type_info {
    const char *name;     /* "Q4_1"; NULL if the number names no type */
    uint32_t block_elems; /* elements in one block along a row (1 for plain types) */
    uint32_t block_bytes; /* bytes of one block */
    bool decodes;         /* sl_type_decode_row knows it */
} sl_type_info;

/* Never NULL; `name` is NULL for an unknown number. */
const sl_type_info *sl_type_info_of(uint32_t type);

/* Bytes of a row of n elements; false if n is no multiple of the block or the result overflows. */
bool sl_type_row_bytes(sl_type type, uint64_t n, uint64_t *out);

/* Decodes n elements (a multiple of block_elems) to float32: the truth of all kernels.
 * src need not be aligned. Only for types whose info says `decodes`. */
void sl_type_decode_row(sl_type type, const void *src, float *dst, size_t n);

/* To IEEE half and bfloat16: round to nearest even, NaN kept. The way back is in half.h. */
uint16_t sl_f32_to_f16(float f);
uint16_t sl_f32_to_bf16(float f);

#endif
