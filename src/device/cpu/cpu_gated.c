/* Products with an activation behind them: gate, up, act(gate) * up. A worker computes some
 * columns of the products for a block of rows into memory of its own, applies the activation there
 * while they are in its cache, and stores the result in the form in which the next product reads
 * it. So the wide values between the products are never in memory, nor read by another core. */
#include "base/bytes.h"
#include "device/cpu/cpu_program.h"

#define GATED_BLOCK_BYTES ((size_t)256 << 10) /* of the input, in the second-level cache */
/* Rows of a block: each block unpacks the weights anew. */
#define GATED_ROWS_MAX 256
#define GATED_ROWS_TILES 512
#define GATED_ROWS_LEAST 64
#define GATED_ROWS_LEAST_FLOAT 128
/* A task takes so many panels, and more of them with few rows: these are read from memory, in a
 * stream that should be long. */
#define GATED_PANELS 4
#define GATED_PANEL_ROWS 512 /* panels x rows, if they are few */

/* How it is cut: row blocks of `rows`, n_tasks shares of `panels` panels each. */
typedef struct gated_cut {
    uint32_t rows, panels, n_tasks;
    size_t stride; /* of the outputs that are held */
} gated_cut;

/* rows_max: of one matrix; n_rows: how many there are for a matrix as a rule. */
static gated_cut gated_cut_of(const cpu_phase *phase, uint32_t rows_max, uint32_t n_rows,
                              uint32_t nth) {
    const cpu_weight *w = phase->u.linear.l[0].w;
    bool rounded = phase->u.linear.form == CPU_FORM_INT8;
    uint32_t least = rounded ? GATED_ROWS_LEAST : GATED_ROWS_LEAST_FLOAT;
    size_t row_bytes = (size_t)w->w->n_in * (rounded ? 1 : sizeof(float));
    uint32_t fit = (uint32_t)(GATED_BLOCK_BYTES / row_bytes) & ~31u;
    gated_cut cut = {.rows = fit < least ? least : fit > GATED_ROWS_MAX ? GATED_ROWS_MAX : fit};
    cut.rows = cut.rows < rows_max ? cut.rows : rows_max;
    uint32_t many = GATED_PANEL_ROWS / (n_rows > cut.rows ? n_rows : cut.rows);
    uint32_t share = sl_div_up(w->n_panels, 4 * nth);
    cut.panels = many < share ? many : share;
    cut.panels = cut.panels < GATED_PANELS ? GATED_PANELS : (cut.panels + 1) & ~1u;
    cut.n_tasks = sl_div_up(w->n_panels, cut.panels);
    cut.stride = (size_t)cut.panels * SL_PANEL_ROWS + 16; /* rows do not share cache sets */
    return cut;
}

static bool gated_is_many(const segment_job *job, const cpu_phase *phase, uint32_t n_rows) {
    return phase->u.linear.tiles && n_rows >= job->p->tiles_rows;
}

/* How many of n_rows rows that meet one matrix go through its products at a time. Products on tiles
 * decode their weights anew for each block, so these are as high as there is room for their
 * outputs. */
static uint32_t gated_block_rows(const segment_job *job, const cpu_phase *phase,
                                 const gated_cut *cut, uint32_t n_rows) {
    if (!gated_is_many(job, phase, n_rows)) {
        return cut->rows;
    }
    const size_t room = CPU_GATED_FLOATS / cut->stride;
    const uint32_t most = room < GATED_ROWS_TILES ? (uint32_t)room : GATED_ROWS_TILES;
    return sl_div_up(n_rows, sl_div_up(n_rows, most));
}

/* Some rows of the activation, columns [column, column + n), from those of the products. */
static void gated_store(const segment_job *job, const cpu_phase *phase, cpu_rows rows,
                        uint32_t column, uint32_t n, float *gate, const float *up, size_t stride) {
    const sl_kernels *k = &job->p->device->kernels;
    const sl_plan_op *act = phase->u.linear.act;
    const cpu_value *out = &job->seg->values[act->out];
    cpu_form form = phase->u.linear.act_form[rows.many ? CPU_MANY : CPU_FEW];
    for (uint32_t r = rows.begin; r < rows.end; r++) {
        float *to = form == CPU_FORM_F32 ? out->x + r * out->stride + column : gate;
        k->act(act->u.act.kind, gate, up, n, to);
        if (form == CPU_FORM_INT8) {
            const sl_act8 q = sl_cpu_act8_from(&out->q, r, column);
            k->quantize_row(to, n, &q, 0);
        } else if (form == CPU_FORM_BF16) {
            k->bf16.round_row(to, n, out->bf16 + r * out->bf16_stride + column);
        }
        gate += stride;
        up = up == NULL ? NULL : up + stride;
    }
}

