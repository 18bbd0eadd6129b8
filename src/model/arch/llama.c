/* Llama 1-3 and its many relatives (SmolLM2, TinyLlama, ...): pre-norm decoder, rotary positions,
 * grouped query attention, gated SiLU feed-forward, tied or own output matrix. GGUF stores Q and K
 * permuted, so that rotated pairs are neighbours. Source: arXiv 2302.13971, 2307.09288; the GGUF
 * description of "llama". */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>

#include "base/error.h"
#include "model/arch/arch.h"
#include "model/rope_table.h"

static uint32_t llama_rope(sl_builder *b) {
    const sl_hparams *hp = b->hp;
    float inv_freq[2048]; /* head sizes end at 4096, see hparams */
    float mscale;
    const float *factors = sl_build_floats(b, "rope_freqs.weight", hp->n_rot / 2);
    sl_rope_table_fill(hp, factors, inv_freq, &mscale);
    for (uint32_t j = 0; j < hp->n_rot / 2; j++) {
        if (b->status == SL_OK && !(isfinite(inv_freq[j]) && inv_freq[j] >= 0.0f)) {
            b->status = SL_FAIL(b->err, SL_ERR_FORMAT,
                                "%s: the rotary frequency of pair %" PRIu32
                                " is %g; the rope keys of the file%s do "
                                "not give finite positive frequencies",
                                sl_gguf_path(b->file), j, (double)inv_freq[j],
                                factors != NULL ? " and its tensor rope_freqs.weight" : "");
        }
    }
    return sl_build_rope_table(b, SL_ROPE_NORM, hp->n_rot, inv_freq, mscale);
}

static void llama_layer(sl_builder *b, sl_value_id x, uint32_t group, uint32_t rope) {
    const sl_hparams *hp = b->hp;
    float scale = 1.0f / sqrtf((float)hp->d_k);

    sl_value_id xn = sl_build_rms_norm(b, x, "attn_norm.weight", "xn");
    sl_value_id q = sl_build_linear(b, xn, "attn_q.weight", hp->n_head * hp->d_k, "q");
    sl_value_id k = sl_build_linear(b, xn, "attn_k.weight", hp->n_kv_head * hp->d_k, "k");
    sl_value_id v = sl_build_linear(b, xn, "attn_v.weight", hp->n_kv_head * hp->d_v, "v");
    sl_build_rope(b, q, hp->n_head, hp->d_k, rope);
    sl_build_rope(b, k, hp->n_kv_head, hp->d_k, rope);
    sl_value_id y = sl_build_attend(b, q, k, v, group, hp->n_head, scale, "y");
    sl_build_add(b, x, sl_build_linear(b, y, "attn_output.weight", hp->n_embd, "t"));

    sl_value_id fn = sl_build_rms_norm(b, x, "ffn_norm.weight", "xn");
    sl_value_id gate = sl_build_linear(b, fn, "ffn_gate.weight", hp->n_ff, "gate");
    sl_value_id up = sl_build_linear(b, fn, "ffn_up.weight", hp->n_ff, "up");
    sl_value_id h = sl_build_silu_mul(b, gate, up, "gate");
    sl_build_add(b, x, sl_build_linear(b, h, "ffn_down.weight", hp->n_embd, "t"));
    sl_build_ignore(b, "attn_rot_embd"); /* frequencies that old converters left behind */
    sl_build_ignore(b, "attn_rot_embd.weight");
}

void sl_arch_llama(sl_builder *b) {
    const sl_hparams *hp = b->hp;
    if (hp->n_expert > 0) {
        b->status = SL_FAIL(b->err, SL_ERR_UNSUPPORTED,
                            "%s: key %s.expert_count is %" PRIu32
                            "; mixture-of-experts models are not supported yet",
                            sl_gguf_path(b->file), hp->arch, hp->n_expert);
        return;
    }
    uint32_t rope = llama_rope(b);
    uint32_t group = sl_build_group(b, hp->n_kv_head, hp->d_k, hp->d_v);
    sl_value_id x = sl_build_embed(b, "token_embd.weight", "x");
    for (uint32_t i = 0; i < hp->n_layers && b->status == SL_OK; i++) {
        sl_build_layer(b, (int32_t)i);
        llama_layer(b, x, group, rope);
    }
    sl_build_head(b, x);
    sl_value_id xn = sl_build_rms_norm(b, x, "output_norm.weight", "xn");
    const char *output = sl_build_has(b, "output.weight") ? "output.weight" : "token_embd.weight";
    sl_build_logits(b, sl_build_linear(b, xn, output, hp->n_vocab, "logits"));
}
