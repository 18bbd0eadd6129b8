/* GPT-NeoX and Pythia: layer norms, a part of each head rotated, plain GELU feed-forward, biases
 * everywhere; attention and feed-forward part side by side, each with a norm of its own, or one
 * after the other. Source: arXiv 2204.06745. */
#include "model/arch/arch.h"
#include "model/arch/blocks.h"

static void gptneox_layer(sl_builder *b, sl_value_id x, const sl_build_attention *how,
                          uint32_t rope, bool parallel) {
    sl_qkv a = sl_block_qkv(b, sl_build_norm(b, x, "attn_norm.weight", "xn"));
    sl_block_rope(b, a, rope);
    sl_value_id t = sl_block_attend(b, a, how);
    if (!parallel) {
        sl_build_add(b, x, t);
    }
    sl_value_id xn = sl_build_norm(b, x, "ffn_norm.weight", "xn");
    sl_value_id f = sl_block_ffn_plain(b, xn, SL_ACT_GELU);
    if (parallel) {
        sl_build_add(b, x, t);
    }
    sl_build_add(b, x, f);
}

void sl_arch_gptneox(sl_builder *b) {
    const sl_hparams *hp = b->hp;
    sl_build_attention how = sl_block_heads(hp);
    bool parallel = sl_build_bool(b, "use_parallel_residual", true);
    uint32_t rope = sl_build_rope_table(b, SL_ROPE_NEOX, hp, true);
    sl_value_id x = sl_build_embed(b, "token_embd.weight", 1.0f, "x");
    for (uint32_t i = 0; i < hp->n_layers && b->status == SL_OK; i++) {
        sl_build_layer(b, (int32_t)i);
        gptneox_layer(b, x, &how, rope, parallel);
    }
    sl_block_output(b, x);
}
