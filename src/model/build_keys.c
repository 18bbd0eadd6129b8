/* Keys that only some architectures have, each asked for by the description that uses it; and the
 * watch over those that nobody asked for. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "model/builder_internal.h"

/* Keys that change what a model computes, and the value that changes nothing (NAN: the rope base).
 * Ignoring another one would give wrong answers without a word. */
static const struct {
    const char *key;
    float neutral;
} keys_watched[] = {
    {"attention.causal", 1.0f},
    {"attention.sliding_window", 0.0f},
    {"attention.clamp_kqv", 0.0f},
    {"attention.scale", 0.0f},
    {"attention.max_alibi_bias", 0.0f},
    {"attention.temperature_scale", 0.0f},
    {"attn_logit_softcapping", 0.0f},
    {"final_logit_softcapping", 0.0f},
    {"embedding_scale", 1.0f},
    {"residual_scale", 1.0f},
    {"logit_scale", 1.0f},
    {"use_parallel_residual", 0.0f},
    {"expert_count", 0.0f},
    {"expert_gating_func", 0.0f},
    {"expert_group_count", 1.0f},
    {"expert_weights_norm", 0.0f},
    {"expert_weights_scale", 1.0f},
    {"leading_dense_block_count", 0.0f},
    {"nextn_predict_layers", 0.0f},
    {"rope.freq_base_swa", NAN},
    {"rope.scaling.yarn_ext_factor", 1.0f},
    {"rope.scaling.yarn_log_multiplier", 0.0f},
    {"swiglu_clamp_exp", 0.0f},
};
enum { N_WATCHED = sizeof(keys_watched) / sizeof(keys_watched[0]) };
_Static_assert(N_WATCHED <= 64, "one bit each in sl_builder.asked");

static void keys_name(const sl_builder *b, const char *key, char out[SL_BUILD_NAME_MAX]) {
    (void)snprintf(out, SL_BUILD_NAME_MAX, "%s.%s", b->hp->arch, key);
}

static void keys_ask(sl_builder *b, const char *key) {
    for (uint32_t i = 0; i < N_WATCHED; i++) {
        if (strcmp(keys_watched[i].key, key) == 0) {
            b->asked |= (uint64_t)1 << i;
        }
    }
}

uint32_t sl_build_u32(sl_builder *b, const char *key, uint32_t def, uint32_t min, uint32_t max) {
    char name[SL_BUILD_NAME_MAX];
    uint32_t v = def;
    keys_name(b, key, name);
    keys_ask(b, key);
    if (b->status != SL_OK || sl_gguf_find(b->file, name) == NULL) {
        return def;
    }
    b->status = sl_gguf_u32(b->file, name, &v, b->err);
    if (b->status == SL_OK && (v < min || v > max)) {
        sl_build_fail(b, SL_ERR_FORMAT,
                      "key %s is %" PRIu32 ", outside the range %" PRIu32 " to %" PRIu32
                      " that this model can have",
                      name, v, min, max);
    }
    return b->status == SL_OK ? v : def;
}

float sl_build_f32(sl_builder *b, const char *key, float def, float min, float max) {
    char name[SL_BUILD_NAME_MAX];
    float v = def;
    keys_name(b, key, name);
    keys_ask(b, key);
    if (b->status != SL_OK || sl_gguf_find(b->file, name) == NULL) {
        return def;
    }
    b->status = sl_gguf_f32(b->file, name, &v, b->err);
    if (b->status == SL_OK && !(v >= min && v <= max)) { /* also refuses NaN */
        sl_build_fail(b, SL_ERR_FORMAT, "key %s is %g, outside the range %g to %g", name, (double)v,
                      (double)min, (double)max);
    }
    return b->status == SL_OK ? v : def;
}

bool sl_build_bool(sl_builder *b, const char *key, bool def) {
    char name[SL_BUILD_NAME_MAX];
    bool v = def;
    keys_name(b, key, name);
    keys_ask(b, key);
    if (b->status == SL_OK) {
        b->status = sl_gguf_bool_or(b->file, name, def, &v, b->err);
    }
    return v;
}

