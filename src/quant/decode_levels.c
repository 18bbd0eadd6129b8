/* Scalar decode of the 4-bit formats whose 16 codes stand for uneven levels: IQ4_NL IQ4_XS MXFP4
 * NVFP4.
 *
 * Offsets in bytes, little-endian, d IEEE half. In each run of 2 m elements that share a scale,
 * byte j of its m bytes of qs holds element j (low nibble) and element j + m.
 *
 *   IQ4_NL   18   0 d | 2 qs[16]                                          x = d * level
 *   IQ4_XS  136   0 d | 2 u16 scales_high | 4 scales_low[4] | 8 qs[128]   x = d * (scale - 32) *
 *   level
 *   MXFP4    17   0 E8M0 scale | 1 qs[16]                                 x = scale * E2M1
 *   NVFP4    36   0 UE4M3 scales[4] (of 16 elements each) | 4 qs[32]      x = scale * E2M1
 *
 * MXFP4: OCP Microscaling Formats 1.0. E2M1 is 0 0.5 1 1.5 2 3 4 6 and, with the top bit, their
 * negatives; here the levels are doubled and the scales halved, which is exact. Scale codes that
 * those formats give to NaN decode as the writers of GGUF have it: E8M0 255 is 2^128, UE4M3 127 is
 * 0. */
#include "quant/decode.h"
#include "quant/half.h"

const int8_t sl_levels_iq4[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                  1,    13,   25,  38,  53,  69,  89,  113};
const int8_t sl_levels_e2m1[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

/* m bytes of qs to 2 m elements: the products are few, so all of them are made beforehand. */
static inline void levels_put(const int8_t levels[16], float scale, const uint8_t *restrict qs,
                              int m, float *restrict dst) {
    float x[16];
    for (int i = 0; i < 16; i++) {
        x[i] = scale * (float)levels[i];
    }
    for (int j = 0; j < m; j++) {
        dst[j] = x[qs[j] & 15];
        dst[j + m] = x[qs[j] >> 4];
    }
}

void sl_decode_iq4_nl(const uint8_t *restrict src, float *restrict dst, size_t n) {
    for (size_t b = 0; b < n / 32; b++, src += 18, dst += 32) {
        levels_put(sl_levels_iq4, sl_half_load(src), src + 2, 16, dst);
    }
}

/* Scale g of 8 has 6 bits: nibble g of scales_low (low first) and bits 2 g, 2 g + 1 of
 * scales_high. */
void sl_decode_iq4_xs(const uint8_t *restrict src, float *restrict dst, size_t n) {
    for (size_t b = 0; b < n / 256; b++, src += 136) {
        const float d = sl_half_load(src);
        const int high = sl_load_u16(src + 2);
        for (int g = 0; g < 8; g++, dst += 32) {
            const int scale = (src[4 + g / 2] >> 4 * (g % 2) & 15) | (high >> 2 * g & 3) << 4;
            levels_put(sl_levels_iq4, d * (float)(scale - 32), src + 8 + 16 * g, 16, dst);
        }
    }
}

void sl_decode_mxfp4(const uint8_t *restrict src, float *restrict dst, size_t n) {
    for (size_t b = 0; b < n / 32; b++, src += 17, dst += 32) {
        levels_put(sl_levels_e2m1, sl_half_of_e8m0(src[0]), src + 1, 16, dst);
    }
}

void sl_decode_nvfp4(const uint8_t *restrict src, float *restrict dst, size_t n) {
    for (size_t b = 0; b < n / 64; b++, src += 36) {
        for (int g = 0; g < 4; g++, dst += 16) {
            levels_put(sl_levels_e2m1, sl_half_of_ue4m3(src[g]), src + 4 + 8 * g, 8, dst);
        }
    }
}
