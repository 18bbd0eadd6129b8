/* The builder's calls that append one operation each. */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "base/error.h"
#include "model/builder_internal.h"
#include "model/rope_table.h"

/* An operation of one weightless kind. */
static sl_plan_op op_plain(sl_op_kind kind, sl_value_id in0, sl_value_id in1, sl_value_id out) {
    return (sl_plan_op){
        .kind = kind, .in = {in0, in1, SL_VALUE_ID_NONE}, .out = out, .weight = -1, .bias = -1};
}

static uint32_t op_choices(const sl_builder *b, sl_value_id v) {
    return v < b->plan->n_values ? b->values[v].n_choices : 0;
}

/* A value like x: as wide and as often. */
static sl_value_id op_value_like(sl_builder *b, sl_value_id x, const char *out) {
    return sl_builder_value(b, out, sl_builder_width(b, x), op_choices(b, x));
}

static sl_build_shape vector_shape(uint32_t n) {
    return (sl_build_shape){.n_all = n, .n_out = n, .n_mats = 1};
}

static uint32_t rope_table_add(sl_builder *b, sl_plan_rope rope) {
    for (uint32_t j = 0; rope.inv_freq != NULL && j < rope.n_rot / 2 && b->status == SL_OK; j++) {
        float longer = rope.inv_freq_long != NULL ? rope.inv_freq_long[j] : 0.0f;
        if (!(isfinite(rope.inv_freq[j]) && rope.inv_freq[j] >= 0.0f && isfinite(longer) &&
              longer >= 0.0f)) {
            sl_build_fail(b, SL_ERR_FORMAT,
                          "the rotary frequency of pair %" PRIu32
                          " is %g; the rope keys and tensors of the file do not give finite "
                          "positive frequencies",
                          j, (double)rope.inv_freq[j]);
        }
    }
    if (b->status == SL_OK && !isfinite(rope.mscale)) {
        sl_build_fail(b, SL_ERR_FORMAT,
                      "keys %s.context_length and %s.rope.scaling.original_context_length give a "
                      "rotation multiplied by %g, which is no finite number",
                      b->hp->arch, b->hp->arch, (double)rope.mscale);
    }
    if (b->plan->n_ropes == SL_PLAN_ROPES_MAX) {
        sl_build_fail(b, SL_ERR_INTERNAL, "architecture %s has too many rope tables", b->hp->arch);
    }
    if (b->status != SL_OK) {
        return 0;
    }
    b->plan->ropes[b->plan->n_ropes] = rope;
    return b->plan->n_ropes++;
}

/* Inverse frequencies in the plan's arena; NULL with b->status set. */
static const float *rope_table_fill(sl_builder *b, const sl_hparams *hp, const float *factors,
                                    float *mscale) {
    float *inv_freq = sl_builder_alloc(b, hp->n_rot / 2, sizeof(*inv_freq));
    if (inv_freq != NULL) {
        sl_rope_table_fill(hp, factors, inv_freq, mscale);
    }
    return inv_freq;
}

static void rope_table_check(sl_builder *b, const sl_hparams *hp) {
    if (hp->n_rot % 2 != 0) {
        sl_build_fail(b, SL_ERR_FORMAT,
                      "%" PRIu32 " elements of a head are rotated (key %s.rope.dimension_count, "
                      "which defaults to the size of a head); the number must be even",
                      hp->n_rot, hp->arch);
    }
}

uint32_t sl_build_rope_table(sl_builder *b, sl_rope_style style, const sl_hparams *hp,
                             bool use_factors) {
    if (hp->rope_scaling == SL_ROPE_SCALING_LONGROPE) {
        sl_build_fail(
            b, SL_ERR_UNSUPPORTED,
            "key %s.rope.scaling.type is \"longrope\", but architecture %s has no tensors "
            "rope_factors_short.weight and rope_factors_long.weight in this file",
            hp->arch, hp->arch);
    }
    rope_table_check(b, hp);
    sl_plan_rope rope = {.style = style, .n_rot = hp->n_rot};
    const float *factors = use_factors ? sl_build_floats(b, "rope_freqs.weight", hp->n_rot / 2)
                                       : NULL;
    rope.inv_freq = rope_table_fill(b, hp, factors, &rope.mscale);
    return rope_table_add(b, rope);
}

