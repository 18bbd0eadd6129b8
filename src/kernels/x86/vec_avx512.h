/* The vector words of the x86 templates (*.inc.h), 512 bits wide. vec_avx2.h has the same ones. */
#ifndef SL_KERNELS_X86_VEC_AVX512_H
#define SL_KERNELS_X86_VEC_AVX512_H

#include <immintrin.h>
#include <stdint.h>
#include <string.h>

#include "kernels/x86/vec_common.h"

typedef __m512 vf;
typedef __m512i vi;
enum { VL = 16 }; /* float lanes */

/* clang-format off: a list of words, one a line */
INLINE vf vf_zero(void) {
    return _mm512_setzero_ps();
}
INLINE vf vf_set1(float x) {
    return _mm512_set1_ps(x);
}
INLINE vf vf_load(const float *p) {
    return _mm512_loadu_ps(p);
}
INLINE void vf_store(float *p, vf x) {
    _mm512_storeu_ps(p, x);
}
INLINE vf vf_add(vf a, vf b) {
    return _mm512_add_ps(a, b);
}
INLINE vf vf_sub(vf a, vf b) {
    return _mm512_sub_ps(a, b);
}
INLINE vf vf_mul(vf a, vf b) {
    return _mm512_mul_ps(a, b);
}
INLINE vf vf_div(vf a, vf b) {
    return _mm512_div_ps(a, b);
}
/* b where either is NaN, as the instruction does. */
INLINE vf vf_max(vf a, vf b) {
    return _mm512_max_ps(a, b);
}
INLINE vf vf_min(vf a, vf b) {
    return _mm512_min_ps(a, b);
}
INLINE vf vf_fma(vf a, vf b, vf c) {
    return _mm512_fmadd_ps(a, b, c);
}
INLINE vf vf_fnma(vf a, vf b, vf c) {
    return _mm512_fnmadd_ps(a, b, c);
} /* c - a b */
INLINE vf vf_round(vf x) {
    return _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
INLINE vf vf_of_int(vi x) {
    return _mm512_cvtepi32_ps(x);
}
INLINE vi vi_of_vf(vf x) {
    return _mm512_cvtps_epi32(x);
} /* round to nearest even */
/* x * 2^n for integral n; saturates to infinity and rounds into subnormals. */
INLINE vf vf_scale2(vf x, vf n) {
    return _mm512_scalef_ps(x, n);
}

INLINE vf vf_load_half(const uint16_t *p) {
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(const void *)p));
}
INLINE void vf_store_half(uint16_t *p, vf x) {
    _mm256_storeu_si256((__m256i *)(void *)p, _mm512_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT));
}
INLINE vf vf_load_bfloat(const uint16_t *p) {
    const __m256i h = _mm256_loadu_si256((const __m256i *)(const void *)p);
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(h), 16));
}
/* To the nearest, ties to even; NaN stays NaN. */
INLINE void vf_store_bfloat(uint16_t *p, vf x) {
    const vi bits = _mm512_castps_si512(x), high = _mm512_srli_epi32(bits, 16);
    const vi odd = _mm512_and_si512(high, _mm512_set1_epi32(1));
    const vi up = _mm512_add_epi32(_mm512_add_epi32(bits, _mm512_set1_epi32(0x7fff)), odd);
    const vi quiet = _mm512_or_si512(high, _mm512_set1_epi32(0x40));
    const vi rounded = _mm512_mask_blend_epi32(_mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q),
                                               _mm512_srli_epi32(up, 16), quiet);
    _mm256_storeu_si256((__m256i *)(void *)p, _mm512_cvtepi32_epi16(rounded));
}
/* VL bytes as integers. */
INLINE vi vi_load_u8(const uint8_t *p) {
    return _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)(const void *)p));
}
INLINE vi vi_load_i8(const uint8_t *p) {
    return _mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)(const void *)p));
}

