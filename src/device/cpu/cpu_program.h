/* The CPU's program: the plan regrouped into phases. Between two phases all workers meet at a
 * barrier; inside a phase the work is cut into independent tasks.
 *
 *   rows     a list of operations that each touch one row only (norm, rope, store K/V, gate, round
 *            for products): run one after the other on the same row by the same worker, no barrier
 *            between them
 *   linear   products of up to LINEAR_MAX weights with the same input: tasks are panels x row
 *            blocks
 *   heads    a product of each head with a matrix of its own: tasks are heads x row blocks
 *   attend   tasks are (tile of a run's query rows, range of its keys, KV head, part of its query
 *            heads): see cpu_attend.c
 *   sort     the step's (row, expert) choices are put into the order of the experts
 *   experts  products as in linear, of each expert with the rows that chose it: tasks are experts x
 *            panels
 *
 * So a Llama layer takes nine phases (eight with --exact) whatever the batch is. A rows phase of
 * few rows, and a sort, need no barrier of their own: see cpu_run.c. Values that exist once per
 * choice lie in the order of the experts.
 *
 * On a machine of several NUMA nodes each has a share of the panels of every weight, packed by its
 * own workers, and a stretch of the pages. Tasks are a node's whose panels they read, or where the
 * sequence lies; its workers take them first, others when they have none left. Every output is
 * computed as on one node. Private to src/device/cpu.
 */
#ifndef SL_DEVICE_CPU_CPU_PROGRAM_H
#define SL_DEVICE_CPU_CPU_PROGRAM_H

#include <pthread.h>
#include <stdatomic.h>

#include "device/device.h"
#include "kernels/top.h"

#define CPU_LINEAR_MAX 4   /* weights of one linear phase */
#define CPU_ATTEND_ROWS 16 /* query rows of one attention task */
/* The same where they take tiles, which have keys and values decoded once for each task. */
#define CPU_ATTEND_TILE_ROWS 64
/* Tasks of attention that each thread should find: those of long contexts are cut for it. */
#define CPU_ATTEND_TASKS 8
/* There is room to cut the contexts of so many sequences of full length that decode; what finds no
 * room is not cut. */
#define CPU_ATTEND_SPLIT_RUNS 8

/* How a product of few rows reads its input. But for the first form its weights are packed. Of many
 * rows, products on tiles read it as BF16 whatever the form is (cpu_weight.tiles). */
typedef enum cpu_form {
    CPU_FORM_F32,   /* as float rows; weights as the file has them */
    CPU_FORM_PLAIN, /* as float rows; weights are F32, F16 or BF16 */
    CPU_FORM_INT8,  /* rounded to int8 */
    CPU_FORM_BF16,  /* rounded to bfloat16 */
    CPU_FORM_COUNT
} cpu_form;

/* Rows [begin, end) of a product's input. many: the rows that meet the matrix, of which these are
 * some, are as many as tiles want (CPU_MANY). */
typedef struct cpu_rows {
    uint32_t begin, end;
    bool many;
} cpu_rows;

/* Numbers of rows that go through a product together, bits: few, and from program.tiles_rows on
 * many. */
enum { CPU_FEW = 1, CPU_MANY = 2 };

/* A value's storage: float rows, and the same rows rounded where a product wants them so; or
 * these alone. */
typedef struct cpu_value {
    float *x; /* [rows][stride], 64-byte aligned; NULL unless written */
    uint32_t width;
    uint32_t n_choices;         /* 0: a row per token; else so many, in the order of the experts */
    uint32_t rows_max;          /* room for so many tokens */
    size_t stride;              /* floats, a multiple of 16 with room for a padded panel */
    bool wants[CPU_FORM_COUNT]; /* some product reads it in this form */
    bool written;               /* some operation of this segment writes the float rows */
    sl_act8 q;
    uint16_t *bf16; /* [rows][bf16_stride], 64-byte aligned */
    size_t bf16_stride;
} cpu_value;

/* A node's share of a weight: panels [first, end) of each matrix. */
typedef struct cpu_shard {
    uint32_t first, end;
    size_t offset; /* from weight->panels to where its panel 0 would lie: see sl_cpu_shard_offset */
} cpu_shard;

