/* The vector words of the x86 templates (*.inc.h), 256 bits wide. vec_avx512.h has the same
 * ones. */
#ifndef SL_KERNELS_X86_VEC_AVX2_H
#define SL_KERNELS_X86_VEC_AVX2_H

#include <immintrin.h>
#include <stdint.h>
#include <string.h>

#include "kernels/x86/vec_common.h"

typedef __m256 vf;
typedef __m256i vi;
enum { VL = 8 }; /* float lanes */

/* clang-format off: a list of words, one a line */
INLINE vf vf_zero(void) {
    return _mm256_setzero_ps();
}
INLINE vf vf_set1(float x) {
    return _mm256_set1_ps(x);
}
INLINE vf vf_load(const float *p) {
    return _mm256_loadu_ps(p);
}
INLINE void vf_store(float *p, vf x) {
    _mm256_storeu_ps(p, x);
}
INLINE vf vf_add(vf a, vf b) {
    return _mm256_add_ps(a, b);
}
INLINE vf vf_sub(vf a, vf b) {
    return _mm256_sub_ps(a, b);
}
INLINE vf vf_mul(vf a, vf b) {
    return _mm256_mul_ps(a, b);
}
INLINE vf vf_div(vf a, vf b) {
    return _mm256_div_ps(a, b);
}
/* b where either is NaN, as the instruction does. */
INLINE vf vf_max(vf a, vf b) {
    return _mm256_max_ps(a, b);
}
INLINE vf vf_min(vf a, vf b) {
    return _mm256_min_ps(a, b);
}
INLINE vf vf_fma(vf a, vf b, vf c) {
    return _mm256_fmadd_ps(a, b, c);
}
INLINE vf vf_fnma(vf a, vf b, vf c) {
    return _mm256_fnmadd_ps(a, b, c);
} /* c - a b */
INLINE vf vf_round(vf x) {
    return _mm256_round_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
INLINE vf vf_of_int(vi x) {
    return _mm256_cvtepi32_ps(x);
}
INLINE vi vi_of_vf(vf x) {
    return _mm256_cvtps_epi32(x);
} /* round to nearest even */
/* x * 2^n for integral n in [-252, 254], in two factors so that neither overflows. */
INLINE vf vf_scale2(vf x, vf n) {
    const __m256i whole = _mm256_cvtps_epi32(n);
    const __m256i a = _mm256_srai_epi32(whole, 1);
    const __m256i b = _mm256_sub_epi32(whole, a);
    const __m256i bias = _mm256_set1_epi32(127);
    x = _mm256_mul_ps(x, _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(a, bias), 23)));
    return _mm256_mul_ps(x, _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(b, bias), 23)));
}

INLINE vf vf_load_half(const uint16_t *p) {
    return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)p));
}
INLINE void vf_store_half(uint16_t *p, vf x) {
    _mm_storeu_si128((__m128i *)(void *)p, _mm256_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT));
}
INLINE vf vf_load_bfloat(const uint16_t *p) {
    const __m128i h = _mm_loadu_si128((const __m128i *)(const void *)p);
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(h), 16));
}
/* To the nearest, ties to even; NaN stays NaN. */
INLINE void vf_store_bfloat(uint16_t *p, vf x) {
    const __m256i bits = _mm256_castps_si256(x), high = _mm256_srli_epi32(bits, 16);
    const __m256i odd = _mm256_and_si256(high, _mm256_set1_epi32(1));
    const __m256i up = _mm256_add_epi32(_mm256_add_epi32(bits, _mm256_set1_epi32(0x7fff)), odd);
    const __m256i quiet = _mm256_or_si256(high, _mm256_set1_epi32(0x40));
    const __m256i nan = _mm256_castps_si256(_mm256_cmp_ps(x, x, _CMP_UNORD_Q));
    const __m256i rounded = _mm256_blendv_epi8(_mm256_srli_epi32(up, 16), quiet, nan);
    _mm_storeu_si128((__m128i *)(void *)p, _mm_packus_epi32(_mm256_castsi256_si128(rounded),
                                                            _mm256_extracti128_si256(rounded, 1)));
}
/* VL bytes as integers. */
INLINE vi vi_load_u8(const uint8_t *p) {
    return _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)p));
}
INLINE vi vi_load_i8(const uint8_t *p) {
    return _mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)p));
}

