/* Template of the activations, on the vector words of vec_*.h and the including file's LEVEL(name).
 * Semantics: kernels.h and act_ref.c.
 *
 * vf_min and vf_max pass their second operand when it is NaN, so clamps keep it. */
#ifndef SL_KERNELS_X86_ACT_INC_H
#define SL_KERNELS_X86_ACT_INC_H

#include <float.h>

#include "kernels/kernels.h"
#include "kernels/x86/exp.inc.h"

/* x / (1 + exp(minus_z)); -infinity counts as the lowest number, whose result is 0. */
INLINE vf act_logistic(vf x, vf minus_z) {
    x = vf_max(vf_set1(-FLT_MAX), x);
    return vf_div(x, vf_add(vf_set1(1.0f), vf_exp(minus_z)));
}

INLINE vf act_relu(vf x) {
    return vf_max(vf_zero(), x);
}

/* x Phi(x) = max(x, 0) - a Phi(-a), a = |x|. Phi(-a) = exp(-a^2 / 2) t r(t), t = 1 / (1 + 0.35 a),
 * r by interpolation at Chebyshev nodes of the t of a in [0, 14]: relative error below 4e-8 before
 * rounding. Beyond 20 nothing is left of it. */
INLINE vf act_gelu(vf x) {
    const vf magnitude = vf_max(vf_sub(vf_zero(), x), x);
    const vf a = vf_min(vf_set1(20.0f), magnitude);
    const vf one = vf_set1(1.0f);
    const vf t = vf_div(one, vf_fma(a, vf_set1(0.35f), one));
    vf r = vf_fma(vf_set1(-0x1.e644f0p-6f), t, vf_set1(0x1.2c2038p-3f));
    r = vf_fma(r, t, vf_set1(-0x1.0b396ep-2f));
    r = vf_fma(r, t, vf_set1(0x1.520646p-3f));
    r = vf_fma(r, t, vf_set1(-0x1.bb21c6p-6f));
    r = vf_fma(r, t, vf_set1(0x1.b6bdccp-4f));
    r = vf_fma(r, t, vf_set1(0x1.e93f12p-4f));
    r = vf_fma(r, t, vf_set1(0x1.1e8a56p-3f));
    r = vf_fma(r, t, vf_set1(0x1.1df06ap-3f));
    const vf e = vf_exp(vf_mul(vf_mul(a, a), vf_set1(-0.5f)));
    return vf_fnma(vf_mul(a, e), vf_mul(r, t), act_relu(x));
}

/* x / 2 (1 + tanh u) = x / (1 + exp(-2 u)), which loses nothing where tanh u is near -1. */
INLINE vf act_gelu_tanh(vf x) {
    const vf c1 = vf_set1(-0x1.988454p+0f); /* -2 sqrt(2 / pi) */
    const vf c3 = vf_set1(-0x1.2444f2p-4f); /* 0.044715 times that */
    return act_logistic(x, vf_mul(x, vf_fma(vf_mul(x, x), c3, c1)));
}

/* Of one input. `kind` is known when compiled. */
INLINE vf act_of(sl_act_kind kind, vf x) {
    switch (kind) {
    case SL_ACT_SILU:
        return act_logistic(x, vf_sub(vf_zero(), x));
    case SL_ACT_GELU:
        return act_gelu(x);
    case SL_ACT_GELU_TANH:
        return act_gelu_tanh(x);
    case SL_ACT_RELU_SQUARED:
        return vf_mul(act_relu(x), act_relu(x));
    default: /* SL_ACT_SIGMOID */
        return vf_div(vf_set1(1.0f), vf_add(vf_set1(1.0f), vf_exp(vf_sub(vf_zero(), x))));
    }
}

INLINE vf act_gated(sl_act_kind kind, vf gate, vf up) {
    if (kind == SL_ACT_SWIGLU_CLAMPED) {
        const vf g = vf_min(vf_set1(7.0f), gate);
        const vf u = vf_max(vf_set1(-7.0f), vf_min(vf_set1(7.0f), up));
        return vf_mul(act_logistic(g, vf_mul(g, vf_set1(-1.702f))), vf_add(u, vf_set1(1.0f)));
    }
    return vf_mul(act_of(kind, gate), up);
}

INLINE void act_row(sl_act_kind kind, const float *gate, const float *up, uint32_t n, float *out) {
    const uint32_t whole = n / VL * VL, rest = n - whole;
    const vf last = vf_load_part(gate + whole, rest);
    if (up == NULL) {
        for (uint32_t i = 0; i < whole; i += VL) {
            vf_store(out + i, act_of(kind, vf_load(gate + i)));
        }
        vf_store_part(out + whole, act_of(kind, last), rest);
        return;
    }
    for (uint32_t i = 0; i < whole; i += VL) {
        vf_store(out + i, act_gated(kind, vf_load(gate + i), vf_load(up + i)));
    }
    vf_store_part(out + whole, act_gated(kind, last, vf_load_part(up + whole, rest)), rest);
}

#define ACT_CASE(kind)                                                                             \
    case kind:                                                                                     \
        act_row(kind, gate, up, n, out);                                                           \
        break;

static void LEVEL(act)(sl_act_kind kind, const float *gate, const float *up, uint32_t n,
                       float *out) {
    switch (kind) {
        ACT_CASE(SL_ACT_SILU)
        ACT_CASE(SL_ACT_GELU)
        ACT_CASE(SL_ACT_GELU_TANH)
        ACT_CASE(SL_ACT_RELU_SQUARED)
        ACT_CASE(SL_ACT_SIGMOID)
        ACT_CASE(SL_ACT_SWIGLU_CLAMPED)
    default:
        break;
    }
}
#undef ACT_CASE

#endif
