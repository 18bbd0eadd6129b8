/* Checks of sampling options: every error names the field as the API does, its value and what is
 * allowed. Pure. */
#include <math.h>

#include "base/error.h"
#include "sample/sampler.h"

sl_sample_options sl_sample_options_default(void) {
    return (sl_sample_options){
        .temperature = 1, .top_p = 1, .typical_p = 1, .repetition_penalty = 1};
}

bool sl_sample_needs_history(const sl_sample_options *o) {
    return (o->repetition_penalty != 0 && o->repetition_penalty != 1) || o->presence_penalty != 0 ||
           o->frequency_penalty != 0;
}

static sl_status options_range(const char *name, float value, float min, float max, sl_error *err) {
    if (value >= min && value <= max) { /* false for NaN */
        return SL_OK;
    }
    return SL_FAIL(err, SL_ERR_ARGUMENT, "%s is %g; it must be from %g to %g", name, (double)value,
                   (double)min, (double)max);
}

static sl_status options_check_bias(const sl_sample_options *o, uint32_t n_vocab, sl_error *err) {
    if (o->n_bias > SL_SAMPLE_BIAS_MAX || (o->n_bias > 0 && o->bias == NULL)) {
        return SL_FAIL(err, SL_ERR_ARGUMENT, "logit_bias has %u entries; at most %d are allowed",
                       o->n_bias, SL_SAMPLE_BIAS_MAX);
    }
    for (uint32_t i = 0; i < o->n_bias; i++) {
        const sl_logit_bias *b = &o->bias[i];
        if (b->id < 0 || (uint32_t)b->id >= n_vocab) {
            return SL_FAIL(err, SL_ERR_ARGUMENT,
                           "logit_bias names token %d; the model's tokens are 0 to %u", b->id,
                           n_vocab - 1);
        }
        if (!(b->bias >= -100 && b->bias <= 100)) {
            return SL_FAIL(err, SL_ERR_ARGUMENT,
                           "logit_bias of token %d is %g; it must be from -100 to 100", b->id,
                           (double)b->bias);
        }
    }
    return SL_OK;
}

sl_status sl_sample_options_check(const sl_sample_options *o, uint32_t n_vocab, sl_error *err) {
    SL_TRY(options_range("temperature", o->temperature, 0, 100, err));
    SL_TRY(options_range("top_p", o->top_p, 0, 1, err));
    SL_TRY(options_range("min_p", o->min_p, 0, 1, err));
    SL_TRY(options_range("typical_p", o->typical_p, 0, 1, err));
    if (o->repetition_penalty != 0) {
        SL_TRY(options_range("repetition_penalty", o->repetition_penalty, 0.01f, 100, err));
    }
    SL_TRY(options_range("presence_penalty", o->presence_penalty, -2, 2, err));
    SL_TRY(options_range("frequency_penalty", o->frequency_penalty, -2, 2, err));
    if (o->n_top > SL_SAMPLE_TOP_MAX) {
        return SL_FAIL(err, SL_ERR_ARGUMENT, "top_logprobs is %u; it must be from 0 to %d",
                       o->n_top, SL_SAMPLE_TOP_MAX);
    }
    return options_check_bias(o, n_vocab, err);
}
