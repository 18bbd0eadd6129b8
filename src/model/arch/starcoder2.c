/* StarCoder 2: grouped query attention and a plain GELU feed-forward part between layer norms,
 * biases everywhere. Source: arXiv 2402.19173. */
#include "model/arch/arch.h"
#include "model/arch/blocks.h"

void sl_arch_starcoder2(sl_builder *b) {
    const sl_hparams *hp = b->hp;
    sl_build_attention how = sl_block_heads(hp);
    uint32_t rope = sl_build_rope_table(b, SL_ROPE_NEOX, hp, true);
    sl_value_id x = sl_build_embed(b, "token_embd.weight", 1.0f, "x");
    for (uint32_t i = 0; i < hp->n_layers && b->status == SL_OK; i++) {
        sl_build_layer(b, (int32_t)i);
        how.window = sl_build_window(b, i, 0, 0);
        sl_qkv a = sl_block_qkv(b, sl_build_norm(b, x, "attn_norm.weight", "xn"));
        sl_block_rope(b, a, rope);
        sl_build_add(b, x, sl_block_attend(b, a, &how));
        sl_value_id xn = sl_build_norm(b, x, "ffn_norm.weight", "xn");
        sl_build_add(b, x, sl_block_ffn_plain(b, xn, SL_ACT_GELU_TANH));
    }
    sl_block_output(b, x);
}