/* The first n (0..VL) lanes; the others read as zero, or stay as they are in memory. */
INLINE vf vf_load_part(const float *p, uint32_t n) {
    return _mm512_maskz_loadu_ps((__mmask16)((1u << n) - 1), p);
}
INLINE void vf_store_part(float *p, vf x, uint32_t n) {
    _mm512_mask_storeu_ps(p, (__mmask16)((1u << n) - 1), x);
}
INLINE vf vf_load_half_part(const uint16_t *p, uint32_t n) {
    return _mm512_cvtph_ps(_mm256_maskz_loadu_epi16((__mmask16)((1u << n) - 1), p));
}
INLINE vf vf_load_bfloat_part(const uint16_t *p, uint32_t n) {
    const __m256i h = _mm256_maskz_loadu_epi16((__mmask16)((1u << n) - 1), p);
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(h), 16));
}
/* a in lanes below n, b in the others. */
INLINE vf vf_select_below(uint32_t n, vf a, vf b) {
    return _mm512_mask_blend_ps((__mmask16)((1u << n) - 1), b, a);
}
/* Always in the same tree, so that a sum depends on its lanes only. */
INLINE float vf_sum(vf x) {
    const __m256 a = _mm256_add_ps(_mm512_castps512_ps256(x), _mm512_extractf32x8_ps(x, 1));
    return vec_sum_256(a);
}
/* NaN in a lane may be lost: for scores, whose NaN shows up again in the exponential. */
INLINE float vf_max_lanes(vf x) {
    const __m256 a = _mm256_max_ps(_mm512_castps512_ps256(x), _mm512_extractf32x8_ps(x, 1));
    return vec_max_256(a);
}

INLINE vi vi_zero(void) {
    return _mm512_setzero_si512();
}
INLINE vi vi_load(const void *p) {
    return _mm512_loadu_si512(p);
}
INLINE void vi_store(void *p, vi x) {
    _mm512_storeu_si512(p, x);
}
/* The 16 bytes at p in each 128-bit part. */
INLINE vi vi_load_16_bytes(const void *p) {
    return _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)p));
}
/* Byte `code` (0..15) of the 16 of a table that vi_load_16_bytes loaded. */
INLINE vi vi_lookup(vi table, vi code) {
    return _mm512_shuffle_epi8(table, code);
}
INLINE vi vi_set1(int32_t x) {
    return _mm512_set1_epi32(x);
}
INLINE vi vi_set1_8(int x) {
    return _mm512_set1_epi8((char)x);
}
INLINE vi vi_set1_16(int x) {
    return _mm512_set1_epi16((short)x);
}
INLINE vi vi_and(vi a, vi b) {
    return _mm512_and_si512(a, b);
}
INLINE vi vi_xor(vi a, vi b) {
    return _mm512_xor_si512(a, b);
}
/* (a & mask) | b */
INLINE vi vi_and_or(vi a, vi mask, vi b) {
    return _mm512_ternarylogic_epi32(a, mask, b, 0xEA);
}
INLINE vi vi_add(vi a, vi b) {
    return _mm512_add_epi32(a, b);
}
INLINE vi vi_sub(vi a, vi b) {
    return _mm512_sub_epi32(a, b);
}
INLINE vi vi_add16(vi a, vi b) {
    return _mm512_add_epi16(a, b);
}
INLINE vi vi_sub8(vi a, vi b) {
    return _mm512_sub_epi8(a, b);
}
INLINE vi vi_shl(vi a, unsigned n) {
    return _mm512_slli_epi32(a, n);
}
INLINE vi vi_shr(vi a, unsigned n) {
    return _mm512_srli_epi32(a, n);
}
INLINE vi vi_sra(vi a, unsigned n) {
    return _mm512_srai_epi32(a, n);
}
/* x itself, computed before what follows: compilers that gather many products before they add them
 * run out of registers. */
