/* Command-R: attention and feed-forward part side by side on one layer norm without bias, logits
 * scaled; the large model norms each head of Q and K with a weight of its own. Source: the models'
 * cards and configuration. */
#include "model/arch/arch.h"
#include "model/arch/blocks.h"

void sl_arch_command_r(sl_builder *b) {
    const sl_hparams *hp = b->hp;
    sl_build_attention how = sl_block_heads(hp);
    uint32_t rope = sl_build_rope_table(b, SL_ROPE_NORM, hp, true);
    sl_value_id x = sl_build_embed(b, "token_embd.weight", 1.0f, "x");
    for (uint32_t i = 0; i < hp->n_layers && b->status == SL_OK; i++) {
        sl_build_layer(b, (int32_t)i);
        sl_value_id xn = sl_build_norm(b, x, "attn_norm.weight", "xn");
        sl_qkv a = sl_block_qkv(b, xn);
        if (sl_build_has(b, "attn_q_norm.weight")) {
            sl_block_qk_norm(b, &a);
        }
        sl_block_rope(b, a, rope);
        sl_build_add(b, x, sl_block_attend(b, a, &how));
        sl_build_add(b, x, sl_block_ffn_gated(b, xn, SL_ACT_SILU));
    }
    sl_value_id logits = sl_block_output(b, x);
    sl_block_scale_logits(b, logits, sl_build_f32(b, "logit_scale", 1.0f, 1e-6f, 1e6f));
}
