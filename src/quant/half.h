/* The 16-bit float formats, 8-bit scales and little-endian loads, inline for the decoders and
 * kernels. References: IEEE 754-2019 binary16; bfloat16 is the upper half of binary32. */
#ifndef SL_QUANT_HALF_H
#define SL_QUANT_HALF_H

#include <stdint.h>
#include <string.h>

static inline uint16_t sl_load_u16(const uint8_t *p) {
    return (uint16_t)(p[0] | p[1] << 8);
}
static inline uint32_t sl_load_u32(const uint8_t *p) {
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}
static inline float sl_float_of_bits(uint32_t bits) {
    float f;
    memcpy(&f, &bits, sizeof(f));
    return f;
}
static inline uint32_t sl_bits_of_float(float f) {
    uint32_t bits;
    memcpy(&bits, &f, sizeof(bits));
    return bits;
}

/* Signalling NaNs come out quiet, as the hardware conversions do. */
static inline float sl_half_to_float(uint16_t h) {
    const uint32_t sign = (uint32_t)(h & 0x8000u) << 16;
    const uint32_t mag = h & 0x7fffu;
    if (mag >= 0x7c00u) { /* infinity, NaN */
        const uint32_t quiet = mag > 0x7c00u ? 0x400000u : 0;
        return sl_float_of_bits(sign | 0x7f800000u | (mag & 0x3ffu) << 13 | quiet);
    }
    if (mag < 0x400u) { /* zero, subnormal: mag * 2^-24 is exact */
        return sl_float_of_bits(sign | sl_bits_of_float((float)mag * 0x1p-24f));
    }
    return sl_float_of_bits(sign | ((mag << 13) + (112u << 23)));
}
static inline float sl_half_load(const uint8_t *p) {
    return sl_half_to_float(sl_load_u16(p));
}

/* Half of the scale 2^(e - 127) of MXFP4; the two smallest are subnormal. */
static inline float sl_half_of_e8m0(uint32_t e) {
    return sl_float_of_bits(e < 2 ? 0x200000u << e : (e - 1) << 23);
}

/* Half of a scale of NVFP4: 4 bits of exponent (bias 7), 3 of mantissa, subnormals; bit 7 is not
 * looked at. A binary16 holds all of them. */
static inline float sl_half_of_ue4m3(uint32_t code) {
    const uint32_t exponent = code >> 3 & 15, mantissa = code & 7;
    if (code == 127) {
        return 0.0f;
    }
    const uint32_t unit = exponent > 1 ? exponent : 1; /* of the last place: 2^(unit - 11) */
    return (float)(exponent > 0 ? 8 + mantissa : mantissa) * sl_float_of_bits((unit + 116) << 23);
}

static inline float sl_bfloat_to_float(uint16_t h) {
    return sl_float_of_bits((uint32_t)h << 16);
}

#endif
