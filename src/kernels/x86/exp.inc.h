/* Template: vector exponentials and the hyperbolic tangent, on the vector words of vec_*.h.
 *
 * 2^f on [-1/2, 1/2] is 1 + f p(f), p by interpolation at Chebyshev nodes: relative error below
 * 1e-8, so that the roundings of the evaluation dominate (about one unit in the last place).
 * Results below 2^-149 are 0, above 2^128 infinity; NaN stays NaN (the clamps pass their second
 * operand when it is one). */
#ifndef SL_KERNELS_X86_EXP_INC_H
#define SL_KERNELS_X86_EXP_INC_H

/* (2^f - 1) / f for |f| <= 1/2. */
INLINE vf vf_exp2_slope(vf f) {
    vf p = vf_fma(vf_set1(0x1.44138ap-13f), f, vf_set1(0x1.5f0890p-10f));
    p = vf_fma(p, f, vf_set1(0x1.3b2a54p-7f));
    p = vf_fma(p, f, vf_set1(0x1.c6af6cp-5f));
    p = vf_fma(p, f, vf_set1(0x1.ebfbe0p-3f));
    return vf_fma(p, f, vf_set1(0x1.62e430p-1f));
}

/* 2^n * 2^f for integral n and |f| <= 1/2. */
INLINE vf vf_exp2_parts(vf n, vf f) {
    return vf_scale2(vf_fma(vf_exp2_slope(f), f, vf_set1(1.0f)), n);
}

INLINE vf vf_exp2(vf x) {
    x = vf_max(vf_set1(-151.0f), vf_min(vf_set1(129.0f), x));
    const vf n = vf_round(x);
    return vf_exp2_parts(n, vf_sub(x, n));
}

/* Of x <= 0, for weights that are rounded to BF16 (8 bits): relative error below 2^-17. */
INLINE vf vf_exp2_weight(vf x) {
    x = vf_max(vf_set1(-151.0f), x);
    const vf n = vf_round(x), f = vf_sub(x, n);
    vf p = vf_fma(vf_set1(0x1.3c6e5cp-7f), f, vf_set1(0x1.c96d5ep-5f));
    p = vf_fma(p, f, vf_set1(0x1.ebfb3ep-3f));
    p = vf_fma(p, f, vf_set1(0x1.62e2d2p-1f));
    return vf_scale2(vf_fma(p, f, vf_set1(1.0f)), n);
}

/* log2(e) in two parts: the fused product keeps the low bits of x * log2(e) - n. */
INLINE vf vf_exp(vf x) {
    x = vf_max(vf_set1(-105.0f), vf_min(vf_set1(89.0f), x));
    const vf n = vf_round(vf_mul(x, vf_set1(0x1.715476p+0f)));
    const vf negative_n = vf_sub(vf_zero(), n);
    const vf f = vf_fma(x, vf_set1(0x1.4ae0cp-26f), vf_fma(x, vf_set1(0x1.715476p+0f), negative_n));
    return vf_exp2_parts(n, f);
}

/* tanh x = e / (e + 2) with e = exp(2 x) - 1, taken as 2^n f p(f) + (2^n - 1): nothing cancels near
 * 0. Within 4 units in the last place; exactly +-1 beyond 10. */
INLINE vf vf_tanh(vf x) {
    x = vf_max(vf_set1(-10.0f), vf_min(vf_set1(10.0f), x));
    const vf n = vf_round(vf_mul(x, vf_set1(0x1.715476p+1f)));
    const vf negative_n = vf_sub(vf_zero(), n);
    const vf f = vf_fma(x, vf_set1(0x1.4ae0cp-25f), vf_fma(x, vf_set1(0x1.715476p+1f), negative_n));
    const vf power = vf_scale2(vf_set1(1.0f), n);
    const vf e = vf_fma(power, vf_mul(vf_exp2_slope(f), f), vf_sub(power, vf_set1(1.0f)));
    return vf_div(e, vf_add(e, vf_set1(2.0f)));
}

#endif
