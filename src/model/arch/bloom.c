/* BLOOM: ALiBi in place of positions, a norm right behind the embedding, plain GELU feed-forward,
 * biases everywhere. Source: arXiv 2211.05100, 2108.12409. */
#include "model/arch/arch.h"
#include "model/arch/blocks.h"

#define MAX_ALIBI 8.0f
#define CTX_MAX (1u << 20)

void sl_arch_bloom(sl_builder *b) {
    const sl_hparams *hp = b->hp;
    sl_build_attention how = sl_block_heads(hp);
    how.max_alibi = MAX_ALIBI;
    b->plan->n_ctx_max = CTX_MAX; /* ALiBi has no last position */
    sl_value_id x = sl_build_embed(b, "token_embd.weight", 1.0f, "x");
    x = sl_build_norm(b, x, "token_embd_norm.weight", "x");
    for (uint32_t i = 0; i < hp->n_layers && b->status == SL_OK; i++) {
        sl_build_layer(b, (int32_t)i);
        sl_qkv a = sl_block_qkv(b, sl_build_norm(b, x, "attn_norm.weight", "xn"));
        sl_build_add(b, x, sl_block_attend(b, a, &how));
        sl_value_id xn = sl_build_norm(b, x, "ffn_norm.weight", "xn");
        sl_build_add(b, x, sl_block_ffn_plain(b, xn, SL_ACT_GELU_TANH));
    }
    sl_block_output(b, x);
}
