/* Good GGUF files, made with the writer, for the tests of src/format. Include after cmocka. */
#ifndef TESTS_FORMAT_GGUF_SAMPLES_H
#define TESTS_FORMAT_GGUF_SAMPLES_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "format/gguf.h"
#include "format/gguf_write.h"

/* A status that must be SL_OK, with the message shown when it is not. */
#define CHECK_OK(call)                                                                             \
    do {                                                                                           \
        sl_error check_err_ = {0};                                                                 \
        sl_error *err = &check_err_;                                                               \
        if ((call) != SL_OK) {                                                                     \
            fail_msg("%s: %s", #call, check_err_.message);                                         \
        }                                                                                          \
    } while (0)

#define SAMPLE_TENSORS 4

typedef struct sample_tensor {
    const char *name;
    sl_type type;
    uint32_t n_dims;
    uint64_t dims[4];
    size_t size_bytes;
} sample_tensor;

static const sample_tensor sample_tensors[SAMPLE_TENSORS] = {
    {"token_embd.weight", SL_TYPE_F32, 2, {8, 3, 1, 1}, 96},
    {"blk.0.attn_q.weight", SL_TYPE_Q4_0, 2, {64, 2, 1, 1}, 72},
    {"blk.0.ffn_up_exps.weight", SL_TYPE_Q6_K, 3, {256, 2, 2, 1}, 840},
    {"output_norm.weight", SL_TYPE_F16, 1, {5, 1, 1, 1}, 10},
};

/* Byte i of the data of tensor t. */
static inline unsigned char sample_byte(size_t t, size_t i) {
    return (unsigned char)(t * 31 + i * 7 + 1);
}

static inline sl_slice sample_bytes(const void *data, size_t len) {
    return (sl_slice){data, len};
}

/* [[1, 2], ["x"], []] of u16, string and bool, as stored. */
static const unsigned char sample_nested[] = {
    9, 0, 0, 0,   3, 0, 0, 0, 0, 0, 0, 0,             /* array of 3 arrays */
    2, 0, 0, 0,   2, 0, 0, 0, 0, 0, 0, 0, 1, 0, 2, 0, /* u16: 1, 2 */
    8, 0, 0, 0,   1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0,
    0, 0, 0, 'x', 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0};

static inline void sample_write_scalars(sl_gguf_writer *w) {
    static const struct {
        const char *key;
        sl_gguf_type type;
        unsigned char bytes[8];
        size_t len;
    } scalars[] = {
        {"t.u8", SL_GGUF_U8, {200}, 1},
        {"t.i8", SL_GGUF_I8, {0xFF}, 1},
        {"t.u16", SL_GGUF_U16, {0x34, 0x12}, 2},
        {"t.i16", SL_GGUF_I16, {0xFE, 0xFF}, 2},
        {"t.i32", SL_GGUF_I32, {0, 0, 0, 0x80}, 4},
        {"t.u64", SL_GGUF_U64, {0, 0, 0, 0, 1}, 8},
        {"t.i64", SL_GGUF_I64, {7}, 8},
        {"t.f64", SL_GGUF_F64, {0, 0, 0, 0, 0, 0, 0xF8, 0x3F}, 8},
    };
    for (size_t i = 0; i < sizeof(scalars) / sizeof(scalars[0]); i++) {
        CHECK_OK(sl_gguf_writer_raw(w, sl_slice_of(scalars[i].key), scalars[i].type,
                                    sample_bytes(scalars[i].bytes, scalars[i].len), err));
    }
}

/* Every metadata type. */
static inline void sample_write_metadata(sl_gguf_writer *w) {
    static const sl_slice words[] = {{"alpha", 5}, {"", 0}, {"\xFF\x00z", 3}};
    static const float floats[] = {1.5f, -2.0f};
    static const int32_t ints[] = {-1, 2, 3};
    static const unsigned char bools[] = {1, 0, 1};
    CHECK_OK(sl_gguf_writer_string(w, "general.architecture", sl_slice_of("llama"), err));
    CHECK_OK(sl_gguf_writer_u32(w, "t.u32", 4000000000u, err));
    CHECK_OK(sl_gguf_writer_f32(w, "t.f32", 0.1f, err));
    CHECK_OK(sl_gguf_writer_bool(w, "t.bool", true, err));
    sample_write_scalars(w);
    CHECK_OK(sl_gguf_writer_strings(w, "t.words", words, 3, err));
    CHECK_OK(sl_gguf_writer_array(w, "t.floats", SL_GGUF_F32, floats, 2, err));
    CHECK_OK(sl_gguf_writer_array(w, "t.ints", SL_GGUF_I32, ints, 3, err));
    CHECK_OK(sl_gguf_writer_array(w, "t.bools", SL_GGUF_BOOL, bools, 3, err));
    CHECK_OK(sl_gguf_writer_array(w, "t.none", SL_GGUF_U8, "", 0, err));
    CHECK_OK(sl_gguf_writer_raw(w, sl_slice_of("t.nested"), SL_GGUF_ARRAY,
                                sample_bytes(sample_nested, sizeof(sample_nested)), err));
}

static inline void sample_write_tensors(sl_gguf_writer *w, size_t i_first, size_t i_end) {
    for (size_t t = i_first; t < i_end; t++) {
        const sample_tensor *s = &sample_tensors[t];
        CHECK_OK(sl_gguf_writer_tensor(w, s->name, s->type, s->n_dims, s->dims, err));
    }
    for (size_t t = i_first; t < i_end; t++) {
        for (size_t i = 0; i < sample_tensors[t].size_bytes; i++) {
            unsigned char byte = sample_byte(t, i);
            CHECK_OK(sl_gguf_writer_data(w, &byte, 1, err));
        }
    }
}

/* The whole sample in `out` (initialised here; to be freed with sl_buf_deinit). */
static inline void sample_build(sl_buf *out, uint32_t alignment) {
    sl_gguf_writer *w = NULL;
    sl_buf_init(out, (size_t)1 << 20);
    CHECK_OK(sl_gguf_writer_create_buf(out, alignment, &w, err));
    sample_write_metadata(w);
    sample_write_tensors(w, 0, SAMPLE_TENSORS);
    CHECK_OK(sl_gguf_writer_finish(w, err));
    sl_gguf_writer_free(w);
}

/* Reads all that an opened file offers, so that a sanitizer sees any wrong pointer. */
static inline unsigned long sample_touch(const sl_gguf *g) {
    unsigned long sum = 0;
    char text[64];
    for (uint64_t i = 0; i < sl_gguf_n_kv(g); i++) {
        const sl_gguf_kv *kv = sl_gguf_kv_at(g, i);
        sum += strlen(sl_gguf_show(kv->key, text, sizeof(text)));
        sum += strlen(sl_gguf_show_value(g, kv, text, sizeof(text)));
        sl_slice stored = sl_gguf_stored_value(g, kv);
        for (size_t k = 0; k < stored.len; k++) {
            sum += (unsigned char)stored.ptr[k];
        }
        sl_gguf_iter it;
        char key[256];
        if (kv->key.len >= sizeof(key)) {
            continue;
        }
        memcpy(key, kv->key.ptr, kv->key.len);
        key[kv->key.len] = '\0';
        if (sl_gguf_find(g, key) != kv) {
            sum += 1000000; /* seen by who compares; keys with a zero byte do not open */
        }
        if (kv->type == SL_GGUF_ARRAY && kv->elem_type == SL_GGUF_STRING &&
            sl_gguf_array(g, key, SL_GGUF_STRING, &it, NULL) == SL_OK) {
            for (sl_slice word; sl_gguf_next_string(&it, &word);) {
                sum += word.len + (word.len > 0 ? (unsigned char)word.ptr[word.len - 1] : 0);
            }
        }
    }
    for (uint64_t i = 0; i < sl_gguf_n_tensors(g); i++) {
        const sl_gguf_tensor *t = sl_gguf_tensor_at(g, i);
        sum += strlen(sl_gguf_show(t->name, text, sizeof(text)));
        sum += t->data[0] + t->data[t->size_bytes - 1];
    }
    return sum;
}

/* A copy of exactly `len` bytes on the heap, for sanitizers; freed with free. */
static inline unsigned char *sample_copy(const void *data, size_t len) {
    unsigned char *copy = malloc(len == 0 ? 1 : len);
    assert_non_null(copy);
    memcpy(copy, data, len);
    return copy;
}

#endif
