/* Qwen 1.5 and 2 with experts: shares are not normalised, and one more expert serves every row,
 * weighed by a sigmoid of its own. Source: arXiv 2407.10671, section 2.2.2. */
#include "model/arch/arch.h"
#include "model/arch/blocks.h"

void sl_arch_qwen2moe(sl_builder *b) {
    const sl_hparams *hp = b->hp;
    sl_block_moe moe = sl_block_moe_of(b, SL_ROUTE_SOFTMAX, false);
    sl_block_moe_split_ff(b, &moe);
    uint32_t n_shared = sl_build_u32(b, "expert_shared_feed_forward_length", hp->n_ff, 1, 1u << 20);
    sl_build_attention how = sl_block_heads(hp);
    uint32_t rope = sl_build_rope_table(b, SL_ROPE_NEOX, hp, true);
    sl_value_id x = sl_build_embed(b, "token_embd.weight", 1.0f, "x");
    for (uint32_t i = 0; i < hp->n_layers && b->status == SL_OK; i++) {
        sl_build_layer(b, (int32_t)i);
        sl_qkv a = sl_block_qkv(b, sl_build_norm(b, x, "attn_norm.weight", "xn"));
        sl_block_rope(b, a, rope);
        sl_build_add(b, x, sl_block_attend(b, a, &how));
        sl_value_id xn = sl_build_norm(b, x, "ffn_norm.weight", "xn");
        sl_value_id f = sl_block_experts(b, xn, &moe);
        sl_value_id s = sl_block_shared_expert(b, xn, n_shared);
        sl_value_id score = sl_build_linear(b, xn, "ffn_gate_inp_shexp.weight", 1, "shared_score");
        sl_build_scale_by(b, s, sl_build_act(b, SL_ACT_SIGMOID, score, "shared_score"));
        sl_build_add(b, x, f);
        sl_build_add(b, x, s);
    }
    sl_block_output(b, x);
}
