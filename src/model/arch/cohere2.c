/* Cohere 2 (Command-R7B, Command-A): Command-R's layer; three of four layers have a window and
 * rotated positions, the others see all and have no positions. Source: arXiv 2504.00698. */
#include "model/arch/arch.h"
#include "model/arch/blocks.h"

#define FULL_STEP 4

void sl_arch_cohere2(sl_builder *b) {
    const sl_hparams *hp = b->hp;
    sl_build_attention how = sl_block_heads(hp);
    uint32_t rope = sl_build_rope_table(b, SL_ROPE_NORM, hp, true);
    sl_value_id x = sl_build_embed(b, "token_embd.weight", 1.0f, "x");
    for (uint32_t i = 0; i < hp->n_layers && b->status == SL_OK; i++) {
        sl_build_layer(b, (int32_t)i);
        how.window = sl_block_needed_window(b, i, FULL_STEP);
        sl_value_id xn = sl_build_norm(b, x, "attn_norm.weight", "xn");
        sl_qkv a = sl_block_qkv(b, xn);
        if (how.window > 0) {
            sl_block_rope(b, a, rope);
        }
        sl_build_add(b, x, sl_block_attend(b, a, &how));
        sl_build_add(b, x, sl_block_ffn_gated(b, xn, SL_ACT_SILU));
    }
    sl_value_id logits = sl_block_output(b, x);
    sl_block_scale_logits(b, logits, sl_build_f32(b, "logit_scale", 1.0f, 1e-6f, 1e6f));
}
