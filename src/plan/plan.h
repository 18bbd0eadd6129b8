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
#include "kernels/kernels.h"
#include "quant/types.h"

#define SL_PLAN_GROUPS_MAX 16 /* layer groups of one model */
#define SL_PLAN_ROPES_MAX 4   /* different rope tables of one model */
#define SL_PLAN_INPUTS_MAX 3
#define SL_PLAN_EXPERTS_MAX 1024 /* of one layer */
#define SL_PLAN_CHOICES_MAX 32   /* experts that one row goes to */

/* What an operation computes for every row (token) of a step. Widths are those of its values. */
typedef enum sl_op_kind {
    SL_OP_EMBED,    /* out = weight[token id] * scale                          [n, n_embd] */
    SL_OP_POSITION, /* out = weight[position] */
    SL_OP_NORM,     /* out = norm(in0) * weight (+ bias), over the row or over each head */
    SL_OP_LINEAR,   /* out = weight * in0 (+ bias) */
    SL_OP_ROPE,     /* out = in0 rotated by the row's position; in place (out == in0) */
    SL_OP_ATTEND,   /* stores in1 (K) and in2 (V) in the row's page, out = attention of in0 (Q) */
    SL_OP_ACT,      /* out = act(in0), or act(in0) * in1 where there is an in1 */
    SL_OP_ADD,      /* out = in0 + scale * in1; in place allowed */
    SL_OP_ADD_BIAS, /* out = in0 + weight (a vector); in place allowed */
    SL_OP_SCALE,    /* out = in0 * scale, or * in1[0] where there is an in1; in place allowed */
    SL_OP_SOFTCAP,  /* out = cap * tanh(in0 / cap); in place allowed */
    SL_OP_COPY,     /* a piece of each head of in0 to a place in each head of out */
    SL_OP_ROUTE,    /* out = the shares of the experts chosen by the scores in0, then their numbers;
                       `bias` is added for the choice only */
    SL_OP_DISPATCH, /* out = in0 once for each expert chosen by in1 */
    SL_OP_EXPERTS, /* out = weight[expert of the choice] * in0 (+ bias[expert]); in1 is the route */
    SL_OP_COMBINE, /* out = the sum of in0 over the choices of in1, by their shares */
    SL_OP_KIND_COUNT
} sl_op_kind;

typedef uint16_t sl_value_id; /* index into plan->values */
#define SL_VALUE_ID_NONE 0xFFFFu

/* A row vector that exists for every row of a step, or n_choices times for every row: once for each
 * expert that the row goes to. */
typedef struct sl_plan_value {
    const char *name;   /* "x", "q", "gate", ... static */
    uint32_t width;     /* floats */
    uint32_t n_choices; /* 0: one row per token */
} sl_plan_value;

/* A weight: n_mats matrices (one, or one for each expert or head) of n_out rows of n_in elements,
 * as the file holds them. Vectors have n_out == 1 and are F32. A tied output matrix is the
 * embedding's own entry, named by both operations. */
typedef struct sl_plan_weight {
    sl_slice name;
    sl_type type;
    uint32_t n_out, n_in, n_mats;
    /* Of a part of a stored tensor: its first row, and the rows of the whole (of each matrix);
     * likewise the first element and the elements of a vector, or the row that it is. */
    uint32_t first, n_all;
    size_t row_bytes, mat_bytes; /* from row to row, from matrix to matrix */
    const uint8_t *data;
} sl_plan_weight;

/* Layers of the same window and KV shape; each sequence has one block table per group. A model
 * whose kinds of layers differ in number has several groups of one kind, so that the pages of all
 * its groups are about the same size and come from one pool. */
typedef struct sl_plan_group {
    uint32_t n_layers; /* layers that store K and V in this group's pages */
    uint32_t n_kv_head, d_k, d_v;
    uint32_t window; /* a row at position p sees positions above p - window; 0: all before it */
} sl_plan_group;

typedef enum sl_rope_style { SL_ROPE_NORM, SL_ROPE_NEOX } sl_rope_style;

/* Angle of pair j at position p: p * inv_freq[j]; cos and sin are multiplied by mscale. Sequences
 * whose length is above plan->ctx_switch use inv_freq_long (longrope). */
typedef struct sl_plan_rope {
    sl_rope_style style;
    uint32_t n_rot; /* rotated elements of a head, even */
    float mscale;
    const float *inv_freq;      /* [n_rot / 2] */
    const float *inv_freq_long; /* [n_rot / 2], NULL if the length does not matter */
} sl_plan_rope;

