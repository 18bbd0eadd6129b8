/* Gemma 2: Gemma with a norm behind each part as well, every second layer with a window, and caps
 * on the scores of attention and on the logits. Source: arXiv 2408.00118. */
#include <math.h>

#include "model/arch/arch.h"
#include "model/arch/blocks.h"

#define WINDOW_DEFAULT 4096 /* files from before the key have the published models' */
#define N_LAYERS_27B 46

void sl_arch_gemma2(sl_builder *b) {
    const sl_hparams *hp = b->hp;
    sl_build_attention how = sl_block_heads(hp);
    how.softcap = sl_build_f32(b, "attn_logit_softcapping", 50.0f, 0.0f, 1e6f);
    if (hp->n_layers == N_LAYERS_27B) { /* whose scale no key holds */
        how.scale = 1.0f / sqrtf((float)hp->n_embd / (float)hp->n_head);
    }
    uint32_t rope = sl_build_rope_table(b, SL_ROPE_NEOX, hp, true);
    sl_value_id x = sl_build_embed(b, "token_embd.weight", sqrtf((float)hp->n_embd), "x");
    for (uint32_t i = 0; i < hp->n_layers && b->status == SL_OK; i++) {
        sl_build_layer(b, (int32_t)i);
        how.window = sl_build_window(b, i, WINDOW_DEFAULT, 2);
        sl_qkv a = sl_block_qkv(b, sl_build_norm(b, x, "attn_norm.weight", "xn"));
        sl_block_rope(b, a, rope);
        sl_value_id t = sl_block_attend(b, a, &how);
        sl_build_add(b, x, sl_build_norm(b, t, "post_attention_norm.weight", "t"));
        sl_value_id xn = sl_build_norm(b, x, "ffn_norm.weight", "xn");
        sl_value_id f = sl_block_ffn_gated(b, xn, SL_ACT_GELU_TANH);
        sl_build_add(b, x, sl_build_norm(b, f, "post_ffw_norm.weight", "f"));
    }
    sl_value_id logits = sl_block_output(b, x);
    float cap = sl_build_f32(b, "final_logit_softcapping", 30.0f, 0.0f, 1e6f);
    if (cap > 0.0f) {
        sl_build_softcap(b, logits, cap);
    }
}
