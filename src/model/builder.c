#include "model/builder.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"

#define NAME_MAX_LEN 160

sl_status sl_builder_init(sl_builder *b, const sl_gguf *file, const sl_hparams *hp, sl_plan *plan,
                          sl_error *err) {
    *b = (sl_builder){.file = file, .hp = hp, .plan = plan, .err = err, .layer = -1};
    b->used = sl_arena_alloc_zero(&plan->arena, sl_gguf_n_tensors(file) + 1, 1);
    if (b->used == NULL) {
        return SL_FAIL(err, SL_ERR_MEMORY, "%s: no memory for the model's plan",
                       sl_gguf_path(file));
    }
    return SL_OK;
}

/* Returns array with room for one more element, or NULL with b->status set. */
static void *builder_grow(sl_builder *b, void *array, uint32_t n, uint32_t *cap, size_t elem_size) {
    if (n < *cap) {
        return array;
    }
    uint32_t cap_new = *cap == 0 ? 64 : *cap * 2;
    void *p = sl_arena_alloc_zero(&b->plan->arena, cap_new, elem_size);
    if (p == NULL) {
        b->status = SL_FAIL(b->err, SL_ERR_MEMORY, "%s: no memory for the model's plan",
                            sl_gguf_path(b->file));
        return NULL;
    }
    if (n > 0) {
        memcpy(p, array, n * elem_size);
    }
    *cap = cap_new;
    return p;
}

void sl_build_layer(sl_builder *b, int32_t layer) {
    b->layer = layer;
}

/* "attn_q.weight" -> "blk.3.attn_q.weight" inside a layer. */
static void builder_name(const sl_builder *b, const char *weight, char out[NAME_MAX_LEN]) {
    if (b->layer >= 0) {
        (void)snprintf(out, NAME_MAX_LEN, "blk.%d.%s", b->layer, weight);
    } else {
        (void)snprintf(out, NAME_MAX_LEN, "%s", weight);
    }
}

static const sl_gguf_tensor *builder_find(const sl_builder *b, const char *weight) {
    char name[NAME_MAX_LEN];
    builder_name(b, weight, name);
    return sl_gguf_find_tensor(b->file, name);
}

/* The tensors of a file lie in one array. */
static void builder_mark(sl_builder *b, const sl_gguf_tensor *t) {
    b->used[t - sl_gguf_tensor_at(b->file, 0)] = 1;
}

bool sl_build_has(const sl_builder *b, const char *weight) {
    return builder_find(b, weight) != NULL;
}

void sl_build_ignore(sl_builder *b, const char *weight) {
    const sl_gguf_tensor *t = builder_find(b, weight);
    if (t != NULL) {
        builder_mark(b, t);
    }
}

const float *sl_build_floats(sl_builder *b, const char *weight, uint32_t n) {
    const sl_gguf_tensor *t = builder_find(b, weight);
    if (t == NULL || b->status != SL_OK) {
        return NULL;
    }
    builder_mark(b, t);
    float *out = sl_arena_alloc_zero(&b->plan->arena, n, sizeof(*out));
    if (out == NULL) {
        b->status = SL_FAIL(b->err, SL_ERR_MEMORY, "%s: no memory for the model's plan",
                            sl_gguf_path(b->file));
        return NULL;
    }
    if (t->type != SL_TYPE_F32 || t->n_dims != 1 || t->dims[0] != n) {
        b->status = SL_FAIL(b->err, SL_ERR_FORMAT,
                            "%s: tensor %s is %s in %" PRIu32 " dimensions, the first of %" PRIu64
                            "; a vector of %" PRIu32 " F32 elements is needed",
                            sl_gguf_path(b->file), weight, sl_type_info_of(t->type)->name,
                            t->n_dims, t->dims[0], n);
        return NULL;
    }
    memcpy(out, t->data, n * sizeof(*out)); /* the file promises no alignment beyond its own */
    return out;
}

