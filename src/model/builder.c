#include "model/builder.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "model/builder_internal.h"
#include "quant/types.h"

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

void sl_build_fail(sl_builder *b, sl_status code, const char *format, ...) {
    if (b->status != SL_OK) {
        return;
    }
    char text[512];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    b->status = SL_FAIL(b->err, code, "%s: %s", sl_gguf_path(b->file), text);
}

void *sl_builder_alloc(sl_builder *b, size_t n, size_t elem_size) {
    void *p = sl_arena_alloc_zero(&b->plan->arena, n, elem_size);
    if (p == NULL) {
        sl_build_fail(b, SL_ERR_MEMORY, "no memory for the model's plan");
    }
    return p;
}

void *sl_builder_grow(sl_builder *b, void *array, uint32_t n, uint32_t *cap, size_t elem_size) {
    if (n < *cap) {
        return array;
    }
    uint32_t cap_new = *cap == 0 ? 64 : *cap * 2;
    void *p = sl_builder_alloc(b, cap_new, elem_size);
    if (p != NULL) {
        if (n > 0) {
            memcpy(p, array, n * elem_size);
        }
        *cap = cap_new;
    }
    return p;
}

void sl_build_layer(sl_builder *b, int32_t layer) {
    b->layer = layer;
}

/* "attn_q.weight" -> "blk.3.attn_q.weight" inside a layer. */
static void builder_name(const sl_builder *b, const char *weight, char out[SL_BUILD_NAME_MAX]) {
    if (b->layer >= 0) {
        (void)snprintf(out, SL_BUILD_NAME_MAX, "blk.%d.%s", b->layer, weight);
    } else {
        (void)snprintf(out, SL_BUILD_NAME_MAX, "%s", weight);
    }
}

void sl_builder_bias_name(const char *weight, char out[SL_BUILD_NAME_MAX]) {
    size_t stem = strlen(weight) - strlen("weight");
    (void)snprintf(out, SL_BUILD_NAME_MAX, "%.*sbias", (int)stem, weight);
}

const sl_gguf_tensor *sl_builder_tensor(const sl_builder *b, const char *weight) {
    char name[SL_BUILD_NAME_MAX];
    builder_name(b, weight, name);
    return sl_gguf_find_tensor(b->file, name);
}

/* The tensors of a file lie in one array. */
static void builder_mark(sl_builder *b, const sl_gguf_tensor *t) {
    b->used[t - sl_gguf_tensor_at(b->file, 0)] = 1;
}

bool sl_build_has(const sl_builder *b, const char *weight) {
    return sl_builder_tensor(b, weight) != NULL;
}

void sl_build_ignore(sl_builder *b, const char *weight) {
    const sl_gguf_tensor *t = sl_builder_tensor(b, weight);
    if (t != NULL) {
        builder_mark(b, t);
    }
}

const float *sl_build_floats(sl_builder *b, const char *weight, uint32_t n) {
    const sl_gguf_tensor *t = sl_builder_tensor(b, weight);
    if (t == NULL || b->status != SL_OK) {
        return NULL;
    }
    builder_mark(b, t);
    if (t->type != SL_TYPE_F32 || t->n_dims != 1 || t->dims[0] != n) {
        sl_build_fail(b, SL_ERR_FORMAT,
                      "tensor %s is %s in %" PRIu32 " dimensions, the first of %" PRIu64
                      "; a vector of %" PRIu32 " F32 elements is needed",
                      weight, sl_type_info_of(t->type)->name, t->n_dims, t->dims[0], n);
        return NULL;
    }
    float *out = sl_builder_alloc(b, n, sizeof(*out));
    if (out != NULL) {
        memcpy(out, t->data, n * sizeof(*out)); /* the file promises no alignment beyond its own */
    }
    return out;
}

/* The tensor, if it is there and decodes; marked as used. */
static const sl_gguf_tensor *builder_take(sl_builder *b, const char *weight) {
    const sl_gguf_tensor *t = sl_builder_tensor(b, weight);
    char name[SL_BUILD_NAME_MAX];
    builder_name(b, weight, name);
    if (b->status != SL_OK) {
        return NULL;
    }
    if (t == NULL) {
        sl_build_fail(b, SL_ERR_FORMAT, "tensor %s is missing; architecture %s needs it", name,
                      b->hp->arch);
        return NULL;
    }
    if (!sl_type_info_of(t->type)->decodes) {
        sl_build_fail(b, SL_ERR_UNSUPPORTED, "tensor %s has type %s, which is not supported yet",
                      name, sl_type_info_of(t->type)->name);
        return NULL;
    }
    builder_mark(b, t);
    return t;
}

