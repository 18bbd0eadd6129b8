/* Running a program on a step: every worker walks the phases, barriers between them. */
#include <string.h>

#include "base/bytes.h"
#include "base/error.h"
#include "device/cpu/cpu_program.h"

/* Activations of one row block of a product should stay in a core's second-level cache. */
#define LINEAR_BLOCK_BYTES ((size_t)384 << 10)
/* At least so many rows make a block. The float products unpack their weights anew for each block,
 * and have only a part of the columns in use at a time. */
#define LINEAR_BLOCK_ROWS 32
#define LINEAR_BLOCK_ROWS_F32 128
/* Products on tiles decode their weights once for each block, too, and take activations from beyond
 * the second-level cache: blocks are as high as this, and lower only to give all threads work. */
#define LINEAR_BLOCK_ROWS_TILES 512
#define LINEAR_BLOCK_ROWS_TILES_MIN 64
#define LINEAR_TASK_PANELS 64 /* at most */
/* So many tasks for each thread at least, where there are panels enough: the last ones even out. */
#define LINEAR_TASKS 3
#define HEADS_BLOCK_ROWS 64
/* Row operations write so many floats in the time of a barrier. */
#define BARRIER_FLOATS 2048

static uint32_t rows_count(const segment_job *job, const cpu_phase *phase) {
    uint32_t n_choices = phase->u.rows.n_choices;
    return n_choices == 0 ? job->n_rows : job->n_rows * n_choices;
}

static void phase_rows(const segment_job *job, const cpu_phase *phase, uint32_t ith, uint32_t nth) {
    uint32_t n_rows = rows_count(job, phase);
    uint32_t chunk = n_rows / (nth * 4);
    chunk = chunk < 1 ? 1 : chunk > 16 ? 16 : chunk;
    for (uint32_t r; (r = sl_pool_claim(job->p->device->pool, ith, chunk)) < n_rows;) {
        sl_cpu_rows_run(job->p, job->seg, phase, job->n_rows, r,
                        n_rows - r < chunk ? n_rows : r + chunk);
    }
}

static bool linear_is_tiled(const segment_job *job, const cpu_phase *phase, uint32_t n_rows) {
    return phase->u.linear.tiles && n_rows >= job->p->tiles_rows;
}

/* How many of n_rows rows go through a product at a time. On tiles n_blocks are wanted. */
static uint32_t linear_block_rows(const segment_job *job, const cpu_phase *phase, uint32_t n_rows,
                                  uint32_t n_blocks) {
    if (linear_is_tiled(job, phase, n_rows)) {
        uint32_t least = sl_div_up(n_rows, LINEAR_BLOCK_ROWS_TILES);
        uint32_t most = n_rows / LINEAR_BLOCK_ROWS_TILES_MIN;
        n_blocks = n_blocks < most ? n_blocks : most;
        return sl_div_up(n_rows, n_blocks < least ? least : n_blocks);
    }
    uint32_t n_in = phase->u.linear.l[0].w->w->n_in;
    const size_t row_bytes[CPU_FORM_COUNT] = {[CPU_FORM_F32] = (size_t)n_in * sizeof(float),
                                              [CPU_FORM_PLAIN] = (size_t)n_in * sizeof(float),
                                              [CPU_FORM_INT8] = n_in + n_in / 4,
                                              [CPU_FORM_BF16] = (size_t)n_in * sizeof(uint16_t)};
    cpu_form form = phase->u.linear.form;
    size_t fit = LINEAR_BLOCK_BYTES / row_bytes[form] & ~(size_t)31;
    uint32_t least = form == CPU_FORM_F32 || form == CPU_FORM_PLAIN ? LINEAR_BLOCK_ROWS_F32
                                                                    : LINEAR_BLOCK_ROWS;
    uint32_t rows = fit < least ? least : (uint32_t)fit;
    return rows < n_rows ? rows : n_rows;
}

/* How the products of a phase are cut for a node: row blocks of `rows`, and for each of these
 * n_panel_tasks tasks of `panels` panels each, the last one of what is left, of the node's panels
 * of all weights in their order. */
typedef struct linear_cut {
    uint32_t node, rows, n_row_blocks, n_panels, panels, n_panel_tasks;
} linear_cut;

