/* The kernel table: pointers, shapes and strides in, numbers out. Filled once for an ISA level,
 * const afterwards. Kernels never lock, never allocate, never fail. `ref/` defines what each entry
 * must compute.
 *
 * Order of sums. Within one entry a result depends only on its own row: every output of a product
 * is ONE accumulator chain over the groups of K in rising order, whatever the number of rows,
 * threads or tiles.
 *
 * int8 products, canonical form of all levels (bit-exact twins). With activation groups of 32 (q,
 * d, sum):
 *   acc = fmaf(dw * da, (float)idot, acc)       idot: the exact integer sum of (w - offset) * q
 *   acc = fmaf(mw, s, acc)                      only formats with a minimum; s = da * (float)sum(q)
 * where dw (and mw) is the float32 scale (minimum) of that 32-group of weights; mw carries its own
 * sign (Q4_1, Q5_1: +m; Q4_K, Q5_K: -dmin * m). The forms for scales of 16 weights (quant/group.h
 * says which form a type has):
 *   Q6_K Q3_K IQ2_XS IQ2_S IQ1_M   idot is the sum over the two halves of scale * dot16, dw the
 *                                  super-block's d (times a constant of the format)
 *   Q2_K    the same, and acc = fmaf(-dmin * da, (float)isum, acc), isum the sum over the halves of
 *           minimum * sum16(q)
 *   NVFP4   acc = fmaf(dw * da, (float)dot16, acc) for the first half, then for the second
 */
#ifndef SL_KERNELS_KERNELS_H
#define SL_KERNELS_KERNELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cpu.h"
#include "kernels/kv_type.h"
#include "kernels/page.h"
#include "quant/types.h"

#define SL_PANEL_ROWS 16 /* weight rows packed together */
/* Of so many rows or more, products take the panels of a call two by two: a call should have an
 * even number of them. */
#define SL_PAIR_ROWS 12
#define SL_ACT_GROUP 32  /* activations that share one scale */
#define SL_BF16_GROUP 32 /* activations rounded to BF16 come in such groups */

/* Elements from row to row of n elements of 2^k bytes: an odd number of cache lines. With an even
 * one, the rows of a tile may fall into few sets of the first-level cache, and out of it. */
static inline size_t sl_row_stride(size_t n, size_t elem_bytes) {
    return ((n * elem_bytes + 63) / 64 | 1) * 64 / elem_bytes;
}

/* Activations rounded to int8, n_rows x n_in. All arrays are 64-byte aligned; rows are q_stride
 * bytes apart (a multiple of 64), groups of a row follow each other with g_stride groups from row
 * to row (a multiple of 16). q is in [-127, 127]; a group with a non-finite input has d = NaN. */
typedef struct sl_act8 {
    int8_t *q; /* [row][n_in] */
    float *d;  /* [row][n_in / 32] scale */
    float *s;  /* [row][n_in / 32] d * (sum of q) */
    /* [row][n_in / 32][2] minus the sum of q: over the group, over its first half. Times the offset
     * of weights, it takes off what that adds. */
    int32_t *minus_sum;
    size_t q_stride, g_stride;
} sl_act8;

/* A product of one weight type with int8 activations. All NULL where a type has no int8 form:
 * formats without blocks, and Q8_K. */
typedef struct sl_product {
    /* Bytes of a packed panel of 16 rows x n_in, a multiple of 64. n_in is a multiple of the type's
     * block. */
    size_t (*panel_bytes)(sl_type type, uint32_t n_in);
    /* Packs n_rows (1..16) rows, row_bytes apart, as the file has them; missing rows become
     * zeros. */
    void (*pack)(sl_type type, const uint8_t *rows, size_t row_bytes, uint32_t n_rows,
                 uint32_t n_in, uint8_t *panel);
    /* out[r * out_stride + 16 * p + i], for r in [row_begin, row_end), p in [panel_begin,
     * panel_end): the product of activation row r with weight row 16 p + i; with `add` it is added
     * to what is there. All 16 lanes of the last panel are written, so rows of `out` have room for
     * 16 * n_panels floats. */
    void (*mul)(const uint8_t *panels, uint32_t n_in, uint32_t panel_begin, uint32_t panel_end,
                const sl_act8 *act, uint32_t row_begin, uint32_t row_end, float *out,
                size_t out_stride, bool add);
} sl_product;

