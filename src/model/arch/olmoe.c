/* OLMoE: Llama's layer with experts whose shares are not normalised, and norms over all of Q and K.
 * Source: arXiv 2409.02060. */
#include "model/arch/arch.h"
#include "model/arch/blocks.h"

void sl_arch_olmoe(sl_builder *b) {
    const sl_hparams *hp = b->hp;
    sl_block_moe moe = sl_block_moe_of(b, SL_ROUTE_SOFTMAX, false);
    sl_build_attention how = sl_block_heads(hp);
    uint32_t rope = sl_build_rope_table(b, SL_ROPE_NEOX, hp, true);
    sl_value_id x = sl_build_embed(b, "token_embd.weight", 1.0f, "x");
    for (uint32_t i = 0; i < hp->n_layers && b->status == SL_OK; i++) {
        sl_build_layer(b, (int32_t)i);
        sl_qkv a = sl_block_qkv(b, sl_build_norm(b, x, "attn_norm.weight", "xn"));
        a.q = sl_build_norm(b, a.q, "attn_q_norm.weight", "q");
        a.k = sl_build_norm(b, a.k, "attn_k_norm.weight", "k");
        sl_block_rope(b, a, rope);
        sl_build_add(b, x, sl_block_attend(b, a, &how));
        sl_value_id xn = sl_build_norm(b, x, "ffn_norm.weight", "xn");
        sl_build_add(b, x, sl_block_experts(b, xn, &moe));
    }
    sl_block_output(b, x);
}
