/* The tests' model with experts in Q4_1. See expert_model.h. */
#include "expert_model.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "format/gguf_write.h"
#include "quant/half.h"

#define BLOCK 32 /* elements of a Q4_1 block */
#define BLOCK_BYTES 20

static void put_half(uint8_t *p, float f) {
    const uint16_t h = sl_f32_to_f16(f);
    memcpy(p, &h, sizeof(h));
}

/* One block of Q4_1: the nearest of 16 steps from the least to the largest. */
static void encode_q4_1(const float *x, uint8_t *block) {
    float low = x[0], high = x[0];
    for (int i = 1; i < BLOCK; i++) {
        low = fminf(low, x[i]);
        high = fmaxf(high, x[i]);
    }
    const float d = (high - low) / 15.0f;
    put_half(block, d);
    put_half(block + 2, low);
    for (int i = 0; i < BLOCK / 2; i++) {
        const int a = d > 0.0f ? (int)lrintf((x[i] - low) / d) : 0;
        const int b = d > 0.0f ? (int)lrintf((x[i + BLOCK / 2] - low) / d) : 0;
        block[4 + i] = (uint8_t)(a | b << 4);
    }
}

static bool is_experts(const sl_gguf_tensor *t) {
    return t->n_dims == 3 && t->type == SL_TYPE_F16 && t->dims[0] % BLOCK == 0;
}

static sl_status write_data(sl_gguf_writer *w, const sl_gguf_tensor *t, sl_error *err) {
    if (!is_experts(t)) {
        return sl_gguf_writer_data(w, t->data, t->size_bytes, err);
    }
    const uint64_t n_blocks = t->dims[0] * t->dims[1] * t->dims[2] / BLOCK;
    for (uint64_t b = 0; b < n_blocks; b++) {
        float x[BLOCK];
        uint8_t block[BLOCK_BYTES];
        sl_type_decode_row(SL_TYPE_F16, t->data + b * BLOCK * sizeof(uint16_t), x, BLOCK);
        encode_q4_1(x, block);
        SL_TRY(sl_gguf_writer_data(w, block, sizeof(block), err));
    }
    return SL_OK;
}

static sl_status write_all(sl_gguf_writer *w, const sl_gguf *from, sl_error *err) {
    bool some = false;
    for (uint64_t i = 0; i < sl_gguf_n_kv(from); i++) {
        const sl_gguf_kv *kv = sl_gguf_kv_at(from, i);
        SL_TRY(sl_gguf_writer_raw(w, kv->key, kv->type, sl_gguf_stored_value(from, kv), err));
    }
    for (uint64_t i = 0; i < sl_gguf_n_tensors(from); i++) {
        const sl_gguf_tensor *t = sl_gguf_tensor_at(from, i);
        char name[65];
        (void)snprintf(name, sizeof(name), "%.*s", (int)t->name.len, t->name.ptr);
        SL_TRY(sl_gguf_writer_tensor(w, name, is_experts(t) ? SL_TYPE_Q4_1 : t->type, t->n_dims,
                                     t->dims, err));
        some = some || is_experts(t);
    }
    if (!some) {
        return SL_FAIL(err, SL_ERR_ARGUMENT, "the model has no experts in F16");
    }
    for (uint64_t i = 0; i < sl_gguf_n_tensors(from); i++) {
        SL_TRY(write_data(w, sl_gguf_tensor_at(from, i), err));
    }
    return sl_gguf_writer_finish(w, err);
}

sl_status experts_write_q4_1(sl_buf *dest, const sl_gguf *from, sl_error *err) {
    sl_gguf_writer *w = NULL;
    SL_TRY(sl_gguf_writer_create_buf(dest, 32, &w, err));
    const sl_status status = write_all(w, from, err);
    sl_gguf_writer_free(w);
    return status;
}