/* Products of F32, F16 and BF16 weights with float rows, each output the chain of mul_f32 and the
 * same bits. Unlike there weights are packed: a panel is read in one stream and needs no
 * transposition. All NULL in the reference, which gains nothing by it: its mul_f32 is the twin.
 * Arguments as in sl_product; n_in is any; activation row r begins at x + r * x_stride. */
typedef struct sl_product_plain {
    size_t (*panel_bytes)(sl_type type, uint32_t n_in);
    void (*pack)(sl_type type, const uint8_t *rows, size_t row_bytes, uint32_t n_rows,
                 uint32_t n_in, uint8_t *panel);
    void (*mul)(sl_type type, const uint8_t *panels, uint32_t n_in, uint32_t panel_begin,
                uint32_t panel_end, const float *x, size_t x_stride, uint32_t row_begin,
                uint32_t row_end, float *out, size_t out_stride, bool add);
} sl_product_plain;
static inline bool sl_type_is_plain(sl_type type) {
    return type == SL_TYPE_F32 || type == SL_TYPE_F16 || type == SL_TYPE_BF16;
}

/* A product of BF16 weights with activations rounded to BF16, for levels with an instruction that
 * does so; all NULL at the others, where the float product is as fast. Columns go in pairs; an odd
 * n_in is filled up with a zero:
 *   acc = fz(fma(w[2 j + 1], x[2 j + 1], acc));  acc = fz(fma(w[2 j], x[2 j], acc))
 * rounded to nearest even; fz: a subnormal result becomes zero, and subnormal w and x count as
 * zero. Rounding the activations changes each term by at most 2^-8 of it (half a unit of 8 bits);
 * the weights are exact. */
typedef struct sl_product_bf16 {
    /* As in sl_product; n_in is any. */
    size_t (*panel_bytes)(uint32_t n_in);
    void (*pack)(const uint8_t *rows, size_t row_bytes, uint32_t n_rows, uint32_t n_in,
                 uint8_t *panel);
    /* n floats to the nearest BF16 (ties to even, subnormals to zero, NaN stays NaN), then zeros up
     * to a multiple of SL_BF16_GROUP. */
    void (*round_row)(const float *x, uint32_t n, uint16_t *out);
    /* As in sl_product; activation row r, as round_row leaves it, begins at x + r * x_stride. */
    void (*mul)(const uint8_t *panels, uint32_t n_in, uint32_t panel_begin, uint32_t panel_end,
                const uint16_t *x, size_t x_stride, uint32_t row_begin, uint32_t row_end,
                float *out, size_t out_stride, bool add);
} sl_product_bf16;
/* The twin of all of them, which no table holds. */
void sl_product_bf16_ref(sl_product_bf16 *out);

/* Products on AMX tiles, for many rows; all NULL (0) but at level amx. Weights of every type that
 * has a packed product except F32 are read from the panels that the table's entry for the type
 * packs (`bf16` for BF16, `plain` for F16, else `product`), decoded and rounded to BF16;
 * activations are rounded to BF16. Columns go in groups of 32, the last one filled up with zeros:
 *   even = odd = 0;  for j in 0 .. 15:
 *     even = fz(fma(w[2 j], x[2 j], even));  odd = fz(fma(w[2 j + 1], x[2 j + 1], odd))
 *   acc = fz(acc + fz(even + odd))
 * (fz and subnormals as in sl_product_bf16). Each term changes by at most 2^-7 of it. A row's
 * result does not depend on the other rows of the call, but it is not what the entries for few
 * rows give: who chooses by the number of rows makes results depend on it. */
