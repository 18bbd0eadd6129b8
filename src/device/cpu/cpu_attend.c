/* Attention of a step, cut into tasks.
 *
 * Query rows of a run go in tiles of CPU_ATTEND_ROWS, or of more where there are AMX tiles for
 * them. A task is a tile, a KV head, a range of the blocks of keys that the tile sees, and a share
 * of the query heads of the KV head. Where a tile is more than its share of the step's work, its
 * keys are cut in ranges: each leaves the parts of its blocks, and the worker that finishes the
 * last one merges them, in the order of the blocks. How often a tile is cut, and by whom it is
 * computed, changes no bit (kernels.h).
 *
 * Enters: the step and its queries, the page store; leaves: the outputs. Cut by the engine thread,
 * run by all workers. */
#include "base/bytes.h"
#include "device/cpu/cpu_program.h"

#define ATTEND_PIECE_HEADS 6 /* one tile of registers or more at every level */
#define ATTEND_READ_PAIRS 4  /* reading a block takes as long as the sums of so many pairs */

static uint32_t tile_keys(const sl_program *p, const cpu_tile *t) {
    return p->plan->is_encoder ? p->now->runs[t->run].n_known : 0;
}

static uint64_t tile_work(const cpu_tile *t, uint32_t n_query) {
    return (uint64_t)(t->blocks.end - t->blocks.begin) * (t->n_rows * n_query + ATTEND_READ_PAIRS);
}

/* The node with most of the pages that the run's last row sees. Pages come from a sequence's home
 * until that has none left: the one in the middle is of the node with the longer part. */
static uint32_t run_home(const sl_program *p, const sl_nodes *nodes, uint32_t i_group,
                         const sl_step_run *run) {
    if (nodes->n == 1) {
        return 0;
    }
    const uint32_t end = run->pos0 + run->n_rows, window = p->plan->groups[i_group].window;
    const uint32_t n_seen = window == 0 || window > end ? end : window;
    const int32_t page = run->tables[i_group][(end - 1 - n_seen / 2) / SL_PAGE_TOKENS];
    return sl_nodes_find(nodes, p->options.n_pages, (uint32_t)page);
}

/* The tiles of a run; returns the work of one KV head. */
static uint64_t cut_run(const sl_program *p, uint32_t i_group, uint32_t i_run,
                        cpu_attend_cut *cut) {
    const sl_step_run *run = &p->now->runs[i_run];
    uint64_t work = 0;
    const bool on_tiles = run->n_rows >= p->attend_tiles_rows;
    const uint32_t rows_max = on_tiles ? CPU_ATTEND_TILE_ROWS : CPU_ATTEND_ROWS;
    const uint32_t n_tiles = sl_div_up(run->n_rows, rows_max);
    for (uint32_t i = 0; i < n_tiles; i++) {
        cpu_tile *t = &cut->tiles[cut->n_tiles++];
        const uint32_t r = (uint32_t)((uint64_t)run->n_rows * i / n_tiles);
        *t = (cpu_tile){.run = i_run, .first = r, .on_tiles = on_tiles};
        t->n_rows = (uint32_t)((uint64_t)run->n_rows * (i + 1) / n_tiles) - r;
        t->blocks = sl_attend_blocks_seen(run->pos0 + r, t->n_rows, p->plan->groups[i_group].window,
                                          tile_keys(p, t));
        work += tile_work(t, p->groups[i_group].n_query);
    }
    return work;
}

/* The tiles of all runs, node after node; returns the work of one KV head. */
static uint64_t cut_tiles(const sl_program *p, uint32_t i_group, cpu_attend_cut *cut) {
    const sl_nodes *nodes = sl_pool_nodes(p->device->pool);
    uint64_t work = 0;
    cut->n_tiles = 0;
    for (uint32_t node = 0; node < nodes->n; node++) {
        cut->node_tiles[node] = cut->n_tiles;
        for (uint32_t i = 0; i < p->now->n_runs; i++) {
            if (run_home(p, nodes, i_group, &p->now->runs[i]) == node) {
                work += cut_run(p, i_group, i, cut);
            }
        }
    }
    cut->node_tiles[nodes->n] = cut->n_tiles;
    return work;
}

/* The heads of a group share the loads of keys and values, so they are parted only where that fills
 * register tiles all the same, or where threads would be idle. */
static uint32_t cut_pieces(uint32_t n_whole, uint32_t n_query, uint32_t nth) {
    if (n_whole == 0) {
        return 1; /* nothing to part */
    }
    uint32_t to_fill = sl_div_up(nth, n_whole), to_even = sl_div_up(4 * nth, n_whole);
    uint32_t cheap = n_query / ATTEND_PIECE_HEADS;
    uint32_t pieces = to_even < cheap ? to_even : cheap;
    pieces = pieces < to_fill ? to_fill : pieces;
    return pieces < n_query ? pieces : n_query;
}

