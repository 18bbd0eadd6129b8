/* Block formats as integers: what the int8 products compute with. A group is 32 consecutive weights
 * of a row. */
#ifndef SL_QUANT_GROUP_H
#define SL_QUANT_GROUP_H

#include <stdint.h>

#include "quant/types.h"

#define SL_GROUP 32

/* Weight i of the group is  scale * sub[i / 16] * q[i] + minimum,  with the format's offset already
 * taken out of q (Q4_0: q in [-8, 7]). Formats without 16-groups have sub = {1, 1}; without a
 * minimum, minimum = 0. */
typedef struct sl_group {
    int8_t q[SL_GROUP];
    int8_t sub[2];
    float scale, minimum;
} sl_group;

/* Group number `index` of a row in the file's layout (any alignment). For the types with an int8
 * product: Q4_0 Q4_1 Q5_0 Q8_0 Q4_K Q6_K. */
void sl_group_read(sl_type type, const uint8_t *row, uint32_t index, sl_group *out);

#endif
