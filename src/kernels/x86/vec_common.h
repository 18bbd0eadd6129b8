/* What the two vector widths share. */
#ifndef SL_KERNELS_X86_VEC_COMMON_H
#define SL_KERNELS_X86_VEC_COMMON_H

#include <immintrin.h>

/* Built for a sanitizer: templates then keep their register tiles small, since instrumenting the
 * large ones takes minutes of compilation and checks nothing more. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define VEC_INSTRUMENTED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) ||                         \
    __has_feature(memory_sanitizer)
#define VEC_INSTRUMENTED 1
#endif
#endif
#if !defined(VEC_INSTRUMENTED)
#define VEC_INSTRUMENTED 0
#endif

/* Before a loop of at most n rounds, known when compiled: its arrays of vectors must become
 * registers. */
#define VEC_PRAGMA(text) _Pragma(#text)
#if defined(__clang__)
#define UNROLL(n) VEC_PRAGMA(clang loop unroll(full))
#else
#define UNROLL(n) VEC_PRAGMA(GCC unroll n)
#endif

#define INLINE static inline __attribute__((always_inline, unused))

INLINE float vec_sum_256(__m256 x) {
    __m128 a = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
    a = _mm_add_ps(a, _mm_movehl_ps(a, a));
    a = _mm_add_ss(a, _mm_movehdup_ps(a));
    return _mm_cvtss_f32(a);
}
INLINE float vec_max_256(__m256 x) {
    __m128 a = _mm_max_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
    a = _mm_max_ps(a, _mm_movehl_ps(a, a));
    a = _mm_max_ss(a, _mm_movehdup_ps(a));
    return _mm_cvtss_f32(a);
}

#endif