/* Floats that the ranges of a tile, one KV head and one piece of its query heads leave. */
static size_t tile_parts(const cpu_tile *t, const cpu_attend_cut *cut, uint32_t n_query,
                         uint32_t d_v) {
    return (t->blocks.end - t->blocks.begin) *
           sl_attend_part_floats(t->n_rows, sl_div_up(n_query, cut->n_pieces), d_v);
}

/* Room for the parts of the tiles that are cut, and the numbers of all ranges. */
static void cut_place(const sl_program *p, const sl_plan_group *pg, uint32_t n_query,
                      cpu_attend_cut *cut) {
    size_t n_parts = 0;
    uint32_t n_units = pg->n_kv_head * cut->n_pieces, n_done = 0;
    cut->n_ranges = 0;
    for (uint32_t i = 0; i < cut->n_tiles; i++) {
        cpu_tile *t = &cut->tiles[i];
        if (t->n_ranges > 1) {
            size_t floats = n_units * tile_parts(t, cut, n_query, pg->d_v);
            if (floats > p->parts_floats - n_parts || n_units > p->done_max - n_done) {
                t->n_ranges = 1;
            } else {
                t->parts = n_parts;
                t->done = n_done;
                n_parts += floats;
                n_done += n_units;
            }
        }
        t->ranges_before = cut->n_ranges;
        cut->n_ranges += t->n_ranges;
    }
}

void sl_cpu_attend_cut(sl_program *p) {
    uint32_t nth = p->device->n_threads;
    for (uint32_t g = 0; g < p->plan->n_groups; g++) {
        const sl_plan_group *pg = &p->plan->groups[g];
        cpu_attend_cut *cut = &p->cuts[g];
        uint32_t n_query = p->groups[g].n_query, n_ranges = 0;
        uint64_t share = cut_tiles(p, g, cut) * pg->n_kv_head / (nth * CPU_ATTEND_TASKS) + 1;
        for (uint32_t i = 0; i < cut->n_tiles; i++) {
            cpu_tile *t = &cut->tiles[i];
            uint32_t n_blocks = t->blocks.end - t->blocks.begin;
            uint64_t wanted = nth == 1 ? 1 : (tile_work(t, n_query) + share - 1) / share;
            t->n_ranges = wanted < n_blocks ? (uint32_t)wanted : n_blocks;
            n_ranges += t->n_ranges;
        }
        cut->n_pieces = cut_pieces(n_ranges * pg->n_kv_head, n_query, nth);
        cut_place(p, pg, n_query, cut);
    }
}

static const cpu_tile *range_tile(const cpu_attend_cut *cut, uint32_t range) {
    uint32_t low = 0, high = cut->n_tiles;
    while (high - low > 1) {
        uint32_t mid = low + (high - low) / 2;
        if (cut->tiles[mid].ranges_before <= range) {
            low = mid;
        } else {
            high = mid;
        }
    }
    return &cut->tiles[low];
}

/* What the kernel is asked for, but for parts and scratch: query heads [begin, end) of a KV
 * head. */
static sl_attend tile_call(const sl_program *p, const cpu_segment *seg, const cpu_attend *a,
                           const cpu_tile *t, uint32_t kv_head, uint32_t begin, uint32_t end) {
    const sl_plan_op *op = a->op;
    const sl_plan_group *pg = &p->plan->groups[op->u.attend.group];
    const cpu_group *g = &p->groups[op->u.attend.group];
    const sl_step_run *run = &p->now->runs[t->run];
    const cpu_value *q = &seg->values[op->in[0]];
    const cpu_value *out = &seg->values[op->out];
    size_t row = run->row_begin + t->first;
    size_t head = (size_t)kv_head * (op->u.attend.n_head / pg->n_kv_head) + begin;
    size_t k_offset = a->offset + kv_head * g->head_bytes;
    return (sl_attend){
        .q = q->x + row * q->stride + head * pg->d_k,
        .q_stride = q->stride,
        .n_rows = t->n_rows,
        .n_group = end - begin,
        .d_k = pg->d_k,
        .d_v = pg->d_v,
        .pos0 = run->pos0 + t->first,
        .table = run->tables[op->u.attend.group],
        .store = p->pages,
        .page_bytes = p->page_bytes,
        .k_offset = k_offset,
        .v_offset = k_offset + g->v_offset,
        .scale = op->u.attend.scale,
        .window = pg->window,
        .n_keys = tile_keys(p, t),
        .softcap = op->u.attend.softcap,
        .slopes = op->u.attend.slopes == NULL ? NULL : op->u.attend.slopes + head,
        .sinks = a->sinks == NULL ? NULL : a->sinks + head,
        .out = out->x + row * out->stride + head * pg->d_v,
        .out_stride = out->stride,
    };
}

/* A task's number taken apart. */
typedef struct attend_part {
    const cpu_tile *t;
    uint32_t unit, kv_head, piece;
    uint32_t block_begin, block_end;
} attend_part;

