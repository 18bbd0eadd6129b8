/* StableLM: layer norms, a part of each head rotated, gated SiLU feed-forward. The 12B model norms
 * each head of Q and K with a weight of its own and has no norm before the feed-forward part, which
 * then stands beside attention. Source: arXiv 2402.17834. */
#include "model/arch/arch.h"
#include "model/arch/blocks.h"

static void stablelm_layer(sl_builder *b, sl_value_id x, const sl_build_attention *how,
                           uint32_t rope) {
    sl_value_id xn = sl_build_norm(b, x, "attn_norm.weight", "xn");
    sl_qkv a = sl_block_qkv(b, xn);
    if (sl_build_has(b, "attn_q_norm.weight")) {
        sl_block_qk_norm(b, &a);
    }
    sl_block_rope(b, a, rope);
    sl_build_add(b, x, sl_block_attend(b, a, how));
    if (sl_build_has(b, "ffn_norm.weight")) {
        xn = sl_build_norm(b, x, "ffn_norm.weight", "xn");
    }
    sl_build_add(b, x, sl_block_ffn_gated(b, xn, SL_ACT_SILU));
}

void sl_arch_stablelm(sl_builder *b) {
    const sl_hparams *hp = b->hp;
    (void)sl_build_bool(b, "use_parallel_residual", false); /* told by the norms that there are */
    sl_build_attention how = sl_block_heads(hp);
    uint32_t rope = sl_build_rope_table(b, SL_ROPE_NEOX, hp, true);
    sl_value_id x = sl_build_embed(b, "token_embd.weight", 1.0f, "x");
    for (uint32_t i = 0; i < hp->n_layers && b->status == SL_OK; i++) {
        sl_build_layer(b, (int32_t)i);
        stablelm_layer(b, x, &how, rope);
    }
    sl_block_output(b, x);
}
