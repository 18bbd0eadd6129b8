/* Compiling a plan for the CPU: tables, memory layout, packing of weights. */
#include "device/cpu/cpu_program.h"

#include <inttypes.h>

#include "base/alloc.h"
#include "base/error.h"
#include "device/cpu/cpu_device.h"

#define PROGRAM_TABLES_MAX ((size_t)64 << 20)
#define PACK_CHUNK 16 /* panels packed by one task */

/* Hands out 64-byte aligned pieces of a region; with base NULL it only measures. */
typedef struct carver {
    uint8_t *base;
    size_t used;
} carver;

static void *carve(carver *c, size_t n, size_t size) {
    void *p = c->base == NULL ? NULL : c->base + c->used;
    c->used += (n * size + 63) & ~(size_t)63;
    return p;
}

static size_t elem_bytes(sl_kv_type t) {
    return t == SL_KV_F32 ? 4 : 2;
}

/* K and V of one head in a page, each 64-byte aligned since 32 tokens of 2 bytes are 64 bytes. */
static size_t head_v_offset(const sl_plan_group *g, sl_kv_type kv_type) {
    return (size_t)g->d_k * SL_PAGE_TOKENS * elem_bytes(kv_type);
}

static size_t head_bytes(const sl_plan_group *g, sl_kv_type kv_type) {
    return (size_t)(g->d_k + g->d_v) * SL_PAGE_TOKENS * elem_bytes(kv_type);
}

static void layout_values(const sl_plan *plan, cpu_segment *seg, carver *c) {
    for (uint32_t i = 0; i < plan->n_values; i++) {
        cpu_value *v = &seg->values[i];
        v->width = plan->values[i].width;
        v->n_choices = plan->values[i].n_choices;
        size_t rows = (size_t)v->rows_max * (v->n_choices == 0 ? 1 : v->n_choices);
        if (v->written) {
            v->stride = (v->width + 15u) & ~(size_t)15;
            if (v->stride % 1024 == 0) {
                v->stride += 16; /* rows a multiple of 4 KB apart would share cache sets */
            }
            v->x = carve(c, v->stride * rows, sizeof(float));
        }
        if (v->wants[CPU_FORM_BF16]) {
            v->bf16_stride = (v->width + 31u) & ~(size_t)31;
            if (v->bf16_stride % 2048 == 0) {
                v->bf16_stride += 32;
            }
            v->bf16 = carve(c, v->bf16_stride * rows, sizeof(uint16_t));
        }
        if (v->wants[CPU_FORM_INT8]) {
            size_t n_groups = v->width / SL_ACT_GROUP;
            v->q.q_stride = (v->width + 63u) & ~(size_t)63;
            v->q.g_stride = (n_groups + 15) & ~(size_t)15;
            v->q.q = carve(c, v->q.q_stride * rows, 1);
            v->q.d = carve(c, v->q.g_stride * rows, sizeof(float));
            v->q.s = carve(c, v->q.g_stride * rows, sizeof(float));
            v->q.sum16 = carve(c, 2 * v->q.g_stride * rows, sizeof(int16_t));
        }
    }
}

static size_t scratch_floats_needed(const sl_program *p) {
    size_t most = 0;
    for (uint32_t i = 0; i < p->plan->n_ops; i++) {
        const sl_plan_op *op = &p->plan->ops[i];
        size_t n = 0;
        if (op->kind == SL_OP_LINEAR || op->kind == SL_OP_EXPERTS) {
            const cpu_weight *w = &p->weights[op->weight];
            n = w->form == CPU_FORM_F32 ? sl_mul_f32_scratch_floats(w->w->n_in)
                : w->tiles              ? sl_product_amx_scratch_bytes(w->w->n_in) / sizeof(float)
                                        : 0;
        } else if (op->kind == SL_OP_ATTEND) {
            const sl_plan_group *g = &p->plan->groups[op->u.attend.group];
            n = sl_attend_scratch_floats(CPU_ATTEND_ROWS, p->groups[op->u.attend.group].n_query,
                                         g->d_k, g->d_v);
        }
        most = n > most ? n : most;
    }
    return (most + 15) & ~(size_t)15;
}