/* How a router's scores become shares. */
typedef enum sl_route_kind {
    SL_ROUTE_SOFTMAX,         /* softmax over all experts, then the best n_used */
    SL_ROUTE_SIGMOID,         /* sigmoid of each, then the best n_used */
    SL_ROUTE_SOFTMAX_OF_USED, /* the best n_used, then softmax over them */
} sl_route_kind;

typedef struct sl_plan_route {
    sl_route_kind kind;
    uint32_t n_expert, n_used;
    /* Only experts of the best n_group_used of n_group equal groups may be chosen; a group is as
     * good as the sum of its two best (sigmoid) or its best one. n_group 0 or 1: all may. */
    uint32_t n_group, n_group_used;
    bool normalize; /* shares are divided by their sum */
    float scale;    /* and multiplied by this */
} sl_plan_route;

typedef struct sl_plan_op {
    sl_op_kind kind;
    int32_t layer;                           /* -1 outside the layers */
    sl_value_id in[SL_PLAN_INPUTS_MAX], out; /* SL_VALUE_ID_NONE: no such input */
    int32_t weight;                          /* index into plan->weights, -1 if none */
    int32_t bias;                            /* another one, -1 if none */
    union {
        struct {
            float scale;
        } embed;
        struct {
            bool is_layer_norm; /* subtracts the mean first; else root mean square only */
            float eps;
            uint32_t n_head; /* 1: the whole row. Weights of one head serve all if so wide only */
            uint32_t first;  /* of in0: normed are its elements from here on, as many as out has */
        } norm;
        struct {
            uint32_t
                n_head; /* 0: a plain product; else head h of in0 times matrix h of the weight */
            uint32_t in_stride, in_first, out_stride, out_first; /* of the heads, then */
        } linear;
        struct {
            uint32_t n_head, d, first; /* elements [first, first + n_rot) of each head of d */
            uint32_t rope;
        } rope;
        struct {
            uint32_t group, slot /* layer number within the group */, n_head;
            float scale;
            float softcap;       /* of the scaled scores; 0: none */
            int32_t sinks;       /* weight [n_head]: scores that take part of the sum; -1: none */
            const float *slopes; /* [n_head] ALiBi: slope * (key position - row position); NULL */
        } attend;
        struct {
            sl_act_kind kind;
        } act;
        struct {
            float scale;
        } scale; /* ADD, SCALE */
        struct {
            float cap;
        } softcap;
        struct {
            /* element i < n of head h: out[h * out_stride + out_first + i] = in0[h * in_stride +
             * in_first + i]; a stride of 0 reads the same piece for all heads */
            uint32_t n_head, n, in_stride, in_first, out_stride, out_first;
        } copy;
        sl_plan_route route;
    } u;
} sl_plan_op;

/* How the rows of an encoder become one vector. */
typedef enum sl_pooling {
    SL_POOLING_NONE, /* a decoder, whose rows are logits, or an encoder that does not say */
    SL_POOLING_MEAN,
    SL_POOLING_CLS,  /* the first row */
    SL_POOLING_LAST, /* the last row */
} sl_pooling;

typedef struct sl_plan {
    sl_arena arena; /* owns all arrays below */
    char arch[64];
    uint32_t n_layers, n_embd, n_vocab;
    uint32_t n_ctx_train; /* the length of its training, as the file says */
    uint32_t n_ctx_max;   /* longest sequence; above n_ctx_train where positions have no end */
    /* Sequences of more known tokens than this use the long rope tables at all positions; one that
     * grows beyond it is computed anew. 0: none. */
    uint32_t ctx_switch;
    /* An encoder: every row sees all rows of its sequence, which must be one run of one step; the
     * result is a vector for each row. */
    bool is_encoder;
    sl_pooling pooling;
    const sl_plan_value *values;
    uint32_t n_values;
    const sl_plan_weight *weights;
    uint32_t n_weights;
    /* [0, n_body) for every row; [n_body, n_ops) only for rows that need logits */
    const sl_plan_op *ops;
    uint32_t n_body, n_ops;
    sl_value_id hidden, logits; /* what passes from body to head, and the result */
    uint32_t n_result;          /* its width: n_vocab, or n_embd of an encoder */
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
const char *sl_pooling_name(sl_pooling pooling); /* "mean", ... */
/* How many values an operation reads. */
uint32_t sl_plan_op_n_in(const sl_plan_op *op);
/* Appends one operation as text: "layer 3  linear  q[576] = blk.3.attn_q.weight * xn". */
sl_status sl_plan_print_op(const sl_plan *p, uint32_t i_op, sl_buf *out);
/* Appends the whole plan, one line per operation. */
sl_status sl_plan_print(const sl_plan *p, sl_buf *out);

#endif
