/* A model as plain data: the ordered list of layer operations with weights bound, the values that
 * flow between them, the groups of layers that share a KV shape, and rope tables. Built once by
 * src/model, read-only afterwards; devices compile it, `sluice inspect --plan` prints it. No code
 * of any model or device here.
 */
#ifndef SL_PLAN_PLAN_H
#define SL_PLAN_PLAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <sluice/status.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/bytes.h"
#include "quant/types.h"

#define SL_PLAN_GROUPS_MAX 8 /* layer groups of one model */
#define SL_PLAN_ROPES_MAX 4  /* different rope tables of one model */
#define SL_PLAN_INPUTS_MAX 3

/* What an operation computes for every row (token) of a step. Widths are those of its values. */
typedef enum sl_op_kind {
    SL_OP_EMBED,    /* out = weight[token id]                                  [n, n_embd] */
    SL_OP_RMS_NORM, /* out = in0 / rms(in0) * weight */
    SL_OP_LINEAR,   /* out = weight * in0 (+ bias) */
    SL_OP_ROPE,     /* out = in0 rotated by the row's position; in place (out == in0) */
    SL_OP_ATTEND,   /* stores in1 (K) and in2 (V) in the row's page, out = attention of in0 (Q) */
    SL_OP_SILU_MUL, /* out = silu(in0) * in1 */
    SL_OP_ADD,      /* out = in0 + in1; in place allowed */
    SL_OP_KIND_COUNT
} sl_op_kind;

typedef uint16_t sl_value_id; /* index into plan->values */
#define SL_VALUE_ID_NONE 0xFFFFu

/* A row vector that exists for every row of a step. */
typedef struct sl_plan_value {
    const char *name; /* "x", "q", "gate", ... static */
    uint32_t width;   /* floats */
} sl_plan_value;

/* A weight as the file holds it: n_out rows of n_in elements, row_bytes apart. Vectors have n_out
 * == 1. A tied output matrix is the embedding's own entry, named by both operations. */
typedef struct sl_plan_weight {
    sl_slice name;
    sl_type type;
    uint32_t n_out, n_in;
    size_t row_bytes;
    const uint8_t *data;
} sl_plan_weight;

/* Layers of the same KV shape; each sequence has one block table per group. */
typedef struct sl_plan_group {
    uint32_t n_layers; /* layers that store K and V in this group's pages */
    uint32_t n_kv_head, d_k, d_v;
} sl_plan_group;

typedef enum sl_rope_style { SL_ROPE_NORM, SL_ROPE_NEOX } sl_rope_style;

/* Angle of pair j at position p: p * inv_freq[j]; cos and sin are multiplied by mscale. */
typedef struct sl_plan_rope {
    sl_rope_style style;
    uint32_t n_rot; /* rotated elements of a head, even */
    float mscale;
    const float *inv_freq; /* [n_rot / 2] */
} sl_plan_rope;

typedef struct sl_plan_op {
    sl_op_kind kind;
    int32_t layer; /* -1 outside the layers */
    sl_value_id in[SL_PLAN_INPUTS_MAX], out;
    int32_t weight; /* index into plan->weights, -1 if none */
    union {
        struct {
            float eps;
        } norm;
        struct {
            int32_t bias /* index into plan->weights, -1 if none */;
        } linear;
        struct {
            uint32_t n_head, d, rope;
        } rope;
        struct {
            uint32_t group, slot /* layer number within the group */, n_head;
            float scale;
        } attend;
    } u;
} sl_plan_op;

typedef struct sl_plan {
    sl_arena arena; /* owns all arrays below */
    char arch[64];
    uint32_t n_layers, n_embd, n_vocab, n_ctx_train;
    const sl_plan_value *values;
    uint32_t n_values;
    const sl_plan_weight *weights;
    uint32_t n_weights;
    /* [0, n_body) for every row; [n_body, n_ops) only for rows that need logits */
    const sl_plan_op *ops;
    uint32_t n_body, n_ops;
    sl_value_id hidden, logits; /* what passes from body to head, and the result */
    sl_plan_group groups[SL_PLAN_GROUPS_MAX];
    uint32_t n_groups;
    sl_plan_rope ropes[SL_PLAN_ROPES_MAX];
    uint32_t n_ropes;
} sl_plan;

void sl_plan_deinit(sl_plan *p);

/* Checks the shapes of all operations against each other. A breach is SL_ERR_INTERNAL: the
 * description of the architecture is wrong, not the file. */
SL_NODISCARD sl_status sl_plan_check(const sl_plan *p, sl_error *err);

const char *sl_op_kind_name(sl_op_kind kind);
/* Appends one operation as text: "layer 3  linear  q[576] = blk.3.attn_q.weight * xn". */
sl_status sl_plan_print_op(const sl_plan *p, uint32_t i_op, sl_buf *out);
/* Appends the whole plan, one line per operation. */
sl_status sl_plan_print(const sl_plan *p, sl_buf *out);

#endif