static size_t columns_floats_needed(const sl_program *p) {
    size_t most = (size_t)p->top.rows_max * CPU_TOP_STRIDE;
    for (uint32_t i = 0; i < p->body.n_phases; i++) {
        const cpu_phase *phase = &p->body.phases[i];
        if ((phase->kind == CPU_PHASE_LINEAR || phase->kind == CPU_PHASE_EXPERTS) &&
            phase->u.linear.act != NULL) {
            size_t n = (size_t)phase->u.linear.n * CPU_GATED_FLOATS;
            most = n > most ? n : most;
        }
    }
    return most;
}

static void layout_choices(sl_program *p, carver *c) {
    size_t n_used = 0, n_expert = 0;
    for (uint32_t i = 0; i < p->plan->n_body; i++) {
        const sl_plan_op *op = &p->plan->ops[i];
        if (op->kind == SL_OP_ROUTE) {
            n_used = op->u.route.n_used > n_used ? op->u.route.n_used : n_used;
            n_expert = op->u.route.n_expert > n_expert ? op->u.route.n_expert : n_expert;
        }
    }
    size_t n = n_used * p->options.rows_max;
    p->choices.row = carve(c, n, sizeof(uint32_t));
    p->choices.expert = carve(c, n, sizeof(uint32_t));
    p->choices.place = carve(c, n, sizeof(uint32_t));
    p->choices.begin = carve(c, n_expert + 1, sizeof(uint32_t));
    p->choices.active = carve(c, n_expert, sizeof(uint32_t));
}

/* Blocks of keys that a row sees of a sequence as long as any may get. */
static uint32_t blocks_most(const sl_program *p, const sl_plan_group *g) {
    const sl_attend_blocks all = sl_attend_blocks_seen(p->options.ctx_max - 1, 1, 0, 0);
    const uint32_t windowed = g->window / SL_ATTEND_BLOCK + 2;
    return g->window != 0 && windowed < all.end ? windowed : all.end;
}

static void layout_attend(sl_program *p, carver *c) {
    const uint32_t tiles_max = sl_div_up(p->options.rows_max, CPU_ATTEND_ROWS) +
                               p->options.runs_max;
    uint32_t n_query = 1;
    p->parts_floats = 0;
    for (uint32_t i = 0; i < p->plan->n_groups; i++) {
        const sl_plan_group *g = &p->plan->groups[i];
        const size_t floats = (size_t)CPU_ATTEND_SPLIT_RUNS * blocks_most(p, g) * g->n_kv_head *
                              sl_attend_part_floats(1, p->groups[i].n_query, g->d_v);
        p->parts_floats = floats > p->parts_floats ? floats : p->parts_floats;
        n_query = p->groups[i].n_query > n_query ? p->groups[i].n_query : n_query;
        p->cuts[i].tiles = carve(c, tiles_max, sizeof(cpu_tile));
    }
    p->parts = carve(c, p->parts_floats, sizeof(float));
    p->done_max = p->device->n_threads * CPU_ATTEND_TASKS * n_query;
    p->done = carve(c, p->done_max, sizeof(*p->done));
}

static void layout_top(sl_program *p, carver *c) {
    cpu_top *t = &p->top;
    size_t n = (size_t)p->device->n_threads * t->rows_max;
    t->found = carve(c, n, sizeof(*t->found));
    t->sums = carve(c, (size_t)t->rows_max * t->n_blocks, sizeof(*t->sums));
}