typedef struct sl_product_amx {
    uint32_t rows_min; /* from so many rows on faster than the other entries */
    /* As in sl_product_bf16, but with `add` the chain begins with what is there. panel_bytes: of a
     * panel. scratch: sl_product_amx_scratch_bytes(n_in), 64-byte aligned, one per thread. */
    void (*mul)(sl_type type, const uint8_t *panels, size_t panel_bytes, uint32_t n_in,
                uint32_t panel_begin, uint32_t panel_end, const uint16_t *x, size_t x_stride,
                uint32_t row_begin, uint32_t row_end, float *out, size_t out_stride, bool add,
                void *scratch);
} sl_product_amx;
size_t sl_product_amx_scratch_bytes(uint32_t n_in);
/* Its twin, which no table holds: n_out weight rows as the file has them. */
void sl_mul_amx_ref(sl_type type, const uint8_t *weights, size_t row_bytes, uint32_t n_in,
                    uint32_t n_out, const uint16_t *x, size_t x_stride, uint32_t n_rows, float *out,
                    size_t out_stride, bool add);

/* Generic product in float32: decodes 16 weight rows at a time into scratch and multiplies. Serves
 * every format that decodes, at every level, and --exact. Weight rows [w_begin, w_end) of the
 * file's layout; x[r * x_stride + k]; out[r * out_stride + w]; scratch:
 * sl_mul_f32_scratch_floats(n_in) floats, 64-byte aligned, one per thread. w_begin is a multiple of
 * 16. Each output is one chain: acc = fmaf(w, x, acc). */
typedef void (*sl_mul_f32_fn)(sl_type type, const uint8_t *weights, size_t row_bytes, uint32_t n_in,
                              uint32_t w_begin, uint32_t w_end, const float *x, size_t x_stride,
                              uint32_t n_rows, float *out, size_t out_stride, bool add,
                              float *scratch);
size_t sl_mul_f32_scratch_floats(uint32_t n_in);

/* Attention of consecutive query rows of one sequence, for the query heads that share one KV head.
 *
 * A page of the store holds, for each (layer, KV head), a K block and a V block of 32 tokens, laid
 * out as kv_type.h says. Token t of the sequence is in page table[t / 32], slot t % 32.
 * Row r (position p = pos0 + r) sees keys 0 .. p, with a window only those above p - window, with
 * n_keys != 0 keys 0 .. n_keys - 1 whatever p and the window are. The score of key t is
 *   s = scale * q.k;  s = softcap * tanh(s / softcap)  if softcap;  s += slope * (t - p)  if slopes
 * and the output softmax(s) V, with a sink exp(sink) more in the softmax's sum. Table entries of
 * pages that no row sees are not looked at.
 *
 * Order of sums. Of each block of SL_ATTEND_BLOCK tokens at fixed positions that a row sees
 * something of, m is the largest score, l = sum exp(s - m), o = sum exp(s - m) v. The state (M, L,
 * O), at first (-inf, 0, 0) or with a sink (sink, 1, 0), takes them in rising order,
 *   M' = max(M, m), L' = L exp(M - M') + l exp(m - M'), O' = O exp(M - M') + o exp(m - M')
 * and the output is O / L. So blocks may be computed by several calls, and merged afterwards: a
 * call with parts leaves (o, m, l) of blocks [block_begin, block_end) there, attend_merge writes
 * out, with the bits of one call. */
#define SL_ATTEND_BLOCK 256
typedef struct sl_attend {
    const float *q;           /* q[r * q_stride + h * d_k + i], h < n_group */
    size_t q_stride;          /* floats from row to row */
    uint32_t n_rows, n_group; /* query rows; query heads per KV head */
    uint32_t d_k, d_v;
    uint32_t pos0;
    const int32_t *table; /* page numbers of the sequence */
    const uint8_t *store; /* page p begins at store + p * page_bytes */
    size_t page_bytes;
    /* of this layer's and head's blocks inside a page, bytes, 64-aligned */
    size_t k_offset, v_offset;
    float scale;
    uint32_t window;     /* 0: none */
    uint32_t n_keys;     /* 0: causal */
    float softcap;       /* 0: none */
    const float *slopes; /* [n_group] of ALiBi, NULL: none */
    const float *sinks;  /* [n_group], NULL: none */
    float *out;          /* out[r * out_stride + h * d_v + i] */
    size_t out_stride;
    /* NULL: all blocks at once. Otherwise sl_attend_part_floats(...) floats, 64-byte aligned, for
     * each block that some row sees, the first one's first */
    float *parts;
    uint32_t block_begin, block_end; /* of a call with parts; attend_merge takes all of them */
    /* What the thread reads after this call: the K blocks at then_offset of n_then pages, fetched
     * when the call's own are. Changes no number. */
    const int32_t *then;
    uint32_t n_then;
    size_t then_offset;
    /* sl_attend_scratch_floats(...) floats, 64-byte aligned, one per thread */
    float *scratch;
} sl_attend;
/* For calls of at most n_rows rows. */
size_t sl_attend_scratch_floats(uint32_t n_rows, uint32_t n_group, uint32_t d_k, uint32_t d_v);
size_t sl_attend_part_floats(uint32_t n_rows, uint32_t n_group, uint32_t d_v);

