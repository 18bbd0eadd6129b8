#include "model/rope_table.h"

#include <math.h>

/* The (fractional) pair whose wave makes n_turns turns over the original context. */
static double yarn_pair_of_turns(const sl_hparams *hp, double n_turns) {
    const double two_pi = 6.283185307179586;
    return hp->n_rot * log(hp->rope_ctx_orig / (n_turns * two_pi)) / (2.0 * log(hp->rope_base));
}

/* YaRN keeps fast waves, interpolates slow ones, and blends linearly between the two borders. */
static void yarn_fill(const sl_hparams *hp, float *inv_freq) {
    double low = floor(yarn_pair_of_turns(hp, hp->rope_beta_fast));
    double high = ceil(yarn_pair_of_turns(hp, hp->rope_beta_slow));
    low = fmax(low, 0.0);
    high = fmin(high, hp->n_rot - 1.0);
    double width = low == high ? 0.001 : high - low;
    for (uint32_t j = 0; j < hp->n_rot / 2; j++) {
        double ramp = fmin(fmax((j - low) / width, 0.0), 1.0);
        double plain = inv_freq[j];
        inv_freq[j] = (float)(plain / hp->rope_factor * ramp + plain * (1.0 - ramp));
    }
}

void sl_rope_table_fill(const sl_hparams *hp, const float *factors, float *inv_freq,
                        float *mscale_out) {
    float mscale = 1.0f;
    for (uint32_t j = 0; j < hp->n_rot / 2; j++) {
        inv_freq[j] = 1.0f / powf(hp->rope_base, (float)(2 * j) / (float)hp->n_rot);
    }
    switch (hp->rope_scaling) {
    case SL_ROPE_SCALING_NONE:
    case SL_ROPE_SCALING_LONGROPE:
        break;
    case SL_ROPE_SCALING_LINEAR:
        for (uint32_t j = 0; j < hp->n_rot / 2; j++) {
            inv_freq[j] /= hp->rope_factor;
        }
        break;
    case SL_ROPE_SCALING_YARN:
        yarn_fill(hp, inv_freq);
        mscale = hp->rope_factor > 1.0f ? 0.1f * logf(hp->rope_factor) + 1.0f : 1.0f;
        mscale = hp->rope_yarn_factor > 0.0f ? hp->rope_yarn_factor : mscale;
        break;
    }
    if (hp->rope_attn_factor > 0.0f) {
        mscale = hp->rope_attn_factor * mscale;
    }
    for (uint32_t j = 0; factors != NULL && j < hp->n_rot / 2; j++) {
        inv_freq[j] /= factors[j];
    }
    *mscale_out = mscale;
}
