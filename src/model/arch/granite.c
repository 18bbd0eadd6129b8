/* Granite 3, dense and with experts: Llama's layer with four scales (embedding, scores, residual,
 * logits); experts are weighed by the softmax of the chosen ones' scores. Source: the models' cards
 * and configuration; arXiv 2408.13359 for the scales. */
#include <string.h>

#include "model/arch/arch.h"
#include "model/arch/blocks.h"

void sl_arch_granite(sl_builder *b) {
    const sl_hparams *hp = b->hp;
    bool has_experts = strcmp(hp->arch, "granitemoe") == 0;
    sl_block_moe moe = {0};
    if (has_experts) {
        moe = sl_block_moe_of(b, SL_ROUTE_SOFTMAX_OF_USED, true);
        moe.n_shared = sl_build_u32(b, "expert_shared_feed_forward_length", 0, 0, 1u << 20);
    }
    sl_build_attention how = sl_block_heads(hp);
    float scale = sl_build_f32(b, "attention.scale", 0.0f, 0.0f, 1e6f);
    how.scale = scale > 0.0f ? scale : how.scale;
    float residual = sl_build_f32(b, "residual_scale", 1.0f, 0.0f, 1e6f);
    residual = residual == 0.0f ? 1.0f : residual; /* 0 means none */
    float embedding = sl_build_f32(b, "embedding_scale", 1.0f, 0.0f, 1e6f);
    uint32_t rope = sl_build_rope_table(b, SL_ROPE_NORM, hp, true);
    sl_value_id x = sl_build_embed(b, "token_embd.weight", embedding == 0.0f ? 1.0f : embedding,
                                   "x");
    for (uint32_t i = 0; i < hp->n_layers && b->status == SL_OK; i++) {
        sl_build_layer(b, (int32_t)i);
        sl_qkv a = sl_block_qkv(b, sl_build_norm(b, x, "attn_norm.weight", "xn"));
        sl_block_rope(b, a, rope);
        sl_build_add_scaled(b, x, sl_block_attend(b, a, &how), residual);
        sl_value_id xn = sl_build_norm(b, x, "ffn_norm.weight", "xn");
        sl_value_id f = has_experts ? sl_block_experts(b, xn, &moe)
                                    : sl_block_ffn_gated(b, xn, SL_ACT_SILU);
        sl_build_add_scaled(b, x, f, residual);
    }
    sl_value_id logits = sl_block_output(b, x);
    float divisor = sl_build_f32(b, "logit_scale", 1.0f, 0.0f, 1e6f);
    sl_block_scale_logits(b, logits, divisor == 0.0f ? 1.0f : 1.0f / divisor);
}