/* A matrix as this device reads it. */
typedef struct cpu_weight {
    const sl_plan_weight *w;
    cpu_form form;
    bool tiles; /* many rows are multiplied on tiles */
    /* [n_mats][n_panels], of the region or the cache file; of several nodes, of the first. */
    uint8_t *panels;
    size_t panel_bytes;
    uint32_t n_panels;    /* of one matrix */
    uint32_t first_panel; /* of all panels of the program */
    atomic_uint n_ready;  /* of all its matrices */
    cpu_shard *shards;    /* [nodes] */
} cpu_weight;

/* Which panels of the packed region hold what they should: see cpu_weights.c. */
typedef struct cpu_packing {
    uint32_t n_panels;
    atomic_uchar *state; /* [n_panels], in the step region */
    bool keeps;          /* there is a cache; else nothing needs sums */
    sl_packed_sum *sums; /* [n_panels], in the step region */
    atomic_uint n_ready; /* panels */
    uint32_t n_prepared; /* panels up to here are ready, */
    uint32_t n_moved;    /* and up to here copied from the mapped file to the region */
    sl_packed_key key;   /* with a cache */
    sl_packed_file file; /* until its panels have moved to the region; map NULL: none */
    bool trusts_source;  /* the model's file is the one that the cache file was packed from */
    atomic_uint n_repaired;
    atomic_bool failed; /* a panel could not be repaired */
    uint64_t stamp;     /* to be stored */
    bool is_stored;     /* or cannot be; a thread may be at it: */
    bool is_storing;
    atomic_bool store_ended;
    pthread_t store;
} cpu_packing;

typedef enum cpu_row_kind {
    CPU_ROW_EMBED,
    CPU_ROW_POSITION,
    CPU_ROW_NORM,
    CPU_ROW_ROPE,
    CPU_ROW_STORE_KV,
    CPU_ROW_ACT,
    CPU_ROW_ADD,
    CPU_ROW_ADD_BIAS,
    CPU_ROW_ADD_EXPERT_BIAS,
    CPU_ROW_SCALE,
    CPU_ROW_SOFTCAP,
    CPU_ROW_COPY,
    CPU_ROW_ROUTE,
    CPU_ROW_DISPATCH,
    CPU_ROW_DISPATCH_ROUNDED,
    CPU_ROW_COMBINE,
    CPU_ROW_QUANTIZE,
    CPU_ROW_ROUND,
    CPU_ROW_ROPE_ANGLES,
    CPU_ROW_GATHER
} cpu_row_kind;

typedef struct cpu_row_op {
    cpu_row_kind kind;
    const sl_plan_op *op; /* NULL: quantize, round, angles, gather */
    sl_value_id in[2], out;
    const float *w, *b; /* norm's weight and bias, bias, or NULL */
    uint32_t i_rope;    /* angles */
    uint32_t when;      /* of quantize and round: CPU_FEW, CPU_MANY or both */
    size_t offset;      /* of this layer inside the group's page (store) */
} cpu_row_op;

typedef struct cpu_linear {
    const cpu_weight *w;
    sl_value_id out;
    bool add; /* out += product */
} cpu_linear;

typedef struct cpu_attend {
    const sl_plan_op *op;
    const float *sinks;
    size_t offset; /* of this layer inside the group's page */
} cpu_attend;

typedef enum cpu_phase_kind {
    CPU_PHASE_ROWS,
    CPU_PHASE_LINEAR,
    CPU_PHASE_HEADS,
    CPU_PHASE_ATTEND,
    CPU_PHASE_SORT,
    CPU_PHASE_EXPERTS
} cpu_phase_kind;

typedef struct cpu_phase {
    cpu_phase_kind kind;
    union {
        struct {
            uint32_t first, n;  /* in segment->row_ops */
            uint32_t n_choices; /* of the rows */
            uint32_t n_floats;  /* written for one row, by all operations */
        } rows;
        struct {
            sl_value_id in;
            cpu_form form; /* of the input */
            bool tiles;    /* of all weights */
            uint32_t n;
            cpu_linear l[CPU_LINEAR_MAX];
            /* NULL, or the activation that takes the products' outputs, which nothing else reads:
             * they stay in the worker's cache, and only its own output is stored. */
            const sl_plan_op *act;
            /* [CPU_FEW], [CPU_MANY]: the form in which that is stored: rounded, or float rows */
            cpu_form act_form[CPU_MANY + 1];
        } linear; /* and experts */
        struct {
            const sl_plan_op *op;
            const cpu_weight *w;
        } heads;
        cpu_attend attend;
        struct {
            sl_value_id route;
            uint32_t n_used, n_expert;
        } sort;
    } u;
} cpu_phase;

