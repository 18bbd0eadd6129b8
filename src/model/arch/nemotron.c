/* Nemotron-4 and Minitron: layer norms, a part of each head rotated, a plain feed-forward part with
 * squared ReLU, biases where the file has them. The model's norms scale by 1 + weight; files hold
 * the sum. Sources: arXiv 2402.16819, 2407.14679. */
#include "model/arch/arch.h"
#include "model/arch/blocks.h"

void sl_arch_nemotron(sl_builder *b) {
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
        sl_build_add(b, x, sl_block_ffn_plain(b, xn, SL_ACT_RELU_SQUARED));
    }
    sl_block_output(b, x);
}
