/* Llama 1-3 and its many relatives (Mistral, Mixtral, SmolLM2, TinyLlama, ...): pre-norm decoder,
 * rotary positions, grouped query attention, gated SiLU feed-forward or experts, tied or own output
 * matrix. GGUF stores Q and K permuted, so that rotated pairs are neighbours. Source: arXiv
 * 2302.13971, 2307.09288, 2310.06825, 2401.04088; the GGUF description of "llama". */
#include "model/arch/arch.h"
#include "model/arch/blocks.h"

void sl_arch_llama(sl_builder *b) {
    const sl_hparams *hp = b->hp;
    bool has_experts = sl_build_u32(b, "expert_count", 0, 0, SL_PLAN_EXPERTS_MAX) > 0;
    sl_block_moe moe = {0};
    if (has_experts) {
        moe = sl_block_moe_of(b, SL_ROUTE_SOFTMAX, true);
    }
    sl_build_attention how = sl_block_heads(hp);
    uint32_t rope = sl_build_rope_table(b, SL_ROPE_NORM, hp, true);
    sl_value_id x = sl_build_embed(b, "token_embd.weight", 1.0f, "x");
    for (uint32_t i = 0; i < hp->n_layers && b->status == SL_OK; i++) {
        sl_build_layer(b, (int32_t)i);
        how.window = sl_build_window(b, i, 0, 0);
        sl_qkv a = sl_block_qkv(b, sl_build_norm(b, x, "attn_norm.weight", "xn"));
        sl_block_rope(b, a, rope);
        sl_build_add(b, x, sl_block_attend(b, a, &how));
        sl_value_id xn = sl_build_norm(b, x, "ffn_norm.weight", "xn");
        sl_build_add(b, x,
                     has_experts ? sl_block_experts(b, xn, &moe)
                                 : sl_block_ffn_gated(b, xn, SL_ACT_SILU));
        sl_build_ignore(b, "attn_rot_embd"); /* frequencies that old converters left behind */
        sl_build_ignore(b, "attn_rot_embd.weight");
    }
    sl_block_output(b, x);
}
