#include "model/arch/blocks.h"

#include <inttypes.h>
#include <math.h>

/* Some files have one matrix for all three, but a bias for each. */
static void add_bias_if_there(sl_builder *b, sl_value_id x, const char *bias) {
    if (sl_build_has(b, bias)) {
        sl_build_add_row(b, x, bias, 0);
    }
}

sl_qkv sl_block_qkv(sl_builder *b, sl_value_id xn) {
    const sl_hparams *hp = b->hp;
    uint32_t n_q = hp->n_head * hp->d_k, n_k = hp->n_kv_head * hp->d_k;
    uint32_t n_v = hp->n_kv_head * hp->d_v, all = n_q + n_k + n_v;
    if (sl_build_has(b, "attn_qkv.weight")) {
        sl_qkv a = {
            .q = sl_build_linear_part(b, xn, "attn_qkv.weight", all, 0, n_q, "q"),
            .k = sl_build_linear_part(b, xn, "attn_qkv.weight", all, n_q, n_k, "k"),
            .v = sl_build_linear_part(b, xn, "attn_qkv.weight", all, n_q + n_k, n_v, "v"),
        };
        add_bias_if_there(b, a.q, "attn_q.bias");
        add_bias_if_there(b, a.k, "attn_k.bias");
        add_bias_if_there(b, a.v, "attn_v.bias");
        return a;
    }
    return (sl_qkv){.q = sl_build_linear(b, xn, "attn_q.weight", n_q, "q"),
                    .k = sl_build_linear(b, xn, "attn_k.weight", n_k, "k"),
                    .v = sl_build_linear(b, xn, "attn_v.weight", n_v, "v")};
}

void sl_block_rope(sl_builder *b, sl_qkv a, uint32_t rope) {
    sl_build_rope(b, a.q, b->hp->n_head, 0, rope);
    sl_build_rope(b, a.k, b->hp->n_kv_head, 0, rope);
}

void sl_block_qk_norm(sl_builder *b, sl_qkv *a) {
    a->q = sl_build_norm_heads(b, a->q, b->hp->n_head, "attn_q_norm.weight", "q");
    a->k = sl_build_norm_heads(b, a->k, b->hp->n_kv_head, "attn_k_norm.weight", "k");
}

sl_build_attention sl_block_heads(const sl_hparams *hp) {
    return (sl_build_attention){.n_head = hp->n_head,
                                .n_kv_head = hp->n_kv_head,
                                .d_k = hp->d_k,
                                .d_v = hp->d_v,
                                .scale = 1.0f / sqrtf((float)hp->d_k)};
}

sl_value_id sl_block_attend(sl_builder *b, sl_qkv a, const sl_build_attention *how) {
    sl_value_id y = sl_build_attend(b, a.q, a.k, a.v, how, "y");
    return sl_build_linear(b, y, "attn_output.weight", b->hp->n_embd, "t");
}

sl_value_id sl_block_ffn_gated(sl_builder *b, sl_value_id xn, sl_act_kind act) {
    uint32_t n = b->hp->n_ff;
    sl_value_id gate, up;
    if (sl_build_has(b, "ffn_gate.weight")) {
        gate = sl_build_linear(b, xn, "ffn_gate.weight", n, "gate");
        up = sl_build_linear(b, xn, "ffn_up.weight", n, "up");
    } else {
        gate = sl_build_linear_part(b, xn, "ffn_up.weight", 2 * n, 0, n, "gate");
        up = sl_build_linear_part(b, xn, "ffn_up.weight", 2 * n, n, n, "up");
    }
    sl_value_id h = sl_build_act_mul(b, act, gate, up, "gate");
    return sl_build_linear(b, h, "ffn_down.weight", b->hp->n_embd, "f");
}

sl_value_id sl_block_ffn_plain(sl_builder *b, sl_value_id xn, sl_act_kind act) {
    sl_value_id up = sl_build_linear(b, xn, "ffn_up.weight", b->hp->n_ff, "up");
    sl_value_id h = sl_build_act(b, act, up, "up");
    return sl_build_linear(b, h, "ffn_down.weight", b->hp->n_embd, "f");
}

/* The file's kind of routing; GGUF numbers them from 1, 0 is none given. */
static sl_route_kind moe_route_kind(sl_builder *b, sl_route_kind def) {
    static const sl_route_kind kinds[] = {SL_ROUTE_SOFTMAX, SL_ROUTE_SIGMOID,
                                          SL_ROUTE_SOFTMAX_OF_USED};
    uint32_t number = sl_build_u32(b, "expert_gating_func", 0, 0, 3);
    return number == 0 ? def : kinds[number - 1];
}