INLINE __m256i vec_mask_below(uint32_t n) {
    return _mm256_cmpgt_epi32(_mm256_set1_epi32((int)n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
/* The first n (0..VL) lanes; the others read as zero, or stay as they are in memory. */
INLINE vf vf_load_part(const float *p, uint32_t n) {
    return _mm256_maskload_ps(p, vec_mask_below(n));
}
INLINE void vf_store_part(float *p, vf x, uint32_t n) {
    _mm256_maskstore_ps(p, vec_mask_below(n), x);
}
INLINE vf vf_load_half_part(const uint16_t *p, uint32_t n) {
    uint16_t part[8] = {0};
    memcpy(part, p, (size_t)n * 2);
    return vf_load_half(part);
}
INLINE vf vf_load_bfloat_part(const uint16_t *p, uint32_t n) {
    uint16_t part[8] = {0};
    memcpy(part, p, (size_t)n * 2);
    return vf_load_bfloat(part);
}
/* a in lanes below n, b in the others. */
INLINE vf vf_select_below(uint32_t n, vf a, vf b) {
    return _mm256_blendv_ps(b, a, _mm256_castsi256_ps(vec_mask_below(n)));
}
/* Always in the same tree, so that a sum depends on its lanes only. */
INLINE float vf_sum(vf x) {
    return vec_sum_256(x);
}
/* NaN in a lane may be lost: for scores, whose NaN shows up again in the exponential. */
INLINE float vf_max_lanes(vf x) {
    return vec_max_256(x);
}

INLINE vi vi_zero(void) {
    return _mm256_setzero_si256();
}
INLINE vi vi_load(const void *p) {
    return _mm256_loadu_si256((const __m256i *)p);
}
INLINE void vi_store(void *p, vi x) {
    _mm256_storeu_si256((__m256i *)p, x);
}
/* The 16 bytes at p in each 128-bit part. */
INLINE vi vi_load_16_bytes(const void *p) {
    return _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)p));
}
/* Byte `code` (0..15) of the 16 of a table that vi_load_16_bytes loaded. */
INLINE vi vi_lookup(vi table, vi code) {
    return _mm256_shuffle_epi8(table, code);
}
INLINE vi vi_set1(int32_t x) {
    return _mm256_set1_epi32(x);
}
INLINE vi vi_set1_8(int x) {
    return _mm256_set1_epi8((char)x);
}
INLINE vi vi_set1_16(int x) {
    return _mm256_set1_epi16((short)x);
}
INLINE vi vi_and(vi a, vi b) {
    return _mm256_and_si256(a, b);
}
INLINE vi vi_xor(vi a, vi b) {
    return _mm256_xor_si256(a, b);
}
/* (a & mask) | b */
INLINE vi vi_and_or(vi a, vi mask, vi b) {
    return _mm256_or_si256(_mm256_and_si256(a, mask), b);
}
INLINE vi vi_add(vi a, vi b) {
    return _mm256_add_epi32(a, b);
}
INLINE vi vi_sub(vi a, vi b) {
    return _mm256_sub_epi32(a, b);
}
INLINE vi vi_add16(vi a, vi b) {
    return _mm256_add_epi16(a, b);
}
INLINE vi vi_sub8(vi a, vi b) {
    return _mm256_sub_epi8(a, b);
}
INLINE vi vi_shl(vi a, unsigned n) {
    return _mm256_slli_epi32(a, (int)n);
}
INLINE vi vi_shr(vi a, unsigned n) {
    return _mm256_srli_epi32(a, (int)n);
}
INLINE vi vi_sra(vi a, unsigned n) {
    return _mm256_srai_epi32(a, (int)n);
}
/* x itself, computed before what follows: compilers that gather many products before they add them
 * run out of registers. */
