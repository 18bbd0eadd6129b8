/* Part of attend.inc.h: rounding keys, values and queries to the codes of INT8 and INT4, and
 * writing the pages of these types. The formats are in kv_type.h; the twin of all of it is
 * ref/kv_ref.c, whose bits every level gives.
 *
 * A row is taken in units of 256 elements, a multiple of every rotated block and of every group, so
 * that rows of any length need room for one unit only. */

enum { UNIT = SL_KV_ROTATION_MAX, GROUP = SL_KV_GROUP };

INLINE void put_u32(void *p, uint32_t x) {
    memcpy(p, &x, sizeof(x));
}

/* Elements [begin, begin + UNIT) of a row, as far as there are any, in rotated blocks of `block`;
 * up to a whole vector zeros follow. Returns how many elements. */
static __attribute__((noinline, unused)) uint32_t LEVEL(unit_load)(const float *x, uint32_t d,
                                                                   uint32_t begin, uint32_t block,
                                                                   float *unit) {
    const uint32_t n = d - begin < UNIT ? d - begin : UNIT;
    for (uint32_t i = 0; i < n; i += VL) {
        vf v = vf_load_part(x + begin + i, n - i < VL ? n - i : VL);
        v = block > 1 ? vf_sum_difference(v, 1) : v;
        v = block > 2 ? vf_sum_difference(v, 2) : v;
        v = block > 4 ? vf_sum_difference(v, 4) : v;
        if (VL > 8) {
            v = block > 8 ? vf_sum_difference(v, 8) : v;
        }
        vf_store(unit + i, v);
    }
    for (uint32_t h = VL; h < block; h *= 2) {
        for (uint32_t i = 0; i < n; i += VL) {
            if ((i & h) == 0) {
                const vf a = vf_load(unit + i), b = vf_load(unit + i + h);
                vf_store(unit + i, vf_add(a, b));
                vf_store(unit + i + h, vf_sub(a, b));
            }
        }
    }
    return n;
}

/* The largest magnitude of n elements, as its bits: they compare as the magnitudes do, with
 * infinity and NaN above all numbers. Whole vectors are read. */
INLINE uint32_t unit_magnitude(const float *unit, uint32_t n) {
    vi max = vi_zero();
    for (uint32_t i = 0; i < n; i += VL) {
        max = vi_max_epu32(max, vi_and(vi_bits(vf_load(unit + i)), vi_set1(0x7fffffff)));
    }
    return vi_max_u32(max);
}

/* The scale of a row's codes, and the factor that makes them; 0: all are 0. `unit` is left with the
 * row's last unit. */
INLINE float row_scale(const float *x, uint32_t d, uint32_t block, float *unit, float *inverse) {
    uint32_t max = 0;
    for (uint32_t i = 0; i < d; i += UNIT) {
        const uint32_t n = LEVEL(unit_load)(x, d, i, block, unit);
        const uint32_t bits = unit_magnitude(unit, n);
        max = bits > max ? bits : max;
    }
    *inverse = 0.0f;
    if (max >= 0x7f800000u) {
        return sl_float_of_bits(0x7fc00000u);
    }
    const float amax = sl_float_of_bits(max);
    if (amax < SL_QUANTIZE_AMAX_MIN) {
        return 0.0f;
    }
    *inverse = 127.0f / amax;
    return amax / 127.0f;
}

/* n codes of a unit, then zeros up to a whole vector. */
INLINE void unit_codes(const float *unit, uint32_t n, float inverse, int8_t *codes) {
    const vf factor = vf_set1(inverse);
    for (uint32_t i = 0; i < n; i += VL) {
        vi_store_i8(codes + i,
                    inverse == 0.0f ? vi_zero() : vi_of_vf(vf_mul(vf_load(unit + i), factor)));
    }
}

/* A query row for scores: [0] the factor of its integer products (`scale` times its own), [1] what
 * these begin with, an int32 that takes out the 128 of INT8 keys, then the sum of each group, a
 * float, then the codes. */
#define QUERY_GROUPS(d) (((d) + GROUP - 1) / GROUP)
#define QUERY_CODES(d) (2 + QUERY_GROUPS(d))
static __attribute__((noinline)) void LEVEL(query_codes)(const float *q, uint32_t d, float scale,
                                                         float *out) {
    float unit[UNIT], inverse;
    int8_t codes[UNIT];
    const uint32_t block = sl_kv_rotation(d);
    out[0] = row_scale(q, d, block, unit, &inverse) * (scale / (float)block);
    int32_t total = 0;
    query_word *to = (query_word *)(void *)(out + QUERY_CODES(d));
    for (uint32_t at = 0; at < d; at += UNIT) {
        const uint32_t n = d > UNIT ? LEVEL(unit_load)(q, d, at, block, unit) : d;
        memset(codes, 0, sizeof(codes));
        unit_codes(unit, n, inverse, codes);
        for (uint32_t i = 0; i < n; i += GROUP) {
            int32_t sum = 0;
            for (uint32_t e = i; e < i + GROUP; e++) {
                sum += codes[e];
            }
            total += sum;
            out[2 + (at + i) / GROUP] = (float)sum;
            for (uint32_t e = i; e < i + GROUP; e += 4) {
                *to++ = query_word_of(codes + e);
            }
        }
    }
    put_u32(out + 1, (uint32_t)(-128 * total));
}