static void layout_step(sl_program *p, carver *c) {
    layout_values(p->plan, &p->body, c);
    layout_values(p->plan, &p->head, c);
    for (uint32_t i = 0; i < p->plan->n_ropes; i++) {
        p->angles[i] = carve(c, (size_t)p->options.rows_max * p->plan->ropes[i].n_rot,
                             sizeof(float));
    }
    p->scratch_floats = scratch_floats_needed(p);
    p->scratch = carve(c, p->scratch_floats * p->device->n_threads, sizeof(float));
    p->columns_floats = columns_floats_needed(p);
    p->columns = carve(c, p->columns_floats * p->device->n_threads, sizeof(float));
    p->row_run = carve(c, p->options.rows_max, sizeof(uint32_t));
    p->gather = carve(c, p->options.rows_max, sizeof(uint32_t));
    p->asked = carve(c, p->options.rows_max, sizeof(uint32_t));
    layout_top(p, c);
    layout_choices(p, c);
    layout_attend(p, c);
}

/* The pages of all groups come from one pool and are as large as the largest needs. */
static void layout_groups(sl_program *p) {
    for (uint32_t i = 0; i < p->plan->n_groups; i++) {
        const sl_plan_group *pg = &p->plan->groups[i];
        cpu_group *g = &p->groups[i];
        g->head_bytes = head_bytes(pg, p->options.kv_type);
        g->v_offset = head_v_offset(pg, p->options.kv_type);
        size_t bytes = (size_t)pg->n_layers * pg->n_kv_head * g->head_bytes;
        p->page_bytes = bytes > p->page_bytes ? bytes : p->page_bytes;
    }
    p->kv_bytes = p->page_bytes * p->options.n_pages;
    for (uint32_t i = 0; i < p->plan->n_ops; i++) {
        const sl_plan_op *op = &p->plan->ops[i];
        if (op->kind == SL_OP_ATTEND) {
            uint32_t n = op->u.attend.n_head / p->plan->groups[op->u.attend.group].n_kv_head;
            cpu_group *g = &p->groups[op->u.attend.group];
            g->n_query = n > g->n_query ? n : g->n_query;
        }
    }
}

/* Products of whole rows round their input where the table has a form for the weight's format;
 * heads are read as the file has them. */
static cpu_form weight_form(const sl_program *p, const sl_plan_op *op) {
    const sl_plan_weight *w = &p->plan->weights[op->weight];
    bool rows = op->kind == SL_OP_EXPERTS || (op->kind == SL_OP_LINEAR && op->u.linear.n_head == 0);
    const sl_kernels *k = &p->device->kernels;
    if (!rows || p->options.exact || w->n_out <= 1) {
        return CPU_FORM_F32;
    }
    if (w->type == SL_TYPE_BF16 && k->bf16.mul != NULL) {
        return CPU_FORM_BF16;
    }
    if (sl_type_is_plain(w->type) && k->plain.mul != NULL) {
        return CPU_FORM_PLAIN;
    }
    return k->product[w->type].mul != NULL ? CPU_FORM_INT8 : CPU_FORM_F32;
}

static size_t weight_panel_bytes(const sl_kernels *k, const cpu_weight *w) {
    switch (w->form) {
    case CPU_FORM_PLAIN:
        return k->plain.panel_bytes(w->w->type, w->w->n_in);
    case CPU_FORM_INT8:
        return k->product[w->w->type].panel_bytes(w->w->type, w->w->n_in);
    case CPU_FORM_BF16:
        return k->bf16.panel_bytes(w->w->n_in);
    default:
        return 0;
    }
}

/* Which weights get packed, and how much that takes. */
static void layout_packed(sl_program *p) {
    size_t used = 0;
    for (uint32_t i = 0; i < p->plan->n_ops; i++) {
        const sl_plan_op *op = &p->plan->ops[i];
        if (op->weight < 0 || p->weights[op->weight].form != CPU_FORM_F32) {
            continue;
        }
        cpu_weight *w = &p->weights[op->weight];
        w->form = weight_form(p, op);
        w->tiles = p->tiles_rows != UINT32_MAX && w->form != CPU_FORM_F32 &&
                   w->w->type != SL_TYPE_F32;
        w->panel_bytes = weight_panel_bytes(&p->device->kernels, w);
        used += w->panel_bytes * w->n_panels * w->w->n_mats;
    }
    p->packed_bytes = used;
}

