/* DeepSeek V2 and V3: latent attention, and experts of which some serve every row.
 *
 * Keys and values of all heads are products of one latent vector c of a token, with a rotated part
 * r that all heads share. The pages hold (c, r) as the key and c as the value of one KV head: the
 * heads' key matrices go into the query (q' = K_h^T q), their value matrices behind the sum over c,
 * so attention is that of n_head queries on one KV head of size [latent + rotated]. Older files
 * hold both matrices as one, attn_kv_b; there keys and values are computed and stored for each
 * head. Source: arXiv 2405.04434, 2412.19437. */
#include <inttypes.h>
#include <math.h>

#include "model/arch/arch.h"
#include "model/arch/blocks.h"

typedef struct deepseek2 {
    uint32_t n_q_latent, n_latent; /* 0: queries have no latent vector */
    uint32_t d_k, d_v, d_rot;      /* of a head, before the latent form */
    float scale;
    uint32_t rope;
    uint32_t n_dense; /* leading layers without experts */
    sl_block_moe moe;
} deepseek2;

static void deepseek2_read_experts(sl_builder *b, deepseek2 *m) {
    sl_plan_route *r = &m->moe.route;
    m->moe = sl_block_moe_of(b, SL_ROUTE_SOFTMAX, false);
    m->moe.n_shared = m->moe.n_ff * sl_build_u32(b, "expert_shared_count", 0, 0, 64);
    r->n_group = sl_build_u32(b, "expert_group_count", 1, 0, SL_PLAN_EXPERTS_MAX);
    r->n_group_used = sl_build_u32(b, "expert_group_used_count", 1, 0, SL_PLAN_EXPERTS_MAX);
    if (r->n_group > 1 &&
        (r->n_expert % r->n_group != 0 || r->n_group_used == 0 || r->n_group_used > r->n_group ||
         r->n_used > r->n_expert / r->n_group * r->n_group_used)) {
        sl_build_fail(b, SL_ERR_FORMAT,
                      "keys %s.expert_group_count = %" PRIu32
                      " and expert_group_used_count = %" PRIu32 " do not go with %" PRIu32
                      " experts of which %" PRIu32 " are used",
                      b->hp->arch, r->n_group, r->n_group_used, r->n_expert, r->n_used);
    }
}

static deepseek2 deepseek2_read(sl_builder *b) {
    const sl_hparams *hp = b->hp;
    deepseek2 m = {.d_rot = hp->n_rot};
    m.n_q_latent = sl_build_u32(b, "attention.q_lora_rank", 0, 0, 1u << 16);
    m.n_latent = sl_build_u32(b, "attention.kv_lora_rank", 0, 1, 4096);
    m.d_k = sl_build_u32(b, "attention.key_length_mla", hp->d_k, 1, 4096);
    m.d_v = sl_build_u32(b, "attention.value_length_mla", hp->d_v, 1, 4096);
    m.n_dense = sl_build_u32(b, "leading_dense_block_count", 0, 0, hp->n_layers);
    if (m.n_dense < hp->n_layers) {
        deepseek2_read_experts(b, &m);
    }
    if (m.n_latent == 0 || m.d_rot >= m.d_k) {
        sl_build_fail(b, SL_ERR_FORMAT,
                      "keys %s.attention.kv_lora_rank = %" PRIu32
                      ", %s.rope.dimension_count = %" PRIu32 " and the head size of %" PRIu32
                      " do not go together",
                      hp->arch, m.n_latent, hp->arch, m.d_rot, m.d_k);
    }
    /* What YaRN multiplies cos and sin by stands in the scale of the scores here, squared. */
    sl_hparams rope = *hp;
    float log_factor = sl_build_f32(b, "rope.scaling.yarn_log_multiplier", 0.0f, 0.0f, 10.0f);
    float mscale = 1.0f;
    if (hp->rope_scaling == SL_ROPE_SCALING_YARN && log_factor > 0.0f && hp->rope_factor > 1.0f) {
        mscale = 1.0f + log_factor * logf(hp->rope_factor);
        rope.rope_yarn_factor = 1.0f;
    }
    m.scale = mscale * mscale / sqrtf((float)m.d_k);
    m.rope = sl_build_rope_table(b, SL_ROPE_NORM, &rope, true);
    return m;
}

static sl_value_id deepseek2_query(sl_builder *b, const deepseek2 *m, sl_value_id xn) {
    uint32_t n_q = b->hp->n_head * m->d_k;
    if (m->n_q_latent == 0 || !sl_build_has(b, "attn_q_a.weight")) {
        return sl_build_linear(b, xn, "attn_q.weight", n_q, "q");
    }
    sl_value_id latent = sl_build_linear(b, xn, "attn_q_a.weight", m->n_q_latent, "q_latent");
    latent = sl_build_norm(b, latent, "attn_q_a_norm.weight", "q_latent");
    return sl_build_linear(b, latent, "attn_q_b.weight", n_q, "q");
}

