/* Fuzz target: any bytes as a GGUF file. Either one clear error, or a directory that can be
 * walked whole. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "format/gguf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(int holds) {
    if (!holds) {
        abort();
    }
}

static unsigned long walk_array(const sl_gguf *g, const char *key, const sl_gguf_kv *kv) {
    unsigned long sum = 0;
    sl_gguf_iter it;
    require(sl_gguf_array(g, key, kv->elem_type, &it, NULL) == SL_OK);
    if (kv->elem_type == SL_GGUF_STRING) {
        uint64_t n = 0;
        for (sl_slice word; sl_gguf_next_string(&it, &word); n++) {
            sum += word.len == 0 ? 0 : (unsigned char)word.ptr[word.len - 1];
        }
        require(n == kv->n); /* checked at open, so none is cut short */
    } else if (kv->elem_type == SL_GGUF_F32) {
        for (float f; sl_gguf_next_f32(&it, &f);) {
            sum += f > 0;
        }
    } else {
        for (int32_t v; sl_gguf_next_i32(&it, &v);) {
            sum += (unsigned long)v & 1;
        }
    }
    return sum;
}

static unsigned long walk_keys(const sl_gguf *g) {
    unsigned long sum = 0;
    char text[48];
    for (uint64_t i = 0; i < sl_gguf_n_kv(g); i++) {
        const sl_gguf_kv *kv = sl_gguf_kv_at(g, i);
        sum += strlen(sl_gguf_show(kv->key, text, sizeof(text)));
        sum += strlen(sl_gguf_show_value(g, kv, text, sizeof(text)));
        sl_slice stored = sl_gguf_stored_value(g, kv);
        sum += stored.len == 0 ? 0 : (unsigned char)stored.ptr[stored.len - 1];
        char key[128];
        if (kv->key.len >= sizeof(key)) {
            continue;
        }
        memcpy(key, kv->key.ptr, kv->key.len);
        key[kv->key.len] = '\0';
        require(sl_gguf_find(g, key) == kv);
        uint32_t u;
        float f;
        sum += sl_gguf_u32_or(g, key, 1, &u, NULL) == SL_OK;
        sum += sl_gguf_f32_or(g, key, 1, &f, NULL) == SL_OK;
        if (kv->type == SL_GGUF_ARRAY) {
            sum += walk_array(g, key, kv);
        }
    }
    return sum;
}

/* The first row, as a weight matrix is read. */
static unsigned long decode_row(const sl_gguf_tensor *t) {
    float row[1024];
    if (!sl_type_info_of((uint32_t)t->type)->decodes || t->dims[0] > 1024) {
        return 0;
    }
    sl_type_decode_row(t->type, t->data, row, (size_t)t->dims[0]);
    return row[0] > row[t->dims[0] - 1];
}

static unsigned long walk_tensors(const sl_gguf *g, const uint8_t *data, size_t size) {
    unsigned long sum = 0;
    for (uint64_t i = 0; i < sl_gguf_n_tensors(g); i++) {
        const sl_gguf_tensor *t = sl_gguf_tensor_at(g, i);
        require(t->data >= data && t->size_bytes > 0 &&
                t->size_bytes <= size - (size_t)(t->data - data));
        require((size_t)(t->data - data) % sl_gguf_alignment(g) == 0);
        char name[SL_GGUF_NAME_MAX + 1];
        memcpy(name, t->name.ptr, t->name.len);
        name[t->name.len] = '\0';
        require(sl_gguf_find_tensor(g, name) == t);
        sum += t->data[0] + t->data[t->size_bytes - 1] + decode_row(t);
    }
    return sum;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    sl_gguf *g = NULL;
    sl_error err = {0};
    if (sl_gguf_open_memory("fuzz.gguf", data, size, &g, &err) != SL_OK) {
        require(g == NULL && err.code < 0 && strncmp(err.message, "fuzz.gguf: ", 11) == 0);
        return 0;
    }
    volatile unsigned long sum = walk_keys(g) + walk_tensors(g, data, size);
    (void)sum;
    /* The bound on memory that the header promises. */
    require(sl_gguf_table_bytes(g) <= 4 * (uint64_t)size + (1u << 20));
    sl_gguf_close(g);
    return 0;
}