/* Everything that needs no large memory: tables, phases, and the sizes of the regions. */
static sl_status program_prepare(sl_device *d, const sl_plan *plan,
                                 const sl_program_options *options, sl_program **out,
                                 sl_error *err) {
    sl_program *p = sl_alloc_zero(1, sizeof(*p));
    if (p == NULL) {
        return SL_FAIL(err, SL_ERR_MEMORY, "no memory for the model's program");
    }
    p->device = (struct sl_cpu_device *)d;
    p->plan = plan;
    p->options = *options;
    const sl_product_amx *amx = &p->device->kernels.amx;
    p->tiles_rows = amx->mul == NULL || options->exact || options->batch_invariant ? UINT32_MAX
                                                                                   : amx->rows_min;
    sl_arena_init(&p->arena, PROGRAM_TABLES_MAX);
    p->weights = sl_arena_alloc_zero(&p->arena, plan->n_weights, sizeof(*p->weights));
    if (p->weights == NULL) {
        sl_cpu_program_free(p);
        return SL_FAIL(err, SL_ERR_MEMORY, "no memory for the model's program");
    }
    for (uint32_t i = 0; i < plan->n_weights; i++) {
        p->weights[i].w = &plan->weights[i];
        p->weights[i].n_panels = (plan->weights[i].n_out + SL_PANEL_ROWS - 1) / SL_PANEL_ROWS;
    }
    layout_groups(p);
    layout_packed(p);
    sl_status status = sl_cpu_phases_build(p, err);
    if (status != SL_OK) {
        sl_cpu_program_free(p);
        return status;
    }
    carver measure = {0};
    layout_step(p, &measure);
    p->step_bytes = measure.used;
    *out = p;
    return SL_OK;
}

sl_status sl_cpu_program_estimate(sl_device *d, const sl_plan *plan,
                                  const sl_program_options *options, sl_program_memory *out,
                                  sl_error *err) {
    sl_program *p;
    SL_TRY(program_prepare(d, plan, options, &p, err));
    *out = (sl_program_memory){.packed_bytes = p->packed_bytes,
                               .page_bytes = p->page_bytes,
                               .kv_bytes = p->kv_bytes,
                               .step_bytes = p->step_bytes};
    sl_cpu_program_free(p);
    return SL_OK;
}

static sl_status program_map(sl_program *p, sl_error *err) {
    p->packed = sl_pages_map(p->packed_bytes, true);
    p->pages = sl_pages_map(p->kv_bytes, false);
    p->step = sl_pages_map(p->step_bytes, true);
    if (p->packed == NULL || p->pages == NULL || p->step == NULL) {
        return SL_FAIL(
            err, SL_ERR_MEMORY,
            "no memory for the model: %zu MB of packed weights, %zu MB of KV pages and %zu MB of "
            "step buffers are needed; a smaller --kv-memory or --ctx helps",
            p->packed_bytes >> 20, p->kv_bytes >> 20, p->step_bytes >> 20);
    }
    size_t used = 0;
    for (uint32_t i = 0; i < p->plan->n_weights; i++) {
        cpu_weight *w = &p->weights[i];
        if (w->form != CPU_FORM_F32) {
            w->panels = p->packed + used;
            used += w->panel_bytes * w->n_panels * w->w->n_mats;
        }
    }
    carver place = {.base = p->step};
    layout_step(p, &place);
    return SL_OK;
}

typedef struct pack_job {
    sl_program *p;
    uint32_t n_chunks;
} pack_job;

static uint64_t weight_chunks(const cpu_weight *w) {
    return w->form == CPU_FORM_F32
               ? 0
               : (uint64_t)w->w->n_mats * ((w->n_panels + PACK_CHUNK - 1) / PACK_CHUNK);
}

