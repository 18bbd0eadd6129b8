/* Plain C forms of the activations. Their limits hold: where the formula would be -infinity times
 * 0, the input is the lowest finite number instead, so that the result is 0. NaN stays NaN. */
#include <float.h>
#include <math.h>

#include "kernels/levels.h"

/* clamped to [low, high]; NaN passes */
static float clamped(float x, float low, float high) {
    return x < low ? low : x > high ? high : x;
}

static float silu_of(float x, float slope) {
    x = clamped(x, -FLT_MAX, INFINITY);
    return x / (1.0f + expf(-slope * x));
}

static float gelu_of(float x) {
    x = clamped(x, -FLT_MAX, INFINITY);
    return x / 2.0f * (1.0f + erff(x * 0x1.6a09e6p-1f)); /* 1 / sqrt 2 */
}

static float gelu_tanh_of(float x) {
    x = clamped(x, -FLT_MAX, INFINITY);
    const float inner = x + 0.044715f * x * x * x;
    return x / 2.0f * (1.0f + tanhf(0x1.988454p-1f * inner)); /* sqrt(2 / pi) */
}

static float act_of(sl_act_kind kind, float x) {
    const float positive = x < 0.0f ? 0.0f : x;
    switch (kind) {
    case SL_ACT_SILU:
        return silu_of(x, 1.0f);
    case SL_ACT_GELU:
        return gelu_of(x);
    case SL_ACT_GELU_TANH:
        return gelu_tanh_of(x);
    case SL_ACT_RELU_SQUARED:
        return positive * positive;
    case SL_ACT_SIGMOID:
        return 1.0f / (1.0f + expf(-x));
    default:
        return NAN;
    }
}

static void act_ref(sl_act_kind kind, const float *gate, const float *up, uint32_t n, float *out) {
    for (uint32_t i = 0; i < n; i++) {
        if (kind == SL_ACT_SWIGLU_CLAMPED) {
            out[i] = silu_of(clamped(gate[i], -INFINITY, 7.0f), 1.702f) *
                     (clamped(up[i], -7.0f, 7.0f) + 1.0f);
        } else {
            out[i] = up ? act_of(kind, gate[i]) * up[i] : act_of(kind, gate[i]);
        }
    }
}

void sl_act_fill_ref(sl_kernels *k) {
    k->act = act_ref;
}
