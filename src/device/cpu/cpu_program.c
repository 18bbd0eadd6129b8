/* Compiling a plan for the CPU: tables and memory layout. */
#include "device/cpu/cpu_program.h"

#include <inttypes.h>

#include "base/alloc.h"
#include "base/error.h"
#include "device/cpu/cpu_device.h"

#define PROGRAM_TABLES_MAX ((size_t)64 << 20)

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

static void layout_values(const sl_plan *plan, cpu_segment *seg, carver *c) {
    for (uint32_t i = 0; i < plan->n_values; i++) {
        cpu_value *v = &seg->values[i];
        v->width = plan->values[i].width;
        v->n_choices = plan->values[i].n_choices;
        size_t rows = (size_t)v->rows_max * (v->n_choices == 0 ? 1 : v->n_choices);
        if (v->written) {
            v->stride = sl_row_stride(v->width, sizeof(float));
            v->x = carve(c, v->stride * rows, sizeof(float));
        }
        if (v->wants[CPU_FORM_BF16]) {
            v->bf16_stride = sl_row_stride(v->width, sizeof(uint16_t));
            v->bf16 = carve(c, v->bf16_stride * rows, sizeof(uint16_t));
        }
        if (v->wants[CPU_FORM_INT8]) {
            v->q.q_stride = sl_row_stride(v->width, 1);
            v->q.g_stride = sl_row_stride(v->width / SL_ACT_GROUP, sizeof(float));
            v->q.q = carve(c, v->q.q_stride * rows, 1);
            v->q.d = carve(c, v->q.g_stride * rows, sizeof(float));
            v->q.s = carve(c, v->q.g_stride * rows, sizeof(float));
            v->q.minus_sum = carve(c, 2 * v->q.g_stride * rows, sizeof(int32_t));
        }
    }
}

static size_t scratch_floats_needed(const sl_program *p) {
    size_t most = p->plan->is_encoder ? 0 : sl_cpu_refine_scratch_floats(p);
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
            const uint32_t n_query = p->groups[op->u.attend.group].n_query;
            n = sl_attend_scratch_floats(CPU_ATTEND_ROWS, n_query, g->d_k, g->d_v);
            if (p->attend_tiles_rows != UINT32_MAX) {
                const size_t more = sl_attend_amx_scratch_floats(CPU_ATTEND_TILE_ROWS, n_query,
                                                                 g->d_k, g->d_v);
                n = more > n ? more : n;
            }
        }
        most = n > most ? n : most;
    }
    return (most + 15) & ~(size_t)15;
}

static size_t columns_floats_needed(const sl_program *p) {
    size_t most = (size_t)p->top.rows_max * CPU_TOP_STRIDE;
    size_t refine = p->plan->is_encoder ? 0 : sl_cpu_refine_columns_floats(p);
    most = refine > most ? refine : most;
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
    p->packing.state = carve(c, p->packing.n_panels, sizeof(*p->packing.state));
    p->packing.sums = carve(c, p->packing.n_panels, sizeof(*p->packing.sums));
}

/* The pages of all groups come from one pool and are as large as the largest needs. */
static void layout_groups(sl_program *p) {
    for (uint32_t i = 0; i < p->plan->n_groups; i++) {
        const sl_plan_group *pg = &p->plan->groups[i];
        cpu_group *g = &p->groups[i];
        g->v_offset = sl_kv_key_bytes(p->options.kv_type, pg->d_k);
        g->head_bytes = g->v_offset + sl_kv_value_bytes(p->options.kv_type, pg->d_v);
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
    p->attend_tiles_rows = p->device->kernels.attend_amx.attend[options->kv_type] == NULL
                               ? UINT32_MAX
                               : p->tiles_rows;
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
    sl_status status = sl_cpu_weights_count(p, err);
    if (status == SL_OK) {
        status = sl_cpu_phases_build(p, err);
    }
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

static const sl_nodes *program_nodes(const sl_program *p) {
    return sl_pool_nodes(p->device->pool);
}

/* Parts the panels of each weight, and the packed region, among the nodes: first all that is the
 * first node's, weight after weight. */
static sl_status program_shard(sl_program *p, sl_error *err) {
    const sl_nodes *nodes = program_nodes(p);
    cpu_shard *shards = sl_arena_alloc_zero(&p->arena, (size_t)p->plan->n_weights * nodes->n,
                                            sizeof(*shards));
    if (shards == NULL) {
        return SL_FAIL(err, SL_ERR_MEMORY, "no memory for the model's program");
    }
    uint8_t *packed = sl_cpu_weights_base(p);
    size_t used = 0;
    for (uint32_t node = 0; node < nodes->n; node++) {
        const size_t before = used;
        for (uint32_t i = 0; i < p->plan->n_weights; i++) {
            cpu_weight *w = &p->weights[i];
            w->shards = shards + (size_t)i * nodes->n;
            cpu_shard *s = &w->shards[node];
            s->first = sl_nodes_first(nodes, w->n_panels, node);
            s->end = sl_nodes_first(nodes, w->n_panels, node + 1);
            if (w->form != CPU_FORM_F32) {
                w->panels = node == 0 ? packed + used : w->panels;
                /* Not below 0: the shards of the nodes before lie between. */
                s->offset = (size_t)(packed + used - w->panels) - s->first * w->panel_bytes;
                used += w->panel_bytes * (s->end - s->first) * w->w->n_mats;
            }
        }
        sl_topology_prefer(&p->device->topology, node, packed + before, used - before);
    }
    return SL_OK;
}

/* Each node's stretch of the page store. */
static void program_place_pages(sl_program *p) {
    const sl_nodes *nodes = program_nodes(p);
    for (uint32_t node = 0; node < nodes->n; node++) {
        size_t first = sl_nodes_first(nodes, p->options.n_pages, node);
        size_t end = sl_nodes_first(nodes, p->options.n_pages, node + 1);
        sl_topology_prefer(&p->device->topology, node, p->pages + first * p->page_bytes,
                           (end - first) * p->page_bytes);
    }
}

static sl_status program_map(sl_program *p, sl_error *err) {
    sl_status status = sl_cpu_weights_map(p, err);
    p->pages = sl_pages_map(p->kv_bytes, true);
    p->step = sl_pages_map(p->step_bytes, true);
    if (status != SL_OK || p->pages == NULL || p->step == NULL) {
        return SL_FAIL(
            err, SL_ERR_MEMORY,
            "no memory for the model: %zu MB of packed weights, %zu MB of KV pages and %zu MB of "
            "step buffers are needed; a smaller --kv-memory or --ctx helps",
            p->packed_bytes >> 20, p->kv_bytes >> 20, p->step_bytes >> 20);
    }
    program_place_pages(p);
    carver place = {.base = p->step};
    layout_step(p, &place);
    return program_shard(p, err);
}

sl_status sl_cpu_program_compile(sl_device *d, const sl_plan *plan,
                                 const sl_program_options *options, sl_program **out,
                                 sl_error *err) {
    struct sl_cpu_device *c = (struct sl_cpu_device *)d;
    if (c->pool == NULL) {
        SL_TRY(sl_pool_create_on(&c->topology, c->n_threads, c->pin, &c->pool, err));
    }
    sl_program *p;
    SL_TRY(program_prepare(d, plan, options, &p, err));
    sl_status status = program_map(p, err);
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
    sl_cpu_weights_unmap(p);
    sl_pages_unmap(p->pages, p->kv_bytes);
    sl_pages_unmap(p->step, p->step_bytes);
    sl_arena_deinit(&p->arena);
    sl_free(p);
}
