/* Qwen 3, dense and with experts: Qwen 2's layer without biases, with norms of the heads of Q and
 * K before the rotation. Source: arXiv 2505.09388. */
#include <string.h>

#include "model/arch/arch.h"
#include "model/arch/blocks.h"

void sl_arch_qwen3(sl_builder *b) {
    const sl_hparams *hp = b->hp;
    bool has_experts = strcmp(hp->arch, "qwen3moe") == 0;
    sl_block_moe moe = {0};
    if (has_experts) {
        moe = sl_block_moe_of(b, SL_ROUTE_SOFTMAX, true);
        sl_block_moe_split_ff(b, &moe);
    }
    sl_build_attention how = sl_block_heads(hp);
    uint32_t rope = sl_build_rope_table(b, SL_ROPE_NEOX, hp, true);
    sl_value_id x = sl_build_embed(b, "token_embd.weight", 1.0f, "x");
    for (uint32_t i = 0; i < hp->n_layers && b->status == SL_OK; i++) {
        sl_build_layer(b, (int32_t)i);
        sl_qkv a = sl_block_qkv(b, sl_build_norm(b, x, "attn_norm.weight", "xn"));
        sl_block_qk_norm(b, &a);
        sl_block_rope(b, a, rope);
        sl_build_add(b, x, sl_block_attend(b, a, &how));
        sl_value_id xn = sl_build_norm(b, x, "ffn_norm.weight", "xn");
        sl_build_add(b, x,
                     has_experts ? sl_block_experts(b, xn, &moe)
                                 : sl_block_ffn_gated(b, xn, SL_ACT_SILU));
    }
    sl_block_output(b, x);
}
