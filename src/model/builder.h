/* What the descriptions of architectures are written in: each call appends one operation to the
 * plan, binds its weight with its shape checked, and returns the value it made. The first failure
 * is kept and all later calls do nothing, so that a description reads as plain data flow and is
 * checked once, at its end.
 *
 * Weight names are those of GGUF; inside a layer they begin with blk.LAYER. by themselves. Where an
 * operation takes NAME.weight and the file has NAME.bias beside it, the bias is added.
 */
#ifndef SL_MODEL_BUILDER_H
#define SL_MODEL_BUILDER_H

#include "format/gguf.h"
#include "model/hparams.h"
#include "plan/plan.h"

#define SL_BUILD_KINDS_MAX 4 /* different windows and KV shapes of one model's layers */

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
    sl_plan_group kinds[SL_BUILD_KINDS_MAX]; /* n_layers: all of the kind, before they are cut */
    uint32_t n_kinds;
    uint8_t *used;  /* [n_tensors of the file] bound by the description */
    uint64_t asked; /* bit i: the description reads key i of those that change an answer */
} sl_builder;

SL_NODISCARD sl_status sl_builder_init(sl_builder *b, const sl_gguf *file, const sl_hparams *hp,
                                       sl_plan *plan, sl_error *err);
/* Cuts the layers into groups, moves the arrays into the plan, checks the plan, that every tensor
 * of the file was used, and that no key changes an answer unasked. */
SL_NODISCARD sl_status sl_builder_finish(sl_builder *b);

