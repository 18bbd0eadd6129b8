/* What the descriptions of architectures are written in: each call appends one operation to the
 * plan, binds its weight with its shape checked, and returns the value it made. The first failure
 * is kept and all later calls do nothing, so that a description reads as plain data flow and is
 * checked once, at its end.
 */
#ifndef SL_MODEL_BUILDER_H
#define SL_MODEL_BUILDER_H

#include "format/gguf.h"
#include "model/hparams.h"
#include "plan/plan.h"

typedef struct sl_builder {
    const sl_gguf *file;
    const sl_hparams *hp;
    sl_plan *plan;
    sl_error *err;
    sl_status status;
    int32_t layer; /* -1 outside the layers; enters weight names as blk.N. */
    /* growing arrays in the plan's arena */
    sl_plan_value *values;
    sl_plan_weight *weights;
    sl_plan_op *ops;
    uint32_t values_cap, weights_cap, ops_cap;
    uint8_t *used; /* [n_tensors of the file] bound by the description */
} sl_builder;

SL_NODISCARD sl_status sl_builder_init(sl_builder *b, const sl_gguf *file, const sl_hparams *hp,
                                       sl_plan *plan, sl_error *err);
/* Moves the arrays into the plan, checks the plan and that every tensor of the file was used. */
SL_NODISCARD sl_status sl_builder_finish(sl_builder *b);

void sl_build_layer(sl_builder *b, int32_t layer); /* following names begin with blk.LAYER. */
bool sl_build_has(const sl_builder *b, const char *weight);
/* Marks a tensor that the model does not need as known. */
void sl_build_ignore(sl_builder *b, const char *weight);
/* A tensor of exactly n floats (F32), for tables such as rope_freqs.weight; NULL if absent. */
const float *sl_build_floats(sl_builder *b, const char *weight, uint32_t n);

/* A group of layers with one KV shape / a rope table; returns its number. */
uint32_t sl_build_group(sl_builder *b, uint32_t n_kv_head, uint32_t d_k, uint32_t d_v);
uint32_t sl_build_rope_table(sl_builder *b, sl_rope_style style, uint32_t n_rot,
                             const float *inv_freq, float mscale);

/* Operations. `out` names the value; a value of that name and width is made once and used again. */
sl_value_id sl_build_embed(sl_builder *b, const char *weight, const char *out);
sl_value_id sl_build_rms_norm(sl_builder *b, sl_value_id x, const char *weight, const char *out);
/* weight [n_out, width of x]; NAME.bias beside NAME.weight is added when the file has it. */
sl_value_id sl_build_linear(sl_builder *b, sl_value_id x, const char *weight, uint32_t n_out,
                            const char *out);
void sl_build_rope(sl_builder *b, sl_value_id x, uint32_t n_head, uint32_t d, uint32_t rope);
sl_value_id sl_build_attend(sl_builder *b, sl_value_id q, sl_value_id k, sl_value_id v,
                            uint32_t group, uint32_t n_head, float scale, const char *out);
sl_value_id sl_build_silu_mul(sl_builder *b, sl_value_id gate, sl_value_id up, const char *out);
void sl_build_add(sl_builder *b, sl_value_id x, sl_value_id y); /* x += y */
/* Ends the body: what follows is computed only for rows that need logits. */
void sl_build_head(sl_builder *b, sl_value_id hidden);
void sl_build_logits(sl_builder *b, sl_value_id logits);

#endif