uint32_t sl_build_longrope_table(sl_builder *b, sl_rope_style style) {
    const sl_hparams *hp = b->hp;
    rope_table_check(b, hp);
    const float *shorter = sl_build_floats(b, "rope_factors_short.weight", hp->n_rot / 2);
    const float *longer = sl_build_floats(b, "rope_factors_long.weight", hp->n_rot / 2);
    if (shorter == NULL && longer == NULL) {
        return sl_build_rope_table(b, style, hp, true);
    }
    if (shorter == NULL || longer == NULL) {
        sl_build_fail(
            b, SL_ERR_FORMAT,
            "of the tensors rope_factors_short.weight and rope_factors_long.weight one is "
            "missing; they go together");
        return 0;
    }
    sl_plan_rope rope = {.style = style, .n_rot = hp->n_rot};
    rope.inv_freq = rope_table_fill(b, hp, shorter, &rope.mscale);
    rope.inv_freq_long = rope_table_fill(b, hp, longer, &rope.mscale);
    if (hp->rope_attn_factor <= 0.0f && hp->n_ctx > hp->rope_ctx_orig) {
        float growth = (float)hp->n_ctx / (float)hp->rope_ctx_orig;
        rope.mscale = sqrtf(1.0f + logf(growth) / logf((float)hp->rope_ctx_orig));
    }
    b->plan->ctx_switch = hp->rope_ctx_orig;
    return rope_table_add(b, rope);
}

sl_value_id sl_build_embed(sl_builder *b, const char *weight, float scale, const char *out) {
    const sl_hparams *hp = b->hp;
    sl_value_id v = sl_builder_value(b, out, hp->n_embd, 0);
    sl_plan_op op = op_plain(SL_OP_EMBED, SL_VALUE_ID_NONE, SL_VALUE_ID_NONE, v);
    op.weight = sl_builder_bind(
        b, weight,
        (sl_build_shape){
            .n_in = hp->n_embd, .n_all = hp->n_vocab, .n_out = hp->n_vocab, .n_mats = 1});
    op.u.embed.scale = scale;
    sl_builder_op(b, op);
    return v;
}

sl_value_id sl_build_position(sl_builder *b, const char *weight, const char *out) {
    const sl_hparams *hp = b->hp;
    sl_value_id v = sl_builder_value(b, out, hp->n_embd, 0);
    sl_plan_op op = op_plain(SL_OP_POSITION, SL_VALUE_ID_NONE, SL_VALUE_ID_NONE, v);
    op.weight = sl_builder_bind(
        b, weight,
        (sl_build_shape){.n_in = hp->n_embd, .n_all = hp->n_ctx, .n_out = hp->n_ctx, .n_mats = 1});
    sl_builder_op(b, op);
    return v;
}

static sl_value_id build_norm(sl_builder *b, sl_value_id x, uint32_t n_head, uint32_t first,
                              uint32_t width, const char *weight, const char *out) {
    sl_value_id v = sl_builder_value(b, out, width, op_choices(b, x));
    if (b->status != SL_OK) {
        return v;
    }
    sl_plan_op op = op_plain(SL_OP_NORM, x, SL_VALUE_ID_NONE, v);
    /* Of heads, the file has a weight for all alike or for each: as long as a head or as the
     * row. */
    sl_build_shape shape = vector_shape(width / n_head);
    const sl_gguf_tensor *t = sl_builder_tensor(b, weight);
    if (t != NULL && t->dims[0] * t->dims[1] == width) {
        shape = vector_shape(width);
    }
    op.weight = sl_builder_bind_vector(b, weight, shape);
    if (b->hp->is_layer_norm) { /* beside a weight of the other kind it is unknown, and refused */
        op.bias = sl_builder_bind_bias(b, weight, shape);
    }
    op.u.norm.is_layer_norm = b->hp->is_layer_norm;
    op.u.norm.eps = b->hp->norm_eps;
    op.u.norm.n_head = n_head;
    op.u.norm.first = first;
    sl_builder_op(b, op);
    return v;
}

sl_value_id sl_build_norm(sl_builder *b, sl_value_id x, const char *weight, const char *out) {
    return build_norm(b, x, 1, 0, sl_builder_width(b, x), weight, out);
}

