/* Falcon 7B and 40B: attention and a plain GELU feed-forward part side by side; the 40B form has a
 * norm for each (attn_norm_2 for attention), the 7B form one for both. Source: arXiv 2311.16867. */
#include "model/arch/arch.h"
#include "model/arch/blocks.h"

void sl_arch_falcon(sl_builder *b) {
    const sl_hparams *hp = b->hp;
    sl_build_attention how = sl_block_heads(hp);
    uint32_t rope = sl_build_rope_table(b, SL_ROPE_NEOX, hp, true);
    sl_value_id x = sl_build_embed(b, "token_embd.weight", 1.0f, "x");
    for (uint32_t i = 0; i < hp->n_layers && b->status == SL_OK; i++) {
        sl_build_layer(b, (int32_t)i);
        sl_value_id xn = sl_build_norm(b, x, "attn_norm.weight", "xn");
        sl_value_id an = sl_build_has(b, "attn_norm_2.weight")
                             ? sl_build_norm(b, x, "attn_norm_2.weight", "an")
                             : xn;
        sl_qkv a = sl_block_qkv(b, an);
        sl_block_rope(b, a, rope);
        sl_build_add(b, x, sl_block_attend(b, a, &how));
        sl_build_add(b, x, sl_block_ffn_plain(b, xn, SL_ACT_GELU));
    }
    sl_block_output(b, x);
}
