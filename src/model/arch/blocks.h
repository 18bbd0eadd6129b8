/* Pieces that many architectures share, in the builder's words. Values by name: "x" the residual
 * stream, "xn" what was normed last, "q" "k" "v" "y", "t" what attention adds, "f" what the
 * feed-forward part adds. */
#ifndef SL_MODEL_ARCH_BLOCKS_H
#define SL_MODEL_ARCH_BLOCKS_H

#include "model/builder.h"

/* Queries, keys and values of one layer. */
typedef struct sl_qkv {
    sl_value_id q, k, v;
} sl_qkv;

/* From attn_q, attn_k and attn_v, or from attn_qkv, whose rows are those of the three in turn. */
sl_qkv sl_block_qkv(sl_builder *b, sl_value_id xn);
/* Rotates queries and keys from the first element of each head on. */
void sl_block_rope(sl_builder *b, sl_qkv a, uint32_t rope);
/* Norms of the heads of queries and keys: attn_q_norm, attn_k_norm. */
void sl_block_qk_norm(sl_builder *b, sl_qkv *a);
/* The model's heads, scores divided by the root of the head size. */
sl_build_attention sl_block_heads(const sl_hparams *hp);
/* Attention and attn_output: "t". */
sl_value_id sl_block_attend(sl_builder *b, sl_qkv a, const sl_build_attention *how);

/* act(ffn_gate) * ffn_up, then ffn_down: "f". Where ffn_gate is absent, ffn_up holds the rows of
 * both. */
sl_value_id sl_block_ffn_gated(sl_builder *b, sl_value_id xn, sl_act_kind act);
/* act(ffn_up), then ffn_down: "f". */
sl_value_id sl_block_ffn_plain(sl_builder *b, sl_value_id xn, sl_act_kind act);

typedef struct sl_block_moe {
    sl_plan_route route;
    uint32_t n_ff;     /* of one expert */
    uint32_t n_shared; /* of the expert that serves all rows, added unweighed; 0: none */
    sl_act_kind act;
    const char *choice_bias; /* weight [n_expert]; NULL: none */
} sl_block_moe;
/* Experts' hyper-parameters as most files have them. */
sl_block_moe sl_block_moe_of(sl_builder *b, sl_route_kind kind, bool normalize);
/* Where expert_feed_forward_length is absent, feed_forward_length is of a row's experts
 * together. */
void sl_block_moe_split_ff(sl_builder *b, sl_block_moe *moe);
/* Router ffn_gate_inp, experts ffn_{gate,up,down}_exps (or ffn_gate_up_exps), and the shared one:
 * "f". */
sl_value_id sl_block_experts(sl_builder *b, sl_value_id xn, const sl_block_moe *moe);
/* The expert that serves all rows, ffn_{gate,up,down}_shexp: "s". */
sl_value_id sl_block_shared_expert(sl_builder *b, sl_value_id xn, uint32_t n_ff);

/* The window of a layer in an architecture whose files must give one. */
uint32_t sl_block_needed_window(sl_builder *b, uint32_t layer, uint32_t n);
/* The rope table of windowed layers: a base of its own, never scaled for long contexts. */
uint32_t sl_block_local_rope(sl_builder *b, sl_rope_style style, float base_default);

/* Ends the body; output_norm, then output, or token_embd where the file has no output: the logits,
 * which the caller may still change. */
sl_value_id sl_block_output(sl_builder *b, sl_value_id x);
void sl_block_scale_logits(sl_builder *b, sl_value_id logits, float scale);

#endif
