/* The CPU's program: the plan regrouped into phases. Between two phases all workers meet at a
 * barrier; inside a phase the work is cut into independent tasks.
 *
 *   rows    a list of operations that each touch one row only (norm, rope, store K/V, gate, round
 *   to int8):
 *           run one after the other on the same row by the same worker, no barrier between them
 *   linear  products of up to LINEAR_MAX weights with the same input: tasks are panels x row blocks
 *   attend  tasks are (run, tile of query rows, KV head)
 *
 * So a Llama layer takes nine phases whatever the batch is. Private to src/device/cpu.
 */
#ifndef SL_DEVICE_CPU_CPU_PROGRAM_H
#define SL_DEVICE_CPU_CPU_PROGRAM_H

#include "device/device.h"

#define CPU_LINEAR_MAX 4   /* weights of one linear phase */
#define CPU_ATTEND_ROWS 16 /* query rows of one attention task */

/* A value's storage: float rows, and the same rows rounded to int8 where a product wants them. */
typedef struct cpu_value {
    float *x; /* [rows][stride], 64-byte aligned */
    uint32_t width;
    size_t stride; /* floats, a multiple of 16 with room for a padded panel */
    bool wants_q;  /* some product reads it rounded */
    bool written;  /* belongs to this segment */
    sl_act8 q;
} cpu_value;

/* A matrix as this device reads it. */
typedef struct cpu_weight {
    const sl_plan_weight *w;
    const sl_product *product; /* NULL: the generic float32 product reads the file's rows */
    uint8_t *panels;           /* in the packed region */
    size_t panel_bytes;
    uint32_t n_panels;
} cpu_weight;

typedef enum cpu_row_kind {
    CPU_ROW_EMBED,
    CPU_ROW_RMS_NORM,
    CPU_ROW_ROPE,
    CPU_ROW_STORE_KV,
    CPU_ROW_SILU_MUL,
    CPU_ROW_ADD,
    CPU_ROW_ADD_BIAS,
    CPU_ROW_QUANTIZE,
    CPU_ROW_ROPE_ANGLES,
    CPU_ROW_GATHER
} cpu_row_kind;

typedef struct cpu_row_op {
    cpu_row_kind kind;
    sl_value_id in[2], out;
    const sl_plan_weight *w; /* embedding, norm or bias */
    float eps;
    uint32_t n_head, d, i_rope; /* rope */
    uint32_t group;
    size_t offset; /* of this layer inside the group's page (store) */
} cpu_row_op;

typedef struct cpu_linear {
    const cpu_weight *w;
    sl_value_id out;
    bool add; /* out += product */
} cpu_linear;

typedef struct cpu_attend {
    sl_value_id q, out;
    uint32_t group, n_head;
    size_t offset; /* of this layer inside the group's page */
    float scale;
} cpu_attend;

typedef enum cpu_phase_kind { CPU_PHASE_ROWS, CPU_PHASE_LINEAR, CPU_PHASE_ATTEND } cpu_phase_kind;

typedef struct cpu_phase {
    cpu_phase_kind kind;
    union {
        struct {
            uint32_t first, n;
        } rows; /* in segment->row_ops */
        struct {
            sl_value_id in;
            bool quantized; /* the input is read rounded */
            uint32_t n;
            cpu_linear l[CPU_LINEAR_MAX];
        } linear;
        cpu_attend attend;
    } u;
} cpu_phase;

/* Body or head: phases over their own values. */
typedef struct cpu_segment {
    cpu_phase *phases;
    uint32_t n_phases;
    cpu_row_op *row_ops;
    uint32_t n_row_ops;
    cpu_value *values; /* [plan->n_values] */
    uint32_t rows_max;
} cpu_segment;

/* Pages of one layer group: page p at base + p * page_bytes; layer `slot` of the group begins at
 * slot * n_kv_head * head_bytes, KV head h at + h * head_bytes: K block, then V block. */
typedef struct cpu_group {
    uint8_t *base;
    size_t page_bytes, head_bytes, v_offset;
} cpu_group;

struct sl_cpu_device {
    sl_device device; /* first */
    sl_kernels kernels;
    uint32_t n_threads;
    bool pin;
    sl_pool *pool; /* made with the first program */
};

struct sl_program {
    struct sl_cpu_device *device;
    const sl_plan *plan;
    sl_program_options options;
    sl_arena arena;      /* small tables */
    cpu_weight *weights; /* [plan->n_weights] */
    cpu_segment body, head;
    cpu_group groups[SL_PLAN_GROUPS_MAX];
    uint8_t *packed; /* one region for all panels */
    size_t packed_bytes;
    uint8_t *pages;
    size_t kv_bytes, page_bytes;
    uint8_t *step; /* one region for values, angles and scratch */
    size_t step_bytes;
    float *angles[SL_PLAN_ROPES_MAX]; /* [rows_max][n_rot] cos, sin pairs of each row */
    float *scratch;                   /* [n_threads][scratch_floats] */
    size_t scratch_floats;
    /* of the step that runs */
    const sl_step *now;
    uint32_t *row_run;   /* [rows_max] run of each row */
    uint32_t *run_tiles; /* [runs_max + 1] attention tiles before each run */
    uint32_t *gather;    /* [rows_max] row of each logits row */
    uint32_t head_first; /* first logits row of the present block */
};

/* Bytes of one page of a layer group. */
size_t sl_cpu_group_page_bytes(const sl_plan_group *g, sl_kv_type kv_type);

sl_status sl_cpu_program_estimate(sl_device *d, const sl_plan *plan,
                                  const sl_program_options *options, sl_program_memory *out,
                                  sl_error *err);
sl_status sl_cpu_program_compile(sl_device *d, const sl_plan *plan,
                                 const sl_program_options *options, sl_program **out,
                                 sl_error *err);
void sl_cpu_program_free(sl_program *p);
sl_status sl_cpu_program_run(sl_program *p, const sl_step *step, sl_logits_fn fn, void *user,
                             sl_error *err);
void sl_cpu_program_copy_page(sl_program *p, int32_t from, int32_t to);

/* Parts of compile. Phases: fills the segments from the plan's operations. */
sl_status sl_cpu_phases_build(sl_program *p, sl_error *err);
/* Packs all weights that have an int8 form, in parallel. */
sl_status sl_cpu_weights_pack(sl_program *p, sl_error *err);
/* True if the weight will be packed for this device and mode. */
bool sl_cpu_weight_packs(const sl_program *p, const sl_plan_weight *w);

#endif