/* The choices of a step's rows in one layer, in the order of the experts. */
typedef struct cpu_choices {
    uint32_t *row;    /* [rows_max * n_used] row of each sorted choice */
    uint32_t *expert; /* [rows_max * n_used] expert of each sorted choice */
    uint32_t *place;  /* [rows_max][n_used] where a row's choice was sorted to */
    uint32_t *begin;  /* [n_expert + 1] first sorted choice of each expert */
    uint32_t *active; /* [n_expert] experts that somebody chose */
    uint32_t n_active;
} cpu_choices;

/* Body or head: phases over their own values. */
typedef struct cpu_segment {
    cpu_phase *phases;
    uint32_t n_phases;
    cpu_row_op *row_ops;
    uint32_t n_row_ops;
    cpu_value *values; /* [plan->n_values] */
    uint32_t rows_max;
} cpu_segment;

/* The head where only the largest logits of a row are wanted: its last product is done a block of
 * SL_TOP_BLOCK columns at a time, which never leave the worker's cache. */
typedef struct cpu_top {
    uint32_t i_product; /* phase of the head; what follows it works on each logit alone */
    uint32_t rows_max;  /* logits rows at a time */
    uint32_t n_blocks;
    sl_top *found;    /* [n_threads][rows_max] */
    sl_exp_sum *sums; /* [rows_max][n_blocks] */
} cpu_top;
/* So many of the largest logits of a row are computed again from float rows: see cpu_refine.c. */
#define CPU_REFINED SL_PANEL_ROWS
#define CPU_TOP_STRIDE (SL_TOP_BLOCK + 16) /* rows do not share cache sets */

/* Outputs of one product that an activation takes, held at once. */
#define CPU_GATED_FLOATS (40u << 10)

/* Inside a page of a layer group, layer `slot` begins at slot * n_kv_head * head_bytes, KV head h
 * at + h * head_bytes: K block, then V block. */
typedef struct cpu_group {
    size_t head_bytes, v_offset;
    uint32_t n_query; /* query heads of a KV head, at most */
} cpu_group;

/* Query rows of one run, the blocks of keys that they see, and in how many ranges these are cut. */
typedef struct cpu_tile {
    uint32_t run, first, n_rows; /* rows of the run */
    bool on_tiles;               /* of AMX: the run has many rows */
    sl_attend_blocks blocks;
    uint32_t n_ranges;
    uint32_t ranges_before; /* those of earlier tiles */
    /* With more than one range: what they leave for the merge, in program->parts, and in
     * program->done how many are ready; those of the first KV head, others follow. */
    size_t parts;
    uint32_t done;
} cpu_tile;

/* How attention over a layer group is cut in the present step. */
typedef struct cpu_attend_cut {
    cpu_tile *tiles; /* [tiles_max] by the home nodes of their runs */
    uint32_t n_tiles, n_ranges;
    uint32_t node_tiles[SL_NODES_MAX + 1]; /* tiles before those of each node */
    uint32_t n_pieces;                     /* even shares of the query heads of a KV head */
} cpu_attend_cut;

struct sl_cpu_device {
    sl_device device; /* first */
    sl_kernels kernels;
    uint32_t n_threads;
    bool pin;
    sl_topology topology;
    sl_pool *pool; /* made with the first program */
};