/* How many of n units make a task: the number, up to the one that gives each thread LINEAR_TASKS of
 * them and down to half of it, with which the threads end most nearly together; of such the
 * largest. */
static uint32_t linear_task_units(uint32_t n, uint32_t nth, uint32_t most) {
    uint32_t largest = n / (nth * LINEAR_TASKS), best = 1, best_end = UINT32_MAX;
    largest = largest < 1 ? 1 : largest > most ? most : largest;
    for (uint32_t units = largest; units > 0 && units >= largest / 2; units--) {
        uint32_t end = sl_div_up(sl_div_up(n, units), nth) * units;
        if (end < best_end) {
            best = units;
            best_end = end;
        }
    }
    return best;
}

static linear_cut linear_cut_of(const segment_job *job, const cpu_phase *phase, uint32_t n_rows,
                                const sl_nodes *nodes, uint32_t node) {
    linear_cut cut = {.node = node, .panels = 1, .n_panel_tasks = 1};
    for (uint32_t i = 0; i < phase->u.linear.n; i++) {
        const cpu_shard *s = &phase->u.linear.l[i].w->shards[node];
        cut.n_panels += s->end - s->first;
    }
    if (cut.n_panels == 0) {
        return cut; /* a node without workers, or few panels */
    }
    uint32_t nth = nodes->before[node + 1] - nodes->before[node];
    uint32_t unit = n_rows < SL_PAIR_ROWS ? 1 : 2;
    cut.panels = unit *
                 linear_task_units(sl_div_up(cut.n_panels, unit), nth, LINEAR_TASK_PANELS / unit);
    cut.n_panel_tasks = sl_div_up(cut.n_panels, cut.panels);
    cut.rows = linear_block_rows(job, phase, n_rows, sl_div_up(nth, cut.n_panel_tasks));
    cut.n_row_blocks = sl_div_up(n_rows, cut.rows);
    return cut;
}

/* Panels [p0, p1) of the shard. */
static void shard_product(const segment_job *job, sl_value_id in_id, const cpu_linear *l,
                          const cpu_shard *s, uint32_t mat, uint32_t p0, uint32_t p1, cpu_rows rows,
                          float *out, size_t out_stride, uint32_t ith) {
    const uint32_t r0 = rows.begin, n_rows = rows.end - r0;
    sl_program *p = job->p;
    const cpu_weight *w = l->w;
    const cpu_value *in = &job->seg->values[in_id];
    const sl_kernels *k = &p->device->kernels;
    uint32_t n = p1 - p0;
    const uint8_t *panels = NULL;
    if (w->form != CPU_FORM_F32) {
        sl_cpu_weight_need(p, w, mat, p0, p1);
        panels = w->panels + sl_cpu_shard_offset(w, s, mat) + p0 * w->panel_bytes;
    }
    if (w->tiles && rows.many) {
        k->amx.mul(w->w->type, panels, w->panel_bytes, w->w->n_in, 0, n,
                   in->bf16 + r0 * in->bf16_stride, in->bf16_stride, 0, n_rows, out, out_stride,
                   l->add, p->scratch + ith * p->scratch_floats);
        return;
    }
    if (w->form == CPU_FORM_PLAIN) {
        k->plain.mul(w->w->type, panels, w->w->n_in, 0, n, in->x + r0 * in->stride, in->stride, 0,
                     n_rows, out, out_stride, l->add);
        return;
    }
    if (w->form == CPU_FORM_INT8) {
        const sl_act8 act = sl_cpu_act8_from(&in->q, r0, 0);
        k->product[w->w->type].mul(panels, w->w->n_in, 0, n, &act, 0, n_rows, out, out_stride,
                                   l->add);
        return;
    }
    if (w->form == CPU_FORM_BF16) {
        k->bf16.mul(panels, w->w->n_in, 0, n, in->bf16 + r0 * in->bf16_stride, in->bf16_stride, 0,
                    n_rows, out, out_stride, l->add);
        return;
    }
    uint32_t w0 = p0 * SL_PANEL_ROWS, left = w->w->n_out - w0;
    k->mul_f32(w->w->type, w->w->data + mat * w->w->mat_bytes + w0 * w->w->row_bytes,
               w->w->row_bytes, w->w->n_in, 0, n * SL_PANEL_ROWS < left ? n * SL_PANEL_ROWS : left,
               in->x + r0 * in->stride, in->stride, n_rows, out, out_stride, l->add,
               p->scratch + ith * p->scratch_floats);
}