INLINE vi vi_settled(vi x) {
    __asm__("" : "+x"(x));
    return x;
}
INLINE vi vi_abs8(vi a) {
    return _mm256_abs_epi8(a);
}
/* -a where s < 0, 0 where s = 0 */
INLINE vi vi_sign8(vi a, vi s) {
    return _mm256_sign_epi8(a, s);
}
INLINE vi vi_madd(vi a, vi b) {
    return _mm256_madd_epi16(a, b);
}
INLINE vi vi_maddubs(vi u, vi s) {
    return _mm256_maddubs_epi16(u, s);
}
#if defined(__AVXVNNI__)
INLINE vi vi_dpbusd(vi acc, vi u, vi s) {
    return _mm256_dpbusd_avx_epi32(acc, u, s);
}
INLINE vi vi_dpwssd(vi acc, vi a, vi b) {
    return _mm256_dpwssd_avx_epi32(acc, a, b);
}
#endif
INLINE int32_t vi_sum(vi x) {
    __m128i a = _mm_add_epi32(_mm256_castsi256_si128(x), _mm256_extracti128_si256(x, 1));
    a = _mm_add_epi32(a, _mm_shuffle_epi32(a, 0x4E));
    a = _mm_add_epi32(a, _mm_shuffle_epi32(a, 0xB1));
    return _mm_cvtsi128_si32(a);
}
INLINE uint32_t vi_max_u32(vi x) {
    __m128i a = _mm_max_epu32(_mm256_castsi256_si128(x), _mm256_extracti128_si256(x, 1));
    a = _mm_max_epu32(a, _mm_shuffle_epi32(a, 0x4E));
    a = _mm_max_epu32(a, _mm_shuffle_epi32(a, 0xB1));
    return (uint32_t)_mm_cvtsi128_si32(a);
}
INLINE vi vi_max_epu32(vi a, vi b) {
    return _mm256_max_epu32(a, b);
}
/* 2 VL bytes as 16-bit integers. */
INLINE vi vi_load_i8_16(const uint8_t *p) {
    return _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)(const void *)p));
}
/* VL integers of 16 bits. */
INLINE void vi_store_i16(int16_t *p, vi x) {
    _mm_storeu_si128((__m128i *)(void *)p,
                     _mm_packs_epi32(_mm256_castsi256_si128(x), _mm256_extracti128_si256(x, 1)));
}
/* VL integers in [-128, 127] as bytes. */
INLINE void vi_store_i8(int8_t *p, vi x) {
    const __m128i words = _mm_packs_epi32(_mm256_castsi256_si128(x),
                                          _mm256_extracti128_si256(x, 1));
    _mm_storel_epi64((__m128i *)(void *)p, _mm_packs_epi16(words, words));
}
INLINE vf vf_of_bits(vi x) {
    return _mm256_castsi256_ps(x);
}
INLINE vi vi_bits(vf x) {
    return _mm256_castps_si256(x);
}
/* Lanes of a bfloat16 in the upper half, of what else is in the lower. */
INLINE vi vi_bfloat_upper(vf x) {
    const vi bits = vi_bits(x), exponent = _mm256_and_si256(bits, vi_set1(0x7f800000));
    const vi odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), vi_set1(1));
    const vi nearest = vi_add(vi_add(bits, vi_set1(0x7fff)), odd);
    const vi quiet = _mm256_or_si256(bits, vi_set1(0x400000));
    const vi nan = _mm256_castps_si256(_mm256_cmp_ps(x, x, _CMP_UNORD_Q));
    const vi tiny = _mm256_cmpeq_epi32(exponent, vi_zero());
    const vi sign = _mm256_and_si256(bits, vi_set1(INT32_MIN));
    return _mm256_blendv_epi8(_mm256_blendv_epi8(nearest, quiet, nan), sign, tiny);
}
/* 2 VL bfloat16, those of low first: nearest, ties to even, subnormals to zero. */
INLINE vi vi_bfloats(vf low, vf high) {
    const vi both = _mm256_packus_epi32(_mm256_srli_epi32(vi_bfloat_upper(low), 16),
                                        _mm256_srli_epi32(vi_bfloat_upper(high), 16));
    return _mm256_permute4x64_epi64(both, 0xD8);
}
/* Lanes of two bfloat16, low in the lower half: nearest, ties to even, subnormals to zero. */
INLINE vi vi_bfloat_pairs(vf low, vf high) {
    return _mm256_blend_epi16(_mm256_srli_epi32(vi_bfloat_upper(low), 16), vi_bfloat_upper(high),
                              0xAA);
}

/* One bit per lane. */
INLINE uint32_t vf_mask_nan(vf x) {
    return (uint32_t)_mm256_movemask_ps(_mm256_cmp_ps(x, x, _CMP_UNORD_Q));
}
INLINE uint32_t vf_mask_eq(vf a, vf b) {
    return (uint32_t)_mm256_movemask_ps(_mm256_cmp_ps(a, b, _CMP_EQ_OQ));
}
INLINE uint32_t vf_mask_not_below(vf a, vf b) {
    return (uint32_t)_mm256_movemask_ps(_mm256_cmp_ps(a, b, _CMP_NLT_UQ));
}

