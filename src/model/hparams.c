#include "model/hparams.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>

#include "base/error.h"

#define KEY_MAX 160

/* Where a checked number lies in sl_hparams, and what it may be. */
typedef struct hparam_u32 {
    const char *key; /* after "ARCH." */
    uint32_t min, max;
} hparam_u32;

typedef struct hparam_f32 {
    const char *key;
    float min, max;
} hparam_f32;

static void hparam_key(char out[KEY_MAX], const char *arch, const char *key) {
    (void)snprintf(out, KEY_MAX, "%s.%s", arch, key);
}

/* A number for each layer, as some files have it: it must be the same for all. */
static sl_status hparam_same_for_all(const sl_gguf *file, const char *key, uint32_t *out,
                                     sl_error *err) {
    const sl_gguf_kv *kv = sl_gguf_find(file, key);
    sl_gguf_type type = kv->elem_type == SL_GGUF_U32 ? SL_GGUF_U32 : SL_GGUF_I32;
    sl_gguf_iter it;
    int32_t first = 0, v = 0;
    SL_TRY(sl_gguf_array(file, key, type, &it, err));
    bool same = sl_gguf_next_i32(&it, &first) && first >= 0;
    while (same && sl_gguf_next_i32(&it, &v)) {
        same = v == first;
    }
    if (!same) {
        return SL_FAIL(err, SL_ERR_UNSUPPORTED,
                       "%s: key %s is not the same for all layers, which is not supported",
                       sl_gguf_path(file), key);
    }
    *out = (uint32_t)first;
    return SL_OK;
}

/* Reads one number in [min, max]; `def` (or an error if `required`) when it is absent. */
static sl_status hparam_read_u32(const sl_gguf *file, const char *arch, hparam_u32 spec,
                                 bool required, uint32_t def, uint32_t *out, sl_error *err) {
    char key[KEY_MAX];
    hparam_key(key, arch, spec.key);
    uint32_t v = def;
    const sl_gguf_kv *kv = sl_gguf_find(file, key);
    if (kv != NULL && kv->type == SL_GGUF_ARRAY) {
        SL_TRY(hparam_same_for_all(file, key, &v, err));
    } else if (required) {
        SL_TRY(sl_gguf_u32(file, key, &v, err));
    } else {
        SL_TRY(sl_gguf_u32_or(file, key, def, &v, err));
    }
    if (v < spec.min || v > spec.max) {
        return SL_FAIL(err, SL_ERR_FORMAT,
                       "%s: key %s is %" PRIu32 ", outside the range %" PRIu32 " to %" PRIu32
                       " that a model can have",
                       sl_gguf_path(file), key, v, spec.min, spec.max);
    }
    *out = v;
    return SL_OK;
}

static sl_status hparam_read_f32(const sl_gguf *file, const char *arch, hparam_f32 spec,
                                 bool required, float def, float *out, sl_error *err) {
    char key[KEY_MAX];
    hparam_key(key, arch, spec.key);
    float v = def;
    if (required) {
        SL_TRY(sl_gguf_f32(file, key, &v, err));
    } else {
        SL_TRY(sl_gguf_f32_or(file, key, def, &v, err));
    }
    if (!(v >= spec.min && v <= spec.max)) { /* also refuses NaN */
        return SL_FAIL(err, SL_ERR_FORMAT, "%s: key %s is %g, outside the range %g to %g",
                       sl_gguf_path(file), key, (double)v, (double)spec.min, (double)spec.max);
    }
    *out = v;
    return SL_OK;
}

