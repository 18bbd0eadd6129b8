/* Gemma 3: Gemma 2 with norms of the heads of Q and K in place of the caps; five of six layers have
 * a window and a rope base of their own, and only the others are scaled for long contexts. Source:
 * arXiv 2503.19786. */
#include <math.h>

#include "model/arch/arch.h"
#include "model/arch/blocks.h"

#define FULL_STEP 6
#define N_LAYERS_27B 62

static void gemma3_layer(sl_builder *b, sl_value_id x, const sl_build_attention *how,
                         uint32_t rope) {
    sl_qkv a = sl_block_qkv(b, sl_build_norm(b, x, "attn_norm.weight", "xn"));
    sl_block_qk_norm(b, &a);
    sl_block_rope(b, a, rope);
    sl_value_id t = sl_block_attend(b, a, how);
    sl_build_add(b, x, sl_build_norm(b, t, "post_attention_norm.weight", "t"));
    sl_value_id xn = sl_build_norm(b, x, "ffn_norm.weight", "xn");
    sl_value_id f = sl_block_ffn_gated(b, xn, SL_ACT_GELU_TANH);
    sl_build_add(b, x, sl_build_norm(b, f, "post_ffw_norm.weight", "f"));
}

void sl_arch_gemma3(sl_builder *b) {
    const sl_hparams *hp = b->hp;
    sl_build_attention how = sl_block_heads(hp);
    if (hp->n_layers == N_LAYERS_27B) { /* whose scale no key holds */
        how.scale = 1.0f / sqrtf((float)hp->n_embd / (float)hp->n_head);
    }
    uint32_t rope = sl_build_rope_table(b, SL_ROPE_NEOX, hp, true);
    uint32_t rope_local = sl_block_local_rope(b, SL_ROPE_NEOX, 10000.0f);
    sl_value_id x = sl_build_embed(b, "token_embd.weight", sqrtf((float)hp->n_embd), "x");
    for (uint32_t i = 0; i < hp->n_layers && b->status == SL_OK; i++) {
        sl_build_layer(b, (int32_t)i);
        how.window = sl_build_window(b, i, 0, FULL_STEP);
        gemma3_layer(b, x, &how, how.window > 0 ? rope_local : rope);
    }
    sl_value_id logits = sl_block_output(b, x);
    float cap = sl_build_f32(b, "final_logit_softcapping", 0.0f, 0.0f, 1e6f);
    if (cap > 0.0f) {
        sl_build_softcap(b, logits, cap);
    }
}