INLINE vi vi_settled(vi x) {
    __asm__("" : "+v"(x));
    return x;
}
INLINE vi vi_abs8(vi a) {
    return _mm512_abs_epi8(a);
}
INLINE vi vi_sign8(vi a, vi s) { /* -a where s < 0 */
    return _mm512_mask_sub_epi8(a, _mm512_movepi8_mask(s), _mm512_setzero_si512(), a);
}
INLINE vi vi_madd(vi a, vi b) {
    return _mm512_madd_epi16(a, b);
}
INLINE vi vi_maddubs(vi u, vi s) {
    return _mm512_maddubs_epi16(u, s);
}
#if defined(__AVX512VNNI__)
INLINE vi vi_dpbusd(vi acc, vi u, vi s) {
    return _mm512_dpbusd_epi32(acc, u, s);
}
INLINE vi vi_dpwssd(vi acc, vi a, vi b) {
    return _mm512_dpwssd_epi32(acc, a, b);
}
#endif
INLINE int32_t vi_sum(vi x) {
    return _mm512_reduce_add_epi32(x);
}
INLINE uint32_t vi_max_u32(vi x) {
    return _mm512_reduce_max_epu32(x);
}
INLINE vi vi_max_epu32(vi a, vi b) {
    return _mm512_max_epu32(a, b);
}
/* 2 VL bytes as 16-bit integers. */
INLINE vi vi_load_i8_16(const uint8_t *p) {
    return _mm512_cvtepi8_epi16(_mm256_loadu_si256((const __m256i *)(const void *)p));
}
/* VL integers of 16 bits. */
INLINE void vi_store_i16(int16_t *p, vi x) {
    _mm256_storeu_si256((__m256i *)(void *)p, _mm512_cvtepi32_epi16(x));
}
/* VL integers in [-128, 127] as bytes. */
INLINE void vi_store_i8(int8_t *p, vi x) {
    _mm_storeu_si128((__m128i *)(void *)p, _mm512_cvtepi32_epi8(x));
}
INLINE vf vf_of_bits(vi x) {
    return _mm512_castsi512_ps(x);
}
INLINE vi vi_bits(vf x) {
    return _mm512_castps_si512(x);
}
#if defined(__AVX512BF16__)
/* 2 VL bfloat16, those of low first: nearest, ties to even, subnormals to zero. */
INLINE vi vi_bfloats(vf low, vf high) {
    return (__m512i)_mm512_cvtne2ps_pbh(high, low);
}
/* Lanes of two bfloat16, low in the lower half: nearest, ties to even, subnormals to zero. */
INLINE vi vi_bfloat_pairs(vf low, vf high) {
    const __m512i both = (__m512i)_mm512_cvtne2ps_pbh(high, low);
    const __m512i lane = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    /* word 2 i from word i, word 2 i + 1 from word 16 + i */
    const __m512i from = _mm512_or_si512(_mm512_slli_epi32(lane, 16), lane);
    return _mm512_permutexvar_epi16(_mm512_add_epi32(from, _mm512_set1_epi32(16 << 16)), both);
}
#endif

/* One bit per lane. */
INLINE uint32_t vf_mask_nan(vf x) {
    return _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q);
}
INLINE uint32_t vf_mask_eq(vf a, vf b) {
    return _mm512_cmp_ps_mask(a, b, _CMP_EQ_OQ);
}
INLINE uint32_t vf_mask_not_below(vf a, vf b) {
    return _mm512_cmp_ps_mask(a, b, _CMP_NLT_UQ);
}

/* (x0, x1), (x2, x3) ... are pairs, cs the matching (cos, sin): the rotated pairs. */
INLINE vf vf_rotate_pairs(vf x, vf cs) {
    const vf cross = _mm512_mul_ps(_mm512_permute_ps(x, 0xB1), _mm512_movehdup_ps(cs));
    return _mm512_fmaddsub_ps(x, _mm512_moveldup_ps(cs), cross);
}
/* Of each two lanes that are h apart (1, 2, 4 or 8; h a constant) the sum in the lower one and the
 * difference in the upper one. */