sl_block_moe sl_block_moe_of(sl_builder *b, sl_route_kind kind, bool normalize) {
    sl_block_moe moe = {.act = SL_ACT_SILU};
    moe.route.kind = moe_route_kind(b, kind);
    moe.route.n_expert = sl_build_u32(b, "expert_count", 0, 1, SL_PLAN_EXPERTS_MAX);
    moe.route.n_used = sl_build_u32(b, "expert_used_count", 0, 1, SL_PLAN_CHOICES_MAX);
    moe.route.normalize = sl_build_bool(b, "expert_weights_norm", normalize);
    moe.route.scale = sl_build_f32(b, "expert_weights_scale", 1.0f, 0.0f, 1e6f);
    moe.route.scale = moe.route.scale == 0.0f ? 1.0f : moe.route.scale; /* 0 means none */
    moe.n_ff = sl_build_u32(b, "expert_feed_forward_length", b->hp->n_ff, 1, 1u << 20);
    if (moe.route.n_expert == 0 || moe.route.n_used == 0 || moe.route.n_used > moe.route.n_expert) {
        sl_build_fail(b, SL_ERR_FORMAT,
                      "keys %s.expert_count = %" PRIu32 " and %s.expert_used_count = %" PRIu32
                      " do not go together: some, but not more than there are, must be used",
                      b->hp->arch, moe.route.n_expert, b->hp->arch, moe.route.n_used);
    }
    return moe;
}

void sl_block_moe_split_ff(sl_builder *b, sl_block_moe *moe) {
    uint32_t n_used = moe->route.n_used > 0 ? moe->route.n_used : 1;
    moe->n_ff = sl_build_u32(b, "expert_feed_forward_length", b->hp->n_ff / n_used, 1, 1u << 20);
}

sl_value_id sl_block_experts(sl_builder *b, sl_value_id xn, const sl_block_moe *moe) {
    uint32_t n_expert = moe->route.n_expert, n = moe->n_ff;
    sl_value_id scores = sl_build_linear(b, xn, "ffn_gate_inp.weight", n_expert, "scores");
    sl_value_id route = sl_build_route(b, scores, &moe->route, moe->choice_bias, "route");
    sl_value_id xs = sl_build_dispatch(b, xn, route, "xs");
    sl_value_id gate, up;
    if (sl_build_has(b, "ffn_gate_up_exps.weight")) {
        const char *both = "ffn_gate_up_exps.weight";
        gate = sl_build_experts(b, xs, route, both, n_expert, 2 * n, 0, n, "gates");
        up = sl_build_experts(b, xs, route, both, n_expert, 2 * n, n, n, "ups");
    } else {
        gate = sl_build_experts(b, xs, route, "ffn_gate_exps.weight", n_expert, n, 0, n, "gates");
        up = sl_build_experts(b, xs, route, "ffn_up_exps.weight", n_expert, n, 0, n, "ups");
    }
    sl_value_id h = sl_build_act_mul(b, moe->act, gate, up, "gates");
    uint32_t n_embd = b->hp->n_embd;
    sl_value_id down = sl_build_experts(b, h, route, "ffn_down_exps.weight", n_expert, n_embd, 0,
                                        n_embd, "downs");
    sl_value_id f = sl_build_combine(b, down, route, "f");
    if (moe->n_shared > 0) {
        sl_build_add(b, f, sl_block_shared_expert(b, xn, moe->n_shared));
    }
    return f;
}

uint32_t sl_block_needed_window(sl_builder *b, uint32_t layer, uint32_t n) {
    if (sl_build_u32(b, "attention.sliding_window", 0, 0, 1u << 28) == 0) {
        sl_build_fail(b, SL_ERR_FORMAT,
                      "key %s.attention.sliding_window is missing or 0; layers of architecture %s "
                      "have a window",
                      b->hp->arch, b->hp->arch);
    }
    return sl_build_window(b, layer, 0, n);
}

uint32_t sl_block_local_rope(sl_builder *b, sl_rope_style style, float base_default) {
    sl_hparams local = *b->hp;
    local.rope_base = sl_build_f32(b, "rope.freq_base_swa", base_default, 1.0f, 1e12f);
    local.rope_scaling = SL_ROPE_SCALING_NONE;
    local.rope_attn_factor = 0.0f;
    return sl_build_rope_table(b, style, &local, false);
}

sl_value_id sl_block_shared_expert(sl_builder *b, sl_value_id xn, uint32_t n_ff) {
    sl_value_id gate = sl_build_linear(b, xn, "ffn_gate_shexp.weight", n_ff, "shared_gate");
    sl_value_id up = sl_build_linear(b, xn, "ffn_up_shexp.weight", n_ff, "shared_up");
    sl_value_id h = sl_build_act_mul(b, SL_ACT_SILU, gate, up, "shared_gate");
    return sl_build_linear(b, h, "ffn_down_shexp.weight", b->hp->n_embd, "s");
}

sl_value_id sl_block_output(sl_builder *b, sl_value_id x) {
    sl_build_head(b, x);
    sl_value_id xn = sl_build_norm(b, x, "output_norm.weight", "xn");
    const char *output = sl_build_has(b, "output.weight") ? "output.weight" : "token_embd.weight";
    sl_value_id logits = sl_build_linear(b, xn, output, b->hp->n_vocab, "logits");
    sl_build_logits(b, logits);
    return logits;
}

void sl_block_scale_logits(sl_builder *b, sl_value_id logits, float scale) {
    if (scale != 1.0f) {
        sl_build_scale(b, logits, scale);
    }
}
