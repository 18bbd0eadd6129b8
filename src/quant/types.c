/* The table of number formats: name and block geometry of every type that a GGUF file may hold, and
 * the decoder of those that this build can read. Const data only; callable from any thread.
 * Reference: the GGUF format's public constants (type numbers, block sizes). */
#include "quant/types.h"

#include "base/bytes.h"
#include "quant/decode.h"
#include "quant/half.h"

static const sl_decode_fn decoders[SL_TYPE_COUNT] = {
    [SL_TYPE_F32] = sl_decode_f32,         [SL_TYPE_F16] = sl_decode_f16,
    [SL_TYPE_BF16] = sl_decode_bf16,       [SL_TYPE_Q4_0] = sl_decode_q4_0,
    [SL_TYPE_Q4_1] = sl_decode_q4_1,       [SL_TYPE_Q5_0] = sl_decode_q5_0,
    [SL_TYPE_Q5_1] = sl_decode_q5_1,       [SL_TYPE_Q8_0] = sl_decode_q8_0,
    [SL_TYPE_Q8_1] = sl_decode_q8_1,       [SL_TYPE_Q2_K] = sl_decode_q2_k,
    [SL_TYPE_Q3_K] = sl_decode_q3_k,       [SL_TYPE_Q4_K] = sl_decode_q4_k,
    [SL_TYPE_Q5_K] = sl_decode_q5_k,       [SL_TYPE_Q6_K] = sl_decode_q6_k,
    [SL_TYPE_Q8_K] = sl_decode_q8_k,       [SL_TYPE_IQ1_S] = sl_decode_iq1_s,
    [SL_TYPE_IQ1_M] = sl_decode_iq1_m,     [SL_TYPE_IQ2_XXS] = sl_decode_iq2_xxs,
    [SL_TYPE_IQ2_XS] = sl_decode_iq2_xs,   [SL_TYPE_IQ2_S] = sl_decode_iq2_s,
    [SL_TYPE_IQ3_XXS] = sl_decode_iq3_xxs, [SL_TYPE_IQ3_S] = sl_decode_iq3_s,
    [SL_TYPE_IQ4_NL] = sl_decode_iq4_nl,   [SL_TYPE_IQ4_XS] = sl_decode_iq4_xs,
    [SL_TYPE_TQ1_0] = sl_decode_tq1_0,     [SL_TYPE_TQ2_0] = sl_decode_tq2_0,
    [SL_TYPE_MXFP4] = sl_decode_mxfp4,     [SL_TYPE_NVFP4] = sl_decode_nvfp4,
    [SL_TYPE_Q1_0] = sl_decode_q1_0,       [SL_TYPE_Q2_0] = sl_decode_q2_0,
};