INLINE vf vf_sum_difference(vf x, uint32_t h) {
    const vf y = h == 1   ? _mm512_permute_ps(x, 0xB1)
                 : h == 2 ? _mm512_permute_ps(x, 0x4E)
                 : h == 4 ? _mm512_shuffle_f32x4(x, x, 0xB1)
                          : _mm512_shuffle_f32x4(x, x, 0x4E);
    const __mmask16 upper = h == 1 ? 0xAAAA : h == 2 ? 0xCCCC : h == 4 ? 0xF0F0 : 0xFF00;
    return _mm512_mask_sub_ps(_mm512_add_ps(x, y), upper, y, x);
}
/* Elements at even and odd places of the 2 VL floats at p. */
INLINE void vf_load_split(const float *p, vf *even, vf *odd) {
    const vf a = vf_load(p), b = vf_load(p + VL);
    const __m512i e = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    *even = _mm512_permutex2var_ps(a, e, b);
    *odd = _mm512_permutex2var_ps(a, _mm512_add_epi32(e, _mm512_set1_epi32(1)), b);
}

/* Sums in double. */
typedef struct vd {
    __m512d low, high;
} vd;
INLINE vd vd_zero(void) {
    return (vd){_mm512_setzero_pd(), _mm512_setzero_pd()};
}
INLINE vd vd_add_squares(vd s, vf x) {
    const __m512d a = _mm512_cvtps_pd(_mm512_castps512_ps256(x));
    const __m512d b = _mm512_cvtps_pd(_mm512_extractf32x8_ps(x, 1));
    return (vd){_mm512_fmadd_pd(a, a, s.low), _mm512_fmadd_pd(b, b, s.high)};
}
INLINE vd vd_add(vd s, vf x) {
    const __m512d a = _mm512_cvtps_pd(_mm512_castps512_ps256(x));
    const __m512d b = _mm512_cvtps_pd(_mm512_extractf32x8_ps(x, 1));
    return (vd){_mm512_add_pd(a, s.low), _mm512_add_pd(b, s.high)};
}
INLINE double vd_sum(vd s) {
    return _mm512_reduce_add_pd(_mm512_add_pd(s.low, s.high));
}

/* VL x VL floats, rows become columns. */
INLINE void vf_transpose(vf r[VL]) {
    vf t[VL];
    UNROLL(4)
    for (int i = 0; i < 4; i++) { /* 4 x 4 within the 128-bit parts of four rows */
        const vf a = _mm512_unpacklo_ps(r[4 * i], r[4 * i + 1]);
        const vf b = _mm512_unpackhi_ps(r[4 * i], r[4 * i + 1]);
        const vf c = _mm512_unpacklo_ps(r[4 * i + 2], r[4 * i + 3]);
        const vf d = _mm512_unpackhi_ps(r[4 * i + 2], r[4 * i + 3]);
        t[4 * i] = _mm512_shuffle_ps(a, c, 0x44);
        t[4 * i + 1] = _mm512_shuffle_ps(a, c, 0xEE);
        t[4 * i + 2] = _mm512_shuffle_ps(b, d, 0x44);
        t[4 * i + 3] = _mm512_shuffle_ps(b, d, 0xEE);
    }
    UNROLL(4)
    for (int j = 0; j < 4; j++) { /* then the parts themselves */
        const vf a = _mm512_shuffle_f32x4(t[j], t[4 + j], 0x88);
        const vf b = _mm512_shuffle_f32x4(t[8 + j], t[12 + j], 0x88);
        const vf c = _mm512_shuffle_f32x4(t[j], t[4 + j], 0xDD);
        const vf d = _mm512_shuffle_f32x4(t[8 + j], t[12 + j], 0xDD);
        r[j] = _mm512_shuffle_f32x4(a, b, 0x88);
        r[4 + j] = _mm512_shuffle_f32x4(c, d, 0x88);
        r[8 + j] = _mm512_shuffle_f32x4(a, b, 0xDD);
        r[12 + j] = _mm512_shuffle_f32x4(c, d, 0xDD);
    }
}

/* clang-format on */

#endif