static sl_status hparams_read_sizes(const sl_gguf *f, const char *a, sl_hparams *h, sl_error *err) {
    SL_TRY(hparam_read_u32(f, a, (hparam_u32){"block_count", 1, 1024}, true, 0, &h->n_layers, err));
    SL_TRY(hparam_read_u32(f, a, (hparam_u32){"embedding_length", 1, 1 << 18}, true, 0, &h->n_embd,
                           err));
    SL_TRY(hparam_read_u32(f, a, (hparam_u32){"feed_forward_length", 1, 1 << 20}, true, 0, &h->n_ff,
                           err));
    SL_TRY(hparam_read_u32(f, a, (hparam_u32){"context_length", 1, 1u << 28}, true, 0, &h->n_ctx,
                           err));
    SL_TRY(hparam_read_u32(f, a, (hparam_u32){"attention.head_count", 1, 4096}, true, 0, &h->n_head,
                           err));
    SL_TRY(hparam_read_u32(f, a, (hparam_u32){"attention.head_count_kv", 1, 4096}, false, h->n_head,
                           &h->n_kv_head, err));
    if (h->n_head % h->n_kv_head != 0) {
        return SL_FAIL(err, SL_ERR_FORMAT,
                       "%s: key %s.attention.head_count is %" PRIu32
                       ", no multiple of %s.attention.head_count_kv = %" PRIu32,
                       sl_gguf_path(f), a, h->n_head, a, h->n_kv_head);
    }
    uint32_t d = h->n_embd / h->n_head;
    char key[KEY_MAX];
    hparam_key(key, a, "attention.key_length");
    if (sl_gguf_find(f, key) == NULL && h->n_embd % h->n_head != 0) {
        return SL_FAIL(err, SL_ERR_FORMAT,
                       "%s: key %s.embedding_length is %" PRIu32
                       ", no multiple of %s.attention.head_count = "
                       "%" PRIu32 ", and there is no %s to give the size of a head",
                       sl_gguf_path(f), a, h->n_embd, a, h->n_head, key);
    }
    SL_TRY(hparam_read_u32(f, a, (hparam_u32){"attention.key_length", 1, 4096}, false, d, &h->d_k,
                           err));
    return hparam_read_u32(f, a, (hparam_u32){"attention.value_length", 1, 4096}, false, d, &h->d_v,
                           err);
}

static sl_status hparams_read_scaling_kind(const sl_gguf *f, const char *a, sl_hparams *h,
                                           sl_error *err) {
    char key[KEY_MAX];
    hparam_key(key, a, "rope.scaling.type");
    sl_slice type;
    SL_TRY(sl_gguf_string_or_none(f, key, &type, err));
    if (type.ptr == NULL || sl_slice_eq_str(type, "none")) {
        h->rope_scaling = SL_ROPE_SCALING_NONE;
    } else if (sl_slice_eq_str(type, "linear")) {
        h->rope_scaling = SL_ROPE_SCALING_LINEAR;
    } else if (sl_slice_eq_str(type, "yarn")) {
        h->rope_scaling = SL_ROPE_SCALING_YARN;
    } else if (sl_slice_eq_str(type, "longrope")) {
        h->rope_scaling = SL_ROPE_SCALING_LONGROPE;
    } else {
        char text[SL_GGUF_SHOW_MAX];
        return SL_FAIL(err, SL_ERR_UNSUPPORTED,
                       "%s: key %s is \"%s\", which is not supported; known are none, linear, yarn "
                       "and longrope",
                       sl_gguf_path(f), key, sl_gguf_show(type, text, sizeof(text)));
    }
    /* Without rope.scaling.type a factor alone is linear; the key of older files comes first. */
    hparam_key(key, a, "rope.scale_linear");
    if (type.ptr == NULL && sl_gguf_find(f, key) != NULL) {
        h->rope_scaling = SL_ROPE_SCALING_LINEAR;
        return hparam_read_f32(f, a, (hparam_f32){"rope.scale_linear", 1e-3f, 1e6f}, true, 1.0f,
                               &h->rope_factor, err);
    }
    hparam_key(key, a, "rope.scaling.factor");
    if (type.ptr == NULL && sl_gguf_find(f, key) != NULL) {
        h->rope_scaling = SL_ROPE_SCALING_LINEAR;
    }
    if (h->rope_scaling == SL_ROPE_SCALING_NONE || h->rope_scaling == SL_ROPE_SCALING_LONGROPE) {
        h->rope_factor = 1.0f;
        return SL_OK;
    }
    return hparam_read_f32(f, a, (hparam_f32){"rope.scaling.factor", 1e-3f, 1e6f}, true, 1.0f,
                           &h->rope_factor, err);
}

