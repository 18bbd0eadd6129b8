/* Products in plain C: the canonical forms that every level must meet.
 *
 * int8 form: all formats share one panel layout, groups of 32 columns one after the other:
 *   int8 q[16 rows][32] | float scale[2][16] | float minimum[16] | int8 sub[16][2] | int8
 *   sub_min[16][2]   768 bytes
 * float form: mul_f32 decodes and multiplies row by row. Both keep one accumulator chain per
 * output. */
#include <math.h>
#include <string.h>

#include "kernels/levels.h"
#include "quant/group.h"

typedef struct ref_group {
    int8_t q[SL_PANEL_ROWS][SL_GROUP];
    float scale[2][SL_PANEL_ROWS]; /* of the two halves; the same one in forms with one scale */
    float minimum[SL_PANEL_ROWS];
    int8_t sub[SL_PANEL_ROWS][2], sub_min[SL_PANEL_ROWS][2];
} ref_group;
_Static_assert(sizeof(ref_group) == 768, "panel groups are whole cache lines");

static size_t panel_bytes_ref(sl_type type, uint32_t n_in) {
    (void)type;
    return (size_t)(n_in / SL_GROUP) * sizeof(ref_group);
}

/* Forms with one scale take the small one into it, which is exact. */
static void pack_lane(sl_group_form form, const sl_group *group, ref_group *out, uint32_t lane) {
    const bool whole = form == SL_GROUP_32 || form == SL_GROUP_32_MIN;
    memcpy(out->q[lane], group->q, SL_GROUP);
    for (int h = 0; h < 2; h++) {
        out->scale[h][lane] = group->scale[h] * (whole ? (float)group->sub[h] : 1.0f);
        out->sub[lane][h] = whole ? 1 : group->sub[h];
        out->sub_min[lane][h] = group->sub_min[h];
    }
    out->minimum[lane] = group->minimum * (whole ? (float)group->sub_min[0] : 1.0f);
}

static void pack_ref(sl_type type, const uint8_t *rows, size_t row_bytes, uint32_t n_rows,
                     uint32_t n_in, uint8_t *panel) {
    memset(panel, 0, panel_bytes_ref(type, n_in));
    ref_group *groups = (ref_group *)(void *)panel;
    for (uint32_t g = 0; g < n_in / SL_GROUP; g++) {
        for (uint32_t i = 0; i < n_rows; i++) {
            sl_group group;
            sl_group_read(type, rows + i * row_bytes, g, &group);
            pack_lane(sl_group_info_of(type)->form, &group, &groups[g], i);
        }
    }
}

/* One group's part of an output: acc with what row `lane` of w adds to it. */
static float group_mul(sl_group_form form, const ref_group *w, uint32_t lane, const int8_t *q,
                       float d, float s, float acc) {
    const int8_t *sub = w->sub[lane], *sub_min = w->sub_min[lane];
    int32_t dot[2] = {0, 0}, sum[2] = {0, 0}; /* the exact integer sums of the halves */
    for (int i = 0; i < SL_GROUP; i++) {
        dot[i / 16] += (int32_t)w->q[lane][i] * q[i];
        sum[i / 16] += q[i];
    }
    if (form == SL_GROUP_16_FLOAT) {
        acc = fmaf(w->scale[0][lane] * d, (float)dot[0], acc);
        return fmaf(w->scale[1][lane] * d, (float)dot[1], acc);
    }
    acc = fmaf(w->scale[0][lane] * d, (float)(dot[0] * sub[0] + dot[1] * sub[1]), acc);
    if (form == SL_GROUP_32_MIN) {
        acc = fmaf(w->minimum[lane], s, acc);
    } else if (form == SL_GROUP_16_MIN) {
        acc = fmaf(w->minimum[lane] * d, (float)(sum[0] * sub_min[0] + sum[1] * sub_min[1]), acc);
    }
    return acc;
}

static void mul_ref(sl_group_form form, const uint8_t *panels, uint32_t n_in, uint32_t panel_begin,
                    uint32_t panel_end, const sl_act8 *act, uint32_t row_begin, uint32_t row_end,
                    float *out, size_t out_stride, bool add) {
    const uint32_t n_groups = n_in / SL_GROUP;
    for (uint32_t p = panel_begin; p < panel_end; p++) {
        const ref_group *groups = (const ref_group *)(const void *)panels + (size_t)p * n_groups;
        for (uint32_t r = row_begin; r < row_end; r++) {
            const int8_t *q = act->q + r * act->q_stride;
            const float *d = act->d + r * act->g_stride;
            const float *s = act->s + r * act->g_stride;
            float *o = out + r * out_stride + (size_t)p * SL_PANEL_ROWS;
            for (uint32_t i = 0; i < SL_PANEL_ROWS; i++) {
                float acc = 0.0f;
                for (uint32_t g = 0; g < n_groups; g++) {
                    acc = group_mul(form, &groups[g], i, q + (size_t)g * SL_GROUP, d[g], s[g], acc);
                }
                o[i] = add ? o[i] + acc : acc;
            }
        }
    }
}

#define FORM(name, form)                                                                           \
    static void mul_##name##_ref(const uint8_t *panels, uint32_t n_in, uint32_t panel_begin,       \
                                 uint32_t panel_end, const sl_act8 *act, uint32_t row_begin,       \
                                 uint32_t row_end, float *out, size_t out_stride, bool add) {      \
        mul_ref(form, panels, n_in, panel_begin, panel_end, act, row_begin, row_end, out,          \
                out_stride, add);                                                                  \
    }
FORM(32, SL_GROUP_32)
FORM(32_min, SL_GROUP_32_MIN)
FORM(16, SL_GROUP_16)
FORM(16_min, SL_GROUP_16_MIN)
FORM(16_float, SL_GROUP_16_FLOAT)

static void mul_f32_ref(sl_type type, const uint8_t *weights, size_t row_bytes, uint32_t n_in,
                        uint32_t w_begin, uint32_t w_end, const float *x, size_t x_stride,
                        uint32_t n_rows, float *out, size_t out_stride, bool add, float *scratch) {
    for (uint32_t w = w_begin; w < w_end; w++) {
        sl_type_decode_row(type, weights + w * row_bytes, scratch, n_in);
        for (uint32_t r = 0; r < n_rows; r++) {
            const float *row = x + r * x_stride;
            float acc = 0.0f;
            for (uint32_t k = 0; k < n_in; k++) {
                acc = fmaf(scratch[k], row[k], acc);
            }
            float *o = out + r * out_stride + w;
            *o = add ? *o + acc : acc;
        }
    }
}

void sl_product_fill_ref(sl_kernels *k) {
    static const sl_product products[] = {
        [SL_GROUP_NONE] = {NULL, NULL, NULL},
        [SL_GROUP_32] = {panel_bytes_ref, pack_ref, mul_32_ref},
        [SL_GROUP_32_MIN] = {panel_bytes_ref, pack_ref, mul_32_min_ref},
        [SL_GROUP_16] = {panel_bytes_ref, pack_ref, mul_16_ref},
        [SL_GROUP_16_MIN] = {panel_bytes_ref, pack_ref, mul_16_min_ref},
        [SL_GROUP_16_FLOAT] = {panel_bytes_ref, pack_ref, mul_16_float_ref},
    };
    for (int type = 0; type < SL_TYPE_COUNT; type++) {
        k->product[type] = products[sl_group_info_of((sl_type)type)->form];
    }
    k->mul_f32 = mul_f32_ref;
}