/* Attention on AMX tiles, for many (row, head) pairs: only at level amx, and only for F16 and BF16;
 * the others NULL. Scaled queries, keys, values and exponentials are rounded to BF16 (subnormals to
 * zero) before they are multiplied, which changes each term by at most 2^-7 of it; sums are
 * float32. A row's result does not depend on the other rows of the call, but it is not what
 * `attend` gives: who chooses by the number of rows makes results depend on it. With parts, they
 * are merged by attend_merge. scratch: sl_attend_amx_scratch_floats(...) floats. */
typedef struct sl_attend_amx {
    void (*attend[SL_KV_TYPE_COUNT])(const sl_attend *a);
} sl_attend_amx;
size_t sl_attend_amx_scratch_floats(uint32_t n_rows, uint32_t n_group, uint32_t d_k, uint32_t d_v);

/* Blocks [begin, end) that the rows of a call see. */
typedef struct sl_attend_blocks {
    uint32_t begin, end;
} sl_attend_blocks;
static inline sl_attend_blocks sl_attend_blocks_seen(uint32_t pos0, uint32_t n_rows,
                                                     uint32_t window, uint32_t n_keys) {
    if (n_keys != 0) {
        return (sl_attend_blocks){0, (n_keys - 1) / SL_ATTEND_BLOCK + 1};
    }
    const uint32_t begin = window != 0 && pos0 + 1 > window ? pos0 + 1 - window : 0;
    return (sl_attend_blocks){begin / SL_ATTEND_BLOCK, (pos0 + n_rows - 1) / SL_ATTEND_BLOCK + 1};
}

/* Keys and values of n consecutive tokens of one KV head, for slots [slot, slot + n) of a page. */
typedef struct sl_kv_rows {
    const float *key, *value; /* of the first token; those of the others so many floats apart: */
    size_t key_stride, value_stride;
    uint32_t d_k, d_v;
    void *k_block, *v_block;
    uint32_t slot, n;
} sl_kv_rows;

/* Activations. Those of one input: act(x); gated: act(gate) * up. */
typedef enum sl_act_kind {
    SL_ACT_SILU,      /* x / (1 + exp(-x)) */
    SL_ACT_GELU,      /* x / 2 * (1 + erf(x / sqrt 2)) */
    SL_ACT_GELU_TANH, /* x / 2 * (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) */
    SL_ACT_RELU_SQUARED,
    SL_ACT_SIGMOID,
    /* gpt-oss, gated only: g = min(gate, 7), u = clamp(up, -7, 7): g / (1 + exp(-1.702 g)) * (u +
     * 1) */
    SL_ACT_SWIGLU_CLAMPED,
    SL_ACT_KIND_COUNT
} sl_act_kind;