/* The panels may be of any shards. */
void sl_cpu_product_run(const segment_job *job, sl_value_id in_id, const cpu_linear *l,
                        uint32_t mat, uint32_t p0, uint32_t p1, cpu_rows rows, float *out,
                        size_t out_stride, uint32_t ith) {
    for (const cpu_shard *s = l->w->shards; p0 < p1; s++) {
        uint32_t end = p1 < s->end ? p1 : s->end;
        if (p0 < end) {
            shard_product(job, in_id, l, s, mat, p0, end, rows, out, out_stride, ith);
            out += (size_t)(end - p0) * SL_PANEL_ROWS;
            p0 = end;
        }
    }
}

/* Share `task` of the node's panels, of each weight's matrix `mat`, with some rows. */
static void linear_share(const segment_job *job, const cpu_phase *phase, const linear_cut *cut,
                         uint32_t task, uint32_t mat, cpu_rows rows, uint32_t ith) {
    uint32_t first = task * cut->panels, left = cut->n_panels - first;
    uint32_t end = left < cut->panels ? cut->n_panels : first + cut->panels;
    for (const cpu_linear *l = phase->u.linear.l; end > 0; l++) {
        const cpu_shard *s = &l->w->shards[cut->node];
        uint32_t n = s->end - s->first, p1 = end < n ? end : n;
        if (first < p1) {
            const cpu_value *out = &job->seg->values[l->out];
            sl_cpu_product_run(
                job, phase->u.linear.in, l, mat, s->first + first, s->first + p1, rows,
                out->x + rows.begin * out->stride + (size_t)(s->first + first) * SL_PANEL_ROWS,
                out->stride, ith);
        }
        first = first > n ? first - n : 0;
        end -= p1;
    }
}

static void linear_task(const segment_job *job, const cpu_phase *phase, const linear_cut *cut,
                        uint32_t task, uint32_t ith) {
    cpu_rows rows = {.begin = task / cut->n_panel_tasks * cut->rows,
                     .many = linear_is_tiled(job, phase, job->n_rows)};
    rows.end = job->n_rows - rows.begin < cut->rows ? job->n_rows : rows.begin + cut->rows;
    linear_share(job, phase, cut, task % cut->n_panel_tasks, 0, rows, ith);
}

/* The first panel of a task. */
static void linear_fetch(const cpu_phase *phase, const linear_cut *cut, uint32_t task) {
    uint32_t panel = task * cut->panels;
    for (const cpu_linear *l = phase->u.linear.l;; l++) {
        const cpu_shard *s = &l->w->shards[cut->node];
        if (panel < s->end - s->first) {
            sl_cpu_weight_fetch(l->w, s->first + panel);
            return;
        }
        panel -= s->end - s->first;
    }
}

static void phase_linear(const segment_job *job, const cpu_phase *phase, uint32_t ith) {
    sl_pool *pool = job->p->device->pool;
    const sl_nodes *nodes = sl_pool_nodes(pool);
    for (uint32_t i = 0; i < nodes->n; i++) {
        linear_cut cut = linear_cut_of(job, phase, job->n_rows, nodes, sl_pool_turn(pool, ith, i));
        uint32_t n_tasks = cut.n_row_blocks * cut.n_panel_tasks, t, next;
        bool more = sl_pool_take(pool, ith, cut.node, n_tasks, &t);
        for (; more; t = next) {
            more = sl_pool_take(pool, ith, cut.node, n_tasks, &next);
            if (more && job->n_rows <= CPU_FETCH_ROWS) {
                linear_fetch(phase, &cut, next);
            }
            linear_task(job, phase, &cut, t, ith);
        }
    }
}

/* All rows that chose an expert, in blocks, with some of its panels. */
static void experts_task(const segment_job *job, const cpu_phase *phase, const linear_cut *cut,
                         uint32_t task, uint32_t ith) {
    const cpu_choices *c = &job->p->choices;
    uint32_t expert = c->active[task / cut->n_panel_tasks];
    const uint32_t end = c->begin[expert + 1];
    cpu_rows rows = {.begin = c->begin[expert]};
    rows.many = linear_is_tiled(job, phase, end - rows.begin);
    const uint32_t height = linear_block_rows(job, phase, end - rows.begin, 1);
    for (; rows.begin < end; rows.begin = rows.end) {
        rows.end = end - rows.begin < height ? end : rows.begin + height;
        linear_share(job, phase, cut, task % cut->n_panel_tasks, expert, rows, ith);
    }
}