/* Index of the weight, bound once; -1 with b->status set. n_out == 1 means a vector. */
static int32_t builder_bind(sl_builder *b, const char *weight, uint32_t n_out, uint32_t n_in) {
    char name[NAME_MAX_LEN];
    builder_name(b, weight, name);
    const sl_gguf_tensor *t = sl_gguf_find_tensor(b->file, name);
    if (t == NULL) {
        b->status = SL_FAIL(b->err, SL_ERR_FORMAT,
                            "%s: tensor %s is missing; architecture %s needs it",
                            sl_gguf_path(b->file), name, b->hp->arch);
        return -1;
    }
    bool vector = n_out == 1;
    if (t->n_dims != (vector ? 1u : 2u) || t->dims[0] != n_in || t->dims[1] != n_out) {
        b->status = SL_FAIL(b->err, SL_ERR_FORMAT,
                            "%s: tensor %s has shape [%" PRIu64 ", %" PRIu64
                            "], but the hyper-parameters "
                            "ask for [%" PRIu32 ", %" PRIu32 "]",
                            sl_gguf_path(b->file), name, t->dims[0], t->dims[1], n_in, n_out);
        return -1;
    }
    const sl_type_info *info = sl_type_info_of(t->type);
    if (!info->decodes || (vector && t->type != SL_TYPE_F32)) {
        b->status = SL_FAIL(b->err, SL_ERR_UNSUPPORTED,
                            "%s: tensor %s has type %s, which is not supported%s",
                            sl_gguf_path(b->file), name, info->name,
                            info->decodes ? " for a vector (F32 is)" : " yet");
        return -1;
    }
    builder_mark(b, t);
    for (uint32_t i = 0; i < b->plan->n_weights; i++) {
        if (b->weights[i].data == t->data) {
            return (int32_t)i;
        }
    }
    uint64_t row_bytes = 0;
    b->weights = builder_grow(b, b->weights, b->plan->n_weights, &b->weights_cap,
                              sizeof(*b->weights));
    if (b->weights == NULL) {
        return -1;
    }
    if (!sl_type_row_bytes(t->type, n_in, &row_bytes)) {
        b->status = SL_FAIL(b->err, SL_ERR_FORMAT,
                            "%s: rows of tensor %s hold %" PRIu32
                            " elements, no multiple of a block of type %s",
                            sl_gguf_path(b->file), name, n_in, info->name);
        return -1;
    }
    b->weights[b->plan->n_weights] = (sl_plan_weight){
        .name = t->name,
        .type = t->type,
        .n_out = n_out,
        .n_in = n_in,
        .row_bytes = (size_t)row_bytes,
        .data = t->data,
    };
    return (int32_t)b->plan->n_weights++;
}

static sl_value_id builder_value(sl_builder *b, const char *name, uint32_t width) {
    if (b->status != SL_OK) {
        return SL_VALUE_ID_NONE;
    }
    for (uint32_t i = 0; i < b->plan->n_values; i++) {
        if (b->values[i].width == width && strcmp(b->values[i].name, name) == 0) {
            return (sl_value_id)i;
        }
    }
    b->values = builder_grow(b, b->values, b->plan->n_values, &b->values_cap, sizeof(*b->values));
    if (b->values == NULL) {
        return SL_VALUE_ID_NONE;
    }
    b->values[b->plan->n_values] = (sl_plan_value){.name = name, .width = width};
    return (sl_value_id)b->plan->n_values++;
}

static uint32_t builder_width(const sl_builder *b, sl_value_id v) {
    return v < b->plan->n_values ? b->values[v].width : 0;
}

static void builder_op(sl_builder *b, sl_plan_op op) {
    if (b->status != SL_OK) {
        return;
    }
    b->ops = builder_grow(b, b->ops, b->plan->n_ops, &b->ops_cap, sizeof(*b->ops));
    if (b->ops != NULL) {
        op.layer = b->layer;
        b->ops[b->plan->n_ops++] = op;
    }
}

uint32_t sl_build_group(sl_builder *b, uint32_t n_kv_head, uint32_t d_k, uint32_t d_v) {
    if (b->plan->n_groups == SL_PLAN_GROUPS_MAX) {
        b->status = SL_FAIL(b->err, SL_ERR_INTERNAL, "architecture %s has too many layer groups",
                            b->hp->arch);
        return 0;
    }
    b->plan->groups[b->plan->n_groups] = (sl_plan_group){
        .n_kv_head = n_kv_head, .d_k = d_k, .d_v = d_v};
    return b->plan->n_groups++;
}

uint32_t sl_build_rope_table(sl_builder *b, sl_rope_style style, uint32_t n_rot,
                             const float *inv_freq, float mscale) {
    if (b->status != SL_OK || b->plan->n_ropes == SL_PLAN_ROPES_MAX) {
        b->status = b->status != SL_OK
                        ? b->status
                        : SL_FAIL(b->err, SL_ERR_INTERNAL,
                                  "architecture %s has too many rope tables", b->hp->arch);
        return 0;
    }
    float *copy = sl_arena_alloc_zero(&b->plan->arena, n_rot / 2, sizeof(*copy));
    if (copy == NULL) {
        b->status = SL_FAIL(b->err, SL_ERR_MEMORY, "%s: no memory for the model's plan",
                            sl_gguf_path(b->file));
        return 0;
    }
    memcpy(copy, inv_freq, n_rot / 2 * sizeof(*copy));
    b->plan->ropes[b->plan->n_ropes] = (sl_plan_rope){
        .style = style, .n_rot = n_rot, .mscale = mscale, .inv_freq = copy};
    return b->plan->n_ropes++;
}