/* Element `layer` of an array of flags (bool or whole numbers) with one for each layer. */
static bool keys_flag(sl_builder *b, const char *name, const sl_gguf_kv *kv, uint32_t layer) {
    sl_gguf_iter it;
    bool flag = false;
    int32_t number = 0;
    sl_gguf_type type = kv->elem_type == SL_GGUF_I32 || kv->elem_type == SL_GGUF_U32 ? kv->elem_type
                                                                                     : SL_GGUF_BOOL;
    b->status = sl_gguf_array(b->file, name, type, &it, b->err);
    if (b->status == SL_OK && kv->n < b->hp->n_layers) {
        sl_build_fail(b, SL_ERR_FORMAT,
                      "key %s holds %" PRIu64 " flags; one for each of the %" PRIu32
                      " layers is needed",
                      name, kv->n, b->hp->n_layers);
    }
    for (uint32_t i = 0; b->status == SL_OK && i <= layer; i++) {
        (void)(type == SL_GGUF_BOOL ? sl_gguf_next_bool(&it, &flag)
                                    : sl_gguf_next_i32(&it, &number));
    }
    return flag || number != 0;
}

uint32_t sl_build_window(sl_builder *b, uint32_t layer, uint32_t def, uint32_t n) {
    uint32_t window = sl_build_u32(b, "attention.sliding_window", def, 0, 1u << 28);
    char name[SL_BUILD_NAME_MAX];
    keys_name(b, "attention.sliding_window_pattern", name);
    const sl_gguf_kv *kv = sl_gguf_find(b->file, name);
    if (b->status == SL_OK && kv != NULL && kv->type == SL_GGUF_ARRAY) {
        return keys_flag(b, name, kv, layer) ? window : 0;
    }
    n = sl_build_u32(b, "attention.sliding_window_pattern", n, 0, 4096);
    return n == 0 || layer % n < n - 1 ? window : 0;
}

/* Whether the value, or every element of it, is `neutral`. */
static sl_status keys_are_neutral(const sl_builder *b, const char *key, const sl_gguf_kv *kv,
                                  float neutral, bool *out) {
    if (kv->type == SL_GGUF_BOOL) {
        bool flag;
        SL_TRY(sl_gguf_bool_or(b->file, key, false, &flag, b->err));
        *out = (flag ? 1.0f : 0.0f) == neutral;
        return SL_OK;
    }
    if (kv->type != SL_GGUF_ARRAY) {
        float v;
        SL_TRY(sl_gguf_f32(b->file, key, &v, b->err));
        *out = v == neutral;
        return SL_OK;
    }
    sl_gguf_iter it;
    SL_TRY(sl_gguf_array(b->file, key, kv->elem_type, &it, b->err));
    float v;
    int32_t i;
    uint64_t n = 0;
    bool all = true;
    while (sl_gguf_next_f32(&it, &v)) {
        all = all && v == neutral;
        n++;
    }
    while (sl_gguf_next_i32(&it, &i)) {
        all = all && (float)i == neutral;
        n++;
    }
    *out = all && n == kv->n; /* other elements are not known to change nothing */
    return SL_OK;
}

sl_status sl_builder_check_keys(const sl_builder *b) {
    for (uint32_t i = 0; i < N_WATCHED; i++) {
        char key[SL_BUILD_NAME_MAX], text[SL_GGUF_SHOW_MAX];
        keys_name(b, keys_watched[i].key, key);
        const sl_gguf_kv *kv = sl_gguf_find(b->file, key);
        if (kv == NULL || (b->asked >> i & 1) != 0) {
            continue;
        }
        float neutral = keys_watched[i].neutral;
        bool is_neutral = false;
        neutral = isnan(neutral) ? b->hp->rope_base : neutral;
        SL_TRY(keys_are_neutral(b, key, kv, neutral, &is_neutral));
        if (!is_neutral) {
            return SL_FAIL(
                b->err, SL_ERR_UNSUPPORTED,
                "%s: key %s is %s, which architecture %s does not support in this version",
                sl_gguf_path(b->file), key, sl_gguf_show_value(b->file, kv, text, sizeof(text)),
                b->hp->arch);
        }
    }
    return SL_OK;
}