static sl_status hparams_read_rope(const sl_gguf *f, const char *a, sl_hparams *h, sl_error *err) {
    SL_TRY(hparam_read_u32(f, a, (hparam_u32){"rope.dimension_count", 1, 4096}, false, h->d_k,
                           &h->n_rot, err));
    if (h->n_rot > h->d_k) {
        return SL_FAIL(
            err, SL_ERR_FORMAT,
            "%s: %" PRIu32
            " elements of a head are rotated (key %s.rope.dimension_count, which defaults "
            "to the size of a head); the number must be at most that size, %" PRIu32,
            sl_gguf_path(f), h->n_rot, a, h->d_k);
    }
    SL_TRY(hparam_read_f32(f, a, (hparam_f32){"rope.freq_base", 1.0f, 1e12f}, false, 10000.0f,
                           &h->rope_base, err));
    SL_TRY(hparams_read_scaling_kind(f, a, h, err));
    SL_TRY(hparam_read_u32(f, a, (hparam_u32){"rope.scaling.original_context_length", 1, 1u << 28},
                           false, h->n_ctx, &h->rope_ctx_orig, err));
    SL_TRY(hparam_read_f32(f, a, (hparam_f32){"rope.scaling.attn_factor", 0.0f, 1e3f}, false, 0.0f,
                           &h->rope_attn_factor, err));
    SL_TRY(hparam_read_f32(f, a, (hparam_f32){"rope.scaling.yarn_attn_factor", 0.0f, 1e3f}, false,
                           0.0f, &h->rope_yarn_factor, err));
    SL_TRY(hparam_read_f32(f, a, (hparam_f32){"rope.scaling.yarn_beta_fast", 1e-3f, 1e6f}, false,
                           32.0f, &h->rope_beta_fast, err));
    return hparam_read_f32(f, a, (hparam_f32){"rope.scaling.yarn_beta_slow", 1e-3f, 1e6f}, false,
                           1.0f, &h->rope_beta_slow, err);
}

sl_status sl_hparams_read(const sl_gguf *file, const char *arch, bool is_layer_norm,
                          sl_hparams *out, sl_error *err) {
    sl_hparams h = {.arch = arch, .is_layer_norm = is_layer_norm};
    const char *eps = is_layer_norm ? "attention.layer_norm_epsilon"
                                    : "attention.layer_norm_rms_epsilon";
    SL_TRY(hparams_read_sizes(file, arch, &h, err));
    SL_TRY(
        hparam_read_f32(file, arch, (hparam_f32){eps, 1e-14f, 1.0f}, true, 0.0f, &h.norm_eps, err));
    SL_TRY(hparams_read_rope(file, arch, &h, err));
    const sl_gguf_tensor *embd = sl_gguf_find_tensor(file, "token_embd.weight");
    if (embd == NULL) {
        return SL_FAIL(err, SL_ERR_FORMAT,
                       "%s: tensor token_embd.weight is missing; the file is no "
                       "complete model (a vocabulary-only file can be used to tokenize)",
                       sl_gguf_path(file));
    }
    if (embd->n_dims != 2 || embd->dims[1] < 1 || embd->dims[1] > (1u << 24)) {
        return SL_FAIL(err, SL_ERR_FORMAT,
                       "%s: tensor token_embd.weight has %" PRIu32 " dimensions and %" PRIu64
                       " rows; a matrix of 1 to 16777216 rows is needed",
                       sl_gguf_path(file), embd->n_dims, embd->dims[1]);
    }
    h.n_vocab = (uint32_t)embd->dims[1];
    *out = h;
    return SL_OK;
}