static void phase_experts(const segment_job *job, const cpu_phase *phase, uint32_t ith) {
    sl_pool *pool = job->p->device->pool;
    const sl_nodes *nodes = sl_pool_nodes(pool);
    uint32_t n_rows = job->n_rows * job->seg->values[phase->u.linear.in].n_choices;
    for (uint32_t i = 0; i < nodes->n; i++) {
        linear_cut cut = linear_cut_of(job, phase, n_rows, nodes, sl_pool_turn(pool, ith, i));
        uint32_t n_tasks = cut.n_row_blocks == 0 ? 0 : job->p->choices.n_active * cut.n_panel_tasks;
        for (uint32_t t; sl_pool_take(pool, ith, cut.node, n_tasks, &t);) {
            experts_task(job, phase, &cut, t, ith);
        }
    }
}

/* Each head of the input with a matrix of its own, read as the file has it. */
static void phase_heads(const segment_job *job, const cpu_phase *phase, uint32_t ith) {
    sl_program *p = job->p;
    const sl_plan_op *op = phase->u.heads.op;
    const sl_plan_weight *w = phase->u.heads.w->w;
    const cpu_value *in = &job->seg->values[op->in[0]], *out = &job->seg->values[op->out];
    uint32_t n_head = op->u.linear.n_head;
    uint32_t n_tasks = n_head * sl_div_up(job->n_rows, HEADS_BLOCK_ROWS);
    for (uint32_t t; (t = sl_pool_claim(p->device->pool, ith, 1)) < n_tasks;) {
        uint32_t h = t % n_head, r0 = t / n_head * HEADS_BLOCK_ROWS;
        uint32_t n = job->n_rows - r0 < HEADS_BLOCK_ROWS ? job->n_rows - r0 : HEADS_BLOCK_ROWS;
        p->device->kernels.mul_f32(
            w->type, w->data + h * w->mat_bytes, w->row_bytes, w->n_in, 0, w->n_out,
            in->x + r0 * in->stride + (size_t)h * op->u.linear.in_stride + op->u.linear.in_first,
            in->stride, n,
            out->x + r0 * out->stride + (size_t)h * op->u.linear.out_stride +
                op->u.linear.out_first,
            out->stride, false, p->scratch + ith * p->scratch_floats);
    }
}

static void phase_run(const segment_job *job, const cpu_phase *phase, uint32_t ith, uint32_t nth) {
    bool products = phase->kind == CPU_PHASE_LINEAR || phase->kind == CPU_PHASE_EXPERTS;
    if (products && phase->u.linear.act != NULL) {
        sl_cpu_gated_run(job, phase, ith);
        return;
    }
    switch (phase->kind) {
    case CPU_PHASE_ROWS:
        phase_rows(job, phase, ith, nth);
        break;
    case CPU_PHASE_LINEAR:
        phase_linear(job, phase, ith);
        break;
    case CPU_PHASE_HEADS:
        phase_heads(job, phase, ith);
        break;
    case CPU_PHASE_ATTEND:
        sl_cpu_attend_run(job->p, job->seg, &phase->u.attend, ith);
        break;
    case CPU_PHASE_EXPERTS:
        phase_experts(job, phase, ith);
        break;
    case CPU_PHASE_SORT: /* short, and never the first */
        break;
    }
}

/* One worker does the phase while the others wait: what they could take over would cost less than
 * the barrier for it. */
static bool phase_is_short(const segment_job *job, const cpu_phase *phase, uint32_t nth) {
    if (phase->kind != CPU_PHASE_ROWS) {
        return phase->kind == CPU_PHASE_SORT;
    }
    uint32_t n_rows = rows_count(job, phase);
    return (uint64_t)(n_rows - sl_div_up(n_rows, nth)) * phase->u.rows.n_floats <= BARRIER_FLOATS;
}

/* Short phases [next, end) that follow one that all workers share. */
typedef struct short_phases {
    const segment_job *job;
    uint32_t next, end;
} short_phases;