sl_value_id sl_build_embed(sl_builder *b, const char *weight, const char *out) {
    sl_value_id v = builder_value(b, out, b->hp->n_embd);
    if (b->status == SL_OK) {
        int32_t w = builder_bind(b, weight, b->hp->n_vocab, b->hp->n_embd);
        builder_op(b, (sl_plan_op){.kind = SL_OP_EMBED, .out = v, .weight = w});
    }
    return v;
}

sl_value_id sl_build_rms_norm(sl_builder *b, sl_value_id x, const char *weight, const char *out) {
    sl_value_id v = builder_value(b, out, builder_width(b, x));
    if (b->status == SL_OK) {
        int32_t w = builder_bind(b, weight, 1, builder_width(b, x));
        builder_op(b, (sl_plan_op){.kind = SL_OP_RMS_NORM,
                                   .in = {x},
                                   .out = v,
                                   .weight = w,
                                   .u.norm.eps = b->hp->norm_eps});
    }
    return v;
}

sl_value_id sl_build_linear(sl_builder *b, sl_value_id x, const char *weight, uint32_t n_out,
                            const char *out) {
    sl_value_id v = builder_value(b, out, n_out);
    if (b->status != SL_OK) {
        return v;
    }
    char bias_name[NAME_MAX_LEN / 2];
    size_t stem = strlen(weight) - strlen("weight");
    (void)snprintf(bias_name, sizeof(bias_name), "%.*sbias", (int)stem, weight);
    int32_t w = builder_bind(b, weight, n_out, builder_width(b, x));
    int32_t bias = b->status == SL_OK && sl_build_has(b, bias_name)
                       ? builder_bind(b, bias_name, 1, n_out)
                       : -1;
    builder_op(b,
               (sl_plan_op){
                   .kind = SL_OP_LINEAR, .in = {x}, .out = v, .weight = w, .u.linear.bias = bias});
    return v;
}

void sl_build_rope(sl_builder *b, sl_value_id x, uint32_t n_head, uint32_t d, uint32_t rope) {
    builder_op(b, (sl_plan_op){.kind = SL_OP_ROPE,
                               .in = {x},
                               .out = x,
                               .weight = -1,
                               .u.rope = {.n_head = n_head, .d = d, .rope = rope}});
}

sl_value_id sl_build_attend(sl_builder *b, sl_value_id q, sl_value_id k, sl_value_id v,
                            uint32_t group, uint32_t n_head, float scale, const char *out) {
    sl_plan_group *g = &b->plan->groups[group];
    sl_value_id y = builder_value(b, out, n_head * g->d_v);
    builder_op(
        b,
        (sl_plan_op){
            .kind = SL_OP_ATTEND,
            .in = {q, k, v},
            .out = y,
            .weight = -1,
            .u.attend = {.group = group, .slot = g->n_layers++, .n_head = n_head, .scale = scale}});
    return y;
}

sl_value_id sl_build_silu_mul(sl_builder *b, sl_value_id gate, sl_value_id up, const char *out) {
    sl_value_id v = builder_value(b, out, builder_width(b, gate));
    builder_op(b, (sl_plan_op){.kind = SL_OP_SILU_MUL, .in = {gate, up}, .out = v, .weight = -1});
    return v;
}

void sl_build_add(sl_builder *b, sl_value_id x, sl_value_id y) {
    builder_op(b, (sl_plan_op){.kind = SL_OP_ADD, .in = {x, y}, .out = x, .weight = -1});
}

void sl_build_head(sl_builder *b, sl_value_id hidden) {
    b->layer = -1;
    b->plan->hidden = hidden;
    b->plan->n_body = b->plan->n_ops;
}

void sl_build_logits(sl_builder *b, sl_value_id logits) {
    b->plan->logits = logits;
}

/* A tensor that nobody asked for would mean a wrong answer without a word. */
static sl_status builder_check_used(const sl_builder *b) {
    for (uint64_t i = 0; i < sl_gguf_n_tensors(b->file); i++) {
        if (!b->used[i]) {
            const sl_gguf_tensor *t = sl_gguf_tensor_at(b->file, i);
            char name[SL_GGUF_SHOW_MAX];
            return SL_FAIL(b->err, SL_ERR_UNSUPPORTED,
                           "%s: tensor %s is not part of architecture %s as this version knows it; "
                           "ignoring it would give wrong answers",
                           sl_gguf_path(b->file), sl_gguf_show(t->name, name, sizeof(name)),
                           b->hp->arch);
        }
    }
    return SL_OK;
}

sl_status sl_builder_finish(sl_builder *b) {
    SL_TRY(b->status);
    SL_TRY(builder_check_used(b));
    b->plan->values = b->values;
    b->plan->weights = b->weights;
    b->plan->ops = b->ops;
    return sl_plan_check(b->plan, b->err);
}
