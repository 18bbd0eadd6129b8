/* Block formats as integers: what the int8 products compute with. A group is 32 consecutive weights
 * of a row. */
#ifndef SL_QUANT_GROUP_H
#define SL_QUANT_GROUP_H

#include <stdint.h>

#include "quant/types.h"

#define SL_GROUP 32

/* How the scales of a format lie over the two halves (of 16 weights) of a group. */
typedef enum sl_group_form {
    SL_GROUP_NONE = 0, /* the type has no integer form */
    SL_GROUP_32,       /* one scale; sub[0] = sub[1] */
    SL_GROUP_32_MIN,   /* and one minimum; sub_min[0] = sub_min[1] */
    SL_GROUP_16,       /* an integer scale for each half */
    SL_GROUP_16_MIN,   /* and an integer minimum for each half */
    SL_GROUP_16_FLOAT, /* a float scale for each half */
} sl_group_form;

typedef struct sl_group_info {
    sl_group_form form;
    /* Formats of at most 16 uneven values: all of them, in rising or the file's order. NULL: q is
     * any number of few bits. */
    const int8_t *levels;
    /* sl_group.scale is a half times this (MXFP4: any power of two). */
    float factor;
} sl_group_info;

/* Never NULL. */
const sl_group_info *sl_group_info_of(sl_type type);

/* Weight i of the group, h = i / 16, is  scale[h] * sub[h] * q[i] + minimum * sub_min[h],  with the
 * format's offset already taken out of q (Q4_0: q in [-8, 7]). What a format does not have is 1
 * (sub, sub_min) or 0 (minimum); scale[0] = scale[1] but in SL_GROUP_16_FLOAT. The products scale *
 * sub and minimum * sub_min are exact in float32. */
typedef struct sl_group {
    int8_t q[SL_GROUP];
    int8_t sub[2], sub_min[2];
    float scale[2];
    float minimum;
} sl_group;

/* Group number `index` of a row in the file's layout (any alignment), of a type with a form. */
void sl_group_read(sl_type type, const uint8_t *row, uint32_t index, sl_group *out);

#endif
