/* Part of attend.inc.h: writing pages of F16 and BF16. */

INLINE void short_store(sl_kv_type type, uint16_t *p, vf x) {
    (type == SL_KV_F16 ? vf_store_half : vf_store_bfloat)(p, x);
}

INLINE void kv_store_short(sl_kv_type type, const float *key, uint32_t d_k, const float *value,
                           uint32_t d_v, void *k_block, void *v_block, uint32_t slot) {
    uint16_t *k = (uint16_t *)k_block + slot;
    uint16_t *v = (uint16_t *)v_block + (size_t)slot * d_v;
    uint16_t part[VL];
    for (uint32_t i = 0; i < d_k; i += VL) {
        const uint32_t n = d_k - i < VL ? d_k - i : VL;
        short_store(type, part, vf_load_part(key + i, n));
        for (uint32_t j = 0; j < n; j++) {
            k[(i + j) * PAGE] = part[j];
        }
    }
    for (uint32_t i = 0; i < d_v; i += VL) {
        const uint32_t n = d_v - i < VL ? d_v - i : VL;
        short_store(type, part, vf_load_part(value + i, n));
        memcpy(v + i, part, n * sizeof(uint16_t));
    }
}
static void LEVEL(kv_store_f16)(const float *key, uint32_t d_k, const float *value, uint32_t d_v,
                                void *k_block, void *v_block, uint32_t slot) {
    kv_store_short(SL_KV_F16, key, d_k, value, d_v, k_block, v_block, slot);
}
static void LEVEL(kv_store_bf16)(const float *key, uint32_t d_k, const float *value, uint32_t d_v,
                                 void *k_block, void *v_block, uint32_t slot) {
    kv_store_short(SL_KV_BF16, key, d_k, value, d_v, k_block, v_block, slot);
}

/* Keys of n (1..VL) consecutive tokens, the first one's elements at k: VL elements at a time become
 * lines of tokens. */
INLINE void keys_store_short(sl_kv_type type, const float *keys, size_t stride, uint32_t d_k,
                             uint32_t n, uint16_t *k) {
    for (uint32_t i = 0; i < d_k; i += VL) {
        const uint32_t width = d_k - i < VL ? d_k - i : VL;
        vf line[VL];
        for (uint32_t t = 0; t < VL; t++) {
            line[t] = t < n ? vf_load_part(keys + t * stride + i, width) : vf_zero();
        }
        vf_transpose(line);
        for (uint32_t j = 0; j < width; j++) {
            uint16_t part[VL];
            short_store(type, part, line[j]);
            memcpy(k + (size_t)(i + j) * PAGE, part, n * sizeof(*k));
        }
    }
}
INLINE void kv_store_rows_short(sl_kv_type type, const sl_kv_rows *rows) {
    uint16_t *k = (uint16_t *)rows->k_block + rows->slot;
    uint16_t *v = (uint16_t *)rows->v_block + (size_t)rows->slot * rows->d_v;
    for (uint32_t t = 0; t < rows->n; t += VL) {
        const uint32_t n = rows->n - t < VL ? rows->n - t : VL;
        const float *keys = rows->key + t * rows->key_stride;
        if (n == VL) { /* so that the copy's length is known */
            keys_store_short(type, keys, rows->key_stride, rows->d_k, VL, k + t);
        } else {
            keys_store_short(type, keys, rows->key_stride, rows->d_k, n, k + t);
        }
    }
    for (uint32_t t = 0; t < rows->n; t++) {
        const float *value = rows->value + t * rows->value_stride;
        for (uint32_t i = 0; i < rows->d_v; i += VL) {
            const uint32_t n = rows->d_v - i < VL ? rows->d_v - i : VL;
            uint16_t part[VL];
            short_store(type, part, vf_load_part(value + i, n));
            memcpy(v + (size_t)t * rows->d_v + i, part, n * sizeof(*v));
        }
    }
}
static void LEVEL(kv_store_rows_f16)(const sl_kv_rows *rows) {
    kv_store_rows_short(SL_KV_F16, rows);
}
static void LEVEL(kv_store_rows_bf16)(const sl_kv_rows *rows) {
    kv_store_rows_short(SL_KV_BF16, rows);
}