sl_value_id sl_build_norm_heads(sl_builder *b, sl_value_id x, uint32_t n_head, const char *weight,
                                const char *out) {
    return build_norm(b, x, n_head, 0, sl_builder_width(b, x), weight, out);
}

sl_value_id sl_build_norm_part(sl_builder *b, sl_value_id x, uint32_t first, uint32_t width,
                               const char *weight, const char *out) {
    return build_norm(b, x, 1, first, width, weight, out);
}

sl_value_id sl_build_linear_part(sl_builder *b, sl_value_id x, const char *weight, uint32_t n_all,
                                 uint32_t first, uint32_t n_out, const char *out) {
    sl_value_id v = sl_builder_value(b, out, n_out, 0);
    sl_build_shape shape = {.n_in = sl_builder_width(b, x),
                            .n_all = n_all,
                            .first = first,
                            .n_out = n_out,
                            .n_mats = 1};
    sl_plan_op op = op_plain(SL_OP_LINEAR, x, SL_VALUE_ID_NONE, v);
    op.weight = sl_builder_bind(b, weight, shape);
    op.bias = sl_builder_bind_bias(b, weight, shape);
    sl_builder_op(b, op);
    return v;
}

sl_value_id sl_build_linear(sl_builder *b, sl_value_id x, const char *weight, uint32_t n_out,
                            const char *out) {
    return sl_build_linear_part(b, x, weight, n_out, 0, n_out, out);
}

sl_value_id sl_build_linear_heads(sl_builder *b, sl_value_id x, const char *weight, uint32_t n_head,
                                  sl_build_pieces from, sl_build_pieces to, uint32_t width,
                                  const char *out) {
    sl_value_id v = sl_builder_value(b, out, width, 0);
    sl_plan_op op = op_plain(SL_OP_LINEAR, x, SL_VALUE_ID_NONE, v);
    op.weight = sl_builder_bind(
        b, weight,
        (sl_build_shape){.n_in = from.n, .n_all = to.n, .n_out = to.n, .n_mats = n_head});
    op.u.linear.n_head = n_head;
    op.u.linear.in_stride = from.stride;
    op.u.linear.in_first = from.first;
    op.u.linear.out_stride = to.stride;
    op.u.linear.out_first = to.first;
    sl_builder_op(b, op);
    return v;
}

sl_value_id sl_build_copy(sl_builder *b, sl_value_id x, uint32_t n_head, sl_build_pieces from,
                          sl_build_pieces to, uint32_t width, const char *out) {
    sl_value_id v = sl_builder_value(b, out, width, 0);
    sl_plan_op op = op_plain(SL_OP_COPY, x, SL_VALUE_ID_NONE, v);
    op.u.copy.n_head = n_head;
    op.u.copy.n = to.n;
    op.u.copy.in_stride = from.stride;
    op.u.copy.in_first = from.first;
    op.u.copy.out_stride = to.stride;
    op.u.copy.out_first = to.first;
    sl_builder_op(b, op);
    return v;
}

void sl_build_rope(sl_builder *b, sl_value_id x, uint32_t n_head, uint32_t first, uint32_t rope) {
    sl_plan_op op = op_plain(SL_OP_ROPE, x, SL_VALUE_ID_NONE, x);
    op.u.rope.n_head = n_head;
    op.u.rope.d = sl_builder_width(b, x) / n_head;
    op.u.rope.first = first;
    op.u.rope.rope = rope;
    sl_builder_op(b, op);
}

sl_value_id sl_build_act_mul(sl_builder *b, sl_act_kind kind, sl_value_id gate, sl_value_id up,
                             const char *out) {
    sl_value_id v = op_value_like(b, gate, out);
    sl_plan_op op = op_plain(SL_OP_ACT, gate, up, v);
    op.u.act.kind = kind;
    sl_builder_op(b, op);
    return v;
}

sl_value_id sl_build_act(sl_builder *b, sl_act_kind kind, sl_value_id x, const char *out) {
    return sl_build_act_mul(b, kind, x, SL_VALUE_ID_NONE, out);
}

void sl_build_add_scaled(sl_builder *b, sl_value_id x, sl_value_id y, float scale) {
    sl_plan_op op = op_plain(SL_OP_ADD, x, y, x);
    op.u.scale.scale = scale;
    sl_builder_op(b, op);
}

