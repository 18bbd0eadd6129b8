/* Private to src/quant: the codebooks of the IQ1, IQ2 and IQ3 formats, made by tools/gen_grids.py.
 *
 * An entry is 16 bits: eight coordinates of 2 bits (levels 0 1 2) or four of 4 bits (levels 0 ..
 * 7), the first lowest. A level stands for
 *
 *   iq1      -1 0 1                      c - 1
 *   iq2      8 25 43                     8 + 17 c + (c >> 1)
 *   iq3_xxs  4 12 20 28 36 44 52 62      4 + 8 c, and 2 more for c = 7
 *   iq3_s    1 3 5 7 9 11 13 15          1 + 2 c */
#ifndef SL_QUANT_GRIDS_IQ_H
#define SL_QUANT_GRIDS_IQ_H

#include <stdint.h>

extern const uint16_t sl_grid_iq2_xxs[256];
extern const uint16_t sl_grid_iq2_xs[512];
extern const uint16_t sl_grid_iq2_s[1024];
extern const uint16_t sl_grid_iq1[2048]; /* IQ1_S and IQ1_M */
extern const uint16_t sl_grid_iq3_xxs[256];
extern const uint16_t sl_grid_iq3_s[512];

#endif