typedef struct sl_kernels {
    sl_isa isa;
    sl_product product[SL_TYPE_COUNT];
    sl_product_plain plain;
    sl_product_bf16 bf16;
    sl_product_amx amx;
    sl_mul_f32_fn mul_f32;

    /* Rounds n (multiple of 32) floats into row `row` of act: per group d = amax / 127, q = rint(x
     * * (127 / amax)) (round half to even; amax below 2^-120: all zero). Every level gives the same
     * bits. */
    void (*quantize_row)(const float *x, uint32_t n, const sl_act8 *act, uint32_t row);
    /* out[i] = x[i] / sqrt(mean(x^2) + eps) * w[i] (w NULL: 1); may work in place. Sum of squares
     * in double or in a fixed order that is within 4 ulp of it. */
    void (*rms_norm)(const float *x, const float *w, uint32_t n, float eps, float *out);
    /* out[i] = (x[i] - m) / sqrt(mean((x - m)^2) + eps) * w[i] + b[i], m the mean; w NULL: 1, b
     * NULL: 0. Sums as in rms_norm; may work in place. */
    void (*layer_norm)(const float *x, const float *w, const float *b, uint32_t n, float eps,
                       float *out);
    /* Rotates the first n_rot of each head's d elements in place: x[h * d + i]. cs[2 * j] = cos,
     * cs[2 * j + 1] = sin of the row's position for pair j < n_rot / 2. `norm`: pair j is (2j,
     * 2j+1); `neox`: (j, j + n_rot / 2). */
    void (*rope_norm)(float *x, uint32_t n_head, uint32_t d, uint32_t n_rot, const float *cs);
    void (*rope_neox)(float *x, uint32_t n_head, uint32_t d, uint32_t n_rot, const float *cs);
    /* out[i] = act(gate[i]), times up[i] unless up is NULL; out may be gate. At -infinity act is
     * its limit, 0. */
    void (*act)(sl_act_kind kind, const float *gate, const float *up, uint32_t n, float *out);
    /* out = x + y; out may be x */
    void (*add)(const float *x, const float *y, uint32_t n, float *out);
    /* out = fma(y, scale, x); out may be x */
    void (*add_scaled)(const float *x, const float *y, float scale, uint32_t n, float *out);
    /* out = x * scale; out may be x */
    void (*scale)(const float *x, float scale, uint32_t n, float *out);
    /* out = cap * tanh(x / cap); out may be x */
    void (*softcap)(const float *x, float cap, uint32_t n, float *out);

    /* Writes one token's key and value of one KV head into its page slot, as kv_type.h says. Every
     * level gives the same bits. */
    void (*kv_store[SL_KV_TYPE_COUNT])(const float *key, uint32_t d_k, const float *value,
                                       uint32_t d_v, void *k_block, void *v_block, uint32_t slot);
    /* The same of several tokens; NULL for types and levels that gain nothing by it. */
    void (*kv_store_rows[SL_KV_TYPE_COUNT])(const sl_kv_rows *rows);
    void (*attend[SL_KV_TYPE_COUNT])(const sl_attend *a);
    void (*attend_merge)(const sl_attend *a);
    sl_attend_amx attend_amx;

    /* Index of the largest element, lowest index on ties; NaN anywhere gives UINT32_MAX. n >= 1. */
    uint32_t (*argmax)(const float *x, uint32_t n);
    /* Index of the first element that is not below `least`, NaN included; n if all are. */
    uint32_t (*not_below)(const float *x, uint32_t n, float least);
    /* Sum over i of exp((x[i] - max) * scale), in double. */
    double (*sum_exp)(const float *x, uint32_t n, float max, float scale);

    /* What no product of the level can exceed: multiplies and adds in registers, int8 or float32,
     * and returns how many operations that were (two per multiply-add). Scaled: int8, with what it
     * takes to scale the sums of each group of 32. NULL at level ref. */
    double (*peak_int8)(uint32_t n_rounds);
    double (*peak_scaled)(uint32_t n_rounds);
    double (*peak_f32)(uint32_t n_rounds);
    double (*peak_bf16)(uint32_t n_rounds); /* NULL, too, where there is no product of BF16 */
} sl_kernels;

/* Fills the table for `isa` (which the CPU must have): ref first, then each level up to it
 * overwrites. */
void sl_kernels_init(sl_kernels *k, sl_isa isa);

/* Calls fn once per entry with its name ("mul q4_1", "attend f16", ...) and the level that provides
 * it; not for entries that no level up to this one has. */
void sl_kernels_describe(const sl_kernels *k, void (*fn)(void *user, const char *entry, sl_isa isa),
                         void *user);

#endif