void sl_build_add(sl_builder *b, sl_value_id x, sl_value_id y) {
    sl_build_add_scaled(b, x, y, 1.0f);
}

void sl_build_add_row(sl_builder *b, sl_value_id x, const char *weight, uint32_t row) {
    sl_plan_op op = op_plain(SL_OP_ADD_BIAS, x, SL_VALUE_ID_NONE, x);
    op.weight = sl_builder_bind_row(b, weight, row, sl_builder_width(b, x));
    sl_builder_op(b, op);
}

void sl_build_scale(sl_builder *b, sl_value_id x, float scale) {
    sl_plan_op op = op_plain(SL_OP_SCALE, x, SL_VALUE_ID_NONE, x);
    op.u.scale.scale = scale;
    sl_builder_op(b, op);
}

void sl_build_scale_by(sl_builder *b, sl_value_id x, sl_value_id scale) {
    sl_plan_op op = op_plain(SL_OP_SCALE, x, scale, x);
    op.u.scale.scale = 1.0f;
    sl_builder_op(b, op);
}

void sl_build_softcap(sl_builder *b, sl_value_id x, float cap) {
    sl_plan_op op = op_plain(SL_OP_SOFTCAP, x, SL_VALUE_ID_NONE, x);
    op.u.softcap.cap = cap;
    sl_builder_op(b, op);
}

sl_value_id sl_build_route(sl_builder *b, sl_value_id scores, const sl_plan_route *route,
                           const char *choice_bias, const char *out) {
    sl_value_id v = sl_builder_value(b, out, 2 * route->n_used, 0);
    sl_plan_op op = op_plain(SL_OP_ROUTE, scores, SL_VALUE_ID_NONE, v);
    op.u.route = *route;
    if (choice_bias != NULL) {
        op.bias = sl_builder_bind_vector(b, choice_bias, vector_shape(route->n_expert));
    }
    sl_builder_op(b, op);
    return v;
}

sl_value_id sl_build_dispatch(sl_builder *b, sl_value_id x, sl_value_id route, const char *out) {
    sl_value_id v = sl_builder_value(b, out, sl_builder_width(b, x),
                                     sl_builder_width(b, route) / 2);
    sl_builder_op(b, op_plain(SL_OP_DISPATCH, x, route, v));
    return v;
}

sl_value_id sl_build_experts(sl_builder *b, sl_value_id x, sl_value_id route, const char *weight,
                             uint32_t n_expert, uint32_t n_all, uint32_t first, uint32_t n_out,
                             const char *out) {
    sl_value_id v = sl_builder_value(b, out, n_out, op_choices(b, x));
    sl_plan_op op = op_plain(SL_OP_EXPERTS, x, route, v);
    op.weight = sl_builder_bind(b, weight,
                                (sl_build_shape){.n_in = sl_builder_width(b, x),
                                                 .n_all = n_all,
                                                 .first = first,
                                                 .n_out = n_out,
                                                 .n_mats = n_expert});
    op.bias = sl_builder_bind_bias(
        b, weight,
        (sl_build_shape){.n_all = n_all, .first = first, .n_out = n_out, .n_mats = n_expert});
    sl_builder_op(b, op);
    return v;
}

sl_value_id sl_build_combine(sl_builder *b, sl_value_id x, sl_value_id route, const char *out) {
    sl_value_id v = sl_builder_value(b, out, sl_builder_width(b, x), 0);
    sl_builder_op(b, op_plain(SL_OP_COMBINE, x, route, v));
    return v;
}

void sl_build_head(sl_builder *b, sl_value_id hidden) {
    b->layer = -1;
    b->plan->hidden = hidden;
    b->plan->n_body = b->plan->n_ops;
}

void sl_build_logits(sl_builder *b, sl_value_id logits) {
    b->plan->logits = logits;
    b->plan->n_result = b->hp->n_vocab;
}

void sl_build_encoder(sl_builder *b, sl_value_id hidden) {
    sl_build_head(b, hidden);
    b->plan->logits = hidden;
    b->plan->n_result = b->hp->n_embd;
    b->plan->is_encoder = true;
}