/* (x0, x1), (x2, x3) ... are pairs, cs the matching (cos, sin): the rotated pairs. */
INLINE vf vf_rotate_pairs(vf x, vf cs) {
    const vf cross = _mm256_mul_ps(_mm256_permute_ps(x, 0xB1), _mm256_movehdup_ps(cs));
    return _mm256_fmaddsub_ps(x, _mm256_moveldup_ps(cs), cross);
}
/* Of each two lanes that are h apart (1, 2 or 4; h a constant) the sum in the lower one and the
 * difference in the upper one. */
INLINE vf vf_sum_difference(vf x, uint32_t h) {
    const vf y = h == 1   ? _mm256_permute_ps(x, 0xB1)
                 : h == 2 ? _mm256_permute_ps(x, 0x4E)
                          : _mm256_permute2f128_ps(x, x, 0x01);
    const vf sum = _mm256_add_ps(x, y), difference = _mm256_sub_ps(y, x);
    return h == 1   ? _mm256_blend_ps(sum, difference, 0xAA)
           : h == 2 ? _mm256_blend_ps(sum, difference, 0xCC)
                    : _mm256_blend_ps(sum, difference, 0xF0);
}
/* Elements at even and odd places of the 2 VL floats at p. */
INLINE void vf_load_split(const float *p, vf *even, vf *odd) {
    const vf a = vf_load(p), b = vf_load(p + VL);
    /* a0 a2 b0 b2 | a4 a6 b4 b6 */
    const __m256d e = _mm256_castps_pd(_mm256_shuffle_ps(a, b, 0x88));
    const __m256d o = _mm256_castps_pd(_mm256_shuffle_ps(a, b, 0xDD));
    *even = _mm256_castpd_ps(_mm256_permute4x64_pd(e, 0xD8));
    *odd = _mm256_castpd_ps(_mm256_permute4x64_pd(o, 0xD8));
}

/* Sums in double. */
typedef struct vd {
    __m256d low, high;
} vd;
INLINE vd vd_zero(void) {
    return (vd){_mm256_setzero_pd(), _mm256_setzero_pd()};
}
INLINE vd vd_add_squares(vd s, vf x) {
    const __m256d a = _mm256_cvtps_pd(_mm256_castps256_ps128(x));
    const __m256d b = _mm256_cvtps_pd(_mm256_extractf128_ps(x, 1));
    return (vd){_mm256_fmadd_pd(a, a, s.low), _mm256_fmadd_pd(b, b, s.high)};
}
INLINE vd vd_add(vd s, vf x) {
    const __m256d a = _mm256_cvtps_pd(_mm256_castps256_ps128(x));
    const __m256d b = _mm256_cvtps_pd(_mm256_extractf128_ps(x, 1));
    return (vd){_mm256_add_pd(a, s.low), _mm256_add_pd(b, s.high)};
}
INLINE double vd_sum(vd s) {
    const __m256d a = _mm256_add_pd(s.low, s.high);
    const __m128d b = _mm_add_pd(_mm256_castpd256_pd128(a), _mm256_extractf128_pd(a, 1));
    return _mm_cvtsd_f64(_mm_add_sd(b, _mm_unpackhi_pd(b, b)));
}

/* VL x VL floats, rows become columns. */
INLINE void vf_transpose(vf r[VL]) {
    vf t[VL];
    UNROLL(2)
    for (int i = 0; i < 2; i++) { /* 4 x 4 within the 128-bit parts of four rows */
        const vf a = _mm256_unpacklo_ps(r[4 * i], r[4 * i + 1]);
        const vf b = _mm256_unpackhi_ps(r[4 * i], r[4 * i + 1]);
        const vf c = _mm256_unpacklo_ps(r[4 * i + 2], r[4 * i + 3]);
        const vf d = _mm256_unpackhi_ps(r[4 * i + 2], r[4 * i + 3]);
        t[4 * i] = _mm256_shuffle_ps(a, c, 0x44);
        t[4 * i + 1] = _mm256_shuffle_ps(a, c, 0xEE);
        t[4 * i + 2] = _mm256_shuffle_ps(b, d, 0x44);
        t[4 * i + 3] = _mm256_shuffle_ps(b, d, 0xEE);
    }
    UNROLL(4)
    for (int j = 0; j < 4; j++) {
        r[j] = _mm256_permute2f128_ps(t[j], t[4 + j], 0x20);
        r[4 + j] = _mm256_permute2f128_ps(t[j], t[4 + j], 0x31);
    }
}

/* clang-format on */

#endif