static void builder_wrong_shape(sl_builder *b, const sl_gguf_tensor *t, sl_build_shape want) {
    char name[SL_GGUF_SHOW_MAX], mats[32] = "";
    if (want.n_mats > 1) {
        (void)snprintf(mats, sizeof(mats), ", %" PRIu32, want.n_mats);
    }
    sl_build_fail(b, SL_ERR_FORMAT,
                  "tensor %s has shape [%" PRIu64 ", %" PRIu64 ", %" PRIu64
                  "], but the hyper-parameters ask for [%" PRIu32 ", %" PRIu32 "%s]",
                  sl_gguf_show(t->name, name, sizeof(name)), t->dims[0], t->dims[1], t->dims[2],
                  want.n_in, want.n_all, mats);
}

/* Appends a weight, or finds the one bound to the same bytes. */
static int32_t builder_add_weight(sl_builder *b, sl_plan_weight w) {
    for (uint32_t i = 0; i < b->plan->n_weights; i++) {
        const sl_plan_weight *o = &b->weights[i];
        if (o->data == w.data && o->type == w.type && o->n_out == w.n_out && o->n_in == w.n_in &&
            o->n_mats == w.n_mats && o->mat_bytes == w.mat_bytes) {
            return (int32_t)i;
        }
    }
    b->weights = sl_builder_grow(b, b->weights, b->plan->n_weights, &b->weights_cap, sizeof(w));
    if (b->weights == NULL) {
        return -1;
    }
    b->weights[b->plan->n_weights] = w;
    return (int32_t)b->plan->n_weights++;
}

int32_t sl_builder_bind(sl_builder *b, const char *weight, sl_build_shape s) {
    const sl_gguf_tensor *t = builder_take(b, weight);
    if (t == NULL) {
        return -1;
    }
    bool fits = t->dims[0] == s.n_in && t->dims[1] == s.n_all && t->dims[2] == s.n_mats &&
                t->dims[3] == 1; /* dimensions that are not there are 1 */
    uint64_t row_bytes = 0;
    if (!fits) {
        builder_wrong_shape(b, t, s);
        return -1;
    }
    if (!sl_type_row_bytes(t->type, s.n_in, &row_bytes)) {
        char name[SL_GGUF_SHOW_MAX];
        sl_build_fail(
            b, SL_ERR_FORMAT,
            "rows of tensor %s hold %" PRIu32 " elements, no multiple of a block of type %s",
            sl_gguf_show(t->name, name, sizeof(name)), s.n_in, sl_type_info_of(t->type)->name);
        return -1;
    }
    return builder_add_weight(b, (sl_plan_weight){
                                     .name = t->name,
                                     .type = t->type,
                                     .n_out = s.n_out,
                                     .n_in = s.n_in,
                                     .n_mats = s.n_mats,
                                     .first = s.first,
                                     .n_all = s.n_all,
                                     .row_bytes = (size_t)row_bytes,
                                     .mat_bytes = (size_t)row_bytes * s.n_all,
                                     .data = t->data + (size_t)row_bytes * s.first,
                                 });
}

/* The n elements of a tensor (or of a row of one) from `data` on as floats; NULL with b->status
 * set. */
static const uint8_t *builder_floats(sl_builder *b, const sl_gguf_tensor *t, const uint8_t *data,
                                     uint32_t n) {
    if (t->type == SL_TYPE_F32) {
        return data;
    }
    float *out = sl_builder_alloc(b, n, sizeof(*out));
    if (out != NULL) {
        sl_type_decode_row(t->type, data, out, n);
    }
    return (const uint8_t *)out;
}

