/* Private to src/kernels: each level overwrites the table entries that it does better, and what all
 * levels of an entry must agree on. */
#ifndef SL_KERNELS_LEVELS_H
#define SL_KERNELS_LEVELS_H

#include "kernels/kernels.h"

void sl_kernels_fill_ref(sl_kernels *k);
void sl_kernels_fill_avx2(sl_kernels *k);
void sl_kernels_fill_avxvnni(sl_kernels *k);
void sl_kernels_fill_avx512(sl_kernels *k);
void sl_kernels_fill_avx512vnni(sl_kernels *k);
void sl_kernels_fill_avx512bf16(sl_kernels *k);
void sl_kernels_fill_amx(sl_kernels *k);

/* The parts of each level, one per file. */
void sl_product_fill_ref(sl_kernels *k);
void sl_attend_fill_ref(sl_kernels *k);
void sl_rows_fill_ref(sl_kernels *k);
void sl_act_fill_ref(sl_kernels *k);
void sl_product_fill_avx2(sl_kernels *k);
void sl_mul_f32_fill_avx2(sl_kernels *k);
void sl_product_plain_fill_avx2(sl_kernels *k);
void sl_attend_fill_avx2(sl_kernels *k);
void sl_attend_fill_avxvnni(sl_kernels *k);
void sl_rows_fill_avx2(sl_kernels *k);
void sl_product_fill_avxvnni(sl_kernels *k);
void sl_product_fill_avx512(sl_kernels *k);
void sl_mul_f32_fill_avx512(sl_kernels *k);
void sl_product_plain_fill_avx512(sl_kernels *k);
void sl_attend_fill_avx512(sl_kernels *k);
void sl_attend_fill_avx512vnni(sl_kernels *k);
void sl_rows_fill_avx512(sl_kernels *k);
void sl_product_fill_avx512vnni(sl_kernels *k);
void sl_product_bf16_fill_avx512bf16(sl_kernels *k);
void sl_product_amx_fill_amx(sl_kernels *k);
void sl_attend_amx_fill_amx(sl_kernels *k);
void sl_peak_fill_avx2(sl_kernels *k);
void sl_peak_fill_avxvnni(sl_kernels *k);
void sl_peak_fill_avx512(sl_kernels *k);
void sl_peak_fill_avx512vnni(sl_kernels *k);

/* A group whose largest magnitude is below this quantises to zeros: 127 / amax would overflow, and
 * nothing that small can matter in a float32 sum. */
#define SL_QUANTIZE_AMAX_MIN 0x1p-120f

/* Attention works on chunks of query rows so that its scratch is bounded: rows per chunk. */
static inline uint32_t sl_attend_chunk_rows(uint32_t n_rows, uint32_t n_group) {
    const uint32_t rows = n_group >= 64 ? 1 : 64 / n_group;
    return n_rows < rows ? n_rows : rows;
}
/* Those of attention on tiles, which decodes keys and values once for each chunk. */
static inline uint32_t sl_attend_amx_chunk_rows(uint32_t n_rows, uint32_t n_group) {
    const uint32_t rows = n_group >= 256 ? 1 : 256 / n_group;
    return n_rows < rows ? n_rows : rows;
}
/* Floats of scratch for a query row: d_k scaled floats, or codes of up to two bytes with what
 * belongs to them (x86/attend_codes.inc.h). */
static inline size_t sl_attend_query_floats(uint32_t d_k) {
    return ((size_t)d_k + 31) / 32 * 32;
}
/* mul_f32 decodes this many columns at a time, a multiple of every block: a panel of 16 KB. Its
 * scratch holds the sums of as many rows. */
#define SL_MUL_F32_COLUMNS 256
#define SL_MUL_F32_ROWS 256
/* The AMX products decode this many columns of two panels at a time, a multiple of every block: 256
 * KB. */
#define SL_PRODUCT_AMX_COLUMNS 4096
#define SL_ATTEND_TILE_MAX 8 /* (row, head) pairs whose scores are held at once, at most */

#endif