#if !ATTEND_VNNI
static void LEVEL(kv_store_int8)(const float *key, uint32_t d_k, const float *value, uint32_t d_v,
                                 void *k_block, void *v_block, uint32_t slot) {
    float unit[UNIT], inverse;
    int8_t codes[UNIT];
    uint8_t *k = (uint8_t *)k_block + 4 * (size_t)slot;
    const uint32_t block = sl_kv_rotation(d_k);
    put_u32(k + sl_kv_key_codes_bytes(SL_KV_INT8, d_k),
            sl_bits_of_float(row_scale(key, d_k, block, unit, &inverse)));
    for (uint32_t at = 0; at < d_k; at += UNIT) {
        const uint32_t n = d_k > UNIT ? LEVEL(unit_load)(key, d_k, at, block, unit) : d_k;
        unit_codes(unit, n, inverse, codes);
        for (uint32_t i = 0; i < n; i += 4, k += (size_t)PAGE * 4) {
            uint32_t four;
            memcpy(&four, codes + i, sizeof(four));
            put_u32(k, four ^ 0x80808080u);
        }
    }
    uint8_t *v = v_block;
    put_u32(v + sl_kv_value_codes_bytes(SL_KV_INT8, d_v) + 4 * (size_t)slot,
            sl_bits_of_float(row_scale(value, d_v, 1, unit, &inverse)));
    for (uint32_t at = 0; at < d_v; at += UNIT) {
        const uint32_t n = d_v > UNIT ? LEVEL(unit_load)(value, d_v, at, 1, unit) : d_v;
        unit_codes(unit, n, inverse, codes);
        uint8_t *to = v + ((size_t)slot / 2 * d_v + at) * 2 + slot % 2;
        for (uint32_t i = 0; i < n; i++) { /* other threads may write the bytes between */
            to[2 * i] = (uint8_t)codes[i];
        }
    }
}

/* A group of n elements of a unit in 4 bits, two a byte; x has room for a whole group. Returns
 * scale and minimum. */
INLINE uint32_t group_codes(float *x, uint32_t n, uint8_t bytes[16]) {
    memset(bytes, 0, 16);
    for (uint32_t i = n; i < GROUP; i++) {
        x[i] = x[n - 1];
    }
    vf min = vf_load(x), max = min;
    for (uint32_t i = VL; i < GROUP; i += VL) {
        min = vf_min(min, vf_load(x + i));
        max = vf_max(max, vf_load(x + i));
    }
    const float low = -vf_max_lanes(vf_sub(vf_zero(), min));
    const float range = vf_max_lanes(max) - low;
    if (unit_magnitude(x, GROUP) >= 0x7f800000u || !isfinite(range)) {
        return 0x7fc00000u;
    }
    const uint32_t m = sl_f32_to_bf16(low + 0.0f); /* no negative zero */
    const uint32_t s = range < SL_QUANTIZE_AMAX_MIN ? 0 : sl_f32_to_bf16(range / 15.0f);
    if (s != 0) {
        int8_t codes[GROUP];
        const vf minimum = vf_set1(sl_bfloat_to_float((uint16_t)m));
        const vf inverse = vf_set1(1.0f / sl_bfloat_to_float((uint16_t)s));
        for (uint32_t i = 0; i < GROUP; i += VL) {
            const vf c = vf_round(vf_mul(vf_sub(vf_load(x + i), minimum), inverse));
            vi_store_i8(codes + i, vi_of_vf(vf_min(vf_max(c, vf_zero()), vf_set1(15.0f))));
        }
        memset(codes + n, 0, GROUP - n);
        for (uint32_t b = 0; b < 16; b++) {
            bytes[b] = (uint8_t)(codes[b] | codes[16 + b] << 4);
        }
    }
    return m << 16 | s;
}

static void LEVEL(kv_store_int4)(const float *key, uint32_t d_k, const float *value, uint32_t d_v,
                                 void *k_block, void *v_block, uint32_t slot) {
    float unit[UNIT];
    uint8_t bytes[16];
    uint8_t *k = (uint8_t *)k_block + 4 * (size_t)slot;
    uint8_t *k_scales = k + sl_kv_key_codes_bytes(SL_KV_INT4, d_k);
    for (uint32_t at = 0; at < d_k; at += UNIT) {
        const uint32_t n = LEVEL(unit_load)(key, d_k, at, sl_kv_rotation(d_k), unit);
        for (uint32_t i = 0; i < n; i += GROUP, k_scales += (size_t)PAGE * 4) {
            put_u32(k_scales, group_codes(unit + i, n - i < GROUP ? n - i : GROUP, bytes));
            for (uint32_t b = 0; b < 16; b += 4, k += (size_t)PAGE * 4) {
                memcpy(k, bytes + b, 4);
            }
        }
    }
    const size_t first = slot * (((size_t)d_v + GROUP - 1) / GROUP);
    uint8_t *v = (uint8_t *)v_block + first * 16;
    uint8_t *v_scales = (uint8_t *)v_block + sl_kv_value_codes_bytes(SL_KV_INT4, d_v) + first * 4;
    for (uint32_t at = 0; at < d_v; at += UNIT) {
        const uint32_t n = LEVEL(unit_load)(value, d_v, at, 1, unit);
        for (uint32_t i = 0; i < n; i += GROUP, v += 16, v_scales += 4) {
            put_u32(v_scales, group_codes(unit + i, n - i < GROUP ? n - i : GROUP, bytes));
            memcpy(v, bytes, 16);
        }
    }
}
#endif