static const sl_type_info types[SL_TYPE_COUNT] = {
    [SL_TYPE_F32] = {"F32", 1, 4, true},
    [SL_TYPE_F16] = {"F16", 1, 2, true},
    [SL_TYPE_BF16] = {"BF16", 1, 2, true},
    [SL_TYPE_F64] = {"F64", 1, 8, false},
    [SL_TYPE_I8] = {"I8", 1, 1, false},
    [SL_TYPE_I16] = {"I16", 1, 2, false},
    [SL_TYPE_I32] = {"I32", 1, 4, false},
    [SL_TYPE_I64] = {"I64", 1, 8, false},
    [SL_TYPE_Q4_0] = {"Q4_0", 32, 18, true},
    [SL_TYPE_Q4_1] = {"Q4_1", 32, 20, true},
    [SL_TYPE_Q5_0] = {"Q5_0", 32, 22, true},
    [SL_TYPE_Q5_1] = {"Q5_1", 32, 24, true},
    [SL_TYPE_Q8_0] = {"Q8_0", 32, 34, true},
    [SL_TYPE_Q8_1] = {"Q8_1", 32, 36, true},
    [SL_TYPE_Q2_K] = {"Q2_K", 256, 84, true},
    [SL_TYPE_Q3_K] = {"Q3_K", 256, 110, true},
    [SL_TYPE_Q4_K] = {"Q4_K", 256, 144, true},
    [SL_TYPE_Q5_K] = {"Q5_K", 256, 176, true},
    [SL_TYPE_Q6_K] = {"Q6_K", 256, 210, true},
    [SL_TYPE_Q8_K] = {"Q8_K", 256, 292, true},
    [SL_TYPE_IQ1_S] = {"IQ1_S", 256, 50, true},
    [SL_TYPE_IQ1_M] = {"IQ1_M", 256, 56, true},
    [SL_TYPE_IQ2_XXS] = {"IQ2_XXS", 256, 66, true},
    [SL_TYPE_IQ2_XS] = {"IQ2_XS", 256, 74, true},
    [SL_TYPE_IQ2_S] = {"IQ2_S", 256, 82, true},
    [SL_TYPE_IQ3_XXS] = {"IQ3_XXS", 256, 98, true},
    [SL_TYPE_IQ3_S] = {"IQ3_S", 256, 110, true},
    [SL_TYPE_IQ4_NL] = {"IQ4_NL", 32, 18, true},
    [SL_TYPE_IQ4_XS] = {"IQ4_XS", 256, 136, true},
    [SL_TYPE_TQ1_0] = {"TQ1_0", 256, 54, true},
    [SL_TYPE_TQ2_0] = {"TQ2_0", 256, 66, true},
    [SL_TYPE_MXFP4] = {"MXFP4", 32, 17, true},
    [SL_TYPE_NVFP4] = {"NVFP4", 64, 36, true},
    [SL_TYPE_Q1_0] = {"Q1_0", 128, 18, true},
    [SL_TYPE_Q2_0] = {"Q2_0", 64, 18, true},
};

const sl_type_info *sl_type_info_of(uint32_t type) {
    static const sl_type_info unknown = {NULL, 1, 0, false};
    if (type >= SL_TYPE_COUNT || !types[type].name) {
        return &unknown;
    }
    return &types[type];
}

bool sl_type_row_bytes(sl_type type, uint64_t n, uint64_t *out) {
    const sl_type_info *info = sl_type_info_of((uint32_t)type);
    if (!info->name || n % info->block_elems != 0) {
        return false;
    }
    return sl_mul_u64(n / info->block_elems, info->block_bytes, out);
}

void sl_type_decode_row(sl_type type, const void *src, float *dst, size_t n) {
    const uint32_t number = (uint32_t)type;
    if (number < SL_TYPE_COUNT && decoders[number]) {
        decoders[number](src, dst, n);
    }
}

/* Drops the 13 low bits of the binary32 mantissa, to nearest, ties to even. */
uint16_t sl_f32_to_f16(float f) {
    const uint32_t bits = sl_bits_of_float(f);
    const uint32_t sign = bits >> 16 & 0x8000u;
    const uint32_t mag = bits & 0x7fffffffu;
    if (mag > 0x7f800000u) { /* NaN: keep the upper payload, quiet */
        return (uint16_t)(sign | 0x7e00u | (mag >> 13 & 0x3ffu));
    }
    if (mag >= 0x477ff000u) { /* 65520 and above round to infinity */
        return (uint16_t)(sign | 0x7c00u);
    }
    if (mag < 0x38800000u) { /* below 2^-14: the result is a multiple of 2^-24 */
        /* Adding 0.5 puts the unit of the last place at 2^-24, so the addition itself rounds. */
        const float shifted = sl_float_of_bits(mag) + 0.5f;
        return (uint16_t)(sign | (sl_bits_of_float(shifted) - 0x3f000000u));
    }
    const uint32_t odd = mag >> 13 & 1u;
    return (uint16_t)(sign | ((mag - (112u << 23) + 0xfffu + odd) >> 13));
}

uint16_t sl_f32_to_bf16(float f) {
    const uint32_t bits = sl_bits_of_float(f);
    if ((bits & 0x7fffffffu) > 0x7f800000u) {
        return (uint16_t)(bits >> 16 | 0x40u);
    }
    return (uint16_t)((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
}
