/* OLMo 2 and 3: norms only behind attention and feed-forward part, and over all of Q and K; in OLMo
 * 3 three of four layers have a window, and only the others are scaled for long contexts. Source:
 * arXiv 2501.00656. */
#include "model/arch/arch.h"
#include "model/arch/blocks.h"

#define FULL_STEP 4

static void olmo2_layer(sl_builder *b, sl_value_id x, const sl_build_attention *how,
                        uint32_t rope) {
    sl_qkv a = sl_block_qkv(b, x);
    a.q = sl_build_norm(b, a.q, "attn_q_norm.weight", "q");
    a.k = sl_build_norm(b, a.k, "attn_k_norm.weight", "k");
    sl_block_rope(b, a, rope);
    sl_value_id t = sl_block_attend(b, a, how);
    sl_build_add(b, x, sl_build_norm(b, t, "post_attention_norm.weight", "t"));
    sl_value_id f = sl_block_ffn_gated(b, x, SL_ACT_SILU);
    sl_build_add(b, x, sl_build_norm(b, f, "post_ffw_norm.weight", "f"));
}

void sl_arch_olmo2(sl_builder *b) {
    const sl_hparams *hp = b->hp;
    sl_build_attention how = sl_block_heads(hp);
    uint32_t rope = sl_build_rope_table(b, SL_ROPE_NEOX, hp, true);
    bool has_windows = sl_build_u32(b, "attention.sliding_window", 0, 0, 1u << 28) > 0;
    uint32_t rope_local = has_windows ? sl_block_local_rope(b, SL_ROPE_NEOX, hp->rope_base) : rope;
    sl_value_id x = sl_build_embed(b, "token_embd.weight", 1.0f, "x");
    for (uint32_t i = 0; i < hp->n_layers && b->status == SL_OK; i++) {
        sl_build_layer(b, (int32_t)i);
        how.window = sl_build_window(b, i, 0, FULL_STEP);
        olmo2_layer(b, x, &how, how.window > 0 ? rope_local : rope);
    }
    sl_block_output(b, x);
}
