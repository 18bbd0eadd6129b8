/* Phi-3, 3.5 and 4: Llama's layer with one matrix for Q, K and V, one for gate and up, a window in
 * every layer of some models, and longrope: frequencies divided by one list of factors while the
 * whole sequence is no longer than the original context, by another beyond it. Source: arXiv
 * 2404.14219, 2402.13753. */
#include "model/arch/arch.h"
#include "model/arch/blocks.h"

void sl_arch_phi3(sl_builder *b) {
    const sl_hparams *hp = b->hp;
    sl_build_attention how = sl_block_heads(hp);
    uint32_t rope = sl_build_longrope_table(b, SL_ROPE_NEOX);
    sl_value_id x = sl_build_embed(b, "token_embd.weight", 1.0f, "x");
    for (uint32_t i = 0; i < hp->n_layers && b->status == SL_OK; i++) {
        sl_build_layer(b, (int32_t)i);
        how.window = sl_build_window(b, i, 0, 0);
        sl_qkv a = sl_block_qkv(b, sl_build_norm(b, x, "attn_norm.weight", "xn"));
        sl_block_rope(b, a, rope);
        sl_build_add(b, x, sl_block_attend(b, a, &how));
        sl_value_id xn = sl_build_norm(b, x, "ffn_norm.weight", "xn");
        sl_build_add(b, x, sl_block_ffn_gated(b, xn, SL_ACT_SILU));
    }
    sl_block_output(b, x);
}