/* On the latent vectors themselves. */
static sl_value_id deepseek2_attend_latent(sl_builder *b, const deepseek2 *m, sl_value_id q,
                                           sl_value_id c, sl_value_id kv) {
    uint32_t n_head = b->hp->n_head, d = m->n_latent + m->d_rot, d_plain = m->d_k - m->d_rot;
    sl_build_pieces whole = {.stride = d, .n = m->n_latent};
    sl_build_pieces tail = {.stride = d, .first = m->n_latent, .n = m->d_rot};
    sl_build_pieces q_plain = {.stride = m->d_k, .n = d_plain};
    sl_build_pieces q_rot = {.stride = m->d_k, .first = d_plain, .n = m->d_rot};
    (void)sl_build_copy(b, c, 1, whole, whole, d, "k");
    sl_value_id k = sl_build_copy(b, kv, 1, tail, tail, d, "k");
    (void)sl_build_linear_heads(b, q, "attn_k_b.weight", n_head, q_plain, whole, n_head * d,
                                "q_of_latent");
    sl_value_id ql = sl_build_copy(b, q, n_head, q_rot, tail, n_head * d, "q_of_latent");
    sl_build_attention how = {
        .n_head = n_head, .n_kv_head = 1, .d_k = d, .d_v = m->n_latent, .scale = m->scale};
    sl_value_id y = sl_build_attend(b, ql, k, c, &how, "y_latent");
    sl_build_pieces from = {.stride = m->n_latent, .n = m->n_latent};
    sl_build_pieces to = {.stride = m->d_v, .n = m->d_v};
    return sl_build_linear_heads(b, y, "attn_v_b.weight", n_head, from, to, n_head * m->d_v, "y");
}

/* On keys and values of each head. */
static sl_value_id deepseek2_attend_heads(sl_builder *b, const deepseek2 *m, sl_value_id q,
                                          sl_value_id c, sl_value_id kv) {
    uint32_t n_head = b->hp->n_head, d_plain = m->d_k - m->d_rot, both = d_plain + m->d_v;
    sl_value_id all = sl_build_linear(b, c, "attn_kv_b.weight", n_head * both, "kv_heads");
    sl_build_pieces plain = {.stride = both, .n = d_plain};
    sl_build_pieces values = {.stride = both, .first = d_plain, .n = m->d_v};
    sl_build_pieces k_plain = {.stride = m->d_k, .n = d_plain};
    sl_build_pieces shared = {.stride = 0, .first = m->n_latent, .n = m->d_rot};
    sl_build_pieces k_rot = {.stride = m->d_k, .first = d_plain, .n = m->d_rot};
    sl_build_pieces v_all = {.stride = m->d_v, .n = m->d_v};
    (void)sl_build_copy(b, all, n_head, plain, k_plain, n_head * m->d_k, "k");
    sl_value_id k = sl_build_copy(b, kv, n_head, shared, k_rot, n_head * m->d_k, "k");
    sl_value_id v = sl_build_copy(b, all, n_head, values, v_all, n_head * m->d_v, "v");
    sl_build_attention how = {
        .n_head = n_head, .n_kv_head = n_head, .d_k = m->d_k, .d_v = m->d_v, .scale = m->scale};
    return sl_build_attend(b, q, k, v, &how, "y");
}

static sl_value_id deepseek2_ffn(sl_builder *b, const deepseek2 *m, sl_value_id xn,
                                 uint32_t layer) {
    if (layer < m->n_dense) {
        return sl_block_ffn_gated(b, xn, SL_ACT_SILU);
    }
    sl_block_moe moe = m->moe;
    moe.choice_bias = sl_build_has(b, "exp_probs_b.bias") ? "exp_probs_b.bias" : NULL;
    return sl_block_experts(b, xn, &moe);
}

void sl_arch_deepseek2(sl_builder *b) {
    const sl_hparams *hp = b->hp;
    deepseek2 m = deepseek2_read(b);
    sl_value_id x = sl_build_embed(b, "token_embd.weight", 1.0f, "x");
    for (uint32_t i = 0; i < hp->n_layers && b->status == SL_OK; i++) {
        sl_build_layer(b, (int32_t)i);
        sl_value_id xn = sl_build_norm(b, x, "attn_norm.weight", "xn");
        sl_value_id q = deepseek2_query(b, &m, xn);
        sl_value_id kv = sl_build_linear(b, xn, "attn_kv_a_mqa.weight", m.n_latent + m.d_rot, "kv");
        sl_value_id c = sl_build_norm_part(b, kv, 0, m.n_latent, "attn_kv_a_norm.weight", "c");
        sl_build_rope(b, q, hp->n_head, m.d_k - m.d_rot, m.rope);
        sl_build_rope(b, kv, 1, m.n_latent, m.rope);
        bool is_latent = sl_build_has(b, "attn_k_b.weight");
        sl_value_id y = is_latent ? deepseek2_attend_latent(b, &m, q, c, kv)
                                  : deepseek2_attend_heads(b, &m, q, c, kv);
        sl_build_ignore(b, "attn_kv_b.weight"); /* some files have both forms */
        sl_build_add(b, x, sl_build_linear(b, y, "attn_output.weight", hp->n_embd, "t"));
        xn = sl_build_norm(b, x, "ffn_norm.weight", "xn");
        sl_build_add(b, x, deepseek2_ffn(b, &m, xn, i));
    }
    sl_block_output(b, x);
}