struct sl_program {
    struct sl_cpu_device *device;
    const sl_plan *plan;
    sl_program_options options;
    sl_arena arena;             /* small tables */
    cpu_weight *weights;        /* [plan->n_weights] */
    uint32_t tiles_rows;        /* so many rows are multiplied on tiles; UINT32_MAX: never */
    uint32_t attend_tiles_rows; /* so many rows of a run have their attention on tiles */
    cpu_segment body, head;
    cpu_top top;
    cpu_group groups[SL_PLAN_GROUPS_MAX];
    uint8_t *packed; /* one region for all panels */
    size_t packed_bytes;
    cpu_packing packing;
    uint8_t *pages; /* page p, of whatever group, at pages + p * page_bytes */
    size_t kv_bytes, page_bytes;
    uint8_t *step; /* one region for values, angles and scratch */
    size_t step_bytes;
    float *angles[SL_PLAN_ROPES_MAX]; /* [rows_max][n_rot] cos, sin pairs of each row */
    float *scratch;                   /* [n_threads][scratch_floats] of kernels */
    float *columns; /* [n_threads][columns_floats] outputs of products that are not stored */
    size_t scratch_floats, columns_floats;
    /* of the step that runs */
    const sl_step *now;
    uint32_t *row_run; /* [rows_max] run of each row */
    cpu_attend_cut cuts[SL_PLAN_GROUPS_MAX];
    float *parts; /* [parts_floats] outputs of ranges of keys */
    size_t parts_floats;
    _Atomic uint32_t *done; /* [done_max] ranges that are ready, 0 between phases */
    uint32_t done_max;
    uint32_t *gather; /* [rows_max] row of each logits row: whole ones first, then the others */
    uint32_t *asked;  /* [rows_max] of the others, their places in step->tops */
    uint32_t n_whole, n_tops;
    cpu_choices choices;
    uint32_t head_first; /* first logits row of the present block */
};

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

/* Parts of compile. Finds the head's product of all logits. */
sl_status sl_cpu_top_build(sl_program *p, sl_error *err);
/* Phases: fills the segments from the plan's operations. */
sl_status sl_cpu_phases_build(sl_program *p, sl_error *err);
/* Numbers the panels of all weights. */
sl_status sl_cpu_weights_count(sl_program *p, sl_error *err);
/* Reserves the packed region, and looks for it in the cache. SL_ERR_MEMORY: no room, which the
 * caller says. */
sl_status sl_cpu_weights_map(sl_program *p, sl_error *err);
uint8_t *sl_cpu_weights_base(const sl_program *p); /* where the panels are for now */
void sl_cpu_weights_unmap(sl_program *p);          /* waits until the cache file is written */
bool sl_cpu_weights_prepare(sl_program *p);
bool sl_cpu_weights_settle(sl_program *p);
uint64_t sl_cpu_weights_ready_bytes(const sl_program *p);
bool sl_cpu_weights_wants_all(const sl_program *p);
void sl_cpu_weights_store(sl_program *p, uint64_t stamp);

/* SL_ERR_IO if what panels held is gone. */
sl_status sl_cpu_weights_check(const sl_program *p, sl_error *err);

/* Rows of a segment on their way. */
typedef struct segment_job {
    sl_program *p;
    cpu_segment *seg;
    uint32_t n_rows;
} segment_job;

/* Parts of run. Panels [begin, end) of matrix `mat` of a packed weight are ready on return. Any
 * worker. */
void sl_cpu_weight_need(sl_program *p, const cpu_weight *w, uint32_t mat, uint32_t begin,
                        uint32_t end);
/* One worker's share of phases [0, end) of the segment. */
void sl_cpu_phases_run(const segment_job *job, uint32_t end, uint32_t ith, uint32_t nth);
/* One weight's matrix `mat`, panels [p0, p1), with some rows of the input. out: place of the first
 * row's first column of panel p0. */
void sl_cpu_product_run(const segment_job *job, sl_value_id in_id, const cpu_linear *l,
                        uint32_t mat, uint32_t p0, uint32_t p1, cpu_rows rows, float *out,
                        size_t out_stride, uint32_t ith);
/* One worker's share of a phase of products with an activation behind them. */
void sl_cpu_gated_run(const segment_job *job, const cpu_phase *phase, uint32_t ith);
/* What follows the product of the logits, on n of a row from token `first` on. */
void sl_cpu_top_row_ops(const sl_program *p, float *x, uint32_t first, uint32_t n);
/* How many of a row's largest logits are refined: 0 where products round nothing. */
uint32_t sl_cpu_refine_count(const sl_program *p);
/* Memory that it needs of each worker: of p->scratch, and of p->columns. */
size_t sl_cpu_refine_scratch_floats(const sl_program *p);
size_t sl_cpu_refine_columns_floats(const sl_program *p);
/* Computes the first of a row's largest logits again, in out [CPU_REFINED]; returns how many. */
uint32_t sl_cpu_refine_row(sl_program *p, uint32_t row, const sl_top *largest, uint32_t ith,
                           float *out);