int32_t sl_builder_bind_vector(sl_builder *b, const char *weight, sl_build_shape s) {
    const sl_gguf_tensor *t = builder_take(b, weight);
    if (t == NULL) {
        return -1;
    }
    uint64_t n = (uint64_t)s.n_all * s.n_mats;
    sl_build_shape flat = {.n_in = s.n_all, .n_all = s.n_mats, .n_mats = 1};
    /* Per head or expert it may be stored as a matrix; the elements follow each other all the
     * same. */
    if (t->dims[0] * t->dims[1] != n || t->dims[2] != 1 || t->dims[3] != 1 ||
        (t->n_dims > 1 && s.n_all % t->dims[0] != 0) ||
        (t->type != SL_TYPE_F32 && n % sl_type_info_of(t->type)->block_elems != 0)) {
        builder_wrong_shape(b, t, flat);
        return -1;
    }
    const uint8_t *floats = builder_floats(b, t, t->data, (uint32_t)n);
    if (floats == NULL) {
        return -1;
    }
    return builder_add_weight(b, (sl_plan_weight){.name = t->name,
                                                  .type = SL_TYPE_F32,
                                                  .n_out = 1,
                                                  .n_in = s.n_out,
                                                  .n_mats = s.n_mats,
                                                  .first = s.first,
                                                  .n_all = s.n_all,
                                                  .row_bytes = s.n_out * sizeof(float),
                                                  .mat_bytes = s.n_all * sizeof(float),
                                                  .data = floats + s.first * sizeof(float)});
}

int32_t sl_builder_bind_row(sl_builder *b, const char *weight, uint32_t row, uint32_t n_in) {
    const sl_gguf_tensor *t = builder_take(b, weight);
    if (t == NULL) {
        return -1;
    }
    uint64_t row_bytes = 0;
    if (t->n_dims > 2 || t->dims[0] != n_in || row >= t->dims[1] ||
        !sl_type_row_bytes(t->type, n_in, &row_bytes)) {
        builder_wrong_shape(b, t, (sl_build_shape){.n_in = n_in, .n_all = row + 1, .n_mats = 1});
        return -1;
    }
    const uint8_t *floats = builder_floats(b, t, t->data + row * row_bytes, n_in);
    if (floats == NULL) {
        return -1;
    }
    return builder_add_weight(b, (sl_plan_weight){.name = t->name,
                                                  .type = SL_TYPE_F32,
                                                  .n_out = 1,
                                                  .n_in = n_in,
                                                  .n_mats = 1,
                                                  .first = row,
                                                  .n_all = (uint32_t)t->dims[1],
                                                  .row_bytes = n_in * sizeof(float),
                                                  .mat_bytes = n_in * sizeof(float),
                                                  .data = floats});
}

int32_t sl_builder_bind_bias(sl_builder *b, const char *weight, sl_build_shape shape) {
    char name[SL_BUILD_NAME_MAX];
    sl_builder_bias_name(weight, name);
    return b->status == SL_OK && sl_build_has(b, name) ? sl_builder_bind_vector(b, name, shape)
                                                       : -1;
}

sl_value_id sl_builder_value(sl_builder *b, const char *name, uint32_t width, uint32_t n_choices) {
    if (b->status != SL_OK) {
        return SL_VALUE_ID_NONE;
    }
    for (uint32_t i = 0; i < b->plan->n_values; i++) {
        if (b->values[i].width == width && b->values[i].n_choices == n_choices &&
            strcmp(b->values[i].name, name) == 0) {
            return (sl_value_id)i;
        }
    }
    b->values = sl_builder_grow(b, b->values, b->plan->n_values, &b->values_cap,
                                sizeof(*b->values));
    if (b->values == NULL) {
        return SL_VALUE_ID_NONE;
    }
    b->values[b->plan->n_values] = (sl_plan_value){
        .name = name, .width = width, .n_choices = n_choices};
    return (sl_value_id)b->plan->n_values++;
}

uint32_t sl_builder_width(const sl_builder *b, sl_value_id v) {
    return v < b->plan->n_values ? b->values[v].width : 0;
}

void sl_builder_op(sl_builder *b, sl_plan_op op) {
    if (b->status != SL_OK) {
        return;
    }
    b->ops = sl_builder_grow(b, b->ops, b->plan->n_ops, &b->ops_cap, sizeof(*b->ops));
    if (b->ops != NULL) {
        op.layer = b->layer;
        b->ops[b->plan->n_ops++] = op;
    }
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
    sl_builder_cut_groups(b);
    SL_TRY(b->status);
    SL_TRY(sl_builder_check_keys(b));
    SL_TRY(builder_check_used(b));
    b->plan->values = b->values;
    b->plan->weights = b->weights;
    b->plan->ops = b->ops;
    return sl_plan_check(b->plan, b->err);
}