/* Share `task` of each product's matrix `mat`, with some rows. */
static void gated_task(const segment_job *job, const cpu_phase *phase, const gated_cut *cut,
                       uint32_t task, uint32_t mat, cpu_rows rows, uint32_t ith) {
    const sl_program *p = job->p;
    const cpu_linear *l = phase->u.linear.l;
    float *gate = p->columns + ith * p->columns_floats;
    float *up = phase->u.linear.n == 1 ? NULL : gate + CPU_GATED_FLOATS;
    uint32_t p0 = task * cut->panels, column = p0 * SL_PANEL_ROWS;
    uint32_t p1 = l->w->n_panels - p0 < cut->panels ? l->w->n_panels : p0 + cut->panels;
    uint32_t left = l->w->w->n_out - column, n = (p1 - p0) * SL_PANEL_ROWS;
    sl_cpu_product_run(job, phase->u.linear.in, &l[0], mat, p0, p1, rows, gate, cut->stride, ith);
    if (up != NULL) {
        sl_cpu_product_run(job, phase->u.linear.in, &l[1], mat, p0, p1, rows, up, cut->stride, ith);
    }
    gated_store(job, phase, rows, column, n < left ? n : left, gate, up, cut->stride);
}

/* Where the streams of this task and the next one begin, but for the first. next: n_tasks if there
 * is none. */
static void gated_fetch(const cpu_phase *phase, const gated_cut *cut, uint32_t task,
                        uint32_t next) {
    const cpu_linear *l = phase->u.linear.l;
    if (phase->u.linear.n == 2) {
        sl_cpu_weight_fetch(l[1].w, task * cut->panels);
    }
    if (next < cut->n_tasks) {
        sl_cpu_weight_fetch(l[0].w, next * cut->panels);
    }
}

/* A node's tasks: those whose panels it has, as nearly as whole tasks allow. */
typedef struct gated_share {
    uint32_t node, first, n;
} gated_share;

static gated_share gated_share_of(const sl_pool *pool, const gated_cut *cut, uint32_t ith,
                                  uint32_t turn) {
    const sl_nodes *nodes = sl_pool_nodes(pool);
    gated_share share = {.node = sl_pool_turn(pool, ith, turn)};
    share.first = sl_nodes_first(nodes, cut->n_tasks, share.node);
    share.n = sl_nodes_first(nodes, cut->n_tasks, share.node + 1) - share.first;
    return share;
}

static void gated_linear(const segment_job *job, const cpu_phase *phase, const gated_cut *cut,
                         const gated_share *share, uint32_t ith) {
    sl_pool *pool = job->p->device->pool;
    const bool many = gated_is_many(job, phase, job->n_rows);
    const uint32_t height = gated_block_rows(job, phase, cut, job->n_rows);
    uint32_t n_tasks = share->n * sl_div_up(job->n_rows, height), t, next;
    bool more = sl_pool_take(pool, ith, share->node, n_tasks, &t);
    for (; more; t = next) {
        more = sl_pool_take(pool, ith, share->node, n_tasks, &next);
        uint32_t task = share->first + t % share->n, r = t / share->n * height;
        if (job->n_rows <= CPU_FETCH_ROWS) {
            gated_fetch(phase, cut, task, more ? share->first + next % share->n : cut->n_tasks);
        }
        const uint32_t end = job->n_rows - r < height ? job->n_rows : r + height;
        gated_task(job, phase, cut, task, 0, (cpu_rows){r, end, many}, ith);
    }
}

static void gated_experts(const segment_job *job, const cpu_phase *phase, const gated_cut *cut,
                          const gated_share *share, uint32_t ith) {
    const cpu_choices *c = &job->p->choices;
    sl_pool *pool = job->p->device->pool;
    for (uint32_t t; sl_pool_take(pool, ith, share->node, c->n_active * share->n, &t);) {
        uint32_t expert = c->active[t / share->n], task = share->first + t % share->n;
        const uint32_t end = c->begin[expert + 1];
        cpu_rows rows = {.begin = c->begin[expert]};
        rows.many = gated_is_many(job, phase, end - rows.begin);
        const uint32_t height = gated_block_rows(job, phase, cut, end - rows.begin);
        for (; rows.begin < end; rows.begin = rows.end) {
            rows.end = end - rows.begin < height ? end : rows.begin + height;
            gated_task(job, phase, cut, task, expert, rows, ith);
        }
    }
}

void sl_cpu_gated_run(const segment_job *job, const cpu_phase *phase, uint32_t ith) {
    const sl_pool *pool = job->p->device->pool;
    const sl_nodes *nodes = sl_pool_nodes(pool);
    uint32_t nth = nodes->before[nodes->n];
    bool experts = phase->kind == CPU_PHASE_EXPERTS;
    uint32_t n_rows = job->n_rows, rows_each = n_rows;
    if (experts) {
        rows_each = n_rows * job->seg->values[phase->u.linear.in].n_choices /
                    job->p->choices.n_active;
    }
    gated_cut cut = gated_cut_of(phase, n_rows, rows_each, nth);
    for (uint32_t i = 0; i < nodes->n; i++) {
        gated_share share = gated_share_of(pool, &cut, ith, i);
        if (share.n == 0) {
            continue;
        }
        if (experts) {
            gated_experts(job, phase, &cut, &share, ith);
        } else {
            gated_linear(job, phase, &cut, &share, ith);
        }
    }
}