/* Keeps a failure of the file: `fact` is "key %s ..." or the like. */
void sl_build_fail(sl_builder *b, sl_status code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

void sl_build_layer(sl_builder *b, int32_t layer); /* following names begin with blk.LAYER. */
bool sl_build_has(const sl_builder *b, const char *weight);
/* Marks a tensor that the model does not need as known. */
void sl_build_ignore(sl_builder *b, const char *weight);
/* A tensor of exactly n floats (F32), for tables such as rope_freqs.weight; NULL if absent. */
const float *sl_build_floats(sl_builder *b, const char *weight, uint32_t n);

/* The value of ARCH.key within [min, max], or the default (within it or not) when it is absent. */
uint32_t sl_build_u32(sl_builder *b, const char *key, uint32_t def, uint32_t min, uint32_t max);
float sl_build_f32(sl_builder *b, const char *key, float def, float min, float max);
bool sl_build_bool(sl_builder *b, const char *key, bool def);
/* The window of a layer: ARCH.attention.sliding_window (or def); 0 for layers that see all, which
 * is every n-th one unless ARCH.attention.sliding_window_pattern says otherwise (n == 0: none). */
uint32_t sl_build_window(sl_builder *b, uint32_t layer, uint32_t def, uint32_t n);

/* A rope table from hyper-parameters, with the frequency factors of rope_freqs.weight if the file
 * has them (use_factors); returns its number. */
uint32_t sl_build_rope_table(sl_builder *b, sl_rope_style style, const sl_hparams *hp,
                             bool use_factors);
/* The table of rope_factors_short.weight, and of rope_factors_long.weight for sequences longer than
 * the original context; as sl_build_rope_table where the file has neither. */
uint32_t sl_build_longrope_table(sl_builder *b, sl_rope_style style);

/* Operations. `out` names the value; a value of that name and width is made once and used again. */
sl_value_id sl_build_embed(sl_builder *b, const char *weight, float scale, const char *out);
sl_value_id sl_build_position(sl_builder *b, const char *weight, const char *out);
/* The architecture's kind of norm (hp->is_layer_norm), over the whole row; over each of n_head
 * heads; over `width` elements from `first` on. */
sl_value_id sl_build_norm(sl_builder *b, sl_value_id x, const char *weight, const char *out);
sl_value_id sl_build_norm_heads(sl_builder *b, sl_value_id x, uint32_t n_head, const char *weight,
                                const char *out);
sl_value_id sl_build_norm_part(sl_builder *b, sl_value_id x, uint32_t first, uint32_t width,
                               const char *weight, const char *out);
/* weight [n_out, width of x]. */
sl_value_id sl_build_linear(sl_builder *b, sl_value_id x, const char *weight, uint32_t n_out,
                            const char *out);
/* Rows [first, first + n_out) of a weight of n_all rows. */
sl_value_id sl_build_linear_part(sl_builder *b, sl_value_id x, const char *weight, uint32_t n_all,
                                 uint32_t first, uint32_t n_out, const char *out);

/* Piece i of each head: where the pieces lie in a row. */
typedef struct sl_build_pieces {
    uint32_t stride, first, n;
} sl_build_pieces;
/* Head h of x times matrix h of the weight [n_head][to.n, from.n], into a value of `width`. */
sl_value_id sl_build_linear_heads(sl_builder *b, sl_value_id x, const char *weight, uint32_t n_head,
                                  sl_build_pieces from, sl_build_pieces to, uint32_t width,
                                  const char *out);
/* to.n == from.n elements of each head, into a value of `width`. */
sl_value_id sl_build_copy(sl_builder *b, sl_value_id x, uint32_t n_head, sl_build_pieces from,
                          sl_build_pieces to, uint32_t width, const char *out);

/* Rotates the elements from `first` on of each of n_head heads of x, in place. */
void sl_build_rope(sl_builder *b, sl_value_id x, uint32_t n_head, uint32_t first, uint32_t rope);

typedef struct sl_build_attention {
    uint32_t n_head, n_kv_head, d_k, d_v;
    float scale;
    uint32_t window;   /* 0: none */
    float softcap;     /* 0: none */
    const char *sinks; /* weight [n_head]; NULL: none */
    float max_alibi;   /* > 0: ALiBi with slopes down to 2^-max_alibi */
} sl_build_attention;
sl_value_id sl_build_attend(sl_builder *b, sl_value_id q, sl_value_id k, sl_value_id v,
                            const sl_build_attention *a, const char *out);

sl_value_id sl_build_act(sl_builder *b, sl_act_kind kind, sl_value_id x, const char *out);
sl_value_id sl_build_act_mul(sl_builder *b, sl_act_kind kind, sl_value_id gate, sl_value_id up,
                             const char *out);
void sl_build_add(sl_builder *b, sl_value_id x, sl_value_id y); /* x += y */
void sl_build_add_scaled(sl_builder *b, sl_value_id x, sl_value_id y, float scale);
/* x += row `row` of the weight */
void sl_build_add_row(sl_builder *b, sl_value_id x, const char *weight, uint32_t row);
void sl_build_scale(sl_builder *b, sl_value_id x, float scale);          /* x *= scale */
void sl_build_scale_by(sl_builder *b, sl_value_id x, sl_value_id scale); /* x *= scale[0] */
void sl_build_softcap(sl_builder *b, sl_value_id x, float cap);

/* Experts: scores -> route; rows to the chosen ones; their products; the sum by shares. */
sl_value_id sl_build_route(sl_builder *b, sl_value_id scores, const sl_plan_route *route,
                           const char *choice_bias, const char *out);
sl_value_id sl_build_dispatch(sl_builder *b, sl_value_id x, sl_value_id route, const char *out);
/* weight [n_expert][n_all, width of x], rows [first, first + n_out) of each. */
sl_value_id sl_build_experts(sl_builder *b, sl_value_id x, sl_value_id route, const char *weight,
                             uint32_t n_expert, uint32_t n_all, uint32_t first, uint32_t n_out,
                             const char *out);
sl_value_id sl_build_combine(sl_builder *b, sl_value_id x, sl_value_id route, const char *out);

/* Ends the body: what follows is computed only for rows that need logits. */
void sl_build_head(sl_builder *b, sl_value_id hidden);
void sl_build_logits(sl_builder *b, sl_value_id logits);
/* The hidden rows themselves are the result; every row sees all rows of its sequence. */
void sl_build_encoder(sl_builder *b, sl_value_id hidden);

#endif