static void pack_chunk(sl_program *p, uint32_t chunk) {
    uint32_t i = 0;
    while (chunk >= weight_chunks(&p->weights[i])) {
        chunk -= (uint32_t)weight_chunks(&p->weights[i]);
        i++;
    }
    const cpu_weight *w = &p->weights[i];
    uint32_t per_mat = (w->n_panels + PACK_CHUNK - 1) / PACK_CHUNK;
    uint32_t mat = chunk / per_mat, first = chunk % per_mat * PACK_CHUNK;
    const sl_kernels *k = &p->device->kernels;
    uint32_t end = w->n_panels - first < PACK_CHUNK ? w->n_panels : first + PACK_CHUNK;
    const uint8_t *data = w->w->data + mat * w->w->mat_bytes;
    uint8_t *panels = w->panels + (size_t)mat * w->n_panels * w->panel_bytes;
    for (uint32_t panel = first; panel < end; panel++) {
        uint32_t row = panel * SL_PANEL_ROWS;
        uint32_t n_rows = w->w->n_out - row < SL_PANEL_ROWS ? w->w->n_out - row : SL_PANEL_ROWS;
        const uint8_t *rows = data + (size_t)row * w->w->row_bytes;
        uint8_t *to = panels + (size_t)panel * w->panel_bytes;
        if (w->form == CPU_FORM_BF16) {
            k->bf16.pack(rows, w->w->row_bytes, n_rows, w->w->n_in, to);
        } else {
            (w->form == CPU_FORM_PLAIN ? k->plain.pack : k->product[w->w->type].pack)(
                w->w->type, rows, w->w->row_bytes, n_rows, w->w->n_in, to);
        }
    }
}

static void pack_worker(void *arg, uint32_t ith, uint32_t nth) {
    const pack_job *job = arg;
    const sl_program_options *o = &job->p->options;
    (void)nth;
    for (uint32_t c; (c = sl_pool_claim(job->p->device->pool, ith, 1)) < job->n_chunks;) {
        pack_chunk(job->p, c);
        if (ith == 0 && o->progress != NULL) {
            o->progress(o->progress_user, (uint64_t)job->p->packed_bytes * c / job->n_chunks,
                        job->p->packed_bytes);
        }
    }
}

sl_status sl_cpu_weights_pack(sl_program *p, sl_error *err) {
    pack_job job = {.p = p};
    uint64_t n_chunks = 0;
    for (uint32_t i = 0; i < p->plan->n_weights; i++) {
        n_chunks += weight_chunks(&p->weights[i]);
    }
    if (n_chunks > UINT32_MAX) {
        return SL_FAIL(err, SL_ERR_LIMIT, "the model has too many weights to pack");
    }
    job.n_chunks = (uint32_t)n_chunks;
    sl_pool_run(p->device->pool, pack_worker, &job);
    if (p->options.progress != NULL) {
        p->options.progress(p->options.progress_user, p->packed_bytes, p->packed_bytes);
    }
    return SL_OK;
}

sl_status sl_cpu_program_compile(sl_device *d, const sl_plan *plan,
                                 const sl_program_options *options, sl_program **out,
                                 sl_error *err) {
    struct sl_cpu_device *c = (struct sl_cpu_device *)d;
    if (c->pool == NULL) {
        SL_TRY(sl_pool_create(c->n_threads, c->pin, &c->pool, err));
    }
    sl_program *p;
    SL_TRY(program_prepare(d, plan, options, &p, err));
    sl_status status = program_map(p, err);
    if (status == SL_OK) {
        status = sl_cpu_weights_pack(p, err);
    }
    if (status != SL_OK) {
        sl_cpu_program_free(p);
        return status;
    }
    *out = p;
    return SL_OK;
}

void sl_cpu_program_free(sl_program *p) {
    if (p == NULL) {
        return;
    }
    sl_pages_unmap(p->packed, p->packed_bytes);
    sl_pages_unmap(p->pages, p->kv_bytes);
    sl_pages_unmap(p->step, p->step_bytes);
    sl_arena_deinit(&p->arena);
    sl_free(p);
}