/* In place, of all rows of the head's logits. */
void sl_cpu_refine_rows(segment_job *job);
/* The head for those rows of the step of which the largest logits are wanted. */
void sl_cpu_tops_run(sl_program *p);
/* Rows [begin, end) through the operations of a rows phase; rows of a phase of
 * choices are sorted choices. n_rows: of the segment. */
void sl_cpu_rows_run(sl_program *p, cpu_segment *seg, const cpu_phase *phase, uint32_t n_rows,
                     uint32_t begin, uint32_t end);
/* Cuts the attention of the step that begins into tasks. */
void sl_cpu_attend_cut(sl_program *p);
/* A phase of attention; all workers call it. */
void sl_cpu_attend_run(sl_program *p, const cpu_segment *seg, const cpu_attend *a, uint32_t ith);
/* Chooses experts by one row's scores [n_expert]: out [n_used] shares, then [n_used] numbers of the
 * experts, best first. bias [n_expert] or NULL is added for the choice only. */
void sl_cpu_route_row(const sl_plan_route *r, const float *scores, const float *bias, float *out);
/* Sorts the choices of n_rows rows, as the route value holds them, by expert. */
void sl_cpu_choices_sort(cpu_choices *c, const cpu_value *route, uint32_t n_rows, uint32_t n_used,
                         uint32_t n_expert);

/* Panel p of the shard, of matrix `mat`, lies so many bytes and p panels behind w->panels. */
static inline size_t sl_cpu_shard_offset(const cpu_weight *w, const cpu_shard *s, uint32_t mat) {
    return s->offset + (size_t)mat * (s->end - s->first) * w->panel_bytes;
}
/* A value's row. */
static inline float *sl_cpu_value_row(const cpu_segment *seg, sl_value_id v, uint32_t row) {
    return seg->values[v].x + seg->values[v].stride * row;
}
/* The run that a row belongs to, and the row's position in its sequence. */
static inline const sl_step_run *sl_cpu_row_run(const sl_program *p, uint32_t row,
                                                uint32_t *pos_out) {
    const sl_step_run *run = &p->now->runs[p->row_run[row]];
    *pos_out = run->pos0 + (row - run->row_begin);
    return run;
}
/* Rounded rows from row `row` and column `column` on, a multiple of SL_ACT_GROUP. */
static inline sl_act8 sl_cpu_act8_from(const sl_act8 *a, size_t row, size_t column) {
    const size_t group = row * a->g_stride + column / SL_ACT_GROUP;
    return (sl_act8){.q = a->q + row * a->q_stride + column,
                     .d = a->d + group,
                     .s = a->s + group,
                     .minus_sum = a->minus_sum + 2 * group,
                     .q_stride = a->q_stride,
                     .g_stride = a->g_stride};
}
/* Fetches the beginning of a panel: for a task whose weights come from memory, while the one
 * before it runs. What follows, the kernels fetch ahead by themselves. */
#define CPU_FETCH_ROWS 16 /* with more rows, weights are waited for less often */
static inline void sl_cpu_weight_fetch(const cpu_weight *w, uint32_t panel) {
    if (w->form != CPU_FORM_F32) {
        const cpu_shard *s = w->shards;
        while (panel >= s->end) {
            s++;
        }
        const uint8_t *p = w->panels + sl_cpu_shard_offset(w, s, 0) + panel * w->panel_bytes;
        for (uint32_t at = 0; at < 4096; at += 64) {
            __builtin_prefetch(p + at, 0, 2);
        }
    }
}
/* The floats of a vector of the plan; NULL for -1. */
static inline const float *sl_cpu_vector(const sl_plan *plan, int32_t weight) {
    return weight < 0 ? NULL : (const float *)(const void *)plan->weights[weight].data;
}

#endif
