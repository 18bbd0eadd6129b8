/* Products in plain C: the canonical forms that every level must meet.
 *
 * int8 form: all formats share one panel layout, groups of 32 columns one after the other:
 *   int8 q[16 rows][32] | float scale[16] | float minimum[16] | int8 sub[16][2] (padded to 64)
 *   704 bytes
 * float form: mul_f32 decodes and multiplies row by row. Both keep one accumulator chain per
 * output. */
#include <math.h>
#include <string.h>

#include "kernels/levels.h"
#include "quant/group.h"

typedef struct ref_group {
    int8_t q[SL_PANEL_ROWS][SL_GROUP];
    float scale[SL_PANEL_ROWS];
    float minimum[SL_PANEL_ROWS];
    int8_t sub[SL_PANEL_ROWS][2];
    uint8_t pad[32];
} ref_group;
_Static_assert(sizeof(ref_group) == 704, "panel groups are whole cache lines");

static size_t panel_bytes_ref(uint32_t n_in) {
    return (size_t)(n_in / SL_GROUP) * sizeof(ref_group);
}

static void pack_ref(sl_type type, const uint8_t *rows, size_t row_bytes, uint32_t n_rows,
                     uint32_t n_in, uint8_t *panel) {
    memset(panel, 0, panel_bytes_ref(n_in));
    ref_group *groups = (ref_group *)(void *)panel;
    for (uint32_t g = 0; g < n_in / SL_GROUP; g++) {
        for (uint32_t i = 0; i < n_rows; i++) {
            sl_group group;
            sl_group_read(type, rows + i * row_bytes, g, &group);
            memcpy(groups[g].q[i], group.q, SL_GROUP);
            memcpy(groups[g].sub[i], group.sub, sizeof(group.sub));
            groups[g].scale[i] = group.scale;
            groups[g].minimum[i] = group.minimum;
        }
    }
}

/* The exact integer sum of one group: each half times its small scale (1 where the format has
 * none). */
static int32_t group_dot(const int8_t *w, const int8_t sub[2], const int8_t *q) {
    int32_t half[2] = {0, 0};
    for (int i = 0; i < SL_GROUP; i++) {
        half[i / 16] += (int32_t)w[i] * q[i];
    }
    return half[0] * sub[0] + half[1] * sub[1];
}

static void mul_ref(bool minimum, const uint8_t *panels, uint32_t n_in, uint32_t panel_begin,
                    uint32_t panel_end, const sl_act8 *act, uint32_t row_begin, uint32_t row_end,
                    float *out, size_t out_stride, bool add) {
    const uint32_t n_groups = n_in / SL_GROUP;
    for (uint32_t p = panel_begin; p < panel_end; p++) {
        const ref_group *groups = (const ref_group *)(const void *)(panels +
                                                                    p * panel_bytes_ref(n_in));
        for (uint32_t r = row_begin; r < row_end; r++) {
            const int8_t *q = act->q + r * act->q_stride;
            const float *d = act->d + r * act->g_stride;
            const float *s = act->s + r * act->g_stride;
            float *o = out + r * out_stride + (size_t)p * SL_PANEL_ROWS;
            for (uint32_t i = 0; i < SL_PANEL_ROWS; i++) {
                float acc = 0.0f;
                for (uint32_t g = 0; g < n_groups; g++) {
                    const ref_group *w = &groups[g];
                    const int32_t dot = group_dot(w->q[i], w->sub[i], q + (size_t)g * SL_GROUP);
                    acc = fmaf(w->scale[i] * d[g], (float)dot, acc);
                    if (minimum) {
                        acc = fmaf(w->minimum[i], s[g], acc);
                    }
                }
                o[i] = add ? o[i] + acc : acc;
            }
        }
    }
}

#define PRODUCT(name, type, minimum)                                                               \
    static void pack_##name##_ref(const uint8_t *rows, size_t row_bytes, uint32_t n_rows,          \
                                  uint32_t n_in, uint8_t *panel) {                                 \
        pack_ref(type, rows, row_bytes, n_rows, n_in, panel);                                      \
    }                                                                                              \
    static void mul_##name##_ref(const uint8_t *panels, uint32_t n_in, uint32_t panel_begin,       \
                                 uint32_t panel_end, const sl_act8 *act, uint32_t row_begin,       \
                                 uint32_t row_end, float *out, size_t out_stride, bool add) {      \
        mul_ref(minimum, panels, n_in, panel_begin, panel_end, act, row_begin, row_end, out,       \
                out_stride, add);                                                                  \
    }
PRODUCT(q4_0, SL_TYPE_Q4_0, false)
PRODUCT(q4_1, SL_TYPE_Q4_1, true)
PRODUCT(q5_0, SL_TYPE_Q5_0, false)
PRODUCT(q8_0, SL_TYPE_Q8_0, false)
PRODUCT(q4_k, SL_TYPE_Q4_K, true)
PRODUCT(q6_k, SL_TYPE_Q6_K, false)

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
    k->product[SL_TYPE_Q4_0] = (sl_product){panel_bytes_ref, pack_q4_0_ref, mul_q4_0_ref};
    k->product[SL_TYPE_Q4_1] = (sl_product){panel_bytes_ref, pack_q4_1_ref, mul_q4_1_ref};
    k->product[SL_TYPE_Q5_0] = (sl_product){panel_bytes_ref, pack_q5_0_ref, mul_q5_0_ref};
    k->product[SL_TYPE_Q8_0] = (sl_product){panel_bytes_ref, pack_q8_0_ref, mul_q8_0_ref};
    k->product[SL_TYPE_Q4_K] = (sl_product){panel_bytes_ref, pack_q4_k_ref, mul_q4_k_ref};
    k->product[SL_TYPE_Q6_K] = (sl_product){panel_bytes_ref, pack_q6_k_ref, mul_q6_k_ref};
    k->mul_f32 = mul_f32_ref;
}
