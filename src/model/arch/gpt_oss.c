/* gpt-oss: attention with a sink for each head and a window in every second layer, experts with
 * biases and a clamped gate, chosen and weighed by the softmax of the best scores. Source: the
 * model card, arXiv 2508.10925. */
#include "model/arch/arch.h"
#include "model/arch/blocks.h"

void sl_arch_gpt_oss(sl_builder *b) {
    const sl_hparams *hp = b->hp;
    sl_block_moe moe = sl_block_moe_of(b, SL_ROUTE_SOFTMAX_OF_USED, true);
    moe.act = SL_ACT_SWIGLU_CLAMPED;
    sl_build_attention how = sl_block_heads(hp);
    how.sinks = "attn_sinks.weight";
    uint32_t rope = sl_build_rope_table(b, SL_ROPE_NEOX, hp, true);
    sl_value_id x = sl_build_embed(b, "token_embd.weight", 1.0f, "x");
    for (uint32_t i = 0; i < hp->n_layers && b->status == SL_OK; i++) {
        sl_build_layer(b, (int32_t)i);
        how.window = sl_block_needed_window(b, i, 2);
        sl_qkv a = sl_block_qkv(b, sl_build_norm(b, x, "attn_norm.weight", "xn"));
        sl_block_rope(b, a, rope);
        sl_build_add(b, x, sl_block_attend(b, a, &how));
        sl_value_id xn = sl_build_norm(b, x, "post_attention_norm.weight", "xn");
        sl_build_add(b, x, sl_block_experts(b, xn, &moe));
    }
    sl_block_output(b, x);
}
