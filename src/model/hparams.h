/* Hyper-parameters of a model, read from `ARCH.*` keys and checked against one table of bounds
 * before anything uses them. */
#ifndef SL_MODEL_HPARAMS_H
#define SL_MODEL_HPARAMS_H

#include <stdbool.h>
#include <stdint.h>

#include <sluice/status.h>

#include "format/gguf.h"

typedef enum sl_rope_scaling {
    SL_ROPE_SCALING_NONE,
    SL_ROPE_SCALING_LINEAR,
    SL_ROPE_SCALING_YARN,
    SL_ROPE_SCALING_LONGROPE /* its factors are tensors */
} sl_rope_scaling;

typedef struct sl_hparams {
    const char *arch; /* terminated, lives as long as the plan's arena */
    uint32_t n_layers, n_embd, n_ff, n_ctx, n_vocab;
    uint32_t n_head, n_kv_head;
    uint32_t d_k, d_v;  /* elements of a key and of a value of one head */
    uint32_t n_rot;     /* rotated elements of a head, even */
    bool is_layer_norm; /* norms subtract the mean; else root mean square */
    float norm_eps;
    float rope_base;
    sl_rope_scaling rope_scaling;
    float rope_factor;                    /* of the scaling, 1 if none */
    uint32_t rope_ctx_orig;               /* context the model was trained with before scaling */
    float rope_attn_factor;               /* multiplies cos and sin; 0: the scaling's own default */
    float rope_yarn_factor;               /* YaRN: for cos and sin, 0: 0.1 ln(rope_factor) + 1 */
    float rope_beta_fast, rope_beta_slow; /* YaRN */
} sl_hparams;

/* Reads what every model needs; descriptions ask for further keys themselves (builder.h). `arch` is
 * the prefix of the keys. */
SL_NODISCARD sl_status sl_hparams_read(const sl_gguf *file, const char *arch, bool is_layer_norm,
                                       sl_hparams *out, sl_error *err);

#endif
