/* How keys and values are kept in a page. For each (layer, KV head) a page has a K block and a V
 * block for its 32 tokens; both begin at multiples of 64 bytes. With t the token's slot, d the
 * elements of a row (d_k or d_v), all numbers little-endian:
 *
 *   F16 BF16 F32   K  [d][32]  elements, token fastest
 *                  V  [32][d]  elements
 *   INT8  a scale for each row
 *                  K  [ceil(d / 4)][32][4]  u8: code + 128   then  [32]  float: scale
 *                  V  [16][d][2]  i8: codes of two tokens, up to a multiple of 64 bytes;
 *                                                            then the same
 *   INT4  a scale and a minimum for each 32 elements of a row (group g, G = ceil(d / 32) groups)
 *                  K  [G][4][32][4]  u8: two codes           then  [G][32]  u32: scales
 *                  V  [32][G][16]    u8: two codes           then  [32][G]  u32: scales
 *      byte b (0 .. 15) of a group has element b in its low half and element 16 + b in its high
 *      one; a u32 is the scale in BF16 and, above it, the minimum in BF16
 *
 *   INT8: x = scale * code, code in [-127, 127]; scale = amax / 127 of the row, a NaN if an element
 *         is not finite, 0 if all are below 2^-120
 *   INT4: x = minimum + scale * code, code in [0, 15]; minimum the group's smallest, a NaN if an
 *         element is not finite
 *
 * Elements beyond d have code 0. Keys of INT8 and INT4 are rotated, R k: blocks of
 * sl_kv_rotation(d_k) = n elements are multiplied by the Hadamard matrix of order n (entries +-1),
 * which spreads what stands out in one element over all of its block. Queries are rotated likewise
 * and rounded to int8, a row with one scale: q . k = (R q) . (R k) / n. */
#ifndef SL_KERNELS_KV_TYPE_H
#define SL_KERNELS_KV_TYPE_H

#include <stddef.h>
#include <stdint.h>

#include "kernels/page.h"

typedef enum sl_kv_type {
    SL_KV_F16 = 0,
    SL_KV_F32,
    SL_KV_BF16,
    SL_KV_INT8,
    SL_KV_INT4,
    SL_KV_TYPE_COUNT
} sl_kv_type;

#define SL_KV_GROUP 32         /* elements that share a scale and a minimum in INT4 */
#define SL_KV_ROTATION_MAX 256 /* elements of a rotated block at most */

const char *sl_kv_type_name(sl_kv_type type); /* "f16", ... as --kv-type takes them */

/* Elements of a rotated block: the largest power of two that divides d. */
static inline uint32_t sl_kv_rotation(uint32_t d) {
    const uint32_t n = d & (0u - d);
    return n < SL_KV_ROTATION_MAX ? n : SL_KV_ROTATION_MAX;
}

/* Bytes of the elements of a K or V block; what scales there are follow. */
static inline size_t sl_kv_key_codes_bytes(sl_kv_type type, uint32_t d) {
    switch (type) {
    case SL_KV_F32:
        return (size_t)d * SL_PAGE_TOKENS * 4;
    case SL_KV_INT8:
        return ((size_t)d + 3) / 4 * SL_PAGE_TOKENS * 4;
    case SL_KV_INT4:
        return ((size_t)d + SL_KV_GROUP - 1) / SL_KV_GROUP * SL_PAGE_TOKENS * 16;
    default:
        return (size_t)d * SL_PAGE_TOKENS * 2;
    }
}
static inline size_t sl_kv_value_codes_bytes(sl_kv_type type, uint32_t d) {
    if (type == SL_KV_INT8) {
        return ((size_t)d * SL_PAGE_TOKENS + 63) / 64 * 64;
    }
    return sl_kv_key_codes_bytes(type, d);
}
static inline size_t sl_kv_scales_bytes(sl_kv_type type, uint32_t d) {
    switch (type) {
    case SL_KV_INT8:
        return SL_PAGE_TOKENS * sizeof(float);
    case SL_KV_INT4:
        return ((size_t)d + SL_KV_GROUP - 1) / SL_KV_GROUP * SL_PAGE_TOKENS * sizeof(uint32_t);
    default:
        return 0;
    }
}
/* Bytes of a whole block, a multiple of 64. */
static inline size_t sl_kv_key_bytes(sl_kv_type type, uint32_t d_k) {
    return sl_kv_key_codes_bytes(type, d_k) + sl_kv_scales_bytes(type, d_k);
}
static inline size_t sl_kv_value_bytes(sl_kv_type type, uint32_t d_v) {
    return sl_kv_value_codes_bytes(type, d_v) + sl_kv_scales_bytes(type, d_v);
}

#endif
