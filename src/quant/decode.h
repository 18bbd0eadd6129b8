/* Private to src/quant: the scalar decoder of each block format. Each takes n elements (a multiple
 * of the block's) from src (any alignment, apart from dst) to float32; the file that defines one
 * draws its layout. A sl_group reader takes the block and the number of
 * a 32-group in it, and sets q, scale and what of the other fields its format has (group.h). */
#ifndef SL_QUANT_DECODE_H
#define SL_QUANT_DECODE_H

#include <stddef.h>
#include <stdint.h>

#include "quant/group.h"

typedef void (*sl_decode_fn)(const uint8_t *src, float *dst, size_t n);

/* decode_plain.c */
void sl_decode_f32(const uint8_t *src, float *dst, size_t n);
void sl_decode_f16(const uint8_t *src, float *dst, size_t n);
void sl_decode_bf16(const uint8_t *src, float *dst, size_t n);
/* decode_q32.c: blocks of 32 */
void sl_decode_q4_0(const uint8_t *src, float *dst, size_t n);
void sl_decode_q4_1(const uint8_t *src, float *dst, size_t n);
void sl_decode_q5_0(const uint8_t *src, float *dst, size_t n);
void sl_decode_q5_1(const uint8_t *src, float *dst, size_t n);
void sl_decode_q8_0(const uint8_t *src, float *dst, size_t n);
void sl_decode_q8_1(const uint8_t *src, float *dst, size_t n);
/* decode_qk.c: super-blocks of 256 */
void sl_decode_q2_k(const uint8_t *src, float *dst, size_t n);
void sl_decode_q3_k(const uint8_t *src, float *dst, size_t n);
void sl_decode_q4_k(const uint8_t *src, float *dst, size_t n);
void sl_decode_q5_k(const uint8_t *src, float *dst, size_t n);
void sl_decode_q6_k(const uint8_t *src, float *dst, size_t n);
void sl_decode_q8_k(const uint8_t *src, float *dst, size_t n);
/* decode_iq.c: points of a grid */
void sl_decode_iq1_s(const uint8_t *src, float *dst, size_t n);
void sl_decode_iq1_m(const uint8_t *src, float *dst, size_t n);
void sl_decode_iq2_xxs(const uint8_t *src, float *dst, size_t n);
void sl_decode_iq2_xs(const uint8_t *src, float *dst, size_t n);
void sl_decode_iq2_s(const uint8_t *src, float *dst, size_t n);
void sl_decode_iq3_xxs(const uint8_t *src, float *dst, size_t n);
void sl_decode_iq3_s(const uint8_t *src, float *dst, size_t n);
void sl_group_iq1_s(const uint8_t *super, uint32_t g, sl_group *out);
void sl_group_iq1_m(const uint8_t *super, uint32_t g, sl_group *out);
void sl_group_iq2_xxs(const uint8_t *super, uint32_t g, sl_group *out);
void sl_group_iq2_xs(const uint8_t *super, uint32_t g, sl_group *out);
void sl_group_iq2_s(const uint8_t *super, uint32_t g, sl_group *out);
void sl_group_iq3_xxs(const uint8_t *super, uint32_t g, sl_group *out);
void sl_group_iq3_s(const uint8_t *super, uint32_t g, sl_group *out);
/* decode_levels.c: 16 uneven levels */
void sl_decode_iq4_nl(const uint8_t *src, float *dst, size_t n);
void sl_decode_iq4_xs(const uint8_t *src, float *dst, size_t n);
void sl_decode_mxfp4(const uint8_t *src, float *dst, size_t n);
void sl_decode_nvfp4(const uint8_t *src, float *dst, size_t n);
extern const int8_t sl_levels_iq4[16], sl_levels_e2m1[16];
/* decode_few.c: two to four levels */
void sl_decode_tq1_0(const uint8_t *src, float *dst, size_t n);
void sl_decode_tq2_0(const uint8_t *src, float *dst, size_t n);
void sl_decode_q1_0(const uint8_t *src, float *dst, size_t n);
void sl_decode_q2_0(const uint8_t *src, float *dst, size_t n);

#endif
