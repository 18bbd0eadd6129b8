/* Qwen 2 and 2.5: Llama's layer with biases on Q, K and V, and rotated halves. Source: arXiv
 * 2407.10671. */
#include "model/arch/arch.h"
#include "model/arch/blocks.h"

void sl_arch_qwen2(sl_builder *b) {
    const sl_hparams *hp = b->hp;
    sl_build_attention how = sl_block_heads(hp);
    uint32_t rope = sl_build_rope_table(b, SL_ROPE_NEOX, hp, true);
    sl_value_id x = sl_build_embed(b, "token_embd.weight", 1.0f, "x");
    for (uint32_t i = 0; i < hp->n_layers && b->status == SL_OK; i++) {
        sl_build_layer(b, (int32_t)i);
        sl_qkv a = sl_block_qkv(b, sl_build_norm(b, x, "attn_norm.weight", "xn"));
        sl_block_rope(b, a, rope);
        sl_build_add(b, x, sl_block_attend(b, a, &how));
        sl_value_id xn = sl_build_norm(b, x, "ffn_norm.weight", "xn");
        sl_build_add(b, x, sl_block_ffn_gated(b, xn, SL_ACT_SILU));
    }
    sl_block_output(b, x);
}