static attend_part task_part(const cpu_attend_cut *cut, uint32_t n_kv_head, uint32_t task) {
    uint32_t n_units = n_kv_head * cut->n_pieces, range = task / n_units;
    attend_part part = {.t = range_tile(cut, range), .unit = task % n_units};
    part.kv_head = part.unit / cut->n_pieces;
    part.piece = part.unit % cut->n_pieces;
    const sl_attend_blocks *blocks = &part.t->blocks;
    uint64_t n_blocks = blocks->end - blocks->begin, i = range - part.t->ranges_before;
    part.block_begin = blocks->begin + (uint32_t)(n_blocks * i / part.t->n_ranges);
    part.block_end = blocks->begin + (uint32_t)(n_blocks * (i + 1) / part.t->n_ranges);
    return part;
}

/* Tells the call where the task after it begins to read. */
static void call_then(const sl_program *p, const cpu_attend *a, const attend_part *next,
                      sl_attend *args) {
    uint32_t i_group = a->op->u.attend.group;
    const sl_step_run *run = &p->now->runs[next->t->run];
    uint32_t pos = run->pos0 + next->t->first, n_keys = tile_keys(p, next->t);
    uint32_t window = n_keys == 0 ? args->window : 0;
    uint32_t begin = window != 0 && pos + 1 > window ? pos + 1 - window : 0;
    uint32_t end = n_keys == 0 ? pos + next->t->n_rows : n_keys;
    begin = begin < next->block_begin * SL_ATTEND_BLOCK ? next->block_begin * SL_ATTEND_BLOCK
                                                        : begin;
    args->then = run->tables[i_group] + begin / SL_PAGE_TOKENS;
    args->n_then = (end - 1) / SL_PAGE_TOKENS - begin / SL_PAGE_TOKENS + 1;
    args->then_offset = a->offset + next->kv_head * p->groups[i_group].head_bytes;
}

/* next: what this worker does then, or NULL. */
static void attend_task(sl_program *p, const cpu_segment *seg, const cpu_attend *a,
                        const attend_part *part, const attend_part *next, uint32_t ith) {
    uint32_t i_group = a->op->u.attend.group;
    const sl_plan_group *pg = &p->plan->groups[i_group];
    const cpu_attend_cut *cut = &p->cuts[i_group];
    const cpu_tile *t = part->t;
    uint32_t n_group = a->op->u.attend.n_head / pg->n_kv_head;
    sl_attend args = tile_call(p, seg, a, t, part->kv_head, n_group * part->piece / cut->n_pieces,
                               n_group * (part->piece + 1) / cut->n_pieces);
    args.scratch = p->scratch + ith * p->scratch_floats;
    if (args.n_group == 0) { /* fewer heads than elsewhere in the layer group */
        return;
    }
    if (next != NULL) {
        call_then(p, a, next, &args);
    }
    const sl_kernels *k = &p->device->kernels;
    void (*const attend)(const sl_attend *) = (t->on_tiles ? k->attend_amx.attend
                                                           : k->attend)[p->options.kv_type];
    if (t->n_ranges == 1) {
        attend(&args);
        return;
    }
    args.parts = p->parts + t->parts +
                 part->unit * tile_parts(t, cut, p->groups[i_group].n_query, pg->d_v);
    args.block_begin = part->block_begin;
    args.block_end = part->block_end;
    attend(&args);
    _Atomic uint32_t *done = &p->done[t->done + part->unit];
    if (atomic_fetch_add_explicit(done, 1, memory_order_acq_rel) + 1 == t->n_ranges) {
        atomic_store_explicit(done, 0, memory_order_relaxed);
        k->attend_merge(&args);
    }
}

static uint32_t ranges_before(const cpu_attend_cut *cut, uint32_t tile) {
    return tile < cut->n_tiles ? cut->tiles[tile].ranges_before : cut->n_ranges;
}

void sl_cpu_attend_run(sl_program *p, const cpu_segment *seg, const cpu_attend *a, uint32_t ith) {
    const cpu_attend_cut *cut = &p->cuts[a->op->u.attend.group];
    uint32_t n_kv_head = p->plan->groups[a->op->u.attend.group].n_kv_head,
             n_units = n_kv_head * cut->n_pieces;
    sl_pool *pool = p->device->pool;
    for (uint32_t i = 0; i < sl_pool_nodes(pool)->n; i++) {
        uint32_t node = sl_pool_turn(pool, ith, i);
        uint32_t first = ranges_before(cut, cut->node_tiles[node]) * n_units;
        uint32_t end = ranges_before(cut, cut->node_tiles[node + 1]) * n_units;
        uint32_t n;
        bool more = sl_pool_take(pool, ith, node, end - first, &n);
        attend_part part, next;
        if (more) {
            part = task_part(cut, n_kv_head, end - 1 - n); /* the longest contexts first */
        }
        for (; more; part = next) {
            more = sl_pool_take(pool, ith, node, end - first, &n);
            if (more) {
                next = task_part(cut, n_kv_head, end - 1 - n);
            }
            attend_task(p, seg, a, &part, more ? &next : NULL, ith);
        }
    }
}
