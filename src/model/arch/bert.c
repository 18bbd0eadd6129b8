/* BERT encoders: token, position and type embeddings, every row sees all rows, layer norms behind
 * each part, biases everywhere. Rows are pooled by the file's pooling type. Source: arXiv
 * 1810.04805; the GGUF description of "bert". */
#include "model/arch/arch.h"
#include "model/arch/blocks.h"

/* GGUF's numbers of pooling types. */
static sl_pooling bert_pooling(sl_builder *b) {
    static const sl_pooling types[] = {SL_POOLING_NONE, SL_POOLING_MEAN, SL_POOLING_CLS,
                                       SL_POOLING_LAST};
    return types[sl_build_u32(b, "pooling_type", 0, 0, 3)];
}

void sl_arch_bert(sl_builder *b) {
    const sl_hparams *hp = b->hp;
    if (sl_build_bool(b, "attention.causal", true)) {
        sl_build_fail(b, SL_ERR_UNSUPPORTED,
                      "key %s.attention.causal is not false; encoders of architecture %s see all "
                      "tokens",
                      hp->arch, hp->arch);
    }
    b->plan->pooling = bert_pooling(b);
    sl_build_attention how = sl_block_heads(hp);
    sl_value_id x = sl_build_embed(b, "token_embd.weight", 1.0f, "x");
    if (sl_build_has(b, "token_types.weight")) {
        sl_build_add_row(b, x, "token_types.weight", 0); /* one text: all tokens are of type 0 */
    }
    sl_build_add(b, x, sl_build_position(b, "position_embd.weight", "t"));
    x = sl_build_norm(b, x, "token_embd_norm.weight", "x");
    for (uint32_t i = 0; i < hp->n_layers && b->status == SL_OK; i++) {
        sl_build_layer(b, (int32_t)i);
        sl_qkv a = sl_block_qkv(b, x);
        sl_build_add(b, x, sl_block_attend(b, a, &how));
        x = sl_build_norm(b, x, "attn_output_norm.weight", "x");
        sl_build_add(b, x, sl_block_ffn_plain(b, x, SL_ACT_GELU));
        x = sl_build_norm(b, x, "layer_output_norm.weight", "x");
    }
    sl_build_encoder(b, x);
}
