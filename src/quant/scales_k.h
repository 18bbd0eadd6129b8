/* The twelve bytes that hold eight 6-bit scales and eight 6-bit minimums in Q4_K and Q5_K
 * super-blocks; shared by the decoders and by the kernels that pack these formats.
 *
 *   byte j      (j < 4)   bits 0-5 scale j        bits 6-7 bits 4-5 of scale j + 4
 *   byte j + 4            bits 0-5 minimum j      bits 6-7 bits 4-5 of minimum j + 4
 *   byte j + 8            bits 0-3 scale j + 4    bits 4-7 minimum j + 4  (their low four bits) */
#ifndef SL_QUANT_SCALES_K_H
#define SL_QUANT_SCALES_K_H

#include <stdint.h>

static inline void sl_scales_k_unpack(const uint8_t packed[12], uint8_t scale[8],
                                      uint8_t minimum[8]) {
    for (int j = 0; j < 4; j++) {
        scale[j] = packed[j] & 63;
        minimum[j] = packed[j + 4] & 63;
        scale[j + 4] = (uint8_t)((packed[j + 8] & 15) | packed[j] >> 6 << 4);
        minimum[j + 4] = (uint8_t)(packed[j + 8] >> 4 | packed[j + 4] >> 6 << 4);
    }
}

#endif
