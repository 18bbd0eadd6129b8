/* SmolLM3: Llama's layer, but every fourth layer has no positions at all. Source: the model's card
 * and arXiv 2501.18795 for layers without rotation. */
#include "model/arch/arch.h"
#include "model/arch/blocks.h"

#define NO_ROPE_STEP 4

void sl_arch_smollm3(sl_builder *b) {
    const sl_hparams *hp = b->hp;
    sl_build_attention how = sl_block_heads(hp);
    uint32_t rope = sl_build_rope_table(b, SL_ROPE_NORM, hp, true);
    sl_value_id x = sl_build_embed(b, "token_embd.weight", 1.0f, "x");
    for (uint32_t i = 0; i < hp->n_layers && b->status == SL_OK; i++) {
        sl_build_layer(b, (int32_t)i);
        sl_qkv a = sl_block_qkv(b, sl_build_norm(b, x, "attn_norm.weight", "xn"));
        if ((i + 1) % NO_ROPE_STEP != 0) {
            sl_block_rope(b, a, rope);
        }
        sl_build_add(b, x, sl_block_attend(b, a, &how));
        sl_value_id xn = sl_build_norm(b, x, "ffn_norm.weight", "xn");
        sl_build_add(b, x, sl_block_ffn_gated(b, xn, SL_ACT_SILU));
    }
    sl_block_output(b, x);
}