static void short_phases_run(void *arg) {
    const short_phases *s = arg;
    sl_program *p = s->job->p;
    for (uint32_t i = s->next; i < s->end; i++) {
        const cpu_phase *phase = &s->job->seg->phases[i];
        if (phase->kind == CPU_PHASE_SORT) {
            sl_cpu_choices_sort(&p->choices, &s->job->seg->values[phase->u.sort.route],
                                s->job->n_rows, phase->u.sort.n_used, phase->u.sort.n_expert);
        } else {
            sl_cpu_rows_run(p, s->job->seg, phase, s->job->n_rows, 0, rows_count(s->job, phase));
        }
    }
}

void sl_cpu_phases_run(const segment_job *job, uint32_t end, uint32_t ith, uint32_t nth) {
    const cpu_segment *seg = job->seg;
    sl_pool *pool = job->p->device->pool;
    for (uint32_t i = 0; i < end;) {
        phase_run(job, &seg->phases[i], ith, nth);
        short_phases s = {.job = job, .next = i + 1, .end = i + 1};
        while (s.end < end && phase_is_short(job, &seg->phases[s.end], nth)) {
            s.end++;
        }
        if (s.end > s.next) {
            sl_pool_barrier_then(pool, ith, short_phases_run, &s);
        } else if (s.end < end) {
            sl_pool_barrier(pool, ith);
        }
        i = s.end;
    }
}

static void segment_worker(void *arg, uint32_t ith, uint32_t nth) {
    const segment_job *job = arg;
    sl_cpu_phases_run(job, job->seg->n_phases, ith, nth);
}

/* The step's own small tables: run of each row, tiles of attention. */
static void step_index(sl_program *p, const sl_step *step) {
    for (uint32_t i = 0; i < step->n_runs; i++) {
        const sl_step_run *run = &step->runs[i];
        for (uint32_t r = 0; r < run->n_rows; r++) {
            p->row_run[run->row_begin + r] = i;
        }
    }
    sl_cpu_attend_cut(p);
}

/* Which rows need logits: whole rows first, then those of which the largest are wanted. */
static void step_gather(sl_program *p, const sl_step *step) {
    p->n_whole = p->n_tops = 0;
    for (int tops = 0; tops < (step->tops == NULL ? 1 : 2); tops++) {
        uint32_t i_logits = 0;
        for (uint32_t i = 0; i < step->n_runs; i++) {
            const sl_step_run *run = &step->runs[i];
            for (uint32_t r = run->n_rows - run->n_logits; r < run->n_rows; r++, i_logits++) {
                bool is_top = step->tops != NULL && step->tops[i_logits].top.n_wanted > 0;
                if (is_top != (tops == 1)) {
                    continue;
                }
                p->gather[p->n_whole + p->n_tops] = run->row_begin + r;
                if (is_top) {
                    p->asked[p->n_tops++] = i_logits;
                } else {
                    p->n_whole++;
                }
            }
        }
    }
}

sl_status sl_cpu_program_run(sl_program *p, const sl_step *step, sl_logits_fn fn, void *user,
                             sl_error *err) {
    p->now = step;
    step_index(p, step);
    step_gather(p, step);
    segment_job body = {.p = p, .seg = &p->body, .n_rows = step->n_rows};
    sl_pool_run(p->device->pool, segment_worker, &body);
    sl_cpu_tops_run(p);
    const cpu_value *logits = &p->head.values[p->plan->logits];
    for (uint32_t first = 0; first < p->n_whole; first += p->head.rows_max) {
        p->head_first = first;
        uint32_t left = p->n_whole - first;
        segment_job head = {
            .p = p, .seg = &p->head, .n_rows = left < p->head.rows_max ? left : p->head.rows_max};
        sl_pool_run(p->device->pool, segment_worker, &head);
        sl_cpu_refine_rows(&head);
        SL_TRY(sl_cpu_weights_check(p, err));
        SL_TRY(fn(user, first, head.n_rows, logits->x, logits->stride, err));
    }
    return sl_cpu_weights_check(p, err);
}

void sl_cpu_program_copy_page(sl_program *p, int32_t from, int32_t to) {
    memcpy(p->pages + (size_t)to * p->page_bytes, p->pages + (size_t)from * p->page_bytes,
           p->page_bytes);
}
